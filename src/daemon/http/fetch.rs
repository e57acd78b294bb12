//! Fetches: one per key on this box, at the worker that owns the key, for waiters on any worker.
//!
//! Input: requests that the tree cannot answer, events of origins, words of other workers and of
//! the store.   Output: connections that can go on, words, bodies to be stored.
//! Owns: the fetches of the keys that are this worker's, bounded by `FETCHES_MAX`; what its own
//! connections follow; small answers other than 200, bounded by `KEPT_MAX`.   Thread: one worker.
//! Invariants: a key has one fetch that may be joined; a fetch goes on when its clients have left,
//! unless nothing of it would be stored; a fetch that met a purge is stored by nobody.
//! Not here: what an answer means (`cache::flight`), sockets (`daemon::http::origin`), how a
//! connection is sent its bytes (`daemon::http::send`).

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;

use crate::cache::flight::{self, Asked, Plan};
use crate::cache::freshness::status::{CacheStatus, Fwd, Handled};
use crate::cache::freshness::validate::conditions;
use crate::cache::freshness::{
    Fields, Method as CacheMethod, Pass, Policy, Request, RequestControl, Response,
};
use crate::cache::purge::Purge;
use crate::cache::record::{Record, split_tags};
use crate::cache::store::Put;
use crate::cache::table::Table;
use crate::http::Status;
use crate::http::origin::location::{Place, Scheme, rewrite};
use crate::http::origin::pool::{Refusal, RequestId};
use crate::http::origin::response::{self, HeadLimits};
use crate::http::origin::{Error, Timeout};
use crate::http::request::{self, header_space};
use crate::limits::{
    FETCHES_MAX, FOLLOW_BYTES_MAX, FOLLOW_MEMORY_MAX, HEADERS_MAX, KEPT_BYTES_MAX, KEPT_MAX,
    ORIGIN_HEAD_BYTES_MAX, PASS_SECONDS, PASSES_MAX, STORE_BEHIND_BYTES_MAX,
};
use crate::stdx::bytes::Bytes;
use crate::stdx::num::{narrow, wide};
use crate::stdx::slab::{Key, Slab};
use crate::sys::process::random_seed;
use crate::sys::uring::Ring;
use crate::time::{Duration, Instant, UnixSeconds};

use super::super::counters::Counters;
use super::super::settings::Settings;
use super::super::store::{FromStore, StoreId, ToStore};
use super::super::topology::{Peers, StoreLine};
use super::follow::{Answer, End, Follow, Verdict};
use super::origin::{Event, Origins};

/// What one worker asks the owner of a key.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The name under which the answer is stored.
    pub key: Box<[u8]>,
    /// The number of the origin in the settings.
    pub origin: usize,
    /// The request as it is sent, but for conditions.
    pub request: Vec<u8>,
    /// What is stored, whose validators are sent along.
    pub stored: Option<Arc<Record>>,
    /// The rules for the path.
    pub policy: Policy,
    /// The client's directives.
    pub control: RequestControl,
    /// Of the key's own file, for another variant beside it.
    pub generation: Option<u64>,
    /// Nobody else may join.
    pub is_alone: bool,
    /// Whether the answer may be stored, if it allows that.
    pub may_store: bool,
    /// Why the origin is asked.
    pub fwd: Fwd,
    /// The authority that the client asked for, for redirects.
    pub public: Box<str>,
}

/// What workers and the store tell each other about fetches.
#[derive(Debug)]
pub enum Word {
    /// To the owner of a key: a follower wants it.
    Ask { from: usize, follow: Key, ask: Box<Ask> },
    /// To the owner: nobody there follows any more.
    Leave { from: usize, follow: Key },
    /// To the owner: that follower has enough in memory, or has room again.
    Full { from: usize, follow: Key, is_full: bool },
    /// To a follower: how it turned out. `is_yours`: its own request was sent.
    Verdict { follow: Key, verdict: Verdict, is_yours: bool },
    /// To a follower: more of the body.
    Pieces { follow: Key, pieces: Vec<Bytes>, end: Option<End> },
    /// To a follower: so much of the body is in the file.
    Written { follow: Key, bytes: u64, file: Option<Arc<File>> },
    /// To a follower: no new request may join.
    Shut { follow: Key },
    /// Of the store.
    Store(FromStore),
}

/// What a connection that waited for a fetch does next.
#[derive(Clone)]
pub enum Next {
    /// Follows it.
    Join(Rc<Follow>),
    /// Asks the origin for itself.
    Alone,
    /// Serves what is stored, whatever its age.
    Stored,
    /// Looks again.
    Again,
    /// Is refused.
    Refused(Status),
    /// Is sent more of what it follows.
    More,
}

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
}

struct Remote {
    worker: usize,
    follow: Key,
    is_full: bool,
}

struct Kept {
    answer: Arc<Answer>,
    body: Vec<Bytes>,
}

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
    follows: Slab<Rc<Follow>>,
    by_key: HashMap<Box<[u8]>, Key>,
    fetches: HashMap<Key, Fetch>,
    by_request: HashMap<RequestId, Key>,
    by_store: HashMap<u64, Key>,
    next_store: u64,
    origins: Origins,
    kept: Table<Kept>,
    /// Keys whose answers are for those who ask only, and until when that is believed.
    passes: HashMap<Box<[u8]>, Instant>,
    /// Fetches that wait until their bytes were taken.
    paused: Vec<Key>,
    /// Followed fetches of other workers that were told to pause.
    full: Vec<Key>,
    has_taken: bool,
    /// Fetches with bytes for the store.
    unstored: Vec<Key>,
    /// Connections that can go on.
    pub woken: VecDeque<(Key, Next)>,
    /// Names whose files are to be looked at again; with a record, it is the file's new one.
    pub changed: Vec<(Box<[u8]>, Option<Arc<Record>>)>,
}

impl Fetches {
    pub fn new(number: usize, peers: Peers, store: Option<StoreLine>) -> Self {
        Self {
            number,
            now: Instant::default(),
            peers,
            store,
            follows: Slab::new(FETCHES_MAX),
            by_key: HashMap::new(),
            fetches: HashMap::new(),
            by_request: HashMap::new(),
            by_store: HashMap::new(),
            next_store: 0,
            origins: Origins::new(),
            kept: Table::new(KEPT_MAX, random_seed()),
            passes: HashMap::new(),
            paused: Vec::new(),
            full: Vec::new(),
            has_taken: false,
            unstored: Vec::new(),
            woken: VecDeque::new(),
            changed: Vec::new(),
        }
    }

    /// Whether anything is under way whose time can run out.
    pub fn is_idle(&self) -> bool {
        self.follows.is_empty() && self.origins.is_idle()
    }

    /// Whether `work` has something to do.
    pub fn has_news(&self) -> bool {
        self.origins.has_news()
            || !self.unstored.is_empty()
            || !self.woken.is_empty()
            || !self.changed.is_empty()
            || self.has_taken
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

    fn follow(
        &mut self,
        key: Box<[u8]>,
        asker: Option<Key>,
        is_listed: bool,
    ) -> Option<Rc<Follow>> {
        // The slab's key is part of the value.
        let placeholder = Rc::new(Follow::new(Box::default(), NO_KEY, None));
        let id = self.follows.insert(placeholder).ok()?;
        let follow = Rc::new(Follow::new(key.clone(), id, asker));
        *self.follows.find_mut(id)? = Rc::clone(&follow);
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
            Word::Pieces { follow, pieces, end } => self.handle_pieces(follow, &pieces, end),
            Word::Written { follow, bytes, file } => {
                if let Some(follow) = self.follows.find(follow) {
                    follow.set_written(bytes, file);
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
        let remote = Remote { worker: from, follow, is_full: false };
        let remote = if is_local { Vec::new() } else { vec![remote] };
        context.counters.cache.fetches.add(1);
        if ask.stored.is_some() {
            context.counters.cache.revalidations.add(1);
        }
        let request = Arc::new(with_conditions(&ask));
        let request = self.origins.ask(ask.origin, request, context.now);
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
        fetch.remote.push(Remote { worker, follow, is_full: false });
        let Some(answer) = open.answer() else { return };
        let verdict = Verdict::Streams(answer);
        self.peers.tell(worker, Word::Verdict { follow, verdict, is_yours: false });
        if let Some((file, bytes)) = open.file() {
            self.peers.tell(worker, Word::Written { follow, bytes, file: Some(file) });
        }
        let end = open.end();
        self.peers.tell(worker, Word::Pieces { follow, pieces: open.pieces(), end });
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

    fn handle_verdict(&mut self, follow: Key, verdict: Verdict, is_yours: bool) {
        let Some(follow) = self.follows.find(follow).map(Rc::clone) else { return };
        match verdict {
            Verdict::Streams(answer) => {
                let is_shared = answer.is_shared;
                follow.set_answer(answer);
                for conn in follow.take_waiters() {
                    let is_asker = is_yours && follow.asker == Some(conn);
                    let next = if is_shared || is_asker {
                        Next::Join(Rc::clone(&follow))
                    } else {
                        Next::Alone
                    };
                    self.woken.push_back((conn, next));
                }
                if !is_shared {
                    if self.by_key.get(&follow.key) == Some(&follow.id) {
                        self.mark_pass(&follow.key);
                    }
                    self.unlist(&follow);
                }
            }
            Verdict::Stored(record) => {
                if record.is_some() {
                    self.changed.push((follow.key.clone(), record));
                }
                self.wake_all(&follow, &Next::Stored);
                self.drop_follow(&follow);
            }
            Verdict::Again => {
                self.changed.push((follow.key.clone(), None));
                self.wake_all(&follow, &Next::Again);
                self.drop_follow(&follow);
            }
            Verdict::Refused(status) => {
                self.wake_all(&follow, &Next::Refused(status));
                self.drop_follow(&follow);
            }
        }
    }

    /// For a while, requests for `key` do not wait for each other.
    fn mark_pass(&mut self, key: &[u8]) {
        if self.passes.len() >= PASSES_MAX {
            self.passes.clear();
        }
        let until = self.now.after(Duration::from_secs(PASS_SECONDS));
        self.passes.insert(key.into(), until);
    }

    fn wake_all(&mut self, follow: &Follow, next: &Next) {
        for conn in follow.take_waiters() {
            self.woken.push_back((conn, next.clone()));
        }
    }

    fn handle_pieces(&mut self, follow: Key, pieces: &[Bytes], end: Option<End>) {
        let Some(follow) = self.follows.find(follow).map(Rc::clone) else { return };
        follow.push(pieces);
        if let Some(end) = end {
            follow.set_end(end);
        }
        follow.trim(false);
        if follow.answer().is_some() {
            self.wake_all(&follow, &Next::More);
        }
        let is_remote = !self.fetches.contains_key(&follow.id);
        if is_remote && end.is_none() && follow.memory() > FOLLOW_BYTES_MAX {
            self.set_full(&follow, true);
            self.full.push(follow.id);
        }
        if is_remote && end.is_some() && follow.answer().is_some_and(|answer| !answer.is_shared) {
            self.drop_follow(&follow);
        }
    }

    fn set_full(&mut self, follow: &Follow, is_full: bool) {
        let word = Word::Full { from: self.number, follow: follow.id, is_full };
        self.peers.tell(self.peers.owner(&follow.key), word);
    }

    /// Nobody may join it any more, and the worker knows nothing of it; who follows it goes on.
    fn shut(&mut self, follow: Key) {
        if let Some(follow) = self.follows.find(follow).map(Rc::clone) {
            self.changed.push((follow.key.clone(), None));
            self.wake_all(&follow, &Next::More);
            self.drop_follow(&follow);
        }
    }

    fn unlist(&mut self, follow: &Follow) {
        follow.shut();
        if self.by_key.get(&follow.key) == Some(&follow.id) {
            self.by_key.remove(&follow.key);
        }
    }

    fn drop_follow(&mut self, follow: &Rc<Follow>) {
        self.unlist(follow);
        self.follows.remove(follow.id);
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
        for key in std::mem::take(&mut self.unstored) {
            self.hand_over(key, context);
        }
        for key in std::mem::take(&mut self.paused) {
            self.check_pause(key, context);
        }
        for key in std::mem::take(&mut self.full) {
            let Some(follow) = self.follows.find(key).map(Rc::clone) else { continue };
            follow.trim(false);
            if follow.memory() > FOLLOW_BYTES_MAX / 2 {
                self.full.push(key);
            } else {
                self.set_full(&follow, false);
            }
        }
        self.peers.flush();
    }

    fn handle_event(&mut self, event: Event, context: &mut Context<'_>) {
        let id = match &event {
            Event::Head(id, _) | Event::Body(id, _) | Event::End(id) => *id,
            Event::Failed(id, _) | Event::Refused(id, _) => *id,
        };
        let Some(key) = self.by_request.get(&id).copied() else { return };
        match event {
            Event::Head(_, head) => self.handle_head(key, &head, context),
            Event::Body(_, pieces) => self.handle_body(key, pieces, context),
            Event::End(_) => self.handle_end(key, End::Complete, context),
            Event::Failed(_, error) => {
                context.counters.cache.origin_errors[error.kind()].add(1);
                self.handle_failure(key, status_of(error), context);
            }
            Event::Refused(_, refusal) => {
                context.counters.cache.origin_refusals.add(1);
                self.handle_failure(key, status_of_refusal(refusal), context);
            }
        }
    }

    fn handle_head(&mut self, key: Key, head: &Bytes, context: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let mut space = header_space();
        let limits = HeadLimits { head_bytes_max: ORIGIN_HEAD_BYTES_MAX, headers_max: HEADERS_MAX };
        let parsed = response::parse(head, 0, false, &mut space, &limits);
        let Ok(response::Head::Complete(response, _)) = parsed else {
            unreachable!("it was read before, by the same rules");
        };
        let lines: Vec<(&[u8], &[u8])> =
            response.fields().map(|(name, value)| (name.as_bytes(), value)).collect();
        let answer = Response {
            status: response.status,
            fields: Fields(&lines),
            asked_at: fetch.asked_at,
            received_at: context.unix,
        };
        let origin = context.settings.origins.get(fetch.ask.origin).map(Arc::clone);
        let places = origin.as_ref().map(|origin| origin.places()).unwrap_or_default();
        let places: Vec<Place<'_>> = places
            .iter()
            .map(|(scheme, host, port)| Place { scheme: *scheme, host, port: *port })
            .collect();
        let (host, port) = public_place(&fetch.ask.public);
        let public = Place { scheme: Scheme::Http, host, port };
        let length = match response.framing {
            crate::http::origin::Framing::Length(length) => Some(length),
            crate::http::origin::Framing::None => Some(0),
            _ => None,
        };
        let plan = with_asked(&fetch.ask, context.date, |asked| {
            flight::plan(asked, &answer, response.reason, length, |value| {
                rewrite(value, &places, &public)
            })
        });
        match plan {
            Plan::Send(record, pass) => self.begin_answer(key, record, pass, length, context),
            Plan::Confirmed(record) => {
                if let (Some(head), false) = (record.emit(), fetch.is_purged) {
                    let name = fetch.ask.key.clone();
                    let word = ToStore::Freshen { name, head: head.into() };
                    let _told: bool = self.store.as_ref().is_some_and(|store| store.tell(word));
                }
                self.conclude(key, &Verdict::Stored(Some(Arc::new(record))), context);
            }
            Plan::Spent => {
                let names = vec![fetch.ask.key.clone()];
                let word = ToStore::Remove { names };
                let _told: bool = self.store.as_ref().is_some_and(|store| store.tell(word));
                self.conclude(key, &Verdict::Stored(None), context);
            }
            Plan::Stale => {
                context.counters.cache.stale_served.add(1);
                self.conclude(key, &Verdict::Stored(None), context);
            }
            Plan::Again => {
                fetch.ask.stored = None;
                let before = fetch.request;
                let request = Arc::new(with_conditions(&fetch.ask));
                fetch.request = self.origins.ask(fetch.ask.origin, request, context.now);
                let after = fetch.request;
                self.by_request.remove(&before);
                self.by_request.insert(after, key);
            }
        }
    }

    fn begin_answer(
        &mut self,
        key: Key,
        record: Record,
        pass: Option<Pass>,
        length: Option<u64>,
        context: &mut Context<'_>,
    ) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let ask = &fetch.ask;
        let is_small = length.is_none_or(|length| length <= context.settings.object_bytes_max);
        let is_kept = pass.is_none() && ask.may_store && !fetch.is_purged && is_small;
        let is_file = is_kept && record.status == 200 && self.store.is_some();
        // An error without a word on caching is told to all who waited for it: were each to ask
        // for itself, an origin in trouble would have more of it.
        let is_common_error =
            record.status >= 500 && matches!(pass, Some(Pass::NoLifetime | Pass::Useless));
        let is_shared = (pass.is_none() || is_common_error) && !ask.is_alone;
        let fwd_status = (record.status != 200).then_some(record.status);
        let ttl = pass.is_none().then(|| record.freshness.ttl(context.unix));
        let line = |collapsed, stored| {
            let handled =
                Handled::Forwarded { why: ask.fwd, origin_status: fwd_status, stored, collapsed };
            status_line(&context.settings.cache_name, handled, ttl)
        };
        let answer = Arc::new(Answer {
            cache_status: line(false, is_kept),
            collapsed_status: line(true, is_kept),
            record,
            length,
            is_shared,
        });
        fetch.storing = if is_file { Storing::Due } else { Storing::No };
        if is_kept {
            self.passes.remove(&fetch.ask.key);
        }
        let (follow, waiters) = (Rc::clone(&fetch.follow), fetch.follow.joined());
        if is_shared && waiters > 1 {
            context.counters.cache.coalesced.add(waiters - 1);
        }
        for (place, at) in fetch.remote.iter().enumerate() {
            let verdict = Verdict::Streams(Arc::clone(&answer));
            let word = Word::Verdict { follow: at.follow, verdict, is_yours: place == 0 };
            self.peers.tell(at.worker, word);
        }
        let is_yours = fetch.remote.is_empty();
        self.handle_verdict(follow.id, Verdict::Streams(answer), is_yours);
    }

    fn handle_body(&mut self, key: Key, pieces: Vec<Bytes>, context: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        for at in &fetch.remote {
            let word = Word::Pieces { follow: at.follow, pieces: pieces.clone(), end: None };
            self.peers.tell(at.worker, word);
        }
        let follow = Rc::clone(&fetch.follow);
        follow.push(&pieces);
        if !matches!(fetch.storing, Storing::No) {
            fetch.unstored.extend(pieces);
            self.unstored.push(key);
            if follow.len() > context.settings.object_bytes_max {
                self.give_up_storing(key);
            }
        }
        self.wake_all(&follow, &Next::More);
        if follow.memory() > FOLLOW_BYTES_MAX / 2 {
            self.paused.push(key);
        }
    }

    fn handle_end(&mut self, key: Key, end: End, context: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        fetch.is_over = true;
        self.by_request.remove(&fetch.request);
        if fetch.follow.answer().is_none() {
            // A 304 that nobody asked for, after which it was fetched again.
            return;
        }
        let follow = Rc::clone(&fetch.follow);
        follow.set_end(end);
        for at in &fetch.remote {
            let word = Word::Pieces { follow: at.follow, pieces: Vec::new(), end: Some(end) };
            self.peers.tell(at.worker, word);
        }
        if end == End::Broken {
            self.give_up_storing(key);
        }
        self.wake_all(&follow, &Next::More);
        let Some(fetch) = self.fetches.get(&key) else { return };
        if matches!(fetch.storing, Storing::No) {
            self.keep(key, end, context);
            self.close(key);
        } else {
            self.unstored.push(key);
        }
    }

    /// Keeps a small answer other than 200 in memory.
    fn keep(&mut self, key: Key, end: End, context: &Context<'_>) {
        let Some(fetch) = self.fetches.get(&key) else { return };
        let Some(answer) = fetch.follow.answer() else { return };
        let is_lasting = answer.record.freshness.is_fresh(context.unix);
        let is_storable = is_lasting && fetch.ask.may_store && !fetch.is_purged;
        let is_other = answer.record.status != 200 && end == End::Complete;
        if !is_storable || !is_other || fetch.follow.len() > KEPT_BYTES_MAX {
            return;
        }
        let line = status_line(&context.settings.cache_name, Handled::Hit, None);
        let kept = Answer {
            record: answer.record.clone(),
            length: Some(fetch.follow.len()),
            is_shared: true,
            cache_status: line.clone(),
            collapsed_status: line,
        };
        let kept = Kept { answer: Arc::new(kept), body: fetch.follow.pieces() };
        drop(self.kept.insert(&fetch.ask.key, kept));
    }

    fn handle_failure(&mut self, key: Key, status: Status, context: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get(&key) else { return };
        if fetch.follow.answer().is_some() {
            self.handle_end(key, End::Broken, context);
            return;
        }
        let unix = context.unix;
        let stands_in =
            with_asked(&fetch.ask, context.date, |asked| flight::may_stand_in(asked, unix));
        let verdict = if stands_in {
            context.counters.cache.stale_served.add(1);
            Verdict::Stored(None)
        } else {
            Verdict::Refused(status)
        };
        self.conclude(key, &verdict, context);
    }

    /// It is over without an answer of its own.
    fn conclude(&mut self, key: Key, verdict: &Verdict, context: &mut Context<'_>) {
        let Some(fetch) = self.fetches.remove(&key) else { return };
        self.by_request.remove(&fetch.request);
        // What follows of the origin's answer is of no interest, unless it is empty anyway.
        if !fetch.is_over && matches!(verdict, Verdict::Stored(None)) {
            self.origins.cancel(fetch.request, context.now);
        }
        for at in &fetch.remote {
            let verdict = verdict.clone();
            let word = Word::Verdict { follow: at.follow, verdict, is_yours: false };
            self.peers.tell(at.worker, word);
        }
        self.handle_verdict(fetch.follow.id, verdict.clone(), true);
    }

    /// It is over, and nobody may join it any more.
    fn close(&mut self, key: Key) {
        let Some(fetch) = self.fetches.remove(&key) else { return };
        self.by_request.remove(&fetch.request);
        for at in &fetch.remote {
            self.peers.tell(at.worker, Word::Shut { follow: at.follow });
        }
        self.shut(fetch.follow.id);
    }

    /// Hands what came to the store.
    fn hand_over(&mut self, key: Key, context: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let Some(store) = &self.store else { return };
        let is_last = fetch.follow.end() == Some(End::Complete);
        if fetch.unstored.is_empty() && !is_last {
            return;
        }
        let pieces = std::mem::take(&mut fetch.unstored);
        let count: u64 = pieces.iter().map(|piece| wide(piece.len())).sum();
        let Some(answer) = fetch.follow.answer() else { return };
        let (id, given, written) = match fetch.storing {
            Storing::Due => (self.next_store, 0, 0),
            Storing::Begun { id, given, written } => (id, given, written),
            Storing::No | Storing::Ending => return,
        };
        let name = StoreId { worker: narrow(self.number), number: id };
        let is_first = matches!(fetch.storing, Storing::Due);
        // The head holds the length of the body: it is written when that is known.
        let body_bytes = if is_last { fetch.follow.len() } else { answer.length.unwrap_or(0) };
        let needs_head = is_first || is_last && answer.length.is_none();
        let head = needs_head.then(|| Record { body_bytes, ..answer.record.clone() }.emit());
        let told = if let Some(None) = head {
            context.counters.cache.head_too_long.add(1);
            false
        } else if given + count - written > STORE_BEHIND_BYTES_MAX {
            context.counters.cache.store_behind.add(1);
            false
        } else {
            let head = head.flatten().map(Vec::into_boxed_slice);
            store.tell(if is_first {
                ToStore::Put(Put {
                    id: name,
                    name: fetch.ask.key.clone(),
                    head: head.unwrap_or_default(),
                    tags: split_tags(&answer.record.tags),
                    length: answer.length,
                    pieces,
                    is_last,
                })
            } else {
                ToStore::More { id: name, pieces, head, is_last }
            })
        };
        if !told {
            self.give_up_storing(key);
            self.finish_if_over(key);
            return;
        }
        if matches!(fetch.storing, Storing::Due) {
            self.next_store += 1;
            self.by_store.insert(id, key);
        }
        fetch.storing = if is_last {
            Storing::Ending
        } else {
            Storing::Begun { id, given: given + count, written }
        };
    }

    /// Goes on without storing it.
    fn give_up_storing(&mut self, key: Key) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        if let Storing::Begun { id, .. } = fetch.storing {
            let name = StoreId { worker: narrow(self.number), number: id };
            // Where the queue is full, the store drops it at the next start at the latest.
            let _told: bool =
                self.store.as_ref().is_some_and(|store| store.tell(ToStore::Abort { id: name }));
            self.by_store.remove(&id);
        }
        fetch.storing = Storing::No;
        fetch.unstored = Vec::new();
    }

    fn finish_if_over(&mut self, key: Key) {
        let Some(fetch) = self.fetches.get(&key) else { return };
        if fetch.is_over && matches!(fetch.storing, Storing::No) {
            self.close(key);
        }
    }

    fn handle_store(&mut self, word: FromStore, context: &mut Context<'_>) {
        match word {
            FromStore::Written { id, bytes, file } => {
                let Some(key) = self.by_store.get(&id.number).copied() else { return };
                let Some(fetch) = self.fetches.get_mut(&key) else { return };
                if let Storing::Begun { written, .. } = &mut fetch.storing {
                    *written = bytes;
                }
                fetch.follow.set_written(bytes, file.clone());
                fetch.follow.trim(false);
                for at in &fetch.remote {
                    let word = Word::Written { follow: at.follow, bytes, file: file.clone() };
                    self.peers.tell(at.worker, word);
                }
                self.paused.push(key);
            }
            FromStore::Stored { id, .. } => {
                if let Some(key) = self.by_store.remove(&id.number) {
                    context.counters.cache.stored.add(1);
                    self.close(key);
                }
            }
            // Told to all workers as a change of the tree.
            FromStore::Changed { .. } => {}
            FromStore::NotStored { id, why } => {
                log::debug!("not stored: {why}");
                if let Some(key) = self.by_store.remove(&id.number) {
                    context.counters.cache.not_stored.add(1);
                    if let Some(fetch) = self.fetches.get_mut(&key) {
                        fetch.storing = Storing::No;
                        fetch.unstored = Vec::new();
                    }
                    self.finish_if_over(key);
                }
            }
        }
    }

    /// Pauses or resumes a fetch by what is kept of it in memory.
    fn check_pause(&mut self, key: Key, context: &mut Context<'_>) {
        let total: usize = if self.fetches.len() > FOLLOW_MEMORY_MAX / FOLLOW_BYTES_MAX {
            self.follows_memory()
        } else {
            0
        };
        let is_tight = total > FOLLOW_MEMORY_MAX;
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        fetch.follow.trim(is_tight);
        let memory = fetch.follow.memory();
        let full = fetch.remote.iter().any(|at| at.is_full);
        let bound = if fetch.is_paused { FOLLOW_BYTES_MAX / 2 } else { FOLLOW_BYTES_MAX };
        let pauses = full || memory > bound || is_tight && memory > FOLLOW_BYTES_MAX / 16;
        if pauses != fetch.is_paused {
            fetch.is_paused = pauses;
            self.origins.pause(fetch.request, pauses, context.now, context.ring);
        }
        if pauses {
            self.paused.push(key);
        }
    }

    fn follows_memory(&self) -> usize {
        let slots = 0..self.follows.slot_count();
        slots.filter_map(|at| self.follows.slot(at)).map(|(_, follow)| follow.memory()).sum()
    }

    /// What was under way before a purge is sent on to those who wait, and stored by nobody.
    pub fn purge(&mut self, purge: &Purge, context: &mut Context<'_>) {
        self.kept.remove_where(|key, _| purge.matches(key), drop);
        if self.kept_may_match(purge) {
            self.kept.remove_where(|_, _| true, drop);
        }
        let is_tag = purge.is_tag();
        let keys: Vec<Key> = self
            .fetches
            .iter()
            .filter(|(_, fetch)| is_tag || purge.matches(&fetch.ask.key))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.give_up_storing_purged(key);
            let Some(fetch) = self.fetches.get_mut(&key) else { continue };
            fetch.is_purged = true;
            let follow = Rc::clone(&fetch.follow);
            self.unlist(&follow);
            self.finish_if_over(key);
        }
        // Followers of other workers' fetches: new requests must ask anew.
        let slots = 0..self.follows.slot_count();
        let others: Vec<Rc<Follow>> = slots
            .filter_map(|at| self.follows.slot(at))
            .filter(|(_, follow)| is_tag || purge.matches(&follow.key))
            .map(|(_, follow)| Rc::clone(follow))
            .collect();
        for follow in others {
            self.unlist(&follow);
        }
        context.counters.cache.purges.add(1);
    }

    fn kept_may_match(&self, purge: &Purge) -> bool {
        purge.is_tag() && !self.kept.is_empty()
    }

    /// As `give_up_storing`; one that was handed over whole is in the store's queue before the
    /// purge, so that the purge removes its file.
    fn give_up_storing_purged(&mut self, key: Key) {
        let Some(fetch) = self.fetches.get(&key) else { return };
        if !matches!(fetch.storing, Storing::Ending) {
            self.give_up_storing(key);
        }
    }

    /// Looks for what nobody wants any more, and for times that have run out.
    pub fn sweep(&mut self, context: &mut Context<'_>) {
        self.origins.sweep(context.now, context.ring);
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
        self.work(context);
    }
}

const NO_KEY: Key = Key { index: u32::MAX, generation: 0 };

/// The line of Cache-Status.
pub fn status_line(cache: &str, handled: Handled, ttl_seconds: Option<i64>) -> Vec<u8> {
    let mut line = b"Cache-Status: ".to_vec();
    CacheStatus { cache, handled, ttl_seconds, detail: "" }.emit(&mut line);
    line.extend_from_slice(b"\r\n");
    line
}

/// The request with the conditions of what is stored: before the empty line at its end.
fn with_conditions(ask: &Ask) -> Vec<u8> {
    let mut request = ask.request.clone();
    let Some(stored) = &ask.stored else { return request };
    request.truncate(request.len() - 2);
    let lines: Vec<(&[u8], &[u8])> = stored.lines().collect();
    let found = conditions(Fields(&lines));
    for (name, value) in [
        (&b"If-None-Match: "[..], found.none_match),
        (&b"If-Modified-Since: "[..], found.modified_since),
    ] {
        if let Some(value) = value {
            request.extend_from_slice(name);
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
        }
    }
    request.extend_from_slice(b"\r\n");
    request
}

const ASK_LIMITS: request::HeadLimits = request::HeadLimits {
    header_bytes_max: usize::MAX,
    headers_max: HEADERS_MAX,
    uri_bytes_max: usize::MAX,
};

/// Whether the answer of `record` is one for this request.
fn is_for(record: &Record, request: &[u8]) -> bool {
    with_fields(request, |fields| {
        record.nominated.key(fields).is_some_and(|key| key[..] == *record.secondary_key)
    })
}

fn with_fields<T>(request: &[u8], then: impl FnOnce(Fields<'_>) -> T) -> T {
    let mut space = header_space();
    let parsed = request::parse(request, &mut space, &ASK_LIMITS);
    let Ok(request::Head::Complete(request, _)) = parsed else {
        return then(Fields(&[]));
    };
    let lines: Vec<(&[u8], &[u8])> =
        request.fields().map(|(name, value)| (name.as_bytes(), value)).collect();
    then(Fields(&lines))
}

fn with_asked<T>(ask: &Ask, date: &[u8], then: impl FnOnce(&Asked<'_>) -> T) -> T {
    with_fields(&ask.request, |fields| {
        then(&Asked {
            request: Request { method: CacheMethod::Get, fields },
            control: ask.control,
            stored: ask.stored.as_deref(),
            generation: ask.generation.unwrap_or_else(random_seed),
            policy: &ask.policy,
            date,
        })
    })
}

/// Host and port of the authority that the client asked for.
fn public_place(authority: &str) -> (&str, u16) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(80)),
        _ => (authority, 80),
    };
    (host, port)
}

const fn status_of(error: Error) -> Status {
    match error {
        Error::Timeout(Timeout::Connect | Timeout::FirstByte | Timeout::BetweenBytes) => {
            Status::GatewayTimeout
        }
        _ => Status::BadGateway,
    }
}

const fn status_of_refusal(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Busy => Status::ServiceUnavailable,
        Refusal::Timeout => Status::GatewayTimeout,
        Refusal::Down | Refusal::Connect | Refusal::Unanswered => Status::BadGateway,
    }
}
