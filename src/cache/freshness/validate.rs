//! Asking the origin whether a stored answer still holds, and what its 304 changes.
//!
//! Thread: any, pure.
//! Not here: the client's own conditions (`http::conditional`), sending (`daemon`).
//! Source: RFC 9111 sections 3.2, 4.3.1, 4.3.4 and 4.3.5; RFC 9110 section 8.8.
//! Differs from the source: a 304 without any validator confirms the answer that was asked about;
//! Age and Date of the stored answer go even where the 304 has none, since they tell of a time
//! that the new one replaces.

use crate::time::UnixSeconds;

use super::store::{is_hop_by_hop, is_stripped};
use super::vary::Nominated;
use super::{Fields, Freshness, Method, Pass, Policy, Request, Response, Store, date, plan_store};

/// Field lines of a merged answer, as slices of the stored one and the 304.
pub type Lines<'a> = Vec<(&'a [u8], &'a [u8])>;

/// The conditions of a revalidation, as values of their fields. Both are sent (RFC 9111 4.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions<'a> {
    /// If-None-Match: the stored ETag.
    pub none_match: Option<&'a [u8]>,
    /// If-Modified-Since: the stored Last-Modified, byte by byte, since some origins compare text.
    pub modified_since: Option<&'a [u8]>,
}

impl Conditions<'_> {
    /// Whether there is nothing to ask with: the whole answer is fetched then.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.none_match.is_none() && self.modified_since.is_none()
    }
}

/// The conditions that the fields of a stored answer allow; what is not valid is left out.
#[must_use]
pub fn conditions(stored: Fields<'_>) -> Conditions<'_> {
    let is_date = |value: &&[u8]| date::parse(value, UnixSeconds(0)).is_some();
    Conditions {
        none_match: stored.first("ETag").filter(|tag| is_entity_tag(tag)),
        modified_since: stored.first("Last-Modified").filter(is_date),
    }
}

/// RFC 9110 8.8.3.
fn is_entity_tag(tag: &[u8]) -> bool {
    match tag.strip_prefix(b"W/").unwrap_or(tag) {
        [b'"', inner @ .., b'"'] => inner.iter().all(|byte| !matches!(byte, b'"' | 0..=b' ' | 127)),
        _ => false,
    }
}

/// What a 304 (or the answer to a HEAD) makes of a stored answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshen<'a> {
    /// It holds on: keep it with these fields.
    Kept {
        /// In place of the stored ones.
        fields: Lines<'a>,
        /// In place of the stored one.
        freshness: Freshness,
        /// In place of the stored ones.
        nominated: Nominated,
    },
    /// It may answer the request that asked, with these fields, and is removed then.
    Spent {
        /// To be sent once.
        fields: Lines<'a>,
        /// Why it may not be stored any more.
        why: Pass,
    },
    /// It is another one than the origin speaks of: fetch again without conditions.
    Mismatch,
}

/// A stored answer, as it lies beside its body.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its status code, never 304.
    pub status: u16,
    /// Its field lines.
    pub fields: Fields<'a>,
}

/// Applies the 304 that answered the conditions of `stored`. `request` is the client's.
#[must_use]
pub fn freshen<'a>(
    request: &Request<'_>,
    stored: &Stored<'a>,
    not_modified: &Response<'a>,
    policy: &Policy,
) -> Freshen<'a> {
    assert_ne!(stored.status, 304, "a 304 is never stored");
    if !is_about(stored.fields, not_modified.fields) {
        return Freshen::Mismatch;
    }
    let fields = merge(stored.fields, not_modified.fields, policy);
    let response = Response { status: stored.status, fields: Fields(&fields), ..*not_modified };
    // What is stored answered a GET; a HEAD may have asked whether it holds.
    let request = Request { method: Method::Get, fields: request.fields };
    match plan_store(&request, &response, policy) {
        Store::Store { freshness, nominated } => Freshen::Kept { fields, freshness, nominated },
        Store::Pass(why) => Freshen::Spent { fields, why },
    }
}

/// RFC 9111 4.3.5: applies a 200 to a HEAD that was forwarded. A mismatch makes `stored` stale.
#[must_use]
pub fn freshen_by_head<'a>(
    request: &Request<'_>,
    stored: &Stored<'a>,
    head: &Response<'a>,
    policy: &Policy,
) -> Freshen<'a> {
    let same = |name| {
        let sent = head.fields.first(name);
        sent.is_none() || sent == stored.fields.first(name)
    };
    // Unlike a 304, the answer was not asked about this one: each thing that it names must agree.
    let agrees = stored.status == head.status
        && same("Content-Length")
        && same("ETag")
        && same("Last-Modified")
        && same("Content-Encoding");
    if agrees { freshen(request, stored, head, policy) } else { Freshen::Mismatch }
}

/// RFC 9111 4.3.4: whether the validators of the new answer are those of the stored one.
fn is_about(stored: Fields<'_>, new: Fields<'_>) -> bool {
    if let Some(tag) = new.first("ETag") {
        let known = stored.first("ETag");
        let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
        return match tag {
            [b'W', b'/', ..] => known.map(opaque) == Some(opaque(tag)),
            _ => known == Some(tag),
        };
    }
    match (new.first("Last-Modified"), stored.first("Last-Modified")) {
        (Some(new), known) => known == Some(new),
        (None, _) => true,
    }
}

/// RFC 9111 3.2: the new fields replace the stored ones of the same name, but for those below.
#[must_use]
pub fn merge<'a>(stored: Fields<'a>, new: Fields<'a>, policy: &Policy) -> Lines<'a> {
    // A cookie of the 304 is no more everybody's than one of the first answer.
    let replaces = |name: &[u8]| {
        !describes_body(name) && !is_hop_by_hop(name, new) && !is_stripped(name, policy)
    };
    let is_new = |name: &[u8]| new.0.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let is_of_old_time = |name| super::is_name(name, "Age") || super::is_name(name, "Date");
    let kept = stored.0.iter().filter(|(name, _)| {
        let is_replaced = is_new(name) && replaces(name);
        !is_replaced && !is_of_old_time(name)
    });
    let added = new.0.iter().filter(|(name, _)| replaces(name));
    kept.chain(added).copied().collect()
}

/// Fields of the body as it is stored, which a 304 does not bring anew (RFC 9111 3.2).
fn describes_body(name: &[u8]) -> bool {
    const FIELDS: [&str; 4] =
        ["Content-Length", "Content-Encoding", "Content-Range", "Transfer-Encoding"];
    FIELDS.iter().any(|known| super::is_name(name, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_entity_tags() {
        for (tag, expected) in [
            ("\"x\"", true),
            ("W/\"x\"", true),
            ("\"\"", true),
            ("w/\"x\"", false),
            ("x", false),
            ("\"", false),
            ("\"a\"b\"", false),
            ("\"a b\"", false),
            ("", false),
        ] {
            assert_eq!(is_entity_tag(tag.as_bytes()), expected, "{tag}");
        }
    }

    #[test]
    fn invalid_validators_are_not_sent() {
        let lines: [(&[u8], &[u8]); 2] = [(b"ETag", b"x"), (b"Last-Modified", b"yesterday")];
        assert!(conditions(Fields(&lines)).is_empty());
        let lines: [(&[u8], &[u8]); 2] =
            [(b"etag", b"\"x\""), (b"last-modified", b"Sun, 06 Nov 1994 08:49:37 GMT")];
        assert_eq!(conditions(Fields(&lines)).none_match, Some(&b"\"x\""[..]));
        assert!(conditions(Fields(&lines)).modified_since.is_some());
    }

    #[test]
    fn table_of_validators() {
        for (stored, new, expected) in [
            (("ETag", "\"a\""), ("ETag", "\"a\""), true),
            (("ETag", "\"a\""), ("ETag", "\"b\""), false),
            (("ETag", "\"a\""), ("ETag", "W/\"a\""), true),
            (("ETag", "W/\"a\""), ("ETag", "W/\"a\""), true),
            // RFC 9111 4.3.4: a strong one selects by strong comparison.
            (("ETag", "W/\"a\""), ("ETag", "\"a\""), false),
            (("Last-Modified", "x"), ("ETag", "\"a\""), false),
            (("Last-Modified", "x"), ("Last-Modified", "x"), true),
            (("Last-Modified", "x"), ("Last-Modified", "y"), false),
            (("ETag", "\"a\""), ("Last-Modified", "x"), false),
            (("ETag", "\"a\""), ("X", "y"), true),
        ] {
            let line =
                |(name, value): (&'static str, &'static str)| [(name.as_bytes(), value.as_bytes())];
            let found = is_about(Fields(&line(stored)), Fields(&line(new)));
            assert_eq!(found, expected, "{stored:?} {new:?}");
        }
    }

    #[test]
    fn merging_twice_is_merging_once() {
        let stored: [(&[u8], &[u8]); 4] =
            [(b"A", b"1"), (b"A", b"2"), (b"Content-Length", b"5"), (b"Age", b"3")];
        let new: [(&[u8], &[u8]); 3] = [(b"a", b"3"), (b"content-length", b"0"), (b"B", b"4")];
        let once = merge(Fields(&stored), Fields(&new), &Policy::default());
        let expected: Lines<'_> = vec![(b"Content-Length", b"5"), (b"a", b"3"), (b"B", b"4")];
        assert_eq!(once, expected);
        assert_eq!(merge(Fields(&once), Fields(&new), &Policy::default()), once);
    }
}
