//! The bounded table of open files: found by key, evicted by the CLOCK algorithm.
//!
//! Input: keys, and a value per key that is the caller's business. Output: entries, evicted values.
//!
//! Owns: at most `capacity` entries.   Thread: any, pure.
//! Invariants: a key has one entry; an entry found since the hand last passed survives its next
//! pass; a new one does not, unless it is found again, so that a scan of a large tree does not push
//! out what is asked for often.
//! Not here: what holds a file while it is being sent (the sender keeps a reference of its own).
//! Source: F. J. Corbato, "A Paging Experiment with the Multics System", 1968 (CLOCK).

use std::hash::BuildHasher as _;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;

use crate::stdx::slab::{Key, Slab};

/// Names an entry; stale once the entry is gone.
pub type EntryId = Key;

struct Entry<V> {
    key: Box<[u8]>,
    hash: u64,
    referenced: bool,
    value: V,
}

/// A bounded map from keys to values that forgets what is not asked for.
pub struct Table<V> {
    entries: Slab<Entry<V>>,
    index: HashTable<EntryId>,
    hasher: SeedableRandomState,
    hand: u32,
    capacity: usize,
}

impl<V> Table<V> {
    /// An empty table for `capacity` entries (at least 1). `hash_seed` is drawn at random by the
    /// caller, since strangers choose the keys.
    #[must_use]
    pub fn new(capacity: usize, hash_seed: u64) -> Self {
        assert!(capacity > 0, "a table without room serves nothing");
        Self {
            entries: Slab::new(capacity),
            index: HashTable::new(),
            hasher: SeedableRandomState::with_seed(hash_seed, SharedSeed::global_fixed()),
            hand: 0,
            capacity,
        }
    }

    /// How many entries it holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries it may hold.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// The entry of `key`; being found keeps it from the next eviction.
    pub fn find(&mut self, key: &[u8]) -> Option<EntryId> {
        let hash = self.hasher.hash_one(key);
        let entries = &self.entries;
        let id = *self.index.find(hash, |id| {
            entries.find(*id).is_some_and(|entry| entry.hash == hash && *entry.key == *key)
        })?;
        if let Some(entry) = self.entries.find_mut(id) {
            entry.referenced = true;
        }
        Some(id)
    }

    /// The value of an entry.
    #[must_use]
    pub fn value(&self, id: EntryId) -> Option<&V> {
        self.entries.find(id).map(|entry| &entry.value)
    }

    /// The value of an entry, to change it.
    #[must_use]
    pub fn value_mut(&mut self, id: EntryId) -> Option<&mut V> {
        self.entries.find_mut(id).map(|entry| &mut entry.value)
    }

    /// Gives `key` a value, in the place of the one it had. Returns the entry, and what had to
    /// leave: the old value, or the value of the entry that made room.
    pub fn insert(&mut self, key: &[u8], value: V) -> (EntryId, Option<V>) {
        let replaced = self.remove(key);
        let evicted = if self.entries.len() == self.capacity { self.evict() } else { None };
        let hash = self.hasher.hash_one(key);
        let entry = Entry { key: key.into(), hash, referenced: false, value };
        let id = match self.entries.insert(entry) {
            Ok(id) => id,
            Err(_) => unreachable!("room was made above"),
        };
        let entries = &self.entries;
        self.index.insert_unique(hash, id, |id| entries.find(*id).map_or(0, |entry| entry.hash));
        (id, replaced.or(evicted))
    }

    /// Takes the value of `key` out.
    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        let entries = &self.entries;
        let same = |id: &EntryId| entries.find(*id).is_some_and(|entry| *entry.key == *key);
        let hash_of = |id: &EntryId| entries.find(*id).map_or(0, |entry| entry.hash);
        match self.index.entry(hash, same, hash_of) {
            Place::Vacant(_) => None,
            Place::Occupied(place) => {
                let (id, _) = place.remove();
                self.entries.remove(id).map(|entry| entry.value)
            }
        }
    }

    /// Shows every value. O(capacity).
    pub fn for_each(&self, mut show: impl FnMut(&V)) {
        for index in 0..self.entries.slot_count() {
            if let Some((_, entry)) = self.entries.slot(index) {
                show(&entry.value);
            }
        }
    }

    /// Takes every entry out whose key `matches`, handing key and value to `take`. O(capacity).
    pub fn remove_where(
        &mut self,
        mut matches: impl FnMut(&[u8], &V) -> bool,
        mut take: impl FnMut(V),
    ) {
        for index in 0..self.entries.slot_count() {
            if let Some((id, entry)) = self.entries.slot(index)
                && matches(&entry.key, &entry.value)
                && let Some(value) = self.remove_id(id)
            {
                take(value);
            }
        }
    }

    /// Moves the hand to the first entry that was not found since it last passed, and takes it out.
    fn evict(&mut self) -> Option<V> {
        let slots = self.entries.slot_count();
        // Two rounds at most: the first clears every mark.
        for _ in 0..=2 * slots {
            let index = self.hand;
            self.hand = if index + 1 >= slots { 0 } else { index + 1 };
            let Some((id, _)) = self.entries.slot(index) else { continue };
            let entry = self.entries.find_mut(id).expect("the slot is filled");
            if !std::mem::take(&mut entry.referenced) {
                return self.remove_id(id);
            }
        }
        unreachable!("a full table has an entry without a mark after one round")
    }

    fn remove_id(&mut self, id: EntryId) -> Option<V> {
        let entry = self.entries.remove(id)?;
        match self.index.find_entry(entry.hash, |other| *other == id) {
            Ok(place) => drop(place.remove()),
            Err(_) => unreachable!("every entry is in the index"),
        }
        Some(entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_inserted_until_it_is_removed() {
        let mut table = Table::new(4, 1);
        let (id, _) = table.insert(b"a", 1);
        assert_eq!(table.find(b"a"), Some(id));
        assert_eq!(table.value(id), Some(&1));
        assert_eq!(table.insert(b"a", 2).1, Some(1));
        assert_eq!(table.value(id), None);
        assert_eq!(table.remove(b"a"), Some(2));
        assert_eq!(table.find(b"a"), None);
        assert!(table.is_empty());
    }

    #[test]
    fn what_was_found_survives_what_was_not() {
        let mut table = Table::new(3, 1);
        for key in [b"a", b"b", b"c"] {
            table.insert(key, key[0]);
        }
        table.find(b"a");
        table.find(b"c");
        assert_eq!(table.insert(b"d", b'd').1, Some(b'b'));
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn a_scan_does_not_push_out_the_hot() {
        let mut table = Table::new(8, 1);
        table.insert(b"hot", 0);
        for key in 0..1000_u32 {
            assert!(table.find(b"hot").is_some(), "after {key}");
            table.insert(&key.to_be_bytes(), key);
        }
        assert_eq!(table.len(), 8);
    }

    #[test]
    fn removes_by_prefix() {
        let mut table = Table::new(8, 1);
        for key in ["a/1", "a/2", "b/1"] {
            table.insert(key.as_bytes(), key);
        }
        let mut gone = Vec::new();
        table.remove_where(|key, _| key.starts_with(b"a/"), |value| gone.push(value));
        gone.sort_unstable();
        assert_eq!(gone, ["a/1", "a/2"]);
        assert!(table.find(b"b/1").is_some());
    }

    #[test]
    fn behaves_as_a_bounded_map() {
        let mut table = Table::new(32, 1);
        let mut twin = std::collections::BTreeMap::new();
        let mut state = 3_u64;
        for step in 0..50_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = ((state >> 33) % 64).to_be_bytes();
            match (state >> 20) % 3 {
                0 => assert_eq!(
                    table.remove(&key).is_some(),
                    twin.remove(&key).is_some(),
                    "step {step}"
                ),
                1 => {
                    let (_, left) = table.insert(&key, (key, step));
                    twin.insert(key, step);
                    if let Some((left, _)) = left
                        && left != key
                    {
                        twin.remove(&left);
                    }
                }
                _ => {
                    let found =
                        table.find(&key).and_then(|id| table.value(id)).map(|value| value.1);
                    assert_eq!(found, twin.get(&key).copied(), "step {step}");
                }
            }
            assert_eq!(table.len(), twin.len());
        }
    }
}
