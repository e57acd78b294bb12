//! The files a worker has open: found, opened, looked at again, paged in, dropped when they change.
//!
//! Input: keys, completions of opens and page-ins, changes seen by the tree thread.
//! Output: `Lookup`, and the connections that waited.
//! Owns: the table of open files, bounded by its capacity; opens and page-ins under way, bounded by
//! `OPENINGS_MAX` and `PAGE_INS_MAX`.   Thread: one worker.
//! Invariants: a file is served only if its version was seen within its age bound; a version that
//! was changed in place is marked broken before the next byte of it is sent.
//! Not here: what is answered (`daemon::http::answer`), watching (`daemon::tree`).

mod handle;
mod opening;
mod paging;
mod version;

pub use handle::OpenFile;
pub use version::Version;

use std::cell::Cell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::cache::purge::Purge;
use crate::cache::table::Table;
use crate::http::Status;
use crate::http::encoding::Coding;
use crate::limits::{OPENINGS_MAX, PAGE_INS_MAX};
use crate::stdx::slab::{Key, Slab};
use crate::sys::process::random_seed;
use crate::sys::tree::identify;
use crate::sys::uring::Ring;
use crate::time::{Duration, Instant};

use super::super::settings::Settings;
use handle::Closing;
use opening::Opening;
use paging::PageIn;

/// What the tree thread tells all workers without a message.
#[derive(Debug, Default)]
pub struct TreeState {
    /// Whether every directory is watched, so that changes are told.
    pub is_watching: AtomicBool,
    /// Whether some of the tree lies on a network or user-space file system.
    pub is_remote: AtomicBool,
    /// Rises when pages of files may have been reclaimed.
    pub reclaim_epoch: AtomicU64,
}

enum Entry {
    /// `flushes`: the table's count of them when this was found to be so.
    Present {
        version: Rc<Version>,
        checked: Instant,
        is_watched: bool,
        flushes: u64,
    },
    Absent {
        status: Status,
        is_directory: bool,
        checked: Instant,
    },
}

/// How long a file is taken to be as it was.
const fn bound(is_watched: bool, settings: &Settings) -> Duration {
    if is_watched { settings.recheck_watched } else { settings.recheck }
}

/// What is known of a key.
pub enum Lookup {
    /// Serve this.
    Found(Rc<Version>),
    /// Answer this status.
    Absent(Status),
    /// It is a directory: there is no such file.
    Directory,
    /// It is being opened; ask again when told.
    Opening,
}

/// See the module.
pub struct Files {
    table: Table<Entry>,
    openings: Slab<Opening>,
    opening_by_key: HashMap<Box<[u8]>, Key>,
    page_ins: Slab<PageIn>,
    root: OwnedFd,
    /// The root's file system.
    device: u64,
    /// Files of another file system were met: an open may wait for its server.
    may_wait: bool,
    tree: Arc<TreeState>,
    /// Descriptors of large files that may still be kept open.
    descriptors_left: Rc<Cell<usize>>,
    closing: Closing,
    /// Raised by a flush: what is older is not trusted. Nothing is dropped for it, since unmapping
    /// a whole table would hold up every connection.
    flushes: u64,
    /// Raised by a reload: heads that are older are prepared anew.
    reloads: u64,
}

/// How long the outcome "there is no such file" holds, so that those who waited for it hear it.
const ABSENCE: Duration = Duration::from_millis(100);

impl Files {
    /// Nothing open yet.
    pub fn new(
        capacity: usize,
        descriptors: Rc<Cell<usize>>,
        root: OwnedFd,
        tree: Arc<TreeState>,
    ) -> Self {
        // One that cannot be looked at is as any other.
        let device = identify(&root).map_or(0, |(identity, _)| identity.device);
        Self {
            table: Table::new(capacity, random_seed()),
            openings: Slab::new(OPENINGS_MAX),
            opening_by_key: HashMap::new(),
            page_ins: Slab::new(PAGE_INS_MAX),
            root,
            device,
            may_wait: false,
            tree,
            descriptors_left: descriptors,
            closing: Closing::default(),
            flushes: 0,
            reloads: 0,
        }
    }

    /// How many entries the table holds.
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether something is open under `key`, or known of it.
    pub fn has(&mut self, key: &[u8]) -> bool {
        self.table.find(key).is_some()
    }

    /// The file of `key` where nothing about it is in doubt: what most requests need, in one look.
    pub fn current(
        &mut self,
        key: &[u8],
        now: Instant,
        settings: &Settings,
    ) -> Option<Rc<Version>> {
        let id = self.table.find(key)?;
        let Some(Entry::Present { version, checked, is_watched, flushes }) = self.table.value(id)
        else {
            return None;
        };
        let is_sure = *flushes == self.flushes
            && now.since(*checked) < bound(self.is_guarded(*is_watched), settings);
        (is_sure && !version.is_broken()).then(|| Rc::clone(version))
    }

    /// Whether a change of a file that is watched would be seen. While changes are lost, none is.
    fn is_guarded(&self, is_watched: bool) -> bool {
        is_watched && self.tree.is_watching.load(Ordering::Relaxed)
    }

    /// Whether changes of the tree are seen.
    pub fn is_watched(&self) -> bool {
        self.tree.is_watching.load(Ordering::Relaxed)
    }

    /// The epoch of memory reclaim.
    pub fn epoch(&self) -> u64 {
        self.tree.reclaim_epoch.load(Ordering::Relaxed)
    }

    /// What is known of `key` at `now`. Begins to open it where nothing is; `waiter` is then told.
    pub fn lookup(
        &mut self,
        key: &[u8],
        now: Instant,
        settings: &Settings,
        waiter: Option<Key>,
        ring: &mut Ring,
    ) -> Lookup {
        if let Some(version) = self.current(key, now, settings) {
            return Lookup::Found(version);
        }
        if let Some(id) = self.table.find(key) {
            match self.table.value(id).expect("just found") {
                Entry::Absent { status, is_directory, checked }
                    if now.since(*checked) < ABSENCE =>
                {
                    return match is_directory {
                        true => Lookup::Directory,
                        false => Lookup::Absent(*status),
                    };
                }
                Entry::Absent { .. } => {}
                Entry::Present { version, is_watched, flushes, .. } => {
                    if version.is_broken() || *flushes != self.flushes {
                        return self.open(key, settings, waiter, ring);
                    }
                    // A watched file is looked at again behind the request's back: the watch is
                    // what counts, this heals a lost event. An unwatched one has no other guard.
                    if self.is_guarded(*is_watched) {
                        let version = Rc::clone(version);
                        // Where there is no room for it, the next request tries again.
                        let _: Lookup = self.open(key, settings, None, ring);
                        return Lookup::Found(version);
                    }
                }
            }
        }
        self.open(key, settings, waiter, ring)
    }

    /// The file `name` is not what it was. `in_place`: its bytes were changed, so responses under
    /// way must not go on.
    pub fn handle_change(&mut self, name: &[u8], in_place: bool) {
        self.drop_key(name, in_place);
        // It may be a sibling: then what was known of the file beside it is void as well.
        for coding in Coding::ALL {
            if let Some(base) = name.strip_suffix(coding.suffix().as_bytes()) {
                self.drop_key(base, false);
                self.drop_key(&sibling_key(base, coding), in_place);
            }
        }
    }

    /// Everything below the directory `name` may be something else. O(capacity).
    pub fn handle_directory(&mut self, name: &[u8]) {
        let is_below = |key: &[u8]| {
            key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        self.mark_openings_stale(is_below);
        self.table.remove_where(|key, _| is_below(key), drop);
    }

    /// Closes what was dropped since the last call.
    pub fn close_dropped(&mut self, ring: &mut Ring) {
        let mut closing = self.closing.borrow_mut();
        closing.drain(..).for_each(|file| ring.close_file(file));
    }

    /// Lets go of all that a purge means.
    pub fn purge(&mut self, purge: &Purge) {
        // A changed URL has few names, and clients change what they like: no look at all there is.
        // Siblings are of files that were put there, which a purge leaves alone.
        if let Some(names) = purge.names() {
            names.iter().for_each(|name| self.drop_key(name, false));
            return;
        }
        let is_meant = |key: &[u8]| {
            let name = key.iter().position(|byte| *byte == 0).map_or(key, |nul| &key[..nul]);
            purge.matches(name)
        };
        self.mark_openings_stale(is_meant);
        self.table.remove_where(|key, _| is_meant(key), drop);
    }

    /// Makes room in the arena, and lets those that were refused try again.
    pub fn cool(&mut self) {
        self.table.for_each(|entry| {
            if let Entry::Present { version, .. } = entry {
                version.cool();
            }
        });
    }

    /// Nothing that is open may be trusted any more without a look.
    pub fn flush(&mut self) {
        self.mark_openings_stale(|_| true);
        self.flushes += 1;
    }

    /// Heads were prepared with settings that are no longer in force.
    pub fn handle_settings(&mut self) {
        self.reloads += 1;
        self.flush();
    }

    /// Compares a file that is being sent with what was opened, if that is due, so that one that is
    /// changed in place is noticed even where nobody watches it or asks for it again.
    pub fn compare(&self, version: &Version, now: Instant, settings: &Settings) {
        if now.since(version.compared.get()) < settings.recheck {
            return;
        }
        version.compared.set(now);
        if let Some(open) = &version.file
            && identify(open.file()).is_ok_and(|(found, _)| version.identity.is_written(&found))
        {
            version.mark_broken();
        }
    }

    fn mark_openings_stale(&mut self, matches: impl Fn(&[u8]) -> bool) {
        for (key, tag) in &self.opening_by_key {
            if matches(key) {
                self.openings.find_mut(*tag).expect("indexed openings exist").is_stale = true;
            }
        }
    }

    fn drop_key(&mut self, key: &[u8], in_place: bool) {
        if let Some(tag) = self.opening_by_key.get(key) {
            self.openings.find_mut(*tag).expect("indexed openings exist").is_stale = true;
        }
        if let Some(Entry::Present { version, .. }) = self.table.remove(key)
            && in_place
        {
            version.mark_broken();
        }
    }
}

/// The key of the precompressed sibling of `name`. It differs from the key of the same file asked
/// for by its own name, which has another type, by a NUL that no name has.
pub fn sibling_key(name: &[u8], coding: Coding) -> Vec<u8> {
    [name, b"\0", coding.suffix().as_bytes()].concat()
}
