//! Entries of the corpus: the file's notation as bytes and expectations.
//!
//! Not here: sending them (`corpus`).

/// How a connection stands after its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Open, and it would take another request.
    Keep,
    /// Closed.
    Close,
    /// Open, and more is waited for.
    Wait,
}

/// One line of the corpus.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub bytes: Vec<u8>,
    pub statuses: Vec<u16>,
    pub end: End,
}

const SHORT: &str = "GET /a.txt HTTP/1.1\\r\\nHost: a.example\\r\\n";

/// Reads the corpus.
pub fn load() -> Vec<Entry> {
    let text = include_str!("../data/corpus.txt");
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(parse).collect()
}

fn parse(line: &str) -> Entry {
    let (name, rest) = line.split_once(" | ").unwrap_or_else(|| panic!("no bytes: {line}"));
    let (bytes, expected) = rest.rsplit_once(" | ").unwrap_or_else(|| panic!("no end: {line}"));
    let bytes = match bytes.strip_prefix('~') {
        Some(rest) => format!("{SHORT}{}", rest.replace(';', "\\r\\n")),
        None => bytes.to_owned(),
    };
    let mut words: Vec<&str> = expected.split(' ').collect();
    let end = match words.pop() {
        Some("keep") => End::Keep,
        Some("close") => End::Close,
        Some("wait") => End::Wait,
        _ => panic!("keep, close or wait: {line}"),
    };
    let statuses = words.iter().map(|word| word.parse().unwrap()).collect();
    Entry { name: name.to_owned(), bytes: unescape(&bytes), statuses, end }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(inner) = rest.strip_prefix('{') {
            let (inner, after) = inner.split_once('}').unwrap_or_else(|| panic!("no }} in {text}"));
            let (what, times) = inner.rsplit_once('*').unwrap();
            bytes.extend(unescape(what).repeat(times.parse().unwrap()));
            rest = after;
            continue;
        }
        let taken = match rest.strip_prefix('\\').and_then(|rest| rest.chars().next()) {
            None => {
                assert!(first.is_ascii(), "escape it: {text}");
                bytes.extend_from_slice(first.to_string().as_bytes());
                1
            }
            Some('x') => {
                bytes.push(u8::from_str_radix(&rest[2..4], 16).unwrap());
                4
            }
            Some(letter) => {
                bytes.push(match letter {
                    'r' => b'\r',
                    'n' => b'\n',
                    't' => b'\t',
                    '0' => 0,
                    '\\' => b'\\',
                    _ => panic!("unknown escape in {text}"),
                });
                2
            }
        };
        rest = &rest[taken..];
    }
    bytes
}
