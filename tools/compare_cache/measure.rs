//! Runs the load program against the servers in turn and collects one row per run.
//!
//! Input: the selected cases.   Output: the rows, in the order of the runs.
//! Owns: the caches of one round.   Thread: the only one; the load program is a child.
//! Invariants: server CPU time is read right before and after a run that nothing else loads; the
//! order is A B A B ..., so that a slow drift of the machine falls on all; a cache is cold because
//! its process and its directory are new, and the origin's log has to agree: it is asked once for
//! each miss, and not at all for a hit.
//! Not here: what the rows mean (`report`).

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cases::Selection;
use crate::document::median;
use crate::origin::{BIG_BYTES, BIG_PATH, Objects, Origin, SMALL_BYTES};
use crate::process::Server;
use crate::run::{number, output, whole};
use crate::server::{self, HOST};
use crate::sys;

/// Everything a run needs.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The nginx binary.
    pub nginx: &'a Path,
    /// The peerage binary.
    pub peerage: &'a Path,
    /// The load program.
    pub load: PathBuf,
    /// Where caches are made.
    pub workspace: &'a Path,
    /// What there is.
    pub objects: &'a Objects,
    /// Who has it.
    pub origin: &'a Origin,
    /// nginx with the objects as files.
    pub files: &'a Server,
    /// Core of the caches.
    pub server_cpu: usize,
    /// Core of the load program.
    pub client_cpu: usize,
    /// Rounds of each case.
    pub rounds: usize,
    /// Length of a run of hits.
    pub seconds: f64,
    /// Clients of the crowd.
    pub clients: usize,
    /// As short as possible.
    pub smoke: bool,
    /// How many pairs of caches there were.
    pub started: Cell<usize>,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Row {
    /// Name of the case.
    pub case: &'static str,
    /// Name of the server.
    pub server: &'static str,
    /// Requests per second of the open loop, `None` for the closed loop.
    pub rate: Option<u64>,
    /// Counted from 1.
    pub round: usize,
    /// Correct answers.
    pub answers: u64,
    /// Failed requests, and what else was not as it has to be.
    pub errors: u64,
    /// Length of the run.
    pub seconds: f64,
    /// Correct answers per second.
    pub rps: f64,
    /// Body bytes.
    pub bytes: u64,
    /// What the origin was asked for meanwhile.
    pub fetches: u64,
    /// CPU time of the server.
    pub server_cpu_s: f64,
    /// CPU time of the load program.
    pub client_cpu_s: f64,
    /// Whole answers: p50, p99, p99.9, max.
    pub latency_us: [f64; 4],
    /// First bytes: p50, p99.
    pub first_us: [f64; 2],
}

impl Row {
    /// Microseconds of server CPU per correct answer.
    pub fn cpu_us(&self) -> f64 {
        if self.answers == 0 { f64::NAN } else { self.server_cpu_s * 1e6 / self.answers as f64 }
    }
}

/// What one run of the load does.
#[derive(Debug)]
struct Job<'a> {
    case: &'static str,
    round: usize,
    paths: Paths<'a>,
    connections: usize,
    body_bytes: usize,
    /// How many requests; else `--seconds`.
    requests: Option<usize>,
    rate: Option<u64>,
    /// How often the origin may be asked, if that is known before.
    fetches: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Paths<'a> {
    /// Of this file, one after the other.
    InOrder(&'a Path),
    /// Of this file, at random.
    Random(&'a Path),
    /// This one.
    One(&'a str),
}

/// The two caches of a round.
struct Round {
    caches: [Server; 2],
    dir: PathBuf,
}

impl Round {
    /// Both caches: whoever is first in one round is second in the next.
    fn in_turn(&self, round: usize) -> impl Iterator<Item = &Server> {
        let [nginx, peerage] = &self.caches;
        if round % 2 == 1 { [nginx, peerage].into_iter() } else { [peerage, nginx].into_iter() }
    }
}

impl Bench<'_> {
    /// Runs everything selected.
    pub fn run(&self, selection: Selection) -> Result<Vec<Row>> {
        self.verify()?;
        let mut rows = Vec::new();
        if selection.miss {
            for round in 1..=self.rounds {
                self.misses_and_hits(round, selection.hit, &mut rows)?;
            }
        }
        if selection.open {
            let rate = open_rate(&rows);
            let rounds = if self.smoke { 1 } else { self.rounds.clamp(3, OPEN_ROUNDS_MAX) };
            for round in 1..=rounds {
                let caches = self.start()?;
                for cache in caches.in_turn(round) {
                    self.touch_memory()?;
                    let job = Job { rate: Some(rate), ..self.misses("miss-open", round) };
                    self.measure(cache, &job, &mut rows)?;
                }
                end(caches)?;
            }
        }
        if selection.crowd {
            for round in 1..=self.rounds {
                self.crowd(round, &mut rows)?;
            }
        }
        Ok(rows)
    }

    /// Fresh caches that know one object of each directory, so that connections to the origin and
    /// directories are there.
    fn start(&self) -> Result<Round> {
        let number = self.started.replace(self.started.get() + 1);
        let dir = self.workspace.join(format!("caches-{number}"));
        fs::create_dir(&dir)?;
        let (nginx, peerage) = (dir.join("nginx"), dir.join("peerage"));
        let (port, cpu) = (self.origin.port(), self.server_cpu);
        let caches = [
            server::start_nginx(self.nginx, &nginx, port, cpu)?,
            server::start_peerage(self.peerage, &peerage, port, cpu)?,
        ];
        for cache in &caches {
            let job = Job {
                paths: Paths::InOrder(&self.objects.first),
                requests: Some(self.objects.first_count),
                fetches: Some(self.objects.first_count),
                ..self.misses("warm-up", 0)
            };
            self.measure(cache, &job, &mut Vec::new())?;
        }
        Ok(Round { caches, dir })
    }

    fn misses(&self, case: &'static str, round: usize) -> Job<'_> {
        Job {
            case,
            round,
            paths: Paths::InOrder(&self.objects.all),
            connections: CONNECTIONS,
            body_bytes: SMALL_BYTES,
            requests: Some(self.objects.count),
            rate: None,
            fetches: Some(self.objects.count),
        }
    }

    /// Has the memory there that new files will take: a virtual machine gives back what is free,
    /// and to get it again costs more than to write to it, of a miss up to a half.
    fn touch_memory(&self) -> Result<()> {
        const MIB: usize = 1 << 20;
        let path = self.workspace.join("memory");
        let (mut file, chunk) = (File::create(&path)?, vec![1; MIB]);
        for _ in 0..64 + 4 * self.objects.count * SMALL_BYTES / MIB {
            file.write_all(&chunk)?;
        }
        drop(file);
        Ok(fs::remove_file(&path)?)
    }

    fn misses_and_hits(&self, round: usize, hits: bool, rows: &mut Vec<Row>) -> Result<()> {
        let caches = self.start()?;
        for cache in caches.in_turn(round) {
            self.touch_memory()?;
            self.measure(cache, &self.misses("miss", round), rows)?;
        }
        if hits {
            // Write-back of what was stored would take time from the hits.
            sys::sync_filesystem(&File::open(&caches.dir)?).context("syncfs")?;
            let all = || caches.caches.iter().chain([self.files]);
            for (case, paths) in [
                ("hit-one", Paths::One("/o/d000/first.jpg")),
                ("hit-many", Paths::Random(&self.objects.again)),
            ] {
                let job = |case| Job {
                    paths,
                    requests: None,
                    fetches: Some(0),
                    ..self.misses(case, round)
                };
                if case == "hit-many" {
                    for server in all() {
                        let warm_up = Job {
                            paths: Paths::InOrder(&self.objects.again),
                            requests: Some(self.objects.again_count),
                            ..job("warm-up")
                        };
                        self.measure(server, &warm_up, &mut Vec::new())?;
                    }
                }
                for server in all() {
                    self.measure(server, &job(case), rows)?;
                }
            }
        }
        end(caches)
    }

    fn crowd(&self, round: usize, rows: &mut Vec<Row>) -> Result<()> {
        let caches = self.start()?;
        for cache in &caches.caches {
            // Whatever nginx does: how often it asks is a result, not a fault.
            let once = (cache.name == "peerage").then_some(1);
            for (case, fetches) in [("crowd-cold", once), ("crowd-warm", Some(0))] {
                let job = Job {
                    paths: Paths::One(BIG_PATH),
                    connections: self.clients,
                    body_bytes: BIG_BYTES,
                    requests: Some(self.clients),
                    fetches,
                    ..self.misses(case, round)
                };
                self.measure(cache, &job, rows)?;
            }
        }
        end(caches)
    }

    /// Compares each server's answers with the files, cold and again, so that a wrong answer cannot
    /// count as fast.
    fn verify(&self) -> Result<()> {
        let caches = self.start()?;
        for server in caches.caches.iter().chain([self.files]) {
            for paths in [Paths::InOrder(&self.objects.again), Paths::One(BIG_PATH)] {
                for again in [false, true] {
                    let count = if matches!(paths, Paths::One(_)) { 4 } else { VERIFIED };
                    let mut command = self.command(server, paths, 4);
                    command.args(["--body", "read", "--verify", "--requests"]);
                    command.arg(count.min(self.objects.again_count).to_string());
                    command.arg("--root").arg(&self.objects.root);
                    let line = output(command)?;
                    ensure!(
                        number(&line, "errors")? == 0.0,
                        "{} answers {paths:?} wrongly (again: {again}); load said {line}; the \
                         server said: {}",
                        server.name,
                        server.last_words()
                    );
                }
            }
            eprintln!("verified {}", server.name);
        }
        end(caches)
    }

    fn measure(&self, server: &Server, job: &Job<'_>, rows: &mut Vec<Row>) -> Result<()> {
        ensure!(!sys::is_stopped(), "stopped by a signal");
        let mut command = self.command(server, job.paths, job.connections);
        command.args(["--body", "drop", "--body-bytes", &job.body_bytes.to_string()]);
        command.args(["--timeout", REQUEST_TIME_MAX_S]);
        match job.requests {
            Some(count) => command.args(["--requests", &count.to_string()]),
            None => command.args(["--duration", &self.seconds.to_string()]),
        };
        if let Some(rate) = job.rate {
            command.args(["--duration", REQUEST_TIME_MAX_S, "--rate", &rate.to_string()]);
        }
        let fetches_before = self.origin.requests()?;
        thread::sleep(SETTLE_TIME);
        let before = server.cpu_seconds()?;
        let line = output(command)?;
        let fetches = self.origin.requests()? - fetches_before;
        let server_cpu_s = cpu_at_rest(server)? - before;
        let row = row(server.name, job, fetches, server_cpu_s, &line)?;
        eprintln!(
            "{} round {}: {} {:.2} us/request, {:.0} requests/s, first byte {:.0} us, {:.3} s, \
             {fetches} fetches, {} errors",
            row.case,
            row.round,
            row.server,
            row.cpu_us(),
            row.rps,
            row.first_us[0],
            row.seconds,
            row.errors
        );
        if row.errors > 0 {
            eprintln!("load said {line}; {} said: {}", server.name, server.last_words());
        }
        ensure!(row.errors == 0 || row.round > 0, "the warm-up of {} failed", server.name);
        rows.push(row);
        Ok(())
    }

    fn command(&self, server: &Server, paths: Paths<'_>, connections: usize) -> Command {
        let mut command = Command::new(&self.load);
        command.arg("--addr").arg(server.addr.to_string());
        command.args(["--host", HOST, "--json"]);
        match paths {
            Paths::InOrder(file) => command.arg("--in-order").arg("--paths").arg(file),
            Paths::Random(file) => command.arg("--paths").arg(file),
            Paths::One(path) => command.args(["--path", path]),
        };
        command.arg("-c").arg(connections.to_string());
        command.arg("--cpu").arg(self.client_cpu.to_string());
        command
    }
}

fn row(
    server: &'static str,
    job: &Job<'_>,
    fetches: u64,
    server_cpu_s: f64,
    line: &str,
) -> Result<Row> {
    let (answers, bytes) = (whole(line, "answers")?, whole(line, "bytes")?);
    let mut errors = whole(line, "errors")?;
    let body_bytes = u64::try_from(job.body_bytes)?;
    errors += u64::from(bytes != answers * body_bytes);
    if let Some(count) = job.requests {
        errors += u64::try_from(count)?.abs_diff(answers);
    }
    if let Some(count) = job.fetches {
        errors += u64::try_from(count)?.abs_diff(fetches);
    }
    Ok(Row {
        case: job.case,
        server,
        rate: job.rate,
        round: job.round,
        answers,
        errors,
        seconds: number(line, "seconds")?,
        rps: number(line, "rps")?,
        bytes,
        fetches,
        server_cpu_s,
        client_cpu_s: number(line, "client_cpu_s")?,
        latency_us: [
            number(line, "p50_us")?,
            number(line, "p99_us")?,
            number(line, "p999_us")?,
            number(line, "max_us")?,
        ],
        first_us: [number(line, "first_p50_us")?, number(line, "first_p99_us")?],
    })
}

/// CPU time once the server does nothing more: what was answered may still have to be stored, and
/// that is work of the run.
fn cpu_at_rest(server: &Server) -> Result<f64> {
    let mut before = server.cpu_seconds()?;
    for _ in 0..RESTS_MAX {
        thread::sleep(REST_TIME);
        let now = server.cpu_seconds()?;
        if now <= before {
            return Ok(now);
        }
        before = now;
    }
    bail!("{} does not come to rest after a run; it said: {}", server.name, server.last_words())
}

/// Ends both. Their files stay until the whole run is over: for five minutes ext4 gives no inode
/// that was removed to a new file, and looks at each of them for every file that is made, which
/// took three times as long as all the rest of a miss.
fn end(round: Round) -> Result<()> {
    let Round { caches, dir } = round;
    drop(caches);
    sys::sync_filesystem(&File::open(&dir)?).context("syncfs")
}

/// 70 % of the slower cache's median throughput of misses.
fn open_rate(rows: &[Row]) -> u64 {
    let rps = |server: &str| {
        let rows = rows.iter().filter(|row| row.case == "miss" && row.server == server);
        median(rows.map(|row| row.rps).collect())
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, rounded")]
    let rate = (rps("nginx").min(rps("peerage")) * OPEN_SHARE) as u64;
    rate.max(1)
}

/// Connections of the load, but for the crowd.
pub const CONNECTIONS: usize = 64;
/// Share of the slower cache's maximum at which latency is measured.
const OPEN_SHARE: f64 = 0.7;
/// More rounds than this do not sharpen a latency.
const OPEN_ROUNDS_MAX: usize = 5;
/// Objects whose bytes are compared with the files.
const VERIFIED: usize = 2_000;
/// The last of a crowd waits for 10 GiB.
const REQUEST_TIME_MAX_S: &str = "120";
/// A server that uses no CPU time for this long is at rest.
const REST_TIME: Duration = Duration::from_millis(100);
const RESTS_MAX: usize = 200;
/// Between runs: connections of the last one are closed, delayed work is done.
const SETTLE_TIME: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn job(requests: Option<usize>, fetches: Option<usize>) -> Job<'static> {
        Job {
            case: "miss",
            round: 1,
            paths: Paths::One("/"),
            connections: 1,
            body_bytes: 10,
            requests,
            rate: None,
            fetches,
        }
    }

    fn line(answers: u64, errors: u64, bytes: u64) -> String {
        format!(
            "{{\"errors\":{errors},\"answers\":{answers},\"seconds\":1,\"rps\":3,\
             \"bytes\":{bytes},\"p50_us\":1,\"p99_us\":2,\"p999_us\":3,\"max_us\":4,\
             \"first_p50_us\":1,\"first_p99_us\":2,\"client_cpu_s\":1}}"
        )
    }

    fn errors_of(job: &Job<'_>, fetches: u64, line: &str) -> u64 {
        row("peerage", job, fetches, 0.5, line).expect("all figures are there").errors
    }

    #[test]
    fn whatever_is_not_as_it_has_to_be_is_an_error() {
        let misses = job(Some(3), Some(3));
        assert_eq!(errors_of(&misses, 3, &line(3, 0, 30)), 0);
        // A failed request is one error, and one answer too few.
        assert_eq!(errors_of(&misses, 3, &line(2, 1, 20)), 2);
        // A body was short.
        assert_eq!(errors_of(&misses, 3, &line(3, 0, 29)), 1);
        // One miss was none.
        assert_eq!(errors_of(&misses, 2, &line(3, 0, 30)), 1);
        // Two hits were none.
        assert_eq!(errors_of(&job(None, Some(0)), 2, &line(9, 0, 90)), 2);
        assert_eq!(errors_of(&job(None, None), 2, &line(9, 0, 90)), 0);
    }

    #[test]
    fn the_open_loop_takes_its_rate_from_the_slower_one() {
        let row = |server, rps: f64| {
            let text = line(3, 0, 30).replace("\"rps\":3", &format!("\"rps\":{rps}"));
            row(server, &job(Some(3), Some(3)), 3, 0.5, &text).expect("all figures are there")
        };
        let rows = [row("nginx", 1000.0), row("peerage", 2000.0), row("nginx", 1200.0)];
        assert_eq!(open_rate(&rows), 770);
    }
}
