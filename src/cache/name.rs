//! Every URL's own file name, and back: one mapping for what was fetched and what was put there.
//!
//! Input: a host's directory, a path decoded once, a raw query.   Output: a `Key`; and the URL that
//! a file name stands for.   Thread: any, pure.
//! Invariants: two different URLs never share a name, since `parse` gives each back; a name never
//! holds a part that is empty, `.` or `..` unless the path did, and those are refused before.
//! Not here: refusing paths (`http::target`), the plain keys of the hot path (`cache::key`).
//!
//! ```text
//! URL                        file below the root
//! http://h/a/logo.gif        h/a/logo.gif            the path, decoded once
//! http://h/logo.gif?v=2      h/logo.gif?v=2          the query as it was sent ...
//! http://h/get?u=a/b         h/get?u=a\b             ... but for its slashes
//! http://h/a%3Fb             h/a%3Fb                 a question mark of the path
//! http://h/100%25            h/100%                  a percent sign ...
//! http://h/a%253Fb           h/a%253Fb               ... that would read as an escape or a mark
//! http://h/a/                h/a/%_index             the part after the last slash is empty
//! http://h/a, beside h/a/b   h/a%_file               the plain name is a directory
//! a 404 for http://h/a       h/a%_404                a status other than 200
//! one of several variants    h/a%_v0123456789abcdef  told apart by what Vary names
//! a part over 255 bytes      its first 249 bytes and %_more, a directory with the rest in it
//! ```
//!
//! A mark is `%_` and what follows: no URL leads to one by itself, since a `%` before `_` is
//! written `%25` in paths, and a query with a `%` that begins no escape has no name.

use crate::limits::{KEY_BYTES_MAX, VARIANTS_MAX};

use super::key::Key;

/// Longest part of a name, in bytes: NAME_MAX of Linux.
const PART_BYTES_MAX: usize = 255;

const MORE: &[u8] = b"%_more";
const INDEX: &[u8] = b"%_index";
const FILE: &[u8] = b"%_file";

/// What a file holds, besides the URL that it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The plain name is a directory.
    pub beside_directory: bool,
    /// The answer's status, where it is not 200.
    pub status: Option<u16>,
    /// Which of several variants it is.
    pub variant: Option<u64>,
}

/// Why a URL has no file name. It can be passed through, and is never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// The name would have more than `KEY_BYTES_MAX` bytes.
    TooLong,
    /// The query holds a `%` that begins no escape, or a byte that no URL has.
    MalformedQuery,
}

/// Writes the name of the URL with this `path` (decoded once, with its leading `/`) and `query`
/// (raw, without `?`) of the host with this `directory` (empty: the root itself).
///
/// # Errors
/// What keeps it from having one; `key` is void then.
pub fn emit(
    directory: &str,
    path: &[u8],
    query: Option<&[u8]>,
    marks: Marks,
    key: &mut Key,
) -> Result<(), Unnamed> {
    super::key::begin(directory, key);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let mut parts = path.split(|byte| *byte == b'/').peekable();
    let mut part = Vec::new();
    while let Some(segment) = parts.next() {
        part.clear();
        emit_segment(segment, &mut part);
        if parts.peek().is_none() {
            emit_end(segment, query, marks, &mut part)?;
        }
        push_part(&part, key)?;
    }
    Ok(())
}

/// Whether a decoded path has to be escaped to become a name; nearly none has.
#[must_use]
pub fn needs_escape(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, b'%' | b'?'))
}

/// The name of what `name` holds where `name` itself is a directory. `None` where it has no such
/// name of its own: the part would be too long, or `name` has other marks.
#[must_use]
pub fn beside_directory(name: &[u8]) -> Option<Vec<u8>> {
    let beside = [name, FILE].concat();
    // The host's directory reads as one more part of the path.
    let named = parse(&beside)?;
    (named.marks == Marks { beside_directory: true, ..Marks::default() }).then_some(beside)
}

/// Whether a decoded path is its own name: nothing to escape, and no part too long.
#[must_use]
pub fn is_plain(path: &[u8]) -> bool {
    let is_short = path.len() <= PART_BYTES_MAX
        || path.split(|byte| *byte == b'/').all(|part| part.len() <= PART_BYTES_MAX);
    is_short && !needs_escape(path)
}

fn emit_segment(segment: &[u8], part: &mut Vec<u8>) {
    for (at, byte) in segment.iter().enumerate() {
        match byte {
            b'?' => part.extend_from_slice(b"%3F"),
            b'%' if reads_as_more(&segment[at + 1..]) => part.extend_from_slice(b"%25"),
            byte => part.push(*byte),
        }
    }
}

/// Whether a `%` before `rest` would be taken for an escape or a mark, so that it is written `%25`.
#[must_use]
pub fn reads_as_more(rest: &[u8]) -> bool {
    match rest {
        [b'_', ..] => true,
        [high, low, ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        _ => false,
    }
}

fn emit_end(
    segment: &[u8],
    query: Option<&[u8]>,
    marks: Marks,
    part: &mut Vec<u8>,
) -> Result<(), Unnamed> {
    if segment.is_empty() {
        part.extend_from_slice(INDEX);
    }
    if let Some(query) = query {
        part.push(b'?');
        for (at, byte) in query.iter().enumerate() {
            match byte {
                b'/' => part.push(b'\\'),
                b'%' if !is_escape(&query[at + 1..]) => return Err(Unnamed::MalformedQuery),
                b'\\' | b'#' | 0..=b' ' | 0x7f.. => return Err(Unnamed::MalformedQuery),
                byte => part.push(*byte),
            }
        }
    }
    if marks.beside_directory {
        part.extend_from_slice(FILE);
    }
    if let Some(status) = marks.status {
        part.extend_from_slice(format!("%_{status:03}").as_bytes());
    }
    if let Some(variant) = marks.variant {
        part.extend_from_slice(format!("%_v{variant:016x}").as_bytes());
    }
    Ok(())
}

/// The place among `VARIANTS_MAX` of the variant with that secondary key. It stands in file names,
/// so it must be the same after every start.
#[must_use]
pub fn variant_place(secondary_key: &[u8]) -> u64 {
    u64::from(crc32c::crc32c(secondary_key)) % VARIANTS_MAX as u64
}

/// The name of the variant at `place` beside `name`, the key's own or that beside a directory.
/// `None` where it would be too long.
#[must_use]
pub fn variant(name: &[u8], place: u64) -> Option<Key> {
    let mut key = Key::new();
    key.try_extend_from_slice(name).ok()?;
    key.try_extend_from_slice(format!("%_v{place:016x}").as_bytes()).ok()?;
    fits(&key).then_some(key)
}

/// All names under which an answer for the URL with this plain `name` is looked for: its own, that
/// beside a directory, and the variants of both.
#[must_use]
pub fn served_names(name: &[u8]) -> Vec<Vec<u8>> {
    let beside = beside_directory(name);
    let own = std::iter::once(name.to_vec()).chain(beside);
    let with_variants = own.flat_map(|own| {
        let places = 0..VARIANTS_MAX as u64;
        let variants: Vec<_> =
            places.filter_map(|place| variant(&own, place)).map(|key| key.to_vec()).collect();
        std::iter::once(own).chain(variants)
    });
    with_variants.collect()
}

/// Whether the last part of a name is short enough for a file system.
#[must_use]
pub fn fits(name: &[u8]) -> bool {
    let last = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    name.len() - last <= PART_BYTES_MAX
}

fn is_escape(rest: &[u8]) -> bool {
    matches!(rest, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

fn push_part(mut part: &[u8], key: &mut Key) -> Result<(), Unnamed> {
    loop {
        key.try_push(b'/').map_err(|_| Unnamed::TooLong)?;
        if part.len() <= PART_BYTES_MAX {
            return key.try_extend_from_slice(part).map_err(|_| Unnamed::TooLong);
        }
        let (first, rest) = part.split_at(PART_BYTES_MAX - MORE.len());
        let pushed =
            key.try_extend_from_slice(first).and_then(|()| key.try_extend_from_slice(MORE));
        pushed.map_err(|_| Unnamed::TooLong)?;
        part = rest;
    }
}

/// What a file name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The path, decoded, with its leading `/`.
    pub path: Vec<u8>,
    /// The query as it was sent.
    pub query: Option<Vec<u8>>,
    /// What the file holds.
    pub marks: Marks,
}

/// What the file `name` stands for, a name below its host's directory with a leading `/`. `None`
/// for names that `emit` gives to no URL.
#[must_use]
pub fn parse(name: &[u8]) -> Option<Named> {
    if name.len() > KEY_BYTES_MAX {
        return None;
    }
    let mut path = Vec::new();
    let mut joined: Vec<u8> = Vec::new();
    let mut named = None;
    let mut parts = name.strip_prefix(b"/")?.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        if let Some(first) = part.strip_suffix(MORE)
            && !is_last
            && part.len() == PART_BYTES_MAX
        {
            joined.extend_from_slice(first);
            continue;
        }
        joined.extend_from_slice(part);
        path.push(b'/');
        if is_last {
            named = Some(parse_end(&joined, &mut path)?);
        } else {
            parse_segment(&joined, &mut path)?;
        }
        joined.clear();
    }
    let (query, marks) = named?;
    let found = Named { path, query, marks };
    // Names that differ from what `emit` writes are nobody's: `%41`, marks in another order.
    let mut key = Key::new();
    let again = emit("", &found.path, found.query.as_deref(), marks, &mut key);
    (again.is_ok() && key[..] == *name).then_some(found)
}

fn parse_end(part: &[u8], path: &mut Vec<u8>) -> Option<(Option<Vec<u8>>, Marks)> {
    let mut marks = Marks::default();
    let mut rest = part;
    if let Some(at) = rest.len().checked_sub(b"%_v".len() + 16)
        && let Some(digits) = rest[at..].strip_prefix(b"%_v")
    {
        marks.variant = Some(u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &rest[..at];
    }
    if let Some(at) = rest.len().checked_sub(b"%_404".len())
        && let Some(digits) = rest[at..].strip_prefix(b"%_")
        && digits.iter().all(u8::is_ascii_digit)
    {
        marks.status = Some(std::str::from_utf8(digits).ok()?.parse().ok()?);
        rest = &rest[..at];
    }
    if let Some(before) = rest.strip_suffix(FILE) {
        marks.beside_directory = true;
        rest = before;
    }
    let mut halves = rest.splitn(2, |byte| *byte == b'?');
    let segment = halves.next().unwrap_or_default();
    let to_slash = |byte: &u8| if *byte == b'\\' { b'/' } else { *byte };
    let query = halves.next().map(|query| query.iter().map(to_slash).collect());
    if segment != INDEX {
        parse_segment(segment, path)?;
    }
    Some((query, marks))
}

fn parse_segment(part: &[u8], path: &mut Vec<u8>) -> Option<()> {
    let mut at = 0;
    while let Some(byte) = part.get(at) {
        at += 1;
        match byte {
            b'%' if part.get(at) == Some(&b'_') => return None,
            b'%' if is_escape(&part[at..]) => {
                let digits = std::str::from_utf8(&part[at..at + 2]).ok()?;
                path.push(u8::from_str_radix(digits, 16).ok()?);
                at += 2;
            }
            byte => path.push(*byte),
        }
    }
    Some(())
}

/// Writes a path as a URL has it: every byte that is no pchar (RFC 3986 section 3.3) is escaped.
/// This is the one spelling in which an origin is asked, whatever the client's was.
#[must_use]
pub fn to_url_path(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path {
        let is_literal = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(byte);
        if is_literal {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(path: &str, query: Option<&str>, marks: Marks) -> Result<String, Unnamed> {
        let mut key = Key::new();
        emit("h", path.as_bytes(), query.map(str::as_bytes), marks, &mut key)?;
        Ok(String::from_utf8_lossy(&key).into_owned())
    }

    #[test]
    fn table_of_names() {
        let none = Marks::default();
        let table = [
            ("/a/logo.gif", None, none, "/h/a/logo.gif"),
            ("/logo.gif", Some("v=2"), none, "/h/logo.gif?v=2"),
            ("/logo.gif", Some(""), none, "/h/logo.gif?"),
            ("/get", Some("u=a/b%2Fc"), none, "/h/get?u=a\\b%2Fc"),
            ("/a?b", None, none, "/h/a%3Fb"),
            ("/a?b", Some("c?d"), none, "/h/a%3Fb?c?d"),
            ("/100%", None, none, "/h/100%"),
            ("/100%/x", None, none, "/h/100%/x"),
            ("/a%3Fb", None, none, "/h/a%253Fb"),
            ("/%_index", None, none, "/h/%25_index"),
            ("/%?", None, none, "/h/%%3F"),
            ("/", None, none, "/h/%_index"),
            ("/a/", Some("x"), none, "/h/a/%_index?x"),
            ("/a", None, Marks { beside_directory: true, ..none }, "/h/a%_file"),
            ("/a", None, Marks { status: Some(404), ..none }, "/h/a%_404"),
            ("/a", Some("q"), Marks { variant: Some(0x1f), ..none }, "/h/a?q%_v000000000000001f"),
        ];
        for (path, query, marks, expected) in table {
            let found = name(path, query, marks).unwrap();
            assert_eq!(found, expected);
            let back = parse(&found.as_bytes()[2..]).unwrap();
            assert_eq!(back.path, path.as_bytes());
            assert_eq!(back.query.as_deref(), query.map(str::as_bytes));
            assert_eq!(back.marks, marks);
        }
    }

    #[test]
    fn queries_that_no_url_has_get_no_name() {
        for query in ["a%", "a%4", "a%zz", "a%_404", "a\\b", "a b", "a#b", "a\x7f"] {
            assert_eq!(
                name("/a", Some(query), Marks::default()),
                Err(Unnamed::MalformedQuery),
                "{query}"
            );
        }
    }

    #[test]
    fn long_parts_are_split_and_long_names_refused() {
        let path = format!("/{}/{}", "d".repeat(600), "f".repeat(255));
        let found = name(&path, None, Marks::default()).unwrap();
        assert!(found.split('/').all(|part| part.len() <= PART_BYTES_MAX));
        assert_eq!(found.matches("%_more").count(), 2);
        assert_eq!(parse(&found.as_bytes()[2..]).unwrap().path, path.as_bytes());
        let path = format!("/{}", "x".repeat(KEY_BYTES_MAX));
        assert_eq!(name(&path, None, Marks::default()), Err(Unnamed::TooLong));
    }

    #[test]
    fn what_lies_beside_a_directory_has_a_name_of_its_own() {
        for name in ["/h/a", "/a", "/h/a?q", "/h/a/%_index", "/h/%3F"] {
            let beside = beside_directory(name.as_bytes()).unwrap();
            assert_eq!(beside, format!("{name}%_file").as_bytes());
        }
        let long = format!("/h/{}", "x".repeat(250));
        for name in ["/h/a%_file", "/h/a%_404", "/h/a%_v0123456789abcdef", "/h/%41", &long] {
            assert_eq!(beside_directory(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn names_that_no_url_has_are_nobodys() {
        for name in ["/%41", "/a%_", "/a%_x", "/a%_404%_file", "/a%3fb", "/x%_more/y", "a", ""] {
            assert_eq!(parse(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn paths_are_spelled_in_one_way() {
        assert_eq!(to_url_path(b"/a b/\xc3\xa4?%.gif"), "/a%20b/%C3%A4%3F%25.gif");
        assert_eq!(to_url_path(b"/!$&'()*+,;=:@-._~"), "/!$&'()*+,;=:@-._~");
    }

    /// Segments of bytes that give the mapping trouble, none of them empty but the last.
    fn paths() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(&b"%%%__??253FfFmorev0a4"[..]);
        let segment = prop::collection::vec(byte, 1..300);
        (prop::collection::vec(segment, 0..4), any::<bool>()).prop_map(|(segments, slash)| {
            let mut path: Vec<u8> = segments.iter().flat_map(|s| [b"/", &s[..]].concat()).collect();
            if slash || path.is_empty() {
                path.push(b'/');
            }
            path
        })
    }

    proptest! {
        #[test]
        fn every_name_leads_back(
            path in paths(),
            query in prop::option::of("([a-z?&=/_]|%[0-9A-F]{2}){0,40}"),
            beside_directory: bool,
            status in prop::option::of(100_u16..600),
            variant: Option<u64>,
        ) {
            let marks = Marks { beside_directory, status, variant };
            let query = query.map(String::into_bytes);
            let mut key = Key::new();
            emit("", &path, query.as_deref(), marks, &mut key).unwrap();
            prop_assert!(key[1..].split(|byte| *byte == b'/').all(|part| !part.is_empty()));
            prop_assert_eq!(parse(&key), Some(Named { path, query, marks }));
        }

        #[test]
        fn a_name_that_is_somebodys_is_given_to_nobody_else(name in "/[%_?a4mv/]{0,30}") {
            if let Some(named) = parse(name.as_bytes()) {
                let mut key = Key::new();
                emit("", &named.path, named.query.as_deref(), named.marks, &mut key).unwrap();
                prop_assert_eq!(&key[..], name.as_bytes());
            }
        }
    }
}
