//! What is kept beside a stored body: the origin's head, and what it means to this cache.
//!
//! Input: an answer that may be stored; bytes found beside a file.   Output: bytes; a `Record`.
//! Owns: nothing.   Thread: any, pure.
//! Invariants: `parse(emit(x)) == x`; bytes that are not a whole record of this version, with a
//! matching checksum, are refused, and the file beside them is fetched anew.
//! Not here: where the bytes lie (an extended attribute, `cache::store`), the body.
//!
//! Short: on ext4 what is longer than 64 bytes takes a block of its own, and time to allocate it.
//! An image of nginx's or Apache's with a lifetime fits.
//!
//! ```text
//! numbers: LEB128, but for the checksum (little-endian u32)
//! | "P2" | CRC-32C | marks u8 | kinds u8 | status? | body_bytes | generation? | received_at |
//!                  ^ the checksum covers the bytes from here to the end
//! | initial_age | lifetime | stale_while_revalidate? | stale_if_error? | nominated? |
//! | secondary key? | tags? | reason? | fields, packed, to the end |
//! marks: a bit for each part with a question mark, in their order, if it is there; the status is
//!   left out for 200, the reason for OK, all others for none
//! kinds: where the lifetime is from in the low four bits, reuse in the high ones
//! nominated, secondary key, tags and reason: length, bytes
//! ```

mod fields;

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
    /// Drawn at random when the first answer with a Vary field is stored under a key, 0 before.
    /// Variants carry that of the key's own file, so that all of them go with it.
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

const MAGIC: [u8; 2] = *b"P2";
const SUM_AT: usize = MAGIC.len();
const SUMMED_AT: usize = SUM_AT + 4;

/// What the parts that are left out stand for.
const STATUS: u16 = 200;
const REASON: &str = "OK";

impl Record {
    /// Its bytes; `None` where they or the fields would be more than `RECORD_BYTES_MAX`.
    #[must_use]
    pub fn emit(&self) -> Option<Vec<u8>> {
        let freshness = &self.freshness;
        let nominated = self.nominated.names().collect::<Vec<_>>().join(",");
        let reason = if &*self.reason == REASON { None } else { Some(self.reason.as_bytes()) };
        let some = |part: &'_ [u8]| !part.is_empty();
        let numbers = [
            (self.status != STATUS).then_some(u64::from(self.status)),
            (self.generation != 0).then_some(self.generation),
            Some(u64::from(freshness.stale_while_revalidate_seconds)).filter(|span| *span != 0),
            freshness.stale_if_error_seconds.map(u64::from),
        ];
        let parts = [
            Some(nominated.as_bytes()).filter(|part| some(part)),
            Some(&*self.secondary_key).filter(|part| some(part)),
            Some(&*self.tags).filter(|part| some(part)),
            reason,
        ];
        let are_there =
            numbers.iter().map(Option::is_some).chain(parts.iter().map(Option::is_some));
        let marks = are_there.enumerate().fold(0, |marks, (bit, is)| marks | u8::from(is) << bit);
        let [status, generation, stale_while_revalidate, stale_if_error] = numbers;
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.push(marks);
        out.push(reuse_number(freshness.reuse) << 4 | from_number(freshness.from));
        let always = |number: u64| Some(number);
        for number in [
            status,
            always(self.body_bytes),
            generation,
            always(freshness.received_at.0),
            always(freshness.initial_age_seconds.into()),
            always(freshness.lifetime_seconds.into()),
            stale_while_revalidate,
            stale_if_error,
        ] {
            number.inspect(|number| fields::put_number(*number, &mut out));
        }
        for part in parts.into_iter().flatten() {
            fields::put_bytes(part, &mut out);
        }
        fields::pack(&self.fields, freshness.received_at, &mut out);
        if out.len() > RECORD_BYTES_MAX || self.fields.len() > RECORD_BYTES_MAX {
            return None;
        }
        let sum = crc32c::crc32c(&out[SUMMED_AT..]);
        out[SUM_AT..SUMMED_AT].copy_from_slice(&sum.to_le_bytes());
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
        let mut at = Cursor { rest: &bytes[SUM_AT..] };
        let sum = at.array().map(u32::from_le_bytes)?;
        if crc32c::crc32c(at.rest) != sum {
            return Err(RecordError::Damaged);
        }
        let (marks, kinds) = (at.u8()?, at.u8()?);
        let is_there = |bit: u8| marks & 1 << bit != 0;
        let status = if is_there(0) { at.small()? } else { STATUS };
        let body_bytes = at.number()?;
        let generation = if is_there(1) { at.number()? } else { 0 };
        let freshness = Freshness {
            received_at: UnixSeconds(at.number()?),
            initial_age_seconds: at.small()?,
            lifetime_seconds: at.small()?,
            from: from_of(kinds & 0xf)?,
            reuse: reuse_of(kinds >> 4)?,
            stale_while_revalidate_seconds: if is_there(2) { at.small()? } else { 0 },
            stale_if_error_seconds: if is_there(3) { Some(at.small()?) } else { None },
        };
        let mut part = |bit: u8, otherwise: &'static [u8]| {
            if is_there(bit) { at.bytes() } else { Ok(otherwise) }
        };
        let (nominated, secondary_key) = (part(4, b"")?, part(5, b"")?);
        let (tags, reason) = (part(6, b"")?, part(7, REASON.as_bytes())?);
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
            fields: fields::unpack(at.rest, freshness.received_at)?.into(),
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
    Record::parse(bytes).map_or_else(|_| Vec::new(), |record| split_tags(&record.tags))
}

/// The tags of a record, one by one.
#[must_use]
pub fn split_tags(tags: &[u8]) -> Vec<Box<[u8]>> {
    tags.split(|byte| *byte == b' ').filter(|tag| !tag.is_empty()).map(Box::from).collect()
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

    /// A number as LEB128; one that is longer than it need be, or than 64 bits, was not written.
    fn number(&mut self) -> Result<u64, RecordError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(RecordError::Damaged)
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Result<T, RecordError> {
        T::try_from(self.number()?).map_err(|_| RecordError::Damaged)
    }

    /// A length and so many bytes.
    fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let len = self.small()?;
        self.take(len)
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

    #[test]
    fn a_usual_image_needs_no_block_of_its_own() {
        let fields = "Server: nginx/1.22.1\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n\
            Content-Type: image/jpeg\r\nLast-Modified: Sun, 06 Nov 2022 08:49:37 GMT\r\n\
            ETag: \"63677261-2800\"\r\nExpires: Tue, 21 Nov 2023 22:13:20 GMT\r\n\
            Cache-Control: max-age=604800\r\n";
        let mut usual = record();
        (usual.generation, usual.fields) = (0, fields.as_bytes().into());
        (usual.nominated, usual.secondary_key, usual.tags) = Default::default();
        usual.freshness.lifetime_seconds = 604_800;
        (usual.freshness.stale_while_revalidate_seconds, usual.freshness.stale_if_error_seconds) =
            (0, None);
        let bytes = usual.emit().unwrap();
        assert_eq!(Record::parse(&bytes), Ok(usual));
        assert!(bytes.len() <= 64, "{} bytes", bytes.len());
    }

    #[test]
    fn what_is_left_out_is_known_from_what_is_not() {
        for (status, reason) in [(200, "OK"), (200, ""), (200, "Fine"), (404, "OK"), (404, "")] {
            let record = Record { status, reason: reason.into(), ..record() };
            assert_eq!(Record::parse(&record.emit().unwrap()), Ok(record));
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Record::parse(&bytes).is_err());
            prop_assert!(Record::parse(&[&MAGIC, &bytes[..]].concat()).is_err());
        }
    }
}
