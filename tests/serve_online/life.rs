//! From one life of the daemon to the next.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::await_true;
use crate::service::{Client, Service, ask_locally, signal, start};

/// The same daemon once more, by the same file.
struct Again(std::process::Child);

impl Again {
    fn start(service: &Service) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_peerage"))
            .args(["run", "-c"])
            .arg(service.file())
            .stderr(Stdio::null())
            .spawn();
        let again = Self(child.unwrap());
        // The dead one's listener may take connections for a moment yet, and reset them.
        await_true(10, "it to answer again", || {
            let Ok(mut stream) = TcpStream::connect(service.address) else { return false };
            let mut bytes = [0; 7];
            stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut bytes).is_ok()
        });
        again
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn snapshot_in(directory: &tempfile::TempDir) -> String {
    format!("snapshot = \"{}\"", directory.path().join("who").display())
}

fn fill(service: &Service) {
    let mut client = service.client();
    for number in 0..100 {
        let url = format!("url{}", number % 3);
        assert_eq!(client.ask(&["ONLINE.HIT", &format!("user{number}"), &url]), "1");
    }
}

fn newest(service: &Service) -> String {
    Client::new(service.address).ask(&["ONLINE.NEWEST", "LIMIT", "1000", "WITHTIMES"])
}

#[test]
fn an_orderly_stop_remembers_and_a_kill_forgets() {
    let directory = tempfile::tempdir().unwrap();
    let mut service = start(&snapshot_in(&directory));
    fill(&service);
    let before = newest(&service);
    signal(&service, "-TERM");
    assert!(service.daemon.child.wait().unwrap().success());
    // It has who was where: that is for nobody else on the box.
    let mode = std::fs::metadata(directory.path().join("who")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut again = Again::start(&service);
    assert_eq!(newest(&service), before);
    // What came since the snapshot is lost by a kill, and what is in it comes back.
    Client::new(service.address).ask(&["ONLINE.HIT", "late", "url1"]);
    again.0.kill().unwrap();
    again.0.wait().unwrap();
    let _again = Again::start(&service);
    assert_eq!(newest(&service), before);
}

#[test]
fn a_bad_snapshot_is_said_and_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("who");
    let whole = {
        let mut service = start(&snapshot_in(&directory));
        fill(&service);
        signal(&service, "-TERM");
        service.daemon.child.wait().unwrap();
        std::fs::read(&file).unwrap()
    };
    for bytes in [&whole[..whole.len() / 2], b"", b"garbage that is longer than a head"] {
        std::fs::write(&file, bytes).unwrap();
        let service = start(&snapshot_in(&directory));
        service.await_said("remove it");
        assert_eq!(service.client().ask(&["ONLINE.COUNT"]), "0");
    }
    // One that cannot be written is no reason not to end.
    std::fs::remove_file(&file).unwrap();
    let mut service = start(&snapshot_in(&directory));
    fill(&service);
    std::fs::create_dir(directory.path().join("who.new")).unwrap();
    signal(&service, "-TERM");
    assert!(service.daemon.child.wait().unwrap().success());
    service.await_said("online.snapshot: ");
    assert!(!file.exists());
}

#[test]
fn the_socket_is_there_as_well_and_metrics_show_what_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("online.sock");
    let service = start(&format!("socket = \"{}\"", path.display()));
    assert_eq!(ask_locally(&path, &["ONLINE.HIT", "ann", "a"]), ":1\r\n");
    assert_eq!(ask_locally(&path, &["ONLINE.COUNT"]), ":1\r\n");
    await_true(5, "the metrics", || {
        let metrics = service.metrics();
        metrics["peerage_online_users"] == 1.0 && metrics["peerage_online_hits_added_total"] == 1.0
    });
    assert_eq!(service.metrics()["peerage_online_window_ms"], 1_800_000.0);
}

#[test]
fn users_leave_when_their_time_is_over() {
    let service = start("window = \"1 s\"");
    let mut client = service.client();
    client.ask(&["ONLINE.HIT", "ann", "a"]);
    client.ask(&["ONLINE.HIT", "bob", "a", "-0.5"]);
    assert_eq!(client.ask(&["ONLINE.COUNT"]), "2");
    std::thread::sleep(Duration::from_millis(1100));
    let found = [client.ask(&["ONLINE.COUNT"]), client.ask(&["ONLINE.URL", "a"])];
    assert_eq!(found, ["0", ""]);
    assert_eq!(service.stat("users_culled"), 2);
    // Without anybody who asks as well.
    client.ask(&["ONLINE.HIT", "ann", "a"]);
    await_true(5, "the metrics", || service.metrics()["peerage_online_users_culled_total"] == 3.0);
}

#[test]
fn without_the_section_nothing_listens() {
    let daemon = crate::harness::start("", "");
    assert!(!daemon.metrics().keys().any(|name| name.starts_with("peerage_online")));
}
