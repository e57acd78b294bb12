//! What a request gets: the stored answer, fresh or stale, or a way to the origin.
//!
//! Thread: any, pure; no allocation.
//! Not here: which stored answer is the request's (`freshness::vary`), the conditions that a
//! revalidation sends (`freshness::validate`).
//! Source: RFC 9111 sections 4, 4.2.4, 5.2.1 and 5.2.2; RFC 5861 sections 3 and 4.

use crate::time::UnixSeconds;

use super::{ClientDirectives, Freshness, Method, Policy, RequestControl, Reuse};

/// What to do with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// Send the stored answer.
    Fresh {
        /// For the Age field.
        age_seconds: u32,
    },
    /// Send the stored answer although it is stale.
    Stale {
        /// For the Age field.
        age_seconds: u32,
        /// Who allows it.
        why: StaleWhy,
    },
    /// Ask the origin whether the stored answer still holds; where that fails, `plan_error` says
    /// whether it may be sent all the same.
    Revalidate(Forward),
    /// Fetch, and store what may be stored.
    Miss,
    /// Forward the request; nothing stored may answer it, nor is its answer stored.
    Pass,
    /// Answer 504: the client wants what is stored and nothing else (RFC 9111 5.2.1.7).
    OnlyIfCached,
}

/// Who allows a stale answer to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleWhy {
    /// The origin: stale-while-revalidate. Revalidate in the background.
    Revalidating,
    /// The client: max-stale.
    Client,
}

/// Why a request goes to the origin although an answer is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// It is stale, or says that it must not be used unasked.
    Stale,
    /// It is fresh, and the client wants it confirmed.
    Request,
}

/// How the origin failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No answer: no connection, a timeout, a broken head.
    Unreachable,
    /// An answer with this status.
    Status(u16),
}

/// Decides about one request. `stored` is the answer that its key and its Vary select, if any.
#[must_use]
pub fn plan_serve(
    stored: Option<&Freshness>,
    method: Method,
    asked: &RequestControl,
    now: UnixSeconds,
    policy: &Policy,
) -> Serve {
    if !matches!(method, Method::Get | Method::Head) {
        return Serve::Pass;
    }
    let asked = counted(asked, policy);
    let plan = stored.map_or(Serve::Miss, |stored| plan_stored(stored, &asked, now, policy));
    let forwards = matches!(plan, Serve::Miss | Serve::Revalidate(_));
    if forwards && asked.only_if_cached { Serve::OnlyIfCached } else { plan }
}

fn plan_stored(
    stored: &Freshness,
    asked: &RequestControl,
    now: UnixSeconds,
    policy: &Policy,
) -> Serve {
    let age_seconds = stored.age(now);
    let is_fresh = stored.is_fresh(now);
    // RFC 9111 5.2.2.4: no-cache is asked about each time, fresh or not.
    if stored.reuse == Reuse::Never {
        return Serve::Revalidate(Forward::Stale);
    }
    // RFC 9111 5.2.1.4.
    if asked.no_cache {
        return Serve::Revalidate(if is_fresh { Forward::Request } else { Forward::Stale });
    }
    // RFC 9111 5.2.1.1: a client's max-age shortens the lifetime for this one request.
    let lifetime = stored.lifetime_seconds;
    let is_young = asked.max_age.is_none_or(|max_age| age_seconds <= max_age);
    let ttl = stored.ttl(now);
    // RFC 9111 5.2.1.3.
    let stays_fresh = asked.min_fresh.is_none_or(|min_fresh| ttl >= i64::from(min_fresh));
    if is_fresh && is_young && stays_fresh {
        return Serve::Fresh { age_seconds };
    }
    let forward = Serve::Revalidate(if is_fresh { Forward::Request } else { Forward::Stale });
    // RFC 9111 5.2.2.2, 5.2.2.8 and 5.2.2.10: not even max-stale gets such an answer stale.
    if !is_fresh && stored.reuse == Reuse::FreshOnly {
        return forward;
    }
    let stale_seconds = age_seconds.saturating_sub(lifetime);
    let while_revalidate =
        stored.stale_while_revalidate_seconds.min(policy.stale_while_revalidate_max_seconds);
    // RFC 5861 3. Seconds are whole, so the last one is not used. A client that wants the answer
    // fresher than it is has not asked for this.
    if !is_fresh && is_young && stays_fresh && stale_seconds < while_revalidate {
        return Serve::Stale { age_seconds, why: StaleWhy::Revalidating };
    }
    // RFC 9111 5.2.1.2, counted from what the client itself called too old.
    let too_old = age_seconds.saturating_sub(lifetime.min(asked.max_age.unwrap_or(lifetime)));
    let max_stale = asked.max_stale.map(|seconds| seconds.min(policy.stale_max_seconds));
    match max_stale {
        Some(max_stale) if stays_fresh => {
            if too_old > max_stale {
                forward
            } else if is_fresh {
                Serve::Fresh { age_seconds }
            } else {
                Serve::Stale { age_seconds, why: StaleWhy::Client }
            }
        }
        _ => forward,
    }
}

/// Whether the stored answer may be sent in place of an origin's failure; its age if so. Otherwise
/// the client gets the origin's error, or 504 where there is none. Asked before an error is stored:
/// it would take the place of the answer that can still stand in for it.
#[must_use]
pub fn plan_error(
    stored: &Freshness,
    asked: &RequestControl,
    error: Error,
    now: UnixSeconds,
    policy: &Policy,
) -> Option<u32> {
    // RFC 5861 4 names these four.
    if matches!(error, Error::Status(status) if !matches!(status, 500 | 502 | 503 | 504)) {
        return None;
    }
    let age_seconds = stored.age(now);
    // RFC 9111 5.2.2.4: no-cache needs a successful revalidation. RFC 9111 4.2.4: so do the others,
    // once they are stale.
    let is_allowed = match stored.reuse {
        Reuse::Never => false,
        Reuse::FreshOnly => stored.is_fresh(now),
        Reuse::Plain => true,
    };
    if !is_allowed {
        return None;
    }
    let asked = counted(asked, policy).stale_if_error;
    // RFC 5861 4: either side may allow it, so the longer time counts.
    let seconds = stored
        .stale_if_error_seconds
        .max(asked)
        .unwrap_or(policy.stale_if_error_default_seconds)
        .min(policy.stale_max_seconds);
    let stale_seconds = age_seconds.saturating_sub(stored.lifetime_seconds);
    (stored.is_fresh(now) || stale_seconds < seconds).then_some(age_seconds)
}

/// The client's directives that count under `policy`.
fn counted(asked: &RequestControl, policy: &Policy) -> RequestControl {
    match policy.client_directives {
        ClientDirectives::Ignored => RequestControl::default(),
        ClientDirectives::Sparing => RequestControl {
            only_if_cached: asked.only_if_cached,
            max_stale: asked.max_stale,
            stale_if_error: asked.stale_if_error,
            ..RequestControl::default()
        },
        ClientDirectives::All => *asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::freshness::LifetimeFrom;
    use crate::limits::DELTA_SECONDS_MAX;

    /// Fresh for 100 seconds from 0 on.
    const STORED: Freshness = Freshness {
        received_at: UnixSeconds(0),
        initial_age_seconds: 0,
        lifetime_seconds: 100,
        from: LifetimeFrom::MaxAge,
        reuse: Reuse::Plain,
        stale_while_revalidate_seconds: 0,
        stale_if_error_seconds: None,
    };
    const NOTHING: RequestControl = RequestControl {
        no_cache: false,
        no_store: false,
        only_if_cached: false,
        max_age: None,
        min_fresh: None,
        max_stale: None,
        stale_if_error: None,
    };

    fn all() -> Policy {
        Policy { client_directives: ClientDirectives::All, ..Policy::default() }
    }

    fn plan(stored: &Freshness, asked: &RequestControl, now: u64) -> Serve {
        plan_serve(Some(stored), Method::Get, asked, UnixSeconds(now), &all())
    }

    #[test]
    fn fresh_ends_when_the_age_reaches_the_lifetime() {
        assert_eq!(plan(&STORED, &NOTHING, 99), Serve::Fresh { age_seconds: 99 });
        assert_eq!(plan(&STORED, &NOTHING, 100), Serve::Revalidate(Forward::Stale));
    }

    #[test]
    fn each_allowance_ends_at_its_second() {
        let stale = Freshness { stale_while_revalidate_seconds: 10, ..STORED };
        let revalidating = Serve::Stale { age_seconds: 109, why: StaleWhy::Revalidating };
        assert_eq!(plan(&stale, &NOTHING, 109), revalidating);
        assert_eq!(plan(&stale, &NOTHING, 110), Serve::Revalidate(Forward::Stale));
        let asked = RequestControl { max_stale: Some(10), ..NOTHING };
        let client = Serve::Stale { age_seconds: 110, why: StaleWhy::Client };
        assert_eq!(plan(&STORED, &asked, 110), client);
        assert_eq!(plan(&STORED, &asked, 111), Serve::Revalidate(Forward::Stale));
    }

    #[test]
    fn max_age_and_max_stale_together_count_from_max_age() {
        let asked = RequestControl { max_age: Some(50), max_stale: Some(20), ..NOTHING };
        assert_eq!(plan(&STORED, &asked, 70), Serve::Fresh { age_seconds: 70 });
        assert_eq!(plan(&STORED, &asked, 71), Serve::Revalidate(Forward::Request));
        let fresh_enough = RequestControl { min_fresh: Some(40), ..asked };
        assert_eq!(plan(&STORED, &fresh_enough, 61), Serve::Revalidate(Forward::Request));
    }

    #[test]
    fn no_stale_answer_leaves_where_it_is_forbidden() {
        let asked = RequestControl {
            max_stale: Some(DELTA_SECONDS_MAX),
            stale_if_error: Some(DELTA_SECONDS_MAX),
            ..NOTHING
        };
        let policy = Policy { stale_if_error_default_seconds: 1000, ..all() };
        for reuse in [Reuse::FreshOnly, Reuse::Never] {
            let stored = Freshness {
                reuse,
                stale_while_revalidate_seconds: 1000,
                stale_if_error_seconds: Some(1000),
                ..STORED
            };
            for now in 100..1200 {
                assert_eq!(plan(&stored, &asked, now), Serve::Revalidate(Forward::Stale));
                let now = UnixSeconds(now);
                assert_eq!(plan_error(&stored, &asked, Error::Unreachable, now, &policy), None);
            }
        }
    }
}
