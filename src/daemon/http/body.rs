//! Bodies of requests that go to an origin: kept until they are whole, and until they need not be
//! sent again.
//!
//! Input: the bytes of a body as they come.   Output: shared bytes, to be sent once or twice.
//! Owns: the memory of all such bodies of a worker, bounded by `limits.body_memory_bytes_max`.
//! Thread: one worker.
//! Invariants: what a body may take is counted before it is taken, where its length is announced
//! before its first byte, and given back with the body.
//! Not here: where a body ends, and how long one may be (`http::Conn`).

use std::cell::Cell;
use std::rc::Rc;

use crate::stdx::bytes::Bytes;
use crate::stdx::num::wide;

/// What all bodies of a worker take.
#[derive(Clone, Debug, Default)]
pub struct BodyMemory(Rc<Cell<usize>>);

/// What one of them takes.
#[derive(Debug)]
struct Share {
    memory: BodyMemory,
    bytes: usize,
}

impl Share {
    fn set(&mut self, bytes: usize) {
        let total = &self.memory.0;
        total.set(total.get() - self.bytes + bytes);
        self.bytes = bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A body that is being received.
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    /// How many bytes are counted beforehand.
    announced: usize,
    share: Share,
}

/// A whole body.
#[derive(Debug)]
pub struct WholeBody {
    bytes: Bytes,
    /// Gives the memory back with the body.
    _share: Share,
}

/// A body of a few fields of a form fits in without growing.
const FIRST_BYTES: usize = 1024;

impl BodyMemory {
    /// A body without any bytes yet, of which `announced` will come: these have their place, so
    /// that it is not refused in the middle. `None` where all bodies together would take more
    /// than `memory_max` bytes.
    #[must_use]
    pub fn begin(&self, announced: u64, memory_max: u64) -> Option<Body> {
        if wide(self.bytes()).saturating_add(announced) > memory_max {
            return None;
        }
        let announced = usize::try_from(announced).ok()?;
        let mut share = Share { memory: self.clone(), bytes: 0 };
        share.set(announced);
        Some(Body { bytes: Vec::new(), announced, share })
    }

    /// What they take together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.get()
    }
}

impl Body {
    /// Adds what came. Returns false, and adds nothing, where all bodies together would take more
    /// than `memory_max` bytes.
    #[must_use]
    pub fn push(&mut self, data: &[u8], memory_max: u64) -> bool {
        let needed = self.bytes.len() + data.len();
        if needed > self.bytes.capacity() {
            let others = self.share.memory.bytes() - self.share.bytes;
            let fits = |capacity: &usize| {
                *capacity <= self.announced || wide(others + capacity) <= memory_max
            };
            // Doubled, so that it is copied seldom; where memory is short, as much as it needs.
            // What was announced is there, and more of it does not come.
            let mut doubled = needed.max(2 * self.bytes.capacity()).max(FIRST_BYTES);
            if needed <= self.announced {
                doubled = doubled.min(self.announced);
            }
            let Some(capacity) = [doubled, needed].into_iter().find(fits) else { return false };
            self.bytes.reserve_exact(capacity - self.bytes.len());
            self.share.set(self.bytes.capacity().max(self.announced));
        }
        self.bytes.extend_from_slice(data);
        true
    }

    /// Its bytes so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// It is whole.
    #[must_use]
    pub fn end(self) -> WholeBody {
        WholeBody { bytes: Bytes::from(self.bytes), _share: self.share }
    }
}

impl WholeBody {
    /// Its bytes, to be sent.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(memory: &BodyMemory, announced: u64) -> Body {
        memory.begin(announced, 10_000).unwrap()
    }

    #[test]
    fn what_is_announced_has_its_place() {
        let memory = BodyMemory::default();
        let mut first = begin(&memory, 6_000);
        assert_eq!(memory.bytes(), 6_000);
        assert!(memory.begin(4_001, 10_000).is_none() && memory.begin(u64::MAX, 10_000).is_none());
        let mut second = begin(&memory, 0);
        assert!(second.push(&[b'y'; 4_000], 10_000));
        assert!(!second.push(b"y", 10_000));
        for count in 1..=6 {
            assert!(first.push(&[b'x'; 1_000], 10_000), "its place is taken after {count} parts");
            assert_eq!(memory.bytes(), 10_000);
        }
        let whole = first.end();
        assert_eq!((whole.bytes().len(), memory.bytes()), (6_000, 10_000));
        drop((whole, second));
        // Given back as well where it does not come; a lower limit does not matter to it.
        let mut third = begin(&memory, 6_000);
        assert!(third.push(b"z", 100));
        drop(third);
        assert_eq!(memory.bytes(), 0);
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let memory = BodyMemory::default();
        let mut first = begin(&memory, 0);
        assert!(first.push(&[b'x'; 5000], 10_000));
        let mut second = begin(&memory, 0);
        assert!(!second.push(&[b'y'; 5001], 10_000));
        assert!(second.push(&[b'y'; 4000], 10_000));
        // Twice its size does not fit, what it needs does.
        assert!(second.push(&[b'y'; 1000], 10_000));
        assert!(!second.push(b"y", 10_000));
        assert_eq!((first.len(), second.len()), (5000, 5000));
        let whole = first.end();
        assert_eq!(memory.bytes(), 10_000);
        assert_eq!(&whole.bytes()[..], [b'x'; 5000]);
        drop((whole, second));
        assert_eq!(memory.bytes(), 0);
    }

    #[test]
    fn a_body_without_bytes_takes_nothing() {
        let memory = BodyMemory::default();
        let whole = begin(&memory, 0).end();
        assert_eq!((whole.bytes().len(), memory.bytes()), (0, 0));
    }
}
