//! The corpus of hostile requests (`tests/data/corpus.txt`) against the real daemon: every request
//! whole, then cut in two at every byte, always with the same answer; and nothing left behind.
//!
//! Not here: what a well-meaning client gets (the modules beside).
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::entry::{self, End, Entry};
use super::harness;

const LIMITS: &str = "[[host]]\nname = \"a.example\"\naliases = [\"www.a.example\"]\n[limits]\n\
    header_bytes_max = \"4 KiB\"\nheaders_max = 32\nuri_bytes_max = \"1 KiB\"\n\
    body_bytes_max = \"16 KiB\"\nlinger_timeout = \"500 ms\"\n";

/// How long a connection that should stay open without a word is listened to.
const SILENCE: Duration = Duration::from_millis(150);

/// Long entries are cut at this many places only, evenly spread.
const CUTS_MAX: usize = 150;

const THREADS: usize = 64;

/// What came back: the bytes, Date lines left out, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    bytes: String,
    end: End,
}

/// Sends `parts` with a pause between, and reads until the end, or until as many answers as
/// expected came and then nothing.
fn exchange(address: SocketAddr, parts: &[&[u8]], entry: &Entry) -> Outcome {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // It may have refused and closed before the second part.
        drop(stream.write_all(part));
    }
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let end = loop {
        let complete = entry.end != End::Close && statuses(&bytes).len() >= entry.statuses.len();
        let patience = if complete { SILENCE } else { Duration::from_secs(5) };
        stream.set_read_timeout(Some(patience)).unwrap();
        match stream.read(&mut piece) {
            Ok(0) => break End::Close,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break if entry.end == End::Wait { End::Wait } else { End::Keep };
            }
            Err(_) => break End::Close,
        }
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let kept: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with("Date: ")).collect();
    Outcome { bytes: kept.join("\r\n"), end }
}

/// The statuses of all answers in `bytes`; no body of the test's tree looks like a status line.
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    text.match_indices("HTTP/1.1 ")
        .filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok())
        .collect()
}

/// Everything that is wrong about the answers to `entry`.
fn check(address: SocketAddr, entry: &Entry) -> Vec<String> {
    let whole = exchange(address, &[&entry.bytes], entry);
    let mut wrong = Vec::new();
    let found = statuses(whole.bytes.as_bytes());
    if found != entry.statuses || whole.end != entry.end {
        wrong.push(format!(
            "{}: expected {:?} {:?}, found {found:?} {:?}",
            entry.name, entry.statuses, entry.end, whole.end
        ));
    }
    let step = entry.bytes.len().div_ceil(CUTS_MAX).max(1);
    for cut in (1..entry.bytes.len()).step_by(step) {
        let (first, second) = entry.bytes.split_at(cut);
        let split = exchange(address, &[first, second], entry);
        if split != whole {
            wrong.push(format!("{} cut at {cut}: {split:?} instead of {whole:?}", entry.name));
            break;
        }
    }
    wrong
}

fn process_facts(pid: u32) -> (usize, u64) {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    (descriptors, line.split_whitespace().nth(1).unwrap().parse().unwrap())
}

#[test]
fn every_hostile_request_gets_its_answer_however_it_is_cut() {
    let entries = entry::load();
    assert!(entries.len() >= 150, "{} entries", entries.len());
    let daemon = harness::start_hosts(LIMITS);
    daemon.put("a.txt", b"alpha\n");
    daemon.put("sub/b.txt", b"beta\n");
    daemon.put(".hidden", b"hidden\n");
    daemon.put("with space.txt", b"space\n");
    assert_eq!(daemon.get("/a.txt").status, 200);
    let before = process_facts(daemon.child.id());
    let next = AtomicUsize::new(0);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut wrong = Vec::new();
            while let Some(entry) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
                wrong.extend(check(daemon.address, entry));
            }
            wrong
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    harness::await_true(10, "all connections to end", || {
        daemon.metrics()["peerage_http_connections"] == 0.0
    });
    assert_eq!(daemon.get("/a.txt").body, b"alpha\n");
    let after = process_facts(daemon.child.id());
    assert_eq!(after.0, before.0, "descriptors");
    assert!(after.1 < before.1 + 20 * 1024, "memory: {} KiB, then {} KiB", before.1, after.1);
}
