//! Answers that are used although they are stale: while they are fetched again, while that fails.
//!
//! Not here: how long answers are fresh (`freshness`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::await_true;
use crate::origin::Origin;
use crate::peer::{Peer, Setup};

/// Answers are old, and live for a second.
const OLD: usize = 0;
/// Answers are held back.
const HELD: usize = 1;
/// Answers are new, and live long.
const NEW: usize = 2;

/// An origin that answers by the phase; old answers have this in their Cache-Control.
fn phased(control: &'static str) -> (Origin, Arc<AtomicUsize>) {
    let phase = Arc::new(AtomicUsize::new(OLD));
    let shared = Arc::clone(&phase);
    let origin = Origin::start(move |exchange| {
        if phase.load(Ordering::SeqCst) == OLD {
            exchange.answer(&format!("Cache-Control: max-age=1, {control}\r\n"), "old");
        } else {
            exchange.wait(|| phase.load(Ordering::SeqCst) == NEW);
            exchange.answer("Cache-Control: max-age=1000\r\n", "new");
        }
    });
    (origin, shared)
}

/// Asks for `/a`, and waits until what is stored is stale.
fn grow_stale(peer: &Peer) {
    // An answer that takes longer than it lives, on a machine with much else to do, is not kept.
    await_true(60, "the file", || {
        assert_eq!(peer.get("/a").text(), "old");
        std::thread::sleep(Duration::from_millis(200));
        peer.files() == [peer.file("a")]
    });
    std::thread::sleep(Duration::from_millis(2100));
}

#[test]
fn stale_answers_are_used_while_they_are_fetched_again() {
    for workers in [1, 2] {
        let (origin, phase) = phased("stale-while-revalidate=1000");
        let peer = Setup::of(&origin).workers(workers).start();
        grow_stale(&peer);
        phase.store(HELD, Ordering::SeqCst);
        let before = origin.count("/a");
        for _ in 0..20 {
            // The origin holds its answer back, so nobody waits for it.
            let reply = peer.get("/a");
            assert_eq!((reply.status, reply.text()), (200, "old".to_owned()));
            assert!(reply.field("age").parse::<u32>().unwrap() >= 1, "{}", reply.head);
        }
        await_true(20, "the fetch behind it", || origin.count("/a") == before + 1);
        assert!(peer.metric("peerage_cache_stale_total") >= 20.0);
        phase.store(NEW, Ordering::SeqCst);
        await_true(20, "the new answer", || peer.get("/a").text() == "new");
        assert_eq!(origin.count("/a"), before + 1, "one fetch for all");
    }
}

#[test]
fn no_stale_answer_where_none_is_allowed() {
    let (origin, phase) = phased("stale-while-revalidate=1000");
    let peer = Setup::of(&origin).rule("**", "stale_while_revalidate_max = \"0 s\"").start();
    grow_stale(&peer);
    phase.store(HELD, Ordering::SeqCst);
    let before = origin.count("/a");
    let pending = peer.ask("/a");
    await_true(20, "the fetch", || origin.count("/a") == before + 1);
    phase.store(NEW, Ordering::SeqCst);
    assert_eq!(pending.finish().text(), "new");
}

#[test]
fn stale_answers_stand_in_for_a_dead_origin() {
    for (control, rule) in [
        ("stale-if-error=1000", "stale_if_error = \"0 s\""),
        ("public", "stale_if_error = \"1 h\""),
    ] {
        let (mut origin, phase) = phased(control);
        let mut peer = Setup::of(&origin)
            .origin("down_min = \"100 ms\"\ndown_max = \"100 ms\"")
            .rule("**", rule)
            .start();
        grow_stale(&peer);
        origin.stop();
        for _ in 0..3 {
            let reply = peer.get("/a");
            assert_eq!((reply.status, reply.text()), (200, "old".to_owned()), "{control}");
        }
        assert!(peer.metric("peerage_cache_stale_total") >= 3.0);
        peer.restart();
        assert_eq!(peer.get("/a").text(), "old", "after a start");
        assert_eq!(peer.get("/b").status, 502, "nothing is stored of it");
        phase.store(NEW, Ordering::SeqCst);
        origin.restart();
        await_true(20, "the origin to be back", || peer.get("/a").text() == "new");
    }
}

#[test]
fn stale_answers_stand_in_for_errors_and_timeouts() {
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let origin = Origin::start(move |exchange| {
        if !failing.load(Ordering::SeqCst) {
            exchange.answer("Cache-Control: max-age=1, stale-if-error=1000\r\n", "old");
            return;
        }
        match &*exchange.target {
            "/slow" => exchange.wait_close(),
            "/garbage" => {
                exchange.send("garbage\r\n\r\n");
                exchange.close();
            }
            path => exchange.answer_with(path[1..].parse().unwrap(), "", "error"),
        }
    });
    let peer =
        Setup::of(&origin).origin("first_byte_timeout = \"300 ms\"\nfailures_max = 100").start();
    let targets = ["/500", "/502", "/503", "/504", "/slow", "/garbage", "/404", "/501"];
    for target in targets {
        assert_eq!(peer.get(target).text(), "old");
    }
    await_true(20, "all files", || peer.files().len() == targets.len());
    std::thread::sleep(Duration::from_millis(2100));
    fails.store(true, Ordering::SeqCst);
    for target in targets {
        let before = origin.count(target);
        let reply = peer.get(target);
        if matches!(target, "/404" | "/501") {
            assert_eq!(reply.text(), "error", "{target}");
        } else {
            assert_eq!((reply.status, reply.text()), (200, "old".to_owned()), "{target}");
        }
        assert!(origin.count(target) > before, "{target}");
    }
}

#[test]
fn nothing_stale_stands_in_where_that_is_forbidden() {
    for (number, control) in
        ["public", "must-revalidate, stale-if-error=1000", "proxy-revalidate, stale-if-error=1000"]
            .into_iter()
            .enumerate()
    {
        let (mut origin, _) = phased(control);
        let peer = Setup::of(&origin).start();
        grow_stale(&peer);
        origin.stop();
        let reply = peer.get("/a");
        assert!(matches!(reply.status, 502..=504), "{number} {control}: {}", reply.head);
    }
}

#[test]
fn an_error_that_is_passed_on_leaves_what_is_stored() {
    let number = Arc::new(AtomicUsize::new(0));
    let phase = Arc::clone(&number);
    let origin = Origin::start(move |exchange| match phase.load(Ordering::SeqCst) {
        0 => exchange.answer("Cache-Control: max-age=1\r\nETag: \"v\"\r\n", "old"),
        1 => exchange.answer_with(503, "", "error"),
        _ => {
            let is_asked = exchange.field("If-None-Match") == "\"v\"";
            exchange.answer("Cache-Control: max-age=1000\r\n", format!("asked {is_asked}"));
        }
    });
    let peer = Setup::of(&origin).start();
    grow_stale(&peer);
    number.store(1, Ordering::SeqCst);
    assert_eq!(peer.get("/a").status, 503);
    number.store(2, Ordering::SeqCst);
    assert_eq!(peer.get("/a").text(), "asked true", "its validator is still known");
}
