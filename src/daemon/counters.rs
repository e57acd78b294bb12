//! What each worker counts, and how all of it is shown.
//!
//! Owns: one padded block of numbers per worker, written by that worker only, read by control.
//! Thread: written by `http-N`, read by `control`.
//! Not here: the text format (`admin::metrics`).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::admin::metrics::{Bar, Exposition, Kind};
use crate::http::origin::Error;
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
    /// In the order of `Method::NAMES`.
    pub by_method: [Counter; Method::NAMES.len()],
    pub bytes_sent: Counter,
    pub accepts: Counter,
    pub connections: Counter,
    pub refused_connections: Counter,
    pub timeouts: [Counter; 6],
    pub refused_requests: Counter,
    pub bodies_refused: Counter,
    pub body_memory: Counter,
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
    pub cache: CacheCounters,
    pub batches: Histogram,
    /// In microseconds, from the batch in which a request was read to its last byte's taking.
    pub latency: Histogram,
}

/// What a worker counts of hosts with an origin.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the help texts of `expose` say what each is")]
pub struct CacheCounters {
    pub hits: Counter,
    pub misses: Counter,
    pub passes: Counter,
    pub coalesced: Counter,
    pub fetches: Counter,
    pub revalidations: Counter,
    pub stale_served: Counter,
    pub stored: Counter,
    pub not_stored: Counter,
    pub head_too_long: Counter,
    pub store_behind: Counter,
    pub damaged: Counter,
    pub cut_short: Counter,
    pub loops: Counter,
    pub purges: Counter,
    pub invalidations: Counter,
    pub invalidations_late: Counter,
    pub origin_bytes: Counter,
    pub origin_refusals: Counter,
    pub hit_bytes: Counter,
    /// By `http::origin::Error::kind`.
    pub origin_errors: [Counter; Error::KINDS],
}

const TIMEOUTS: [&str; 6] = ["idle", "header", "body", "send", "send_rate", "linger"];

impl Counters {
    /// Counts a response.
    pub fn count_response(&self, method: Method, status: Status) {
        self.by_class[status.class()].add(1);
        self.by_method[method as usize].add(1);
    }

    /// Counts a response with the status of an origin.
    pub fn count_other(&self, method: Method, status: u16) {
        self.by_class[usize::from(status / 100).min(5)].add(1);
        self.by_method[method as usize].add(1);
    }

    /// Counts a connection whose time ran out.
    pub fn count_timeout(&self, timeout: Timeout) {
        self.timeouts[timeout as usize].add(1);
    }
}

/// How one plain number is shown.
type Row = (&'static str, Kind, &'static str, fn(&Counters) -> &Counter);

const ROWS: [Row; 19] = [
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
        "peerage_http_bodies_refused_total",
        Kind::Counter,
        "Requests refused since a worker had no memory for their body.",
        |c| &c.bodies_refused,
    ),
    (
        "peerage_http_body_memory_bytes",
        Kind::Gauge,
        "Memory of request bodies on their way to origins.",
        |c| &c.body_memory,
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
    for (place, method) in Method::NAMES.iter().enumerate() {
        let count = sum(&|worker| worker.by_method[place].value());
        out.sample("peerage_http_requests_total", &format!("method=\"{method}\""), count);
    }
    out.family("peerage_http_timeouts_total", Kind::Counter, "Connections out of time, by kind.");
    for (place, kind) in TIMEOUTS.iter().enumerate() {
        let count = sum(&|worker| worker.timeouts[place].value());
        out.sample("peerage_http_timeouts_total", &format!("kind=\"{kind}\""), count);
    }
    expose_cache(workers, out);
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

const CACHE_ROWS: [Row; 20] = [
    ("peerage_cache_hits_total", Kind::Counter, "Requests answered by what is stored.", |c| {
        &c.cache.hits
    }),
    ("peerage_cache_misses_total", Kind::Counter, "Requests that an origin is needed for.", |c| {
        &c.cache.misses
    }),
    ("peerage_cache_passes_total", Kind::Counter, "Requests that share no answer.", |c| {
        &c.cache.passes
    }),
    (
        "peerage_cache_coalesced_total",
        Kind::Counter,
        "Requests that were answered by the fetch of another.",
        |c| &c.cache.coalesced,
    ),
    ("peerage_cache_fetches_total", Kind::Counter, "Requests to origins.", |c| &c.cache.fetches),
    (
        "peerage_cache_revalidations_total",
        Kind::Counter,
        "Requests to origins whether what is stored still holds.",
        |c| &c.cache.revalidations,
    ),
    ("peerage_cache_stale_total", Kind::Counter, "Stale answers served.", |c| {
        &c.cache.stale_served
    }),
    ("peerage_cache_hit_bytes_total", Kind::Counter, "Bytes of stored bodies served.", |c| {
        &c.cache.hit_bytes
    }),
    ("peerage_cache_stored_total", Kind::Counter, "Answers stored.", |c| &c.cache.stored),
    (
        "peerage_cache_not_stored_total",
        Kind::Counter,
        "Answers that the store could not take; they were passed on.",
        |c| &c.cache.not_stored,
    ),
    (
        "peerage_cache_head_too_long_total",
        Kind::Counter,
        "Answers passed on only, since their head is longer than is stored.",
        |c| &c.cache.head_too_long,
    ),
    (
        "peerage_cache_store_behind_total",
        Kind::Counter,
        "Answers passed on only, since the disk was too slow.",
        |c| &c.cache.store_behind,
    ),
    (
        "peerage_cache_damaged_total",
        Kind::Counter,
        "Stored files found damaged, and fetched anew.",
        |c| &c.cache.damaged,
    ),
    (
        "peerage_cache_cut_short_total",
        Kind::Counter,
        "Responses cut short, since their origin failed in the middle.",
        |c| &c.cache.cut_short,
    ),
    (
        "peerage_cache_loops_total",
        Kind::Counter,
        "Requests refused, since they had passed this box before.",
        |c| &c.cache.loops,
    ),
    ("peerage_cache_purges_total", Kind::Counter, "Purges seen by a worker.", |c| &c.cache.purges),
    (
        "peerage_cache_invalidations_total",
        Kind::Counter,
        "URLs of which what was stored had to go, since a request changed them.",
        |c| &c.cache.invalidations,
    ),
    (
        "peerage_cache_invalidations_late_total",
        Kind::Counter,
        "Answers sent before what they made invalid was gone, since that took too long.",
        |c| &c.cache.invalidations_late,
    ),
    ("peerage_origin_bytes_total", Kind::Counter, "Bytes received from origins.", |c| {
        &c.cache.origin_bytes
    }),
    (
        "peerage_origin_refusals_total",
        Kind::Counter,
        "Requests for which no origin could be reached.",
        |c| &c.cache.origin_refusals,
    ),
];

fn expose_cache(workers: &[std::sync::Arc<Counters>], out: &mut Exposition) {
    let sum = |of: &dyn Fn(&Counters) -> u64| workers.iter().map(|worker| of(worker)).sum::<u64>();
    for (name, kind, help, of) in CACHE_ROWS {
        out.family(name, kind, help);
        out.sample(name, "", sum(&|worker| of(worker).value()));
    }
    let name = "peerage_origin_errors_total";
    out.family(name, Kind::Counter, "Answers of origins that failed, by kind.");
    for (place, kind) in Error::NAMES.iter().enumerate() {
        let count = sum(&|worker| worker.cache.origin_errors[place].value());
        out.sample(name, &format!("kind=\"{kind}\""), count);
    }
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
