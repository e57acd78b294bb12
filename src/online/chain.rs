//! A skiplist of blocks: items in an order, thirteen to a cache line, towers over the blocks.
//!
//! Input: items, and how they sort.   Output: the blocks they lie in, as the caller's index.
//! Owns: the arena of blocks, which readers walk, and the towers, which only the writer needs. Any
//! number of chains share them; each is three numbers (`Ends`) that its owner keeps.
//! Thread: one writer; readers walk from a front block and ask the version that guards the chain
//! afterwards.
//! Invariants: no block is empty; two neighbours that shrink to a quarter are joined; a tower is
//! linked both ways on each of its levels, so that it can go without a search.
//! Not here: what an item is; where it keeps the number of its block (`moved` tells the caller).
//! Source: Pugh, "Skip lists: a probabilistic alternative to balanced trees", CACM 33(6), 1990.
//! Differs from the source: towers stand over an eighth of the blocks, not over items, since a
//! search costs cache misses and not comparisons; searches for what is new begin at the front.

use std::sync::atomic::AtomicU32;

use crate::online::arena::{Arena, NoMemory, Pool, load, store};
use crate::stdx::num::narrow;
use crate::stdx::random::Random;
use crate::sys::prefetch::prefetch;

/// Items in a block of 64 bytes, beside two links and the word that counts them.
pub const ITEMS: usize = 13;
const TO_FRONT: usize = 13;
const TO_BACK: usize = 14;
/// Items in the low four bits, the tower's number above them.
const META: usize = 15;

/// Levels of a tower: an eighth of the blocks has one, an eighth of these a second level, so that
/// 2^21 blocks (about 19 million items) leave one tower on the seventh.
const LEVELS: usize = 7;
const BLOCK: usize = 0;
const HEIGHT: usize = 1;

/// Blocks looked at from the front, before a search climbs: what is late is mostly a little late.
const WALK_BLOCKS: usize = 8;

/// A block of this many items, and less, is joined with a neighbour if both fit into one.
const SPARSE_ITEMS: usize = 4;
/// With room left for some more.
const JOINED_ITEMS_MAX: usize = 10;

/// Items that a block has on average at least, but for one block of each chain: one that shrinks to
/// a single item stays beside one that later shrinks to five; at four they are joined.
pub const BLOCK_ITEMS_MIN: u32 = 3;
const _: () = assert!(BLOCK_ITEMS_MIN as usize * 2 <= 1 + SPARSE_ITEMS + 1);
const _: () = assert!(SPARSE_ITEMS < JOINED_ITEMS_MAX, "a single item fits in with a sparse block");

/// One chain: all that its owner keeps. Zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The front block.
    pub front: u32,
    /// The back block.
    pub back: u32,
    /// The tower in front of all others.
    pub tower: u32,
}

/// A block as a reader or the writer looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a>(&'a [AtomicU32; 16]);

impl<'a> Block<'a> {
    /// Its items, from the back one to the front one.
    #[inline]
    pub fn items(self) -> impl DoubleEndedIterator<Item = u32> + 'a {
        self.0[..self.len()].iter().map(load)
    }

    /// How many items it has.
    #[inline]
    pub fn len(self) -> usize {
        // A reader may see any number here, but never more than there are words.
        (load(&self.0[META]) as usize & 15).min(ITEMS)
    }

    /// The next block towards the back.
    #[inline]
    pub fn next(self) -> u32 {
        load(&self.0[TO_BACK])
    }

    /// The next block towards the front.
    #[inline]
    pub fn before(self) -> u32 {
        load(&self.0[TO_FRONT])
    }

    #[inline]
    fn tower(self) -> u32 {
        load(&self.0[META]) >> 4
    }

    #[inline]
    fn front_item(self) -> u32 {
        load(&self.0[self.len() - 1])
    }

    #[inline]
    fn set_meta(self, len: usize, tower: u32) {
        assert!(len <= ITEMS, "a block has room for its items");
        store(&self.0[META], tower << 4 | narrow(len));
    }

    /// Puts `item` at `at`, what is there and in front of it moves on.
    #[inline]
    fn insert(self, at: usize, item: u32) {
        let len = self.len();
        for slot in (at..len).rev() {
            store(&self.0[slot + 1], load(&self.0[slot]));
        }
        store(&self.0[at], item);
        self.set_meta(len + 1, self.tower());
    }
}

/// The blocks, which readers see.
#[derive(Debug)]
pub struct Blocks {
    blocks: Arena<AtomicU32, 16>,
}

impl Blocks {
    /// Room for `count` blocks.
    ///
    /// # Errors
    /// Where the memory cannot be had.
    pub fn new(count: u32) -> Result<Self, NoMemory> {
        Ok(Self { blocks: Arena::new(count)? })
    }

    /// A block, or none where a reader was led astray.
    #[inline]
    pub fn find(&self, block: u32) -> Option<Block<'_>> {
        self.blocks.find(block).map(Block)
    }

    /// Fetches a block.
    #[inline]
    pub fn prefetch(&self, block: u32) {
        if let Some(words) = self.blocks.find(block) {
            prefetch(words);
        }
    }

    /// A block of the writer's.
    #[inline]
    pub fn at(&self, block: u32) -> Block<'_> {
        Block(self.blocks.at(block))
    }
}

/// The writer's part of all chains.
#[derive(Debug)]
pub struct Chains {
    towers: Vec<[u32; 16]>,
    blocks_pool: Pool,
    towers_pool: Pool,
    /// Source of towers' heights.
    random: Random,
}

/// Where an item belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its block; 0: in front of all.
    pub block: u32,
    /// Items of that block that lie further back.
    pub at: usize,
}

impl Chains {
    /// The writer's part for `blocks`; `seed` decides over the towers.
    #[must_use]
    pub fn new(blocks: &Blocks, seed: u64) -> Self {
        // An eighth of the blocks have towers; and each chain that has one, has one in front.
        let towers = vec![[0; 16]; blocks.blocks.count() as usize / 2 + 64];
        Self {
            towers,
            blocks_pool: Pool::default(),
            towers_pool: Pool::default(),
            random: Random::new(seed),
        }
    }

    /// Bytes of memory that blocks and towers take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        64 * (u64::from(self.blocks_pool.touched()) + u64::from(self.towers_pool.touched()))
    }

    /// Adds `item` in front of all.
    #[inline]
    pub fn push_front(
        &mut self,
        blocks: &Blocks,
        ends: &mut Ends,
        item: u32,
        mut moved: impl FnMut(u32, u32),
    ) {
        let mut target = ends.front;
        if target == 0 || blocks.at(target).len() == ITEMS {
            target = self.add_block(blocks, ends, 0);
        }
        let block = blocks.at(target);
        block.insert(block.len(), item);
        moved(item, target);
    }

    /// Adds `item` behind all that `is_before` it. `is_before` holds for a front part of the chain.
    #[inline]
    pub fn insert(
        &mut self,
        blocks: &Blocks,
        ends: &mut Ends,
        item: u32,
        is_before: impl Fn(u32) -> bool,
        moved: impl FnMut(u32, u32),
    ) {
        if ends.front == 0 || !is_before(blocks.at(ends.front).front_item()) {
            return self.push_front(blocks, ends, item, moved);
        }
        let place = self.place(blocks, *ends, is_before);
        self.insert_at(blocks, ends, item, place, moved);
    }

    /// The place behind all that `is_before`.
    #[must_use]
    pub fn place(&self, blocks: &Blocks, ends: Ends, is_before: impl Fn(u32) -> bool) -> Place {
        if ends.front == 0 || !is_before(blocks.at(ends.front).front_item()) {
            return Place { block: 0, at: 0 };
        }
        let mut block = ends.front;
        let mut steps = 0;
        loop {
            let next = blocks.at(block).next();
            if next == 0 || !is_before(blocks.at(next).front_item()) {
                break;
            }
            block = next;
            steps += 1;
            if steps == WALK_BLOCKS && ends.tower != 0 {
                block = self.climb(blocks, ends, block, &is_before);
            }
        }
        let at = blocks.at(block).items().take_while(|item| !is_before(*item)).count();
        Place { block, at }
    }

    /// The block nearest to the place that has a tower; `block` if there is none behind it.
    fn climb(
        &self,
        blocks: &Blocks,
        ends: Ends,
        block: u32,
        is_before: &impl Fn(u32) -> bool,
    ) -> u32 {
        let mut tower = ends.tower;
        for level in (0..LEVELS).rev() {
            loop {
                let next = self.towers[tower as usize][back(level)];
                if next == 0 {
                    break;
                }
                let over = self.towers[next as usize][BLOCK];
                if !is_before(blocks.at(over).front_item()) {
                    break;
                }
                tower = next;
            }
        }
        // The towers may end in front of where the walk is; both are before the place.
        if tower == ends.tower { block } else { self.towers[tower as usize][BLOCK] }
    }

    fn insert_at(
        &mut self,
        blocks: &Blocks,
        ends: &mut Ends,
        item: u32,
        place: Place,
        mut moved: impl FnMut(u32, u32),
    ) {
        let block = blocks.at(place.block);
        if block.len() < ITEMS {
            block.insert(place.at, item);
            return moved(item, place.block);
        }
        // Behind all of a full block: in front of the next one, if that has room.
        if place.at == 0 && block.next() != 0 && blocks.at(block.next()).len() < ITEMS {
            let next = blocks.at(block.next());
            next.insert(next.len(), item);
            return moved(item, block.next());
        }
        // The back half goes to a new block behind this one.
        let half = ITEMS / 2;
        let behind = self.add_block(blocks, ends, place.block);
        let new = blocks.at(behind);
        for at in 0..half {
            let item = load(&block.0[at]);
            store(&new.0[at], item);
            moved(item, behind);
        }
        new.set_meta(half, new.tower());
        for at in half..ITEMS {
            store(&block.0[at - half], load(&block.0[at]));
        }
        block.set_meta(ITEMS - half, block.tower());
        if place.at <= half {
            new.insert(place.at, item);
            moved(item, behind);
        } else {
            block.insert(place.at - half, item);
            moved(item, place.block);
        }
    }

    /// Removes `item` from `block`, where it is.
    #[inline]
    pub fn remove(
        &mut self,
        blocks: &Blocks,
        ends: &mut Ends,
        block: u32,
        item: u32,
        moved: impl FnMut(u32, u32),
    ) {
        let view = blocks.at(block);
        let len = view.len();
        let at = view.items().position(|other| other == item);
        let at = at.expect("an item lies in the block that it names");
        for slot in at + 1..len {
            store(&view.0[slot - 1], load(&view.0[slot]));
        }
        view.set_meta(len - 1, view.tower());
        if len - 1 <= SPARSE_ITEMS {
            self.join(blocks, ends, block, moved);
        }
    }

    /// `block` has few items or none: they go to a neighbour, if it has room.
    fn join(
        &mut self,
        blocks: &Blocks,
        ends: &mut Ends,
        block: u32,
        mut moved: impl FnMut(u32, u32),
    ) {
        let view = blocks.at(block);
        let len = view.len();
        let (before, next) = (view.before(), view.next());
        let fits = |other: u32| other != 0 && len + blocks.at(other).len() <= JOINED_ITEMS_MAX;
        if len == 0 {
            self.unlink(blocks, ends, block);
        } else if fits(next) {
            let target = blocks.at(next);
            for item in view.items() {
                target.insert(target.len(), item);
                moved(item, next);
            }
            self.unlink(blocks, ends, block);
        } else if fits(before) {
            let target = blocks.at(before);
            for item in view.items().rev() {
                target.insert(0, item);
                moved(item, before);
            }
            self.unlink(blocks, ends, block);
        }
    }

    /// A new, empty block behind `before`, or in front of all (0).
    fn add_block(&mut self, blocks: &Blocks, ends: &mut Ends, before: u32) -> u32 {
        let count = blocks.blocks.count();
        let new = self.blocks_pool.take(count, |free| blocks.at(free).next());
        let new =
            new.expect("there is a block for every BLOCK_ITEMS_MIN items and one for each chain");
        let next = if before == 0 { ends.front } else { blocks.at(before).next() };
        let is_first = before == 0 && next == 0;
        let view = blocks.at(new);
        store(&view.0[TO_FRONT], before);
        store(&view.0[TO_BACK], next);
        view.set_meta(0, 0);
        if !is_first {
            let tower = self.add_tower(blocks, ends, before, new);
            view.set_meta(0, tower);
        }
        match before {
            0 => ends.front = new,
            _ => store(&blocks.at(before).0[TO_BACK], new),
        }
        match next {
            0 => ends.back = new,
            _ => store(&blocks.at(next).0[TO_FRONT], new),
        }
        new
    }

    fn unlink(&mut self, blocks: &Blocks, ends: &mut Ends, block: u32) {
        let view = blocks.at(block);
        let (before, next) = (view.before(), view.next());
        match before {
            0 => ends.front = next,
            _ => store(&blocks.at(before).0[TO_BACK], next),
        }
        match next {
            0 => ends.back = before,
            _ => store(&blocks.at(next).0[TO_FRONT], before),
        }
        if view.tower() != 0 {
            self.remove_tower(view.tower());
        }
        view.set_meta(0, 0);
        self.blocks_pool.give(block, |free| store(&view.0[TO_BACK], free));
        if ends.front == 0 && ends.tower != 0 {
            let tower = ends.tower as usize;
            self.towers_pool.give(ends.tower, |free| self.towers[tower][BLOCK] = free);
            ends.tower = 0;
        }
    }

    /// A tower over `block`, which comes behind `before`, for one block of eight. 0 for the others,
    /// and where there is no room: the search walks on then.
    fn add_tower(&mut self, blocks: &Blocks, ends: &mut Ends, before: u32, block: u32) -> u32 {
        let height = self.height();
        if height == 0 {
            return 0;
        }
        if ends.tower == 0 {
            let Some(tower) = self.take_tower() else { return 0 };
            self.towers[tower as usize][HEIGHT] = narrow(LEVELS);
            ends.tower = tower;
        }
        let Some(tower) = self.take_tower() else { return 0 };
        self.towers[tower as usize][BLOCK] = block;
        self.towers[tower as usize][HEIGHT] = narrow(height);
        let mut before = before;
        while before != 0 && blocks.at(before).tower() == 0 {
            before = blocks.at(before).before();
        }
        let mut front = if before == 0 { ends.tower } else { blocks.at(before).tower() };
        for level in 0..height {
            loop {
                let tall = self.towers[front as usize][HEIGHT] as usize;
                if tall > level {
                    break;
                }
                front = self.towers[front as usize][to_front(tall - 1)];
            }
            let behind = self.towers[front as usize][back(level)];
            self.towers[front as usize][back(level)] = tower;
            self.towers[tower as usize][to_front(level)] = front;
            self.towers[tower as usize][back(level)] = behind;
            self.towers[behind as usize][to_front(level)] = tower;
        }
        tower
    }

    fn remove_tower(&mut self, tower: u32) {
        let own = self.towers[tower as usize];
        for level in 0..own[HEIGHT] as usize {
            let (front, behind) = (own[to_front(level)], own[back(level)]);
            self.towers[front as usize][back(level)] = behind;
            self.towers[behind as usize][to_front(level)] = front;
        }
        self.towers_pool.give(tower, |free| self.towers[tower as usize][BLOCK] = free);
    }

    fn take_tower(&mut self) -> Option<u32> {
        let count = narrow(self.towers.len() - 1);
        let tower = self.towers_pool.take(count, |free| self.towers[free as usize][BLOCK])?;
        self.towers[tower as usize] = [0; 16];
        Some(tower)
    }

    /// 0 for seven blocks of eight, 1 for seven of eight of the others, and so on.
    fn height(&mut self) -> usize {
        (self.random.draw().leading_zeros() as usize / 3).min(LEVELS)
    }
}

/// The word of a tower that names the next one towards the front on `level`.
const fn to_front(level: usize) -> usize {
    2 + 2 * level
}

/// The word of a tower that names the next one towards the back on `level`.
const fn back(level: usize) -> usize {
    3 + 2 * level
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of numbers, the lower ones in front; where each is, as the caller keeps it.
    struct Sorted {
        blocks: Blocks,
        chains: Chains,
        ends: Ends,
        homes: Vec<u32>,
    }

    impl Sorted {
        fn new(count: u32) -> Self {
            let blocks = Blocks::new(count / BLOCK_ITEMS_MIN + 2).expect("small");
            let chains = Chains::new(&blocks, 5);
            Self { blocks, chains, ends: Ends::default(), homes: vec![0; count as usize + 1] }
        }

        fn insert(&mut self, item: u32) {
            let homes = &mut self.homes;
            let moved = |item: u32, block| homes[item as usize] = block;
            self.chains.insert(&self.blocks, &mut self.ends, item, |other| other < item, moved);
        }

        fn remove(&mut self, item: u32) {
            let home = std::mem::take(&mut self.homes[item as usize]);
            let homes = &mut self.homes;
            let moved = |item: u32, block| homes[item as usize] = block;
            self.chains.remove(&self.blocks, &mut self.ends, home, item, moved);
        }

        /// All items from the front, after a look at every link.
        fn items(&self) -> Vec<u32> {
            let (mut items, mut block, mut before) = (Vec::new(), self.ends.front, 0);
            while block != 0 {
                let view = self.blocks.at(block);
                assert!(view.len() > 0 && view.before() == before);
                for item in view.items().rev() {
                    assert_eq!(self.homes[item as usize], block, "{item}");
                    items.push(item);
                }
                if view.tower() != 0 {
                    assert_eq!(self.chains.towers[view.tower() as usize][BLOCK], block);
                }
                (before, block) = (block, view.next());
            }
            assert_eq!(self.ends.back, before);
            items
        }
    }

    #[test]
    fn it_agrees_with_a_sorted_list() {
        const COUNT: u32 = 5000;
        let mut chain = Sorted::new(COUNT);
        let mut model = std::collections::BTreeSet::new();
        let mut source = Random::new(1);
        for step in 0..60_000_u32 {
            let random = source.draw();
            let item = 1 + u32::try_from(random % u64::from(COUNT)).expect("it is below COUNT");
            // It grows, shrinks to a few, and grows again.
            let grows = (step / 15_000).is_multiple_of(2);
            if model.contains(&item) {
                let goes = !grows || random >> 60 == 0;
                if goes {
                    model.remove(&item);
                    chain.remove(item);
                }
            } else if grows || random >> 60 == 0 {
                model.insert(item);
                chain.insert(item);
            }
            if step % 500 == 0 {
                assert_eq!(chain.items(), model.iter().copied().collect::<Vec<_>>());
                let place = chain.chains.place(&chain.blocks, chain.ends, |other| other < item);
                let ahead = model.range(..item).next_back();
                let front = (place.block != 0).then(|| {
                    chain.blocks.at(place.block).items().nth(place.at).expect("it is in front")
                });
                assert_eq!(front.as_ref(), ahead);
            }
        }
        for item in &model {
            chain.remove(*item);
        }
        assert_eq!((chain.items(), chain.ends), (vec![], Ends::default()));
        assert_eq!((chain.chains.blocks_pool.used(), chain.chains.towers_pool.used()), (0, 0));
    }

    #[test]
    fn blocks_stay_full_enough_for_their_arena() {
        const COUNT: u32 = 20_000;
        let mut chain = Sorted::new(COUNT);
        (1..=COUNT).rev().for_each(|item| chain.insert(item));
        let (mut full, mut block) = (Vec::new(), chain.ends.front);
        while block != 0 {
            full.push(chain.blocks.at(block).items().collect::<Vec<u32>>());
            block = chain.blocks.at(block).next();
        }
        // The worst: one is left of every other block, and then five of those between.
        for (first, left) in [(0, 1), (1, 5)] {
            for items in full.iter().skip(first).step_by(2) {
                items.iter().skip(left).for_each(|item| chain.remove(*item));
            }
        }
        let used = chain.chains.blocks_pool.used();
        let left = u32::try_from(chain.items().len()).expect("a few thousand");
        assert!(used <= left / BLOCK_ITEMS_MIN + 1, "{used} blocks for {left} items");
        assert!(used > left / 4, "{used} blocks for {left} items are not the worst");
    }
}
