//! URLs as a person writes them, translated to names below the root.
//!
//! Input: a URL (`http://HOST/PATH`), the configuration in force.   Output: keys, prefixes,
//! patterns, directories.   Thread: any, pure.
//! Invariants: a prefix never means fewer names than the URLs that begin so have.
//! Not here: the mapping itself (`cache::name`), the hot path's own way to a key (`daemon::http`).

use std::fmt;

use arrayvec::ArrayVec;

use crate::cache::key::Key;
use crate::cache::name::{self, Marks, Unnamed};
use crate::cache::pattern::Pattern;
use crate::http::Method;
use crate::http::hosts::{HostName, normalize};
use crate::http::target::{Target, decode_long_path, decode_path, parse};
use crate::limits::KEY_BYTES_MAX;

use super::settings::{Settings, SiteSettings};

/// What keeps a URL from having a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It is no `http://HOST/PATH`.
    Form,
    /// HOST is not the name of a host.
    Host,
    /// No `[[host]]` has this name.
    Foreign,
    /// The server refuses the path.
    Path,
    /// A prefix or pattern has a query.
    Query,
    /// The query holds what no URL has.
    Malformed,
    /// The name would be too long.
    TooLong,
}

impl fmt::Display for NameError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = "expected http://HOST/PATH, percent-encoded as a browser sends it";
        match self {
            Self::Form => out.write_str(form),
            Self::Host => write!(out, "not the name of a host; {form}"),
            Self::Foreign => {
                out.write_str("this host is not served here (421); list it under [[host]]")
            }
            Self::Path => {
                write!(out, "the server refuses this path, so no file is its own; {form}")
            }
            Self::Query => out.write_str("a prefix is of paths; leave ? and what follows out"),
            Self::Malformed => write!(out, "the query is malformed, so no file is its own; {form}"),
            Self::TooLong => out.write_str("the name would be too long, so no file is its own"),
        }
    }
}

impl std::error::Error for NameError {}

/// Which hosts a URL may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Any that a request for is answered, by the default host's files if need be.
    Served,
    /// Those that the configuration names: what is for one host must not reach another's files.
    Configured,
}

/// The key of `url`: the file that a request for it is answered from.
///
/// # Errors
/// What keeps it from having one.
pub fn key(settings: &Settings, url: &str, whose: Whose) -> Result<Key, NameError> {
    let (authority, path) = split(url)?;
    key_at(settings, authority, path, query_of(url), whose)
}

/// The key of `path` (still percent-encoded) and `query` at the host that `authority` means.
///
/// # Errors
/// As above.
pub fn key_at(
    settings: &Settings,
    authority: &[u8],
    path: &[u8],
    query: Option<&[u8]>,
    whose: Whose,
) -> Result<Key, NameError> {
    let mut foreign = HostName::new();
    let (site, directory) = site(settings, authority, whose, &mut foreign)?;
    if site.origin.is_some() {
        return key_in(settings, directory, path, query);
    }
    let mut path = decode(path, false)?;
    let query = query.filter(|_| settings.query_counts(directory, &path));
    // A directory's own URL is answered by its index file, where one is configured.
    if path.ends_with(b"/") {
        path.try_extend_from_slice(site.index.as_bytes()).map_err(|_| NameError::TooLong)?;
    }
    emit(directory, &path, query)
}

/// The key of `path` (still percent-encoded) and `query` at the host with an origin that has this
/// `directory`.
///
/// # Errors
/// As above.
pub fn key_in(
    settings: &Settings,
    directory: &str,
    path: &[u8],
    query: Option<&[u8]>,
) -> Result<Key, NameError> {
    let path = decode(path, true)?;
    let query = query.filter(|_| settings.query_counts(directory, &path));
    emit(directory, &path, query)
}

/// The key of `url` where nothing is configured: its host's own name is the directory.
///
/// # Errors
/// As above.
pub fn plain_key(url: &str) -> Result<Key, NameError> {
    let (authority, path) = split(url)?;
    let host = normalize(authority).ok_or(NameError::Host)?;
    emit(&host, &decode(path, true)?, None)
}

/// What the names of all URLs that begin with `url` begin with. Where a byte's spelling depends on
/// the next one, the byte is left out: a purge may take more than was meant, and not less.
///
/// # Errors
/// As above; a query.
pub fn prefix(settings: &Settings, url: &str) -> Result<Box<[u8]>, NameError> {
    if url.contains('?') {
        return Err(NameError::Query);
    }
    let (authority, path) = split(url)?;
    let mut foreign = HostName::new();
    let (_, directory) = site(settings, authority, Whose::Configured, &mut foreign)?;
    let path = decode(path, true)?;
    let key = emit(directory, &path, None)?;
    let start = key.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    if path.ends_with(b"/") {
        // `%_index` stands for the empty last part.
        return Ok(key[..start].into());
    }
    // A longer part is split after so many bytes, by `%_more` (`cache::name`).
    let mut end = key.len().min(start + LAST_PART_BYTES);
    // `%4` is written so, and `%41` is `%2541`.
    if let [.., b'%', digit] = key[..end]
        && digit.is_ascii_hexdigit()
    {
        end -= 1;
    }
    Ok(key[..end].into())
}

/// Bytes of a part of a name that are the same whatever follows them: what comes before `%_more`.
const LAST_PART_BYTES: usize = 255 - b"%_more".len();

/// The host's directory and the pattern that `url` means, its path being one. An escaped `*` is a
/// star nevertheless; an escaped `?` is a question mark.
///
/// # Errors
/// As above.
pub fn glob(settings: &Settings, url: &str) -> Result<(Box<[u8]>, Pattern), NameError> {
    // Here `?` begins no query.
    let rest = url.strip_prefix("http://").ok_or(NameError::Form)?;
    let (authority, path) = rest.split_at(rest.find('/').ok_or(NameError::Form)?);
    let mut foreign = HostName::new();
    let bytes = authority.as_bytes();
    let (_, directory) = site(settings, bytes, Whose::Configured, &mut foreign)?;
    let pattern = decode_glob(path.as_bytes()).ok_or(NameError::Path)?;
    Ok((directory.as_bytes().into(), Pattern::from_bytes(&pattern)))
}

/// A pattern over names: decoded once, and what names escape escaped as they do it.
fn decode_glob(path: &[u8]) -> Option<Vec<u8>> {
    // In between, a question mark that was escaped; no path holds this byte.
    const MARK: u8 = 0;
    let mut decoded = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        at += 1;
        if *byte == b'%' {
            let digit = |at: usize| char::from(*path.get(at)?).to_digit(16);
            let value = digit(at)? << 4 | digit(at + 1)?;
            at += 2;
            match u8::try_from(value).ok()? {
                b'?' => decoded.push(MARK),
                b'/' | b'\\' | 0..=0x1f | 0x7f => return None,
                byte => decoded.push(byte),
            }
        } else {
            decoded.push(*byte);
        }
    }
    let mut pattern = Vec::with_capacity(decoded.len());
    for (at, byte) in decoded.iter().enumerate() {
        match *byte {
            MARK => pattern.extend_from_slice(b"%3F"),
            b'%' if name::reads_as_more(&decoded[at + 1..]) => pattern.extend_from_slice(b"%25"),
            byte => pattern.push(byte),
        }
    }
    Some(pattern)
}

/// The directory of the host `name`.
///
/// # Errors
/// A name that no `[[host]]` has.
pub fn directory(settings: &Settings, name: &str) -> Result<Box<[u8]>, NameError> {
    let mut foreign = HostName::new();
    let (_, directory) = site(settings, name.as_bytes(), Whose::Configured, &mut foreign)?;
    Ok(directory.as_bytes().into())
}

fn site<'a>(
    settings: &'a Settings,
    authority: &[u8],
    whose: Whose,
    foreign: &'a mut HostName,
) -> Result<(&'a SiteSettings, &'a str), NameError> {
    normalize(authority).ok_or(NameError::Host)?;
    match whose {
        Whose::Served => settings.site(authority, foreign).map_err(|_| NameError::Foreign),
        Whose::Configured => settings.configured(authority).ok_or(NameError::Foreign),
    }
}

/// Authority and path of a URL.
fn split(url: &str) -> Result<(&[u8], &[u8]), NameError> {
    match parse(Method::Get, url) {
        Ok(Target::Path { authority: Some(authority), path }) => Ok((authority, path)),
        _ => Err(NameError::Form),
    }
}

/// What follows the first question mark.
#[must_use]
pub fn query_of(url: &str) -> Option<&[u8]> {
    url.split_once('?').map(|(_, query)| query.as_bytes())
}

/// Files whose names begin with a dot have names, whether they are served or not.
/// `is_fetched`: parts may be longer than a file's name can be.
fn decode(path: &[u8], is_fetched: bool) -> Result<ArrayVec<u8, KEY_BYTES_MAX>, NameError> {
    let mut decoded = ArrayVec::new();
    let done = match is_fetched {
        true => decode_long_path(path, true, &mut decoded),
        false => decode_path(path, true, &mut decoded),
    };
    done.map_err(|_| NameError::Path)?;
    Ok(decoded)
}

fn emit(directory: &str, path: &[u8], query: Option<&[u8]>) -> Result<Key, NameError> {
    let mut key = Key::new();
    let done = name::emit(directory, path, query, Marks::default(), &mut key);
    done.map_err(|error| match error {
        Unnamed::TooLong => NameError::TooLong,
        Unnamed::MalformedQuery => NameError::Malformed,
    })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(tree: &str) -> Settings {
        let text = format!(
            "[tree]\nroot = \"/tmp\"\nindex = \"index.html\"\n{tree}\n\
             [[host]]\nname = \"a.example\"\naliases = [\"b.example\"]\n"
        );
        Settings::new(&crate::config::parse(&text, "test.toml").expect("a good file"))
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn table_of_keys() {
        let table = [
            ("http://a.example/x.gif", Ok("/a.example/x.gif")),
            ("http://B.example.:80/x.gif?q", Ok("/a.example/x.gif")),
            ("http://a.example/d/", Ok("/a.example/d/index.html")),
            ("http://a.example", Ok("/a.example/index.html")),
            ("http://a.example/a%3Fb", Ok("/a.example/a%3Fb")),
            ("http://a.example/.x", Ok("/a.example/.x")),
            ("http://other/x", Err(NameError::Foreign)),
            ("http://./x", Err(NameError::Host)),
            ("http://a_b!/x", Err(NameError::Host)),
            ("http://a.example/../x", Err(NameError::Path)),
            ("https://a.example/x", Err(NameError::Form)),
            ("/x", Err(NameError::Form)),
            ("", Err(NameError::Form)),
        ];
        let settings = settings("");
        for (url, expected) in table {
            let found = key(&settings, url, Whose::Configured).map(|key| text(&key));
            assert_eq!(found, expected.map(str::to_owned), "{url}");
        }
        let long = format!("http://a.example/{}", "x/".repeat(KEY_BYTES_MAX / 2));
        assert!(key(&settings, &long, Whose::Configured).is_err());
    }

    #[test]
    fn what_an_origin_has_is_named_with_its_query_and_without_an_index() {
        let file = "[tree]\nroot = \"/tmp\"\nindex = \"index.html\"\n[[host]]\nname = \"a\"\n\
            [host.origin]\naddresses = [\"192.0.2.1:80\"]\n\
            [[host.freshness]]\npath = \"/img/*\"\nignore_query = true\n";
        let config = crate::config::parse(file, "test.toml").expect("a good file");
        let settings = Settings::with_origins(&config).expect("nothing is looked up");
        for (path, query, expected) in [
            ("/d/", None, Ok("/a/d/%_index")),
            ("/%61", Some("q=/"), Ok("/a/a?q=\\")),
            ("/img/x", Some("q"), Ok("/a/img/x")),
            ("/a//b", None, Err(NameError::Path)),
            ("/a", Some("%"), Err(NameError::Malformed)),
        ] {
            let found = key_in(&settings, "a", path.as_bytes(), query.map(str::as_bytes));
            assert_eq!(
                found.as_ref().map(|key| text(key)).map_err(|e| *e),
                expected.map(Into::into)
            );
            let url = format!("http://a{path}{}", query.map_or(String::new(), |q| format!("?{q}")));
            assert_eq!(key(&settings, &url, Whose::Configured), found, "{url}");
        }
    }

    #[test]
    fn a_foreign_host_is_served_and_never_purged() {
        for tree in ["default_host = \"a.example\"", "any_host = true"] {
            let settings = settings(tree);
            assert!(key(&settings, "http://other/x", Whose::Served).is_ok());
            let found = key(&settings, "http://other/x", Whose::Configured);
            assert_eq!(found, Err(NameError::Foreign));
            assert_eq!(prefix(&settings, "http://other/"), Err(NameError::Foreign));
            assert!(glob(&settings, "http://other/*").is_err());
            assert_eq!(directory(&settings, "other"), Err(NameError::Foreign));
        }
        assert_eq!(
            plain_key("http://Other/x/").map(|key| text(&key)),
            Ok("/other/x/%_index".into())
        );
    }

    #[test]
    fn prefixes_are_of_names() {
        let settings = settings("");
        let of = |path: &str| {
            prefix(&settings, &format!("http://b.example{path}")).map(|prefix| text(&prefix))
        };
        assert_eq!(of(""), Ok("/a.example/".into()));
        assert_eq!(of("/d/"), Ok("/a.example/d/".into()));
        assert_eq!(of("/d/x"), Ok("/a.example/d/x".into()));
        assert_eq!(of("/d%25"), Ok("/a.example/d%".into()));
        assert_eq!(of("/d%254"), Ok("/a.example/d%".into()));
        assert_eq!(of("/d%2541"), Ok("/a.example/d%2541".into()));
        assert_eq!(of("/d?x"), Err(NameError::Query));
    }

    #[test]
    fn a_prefix_means_every_url_that_begins_so() {
        let settings = settings("");
        let long = "y".repeat(200);
        for rest in ["/d%2541/x", "/%25_a", &format!("/{long}%3F%3F%3F{}%25%25", &long[150..])] {
            let url = format!("http://a.example{rest}");
            let whole = key(&settings, &url, Whose::Configured).unwrap();
            let ends = (0..=rest.len()).filter_map(|end| {
                prefix(&settings, &format!("http://a.example{}", &rest[..end])).ok()
            });
            let mut count = 0;
            for prefix in ends {
                assert!(whole.starts_with(&prefix), "{} {}", text(&prefix), text(&whole));
                count += 1;
            }
            assert!(count > 3);
        }
    }

    #[test]
    fn patterns_are_of_names() {
        let settings = settings("");
        let matches = |path: &str, name: &str| {
            let (directory, pattern) = glob(&settings, &format!("http://b.example{path}")).unwrap();
            assert_eq!(text(&directory), "a.example");
            pattern.matches(name.as_bytes())
        };
        assert!(matches("/d/*.gif", "/d/x.gif"));
        assert!(!matches("/d/*.gif", "/d/e/x.gif"));
        assert!(matches("/**.gif", "/d/e/x.gif"));
        assert!(matches("/a?c", "/abc"));
        assert!(matches("/a%3Fc", "/a%3Fc") && !matches("/a%3Fc", "/abc"));
        assert!(matches("/%2541*", "/%2541") && matches("/a%20b", "/a b"));
        for bad in ["http://a.example/%4", "http://a.example/%+1", "http://a.example/%2f", "x"] {
            assert!(glob(&settings, bad).is_err(), "{bad}");
        }
        assert_eq!(glob(&settings, "http://a.example").err(), Some(NameError::Form));
    }
}
