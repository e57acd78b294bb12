//! The repository as the rules see it: names and texts, read once.
//!
//! Input: the directory of Cargo.toml, or a list of files for a test.   Output: `Tree`.
//! Invariants: paths are from the top, with slashes, sorted; what is built or hidden (`target`,
//! dot folders but `.ci`) is not in it.
//! Not here: any rule.

use std::{fmt, fs, path::Path};

use crate::source::Source;

/// Extensions of the files whose text is read. Pictures and pages are names only.
const TEXT_EXTENSIONS: [&str; 4] = ["rs", "toml", "md", "sh"];

/// One thing to change, and what to write instead.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Finding {
    /// File, from the top of the repository.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Finding {
    /// A finding at `path:line`.
    pub fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        assert!(line > 0, "{path}: lines are counted from 1");
        Finding { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// The repository.
pub struct Tree {
    /// Names at the top level.
    pub top: Vec<String>,
    /// Every file's path.
    pub names: Vec<String>,
    /// Path and text of each file the rules read.
    pub texts: Vec<(String, String)>,
    /// The Rust files among them, taken apart.
    pub sources: Vec<Source>,
}

impl Tree {
    /// Reads the tree below `root`.
    pub fn load(root: &Path) -> Tree {
        let mut names = Vec::new();
        let mut top = Vec::new();
        list(root, "", &mut names, &mut top);
        let is_read = |name: &&String| name.starts_with(".ci/") || has_text(name);
        let texts = names.iter().filter(is_read).map(|name| {
            let text = fs::read(root.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name.clone(), String::from_utf8_lossy(&text).into_owned())
        });
        let texts: Vec<(String, String)> = texts.collect();
        Tree::assemble(top, names, texts)
    }

    /// A tree of these files, for the rules' own tests.
    pub fn of(files: &[(&str, &str)]) -> Tree {
        let owned = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        let texts: Vec<(String, String)> = owned.collect();
        let names: Vec<String> = texts.iter().map(|(path, _)| path.clone()).collect();
        let first = |name: &String| name.split('/').next().unwrap_or_default().to_owned();
        let mut top: Vec<String> = names.iter().map(first).collect();
        top.sort();
        top.dedup();
        Tree::assemble(top, names, texts)
    }

    fn assemble(top: Vec<String>, names: Vec<String>, texts: Vec<(String, String)>) -> Tree {
        let rust = texts.iter().filter(|(path, _)| extension(path) == "rs");
        let sources = rust.map(|(path, text)| Source::new(path, text)).collect();
        Tree { top, names, texts, sources }
    }

    /// The text of `path`, if the tree has it.
    pub fn text(&self, path: &str) -> Option<&str> {
        let found = self.texts.iter().find(|(name, _)| name == path);
        found.map(|(_, text)| text.as_str())
    }
}

/// What follows the last dot of a file's name.
pub fn extension(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn has_text(name: &str) -> bool {
    TEXT_EXTENSIONS.contains(&extension(name))
}

/// Adds the files below `dir` (whose path from the top is `prefix`), sorted by name.
fn list(dir: &Path, prefix: &str, names: &mut Vec<String>, top: &mut Vec<String>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if prefix.is_empty() {
            top.push(name.clone());
        }
        let hidden = name.starts_with('.') && name != ".ci";
        if entry.path().is_dir() {
            if !hidden && path != "target" {
                list(&entry.path(), &format!("{path}/"), names, top);
            }
        } else {
            names.push(path);
        }
    }
}

#[test]
fn a_loaded_tree_has_this_file_and_no_build_output() {
    let tree = Tree::load(Path::new(env!("CARGO_MANIFEST_DIR")));
    let this = file!();
    assert!(tree.text(this).is_some_and(|text| text.starts_with("//! The repository")));
    assert!(tree.names.iter().all(|name| !name.starts_with("target/")));
    assert!(tree.top.iter().any(|name| name == "Cargo.toml"));
}
