//! Versions: what lets readers notice that they lost a race, without a lock.
//!
//! Input: the writer around each change, readers around each look.   Output: whether it was a look
//! at one state.
//! Owns: nothing, the word is the caller's.   Thread: one writer, any number of readers.
//! Invariants: a version is odd while what it guards changes, and never has a value twice within
//! 2^31 changes.
//! Not here: what is guarded; its words are atomics, read and written relaxed.
//! Source: Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012,
//! figure 6; checked under loom below.

use std::sync::atomic::{AtomicU32, Ordering, fence};

/// A word that can be a version: the standard library's atomic, or loom's in the tests.
pub trait Word {
    /// Reads it.
    fn load(&self, order: Ordering) -> u32;
    /// Writes it.
    fn store(&self, value: u32, order: Ordering);
    /// A fence of the same memory model.
    fn fence(order: Ordering);
}

impl Word for AtomicU32 {
    #[inline]
    fn load(&self, order: Ordering) -> u32 {
        Self::load(self, order)
    }

    #[inline]
    fn store(&self, value: u32, order: Ordering) {
        Self::store(self, value, order);
    }

    #[inline]
    fn fence(order: Ordering) {
        fence(order);
    }
}

/// The writer begins to change what `version` guards. No store after this is seen before it.
#[inline]
pub fn begin_change<W: Word>(version: &W) {
    let before = version.load(Ordering::Relaxed);
    debug_assert!(before.is_multiple_of(2), "one change at a time");
    version.store(before.wrapping_add(1), Ordering::Relaxed);
    W::fence(Ordering::Release);
}

/// The writer is done. No store before this is seen after it.
#[inline]
pub fn end_change<W: Word>(version: &W) {
    let during = version.load(Ordering::Relaxed);
    debug_assert!(!during.is_multiple_of(2), "a change was begun");
    version.store(during.wrapping_add(1), Ordering::Release);
}

/// A reader begins to look. `None` while the writer is at it.
#[inline]
pub fn begin_look<W: Word>(version: &W) -> Option<u32> {
    let seen = version.load(Ordering::Acquire);
    seen.is_multiple_of(2).then_some(seen)
}

/// Whether nothing changed since `begin_look` gave `seen`: all that was read meanwhile belongs
/// together.
#[inline]
pub fn is_same<W: Word>(version: &W, seen: u32) -> bool {
    W::fence(Ordering::Acquire);
    version.load(Ordering::Relaxed) == seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU32 as Loom;

    impl Word for Loom {
        fn load(&self, order: Ordering) -> u32 {
            Self::load(self, order)
        }

        fn store(&self, value: u32, order: Ordering) {
            Self::store(self, value, order);
        }

        fn fence(order: Ordering) {
            loom::sync::atomic::fence(order);
        }
    }

    /// A row that moves between two lists, each with its version, as a hit moves a user from one
    /// url to another: (version, the row in it).
    #[derive(Default)]
    struct Lists {
        versions: [Loom; 2],
        rows: [Loom; 2],
        /// What the row says of itself: its list.
        row: Loom,
    }

    fn look(lists: &Lists, at: usize) -> Option<(u32, u32)> {
        let seen = begin_look(&lists.versions[at])?;
        let found = (lists.rows[at].load(Ordering::Relaxed), lists.row.load(Ordering::Relaxed));
        is_same(&lists.versions[at], seen).then_some(found)
    }

    #[test]
    fn under_loom_a_reader_sees_only_states_that_were() {
        for at in 0..2 {
            loom::model(move || {
                let lists = Arc::new(Lists::default());
                lists.rows[0].store(1, Ordering::Relaxed);
                let reader = {
                    let lists = Arc::clone(&lists);
                    loom::thread::spawn(move || look(&lists, at))
                };
                begin_change(&lists.versions[0]);
                begin_change(&lists.versions[1]);
                lists.rows[0].store(0, Ordering::Relaxed);
                lists.row.store(1, Ordering::Relaxed);
                lists.rows[1].store(1, Ordering::Relaxed);
                end_change(&lists.versions[0]);
                end_change(&lists.versions[1]);
                if let Some((is_in, says)) = reader.join().expect("it does not panic") {
                    // In the list that it names, out of the other: before the change or after it.
                    let is_here = says == u32::from(at == 1);
                    assert_eq!(is_in == 1, is_here, "list {at}: in {is_in}, the row says {says}");
                }
            });
        }
    }

    #[test]
    fn under_loom_two_changes_are_never_mixed() {
        loom::model(|| {
            let (version, pair) = (Arc::new(Loom::new(0)), Arc::new([Loom::new(0), Loom::new(0)]));
            let reader = {
                let (version, pair) = (Arc::clone(&version), Arc::clone(&pair));
                loom::thread::spawn(move || {
                    let seen = begin_look(&*version)?;
                    let found = [0, 1].map(|at: usize| pair[at].load(Ordering::Relaxed));
                    is_same(&*version, seen).then_some(found)
                })
            };
            for value in 1..=2 {
                begin_change(&*version);
                pair[0].store(value, Ordering::Relaxed);
                pair[1].store(value, Ordering::Relaxed);
                end_change(&*version);
            }
            if let Some([first, second]) = reader.join().expect("it does not panic") {
                assert_eq!(first, second);
            }
        });
    }
}
