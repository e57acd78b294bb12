//! Messages to the operator: standard error, one line each, with systemd's level marks.
//!
//! Thread: any; a line is one write.
//! Not here: access logs.

use std::io::Write as _;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr {
    marks: bool,
}

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // sd-daemon(3): the journal takes the level from this mark.
        let (mark, name) = match record.level() {
            Level::Error => ("<3>", "error: "),
            Level::Warn => ("<4>", "warning: "),
            Level::Info => ("<6>", ""),
            Level::Debug | Level::Trace => ("<7>", "debug: "),
        };
        let mark = if self.marks { mark } else { "" };
        let line = format!("{mark}{name}{}\n", record.args());
        // Nowhere to complain to.
        drop(std::io::stderr().write_all(line.as_bytes()));
    }

    fn flush(&self) {}
}

/// Begins logging at `level`.
pub fn start(level: crate::config::Level) {
    let marks = std::env::var_os("JOURNAL_STREAM").is_some();
    // A second start in one process (tests) keeps the first logger.
    drop(log::set_boxed_logger(Box::new(Stderr { marks })));
    set_level(level);
}

/// Changes the level.
pub fn set_level(level: crate::config::Level) {
    log::set_max_level(match level {
        crate::config::Level::Error => LevelFilter::Error,
        crate::config::Level::Warn => LevelFilter::Warn,
        crate::config::Level::Info => LevelFilter::Info,
        crate::config::Level::Debug => LevelFilter::Debug,
    });
}
