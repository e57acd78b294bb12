//! What stands at the top: Cargo.toml's list of benches and tools, the README's two commands,
//! and nothing that has a place elsewhere.
//!
//! Input: the tree.   Output: findings.
//! Invariants: Cargo.toml is read line by line, since its tables here are plain.
//! Not here: dependencies and lints; Cargo and clippy judge them.

use crate::{
    modules::is_root,
    tree::{Finding, Tree},
};

/// Names allowed at the top beside dot files and LICENSE*.
const TOP: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "conf",
    "bench",
    "tests",
    "tools",
    "README.md",
    "CHANGELOG.md",
];
/// What building leaves there; git ignores it.
const BUILD_OUTPUT: &str = "target";
const HEADING: &str = "## Two commands";

/// Checks the top level, Cargo.toml and README.md.
pub fn check(tree: &Tree, out: &mut Vec<Finding>) {
    for name in &tree.top {
        let allowed = TOP.contains(&name.as_str())
            || name == BUILD_OUTPUT
            || name.starts_with('.')
            || name.starts_with("LICENSE");
        if !allowed {
            let message =
                "the top level is fixed; move this below src, conf, bench, tests or tools";
            out.push(Finding::new(name, 1, message));
        }
    }
    targets(tree, out);
    two_commands(tree, out);
}

/// The `path` of each [[bench]], [[example]], [[bin]] and [[test]], with its line.
fn declared(manifest: &str) -> Vec<(String, usize)> {
    let mut out = Vec::new();
    let mut in_target = false;
    for (i, line) in manifest.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.starts_with('[') {
            in_target = ["[[bench]]", "[[example]]", "[[bin]]", "[[test]]"].contains(&line);
        } else if in_target
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "path"
        {
            out.push((value.trim().trim_matches(['"', '\'']).to_owned(), i + 1));
        }
    }
    out
}

fn targets(tree: &Tree, out: &mut Vec<Finding>) {
    let Some(manifest) = tree.text("Cargo.toml") else {
        out.push(Finding::new("Cargo.toml", 1, "missing; this test must run in the repository"));
        return;
    };
    let declared = declared(manifest);
    for (path, line) in &declared {
        if !tree.names.contains(path) {
            let message = format!("`{path}` does not exist; correct the path or drop the table");
            out.push(Finding::new("Cargo.toml", *line, message));
        }
    }
    for source in &tree.sources {
        let is_main = is_root(&source.path)
            && (source.path.starts_with("tools/") || source.path.starts_with("bench/"));
        if is_main && !declared.iter().any(|(path, _)| *path == source.path) {
            let kind = if source.path.starts_with("tools/") { "[[example]]" } else { "[[bench]]" };
            let message = format!(
                "not declared, so never built; add {kind} with this path to Cargo.toml, or move a \
                 part of another program into its folder"
            );
            out.push(Finding::new(&source.path, 1, message));
        }
    }
}

/// The README shows how to build and start in two lines, and CI runs the second as it stands.
fn two_commands(tree: &Tree, out: &mut Vec<Finding>) {
    let mut add = |line: usize, message: String| {
        out.push(Finding::new("README.md", line, message));
    };
    let Some(readme) = tree.text("README.md") else {
        return add(1, format!("missing; write it, with the section `{HEADING}`"));
    };
    let numbered = readme.lines().enumerate().map(|(i, line)| (i + 1, line));
    let mut section = numbered.skip_while(|(_, line)| line.trim_end() != HEADING);
    let Some((heading, _)) = section.next() else {
        return add(1, format!("no section `{HEADING}`; write it, with one fenced block"));
    };
    let mut commands: Vec<(usize, &str)> = Vec::new();
    let mut fences = 0_usize;
    for (i, line) in section {
        let inside = fences % 2 == 1;
        if !inside && (line.starts_with("## ") || line.starts_with("# ")) {
            break;
        } else if line.starts_with("```") {
            fences += 1;
        } else if inside && !line.trim().is_empty() {
            commands.push((i, line.trim()));
        }
    }
    if fences != 2 || commands.len() != 2 {
        let (blocks, lines) = (fences.div_ceil(2), commands.len());
        return add(
            heading,
            format!(
                "`{HEADING}` has {blocks} fenced blocks with {lines} commands; write one closed \
                 block of two lines"
            ),
        );
    }
    let (line, second) = commands[1];
    if !tree.text(".ci/run").is_some_and(|script| script.contains(second)) {
        add(line, format!(".ci/run lacks `{second}`; run there what the reader is told to run"));
    }
}

fn found(files: &[(&str, &str)]) -> Vec<String> {
    let mut out = Vec::new();
    check(&Tree::of(files), &mut out);
    out.sort();
    out.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
}

const MANIFEST: (&str, &str) = ("Cargo.toml", "[package]\npath = \"not-this\"\n");
const README: (&str, &str) = ("README.md", "## Two commands\n```\nmake\nserve\n```\n## Next\n");
const CI: (&str, &str) = (".ci/run", "x\nserve &\n");

#[test]
fn strays_at_the_top_are_found() {
    let good = [MANIFEST, README, CI, (".gitignore", ""), ("LICENSE-MIT", ""), ("conf/x", "")];
    assert_eq!(found(&good), [""; 0]);
    for name in ["build.rs", "docs/x.md", "examples/x.rs", "Makefile"] {
        let top = name.split('/').next().unwrap_or_default();
        assert_eq!(found(&[MANIFEST, README, CI, (name, "")]), [format!("{top}:1")]);
    }
}

#[test]
fn undeclared_and_missing_targets_are_found() {
    let manifest = "[[bench]]\nname = \"b\"\npath = \"bench/b.rs\" # why\n\n\
                    [[example]]\npath='tools/t/main.rs'\n[dependencies]\npath = \"x\"\n";
    let manifest = ("Cargo.toml", manifest);
    let (bench, tool) = (("bench/b.rs", ""), ("tools/t/main.rs", ""));
    let part = ("tools/t/part.rs", "");
    assert_eq!(found(&[manifest, README, CI, bench, tool, part]), [""; 0]);
    assert_eq!(found(&[manifest, README, CI, bench]), ["Cargo.toml:6"]);
    assert_eq!(found(&[manifest, README, CI, tool]), ["Cargo.toml:3"]);
    for extra in ["bench/c.rs", "tools/u.rs", "tools/u/main.rs"] {
        let expected = [format!("{extra}:1")];
        assert_eq!(found(&[manifest, README, CI, bench, tool, (extra, "")]), expected);
    }
    assert_eq!(found(&[README, CI]), ["Cargo.toml:1"]);
}

#[test]
fn a_readme_without_its_two_commands_is_found() {
    for (text, expected) in [
        ("## Two commands\n```sh\nmake\n\nserve\n```\n", ""),
        ("## Two commands\n```sh\nmake\nserve\n```\n## More\n```\nx\n```\n", ""),
        ("# x\n", "README.md:1"),
        ("x\n## Two commands\nmake\nserve\n", "README.md:2"),
        ("## Two commands\n```\nserve\n```\n", "README.md:1"),
        ("## Two commands\n```\nmake\nserve\nmore\n```\n", "README.md:1"),
        ("## Two commands\n```\nmake\n```\n```\nserve\n```\n", "README.md:1"),
        ("## Two commands\n```\nmake\nserve\n", "README.md:1"),
        ("## Two commands\n```\nserve\nother\n```\n", "README.md:4"),
    ] {
        let expected: Vec<&str> = expected.split_whitespace().collect();
        assert_eq!(found(&[MANIFEST, CI, ("README.md", text)]), expected, "{text}");
    }
    assert_eq!(found(&[MANIFEST, README]), ["README.md:4"]);
}
