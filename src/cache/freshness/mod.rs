//! What a shared cache may store, how long it may use it, and what it does when that time is over.
//!
//! Input: the fields, status and times of one request and one answer, as values, once per fetch;
//! per hit only a `Freshness` and the request's directives.   Output: plans; `daemon` acts on them.
//! Owns: nothing but `vary::Variants`, bounded by VARIANTS_MAX.   Thread: any, pure.
//! Invariants: an age never falls while the clock does not; a lifetime never exceeds
//! DELTA_SECONDS_MAX; where two directives or two values of one conflict, the stricter counts, so
//! no answer is used longer than any reading of its fields allows. Only the operator's own
//! `Lifetimes` lengthen a lifetime, and nothing makes an answer storable that forbids it.
//! Not here: reading heads (`http`), what the client's own conditions select (`http::conditional`),
//! names of files (`cache::key`), fetching. Whoever fetches sends no condition or Range of the
//! client's, sends the Accept-Encoding of `vary::emit_accept_encoding`, drops Cookie where cookies
//! are stripped, and adds Date to an answer without one (RFC 9110 6.6.1).
//! Source: RFC 9111 (caching), RFC 5861 (stale-while-revalidate, stale-if-error), RFC 9213
//! (CDN-Cache-Control), RFC 9211 (Cache-Status), RFC 9110 sections 8.8, 9.2.1, 15.1.
//! Differs from the source: of several values of one directive the smallest counts, where RFC 9111
//! 4.2.1 asks for the first or none; a qualified `private` or `no-cache` counts as unqualified,
//! which sections 5.2.2.4 and 5.2.2.7 note as common; a 304 without validators confirms the answer
//! it was asked about (4.3.4 has no rule for it, origins do it). `immutable` is not needed: a fresh
//! answer is never revalidated unless the operator honours clients that ask for it.

pub mod control;
pub mod date;
pub mod invalidate;
pub mod lifetime;
pub mod serve;
pub mod status;
pub mod store;
pub mod targeted;
pub mod validate;
pub mod vary;

pub use control::{RequestControl, ResponseControl};
pub use lifetime::{Freshness, LifetimeFrom, Reuse};
pub use serve::{Error, Forward, Serve, StaleWhy, plan_error, plan_serve};
pub use store::{Pass, Store, plan_store};

use crate::time::UnixSeconds;

/// Field lines of one head, in order: name and value, the value without blanks around it.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [(&'a [u8], &'a [u8])]);

impl<'a> Fields<'a> {
    /// All values of the field `name` (any case), in order.
    pub fn values(self, name: &str) -> impl Iterator<Item = &'a [u8]> + use<'a, '_> {
        let lines = self.0.iter();
        lines.filter(move |line| is_name(line.0, name)).map(|line| line.1)
    }

    /// The first value of the field `name` (any case).
    #[must_use]
    pub fn first(self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// Whether there is a field `name` (any case).
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        self.first(name).is_some()
    }
}

/// Whether a field name as sent is `name`.
fn is_name(sent: &[u8], name: &str) -> bool {
    sent.eq_ignore_ascii_case(name.as_bytes())
}

/// What a method is to a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Stored and served.
    Get,
    /// Served from what a GET stored.
    Head,
    /// Forwarded, and nothing else: OPTIONS, TRACE and the other registered safe ones.
    OtherSafe,
    /// Forwarded; where it succeeds, what is stored may be wrong (RFC 9111 4.4). An unknown method
    /// counts here.
    Unsafe,
}

impl Method {
    /// Reads a method's name, which is case-sensitive.
    #[must_use]
    pub fn parse(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"OPTIONS" | b"TRACE" | b"PROPFIND" | b"REPORT" | b"SEARCH" | b"QUERY" => {
                Self::OtherSafe
            }
            _ => Self::Unsafe,
        }
    }
}

/// A request, as far as a cache cares.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is asked.
    pub method: Method,
    /// Its field lines.
    pub fields: Fields<'a>,
}

/// An origin's answer, and when it came.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Its status code.
    pub status: u16,
    /// Its field lines.
    pub fields: Fields<'a>,
    /// When the request that it answers was sent (RFC 9111 4.2.3, request_time).
    pub asked_at: UnixSeconds,
    /// When its head came (RFC 9111 4.2.3, response_time).
    pub received_at: UnixSeconds,
}

/// Which of a client's directives count. RFC 9111 5.2.1 calls them advisory: a cache may implement
/// them, none must.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientDirectives {
    /// None.
    Ignored,
    /// Those that spare the origin: max-stale, stale-if-error, only-if-cached. Not no-cache,
    /// max-age, min-fresh, no-store and Pragma, with which any stranger could send each of his
    /// requests through to the origin that this cache is to shield.
    #[default]
    Sparing,
    /// All.
    All,
}

/// What becomes of an answer that sets a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetCookie {
    /// It is passed on and not stored, whatever it says of caching: the cookie is somebody's.
    #[default]
    Pass,
    /// It is stored without Set-Cookie, and sent without: the operator knows the path to be public.
    Strip,
}

/// The operator's bounds on lifetimes, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Lifetime of an answer below 400 that states none, in place of the heuristic.
    pub default_seconds: Option<u32>,
    /// Shortest lifetime of an answer below 400: what it states is raised to this. Errors are not
    /// raised, or a lost picture would stay lost for as long as pictures are kept.
    pub min_seconds: u32,
    /// Longest lifetime of any answer; it counts where `min_seconds` is larger.
    pub max_seconds: u32,
    /// Share of the time since Last-Modified that is the heuristic lifetime, in percent. RFC 9111
    /// 4.2.2 names 10 as typical.
    pub heuristic_percent: u32,
    /// Longest heuristic lifetime: a guess should be found out within a day.
    pub heuristic_max_seconds: u32,
    /// Lifetime of a 404, 405, 410, 414 or 501 that states none.
    pub negative_seconds: u32,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            default_seconds: None,
            min_seconds: 0,
            // A year: what RFC 2616 14.21 called never expiring. A wrong number ends some day.
            max_seconds: 365 * 86_400,
            heuristic_percent: 10,
            heuristic_max_seconds: 86_400,
            // Long enough to absorb a crowd, short enough not to be noticed after an upload.
            negative_seconds: 10,
        }
    }
}

/// Everything the operator decides about one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which directives of clients count.
    pub client_directives: ClientDirectives,
    /// What becomes of cookies.
    pub set_cookie: SetCookie,
    /// Bounds on lifetimes.
    pub lifetimes: Lifetimes,
    /// Longest use of a stale answer while it is revalidated, whatever it allows; seconds.
    pub stale_while_revalidate_max_seconds: u32,
    /// Use of a stale answer while the origin fails, where neither side says; seconds. RFC 9111
    /// 4.2.4 lets a disconnected cache serve stale; 0 does not.
    pub stale_if_error_default_seconds: u32,
    /// Longest use of a stale answer while the origin fails, whoever allows it, and longest
    /// staleness that a client's max-stale gets; seconds.
    pub stale_max_seconds: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            client_directives: ClientDirectives::default(),
            set_cookie: SetCookie::default(),
            lifetimes: Lifetimes::default(),
            // A day of each: a revalidation that takes longer has failed, and an origin that fails
            // for longer is noticed.
            stale_while_revalidate_max_seconds: 86_400,
            stale_if_error_default_seconds: 0,
            stale_max_seconds: 86_400,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_methods() {
        for (name, expected) in [
            ("GET", Method::Get),
            ("HEAD", Method::Head),
            ("OPTIONS", Method::OtherSafe),
            ("QUERY", Method::OtherSafe),
            ("POST", Method::Unsafe),
            ("get", Method::Unsafe),
            ("FROBNICATE", Method::Unsafe),
            ("", Method::Unsafe),
        ] {
            assert_eq!(Method::parse(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn fields_are_found_in_any_case_and_in_order() {
        let lines: [(&[u8], &[u8]); 3] = [(b"vary", b"a"), (b"Age", b"1"), (b"VARY", b"b")];
        let fields = Fields(&lines);
        assert_eq!(fields.values("Vary").collect::<Vec<_>>(), [b"a", b"b"]);
        assert!(fields.has("age"));
        assert_eq!(fields.first("Date"), None);
    }
}
