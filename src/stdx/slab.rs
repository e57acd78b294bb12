//! A slab whose keys go stale: slot number plus generation.
//!
//! Owns: its values, bounded by the capacity given to `new`.   Thread: any, pure.
//! Invariants: a key finds a value only while the value it was made for is still in the slab; slots
//! are reused last-freed-first, so that the hot ones stay in the processor's cache.
//! Not here: what a key means to the kernel (`sys::uring` packs it into an operation's user data).

use super::num::narrow;

/// Names one value of one slab. `generation` uses 24 bits, so that it fits beside the slot number
/// and a kind in 64 bits of user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Slot number, from 0.
    pub index: u32,
    /// How often the slot was filled before, modulo 2^24.
    pub generation: u32,
}

/// How many bits of `Key::generation` are used.
pub const GENERATION_BITS: u32 = 24;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

enum Slot<T> {
    Filled(T),
    Free { next: Option<u32> },
}

/// A bounded collection with stable keys; insertion and removal are O(1).
pub struct Slab<T> {
    slots: Vec<(u32, Slot<T>)>,
    free: Option<u32>,
    len: usize,
    capacity: usize,
}

impl<T> Slab<T> {
    /// An empty slab that will never hold more than `capacity` values. Memory is taken as it fills.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        Self { slots: Vec::new(), free: None, len: 0, capacity }
    }

    /// How many values it holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no value.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many slots were ever used: every key's index is below this.
    #[must_use]
    pub fn slot_count(&self) -> u32 {
        narrow(self.slots.len())
    }

    /// Stores `value`; gives it back when the slab is full.
    ///
    /// # Errors
    /// The value itself, if `capacity` values are in the slab.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        if self.len == self.capacity {
            return Err(value);
        }
        self.len += 1;
        if let Some(index) = self.free {
            let (generation, slot) = &mut self.slots[index as usize];
            let Slot::Free { next } = slot else { unreachable!("the free list holds free slots") };
            self.free = *next;
            *slot = Slot::Filled(value);
            return Ok(Key { index, generation: *generation });
        }
        let index = narrow(self.slots.len());
        self.slots.push((0, Slot::Filled(value)));
        Ok(Key { index, generation: 0 })
    }

    /// The key of the value that is inserted next; `None` when the slab is full.
    #[must_use]
    pub fn next_key(&self) -> Option<Key> {
        if self.len == self.capacity {
            return None;
        }
        let index = self.free.unwrap_or_else(|| narrow(self.slots.len()));
        let generation = self.slots.get(index as usize).map_or(0, |(generation, _)| *generation);
        Some(Key { index, generation })
    }

    /// The value of `key`, if it is still there.
    #[must_use]
    pub fn find(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.index as usize) {
            Some((generation, Slot::Filled(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value of `key`, to change it, if it is still there.
    #[must_use]
    pub fn find_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some((generation, Slot::Filled(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The key and value in slot `index`, whatever its generation.
    #[must_use]
    pub fn slot(&self, index: u32) -> Option<(Key, &T)> {
        match self.slots.get(index as usize) {
            Some((generation, Slot::Filled(value))) => {
                Some((Key { index, generation: *generation }, value))
            }
            _ => None,
        }
    }

    /// Takes the value of `key` out; the key is stale from then on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.find(key)?;
        let (generation, slot) = &mut self.slots[key.index as usize];
        *generation = (*generation + 1) & GENERATION_MASK;
        let old = std::mem::replace(slot, Slot::Free { next: self.free });
        self.free = Some(key.index);
        self.len -= 1;
        match old {
            Slot::Filled(value) => Some(value),
            Slot::Free { .. } => unreachable!("found filled above"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_key_finds_nothing_and_its_slot_is_reused() {
        let mut slab = Slab::new(2);
        let first = slab.insert("a").expect("room");
        assert_eq!(slab.remove(first), Some("a"));
        let next = slab.next_key();
        let second = slab.insert("b").expect("room");
        assert_eq!(next, Some(second));
        assert_eq!(second.index, first.index);
        assert_eq!(slab.find(first), None);
        assert_eq!(slab.find(second), Some(&"b"));
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn a_full_slab_gives_the_value_back() {
        let mut slab = Slab::new(1);
        slab.insert(1).expect("room");
        assert_eq!(slab.insert(2), Err(2));
    }

    #[test]
    fn behaves_as_a_map_under_many_changes() {
        let mut slab = Slab::new(64);
        let mut twin: Vec<(Key, u64)> = Vec::new();
        let mut state = 7_u64;
        for step in 0..20_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let roll = num(state >> 33);
            if twin.is_empty() || roll % 5 < 3 {
                match slab.insert(step) {
                    Ok(key) => twin.push((key, step)),
                    Err(_) => assert_eq!(twin.len(), 64),
                }
            } else {
                let (key, value) = twin.swap_remove(roll % twin.len());
                assert_eq!(slab.remove(key), Some(value));
            }
            assert_eq!(slab.len(), twin.len());
            assert!(twin.iter().all(|(key, value)| slab.find(*key) == Some(value)));
        }
    }

    fn num(value: u64) -> usize {
        super::super::num::index(value)
    }
}
