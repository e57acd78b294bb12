//! What a purge takes away, and what came of it.
//!
//! Thread: any, pure.
//! Not here: what a person asked for (`admin::control`), the order in which workers and store are
//! told (`daemon::purges`).

use super::pattern::Pattern;

/// Which names a purge means. A name is the file's below the root with a leading slash; a directory
/// is a host's as `cache::key::begin` takes it: without a slash, empty for the root itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// One URL with all its variants.
    Key(Box<[u8]>),
    /// Every name that begins so.
    Prefix(Box<[u8]>),
    /// Every name of one host that matches.
    Glob {
        /// The host's directory.
        directory: Box<[u8]>,
        /// Over what follows it, with its leading `/`.
        pattern: Pattern,
    },
    /// Everything of one host.
    Directory(Box<[u8]>),
    /// Everything that its origin gave this tag (Surrogate-Key, Cache-Tag).
    Tag(Box<[u8]>),
    /// Everything that was fetched.
    All,
}

/// One purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// What it means.
    pub what: What,
    /// Whether bodies are kept and marked stale, to be asked about at the next request.
    pub soft: bool,
}

/// What a purge came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Answers removed, or marked stale.
    pub removed: u64,
    /// Files that it means and that nobody fetched: they were put there, and stay.
    pub kept: u64,
    /// Files that could not be removed.
    pub failed: u64,
}
