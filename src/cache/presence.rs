//! Names that are surely not in the tree, so that a miss opens nothing.
//!
//! Input: every name that is found in the tree, or comes into it.   Output: whether one may be.
//! Owns: `PRESENCE_BITS` bits.   Thread: written by `store` and `tree`, read by `http-N`; bits are
//! only ever set, but for `clear`, so that a reader sees a name late at worst.
//! Invariants: while it is complete, a name that it does not hold was not in the tree a moment ago.
//! Not here: what lies under a name (`cache::store`), whether changes are seen (`daemon::tree`).
//! Source: B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::limits::{PRESENCE_BITS, PRESENCE_NAMES_MAX};
use crate::stdx::num::index;

use super::inventory::NameHash;

/// Bits a name sets: with 16 bits a name, one of 400 others is taken for present.
const PROBES: u64 = 4;

/// See the module.
pub struct Presence {
    hash: NameHash,
    bits: Box<[AtomicU64]>,
    names: AtomicU64,
    is_complete: AtomicBool,
    /// Something in the tree leads elsewhere: names below it are not known here.
    has_links: AtomicBool,
}

impl Presence {
    /// Holds nothing, and says of no name that it is absent. `seed` as for the inventory.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let words = PRESENCE_BITS / 64;
        Self {
            hash: NameHash::new(seed),
            bits: (0..words).map(|_| AtomicU64::new(0)).collect(),
            names: AtomicU64::new(0),
            is_complete: AtomicBool::new(false),
            has_links: AtomicBool::new(false),
        }
    }

    /// `name` is in the tree.
    pub fn insert(&self, name: &[u8]) {
        let mut is_new = false;
        for bit in self.probes(name) {
            let (word, mask) = (&self.bits[index(bit / 64)], 1 << (bit % 64));
            if word.load(Ordering::Relaxed) & mask == 0 {
                word.fetch_or(mask, Ordering::Release);
                is_new = true;
            }
        }
        self.names.fetch_add(is_new.into(), Ordering::Relaxed);
    }

    /// A link is in the tree.
    pub fn handle_link(&self) {
        self.has_links.store(true, Ordering::Release);
    }

    /// Whether all of the tree was looked through, and nothing unknown came since.
    pub fn set_complete(&self, is_complete: bool) {
        self.is_complete.store(is_complete, Ordering::Release);
    }

    /// Whether `name` is surely not in the tree.
    #[must_use]
    pub fn is_absent(&self, name: &[u8]) -> bool {
        self.is_complete.load(Ordering::Acquire)
            && !self.has_links.load(Ordering::Acquire)
            && self.probes(name).any(|bit| {
                self.bits[index(bit / 64)].load(Ordering::Acquire) & 1 << (bit % 64) == 0
            })
    }

    /// Whether so many names came that it says little, and is to be filled anew.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.names.load(Ordering::Relaxed) > PRESENCE_NAMES_MAX
    }

    /// Forgets all names; it is not complete then.
    pub fn clear(&self) {
        self.set_complete(false);
        self.names.store(0, Ordering::Relaxed);
        self.bits.iter().for_each(|word| word.store(0, Ordering::Release));
    }

    fn probes(&self, name: &[u8]) -> impl Iterator<Item = u64> + use<> {
        let hash = self.hash.of(name);
        // Kirsch and Mitzenmacher, "Less hashing, same performance", 2006.
        let (first, step) = (hash, (hash >> 32) | 1);
        (0..PROBES).map(move |at| first.wrapping_add(at.wrapping_mul(step)) % PRESENCE_BITS as u64)
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Presence")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_never_called_absent() {
        let presence = Presence::new(7);
        assert!(!presence.is_absent(b"/h/x"), "it knows nothing yet");
        presence.set_complete(true);
        let names: Vec<String> = (0..20_000).map(|number| format!("/h/{number}")).collect();
        for name in &names {
            presence.insert(name.as_bytes());
        }
        assert!(names.iter().all(|name| !presence.is_absent(name.as_bytes())));
        let wrong = (0..20_000)
            .filter(|number| !presence.is_absent(format!("/other/{number}").as_bytes()))
            .count();
        assert!(wrong < 20, "{wrong} of 20,000 absent names are taken for present");
    }

    #[test]
    fn links_and_gaps_make_it_say_nothing() {
        let presence = Presence::new(7);
        presence.set_complete(true);
        assert!(presence.is_absent(b"/a"));
        presence.clear();
        assert!(!presence.is_absent(b"/a"));
        presence.set_complete(true);
        presence.handle_link();
        assert!(!presence.is_absent(b"/a"));
    }
}
