//! The style of the house as a test: reads the source tree and lists everything that breaks it.
//!
//! Input: the repository around this file.   Output: one failing test with every finding, each
//! as `file:line: what is wrong; what to write instead`.
//! Invariants: every rule has a test here that feeds it a bad example and a good one, so no rule
//! can fall asleep; the rules use std only.
//! Not here: what clippy and rustfmt hold (function length, unwrap, casts, layout); Cargo.toml
//! and .clippy.toml list those.

mod layers;
mod lexer;
mod manifest;
mod modules;
mod source;
mod text;
mod tree;
mod words;

use std::path::Path;

use crate::tree::{Finding, Tree};

/// The layer of a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// What every room stands on: no state of the program, no I/O.
    Base,
    /// Protocol and policy as pure state machines: no I/O words, a full module doc.
    Core,
    /// Everything else.
    Shell,
}

/// Which top modules a room may name, beside itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum May {
    /// These.
    Only(&'static [&'static str]),
    /// The cores and the base.
    Cores,
    /// Every module.
    All,
}

/// One row of the layer table.
pub struct Room {
    /// Top module: `src/<name>.rs` or `src/<name>/`. Empty for lib.rs and main.rs.
    pub name: &'static str,
    /// Its layer.
    pub layer: Layer,
    /// Whom it may name.
    pub may: May,
}

const fn room(name: &'static str, layer: Layer, may: May) -> Room {
    Room { name, layer, may }
}

const BASE: May = May::Only(&["limits", "time", "stdx"]);

/// The layer table: who may name whom. Any other edge is a finding, and so is a module without a
/// row. Cores that must talk meet in daemon, by values; a row that grants one core another is
/// only for a core that stands on it. Code under `#[cfg(test)]` may also name the base and every
/// core, in whichever room it stands. Rooms not built yet have their row already, so that their
/// first commit is held to it.
pub const ROOMS: &[Room] = &[
    room("limits", Layer::Base, May::Only(&[])),
    room("time", Layer::Base, May::Only(&[])),
    room("stdx", Layer::Base, May::Only(&["limits"])),
    room("http", Layer::Core, BASE),
    room("cache", Layer::Core, BASE),
    room("tls", Layer::Core, BASE),
    room("admin", Layer::Core, BASE),
    room("ring", Layer::Core, BASE),
    room("groups", Layer::Core, May::Only(&["limits", "time", "stdx", "ring"])),
    room("spread", Layer::Core, May::Only(&["limits", "time", "stdx", "groups"])),
    room("vip", Layer::Core, BASE),
    room("accesslog", Layer::Core, BASE),
    room("online", Layer::Core, BASE),
    room("sys", Layer::Shell, BASE),
    room("config", Layer::Shell, May::Only(&[])),
    room("sim", Layer::Shell, May::Cores),
    room("daemon", Layer::Shell, May::All),
    room("cli", Layer::Shell, May::All),
    room("", Layer::Shell, May::All),
];

/// A room, a path that it may name though its row does not grant the module, and why.
pub type Grant = (&'static str, &'static str, &'static str);

/// Every such path; any other of the same module is a finding.
pub const GRANTS: &[Grant] = &[(
    "online",
    "crate::sys::prefetch::prefetch",
    "asking for memory early is an instruction and no I/O, but its form in std is unsafe",
)];

/// A file, an I/O word it may contain although it is a core's, and why that is no I/O there.
pub type Exemption = (&'static str, &'static str, &'static str);

/// Every exemption from the I/O words. One that its file no longer needs is a finding.
pub const EXEMPTIONS: &[Exemption] = &[
    (
        "src/http/date.rs",
        "SystemTime",
        "httpdate's type for a point in time; the clock is read in sys, the caller passes seconds",
    ),
    (
        "src/http/head.rs",
        "std::io",
        "io::Write is how text is formatted into a Vec<u8>; nothing is written elsewhere",
    ),
    (
        "src/tls/tests.rs",
        "std::io",
        "io::Read and io::Write are how rustls' buffered server, the other side, is read and fed",
    ),
];

/// Every rule over `tree`, findings sorted by place.
fn check(tree: &Tree) -> Vec<Finding> {
    let mut out = Vec::new();
    let test_files = modules::check(tree, &mut out);
    layers::check(tree, &test_files, &mut out);
    words::check(tree, &test_files, &mut out);
    text::check(tree, &mut out);
    manifest::check(tree, &mut out);
    out.sort();
    out.dedup();
    out
}

#[test]
fn the_tree_is_tidy() {
    let tree = Tree::load(Path::new(env!("CARGO_MANIFEST_DIR")));
    let found = check(&tree);
    let lines: Vec<String> = found.iter().map(Finding::to_string).collect();
    assert!(found.is_empty(), "{} findings:\n{}\n", found.len(), lines.join("\n"));
}

/// A small tree that breaks no rule; each test below breaks one thing in it.
const GOOD: &[(&str, &str)] = &[
    (".ci/run", "#!/bin/sh\ncargo build --release\ncargo run -- serve\n"),
    (
        "Cargo.toml",
        "[package]\nname = \"x\"\n\n[[bench]]\nname = \"b\"\npath = \"bench/b.rs\"\n\n\
         [[example]]\nname = \"t\"\npath = \"tools/t/main.rs\"\n",
    ),
    (
        "README.md",
        "# x\n\n## Two commands\n\n```sh\ncargo build --release\ncargo run -- serve\n```\n",
    ),
    ("bench/b.rs", "//! B.\nfn main() {}\n"),
    ("conf/x.toml", "a = 1\n"),
    ("src/daemon/mod.rs", "//! D.\nmod topology;\n"),
    (
        "src/daemon/topology.rs",
        "//! T.\nfn start() { std::thread::Builder::new().spawn(run); bounded_queue(); }\n",
    ),
    ("src/http/conn.rs", "//! C.\n"),
    (
        "src/http/mod.rs",
        "//! H.\n//!\n//! Owns: nothing.\n//! Not here: files.\nmod conn;\n\
         use crate::limits::X_MAX;\n#[cfg(test)]\nmod tests;\n",
    ),
    ("src/http/tests.rs", "//! T.\nuse crate::time;\n#[test]\nfn t() {}\n"),
    (
        "src/lib.rs",
        "//! L.\npub mod daemon;\npub mod http;\npub mod limits;\nmod sys;\nmod time;\n",
    ),
    ("src/limits.rs", "//! L.\n/// The most of x, because of y.\npub const X_MAX: u8 = 1;\n"),
    ("src/main.rs", "//! M.\nfn main() {}\n"),
    (
        "src/sys/mod.rs",
        "//! S.\nfn f() {\n    // SAFETY: x is alive here.\n    unsafe { g() }\n}\n",
    ),
    ("src/time.rs", "//! T.\n"),
    ("tests/t.rs", "//! T.\n#[ignore = \"slow: 3 min\"]\n#[test]\nfn t() {}\n"),
    ("tools/t/main.rs", "//! T.\nmod part;\nfn main() {}\n"),
    ("tools/t/part.rs", "//! P.\n"),
];

/// Findings of the good tree after `path` has been given `text`, or is gone with `None`.
fn after(path: &str, text: Option<&str>) -> Vec<Finding> {
    let mut files: Vec<(&str, &str)> = GOOD.to_vec();
    files.retain(|(name, _)| *name != path);
    files.extend(text.map(|text| (path, text)));
    files.sort_unstable();
    check(&Tree::of(&files))
}

#[test]
fn the_good_tree_has_no_finding() {
    assert_eq!(check(&Tree::of(GOOD)), []);
}

#[test]
fn each_rule_reaches_the_whole_tree() {
    for (path, text, expected) in [
        ("src/http/conn.rs", "//! C.\nuse crate::sys;\n", "src/http/conn.rs:2: `http` names"),
        ("src/online/mod.rs", "//! O.\nuse crate::sys::other;\n", "src/online/mod.rs:2: `online`"),
        ("src/http/conn.rs", "//! C.\nuse std::fs;\n", "src/http/conn.rs:2: `std::fs` in"),
        ("src/http/tests.rs", "//! T.\nuse crate::sys;\n", "src/http/tests.rs:2: `http` names"),
        ("src/http/lost.rs", "//! X.\n", "src/http/lost.rs:1: no `mod` line"),
        ("src/time.rs", "//! T.\nfn f() { unsafe { g() } }\n", "src/time.rs:2: `unsafe` outside"),
        ("src/time.rs", "//! T.\nfn f() { todo!() }\n", "src/time.rs:2: `todo!`"),
        ("src/time.rs", "fn f() {}\n", "src/time.rs:1: no module doc"),
        ("src/limits.rs", "//! L.\npub const A: u8 = 1;\n", "src/limits.rs:2: `A` has no"),
        ("tools/more.rs", "//! M.\nfn main() {}\n", "tools/more.rs:1: not declared"),
        ("notes.txt", "x\n", "notes.txt:1: the top level"),
        (".ci/run", "cargo test\n", "README.md:7: .ci/run lacks"),
    ] {
        let found = after(path, Some(text));
        let lines: Vec<String> = found.iter().map(Finding::to_string).collect();
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}: {lines:?}");
    }
    assert_eq!(after("tools/t/main.rs", None).len(), 2, "a missing path and an orphan");
    assert_eq!(after("README.md", None).len(), 1);
}
