//! What is said about a bad configuration, and where the good keys were given.
//!
//! Input: the reader and the checks hand over a place and a sentence.   Output: lines for a person.
//! Owns: nothing beyond the values below.                               Thread: any, pure.
//! Invariants: a `Problem` prints as exactly one line; an `Errors` holds at least one problem.
//! Not here: what is wrong with which key (`kinds.rs`, `rules.rs`, `relations.rs`).

use std::collections::BTreeMap;
use std::fmt;

/// One thing wrong with the configuration; prints as `FILE:LINE: SECTION.KEY: what`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as the user named it; empty where no file was read.
    pub file: String,
    /// Line in the file, from 1; `None` where the file gives no place for it.
    pub line: Option<usize>,
    /// The key, as `section.key`; empty where the file as a whole is meant.
    pub key: String,
    /// What was wrong, what is expected, and the remedy; one line.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            out.write_str(&self.file)?;
            if let Some(line) = self.line {
                write!(out, ":{line}")?;
            }
            out.write_str(": ")?;
        }
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        out.write_str(&self.what)
    }
}

/// All that is wrong with one configuration file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    problems: Vec<Problem>,
}

impl Errors {
    pub(super) fn new(mut problems: Vec<Problem>) -> Errors {
        assert!(!problems.is_empty(), "an error without a problem says nothing");
        problems.sort_by_key(|problem| problem.line);
        Errors { problems }
    }

    /// The problems, in the order of their lines.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// How many problems there are; at least 1.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.len()
    }
}

/// One line per problem, without a line end after the last.
impl fmt::Display for Errors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Where each given key stands in the file. It only serves messages, so it takes no part in
/// equality: two configurations with the same values are equal wherever the values stood.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub(super) file: String,
    pub(super) lines: BTreeMap<String, usize>,
}

impl Places {
    /// The line on which `key` was given, such as `tree.root`, `host[0].name` or
    /// `host[0].aliases[1]`; `None` for a key left at its default.
    #[must_use]
    pub fn line(&self, key: &str) -> Option<usize> {
        self.lines.get(key).copied()
    }

    /// A problem of `key`, with the place where it was given.
    #[must_use]
    pub fn problem(&self, key: &str, what: impl Into<String>) -> Problem {
        self.problem_at(key, key, what)
    }

    /// The same for a key of an array of tables: `place` has the index, the key has none.
    pub(super) fn problem_at(&self, place: &str, key: &str, what: impl Into<String>) -> Problem {
        let (file, what) = (self.file.clone(), what.into());
        Problem { file, line: self.line(place), key: key.to_owned(), what }
    }
}

impl PartialEq for Places {
    fn eq(&self, _: &Places) -> bool {
        true
    }
}

impl Eq for Places {}

/// The name among `known` nearest to `name`, if at most `DISTANCE_MAX` edits away.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().filter(|known| known.len().abs_diff(name.len()) <= DISTANCE_MAX);
    near.map(|known| (distance(name, known), known))
        .filter(|(edits, known)| *edits <= DISTANCE_MAX && *edits < known.len())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, known)| known)
}

/// Levenshtein's distance in bytes: insert, delete, replace. A swap of neighbours counts 2.
fn distance(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, byte) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let replace = diagonal + usize::from(byte != *other);
            diagonal = row[column + 1];
            row[column + 1] = replace.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Text in quotes for a message: on one line, control characters escaped, a long one cut.
pub(super) fn quote(text: &str) -> String {
    if text.chars().count() <= QUOTE_CHARS_MAX {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(QUOTE_CHARS_MAX).collect();
    format!("{head:?}...")
}

/// A key for a message: as it is if it could stand bare in the file, else quoted.
pub(super) fn key_name(text: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let short = (1..=QUOTE_CHARS_MAX).contains(&text.len());
    if short && text.bytes().all(bare) { text.to_owned() } else { quote(text) }
}

/// Two edits find a dropped, doubled or swapped letter; three already turn `user` into `index`'s
/// neighbours, and a wrong hint is worse than the list of keys.
const DISTANCE_MAX: usize = 2;

/// A message stays readable in a terminal; the line number shows the rest.
const QUOTE_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        let table = [("", "", 0), ("", "ab", 2), ("workers", "worker", 1), ("usre", "user", 2)];
        for (left, right, edits) in table {
            assert_eq!(distance(left, right), edits, "{left} {right}");
            assert_eq!(distance(right, left), edits, "{right} {left}");
        }
        assert_eq!(nearest("wrokers", ["listen", "workers"]), Some("workers"));
        assert_eq!(nearest("threads", ["listen", "workers"]), None);
    }

    #[test]
    fn quoted_text_is_one_short_line() {
        assert_eq!(quote("a\nb"), "\"a\\nb\"");
        assert!(quote(&"x".repeat(1000)).len() < 80);
        assert_eq!(key_name("idle_timeout"), "idle_timeout");
        assert_eq!(key_name("a b"), "\"a b\"");
    }

    #[test]
    fn places_take_no_part_in_equality() {
        let given = Places { file: "a".into(), lines: BTreeMap::from([("b.c".into(), 3)]) };
        assert_eq!(given, Places::default());
        assert_eq!(given.problem("b.c", "is bad").to_string(), "a:3: b.c: is bad");
        assert_eq!(given.problem("b.d", "is bad").to_string(), "a: b.d: is bad");
        assert_eq!(Places::default().problem("b.d", "is bad").to_string(), "b.d: is bad");
    }
}
