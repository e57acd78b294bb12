//! More changes by hand at once than queues take, and more directories than may be watched.
//!
//! Not here: single changes (`damage`, `keys`, `tests/serve`).

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::base::minutes;
use crate::harness::{await_true, put};
use crate::mount::is_possible;
use crate::origin::Origin;
use crate::peer::{Peer, Setup};

/// How many changes the kernel keeps for a reader.
fn kernel_queue() -> usize {
    let text = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    text.trim().parse().unwrap()
}

fn await_watching(peer: &Peer) {
    await_true(20, "the watch and the tree to be known", || {
        let metrics = peer.metrics();
        metrics["peerage_tree_watching"] > 0.0 && metrics["peerage_store_known"] > 0.0
    });
}

/// Changes two files in turn, so that no change is taken for the one before it.
fn fill_queue(peer: &Peer) {
    let count = kernel_queue();
    assert!(count <= 1 << 20, "this machine's queue is longer than a test has time for");
    for number in 0..=count {
        let file = peer.file(&format!("noise-{}", number % 2));
        fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
    }
}

#[test]
fn what_changed_while_the_kernels_queue_was_full_shows() {
    for workers in [1, 2] {
        let origin = minutes();
        let peer = Setup::of(&origin).workers(workers).start();
        for name in ["noise-0", "noise-1", "put/old"] {
            put(&peer.file(name), b"by hand");
        }
        let targets = ["/gone", "/replaced", "/d/gone", "/d/stays"];
        for target in targets {
            peer.get(target);
            peer.await_hit(target);
        }
        await_watching(&peer);
        peer.while_stopped(|| {
            fill_queue(&peer);
            fs::remove_file(peer.file("gone")).unwrap();
            fs::remove_file(peer.file("d/gone")).unwrap();
            for name in ["replaced", "put/new", "new/deep/a", "new/b"] {
                put(&peer.file(name), b"by hand");
            }
            fs::remove_file(peer.file("put/old")).unwrap();
        });
        await_true(20, "the loss to be seen", || {
            peer.metric("peerage_tree_overflows_total") >= 1.0
        });
        await_watching(&peer);
        for target in ["/gone", "/d/gone"] {
            await_true(20, target, || peer.get(target).text() == format!("{target} 2"));
        }
        for target in ["/replaced", "/put/new", "/new/deep/a", "/new/b"] {
            await_true(20, target, || peer.get(target).text() == "by hand");
        }
        assert_eq!(peer.get("/put/old").text(), "/put/old 1");
        assert_eq!(peer.get("/d/stays").text(), "/d/stays 1");
        assert_eq!(origin.count("/replaced"), 1);
        // All is watched again, what is new as well.
        put(&peer.file("new/deep/a"), b"again");
        await_true(20, "the newest", || peer.get("/new/deep/a").text() == "again");
        fs::remove_file(peer.file("d/stays")).unwrap();
        await_true(20, "another fetch", || peer.get("/d/stays").text() == "/d/stays 2");
    }
}

/// The store hears of each; what its queue has no room for must not be lost.
#[test]
fn a_crowd_of_files_and_then_a_directory_are_all_served() {
    const FILES: usize = 14_000;
    const LATER: usize = 50;
    let origin = minutes();
    let peer = Setup::of(&origin).start();
    let aside = peer.directory.path().join("aside");
    fs::create_dir_all(&aside).unwrap();
    for number in 0..FILES {
        fs::write(aside.join(number.to_string()), "by hand").unwrap();
    }
    for number in 0..LATER {
        put(&aside.join(format!("later/{number}")), b"by hand");
    }
    fs::create_dir_all(peer.file("many")).unwrap();
    assert!(kernel_queue() > FILES + LATER, "this is not about the kernel's queue");
    await_watching(&peer);
    peer.while_stopped(|| {
        for number in 0..FILES {
            let name = number.to_string();
            fs::rename(aside.join(&name), peer.file("many").join(&name)).unwrap();
        }
        fs::rename(aside.join("later"), peer.file("later")).unwrap();
    });
    await_true(20, "all changes to be seen", || {
        peer.metric("peerage_tree_changes_total") >= (FILES + 1) as f64
    });
    std::thread::sleep(Duration::from_secs(2));
    for number in 0..LATER {
        for target in [format!("/later/{number}"), format!("/many/{number}")] {
            assert_eq!(peer.get(&target).text(), "by hand", "{target}");
        }
    }
    assert_eq!((origin.total(), peer.metric("peerage_tree_overflows_total")), (0, 0.0));
}

/// In a user namespace of the daemon's own, whose limits are nobody else's.
const FEW_WATCHES: &str = "exec unshare --user --map-root-user sh -c \
                           'echo 6 >/proc/sys/user/max_inotify_watches && shift && exec \"$@\"' \
                           sh \"$@\"";

/// Everything is noticed, if not at once: files are looked at again by their age.
fn expect_changes_without_watch(peer: &Peer, origin: &Origin) {
    await_true(20, "the end of the watch", || peer.metric("peerage_tree_watching") == 0.0);
    peer.await_said("raise fs.inotify.max_user_watches");
    for target in ["/x/a", "/x/y/b", "/x/y/z/c"] {
        assert_eq!(peer.get(target).text(), format!("{target} 1"));
        peer.await_hit(target);
        fs::remove_file(peer.file(&target[1..])).unwrap();
        await_true(20, target, || peer.get(target).text() == format!("{target} 2"));
        put(&peer.file(&target[1..]), b"by hand");
        await_true(20, target, || peer.get(target).text() == "by hand");
    }
    put(&peer.file("new/a"), b"by hand");
    assert_eq!(peer.get("/new/a").text(), "by hand");
    assert_eq!(origin.count("/new/a"), 0);
}

#[test]
fn more_directories_than_may_be_watched_are_served() {
    if !is_possible(FEW_WATCHES) {
        return;
    }
    // Before the start: more than there may be.
    let origin = minutes();
    let directory = tempfile::tempdir().unwrap();
    for number in 0..10 {
        put(&directory.path().join(format!("tree/a.example/{number}/a")), b"by hand");
    }
    let peer = Setup::of(&origin).before(FEW_WATCHES).start_in(directory);
    assert_eq!(peer.get("/9/a").text(), "by hand");
    expect_changes_without_watch(&peer, &origin);
    // Later: the store's own directories become too many.
    let origin = minutes();
    let peer = Setup::of(&origin).before(FEW_WATCHES).start();
    await_watching(&peer);
    for number in 0..10 {
        let target = format!("/{number}/a");
        assert_eq!(peer.get(&target).text(), format!("{target} 1"));
        peer.await_hit(&target);
    }
    expect_changes_without_watch(&peer, &origin);
}

/// What is put into a directory that has only just come is seen by whoever looks through it, or by
/// the watch on it; nothing falls between.
#[test]
fn files_put_into_new_directories_meanwhile_are_all_served() {
    const DIRECTORIES: usize = 1000;
    for round in 0..3 {
        let origin = minutes();
        let peer = Setup::of(&origin).start();
        await_watching(&peer);
        let directory = |number: usize| peer.file(&format!("{number}"));
        fs::create_dir_all(peer.file("")).unwrap();
        peer.while_stopped(|| {
            (0..DIRECTORIES).for_each(|number| fs::create_dir(directory(number)).unwrap());
        });
        for number in 0..DIRECTORIES {
            fs::write(directory(number).join("a"), "by hand").unwrap();
        }
        await_true(20, "all of them to be watched", || {
            peer.metric("peerage_tree_watches") >= (DIRECTORIES + 2) as f64
        });
        std::thread::sleep(Duration::from_secs(1));
        for number in 0..DIRECTORIES {
            let target = format!("/{number}/a");
            assert_eq!(peer.get(&target).text(), "by hand", "{target} in round {round}");
        }
    }
}

#[test]
fn files_put_into_directories_that_the_store_has_just_made_are_all_served() {
    const DIRECTORIES: usize = 300;
    let origin = minutes();
    let peer = Setup::of(&origin).start();
    await_watching(&peer);
    for number in 0..DIRECTORIES {
        let (target, directory) = (format!("/{number}/fetched"), peer.file(&format!("{number}")));
        assert_eq!(peer.get(&target).text(), format!("{target} 1"));
        await_true(20, &target, || fs::write(directory.join("hand"), "by hand").is_ok());
    }
    std::thread::sleep(Duration::from_secs(1));
    for number in 0..DIRECTORIES {
        let target = format!("/{number}/hand");
        assert_eq!(peer.get(&target).text(), "by hand", "{target}");
    }
}

/// The watch comes a moment after the directory. What goes in between, after it was served, nobody
/// is told of: it is missed when it is looked at again (`recheck_watched`).
#[test]
fn files_removed_from_directories_that_the_store_has_just_made_are_missed_in_time() {
    const DIRECTORIES: usize = 300;
    let origin = minutes();
    let peer = Setup::of(&origin).tree("recheck_watched = \"2 s\"").start();
    await_watching(&peer);
    for number in 0..DIRECTORIES {
        let target = format!("/{number}/a");
        assert_eq!(peer.get(&target).text(), format!("{target} 1"));
        peer.await_hit(&target);
        fs::remove_file(peer.file(&target[1..])).unwrap();
    }
    std::thread::sleep(Duration::from_secs(3));
    for number in 0..DIRECTORIES {
        let target = format!("/{number}/a");
        // The first to ask after that time has it looked at, and is still sent what is open.
        await_true(2, &target, || peer.get(&target).text() == format!("{target} 2"));
    }
}
