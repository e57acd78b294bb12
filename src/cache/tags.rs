//! Which names a tag leads to, so that a purge by tag need not read the whole tree.
//!
//! Input: names with their tags as they come and go.   Output: the names of a tag.
//! Owns: an entry per name and tag, bounded by `TAGGED_NAMES_MAX`; untagged names cost nothing.
//! Thread: any, pure.
//! Invariants: while `is_complete`, every name that came with a tag and did not go since is found
//! by it. Found names may be gone or changed: who acts on them looks at their heads.
//! Not here: reading tags from heads (`cache::record`), walking the tree when the index is not
//! complete (`cache::store`).

use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::{HashMap, HashSet};

use crate::limits::{TAG_BYTES_MAX, TAGGED_NAMES_MAX, TAGS_MAX};

type Names = HashSet<Arc<[u8]>, SeedableRandomState>;

/// See the module.
#[derive(Debug)]
pub struct Tags {
    tags: HashMap<Box<[u8]>, Names, SeedableRandomState>,
    hasher: SeedableRandomState,
    entries: usize,
    entries_max: usize,
    is_complete: bool,
}

impl Tags {
    /// An empty index. `hash_seed` is drawn at random, since strangers choose names and tags.
    #[must_use]
    pub fn new(hash_seed: u64) -> Self {
        Self::with_room(hash_seed, TAGGED_NAMES_MAX)
    }

    fn with_room(hash_seed: u64, entries_max: usize) -> Self {
        let hasher = SeedableRandomState::with_seed(hash_seed, SharedSeed::global_fixed());
        let tags = HashMap::with_hasher(hasher.clone());
        Self { tags, hasher, entries: 0, entries_max, is_complete: true }
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// False once an entry had no room: what it lacks is not known, so it stays false.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// `name` can be found by `tags` from now on.
    pub fn insert(&mut self, name: &[u8], tags: &[Box<[u8]>]) {
        if tags.is_empty() {
            return;
        }
        let name: Arc<[u8]> = name.into();
        for tag in tags.iter().take(TAGS_MAX) {
            let Some(tag) = normal(tag) else { continue };
            if self.entries == self.entries_max {
                self.is_complete = false;
                return;
            }
            let empty = || HashSet::with_hasher(self.hasher.clone());
            let names = self.tags.entry(tag).or_insert_with(empty);
            if names.insert(Arc::clone(&name)) {
                self.entries += 1;
            }
        }
    }

    /// `name`, which had these tags, is not found by them any more.
    pub fn remove(&mut self, name: &[u8], tags: &[Box<[u8]>]) {
        for tag in tags.iter().take(TAGS_MAX) {
            let Some(tag) = normal(tag) else { continue };
            let Some(names) = self.tags.get_mut(&tag) else { continue };
            if names.remove(name) {
                self.entries -= 1;
            }
            if names.is_empty() {
                self.tags.remove(&tag);
            }
        }
    }

    /// Takes the names of `tag` out.
    pub fn take(&mut self, tag: &[u8]) -> Vec<Arc<[u8]>> {
        let names = normal(tag).and_then(|tag| self.tags.remove(&tag)).unwrap_or_default();
        self.entries -= names.len();
        names.into_iter().collect()
    }
}

/// Whether `tags`, as a head has them, hold `tag`.
#[must_use]
pub fn holds(tags: &[Box<[u8]>], tag: &[u8]) -> bool {
    tags.iter().take(TAGS_MAX).any(|one| !one.is_empty() && one.eq_ignore_ascii_case(tag))
}

/// A tag as the index has it. None where it is no tag.
fn normal(tag: &[u8]) -> Option<Box<[u8]>> {
    let is_fit = (1..=TAG_BYTES_MAX).contains(&tag.len());
    is_fit.then(|| tag.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> Vec<Box<[u8]>> {
        text.split(' ').map(|tag| tag.as_bytes().into()).collect()
    }

    fn names(index: &mut Tags, tag: &str) -> Vec<String> {
        let found = index.take(tag.as_bytes());
        let mut names: Vec<String> =
            found.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn names_are_found_by_each_of_their_tags() {
        let mut index = Tags::new(1);
        index.insert(b"/a", &tags("red Blue"));
        index.insert(b"/b", &tags("blue blue"));
        index.insert(b"/c", &[]);
        assert_eq!(index.len(), 3);
        assert_eq!(names(&mut index, "BLUE"), ["/a", "/b"]);
        assert_eq!(index.len(), 1);
        index.remove(b"/a", &tags("red blue"));
        assert!(index.is_empty() && index.tags.is_empty());
        assert_eq!(names(&mut index, "red"), [""; 0]);
    }

    #[test]
    fn what_is_no_tag_is_left_out() {
        let mut index = Tags::new(1);
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        index.insert(b"/a", &tags(&format!("{long} {}", &long[1..])));
        index.insert(b"/a", &[(*b"").into()]);
        assert_eq!(index.len(), 1);
        let many: Vec<Box<[u8]>> =
            (0..=TAGS_MAX).map(|number| number.to_string().into_bytes().into()).collect();
        index.insert(b"/b", &many);
        assert_eq!(index.len(), 1 + TAGS_MAX);
        assert!(holds(&many, b"0") && !holds(&many, TAGS_MAX.to_string().as_bytes()));
        assert!(holds(&tags("Red"), b"rED") && !holds(&tags(""), b""));
    }

    #[test]
    fn a_full_index_says_that_it_is_not_complete() {
        let mut index = Tags::with_room(1, 2);
        index.insert(b"/a", &tags("red"));
        index.insert(b"/b", &tags("red"));
        assert!(index.is_complete());
        index.insert(b"/c", &tags("red"));
        assert!(!index.is_complete());
        assert_eq!(names(&mut index, "red"), ["/a", "/b"]);
        assert!(!index.is_complete(), "nobody knows what it lacks");
    }
}
