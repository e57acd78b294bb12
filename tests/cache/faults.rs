//! Answers of origins that are none, or not what they say: each is refused or cut short, counted,
//! never stored, and harms nobody else.
//!
//! Not here: heads byte by byte (`tests/origin_corpus.rs`), TLS (`tls`), time (`origins`).

use crate::harness::await_true;
use crate::origin::{Exchange, Origin};
use crate::peer::{Peer, Setup};

const OK: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=1000\r\n";

/// What is expected of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// 502, counted as this kind.
    Refused(&'static str),
    /// A 200 that ends short, counted as this kind.
    Short(&'static str),
    /// A whole 200 with this body.
    Whole(&'static str),
}

/// An origin that sends `answer` and closes, except for `/ok`.
fn sending(answer: String) -> Origin {
    Origin::start(move |exchange| {
        if exchange.target.starts_with("/ok") {
            exchange.answer("Cache-Control: max-age=1000\r\n", "ok");
            return;
        }
        exchange.send(&answer);
        exchange.close();
    })
}

fn setup(origin: &Origin) -> Peer {
    Setup::of(origin)
        .origin("failures_max = 100\nfirst_byte_timeout = \"2 s\"\nbetween_bytes_timeout = \"1 s\"")
        .start()
}

/// Asks for `/bad` twice, and for something else after it.
fn check(name: &str, peer: &Peer, origin: &Origin, expect: Expect) {
    for round in 1..3 {
        let reply = peer.get("/bad");
        match expect {
            Expect::Refused(_) => assert_eq!(reply.status, 502, "{name}: {}", reply.head),
            Expect::Short(_) => {
                assert_eq!((reply.status, reply.is_whole), (200, false), "{name}");
            }
            Expect::Whole(body) => {
                assert!(reply.status == 200 && reply.is_whole, "{name}: {}", reply.head);
                assert_eq!(reply.text(), body, "{name}");
            }
        }
        let is_kept = matches!(expect, Expect::Whole(..));
        if is_kept {
            peer.await_hit("/bad");
        } else {
            assert_eq!(origin.count("/bad"), round, "{name}: nothing is kept of it");
        }
    }
    assert_eq!(peer.get("/ok").text(), "ok", "{name}");
    peer.await_hit("/ok");
    peer.await_tidy();
    let is_kept = matches!(expect, Expect::Whole(..));
    assert_eq!(peer.file("bad").exists(), is_kept, "{name}");
    if let Expect::Refused(kind) | Expect::Short(kind) = expect {
        assert_eq!(peer.errors(kind), 2.0, "{name}: {kind}");
    }
}

fn check_all(table: Vec<(&str, String, Expect)>) {
    for (name, answer, expect) in table {
        let origin = sending(answer);
        let peer = setup(&origin);
        check(name, &peer, &origin, expect);
    }
}

#[test]
fn heads_that_are_none() {
    use Expect::Refused;
    let malformed = Refused("malformed_head");
    let ok = |fields: &str| format!("{OK}{fields}Content-Length: 4\r\n\r\nbody");
    check_all(vec![
        ("garbage", "garbage\r\n\r\n".to_owned(), malformed),
        ("an old protocol", "<html>body</html>".to_owned(), malformed),
        ("a newer protocol", ok("").replace("HTTP/1.1", "HTTP/2.0"), malformed),
        ("no status", "HTTP/1.1 abc OK\r\n\r\n".to_owned(), malformed),
        ("a status of four digits", ok("").replace("200", "2000"), malformed),
        ("a field without a colon", ok("nonsense\r\n"), malformed),
        ("a folded field", ok("X: y\r\n z\r\n"), malformed),
        ("bare line feeds", ok("").replace("\r\n", "\n"), malformed),
        ("a NUL in a field", ok("X: a\0b\r\n"), malformed),
        ("another protocol", "HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n".to_owned(), malformed),
        ("interims without end", "HTTP/1.1 103 Hints\r\n\r\n".repeat(1000), malformed),
        ("a long field", ok(&format!("X: {}\r\n", "x".repeat(100_000))), Refused("head_too_large")),
        ("many fields", ok(&"X: y\r\n".repeat(200)), Refused("head_too_large")),
        ("the end in the head", "HTTP/1.1 200 OK\r\nX: ".to_owned(), Refused("early_close")),
    ]);
}

#[test]
fn lengths_that_are_none_or_several() {
    use Expect::Refused;
    let framing = Refused("framing");
    let of = |fields: &str| format!("{OK}{fields}\r\n4\r\nbody\r\n0\r\n\r\n");
    check_all(vec![
        ("both", of("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"), framing),
        ("two lengths", of("Content-Length: 4\r\nContent-Length: 5\r\n"), framing),
        ("a list of lengths", of("Content-Length: 4, 5\r\n"), framing),
        ("below zero", of("Content-Length: -1\r\n"), framing),
        ("a plus", of("Content-Length: +4\r\n"), framing),
        ("no number", of("Content-Length: four\r\n"), framing),
        ("beyond all numbers", of("Content-Length: 99999999999999999999999\r\n"), framing),
        ("two codings", of("Transfer-Encoding: gzip, chunked\r\n"), framing),
        ("an unknown coding", of("Transfer-Encoding: x\r\n"), framing),
        (
            "chunks in HTTP/1.0",
            of("Transfer-Encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0"),
            framing,
        ),
    ]);
}

#[test]
fn bodies_that_are_not_what_was_announced() {
    use Expect::{Short, Whole};
    let fixed = |len: usize| format!("{OK}Content-Length: {len}\r\n\r\nbody");
    let chunks = |body: &str| format!("{OK}Transfer-Encoding: chunked\r\n\r\n{body}");
    check_all(vec![
        ("too short", fixed(5), Short("early_close")),
        ("empty", fixed(5).replace("\r\n\r\nbody", "\r\n\r\n"), Short("early_close")),
        ("too long", fixed(2), Whole("bo")),
        ("another answer", fixed(4) + &fixed(4), Whole("body")),
        ("no last chunk", chunks("4\r\nbody\r\n"), Short("early_close")),
        ("an end in a size", chunks("4"), Short("early_close")),
        ("an end in a chunk", chunks("5\r\nbody"), Short("early_close")),
        ("an end in the trailers", chunks("4\r\nbody\r\n0\r\nX: y"), Short("early_close")),
        ("no size", chunks("4\r\nbody\r\nx\r\n"), Short("framing")),
        ("a size below zero", chunks("4\r\nbody\r\n-1\r\n"), Short("framing")),
        ("a size beyond all", chunks("fffffffffffffffff\r\nbody"), Short("framing")),
        ("more than its size", chunks("2\r\nbody\r\n0\r\n\r\n"), Short("framing")),
        ("bare line feeds", chunks("4\nbody\n0\n\n"), Short("framing")),
        (
            "trailers without end",
            chunks("4\r\nbody\r\n0\r\n") + &"X: y\r\n".repeat(100_000),
            Short("framing"),
        ),
        ("a trailer", chunks("4\r\nbody\r\n0\r\nX: y\r\n\r\n"), Whole("body")),
        ("an extension", chunks("4;x=y\r\nbody\r\n0\r\n\r\n"), Whole("body")),
        ("capital digits", chunks("A\r\n0123456789\r\n0\r\n\r\n"), Whole("0123456789")),
    ]);
}

#[test]
fn unusual_answers_that_are_sound() {
    use Expect::Whole;
    let rest = "Cache-Control: max-age=1000\r\nContent-Length: 4\r\n\r\nbody";
    let ok = format!("HTTP/1.1 200 OK\r\n{rest}");
    let body = Whole("body");
    check_all(vec![
        ("a hint before", format!("HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n{ok}"), body),
        ("100 before", format!("HTTP/1.1 100 Continue\r\n\r\n{ok}"), body),
        ("HTTP/1.0", ok.replace("HTTP/1.1", "HTTP/1.0"), body),
        ("no reason", ok.replace("200 OK", "200 "), body),
        ("the same length twice", ok.replace("\r\n\r\n", "\r\nContent-Length: 4\r\n\r\n"), body),
        ("until the close", ok.replace("Content-Length: 4\r\n", ""), body),
        // RFC 9112 5.1: the blank is removed, not the answer.
        ("a blank before a colon", ok.replace("\r\n\r\n", "\r\nX : y\r\n\r\n"), body),
        ("a long reason", ok.replace("OK", &"x".repeat(1000)), body),
    ]);
}

/// Sends byte by byte; false once nobody takes them.
fn trickle(exchange: &mut Exchange<'_>, text: &str, pause_ms: u64) -> bool {
    text.bytes().all(|byte| {
        std::thread::sleep(std::time::Duration::from_millis(pause_ms));
        !exchange.is_over() && exchange.send([byte])
    })
}

#[test]
fn answers_that_trickle_are_read_and_heads_without_end_are_not() {
    let origin = Origin::start(|exchange| {
        match &*exchange.target {
            "/length" => {
                trickle(exchange, &format!("{OK}Content-Length: 4\r\n\r\nbody"), 1);
            }
            "/chunks" => {
                let body = "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n";
                trickle(exchange, &format!("{OK}Transfer-Encoding: chunked\r\n\r\n{body}"), 1);
            }
            "/head" => while trickle(exchange, "HTTP/1.1 200 OK\r\nX: y\r\n", 20) {},
            "/endless" => while exchange.send("HTTP/1.1 200 OK\r\nX: y\r\n".repeat(100)) {},
            _ => exchange.answer("Cache-Control: max-age=1000\r\n", "ok"),
        }
        exchange.close();
    });
    let peer = setup(&origin);
    for target in ["/length", "/chunks"] {
        assert_eq!(peer.get(target).text(), "body", "{target}");
        assert_eq!(peer.await_hit(target).text(), "body", "{target}");
    }
    assert!(matches!(peer.get("/head").status, 502 | 504));
    assert_eq!(peer.get("/endless").status, 502);
    assert_eq!(peer.errors("timeout_first_byte") + peer.errors("malformed_head"), 2.0);
    assert_eq!(peer.get("/ok").text(), "ok");
}

#[test]
fn a_close_without_an_answer() {
    for resets in [false, true] {
        let origin = Origin::start(move |exchange| match &*exchange.target {
            "/bad" if resets => exchange.reset(),
            "/bad" => exchange.close(),
            _ => exchange.answer("Cache-Control: max-age=1000\r\n", "ok"),
        });
        let peer = setup(&origin);
        assert_eq!(peer.get("/bad").status, 502);
        let counted = peer.errors("early_close") + peer.metric("peerage_origin_refusals_total");
        assert!(counted >= 1.0);
        // On a connection that carried something before, it is tried on a new one.
        assert_eq!(peer.get("/ok").text(), "ok");
        let before = origin.count("/bad");
        assert_eq!(peer.get("/bad").status, 502);
        assert_eq!(origin.count("/bad"), before + 2);
        assert_eq!(peer.get("/ok2").text(), "ok");
    }
}

#[test]
fn a_connection_that_closes_when_it_is_used_costs_no_request() {
    let origin = Origin::start(|exchange| {
        exchange.answer("Cache-Control: max-age=1000\r\n", "ok");
        // The other side learns of it now, or with its next request.
        exchange.close();
    });
    let peer = setup(&origin);
    for number in 0..200 {
        let reply = peer.get(&format!("/ok/{number}"));
        assert_eq!(reply.text(), "ok", "{number}: {}", reply.head);
    }
}

#[test]
fn bytes_that_nobody_asked_for_end_the_connection() {
    let origin = Origin::start(|exchange| {
        // At once: what comes later may meet the next request, and then nobody can tell.
        let (head, target) = ("HTTP/1.1 200 OK\r\nCache-Control: max-age=1000", &exchange.target);
        let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{target}", target.len());
        exchange.send(answer + head + "\r\nContent-Length: 4\r\n\r\nevil");
    });
    let peer = setup(&origin);
    for number in 0..50 {
        let target = format!("/{number}");
        let reply = peer.get(&target);
        assert_eq!(reply.text(), target, "{}", reply.head);
    }
    await_true(20, "them to be counted", || peer.errors("unsolicited_bytes") >= 1.0);
    for number in 0..50 {
        let target = format!("/{number}");
        assert_eq!(peer.await_hit(&target).text(), target);
    }
}

#[test]
fn answers_to_what_was_not_asked_are_not_stored() {
    let origin = Origin::start(|exchange| {
        let long = "Cache-Control: max-age=1000\r\n";
        match &*exchange.target {
            "/304" => exchange.confirm(&format!("ETag: \"x\"\r\n{long}")),
            "/206" => {
                let fields = format!("{long}Content-Range: bytes 0-3/8\r\n");
                exchange.answer_with(206, &fields, "half");
            }
            "/412" => exchange.answer_with(412, long, "failed"),
            "/416" => exchange.answer_with(416, long, "failed"),
            _ => exchange.answer(long, "ok"),
        }
    });
    let peer = setup(&origin);
    for target in ["/304", "/206", "/412", "/416"] {
        for number in 1..4 {
            let reply = peer.get(target);
            assert_ne!(reply.status, 200, "{target}");
            assert_eq!(origin.count(target), number, "{target}");
        }
        assert!(!peer.file(&target[1..]).exists(), "{target}");
    }
    assert_eq!(peer.get("/ok").text(), "ok");
}

#[test]
fn heads_that_are_too_long_to_be_stored_are_passed_on() {
    let origin = Origin::start(|exchange| {
        let fields = format!("Cache-Control: max-age=1000\r\nX-Long: {}\r\n", "x".repeat(30_000));
        exchange.answer(&fields, "body");
    });
    let peer = setup(&origin);
    for _ in 0..3 {
        let reply = peer.get("/a");
        assert_eq!((reply.status, reply.text()), (200, "body".to_owned()));
        assert_eq!(reply.field("x-long").len(), 30_000);
    }
    assert!(peer.metric("peerage_cache_head_too_long_total") >= 1.0);
    assert!(peer.files().is_empty());
}
