//! Asks the servers in turn and collects one row per run.
//!
//! Input: the selected cases and transports.   Output: rows in the order of the runs.
//! Owns: nothing that outlives a run.   Thread: the only one, which is the client too.
//! Invariants: server CPU time is read right before and after a run that nothing else loads; the
//! order is A B A B ..., so that a slow drift of the machine falls on both; in a round both get the
//! same choices from the same place on.
//! Not here: what the rows mean (`report`).

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use crate::cases::{Case, Question};
use crate::client::{Client, Expected, Source};
use crate::server::{Kind, Peer};
use crate::sys;
use crate::words::Words;
use crate::workload::Workload;

/// Everything a run needs.
#[derive(Debug)]
pub struct Bench<'a> {
    /// In the order of their runs.
    pub peers: &'a [Peer],
    /// What they are asked.
    pub workload: &'a Workload,
    /// Rounds of each case.
    pub rounds: usize,
    /// Length of a run.
    pub seconds: f64,
    /// Connections of the pipelined cases.
    pub connections: usize,
    /// Requests in flight on each.
    pub pipeline: usize,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Row {
    /// `unix` or `tcp`.
    pub transport: &'static str,
    /// Name of the case.
    pub case: &'static str,
    /// Which server.
    pub kind: Kind,
    /// Counted from 1.
    pub round: usize,
    /// Requests answered.
    pub replies: u64,
    /// Length of the run.
    pub seconds: f64,
    /// CPU time of the server.
    pub server_cpu_s: f64,
    /// CPU time of the client.
    pub client_cpu_s: f64,
    /// p50, p99, p99.9, max.
    pub latency_us: [f64; 4],
}

impl Row {
    /// Requests answered in a second.
    pub fn rate(&self) -> f64 {
        self.replies as f64 / self.seconds
    }

    /// Microseconds of server CPU per request.
    pub fn cpu_us(&self) -> f64 {
        self.server_cpu_s * 1e6 / self.replies as f64
    }

    /// Microseconds of client CPU per request.
    pub fn client_cpu_us(&self) -> f64 {
        self.client_cpu_s * 1e6 / self.replies as f64
    }

    /// Cores that the server used.
    pub fn server_share(&self) -> f64 {
        self.server_cpu_s / self.seconds
    }

    /// Share of its core that the client used.
    pub fn client_share(&self) -> f64 {
        self.client_cpu_s / self.seconds
    }
}

impl Bench<'_> {
    /// Runs everything selected.
    pub fn run(&self, cases: &[Case], transports: &[&'static str]) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for transport in transports {
            for case in cases {
                for round in 0..=self.rounds {
                    for peer in self.peers {
                        let row =
                            self.measure(case, transport, peer, round).with_context(|| {
                                format!(
                                    "{}, case {} over {transport}; the server said: {}",
                                    peer.kind.name(),
                                    case.name,
                                    peer.server.last_words()
                                )
                            })?;
                        eprintln!(
                            "{transport} {} round {round}: {} {:.0}/s, server {:.3} us, client \
                             {:.3} us",
                            case.name,
                            peer.kind.name(),
                            row.rate(),
                            row.cpu_us(),
                            row.client_cpu_us()
                        );
                        // Round 0 is the warm-up.
                        if round > 0 {
                            rows.push(row);
                        }
                    }
                }
            }
        }
        Ok(rows)
    }

    fn measure(
        &self,
        case: &Case,
        transport: &'static str,
        peer: &Peer,
        round: usize,
    ) -> Result<Row> {
        ensure!(!sys::is_stopped(), "stopped by a signal");
        let seconds = if round == 0 { self.seconds.min(WARM_UP_S_MAX) } else { self.seconds };
        let (connections, pipeline) = match case.unpipelined {
            Some(connections) => (connections, 1),
            None => (self.connections, self.pipeline),
        };
        let mut client = Client::connect(peer.address(transport), connections, pipeline)?;
        let mut traffic = Traffic {
            words: &peer.words,
            workload: self.workload,
            question: case.question,
            at: round * ROUND_STEP,
        };
        let expected = match case.question {
            Question::Hit => Expected::NoError,
            Question::Newest => Expected::Names,
            Question::Count => Expected::Integer,
        };
        thread::sleep(SETTLE_TIME);
        let before = peer.server.cpu_seconds()?;
        let figures = client.run(&mut traffic, expected, Duration::from_secs_f64(seconds))?;
        let server_cpu_s = peer.server.cpu_seconds()? - before;
        Ok(Row {
            transport,
            case: case.name,
            kind: peer.kind,
            round,
            replies: figures.replies,
            seconds: figures.seconds,
            server_cpu_s,
            client_cpu_s: figures.cpu_seconds,
            latency_us: figures.latency_us,
        })
    }
}

/// The endless traffic of a case.
struct Traffic<'a> {
    words: &'a Words,
    workload: &'a Workload,
    question: Question,
    /// The next choice.
    at: usize,
}

impl Source for Traffic<'_> {
    fn fill(&mut self, out: &mut Vec<u8>, count: usize) -> usize {
        let (words, workload) = (self.words, self.workload);
        match self.question {
            Question::Hit => words.push_hits(out, workload, self.at, count, now_ms()),
            Question::Newest => words.push_questions(out, self.at, count),
            Question::Count => words.push_counts(out, count),
        }
        self.at += count;
        count
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("a clock before 1970 would fail the first request");
    since.as_secs() * 1000 + u64::from(since.subsec_millis())
}

/// Choices between the beginnings of two rounds: a number without a factor in common with 2.
const ROUND_STEP: usize = 123_457;
/// Long enough for the first connections and a large part of the urls.
const WARM_UP_S_MAX: f64 = 0.5;
/// Between runs: connections of the last one are closed, delayed work is done.
const SETTLE_TIME: Duration = Duration::from_millis(50);
