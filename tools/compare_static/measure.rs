//! Runs the load program against the servers in turn and collects one row per run.
//!
//! Input: the selected cases.   Output: `Results`.
//! Owns: nothing that outlives a run.   Thread: the only one; the load program is a child.
//! Invariants: server CPU time is read right before and after a run that nothing else loads; the
//! order is A B A B ..., so that a slow drift of the machine falls on both.
//! Not here: what the rows mean (`report`).

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cases::{Case, STEADY, STEADY_RATE, Selection, Target};
use crate::document::median;
use crate::process::Server;
use crate::run::{number, output, whole};
use crate::sys;
use crate::tree::{HOST, Tree};

/// Everything a run needs.
#[derive(Debug)]
pub struct Bench<'a> {
    /// nginx and peerage, in the order of their runs.
    pub servers: [&'a Server; 2],
    /// What they serve.
    pub tree: &'a Tree,
    /// The load program.
    pub load: PathBuf,
    /// Its core.
    pub client_cpu: usize,
    /// Rounds of the closed loop.
    pub rounds: usize,
    /// Length of a run.
    pub seconds: f64,
    /// As short as possible.
    pub smoke: bool,
}

/// How the load program treats bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Copies and sums them.
    Read,
    /// Has the kernel discard them.
    Drop,
}

impl Body {
    /// Value of the option and name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Drop => "drop",
        }
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct Row {
    /// Name of the case.
    pub case: &'static str,
    /// Name of the server.
    pub server: &'static str,
    /// How bodies were treated.
    pub body: Body,
    /// Requests per second of the open loop, `None` for the closed loop.
    pub rate: Option<u64>,
    /// Counted from 1.
    pub round: usize,
    /// Correct answers.
    pub answers: u64,
    /// Failed requests.
    pub errors: u64,
    /// Length of the run.
    pub seconds: f64,
    /// Correct answers per second.
    pub rps: f64,
    /// Body bytes per second.
    pub bytes_per_s: f64,
    /// CPU time of the server.
    pub server_cpu_s: f64,
    /// CPU time of the load program.
    pub client_cpu_s: f64,
    /// p50, p99, p99.9, max.
    pub latency_us: [f64; 4],
}

impl Row {
    /// Microseconds of server CPU per correct answer.
    pub fn cpu_us(&self) -> f64 {
        if self.answers == 0 { f64::NAN } else { self.server_cpu_s * 1e6 / self.answers as f64 }
    }
}

/// All runs in order.
#[derive(Debug)]
pub struct Results {
    /// The cases of the closed loop.
    pub cases: Vec<Case>,
    /// The runs.
    pub rows: Vec<Row>,
}

impl Bench<'_> {
    /// Runs everything selected.
    pub fn run(&self, selection: &Selection) -> Result<Results> {
        let mut results = Results { cases: selection.cases.clone(), rows: Vec::new() };
        let steady = selection.steady.then_some(STEADY);
        for case in selection.cases.iter().chain(&steady) {
            for server in self.servers {
                self.verify(case, server)?;
            }
        }
        for case in &selection.cases {
            for body in [Body::Drop, Body::Read] {
                self.alternate(case, body, None, self.rounds, &mut results)?;
            }
        }
        let rounds = if self.smoke { 1 } else { self.rounds.clamp(3, OPEN_ROUNDS_MAX) };
        for case in selection.cases.iter().filter(|case| case.open_loop) {
            let rate = open_rate(&results, case);
            self.alternate(case, Body::Read, Some(rate), rounds, &mut results)?;
        }
        if steady.is_some() {
            let rate = Some(STEADY_RATE);
            self.alternate(&STEADY, Body::Read, rate, self.rounds, &mut results)?;
        }
        Ok(results)
    }

    /// Compares a server's answers with the files, so that a wrong answer cannot count as fast.
    fn verify(&self, case: &Case, server: &Server) -> Result<()> {
        let requests = if self.smoke { "64" } else { "1000" };
        for body in [Body::Read, Body::Drop] {
            let mut command = self.command(case, body, server);
            command.args(["--requests", requests, "--duration", "60", "--verify"]);
            command.arg("--root").arg(&self.tree.host_dir);
            let line = output(command)?;
            ensure!(
                number(&line, "errors")? == 0.0,
                "{} answers case {} wrongly; load said {line}; the server said: {}",
                server.name,
                case.name,
                server.last_words()
            );
        }
        eprintln!("verified {} {}", case.name, server.name);
        Ok(())
    }

    /// One warm-up per server, then the rounds.
    fn alternate(
        &self,
        case: &Case,
        body: Body,
        rate: Option<u64>,
        rounds: usize,
        results: &mut Results,
    ) -> Result<()> {
        for server in self.servers {
            self.measure(case, body, rate, server, 0)?;
        }
        for round in 1..=rounds {
            for server in self.servers {
                let row = self.measure(case, body, rate, server, round)?;
                eprintln!(
                    "{} {} {} round {round}: {} {:.2} us/request, {:.0} requests/s, {} errors",
                    case.name,
                    body.name(),
                    rate.map_or_else(|| "closed".to_owned(), |rate| format!("{rate}/s")),
                    row.server,
                    row.cpu_us(),
                    row.rps,
                    row.errors
                );
                results.rows.push(row);
            }
        }
        Ok(())
    }

    /// One run; round 0 is the warm-up.
    fn measure(
        &self,
        case: &Case,
        body: Body,
        rate: Option<u64>,
        server: &Server,
        round: usize,
    ) -> Result<Row> {
        ensure!(!sys::is_stopped(), "stopped by a signal");
        let seconds = match round {
            0 if self.smoke => SMOKE_WARM_UP_S,
            0 => self.seconds.min(WARM_UP_S_MAX),
            _ => self.seconds,
        };
        let mut command = self.command(case, body, server);
        command.arg("--duration").arg(seconds.to_string());
        if let Some(rate) = rate {
            command.arg("--rate").arg(rate.to_string());
        }
        thread::sleep(SETTLE_TIME);
        let before = server.cpu_seconds()?;
        let line = output(command)?;
        // The server still has to close the connections of this run.
        thread::sleep(SETTLE_TIME);
        let server_cpu_s = server.cpu_seconds()? - before;
        Ok(Row {
            case: case.name,
            server: server.name,
            body,
            rate,
            round,
            answers: whole(&line, "answers")?,
            errors: whole(&line, "errors")?,
            seconds: number(&line, "seconds")?,
            rps: number(&line, "rps")?,
            bytes_per_s: number(&line, "bytes_per_s")?,
            server_cpu_s,
            client_cpu_s: number(&line, "client_cpu_s")?,
            latency_us: [
                number(&line, "p50_us")?,
                number(&line, "p99_us")?,
                number(&line, "p999_us")?,
                number(&line, "max_us")?,
            ],
        })
    }

    /// The load program for a case, without the length of the run.
    fn command(&self, case: &Case, body: Body, server: &Server) -> Command {
        let mut command = Command::new(&self.load);
        command.arg("--addr").arg(server.addr.to_string());
        command.args(["--host", HOST, "--json", "--body", body.name()]);
        match case.target {
            Target::File(path) => command.args(["--path", path]),
            Target::Mix => command.arg("--paths").arg(&self.tree.paths),
        };
        command.arg("-c").arg(case.connections.to_string());
        command.arg("--cpu").arg(self.client_cpu.to_string());
        command.args(case.flags);
        command
    }
}

/// 70 % of the slower server's median throughput in the closed loop, bodies read.
fn open_rate(results: &Results, case: &Case) -> u64 {
    let rps = |server: &str| {
        let rows = results.rows.iter().filter(|row| {
            row.case == case.name
                && row.server == server
                && row.body == Body::Read
                && row.rate.is_none()
        });
        median(rows.map(|row| row.rps).collect())
    };
    let slower = rps("nginx").min(rps("peerage"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, rounded")]
    let rate = (slower * OPEN_SHARE) as u64;
    rate.max(1)
}

/// Share of the slower server's maximum at which latency is measured.
const OPEN_SHARE: f64 = 0.7;
/// More rounds than this do not sharpen a latency.
const OPEN_ROUNDS_MAX: usize = 5;
/// Long enough to touch every file of the tree.
const WARM_UP_S_MAX: f64 = 1.0;
const SMOKE_WARM_UP_S: f64 = 0.1;
/// Between runs: connections of the last one are closed, delayed work is done.
const SETTLE_TIME: Duration = Duration::from_millis(50);
