//! What the store does with a tree: learns it, evicts from it, purges it.
//!
//! Thread: tests.
//! Not here: bodies and failing calls (`cache::store::tests`).

use std::sync::Arc;

use super::memory::{Fault, MemoryDisk, Node};
use super::tests::{freshen, options};
use super::*;
use crate::cache::disk::BLOCK_BYTES;
use crate::cache::pattern::Pattern;
use crate::cache::purge::{Purge, Purged, What};
use crate::time::{Duration, Instant};

/// A minute for each of `epochs` since the start.
fn at(epochs: u64) -> Instant {
    Instant::default().after(Duration::from_secs(60 * epochs))
}

/// `/h0/..` to `/h9/..` with ten stored files of one block each, tagged `t0` to `t9`; and some that
/// are not the store's.
fn tree() -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    for host in 0..10 {
        for number in 0..10 {
            let tag = format!("t{number} all");
            disk.put(&format!("/h{host}/d/{number}.gif"), "x", Some(&tag));
        }
        disk.put(&format!("/h{host}/d/hand.gif"), "mine", None);
    }
    disk.put_node("/h0/link", Node::Link);
    disk.put_node("/lost+found", Node::Directory);
    disk
}

fn started(disk: MemoryDisk) -> Store<MemoryDisk> {
    let mut store = Store::new(disk, options());
    store.handle_start().unwrap();
    store
}

/// Steps until there is nothing to do.
fn settle(store: &mut Store<MemoryDisk>, now: Instant) -> usize {
    let steps = (0..10_000).take_while(|_| store.step(now, 7)).count();
    assert!(steps < 10_000, "it comes to an end");
    steps
}

fn learnt(disk: MemoryDisk) -> Store<MemoryDisk> {
    let mut store = started(disk);
    settle(&mut store, at(0));
    store
}

fn stored(store: &Store<MemoryDisk>) -> usize {
    store.disk.files().iter().filter(|(_, _, head)| head.is_some()).count()
}

fn by_hand(store: &Store<MemoryDisk>) -> usize {
    store.disk.files().len() - stored(store)
}

fn use_all(store: &mut Store<MemoryDisk>, host: &str) {
    let hash = NameHash::new(1);
    let files = store.disk.files();
    let names = files.iter().filter(|(name, _, _)| name.starts_with(host));
    let hashes: Vec<u64> = names.map(|(name, _, _)| hash.of(name.as_bytes())).collect();
    store.handle_used(&hashes);
}

fn limit(blocks: u64) -> Limits {
    Limits { bytes_max: Some(blocks * BLOCK_BYTES), free_bytes_min: 0 }
}

// ---- Scan ----

#[test]
fn the_tree_is_learnt_in_pieces() {
    let mut store = started(tree());
    assert!(store.step(at(0), 5) && !store.is_all_known());
    assert!(settle(&mut store, at(0)) > 20);
    assert!(store.is_all_known());
    assert_eq!((store.inventory().len(), store.inventory().blocks()), (100, 100));
    assert_eq!(store.tags().len(), 200);
    assert_eq!((store.totals().scanned, store.totals().scans), (110, 1));
    assert_eq!(store.poll_event(), None);
}

#[test]
fn a_tree_that_cannot_be_read_is_learnt_later() {
    let mut disk = tree();
    disk.fault = Fault::At(40, DiskError::Io(5));
    let mut store = learnt(disk);
    assert!(!store.is_all_known() && store.totals().failures == 1);
    settle(&mut store, at(2));
    assert!(store.is_all_known());
    assert_eq!(store.inventory().len(), 100);
}

#[test]
fn what_other_hands_did_is_learnt_by_name_or_anew() {
    let mut store = learnt(tree());
    store.disk.nodes.remove(&b"/h1/d/1.gif"[..]);
    store.handle_changed(b"/h1/d/1.gif");
    store.disk.put("/h1/d/2.gif", "mine now", None);
    store.handle_changed(b"/h1/d/2.gif");
    assert_eq!(store.inventory().len(), 98);
    store.disk.put("/new/d/1", "x", Some("t"));
    store.handle_changed(b"/new");
    settle(&mut store, at(0));
    assert_eq!((store.inventory().len(), store.totals().scans), (99, 1));
    store.disk.nodes.retain(|name, _| !name.starts_with(b"/h5"));
    store.handle_rescan();
    assert!(!store.step(at(0), 7), "not so soon again");
    settle(&mut store, at(2));
    assert_eq!((store.inventory().len(), store.totals().scans), (89, 2));
    assert!(store.is_all_known());
}

// ---- Eviction ----

#[test]
fn nothing_goes_below_the_bound() {
    let mut store = started(tree());
    store.handle_limits(limit(200));
    settle(&mut store, at(0));
    assert_eq!(stored(&store), 100);
}

#[test]
fn what_was_not_used_longest_goes() {
    let mut store = learnt(tree());
    for (epochs, host) in [(1, "/h3"), (2, "/h7"), (9, "/h0")] {
        store.handle_time(at(epochs));
        use_all(&mut store, host);
    }
    store.handle_limits(limit(100));
    settle(&mut store, at(9));
    assert_eq!(store.inventory().blocks(), 95);
    store.handle_limits(limit(30));
    settle(&mut store, at(9));
    // 5 % below the bound in whole blocks: all of h0 and h7, most of h3.
    assert_eq!(store.inventory().blocks(), 28);
    let left = |host: &str| {
        let files = store.disk.files();
        files.iter().filter(|(name, _, head)| name.starts_with(host) && head.is_some()).count()
    };
    assert_eq!((left("/h0"), left("/h7"), left("/h3")), (10, 10, 8));
    assert_eq!((by_hand(&store), store.totals().evictions), (10, 72));
}

#[test]
fn what_was_used_lately_goes_only_if_a_bound_is_broken() {
    let mut store = learnt(tree());
    use_all(&mut store, "/h");
    // Above 98 %, but not above the bound: no file is old enough.
    store.handle_limits(limit(101));
    settle(&mut store, at(0));
    assert_eq!(stored(&store), 100);
    store.handle_limits(limit(50));
    settle(&mut store, at(0));
    assert_eq!((store.inventory().blocks(), stored(&store)), (47, 47));
}

#[test]
fn a_bound_that_breaks_is_seen_to_at_once() {
    let mut store = learnt(tree());
    use_all(&mut store, "/h");
    store.handle_limits(limit(101));
    settle(&mut store, at(0));
    assert_eq!(stored(&store), 100, "there is nothing to do ahead of need");
    for number in 0..3 {
        let id = StoreId { worker: 0, number };
        let name: Box<[u8]> = format!("/h/{number}").into_bytes().into();
        let (head, tags, pieces) = ((*b"").into(), Vec::new(), vec![b"x".to_vec().into()]);
        store.handle_put(Put { id, name, head, tags, length: None, pieces, is_last: true });
    }
    settle(&mut store, at(0));
    assert!(store.inventory().blocks() <= 101, "{} blocks", store.inventory().blocks());
}

#[test]
fn free_space_is_kept_before_the_tree_is_known() {
    let mut disk = tree();
    disk.free_bytes = 1000 * BLOCK_BYTES;
    let mut store = started(disk);
    let free_bytes_min = 1000 * BLOCK_BYTES;
    store.handle_limits(Limits { bytes_max: None, free_bytes_min });
    assert!(store.step(at(0), 7));
    // The disk of this test does not grow: 50 blocks go, then it is looked at again.
    let steps = (0..1000).take_while(|_| stored(&store) > 50 && store.step(at(0), 7)).count();
    assert!(steps < 100 && stored(&store) == 50);
    store.disk.free_bytes += 50 * BLOCK_BYTES;
    settle(&mut store, at(1));
    assert_eq!((stored(&store), store.inventory().len()), (50, 50));
}

#[test]
fn a_body_that_met_a_full_disk_makes_room_for_the_next() {
    let mut store = learnt(tree());
    store.disk.fault = Fault::Writes(DiskError::Full);
    let id = StoreId { worker: 0, number: 0 };
    let name: Box<[u8]> = (*b"/h/a").into();
    let (head, tags, pieces) = ((*b"").into(), Vec::new(), Vec::new());
    store.handle_put(Put { id, name, head, tags, length: None, pieces, is_last: true });
    let why = NotStored::Full;
    assert_eq!(store.poll_event(), Some(Event::NotStored { id, why }));
    store.disk.fault = Fault::Never;
    settle(&mut store, at(9));
    assert_eq!(stored(&store), 95);
}

#[test]
fn emptied_directories_go_but_hosts_stay() {
    let mut disk = MemoryDisk::new();
    disk.put("/h/a/b/1", "x", Some(""));
    disk.put("/h/a/c/2", "x", Some(""));
    disk.put("/h/e/3", "x", None);
    // The last directory is tidied when the hand moves on.
    disk.put("/i/4", "x", Some(""));
    let mut store = learnt(disk);
    store.handle_limits(limit(0));
    settle(&mut store, at(9));
    let names: Vec<_> = store.disk.nodes.keys().map(|name| &name[..]).collect();
    assert_eq!(names, [&b"/.peerage"[..], b"/h", b"/h/e", b"/h/e/3", b"/i"]);
}

#[test]
fn what_cannot_be_removed_does_not_keep_the_store_busy() {
    let mut disk = tree();
    disk.fault = Fault::Never;
    let mut store = learnt(disk);
    store.disk.fault = Fault::Writes(DiskError::ReadOnly);
    store.handle_limits(limit(10));
    settle(&mut store, at(9));
    assert_eq!((stored(&store), store.inventory().len()), (100, 100));
    assert!(store.totals().failures >= 100);
    store.disk.fault = Fault::Never;
    settle(&mut store, at(10));
    assert_eq!(stored(&store), 9);
}

#[test]
fn files_that_became_something_else_are_left_alone() {
    let mut store = learnt(tree());
    let names: Vec<Box<[u8]>> = ["/h1/d/1.gif", "/h1/d/2.gif", "/h1/d/3.gif"].map(bytes).into();
    store.disk.put_node("/h1/d/1.gif", Node::Link);
    store.disk.put_node("/h1/d/2.gif", Node::Directory);
    store.disk.put("/h1/d/3.gif", "mine", None);
    store.disk.put_node("/h2/d", Node::Link);
    store.handle_remove(&names);
    freshen(&mut store, &names[0], b"new");
    let left = store.disk.nodes.clone();
    assert_eq!((store.inventory().len(), store.poll_event()), (97, None));
    store.handle_limits(limit(0));
    settle(&mut store, at(9));
    assert_eq!(store.totals().failures, 0);
    assert!(names.iter().all(|name| store.disk.nodes[&name[..]] == left[&name[..]]));
    assert_eq!(store.disk.nodes[&b"/h2/d"[..]], Node::Link);
}

// ---- Purges ----

fn purge(store: &mut Store<MemoryDisk>, what: What, soft: bool) -> Purged {
    store.handle_purge(Arc::new(Purge { what, soft }));
    loop {
        if let Some(purged) = store.purge_step(7) {
            return purged;
        }
    }
}

fn counts(purged: &Purged) -> (u64, u64, u64) {
    (purged.removed, purged.kept, purged.failed)
}

fn bytes(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

#[test]
fn table_of_purges() {
    let glob = What::Glob { directory: bytes("h1"), pattern: Pattern::new("/d/[4.gif") };
    let images = What::Glob { directory: bytes("h1"), pattern: Pattern::new("*.gif") };
    let table = [
        (What::Key(bytes("/h1/d/1.gif")), (1, 0, 0)),
        (What::Key(bytes("/h1/d/hand.gif")), (0, 1, 0)),
        (What::Key(bytes("/nowhere/d/1.gif")), (0, 0, 0)),
        (What::Key(bytes("/h1/d/1.gif/x")), (0, 0, 0)),
        (What::Url(bytes("/h1/d/1.gif")), (1, 0, 0)),
        (What::Url(bytes("/h1/d/hand.gif")), (0, 1, 0)),
        (What::Url(bytes("/nowhere/d/1.gif")), (0, 0, 0)),
        (What::Url(bytes("/h1/d/1.gif/x")), (0, 0, 0)),
        (What::Prefix(bytes("/h1/d/")), (10, 1, 0)),
        (What::Prefix(bytes("/h")), (100, 10, 0)),
        (glob, (0, 0, 0)),
        (images, (10, 1, 0)),
        (What::Directory(bytes("h2")), (10, 1, 0)),
        (What::Directory(bytes("")), (100, 10, 0)),
        (What::All, (100, 10, 0)),
        (What::Tag(bytes("T3")), (10, 0, 0)),
        (What::Tag(bytes("none")), (0, 0, 0)),
    ];
    for is_known in [false, true] {
        for (what, expected) in table.clone() {
            let mut store = if is_known { learnt(tree()) } else { started(tree()) };
            let purged = purge(&mut store, what.clone(), false);
            assert_eq!(counts(&purged), expected, "{what:?}");
            assert_eq!(stored(&store), 100 - usize::try_from(expected.0).unwrap());
            assert_eq!(by_hand(&store), 10);
            if is_known {
                assert_eq!(store.inventory().len(), stored(&store));
                assert_eq!(store.tags().len(), 2 * stored(&store));
            }
            let mut events = 0;
            while let Some(event) = store.poll_event() {
                assert!(matches!(event, Event::Changed { .. }));
                events += 1;
            }
            assert_eq!(events, purged.removed);
        }
    }
}

#[test]
fn a_key_goes_with_all_that_is_stored_for_it() {
    let mut disk = MemoryDisk::new();
    let marks = ["", "%_file", "%_404", "%_v0123456789abcdef", "%_file%_v0123456789abcdef"];
    for mark in marks {
        disk.put(&format!("/h/a{mark}"), "x", Some(""));
    }
    disk.put("/h/a?v=1", "x", Some(""));
    disk.put("/h/ab", "x", Some(""));
    let mut store = learnt(disk);
    let purged = purge(&mut store, What::Key(bytes("/h/a")), false);
    assert_eq!((counts(&purged), stored(&store)), ((5, 0, 0), 2));
}

#[test]
fn a_soft_purge_replaces_heads() {
    for what in [What::Directory(bytes("h1")), What::Tag(bytes("t1"))] {
        let mut store = learnt(tree());
        let purged = purge(&mut store, what.clone(), true);
        assert_eq!((purged.removed, stored(&store)), (10, 100));
        let files = store.disk.files();
        let expired =
            |head: &Option<String>| head.as_ref().is_some_and(|head| head.starts_with("expired "));
        assert_eq!(files.iter().filter(|(_, _, head)| expired(head)).count(), 10);
        // The tags still lead there.
        assert_eq!(purge(&mut store, what, false).removed, 10);
    }
}

#[test]
fn a_purge_says_what_failed() {
    let mut store = learnt(tree());
    store.disk.fault = Fault::Writes(DiskError::ReadOnly);
    let purged = purge(&mut store, What::Directory(bytes("h1")), false);
    assert_eq!((counts(&purged), stored(&store)), ((0, 1, 10), 100));
    let purged = purge(&mut store, What::Tag(bytes("t1")), false);
    assert_eq!(counts(&purged), (0, 0, 10));
    store.disk.fault = Fault::At(store.disk.calls, DiskError::Denied);
    assert_eq!(counts(&purge(&mut store, What::All, false)), (0, 0, 1));
    store.disk.fault = Fault::Never;
    assert_eq!(purge(&mut store, What::Tag(bytes("t1")), false).removed, 10);
}

#[test]
fn a_body_under_way_does_not_outlive_a_purge() {
    for (what, is_meant) in [
        (What::All, true),
        (What::Key(bytes("/h/a")), true),
        (What::Tag(bytes("RED")), true),
        (What::Tag(bytes("blue")), false),
        (What::Key(bytes("/h/b")), false),
    ] {
        let mut store = learnt(MemoryDisk::new());
        let id = StoreId { worker: 0, number: 0 };
        let (name, head) = (bytes("/h/a"), bytes("red"));
        let (tags, pieces) = (vec![bytes("red")], Vec::new());
        store.handle_put(Put { id, name, head, tags, length: None, pieces, is_last: false });
        purge(&mut store, what, false);
        store.handle_more(id, &[], true);
        assert_eq!(stored(&store), usize::from(!is_meant));
        assert_eq!(store.totals().not_stored[NotStored::Purged.index()], u64::from(is_meant));
    }
}

#[test]
fn the_tags_of_a_replaced_or_freshened_file_are_its_new_ones() {
    let mut store = learnt(tree());
    freshen(&mut store, b"/h1/d/1.gif", b"new");
    assert_eq!(purge(&mut store, What::Tag(bytes("t1")), false).removed, 9);
    let id = StoreId { worker: 0, number: 0 };
    let (name, head) = (bytes("/h1/d/2.gif"), bytes("other"));
    let (tags, pieces) = (vec![bytes("other")], Vec::new());
    store.handle_put(Put { id, name, head, tags, length: None, pieces, is_last: true });
    assert_eq!(purge(&mut store, What::Tag(bytes("t2")), false).removed, 9);
    assert_eq!(purge(&mut store, What::Tag(bytes("new")), false).removed, 1);
    assert_eq!(purge(&mut store, What::Tag(bytes("other")), false).removed, 1);
}
