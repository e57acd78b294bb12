//! HTTP dates: the cached `Date` field, and dates in conditions (RFC 9110 section 5.6.7).
//!
//! Owns: one written date.   Thread: any, pure.
//! Not here: reading the clock (`sys::clock`); the caller says what time it is, once a batch.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrayvec::ArrayString;

use crate::time::UnixSeconds;

/// Length of `Sun, 06 Nov 1994 08:49:37 GMT`.
pub const DATE_BYTES: usize = 29;
/// Length of the whole field line, `Date: ` and line end included.
pub const DATE_LINE_BYTES: usize = 6 + DATE_BYTES + 2;

/// The latest time an HTTP date can name: 9999-12-31 23:59:59. Later times are written as this.
const LATEST: u64 = 253_402_300_799;

/// The `Date` field line of this second, written anew only when the second changes.
pub struct DateLine {
    at: UnixSeconds,
    line: ArrayString<DATE_LINE_BYTES>,
}

impl DateLine {
    /// The line for `now`.
    #[must_use]
    pub fn new(now: UnixSeconds) -> Self {
        Self { at: now, line: line(now) }
    }

    /// Tells it the time. Returns whether the line changed.
    pub fn update(&mut self, now: UnixSeconds) -> bool {
        if now == self.at {
            return false;
        }
        *self = Self::new(now);
        true
    }

    /// `Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.line.as_bytes()
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.line.as_bytes()["Date: ".len()..DATE_LINE_BYTES - 2]
    }

    /// The second that the line names.
    #[must_use]
    pub const fn seconds(&self) -> UnixSeconds {
        self.at
    }
}

/// `time` as an IMF-fixdate.
#[must_use]
pub fn emit(time: UnixSeconds) -> ArrayString<DATE_BYTES> {
    let mut text = ArrayString::new();
    let date = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(time.0.min(LATEST)));
    write!(text, "{date}").expect("an IMF-fixdate has 29 bytes");
    text
}

/// Reads any of the three forms of RFC 9110 section 5.6.7; `None` if it is none of them.
#[must_use]
pub fn parse(field: &[u8]) -> Option<UnixSeconds> {
    let text = std::str::from_utf8(field).ok()?;
    let time: SystemTime = httpdate::parse_http_date(text).ok()?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(UnixSeconds(since.as_secs()))
}

fn line(now: UnixSeconds) -> ArrayString<DATE_LINE_BYTES> {
    let mut line = ArrayString::new();
    write!(line, "Date: {}\r\n", emit(now)).expect("the line's length is fixed");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_the_example_of_rfc_9110() {
        let time = UnixSeconds(784_111_777);
        assert_eq!(emit(time).as_str(), "Sun, 06 Nov 1994 08:49:37 GMT");
        for form in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(form.as_bytes()), Some(time), "{form}");
        }
        assert_eq!(parse(b"yesterday"), None);
        assert_eq!(parse(b"\xff"), None);
    }

    #[test]
    fn the_line_changes_with_the_second_only() {
        let mut line = DateLine::new(UnixSeconds(784_111_777));
        assert!(!line.update(UnixSeconds(784_111_777)));
        assert!(line.update(UnixSeconds(784_111_778)));
        assert_eq!(line.as_bytes(), b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n");
    }

    #[test]
    fn a_time_out_of_range_is_written_as_the_latest() {
        assert_eq!(emit(UnixSeconds(u64::MAX)).as_str(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
