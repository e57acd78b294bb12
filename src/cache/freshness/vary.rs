//! Which of the answers stored for one key a request may get: secondary keys, bounded variants.
//!
//! Owns: `Variants`, bounded by VARIANTS_MAX.   Thread: any, pure.
//! Invariants: a request selects a variant only if the fields that its Vary nominates agree; the
//! newest such variant is selected; a field that is absent agrees with an absent one only.
//! Not here: the primary key (`cache::key`), the coding of a reply from files (`http::encoding`).
//! Source: RFC 9111 section 4.1; RFC 9110 sections 12.5.3, 12.5.5.
//! Differs from the source: Accept-Encoding is reduced to the known codings that it accepts, in one
//! order, and none is the same as `identity`; whoever fetches must send just that, so that no
//! answer is stored in a coding that a request of the same secondary key cannot read.

use arrayvec::{ArrayString, ArrayVec};

use crate::limits::{SECONDARY_KEY_BYTES_MAX, VARIANTS_MAX, VARY_FIELDS_MAX};

use super::Fields;
use super::control::quoted_len;

/// Codings that a variant may be stored in, as registered; `x-gzip` is gzip (RFC 9110 8.4.1.3).
const CODINGS: [&str; 4] = ["br", "deflate", "gzip", "zstd"];

/// The request fields that an answer depends on: lower case, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nominated(Vec<Box<str>>);

/// Why an answer's Vary cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaryError {
    /// It is `*`, or holds something that is no field name: no request matches it.
    Any,
    /// It nominates more than VARY_FIELDS_MAX fields.
    TooMany,
}

/// The nominated fields of one request, in a form in which equal ones are equal bytes. It lies on
/// the stack, so that a hit allocates nothing.
pub type SecondaryKey = ArrayVec<u8, SECONDARY_KEY_BYTES_MAX>;

/// Room for all of `CODINGS` as a list.
const CODINGS_BYTES: usize = 32;

impl Nominated {
    /// Reads an answer's Vary.
    ///
    /// # Errors
    /// If no request can match it, or it nominates too many fields.
    pub fn parse(fields: Fields<'_>) -> Result<Self, VaryError> {
        let mut names: Vec<Box<str>> = Vec::new();
        let mut too_many = false;
        let members = fields.values("Vary").flat_map(|value| value.split(|byte| *byte == b','));
        for member in members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()) {
            // RFC 9111 4.1: one `*` is enough, wherever it stands.
            let is_token = member.iter().all(|byte| is_token_byte(*byte));
            let name = str::from_utf8(member).map_err(|_| VaryError::Any)?.to_ascii_lowercase();
            if member == b"*" || !is_token {
                return Err(VaryError::Any);
            }
            if names.iter().all(|known| **known != *name) {
                too_many |= names.len() == VARY_FIELDS_MAX;
                if !too_many {
                    names.push(name.into());
                }
            }
        }
        names.sort_unstable();
        if too_many { Err(VaryError::TooMany) } else { Ok(Self(names)) }
    }

    /// Whether the answer is the same for all requests.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, to be kept beside the answer.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    /// The secondary key of a request; `None` if it is longer than SECONDARY_KEY_BYTES_MAX.
    #[must_use]
    pub fn key(&self, request: Fields<'_>) -> Option<SecondaryKey> {
        let mut key = SecondaryKey::new();
        for name in self.names() {
            append(&mut key, name.as_bytes())?;
            if name == "accept-encoding" {
                append(&mut key, b":")?;
                append(&mut key, emit_accept_encoding(request).as_bytes())?;
            } else if request.has(name) {
                append(&mut key, b":")?;
                append_normal(&mut key, name, request)?;
            }
            append(&mut key, b"\n")?;
        }
        Some(key)
    }
}

fn append(key: &mut SecondaryKey, bytes: &[u8]) -> Option<()> {
    key.try_extend_from_slice(bytes).ok()
}

/// RFC 9111 4.1: changes nothing that could change the meaning.
fn append_normal(key: &mut SecondaryKey, name: &str, request: Fields<'_>) -> Option<()> {
    // Lists whose members are told apart by comma and semicolon, blanks around them mean nothing.
    let is_list = matches!(name, "accept" | "accept-charset" | "accept-language");
    for (place, value) in request.values(name).enumerate() {
        // A line end would let one value pose as two fields; no parsed head has one.
        if value.contains(&b'\n') {
            return None;
        }
        let from = key.len();
        match (is_list, place) {
            (_, 0) => {}
            (true, _) => append(key, b",")?,
            (false, _) => append(key, b", ")?,
        }
        if is_list {
            append_compact(key, value.trim_ascii())?;
        } else {
            append(key, value.trim_ascii())?;
        }
        // Names of languages and character sets have no case (RFC 9110 8.3.2, 8.5.1).
        if is_list && name != "accept" {
            key[from..].make_ascii_lowercase();
        }
    }
    Some(())
}

/// Appends a list without the blanks around its commas and semicolons.
fn append_compact(key: &mut SecondaryKey, list: &[u8]) -> Option<()> {
    let (mut at, mut blank) = (0, false);
    let mut after_separator = true;
    while at < list.len() {
        let len = if list[at] == b'"' { quoted_len(&list[at..]).unwrap_or(1) } else { 1 };
        match list[at] {
            b' ' | b'\t' => blank = true,
            b',' | b';' => {
                append(key, &list[at..=at])?;
                (blank, after_separator) = (false, true);
            }
            _ => {
                if blank && !after_separator {
                    append(key, b" ")?;
                }
                append(key, &list[at..at + len])?;
                (blank, after_separator) = (false, false);
            }
        }
        at += len;
    }
    Some(())
}

/// The Accept-Encoding that a fetch sends for `request`: the known codings that it accepts, or
/// `identity`.
#[must_use]
pub fn emit_accept_encoding(request: Fields<'_>) -> ArrayString<CODINGS_BYTES> {
    // Per coding: whether it was named, and whether it is accepted.
    let mut named = [None; CODINGS.len()];
    let mut others = false;
    let members =
        request.values("Accept-Encoding").flat_map(|value| value.split(|byte| *byte == b','));
    for member in members {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let coding = parts.next().unwrap_or_default();
        let accepted = parts.all(is_weight_above_zero);
        if coding == b"*" {
            others = accepted;
        }
        for (known, named) in CODINGS.iter().zip(&mut named) {
            let alias = *known == "gzip" && coding.eq_ignore_ascii_case(b"x-gzip");
            if alias || coding.eq_ignore_ascii_case(known.as_bytes()) {
                // The stricter of two mentions counts.
                *named = Some(named.unwrap_or(true) && accepted);
            }
        }
    }
    let mut list = ArrayString::new();
    for (coding, named) in CODINGS.into_iter().zip(named) {
        if named.unwrap_or(others) {
            list.push_str(if list.is_empty() { "" } else { ", " });
            list.push_str(coding);
        }
    }
    if list.is_empty() {
        list.push_str("identity");
    }
    list
}

/// Whether a parameter leaves its coding acceptable: `q=0` and a broken weight do not.
fn is_weight_above_zero(parameter: &[u8]) -> bool {
    match parameter {
        [b'q' | b'Q', b'=', weight @ ..] => {
            let valid = weight.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
            valid && weight.iter().any(|byte| (b'1'..=b'9').contains(byte))
        }
        _ => true,
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

struct Variant<V> {
    nominated: Nominated,
    key: Box<[u8]>,
    used: u64,
    value: V,
}

/// What is stored for one key, one value per variant.
pub struct Variants<V> {
    /// The oldest first.
    entries: Vec<Variant<V>>,
    uses: u64,
}

impl<V> Default for Variants<V> {
    fn default() -> Self {
        Self { entries: Vec::new(), uses: 0 }
    }
}

impl<V> Variants<V> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The newest variant that `request` may get.
    pub fn select(&mut self, request: Fields<'_>) -> Option<&mut V> {
        // Nearly always all variants of a key nominate the same fields: one key serves them all.
        let mut last: Option<(&Nominated, Option<SecondaryKey>)> = None;
        let place = self.entries.iter().rposition(|entry| {
            if last.as_ref().is_none_or(|(nominated, _)| **nominated != entry.nominated) {
                last = Some((&entry.nominated, entry.nominated.key(request)));
            }
            let key = last.as_ref().and_then(|(_, key)| key.as_deref());
            key.is_some_and(|key| *key == *entry.key)
        })?;
        self.uses += 1;
        let entry = &mut self.entries[place];
        entry.used = self.uses;
        Some(&mut entry.value)
    }

    /// Keeps the answer to `request`, and returns what it replaces, or the least recently used one
    /// where there is no room. Hands `value` back where the request has no secondary key.
    pub fn insert(&mut self, nominated: Nominated, request: Fields<'_>, value: V) -> Option<V> {
        let Some(key) = nominated.key(request) else { return Some(value) };
        // A key holds the names too, so equal keys are of equal nominations.
        let same = |entry: &Variant<V>| *entry.key == *key;
        let mut leaves = self.entries.iter().position(same);
        if leaves.is_none() && self.entries.len() == VARIANTS_MAX {
            let places = self.entries.iter().enumerate();
            leaves = places.min_by_key(|(_, entry)| entry.used).map(|(place, _)| place);
        }
        let left = leaves.map(|place| self.entries.remove(place).value);
        self.uses += 1;
        self.entries.push(Variant { nominated, key: key[..].into(), used: self.uses, value });
        assert!(self.entries.len() <= VARIANTS_MAX);
        left
    }

    /// Takes all of them out: every variant of a key goes with it.
    pub fn drain(&mut self) -> impl Iterator<Item = V> {
        self.entries.drain(..).map(|entry| entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nominated(vary: &str) -> Result<Nominated, VaryError> {
        Nominated::parse(Fields(&[(b"Vary", vary.as_bytes())]))
    }

    fn key(vary: &str, request: &[(&str, &str)]) -> String {
        let lines: Vec<(&[u8], &[u8])> =
            request.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let key = nominated(vary).unwrap().key(Fields(&lines)).unwrap();
        String::from_utf8(key.to_vec()).unwrap()
    }

    #[test]
    fn table_of_vary() {
        let many: Vec<String> = (0..=VARY_FIELDS_MAX).map(|number| format!("x{number}")).collect();
        assert_eq!(nominated(&many[1..].join(",")).unwrap().names().count(), VARY_FIELDS_MAX);
        assert_eq!(nominated(&many.join(",")), Err(VaryError::TooMany));
        assert_eq!(nominated(&(many.join(",") + ",*")), Err(VaryError::Any));
        assert_eq!(nominated("a b"), Err(VaryError::Any));
        assert_eq!(nominated("a, \u{e9}"), Err(VaryError::Any));
        let names: Vec<String> =
            nominated(" ,B, a,b").unwrap().names().map(str::to_owned).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(nominated("").unwrap().is_empty());
    }

    #[test]
    fn table_of_secondary_keys() {
        for (vary, request, expected) in [
            ("a", &[][..], "a\n"),
            ("a", &[("A", "")], "a:\n"),
            ("a", &[("A", "x,y")], "a:x,y\n"),
            ("a", &[("A", "x"), ("A", "y")], "a:x, y\n"),
            (
                "Accept",
                &[("accept", "a/b ; q=1 , C/d;x=\"1 , 2\"")],
                "accept:a/b;q=1,C/d;x=\"1 , 2\"\n",
            ),
            ("Accept-Language", &[("Accept-Language", "de-DE ,EN")], "accept-language:de-de,en\n"),
            ("Accept-Language", &[("Accept-Language", "de e\"n")], "accept-language:de e\"n\n"),
            ("Accept-Encoding, a", &[], "a\naccept-encoding:identity\n"),
        ] {
            assert_eq!(key(vary, request), expected, "{vary} {request:?}");
        }
    }

    #[test]
    fn table_of_codings() {
        for (sent, expected) in [
            ("", "identity"),
            ("identity", "identity"),
            ("exotic", "identity"),
            ("gzip", "gzip"),
            ("GZIP, deflate , br", "br, deflate, gzip"),
            ("gzip;q=0.001", "gzip"),
            ("gzip;q=0, br", "br"),
            ("gzip;q=0.000, br; q=0.", "identity"),
            ("gzip;q=x", "identity"),
            ("x-gzip", "gzip"),
            ("gzip, gzip;q=0", "identity"),
            ("gzip;q=0, gzip", "identity"),
            ("*", "br, deflate, gzip, zstd"),
            ("*, br;q=0", "deflate, gzip, zstd"),
            ("*;q=0, gzip", "gzip"),
        ] {
            let lines: [(&[u8], &[u8]); 1] = [(b"Accept-Encoding", sent.as_bytes())];
            assert_eq!(&emit_accept_encoding(Fields(&lines)), expected, "{sent}");
        }
    }

    #[test]
    fn a_key_that_is_too_long_matches_nothing() {
        let long = "x".repeat(SECONDARY_KEY_BYTES_MAX);
        let request: [(&[u8], &[u8]); 1] = [(b"A", long.as_bytes())];
        assert_eq!(nominated("a").unwrap().key(Fields(&request)), None);
        let broken: [(&[u8], &[u8]); 1] = [(b"A", b"1\nb:2")];
        assert_eq!(nominated("a").unwrap().key(Fields(&broken)), None);
        let mut variants = Variants::default();
        assert_eq!(variants.insert(nominated("a").unwrap(), Fields(&request), 1), Some(1));
        assert_eq!(variants.len(), 0);
    }

    #[test]
    fn variants_are_bounded_and_the_least_used_goes() {
        let mut variants = Variants::default();
        let mut left = Vec::new();
        for number in 0..100_000_usize {
            let text = number.to_string();
            let request: [(&[u8], &[u8]); 1] = [(b"A", text.as_bytes())];
            left.extend(variants.insert(nominated("a").unwrap(), Fields(&request), number));
            let first: [(&[u8], &[u8]); 1] = [(b"A", b"0")];
            assert_eq!(variants.select(Fields(&first)), Some(&mut 0), "in use");
        }
        assert_eq!(variants.len(), VARIANTS_MAX);
        assert_eq!(left.len(), 100_000 - VARIANTS_MAX);
        assert_eq!(left[0], 1);
    }

    #[test]
    fn the_newest_that_matches_is_selected() {
        let mut variants = Variants::default();
        let request: [(&[u8], &[u8]); 2] = [(b"A", b"1"), (b"B", b"2")];
        let other: [(&[u8], &[u8]); 1] = [(b"A", b"1")];
        assert_eq!(variants.insert(nominated("a").unwrap(), Fields(&request), "old"), None);
        assert_eq!(variants.insert(nominated("b").unwrap(), Fields(&request), "new"), None);
        assert_eq!(variants.select(Fields(&request)), Some(&mut "new"));
        assert_eq!(variants.select(Fields(&other)), Some(&mut "old"));
        assert_eq!(variants.select(Fields(&[])), None);
        assert_eq!(variants.insert(nominated("a").unwrap(), Fields(&other), "newer"), Some("old"));
        assert_eq!(variants.drain().count(), 2);
        assert!(variants.is_empty());
    }
}
