//! What a box remembers of who is online over an orderly restart: its rows as bytes.
//!
//! Input: the index; the bytes of an earlier one.   Output: bytes; hits to be applied again.
//! Owns: nothing.   Thread: `online` at its end, main at the start; pure.
//! Invariants: what is read is what was written, to the last byte, or nothing of it is used.
//! Not here: the file (`daemon::online`).
//!
//! ```text
//! 0         8          12        20
//! | magic   | crc32c   | rows    | row ... |    numbers little-endian
//!                      ^ the checksum covers the bytes from here to the end
//! row: | hit time, ms since 1970, u64 | user's bytes u8 | url's bytes u16 | user | url |
//! ```
//! Rows are newest first; of those that are equally old, the last to arrive is first.

use std::fmt;

use crate::limits::{ONLINE_NAME_BYTES_MAX, ONLINE_URL_BYTES_MAX};
use crate::online::Hit;
use crate::online::service::Service;
use crate::stdx::num::index;
use crate::time::UnixMillis;

/// Name and version of the format.
const MAGIC: &[u8; 8] = b"peeronl1";
const SUMMED_AT: usize = 12;
const ROWS_AT: usize = 20;
const ROW_HEAD: usize = 11;

/// Most bytes that a row takes.
pub const ROW_BYTES_MAX: usize = ROW_HEAD + ONLINE_NAME_BYTES_MAX + ONLINE_URL_BYTES_MAX;

/// Why bytes are no snapshot; nothing of them is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// They do not begin as one.
    Magic,
    /// They are not what was written: cut off, or damaged.
    Checksum,
    /// A row is not one, though the checksum is right.
    Row,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Magic => "it is no snapshot of this version of peerage; remove it",
            Self::Checksum => "it is cut off or damaged; remove it",
            Self::Row => "a row in it makes no sense; remove it",
        })
    }
}

/// The rows of `service`.
#[must_use]
pub fn emit(service: &Service) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.resize(ROWS_AT, 0);
    let mut rows = 0_u64;
    service.each_row(|user, url, at| {
        let (Ok(user_len), Ok(url_len)) = (u8::try_from(user.len()), u16::try_from(url.len()))
        else {
            return;
        };
        rows += 1;
        out.extend_from_slice(&at.0.to_le_bytes());
        out.push(user_len);
        out.extend_from_slice(&url_len.to_le_bytes());
        out.extend_from_slice(user);
        out.extend_from_slice(url);
    });
    out[SUMMED_AT..ROWS_AT].copy_from_slice(&rows.to_le_bytes());
    let sum = crc32c::crc32c(&out[SUMMED_AT..]);
    out[MAGIC.len()..SUMMED_AT].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Applies the rows in `bytes` to `service`; how many there are. Those older than its window are
/// left out, as ever.
///
/// # Errors
/// Where they are no snapshot; then `service` is as it was.
pub fn parse(bytes: &[u8], service: &mut Service) -> Result<u64, SnapshotError> {
    let (magic, rest) = bytes.split_at_checked(MAGIC.len()).ok_or(SnapshotError::Magic)?;
    if magic != MAGIC {
        return Err(SnapshotError::Magic);
    }
    let (sum, summed) = rest.split_first_chunk().ok_or(SnapshotError::Checksum)?;
    if u32::from_le_bytes(*sum) != crc32c::crc32c(summed) {
        return Err(SnapshotError::Checksum);
    }
    let (count, mut rest) = summed.split_first_chunk().ok_or(SnapshotError::Row)?;
    let count = u64::from_le_bytes(*count);
    // The smallest row says how many there can be.
    let mut rows = Vec::with_capacity(index(count).min(rest.len() / ROW_HEAD));
    while !rest.is_empty() {
        let row;
        (row, rest) = parse_row(rest).ok_or(SnapshotError::Row)?;
        rows.push(row);
    }
    if rows.len() as u64 != count {
        return Err(SnapshotError::Row);
    }
    rows.reverse();
    rows.chunks(RESTORED_AT_ONCE).for_each(|rows| service.restore(rows));
    Ok(count)
}

/// Rows that are restored at once: as with any hits, more overlap in waiting for memory.
const RESTORED_AT_ONCE: usize = 1024;

fn parse_row(bytes: &[u8]) -> Option<(Hit<'_>, &[u8])> {
    let (at, rest) = bytes.split_first_chunk()?;
    let (user_len, rest) = rest.split_first()?;
    let (url_len, rest) = rest.split_first_chunk()?;
    let (user, rest) = rest.split_at_checked((*user_len).into())?;
    let (url, rest) = rest.split_at_checked(u16::from_le_bytes(*url_len).into())?;
    let is_row = !user.is_empty() && (1..=ONLINE_URL_BYTES_MAX).contains(&url.len());
    is_row.then_some((Hit { user, url, at: UnixMillis(u64::from_le_bytes(*at)) }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::online::service::tests::{NOW, WALL, service};
    use crate::time::Duration;

    fn filled() -> Service {
        let mut service = service();
        for number in 0..50_u64 {
            let now = NOW.after(Duration::from_secs(number / 2));
            service.handle_time(now, UnixMillis(WALL.0 + number / 2 * 1000));
            let (user, url) = (format!("user{number}"), format!("url{}", number % 7));
            service.feed([(user.as_bytes(), url.as_bytes())]);
        }
        service
    }

    fn rows(service: &Service) -> Vec<(Vec<u8>, Vec<u8>, UnixMillis)> {
        let mut rows = Vec::new();
        service.each_row(|user, url, at| rows.push((user.to_vec(), url.to_vec(), at)));
        rows
    }

    #[test]
    fn what_is_written_is_read() {
        let before = filled();
        let mut after = service();
        after.handle_time(NOW, UnixMillis(WALL.0 + 30_000));
        assert_eq!(parse(&emit(&before), &mut after), Ok(50));
        assert_eq!((rows(&after).len(), rows(&after)), (50, rows(&before)));
        // A minute is the window: the older half is gone.
        let mut late = service();
        late.handle_time(NOW, UnixMillis(WALL.0 + 72_000));
        assert_eq!(parse(&emit(&before), &mut late), Ok(50));
        assert_eq!(rows(&late), rows(&before)[..26]);
        assert_eq!(parse(&emit(&service()), &mut after), Ok(0));
    }

    #[test]
    fn nothing_is_used_of_what_is_cut_off_or_damaged() {
        let good = emit(&filled());
        let mut after = service();
        for len in 0..good.len() {
            let expected =
                if len < MAGIC.len() { SnapshotError::Magic } else { SnapshotError::Checksum };
            assert_eq!(parse(&good[..len], &mut after), Err(expected), "{len}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(parse(&bad, &mut after).is_err(), "{at}");
        }
        assert_eq!(after.index().count(), 0);
    }

    #[test]
    fn rows_that_make_no_sense_are_refused() {
        let row: [&[u8]; 5] = [&WALL.0.to_le_bytes(), &[1], &[1, 0], b"u", b"a"];
        let row = row.concat();
        for (count, rows, expected) in [
            (1, row.clone(), Ok(1)),
            (2, row.clone(), Err(SnapshotError::Row)),
            (u64::MAX, row.clone(), Err(SnapshotError::Row)),
            (1, [&row[..], b"x"].concat(), Err(SnapshotError::Row)),
            (1, [&WALL.0.to_le_bytes()[..], &[0, 1, 0, b'a']].concat(), Err(SnapshotError::Row)),
            (1, [&WALL.0.to_le_bytes()[..], &[1, 0, 0, b'u']].concat(), Err(SnapshotError::Row)),
        ] {
            let summed = [&u64::to_le_bytes(count)[..], &rows].concat();
            let sum = crc32c::crc32c(&summed).to_le_bytes();
            let bytes = [&MAGIC[..], &sum, &summed].concat();
            assert_eq!(parse(&bytes, &mut service()), expected, "{count} {rows:?}");
        }
    }
}
