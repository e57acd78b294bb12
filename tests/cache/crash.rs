//! kill -9 in a loop while files come in: what has a final name is whole, always.
//!
//! Not here: one crash at each system call (`cache::store`).

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::client::Pending;
use crate::origin::Origin;
use crate::peer::{Peer, Setup};

const ROUNDS: usize = 200;
const SIZES: [usize; 7] = [0, 1, 300, 5_000, 70_000, 400_000, 2_500_000];

/// What the origin serves for `/s/<size>/<name>` as its `version`: lines that say so.
fn body_of(target: &str, version: &str) -> Vec<u8> {
    let size: usize = target.split('/').nth(2).unwrap().parse().unwrap();
    let line = format!("{version} {target}\n");
    line.repeat(size / line.len() + 1).into_bytes()[..size].to_vec()
}

/// Every fetch is another version, so that a mixture of two would show.
fn versions() -> Origin {
    Origin::start(|exchange| {
        let body = body_of(&exchange.target, &format!("{:06}", exchange.number));
        // Some are stale at once, so that files are replaced as well.
        let life = if exchange.target.ends_with('0') { 0 } else { 1000 };
        let fields = format!("Cache-Control: max-age={life}\r\nETag: \"{}\"\r\n", exchange.number);
        if exchange.target.ends_with(['1', '3', '5', '7', '9']) {
            exchange.answer(&fields, body);
            return;
        }
        exchange.send(format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"));
        for part in body.chunks(60_000) {
            exchange.send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
        }
        exchange.send("0\r\n\r\n");
    })
}

/// Whether `bytes` are all of some version of `target`.
fn is_whole(target: &str, bytes: &[u8]) -> bool {
    let size: usize = target.split('/').nth(2).unwrap().parse().unwrap();
    // Short ones hold less than their number.
    let version = String::from_utf8_lossy(&bytes[..bytes.len().min(6)]).into_owned();
    bytes.len() == size && (size < 6 || bytes == body_of(target, &version))
}

/// Checks the files that are new or other since the last time.
fn check_files(peer: &Peer, seen: &mut HashMap<PathBuf, (u64, u64)>) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut fresh = Vec::new();
    for file in peer.files() {
        let metadata = fs::metadata(&file).unwrap();
        let identity = (metadata.ino(), metadata.len());
        if seen.insert(file.clone(), identity) == Some(identity) {
            continue;
        }
        let target = file.strip_prefix(peer.root().join("a.example")).unwrap();
        let target = format!("/{}", target.to_str().unwrap());
        assert!(is_whole(&target, &fs::read(&file).unwrap()), "{}", file.display());
        fresh.push(target);
    }
    fresh
}

#[test]
fn two_hundred_kills_leave_whole_files_only() {
    let origin = versions();
    let mut peer = Setup::of(&origin).workers(2).start();
    let mut seen = HashMap::new();
    let (mut kept, mut partial) = (0, 0);
    let begun = Instant::now();
    let mut round = 0;
    while round < ROUNDS {
        let pending: Vec<(String, Pending)> = SIZES
            .into_iter()
            .flat_map(|size| {
                [round * 10 + size % 7 + 1, round % 10 * 10, round * 10 + 2].map(|n| (size, n))
            })
            .map(|(size, number)| format!("/s/{size}/{number}"))
            .map(|target| (target.clone(), peer.ask(&target)))
            .collect();
        // Somewhere between the first byte and the last, another moment each time.
        std::thread::sleep(Duration::from_micros((round as u64 * 613) % 30_000));
        partial += peer.temporaries().len();
        peer.kill();
        for (target, pending) in pending {
            let reply = pending.finish_if_begun();
            let is_right =
                reply.is_none_or(|reply| !reply.is_whole || is_whole(&target, &reply.body));
            assert!(is_right, "{target}: a part was taken for the whole");
        }
        let fresh = check_files(&peer, &mut seen);
        kept += fresh.len();
        peer.restart();
        // What is there is used, and what a client gets is the whole of it.
        for target in fresh.iter().take(3) {
            let reply = peer.get_with(target, "Cache-Control: only-if-cached, max-stale\r\n");
            assert_eq!(reply.status, 200, "{target}: {}", reply.head);
            assert!(reply.is_whole && is_whole(target, &reply.body), "{target}: {}", reply.head);
        }
        round += 1;
    }
    eprintln!("{kept} files, {partial} under way, {:?}", begun.elapsed());
    assert!(kept > ROUNDS / 4, "{kept} files were kept: the kills come too early");
    assert!(partial > 0, "none was under way: the kills come too late");
    peer.await_tidy();
    let files = peer.files().len();
    assert!(files > 0);
    assert_eq!(peer.get("/s/5000/1").status, 200, "it serves after all that");
}
