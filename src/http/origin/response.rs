//! One head of an origin's answer: syntax, framing, whether the connection lives on.
//!
//! Input: bytes that begin with a response head.   Output: `Head::Complete`, `Head::Partial`, or
//! the error that ends the connection.   Owns: nothing; all slices point into the input.
//! Thread: any, pure; no allocation.
//! Invariants: only whole lines are looked at, and never more than `head_bytes_max` bytes, so the
//! outcome does not depend on how the bytes were cut, and a head that trickles is read as often as
//! it has lines, not as often as it has bytes.
//! Not here: bodies and connection state (`http::origin::Conn`), what may be stored (`cache`).
//! Source: RFC 9112 sections 2 to 6 and 9.3; RFC 9110 sections 7.6.1, 8.6 and 15.
//! Differs from the source: refused although a recipient may repair it: bare LF and bare CR,
//! obs-fold, an empty line before the status line, HTTP/0.9, HTTP/1.2 and up, a status beyond 599,
//! Transfer-Encoding beside Content-Length, any coding but a single `chunked`.

use crate::limits::HEADERS_MAX;

use super::super::request::HeaderSpace;
use super::error::{Error, FramingFault, HeadBound, HeadFault};
use super::fields;

/// Bounds on a head, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Longest head, status line and final empty line included.
    pub head_bytes_max: usize,
    /// Most field lines, at most `HEADERS_MAX`.
    pub headers_max: usize,
}

/// How the end of an answer's body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body, whatever the fields say: an answer to HEAD, 1xx, 204, 304.
    None,
    /// That many bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Until the origin closes.
    UntilClose,
}

/// One answer's head, as slices of the bytes it came in.
#[derive(Clone, Copy, Debug)]
pub struct Response<'h, 'b> {
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase; empty where there is none or it is not ASCII.
    pub reason: &'b str,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor: u8,
    /// How the body ends.
    pub framing: Framing,
    /// Content-Length, which for HEAD and 304 speaks of a body that is not sent.
    pub length: Option<u64>,
    /// Whether the connection may carry another request after this answer.
    pub keep_alive: bool,
    headers: &'h [httparse::Header<'b>],
}

impl<'h, 'b> Response<'h, 'b> {
    /// All fields in order, as sent.
    pub fn fields(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + Clone + use<'h, 'b> {
        self.headers.iter().map(|header| (header.name, header.value))
    }

    /// The fields that may be stored and passed on: all but those of this connection.
    pub fn end_to_end(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + Clone + use<'h, 'b> {
        fields::end_to_end(self.fields())
    }

    /// All values of the field `name` (any case), in order.
    pub fn values(&self, name: &'static str) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b> {
        self.fields()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Whether the answer itself is still to come (RFC 9110 section 15.2).
    #[must_use]
    pub const fn is_interim(&self) -> bool {
        self.status < 200
    }
}

/// What bytes hold.
#[derive(Debug)]
pub enum Head<'h, 'b> {
    /// A whole head of that many bytes.
    Complete(Response<'h, 'b>, usize),
    /// The beginning of one.
    Partial,
}

/// Reads the head that `input` begins with; `seen` of its bytes were found to be partial before.
/// `is_head` tells that the request was HEAD.
///
/// # Errors
/// Why it is no head; the connection is then of no more use, since the end of the answer is not
/// known.
pub fn parse<'h, 'b>(
    input: &'b [u8],
    seen: usize,
    is_head: bool,
    space: &'h mut HeaderSpace<'b>,
    limits: &HeadLimits,
) -> Result<Head<'h, 'b>, Error> {
    check_beginning(input)?;
    let within = &input[..input.len().min(limits.head_bytes_max)];
    let is_full = within.len() == limits.head_bytes_max;
    if !is_full && !within.get(seen..).unwrap_or(within).contains(&b'\n') {
        return Ok(Head::Partial);
    }
    let (lines, has_bare_end) = whole_lines(within);
    let mut raw = httparse::Response::new(&mut []);
    let mut config = httparse::ParserConfig::default();
    // RFC 9112 5.1: a proxy removes white space between a name and its colon.
    config.allow_spaces_after_header_name_in_responses(true);
    let room = &mut space[..limits.headers_max.min(HEADERS_MAX)];
    let consumed = match config.parse_response_with_uninit_headers(&mut raw, lines, room) {
        Ok(httparse::Status::Complete(consumed)) => consumed,
        Ok(httparse::Status::Partial) if has_bare_end => {
            return Err(Error::MalformedHead(HeadFault::LineEnd));
        }
        Ok(httparse::Status::Partial) if is_full => {
            return Err(Error::HeadTooLarge(HeadBound::Bytes));
        }
        Ok(httparse::Status::Partial) => return Ok(Head::Partial),
        Err(error) => return Err(refusal(error)),
    };
    let status = raw.code.unwrap_or(0);
    // RFC 9110 15: a code out of range is to be taken for a 5xx; refusing it makes it a 502.
    if !(100..600).contains(&status) {
        return Err(Error::MalformedHead(HeadFault::StatusLine));
    }
    let start = Start {
        status,
        reason: raw.reason.unwrap_or_default(),
        minor: raw.version.unwrap_or(0),
        is_head,
    };
    Ok(Head::Complete(read_fields(&start, raw.headers)?, consumed))
}

/// Any answer that is not ours shows within the first seven bytes; the parser below us would skip
/// empty lines first, but after an answer they are bytes that nobody asked for.
fn check_beginning(input: &[u8]) -> Result<(), Error> {
    let is_ours = input.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected);
    if is_ours { Ok(()) } else { Err(Error::MalformedHead(HeadFault::Version)) }
}

/// The whole lines of `bytes` up to the first empty one, and whether they stop at a bare LF. RFC
/// 9112 section 2.2 lets a parser take that for a line end; the next parser on the way may not, and
/// then they see different answers. What lies before it is parsed first.
fn whole_lines(bytes: &[u8]) -> (&[u8], bool) {
    let mut end = 0;
    while let Some(length) = bytes[end..].iter().position(|byte| *byte == b'\n') {
        let line = &bytes[end..=end + length];
        if !line.ends_with(b"\r\n") {
            return (&bytes[..end + length], true);
        }
        end += line.len();
        if line.len() == 2 {
            break;
        }
    }
    (&bytes[..end], false)
}

const fn refusal(error: httparse::Error) -> Error {
    Error::MalformedHead(match error {
        httparse::Error::TooManyHeaders => return Error::HeadTooLarge(HeadBound::Fields),
        httparse::Error::Version => HeadFault::Version,
        httparse::Error::Status => HeadFault::StatusLine,
        httparse::Error::NewLine => HeadFault::LineEnd,
        _ => HeadFault::FieldLine,
    })
}

/// The status line, and what was asked.
struct Start<'b> {
    status: u16,
    reason: &'b str,
    minor: u8,
    is_head: bool,
}

/// What was gathered from the field lines before it is checked as a whole.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    is_chunked: bool,
    close: bool,
    keep_alive: bool,
}

fn read_fields<'h, 'b>(
    start: &Start<'b>,
    headers: &'h [httparse::Header<'b>],
) -> Result<Response<'h, 'b>, Error> {
    let Start { status, reason, minor, is_head } = *start;
    let mut found = Fields::default();
    for header in headers {
        read_field(&mut found, header).map_err(Error::Framing)?;
    }
    // RFC 9112 6.3: both at once ought to be handled as an error.
    if found.is_chunked && found.length.is_some() {
        return Err(Error::Framing(FramingFault::Both));
    }
    // RFC 9112 6.1: an HTTP/1.0 message with Transfer-Encoding has faulty framing.
    if found.is_chunked && minor == 0 {
        return Err(Error::Framing(FramingFault::CodingInHttp10));
    }
    let framing = match (status, found.is_chunked, found.length) {
        _ if is_head => Framing::None,
        (100..200 | 204 | 304, ..) => Framing::None,
        (_, true, _) => Framing::Chunked,
        (_, false, Some(length)) => Framing::Length(length),
        (_, false, None) => Framing::UntilClose,
    };
    // An origin that announces a body for 204 may send it too, and it would be the next answer.
    let announces_body = found.is_chunked || found.length.is_some_and(|length| length > 0);
    let is_doubtful = status == 204 && announces_body;
    let persists = !found.close && (minor == 1 || found.keep_alive);
    Ok(Response {
        status,
        reason,
        minor,
        framing,
        length: found.length,
        keep_alive: persists && framing != Framing::UntilClose && !is_doubtful,
        headers,
    })
}

fn read_field(found: &mut Fields, header: &httparse::Header<'_>) -> Result<(), FramingFault> {
    let (name, value) = (header.name, header.value);
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        10 if is("connection") => {
            for option in fields::options(value) {
                found.close |= option.eq_ignore_ascii_case(b"close");
                found.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        14 if is("content-length") => {
            // RFC 9112 6.3: a list of equal lengths, or the field sent again, is that length.
            for item in value.split(|byte| *byte == b',') {
                let length = parse_length(item.trim_ascii()).ok_or(FramingFault::Length)?;
                if found.length.replace(length).is_some_and(|before| before != length) {
                    return Err(FramingFault::Length);
                }
            }
        }
        17 if is("transfer-encoding") => {
            // RFC 9112 6.1: a coding we did not ask for cannot be undone, chunked twice not at all.
            if found.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(FramingFault::Coding);
            }
            found.is_chunked = true;
        }
        _ => {}
    }
    Ok(())
}

/// RFC 9110 section 8.6: digits, nothing else, and never past 64 bits.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::request::header_space;
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 256, headers_max: 8 };

    /// The outcome of one head as text.
    fn outcome(text: &str, is_head: bool) -> String {
        let mut space = header_space();
        match parse(text.as_bytes(), 0, is_head, &mut space, &LIMITS) {
            Err(error) => format!("{error:?}"),
            Ok(Head::Partial) => "partial".to_owned(),
            Ok(Head::Complete(response, consumed)) => {
                let keep = if response.keep_alive { "keep" } else { "close" };
                let rest = text.len() - consumed;
                format!("{} {:?} {keep} rest={rest}", response.status, response.framing)
            }
        }
    }

    #[test]
    fn table_of_good_heads() {
        let table = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "200 Length(3) keep rest=3"),
            ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 Length(0) keep rest=0"),
            ("HTTP/1.1 200 \r\n\r\n", "200 UntilClose close rest=0"),
            ("HTTP/1.1 200 \u{fc}\r\nContent-Length:1\r\n\r\n", "200 Length(1) keep rest=0"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n", "200 Chunked keep rest=0"),
            ("HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\n", "200 Length(3) keep rest=0"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n", "200 Length(3) keep rest=0"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\ncontent-length: 03\r\n\r\n",
                "200 Length(3) keep rest=0",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: x, Close\r\n\r\n",
                "200 Length(3) close rest=0",
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", "200 Length(3) close rest=0"),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
                "200 Length(3) keep rest=0",
            ),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", "200 UntilClose close rest=0"),
            ("HTTP/1.1 204 No Content\r\n\r\n", "204 None keep rest=0"),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", "204 None close rest=0"),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", "304 None keep rest=0"),
            ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", "103 None keep rest=0"),
            ("HTTP/1.1 599 ?\r\nContent-Length: 1\r\n\r\n\n", "599 Length(1) keep rest=1"),
        ];
        for (text, expected) in table {
            assert_eq!(outcome(text, false), expected, "{text:?}");
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(outcome(head, true), "200 None keep rest=0");
    }

    #[test]
    fn table_of_refused_heads() {
        use FramingFault::{Both, Coding, CodingInHttp10, Length};
        use HeadFault::{FieldLine, LineEnd, StatusLine, Version};
        let line = |text: &str| format!("HTTP/1.1 200 OK\r\n{text}\r\n\r\n");
        let heads = [
            ("<html>".to_owned(), Version),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n".to_owned(), Version),
            ("HTTP/1.2 200 OK\r\n\r\n".to_owned(), Version),
            ("HTTP/2".to_owned(), Version),
            ("HTTP/1.1\t200 OK\r\n\r\n".to_owned(), Version),
            ("HTTP/1.1 20 OK\r\n\r\n".to_owned(), StatusLine),
            ("HTTP/1.1 099 OK\r\n\r\n".to_owned(), StatusLine),
            ("HTTP/1.1 600 OK\r\n\r\n".to_owned(), StatusLine),
            ("HTTP/1.1  200 OK\r\n\r\n".to_owned(), StatusLine),
            ("HTTP/1.1 200 O\0K\r\n\r\n".to_owned(), StatusLine),
            ("HTTP/1.1 200 OK\n\n".to_owned(), LineEnd),
            ("HTTP/1.1 200 OK\r\nA: b\n\r\n".to_owned(), LineEnd),
            (line("A: b\r\n folded"), FieldLine),
            (line(" A: b"), FieldLine),
            (line("A: b\rc"), FieldLine),
            (line("A: \0"), FieldLine),
            (line(": b"), FieldLine),
            (line("A b: c"), FieldLine),
            (line("A"), FieldLine),
        ];
        for (text, fault) in heads {
            let expected = format!("{:?}", Error::MalformedHead(fault));
            assert_eq!(outcome(&text, false), expected, "{text:?}");
        }
        let framings = [
            (line("Content-Length: +3"), Length),
            (line("Content-Length:"), Length),
            (line("Content-Length: 3,"), Length),
            (line("Content-Length: 3 3"), Length),
            (line("Content-Length: 0x3"), Length),
            (line("Content-Length: 18446744073709551616"), Length),
            (line("Content-Length: 3\r\nContent-Length: 4"), Length),
            (line("Content-Length: 3\r\nTransfer-Encoding: chunked"), Both),
            (line("Transfer-Encoding: gzip, chunked"), Coding),
            (line("Transfer-Encoding: chunked, chunked"), Coding),
            (line("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Coding),
            (line("Transfer-Encoding: gzip"), Coding),
            (line("Transfer-Encoding: identity"), Coding),
            (line("Transfer-Encoding: \x0bchunked"), Coding),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), CodingInHttp10),
        ];
        for (text, fault) in framings {
            // A vertical tab is no byte of a field at all.
            let expected = match text.contains('\x0b') {
                true => Error::MalformedHead(FieldLine),
                false => Error::Framing(fault),
            };
            assert_eq!(outcome(&text, false), format!("{expected:?}"), "{text:?}");
        }
    }

    #[test]
    fn limits_are_kept() {
        let fields = "A: b\r\n".repeat(9);
        assert_eq!(
            outcome(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), false),
            "HeadTooLarge(Fields)"
        );
        let long = "x".repeat(256);
        assert_eq!(outcome(&format!("HTTP/1.1 200 {long}"), false), "HeadTooLarge(Bytes)");
        let exact = format!("HTTP/1.1 204 {}\r\n\r\n", "x".repeat(256 - 17));
        assert_eq!(outcome(&exact, false), "204 None keep rest=0");
        assert_eq!(outcome("HTTP/1.1 200 OK\r\nA: b", false), "partial");
        assert_eq!(outcome("HTT", false), "partial");
    }
}
