//! How origins are reached: fail-over, connections, what they are sent, how long they may take.
//!
//! Not here: TLS (`tls`), answers that are no answers (`faults`).

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::base::minutes;
use crate::client::Pending;
use crate::harness::await_true;
use crate::origin::{Origin, Stream};
use crate::peer::Setup;

#[test]
fn another_address_takes_over_and_the_first_comes_back() {
    let (mut first, mut second) = (minutes(), minutes());
    let peer = Setup::at(&[first.address, second.address])
        .origin("failures_max = 1\ndown_min = \"100 ms\"\ndown_max = \"200 ms\"")
        .start();
    for number in 0..10 {
        assert_eq!(peer.get(&format!("/both/{number}")).status, 200);
    }
    first.stop();
    for number in 0..10 {
        assert_eq!(peer.get(&format!("/second/{number}")).status, 200);
    }
    assert!(second.total() >= 10);
    second.stop();
    for number in 0..3 {
        assert_eq!(peer.get(&format!("/none/{number}")).status, 502);
    }
    assert!(peer.metric("peerage_origin_refusals_total") >= 3.0);
    first.restart();
    await_true(20, "the first to be tried again", || peer.get("/again").status == 200);
    assert_eq!(peer.get("/both/1").status, 200);
}

/// An origin at [::1] that redirects from `/moved` to itself.
fn at_v6() -> Option<Origin> {
    let plain = |stream| Ok(Box::new(stream) as Box<dyn Stream>);
    Origin::start_at_v6(plain, |exchange| {
        if exchange.target == "/moved" {
            let there = exchange.field("X-There").to_owned();
            exchange.answer_with(302, &format!("Location: http://{there}/x\r\n"), "");
        } else {
            let body = format!("{} {}", exchange.target, exchange.number);
            exchange.answer("Cache-Control: max-age=60\r\n", body);
        }
    })
}

#[test]
fn an_origin_may_have_an_ipv6_address() {
    let Some(mut origin) = at_v6() else { return };
    let peer = Setup::of(&origin).workers(2).start();
    assert!(origin.address.is_ipv6());
    assert_eq!(peer.get("/a").text(), "/a 1");
    assert_eq!(peer.await_hit("/a").text(), "/a 1");
    assert_eq!(origin.last_field("host"), "a.example");
    let there = format!("X-There: {}\r\n", origin.address);
    assert_eq!(peer.get_with("/moved", &there).field("location"), "http://a.example/x");
    origin.stop();
    assert_eq!(peer.get("/b").status, 502);
    drop(peer);
    origin.restart();
    // As the host that is asked for as well.
    let host = format!("host_header = \"{}\"", origin.address);
    let peer = Setup::of(&origin).origin(&host).start();
    assert_eq!(peer.get("/c").text(), "/c 1");
    assert_eq!(origin.last_field("host"), origin.address.to_string());
    assert!(origin.address.to_string().starts_with("[::1]:"));
}

#[test]
fn an_ipv6_address_takes_over_from_an_ipv4_one_and_back() {
    let Some(mut second) = at_v6() else { return };
    let mut first = minutes();
    first.stop();
    let peer = Setup::at(&[first.address, second.address])
        .origin("failures_max = 1\ndown_min = \"100 ms\"\ndown_max = \"200 ms\"")
        .start();
    for number in 0..10 {
        let target = format!("/second/{number}");
        assert_eq!(peer.get(&target).text(), format!("{target} 1"));
    }
    assert_eq!((first.total(), second.total()), (0, 10));
    second.stop();
    first.restart();
    await_true(20, "the first to be tried again", || peer.get("/again").status == 200);
    assert_eq!((first.count("/again"), second.total()), (1, 10));
}

#[test]
fn an_address_that_closes_without_an_answer_is_passed_over() {
    let bad = Origin::start(|exchange| exchange.close());
    let good = minutes();
    let peer = Setup::at(&[bad.address, good.address])
        .origin("failures_max = 3\ndown_min = \"1 min\"\ndown_max = \"1 min\"")
        .start();
    let all: Vec<u16> = (0..20).map(|number| peer.get(&format!("/{number}")).status).collect();
    let failed = all.iter().filter(|status| **status == 502).count();
    assert!(failed <= 3 && all[failed..].iter().all(|status| *status == 200), "{all:?}");
}

#[test]
fn the_host_field_is_the_configured_one() {
    let origin = minutes();
    let ask = "GET /a HTTP/1.1\r\nHost: www.a.example\r\n\r\n";
    let peer = Setup::of(&origin).start();
    assert_eq!(peer.raw(ask).status, 200);
    assert_eq!(origin.last_field("host"), "a.example");
    drop(peer);
    let peer = Setup::of(&origin).origin("host_header = \"images.example:8080\"").start();
    assert_eq!(peer.raw(ask).status, 200);
    assert_eq!(origin.last_field("host"), "images.example:8080");
}

#[test]
fn fields_of_one_hop_are_not_passed_on() {
    let origin = Origin::start(|exchange| {
        exchange.answer(
            "Cache-Control: max-age=60\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
             Surrogate-Key: a b\r\nCache-Tag: c\r\nX-End: 1\r\n",
            "body",
        );
    });
    let peer = Setup::of(&origin).start();
    let fields = "Connection: X-Mine, Keep-Alive\r\nX-Mine: 1\r\nTE: trailers\r\nUpgrade: x\r\n\
                  X-End: 2\r\nProxy-Authorization: x\r\n";
    let miss = peer.get_with("/a", fields);
    let hit = peer.await_hit("/a");
    for reply in [miss, hit] {
        assert_eq!(reply.field("x-end"), "1");
        for name in ["x-hop", "keep-alive", "surrogate-key", "cache-tag"] {
            assert_eq!(reply.field(name), "", "{name}");
        }
    }
    assert_eq!(origin.last_field("x-end"), "2");
    for name in ["x-mine", "te", "upgrade", "proxy-authorization", "keep-alive"] {
        assert_eq!(origin.last_field(name), "", "{name}");
    }
    assert!(origin.last_field("via").contains("peerage"), "{:?}", origin.heads());
}

#[test]
fn a_request_that_went_in_a_circle_is_refused() {
    let origin = minutes();
    let peer = Setup::of(&origin).cache("name = \"box-1\"").start();
    let reply = peer.get_with("/a", "Via: 1.1 other, 1.1 box-1\r\n");
    assert_eq!((reply.status, origin.total()), (502, 0));
    assert_eq!(peer.metric("peerage_cache_loops_total"), 1.0);
    assert_eq!(peer.get_with("/a", "Via: 1.1 other\r\n").status, 200);
}

#[test]
fn connections_are_kept_and_given_up_in_time() {
    let origin = minutes();
    let peer = Setup::of(&origin).origin("idle_timeout = \"2 s\"").start();
    for number in 0..20 {
        assert_eq!(peer.get(&format!("/{number}")).status, 200);
    }
    // One may have been idle for too long on a machine with much else to do.
    assert!(origin.connections() < 5, "{}", origin.connections());
    await_true(20, "idle connections to be closed", || origin.open() == 0);
    assert_eq!(peer.get("/later").status, 200);
}

#[test]
fn connections_are_replaced_after_so_many_requests() {
    let origin = minutes();
    let peer = Setup::of(&origin).origin("requests_per_connection = 5").start();
    for number in 0..20 {
        assert_eq!(peer.get(&format!("/{number}")).status, 200);
    }
    assert!(origin.connections() >= 4, "{}", origin.connections());
}

#[test]
fn connections_are_bounded_and_the_rest_waits() {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let origin = Origin::start(move |exchange| {
        exchange.wait(|| gate.load(Ordering::SeqCst));
        exchange.answer("Cache-Control: max-age=60\r\n", "body");
    });
    let peer = Setup::of(&origin).origin("connections_max = 3\nidle_max = 3").start();
    let all: Vec<Pending> = (0..20).map(|number| peer.ask(&format!("/{number}"))).collect();
    await_true(20, "three requests", || origin.total() == 3);
    opened.store(true, Ordering::SeqCst);
    for pending in all {
        assert_eq!(pending.finish().status, 200);
    }
    assert_eq!((origin.open_most(), origin.total()), (3, 20));
}

/// More than a worker has buffers with the kernel for.
#[test]
fn a_hundred_answers_that_begin_at_once_are_all_whole() {
    const COUNT: usize = 100;
    let (gate, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (opened, sent) = (Arc::clone(&gate), Arc::clone(&done));
    let origin = Origin::start(move |exchange| {
        exchange.wait(|| gate.load(Ordering::SeqCst));
        let body = exchange.target.repeat(2000);
        exchange.answer("Cache-Control: max-age=1000\r\n", body);
        done.fetch_add(1, Ordering::SeqCst);
    });
    let peer = Setup::of(&origin).workers(1).origin("connections_max = 100").start();
    let targets: Vec<String> = (0..COUNT).map(|number| format!("/{number:03}")).collect();
    let asked: Vec<Pending> = targets.iter().map(|target| peer.ask(target)).collect();
    await_true(20, "all requests", || origin.open() == COUNT && origin.total() == COUNT);
    peer.while_stopped(|| {
        opened.store(true, Ordering::SeqCst);
        await_true(20, "all answers", || sent.load(Ordering::SeqCst) == COUNT);
    });
    for (target, pending) in targets.iter().zip(asked) {
        assert_eq!(pending.finish().text(), target.repeat(2000), "{target}");
        assert_eq!(peer.await_hit(target).text(), target.repeat(2000), "{target}");
    }
    assert_eq!(origin.total(), COUNT);
}

#[test]
fn more_than_may_wait_are_refused_at_once() {
    let origin = Origin::start(|exchange| exchange.wait_close());
    let peer = Setup::of(&origin)
        .origin("connections_max = 1\nidle_max = 1\nwaiters_max = 2\nwait_timeout = \"3 s\"")
        .start();
    let _holds_it = peer.ask("/0");
    await_true(20, "the only connection to be taken", || origin.total() == 1);
    let all: Vec<Pending> = (1..6).map(|number| peer.ask(&format!("/{number}"))).collect();
    let mut statuses: Vec<u16> = all.into_iter().map(|ask| ask.finish().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [503, 503, 503, 504, 504]);
}

#[test]
fn an_origin_that_takes_no_connections_times_out() {
    // A queue for one, which is full, drops what else knocks.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut knocking = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        knocking.push(stream);
        assert!(knocking.len() < 100);
    }
    let peer = Setup::at(&[address]).origin("connect_timeout = \"300 ms\"").start();
    let reply = peer.get("/a");
    assert!(matches!(reply.status, 502 | 504), "{}", reply.head);
    assert!(peer.errors("timeout_connect") >= 1.0, "the metric counts it");
}

#[test]
fn an_origin_that_refuses_connections_is_counted() {
    let mut origin = minutes();
    origin.stop();
    let peer = Setup::of(&origin).start();
    assert_eq!(peer.get("/a").status, 502);
    assert!(peer.metric("peerage_origin_refusals_total") >= 1.0);
    assert!(peer.errors("connect") >= 1.0, "the metric counts it");
}

#[test]
fn an_origin_that_does_not_answer_times_out() {
    let origin = Origin::start(|exchange| match &*exchange.target {
        "/head" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Le");
            exchange.wait_close();
        }
        "/body" => {
            exchange.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n");
            exchange.send("Content-Length: 10\r\n\r\nhalf");
            exchange.wait_close();
        }
        "/never" => exchange.wait_close(),
        _ => exchange.answer("Cache-Control: max-age=60\r\n", "body"),
    });
    let peer = Setup::of(&origin)
        .origin("first_byte_timeout = \"300 ms\"\nbetween_bytes_timeout = \"300 ms\"")
        .start();
    for target in ["/never", "/head"] {
        let before = peer.errors("timeout_first_byte");
        assert_eq!(peer.get(target).status, 504, "{target}");
        assert_eq!(peer.errors("timeout_first_byte"), before + 1.0, "{target}");
    }
    let reply = peer.get("/body");
    assert_eq!((reply.status, reply.is_whole, &reply.body[..]), (200, false, &b"half"[..]));
    assert_eq!(peer.errors("timeout_between_bytes"), 1.0);
    assert_eq!(peer.metric("peerage_cache_cut_short_total"), 1.0);
    assert_eq!(peer.get("/else").status, 200);
    peer.await_hit("/else");
    assert_eq!(peer.files(), [peer.file("else")]);
}

#[test]
fn redirects_lead_back_to_where_they_came_from() {
    let origin = Origin::start(|exchange| {
        let there = exchange.field("X-There").to_owned();
        let location = match &*exchange.target {
            "/origin" => format!("http://{there}/x?y"),
            "/host" => "http://a.example/x".to_owned(),
            "/other" => "http://b.example/x".to_owned(),
            _ => "/x".to_owned(),
        };
        let fields = format!("Location: {location}\r\nCache-Control: max-age=60\r\n");
        exchange.answer_with(302, &fields, "");
    });
    let peer = Setup::of(&origin).start();
    let there = format!("X-There: {}\r\n", origin.address);
    for (target, location) in [
        ("/origin", "http://a.example/x?y"),
        ("/host", "http://a.example/x"),
        ("/other", "http://b.example/x"),
        ("/relative", "/x"),
    ] {
        for _ in 0..2 {
            let reply = peer.get_with(target, &there);
            assert_eq!((reply.status, reply.field("location")), (302, location), "{target}");
        }
        assert_eq!(origin.count(target), 1, "{target} is kept");
    }
    assert_eq!(origin.count("/x"), 0, "nobody follows them here");
}
