//! What goes wrong with an origin, in the kinds that an operator sees counted.
//!
//! Thread: any, pure.
//! Invariants: every error has exactly one kind, and the kinds are numbered without a gap, so that
//! a table of counters has one place for each.
//! Not here: what is done about it (`http::origin::pool` for the address, the cache for the key).

use std::fmt;

/// Which time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// The connection was not made in time.
    Connect,
    /// No answer came, or its head was begun and not ended in that time.
    FirstByte,
    /// The answer stopped in its middle.
    BetweenBytes,
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// It does not begin with `HTTP/1.0` or `HTTP/1.1` (HTTP/0.9, another protocol, a banner).
    Version,
    /// No status code of three digits from 100 to 599, or a reason with control characters.
    StatusLine,
    /// A field line that is none, or continues the one before (obs-fold, RFC 9112 section 5.2).
    FieldLine,
    /// A bare CR or a bare LF (RFC 9112 section 2.2).
    LineEnd,
    /// 101: the origin changes to a protocol that nobody asked for.
    Upgrade,
    /// More interim answers than `ORIGIN_INTERIMS_MAX`.
    Interims,
}

/// Which bound of a head was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadBound {
    /// `head_bytes_max`.
    Bytes,
    /// `headers_max`.
    Fields,
}

/// Why the end of a body cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingFault {
    /// Content-Length is no number of 64 bits, or several that differ.
    Length,
    /// Transfer-Encoding beside Content-Length: how answers are smuggled (RFC 9112 section 6.3).
    Both,
    /// Transfer-Encoding other than a single `chunked`; we never ask for another (no TE is sent).
    Coding,
    /// Transfer-Encoding in HTTP/1.0 (RFC 9112 section 6.1).
    CodingInHttp10,
    /// The chunks are not well-formed.
    Chunk,
    /// More trailers, or a longer one, than `http::body` reads over.
    Trailers,
}

/// How far an answer had come when its connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No byte of it.
    FirstByte,
    /// Some of its head, or of an interim answer.
    Head,
    /// The head and perhaps some of the body.
    Body,
}

/// Why a connection to an origin is of no more use, before or in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No connection: refused, unreachable, no TLS.
    Connect,
    /// Time ran out.
    Timeout(Timeout),
    /// The head cannot be read.
    MalformedHead(HeadFault),
    /// The head is too large.
    HeadTooLarge(HeadBound),
    /// The end of the body cannot be told, or was told wrongly.
    Framing(FramingFault),
    /// The connection closed before the answer was whole.
    EarlyClose(Stage),
    /// Bytes that nobody asked for: before a request, or after the answer to it.
    UnsolicitedBytes,
}

impl Error {
    /// How many kinds there are.
    pub const KINDS: usize = Self::NAMES.len();

    /// The name of each kind, as the metrics show it.
    pub const NAMES: [&str; 9] = [
        "connect",
        "timeout_connect",
        "timeout_first_byte",
        "timeout_between_bytes",
        "malformed_head",
        "head_too_large",
        "framing",
        "early_close",
        "unsolicited_bytes",
    ];

    /// The number of its kind, from 0, below `KINDS`.
    #[must_use]
    pub const fn kind(self) -> usize {
        match self {
            Self::Connect => 0,
            Self::Timeout(Timeout::Connect) => 1,
            Self::Timeout(Timeout::FirstByte) => 2,
            Self::Timeout(Timeout::BetweenBytes) => 3,
            Self::MalformedHead(_) => 4,
            Self::HeadTooLarge(_) => 5,
            Self::Framing(_) => 6,
            Self::EarlyClose(_) => 7,
            Self::UnsolicitedBytes => 8,
        }
    }

    /// The name of its kind.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.kind()]
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Connect => "no connection to the origin",
            Self::Timeout(Timeout::Connect) => "the origin took too long to connect",
            Self::Timeout(Timeout::FirstByte) => "the origin took too long to begin its answer",
            Self::Timeout(Timeout::BetweenBytes) => "the origin stopped in its answer",
            Self::MalformedHead(fault) => match fault {
                HeadFault::Version => "the origin's answer is not HTTP/1.0 or HTTP/1.1",
                HeadFault::StatusLine => "the origin's status line is malformed",
                HeadFault::FieldLine => "the origin's head has a malformed or folded field",
                HeadFault::LineEnd => "the origin's head has a line end other than CR LF",
                HeadFault::Upgrade => "the origin changes protocols, which nobody asked for",
                HeadFault::Interims => "the origin sent too many interim answers",
            },
            Self::HeadTooLarge(HeadBound::Bytes) => "the origin's head has too many bytes",
            Self::HeadTooLarge(HeadBound::Fields) => "the origin's head has too many fields",
            Self::Framing(fault) => match fault {
                FramingFault::Length => "the origin's Content-Length is no number, or several",
                FramingFault::Both => "the origin sent Content-Length and Transfer-Encoding",
                FramingFault::Coding => "the origin's Transfer-Encoding is not just chunked",
                FramingFault::CodingInHttp10 => "the origin sent Transfer-Encoding in HTTP/1.0",
                FramingFault::Chunk => "the origin's chunks are malformed",
                FramingFault::Trailers => "the origin sent too many trailers",
            },
            Self::EarlyClose(Stage::FirstByte) => "the origin closed without an answer",
            Self::EarlyClose(Stage::Head) => "the origin closed within its head",
            Self::EarlyClose(Stage::Body) => "the origin closed within its body",
            Self::UnsolicitedBytes => "the origin sent bytes that nobody asked for",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_place() {
        let all = [
            Error::Connect,
            Error::Timeout(Timeout::Connect),
            Error::Timeout(Timeout::FirstByte),
            Error::Timeout(Timeout::BetweenBytes),
            Error::MalformedHead(HeadFault::Version),
            Error::HeadTooLarge(HeadBound::Bytes),
            Error::Framing(FramingFault::Both),
            Error::EarlyClose(Stage::Body),
            Error::UnsolicitedBytes,
        ];
        assert_eq!(all.map(Error::name), Error::NAMES);
        assert_eq!(all.len(), Error::KINDS);
    }
}
