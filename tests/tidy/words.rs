//! Words that belong in one place or in none: `unsafe`, threads and queues, unfinished code.
//!
//! Input: the tokens and comments of each Rust file.   Output: findings.
//! Invariants: comments and literals count only for the words of unfinished work, and literals
//! not even there; code under `#[cfg(test)]` may start threads, to test what crosses them.
//! Not here: the I/O words of cores; they stand in `layers`, beside the table of cores.

use std::collections::HashSet;

use crate::{
    source::Source,
    tree::{Finding, Tree, extension},
};

/// How far above its block a SAFETY comment may begin: a long one has eight lines.
const SAFETY_LINES_MAX: usize = 8;
/// How far from `.spawn(` the word `thread` makes it a thread and not a process.
const SPAWN_LINES_MAX: usize = 5;
/// The one file that starts threads and makes queues.
const TOPOLOGY: &str = "src/daemon/topology.rs";

/// Pairs of names, joined by `::`, that start a thread or make a queue.
const TOPOLOGY_PAIRS: [(&str, &str); 8] = [
    ("thread", "Builder"),
    ("thread", "spawn"),
    ("thread", "scope"),
    ("thread", "*"),
    ("crossbeam_channel", "bounded"),
    ("crossbeam_channel", "unbounded"),
    ("crossbeam_channel", "*"),
    ("mpsc", "sync_channel"),
];

/// Macros of unfinished work.
const UNFINISHED_MACROS: [(&str, &str); 3] = [
    ("todo", "write the code, or return an error that says what is missing"),
    ("unimplemented", "write the code, or return an error that says what is missing"),
    ("dbg", "log it, count it, or take it out"),
];

/// Words that defer work. Split, so that this file does not contain them.
const DEFERRALS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// Checks every Rust file, and the deferring words in every other text but prose.
pub fn check(tree: &Tree, test_files: &HashSet<String>, out: &mut Vec<Finding>) {
    for source in &tree.sources {
        unsafe_code(source, out);
        unfinished(source, out);
        if source.path.starts_with("src/") && source.path != TOPOLOGY {
            topology(source, test_files.contains(&source.path), out);
        }
        endless(source, out);
    }
    for (path, text) in &tree.texts {
        if !matches!(extension(path), "rs" | "md") {
            for (i, line) in text.lines().enumerate() {
                deferral(path, i + 1, line, out);
            }
        }
    }
}

fn unsafe_code(source: &Source, out: &mut Vec<Finding>) {
    let mut add = |line: usize, message: &str| {
        out.push(Finding::new(&source.path, line, message));
    };
    let in_src = source.path.starts_with("src/");
    let allowed = if in_src { source.path.starts_with("src/sys/") } else { allows_unsafe(source) };
    for (at, token) in source.tokens.iter().enumerate() {
        if !token.is("unsafe") {
            continue;
        }
        if !allowed && in_src {
            add(token.line, "`unsafe` outside src/sys/; move it there behind a safe function");
        } else if !allowed {
            let message = "`unsafe` needs `#![allow(unsafe_code, reason = \"..\")]` in this file; \
                           better, use the safe function in src/sys/";
            add(token.line, message);
        }
        let must_explain = source.is(at + 1, "{") || source.is(at + 1, "impl");
        let explained = source.comments.iter().any(|comment| {
            let near = comment.line <= token.line && token.line - comment.line <= SAFETY_LINES_MAX;
            near && comment.text.contains("SAFETY:")
        });
        if must_explain && !explained {
            add(token.line, "no `// SAFETY:` above; write every obligation and why it holds here");
        }
    }
}

/// True where the file has `allow(unsafe_code, reason = ..)`, as `expect` or inner attribute too.
fn allows_unsafe(source: &Source) -> bool {
    (0..source.tokens.len()).any(|at| {
        (source.is(at, "allow") || source.is(at, "expect"))
            && source.reads(at + 1, &["(", "unsafe_code", ",", "reason", "="])
    })
}

fn unfinished(source: &Source, out: &mut Vec<Finding>) {
    for (at, token) in source.tokens.iter().enumerate() {
        for (name, remedy) in UNFINISHED_MACROS {
            if token.is(name) && source.is(at + 1, "!") && !source.is(at + 2, "=") {
                let message = format!("`{name}!` is unfinished work; {remedy}");
                out.push(Finding::new(&source.path, token.line, message));
            }
        }
        if source.reads(at, &["#", "[", "ignore"]) {
            let given = source.is(at + 3, "=")
                && source.tokens.get(at + 4).is_some_and(|reason| !reason.text.trim().is_empty());
            if !given {
                let message = "a test is ignored without reason; write `#[ignore = \"why\"]`";
                out.push(Finding::new(&source.path, token.line, message));
            }
        }
        if token.is(DEFERRALS[0]) || token.is(DEFERRALS[1]) || token.is(DEFERRALS[2]) {
            deferral(&source.path, token.line, &token.text, out);
        }
    }
    for comment in &source.comments {
        deferral(&source.path, comment.line, &comment.text, out);
    }
}

fn deferral(path: &str, line: usize, text: &str, out: &mut Vec<Finding>) {
    let mut words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    if let Some(word) = words.find(|word| DEFERRALS.contains(word)) {
        let message = format!("`{word}` defers work; do it, or open an issue and say what is so");
        out.push(Finding::new(path, line, message));
    }
}

/// Threads and queues outside the topology.
fn topology(source: &Source, all_test: bool, out: &mut Vec<Finding>) {
    let mut add = |line: usize, what: &str| {
        let message = format!("`{what}` starts a thread or makes a queue; do so in {TOPOLOGY}");
        out.push(Finding::new(&source.path, line, message));
    };
    for path in source.paths() {
        let names = || path.segments.windows(2);
        for (first, second) in TOPOLOGY_PAIRS {
            let found = names().any(|pair| pair[0] == first && pair[1] == second);
            if found && !all_test && !source.in_test[path.start] {
                add(path.line, &format!("{first}::{second}"));
            }
        }
    }
    let threads: Vec<usize> = source
        .tokens
        .iter()
        .filter(|token| token.is("thread") || token.is("Builder"))
        .map(|token| token.line)
        .collect();
    for (at, token) in source.tokens.iter().enumerate() {
        if !source.reads(at, &[".", "spawn", "("]) || all_test || source.in_test[at] {
            continue;
        }
        if threads.iter().any(|line| line.abs_diff(token.line) <= SPAWN_LINES_MAX) {
            add(token.line, ".spawn(");
        }
    }
}

/// Queues without a bound, anywhere.
fn endless(source: &Source, out: &mut Vec<Finding>) {
    let mut add = |line: usize, what: &str| {
        let message = format!("`{what}` has no bound; use bounded(..) with a limit and its reason");
        out.push(Finding::new(&source.path, line, message));
    };
    for token in source.tokens.iter().filter(|token| token.is("unbounded")) {
        add(token.line, "unbounded");
    }
    for path in source.paths() {
        if path.segments.windows(2).any(|pair| pair[0] == "mpsc" && pair[1] == "channel") {
            add(path.line, "mpsc::channel");
        }
    }
}

fn count(path: &str, text: &str) -> usize {
    let mut out = Vec::new();
    check(&Tree::of(&[(path, text)]), &HashSet::new(), &mut out);
    out.len()
}

#[test]
fn unsafe_is_found_where_it_does_not_belong() {
    let explained = "// SAFETY: x\nfn f() { unsafe { g() } }";
    let allow = "#![allow(unsafe_code, reason = \"x\")]\n";
    for (path, text, expected) in [
        ("src/http/mod.rs", explained, 1),
        ("src/sysx.rs", explained, 1),
        ("src/sys/uring.rs", explained, 0),
        ("src/http/mod.rs", "unsafe fn f() {}", 1),
        ("src/http/mod.rs", "// unsafe\nconst X: &str = \"unsafe\"; fn r#unsafe_code() {}", 0),
        ("src/http/mod.rs", &format!("{allow}{explained}"), 1),
        ("tests/x.rs", explained, 1),
        ("tests/x.rs", &format!("{allow}{explained}"), 0),
        ("tools/x.rs", &format!("#![allow(unsafe_code)]\n{explained}"), 1),
        ("bench/x.rs", &format!("#[expect(unsafe_code, reason = \"x\")]\n{explained}"), 0),
    ] {
        assert_eq!(count(path, text), expected, "{path}: {text}");
    }
}

#[test]
fn unsafe_blocks_without_safety_are_found() {
    let near = format!("// SAFETY: x{}unsafe {{ g() }}", "\n".repeat(SAFETY_LINES_MAX));
    let far = format!("// SAFETY: x{}unsafe {{ g() }}", "\n".repeat(SAFETY_LINES_MAX + 1));
    for (text, expected) in [
        ("unsafe { g() }", 1),
        ("unsafe impl Send for X {}", 1),
        ("// SAFETY: x\nunsafe impl Send for X {}", 0),
        ("\"SAFETY: x\"; unsafe { g() }", 1),
        ("unsafe { g() }\n// SAFETY: below", 1),
        ("unsafe fn f() {} unsafe extern \"C\" {}", 0),
        (&near, 0),
        (&far, 1),
    ] {
        assert_eq!(count("src/sys/x.rs", text), expected, "{text}");
    }
}

#[test]
fn threads_and_queues_outside_the_topology_are_found() {
    for text in [
        "std::thread::Builder::new();",
        "use std::thread::{self, Builder};",
        "thread::spawn(f);",
        "thread::scope(f);",
        "use std::thread::*;",
        "use crossbeam_channel::{Sender, bounded};",
        "use crossbeam_channel::*;",
        "let (a, b) = crossbeam_channel::bounded(4);",
        "std::sync::mpsc::sync_channel(1);",
        "fn f(builder: thread::Own) {\n builder\n .spawn(g);\n}",
    ] {
        assert_eq!(count("src/daemon/worker.rs", text), 1, "{text}");
        assert_eq!(count(TOPOLOGY, text), 0, "{text}");
        assert_eq!(count("tests/x.rs", text), 0, "{text}");
        let test = format!("#[cfg(test)] mod tests {{ {text} }}");
        assert_eq!(count("src/daemon/worker.rs", &test), 0, "{test}");
    }
    for text in [
        "use crossbeam_channel::{Receiver, Sender}; use std::thread::sleep;",
        "std::process::Command::new(\"x\").spawn();",
        "// thread::spawn\nlet x = \"crossbeam_channel::bounded\";",
    ] {
        assert_eq!(count("src/daemon/worker.rs", text), 0, "{text}");
    }
}

#[test]
fn queues_without_bound_are_found_everywhere() {
    for path in [TOPOLOGY, "tools/x.rs", "tests/x.rs"] {
        assert_eq!(count(path, "let (a, b) = cc::unbounded();"), 1);
        assert_eq!(count(path, "std::sync::mpsc::channel();"), 1);
        assert_eq!(count(path, "// unbounded\nBound::Unbounded; \"unbounded\""), 0);
    }
}

#[test]
fn unfinished_work_is_found() {
    let [todo, fixme, three] = DEFERRALS;
    for text in [
        "todo!()".to_owned(),
        "unimplemented!(\"x\")".to_owned(),
        "dbg!(x)".to_owned(),
        "#[ignore]".to_owned(),
        "#[ignore = \" \"]".to_owned(),
        format!("// {todo}: x"),
        format!("/* x\n{fixme} */"),
        format!("/// {three}"),
        format!("const {todo}: u8 = 1;"),
    ] {
        assert_eq!(count("tests/x.rs", &text), 1, "{text}");
    }
    for text in [
        "todo(); self.dbg != x; // todo list, dbg!".to_owned(),
        "#[ignore = \"needs a card\"]".to_owned(),
        format!("let x = \"{todo}\"; // {todo}_LIST /tmp/x.{three}{three}"),
    ] {
        assert_eq!(count("tests/x.rs", &text), 0, "{text}");
    }
    assert_eq!(count("conf/x.toml", &format!("# {fixme}\n")), 1);
    assert_eq!(count(".ci/run", &format!("# {fixme}\nmktemp x.{three}{three}\n")), 1);
    assert_eq!(count("README.md", &format!("{todo}\n")), 0);
}
