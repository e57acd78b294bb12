//! Side-by-side run of nginx (proxy_cache) and peerage as caches of the same origin.
//!
//! Input: the command line.   Output: one Markdown document with the ratios and every raw row.
//! Owns: a temporary directory, the origin and the caches, all gone at the end.   Thread: one; the
//! caches share one core, the load program and the origin have another.
//! Invariants: the servers' runs alternate (A B A B ...); before anything is measured, both caches'
//! answers were compared byte by byte with the origin's files, cold and warm.
//! Not here: generating load (`tools/load`), serving files (`tools/compare_static`, whose modules
//! for processes and documents are used here).
//! Source: the method is that of the project's table of figures to reach; `cases` has the floors.

#![allow(clippy::print_stdout, reason = "a command line tool: without --out it prints its result")]
#![allow(clippy::disallowed_methods, reason = "a tool measures real time and has no sans-IO core")]
#![allow(unsafe_code, reason = "affinity and signals have no safe form in std")]

mod cases;
#[path = "../compare_static/document.rs"]
mod document;
mod measure;
#[path = "../compare_static/nginx.rs"]
mod nginx;
mod origin;
#[path = "../compare_static/process.rs"]
mod process;
#[path = "../compare_static/random.rs"]
mod random;
mod report;
#[path = "../compare_static/run.rs"]
mod run;
mod server;
#[path = "../compare_static/sys.rs"]
mod sys;
#[path = "../compare_static/workspace.rs"]
mod workspace;

use std::cell::Cell;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::measure::Bench;
use crate::origin::{Objects, Origin};
use crate::workspace::Workspace;

/// Compare peerage with nginx as a cache: misses, hits, and a crowd for one cold object.
#[derive(Parser, Debug)]
#[command(name = "compare_cache")]
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
    /// Seconds per run of hits.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Objects of 10 KiB, so misses per run.
    #[arg(long, default_value_t = 20_000)]
    objects: usize,
    /// Clients of the crowd.
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Run only these cases, comma separated: miss hit open crowd.
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
    /// Write the result here instead of to standard output.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Core of the caches.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// Core of the load program and the origin.
    #[arg(long, default_value_t = 1)]
    client_cpu: usize,
    /// Directory for the temporary files; by default the system's. It needs extended attributes.
    /// On ext4, let five minutes pass between two runs: it is slow where much was removed lately.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// One short round with few objects: shows that everything works, measures nothing.
    #[arg(long)]
    smoke: bool,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("compare_cache: some requests failed, see the rows with errors");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("compare_cache: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs everything; true if no request failed.
fn run(mut options: Options) -> Result<bool> {
    if options.smoke {
        options.rounds = 1;
        options.seconds = 0.3;
        options.objects = options.objects.min(SMOKE_OBJECTS);
        options.clients = options.clients.min(SMOKE_CLIENTS);
    }
    check(&options)?;
    sys::stop_on_signal();
    let descriptors = sys::raise_descriptor_limit().context("reading the descriptor limit")?;
    ensure!(
        descriptors >= server::DESCRIPTORS,
        "{} descriptors are needed, the limit is {descriptors}; raise `ulimit -Hn`",
        server::DESCRIPTORS
    );
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
    let workspace = Workspace::new(&dir, "compare_cache")?;
    let path = workspace.path();
    eprintln!("writing {} objects below {}", options.objects, path.display());
    let objects = Objects::build(path, options.objects).context("writing the objects")?;

    let origin = Origin::start(&options.nginx, path, &objects, options.client_cpu)?;
    let files_dir = path.join("files");
    let files = server::start_files(&options.nginx, &files_dir, &objects, options.server_cpu)?;
    let bench = Bench {
        nginx: &options.nginx,
        peerage: &options.peerage,
        load,
        workspace: path,
        objects: &objects,
        origin: &origin,
        files: &files,
        server_cpu: options.server_cpu,
        client_cpu: options.client_cpu,
        rounds: options.rounds,
        seconds: options.seconds,
        clients: options.clients,
        smoke: options.smoke,
        started: Cell::new(0),
    };
    let rows = bench.run(selected)?;
    let text = report::markdown(&options, &file_system(path), &objects, &rows)?;
    match &options.out {
        Some(path) => fs::write(path, text)
            .with_context(|| format!("--out {}: cannot write", path.display()))?,
        None => print!("{text}"),
    }
    Ok(rows.iter().all(|row| row.errors == 0))
}

/// The kind of file system that `path` lies on.
fn file_system(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    // Device, directory, kind, ...; of two on the same directory the later one counts.
    let above = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (directory, kind) = (words.next()?, words.next()?);
        path.starts_with(directory).then_some((directory.len(), kind))
    });
    above.max_by_key(|(length, _)| *length).map_or("unknown", |(_, kind)| kind).to_owned()
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
        (1..=1_000_000).contains(&options.objects),
        "--objects {}: 1 to 1000000",
        options.objects
    );
    // Both ends of a connection are descriptors of nginx, which has 16,000.
    ensure!((1..=5000).contains(&options.clients), "--clients {}: 1 to 5000", options.clients);
    ensure!(
        options.server_cpu != options.client_cpu,
        "--server-cpu and --client-cpu are both {}; each needs a core of its own",
        options.server_cpu
    );
    Ok(())
}

/// Objects and clients of a smoke run.
const SMOKE_OBJECTS: usize = 600;
const SMOKE_CLIENTS: usize = 50;
