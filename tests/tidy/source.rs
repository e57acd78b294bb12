//! One Rust file as the rules see it: its tokens, its paths, its test code, its modules.
//!
//! Input: path inside the repository and text.   Output: tokens, flattened `a::{b, c}` paths,
//! which tokens stand under `#[cfg(test)]`, and the `mod` lines.
//! Not here: what is allowed where; each rule says that for itself.

use crate::lexer::{Comment, Kind, Token, lex};

/// Keywords that may stand before a path with a leading `::`.
const BEFORE_PATHS: [&str; 10] =
    ["use", "dyn", "as", "impl", "in", "mut", "return", "match", "if", "else"];

/// A Rust file, taken apart once for all rules.
pub struct Source {
    /// Path from the repository's top, with slashes.
    pub path: String,
    /// The file as it is.
    pub text: String,
    /// What the compiler reads.
    pub tokens: Vec<Token>,
    /// What it does not.
    pub comments: Vec<Comment>,
    /// For each token: whether it stands in test code.
    pub in_test: Vec<bool>,
}

/// One path as written, groups spread out: `use a::{b, c::d}` is `a::b` and `a::c::d`.
#[derive(Debug)]
pub struct PathUse {
    /// The names, a glob as `*`.
    pub segments: Vec<String>,
    /// Index of the token with which the path begins.
    pub start: usize,
    /// Line of its last name.
    pub line: usize,
}

/// One `mod name;` or `mod name {`.
#[derive(Debug)]
pub struct ModLine {
    /// Its name.
    pub name: String,
    /// The inline modules around it, outermost first.
    pub within: Vec<String>,
    /// The file a `#[path]` names, if one does.
    pub path: Option<String>,
    /// Whether its body stands in the same file.
    pub inline: bool,
    /// Whether it is test code.
    pub in_test: bool,
    /// Its line.
    pub line: usize,
}

impl Source {
    /// Takes `text` apart.
    pub fn new(path: &str, text: &str) -> Source {
        let lexed = lex(text);
        let in_test = test_tokens(&lexed.tokens);
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens: lexed.tokens,
            comments: lexed.comments,
            in_test,
        }
    }

    /// True where the tokens from `at` on read like `words`.
    pub fn reads(&self, at: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, word)| self.is(at + i, word))
    }

    /// True where token `at` is the name or punctuation `text`.
    pub fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is(text))
    }

    fn is_ident(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Ident)
    }

    /// Every path of two names or more, in order.
    pub fn paths(&self) -> Vec<PathUse> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            // Behind `Vec::<u8>::` a path goes on; behind a leading `::` one begins.
            let goes_on = at > 1 && self.is(at - 1, "::") && self.is(at - 2, ">");
            let begins = self.is_ident(at) && !BEFORE_PATHS.iter().any(|word| self.is(at, word));
            if begins && self.is(at + 1, "::") && !goes_on {
                at = self.spread(at, at, &[], &mut out);
            } else {
                at += 1;
            }
        }
        out
    }

    /// Reads one path or use tree at `at` below `prefix`; returns the token after it.
    fn spread(
        &self,
        start: usize,
        mut at: usize,
        prefix: &[String],
        out: &mut Vec<PathUse>,
    ) -> usize {
        let mut segments = prefix.to_vec();
        while self.is_ident(at) || self.is(at, "*") {
            segments.push(self.tokens[at].text.clone());
            let line = self.tokens[at].line;
            let more = self.is_ident(at + 2) || self.is(at + 2, "*") || self.is(at + 2, "{");
            if !self.is(at + 1, "::") || !more {
                out.push(PathUse { segments, start, line });
                return at + 1;
            }
            at += 2;
        }
        if !self.is(at, "{") {
            return at + 1;
        }
        at += 1;
        while at < self.tokens.len() && !self.is(at, "}") {
            if self.is_ident(at) || self.is(at, "*") || self.is(at, "{") {
                at = self.spread(start, at, &segments, out);
                at += if self.is(at, "as") { 2 } else { 0 };
            } else {
                at += 1;
            }
        }
        at + 1
    }

    /// Every `mod` line.
    pub fn mod_lines(&self) -> Vec<ModLine> {
        let mut out = Vec::new();
        // Names of the inline modules that are open, with the brace depth of their bodies.
        let mut open: Vec<(String, usize)> = Vec::new();
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate() {
            if token.is("{") {
                depth += 1;
            } else if token.is("}") {
                depth = depth.saturating_sub(1);
                open.retain(|(_, body)| *body <= depth);
            } else if token.is("mod")
                && self.is_ident(at + 1)
                && (self.is(at + 2, ";") || self.is(at + 2, "{"))
            {
                let name = self.tokens[at + 1].text.clone();
                let inline = self.is(at + 2, "{");
                out.push(ModLine {
                    name: name.clone(),
                    within: open.iter().map(|(name, _)| name.clone()).collect(),
                    path: self.path_attribute(at),
                    inline,
                    in_test: self.in_test[at],
                    line: token.line,
                });
                if inline {
                    open.push((name, depth + 1));
                }
            }
        }
        out
    }

    /// The `#[path = ".."]` that stands before the item of token `at`, behind its visibility.
    fn path_attribute(&self, at: usize) -> Option<String> {
        let from = at.saturating_sub(24);
        let ends = |i: &usize| self.is(*i, ";") || self.is(*i, "}") || self.is(*i, "{");
        let first = (from..at).rev().find(ends).map_or(from, |i| i + 1);
        (first..at)
            .find(|&i| self.reads(i, &["#", "[", "path", "="]))
            .and_then(|i| self.tokens.get(i + 4))
            .map(|token| token.text.clone())
    }

    /// How many inline modules are open at each token.
    pub fn inline_depths(&self) -> Vec<usize> {
        let mut open: Vec<usize> = Vec::new();
        let mut depth = 0_usize;
        let mut out = Vec::with_capacity(self.tokens.len());
        for (at, token) in self.tokens.iter().enumerate() {
            if token.is("{") {
                depth += 1;
                if at >= 2 && self.is(at - 2, "mod") && self.is_ident(at - 1) {
                    open.push(depth);
                }
            } else if token.is("}") {
                depth = depth.saturating_sub(1);
                open.retain(|body| *body <= depth);
            }
            out.push(open.len());
        }
        out
    }
}

/// Marks the items under `#[cfg(test)]`, or all of them after `#![cfg(test)]`.
fn test_tokens(tokens: &[Token]) -> Vec<bool> {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.is(text));
    let mut marks = vec![false; tokens.len()];
    let mut at = 0;
    while at < tokens.len() {
        let inner = usize::from(is(at + 1, "!"));
        if !(is(at, "#") && is(at + 1 + inner, "[")) {
            at += 1;
            continue;
        }
        let end = closing(tokens, at + 1 + inner);
        let attribute = &tokens[at..end];
        let names = |word: &str| attribute.iter().any(|token| token.is(word));
        if is(at + 2 + inner, "cfg") && names("test") && !names("not") {
            let last = if inner == 1 { tokens.len() } else { item_end(tokens, end) };
            marks[at..last].fill(true);
            at = last;
        } else {
            at = end;
        }
    }
    marks
}

/// Index after the bracket that closes the one at `at`.
fn closing(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(at) {
        if token.is("(") || token.is("[") || token.is("{") {
            depth += 1;
        } else if token.is(")") || token.is("]") || token.is("}") {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return i + 1;
            }
        }
    }
    tokens.len()
}

/// Index after the item that begins at `at`: behind its body, its `;`, or its field's comma.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    // A `use a::{b};` has a brace that is no body.
    let mut is_use = false;
    while at < tokens.len() {
        let token = &tokens[at];
        is_use |= token.is("use");
        if token.is(";") || token.is(",") {
            return at + 1;
        } else if token.is("}") || token.is(")") {
            return at;
        } else if token.is("{") && !is_use {
            return closing(tokens, at);
        } else if token.is("(") || token.is("[") || token.is("{") {
            at = closing(tokens, at);
        } else {
            at += 1;
        }
    }
    at
}

fn spread_paths(text: &str) -> String {
    let paths = Source::new("src/x.rs", text).paths();
    let joined: Vec<String> = paths.iter().map(|path| path.segments.join("::")).collect();
    joined.join(" ")
}

#[test]
fn paths_are_spread_out() {
    for (text, expected) in [
        (
            "use crate::{a, b::c, d::{self, e as f, g::*}};",
            "crate::a crate::b::c crate::d::self \
            crate::d::e crate::d::g::*",
        ),
        ("use super::{super::x, y};", "super::super::x super::y"),
        ("let v = Vec::<u8>::new(); a::b(c::d)", "Vec a::b c::d"),
        ("use ::std::fs;", "std::fs"),
        ("x = crate::a::B { y: crate::c::D };", "crate::a::B crate::c::D"),
        ("pub(in crate::a) fn f() {} pub(super) fn g() {}", "crate::a"),
        ("<T as a::B>::c()", "a::B"),
        ("// a::b\n\"c::d\"", ""),
    ] {
        assert_eq!(spread_paths(text), expected, "{text}");
    }
}

#[test]
fn test_code_is_marked() {
    for (text, expected) in [
        ("a; #[cfg(test)] mod t { x } b", "a b"),
        ("#[cfg(test)] #[allow(y)] use x::{z}; b", "b"),
        ("#[cfg(all(test, unix))] fn f(x: [u8; 3]) -> (y, z) { w } b", "b"),
        ("#[cfg(not(test))] fn f() {}", "cfg not test fn f"),
        ("#![cfg(test)] a b", ""),
        ("struct S { #[cfg(test)] x: u8, y: u8 }", "struct S y u8"),
    ] {
        let source = Source::new("src/x.rs", text);
        let kept = source.tokens.iter().zip(&source.in_test);
        let kept = kept.filter(|(token, test)| token.kind == Kind::Ident && !**test);
        let names: Vec<&str> = kept.map(|(token, _)| token.text.as_str()).collect();
        assert_eq!(names.join(" "), expected, "{text}");
    }
}

#[test]
fn mod_lines_know_their_surroundings() {
    let text = "mod a; pub mod b { mod c; } #[path = \"x.rs\"] pub(crate) mod d; \
                #[cfg(test)] mod e; fn modest() { let m = 1; }";
    let lines = Source::new("src/lib.rs", text).mod_lines();
    let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert_eq!(lines[2].within, ["b"]);
    assert!(lines[1].inline && !lines[2].inline);
    assert_eq!(lines[3].path.as_deref(), Some("x.rs"));
    assert_eq!(lines.iter().filter(|line| line.in_test).count(), 1);
}
