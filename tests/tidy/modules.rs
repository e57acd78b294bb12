//! Module files: each one is named by a `mod` line, and none has a name that says nothing.
//!
//! Input: the tree.   Output: findings, and the set of files that are test code because a
//! `#[cfg(test)] mod` names them.
//! Invariants: roots are lib.rs, main.rs, each file or folder main of tests/, bench/ and tools/.
//! Not here: whether Cargo.toml declares the mains; that is `manifest`.

use std::collections::{BTreeMap, HashSet};

use crate::{
    source::{ModLine, Source},
    tree::{Finding, Tree},
};

/// Names that hold anything and therefore say nothing.
const EMPTY_NAMES: [&str; 8] =
    ["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"];

/// Checks all module files; returns those that only tests compile.
pub fn check(tree: &Tree, out: &mut Vec<Finding>) -> HashSet<String> {
    let sources: BTreeMap<&str, &Source> =
        tree.sources.iter().map(|source| (source.path.as_str(), source)).collect();
    // Reached files, and whether only test code reaches them.
    let mut reached: BTreeMap<String, bool> = BTreeMap::new();
    let mut open: Vec<(String, bool)> = Vec::new();
    open.extend(sources.keys().filter(|path| is_root(path)).map(|path| ((*path).into(), false)));
    while let Some((path, in_test)) = open.pop() {
        if reached.get(&path).is_some_and(|before| !before || in_test) {
            continue;
        }
        reached.insert(path.clone(), in_test);
        let Some(source) = sources.get(path.as_str()) else { continue };
        for line in source.mod_lines().iter().filter(|line| !line.inline || line.path.is_some()) {
            let found =
                files_of(&path, line).into_iter().find(|file| sources.contains_key(file.as_str()));
            open.extend(found.map(|file| (file, in_test || line.in_test)));
        }
    }
    for source in &tree.sources {
        if in_crates(&source.path) && !reached.contains_key(&source.path) {
            let message = "no `mod` line leads to this file, so nothing compiles it; declare it \
                           in its parent, or delete it";
            out.push(Finding::new(&source.path, 1, message));
        }
        names(source, out);
    }
    reached.into_iter().filter(|(_, in_test)| *in_test).map(|(path, _)| path).collect()
}

fn in_crates(path: &str) -> bool {
    ["src/", "tests/", "bench/", "tools/"].iter().any(|dir| path.starts_with(dir))
}

/// True for a file that is a crate's root: `src/lib.rs`, `tools/x.rs`, `tools/x/main.rs`.
pub fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["src", file] => file == "lib.rs" || file == "main.rs",
        ["tests" | "bench" | "tools", _] => path.ends_with(".rs"),
        ["tests" | "bench" | "tools", _, file] => file == "main.rs",
        _ => false,
    }
}

/// The files a `mod` line of `path` may mean.
fn files_of(path: &str, line: &ModLine) -> Vec<String> {
    let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
    if let Some(named) = &line.path {
        return vec![join(dir, named)];
    }
    let stem = file.trim_end_matches(".rs");
    let mut below =
        if is_root(path) || stem == "mod" { dir.to_owned() } else { format!("{dir}/{stem}") };
    for name in &line.within {
        below = format!("{below}/{name}");
    }
    vec![format!("{below}/{}.rs", line.name), format!("{below}/{}/mod.rs", line.name)]
}

/// `dir/name` with its `..` resolved.
fn join(dir: &str, name: &str) -> String {
    let mut parts: Vec<&str> = dir.split('/').collect();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

fn names(source: &Source, out: &mut Vec<Finding>) {
    let mut add = |line: usize, name: &str| {
        let message = format!("`{name}` says nothing; name the concern the module is about");
        out.push(Finding::new(&source.path, line, message));
    };
    for part in source.path.split('/') {
        let stem = part.trim_end_matches(".rs");
        if EMPTY_NAMES.contains(&stem) {
            add(1, stem);
        }
    }
    for line in source.mod_lines().iter().filter(|line| line.inline) {
        if EMPTY_NAMES.contains(&line.name.as_str()) {
            add(line.line, &line.name);
        }
    }
}

fn run(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let mut out = Vec::new();
    let tests = check(&Tree::of(files), &mut out);
    let mut tests: Vec<String> = tests.into_iter().collect();
    tests.sort();
    (out.into_iter().map(|finding| finding.path).collect(), tests)
}

#[test]
fn orphans_are_found() {
    let (found, tests) = run(&[
        ("bench/b.rs", "mod part;"),
        ("bench/part/mod.rs", ""),
        ("bench/part/lost.rs", ""),
        ("src/a/b.rs", "mod c;"),
        ("src/a/b/c.rs", "// mod lost;"),
        ("src/a/b/lost.rs", ""),
        ("src/a/mod.rs", "mod b; mod inline { mod deep; } const X: &str = \"mod lost;\";"),
        ("src/a/inline/deep.rs", ""),
        ("src/a/lost.rs", ""),
        ("src/lib.rs", "mod a; #[cfg(test)] mod t; #[path = \"odd/../named.rs\"] mod n;"),
        ("src/main.rs", ""),
        ("src/named.rs", ""),
        ("src/t.rs", "mod u;"),
        ("src/t/u.rs", ""),
        ("tests/data/x.rs", ""),
    ]);
    assert_eq!(
        found,
        ["bench/part/lost.rs", "src/a/b/lost.rs", "src/a/lost.rs", "tests/data/x.rs"]
    );
    assert_eq!(tests, ["src/t.rs", "src/t/u.rs"]);
}

#[test]
fn a_file_that_others_reach_too_is_no_test_code() {
    let lib = "#[cfg(test)] mod a; mod b;";
    let b = "#[path = \"a.rs\"] mod again;";
    let (found, tests) = run(&[("src/a.rs", ""), ("src/b.rs", b), ("src/lib.rs", lib)]);
    assert_eq!((found.len(), tests.len()), (0, 0));
}

#[test]
fn names_that_say_nothing_are_found() {
    for name in EMPTY_NAMES {
        let file = format!("src/{name}.rs");
        assert_eq!(run(&[("src/lib.rs", &format!("mod {name};")), (&file, "")]).0, [file]);
        let text = format!("mod {name} {{}}");
        assert_eq!(run(&[("src/lib.rs", &text)]).0, ["src/lib.rs"]);
    }
    assert_eq!(run(&[("tests/common/main.rs", "")]).0.len(), 1);
    assert_eq!(run(&[("src/lib.rs", "mod utility { fn common() {} }")]).0.len(), 0);
}
