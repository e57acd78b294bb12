//! The store thread: everything that changes the tree, so that no worker waits for a disk.
//!
//! Input: `ToStore`, from workers, the tree thread and control.   Output: `Replies`, and counters.
//! Owns: the store of `cache::store` on the real disk.   Thread: `store`.
//! Invariants: nobody waits for it, nor for a long purge in it; purges are done one after the
//! other, each when it is answered.
//! Differs from the house's rule that a thread sleeps in its ring: its system calls are meant to
//! block, and there is one of each at a time.
//! Not here: what is stored and evicted (`cache::store`), system calls (`sys::disk`).

mod counters;
mod disk;
mod replies;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{RecvTimeoutError, TryRecvError};

use crate::cache::purge::{Purge, Purged};
use crate::cache::store::{Event, Put, Sight, Store};
pub use crate::cache::store::{Limits, NotStored, Options, StoreId};
use crate::limits::{STORE_BATCH, STORE_STEP_ENTRIES_MAX};
use crate::stdx::bytes::Bytes;
use crate::sys::clock::Clock;
use crate::time::{Duration, Instant};

use super::placed::Placing;
use super::topology::StoreEnd;
use disk::TreeDisk;

pub use counters::StoreCounters;
pub use replies::Lines;

/// What the store thread is told.
#[derive(Debug)]
pub enum ToStore {
    /// A body begins, and often ends.
    Put(Put),
    /// It goes on.
    More {
        /// Which.
        id: StoreId,
        /// The next bytes.
        pieces: Vec<Bytes>,
        /// What lies beside it, where that was not known when it began.
        head: Option<Box<[u8]>>,
        /// Whether they are the last ones.
        is_last: bool,
    },
    /// It will not end. There is no answer.
    Abort {
        /// Which.
        id: StoreId,
    },
    /// A stored file gets another head.
    Freshen {
        /// Its name.
        name: Box<[u8]>,
        /// The one it has, or nothing is done.
        before: Box<[u8]>,
        /// The one it gets.
        head: Box<[u8]>,
    },
    /// A stored file goes, if it has this head.
    RemoveIf {
        /// Its name.
        name: Box<[u8]>,
        /// The head.
        head: Box<[u8]>,
    },
    /// Stored files go; others stay.
    Remove {
        /// Their names.
        names: Vec<Box<[u8]>>,
    },
    /// Names that were served lately, by `cache::inventory::NameHash`.
    Used {
        /// Their hashes.
        hashes: Vec<u64>,
    },
    /// A file or directory may have come or changed by other hands, or a file gone.
    Changed {
        /// Its name.
        name: Box<[u8]>,
    },
    /// A directory went by other hands, or changes were lost: the tree is learnt anew.
    Rescan,
    /// Stored files go, or get heads that say that they are old.
    Purge {
        /// Comes back with the answer.
        id: u64,
        /// Which files, and how.
        purge: Arc<Purge>,
    },
    /// What lies under a name.
    Look {
        /// Comes back with the answer.
        id: u64,
        /// The name.
        name: Box<[u8]>,
    },
    /// How much may be stored from now on.
    Limits(Limits),
    /// End. Bodies under way are given up.
    Stop,
}

/// What a worker is told.
#[derive(Debug)]
pub enum FromStore {
    /// That many bytes of the body, from its beginning, are in the file. Sent for each message that
    /// was not the last one of its body.
    Written {
        /// Which body.
        id: StoreId,
        /// How many.
        bytes: u64,
        /// The file, the first time.
        file: Option<Arc<File>>,
    },
    /// It is in place.
    Stored {
        /// Which body.
        id: StoreId,
        /// Under which name: beside the one asked for where that is a directory.
        name: Box<[u8]>,
    },
    /// It is not stored, and nothing is left of it.
    NotStored {
        /// Which body.
        id: StoreId,
        /// Why.
        why: NotStored,
    },
}

impl FromStore {
    /// Whose body it is about.
    #[must_use]
    pub const fn worker(&self) -> u32 {
        match self {
            Self::Written { id, .. } | Self::Stored { id, .. } | Self::NotStored { id, .. } => {
                id.worker
            }
        }
    }
}

/// Where the store thread's words go. Nothing in it may wait.
pub trait Replies: Send {
    /// To the worker that `FromStore::worker` names.
    fn reply(&mut self, answer: FromStore);

    /// To every worker: what `name` leads to is not what it was.
    fn changed(&mut self, name: &[u8]);

    /// To control: the purge `id` is done.
    fn purged(&mut self, id: u64, purged: Purged);

    /// To control: what lies under the name that it asked about.
    fn seen(&mut self, id: u64, sight: Sight);

    /// There is no more for now: who sleeps is to be woken.
    fn batch_done(&mut self);
}

/// See the module.
pub struct Storage {
    store: Store<TreeDisk>,
    replies: Box<dyn Replies>,
    counters: Arc<StoreCounters>,
    clock: Clock,
    /// Entries looked at in one step, such that it takes about `STEP`.
    entries: usize,
    /// The purge under way, and those that come after it; bounded by `PURGES_MAX`.
    purging: Option<u64>,
    purges: VecDeque<(u64, Arc<Purge>)>,
    /// Until when directories may stay open.
    keeps_until: Instant,
    /// Why nothing can be stored, as last said, and when.
    said: Option<(NotStored, Instant)>,
    is_scan_said: bool,
}

/// How long the queue may wait for a piece of background work.
const STEP: Duration = Duration::from_millis(2);

/// How long the directories that bodies are put in stay open, unless there is word of a change: who
/// moves one away meanwhile takes along what is put there, as for as long as the word may take.
const KEEP: Duration = Duration::from_millis(100);

/// How long the thread sleeps when nobody says anything; free space is looked at in between.
const IDLE: Duration = Duration::from_secs(1);

/// The same trouble is not said again for so long, nor that it is over.
const SAY_AGAIN: Duration = Duration::from_secs(60);

impl Storage {
    /// A store below `root`, which is to be on the disk already. Nothing is done yet. `placing` is
    /// the way to who watches the tree, if anybody does.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn new(
        root: &Path,
        options: Options,
        limits: Limits,
        replies: Box<dyn Replies>,
        counters: Arc<StoreCounters>,
        placing: Option<Placing>,
    ) -> io::Result<Self> {
        let mut store = Store::new(TreeDisk::open(root, placing)?, options);
        store.handle_limits(limits);
        let (entries, said) = (STORE_STEP_ENTRIES_MAX / 8, None);
        let (clock, keeps_until) = (Clock::default(), Instant::default());
        let is_scan_said = false;
        let (purging, purges) = (None, VecDeque::new());
        Ok(Self {
            store,
            replies,
            counters,
            clock,
            entries,
            purging,
            purges,
            keeps_until,
            said,
            is_scan_said,
        })
    }

    /// Works until told to end.
    pub fn run(&mut self, end: &StoreEnd) {
        let inbox = &end.inbox;
        if let Err(error) = self.store.handle_start() {
            log::warn!("nothing can be stored: {error}; answers are passed through");
        }
        loop {
            let mut count = 0;
            while count < STORE_BATCH {
                match inbox.try_recv() {
                    Ok(ToStore::Stop) | Err(TryRecvError::Disconnected) => return self.stop(),
                    Ok(message) => self.handle(message),
                    Err(TryRecvError::Empty) => break,
                }
                count += 1;
            }
            // Once there is room: what is lost meanwhile is found in the next round.
            if end.take_lost() {
                self.store.handle_rescan();
            }
            let is_busy = self.step();
            self.end_batch();
            if count > 0 || is_busy {
                continue;
            }
            match inbox.recv_timeout(IDLE) {
                Ok(ToStore::Stop) | Err(RecvTimeoutError::Disconnected) => return self.stop(),
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => self.store.forget(),
            }
        }
    }

    fn stop(&mut self) {
        self.store.handle_stop();
        self.end_batch();
    }

    fn handle(&mut self, message: ToStore) {
        let now = self.clock.now();
        self.store.handle_time(now);
        self.keep_until(now);
        match message {
            ToStore::Put(put) => self.store.handle_put(put),
            ToStore::More { id, pieces, head, is_last } => {
                if let Some(head) = head {
                    self.store.handle_head(id, head);
                }
                self.store.handle_more(id, &pieces, is_last);
            }
            ToStore::Look { id, name } => self.replies.seen(id, self.store.look(&name)),
            ToStore::Abort { id } => self.store.handle_abort(id),
            ToStore::Freshen { name, before, head } => {
                self.store.handle_freshen(&name, &before, &head);
            }
            ToStore::RemoveIf { name, head } => self.store.handle_remove_if(&name, &head),
            ToStore::Remove { names } => self.store.handle_remove(&names),
            ToStore::Used { hashes } => self.store.handle_used(&hashes),
            ToStore::Changed { name } => self.store.handle_changed(&name),
            ToStore::Rescan => self.store.handle_rescan(),
            ToStore::Purge { id, purge } => self.purges.push_back((id, purge)),
            ToStore::Limits(limits) => self.store.handle_limits(limits),
            ToStore::Stop => unreachable!("the loop ends with it"),
        }
        self.drain();
    }

    /// A piece of background work, as long as it may take. Whether there is more of it.
    fn step(&mut self) -> bool {
        let began = self.clock.now();
        self.keep_until(began);
        let mut is_purging = false;
        // Most purges are of one URL: as many as there is time for.
        while self.purge(self.entries) {
            is_purging = true;
            if self.purging.is_some() || self.clock.now().since(began) >= STEP {
                break;
            }
        }
        let is_busy = self.store.step(began, self.entries);
        self.drain();
        let took = self.clock.now().since(began);
        // On a disk that has to seek for each entry, a few are enough.
        if took > STEP {
            self.entries = (self.entries / 2).max(8);
        } else if took < STEP / 2 {
            self.entries = (self.entries * 2).min(STORE_STEP_ENTRIES_MAX);
        }
        is_purging || is_busy
    }

    /// A piece of a purge, if there is one. What is stored meanwhile was asked for after the
    /// workers had marked what they fetched before: the purge does not mean it, even if it goes.
    fn purge(&mut self, entries_max: usize) -> bool {
        if self.purging.is_none()
            && let Some((id, purge)) = self.purges.pop_front()
        {
            self.store.handle_purge(purge);
            self.purging = Some(id);
        }
        let Some(id) = self.purging else { return false };
        let done = self.store.purge_step(entries_max);
        self.drain();
        if let Some(purged) = done {
            self.purging = None;
            self.replies.purged(id, purged);
        }
        true
    }

    /// Closes the directories that were kept open long enough.
    fn keep_until(&mut self, now: Instant) {
        if now >= self.keeps_until {
            self.store.forget();
            self.keeps_until = now.after(KEEP);
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.store.poll_event() {
            let answer = match event {
                Event::Changed { name } => {
                    self.replies.changed(&name);
                    continue;
                }
                Event::Written { id, bytes, file } => FromStore::Written { id, bytes, file },
                Event::Stored { id, name } => {
                    self.say_stored();
                    FromStore::Stored { id, name }
                }
                Event::NotStored { id, why } => {
                    self.say(why);
                    FromStore::NotStored { id, why }
                }
            };
            self.replies.reply(answer);
        }
    }

    /// Says what keeps everything from being stored; what concerns one name is only counted.
    fn say(&mut self, why: NotStored) {
        let remedy = match why {
            NotStored::Full => "old files go; see the bounds of the store",
            NotStored::ReadOnly => "mount it writable",
            NotStored::Denied => "give the daemon's user the right to write in it",
            NotStored::NoAttributes => "use a file system with user.* attributes",
            NotStored::Io(_) => "see the kernel's log",
            _ => return,
        };
        let now = self.clock.now();
        let is_known = self.said.is_some_and(|(said, at)| said == why && now.since(at) < SAY_AGAIN);
        if !is_known {
            log::warn!("an answer is passed through, not stored ({why}): {remedy}");
            self.said = Some((why, now));
        }
    }

    fn say_stored(&mut self) {
        if let Some((_, at)) = self.said
            && self.clock.now().since(at) >= SAY_AGAIN
        {
            self.said = None;
            log::info!("answers are stored again");
        }
    }

    fn end_batch(&mut self) {
        self.replies.batch_done();
        self.counters.take(&self.store);
        if self.store.is_all_known() && !self.is_scan_said {
            self.is_scan_said = true;
            let files = self.counters.files.value();
            let mib = self.counters.bytes.value() >> 20;
            let seconds = self.clock.now().since(Instant::default()).as_secs_f64();
            log::info!("the tree is known after {seconds:.1} s: {files} stored files, {mib} MiB");
        }
    }
}
