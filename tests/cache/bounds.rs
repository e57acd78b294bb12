//! The bounds of one worker's fetches: how many there are, and what memory they take.
//!
//! Not here: bounds of one origin (`origins`), of one answer (`waiters`), of the store (`purge`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::Pending;
use crate::harness::{await_true, pattern, put, resident_bytes};
use crate::origin::Origin;
use crate::peer::{Peer, Setup};

/// `FETCHES_MAX`.
const FETCHES: usize = 16 * 1024;

/// Hosts whose origin may have a quarter of them: 16 at once, and who waits.
const HOSTS: [&str; 4] = ["a.example", "b.example", "c.example", "d.example"];

fn ask(peer: &Peer, host: &str, target: &str) -> Pending {
    Pending::send(peer.address, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

#[test]
fn beyond_the_bound_of_fetches_new_ones_are_refused() {
    const CROWD: usize = 512;
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let origin = Origin::start(move |exchange| {
        if exchange.target.starts_with("/wait") {
            exchange.wait(|| opened.load(Ordering::SeqCst));
            let is_shared = exchange.target == "/wait/0";
            let control = if is_shared { "max-age=60" } else { "no-store" };
            exchange.answer(&format!("Cache-Control: {control}\r\n"), "late");
        } else {
            exchange.answer("Cache-Control: max-age=60\r\n", "body");
        }
    });
    let lines = "connections_max = 16\nwaiters_max = 4096\nwait_timeout = \"1 min\"\n\
                 first_byte_timeout = \"2 min\"";
    let mut setup = Setup::of(&origin).origin(lines);
    for host in &HOSTS[1..] {
        let table = format!("[host.origin]\naddresses = [\"{}\"]\n{lines}", origin.address);
        setup.host += &format!("[[host]]\nname = \"{host}\"\n{table}\n");
    }
    let peer = setup.start();
    put(&peer.file("hand"), b"by hand");
    assert_eq!(peer.get("/stored").text(), "body");
    peer.await_hit("/stored");
    await_true(20, "the file", || peer.get("/hand").text() == "by hand");
    // A fetch goes on when its client has left, so that few connections are enough.
    let before = peer.metric("peerage_cache_fetches_total");
    for begin in (0..FETCHES).step_by(CROWD) {
        let crowd: Vec<Pending> = (begin..begin + CROWD)
            .map(|number| ask(&peer, HOSTS[number % HOSTS.len()], &format!("/wait/{number}")))
            .collect();
        await_true(20, "all of them to be fetches", || {
            peer.metric("peerage_cache_fetches_total") >= before + (begin + CROWD) as f64
        });
        crowd.into_iter().for_each(Pending::reset);
    }
    await_true(20, "all of them to have left", || peer.metric("peerage_http_connections") == 0.0);
    for number in 0..20 {
        let reply = peer.get(&format!("/more/{number}"));
        assert_eq!(reply.status, 503, "{}", reply.head);
    }
    // What needs no fetch of its own is answered.
    assert!(peer.get("/stored").is_hit());
    assert_eq!(peer.get("/hand").text(), "by hand");
    let joined = ask(&peer, HOSTS[0], "/wait/0");
    gate.store(true, Ordering::SeqCst);
    assert_eq!(joined.finish().text(), "late");
    await_true(60, "room", || peer.get("/more/0").status == 200);
    await_true(60, "all fetches to end", || origin.total() >= FETCHES);
    assert_eq!(peer.get("/more/1").text(), "body");
    assert_eq!(origin.count("/wait/0"), 1);
}

/// Each client stops after a first piece of an answer that nobody stores.
#[test]
fn slow_clients_of_many_answers_hold_bounded_memory() {
    const CLIENTS: usize = 40;
    const LEN: usize = 24 << 20;
    /// `FOLLOW_MEMORY_MAX`, a sixteenth of `FOLLOW_BYTES_MAX` for each, and twice a receive.
    const MEMORY_MAX: u64 = (256 << 20) + CLIENTS as u64 * ((1 << 20) + (512 << 10));
    let body = Arc::new(pattern(LEN, 4));
    let sent = Arc::clone(&body);
    let origin = Origin::start(move |exchange| match exchange.target.starts_with("/small") {
        true => exchange.answer("Cache-Control: max-age=60\r\n", "small"),
        false => {
            let fields = "Cache-Control: no-store";
            exchange.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: {LEN}\r\n\r\n"));
            exchange.send(&**sent);
        }
    });
    let peer = Setup::of(&origin).start();
    let before = resident_bytes(peer.pid());
    // The allocator keeps what it has; later rounds show that it is used again. They find it cut
    // into other pieces, so that some of it lies idle: ten took 310 to 343 MB each, in no order.
    for round in 0..4 {
        let mut slow: Vec<Pending> =
            (0..CLIENTS).map(|number| peer.ask(&format!("/large/{round}/{number}"))).collect();
        slow.iter_mut().for_each(|pending| pending.await_bytes(1));
        let begun = peer.metric("peerage_origin_bytes_total");
        let mut received = begun;
        await_true(60, "the origin to be held up", || {
            std::thread::sleep(Duration::from_millis(500));
            let last = std::mem::replace(&mut received, peer.metric("peerage_origin_bytes_total"));
            received == last
        });
        let memory = resident_bytes(peer.pid()) - before;
        eprintln!("{CLIENTS} slow clients: {memory} bytes of memory");
        assert!(received - begun < (CLIENTS * LEN) as f64, "it is held up");
        assert!(memory > 200 << 20, "{memory} bytes: the bound is not reached");
        let idle_max = if round == 0 { 0 } else { MEMORY_MAX / 8 };
        assert!(memory < MEMORY_MAX + idle_max, "round {round}: {memory} bytes");
        // Others are served, by fetches too.
        let small = format!("/small/{round}");
        assert_eq!(peer.get(&small).text(), "small");
        peer.await_hit(&small);
        for (number, pending) in slow.into_iter().enumerate() {
            let reply = pending.finish();
            assert!(reply.is_whole && reply.body == *body, "{number}: {}", reply.head);
        }
    }
}
