//! Side-by-side run of nginx and peerage on the same tree, the same cores and the same load.
//!
//! Input: the command line.   Output: one Markdown document with the ratios and every raw row.
//! Owns: a temporary tree and two server processes, both gone at the end.   Thread: one; the
//! servers share one core, the load program has another.
//! Invariants: the two servers' runs alternate (A B A B ...); before a case is measured, both
//! servers' answers to it were compared byte by byte with the files.
//! Not here: generating load (`tools/load`).
//! Source: the method and the floors are those of the project's table of figures to reach: CPU time
//! of the server per request first, then throughput, then latency in the open loop at 70 % of the
//! slower server's maximum.

#![allow(clippy::print_stdout, reason = "a command line tool: without --out it prints its result")]
#![allow(clippy::disallowed_methods, reason = "a tool measures real time and has no sans-IO core")]
#![allow(unsafe_code, reason = "affinity and signals have no safe form in std")]

mod cases;
mod document;
mod measure;
mod nginx;
mod process;
mod random;
mod report;
mod run;
mod server;
mod sys;
mod tree;
mod workspace;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::measure::Bench;
use crate::tree::Tree;
use crate::workspace::Workspace;

/// Compare peerage with nginx: CPU per request, throughput and latency.
#[derive(Parser, Debug)]
#[command(name = "compare_static")]
struct Options {
    /// The peerage binary.
    #[arg(long)]
    peerage: PathBuf,
    /// The nginx binary.
    #[arg(long, default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,
    /// The load program; by default `load` beside this program.
    #[arg(long)]
    load: Option<PathBuf>,
    /// Rounds per case; the open loop runs at most as many, and at least 3.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds per run.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Run only these cases, comma separated: 1k 10k 100k 1m mix close-10k pipe16-10k
    /// mix-1000conn 120mb.
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
    /// Write the result here instead of to standard output.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Core of the servers.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// Core of the load program.
    #[arg(long, default_value_t = 1)]
    client_cpu: usize,
    /// Files of the mixed tree.
    #[arg(long, default_value_t = 20_000)]
    files: usize,
    /// Directory for the temporary tree; by default the system's.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// peerage has the files from nginx, as a cache in front of it, with a tree of its own.
    #[arg(long)]
    cached: bool,
    /// One short round on a small tree: shows that everything works, measures nothing.
    #[arg(long)]
    smoke: bool,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("compare_static: some requests failed, see the rows with errors");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("compare_static: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs everything; true if no request failed.
fn run(mut options: Options) -> Result<bool> {
    if options.smoke {
        options.rounds = 1;
        options.seconds = 0.3;
        options.files = options.files.min(SMOKE_FILES);
    }
    check(&options)?;
    sys::stop_on_signal();
    let descriptors = sys::raise_descriptor_limit().context("reading the descriptor limit")?;
    let selected = cases::select(&options.cases)?;
    let load = match &options.load {
        Some(path) => path.clone(),
        None => env::current_exe().context("finding this program")?.with_file_name("load"),
    };
    for (program, option) in
        [(&load, "--load"), (&options.peerage, "--peerage"), (&options.nginx, "--nginx")]
    {
        ensure!(program.is_file(), "{option} {}: no such program", program.display());
    }
    let dir = options.dir.clone().unwrap_or_else(env::temp_dir);
    let workspace = Workspace::new(&dir, "compare_static")?;
    eprintln!("writing {} files below {}", options.files, workspace.path().display());
    let tree = Tree::build(workspace.path(), options.files).context("writing the tree")?;

    let cpu = options.server_cpu;
    let nginx = server::start_nginx(&options.nginx, workspace.path(), &tree, cpu, descriptors)?;
    let origin = options.cached.then_some(nginx.addr);
    let peerage = server::start_peerage(&options.peerage, workspace.path(), &tree, cpu, origin)?;
    let bench = Bench {
        servers: [&nginx, &peerage],
        tree: &tree,
        load,
        client_cpu: options.client_cpu,
        rounds: options.rounds,
        seconds: options.seconds,
        smoke: options.smoke,
    };
    let results = bench.run(&selected)?;
    let text = report::markdown(&options, &tree, descriptors, &results)?;
    match &options.out {
        Some(path) => fs::write(path, text)
            .with_context(|| format!("--out {}: cannot write", path.display()))?,
        None => print!("{text}"),
    }
    Ok(results.rows.iter().all(|row| row.errors == 0))
}

/// Refuses option values that cannot give a result.
fn check(options: &Options) -> Result<()> {
    ensure!((1..=1000).contains(&options.rounds), "--rounds {}: 1 to 1000", options.rounds);
    ensure!(
        options.seconds >= 0.1 && options.seconds <= 600.0,
        "--seconds {}: 0.1 to 600",
        options.seconds
    );
    ensure!((1..=100_000).contains(&options.files), "--files {}: 1 to 100000", options.files);
    ensure!(
        options.server_cpu != options.client_cpu,
        "--server-cpu and --client-cpu are both {}; each needs a core of its own",
        options.server_cpu
    );
    Ok(())
}

/// Files of the mixed tree in a smoke run.
const SMOKE_FILES: usize = 300;
