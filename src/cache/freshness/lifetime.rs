//! How long an answer is fresh, and how old it is.
//!
//! Thread: any, pure; no allocation.
//! Not here: whether it is stored at all (`freshness::store`), what its age leads to
//! (`freshness::serve`).
//! Source: RFC 9111 section 4.2; RFC 5861.

use crate::limits::DELTA_SECONDS_MAX;
use crate::time::UnixSeconds;

use super::control::delta_seconds;
use super::{Fields, Policy, Response, ResponseControl, date};

/// What a lifetime was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifetimeFrom {
    /// RFC 9111 5.2.2.10.
    SMaxAge,
    /// RFC 9111 5.2.2.1.
    MaxAge,
    /// RFC 9111 5.3.
    Expires,
    /// The operator's default.
    Default,
    /// The operator's time for errors that state none.
    Negative,
    /// RFC 9111 4.2.2.
    Heuristic,
    /// Nothing: it was stale when it came.
    Nothing,
}

/// When an answer may be used without asking the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// While it is fresh, and stale where somebody allows it.
    Plain,
    /// While it is fresh only: must-revalidate, proxy-revalidate, s-maxage.
    FreshOnly,
    /// Never: no-cache.
    Never,
}

/// All that deciding about a hit needs to know of a stored answer; kept beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When the answer, or the 304 that last confirmed it, came.
    pub received_at: UnixSeconds,
    /// Its age at that time (RFC 9111 4.2.3, corrected_initial_age).
    pub initial_age_seconds: u32,
    /// The age at which it becomes stale.
    pub lifetime_seconds: u32,
    /// Where that number is from.
    pub from: LifetimeFrom,
    /// When it may be used without asking.
    pub reuse: Reuse,
    /// How long it may be used stale while it is revalidated; 0 where it says nothing.
    pub stale_while_revalidate_seconds: u32,
    /// How long it may be used stale while the origin fails; `None` where it says nothing.
    pub stale_if_error_seconds: Option<u32>,
}

impl Freshness {
    /// Of an answer with these directives.
    #[must_use]
    pub fn new(response: &Response<'_>, control: &ResponseControl, policy: &Policy) -> Self {
        let (lifetime_seconds, from) = lifetime(response, control, policy);
        let reuse = match control {
            control if control.no_cache => Reuse::Never,
            control if control.forbids_stale() => Reuse::FreshOnly,
            _ => Reuse::Plain,
        };
        assert!(lifetime_seconds <= DELTA_SECONDS_MAX);
        Self {
            received_at: response.received_at,
            initial_age_seconds: initial_age(response),
            lifetime_seconds,
            from,
            reuse,
            stale_while_revalidate_seconds: control.stale_while_revalidate.unwrap_or(0),
            stale_if_error_seconds: control.stale_if_error,
        }
    }

    /// RFC 9111 4.2.3, current_age. A clock that was set back makes nothing younger than it came.
    #[must_use]
    pub fn age(&self, now: UnixSeconds) -> u32 {
        let resident = now.0.saturating_sub(self.received_at.0);
        clamp(resident.saturating_add(u64::from(self.initial_age_seconds)))
    }

    /// Seconds of freshness left; negative by how long it has been stale. RFC 9211 calls it ttl.
    #[must_use]
    pub fn ttl(&self, now: UnixSeconds) -> i64 {
        i64::from(self.lifetime_seconds) - i64::from(self.age(now))
    }

    /// RFC 9111 4.2: fresh while the lifetime exceeds the age.
    #[must_use]
    pub fn is_fresh(&self, now: UnixSeconds) -> bool {
        self.ttl(now) > 0
    }

    /// The second from which on it is not fresh, or is to be asked about each time (then 0): until
    /// then it answers every request that asks for nothing else.
    #[must_use]
    pub fn fresh_until(&self) -> UnixSeconds {
        if self.reuse == Reuse::Never || self.lifetime_seconds <= self.initial_age_seconds {
            return UnixSeconds(0);
        }
        let left = self.lifetime_seconds - self.initial_age_seconds;
        UnixSeconds(self.received_at.0.saturating_add(left.into()))
    }

    /// A soft purge: stale from `now` on. What may be used stale still may, counted from now.
    pub fn expire(&mut self, now: UnixSeconds) {
        self.lifetime_seconds = self.lifetime_seconds.min(self.age(now));
        assert!(!self.is_fresh(now));
    }
}

/// RFC 9111 4.2.1: the lifetime that the answer states, the operator's, or a guess; then bounded.
fn lifetime(
    response: &Response<'_>,
    control: &ResponseControl,
    policy: &Policy,
) -> (u32, LifetimeFrom) {
    let bounds = &policy.lifetimes;
    let is_error = response.status >= 400;
    let (seconds, from) = if let Some(seconds) = control.s_maxage {
        (seconds, LifetimeFrom::SMaxAge)
    } else if let Some(seconds) = control.max_age {
        (seconds, LifetimeFrom::MaxAge)
    } else if !control.targeted && response.fields.has("Expires") {
        // RFC 9213 2.2: a targeted field makes Expires of no account.
        (expires(response), LifetimeFrom::Expires)
    } else if is_error {
        // RFC 9111 4.2.2 would allow a guess; a lost page has no Last-Modified to guess from.
        match response.status {
            404 | 405 | 410 | 414 | 501 => (bounds.negative_seconds, LifetimeFrom::Negative),
            _ => (0, LifetimeFrom::Nothing),
        }
    } else if let Some(seconds) = bounds.default_seconds {
        (seconds, LifetimeFrom::Default)
    } else if let Some(seconds) = heuristic(response, policy) {
        (seconds, LifetimeFrom::Heuristic)
    } else {
        (0, LifetimeFrom::Nothing)
    };
    let raised = if is_error { seconds } else { seconds.max(bounds.min_seconds) };
    (raised.min(bounds.max_seconds).min(DELTA_SECONDS_MAX), from)
}

/// RFC 9111 5.3: Expires less Date; 0 where any Expires is no date. Of several the earliest counts.
fn expires(response: &Response<'_>) -> u32 {
    let dates = response.fields.values("Expires").map(|value| {
        let expires = date::parse(value, response.received_at)?;
        Some(clamp(expires.0.saturating_sub(sent_at(response).0)))
    });
    dates.map(Option::unwrap_or_default).min().unwrap_or(0)
}

/// RFC 9111 4.2.2: a share of the time that the answer had not changed for when it was sent.
fn heuristic(response: &Response<'_>, policy: &Policy) -> Option<u32> {
    let modified = date::parse(response.fields.first("Last-Modified")?, response.received_at)?;
    let unchanged = sent_at(response).0.saturating_sub(modified.0);
    let share = unchanged.saturating_mul(u64::from(policy.lifetimes.heuristic_percent)) / 100;
    Some(clamp(share).min(policy.lifetimes.heuristic_max_seconds))
}

/// RFC 9111 4.2.3, date_value. RFC 9110 6.6.1: without a date, the time of receipt is the date.
fn sent_at(response: &Response<'_>) -> UnixSeconds {
    response
        .fields
        .first("Date")
        .and_then(|value| date::parse(value, response.received_at))
        .unwrap_or(response.received_at)
}

/// RFC 9111 4.2.3, corrected_initial_age.
fn initial_age(response: &Response<'_>) -> u32 {
    let apparent_age = response.received_at.0.saturating_sub(sent_at(response).0);
    let response_delay = response.received_at.0.saturating_sub(response.asked_at.0);
    let corrected_age = u64::from(age_value(response.fields)).saturating_add(response_delay);
    clamp(apparent_age.max(corrected_age))
}

/// RFC 9111 5.1: the first member of the first Age; 0 where that is no number.
fn age_value(fields: Fields<'_>) -> u32 {
    let first = fields.first("Age").unwrap_or_default().split(|byte| *byte == b',').next();
    first.and_then(|member| delta_seconds(member.trim_ascii())).unwrap_or(0)
}

fn clamp(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX).min(DELTA_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixSeconds = UnixSeconds(784_111_777);
    const DATE: (&[u8], &[u8]) = (b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT");

    fn freshness(fields: &[(&[u8], &[u8])], asked: u64, received: u64) -> Freshness {
        let response = Response {
            status: 200,
            fields: Fields(fields),
            asked_at: UnixSeconds(asked),
            received_at: UnixSeconds(received),
        };
        Freshness::new(&response, &ResponseControl::parse(response.fields), &Policy::default())
    }

    #[test]
    fn the_age_is_the_larger_of_what_date_and_age_say() {
        let age: (&[u8], &[u8]) = (b"Age", b"7, 99");
        assert_eq!(freshness(&[DATE], T.0, T.0 + 5).initial_age_seconds, 5);
        assert_eq!(freshness(&[DATE, age], T.0 + 2, T.0 + 5).initial_age_seconds, 10);
        assert_eq!(freshness(&[DATE, age], T.0 + 50, T.0 + 50).initial_age_seconds, 50);
        assert_eq!(freshness(&[DATE, (b"Age", b"-1")], T.0, T.0).initial_age_seconds, 0);
        assert_eq!(freshness(&[DATE], T.0 - 9, T.0 - 9).initial_age_seconds, 0, "clock behind");
    }

    #[test]
    fn ages_saturate() {
        let max: (&[u8], &[u8]) = (b"Age", b"99999999999");
        let old = freshness(&[max, (b"Cache-Control", b"max-age=99999999999")], 0, u64::MAX);
        assert_eq!(old.initial_age_seconds, DELTA_SECONDS_MAX);
        assert_eq!(old.age(UnixSeconds(u64::MAX)), DELTA_SECONDS_MAX);
        assert_eq!(old.lifetime_seconds, Policy::default().lifetimes.max_seconds);
    }

    #[test]
    fn fresh_until_says_what_is_fresh_says() {
        for (control, initial) in [("max-age=100", 0), ("max-age=100", 99), ("max-age=100", 100)] {
            let age = initial.to_string();
            let lines = [DATE, (b"Cache-Control", control.as_bytes()), (b"Age", age.as_bytes())];
            let stored = freshness(&lines, T.0, T.0);
            for now in [0, T.0 - 1, T.0, T.0 + 1, T.0 + 99, T.0 + 100, u64::MAX] {
                let now = UnixSeconds(now);
                assert_eq!(now < stored.fresh_until(), stored.is_fresh(now), "{initial} {now:?}");
            }
        }
        let asked = freshness(&[DATE, (b"Cache-Control", b"max-age=100, no-cache")], T.0, T.0);
        assert_eq!(asked.fresh_until(), UnixSeconds(0));
    }

    #[test]
    fn a_soft_purge_ends_freshness_now() {
        let mut fresh = freshness(&[DATE, (b"Cache-Control", b"max-age=100")], T.0, T.0);
        let now = UnixSeconds(T.0 + 30);
        assert_eq!(fresh.ttl(now), 70);
        fresh.expire(now);
        assert_eq!(fresh.ttl(now), 0);
        assert!(!fresh.is_fresh(now));
        fresh.expire(UnixSeconds(T.0 + 50));
        assert_eq!(fresh.lifetime_seconds, 30, "an old answer does not become younger");
    }
}
