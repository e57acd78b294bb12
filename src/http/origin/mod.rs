//! One HTTP/1.1 connection to an origin: where answers begin and end, and when to give up.
//!
//! Input: what the socket tells (`handle_connected`, `handle_input` until it needs more,
//! `handle_close`), requests (`handle_request`), time.
//! Output: one `Step` per call, acted on by the thread that owns the socket; body bytes are ranges
//! of the input, never copied.
//! Owns: the position in an answer.   Thread: any, pure.
//! Invariants: an answer is over only where its framing says so, so that a copy cut short is never
//! taken for a whole one; after an error, or an answer after which the connection must close, no
//! further byte is read; a connection is reusable only while no byte lies beyond its last answer.
//! Not here: sockets and TLS (`daemon`), which connection a request takes, retries and fail-over
//! (`pool`), what is stored (`cache`).
//! Source: RFC 9112; RFC 9110 sections 7.6 and 15.2.
//! Differs from the house's shape: `handle_input` returns its one output itself, since that points
//! into the input, where `poll_*` would have to copy it.
//!
//! ```text
//!            connected       request          first byte         whole head
//!   Connect ----------> Idle ------> FirstByte ---------> Head -------------> Body
//!                        ^               ^   interim (1xx) |                    |
//!                        |               +-----------------+                    |
//!                        +------------------------------------------------------+ end, and kept
//!   any ----> Over: an error, a close, the end of an answer after which nothing follows
//! ```

pub mod error;
pub mod fields;
pub mod health;
pub mod location;
pub mod pool;
pub mod request;
pub mod response;

use std::ops::Range;

use crate::limits::{HEADERS_MAX, ORIGIN_HEAD_BYTES_MAX, ORIGIN_INTERIMS_MAX};
use crate::time::{Duration, Instant};

use super::Status;
use super::body::{Body, Run};
use super::request::{HeaderSpace, Method};

pub use error::{Error, FramingFault, HeadBound, HeadFault, Stage, Timeout};
pub use request::{Conditions, EmitError, Outgoing, emit_request};
pub use response::{Framing, HeadLimits, Response};

/// Bounds on a connection, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bounds on each head, at most `ORIGIN_HEAD_BYTES_MAX` bytes and `HEADERS_MAX` fields.
    pub head: HeadLimits,
    /// How long making the connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long the first byte of an answer may take from the last bytes of the request on, and its
    /// whole head from that byte on. After an interim answer the time begins anew.
    pub first_byte_timeout: Duration,
    /// How long an answer may pause in its middle.
    pub between_bytes_timeout: Duration,
}

/// What one call of `handle_input` found at the beginning of its input.
#[derive(Debug)]
pub enum Step<'h, 'b> {
    /// The head of the answer, of `consumed` bytes; its body follows.
    Head(Response<'h, 'b>, usize),
    /// Body bytes: that range of the input, of which `consumed` bytes were read.
    Body(Range<usize>, usize),
    /// `consumed` bytes without meaning to anyone else were read; call again with the rest.
    Consumed(usize),
    /// The answer is whole, after `consumed` bytes. Go on until `NeedMore`, then ask
    /// `is_reusable`: bytes may follow that nobody asked for.
    End(usize),
    /// The connection is of no more use: close it. An answer under way is incomplete.
    Failed(Error),
    /// Nothing more to be found until more bytes arrive.
    NeedMore,
}

/// How the other side closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The end of the stream, by FIN or, under TLS, by `close_notify`.
    Orderly,
    /// A reset, another error, or under TLS a FIN without `close_notify` (RFC 9112 section 9.8).
    Broken,
}

/// What a close means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// No answer was under way.
    Unused,
    /// The close was the end of the answer, which is whole.
    Complete,
    /// The answer under way will never be whole; nothing of it may be stored.
    Incomplete(Error),
}

/// What was asked, as far as the answer's framing depends on it.
#[derive(Clone, Copy, Debug)]
struct Ask {
    is_head: bool,
    interims: u8,
}

/// How the rest of a body ends.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// By its own framing; no body is one of length 0.
    Framed(Body),
    /// When the origin closes.
    UntilClose,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The connection is being made.
    Connect { since: Instant },
    /// Between requests.
    Idle,
    /// A request is out, and no byte of its answer (after the last interim one) has come.
    FirstByte { since: Instant, ask: Ask },
    /// `seen` bytes of a head have come, the last at `progress`.
    Head { since: Instant, progress: Instant, seen: usize, ask: Ask },
    /// The head is read, the last body byte came at `progress`.
    Body { progress: Instant, rest: Rest, keep: bool },
    /// Nothing is read any more.
    Over,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Conn {
    phase: Phase,
    /// How many requests were sent on it.
    requests: u32,
    /// Whether any byte came since the last request.
    is_answered: bool,
    /// Whether we, not the origin, hold the answer up.
    is_paused: bool,
}

impl Conn {
    /// A connection that is being made since `now`.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Connect { since: now },
            requests: 0,
            is_answered: false,
            is_paused: false,
        }
    }

    /// The connection is made, TLS included.
    pub fn handle_connected(&mut self) {
        if let Phase::Connect { .. } = self.phase {
            self.phase = Phase::Idle;
        }
    }

    /// A request is handed to the kernel, as `emit_request` wrote it.
    ///
    /// # Panics
    /// If the connection is not idle: requests are not pipelined to an origin, since the failure of
    /// one would be that of all behind it.
    pub fn handle_request(&mut self, now: Instant, method: Method) {
        assert!(matches!(self.phase, Phase::Idle), "one request at a time");
        let ask = Ask { is_head: method == Method::Head, interims: 0 };
        self.phase = Phase::FirstByte { since: now, ask };
        self.requests = self.requests.saturating_add(1);
        self.is_answered = false;
        self.is_paused = false;
    }

    /// The kernel took a part of the request: the time for its answer begins anew, since an origin
    /// that takes a long body slowly cannot answer before.
    pub fn handle_sent(&mut self, now: Instant) {
        if let Phase::FirstByte { since, .. } = &mut self.phase {
            *since = now;
        }
    }

    /// Reads the beginning of `input`: all bytes that arrived and were not consumed yet.
    pub fn handle_input<'h, 'b>(
        &mut self,
        now: Instant,
        input: &'b [u8],
        space: &'h mut HeaderSpace<'b>,
        options: &Options,
    ) -> Step<'h, 'b> {
        if let (Phase::FirstByte { ask, .. }, false) = (self.phase, input.is_empty()) {
            self.phase = Phase::Head { since: now, progress: now, seen: 0, ask };
            self.is_answered = true;
        }
        let step = match self.phase {
            Phase::Over => Ok(Step::NeedMore),
            Phase::Body { .. } => self.read_body(now, input),
            _ if input.is_empty() => Ok(Step::NeedMore),
            Phase::Head { .. } => self.read_head(now, input, space, options),
            // A banner, a farewell (408), or the tail of an answer that was longer than it said.
            Phase::Connect { .. } | Phase::Idle | Phase::FirstByte { .. } => {
                Err(Error::UnsolicitedBytes)
            }
        };
        step.unwrap_or_else(|error| {
            self.phase = Phase::Over;
            Step::Failed(error)
        })
    }

    fn read_head<'h, 'b>(
        &mut self,
        now: Instant,
        input: &'b [u8],
        space: &'h mut HeaderSpace<'b>,
        options: &Options,
    ) -> Result<Step<'h, 'b>, Error> {
        let Phase::Head { since, progress, seen, mut ask } = self.phase else {
            return Ok(Step::NeedMore);
        };
        let limits = HeadLimits {
            head_bytes_max: options.head.head_bytes_max.min(ORIGIN_HEAD_BYTES_MAX),
            headers_max: options.head.headers_max.min(HEADERS_MAX),
        };
        let head = response::parse(input, seen, ask.is_head, space, &limits)?;
        let (response, consumed) = match head {
            response::Head::Complete(response, consumed) => (response, consumed),
            response::Head::Partial => {
                // The same bytes offered again are no progress.
                let progress = if input.len() > seen { now } else { progress };
                self.phase = Phase::Head { since, progress, seen: input.len(), ask };
                return Ok(Step::NeedMore);
            }
        };
        if response.status == 101 {
            return Err(Error::MalformedHead(HeadFault::Upgrade));
        }
        if response.is_interim() {
            // RFC 9110 15.2: any number may come; they are not for the client of a cache.
            ask.interims += 1;
            if ask.interims > ORIGIN_INTERIMS_MAX {
                return Err(Error::MalformedHead(HeadFault::Interims));
            }
            self.phase = Phase::FirstByte { since: now, ask };
            return Ok(Step::Consumed(consumed));
        }
        let rest = match response.framing {
            Framing::None => Rest::Framed(Body::Length(0)),
            Framing::Length(length) => Rest::Framed(Body::Length(length)),
            // No bound: a body is passed on as it comes, and whoever stores it has its own.
            Framing::Chunked => Rest::Framed(Body::chunked(u64::MAX)),
            Framing::UntilClose => Rest::UntilClose,
        };
        self.phase = Phase::Body { progress: now, rest, keep: response.keep_alive };
        Ok(Step::Head(response, consumed))
    }

    fn read_body<'h, 'b>(&mut self, now: Instant, input: &[u8]) -> Result<Step<'h, 'b>, Error> {
        let Phase::Body { progress, rest, keep } = &mut self.phase else {
            return Ok(Step::NeedMore);
        };
        let run = match rest {
            Rest::UntilClose => Run { taken: input.len(), data: 0..input.len(), over: false },
            Rest::Framed(body) => body.next_run(input).map_err(chunk_error)?,
        };
        if run.taken > 0 {
            *progress = now;
        }
        assert!(run.taken <= input.len(), "nothing is read beyond the input");
        assert!(run.data.end <= run.taken, "data lies within what was read");
        if !run.data.is_empty() {
            // Where the body is over as well, the next call finds it so.
            return Ok(Step::Body(run.data, run.taken));
        }
        if run.over {
            self.phase = if *keep { Phase::Idle } else { Phase::Over };
            return Ok(Step::End(run.taken));
        }
        Ok(if run.taken > 0 { Step::Consumed(run.taken) } else { Step::NeedMore })
    }

    /// The other side closed, and all its input was read.
    pub fn handle_close(&mut self, close: Close) -> Closed {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let early = |stage| Closed::Incomplete(Error::EarlyClose(stage));
        match phase {
            Phase::Connect { .. } => Closed::Incomplete(Error::Connect),
            Phase::Idle | Phase::Over => Closed::Unused,
            Phase::FirstByte { .. } if !self.is_answered => early(Stage::FirstByte),
            Phase::FirstByte { .. } | Phase::Head { .. } => early(Stage::Head),
            Phase::Body { rest: Rest::UntilClose, .. } if close == Close::Orderly => {
                Closed::Complete
            }
            // A head was read without asking for the end of its empty body.
            Phase::Body { rest: Rest::Framed(Body::Length(0)), .. } => Closed::Complete,
            Phase::Body { .. } => early(Stage::Body),
        }
    }

    /// No more input is read for now, because what came is not taken: the pause is ours.
    pub fn handle_pause(&mut self) {
        self.is_paused = matches!(self.phase, Phase::Body { .. });
    }

    /// Input is read again.
    pub fn handle_resume(&mut self, now: Instant) {
        self.is_paused = false;
        if let Phase::Body { progress, .. } = &mut self.phase {
            *progress = now;
        }
    }

    /// Which time has run out at `now`, if any; the connection is then of no more use.
    pub fn handle_timeout(&mut self, now: Instant, options: &Options) -> Option<Error> {
        let (deadline, timeout) = self.deadline(options)?;
        if now < deadline {
            return None;
        }
        self.phase = Phase::Over;
        Some(Error::Timeout(timeout))
    }

    /// When `handle_timeout` has to be asked next. How long a connection may be idle is the pool's.
    #[must_use]
    pub fn next_deadline(&self, options: &Options) -> Option<Instant> {
        self.deadline(options).map(|(deadline, _)| deadline)
    }

    fn deadline(&self, options: &Options) -> Option<(Instant, Timeout)> {
        let first_byte = |since: Instant| since.after(options.first_byte_timeout);
        let between = |progress: Instant| progress.after(options.between_bytes_timeout);
        match self.phase {
            Phase::Connect { since } => {
                Some((since.after(options.connect_timeout), Timeout::Connect))
            }
            Phase::FirstByte { since, .. } => Some((first_byte(since), Timeout::FirstByte)),
            // A head that trickles would otherwise last as long as it has bytes.
            Phase::Head { since, progress, .. } => {
                if first_byte(since) <= between(progress) {
                    Some((first_byte(since), Timeout::FirstByte))
                } else {
                    Some((between(progress), Timeout::BetweenBytes))
                }
            }
            Phase::Body { progress, .. } if !self.is_paused => {
                Some((between(progress), Timeout::BetweenBytes))
            }
            Phase::Body { .. } | Phase::Idle | Phase::Over => None,
        }
    }

    /// Whether it may carry another request: the last answer is whole, its origin did not say that
    /// it closes, and no byte came after it. The request must also have been sent to its end.
    #[must_use]
    pub const fn is_reusable(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Whether an answer is under way.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        !matches!(self.phase, Phase::Connect { .. } | Phase::Idle | Phase::Over)
    }

    /// Whether a byte of the answer has come to the last request.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Whether a close now would tell of an origin that let go of an idle connection just when it
    /// was used again: a request that was not the first, and no byte in answer. An idempotent one
    /// may then be sent once more (RFC 9112 section 9.3.1).
    #[must_use]
    pub const fn may_retry(&self) -> bool {
        self.requests > 1 && !self.is_answered
    }

    /// How many requests it has carried.
    #[must_use]
    pub const fn requests(&self) -> u32 {
        self.requests
    }
}

/// What the reader of bodies says to a client, as what is wrong with an origin.
const fn chunk_error(status: Status) -> Error {
    Error::Framing(match status {
        Status::RequestHeaderFieldsTooLarge => FramingFault::Trailers,
        // Also 413: only a size beyond 64 bits is beyond the budget given above.
        _ => FramingFault::Chunk,
    })
}

#[cfg(test)]
mod tests;
