//! The store: which answers lie in the tree, and how they come and go there.
//!
//! Input: bodies in pieces, heads, names to remove, purges, hashes of what was used, the time;
//! `step` when there is nothing else to do.   Output: `poll_event`: how far each body is, which
//! names changed.
//! Owns: open temporary files, bounded by `STORE_OPEN_MAX`; the inventory and the tags (their own
//! bounds).   Thread: `store`; calls of the disk may wait.
//! Invariants: a final name only ever shows a whole file with its head, whatever call was the last
//! before a crash; a file without head (put there by hand) is never replaced, evicted or purged;
//! one event ends each body, unless it was aborted.
//! Not here: what a head says (`cache::record`), system calls (`sys::disk`), the thread
//! (`daemon::store`), whether an answer may be stored (`cache::freshness`).
//!
//! ```text
//! ROOT/.peerage/tmp-<process>-<number>   a body that is being written; cleared at start. Where the
//!      |                                 kernel can, it has no name at all, and nothing is left
//!      | write ... write, compare the length, set the head
//!      v rename
//! ROOT/www.example.com/a/logo.gif        whole, with its head in `user.peerage`
//! ```
//!
//! The temporary directory begins with a dot and is never watched or served, not even where files
//! that begin with a dot are: the daemon refuses paths of it before any other rule.
//!
//! A file that is removed or replaced while it is being served is not disturbed: an inode lives
//! until its last descriptor and mapping are gone, and the store never truncates or writes a file
//! that has a final name.
//!
//! Nothing is synced to the device, since what is lost can be fetched again. After a power cut a
//! renamed file may be shorter than it was: ext4, XFS and btrfs write the length of a new file with
//! or after its data, so that it never shows bytes of others, but a rename to a new name may reach
//! the device before the data does (ext4 flushes it first only where a file is replaced,
//! auto_da_alloc). So the head says how long the body is, and who opens the file compares.

mod names;
mod place;
mod removal;
mod upkeep;
mod walk;

#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upkeep_tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashMap;

use crate::limits::{STORE_OPEN_MAX, STORED_HEAD_BYTES_MAX};
use crate::stdx::bytes::Bytes;
use crate::stdx::num::wide;

use super::disk::{BLOCK_BYTES, Disk, DiskError, Found};
use super::inventory::{Inventory, NameHash};
use super::presence::Presence;
use super::tags::Tags;

use removal::{Purging, Removal};
use upkeep::Upkeep;

pub use names::{TEMPORARY, is_own};
pub use upkeep::Limits;

/// Names a body on its way, for as long as the worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreId {
    /// Whose it is.
    pub worker: u32,
    /// The worker's number for it.
    pub number: u64,
}

/// The beginning of a body, and often all of it.
#[derive(Clone, Debug)]
pub struct Put {
    /// Names it in what follows.
    pub id: StoreId,
    /// Where it shall lie: a key of `cache::name`.
    pub name: Box<[u8]>,
    /// What lies beside it.
    pub head: Box<[u8]>,
    /// What it can be purged by, besides its name.
    pub tags: Vec<Box<[u8]>>,
    /// How long the body is, if that is known. Another length is not stored.
    pub length: Option<u64>,
    /// The first bytes.
    pub pieces: Vec<Bytes>,
    /// Whether they are all.
    pub is_last: bool,
}

/// What became of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<F> {
    /// That many bytes of the body are in the file. The first time, the file comes along.
    Written {
        /// Of which body.
        id: StoreId,
        /// From its beginning.
        bytes: u64,
        /// The file, open for reading too.
        file: Option<F>,
    },
    /// The body is in place.
    Stored {
        /// Which.
        id: StoreId,
        /// Under which name: beside the one asked for where that is a directory.
        name: Box<[u8]>,
    },
    /// The body is not stored, and nothing is left of it.
    NotStored {
        /// Which.
        id: StoreId,
        /// Why.
        why: NotStored,
    },
    /// What `name` leads to is not what it was.
    Changed {
        /// The name.
        name: Box<[u8]>,
    },
}

/// Why a body was not stored. Whoever asked for it is served all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// The disk is full.
    Full,
    /// The file system is read-only.
    ReadOnly,
    /// No right to write there.
    Denied,
    /// The file system has no extended attributes.
    NoAttributes,
    /// A file put there by hand, a link or a device is in the way, or the name is the store's own.
    Blocked,
    /// The name is longer or deeper than the file system or a bound takes.
    NameTooLong,
    /// The head is longer than the file system or a bound takes.
    HeadTooLong,
    /// The body did not have the length that was announced.
    Length,
    /// `STORE_OPEN_MAX` bodies are under way, or no more descriptors are to be had.
    Busy,
    /// It was purged while it came.
    Purged,
    /// The disk failed otherwise, by its number (errno(3)).
    Io(i32),
}

impl NotStored {
    /// The reasons, as metrics name them.
    pub const REASONS: [&str; 11] = [
        "full",
        "read_only",
        "denied",
        "no_attributes",
        "blocked",
        "name_too_long",
        "head_too_long",
        "length",
        "busy",
        "purged",
        "io",
    ];

    /// Its place in `REASONS`.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Full => 0,
            Self::ReadOnly => 1,
            Self::Denied => 2,
            Self::NoAttributes => 3,
            Self::Blocked => 4,
            Self::NameTooLong => 5,
            Self::HeadTooLong => 6,
            Self::Length => 7,
            Self::Busy => 8,
            Self::Purged => 9,
            Self::Io(_) => 10,
        }
    }
}

impl fmt::Display for NotStored {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(code) => write!(out, "io: error {code}"),
            why => out.write_str(Self::REASONS[why.index()]),
        }
    }
}

impl From<DiskError> for NotStored {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Full => Self::Full,
            DiskError::ReadOnly => Self::ReadOnly,
            DiskError::Denied => Self::Denied,
            DiskError::NoAttributes => Self::NoAttributes,
            DiskError::NameTooLong => Self::NameTooLong,
            DiskError::Missing
            | DiskError::Exists
            | DiskError::NotDirectory
            | DiskError::IsDirectory => Self::Blocked,
            DiskError::Io(EMFILE | ENFILE) => Self::Busy,
            DiskError::Io(code) => Self::Io(code),
        }
    }
}

/// A longer head takes a block of its own: what ext4's inodes of 256 bytes have room for.
const HEAD_BESIDE_INODE_BYTES_MAX: usize = 64;

/// Too many open files, of the system and of the process (errno(3), all Linux platforms).
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// What a store is told once.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tells this process's temporary files from another's.
    pub process: u32,
    /// Drawn at random, since strangers choose the names. The workers' `NameHash` has it too.
    pub hash_seed: u64,
    /// The tags in a head; none where it cannot be read.
    pub tags_of: fn(&[u8]) -> Vec<Box<[u8]>>,
    /// Which names are in the tree, for the workers.
    pub presence: Arc<Presence>,
    /// A head that says the same, but that the origin has to be asked first. `None` where it cannot
    /// be read.
    pub expire: fn(&[u8]) -> Option<Vec<u8>>,
}

/// What a look at a name found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A stored body, and what lies beside it.
    Stored(Box<[u8]>),
    /// A file that was put there.
    ByHand,
    /// A directory, a link, a device.
    Other,
    /// Nothing.
    Missing,
    /// The disk does not say.
    Unknown,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bodies put in place.
    pub stored: u64,
    /// Bodies not stored, by `NotStored::index`.
    pub not_stored: [u64; NotStored::REASONS.len()],
    /// Temporary files cleared at start.
    pub leftovers: u64,
    /// Files evicted.
    pub evictions: u64,
    /// What they took up.
    pub evicted_blocks: u64,
    /// Files met while the tree was learnt.
    pub scanned: u64,
    /// Times it was learnt to its end.
    pub scans: u64,
    /// Things about the tree that failed and concern no single body: a removal, a new head, a
    /// directory that cannot be read.
    pub failures: u64,
}

/// A body on its way.
struct Open<F> {
    name: Box<[u8]>,
    head: Box<[u8]>,
    tags: Vec<Box<[u8]>>,
    length: Option<u64>,
    temporary: Vec<u8>,
    file: F,
    written: u64,
    /// Whether the worker has the file.
    is_told: bool,
}

/// See the module.
pub struct Store<D: Disk> {
    disk: D,
    options: Options,
    open: HashMap<StoreId, Open<D::File>, SeedableRandomState>,
    /// How many temporary files there were.
    temporaries: u64,
    events: VecDeque<Event<D::File>>,
    totals: Totals,
    hash: NameHash,
    inventory: Inventory,
    tags: Tags,
    upkeep: Upkeep<D>,
    purging: Option<Purging<D>>,
}

impl<D: Disk> Store<D> {
    /// A store in the tree of `disk`, which nothing is known of.
    #[must_use]
    pub fn new(disk: D, options: Options) -> Self {
        let seed = SharedSeed::global_fixed();
        let hash_seed = options.hash_seed;
        let hasher = SeedableRandomState::with_seed(hash_seed, seed);
        Self {
            disk,
            options,
            open: HashMap::with_hasher(hasher),
            temporaries: 0,
            events: VecDeque::new(),
            totals: Totals::default(),
            hash: NameHash::new(hash_seed),
            inventory: Inventory::default(),
            tags: Tags::new(hash_seed),
            upkeep: Upkeep::new(),
            purging: None,
        }
    }

    /// A stored file goes if it has this head: nobody may use it any more.
    pub fn handle_remove_if(&mut self, name: &[u8], head: &[u8]) {
        if matches!(self.disk.look(name), Ok(Found::Stored { head: found, .. }) if found == head) {
            self.handle_remove(&[name.into()]);
        }
    }

    /// What was kept from one body to the next is let go of: others may have changed it.
    pub fn forget(&mut self) {
        self.disk.forget();
    }

    /// What lies under a name.
    pub fn look(&mut self, name: &[u8]) -> Sight {
        match self.disk.look(name) {
            Ok(Found::Stored { head, .. }) => Sight::Stored(head.into()),
            Ok(Found::ByHand) => Sight::ByHand,
            Ok(Found::Directory | Found::Other) => Sight::Other,
            Err(DiskError::Missing | DiskError::NotDirectory) => Sight::Missing,
            Err(_) => Sight::Unknown,
        }
    }

    /// What was counted.
    #[must_use]
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What is stored, as far as it is known.
    #[must_use]
    pub const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// What can be found by tags.
    #[must_use]
    pub const fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Whether all that is stored is in the inventory.
    #[must_use]
    pub const fn is_all_known(&self) -> bool {
        self.upkeep.is_all_known
    }

    /// What happened, oldest first. Drained after every input.
    pub fn poll_event(&mut self) -> Option<Event<D::File>> {
        self.events.pop_front()
    }

    /// Removes what an earlier process left in the temporary directory, and makes it.
    ///
    /// # Errors
    /// What keeps anything from being stored. It is tried again with every body.
    pub fn handle_start(&mut self) -> Result<(), DiskError> {
        match self.disk.make_directory(TEMPORARY) {
            Ok(()) | Err(DiskError::Exists) => {}
            Err(error) => return Err(error),
        }
        let mut directory = self.disk.open_directory(TEMPORARY)?;
        while let Some(entry) = self.disk.next_entry(&mut directory)? {
            match self.disk.remove(&[TEMPORARY, b"/", &entry.name].concat()) {
                Ok(()) => self.totals.leftovers += 1,
                Err(_) => self.totals.failures += 1,
            }
        }
        Ok(())
    }

    /// A body begins, and often ends.
    pub fn handle_put(&mut self, put: Put) {
        let id = put.id;
        if let Err(why) = self.begin(put) {
            self.refuse(id, why);
        }
    }

    /// A body goes on. One that is not known was refused or aborted meanwhile.
    pub fn handle_more(&mut self, id: StoreId, pieces: &[Bytes], is_last: bool) {
        let Some(open) = self.open.remove(&id) else { return };
        if let Err(why) = self.go_on(id, open, pieces, is_last) {
            self.refuse(id, why);
        }
    }

    /// What lies beside a body under way, where that was not known when it began.
    pub fn handle_head(&mut self, id: StoreId, head: Box<[u8]>) {
        if let Some(open) = self.open.get_mut(&id) {
            open.head = head;
        }
    }

    /// A body will not end. There is no answer.
    pub fn handle_abort(&mut self, id: StoreId) {
        if let Some(open) = self.open.remove(&id) {
            self.discard(&open.temporary);
        }
    }

    /// Nothing more will come: bodies under way are given up.
    pub fn handle_stop(&mut self) {
        let ids: Vec<StoreId> = self.open.keys().copied().collect();
        for id in ids {
            self.handle_abort(id);
        }
    }

    /// A stored file that has the head `before` gets another (a 304 came for it). One that was put
    /// in its place meanwhile keeps its own, one put there by hand stays without.
    pub fn handle_freshen(&mut self, name: &[u8], before: &[u8], head: &[u8]) {
        let is_fit = !is_own(name) && head.len() <= STORED_HEAD_BYTES_MAX;
        match self.disk.look(name) {
            Ok(Found::Stored { head: old, .. }) if is_fit && old == before => {
                match self.disk.replace_head(name, head) {
                    Ok(()) => {
                        self.untag(name, &old);
                        self.tags.insert(name, &(self.options.tags_of)(head));
                        self.tell_changed(name);
                    }
                    // It keeps its old head, and is asked for again.
                    Err(_) => self.totals.failures += 1,
                }
            }
            Ok(_) | Err(DiskError::Missing | DiskError::NotDirectory) => {}
            Err(_) => self.totals.failures += 1,
        }
    }

    fn begin(&mut self, put: Put) -> Result<(), NotStored> {
        names::check(&put.name)?;
        if put.head.len() > STORED_HEAD_BYTES_MAX {
            return Err(NotStored::HeadTooLong);
        }
        // The same name twice is the worker's mistake; the first body is not worth more.
        self.handle_abort(put.id);
        if self.open.len() >= STORE_OPEN_MAX {
            return Err(NotStored::Busy);
        }
        let (temporary, file) = self.create_temporary()?;
        let open = Open {
            name: put.name,
            head: put.head,
            tags: put.tags,
            length: put.length,
            temporary,
            file,
            written: 0,
            is_told: false,
        };
        self.go_on(put.id, open, &put.pieces, put.is_last)
    }

    fn create_temporary(&mut self) -> Result<(Vec<u8>, D::File), NotStored> {
        self.temporaries += 1;
        let (process, number) = (self.options.process, self.temporaries);
        let name = [TEMPORARY, format!("/tmp-{process}-{number}").as_bytes()].concat();
        let file = match self.disk.create(&name) {
            // Somebody tidied up, or the disk could not be written at the start.
            Err(DiskError::Missing) => {
                self.disk.make_directory(TEMPORARY)?;
                self.disk.create(&name)?
            }
            result => result?,
        };
        Ok((name, file))
    }

    /// Writes `pieces`; with the last ones, puts the file in place.
    fn go_on(
        &mut self,
        id: StoreId,
        mut open: Open<D::File>,
        pieces: &[Bytes],
        is_last: bool,
    ) -> Result<(), NotStored> {
        let result = self.append(&mut open, pieces);
        if result.is_ok() && !is_last {
            let file = (!open.is_told).then(|| open.file.clone());
            open.is_told = true;
            self.events.push_back(Event::Written { id, bytes: open.written, file });
            self.open.insert(id, open);
            return Ok(());
        }
        let temporary = open.temporary.clone();
        match result.and_then(|()| self.finish(open)) {
            Ok(name) => {
                self.totals.stored += 1;
                self.tell_changed(&name);
                self.events.push_back(Event::Stored { id, name });
                Ok(())
            }
            Err(why) => {
                self.discard(&temporary);
                Err(why)
            }
        }
    }

    fn append(&mut self, open: &mut Open<D::File>, pieces: &[Bytes]) -> Result<(), NotStored> {
        let more: u64 = pieces.iter().map(|piece| wide(piece.len())).sum();
        let written = open.written.saturating_add(more);
        if open.length.is_some_and(|length| written > length) {
            return Err(NotStored::Length);
        }
        self.disk.write(&open.file, open.written, pieces)?;
        open.written = written;
        Ok(())
    }

    /// The name under which the whole body now lies.
    fn finish(&mut self, open: Open<D::File>) -> Result<Box<[u8]>, NotStored> {
        if open.length.is_some_and(|length| length != open.written) {
            return Err(NotStored::Length);
        }
        match self.disk.set_head(&open.file, &open.head) {
            // ext4 keeps attributes in one block and says that it is full when they need more.
            Err(DiskError::Full) if self.has_room() => return Err(NotStored::HeadTooLong),
            result => result?,
        }
        let blocks = u32::try_from(open.written.div_ceil(BLOCK_BYTES)).unwrap_or(u32::MAX);
        let blocks = blocks.saturating_add((open.head.len() > HEAD_BESIDE_INODE_BYTES_MAX).into());
        // Closed before it is renamed: to who watches it comes whole, in one event.
        drop(open.file);
        let name = self.place(&open.temporary, &open.name)?;
        self.inventory.insert(self.hash.of(&name), blocks, self.upkeep.epoch);
        self.tags.insert(&name, &open.tags);
        Ok(name)
    }

    fn has_room(&mut self) -> bool {
        const ROOM_BYTES: u64 = 1 << 20;
        self.disk.space().is_ok_and(|space| space.free_bytes >= ROOM_BYTES)
    }

    fn discard(&mut self, temporary: &[u8]) {
        match self.disk.remove(temporary) {
            Ok(()) | Err(DiskError::Missing) => {}
            // The next start clears it.
            Err(_) => self.totals.failures += 1,
        }
    }

    fn refuse(&mut self, id: StoreId, why: NotStored) {
        if why == NotStored::Full {
            self.upkeep.is_full = true;
        }
        self.totals.not_stored[why.index()] += 1;
        self.events.push_back(Event::NotStored { id, why });
    }

    fn tell_changed(&mut self, name: &[u8]) {
        self.options.presence.insert(name);
        self.events.push_back(Event::Changed { name: name.into() });
    }
}
