//! A hash index: from a tag (32 bits of a name's hash) to the items that have it.
//!
//! Input: tags, items, a test for equality.   Output: the item.
//! Owns: a fixed arena of slots, a quarter more than items, and a margin at the end.
//! Thread: one writer; readers may look, and ask the version that guards the index afterwards.
//! Invariants: slots are sorted by tag from a slot's run to the next empty one, since a tag's home
//! grows with the tag; no slot lies before its home; there are no tombstones.
//! Not here: hashing (the caller's seed keeps strangers from choosing tags), the names themselves.
//! Source: linear probing with ordered runs (Amble and Knuth, "Ordered hash tables", 1974), which
//! ends a search for what is absent as early as one for what is there.

use std::sync::atomic::AtomicU64;

use crate::online::arena::{Arena, NoMemory, high, join, load_wide, low, store_wide};
use crate::sys::prefetch::prefetch;

/// Slots of 8 bytes in a cache line.
const PER_LINE: u32 = 8;

/// Lines after the last home, for the runs that begin there; runs of more than a few lines do not
/// come up at the load that `new` allows.
const MARGIN_LINES: u32 = 64;

/// The index. Item 0 means "none".
#[derive(Debug)]
pub struct HashIndex {
    slots: Arena<AtomicU64, 8>,
    /// Homes: slots without the margin.
    homes: u32,
}

/// Its margin is full: only a seed that a stranger knows brings that about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

impl HashIndex {
    /// An index for up to `items_max` items.
    ///
    /// # Errors
    /// Where the memory cannot be had.
    pub fn new(items_max: u32) -> Result<Self, NoMemory> {
        let homes = (items_max + items_max / 4).next_multiple_of(PER_LINE);
        Ok(Self { slots: Arena::new(homes / PER_LINE + MARGIN_LINES)?, homes })
    }

    /// Bytes of its slots.
    pub fn bytes(&self) -> u64 {
        64 * u64::from(self.slots.count())
    }

    #[inline]
    fn slot(&self, at: u32) -> Option<&AtomicU64> {
        self.slots.find(at / PER_LINE).map(|line| &line[(at % PER_LINE) as usize])
    }

    #[inline]
    fn home(&self, tag: u32) -> u32 {
        high(u64::from(tag) * u64::from(self.homes))
    }

    /// Fetches the slots where a search for `tag` begins.
    #[inline]
    pub fn prefetch(&self, tag: u32) {
        if let Some(slot) = self.slot(self.home(tag)) {
            prefetch(slot);
        }
    }

    /// The item with this tag that `is_it`. A reader may be told none or another while the index
    /// changes.
    #[inline]
    pub fn find(&self, tag: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(tag);
        loop {
            let found = load_wide(self.slot(at)?);
            if found == 0 || high(found) > tag {
                return None;
            }
            if high(found) == tag && is_it(low(found)) {
                return Some(low(found));
            }
            at += 1;
        }
    }

    /// The first item with this tag, most often the right one: for looking ahead.
    #[inline]
    pub fn guess(&self, tag: u32) -> u32 {
        self.find(tag, |_| true).unwrap_or(0)
    }

    /// Adds `item`, which is not in it.
    ///
    /// # Errors
    /// Where there is no room in the margin; nothing was changed then.
    pub fn insert(&self, tag: u32, item: u32) -> Result<(), Crowded> {
        assert!(item != 0, "0 means none");
        let mut at = self.home(tag);
        loop {
            let found = load_wide(self.slot(at).ok_or(Crowded)?);
            if found == 0 || high(found) > tag {
                break;
            }
            at += 1;
        }
        let mut end = at;
        while load_wide(self.slot(end).ok_or(Crowded)?) != 0 {
            end += 1;
        }
        let mut carried = join(tag, item);
        for at in at..=end {
            let slot = self.slot(at).ok_or(Crowded)?;
            let displaced = load_wide(slot);
            store_wide(slot, carried);
            carried = displaced;
        }
        Ok(())
    }

    /// Removes `item`, which is in it under `tag`.
    pub fn remove(&self, tag: u32, item: u32) {
        let wanted = join(tag, item);
        let mut at = self.home(tag);
        loop {
            let slot = self.slot(at).expect("what is removed is in the index");
            let found = load_wide(slot);
            assert!(found != 0 && high(found) <= tag, "what is removed is in the index");
            if found == wanted {
                break;
            }
            at += 1;
        }
        // What follows moves up, until something is at home or the run ends.
        while let Some(next) = self.slot(at + 1) {
            let follower = load_wide(next);
            if follower == 0 || self.home(high(follower)) > at {
                break;
            }
            store_wide(self.slot(at).expect("it was read above"), follower);
            at += 1;
        }
        store_wide(self.slot(at).expect("it was read above"), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_agrees_with_a_set(
            steps in proptest::collection::vec((0_u32..40, 1_u32..40, any::<bool>()), 1..400),
        ) {
            let index = HashIndex::new(200).expect("small");
            let mut model = BTreeSet::new();
            for (tag, item, adds) in steps {
                // Tags that share homes, at both ends.
                let tag = if tag < 20 { tag } else { u32::MAX - tag };
                if adds && model.insert((tag, item)) {
                    prop_assert_eq!(index.insert(tag, item), Ok(()));
                } else if !adds && model.remove(&(tag, item)) {
                    index.remove(tag, item);
                }
                for tag in (0..20).chain(u32::MAX - 40..=u32::MAX) {
                    for item in 1..40 {
                        let found = index.find(tag, |candidate| candidate == item);
                        prop_assert_eq!(found.is_some(), model.contains(&(tag, item)));
                    }
                }
            }
        }
    }

    #[test]
    fn a_full_margin_is_said_and_changes_nothing() {
        let index = HashIndex::new(8).expect("small");
        let mut count = 0;
        while index.insert(u32::MAX, count + 1).is_ok() {
            count += 1;
        }
        assert!(count > MARGIN_LINES * PER_LINE);
        for item in 1..=count {
            assert_eq!(index.find(u32::MAX, |candidate| candidate == item), Some(item));
        }
        assert_eq!(index.find(u32::MAX, |candidate| candidate == count + 1), None);
    }
}
