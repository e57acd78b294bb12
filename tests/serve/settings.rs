//! What the configuration changes, seen by a client.
//!
//! Not here: reading the file (`tests/conf.rs`), limits (`limits`).

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::harness::{await_true, pattern, put, read_answer, start, start_at, start_hosts};

#[test]
fn hosts_have_methods_of_their_own() {
    let extra = "[[host]]\nname = \"a.example\"\n[[host]]\nname = \"b.example\"\n\
                 methods = [\"GET\"]\n";
    let daemon = start_hosts(extra);
    daemon.put("a.txt", b"alpha");
    put(&daemon.directory.path().join("tree/b.example/a.txt"), b"beta");
    let table = [
        ("HEAD", "/a.txt", "a.example", 200, ""),
        ("HEAD", "/a.txt", "b.example", 405, "GET"),
        ("OPTIONS", "/a.txt", "b.example", 405, "GET"),
        ("OPTIONS", "/a.txt", "a.example", 204, "GET, HEAD, OPTIONS"),
        // The target's host counts, not the field's.
        ("PUT", "http://b.example/a.txt", "a.example", 405, "GET"),
        ("PUT", "http://a.example/a.txt", "b.example", 405, "GET, HEAD, OPTIONS"),
        ("GET", "/a.txt", "c.example", 421, ""),
    ];
    for (method, target, host, status, allow) in table {
        let mut stream = daemon.connect();
        write!(stream, "{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let answer = read_answer(&mut stream, method == "HEAD");
        assert_eq!((answer.status, answer.field("allow")), (status, allow), "{method} {target}");
    }
}

#[test]
fn every_directory_is_a_host_if_wanted() {
    let daemon = start("any_host = true", "");
    put(&daemon.directory.path().join("tree/b.example/b.txt"), b"beta");
    let ask = |host: &str| {
        let mut stream = daemon.connect();
        write!(stream, "GET /b.txt HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        read_answer(&mut stream, false).status
    };
    assert_eq!((ask("B.example:80"), ask("c.example")), (200, 404));
}

#[test]
fn dot_files_links_and_ranges_are_as_configured() {
    for (tree, extra, dots, links, range) in [
        ("", "", 404, 200, 206),
        ("dot_files = true\nfollow_symlinks = false", "[limits]\nranges_max = 0", 200, 404, 200),
    ] {
        let daemon = start(tree, extra);
        daemon.put(".well", b"dots");
        daemon.put("a.txt", b"alpha");
        symlink("a.txt", daemon.host().join("link.txt")).unwrap();
        assert_eq!(daemon.get("/.well").status, dots);
        assert_eq!(daemon.get("/link.txt").status, links);
        assert_eq!(daemon.get_with("/a.txt", "Range: bytes=1-2\r\n").status, range);
    }
}

#[test]
fn the_best_coding_that_is_there_is_sent() {
    let daemon = start("", "");
    for (name, bytes) in [("a.svg", "plain"), ("a.svg.zst", "zst"), ("a.svg.gz", "gzip")] {
        daemon.put(name, bytes.as_bytes());
    }
    for (accepted, expected) in [
        ("gzip, zstd, br", "zst"),
        ("gzip", "gzip"),
        ("zstd;q=0, gzip;q=0.1", "gzip"),
        ("identity", "plain"),
    ] {
        let answer = daemon.get_with("/a.svg", &format!("Accept-Encoding: {accepted}\r\n"));
        assert_eq!(answer.body, expected.as_bytes(), "{accepted}");
        assert_eq!(answer.field("vary"), "Accept-Encoding");
    }
    let twice = "Accept-Encoding: gzip;q=0\r\nAccept-Encoding: *\r\n";
    assert_eq!(daemon.get_with("/a.svg", twice).body, b"plain");
}

#[test]
fn a_table_smaller_than_the_tree_evicts() {
    let daemon = start("open_files_max = 64", "");
    for number in 0..300 {
        daemon.put(&format!("{number}.bin"), &pattern(100 + number, 1));
    }
    for _ in 0..2 {
        let mut stream = daemon.connect();
        for number in 0..300 {
            write!(stream, "GET /{number}.bin HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
            assert!(read_answer(&mut stream, false).body == pattern(100 + number, 1), "{number}");
        }
    }
    let metrics = daemon.metrics();
    assert!(metrics["peerage_files_open"] <= 64.0);
    assert!(metrics["peerage_files_evictions_total"] > 400.0);
    assert!(metrics["peerage_files_misses_total"] > 400.0);
}

#[test]
fn several_workers_share_a_port_and_a_wildcard_takes_both_kinds() {
    for listen in ["127.0.0.1:0", "*:0"] {
        let daemon = start_at(listen, "workers = 3", "", "");
        daemon.put("a.txt", b"alpha");
        for _ in 0..60 {
            assert_eq!(daemon.get("/a.txt").body, b"alpha");
        }
        assert_eq!(daemon.metrics()["peerage_workers"], 3.0);
    }
}

#[test]
fn what_a_reload_cannot_change_is_said() {
    let daemon = start("", "");
    daemon.put("a.txt", b"alpha");
    assert_eq!(daemon.get("/a.txt").field("server"), "peerage");
    let file = daemon.directory.path().join("peerage.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("workers = 1", "workers = 2\nserver_name = \"other\"")).unwrap();
    let pid = daemon.child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    daemon.await_said("server.workers changed; it needs a restart");
    // What can change has changed, in heads that were prepared before as well.
    await_true(5, "the new name", || daemon.get("/a.txt").field("server") == "other");
    assert_eq!(daemon.metrics()["peerage_workers"], 1.0);
}
