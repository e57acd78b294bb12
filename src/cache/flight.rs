//! One fetch: what becomes of an origin's answer, for those who wait and for the tree.
//!
//! Input: the request that was sent, what is stored already, the head of the answer.
//! Output: `Plan`, once per answer.   Owns: nothing.   Thread: any, pure.
//! Invariants: nothing is stored that `freshness::plan_store` refuses; what is sent on never holds
//! fields of the connection to the origin, nor those that are meant for caches only.
//! Not here: who waits (`daemon::http::follow`), connections (`http::origin`), files
//! (`cache::store`).
//! Source: RFC 9111 sections 3, 4.3.3 and 4.3.4; RFC 5861 section 4.

use std::borrow::Cow;

use super::freshness::store::stored_fields;
use super::freshness::validate::{Freshen, Stored, freshen};
use super::freshness::vary::Nominated;
use super::freshness::{
    Error, Fields, Freshness, LifetimeFrom, Pass, Policy, Request, RequestControl, Response,
    ResponseControl, Reuse, Store, plan_error, plan_store,
};
use super::record::Record;

/// What was asked, and what is stored already.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The client's request.
    pub request: Request<'a>,
    /// Its directives.
    pub control: RequestControl,
    /// The stored answer whose validators were sent, or that may stand in for an error.
    pub stored: Option<&'a Record>,
    /// Of the key's own file, where the answer is another variant beside it.
    pub generation: Option<u64>,
    /// Draws one at random, for the first answer of a key that says what it varies by.
    pub new_generation: fn() -> u64,
    /// The operator's rules for the path.
    pub policy: &'a Policy,
    /// Now, as a Date field has it.
    pub date: &'a [u8],
}

/// What becomes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It is passed on, and stored unless it says why not.
    Send(Record, Option<Pass>),
    /// What is stored holds on, with this record.
    Confirmed(Record),
    /// What is stored may answer those who wait, and is removed then.
    Spent,
    /// The origin speaks of another answer than the stored one: fetch without conditions.
    Again,
    /// The origin failed, and what is stored may stand in.
    Stale,
}

/// Decides about one answer's head. `length` is its Content-Length, if it has one; `rewrite` gives
/// the value of a Location field that is sent on.
#[must_use]
pub fn plan<'v>(
    asked: &Asked<'_>,
    response: &Response<'v>,
    reason: &str,
    length: Option<u64>,
    rewrite: impl Fn(&'v [u8]) -> Cow<'v, [u8]>,
) -> Plan {
    if let (304, Some(stored)) = (response.status, asked.stored) {
        return plan_confirmation(asked, stored, response);
    }
    if let Some(stored) = asked.stored
        && response.status >= 500
        && plan_error(
            &stored.freshness,
            &asked.control,
            Error::Status(response.status),
            response.received_at,
            asked.policy,
        )
        .is_some()
    {
        return Plan::Stale;
    }
    let (freshness, nominated, pass) = match plan_store(&asked.request, response, asked.policy) {
        Store::Store { freshness, nominated } => (freshness, nominated, None),
        Store::Pass(pass) => (used_once(response, asked.policy), Nominated::default(), Some(pass)),
    };
    let key = nominated.key(asked.request.fields);
    let pass = pass.or(key.is_none().then_some(Pass::VaryFields));
    let room = response.fields.0.iter().map(|(name, value)| name.len() + value.len() + 4);
    let mut fields =
        Vec::with_capacity(room.sum::<usize>() + "Date: \r\n".len() + asked.date.len());
    for (name, value) in stored_fields(response.fields, asked.policy) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if NOT_SENT.iter().any(|known| is(known)) {
            continue;
        }
        if is("Location") || is("Content-Location") {
            put(&mut fields, name, &rewrite(value));
        } else {
            put(&mut fields, name, value);
        }
    }
    // RFC 9110 6.6.1: a recipient with a clock that stores a response adds the Date it lacks.
    if !response.fields.has("Date") {
        put(&mut fields, b"Date", asked.date);
    }
    let record = Record {
        status: response.status,
        reason: reason.into(),
        body_bytes: length.unwrap_or(0),
        generation: match asked.generation {
            Some(generation) => generation,
            None if nominated.is_empty() => 0,
            None => (asked.new_generation)(),
        },
        freshness,
        nominated,
        secondary_key: key.as_deref().unwrap_or_default().into(),
        tags: tags(response.fields).into(),
        fields: fields.into(),
    };
    Plan::Send(record, pass)
}

fn plan_confirmation(asked: &Asked<'_>, stored: &Record, response: &Response<'_>) -> Plan {
    let lines: Vec<(&[u8], &[u8])> = stored.lines().collect();
    let before = Stored { status: stored.status, fields: Fields(&lines) };
    match freshen(&asked.request, &before, response, asked.policy) {
        Freshen::Mismatch => Plan::Again,
        Freshen::Spent { .. } => Plan::Spent,
        Freshen::Kept { fields, freshness, nominated } => {
            let mut out = Vec::new();
            for (name, value) in fields {
                let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
                if !NOT_SENT.iter().any(is) {
                    put(&mut out, name, value);
                }
            }
            if !out_has_date(&out) {
                put(&mut out, b"Date", asked.date);
            }
            let tags = match tags(response.fields) {
                none if none.is_empty() => stored.tags.clone(),
                tags => tags.into(),
            };
            let generation = match stored.generation {
                0 if !nominated.is_empty() => (asked.new_generation)(),
                generation => generation,
            };
            Plan::Confirmed(Record {
                generation,
                freshness,
                nominated,
                tags,
                fields: out.into(),
                ..stored.clone()
            })
        }
    }
}

fn out_has_date(fields: &[u8]) -> bool {
    fields
        .split(|byte| *byte == b'\n')
        .any(|line| line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"Date:")))
}

/// Whether what is stored may stand in for an origin that gave no answer.
#[must_use]
pub fn may_stand_in(asked: &Asked<'_>, now: crate::time::UnixSeconds) -> bool {
    asked.stored.is_some_and(|stored| {
        let freshness = &stored.freshness;
        plan_error(freshness, &asked.control, Error::Unreachable, now, asked.policy).is_some()
    })
}

/// Fields that are written anew for each response, or meant for caches only.
const NOT_SENT: [&str; 5] =
    ["Content-Length", "Age", "Accept-Ranges", "Surrogate-Key", "Cache-Tag"];

/// The tags by which an answer can be purged: Surrogate-Key has blanks between them, Cache-Tag
/// commas.
fn tags(fields: Fields<'_>) -> Vec<u8> {
    let mut all = Vec::new();
    let values = fields.values("Surrogate-Key").chain(fields.values("Cache-Tag"));
    for tag in values.flat_map(|value| value.split(|byte| matches!(byte, b' ' | b'\t' | b','))) {
        if !tag.is_empty() {
            if !all.is_empty() {
                all.push(b' ');
            }
            all.extend_from_slice(tag);
        }
    }
    all
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Of an answer that is used once: its age, and nothing more.
fn used_once(response: &Response<'_>, policy: &Policy) -> Freshness {
    let control = ResponseControl::parse(response.fields);
    let known = Freshness::new(response, &control, policy);
    Freshness { lifetime_seconds: 0, from: LifetimeFrom::Nothing, reuse: Reuse::Never, ..known }
}

#[cfg(test)]
mod tests {
    use super::super::freshness::Method;
    use super::*;
    use crate::time::UnixSeconds;

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

    fn plan_of(status: u16, lines: &[(&str, &str)], stored: Option<&Record>) -> Plan {
        let lines: Vec<(&[u8], &[u8])> =
            lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let policy = Policy::default();
        let request = Request { method: Method::Get, fields: Fields(&[]) };
        let control = RequestControl::default();
        let asked = Asked {
            request,
            control,
            stored,
            generation: None,
            new_generation: || 7,
            policy: &policy,
            date: b"now",
        };
        let fields = Fields(&lines);
        let response = Response { status, fields, asked_at: NOW, received_at: NOW };
        plan(&asked, &response, "OK", Some(3), |value| Cow::Owned([b"to ", value].concat()))
    }

    fn stored(lines: &[(&str, &str)]) -> Record {
        let Plan::Send(record, None) = plan_of(200, lines, None) else { panic!("it is stored") };
        record
    }

    fn text(record: &Record) -> String {
        String::from_utf8(record.fields.to_vec()).unwrap()
    }

    #[test]
    fn a_storable_answer_is_kept_without_what_is_not_to_be_sent() {
        let record = stored(&[
            ("Content-Length", "3"),
            ("Connection", "x-hop"),
            ("X-Hop", "1"),
            ("Cache-Control", "max-age=60"),
            ("Age", "5"),
            ("Surrogate-Key", "a b"),
            ("Cache-Tag", "c,d"),
            ("Location", "/x"),
        ]);
        assert_eq!(text(&record), "Cache-Control: max-age=60\r\nLocation: to /x\r\nDate: now\r\n");
        assert_eq!(&record.tags[..], b"a b c d");
        assert_eq!((record.body_bytes, record.generation), (3, 0), "it has no variants");
    }

    #[test]
    fn one_that_may_not_be_stored_says_why() {
        let Plan::Send(record, pass) = plan_of(200, &[("Cache-Control", "no-store")], None) else {
            panic!("it is sent");
        };
        assert_eq!(pass, Some(Pass::NoStore));
        assert_eq!(record.freshness.lifetime_seconds, 0);
    }

    #[test]
    fn a_304_confirms_what_it_is_about() {
        let before = stored(&[("ETag", "\"a\""), ("Cache-Control", "max-age=60")]);
        let lines = [("ETag", "\"a\""), ("Cache-Control", "max-age=99")];
        let Plan::Confirmed(record) = plan_of(304, &lines, Some(&before)) else {
            panic!("it is confirmed");
        };
        assert_eq!(record.freshness.lifetime_seconds, 99);
        assert_eq!((record.status, record.generation), (200, 0));
        let varies = [("ETag", "\"a\""), ("Vary", "Accept"), ("Cache-Control", "max-age=9")];
        let Plan::Confirmed(record) = plan_of(304, &varies, Some(&before)) else {
            panic!("it is confirmed");
        };
        assert_eq!(record.generation, 7, "from now on it may have variants");
        assert_eq!(stored(&varies).generation, 7);
        assert_eq!(plan_of(304, &[("ETag", "\"b\"")], Some(&before)), Plan::Again);
        let forbidden = [("ETag", "\"a\""), ("Cache-Control", "no-store")];
        assert_eq!(plan_of(304, &forbidden, Some(&before)), Plan::Spent);
    }

    #[test]
    fn a_stored_answer_stands_in_where_it_is_allowed_to() {
        let line = ("Cache-Control", "max-age=0, stale-if-error=60");
        let before = stored(&[("ETag", "\"a\""), line]);
        assert_eq!(plan_of(503, &[], Some(&before)), Plan::Stale);
        let strict = stored(&[("ETag", "\"a\""), ("Cache-Control", "max-age=0")]);
        assert!(matches!(plan_of(503, &[], Some(&strict)), Plan::Send(_, Some(_))));
        assert!(matches!(plan_of(404, &[], Some(&before)), Plan::Send(..)));
    }
}
