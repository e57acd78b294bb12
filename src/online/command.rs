//! What the service can be asked about its index, and how that is written.
//!
//! Input: the arguments of one request.   Output: a `Question`, or what is wrong with it.
//! Owns: nothing.   Thread: any, pure.
//! Not here: the wire (`online::resp`), commands about the connection (`online::session`), answers
//! (`online::service`).
//! Source: what is usual with Redis: names in any case, options after the arguments, messages.

use std::fmt;

use crate::limits::{ONLINE_ROWS_MAX, ONLINE_URLS_LISTED_MAX};
use crate::online::resp::Arguments;
use crate::time::UnixMillis;

/// A point in time as a client gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Wall-clock time.
    At(UnixMillis),
    /// Milliseconds before now.
    Ago(u64),
}

/// A command about the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant's text says what its fields are")]
pub enum Question<'a> {
    /// `ONLINE.COUNT [window]`: users, or those seen within so many milliseconds.
    Count { window_ms: Option<u64> },
    /// `ONLINE.URL url [LIMIT n] [SINCE s] [WITHTIMES] [WITHCOUNT]`: who is on it, newest first.
    Url { url: &'a [u8], limit: usize, since: Option<When>, times: bool, count: bool },
    /// `ONLINE.NEWEST [LIMIT n] [SINCE s] [WITHTIMES]`: who was seen last, on any url.
    Newest { limit: usize, since: Option<When>, times: bool },
    /// `ONLINE.USER name`: the url, and when.
    User { name: &'a [u8] },
    /// `ONLINE.RANK name`: how many were seen later.
    Rank { name: &'a [u8] },
    /// `ONLINE.TOP [n]`: the busiest urls.
    Top { limit: usize },
    /// `ONLINE.PREFIX p [LIMIT n]`: urls that begin so, by name.
    Prefix { prefix: &'a [u8], limit: usize },
    /// `ONLINE.STATS`: what there is and what happened.
    Stats,
    /// `ONLINE.HIT user url [time]`: the user is there now, or was at that time.
    Hit { user: &'a [u8], url: &'a [u8], at: Option<When> },
    /// `ONLINE.DEL user`: the user has left.
    Del { user: &'a [u8] },
}

impl Question<'_> {
    /// Whether it changes the index, which some listeners do not allow.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        matches!(self, Self::Hit { .. } | Self::Del { .. })
    }
}

/// A command of the service, as `COMMAND` tells clients.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// In capitals.
    pub name: &'static str,
    /// Arguments, the name included; where it is negative, at least so many.
    pub arity: i64,
    /// Whether it changes the index.
    pub is_change: bool,
}

impl Description {
    /// Whether it may have so many arguments, the name included.
    ///
    /// # Errors
    /// `Arity` where it may not.
    pub fn check(&self, count: usize) -> Result<(), CommandError> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let is_fitting = match self.arity {
            least @ ..0 => count >= -least,
            exact => count == exact,
        };
        if is_fitting { Ok(()) } else { Err(CommandError::Arity(self.name)) }
    }
}

const fn describe(name: &'static str, arity: i64, is_change: bool) -> Description {
    Description { name, arity, is_change }
}

/// All commands.
pub const COMMANDS: [Description; 22] = [
    describe("ONLINE.COUNT", -1, false),
    describe("ONLINE.URL", -2, false),
    describe("ONLINE.NEWEST", -1, false),
    describe("ONLINE.USER", 2, false),
    describe("ONLINE.RANK", 2, false),
    describe("ONLINE.TOP", -1, false),
    describe("ONLINE.PREFIX", -2, false),
    describe("ONLINE.STATS", 1, false),
    describe("ONLINE.WATCH", 1, false),
    describe("ONLINE.HIT", -3, true),
    describe("ONLINE.DEL", 2, true),
    describe("HELLO", -1, false),
    describe("AUTH", -2, false),
    describe("CLIENT", -2, false),
    describe("COMMAND", -1, false),
    describe("CONFIG", -2, false),
    describe("INFO", -1, false),
    describe("PING", -1, false),
    describe("ECHO", 2, false),
    describe("SELECT", 2, false),
    describe("RESET", 1, false),
    describe("QUIT", -1, false),
];

/// Longest name of a command.
const NAME_BYTES_MAX: usize = 13;

/// A command's name in capitals; empty where it is longer than any command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; NAME_BYTES_MAX],
    len: usize,
}

impl Name {
    /// The name as it is compared.
    #[must_use]
    pub fn new(written: &[u8]) -> Self {
        let mut name = Self { bytes: [0; NAME_BYTES_MAX], len: 0 };
        if let Some(bytes) = name.bytes.get_mut(..written.len()) {
            bytes.copy_from_slice(written);
            bytes.make_ascii_uppercase();
            name.len = written.len();
        }
        name
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// What is known of it.
    #[must_use]
    pub fn description(&self) -> Option<&'static Description> {
        COMMANDS.iter().find(|command| command.name.as_bytes() == self.bytes())
    }
}

/// What is wrong with a command. The messages are those of Redis where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// Too few arguments, or too many; of that command.
    Arity(&'static str),
    /// An option that the command does not have, or one without its value.
    Syntax,
    /// Something is to be a number of seconds, with up to three decimals, and is not.
    Seconds,
    /// A number of rows is to be from 0 to this, and is not.
    Limit(usize),
}

impl fmt::Display for CommandError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arity(name) => {
                let name = name.to_ascii_lowercase();
                write!(out, "wrong number of arguments for '{name}' command")
            }
            Self::Syntax => out.write_str("syntax error"),
            Self::Seconds => {
                out.write_str("value is not a number of seconds; write 1800, 1800.5 or a Unix time")
            }
            Self::Limit(max) => write!(out, "value is not a number of rows from 0 to {max}"),
        }
    }
}

/// Rows that are listed where no LIMIT is given.
const LIMIT: usize = 30;

/// Urls that `ONLINE.TOP` lists by itself.
const TOP: usize = 10;

/// Parses a request by its `name`; `None` where that is no command about the index.
pub fn parse<'a>(
    name: &Name,
    arguments: &'a Arguments,
    input: &'a [u8],
) -> Option<Result<Question<'a>, CommandError>> {
    if !name.bytes().starts_with(b"ONLINE.") || name.bytes() == b"ONLINE.WATCH" {
        return None;
    }
    let description = name.description()?;
    Some(parse_known(description, arguments, input))
}

fn parse_known<'a>(
    description: &Description,
    arguments: &'a Arguments,
    input: &'a [u8],
) -> Result<Question<'a>, CommandError> {
    let mut words = Words { arguments, input, at: 1 };
    description.check(arguments.len())?;
    let question = match description.name {
        "ONLINE.HIT" => {
            let (user, url) = (words.word()?, words.word()?);
            Question::Hit { user, url, at: words.next().map(when).transpose()? }
        }
        "ONLINE.URL" => {
            let url = words.word()?;
            let Options { limit, since, times, count } = words.options(true, ONLINE_ROWS_MAX)?;
            Question::Url { url, limit: limit.unwrap_or(LIMIT), since, times, count }
        }
        "ONLINE.COUNT" => Question::Count { window_ms: words.next().map(span).transpose()? },
        "ONLINE.NEWEST" => {
            let Options { limit, since, times, count } = words.options(true, ONLINE_ROWS_MAX)?;
            if count {
                return Err(CommandError::Syntax);
            }
            Question::Newest { limit: limit.unwrap_or(LIMIT), since, times }
        }
        "ONLINE.USER" => Question::User { name: words.word()? },
        "ONLINE.RANK" => Question::Rank { name: words.word()? },
        "ONLINE.DEL" => Question::Del { user: words.word()? },
        "ONLINE.TOP" => {
            let limit = words.next().map(|word| rows(word, ONLINE_URLS_LISTED_MAX)).transpose()?;
            Question::Top { limit: limit.unwrap_or(TOP) }
        }
        "ONLINE.PREFIX" => {
            let prefix = words.word()?;
            let limit = words.options(false, ONLINE_URLS_LISTED_MAX)?.limit;
            Question::Prefix { prefix, limit: limit.unwrap_or(LIMIT) }
        }
        "ONLINE.STATS" => Question::Stats,
        _ => return Err(CommandError::Syntax),
    };
    match words.next() {
        None => Ok(question),
        Some(_) => Err(CommandError::Arity(description.name)),
    }
}

#[derive(Default)]
struct Options {
    limit: Option<usize>,
    since: Option<When>,
    times: bool,
    count: bool,
}

struct Words<'a> {
    arguments: &'a Arguments,
    input: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let word = self.arguments.argument(self.at, self.input)?;
        self.at += 1;
        Some(word)
    }

    /// One that the arity says is there.
    fn word(&mut self) -> Result<&'a [u8], CommandError> {
        self.next().ok_or(CommandError::Syntax)
    }

    /// LIMIT, and where users are listed the others as well.
    fn options(&mut self, users: bool, limit_max: usize) -> Result<Options, CommandError> {
        let mut options = Options::default();
        while let Some(word) = self.next() {
            match Name::new(word).bytes() {
                b"LIMIT" => options.limit = Some(rows(self.word()?, limit_max)?),
                b"SINCE" if users => options.since = Some(when(self.word()?)?),
                b"WITHTIMES" if users => options.times = true,
                b"WITHCOUNT" if users => options.count = true,
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }
}

fn rows(word: &[u8], max: usize) -> Result<usize, CommandError> {
    let text = std::str::from_utf8(word).ok().filter(|text| !text.starts_with('+'));
    let number = text.and_then(|text| text.parse().ok()).filter(|rows| *rows <= max);
    number.ok_or(CommandError::Limit(max))
}

/// A Unix time in seconds; a negative one is so long ago.
fn when(word: &[u8]) -> Result<When, CommandError> {
    match word.strip_prefix(b"-") {
        Some(ago) => span(ago).map(When::Ago),
        None => span(word).map(|millis| When::At(UnixMillis(millis))),
    }
}

/// Seconds with decimals, of which three count, as milliseconds. At most 15 digits before the
/// point, so that nothing overflows: 30 million years.
fn span(word: &[u8]) -> Result<u64, CommandError> {
    let mut parts = word.splitn(2, |byte| *byte == b'.');
    let (whole, rest) = (parts.next().unwrap_or_default(), parts.next());
    let are_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    if whole.len() > 15 || !are_digits(whole) || !rest.is_none_or(are_digits) {
        return Err(CommandError::Seconds);
    }
    let digits = whole.iter().chain(rest.unwrap_or_default().iter().take(3));
    let missing = 3 - rest.map_or(0, |rest| rest.len().min(3));
    let millis = digits.chain(std::iter::repeat_n(&b'0', missing));
    Ok(millis.fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::online::resp;

    fn arguments(line: &str) -> Arguments {
        let mut arguments = Arguments::default();
        let whole = resp::parse(format!("{line}\r\n").as_bytes(), &mut arguments);
        assert!(matches!(whole, Ok(Some(_))), "{line}");
        arguments
    }

    fn with<R>(line: &str, see: impl FnOnce(Option<Result<Question<'_>, CommandError>>) -> R) -> R {
        let arguments = arguments(line);
        let name = Name::new(arguments.argument(0, &[]).unwrap_or_default());
        see(parse(&name, &arguments, &[]))
    }

    #[test]
    fn table_of_questions() {
        let url =
            |limit, since, times, count| Question::Url { url: b"a/b", limit, since, times, count };
        let at = |millis| Some(When::At(UnixMillis(millis)));
        let table = [
            ("online.count", Question::Count { window_ms: None }),
            ("ONLINE.COUNT 1800", Question::Count { window_ms: Some(1_800_000) }),
            ("ONLINE.COUNT 0.25", Question::Count { window_ms: Some(250) }),
            ("ONLINE.URL a/b", url(30, None, false, false)),
            ("ONLINE.URL a/b limit 5 SINCE 10.5", url(5, at(10_500), false, false)),
            ("ONLINE.URL a/b WITHCOUNT WITHTIMES", url(30, None, true, true)),
            ("ONLINE.URL a/b SINCE -60", url(30, Some(When::Ago(60_000)), false, false)),
            ("ONLINE.NEWEST LIMIT 0", Question::Newest { limit: 0, since: None, times: false }),
            ("ONLINE.USER x", Question::User { name: b"x" }),
            ("Online.Rank x", Question::Rank { name: b"x" }),
            ("ONLINE.TOP", Question::Top { limit: 10 }),
            ("ONLINE.TOP 3", Question::Top { limit: 3 }),
            ("ONLINE.PREFIX a LIMIT 4", Question::Prefix { prefix: b"a", limit: 4 }),
            ("ONLINE.PREFIX ''", Question::Prefix { prefix: b"", limit: 30 }),
            ("ONLINE.STATS", Question::Stats),
            ("ONLINE.HIT u v", Question::Hit { user: b"u", url: b"v", at: None }),
            ("ONLINE.HIT u v 1.2345", Question::Hit { user: b"u", url: b"v", at: at(1234) }),
            ("ONLINE.DEL u", Question::Del { user: b"u" }),
        ];
        for (line, expected) in table {
            with(line, |found| assert_eq!(found, Some(Ok(expected)), "{line}"));
        }
    }

    #[test]
    fn table_of_what_is_wrong() {
        let table = [
            ("ONLINE.COUNT 1 2", CommandError::Arity("ONLINE.COUNT")),
            ("ONLINE.URL", CommandError::Arity("ONLINE.URL")),
            ("ONLINE.HIT u", CommandError::Arity("ONLINE.HIT")),
            ("ONLINE.HIT u v 1 2", CommandError::Arity("ONLINE.HIT")),
            ("ONLINE.STATS x", CommandError::Arity("ONLINE.STATS")),
            ("ONLINE.URL a LIMIT", CommandError::Syntax),
            ("ONLINE.URL a FIRST 3", CommandError::Syntax),
            ("ONLINE.NEWEST WITHCOUNT", CommandError::Syntax),
            ("ONLINE.PREFIX a SINCE 3", CommandError::Syntax),
            ("ONLINE.URL a LIMIT -1", CommandError::Limit(10_000)),
            ("ONLINE.URL a LIMIT 10001", CommandError::Limit(10_000)),
            ("ONLINE.URL a LIMIT +1", CommandError::Limit(10_000)),
            ("ONLINE.TOP 1001", CommandError::Limit(1000)),
            ("ONLINE.COUNT -1", CommandError::Seconds),
            ("ONLINE.COUNT 1.", CommandError::Seconds),
            ("ONLINE.COUNT .5", CommandError::Seconds),
            ("ONLINE.COUNT 1e3", CommandError::Seconds),
            ("ONLINE.COUNT ''", CommandError::Seconds),
            ("ONLINE.HIT u v now", CommandError::Seconds),
            ("ONLINE.HIT u v --1", CommandError::Seconds),
            ("ONLINE.HIT u v 9999999999999999", CommandError::Seconds),
        ];
        for (line, expected) in table {
            with(line, |found| assert_eq!(found, Some(Err(expected)), "{line}"));
        }
    }

    #[test]
    fn what_is_not_about_the_index_is_left_to_others() {
        for line in ["PING", "ONLINE.WATCH", "ONLINE.NOTHING", "ONLINE.", "x"] {
            with(line, |found| assert_eq!(found, None, "{line}"));
        }
        let long = "A".repeat(NAME_BYTES_MAX + 1);
        assert_eq!((Name::new(long.as_bytes()).bytes(), COMMANDS.len()), (&b""[..], 22));
        let longest = COMMANDS.iter().map(|command| command.name.len()).max();
        assert_eq!(longest, Some(NAME_BYTES_MAX));
    }

    #[test]
    fn messages_are_those_of_redis() {
        let arity = CommandError::Arity("ONLINE.HIT").to_string();
        assert_eq!(arity, "wrong number of arguments for 'online.hit' command");
    }
}
