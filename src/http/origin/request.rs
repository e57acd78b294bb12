//! Writing the request to an origin (RFC 9112 section 3, RFC 9110 section 7.6).
//!
//! Input: what is asked, and the fields of the client's request.   Output: bytes appended to a
//! caller's buffer, or why there are none.   Owns: nothing.   Thread: any, pure.
//! Invariants: no field with a control character leaves this box, and no request whose end could
//! be read in two ways: never a Transfer-Encoding, and a Content-Length only where the caller says
//! how long the body is; after an error the buffer is as it was.
//! Not here: reading the answer (`http::origin::response`), which requests go to an origin at all
//! (`cache`), what the client's Accept-Encoding is narrowed to (whoever passes the fields).
//! Source: RFC 9112 section 3.2.1; RFC 9110 sections 7.2, 7.6.1, 7.6.3 and 13.1.
//! Differs from the source: OPTIONS and methods that are not known here are never written; trailers
//! of the client's body are left out, as RFC 9110 section 6.5.1 lets a proxy do.

use std::fmt;

use super::super::head;
use super::super::request::{Method, is_token_byte};
use super::fields::{end_to_end, options};

/// Which conditions and ranges the request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditions<'a> {
    /// None: the whole answer is wanted, to be stored. A client's Range is served from the copy.
    Whole,
    /// Those of a stored answer, which may have become stale (RFC 9111 section 4.3.1).
    Revalidate {
        /// Its ETag.
        etag: Option<&'a [u8]>,
        /// Its Last-Modified.
        last_modified: Option<&'a [u8]>,
    },
    /// The client's own: the answer is passed on and not stored.
    Client,
}

/// One request to an origin.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// GET, HEAD, or one that changes what the origin has.
    pub method: Method,
    /// The target in origin-form: path and query.
    pub target: &'a str,
    /// The Host field that this origin expects.
    pub host: &'a str,
    /// Whether the connection is to be kept; otherwise the request says `Connection: close`.
    pub keep: bool,
    /// The name of this box in Via.
    pub via: &'a str,
    /// The minor version of HTTP that the client spoke, for Via.
    pub client_minor: u8,
    /// Conditions and ranges.
    pub conditions: Conditions<'a>,
    /// Length of the body that the caller sends behind the head; `None` for no body.
    pub body_bytes: Option<usize>,
}

/// Why a request is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitError {
    /// OPTIONS, or one that is not known.
    Method,
    /// The target does not begin with a slash, or holds a blank or a control character.
    Target,
    /// The host, or this box's name in Via, is empty or holds what would end the field.
    Host,
    /// The field of that number (from 0, those passed on) has a name that is none, or a value with
    /// CR, LF, NUL or another control character.
    Field(usize),
    /// Via names this box: the origin's address leads back here (RFC 9110 section 7.6.3).
    Loop,
}

impl fmt::Display for EmitError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => out.write_str("the method is none that is sent to an origin"),
            Self::Target => out.write_str("the target is not in origin-form"),
            Self::Host => out.write_str("the host, or the name in Via, cannot stand in a field"),
            Self::Field(number) => write!(out, "field {number} cannot be passed on"),
            Self::Loop => out.write_str("the request has passed this box before; check the origin"),
        }
    }
}

/// Fields that this module writes itself, or that were about the way from the client to here.
const REPLACED: [&str; 3] = ["host", "content-length", "expect"];

/// Fields that make a request conditional or partial.
const CONDITIONAL: [&str; 6] =
    ["if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"];

/// Appends `request` to `out`, with those of the client's `fields` that pass a proxy.
///
/// # Errors
/// Why nothing was appended.
pub fn emit_request<'f, I>(
    out: &mut Vec<u8>,
    request: &Outgoing<'_>,
    fields: I,
) -> Result<(), EmitError>
where
    I: Iterator<Item = (&'f str, &'f [u8])> + Clone,
{
    let start = out.len();
    let written = emit(out, request, fields);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn emit<'f, I>(out: &mut Vec<u8>, request: &Outgoing<'_>, fields: I) -> Result<(), EmitError>
where
    I: Iterator<Item = (&'f str, &'f [u8])> + Clone,
{
    if matches!(request.method, Method::Options | Method::Other) {
        return Err(EmitError::Method);
    }
    let is_blank = |byte: u8| byte <= b' ' || byte == 0x7f;
    if !request.target.starts_with('/') || request.target.bytes().any(is_blank) {
        return Err(EmitError::Target);
    }
    for name in [request.host, request.via] {
        if name.is_empty() || name.bytes().any(|byte| is_blank(byte) || byte == b',') {
            return Err(EmitError::Host);
        }
    }
    out.extend_from_slice(request.method.name().as_bytes());
    out.push(b' ');
    out.extend_from_slice(request.target.as_bytes());
    // RFC 9110 7.2: Host is best the first field.
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(request.host.as_bytes());
    out.extend_from_slice(b"\r\n");
    if !request.keep {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    if let Some(length) = request.body_bytes {
        head::put(out, format_args!("Content-Length: {length}\r\n"));
    }
    for (number, (name, value)) in end_to_end(fields).filter(passes(request)).enumerate() {
        if name.eq_ignore_ascii_case("via") && names(value, request.via) {
            return Err(EmitError::Loop);
        }
        put(out, name, value).ok_or(EmitError::Field(number))?;
    }
    if let Conditions::Revalidate { etag, last_modified } = request.conditions {
        for (name, value) in [("If-None-Match", etag), ("If-Modified-Since", last_modified)] {
            let Some(value) = value else { continue };
            put(out, name, value).ok_or(EmitError::Field(0))?;
        }
    }
    // RFC 9110 7.6.3: a list in the order of the way, so ours comes last, on a line of its own.
    let version: &[u8] = if request.client_minor == 0 { b"1.0 " } else { b"1.1 " };
    out.extend_from_slice(b"Via: ");
    out.extend_from_slice(version);
    out.extend_from_slice(request.via.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    Ok(())
}

/// Which of the end-to-end fields are the client's to decide.
fn passes<'f>(request: &Outgoing<'_>) -> impl Fn(&(&'f str, &'f [u8])) -> bool + use<'f> {
    let is_client = request.conditions == Conditions::Client;
    move |(name, _)| {
        let is_in = |list: &[&str]| list.iter().any(|known| name.eq_ignore_ascii_case(known));
        !is_in(&REPLACED) && (is_client || !is_in(&CONDITIONAL))
    }
}

/// Whether a Via field names `pseudonym`: the second word of an element.
fn names(via: &[u8], pseudonym: &str) -> bool {
    options(via).any(|element| {
        let mut words = element.split(|byte| *byte == b' ' || *byte == b'\t');
        let mut words = words.by_ref().filter(|word| !word.is_empty()).skip(1);
        words.next().is_some_and(|word| word.eq_ignore_ascii_case(pseudonym.as_bytes()))
    })
}

/// Appends one field, or nothing where it would not be one (RFC 9110 sections 5.1 and 5.5).
fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Option<()> {
    let is_name = !name.is_empty() && name.bytes().all(is_token_byte);
    let is_value = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    if !is_name || !is_value {
        return None;
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::super::request::{Head, HeadLimits, header_space, parse};
    use super::*;

    const PLAIN: Outgoing<'_> = Outgoing {
        method: Method::Get,
        target: "/a?b",
        host: "origin.example:8080",
        keep: true,
        via: "box-a",
        client_minor: 1,
        conditions: Conditions::Whole,
        body_bytes: None,
    };

    fn text(request: &Outgoing<'_>, fields: &[(&str, &[u8])]) -> Result<String, EmitError> {
        let mut out = b"before".to_vec();
        let written = emit_request(&mut out, request, fields.iter().copied());
        let text = String::from_utf8_lossy(&out[6..]).into_owned();
        assert!(written.is_ok() || text.is_empty(), "after an error nothing is left");
        written.map(|()| text)
    }

    #[test]
    fn a_request_is_written_whole() {
        let fields: [(&str, &[u8]); 11] = [
            ("Host", b"www.example.com"),
            ("Accept", b"image/*"),
            ("Connection", b"keep-alive, X-Hop"),
            ("X-Hop", b"1"),
            ("Keep-Alive", b"300"),
            ("Range", b"bytes=0-1"),
            ("If-None-Match", b"\"x\""),
            ("Content-Length", b"5"),
            ("Transfer-Encoding", b"chunked"),
            ("Via", b"1.0 fred, 1.1 p.example"),
            ("Cookie", b"a=b"),
        ];
        let base = "GET /a?b HTTP/1.1\r\nHost: origin.example:8080\r\nAccept: image/*\r\n";
        let end = "Via: 1.0 fred, 1.1 p.example\r\nCookie: a=b\r\nVia: 1.1 box-a\r\n\r\n";
        assert_eq!(text(&PLAIN, &fields), Ok(format!("{base}{end}")));
        let client = Outgoing { conditions: Conditions::Client, ..PLAIN };
        let own = "Range: bytes=0-1\r\nIf-None-Match: \"x\"\r\n";
        assert_eq!(text(&client, &fields), Ok(format!("{base}{own}{end}")));
    }

    #[test]
    fn a_stored_answer_is_asked_about() {
        let conditions =
            Conditions::Revalidate { etag: Some(b"\"e\""), last_modified: Some(b"then") };
        let request =
            Outgoing { method: Method::Head, keep: false, client_minor: 0, conditions, ..PLAIN };
        let expected = "HEAD /a?b HTTP/1.1\r\nHost: origin.example:8080\r\nConnection: close\r\n\
            If-None-Match: \"e\"\r\nIf-Modified-Since: then\r\nVia: 1.0 box-a\r\n\r\n";
        assert_eq!(text(&request, &[("if-modified-since", b"now")]), Ok(expected.to_owned()));
        let split = Conditions::Revalidate { etag: Some(b"x\r\nA: b"), last_modified: None };
        let request = Outgoing { conditions: split, ..PLAIN };
        assert_eq!(text(&request, &[]), Err(EmitError::Field(0)));
    }

    #[test]
    fn a_change_says_how_long_its_body_is() {
        let fields: [(&str, &[u8]); 5] = [
            ("Content-Length", b"7"),
            ("Transfer-Encoding", b"chunked"),
            ("Expect", b"100-continue"),
            ("Content-Type", b"text/plain"),
            ("If-Match", b"\"x\""),
        ];
        for method in [Method::Post, Method::Put, Method::Patch, Method::Delete] {
            for (body_bytes, line) in [(Some(5), "Content-Length: 5\r\n"), (None, "")] {
                let conditions = Conditions::Client;
                let request = Outgoing { method, conditions, body_bytes, ..PLAIN };
                let expected = format!(
                    "{} /a?b HTTP/1.1\r\nHost: origin.example:8080\r\n{line}\
                     Content-Type: text/plain\r\nIf-Match: \"x\"\r\nVia: 1.1 box-a\r\n\r\n",
                    method.name()
                );
                assert_eq!(text(&request, &fields), Ok(expected));
            }
        }
    }

    #[test]
    fn table_of_what_is_not_written() {
        let field = |name, value| text(&PLAIN, &[("Accept", b"*/*"), (name, value)]);
        for bad in [b"a\rb".as_slice(), b"a\nb", b"a\0b", b"\r\n", b"a\x0bb", b"\x7f"] {
            assert_eq!(field("X", bad), Err(EmitError::Field(1)), "{bad:?}");
        }
        for name in ["", "A b", "A:", "A\r\nB", "\u{e4}"] {
            assert_eq!(field(name, b"x"), Err(EmitError::Field(1)), "{name:?}");
        }
        assert!(field("X", b"\xc3\xa4\t ~").is_ok());
        for target in ["", "a", "*", "http://a/", "/a b", "/a\r\n", "/\0", "/\x7f"] {
            assert_eq!(text(&Outgoing { target, ..PLAIN }, &[]), Err(EmitError::Target));
        }
        for host in ["", "a b", "a\r\nX: y", "a\0", "a,b"] {
            assert_eq!(text(&Outgoing { host, ..PLAIN }, &[]), Err(EmitError::Host));
            assert_eq!(text(&Outgoing { via: host, ..PLAIN }, &[]), Err(EmitError::Host));
        }
        for method in [Method::Options, Method::Other] {
            assert_eq!(text(&Outgoing { method, ..PLAIN }, &[]), Err(EmitError::Method));
        }
    }

    #[test]
    fn a_loop_is_seen() {
        let via = |value| text(&PLAIN, &[("via", value)]);
        assert_eq!(via(b"1.1 box-a"), Err(EmitError::Loop));
        assert_eq!(via(b"1.0 x,1.1  BOX-A (peerage)"), Err(EmitError::Loop));
        assert!(via(b"1.1 box-ab, 1.1 (box-a)").is_ok());
    }

    #[test]
    fn what_is_written_reads_back() {
        let limits = HeadLimits { header_bytes_max: 4096, headers_max: 32, uri_bytes_max: 256 };
        let written = text(&PLAIN, &[("Accept", b"*/*"), ("X", b"")]).expect("a good request");
        let mut space = header_space();
        let parsed = parse(written.as_bytes(), &mut space, &limits);
        let Ok(Head::Complete(request, consumed)) = parsed else { panic!("{parsed:?}") };
        assert_eq!(consumed, written.len());
        assert_eq!((request.target, request.host), ("/a?b", &b"origin.example:8080"[..]));
        let names: Vec<&str> = request.fields().map(|(name, _)| name).collect();
        assert_eq!(names, ["Host", "Accept", "X", "Via"]);
    }
}
