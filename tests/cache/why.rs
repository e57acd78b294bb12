//! What the operator is told of a URL: `peerage cache why`, as it is true at the moment.
//!
//! Not here: the socket's protocol and rights (`tests/serve/control.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{await_true, put};
use crate::origin::Origin;
use crate::peer::{Peer, Setup};

fn why(peer: &Peer, target: &str) -> String {
    peer.order(&format!("why http://a.example{target}"))
}

/// The line that the answer ends with.
fn decision(peer: &Peer, target: &str) -> String {
    why(peer, target).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn the_decision_is_what_a_request_meets() {
    let is_open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&is_open);
    let origin = Origin::start(move |exchange| match exchange.target.clone().as_str() {
        "/slow" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n");
            exchange.send("Cache-Control: max-age=60\r\n\r\n1234");
            exchange.wait(|| gate.load(Ordering::SeqCst));
            exchange.send("5678");
        }
        "/gone" => exchange.answer_with(404, "Cache-Control: max-age=60\r\n", "no"),
        "/private" => exchange.answer("Cache-Control: private\r\n", "yours"),
        "/stale" => exchange.answer("Cache-Control: max-age=0\r\nETag: \"a\"\r\n", "old"),
        _ => exchange.answer("Cache-Control: max-age=60\r\n", "fresh"),
    });
    // Two, so that about half of these names belong to the other worker.
    let peer = Setup::of(&origin).workers(2).start();
    assert!(decision(&peer, "/fresh").starts_with("ok miss: nothing is stored"));
    peer.get("/fresh");
    peer.await_hit("/fresh");
    assert_eq!(decision(&peer, "/fresh"), "ok hit: what is stored is fresh");
    assert_eq!(origin.count("/fresh"), 1, "the question is no request");

    let mut slow = peer.ask("/slow");
    let head = slow.await_head();
    slow.await_bytes(head + 4);
    let text = why(&peer, "/slow");
    assert!(text.contains("\nfetching status 200, 4 bytes so far\n"), "{text}");
    assert!(text.ends_with("ok miss: the origin is being asked already; the request joins\n"));
    is_open.store(true, Ordering::SeqCst);
    assert_eq!(slow.finish().text(), "12345678");
    await_true(5, "stored", || decision(&peer, "/slow") == "ok hit: what is stored is fresh");

    peer.get("/gone");
    let text = why(&peer, "/gone");
    assert!(text.contains("\nkept status 404, fresh for "), "{text}");
    assert!(text.ends_with("ok hit: an answer with status 404 is kept in memory\n"), "{text}");
    assert_eq!((peer.get("/gone").status, origin.count("/gone")), (404, 1));

    peer.get("/private");
    assert!(decision(&peer, "/private").starts_with("ok pass: "), "{}", why(&peer, "/private"));
    peer.get("/private");
    assert_eq!(origin.count("/private"), 2);

    peer.get("/stale");
    await_true(5, "stored", || decision(&peer, "/stale").starts_with("ok revalidate: "));
    put(&peer.file("hand"), b"by hand");
    await_true(5, "seen", || decision(&peer, "/hand").starts_with("ok hit: a file that was put"));
}
