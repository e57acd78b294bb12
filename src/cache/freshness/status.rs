//! The text of Cache-Status: how this cache handled a request.
//!
//! Thread: any, pure.
//! Not here: the Age field, which is a number of `freshness::serve`; the members that caches nearer
//! to the origin wrote, which stay before this one (RFC 9211 2).
//! Source: RFC 9211; RFC 8941 section 4.1 for the text.

use std::fmt::Write as _;

use arrayvec::ArrayString;

use super::{Forward, Serve};

/// Why a request went to the origin (RFC 9211 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fwd {
    /// The cache is configured to stay out of it.
    Bypass,
    /// The method's semantics.
    Method,
    /// Nothing is stored for the key.
    UriMiss,
    /// What is stored for the key differs in what Vary nominates.
    VaryMiss,
    /// Nothing usable is stored.
    Miss,
    /// Something fresh is stored and the request does not take it.
    Request,
    /// What is stored is stale.
    Stale,
    /// What is stored is not all of it.
    Partial,
}

impl Fwd {
    /// Why `plan` goes to the origin; `has_variants` says whether its key has any. `None` where it
    /// does not go there.
    #[must_use]
    pub const fn of(plan: &Serve, has_variants: bool) -> Option<Self> {
        match plan {
            Serve::Revalidate(Forward::Stale) => Some(Self::Stale),
            Serve::Revalidate(Forward::Request) => Some(Self::Request),
            Serve::Miss if has_variants => Some(Self::VaryMiss),
            Serve::Miss => Some(Self::UriMiss),
            Serve::Pass => Some(Self::Method),
            Serve::Fresh { .. } | Serve::Stale { .. } | Serve::OnlyIfCached => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// How the request was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// From what is stored, without the origin (RFC 9211 2.1).
    Hit,
    /// By the origin.
    Forwarded {
        /// RFC 9211 2.2.
        why: Fwd,
        /// What the origin answered, where that is not what is sent (RFC 9211 2.3).
        origin_status: Option<u16>,
        /// RFC 9211 2.5.
        stored: bool,
        /// RFC 9211 2.6: whether it waited for a fetch of another request.
        collapsed: bool,
    },
    /// By this cache itself, with an answer of its own.
    Generated,
}

/// One member of Cache-Status.
#[derive(Clone, Copy, Debug)]
pub struct CacheStatus<'a> {
    /// The name of this cache.
    pub cache: &'a str,
    /// How the request was handled.
    pub handled: Handled,
    /// Seconds of freshness left of what is sent; negative where it is stale (RFC 9211 2.4).
    pub ttl_seconds: Option<i64>,
    /// Anything else, for whoever runs this cache (RFC 9211 2.8); empty for nothing.
    pub detail: &'a str,
}

impl CacheStatus<'_> {
    /// Appends the field's value.
    pub fn emit(&self, out: &mut Vec<u8>) {
        emit_word(self.cache, out);
        match self.handled {
            Handled::Hit => out.extend_from_slice(b"; hit"),
            Handled::Forwarded { why, origin_status, stored, collapsed } => {
                out.extend_from_slice(b"; fwd=");
                out.extend_from_slice(why.as_str().as_bytes());
                if let Some(status) = origin_status {
                    emit_number("; fwd-status=", status.into(), out);
                }
                out.extend_from_slice(if stored { b"; stored" } else { b"" });
                out.extend_from_slice(if collapsed { b"; collapsed" } else { b"" });
            }
            Handled::Generated => {}
        }
        if let Some(ttl) = self.ttl_seconds {
            // A lifetime has 31 bits and an age too, so the number has fewer than 15 digits.
            emit_number("; ttl=", ttl, out);
        }
        if !self.detail.is_empty() {
            out.extend_from_slice(b"; detail=");
            emit_word(self.detail, out);
        }
    }
}

fn emit_number(name: &str, number: i64, out: &mut Vec<u8>) {
    let mut text = ArrayString::<20>::new();
    write!(text, "{number}").expect("a sign and 19 digits at most");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A token where the text is one, else a string (RFC 8941 4.1.6 and 4.1.7). What a string cannot
/// hold becomes a question mark.
fn emit_word(text: &str, out: &mut Vec<u8>) {
    let is_token = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b));
    if is_token {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(if c == '"' { b"\\\"" } else { b"\\\\" }),
            ' '..='~' => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => out.push(b'?'),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: &CacheStatus<'_>) -> String {
        let mut out = Vec::new();
        status.emit(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn table_of_members() {
        let hit = CacheStatus {
            cache: "peerage",
            handled: Handled::Hit,
            ttl_seconds: Some(30),
            detail: "",
        };
        let forwarded = |why, origin_status, stored, collapsed| CacheStatus {
            handled: Handled::Forwarded { why, origin_status, stored, collapsed },
            ..hit
        };
        for (status, expected) in [
            (hit, "peerage; hit; ttl=30"),
            (CacheStatus { ttl_seconds: Some(-4), ..hit }, "peerage; hit; ttl=-4"),
            (
                CacheStatus { cache: "box 1\"\\\u{e9}\n", ttl_seconds: None, ..hit },
                "\"box 1\\\"\\\\??\"; hit",
            ),
            (CacheStatus { cache: "", detail: "a b", ..hit }, "\"\"; hit; ttl=30; detail=\"a b\""),
            (
                forwarded(Fwd::UriMiss, None, true, true),
                "peerage; fwd=uri-miss; stored; collapsed; ttl=30",
            ),
            (
                forwarded(Fwd::Stale, Some(304), false, false),
                "peerage; fwd=stale; fwd-status=304; ttl=30",
            ),
            (
                CacheStatus {
                    handled: Handled::Generated,
                    ttl_seconds: None,
                    detail: "only-if-cached",
                    ..hit
                },
                "peerage; detail=only-if-cached",
            ),
        ] {
            assert_eq!(text(&status), expected);
        }
    }

    #[test]
    fn each_way_to_the_origin_has_its_reason() {
        for (plan, variants, expected) in [
            (Serve::Miss, false, Some(Fwd::UriMiss)),
            (Serve::Miss, true, Some(Fwd::VaryMiss)),
            (Serve::Pass, true, Some(Fwd::Method)),
            (Serve::Revalidate(Forward::Stale), true, Some(Fwd::Stale)),
            (Serve::Revalidate(Forward::Request), true, Some(Fwd::Request)),
            (Serve::Fresh { age_seconds: 1 }, true, None),
            (Serve::OnlyIfCached, false, None),
        ] {
            assert_eq!(Fwd::of(&plan, variants), expected, "{plan:?}");
        }
    }
}
