//! A disk that is slow: a file system of the test's own that waits before every read.
//!
//! Not here: files that change (`change`).

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, Request,
};

use crate::harness::{Daemon, pattern, read_answer, start};

/// How long the disk takes for each read, and for each look at a name.
const DELAY: Duration = Duration::from_millis(100);

/// How long the kernel may remember names and attributes.
const TTL: Duration = Duration::from_secs(3600);

/// One directory of files named by their length, as in `20000.7`; the ending tells them apart.
struct SlowDisk {
    reads: Arc<AtomicUsize>,
}

fn attributes(inode: INodeNo, len: u64) -> FileAttr {
    let kind = if inode == INodeNo::ROOT { FileType::Directory } else { FileType::RegularFile };
    FileAttr {
        ino: inode,
        size: len,
        blocks: len.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// The length of a file by its inode, which is `100 * length + ending`.
fn len_of(inode: INodeNo) -> u64 {
    if inode == INodeNo::ROOT { 0 } else { u64::from(inode) / 100 }
}

impl Filesystem for SlowDisk {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        std::thread::sleep(DELAY);
        let parts = name.to_str().and_then(|name| name.split_once('.'));
        let number = parts.and_then(|(len, ending)| {
            Some(len.parse::<u64>().ok()? * 100 + ending.parse::<u64>().ok()?)
        });
        match number {
            Some(number) => {
                let inode = INodeNo(number);
                reply.entry(&TTL, &attributes(inode, len_of(inode)), Generation(0));
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attributes(inode, len_of(inode)));
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        std::thread::sleep(DELAY);
        self.reads.fetch_add(1, Ordering::Relaxed);
        let bytes = pattern(usize::try_from(len_of(inode)).unwrap(), 1);
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        let end = (start + usize::try_from(size).unwrap()).min(bytes.len());
        reply.data(&bytes[start..end]);
    }
}

/// A daemon with a slow disk below its tree. It ends first, since it keeps files of the disk open.
struct Mounted {
    daemon: Option<Daemon>,
    session: Option<BackgroundSession>,
}

impl Mounted {
    /// `None`, and the reason said, where the kernel does not let us mount.
    fn new(daemon: Daemon, disk: SlowDisk) -> Option<Self> {
        let directory = daemon.host().join("slow");
        fs::create_dir(&directory).unwrap();
        let mut options = fuser::Config::default();
        options.mount_options = vec![MountOption::RO, MountOption::FSName("slow-disk".to_owned())];
        match fuser::spawn_mount(disk, &directory, &options) {
            Ok(session) => Some(Self { daemon: Some(daemon), session: Some(session) }),
            Err(error) => {
                eprintln!("skipped: cannot mount a file system of our own ({error}); run as root");
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let directory = self.daemon.take().map(|mut daemon| {
            daemon.stop();
            std::mem::replace(&mut daemon.directory, tempfile::tempdir().unwrap())
        });
        let ended = self.session.take().map(BackgroundSession::umount_and_join);
        drop(directory);
        if let Some(Err(error)) = ended {
            eprintln!("the slow disk stays mounted: {error}");
        }
    }
}

/// Hits `path` again and again until `is_over`. Returns how often, and the longest wait.
fn hit_until(daemon: &Daemon, path: &str, is_over: &AtomicBool) -> (usize, Duration) {
    let mut stream = daemon.connect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let (mut hits, mut longest) = (0, Duration::ZERO);
    while !is_over.load(Ordering::Acquire) {
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream, false).status, 200);
        longest = longest.max(begun.elapsed());
        hits += 1;
    }
    (hits, longest)
}

#[test]
fn a_cold_file_does_not_hold_up_the_other_connections() {
    let daemon = start("", "[limits]\nrequests_per_connection = 100_000_000");
    for (name, len) in [("small.bin", 3000), ("large.bin", 200_000)] {
        daemon.put(name, &pattern(len, 1));
        assert_eq!(daemon.get(&format!("/{name}")).body.len(), len);
    }
    let reads = Arc::new(AtomicUsize::new(0));
    let disk = SlowDisk { reads: Arc::clone(&reads) };
    let Some(mounted) = Mounted::new(daemon, disk) else { return };
    let daemon = mounted.daemon.as_ref().expect("runs until it is dropped");
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    let (small, large) = std::thread::scope(|scope| {
        let small = scope.spawn(|| hit_until(daemon, "/small.bin", &is_over));
        let large = scope.spawn(|| hit_until(daemon, "/large.bin", &is_over));
        // Below and above the size from which bodies leave by sendfile, and in several pieces.
        let cold = ["20000.1", "20000.2", "300000.1", "300000.2", "2500000.1"]
            .map(|name| scope.spawn(move || (name, daemon.get(&format!("/slow/{name}")).body)));
        for thread in cold {
            let (name, body) = thread.join().unwrap();
            let len = name.split_once('.').unwrap().0.parse().unwrap();
            assert!(body == pattern(len, 1), "{name}: {} bytes", body.len());
        }
        is_over.store(true, Ordering::Release);
        (small.join().unwrap(), large.join().unwrap())
    });
    let reads = reads.load(Ordering::Relaxed);
    assert!(reads >= 5, "{reads} reads: the files were not cold");
    assert!(begun.elapsed() >= 10 * DELAY, "the disk was not slow");
    for (hits, longest) in [small, large] {
        assert!(longest < DELAY / 2, "a hit waited {longest:?}, the disk takes {DELAY:?}");
        assert!(hits > 100, "{hits} hits meanwhile");
    }
}
