//! What the owner of a key does with what its origin answers.
//!
//! Thread: one worker.
//! Not here: what an answer means (`cache::flight`), storing it (`fetch::keep`).

use std::rc::Rc;
use std::sync::Arc;

use crate::cache::flight::{self, Plan};
use crate::cache::freshness::status::Handled;
use crate::cache::freshness::{Fields, Pass, Response};
use crate::cache::record::Record;
use crate::http::Status;
use crate::http::origin::location::{Place, Scheme, rewrite};
use crate::http::origin::response::{self, HeadLimits};
use crate::http::request::header_space;
use crate::limits::{
    FOLLOW_BYTES_MAX, FOLLOW_MEMORY_MAX, HEADERS_MAX, KEPT_BYTES_MAX, ORIGIN_HEAD_BYTES_MAX,
};
use crate::stdx::bytes::Bytes;
use crate::stdx::slab::Key;

use super::super::super::store::ToStore;
use super::super::follow::{Answer, End, Forwarding, Renewal, Verdict};
use super::super::origin::Event;
use super::request::{
    message, public_place, status_line, status_of, status_of_refusal, with_asked,
};
use super::words::{Next, Word};
use super::{Context, Fetch, Fetches, Kept, Storing};

impl Fetch {
    /// How it went to the origin, for those who are sent what is stored.
    const fn forwarding(&self, origin_status: Option<u16>) -> Forwarding {
        Forwarding { why: self.ask.fwd, origin_status }
    }
}

impl Fetches {
    pub(super) fn handle_event(&mut self, event: Event, context: &mut Context<'_>) {
        let id = match &event {
            Event::Head(id, _) | Event::Body(id, _) | Event::End(id) => *id,
            Event::Failed(id, _) | Event::Refused(id, _) => *id,
        };
        let Some(key) = self.by_request.get(&id).copied() else { return };
        if let Some(held) = self.fetches.get_mut(&key).and_then(|fetch| fetch.held.as_mut()) {
            held.push(event);
            return;
        }
        match event {
            Event::Head(_, head) => self.handle_head(key, &head, context),
            Event::Body(_, pieces) => self.handle_body(key, pieces, context),
            Event::End(_) => self.handle_end(key, End::Complete, context),
            Event::Failed(_, error) => {
                self.handle_failure(key, status_of(error), context);
            }
            Event::Refused(_, refusal) => {
                context.counters.cache.origin_refusals.add(1);
                self.handle_failure(key, status_of_refusal(refusal), context);
            }
        }
    }

    pub(super) fn handle_head(&mut self, key: Key, head: &Bytes, context: &mut Context<'_>) {
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
        let origin = &fetch.ask.origin;
        let (host, port) = public_place(&fetch.ask.public);
        let public = Place { scheme: Scheme::Http, host, port };
        let length = match response.framing {
            crate::http::origin::Framing::Length(length) => Some(length),
            crate::http::origin::Framing::None => Some(0),
            _ => None,
        };
        let plan = with_asked(&fetch.ask, context.date, |asked| {
            flight::plan(asked, &answer, response.reason, length, |value| {
                let places = origin.places();
                let places: Vec<Place<'_>> = places
                    .iter()
                    .map(|(scheme, host, port)| Place { scheme: *scheme, host, port: *port })
                    .collect();
                rewrite(value, &places, &public)
            })
        });
        match plan {
            // RFC 9110 15.4.5: an answer to a condition, which was not sent.
            Plan::Send(record, _) if record.status == 304 && fetch.ask.change.is_none() => {
                self.conclude(key, &Verdict::Refused(Status::BadGateway), context);
            }
            Plan::Send(record, pass) => {
                let purges = Self::plan_purges(&fetch.ask, &record, context.settings);
                if purges.is_empty() {
                    self.begin_answer(key, record, pass, length, context);
                } else {
                    self.hold(key, (record, pass, length), purges, context);
                }
            }
            Plan::Confirmed(record) => self.confirm(key, record, context),
            Plan::Spent => self.spend(key, context),
            Plan::Stale => {
                let forwarding = fetch.forwarding(Some(response.status));
                context.counters.cache.stale_served.add(1);
                self.conclude(key, &Verdict::Stored(None, forwarding), context);
            }
            Plan::Again => {
                fetch.ask.stored = None;
                let before = fetch.request;
                let request = message(&fetch.ask, None);
                fetch.request = self.origins.ask(&fetch.ask.origin, request, context.now);
                let after = fetch.request;
                self.by_request.remove(&before);
                self.by_request.insert(after, key);
            }
        }
    }

    /// What is stored holds for those who wait, and for nobody after them.
    fn spend(&mut self, key: Key, context: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get(&key) else { return };
        let forwarding = fetch.forwarding(Some(304));
        let head = fetch.ask.stored.as_ref().and_then(|stored| stored.emit());
        if let (Some(head), false) = (head, fetch.is_purged) {
            let (name, head) = (fetch.ask.key.clone(), head.into());
            let word = ToStore::RemoveIf { name, head };
            let _told: bool = self.store.as_ref().is_some_and(|store| store.tell(word));
        }
        self.conclude(key, &Verdict::Stored(None, forwarding), context);
    }

    /// The origin says that what is stored holds.
    fn confirm(&mut self, key: Key, record: Record, context: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get(&key) else { return };
        let (before, forwarding) = (fetch.ask.stored.clone(), fetch.forwarding(Some(304)));
        let heads = before.as_ref().and_then(|before| before.emit()).zip(record.emit());
        let (Some(before), Some((old, new)), false) = (before, heads, fetch.is_purged) else {
            self.conclude(key, &Verdict::Stored(None, forwarding), context);
            return;
        };
        // Only the file that was asked about: another may have taken its place.
        let name = fetch.ask.key.clone();
        let word = ToStore::Freshen { name, before: old.into(), head: new.into() };
        let _told: bool = self.store.as_ref().is_some_and(|store| store.tell(word));
        let renewal = Renewal { before, after: Arc::new(record) };
        self.conclude(key, &Verdict::Stored(Some(renewal), forwarding), context);
    }

    pub(super) fn begin_answer(
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
        let is_common_error = record.status >= 500
            && matches!(pass, Some(Pass::NoLifetime | Pass::Useless))
            && !record.lines().any(|(name, _)| name.eq_ignore_ascii_case(b"Vary"));
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
        let follow = Rc::clone(&fetch.follow);
        for at in &fetch.remote {
            let verdict = Verdict::Streams(Arc::clone(&answer));
            let word = Word::Verdict { follow: at.follow, verdict, is_yours: at.is_asker };
            self.peers.tell(at.worker, word);
        }
        let is_yours = !fetch.remote.iter().any(|at| at.is_asker);
        self.handle_verdict(follow.id, Verdict::Streams(answer), is_yours);
    }

    pub(super) fn handle_body(&mut self, key: Key, pieces: Vec<Bytes>, context: &mut Context<'_>) {
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
        let is_tight = self.memory.get() > FOLLOW_MEMORY_MAX;
        if is_tight || follow.memory() > FOLLOW_BYTES_MAX / 2 || self.peers.is_behind() {
            self.paused.push(key);
        }
    }

    pub(super) fn handle_end(&mut self, key: Key, end: End, context: &mut Context<'_>) {
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
    pub(super) fn keep(&mut self, key: Key, end: End, context: &Context<'_>) {
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
        let kept = Kept { answer: Arc::new(kept), body: fetch.follow.pieces().1 };
        drop(self.kept.insert(&fetch.ask.key, kept));
    }

    pub(super) fn handle_failure(&mut self, key: Key, status: Status, context: &mut Context<'_>) {
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
            Verdict::Stored(None, fetch.forwarding(None))
        } else {
            Verdict::Refused(status)
        };
        self.conclude(key, &verdict, context);
    }

    /// It is over without an answer of its own.
    pub(super) fn conclude(&mut self, key: Key, verdict: &Verdict, context: &mut Context<'_>) {
        let Some(fetch) = self.fetches.remove(&key) else { return };
        self.by_request.remove(&fetch.request);
        // What follows of the origin's answer is of no interest, unless it is empty anyway.
        if !fetch.is_over && matches!(verdict, Verdict::Stored(None, _)) {
            self.origins.cancel(fetch.request, context.now);
        }
        for at in &fetch.remote {
            let verdict = verdict.clone();
            let word = Word::Verdict { follow: at.follow, verdict, is_yours: at.is_asker };
            self.peers.tell(at.worker, word);
        }
        let is_yours = !fetch.remote.iter().any(|at| at.is_asker);
        self.handle_verdict(fetch.follow.id, verdict.clone(), is_yours);
    }

    /// It is over, and nobody may join it any more.
    pub(super) fn close(&mut self, key: Key) {
        let Some(fetch) = self.fetches.remove(&key) else { return };
        self.by_request.remove(&fetch.request);
        for at in &fetch.remote {
            self.peers.tell(at.worker, Word::Shut { follow: at.follow });
        }
        self.shut(fetch.follow.id);
    }
}
