//! The system calls of a worker per request, counted by strace on its thread.
//!
//! Not here: allocations (`tests/allocation.rs`), what a call costs (`bench/results/static.md`).

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Daemon, await_true, pattern, read_answer, start};

const HITS: usize = 300;

/// Requests of one write, where they are pipelined.
const DEEP: usize = 16;

/// The wait of a worker with connections ends at least this often, to look for timeouts.
const SWEEP: Duration = Duration::from_millis(250);

/// strace on the only worker of a daemon.
struct Tracer {
    child: Child,
    output: tempfile::NamedTempFile,
    begun: Instant,
}

impl Tracer {
    /// `None`, and the reason said, where it cannot be done here.
    fn attach(daemon: &Daemon) -> Option<Self> {
        let thread = worker_thread(daemon);
        let output = tempfile::NamedTempFile::new().unwrap();
        let tracer = Command::new("strace")
            .args(["-q", "-p", &thread, "-o"])
            .arg(output.path())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match tracer {
            Ok(child) => child,
            Err(error) => {
                eprintln!("skipped: strace does not start ({error}); install it");
                return None;
            }
        };
        let status = format!("/proc/{thread}/status");
        let mut refused = None;
        await_true(10, "strace to attach", || {
            refused = child.try_wait().unwrap();
            let text = fs::read_to_string(&status).unwrap();
            refused.is_some() || !text.contains("TracerPid:\t0\n")
        });
        if refused.is_some() {
            let mut why = String::new();
            child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            eprintln!("skipped: strace may not trace here: {why}");
            return None;
        }
        Some(Self { child, output, begun: Instant::now() })
    }

    /// How often each system call was begun, and how long it was looked at.
    fn detach(mut self) -> (BTreeMap<String, usize>, Duration) {
        let span = self.begun.elapsed();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.child.wait().unwrap();
        let mut counts = BTreeMap::new();
        for line in fs::read_to_string(self.output.path()).unwrap().lines() {
            // A call that was under way when strace came is shown as it ends, or restarted.
            let Some((name, _)) = line.split_once('(') else { continue };
            if !name.contains(['<', ' ', '-']) && name != "restart_syscall" {
                *counts.entry(name.to_owned()).or_default() += 1;
            }
        }
        (counts, span)
    }
}

/// The number of the thread `http-0`.
fn worker_thread(daemon: &Daemon) -> String {
    let tasks = format!("/proc/{}/task", daemon.child.id());
    let is_worker = |path: &std::path::Path| {
        fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "http-0")
    };
    let mut paths = fs::read_dir(tasks).unwrap().map(|entry| entry.unwrap().path());
    let path = paths.find(|path| is_worker(path)).expect("a thread http-0");
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Asks `times` at once for `path`, in which `*` stands for the last digit of `round`.
fn hit(stream: &mut TcpStream, path: &str, times: usize, round: usize) {
    let path = path.replace('*', &(round % 10).to_string());
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n").repeat(times);
    stream.write_all(request.as_bytes()).unwrap();
    for _ in 0..times {
        assert_eq!(read_answer(stream, false).status, 200);
    }
}

/// The calls that `rounds` times `times` requests of `path` at once make, once all is warm; by
/// name, those of the sweep taken off. `None` where they cannot be counted.
fn calls(
    daemon: &Daemon,
    path: &str,
    rounds: usize,
    times: usize,
) -> Option<BTreeMap<String, usize>> {
    let mut stream = daemon.connect();
    for round in 0..20 {
        hit(&mut stream, path, times, round);
    }
    let tracer = Tracer::attach(daemon)?;
    for round in 0..rounds {
        hit(&mut stream, path, times, round);
    }
    let (mut counts, span) = tracer.detach();
    let sweeps = usize::try_from(span.as_millis() / SWEEP.as_millis()).unwrap() + 2;
    let waits = counts.get_mut("io_uring_enter").expect("it waits in its ring");
    *waits = waits.saturating_sub(sweeps);
    Some(counts)
}

#[test]
fn a_hit_shares_one_system_call_and_a_large_body_takes_one_more() {
    let daemon = start("", "");
    daemon.put("small.bin", &pattern(1000, 1));
    daemon.put("medium.bin", &pattern(40_000, 1));
    daemon.put("large.bin", &pattern(60_000, 1));
    // Together more than lies in the processor's caches, by `cache::way_out`.
    for number in 0..10 {
        daemon.put(&format!("far-{number}.bin"), &pattern(1_000_000, number));
    }
    for (path, rounds, times) in [
        ("/small.bin", HITS, 1),
        ("/medium.bin", HITS, 1),
        ("/small.bin", HITS, DEEP),
        ("/large.bin", HITS, 1),
    ] {
        let Some(counts) = calls(&daemon, path, rounds, times) else { return };
        let names: Vec<&String> = counts.keys().collect();
        assert_eq!(names, ["io_uring_enter"], "{path}: nothing else is called");
        // One call takes the request in and submits the answer, the next one finds it sent; a large
        // one may take a third, where the send buffer was full.
        let waits = counts["io_uring_enter"];
        let bound = if path == "/large.bin" { 3 * rounds } else { 2 * rounds + rounds / 10 };
        assert!(waits <= bound, "{path}: {waits} calls for {rounds} times {times} requests");
    }
    // Large ones leave by sendfile, whether they were just sent or not.
    for path in ["/far-*.bin", "/far-0.bin"] {
        let Some(mut counts) = calls(&daemon, path, HITS, 1) else { return };
        let (waits, sends) =
            (counts.remove("io_uring_enter").unwrap_or(0), counts.remove("sendfile").unwrap_or(0));
        assert_eq!(counts, BTreeMap::new(), "{path}: nothing else is called");
        // A send buffer that is full takes the rest in a second call.
        assert!((HITS..2 * HITS).contains(&sends), "{path}: {sends} times sendfile");
        assert!(waits <= 3 * HITS, "{path}: {waits} calls for {HITS} requests");
    }
}
