//! What is stored, without its names: how much each file takes up and when it was last used.
//!
//! Input: hashes of names that came, were used, went; the time.   Output: sums, and which epoch to
//! evict up to.
//! Owns: 16 bytes per stored file (17 to 36 with the table's free places), so bounded by the disk;
//! a sum per epoch in use, fewer than files.   Thread: any, pure.
//! Invariants: the sum over the epochs is the sum over the files; no epoch's sum is zero.
//! Not here: finding the files again to remove them, which needs names and so a walk through the
//! tree (`cache::store`).
//!
//! Least recently used, nearly: time is cut into epochs of a minute, a use moves a file's blocks
//! from its epoch to the current one, and eviction takes everything up to an epoch. No file is
//! touched for it, and no list kept. What the tree held before the start counts as epoch 0. Two
//! names with one hash (2^-64 per pair) count as one file, which costs a little exactness.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher as _;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;

use crate::time::Instant;

/// Time in minutes. Epoch 0 is before the start, which is in epoch `FIRST`.
pub type Epoch = u32;

/// The epoch of the start: so far from 0 that what was there before it does not count as used now.
const FIRST: Epoch = 2;

const EPOCH_NANOS: u64 = 60_000_000_000;

/// The epoch of `now`, a time on a clock that began with the process.
#[must_use]
pub fn epoch(now: Instant) -> Epoch {
    u32::try_from(now.as_nanos() / EPOCH_NANOS).unwrap_or(u32::MAX).saturating_add(FIRST)
}

/// The hash by which the inventory knows a name. The same in every thread that has a clone.
#[derive(Clone)]
pub struct NameHash {
    hasher: SeedableRandomState,
}

impl NameHash {
    /// `seed` is drawn at random, since strangers choose the names.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()) }
    }

    /// Of `name`, a key.
    #[must_use]
    pub fn of(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }
}

impl fmt::Debug for NameHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("NameHash")
    }
}

#[derive(Clone, Copy, Debug)]
struct Item {
    hash: u64,
    /// 0 while only its use is known, not its size.
    blocks: u32,
    /// The epoch, and the mark of the round in which it was last seen in the tree as lowest bit.
    epoch_and_mark: u32,
}

impl Item {
    const fn new(hash: u64, blocks: u32, epoch: Epoch, mark: u32) -> Self {
        Self { hash, blocks, epoch_and_mark: epoch << 1 | mark }
    }

    const fn epoch(self) -> Epoch {
        self.epoch_and_mark >> 1
    }

    const fn mark(self) -> u32 {
        self.epoch_and_mark & 1
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Inventory {
    items: HashTable<Item>,
    /// Blocks of the files last used in each epoch.
    epochs: BTreeMap<Epoch, u64>,
    blocks: u64,
    mark: u32,
}

impl Inventory {
    /// How many files it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Blocks of all files.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Blocks and last use of a file whose size is known.
    #[must_use]
    pub fn find(&self, hash: u64) -> Option<(u32, Epoch)> {
        let item = self.items.find(hash, |item| item.hash == hash)?;
        (item.blocks > 0).then(|| (item.blocks, item.epoch()))
    }

    /// Last use of a file, whose size need not be known.
    #[must_use]
    pub fn epoch_of(&self, hash: u64) -> Option<Epoch> {
        self.items.find(hash, |item| item.hash == hash).map(|item| item.epoch())
    }

    /// Earliest last use of any file.
    #[must_use]
    pub fn oldest(&self) -> Option<Epoch> {
        self.epochs.first_key_value().map(|(epoch, _)| *epoch)
    }

    /// A file is there, in the place of what was known of it; last used in `epoch`, or later if
    /// that is known already.
    pub fn insert(&mut self, hash: u64, blocks: u32, epoch: Epoch) {
        let old = self.take(hash);
        let epoch = old.map_or(epoch, |old| epoch.max(old.epoch()));
        self.put(Item::new(hash, blocks, epoch, self.mark));
    }

    /// A file was used. One that is not known is remembered, if the tree is not all known yet.
    pub fn touch(&mut self, hash: u64, epoch: Epoch, is_all_known: bool) {
        match self.items.find(hash, |item| item.hash == hash).copied() {
            Some(item) if item.epoch() >= epoch => {}
            Some(item) => {
                self.take(hash);
                self.put(Item::new(hash, item.blocks, epoch, item.mark()));
            }
            None if is_all_known => {}
            None => self.put(Item::new(hash, 0, epoch, self.mark)),
        }
    }

    /// A file went. Returns its blocks.
    pub fn remove(&mut self, hash: u64) -> Option<u32> {
        self.take(hash).map(|item| item.blocks)
    }

    /// A round through the tree begins: what is not seen in it is gone.
    pub fn begin_round(&mut self) {
        self.mark ^= 1;
    }

    /// A file was seen in this round. False if it is not known.
    pub fn see(&mut self, hash: u64) -> bool {
        let mark = self.mark;
        match self.items.find_mut(hash, |item| item.hash == hash) {
            Some(item) if item.blocks > 0 => {
                item.epoch_and_mark = item.epoch() << 1 | mark;
                true
            }
            _ => false,
        }
    }

    /// The round ends: forgets what was not seen. Returns how many that were.
    pub fn end_round(&mut self) -> usize {
        let before = self.items.len();
        let (mark, blocks, epochs) = (self.mark, &mut self.blocks, &mut self.epochs);
        self.items.retain(|item| {
            let is_there = item.mark() == mark && item.blocks > 0;
            if !is_there {
                *blocks -= u64::from(item.blocks);
                subtract(epochs, item.epoch(), item.blocks);
            }
            is_there
        });
        before - self.items.len()
    }

    /// What has to go for `blocks` to be freed: all files last used before the epoch that is
    /// returned, and so many blocks of those last used in it.
    #[must_use]
    pub fn cutoff(&self, blocks: u64) -> (Epoch, u64) {
        let (mut rest, mut last) = (blocks, (0, blocks));
        for (epoch, more) in &self.epochs {
            last = (*epoch, rest);
            if *more >= rest {
                return last;
            }
            rest -= more;
        }
        last
    }

    fn put(&mut self, item: Item) {
        self.blocks += u64::from(item.blocks);
        if item.blocks > 0 {
            *self.epochs.entry(item.epoch()).or_default() += u64::from(item.blocks);
        }
        self.items.insert_unique(item.hash, item, |item| item.hash);
    }

    fn take(&mut self, hash: u64) -> Option<Item> {
        let place = self.items.find_entry(hash, |item| item.hash == hash).ok()?;
        let (item, _) = place.remove();
        self.blocks -= u64::from(item.blocks);
        subtract(&mut self.epochs, item.epoch(), item.blocks);
        Some(item)
    }
}

fn subtract(epochs: &mut BTreeMap<Epoch, u64>, epoch: Epoch, blocks: u32) {
    if blocks == 0 {
        return;
    }
    let sum = epochs.get_mut(&epoch).expect("a file's epoch has a sum");
    *sum -= u64::from(blocks);
    if *sum == 0 {
        epochs.remove(&epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(inventory: &Inventory) {
        let mut epochs: BTreeMap<Epoch, u64> = BTreeMap::new();
        for item in inventory.items.iter().filter(|item| item.blocks > 0) {
            *epochs.entry(item.epoch()).or_default() += u64::from(item.blocks);
        }
        assert_eq!(inventory.epochs, epochs);
        assert_eq!(inventory.blocks, epochs.values().sum::<u64>());
    }

    #[test]
    fn an_item_has_sixteen_bytes() {
        assert_eq!(size_of::<Item>(), 16);
    }

    #[test]
    fn a_cutoff_frees_enough_and_no_epoch_more() {
        let mut inventory = Inventory::default();
        for (hash, blocks, epoch) in [(1, 10, 0), (2, 20, 3), (3, 30, 5), (4, 40, 5), (5, 50, 9)] {
            inventory.insert(hash, blocks, epoch);
        }
        for (blocks, expected) in [
            (0, (0, 0)),
            (1, (0, 1)),
            (10, (0, 10)),
            (11, (3, 1)),
            (30, (3, 20)),
            (31, (5, 1)),
            (100, (5, 70)),
            (101, (9, 1)),
            (999, (9, 899)),
        ] {
            assert_eq!(inventory.cutoff(blocks), expected, "{blocks}");
        }
        assert_eq!(Inventory::default().cutoff(1), (0, 1));
    }

    #[test]
    fn uses_move_files_to_later_epochs_only() {
        let mut inventory = Inventory::default();
        inventory.insert(1, 8, 4);
        inventory.touch(1, 7, true);
        inventory.touch(1, 5, true);
        assert_eq!(inventory.find(1), Some((8, 7)));
        inventory.insert(1, 9, 0);
        assert_eq!(inventory.find(1), Some((9, 7)));
        inventory.touch(2, 7, true);
        assert_eq!((inventory.len(), inventory.remove(1), inventory.blocks()), (1, Some(9), 0));
        check(&inventory);
    }

    #[test]
    fn a_use_before_the_file_is_known_is_remembered() {
        let mut inventory = Inventory::default();
        inventory.begin_round();
        inventory.touch(1, 7, false);
        inventory.touch(2, 7, false);
        assert_eq!((inventory.find(1), inventory.see(1)), (None, false));
        inventory.insert(1, 3, 0);
        assert_eq!(inventory.end_round(), 1);
        assert_eq!((inventory.find(1), inventory.len()), (Some((3, 7)), 1));
        check(&inventory);
    }

    #[test]
    fn what_a_round_does_not_see_is_forgotten() {
        let mut inventory = Inventory::default();
        for hash in 0..10 {
            inventory.insert(hash, 1, 5);
        }
        inventory.begin_round();
        assert!((0..4).all(|hash| inventory.see(hash)));
        inventory.insert(20, 1, 6);
        inventory.touch(5, 8, true);
        assert_eq!(inventory.end_round(), 6);
        assert_eq!((inventory.len(), inventory.blocks()), (5, 5));
        check(&inventory);
    }

    #[test]
    fn agrees_with_a_map_under_many_changes() {
        let mut inventory = Inventory::default();
        let mut twin: BTreeMap<u64, (u32, Epoch)> = BTreeMap::new();
        let mut state = 3_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let roll = u32::try_from(state >> 40).unwrap();
            let (hash, epoch) = (u64::from(roll % 50), roll / 50 % 20);
            match roll / 1000 % 3 {
                0 => {
                    inventory.insert(hash, roll % 7 + 1, epoch);
                    let old = twin.get(&hash).map_or(0, |(_, epoch)| *epoch);
                    twin.insert(hash, (roll % 7 + 1, epoch.max(old)));
                }
                1 => {
                    inventory.touch(hash, epoch, true);
                    twin.entry(hash).and_modify(|(_, old)| *old = epoch.max(*old));
                }
                _ => {
                    assert_eq!(
                        inventory.remove(hash),
                        twin.remove(&hash).map(|(blocks, _)| blocks)
                    );
                }
            }
            assert_eq!(inventory.find(hash), twin.get(&hash).copied());
        }
        check(&inventory);
        assert_eq!(inventory.len(), twin.len());
    }

    #[test]
    fn epochs_are_minutes() {
        assert_eq!(epoch(Instant::from_nanos(0)), 2);
        assert_eq!(epoch(Instant::from_nanos(EPOCH_NANOS - 1)), 2);
        assert_eq!(epoch(Instant::from_nanos(3 * EPOCH_NANOS)), 5);
    }
}
