//! Texts of any length up to a bound, in chunks of one size, so that nothing a stranger chooses can
//! break the memory into pieces that fit nobody.
//!
//! Input: bytes.   Output: the number of the first chunk; comparisons with bytes.
//! Owns: a fixed arena of chunks.   Thread: one writer; readers may copy, and ask the version that
//! guards the text's owner afterwards.
//! Invariants: a text of `n` bytes has `n / 56` chunks, rounded up; bytes beyond its end are zero.
//! Not here: the length, which its owner keeps.

use std::cmp::Ordering;
use std::sync::atomic::AtomicU64;

use crate::online::arena::{Arena, NoMemory, Pool, load_wide, low, store_wide};
use crate::sys::prefetch::prefetch;

/// Words of a chunk that hold bytes; the last one names the next chunk.
const WORDS: usize = 7;

/// Bytes of text in a chunk of 64.
pub const CHUNK_BYTES: usize = WORDS * 8;

/// Chunks that a text of `bytes` takes.
#[must_use]
pub const fn chunks(bytes: usize) -> usize {
    bytes.div_ceil(CHUNK_BYTES)
}

/// Up to eight bytes as a number that sorts as they do: first byte highest, zeros after the end.
#[inline]
#[must_use]
pub fn word(bytes: &[u8]) -> u64 {
    if let Some(whole) = bytes.first_chunk::<8>() {
        return u64::from_be_bytes(*whole);
    }
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    u64::from_be_bytes(padded)
}

/// The words of `bytes` from `at` on, for one chunk.
fn chunk_words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    (0..WORDS).map(|at| word(bytes.get(at * 8..).unwrap_or_default()))
}

/// The arena.
#[derive(Debug)]
pub struct Texts {
    chunks: Arena<AtomicU64, 8>,
}

impl Texts {
    /// Room for `count` chunks.
    ///
    /// # Errors
    /// Where the memory cannot be had.
    pub fn new(count: u32) -> Result<Self, NoMemory> {
        Ok(Self { chunks: Arena::new(count)? })
    }

    fn next(&self, chunk: u32) -> u32 {
        low(load_wide(&self.chunks.at(chunk)[WORDS]))
    }

    /// Keeps `bytes`; the first chunk's number, or none where there is no room.
    pub fn keep(&self, pool: &mut Pool, bytes: &[u8]) -> Option<u32> {
        let count = chunks(bytes.len());
        let left = self.chunks.count() - pool.used();
        if count == 0 || count > left as usize {
            return None;
        }
        let mut following = 0;
        for at in (0..count).rev() {
            let chunk = pool.take(self.chunks.count(), |chunk| self.next(chunk));
            let chunk = chunk.expect("counted above");
            let words = self.chunks.at(chunk);
            for (slot, value) in words.iter().zip(chunk_words(&bytes[at * CHUNK_BYTES..])) {
                store_wide(slot, value);
            }
            store_wide(&words[WORDS], u64::from(following));
            following = chunk;
        }
        Some(following)
    }

    /// Lets go of a text of `len` bytes.
    pub fn free(&self, pool: &mut Pool, mut chunk: u32, len: usize) {
        for _ in 0..chunks(len) {
            let next = self.next(chunk);
            pool.give(chunk, |free| store_wide(&self.chunks.at(chunk)[WORDS], u64::from(free)));
            chunk = next;
        }
    }

    /// Fetches the chunk.
    #[inline]
    pub fn prefetch(&self, chunk: u32) {
        if let Some(words) = self.chunks.find(chunk) {
            prefetch(words);
        }
    }

    /// Whether the text at `chunk`, as long as `bytes`, is `bytes`.
    #[inline]
    pub fn is(&self, mut chunk: u32, bytes: &[u8]) -> bool {
        for part in bytes.chunks(CHUNK_BYTES) {
            let Some(words) = self.chunks.find(chunk) else { return false };
            let mut differs = 0;
            for (at, piece) in part.chunks(8).enumerate() {
                differs |= load_wide(&words[at]) ^ word(piece);
            }
            if differs != 0 {
                return false;
            }
            chunk = low(load_wide(&words[WORDS]));
        }
        true
    }

    /// How the text at `chunk` of `len` bytes sorts beside `bytes`.
    pub fn compare(&self, mut chunk: u32, len: usize, bytes: &[u8]) -> Ordering {
        for part in bytes.chunks(CHUNK_BYTES).take(chunks(len)) {
            let words = self.chunks.at(chunk);
            for (at, wanted) in chunk_words(part).enumerate() {
                match load_wide(&words[at]).cmp(&wanted) {
                    Ordering::Equal => {}
                    other => return other,
                }
            }
            chunk = self.next(chunk);
        }
        len.cmp(&bytes.len())
    }

    /// Appends the text at `chunk` of `len` bytes. `None` where a reader was led astray.
    pub fn copy(&self, mut chunk: u32, len: usize, into: &mut Vec<u8>) -> Option<()> {
        let mut left = len;
        while left > 0 {
            let words = self.chunks.find(chunk)?;
            for slot in &words[..WORDS] {
                let bytes = load_wide(slot).to_be_bytes();
                let count = left.min(8);
                into.extend_from_slice(&bytes[..count]);
                left -= count;
            }
            chunk = low(load_wide(&words[WORDS]));
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(texts: &Texts, pool: &mut Pool, bytes: &[u8]) -> u32 {
        texts.keep(pool, bytes).expect("there is room")
    }

    proptest! {
        #[test]
        fn a_text_is_what_was_kept(
            one in proptest::collection::vec(0_u8..3, 1..200),
            other in proptest::collection::vec(0_u8..3, 1..200),
        ) {
            let (texts, mut pool) = (Texts::new(100).expect("small"), Pool::default());
            let chunk = kept(&texts, &mut pool, &one);
            kept(&texts, &mut pool, &other);
            let mut copy = Vec::new();
            texts.copy(chunk, one.len(), &mut copy);
            prop_assert_eq!(&copy, &one);
            prop_assert!(texts.is(chunk, &one));
            prop_assert_eq!(one.len() == other.len() && texts.is(chunk, &other), one == other);
            prop_assert_eq!(texts.compare(chunk, one.len(), &other), one.cmp(&other));
        }
    }

    #[test]
    fn what_is_let_go_of_is_used_again() {
        let (texts, mut pool) = (Texts::new(10).expect("small"), Pool::default());
        let long = [b'x'; 9 * CHUNK_BYTES + 1];
        for _ in 0..3 {
            let chunk = kept(&texts, &mut pool, &long);
            assert_eq!(texts.keep(&mut pool, b"more"), None);
            texts.free(&mut pool, chunk, long.len());
            let short: Vec<u32> = (0..10).map(|_| kept(&texts, &mut pool, b"short")).collect();
            assert_eq!(texts.keep(&mut pool, b"more"), None);
            short.iter().for_each(|chunk| texts.free(&mut pool, *chunk, 5));
        }
        assert_eq!((pool.used(), pool.touched()), (0, 10));
    }
}
