//! Durations and sizes as people write them: `10 s`, `5 min`, `16 KiB`.
//!
//! Input: text of one value.   Output: milliseconds or bytes, and back in the largest exact unit.
//! Owns: nothing.              Thread: any, pure.
//! Invariants: `parse(emit(x)) == x` for all whole milliseconds and all bytes.
//! Not here: whether the value is in its range (`kinds.rs`).

use std::time::Duration;

use super::errors::quote;

/// Parse a duration; the unit is required, since 10 may mean seconds to one reader and
/// milliseconds to another.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let example = "expected ms, s, min, h or d, as in \"10 s\"";
    let (number, unit) = split(text, "90 min", example)?;
    if unit.is_empty() {
        return Err(format!("{} has no unit; {example}", quote(text)));
    }
    let scale = scale(unit, &TIME_UNITS).ok_or_else(|| {
        format!("{} has the unknown unit {}; {example}", quote(text), quote(unit))
    })?;
    number
        .checked_mul(scale)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{} is too long to count; {example}", quote(text)))
}

/// Parse a size; a bare number counts bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let example = "expected B, KiB, MiB, GiB or TiB, as in \"16 KiB\"";
    let (number, unit) = split(text, "1536 MiB", example)?;
    let unit = if unit.is_empty() { "B" } else { unit };
    let scale = scale(unit, &SIZE_UNITS).ok_or_else(|| {
        format!("{} has the unknown unit {}; {example}", quote(text), quote(unit))
    })?;
    number
        .checked_mul(scale)
        .ok_or_else(|| format!("{} is too large to count; {example}", quote(text)))
}

/// The duration in its largest exact unit; parts of a millisecond are cut.
pub(super) fn emit_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0 s".to_owned();
    }
    let (count, unit) = largest(millis, &TIME_UNITS);
    format!("{count} {unit}")
}

/// The size in its largest exact unit, `B` included.
pub(super) fn emit_size(bytes: u64) -> String {
    let (count, unit) = largest(bytes, &SIZE_UNITS);
    format!("{count} {unit}")
}

/// A count for a message, its thousands apart as TOML allows it.
pub(super) fn emit_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// The leading whole number and what follows it, without the spaces between.
fn split<'a>(text: &'a str, whole: &str, example: &str) -> Result<(u64, &'a str), String> {
    let trimmed = text.trim();
    let end = trimmed.find(|char: char| !char.is_ascii_digit()).unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(end);
    if digits.is_empty() {
        return Err(format!("{} does not begin with a number; {example}", quote(text)));
    }
    if unit.starts_with('.') || unit.starts_with(',') {
        let quoted = quote(text);
        return Err(format!(
            "{quoted} is not a whole number; write it in a smaller unit, as in \"{whole}\""
        ));
    }
    let number =
        digits.parse().map_err(|_| format!("{} is too large to count; {example}", quote(text)))?;
    Ok((number, unit.trim_start()))
}

fn scale(unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale)
}

fn largest(value: u64, units: &[(&'static str, u64)]) -> (u64, &'static str) {
    let exact =
        units.iter().rev().find(|(_, scale)| value >= *scale && value.is_multiple_of(*scale));
    let (unit, scale) = exact.unwrap_or(&units[0]);
    (value / scale, unit)
}

/// Units of time in milliseconds, the smallest first.
const TIME_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of size in bytes, the smallest first. KB is not among them: people disagree on it.
const SIZE_UNITS: [(&str, u64); 5] =
    [("B", 1), ("KiB", KIB), ("MiB", MIB), ("GiB", GIB), ("TiB", TIB)];

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
pub(super) const GIB: u64 = 1024 * MIB;
pub(super) const TIB: u64 = 1024 * GIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip_in_the_largest_exact_unit() {
        let table = [
            ("0 s", 0),
            ("1 ms", 1),
            ("1500 ms", 1500),
            ("10 s", 10_000),
            ("1 min", 60_000),
            ("90 s", 90_000),
            ("1 h", 3_600_000),
            ("1 d", 86_400_000),
            ("25 h", 90_000_000),
        ];
        for (text, millis) in table {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(emit_duration(Duration::from_millis(millis)), text);
        }
        for text in ["10s", " 10  s ", "10000ms", "10000 ms"] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(10)), "{text}");
        }
    }

    #[test]
    fn sizes_round_trip_in_the_largest_exact_unit() {
        let table = [
            ("0 B", 0),
            ("1023 B", 1023),
            ("1 KiB", KIB),
            ("1025 B", 1025),
            ("16 KiB", 16 * KIB),
            ("1 MiB", MIB),
            ("1536 MiB", 1536 * MIB),
            ("64 GiB", 64 * GIB),
            ("1025 GiB", 1025 * GIB),
            ("2 TiB", 2 * TIB),
        ];
        for (text, bytes) in table {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(emit_size(bytes), text);
        }
        assert_eq!(parse_size("16KiB"), parse_size("16384"));
    }

    #[test]
    fn counts_show_their_thousands() {
        let table = [(0, "0"), (1024, "1024"), (10_000, "10_000"), (1_000_000, "1_000_000")];
        for (count, text) in table {
            assert_eq!(emit_count(count), text);
        }
    }
}
