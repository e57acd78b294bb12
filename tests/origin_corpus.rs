//! The corpus of hostile and odd answers (`tests/data/origin.txt`): each whole, cut in two at every
//! byte, and byte by byte, always with the same outcome.
//!
//! Not here: mutated answers (`tests/fuzz_http.rs`), an origin on a real socket.

use std::collections::BTreeSet;

use peerage::http::Method;
use peerage::http::fuzz::{AnswerEnd, Answered, drive_origin};
use peerage::http::origin::{Close, Framing};

/// One line of the corpus.
struct Entry {
    name: &'static str,
    method: Method,
    close: Option<Close>,
    bytes: Vec<u8>,
    expected: &'static str,
}

fn load() -> Vec<Entry> {
    let text = include_str!("data/origin.txt");
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(parse).collect()
}

fn parse(line: &'static str) -> Entry {
    let parts: Vec<&str> = line.split(" | ").collect();
    let [name, asked, bytes, expected] = parts[..] else { panic!("four columns: {line}") };
    let (method, close) = match asked {
        "get" => (Method::Get, None),
        "get fin" => (Method::Get, Some(Close::Orderly)),
        "get rst" => (Method::Get, Some(Close::Broken)),
        "head" => (Method::Head, None),
        "head fin" => (Method::Head, Some(Close::Orderly)),
        _ => panic!("get or head, and fin or rst: {line}"),
    };
    let bytes = match bytes.strip_prefix('~') {
        Some(rest) => format!("HTTP/1.1 200 OK\\r\\n{}", rest.replace(';', "\\r\\n")),
        None => bytes.to_owned(),
    };
    Entry { name, method, close, bytes: unescape(&bytes), expected }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(inner) = rest.strip_prefix('{') {
            let (inner, after) = inner.split_once('}').unwrap_or_else(|| panic!("no }} in {text}"));
            let (what, times) = inner.rsplit_once('*').expect("bytes and a count");
            bytes.extend(unescape(what).repeat(times.parse().expect("a count")));
            rest = after;
            continue;
        }
        let escape = rest.strip_prefix('\\').and_then(|rest| rest.chars().next());
        let (byte, taken) = match escape {
            None => (u8::try_from(first).unwrap_or_else(|_| panic!("escape it: {text}")), 1),
            Some('r') => (b'\r', 2),
            Some('n') => (b'\n', 2),
            Some('t') => (b'\t', 2),
            Some('0') => (0, 2),
            Some('x') => (u8::from_str_radix(&rest[2..4], 16).expect("two digits"), 4),
            Some(_) => panic!("unknown escape in {text}"),
        };
        bytes.push(byte);
        rest = &rest[taken..];
    }
    bytes
}

/// An outcome in the words of the corpus.
fn words(found: &Answered) -> String {
    let head = found.head.map_or("- -".to_owned(), |(status, framing)| match framing {
        Framing::None => format!("{status} none"),
        Framing::Length(_) => format!("{status} length"),
        Framing::Chunked => format!("{status} chunked"),
        Framing::UntilClose => format!("{status} close"),
    });
    let end = match found.end {
        AnswerEnd::Complete => "complete",
        AnswerEnd::Open => "open",
        AnswerEnd::Failed(error) => error.name(),
    };
    let after = match (found.is_reusable, found.has_excess) {
        (true, _) => "keep",
        (false, true) => "excess",
        (false, false) => "close",
    };
    format!("{head} {} {end} {after}", found.body.len())
}

/// Everything that is wrong about the outcome of `entry`.
fn check(entry: &Entry) -> Option<String> {
    let Entry { name, method, close, bytes, expected } = entry;
    let whole = drive_origin(bytes, &[], *method, *close);
    let found = words(&whole);
    if found != *expected {
        return Some(format!("{name}: expected {expected}, found {found} ({:?})", whole.end));
    }
    let twos = (1..bytes.len()).map(|cut| vec![cut]);
    let differs = |cuts: &Vec<usize>| drive_origin(bytes, cuts, *method, *close) != whole;
    let cuts = twos.chain([(0..bytes.len()).collect()]).find(differs)?;
    let other = drive_origin(bytes, &cuts, *method, *close);
    Some(format!("{name} cut at {cuts:?}: {other:?} instead of {whole:?}"))
}

#[test]
fn every_answer_has_its_outcome_however_it_is_cut() {
    let entries = load();
    assert!(entries.len() >= 80, "{} entries", entries.len());
    let names: BTreeSet<&str> = entries.iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), entries.len(), "each name once");
    let wrong: Vec<String> = entries.iter().filter_map(check).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
