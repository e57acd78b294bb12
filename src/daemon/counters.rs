//! What each worker counts, and how all of it is shown.
//!
//! Owns: one padded block of numbers per worker, written by that worker only, read by control.
//! Thread: written by `http-N`, read by `control`.
//! Not here: the text format (`admin::metrics`).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::admin::metrics::{Bar, Exposition, Kind};
use crate::http::{Method, Status, Timeout};
use crate::time::Duration;

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, without a locked instruction: there is one writer.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bars of powers of two.
const BARS: usize = 32;

/// How often values fell between neighbouring powers of two.
#[derive(Debug, Default)]
pub struct Histogram {
    bars: [Counter; BARS],
    sum: Counter,
}

impl Histogram {
    /// Counts `times` values of `value` (in the smallest unit).
    pub fn record(&self, value: u64, times: u64) {
        let bar = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        self.bars[bar.min(BARS - 1)].add(times);
        self.sum.add(value.wrapping_mul(times));
    }

    /// Adds its counts to `bars`, its sum to `sum`.
    fn gather(&self, bars: &mut [u64; BARS], sum: &mut u64) {
        for (bar, counter) in bars.iter_mut().zip(&self.bars) {
            *bar += counter.value();
        }
        *sum = sum.wrapping_add(self.sum.value());
    }
}

/// Everything one worker counts.
#[derive(Debug, Default)]
#[repr(align(128))]
#[expect(missing_docs, reason = "the help texts of `expose` say what each is")]
pub struct Counters {
    /// By the hundreds digit of the status; place 0 is unused.
    pub by_class: [Counter; 6],
    /// GET, HEAD, OPTIONS, other.
    pub by_method: [Counter; 4],
    pub bytes_sent: Counter,
    pub accepts: Counter,
    pub connections: Counter,
    pub refused_connections: Counter,
    pub timeouts: [Counter; 6],
    pub refused_requests: Counter,
    pub backlog_overflows: Counter,
    pub table_hits: Counter,
    pub table_misses: Counter,
    pub table_evictions: Counter,
    pub hot_hits: Counter,
    pub table_files: Counter,
    pub page_ins: Counter,
    pub broken_bodies: Counter,
    pub send_file_calls: Counter,
    pub waits: Counter,
    pub early_submits: Counter,
    pub receive_starved: Counter,
    pub batches: Histogram,
    /// In microseconds, from the batch in which a request was read to its last byte's taking.
    pub latency: Histogram,
}

const METHODS: [&str; 4] = ["GET", "HEAD", "OPTIONS", "other"];
const TIMEOUTS: [&str; 6] = ["idle", "header", "body", "send", "send_rate", "linger"];

impl Counters {
    /// Counts a response.
    pub fn count_response(&self, method: Method, status: Status) {
        self.by_class[status.class()].add(1);
        self.by_method[method as usize].add(1);
    }

    /// Counts a connection whose time ran out.
    pub fn count_timeout(&self, timeout: Timeout) {
        self.timeouts[timeout as usize].add(1);
    }
}

/// How one plain number is shown.
type Row = (&'static str, Kind, &'static str, fn(&Counters) -> &Counter);

const ROWS: [Row; 17] = [
    ("peerage_http_sent_bytes_total", Kind::Counter, "Bytes that clients' sockets took.", |c| {
        &c.bytes_sent
    }),
    ("peerage_http_accepts_total", Kind::Counter, "Connections accepted.", |c| &c.accepts),
    ("peerage_http_connections", Kind::Gauge, "Connections open.", |c| &c.connections),
    (
        "peerage_http_refused_connections_total",
        Kind::Counter,
        "Connections closed at once: too many of one address, or no room.",
        |c| &c.refused_connections,
    ),
    (
        "peerage_http_refused_requests_total",
        Kind::Counter,
        "Requests refused for their syntax, size or framing; the connection was closed.",
        |c| &c.refused_requests,
    ),
    (
        "peerage_http_backlog_overflows_total",
        Kind::Counter,
        "Connections closed for sending too far ahead of their answers.",
        |c| &c.backlog_overflows,
    ),
    ("peerage_files_hits_total", Kind::Counter, "Requests whose file was open.", |c| &c.table_hits),
    ("peerage_files_misses_total", Kind::Counter, "Times a file had to be opened.", |c| {
        &c.table_misses
    }),
    (
        "peerage_files_evictions_total",
        Kind::Counter,
        "Files closed to make room for others in the table of open files.",
        |c| &c.table_evictions,
    ),
    (
        "peerage_files_hot_hits_total",
        Kind::Counter,
        "Requests answered from the arena of hot bodies.",
        |c| &c.hot_hits,
    ),
    ("peerage_files_open", Kind::Gauge, "Entries of the table of open files.", |c| &c.table_files),
    (
        "peerage_files_page_ins_total",
        Kind::Counter,
        "Pieces of files that were read into memory before they were sent.",
        |c| &c.page_ins,
    ),
    (
        "peerage_files_broken_bodies_total",
        Kind::Counter,
        "Connections closed because their file was truncated or written in place.",
        |c| &c.broken_bodies,
    ),
    ("peerage_http_sendfile_total", Kind::Counter, "Calls of sendfile.", |c| &c.send_file_calls),
    ("peerage_loop_waits_total", Kind::Counter, "Calls of io_uring_enter that wait.", |c| &c.waits),
    (
        "peerage_loop_early_submits_total",
        Kind::Counter,
        "Times the submission queue was full.",
        |c| &c.early_submits,
    ),
    (
        "peerage_loop_receive_starved_total",
        Kind::Counter,
        "Times no receive buffer was free.",
        |c| &c.receive_starved,
    ),
];

/// Writes the sums over all workers.
pub fn expose(workers: &[std::sync::Arc<Counters>], out: &mut Exposition) {
    let sum = |of: &dyn Fn(&Counters) -> u64| workers.iter().map(|worker| of(worker)).sum::<u64>();
    out.family("peerage_http_responses_total", Kind::Counter, "Responses by status class.");
    for class in 1..6 {
        let labels = format!("class=\"{class}xx\"");
        let count = sum(&|worker| worker.by_class[class].value());
        out.sample("peerage_http_responses_total", &labels, count);
    }
    out.family("peerage_http_requests_total", Kind::Counter, "Requests answered, by method.");
    for (place, method) in METHODS.iter().enumerate() {
        let count = sum(&|worker| worker.by_method[place].value());
        out.sample("peerage_http_requests_total", &format!("method=\"{method}\""), count);
    }
    out.family("peerage_http_timeouts_total", Kind::Counter, "Connections out of time, by kind.");
    for (place, kind) in TIMEOUTS.iter().enumerate() {
        let count = sum(&|worker| worker.timeouts[place].value());
        out.sample("peerage_http_timeouts_total", &format!("kind=\"{kind}\""), count);
    }
    for (name, kind, help, of) in ROWS {
        out.family(name, kind, help);
        out.sample(name, "", sum(&|worker| of(worker).value()));
    }
    let help = "Completions taken at once by a worker.";
    expose_histogram(workers, out, ("peerage_loop_batch_size", help, 1.0), |c| &c.batches);
    let help = "From reading a request to its last byte being taken, in seconds.";
    let micro = Duration::from_micros(1).as_secs_f64();
    expose_histogram(workers, out, ("peerage_http_latency_seconds", help, micro), |c| &c.latency);
}

fn expose_histogram(
    workers: &[std::sync::Arc<Counters>],
    out: &mut Exposition,
    (name, help, unit): (&str, &str, f64),
    of: fn(&Counters) -> &Histogram,
) {
    let (mut counts, mut sum) = ([0; BARS], 0);
    for worker in workers {
        of(worker).gather(&mut counts, &mut sum);
    }
    let bars: Vec<Bar> = (0_i32..)
        .zip(counts)
        .map(|(power, count)| Bar { bound: 2_f64.powi(power) * unit, count })
        .collect();
    out.family(name, Kind::Histogram, help);
    #[expect(clippy::cast_precision_loss, reason = "a sum for a screen")]
    let sum = sum as f64 * unit;
    out.histogram(name, &bars, sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_at_or_below_their_bound() {
        let histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 5, 1 << 40] {
            histogram.record(value, 1);
        }
        let counts: Vec<u64> = histogram.bars.iter().map(Counter::value).collect();
        assert_eq!(counts[..4], [2, 1, 2, 1]);
        assert_eq!(counts[BARS - 1], 1);
    }

    #[test]
    fn every_family_is_shown_once() {
        let mut out = Exposition::default();
        expose(&[std::sync::Arc::new(Counters::default())], &mut out);
        let text = out.into_text();
        let mut names: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count >= 18, "{text}");
    }
}
