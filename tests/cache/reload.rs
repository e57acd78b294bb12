//! SIGHUP with other origins: who is asked from then on, and what was under way.
//!
//! Not here: keys that have nothing to do with origins (`tests/serve`).

use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{await_true, pattern, put};
use crate::mount::is_possible;
use crate::origin::Origin;
use crate::peer::{Peer, Setup};

/// An origin that says its name.
fn named(name: &'static str) -> Origin {
    Origin::start(move |exchange| {
        let body = format!("{name} {}", exchange.target);
        exchange.answer("Content-Type: image/png\r\nCache-Control: max-age=60\r\n", body);
    })
}

fn at(origin: &Origin) -> String {
    format!("addresses = [\"{}\"]", origin.address)
}

/// Asks for what nobody asked for yet until `is_new`, as each worker hears of a reload at its own
/// moment, and then for more, which must all be so.
fn await_all(peer: &Peer, what: &str, is_new: impl Fn(u16, &str) -> bool) {
    let mut names = (0..).map(|number| format!("/{what}/{number}"));
    let mut ask = || {
        let target = names.next().unwrap();
        let reply = peer.get(&target);
        is_new(reply.status, &reply.text())
    };
    // Both workers were asked by then, unless one connection in 2^20 goes astray.
    let mut in_a_row = 0;
    await_true(20, what, || {
        in_a_row = if ask() { in_a_row + 1 } else { 0 };
        in_a_row == 20
    });
    for _ in 0..40 {
        assert!(ask(), "{what}");
    }
}

#[test]
fn fetches_go_to_the_new_origin_and_what_is_stored_stays() {
    for workers in [1, 2] {
        let (first, second) = (named("first"), named("second"));
        let peer = Setup::of(&first).workers(workers).start();
        assert_eq!(peer.get("/a").text(), "first /a");
        peer.await_hit("/a");
        assert!(peer.reload_origin(&at(&second)));
        await_all(&peer, "second", |_, text| text.starts_with("second "));
        let asked = first.total();
        assert_eq!(peer.await_hit("/a").text(), "first /a");
        await_true(20, "the old connections to be closed", || first.open() == 0);
        // And back again.
        assert!(peer.reload_origin(&at(&first)));
        await_all(&peer, "first", |_, text| text.starts_with("first "));
        assert!(first.total() >= asked + 40);
    }
}

#[test]
fn an_origin_that_stays_keeps_its_connections() {
    let origin = named("same");
    let peer = Setup::of(&origin).start();
    assert_eq!(peer.get("/a").status, 200);
    let before = origin.connections();
    assert!(peer.reload(|text| format!("{text}[log]\nlevel = \"debug\"\n")));
    assert!(peer.reload(|text| text.replace("debug", "info")));
    assert_eq!(peer.get("/b").status, 200);
    assert_eq!(origin.connections(), before);
}

#[test]
fn a_host_may_lose_its_origin_and_get_one_again() {
    for workers in [1, 2] {
        let origin = named("origin");
        let peer = Setup::of(&origin).workers(workers).start();
        put(&peer.file("hand.png"), b"by hand");
        peer.get("/a.png");
        peer.await_hit("/a.png");
        assert!(peer.reload_origin(""));
        await_all(&peer, "none", |status, _| status == 404);
        let asked = origin.total();
        // What it has is a file as any other now.
        for _ in 0..10 {
            let reply = peer.get("/a.png");
            assert_eq!((reply.status, reply.text()), (200, "origin /a.png".to_owned()));
            assert_eq!(reply.field("content-type"), "image/png");
            assert_eq!(peer.get("/hand.png").text(), "by hand");
            assert_eq!(peer.get("/b.png").status, 404);
        }
        assert_eq!(origin.total(), asked);
        await_true(20, "the connections to be closed", || origin.open() == 0);
        assert!(peer.reload_origin(&at(&origin)));
        await_all(&peer, "again", |status, text| status == 200 && text.starts_with("origin "));
        assert_eq!(peer.await_hit("/a.png").text(), "origin /a.png");
        assert_eq!(peer.get("/b.png").text(), "origin /b.png");
        peer.await_hit("/b.png");
        assert_eq!(origin.count("/a.png"), 1);
        assert_eq!(peer.get("/hand.png").text(), "by hand");
    }
}

#[test]
fn a_further_host_gets_an_origin() {
    let (first, second) = (named("first"), named("second"));
    let mut setup = Setup::of(&first).workers(2);
    setup.host = "[[host]]\nname = \"b.example\"\n".to_owned();
    let peer = setup.start();
    let ask = |target: &str| {
        let text = format!("GET {target} HTTP/1.1\r\nHost: b.example\r\n\r\n");
        peer.raw(&text)
    };
    put(&peer.root().join("b.example/hand"), b"by hand");
    for _ in 0..10 {
        assert_eq!(ask("/a").status, 404);
        await_true(2, "the file", || ask("/hand").text() == "by hand");
    }
    assert!(peer.reload(|text| format!("{text}[host.origin]\n{}\n", at(&second))));
    await_true(20, "a fetch", || ask("/a").text() == "second /a");
    await_true(20, "a hit", || ask("/a").is_hit());
    assert_eq!((second.count("/a"), first.total()), (1, 0));
    assert_eq!(fs::read(peer.root().join("b.example/a")).unwrap(), b"second /a");
    assert_eq!(ask("/hand").text(), "by hand");
    assert_eq!(peer.get("/a").text(), "first /a");
}

#[test]
fn the_first_origin_of_all_is_asked_and_nothing_stored() {
    let origin = named("origin");
    let peer = Setup::alone().start();
    put(&peer.file("hand"), b"by hand");
    assert_eq!(peer.get("/a").status, 404);
    assert!(peer.reload_origin(&at(&origin)));
    await_all(&peer, "fetched", |status, text| status == 200 && text.starts_with("origin "));
    for number in 1..4 {
        assert_eq!(peer.get("/a").text(), "origin /a");
        await_true(20, "another fetch", || {
            origin.count("/a") == number || peer.get("/a").status != 200
        });
    }
    assert_eq!(peer.get("/hand").text(), "by hand");
    assert_eq!(peer.files(), [peer.file("hand")]);
    peer.await_said("needs a restart before its answers are stored");
}

/// An origin that sends two of three MiB, and the rest, or for `/late` all, once `gate` is open.
fn halting(gate: &Arc<AtomicBool>) -> Origin {
    let gate = Arc::clone(gate);
    Origin::start(move |exchange| {
        let body = pattern(3 << 20, 1);
        let is_open = || gate.load(Ordering::SeqCst);
        if exchange.target == "/late" {
            exchange.wait(is_open);
        }
        let head =
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3145728\r\n\r\n";
        exchange.send(head);
        exchange.send(&body[..2 << 20]);
        exchange.wait(is_open);
        exchange.send(&body[2 << 20..]);
    })
}

#[test]
fn a_fetch_under_way_ends_whole() {
    let other = named("other");
    for workers in [1, 2] {
        for lines in [at(&other), String::new()] {
            let gate = Arc::new(AtomicBool::new(false));
            let origin = halting(&gate);
            let peer = Setup::of(&origin).workers(workers).start();
            let mut begun: Vec<_> = (0..4).map(|_| peer.ask("/a")).collect();
            begun.iter_mut().for_each(|pending| pending.await_bytes(1 << 20));
            let late: Vec<_> = (0..4).map(|_| peer.ask("/late")).collect();
            await_true(20, "both requests", || origin.total() == 2);
            assert!(peer.reload_origin(&lines));
            await_all(&peer, "other", |status, text| match lines.is_empty() {
                true => status == 404,
                false => text.starts_with("other "),
            });
            gate.store(true, Ordering::SeqCst);
            for pending in begun.into_iter().chain(late) {
                let reply = pending.finish();
                assert_eq!(reply.status, 200, "{lines}");
                assert!(reply.is_whole && reply.body == pattern(3 << 20, 1), "{}", reply.head);
            }
            for target in ["/a", "/late"] {
                await_true(20, target, || peer.get(target).body == pattern(3 << 20, 1));
            }
            assert_eq!(origin.total(), 2);
            peer.await_tidy();
        }
    }
}

#[test]
fn a_broken_configuration_changes_nothing() {
    let (origin, other) = (named("origin"), named("other"));
    let peer = Setup::of(&origin).workers(2).start();
    assert_eq!(peer.get("/a").text(), "origin /a");
    let connections = origin.connections();
    for (number, lines) in [
        "addresses = []".to_owned(),
        "addresses = [\"nonsense\"]".to_owned(),
        format!("{}\nnonsense = 1", at(&other)),
        format!("{}\nscheme = \"https\"\nca_file = \"none.pem\"", at(&other)),
        format!("{}\nconnect_timeout = [", at(&other)),
    ]
    .iter()
    .enumerate()
    {
        assert!(!peer.reload_origin(lines), "{lines}");
        peer.await_said("the old configuration stays in force");
        assert_eq!(peer.get(&format!("/{number}")).text(), format!("origin /{number}"));
    }
    assert_eq!((other.total(), peer.await_hit("/a").text()), (0, "origin /a".to_owned()));
    assert!(origin.connections() <= connections + 2, "they are kept");
    // A good one is taken after that.
    assert!(peer.reload_origin(&at(&other)));
    await_all(&peer, "other", |_, text| text.starts_with("other "));
}

/// Has names looked up at 127.77.0.1, for two seconds.
const RESOLVER: &str = "printf 'nameserver 127.77.0.1\\noptions timeout:2 attempts:1\\n' \
    >\"$1/../resolv.conf\" && mount --bind \"$1/../resolv.conf\" /etc/resolv.conf";

#[test]
fn a_resolver_that_takes_its_time_holds_nobody_up() {
    // It takes questions, and never answers.
    let silent = match UdpSocket::bind("127.77.0.1:53") {
        Ok(socket) => socket,
        Err(error) => return eprintln!("skipped: 127.77.0.1:53: {error}"),
    };
    if !is_possible(&format!("mkdir \"$1/tree\"; set -- \"$1/tree\"; {RESOLVER}")) {
        return;
    }
    let origin = named("first");
    let peer = Setup::of(&origin).before(RESOLVER).start();
    peer.get("/a");
    let began = Instant::now();
    peer.begin_reload(|text| {
        let (before, rest) = text.split_once("addresses = [").unwrap();
        format!("{before}addresses = [\"slow.example:80\", {rest}")
    });
    let mut question = [0; 512];
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    silent.recv(&mut question).unwrap();
    // What is asked of control meanwhile is answered, and the old configuration serves.
    let asked = Instant::now();
    assert_eq!(peer.reloads(), (0.0, 0.0));
    assert!(peer.order("purge url http://a.example/a").ends_with("ok purged 1 kept 0 failed 0\n"));
    assert_eq!(peer.get("/b").text(), "first /b");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    // Who asks for another reload gets one, with what the file says by then.
    peer.begin_reload(|text| text.replace("\"slow.example:80\", ", ""));
    await_true(20, "both reloads", || peer.reloads() == (2.0, 0.0));
    assert!(began.elapsed() >= Duration::from_secs(2), "the names were looked up");
    assert!(peer.said().iter().any(|line| line.contains("slow.example:80 cannot be looked up")));
    assert_eq!(peer.get("/c").text(), "first /c");
}
