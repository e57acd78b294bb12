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
use super::{Context, Fetches};

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

/// Purges and the fetches that wait for them.
#[derive(Default)]
pub(super) struct Invalidations {
    /// Control does not know of these.
    waiting: VecDeque<(Key, Vec<Purge>)>,
    /// Control does what these wait for.
    under_way: Vec<Key>,
    is_under_way: bool,
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
        self.invalidations.waiting.push_back((key, purges));
        // What was received by then waits with it, which is one buffer.
        self.origins.pause(fetch.request, true, context.now, context.ring);
    }

    /// What control shall purge next; it says when that is done.
    pub fn poll_invalidations(&mut self) -> Option<Vec<Purge>> {
        let all = &mut self.invalidations;
        if all.is_under_way || all.waiting.is_empty() {
            return None;
        }
        let mut purges: Vec<Purge> = Vec::new();
        while purges.len() < INVALIDATION_BATCH
            && let Some((key, wanted)) = all.waiting.pop_front()
        {
            all.under_way.push(key);
            for purge in wanted {
                if !purges.contains(&purge) {
                    purges.push(purge);
                }
            }
        }
        all.is_under_way = true;
        Some(purges)
    }

    /// What control was told is gone.
    pub fn handle_invalidated(&mut self, context: &mut Context<'_>) {
        self.invalidations.is_under_way = false;
        for key in std::mem::take(&mut self.invalidations.under_way) {
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
        for key in late {
            context.counters.cache.invalidations_late.add(1);
            self.release(key, context);
        }
    }
}
