//! PURGE over HTTP: who may, what is meant, and the answer.
//!
//! Input: a request's head, an outcome.   Output: purges or a refusal; a response.
//! Thread: any, pure.
//! Not here: the connection (`daemon::admin`), the order of a purge (`daemon::purges`).
//!
//! ```text
//! PURGE /path HTTP/1.1            or PURGE http://host/path
//! Host: www.example.com
//! Authorization: Bearer TOKEN     admin.purge_token
//! Surrogate-Key: a b              these tags instead of the path
//! Soft-Purge: 1                   mark stale only
//! ```

use crate::cache::purge::{Purge, What};
use crate::http::date::DateLine;
use crate::http::head::{self, Persistence};
use crate::http::target::{Target, parse};
use crate::http::{Method, Request, Status};
use crate::limits::PURGE_REQUESTS_MAX;
use crate::sys::clock::unix_seconds;

use super::super::names::{self, NameError, Whose};
use super::super::purges::Outcome;
use super::super::settings::Settings;

/// The purges that `request` orders. `token` is the secret; empty for none, which turns all off.
///
/// # Errors
/// The status to refuse it with.
pub fn read(
    request: &Request<'_, '_>,
    token: &str,
    settings: &Settings,
) -> Result<Vec<Purge>, Status> {
    if token.is_empty() {
        return Err(Status::MethodNotAllowed);
    }
    authorize(request, token)?;
    let soft = match request.single("soft-purge") {
        None if request.values("soft-purge").count() == 0 => false,
        Some(b"0") => false,
        Some(b"1") => true,
        _ => return Err(Status::BadRequest),
    };
    if request.values("surrogate-key").count() > 0 {
        let values = request.values("surrogate-key");
        let tags = values.flat_map(|value| value.split(|byte| matches!(byte, b' ' | b'\t')));
        let tags = tags.filter(|tag| !tag.is_empty());
        let purges: Vec<Purge> =
            tags.map(|tag| Purge { what: What::Tag(tag.into()), soft }).collect();
        return if purges.is_empty() { Err(Status::BadRequest) } else { Ok(purges) };
    }
    let Target::Path { authority, path } = parse(Method::Other, request.target)? else {
        return Err(Status::BadRequest);
    };
    let authority = authority.unwrap_or(request.host);
    let query = names::query_of(request.target);
    match names::key_at(settings, authority, path, query, Whose::Configured) {
        Ok(key) => Ok(vec![Purge { what: What::Key(key[..].into()), soft }]),
        Err(NameError::Foreign | NameError::TooLong) => Err(Status::NotFound),
        Err(_) => Err(Status::BadRequest),
    }
}

/// RFC 9110 section 11.6.2, RFC 6750 section 2.1: 401 for who shows nothing, 403 for who shows the
/// wrong thing.
fn authorize(request: &Request<'_, '_>, token: &str) -> Result<(), Status> {
    let value = request.single("authorization").ok_or(Status::Unauthorized)?;
    let scheme = b"bearer ";
    let Some((first, rest)) = value.split_at_checked(scheme.len()) else {
        return Err(Status::Unauthorized);
    };
    if !first.eq_ignore_ascii_case(scheme) {
        return Err(Status::Unauthorized);
    }
    if is_same(rest.trim_ascii(), token.as_bytes()) { Ok(()) } else { Err(Status::Forbidden) }
}

/// Compares in a time that tells nothing of where they differ: by it a secret could be guessed byte
/// by byte. Its length is told, which is no secret.
fn is_same(given: &[u8], secret: &[u8]) -> bool {
    if given.len() != secret.len() {
        return false;
    }
    let fold = |sum: u8, (one, other): (&u8, &u8)| std::hint::black_box(sum | (one ^ other));
    given.iter().zip(secret).fold(0, fold) == 0
}

/// Appends the response that says what the order came to.
pub fn emit(outcome: &Outcome, out: &mut Vec<u8>) {
    let (status, line) = match outcome {
        Outcome::Purged(done) => {
            let status = if done.failed == 0 { Status::Ok } else { Status::InternalServerError };
            let (removed, kept, failed) = (done.removed, done.kept, done.failed);
            (status, format!("purged {removed} kept {kept} failed {failed}\n"))
        }
        Outcome::Busy => {
            let most = PURGE_REQUESTS_MAX;
            (Status::ServiceUnavailable, format!("busy: {most} purges are under way\n"))
        }
        Outcome::NoOrigin => (Status::NotFound, "no host has an origin\n".to_owned()),
        Outcome::Explained { decision, .. } => (Status::Ok, format!("{decision}\n")),
    };
    out.extend_from_slice(status.line().as_bytes());
    if status == Status::ServiceUnavailable {
        head::put(out, format_args!("Retry-After: 1\r\n"));
    }
    head::put(out, format_args!("Content-Length: {}\r\n", line.len()));
    out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\n");
    out.extend_from_slice(b"Cache-Control: no-store\r\n");
    head::finish(out, &DateLine::new(unix_seconds()), Persistence::Close);
    out.extend_from_slice(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::purge::Purged;
    use crate::http::request::{self, Head, HeadLimits, header_space};

    const TOKEN: &str = "0123456789abcdef";

    /// What a request with this line and these fields orders, beside Host and the token.
    fn ordered(target: &str, token: &str, fields: &str) -> Result<Vec<Purge>, u16> {
        let config = "[tree]\nroot = \"/tmp\"\ndefault_host = \"h\"\n[[host]]\nname = \"h\"\n";
        let settings = Settings::new(&crate::config::parse(config, "test.toml").unwrap());
        let limits = HeadLimits { header_bytes_max: 4096, headers_max: 20, uri_bytes_max: 2048 };
        let host = if fields.contains("Host") { "" } else { "Host: h:80\r\n" };
        let text = format!("PURGE {target} HTTP/1.1\r\n{host}{fields}\r\n");
        let mut space = header_space();
        let Ok(Head::Complete(request, _)) = request::parse(text.as_bytes(), &mut space, &limits)
        else {
            panic!("{text}");
        };
        assert_eq!(request.method_name, "PURGE");
        read(&request, token, &settings).map_err(Status::code)
    }

    fn with_token(target: &str, fields: &str) -> Result<Vec<Purge>, u16> {
        ordered(target, TOKEN, &format!("Authorization: Bearer {TOKEN}\r\n{fields}"))
    }

    fn one(what: What, soft: bool) -> Result<Vec<Purge>, u16> {
        Ok(vec![Purge { what, soft }])
    }

    #[test]
    fn only_with_the_token() {
        let of = |fields: &str| ordered("/a", TOKEN, fields).err();
        assert_eq!(of(""), Some(401));
        assert_eq!(of("Authorization: Basic eDp5\r\n"), Some(401));
        assert_eq!(of("Authorization: x\r\n"), Some(401));
        assert_eq!(of("Authorization: Bearer \r\n"), Some(401));
        assert_eq!(of("Authorization: Bearer 0123456789abcdeX\r\n"), Some(403));
        assert_eq!(of("Authorization: Bearer 0123456789abcde\r\n"), Some(403));
        let good = format!("authorization: bearer  {TOKEN}\r\n");
        assert_eq!(of(&good), None);
        assert_eq!(of(&good.repeat(2)), Some(401));
        assert_eq!(ordered("/a", "", &good).err(), Some(405));
    }

    #[test]
    fn paths_hosts_and_tags() {
        let key = |name: &str| What::Key(name.as_bytes().into());
        assert_eq!(with_token("/a?q", ""), one(key("/h/a"), false));
        assert_eq!(with_token("/a", "Soft-Purge: 1\r\n"), one(key("/h/a"), true));
        assert_eq!(with_token("/a", "Soft-Purge: 0\r\n"), one(key("/h/a"), false));
        assert_eq!(with_token("/a", "Soft-Purge: yes\r\n"), Err(400));
        assert_eq!(with_token("/a", "Soft-Purge: 1\r\nSoft-Purge: 1\r\n"), Err(400));
        assert_eq!(with_token("http://h/b", "Host: other\r\n"), one(key("/h/b"), false));
        assert_eq!(with_token("/a", "Host: other\r\n"), Err(404));
        assert_eq!(with_token("/../a", ""), Err(400));
        let tags = with_token("/", "Surrogate-Key: a  b\r\nSurrogate-Key: c\r\n").unwrap();
        let tag = |name: &str| Purge { what: What::Tag(name.as_bytes().into()), soft: false };
        assert_eq!(tags, [tag("a"), tag("b"), tag("c")]);
        assert_eq!(with_token("/", "Surrogate-Key: \r\n"), Err(400));
    }

    #[test]
    fn outcomes_become_responses() {
        let text = |outcome: &Outcome| {
            let mut out = Vec::new();
            emit(outcome, &mut out);
            String::from_utf8(out).unwrap()
        };
        let done = Purged { removed: 2, kept: 1, failed: 0 };
        let good = text(&Outcome::Purged(done));
        assert!(good.starts_with("HTTP/1.1 200 ") && good.ends_with("purged 2 kept 1 failed 0\n"));
        let bad = text(&Outcome::Purged(Purged { failed: 1, ..done }));
        assert!(bad.starts_with("HTTP/1.1 500 "), "{bad}");
        assert!(text(&Outcome::Busy).contains("Retry-After: 1\r\n"));
        assert!(text(&Outcome::NoOrigin).starts_with("HTTP/1.1 404 "));
    }
}
