//! Conditions: whether a stored file answers a request in full, in part, or not at all.
//!
//! Input: a request's condition fields, a file's validators.   Output: `Verdict`.
//! Thread: any, pure; no allocation.
//! Not here: which bytes a `Range` names (`http::range`).
//! Source: RFC 9110 sections 8.8.3 (entity tags) and 13 (conditions and their precedence).

use crate::time::UnixSeconds;

use super::date;
use super::request::{Method, Request};

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as if there were none. `ranges` says whether a Range field still counts.
    Proceed {
        /// False where If-Range no longer matches, or the method has no ranges.
        ranges: bool,
    },
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// What a file is recognised by.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// The entity tag, quotes included, `W/` before a weak one; empty for none.
    pub etag: &'a [u8],
    /// When the file was last modified, in whole seconds; `None` where nobody said.
    pub last_modified: Option<UnixSeconds>,
}

/// Evaluates the conditions of `request` in the order of RFC 9110 section 13.2.2. `now` is the time
/// that the answer's Date field will name.
#[must_use]
pub fn evaluate(request: &Request<'_, '_>, file: Validators<'_>, now: UnixSeconds) -> Verdict {
    if request.present.condition
        && let Some(verdict) = preconditions(request, file)
    {
        return verdict;
    }
    // RFC 9110 14.2: Range means something in a GET only.
    let ranges = request.present.range
        && request.method == Method::Get
        && range_still_wanted(request, file, now);
    Verdict::Proceed { ranges }
}

fn preconditions(request: &Request<'_, '_>, file: Validators<'_>) -> Option<Verdict> {
    let reads = matches!(request.method, Method::Get | Method::Head);
    if request.values("if-match").next().is_some() {
        if !matches_any(request.values("if-match"), file.etag, Comparison::Strong) {
            return Some(Verdict::Failed);
        }
    } else if let Some(since) = request.single("if-unmodified-since").and_then(date::parse)
        && file.last_modified.is_some_and(|modified| modified > since)
    {
        return Some(Verdict::Failed);
    }
    if request.values("if-none-match").next().is_some() {
        let matched = matches_any(request.values("if-none-match"), file.etag, Comparison::Weak);
        return match (matched, reads) {
            (true, true) => Some(Verdict::NotModified),
            (true, false) => Some(Verdict::Failed),
            (false, _) => None,
        };
    }
    let since = request.single("if-modified-since").and_then(date::parse)?;
    // RFC 9110 13.1.3: of no account where there is no modification date.
    let unchanged = file.last_modified.is_some_and(|modified| modified <= since);
    (reads && unchanged).then_some(Verdict::NotModified)
}

/// RFC 9110 section 13.1.5: If-Range holds a tag or a date, and either has to match strongly.
fn range_still_wanted(request: &Request<'_, '_>, file: Validators<'_>, now: UnixSeconds) -> bool {
    let mut values = request.values("if-range");
    let Some(value) = values.next() else { return true };
    if values.next().is_some() {
        return false;
    }
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return value == file.etag && !value.starts_with(b"W/");
    }
    // RFC 9110 8.8.2.2: a date is strong only where a second change within the same second would
    // have been seen, that is, where it lies at least one second before the answer's own date.
    let Some(modified) = file.last_modified else { return false };
    modified.0 < now.0 && date::parse(value) == Some(modified)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether any tag of these field lines matches `etag`; `*` matches every file there is.
fn matches_any<'b>(
    lines: impl Iterator<Item = &'b [u8]>,
    etag: &[u8],
    comparison: Comparison,
) -> bool {
    lines.into_iter().any(|line| line.trim_ascii() == b"*" || line_matches(line, etag, comparison))
}

/// Walks a list of entity tags; stops at the first thing that is none.
fn line_matches(mut line: &[u8], etag: &[u8], comparison: Comparison) -> bool {
    let (own, own_weak) = match etag.strip_prefix(b"W/") {
        Some(opaque) => (opaque, true),
        None => (etag, false),
    };
    loop {
        line = line.trim_ascii_start();
        if let Some(rest) = line.strip_prefix(b",") {
            line = rest;
            continue;
        }
        let weak = line.starts_with(b"W/");
        let opaque = if weak { &line[2..] } else { line };
        if opaque.first() != Some(&b'"') {
            return false;
        }
        let Some(end) = opaque[1..].iter().position(|byte| *byte == b'"') else { return false };
        let (tag, rest) = opaque.split_at(end + 2);
        if tag == own && (comparison == Comparison::Weak || !(weak || own_weak)) {
            return true;
        }
        line = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Head, parse};
    use super::super::request::{HeadLimits, header_space};
    use super::*;

    const ETAG: &[u8] = b"\"5-a\"";
    const MODIFIED: UnixSeconds = UnixSeconds(784_111_777);
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn verdict_at(fields: &str, method: &str, now: UnixSeconds) -> Verdict {
        let text = format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let limits = HeadLimits { header_bytes_max: 4096, headers_max: 16, uri_bytes_max: 64 };
        let mut space = header_space();
        let Ok(Head::Complete(request, _)) = parse(text.as_bytes(), &mut space, &limits) else {
            panic!("the head is whole: {text:?}");
        };
        evaluate(&request, Validators { etag: ETAG, last_modified: Some(MODIFIED) }, now)
    }

    fn verdict(fields: &str, method: &str) -> Verdict {
        verdict_at(fields, method, UnixSeconds(MODIFIED.0 + 60))
    }

    const ALL: Verdict = Verdict::Proceed { ranges: false };
    const PART: Verdict = Verdict::Proceed { ranges: true };

    #[test]
    fn table_of_conditions() {
        let table: Vec<(String, Verdict)> = vec![
            (String::new(), ALL),
            ("If-None-Match: \"5-a\"\r\n".into(), Verdict::NotModified),
            ("If-None-Match: W/\"5-a\"\r\n".into(), Verdict::NotModified),
            ("If-None-Match: \"x\", \"5-a\"\r\n".into(), Verdict::NotModified),
            ("If-None-Match: \"x,\"\"5-a\"\r\n".into(), Verdict::NotModified),
            ("If-None-Match: \"x\"\r\nIf-None-Match: \"5-a\"\r\n".into(), Verdict::NotModified),
            ("If-None-Match: *\r\n".into(), Verdict::NotModified),
            ("If-None-Match: \"x\"\r\n".into(), ALL),
            ("If-None-Match: 5-a\r\n".into(), ALL),
            ("If-None-Match: \"5-a\r\n".into(), ALL),
            (format!("If-Modified-Since: {SAME}\r\n"), Verdict::NotModified),
            (format!("If-Modified-Since: {AFTER}\r\n"), Verdict::NotModified),
            (format!("If-Modified-Since: {BEFORE}\r\n"), ALL),
            ("If-Modified-Since: never\r\n".into(), ALL),
            // 13.1.3: If-None-Match overrides If-Modified-Since.
            (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {SAME}\r\n"), ALL),
            ("If-Match: \"5-a\"\r\n".into(), ALL),
            ("If-Match: *\r\n".into(), ALL),
            ("If-Match: W/\"5-a\"\r\n".into(), Verdict::Failed),
            ("If-Match: \"x\"\r\n".into(), Verdict::Failed),
            (format!("If-Unmodified-Since: {SAME}\r\n"), ALL),
            (format!("If-Unmodified-Since: {BEFORE}\r\n"), Verdict::Failed),
            ("If-Unmodified-Since: never\r\n".into(), ALL),
            // 13.1.4: If-Match overrides If-Unmodified-Since.
            (format!("If-Match: \"5-a\"\r\nIf-Unmodified-Since: {BEFORE}\r\n"), ALL),
            ("If-Match: \"5-a\"\r\nIf-None-Match: \"5-a\"\r\n".into(), Verdict::NotModified),
            ("Range: bytes=0-1\r\n".into(), PART),
            ("Range: bytes=0-1\r\nIf-Range: \"5-a\"\r\n".into(), PART),
            ("Range: bytes=0-1\r\nIf-Range: W/\"5-a\"\r\n".into(), ALL),
            ("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n".into(), ALL),
            (format!("Range: bytes=0-1\r\nIf-Range: {SAME}\r\n"), PART),
            (format!("Range: bytes=0-1\r\nIf-Range: {AFTER}\r\n"), ALL),
            ("Range: bytes=0-1\r\nIf-Match: \"x\"\r\n".into(), Verdict::Failed),
            ("Range: bytes=0-1\r\nIf-None-Match: \"5-a\"\r\n".into(), Verdict::NotModified),
        ];
        for (fields, expected) in table {
            assert_eq!(verdict(&fields, "GET"), expected, "{fields:?}");
        }
    }

    #[test]
    fn methods_differ() {
        assert_eq!(verdict("If-None-Match: *\r\n", "HEAD"), Verdict::NotModified);
        assert_eq!(verdict("If-None-Match: *\r\n", "OPTIONS"), Verdict::Failed);
        assert_eq!(verdict("Range: bytes=0-1\r\n", "HEAD"), ALL);
        assert_eq!(verdict(&format!("If-Modified-Since: {SAME}\r\n"), "OPTIONS"), ALL);
    }

    #[test]
    fn a_date_of_this_very_second_is_not_strong() {
        let fields = format!("Range: bytes=0-1\r\nIf-Range: {SAME}\r\n");
        assert_eq!(verdict_at(&fields, "GET", MODIFIED), ALL);
    }
}
