//! HTTP/1.1 load generator: one thread, many connections, closed or open loop.
//!
//! Input: the command line.   Output: one table or one line of JSON; exit status 1 if any request
//! failed.
//! Owns: `client::Client`, bounded by `--requests` and `--duration`.   Thread: one, pinned by
//! `--cpu`.
//! Invariants: every request issued is counted exactly once, as answered or as one kind of error
//! (bytes behind an answer that nobody asked for count as one error more); in the open loop every
//! request of the schedule is issued or counted as a timeout, so that a slow server cannot thin out
//! the measurement.
//! Not here: starting servers and comparing them (`tools/compare_static`).

#![allow(clippy::print_stdout, reason = "a command line tool: its result goes to standard output")]
#![allow(clippy::disallowed_methods, reason = "a tool measures real time and has no sans-IO core")]
#![allow(unsafe_code, reason = "epoll, affinity and rusage have no safe form in std or socket2")]

mod client;
mod conn;
mod http;
mod plan;
mod report;
mod sys;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use crate::client::Client;
use crate::plan::{Picker, Requests, Schedule};

/// Drive an HTTP/1.1 server from one thread and report rate, latency and errors.
#[derive(Parser, Debug, Clone)]
#[command(name = "load")]
struct Options {
    /// Server to connect to, HOST:PORT.
    #[arg(long)]
    addr: String,
    /// Host header; by default the value of --addr.
    #[arg(long)]
    host: Option<String>,
    /// Path to request; may be given several times.
    #[arg(long)]
    path: Vec<String>,
    /// File with one path per line, added to those of --path.
    #[arg(long)]
    paths: Option<PathBuf>,
    /// Choose paths by a Zipf law of this exponent; the first path is the most popular.
    #[arg(long)]
    zipf: Option<f64>,
    /// Request the paths in their order, each once before any twice.
    #[arg(long, conflicts_with = "zipf")]
    in_order: bool,
    /// Seed of the generator that chooses the paths.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Connections that carry requests.
    #[arg(short = 'c', long, default_value_t = 64)]
    connections: usize,
    /// Further connections that are opened and left alone.
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// Stop after this many requests.
    #[arg(long)]
    requests: Option<u64>,
    /// Stop after this many seconds; 5 if --requests is not given either.
    #[arg(long)]
    duration: Option<f64>,
    /// Open loop: requests per second over all connections, latency from the intended send time.
    #[arg(long)]
    rate: Option<u64>,
    /// Requests per write; the next write waits for all the answers.
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// One request per connection, with `Connection: close`; the server has to close.
    #[arg(long, conflicts_with = "pipeline")]
    close: bool,
    /// What to do with bodies: copy and sum them, or let the kernel discard them (MSG_TRUNC).
    #[arg(long, value_enum, default_value_t = Body::Read)]
    body: Body,
    /// Check every body: its length and, with --root, its bytes as far as they are read.
    #[arg(long)]
    verify: bool,
    /// Directory whose files are the expected bodies: --root + path.
    #[arg(long, requires = "verify")]
    root: Option<PathBuf>,
    /// Length that every body must have.
    #[arg(long)]
    body_bytes: Option<u64>,
    /// Seconds after which a request has failed.
    #[arg(long, default_value_t = 10.0)]
    timeout: f64,
    /// Pin the thread to this core.
    #[arg(long)]
    cpu: Option<usize>,
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// How response bodies are consumed.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// Copy into a buffer and sum every byte.
    Read,
    /// Copy the first chunk, have the kernel discard the rest.
    Drop,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs the load and prints the result; true if no request failed.
fn run(options: &Options) -> Result<bool> {
    check(options)?;
    if let Some(cpu) = options.cpu {
        sys::pin_thread(cpu).with_context(|| format!("--cpu {cpu}: cannot pin the thread"))?;
    }
    sys::timer_slack_min();
    let sockets = u64::try_from(options.connections + options.idle).expect("a count of sockets");
    let limit = sys::raise_descriptor_limit().context("reading the descriptor limit")?;
    ensure!(
        sockets + DESCRIPTORS_SPARE <= limit,
        "{sockets} connections need {} descriptors, the limit is {limit}; raise `ulimit -Hn`",
        sockets + DESCRIPTORS_SPARE,
    );
    let addr = resolve(&options.addr)?;
    let host = options.host.as_deref().unwrap_or(&options.addr);
    let requests = Requests::new(plan::read_paths(options)?, host, options.close)?;
    let picker = match options.in_order {
        true => Picker::in_order(requests.count()),
        false => Picker::new(requests.count(), options.seed, options.zipf),
    };
    let schedule = Schedule::new(options);
    let tally = Client::new(options, addr, &requests, picker, schedule)?.run()?;
    if options.json {
        println!("{}", report::json(&tally));
    } else {
        print!("{}", report::table(&tally));
    }
    Ok(tally.errors_total() == 0)
}

/// Refuses option values that would mean no load or an unbounded one.
fn check(options: &Options) -> Result<()> {
    ensure!(options.connections > 0, "--connections 0: at least 1 is needed");
    ensure!(
        (1..=PIPELINE_MAX).contains(&options.pipeline),
        "--pipeline {}: 1 to {PIPELINE_MAX}",
        options.pipeline
    );
    ensure!(options.rate != Some(0), "--rate 0: leave it out for the closed loop");
    if let Some(duration) = options.duration {
        ensure!(
            duration > 0.0 && duration <= DURATION_S_MAX,
            "--duration {duration}: above 0, at most {DURATION_S_MAX} seconds"
        );
    }
    if let Some(zipf) = options.zipf {
        ensure!((0.0..=10.0).contains(&zipf), "--zipf {zipf}: 0 to 10");
    }
    ensure!(
        options.timeout > 0.0 && options.timeout <= DURATION_S_MAX,
        "--timeout {}: above 0, at most {DURATION_S_MAX} seconds",
        options.timeout
    );
    if options.path.is_empty() && options.paths.is_none() {
        bail!("nothing to request: give --path or --paths");
    }
    Ok(())
}

fn resolve(addr: &str) -> Result<SocketAddr> {
    addr.to_socket_addrs()
        .with_context(|| format!("--addr {addr}: expected HOST:PORT"))?
        .next()
        .with_context(|| format!("--addr {addr}: no address found"))
}

/// Batches above this do not fit a default send buffer together with their answers' heads.
const PIPELINE_MAX: usize = 1024;
/// An hour: a longer run is a mistyped unit.
const DURATION_S_MAX: f64 = 3600.0;
/// Descriptors for epoll, standard streams and the file that --verify reads.
const DESCRIPTORS_SPARE: u64 = 16;
