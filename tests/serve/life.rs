//! Start, reload, stop, and what the commands say.
//!
//! Not here: the configuration's own checks (`tests/conf.rs`).

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::harness::{Daemon, admin, await_true, pattern, read_answer, start, start_at};

fn peerage(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peerage")).args(arguments).output().unwrap()
}

fn signal(daemon: &Daemon, name: &str) {
    let pid = daemon.child.id().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}

fn exit_code(daemon: &mut Daemon, seconds: u64) -> Option<i32> {
    let mut status = None;
    await_true(seconds, "the end", || {
        status = daemon.child.try_wait().unwrap();
        status.is_some()
    });
    status.and_then(|status| status.code())
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    const LEN: usize = 24 << 20;
    let mut daemon = start("", "");
    daemon.put("a.bin", &pattern(LEN, 1));
    let mut idle = daemon.connect();
    let mut busy = daemon.connect();
    busy.write_all(b"GET /a.bin HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    busy.read_exact(&mut [0; 100]).unwrap();
    signal(&daemon, "-TERM");
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "idle connections are closed at once");
    await_true(3, "not ready", || admin(daemon.admin, "/-/ready").contains(" 503 "));
    let mut rest = Vec::new();
    busy.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > LEN - 100, "{} bytes", rest.len());
    assert_eq!(exit_code(&mut daemon, 5), Some(0));
}

#[test]
fn a_second_order_to_stop_does_not_wait() {
    let mut daemon = start_at("127.0.0.1:0", "grace = \"1 min\"", "", "");
    daemon.put("a.bin", &pattern(24 << 20, 1));
    let mut busy = daemon.connect();
    busy.write_all(b"GET /a.bin HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    busy.read_exact(&mut [0; 100]).unwrap();
    signal(&daemon, "-TERM");
    daemon.await_said("responses in flight have 60 s");
    signal(&daemon, "-TERM");
    assert_eq!(exit_code(&mut daemon, 4), Some(0));
}

#[test]
fn grace_is_not_endless() {
    let mut daemon = start_at("127.0.0.1:0", "grace = \"1 s\"", "", "");
    daemon.put("a.bin", &pattern(24 << 20, 1));
    let mut busy = daemon.connect();
    busy.write_all(b"GET /a.bin HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    busy.read_exact(&mut [0; 100]).unwrap();
    signal(&daemon, "-TERM");
    assert_eq!(exit_code(&mut daemon, 4), Some(0));
}

#[test]
fn sighup_reloads_what_is_good() {
    let daemon = start("", "");
    daemon.put("a.png", b"alpha");
    let file = daemon.directory.path().join("peerage.toml");
    let text = fs::read_to_string(&file).unwrap();
    let rule = "[[cache_control]]\npath = \"*.png\"\nvalue = \"max-age=7\"\n";
    assert_eq!(daemon.get("/a.png").field("cache-control"), "");
    fs::write(&file, format!("{text}\nnonsense = [")).unwrap();
    signal(&daemon, "-HUP");
    await_true(5, "the refusal", || {
        daemon.metrics()["peerage_reloads_total{result=\"refused\"}"] >= 1.0
    });
    fs::write(&file, format!("{text}\n{rule}")).unwrap();
    signal(&daemon, "-HUP");
    await_true(5, "the rule", || daemon.get("/a.png").field("cache-control") == "max-age=7");
}

#[test]
fn systemd_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_peerage"))
        .args(["serve", "--listen", "127.0.0.1:0", "--workers", "1"])
        .arg(directory.path())
        .env("NOTIFY_SOCKET", &path)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let heard = || {
        let mut bytes = [0; 64];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    assert_eq!(heard(), "READY=1");
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(heard(), "STOPPING=1");
    assert!(child.wait().unwrap().success());
}

#[test]
fn failures_to_start_name_the_key_and_the_remedy() {
    let daemon = start("", "");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("peerage.toml");
    let table = [
        (format!("[server]\nlisten = [\"{}\"]\n[tree]\nroot = \".\"", daemon.address), "in use"),
        ("[tree]\nroot = \"missing\"".to_owned(), "tree.root"),
        ("[tree]\nroot = \".\"\nrot = 1".to_owned(), "peerage.toml:3"),
    ];
    for (text, word) in table {
        let off = "[admin]\nlisten = \"\"\n[control]\nsocket = \"\"\n";
        fs::write(&file, format!("{text}\n{off}")).unwrap();
        let output = peerage(&["run", "-c", file.to_str().unwrap()]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(word), "{word}: {error}");
    }
}

/// Runs the daemon on `directory` with a limit of `descriptors`, and returns what it said until it
/// ended, or served and was told to end.
fn run_with_descriptors(directory: &std::path::Path, descriptors: u32) -> (String, bool) {
    let script = format!(
        "ulimit -n {descriptors}; exec \"$0\" serve --listen 127.0.0.1:0 --workers 1 \"$1\""
    );
    let mut child = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_peerage")])
        .arg(directory)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let mut serves = false;
    for line in lines {
        let line = line.unwrap();
        if line.starts_with("serving") {
            serves = true;
            assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        }
        said += &line;
        said.push('\n');
    }
    child.wait().unwrap();
    (said, serves)
}

#[test]
fn too_few_descriptors_are_said() {
    let directory = tempfile::tempdir().unwrap();
    let (said, serves) = run_with_descriptors(directory.path(), 2000);
    assert!(serves && said.contains("connections_per_worker is lowered to 976"), "{said}");
    for descriptors in [5, 8, 10, 12, 14] {
        let (said, serves) = run_with_descriptors(directory.path(), descriptors);
        assert!(serves || said.contains("LimitNOFILE"), "with {descriptors}: {said}");
    }
}

#[test]
fn a_port_below_1024_is_bound_and_the_rights_are_given_up() {
    let name = "/proc/self/status";
    if !fs::read_to_string(name).unwrap().contains("\nUid:\t0\t") {
        eprintln!("skipped: only root may bind such a port and become somebody else");
        return;
    }
    let port = (700..1024)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port below 1024");
    let daemon = start_at(&format!("127.0.0.1:{port}"), "user = \"nobody\"", "", "");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let value = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(value("Uid:").iter().all(|uid| uid != "0"), "{status}");
    assert!(value("Gid:").iter().all(|gid| gid != "0"), "{status}");
    assert_eq!(value("CapEff:"), ["0000000000000000"]);
    assert_eq!(value("CapPrm:"), ["0000000000000000"]);
    assert_eq!(value("NoNewPrivs:"), ["1"]);
    // It answers, if only that it may not read the test's directory.
    assert!(matches!(daemon.get("/a.txt").status, 403 | 404));
}

#[test]
fn what_lies_outside_is_out_of_reach_once_it_serves() {
    let daemon = start("", "[log]\nlevel = \"debug\"");
    if !daemon.said().iter().any(|line| line.contains("landlock: only the tree can be read")) {
        eprintln!("skipped: this kernel has no Landlock, or only a part of it");
        return;
    }
    // The file to be reloaded is a good one, but lies where the daemon has no business.
    let elsewhere = tempfile::tempdir().unwrap();
    let file = daemon.directory.path().join("peerage.toml");
    let moved = elsewhere.path().join("peerage.toml");
    fs::copy(&file, &moved).unwrap();
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&moved, &file).unwrap();
    signal(&daemon, "-HUP");
    daemon.await_said("the old configuration stays in force");
    fs::remove_file(&file).unwrap();
    fs::copy(&moved, &file).unwrap();
    signal(&daemon, "-HUP");
    daemon.await_said("is in force");
    await_true(5, "the reload", || {
        daemon.metrics()["peerage_reloads_total{result=\"done\"}"] >= 1.0
    });
}

#[test]
fn check_finds_errors_and_prints_what_is_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("peerage.toml");
    let name = file.to_str().unwrap();
    fs::write(&file, "[tree]\nroot = \".\"\n[limits]\nheader_timeout = \"0 s\"\n").unwrap();
    let output = peerage(&["check", "-c", name]);
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("peerage.toml:4") && error.contains("header_timeout"), "{error}");
    fs::write(&file, "[tree]\nroot = \".\"\n").unwrap();
    assert!(peerage(&["check", "-c", name]).status.success());
    let printed = peerage(&["check", "-c", name, "--print"]).stdout;
    fs::write(&file, printed).unwrap();
    assert!(peerage(&["check", "-c", name]).status.success(), "what is printed is a good file");
}

#[test]
fn ipv6_and_the_admin_listener() {
    let daemon = start_at("[::1]:0", "", "", "");
    daemon.put("a.txt", b"alpha");
    assert_eq!(daemon.get("/a.txt").body, b"alpha");
    assert!(admin(daemon.admin, "/-/healthy").starts_with("HTTP/1.1 200"));
    assert!(admin(daemon.admin, "/-/ready").starts_with("HTTP/1.1 200"));
    assert!(admin(daemon.admin, "/").starts_with("HTTP/1.1 404"));
    let mut stream = std::net::TcpStream::connect(daemon.admin).unwrap();
    stream.write_all(b"\x16\x03\x01 garbage\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(read_answer(&mut stream, false).status, 400);
    assert!(admin(daemon.admin, "/-/healthy").starts_with("HTTP/1.1 200"));
}
