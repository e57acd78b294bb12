//! Hits on their way from a worker to the service.
//!
//! Owns: bytes, bounded by `ONLINE_BATCH_BYTES_MAX`, and as many hits as `ONLINE_BATCH_HITS_MAX`.
//! Thread: filled by `http-N`, read by `online`, and used again.
//! Not here: the queue (`daemon::topology`), which requests are hits (`daemon::http::feed`).

use crate::limits::{ONLINE_BATCH_BYTES_MAX, ONLINE_BATCH_HITS_MAX};

/// See the module.
#[derive(Debug, Default)]
pub struct HitBatch {
    bytes: Vec<u8>,
    /// Where each hit's user and url end; the url begins where the user ends.
    ends: Vec<(usize, usize)>,
}

impl HitBatch {
    /// Adds a hit. False where there is no room.
    #[must_use]
    pub fn push(&mut self, user: &[u8], url: &[u8]) -> bool {
        let len = self.bytes.len() + user.len() + url.len();
        if self.ends.len() >= ONLINE_BATCH_HITS_MAX || len > ONLINE_BATCH_BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(user);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(url);
        self.ends.push((middle, self.bytes.len()));
        true
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// User and url of each.
    pub fn hits(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        let places = starts.zip(&self.ends);
        places
            .map(|(start, (middle, end))| (&self.bytes[start..*middle], &self.bytes[*middle..*end]))
    }

    /// Empties it for the next use.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_and_is_bounded() {
        let mut batch = HitBatch::default();
        for _ in 0..2 {
            assert!(batch.is_empty());
            assert!(batch.push(b"ann", b"a") && batch.push(b"", b"bb") && batch.push(b"cat", b""));
            let found: Vec<_> = batch.hits().collect();
            let expected: [(&[u8], &[u8]); 3] = [(b"ann", b"a"), (b"", b"bb"), (b"cat", b"")];
            assert_eq!((found, batch.len()), (expected.to_vec(), 3));
            batch.clear();
        }
        let count = (0..ONLINE_BATCH_HITS_MAX + 5).filter(|_| batch.push(b"u", b"v")).count();
        assert_eq!(count, ONLINE_BATCH_HITS_MAX);
        batch.clear();
        let long = vec![b'x'; ONLINE_BATCH_BYTES_MAX / 2];
        assert!(batch.push(&long, &long) && !batch.push(b"u", b"v"));
    }
}
