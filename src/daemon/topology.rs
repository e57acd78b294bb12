//! The one table of threads and queues; nowhere else is a thread started or a queue made.
//!
//! ```text
//! thread     core            owns
//! http-N     one each        a listener per address, its connections, its open files
//! tree       any             the watch on the tree, the epoch of memory reclaim
//! store      any             temporary files, renames and removals in the tree, its inventory
//! control    any (main)      signals, the admin listener, the control socket
//! online     any             who is online, its listeners and connections; there if configured
//! lookup     any             nothing; there while a reload looks up names of origins
//!
//! queue             item       capacity        when full
//! tree -> http-N    ToWorker   WORKER_QUEUE    Coalesce: the overflow flag, which means "flush"
//! control -> http-N ToWorker   WORKER_QUEUE    Block: a worker empties its queue every batch
//! http-N -> control FromWorker CONTROL_QUEUE   Block, and never full: see the limit
//! control -> tree   ToTree     1               Block: it is told once, to end
//! lookup -> control FromWorker CONTROL_QUEUE   Block: it says one thing
//! http-N -> http-M  Word       PEER_QUEUE      the sender keeps the rest and tries again; a fetch
//! http-N -> store   ToStore    STORE_QUEUE     CountDrop: the body is passed on, not stored
//! tree -> store     ToStore    STORE_QUEUE     CountDrop: the line asks for a rescan later
//! control -> store  ToStore    STORE_QUEUE     the sender keeps the rest and tries again: purges
//!                                              must not be lost; Block a while for the end
//! store -> tree     hash       PLACED_MAX      CountDrop: what is placed counts as others' doing
//! store -> http-N   Word       PEER_QUEUE      Block: a worker empties its queue every batch
//! http-N -> online  HitBatch   ONLINE_QUEUE    CountDrop: the index heals within its window
//! online -> http-N  HitBatch   ONLINE_SPARE    dropped: they are empty, and only spare memory
//! control -> online ToOnline   1               Block: it is told once, to end
//! online -> control FromWorker CONTROL_QUEUE   Block: it says one thing
//! ```
//!
//! Not here: what is said in the queues (the module of the receiver).

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;

use crate::cache::inventory::NameHash;
use crate::config::Config;
use crate::limits::{
    CONTROL_QUEUE, ONLINE_QUEUE, ONLINE_SPARE, PEER_QUEUE, PLACED_MAX, STORE_ORDERS_MAX,
    STORE_QUEUE, WORKER_QUEUE,
};
use crate::stdx::num::index;
use crate::sys::event::Doorbell;
use crate::time::Duration;

use super::http::{self, Assignment, FromWorker, ToWorker, Word};
use super::online::batch::HitBatch;
use super::online::{self, ToOnline};
use super::placed::{Placed, Placing};
use super::settings::{Lookup, Settings};
use super::store::{Storage, ToStore};
use super::tree::{self, ToTree};

/// One worker, as the others reach it.
#[derive(Clone, Debug)]
pub struct WorkerLine {
    sender: Sender<ToWorker>,
    overflow: Arc<AtomicBool>,
    doorbell: Doorbell,
}

impl WorkerLine {
    /// Tells of a change; never blocks. Where the queue is full the worker will drop all it has
    /// open.
    pub fn tell(&self, message: ToWorker) {
        match self.sender.try_send(message) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => self.overflow.store(true, Ordering::Release),
        }
    }

    /// Gives an order, which must not be lost.
    pub fn order(&self, message: ToWorker) {
        self.doorbell.ring();
        // A worker that is gone has no use for orders.
        drop(self.sender.send(message));
        self.doorbell.ring();
    }

    /// Wakes the worker, once after any number of `tell`s.
    pub fn ring(&self) {
        self.doorbell.ring();
    }
}

/// Where a worker is told words of others about fetches.
#[derive(Clone)]
pub struct PeerLine {
    sender: Sender<Word>,
    doorbell: Doorbell,
}

impl PeerLine {
    /// Says `word`; waits where the queue is full. Not for workers, which would wait for each
    /// other. The worker is to be woken afterwards.
    pub fn say(&self, word: Word) {
        if let Err(TrySendError::Full(word)) = self.sender.try_send(word) {
            self.doorbell.ring();
            // A worker that is gone has no use for words.
            drop(self.sender.send(word));
        }
    }
}

/// All workers, as one of them reaches the others.
pub struct Peers {
    lines: Vec<PeerLine>,
    /// What found no room yet, by worker. Bounded by what waits for it: each connection waits for
    /// one fetch, and a follower that has enough says so.
    outbox: Vec<VecDeque<Word>>,
    hasher: SeedableRandomState,
}

impl Peers {
    /// `lines` in the order of the workers' numbers; the same `hash_seed` for all of them.
    #[must_use]
    pub fn new(lines: Vec<PeerLine>, hash_seed: u64) -> Self {
        let outbox = lines.iter().map(|_| VecDeque::new()).collect();
        let hasher = SeedableRandomState::with_seed(hash_seed, SharedSeed::global_fixed());
        Self { lines, outbox, hasher }
    }

    /// The number of the worker that fetches `key`.
    #[must_use]
    pub fn owner(&self, key: &[u8]) -> usize {
        let count = self.lines.len().max(1) as u64;
        index(self.hasher.hash_one(key) % count)
    }

    /// Says `word` to `worker` at the next `flush`.
    pub fn tell(&mut self, worker: usize, word: Word) {
        self.outbox[worker].push_back(word);
    }

    /// How many words for `worker` found no room yet.
    #[must_use]
    pub fn waiting(&self, worker: usize) -> usize {
        self.outbox.get(worker).map_or(0, VecDeque::len)
    }

    /// Whether words found no room.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.outbox.iter().any(|words| !words.is_empty())
    }

    /// Hands over what there is room for.
    pub fn flush(&mut self) {
        for (line, words) in self.lines.iter().zip(&mut self.outbox) {
            let mut has_said = false;
            while let Some(word) = words.pop_front() {
                match line.sender.try_send(word) {
                    Ok(()) => has_said = true,
                    Err(TrySendError::Disconnected(_)) => {}
                    Err(TrySendError::Full(word)) => {
                        words.push_front(word);
                        break;
                    }
                }
            }
            if has_said {
                line.doorbell.ring();
            }
        }
    }
}

/// A worker's ends of its queues.
pub struct WorkerEnds {
    /// Where it is told of fetches.
    pub words: Receiver<Word>,
    /// Where it is told things.
    pub inbox: Receiver<ToWorker>,
    /// See `WorkerLine::tell`.
    pub overflow: Arc<AtomicBool>,
    /// Wakes it.
    pub doorbell: Doorbell,
}

/// The queues towards one worker.
///
/// # Errors
/// EMFILE.
pub fn worker_queues() -> io::Result<(WorkerLine, PeerLine, WorkerEnds)> {
    let (sender, inbox) = bounded(WORKER_QUEUE);
    let (said, words) = bounded(PEER_QUEUE);
    let overflow = Arc::new(AtomicBool::new(false));
    let doorbell = Doorbell::new()?;
    let peer = PeerLine { sender: said, doorbell: doorbell.clone() };
    let (seen, rung) = (Arc::clone(&overflow), doorbell.clone());
    let ends = WorkerEnds { words, inbox, overflow: seen, doorbell: rung };
    Ok((WorkerLine { sender, overflow, doorbell }, peer, ends))
}

/// Where workers reach control.
#[derive(Clone, Debug)]
pub struct ControlLine {
    sender: Sender<(usize, FromWorker)>,
    doorbell: Doorbell,
}

impl ControlLine {
    /// Tells control something.
    pub fn tell(&self, number: usize, message: FromWorker) {
        // Control outlives all workers; if it is gone, so is the process.
        drop(self.sender.send((number, message)));
        self.doorbell.ring();
    }
}

/// Control's end of its queue.
pub struct ControlEnd {
    /// Words, with the numbers of the workers they are from.
    pub inbox: Receiver<(usize, FromWorker)>,
    /// Rung when there are some.
    pub doorbell: Doorbell,
}

/// The queue towards control.
///
/// # Errors
/// EMFILE.
pub fn control_queue() -> io::Result<(ControlLine, ControlEnd)> {
    let (sender, inbox) = bounded(CONTROL_QUEUE);
    let doorbell = Doorbell::new()?;
    Ok((ControlLine { sender, doorbell: doorbell.clone() }, ControlEnd { inbox, doorbell }))
}

/// Where control reaches the tree thread.
#[derive(Debug)]
pub struct TreeLine {
    sender: Sender<ToTree>,
    doorbell: Doorbell,
}

impl TreeLine {
    /// Tells the tree thread to end.
    pub fn stop(&self) {
        // A full queue means that it was told already, a closed one that it has ended.
        if self.sender.try_send(ToTree::Stop).is_ok() {
            self.doorbell.ring();
        }
    }
}

/// Starts worker `number`.
///
/// # Errors
/// EAGAIN where there may be no more threads.
pub fn start_worker(assignment: Assignment) -> io::Result<JoinHandle<()>> {
    let name = format!("http-{}", assignment.number);
    Builder::new().name(name).spawn(move || http::run(assignment))
}

/// Starts the tree thread.
///
/// # Errors
/// EMFILE; EAGAIN where there may be no more threads.
pub fn start_tree(mut watcher: tree::Watcher) -> io::Result<(TreeLine, JoinHandle<()>)> {
    let (sender, inbox) = bounded(1);
    let doorbell = Doorbell::new()?;
    let line = TreeLine { sender, doorbell: doorbell.clone() };
    let thread =
        Builder::new().name("tree".to_owned()).spawn(move || watcher.run(&inbox, &doorbell))?;
    Ok((line, thread))
}

/// Where workers, the tree thread and control reach the store.
#[derive(Clone, Debug)]
pub struct StoreLine {
    sender: Sender<ToStore>,
    /// Changes of the tree found no room.
    lost: Arc<AtomicBool>,
}

impl StoreLine {
    /// Hands it something; never blocks. False where the queue is full or the store is gone: then
    /// it is not done, and whoever waits for an answer to it gets none.
    #[must_use]
    pub fn tell(&self, message: ToStore) -> bool {
        self.sender.try_send(message).is_ok()
    }

    /// How many messages wait for it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sender.len()
    }

    /// Tells that `name` may have changed. What does not fit is made up for by a rescan.
    pub fn tell_changed(&self, name: Box<[u8]>) {
        self.tell_or_rescan(ToStore::Changed { name });
    }

    /// Has the tree learnt anew.
    pub fn tell_rescan(&self) {
        self.tell_or_rescan(ToStore::Rescan);
    }

    /// Whatever was lost, the store finds out once it has emptied its queue.
    fn tell_or_rescan(&self, message: ToStore) {
        if !self.tell(message) {
            self.lost.store(true, Ordering::Release);
        }
    }

    /// Gives an order, which must not be lost; waits where the queue is full.
    pub fn order(&self, message: ToStore) {
        // A store that is gone has no use for orders.
        drop(self.sender.send(message));
    }

    /// The same, but waits no longer than that.
    fn order_within(&self, patience: Duration, message: ToStore) {
        // Neither has one that hangs, at the end.
        drop(self.sender.send_timeout(message, patience));
    }
}

/// The store, as control reaches it: clients can cause purges, so a disk that hangs must not keep
/// control from everything else.
#[derive(Debug)]
pub struct StoreOrders {
    line: StoreLine,
    /// What found no room yet, oldest first.
    outbox: VecDeque<ToStore>,
}

impl StoreOrders {
    /// By way of `line`.
    #[must_use]
    pub const fn new(line: StoreLine) -> Self {
        Self { line, outbox: VecDeque::new() }
    }

    /// Gives an order, now or at a later `flush`; never blocks.
    ///
    /// # Panics
    /// If more is asked of the store at once than `daemon::purges` has under way.
    pub fn order(&mut self, message: ToStore) {
        if matches!(message, ToStore::Limits(_)) {
            // Those before are of no interest any more.
            self.outbox.retain(|earlier| !matches!(earlier, ToStore::Limits(_)));
        }
        self.outbox.push_back(message);
        self.flush();
        assert!(self.outbox.len() <= STORE_ORDERS_MAX, "each waits for an answer, but limits");
    }

    /// Hands over what there is room for.
    pub fn flush(&mut self) {
        while let Some(message) = self.outbox.pop_front() {
            match self.line.sender.try_send(message) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(message)) => {
                    self.outbox.push_front(message);
                    return;
                }
            }
        }
    }

    /// Whether orders found no room.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Tells it to end; waits no longer than that until there is room for it. What found none
    /// before is for nobody any more.
    pub fn stop(&mut self, patience: Duration) {
        self.outbox.clear();
        self.line.order_within(patience, ToStore::Stop);
    }
}

/// The store's end of its queue.
pub struct StoreEnd {
    /// What it is told.
    pub inbox: Receiver<ToStore>,
    lost: Arc<AtomicBool>,
}

impl StoreEnd {
    /// Whether changes of the tree found no room since this was last asked.
    #[must_use]
    pub fn take_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed) && self.lost.swap(false, Ordering::Acquire)
    }
}

/// The queue towards the store.
#[must_use]
pub fn store_queue() -> (StoreLine, StoreEnd) {
    let (sender, inbox) = bounded(STORE_QUEUE);
    let lost = Arc::new(AtomicBool::new(false));
    (StoreLine { sender, lost: Arc::clone(&lost) }, StoreEnd { inbox, lost })
}

/// Where the store tells the tree thread what it is about to put in place.
pub struct PlacedLine {
    sender: Sender<(u64, bool)>,
}

impl PlacedLine {
    /// Tells it; never blocks, and wakes nobody: the kernel does.
    pub fn tell(&self, placed: (u64, bool)) {
        // What finds no room is looked at, as what others put there.
        let _found_room: bool = self.sender.try_send(placed).is_ok();
    }
}

/// The queue for that; `name_seed` is for the hashes of both ends.
#[must_use]
pub fn placed_queue(name_seed: u64) -> (Placing, Placed) {
    let (sender, inbox) = bounded(PLACED_MAX);
    let hash = || NameHash::new(name_seed);
    (Placing::new(PlacedLine { sender }, hash()), Placed::new(inbox, hash()))
}

/// Where a worker hands over its hits.
#[derive(Clone, Debug)]
pub struct FeedLine {
    sender: Sender<HitBatch>,
    spare: Receiver<HitBatch>,
    state: Arc<FeedState>,
    doorbell: Doorbell,
}

/// What both ends of the queue of hits know.
#[derive(Debug, Default)]
struct FeedState {
    /// The service sleeps until the doorbell is rung.
    is_asleep: AtomicBool,
    /// Hits that found no room.
    dropped: AtomicU64,
}

impl FeedLine {
    /// Hands a batch over, and takes an empty one back; never blocks.
    #[must_use]
    pub fn tell(&self, batch: HitBatch) -> HitBatch {
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) =
            self.sender.try_send(batch)
        {
            self.state.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
            let mut batch = batch;
            batch.clear();
            return batch;
        }
        // Either the service sees the batch before it sleeps, or it is seen to sleep here: each
        // writes, then reads what the other wrote.
        fence(Ordering::SeqCst);
        if self.state.is_asleep.load(Ordering::Relaxed)
            && self.state.is_asleep.swap(false, Ordering::Relaxed)
        {
            self.doorbell.ring();
        }
        self.spare.try_recv().unwrap_or_default()
    }
}

/// The service's end of the queue of hits.
pub struct FeedEnd {
    inbox: Receiver<HitBatch>,
    spare: Sender<HitBatch>,
    state: Arc<FeedState>,
}

impl FeedEnd {
    /// Says that the doorbell must be rung from now on. False where there is something to do yet.
    #[must_use]
    pub fn fall_asleep(&self) -> bool {
        self.state.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.inbox.is_empty()
    }

    /// Says that it need not be rung.
    pub fn wake_up(&self) {
        self.state.is_asleep.store(false, Ordering::Relaxed);
    }

    /// The next batch.
    #[must_use]
    pub fn take(&self) -> Option<HitBatch> {
        self.inbox.try_recv().ok()
    }

    /// Its memory is for the workers again, if they want it.
    pub fn give_back(&self, mut batch: HitBatch) {
        batch.clear();
        let _is_wanted: bool = self.spare.try_send(batch).is_ok();
    }

    /// Hits that found no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }
}

/// Where control reaches the service of who is online.
#[derive(Debug)]
pub struct OnlineLine {
    sender: Sender<ToOnline>,
    doorbell: Doorbell,
}

impl OnlineLine {
    /// Tells it to end.
    pub fn stop(&self) {
        // A full queue means that it was told already, a closed one that it has ended.
        if self.sender.try_send(ToOnline::Stop).is_ok() {
            self.doorbell.ring();
        }
    }
}

/// The service's ends of its queues.
pub struct OnlineEnds {
    /// Where it is told things.
    pub inbox: Receiver<ToOnline>,
    /// Wakes it.
    pub doorbell: Doorbell,
    /// Where hits come from.
    pub feed: FeedEnd,
}

/// The queues towards the service.
///
/// # Errors
/// EMFILE.
pub fn online_queues() -> io::Result<(OnlineLine, FeedLine, OnlineEnds)> {
    let (sender, inbox) = bounded(1);
    let (hits, hits_inbox) = bounded(ONLINE_QUEUE);
    let (spare_sender, spare) = bounded(ONLINE_SPARE);
    let (doorbell, state) = (Doorbell::new()?, Arc::new(FeedState::default()));
    let line = OnlineLine { sender, doorbell: doorbell.clone() };
    let (seen, rung) = (Arc::clone(&state), doorbell.clone());
    let feed_line = FeedLine { sender: hits, spare, state: seen, doorbell: rung };
    let feed = FeedEnd { inbox: hits_inbox, spare: spare_sender, state };
    Ok((line, feed_line, OnlineEnds { inbox, doorbell, feed }))
}

/// Starts the service.
///
/// # Errors
/// EAGAIN where there may be no more threads.
pub fn start_online(assignment: online::Assignment) -> io::Result<JoinHandle<()>> {
    Builder::new().name("online".to_owned()).spawn(move || online::run(assignment))
}

/// Looks up what the origins of `config` need, on a thread of its own that ends with the answer: a
/// resolver may take its time.
///
/// # Errors
/// EAGAIN where there may be no more threads.
pub fn start_lookup(config: Config, control: ControlLine) -> io::Result<()> {
    let look = move || {
        let settings = Settings::with_origins(&config);
        control.tell(0, FromWorker::LookedUp(Box::new(Lookup { config, settings })));
    };
    Builder::new().name("lookup".to_owned()).spawn(look).map(drop)
}

/// Starts the store thread.
///
/// # Errors
/// EAGAIN where there may be no more threads.
pub fn start_store(mut storage: Storage, end: StoreEnd) -> io::Result<JoinHandle<()>> {
    Builder::new().name("store".to_owned()).spawn(move || storage.run(&end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::purge::{Purge, What};
    use crate::daemon::store::Limits;

    fn purge(id: u64) -> ToStore {
        ToStore::Purge { id, purge: Arc::new(Purge { what: What::All, soft: false }) }
    }

    #[test]
    fn hits_are_handed_over_and_their_memory_comes_back() {
        let (_line, feed, ends) = online_queues().unwrap();
        let mut batch = HitBatch::default();
        assert!(batch.push(b"ann", b"a"));
        assert!(ends.feed.fall_asleep());
        assert!(feed.tell(batch).is_empty());
        assert!(!ends.feed.fall_asleep(), "it came meanwhile");
        let batch = ends.feed.take().unwrap();
        assert_eq!(batch.hits().next(), Some((&b"ann"[..], &b"a"[..])));
        ends.feed.give_back(batch);
        let mut batch = HitBatch::default();
        for _ in 0..ONLINE_QUEUE + 3 {
            assert!(batch.push(b"bob", b"a") && batch.push(b"cat", b"a"));
            batch = feed.tell(batch);
            assert!(batch.is_empty());
        }
        assert_eq!(ends.feed.dropped(), 6);
    }

    #[test]
    fn orders_to_a_store_that_is_busy_are_kept_in_order() {
        let (line, end) = store_queue();
        while line.tell(ToStore::Rescan) {}
        let mut orders = StoreOrders::new(line);
        for number in 0..5 {
            let bytes_max = Some(number);
            orders.order(ToStore::Limits(Limits { bytes_max, free_bytes_min: 0 }));
        }
        for id in 0..3 {
            orders.order(purge(id));
        }
        assert!(orders.is_behind());
        for _ in 0..STORE_QUEUE {
            end.inbox.recv().unwrap();
        }
        orders.flush();
        assert!(!orders.is_behind());
        orders.order(purge(3));
        let ToStore::Limits(limits) = end.inbox.recv().unwrap() else { panic!("the limits") };
        assert_eq!(limits.bytes_max, Some(4), "the last ones, and only these");
        for expected in 0..4 {
            assert!(matches!(end.inbox.recv(), Ok(ToStore::Purge { id, .. }) if id == expected));
        }
        assert!(end.inbox.is_empty());
    }

    #[test]
    fn orders_to_a_store_that_is_gone_are_dropped() {
        let (line, end) = store_queue();
        drop(end);
        let mut orders = StoreOrders::new(line);
        orders.order(purge(1));
        assert!(!orders.is_behind());
        orders.stop(Duration::from_secs(1));
    }
}
