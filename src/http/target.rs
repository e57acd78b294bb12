//! The request target: its form, its authority, and its path decoded once (RFC 9112 section 3.2).
//!
//! Input: the target as sent.   Output: `Target`, and the path's bytes appended to a file name.
//! Thread: any, pure; no allocation.
//! Not here: host names (`http::hosts`), which file a path names (`cache::key`).

use arrayvec::ArrayVec;

use super::{Method, Status};

/// A request target taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'b> {
    /// A path, with the authority of the absolute form where it was sent.
    Path {
        /// `host[:port]` of an absolute-form target; it overrides the Host field.
        authority: Option<&'b [u8]>,
        /// From the first `/` up to the query, still percent-encoded.
        path: &'b [u8],
    },
    /// `*`, the server as a whole (OPTIONS only).
    Server,
}

/// Takes `target` apart.
///
/// # Errors
/// 400 where it is none of the forms that `method` may have.
pub fn parse(method: Method, target: &str) -> Result<Target<'_>, Status> {
    let bytes = target.as_bytes();
    match bytes.first() {
        Some(b'/') => Ok(Target::Path { authority: None, path: strip_query(bytes) }),
        Some(b'*') if bytes.len() == 1 && method == Method::Options => Ok(Target::Server),
        _ => parse_absolute(bytes),
    }
}

fn parse_absolute(bytes: &[u8]) -> Result<Target<'_>, Status> {
    let scheme_end = bytes.iter().position(|byte| *byte == b':').ok_or(Status::BadRequest)?;
    let (scheme, rest) = bytes.split_at(scheme_end);
    // RFC 9110 7.4: what is meant for a secured connection must not be answered on this one.
    if scheme.eq_ignore_ascii_case(b"https") {
        return Err(Status::MisdirectedRequest);
    }
    if !scheme.eq_ignore_ascii_case(b"http") {
        return Err(Status::BadRequest);
    }
    let rest = rest.strip_prefix(b"://").ok_or(Status::BadRequest)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // RFC 9110 4.2.4: user information in an http URI is an error; an empty host is one as well.
    if authority.is_empty() || authority.contains(&b'@') {
        return Err(Status::BadRequest);
    }
    let path = strip_query(path);
    Ok(Target::Path { authority: Some(authority), path: if path.is_empty() { b"/" } else { path } })
}

fn strip_query(path: &[u8]) -> &[u8] {
    let end = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    &path[..end]
}

/// Appends `path`, decoded once, to `name`.
///
/// # Errors
/// 400: a bad or doubtful escape (`%00`, `%2f`, `%5c`, control characters), a backslash, a byte
/// that no URI holds, or a `.` or `..` segment however it is written: no honest client sends one,
/// they resolve it themselves (RFC 3986 section 5.2.4). 404: an empty segment, which would give one
/// file a second name; a dot file, unless `dot_files`; a name longer than a file name can be.
pub fn decode_path<const N: usize>(
    path: &[u8],
    dot_files: bool,
    name: &mut ArrayVec<u8, N>,
) -> Result<(), Status> {
    decode(path, dot_files, FILE_NAME_BYTES_MAX, name)
}

/// The same where longer parts than a file name can be have names too (`cache::name`).
///
/// # Errors
/// As above.
pub fn decode_long_path<const N: usize>(
    path: &[u8],
    dot_files: bool,
    name: &mut ArrayVec<u8, N>,
) -> Result<(), Status> {
    decode(path, dot_files, usize::MAX, name)
}

fn decode<const N: usize>(
    path: &[u8],
    dot_files: bool,
    part_bytes_max: usize,
    name: &mut ArrayVec<u8, N>,
) -> Result<(), Status> {
    let mut at = 0;
    let mut segment_start = name.len() + 1;
    while let Some(raw) = path.get(at) {
        let mut byte = *raw;
        at += 1;
        if byte == b'/' {
            if at > 1 {
                check_segment(&name[segment_start..], false, dot_files, part_bytes_max)?;
            }
            segment_start = name.len() + 1;
        } else if byte == b'%' {
            byte = decode_escape(path.get(at..at + 2).ok_or(Status::BadRequest)?)?;
            at += 2;
        } else if !is_path_byte(byte) {
            return Err(Status::BadRequest);
        }
        name.try_push(byte).map_err(|_| Status::NotFound)?;
    }
    check_segment(&name[segment_start..], true, dot_files, part_bytes_max)
}

fn check_segment(
    segment: &[u8],
    is_last: bool,
    dot_files: bool,
    part_bytes_max: usize,
) -> Result<(), Status> {
    match segment {
        [] if is_last => Ok(()),
        [] => Err(Status::NotFound),
        b"." | b".." => Err(Status::BadRequest),
        [b'.', ..] if !dot_files => Err(Status::NotFound),
        _ if segment.len() > part_bytes_max => Err(Status::NotFound),
        _ => Ok(()),
    }
}

/// NAME_MAX of Linux.
const FILE_NAME_BYTES_MAX: usize = 255;

/// Visible ASCII but for the two that mean something else to somebody: `\` and `#`.
const fn is_path_byte(byte: u8) -> bool {
    byte > b' ' && byte < 0x7f && byte != b'\\' && byte != b'#'
}

fn decode_escape(digits: &[u8]) -> Result<u8, Status> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (high, low) = (digit(digits[0]), digit(digits[1]));
    let (Some(high), Some(low)) = (high, low) else { return Err(Status::BadRequest) };
    match high << 4 | low {
        b'/' | b'\\' | 0..=0x1f | 0x7f => Err(Status::BadRequest),
        byte => Ok(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(path: &str, dot_files: bool) -> Result<String, u16> {
        let mut name = ArrayVec::<u8, 300>::new();
        name.try_extend_from_slice(b"h").expect("room");
        decode_path(path.as_bytes(), dot_files, &mut name).map_err(Status::code)?;
        Ok(String::from_utf8_lossy(&name).into_owned())
    }

    #[test]
    fn table_of_paths() {
        let table: &[(&str, Result<&str, u16>)] = &[
            ("/", Ok("h/")),
            ("/a.png", Ok("h/a.png")),
            ("/a/b.png", Ok("h/a/b.png")),
            ("/a/", Ok("h/a/")),
            ("/a%20b", Ok("h/a b")),
            ("/%61", Ok("h/a")),
            ("/%2561", Ok("h/%61")),
            ("/%c3%a4", Ok("h/\u{e4}")),
            ("/...", Err(404)),
            ("/a..b", Ok("h/a..b")),
            ("/..", Err(400)),
            ("/.", Err(400)),
            ("/a/../b", Err(400)),
            ("/a/./b", Err(400)),
            ("/%2e%2e/b", Err(400)),
            ("/.%2e", Err(400)),
            ("/a%2fb", Err(400)),
            ("/a%2Fb", Err(400)),
            ("/a%5cb", Err(400)),
            ("/a\\b", Err(400)),
            ("/a%00", Err(400)),
            ("/a%0a", Err(400)),
            ("/a%7f", Err(400)),
            ("/a%", Err(400)),
            ("/a%4", Err(400)),
            ("/a%zz", Err(400)),
            ("/a#b", Err(400)),
            ("//a", Err(404)),
            ("/a//b", Err(404)),
            ("/a//", Err(404)),
            ("/.git/config", Err(404)),
            ("/a/.b", Err(404)),
            ("/%2egit", Err(404)),
            ("/a b", Err(400)),
            ("/\u{e4}", Err(400)),
        ];
        for (path, expected) in table {
            assert_eq!(decoded(path, false), expected.map(str::to_owned), "{path}");
        }
        assert_eq!(decoded("/.git/config", true), Ok("h/.git/config".to_owned()));
        assert_eq!(decoded("/a/../.b", true), Err(400));
    }

    #[test]
    fn long_names_are_not_found() {
        assert_eq!(
            decoded(&format!("/{}", "x".repeat(255)), false).map(|name| name.len()),
            Ok(257)
        );
        assert_eq!(decoded(&format!("/{}", "x".repeat(256)), false), Err(404));
        assert_eq!(decoded(&format!("/{}", "x/".repeat(200)), false), Err(404));
    }

    #[test]
    fn table_of_targets() {
        let path = |authority, path| Ok(Target::Path { authority, path });
        let table: &[(Method, &str, Result<Target<'_>, Status>)] = &[
            (Method::Get, "/a?b?c", path(None, b"/a")),
            (Method::Get, "http://h:80/a?b", path(Some(b"h:80"), b"/a")),
            (Method::Get, "HTTP://h", path(Some(b"h"), b"/")),
            (Method::Get, "HTTPS://h", Err(Status::MisdirectedRequest)),
            (Method::Get, "http://h?q", path(Some(b"h"), b"/")),
            (Method::Get, "http://u@h/", Err(Status::BadRequest)),
            (Method::Get, "http:///a", Err(Status::BadRequest)),
            (Method::Get, "ftp://h/", Err(Status::BadRequest)),
            (Method::Get, "*", Err(Status::BadRequest)),
            (Method::Options, "*", Ok(Target::Server)),
            (Method::Get, "a", Err(Status::BadRequest)),
            (Method::Get, "", Err(Status::BadRequest)),
            (Method::Get, "h:80", Err(Status::BadRequest)),
        ];
        for (method, target, expected) in table {
            assert_eq!(&parse(*method, target), expected, "{target}");
        }
    }
}
