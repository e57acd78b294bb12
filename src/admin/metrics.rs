//! The Prometheus text format, version 0.0.4.
//!
//! Thread: any, pure.
//! Not here: which metrics there are (`daemon::counters`).
//! Source: prometheus.io/docs/instrumenting/exposition_formats.

use std::fmt::Write as _;

/// Kinds of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Cumulative counts up to each bound, a sum, a count.
    Histogram,
}

/// Metrics being written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// One bar of a histogram.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Upper bound, inclusive, in the metric's unit.
    pub bound: f64,
    /// How many values lie at or below the bound and above the one before.
    pub count: u64,
}

impl Exposition {
    /// Begins a family: its samples follow.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One sample. `labels` is empty or `name="value",..`.
    pub fn sample(&mut self, name: &str, labels: &str, value: u64) {
        if labels.is_empty() {
            self.put(format_args!("{name} {value}\n"));
        } else {
            self.put(format_args!("{name}{{{labels}}} {value}\n"));
        }
    }

    /// A whole histogram of one set of labels (none).
    pub fn histogram(&mut self, name: &str, bars: &[Bar], sum: f64) {
        let mut total = 0_u64;
        for bar in bars {
            total += bar.count;
            self.put(format_args!("{name}_bucket{{le=\"{}\"}} {total}\n", bar.bound));
        }
        self.put(format_args!("{name}_bucket{{le=\"+Inf\"}} {total}\n"));
        self.put(format_args!("{name}_sum {sum}\n{name}_count {total}\n"));
    }

    /// The text so far.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("writing to memory does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_format() {
        let mut out = Exposition::default();
        out.family("a_total", Kind::Counter, "All.");
        out.sample("a_total", "", 3);
        out.sample("a_total", "class=\"2xx\"", 4);
        out.family("b_seconds", Kind::Histogram, "Times.");
        let bars = [Bar { bound: 0.5, count: 2 }, Bar { bound: 1.0, count: 1 }];
        out.histogram("b_seconds", &bars, 1.75);
        let expected = "# HELP a_total All.\n# TYPE a_total counter\na_total 3\n\
            a_total{class=\"2xx\"} 4\n# HELP b_seconds Times.\n# TYPE b_seconds histogram\n\
            b_seconds_bucket{le=\"0.5\"} 2\nb_seconds_bucket{le=\"1\"} 3\n\
            b_seconds_bucket{le=\"+Inf\"} 3\nb_seconds_sum 1.75\nb_seconds_count 3\n";
        assert_eq!(out.into_text(), expected);
    }
}
