//! The reader: walks the table of keys over a parsed file and collects every fault it meets.
//!
//! Input: the file's text, once per load.   Output: a `Config` with its keys' lines, or faults.
//! Owns: faults and lines, bounded by the file's length.    Thread: any, pure.
//! Invariants: a key that the walk does not visit is reported as unknown; a key with a fault keeps
//! its default, so that the checks after it still run.
//! Not here: what a value may be (`kinds.rs`, `lists.rs`), which keys there are (`keys.rs`), how
//! keys relate (`relations.rs`).

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::errors::{Errors, Places, Problem, key_name, nearest};
use super::keys::{self, HOST_COUNT_MAX, PathRule, RULE_COUNT_MAX, Reload, Visit};
use super::kinds::{Item, Kind, describe};
use super::origin::Origin;
use super::relations;
use super::schema::{Config, Host};

/// Read a configuration from its text; `name` is what messages call the file.
pub(super) fn read(text: &str, name: &str) -> Result<Config, Errors> {
    let mut sink = Sink::new(text, name);
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let line = sink.line(&error.span().unwrap_or_default());
            let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            let what = format!("not TOML: {message}; nothing else was checked yet");
            sink.fault("", Some(line), what);
            return Err(Errors::new(sink.problems));
        }
    };
    let mut config = Config::default();
    sections(document.get_ref(), &mut config, &mut sink);
    relations::check(&config, &mut sink);
    if sink.problems.is_empty() {
        config.places = sink.places;
        return Ok(config);
    }
    Err(Errors::new(sink.problems))
}

/// Where faults and lines go.
pub(super) struct Sink {
    pub(super) places: Places,
    problems: Vec<Problem>,
    /// Offsets of the line ends, so that a line is found by bisection: a file of 10000 hosts has
    /// some 100000 places.
    line_ends: Vec<usize>,
}

impl Sink {
    fn new(text: &str, name: &str) -> Sink {
        let line_ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Sink {
            places: Places { file: name.to_owned(), ..Places::default() },
            problems: Vec::new(),
            line_ends: line_ends.map(|(offset, _)| offset).collect(),
        }
    }

    /// The line on which a span begins, from 1.
    fn line(&self, span: &Range<usize>) -> usize {
        self.line_ends.partition_point(|end| *end < span.start) + 1
    }

    pub(super) fn fault(&mut self, key: &str, line: Option<usize>, what: String) {
        let (file, key) = (self.places.file.clone(), key.to_owned());
        self.problems.push(Problem { file, line, key, what });
    }

    /// Whether a fault of `key` is known, so that its value is only its default.
    pub(super) fn has_fault(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == key)
    }

    /// The same for a key of an array of tables, which is told by its line.
    pub(super) fn has_fault_at(&self, key: &str, line: Option<usize>) -> bool {
        line.is_some()
            && self.problems.iter().any(|problem| problem.line == line && problem.key == key)
    }
}

/// A sink bound to one key.
pub(super) struct Report<'a> {
    sink: &'a mut Sink,
    key: String,
    place: String,
}

impl Report<'_> {
    /// The value is wrong in this way.
    pub(super) fn fault(&mut self, item: &Item<'_>, what: String) {
        let line = self.line(item);
        self.sink.fault(&self.key, Some(line), what);
    }

    /// The value, or a fault.
    pub(super) fn keep<T>(&mut self, item: &Item<'_>, read: Result<T, String>) -> Option<T> {
        read.map_err(|what| self.fault(item, what)).ok()
    }

    /// The line on which a value begins.
    pub(super) fn line(&self, item: &Item<'_>) -> usize {
        self.sink.line(&item.span())
    }

    /// Remember where the entry at `index` of a list stands.
    pub(super) fn place_entry(&mut self, index: usize, item: &Item<'_>) {
        let line = self.line(item);
        self.sink.places.lines.insert(format!("{}[{index}]", self.place), line);
    }

    /// A report for `name` below this key.
    pub(super) fn below(&mut self, name: &str) -> Report<'_> {
        let (key, place) = (format!("{}.{name}", self.key), format!("{}.{name}", self.place));
        Report { sink: &mut *self.sink, key, place }
    }
}

/// The visitor that reads: over all sections of a file, or over one table of an array.
struct Reader<'a> {
    sink: &'a mut Sink,
    /// The whole file, when sections are to be looked up in it.
    root: Option<&'a DeTable<'a>>,
    table: Option<&'a DeTable<'a>>,
    section: &'static str,
    place: String,
    known: Vec<(&'static str, &'static str)>,
}

impl Visit for Reader<'_> {
    fn section(&mut self, name: &'static str) {
        self.section = name;
        let Some(root) = self.root else {
            return;
        };
        name.clone_into(&mut self.place);
        let item = root.get(name);
        self.table = item.and_then(|item| item.get_ref().as_table());
        if let Some(item) = item
            && self.table.is_none()
        {
            let remedy = format!("write [{name}] once and its keys below it");
            let line = self.sink.line(&item.span());
            self.sink.fault(name, Some(line), format!("{} is given; {remedy}", describe(item)));
        }
    }

    fn key<T>(&mut self, name: &'static str, _: Reload, kind: impl Kind<T>, field: &mut T) {
        self.known.push((self.section, name));
        let Some((key, item)) = self.table.and_then(|table| table.get_key_value(name)) else {
            return;
        };
        let place = format!("{}.{name}", self.place);
        let line = self.sink.line(&key.span());
        self.sink.places.lines.insert(place.clone(), line);
        let key = format!("{}.{name}", self.section);
        let mut report = Report { sink: &mut *self.sink, key, place };
        if let Some(value) = kind.read(item, &mut report) {
            *field = value;
        }
    }
}

impl<'a> Reader<'a> {
    fn of_file(root: &'a DeTable<'a>, sink: &'a mut Sink) -> Reader<'a> {
        let (place, known) = (String::new(), Vec::new());
        Reader { sink, root: Some(root), table: None, section: "", place, known }
    }

    fn of_table(table: &'a DeTable<'a>, place: String, sink: &'a mut Sink) -> Reader<'a> {
        Reader { sink, root: None, table: Some(table), section: "", place, known: Vec::new() }
    }

    /// A key without which there is nothing to serve.
    fn require(&mut self, name: &str, line: usize, remedy: &str) {
        if self.table.is_none_or(|table| !table.contains_key(name)) {
            let key = format!("{}.{name}", self.section);
            self.sink.fault(&key, Some(line), format!("is missing; {remedy}"));
        }
    }

    /// Report the keys of `table` that the walk over `section` did not visit.
    fn refuse_unknown(&mut self, section: &str, table: &DeTable<'_>) {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&(section, name)) {
                continue;
            }
            let own: Vec<&str> =
                self.known.iter().filter(|(of, _)| *of == section).map(|(_, name)| *name).collect();
            let elsewhere = self.known.iter().find(|(_, known)| *known == name);
            let hint = match (nearest(name, own.iter().copied()), elsewhere) {
                (Some(near), _) => format!("did you mean {near}?"),
                (None, Some((of, _))) => format!("it belongs below [{of}]"),
                (None, None) => format!("known are {}", own.join(", ")),
            };
            let line = self.sink.line(&key.span());
            let key = format!("{section}.{}", key_name(name));
            self.sink.fault(&key, Some(line), format!("unknown key; {hint}"));
        }
    }

    /// Report what stands at the top of the file and is no section.
    fn refuse_unknown_sections(&mut self, root: &DeTable<'_>) {
        let mut sections: Vec<&str> = self.known.iter().map(|(section, _)| *section).collect();
        sections.extend(ARRAYS);
        sections.dedup();
        for (key, value) in root {
            let name = key.get_ref().as_ref();
            if sections.contains(&name) {
                continue;
            }
            let single = match value.get_ref() {
                DeValue::Table(_) => false,
                DeValue::Array(array) => !array.iter().any(|item| item.get_ref().is_table()),
                _ => true,
            };
            let elsewhere = self.known.iter().find(|(_, known)| *known == name);
            let hint = match (nearest(name, sections.iter().copied()), elsewhere) {
                (Some(near), _) => format!("did you mean {}?", header(near)),
                (None, Some((of, _))) => format!("it belongs below [{of}]"),
                (None, None) => {
                    let known: Vec<String> = sections.iter().map(|name| header(name)).collect();
                    format!("known are {}", known.join(", "))
                }
            };
            let what = if single { "unknown key outside all sections" } else { "unknown section" };
            let line = self.sink.line(&key.span());
            self.sink.fault(&key_name(name), Some(line), format!("{what}; {hint}"));
        }
    }
}

fn sections(root: &DeTable<'_>, config: &mut Config, sink: &mut Sink) {
    let mut reader = Reader::of_file(root, sink);
    keys::walk(config, &mut reader);
    for (key, item) in root {
        let name = key.get_ref().as_ref();
        if let Some(table) = item.get_ref().as_table()
            && !ARRAYS.contains(&name)
            && reader.known.iter().any(|(section, _)| *section == name)
        {
            reader.refuse_unknown(name, table);
        }
    }
    reader.refuse_unknown_sections(root);
    let tree = root.get_key_value("tree");
    let line = tree.map_or(1, |(key, _)| reader.sink.line(&key.span()));
    if tree.is_none_or(|(_, item)| item.get_ref().is_table()) {
        reader.section("tree");
        reader.require(
            "root",
            line,
            "write below [tree] root = \"/var/lib/peerage/tree\" or another",
        );
    }
    config.cache_control = rules(root, "cache_control", "cache_control", sink);
    config.freshness = rules(root, "freshness", "freshness", sink);
    for (index, item) in tables(root, "host", "host", HOST_COUNT_MAX, sink).iter().enumerate() {
        config.hosts.push(host(index, item, sink));
    }
}

fn host(index: usize, item: &Item<'_>, sink: &mut Sink) -> Host {
    let mut host = Host::default();
    let Some(table) = item.get_ref().as_table() else {
        return host;
    };
    let line = sink.line(&item.span());
    let mut reader = Reader::of_table(table, format!("host[{index}]"), sink);
    keys::host(&mut host, &mut reader);
    // A walk over no table only learns the names, so that `addresses` beside `name` is told where
    // it belongs.
    reader.table = None;
    keys::origin(&mut Origin::default(), &mut reader);
    (reader.table, reader.section) = (Some(table), "host");
    reader.known.extend(["origin", "cache_control", "freshness"].map(|name| ("host", name)));
    reader.refuse_unknown("host", table);
    reader.require("name", line, "write name = \"www.example.com\" or another");
    let place = format!("host[{index}].cache_control");
    host.cache_control = rules(table, "host.cache_control", &place, sink);
    let place = format!("host[{index}].freshness");
    host.freshness = rules(table, "host.freshness", &place, sink);
    host.origin = origin(table, format!("host[{index}].origin"), sink);
    host
}

fn origin(host: &DeTable<'_>, place: String, sink: &mut Sink) -> Option<Origin> {
    let (key, item) = host.get_key_value("origin")?;
    let line = sink.line(&key.span());
    let Some(table) = item.get_ref().as_table() else {
        let remedy = "write [host.origin] once in a host, and its keys below it";
        sink.fault("host.origin", Some(line), format!("{} is given; {remedy}", describe(item)));
        return None;
    };
    sink.places.lines.insert(place.clone(), line);
    let mut origin = Origin::default();
    let mut reader = Reader::of_table(table, place, sink);
    keys::origin(&mut origin, &mut reader);
    reader.refuse_unknown("host.origin", table);
    reader.require("addresses", line, "write addresses = [\"192.0.2.1:8080\"] or others");
    Some(origin)
}

fn rules<R: PathRule>(
    table: &DeTable<'_>,
    section: &'static str,
    place: &str,
    sink: &mut Sink,
) -> Vec<R> {
    let mut list = Vec::new();
    let name = section.rsplit('.').next().unwrap_or_default();
    let items = tables(table, name, section, RULE_COUNT_MAX, sink);
    for (index, item) in items.iter().enumerate() {
        let mut rule = R::default();
        let Some(table) = item.get_ref().as_table() else {
            continue;
        };
        let line = sink.line(&item.span());
        let mut reader = Reader::of_table(table, format!("{place}[{index}]"), sink);
        rule.walk(section, &mut reader);
        reader.refuse_unknown(section, table);
        for (name, remedy) in R::REQUIRED {
            reader.require(name, line, remedy);
        }
        list.push(rule);
    }
    list
}

/// The tables of an array of tables; anything else in its place is a fault.
fn tables<'a>(
    table: &'a DeTable<'a>,
    name: &str,
    section: &str,
    count_max: usize,
    sink: &mut Sink,
) -> Vec<&'a Item<'a>> {
    let Some(item) = table.get(name) else {
        return Vec::new();
    };
    let remedy = format!("write [[{section}]] with two brackets, and its keys below it");
    let array = match item.get_ref() {
        DeValue::Array(array) => array,
        _ => {
            let line = sink.line(&item.span());
            sink.fault(section, Some(line), format!("{} is given; {remedy}", describe(item)));
            return Vec::new();
        }
    };
    for item in array.iter().filter(|item| !item.get_ref().is_table()) {
        let line = sink.line(&item.span());
        sink.fault(section, Some(line), format!("{} is given; {remedy}", describe(item)));
    }
    if let Some(beyond) = array.get(count_max) {
        let (line, count) = (sink.line(&beyond.span()), array.len());
        let what = format!("{count} of them are too many; allowed at most {count_max}");
        sink.fault(section, Some(line), what);
    }
    array.iter().filter(|item| item.get_ref().is_table()).take(count_max).collect()
}

/// A section as its header is written.
fn header(section: &str) -> String {
    if ARRAYS.contains(&section) { format!("[[{section}]]") } else { format!("[{section}]") }
}

/// The sections that are arrays of tables.
const ARRAYS: [&str; 3] = ["host", "cache_control", "freshness"];
