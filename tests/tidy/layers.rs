//! Who may name whom: the layer table applied to every path under src/, and the I/O words that a
//! core must not contain.
//!
//! Input: `ROOMS` from main.rs and the tree.   Output: findings.
//! Invariants: an edge is `crate::x`, `peerage::x` or a `super::` that climbs out of the top
//! module; a file knows its own room and what the table grants it, test code also the base and
//! every core.
//! Not here: the table itself; it stands first in main.rs, where a reader looks for it.

use std::collections::HashSet;

use crate::{
    EXEMPTIONS, Exemption, GRANTS, Layer, May, ROOMS, Room,
    source::{PathUse, Source},
    tree::{Finding, Tree},
};

/// Paths a core (and the base) must not name, and what to do instead.
const CORE_PATHS: &[(&[&str], &str)] = &[
    (&["std", "fs"], "a core reads no files; let daemon hand it the bytes"),
    (&["std", "io"], "a core does no I/O; emit through stdx or core::fmt::Write, own error enum"),
    (&["std", "thread"], "a core is run by one thread and starts none; see daemon/topology.rs"),
    (&["std", "process"], "a core returns an action; daemon or cli ends or starts processes"),
    (&["std", "env"], "a core takes its own Options; config reads the surroundings"),
    (&["std", "os"], "a core holds no descriptors; that is sys"),
    (&["std", "sync", "mpsc"], "a core has no queues; return outputs from poll_*"),
    (&["std", "time", "Instant"], "take `now: crate::time::Instant` as an argument"),
    (&["std", "collections", "*"], "name what you import: HashMap and HashSet are barred here"),
    (&["std", "net", "*"], "name what you import: only the address types are allowed here"),
    (&["libc"], "system calls live in sys"),
    (&["io_uring"], "system calls live in sys"),
    (&["socket2"], "system calls live in sys"),
    (&["memmap2"], "system calls live in sys"),
    (&["rustix"], "system calls live in sys"),
    (&["inotify"], "system calls live in sys"),
    (&["landlock"], "system calls live in sys"),
    (&["core_affinity"], "system calls live in sys"),
    (&["crossbeam_channel"], "a core has no queues; return outputs from poll_*"),
    (&["rand"], "take a seeded stdx generator as an argument"),
    (&["fastrand"], "take a seeded stdx generator as an argument"),
    (&["getrandom"], "take a seeded stdx generator as an argument"),
    (&["anyhow"], "write the module's own error enum"),
];

/// Names a core must not contain wherever they come from.
const CORE_WORDS: &[(&str, &str)] = &[
    ("TcpStream", "sockets live in sys; a core is handed bytes"),
    ("TcpListener", "sockets live in sys; a core is handed bytes"),
    ("UdpSocket", "sockets live in sys; a core is handed bytes"),
    ("UnixStream", "sockets live in sys; a core is handed bytes"),
    ("UnixListener", "sockets live in sys; a core is handed bytes"),
    ("UnixDatagram", "sockets live in sys; a core is handed bytes"),
    ("SystemTime", "take the time as an argument"),
    ("RandomState", "it draws its own seed; take one in Options and a hasher that is given it"),
];

/// Names of std::collections whose seed is random.
const SEEDED: [&str; 4] = ["HashMap", "HashSet", "hash_map", "hash_set"];

/// Checks every file under src/; `test_files` are those a `#[cfg(test)] mod` names.
pub fn check(tree: &Tree, test_files: &HashSet<String>, out: &mut Vec<Finding>) {
    let in_src = |source: &&Source| source.path.starts_with("src/");
    for source in tree.sources.iter().filter(in_src) {
        let modules = module_path(&source.path);
        let Some(room) = room_of(&modules) else {
            let name = modules.first().map_or("", String::as_str);
            let message = format!(
                "`{name}` is not in the layer table; add its row to ROOMS in tests/tidy/main.rs"
            );
            out.push(Finding::new(&source.path, 1, message));
            continue;
        };
        let all_test = test_files.contains(&source.path);
        edges(source, &modules, room, all_test, out);
        if matches!(room.layer, Layer::Base | Layer::Core) {
            io_words(source, room, EXEMPTIONS, out);
        }
    }
}

/// The modules a file's text stands in: `src/http/conn.rs` is http, conn; lib.rs none.
fn module_path(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut modules: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if matches!(modules.last().map(String::as_str), Some("mod")) {
        modules.pop();
    }
    if modules == ["lib"] || modules == ["main"] {
        modules.clear();
    }
    modules
}

/// The row of a file; lib.rs and main.rs share the row without a name.
fn room_of(modules: &[String]) -> Option<&'static Room> {
    let name = modules.first().map_or("", String::as_str);
    ROOMS.iter().find(|room| room.name == name)
}

fn edges(source: &Source, modules: &[String], room: &Room, all_test: bool, out: &mut Vec<Finding>) {
    let depths = source.inline_depths();
    for path in source.paths() {
        let depth = modules.len() + depths[path.start];
        let Some(name) = edge(&path, depth) else { continue };
        if matches!(name, "*" | "self") && room.may != May::All {
            let message = "the crate's root is imported whole; name the module you use, so that \
                           the layer table can see it";
            out.push(Finding::new(&source.path, path.line, message));
        } else if !may_name(room, name, all_test || source.in_test[path.start])
            && !is_granted(room, &path)
        {
            let message = format!("`{}` names `{name}`; {}", room.name, remedy(room));
            out.push(Finding::new(&source.path, path.line, message));
        }
    }
    for (at, token) in source.tokens.iter().enumerate() {
        let root = token.is("crate") || token.is("peerage") || token.is("super");
        if root && source.is(at + 1, "as") && room.may != May::All {
            let message = "another name for the crate hides edges; write `crate::module`";
            out.push(Finding::new(&source.path, token.line, message));
        }
    }
}

/// The top module a path leads to, when it leads out to the crate's root at all.
fn edge(path: &PathUse, depth: usize) -> Option<&str> {
    let mut above = match path.segments.first().map(String::as_str) {
        Some("crate" | "peerage") => 0,
        Some("self") => depth,
        Some("super") => depth.checked_sub(1)?,
        _ => return None,
    };
    for segment in &path.segments[1..] {
        match segment.as_str() {
            "super" => above = above.checked_sub(1)?,
            name if above == 0 => return Some(name),
            _ => return None,
        }
    }
    None
}

fn may_name(room: &Room, name: &str, in_test: bool) -> bool {
    let is = |layer: Layer| ROOMS.iter().any(|other| other.name == name && other.layer == layer);
    let granted = match room.may {
        May::All => true,
        May::Cores => is(Layer::Base) || is(Layer::Core),
        May::Only(names) => names.contains(&name),
    };
    granted || name == room.name || (in_test && (is(Layer::Base) || is(Layer::Core)))
}

/// Whether the table of single grants has the whole path.
fn is_granted(room: &Room, path: &PathUse) -> bool {
    GRANTS.iter().any(|(name, granted, _)| {
        *name == room.name && path.segments.iter().map(String::as_str).eq(granted.split("::"))
    })
}

fn remedy(room: &Room) -> String {
    let granted = match room.may {
        May::All => "anything".to_owned(),
        May::Cores => "cores, limits, time and stdx".to_owned(),
        May::Only([]) => "no other module".to_owned(),
        May::Only(names) => format!("only {}", names.join(", ")),
    };
    format!(
        "it may name {granted} (ROOMS in tests/tidy/main.rs); pass a value through daemon instead"
    )
}

/// Reports the I/O words of a core's file, and the exemptions it does not need.
fn io_words(source: &Source, room: &Room, exempt: &[Exemption], out: &mut Vec<Finding>) {
    let here: Vec<&Exemption> = exempt.iter().filter(|(path, ..)| *path == source.path).collect();
    let words = words_of(source);
    for (line, word, remedy) in &words {
        if !here.iter().any(|(_, exempted, _)| exempted == word) {
            let message = format!("`{word}` in `{}`: {remedy}", room.name);
            out.push(Finding::new(&source.path, *line, message));
        }
    }
    for (_, exempted, _) in here {
        if !words.iter().any(|(_, word, _)| word == exempted) {
            let message = format!(
                "`{exempted}` is exempted here and not used; drop the row from \
                                   EXEMPTIONS in tests/tidy/main.rs"
            );
            out.push(Finding::new(&source.path, 1, message));
        }
    }
}

/// The I/O words of a file: line, word, what to do instead.
fn words_of(source: &Source) -> Vec<(usize, String, &'static str)> {
    let mut out = Vec::new();
    let mut add =
        |line: usize, word: &str, remedy: &'static str| out.push((line, word.to_owned(), remedy));
    for path in source.paths() {
        let names: Vec<&str> = path.segments.iter().map(String::as_str).collect();
        for (barred, remedy) in CORE_PATHS {
            if names.starts_with(barred) {
                add(path.line, &barred.join("::"), remedy);
            }
        }
        if let ["std", "collections", name, ..] = names[..]
            && SEEDED.contains(&name)
        {
            add(
                path.line,
                name,
                "its order differs from run to run; use BTreeMap or a fixed hasher",
            );
        }
        // The project's own Instant has no `now` either.
        if names.windows(2).any(|pair| pair == ["Instant", "now"]) {
            add(path.line, "Instant::now", "take `now` as an argument");
        }
    }
    for (at, token) in source.tokens.iter().enumerate() {
        for (word, remedy) in CORE_WORDS {
            if token.is(word) {
                add(token.line, word, remedy);
            }
        }
        let prints = ["print", "println", "eprint", "eprintln"].iter().any(|word| token.is(word));
        if prints && source.is(at + 1, "!") {
            add(token.line, &token.text, "return an output; daemon and cli speak");
        }
    }
    out
}

fn findings(path: &str, text: &str) -> Vec<Finding> {
    let mut out = Vec::new();
    check(&Tree::of(&[(path, text)]), &HashSet::new(), &mut out);
    out
}

#[test]
fn forbidden_edges_are_found() {
    for (path, text) in [
        ("src/http/mod.rs", "use crate::cache::Key;"),
        ("src/http/mod.rs", "use crate::{limits, time::{Instant}, sys::{clock}};"),
        ("src/http/mod.rs", "use super::cache;"),
        ("src/http/conn.rs", "use super::super::sys::x;"),
        ("src/http/conn.rs", "use super::{super::sys, y};"),
        ("src/http/conn.rs", "use self::super::super::sys;"),
        ("src/http/mod.rs", "mod inner { use super::super::daemon; }"),
        ("src/http/mod.rs", "fn f() { let x = crate::sys::g(); }"),
        ("src/http/mod.rs", "fn f() { peerage::sys::g() }"),
        ("src/http/mod.rs", "use crate::*;"),
        ("src/http/mod.rs", "use crate::{self as root};"),
        ("src/http/mod.rs", "use {crate as root};"),
        ("src/http/mod.rs", "use crate::Reexport;"),
        ("src/http/mod.rs", "#[cfg(test)] mod tests { use crate::sys; }"),
        ("src/http/mod.rs", "macro_rules! m { () => { $crate::sys::x } }"),
        ("src/cache/mod.rs", "use crate::http;"),
        ("src/sys/uring.rs", "use crate::daemon;"),
        ("src/sys/uring.rs", "use crate::http;"),
        ("src/config/mod.rs", "use crate::limits;"),
        ("src/limits.rs", "use crate::time;"),
        ("src/time.rs", "use crate::limits;"),
        ("src/stdx/slab.rs", "use crate::time;"),
        ("src/sim/net.rs", "use crate::sys;"),
        ("src/ring/mod.rs", "use crate::groups;"),
        ("src/newroom/mod.rs", "//! x"),
        ("src/newroom.rs", "//! x"),
    ] {
        assert_eq!(findings(path, text).len(), 1, "{path}: {text}");
    }
}

#[test]
fn allowed_edges_are_not() {
    for (path, text) in [
        ("src/http/mod.rs", "use crate::{limits::X, stdx::{a, b}, time::Instant};"),
        ("src/http/conn.rs", "use crate::http::Y; use super::{x, wire::z}; use self::w::v;"),
        ("src/http/mod.rs", "mod tests { use super::*; } pub(crate) fn f() {} "),
        ("src/http/mod.rs", "// crate::sys\nfn f() -> &'static str { \"crate::sys\" }"),
        ("src/http/mod.rs", "#[cfg(test)] mod tests { use crate::cache; }"),
        ("src/sys/mod.rs", "#[cfg(test)] mod tests { use crate::http; }"),
        ("src/stdx/mod.rs", "use crate::limits;"),
        ("src/groups/mod.rs", "use crate::ring;"),
        ("src/sim/net.rs", "use crate::{http, cache, time, stdx};"),
        ("src/daemon/mod.rs", "use crate::{config, http, sys}; use crate::*;"),
        ("src/cli/mod.rs", "use crate::daemon;"),
        ("src/main.rs", "use peerage::cli;"),
        ("src/lib.rs", "pub mod cli; use cli::x; use self::http::y;"),
    ] {
        assert_eq!(findings(path, text), [], "{path}: {text}");
    }
}

#[test]
fn a_file_named_by_a_test_module_is_test_code() {
    let tree = Tree::of(&[("src/http/tests.rs", "use crate::cache;")]);
    let mut out = Vec::new();
    check(&tree, &HashSet::from(["src/http/tests.rs".to_owned()]), &mut out);
    assert_eq!(out, []);
}

#[test]
fn io_words_in_cores_are_found() {
    let beginnings = CORE_PATHS.iter().map(|(path, _)| path.join("::"));
    for barred in beginnings.filter(|barred| !barred.ends_with('*')) {
        let text = format!("fn f() {{ {barred}::x(); }}");
        assert_eq!(findings("src/http/mod.rs", &text).len(), 1, "{text}");
    }
    for (word, _) in CORE_WORDS {
        let text = format!("fn f(x: {word}) {{}}");
        assert_eq!(findings("src/cache/mod.rs", &text).len(), 1, "{text}");
    }
    for text in [
        "use std::{fmt, fs};",
        "use std::collections::*;",
        "use std::net::*;",
        "use std::collections::{BTreeMap, HashMap};",
        "type X = std::collections::HashSet<u8>;",
        "fn f() { Instant::now(); }",
        "fn f() { println!(\"x\"); }",
        "#[cfg(test)] mod tests { use std::fs; }",
    ] {
        for path in ["src/http/mod.rs", "src/limits.rs", "src/time.rs", "src/stdx/mod.rs"] {
            assert_eq!(findings(path, text).len(), 1, "{path}: {text}");
        }
        assert_eq!(findings("src/daemon/mod.rs", text), [], "{text}");
    }
}

#[test]
fn exemptions_hold_for_their_word_only_and_must_be_needed() {
    let exempt: &[Exemption] =
        &[("src/http/a.rs", "SystemTime", "x"), ("src/http/a.rs", "std::io", "x")];
    let room = ROOMS.iter().find(|room| room.name == "http").unwrap();
    for (path, text, expected) in [
        ("src/http/a.rs", "use std::{io::Write, time::SystemTime};", 0),
        ("src/http/a.rs", "use std::{fs, io, time::SystemTime};", 1),
        ("src/http/a.rs", "use std::io;", 1),
        ("src/http/a.rs", "// SystemTime, std::io", 2),
        ("src/http/b.rs", "use std::{io::Write, time::SystemTime};", 2),
        ("src/http/b.rs", "", 0),
    ] {
        let mut out = Vec::new();
        io_words(&Source::new(path, text), room, exempt, &mut out);
        assert_eq!(out.len(), expected, "{path}: {text}");
    }
}

#[test]
fn what_only_looks_like_io_is_not_found() {
    for text in [
        "use std::net::{IpAddr, SocketAddr}; use std::{fmt, collections::BTreeMap};",
        "// std::fs, Instant::now\nconst X: &str = \"std::fs SystemTime libc::read\";",
        "use hashbrown::HashMap; fn f(now: Instant) { self.now(); x.libc; brand::y(); }",
        "use core::fmt::Write; use std::time::Duration;",
    ] {
        assert_eq!(findings("src/http/mod.rs", text), [], "{text}");
    }
}
