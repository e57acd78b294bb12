//! The files a worker has open: found, opened, looked at again, paged in, dropped when they change.
//!
//! Input: keys, completions of opens and page-ins, changes seen by the tree thread.
//! Output: `Lookup`, and the connections that waited.
//! Owns: the table of open files, bounded by its capacity; opens and page-ins under way, bounded by
//! `OPENINGS_MAX` and `PAGE_INS_MAX`.   Thread: one worker.
//! Invariants: a file is served only if its version was seen within its age bound; a version that
//! was changed in place is marked broken before the next byte of it is sent.
//! Not here: what is answered (`daemon::http::answer`), watching (`daemon::tree`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::cache::freshness::status::Handled;
use crate::cache::key;
use crate::cache::purge::Purge;
use crate::cache::record::Record;
use crate::cache::residency::Residency;
use crate::cache::table::Table;
use crate::cache::way_out::SENDFILE_BYTES_MIN;
use crate::http::Status;
use crate::http::date::DateLine;
use crate::http::encoding::{Coding, Codings};
use crate::http::head::{Description, Persistence, Prepared, Stored};
use crate::limits::{HOT_HITS_MIN, OPEN_TRIES_MAX, OPENINGS_MAX, PAGE_INS_MAX, RECORD_BYTES_MAX};
use crate::stdx::slab::{Key, Slab};
use crate::sys::clock::{unix_nanos, unix_seconds};
use crate::sys::hot::{Arena, Block};
use crate::sys::mapping::Mapping;
use crate::sys::process::random_seed;
use crate::sys::tree::{Identity, Kind, identify};
use crate::sys::uring::{Errno, Ring};
use crate::time::{Duration, Instant};

use super::super::counters::Counters;
use super::super::settings::Settings;
use super::fetch::status_line;

/// What the tree thread tells all workers without a message.
#[derive(Debug, Default)]
pub struct TreeState {
    /// Whether every directory is watched, so that changes are told.
    pub is_watching: AtomicBool,
    /// Rises when pages of files may have been reclaimed.
    pub reclaim_epoch: AtomicU64,
}

/// One version of one file.
pub struct Version {
    /// The file's bytes; `None` for an empty file.
    pub mapping: Option<Rc<Mapping>>,
    /// The open file, where it is large enough for sendfile and the budget allowed.
    pub file: Option<Rc<OpenFile>>,
    /// Its response head.
    pub prepared: Prepared,
    /// What is kept beside it, where an origin's answer is stored in it.
    pub record: Option<Arc<Record>>,
    /// Precompressed siblings seen beside it when it was opened.
    pub codings: Codings,
    /// When its use was last told to the store.
    pub used: Cell<u64>,
    /// How often it was asked for since the arena last looked, and its copy there.
    hits: Cell<u32>,
    hot: RefCell<Option<Rc<Block>>>,
    /// Said by its mapping as well, to the sends that hold only that; here it costs a hit nothing.
    is_broken: Cell<bool>,
    /// The arena had no room for it when it was last asked.
    is_refused: Cell<bool>,
    /// When its file was last compared with what was opened.
    compared: Cell<Instant>,
    /// The count of reloads when its head was prepared.
    reloads: u64,
    /// The worker's count of the bytes of all bodies when this was last sent.
    sent_at: Cell<Option<u64>>,
    identity: Identity,
    residency: RefCell<Residency>,
    /// Page-ins under way.
    paging: RefCell<Vec<(u64, Key)>>,
}

impl Version {
    /// Says that it was changed in place: no further byte of it may be sent.
    pub fn mark_broken(&self) {
        self.is_broken.set(true);
        self.hot.replace(None);
        if let Some(mapping) = &self.mapping {
            mapping.mark_broken();
        }
    }

    /// Whether it was changed in place.
    pub const fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// Its hot copy with a date of now, if it has one and none with an old date is in flight. One
    /// that is asked for often gets one, if there is room.
    pub fn hot(&self, arena: &Arena, date: &DateLine, epoch: u64) -> Option<Rc<Block>> {
        if self.identity.len >= SENDFILE_BYTES_MIN || self.is_broken() {
            return None;
        }
        self.hits.set(self.hits.get().saturating_add(1));
        let seconds = date.seconds().0;
        let mut hot = self.hot.borrow_mut();
        if let Some(block) = &*hot {
            if block.date.get() != seconds {
                if !block.patch_head(self.prepared.stamp_at(), self.prepared.stamp(date).as_bytes())
                {
                    return None;
                }
                block.date.set(seconds);
            }
            return Some(Rc::clone(block));
        }
        let whole = 0..self.identity.len;
        // Copied once its pages are known to be resident: nothing waits for a disk.
        let is_due = self.hits.get() >= HOT_HITS_MIN && !self.is_refused.get();
        if !is_due || self.resident_until(&whole, epoch) < whole.end {
            return None;
        }
        let mapping = self.mapping.as_ref()?;
        let mut head = Vec::new();
        self.prepared.emit_ok(&mut head, date, Persistence::Keep);
        hot.clone_from(&arena.fill(&head, mapping, seconds));
        self.is_refused.set(hot.is_none());
        hot.clone()
    }

    /// Lets the hot copy go if it was not asked for since the last call.
    fn cool(&self) {
        self.is_refused.set(false);
        if self.hits.replace(0) == 0 {
            self.hot.replace(None);
        }
    }

    /// Bytes of bodies that the worker sent, of `total` so far, since it last sent this one; see
    /// `way_out`.
    pub fn reuse_bytes(&self, total: u64) -> u64 {
        self.sent_at.get().map_or(u64::MAX, |before| total.saturating_sub(before))
    }

    /// It is being sent; `total` includes it.
    pub fn handle_sent(&self, total: u64) {
        self.sent_at.set(Some(total));
    }

    /// The end of what may be sent now of `range`, without waiting for a disk.
    pub fn resident_until(&self, range: &Range<u64>, epoch: u64) -> u64 {
        self.residency.borrow().until(range, epoch)
    }
}

/// Files to be closed by the ring: close(2) may wait for a network file system's flush.
type Closing = Rc<RefCell<Vec<File>>>;

/// An open file that is closed by the ring once it is dropped.
struct Handle {
    file: Option<File>,
    closing: Closing,
}

impl Handle {
    fn file(&self) -> &File {
        self.file.as_ref().expect("taken only when it is dropped")
    }
}

impl Handle {
    fn into_file(mut self) -> File {
        self.file.take().expect("taken only once")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.closing.borrow_mut().extend(self.file.take());
    }
}

/// A file kept open, on the budget of descriptors.
pub struct OpenFile {
    handle: Handle,
    budget: Rc<Cell<usize>>,
}

impl OpenFile {
    fn new(handle: Handle, budget: &Rc<Cell<usize>>) -> Option<Self> {
        budget.set(budget.get().checked_sub(1)?);
        Some(Self { handle, budget: Rc::clone(budget) })
    }

    /// The file.
    pub fn file(&self) -> &File {
        self.handle.file()
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.budget.set(self.budget.get() + 1);
    }
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

/// A file on its way to being opened.
struct Opening {
    key: Box<[u8]>,
    waiters: Vec<Key>,
    /// The file changed since: what comes out must be opened again.
    is_stale: bool,
    /// A symbolic link is on the way: its target is not watched.
    through_link: bool,
    /// How often it was tried again.
    tries: u8,
    /// Siblings still to be looked for, and those found.
    probing: Option<Probing>,
}

struct Probing {
    file: Handle,
    record: Option<Arc<Record>>,
    next: usize,
    found: Codings,
}

struct PageIn {
    version: Rc<Version>,
    start: u64,
    epoch: u64,
    waiters: Vec<Key>,
}

/// See the module.
pub struct Files {
    table: Table<Entry>,
    openings: Slab<Opening>,
    opening_by_key: HashMap<Box<[u8]>, Key>,
    page_ins: Slab<PageIn>,
    root: OwnedFd,
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
        Self {
            table: Table::new(capacity, random_seed()),
            openings: Slab::new(OPENINGS_MAX),
            opening_by_key: HashMap::new(),
            page_ins: Slab::new(PAGE_INS_MAX),
            root,
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
                Entry::Present { version, checked, is_watched, flushes } => {
                    if version.is_broken() || *flushes != self.flushes {
                        return self.open(key, settings, waiter, ring);
                    }
                    let age = now.since(*checked);
                    // A watched file is looked at again behind the request's back: the watch is
                    // what counts, this heals a lost event. An unwatched one has no other guard.
                    // While changes are lost nothing counts as watched.
                    let is_watched = *is_watched && self.tree.is_watching.load(Ordering::Relaxed);
                    let bound =
                        if is_watched { settings.recheck_watched } else { settings.recheck };
                    if age < bound {
                        return Lookup::Found(Rc::clone(version));
                    }
                    if is_watched {
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

    fn open(
        &mut self,
        key: &[u8],
        settings: &Settings,
        waiter: Option<Key>,
        ring: &mut Ring,
    ) -> Lookup {
        if let Some(tag) = self.opening_by_key.get(key) {
            let opening = self.openings.find_mut(*tag).expect("indexed openings exist");
            opening.waiters.extend(waiter);
            return Lookup::Opening;
        }
        let opening = Opening {
            key: key.into(),
            waiters: waiter.into_iter().collect(),
            is_stale: false,
            through_link: false,
            tries: 0,
            probing: None,
        };
        let Ok(tag) = self.openings.insert(opening) else {
            return Lookup::Absent(Status::ServiceUnavailable);
        };
        self.opening_by_key.insert(key.into(), tag);
        // First without links: then the watch on the directory sees every change.
        self.submit_open(tag, settings, false, "", ring);
        Lookup::Opening
    }

    fn submit_open(
        &mut self,
        tag: Key,
        settings: &Settings,
        links: bool,
        suffix: &str,
        ring: &mut Ring,
    ) {
        let opening = self.openings.find(tag).expect("under way");
        let name: Vec<u8> = key::file_name(&opening.key)
            .iter()
            .chain(suffix.as_bytes())
            .copied()
            .filter(|byte| *byte != 0)
            .collect();
        let path = CString::new(name).expect("NUL bytes are left out");
        ring.open(tag, &self.root, path, links && settings.follow_symlinks);
    }

    /// An open is over. Returns who waited for it, if that was the last step.
    pub fn handle_opened(
        &mut self,
        tag: Key,
        result: Result<File, Errno>,
        now: Instant,
        settings: &Settings,
        ring: &mut Ring,
        counters: &Counters,
    ) -> Vec<Key> {
        let result =
            result.map(|file| Handle { file: Some(file), closing: Rc::clone(&self.closing) });
        let opening = self.openings.find_mut(tag).expect("opens complete once");
        if let Some(probing) = &mut opening.probing {
            let is_file = |file: &Handle| matches!(identify(file.file()), Ok((_, Kind::File)));
            if result.as_ref().is_ok_and(is_file) {
                probing.found.insert(Coding::ALL[probing.next]);
            }
            probing.next += 1;
            return self.probe_or_finish(tag, now, settings, ring, counters);
        }
        let file = match result {
            Ok(file) => file,
            Err(Errno(libc::ELOOP)) if !opening.through_link && settings.follow_symlinks => {
                opening.through_link = true;
                self.submit_open(tag, settings, true, "", ring);
                return Vec::new();
            }
            // EAGAIN: something was renamed while the kernel walked the path (openat2(2)).
            Err(Errno(libc::EAGAIN)) if opening.tries < OPEN_TRIES_MAX => {
                opening.tries += 1;
                let links = opening.through_link;
                self.submit_open(tag, settings, links, "", ring);
                return Vec::new();
            }
            Err(error) => return self.finish_absent(tag, status_of(error), now, counters),
        };
        let is_sibling = opening.key.contains(&0);
        if !is_sibling && settings.has_origin(settings.split(&opening.key).0) {
            ring.read_attribute(tag, file.into_file(), ATTRIBUTE, RECORD_BYTES_MAX);
            return Vec::new();
        }
        self.handle_file(tag, file, None, now, settings, ring, counters)
    }

    /// What is kept beside a file was read. Returns who waited.
    #[expect(clippy::too_many_arguments, reason = "a file, and what the worker knows")]
    pub fn handle_attribute(
        &mut self,
        tag: Key,
        file: File,
        result: Result<Vec<u8>, Errno>,
        now: Instant,
        settings: &Settings,
        ring: &mut Ring,
        counters: &Counters,
    ) -> Vec<Key> {
        let file = Handle { file: Some(file), closing: Rc::clone(&self.closing) };
        let record = match result.map(|bytes| Record::parse(&bytes)) {
            Ok(Ok(record)) => Some(record),
            Ok(Err(_)) => {
                // Nobody knows what it is: it is fetched anew, in its place.
                counters.cache.damaged.add(1);
                return self.finish_absent(tag, Status::NotFound, now, counters);
            }
            // No such attribute: it was put there by hand.
            Err(_) => None,
        };
        if let Some(record) = &record {
            let len = identify(file.file()).map_or(u64::MAX, |(identity, _)| identity.len);
            if len != record.body_bytes {
                counters.cache.damaged.add(1);
                return self.finish_absent(tag, Status::NotFound, now, counters);
            }
        }
        self.handle_file(tag, file, record.map(Arc::new), now, settings, ring, counters)
    }

    #[expect(clippy::too_many_arguments, reason = "a file, and what the worker knows")]
    fn handle_file(
        &mut self,
        tag: Key,
        file: Handle,
        record: Option<Arc<Record>>,
        now: Instant,
        settings: &Settings,
        ring: &mut Ring,
        counters: &Counters,
    ) -> Vec<Key> {
        let opening = self.openings.find_mut(tag).expect("under way");
        let content_type = settings.content_type(&opening.key);
        let is_sibling = opening.key.contains(&0);
        // Codings of an origin's answers are variants of their own.
        let probes = !is_sibling && record.is_none() && settings.is_compressible(content_type);
        let next = if probes { 0 } else { Coding::ALL.len() };
        opening.probing = Some(Probing { file, record, next, found: Codings::NONE });
        self.probe_or_finish(tag, now, settings, ring, counters)
    }

    fn probe_or_finish(
        &mut self,
        tag: Key,
        now: Instant,
        settings: &Settings,
        ring: &mut Ring,
        counters: &Counters,
    ) -> Vec<Key> {
        let opening = self.openings.find_mut(tag).expect("under way");
        let probing = opening.probing.as_ref().expect("probing");
        if let Some(coding) = Coding::ALL.get(probing.next) {
            self.submit_open(tag, settings, true, coding.suffix(), ring);
            return Vec::new();
        }
        if opening.is_stale && opening.tries < OPEN_TRIES_MAX {
            opening.is_stale = false;
            opening.tries += 1;
            opening.probing = None;
            opening.through_link = false;
            self.submit_open(tag, settings, false, "", ring);
            return Vec::new();
        }
        self.finish_present(tag, now, settings, counters)
    }

    fn finish_absent(
        &mut self,
        tag: Key,
        status: Status,
        now: Instant,
        counters: &Counters,
    ) -> Vec<Key> {
        let opening = self.take_opening(tag);
        self.insert_absent(&opening.key, status, false, now, counters);
        opening.waiters
    }

    /// There is no such file, or the machine could not open it now: then what is known of it, if it
    /// was good, is better than nothing.
    fn insert_absent(
        &mut self,
        key: &[u8],
        status: Status,
        is_directory: bool,
        now: Instant,
        counters: &Counters,
    ) {
        let is_passing = matches!(status, Status::ServiceUnavailable | Status::InternalServerError);
        if is_passing
            && let Some(id) = self.table.find(key)
            && let Some(Entry::Present { version, checked, .. }) = self.table.value_mut(id)
            && !version.is_broken()
        {
            *checked = now;
            return;
        }
        self.insert(key, Entry::Absent { status, is_directory, checked: now }, counters);
    }

    fn finish_present(
        &mut self,
        tag: Key,
        now: Instant,
        settings: &Settings,
        counters: &Counters,
    ) -> Vec<Key> {
        let opening = self.take_opening(tag);
        let probing = opening.probing.expect("probing is over");
        // One that changed at every try is known by its age only.
        let is_seen = !opening.through_link && !opening.is_stale;
        let is_watched = self.tree.is_watching.load(Ordering::Acquire) && is_seen;
        match self.version(&opening.key, probing, settings, now) {
            Ok(version) => {
                let flushes = self.flushes;
                let entry = Entry::Present { version, checked: now, is_watched, flushes };
                self.insert(&opening.key, entry, counters);
            }
            Err((status, is_directory)) => {
                let key = &opening.key;
                self.insert_absent(key, status, is_directory, now, counters);
            }
        }
        opening.waiters
    }

    fn take_opening(&mut self, tag: Key) -> Opening {
        let opening = self.openings.remove(tag).expect("under way");
        self.opening_by_key.remove(&opening.key);
        opening
    }

    fn insert(&mut self, key: &[u8], entry: Entry, counters: &Counters) {
        let before = self.table.len();
        let (_, left) = self.table.insert(key, entry);
        if left.is_some() && self.table.len() == before && before == self.table.capacity() {
            counters.table_evictions.add(1);
        }
        drop(left);
        counters.table_files.set(self.table.len() as u64);
    }

    /// The version that `file` is: the one already open, if it is still the same. Else the status
    /// to answer, and whether it is a directory.
    fn version(
        &mut self,
        name: &[u8],
        probing: Probing,
        settings: &Settings,
        now: Instant,
    ) -> Result<Rc<Version>, (Status, bool)> {
        let Probing { file, record, found: codings, .. } = probing;
        let (identity, kind) =
            identify(file.file()).map_err(|_| (Status::InternalServerError, false))?;
        if kind != Kind::File {
            return Err((Status::NotFound, kind == Kind::Directory));
        }
        if let Some(id) = self.table.find(name)
            && let Some(Entry::Present { version, .. }) = self.table.value(id)
        {
            let is_same = version.identity == identity
                && version.codings == codings
                && version.record == record;
            if is_same && !version.is_broken() && version.reloads == self.reloads {
                return Ok(Rc::clone(version));
            }
            if version.identity.is_written(&identity) {
                // The same inode with other bytes: it was written in place.
                version.mark_broken();
            }
        }
        let mapping = if identity.len == 0 {
            None
        } else {
            let mapping = Mapping::new(file.file(), identity.len);
            Some(Rc::new(mapping.map_err(|_| (Status::ServiceUnavailable, false))?))
        };
        let large = identity.len >= SENDFILE_BYTES_MIN;
        let file = large.then(|| OpenFile::new(file, &self.descriptors_left)).flatten();
        let prepared = match &record {
            Some(record) => prepare_stored(record, settings),
            None => prepare(name, &identity, codings, settings),
        };
        Ok(Rc::new(Version {
            mapping,
            file: file.map(Rc::new),
            prepared,
            record,
            codings,
            used: Cell::new(0),
            hits: Cell::new(0),
            hot: RefCell::new(None),
            is_broken: Cell::new(false),
            is_refused: Cell::new(false),
            sent_at: Cell::new(None),
            compared: Cell::new(now),
            reloads: self.reloads,
            identity,
            residency: RefCell::new(Residency::new(identity.len)),
            paging: RefCell::new(Vec::new()),
        }))
    }

    /// The file of `key` holds on, with another record: an origin confirmed it.
    pub fn renew(&mut self, key: &[u8], record: &Arc<Record>, settings: &Settings, now: Instant) {
        let Some(id) = self.table.find(key) else { return };
        let Some(Entry::Present { version, checked, .. }) = self.table.value_mut(id) else {
            return;
        };
        if version.record.is_none() || version.is_broken() {
            return;
        }
        let before = Rc::clone(version);
        *checked = now;
        *version = Rc::new(Version {
            mapping: before.mapping.clone(),
            file: before.file.clone(),
            prepared: prepare_stored(record, settings),
            record: Some(Arc::clone(record)),
            codings: before.codings,
            used: Cell::new(0),
            hits: Cell::new(0),
            hot: RefCell::new(None),
            is_broken: Cell::new(false),
            is_refused: Cell::new(false),
            sent_at: Cell::new(before.sent_at.get()),
            compared: Cell::new(now),
            reloads: self.reloads,
            identity: before.identity,
            residency: RefCell::new(before.residency.borrow().clone()),
            paging: RefCell::new(Vec::new()),
        });
    }

    /// Has the chunk of `version` that holds byte `at` read into memory; `waiter` is told when it
    /// is. Returns false where too many are being read.
    #[must_use]
    pub fn page_in(
        &mut self,
        version: &Rc<Version>,
        at: u64,
        waiter: Option<Key>,
        ring: &mut Ring,
        counters: &Counters,
    ) -> bool {
        let Some(mapping) = &version.mapping else { return true };
        let chunk = Residency::chunk(at, version.identity.len);
        let under_way =
            version.paging.borrow().iter().find(|(start, _)| *start == chunk.start).copied();
        if let Some((_, tag)) = under_way {
            let page_in = self.page_ins.find_mut(tag).expect("listed page-ins exist");
            page_in.waiters.extend(waiter);
            return true;
        }
        let page_in = PageIn {
            version: Rc::clone(version),
            start: chunk.start,
            epoch: self.epoch(),
            waiters: waiter.into_iter().collect(),
        };
        let Ok(tag) = self.page_ins.insert(page_in) else { return false };
        counters.page_ins.add(1);
        version.paging.borrow_mut().push((chunk.start, tag));
        ring.page_in(tag, mapping, &chunk);
        true
    }

    /// A page-in is over. Returns who waited. EFAULT means that the file has become shorter: it is
    /// marked broken, and those who waited find out.
    pub fn handle_paged_in(&mut self, tag: Key, result: Result<(), Errno>) -> Vec<Key> {
        let page_in = self.page_ins.remove(tag).expect("page-ins complete once");
        page_in.version.paging.borrow_mut().retain(|(_, other)| *other != tag);
        match result {
            Ok(()) => {
                page_in
                    .version
                    .residency
                    .borrow_mut()
                    .handle_paged_in(page_in.start, page_in.epoch);
            }
            Err(_) => page_in.version.mark_broken(),
        }
        page_in.waiters
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

fn status_of(error: Errno) -> Status {
    match error.0 {
        libc::EACCES | libc::EPERM => Status::Forbidden,
        libc::EMFILE | libc::ENFILE | libc::ENOMEM => Status::ServiceUnavailable,
        libc::EIO => Status::InternalServerError,
        // EXDEV: the path leads out of the root. ELOOP: a link that is not to be followed.
        _ => Status::NotFound,
    }
}

/// Where what is kept beside a file lies.
const ATTRIBUTE: &CStr = c"user.peerage";

fn prepare_stored(record: &Record, settings: &Settings) -> Prepared {
    Prepared::of_stored(&Stored {
        len: record.body_bytes,
        fields: &record.fields,
        cache_status: &status_line(&settings.cache_name, Handled::Hit, None),
        received_at: record.freshness.received_at,
        initial_age_seconds: record.freshness.initial_age_seconds,
        ranges: settings.ranges_max > 0,
    })
}

/// Kernels stamp files by their tick, 10 ms at the longest: a file opened within it may be replaced
/// by one with the same time. Later the time tells the two apart, and boxes with the same file
/// agree on its entity tag.
const TICK_NANOS_MAX: u64 = 20_000_000;

fn prepare(name: &[u8], identity: &Identity, codings: Codings, settings: &Settings) -> Prepared {
    // A sibling has the type and the rules of the file that it is a sibling of.
    let (shown, suffix) = match name.iter().position(|byte| *byte == 0) {
        Some(nul) => (&name[..nul], &name[nul + 1..]),
        None => (name, &[][..]),
    };
    let coding = Coding::ALL.into_iter().find(|coding| coding.suffix().as_bytes() == suffix);
    let (directory, path) = settings.split(shown);
    let is_fresh = unix_nanos().saturating_sub(identity.modified_nanos) < TICK_NANOS_MAX;
    Prepared::new(&Description {
        len: identity.len,
        modified_nanos: identity.modified_nanos,
        now: unix_seconds(),
        twin: if is_fresh { identity.inode } else { 0 },
        content_type: settings.content_type(path),
        coding,
        varies: coding.is_some() || !codings.is_empty(),
        cache_control: settings.cache_control(directory, path),
        server_name: &settings.server_name,
        ranges: settings.ranges_max > 0,
    })
}
