//! One line of the control socket: a command, or a line of an answer.
//!
//! Thread: any, pure.
//! Not here: the grammar in words, a connection's state (`admin::control`).

use std::fmt;

use crate::limits::CONTROL_LINE_BYTES_MAX;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Whether anybody is there.
    Ping,
    /// What can be asked.
    Help,
    /// How the daemon is.
    Status,
    /// What would be done for a request of this URL now.
    Why(String),
    /// That something is served no more.
    Purge {
        /// Whether it is only marked stale.
        soft: bool,
        /// What.
        target: Target,
    },
}

/// What a purge is for, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// These URLs, one or more.
    Urls(Vec<String>),
    /// Every URL that begins so.
    Prefix(String),
    /// Every URL of a host whose path matches.
    Glob(String),
    /// Everything of a host.
    Host(String),
    /// Everything with a tag of its origin.
    Tag(String),
    /// Everything.
    All,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rights {
    /// Ask.
    Anyone,
    /// Ask, and purge.
    Operator,
}

/// What is wrong with a line, in words for who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// It has more than `CONTROL_LINE_BYTES_MAX` bytes.
    TooLong,
    /// It holds something else than visible ASCII and blanks.
    NotText,
    /// Nobody knows its first word.
    Unknown(String),
    /// It has a word too few or too many; this is how it is written.
    Usage(&'static str),
}

impl fmt::Display for WireError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(out, "a line has at most {CONTROL_LINE_BYTES_MAX} bytes; send several")
            }
            Self::NotText => out.write_str(
                "a line holds visible ASCII and blanks only; percent-encode the rest of a URL",
            ),
            Self::Unknown(word) => write!(out, "unknown command {word}; send help for a list"),
            Self::Usage(usage) => write!(out, "usage: {usage}"),
        }
    }
}

impl std::error::Error for WireError {}

const PURGE_USAGE: &str =
    "purge [soft] url URL.. | prefix URL | glob URL | host NAME | tag NAME | all";

/// What `help` is answered with.
pub const HELP: [&str; 6] = [
    "ping            answers at once",
    "status          how the daemon is, a name and a value per line",
    "why URL         what would be done for a request of URL now",
    "purge [soft] url URL.. | prefix URL | glob URL | host NAME | tag NAME | all",
    "                serves it no more, or with soft only after asking the origin",
    "help            this",
];

impl Command {
    /// Reads a line without its end; `None` for an empty one, which means nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Option<Self>, WireError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > CONTROL_LINE_BYTES_MAX {
            return Err(WireError::TooLong);
        }
        let is_text = line.iter().all(|byte| byte.is_ascii_graphic() || is_blank(*byte));
        let text = std::str::from_utf8(line).ok().filter(|_| is_text).ok_or(WireError::NotText)?;
        let mut words = text.split_ascii_whitespace();
        let Some(first) = words.next() else { return Ok(None) };
        let (command, usage) = match first {
            "ping" => (Some(Self::Ping), "ping"),
            "help" => (Some(Self::Help), "help"),
            "status" => (Some(Self::Status), "status"),
            "why" => (words.next().map(|url| Self::Why(url.to_owned())), "why URL"),
            "purge" => (parse_purge(&mut words), PURGE_USAGE),
            // Shown cut: the answer must stay a short line.
            word => return Err(WireError::Unknown(word.chars().take(32).collect())),
        };
        match (command, words.next()) {
            (Some(command), None) => Ok(Some(command)),
            _ => Err(WireError::Usage(usage)),
        }
    }

    /// The line, without its end. Words that hold blanks or control characters give a line that
    /// `parse` refuses or reads otherwise: who has them from outside checks the line first.
    #[must_use]
    pub fn emit(&self) -> String {
        match self {
            Self::Ping => "ping".to_owned(),
            Self::Help => "help".to_owned(),
            Self::Status => "status".to_owned(),
            Self::Why(url) => format!("why {url}"),
            Self::Purge { soft, target } => {
                let soft = if *soft { " soft" } else { "" };
                match target {
                    Target::Urls(urls) => format!("purge{soft} url {}", urls.join(" ")),
                    Target::Prefix(url) => format!("purge{soft} prefix {url}"),
                    Target::Glob(url) => format!("purge{soft} glob {url}"),
                    Target::Host(name) => format!("purge{soft} host {name}"),
                    Target::Tag(name) => format!("purge{soft} tag {name}"),
                    Target::All => format!("purge{soft} all"),
                }
            }
        }
    }

    /// What one must be allowed for it. Asking why shows no more than asking for the URL does.
    #[must_use]
    pub const fn rights(&self) -> Rights {
        match self {
            Self::Ping | Self::Help | Self::Status | Self::Why(_) => Rights::Anyone,
            Self::Purge { .. } => Rights::Operator,
        }
    }
}

fn parse_purge<'t>(words: &mut impl Iterator<Item = &'t str>) -> Option<Command> {
    let mut word = words.next()?;
    let soft = word == "soft";
    if soft {
        word = words.next()?;
    }
    let target = match word {
        "url" => Target::Urls(words.map(str::to_owned).collect()),
        "prefix" => Target::Prefix(words.next()?.to_owned()),
        "glob" => Target::Glob(words.next()?.to_owned()),
        "host" => Target::Host(words.next()?.to_owned()),
        "tag" => Target::Tag(words.next()?.to_owned()),
        "all" => Target::All,
        _ => return None,
    };
    let is_empty = matches!(&target, Target::Urls(urls) if urls.is_empty());
    (!is_empty).then_some(Command::Purge { soft, target })
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// An answer: lines of text, then the outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    lines: Vec<String>,
    error: Option<String>,
    words: String,
}

impl Answer {
    /// It was done; `words` say more, or are empty.
    #[must_use]
    pub fn ok(words: impl Into<String>) -> Self {
        Self { lines: Vec::new(), error: None, words: words.into() }
    }

    /// It was not done, for this reason.
    #[must_use]
    pub fn error(reason: impl fmt::Display) -> Self {
        Self { lines: Vec::new(), error: Some(reason.to_string()), words: String::new() }
    }

    /// With these lines before the outcome.
    #[must_use]
    pub fn with_lines(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.lines.extend(lines);
        self
    }

    /// Appends it as it is sent.
    pub fn emit(&self, out: &mut Vec<u8>) {
        for line in &self.lines {
            // No line of text may be taken for the outcome.
            if outcome_words(line).is_some() {
                out.push(b' ');
            }
            emit_text(line, out);
        }
        match &self.error {
            None if self.words.is_empty() => out.extend_from_slice(b"ok\n"),
            None => emit_text(&format!("ok {}", self.words), out),
            Some(reason) => emit_text(&format!("error {reason}"), out),
        }
    }
}

/// A line that has no end in it, whatever was in `text`: names of files can hold anything.
fn emit_text(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b' '..=b'~' => out.push(byte),
            byte => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'\n');
}

/// One line of an answer, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'t> {
    /// More follow.
    Text(&'t str),
    /// The last: it was done.
    Ok(&'t str),
    /// The last: it was not.
    Error(&'t str),
}

/// Reads a line of an answer, without its end. Escapes are left as they are: it is for a screen.
#[must_use]
pub fn parse_answer_line(line: &str) -> Line<'_> {
    match outcome_words(line) {
        Some((true, words)) => Line::Ok(words),
        Some((false, words)) => Line::Error(words),
        None => Line::Text(line),
    }
}

fn outcome_words(line: &str) -> Option<(bool, &str)> {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    match first {
        "ok" => Some((true, rest)),
        "error" => Some((false, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Result<Option<Command>, WireError> {
        Command::parse(line.as_bytes())
    }

    #[test]
    fn table_of_lines() {
        let purge = |soft, target| Ok(Some(Command::Purge { soft, target }));
        let urls = |urls: &[&str]| Target::Urls(urls.iter().map(|url| (*url).into()).collect());
        let table = [
            ("ping", Ok(Some(Command::Ping))),
            ("  ping \t\r", Ok(Some(Command::Ping))),
            ("", Ok(None)),
            (" \t", Ok(None)),
            ("why http://h/a", Ok(Some(Command::Why("http://h/a".into())))),
            ("purge url http://h/a", purge(false, urls(&["http://h/a"]))),
            (
                "purge soft url http://h/a http://h/b",
                purge(true, urls(&["http://h/a", "http://h/b"])),
            ),
            ("purge prefix http://h/", purge(false, Target::Prefix("http://h/".into()))),
            ("purge glob http://h/*", purge(false, Target::Glob("http://h/*".into()))),
            ("purge host h", purge(false, Target::Host("h".into()))),
            ("purge soft tag soft", purge(true, Target::Tag("soft".into()))),
            ("purge all", purge(false, Target::All)),
            ("ping x", Err(WireError::Usage("ping"))),
            ("why", Err(WireError::Usage("why URL"))),
            ("why a b", Err(WireError::Usage("why URL"))),
            ("purge", Err(WireError::Usage(PURGE_USAGE))),
            ("purge soft", Err(WireError::Usage(PURGE_USAGE))),
            ("purge soft soft all", Err(WireError::Usage(PURGE_USAGE))),
            ("purge url", Err(WireError::Usage(PURGE_USAGE))),
            ("purge all x", Err(WireError::Usage(PURGE_USAGE))),
            ("purge http://h/a", Err(WireError::Usage(PURGE_USAGE))),
            ("PING", Err(WireError::Unknown("PING".into()))),
            ("ping\0", Err(WireError::NotText)),
            ("why http://h/\u{e4}", Err(WireError::NotText)),
            ("ping\x0cx", Err(WireError::NotText)),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line), expected, "{line:?}");
        }
        let long = "x".repeat(CONTROL_LINE_BYTES_MAX + 1);
        assert_eq!(parse(&long), Err(WireError::TooLong));
        let shown = parse(&long[1..]).unwrap_err().to_string();
        assert!(shown.len() < 100, "{shown}");
    }

    #[test]
    fn only_operators_purge() {
        for line in ["ping", "help", "status", "why x"] {
            assert_eq!(parse(line).unwrap().unwrap().rights(), Rights::Anyone);
        }
        assert_eq!(parse("purge soft all").unwrap().unwrap().rights(), Rights::Operator);
    }

    fn emitted(answer: &Answer) -> String {
        let mut out = Vec::new();
        answer.emit(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn answers_end_with_their_outcome_and_nothing_else_looks_like_it() {
        assert_eq!(emitted(&Answer::ok("")), "ok\n");
        let lines = ["a 1", "ok", "error x", "okay", "b\nc\\", "\u{e4}"].map(str::to_owned);
        let text = emitted(&Answer::ok("3 things").with_lines(lines.clone()));
        let expected = "a 1\n ok\n error x\nokay\nb\\x0ac\\\\\n\\xc3\\xa4\nok 3 things\n";
        assert_eq!(text, expected);
        assert_eq!(emitted(&Answer::error("no\nway")), "error no\\x0away\n");
        let last = parse_answer_line(text.lines().last().unwrap());
        assert_eq!(last, Line::Ok("3 things"));
        assert_eq!(parse_answer_line("error a b"), Line::Error("a b"));
        assert_eq!(parse_answer_line(" ok"), Line::Text(" ok"));
    }

    fn commands() -> impl Strategy<Value = Command> {
        let word = "[!-~]{1,20}";
        let target = prop_oneof![
            prop::collection::vec(word, 1..4).prop_map(Target::Urls),
            word.prop_map(Target::Prefix),
            word.prop_map(Target::Glob),
            word.prop_map(Target::Host),
            word.prop_map(Target::Tag),
            Just(Target::All),
        ];
        prop_oneof![
            Just(Command::Ping),
            Just(Command::Help),
            Just(Command::Status),
            word.prop_map(Command::Why),
            (any::<bool>(), target).prop_map(|(soft, target)| Command::Purge { soft, target }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(command in commands()) {
            prop_assert_eq!(parse(&command.emit()), Ok(Some(command)));
        }

        #[test]
        fn garbage_never_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Command::parse(&line));
            drop(Command::parse(&[b"purge ", &line[..]].concat()));
        }

        #[test]
        fn an_answer_has_one_outcome_whatever_its_lines(
            lines in prop::collection::vec("(ok|error|a| |\n|\u{e4}){0,4}", 0..5),
            reason in "(ok|a| |\n){0,4}",
        ) {
            let count = lines.len();
            let text = emitted(&Answer::error(reason).with_lines(lines));
            let is_text = |line: &&str| matches!(parse_answer_line(line), Line::Text(_));
            prop_assert_eq!(text.lines().take_while(is_text).count(), count);
            prop_assert_eq!(text.lines().count(), count + 1);
        }
    }
}
