//! The configuration as text, and what differs between two.
//!
//! Input: one or two configurations.   Output: TOML, names of keys, the reference of all keys.
//! Owns: nothing.                      Thread: any, pure.
//! Invariants: `parse(print(c)) == c` for every `c` that came out of `parse`; lines are at most
//! `COLUMNS_MAX` wide where the values allow it.
//! Not here: how a single value is written (`kinds.rs`, `lists.rs`).

use super::keys::{self, PathRule, Reload, Visit};
use super::kinds::{Emitted, Kind};
use super::origin::{FreshnessRule, Origin};
use super::schema::{CacheRule, Config, Host};

/// One key of the reference: what `peerage` knows about it besides its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyNote {
    /// The section, such as `limits` or `host.cache_control`.
    pub section: &'static str,
    /// The name within the section.
    pub name: &'static str,
    /// The allowed values, in words.
    pub allowed: String,
    /// Whether a SIGHUP is enough after a change.
    pub reload: Reload,
}

/// The effective values as TOML.
pub(super) fn print(config: &Config) -> String {
    let mut config = config.clone();
    let mut out = String::new();
    let mut rows = Rows::default();
    keys::walk(&mut config, &mut rows);
    let mut section = "";
    for row in &rows.rows {
        if row.section != section {
            section = row.section;
            header(&mut out, &format!("[{section}]"));
        }
        print_row(&mut out, row);
    }
    for host in &mut config.hosts {
        let mut rows = Rows::default();
        keys::host(host, &mut rows);
        header(&mut out, "[[host]]");
        rows.rows.iter().for_each(|row| print_row(&mut out, row));
        if let Some(origin) = &mut host.origin {
            let mut rows = Rows::default();
            keys::origin(origin, &mut rows);
            header(&mut out, "[host.origin]");
            rows.rows.iter().for_each(|row| print_row(&mut out, row));
        }
        print_rules(&mut out, &mut host.cache_control, "host.cache_control");
        print_rules(&mut out, &mut host.freshness, "host.freshness");
    }
    print_rules(&mut out, &mut config.cache_control, "cache_control");
    print_rules(&mut out, &mut config.freshness, "freshness");
    out
}

/// The keys that differ and are read at start only.
pub(super) fn diff_restart(old: &Config, new: &Config) -> Vec<String> {
    let rows = |config: &Config| {
        let mut rows = Rows::default();
        keys::walk(&mut config.clone(), &mut rows);
        rows.rows
    };
    let (old, new) = (rows(old), rows(new));
    assert_eq!(old.len(), new.len(), "the walk visits the same keys whatever their values");
    let pairs = old.iter().zip(&new);
    pairs
        .filter(|(old, new)| old.reload == Reload::Restart && old.emitted != new.emitted)
        .map(|(old, _)| format!("{}.{}", old.section, old.name))
        .collect()
}

/// All keys, in the order of the annotated sample.
pub(super) fn reference() -> Vec<KeyNote> {
    let mut rows = Rows::default();
    keys::walk(&mut Config::default(), &mut rows);
    keys::host(&mut Host::default(), &mut rows);
    keys::origin(&mut Origin::default(), &mut rows);
    CacheRule::default().walk("host.cache_control", &mut rows);
    FreshnessRule::default().walk("host.freshness", &mut rows);
    CacheRule::default().walk("cache_control", &mut rows);
    FreshnessRule::default().walk("freshness", &mut rows);
    let note = |row: Row| {
        let Row { section, name, allowed, reload, .. } = row;
        KeyNote { section, name, allowed, reload }
    };
    rows.rows.into_iter().map(note).collect()
}

/// One key with its value.
struct Row {
    section: &'static str,
    name: &'static str,
    reload: Reload,
    allowed: String,
    emitted: Emitted,
}

/// The visitor that collects what it is shown.
#[derive(Default)]
struct Rows {
    section: &'static str,
    rows: Vec<Row>,
}

impl Visit for Rows {
    fn section(&mut self, name: &'static str) {
        self.section = name;
    }

    fn key<T>(&mut self, name: &'static str, reload: Reload, kind: impl Kind<T>, field: &mut T) {
        let (allowed, emitted) = (kind.allowed(), kind.emit(field));
        self.rows.push(Row { section: self.section, name, reload, allowed, emitted });
    }
}

fn header(out: &mut String, header: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(header);
    out.push('\n');
}

fn print_row(out: &mut String, row: &Row) {
    match &row.emitted {
        Emitted::Absent => {}
        Emitted::Value(value) => out.push_str(&format!("{} = {value}\n", row.name)),
        Emitted::List(list) => print_list(out, row.name, list),
        Emitted::Rows(rows) => {
            header(out, &format!("[{}.{}]", row.section, row.name));
            rows.iter().for_each(|(name, list)| print_list(out, name, list));
        }
    }
}

/// On one line if it fits, else filled over several.
fn print_list(out: &mut String, name: &str, list: &[String]) {
    let line = format!("{name} = [{}]", list.join(", "));
    if line.len() <= COLUMNS_MAX {
        out.push_str(&line);
        out.push('\n');
        return;
    }
    out.push_str(&format!("{name} = ["));
    let mut column = COLUMNS_MAX;
    for entry in list {
        if column + entry.len() + 2 > COLUMNS_MAX {
            out.push_str("\n    ");
            column = 4;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(entry);
        out.push(',');
        column += entry.len() + 1;
    }
    out.push_str("\n]\n");
}

fn print_rules(out: &mut String, rules: &mut [impl PathRule], section: &'static str) {
    for rule in rules {
        let mut rows = Rows::default();
        rule.walk(section, &mut rows);
        header(out, &format!("[[{section}]]"));
        rows.rows.iter().for_each(|row| print_row(out, row));
    }
}

const COLUMNS_MAX: usize = 100;
