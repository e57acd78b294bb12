//! What the store puts in place itself, so that the tree thread can tell it from others' doings.
//!
//! Input: hashes of names, before the kernel can say that they appeared.   Output: whether a name
//! that appeared is the store's.
//! Owns: the hashes that the kernel has not named yet, bounded by `PLACED_MAX`.
//! Thread: `Placing` store, `Placed` tree.
//! Invariants: what is not known as the store's counts as somebody else's, which costs a look.
//! Not here: moves, which the kernel shows to come from the temporary directory (`daemon::tree`).
//!
//! A hash whose name never appears (its directory was not watched yet) is forgotten after two
//! `age`s. Until then a link that somebody makes under that very name goes unnoticed.

use std::collections::HashSet;

use crossbeam_channel::Receiver;

use crate::cache::inventory::NameHash;
use crate::limits::PLACED_MAX;

use super::topology::PlacedLine;

/// The store's end.
pub struct Placing {
    line: PlacedLine,
    hash: NameHash,
}

impl Placing {
    /// By way of `line`; `hash` is that of the other end.
    #[must_use]
    pub const fn new(line: PlacedLine, hash: NameHash) -> Self {
        Self { line, hash }
    }

    /// `name` is going to be placed, or was not after all.
    pub fn tell(&self, name: &[u8], is_coming: bool) {
        self.line.tell((self.hash.of(name), is_coming));
    }
}

/// The tree thread's end.
pub struct Placed {
    inbox: Receiver<(u64, bool)>,
    hash: NameHash,
    fresh: HashSet<u64>,
    old: HashSet<u64>,
}

impl Placed {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(inbox: Receiver<(u64, bool)>, hash: NameHash) -> Self {
        Self { inbox, hash, fresh: HashSet::new(), old: HashSet::new() }
    }

    /// Whether the file `name`, which appeared, is the store's. Each is so once.
    pub fn take(&mut self, name: &[u8]) -> bool {
        let hash = self.hash.of(name);
        if self.forget(hash) {
            return true;
        }
        self.hear();
        self.forget(hash)
    }

    /// Some time has passed in which all that appeared was asked about.
    pub fn age(&mut self) {
        self.hear();
        self.old = std::mem::take(&mut self.fresh);
    }

    fn hear(&mut self) {
        while let Ok((hash, is_coming)) = self.inbox.try_recv() {
            if !is_coming {
                self.forget(hash);
            } else if self.fresh.len() < PLACED_MAX {
                self.fresh.insert(hash);
            }
        }
    }

    fn forget(&mut self, hash: u64) -> bool {
        self.fresh.remove(&hash) || self.old.remove(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::super::topology::placed_queue;
    use super::*;

    #[test]
    fn each_placing_is_known_once_and_not_for_ever() {
        let (placing, mut placed) = placed_queue(1);
        placing.tell(b"/a", true);
        placing.tell(b"/b", true);
        assert_eq!(
            [placed.take(b"/b"), placed.take(b"/b"), placed.take(b"/c")],
            [true, false, false]
        );
        placed.age();
        assert!(placed.take(b"/a"), "the kernel may be late");
        placing.tell(b"/a", true);
        placing.tell(b"/a", false);
        assert!(!placed.take(b"/a"), "it was not placed");
        placing.tell(b"/a", true);
        placed.age();
        placed.age();
        assert!(!placed.take(b"/a"));
    }

    #[test]
    fn more_than_there_is_room_for_counts_as_somebody_elses() {
        let (placing, mut placed) = placed_queue(1);
        let name = |number: usize| format!("/{number}").into_bytes();
        for number in 0..PLACED_MAX + 100 {
            placing.tell(&name(number), true);
        }
        assert!(!placed.take(&name(PLACED_MAX)));
        assert!(placed.take(&name(0)) && placed.take(&name(PLACED_MAX - 1)));
        for number in 0..PLACED_MAX {
            placing.tell(&name(number), true);
            placed.take(b"/other");
        }
        assert_eq!(placed.fresh.len(), PLACED_MAX);
    }
}
