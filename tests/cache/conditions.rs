//! HEAD, ranges and conditions of clients, on hits and on misses.
//!
//! Not here: conditions that the origin is sent (`freshness`).

use crate::harness::pattern;
use crate::origin::Origin;
use crate::peer::{Peer, Setup};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LEN: usize = 300_000;

fn body() -> Vec<u8> {
    pattern(LEN, 7)
}

/// An origin that knows neither ranges nor conditions, so that only the daemon can.
fn simple() -> Origin {
    let fields = format!(
        "ETag: \"v1\"\r\nLast-Modified: {MODIFIED}\r\nCache-Control: max-age=1000\r\n\
         Accept-Ranges: none\r\n"
    );
    Origin::start(move |exchange| {
        if exchange.target.starts_with("/chunked") {
            exchange.send(format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"));
            for part in body().chunks(100_000) {
                exchange.send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
            }
            exchange.send("0\r\n\r\n");
        } else {
            exchange.answer(&fields, body());
        }
    })
}

/// What a client that asks with `fields` gets, first on a miss, then on a hit.
fn on_miss_and_hit(peer: &Peer, path: &str, fields: &str) -> [(u16, Vec<u8>, String); 2] {
    let miss = peer.get_with(path, fields);
    peer.await_hit(path);
    let hit = peer.get_with(path, fields);
    [miss, hit].map(|reply| {
        assert!(reply.is_whole, "{path} {fields:?}: {}", reply.head);
        let range = reply.field("content-range").to_owned();
        (reply.status, reply.body, range)
    })
}

#[test]
fn head_fetches_the_whole_and_sends_its_head() {
    let origin = simple();
    let peer = Setup::of(&origin).start();
    let miss = peer.head("/a");
    assert_eq!((miss.status, miss.field("content-length")), (200, &*LEN.to_string()));
    assert!(origin.heads()[0].starts_with("GET /a "), "{:?}", origin.heads());
    assert_eq!(peer.await_hit("/a").body, body());
    let hit = peer.head("/a");
    assert_eq!((hit.status, hit.field("content-length")), (200, &*LEN.to_string()));
    assert_eq!((hit.field("etag"), hit.cache()), ("\"v1\"", "peerage; hit"));
    assert_eq!(origin.total(), 1);
    let miss = peer.head("/chunked");
    assert_eq!((miss.status, miss.body.len()), (200, 0));
    assert_eq!(peer.await_hit("/chunked").body, body());
    assert_eq!(peer.head("/chunked").field("content-length"), LEN.to_string());
    assert_eq!(origin.total(), 2);
}

#[test]
fn a_range_is_cut_from_the_whole() {
    let origin = simple();
    let peer = Setup::of(&origin).start();
    let whole = body();
    for (number, (range, expected)) in [
        ("0-9", &whole[..10]),
        ("100000-199999", &whole[100_000..200_000]),
        ("299990-", &whole[299_990..]),
        ("-10", &whole[LEN - 10..]),
        ("299999-999999", &whole[LEN - 1..]),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{number}");
        let fields = format!("Range: bytes={range}\r\n");
        for (status, body, content_range) in on_miss_and_hit(&peer, &path, &fields) {
            assert!(status == 206 && body == expected, "{range}: {status} {content_range}");
            assert!(content_range.ends_with("/300000"), "{content_range}");
        }
        assert_eq!(origin.count(&path), 1);
        assert_eq!(origin.last_field("range"), "");
    }
    let beyond = "Range: bytes=300000-\r\n";
    for (status, _, content_range) in on_miss_and_hit(&peer, "/beyond", beyond) {
        assert_eq!((status, &*content_range), (416, "bytes */300000"));
    }
    assert_eq!(origin.count("/beyond"), 1);
}

#[test]
fn a_range_of_what_has_no_length_yet_is_the_whole_or_the_part() {
    let origin = simple();
    let peer = Setup::of(&origin).start();
    let [miss, hit] = on_miss_and_hit(&peer, "/chunked", "Range: bytes=10-19\r\n");
    match miss.0 {
        200 => assert!(miss.1 == body()),
        206 => assert_eq!(miss.1, body()[10..20]),
        other => panic!("{other}"),
    }
    assert_eq!((hit.0, &*hit.1), (206, &body()[10..20]));
    assert_eq!(origin.total(), 1);
}

#[test]
fn ranges_hold_only_for_what_the_client_has() {
    let origin = simple();
    let peer = Setup::of(&origin).start();
    for (number, (condition, status)) in [
        ("\"v1\"", 206),
        ("\"v2\"", 200),
        ("W/\"v1\"", 200),
        (MODIFIED, 206),
        ("Sun, 06 Nov 1994 08:49:38 GMT", 200),
    ]
    .into_iter()
    .enumerate()
    {
        let fields = format!("Range: bytes=0-9\r\nIf-Range: {condition}\r\n");
        for (found, body, _) in on_miss_and_hit(&peer, &format!("/{number}"), &fields) {
            assert_eq!(found, status, "{condition}");
            assert_eq!(body.len(), if status == 206 { 10 } else { LEN }, "{condition}");
        }
    }
}

#[test]
fn several_ranges_are_parts_or_the_whole() {
    let origin = simple();
    let peer = Setup::of(&origin).start();
    let whole = body();
    for (status, body, _) in on_miss_and_hit(&peer, "/a", "Range: bytes=0-9,100-199\r\n") {
        match status {
            200 => assert!(body == whole),
            206 => {
                let has = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
                assert!(has(&whole[..10]) && has(&whole[100..200]));
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(origin.total(), 1);
}

#[test]
fn conditions_of_clients_are_judged_here() {
    let origin = simple();
    let peer = Setup::of(&origin).start();
    for (number, (condition, status)) in [
        ("If-None-Match: \"v1\"", 304),
        ("If-None-Match: W/\"v1\"", 304),
        ("If-None-Match: \"x\", \"v1\"", 304),
        ("If-None-Match: *", 304),
        ("If-None-Match: \"v2\"", 200),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 304),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT", 200),
        ("If-None-Match: \"v2\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 200),
        ("If-Match: \"v1\"", 200),
        ("If-Match: \"v2\"", 412),
        ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT", 412),
    ]
    .into_iter()
    .enumerate()
    {
        for prefix in ["", "/chunked"] {
            let path = format!("{prefix}/{number}");
            let fields = format!("{condition}\r\n");
            for (found, body, _) in on_miss_and_hit(&peer, &path, &fields) {
                assert_eq!(found, status, "{path} {condition}");
                assert!(found != 200 || body.len() == LEN);
            }
            assert_eq!(origin.count(&path), 1, "{condition}");
            for name in ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since"] {
                assert_eq!(origin.last_field(name), "", "{condition}");
            }
        }
    }
}
