//! Where the store's words go: to workers, and to control.
//!
//! Thread: store.
//! Not here: what they are (`daemon::store`).

use crate::cache::purge::Purged;
use crate::cache::store::Sight;

use super::super::http::{FromWorker, ToWorker, Word};
use super::super::topology::{ControlLine, PeerLine, WorkerLine};
use super::{FromStore, Replies};

/// The queues.
pub struct Lines {
    workers: Vec<WorkerLine>,
    peers: Vec<PeerLine>,
    control: ControlLine,
    has_changed: bool,
}

impl Lines {
    /// Both lists in the order of the workers' numbers.
    #[must_use]
    pub const fn new(workers: Vec<WorkerLine>, peers: Vec<PeerLine>, control: ControlLine) -> Self {
        Self { workers, peers, control, has_changed: false }
    }

    fn ring(&mut self) {
        if std::mem::take(&mut self.has_changed) {
            self.workers.iter().for_each(WorkerLine::ring);
        }
    }
}

impl Replies for Lines {
    fn reply(&mut self, answer: FromStore) {
        // Who is woken by this must not find the tree as it was.
        if let Some(peer) = self.peers.get(answer.worker() as usize) {
            peer.say(Word::Store(answer));
        }
    }

    fn changed(&mut self, name: &[u8]) {
        for worker in &self.workers {
            worker.tell(ToWorker::Changed { name: name.into(), in_place: false });
        }
        self.has_changed = true;
    }

    fn purged(&mut self, id: u64, purged: Purged) {
        self.ring();
        self.control.tell(0, FromWorker::StorePurged { id, purged });
    }

    fn seen(&mut self, id: u64, sight: Sight) {
        self.control.tell(0, FromWorker::StoreSaw { id, sight });
    }

    fn batch_done(&mut self) {
        self.ring();
    }
}
