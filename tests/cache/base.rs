//! What a cache is: a miss is fetched and stored, a hit is served; strangers get nothing fetched.
//!
//! Not here: everything that can be different (the modules beside).

use std::fs;

use crate::origin::Origin;
use crate::peer::Setup;

/// An origin all of whose answers may be kept for a minute; each says what it is.
pub fn minutes() -> Origin {
    Origin::start(|exchange| {
        let body = format!("{} {}", exchange.target, exchange.number);
        exchange.answer("Content-Type: image/png\r\nCache-Control: max-age=60\r\n", body);
    })
}

#[test]
fn a_miss_is_fetched_and_stored_and_then_a_hit() {
    for workers in [1, 2] {
        let origin = minutes();
        let peer = Setup::of(&origin).workers(workers).start();
        let miss = peer.get("/dir/a.png");
        assert_eq!((miss.status, miss.text()), (200, "/dir/a.png 1".to_owned()));
        assert_eq!(miss.cache(), "peerage; fwd=uri-miss; stored; ttl=60");
        assert_eq!(miss.field("content-type"), "image/png");
        assert_eq!(miss.field("age"), "0");
        for _ in 0..2 * workers {
            let hit = peer.await_hit("/dir/a.png");
            assert_eq!((hit.status, hit.text()), (200, miss.text()));
            assert_eq!(hit.field("content-type"), "image/png");
            assert!(hit.field("age").parse::<u32>().unwrap() < 60, "{}", hit.head);
        }
        assert_eq!(origin.count("/dir/a.png"), 1);
        assert_eq!(fs::read(peer.file("dir/a.png")).unwrap(), miss.body);
        assert_eq!(peer.files(), [peer.file("dir/a.png")]);
        peer.await_tidy();
        let metrics = peer.metrics();
        assert!(metrics["peerage_cache_hits_total"] >= 1.0, "{metrics:?}");
        assert_eq!(metrics["peerage_cache_fetches_total"], 1.0);
        assert_eq!(metrics["peerage_cache_stored_total"], 1.0);
    }
}

#[test]
fn nothing_is_fetched_for_strangers() {
    let origin = minutes();
    let peer = Setup::of(&origin).start();
    let there = origin.address;
    for text in [
        "GET /x HTTP/1.1\r\nHost: b.example\r\n\r\n".to_owned(),
        "GET http://b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(),
        format!("GET http://{there}/x HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        format!("GET http://{there}/x HTTP/1.1\r\nHost: {there}\r\n\r\n"),
        "GET https://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(),
        "GET http://a.example@b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(),
        format!("CONNECT {there} HTTP/1.1\r\nHost: {there}\r\n\r\n"),
        format!("CONNECT {there} HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(),
        "GET /x HTTP/1.0\r\n\r\n".to_owned(),
        "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\nx".to_owned(),
        "PURGE /x HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(),
        "GET ftp://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(),
    ] {
        let reply = peer.raw(&text);
        assert!(matches!(reply.status, 400 | 404 | 405 | 421), "{text:?}: {}", reply.head);
    }
    assert_eq!((origin.total(), origin.connections()), (0, 0));
    // The absolute form of a host that is known is as good as its Host field.
    let known = "GET http://a.example/x HTTP/1.1\r\nHost: b.example\r\n\r\n";
    assert_eq!(peer.raw(known).text(), "/x 1");
    let alias = "GET /x HTTP/1.1\r\nHost: www.a.example\r\n\r\n";
    assert_eq!(peer.raw(alias).text(), "/x 1");
}
