//! Hits: which answers say that somebody is online, who, and where; on their way to the service.
//!
//! Input: requests that are answered.   Output: batches for the queue to `online`, one for what a
//! worker answers at once.
//! Owns: one batch.   Thread: one worker.
//! Invariants: a hit costs a request no system call and no allocation; nothing here waits.
//! Not here: the queue (`daemon::topology`), the index (`online`).

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::cache::key::{self, Key as FileName};
use crate::cache::pattern::Pattern;
use crate::config::{Online, UrlFrom, UserFrom};
use crate::http::hosts::HostName;
use crate::http::{Method, Request, target};
use crate::limits::{ONLINE_NAME_BYTES_MAX, ONLINE_URL_BYTES_MAX};

use super::super::online::batch::HitBatch;
use super::super::topology::FeedLine;
use super::Shared;
use super::answer::address;
use super::conn::Connection;

/// Which requests are hits.
#[derive(Debug)]
pub struct FeedRules {
    user: UserFrom,
    url: UrlFrom,
    paths: Vec<Pattern>,
}

impl FeedRules {
    /// Those of the configuration; `None` where no request is one.
    #[must_use]
    pub fn new(online: &Online) -> Option<Self> {
        let counts = online.enabled && online.user != UserFrom::Nobody;
        counts.then(|| Self {
            user: online.user.clone(),
            url: online.url.clone(),
            paths: online.paths.iter().map(|path| Pattern::new(path)).collect(),
        })
    }

    /// Whether it must be known where a client is.
    #[must_use]
    pub const fn needs_address(&self) -> bool {
        matches!(self.user, UserFrom::Address)
    }

    /// Appends who a request is from; nothing where it does not say.
    fn user(&self, request: &Request<'_, '_>, client: Option<IpAddr>, into: &mut Word) {
        match &self.user {
            UserFrom::Nobody => {}
            UserFrom::Address => {
                if let Some(client) = client {
                    // An address has 45 bytes at most.
                    let _: fmt::Result = write!(Text(into), "{client}");
                }
            }
            UserFrom::Cookie(name) => {
                extend(into, cookie(request, name.as_bytes()).unwrap_or_default());
            }
            UserFrom::Header(name) => extend(into, field(request, name).unwrap_or_default()),
            UserFrom::Query(name) => parameter(request.target, name, into),
        }
    }

    /// Appends what it is on; `name` is that of the file.
    fn url(&self, request: &Request<'_, '_>, name: &[u8], into: &mut Word) {
        match &self.url {
            UrlFrom::Path => extend(into, name.strip_prefix(b"/").unwrap_or(name)),
            UrlFrom::Referer => referer(field(request, "referer").unwrap_or_default(), into),
            UrlFrom::Query(name) => parameter(request.target, name, into),
        }
    }
}

/// A user or a url. What is longer than either may be is cut off: the service counts it as too
/// long, and needs no more of it.
type Word = ArrayVec<u8, { ONLINE_URL_BYTES_MAX + 1 }>;
const _: () = assert!(ONLINE_NAME_BYTES_MAX < ONLINE_URL_BYTES_MAX);

/// Appends as much as there is room for.
fn extend(into: &mut Word, bytes: &[u8]) {
    let len = bytes.len().min(into.remaining_capacity());
    into.try_extend_from_slice(&bytes[..len]).expect("there is room for that many");
}

struct Text<'a>(&'a mut Word);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        extend(self.0, text.as_bytes());
        Ok(())
    }
}

/// See the module.
pub struct Feed {
    line: FeedLine,
    batch: HitBatch,
}

impl Feed {
    /// By way of `line`.
    #[must_use]
    pub fn new(line: FeedLine) -> Self {
        Self { line, batch: HitBatch::default() }
    }

    fn push(&mut self, user: &[u8], url: &[u8]) {
        if !self.batch.push(user, url) {
            self.flush();
            // An empty batch takes the longest hit.
            let _fits: bool = self.batch.push(user, url);
        }
    }

    /// Hands over what there is.
    pub fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.batch = self.line.tell(std::mem::take(&mut self.batch));
        }
    }
}

impl Shared {
    /// Takes a request that is being answered with what it asked for, if it is a hit.
    pub(super) fn feed_hit(&mut self, conn: &Connection, request: &Request<'_, '_>) {
        let settings = Arc::clone(&self.settings);
        let (Some(feed), Some(rules)) = (&mut self.feed, &settings.feed) else { return };
        if request.method != Method::Get {
            return;
        }
        let mut foreign = HostName::new();
        let Ok(Some((authority, path))) = address(request) else { return };
        let Ok((_, directory)) = settings.site(authority, &mut foreign) else { return };
        let mut name = FileName::new();
        key::begin(directory, &mut name);
        let path_at = name.len();
        if target::decode_long_path(path, settings.dot_files, &mut name).is_err()
            || !rules.paths.iter().any(|pattern| pattern.matches(&name[path_at..]))
        {
            return;
        }
        let (mut user, mut url) = (Word::new(), Word::new());
        rules.user(request, conn.address, &mut user);
        rules.url(request, &name, &mut url);
        if !user.is_empty() && !url.is_empty() {
            feed.push(&user, &url);
        }
    }
}

/// The first value of the field `name`.
fn field<'b>(request: &Request<'_, 'b>, name: &str) -> Option<&'b [u8]> {
    let mut fields = request.fields();
    fields.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The value of the cookie `name` (RFC 6265 section 4.2.1), as sent.
fn cookie<'b>(request: &Request<'_, 'b>, name: &[u8]) -> Option<&'b [u8]> {
    let mut pairs = request.values("cookie").flat_map(|value| value.split(|byte| *byte == b';'));
    pairs.find_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
}

/// Appends the value of the parameter `name` of a target's query, percent-decoded. What is no
/// escape stays as it is.
fn parameter(target: &str, name: &str, into: &mut Word) {
    let Some((_, query)) = target.split_once('?') else { return };
    let mut pairs = query.split('&');
    let value = pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let mut rest = value.unwrap_or_default().as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after.first_chunk::<2>().and_then(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        });
        match escaped {
            Some(escaped) if *byte == b'%' => {
                extend(into, &[escaped]);
                rest = &after[2..];
            }
            _ => {
                extend(into, &[*byte]);
                rest = after;
            }
        }
    }
}

/// Appends host, in lower case and without a port that says nothing, and path of a Referer.
fn referer(value: &[u8], into: &mut Word) {
    let begins = |scheme: &[u8]| {
        let (head, rest) = value.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let http = begins(b"http://").map(|rest| (rest, &b":80"[..]));
    let Some((rest, port)) = http.or_else(|| begins(b"https://").map(|rest| (rest, &b":443"[..])))
    else {
        return;
    };
    let end = rest.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(rest.len());
    let rest = &rest[..end];
    let (host, path) = rest.split_at(rest.iter().position(|byte| *byte == b'/').unwrap_or(end));
    let host = host.strip_suffix(port).unwrap_or(host);
    if host.is_empty() {
        return;
    }
    extend(into, host);
    into.make_ascii_lowercase();
    extend(into, if path.is_empty() { b"/" } else { path });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::{Head, HeadLimits, header_space, parse};

    fn rules(user: UserFrom) -> FeedRules {
        let online = Online { enabled: true, user, ..Online::default() };
        FeedRules::new(&online).unwrap()
    }

    fn user(from: UserFrom, target: &str, fields: &str) -> Option<String> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
        let mut space = header_space();
        let limits = HeadLimits { header_bytes_max: 8192, headers_max: 64, uri_bytes_max: 4096 };
        let Ok(Head::Complete(request, _)) = parse(head.as_bytes(), &mut space, &limits) else {
            panic!("it is whole");
        };
        let client = Some("192.0.2.1".parse().unwrap());
        let mut found = Word::new();
        rules(from).user(&request, client, &mut found);
        (!found.is_empty()).then(|| String::from_utf8(found.to_vec()).unwrap())
    }

    #[test]
    fn table_of_users() {
        let cookie = || UserFrom::Cookie("id".into());
        let header = || UserFrom::Header("X-User".into());
        let query = || UserFrom::Query("u".into());
        let table = [
            (cookie(), "/", "Cookie: a=1; id=ann; b=2\r\n", Some("ann")),
            (cookie(), "/", "Cookie: id2=x\r\ncookie: x=y;id=bob\r\n", Some("bob")),
            (cookie(), "/", "Cookie: id\r\n", None),
            (cookie(), "/", "", None),
            (header(), "/", "x-USER:  ann \r\n", Some("ann")),
            (header(), "/", "X-Other: ann\r\n", None),
            (query(), "/?a=1&u=ann&b=2", "", Some("ann")),
            (query(), "/?u=a%20b%2&u=x", "", Some("a b%2")),
            (query(), "/?uu=ann", "", None),
            (query(), "/u=ann", "", None),
            (UserFrom::Address, "/", "", Some("192.0.2.1")),
        ];
        for (from, target, fields, expected) in table {
            let found = user(from.clone(), target, fields);
            assert_eq!(found.as_deref(), expected, "{from:?} {target} {fields}");
        }
    }

    #[test]
    fn table_of_referers() {
        let table = [
            ("http://WWW.example.com/A/b.html?q#f", Some("www.example.com/A/b.html")),
            ("https://www.example.com:443", Some("www.example.com/")),
            ("http://www.example.com:8080/", Some("www.example.com:8080/")),
            ("HTTP://a:80/#x", Some("a/")),
            ("http:///x", None),
            ("android-app://x", None),
            ("/x", None),
            ("", None),
        ];
        for (value, expected) in table {
            let mut found = Word::new();
            referer(value.as_bytes(), &mut found);
            assert_eq!(&found[..], expected.unwrap_or_default().as_bytes(), "{value}");
        }
    }

    #[test]
    fn nobody_is_no_feed() {
        assert!(FeedRules::new(&Online { enabled: true, ..Online::default() }).is_none());
        let user = UserFrom::Address;
        assert!(FeedRules::new(&Online { user, ..Online::default() }).is_none());
    }
}
