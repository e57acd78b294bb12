//! The comparison with nginx in its smallest form, so that it does not rot: every case answers
//! rightly on both sides, and the document is written. It measures nothing.
//!
//! Not here: the figures (`bench/results/static.md`).

use std::path::Path;
use std::process::Command;

const NGINX: &str = "/usr/sbin/nginx";

#[test]
fn the_comparison_with_nginx_runs() {
    let peerage = Path::new(env!("CARGO_BIN_EXE_peerage"));
    if !Path::new(NGINX).exists() {
        eprintln!("skipped: {NGINX} is not there; install nginx");
        return;
    }
    // As a program: with the tests it is built as a test.
    let built = Command::new(env!("CARGO"))
        .args(["build", "--example", "compare_static", "--example", "load"])
        .status()
        .unwrap();
    assert!(built.success());
    let tool = peerage.parent().unwrap().join("examples/compare_static");
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.md");
    let output = Command::new(&tool)
        .args(["--smoke", "--peerage"])
        .arg(peerage)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", tool.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(out).unwrap();
    for case in ["1k", "10k", "100k", "1m", "mix", "close-10k", "pipe16-10k", "mix-1000conn"] {
        for body in ["drop", "read"] {
            assert!(text.contains(&format!("| {case} | {body} |")), "{case} {body}");
        }
    }
    assert!(text.contains("smoke run") && !text.contains("(errors)"), "{text}");
}
