//! Clients that mean no good, or are slow, or many.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{await_true, resident_bytes};
use crate::service::{Client, Service, request, start};

/// It is there for others whatever was done to it.
fn assert_well(service: &Service) {
    assert_eq!(service.client().ask(&["PING"]), "PONG");
}

#[test]
fn requests_in_any_pieces_are_whole_again() {
    let service = start("");
    let all: Vec<u8> = [
        request(&["ONLINE.HIT", "ann", "a/x"]),
        b"PING\r\n".to_vec(),
        request(&["ECHO", "two\r\nlines"]),
        request(&["ONLINE.URL", "a/x", "WITHCOUNT"]),
    ]
    .concat();
    for cut in 1..all.len() {
        let mut client = service.client();
        client.send_bytes(&all[..cut]);
        // Some pieces must arrive by themselves; all of them would take a minute.
        if cut % 16 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        client.send_bytes(&all[cut..]);
        let hit = client.reply();
        assert!(hit == "1" || hit == "0", "{hit}");
        let found = [client.reply(), client.reply(), client.reply()];
        assert_eq!(found, ["PONG", "two\r\nlines", "1 ann"], "cut at {cut}");
    }
    // Cut off for good: nothing of it is carried out, and nobody is left behind.
    let hit = request(&["ONLINE.HIT", "never", "a/x"]);
    for cut in 0..hit.len() {
        let mut client = service.client();
        client.send_bytes(&hit[..cut]);
        client.reader.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.rest(), b"", "cut at {cut}");
    }
    assert_eq!(service.client().ask(&["ONLINE.USER", "never"]), "(nil)");
    await_true(5, "all to be gone", || service.stat("connections") == 1);
}

#[test]
fn what_is_no_request_is_answered_and_closed() {
    let service = start("");
    let long = vec![b'x'; 70_000];
    let table: [(&[u8], &str); 14] = [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1000000\r\n", "invalid multibulk length"),
        (b"*9999999999999999999999\r\n", "invalid"),
        (b"*1\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$-9223372036854775808\r\n", "invalid bulk length"),
        (b"*1\r\n$1000000000\r\n", "invalid bulk length"),
        (b"*1\r\n$4\r\nPINGPING\r\n", "does not end with CR LF"),
        (b"*2\r\n$4\r\nECHO\r\n$65537\r\n", "invalid bulk length"),
        (b"PING \"open\r\n", "unbalanced quotes"),
        (b"'a'b\r\n", "unbalanced quotes"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", "unknown command"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "unknown command 'GET'"),
        (&long, "is above 65536 bytes"),
    ];
    for (bytes, expected) in table {
        let mut client = service.client();
        // What is too long may be refused before all of it is sent.
        drop(client.reader.get_mut().write_all(bytes));
        drop(client.reader.get_ref().shutdown(std::net::Shutdown::Write));
        let text = String::from_utf8_lossy(&client.rest()).into_owned();
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        assert!(text.starts_with("-ERR ") && text.contains(expected), "{start:?}: {text:?}");
    }
    assert!(service.stat("protocol_errors") >= 11);
    assert_well(&service);
}

#[test]
fn requests_as_long_as_they_may_be_are_carried_out() {
    let service = start("");
    // What lies before the text, and the longest request that may be read.
    let head = request(&["ECHO", &"x".repeat(10_000)]).len() - 10_002;
    for len in 65_536 - head - 3..=65_536 - head {
        let text = "x".repeat(len);
        let mut client = service.client();
        client.reader.get_ref().set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert!(client.ask(&["ECHO", &text]) == text, "{len}");
        // All but the last bytes are there for a while.
        let bytes = request(&["ECHO", &text]);
        let (first, last) = bytes.split_at(bytes.len().min(65_536));
        client.send_bytes(first);
        std::thread::sleep(Duration::from_millis(50));
        client.send_bytes(last);
        assert!(client.reply() == text, "{len}");
    }
    let mut client = service.client();
    client.send(&["ECHO", &"x".repeat(65_536 - head + 1)]);
    assert!(client.reply().contains("is above 65536 bytes"));
}

#[test]
fn names_may_be_any_bytes() {
    let service = start("");
    let mut client = service.client();
    for (user, url) in [("\u{0}\r\n\u{7f}", "\"'\\ \u{1}"), ("\u{263a}", "a b"), ("*1\r\n", "$-1")]
    {
        assert_eq!(client.ask(&["ONLINE.HIT", user, url]), "1");
        let found = client.ask(&["ONLINE.USER", user]);
        assert!(found.starts_with(&format!("{url} ")), "{found:?}");
        assert_eq!(client.ask(&["ONLINE.URL", url]), user);
    }
    for (user, url) in [("", "a"), ("u", ""), (&*"u".repeat(256), "a"), ("u", &*"v".repeat(2049))] {
        assert!(client.ask(&["ONLINE.HIT", user, url]).contains("a user has 1 to 255 bytes"));
    }
    assert_eq!(client.ask(&["ONLINE.HIT", &"u".repeat(255), &"v".repeat(2048)]), "1");
    assert_eq!(service.stat("hits_bad_name"), 4);
}

#[test]
fn times_may_be_any_numbers() {
    let service = start("");
    let mut client = service.client();
    for time in ["0", "1", "-999999999999999", "-1801"] {
        assert!(client.ask(&["ONLINE.HIT", "ann", "a", time]).contains("older than the window"));
    }
    for time in ["999999999999999", "99999999999.999", "-0", "-1799.5"] {
        let found = client.ask(&["ONLINE.HIT", "ann", "a", time]);
        assert!(found == "1" || found == "0", "{time}: {found}");
    }
    for window in ["0", "999999999999999"] {
        let expected = if window == "0" { "0" } else { "1" };
        assert_eq!(client.ask(&["ONLINE.COUNT", window]), expected, "{window}");
    }
    assert_eq!((service.stat("hits_too_old"), service.stat("hits_from_future")), (4, 2));
}

#[test]
fn who_takes_no_replies_holds_up_nobody_and_is_bounded() {
    let service = start("connection_bytes_max = \"16 MiB\"");
    let mut client = service.client();
    for number in 0..5000 {
        client.send(&["ONLINE.HIT", &format!("user{number:0200}"), "a"]);
    }
    for _ in 0..5000 {
        assert_eq!(client.reply(), "1");
    }
    let before = resident_bytes(service.child.id());
    // Each reply has a megabyte.
    let ask = request(&["ONLINE.URL", "a", "LIMIT", "5000"]);
    let mut greedy = Vec::new();
    for _ in 0..40 {
        let stream = TcpStream::connect(service.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        // As much as is taken: the service reads no further once replies are left lying.
        for _ in 0..10_000 {
            if (&stream).write(&ask).is_err() {
                break;
            }
        }
        greedy.push(stream);
        assert_eq!(client.ask(&["ECHO", "still here"]), "still here");
    }
    await_true(10, "some to be closed", || service.stat("connections_slow_closed") > 0);
    assert!(service.stat("connection_bytes") <= 16 << 20);
    let grown = resident_bytes(service.child.id()).saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes more");
    drop(greedy);
    await_true(10, "all to be gone", || service.stat("connections") <= 2);
    assert_eq!(service.stat("connection_bytes"), 0);
    assert_well(&service);
}

#[test]
fn a_pipeline_that_is_not_read_yet_is_carried_out_to_its_end() {
    const COUNT: usize = 200_000;
    let service = start("");
    let mut client = service.client();
    let mut sender = client.reader.get_ref().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let hits = request(&["ONLINE.HIT", "ann", "a"]).repeat(1000);
        for _ in 0..COUNT / 1000 {
            sender.write_all(&hits).unwrap();
        }
    });
    // Replies fill all buffers before the first is taken.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(client.reply(), "1");
    for number in 1..COUNT {
        assert_eq!(client.reply(), "0", "{number}");
    }
    sending.join().unwrap();
    assert_eq!(service.stat("hits_replaced"), COUNT as u64 - 1);
}

#[test]
fn connections_are_bounded_and_the_rest_waits() {
    let service = start("connections_max = 16");
    let mut clients: Vec<Client> = (0..16).map(|_| service.client()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(&["PING"]), "PONG");
    }
    let mut waiting: Vec<Client> = (0..4).map(|_| service.client()).collect();
    for client in &mut waiting {
        client.send(&["PING"]);
    }
    drop(clients);
    for client in &mut waiting {
        assert_eq!(client.reply(), "PONG");
    }
    drop(waiting);
    await_true(5, "all to be gone", || service.stat("connections") == 1);
}

#[test]
fn who_watches_and_says_goodbye_is_let_go_though_hits_go_on() {
    let service = start("");
    let mut watcher = service.client();
    assert_eq!(watcher.ask(&["ONLINE.WATCH"]), "OK");
    watcher.send(&["QUIT"]);
    let mut client = service.client();
    await_true(5, "it to be gone", || {
        for _ in 0..100 {
            client.ask(&["ONLINE.HIT", "ann", "a"]);
        }
        service.stat("watchers") == 0
    });
    assert!(watcher.rest().ends_with(b"+OK\r\n"), "the goodbye comes last");
}

/// As many as a limit of open files of 1,024 in the test would not allow: so it raises its own.
#[test]
fn ten_thousand_connections_are_served() {
    const COUNT: usize = 10_000;
    let service = start("");
    let Some(wanted) = service
        .daemon
        .said()
        .iter()
        .all(|line| !line.contains("connections_max is lowered"))
        .then_some(COUNT)
    else {
        eprintln!("skipped: the limit of open files is too low here");
        return;
    };
    let mut clients = Vec::new();
    for number in 0..wanted - 1 {
        match TcpStream::connect(service.address) {
            Ok(stream) => clients.push(stream),
            Err(error) => {
                eprintln!("skipped: {number} connections, then: {error}");
                return;
            }
        }
    }
    let mut client = service.client();
    assert_eq!(client.ask(&["ONLINE.HIT", "ann", "a"]), "1");
    await_true(20, "all to be accepted", || {
        client.ask(&["ONLINE.STATS"]).contains(&format!("connections {wanted} "))
    });
    for stream in &clients {
        (&*stream).write_all(b"PING\r\n").unwrap();
    }
    for stream in clients {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut bytes = [0; 7];
        std::io::Read::read_exact(&mut &stream, &mut bytes).unwrap();
        assert_eq!(&bytes, b"+PONG\r\n");
    }
}

#[test]
fn who_may_only_ask_and_who_has_no_password_are_kept_out() {
    let service = start("password = \"a-long-password\"");
    let mut client = service.client();
    assert_eq!(client.ask(&["ONLINE.COUNT"]), "NOAUTH Authentication required.");
    assert!(client.ask(&["AUTH", "a-long-passwore"]).starts_with("WRONGPASS"));
    assert_eq!(client.ask(&["AUTH", "a-long-password"]), "OK");
    assert_eq!(client.ask(&["ONLINE.HIT", "ann", "a"]), "1");
    let mut reader = Client::new(service.read_only);
    assert_eq!(reader.ask(&["ONLINE.COUNT"]), "NOAUTH Authentication required.");
    assert_eq!(reader.ask(&["AUTH", "default", "a-long-password"]), "OK");
    assert_eq!(reader.ask(&["ONLINE.URL", "a"]), "ann");
    for words in [&["ONLINE.HIT", "bob", "a"][..], &["ONLINE.DEL", "ann"]] {
        assert_eq!(reader.ask(words), "READONLY this listener only answers questions");
    }
    assert_eq!(reader.ask(&["ONLINE.COUNT"]), "1");
}

#[test]
fn rows_and_urls_are_bounded() {
    let service = start("users_max = 100\nurls_max = 20");
    let mut client = service.client();
    for number in 0..1000 {
        let (user, url) = (format!("user{number}"), format!("url{number}"));
        let found = client.ask(&["ONLINE.HIT", &user, &url]);
        assert_eq!(found, "1", "{number}");
    }
    assert!(service.stat("users") <= 100 && service.stat("urls") <= 20);
    assert!(service.stat("users_evicted") >= 900);
    assert_eq!(client.ask(&["ONLINE.URL", "url999"]), "user999");
}

#[test]
fn who_watches_and_does_not_read_loses_lines_and_nothing_else() {
    let service = start("");
    let mut watcher = service.client();
    assert_eq!(watcher.ask(&["ONLINE.WATCH"]), "OK");
    let mut client = service.client();
    client.ask(&["ONLINE.HIT", "a\"b", "x/y"]);
    let line = watcher.reply();
    assert!(line.ends_with(" \"a\\\"b\" \"x/y\""), "{line}");
    let hits = request(&["ONLINE.HIT", "ann", &"u".repeat(1000)]).repeat(100);
    let mut sent = 0;
    while service.stat("watch_lines_lost") == 0 {
        client.send_bytes(&hits);
        for _ in 0..100 {
            client.reply();
        }
        sent += 100;
        assert!(sent < 100_000, "socket buffers are not that large");
    }
    client.ask(&["ONLINE.HIT", "last", "z"]);
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < sent + 1 {
        let line = watcher.reply();
        match line.strip_suffix(" lines lost") {
            Some(count) => lost += count.parse::<u64>().unwrap(),
            None => seen += 1,
        }
        if seen + lost == sent {
            // What was lost last is said with the next line.
            client.ask(&["ONLINE.HIT", "last", "z"]);
            sent += 1;
        }
        assert!(sent < 200_000, "{seen} {lost}");
    }
    assert!(lost > 0 && seen > 0, "{seen} {lost}");
}
