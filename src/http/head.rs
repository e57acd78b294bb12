//! Response heads: prepared once per file, finished per response (RFC 9112 section 4, RFC 9110 8).
//!
//! Input: what is known of a file when it is opened.   Output: `Prepared`, then bytes appended to a
//! caller's buffer, which has the room in steady state, so that a hit allocates nothing.
//! Thread: any, pure.
//! Not here: which response a request earns (`http::reply`).

use std::fmt::Write as _;
use std::io::Write as _;

use arrayvec::ArrayString;

use super::conditional::Validators;
use super::date::{self, DATE_LINE_BYTES, DateLine};
use super::encoding::Coding;
use super::range::ByteRange;
use super::status::Status;
use crate::time::UnixSeconds;

/// What becomes of the connection after a response, and whether the head must say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Stays open, as HTTP/1.1 does without a word.
    Keep,
    /// Stays open, and says so to a client of HTTP/1.0.
    KeepSaid,
    /// Is closed after this response.
    Close,
}

/// What a file is to HTTP.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// Length of the body in bytes.
    pub len: u64,
    /// Modification time in nanoseconds since 1970; names the version together with `len`.
    pub modified_nanos: u64,
    /// Now: a later modification is not told (RFC 9110 8.8.2.1).
    pub now: UnixSeconds,
    /// Tells it from another file of the same length and time in the entity tag; 0 where the two
    /// are enough.
    pub twin: u64,
    /// Content-Type.
    pub content_type: &'a str,
    /// Set where the file is a precompressed sibling.
    pub coding: Option<Coding>,
    /// Whether other codings of the same resource exist, so that caches must tell them apart.
    pub varies: bool,
    /// Cache-Control, if a rule gives one.
    pub cache_control: Option<&'a str>,
    /// Server; empty for none.
    pub server_name: &'a str,
    /// Whether ranges are served.
    pub ranges: bool,
}

/// A stored answer of an origin, as far as its response heads are made of it.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Length of the body in bytes.
    pub len: u64,
    /// The origin's fields, as lines; no Content-Length, Age, Accept-Ranges or Connection.
    pub fields: &'a [u8],
    /// The line that tells of this cache, or nothing.
    pub cache_status: &'a [u8],
    /// When it was this old (RFC 9111 section 4.2.3): the time it came, and its age then.
    pub received_at: UnixSeconds,
    /// See `received_at`.
    pub initial_age_seconds: u32,
    /// Whether ranges are served.
    pub ranges: bool,
}

/// A file's response head, written when the file is opened.
///
/// ```text
/// HTTP/1.1 200 OK | Content-Length | Content-Type | Content-Encoding Accept-Ranges | Server | ETag
/// .. 0               |                | type_at      | coding_at                      | server_at
/// ```
/// 200 takes all of it, a single range from `type_at`, several ranges from `coding_at`, 304 from
/// `server_at`. What is missing at the end, Date and Connection, is appended per response.
#[derive(Debug)]
pub struct Prepared {
    bytes: Box<[u8]>,
    type_at: usize,
    coding_at: usize,
    server_at: usize,
    etag: std::ops::Range<usize>,
    len: u64,
    last_modified: Option<UnixSeconds>,
    /// Set for an origin's answer: it has a Date of its own, and an age that grows instead.
    aging: Option<Aging>,
}

#[derive(Clone, Copy, Debug)]
struct Aging {
    received_at: UnixSeconds,
    initial_age_seconds: u32,
}

/// Length of `Stamp`s of stored answers: `Age: `, ten places, line end.
const AGE_LINE_BYTES: usize = 5 + 10 + 2;

/// The one line of a head that changes with the second: Date, or Age. All stamps of one `Prepared`
/// have the same length.
pub type Stamp = ArrayString<DATE_LINE_BYTES>;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// RFC 9111 1.2.2: the largest number of seconds that a cache sends.
const AGE_MAX: u64 = 1 << 31;

impl Prepared {
    /// Writes the head of `file`.
    ///
    /// The entity tag is made of the modification time in nanoseconds and the length, in
    /// hexadecimal: the same on every box that holds the same copy, which an inode number is not.
    #[must_use]
    pub fn new(file: &Description<'_>) -> Self {
        let modified = UnixSeconds(file.modified_nanos / NANOS_PER_SECOND);
        let last_modified = modified.min(file.now);
        let mut out = Vec::with_capacity(384);
        out.extend_from_slice(Status::Ok.line().as_bytes());
        put(&mut out, format_args!("Content-Length: {}\r\n", file.len));
        let type_at = out.len();
        put(&mut out, format_args!("Content-Type: {}\r\n", file.content_type));
        let coding_at = out.len();
        if let Some(coding) = file.coding {
            put(&mut out, format_args!("Content-Encoding: {}\r\n", coding.token()));
        }
        let unit = if file.ranges { "bytes" } else { "none" };
        put(&mut out, format_args!("Accept-Ranges: {unit}\r\n"));
        let server_at = out.len();
        put_server(&mut out, file.server_name);
        out.extend_from_slice(b"ETag: ");
        let etag_start = out.len();
        put(&mut out, format_args!("\"{:x}-{:x}", file.modified_nanos, file.len));
        if file.twin != 0 {
            put(&mut out, format_args!("-{:x}", file.twin));
        }
        if let Some(coding) = file.coding {
            // RFC 9110 8.8.3.3: codings of one resource must not share a strong tag.
            put(&mut out, format_args!("-{}", coding.token()));
        }
        out.push(b'"');
        let etag = etag_start..out.len();
        put(&mut out, format_args!("\r\nLast-Modified: {}\r\n", date::emit(last_modified)));
        if let Some(value) = file.cache_control {
            put(&mut out, format_args!("Cache-Control: {value}\r\n"));
        }
        if file.varies {
            out.extend_from_slice(b"Vary: Accept-Encoding\r\n");
        }
        let bytes = out.into_boxed_slice();
        Self {
            bytes,
            type_at,
            coding_at,
            server_at,
            etag,
            len: file.len,
            last_modified: Some(last_modified),
            aging: None,
        }
    }

    /// Writes the head of a stored answer with status 200: the origin's fields in its order, but
    /// for Content-Type, which comes first, and Content-Encoding, which comes second.
    #[must_use]
    pub fn of_stored(stored: &Stored<'_>) -> Self {
        let mut out = Vec::with_capacity(256 + stored.fields.len());
        out.extend_from_slice(Status::Ok.line().as_bytes());
        put(&mut out, format_args!("Content-Length: {}\r\n", stored.len));
        let type_at = out.len();
        let lines = || stored.fields.split_inclusive(|byte| *byte == b'\n');
        let is = |line: &[u8], name: &str| {
            line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
                && line.get(name.len()) == Some(&b':')
        };
        let put_all = |out: &mut Vec<u8>, name: &str| {
            lines().filter(|line| is(line, name)).for_each(|line| out.extend_from_slice(line));
        };
        put_all(&mut out, "Content-Type");
        let coding_at = out.len();
        put_all(&mut out, "Content-Encoding");
        let unit = if stored.ranges { "bytes" } else { "none" };
        put(&mut out, format_args!("Accept-Ranges: {unit}\r\n"));
        let server_at = out.len();
        let (mut etag, mut last_modified) = (0..0, None);
        for line in lines() {
            if is(line, "Content-Type") || is(line, "Content-Encoding") {
                continue;
            }
            let value = |name: &str| line[name.len() + 1..].trim_ascii();
            if is(line, "ETag") && etag.is_empty() {
                let blank = line.len() - line["ETag:".len()..].trim_ascii_start().len();
                let start = out.len() + blank;
                etag = start..start + value("ETag").len();
            } else if is(line, "Last-Modified") && last_modified.is_none() {
                last_modified = date::parse(value("Last-Modified"));
            }
            out.extend_from_slice(line);
        }
        out.extend_from_slice(stored.cache_status);
        Self {
            bytes: out.into_boxed_slice(),
            type_at,
            coding_at,
            server_at,
            etag,
            len: stored.len,
            last_modified,
            aging: Some(Aging {
                received_at: stored.received_at,
                initial_age_seconds: stored.initial_age_seconds,
            }),
        }
    }

    /// The line that changes with the second, at the time that `date` names.
    #[must_use]
    pub fn stamp(&self, date: &DateLine) -> Stamp {
        let mut stamp = Stamp::new();
        let Some(aging) = &self.aging else {
            stamp.push_str(std::str::from_utf8(date.as_bytes()).expect("a date is ASCII"));
            return stamp;
        };
        let resident = date.seconds().0.saturating_sub(aging.received_at.0);
        let age = resident.saturating_add(aging.initial_age_seconds.into()).min(AGE_MAX);
        // RFC 9110 5.5: blanks after a value are no part of it; so the line has one length.
        write!(stamp, "Age: {age:<10}\r\n").expect("ten places are enough");
        assert_eq!(stamp.len(), AGE_LINE_BYTES, "all stamps have one length");
        stamp
    }

    fn finish(&self, out: &mut Vec<u8>, date: &DateLine, persistence: Persistence) {
        if self.aging.is_none() {
            finish(out, date, persistence);
            return;
        }
        out.extend_from_slice(self.stamp(date).as_bytes());
        finish_connection(out, persistence);
    }

    /// Length of the file in bytes.
    #[must_use]
    pub const fn file_len(&self) -> u64 {
        self.len
    }

    /// What conditions compare with.
    #[must_use]
    pub fn validators(&self) -> Validators<'_> {
        Validators { etag: &self.bytes[self.etag.clone()], last_modified: self.last_modified }
    }

    /// Where in the head of a 200 (`emit_ok` with `Persistence::Keep`) the stamp begins.
    #[must_use]
    pub const fn stamp_at(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the head of a 200.
    pub fn emit_ok(&self, out: &mut Vec<u8>, date: &DateLine, persistence: Persistence) {
        out.extend_from_slice(&self.bytes);
        self.finish(out, date, persistence);
    }

    /// Appends the head of a 304. RFC 9110 section 15.4.5: validators, Cache-Control, Vary, Date.
    pub fn emit_not_modified(&self, out: &mut Vec<u8>, date: &DateLine, persistence: Persistence) {
        out.extend_from_slice(Status::NotModified.line().as_bytes());
        out.extend_from_slice(&self.bytes[self.server_at..]);
        self.finish(out, date, persistence);
    }

    /// Appends the head of a 206 with a single range.
    pub fn emit_part(
        &self,
        out: &mut Vec<u8>,
        range: ByteRange,
        date: &DateLine,
        persistence: Persistence,
    ) {
        out.extend_from_slice(Status::PartialContent.line().as_bytes());
        put(out, format_args!("Content-Length: {}\r\n", range.len()));
        self.put_content_range(out, range);
        out.extend_from_slice(&self.bytes[self.type_at..]);
        self.finish(out, date, persistence);
    }

    /// Appends the head of a 206 with several ranges and a body of `len` bytes in all.
    pub fn emit_parts(
        &self,
        out: &mut Vec<u8>,
        len: u64,
        boundary: &str,
        date: &DateLine,
        persistence: Persistence,
    ) {
        out.extend_from_slice(Status::PartialContent.line().as_bytes());
        put(out, format_args!("Content-Length: {len}\r\n"));
        put(out, format_args!("Content-Type: multipart/byteranges; boundary={boundary}\r\n"));
        out.extend_from_slice(&self.bytes[self.coding_at..]);
        self.finish(out, date, persistence);
    }

    /// Appends what stands before one part of a multipart body (RFC 9110 section 14.6).
    pub fn put_part_head(&self, out: &mut Vec<u8>, range: ByteRange, boundary: &str) {
        put(out, format_args!("\r\n--{boundary}\r\n"));
        out.extend_from_slice(&self.bytes[self.type_at..self.coding_at]);
        self.put_content_range(out, range);
        out.extend_from_slice(b"\r\n");
    }

    fn put_content_range(&self, out: &mut Vec<u8>, range: ByteRange) {
        let (first, last, len) = (range.first, range.last, self.len);
        put(out, format_args!("Content-Range: bytes {first}-{last}/{len}\r\n"));
    }
}

/// Appends Date, Connection and the empty line: the end of every head.
pub fn finish(out: &mut Vec<u8>, date: &DateLine, persistence: Persistence) {
    out.extend_from_slice(date.as_bytes());
    finish_connection(out, persistence);
}

/// Appends Connection and the empty line.
pub fn finish_connection(out: &mut Vec<u8>, persistence: Persistence) {
    out.extend_from_slice(match persistence {
        Persistence::Keep => b"\r\n",
        Persistence::KeepSaid => b"Connection: keep-alive\r\n\r\n",
        Persistence::Close => b"Connection: close\r\n\r\n".as_slice(),
    });
}

/// Appends a Server field, or nothing for an empty name.
pub fn put_server(out: &mut Vec<u8>, name: &str) {
    if !name.is_empty() {
        put(out, format_args!("Server: {name}\r\n"));
    }
}

/// Appends formatted text.
pub fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn prepared() -> Prepared {
        Prepared::new(&Description {
            len: 10,
            modified_nanos: 784_111_777_000_000_001,
            now: UnixSeconds(u64::MAX),
            twin: 0,
            content_type: "image/svg+xml",
            coding: Some(Coding::Gzip),
            varies: true,
            cache_control: Some("public, max-age=60"),
            server_name: "peerage",
            ranges: true,
        })
    }

    fn text(write: impl FnOnce(&mut Vec<u8>, &DateLine)) -> String {
        let mut out = Vec::new();
        write(&mut out, &DateLine::new(UnixSeconds(784_111_778)));
        String::from_utf8(out).expect("heads are ASCII")
    }

    const VALIDATORS: &str = "Server: peerage\r\nETag: \"ae1b981bc490a01-a-gzip\"\r\n\
        Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nCache-Control: public, max-age=60\r\n\
        Vary: Accept-Encoding\r\n";
    const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n";
    const CONTENT: &str =
        "Content-Type: image/svg+xml\r\nContent-Encoding: gzip\r\nAccept-Ranges: bytes\r\n";

    #[test]
    fn a_whole_file() {
        let head = text(|out, date| prepared().emit_ok(out, date, Persistence::Keep));
        let expected =
            format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{CONTENT}{VALIDATORS}{DATE}\r\n");
        assert_eq!(head, expected);
    }

    #[test]
    fn the_end_names_the_connection() {
        for (persistence, line) in [
            (Persistence::KeepSaid, "Connection: keep-alive\r\n"),
            (Persistence::Close, "Connection: close\r\n"),
        ] {
            let head = text(|out, date| prepared().emit_ok(out, date, persistence));
            assert!(head.ends_with(&format!("{DATE}{line}\r\n")), "{head}");
        }
    }

    #[test]
    fn not_modified_says_nothing_of_the_content() {
        let head = text(|out, date| prepared().emit_not_modified(out, date, Persistence::Keep));
        assert_eq!(head, format!("HTTP/1.1 304 Not Modified\r\n{VALIDATORS}{DATE}\r\n"));
    }

    #[test]
    fn one_range() {
        let range = ByteRange { first: 2, last: 5 };
        let head = text(|out, date| prepared().emit_part(out, range, date, Persistence::Keep));
        let expected = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\nContent-Range: bytes 2-5/10\r\n\
             {CONTENT}{VALIDATORS}{DATE}\r\n"
        );
        assert_eq!(head, expected);
    }

    #[test]
    fn a_tag_names_the_version() {
        assert_eq!(prepared().validators().etag, b"\"ae1b981bc490a01-a-gzip\"");
        assert_eq!(prepared().validators().last_modified, Some(UnixSeconds(784_111_777)));
    }

    fn stored(fields: &str) -> Prepared {
        Prepared::of_stored(&Stored {
            len: 10,
            fields: fields.as_bytes(),
            cache_status: b"Cache-Status: peerage; hit\r\n",
            received_at: UnixSeconds(784_111_700),
            initial_age_seconds: 5,
            ranges: true,
        })
    }

    #[test]
    fn a_stored_answer_keeps_its_date_and_tells_its_age() {
        let prepared = stored(
            "Date: then\r\netag: W/\"a\" \r\nContent-Encoding: br\r\ncontent-type: image/png\r\n\
             Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        );
        let head = text(|out, date| prepared.emit_ok(out, date, Persistence::Close));
        let expected = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\ncontent-type: image/png\r\n\
            Content-Encoding: br\r\nAccept-Ranges: bytes\r\nDate: then\r\netag: W/\"a\" \r\n\
            Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nCache-Status: peerage; hit\r\n\
            Age: 83        \r\nConnection: close\r\n\r\n";
        assert_eq!(head, expected);
        assert_eq!(prepared.validators().etag, b"W/\"a\"");
        assert_eq!(prepared.validators().last_modified, Some(UnixSeconds(784_111_777)));
        let keep = text(|out, date| prepared.emit_ok(out, date, Persistence::Keep));
        assert!(keep[prepared.stamp_at()..].starts_with("Age: 83"));
    }

    #[test]
    fn a_stored_answer_may_have_no_validators() {
        let validators = stored("Content-Type: a/b\r\n");
        assert_eq!(validators.validators().etag, b"");
        assert_eq!(validators.validators().last_modified, None);
    }
}
