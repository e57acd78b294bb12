//! The tree between starts: what is in it, what is left of what was under way.
//!
//! Not here: kill -9 in a loop (`crash`), damaged files (`damage`), full disks (`disks`).

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::minutes;
use crate::harness::{await_true, pattern, put};
use crate::origin::Origin;
use crate::peer::Setup;

#[test]
fn a_start_serves_what_is_stored_without_the_origin() {
    let mut origin = minutes();
    let mut peer = Setup::of(&origin).workers(2).start();
    let targets = ["/a.png", "/b/c.png", "/d?e=f", "/g/"];
    for target in targets {
        assert_eq!(peer.get(target).status, 200);
        peer.await_hit(target);
    }
    origin.stop();
    for _ in 0..3 {
        peer.restart();
        for target in targets {
            let reply = peer.get(target);
            assert!(reply.is_hit(), "{}", reply.head);
            assert_eq!(reply.text(), format!("{target} 1"));
            assert_eq!(reply.field("content-type"), "image/png");
        }
    }
    assert_eq!(origin.total(), targets.len());
}

#[test]
fn leftovers_are_cleared_at_the_start() {
    let origin = minutes();
    let mut peer = Setup::of(&origin).start();
    peer.get("/a");
    peer.await_hit("/a");
    peer.kill();
    let own = peer.root().join(".peerage");
    for number in 0..50 {
        fs::write(own.join(format!("tmp-1-{number}")), "left").unwrap();
    }
    peer.restart();
    peer.await_tidy();
    assert!(peer.get("/a").is_hit());
    assert_eq!(peer.get("/.peerage/tmp-1-1").status, 404);
}

#[test]
fn bodies_lie_apart_until_they_are_whole() {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let body = pattern(3 << 20, 1);
    let sent = body.clone();
    let origin = Origin::start(move |exchange| {
        let head =
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3145728\r\n\r\n";
        exchange.send(head);
        exchange.send(&sent[..2 << 20]);
        exchange.wait(|| gate.load(Ordering::SeqCst));
        exchange.send(&sent[2 << 20..]);
    });
    let mut peer = Setup::of(&origin).start();
    let mut pending = peer.ask("/a");
    pending.await_bytes(1 << 20);
    await_true(20, "a temporary file", || peer.temporaries().len() == 1);
    assert!(peer.files().is_empty());
    opened.store(true, Ordering::SeqCst);
    let reply = pending.finish();
    assert!(reply.is_whole && reply.body == body);
    await_true(20, "the file", || peer.file("a").exists());
    assert!(fs::read(peer.file("a")).unwrap() == body);
    peer.await_tidy();
    // One that is under way when the daemon is killed is gone, and is fetched anew.
    opened.store(false, Ordering::SeqCst);
    let mut pending = peer.ask("/b");
    pending.await_bytes(1 << 20);
    await_true(20, "a temporary file", || peer.temporaries().len() == 1);
    peer.kill();
    opened.store(true, Ordering::SeqCst);
    assert!(!pending.finish().is_whole);
    peer.restart();
    peer.await_tidy();
    assert!(peer.get("/b").body == body);
    assert!(peer.get("/a").is_hit());
    assert_eq!((origin.count("/a"), origin.count("/b")), (1, 2));
}

#[test]
fn bodies_of_every_size_are_stored_as_they_came() {
    let sizes = [0, 1, 4095, 4096, 4097, 65_536, 1_000_000, 20 << 20];
    let origin = Origin::start(|exchange| {
        let mut words = exchange.target.split('/').skip(1);
        let (kind, size) = (words.next().unwrap().to_owned(), words.next().unwrap());
        let body = pattern(size.parse().unwrap(), 2);
        if kind == "length" {
            exchange.answer("Cache-Control: max-age=60\r\n", body);
            return;
        }
        let head =
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
        exchange.send(head);
        for part in body.chunks(10_000) {
            exchange.send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
        }
        exchange.send("0\r\n\r\n");
    });
    let mut peer = Setup::of(&origin).workers(2).start();
    for round in 0..3 {
        for kind in ["length", "chunks"] {
            for size in sizes {
                let target = format!("/{kind}/{size}");
                let reply = peer.get(&target);
                let is_right = reply.is_whole && reply.body == pattern(size, 2);
                assert!(is_right, "{target} in round {round}: {}", reply.head);
                assert!(peer.await_hit(&target).body == reply.body, "{target}");
                assert_eq!(fs::read(peer.file(&target[1..])).unwrap().len(), size);
                assert_eq!(origin.count(&target), 1, "{target} in round {round}");
            }
        }
        if round == 1 {
            peer.restart();
        }
    }
}

#[test]
fn answers_that_are_too_large_are_passed_on() {
    let origin = Origin::start(|exchange| {
        let body = pattern(100_000, 2);
        if exchange.target == "/length" {
            exchange.answer("Cache-Control: max-age=60\r\n", body);
        } else {
            exchange.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\n");
            for part in body.chunks(10_000) {
                exchange.send(part);
            }
            exchange.close();
        }
    });
    let peer = Setup::of(&origin).cache("object_bytes_max = \"64 KiB\"").start();
    for target in ["/length", "/unknown"] {
        for number in 1..3 {
            let reply = peer.get(target);
            assert!(reply.is_whole && reply.body == pattern(100_000, 2), "{}", reply.head);
            await_true(20, "another fetch", || {
                origin.count(target) == number || peer.get(target).status != 200
            });
        }
    }
    peer.await_tidy();
    assert!(peer.files().is_empty());
}

#[test]
fn a_file_put_there_by_hand_while_it_is_fetched_stays() {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let origin = Origin::start(move |exchange| {
        exchange.wait(|| gate.load(Ordering::SeqCst));
        exchange.answer("Cache-Control: max-age=60\r\n", "fetched");
    });
    let peer = Setup::of(&origin).start();
    let pending = peer.ask("/a");
    await_true(20, "the request", || origin.count("/a") == 1);
    put(&peer.file("a"), b"by hand");
    opened.store(true, Ordering::SeqCst);
    assert_eq!(pending.finish().text(), "fetched");
    peer.await_tidy();
    await_true(20, "the file to be served", || peer.get("/a").text() == "by hand");
    assert_eq!(fs::read(peer.file("a")).unwrap(), b"by hand");
}

#[test]
fn the_store_survives_a_loss_of_its_own_directory() {
    let origin = minutes();
    let peer = Setup::of(&origin).start();
    peer.get("/a");
    peer.await_hit("/a");
    fs::remove_dir_all(peer.root().join(".peerage")).unwrap();
    assert_eq!(peer.get("/b").status, 200);
    assert_eq!(peer.await_hit("/b").text(), "/b 1");
    fs::remove_dir_all(peer.root().join(".peerage")).unwrap();
    fs::write(peer.root().join(".peerage"), "in the way").unwrap();
    assert_eq!(peer.get("/c").status, 200);
    assert_eq!(peer.get("/d").status, 200);
}

/// The store keeps directories open for a moment.
#[test]
fn bodies_do_not_follow_a_directory_that_was_moved_away() {
    let origin = minutes();
    let peer = Setup::of(&origin).start();
    for round in 0..5 {
        for number in 0..20 {
            assert_eq!(peer.get(&format!("/d/{round}-{number}")).status, 200);
        }
        let away = format!("away-{round}");
        fs::rename(peer.file("d"), peer.file(&away)).unwrap();
        let mut number = 0;
        await_true(2, "a new directory", || {
            number += 1;
            assert_eq!(peer.get(&format!("/d/{round}-new-{number}")).status, 200);
            peer.file("d").exists()
        });
        let target = format!("/d/{round}-last");
        peer.get(&target);
        peer.await_hit(&target);
        assert!(peer.file(&target[1..]).exists());
    }
}
