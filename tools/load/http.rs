//! The little of HTTP/1.1 that a load generator has to understand: where a response's head ends.
//!
//! Input: bytes from the socket.   Output: `HeadParse`.
//! Owns: nothing.   Thread: any, pure.
//! Invariants: `Complete` names a length inside the input; `Partial` is never returned for more
//! than `HEAD_BYTES_MAX` bytes.
//! Not here: chunked bodies; a static server states the length, so a missing one is an error.
//! Source: RFC 9112 sections 2 to 6.

/// What the head of one response says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the head with its empty line.
    pub head_bytes: usize,
    /// Status code.
    pub status: u16,
    /// Length of the body that follows.
    pub body_bytes: u64,
    /// The server will close the connection after this response.
    pub close: bool,
}

/// Result of looking for a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadParse {
    /// A whole head.
    Complete(Head),
    /// More bytes are needed.
    Partial,
    /// These bytes are not the head of a response whose length is known.
    Bad,
}

/// Parses the head at the front of `input`.
pub fn parse_head(input: &[u8]) -> HeadParse {
    let mut head = Head { head_bytes: 0, status: 0, body_bytes: 0, close: false };
    let mut length = None;
    let mut at = 0;
    while let Some(line_bytes) = input[at..].iter().position(|&b| b == b'\n') {
        let line = &input[at..at + line_bytes];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let first = at == 0;
        at += line_bytes + 1;
        if at > HEAD_BYTES_MAX {
            return HeadParse::Bad;
        }
        if first {
            let Some(status) = parse_status(line) else { return HeadParse::Bad };
            head.status = status;
        } else if line.is_empty() {
            head.head_bytes = at;
            let bodiless = head.status == 204 || head.status == 304;
            return match length {
                _ if bodiless => HeadParse::Complete(head),
                Some(body_bytes) => HeadParse::Complete(Head { body_bytes, ..head }),
                None => HeadParse::Bad,
            };
        } else if let Some(value) = field(line, b"content-length") {
            let Some(number) = parse_number(value) else { return HeadParse::Bad };
            length = Some(number);
        } else if let Some(value) = field(line, b"connection") {
            head.close = value.eq_ignore_ascii_case(b"close");
        }
    }
    if input.len() > HEAD_BYTES_MAX { HeadParse::Bad } else { HeadParse::Partial }
}

/// Status code of `HTTP/1.x NNN reason`.
fn parse_status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let number = parse_number(rest.get(2..5)?)?;
    u16::try_from(number).ok().filter(|status| (100..600).contains(status))
}

/// The value of `line` if its name is `name`, without the spaces around it.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    // The first byte decides for nearly every line.
    if line.first().map(u8::to_ascii_lowercase) != name.first().copied() {
        return None;
    }
    let (head, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    head.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        let value = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(value)
    })
}

/// Heads of static servers are a few hundred bytes; beyond this the stream has lost its frame.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-LENGTH: 42 \r\n\r\nbody";

    #[test]
    fn every_cut_of_a_head_is_partial() {
        let end = OK.len() - 4;
        for cut in 0..end {
            assert_eq!(parse_head(&OK[..cut]), HeadParse::Partial, "cut at {cut}");
        }
        let head = Head { head_bytes: end, status: 200, body_bytes: 42, close: false };
        assert_eq!(parse_head(OK), HeadParse::Complete(head));
    }

    #[test]
    fn close_and_status_are_seen() {
        let input = b"HTTP/1.0 404 No\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n";
        let HeadParse::Complete(head) = parse_head(input) else { panic!("complete") };
        assert_eq!((head.status, head.body_bytes, head.close), (404, 0, true));
    }

    #[test]
    fn what_has_no_known_length_is_bad() {
        assert_eq!(parse_head(b"HTTP/1.1 200 OK\r\n\r\n"), HeadParse::Bad);
        assert_eq!(parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), HeadParse::Bad);
        assert_eq!(parse_head(b"garbage\n"), HeadParse::Bad);
        assert_eq!(parse_head(&[b'a'; HEAD_BYTES_MAX + 1]), HeadParse::Bad);
        let not_modified = parse_head(b"HTTP/1.1 304 Not Modified\r\n\r\n");
        assert!(matches!(not_modified, HeadParse::Complete(head) if head.body_bytes == 0));
    }
}
