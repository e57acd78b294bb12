//! Requests as browsers and caches send them.
//!
//! Not here: bodies of every size (`bodies`).

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::harness::{pattern, put, read_answer, start};

#[test]
fn get_head_options_and_others() {
    let daemon = start("", "");
    daemon.put("a.png", b"alpha");
    let answer = daemon.get("/a.png");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"alpha"[..]));
    assert_eq!(answer.field("content-type"), "image/png");
    assert_eq!(answer.field("accept-ranges"), "bytes");
    let mut stream = daemon.connect();
    stream.write_all(b"HEAD /a.png HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let head = read_answer(&mut stream, true);
    assert_eq!((head.status, head.field("content-length")), (200, "5"));
    for (request, status) in [("OPTIONS /a.png", 204), ("OPTIONS *", 204), ("DELETE /a.png", 405)] {
        write!(stream, "{request} HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        let answer = read_answer(&mut stream, false);
        assert_eq!((answer.status, answer.field("allow")), (status, "GET, HEAD, OPTIONS"));
    }
}

#[test]
fn five_hundred_pipelined_requests_are_answered_in_order() {
    let daemon = start("", "");
    for number in 0..10_u8 {
        daemon.put(&format!("{number}.bin"), &pattern(usize::from(number) * 10_000, number));
    }
    let mut stream = daemon.connect();
    let mut text = String::new();
    for number in 0..500 {
        text += &format!("GET /{}.bin HTTP/1.1\r\nHost: a.example\r\n\r\n", number % 10);
    }
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(text.as_bytes()).unwrap());
    for number in 0..500_u16 {
        let seed = u8::try_from(number % 10).unwrap();
        let answer = read_answer(&mut stream, false);
        assert!(answer.body == pattern(usize::from(seed) * 10_000, seed), "answer {number}");
    }
    writing.join().unwrap();
}

#[test]
fn a_flood_of_requests_pauses_and_loses_none() {
    const COUNT: usize = 8000;
    let daemon = start("", "");
    daemon.put("a.bin", &pattern(20_000, 1));
    let mut stream = daemon.connect();
    // Several times what is received ahead before receiving pauses.
    let text = "GET /a.bin HTTP/1.1\r\nHost: a.example\r\n\r\n".repeat(COUNT);
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(text.as_bytes()).unwrap());
    std::thread::sleep(std::time::Duration::from_millis(200));
    for number in 0..COUNT {
        let answer = read_answer(&mut stream, false);
        assert!(answer.body.len() == 20_000, "answer {number}");
    }
    writing.join().unwrap();
    assert_eq!(daemon.metrics()["peerage_http_connections"], 1.0);
}

#[test]
fn refused_clients_that_hang_up_harm_nobody() {
    let daemon = start("", "");
    daemon.put("a.txt", b"alpha");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let mut stream = daemon.connect();
                    // Refused, shut down and closed at about the same moment.
                    drop(stream.write_all(b"garbage\r\n\r\n"));
                    drop(stream.shutdown(std::net::Shutdown::Write));
                }
            });
        }
        for _ in 0..1000 {
            assert_eq!(daemon.get("/a.txt").body, b"alpha");
        }
    });
}

#[test]
fn http_1_0_closes_unless_asked_to_stay() {
    let daemon = start("", "");
    daemon.put("a.txt", b"alpha");
    let answer = daemon.raw("GET /a.txt HTTP/1.0\r\n\r\n");
    assert!(answer.contains("Connection: close\r\n") && answer.ends_with("alpha"), "{answer}");
    let mut stream = daemon.connect();
    for _ in 0..2 {
        stream.write_all(b"GET /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut stream, false).field("connection"), "keep-alive");
    }
}

#[test]
fn conditions_and_ranges_end_to_end() {
    let daemon = start("", "");
    for len in [1000, 3 << 20] {
        let bytes = pattern(len, 3);
        daemon.put("a.bin", &bytes);
        let etag = loop {
            let answer = daemon.get("/a.bin");
            if answer.body == bytes {
                break answer.field("etag").to_owned();
            }
        };
        let of = |fields: &str| daemon.get_with("/a.bin", fields);
        assert_eq!(of(&format!("If-None-Match: {etag}\r\n")).status, 304);
        assert_eq!(of("If-Match: \"x\"\r\n").status, 412);
        let part = of("Range: bytes=10-19\r\n");
        assert_eq!((part.status, &part.body[..]), (206, &bytes[10..20]));
        let part = of("Range: bytes=-300\r\n");
        assert_eq!((part.status, &part.body[..]), (206, &bytes[len - 300..]));
        let part = of(&format!("Range: bytes=5-\r\nIf-Range: {etag}\r\n"));
        assert!(part.status == 206 && part.body[..] == bytes[5..]);
        let whole = of("Range: bytes=5-9\r\nIf-Range: \"x\"\r\n");
        assert!(whole.status == 200 && whole.body == bytes);
        let none = of(&format!("Range: bytes={len}-\r\n"));
        assert_eq!((none.status, none.field("content-range")), (416, &*format!("bytes */{len}")));
        let parts = of("Range: bytes=0-9,500-599\r\n");
        assert_eq!(parts.status, 206);
        let expected = [&bytes[0..10], &bytes[500..600]];
        let found = |piece: &[u8]| parts.body.windows(piece.len()).any(|window| window == piece);
        assert!(expected.into_iter().all(found), "both parts");
    }
}

#[test]
fn precompressed_siblings_go_to_those_who_take_them() {
    let daemon = start("", "");
    daemon.put("a.svg", b"<svg/>");
    assert_eq!(daemon.get("/a.svg").field("vary"), "");
    daemon.put("a.svg.gz", b"gzipped");
    daemon.put("a.svg.br", b"brotli");
    crate::harness::await_true(3, "the siblings", || {
        daemon.get_with("/a.svg", "Accept-Encoding: gzip, br\r\n").body == b"brotli"
    });
    let gzip = daemon.get_with("/a.svg", "Accept-Encoding: gzip\r\n");
    assert_eq!((gzip.field("content-encoding"), &gzip.body[..]), ("gzip", &b"gzipped"[..]));
    assert_eq!(gzip.field("content-type"), "image/svg+xml");
    let plain = daemon.get("/a.svg");
    assert_eq!((plain.field("vary"), &plain.body[..]), ("Accept-Encoding", &b"<svg/>"[..]));
    assert_ne!(plain.field("etag"), gzip.field("etag"));
    let direct = daemon.get("/a.svg.gz");
    assert_eq!((direct.field("content-encoding"), &direct.body[..]), ("", &b"gzipped"[..]));
    fs::remove_file(daemon.host().join("a.svg.br")).unwrap();
    crate::harness::await_true(3, "the sibling to go", || {
        daemon.get_with("/a.svg", "Accept-Encoding: gzip, br\r\n").body == b"gzipped"
    });
}

#[test]
fn hosts_lead_to_their_directories() {
    let extra = "[[host]]\nname = \"b.example\"\naliases = [\"www.b.example\"]\n\
        [[host.cache_control]]\npath = \"*.png\"\nvalue = \"max-age=9\"\n";
    let daemon = start("", extra);
    daemon.put("x.png", b"of a");
    put(&daemon.directory.path().join("tree/b.example/x.png"), b"of b");
    for (host, body, rule) in [
        ("b.example", "of b", "max-age=9"),
        ("WWW.B.example:80", "of b", "max-age=9"),
        ("c.example", "of a", ""),
    ] {
        let mut stream = daemon.connect();
        write!(stream, "GET /x.png HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let answer = read_answer(&mut stream, false);
        assert_eq!(String::from_utf8_lossy(&answer.body), body, "{host}");
        assert_eq!(answer.field("cache-control"), rule, "{host}");
    }
    let absolute = "GET http://b.example/x.png HTTP/1.0\r\nHost: a.example\r\n\r\n";
    assert!(daemon.raw(absolute).ends_with("of b"));
}

#[test]
fn nothing_but_regular_files_below_the_root_is_served() {
    let daemon = start("index = \"index.html\"", "");
    let host = daemon.host();
    daemon.put("index.html", b"front");
    daemon.put("sub/deep.txt", b"deep");
    daemon.put(".hidden", b"hidden");
    daemon.put("with space.txt", b"space");
    symlink("sub/deep.txt", host.join("inside")).unwrap();
    symlink("/etc/passwd", host.join("outside")).unwrap();
    symlink("../../..", host.join("above")).unwrap();
    let fifo = std::ffi::CString::new(host.join("pipe").to_str().unwrap()).unwrap();
    make_fifo(&fifo);
    let _socket = std::os::unix::net::UnixListener::bind(host.join("socket")).unwrap();
    for (path, status) in [
        ("/", 200),
        ("/sub/deep.txt", 200),
        ("/with%20space.txt", 200),
        ("/inside", 200),
        ("/outside", 404),
        ("/above/etc/passwd", 404),
        ("/.hidden", 404),
        ("/sub", 404),
        ("/sub/", 404),
        ("/pipe", 404),
        ("/socket", 404),
        ("/nothing", 404),
        ("/index.html/x", 404),
        ("/../a.example/index.html", 400),
    ] {
        assert_eq!(daemon.get(path).status, status, "{path}");
    }
}

fn make_fifo(path: &std::ffi::CStr) {
    let made = std::process::Command::new("mkfifo").arg(path.to_str().unwrap()).status().unwrap();
    assert!(made.success());
}

#[test]
fn every_url_has_a_file_of_its_own_and_the_command_says_which() {
    let daemon = start("", "");
    let root = daemon.directory.path().join("tree");
    let config = daemon.directory.path().join("peerage.toml");
    let ask = |question: &str, what: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_peerage"))
            .args(["cache", question, "-c"])
            .arg(&config)
            .arg(what)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let targets = ["/a.gif", "/a%20b", "/a%3Fb", "/a%253Fb", "/100%25", "/%25_index", "/d%3F/x"];
    for target in targets {
        let url = format!("http://a.example{target}");
        let file = ask("path", &url);
        assert!(file.starts_with(root.to_str().unwrap()), "{file}");
        put(Path::new(&file), target.as_bytes());
        daemon.await_status(target, 200, 2);
        assert_eq!(daemon.get(target).body, target.as_bytes(), "{file}");
        assert_eq!(ask("url", &file), url);
    }
    let output =
        Command::new(env!("CARGO_BIN_EXE_peerage")).args(["cache", "path", "nonsense"]).output();
    let error = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(error.contains("nonsense: expected http://HOST/PATH"), "{error}");
}
