//! Answers that differ by fields of the request: several files for one key, and not too many.
//!
//! Not here: which fields count (`tests/paper_rfc9111.rs`).

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::Pending;
use crate::harness::{await_true, resident_bytes};
use crate::origin::Origin;
use crate::peer::{Peer, Setup};

/// More files of one key than this are too many; the bound is `VARIANTS_MAX` and the key's own.
const FILES_MAX: usize = 33;

/// An origin whose answers say which language was asked for.
fn languages() -> Origin {
    Origin::start(|exchange| {
        let language = exchange.field("Accept-Language").to_owned();
        let fields = "Vary: Accept-Language\r\nCache-Control: max-age=1000\r\n";
        exchange.answer(fields, format!("in {language} {}", exchange.number));
    })
}

fn get(peer: &Peer, language: &str) -> String {
    peer.get_with("/a", &format!("Accept-Language: {language}\r\n")).text()
}

#[test]
fn each_variant_is_stored_and_found() {
    for workers in [1, 2] {
        let origin = languages();
        let mut peer = Setup::of(&origin).workers(workers).start();
        let languages = ["de", "en", "fr", "pt-BR, pt;q=0.5"];
        for (number, language) in (1..).zip(languages) {
            assert_eq!(get(&peer, language), format!("in {language} {number}"));
        }
        assert_eq!(peer.get("/a").text(), "in  5", "none is one more");
        for _ in 0..2 {
            for (number, language) in (1..).zip(languages) {
                let fields = format!("Accept-Language: {language}\r\n");
                let hit = peer.await_hit_with("/a", &fields);
                assert_eq!(hit.text(), format!("in {language} {number}"));
                assert_eq!(hit.field("vary"), "Accept-Language");
            }
            assert_eq!(peer.await_hit("/a").text(), "in  5");
            peer.restart();
        }
        assert_eq!(origin.count("/a"), 5);
    }
}

#[test]
fn all_variants_go_with_the_plain_file() {
    let origin = languages();
    let peer = Setup::of(&origin).workers(2).start();
    for language in ["de", "en", "fr"] {
        get(&peer, language);
        peer.await_hit_with("/a", &format!("Accept-Language: {language}\r\n"));
    }
    fs::remove_file(peer.file("a")).unwrap();
    for language in ["fr", "en", "de"] {
        await_true(20, "a new answer", || {
            let text = get(&peer, language);
            let number: usize = text.rsplit(' ').next().unwrap().parse().unwrap();
            number > 3
        });
    }
    // Each is its own still.
    for language in ["de", "en", "fr"] {
        assert!(get(&peer, language).starts_with(&format!("in {language} ")));
    }
}

#[test]
fn spellings_of_the_same_wish_share_a_variant() {
    let origin = languages();
    let peer = Setup::of(&origin).start();
    assert_eq!(get(&peer, "de,en;q=0.5"), "in de,en;q=0.5 1");
    assert_eq!(get(&peer, "fr"), "in fr 2");
    let first = peer.get_with("/a", "accept-language:   de,en;q=0.5  \r\n");
    assert_eq!(first.text(), "in de,en;q=0.5 1");
}

#[test]
fn codings_are_variants() {
    let origin = Origin::start(|exchange| {
        let accepted = exchange.field("Accept-Encoding");
        let fields = "Vary: Accept-Encoding\r\nCache-Control: max-age=1000\r\n";
        if accepted.contains("gzip") {
            exchange.answer(&format!("{fields}Content-Encoding: gzip\r\n"), "packed");
        } else {
            exchange.answer(fields, "plain");
        }
    });
    let peer = Setup::of(&origin).start();
    for _ in 0..2 {
        for (accepted, expected) in
            [("gzip", "packed"), ("identity", "plain"), ("deflate, gzip;q=0.5", "packed")]
        {
            let fields = format!("Accept-Encoding: {accepted}\r\n");
            let reply = peer.get_with("/a.svg", &fields);
            assert_eq!(reply.text(), expected, "{accepted}");
            let coding = if expected == "packed" { "gzip" } else { "" };
            assert_eq!(reply.field("content-encoding"), coding, "{accepted}");
            peer.await_hit_with("/a.svg", &fields);
        }
        let reply = peer.get("/a.svg");
        assert_eq!(reply.text(), "plain");
    }
}

/// Asked for by clients that keep their connections, while another asks for what is stored: nothing
/// may grow with their number.
#[test]
fn a_hundred_thousand_variants_are_a_bounded_number_of_files() {
    const COUNT: usize = 100_000;
    const CLIENTS: usize = 16;
    /// For what is no matter of variants: bits of the presence, buffers that came into use.
    const GROWTH_MAX: u64 = 16 << 20;
    let origin = languages();
    let peer = Setup::of(&origin).start();
    peer.get("/other");
    peer.await_hit("/other");
    let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (warm, files_most) = (AtomicU64::new(0), AtomicUsize::new(0));
    let ask_all = || {
        let mut client: Option<Pending> = None;
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= COUNT {
                return;
            }
            let language = format!("Accept-Language: x-{number}");
            let text = format!("GET /a HTTP/1.1\r\nHost: a.example\r\n{language}\r\n\r\n");
            let mut asked = match client.take() {
                Some(mut client) => {
                    client.say(&text);
                    client
                }
                None => Pending::send(peer.address, &text),
            };
            let reply = asked.next();
            let is_right = reply.text().starts_with(&format!("in x-{number} "));
            assert!(reply.status == 200 && is_right, "{number}: {}", reply.text());
            client = (reply.field("connection") != "close").then_some(asked);
            if number == COUNT / 10 {
                warm.store(resident_bytes(peer.pid()), Ordering::SeqCst);
            }
            if number % 500 == 0 {
                files_most.fetch_max(peer.files().len(), Ordering::SeqCst);
            }
        }
    };
    let others_answers = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut answers = 0;
            while !is_over.load(Ordering::SeqCst) {
                let reply = peer.get("/other");
                assert!(reply.is_hit() && reply.text() == "in  1", "{}", reply.head);
                answers += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            answers
        });
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask_all)).collect();
        let ends: Vec<_> = clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::SeqCst);
        assert!(ends.iter().all(Result::is_ok), "an answer was not the right one");
        others.join().unwrap()
    });
    assert!(others_answers >= 10, "{others_answers} answers to others");
    peer.await_tidy();
    // One is `/other`.
    let files = files_most.load(Ordering::SeqCst).max(peer.files().len()) - 1;
    assert!(files <= FILES_MAX, "{files} files");
    let (before, after) = (warm.load(Ordering::SeqCst), resident_bytes(peer.pid()));
    eprintln!(
        "{COUNT} variants: {files} files, {before} bytes of memory early, {after} at the end"
    );
    assert!(after.saturating_sub(before) < GROWTH_MAX, "{before} bytes became {after}");
    assert_eq!(peer.get("/b").status, 200);
}

#[test]
fn long_and_many_fields_are_passed_or_told_apart() {
    let names: Vec<String> = (0..60).map(|number| format!("X-{number}")).collect();
    let vary = names.join(", ");
    let origin = Origin::start(move |exchange| {
        let long = exchange.field("X-1").len();
        let vary = if exchange.target == "/many" { &vary } else { "X-1" };
        let fields = format!("Vary: {vary}\r\nCache-Control: max-age=1000\r\n");
        exchange.answer(&fields, format!("{long}"));
    });
    let peer = Setup::of(&origin).start();
    for target in ["/many", "/long"] {
        for len in [1, 100, 3000, 7000, 100, 7000, 1] {
            let fields = format!("X-1: {}\r\n", "x".repeat(len));
            let reply = peer.get_with(target, &fields);
            assert_eq!((reply.status, reply.text()), (200, len.to_string()), "{target}");
        }
    }
}

#[test]
fn a_key_may_begin_and_cease_to_vary() {
    let origin = Origin::start(|exchange| {
        let (number, language) = (exchange.number, exchange.field("X-Language").to_owned());
        let vary = if number == 2 || number == 3 { "Vary: X-Language\r\n" } else { "" };
        let life = if number <= 3 { 1 } else { 1000 };
        let fields = format!("{vary}Cache-Control: max-age={life}\r\n");
        exchange.answer(&fields, format!("{language} {number}"));
    });
    let peer = Setup::of(&origin).start();
    let ask = |language: &str| peer.get_with("/a", &format!("X-Language: {language}\r\n")).text();
    assert_eq!(ask("de"), "de 1");
    await_true(20, "the second", || ask("de") == "de 2");
    let text = ask("en");
    assert!(text.starts_with("en "), "{text}");
    await_true(20, "the fourth", || ask("de").ends_with(" 4") || origin.total() >= 4);
    for _ in 0..3 {
        let text = ask("en");
        assert!(text.starts_with("en ") || text.ends_with(" 4"), "{text}");
    }
}

#[test]
fn concurrent_requests_for_several_variants_get_their_own() {
    let origin = languages();
    let peer = Setup::of(&origin).workers(2).start();
    let languages = ["de", "en", "fr", "it", "es"];
    let all: Vec<_> = (0..100)
        .map(|number| {
            let language = languages[number % languages.len()];
            (language, peer.ask_with("/a", &format!("Accept-Language: {language}\r\n")))
        })
        .collect();
    for (language, pending) in all {
        let reply = pending.finish();
        assert_eq!(reply.status, 200);
        assert!(reply.text().starts_with(&format!("in {language} ")), "{}", reply.text());
    }
    assert!(origin.count("/a") <= 20, "{} requests", origin.count("/a"));
}
