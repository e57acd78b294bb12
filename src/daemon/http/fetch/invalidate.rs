//! What an origin's answer to POST, PUT, PATCH or DELETE makes invalid, and the wait until it is
//! gone.
//!
//! Input: heads of such answers, the word that all is gone, time.   Output: `poll_invalidations`,
//! purges for control; then the answers go on.
//! Owns: the heads that wait, each with what came behind it (its connection is paused), bounded by
//! the fetches there are.   Thread: one worker.
//! Invariants: of what a worker wants to be gone, control does one batch at a time; an answer waits
//! until every worker and the store have done their part, and no longer than
//! `INVALIDATION_SECONDS_MAX`.
//! Not here: which URLs (`cache::freshness::invalidate`), removing them (`daemon::purges`).
//! Source: RFC 9111 section 4.4.

use std::collections::VecDeque;

use crate::cache::freshness::invalidate::{Target, plan_invalidation};
use crate::cache::freshness::{Fields, Method as CacheMethod, Pass};
use crate::cache::purge::{Purge, What};
use crate::cache::record::Record;
use crate::limits::{INVALIDATION_BATCH, INVALIDATION_SECONDS_MAX};
use crate::stdx::slab::Key;
use crate::time::{Duration, Instant};

use super::super::super::names;
use super::super::super::settings::Settings;
use super::super::origin::Event;
use super::words::Ask;
use super::{Context, Fetch, Fetches};

/// The head of an answer that waits, and what came behind it.
pub(super) struct Held {
    record: Record,
    pass: Option<Pass>,
    length: Option<u64>,
    later: VecDeque<Event>,
    since: Instant,
}

impl Held {
    /// What comes behind the head waits as well.
    pub(super) fn push(&mut self, event: Event) {
        self.later.push_back(event);
    }
}

/// One thing after the other: a fetch waits for all purges before it.
enum Wanted {
    Purge(Purge),
    Release(Key),
}

/// Purges and the fetches that wait for them.
#[derive(Default)]
pub(super) struct Invalidations {
    /// Control does not know of these.
    waiting: VecDeque<Wanted>,
    /// Control does what these wait for.
    under_way: Vec<Key>,
    is_under_way: bool,
}

impl Invalidations {
    /// Whether control is to be told of some.
    pub(super) fn is_due(&self) -> bool {
        !self.is_under_way && !self.waiting.is_empty()
    }

    /// `key` waits until `purges` are done.
    fn push(&mut self, key: Key, purges: Vec<Purge>) {
        self.waiting.extend(purges.into_iter().map(Wanted::Purge));
        self.waiting.push_back(Wanted::Release(key));
    }

    /// The next batch for control.
    fn poll(&mut self) -> Option<Vec<Purge>> {
        if !self.is_due() {
            return None;
        }
        let mut purges: Vec<Purge> = Vec::new();
        while let Some(next) = self.waiting.pop_front() {
            match next {
                Wanted::Release(key) => self.under_way.push(key),
                Wanted::Purge(purge) if purges.contains(&purge) => {}
                Wanted::Purge(purge) if purges.len() < INVALIDATION_BATCH => purges.push(purge),
                Wanted::Purge(_) => {
                    self.waiting.push_front(next);
                    break;
                }
            }
        }
        assert!(!purges.is_empty(), "nobody waits for nothing");
        self.is_under_way = true;
        Some(purges)
    }

    /// Control has done the batch; who waited for it goes on.
    fn handle_done(&mut self) -> Vec<Key> {
        self.is_under_way = false;
        std::mem::take(&mut self.under_way)
    }

    /// Nobody waits any more whom `waits` does not hold for; what they waited for is done.
    fn retain(&mut self, waits: impl Fn(Key) -> bool) {
        self.under_way.retain(|key| waits(*key));
        self.waiting.retain(|wanted| match wanted {
            Wanted::Release(key) => waits(*key),
            Wanted::Purge(_) => true,
        });
    }
}

impl Fetches {
    /// What the answer of `record` makes invalid; nothing where the request was no change.
    pub(super) fn plan_purges(ask: &Ask, record: &Record, settings: &Settings) -> Vec<Purge> {
        let Some(change) = &ask.change else { return Vec::new() };
        // What was rewritten to lead here again leads to what is stored here.
        let lines: Vec<(&[u8], &[u8])> = record.lines().collect();
        let target =
            Target { scheme: "http", authority: &ask.public, path: change.target.as_ref() };
        let paths = plan_invalidation(CacheMethod::Unsafe, &target, record.status, Fields(&lines));
        let keys = paths.iter().filter_map(|path| {
            let (path, query) = path
                .split_once('?')
                .map_or((&**path, None), |(path, query)| (path, Some(query.as_bytes())));
            // What has no name is not stored.
            names::key_in(settings, &change.directory, path.as_bytes(), query).ok()
        });
        keys.map(|key| Purge { what: What::Url(key[..].into()), soft: false }).collect()
    }

    /// The head of the answer to `key` waits until `purges` are done.
    pub(super) fn hold(
        &mut self,
        key: Key,
        (record, pass, length): (Record, Option<Pass>, Option<u64>),
        purges: Vec<Purge>,
        context: &mut Context<'_>,
    ) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let since = context.now;
        fetch.held = Some(Box::new(Held { record, pass, length, later: VecDeque::new(), since }));
        context.counters.cache.invalidations.add(purges.len() as u64);
        self.invalidations.push(key, purges);
        // What was received by then waits with it, which is one buffer.
        self.origins.pause(fetch.request, true, context.now, context.ring);
    }

    /// What control shall purge next; it says when that is done.
    pub fn poll_invalidations(&mut self) -> Option<Vec<Purge>> {
        self.invalidations.poll()
    }

    /// What control was told is gone.
    pub fn handle_invalidated(&mut self, context: &mut Context<'_>) {
        for key in self.invalidations.handle_done() {
            self.release(key, context);
        }
    }

    /// The head goes on, and what came behind it.
    fn release(&mut self, key: Key, context: &mut Context<'_>) {
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let Some(held) = fetch.held.take() else { return };
        let Held { record, pass, length, later, .. } = *held;
        self.origins.pause(fetch.request, false, context.now, context.ring);
        self.begin_answer(key, record, pass, length, context);
        for event in later {
            self.handle_event(event, context);
        }
    }

    /// Nobody's answer waits for ever: where the removal takes too long, it goes on behind it.
    pub(super) fn sweep_invalidations(&mut self, context: &mut Context<'_>) {
        let patience = Duration::from_secs(INVALIDATION_SECONDS_MAX);
        let is_late = |held: &Held| context.now.since(held.since) >= patience;
        let late: Vec<Key> = self
            .fetches
            .iter()
            .filter(|(_, fetch)| fetch.held.as_deref().is_some_and(is_late))
            .map(|(key, _)| *key)
            .collect();
        if late.is_empty() {
            return;
        }
        for key in late {
            context.counters.cache.invalidations_late.add(1);
            self.release(key, context);
        }
        let fetches = &self.fetches;
        let is_held = |key| fetches.get(&key).is_some_and(|fetch: &Fetch| fetch.held.is_some());
        self.invalidations.retain(is_held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::slab::Slab;

    fn purge(name: &str) -> Purge {
        Purge { what: What::Url(name.as_bytes().into()), soft: false }
    }

    fn keys(count: usize) -> Vec<Key> {
        let mut slab = Slab::new(count);
        (0..count).map(|number| slab.insert(number).unwrap()).collect()
    }

    #[test]
    fn a_batch_is_asked_for_at_once_and_the_next_after_it() {
        let mut all = Invalidations::default();
        let keys = keys(3);
        assert!(!all.is_due() && all.poll().is_none());
        all.push(keys[0], vec![purge("/h/a"), purge("/h/b")]);
        all.push(keys[1], vec![purge("/h/b")]);
        assert_eq!(all.poll().unwrap(), [purge("/h/a"), purge("/h/b")]);
        all.push(keys[2], vec![purge("/h/a")]);
        assert!(!all.is_due() && all.poll().is_none(), "one at a time");
        assert_eq!(all.handle_done(), keys[..2]);
        assert!(all.is_due());
        assert_eq!(all.poll().unwrap(), [purge("/h/a")]);
        assert_eq!(all.handle_done(), keys[2..]);
        assert!(!all.is_due());
    }

    #[test]
    fn what_is_left_is_due_also_where_nobody_waits_for_it_any_more() {
        let mut all = Invalidations::default();
        let keys = keys(2);
        all.push(keys[0], vec![purge("/h/a")]);
        assert!(all.poll().is_some());
        all.push(keys[1], vec![purge("/h/b")]);
        all.retain(|_| false);
        assert_eq!(all.handle_done(), []);
        assert!(all.is_due(), "no event will come of those that went on");
        assert_eq!(all.poll().unwrap(), [purge("/h/b")]);
        assert_eq!(all.handle_done(), []);
    }

    #[test]
    fn who_waits_for_several_waits_for_the_last() {
        let mut all = Invalidations::default();
        let keys = keys(INVALIDATION_BATCH);
        for (number, key) in keys.iter().enumerate() {
            let name = |what| purge(&format!("/h/{number}{what}"));
            all.push(*key, vec![name("a"), name("b"), name("c")]);
        }
        let mut released = Vec::new();
        for number in 1..=3 {
            assert_eq!(all.poll().unwrap().len(), INVALIDATION_BATCH);
            released.extend(all.handle_done());
            assert_eq!(released.len(), number * INVALIDATION_BATCH / 3);
        }
        assert!(released == keys && all.poll().is_none());
    }
}
