//! Entries for fuzzers: any bytes, in any pieces, through the connection cores of both sides.
//!
//! Input: bytes, as a client's requests or as an origin's answer.   Output: panics where an
//! invariant breaks.   Thread: any, pure.
//! Invariants: what is found depends on the bytes, not on how they were cut; nothing is consumed
//! twice or beyond the input; a connection that refused finds nothing more.
//! Not here: where bytes come from (`tests/fuzz_http.rs` has a short run, a fuzzer a long one).

use super::request::{Head, HeadLimits, header_space};
use super::{Conn, Method, Options, Status, Step, hosts, origin, request, target};
use crate::time::{Duration, Instant};
use arrayvec::ArrayVec;

/// What a connection found, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A request, by its target.
    Request(String),
    /// A request whose body is over: its head, and the body where it was kept.
    Held(Vec<u8>, Vec<u8>),
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
    let (mut found, mut at, mut body) = (Vec::new(), 0, Vec::new());
    for end in cuts.iter().copied().chain([input.len()]) {
        let end = end.clamp(at, input.len());
        loop {
            let mut space = header_space();
            let consumed = match conn.handle_input(now, &input[at..end], &mut space, &OPTIONS) {
                Step::NeedMore => break,
                Step::Consumed(consumed) => consumed,
                Step::Begun(request, consumed) => {
                    if request.expects_continue {
                        found.push(Found::Continue);
                    }
                    if request.method.is_change() {
                        conn.keep_body();
                    }
                    consumed
                }
                Step::Data(range, consumed) => {
                    assert!(!range.is_empty() && range.end <= consumed, "data is read");
                    body.extend_from_slice(&input[at..end][range]);
                    assert!(body.len() as u64 <= OPTIONS.body_bytes_max, "no more than allowed");
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
                    found.push(Found::Held(head, std::mem::take(&mut body)));
                    consumed
                }
                Step::Refused(status) => {
                    assert!(status.code() >= 400, "a refusal is an error");
                    found.push(Found::Refused(status));
                    return found;
                }
            };
            assert!(consumed <= end - at, "nothing is consumed beyond the input");
            assert!(consumed > 0 || matches!(found.last(), Some(Found::Held(..))), "it goes on");
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

/// What came of one answer of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Status and framing, if the head was read.
    pub head: Option<(u16, origin::Framing)>,
    /// The body bytes that were handed out.
    pub body: Vec<u8>,
    /// How it ended.
    pub end: AnswerEnd,
    /// Whether the connection may carry another request.
    pub is_reusable: bool,
    /// Whether a whole answer was followed by bytes that nobody asked for.
    pub has_excess: bool,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerEnd {
    /// It is whole.
    Complete,
    /// It goes on.
    Open,
    /// It will never be whole.
    Failed(origin::Error),
}

const ORIGIN_OPTIONS: origin::Options = origin::Options {
    head: origin::HeadLimits { head_bytes_max: 512, headers_max: 16 },
    connect_timeout: Duration::from_secs(3),
    first_byte_timeout: Duration::from_secs(10),
    between_bytes_timeout: Duration::from_secs(10),
};

/// Asks an origin with `method`; `input` is all it ever sends, in pieces that end at `cuts`, and
/// then it closes as `close` says, or not at all.
///
/// # Panics
/// Where an invariant breaks.
#[must_use]
pub fn drive_origin(
    input: &[u8],
    cuts: &[usize],
    method: Method,
    close: Option<origin::Close>,
) -> Answered {
    let now = Instant::default();
    let mut conn = origin::Conn::new(now);
    conn.handle_connected();
    conn.handle_request(now, method);
    let mut found = Answered {
        head: None,
        body: Vec::new(),
        end: AnswerEnd::Open,
        is_reusable: false,
        has_excess: false,
    };
    let mut at = 0;
    for end in cuts.iter().copied().chain([input.len()]) {
        let end = end.clamp(at, input.len());
        while let Some(consumed) = drive_step(&mut conn, &input[at..end], &mut found) {
            assert!(consumed <= end - at, "nothing is consumed beyond the input");
            at += consumed;
        }
    }
    let is_open = found.end == AnswerEnd::Open;
    found.is_reusable = conn.is_reusable();
    assert!(!found.is_reusable || found.end == AnswerEnd::Complete, "reused after an end only");
    assert!(!found.is_reusable || at == input.len(), "reused with nothing left over only");
    if let Some(close) = close {
        match conn.handle_close(close) {
            origin::Closed::Unused => assert!(!is_open, "an open answer does not vanish"),
            origin::Closed::Complete => found.end = AnswerEnd::Complete,
            origin::Closed::Incomplete(error) => found.end = AnswerEnd::Failed(error),
        }
        found.is_reusable = false;
        assert!(found.end != AnswerEnd::Open, "a close decides");
    }
    if let (Some((_, origin::Framing::Length(length))), AnswerEnd::Complete) =
        (found.head, found.end)
    {
        assert_eq!(found.body.len() as u64, length, "a whole body has the length it was given");
    }
    found
}

/// One step; `None` when nothing more is to be found in `input`.
fn drive_step(conn: &mut origin::Conn, input: &[u8], found: &mut Answered) -> Option<usize> {
    let now = Instant::default();
    let mut space = header_space();
    match conn.handle_input(now, input, &mut space, &ORIGIN_OPTIONS) {
        origin::Step::NeedMore => None,
        origin::Step::Consumed(consumed) => {
            assert!(consumed > 0, "it goes on");
            Some(consumed)
        }
        origin::Step::Head(response, consumed) => {
            assert!(consumed > 0, "a head has bytes");
            assert!(found.head.is_none(), "one head");
            found.head = Some((response.status, response.framing));
            check_passes(&response);
            Some(consumed)
        }
        origin::Step::Body(range, consumed) => {
            assert!(!range.is_empty(), "no empty pieces");
            assert!(range.end <= consumed, "body bytes are read");
            found.body.extend_from_slice(&input[range]);
            Some(consumed)
        }
        origin::Step::End(consumed) => {
            assert!(found.head.is_some(), "an end has a head");
            found.end = AnswerEnd::Complete;
            Some(consumed)
        }
        origin::Step::Failed(error) => {
            if found.end == AnswerEnd::Complete {
                assert_eq!(error, origin::Error::UnsolicitedBytes, "the answer was whole");
                found.has_excess = true;
            } else {
                found.end = AnswerEnd::Failed(error);
            }
            None
        }
    }
}

/// What an origin's head holds can be passed on as it is: no field splits another message.
fn check_passes(response: &origin::Response<'_, '_>) {
    let request = origin::Outgoing {
        method: Method::Get,
        target: "/",
        host: "a",
        keep: true,
        via: "no-one",
        client_minor: 1,
        conditions: origin::Conditions::Client,
        body_bytes: None,
    };
    let mut out = Vec::new();
    let written = origin::emit_request(&mut out, &request, response.end_to_end());
    assert!(matches!(written, Ok(()) | Err(origin::EmitError::Loop)), "{written:?}");
    let mut space = header_space();
    let limits = HeadLimits { header_bytes_max: 2048, headers_max: 32, uri_bytes_max: 64 };
    let parsed = written.map(|()| request::parse(&out, &mut space, &limits));
    if let Ok(Ok(Head::Complete(request, consumed))) = &parsed {
        assert_eq!(*consumed, out.len(), "one request, whole");
        assert_eq!(request.framing, super::Framing::None, "without a body");
    }
    let place =
        origin::location::Place { scheme: origin::location::Scheme::Http, host: "a", port: 80 };
    for value in response.values("location") {
        let rewritten = origin::location::rewrite(value, &[place], &place);
        assert!(!rewritten.iter().any(|byte| b"\r\n\0".contains(byte)), "still one field");
    }
}
