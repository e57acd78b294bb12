//! Which parts of a file are known to be in memory, so that a worker never waits for a disk.
//!
//! Input: chunks that were paged in, the epoch of memory reclaim.   Output: what may be sent now.
//! Owns: one bit per `CHUNK_BYTES` of one file.   Thread: any, pure.
//! Invariants: a byte is called resident only if its chunk was paged in and mapped during the
//! current epoch. An epoch ends when the kernel has reclaimed pages of files since (`daemon::tree`
//! watches its counters); within an epoch a mapped page does not leave memory.
//! Not here: paging in (`sys::uring`), deciding how bytes leave (`cache::way_out`).

use std::ops::Range;

use crate::limits::{CHUNK_BYTES, CHUNK_SHIFT};
use crate::stdx::num::index;

/// Marks of one open file.
#[derive(Clone, Debug, Default)]
pub struct Residency {
    epoch: u64,
    /// Chunks 0 to 63; nearly every file has only these.
    first: u64,
    /// Chunks from 64 on.
    rest: Box<[u64]>,
}

impl Residency {
    /// Nothing of a file of `len` bytes is known to be resident.
    #[must_use]
    pub fn new(len: u64) -> Self {
        let words = len.div_ceil(CHUNK_BYTES).div_ceil(64);
        let rest = vec![0; index(words.saturating_sub(1))].into_boxed_slice();
        Self { epoch: 0, first: 0, rest }
    }

    /// Whether all of `range` (in bytes, not empty) is resident in `epoch`.
    #[must_use]
    pub fn holds(&self, range: &Range<u64>, epoch: u64) -> bool {
        self.until(range, epoch) == range.end
    }

    /// The end of the resident bytes that `range` begins with: `range.start` if there are none.
    #[must_use]
    pub fn until(&self, range: &Range<u64>, epoch: u64) -> u64 {
        if epoch != self.epoch {
            return range.start;
        }
        let mut chunk = range.start >> CHUNK_SHIFT;
        let mut end = range.start;
        while end < range.end && self.is_marked(chunk) {
            chunk += 1;
            end = (chunk << CHUNK_SHIFT).min(range.end);
        }
        end
    }

    /// The chunk that holds byte `at` of a file of `len` bytes.
    #[must_use]
    pub fn chunk(at: u64, len: u64) -> Range<u64> {
        let start = at & !(CHUNK_BYTES - 1);
        start..(start + CHUNK_BYTES).min(len)
    }

    /// The chunk that begins at byte `start` was paged in, begun in `epoch`.
    pub fn handle_paged_in(&mut self, start: u64, epoch: u64) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.first = 0;
            self.rest.fill(0);
        }
        let chunk = start >> CHUNK_SHIFT;
        if let Some(word) = self.word_mut(chunk) {
            *word |= 1 << (chunk % 64);
        }
    }

    fn is_marked(&self, chunk: u64) -> bool {
        let word = match chunk / 64 {
            0 => self.first,
            word => self.rest.get(index(word - 1)).copied().unwrap_or(0),
        };
        word & 1 << (chunk % 64) != 0
    }

    fn word_mut(&mut self, chunk: u64) -> Option<&mut u64> {
        match chunk / 64 {
            0 => Some(&mut self.first),
            word => self.rest.get_mut(index(word - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 200 * CHUNK_BYTES + 5;

    #[test]
    fn bytes_are_resident_up_to_the_first_gap() {
        let mut marks = Residency::new(LEN);
        for chunk in [0, 1, 63, 64, 65, 200] {
            marks.handle_paged_in(chunk * CHUNK_BYTES, 0);
        }
        assert_eq!(marks.until(&(0..LEN), 0), 2 * CHUNK_BYTES);
        assert_eq!(marks.until(&(7..9), 0), 9);
        assert_eq!(marks.until(&(2 * CHUNK_BYTES..LEN), 0), 2 * CHUNK_BYTES);
        assert_eq!(marks.until(&(63 * CHUNK_BYTES..LEN), 0), 66 * CHUNK_BYTES);
        assert!(marks.holds(&(200 * CHUNK_BYTES..LEN), 0));
        assert!(!marks.holds(&(CHUNK_BYTES..3 * CHUNK_BYTES), 0));
    }

    #[test]
    fn an_epoch_forgets_the_one_before() {
        let mut marks = Residency::new(10);
        marks.handle_paged_in(0, 4);
        assert!(marks.holds(&(0..10), 4));
        assert!(!marks.holds(&(0..10), 5));
        marks.handle_paged_in(0, 5);
        assert!(marks.holds(&(0..10), 5));
        assert!(!marks.holds(&(0..10), 4));
    }

    #[test]
    fn a_chunk_ends_with_the_file() {
        assert_eq!(Residency::chunk(5, 10), 0..10);
        assert_eq!(Residency::chunk(CHUNK_BYTES + 1, LEN), CHUNK_BYTES..2 * CHUNK_BYTES);
        assert_eq!(Residency::chunk(LEN - 1, LEN), 200 * CHUNK_BYTES..LEN);
    }
}
