//! A worker: one pinned thread, one ring, its listeners, its connections, its open files.
//!
//! Input: completions of its ring; messages from the tree thread and control, announced by its
//! doorbell.   Output: responses; a word to control when it has drained or must give up.
//! Owns: everything it touches, bounded by `connections_per_worker` and the table of open files.
//! Thread: `http-N`.
//! Invariants: it sleeps only in the ring; one system call a batch (`submit_and_wait`), besides one
//! sendfile per large body, and a sched_yield where the store is behind; no file-system call but
//! those that open a file for the first time.
//! Not here: protocol (`http`), policy (`cache`), who starts it (`daemon::topology`).

mod accept;
mod answer;
mod body;
mod cached;
mod changes;
mod conn;
pub mod feed;
mod fetch;
mod files;
mod follow;
mod origin;
mod send;

pub use fetch::{Fact, Word};
pub use files::TreeState;

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Receiver;

use crate::cache::inventory::NameHash;
use crate::cache::key::Key as FileName;
use crate::cache::presence::Presence;
use crate::cache::purge::{Purge, Purged};
use crate::cache::store::Sight;
use crate::http::date::DateLine;
use crate::http::request::{Head, header_space, parse};
use crate::http::{Status, Step, Timeout};
use crate::limits::{
    BACKLOG_BYTES_MAX, BACKLOG_BYTES_PAUSE, COMPLETIONS, HEADS_BYTES_MAX, HOT_PERIOD_SECONDS,
    LISTEN_BACKLOG, ORIGIN_SOCKETS_MAX, PIECES_MAX, RANGES_MAX, SWEEP_MS,
};
use crate::stdx::num::narrow;
use crate::stdx::slab::{Key, Slab};
use crate::sys::buffers::Buffers;
use crate::sys::clock::{Clock, unix_seconds};
use crate::sys::event::Doorbell;
use crate::sys::hot::Arena;
use crate::sys::outgoing::Outgoing;
use crate::sys::uring::{Completion, Received, Ring};
use crate::time::{Duration, Instant};

use super::counters::Counters;
use super::purges::{OrderId, Phase};
use super::settings::{Lookup, Settings};
use super::topology::{ControlLine, FeedLine, Peers, StoreLine, WorkerEnds};
use answer::Answer;
use body::BodyMemory;
use conn::{Connection, Doing};
use feed::Feed;
use fetch::{Context, Fetches, Next};
use files::Files;

/// What a worker is told.
#[derive(Clone, Debug)]
pub enum ToWorker {
    /// A file below the root is not what it was. `in_place`: its bytes were changed.
    Changed {
        /// Its name below the root.
        name: Box<[u8]>,
        /// Whether responses that are sending it must end.
        in_place: bool,
    },
    /// Everything below a directory may be something else.
    Directory(Box<[u8]>),
    /// Everything may be something else.
    Flush,
    /// A purge, step by step; each is acknowledged.
    Purge {
        /// Comes back with the acknowledgement.
        id: OrderId,
        /// What to do.
        phase: Phase,
        /// For what.
        purge: Arc<Purge>,
    },
    /// What it said is invalid is gone everywhere.
    Invalidated,
    /// What is known of a key beside the tree; it is answered.
    Look {
        /// Comes back with the answer.
        id: OrderId,
        /// The key.
        key: Box<[u8]>,
    },
    /// New settings.
    Settings(Arc<Settings>),
    /// Take no more connections, finish what is in flight, end.
    Drain,
    /// End now.
    Stop,
}

/// What a worker tells control.
#[derive(Debug)]
pub enum FromWorker {
    /// It serves.
    Ready,
    /// Its last connection is gone, as told, and its clients' changes are seen to.
    Drained,
    /// It ends, as told: nothing of it follows.
    Ended,
    /// It cannot go on.
    Fatal(String),
    /// It did its part of a purge.
    PurgeDone {
        /// Of which.
        id: OrderId,
        /// Which part.
        phase: Phase,
    },
    /// An origin changed what these mean: they are to go, and the worker waits for it
    /// (`ToWorker::Invalidated`). It says so again only after that, or when it ends.
    Invalidate {
        /// What is to go.
        purges: Vec<Purge>,
    },
    /// It looked.
    Saw {
        /// For which question.
        id: OrderId,
        /// What it knows.
        facts: Vec<Fact>,
    },
    /// The names of a new configuration (by no worker) are looked up.
    LookedUp(Box<Lookup>),
    /// The service of who is online (not a worker) has ended, as told.
    OnlineEnded,
    /// It cannot go on.
    OnlineFatal(String),
    /// The store (not a worker) did its part of a purge.
    StorePurged {
        /// The number of the order.
        id: u64,
        /// What came of it.
        purged: Purged,
    },
    /// The store (not a worker) looked at a name.
    StoreSaw {
        /// The number of the question.
        id: u64,
        /// What there is.
        sight: Sight,
    },
}

/// What a worker is given when it is started.
pub struct Assignment {
    /// Its number, from 0.
    pub number: usize,
    /// The core to stay on.
    pub core: Option<usize>,
    /// Its listeners.
    pub listeners: Vec<TcpListener>,
    /// The root of the tree.
    pub root: OwnedFd,
    /// Entries of its table of open files.
    pub open_files: usize,
    /// Bytes of its arena of hot bodies; 0 for none.
    pub hot_bytes: usize,
    /// Descriptors it may keep open (large files, sockets that send them).
    pub descriptors: usize,
    /// Connections it may have.
    pub connections: usize,
    /// The first settings.
    pub settings: Arc<Settings>,
    /// What the tree thread tells without a message.
    pub tree: Arc<TreeState>,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// Where it is told things.
    pub ends: WorkerEnds,
    /// The workers, itself included.
    pub peers: Peers,
    /// Where bodies are stored, if a host has an origin.
    pub store: Option<StoreLine>,
    /// How the store names files in its inventory.
    pub name_hash: NameHash,
    /// Which names are surely not in the tree.
    pub presence: Arc<Presence>,
    /// Where it hands hits over, if who is online is kept.
    pub feed: Option<FeedLine>,
    /// Where it tells things.
    pub control: ControlLine,
    /// A string that no file holds, in all likelihood.
    pub boundary: String,
}

/// Everything of a worker but its connections, so that both can be borrowed at once.
struct Shared {
    ring: Ring,
    files: Files,
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    now: Instant,
    date: DateLine,
    boundary: String,
    /// Emptied batches for reuse, so that a hit allocates nothing.
    #[expect(clippy::vec_box, reason = "in flight they must not move, and moving them is dear")]
    spare: Vec<Box<Outgoing>>,
    /// Room for the name of the file that is asked for.
    name: FileName,
    /// Whether the kernel can give a socket an ordinary descriptor.
    can_install: bool,
    /// Descriptors that may still be kept.
    descriptors_left: Rc<Cell<usize>>,
    /// Emptied receive backlogs for reuse.
    spare_backlogs: Vec<Vec<u8>>,
    is_draining: bool,
    accepting: accept::Accepting,
    /// Bytes of all bodies that were answered, but for hot ones.
    bodies_bytes: u64,
    /// Small bodies beside their heads; `None` where it is off.
    arena: Option<Arena>,
    next_cooling: Instant,
    /// Which names are surely not in the tree.
    presence: Arc<Presence>,
    /// What comes from origins.
    fetches: Fetches,
    /// What the bodies that go to them take.
    bodies: BodyMemory,
    /// Parts of answers under way that are read back from files, for whom.
    file_reads: Slab<Key>,
    /// Set where the request at hand waits for an origin.
    asks_origin: bool,
    /// Where its hits go, if who is online is kept.
    feed: Option<Feed>,
}

/// See the module.
struct Worker {
    number: usize,
    control: ControlLine,
    conns: Slab<Connection>,
    shared: Shared,
    inbox: Receiver<ToWorker>,
    words: Receiver<Word>,
    overflow: Arc<AtomicBool>,
    doorbell: Doorbell,
    /// Set when it shall end.
    is_over: bool,
    /// It has said that its last connection is gone.
    has_drained: bool,
    /// There may be something in the inbox.
    is_rung: bool,
    /// Connections that can go on, since what they waited for has happened.
    woken: Vec<Key>,
}

/// Serves until told to end. Runs on the calling thread.
pub fn run(assignment: Assignment) {
    let (number, control) = (assignment.number, assignment.control.clone());
    if let Err(error) = serve(assignment) {
        control.tell(number, FromWorker::Fatal(error));
    }
}

fn serve(assignment: Assignment) -> Result<(), String> {
    let (number, control) = (assignment.number, assignment.control.clone());
    if let Some(core) = assignment.core
        && !crate::sys::affinity::pin(core)
    {
        log::warn!("worker {number}: the kernel did not let it stay on core {core}");
    }
    let mut buffers = Buffers::new().map_err(|error| format!("receive buffers: {error}"))?;
    let mut worker = Worker::new(assignment, &buffers)?;
    control.tell(number, FromWorker::Ready);
    let clock = Clock::default();
    let mut batch = Vec::with_capacity(COMPLETIONS as usize);
    let mut next_sweep = Instant::default();
    while !worker.is_over {
        let timeout = worker.timeout();
        let waited = worker.shared.ring.submit_and_wait(timeout);
        waited.map_err(|error| format!("io_uring_enter failed: {error}"))?;
        // What was answered is on its way; what came can wait for a moment.
        if worker.shared.fetches.is_store_behind() {
            std::thread::yield_now();
        }
        worker.shared.counters.waits.add(1);
        worker.shared.now = clock.now();
        worker.shared.date.update(unix_seconds());
        worker.shared.ring.take(&mut batch);
        worker.shared.counters.batches.record(batch.len() as u64, 1);
        for entry in batch.drain(..) {
            let completion = worker.shared.ring.complete(&entry);
            worker.handle(completion, &mut buffers);
        }
        // After the batch: an order to end must not overtake a request that came before it.
        if std::mem::take(&mut worker.is_rung) {
            worker.handle_inbox();
        }
        // Who goes on may ask for more, and what is answered at once lets others go on.
        while worker.has_news() {
            worker.run_woken();
            worker.run_fetches();
        }
        worker.shared.fetches.flush();
        if let Some(feed) = &mut worker.shared.feed {
            feed.flush();
        }
        worker.shared.counters.body_memory.set(worker.shared.bodies.bytes() as u64);
        worker.shared.files.close_dropped(&mut worker.shared.ring);
        if worker.shared.now >= next_sweep {
            next_sweep = worker.shared.now.after(Duration::from_millis(SWEEP_MS));
            worker.sweep();
        }
        worker.check_drained();
    }
    Ok(())
}

impl Worker {
    fn new(assignment: Assignment, buffers: &Buffers) -> Result<Self, String> {
        // What comes between reaching the limit and the end of accepting, at each listener.
        let spare = LISTEN_BACKLOG as usize * assignment.listeners.len();
        let capacity = assignment.connections + spare;
        let sockets = capacity + if assignment.store.is_some() { ORIGIN_SOCKETS_MAX } else { 0 };
        let ring = Ring::new(narrow(sockets), buffers).map_err(|error| error.to_string())?;
        let can_install = ring.can_install();
        let descriptors_left = Rc::new(Cell::new(assignment.descriptors));
        let files = Files::new(
            assignment.open_files,
            Rc::clone(&descriptors_left),
            assignment.root,
            assignment.tree,
        );
        let accepting = accept::Accepting::new(assignment.listeners, assignment.connections);
        let arena = match assignment.hot_bytes {
            0 => None,
            bytes => {
                Some(Arena::new(bytes).map_err(|error| format!("tree.hot_bytes_max: {error}"))?)
            }
        };
        let mut fetches = Fetches::new(
            assignment.number,
            assignment.peers,
            assignment.store,
            assignment.name_hash,
        );
        fetches.handle_settings(&assignment.settings);
        let shared = Shared {
            ring,
            files,
            settings: assignment.settings,
            counters: assignment.counters,
            now: Instant::default(),
            date: DateLine::new(unix_seconds()),
            boundary: assignment.boundary,
            spare: Vec::new(),
            name: FileName::new(),
            can_install,
            descriptors_left,
            spare_backlogs: Vec::new(),
            is_draining: false,
            accepting,
            bodies_bytes: 0,
            arena,
            next_cooling: Instant::default(),
            presence: assignment.presence,
            fetches,
            bodies: BodyMemory::default(),
            file_reads: Slab::new(capacity),
            asks_origin: false,
            feed: assignment.feed.map(Feed::new),
        };
        let mut worker = Self {
            number: assignment.number,
            control: assignment.control,
            conns: Slab::new(capacity),
            shared,
            inbox: assignment.ends.inbox,
            words: assignment.ends.words,
            overflow: assignment.ends.overflow,
            doorbell: assignment.ends.doorbell,
            is_over: false,
            has_drained: false,
            is_rung: false,
            woken: Vec::new(),
        };
        worker.shared.ring.listen_for(&worker.doorbell);
        worker.shared.accept_all();
        Ok(worker)
    }

    /// How long to sleep at most: forever where no connection's time can run out.
    fn timeout(&self) -> Option<Duration> {
        let has_work = !self.conns.is_empty()
            || self.shared.accepting.is_troubled()
            || !self.shared.fetches.is_idle();
        has_work.then(|| Duration::from_millis(SWEEP_MS))
    }

    fn handle(&mut self, completion: Completion, buffers: &mut Buffers) {
        match completion {
            Completion::Accepted { listener, result, more } => {
                self.handle_accepted(listener, result, more);
            }
            Completion::Received { conn, received, more } => {
                self.handle_received(conn, received, more, buffers);
            }
            Completion::Sent { conn, outgoing, result } => self.handle_sent(conn, outgoing, result),
            Completion::Writable { conn } => self.handle_writable(conn),
            Completion::Installed { conn, result } => self.handle_installed(conn, result),
            Completion::Opened { tag, result } => {
                let shared = &mut self.shared;
                let settings = Arc::clone(&shared.settings);
                let (ring, counters) = (&mut shared.ring, &shared.counters);
                let files = &mut shared.files;
                let woken = files.handle_opened(tag, result, shared.now, &settings, ring, counters);
                self.woken.extend(woken);
            }
            Completion::PagedIn { tag, result } => {
                self.woken.extend(self.shared.files.handle_paged_in(tag, result));
            }
            Completion::Rung => {
                self.shared.ring.listen_for(&self.doorbell);
                self.is_rung = true;
            }
            Completion::FileRead { tag, buffer, result } => {
                self.handle_file_read(tag, buffer, result);
            }
            Completion::AttributeRead { tag, file, result } => {
                let shared = &mut self.shared;
                let settings = Arc::clone(&shared.settings);
                let (ring, counters) = (&mut shared.ring, &shared.counters);
                let files = &mut shared.files;
                let now = shared.now;
                let woken =
                    files.handle_attribute(tag, file, result, now, &settings, ring, counters);
                self.woken.extend(woken);
            }
            other => self.shared.handle_origin(other),
        }
    }

    fn handle_received(&mut self, id: Key, received: Received, more: bool, buffers: &mut Buffers) {
        let Some(conn) = self.conns.find_mut(id) else {
            if let Received::Bytes(buffer) = received {
                buffers.give_back(buffer);
            }
            return;
        };
        conn.is_receiving = more;
        match received {
            Received::Bytes(buffer) => {
                let bytes = buffers.bytes(&buffer);
                let fits = self.shared.take_input(id, conn, bytes);
                buffers.give_back(buffer);
                if !fits {
                    self.shared.counters.backlog_overflows.add(1);
                    self.close(id);
                    return;
                }
            }
            Received::End => conn.has_ended = true,
            Received::NoBuffer => self.shared.counters.receive_starved.add(1),
            // Only a pause cancels the receive of a connection that is still known.
            Received::Failed(error) if error.0 == libc::ECANCELED => {}
            Received::Failed(_) => {
                self.close(id);
                return;
            }
        }
        self.settle(id);
    }

    /// After anything happened to a connection: ends it, or sees to it that it receives.
    fn settle(&mut self, id: Key) {
        let Some(conn) = self.conns.find_mut(id) else { return };
        if conn.has_ended && conn.doing == Doing::Reading {
            self.close(id);
            return;
        }
        if conn.is_paused && conn.backlog.len() < BACKLOG_BYTES_PAUSE {
            conn.is_paused = false;
        }
        // One that ends at the client's own wish is not listened to any more; nothing has to be
        // cancelled then, which is a tenth of what such a connection costs.
        let is_heard = !conn.is_farewell || conn.http.is_lingering();
        if !conn.is_receiving && !conn.has_ended && !conn.is_paused && is_heard {
            conn.is_receiving = true;
            if conn.http.requests() == 0 {
                self.shared.ring.receive_once(id, conn.socket);
            } else {
                self.shared.ring.receive(id, conn.socket);
            }
        }
    }

    fn has_news(&self) -> bool {
        !self.woken.is_empty() || !self.words.is_empty() || self.shared.fetches.has_news()
    }

    /// Goes on with what comes from origins, and with those who waited for it.
    fn run_fetches(&mut self) {
        let shared = &mut self.shared;
        let (fetches, mut context) = shared.fetching();
        while let Ok(word) = self.words.try_recv() {
            fetches.handle(word, &mut context);
        }
        fetches.work(&mut context);
        if let Some(purges) = fetches.poll_invalidations() {
            self.control.tell(self.number, FromWorker::Invalidate { purges });
        }
        for (name, renewal) in std::mem::take(&mut shared.fetches.changed) {
            match renewal {
                Some(renewal) => {
                    shared.files.renew(&name, &renewal, &shared.settings, shared.now);
                }
                None => shared.files.handle_change(&name, false),
            }
        }
        while let Some((id, next)) = self.shared.fetches.woken.pop_front() {
            let Some(conn) = self.conns.find_mut(id) else {
                if let Next::Join(follow) = next {
                    follow.leave(id);
                }
                continue;
            };
            match (conn.doing, next) {
                (Doing::Waiting, next) => {
                    if !matches!(next, Next::More) {
                        conn.next = Some(next);
                    }
                    conn.awaits_origin = false;
                    self.resume(id);
                }
                (Doing::Streaming, Next::More) => {
                    if conn.awaits_origin {
                        // The wait was the origin's: the client's rate counts anew.
                        conn.http.handle_wait(self.shared.now);
                    }
                    self.run_stream(id);
                }
                (_, Next::Join(follow)) => follow.leave(id),
                _ => {}
            }
        }
    }

    /// Connections whose file is open now, or whose bytes are in memory now, go on.
    fn run_woken(&mut self) {
        while let Some(id) = self.woken.pop() {
            let Some(conn) = self.conns.find_mut(id) else { continue };
            match conn.doing {
                Doing::Waiting => self.resume(id),
                Doing::Streaming => self.run_stream(id),
                Doing::Reading | Doing::Sending => {}
            }
        }
    }

    /// Reads on in what was received ahead.
    fn resume(&mut self, id: Key) {
        let Some(conn) = self.conns.find_mut(id) else { return };
        conn.doing = Doing::Reading;
        conn.http.handle_next(self.shared.now);
        let backlog = std::mem::take(&mut conn.backlog);
        let consumed = self.shared.read(id, conn, &backlog);
        self.shared.put_backlog(conn, backlog, consumed);
        self.settle(id);
    }

    fn handle_inbox(&mut self) {
        if self.overflow.swap(false, Ordering::AcqRel) {
            self.shared.files.flush();
        }
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                ToWorker::Changed { name, in_place } => {
                    self.shared.files.handle_change(&name, in_place);
                }
                ToWorker::Directory(name) => self.shared.files.handle_directory(&name),
                ToWorker::Flush => self.shared.files.flush(),
                ToWorker::Settings(settings) => {
                    self.shared.fetches.handle_settings(&settings);
                    self.shared.settings = settings;
                    self.shared.files.handle_settings();
                }
                ToWorker::Purge { id, phase, purge } => self.purge(id, phase, &purge),
                ToWorker::Invalidated => {
                    let (fetches, mut context) = self.shared.fetching();
                    fetches.handle_invalidated(&mut context);
                }
                ToWorker::Look { id, key } => {
                    let (now, unix) = (self.shared.now, self.shared.date.seconds());
                    let facts = self.shared.fetches.look(&key, now, unix);
                    self.control.tell(self.number, FromWorker::Saw { id, facts });
                }
                ToWorker::Drain => self.drain(),
                ToWorker::Stop => self.end(),
            }
        }
        self.shared.counters.table_files.set(self.shared.files.len() as u64);
    }

    /// Does its part of a purge. What the store removed was told before this, in the same queue.
    fn purge(&mut self, id: OrderId, phase: Phase, purge: &Purge) {
        let shared = &mut self.shared;
        match phase {
            Phase::Mark => {
                let (fetches, mut context) = shared.fetching();
                fetches.purge(purge, &mut context);
            }
            Phase::Drop => {
                // Where the queue was full, what was removed is not known by name.
                if self.overflow.swap(false, Ordering::AcqRel) {
                    shared.files.flush();
                }
                shared.files.purge(purge);
                shared.fetches.forget(purge);
            }
        }
        self.control.tell(self.number, FromWorker::PurgeDone { id, phase });
    }

    /// Looks for connections whose time has run out.
    fn sweep(&mut self) {
        self.shared.accept_after_trouble();
        self.shared.sweep_fetches();
        let options = self.shared.settings.http;
        if self.shared.now >= self.shared.next_cooling {
            let period = Duration::from_secs(HOT_PERIOD_SECONDS);
            self.shared.next_cooling = self.shared.now.after(period);
            self.shared.files.cool();
        }
        self.shared.counters.early_submits.set(self.shared.ring.early_submits());
        for index in 0..self.conns.slot_count() {
            let Some((id, conn)) = self.conns.slot(index) else { continue };
            let Some(timeout) = conn.http.handle_timeout(self.shared.now, &options) else {
                continue;
            };
            let waits = conn.awaits_origin && conn.doing != Doing::Sending;
            if waits && matches!(timeout, Timeout::Send | Timeout::SendRate) {
                continue;
            }
            self.shared.counters.count_timeout(timeout);
            match timeout {
                Timeout::Header | Timeout::Body => self.refuse_late(id),
                Timeout::Idle | Timeout::Send | Timeout::SendRate | Timeout::Linger => {
                    self.close(id);
                }
            }
        }
    }
}

impl Shared {
    /// The fetches, and what they need of their worker.
    fn fetching(&mut self) -> (&mut Fetches, Context<'_>) {
        let context = context(&mut self.ring, &self.counters, &self.settings, self.now, &self.date);
        (&mut self.fetches, context)
    }

    /// Looks for what has run out of time at origins.
    fn sweep_fetches(&mut self) {
        let (fetches, mut context) = self.fetching();
        fetches.sweep(&mut context);
    }

    /// Something happened to a connection to an origin.
    fn handle_origin(&mut self, completion: Completion) {
        let (now, ring) = (self.now, &mut self.ring);
        let origins = self.fetches.origins_mut();
        match completion {
            Completion::SocketMade { tag, result } => {
                origins.handle_socket(tag, result, now, ring);
            }
            Completion::Connected { tag, result } => {
                origins.handle_connected(tag, result, now, ring);
            }
            Completion::Filled { tag, buffer, result } => {
                origins.handle_filled(tag, buffer, result, now, ring);
            }
            Completion::RequestSent { tag, outgoing, result } => {
                origins.handle_sent(tag, outgoing, result, now, ring);
            }
            _ => {}
        }
    }

    /// Takes bytes that arrived: acts on them in place, and keeps what cannot be acted on yet.
    /// Returns false where the client is too far ahead of its answers.
    fn take_input(&mut self, id: Key, conn: &mut Connection, bytes: &[u8]) -> bool {
        if conn.doing != Doing::Reading || !conn.backlog.is_empty() {
            self.keep(conn, bytes);
            if conn.doing == Doing::Reading {
                let backlog = std::mem::take(&mut conn.backlog);
                let consumed = self.read(id, conn, &backlog);
                self.put_backlog(conn, backlog, consumed);
            }
        } else {
            let consumed = self.read(id, conn, bytes);
            if consumed < bytes.len() {
                self.keep(conn, &bytes[consumed..]);
            }
        }
        if conn.backlog.len() > BACKLOG_BYTES_PAUSE && !conn.is_paused {
            conn.is_paused = true;
            if conn.is_receiving {
                self.ring.cancel_receive(id);
            }
        }
        conn.backlog.len() <= BACKLOG_BYTES_MAX
    }

    fn keep(&mut self, conn: &mut Connection, bytes: &[u8]) {
        if conn.backlog.capacity() == 0 {
            conn.backlog = self.spare_backlogs.pop().unwrap_or_default();
        }
        conn.backlog.extend_from_slice(bytes);
    }

    /// Puts a backlog back of which `consumed` bytes are done with.
    fn put_backlog(&mut self, conn: &mut Connection, mut backlog: Vec<u8>, consumed: usize) {
        backlog.drain(..consumed);
        if !backlog.is_empty() {
            conn.backlog = backlog;
        } else if backlog.capacity() <= BACKLOG_BYTES_PAUSE && self.spare_backlogs.len() < 64 {
            self.spare_backlogs.push(backlog);
        }
    }

    /// Answers as many requests of `input` as fit one send, and sends. Returns how many bytes of
    /// `input` are done with.
    fn read(&mut self, id: Key, conn: &mut Connection, input: &[u8]) -> usize {
        let mut out = self.spare.pop().unwrap_or_default();
        let mut consumed = 0;
        let mut waits = false;
        conn.answers = 0;
        if conn.http.has_held() {
            conn.is_followed = !input.is_empty();
            waits = self.answer_held(id, conn, &mut out);
        }
        while !waits && !conn.is_closing && conn.stream.is_none() && self.has_room(conn, &mut out) {
            let mut space = header_space();
            let rest = &input[consumed..];
            match conn.http.handle_input(self.now, rest, &mut space, &self.settings.http) {
                Step::NeedMore => break,
                Step::Consumed(bytes) => consumed += bytes,
                Step::Begun(request, bytes) => {
                    consumed += bytes;
                    if !self.begin_taking(conn, &request) {
                        consumed = input.len();
                        self.emit_refusal(conn, Status::ServiceUnavailable, &mut out);
                    } else if request.expects_continue {
                        out.own().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                }
                Step::Data(range, bytes) => {
                    consumed += bytes;
                    if !self.take_body(conn, &rest[range]) {
                        consumed = input.len();
                        self.emit_refusal(conn, Status::ServiceUnavailable, &mut out);
                    }
                }
                Step::Refused(status) => {
                    consumed = input.len();
                    self.emit_refusal(conn, status, &mut out);
                }
                Step::Held(bytes) => {
                    consumed += bytes;
                    conn.is_followed = consumed < input.len();
                    waits = self.answer_held(id, conn, &mut out);
                }
                Step::Request(request, bytes) => {
                    conn.is_followed = bytes < rest.len();
                    match self.answer(id, conn, &request, &mut out) {
                        Answer::Waits => waits = true,
                        Answer::Done | Answer::Streams => {
                            consumed += bytes;
                            conn.http.handle_next(self.now);
                        }
                    }
                }
            }
        }
        if conn.http.is_lingering() {
            consumed = input.len();
        }
        self.dispatch(id, conn, out, waits);
        consumed
    }

    /// Sends what is in the batch, or waits, or neither.
    fn dispatch(&mut self, id: Key, conn: &mut Connection, out: Box<Outgoing>, waits: bool) {
        let mut out = out;
        if !out.is_empty() {
            out.seal();
            // `100 Continue` alone is no answer: the body is still to be read.
            if conn.answers > 0 || conn.stream.is_some() {
                conn.http.handle_wait(self.now);
            }
            conn.doing = Doing::Sending;
            self.ring.send(id, conn.socket, out);
            return;
        }
        self.spare.push(out);
        if waits {
            conn.http.handle_wait(self.now);
            conn.doing = Doing::Waiting;
        }
    }

    fn has_room(&self, conn: &Connection, out: &mut Outgoing) -> bool {
        (conn.answers as usize) < self.settings.pipeline_max
            && out.own().len() < HEADS_BYTES_MAX
            && out.piece_count() + 2 * RANGES_MAX + 2 < PIECES_MAX
    }

    /// Answers the request whose body is over. Returns whether it has to wait.
    fn answer_held(&mut self, id: Key, conn: &mut Connection, out: &mut Outgoing) -> bool {
        let head = conn.http.take_held();
        let mut space = header_space();
        let Ok(Head::Complete(request, _)) = parse(&head, &mut space, &self.settings.http.head)
        else {
            // The limits were lowered since it was read.
            self.emit_refusal(conn, Status::RequestHeaderFieldsTooLarge, out);
            return false;
        };
        let answer = self.answer(id, conn, &request, out);
        if answer == Answer::Waits {
            conn.http.put_back_held(head);
            return true;
        }
        conn.body = None;
        conn.http.handle_next(self.now);
        false
    }
}

/// What fetches need of their worker.
fn context<'a>(
    ring: &'a mut Ring,
    counters: &'a Counters,
    settings: &'a Arc<Settings>,
    now: Instant,
    date: &'a DateLine,
) -> Context<'a> {
    Context { ring, counters, settings, now, unix: date.seconds(), date: date.value() }
}

/// A map whose hash is seeded at random, since strangers choose what is looked for.
type Map<K, V> = hashbrown::HashMap<K, V, foldhash::fast::RandomState>;

/// Connections of each address, where they are limited.
type ByAddress = HashMap<IpAddr, usize>;
