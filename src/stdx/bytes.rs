//! Bytes that many threads read and nobody changes: a shared run of memory, and a part of it.
//!
//! Owns: a share of the memory, which is freed with its last part.   Thread: any, pure.
//! Invariants: the part lies within the memory; neither ever changes.
//! Not here: mapped files (`sys::mapping`), which others can change.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A part of a shared run of memory. Cloning it copies no bytes.
#[derive(Clone)]
pub struct Bytes {
    memory: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl Bytes {
    /// That part of `memory`.
    ///
    /// # Panics
    /// If `range` is not within `memory`.
    #[must_use]
    pub fn new(memory: Arc<Vec<u8>>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= memory.len(), "a part of the memory");
        Self { memory, range }
    }

    /// A part of this part.
    ///
    /// # Panics
    /// If `range` is not within it.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "a part of the part");
        let start = self.range.start;
        Self { memory: Arc::clone(&self.memory), range: start + range.start..start + range.end }
    }

    /// What this part costs while it is kept: all of the memory that it keeps alive, at most.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory.capacity()
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.range.clone()]
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(memory: Vec<u8>) -> Self {
        let range = 0..memory.len();
        Self { memory: Arc::new(memory), range }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Bytes({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_their_memory() {
        let all = Bytes::from(b"hello world".to_vec());
        let world = all.part(6..11);
        drop(all);
        assert_eq!(&world[..], b"world");
        assert_eq!(&world.part(1..3)[..], b"or");
        assert!(world.memory_bytes() >= 11);
    }
}
