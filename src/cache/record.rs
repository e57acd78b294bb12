//! What is kept beside a stored body: the origin's head, and what it means to this cache.
//!
//! Input: an answer that may be stored; bytes found beside a file.   Output: bytes; a `Record`.
//! Owns: nothing.   Thread: any, pure.
//! Invariants: `parse(emit(x)) == x`; bytes that are not a whole record of this version, with a
//! matching checksum, are refused, and the file beside them is fetched anew.
//! Not here: where the bytes lie (an extended attribute, `cache::store`), the body.
//!
//! ```text
//! all numbers little-endian
//! 0       4          8            ...                                              end
//! | "PRC1" | CRC-32C | fixed part | nominated | secondary key | tags | reason | fields |
//!                    ^ the checksum covers the bytes from here to the end
//! fixed part, 54 bytes: status u16, body_bytes u64, generation u64, received_at u64,
//!   initial_age u32, lifetime u32, from u8, reuse u8, stale_while_revalidate u32,
//!   stale_if_error u32 (2^32 - 1: not said), then the lengths of the five parts, u16 each
//! ```

use std::fmt;

use crate::limits::RECORD_BYTES_MAX;
use crate::stdx::num::narrow;
use crate::time::UnixSeconds;

use super::freshness::vary::Nominated;
use super::freshness::{Fields, Freshness, LifetimeFrom, Reuse};

/// What is known of a stored answer besides its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The answer's status.
    pub status: u16,
    /// Its reason phrase; empty for none.
    pub reason: Box<str>,
    /// Length of the body. A file of another length is not what was stored.
    pub body_bytes: u64,
    /// Drawn at random when a key is stored anew. Variants carry that of the key's own file, so
    /// that all of them go with it.
    pub generation: u64,
    /// How long it may be used.
    pub freshness: Freshness,
    /// Which request fields it depends on.
    pub nominated: Nominated,
    /// What they were in the request that it answers.
    pub secondary_key: Box<[u8]>,
    /// By which it can be purged, separated by blanks.
    pub tags: Box<[u8]>,
    /// The fields to send, as lines: `Name: value CR LF`. No Content-Length, Age, Connection.
    pub fields: Box<[u8]>,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// They do not begin like one of this version.
    Version,
    /// They are cut short, or were changed.
    Damaged,
}

impl fmt::Display for RecordError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Version => "not a record of this version",
            Self::Damaged => "a damaged record",
        })
    }
}

const MAGIC: [u8; 4] = *b"PRC1";
const FIXED_AT: usize = 8;
const PARTS_AT: usize = FIXED_AT + 54;
const NOT_SAID: u32 = u32::MAX;

impl Record {
    /// Its bytes; `None` where they would be more than `RECORD_BYTES_MAX`.
    #[must_use]
    pub fn emit(&self) -> Option<Vec<u8>> {
        let nominated = self.nominated.names().collect::<Vec<_>>().join(",");
        let parts: [&[u8]; 5] = [
            nominated.as_bytes(),
            &self.secondary_key,
            &self.tags,
            self.reason.as_bytes(),
            &self.fields,
        ];
        let total = PARTS_AT + parts.iter().map(|part| part.len()).sum::<usize>();
        if total > RECORD_BYTES_MAX {
            return None;
        }
        let freshness = &self.freshness;
        let mut out = Vec::with_capacity(total);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.status.to_le_bytes());
        out.extend_from_slice(&self.body_bytes.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&freshness.received_at.0.to_le_bytes());
        out.extend_from_slice(&freshness.initial_age_seconds.to_le_bytes());
        out.extend_from_slice(&freshness.lifetime_seconds.to_le_bytes());
        out.push(from_number(freshness.from));
        out.push(reuse_number(freshness.reuse));
        out.extend_from_slice(&freshness.stale_while_revalidate_seconds.to_le_bytes());
        let stale_if_error = freshness.stale_if_error_seconds.unwrap_or(NOT_SAID);
        out.extend_from_slice(&stale_if_error.to_le_bytes());
        for part in parts {
            let len = u16::try_from(part.len()).ok()?;
            out.extend_from_slice(&len.to_le_bytes());
        }
        assert_eq!(out.len(), PARTS_AT, "the drawing above is right");
        for part in parts {
            out.extend_from_slice(part);
        }
        let sum = crc32c::crc32c(&out[FIXED_AT..]);
        out[4..FIXED_AT].copy_from_slice(&sum.to_le_bytes());
        Some(out)
    }

    /// Reads what `emit` wrote.
    ///
    /// # Errors
    /// Why `bytes` are no record.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(RecordError::Version);
        }
        let mut at = Cursor { rest: bytes.get(4..).unwrap_or_default() };
        let sum = at.u32()?;
        if crc32c::crc32c(at.rest) != sum {
            return Err(RecordError::Damaged);
        }
        let (status, body_bytes, generation) = (at.u16()?, at.u64()?, at.u64()?);
        let freshness = Freshness {
            received_at: UnixSeconds(at.u64()?),
            initial_age_seconds: at.u32()?,
            lifetime_seconds: at.u32()?,
            from: from_of(at.u8()?)?,
            reuse: reuse_of(at.u8()?)?,
            stale_while_revalidate_seconds: at.u32()?,
            stale_if_error_seconds: Some(at.u32()?).filter(|seconds| *seconds != NOT_SAID),
        };
        let lens = [at.u16()?, at.u16()?, at.u16()?, at.u16()?, at.u16()?];
        let mut parts = [&[][..]; 5];
        for (part, len) in parts.iter_mut().zip(lens) {
            *part = at.take(usize::from(len))?;
        }
        if !at.rest.is_empty() {
            return Err(RecordError::Damaged);
        }
        let [nominated, secondary_key, tags, reason, fields] = parts;
        let nominated = Nominated::parse(Fields(&[(b"Vary", nominated)]));
        Ok(Self {
            status,
            reason: String::from_utf8_lossy(reason).into(),
            body_bytes,
            generation,
            freshness,
            nominated: nominated.map_err(|_| RecordError::Damaged)?,
            secondary_key: secondary_key.into(),
            tags: tags.into(),
            fields: fields.into(),
        })
    }

    /// The fields, as name and value.
    pub fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.split(|byte| *byte == b'\n').filter_map(|line| {
            let line = line.strip_suffix(b"\r")?;
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii_start()))
        })
    }
}

/// The tags in the bytes of a record; none where it cannot be read.
#[must_use]
pub fn tags(bytes: &[u8]) -> Vec<Box<[u8]>> {
    let Ok(record) = Record::parse(bytes) else { return Vec::new() };
    record.tags.split(|byte| *byte == b' ').filter(|tag| !tag.is_empty()).map(Box::from).collect()
}

/// The bytes of the same record, stale from `now` on (a soft purge).
#[must_use]
pub fn expire(bytes: &[u8], now: UnixSeconds) -> Option<Vec<u8>> {
    let mut record = Record::parse(bytes).ok()?;
    record.freshness.expire(now);
    record.emit()
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (part, rest) = self.rest.split_at_checked(len).ok_or(RecordError::Damaged)?;
        self.rest = rest;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        self.take(N)?.try_into().map_err(|_| RecordError::Damaged)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_le_bytes)
    }
}

const FROM: [LifetimeFrom; 7] = [
    LifetimeFrom::SMaxAge,
    LifetimeFrom::MaxAge,
    LifetimeFrom::Expires,
    LifetimeFrom::Default,
    LifetimeFrom::Negative,
    LifetimeFrom::Heuristic,
    LifetimeFrom::Nothing,
];

const REUSE: [Reuse; 3] = [Reuse::Plain, Reuse::FreshOnly, Reuse::Never];

fn number_in<T: PartialEq>(all: &[T], value: &T) -> u8 {
    let place = all.iter().position(|known| known == value).unwrap_or(all.len());
    u8::try_from(narrow(place)).unwrap_or(u8::MAX)
}

fn from_number(from: LifetimeFrom) -> u8 {
    number_in(&FROM, &from)
}

fn reuse_number(reuse: Reuse) -> u8 {
    number_in(&REUSE, &reuse)
}

fn from_of(number: u8) -> Result<LifetimeFrom, RecordError> {
    FROM.get(usize::from(number)).copied().ok_or(RecordError::Damaged)
}

fn reuse_of(number: u8) -> Result<Reuse, RecordError> {
    REUSE.get(usize::from(number)).copied().ok_or(RecordError::Damaged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record {
        Record {
            status: 200,
            reason: "OK".into(),
            body_bytes: 12_345,
            generation: u64::MAX - 1,
            freshness: Freshness {
                received_at: UnixSeconds(1_700_000_000),
                initial_age_seconds: 3,
                lifetime_seconds: 60,
                from: LifetimeFrom::Heuristic,
                reuse: Reuse::FreshOnly,
                stale_while_revalidate_seconds: 7,
                stale_if_error_seconds: Some(9),
            },
            nominated: Nominated::parse(Fields(&[(b"Vary", b"Accept, X-A")])).unwrap(),
            secondary_key: b"accept:a/b\nx-a\n"[..].into(),
            tags: b"red blue"[..].into(),
            fields: b"Content-Type: image/png\r\nETag: \"x\"\r\nX: \r\n"[..].into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let record = record();
        let bytes = record.emit().unwrap();
        assert_eq!(Record::parse(&bytes), Ok(record.clone()));
        let lines: Vec<(&[u8], &[u8])> = record.lines().collect();
        assert_eq!(lines[1], (&b"ETag"[..], &b"\"x\""[..]));
        assert_eq!(lines[2], (&b"X"[..], &b""[..]));
        assert_eq!(tags(&bytes), [Box::from(&b"red"[..]), Box::from(&b"blue"[..])]);
    }

    #[test]
    fn what_was_cut_or_changed_is_refused() {
        let bytes = record().emit().unwrap();
        for len in 0..bytes.len() {
            assert!(Record::parse(&bytes[..len]).is_err(), "{len}");
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x10;
            assert!(Record::parse(&other).is_err(), "{at}");
        }
        assert!(Record::parse(&[&bytes[..], b"x"].concat()).is_err());
    }

    #[test]
    fn one_that_is_too_long_is_not_written() {
        let fields = vec![b'x'; RECORD_BYTES_MAX].into_boxed_slice();
        assert_eq!(Record { fields, ..record() }.emit(), None);
    }

    #[test]
    fn a_soft_purge_makes_it_stale() {
        let now = UnixSeconds(1_700_000_001);
        let bytes = expire(&record().emit().unwrap(), now).unwrap();
        let expired = Record::parse(&bytes).unwrap();
        assert!(record().freshness.is_fresh(now) && !expired.freshness.is_fresh(now));
        assert_eq!(expired.fields, record().fields);
    }

    proptest! {
        #[test]
        fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Record::parse(&bytes).is_err());
            prop_assert!(Record::parse(&[&MAGIC, &bytes[..]].concat()).is_err());
        }
    }
}
