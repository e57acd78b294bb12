//! Files that change under the daemon, with and without the watch on the tree.
//!
//! Not here: a disk that is slow (`cold`).

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, Instant};

use crate::harness::{Daemon, await_true, pattern, put, start, start_at};

const MODES: [&str; 2] = ["watch = true", "watch = false"];

/// Begins to read a large body and stops after the first bytes.
fn begin_reading(daemon: &Daemon, path: &str) -> std::net::TcpStream {
    let mut stream = daemon.connect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let mut first = [0; 1000];
    stream.read_exact(&mut first).unwrap();
    stream
}

/// How many bytes of body come, whatever the head promised.
fn body_len(daemon: &Daemon, path: &str) -> Option<usize> {
    let mut stream = daemon.connect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    // Cut short: it is the old version yet, with its length.
    stream.read_to_end(&mut bytes).ok()?;
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(bytes.len() - head - 4)
}

/// Reads the rest; returns how many bytes came before the end.
fn read_rest(mut stream: std::net::TcpStream) -> usize {
    let mut rest = Vec::new();
    // A reset is an end as well.
    drop(stream.read_to_end(&mut rest));
    rest.len()
}

#[test]
fn a_replaced_file_is_whole_and_soon_new() {
    for mode in MODES {
        let daemon = start(mode, "");
        for (name, len) in [("small.bin", 3000), ("large.bin", 300_000)] {
            let versions = [pattern(len, 1), pattern(len, 2)];
            daemon.put(name, &versions[0]);
            let path = format!("/{name}");
            let mut tag_of = [String::new(), String::new()];
            for round in 0..6 {
                let new = round % 2;
                daemon.put(name, &versions[new]);
                tag_of = [String::new(), String::new()];
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(1300) {
                    let answer = daemon.get(&path);
                    let version = versions.iter().position(|bytes| *bytes == answer.body);
                    let version = version.expect("one version, whole");
                    let tag = answer.field("etag").to_owned();
                    assert!(tag_of[version].is_empty() || tag_of[version] == tag, "{mode}");
                    tag_of[version] = tag;
                    assert!(version == new || begun.elapsed() < Duration::from_millis(1100));
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            assert_ne!(tag_of[0], tag_of[1]);
        }
    }
}

#[test]
fn two_versions_never_share_an_entity_tag() {
    let daemon = start("recheck = \"100 ms\"", "");
    let mut body_of = std::collections::BTreeMap::new();
    for round in 0..400_u32 {
        // Same length, as close in time as it goes.
        daemon.put("a.bin", &round.to_be_bytes());
        let answer = daemon.get("/a.bin");
        let known = body_of.entry(answer.field("etag").to_owned()).or_insert(answer.body.clone());
        assert_eq!(*known, answer.body, "{} names two versions", answer.field("etag"));
    }
    assert!(body_of.len() > 100, "{} versions were seen", body_of.len());
}

#[test]
fn removed_and_created_files_are_noticed() {
    for mode in MODES {
        let daemon = start(mode, "");
        daemon.put("a.txt", b"alpha");
        assert_eq!(daemon.get("/a.txt").status, 200);
        fs::remove_file(daemon.host().join("a.txt")).unwrap();
        daemon.await_status("/a.txt", 404, 2);
        daemon.put("a.txt", b"again");
        daemon.await_status("/a.txt", 200, 2);
        daemon.put("new/deep/b.txt", b"beta");
        daemon.await_status("/new/deep/b.txt", 200, 2);
        daemon.put("new/deep/b.txt", b"gamma");
        await_true(2, "the new version", || daemon.get("/new/deep/b.txt").body == b"gamma");
        let (from, to) = (daemon.host().join("new"), daemon.host().join("old"));
        fs::rename(&from, &to).unwrap();
        daemon.await_status("/new/deep/b.txt", 404, 2);
        daemon.await_status("/old/deep/b.txt", 200, 2);
        fs::rename(&to, &from).unwrap();
        daemon.await_status("/new/deep/b.txt", 200, 2);
        fs::rename(&from, daemon.directory.path().join("outside")).unwrap();
        symlink(daemon.directory.path().join("outside"), &from).unwrap();
        daemon.await_status("/new/deep/b.txt", 404, 2);
    }
}

#[test]
fn a_file_truncated_under_a_response_ends_it_short() {
    const LEN: usize = 24 << 20;
    for mode in MODES {
        let mut daemon = start(mode, "");
        for keep in [0, 1 << 20] {
            daemon.put("a.bin", &pattern(LEN, 1));
            await_true(3, "the whole file", || daemon.get("/a.bin").body.len() == LEN);
            let stream = begin_reading(&daemon, "/a.bin");
            let file = OpenOptions::new().write(true).open(daemon.host().join("a.bin")).unwrap();
            file.set_len(keep).unwrap();
            assert!(read_rest(stream) < LEN - 1000, "{mode}: the rest cannot come");
            assert_eq!(daemon.child.try_wait().unwrap(), None, "the daemon lives");
            let expected = usize::try_from(keep).unwrap();
            await_true(3, "the new length", || body_len(&daemon, "/a.bin") == Some(expected));
            assert_eq!(daemon.get("/a.bin").body.len(), expected, "{mode}");
        }
        assert!(daemon.metrics()["peerage_files_broken_bodies_total"] >= 1.0);
    }
}

#[test]
fn a_file_written_in_place_ends_its_responses() {
    const LEN: usize = 24 << 20;
    let daemon = start("watch = true", "");
    for (is_append, expected_len) in [(false, LEN), (true, LEN + 7)] {
        daemon.put("a.bin", &pattern(LEN, 1));
        await_true(5, "the watch and the file", || {
            daemon.metrics()["peerage_tree_watching"] > 0.0
                && daemon.get("/a.bin").body == pattern(LEN, 1)
        });
        let stream = begin_reading(&daemon, "/a.bin");
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).append(is_append).open(daemon.host().join("a.bin")).unwrap();
        file.write_all(b"changed").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert!(read_rest(stream) < LEN - 1000, "no mixture is passed off as the whole");
        await_true(3, "the new bytes", || {
            let body = daemon.get("/a.bin").body;
            let end = if is_append { body.ends_with(b"changed") } else { true };
            body.len() == expected_len && end && body.starts_with(b"changed") != is_append
        });
    }
}

#[test]
fn a_file_written_in_place_is_noticed_without_the_watch_too() {
    const LEN: usize = 48 << 20;
    let daemon = start("watch = false\nrecheck = \"200 ms\"", "");
    daemon.put("a.bin", &pattern(LEN, 1));
    assert_eq!(daemon.get("/a.bin").body.len(), LEN);
    let mut stream = begin_reading(&daemon, "/a.bin");
    let mut file = OpenOptions::new().write(true).open(daemon.host().join("a.bin")).unwrap();
    file.write_all(b"changed").unwrap();
    // Nobody else asks for it; what is on its way is taken, so that it goes on.
    std::thread::sleep(Duration::from_millis(500));
    let mut taken = 1000;
    let mut piece = vec![0; 1 << 20];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        taken += count;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(taken < LEN, "no mixture is passed off as the whole");
}

#[test]
fn a_directory_that_cannot_be_read_ends_the_trust_in_the_watch() {
    if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) != 0) {
        eprintln!("skipped: only root may become another user, who may not read everything");
        return;
    }
    let daemon = start_at("127.0.0.1:0", "user = \"nobody\"", "", "");
    let open = fs::Permissions::from_mode(0o755);
    for path in [daemon.directory.path(), &daemon.directory.path().join("tree")] {
        fs::set_permissions(path, open.clone()).unwrap();
    }
    let directory = daemon.directory.path().join("new");
    fs::create_dir(&directory).unwrap();
    put(&directory.join("a.txt"), b"alpha");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o711)).unwrap();
    // It comes with its rights in one step.
    fs::rename(&directory, daemon.host().join("new")).unwrap();
    daemon.await_status("/new/a.txt", 200, 3);
    put(&daemon.host().join("new/a.txt"), b"again");
    await_true(2, "the new version", || daemon.get("/new/a.txt").body == b"again");
}

#[test]
fn rights_taken_away_are_noticed() {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| {
        use std::os::unix::fs::MetadataExt as _;
        me.uid() == 0
    });
    for mode in MODES {
        let user = if is_root { "user = \"nobody\"" } else { "" };
        let daemon = start_at("127.0.0.1:0", user, mode, "");
        let open = fs::Permissions::from_mode(0o755);
        for path in [daemon.directory.path(), &daemon.directory.path().join("tree")] {
            fs::set_permissions(path, open.clone()).unwrap();
        }
        daemon.put("a.txt", b"alpha");
        daemon.await_status("/a.txt", 200, 2);
        let path = daemon.host().join("a.txt");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
        daemon.await_status("/a.txt", 403, 2);
    }
}
