//! Disks that are full or read-only: answers are passed on.
//!
//! Not here: permissions (`damage`), system calls that fail one by one (`cache::store`).

use std::fs;

use crate::base::minutes;
use crate::harness::{await_true, pattern};
use crate::mount::is_possible;
use crate::origin::Origin;
use crate::peer::Setup;

const SMALL_DISK: &str = "mount -t tmpfs -o size=2m none \"$1\"";
const READ_ONLY: &str = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"";

/// An origin whose bodies are as long as the last part of the path says.
fn sized() -> Origin {
    Origin::start(|exchange| {
        let size = exchange.target.rsplit('/').next().unwrap().parse().unwrap();
        exchange.answer("Cache-Control: max-age=1000\r\n", pattern(size, 8));
    })
}

#[test]
fn a_full_disk_means_passing_through() {
    if !is_possible(SMALL_DISK) {
        return;
    }
    let origin = sized();
    let peer = Setup::of(&origin).before(SMALL_DISK).start();
    for round in 0..2 {
        for target in ["/1000", "/1000000", "/5000000", "/2000000", "/40000000", "/100"] {
            let size: usize = target[1..].parse().unwrap();
            let reply = peer.get(target);
            let is_right = reply.is_whole && reply.body == pattern(size, 8);
            assert!(reply.status == 200 && is_right, "{target} in round {round}: {}", reply.head);
        }
    }
    assert!(peer.metric("peerage_cache_not_stored_total") >= 1.0);
    // Much that is small fills it too.
    for number in 0..200 {
        let reply = peer.get(&format!("/{number}/30000"));
        assert!(reply.is_whole && reply.body == pattern(30_000, 8), "{}", reply.head);
    }
    assert_eq!(peer.get("/1000").status, 200);
}

#[test]
fn a_read_only_tree_means_passing_through() {
    if !is_possible(READ_ONLY) {
        return;
    }
    // First an ordinary one, which stores something.
    let origin = minutes();
    let mut peer = Setup::of(&origin).start();
    fs::create_dir_all(peer.file("")).unwrap();
    fs::write(peer.file("hand"), "by hand").unwrap();
    peer.get("/a");
    peer.await_hit("/a");
    peer.kill();
    peer.set_before(READ_ONLY);
    peer.restart();
    let hit = peer.get("/a");
    assert!(hit.is_hit() && hit.text() == "/a 1", "{}", hit.head);
    assert_eq!(peer.get("/hand").text(), "by hand");
    await_true(20, "three fetches", || {
        let reply = peer.get("/b");
        assert!(reply.status == 200 && reply.text().starts_with("/b "), "{}", reply.head);
        origin.count("/b") >= 3
    });
    assert!(peer.metric("peerage_cache_not_stored_total") >= 1.0);
    assert!(!peer.file("b").exists());
}

#[test]
fn an_answer_that_is_confirmed_in_a_read_only_tree_is_served() {
    if !is_possible(READ_ONLY) {
        return;
    }
    let origin = Origin::start(|exchange| {
        if exchange.field("If-None-Match") == "\"v\"" {
            exchange.confirm("ETag: \"v\"\r\nCache-Control: max-age=1\r\n");
        } else {
            exchange.answer("ETag: \"v\"\r\nCache-Control: max-age=1\r\n", "body");
        }
    });
    let mut peer = Setup::of(&origin).start();
    peer.get("/a");
    peer.await_hit("/a");
    peer.kill();
    peer.set_before(READ_ONLY);
    peer.restart();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    for _ in 0..5 {
        let reply = peer.get("/a");
        assert_eq!((reply.status, reply.text()), (200, "body".to_owned()));
    }
}
