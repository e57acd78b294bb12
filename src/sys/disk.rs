//! The tree on a real file system, as the store thread changes it.
//!
//! Thread: store; every call may wait for the device.
//! Invariants: names are resolved below the root and through no symbolic link (openat2(2)); calls
//! that know no such rule (rename, unlink, mkdir) are given the parent's descriptor and one part.
//! Not here: what the errors mean (`daemon::store`), what is stored when (`cache::store`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, XattrFlags, fgetxattr,
    fsetxattr, fstat, fstatvfs, linkat, mkdirat, openat, openat2, renameat_with, statat, unlinkat,
};
use rustix::io::{Errno, pwritev};

use crate::limits::STORE_DIRECTORIES_MAX;

/// The extended attribute with a stored file's head.
pub const ATTRIBUTE: &str = "user.peerage";

/// Largest value of an extended attribute (XATTR_SIZE_MAX).
const ATTRIBUTE_BYTES_MAX: usize = 64 * 1024;

/// Pieces handed to one write (IOV_MAX).
const SLICES_MAX: usize = 1024;

/// Rights of a new file.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::ROTH);

/// Blocks of `stat` are this small, whatever the file system's are.
const STAT_BLOCK_BYTES: u64 = 512;

/// What a name is.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A regular file, with its attribute if it has one, and the bytes that it takes up.
    File(Option<Vec<u8>>, u64),
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

/// A root, and what can be done below it. Names have no leading slash.
#[derive(Debug)]
pub struct Root {
    root: OwnedFd,
    buffer: Vec<u8>,
    /// Directories that were opened lately, bounded by `STORE_DIRECTORIES_MAX`. Whoever moves one
    /// away meanwhile takes along what is put there: so they are kept for a moment only.
    parents: RefCell<HashMap<Vec<u8>, Arc<OwnedFd>>>,
    /// Files that were made without a name, by the one they would have; bounded by the caller.
    unnamed: RefCell<HashMap<Vec<u8>, Arc<File>>>,
    /// Whether files can be made without a name, once that is known.
    makes_unnamed: Cell<Option<bool>>,
}

/// A directory that is being listed.
pub struct Listing {
    entries: Dir,
    /// The directory itself, for entries whose kind the file system does not tell.
    directory: OwnedFd,
}

impl Root {
    /// Opens a root. A symbolic link is followed, here only.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = super::tree::open_root(path)?;
        Ok(Self {
            root,
            buffer: vec![0; ATTRIBUTE_BYTES_MAX],
            parents: RefCell::default(),
            unnamed: RefCell::default(),
            makes_unnamed: Cell::new(None),
        })
    }

    /// Makes an empty file, to write and read. Where the kernel (Linux 6.10) and the file system
    /// can, it lies nowhere until it is renamed: nothing is left of it when the process is killed,
    /// and there is one name less to make and to remove. `remove` gives it up either way.
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn create(&self, name: &[u8]) -> io::Result<Arc<File>> {
        self.create_now(name).or_else(|_| {
            // A directory that was kept open may have gone: file systems differ in what they say.
            self.forget_parents();
            self.create_now(name)
        })
    }

    fn create_now(&self, name: &[u8]) -> io::Result<Arc<File>> {
        let (parent, last) = self.parent(name)?;
        if let Some(file) = self.create_unnamed(&parent, last)? {
            let file = Arc::new(file);
            self.unnamed.borrow_mut().insert(name.to_vec(), Arc::clone(&file));
            return Ok(file);
        }
        // Nothing is followed: a name that exists is refused, whatever it is.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Arc::new(openat(&parent, last, flags, MODE)?.into()))
    }

    /// A file without a name in the file system of `parent`; `None` where there can be none. To
    /// know that, one is once given the name `last`, and removed.
    fn create_unnamed(&self, parent: &OwnedFd, last: &OsStr) -> rustix::io::Result<Option<File>> {
        let make = || openat(parent, ".", OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC, MODE);
        if self.makes_unnamed.get().is_none() {
            let can = match make() {
                Ok(file) => linkat(&file, "", parent, last, AtFlags::EMPTY_PATH).is_ok(),
                // No such flag of the file system, or of the kernel.
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => false,
                Err(error) => return Err(error),
            };
            if can {
                unlinkat(parent, last, AtFlags::empty())?;
            }
            self.makes_unnamed.set(Some(can));
        }
        if self.makes_unnamed.get() == Some(false) {
            return Ok(None);
        }
        Ok(Some(make()?.into()))
    }

    /// Whether `name` is one that `create` has not given to its file.
    #[must_use]
    pub fn is_unnamed(&self, name: &[u8]) -> bool {
        self.unnamed.borrow().contains_key(name)
    }

    /// Writes all of `pieces` from byte `at` on.
    ///
    /// # Errors
    /// Those of pwritev(2); a part may be written then.
    pub fn write<'a>(
        &self,
        file: &File,
        at: u64,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        let slices: Vec<IoSlice<'_>> = pieces.map(IoSlice::new).collect();
        let mut at = at;
        for batch in slices.chunks(SLICES_MAX) {
            let mut written = match pwritev(file, batch, at) {
                Err(Errno::INTR) => 0,
                result => result?,
            };
            // What a short write left is written piece by piece.
            for piece in batch {
                let skip = written.min(piece.len());
                at += skip as u64;
                written -= skip;
                let rest = &piece[skip..];
                file.write_all_at(rest, at)?;
                at += rest.len() as u64;
            }
        }
        Ok(())
    }

    /// Sets an open file's attribute.
    ///
    /// # Errors
    /// Those of fsetxattr(2).
    pub fn set_attribute(&self, file: &File, value: &[u8]) -> io::Result<()> {
        Ok(fsetxattr(file, ATTRIBUTE, value, XattrFlags::empty())?)
    }

    /// Replaces the attribute of a file that has it.
    ///
    /// # Errors
    /// Those of openat2(2) and fsetxattr(2): ENODATA where it has none.
    pub fn replace_attribute(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let file = self.open_with(name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
        Ok(fsetxattr(file, ATTRIBUTE, value, XattrFlags::REPLACE)?)
    }

    /// What `name` is. Reading it needs the right to read the file.
    ///
    /// # Errors
    /// Those of openat2(2), fstat(2), fgetxattr(2).
    pub fn look(&mut self, name: &[u8]) -> io::Result<Found> {
        // NONBLOCK: a pipe that nobody writes to must not hold the thread.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match self.open_with(name, flags, Mode::empty()) {
            Ok(file) => file,
            // A socket, or a device without driver.
            Err(Errno::NXIO | Errno::NODEV) => return Ok(Found::Other),
            // A link: as the last part it is something, before that it is in the way.
            Err(Errno::LOOP) => {
                let (parent, last) = self.parent_now(name)?;
                let found = statat(parent, last, AtFlags::SYMLINK_NOFOLLOW)?;
                return match FileType::from_raw_mode(found.st_mode) {
                    FileType::Symlink => Ok(Found::Other),
                    _ => Err(Errno::AGAIN.into()),
                };
            }
            Err(error) => return Err(error.into()),
        };
        let found = fstat(&file)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Ok(Found::Directory),
            _ => return Ok(Found::Other),
        }
        let attribute = match fgetxattr(&file, ATTRIBUTE, &mut self.buffer[..]) {
            Ok(len) => Some(self.buffer[..len].to_vec()),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Found::File(attribute, taken(&found)))
    }

    /// Gives a file another name. Without `may_replace` that name must be free.
    ///
    /// # Errors
    /// Those of renameat2(2), and of linkat(2) where the file has no name yet, or where the file
    /// system cannot refuse to replace.
    pub fn rename(&self, from: &[u8], to: &[u8], may_replace: bool) -> io::Result<()> {
        let renamed = self.rename_at(from, to, may_replace);
        if renamed.is_err() {
            // A directory that was kept open may have gone.
            self.forget_parents();
        }
        renamed
    }

    fn rename_at(&self, from: &[u8], to: &[u8], may_replace: bool) -> io::Result<()> {
        let (old_parent, old) = self.parent(from)?;
        let (new_parent, new) = self.parent(to)?;
        let mut unnamed = self.unnamed.borrow_mut();
        if let Some(file) = unnamed.get(from) {
            // No name can be given that is taken: it gets its own first where it may be.
            let (parent, last) = if may_replace { (&old_parent, old) } else { (&new_parent, new) };
            linkat(file, "", parent, last, AtFlags::EMPTY_PATH)?;
            unnamed.remove(from);
            if !may_replace {
                return Ok(());
            }
        }
        drop(unnamed);
        let flags = if may_replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(&old_parent, old, &new_parent, new, flags) {
            Err(Errno::INVAL) if !may_replace => {
                linkat(&old_parent, old, &new_parent, new, AtFlags::empty())?;
                Ok(unlinkat(&old_parent, old, AtFlags::empty())?)
            }
            result => Ok(result?),
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Those of unlinkat(2).
    pub fn remove(&self, name: &[u8]) -> io::Result<()> {
        if self.unnamed.borrow_mut().remove(name).is_some() {
            return Ok(());
        }
        let (parent, last) = self.parent_now(name)?;
        Ok(unlinkat(parent, last, AtFlags::empty())?)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// Those of mkdirat(2).
    pub fn make_directory(&self, name: &[u8]) -> io::Result<()> {
        let (parent, last) = self.parent(name)?;
        let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
        let made = mkdirat(parent, last, mode);
        if made.is_err() {
            self.forget_parents();
        }
        Ok(made?)
    }

    /// Makes the directory `name` by renaming one that is made as `temporary`.
    ///
    /// # Errors
    /// Those of mkdirat(2) and renameat2(2); EEXIST where there is something of that name.
    pub fn make_directory_by(&self, temporary: &[u8], name: &[u8]) -> io::Result<()> {
        match self.make_directory(temporary) {
            // Left by somebody who was killed in between.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // There is no place for temporary names yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.make_directory(name);
            }
            result => result?,
        }
        let renamed = self.rename(temporary, name, false);
        if renamed.is_err() {
            self.remove_directory(temporary)?;
        }
        renamed
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// Those of unlinkat(2).
    pub fn remove_directory(&self, name: &[u8]) -> io::Result<()> {
        let (parent, last) = self.parent_now(name)?;
        Ok(unlinkat(parent, last, AtFlags::REMOVEDIR)?)
    }

    /// Begins to list a directory; the empty name is the root.
    ///
    /// # Errors
    /// Those of openat2(2).
    pub fn list(&self, name: &[u8]) -> io::Result<Listing> {
        let name = if name.is_empty() { b"." } else { name };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = self.open_with(name, flags, Mode::empty())?;
        let entries = Dir::new(directory.try_clone()?)?;
        Ok(Listing { entries, directory })
    }

    /// Bytes that this process could still write.
    ///
    /// # Errors
    /// Those of fstatvfs(3).
    pub fn free_bytes(&self) -> io::Result<u64> {
        let found = fstatvfs(&self.root)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn open_with(&self, name: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        loop {
            match openat2(&self.root, name, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// The directory that `name` lies in, perhaps as it was a moment ago, and its last part.
    fn parent<'a>(&self, name: &'a [u8]) -> io::Result<(Arc<OwnedFd>, &'a OsStr)> {
        let (parent, last) = split(name)?;
        let mut parents = self.parents.borrow_mut();
        if let Some(known) = parents.get(parent) {
            return Ok((Arc::clone(known), last));
        }
        let opened = Arc::new(self.open_directory(parent)?);
        if parents.len() == STORE_DIRECTORIES_MAX {
            parents.clear();
        }
        parents.insert(parent.to_vec(), Arc::clone(&opened));
        Ok((opened, last))
    }

    /// The same as it is now: nothing is removed from a directory that was moved away.
    fn parent_now<'a>(&self, name: &'a [u8]) -> io::Result<(OwnedFd, &'a OsStr)> {
        let (parent, last) = split(name)?;
        Ok((self.open_directory(parent)?, last))
    }

    fn open_directory(&self, name: &[u8]) -> rustix::io::Result<OwnedFd> {
        self.open_with(name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// Closes the directories that were kept open: others may move them from now on.
    pub fn forget_parents(&self) {
        self.parents.borrow_mut().clear();
    }
}

/// A name's directory, and its last part.
fn split(name: &[u8]) -> io::Result<(&[u8], &OsStr)> {
    let (parent, last) = match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        None => (&b"."[..], name),
    };
    // An empty part would be the directory itself, `..` the one above.
    if matches!(last, b"" | b"." | b"..") {
        return Err(Errno::INVAL.into());
    }
    Ok((parent, OsStr::from_bytes(last)))
}

impl Listing {
    /// The next name, and what it is; `None` at the end.
    ///
    /// # Errors
    /// Those of getdents64(2).
    pub fn next_entry(&mut self) -> io::Result<Option<(Vec<u8>, Found)>> {
        loop {
            let Some(entry) = self.entries.read() else { return Ok(None) };
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                let found = statat(
                    self.directory.as_fd(),
                    OsStr::from_bytes(name),
                    AtFlags::SYMLINK_NOFOLLOW,
                );
                kind = found.map_or(kind, |found| FileType::from_raw_mode(found.st_mode));
            }
            let found = match kind {
                FileType::RegularFile => Found::File(None, 0),
                FileType::Directory => Found::Directory,
                _ => Found::Other,
            };
            return Ok(Some((name.to_vec(), found)));
        }
    }
}

/// File systems that allot late say 0 for a new file; then its length is the better guess.
fn taken(found: &rustix::fs::Stat) -> u64 {
    let blocks = u64::try_from(found.st_blocks).unwrap_or(0);
    let len = u64::try_from(found.st_size).unwrap_or(0);
    blocks.saturating_mul(STAT_BLOCK_BYTES).max(len)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        (directory, root)
    }

    /// The same twice; the second is one on a file system that has no files without names.
    fn roots() -> [(tempfile::TempDir, Root); 2] {
        let (first, second) = (root(), root());
        second.1.makes_unnamed.set(Some(false));
        [first, second]
    }

    fn code<T>(result: io::Result<T>) -> i32 {
        result.err().and_then(|error| error.raw_os_error()).unwrap()
    }

    #[test]
    fn a_file_keeps_its_attribute_through_a_rename() {
        for (directory, root) in roots() {
            keeps_its_attribute(directory.path(), root);
        }
    }

    fn keeps_its_attribute(directory: &Path, mut root: Root) {
        let file = root.create(b"tmp").unwrap();
        root.write(&file, 0, [&b"hello "[..], b"", b"world"].into_iter()).unwrap();
        root.write(&file, 11, [&b"!"[..]].into_iter()).unwrap();
        match root.is_unnamed(b"tmp") {
            true => assert_eq!(code(root.look(b"tmp")), libc::ENOENT),
            false => assert_eq!(code(root.replace_attribute(b"tmp", b"x")), libc::ENODATA),
        }
        root.set_attribute(&file, b"head").unwrap();
        root.make_directory(b"a").unwrap();
        root.rename(b"tmp", b"a/b", false).unwrap();
        root.replace_attribute(b"a/b", b"newer").unwrap();
        let Found::File(Some(head), bytes) = root.look(b"a/b").unwrap() else { panic!() };
        assert_eq!((&head[..], bytes % 512), (&b"newer"[..], 0));
        let mut text = String::new();
        File::open(directory.join("a/b")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello world!");
        assert_eq!(code(root.look(b"tmp")), libc::ENOENT);
        assert!(root.free_bytes().unwrap() > 0);
    }

    #[test]
    fn new_files_are_placed_or_given_up() {
        for (directory, mut root) in roots() {
            let names = || std::fs::read_dir(directory.path()).unwrap().count();
            std::fs::write(directory.path().join("taken"), "x").unwrap();
            for (to, may_replace, expected) in
                [("new", true, None), ("taken", true, None)].into_iter().chain([
                    ("taken", false, Some(libc::EEXIST)),
                    ("none/x", false, Some(libc::ENOENT)),
                ])
            {
                let file = root.create(b"tmp").unwrap();
                root.write(&file, 0, [to.as_bytes()].into_iter()).unwrap();
                let placed = root.rename(b"tmp", to.as_bytes(), may_replace);
                assert_eq!(placed.err().and_then(|error| error.raw_os_error()), expected, "{to}");
                // What was placed is no more by its old name; what was not can still be.
                match expected {
                    None => assert_eq!(code(root.remove(b"tmp")), libc::ENOENT),
                    Some(_) => root.rename(b"tmp", b"new", true).unwrap(),
                }
            }
            assert_eq!(std::fs::read(directory.path().join("new")).unwrap(), b"none/x");
            assert_eq!(std::fs::read(directory.path().join("taken")).unwrap(), b"taken");
            assert_eq!(names(), 2);
            drop(root.create(b"tmp").unwrap());
            root.remove(b"tmp").unwrap();
            assert_eq!((names(), code(root.remove(b"tmp"))), (2, libc::ENOENT));
            assert!(matches!(root.look(b"new").unwrap(), Found::File(None, _)));
        }
    }

    #[test]
    fn this_machine_makes_files_without_names_or_says_so() {
        let (directory, root) = root();
        drop(root.create(b"tmp").unwrap());
        assert!(root.makes_unnamed.get().is_some());
        let names = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, usize::from(!root.is_unnamed(b"tmp")));
    }

    #[test]
    fn renames_refuse_to_replace_unless_told() {
        let (directory, root) = root();
        for name in ["a", "b"] {
            std::fs::write(directory.path().join(name), name).unwrap();
        }
        root.make_directory(b"d").unwrap();
        assert_eq!(code(root.rename(b"a", b"b", false)), libc::EEXIST);
        assert_eq!(code(root.rename(b"a", b"d", true)), libc::EISDIR);
        assert_eq!(code(root.rename(b"a", b"b/c", false)), libc::ENOTDIR);
        assert_eq!(code(root.rename(b"a", b"x/c", false)), libc::ENOENT);
        root.rename(b"a", b"b", true).unwrap();
        assert_eq!(std::fs::read(directory.path().join("b")).unwrap(), b"a");
        assert_eq!(code(root.make_directory(b"d")), libc::EEXIST);
        assert_eq!(code(root.remove(b"d")), libc::EISDIR);
        root.remove_directory(b"d").unwrap();
        assert_eq!(code(root.remove_directory(b"d")), libc::ENOENT);
    }

    #[test]
    fn no_link_is_followed_and_nothing_above_reached() {
        let (directory, mut root) = root();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("f"), "x").unwrap();
        symlink(outside.path(), directory.path().join("link")).unwrap();
        symlink("nowhere", directory.path().join("dangling")).unwrap();
        std::fs::write(directory.path().join("a"), "x").unwrap();
        assert_eq!(root.look(b"link").unwrap(), Found::Other);
        assert_eq!(root.look(b"dangling").unwrap(), Found::Other);
        assert_eq!(code(root.look(b"link/f")), libc::ELOOP);
        assert_eq!(code(root.remove(b"link/f")), libc::ELOOP);
        assert_eq!(code(root.create(b"link/g")), libc::ELOOP);
        root.makes_unnamed.set(Some(false));
        assert_eq!(code(root.create(b"dangling")), libc::EEXIST);
        assert_eq!(code(root.make_directory(b"link/d")), libc::ELOOP);
        assert_eq!(code(root.rename(b"a", b"link/a", true)), libc::ELOOP);
        assert!(root.list(b"link").is_err());
        assert_eq!(code(root.look(b"../x")), libc::EXDEV);
        assert_eq!(code(root.remove(b"..")), libc::EINVAL);
        assert!(outside.path().join("f").exists());
    }

    #[test]
    fn a_listing_tells_kinds() {
        let (directory, root) = root();
        std::fs::write(directory.path().join("f"), "x").unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        symlink("f", directory.path().join("l")).unwrap();
        let mut listing = root.list(b"").unwrap();
        let mut found = Vec::new();
        while let Some(entry) = listing.next_entry().unwrap() {
            found.push(entry);
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [("d", Found::Directory), ("f", Found::File(None, 0)), ("l", Found::Other)];
        assert_eq!(found, expected.map(|(name, found)| (name.as_bytes().to_vec(), found)));
    }
}
