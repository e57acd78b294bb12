//! What a client may take, and what happens beyond.
//!
//! Not here: sizes of requests (`tests/corpus`).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{await_true, pattern, read_answer, resident_bytes, start};

fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    drop(stream.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn slow_requests_time_out_with_an_answer_and_idle_ones_without() {
    let limits =
        "[limits]\nheader_timeout = \"1 s\"\nbody_timeout = \"1 s\"\nidle_timeout = \"1 s\"";
    let daemon = start("", limits);
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf";
    for (text, start) in [("GET / HT", "HTTP/1.1 408"), (body, "HTTP/1.1 408"), ("", "")] {
        let mut stream = daemon.connect();
        stream.write_all(text.as_bytes()).unwrap();
        let begun = Instant::now();
        let answer = read_all(&mut stream);
        assert!(answer.starts_with(start) && answer.is_empty() == start.is_empty(), "{answer}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{text:?}");
    }
    let metrics = daemon.metrics();
    for kind in ["header", "body", "idle"] {
        let name = format!("peerage_http_timeouts_total{{kind=\"{kind}\"}}");
        assert!(metrics[&name] >= 1.0, "{name}");
    }
}

#[test]
fn a_reader_that_stalls_is_cut() {
    let daemon = start("", "[limits]\nsend_timeout = \"1 s\"");
    daemon.put("a.bin", &pattern(24 << 20, 1));
    let mut stream = daemon.connect();
    stream.write_all(b"GET /a.bin HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    await_true(5, "the cut", || {
        daemon.metrics()["peerage_http_timeouts_total{kind=\"send\"}"] >= 1.0
    });
    assert!(read_all(&mut stream).len() < 24 << 20);
}

#[test]
fn the_last_request_of_a_connection_says_so() {
    let daemon = start("", "[limits]\nrequests_per_connection = 3");
    daemon.put("a.txt", b"alpha");
    let mut stream = daemon.connect();
    for expected in ["", "", "close"] {
        stream.write_all(b"GET /a.txt HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut stream, false).field("connection"), expected);
    }
    assert_eq!(read_all(&mut stream), "");
}

#[test]
fn beyond_the_limit_of_connections_new_ones_wait() {
    let daemon = start("", "[limits]\nconnections_per_worker = 16");
    daemon.put("a.txt", b"alpha");
    let request = b"GET /a.txt HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..16 {
        let mut stream = daemon.connect();
        stream.write_all(request).unwrap();
        assert_eq!(read_answer(&mut stream, false).status, 200);
        held.push(stream);
    }
    let mut waiting = daemon.connect();
    waiting.write_all(request).unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(waiting.read(&mut [0]).is_err(), "it is not served yet");
    held.pop();
    waiting.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(read_answer(&mut waiting, false).status, 200);
}

#[test]
fn beyond_the_limit_per_address_new_ones_are_closed() {
    let daemon = start("", "[limits]\nconnections_per_address = 2");
    daemon.put("a.txt", b"alpha");
    let request = b"GET /a.txt HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut held: Vec<TcpStream> = (0..2).map(|_| daemon.connect()).collect();
    for stream in &mut held {
        stream.write_all(request).unwrap();
        assert_eq!(read_answer(stream, false).status, 200);
    }
    assert_eq!(read_all(&mut daemon.connect()), "");
    held.clear();
    await_true(5, "room", || {
        let mut stream = daemon.connect();
        drop(stream.write_all(request));
        read_all_until_head(&mut stream)
    });
}

fn read_all_until_head(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 512]).is_ok_and(|count| count > 0)
}

#[test]
fn two_thousand_idle_connections_cost_little() {
    let daemon = start("", "");
    let resident = || resident_bytes(daemon.child.id());
    let before = resident();
    let held: Vec<TcpStream> = (0..2000).map(|_| daemon.connect()).collect();
    await_true(10, "all of them", || daemon.metrics()["peerage_http_connections"] >= 2000.0);
    let each = resident().saturating_sub(before) / 2000;
    assert!(each < 4096, "{each} bytes of user memory per idle connection");
    drop(held);
}
