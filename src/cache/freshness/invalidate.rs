//! Which stored answers a successful unsafe request makes wrong.
//!
//! Thread: any, pure.
//! Not here: whether the host lets the method through, removing (`daemon`).
//! Source: RFC 9111 section 4.4; RFC 3986 section 5.2 for Location and Content-Location.
//! Differs from the source: a reference with user information is not followed; a fragment is cut.

use super::{Fields, Method};

/// What was asked, taken apart: the answer's own URIs are resolved against it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host, and port where it is not the scheme's own.
    pub authority: &'a str,
    /// Path and query, with the leading slash.
    pub path: &'a str,
}

/// Paths and queries, on the target's own origin, of which every stored variant is to go; at most
/// three, each once, the target's first. Empty where nothing does.
#[must_use]
pub fn plan_invalidation(
    method: Method,
    target: &Target<'_>,
    status: u16,
    response: Fields<'_>,
) -> Vec<String> {
    // RFC 9111 4.4: a non-error status is 2xx or 3xx; unknown methods count as unsafe.
    if method != Method::Unsafe || !matches!(status, 200..=399) {
        return Vec::new();
    }
    let mut paths = vec![target.path.to_owned()];
    for name in ["Location", "Content-Location"] {
        let reference = response.first(name).and_then(|value| str::from_utf8(value).ok());
        if let Some(path) = reference.and_then(|reference| resolve(target, reference))
            && !paths.contains(&path)
        {
            paths.push(path);
        }
    }
    assert!(paths.len() <= 3);
    paths
}

/// RFC 3986 5.2.2: the path and query of `reference`; `None` where it leads to another origin.
fn resolve(target: &Target<'_>, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default();
    let (own_scheme, rest) = match split_scheme(reference) {
        Some((scheme, rest)) => (scheme.eq_ignore_ascii_case(target.scheme), rest),
        None => (true, reference),
    };
    let is_absolute = rest.len() < reference.len();
    if let Some(rest) = rest.strip_prefix("//") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let own = |authority| without_port(authority, target.scheme).to_ascii_lowercase();
        // RFC 9111 4.4: other origins are never touched, or anybody could empty their cache.
        if !own_scheme || own(authority) != own(target.authority) {
            return None;
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        return Some(without_dots(&format!("{slash}{path}")));
    }
    // `scheme:path` names no host, so it is no http URI.
    if is_absolute {
        return None;
    }
    let (own_path, _) = split_query(target.path);
    if rest.is_empty() {
        return Some(target.path.to_owned());
    }
    if rest.starts_with('?') {
        return Some(format!("{own_path}{rest}"));
    }
    if rest.starts_with('/') {
        return Some(without_dots(rest));
    }
    let directory = own_path.rfind('/').map_or("/", |slash| &own_path[..=slash]);
    Some(without_dots(&format!("{directory}{rest}")))
}

fn split_scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let mut bytes = scheme.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let others = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    (first && others).then_some((scheme, rest))
}

fn split_query(path: &str) -> (&str, &str) {
    path.split_at(path.find('?').unwrap_or(path.len()))
}

fn without_port<'a>(authority: &'a str, scheme: &str) -> &'a str {
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    authority.strip_suffix(port).or_else(|| authority.strip_suffix(':')).unwrap_or(authority)
}

/// RFC 3986 5.2.4, on a path that begins with a slash; the query is left as it is.
fn without_dots(path: &str) -> String {
    let (path, query) = split_query(path);
    let mut parts: Vec<&str> = Vec::new();
    let mut last = "";
    for part in path.split('/').skip(1) {
        last = part;
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    let ends_in_directory = matches!(last, "." | "..") && !parts.is_empty();
    let slash = if ends_in_directory { "/" } else { "" };
    format!("/{}{slash}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target<'_> =
        Target { scheme: "http", authority: "a.example", path: "/dir/page?x=1" };

    #[test]
    fn table_of_references() {
        for (reference, expected) in [
            ("", Some("/dir/page?x=1")),
            ("#top", Some("/dir/page?x=1")),
            ("?y", Some("/dir/page?y")),
            ("other", Some("/dir/other")),
            ("./other", Some("/dir/other")),
            ("../other?a/../b", Some("/other?a/../b")),
            ("../../../other", Some("/other")),
            (".", Some("/dir/")),
            ("..", Some("/")),
            ("/", Some("/")),
            ("/a/./b/../c", Some("/a/c")),
            ("/a//b", Some("/a//b")),
            ("//a.example/b", Some("/b")),
            ("//A.Example:80?q", Some("/?q")),
            ("HTTP://a.example", Some("/")),
            ("http://a.example:/b#c", Some("/b")),
            ("http://a.example:8080/b", None),
            ("https://a.example/b", None),
            ("https://a.example:80/b", None),
            ("http://b.example/b", None),
            ("//user@a.example/b", None),
            ("//a.example.evil/b", None),
            ("mailto:a@b", None),
            ("http:b", None),
            ("1x:y", Some("/dir/1x:y")),
        ] {
            assert_eq!(resolve(&TARGET, reference).as_deref(), expected, "{reference}");
        }
    }

    #[test]
    fn at_most_three_each_once() {
        let lines: [(&[u8], &[u8]); 2] =
            [(b"Location", b"/new"), (b"Content-Location", b"page?x=1")];
        let paths = plan_invalidation(Method::Unsafe, &TARGET, 201, Fields(&lines));
        assert_eq!(paths, ["/dir/page?x=1", "/new"]);
    }
}
