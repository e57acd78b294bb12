//! What a run found, as a table or as one line of JSON.
//!
//! Input: `count_answer`, `count_error` per request.   Output: text.
//! Owns: one histogram of fixed size.   Thread: the only one.
//! Invariants: latencies are those of correct answers only.

use std::fmt::Write as _;
use std::io;

use hdrhistogram::Histogram;

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No connection.
    Connect,
    /// The status was not 200.
    Status,
    /// The connection ended before the whole answer.
    Short,
    /// No whole answer in time, or (open loop) never sent for want of a free connection.
    Timeout,
    /// Length or bytes differ from the file.
    Verify,
    /// Not a response of known length, or bytes after its end.
    Protocol,
}

/// Names of the kinds, in the order of their declaration.
const KINDS: [(Kind, &str); 6] = [
    (Kind::Connect, "connect"),
    (Kind::Status, "status"),
    (Kind::Short, "short"),
    (Kind::Timeout, "timeout"),
    (Kind::Verify, "verify"),
    (Kind::Protocol, "protocol"),
];

/// Counters of one run.
#[derive(Debug)]
pub struct Tally {
    /// Latencies of correct answers, in nanoseconds.
    latencies: Histogram<u64>,
    /// Times to the first byte of whatever was answered, in nanoseconds.
    first_bytes: Histogram<u64>,
    answers: u64,
    errors: [u64; KINDS.len()],
    /// Reason of the first refused connect.
    note: Option<String>,
    /// Body bytes received.
    pub bytes: u64,
    /// Sum of the body bytes that reached user space.
    pub digest: u64,
    /// Connections opened during the run.
    pub connects: u64,
    /// Connections of `--idle`, at the start.
    pub idle_asked: usize,
    /// Of these, open at the end.
    pub idle_open: usize,
    /// Length of the run.
    pub seconds: f64,
    /// CPU time of this program during the run.
    pub cpu_seconds: f64,
}

impl Tally {
    /// All zero.
    pub fn new() -> Self {
        let histogram = || {
            let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3);
            histogram.expect("the bounds are constants and valid")
        };
        Self {
            latencies: histogram(),
            first_bytes: histogram(),
            answers: 0,
            errors: [0; KINDS.len()],
            note: None,
            bytes: 0,
            digest: 0,
            connects: 0,
            idle_asked: 0,
            idle_open: 0,
            seconds: 0.0,
            cpu_seconds: 0.0,
        }
    }

    /// One correct answer.
    pub fn count_answer(&mut self, latency_ns: u64) {
        self.answers += 1;
        self.latencies.saturating_record(latency_ns);
    }

    /// The first byte of an answer.
    pub fn count_first_byte(&mut self, waited_ns: u64) {
        self.first_bytes.saturating_record(waited_ns);
    }

    /// `count` failed requests.
    pub fn count_error(&mut self, kind: Kind, count: usize) {
        self.errors[index(kind)] += u64::try_from(count).expect("usize is at most 64 bits");
    }

    /// Keeps the first reason for a failed connect, for the person at the terminal.
    pub fn note(&mut self, error: &io::Error) {
        self.note.get_or_insert_with(|| error.to_string());
    }

    /// Failures of one kind.
    pub fn errors(&self, kind: Kind) -> u64 {
        self.errors[index(kind)]
    }

    /// Failures of all kinds.
    pub fn errors_total(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// The latency below which the share `quantile` of the answers lies, in microseconds.
    fn latency_us(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e3
    }

    fn first_byte_us(&self, quantile: f64) -> f64 {
        self.first_bytes.value_at_quantile(quantile) as f64 / 1e3
    }

    fn per_second(&self, count: u64) -> f64 {
        if self.seconds > 0.0 { count as f64 / self.seconds } else { 0.0 }
    }
}

/// One line with every figure; names are stable, `compare_static` reads them.
pub fn json(tally: &Tally) -> String {
    let mut line = format!(
        "{{\"requests\":{},\"errors\":{}",
        tally.answers + tally.errors_total(),
        tally.errors_total()
    );
    for (kind, name) in KINDS {
        push(&mut line, format_args!(",\"err_{name}\":{}", tally.errors(kind)));
    }
    let latency = &tally.latencies;
    push(
        &mut line,
        format_args!(
            ",\"answers\":{},\"seconds\":{:.6},\"rps\":{:.1},\"bytes\":{},\"bytes_per_s\":{:.0},\
             \"p50_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1},\"max_us\":{:.1},\
             \"mean_us\":{:.1},\"first_p50_us\":{:.1},\"first_p99_us\":{:.1},\
             \"client_cpu_s\":{:.6},\"connects\":{},\"idle_open\":{},\
             \"digest\":{}}}",
            tally.answers,
            tally.seconds,
            tally.per_second(tally.answers),
            tally.bytes,
            tally.per_second(tally.bytes),
            tally.latency_us(0.5),
            tally.latency_us(0.99),
            tally.latency_us(0.999),
            latency.max() as f64 / 1e3,
            latency.mean() / 1e3,
            tally.first_byte_us(0.5),
            tally.first_byte_us(0.99),
            tally.cpu_seconds,
            tally.connects,
            tally.idle_open,
            tally.digest,
        ),
    );
    line
}

/// The same for a person.
pub fn table(tally: &Tally) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        push(&mut text, format_args!("{name:<15} {value}\n"));
    };
    row("requests", (tally.answers + tally.errors_total()).to_string());
    row("answered", tally.answers.to_string());
    let kinds: Vec<String> =
        KINDS.iter().map(|&(kind, name)| format!("{name} {}", tally.errors(kind))).collect();
    row("errors", format!("{} ({})", tally.errors_total(), kinds.join(", ")));
    if let Some(note) = &tally.note {
        row("first connect", note.clone());
    }
    row("seconds", format!("{:.3}", tally.seconds));
    row("requests/s", format!("{:.0}", tally.per_second(tally.answers)));
    row("body bytes/s", format!("{:.0}", tally.per_second(tally.bytes)));
    row("body bytes", tally.bytes.to_string());
    row("p50", format!("{:.1} us", tally.latency_us(0.5)));
    row("p99", format!("{:.1} us", tally.latency_us(0.99)));
    row("p99.9", format!("{:.1} us", tally.latency_us(0.999)));
    row("max", format!("{:.1} us", tally.latencies.max() as f64 / 1e3));
    row("first byte p50", format!("{:.1} us", tally.first_byte_us(0.5)));
    row("first byte p99", format!("{:.1} us", tally.first_byte_us(0.99)));
    row("client CPU", format!("{:.3} s", tally.cpu_seconds));
    row("connects", format!("{} during the run", tally.connects));
    if tally.idle_asked > 0 {
        row("idle", format!("{} of {} still open", tally.idle_open, tally.idle_asked));
    }
    row("digest", tally.digest.to_string());
    text
}

fn index(kind: Kind) -> usize {
    KINDS.iter().position(|&(other, _)| other == kind).expect("KINDS names every kind")
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a String does not fail");
}

/// Longer than any timeout and a drain after an overload together.
const LATENCY_NS_MAX: u64 = 4_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_counted_once() {
        let mut tally = Tally::new();
        tally.count_answer(1_000);
        tally.count_answer(3_000);
        tally.count_error(Kind::Status, 2);
        tally.seconds = 2.0;
        let line = json(&tally);
        assert!(line.starts_with("{\"requests\":4,\"errors\":2,\"err_connect\":0,"), "{line}");
        assert!(line.contains("\"err_status\":2,"), "{line}");
        assert!(line.contains("\"answers\":2,"), "{line}");
        assert!(line.contains("\"rps\":1.0,"), "{line}");
    }
}
