//! Files that somebody damages, replaces or takes the rights of: served right or fetched anew.
//!
//! Not here: files put there by hand (`keys`), disks that take nothing (`disks`).

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};

use crate::harness::{await_true, pattern};
use crate::mount;
use crate::origin::Origin;
use crate::peer::{Peer, Setup};

const ATTRIBUTE: &str = "user.peerage";

/// An origin of one large and many small pictures.
fn pictures() -> Origin {
    Origin::start(|exchange| {
        let body = body_of(&exchange.target);
        exchange.answer("Cache-Control: max-age=1000\r\nContent-Type: image/png\r\n", body);
    })
}

fn body_of(target: &str) -> Vec<u8> {
    let len = if target.contains("large") { 5 << 20 } else { 10_000 };
    let seed = target.bytes().fold(0, u8::wrapping_add);
    pattern(len, seed)
}

fn fill(peer: &Peer, target: &str) {
    assert!(peer.get(target).body == body_of(target), "{target}");
    assert!(peer.await_hit(target).body == body_of(target), "{target}");
}

/// Asks until the origin was asked again, and a while longer: every answer that is whole is right.
fn expect_anew(peer: &Peer, origin: &Origin, target: &str, what: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    let mut rights = 0;
    while rights < 5 {
        assert!(Instant::now() < end, "{what} {target}: it is not fetched anew");
        std::thread::sleep(Duration::from_millis(2));
        // In the moment in which nobody knows yet, the connection may end without an answer.
        let Some(reply) = peer.ask_last(target).finish_if_begun() else { continue };
        if reply.is_whole {
            assert_eq!(reply.status, 200, "{what} {target}: {}", reply.head);
            assert!(reply.body == body_of(target), "{what} {target}: wrong bytes, {}", reply.head);
        } else {
            assert!(body_of(target).starts_with(&reply.body), "{what} {target}");
        }
        rights += usize::from(reply.is_whole && origin.count(target) > 1);
    }
}

/// Damages files of a daemon that runs, and of one that is started on them.
fn for_each_damage(what: &str, damage: impl Fn(&Path)) {
    let origin = pictures();
    let mut peer = Setup::of(&origin).start();
    for target in ["/small.png", "/large.png"] {
        fill(&peer, target);
        damage(&peer.file(&target[1..]));
        expect_anew(&peer, &origin, target, what);
    }
    let targets = ["/small2.png", "/large2.png"];
    targets.iter().for_each(|target| fill(&peer, target));
    peer.kill();
    targets.iter().for_each(|target| damage(&peer.file(&target[1..])));
    peer.restart();
    targets.iter().for_each(|target| expect_anew(&peer, &origin, target, what));
}

fn set_len(file: &Path, change: impl Fn(u64) -> u64) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(change(file.metadata().unwrap().len())).unwrap();
}

#[test]
fn truncated_files_are_fetched_anew() {
    for_each_damage("halved", |file| set_len(file, |len| len / 2));
    for_each_damage("emptied", |file| set_len(file, |_| 0));
}

#[test]
fn lengthened_files_are_fetched_anew() {
    for_each_damage("lengthened", |file| set_len(file, |len| len + 1));
}

#[test]
fn files_with_a_broken_attribute_are_fetched_anew() {
    for_each_damage("garbage", |file| {
        setxattr(file, ATTRIBUTE, b"garbage", XattrFlags::empty()).unwrap();
    });
    for_each_damage("empty", |file| {
        setxattr(file, ATTRIBUTE, b"", XattrFlags::empty()).unwrap();
    });
    for_each_damage("one bit", |file| {
        let mut bytes = [0; 4096];
        let len = getxattr(file, ATTRIBUTE, &mut bytes).unwrap();
        bytes[len / 2] ^= 1;
        setxattr(file, ATTRIBUTE, &bytes[..len], XattrFlags::empty()).unwrap();
    });
    for_each_damage("cut", |file| {
        let mut bytes = [0; 4096];
        let len = getxattr(file, ATTRIBUTE, &mut bytes).unwrap();
        setxattr(file, ATTRIBUTE, &bytes[..len - 1], XattrFlags::empty()).unwrap();
    });
}

#[test]
fn directories_in_the_place_of_files_do_no_harm() {
    for_each_damage("a directory", |file| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    });
}

#[test]
fn links_that_lead_out_or_nowhere_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    for target in [secret.as_path(), Path::new("nowhere"), Path::new("."), Path::new("/dev/zero")] {
        for_each_damage("a link", |file| {
            fs::remove_file(file).unwrap();
            symlink(target, file).unwrap();
        });
    }
    assert_eq!(fs::read(secret).unwrap(), b"secret", "nobody wrote through a link");
}

#[test]
fn pipes_and_sockets_in_the_place_of_files_do_no_harm() {
    for_each_damage("a pipe", |file| {
        fs::remove_file(file).unwrap();
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
    });
    for_each_damage("a socket", |file| {
        fs::remove_file(file).unwrap();
        drop(std::os::unix::net::UnixListener::bind(file).unwrap());
    });
}

#[test]
fn a_file_that_loses_its_attribute_is_one_put_there_by_hand() {
    let origin = pictures();
    let peer = Setup::of(&origin).start();
    fill(&peer, "/a.png");
    let before = origin.count("/a.png");
    removexattr(peer.file("a.png"), ATTRIBUTE).unwrap();
    await_true(20, "it to be no hit of the cache", || {
        let reply = peer.get("/a.png");
        assert!(reply.body == body_of("/a.png"));
        !reply.is_hit()
    });
    assert_eq!(origin.count("/a.png"), before);
}

#[test]
fn copies_with_their_attributes_are_as_good_as_the_files() {
    let origin = pictures();
    let (one, mut other) = (Setup::of(&origin).start(), Setup::of(&origin).start());
    fill(&one, "/a.png");
    let before = origin.count("/a.png");
    // While it runs, it notices a moment later.
    other.kill();
    fs::create_dir_all(other.file("")).unwrap();
    let copied = Command::new("cp")
        .args(["-a", "--"])
        .args([one.file("a.png"), other.file("a.png")])
        .status();
    assert!(copied.unwrap().success());
    other.restart();
    let reply = other.await_hit("/a.png");
    assert!(reply.body == body_of("/a.png"));
    assert_eq!(reply.field("content-type"), "image/png");
    assert_eq!(origin.count("/a.png"), before);
}

/// A user whom permissions stop, and a tree of theirs.
fn unprivileged(origin: &Origin) -> Peer {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    fs::create_dir_all(&tree).unwrap();
    if !mount::is_root() {
        return Setup::of(origin).start_in(directory);
    }
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    chown(&tree, Some(NOBODY), Some(NOBODY)).unwrap();
    Setup::of(origin).server("user = \"nobody\"").start_in(directory)
}

/// Of the user nobody, on every Linux.
const NOBODY: u32 = 65_534;

#[test]
fn files_without_rights_are_fetched_anew() {
    let origin = pictures();
    let peer = unprivileged(&origin);
    for target in ["/a.png", "/dir/a.png"] {
        fill(&peer, target);
        fs::set_permissions(peer.file(&target[1..]), Permissions::from_mode(0o000)).unwrap();
        expect_anew(&peer, &origin, target, "no rights");
    }
    fill(&peer, "/locked/a.png");
    fs::set_permissions(peer.file("locked"), Permissions::from_mode(0o000)).unwrap();
    expect_anew(&peer, &origin, "/locked/a.png", "a directory without rights");
    fs::set_permissions(peer.file("locked"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_tree_without_the_right_to_write_is_passed_through() {
    let origin = pictures();
    let peer = unprivileged(&origin);
    fill(&peer, "/a.png");
    for directory in [peer.root(), peer.root().join(".peerage"), peer.file("")] {
        fs::set_permissions(directory, Permissions::from_mode(0o555)).unwrap();
    }
    for _ in 0..3 {
        assert!(peer.get("/b.png").body == body_of("/b.png"));
        assert!(peer.get("/large.png").body == body_of("/large.png"));
    }
    assert!(peer.get("/a.png").is_hit());
    assert!(peer.metric("peerage_cache_not_stored_total") >= 1.0);
    assert_eq!(peer.files(), [peer.file("a.png")]);
    for directory in [peer.root(), peer.root().join(".peerage"), peer.file("")] {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    }
    assert!(peer.get("/b.png").body == body_of("/b.png"));
    peer.await_hit("/b.png");
}
