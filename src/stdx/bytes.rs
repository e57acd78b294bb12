//! Bytes that many threads read and nobody changes: a shared run of memory, and a part of it.
//!
//! Owns: a share of the memory, which is freed with its last part; `Spares` keeps some of it to be
//! used again.   Thread: any, pure.
//! Invariants: the part lies within the memory; neither ever changes while anybody has a part.
//! Not here: mapped files (`sys::mapping`), which others can change.

use std::collections::VecDeque;
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

/// Memory to be shared again once nobody else has a part of it: it is warm, and taking it asks
/// neither the allocator nor the kernel.
#[derive(Debug)]
pub struct Spares {
    /// What others may have a part of, oldest first: they are likely to be done with it.
    shared: VecDeque<Arc<Vec<u8>>>,
    /// What nobody has a part of. The last is taken first: of all, it is the likeliest to be in the
    /// processor's cache.
    free: Vec<Vec<u8>>,
    count_max: usize,
    bytes: usize,
}

impl Spares {
    /// Keeps at most `count_max` runs, each with a capacity of exactly `bytes`. Beyond: the oldest
    /// is freed with its last part.
    #[must_use]
    pub const fn new(count_max: usize, bytes: usize) -> Self {
        Self { shared: VecDeque::new(), free: Vec::new(), count_max, bytes }
    }

    /// Empty memory of that capacity: what was let go of last, as far as that is known, or new.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        while let Some(memory) = self.shared.pop_front() {
            match Arc::try_unwrap(memory) {
                Ok(memory) => self.free.push(memory),
                // Kept by somebody slow: the others have their turn first.
                Err(memory) if self.free.is_empty() => {
                    self.shared.push_back(memory);
                    break;
                }
                Err(memory) => {
                    self.shared.push_front(memory);
                    break;
                }
            }
        }
        let Some(mut memory) = self.free.pop() else { return Vec::with_capacity(self.bytes) };
        memory.clear();
        memory
    }

    /// Takes memory back that was not shared.
    pub fn give(&mut self, memory: Vec<u8>) {
        if memory.capacity() == self.bytes && self.count() < self.count_max {
            self.free.push(memory);
        }
    }

    /// Shares `memory`, and keeps it for later if it has the capacity.
    #[must_use]
    pub fn share(&mut self, memory: Vec<u8>) -> Arc<Vec<u8>> {
        let memory = Arc::new(memory);
        if memory.capacity() == self.bytes {
            if self.count() == self.count_max {
                match self.free.pop() {
                    Some(memory) => drop(memory),
                    None => drop(self.shared.pop_front()),
                }
            }
            self.shared.push_back(Arc::clone(&memory));
        }
        memory
    }

    /// Frees all that is kept, once nobody has a part of it.
    pub fn clear(&mut self) {
        self.shared = VecDeque::new();
        self.free = Vec::new();
    }

    fn count(&self) -> usize {
        self.shared.len() + self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_when_nobody_has_a_part_of_it() {
        let mut spares = Spares::new(2, 64);
        let (mut first, mut second) = (spares.take(), spares.take());
        first.extend_from_slice(b"first");
        second.extend_from_slice(b"second");
        let (first, second) = (spares.share(first), spares.share(second));
        let (kept, address) = (Bytes::new(Arc::clone(&first), 1..3), second.as_ptr());
        drop(second);
        let new = spares.take();
        assert_ne!(new.as_ptr_range().start, first.as_ptr(), "somebody has a part");
        assert_eq!(&kept[..], b"ir");
        let again = spares.take();
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (address, 0, 64));
    }

    #[test]
    fn what_was_let_go_of_last_is_taken_first() {
        let mut spares = Spares::new(2, 64);
        let (a, b) = (spares.take(), spares.take());
        let (a_at, b_at) = (a.as_ptr_range().start, b.as_ptr_range().start);
        drop(spares.share(a));
        drop(spares.share(b));
        let again = spares.take();
        assert_eq!(again.as_ptr_range().start, b_at);
        spares.give(again);
        assert_eq!(spares.take().as_ptr_range().start, b_at, "not shared since");
        assert_eq!(spares.take().as_ptr_range().start, a_at);
        for _ in 0..3 {
            spares.give(Vec::with_capacity(64));
        }
        assert_eq!(spares.count(), 2, "no more than was asked for");
    }

    #[test]
    fn no_more_is_kept_than_was_asked_for() {
        let mut spares = Spares::new(1, 64);
        let weak = |memory: &Arc<Vec<u8>>| Arc::downgrade(memory);
        let (a, b) = (spares.take(), spares.take());
        let (a, b) = (weak(&spares.share(a)), weak(&spares.share(b)));
        assert_eq!((a.strong_count(), b.strong_count()), (0, 1));
        let other = weak(&spares.share(Vec::with_capacity(65)));
        assert_eq!((b.strong_count(), other.strong_count()), (1, 0), "another capacity");
        spares.clear();
        assert_eq!(b.strong_count(), 0);
    }

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
