//! CDN-Cache-Control, a dictionary of structured fields.
//!
//! Thread: any, pure.
//! Not here: what directives mean (`freshness::control`).
//! Source: RFC 9213 sections 2.1, 2.2 and 3; RFC 8941 section 4.2.
//! Differs from the source: a directive whose value has the wrong type counts as the strictest one
//! (a lifetime of 0, a flag that is set) instead of being of no account; a flag of `?0` is not set.

use super::ResponseControl;
use super::control::{delta_seconds, quoted_len};

/// A value of a dictionary's member, as far as directives need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// A whole number that is not negative, at most DELTA_SECONDS_MAX.
    Seconds(u32),
    Boolean(bool),
    /// Any other type, or a negative number.
    Other,
}

/// What the lines of one targeted field say; `None` if there are none, or they are empty or not
/// valid, and so do not count (RFC 9213 2.1).
pub fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<ResponseControl> {
    // RFC 8941 4.2: lines are joined before they are parsed; none is valid by itself.
    let mut joined: Vec<u8> = Vec::new();
    for (place, line) in lines.enumerate() {
        if place > 0 {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(line);
    }
    let mut control = ResponseControl { targeted: true, ..ResponseControl::default() };
    let members = parse_dictionary(&joined, |key, value| {
        // RFC 8941 4.2.2: the last member of a name replaces those before.
        if let Some(flag) = control.flag(key) {
            *flag = value != Value::Boolean(false);
        } else if let Some(number) = control.number(key) {
            *number = Some(if let Value::Seconds(seconds) = value { seconds } else { 0 });
        }
    })?;
    (members > 0).then_some(control)
}

/// RFC 8941 4.2.2. Hands over each member, and returns how many there were.
fn parse_dictionary(text: &[u8], mut take: impl FnMut(&[u8], Value)) -> Option<usize> {
    let mut cursor = Cursor { rest: text };
    cursor.skip(b" ");
    let mut members = 0;
    if cursor.rest.is_empty() {
        return Some(0);
    }
    loop {
        let key = cursor.key()?;
        let value = if cursor.eat(b'=') { cursor.member_value()? } else { Value::Boolean(true) };
        cursor.parameters()?;
        take(key, value);
        members += 1;
        cursor.skip(b" \t");
        if cursor.rest.is_empty() {
            return Some(members);
        }
        if !cursor.eat(b',') {
            return None;
        }
        // A comma at the end makes the whole field invalid: `key` finds nothing then.
        cursor.skip(b" \t");
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn skip(&mut self, blanks: &[u8]) {
        self.take_while(|byte| blanks.contains(&byte));
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !accept(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// RFC 8941 4.2.3.3.
    fn key(&mut self) -> Option<&'a [u8]> {
        if !self.rest.first().is_some_and(|byte| byte.is_ascii_lowercase() || *byte == b'*') {
            return None;
        }
        Some(self.take_while(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        }))
    }

    /// RFC 8941 4.2.1.1: an item, or an inner list, which no directive has.
    fn member_value(&mut self) -> Option<Value> {
        if !self.eat(b'(') {
            return self.bare_item();
        }
        loop {
            self.skip(b" ");
            if self.eat(b')') {
                return Some(Value::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.rest.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    /// RFC 8941 4.2.3.2; RFC 9213 2.1 has them ignored, but they must be valid.
    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.skip(b" ");
            self.key()?;
            if self.eat(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// RFC 8941 4.2.3.1.
    fn bare_item(&mut self) -> Option<Value> {
        match *self.rest.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'?' => {
                let (flag, rest) = self.rest[1..].split_first()?;
                self.rest = rest;
                matches!(flag, b'0' | b'1').then(|| Value::Boolean(*flag == b'1'))
            }
            b':' => {
                self.rest = &self.rest[1..];
                self.take_while(|byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
                });
                self.eat(b':').then_some(Value::Other)
            }
            byte if byte.is_ascii_alphabetic() || byte == b'*' => {
                self.take_while(|byte| {
                    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
                });
                Some(Value::Other)
            }
            _ => None,
        }
    }

    /// RFC 8941 4.2.4: at most 15 digits, or 12 before and 3 behind a point.
    fn number(&mut self) -> Option<Value> {
        let negative = self.eat(b'-');
        let whole = self.take_while(|byte| byte.is_ascii_digit());
        if self.eat(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            let valid = (1..=12).contains(&whole.len()) && (1..=3).contains(&fraction.len());
            return valid.then_some(Value::Other);
        }
        if whole.len() > 15 {
            return None;
        }
        let seconds = delta_seconds(whole)?;
        Some(if negative && seconds > 0 { Value::Other } else { Value::Seconds(seconds) })
    }

    /// RFC 8941 4.2.5: printable ASCII, and a backslash before a quote or a backslash only.
    fn string(&mut self) -> Option<Value> {
        let (quoted, rest) = self.rest.split_at(quoted_len(self.rest)?);
        self.rest = rest;
        let mut inner = quoted[1..quoted.len() - 1].iter();
        while let Some(byte) = inner.next() {
            let valid = match byte {
                b'\\' => matches!(inner.next(), Some(b'"' | b'\\')),
                _ => (b' '..=b'~').contains(byte),
            };
            if !valid {
                return None;
            }
        }
        Some(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str) -> String {
        let mut found = String::new();
        match parse_dictionary(line.as_bytes(), |key, value| {
            found += &format!("[{} {value:?}]", String::from_utf8_lossy(key));
        }) {
            Some(_) => found,
            None => "invalid".to_owned(),
        }
    }

    #[test]
    fn table_of_dictionaries() {
        for (line, expected) in [
            ("", ""),
            ("  ", ""),
            ("max-age=60", "[max-age Seconds(60)]"),
            (
                " a , b=?0,c=?1\t,\t*d",
                "[a Boolean(true)][b Boolean(false)][c Boolean(true)][*d Boolean(true)]",
            ),
            ("a;x=1; y=\"z\";w, b=t;q", "[a Boolean(true)][b Other]"),
            ("a=-0, b=-1, c=1.5", "[a Seconds(0)][b Other][c Other]"),
            ("a=999999999999999", "[a Seconds(2147483648)]"),
            ("a=1000000000000000", "invalid"),
            ("a=\"x\\\"y\\\\\"", "[a Other]"),
            ("a=\"x\\y\"", "invalid"),
            ("a=\"x", "invalid"),
            ("a=\"\u{e9}\"", "invalid"),
            ("a=(1 \"b\";c d)", "[a Other]"),
            ("a=()", "[a Other]"),
            ("a=(1 2", "invalid"),
            ("a=(1,2)", "invalid"),
            ("a=:aGk=:", "[a Other]"),
            ("a=:a!:", "invalid"),
            ("a,", "invalid"),
            ("a,,b", "invalid"),
            ("A", "invalid"),
            ("a=", "invalid"),
            ("a =1", "invalid"),
            ("a= 1", "invalid"),
            ("a b", "invalid"),
            ("a=1.", "invalid"),
            ("a=1.2345", "invalid"),
            ("a=-", "invalid"),
            ("a=?2", "invalid"),
            ("a=1;", "invalid"),
        ] {
            assert_eq!(text(line), expected, "{line}");
        }
    }

    #[test]
    fn directives_of_the_wrong_type_count_strictly() {
        let control =
            parse([&b"max-age=\"60\", s-maxage=?0, no-store=x, private=?0"[..]].into_iter())
                .unwrap();
        assert_eq!((control.max_age, control.s_maxage), (Some(0), Some(0)));
        assert!(control.no_store);
        assert!(!control.private);
    }

    #[test]
    fn lines_are_one_dictionary_and_the_last_counts() {
        let lines = [&b"max-age=60, no-store"[..], b"max-age=5, no-store=?0"];
        let control = parse(lines.into_iter()).unwrap();
        assert_eq!((control.max_age, control.no_store), (Some(5), false));
        assert_eq!(parse([&b"max-age=60"[..], b""].into_iter()), None);
        assert_eq!(parse(std::iter::empty()), None);
    }
}
