//! The store thread on a real directory, from its start to its end.
//!
//! Thread: tests.
//! Not here: each rule by itself, and faults (`cache::store`).

use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::*;
use crate::cache::inventory::NameHash;
use crate::cache::presence::Presence;
use crate::cache::purge::What;
use crate::daemon::topology::{StoreLine, start_store, store_queue};
use crate::sys::disk::ATTRIBUTE;

/// What the thread said.
#[derive(Debug)]
enum Said {
    Reply(FromStore),
    Changed,
    Purged(u64, Purged),
}

struct Ear(Sender<Said>);

impl Replies for Ear {
    fn reply(&mut self, answer: FromStore) {
        self.0.send(Said::Reply(answer)).unwrap();
    }

    fn changed(&mut self, _: &[u8]) {
        self.0.send(Said::Changed).unwrap();
    }

    fn purged(&mut self, id: u64, purged: Purged) {
        self.0.send(Said::Purged(id, purged)).unwrap();
    }

    fn seen(&mut self, _: u64, _: Sight) {}

    fn batch_done(&mut self) {}
}

struct Running {
    line: StoreLine,
    said: Receiver<Said>,
    counters: Arc<StoreCounters>,
    thread: std::thread::JoinHandle<()>,
}

/// Heads of tests are their own tags.
fn options() -> Options {
    let tags_of: fn(&[u8]) -> Vec<Box<[u8]>> = |head| vec![head.into()];
    let expire: fn(&[u8]) -> Option<Vec<u8>> = |head| Some([b"old ", head].concat());
    let presence = Arc::new(Presence::new(9));
    Options { process: 1, hash_seed: 9, tags_of, presence, expire }
}

fn run(root: &Path, limits: Limits) -> Running {
    let (sender, said) = bounded(100_000);
    let counters = Arc::new(StoreCounters::default());
    let replies = Box::new(Ear(sender));
    let storage =
        Storage::new(root, options(), limits, replies, Arc::clone(&counters), None).unwrap();
    let (line, end) = store_queue();
    let thread = start_store(storage, end).unwrap();
    Running { line, said, counters, thread }
}

impl Running {
    /// The next thing said that is no change of a name.
    fn hear(&self) -> Said {
        loop {
            match self.said.recv_timeout(Duration::from_secs(10)).unwrap() {
                Said::Changed => {}
                said => return said,
            }
        }
    }

    fn put(&self, number: u64, name: &str, head: &str, body: Vec<u8>) {
        let put = Put {
            id: StoreId { worker: 0, number },
            name: name.as_bytes().into(),
            head: head.as_bytes().into(),
            tags: vec![head.as_bytes().into()],
            length: Some(body.len() as u64),
            pieces: vec![Bytes::from(body)],
            is_last: true,
        };
        assert!(self.line.tell(ToStore::Put(put)));
    }

    fn purge(&self, what: What, soft: bool) -> Purged {
        let purge = Arc::new(Purge { what, soft });
        self.line.order(ToStore::Purge { id: 5, purge });
        match self.hear() {
            Said::Purged(5, purged) => purged,
            said => panic!("{said:?}"),
        }
    }

    fn wait(&self, what: impl Fn(&StoreCounters) -> bool) {
        for _ in 0..1000 {
            if what(&self.counters) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not within ten seconds: {:?}", self.counters);
    }

    fn stop(self) {
        self.line.order(ToStore::Stop);
        self.thread.join().unwrap();
    }
}

fn has_attributes(root: &Path) -> bool {
    let file = File::create(root.join("probe")).unwrap();
    let set = rustix::fs::fsetxattr(&file, ATTRIBUTE, b"x", rustix::fs::XattrFlags::empty());
    std::fs::remove_file(root.join("probe")).unwrap();
    set.is_ok()
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { pending.push(path) } else { found.push(path) }
        }
    }
    found
}

fn key(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

#[test]
fn a_store_from_start_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    if !has_attributes(root) {
        println!("skipped: no user.* attributes in {}", root.display());
        return;
    }
    std::fs::create_dir_all(root.join(".peerage")).unwrap();
    std::fs::write(root.join(".peerage/tmp-0-1"), "left over").unwrap();
    std::fs::create_dir(root.join("h")).unwrap();
    std::fs::write(root.join("h/hand.gif"), "mine").unwrap();

    let running = run(root, Limits::default());
    for number in 0..60 {
        running.put(number, &format!("/h/{}/{number}.gif", number % 3), "red", vec![7; 5000]);
        let Said::Reply(FromStore::Stored { id, name }) = running.hear() else { panic!() };
        assert_eq!((id.number, name.len()), (number, format!("/h/0/{number}.gif").len()));
    }
    running.put(60, "/h/hand.gif", "red", vec![7; 10]);
    let Said::Reply(FromStore::NotStored { why: NotStored::Blocked, .. }) = running.hear() else {
        panic!()
    };
    pieces(&running, root);
    running.wait(|counters| counters.is_all_known.value() == 1);
    let counters = &running.counters;
    assert_eq!((counters.leftovers.value(), counters.files.value()), (1, 61));
    assert!(files(&root.join(".peerage")).is_empty());
    running.stop();

    // Another process learns what this one stored, and evicts down to its bound.
    let running = run(root, Limits::default());
    running.wait(|counters| counters.is_all_known.value() == 1);
    assert_eq!((running.counters.files.value(), running.counters.tag_names.value()), (61, 61));
    let bytes = running.counters.bytes.value();
    let hash = NameHash::new(9).of(b"/h/2/2.gif");
    running.line.order(ToStore::Used { hashes: vec![hash] });
    let max = bytes / 2;
    let bytes_max = Some(max);
    running.line.order(ToStore::Limits(Limits { bytes_max, free_bytes_min: 0 }));
    running.wait(|counters| counters.bytes.value() <= max - max / 100 * 5);
    assert!(running.counters.bytes.value() > max / 100 * 85);
    assert!(root.join("h/2/2.gif").exists() && root.join("h/hand.gif").exists());
    assert_eq!(files(root).len() as u64, running.counters.files.value() + 1);
    running.line.order(ToStore::Limits(Limits::default()));
    purges(&running, root);
    running.stop();
}

/// A body in pieces, which is read while it comes.
fn pieces(running: &Running, root: &Path) {
    let id = StoreId { worker: 3, number: 1 };
    let (name, head, tags) = (key("/h/long.gif"), key("blue"), vec![key("blue")]);
    let pieces = vec![Bytes::from(b"one ".to_vec()), Bytes::from(b"two".to_vec())];
    let put = Put { id, name, head, tags, length: None, pieces, is_last: false };
    assert!(running.line.tell(ToStore::Put(put)));
    let Said::Reply(FromStore::Written { bytes: 7, file: Some(file), .. }) = running.hear() else {
        panic!()
    };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    assert_eq!(std::fs::read(path).unwrap(), b"one two");
    assert!(!root.join("h/long.gif").exists());
    let pieces = vec![Bytes::from(b" three".to_vec())];
    assert!(running.line.tell(ToStore::More { id, pieces, head: None, is_last: true }));
    let Said::Reply(answer) = running.hear() else { panic!() };
    assert!(matches!(answer, FromStore::Stored { .. }) && answer.worker() == 3);
    assert_eq!(std::fs::read(root.join("h/long.gif")).unwrap(), b"one two three");
}

fn purges(running: &Running, root: &Path) {
    let removed = |what: What| running.purge(what, false).removed;
    let before = running.counters.files.value();
    for (number, name) in ["/h/k", "/h/k%_404", "/h/p/1", "/h/p/2", "/h/g.png"].iter().enumerate() {
        running.put(number as u64, name, "green", vec![1]);
        assert!(matches!(running.hear(), Said::Reply(FromStore::Stored { .. })));
    }
    assert_eq!(running.purge(What::Tag(key("green")), true).removed, 5);
    assert_eq!(removed(What::Key(key("/h/k"))), 2);
    assert_eq!(removed(What::Prefix(key("/h/p/"))), 2);
    assert!(!root.join("h/p").exists());
    let pattern = crate::cache::pattern::Pattern::new("*.png");
    assert_eq!(removed(What::Glob { directory: key("h"), pattern }), 1);
    for (number, name) in [(10, "/u/k"), (11, "/u/k%_v000000000000001f"), (12, "/u/k%_file")] {
        running.put(number, name, "green", vec![1]);
        assert!(matches!(running.hear(), Said::Reply(FromStore::Stored { .. })));
    }
    assert_eq!(removed(What::Url(key("/u/k"))), 3);
    running.put(9, "/i/x", "green", vec![1]);
    assert!(matches!(running.hear(), Said::Reply(FromStore::Stored { .. })));
    assert_eq!(removed(What::Directory(key("i"))), 1);
    running.put(9, "/i/x", "green", vec![1]);
    assert!(matches!(running.hear(), Said::Reply(FromStore::Stored { .. })));
    let purged = running.purge(What::Tag(key("GREEN")), false);
    assert_eq!(purged.removed, 1);
    let purged = running.purge(What::All, false);
    assert_eq!((purged.removed, purged.kept, purged.failed), (before, 1, 0));
    assert_eq!(files(root), [root.join("h/hand.gif")]);
}

#[test]
fn a_long_purge_keeps_nothing_from_being_stored() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    if !has_attributes(root) {
        eprintln!("skipped: no attributes of users on this file system");
        return;
    }
    // More than one step looks at, and then another purge behind it.
    std::fs::create_dir_all(root.join("h/many")).unwrap();
    for number in 0..4 * STORE_STEP_ENTRIES_MAX {
        File::create(root.join(format!("h/many/{number}"))).unwrap();
    }
    let running = run(root, Limits::default());
    running.wait(|counters| counters.is_all_known.value() == 1);
    for (id, what) in [(1, What::Prefix(key("/h/many/"))), (2, What::Directory(key("none")))] {
        let purge = Arc::new(Purge { what, soft: false });
        running.line.order(ToStore::Purge { id, purge });
    }
    running.put(1, "/h/new", "red", vec![1]);
    assert!(matches!(running.hear(), Said::Reply(FromStore::Stored { .. })));
    let kept = 4 * STORE_STEP_ENTRIES_MAX as u64;
    assert!(
        matches!(running.hear(), Said::Purged(1, Purged { removed: 0, kept: found, failed: 0 })
        if found == kept)
    );
    assert!(matches!(running.hear(), Said::Purged(2, Purged { removed: 0, kept: 0, failed: 0 })));
    running.stop();
}

/// Resident memory of this process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Prints what `bench/results/cache.md` states: time and memory to learn a million stored files,
/// and what a body and a purge cost meanwhile and after.
#[test]
#[ignore = "slow: writes and removes 1,000,000 files (7 min, 8 GB of disk)"]
fn learning_a_million_files() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let clock = Clock::default();
    let disk = crate::sys::disk::Root::open(root).unwrap();
    let head = vec![b'h'; 300];
    for number in 0..1_000_000 {
        if number % 1000 == 0 {
            std::fs::create_dir_all(root.join(format!("h/{}", number / 1000))).unwrap();
        }
        let file = disk.create(b"new").unwrap();
        disk.write(&file, 0, [&b"x"[..]].into_iter()).unwrap();
        disk.set_attribute(&file, &head).unwrap();
        let name = format!("h/{}/{number}.gif", number / 1000);
        disk.rename(b"new", name.as_bytes(), false).unwrap();
    }
    rustix::fs::sync();
    println!("on disk after {:.1} s", clock.now().since(Instant::default()).as_secs_f64());
    let (sender, said) = bounded(100_000);
    let before = resident_kib();
    let began = clock.now();
    let options = Options { tags_of: |_| Vec::new(), ..options() };
    let counters = Arc::new(StoreCounters::default());
    let (replies, limits) = (Box::new(Ear(sender)), Limits::default());
    let storage =
        Storage::new(root, options, limits, replies, Arc::clone(&counters), None).unwrap();
    let (line, end) = store_queue();
    let thread = start_store(storage, end).unwrap();
    let running = Running { line, said, counters, thread };
    let mut puts = Vec::new();
    while running.counters.is_all_known.value() == 0 {
        let asked = clock.now();
        running.put(1, "/h/new/x", "red", vec![7; 20_000]);
        assert!(matches!(running.hear(), Said::Reply(FromStore::Stored { .. })));
        puts.push(clock.now().since(asked).as_micros());
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = clock.now().since(began).as_secs_f64();
    let memory = resident_kib() - before;
    puts.sort_unstable();
    println!(
        "learnt in {took:.2} s, {memory} KiB more resident; {} bodies stored meanwhile, each in \
         {} us (median), {} us (worst)",
        puts.len(),
        puts[puts.len() / 2],
        puts[puts.len() - 1],
    );
    for (what, text) in [
        (What::Key(key("/h/7/7007.gif")), "a key beside 999 others"),
        (What::Prefix(key("/h/8/")), "one directory"),
        (What::Prefix(key("/h/9")), "a tenth"),
    ] {
        let asked = clock.now();
        let removed = running.purge(what, false).removed;
        let took = clock.now().since(asked).as_secs_f64();
        println!("purge of {text}: {removed} files in {:.1} ms", took * 1e3);
    }
    running.stop();
}
