//! What the store promises, on a disk that fails at every call in turn.
//!
//! Thread: tests.
//! Not here: the real disk (`sys::disk`), the thread (`daemon::store`).

use super::memory::{Fault, MemoryDisk, Node};
use super::*;

const ID: StoreId = StoreId { worker: 1, number: 7 };

type Files = Vec<(String, String, Option<String>)>;

fn store(disk: MemoryDisk) -> Store<MemoryDisk> {
    let mut store = Store::new(disk, options());
    // It may fail: then every body tries.
    let result = store.handle_start();
    assert!(result.is_ok() || !matches!(store.disk.fault, Fault::Never));
    store
}

/// Heads of tests are words: their tags. A soft purge makes a head `expired ...`.
pub fn options() -> Options {
    let tags_of: fn(&[u8]) -> Vec<Box<[u8]>> = |head| {
        let words = head.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        words.map(Box::from).collect()
    };
    let expire: fn(&[u8]) -> Option<Vec<u8>> = |head| Some([b"expired ", head].concat());
    let presence = Arc::new(Presence::new(1));
    Options { process: 1, hash_seed: 1, tags_of, presence, expire }
}

fn put(name: &str, body: &str) -> Put {
    Put {
        id: ID,
        name: name.as_bytes().into(),
        head: (*b"head").into(),
        tags: Vec::new(),
        length: Some(body.len() as u64),
        pieces: vec![Bytes::from(body.as_bytes().to_vec())],
        is_last: true,
    }
}

/// Runs one put to its end, in one message.
fn outcome(store: &mut Store<MemoryDisk>, put: Put) -> Result<String, NotStored> {
    store.handle_put(put);
    ending(store).expect("one event ends each body")
}

fn ending(store: &mut Store<MemoryDisk>) -> Option<Result<String, NotStored>> {
    let mut ending = None;
    while let Some(event) = store.poll_event() {
        let result = match event {
            Event::Stored { name, .. } => Ok(String::from_utf8_lossy(&name).into_owned()),
            Event::NotStored { why, .. } => Err(why),
            Event::Written { .. } | Event::Changed { .. } => continue,
        };
        assert!(ending.replace(result).is_none(), "one event ends a body");
    }
    ending
}

fn file(name: &str, body: &str, head: Option<&str>) -> (String, String, Option<String>) {
    (name.to_owned(), body.to_owned(), head.map(str::to_owned))
}

fn left(files: Files) -> (Files, Files) {
    files.into_iter().partition(|(name, _, _)| name.starts_with("/.peerage/"))
}

// ---- One body ----

#[test]
fn a_body_in_one_message_is_stored_with_its_head() {
    let mut store = store(MemoryDisk::new());
    assert_eq!(outcome(&mut store, put("/h/a/b.gif", "body")), Ok("/h/a/b.gif".to_owned()));
    assert_eq!(store.disk.files(), [file("/h/a/b.gif", "body", Some("head"))]);
    assert_eq!(store.totals().stored, 1);
    assert_eq!(outcome(&mut store, put("/h/a/b.gif", "newer")), Ok("/h/a/b.gif".to_owned()));
    assert_eq!(store.disk.files(), [file("/h/a/b.gif", "newer", Some("head"))]);
    let mut bare = put("/h/e", "");
    (bare.pieces, bare.length) = (Vec::new(), None);
    assert_eq!(outcome(&mut store, bare), Ok("/h/e".to_owned()));
}

#[test]
fn a_head_counts_where_it_takes_a_block() {
    let mut store = store(MemoryDisk::new());
    let mut blocks = 0;
    for (name, len, more) in [("/h/none", 0, 1), ("/h/short", 64, 1), ("/h/long", 65, 2)] {
        let put = Put { head: vec![b'x'; len].into(), ..put(name, "body") };
        assert_eq!(outcome(&mut store, put).as_deref(), Ok(name));
        blocks += more;
        assert_eq!(store.inventory().blocks(), blocks, "{name}");
    }
}

#[test]
fn a_body_in_pieces_is_told_as_it_is_written() {
    let mut store = store(MemoryDisk::new());
    store.handle_put(Put { length: None, is_last: false, ..put("/h/a", "one") });
    let Some(Event::Written { id: ID, bytes: 3, file: Some(file) }) = store.poll_event() else {
        panic!("the first time with the file")
    };
    store.handle_more(ID, &[Bytes::from(b"two".to_vec())], false);
    assert_eq!(store.poll_event(), Some(Event::Written { id: ID, bytes: 6, file: None }));
    assert_eq!(file.borrow().0, b"onetwo");
    assert_eq!(left(store.disk.files()).1, []);
    store.handle_more(ID, &[], true);
    assert_eq!(store.poll_event(), Some(Event::Changed { name: (*b"/h/a").into() }));
    assert_eq!(store.poll_event(), Some(Event::Stored { id: ID, name: (*b"/h/a").into() }));
    assert_eq!(store.poll_event(), None);
    store.handle_more(ID, &[], true);
    assert_eq!(store.poll_event(), None, "it is over");
}

#[test]
fn another_length_than_announced_is_not_stored() {
    let mut store = store(MemoryDisk::new());
    for (body, length) in [("four", 3), ("four", 5)] {
        let put = Put { length: Some(length), ..put("/h/a", body) };
        assert_eq!(outcome(&mut store, put), Err(NotStored::Length));
    }
    store.handle_put(Put { length: Some(4), is_last: false, ..put("/h/a", "one") });
    store.handle_more(ID, &[Bytes::from(b"two".to_vec())], false);
    assert_eq!(ending(&mut store), Some(Err(NotStored::Length)));
    assert_eq!(store.disk.files(), []);
    assert_eq!(store.totals().not_stored[NotStored::Length.index()], 3);
}

#[test]
fn an_aborted_body_leaves_nothing() {
    let mut store = store(MemoryDisk::new());
    store.handle_put(Put { length: None, is_last: false, ..put("/h/a", "one") });
    store.handle_abort(ID);
    store.handle_more(ID, &[], true);
    assert_eq!(ending(&mut store), None);
    assert_eq!(store.disk.files(), []);
}

#[test]
fn bodies_at_once_are_bounded() {
    let mut store = store(MemoryDisk::new());
    for number in 0..=wide(STORE_OPEN_MAX) {
        let id = StoreId { worker: 0, number };
        store.handle_put(Put { id, length: None, is_last: false, ..put("/h/a", "one") });
    }
    assert_eq!(ending(&mut store), Some(Err(NotStored::Busy)));
    assert_eq!(store.open.len(), STORE_OPEN_MAX);
}

/// Gives `name` another head, in the place of the one that it has.
pub(super) fn freshen(store: &mut Store<MemoryDisk>, name: &[u8], head: &[u8]) {
    let before = match store.look(name) {
        Sight::Stored(before) => before,
        _ => Box::default(),
    };
    store.handle_freshen(name, &before, head);
}

// ---- What is in the way ----

#[test]
fn a_file_put_there_by_hand_is_left_alone() {
    let mut disk = MemoryDisk::new();
    disk.put("/h/a", "mine", None);
    disk.put_node("/h/link", Node::Link);
    let before = disk.files();
    let mut store = store(disk);
    for name in ["/h/a", "/h/a/b", "/h/a/b/c", "/h/link", "/h/link/a", "/.peerage/x"] {
        assert_eq!(outcome(&mut store, put(name, "x")), Err(NotStored::Blocked), "{name}");
    }
    store.handle_remove(&[(*b"/h/a").into(), (*b"/h/link").into(), (*b"/.peerage").into()]);
    freshen(&mut store, b"/h/a", b"new");
    assert_eq!((store.poll_event(), store.disk.files()), (None, before));
    assert_eq!(store.totals().failures, 0);
}

#[test]
fn a_stored_file_steps_aside_for_a_directory_of_its_name() {
    let mut store = store(MemoryDisk::new());
    for (name, at) in [("/h/a", "/h/a"), ("/h/a/b", "/h/a/b"), ("/h/a", "/h/a%_file")] {
        assert_eq!(outcome(&mut store, put(name, name)), Ok(at.to_owned()));
    }
    let files = [file("/h/a%_file", "/h/a", Some("head")), file("/h/a/b", "/h/a/b", Some("head"))];
    assert_eq!(store.disk.files(), files);
    // Two levels at once, and over what already lies aside.
    let mut disk = MemoryDisk::new();
    disk.put("/h/a", "1", Some("head"));
    disk.put("/h/a%_file", "0", Some("head"));
    let mut store = self::store(disk);
    assert_eq!(outcome(&mut store, put("/h/a/b/c", "2")), Ok("/h/a/b/c".to_owned()));
    let files = [file("/h/a%_file", "1", Some("head")), file("/h/a/b/c", "2", Some("head"))];
    assert_eq!(store.disk.files(), files);
}

#[test]
fn names_without_room_for_the_mark_are_refused() {
    let long = format!("/h/{}", "x".repeat(250));
    let mut store = store(MemoryDisk::new());
    assert_eq!(outcome(&mut store, put(&long, "1")), Ok(long.clone()));
    let below = format!("{long}/b");
    assert_eq!(outcome(&mut store, put(&below, "2")), Err(NotStored::NameTooLong));
    assert_eq!(store.disk.files(), [file(&long, "1", Some("head"))]);
    let mut disk = MemoryDisk::new();
    disk.put(&below, "by hand", None);
    let mut store = self::store(disk);
    assert_eq!(outcome(&mut store, put(&long, "1")), Err(NotStored::NameTooLong));
}

// ---- Heads and removals ----

#[test]
fn a_head_is_replaced_and_a_file_removed() {
    let mut store = store(MemoryDisk::new());
    outcome(&mut store, put("/h/a", "x")).unwrap();
    freshen(&mut store, b"/h/a", b"newer");
    freshen(&mut store, b"/h/b", b"newer");
    // One that was asked about another is not taken.
    store.handle_freshen(b"/h/a", b"other", b"newest");
    store.handle_remove_if(b"/h/a", b"other");
    assert_eq!(store.disk.files(), [file("/h/a", "x", Some("newer"))]);
    assert_eq!(store.poll_event(), Some(Event::Changed { name: (*b"/h/a").into() }));
    store.handle_remove(&[(*b"/h/b").into(), (*b"/h/a").into(), (*b"/h/a").into()]);
    assert_eq!(store.poll_event(), Some(Event::Changed { name: (*b"/h/a").into() }));
    assert_eq!((store.poll_event(), store.disk.files()), (None, Vec::new()));
    assert_eq!(store.totals().failures, 0);
}

#[test]
fn a_head_that_the_file_system_does_not_take_is_no_full_disk() {
    let mut store = store(MemoryDisk::new());
    // After create and write.
    store.disk.fault = Fault::At(store.disk.calls + 2, DiskError::Full);
    assert_eq!(outcome(&mut store, put("/h/a", "x")), Err(NotStored::HeadTooLong));
    store.disk.fault = Fault::At(store.disk.calls + 2, DiskError::Full);
    store.disk.free_bytes = 0;
    assert_eq!(outcome(&mut store, put("/h/a", "x")), Err(NotStored::Full));
    let head = vec![0; STORED_HEAD_BYTES_MAX + 1].into();
    let result = outcome(&mut store, Put { head, ..put("/h/a", "x") });
    assert_eq!(result, Err(NotStored::HeadTooLong));
    assert_eq!(store.disk.files(), []);
}

// ---- Faults of the disk ----

/// A tree with everything that a put can meet, and the puts.
fn eventful() -> (MemoryDisk, Vec<Put>) {
    let mut disk = MemoryDisk::new();
    disk.put("/.peerage/tmp-0-1", "left over", None);
    disk.put("/h/old", "0", Some("old"));
    disk.put("/h/parent", "1", Some("old"));
    disk.put("/h/parent%_file", "2", Some("old"));
    disk.put("/h/hand", "3", None);
    disk.put("/h/dir/x", "4", None);
    let names = ["/h/old", "/h/parent/a", "/h/hand", "/h/dir", "/g/1/2/3"];
    (disk, names.map(|name| put(name, "body")).into())
}

/// Whether every file outside the temporary directory is whole: as it was, or as it was to be.
fn is_whole(files: &Files) -> bool {
    files.iter().all(|(_, body, head)| match head.as_deref() {
        Some("head") => body == "body",
        Some("old") => body.len() == 1,
        None => matches!(&body[..], "3" | "4"),
        _ => false,
    })
}

/// Number of calls that all of it makes when nothing fails.
fn calls() -> u64 {
    let (disk, puts) = eventful();
    let mut store = store(disk);
    let results: Vec<_> = puts.into_iter().map(|put| outcome(&mut store, put)).collect();
    let good = |name: &str| Ok(name.to_owned());
    let blocked = Err(NotStored::Blocked);
    let expected = [good("/h/old"), good("/h/parent/a"), blocked, good("/h/dir%_file")];
    assert_eq!(results[..4], expected);
    assert_eq!(store.totals().leftovers, 1);
    assert!(is_whole(&store.disk.files()));
    store.disk.calls
}

#[test]
fn a_crash_at_any_call_leaves_whole_files_only() {
    for at in 0..=calls() {
        let (mut disk, puts) = eventful();
        disk.fault = Fault::Crash(at);
        let mut store = store(disk);
        for put in puts {
            store.handle_put(put);
        }
        let mut disk = store.disk.clone();
        assert!(is_whole(&left(disk.files()).1), "crash at {at}: {:?}", disk.files());
        disk.fault = Fault::Never;
        let store = self::store(disk);
        assert!(left(store.disk.files()).0.is_empty(), "crash at {at}: leftovers are cleared");
        assert!(is_whole(&store.disk.files()));
    }
}

#[test]
fn one_failing_call_costs_one_body_at_most() {
    let errors = [DiskError::Io(5), DiskError::Full, DiskError::Denied, DiskError::Missing];
    for error in errors {
        for at in 0..=calls() {
            let (mut disk, puts) = eventful();
            disk.fault = Fault::At(at, error);
            let mut store = store(disk);
            let results: Vec<_> =
                puts.into_iter().map(|put| outcome(&mut store, put).is_ok()).collect();
            let good = results.iter().filter(|is_ok| **is_ok).count();
            assert!(good >= 3, "{error:?} at {at}: {results:?}");
            assert!(is_whole(&left(store.disk.files()).1), "{error:?} at {at}");
            assert!(left(store.disk.files()).0.len() <= 1, "only what could not be removed");
        }
    }
}

#[test]
fn a_disk_that_takes_nothing_says_so_and_keeps_what_it_has() {
    for (error, why) in [
        (DiskError::Full, NotStored::Full),
        (DiskError::ReadOnly, NotStored::ReadOnly),
        (DiskError::Denied, NotStored::Denied),
        (DiskError::Io(5), NotStored::Io(5)),
    ] {
        let (mut disk, puts) = eventful();
        let before = disk.files();
        disk.fault = Fault::Writes(error);
        let mut store = store(disk);
        for put in puts {
            assert_eq!(outcome(&mut store, put), Err(why));
        }
        assert_eq!(store.disk.files(), before);
        store.disk.fault = Fault::Never;
        assert_eq!(outcome(&mut store, put("/h/new", "body")), Ok("/h/new".to_owned()));
    }
}

#[test]
fn a_temporary_directory_that_went_is_made_again() {
    let mut store = store(MemoryDisk::new());
    store.disk.nodes.remove(TEMPORARY);
    assert_eq!(outcome(&mut store, put("/h/a", "x")), Ok("/h/a".to_owned()));
    store.disk.nodes.clear();
    store.disk.put_node("/.peerage", Node::Link);
    assert_eq!(outcome(&mut store, put("/h/b", "x")), Err(NotStored::Blocked));
}
