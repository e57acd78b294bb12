//! A disk, as the store needs it: what can be asked of it, and how it can fail.
//!
//! Input: names below the root of the tree, with a leading slash as keys have.   Output: files,
//! directories, heads, and `DiskError`s.
//! Thread: the store's; every call may wait for the device.
//! Invariants: no call follows a symbolic link or leaves the root; a call that fails has changed
//! nothing, but that a write may have written a part.
//! Not here: system calls (`sys::disk`, joined to this by `daemon::store`), what is stored when
//! (`cache::store`).

use std::fmt;

use crate::stdx::bytes::Bytes;

/// A tree on some storage. A stored file has a head: bytes that lie beside it and go where it goes
/// (an extended attribute). A file without one was put there by hand.
pub trait Disk {
    /// An open file; a clone is the same file.
    type File: Clone;
    /// A directory that is being listed.
    type Directory;

    /// Makes an empty file; the name must be free.
    ///
    /// # Errors
    /// `Exists`; `Missing` where its directory is not there; those of the storage.
    fn create(&mut self, name: &[u8]) -> Result<Self::File, DiskError>;

    /// Writes all of `pieces` from byte `at` on.
    ///
    /// # Errors
    /// Those of the storage; a part may be written then.
    fn write(&mut self, file: &Self::File, at: u64, pieces: &[Bytes]) -> Result<(), DiskError>;

    /// Gives an open file its head.
    ///
    /// # Errors
    /// `NoAttributes`; `Full` also where the head alone is too long for the file system.
    fn set_head(&mut self, file: &Self::File, head: &[u8]) -> Result<(), DiskError>;

    /// Replaces the head of a file that has one.
    ///
    /// # Errors
    /// `NoAttributes` where it has none; as `set_head`.
    fn replace_head(&mut self, name: &[u8], head: &[u8]) -> Result<(), DiskError>;

    /// What was kept from one call to the next is let go of: others may have changed it.
    fn forget(&mut self) {}

    /// What `name` is.
    ///
    /// # Errors
    /// `Missing`; `NotDirectory` where a part before the last is none; `Denied`.
    fn look(&mut self, name: &[u8]) -> Result<Found, DiskError>;

    /// Gives a file another name, at once and whole. With `may_replace` a file of that name goes.
    ///
    /// # Errors
    /// `Exists` without `may_replace`; `IsDirectory`; `Missing` where either is missing.
    fn rename(&mut self, from: &[u8], to: &[u8], may_replace: bool) -> Result<(), DiskError>;

    /// Removes a file. Who has it open or mapped keeps it.
    ///
    /// # Errors
    /// `Missing`, `IsDirectory`, those of the storage.
    fn remove(&mut self, name: &[u8]) -> Result<(), DiskError>;

    /// Makes a directory; the one that it lies in must be there.
    ///
    /// # Errors
    /// `Exists`, whatever has the name.
    fn make_directory(&mut self, name: &[u8]) -> Result<(), DiskError>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `Exists` where something is in it.
    fn remove_directory(&mut self, name: &[u8]) -> Result<(), DiskError>;

    /// Begins to list a directory; the empty name is the root.
    ///
    /// # Errors
    /// `Missing`, `NotDirectory`, `Denied`.
    fn open_directory(&mut self, name: &[u8]) -> Result<Self::Directory, DiskError>;

    /// The next name in it, `None` at its end. What comes or goes meanwhile may be listed or not.
    ///
    /// # Errors
    /// Those of the storage; the listing is over then.
    fn next_entry(&mut self, directory: &mut Self::Directory) -> Result<Option<Entry>, DiskError>;

    /// How much room there is.
    ///
    /// # Errors
    /// Those of the storage.
    fn space(&mut self) -> Result<Space, DiskError>;
}

/// Unit in which the store counts what files take up, in bytes: the block of nearly every file
/// system.
pub const BLOCK_BYTES: u64 = 4096;

/// What a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A stored file.
    Stored {
        /// Its head.
        head: Vec<u8>,
        /// What it takes up, in blocks.
        blocks: u32,
    },
    /// A file without a head: not the store's.
    ByHand,
    /// A directory.
    Directory,
    /// A symbolic link, a device, a pipe: not the store's.
    Other,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name alone.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is, before anybody opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// Room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process could still write.
    pub free_bytes: u64,
}

/// Why something could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No room, or a quota is used up.
    Full,
    /// Nothing can be written.
    ReadOnly,
    /// No such name.
    Missing,
    /// The name is taken.
    Exists,
    /// A part of the name is a file or a symbolic link.
    NotDirectory,
    /// The name is a directory's.
    IsDirectory,
    /// No right to do it.
    Denied,
    /// No extended attributes here.
    NoAttributes,
    /// Longer than the file system takes.
    NameTooLong,
    /// Anything else, by its number (errno(3)).
    Io(i32),
}

impl fmt::Display for DiskError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Full => "the disk is full",
            Self::ReadOnly => "the file system is read-only",
            Self::Missing => "no such file or directory",
            Self::Exists => "the name is taken",
            Self::NotDirectory => "a part of the name is not a directory",
            Self::IsDirectory => "the name is a directory",
            Self::Denied => "permission denied",
            Self::NoAttributes => "the file system has no extended attributes (user.*)",
            Self::NameTooLong => "the name is too long",
            Self::Io(code) => return write!(out, "error {code} of the disk"),
        })
    }
}
