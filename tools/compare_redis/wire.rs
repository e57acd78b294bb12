//! Requests and replies as bytes: the wire that Redis and peerage both speak (RESP2).
//!
//! Input: arguments; bytes of a connection.   Output: bytes of a request; where a reply ends, what
//! it says.
//! Owns: nothing.   Thread: any, pure.
//! Invariants: `reply_end` passes over each byte once and allocates nothing; what it takes for
//! whole, `parse` can read.
//! Not here: `peerage::online::resp`, the other side. A measure that shared its code could not see
//! its errors.

use std::fmt;
use std::io::Write as _;

/// What a reply says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK` and the other kinds that are one line.
    Line(String),
    /// `-ERR ...`, without the minus.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// Bytes, or nothing where the server says null.
    Bulk(Option<Vec<u8>>),
    /// An array; the pairs of a map one after the other.
    Array(Vec<Reply>),
}

impl Reply {
    /// The bytes of a string of either kind.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(Some(bytes)) => Some(bytes),
            Self::Line(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The number of an integer, or of a string that is one.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => std::str::from_utf8(self.bytes()?).ok()?.parse().ok(),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Bulk(None) => f.write_str("null"),
            Self::Bulk(Some(bytes)) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Array(items) => {
                write!(f, "[{} items:", items.len())?;
                items.iter().take(SHOWN_MAX).try_for_each(|item| write!(f, " {item}"))?;
                f.write_str(if items.len() > SHOWN_MAX { " ...]" } else { "]" })
            }
        }
    }
}

/// Why bytes are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// No kind of reply begins so.
    Kind(u8),
    /// A length is no number or above its maximum.
    Length,
    /// Arrays within arrays, too many.
    Depth,
    /// A string does not end with CR LF.
    End,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(byte) => write!(f, "no reply begins with '{}'", byte.escape_ascii()),
            Self::Length => write!(f, "a length is no number, or above {LENGTH_MAX}"),
            Self::Depth => write!(f, "more than {DEPTH_MAX} arrays within each other"),
            Self::End => f.write_str("a string does not end with CR LF"),
        }
    }
}

impl std::error::Error for WireError {}

/// Appends a string of a request.
pub fn push_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    write!(out, "${}\r\n", bytes.len()).expect("a vector takes all");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends a whole request.
pub fn push_request(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    write!(out, "*{}\r\n", arguments.len()).expect("a vector takes all");
    arguments.iter().for_each(|argument| push_bulk(out, argument));
}

/// Where the reply that begins at `from` ends; `None` if not all of it is there.
#[inline]
pub fn reply_end(bytes: &[u8], from: usize) -> Result<Option<usize>, WireError> {
    let mut at = from;
    // Items that are still to come: the reply itself, and what its arrays promise.
    let mut wanted = 1_usize;
    while wanted > 0 {
        wanted -= 1;
        let Some(&kind) = bytes.get(at) else { return Ok(None) };
        match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
                let Some(length) = bytes[at..].iter().position(|&byte| byte == b'\n') else {
                    return Ok(None);
                };
                at += length + 1;
            }
            b'$' | b'*' | b'%' | b'~' => {
                let Some((length, next)) = length(bytes, at + 1)? else { return Ok(None) };
                at = next;
                match (kind, length) {
                    (_, None) => {}
                    (b'$', Some(length)) => {
                        let Some(end) = bytes.get(at + length..at + length + 2) else {
                            return Ok(None);
                        };
                        if end != b"\r\n" {
                            return Err(WireError::End);
                        }
                        at += length + 2;
                    }
                    (b'%', Some(length)) => wanted += 2 * length,
                    (_, Some(length)) => wanted += length,
                }
            }
            _ => return Err(WireError::Kind(kind)),
        }
    }
    Ok(Some(at))
}

/// A length and where its line ends; a length of `None` is null.
fn length(bytes: &[u8], from: usize) -> Result<Option<(Option<usize>, usize)>, WireError> {
    let (mut at, mut number) = (from, 0_usize);
    loop {
        match bytes.get(at..).unwrap_or_default() {
            [digit @ b'0'..=b'9', ..] => {
                number = number * 10 + usize::from(digit - b'0');
                if number > LENGTH_MAX {
                    return Err(WireError::Length);
                }
                at += 1;
            }
            [b'\r', b'\n', ..] if at > from => return Ok(Some((Some(number), at + 2))),
            [b'-', b'1', b'\r', b'\n', ..] if at == from => return Ok(Some((None, at + 4))),
            [] | [b'\r'] | [b'-'] | [b'-', b'1'] | [b'-', b'1', b'\r'] => return Ok(None),
            _ => return Err(WireError::Length),
        }
    }
}

/// The reply that `bytes` are, to the last; `reply_end` has found it whole.
pub fn parse(bytes: &[u8]) -> Result<Reply, WireError> {
    let mut at = 0;
    let reply = parse_item(bytes, &mut at, 0)?;
    if at == bytes.len() { Ok(reply) } else { Err(WireError::End) }
}

fn parse_item(bytes: &[u8], at: &mut usize, depth: usize) -> Result<Reply, WireError> {
    if depth > DEPTH_MAX {
        return Err(WireError::Depth);
    }
    let rest = bytes.get(*at..).unwrap_or_default();
    let (&kind, rest) = rest.split_first().ok_or(WireError::End)?;
    let line = rest.iter().position(|&byte| byte == b'\n').ok_or(WireError::End)?;
    let text = || String::from_utf8_lossy(&rest[..line]).trim_end_matches('\r').to_owned();
    let next = *at + 1 + line + 1;
    match kind {
        b'$' | b'*' | b'%' | b'~' => {
            let (length, begin) = length(bytes, *at + 1)?.ok_or(WireError::End)?;
            *at = begin;
            let Some(length) = length else { return Ok(Reply::Bulk(None)) };
            if kind == b'$' {
                *at += length + 2;
                let bytes = bytes.get(begin..begin + length).ok_or(WireError::End)?;
                return Ok(Reply::Bulk(Some(bytes.to_vec())));
            }
            let count = if kind == b'%' { 2 * length } else { length };
            (0..count).map(|_| parse_item(bytes, at, depth + 1)).collect::<Result<_, _>>()
        }
        .map(Reply::Array),
        b':' => {
            *at = next;
            text().parse().map(Reply::Integer).map_err(|_| WireError::Length)
        }
        b'-' => {
            *at = next;
            Ok(Reply::Error(text()))
        }
        b'_' => {
            *at = next;
            Ok(Reply::Bulk(None))
        }
        b'+' | b'#' | b',' | b'(' => {
            *at = next;
            Ok(Reply::Line(text()))
        }
        _ => Err(WireError::Kind(kind)),
    }
}

/// Longest string and longest array: far above a newest 30 or a page of statistics.
const LENGTH_MAX: usize = 1 << 20;
/// Arrays within arrays; statistics may have two.
const DEPTH_MAX: usize = 8;
/// Items of an array that a message shows.
const SHOWN_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: [&[u8]; 12] = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-12\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"$0\r\n\r\n",
        b"$5\r\na\r\nbc\r\n",
        b"*0\r\n",
        b"*2\r\n$1\r\na\r\n:3\r\n",
        b"*2\r\n*1\r\n*0\r\n$2\r\nxx\r\n",
        b"%1\r\n$1\r\na\r\n:3\r\n",
        b"_\r\n",
    ];

    #[test]
    fn a_reply_ends_where_it_ends_and_not_before() {
        for reply in REPLIES {
            let text = reply.escape_ascii();
            for cut in 0..reply.len() {
                assert_eq!(reply_end(&reply[..cut], 0), Ok(None), "{text} cut at {cut}");
            }
            let followed = [b":7\r\n", reply, b"+more"].concat();
            assert_eq!(reply_end(&followed, 4), Ok(Some(4 + reply.len())), "{text}");
            assert!(parse(reply).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        assert_eq!(reply_end(b"HTTP/1.1 400", 0), Err(WireError::Kind(b'H')));
        assert_eq!(reply_end(b"$x\r\n", 0), Err(WireError::Length));
        assert_eq!(reply_end(b"$\r\n\r\n", 0), Err(WireError::Length));
        assert_eq!(reply_end(b"*99999999\r\n", 0), Err(WireError::Length));
        assert_eq!(reply_end(b"$1\r\nabc", 0), Err(WireError::End));
        assert_eq!(parse(&b"*1\r\n".repeat(20)), Err(WireError::Depth));
    }

    #[test]
    fn what_a_reply_says_is_read() {
        let items = vec![Reply::Bulk(Some(b"a".to_vec())), Reply::Integer(3)];
        assert_eq!(parse(REPLIES[8]), Ok(Reply::Array(items.clone())));
        assert_eq!(parse(REPLIES[10]), Ok(Reply::Array(items)));
        assert_eq!(parse(REPLIES[1]), Ok(Reply::Error("ERR no".to_owned())));
        assert_eq!(Reply::Bulk(Some(b"12".to_vec())).number(), Some(12));
    }

    #[test]
    fn a_request_reads_as_an_array() {
        let mut out = Vec::new();
        push_request(&mut out, &[b"PING", b"x y"]);
        assert_eq!(out, b"*2\r\n$4\r\nPING\r\n$3\r\nx y\r\n");
        assert_eq!(reply_end(&out, 0), Ok(Some(out.len())));
    }
}
