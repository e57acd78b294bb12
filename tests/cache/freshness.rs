//! How long answers are used, and which are not stored at all: RFC 9111 from end to end.
//!
//! Not here: stale answers (`stale`), variants (`vary`), clients' conditions (`conditions`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{await_true, pattern};
use crate::origin::Origin;
use crate::peer::{Peer, Setup};

const GONE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const TO_COME: &str = "Sun, 06 Nov 2094 08:49:37 GMT";

/// An origin that answers with the field lines that the query spells: `?Name=value&Name=value`,
/// with `+` for a blank.
pub fn spelled() -> Origin {
    Origin::start(|exchange| {
        let (path, query) = exchange.target.split_once('?').unwrap_or((&exchange.target, ""));
        let status = path.rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(200);
        let fields: String = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| format!("{name}: {}\r\n", value.replace('+', " ")))
            .collect();
        let number = exchange.number;
        exchange.answer_with(status, &fields, format!("answer {number}"));
    })
}

fn spell(path: &str, fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", value.replace(' ', "+").replace('"', "%22")))
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

/// Whether a request is answered without the origin once another was answered.
fn is_stored(peer: &Peer, origin: &Origin, target: &str) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let reply = peer.get(target);
        assert!(reply.is_whole, "{target}: {}", reply.head);
        // While the first answer is on its way to the disk, others may join its fetch.
        if reply.is_hit() || origin.count(target) > 1 {
            return origin.count(target) == 1;
        }
        assert!(Instant::now() < end, "{target} is neither stored nor asked for again");
    }
}

/// Whether an answer is stored: path and fields.
type Row<'a> = (bool, &'a str, &'a [(&'a str, &'a str)]);

#[test]
fn what_may_be_stored_is_and_nothing_else() {
    let origin = spelled();
    let peer = Setup::of(&origin).start();
    let long = "max-age=100";
    let table: [Row<'_>; 28] = [
        (true, "/a", &[("Cache-Control", long)]),
        (true, "/a", &[("Cache-Control", "s-maxage=100, max-age=0")]),
        (true, "/a", &[("Cache-Control", "public, max-age=100")]),
        (true, "/a", &[("Cache-Control", "max-age=99999999999999999999")]),
        (true, "/a", &[("Expires", TO_COME)]),
        (true, "/a", &[("Last-Modified", GONE)]),
        (true, "/a", &[("Cache-Control", long), ("Date", GONE), ("Last-Modified", TO_COME)]),
        (true, "/a", &[("CDN-Cache-Control", long), ("Cache-Control", "no-store")]),
        (true, "/a", &[("Cache-Control", long), ("Expires", GONE)]),
        (true, "/301", &[("Cache-Control", long)]),
        (true, "/302", &[("Cache-Control", long)]),
        (true, "/404", &[]),
        (true, "/410", &[("Cache-Control", long)]),
        (true, "/503", &[("Cache-Control", long)]),
        (false, "/a", &[]),
        (false, "/a", &[("Cache-Control", "no-store, max-age=100")]),
        (false, "/a", &[("Cache-Control", "private, max-age=100")]),
        (false, "/a", &[("Cache-Control", "private=x, max-age=100")]),
        (false, "/a", &[("Cache-Control", "no-cache, max-age=100")]),
        (false, "/a", &[("Cache-Control", "max-age=0")]),
        (false, "/a", &[("Cache-Control", "s-maxage=0, max-age=100")]),
        (false, "/a", &[("Cache-Control", long), ("Set-Cookie", "a=b")]),
        (false, "/a", &[("Cache-Control", long), ("Vary", "*")]),
        (false, "/a", &[("Expires", GONE)]),
        (false, "/a", &[("Expires", "0")]),
        (false, "/a", &[("CDN-Cache-Control", "no-store"), ("Cache-Control", long)]),
        (false, "/302", &[]),
        (false, "/500", &[]),
    ];
    for (is_expected, path, fields) in table {
        let target = spell(path, fields);
        // An age of 32 years is beyond any max-age but the gigantic ones.
        let is_expected = is_expected && !fields.contains(&("Date", GONE));
        assert_eq!(is_stored(&peer, &origin, &target), is_expected, "{target}");
    }
}

#[test]
fn a_date_to_come_makes_nothing_younger() {
    let origin = spelled();
    let peer = Setup::of(&origin).start();
    let target = spell("/a", &[("Date", TO_COME), ("Cache-Control", "max-age=1")]);
    assert_eq!(peer.get(&target).text(), "answer 1");
    await_true(20, "it to be stale", || peer.get(&target).text() == "answer 2");
}

fn names(file: &Path, target: &str) -> bool {
    file.to_str().unwrap().ends_with(target)
}

#[test]
fn authorized_answers_are_for_one_client_unless_they_say_otherwise() {
    let origin = spelled();
    let peer = Setup::of(&origin).start();
    let secret = "Authorization: Basic x\r\n";
    let long = spell("/a", &[("Cache-Control", "max-age=100")]);
    for number in 1..3 {
        assert_eq!(peer.get_with(&long, secret).text(), format!("answer {number}"));
    }
    assert_eq!(peer.get(&long).text(), "answer 3", "it was not stored");
    for allowed in ["public, max-age=100", "s-maxage=100", "must-revalidate, max-age=100"] {
        let target = spell("/b", &[("Cache-Control", allowed)]);
        assert_eq!(peer.get_with(&target, secret).text(), "answer 1");
        await_true(20, "the file", || peer.files().iter().any(|file| names(file, &target)));
        let text = peer.await_hit(&target).text();
        assert_eq!(peer.await_hit_with(&target, secret).text(), text, "{allowed}");
    }
}

#[test]
fn what_expired_is_asked_about_and_confirmed() {
    let origin = Origin::start(|exchange| {
        if exchange.field("If-None-Match") == "\"v1\"" {
            exchange.confirm("ETag: \"v1\"\r\nCache-Control: max-age=1000\r\nX-New: 1\r\n");
        } else {
            exchange.answer("ETag: \"v1\"\r\nCache-Control: max-age=1\r\nX-Old: 1\r\n", "body");
        }
    });
    let mut peer = Setup::of(&origin).start();
    assert_eq!(peer.get("/a").text(), "body");
    peer.await_hit("/a");
    await_true(20, "it to be asked about", || {
        let reply = peer.get("/a");
        assert_eq!((reply.status, reply.text()), (200, "body".to_owned()));
        origin.count("/a") == 2
    });
    let hit = peer.await_hit("/a");
    assert_eq!((hit.field("x-new"), hit.field("x-old")), ("1", "1"), "heads are merged");
    assert!(hit.field("age").parse::<u32>().unwrap() < 20, "{}", hit.head);
    assert_eq!(peer.metric("peerage_cache_revalidations_total"), 1.0);
    // What was confirmed is written down as well.
    peer.await_tidy();
    await_true(20, "a hit after a start", || {
        peer.restart();
        peer.get("/a").is_hit()
    });
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn what_was_asked_about_is_no_hit() {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let origin = Origin::start(move |exchange| {
        if exchange.field("If-None-Match").is_empty() {
            let life = "Cache-Control: max-age=0, stale-if-error=1000\r\n";
            // More than one send takes.
            exchange.answer(&format!("ETag: \"v1\"\r\n{life}"), pattern(300_000, 5));
            return;
        }
        exchange.wait(|| opened.load(Ordering::SeqCst));
        if exchange.target == "/fails" {
            exchange.answer_with(503, "", "sorry");
        } else {
            exchange.confirm("ETag: \"v1\"\r\nCache-Control: max-age=1000\r\n");
        }
    });
    let peer = Setup::of(&origin).workers(2).start();
    for (target, status) in [("/holds", 304), ("/fails", 503)] {
        gate.store(false, Ordering::SeqCst);
        peer.get(target);
        await_true(20, "the file", || peer.file(&target[1..]).exists());
        let asker = loop {
            let before = origin.count(target);
            let asker = peer.ask(target);
            await_true(20, "a request", || origin.count(target) > before);
            if !origin.last_field("if-none-match").is_empty() {
                break asker;
            }
            // The file was not seen yet.
            drop(asker.finish());
        };
        // Whoever comes now waits for the same answer.
        let fetches = origin.total();
        let joined = peer.ask(target);
        std::thread::sleep(Duration::from_millis(100));
        gate.store(true, Ordering::SeqCst);
        for (waiting, end) in [(asker, ""), (joined, "; collapsed")] {
            let reply = waiting.finish();
            assert!(reply.status == 200 && reply.body == pattern(300_000, 5), "{}", reply.head);
            let start = format!("peerage; fwd=stale; fwd-status={status}{end}; ttl=");
            assert!(reply.cache().starts_with(&start), "{start}: {}", reply.cache());
        }
        assert_eq!(origin.total(), fetches);
    }
    peer.await_hit("/holds");
}

#[test]
fn what_expired_and_changed_is_replaced() {
    let origin = Origin::start(|exchange| {
        let life = if exchange.number == 1 { 1 } else { 1000 };
        let number = exchange.number;
        let fields = format!("Last-Modified: {GONE}\r\nCache-Control: max-age={life}\r\n");
        exchange.answer(&fields, format!("answer {number}"));
    });
    let peer = Setup::of(&origin).start();
    assert_eq!(peer.get("/a").text(), "answer 1");
    await_true(20, "the change", || peer.get("/a").text() == "answer 2");
    assert_eq!(origin.last_field("if-modified-since"), GONE);
    assert_eq!(peer.await_hit("/a").text(), "answer 2");
    assert_eq!(std::fs::read(peer.file("a")).unwrap(), b"answer 2");
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn a_confirmation_of_something_else_is_asked_again_without_conditions() {
    let origin = Origin::start(|exchange| {
        if exchange.field("If-None-Match").is_empty() {
            let number = exchange.number;
            let life = if number == 1 { 1 } else { 1000 };
            let fields = format!("ETag: \"v{number}\"\r\nCache-Control: max-age={life}\r\n");
            exchange.answer(&fields, format!("answer {number}"));
        } else {
            exchange.confirm("ETag: \"other\"\r\n");
        }
    });
    let peer = Setup::of(&origin).start();
    assert_eq!(peer.get("/a").text(), "answer 1");
    await_true(20, "a whole answer", || peer.get("/a").text() == "answer 3");
}

#[test]
fn a_confirmation_that_forbids_storing_removes_what_is_stored() {
    let origin = Origin::start(|exchange| {
        if exchange.field("If-None-Match").is_empty() {
            let fields = "ETag: \"v\"\r\nCache-Control: max-age=1\r\n";
            let number = exchange.number;
            exchange.answer(fields, format!("answer {number}"));
        } else {
            exchange.confirm("ETag: \"v\"\r\nCache-Control: no-store\r\n");
        }
    });
    let peer = Setup::of(&origin).start();
    assert_eq!(peer.get("/a").text(), "answer 1");
    await_true(20, "it to be asked about", || {
        let reply = peer.get("/a");
        assert!(reply.status == 200 && reply.is_whole, "{}", reply.head);
        origin.count("/a") >= 2
    });
    await_true(20, "it to go", || peer.get("/a").text() != "answer 1");
}

#[test]
fn lost_pages_are_remembered_for_a_while() {
    let origin = spelled();
    let peer = Setup::of(&origin).rule("/short/**", "negative = \"1 s\"").start();
    for _ in 0..5 {
        let reply = peer.get("/404");
        assert_eq!((reply.status, reply.text()), (404, "answer 1".to_owned()));
    }
    assert_eq!(origin.count("/404"), 1);
    assert_eq!(peer.get("/short/404").text(), "answer 1");
    await_true(20, "it to be asked again", || peer.get("/short/404").text() == "answer 2");
    assert!(peer.files().is_empty(), "{:?}", peer.files());
}

#[test]
fn a_lost_page_that_is_found_again_is_stored() {
    let origin = Origin::start(|exchange| {
        if exchange.number == 1 {
            exchange.answer_with(404, "Cache-Control: max-age=1\r\n", "lost");
        } else {
            exchange.answer("Cache-Control: max-age=1000\r\n", "found");
        }
    });
    let peer = Setup::of(&origin).start();
    assert_eq!(peer.get("/a").text(), "lost");
    await_true(20, "it to be found", || peer.get("/a").text() == "found");
    assert_eq!(peer.await_hit("/a").status, 200);
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn the_age_of_other_caches_counts() {
    let origin = spelled();
    let peer = Setup::of(&origin).start();
    let target = spell("/a", &[("Age", "50"), ("Cache-Control", "max-age=100")]);
    let miss = peer.get(&target);
    let hit = peer.await_hit(&target);
    for reply in [miss, hit] {
        let age: u32 = reply.field("age").parse().unwrap();
        assert!((50..100).contains(&age), "{}", reply.head);
        assert_eq!(reply.head.to_lowercase().matches("\r\nage:").count(), 1);
    }
    let old = spell("/b", &[("Age", "200"), ("Cache-Control", "max-age=100")]);
    assert!(!is_stored(&peer, &origin, &old));
}

#[test]
fn rules_of_the_path_count() {
    let origin = spelled();
    let peer = Setup::of(&origin)
        .rule("/default/**", "default = \"1 h\"")
        .rule("/min/**", "min = \"1 h\"")
        .rule("/max/**", "max = \"1 s\"")
        .rule("/strip/**", "strip_cookies = true\ndefault = \"1 h\"")
        .rule("/all/**", "client = \"all\"\ndefault = \"1 h\"")
        .rule("/none/**", "client = \"ignored\"\ndefault = \"1 h\"")
        .start();
    assert!(is_stored(&peer, &origin, "/default/a"));
    let target = spell("/min/a", &[("Cache-Control", "max-age=0")]);
    assert!(is_stored(&peer, &origin, &target));
    let target = spell("/min/a", &[("Cache-Control", "no-store")]);
    assert!(!is_stored(&peer, &origin, &target));
    let target = spell("/max/a", &[("Cache-Control", "max-age=1000")]);
    assert_eq!(peer.get(&target).text(), "answer 1");
    await_true(20, "the longest lifetime to end", || peer.get(&target).text() == "answer 2");
    let target = spell("/strip/a", &[("Set-Cookie", "a=b")]);
    assert!(is_stored(&peer, &origin, &target));
    let cookie = "Cookie: a=b\r\n";
    let reply = peer.get_with("/strip/b", cookie);
    assert_eq!((reply.field("set-cookie"), &*origin.last_field("cookie")), ("", ""));
    assert_eq!(peer.get_with("/none/b", cookie).status, 200);
    assert_eq!(origin.last_field("cookie"), "a=b");
    assert_eq!(peer.get("/all/a").text(), "answer 1");
    peer.await_hit("/all/a");
    for number in 2..5 {
        let reply = peer.get_with("/all/a", "Cache-Control: no-cache\r\n");
        let expected = format!("answer {number}");
        assert_eq!(reply.text(), expected);
        // Until it is in place the one before it is a hit, and its fetch may be joined.
        await_true(20, &expected, || peer.await_hit("/all/a").text() == expected);
    }
    assert_eq!(peer.get("/none/a").text(), "answer 1");
    peer.await_hit("/none/a");
    for directive in ["no-cache", "max-age=0", "no-store"] {
        let fields = format!("Cache-Control: {directive}\r\nPragma: no-cache\r\n");
        assert_eq!(peer.get_with("/none/a", &fields).text(), "answer 1", "{directive}");
    }
}

#[test]
fn queries_that_mean_nothing_are_left_out() {
    let origin = spelled();
    let peer = Setup::of(&origin)
        .rule("/i/**", "ignore_query = true\ndefault = \"1 h\"")
        .rule("**", "default = \"1 h\"")
        .start();
    assert_eq!(peer.get("/i/a?x=1").text(), "answer 1");
    for target in ["/i/a?x=2", "/i/a", "/i/a?"] {
        assert_eq!(peer.await_hit(target).text(), "answer 1", "{target}");
    }
    assert_eq!((origin.total(), origin.count("/i/a")), (1, 1));
    peer.get("/j?x=1");
    peer.get("/j?x=2");
    assert_eq!(origin.total(), 3);
}

#[test]
fn clients_may_want_what_is_stored_only() {
    let origin = spelled();
    let peer = Setup::of(&origin).rule("**", "default = \"1 h\"").start();
    let only = "Cache-Control: only-if-cached\r\n";
    assert_eq!(peer.get_with("/a", only).status, 504);
    assert_eq!(origin.total(), 0);
    assert_eq!(peer.get("/a").status, 200);
    peer.await_hit("/a");
    assert_eq!(peer.get_with("/a", only).text(), "answer 1");
    // What any stranger could send is not heeded unless a rule says so.
    assert_eq!(peer.get_with("/a", "Cache-Control: no-cache\r\n").text(), "answer 1");
    assert_eq!(origin.total(), 1);
}
