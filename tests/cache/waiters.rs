//! One fetch and many waiters: who is sent what and when, who leaves, what breaks.
//!
//! Not here: what is stored in the end (`storage`), how answers can be malformed (`faults`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::Pending;
use crate::harness::{await_true, pattern};
use crate::origin::{Exchange, Origin};
use crate::peer::Setup;

const LONG: &str = "Cache-Control: max-age=1000\r\n";

/// How far an origin may go with its answer.
type Gate = Arc<AtomicUsize>;

/// A body sent in steps: the n-th part only once the gate has opened for it. `None`: no length is
/// announced, and the parts are chunks.
fn stepwise(exchange: &mut Exchange<'_>, gate: &Gate, fields: &str, parts: &[&[u8]], chunks: bool) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let framing = match chunks {
        true => "Transfer-Encoding: chunked".to_owned(),
        false => format!("Content-Length: {length}"),
    };
    exchange.send(format!("HTTP/1.1 200 OK\r\n{fields}{framing}\r\n\r\n"));
    for (number, part) in parts.iter().enumerate() {
        exchange.wait(|| gate.load(Ordering::SeqCst) >= number);
        if chunks {
            exchange.send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
        } else {
            exchange.send(part);
        }
    }
    if chunks {
        exchange.send("0\r\n\r\n");
    }
}

/// An origin of one body in two halves, and the gate between them.
fn halves(len: usize, chunks: bool, fields: &'static str) -> (Origin, Gate, Vec<u8>) {
    let gate = Gate::default();
    let body = pattern(len, 3);
    let (opened, sent) = (Arc::clone(&gate), body.clone());
    let origin = Origin::start(move |exchange| {
        let (first, second) = sent.split_at(len / 2);
        stepwise(exchange, &gate, fields, &[first, second], chunks);
    });
    (origin, opened, body)
}

#[test]
fn two_hundred_requests_are_one_fetch_and_all_are_streamed() {
    const LEN: usize = 100_000;
    for chunks in [false, true] {
        let (origin, gate, body) = halves(LEN, chunks, LONG);
        let peer = Setup::of(&origin).workers(2).start();
        let mut all: Vec<Pending> = (0..200).map(|_| peer.ask("/a")).collect();
        // Every one has the first half while the origin holds the second back.
        for pending in &mut all {
            let head = pending.await_head();
            pending.await_bytes(head + LEN / 2);
        }
        assert_eq!(origin.count("/a"), 1);
        assert!(peer.files().is_empty(), "a final name is for whole files");
        gate.store(1, Ordering::SeqCst);
        for pending in all {
            let reply = pending.finish();
            assert!(reply.is_whole && reply.body == body, "{}", reply.head);
        }
        assert!(peer.await_hit("/a").body == body);
        assert_eq!((origin.total(), origin.connections()), (1, 1));
        let coalesced = peer.metric("peerage_cache_coalesced_total");
        assert_eq!(coalesced, 199.0, "all but the one that asked");
    }
}

#[test]
fn late_waiters_are_sent_what_came_before_them() {
    for chunks in [false, true] {
        let (origin, gate, body) = halves(600_000, chunks, LONG);
        let peer = Setup::of(&origin).workers(2).start();
        let mut first = peer.ask("/a");
        first.await_bytes(250_000);
        let mut late: Vec<Pending> = (0..10).map(|_| peer.ask("/a")).collect();
        for pending in &mut late {
            pending.await_bytes(250_000);
        }
        gate.store(1, Ordering::SeqCst);
        for pending in late.into_iter().chain([first]) {
            let reply = pending.finish();
            assert!(reply.is_whole && reply.body == body, "{}", reply.head);
        }
        assert_eq!(origin.count("/a"), 1);
    }
}

#[test]
fn a_key_is_asked_for_once_while_its_file_is_put_in_place() {
    const COUNT: usize = 300;
    let origin = Origin::start(|exchange| exchange.answer(LONG, exchange.target.clone()));
    let peer = Setup::of(&origin).workers(2).start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..COUNT {
                    let target = format!("/{number}");
                    assert_eq!(peer.get(&target).text(), target);
                }
            });
        }
    });
    let again: Vec<(usize, usize)> = (0..COUNT)
        .map(|number| (number, origin.count(&format!("/{number}"))))
        .filter(|(_, count)| *count != 1)
        .collect();
    assert!(again.is_empty(), "{} of {COUNT}: {again:?}", again.len());
}

#[test]
fn a_slow_waiter_does_not_slow_the_others() {
    // More than sockets and memory hold for one who does not read.
    const LEN: usize = 40 << 20;
    let body = pattern(LEN, 5);
    let sent = body.clone();
    let origin = Origin::start(move |exchange| exchange.answer(LONG, &sent));
    for workers in [1, 2] {
        let peer = Setup::of(&origin).workers(workers).start();
        let target = format!("/{workers}");
        let mut slow = peer.ask(&target);
        slow.await_head();
        for _ in 0..3 {
            let reply = peer.get(&target);
            assert!(reply.is_whole && reply.body == body, "{}", reply.head);
        }
        let reply = slow.finish();
        assert!(reply.is_whole && reply.body == body, "{}", reply.head);
        assert_eq!(origin.count(&target), 1);
    }
}

#[test]
fn a_fetch_that_was_held_up_goes_on() {
    // Nothing of it is stored, so that its bytes have nowhere to go while nobody reads them.
    const LEN: usize = 60 << 20;
    let body = pattern(LEN, 5);
    let sent = body.clone();
    let origin = Origin::start(move |exchange| exchange.answer(LONG, &sent));
    for workers in [1, 2] {
        let peer =
            Setup::of(&origin).workers(workers).cache("object_bytes_max = \"1 MiB\"").start();
        for number in 0..2 {
            let target = format!("/{workers}/{number}");
            let mut one = peer.ask(&target);
            one.await_head();
            let other = peer.ask(&target);
            let received = || peer.metric("peerage_origin_bytes_total");
            let mut before = received();
            await_true(20, "the daemon to have enough", || {
                std::thread::sleep(Duration::from_millis(300));
                std::mem::replace(&mut before, received()) == before
            });
            let others = std::thread::spawn(move || other.finish());
            for reply in [one.finish(), others.join().unwrap()] {
                let len = reply.body.len();
                assert!(reply.is_whole, "{workers} {number}: {len} bytes, {}", reply.head);
                assert!(reply.body == body, "{workers} {number}: {len} other bytes");
            }
        }
    }
}

#[test]
fn who_leaves_does_not_end_the_fetch() {
    for chunks in [false, true] {
        let (origin, gate, body) = halves(100_000, chunks, LONG);
        let peer = Setup::of(&origin).workers(2).start();
        let mut first = peer.ask("/a");
        first.await_bytes(40_000);
        let mut second = peer.ask("/a");
        second.await_bytes(40_000);
        let third = peer.ask("/a");
        drop((first, third));
        gate.store(1, Ordering::SeqCst);
        let reply = second.finish();
        assert!(reply.is_whole, "{} bytes: {}", reply.body.len(), reply.head);
        assert!(reply.body == body);
        assert!(peer.await_hit("/a").body == body);
        assert_eq!(origin.count("/a"), 1);
    }
}

#[test]
fn a_fetch_that_all_have_left_is_stored() {
    for early in [false, true] {
        let gate = Gate::default();
        let opened = Arc::clone(&gate);
        let body = pattern(100_000, 9);
        let sent = body.clone();
        let origin = Origin::start(move |exchange| {
            exchange.wait(|| !early || gate.load(Ordering::SeqCst) > 0);
            let (first, second) = sent.split_at(50_000);
            stepwise(exchange, &gate, LONG, &[first, second], false);
        });
        let peer = Setup::of(&origin).start();
        let mut only = peer.ask("/a");
        if early {
            await_true(20, "the request", || origin.count("/a") == 1);
        } else {
            only.await_bytes(40_000);
        }
        drop(only);
        opened.store(1, Ordering::SeqCst);
        await_true(20, "the file", || peer.file("a").exists());
        assert!(std::fs::read(peer.file("a")).unwrap() == body);
        assert!(peer.await_hit("/a").body == body);
        assert_eq!(origin.count("/a"), 1);
    }
}

#[test]
fn an_origin_that_dies_in_the_middle_leaves_nothing() {
    for (chunks, resets) in [(false, false), (false, true), (true, false), (true, true)] {
        let gate = Gate::default();
        let opened = Arc::clone(&gate);
        let body = pattern(100_000, 4);
        let sent = body.clone();
        let origin = Origin::start(move |exchange| {
            let (first, second) = sent.split_at(60_000);
            if exchange.number > 1 {
                stepwise(exchange, &Gate::new(AtomicUsize::new(1)), LONG, &[&sent], chunks);
                return;
            }
            let framing =
                if chunks { "Transfer-Encoding: chunked" } else { "Content-Length: 100000" };
            exchange.send(format!("HTTP/1.1 200 OK\r\n{LONG}{framing}\r\n\r\n"));
            if chunks {
                exchange.send(format!("{:x}\r\n", first.len()));
            }
            exchange.send(first);
            if chunks {
                exchange.send(format!("\r\n{:x}\r\n", second.len()));
            }
            exchange.wait(|| gate.load(Ordering::SeqCst) > 0);
            if resets { exchange.reset() } else { exchange.close() }
        });
        let peer = Setup::of(&origin).workers(2).start();
        let mut all: Vec<Pending> = (0..8).map(|_| peer.ask("/a")).collect();
        for pending in &mut all {
            pending.await_bytes(50_000);
        }
        opened.store(1, Ordering::SeqCst);
        for pending in all {
            let reply = pending.finish();
            assert!(!reply.is_whole, "visibly short: {}", reply.head);
            assert!(body.starts_with(&reply.body));
        }
        peer.await_tidy();
        assert!(peer.files().is_empty());
        assert_eq!(peer.errors("early_close"), 1.0);
        let reply = peer.get("/a");
        assert!(reply.is_whole && reply.body == body, "{}", reply.head);
        assert!(peer.await_hit("/a").body == body);
        assert!(origin.count("/a") >= 2);
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole_unless_it_breaks() {
    let origin = Origin::start(|exchange| {
        exchange.send(format!("HTTP/1.1 200 OK\r\n{LONG}\r\nsome bytes"));
        if exchange.target == "/broken" && exchange.number == 1 {
            exchange.wait(|| false);
        }
        exchange.close();
    });
    let peer = Setup::of(&origin).origin("between_bytes_timeout = \"300 ms\"").start();
    let reply = peer.get("/whole");
    assert!(reply.is_whole && reply.body == b"some bytes", "{}", reply.head);
    assert_eq!(peer.await_hit("/whole").body, b"some bytes");
    let reply = peer.get("/broken");
    assert!(!reply.is_whole, "{}", reply.head);
    peer.await_tidy();
    assert_eq!(peer.files(), [peer.file("whole")]);
}

#[test]
fn answers_for_one_client_are_not_waited_for() {
    const COUNT: usize = 20;
    for (workers, fields) in [
        (1, "Cache-Control: private\r\n"),
        (2, "Cache-Control: no-store\r\n"),
        (2, "Set-Cookie: a\r\n"),
    ] {
        let together = Arc::new(AtomicUsize::new(0));
        let most = Arc::clone(&together);
        // Each holds its body back until all are there: in a row they would never be.
        let origin = Origin::start(move |exchange| {
            let number = exchange.number;
            exchange.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 4\r\n\r\n"));
            together.fetch_add(1, Ordering::SeqCst);
            exchange.wait(|| together.load(Ordering::SeqCst) >= COUNT);
            exchange.send(format!("{number:04}"));
        });
        let peer = Setup::of(&origin).workers(workers).start();
        let all: Vec<Pending> = (0..COUNT).map(|_| peer.ask("/a")).collect();
        await_true(20, "all to be there", || most.load(Ordering::SeqCst) >= COUNT);
        let mut texts: Vec<String> = all.into_iter().map(|ask| ask.finish().text()).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), COUNT, "each has an answer of its own");
        peer.await_tidy();
        assert!(peer.files().is_empty());
    }
}

#[test]
fn slow_answers_for_one_client_take_about_the_time_of_one() {
    const PAUSE: Duration = Duration::from_millis(400);
    let origin = Origin::start(|exchange| {
        std::thread::sleep(PAUSE);
        exchange.answer("Cache-Control: private\r\n", "mine");
    });
    let peer = Setup::of(&origin).workers(2).start();
    let begun = Instant::now();
    let all: Vec<Pending> = (0..20).map(|_| peer.ask("/a")).collect();
    for pending in all {
        assert_eq!(pending.finish().text(), "mine");
    }
    // The first tells that they are not shared, the others follow together.
    assert!(begun.elapsed() < 8 * PAUSE, "{:?}", begun.elapsed());
    assert_eq!(origin.count("/a"), 20);
}

#[test]
fn errors_are_told_to_all_who_wait() {
    let gate = Gate::default();
    let opened = Arc::clone(&gate);
    let origin = Origin::start(move |exchange| {
        exchange.wait(|| gate.load(Ordering::SeqCst) > 0);
        match &*exchange.target {
            "/503" => exchange.answer_with(503, "", "busy"),
            "/garbage" => {
                exchange.send("garbage\r\n\r\n");
                exchange.close();
            }
            _ => exchange.answer_with(404, "", "lost"),
        }
    });
    let peer = Setup::of(&origin).workers(2).origin("failures_max = 100").start();
    let targets = [("/503", 503), ("/garbage", 502), ("/404", 404)];
    let all: Vec<(u16, Pending)> =
        (0..30).flat_map(|_| targets.map(|(target, status)| (status, peer.ask(target)))).collect();
    for (target, _) in targets {
        await_true(20, target, || origin.count(target) > 0);
    }
    await_true(20, "all to be taken", || peer.metric("peerage_http_connections") == 90.0);
    opened.store(1, Ordering::SeqCst);
    for (status, pending) in all {
        assert_eq!(pending.finish().status, status);
    }
    for (target, _) in targets {
        // One may come when the answer has just gone.
        assert!(origin.count(target) <= 3, "{target}: {}", origin.count(target));
    }
}

#[test]
fn old_clients_are_sent_no_chunks() {
    let (origin, gate, body) = halves(100_000, true, LONG);
    let peer = Setup::of(&origin).start();
    let old = Pending::send(peer.address, "GET /a HTTP/1.0\r\nHost: a.example\r\n\r\n");
    await_true(20, "the request", || origin.count("/a") == 1);
    gate.store(1, Ordering::SeqCst);
    let reply = old.finish();
    assert_eq!((reply.status, reply.field("transfer-encoding")), (200, ""));
    assert!(reply.body == body);
}

#[test]
fn hits_and_misses_in_one_pipeline_are_answered_in_order() {
    let origin = Origin::start(|exchange| exchange.answer(LONG, exchange.target.clone()));
    let peer = Setup::of(&origin).start();
    peer.get("/hit");
    peer.await_hit("/hit");
    let mut text = String::new();
    for number in 0..40 {
        text += &format!("GET /{number} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        text += "GET /hit HTTP/1.1\r\nHost: a.example\r\n\r\n";
    }
    text += "GET /last HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    let mut pipeline = Pending::send(peer.address, &text);
    for number in 0..40 {
        assert_eq!(pipeline.next().text(), format!("/{number}"));
        assert_eq!(pipeline.next().text(), "/hit");
    }
    assert_eq!(pipeline.next().text(), "/last");
    assert_eq!(origin.total(), 42);
}
