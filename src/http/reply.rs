//! Which response a request earns, and its bytes, but for the file's own.
//!
//! Input: a request, a file's prepared head.   Output: `Plan`; calls to a `Gather`.
//! Thread: any, pure.
//! Not here: how body bytes leave the box (`cache::way_out`), error cases of the path
//! (`http::target`).
//! Source: RFC 9110 sections 9.3, 14, 15.

use arrayvec::ArrayVec;

use crate::limits::RANGES_MAX;

use super::conditional::{self, Verdict};
use super::date::DateLine;
use super::head::{self, Persistence, Prepared};
use super::range::{self, ByteRange, Ranges};
use super::request::Request;
use super::status::Status;

/// A response being put together: bytes of ours, then bytes of the file, in order.
pub trait Gather {
    /// Where our own bytes are appended.
    fn own(&mut self) -> &mut Vec<u8>;
    /// Appends that range of the file.
    fn file(&mut self, range: ByteRange);
}

/// What a request for a file is answered with.
#[expect(clippy::large_enum_variant, reason = "lives on the stack, for one call")]
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// 200 with all of it.
    Whole,
    /// 206 with one range.
    Part(ByteRange),
    /// 206 as multipart/byteranges.
    Parts(ArrayVec<ByteRange, RANGES_MAX>),
    /// 304.
    NotModified,
    /// 412 or 416, which have no body of the file.
    Refused(Status),
}

/// Decides the answer to a GET or HEAD of the file behind `prepared`.
#[must_use]
pub fn plan(
    request: &Request<'_, '_>,
    prepared: &Prepared,
    ranges_max: usize,
    date: &DateLine,
) -> Plan {
    match conditional::evaluate(request, prepared.validators(), date.seconds()) {
        Verdict::NotModified => return Plan::NotModified,
        Verdict::Failed => return Plan::Refused(Status::PreconditionFailed),
        Verdict::Proceed { ranges: false } => return Plan::Whole,
        Verdict::Proceed { ranges: true } => {}
    }
    let Some(field) = request.single("range") else { return Plan::Whole };
    match range::parse(field, prepared.file_len(), ranges_max) {
        Ranges::Whole => Plan::Whole,
        Ranges::Unsatisfiable => Plan::Refused(Status::RangeNotSatisfiable),
        Ranges::Some(ranges) if ranges.len() == 1 => Plan::Part(ranges[0]),
        Ranges::Some(ranges) => Plan::Parts(ranges),
    }
}

impl Plan {
    /// The status it is sent with.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Whole => Status::Ok,
            Self::Part(_) | Self::Parts(_) => Status::PartialContent,
            Self::NotModified => Status::NotModified,
            Self::Refused(status) => *status,
        }
    }
}

/// What a response needs beside plan and file.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The Date field of now.
    pub date: &'a DateLine,
    /// Server; empty for none.
    pub server_name: &'a str,
    /// What becomes of the connection.
    pub persistence: Persistence,
    /// Whether the body is left out: for HEAD, or since it follows by another way.
    pub head_only: bool,
}

/// Puts together the response that `plan` decided on. `boundary` is a string that the file does not
/// hold, in all likelihood: random, 16 letters or more.
pub fn emit(
    plan: &Plan,
    prepared: &Prepared,
    boundary: &str,
    context: &Context<'_>,
    out: &mut impl Gather,
) {
    let (date, persistence) = (context.date, context.persistence);
    match plan {
        Plan::Whole => {
            prepared.emit_ok(out.own(), date, persistence);
            if !context.head_only && prepared.file_len() > 0 {
                out.file(ByteRange { first: 0, last: prepared.file_len() - 1 });
            }
        }
        Plan::Part(range) => {
            prepared.emit_part(out.own(), *range, date, persistence);
            if !context.head_only {
                out.file(*range);
            }
        }
        Plan::Parts(ranges) => emit_parts(ranges, prepared, boundary, context, out),
        Plan::NotModified => prepared.emit_not_modified(out.own(), date, persistence),
        Plan::Refused(Status::RangeNotSatisfiable) => {
            let unsatisfied = Extra::UnsatisfiedRange(prepared.file_len());
            emit_status(Status::RangeNotSatisfiable, unsatisfied, context, out.own());
        }
        Plan::Refused(status) => emit_status(*status, Extra::None, context, out.own()),
    }
}

/// RFC 9110 section 14.6. The length of the whole must stand in the head, so the parts are measured
/// by writing their heads twice.
fn emit_parts(
    ranges: &[ByteRange],
    prepared: &Prepared,
    boundary: &str,
    context: &Context<'_>,
    out: &mut impl Gather,
) {
    let start = out.own().len();
    for range in ranges {
        prepared.put_part_head(out.own(), *range, boundary);
    }
    let heads = (out.own().len() - start) as u64;
    out.own().truncate(start);
    let end_bytes = "\r\n--".len() + boundary.len() + "--\r\n".len();
    let body: u64 = ranges.iter().map(|range| range.len()).sum();
    let len = heads + body + end_bytes as u64;
    prepared.emit_parts(out.own(), len, boundary, context.date, context.persistence);
    for range in ranges {
        prepared.put_part_head(out.own(), *range, boundary);
        out.file(*range);
    }
    head::put(out.own(), format_args!("\r\n--{boundary}--\r\n"));
}

/// A field that some statuses need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra<'a> {
    /// Nothing more.
    None,
    /// Allow, with this list of methods (405, and the answer to OPTIONS).
    Allow(&'a str),
    /// Content-Range of a file of this length (416).
    UnsatisfiedRange(u64),
    /// Retry-After in seconds (503).
    RetryAfter(u32),
    /// WWW-Authenticate, with this scheme (401).
    Challenge(&'a str),
}

/// Appends a whole response without a file: an error with a line of text, or an empty 204.
pub fn emit_status(status: Status, extra: Extra<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(status.line().as_bytes());
    head::put_server(out, context.server_name);
    match extra {
        Extra::None => {}
        Extra::Allow(methods) => head::put(out, format_args!("Allow: {methods}\r\n")),
        Extra::UnsatisfiedRange(len) => {
            head::put(out, format_args!("Content-Range: bytes */{len}\r\n"));
        }
        Extra::RetryAfter(seconds) => head::put(out, format_args!("Retry-After: {seconds}\r\n")),
        Extra::Challenge(scheme) => head::put(out, format_args!("WWW-Authenticate: {scheme}\r\n")),
    }
    if status == Status::NoContent {
        head::finish(out, context.date, context.persistence);
        return;
    }
    let phrase = status.phrase();
    head::put(
        out,
        format_args!(
            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n",
            phrase.len() + 1
        ),
    );
    head::finish(out, context.date, context.persistence);
    if !context.head_only {
        head::put(out, format_args!("{phrase}\n"));
    }
}

/// What the connection does after this request, as the head must say it.
#[must_use]
pub const fn persistence(request: &Request<'_, '_>, keep: bool) -> Persistence {
    match (keep && request.keep_alive, request.minor) {
        (false, _) => Persistence::Close,
        (true, 0) => Persistence::KeepSaid,
        (true, _) => Persistence::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::Description;
    use super::*;
    use crate::time::UnixSeconds;

    #[derive(Default)]
    struct Text(Vec<u8>);

    impl Gather for Text {
        fn own(&mut self) -> &mut Vec<u8> {
            &mut self.0
        }
        fn file(&mut self, range: ByteRange) {
            let bytes = b"0123456789";
            let range =
                usize::try_from(range.first).unwrap()..=usize::try_from(range.last).unwrap();
            self.0.extend_from_slice(&bytes[range]);
        }
    }

    fn answer(plan: &Plan, head_only: bool) -> (String, String) {
        let prepared = Prepared::new(&Description {
            len: 10,
            modified_nanos: 1,
            now: UnixSeconds(u64::MAX),
            twin: 0,
            content_type: "text/plain",
            coding: None,
            varies: false,
            cache_control: None,
            server_name: "",
            ranges: true,
        });
        let date = DateLine::new(UnixSeconds(0));
        let persistence = Persistence::Keep;
        let context = Context { date: &date, server_name: "", persistence, head_only };
        let mut text = Text::default();
        emit(plan, &prepared, "BOUNDARY", &context, &mut text);
        let text = String::from_utf8(text.0).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head ends");
        (head.to_owned(), body.to_owned())
    }

    fn length_of(head: &str) -> usize {
        let at = head.find("Content-Length: ").expect("a length") + 16;
        head[at..].split("\r\n").next().unwrap().parse().unwrap()
    }

    #[test]
    fn bodies_have_the_length_that_the_head_says() {
        let range = ByteRange { first: 2, last: 5 };
        let last = ByteRange { first: 9, last: 9 };
        let plans = [
            (Plan::Whole, "0123456789".to_owned()),
            (Plan::Part(range), "2345".to_owned()),
            (
                Plan::Parts([range, last].into_iter().collect()),
                "\r\n--BOUNDARY\r\nContent-Type: text/plain\r\nContent-Range: bytes 2-5/10\r\n\
                 \r\n2345\r\n--BOUNDARY\r\nContent-Type: text/plain\r\n\
                 Content-Range: bytes 9-9/10\r\n\
                 \r\n9\r\n--BOUNDARY--\r\n"
                    .to_owned(),
            ),
            (Plan::Refused(Status::PreconditionFailed), "412 Precondition Failed\n".to_owned()),
            (Plan::Refused(Status::RangeNotSatisfiable), "416 Range Not Satisfiable\n".to_owned()),
        ];
        for (plan, expected) in plans {
            let (head, body) = answer(&plan, false);
            assert_eq!(body, expected, "{plan:?}");
            assert_eq!(length_of(&head), body.len(), "{plan:?}");
        }
    }

    #[test]
    fn head_and_304_have_no_body() {
        let (head, body) = answer(&Plan::Whole, true);
        assert_eq!((length_of(&head), body.as_str()), (10, ""));
        let (head, body) = answer(&Plan::NotModified, false);
        assert!(head.starts_with("HTTP/1.1 304") && !head.contains("Content-Length"));
        assert_eq!(body, "");
    }

    #[test]
    fn unsatisfiable_names_the_length() {
        let (head, _) = answer(&Plan::Refused(Status::RangeNotSatisfiable), false);
        assert!(head.contains("Content-Range: bytes */10\r\n"), "{head}");
    }
}
