//! Which URLs are which files, and what the operator does to them.
//!
//! Not here: files that were damaged (`damage`), variants (`vary`).

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::base::minutes;
use crate::harness::{await_true, put};
use crate::peer::{Peer, Setup};

/// Asks for each until it is a hit, and checks that it is its own answer.
fn expect_hits(peer: &Peer, targets: &[String]) {
    for target in targets {
        let hit = peer.await_hit(target);
        assert_eq!(hit.text(), format!("{target} 1"));
    }
}

#[test]
fn different_keys_have_different_files() {
    let origin = minutes();
    let mut peer = Setup::of(&origin).workers(2).start();
    let mut targets: Vec<String> = [
        "/",
        "/?",
        "/?x",
        "/a",
        "/A",
        "/a?",
        "/a?x",
        "/a?X",
        "/a?x=1&y=2",
        "/a?y=2&x=1",
        "/get?u=http://b.example/c/d",
        "/a%3Fx",
        "/d/",
        "/d/?x",
        "/d/e/",
        "/100%25",
        "/a%253Fx",
        "/%25_index",
        "/%25_file",
        "/a%20b",
        "/$(id)",
        "/%60id%60",
        "/a;rm",
        "/a&b",
        "/%22q'%22",
        "/*",
        "/-rf",
        "/~",
        "/caf%C3%A9",
        "/%FF%FE",
        "/a|b?|",
        "/a%7Cb",
        "/x:y",
        "/CON",
        "/%3Ca%3E",
    ]
    .map(str::to_owned)
    .into();
    // Not a byte of a URL as it stands, so it is refused or spelled otherwise; see below.
    targets.retain(|target| !target.contains('|'));
    for target in &targets {
        let reply = peer.get(target);
        assert_eq!((reply.status, reply.text()), (200, format!("{target} 1")), "{target}");
    }
    expect_hits(&peer, &targets);
    assert_eq!(origin.total(), targets.len());
    let files: HashSet<_> = peer.files().into_iter().collect();
    assert_eq!(files.len(), targets.len(), "{files:?}");
    peer.restart();
    expect_hits(&peer, &targets);
    assert_eq!(origin.total(), targets.len(), "nothing was asked again");
}

#[test]
fn one_key_spelled_in_several_ways_is_one_file() {
    let origin = minutes();
    let peer = Setup::of(&origin).start();
    assert_eq!(peer.get("/%61b%2Dc").text(), "/ab-c 1");
    for target in ["/ab-c", "/ab%2dc", "/%61%62-%63"] {
        assert_eq!(peer.await_hit(target).text(), "/ab-c 1", "{target}");
    }
    assert_eq!((origin.total(), peer.files()), (1, vec![peer.file("ab-c")]));
}

#[test]
fn long_queries_have_files() {
    let origin = minutes();
    let mut peer = Setup::of(&origin).start();
    let targets: Vec<String> =
        [200, 254, 255, 256, 300, 1000, 3000].map(|len| format!("/a?{}", "q".repeat(len))).into();
    for target in &targets {
        assert_eq!(peer.get(target).text(), format!("{target} 1"));
    }
    expect_hits(&peer, &targets);
    peer.restart();
    expect_hits(&peer, &targets);
    assert_eq!(origin.total(), targets.len());
}

#[test]
fn long_parts_of_paths_have_files() {
    let origin = minutes();
    let mut peer = Setup::of(&origin).start();
    let targets: Vec<String> = [249, 250, 255, 256, 300, 1000]
        .into_iter()
        .flat_map(|len| {
            let (file, directory) = ("f".repeat(len), "d".repeat(len));
            [format!("/{file}"), format!("/{directory}/x"), format!("/{directory}/?q")]
        })
        .collect();
    for target in &targets {
        let reply = peer.get(target);
        assert_eq!((reply.status, reply.text()), (200, format!("{target} 1")), "{}", target.len());
    }
    expect_hits(&peer, &targets);
    peer.restart();
    expect_hits(&peer, &targets);
}

#[test]
fn a_long_key_may_be_a_file_and_a_directory() {
    let origin = minutes();
    let mut peer = Setup::of(&origin).start();
    // From 250 bytes on the mark has no room: what cannot be stored is passed on.
    for len in [250, 255, 300] {
        let (one, below) = (format!("/{}", "w".repeat(len)), format!("/{}/z", "w".repeat(len)));
        for target in [&one, &below, &one, &below] {
            assert!(peer.get(target).text().starts_with(&format!("{target} ")));
        }
    }
    let targets: Vec<String> = [240, 249]
        .into_iter()
        .flat_map(|len| {
            let (one, other) = ("x".repeat(len), "y".repeat(len));
            [format!("/{one}"), format!("/{one}/z"), format!("/{other}/z"), format!("/{other}")]
        })
        .collect();
    for target in &targets {
        assert_eq!(peer.get(target).text(), format!("{target} 1"));
        peer.await_hit(target);
    }
    expect_hits(&peer, &targets);
    peer.restart();
    expect_hits(&peer, &targets);
}

#[test]
fn keys_without_a_file_name_are_passed_through() {
    let origin = minutes();
    let peer = Setup::of(&origin).start();
    let long = format!("/a?{}", "q".repeat(5000));
    for target in ["/a?x=%zz", "/a?100%", &long] {
        for number in 1..3 {
            let reply = peer.get(target);
            assert_eq!(reply.text(), format!("{target} {number}"));
            assert!(!reply.cache().contains("stored"), "{}", reply.head);
        }
    }
    assert!(peer.files().is_empty());
}

#[test]
fn a_key_may_be_a_file_and_a_directory() {
    let origin = minutes();
    let mut peer = Setup::of(&origin).workers(2).start();
    let targets =
        ["/a", "/a/b", "/a/b/c", "/c/d", "/c", "/e/", "/e", "/f?q", "/f", "/f/"].map(str::to_owned);
    for target in &targets {
        assert_eq!(peer.get(target).text(), format!("{target} 1"));
        peer.await_hit(target);
    }
    expect_hits(&peer, &targets);
    peer.restart();
    expect_hits(&peer, &targets);
    for target in &targets {
        assert_eq!(origin.count(target), 1, "{target}");
    }
}

/// Within this a change of the tree shows.
const NOTICED: Duration = Duration::from_millis(100);

#[test]
fn files_put_there_by_hand_are_served_and_stay() {
    let origin = minutes();
    let peer = Setup::of(&origin).start();
    put(&peer.file("hand.txt"), b"by hand");
    std::thread::sleep(NOTICED);
    let reply = peer.get("/hand.txt");
    assert_eq!((reply.status, reply.text()), (200, "by hand".to_owned()));
    assert!(reply.field("content-type").starts_with("text/plain"), "{}", reply.head);
    assert_eq!(origin.total(), 0);
    // One that takes the place of a stored one.
    assert_eq!(peer.get("/b.txt").text(), "/b.txt 1");
    peer.await_hit("/b.txt");
    put(&peer.file("b.txt"), b"mine");
    await_true(20, "the new file", || peer.get("/b.txt").text() == "mine");
    assert_eq!(origin.total(), 1);
    fs::remove_file(peer.file("b.txt")).unwrap();
    await_true(20, "it to be fetched", || peer.get("/b.txt").text() == "/b.txt 2");
}

#[test]
fn rm_is_enough_to_purge() {
    let origin = minutes();
    let peer = Setup::of(&origin).workers(2).start();
    for target in ["/a.png", "/d/x/1", "/d/x/2", "/a?q=1"] {
        assert_eq!(peer.get(target).text(), format!("{target} 1"));
        peer.await_hit(target);
    }
    let await_other = |target: &str, known: &str| {
        let end = Instant::now() + Duration::from_secs(20);
        while peer.get(target).text() == known {
            assert!(Instant::now() < end, "{target} is still {known}: {:?}", peer.files());
        }
        peer.await_hit(target).text()
    };
    let await_second = |target: &str| await_other(target, &format!("{target} 1"));
    fs::remove_file(peer.file("a.png")).unwrap();
    await_second("/a.png");
    fs::remove_dir_all(peer.file("d")).unwrap();
    await_second("/d/x/1");
    await_second("/d/x/2");
    fs::remove_file(peer.file("a?q=1")).unwrap();
    await_second("/a?q=1");
    // Another worker may have heard of it later, and answered from what it had open.
    await_true(20, "its file", || peer.file("a?q=1").exists());
    let second = fs::read_to_string(peer.file("a?q=1")).unwrap();
    std::thread::sleep(NOTICED);
    fs::rename(peer.file("a?q=1"), peer.file("moved")).unwrap();
    std::thread::sleep(NOTICED);
    await_other("/a?q=1", &second);
    assert_eq!(peer.get("/moved").text(), second, "it is a file like others");
    let last = peer.await_hit("/a.png").text();
    // What was fetched last may be put there meanwhile.
    let host = peer.root().join("a.example");
    await_true(20, "rm -r to end", || fs::remove_dir_all(&host).is_ok());
    await_other("/a.png", &last);
}

#[test]
fn rm_is_noticed_where_nothing_is_watched() {
    let origin = minutes();
    let peer = Setup::of(&origin).tree("watch = false\nrecheck = \"100 ms\"").start();
    assert_eq!(peer.get("/a").text(), "/a 1");
    peer.await_hit("/a");
    fs::remove_file(peer.file("a")).unwrap();
    await_true(20, "it to be fetched", || peer.get("/a").text() == "/a 2");
    peer.await_hit("/a");
    put(&peer.file("a"), b"by hand");
    await_true(20, "the new file", || peer.get("/a").text() == "by hand");
}

#[test]
fn nobody_is_served_what_is_under_way() {
    let origin = minutes();
    let peer = Setup::of(&origin).tree("dot_files = true").start();
    assert_eq!(peer.get("/.well-known/x").text(), "/.well-known/x 1");
    peer.await_hit("/.well-known/x");
    fs::write(peer.root().join(".peerage/x"), "secret").unwrap();
    for host in [".peerage", "a.example/../.peerage", "..", "."] {
        let text = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let reply = peer.raw(&text);
        assert!(matches!(reply.status, 400 | 404 | 421), "{host}: {}", reply.head);
    }
    assert_eq!(peer.get("/.peerage/x").text(), "/.peerage/x 1", "a path of the host's own");
}

/// The names of what is in a directory, sorted.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn hostile_paths_never_leave_the_root() {
    let origin = minutes();
    let peer = Setup::of(&origin).start();
    for target in [
        "/../x",
        "/a/../../x",
        "/%2e%2e/x",
        "/..%2fx",
        "/a/%2e%2e/%2e%2e/x",
        "/.peerage/x",
        "/a%00b",
        "/a%2fb",
        "/a%5c..%5cx",
        "/a\\..\\x",
        "/./x",
        "/a//x",
        "/%2e/x",
    ] {
        let reply = peer.get(target);
        assert!(matches!(reply.status, 400 | 404), "{target}: {}", reply.head);
    }
    // In a query it is no path: it is a name or nothing.
    for target in ["/a?../../x", "/a?/../../x", "/?../x", "/a?..%2f..%2fx"] {
        assert_eq!(peer.get(target).text(), format!("{target} 1"));
        peer.await_hit(target);
    }
    let inside = peer.root().join("a.example");
    assert!(peer.files().iter().all(|file| file.starts_with(&inside)), "{:?}", peer.files());
    // Its configuration and its control socket are what the test has put there.
    assert_eq!(names_in(peer.directory.path()), ["control.sock", "peerage.toml", "tree"]);
    assert_eq!(names_in(&peer.root()), [".peerage", "a.example"]);
}

/// What the store puts in place is told from it, though both appear without a move or a write.
#[test]
fn links_made_by_hand_show_while_much_is_stored() {
    let origin = minutes();
    let peer = Setup::of(&origin).workers(1).start();
    await_true(20, "the watch and the tree to be known", || {
        let metrics = peer.metrics();
        metrics["peerage_tree_watching"] > 0.0 && metrics["peerage_store_known"] > 0.0
    });
    peer.get("/d/first");
    peer.await_hit("/d/first");
    let aside = peer.directory.path().join("aside");
    fs::write(&aside, "by hand").unwrap();
    for number in 0..50 {
        for other in 0..5 {
            assert_eq!(peer.get(&format!("/d/stored-{number}-{other}")).status, 200);
        }
        fs::hard_link(&aside, peer.file(&format!("d/hard-{number}"))).unwrap();
    }
    for number in 0..50 {
        let target = format!("/d/hard-{number}");
        await_true(2, &target, || peer.get(&target).text() == "by hand");
    }
    let asked = (0..50).map(|number| origin.count(&format!("/d/hard-{number}"))).sum::<usize>();
    assert!(asked < 25, "{asked} of 50 were asked for, though they were there");
}
