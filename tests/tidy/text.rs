//! What a file must look like before anyone reads it: columns, blanks, length, opening doc.
//!
//! Input: the text of each file.   Output: findings.
//! Not here: layout of code; rustfmt holds it.

use crate::{
    Layer, ROOMS,
    source::Source,
    tree::{Finding, Tree, extension},
};

/// Columns of a line, in chars. Prose in markdown is wrapped by whoever shows it, and the inline
/// tables of .clippy.toml cannot be broken.
const COLUMNS_MAX: usize = 100;
/// Lines of a source file; past this nobody holds it in the head.
const LINES_MAX: usize = 1_000;

/// Checks every text of the tree.
pub fn check(tree: &Tree, out: &mut Vec<Finding>) {
    for (path, text) in &tree.texts {
        lines(path, text, out);
    }
    for source in &tree.sources {
        let in_crates =
            ["src/", "tests/", "bench/", "tools/"].iter().any(|dir| source.path.starts_with(dir));
        if in_crates {
            module_doc(source, out);
        }
        if source.path == "src/limits.rs" || source.path.starts_with("src/limits/") {
            constants(source, out);
        }
    }
}

fn lines(path: &str, text: &str, out: &mut Vec<Finding>) {
    let mut add = |line: usize, message: String| out.push(Finding::new(path, line, message));
    let may_be_wide = extension(path) == "md" || path == ".clippy.toml";
    for (i, line) in text.split('\n').enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX && !may_be_wide {
            add(i + 1, format!("{columns} columns; break the line at {COLUMNS_MAX}"));
        }
        if line.ends_with(char::is_whitespace) {
            add(i + 1, "space at the end of the line; cut it".to_owned());
        }
        if line.contains('\t') {
            add(i + 1, "a tab; write spaces".to_owned());
        }
        if extension(path) == "rs"
            && let Some(c) = line.chars().find(|c| !c.is_ascii())
        {
            add(i + 1, format!("U+{:04X} is not ASCII; write it as an escape", u32::from(c)));
        }
    }
    let count = text.lines().count();
    if !text.is_empty() && !text.ends_with('\n') {
        add(count, "the last line has no newline; end it with one".to_owned());
    }
    if text.ends_with("\n\n") {
        add(count, "the file ends with an empty line; cut it".to_owned());
    }
    if extension(path) == "rs" && count > LINES_MAX {
        add(count, format!("{count} lines; split the file by concern before {LINES_MAX}"));
    }
}

fn module_doc(source: &Source, out: &mut Vec<Finding>) {
    let doc: Vec<&str> = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
    if doc.first().is_none_or(|line| line.trim_start_matches("//!").trim().is_empty()) {
        let message = "no module doc on the first line; begin with `//! <noun phrase>.`";
        out.push(Finding::new(&source.path, 1, message));
        return;
    }
    let is_core = ROOMS.iter().filter(|room| room.layer == Layer::Core).any(|room| {
        source.path == format!("src/{}/mod.rs", room.name)
            || source.path == format!("src/{}.rs", room.name)
    });
    let has = |field: &str| doc.iter().any(|line| line.contains(field));
    if is_core && !has("Not here:") {
        let message = "the core's doc has no `Not here:`; name the neighbouring concern and where \
                       it lives";
        out.push(Finding::new(&source.path, 1, message));
    }
    if is_core && !has("Owns:") && !has("Thread:") {
        let message = "the core's doc has neither `Owns:` nor `Thread:`; write its state, bounded \
                       by which limit, and the thread that runs it";
        out.push(Finding::new(&source.path, 1, message));
    }
}

/// Every public constant of limits.rs has a sentence above it.
fn constants(source: &Source, out: &mut Vec<Finding>) {
    let file_lines: Vec<&str> = source.text.lines().collect();
    for (at, token) in source.tokens.iter().enumerate() {
        let after = if source.is(at + 1, "(") { 4 } else { 1 };
        let is_constant = token.is("pub") && source.is(at + after, "const");
        let Some(name) = source.tokens.get(at + after + 1) else { continue };
        if !is_constant || name.is("fn") || name.is("unsafe") {
            continue;
        }
        let above = file_lines[..token.line - 1].iter().rev().map(|line| line.trim());
        let doc: Vec<&str> = above
            .skip_while(|line| line.starts_with("#["))
            .take_while(|line| line.starts_with("///"))
            .map(|line| line.trim_start_matches('/').trim())
            .collect();
        let doc: Vec<&str> = doc.into_iter().rev().collect();
        let doc = doc.join(" ");
        let is_sentence = doc.split_whitespace().count() >= 4 && doc.contains('.');
        if !is_sentence {
            let message = format!(
                "`{}` has no sentence above it; write unit, the reason for the number, and what \
                 happens at the limit",
                name.text
            );
            out.push(Finding::new(&source.path, token.line, message));
        }
    }
}

fn count(path: &str, text: &str) -> usize {
    let mut out = Vec::new();
    check(&Tree::of(&[(path, text)]), &mut out);
    out.len()
}

#[test]
fn bad_lines_are_found() {
    let long = format!("//! {}.\n", "x".repeat(COLUMNS_MAX - 4));
    let fits = format!("//! {}.\n", "x".repeat(COLUMNS_MAX - 5));
    let tall = format!("//! X.\n{}", "x\n".repeat(LINES_MAX));
    let just = format!("//! X.\n{}", "x\n".repeat(LINES_MAX - 1));
    for (path, text, expected) in [
        ("src/x.rs", long.as_str(), 1),
        ("src/x.rs", &fits, 0),
        ("conf/x.toml", &long, 1),
        ("README.md", &long, 0),
        (".clippy.toml", &long, 0),
        ("tools/x.sh", &long, 1),
        (".ci/run", &long, 1),
        ("src/x.rs", "//! X.\nx \n", 1),
        ("README.md", "x  \n", 1),
        ("conf/x.toml", "a = 1\r\n", 1),
        ("tools/x.sh", "\tx\n", 1),
        ("src/x.rs", "//! X.\n// \u{e9}\n", 1),
        ("README.md", "\u{e9}\n", 0),
        ("src/x.rs", "//! X.", 1),
        ("src/x.rs", "//! X.\n\n", 1),
        ("src/x.rs", &tall, 1),
        ("src/x.rs", &just, 0),
        ("README.md", &tall, 0),
    ] {
        assert_eq!(count(path, text), expected, "{path}: {text:.40}");
    }
}

#[test]
fn missing_module_docs_are_found() {
    for path in ["src/x.rs", "tests/x.rs", "bench/x.rs", "tools/x/y.rs"] {
        assert_eq!(count(path, "fn f() {}\n"), 1, "{path}");
        assert_eq!(count(path, "// X.\n//! X.\n"), 1, "{path}");
        assert_eq!(count(path, "//!\n//! X.\n"), 1, "{path}");
        assert_eq!(count(path, "//! X.\n"), 0, "{path}");
    }
    for (text, expected) in [
        ("//! X.\n//! Owns: y.   Thread: z.\n//! Not here: w.\n", 0),
        ("//! X.\n//! Thread: any, pure.\n//! Not here: w.\n", 0),
        ("//! X.\n//! Owns: y.\n", 1),
        ("//! X.\n//! Not here: w.\n", 1),
        ("//! X.\n", 2),
        ("//! X.\n\n// Owns: y. Not here: w.\n", 2),
    ] {
        assert_eq!(count("src/http/mod.rs", text), expected, "{text}");
        assert_eq!(count("src/http/conn.rs", text), 0, "{text}");
        assert_eq!(count("src/sys/mod.rs", text), 0, "{text}");
    }
}

#[test]
fn constants_without_a_reason_are_found() {
    for (text, expected) in [
        ("pub const A: u8 = 1;", 1),
        ("/// Bytes\npub const A: u8 = 1;", 1),
        ("// A comment that is no doc.\npub const A: u8 = 1;", 1),
        ("/// The most of x, for y.\n\npub const A: u8 = 1;", 1),
        ("/// The most of x, for y.\n#[allow(z)]\npub const A: u8 = 1;", 0),
        ("/// The most of x,\n/// for y.\npub(crate) const A: u8 = 1;", 0),
        ("pub(crate) const A: u8 = 1;", 1),
        ("pub const fn f() {} const _: () = assert!(A < B);", 0),
    ] {
        assert_eq!(count("src/limits.rs", &format!("//! L.\n{text}\n")), expected, "{text}");
        assert_eq!(count("src/http/conn.rs", &format!("//! L.\n{text}\n")), 0, "{text}");
    }
}
