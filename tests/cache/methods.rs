//! Methods that change what the origin has: what it is sent, what the client gets, what goes from
//! the cache.
//!
//! Not here: how a body is framed byte by byte (`src/http/tests.rs`), what the configuration says
//! of methods (`tests/conf.rs`), purges by operators (`purge`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::{Pending, Reply};
use crate::harness::{await_true, pattern};
use crate::origin::{Exchange, Origin};
use crate::peer::{Peer, Setup};

const ALL: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];
const LONG: &str = "Cache-Control: max-age=1000\r\n";

/// A request with its length, as bytes.
fn request(method: &str, target: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n{fields}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// The same in chunks of so many bytes.
fn chunked(method: &str, target: &str, body: &[u8], step: usize) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {target} HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for part in body.chunks(step) {
        bytes.extend_from_slice(format!("{:x};x=y\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\nTrailer: left out\r\n\r\n");
    bytes
}

fn send(peer: &Peer, bytes: &[u8]) -> Reply {
    Pending::send_bytes(peer.address, bytes).finish()
}

fn change(peer: &Peer, method: &str, target: &str, body: &[u8]) -> Reply {
    send(peer, &request(method, target, "", body))
}

/// An origin that answers with the body that it was sent.
fn echo() -> Origin {
    Origin::start(|exchange| {
        let body = exchange.body();
        exchange.answer(LONG, body);
    })
}

/// An origin whose targets have a version, which a change raises; it answers a change as `answer`
/// says.
fn versions(answer: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Origin {
    let version = AtomicU64::new(1);
    Origin::start(move |exchange| {
        if exchange.method() == "GET" {
            let body = format!("{} {}", exchange.target, version.load(Ordering::SeqCst));
            exchange.answer(LONG, body);
        } else {
            exchange.body();
            version.fetch_add(1, Ordering::SeqCst);
            answer(exchange);
        }
    })
}

// What is let through ----------------------------------------------------------------------------

#[test]
fn a_host_lets_through_what_it_names_and_nothing_by_itself() {
    let origin = echo();
    let peer = Setup::of(&origin).start();
    for method in ALL {
        let reply = change(&peer, method, "/a", b"body");
        assert_eq!((reply.status, reply.field("allow")), (405, "GET, HEAD, OPTIONS"), "{method}");
    }
    assert_eq!(origin.connections(), 0);
    let peer = Setup::of(&origin).methods(&["POST", "DELETE"]).start();
    let allow = "GET, HEAD, OPTIONS, POST, DELETE";
    for method in ["PUT", "PATCH", "PURGE", "post"] {
        let reply = change(&peer, method, "/a", b"body");
        assert_eq!((reply.status, reply.field("allow")), (405, allow), "{method}");
    }
    let options = peer.raw("OPTIONS /a HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!((options.status, options.field("allow")), (204, allow));
    assert_eq!(origin.connections(), 0);
    assert_eq!(change(&peer, "POST", "/a", b"body").text(), "body");
    let stranger = b"POST /a HTTP/1.1\r\nHost: b.example\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(send(&peer, stranger).status, 421);
    assert_eq!(origin.total(), 1);
}

#[test]
fn the_origin_is_sent_the_request_and_not_what_was_for_this_connection() {
    let origin = echo();
    let peer = Setup::of(&origin).methods(&ALL).start();
    let fields = "Content-Type: text/x\r\nCookie: a=b\r\nAuthorization: Basic eA==\r\n\
        Accept-Encoding: zstd, x\r\nIf-Match: \"e\"\r\nConnection: keep-alive, X-Hop\r\n\
        X-Hop: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\n";
    let reply = send(&peer, &request("PUT", "/d%69r/a%20b?q=%2f&r", fields, b"body"));
    assert_eq!((reply.status, reply.text()), (200, "body".to_owned()));
    assert_eq!(reply.cache(), "peerage; fwd=method");
    let expected = "PUT /dir/a%20b?q=%2f&r HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\
        Content-Type: text/x\r\nCookie: a=b\r\nAuthorization: Basic eA==\r\n\
        Accept-Encoding: zstd, x\r\nIf-Match: \"e\"\r\nVia: 1.1 peerage\r\n\r\n";
    assert_eq!(origin.heads(), [expected]);
    // Its conditions and ranges are the origin's to look at.
    let conditional = request("POST", "/a", "If-None-Match: *\r\nRange: bytes=0-0\r\n", b"body");
    assert_eq!(send(&peer, &conditional).text(), "body");
    for (method, length) in [("POST", "0"), ("PUT", "0"), ("DELETE", "")] {
        let bare = format!("{method} /b HTTP/1.1\r\nHost: a.example\r\n\r\n");
        assert_eq!(peer.raw(&bare).status, 200);
        assert_eq!(origin.last_field("content-length"), length, "{method}");
    }
    for path in ["/../a", "/a/%2e%2e", "/a%00"] {
        assert_eq!(change(&peer, "POST", path, b"body").status, 400, "{path}");
    }
    let looped = request("POST", "/a", "Via: 1.1 peerage\r\n", b"body");
    assert_eq!(send(&peer, &looped).status, 502);
    assert_eq!(origin.total(), 5);
}

#[test]
fn query_and_cookies_are_the_origins_whatever_the_rules_for_the_path() {
    let origin = versions(|exchange| exchange.answer("Set-Cookie: a=c\r\n", "changed"));
    let rule = "ignore_query = true\nstrip_cookies = true";
    let peer = Setup::of(&origin).methods(&["POST"]).rule("/**", rule).start();
    let cookie = "Cookie: a=b\r\n";
    peer.get_with("/a?x=1", cookie);
    assert_eq!(peer.await_hit_with("/a?x=2", cookie).text(), "/a 1");
    let reply = send(&peer, &request("POST", "/a?token=1", cookie, b"body"));
    assert_eq!((reply.text(), reply.field("set-cookie")), ("changed".to_owned(), "a=c"));
    let head = origin.heads().pop().unwrap();
    assert!(head.starts_with("POST /a?token=1 HTTP/1.1\r\n") && head.contains(cookie), "{head}");
    assert_eq!(peer.get_with("/a?x=3", cookie).text(), "/a 2", "what is stored for all is gone");
}

// Bodies -----------------------------------------------------------------------------------------

#[test]
fn bodies_arrive_byte_for_byte_up_to_the_bound() {
    const MOST: usize = 300_000;
    let origin = echo();
    let limits = format!("[limits]\nbody_bytes_max = {MOST}");
    let peer = Setup::of(&origin).methods(&ALL).server(&limits).start();
    // All on one connection, which goes on after each.
    let mut client = Pending::send_bytes(peer.address, b"");
    let (bytes, mut count) = (pattern(MOST + 100, 1), 0);
    for method in ALL {
        for len in [0, 1, 5_000, MOST - 1, MOST] {
            // Another one each time.
            let body = &bytes[count..count + len];
            let forms = [
                request(method, "/a", "", body),
                chunked(method, "/a", body, 70_001),
                chunked(method, "/a", body, 1 + len / 100),
            ];
            for form in forms {
                client.more(&form);
                let reply = client.next();
                assert_eq!((reply.status, reply.body.len()), (200, len), "{method}");
                assert!(reply.body == body, "{method} {len}");
                // A DELETE without a body says nothing of one.
                let said = origin.last_field("content-length");
                assert!(said == len.to_string() || method == "DELETE" && len == 0, "{said}");
                count += 1;
            }
        }
    }
    let before = origin.total();
    let body = &bytes[..=MOST];
    // What is announced as too long is refused before it comes.
    let announced = request("POST", "/a", "", body);
    let client = Pending::send_bytes(peer.address, &announced[..1000]);
    assert_eq!(client.finish().status, 413);
    let client = Pending::send_bytes(peer.address, &chunked("POST", "/a", body, 100_000));
    assert_eq!(client.finish().status, 413);
    assert_eq!(origin.total(), before, "nothing of them went on");
}

#[test]
fn bodies_may_come_in_any_pieces() {
    let origin = echo();
    let peer = Setup::of(&origin).methods(&ALL).start();
    for form in [request("POST", "/a", "", b"abcde"), chunked("POST", "/a", b"abcde", 2)] {
        for cut in 1..form.len() {
            let mut client = Pending::send_bytes(peer.address, &form[..cut]);
            if cut % 16 == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            client.more(&form[cut..]);
            assert_eq!(client.next().text(), "abcde", "cut at {cut}");
        }
    }
}

#[test]
fn who_waits_for_it_is_told_to_go_on() {
    let origin = echo();
    let peer = Setup::of(&origin).methods(&ALL).start();
    let form = request("PUT", "/a", "Expect: 100-continue\r\n", b"body");
    let mut client = Pending::send_bytes(peer.address, &form[..form.len() - 4]);
    let end = client.await_head();
    assert_eq!(client.take(end), b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(origin.connections(), 0);
    client.more(b"body");
    assert_eq!(client.next().text(), "body");
    assert_eq!(origin.last_field("expect"), "");
}

#[test]
fn framing_that_could_be_read_in_two_ways_goes_nowhere() {
    let origin = echo();
    let peer = Setup::of(&origin).methods(&ALL).start();
    let head = "POST /a HTTP/1.1\r\nHost: a.example\r\n";
    for rest in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "Content-Length: +3\r\n\r\nabc",
        "Content-Length: 3, 3\r\n\r\nabc",
        "Content-Length:\r\n 3\r\n\r\nabc",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\n\r\n",
    ] {
        let reply = peer.raw(&format!("{head}{rest}"));
        assert!(matches!(reply.status, 400 | 501), "{rest:?}: {}", reply.head);
        assert_eq!(reply.field("connection"), "close", "{rest:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn the_memory_for_bodies_is_bounded_and_given_back() {
    const MEMORY: usize = 128 << 10;
    let origin = echo();
    let limits = format!("[limits]\nbody_bytes_max = {MEMORY}\nbody_memory_bytes_max = {MEMORY}\n");
    let peer = Setup::of(&origin).methods(&ALL).server(&limits).start();
    let form = request("POST", "/a", "", &pattern(100_000, 1));
    let mut slow = Pending::send_bytes(peer.address, &form[..form.len() - 1]);
    let memory = || peer.metric("peerage_http_body_memory_bytes");
    await_true(20, "it to be here", || memory() >= 100_000.0);
    let refused = send(&peer, &form);
    assert_eq!(refused.status, 503);
    // Before it is sent, where its length is known.
    let waits = request("POST", "/a", "Expect: 100-continue\r\n", &form);
    let head = waits.len() - form.len();
    let waits = Pending::send_bytes(peer.address, &waits[..head]).finish();
    assert_eq!((waits.status, waits.field("connection")), (503, "close"));
    assert_eq!(send(&peer, &chunked("POST", "/a", &form, 50_000)).status, 503);
    assert_eq!(refused.field("retry-after"), "1");
    assert!(peer.metric("peerage_http_bodies_refused_total") >= 1.0);
    assert_eq!(change(&peer, "POST", "/b", b"small").text(), "small");
    slow.more(&form[form.len() - 1..]);
    assert_eq!(slow.next().body.len(), 100_000);
    assert_eq!(send(&peer, &form).body.len(), 100_000, "it was given back");
    // By who leaves, too.
    let leaves = Pending::send_bytes(peer.address, &form[..form.len() - 1]);
    await_true(20, "it to be here", || memory() >= 100_000.0);
    drop(leaves);
    await_true(20, "it to be gone", || memory() == 0.0);
    assert_eq!(send(&peer, &form).body.len(), 100_000);
}

#[test]
fn a_body_that_was_let_begin_is_not_refused_in_the_middle() {
    const MEMORY: usize = 128 << 10;
    let origin = echo();
    let limits = format!("[limits]\nbody_bytes_max = {MEMORY}\nbody_memory_bytes_max = {MEMORY}\n");
    let peer = Setup::of(&origin).methods(&ALL).server(&limits).start();
    let form = request("POST", "/a", "", &pattern(100_000, 1));
    let (begun, rest) = form.split_at(10_000);
    let mut slow = Pending::send_bytes(peer.address, begun);
    let memory = || peer.metric("peerage_http_body_memory_bytes");
    await_true(20, "it to be here", || memory() > 0.0);
    // Who does not say how long he will be has what is left.
    let all = chunked("POST", "/a", &pattern(60_000, 2), 30_000);
    let other = Pending::send_bytes(peer.address, &all[..all.len() - 20]);
    assert_eq!(other.finish().status, 503);
    slow.more(rest);
    assert_eq!(slow.next().body.len(), 100_000);
    await_true(20, "it to be gone", || memory() == 0.0);
}

#[test]
fn a_body_is_kept_no_longer_than_it_may_be_sent_again() {
    for method in ALL {
        let step = Arc::new(AtomicUsize::new(0));
        let reached = Arc::clone(&step);
        let origin = Origin::start(move |exchange| {
            exchange.body();
            exchange.wait(|| reached.load(Ordering::SeqCst) >= 1);
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nan");
            exchange.wait(|| reached.load(Ordering::SeqCst) >= 2);
            exchange.send("sw");
        });
        let peer = Setup::of(&origin).methods(&ALL).start();
        let memory = || peer.metric("peerage_http_body_memory_bytes");
        let form = request(method, "/a", "", &pattern(500_000, 1));
        let mut client = Pending::send_bytes(peer.address, &form);
        await_true(20, "it to be sent", || origin.count("/a") == 1);
        if matches!(method, "PUT" | "DELETE") {
            std::thread::sleep(Duration::from_millis(50));
            assert!(memory() >= 500_000.0, "{method} may be sent once more");
            step.store(1, Ordering::SeqCst);
        }
        await_true(20, "it to be gone", || memory() == 0.0);
        step.store(1, Ordering::SeqCst);
        client.await_head();
        step.store(2, Ordering::SeqCst);
        assert_eq!(client.finish().text(), "answ");
    }
}

#[test]
fn a_body_that_does_not_come_is_timed_out() {
    let origin = echo();
    let limits = "[limits]\nbody_timeout = \"1 s\"\n";
    let peer = Setup::of(&origin).methods(&ALL).server(limits).start();
    let form = request("POST", "/a", "", b"body");
    let slow = Pending::send_bytes(peer.address, &form[..form.len() - 1]);
    assert_eq!(slow.finish().status, 408);
    drop(Pending::send_bytes(peer.address, &form[..form.len() - 1]));
    assert_eq!(change(&peer, "POST", "/b", b"x").text(), "x");
    assert_eq!(origin.total(), 1, "nothing of it went on");
}

// Answers ----------------------------------------------------------------------------------------

#[test]
fn an_answer_is_for_who_asked_and_is_not_stored() {
    let origin = Origin::start(|exchange| {
        let body = exchange.body();
        let status = String::from_utf8_lossy(&body).parse().unwrap_or(200);
        exchange.answer_with(status, &format!("{LONG}Set-Cookie: a=b\r\nX: y\r\n"), "answer");
    });
    let peer = Setup::of(&origin).methods(&ALL).workers(2).start();
    for status in [200, 201, 202, 301, 303, 400, 403, 404, 409, 500, 503] {
        for number in 1..3 {
            let target = format!("/{status}");
            let reply = change(&peer, "POST", &target, status.to_string().as_bytes());
            assert_eq!((reply.status, reply.text()), (status, "answer".to_owned()));
            assert_eq!((reply.field("x"), reply.field("set-cookie")), ("y", "a=b"));
            assert!(reply.cache().starts_with("peerage; fwd=method"), "{}", reply.head);
            assert!(!reply.cache().contains("stored"), "{}", reply.head);
            assert_eq!(origin.count(&target), number);
        }
    }
    assert_eq!(peer.files().len(), 0);
    let metrics = peer.metrics();
    assert_eq!(metrics["peerage_http_requests_total{method=\"POST\"}"], 22.0);
    assert_eq!(metrics["peerage_cache_passes_total"], 22.0);
    assert_eq!(metrics["peerage_cache_stored_total"], 0.0);
    assert_eq!(metrics["peerage_cache_invalidations_total"], 10.0, "2xx and 3xx, twice each");
}

#[test]
fn answers_of_every_form_are_streamed() {
    const LEN: usize = 1_200_000;
    let whole = pattern(LEN, 7);
    let body = whole.clone();
    let origin = Origin::start(move |exchange| {
        exchange.body();
        match exchange.target.as_str() {
            "/length" => exchange.answer("", &body),
            "/chunks" => {
                exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                for part in body.chunks(100_000) {
                    let line = format!("{:x}\r\n", part.len());
                    exchange.send([line.as_bytes(), part, b"\r\n"].concat());
                }
                exchange.send("0\r\n\r\n");
            }
            "/close" => {
                exchange.send("HTTP/1.1 200 OK\r\n\r\n");
                exchange.send(&body);
                exchange.close();
            }
            "/interim" => {
                exchange.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
                exchange.answer("", &body);
            }
            "/cut" => {
                exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n"));
                exchange.send(&body[..LEN / 2]);
                exchange.close();
            }
            _ => {
                exchange.send("HTTP/1.1 204 No Content\r\n\r\n");
            }
        }
    });
    let peer = Setup::of(&origin).methods(&ALL).start();
    for target in ["/length", "/chunks", "/close", "/interim"] {
        let reply = change(&peer, "POST", target, b"x");
        assert!(reply.is_whole && reply.body == whole, "{target}");
        let old =
            format!("POST {target} HTTP/1.0\r\nHost: a.example\r\nContent-Length: 1\r\n\r\nx");
        let reply = peer.raw(&old);
        assert!(reply.body == whole, "{target} for HTTP/1.0");
    }
    assert!(!change(&peer, "POST", "/cut", b"x").is_whole);
    assert_eq!(change(&peer, "DELETE", "/none", b"").status, 204);
}

#[test]
fn a_connection_goes_on_and_what_is_pipelined_behind_waits_for_the_change() {
    for workers in [1, 2] {
        let origin = versions(|exchange| exchange.answer("", "changed"));
        let peer = Setup::of(&origin).methods(&ALL).workers(workers).start();
        assert_eq!(peer.get("/a").text(), "/a 1");
        peer.await_hit("/a");
        let get = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let post = request("POST", "/a", "", b"body");
        let put = chunked("PUT", "/a", b"body", 2);
        let mut client =
            Pending::send_bytes(peer.address, &[&get[..], &post, get, get, &put, get].concat());
        for expected in ["/a 1", "changed", "/a 2", "/a 2", "changed", "/a 3"] {
            let reply = client.next();
            assert_eq!((reply.status, reply.text()), (200, expected.to_owned()));
        }
    }
}

// What goes from the cache -----------------------------------------------------------------------

#[test]
fn who_changes_something_and_then_reads_it_has_the_new_one() {
    for (workers, method) in [(1, "POST"), (2, "PUT"), (2, "DELETE"), (2, "PATCH")] {
        let origin = versions(|exchange| exchange.answer_with(204, "", ""));
        let peer = Setup::of(&origin).methods(&ALL).workers(workers).start();
        let targets: Vec<String> = (0..8).map(|n| format!("/d/{n}")).collect();
        for target in &targets {
            peer.get(target);
            peer.await_hit(target);
        }
        for (number, target) in targets.iter().enumerate() {
            assert_eq!(change(&peer, method, target, b"body").status, 204);
            // Whichever worker it comes to.
            for _ in 0..3 {
                assert_eq!(peer.get(target).text(), format!("{target} {}", number + 2));
            }
        }
        // The others were left alone.
        assert_eq!(peer.get(&targets[0]).text(), "/d/0 2");
        assert_eq!(peer.metric("peerage_cache_invalidations_total"), 8.0);
    }
}

/// An answer to a change of `/form`, and which of these are asked for anew.
const NAMED: [&str; 6] = ["/form", "/new", "/other", "/dir/x", "/q?a=b", "/form?x"];

#[test]
fn what_the_answer_names_goes_too_if_it_is_of_the_same_host() {
    for (status, fields, gone) in [
        (200, "", &["/form"][..]),
        (201, "Location: /new\r\n", &["/form", "/new"]),
        (303, "Location: new\r\nContent-Location: /other\r\n", &["/form", "/new", "/other"]),
        (200, "Content-Location: http://a.example/dir/../dir/x\r\n", &["/form", "/dir/x"]),
        (302, "Location: http://a.example/q?a=b#c\r\n", &["/form", "/q?a=b"]),
        (302, "Location: http://ORIGIN/new\r\n", &["/form", "/new"]),
        (302, "Location: //a.example/new\r\n", &["/form", "/new"]),
        (302, "Location: ?x\r\n", &["/form", "/form?x"]),
        (201, "Location: http://b.example/new\r\n", &["/form"]),
        (201, "Location: http://www.b.example/new\r\nContent-Location: /\r\n", &["/form"]),
        (201, "Location: https://a.example/new\r\n", &["/form"]),
        (201, "Location: http://user@a.example/new\r\n", &["/form"]),
        (201, "Location: /../..\r\nContent-Location: /%zz\r\n", &["/form"]),
        (400, "Location: /new\r\n", &[]),
        (404, "", &[]),
        (409, "Content-Location: /other\r\n", &[]),
        (500, "Location: /new\r\n", &[]),
        (503, "", &[]),
    ] {
        let origin = versions(move |exchange| {
            let body = exchange.field("x-fields").replace('|', "\r\n");
            exchange.answer_with(status, &body, "");
        });
        let peer = Setup::of(&origin).methods(&["POST"]).workers(2).start();
        for target in NAMED {
            peer.get(target);
            peer.await_hit(target);
        }
        let fields = fields.replace("ORIGIN", &origin.address.to_string());
        let form = format!(
            "POST /form HTTP/1.1\r\nHost: a.example\r\nX-Fields: {}\r\nContent-Length: 1\r\n\r\nx",
            fields.replace("\r\n", "|")
        );
        assert_eq!(peer.raw(&form).status, status, "{fields}");
        for target in NAMED {
            let version = if gone.contains(&target) { 2 } else { 1 };
            assert_eq!(peer.get(target).text(), format!("{target} {version}"), "{status} {fields}");
        }
    }
}

#[test]
fn all_variants_go_and_what_is_kept_in_memory() {
    let version = AtomicU64::new(1);
    let origin = Origin::start(move |exchange| {
        let now = version.load(Ordering::SeqCst);
        if exchange.method() == "POST" {
            exchange.body();
            version.fetch_add(1, Ordering::SeqCst);
            exchange.answer("", "");
        } else if exchange.target == "/gone" {
            exchange.answer_with(404, LONG, format!("none {now}"));
        } else {
            let body = format!("{} {now}", exchange.field("x-kind"));
            exchange.answer(&format!("{LONG}Vary: X-Kind\r\n"), body);
        }
    });
    let peer = Setup::of(&origin).methods(&["POST"]).workers(2).start();
    let kinds = ["", "a", "b", "c"];
    let fields = |kind: &str| format!("X-Kind: {kind}\r\n");
    for kind in kinds {
        peer.get_with("/v", &fields(kind));
        peer.await_hit_with("/v", &fields(kind));
    }
    peer.get("/gone");
    assert_eq!(peer.get("/gone").text(), "none 1");
    assert_eq!(origin.count("/gone"), 1, "it is kept");
    change(&peer, "POST", "/v", b"");
    for kind in kinds {
        assert_eq!(peer.get_with("/v", &fields(kind)).text(), format!("{kind} 2"));
    }
    assert_eq!(peer.get("/gone").text(), "none 1");
    change(&peer, "POST", "/gone", b"");
    assert_eq!(peer.get("/gone").text(), "none 3");
}

#[test]
fn a_fetch_under_way_is_not_stored_and_nobody_joins_it() {
    for workers in [1, 2] {
        let gate = Arc::new(AtomicUsize::new(0));
        let opened = Arc::clone(&gate);
        let origin = Origin::start(move |exchange| {
            if exchange.method() == "POST" {
                exchange.body();
                exchange.answer("", "changed");
                return;
            }
            let number = opened.load(Ordering::SeqCst);
            exchange.send(format!(
                "HTTP/1.1 200 OK\r\n{LONG}Content-Length: 8\r\n\r\nold{}",
                number + 1
            ));
            if number == 0 {
                exchange.wait(|| opened.load(Ordering::SeqCst) > 1);
            }
            exchange.send("rest");
        });
        let peer = Setup::of(&origin).methods(&["POST"]).workers(workers).start();
        let mut waiting = peer.ask("/a");
        waiting.await_head();
        gate.store(1, Ordering::SeqCst);
        assert_eq!(change(&peer, "POST", "/a", b"x").text(), "changed");
        assert_eq!(peer.get("/a").text(), "old2rest", "who comes later does not wait for it");
        gate.store(2, Ordering::SeqCst);
        assert_eq!(waiting.finish().text(), "old1rest");
        assert_eq!(peer.await_hit("/a").text(), "old2rest");
        assert_eq!(std::fs::read_to_string(peer.file("a")).unwrap(), "old2rest");
    }
}

#[test]
fn no_read_that_begins_after_a_change_has_the_old_bytes() {
    let origin = Origin::start({
        let current = AtomicU64::new(1);
        move |exchange| {
            if exchange.method() == "PUT" {
                let body = String::from_utf8(exchange.body()).unwrap();
                current.store(body.parse().unwrap(), Ordering::SeqCst);
                exchange.answer("", "");
            } else {
                let body = current.load(Ordering::SeqCst).to_string();
                exchange.answer(LONG, body);
            }
        }
    });
    let peer = Setup::of(&origin).methods(&["PUT"]).workers(2).start();
    let (floor, is_over) = (AtomicU64::new(1), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = 0;
                    while !is_over.load(Ordering::SeqCst) {
                        let least = floor.load(Ordering::SeqCst);
                        let found: u64 = peer.get("/a").text().parse().unwrap();
                        assert!(found >= least, "{found} after the change to {least}");
                        answers += 1;
                    }
                    answers
                })
            })
            .collect();
        for round in 2..80 {
            assert_eq!(change(&peer, "PUT", "/a", round.to_string().as_bytes()).status, 200);
            floor.store(round, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(round % 7));
        }
        is_over.store(true, Ordering::SeqCst);
        let answers: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(answers > 100, "{answers} answers meanwhile");
    });
    assert_eq!(peer.metric("peerage_cache_invalidations_late_total"), 0.0);
}

// Origins in trouble -----------------------------------------------------------------------------

#[test]
fn a_dead_origin_is_told_and_a_request_that_was_sent_is_not_sent_again() {
    let origin = Origin::start(|exchange| {
        let body = exchange.body();
        match (exchange.method(), exchange.number) {
            // Closed as an idle connection may be, but after it was read.
            ("POST" | "PATCH", _) => exchange.close(),
            ("PUT" | "DELETE", 2) => exchange.close(),
            _ => exchange.answer("", body),
        }
    });
    let peer = Setup::of(&origin).methods(&ALL).start();
    for method in ["POST", "PATCH"] {
        let target = format!("/{method}");
        peer.get("/a");
        assert_eq!(change(&peer, method, &target, b"body").status, 502, "{method}");
        assert_eq!(origin.count(&target), 1, "{method}");
    }
    for method in ["PUT", "DELETE"] {
        let target = format!("/{method}");
        assert_eq!(change(&peer, method, &target, b"first").text(), "first");
        // The connection is kept, and closed when it is used again.
        assert_eq!(change(&peer, method, &target, b"body").text(), "body", "{method}");
        assert_eq!(origin.count(&target), 3, "{method} may be sent twice");
    }
    assert_eq!(peer.metric("peerage_origin_refusals_total"), 2.0);
}

#[test]
fn an_origin_that_does_not_listen_or_not_answer() {
    let mut origin = Origin::start(|exchange| {
        exchange.body();
        exchange.wait_close();
    });
    let timeouts = "first_byte_timeout = \"300 ms\"\nfailures_max = 100";
    let peer = Setup::of(&origin).methods(&ALL).origin(timeouts).start();
    for method in ALL {
        assert_eq!(change(&peer, method, "/a", b"body").status, 504, "{method}");
    }
    assert_eq!(origin.count("/a"), 4, "once each");
    origin.stop();
    for method in ALL {
        assert_eq!(change(&peer, method, "/a", b"body").status, 502, "{method}");
    }
    assert_eq!(origin.count("/a"), 4);
}

#[test]
fn an_origin_may_take_a_long_body_slowly() {
    const LEN: usize = 24 << 20;
    let origin = Origin::start(|exchange| {
        let body = exchange.body_slowly(24, Duration::from_millis(100));
        exchange.answer("", body.len().to_string());
    });
    let limits = "[limits]\nbody_bytes_max = \"32 MiB\"";
    let timeouts = "first_byte_timeout = \"1 s\"";
    let peer = Setup::of(&origin).methods(&ALL).server(limits).origin(timeouts).start();
    let reply = change(&peer, "PUT", "/a", &vec![b'x'; LEN]);
    assert_eq!((reply.status, reply.text()), (200, LEN.to_string()));
}

#[test]
fn another_address_is_tried_where_no_connection_could_be_made() {
    let mut dead = echo();
    let origin = echo();
    dead.stop();
    let peer = Setup::at(&[dead.address, origin.address]).methods(&ALL).start();
    for number in 0..6 {
        let reply = change(&peer, "POST", &format!("/{number}"), b"body");
        assert_eq!((reply.status, reply.text()), (200, "body".to_owned()));
    }
    assert_eq!((origin.total(), dead.total()), (6, 0));
}

#[test]
fn an_answer_that_comes_before_the_body_was_taken_is_passed_on() {
    let origin = Origin::start(|exchange| {
        exchange.answer_with(413, "Connection: close\r\n", "too much");
        // Reads on, as a server does that lingers: a reset would take the answer away.
        exchange.body();
        exchange.close();
    });
    let peer = Setup::of(&origin).methods(&ALL).start();
    let reply = change(&peer, "POST", "/a", &pattern(1 << 20, 1));
    assert_eq!((reply.status, reply.text()), (413, "too much".to_owned()));
}

// Clients ----------------------------------------------------------------------------------------

#[test]
fn who_leaves_in_mid_body_has_changed_nothing() {
    let origin = echo();
    let peer = Setup::of(&origin).methods(&ALL).start();
    let form = request("POST", "/a", "", &pattern(100_000, 1));
    for cut in [1, 60, 100, 5_000, 70_000, form.len() - 1] {
        drop(Pending::send_bytes(peer.address, &form[..cut]));
    }
    await_true(20, "them to be gone", || peer.metric("peerage_http_connections") == 0.0);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn who_leaves_before_the_answer_has_changed_it_all_the_same() {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let origin = versions(move |exchange| {
        exchange.wait(|| opened.load(Ordering::SeqCst));
        exchange.answer("", "changed");
    });
    let peer = Setup::of(&origin).methods(&ALL).workers(2).start();
    peer.get("/a");
    peer.await_hit("/a");
    let client = Pending::send_bytes(peer.address, &request("POST", "/a", "", b"body"));
    await_true(20, "it to be sent", || origin.count("/a") == 2);
    drop(client);
    std::thread::sleep(Duration::from_millis(20));
    gate.store(true, Ordering::SeqCst);
    let name = "peerage_cache_invalidations_total";
    await_true(20, "it to be invalidated", || peer.metric(name) == 1.0);
    await_true(20, "the new one", || peer.get("/a").text() == "/a 2");
}

#[test]
fn a_change_that_came_before_the_order_to_end_is_carried_out() {
    // Hits that leave in one send, which no socket has room for.
    const LEN: usize = 1_000_000;
    const COUNT: usize = 7;
    let origin = Origin::start(|exchange| {
        let body = if exchange.method() == "GET" { pattern(LEN, 1) } else { exchange.body() };
        exchange.answer(LONG, body);
    });
    let mut peer = Setup::of(&origin).methods(&["POST"]).start();
    peer.get("/a");
    peer.await_hit("/a");
    let get = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let post = request("POST", "/b", "", b"body");
    let requests = [&get.repeat(COUNT)[..], &post].concat();
    let mut client = Pending::send_bytes(peer.address, &requests);
    client.await_bytes(1000);
    peer.begin_stop();
    peer.await_said("responses in flight");
    for _ in 0..COUNT {
        assert_eq!(client.next().body.len(), LEN);
    }
    let reply = client.next();
    assert_eq!((reply.text(), reply.field("connection")), ("body".to_owned(), "close"));
    assert!(peer.await_end());
}

#[test]
fn what_a_client_that_has_left_changed_is_gone_before_the_end() {
    for workers in [1, 2] {
        let gate = Arc::new(AtomicBool::new(false));
        let opened = Arc::clone(&gate);
        let origin = versions(move |exchange| {
            exchange.wait(|| opened.load(Ordering::SeqCst));
            exchange.answer("", "changed");
        });
        let mut peer = Setup::of(&origin).methods(&ALL).workers(workers).start();
        peer.get("/a");
        peer.await_hit("/a");
        let client = Pending::send_bytes(peer.address, &request("POST", "/a", "", b"body"));
        await_true(20, "it to be sent", || origin.count("/a") == 2);
        client.reset();
        await_true(20, "it to leave", || peer.metric("peerage_http_connections") == 0.0);
        peer.begin_stop();
        peer.await_said("responses in flight");
        std::thread::sleep(Duration::from_millis(100));
        gate.store(true, Ordering::SeqCst);
        assert!(peer.await_end());
        assert!(!peer.file("a").exists(), "it would be served after the next start");
    }
}

#[test]
fn a_reload_in_the_middle_sends_nothing_twice() {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let origin = Origin::start(move |exchange| {
        let body = exchange.body();
        exchange.wait(|| opened.load(Ordering::SeqCst));
        exchange.answer("", body);
    });
    let peer = Setup::of(&origin).methods(&["POST"]).start();
    let form = request("POST", "/a", "", b"body");
    let sent = Pending::send_bytes(peer.address, &form);
    await_true(20, "it to be sent", || origin.count("/a") == 1);
    let has_body = || peer.metric("peerage_http_body_memory_bytes") > 0.0;
    await_true(20, "its body to be gone", || !has_body());
    let begun = &form[..form.len() - 1];
    let mut kept = Pending::send_bytes(peer.address, begun);
    await_true(20, "its body to be kept", has_body);
    assert!(peer.reload(|text| text.replace(", \"POST\"]", "]")));
    kept.more(b"y");
    assert_eq!(kept.next().status, 405, "by then it takes none");
    let mut over = Pending::send_bytes(peer.address, begun);
    over.await_quiet();
    assert!(peer.reload(|text| text.replace("\"OPTIONS\"]", "\"OPTIONS\", \"POST\"]")));
    over.more(b"y");
    assert_eq!(over.next().status, 503, "its body was read over");
    gate.store(true, Ordering::SeqCst);
    assert_eq!(sent.finish().text(), "body");
    assert_eq!(origin.total(), 1);
}

#[test]
fn fifty_at_once_each_once() {
    let seen: Arc<Mutex<HashMap<String, Vec<Vec<u8>>>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let origin = Origin::start(move |exchange| {
        let body = exchange.body();
        noted.lock().unwrap().entry(exchange.target.clone()).or_default().push(body.clone());
        exchange.answer(&format!("Location: {}/new\r\n", exchange.target), body);
    });
    let peer = Setup::of(&origin).methods(&ALL).workers(2).start();
    std::thread::scope(|scope| {
        for client in 0..50_u8 {
            let peer = &peer;
            scope.spawn(move || {
                for round in 0..4 {
                    let target = format!("/{client}/{round}");
                    let body = pattern(10_000 + usize::from(client), client * 4 + round);
                    let method = ALL[usize::from(client + round) % 4];
                    let reply = change(peer, method, &target, &body);
                    assert!(reply.status == 200 && reply.body == body, "{target} {}", reply.head);
                }
            });
        }
    });
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 200);
    assert!(seen.values().all(|bodies| bodies.len() == 1), "none was sent twice");
    assert_eq!(peer.metric("peerage_cache_invalidations_total"), 400.0);
    assert_eq!(peer.metric("peerage_cache_invalidations_late_total"), 0.0);
}
