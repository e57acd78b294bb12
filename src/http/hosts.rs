//! Host names: which configured host a request means (RFC 9110 sections 4.2.3 and 7.2).
//!
//! Input: the Host field, or the authority of an absolute-form target.   Output: `Site`.
//! Owns: the table of names, bounded by the configuration.   Thread: any, pure.
//! Not here: what is done for a host (`daemon::settings`), its files (`cache::key`).

use arrayvec::ArrayString;
use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashMap;

use super::Status;

/// Longest host name (RFC 1035 section 2.3.4).
pub const HOST_BYTES_MAX: usize = 255;

/// A host name in its one written form: lower case, no port, no final dot.
pub type HostName = ArrayString<HOST_BYTES_MAX>;

/// Whom a request is for.
#[expect(clippy::large_enum_variant, reason = "lives on the stack, for one call")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// The configured host of that number.
    Known(usize),
    /// A well-formed name that no configured host has.
    Foreign(HostName),
    /// No name was sent (HTTP/1.0).
    Unnamed,
}

/// All names of all configured hosts.
#[derive(Debug)]
pub struct Hosts {
    by_name: HashMap<Box<[u8]>, usize, SeedableRandomState>,
}

impl Hosts {
    /// No names yet. `hash_seed` is drawn at random by the caller, since strangers choose the names
    /// that are looked for.
    #[must_use]
    pub fn new(hash_seed: u64) -> Self {
        let hasher = SeedableRandomState::with_seed(hash_seed, SharedSeed::global_fixed());
        Self { by_name: HashMap::with_hasher(hasher) }
    }

    /// Gives `name` (already in its written form) to the host number `host`. A name that is already
    /// taken keeps its first owner; the configuration refuses duplicates.
    pub fn insert(&mut self, name: &str, host: usize) {
        self.by_name.entry(name.as_bytes().into()).or_insert(host);
    }

    /// Whom `authority` (`host[:port]`) means.
    ///
    /// # Errors
    /// 400 where it is not a well-formed authority.
    pub fn find(&self, authority: &[u8]) -> Result<Site, Status> {
        // The common case: sent exactly as configured, without a port.
        if let Some(host) = self.by_name.get(authority) {
            return Ok(Site::Known(*host));
        }
        if authority.is_empty() {
            return Ok(Site::Unnamed);
        }
        let name = normalize(authority).ok_or(Status::BadRequest)?;
        match self.by_name.get(name.as_bytes()) {
            Some(host) => Ok(Site::Known(*host)),
            None => Ok(Site::Foreign(name)),
        }
    }
}

/// `authority` in its written form: lower case, without port and final dot; `None` where it is not
/// a host name or IP literal with an optional port.
#[must_use]
pub fn normalize(authority: &[u8]) -> Option<HostName> {
    let (host, port) = split_port(authority)?;
    match port {
        [] => {}
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {}
        _ => return None,
    }
    let host = host.strip_suffix(b".").unwrap_or(host);
    let is_literal = host.first() == Some(&b'[');
    let mut name = HostName::new();
    for byte in host {
        let good = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => true,
            b'[' | b']' | b':' => is_literal,
            _ => false,
        };
        if !good || name.try_push(char::from(byte.to_ascii_lowercase())).is_err() {
            return None;
        }
    }
    // The name becomes a directory's name: it must not climb, hide, or be empty.
    let climbs = name.is_empty() || name.starts_with('.') || name.contains("..");
    (!climbs).then_some(name)
}

/// Host and port of an authority, the port with its colon, or empty; `None` for a bracket that is
/// not closed.
pub(super) fn split_port(authority: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = if authority.first() == Some(&b'[') {
        authority.iter().position(|byte| *byte == b']')? + 1
    } else {
        authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len())
    };
    Some(authority.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_authorities() {
        let table: &[(&str, Option<&str>)] = &[
            ("www.example.com", Some("www.example.com")),
            ("WWW.Example.COM:80", Some("www.example.com")),
            ("www.example.com.", Some("www.example.com")),
            ("www.example.com.:8080", Some("www.example.com")),
            ("127.0.0.1:8080", Some("127.0.0.1")),
            ("[::1]:8080", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("a:", Some("a")),
            ("a:x", None),
            ("a:123456", None),
            ("a:80:80", None),
            ("a/b", None),
            ("a b", None),
            ("u@a", None),
            ("..", None),
            (".", None),
            (".hidden", None),
            ("a..b", None),
            (":80", None),
            ("[::1", None),
            ("[::1]x", None),
            ("::1", None),
            ("a\0", None),
            ("\u{e4}", None),
        ];
        for (authority, expected) in table {
            let name = normalize(authority.as_bytes());
            assert_eq!(name.as_ref().map(|name| name.as_str()), *expected, "{authority}");
        }
        assert_eq!(normalize("x".repeat(256).as_bytes()), None);
    }

    #[test]
    fn finds_by_any_spelling() {
        let mut hosts = Hosts::new(1);
        hosts.insert("www.example.com", 3);
        hosts.insert("example.com", 3);
        hosts.insert("example.com", 4);
        assert_eq!(hosts.find(b"www.example.com"), Ok(Site::Known(3)));
        assert_eq!(hosts.find(b"Example.com:80"), Ok(Site::Known(3)));
        assert_eq!(hosts.find(b""), Ok(Site::Unnamed));
        assert_eq!(hosts.find(b"a/b"), Err(Status::BadRequest));
        assert!(matches!(hosts.find(b"other"), Ok(Site::Foreign(name)) if &name == "other"));
    }
}
