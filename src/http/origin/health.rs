//! Passive health of one address: failures in a row take it down for a growing time.
//!
//! Input: how requests to it ended, and which one is the probe.   Output: whether it may be tried.
//! Owns: a count and a time, bounded by `down_max`.   Thread: any, pure.
//! Invariants: a single failure never takes an address down (unless one is the configured number);
//! while it is down no request goes to it; afterwards exactly one does, until that one has ended.
//! An answer is a success whatever its status: a 503 is the word of an origin that lives.
//! Not here: which address is taken (`http::origin::pool`); there are no requests of our own making
//! just to see whether an origin lives.

use crate::limits::ORIGIN_DOWN_DOUBLINGS_MAX;
use crate::time::{Duration, Instant};

/// When an address is down, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct HealthOptions {
    /// Failures in a row after which an address is down; at least 1.
    pub failures_max: u32,
    /// How long it is left alone the first time.
    pub down_min: Duration,
    /// How long at most. The time doubles with each probe that fails.
    pub down_max: Duration,
}

/// What may be done with an address now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Requests may go to it.
    Up,
    /// It was down for its time: one request may go to it, as a probe.
    Due,
    /// The probe is under way.
    Probe,
    /// It is left alone.
    Down,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Up { failures: u32 },
    Down { until: Instant, doublings: u32 },
    Probe { doublings: u32 },
}

/// The health of one address.
#[derive(Debug)]
pub struct Health {
    state: State,
}

impl Health {
    /// Up, until proven otherwise.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Up { failures: 0 } }
    }

    /// What may be done with it at `now`.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        match self.state {
            State::Up { .. } => Standing::Up,
            State::Down { until, .. } if now >= until => Standing::Due,
            State::Down { .. } => Standing::Down,
            State::Probe { .. } => Standing::Probe,
        }
    }

    /// When it may be probed, while it is down.
    #[must_use]
    pub const fn due_at(&self) -> Option<Instant> {
        match self.state {
            State::Down { until, .. } => Some(until),
            State::Up { .. } | State::Probe { .. } => None,
        }
    }

    /// A request goes to it as the probe.
    ///
    /// # Panics
    /// If it is not down: there is one probe at a time.
    pub fn handle_probe(&mut self) {
        let State::Down { doublings, .. } = self.state else {
            panic!("only what is down is probed")
        };
        self.state = State::Probe { doublings };
    }

    /// It answered. That of a request begun before it went down counts as well.
    pub fn handle_success(&mut self) {
        self.state = State::Up { failures: 0 };
    }

    /// A request to it failed. Returns whether it is down from now on and was not before.
    pub fn handle_failure(&mut self, now: Instant, options: &HealthOptions) -> bool {
        let doublings = match self.state {
            State::Up { failures } if failures.saturating_add(1) < options.failures_max => {
                self.state = State::Up { failures: failures + 1 };
                return false;
            }
            State::Up { .. } => 0,
            State::Probe { doublings } => (doublings + 1).min(ORIGIN_DOWN_DOUBLINGS_MAX),
            // Requests that were under way when it went down say nothing new.
            State::Down { .. } => return false,
        };
        let span = options.down_min.saturating_mul(1 << doublings).min(options.down_max);
        self.state = State::Down { until: now.after(span), doublings };
        true
    }

    /// The probe ended without a word about the address (its client went away): another may go.
    pub fn handle_void(&mut self, now: Instant) {
        if let State::Probe { doublings } = self.state {
            self.state = State::Down { until: now, doublings };
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: HealthOptions = HealthOptions {
        failures_max: 3,
        down_min: Duration::from_secs(1),
        down_max: Duration::from_secs(5),
    };

    fn at(seconds: u64) -> Instant {
        Instant::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn failures_in_a_row_take_it_down() {
        let mut health = Health::new();
        for _ in 0..5 {
            assert!(!health.handle_failure(at(0), &OPTIONS));
            assert!(!health.handle_failure(at(0), &OPTIONS));
            health.handle_success();
        }
        assert_eq!(health.standing(at(0)), Standing::Up);
        assert!(!health.handle_failure(at(0), &OPTIONS));
        assert!(!health.handle_failure(at(0), &OPTIONS));
        assert!(health.handle_failure(at(0), &OPTIONS));
        assert!(!health.handle_failure(at(0), &OPTIONS), "a straggler changes nothing");
        assert_eq!(health.standing(at(0)), Standing::Down);
        assert_eq!(health.standing(at(1)), Standing::Due);
    }

    #[test]
    fn the_time_grows_to_its_most_and_a_success_ends_it() {
        let mut health = Health::new();
        let mut now = at(0);
        for _ in 0..2 {
            health.handle_failure(now, &OPTIONS);
        }
        for seconds in [1, 2, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5] {
            assert!(health.handle_failure(now, &OPTIONS));
            let due = health.due_at().expect("it is down");
            assert_eq!(due.since(now), Duration::from_secs(seconds));
            now = due;
            health.handle_probe();
            assert_eq!(health.standing(now), Standing::Probe);
        }
        health.handle_success();
        assert_eq!(health.standing(now), Standing::Up);
        assert!(!health.handle_failure(now, &OPTIONS), "the count begins anew");
    }

    #[test]
    fn a_probe_without_an_end_is_due_again() {
        let mut health = Health::new();
        for _ in 0..3 {
            health.handle_failure(at(0), &OPTIONS);
        }
        health.handle_probe();
        health.handle_void(at(2));
        assert_eq!(health.standing(at(2)), Standing::Due);
    }
}
