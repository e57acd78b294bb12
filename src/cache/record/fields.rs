//! Field lines in few bytes, for a record that fits beside its file's inode.
//!
//! Thread: any, pure.
//! Invariants: `unpack(pack(x)) == x`, for any bytes; what `pack` did not write is refused or read
//! as other lines, never more of them than `RECORD_BYTES_MAX`.
//! Not here: which fields are kept (`cache::flight`), the rest of a record.
//!
//! ```text
//! line: code, then by code
//!   0           length, the line's bytes           whatever the others cannot say
//!   1..=NAMES   length, the value's bytes          a usual name
//!   64..        a usual value: a type's number, a time, two numbers, seconds
//! numbers: LEB128; times: seconds after the answer came, zigzag; hexadecimal numbers as in nginx's
//! and Apache's entity tags
//! ```
//!
//! Codes are on disks: they are only ever added to.

use std::fmt::{Arguments, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use arrayvec::ArrayString;

use crate::cache::freshness::date;
use crate::limits::RECORD_BYTES_MAX;
use crate::stdx::num::wide;
use crate::time::UnixSeconds;

use super::{Cursor, RecordError};

const LITERAL: u8 = 0;

/// Code 1 and on.
const NAMES: [&str; 26] = [
    "Server",
    "Date",
    "Content-Type",
    "Last-Modified",
    "ETag",
    "Cache-Control",
    "Expires",
    "Vary",
    "Content-Encoding",
    "Content-Language",
    "Content-Disposition",
    "Content-Security-Policy",
    "Access-Control-Allow-Origin",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Powered-By",
    "X-Cache",
    "X-Frame-Options",
    "Via",
    "Link",
    "Pragma",
    "Set-Cookie",
    "Timing-Allow-Origin",
    "Cross-Origin-Resource-Policy",
    "Referrer-Policy",
    "Cache-Status",
];

const TYPE: u8 = 64;
const DATE: u8 = 65;
const LAST_MODIFIED: u8 = 66;
const EXPIRES: u8 = 67;
const ENTITY_TAG: u8 = 68;
const WEAK_ENTITY_TAG: u8 = 69;
const MAX_AGE: u8 = 70;
const PUBLIC_MAX_AGE: u8 = 71;

/// Fields whose value may be a time.
const TIMES: [(u8, &str); 3] =
    [(DATE, "Date"), (LAST_MODIFIED, "Last-Modified"), (EXPIRES, "Expires")];

/// Values of Cache-Control that end in seconds.
const LIFETIMES: [(u8, &str); 2] = [(MAX_AGE, "max-age="), (PUBLIC_MAX_AGE, "public, max-age=")];

/// Values of Content-Type, by number.
const TYPES: [&str; 20] = [
    "image/jpeg",
    "image/png",
    "image/gif",
    "image/webp",
    "image/avif",
    "image/svg+xml",
    "image/x-icon",
    "image/bmp",
    "image/tiff",
    "text/html",
    "text/html; charset=utf-8",
    "text/css",
    "text/plain",
    "text/plain; charset=utf-8",
    "application/javascript",
    "text/javascript",
    "application/json",
    "application/octet-stream",
    "application/pdf",
    "video/mp4",
];

/// Appends `lines` (each `Name: value CR LF`), which came at `received_at`.
pub fn pack(lines: &[u8], received_at: UnixSeconds, out: &mut Vec<u8>) {
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let is_packed = line
            .strip_suffix(b"\r\n")
            .and_then(|line| {
                let colon = line.windows(2).position(|two| two == b": ")?;
                pack_field(&line[..colon], &line[colon + 2..], received_at, out)
            })
            .is_some();
        if !is_packed {
            out.push(LITERAL);
            put_bytes(line, out);
        }
    }
}

fn pack_field(name: &[u8], value: &[u8], base: UnixSeconds, out: &mut Vec<u8>) -> Option<()> {
    let name = NAMES.iter().position(|known| known.as_bytes() == name)?;
    if pack_value(NAMES[name], value, base, out).is_none() {
        out.push(u8::try_from(name + 1).ok()?);
        put_bytes(value, out);
    }
    Some(())
}

/// Appends a line whose value is a usual one; nothing of any other.
fn pack_value(name: &str, value: &[u8], base: UnixSeconds, out: &mut Vec<u8>) -> Option<()> {
    if let Some((code, _)) = TIMES.iter().find(|(_, known)| *known == name) {
        let after =
            i64::try_from(date::parse_exact(value)?.0).ok()? - i64::try_from(base.0).ok()?;
        out.push(*code);
        // Zigzag: small numbers of either sign are short.
        put_number((after.cast_unsigned() << 1) ^ (after >> 63).cast_unsigned(), out);
        return Some(());
    }
    match name {
        "Content-Type" => {
            let number = TYPES.iter().position(|known| known.as_bytes() == value)?;
            out.extend_from_slice(&[TYPE, u8::try_from(number).ok()?]);
        }
        "ETag" => {
            let (code, tag) = match value.strip_prefix(b"W/") {
                Some(tag) => (WEAK_ENTITY_TAG, tag),
                None => (ENTITY_TAG, value),
            };
            let tag = tag.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            let dash = tag.iter().position(|byte| *byte == b'-')?;
            let (first, second) = (hexadecimal(&tag[..dash])?, hexadecimal(&tag[dash + 1..])?);
            out.push(code);
            put_number(first, out);
            put_number(second, out);
        }
        "Cache-Control" => {
            let (code, digits) = LIFETIMES
                .iter()
                .find_map(|(code, before)| Some((*code, value.strip_prefix(before.as_bytes())?)))?;
            let seconds: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
            // "007" and "+7" are sevens too.
            if !is_as_written(digits, format_args!("{seconds}")) {
                return None;
            }
            out.push(code);
            put_number(seconds, out);
        }
        _ => return None,
    }
    Some(())
}

/// A hexadecimal number as it would be written: small letters, no zeros in front.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    let number = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    is_as_written(digits, format_args!("{number:x}")).then_some(number)
}

fn is_as_written(text: &[u8], number: Arguments<'_>) -> bool {
    written(number).as_bytes() == text
}

/// The text of a usual value: the longest is `public, max-age=` and a number.
fn written(value: Arguments<'_>) -> ArrayString<48> {
    let mut text = ArrayString::new();
    text.write_fmt(value).expect("a usual value is short");
    text
}

/// The lines that `pack` was given.
///
/// # Errors
/// `Damaged` for what it did not write.
pub fn unpack(packed: &[u8], received_at: UnixSeconds) -> Result<Vec<u8>, RecordError> {
    let mut at = Cursor { rest: packed };
    let mut out = Vec::with_capacity(4 * packed.len());
    while !at.rest.is_empty() {
        unpack_line(&mut at, received_at, &mut out)?;
        if out.len() > RECORD_BYTES_MAX {
            return Err(RecordError::Damaged);
        }
    }
    Ok(out)
}

fn unpack_line(
    at: &mut Cursor<'_>,
    base: UnixSeconds,
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let code = at.u8()?;
    if code == LITERAL {
        out.extend_from_slice(at.bytes()?);
    } else if let Some(name) = NAMES.get(usize::from(code) - 1) {
        let value = at.bytes()?;
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    } else if let Some((_, name)) = TIMES.iter().find(|(known, _)| *known == code) {
        put_line(name, format_args!("{}", unpack_time(at.number()?, base)?), out);
    } else if let Some((_, before)) = LIFETIMES.iter().find(|(known, _)| *known == code) {
        put_line("Cache-Control", format_args!("{before}{}", at.number()?), out);
    } else if code == TYPE {
        let value = TYPES.get(usize::from(at.u8()?)).ok_or(RecordError::Damaged)?;
        put_line("Content-Type", format_args!("{value}"), out);
    } else if matches!(code, ENTITY_TAG | WEAK_ENTITY_TAG) {
        let weak = if code == WEAK_ENTITY_TAG { "W/" } else { "" };
        let (first, second) = (at.number()?, at.number()?);
        put_line("ETag", format_args!("{weak}\"{first:x}-{second:x}\""), out);
    } else {
        return Err(RecordError::Damaged);
    }
    Ok(())
}

fn unpack_time(after: u64, base: UnixSeconds) -> Result<httpdate::HttpDate, RecordError> {
    let after = (after >> 1).cast_signed() ^ -(after & 1).cast_signed();
    let seconds = base.0.checked_add_signed(after).filter(|seconds| *seconds <= LATEST);
    let seconds = seconds.ok_or(RecordError::Damaged)?;
    Ok((UNIX_EPOCH + Duration::from_secs(seconds)).into())
}

/// The last second of the year 9999, which is the last that has a date.
const LATEST: u64 = 253_402_300_799;

fn put_line(name: &str, value: Arguments<'_>, out: &mut Vec<u8>) {
    for part in [name, ": ", &written(value), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends a number as LEB128.
pub(super) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(0x80 | u8::try_from(number & 0x7f).expect("seven bits"));
        number >>= 7;
    }
    out.push(u8::try_from(number).expect("seven bits"));
}

/// Appends a length and the bytes.
pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(wide(bytes.len()), out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAME: UnixSeconds = UnixSeconds(1_700_000_000);

    fn packed(lines: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        pack(lines, CAME, &mut out);
        assert_eq!(unpack(&out, CAME).as_deref(), Ok(lines), "{}", String::from_utf8_lossy(lines));
        out
    }

    #[test]
    fn table_of_lines() {
        for (lines, bytes) in [
            ("", 0),
            ("Content-Type: image/jpeg\r\n", 2),
            ("Content-Type: image/jpegs\r\n", 13),
            ("content-type: image/jpeg\r\n", 28),
            ("Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n", 2),
            ("Date: Tue, 14 Nov 2023 22:13:19 GMT\r\n", 2),
            ("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 6),
            ("Last-Modified: Mon, 06 Nov 1994 08:49:37 GMT\r\n", 31),
            ("Expires: Tue, 14 Nov 2023 23:13:20 GMT\r\n", 3),
            ("Expires: Fri, 31 Dec 9999 23:59:59 GMT\r\n", 7),
            ("Expires: 0\r\n", 3),
            ("ETag: \"6553f100-2800\"\r\n", 8),
            ("ETag: W/\"6553f100-0\"\r\n", 7),
            ("ETag: \"06553f100-2800\"\r\n", 18),
            ("ETag: \"6553F100-2800\"\r\n", 17),
            ("ETag: \"-\"\r\n", 5),
            ("Cache-Control: max-age=3600\r\n", 3),
            ("Cache-Control: public, max-age=31536000\r\n", 5),
            ("Cache-Control: max-age=0060\r\n", 14),
            ("Cache-Control: max-age=18446744073709551616\r\n", 30),
            ("Server: nginx\r\nVary: Accept\r\n", 15),
            ("X: y\n", 7),
            ("no end", 8),
            ("\r\n\r\n", 8),
            ("Server:\r\n", 11),
            ("Server: \r\n", 2),
        ] {
            assert_eq!(packed(lines.as_bytes()).len(), bytes, "{lines:?}");
        }
    }

    #[test]
    fn what_was_not_packed_is_no_reason_to_panic() {
        for bytes in [
            &[255][..],
            &[0, 200],
            &[1, 5, b'x'],
            &[TYPE, 99],
            &[DATE, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
            &[MAX_AGE, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
            &[ENTITY_TAG, 1],
        ] {
            assert_eq!(unpack(bytes, CAME), Err(RecordError::Damaged), "{bytes:?}");
        }
        let bomb = [TYPE, 0].repeat(RECORD_BYTES_MAX / 2);
        assert_eq!(unpack(&bomb, CAME), Err(RecordError::Damaged));
    }

    proptest! {
        #[test]
        fn any_lines_come_back(text in "((Date|ETag|Cache-Control|Content-Type|Via|x): \
            (\"[0-9a-f]{0,3}-[0-9a-f]{0,17}\"|(public, )?max-age=[0-9]{0,21}|.{0,9}\
            |Tue, 14 Nov 20[12][0-9] 22:13:20 GMT)(\r\n|\n|))*") {
            packed(text.as_bytes());
        }

        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            packed(&bytes);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            drop(unpack(&bytes, CAME));
        }
    }
}
