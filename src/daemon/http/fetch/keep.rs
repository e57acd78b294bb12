//! What the owner of a key stores of an answer, and how much of it stays in memory meanwhile.
//!
//! Thread: one worker.
//! Not here: writing (`daemon::store`), what may be stored (`cache::flight`).

use std::rc::Rc;

use crate::cache::purge::{Purge, What};
use crate::cache::record::{Record, split_tags};
use crate::cache::store::Put;
use crate::limits::{FOLLOW_BYTES_MAX, FOLLOW_MEMORY_MAX, STORE_BEHIND_BYTES_MAX};
use crate::stdx::num::{narrow, wide};
use crate::stdx::slab::Key;

use super::super::super::store::{FromStore, StoreId, ToStore};
use super::super::follow::{End, Follow};
use super::words::Word;
use super::{Context, Fetches, Storing};

impl Fetches {
    /// Hands what came to the store.
    pub(super) fn hand_over(&mut self, key: Key, context: &mut Context<'_>) {
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
    pub(super) fn give_up_storing(&mut self, key: Key) {
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

    pub(super) fn finish_if_over(&mut self, key: Key) {
        let Some(fetch) = self.fetches.get(&key) else { return };
        if fetch.is_over && matches!(fetch.storing, Storing::No) {
            self.close(key);
        }
    }

    pub(super) fn handle_store(&mut self, word: FromStore, context: &mut Context<'_>) {
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
    pub(super) fn check_pause(&mut self, key: Key, context: &mut Context<'_>) {
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

    pub(super) fn follows_memory(&self) -> usize {
        let slots = 0..self.follows.slot_count();
        slots.filter_map(|at| self.follows.slot(at)).map(|(_, follow)| follow.memory()).sum()
    }

    /// What was under way before a purge is sent on to those who wait, and stored by nobody.
    pub fn purge(&mut self, purge: &Purge, context: &mut Context<'_>) {
        self.kept.remove_where(|key, _| purge.matches(key), drop);
        if self.kept_may_match(purge) {
            self.kept.remove_where(|_, _| true, drop);
        }
        let is_tag = matches!(purge.what, What::Tag(_));
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

    pub(super) fn kept_may_match(&self, purge: &Purge) -> bool {
        matches!(purge.what, What::Tag(_)) && !self.kept.is_empty()
    }

    /// As `give_up_storing`; one that was handed over whole is in the store's queue before the
    /// purge, so that the purge removes its file.
    pub(super) fn give_up_storing_purged(&mut self, key: Key) {
        let Some(fetch) = self.fetches.get(&key) else { return };
        if !matches!(fetch.storing, Storing::Ending) {
            self.give_up_storing(key);
        }
    }
}
