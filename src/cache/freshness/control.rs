//! Cache-Control of both sides, read so that the stricter of two meanings counts.
//!
//! Thread: any, pure; no allocation.
//! Not here: CDN-Cache-Control's syntax (`freshness::targeted`), what directives lead to.
//! Source: RFC 9111 sections 1.2.2 and 5.2; RFC 5861 sections 3 and 4.
//! Differs from the source: a number that is none counts as the strictest one (RFC 9111 4.2.1 has
//! caches treat it as stale); a quoted string that does not end is taken for plain text up to the
//! next comma, so that it hides no directive behind it.

use crate::limits::DELTA_SECONDS_MAX;

use super::Fields;
use super::targeted;

/// What an answer says about caching it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseControl {
    /// RFC 9111 5.2.2.5.
    pub no_store: bool,
    /// RFC 9111 5.2.2.4, in either form.
    pub no_cache: bool,
    /// RFC 9111 5.2.2.7, in either form.
    pub private: bool,
    /// RFC 9111 5.2.2.9.
    pub public: bool,
    /// RFC 9111 5.2.2.2.
    pub must_revalidate: bool,
    /// RFC 9111 5.2.2.8.
    pub proxy_revalidate: bool,
    /// RFC 9111 5.2.2.3.
    pub must_understand: bool,
    /// RFC 9111 5.2.2.1, in seconds.
    pub max_age: Option<u32>,
    /// RFC 9111 5.2.2.10, in seconds.
    pub s_maxage: Option<u32>,
    /// RFC 5861 3, in seconds.
    pub stale_while_revalidate: Option<u32>,
    /// RFC 5861 4, in seconds.
    pub stale_if_error: Option<u32>,
    /// Whether all this comes from CDN-Cache-Control, so that Expires does not count either.
    pub targeted: bool,
}

impl ResponseControl {
    /// Reads CDN-Cache-Control if it is there and valid (RFC 9213 2.2), else Cache-Control.
    #[must_use]
    pub fn parse(fields: Fields<'_>) -> Self {
        if let Some(control) = targeted::parse(fields.values("CDN-Cache-Control")) {
            return control;
        }
        let mut control = Self::default();
        for (name, argument) in fields.values("Cache-Control").flat_map(directives) {
            control.add(name, argument);
        }
        control
    }

    fn add(&mut self, name: &[u8], argument: Option<Argument<'_>>) {
        if let Some(flag) = self.flag(name) {
            *flag = true;
        } else if let Some(number) = self.number(name) {
            let seconds = argument.and_then(Argument::seconds).unwrap_or(0);
            *number = Some(number.map_or(seconds, |before| before.min(seconds)));
        }
    }

    /// The directive `name` (any case), if it takes no argument that counts.
    pub(super) fn flag(&mut self, name: &[u8]) -> Option<&mut bool> {
        let flags = [
            ("no-store", &mut self.no_store),
            ("no-cache", &mut self.no_cache),
            ("private", &mut self.private),
            ("public", &mut self.public),
            ("must-revalidate", &mut self.must_revalidate),
            ("proxy-revalidate", &mut self.proxy_revalidate),
            ("must-understand", &mut self.must_understand),
        ];
        flags.into_iter().find(|(known, _)| super::is_name(name, known)).map(|(_, flag)| flag)
    }

    /// The directive `name` (any case), if it takes delta-seconds.
    pub(super) fn number(&mut self, name: &[u8]) -> Option<&mut Option<u32>> {
        let numbers = [
            ("max-age", &mut self.max_age),
            ("s-maxage", &mut self.s_maxage),
            ("stale-while-revalidate", &mut self.stale_while_revalidate),
            ("stale-if-error", &mut self.stale_if_error),
        ];
        numbers.into_iter().find(|(known, _)| super::is_name(name, known)).map(|(_, number)| number)
    }

    /// Whether a stale answer needs a successful revalidation before every use (RFC 9111 4.2.4).
    #[must_use]
    pub const fn forbids_stale(&self) -> bool {
        // RFC 9111 5.2.2.10: s-maxage has the meaning of proxy-revalidate within it.
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some()
    }

    /// RFC 9111 3.5: whether an answer to a request with Authorization may be stored.
    #[must_use]
    pub const fn allows_authorized(&self) -> bool {
        self.must_revalidate || self.public || self.s_maxage.is_some()
    }
}

/// What a client says about the answer it would take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestControl {
    /// RFC 9111 5.2.1.4, or Pragma (5.4) where there is no Cache-Control.
    pub no_cache: bool,
    /// RFC 9111 5.2.1.5.
    pub no_store: bool,
    /// RFC 9111 5.2.1.7.
    pub only_if_cached: bool,
    /// RFC 9111 5.2.1.1, in seconds.
    pub max_age: Option<u32>,
    /// RFC 9111 5.2.1.3, in seconds.
    pub min_fresh: Option<u32>,
    /// RFC 9111 5.2.1.2, in seconds; without argument DELTA_SECONDS_MAX.
    pub max_stale: Option<u32>,
    /// RFC 5861 4, in seconds.
    pub stale_if_error: Option<u32>,
}

impl RequestControl {
    /// Reads the directives of a request's fields.
    #[must_use]
    pub fn parse(fields: Fields<'_>) -> Self {
        Self::from_values(fields.values("Cache-Control"), fields.values("Pragma"))
    }

    /// The same from the values of Cache-Control and Pragma; the common request has neither.
    pub fn from_values<'a>(
        cache_control: impl Iterator<Item = &'a [u8]>,
        pragma: impl Iterator<Item = &'a [u8]>,
    ) -> Self {
        let mut control = Self::default();
        let mut is_empty = true;
        for value in cache_control {
            is_empty = false;
            for (name, argument) in directives(value) {
                control.add(name, argument);
            }
        }
        // RFC 9111 5.4: Pragma counts only where there is no Cache-Control.
        if is_empty {
            let mut pragmas = pragma.flat_map(directives);
            control.no_cache = pragmas.any(|(name, _)| super::is_name(name, "no-cache"));
        }
        control
    }

    fn add(&mut self, name: &[u8], argument: Option<Argument<'_>>) {
        let is = |known| super::is_name(name, known);
        let number = |worst: u32| argument.and_then(Argument::seconds).unwrap_or(worst);
        let least = |before: Option<u32>, next: u32| Some(before.map_or(next, |b| b.min(next)));
        if is("no-cache") {
            self.no_cache = true;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            self.max_age = least(self.max_age, number(0));
        } else if is("min-fresh") {
            self.min_fresh = Some(self.min_fresh.unwrap_or(0).max(number(DELTA_SECONDS_MAX)));
        } else if is("max-stale") {
            let seconds = if argument.is_none() { DELTA_SECONDS_MAX } else { number(0) };
            self.max_stale = least(self.max_stale, seconds);
        } else if is("stale-if-error") {
            self.stale_if_error = least(self.stale_if_error, number(0));
        }
    }
}

/// What stands behind a directive's `=`, without the quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument<'a>(pub &'a [u8]);

impl Argument<'_> {
    /// As delta-seconds (RFC 9111 1.2.2), at most DELTA_SECONDS_MAX; `None` if it is no number.
    #[must_use]
    pub fn seconds(self) -> Option<u32> {
        delta_seconds(self.0)
    }
}

/// Digits as seconds, at most DELTA_SECONDS_MAX; `None` for anything else.
#[must_use]
pub fn delta_seconds(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_u32, |seconds, digit| {
        seconds
            .saturating_mul(10)
            .saturating_add(u32::from(digit - b'0'))
            // RFC 9111 1.2.2: what is larger counts as 2^31.
            .min(DELTA_SECONDS_MAX)
    }))
}

/// The directives of one Cache-Control line: name, and argument if there is a `=`.
pub fn directives(line: &[u8]) -> impl Iterator<Item = (&[u8], Option<Argument<'_>>)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        // RFC 9110 5.6.1.2: a recipient takes empty members of a list.
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        if rest.is_empty() {
            return None;
        }
        let (member, after) = rest.split_at(member_len(rest));
        rest = after;
        Some(match member.iter().position(|byte| *byte == b'=') {
            None => (member.trim_ascii(), None),
            // Blanks around the `=` are not allowed; they stay in the argument and spoil a number.
            Some(equals) => {
                let (name, argument) = (&member[..equals], &member[equals + 1..]);
                let spoiled = name.last().is_some_and(u8::is_ascii_whitespace);
                let argument = if spoiled { b" " } else { unquote(argument.trim_ascii_end()) };
                (name.trim_ascii_end(), Some(Argument(argument)))
            }
        })
    })
}

/// Bytes up to the comma that ends the list member `list` begins with.
fn member_len(list: &[u8]) -> usize {
    let mut at = 0;
    while at < list.len() && list[at] != b',' {
        at += if list[at] == b'"' { quoted_len(&list[at..]).unwrap_or(1) } else { 1 };
    }
    at
}

/// Length of the quoted string that `text` begins with, quotes included; `None` if it has no end.
pub(super) fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// RFC 9111 5.2: a recipient takes the token and the quoted form of every argument.
fn unquote(argument: &[u8]) -> &[u8] {
    match argument {
        [b'"', inner @ .., b'"'] => inner,
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(lines: &[&str]) -> ResponseControl {
        let lines: Vec<(&[u8], &[u8])> =
            lines.iter().map(|line| (&b"cache-control"[..], line.as_bytes())).collect();
        ResponseControl::parse(Fields(&lines))
    }

    fn request(line: &str) -> RequestControl {
        RequestControl::parse(Fields(&[(b"Cache-Control", line.as_bytes())]))
    }

    #[test]
    fn table_of_delta_seconds() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0060", Some(60)),
            ("2147483647", Some(2_147_483_647)),
            ("2147483648", Some(DELTA_SECONDS_MAX)),
            ("2147483649", Some(DELTA_SECONDS_MAX)),
            ("99999999999999999999999999", Some(DELTA_SECONDS_MAX)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1 ", None),
            ("'1'", None),
        ] {
            assert_eq!(delta_seconds(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn table_of_lists() {
        for (line, expected) in [
            ("", "[]"),
            (" , ,\t,", "[]"),
            ("a", "[a]"),
            ("a,b=1 , c=\"x, y\"", "[a][b=1][c=x, y]"),
            ("a=\"x\\\",y\",b", "[a=x\\\",y][b]"),
            ("a=\"x, b", "[a=\"x][b]"),
            ("a =1, b= 2", "[a= ][b= 2]"),
            ("=1,=", "[=1][=]"),
            ("a=\"\"", "[a=]"),
            ("a=\"b\\", "[a=\"b\\]"),
        ] {
            let found: String = directives(line.as_bytes())
                .map(|(name, argument)| {
                    let name = String::from_utf8_lossy(name);
                    argument.map_or_else(
                        || format!("[{name}]"),
                        |argument| format!("[{name}={}]", String::from_utf8_lossy(argument.0)),
                    )
                })
                .collect();
            assert_eq!(if found.is_empty() { "[]" } else { &found }, expected, "{line}");
        }
    }

    #[test]
    fn the_stricter_of_two_values_counts() {
        assert_eq!(response(&["max-age=10, max-age=5"]).max_age, Some(5));
        assert_eq!(response(&["max-age=5", "MAX-AGE=10"]).max_age, Some(5));
        assert_eq!(response(&["max-age=5, max-age=x"]).max_age, Some(0));
        assert_eq!(response(&["max-age"]).max_age, Some(0));
        assert_eq!(response(&["max-age = 60"]).max_age, Some(0));
        assert_eq!(response(&["s-maxage=\"60\""]).s_maxage, Some(60));
        assert_eq!(request("min-fresh=5, min-fresh=9").min_fresh, Some(9));
        assert_eq!(request("min-fresh=x").min_fresh, Some(DELTA_SECONDS_MAX));
        assert_eq!(request("max-stale, max-stale=4").max_stale, Some(4));
        assert_eq!(request("max-stale").max_stale, Some(DELTA_SECONDS_MAX));
        assert_eq!(request("max-stale=").max_stale, Some(0));
        assert_eq!(request("max-age=7, max-age=3").max_age, Some(3));
    }

    #[test]
    fn unknown_directives_change_nothing() {
        let plain = response(&["max-age=60"]);
        assert_eq!(response(&["foo=\"no-store, private\", max-age=60, bar, immutable"]), plain);
        assert!(response(&["foo=\"x, no-store"]).no_store);
        assert!(response(&["no-store=1"]).no_store);
        assert!(response(&["private=\"x\""]).private);
    }

    #[test]
    fn pragma_counts_without_cache_control_only() {
        let pragma: (&[u8], &[u8]) = (b"Pragma", b"x, No-Cache");
        assert!(RequestControl::parse(Fields(&[pragma])).no_cache);
        let both = [pragma, (&b"Cache-Control"[..], &b""[..])];
        assert!(!RequestControl::parse(Fields(&both)).no_cache);
    }
}
