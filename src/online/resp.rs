//! The wire of the query service: requests and replies of RESP2 and RESP3, and inline requests.
//!
//! Input: bytes of a connection.   Output: the arguments of the next request; bytes of replies.
//! Owns: nothing.   Thread: any, pure.
//! Invariants: what is parsed from a longer input is what was parsed from a part of it that was
//! whole; nothing is read beyond the limits of `limits`, whatever lengths are said.
//! Not here: what commands mean, how long a pipeline may be.
//! Source: the RESP specification of redis.io, versions 2 and 3; `sdssplitargs` of Redis 7 for what
//! an inline request may look like.
//! Differs from the source: no attributes, no streamed strings; requests hold bulk strings only.

use std::fmt::{self, Write as _};

use crate::limits::{ONLINE_ARGUMENTS_MAX, ONLINE_REQUEST_BYTES_MAX};
use crate::stdx::num::wide;
use crate::time::UnixMillis;

/// Why a connection is at its end: its bytes are no requests. The messages are those of Redis where
/// it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// A line, or a request as a whole, is longer than `ONLINE_REQUEST_BYTES_MAX`.
    TooLong,
    /// The number of arguments is none, or above `ONLINE_ARGUMENTS_MAX`.
    ArgumentCount,
    /// An argument does not begin with `$`; what it begins with.
    NoBulk(u8),
    /// The length of an argument is none, or above `ONLINE_REQUEST_BYTES_MAX`.
    BulkLength,
    /// An argument does not end with CR LF.
    BulkEnd,
    /// A quote of an inline request is not closed, or something follows it.
    Quotes,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(f, "Protocol error: a request is above {ONLINE_REQUEST_BYTES_MAX} bytes")
            }
            Self::ArgumentCount => write!(
                f,
                "Protocol error: invalid multibulk length; 0 to {ONLINE_ARGUMENTS_MAX} are taken"
            ),
            Self::NoBulk(byte) => {
                write!(f, "Protocol error: expected '$', got '{}'", byte.escape_ascii())
            }
            Self::BulkLength => write!(
                f,
                "Protocol error: invalid bulk length; 0 to {ONLINE_REQUEST_BYTES_MAX} are taken"
            ),
            Self::BulkEnd => f.write_str("Protocol error: an argument does not end with CR LF"),
            Self::Quotes => f.write_str("Protocol error: unbalanced quotes in request"),
        }
    }
}

/// The arguments of one request. Its memory is used again.
#[derive(Debug, Default)]
pub struct Arguments {
    /// Those of an inline request, without quotes and escapes.
    unquoted: Vec<u8>,
    /// Where each lies: in `unquoted`, or in the input.
    places: Vec<(usize, usize)>,
    is_inline: bool,
}

impl Arguments {
    /// Argument number `at`; `input` is what was parsed.
    #[must_use]
    pub fn argument<'a>(&'a self, at: usize, input: &'a [u8]) -> Option<&'a [u8]> {
        let (start, end) = *self.places.get(at)?;
        let bytes = if self.is_inline { &self.unquoted } else { input };
        bytes.get(start..end)
    }

    /// The same for as long as the input lives; `None` where it is a copy without quotes.
    #[must_use]
    pub fn in_input<'i>(&self, at: usize, input: &'i [u8]) -> Option<&'i [u8]> {
        let (start, end) = *self.places.get(at)?;
        if self.is_inline { None } else { input.get(start..end) }
    }

    /// How many there are. None: an empty line, which wants no reply.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// Parses the first request of `input`; how many bytes it has, or `None` where it is not whole.
///
/// # Errors
/// Where no bytes that may follow can make it a request.
pub fn parse(input: &[u8], into: &mut Arguments) -> Result<Option<usize>, WireError> {
    into.places.clear();
    into.unquoted.clear();
    match input.first() {
        None => Ok(None),
        Some(b'*') => {
            into.is_inline = false;
            parse_array(input, into)
        }
        Some(_) => {
            into.is_inline = true;
            parse_inline(input, into)
        }
    }
}

fn parse_array(input: &[u8], into: &mut Arguments) -> Result<Option<usize>, WireError> {
    let Some((line, mut at)) = line_of(input, 1)? else { return Ok(None) };
    let count = match number(line) {
        // As Redis: an array of -1 or 0 is an empty request.
        Some(..=0) => 0,
        Some(count) if count <= wide(ONLINE_ARGUMENTS_MAX).cast_signed() => count,
        _ => return Err(WireError::ArgumentCount),
    };
    for _ in 0..count {
        match input.get(at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(byte) => return Err(WireError::NoBulk(*byte)),
        }
        let Some((line, start)) = line_of(input, at + 1)? else { return Ok(None) };
        let len = number(line).and_then(|len| usize::try_from(len).ok());
        let len =
            len.filter(|len| *len <= ONLINE_REQUEST_BYTES_MAX).ok_or(WireError::BulkLength)?;
        let end = start + len;
        if end > ONLINE_REQUEST_BYTES_MAX {
            return Err(WireError::TooLong);
        }
        match input.get(end..).unwrap_or_default() {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(None),
            _ => return Err(WireError::BulkEnd),
        }
        into.places.push((start, end));
        at = end + 2;
    }
    Ok(Some(at))
}

/// The line that begins at `from`, without its end, and where the next one begins.
fn line_of(input: &[u8], from: usize) -> Result<Option<(&[u8], usize)>, WireError> {
    // A number has 20 digits at most, with its sign.
    const DIGITS_MAX: usize = 20;
    let rest = &input[from..];
    let within = &rest[..rest.len().min(DIGITS_MAX + 2)];
    match within.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = &within[..end];
            Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), from + end + 1)))
        }
        None if within.len() == DIGITS_MAX + 2 => Err(WireError::BulkLength),
        None => Ok(None),
    }
}

fn number(line: &[u8]) -> Option<i64> {
    // `+1` is a number to Rust, but none to Redis.
    let text = std::str::from_utf8(line).ok().filter(|text| !text.starts_with('+'))?;
    text.parse().ok()
}

fn parse_inline(input: &[u8], into: &mut Arguments) -> Result<Option<usize>, WireError> {
    let within = &input[..input.len().min(ONLINE_REQUEST_BYTES_MAX)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        let is_too_long = within.len() == ONLINE_REQUEST_BYTES_MAX;
        return if is_too_long { Err(WireError::TooLong) } else { Ok(None) };
    };
    let line = &within[..end];
    let mut rest = line.strip_suffix(b"\r").unwrap_or(line);
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(Some(end + 1));
        }
        if into.places.len() == ONLINE_ARGUMENTS_MAX {
            return Err(WireError::ArgumentCount);
        }
        let start = into.unquoted.len();
        rest = unquote(rest, &mut into.unquoted)?;
        into.places.push((start, into.unquoted.len()));
    }
}

/// Appends the first word of `line`, without quotes and escapes; what follows it.
fn unquote<'a>(line: &'a [u8], into: &mut Vec<u8>) -> Result<&'a [u8], WireError> {
    let mut rest = line;
    loop {
        rest = match rest {
            [] => return Ok(rest),
            [byte, ..] if byte.is_ascii_whitespace() || *byte == 0 => return Ok(&rest[1..]),
            [b'"', within @ ..] => return quoted(within, into),
            [b'\'', within @ ..] => return single_quoted(within, into),
            [byte, after @ ..] => {
                into.push(*byte);
                after
            }
        };
    }
}

fn quoted<'a>(within: &'a [u8], into: &mut Vec<u8>) -> Result<&'a [u8], WireError> {
    let mut rest = within;
    loop {
        let (byte, after) = match rest {
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), after)
            }
            [b'\\', escaped, after @ ..] => {
                let byte = match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                };
                (byte, after)
            }
            [b'"', after @ ..] => return after_quote(after),
            [byte, after @ ..] => (*byte, after),
            [] => return Err(WireError::Quotes),
        };
        into.push(byte);
        rest = after;
    }
}

fn single_quoted<'a>(within: &'a [u8], into: &mut Vec<u8>) -> Result<&'a [u8], WireError> {
    let mut rest = within;
    loop {
        let (byte, after) = match rest {
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [b'\'', after @ ..] => return after_quote(after),
            [byte, after @ ..] => (*byte, after),
            [] => return Err(WireError::Quotes),
        };
        into.push(byte);
        rest = after;
    }
}

/// A closing quote ends the word.
fn after_quote(rest: &[u8]) -> Result<&[u8], WireError> {
    match rest.first() {
        Some(byte) if !byte.is_ascii_whitespace() => Err(WireError::Quotes),
        _ => Ok(rest),
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// Replies, in the version of the protocol that the client asked for, behind what is to be sent
/// already.
#[derive(Debug)]
pub struct Replies<'a> {
    bytes: &'a mut Vec<u8>,
    is_version_3: bool,
}

impl<'a> Replies<'a> {
    /// Version 2 is what holds until a client says HELLO 3.
    pub const fn new(bytes: &'a mut Vec<u8>, is_version_3: bool) -> Self {
        Self { bytes, is_version_3 }
    }

    /// How many bytes are to be sent.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is to be sent.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// HELLO 2 or 3.
    pub const fn set_version(&mut self, is_version_3: bool) {
        self.is_version_3 = is_version_3;
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        // Formatting into memory does not fail.
        let _: fmt::Result = Text(self.bytes).write_fmt(text);
    }

    /// `+OK` and its like; no line ends in it.
    pub fn simple(&mut self, text: &str) {
        assert!(!text.contains(['\r', '\n']), "a simple string is one line");
        self.line(format_args!("{text}"));
    }

    /// A simple string that is put together here; no line ends in it, or two replies would come of
    /// it.
    pub fn line(&mut self, text: fmt::Arguments<'_>) {
        self.put(format_args!("+{text}\r\n"));
    }

    /// An error: its code in capitals, and what to do. Line ends become blanks.
    pub fn error(&mut self, code: &str, text: fmt::Arguments<'_>) {
        self.put(format_args!("-{code} "));
        let start = self.bytes.len();
        self.put(text);
        for byte in &mut self.bytes[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A number.
    pub fn integer(&mut self, value: i64) {
        match u8::try_from(value) {
            Ok(digit @ 0..=9) => self.bytes.extend_from_slice(&[b':', b'0' + digit, b'\r', b'\n']),
            _ => self.put(format_args!(":{value}\r\n")),
        }
    }

    /// Any bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.head(b'$', bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A point in time, in seconds with three decimals: the same in both versions.
    pub fn seconds(&mut self, at: UnixMillis) {
        let (seconds, millis) = (at.0 / 1000, at.0 % 1000);
        let mut text = arrayvec::ArrayString::<24>::new();
        // 17 digits and 4 more bytes fit.
        let _: fmt::Result = write!(text, "{seconds}.{millis:03}");
        self.bulk(text.as_bytes());
    }

    /// A type and a length. Most are short, and formatting costs more than all the rest.
    fn head(&mut self, kind: u8, len: usize) {
        match u8::try_from(len) {
            Ok(digit @ 0..=9) => self.bytes.extend_from_slice(&[kind, b'0' + digit, b'\r', b'\n']),
            Ok(len @ 10..=99) => {
                let (tens, ones) = (b'0' + len / 10, b'0' + len % 10);
                self.bytes.extend_from_slice(&[kind, tens, ones, b'\r', b'\n']);
            }
            _ => self.put(format_args!("{}{len}\r\n", char::from(kind))),
        }
    }

    /// Nothing.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(if self.is_version_3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// So many replies follow.
    pub fn array(&mut self, count: usize) {
        self.head(b'*', count);
    }

    /// So many pairs of replies follow; in version 2 an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        if self.is_version_3 {
            self.head(b'%', pairs);
        } else {
            self.array(2 * pairs);
        }
    }
}

struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The arguments, and how many bytes they took.
    type Parsed = (Vec<Vec<u8>>, usize);

    fn arguments(input: &[u8]) -> Result<Option<Parsed>, WireError> {
        let mut into = Arguments::default();
        Ok(parse(input, &mut into)?.map(|used| {
            let at = |at| into.argument(at, input).expect("it is there").to_vec();
            ((0..into.len()).map(at).collect(), used)
        }))
    }

    fn emit(words: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut replies = Replies::new(&mut bytes, false);
        replies.array(words.len());
        words.iter().for_each(|word| replies.bulk(word));
        bytes
    }

    #[test]
    fn table_of_inline_requests() {
        let table: &[(&[u8], &[&[u8]])] = &[
            (b"PING\r\n", &[b"PING"]),
            (b"  get \t a \n", &[b"get", b"a"]),
            (b"\r\n", &[]),
            (b"\"a b\" 'c \"d'\r\n", &[b"a b", b"c \"d"]),
            (b"\"\\x41\\n\\r\\t\\b\\a\\\\\\\"\\q\" x\r\n", &[b"A\n\r\t\x08\x07\\\"q", b"x"]),
            (b"'it\\'s' \"\" ''\r\n", &[b"it's", b"", b""]),
            (b"\xff\x00 z\n", &[b"\xff", b"z"]),
        ];
        for (input, expected) in table {
            let (found, used) = arguments(input).expect("it is a request").expect("it is whole");
            assert_eq!(
                (found.iter().map(Vec::as_slice).collect::<Vec<_>>(), used),
                (expected.to_vec(), input.len())
            );
        }
    }

    #[test]
    fn table_of_what_is_no_request() {
        let long = [b'a'; ONLINE_REQUEST_BYTES_MAX];
        let table: &[(&[u8], WireError)] = &[
            (b"*a\r\n", WireError::ArgumentCount),
            (b"*99999999\r\n", WireError::ArgumentCount),
            (b"*+1\r\n", WireError::ArgumentCount),
            (b"*9223372036854775808\r\n", WireError::ArgumentCount),
            (b"*0000000000000000000000000001", WireError::BulkLength),
            (b"*1\r\n:5\r\n", WireError::NoBulk(b':')),
            (b"*1\r\n$-1\r\n", WireError::BulkLength),
            (b"*1\r\n$99999999\r\n", WireError::BulkLength),
            (b"*1\r\n$x\r\n", WireError::BulkLength),
            (b"*1\r\n$1\r\nab\r\n", WireError::BulkEnd),
            (b"\"open\r\n", WireError::Quotes),
            (b"'open\\'\r\n", WireError::Quotes),
            (b"\"a\"b\r\n", WireError::Quotes),
            (&long, WireError::TooLong),
        ];
        for (input, expected) in table {
            assert_eq!(arguments(input), Err(*expected), "{:?}", input.escape_ascii().to_string());
            assert!(expected.to_string().starts_with("Protocol error"));
        }
        // Two arguments that are not too long by themselves.
        let mut both = b"*2\r\n$60000\r\n".to_vec();
        both.extend_from_slice(&long[..60_000]);
        both.extend_from_slice(b"\r\n$60000\r\n");
        assert_eq!(arguments(&both), Err(WireError::TooLong));
    }

    #[test]
    fn replies_of_both_versions() {
        for (is_version_3, expected) in
            [(false, "$-1\r\n*2\r\n*4\r\n"), (true, "_\r\n*2\r\n%2\r\n")]
        {
            let mut bytes = Vec::new();
            let mut replies = Replies::new(&mut bytes, !is_version_3);
            replies.set_version(is_version_3);
            replies.simple("OK");
            replies.error("ERR", format_args!("a\n{}", 'b'));
            for value in [-5, 0, 9, 10, i64::MAX] {
                replies.integer(value);
            }
            replies.bulk(b"hi");
            replies.bulk(&[b'a'; 10]);
            replies.bulk(&[b'a'; 100]);
            replies.null();
            replies.array(2);
            replies.map(2);
            let expected = format!(
                "+OK\r\n-ERR a b\r\n:-5\r\n:0\r\n:9\r\n:10\r\n:9223372036854775807\r\n\
                 $2\r\nhi\r\n$10\r\naaaaaaaaaa\r\n$100\r\n{}\r\n{expected}",
                "a".repeat(100)
            );
            assert_eq!(std::str::from_utf8(&bytes), Ok(&*expected));
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed_again_and_no_part_of_it_is(
            words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..6),
            after in proptest::collection::vec(any::<u8>(), 0..5),
        ) {
            let mut input = emit(&words);
            let len = input.len();
            for cut in 0..len {
                prop_assert_eq!(arguments(&input[..cut]), Ok(None));
            }
            input.extend_from_slice(&after);
            prop_assert_eq!(arguments(&input), Ok(Some((words, len))));
        }

        #[test]
        fn noise_is_parsed_or_refused(
            input in proptest::collection::vec(
                proptest::sample::select(b"*$0123456789-+\r\n\"'\\x a".as_slice()), 0..60),
        ) {
            if let Ok(Some((_, used))) = arguments(&input) {
                prop_assert!(used <= input.len());
                // Whole is whole, whatever follows.
                let mut longer = input.clone();
                longer.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
                prop_assert_eq!(arguments(&longer), arguments(&input));
            }
        }
    }
}
