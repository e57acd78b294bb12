//! The store's disk on a real file system: names and errors translated, nothing decided.
//!
//! Thread: store.
//! Not here: system calls (`sys::disk`), the faulty disk of tests (`cache::store`).

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::cache::disk::{BLOCK_BYTES, Disk, DiskError, Entry, Found, Kind, Space};
use crate::cache::key::file_name;
use crate::cache::store::{TEMPORARY, is_own};
use crate::stdx::bytes::Bytes;
use crate::sys::disk::{self, Listing, Root};

use super::super::placed::Placing;

/// A tree below a directory.
pub struct TreeDisk {
    root: Root,
    placing: Option<Placing>,
}

impl TreeDisk {
    /// Opens it. `placing` is told what is put in place, where nobody could tell otherwise.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(root: &Path, placing: Option<Placing>) -> io::Result<Self> {
        Ok(Self { root: Root::open(root)?, placing })
    }
}

impl Disk for TreeDisk {
    type File = Arc<File>;
    type Directory = Listing;

    fn create(&mut self, name: &[u8]) -> Result<Arc<File>, DiskError> {
        self.root.create(file_name(name)).map_err(|error| translate(&error))
    }

    fn write(&mut self, file: &Arc<File>, at: u64, pieces: &[Bytes]) -> Result<(), DiskError> {
        let pieces = pieces.iter().map(|piece| &piece[..]);
        self.root.write(file, at, pieces).map_err(|error| translate(&error))
    }

    fn set_head(&mut self, file: &Arc<File>, head: &[u8]) -> Result<(), DiskError> {
        self.root.set_attribute(file, head).map_err(|error| translate(&error))
    }

    fn replace_head(&mut self, name: &[u8], head: &[u8]) -> Result<(), DiskError> {
        self.root.replace_attribute(file_name(name), head).map_err(|error| translate(&error))
    }

    fn forget(&mut self) {
        self.root.forget_parents();
    }

    fn look(&mut self, name: &[u8]) -> Result<Found, DiskError> {
        match self.root.look(file_name(name)) {
            Ok(disk::Found::File(Some(head), bytes)) => {
                Ok(Found::Stored { head, blocks: blocks(bytes) })
            }
            Ok(disk::Found::File(None, _)) => Ok(Found::ByHand),
            Ok(disk::Found::Directory) => Ok(Found::Directory),
            Ok(disk::Found::Other) => Ok(Found::Other),
            Err(error) => Err(translate(&error)),
        }
    }

    fn rename(&mut self, from: &[u8], to: &[u8], may_replace: bool) -> Result<(), DiskError> {
        let (from, target) = (file_name(from), file_name(to));
        // A file that comes from nowhere comes without a sign that it is ours.
        let placing = self.placing.as_ref().filter(|_| !may_replace && self.root.is_unnamed(from));
        if let Some(placing) = placing {
            placing.tell(to, true);
        }
        self.root.rename(from, target, may_replace).map_err(|error| {
            if let Some(placing) = placing {
                placing.tell(to, false);
            }
            translate(&error)
        })
    }

    fn remove(&mut self, name: &[u8]) -> Result<(), DiskError> {
        self.root.remove(file_name(name)).map_err(|error| translate(&error))
    }

    fn make_directory(&mut self, name: &[u8]) -> Result<(), DiskError> {
        let made = if is_own(name) {
            self.root.make_directory(file_name(name))
        } else {
            // By a rename, so that who watches the tree can tell it from others'.
            self.root.make_directory_by(&[file_name(TEMPORARY), b"/new"].concat(), file_name(name))
        };
        made.map_err(|error| translate(&error))
    }

    fn remove_directory(&mut self, name: &[u8]) -> Result<(), DiskError> {
        self.root.remove_directory(file_name(name)).map_err(|error| translate(&error))
    }

    fn open_directory(&mut self, name: &[u8]) -> Result<Listing, DiskError> {
        self.root.list(file_name(name)).map_err(|error| translate(&error))
    }

    fn next_entry(&mut self, directory: &mut Listing) -> Result<Option<Entry>, DiskError> {
        let entry = directory.next_entry().map_err(|error| translate(&error))?;
        Ok(entry.map(|(name, found)| {
            let kind = match found {
                disk::Found::File(..) => Kind::File,
                disk::Found::Directory => Kind::Directory,
                disk::Found::Other => Kind::Other,
            };
            Entry { name, kind }
        }))
    }

    fn space(&mut self) -> Result<Space, DiskError> {
        let free_bytes = self.root.free_bytes().map_err(|error| translate(&error))?;
        Ok(Space { free_bytes })
    }
}

/// Even an empty file costs an inode: nothing counts as less than a block.
fn blocks(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(BLOCK_BYTES)).unwrap_or(u32::MAX).max(1)
}

fn translate(error: &io::Error) -> DiskError {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::E2BIG | libc::ERANGE) => DiskError::Full,
        Some(libc::EROFS) => DiskError::ReadOnly,
        Some(libc::ENOENT) => DiskError::Missing,
        Some(libc::EEXIST | libc::ENOTEMPTY) => DiskError::Exists,
        Some(libc::ENOTDIR | libc::ELOOP) => DiskError::NotDirectory,
        Some(libc::EISDIR) => DiskError::IsDirectory,
        Some(libc::EACCES | libc::EPERM) => DiskError::Denied,
        Some(libc::EOPNOTSUPP | libc::ENODATA) => DiskError::NoAttributes,
        Some(libc::ENAMETOOLONG) => DiskError::NameTooLong,
        Some(code) => DiskError::Io(code),
        None => DiskError::Io(0),
    }
}
