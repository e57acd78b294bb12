//! What a purge is about: which names, and where in the tree they can lie.
//!
//! Input: names.   Output: whether they are meant, and which directories have to be looked through.
//! Thread: any, pure.
//! Invariants: whatever `matches` lies below `start`, in directories that `may_hold` does not rule
//! out.
//! Not here: removing anything (`cache::store`), how a purge reaches the boxes (`daemon`).

use std::sync::Arc;

use crate::limits::KEY_BYTES_MAX;

use super::name::{self, Named};
use super::pattern::Pattern;

/// Which stored files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything that is stored for one URL, by its plain name: also what lies beside a directory,
    /// every variant, and an error that was stored.
    Key(Box<[u8]>),
    /// The same, as far as it would be served: names that nothing is looked for under are left. For
    /// what clients change all day, since it looks at these few names only, however much lies
    /// beside them.
    Url(Box<[u8]>),
    /// Names that begin so: `/www.example.com/a/`.
    Prefix(Box<[u8]>),
    /// URLs of a host whose path matches, or whose path with `?` and query does.
    Glob {
        /// The host's directory.
        directory: Box<[u8]>,
        /// What the path has to be like.
        pattern: Pattern,
    },
    /// All of a host, by its directory. The empty one is the root.
    Directory(Box<[u8]>),
    /// What was tagged so by its origin.
    Tag(Box<[u8]>),
    /// Everything.
    All,
}

/// What, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// Which files.
    pub what: What,
    /// Whether they only have to be asked for again, instead of going.
    pub soft: bool,
}

/// What came of a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Files that went (or that have to be asked for again).
    pub removed: u64,
    /// Files that were meant and stay, since they were put there by hand.
    pub kept: u64,
    /// Files and directories that could not be looked at or removed.
    pub failed: u64,
}

/// Longest name of marks: `%_file`, `%_404`, `%_v` and 16 digits.
const MARKS_BYTES_MAX: usize = 30;

/// Longest part of a name, in bytes: NAME_MAX of Linux.
const PART_BYTES_MAX: usize = 255;

const MORE: &[u8] = b"%_more";

impl Purge {
    /// Whether `name` is meant. A tag is not seen in the name: it matches none.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        match &self.what {
            What::Key(key) | What::Url(key) => {
                *name == **key || (begins_as(name, key) && is_same_url(name, key))
            }
            What::Prefix(prefix) => name.starts_with(prefix),
            What::Glob { directory, pattern } => {
                path_in(name, directory).is_some_and(|path| matches_url(pattern, path))
            }
            What::Directory(directory) => path_in(name, directory).is_some(),
            What::Tag(_) => false,
            What::All => true,
        }
    }

    /// The names that are looked at, where these are all; else the tree is looked through.
    #[must_use]
    pub fn names(&self) -> Option<Vec<Arc<[u8]>>> {
        match &self.what {
            What::Url(key) => Some(name::served_names(key).into_iter().map(Into::into).collect()),
            _ => None,
        }
    }

    /// The directory that holds everything meant; empty for the root.
    #[must_use]
    pub fn start(&self) -> Vec<u8> {
        match &self.what {
            What::Key(name) | What::Url(name) | What::Prefix(name) => parent(name).to_vec(),
            What::Glob { directory, .. } | What::Directory(directory) if !directory.is_empty() => {
                [b"/", &directory[..]].concat()
            }
            _ => Vec::new(),
        }
    }

    /// Whether something meant may lie in `directory`, which lies below `start`.
    #[must_use]
    pub fn may_hold(&self, directory: &[u8]) -> bool {
        match &self.what {
            // With its marks a part can be too long for one name: then they are further below.
            What::Key(key) | What::Url(key) => {
                directory.ends_with(MORE) && begins_as(directory, key)
            }
            What::Prefix(prefix) => {
                let len = prefix.len().min(directory.len());
                prefix[..len] == directory[..len]
            }
            _ => true,
        }
    }
}

/// The path in the host's `directory` (with its leading `/`) that `name` stands for.
fn path_in<'a>(name: &'a [u8], directory: &[u8]) -> Option<&'a [u8]> {
    if directory.is_empty() {
        return Some(name);
    }
    let path = name.strip_prefix(b"/")?.strip_prefix(directory)?;
    path.starts_with(b"/").then_some(path)
}

fn parent(name: &[u8]) -> &[u8] {
    let slash = name.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    &name[..slash]
}

/// Whether `name` begins like `key`, as far as marks leave it alone: cheap, and nearly always no.
fn begins_as(name: &[u8], key: &[u8]) -> bool {
    let part = key.len() - parent(key).len();
    let kept = part.min(PART_BYTES_MAX - MARKS_BYTES_MAX);
    name.starts_with(&key[..key.len() - part + kept])
}

fn is_same_url(name: &[u8], key: &[u8]) -> bool {
    if name.len() > KEY_BYTES_MAX {
        return false;
    }
    match (name::parse(name), name::parse(key)) {
        (Some(a), Some(b)) => a.path == b.path && a.query == b.query,
        _ => false,
    }
}

fn matches_url(pattern: &Pattern, path: &[u8]) -> bool {
    let Some(Named { path: decoded, query, .. }) = name::parse(path) else {
        return pattern.matches(path);
    };
    pattern.matches(&decoded)
        || query.is_some_and(|query| pattern.matches(&[&decoded[..], b"?", &query].concat()))
}

#[cfg(test)]
mod tests {
    use super::super::key::Key;
    use super::super::name::{Marks, emit};
    use super::*;

    fn purge(what: What) -> Purge {
        Purge { what, soft: false }
    }

    fn glob(directory: &str, pattern: &str) -> Purge {
        let directory = directory.as_bytes().into();
        purge(What::Glob { directory, pattern: Pattern::new(pattern) })
    }

    #[test]
    fn table_of_matches() {
        let key = || purge(What::Key((*b"/h/a.gif").into()));
        let prefix = || purge(What::Prefix((*b"/h/img/a").into()));
        let directory = || purge(What::Directory((*b"h").into()));
        let table = [
            (key(), "/h/a.gif", true),
            (key(), "/h/a.gif%_file", true),
            (key(), "/h/a.gif%_v0123456789abcdef", true),
            (key(), "/h/a.gif%_404", true),
            (key(), "/h/a.gif%_file%_404%_v0123456789abcdef", true),
            (key(), "/h/a.gif?v=2", false),
            (key(), "/h/a.gif%_v012345678", false),
            (key(), "/h/a.gifx", false),
            (key(), "/h/a.gif/b", false),
            (key(), "/h/b.gif", false),
            (prefix(), "/h/img/a", true),
            (prefix(), "/h/img/a/b", true),
            (prefix(), "/h/img/b", false),
            (directory(), "/h/a/b", true),
            (directory(), "/h", false),
            (directory(), "/hh/a", false),
            (purge(What::Directory((*b"").into())), "/a", true),
            (purge(What::Tag((*b"a").into())), "/a", false),
            (purge(What::All), "/a", true),
            (glob("h", "*.gif"), "/h/x/a.gif", true),
            (glob("h", "*.gif"), "/h/x/a.gif?v=2", true),
            (glob("h", "*.gif"), "/h/x/a.gif%_v0123456789abcdef", true),
            (glob("h", "*.gif"), "/i/x/a.gif", false),
            (glob("h", "/x/*?v=2"), "/h/x/a.gif?v=2", true),
            (glob("h", "/x/a?b"), "/h/x/a%3Fb", true),
            (glob("", "/x/*"), "/x/a", true),
        ];
        for (purge, name, expected) in table {
            assert_eq!(purge.matches(name.as_bytes()), expected, "{purge:?} {name}");
        }
    }

    #[test]
    fn every_mark_of_a_name_of_any_length_is_found() {
        for len in [1, 220, 224, 226, 240, 249, 250, 255, 256, 300, 600] {
            let path = format!("/d/{}", "x".repeat(len));
            let name = |marks| {
                let mut key = Key::new();
                emit("h", path.as_bytes(), None, marks, &mut key).unwrap();
                key.to_vec()
            };
            let purge = purge(What::Key(name(Marks::default()).into()));
            for beside_directory in [false, true] {
                for status in [None, Some(404)] {
                    for variant in [None, Some(7)] {
                        let name = name(Marks { beside_directory, status, variant });
                        assert!(purge.matches(&name));
                        let start = purge.start();
                        assert!(name.starts_with(&start));
                        // Every directory between the start and the file is looked into.
                        for (at, _) in name.iter().enumerate().filter(|(_, b)| **b == b'/') {
                            let directory = &name[..at];
                            assert!(at <= start.len() || purge.may_hold(directory), "{len}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_served_of_a_url_is_meant_by_its_purges() {
        for len in [1, 220, 230, 231, 236, 249, 250, 255, 256, 600] {
            let path = format!("/d/{}", "x".repeat(len));
            let mut key = Key::new();
            emit("h", path.as_bytes(), Some(b"q"), Marks::default(), &mut key).unwrap();
            let purge = |what: fn(Box<[u8]>) -> What| purge(what(key[..].into()));
            let names = purge(What::Url).names().expect("few");
            let most = 2 + 2 * crate::limits::VARIANTS_MAX;
            assert!(names.contains(&key[..].into()) && names.len() <= most, "{len}");
            assert_eq!(names.len() == most, !(230..=250).contains(&len), "{len}: where marks fit");
            for name in names {
                assert!(purge(What::Url).matches(&name) && purge(What::Key).matches(&name));
            }
        }
        assert_eq!(purge(What::All).names(), None);
    }

    #[test]
    fn only_the_directories_that_matter_are_walked() {
        let prefix = purge(What::Prefix((*b"/h/img/a").into()));
        assert_eq!(prefix.start(), b"/h/img");
        assert!(prefix.may_hold(b"/h/img/ab") && !prefix.may_hold(b"/h/img/b"));
        let key = purge(What::Key((*b"/h/a").into()));
        assert_eq!(key.start(), b"/h");
        assert!(!key.may_hold(b"/h/a") && !key.may_hold(b"/h/b"));
        assert_eq!(purge(What::Directory((*b"h").into())).start(), b"/h");
        assert_eq!(purge(What::Directory((*b"").into())).start(), b"");
        assert_eq!(purge(What::All).start(), b"");
        assert_eq!(purge(What::Key((*b"/a").into())).start(), b"");
    }
}
