//! Whether an answer may be stored, and which of its fields with it.
//!
//! Thread: any, pure.
//! Not here: how long it is used (`freshness::lifetime`), where it lies (`cache::key`).
//! Source: RFC 9111 sections 3, 3.1, 3.5 and 4.2.2; RFC 9110 sections 7.6.1 and 15.1.
//! Differs from the source: an answer to HEAD is not stored, nor one that could never be used
//! again; answers to a part or a condition (206, 304, 412, 416) and to a proxy (407) never are.

use super::vary::{Nominated, VaryError};
use super::{
    ClientDirectives, Fields, Freshness, Method, Policy, Request, RequestControl, Response,
    ResponseControl, SetCookie,
};

/// What becomes of an answer that came from the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// It is stored, with the fields of `stored_fields`.
    Store {
        /// Kept beside it.
        freshness: Freshness,
        /// Which request fields it depends on.
        nominated: Nominated,
    },
    /// It is passed on and not stored.
    Pass(Pass),
}

/// Why an answer is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The method is not GET.
    Method,
    /// The status is not final, or an answer to a part or a condition of this one request.
    Status,
    /// must-understand, and a status that this cache does not know (RFC 9111 5.2.2.3).
    NotUnderstood,
    /// The answer says no-store.
    NoStore,
    /// The request says no-store, and clients' directives count.
    RequestNoStore,
    /// The answer says private.
    Private,
    /// The request was authorized, and the answer is not marked for all (RFC 9111 3.5).
    Authorization,
    /// The answer sets a cookie.
    SetCookie,
    /// Its Vary is `*`: no other request could match.
    VaryAny,
    /// Its Vary nominates more fields than VARY_FIELDS_MAX.
    VaryFields,
    /// It states no lifetime, and its status does not let a cache guess one.
    NoLifetime,
    /// It could be stored and never used: stale as it came, and no validator to ask with.
    Useless,
}

impl Pass {
    /// In words, for Cache-Status and for the operator.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::NotUnderstood => "must-understand",
            Self::NoStore => "no-store",
            Self::RequestNoStore => "request-no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::VaryAny => "vary-any",
            Self::VaryFields => "vary-fields",
            Self::NoLifetime => "no-lifetime",
            Self::Useless => "useless",
        }
    }
}

/// Decides about one answer. `request` is the client's, not the one that was sent to the origin.
#[must_use]
pub fn plan_store(request: &Request<'_>, response: &Response<'_>, policy: &Policy) -> Store {
    let control = ResponseControl::parse(response.fields);
    if let Some(pass) = refusal(request, response, &control, policy) {
        return Store::Pass(pass);
    }
    let nominated = match Nominated::parse(response.fields) {
        Ok(nominated) => nominated,
        Err(VaryError::Any) => return Store::Pass(Pass::VaryAny),
        Err(VaryError::TooMany) => return Store::Pass(Pass::VaryFields),
    };
    let freshness = Freshness::new(response, &control, policy);
    if is_useless(response, &freshness, policy) {
        return Store::Pass(Pass::Useless);
    }
    Store::Store { freshness, nominated }
}

/// RFC 9111 section 3, condition by condition.
fn refusal(
    request: &Request<'_>,
    response: &Response<'_>,
    control: &ResponseControl,
    policy: &Policy,
) -> Option<Pass> {
    if request.method != Method::Get {
        return Some(Pass::Method);
    }
    if !is_storable_status(response.status) {
        return Some(Pass::Status);
    }
    let is_understood = is_understood_status(response.status);
    if control.must_understand && !is_understood {
        return Some(Pass::NotUnderstood);
    }
    // RFC 9111 5.2.2.3: must-understand overrides no-store for caches that do understand.
    if control.no_store && !control.must_understand {
        return Some(Pass::NoStore);
    }
    // Section 3 does not ask for the request's no-store; 5.2.1.5 does where it is implemented.
    if policy.client_directives == ClientDirectives::All
        && RequestControl::parse(request.fields).no_store
    {
        return Some(Pass::RequestNoStore);
    }
    if control.private {
        return Some(Pass::Private);
    }
    if request.fields.has("Authorization") && !control.allows_authorized() {
        return Some(Pass::Authorization);
    }
    if policy.set_cookie == SetCookie::Pass && response.fields.has("Set-Cookie") {
        return Some(Pass::SetCookie);
    }
    let states_lifetime = control.max_age.is_some()
        || control.s_maxage.is_some()
        || !control.targeted && response.fields.has("Expires");
    if !states_lifetime && !control.public && !is_heuristic_status(response.status) {
        return Some(Pass::NoLifetime);
    }
    None
}

/// Whether the answer could never be used: not fresh when it came, no validator, no stale use.
fn is_useless(response: &Response<'_>, freshness: &Freshness, policy: &Policy) -> bool {
    let may_go_stale = freshness.reuse == super::Reuse::Plain
        && (freshness
            .stale_while_revalidate_seconds
            .min(policy.stale_while_revalidate_max_seconds)
            > 0
            || freshness
                .stale_if_error_seconds
                .unwrap_or(policy.stale_if_error_default_seconds)
                .min(policy.stale_max_seconds)
                > 0);
    let has_validator = response.fields.has("ETag") || response.fields.has("Last-Modified");
    let may_be_fresh =
        freshness.reuse != super::Reuse::Never && freshness.is_fresh(response.received_at);
    !may_be_fresh && !has_validator && !may_go_stale
}

/// A final answer to the whole of a request that others could have made too.
const fn is_storable_status(status: u16) -> bool {
    matches!(status, 200..=599) && !matches!(status, 206 | 304 | 407 | 412 | 416)
}

/// RFC 9110 15.1, less 206.
const fn is_heuristic_status(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Statuses whose caching this cache knows: no more than storing them as they are.
const fn is_understood_status(status: u16) -> bool {
    is_heuristic_status(status)
        || matches!(status, 302 | 303 | 307 | 400 | 403 | 451 | 500 | 502 | 503 | 504)
}

/// The fields of an answer that are stored with it and sent with every hit (RFC 9111 3.1), Age
/// replaced by the age at that time (5.1).
pub fn stored_fields<'a>(
    fields: Fields<'a>,
    policy: &Policy,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
    let policy = *policy;
    let lines = fields.0.iter().copied();
    lines.filter(move |(name, _)| !is_hop_by_hop(name, fields) && !is_stripped(name, &policy))
}

/// Whether the operator has fields of this name taken out.
pub(super) fn is_stripped(name: &[u8], policy: &Policy) -> bool {
    policy.set_cookie == SetCookie::Strip && super::is_name(name, "Set-Cookie")
}

/// Fields that end at this hop: those of RFC 9110 7.6.1, of proxies, and those Connection names.
pub(super) fn is_hop_by_hop(name: &[u8], fields: Fields<'_>) -> bool {
    const HOP_BY_HOP: [&str; 10] = [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authenticate",
        "Proxy-Authentication-Info",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
    ];
    HOP_BY_HOP.iter().any(|known| super::is_name(name, known))
        || fields
            .values("Connection")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixSeconds;

    const T: UnixSeconds = UnixSeconds(1_700_000_000);
    const LONG: (&[u8], &[u8]) = (b"Cache-Control", b"max-age=60");

    fn plan(status: u16, fields: &[(&[u8], &[u8])], policy: &Policy) -> Option<Pass> {
        let request = Request { method: Method::Get, fields: Fields(&[]) };
        let response = Response { status, fields: Fields(fields), asked_at: T, received_at: T };
        match plan_store(&request, &response, policy) {
            Store::Pass(pass) => Some(pass),
            Store::Store { .. } => None,
        }
    }

    #[test]
    fn every_status_is_stored_passed_or_refused() {
        let policy = Policy::default();
        for status in 0..=u16::MAX {
            let expected = match status {
                206 | 304 | 407 | 412 | 416 | 0..=199 | 600.. => Some(Pass::Status),
                _ => None,
            };
            assert_eq!(plan(status, &[LONG], &policy), expected, "{status}");
            let validator: (&[u8], &[u8]) = (b"ETag", b"\"x\"");
            let guessed = plan(status, &[validator], &policy);
            let heuristic =
                [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(&status);
            let expected = expected.or((!heuristic).then_some(Pass::NoLifetime));
            assert_eq!(guessed, expected, "{status}");
        }
    }

    #[test]
    fn what_could_never_be_used_is_not_stored() {
        let mut policy = Policy::default();
        let none: (&[u8], &[u8]) = (b"Cache-Control", b"max-age=0");
        let stale: (&[u8], &[u8]) = (b"Cache-Control", b"max-age=0, stale-if-error=5");
        let never: (&[u8], &[u8]) = (b"Cache-Control", b"no-cache, max-age=9, stale-if-error=5");
        assert_eq!(plan(200, &[none], &policy), Some(Pass::Useless));
        assert_eq!(plan(200, &[none, (b"ETag", b"\"x\"")], &policy), None);
        assert_eq!(plan(200, &[stale], &policy), None);
        assert_eq!(plan(200, &[never], &policy), Some(Pass::Useless));
        policy.stale_if_error_default_seconds = 60;
        assert_eq!(plan(200, &[none], &policy), None);
    }

    #[test]
    fn fields_of_the_hop_are_not_stored() {
        let lines: [(&[u8], &[u8]); 6] = [
            (b"Connection", b"x-hop, close"),
            (b"X-Hop", b"1"),
            (b"transfer-encoding", b"chunked"),
            (b"Content-Type", b"image/png"),
            (b"Set-Cookie", b"a=b"),
            (b"Keep-Alive", b"5"),
        ];
        let names = |policy: &Policy| -> Vec<&[u8]> {
            stored_fields(Fields(&lines), policy).map(|(name, _)| name).collect()
        };
        let strip = Policy { set_cookie: SetCookie::Strip, ..Policy::default() };
        assert_eq!(names(&Policy::default()), [&b"Content-Type"[..], b"Set-Cookie"]);
        assert_eq!(names(&strip), [&b"Content-Type"[..]]);
    }
}
