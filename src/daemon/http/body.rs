//! Bodies of requests that go to an origin: kept until they are whole, and until they need not be
//! sent again.
//!
//! Input: the bytes of a body as they come.   Output: shared bytes, to be sent once or twice.
//! Owns: the memory of all such bodies of a worker, bounded by `limits.body_memory_bytes_max`.
//! Thread: one worker.
//! Invariants: what a body may take is counted before it is taken, and given back with the body.
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
    /// A body without any bytes yet.
    #[must_use]
    pub fn begin(&self) -> Body {
        Body { bytes: Vec::new(), share: Share { memory: self.clone(), bytes: 0 } }
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
            let fits = |capacity: &usize| wide(others + capacity) <= memory_max;
            // Doubled, so that it is copied seldom; where memory is short, as much as it needs.
            let doubled = needed.max(2 * self.bytes.capacity()).max(FIRST_BYTES);
            let Some(capacity) = [doubled, needed].into_iter().find(fits) else { return false };
            self.bytes.reserve_exact(capacity - self.bytes.len());
            self.share.set(self.bytes.capacity());
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

    #[test]
    fn memory_is_bounded_and_given_back() {
        let memory = BodyMemory::default();
        let mut first = memory.begin();
        assert!(first.push(&[b'x'; 5000], 10_000));
        let mut second = memory.begin();
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
        let whole = memory.begin().end();
        assert_eq!((whole.bytes().len(), memory.bytes()), (0, 0));
    }
}
