//! `peerage online`.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use crate::service::{Service, start};

fn online(service: &Service, words: &[&str]) -> Output {
    let file = service.file();
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerage"));
    command.arg("online").args(words).arg("-c").arg(file).output().unwrap()
}

fn said(service: &Service, words: &[&str]) -> String {
    let output = online(service, words);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The first column of each line.
fn names(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split('\t').next().unwrap()).collect()
}

#[test]
fn all_that_can_be_asked() {
    let service = start("password = \"a-long-password\"");
    assert_eq!(said(&service, &["hit", "ann", "a/x"]), "1\n");
    assert_eq!(said(&service, &["hit", "bob", "a/x"]), "1\n");
    assert_eq!(said(&service, &["hit", "bob", "a/y"]), "0\n");
    assert_eq!(said(&service, &["hit", "c\u{1b}d", "a/x"]), "1\n");
    assert_eq!(
        (said(&service, &["count"]), said(&service, &["count", "60"])),
        ("3\n".into(), "3\n".into())
    );
    assert_eq!(names(&said(&service, &["url", "a/x"])), ["c\\u{1b}d", "ann"]);
    assert_eq!(names(&said(&service, &["url", "a/x", "-l", "1", "--since", "-60"])).len(), 1);
    assert!(said(&service, &["user", "bob"]).starts_with("a/y\t"));
    assert_eq!(said(&service, &["top"]), "a/x\t2\na/y\t1\n");
    assert_eq!(said(&service, &["prefix", "a/y"]), "a/y\t1\n");
    assert_eq!(said(&service, &["del", "ann"]), "1\n");
    assert!(said(&service, &["stats"]).contains("users\t2\n"));
}

#[test]
fn what_goes_wrong_is_said_with_a_remedy() {
    let service = start("");
    for (words, expected) in [
        (&["user", "nobody"][..], "nobody of that name"),
        (&["count", "soon"], "not a number of seconds"),
        (&["url", "a", "-l", "-1"], ""),
    ] {
        let output = online(&service, words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(expected), "{words:?}: {errors}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerage"));
    let output = command.args(["online", "-a", "127.0.0.1:1", "count"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("online.enabled"), "{errors}");
}

#[test]
fn watch_shows_hits_as_they_come() {
    let service = start("");
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerage"));
    command.arg("online").arg("watch").arg("-c").arg(service.file());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    crate::harness::await_true(5, "it to watch", || service.stat("watchers") == 1);
    said(&service, &["hit", "ann", "a/x"]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with(" \"ann\" \"a/x\"\n"), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
    crate::harness::await_true(5, "it to be gone", || service.stat("watchers") == 0);
}
