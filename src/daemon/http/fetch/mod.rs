//! Fetches: one per key on this box, at the worker that owns the key, for waiters on any worker.
//!
//! Input: requests that the tree cannot answer, events of origins, words of other workers and of
//! the store.   Output: connections that can go on, words, bodies to be stored.
//! Owns: the fetches of the keys that are this worker's, bounded by `FETCHES_MAX`; what its own
//! connections follow; small answers other than 200, bounded by `KEPT_MAX`.   Thread: one worker.
//! Invariants: a key has one fetch that may be joined; a fetch goes on when its clients have left,
//! unless nothing of it would be stored; a fetch that met a purge is stored by nobody; the client
//! of a change is told of it after what it made invalid is gone.
//! Not here: what an answer means (`cache::flight`), sockets (`daemon::http::origin`), how a
//! connection is sent its bytes (`daemon::http::send`).

mod answer;
mod invalidate;
mod keep;
mod listen;
mod look;
mod request;
mod words;

pub use look::Fact;
pub use request::status_line;
pub use words::{Ask, Change, Next, Word};

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::cache::inventory::NameHash;
use crate::cache::table::Table;
use crate::http::Status;
use crate::http::origin::pool::RequestId;
use crate::limits::{FETCHES_MAX, FOLLOW_BYTES_MAX, KEPT_MAX, STORE_BEHIND_MAX, USED_NAMES_MAX};
use crate::stdx::bytes::Bytes;
use crate::stdx::slab::{Key, Slab};
use crate::sys::process::random_seed;
use crate::sys::uring::Ring;
use crate::time::{Instant, UnixSeconds};

use super::super::counters::Counters;
use super::super::settings::Settings;
use super::super::store::{StoreId, ToStore};
use super::super::topology::{Peers, StoreLine};
use super::Map;
use super::body::WholeBody;
use super::follow::{Answer, End, Follow, Renewal, Verdict};
use super::origin::{Message, Origins};
use invalidate::{Held, Invalidations};
use request::{is_for, message};

enum Storing {
    /// It is not, or not any more.
    No,
    /// Nothing was handed over yet.
    Due,
    /// Under way; so many bytes were handed over, and so many are in the file.
    Begun { id: u64, given: u64, written: u64 },
    /// All of it was handed over.
    Ending,
}

struct Fetch {
    ask: Box<Ask>,
    follow: Rc<Follow>,
    request: RequestId,
    remote: Vec<Remote>,
    storing: Storing,
    /// Bytes that were not handed to the store yet.
    unstored: Vec<Bytes>,
    asked_at: UnixSeconds,
    /// A purge met it: nothing of it is stored.
    is_purged: bool,
    is_paused: bool,
    /// Its request is over.
    is_over: bool,
    /// The head of its answer waits until what it made invalid is gone.
    held: Option<Box<Held>>,
}

struct Remote {
    worker: usize,
    follow: Key,
    /// Whether one of its connections sent the request.
    is_asker: bool,
    is_full: bool,
}

struct Kept {
    answer: Arc<Answer>,
    body: Vec<Bytes>,
}

/// A name, and its file's new record, if that is all that changed.
pub type ChangedName = (Box<[u8]>, Option<Renewal>);

/// What the methods below need of their worker.
pub struct Context<'a> {
    pub ring: &'a mut Ring,
    pub counters: &'a Counters,
    pub settings: &'a Arc<Settings>,
    pub now: Instant,
    pub unix: UnixSeconds,
    pub date: &'a [u8],
}

/// See the module.
pub struct Fetches {
    number: usize,
    now: Instant,
    peers: Peers,
    store: Option<StoreLine>,
    name_hash: NameHash,
    /// Names that were served since the store was last told.
    used: Vec<u64>,
    follows: Slab<Rc<Follow>>,
    by_key: Map<Box<[u8]>, Key>,
    fetches: Map<Key, Fetch>,
    by_request: Map<RequestId, Key>,
    by_store: Map<u64, Key>,
    next_store: u64,
    origins: Origins,
    kept: Table<Kept>,
    /// Keys whose answers are for those who ask only, and until when that is believed.
    passes: Map<Box<[u8]>, Instant>,
    /// Bodies that the store has to be told to give up.
    aborts: Vec<StoreId>,
    /// Keys that were put in place a moment ago.
    recent: Map<Box<[u8]>, Instant>,
    /// Fetches that wait until their bytes were taken.
    paused: Vec<Key>,
    /// Followed fetches of other workers that were told to pause.
    full: Vec<Key>,
    has_taken: bool,
    /// Memory of all answers under way, also of those that are only sent on.
    memory: Rc<Cell<usize>>,
    /// Fetches with bytes for the store.
    unstored: Vec<Key>,
    /// What answers made invalid.
    invalidations: Invalidations,
    /// Connections that can go on.
    pub woken: VecDeque<(Key, Next)>,
    /// Names whose files are to be looked at again; with a record, it is the file's new one.
    pub changed: Vec<ChangedName>,
}

impl Fetches {
    pub fn new(number: usize, peers: Peers, store: Option<StoreLine>, name_hash: NameHash) -> Self {
        Self {
            number,
            now: Instant::default(),
            peers,
            store,
            name_hash,
            used: Vec::new(),
            follows: Slab::new(FETCHES_MAX),
            by_key: Map::default(),
            fetches: Map::default(),
            by_request: Map::default(),
            by_store: Map::default(),
            next_store: 0,
            origins: Origins::new(),
            kept: Table::new(KEPT_MAX, random_seed()),
            passes: Map::default(),
            aborts: Vec::new(),
            recent: Map::default(),
            paused: Vec::new(),
            full: Vec::new(),
            has_taken: false,
            memory: Rc::default(),
            unstored: Vec::new(),
            invalidations: Invalidations::default(),
            woken: VecDeque::new(),
            changed: Vec::new(),
        }
    }

    /// Whether anything is under way whose time can run out.
    pub fn is_idle(&self) -> bool {
        self.follows.is_empty() && self.origins.is_idle() && !self.peers.is_behind()
    }

    /// Whether the store has so much to do that it should run first, where it shares a core.
    pub fn is_store_behind(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.waiting() > STORE_BEHIND_MAX)
    }

    /// Hands words over that were said since `work`. Once a batch, after all else.
    pub fn flush(&mut self) {
        self.peers.flush();
    }

    /// `key` was served from the tree: to be remembered when something has to go.
    pub fn note_used(&mut self, key: &[u8]) {
        // What does not fit is said by a later hit, in a minute at the latest.
        if self.used.len() < USED_NAMES_MAX {
            self.used.push(self.name_hash.of(key));
        }
    }

    fn tell_used(&mut self) {
        if self.used.is_empty() {
            return;
        }
        let hashes = std::mem::take(&mut self.used);
        // Where its queue is full, these count as less used: the store has other troubles.
        let _told: bool =
            self.store.as_ref().is_some_and(|store| store.tell(ToStore::Used { hashes }));
    }

    /// Whether `work` has something to do.
    pub fn has_news(&self) -> bool {
        self.origins.has_news()
            || !self.unstored.is_empty()
            || !self.woken.is_empty()
            || !self.changed.is_empty()
            || self.has_taken
            || self.invalidations.is_due()
    }

    /// Whether an answer is waited for, or held, that may make something invalid.
    pub fn has_changes(&self) -> bool {
        let is_open = |fetch: &Fetch| fetch.ask.change.is_some() && fetch.follow.answer().is_none();
        self.fetches.values().any(is_open)
    }

    /// Bytes of a fetch that waits for that were taken.
    pub fn handle_taken(&mut self) {
        self.has_taken = !self.paused.is_empty() || !self.full.is_empty();
    }

    pub const fn origins_mut(&mut self) -> &mut Origins {
        &mut self.origins
    }

    pub fn handle_settings(&mut self, settings: &Settings) {
        self.origins.handle_settings(&settings.origins);
    }

    /// What is on its way for `key`, if it may be joined.
    pub fn find(&self, key: &[u8]) -> Option<Rc<Follow>> {
        let follow = self.follows.find(*self.by_key.get(key)?)?;
        Some(Rc::clone(follow))
    }

    /// Whether `key` is known to have answers for those who ask only.
    pub fn is_pass(&self, key: &[u8], now: Instant) -> bool {
        self.passes.get(key).is_some_and(|until| now < *until)
    }

    /// Asks for a key, for `conn` if it waits. Returns false where too much is under way.
    pub fn ask(&mut self, conn: Option<Key>, ask: Ask, context: &mut Context<'_>) -> bool {
        let Some(follow) = self.follow(ask.key.clone(), conn, !ask.is_alone) else {
            return false;
        };
        if let Some(conn) = conn {
            follow.wait(conn);
        }
        let owner = if ask.is_alone { self.number } else { self.peers.owner(&ask.key) };
        let word = Word::Ask { from: self.number, follow: follow.id, ask: Box::new(ask) };
        self.tell(owner, word, context);
        true
    }

    /// Sends a request that changes what its origin has, once and for `conn` alone. Returns false
    /// where too much is under way, and nothing was sent.
    pub fn ask_change(
        &mut self,
        conn: Key,
        ask: Ask,
        body: Option<WholeBody>,
        context: &mut Context<'_>,
    ) -> bool {
        let Some(follow) = self.follow(ask.key.clone(), Some(conn), false) else { return false };
        follow.wait(conn);
        let message = message(&ask, body);
        self.begin(follow, Vec::new(), Box::new(ask), message, context);
        true
    }

    fn follow(
        &mut self,
        key: Box<[u8]>,
        asker: Option<Key>,
        is_listed: bool,
    ) -> Option<Rc<Follow>> {
        // The slab's key is part of the value.
        let id = self.follows.next_key()?;
        let follow = Rc::new(Follow::new(key.clone(), id, asker, Rc::clone(&self.memory)));
        self.follows.insert(Rc::clone(&follow)).ok()?;
        if is_listed {
            self.by_key.insert(key, id);
        }
        Some(follow)
    }

    fn tell(&mut self, worker: usize, word: Word, context: &mut Context<'_>) {
        if worker == self.number {
            self.handle(word, context);
        } else {
            self.peers.tell(worker, word);
        }
    }

    /// Takes in what other workers and the store said.
    pub fn handle(&mut self, word: Word, context: &mut Context<'_>) {
        self.now = context.now;
        match word {
            Word::Ask { from, follow, ask } => self.handle_ask(from, follow, ask, context),
            Word::Leave { from, follow } => {
                for fetch in self.fetches.values_mut() {
                    fetch.remote.retain(|at| (at.worker, at.follow) != (from, follow));
                }
            }
            Word::Full { from, follow, is_full } => {
                for (key, fetch) in &mut self.fetches {
                    for at in &mut fetch.remote {
                        if (at.worker, at.follow) == (from, follow) {
                            at.is_full = is_full;
                            self.paused.push(*key);
                        }
                    }
                }
            }
            Word::Verdict { follow, verdict, is_yours } => {
                self.handle_verdict(follow, verdict, is_yours);
            }
            Word::Begin { follow, base } => {
                if let Some(follow) = self.follows.find(follow) {
                    follow.begin_at(base);
                }
            }
            Word::Pieces { follow, pieces, end } => self.handle_pieces(follow, &pieces, end),
            Word::Written { follow, bytes, file } => {
                if let Some(follow) = self.follows.find(follow) {
                    follow.set_written(bytes, file);
                    follow.trim(false);
                }
            }
            Word::Unlist { follow } => {
                if let Some(follow) = self.follows.find(follow).map(Rc::clone) {
                    self.unlist(&follow);
                    follow.trim(false);
                }
            }
            Word::Shut { follow } => self.shut(follow),
            Word::Store(word) => self.handle_store(word, context),
        }
    }

    fn handle_ask(&mut self, from: usize, follow: Key, ask: Box<Ask>, context: &mut Context<'_>) {
        let is_local = from == self.number;
        if !is_local && let Some(open) = self.find(&ask.key).filter(|open| open.is_whole()) {
            self.join(from, follow, &open);
            return;
        }
        if !ask.is_alone && self.answer_kept(from, follow, &ask, context) {
            return;
        }
        // Whoever looked before the file was there has asked for what is there now; once.
        if !ask.is_alone && ask.stored.is_none() && self.recent.remove(&ask.key).is_some() {
            let word = Word::Verdict { follow, verdict: Verdict::Again, is_yours: false };
            self.tell(from, word, context);
            return;
        }
        let local = if is_local {
            self.follows.find(follow).map(Rc::clone)
        } else {
            self.follow(ask.key.clone(), None, true)
        };
        let Some(local) = local else {
            let verdict = Verdict::Refused(Status::ServiceUnavailable);
            self.peers.tell(from, Word::Verdict { follow, verdict, is_yours: false });
            return;
        };
        let remote = Remote { worker: from, follow, is_asker: true, is_full: false };
        let remote = if is_local { Vec::new() } else { vec![remote] };
        let message = message(&ask, None);
        self.begin(local, remote, ask, message, context);
    }

    /// Asks the origin.
    fn begin(
        &mut self,
        local: Rc<Follow>,
        remote: Vec<Remote>,
        ask: Box<Ask>,
        message: Message,
        context: &mut Context<'_>,
    ) {
        context.counters.cache.fetches.add(1);
        if ask.stored.is_some() {
            context.counters.cache.revalidations.add(1);
        }
        let request = self.origins.ask(&ask.origin, message, context.now);
        let id = local.id;
        let fetch = Fetch {
            ask,
            follow: local,
            request,
            remote,
            storing: Storing::No,
            unstored: Vec::new(),
            asked_at: context.unix,
            is_purged: false,
            is_paused: false,
            is_over: false,
            held: None,
        };
        self.fetches.insert(id, fetch);
        self.by_request.insert(request, id);
    }

    /// A follower of another worker joins what is under way here, or was there before.
    fn join(&mut self, worker: usize, follow: Key, open: &Rc<Follow>) {
        let Some(fetch) = self.fetches.get_mut(&open.id) else {
            // It is over and not yet shut: the file is there in a moment.
            let word = Word::Verdict { follow, verdict: Verdict::Again, is_yours: false };
            self.peers.tell(worker, word);
            return;
        };
        fetch.remote.push(Remote { worker, follow, is_asker: false, is_full: false });
        let Some(answer) = open.answer() else { return };
        let verdict = Verdict::Streams(answer);
        self.peers.tell(worker, Word::Verdict { follow, verdict, is_yours: false });
        if let Some((file, bytes)) = open.file() {
            self.peers.tell(worker, Word::Written { follow, bytes, file: Some(file) });
        }
        let (end, (base, pieces)) = (open.end(), open.pieces());
        if base > 0 {
            self.peers.tell(worker, Word::Begin { follow, base });
        }
        self.peers.tell(worker, Word::Pieces { follow, pieces, end });
    }

    fn answer_kept(
        &mut self,
        from: usize,
        follow: Key,
        ask: &Ask,
        context: &mut Context<'_>,
    ) -> bool {
        let Some(id) = self.kept.find(&ask.key) else { return false };
        let Some(kept) = self.kept.value(id) else { return false };
        let record = &kept.answer.record;
        if !record.freshness.is_fresh(context.unix) || !is_for(record, &ask.request) {
            self.kept.remove(&ask.key);
            return false;
        }
        let (answer, pieces) = (Arc::clone(&kept.answer), kept.body.clone());
        context.counters.cache.hits.add(1);
        let verdict = Verdict::Streams(answer);
        let end = Some(End::Complete);
        // The body first: who is woken by the head finds it there.
        if from == self.number {
            self.handle_pieces(follow, &pieces, end);
            self.handle_verdict(follow, verdict, true);
            self.shut(follow);
        } else {
            self.peers.tell(from, Word::Pieces { follow, pieces, end });
            self.peers.tell(from, Word::Verdict { follow, verdict, is_yours: true });
            self.peers.tell(from, Word::Shut { follow });
        }
        true
    }

    /// Carries out what is due. To be called after anything else, once a batch.
    pub fn work(&mut self, context: &mut Context<'_>) {
        self.now = context.now;
        self.has_taken = false;
        loop {
            self.origins.work(context.now, context.ring);
            let Some(event) = self.origins.events.pop_front() else { break };
            self.handle_event(event, context);
        }
        let received = std::mem::take(&mut self.origins.bytes_received);
        context.counters.cache.origin_bytes.add(received);
        let errors = std::mem::take(&mut self.origins.errors);
        for (counter, count) in context.counters.cache.origin_errors.iter().zip(errors) {
            counter.add(count);
        }
        for key in std::mem::take(&mut self.unstored) {
            self.hand_over(key, context);
        }
        for key in std::mem::take(&mut self.paused) {
            self.check_pause(key, context);
        }
        for key in std::mem::take(&mut self.full) {
            let Some(follow) = self.follows.find(key).map(Rc::clone) else { continue };
            follow.trim(true);
            if follow.memory() > FOLLOW_BYTES_MAX / 2 {
                self.full.push(key);
            } else {
                self.set_full(&follow, false);
            }
        }
        self.peers.flush();
    }

    /// Looks for what nobody wants any more, and for times that have run out.
    pub fn sweep(&mut self, context: &mut Context<'_>) {
        self.tell_used();
        self.tell_aborts();
        self.origins.sweep(context.now, context.ring);
        self.sweep_invalidations(context);
        let idle: Vec<Key> = self
            .fetches
            .iter()
            .filter(|(_, fetch)| {
                let is_sent = fetch.follow.answer().is_some();
                let is_wanted = fetch.follow.has_followers() || !fetch.remote.is_empty();
                is_sent && !is_wanted && matches!(fetch.storing, Storing::No)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in idle {
            if let Some(fetch) = self.fetches.get(&key) {
                self.origins.cancel(fetch.request, context.now);
            }
            self.close(key);
        }
        let slots = 0..self.follows.slot_count();
        let left: Vec<(Key, Box<[u8]>)> = slots
            .filter_map(|at| self.follows.slot(at))
            .filter(|(id, follow)| {
                !self.fetches.contains_key(id)
                    && follow.answer().is_some()
                    && !follow.has_followers()
                    && !follow.is_open()
            })
            .map(|(id, follow)| (id, follow.key.clone()))
            .collect();
        for (follow, key) in left {
            self.peers.tell(self.peers.owner(&key), Word::Leave { from: self.number, follow });
            self.follows.remove(follow);
        }
        self.passes.retain(|_, until| context.now < *until);
        self.recent.retain(|_, until| context.now < *until);
        self.work(context);
    }
}
