//! Where a redirect leads: Location and Content-Location rewritten where they name the origin.
//!
//! Input: a field's value, the places that are the origin, the public place.
//! Output: the value to send, borrowed unless it changed.   Owns: nothing.   Thread: any, pure.
//! Invariants: only scheme, host and port change; what does not name the origin exactly, or is not
//! certain to, passes as it came.
//! Not here: which fields are rewritten, and that a redirect is never followed (`cache`).
//! Source: RFC 9110 sections 4.2.3, 8.7 and 10.2.2; RFC 3986 section 4.2.
//! Differs from the source: no percent-decoding of hosts; an authority with user information is
//! nobody's origin, since such links are made to deceive.

use std::borrow::Cow;

/// The schemes that origins have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`, port 80.
    Http,
    /// `https`, port 443.
    Https,
}

impl Scheme {
    /// The name before `://`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is not written.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A scheme, a host and a port: what makes an origin (RFC 9110 section 4.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// A name or an address, IPv6 in brackets; any case.
    pub host: &'a str,
    /// The port.
    pub port: u16,
}

/// `value` with the public place where it names one of `origins`: the address that is connected to,
/// and the host that the requests ask for.
///
/// A scheme is compared too: an origin at `http` that sends its visitors to `https` on the same
/// host means another place, and sending them to ours would send them round in a circle.
#[must_use]
pub fn rewrite<'v>(value: &'v [u8], origins: &[Place<'_>], public: &Place<'_>) -> Cow<'v, [u8]> {
    let Some((scheme, authority, rest)) = split(value) else { return Cow::Borrowed(value) };
    let Some((host, port)) = host_and_port(authority) else { return Cow::Borrowed(value) };
    let names = |origin: &Place<'_>| {
        // RFC 3986 4.2: without a scheme it is that of the page, which the origin thinks its own.
        let is_scheme = scheme.is_none_or(|scheme| scheme == origin.scheme);
        let is_port = port.unwrap_or(origin.scheme.default_port()) == origin.port;
        is_scheme && is_port && is_same_host(host, origin.host.as_bytes())
    };
    if !origins.iter().any(names) {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len() + public.host.len() + "https://:65535".len());
    if scheme.is_some() {
        out.extend_from_slice(public.scheme.name().as_bytes());
        out.push(b':');
    }
    out.extend_from_slice(b"//");
    out.extend_from_slice(public.host.as_bytes());
    if public.port != public.scheme.default_port() {
        out.push(b':');
        out.extend_from_slice(public.port.to_string().as_bytes());
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Scheme, authority and what follows, of an absolute URI or a network-path reference. `None` for a
/// reference without an authority, which means the place it was sent from, and for other schemes.
fn split(value: &[u8]) -> Option<(Option<Scheme>, &[u8], &[u8])> {
    let (scheme, after) = match value.iter().position(|byte| *byte == b':' || *byte == b'/') {
        Some(at) if value[at] == b':' => {
            let name = &value[..at];
            let schemes = [Scheme::Http, Scheme::Https];
            let known = |scheme: &Scheme| name.eq_ignore_ascii_case(scheme.name().as_bytes());
            (Some(schemes.into_iter().find(known)?), &value[at + 1..])
        }
        _ => (None, value),
    };
    let after = after.strip_prefix(b"//")?;
    let end = after.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    Some((scheme, authority, rest))
}

/// Host and port of an authority; an empty port is none (RFC 3986 section 6.2.3).
fn host_and_port(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let (host, port) = super::super::hosts::split_port(authority)?;
    match port {
        [] | [b':'] => Some((host, None)),
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            let port = std::str::from_utf8(digits).ok()?.parse().ok()?;
            Some((host, Some(port)))
        }
        _ => None,
    }
}

/// Host names are equal in any case, and with or without the final dot.
fn is_same_host(one: &[u8], other: &[u8]) -> bool {
    let bare = |host: &[u8]| host.strip_suffix(b".").unwrap_or(host).to_ascii_lowercase();
    !one.is_empty() && bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGINS: [Place<'_>; 3] = [
        Place { scheme: Scheme::Http, host: "10.0.0.1", port: 8080 },
        Place { scheme: Scheme::Http, host: "Origin.example", port: 80 },
        Place { scheme: Scheme::Http, host: "[2001:db8::1]", port: 80 },
    ];
    const PUBLIC: Place<'_> = Place { scheme: Scheme::Https, host: "www.example.com", port: 443 };

    fn to(value: &str, public: &Place<'_>) -> String {
        String::from_utf8_lossy(&rewrite(value.as_bytes(), &ORIGINS, public)).into_owned()
    }

    #[test]
    fn table_of_what_names_the_origin() {
        let table = [
            ("http://10.0.0.1:8080/a?b#c", "https://www.example.com/a?b#c"),
            ("HTTP://ORIGIN.EXAMPLE/a", "https://www.example.com/a"),
            ("http://origin.example.:80/", "https://www.example.com/"),
            ("http://origin.example:/", "https://www.example.com/"),
            ("http://origin.example:0080/", "https://www.example.com/"),
            ("http://origin.example", "https://www.example.com"),
            ("http://origin.example?q", "https://www.example.com?q"),
            ("http://origin.example#f", "https://www.example.com#f"),
            ("http://[2001:DB8::1]/x", "https://www.example.com/x"),
            ("//origin.example/x", "//www.example.com/x"),
            ("//10.0.0.1:8080", "//www.example.com"),
            (
                "http://origin.example/http://origin.example/",
                "https://www.example.com/http://origin.example/",
            ),
        ];
        for (value, expected) in table {
            assert_eq!(to(value, &PUBLIC), expected, "{value}");
        }
        let plain = Place { scheme: Scheme::Http, host: "a.example", port: 8000 };
        assert_eq!(to("http://origin.example/x", &plain), "http://a.example:8000/x");
    }

    #[test]
    fn table_of_what_passes_as_it_came() {
        let table = [
            "",
            "/a",
            "a/b",
            "?q",
            "#f",
            "../a:b",
            "/redirect?to=http://origin.example/",
            "https://origin.example/",
            "http://origin.example:8080/",
            "http://10.0.0.1/",
            "http://origin.example.evil/",
            "http://evil/origin.example",
            "http://user@origin.example/",
            "http://origin.example@evil/",
            "http://origin.example:80@evil/",
            "http://origin.example:99999/",
            "http://origin.example:+80/",
            "http://[2001:db8::1",
            "http://[2001:db8::1]x/",
            "http:///a",
            "http:/origin.example/",
            "http:origin.example",
            "http:\\\\origin.example\\",
            "//",
            "//elsewhere/",
            "ftp://origin.example/",
            "mailto:a@origin.example",
            "javascript://origin.example/",
            "http://%6frigin.example/",
            "://origin.example/",
        ];
        for value in table {
            let same = rewrite(value.as_bytes(), &ORIGINS, &PUBLIC);
            assert!(matches!(same, Cow::Borrowed(same) if same == value.as_bytes()), "{value}");
        }
    }
}
