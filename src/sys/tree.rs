//! The file system as the tree thread sees it: changes (inotify(7)), directories, memory reclaim.
//!
//! Thread: tree.
//! Not here: what a change means (`daemon::tree`), opening files to serve them (`sys::uring`).

#![expect(unsafe_code, reason = "statfs and statx have no wrapper in the standard library")]

use std::ffi::{CString, OsStr};
use std::fs::{File, FileType};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};

/// Names a watched directory.
pub type Watch = WatchDescriptor;

/// Something that happened in a watched directory.
#[derive(Debug)]
pub struct Event<'a> {
    /// In which directory.
    pub watch: Watch,
    /// To which name in it; `None` for the directory itself.
    pub name: Option<&'a OsStr>,
    /// What.
    pub what: What,
    /// Whether the name is a directory's.
    pub is_directory: bool,
    /// The same for both halves of a move, 0 for anything else.
    pub cookie: u32,
}

/// Kinds of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A name appeared: created, or moved here.
    Appeared,
    /// A name went: removed, or moved away.
    Gone,
    /// A file's bytes were changed in place.
    Written,
    /// A file's owner, mode, times or link count changed, or a writer closed it.
    Touched,
    /// The watch is no more: its directory went.
    Ended,
    /// Events were lost: the kernel's queue was full.
    Overflow,
}

/// The kernel's queue of changes.
#[derive(Debug)]
pub struct Changes {
    inotify: Inotify,
    buffer: Box<[u8]>,
}

impl Changes {
    /// An empty queue.
    ///
    /// # Errors
    /// EMFILE where `fs.inotify.max_user_instances` is reached.
    pub fn new() -> io::Result<Self> {
        Ok(Self { inotify: Inotify::init()?, buffer: vec![0; 64 * 1024].into_boxed_slice() })
    }

    /// Watches the names in `directory`, which must not be a symbolic link.
    ///
    /// # Errors
    /// ENOSPC where `fs.inotify.max_user_watches` is reached; those of inotify_add_watch(2).
    pub fn watch(&mut self, directory: &Path) -> io::Result<Watch> {
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVE
            | WatchMask::MODIFY
            | WatchMask::ATTRIB
            | WatchMask::CLOSE_WRITE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR
            | WatchMask::DONT_FOLLOW
            | WatchMask::EXCL_UNLINK;
        self.inotify.watches().add(directory, mask)
    }

    /// Watches only what is moved out of `directory`.
    ///
    /// # Errors
    /// As above.
    pub fn watch_departures(&mut self, directory: &Path) -> io::Result<Watch> {
        let mask = WatchMask::MOVED_FROM | WatchMask::ONLYDIR | WatchMask::DONT_FOLLOW;
        self.inotify.watches().add(directory, mask)
    }

    /// Ends a watch. One that ended by itself is no error.
    pub fn unwatch(&mut self, watch: Watch) {
        let mut watches: Watches = self.inotify.watches();
        drop(watches.remove(watch));
    }

    /// Hands all waiting changes to `each`, without waiting for more.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn read(&mut self, mut each: impl FnMut(Event<'_>)) -> io::Result<()> {
        loop {
            let events = match self.inotify.read_events(&mut self.buffer) {
                Ok(events) => events,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            for event in events {
                let is_directory = event.mask.contains(EventMask::ISDIR);
                for what in meanings(event.mask) {
                    let (watch, cookie) = (event.wd.clone(), event.cookie);
                    each(Event { watch, name: event.name, what, is_directory, cookie });
                }
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn meanings(mask: EventMask) -> impl Iterator<Item = What> {
    [
        (EventMask::Q_OVERFLOW, What::Overflow),
        (EventMask::CREATE | EventMask::MOVED_TO, What::Appeared),
        (EventMask::DELETE | EventMask::MOVED_FROM, What::Gone),
        (EventMask::MODIFY, What::Written),
        (EventMask::ATTRIB | EventMask::CLOSE_WRITE, What::Touched),
        (EventMask::IGNORED | EventMask::MOVE_SELF, What::Ended),
    ]
    .into_iter()
    .filter(move |(bits, _)| mask.intersects(*bits))
    .map(|(_, what)| what)
}

/// Tells `each` the names in `directory`, with their types where the kernel says them.
///
/// # Errors
/// Those of opendir(3) and readdir(3).
pub fn list(directory: &Path, mut each: impl FnMut(&OsStr, Option<FileType>)) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        each(&entry.file_name(), entry.file_type().ok());
    }
    Ok(())
}

/// Whether this process may open what is in `directory`, if it knows the names.
#[must_use]
pub fn can_enter(directory: &Path) -> bool {
    std::fs::metadata(directory.join(".")).is_ok()
}

/// Opens the root of a tree, as the start of every later open.
///
/// # Errors
/// Those of open(2).
pub fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let root = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    Ok(root.into())
}

/// Whether changes below `path` can only be made on this machine, so that the kernel tells of them:
/// false for network and user-space file systems.
#[must_use]
pub fn is_local(path: &Path) -> bool {
    /// NFS, SMB, SMB2, CIFS, FUSE, 9P, Ceph, AFS (statfs(2), linux/magic.h).
    const REMOTE: [i64; 8] = [
        0x6969,
        0x517b,
        0xfe53_4d42,
        0xff53_4d42,
        0x6573_5546,
        0x0102_1997,
        0x00c3_6400,
        0x5346_414f,
    ];
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: statfs is a C structure of integers, for which all-zero is valid.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a valid C string; the kernel writes one statfs to a place that holds one.
    let result = unsafe { libc::statfs(path.as_ptr(), &raw mut found) };
    result == 0 && !REMOTE.contains(&(found.f_type & 0xffff_ffff))
}

/// Which version of which file this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Number of its file system.
    pub device: u64,
    /// Number within its file system.
    pub inode: u64,
    /// Length in bytes.
    pub len: u64,
    /// Modification time in nanoseconds since 1970; earlier times are 0.
    pub modified_nanos: u64,
    mode: u16,
}

impl Identity {
    /// Whether `later` is the same file with other bytes: it was written in place.
    #[must_use]
    pub const fn is_written(&self, later: &Self) -> bool {
        let is_same_file = self.device == later.device && self.inode == later.inode;
        is_same_file && (self.len != later.len || self.modified_nanos != later.modified_nanos)
    }
}

/// The identity of an open file, and whether it is a regular one. A system call, but never a wait:
/// the kernel says what it has in memory, which is what it learnt when the file was opened
/// (`AT_STATX_DONT_SYNC`), and does not ask a network file system again.
///
/// # Errors
/// Those of statx(2).
pub fn identify(file: &impl AsFd) -> io::Result<(Identity, Kind)> {
    // SAFETY: statx is a C structure of integers, for which all-zero is valid.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    let (fd, mask) = (file.as_fd().as_raw_fd(), libc::STATX_BASIC_STATS);
    // SAFETY: the descriptor is open for the call, the path is a C string, and the kernel writes
    // one statx to a place that holds one.
    let result = unsafe { libc::statx(fd, c"".as_ptr(), flags, mask, &raw mut found) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((identity(&found), kind(found.stx_mode)))
}

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A device, a pipe, a socket: nothing to serve.
    Other,
}

fn kind(mode: u16) -> Kind {
    match u32::from(mode) & libc::S_IFMT {
        libc::S_IFREG => Kind::File,
        libc::S_IFDIR => Kind::Directory,
        _ => Kind::Other,
    }
}

fn identity(found: &libc::statx) -> Identity {
    let seconds = u64::try_from(found.stx_mtime.tv_sec).unwrap_or(0);
    let nanos = u64::from(found.stx_mtime.tv_nsec);
    Identity {
        device: u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor),
        inode: found.stx_ino,
        len: found.stx_size,
        modified_nanos: seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
        mode: found.stx_mode,
    }
}

/// The kernel's counters of pages taken from files to make room.
#[derive(Debug)]
pub struct Reclaim {
    /// Each with the beginning of its counters' names.
    sources: Vec<(File, &'static str)>,
    text: String,
}

impl Reclaim {
    /// Opens what there is: the machine's counters, and those of this process's control group.
    #[must_use]
    pub fn open() -> Self {
        let mut sources = Vec::new();
        // `pgsteal_kswapd`, `pgsteal_direct` and more of their kind.
        sources.extend(File::open("/proc/vmstat").map(|file| (file, "pgsteal")));
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let (mount, name) = match controllers {
                "" => ("/sys/fs/cgroup", "pgsteal"),
                // Here it counts pages that left the group; in /proc/vmstat, what was written.
                "memory" => ("/sys/fs/cgroup/memory", "pgpgout"),
                _ => continue,
            };
            let file = File::open(format!("{mount}{path}/memory.stat"));
            sources.extend(file.map(|file| (file, name)));
        }
        Self { sources, text: String::new() }
    }

    /// The sum of all counters: it changes when pages were reclaimed.
    pub fn sum(&mut self) -> u64 {
        let mut sum = 0_u64;
        for (source, counter) in &mut self.sources {
            self.text.clear();
            if source.rewind().is_err() || source.read_to_string(&mut self.text).is_err() {
                continue;
            }
            sum = sum.wrapping_add(reclaimed(&self.text, counter));
        }
        sum
    }
}

/// From this many bytes on the limit of a control group of version 1 is none: it says the largest
/// number of whole pages in 63 bits.
const LIMIT_NONE: u64 = 1 << 62;

/// The sum of the counters in `text` whose names begin with `counter`; 0 for a group that has no
/// limit on its memory: nothing is reclaimed for its sake, and its counter of pages that left it
/// grows with every process that ends in it.
fn reclaimed(text: &str, counter: &str) -> u64 {
    let lines = || text.lines().filter_map(|line| line.split_once(' '));
    let values =
        |begin| lines().filter(move |(name, _)| name.starts_with(begin)).map(|(_, value)| value);
    let limit = values("hierarchical_memory_limit").find_map(|value| value.parse::<u64>().ok());
    if limit.is_some_and(|limit| limit >= LIMIT_NONE) {
        return 0;
    }
    values(counter).fold(0, |sum, value| sum.wrapping_add(value.parse().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_a_limit_reclaims_nothing() {
        let machine = "nr_free_pages 7\npgsteal_kswapd 10\npgsteal_direct 5\npgscan_direct 90\n";
        assert_eq!(reclaimed(machine, "pgsteal"), 15);
        let limited = "cache 1\npgpgin 9\npgpgout 5\nhierarchical_memory_limit 1073741824\n";
        assert_eq!(reclaimed(limited, "pgpgout"), 5);
        let free = "cache 1\npgpgout 5\nhierarchical_memory_limit 9223372036854771712\n";
        assert_eq!(reclaimed(free, "pgpgout"), 0);
    }
}
