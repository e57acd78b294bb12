//! What the owner of a key stores of an answer, and how much of it stays in memory meanwhile.
//!
//! Thread: one worker.
//! Not here: writing (`daemon::store`), what may be stored (`cache::flight`).

use std::rc::Rc;
use std::sync::Arc;

use crate::cache::purge::{Purge, What};
use crate::cache::record::{Record, split_tags};
use crate::cache::store::Put;
use crate::limits::{
    FOLLOW_BYTES_MAX, FOLLOW_MEMORY_MAX, PASSES_MAX, PEER_QUEUE, STORE_BEHIND_BYTES_MAX,
};
use crate::stdx::num::{narrow, wide};
use crate::stdx::slab::Key;
use crate::time::Duration;

use super::super::super::store::{FromStore, StoreId, ToStore};
use super::super::follow::{End, Follow};
use super::words::Word;
use super::{Context, Fetches, Storing};

/// How long a request may be under way that looked before a file was put in place.
const RECENT: Duration = Duration::from_millis(200);

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
            self.aborts.push(name);
            self.by_store.remove(&id);
        }
        fetch.storing = Storing::No;
        fetch.unstored = Vec::new();
        self.paused.push(key);
        self.tell_aborts();
    }

    /// What finds no room in the store's queue now is said later.
    pub(super) fn tell_aborts(&mut self) {
        let Some(store) = &self.store else { return };
        self.aborts.retain(|id| !store.tell(ToStore::Abort { id: *id }));
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
                    self.note_recent(key);
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

    /// It was put in place just now, unless a purge met it.
    fn note_recent(&mut self, key: Key) {
        let Some(fetch) = self.fetches.get(&key) else { return };
        if !fetch.is_purged && self.recent.len() < PASSES_MAX {
            let until = self.now.after(RECENT);
            self.recent.insert(fetch.ask.key.clone(), until);
        }
    }

    /// Pauses or resumes a fetch by what is kept of it in memory.
    pub(super) fn check_pause(&mut self, key: Key, context: &mut Context<'_>) {
        let is_tight = self.memory.get() > FOLLOW_MEMORY_MAX;
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        fetch.follow.trim(is_tight || fetch.is_paused);
        let has_no_file = matches!(fetch.storing, Storing::No) || fetch.follow.file().is_none();
        if fetch.follow.is_open() && has_no_file && fetch.follow.memory() > FOLLOW_BYTES_MAX {
            // Who joins now could not be given the beginning for ever: nobody does any more, and
            // what all have had is let go of.
            let follow = Rc::clone(&fetch.follow);
            for at in &fetch.remote {
                self.peers.tell(at.worker, Word::Unlist { follow: at.follow });
            }
            self.unlist(&follow);
            follow.trim(true);
        }
        let Some(fetch) = self.fetches.get_mut(&key) else { return };
        let memory = fetch.follow.memory();
        // A worker that does not take its words has enough too.
        let full =
            fetch.remote.iter().any(|at| at.is_full || self.peers.waiting(at.worker) > PEER_QUEUE);
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

    /// The last step of a purge: what was joined meanwhile at an owner that had not heard of it.
    pub fn forget(&mut self, purge: &Purge) {
        let followed = self.meant(purge, purge.names().as_deref()).into_iter();
        let followed: Vec<_> = followed.filter(|at| !self.fetches.contains_key(&at.id)).collect();
        for follow in followed {
            self.unlist(&follow);
        }
    }

    /// What was under way before a purge is sent on to those who wait, and stored by nobody.
    pub fn purge(&mut self, purge: &Purge, context: &mut Context<'_>) {
        let is_tag = matches!(purge.what, What::Tag(_));
        let names = purge.names();
        match &names {
            // Few names, as clients change what they like: no look at all that is kept.
            Some(names) => {
                for name in names {
                    drop(self.kept.remove(name));
                    self.recent.remove(&**name);
                }
            }
            None => {
                self.kept.remove_where(|key, _| purge.matches(key), drop);
                if self.kept_may_match(purge) {
                    self.kept.remove_where(|_, _| true, drop);
                }
                self.recent.retain(|key, _| !is_tag && !purge.matches(key));
            }
        }
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
        let others = self.meant(purge, names.as_deref());
        for follow in others {
            self.unlist(&follow);
        }
        context.counters.cache.purges.add(1);
    }

    /// What is followed and meant by a purge, which may have few `names`.
    fn meant(&self, purge: &Purge, names: Option<&[Arc<[u8]>]>) -> Vec<Rc<Follow>> {
        if let Some(names) = names {
            return names.iter().filter_map(|name| self.find(name)).collect();
        }
        let is_tag = matches!(purge.what, What::Tag(_));
        let follows = (0..self.follows.slot_count()).filter_map(|at| self.follows.slot(at));
        let meant = follows.filter(|(_, follow)| is_tag || purge.matches(&follow.key));
        meant.map(|(_, follow)| Rc::clone(follow)).collect()
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
