//! Fixed arenas of words that one thread writes while others read.
//!
//! Input: indices.   Output: the words there, as atomics.
//! Owns: memory for `count` elements, taken from the kernel when the arena is made and touched only
//! as elements are used.   Thread: any; who may write what is up to the owner of the arena.
//! Invariants: an element never moves, so an index stays good for a reader that lost a race; index
//! 0 means "none" everywhere and is never handed out; elements of 64 bytes lie on one cache line.
//! Not here: what the words mean.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use zerocopy::FromZeros;

/// What is missing: this many bytes could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory {
    /// Bytes of the arena that was refused.
    pub bytes: usize,
}

impl std::fmt::Display for NoMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no {} bytes of memory for an arena; lower rows_max or urls_max", self.bytes)
    }
}

impl std::error::Error for NoMemory {}

/// Bytes of a cache line on every machine that we build for.
const LINE_BYTES: usize = 64;

/// `count` elements of `WIDTH` words of type `T`; element 0 is there, but means "none".
#[derive(Debug)]
pub struct Arena<T, const WIDTH: usize> {
    words: Vec<T>,
    /// Words before element 0, so that it begins a cache line.
    first: usize,
    count: u32,
}

impl<T: FromZeros, const WIDTH: usize> Arena<T, WIDTH> {
    /// An arena of zeros with the indices 0 to `count`.
    ///
    /// # Errors
    /// Where the memory cannot be had.
    pub fn new(count: u32) -> Result<Self, NoMemory> {
        let per_line = LINE_BYTES / size_of::<T>();
        let words = (count as usize + 1) * WIDTH + per_line;
        let bytes = words * size_of::<T>();
        let words = T::new_vec_zeroed(words).map_err(|_| NoMemory { bytes })?;
        let misfit = words.as_ptr().addr() % LINE_BYTES / size_of::<T>();
        Ok(Self { words, first: (per_line - misfit) % per_line, count })
    }

    /// Its largest index.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Element `index`, or nothing where a reader that lost a race made the index up.
    #[inline]
    pub fn find(&self, index: u32) -> Option<&[T; WIDTH]> {
        self.words.get(self.first + index as usize * WIDTH..)?.first_chunk()
    }

    /// Element `index`.
    ///
    /// # Panics
    /// If the arena has none: the writer only has indices that the arena gave it.
    #[inline]
    pub fn at(&self, index: u32) -> &[T; WIDTH] {
        self.find(index).expect("the writer's indices come from this arena")
    }
}

/// The value of `word`; what orders it among others is the version around it.
#[inline]
pub fn load(word: &AtomicU32) -> u32 {
    word.load(Relaxed)
}

/// Sets `word`.
#[inline]
pub fn store(word: &AtomicU32, value: u32) {
    word.store(value, Relaxed);
}

/// The value of `word`.
#[inline]
pub fn load_wide(word: &AtomicU64) -> u64 {
    word.load(Relaxed)
}

/// Sets `word`.
#[inline]
pub fn store_wide(word: &AtomicU64, value: u64) {
    word.store(value, Relaxed);
}

/// Puts two halves into one word.
#[inline]
pub const fn join(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// The upper half of a word.
#[inline]
pub const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// The lower half of a word.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
pub const fn low(word: u64) -> u32 {
    word as u32
}

/// Which elements of an arena are free: those given back, then those never used.
#[derive(Debug, Default)]
pub struct Pool {
    /// The element given back last; each names the one before it.
    free: u32,
    /// Elements that were ever used.
    touched: u32,
    used: u32,
}

impl Pool {
    /// An element of an arena of `count`, or none. `next` reads what `give` wrote.
    pub fn take(&mut self, count: u32, next: impl FnOnce(u32) -> u32) -> Option<u32> {
        let index = if self.free != 0 {
            let index = self.free;
            self.free = next(index);
            index
        } else if self.touched < count {
            self.touched += 1;
            self.touched
        } else {
            return None;
        };
        self.used += 1;
        Some(index)
    }

    /// Takes `index` back; `set_next` keeps what it is told in the element.
    pub fn give(&mut self, index: u32, set_next: impl FnOnce(u32)) {
        assert!(self.used > 0, "what is given back was taken");
        set_next(self.free);
        self.free = index;
        self.used -= 1;
    }

    /// Elements in use.
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// Elements that were ever in use at once: what the arena takes of memory.
    pub const fn touched(&self) -> u32 {
        self.touched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_of_a_line_begins_a_line() {
        for count in [1, 7, 1000] {
            let arena = Arena::<AtomicU32, 16>::new(count).expect("small");
            for index in [0, 1, count] {
                assert_eq!(arena.at(index).as_ptr().addr() % LINE_BYTES, 0);
            }
            let rows = Arena::<AtomicU64, 4>::new(count).expect("small");
            assert_eq!(rows.at(0).as_ptr().addr() % LINE_BYTES, 0);
        }
    }

    #[test]
    fn an_index_beyond_the_end_is_nothing() {
        let arena = Arena::<AtomicU32, 16>::new(3).expect("small");
        assert!(arena.find(3).is_some());
        assert!(arena.find(5).is_none() && arena.find(u32::MAX).is_none());
    }

    #[test]
    fn a_pool_gives_out_each_element_once() {
        let (mut pool, mut links) = (Pool::default(), [0_u32; 4]);
        let taken: Vec<u32> =
            (0..3).filter_map(|_| pool.take(3, |at| links[at as usize])).collect();
        assert_eq!(taken, [1, 2, 3]);
        assert_eq!(pool.take(3, |at| links[at as usize]), None);
        for index in [2, 1] {
            pool.give(index, |next| links[index as usize] = next);
        }
        assert_eq!(pool.used(), 1);
        assert_eq!(pool.take(3, |at| links[at as usize]), Some(1));
        assert_eq!(pool.take(3, |at| links[at as usize]), Some(2));
        assert_eq!((pool.used(), pool.touched()), (3, 3));
    }

    #[test]
    fn halves_of_a_word() {
        let word = join(7, u32::MAX);
        assert_eq!((high(word), low(word)), (7, u32::MAX));
    }
}
