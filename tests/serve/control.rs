//! The control socket, the commands that use it, and PURGE over HTTP.
//!
//! Not here: the protocol line by line, who waits for whom (beside the code).

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::harness::{Daemon, PURGE_TOKEN, start, start_at};

fn socket_of(daemon: &Daemon) -> PathBuf {
    daemon.directory.path().join("control.sock")
}

/// Everything that is answered to `lines`.
fn ask(daemon: &Daemon, lines: &str) -> String {
    let mut stream = UnixStream::connect(socket_of(daemon)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(lines.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn peerage(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peerage")).args(args).output().unwrap()
}

#[test]
fn lines_are_answered_in_order() {
    let daemon = start("", "");
    assert_eq!(ask(&daemon, "ping\n"), "ok pong\n");
    let answer = ask(&daemon, "ping\n\nhelp\r\nnonsense\npurge all\nstatus");
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines[0], "ok pong");
    assert!(lines[1].starts_with("ping "), "{answer}");
    assert!(answer.contains("\nerror unknown command nonsense"), "{answer}");
    assert!(answer.contains("\nerror no host has an origin\n"), "{answer}");
    assert!(answer.contains("\nready yes\n") && answer.contains("\nworkers 1\n"), "{answer}");
    assert_eq!(lines.last(), Some(&"ok"));
    let mode = fs::metadata(socket_of(&daemon)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
}

#[test]
fn the_commands_speak_for_the_daemon() {
    let daemon = start("", "[[host]]\nname = \"a.example\"");
    let file = daemon.directory.path().join("peerage.toml");
    let (file, socket) = (file.to_str().unwrap(), socket_of(&daemon));
    let socket = socket.to_str().unwrap();
    daemon.put("x.txt", b"x");
    assert_eq!(daemon.get("/x.txt").status, 200);
    let output = peerage(&["status", "-c", file]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("\nrequests 1\n"), "{text}");
    for (args, words) in [
        (&["--all"][..], "no host has an origin"),
        (&["http://a.example/x.txt"], "no host has an origin"),
        (&["http://b.example/x.txt"], "http://b.example/x.txt: this host is not served here"),
        (&["--glob", "a.example/*"], "expected http://HOST/PATH"),
        (&["--host", "b.example"], "this host is not served here"),
        (&["--tag", "a b"], "write a blank as %20"),
    ] {
        let output = peerage(&[&["purge", "-s", socket], args].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(error.contains(words), "{args:?}: {error}");
    }
    // Who reads no more is no reason to fail.
    let mut status = Command::new(env!("CARGO_BIN_EXE_peerage"));
    let status = status.args(["status", "-s", socket]).stdout(Stdio::piped());
    let mut child = status.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let output = peerage(&["cache", "why", "-s", socket, "http://a.example/x.txt"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.starts_with("name /a.example/x.txt\n"), "{text}");
    assert_eq!(peerage(&["purge", "-s", socket]).status.code(), Some(2));
    let output = peerage(&["status", "-s", "/nonexistent/socket"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("no daemon runs"), "{error}");
}

#[test]
fn strangers_may_ask_and_not_purge() {
    let is_root = fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t");
    if !is_root {
        eprintln!("skipped: only root may run a command as somebody else");
        return;
    }
    const NOBODY: u32 = 65_534;
    const OTHER: u32 = 65_533;
    // The daemon's user may purge, which is nobody here.
    let daemon = start_at("127.0.0.1:0", "user = \"nobody\"", "", "");
    let directory = daemon.directory.path();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    // Where the build lies, somebody else may not be let through.
    let program = directory.join("peerage");
    fs::copy(env!("CARGO_BIN_EXE_peerage"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let socket = socket_of(&daemon);
    let run = |uid: u32, args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).arg("-s").arg(&socket).uid(uid).gid(OTHER).output().unwrap()
    };
    assert!(run(OTHER, &["status"]).status.success());
    let output = run(OTHER, &["purge", "--all"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.starts_with("you may not"), "{error}");
    let output = run(NOBODY, &["purge", "--all"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error, "no host has an origin\n");
}

#[test]
fn a_daemon_without_its_socket_serves_and_says_so() {
    let first = start("", "");
    let socket = socket_of(&first);
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[admin]\nlisten = \"\"\n\
         [control]\nsocket = \"{}\"\n[tree]\nroot = \".\"\n",
        socket.display()
    );
    let file = directory.path().join("peerage.toml");
    fs::write(&file, text).unwrap();
    let mut second = Command::new(env!("CARGO_BIN_EXE_peerage"))
        .args(["run", "-c", file.to_str().unwrap()])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(second.stderr.take().unwrap()));
    let lines = lines.map(Result::unwrap);
    let mut said = Vec::new();
    for line in lines {
        let is_serving = line.starts_with("serving");
        said.push(line);
        if is_serving {
            break;
        }
    }
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(said.iter().any(|line| line.contains("another process answers there")), "{said:?}");
    assert!(said.last().is_some_and(|line| line.starts_with("serving")), "{said:?}");
    assert_eq!(ask(&first, "ping\n"), "ok pong\n");
}

#[test]
fn purge_over_http_needs_the_token() {
    let daemon = start("", "[[host]]\nname = \"a.example\"");
    let purge = |target: &str, fields: &str| {
        let mut stream = TcpStream::connect(daemon.admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let text = format!("PURGE {target} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        // Who closes its side gets its answer all the same.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let good = format!("Authorization: Bearer {PURGE_TOKEN}\r\n");
    let none = purge("/x", "");
    assert!(none.starts_with("HTTP/1.1 401 ") && none.contains("WWW-Authenticate: Bearer\r\n"));
    assert!(purge("/x", "Authorization: Bearer x\r\n").starts_with("HTTP/1.1 403 "));
    assert!(purge("http://b.example/x", &good).starts_with("HTTP/1.1 404 "));
    let answer = purge("/x", &good);
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(answer.ends_with("no host has an origin\n"), "{answer}");
    // Off and on again by a reload.
    let file = daemon.directory.path().join("peerage.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(PURGE_TOKEN, "")).unwrap();
    let pid = daemon.child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    daemon.await_said("is in force");
    assert!(purge("/x", &good).starts_with("HTTP/1.1 405 "));
}
