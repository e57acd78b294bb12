//! A walk through the tree that can be left and taken up again at any entry.
//!
//! Input: the disk, one call per entry.   Output: what was met.
//! Owns: an open directory per level, at most `KEY_PARTS_MAX`.   Thread: the store's.
//! Invariants: the store's own directory is never entered, nor is a symbolic link; a directory is
//! left once for each time it was entered.
//! Not here: what is done with a file (`upkeep`, `removal`).

use super::{Disk, DiskError, TEMPORARY};
use crate::cache::disk::Kind;
use crate::limits::{KEY_BYTES_MAX, KEY_PARTS_MAX};

/// What a walk met.
#[derive(Debug, PartialEq, Eq)]
pub enum Visit {
    /// A regular file.
    File(Vec<u8>),
    /// A directory; `Walk::enter` goes into it.
    Directory(Vec<u8>),
    /// The end of a directory. `is_thinned`: something in it was removed.
    Left { name: Vec<u8>, is_thinned: bool },
    /// Nothing to care about.
    Other,
}

struct Level<T> {
    directory: T,
    name: Vec<u8>,
    is_thinned: bool,
}

/// See the module.
pub struct Walk<D: Disk> {
    levels: Vec<Level<D::Directory>>,
    /// Directories that could not be read, to their end or at all.
    pub failed: u64,
    /// As above, for want of the right to.
    pub denied: u64,
}

impl<D: Disk> Walk<D> {
    /// Begins in the directory `name`; empty for the root. A missing one is an empty one.
    pub fn new(disk: &mut D, name: &[u8]) -> Self {
        let mut walk = Self { levels: Vec::new(), failed: 0, denied: 0 };
        walk.open(disk, name);
        walk
    }

    /// The next entry; `None` at the end.
    pub fn next(&mut self, disk: &mut D) -> Option<Visit> {
        let level = self.levels.last_mut()?;
        match disk.next_entry(&mut level.directory) {
            Ok(Some(entry)) => {
                let name = [&level.name[..], b"/", &entry.name].concat();
                Some(match entry.kind {
                    // Longer names are nobody's: the store makes none.
                    _ if name.len() > KEY_BYTES_MAX => Visit::Other,
                    Kind::File => Visit::File(name),
                    Kind::Directory => Visit::Directory(name),
                    Kind::Other => Visit::Other,
                })
            }
            Ok(None) => {
                let Level { name, is_thinned, .. } = self.levels.pop()?;
                Some(Visit::Left { name, is_thinned })
            }
            Err(error) => {
                self.count(error);
                self.levels.pop();
                Some(Visit::Other)
            }
        }
    }

    /// Goes into a directory that was just met.
    pub fn enter(&mut self, disk: &mut D, name: &[u8]) {
        let parts = name.iter().filter(|byte| **byte == b'/').count();
        // A file system's own directory, which only root may read.
        let is_foreign = name == TEMPORARY || name == b"/lost+found";
        if !is_foreign && parts < KEY_PARTS_MAX {
            self.open(disk, name);
        }
    }

    /// Something was removed in the directory where the walk is.
    pub fn thin(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.is_thinned = true;
        }
    }

    fn open(&mut self, disk: &mut D, name: &[u8]) {
        assert!(self.levels.len() < KEY_PARTS_MAX, "a level per part of a name");
        match disk.open_directory(name) {
            Ok(directory) => {
                self.levels.push(Level { directory, name: name.to_vec(), is_thinned: false });
            }
            // It went, or became something else.
            Err(DiskError::Missing | DiskError::NotDirectory) => {}
            Err(error) => self.count(error),
        }
    }

    fn count(&mut self, error: DiskError) {
        match error {
            DiskError::Denied => self.denied += 1,
            _ => self.failed += 1,
        }
    }
}
