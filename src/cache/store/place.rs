//! How a whole file gets its final name: parents are made, a file in the way steps aside.
//!
//! Thread: the store's.
//! Invariants: each step leaves whole files only; what has no head is never moved or replaced.
//! Differs from the ideal: between the look at a stored file and the rename over it, a file put
//! there by hand can take its place, and is replaced. The kernel has no call that compares.
//! Not here: writing the file (`cache::store`).
//!
//! ```text
//! /a wanted,   nothing there         rename, refused by the kernel if a name appears meanwhile
//!              a stored file         rename over it
//!              a file put by hand    Blocked
//!              a directory           the same with /a%_file
//! /a/b wanted, /a is a stored file   /a becomes /a%_file, then a directory
//!              /a is put by hand     Blocked
//!              /a is a link          Blocked
//! ```

use super::{Disk, DiskError, Found, NotStored, Store, names};
use crate::cache::name::beside_directory;
use crate::limits::PLACE_TRIES_MAX;

impl<D: Disk> Store<D> {
    /// Renames `temporary` to `name`, or beside it. Returns where it lies.
    pub(super) fn place(&mut self, temporary: &[u8], name: &[u8]) -> Result<Box<[u8]>, NotStored> {
        let mut target = name.to_vec();
        for _ in 0..PLACE_TRIES_MAX {
            match self.disk.rename(temporary, &target, false) {
                Ok(()) => return Ok(target.into()),
                Err(DiskError::Missing | DiskError::NotDirectory) => self.make_parents(&target)?,
                Err(DiskError::Exists | DiskError::IsDirectory) => {
                    match self.disk.look(&target) {
                        Ok(Found::Stored { head, .. }) => {
                            if self.replace(temporary, &target)? {
                                self.untag(&target, &head);
                                return Ok(target.into());
                            }
                        }
                        Ok(Found::Directory) => {
                            target = beside_directory(&target).ok_or(NotStored::NameTooLong)?;
                        }
                        Ok(Found::ByHand | Found::Other) => {
                            // Whoever watches the tree may have taken it for what we were about to
                            // put there.
                            self.tell_changed(&target);
                            return Err(NotStored::Blocked);
                        }
                        // It went between the two calls.
                        Err(DiskError::Missing | DiskError::NotDirectory) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(NotStored::Blocked)
    }

    /// Renames over a stored file; false if something else is there by now.
    fn replace(&mut self, from: &[u8], to: &[u8]) -> Result<bool, NotStored> {
        match self.disk.rename(from, to, true) {
            Ok(()) => Ok(true),
            Err(DiskError::IsDirectory | DiskError::NotDirectory | DiskError::Missing) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes every directory above `name` that is not there.
    fn make_parents(&mut self, name: &[u8]) -> Result<(), NotStored> {
        let slashes = name.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/');
        let ends: Vec<usize> = slashes.map(|(at, _)| at).collect();
        for end in ends {
            let parent = &name[..end];
            match self.disk.look(parent) {
                Ok(Found::Directory) => continue,
                Ok(Found::Stored { head, blocks }) => self.set_aside(parent, &head, blocks)?,
                Ok(Found::ByHand | Found::Other) => return Err(NotStored::Blocked),
                Err(DiskError::Missing) => {}
                Err(error) => return Err(error.into()),
            }
            match self.disk.make_directory(parent) {
                // A request for the directory's own name must find out that it is one.
                Ok(()) | Err(DiskError::Exists) => self.options.presence.insert(parent),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Moves the stored file `name` to where it lies beside a directory of that name.
    fn set_aside(&mut self, name: &[u8], head: &[u8], blocks: u32) -> Result<(), NotStored> {
        let beside = beside_directory(name).ok_or(NotStored::NameTooLong)?;
        names::check(&beside)?;
        match self.disk.rename(name, &beside, false) {
            Ok(()) => {}
            Err(DiskError::Exists) => match self.disk.look(&beside) {
                Ok(Found::Stored { head: old, .. }) => {
                    self.disk.rename(name, &beside, true)?;
                    self.untag(&beside, &old);
                }
                Ok(_) => return Err(NotStored::Blocked),
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
        let (old, new) = (self.hash.of(name), self.hash.of(&beside));
        let epoch = self.inventory.epoch_of(old).unwrap_or_default();
        self.inventory.remove(old);
        self.inventory.insert(new, blocks, epoch);
        self.untag(name, head);
        self.tags.insert(&beside, &(self.options.tags_of)(head));
        self.tell_changed(name);
        self.tell_changed(&beside);
        Ok(())
    }
}
