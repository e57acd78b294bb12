//! The tree thread: everything about the tree that can take long, so that no worker does it.
//!
//! Input: the kernel's changes of watched directories, its counters of reclaimed pages.
//! Output: what changed, to every worker; whether all is watched, and the reclaim epoch.
//! Owns: a watch per directory, bounded by `WATCHES_MAX` and the kernel's limit.   Thread: `tree`.
//! Invariants: `is_watching` is set only while every directory below the root has a watch; a new
//! directory is told to the workers after its watch is in place, so that nothing falls between.
//! Not here: what a worker does about a change (`daemon::http`).

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Receiver;

use crate::cache::presence::Presence;
use crate::cache::store::TEMPORARY;
use crate::limits::WATCHES_MAX;
use crate::sys::clock::Clock;
use crate::sys::event::Doorbell;
use crate::sys::socket::wait_readable;
use crate::sys::tree::{Changes, Reclaim, Watch, What, can_enter, is_local, list};
use crate::time::{Duration, Instant};

use super::http::{ToWorker, TreeState};
use super::placed::Placed;
use super::topology::{StoreLine, WorkerLine};

/// What the tree thread is told.
#[derive(Clone, Copy, Debug)]
pub enum ToTree {
    /// End.
    Stop,
}

/// What control shows of the tree.
#[derive(Debug, Default)]
pub struct TreeCounters {
    /// Directories watched.
    pub watches: AtomicU64,
    /// Changes seen.
    pub changes: AtomicU64,
    /// Times the kernel's queue overflowed and everything was looked at anew.
    pub overflows: AtomicU64,
}

/// How often the counters of reclaim are read.
const RECLAIM_PERIOD: Duration = Duration::from_secs(1);

/// How long after reading changes the next are waited for at least: a tenth of what a change may
/// take to show.
const REST: Duration = Duration::from_millis(10);

/// An epoch ends at the latest after this, since not every way in which pages leave memory is
/// counted (another process may ask for it, madvise(2) `MADV_PAGEOUT`).
const EPOCH_MAX: Duration = Duration::from_secs(30);

/// How long after a failure it is tried again to watch the tree.
const WATCH_RETRY: Duration = Duration::from_secs(60);

/// From this many directories in one batch on, workers look at every file again when it is asked
/// for, instead of going through their tables once for each.
const DIRECTORIES_MAX: usize = 3;

/// The store, as the tree thread sees it.
pub struct StoreSide {
    /// Where it is told of changes.
    pub line: StoreLine,
    /// Which names there are, for the workers.
    pub presence: Arc<Presence>,
    /// What it puts in place itself.
    pub placed: Placed,
}

/// See the module.
pub struct Watcher {
    root: PathBuf,
    is_wanted: bool,
    changes: Option<Changes>,
    paths: HashMap<Watch, Vec<u8>>,
    /// Watches by name, the root's being empty.
    watches: HashMap<Vec<u8>, Watch>,
    state: Arc<TreeState>,
    counters: Arc<TreeCounters>,
    workers: Vec<WorkerLine>,
    store: Option<StoreSide>,
    /// The watch on the store's temporary files: what is moved from there into the tree is its own
    /// doing, and told by itself.
    departures: Option<Watch>,
    reclaim: Reclaim,
    reclaimed: u64,
    epoch_began: Instant,
    reclaim_read: Instant,
    clock: Clock,
    /// When to try to watch again, and what was said when it last failed.
    next_try: Instant,
    said: String,
}

/// What one read of the kernel's queue came to.
#[derive(Default)]
struct Batch {
    files: HashMap<Vec<u8>, bool>,
    directories: HashSet<Vec<u8>>,
    appeared: HashSet<Vec<u8>>,
    /// Directories whose rights or times changed: they are where they were.
    touched: HashSet<Vec<u8>>,
    /// Directories that the store made.
    own_directories: HashSet<Vec<u8>>,
    has_temporary: bool,
    must_rescan: bool,
    root_ended: bool,
}

impl Watcher {
    /// Watches nothing yet. `is_wanted`: whether it shall watch at all.
    #[must_use]
    pub fn new(
        root: &Path,
        is_wanted: bool,
        state: Arc<TreeState>,
        counters: Arc<TreeCounters>,
        workers: Vec<WorkerLine>,
        store: Option<StoreSide>,
    ) -> Self {
        let mut reclaim = Reclaim::open();
        let reclaimed = reclaim.sum();
        let clock = Clock::default();
        Self {
            root: root.to_owned(),
            is_wanted,
            changes: None,
            paths: HashMap::new(),
            watches: HashMap::new(),
            state,
            counters,
            workers,
            store,
            departures: None,
            reclaim,
            reclaimed,
            epoch_began: clock.now(),
            reclaim_read: Instant::default(),
            clock,
            next_try: Instant::default(),
            said: String::new(),
        }
    }

    /// Works until told to end.
    pub fn run(&mut self, inbox: &Receiver<ToTree>, doorbell: &Doorbell) {
        self.begin_watching();
        while inbox.try_recv().is_err() {
            let mut sources = vec![(doorbell.as_fd(), false)];
            if let Some(changes) = &self.changes {
                sources.push((changes.as_fd(), false));
            }
            if wait_readable(&sources, RECLAIM_PERIOD).is_err() {
                // poll(2) fails for want of memory only; the age bounds hold meanwhile.
                self.end_watching("poll failed");
            }
            let is_own = self.handle_changes();
            self.check_reclaim();
            if is_own {
                self.rest(inbox, doorbell);
            }
            if self.is_wanted && self.changes.is_none() && self.clock.now() >= self.next_try {
                self.begin_watching();
            }
        }
    }

    /// What the store does comes in crowds: a moment later much is read at once.
    fn rest(&self, inbox: &Receiver<ToTree>, doorbell: &Doorbell) {
        if inbox.is_empty() {
            // poll(2) fails for want of memory only; then there is no rest.
            drop(wait_readable(&[(doorbell.as_fd(), false)], REST));
        }
    }

    fn check_reclaim(&mut self) {
        let now = self.clock.now();
        if now.since(self.reclaim_read) < RECLAIM_PERIOD {
            return;
        }
        self.reclaim_read = now;
        if let Some(store) = &mut self.store {
            store.placed.age();
        }
        let reclaimed = self.reclaim.sum();
        if reclaimed != self.reclaimed || now.since(self.epoch_began) >= EPOCH_MAX {
            self.reclaimed = reclaimed;
            self.epoch_began = now;
            self.state.reclaim_epoch.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Watches every directory, then lets the workers rely on it.
    fn begin_watching(&mut self) {
        if !self.is_wanted {
            return;
        }
        self.forget_watches();
        let result = Changes::new().and_then(|changes| {
            self.changes = Some(changes);
            self.watch_departures();
            self.watch_below(Vec::new())
        });
        match result {
            Ok(()) => {
                if !std::mem::take(&mut self.said).is_empty() {
                    log::info!("the tree is watched again");
                }
                self.state.is_watching.store(true, Ordering::Release);
                // What was opened before its directory was watched is not to be trusted.
                self.tell_all(&ToWorker::Flush);
            }
            Err(error) => self.end_watching(&explain(&error)),
        }
    }

    /// Where this cannot be watched, the store's doings are taken for others', which costs a look.
    fn watch_departures(&mut self) {
        let path = self.path_of(TEMPORARY);
        self.departures = match (&self.store, &mut self.changes) {
            (Some(_), Some(changes)) => changes.watch_departures(&path).ok(),
            _ => None,
        };
    }

    fn forget_watches(&mut self) {
        self.departures = None;
        self.paths.clear();
        self.watches.clear();
        self.changes = None;
    }

    /// Goes on without the watch, and tries again later: what was in the way may be gone then.
    fn end_watching(&mut self, why: &str) {
        if self.said != why {
            log::warn!("the tree is not watched: {why}; files are checked by age (tree.recheck)");
            why.clone_into(&mut self.said);
        }
        self.next_try = self.clock.now().after(WATCH_RETRY);
        self.state.is_watching.store(false, Ordering::Release);
        self.forget_watches();
        self.counters.watches.store(0, Ordering::Relaxed);
        // Entries that were opened as watched must not be trusted for longer.
        self.tell_all(&ToWorker::Flush);
    }

    /// Watches the directory `name` and all below it. A directory that goes meanwhile is no error:
    /// its parent, which is watched already, tells of it.
    fn watch_below(&mut self, name: Vec<u8>) -> io::Result<()> {
        let mut pending = vec![name];
        while let Some(name) = pending.pop() {
            let path = self.path_of(&name);
            let Some(changes) = &mut self.changes else { return Ok(()) };
            if self.paths.len() >= WATCHES_MAX {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            let watch = match changes.watch(&path) {
                Ok(watch) => watch,
                Err(error) if is_gone(&error) && !name.is_empty() => continue,
                // What nobody may enter has no files for us; what we may enter but not read has
                // some, and they would change unseen.
                Err(error) if is_refused(&error) && !name.is_empty() && !can_enter(&path) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            // Mounted below the root: others may change it without this kernel's knowledge.
            if !is_local(&path) {
                self.state.is_remote.store(true, Ordering::Relaxed);
                let what = format!("{} is a network or user-space file system", path.display());
                return Err(io::Error::other(what));
            }
            self.paths.insert(watch.clone(), name.clone());
            self.watches.insert(name.clone(), watch);
            match self.note_children(&name, &path, &mut pending) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        self.counters.watches.store(self.paths.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Notes what is in a directory that is watched from now on, as nobody was told of it; the
    /// directories are still to be watched.
    fn note_children(
        &self,
        name: &[u8],
        path: &Path,
        pending: &mut Vec<Vec<u8>>,
    ) -> io::Result<()> {
        list(path, |last, kind| {
            let child = join(name, last);
            if let Some(store) = &self.store {
                store.presence.insert(&child);
                if kind.is_some_and(|kind| kind.is_symlink()) {
                    store.presence.handle_link();
                }
            }
            // The store's temporary files concern nobody.
            if kind.is_some_and(|kind| kind.is_dir()) && child != TEMPORARY {
                pending.push(child);
            }
        })
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(name.strip_prefix(b"/").unwrap_or(name)))
    }

    /// Returns whether all there was were the store's own doings, of which workers know.
    fn handle_changes(&mut self) -> bool {
        let Some(changes) = &mut self.changes else { return false };
        let (paths, mut batch) = (&self.paths, Batch::default());
        let mut placed = self.store.as_mut().map(|store| &mut store.placed);
        let departures = self.departures.clone();
        // The two halves of a move follow each other.
        let (mut own_cookie, mut own) = (0, 0);
        let mut count = 0;
        let result = changes.read(|event| {
            count += 1;
            if event.what == What::Overflow {
                batch.must_rescan = true;
                return;
            }
            if departures.as_ref() == Some(&event.watch) {
                own_cookie = event.cookie;
                own += 2;
                return;
            }
            let is_own = event.cookie != 0 && event.cookie == own_cookie;
            let Some(directory) = paths.get(&event.watch) else { return };
            let Some(last) = event.name else {
                batch.root_ended |= event.what == What::Ended && directory.is_empty();
                return;
            };
            let name = join(directory, last);
            match (event.is_directory, event.what) {
                (true, What::Appeared) if name == TEMPORARY => batch.has_temporary = true,
                (true, _) if name == TEMPORARY => {}
                // The store tells by itself what it did.
                (true, What::Appeared) if is_own => drop(batch.own_directories.insert(name)),
                (false, What::Appeared) if is_own => {}
                (false, What::Appeared)
                    if event.cookie == 0
                        && placed.as_mut().is_some_and(|placed| placed.take(&name)) =>
                {
                    own += 1;
                }
                (true, What::Appeared) => {
                    batch.appeared.insert(name.clone());
                    batch.directories.insert(name);
                }
                // Rights taken from a directory concern all below it.
                (true, What::Touched) => drop(batch.touched.insert(name)),
                (true, _) => drop(batch.directories.insert(name)),
                (false, what) => *batch.files.entry(name).or_default() |= what == What::Written,
            }
        });
        self.counters.changes.fetch_add(count, Ordering::Relaxed);
        if let Err(error) = result {
            self.end_watching(&explain(&error));
        } else if count > 0 {
            self.apply(batch);
        }
        own > 0 && count <= own
    }

    fn apply(&mut self, batch: Batch) {
        if batch.root_ended {
            self.end_watching("its root was moved or removed");
            return;
        }
        if batch.must_rescan {
            self.counters.overflows.fetch_add(1, Ordering::Relaxed);
            log::warn!("changes of the tree were lost; raise fs.inotify.max_queued_events");
            self.state.is_watching.store(false, Ordering::Release);
            self.begin_watching();
            if let Some(store) = &self.store {
                store.presence.set_complete(false);
                store.line.tell_rescan();
            }
            return;
        }
        if batch.has_temporary {
            self.watch_departures();
        }
        for name in &batch.directories {
            self.unwatch_below(name);
        }
        for name in batch.appeared.iter().chain(&batch.own_directories) {
            if let Err(error) = self.watch_below(name.clone()) {
                self.tell_store(&batch);
                self.end_watching(&explain(&error));
                return;
            }
        }
        // What comes into a new directory once the store looked through it is told of by a watch.
        self.tell_store(&batch);
        for name in &batch.touched {
            self.rewatch(name);
        }
        let all: Vec<Vec<u8>> = batch.directories.into_iter().chain(batch.touched).collect();
        match all.len() {
            0 => {}
            // Each would have every worker look through its whole table.
            DIRECTORIES_MAX.. => self.tell_all(&ToWorker::Flush),
            _ => {
                for name in all {
                    self.tell_all(&ToWorker::Directory(name.into()));
                }
            }
        }
        for (name, in_place) in batch.files {
            self.tell_all(&ToWorker::Changed { name: name.into(), in_place });
        }
        for worker in &self.workers {
            worker.ring();
        }
    }

    /// The store's inventory is to stay right.
    fn tell_store(&self, batch: &Batch) {
        let Some(StoreSide { line: store, presence, .. }) = &self.store else { return };
        for name in batch.files.keys() {
            presence.insert(name);
            let path = self.path_of(name);
            if std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
                presence.handle_link();
            }
        }
        if !batch.appeared.is_empty() {
            // What is in it is known once the store has looked through it.
            presence.set_complete(false);
        }
        for name in &batch.own_directories {
            presence.insert(name);
        }
        for name in batch.files.keys().chain(&batch.appeared) {
            store.tell_changed(name.as_slice().into());
        }
        if batch.directories.iter().any(|name| !batch.appeared.contains(name)) {
            store.tell_rescan();
        }
    }

    /// A directory may be readable now that was not, or be there still.
    fn rewatch(&mut self, name: &[u8]) {
        if !self.watches.contains_key(name)
            && let Err(error) = self.watch_below(name.to_vec())
        {
            self.end_watching(&explain(&error));
        }
    }

    /// Forgets the watches of `name` and all below it: they go with the directory, or follow it to
    /// where its name is not ours.
    fn unwatch_below(&mut self, name: &[u8]) {
        let is_below = |other: &[u8]| {
            other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        let below: Vec<Vec<u8>> =
            self.watches.keys().filter(|other| is_below(other)).cloned().collect();
        for name in below {
            if let Some(watch) = self.watches.remove(&name) {
                self.paths.remove(&watch);
                if let Some(changes) = &mut self.changes {
                    changes.unwatch(watch);
                }
            }
        }
        self.counters.watches.store(self.paths.len() as u64, Ordering::Relaxed);
    }

    fn tell_all(&self, message: &ToWorker) {
        for worker in &self.workers {
            worker.tell(message.clone());
            if matches!(message, ToWorker::Flush) {
                worker.ring();
            }
        }
    }
}

/// The name of `last` in the directory `name`, with a leading slash as keys have.
fn join(name: &[u8], last: &OsStr) -> Vec<u8> {
    [name, b"/", last.as_bytes()].concat()
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

fn is_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EACCES)
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => {
            "more directories than may be watched; raise fs.inotify.max_user_watches".to_owned()
        }
        Some(libc::EMFILE) => {
            "no more inotify instances; raise fs.inotify.max_user_instances".to_owned()
        }
        Some(libc::EACCES) => {
            "a directory can be entered but not read; give the daemon's user the \
             right to read it"
                .to_owned()
        }
        _ => error.to_string(),
    }
}
