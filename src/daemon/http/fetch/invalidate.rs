//! What an origin's answer to POST, PUT, PATCH or DELETE makes invalid, and the wait until it is
//! gone.
//!
//! Input: heads of such answers, the word that all is gone, time.   Output: `poll_invalidations`,
//! purges for control; then the answers go on.
//! Owns: the heads that wait, each with what came behind it (its connection is paused), bounded by
//! the fetches there are; the purges they wait for, bounded by `INVALIDATIONS_WAITING_MAX`.
//! Thread: one worker.
//! Invariants: of what a worker wants to be gone, control does one batch at a time; an answer waits
//! until every worker and the store have done their part, and no longer than
//! `INVALIDATION_SECONDS_MAX`.
//! Not here: which URLs (`cache::freshness::invalidate`), removing them (`daemon::purges`).
//! Source: RFC 9111 section 4.4.

use std::collections::{BTreeSet, VecDeque};

use crate::cache::freshness::invalidate::{Target, plan_invalidation};
use crate::cache::freshness::{Fields, Method as CacheMethod, Pass};
use crate::cache::purge::{Purge, What};
use crate::cache::record::Record;
use crate::limits::{INVALIDATION_BATCH, INVALIDATION_SECONDS_MAX, INVALIDATIONS_WAITING_MAX};
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
    /// How many purges are among them.
    purges: usize,
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
        self.purges += purges.len();
        self.waiting.extend(purges.into_iter().map(Wanted::Purge));
        self.waiting.push_back(Wanted::Release(key));
        if self.purges > INVALIDATIONS_WAITING_MAX {
            self.collapse();
        }
    }

    /// Fewer purges that take at least as much, at most half of what may wait: so many must come
    /// before it is done again. All wait for all of them then.
    fn collapse(&mut self) {
        let (mut purges, mut keys) = (Vec::new(), Vec::new());
        for wanted in std::mem::take(&mut self.waiting) {
            match wanted {
                Wanted::Purge(purge) => purges.push(purge),
                Wanted::Release(key) => keys.push(key),
            }
        }
        let purges = fewer(purges, INVALIDATIONS_WAITING_MAX / 2);
        self.purges = purges.len();
        self.waiting.extend(purges.into_iter().map(Wanted::Purge));
        self.waiting.extend(keys.into_iter().map(Wanted::Release));
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
                Wanted::Purge(purge) if purges.contains(&purge) => self.purges -= 1,
                Wanted::Purge(purge) if purges.len() < INVALIDATION_BATCH => {
                    self.purges -= 1;
                    purges.push(purge);
                }
                Wanted::Purge(_) => {
                    self.waiting.push_front(next);
                    break;
                }
            }
        }
        let is_counted = |wanted: &&Wanted| matches!(wanted, Wanted::Purge(_));
        debug_assert_eq!(self.purges, self.waiting.iter().filter(is_counted).count());
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

/// At most `count_max` purges (one or more) that take all that `purges` do: each of them once; else
/// the hosts of them; else everything.
fn fewer(purges: Vec<Purge>, count_max: usize) -> Vec<Purge> {
    let mut directories = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for purge in purges {
        match purge.what {
            What::Url(key) => drop(keys.insert(key)),
            What::Directory(directory) => drop(directories.insert(directory)),
            _ => return everything(),
        }
    }
    keys.retain(|key| !directories.contains(host_directory(key)));
    if directories.len() + keys.len() > count_max {
        directories.extend(std::mem::take(&mut keys).iter().map(|key| host_directory(key).into()));
    }
    // As many names of hosts as the client likes may lead to one origin.
    if directories.len() > count_max {
        return everything();
    }
    let all = directories.into_iter().map(What::Directory).chain(keys.into_iter().map(What::Url));
    all.map(|what| Purge { what, soft: false }).collect()
}

fn everything() -> Vec<Purge> {
    vec![Purge { what: What::All, soft: false }]
}

/// The directory of the host that a key is of: its first part.
fn host_directory(key: &[u8]) -> &[u8] {
    key.split(|byte| *byte == b'/').nth(1).unwrap_or_default()
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

    /// The worker ends: all that control has not heard of.
    pub fn last_invalidations(&mut self) -> Vec<Purge> {
        self.invalidations.purges = 0;
        let left = std::mem::take(&mut self.invalidations.waiting);
        let purges = left.into_iter().filter_map(|wanted| match wanted {
            Wanted::Purge(purge) => Some(purge),
            Wanted::Release(_) => None,
        });
        purges.collect()
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

    #[test]
    fn what_waits_is_bounded_and_nobody_is_forgotten() {
        let mut all = Invalidations::default();
        let keys = keys(INVALIDATIONS_WAITING_MAX + 2);
        all.push(keys[0], vec![purge("/h/a")]);
        all.push(keys[1], vec![purge("/i/b")]);
        for key in &keys[2..] {
            all.push(*key, vec![purge("/h/a")]);
        }
        assert!(all.purges < INVALIDATIONS_WAITING_MAX);
        assert_eq!(all.poll().unwrap(), [purge("/h/a"), purge("/i/b")]);
        assert!(all.handle_done() == keys && all.poll().is_none());
        assert_eq!(all.purges, 0);
    }

    #[test]
    fn more_than_may_wait_becomes_a_purge_of_hosts_and_then_of_everything() {
        let what = |directory: &str| What::Directory(directory.as_bytes().into());
        let host = |directory| Purge { what: what(directory), soft: false };
        let one = ["/h/a", "/h/b", "/i/a/b", "/h/a", "/h/b"];
        let purges = || one.map(purge).to_vec();
        assert_eq!(fewer(purges(), 3), ["/h/a", "/h/b", "/i/a/b"].map(purge));
        assert_eq!(fewer(purges(), 2), ["h", "i"].map(host));
        assert_eq!(fewer(purges(), 1), everything());
        // One that was made of many takes what comes after it.
        let later = || [host("h"), purge("/h/c"), purge("/hh/c")].to_vec();
        assert_eq!(fewer(later(), 2), [host("h"), purge("/hh/c")]);
        assert_eq!(fewer([purges(), everything()].concat(), 3), everything());
        for made in [fewer(purges(), 2), fewer(purges(), 1)] {
            let is_taken = |name: &str| made.iter().any(|purge| purge.matches(name.as_bytes()));
            assert!(one.iter().all(|name| is_taken(name)));
        }
    }
}
