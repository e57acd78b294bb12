//! The `Range` field: which bytes of a file a request asks for (RFC 9110 section 14).
//!
//! Input: the field's value and the file's length.   Output: `Ranges`.
//! Thread: any, pure.
//! Not here: `If-Range` (`http::conditional`), writing multipart/byteranges (`http::reply`).

use arrayvec::ArrayVec;

use crate::limits::{MULTIPART_BYTES_MAX, RANGES_MAX};

/// One satisfiable range: `first..=last`, in bytes, within the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, inclusive, as on the wire.
    pub last: u64,
}

impl ByteRange {
    /// How many bytes it covers; at least 1.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.last - self.first + 1
    }

    /// Never: a range covers at least one byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }
}

/// What a `Range` field asks for.
#[expect(clippy::large_enum_variant, reason = "lives on the stack, for one call")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// No field, another unit, a syntax error, or a set not worth serving: answer with the whole.
    Whole,
    /// No range overlaps the file: 416.
    Unsatisfiable,
    /// Serve these, in the order asked for.
    Some(ArrayVec<ByteRange, RANGES_MAX>),
}

/// Reads `field` against a file of `len` bytes; more than `ranges_max` ranges, or several that add
/// up to more than the file or `MULTIPART_BYTES_MAX`, are answered with the whole file (RFC 9110
/// section 14.2 lets a server ignore a field, and section 17.15 asks it to where it smells of an
/// attack).
#[must_use]
pub fn parse(field: &[u8], len: u64, ranges_max: usize) -> Ranges {
    let Some(set) = strip_unit(field) else { return Ranges::Whole };
    if ranges_max == 0 {
        return Ranges::Whole;
    }
    let mut ranges = ArrayVec::new();
    let (mut asked, mut total) = (0, 0_u64);
    for spec in set.split(|byte| *byte == b',') {
        let spec = spec.trim_ascii();
        if spec.is_empty() {
            continue; // RFC 9110 5.6.1.2: empty list elements are ignored.
        }
        asked += 1;
        if asked > ranges_max.min(RANGES_MAX) {
            return Ranges::Whole;
        }
        match parse_spec(spec, len) {
            None => return Ranges::Whole,
            Some(None) => {}
            Some(Some(range)) => {
                total = total.saturating_add(range.len());
                ranges.push(range);
            }
        }
    }
    if asked == 0 {
        return Ranges::Whole;
    }
    if ranges.is_empty() {
        return Ranges::Unsatisfiable;
    }
    if ranges.len() > 1 && total > len.min(MULTIPART_BYTES_MAX) {
        return Ranges::Whole;
    }
    Ranges::Some(ranges)
}

fn strip_unit(field: &[u8]) -> Option<&[u8]> {
    let (unit, set) = field.split_at_checked(b"bytes".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None; // RFC 9110 14.2: an unknown unit is ignored.
    }
    set.strip_prefix(b"=")
}

/// Outer `None`: not a range. Inner `None`: a range, but not in this file.
#[expect(clippy::option_option, reason = "two kinds of absence, told apart one line up")]
fn parse_spec(spec: &[u8], len: u64) -> Option<Option<ByteRange>> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        let suffix = parse_digits(last)?;
        if suffix == 0 || len == 0 {
            return Some(None);
        }
        return Some(Some(ByteRange { first: len.saturating_sub(suffix), last: len - 1 }));
    }
    let first = parse_digits(first)?;
    let last = if last.is_empty() { u64::MAX } else { parse_digits(last)? };
    if last < first {
        return None; // RFC 9110 14.1.1: such a range is invalid, so the field is ignored.
    }
    if first >= len {
        return Some(None);
    }
    Some(Some(ByteRange { first, last: last.min(len - 1) }))
}

/// Digits only; a number beyond 64 bits counts as the largest one.
fn parse_digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = u64::from(byte.checked_sub(b'0').filter(|digit| *digit < 10)?);
        Some(value.saturating_mul(10).saturating_add(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(list: &[(u64, u64)]) -> Ranges {
        Ranges::Some(
            list.iter().map(|(first, last)| ByteRange { first: *first, last: *last }).collect(),
        )
    }

    #[test]
    fn table_of_fields() {
        let table: &[(&str, u64, Ranges)] = &[
            ("bytes=0-499", 10_000, some(&[(0, 499)])),
            ("bytes=500-999", 10_000, some(&[(500, 999)])),
            ("bytes=-500", 10_000, some(&[(9500, 9999)])),
            ("bytes=9500-", 10_000, some(&[(9500, 9999)])),
            ("bytes=0-0,-1", 10_000, some(&[(0, 0), (9999, 9999)])),
            ("bytes= 0-0 , 2-3", 10, some(&[(0, 0), (2, 3)])),
            ("BYTES=1-2", 10, some(&[(1, 2)])),
            ("bytes=5-99", 10, some(&[(5, 9)])),
            ("bytes=-99", 10, some(&[(0, 9)])),
            ("bytes=10-", 10, Ranges::Unsatisfiable),
            ("bytes=10-20,30-", 10, Ranges::Unsatisfiable),
            ("bytes=-0", 10, Ranges::Unsatisfiable),
            ("bytes=0-", 0, Ranges::Unsatisfiable),
            ("bytes=-1", 0, Ranges::Unsatisfiable),
            ("bytes=20-,0-1", 10, some(&[(0, 1)])),
            ("bytes=2-1", 10, Ranges::Whole),
            ("bytes=a-1", 10, Ranges::Whole),
            ("bytes=1", 10, Ranges::Whole),
            ("bytes=-", 10, Ranges::Whole),
            ("bytes=", 10, Ranges::Whole),
            ("bytes", 10, Ranges::Whole),
            ("bytes 0-1", 10, Ranges::Whole),
            ("lines=0-1", 10, Ranges::Whole),
            ("", 10, Ranges::Whole),
            ("bytes=0-1,,3-4", 10, some(&[(0, 1), (3, 4)])),
            ("bytes=0-99999999999999999999999", 10, some(&[(0, 9)])),
            ("bytes=0-9,0-9", 10, Ranges::Whole),
            ("bytes=0-1,2-3,4-5,6-7,8-9", 10, Ranges::Whole),
        ];
        for (field, len, expected) in table {
            assert_eq!(&parse(field.as_bytes(), *len, 4), expected, "{field}");
        }
    }

    #[test]
    fn ranges_can_be_off() {
        assert_eq!(parse(b"bytes=0-1", 10, 0), Ranges::Whole);
    }

    #[test]
    fn every_range_lies_in_the_file() {
        for first in 0..12_u64 {
            for last in first..12 {
                let field = format!("bytes={first}-{last},-{last}");
                if let Ranges::Some(list) = parse(field.as_bytes(), 9, RANGES_MAX) {
                    assert!(list.iter().all(|range| range.first <= range.last && range.last < 9));
                }
            }
        }
    }
}
