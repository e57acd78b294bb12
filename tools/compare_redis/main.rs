//! Side-by-side run of Redis and peerage as the place that knows who is online, over sockets.
//!
//! Input: the command line.   Output: one Markdown document with ratios and every raw row.
//! Owns: a temporary directory and two servers, all gone at the end.   Thread: one, the client; the
//! servers share the other core.
//! Invariants: the servers' runs alternate (A B A B ...), with the same client and the same
//! choices; before anything is measured, both servers' answers were compared with what they should
//! be.
//! Not here: designs in process (`tools/compare_online`).
//! Source: the method is that of the project's table of figures to reach; `cases` has the floors.

#![allow(clippy::print_stdout, reason = "a command line tool: it prints its result")]
#![allow(clippy::disallowed_methods, reason = "a tool measures real time and has no sans-IO core")]
#![allow(unsafe_code, reason = "affinity, epoll and signals have no safe form in std")]

mod cases;
mod client;
#[path = "../compare_static/document.rs"]
mod document;
#[allow(dead_code, reason = "the load program also raises limits and timers' precision")]
#[path = "../load/sys.rs"]
mod epoll;
mod fill;
mod link;
mod measure;
mod ping;
#[path = "../compare_static/process.rs"]
mod process;
#[path = "../compare_static/random.rs"]
mod random;
mod report;
mod server;
#[allow(dead_code, reason = "compare_static also writes files and raises limits")]
#[path = "../compare_static/sys.rs"]
mod sys;
mod wire;
mod words;
mod workload;
#[path = "../compare_static/workspace.rs"]
mod workspace;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::measure::{Bench, now_ms};
use crate::report::Results;
use crate::server::{Kind, Peer, WINDOW_MS};
use crate::words::PIPELINE_MAX;
use crate::workload::Workload;
use crate::workspace::Workspace;

/// Compare peerage with Redis: who is online, over a unix socket and TCP.
#[derive(Parser, Debug)]
#[command(name = "compare_redis")]
struct Options {
    /// The peerage binary.
    #[arg(long, required_unless_present = "only")]
    peerage: Option<PathBuf>,
    /// The redis-server binary.
    #[arg(long, default_value = "/usr/bin/redis-server")]
    redis: PathBuf,
    /// The redis-benchmark binary; without it, its figures are left out.
    #[arg(long, default_value = "/usr/bin/redis-benchmark")]
    redis_benchmark: PathBuf,
    /// Measure one of the two only.
    #[arg(long)]
    only: Option<Kind>,
    /// Rounds per case.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds per run.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Users.
    #[arg(long, default_value_t = 100_000)]
    users: u32,
    /// Urls.
    #[arg(long, default_value_t = 10_000)]
    urls: u32,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 64)]
    pipeline: usize,
    /// Connections of the pipelined cases.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Run only these cases, comma separated: hits single newest count.
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
    /// Transports, comma separated.
    #[arg(long, value_delimiter = ',', default_value = "unix,tcp")]
    transports: Vec<String>,
    /// Write the result here too.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Core of the servers.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// Core of the client.
    #[arg(long, default_value_t = 1)]
    client_cpu: usize,
    /// Directory for the temporary files; by default the system's.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare_redis: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<()> {
    check(options)?;
    let cases = cases::select(&options.cases)?;
    let transports = transports(&options.transports)?;
    sys::stop_on_signal();
    epoll::pin_thread(options.client_cpu)
        .with_context(|| format!("--client-cpu {}: there is no such core", options.client_cpu))?;
    let dir = options.dir.clone().unwrap_or_else(env::temp_dir);
    let workspace = Workspace::new(&dir, "compare_redis")?;
    eprintln!("making {} users and {} urls", options.users, options.urls);
    let workload = Workload::new(options.users, options.urls);
    let peers = start(options, &workspace, &workload)?;
    // So long ago that no time lies in the future when the last of the hits is sent.
    let begin_ms = now_ms() - workload.fill_ms() - MARGIN_MS;
    let mut memory = Vec::new();
    for peer in &peers {
        let taken = fill::fill(peer, &workload, begin_ms).with_context(|| {
            format!("filling {}; it said: {}", peer.kind.name(), peer.server.last_words())
        })?;
        memory.push((peer.kind, taken));
        eprintln!("filled and verified {}", peer.kind.name());
    }
    let bench = Bench {
        peers: &peers,
        workload: &workload,
        rounds: options.rounds,
        seconds: options.seconds,
        connections: options.connections,
        pipeline: options.pipeline,
    };
    let rows = bench.run(&cases, &transports)?;
    let mut pings = Vec::new();
    for peer in &peers {
        let figures = if options.redis_benchmark.is_file() {
            ping::ping(&options.redis_benchmark, peer.port, options.client_cpu)
        } else {
            Err(anyhow::anyhow!("{} is not installed", options.redis_benchmark.display()))
        };
        ensure!(!sys::is_stopped(), "stopped by a signal");
        pings.push((peer.kind, figures.map_err(|error| format!("{error:#}"))));
    }
    let cores = peers.iter().map(|peer| Ok((peer.kind, peer.cores()?)));
    let cores = cores.collect::<Result<_>>()?;
    let text =
        report::markdown(options, &Results { cases, transports, rows, memory, cores, pings })?;
    print!("{text}");
    if let Some(path) = &options.out {
        fs::write(path, text).with_context(|| format!("--out {}: cannot write", path.display()))?;
    }
    Ok(())
}

/// Starts the servers that are wanted, in the order of their runs.
fn start(options: &Options, workspace: &Workspace, workload: &Workload) -> Result<Vec<Peer>> {
    let (path, cpu) = (workspace.path(), options.server_cpu);
    let mut peers = Vec::new();
    if options.only != Some(Kind::Peerage) {
        let redis = &options.redis;
        ensure!(redis.is_file(), "--redis {}: no such program; install it", redis.display());
        peers.push(server::start_redis(redis, path, cpu, workload)?);
    }
    if options.only != Some(Kind::Redis) {
        let peerage = options.peerage.as_ref().context("--peerage is missing")?;
        ensure!(peerage.is_file(), "--peerage {}: no such program", peerage.display());
        peers.push(server::start_peerage(peerage, path, cpu, workload)?);
    }
    Ok(peers)
}

/// The transports by name, in their order.
fn transports(names: &[String]) -> Result<Vec<&'static str>> {
    for name in names {
        ensure!(
            TRANSPORTS.contains(&name.as_str()),
            "--transports {name}: unknown; known are {}",
            TRANSPORTS.join(",")
        );
    }
    let wanted = |transport: &&str| names.iter().any(|name| name == transport);
    Ok(TRANSPORTS.into_iter().filter(wanted).collect())
}

/// Refuses option values that cannot give a result.
fn check(options: &Options) -> Result<()> {
    ensure!((1..=1000).contains(&options.rounds), "--rounds {}: 1 to 1000", options.rounds);
    ensure!(
        options.seconds >= 0.1 && options.seconds <= 600.0,
        "--seconds {}: 0.1 to 600",
        options.seconds
    );
    ensure!(
        (1000..=USERS_MAX).contains(&options.users),
        "--users {}: 1000 to {USERS_MAX}, since their hits are a millisecond apart and lie in the \
         window",
        options.users
    );
    ensure!((10..=100_000).contains(&options.urls), "--urls {}: 10 to 100000", options.urls);
    ensure!(
        (1..=PIPELINE_MAX).contains(&options.pipeline),
        "--pipeline {}: 1 to {PIPELINE_MAX}",
        options.pipeline
    );
    ensure!(
        (1..=500).contains(&options.connections),
        "--connections {}: 1 to 500",
        options.connections
    );
    ensure!(
        options.server_cpu != options.client_cpu,
        "--server-cpu and --client-cpu are both {}; each needs a core of its own",
        options.server_cpu
    );
    Ok(())
}

/// Names in `--transports`.
const TRANSPORTS: [&str; 2] = ["unix", "tcp"];
const USERS_MAX: u32 = 1_000_000;
/// Between the last of the filling hits and now.
const MARGIN_MS: u64 = 1000;
// Five minutes of the window are left for the run.
const _: () = assert!(USERS_MAX as u64 * 6 / 5 + MARGIN_MS + 300_000 < WINDOW_MS);
