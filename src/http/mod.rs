//! One HTTP/1.1 connection of the server: where requests begin and end, and when to give up.
//!
//! Input: bytes as they arrive (`handle_input`, called until it needs more), what was sent, time.
//! Output: one `Step` per call, acted on by the thread that owns the socket; bytes of a body that
//! is kept are ranges of the input, never copied.
//! Owns: the position in a body, and the head of the request that the body belongs to, bounded by
//! `header_bytes_max`.   Thread: any, pure.
//! Invariants: no request is handed out before the one before it was answered; after `Refused` or
//! a last response no further byte is read as a request; bodies are never taken for requests.
//! Not here: files (`cache`), sockets and which bodies are kept (`daemon::http`), writing heads
//! (`http::head`), the client side of a connection (`http::origin`).
//! Source: RFC 9112; RFC 9110.
//! Differs from the house's shape: a request is returned by `handle_input` itself and points into
//! the input, where `poll_*` would have to copy it.

pub mod body;
pub mod conditional;
pub mod date;
pub mod encoding;
pub mod fuzz;
pub mod head;
pub mod hosts;
pub mod origin;
pub mod range;
pub mod reply;
pub mod request;
mod status;
pub mod target;

pub use request::{Framing, Method, Request};
pub use status::Status;

use std::ops::Range;

use crate::time::{Duration, Instant};

use body::Body;
use request::{Head, HeadLimits, HeaderSpace};

/// Bounds on a connection, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bounds on each request head.
    pub head: HeadLimits,
    /// Longest request body, whether it is kept or read over; beyond: 413 and close.
    pub body_bytes_max: u64,
    /// How long a connection may be idle between requests, or before the first; then it is closed.
    pub idle_timeout: Duration,
    /// How long a head may take from its first byte to its last; then 408 and close.
    pub header_timeout: Duration,
    /// How long a body may take; then 408 and close.
    pub body_timeout: Duration,
    /// How long a response may make no progress at all; then close.
    pub send_timeout: Duration,
    /// Least bytes per second of a response, averaged from `SEND_RATE_GRACE` on; 0 for no bound.
    pub send_rate_min: u64,
    /// How long what a client still sends is read over after the last response.
    pub linger_timeout: Duration,
    /// Requests after which the connection is closed.
    pub requests_per_connection: u32,
}

/// A response that takes less than this is never too slow.
pub const SEND_RATE_GRACE: Duration = Duration::from_secs(30);

/// What one call of `handle_input` found at the beginning of its input.
#[derive(Debug)]
pub enum Step<'h, 'b> {
    /// A request of `consumed` bytes without a body: answer it, or put it off and offer the same
    /// bytes again.
    Request(Request<'h, 'b>, usize),
    /// A request whose body follows, with a head of `consumed` bytes, which is held until the body
    /// is over. The body is read over, unless `keep_body` is called before the next call. If the
    /// request `expects_continue`, its client waits for `100 Continue`.
    Begun(Request<'h, 'b>, usize),
    /// Bytes of a body that is kept: that range of the input, of which `consumed` bytes were read.
    Data(Range<usize>, usize),
    /// The body of a request is over after `consumed` bytes; take the request from `take_held`.
    Held(usize),
    /// `consumed` bytes were read; call again with the rest.
    Consumed(usize),
    /// Answer with this status and close. The rest of the input is void.
    Refused(Status),
    /// Nothing more to be found until more bytes arrive.
    NeedMore,
}

/// Why time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// No request came: close.
    Idle,
    /// A head was begun and not ended: answer 408 and close.
    Header,
    /// A body was begun and not ended: answer 408 and close.
    Body,
    /// The client does not take its response: close.
    Send,
    /// The client takes its response too slowly: close.
    SendRate,
    /// The client had its time after the last response: close.
    Linger,
}

#[derive(Debug)]
enum Phase {
    /// Between requests.
    Idle { since: Instant },
    /// Part of a head has arrived.
    Head { since: Instant },
    /// Reading a body: handing out its data, or over it.
    Body { since: Instant, body: Body, is_kept: bool },
    /// A request is being answered. `progress` is the last time a byte was taken.
    Answer { since: Instant, progress: Instant, sent: u64 },
    /// The last response was sent, and the sending side closed; input is read over.
    Linger { since: Instant },
}

/// The state of one connection.
#[derive(Debug)]
pub struct Conn {
    phase: Phase,
    /// How many requests were answered or are being answered.
    requests: u32,
    /// The head of the request whose body is read, kept until the body is over.
    held: Vec<u8>,
}

impl Conn {
    /// A connection that was accepted at `now`.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { phase: Phase::Idle { since: now }, requests: 0, held: Vec::new() }
    }

    /// Reads the beginning of `input`: all bytes that arrived and were not consumed yet.
    pub fn handle_input<'h, 'b>(
        &mut self,
        now: Instant,
        input: &'b [u8],
        space: &'h mut HeaderSpace<'b>,
        options: &Options,
    ) -> Step<'h, 'b> {
        match &mut self.phase {
            Phase::Answer { .. } => Step::NeedMore,
            Phase::Linger { .. } if input.is_empty() => Step::NeedMore,
            Phase::Linger { .. } => Step::Consumed(input.len()),
            Phase::Idle { .. } | Phase::Head { .. } => self.read_head(now, input, space, options),
            Phase::Body { body, is_kept: true, .. } => match body.next_run(input) {
                Err(status) => Step::Refused(status),
                // Where the body is over as well, the next call finds it so.
                Ok(run) if !run.data.is_empty() => Step::Data(run.data, run.taken),
                Ok(run) if run.over => self.end_body(now, run.taken),
                Ok(run) if run.taken == 0 => Step::NeedMore,
                Ok(run) => Step::Consumed(run.taken),
            },
            Phase::Body { .. } if input.is_empty() => Step::NeedMore,
            Phase::Body { body, .. } => match body.handle_input(input) {
                Err(status) => Step::Refused(status),
                Ok((consumed, false)) => Step::Consumed(consumed),
                Ok((consumed, true)) => self.end_body(now, consumed),
            },
        }
    }

    fn end_body<'h, 'b>(&mut self, now: Instant, consumed: usize) -> Step<'h, 'b> {
        self.phase = Phase::Idle { since: now };
        Step::Held(consumed)
    }

    fn read_head<'h, 'b>(
        &mut self,
        now: Instant,
        input: &'b [u8],
        space: &'h mut HeaderSpace<'b>,
        options: &Options,
    ) -> Step<'h, 'b> {
        if input.is_empty() {
            return Step::NeedMore;
        }
        let (request, consumed) = match request::parse(input, space, &options.head) {
            Err(status) => return Step::Refused(status),
            Ok(Head::Partial) => {
                if let Phase::Idle { .. } = self.phase {
                    self.phase = Phase::Head { since: now };
                }
                return Step::NeedMore;
            }
            Ok(Head::Complete(request, consumed)) => (request, consumed),
        };
        let body = match request.framing {
            Framing::None => return Step::Request(request, consumed),
            Framing::Length(length) if length > options.body_bytes_max => {
                return Step::Refused(Status::ContentTooLarge);
            }
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::chunked(options.body_bytes_max),
        };
        self.held.clear();
        self.held.extend_from_slice(&input[..consumed]);
        self.phase = Phase::Body { since: now, body, is_kept: false };
        Step::Begun(request, consumed)
    }

    /// The body that has just begun is wanted: its bytes are handed out by `Step::Data`.
    pub fn keep_body(&mut self) {
        if let Phase::Body { is_kept, .. } = &mut self.phase {
            *is_kept = true;
        }
    }

    /// The head of the request whose body is over, to be parsed again by `request::parse`.
    #[must_use]
    pub fn take_held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Puts a held request back that cannot be answered yet.
    pub fn put_back_held(&mut self, head: Vec<u8>) {
        self.held = head;
    }

    /// Whether a request with a body waits for its answer.
    #[must_use]
    pub const fn has_held(&self) -> bool {
        !self.held.is_empty() && matches!(self.phase, Phase::Idle { .. } | Phase::Answer { .. })
    }

    /// Counts a request that is being answered. Returns whether the connection may live on.
    pub fn handle_answer(&mut self, now: Instant, options: &Options) -> bool {
        self.requests = self.requests.saturating_add(1);
        self.phase = Phase::Answer { since: now, progress: now, sent: 0 };
        self.requests < options.requests_per_connection
    }

    /// The answers given so far fill a batch; no more input is read until it is sent. The same
    /// holds while a request waits for its file. A body that has begun to arrive behind the batch
    /// is still a body.
    pub fn handle_wait(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Body { .. }) {
            self.phase = Phase::Answer { since: now, progress: now, sent: 0 };
        }
    }

    /// Lets the next request be read within the same batch of answers (pipelining).
    pub fn handle_next(&mut self, now: Instant) {
        if let Phase::Answer { .. } = self.phase {
            self.phase = Phase::Idle { since: now };
        }
    }

    /// `bytes` of the answer were taken by the kernel.
    pub fn handle_progress(&mut self, now: Instant, bytes: u64) {
        if let Phase::Answer { progress, sent, .. } = &mut self.phase {
            *progress = now;
            *sent += bytes;
        }
    }

    /// Everything answered was sent; `now` the next request may come.
    pub fn handle_sent(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Body { .. }) {
            self.phase = Phase::Idle { since: now };
        }
    }

    /// The last response was sent; what still comes is read over.
    pub fn handle_last_sent(&mut self, now: Instant) {
        self.held = Vec::new();
        self.phase = Phase::Linger { since: now };
    }

    /// Whether it is between requests, with nothing begun.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle { .. })
    }

    /// Whether a part of a request has arrived, and no answer is due yet.
    #[must_use]
    pub const fn is_reading(&self) -> bool {
        matches!(self.phase, Phase::Head { .. } | Phase::Body { .. })
    }

    /// Whether nothing more is sent on it.
    #[must_use]
    pub const fn is_lingering(&self) -> bool {
        matches!(self.phase, Phase::Linger { .. })
    }

    /// How many requests it has carried.
    #[must_use]
    pub const fn requests(&self) -> u32 {
        self.requests
    }

    /// When `handle_timeout` has to be asked next.
    #[must_use]
    pub fn next_deadline(&self, options: &Options) -> Instant {
        match self.phase {
            Phase::Idle { since } => since.after(options.idle_timeout),
            Phase::Head { since } => since.after(options.header_timeout),
            Phase::Body { since, .. } => since.after(options.body_timeout),
            Phase::Answer { since, progress, .. } => {
                let stalled = progress.after(options.send_timeout);
                if options.send_rate_min == 0 {
                    return stalled;
                }
                stalled.min(since.after(SEND_RATE_GRACE).max(progress))
            }
            Phase::Linger { since } => since.after(options.linger_timeout),
        }
    }

    /// Which time has run out at `now`, if any.
    #[must_use]
    pub fn handle_timeout(&self, now: Instant, options: &Options) -> Option<Timeout> {
        let over = |since: Instant, span: Duration| now.since(since) >= span;
        match self.phase {
            Phase::Idle { since } => over(since, options.idle_timeout).then_some(Timeout::Idle),
            Phase::Head { since } => over(since, options.header_timeout).then_some(Timeout::Header),
            Phase::Body { since, .. } => over(since, options.body_timeout).then_some(Timeout::Body),
            Phase::Linger { since } => {
                over(since, options.linger_timeout).then_some(Timeout::Linger)
            }
            Phase::Answer { since, progress, sent } => {
                if over(progress, options.send_timeout) {
                    return Some(Timeout::Send);
                }
                let span = now.since(since);
                let floor = u128::from(options.send_rate_min) * span.as_millis() / 1000;
                let slow = span >= SEND_RATE_GRACE && u128::from(sent) < floor;
                slow.then_some(Timeout::SendRate)
            }
        }
    }
}

#[cfg(test)]
mod tests;
