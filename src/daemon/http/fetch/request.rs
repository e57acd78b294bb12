//! The request of a fetch: its conditions, its fields, and what is said where it fails.
//!
//! Thread: any, pure.
//! Not here: writing it (`http::origin::request`).

use crate::cache::flight::Asked;
use crate::cache::freshness::status::{CacheStatus, Handled};
use crate::cache::freshness::validate::conditions;
use crate::cache::freshness::{Fields, Method as CacheMethod, Request};
use crate::cache::record::Record;
use crate::http::origin::pool::Refusal;
use crate::http::origin::{Error, Timeout};
use crate::http::request::{self, header_space};
use crate::http::{Method, Status};
use crate::limits::HEADERS_MAX;
use crate::sys::process::random_seed;

use super::super::body::WholeBody;
use super::super::origin::Message;
use super::words::Ask;

/// The line of Cache-Status.
pub fn status_line(cache: &str, handled: Handled, ttl_seconds: Option<i64>) -> Vec<u8> {
    const USUAL_BYTES: usize = 96;
    let mut line = Vec::with_capacity(cache.len() + USUAL_BYTES);
    line.extend_from_slice(b"Cache-Status: ");
    CacheStatus { cache, handled, ttl_seconds, detail: "" }.emit(&mut line);
    line.extend_from_slice(b"\r\n");
    line
}

/// The request with the conditions of what is stored, before the empty line at the end of its head.
pub(super) fn message(ask: &Ask, body: Option<WholeBody>) -> Message {
    let method = ask.change.as_ref().map_or(Method::Get, |change| change.method);
    Message { head: with_conditions(ask), method, body }
}

fn with_conditions(ask: &Ask) -> Vec<u8> {
    let mut request = ask.request.clone();
    let Some(stored) = &ask.stored else { return request };
    request.truncate(request.len() - 2);
    let lines: Vec<(&[u8], &[u8])> = stored.lines().collect();
    let found = conditions(Fields(&lines));
    for (name, value) in [
        (&b"If-None-Match: "[..], found.none_match),
        (&b"If-Modified-Since: "[..], found.modified_since),
    ] {
        if let Some(value) = value {
            request.extend_from_slice(name);
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
        }
    }
    request.extend_from_slice(b"\r\n");
    request
}

const ASK_LIMITS: request::HeadLimits = request::HeadLimits {
    header_bytes_max: usize::MAX,
    headers_max: HEADERS_MAX,
    uri_bytes_max: usize::MAX,
};

/// Whether the answer of `record` is one for this request.
pub(super) fn is_for(record: &Record, request: &[u8]) -> bool {
    with_fields(request, |fields| {
        record.nominated.key(fields).is_some_and(|key| key[..] == *record.secondary_key)
    })
}

pub(super) fn with_fields<T>(request: &[u8], then: impl FnOnce(Fields<'_>) -> T) -> T {
    let mut space = header_space();
    let parsed = request::parse(request, &mut space, &ASK_LIMITS);
    let Ok(request::Head::Complete(request, _)) = parsed else {
        // Unread fields could be anybody's secret: an answer to it is for nobody else.
        return then(Fields(&[(b"Authorization", b"")]));
    };
    let lines: Vec<(&[u8], &[u8])> =
        request.fields().map(|(name, value)| (name.as_bytes(), value)).collect();
    then(Fields(&lines))
}

pub(super) fn with_asked<T>(ask: &Ask, date: &[u8], then: impl FnOnce(&Asked<'_>) -> T) -> T {
    let method = if ask.change.is_some() { CacheMethod::Unsafe } else { CacheMethod::Get };
    with_fields(&ask.request, |fields| {
        then(&Asked {
            request: Request { method, fields },
            control: ask.control,
            stored: ask.stored.as_deref(),
            generation: ask.generation,
            new_generation: random_seed,
            policy: &ask.policy,
            date,
        })
    })
}

/// Host and port of the authority that the client asked for.
pub(super) fn public_place(authority: &str) -> (&str, u16) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(80)),
        _ => (authority, 80),
    };
    (host, port)
}

pub(super) const fn status_of(error: Error) -> Status {
    match error {
        Error::Timeout(Timeout::Connect | Timeout::FirstByte | Timeout::BetweenBytes) => {
            Status::GatewayTimeout
        }
        _ => Status::BadGateway,
    }
}

pub(super) const fn status_of_refusal(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Busy => Status::ServiceUnavailable,
        Refusal::Timeout => Status::GatewayTimeout,
        Refusal::Down | Refusal::Connect | Refusal::Unanswered => Status::BadGateway,
    }
}
