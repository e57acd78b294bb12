//! The two clocks, read once a batch.
//!
//! Thread: any.
//! Not here: what time means to anybody (`time`).

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::{Duration, Instant, UnixMillis, UnixSeconds};

/// A monotonic clock whose zero is its own making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Default for Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the place where clocks are read")]
    fn default() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock {
    /// The monotonic time. No system call: the kernel maps its clock into the process.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The wall-clock time.
#[must_use]
pub fn unix_seconds() -> UnixSeconds {
    UnixSeconds(since_1970().as_secs())
}

/// The wall-clock time in milliseconds.
#[must_use]
pub fn unix_millis() -> UnixMillis {
    UnixMillis(u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX))
}

/// The wall-clock time in nanoseconds since 1970.
#[must_use]
pub fn unix_nanos() -> u64 {
    u64::try_from(since_1970().as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this is the place where clocks are read")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
