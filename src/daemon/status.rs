//! What `peerage status` shows: a name and a value per line, drawn from the metrics.
//!
//! Thread: any, pure.
//! Not here: the numbers (`daemon::counters`), all of them (`/-/metrics`).

use crate::time::Duration;

/// Families that are shown whole, by the beginning of their names.
const SHOWN: [&str; 3] = ["peerage_cache_", "peerage_store_", "peerage_origin_"];

/// The lines, of the text that `/-/metrics` answers.
#[must_use]
pub fn lines(metrics: &str, uptime: Duration, is_ready: bool) -> Vec<String> {
    let total = |name: &str| -> u64 {
        let values = samples(metrics).filter(|(found, _)| bare(found) == name);
        values.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    };
    let mut lines = vec![
        format!("version {}", env!("CARGO_PKG_VERSION")),
        format!("uptime_seconds {}", uptime.as_secs()),
        format!("ready {}", if is_ready { "yes" } else { "no" }),
        format!("workers {}", total("peerage_workers")),
        format!("connections {}", total("peerage_http_connections")),
        format!("requests {}", total("peerage_http_requests_total")),
        format!("sent_bytes {}", total("peerage_http_sent_bytes_total")),
        format!("open_files {}", total("peerage_files_open")),
    ];
    let shown = samples(metrics).filter(|(name, _)| {
        // The bars of a histogram are for a program; its sum and count are shown.
        SHOWN.iter().any(|family| name.starts_with(family)) && !bare(name).ends_with("_bucket")
    });
    lines.extend(shown.map(|(name, value)| format!("{name} {value}")));
    lines
}

/// Names with labels, and values.
fn samples(metrics: &str) -> impl Iterator<Item = (&str, &str)> {
    metrics.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '))
}

fn bare(name: &str) -> &str {
    name.split('{').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::metrics::{Bar, Exposition, Kind};

    #[test]
    fn sums_and_whole_families_are_shown() {
        let mut out = Exposition::default();
        out.family("peerage_workers", Kind::Gauge, "Serving threads.");
        out.sample("peerage_workers", "", 2);
        out.sample("peerage_http_requests_total", "method=\"GET\"", 3);
        out.sample("peerage_http_requests_total", "method=\"HEAD\"", 4);
        out.sample("peerage_http_requests_total_else", "", 9);
        out.sample("peerage_cache_hits_total", "kind=\"a b\"", 5);
        out.sample("peerage_loop_waits_total", "", 6);
        out.histogram("peerage_origin_seconds", &[Bar { bound: 1.0, count: 7 }], 2.5);
        let lines = lines(&out.into_text(), Duration::from_millis(61_999), true);
        for line in [
            "uptime_seconds 61",
            "ready yes",
            "workers 2",
            "requests 7",
            "connections 0",
            "peerage_cache_hits_total{kind=\"a b\"} 5",
            "peerage_origin_seconds_sum 2.5",
            "peerage_origin_seconds_count 7",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line}: {lines:?}");
        }
        assert!(!lines.iter().any(|line| line.contains("loop") || line.contains("bucket")));
    }
}
