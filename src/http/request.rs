//! One request head: syntax, framing, and the fields that a file server acts on (RFC 9112, 9110).
//!
//! Input: bytes that begin with a request head.   Output: `Head::Complete`, `Head::Partial`, or the
//! status that refuses it.   Owns: nothing; all slices point into the input.
//! Thread: any, pure; no allocation.
//! Not here: bodies and connection state (`http::Conn`), the path (`http::target`).
//! Source: RFC 9112 sections 2 to 6; RFC 9110 sections 5, 7.2, 9 and 10.1.1.
//! Differs from the source: leniencies that RFC 9112 allows but that let two parsers disagree are
//! refused: bare LF and bare CR, a body length given twice even where the values agree, any
//! Transfer-Encoding but a single `chunked`.

use std::mem::MaybeUninit;

use crate::limits::HEADERS_MAX;

use super::Status;

/// The longest method that anybody registered, UPDATEREDIRECTREF; bytes. Beyond: 501.
const METHOD_LEN_MAX: usize = 17;

/// Room for the fields of one head, on the caller's stack.
pub type HeaderSpace<'b> = [MaybeUninit<httparse::Header<'b>>; HEADERS_MAX];

/// Fresh room for the fields of one head.
#[must_use]
pub const fn header_space<'b>() -> HeaderSpace<'b> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

/// Bounds on a head, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Longest head, request line and final empty line included; beyond: 431.
    pub header_bytes_max: usize,
    /// Most field lines, at most `HEADERS_MAX`; beyond: 431.
    pub headers_max: usize,
    /// Longest request target; beyond: 414.
    pub uri_bytes_max: usize,
}

/// What a method is to a server of files and of what origins have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// RFC 9110 section 9.3.1.
    Get,
    /// RFC 9110 section 9.3.2.
    Head,
    /// RFC 9110 section 9.3.7.
    Options,
    /// RFC 9110 section 9.3.3.
    Post,
    /// RFC 9110 section 9.3.4.
    Put,
    /// RFC 5789.
    Patch,
    /// RFC 9110 section 9.3.5.
    Delete,
    /// Any other: answered 405 with the methods there are.
    Other,
}

impl Method {
    /// The methods' names, in their order; the last one stands for all others.
    pub const NAMES: [&str; 8] =
        ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "other"];

    /// Reads a method's name, which is case-sensitive.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            _ => Self::Other,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Whether it is one that changes what an origin has, and that a host may let through to it.
    #[must_use]
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch | Self::Delete)
    }

    /// Whether sending it twice is as good as once (RFC 9110 section 9.2.2).
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Patch | Self::Other)
    }
}

/// How the end of the request's body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// That many bytes, at least 1.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A set of fields that were present, so that the common request looks none of them up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Any of If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since.
    pub condition: bool,
    /// Range.
    pub range: bool,
    /// Cache-Control or Pragma.
    pub cache_control: bool,
    /// Authorization.
    pub authorization: bool,
}

/// One request, as slices of the bytes it came in.
#[derive(Clone, Copy, Debug)]
pub struct Request<'h, 'b> {
    /// What is asked.
    pub method: Method,
    /// Its name as sent: methods that a file server has no use for have only that.
    pub method_name: &'b str,
    /// The request target as sent; `http::target` takes it apart.
    pub target: &'b str,
    /// The Host field's value; empty where HTTP/1.0 sent none.
    pub host: &'b [u8],
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor: u8,
    /// Whether the client lets the connection be used again (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// Accept-Encoding, if sent.
    pub accept_encoding: Option<&'b [u8]>,
    /// Which of the rarer fields are among `headers`.
    pub present: Present,
    /// How the body ends.
    pub framing: Framing,
    /// Whether `Expect: 100-continue` was sent with HTTP/1.1 (RFC 9110 section 10.1.1).
    pub expects_continue: bool,
    headers: &'h [httparse::Header<'b>],
}

impl<'h, 'b> Request<'h, 'b> {
    /// All values of the field `name` (any case), in order.
    pub fn values(&self, name: &'static str) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b> {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }

    /// All fields in order, as sent.
    pub fn fields(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + Clone + use<'h, 'b> {
        self.headers.iter().map(|header| (header.name, header.value))
    }

    /// The only value of a field that may be sent once; `None` also where it was sent twice.
    #[must_use]
    pub fn single(&self, name: &'static str) -> Option<&'b [u8]> {
        let mut values = self.values(name);
        let first = values.next()?;
        values.next().is_none().then_some(first)
    }
}

/// What bytes hold.
#[derive(Debug)]
pub enum Head<'h, 'b> {
    /// A whole head of that many bytes.
    Complete(Request<'h, 'b>, usize),
    /// The beginning of one.
    Partial,
}

/// Reads the head that `input` begins with.
///
/// # Errors
/// The status to refuse the request with; the connection is then of no more use, since the end of
/// the request is not known.
pub fn parse<'h, 'b>(
    input: &'b [u8],
    space: &'h mut HeaderSpace<'b>,
    limits: &HeadLimits,
) -> Result<Head<'h, 'b>, Status> {
    let blank = leading_empty_lines(input)?;
    let bytes = &input[blank..];
    let mut raw = httparse::Request::new(&mut []);
    let room = &mut space[..limits.headers_max.min(HEADERS_MAX)];
    let consumed = match raw.parse_with_uninit_headers(bytes, room) {
        Ok(httparse::Status::Complete(consumed)) => consumed,
        Ok(httparse::Status::Partial) => return check_partial(bytes, limits),
        Err(error) => return refusal(error, bytes, limits),
    };
    check_method(bytes)?;
    check_line_ends(&bytes[..consumed])?;
    if consumed > limits.header_bytes_max {
        return Err(Status::RequestHeaderFieldsTooLarge);
    }
    let target = raw.path.unwrap_or_default();
    if target.len() > limits.uri_bytes_max {
        return Err(Status::UriTooLong);
    }
    let method = raw.method.unwrap_or_default();
    let request = read_fields(method, target, raw.version.unwrap_or(0), raw.headers)?;
    Ok(Head::Complete(request, blank + consumed))
}

/// RFC 9112 section 2.2: a server should ignore at least one empty line before the request line.
fn leading_empty_lines(input: &[u8]) -> Result<usize, Status> {
    const EMPTY_LINES_MAX: usize = 2;
    let mut at = 0;
    while let Some(first) = input.get(at) {
        match (first, input.get(at + 1)) {
            (b'\r', None) => break,
            (b'\r', Some(b'\n')) if at < EMPTY_LINES_MAX * 2 => at += 2,
            (b'\r' | b'\n', _) => return Err(Status::BadRequest),
            _ => break,
        }
    }
    Ok(at)
}

/// Refuses what can be refused before the head is whole, so that a client learns it at once.
fn check_partial<'h, 'b>(bytes: &[u8], limits: &HeadLimits) -> Result<Head<'h, 'b>, Status> {
    check_method(bytes)?;
    check_line_ends(bytes)?;
    match bytes.iter().position(|byte| *byte == b'\n') {
        // ` HTTP/1.1\r\n` has 11 bytes.
        None if bytes.len() > limits.uri_bytes_max + METHOD_LEN_MAX + 11 => Err(Status::UriTooLong),
        Some(end) if end > limits.uri_bytes_max + METHOD_LEN_MAX + 11 => Err(Status::UriTooLong),
        _ if bytes.len() >= limits.header_bytes_max => Err(Status::RequestHeaderFieldsTooLarge),
        _ => Ok(Head::Partial),
    }
}

/// RFC 9112 section 2.2 lets a parser take a bare LF for a line end; the next parser on the way may
/// not, and then they see different requests. The parser below us refuses a bare CR by itself.
fn check_line_ends(head: &[u8]) -> Result<(), Status> {
    let Some(rest) = head.get(1..) else { return Ok(()) };
    let bare = rest.iter().zip(head).filter(|(byte, before)| **byte == b'\n' && **before != b'\r');
    if head[0] == b'\n' || bare.count() > 0 { Err(Status::BadRequest) } else { Ok(()) }
}

/// RFC 9112 section 3: a method longer than any that is known is answered 501.
fn check_method(bytes: &[u8]) -> Result<(), Status> {
    let method = bytes.iter().take(METHOD_LEN_MAX + 1).take_while(|byte| is_token_byte(**byte));
    if method.count() > METHOD_LEN_MAX { Err(Status::NotImplemented) } else { Ok(()) }
}

/// What to answer to a head that the parser refused; it refuses a version at its first byte that is
/// not ours, which is too early to tell another version from none.
fn refusal<'h, 'b>(
    error: httparse::Error,
    bytes: &[u8],
    limits: &HeadLimits,
) -> Result<Head<'h, 'b>, Status> {
    check_method(bytes)?;
    match error {
        httparse::Error::TooManyHeaders => Err(Status::RequestHeaderFieldsTooLarge),
        httparse::Error::Version => match read_version(bytes) {
            Version::Partial => check_partial(bytes, limits),
            Version::Other => Err(Status::HttpVersionNotSupported),
            Version::Malformed => Err(Status::BadRequest),
        },
        _ => Err(Status::BadRequest),
    }
}

/// The third word of a request line that is neither `HTTP/1.0` nor `HTTP/1.1`.
enum Version {
    /// The beginning of a well-formed one.
    Partial,
    /// A well-formed one.
    Other,
    /// Anything else.
    Malformed,
}

fn read_version(bytes: &[u8]) -> Version {
    let version = bytes.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default();
    let shape = b"HTTP/0.0\r\n";
    let fits = version.iter().zip(shape).all(|(byte, place)| match place {
        b'0' => byte.is_ascii_digit(),
        _ => byte == place,
    });
    match (fits, version.len() < shape.len()) {
        (true, true) => Version::Partial,
        (true, false) => Version::Other,
        (false, _) => Version::Malformed,
    }
}

/// What was gathered from the field lines before it is checked as a whole.
#[derive(Default)]
struct Fields<'b> {
    host: Option<&'b [u8]>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    accept_encoding: Option<&'b [u8]>,
    has_accept_encoding: bool,
    present: Present,
    expects_continue: bool,
}

fn read_fields<'h, 'b>(
    method_name: &'b str,
    target: &'b str,
    minor: u8,
    headers: &'h [httparse::Header<'b>],
) -> Result<Request<'h, 'b>, Status> {
    let mut fields = Fields::default();
    for header in headers {
        read_field(&mut fields, header)?;
    }
    // RFC 9112 3.2: a 1.1 request without Host is refused.
    if minor == 1 && fields.host.is_none() {
        return Err(Status::BadRequest);
    }
    let framing = match (fields.chunked, fields.length) {
        // RFC 9112 6.3: both lengths at once is how requests are smuggled.
        (true, Some(_)) => return Err(Status::BadRequest),
        // RFC 9112 6.1: Transfer-Encoding in an HTTP/1.0 message is faulty framing.
        (true, None) if minor == 0 => return Err(Status::BadRequest),
        (true, None) => Framing::Chunked,
        (false, Some(0) | None) => Framing::None,
        (false, Some(length)) => Framing::Length(length),
    };
    Ok(Request {
        method: Method::parse(method_name),
        method_name,
        target,
        host: fields.host.unwrap_or_default(),
        minor,
        keep_alive: !fields.close && (minor == 1 || fields.keep_alive),
        accept_encoding: fields.accept_encoding,
        present: fields.present,
        framing,
        // RFC 9110 10.1.1: an expectation in an HTTP/1.0 request is ignored.
        expects_continue: fields.expects_continue && minor == 1,
        headers,
    })
}

/// Names are told apart by length first: almost all fields of a browser end there.
fn read_field<'b>(fields: &mut Fields<'b>, header: &httparse::Header<'b>) -> Result<(), Status> {
    let (name, value) = (header.name, header.value);
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        4 if is("host") && fields.host.replace(value).is_some() => return Err(Status::BadRequest),
        5 if is("range") => fields.present.range = true,
        6 if is("pragma") => fields.present.cache_control = true,
        6 if is("expect") => {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Status::ExpectationFailed);
            }
            fields.expects_continue = true;
        }
        8 if is("if-match") => fields.present.condition = true,
        10 if is("connection") => {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                fields.close |= option.eq_ignore_ascii_case(b"close");
                fields.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        13 if is("if-none-match") => fields.present.condition = true,
        13 if is("cache-control") => fields.present.cache_control = true,
        13 if is("authorization") => fields.present.authorization = true,
        14 if is("content-length") => {
            let length = parse_length(value)?;
            if fields.length.replace(length).is_some() {
                return Err(Status::BadRequest);
            }
        }
        // Several lines would have to be joined (RFC 9110 5.3); then nothing is taken for granted.
        15 if is("accept-encoding") => {
            let is_first = !std::mem::replace(&mut fields.has_accept_encoding, true);
            fields.accept_encoding = is_first.then_some(value);
        }
        17 if is("if-modified-since") => fields.present.condition = true,
        17 if is("transfer-encoding") => {
            if fields.chunked {
                return Err(Status::BadRequest);
            }
            fields.chunked = parse_transfer_encoding(value)?;
        }
        19 if is("if-unmodified-since") => fields.present.condition = true,
        _ => {}
    }
    Ok(())
}

/// RFC 9110 section 8.6: digits, nothing else. A number beyond 64 bits is too large in any case.
fn parse_length(value: &[u8]) -> Result<u64, Status> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Status::BadRequest);
    }
    Ok(value.iter().fold(0_u64, |length, byte| {
        length.saturating_mul(10).saturating_add(u64::from(byte - b'0'))
    }))
}

/// RFC 9112 section 6.1: a single `chunked`; a known shape that we do not speak is 501.
fn parse_transfer_encoding(value: &[u8]) -> Result<bool, Status> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).peekable();
    let mut last_is_chunked = false;
    let mut token = true;
    while let Some(coding) = codings.next() {
        let chunked = coding.eq_ignore_ascii_case(b"chunked");
        token &= !coding.is_empty() && coding.iter().all(|byte| is_token_byte(*byte));
        // Chunked may be applied once only, and last.
        token &= !chunked || codings.peek().is_none();
        last_is_chunked = chunked;
    }
    Err(if token && last_is_chunked { Status::NotImplemented } else { Status::BadRequest })
}

/// RFC 9110 section 5.6.2: what names are made of.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits =
        HeadLimits { header_bytes_max: 512, headers_max: 8, uri_bytes_max: 64 };

    /// The outcome of one head as text: status, `partial`, or what was read.
    fn outcome(text: &str) -> String {
        let mut space = header_space();
        match parse(text.as_bytes(), &mut space, &LIMITS) {
            Err(status) => status.code().to_string(),
            Ok(Head::Partial) => "partial".to_owned(),
            Ok(Head::Complete(request, consumed)) => format!(
                "{:?} {} keep={} {:?} rest={}",
                request.method,
                request.target,
                request.keep_alive,
                request.framing,
                text.len() - consumed
            ),
        }
    }

    #[test]
    fn table_of_good_heads() {
        let table = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "Get / keep=true None rest=0"),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET", "Get / keep=true None rest=3"),
            ("HEAD /x HTTP/1.0\r\n\r\n", "Head /x keep=false None rest=0"),
            ("GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "Get /x keep=true None rest=0"),
            (
                "GET / HTTP/1.1\r\nhost:a\r\nconnection: x, Close\r\n\r\n",
                "Get / keep=false None rest=0",
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
                "Get / keep=true None rest=0",
            ),
            (
                "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
                "Put / keep=true Length(10) rest=0",
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
                "Get / keep=true Chunked rest=0",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(outcome(text), expected, "{text:?}");
        }
    }

    #[test]
    fn methods_have_their_names() {
        for name in Method::NAMES {
            assert_eq!(Method::parse(name).name(), name);
        }
        assert_eq!(Method::parse("post"), Method::Other);
    }

    #[test]
    fn table_of_refused_heads() {
        let table = [
            ("GET / HTTP/1.1\r\n\r\n", "400"),
            ("GET / HTTP/1.1\nHost: a\n\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", "400"),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\
                 \r\n",
                "400",
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", "400"),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", "417"),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "505"),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            ("UPDATEREDIRECTREFS / HTTP/1.1\r\nHost: a\r\n\r\n", "501"),
            ("UPDATEREDIRECTREFS", "501"),
            ("GET / HTTP/2.x", "400"),
            ("GET / HTTP/2.0x", "400"),
            ("GET / HTTP/x\r\nHost: a\r\n\r\n", "400"),
            ("GET /\r\n\r\n", "400"),
            ("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            ("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ];
        for (text, expected) in table {
            assert_eq!(outcome(text), expected, "{text:?}");
        }
    }

    #[test]
    fn limits_are_kept_before_the_head_is_whole() {
        let long = "x".repeat(200);
        assert_eq!(outcome(&format!("GET /{long}")), "414");
        assert_eq!(outcome(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")), "414");
        let fields = "A: b\r\n".repeat(9);
        assert_eq!(outcome(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")), "431");
        assert_eq!(outcome(&format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}", "x".repeat(500))), "431");
        assert_eq!(outcome("GET / HTTP/1.1\r\nHost: a\r"), "partial");
        assert_eq!(outcome("GET / HTTP/2.0\r"), "partial");
        assert_eq!(outcome(""), "partial");
        assert_eq!(outcome("\r"), "partial");
    }
}
