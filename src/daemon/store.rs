//! The store thread: writes, renames and removes what is stored, so that no worker does it.
//!
//! Input: bodies of workers, purges.   Output: what became of them.
//! Owns: temporary files, through `cache::store`.   Thread: `store`.
//! Not here: policy (`cache::store`), the watch (`daemon::tree`).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::cache::store::{Event, Options, Put, Store};
use crate::stdx::bytes::Bytes;
use crate::sys::process::random_seed;

use super::disk::TreeDisk;
use super::http::{ToWorker, Word};
use super::topology::{PeerLine, WorkerLine};

pub use crate::cache::store::{NotStored, StoreId};

/// What the store is told.
#[derive(Debug)]
pub enum ToStore {
    /// A body begins.
    Put(Put),
    /// It goes on.
    More {
        /// Which.
        id: StoreId,
        /// Its next bytes.
        pieces: Vec<Bytes>,
        /// What is kept beside it, where that was not known when it began.
        head: Option<Box<[u8]>>,
        /// Whether it is whole.
        is_last: bool,
    },
    /// It will not end.
    Abort {
        /// Which.
        id: StoreId,
    },
    /// A stored file gets another head.
    Freshen {
        /// Its name.
        name: Box<[u8]>,
        /// The head.
        head: Box<[u8]>,
    },
    /// Stored files go.
    Remove {
        /// Their names.
        names: Vec<Box<[u8]>>,
    },
    /// End.
    Stop,
}

/// What the store tells a worker.
pub type FromStore = Event<Arc<File>>;

/// See the module.
pub struct Keeper {
    store: Store<TreeDisk>,
    peers: Vec<PeerLine>,
    workers: Vec<WorkerLine>,
}

impl Keeper {
    /// Opens the tree.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn new(
        root: &Path,
        peers: Vec<PeerLine>,
        workers: Vec<WorkerLine>,
    ) -> std::io::Result<Self> {
        let options = Options { process: std::process::id(), hash_seed: random_seed() };
        Ok(Self { store: Store::new(TreeDisk::open(root)?, options), peers, workers })
    }

    /// Works until told to end.
    pub fn run(&mut self, inbox: &Receiver<ToStore>) {
        if let Err(error) = self.store.handle_start() {
            log::warn!("nothing can be stored in the tree: {error:?}; answers are passed on");
        }
        while let Ok(message) = inbox.recv() {
            match message {
                ToStore::Put(put) => self.store.handle_put(put),
                ToStore::More { id, pieces, head, is_last } => {
                    if let Some(head) = head {
                        self.store.handle_head(id, head);
                    }
                    self.store.handle_more(id, &pieces, is_last);
                }
                ToStore::Abort { id } => self.store.handle_abort(id),
                ToStore::Freshen { name, head } => self.store.handle_freshen(&name, &head),
                ToStore::Remove { names } => self.store.handle_remove(&names),
                ToStore::Stop => return,
            }
            self.tell();
        }
    }

    fn tell(&mut self) {
        while let Some(event) = self.store.poll_event() {
            let worker = match &event {
                Event::Written { id, .. }
                | Event::Stored { id, .. }
                | Event::NotStored { id, .. } => id.worker,
                Event::Changed { name } => {
                    for worker in &self.workers {
                        worker.tell(ToWorker::Changed { name: name.clone(), in_place: false });
                        worker.ring();
                    }
                    continue;
                }
            };
            if let Some(peer) = self.peers.get(worker as usize) {
                peer.say(Word::Store(event));
            }
        }
    }
}
