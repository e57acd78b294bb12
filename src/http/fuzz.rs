//! Entry for fuzzers: any bytes, in any pieces, through the connection core.
//!
//! Input: bytes.   Output: panics where an invariant breaks.   Thread: any, pure.
//! Invariants: what is found depends on the bytes, not on how they were cut; nothing is consumed
//! twice or beyond the input; a connection that refused finds nothing more.
//! Not here: where bytes come from (`tests/fuzz_http.rs` has a short run, a fuzzer a long one).

use super::request::{Head, HeadLimits, header_space};
use super::{Conn, Options, Status, Step, hosts, request, target};
use crate::time::{Duration, Instant};
use arrayvec::ArrayVec;

/// What a connection found, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A request, by its target.
    Request(String),
    /// A request whose body was read over.
    Held(Vec<u8>),
    /// The client was asked for the body.
    Continue,
    /// The input was refused.
    Refused(Status),
}

const OPTIONS: Options = Options {
    head: HeadLimits { header_bytes_max: 512, headers_max: 16, uri_bytes_max: 128 },
    body_bytes_max: 1024,
    idle_timeout: Duration::from_secs(60),
    header_timeout: Duration::from_secs(10),
    body_timeout: Duration::from_secs(30),
    send_timeout: Duration::from_secs(30),
    send_rate_min: 0,
    linger_timeout: Duration::from_secs(2),
    requests_per_connection: 1000,
};

/// Drives one connection with `input`, which arrives in pieces that end at `cuts`.
///
/// # Panics
/// Where an invariant breaks.
#[must_use]
pub fn drive(input: &[u8], cuts: &[usize]) -> Vec<Found> {
    let now = Instant::default();
    let mut conn = Conn::new(now);
    let (mut found, mut at) = (Vec::new(), 0);
    for end in cuts.iter().copied().chain([input.len()]) {
        let end = end.clamp(at, input.len());
        loop {
            let mut space = header_space();
            let consumed = match conn.handle_input(now, &input[at..end], &mut space, &OPTIONS) {
                Step::NeedMore => break,
                Step::Consumed(consumed) => consumed,
                Step::Continue(consumed) => {
                    found.push(Found::Continue);
                    consumed
                }
                Step::Request(request, consumed) => {
                    found.push(Found::Request(request.target.to_owned()));
                    check_names(&request);
                    consumed
                }
                Step::Held(consumed) => {
                    let head = conn.take_held();
                    check_held(&head);
                    found.push(Found::Held(head));
                    consumed
                }
                Step::Refused(status) => {
                    assert!(status.code() >= 400, "a refusal is an error");
                    found.push(Found::Refused(status));
                    return found;
                }
            };
            assert!(consumed <= end - at, "nothing is consumed beyond the input");
            assert!(consumed > 0 || matches!(found.last(), Some(Found::Held(_))), "it goes on");
            at += consumed;
            conn.handle_next(now);
        }
    }
    found
}

/// A head that was held parses again to the same.
fn check_held(head: &[u8]) {
    let mut space = header_space();
    let parsed = request::parse(head, &mut space, &OPTIONS.head);
    assert!(
        matches!(parsed, Ok(Head::Complete(_, consumed)) if consumed == head.len()),
        "a held head is whole"
    );
}

/// No name that comes out of a request climbs.
fn check_names(request: &super::Request<'_, '_>) {
    if let Some(host) = hosts::normalize(request.host) {
        assert!(!host.contains('/') && !host.starts_with('.'), "a host is one directory");
    }
    let Ok(target::Target::Path { path, .. }) = target::parse(request.method, request.target)
    else {
        return;
    };
    let mut name = ArrayVec::<u8, 1024>::new();
    if target::decode_path(path, true, &mut name).is_ok() {
        assert!(name.starts_with(b"/") && !name.contains(&0), "a path from the root");
        let mut parts = name.split(|byte| *byte == b'/');
        assert!(!parts.any(|part| part == b".." || part == b"."), "no path climbs");
    }
}
