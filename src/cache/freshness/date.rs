//! HTTP dates as a cache reads them: any case, GMT or UTC, the name of the day unread.
//!
//! Thread: any, pure; no allocation.
//! Not here: writing dates, and the strict reading of conditions (`http::date`).
//! Source: RFC 9110 section 5.6.7 (three forms); RFC 9111 section 4.2 (letters in any case, zones
//! other than GMT and UTC invalid).
//! Differs from the source: the name of the day is not compared with the date, since it says
//! nothing about time; years before 1970 are invalid, which for Expires means stale all the same.

use crate::time::UnixSeconds;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Longest form there is, `Wednesday, 06-Nov-94 08:49:37 GMT`, with room for odd blanks.
const DATE_BYTES_MAX: usize = 40;

/// Reads any of the three forms; `None` if it is none of them. `now` decides the century of a year
/// with two digits.
#[must_use]
pub fn parse(field: &[u8], now: UnixSeconds) -> Option<UnixSeconds> {
    if field.len() > DATE_BYTES_MAX {
        return None;
    }
    let mut words =
        field.split(|byte| matches!(byte, b' ' | b',' | b'-')).filter(|word| !word.is_empty());
    let mut next = || words.next();
    next().filter(|day| day.len() >= 3 && day.iter().all(u8::is_ascii_alphabetic))?;
    let second = next()?;
    let date = if second[0].is_ascii_digit() {
        // `06 Nov 1994 08:49:37 GMT`, or `06-Nov-94 08:49:37 GMT`.
        let (day, month) = (number(second, 1..=2)?, month(next()?)?);
        let year = year(next()?, now)?;
        let seconds = time_of_day(next()?)?;
        let zone = next()?;
        // RFC 9111 4.2: another zone makes the date invalid.
        if !zone.eq_ignore_ascii_case(b"GMT") && !zone.eq_ignore_ascii_case(b"UTC") {
            return None;
        }
        at(year, month, day, seconds)?
    } else {
        // asctime: `Nov  6 08:49:37 1994`.
        let (month, day) = (month(second)?, number(next()?, 1..=2)?);
        let seconds = time_of_day(next()?)?;
        at(number(next()?, 4..=4)?, month, day, seconds)?
    };
    next().is_none().then_some(UnixSeconds(date))
}

/// Reads a date that is exactly as HTTP dates are written today (IMF-fixdate, with the right name
/// of the day), so that whoever writes the time gets the same bytes; `None` for any other.
#[must_use]
pub fn parse_exact(field: &[u8]) -> Option<UnixSeconds> {
    let at = |range: std::ops::Range<usize>| &field[range];
    let has_form = field.len() == 29
        && [at(3..5), at(7..8), at(11..12), at(16..17), at(19..20), at(22..23), at(25..29)]
            == [&b", "[..], b" ", b" ", b" ", b":", b":", b" GMT"];
    if !has_form {
        return None;
    }
    let month = month(at(8..11))?;
    let (name, rest) = MONTHS[usize::try_from(month - 1).ok()?].split_at(1);
    let is_written_so = at(8..9).eq_ignore_ascii_case(name.as_bytes())
        && at(8..9)[0].is_ascii_uppercase()
        && at(9..11) == rest.as_bytes();
    let (day, year) = (number(at(5..7), 2..=2)?, number(at(12..16), 4..=4)?);
    let second = number(at(23..25), 2..=2).filter(|second| *second < 60)?;
    let seconds = time_of_day(at(17..25))?;
    let date = self::at(year, month, day, seconds)?;
    debug_assert_eq!(seconds % 60, second, "the same digits");
    // 1970 began on a Thursday.
    let weekday = DAYS[usize::try_from(date / 86_400 % 7).ok()?];
    (is_written_so && at(0..3) == weekday).then_some(UnixSeconds(date))
}

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];

fn month(word: &[u8]) -> Option<u64> {
    let place = MONTHS.iter().position(|month| word.eq_ignore_ascii_case(month.as_bytes()))?;
    u64::try_from(place + 1).ok()
}

fn number(word: &[u8], digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    if !digits.contains(&word.len()) || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0, |number, digit| 10 * number + u64::from(digit - b'0')))
}

fn year(word: &[u8], now: UnixSeconds) -> Option<u64> {
    if word.len() != 2 {
        return number(word, 4..=4);
    }
    let this_year = 1970 + now.0 / SECONDS_PER_YEAR;
    let year = this_year - this_year % 100 + number(word, 2..=2)?;
    // RFC 9110 5.6.7: more than 50 years ahead is the past century.
    Some(if year > this_year + 50 { year - 100 } else { year })
}

fn time_of_day(word: &[u8]) -> Option<u64> {
    let mut parts = word.split(|byte| *byte == b':');
    let mut part = |max: u64| number(parts.next()?, 2..=2).filter(|part| *part <= max);
    // 60 is a leap second.
    let (hour, minute, second) = (part(23)?, part(59)?, part(60)?);
    parts.next().is_none().then_some(hour * 3600 + minute * 60 + second)
}

/// A mean year of the Gregorian calendar.
const SECONDS_PER_YEAR: u64 = 31_556_952;

/// Seconds since 1970 of a date; `None` if there is no such day.
fn at(year: u64, month: u64, day: u64, seconds: u64) -> Option<u64> {
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1970 || !(1..=days).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day last.
    let (from_march, march) = if month > 2 { (month - 3, year) } else { (month + 9, year - 1) };
    let before = 365 * march + march / 4 - march / 100 + march / 400;
    // 1970-01-01 is 719,468 days after 0000-03-01. Months from March on have 30.6 days each.
    let date = before + (153 * from_march + 2) / 5 + day - 1 - 719_468;
    Some(date * 86_400 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

    #[test]
    fn exact_dates_are_those_that_are_written_alike() {
        for seconds in [0, 784_111_777, 1_700_000_000, 951_782_400, 4_102_444_799] {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            let text = httpdate::fmt_http_date(time);
            assert_eq!(parse_exact(text.as_bytes()), Some(UnixSeconds(seconds)), "{text}");
            for at in 0..text.len() {
                let mut other = text.clone().into_bytes();
                other[at] ^= 0x20;
                assert_eq!(parse_exact(&other), None, "{}", String::from_utf8_lossy(&other));
            }
        }
        for text in [
            "",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_exact(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn table_of_dates() {
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("sun, 06 nov 1994 08:49:37 gmt", Some(784_111_777)),
            ("Mon, 06 Nov 1994 08:49:37 UTC", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799)),
            ("Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800)),
            ("Wed, 29 Feb 2023 00:00:00 GMT", None),
            ("Mon, 29 Feb 2100 00:00:00 GMT", None),
            ("Wed, 31 Dec 1969 23:59:59 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 EST", None),
            ("Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("Sun, 06 Nov 1994 08:49 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT x", None),
            ("Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
            ("06 Nov 1994 08:49:37 GMT", None),
            ("0", None),
            ("-1", None),
            ("", None),
            ("1994-11-06T08:49:37Z", None),
        ] {
            assert_eq!(parse(text.as_bytes(), NOW), expected.map(UnixSeconds), "{text}");
        }
    }

    #[test]
    fn two_digits_are_at_most_fifty_years_ahead() {
        let year = |text: &str| {
            let text = format!("Sunday, 01-Jul-{text} 00:00:00 GMT");
            1970 + parse(text.as_bytes(), NOW).unwrap().0 / SECONDS_PER_YEAR
        };
        assert_eq!(year("25"), 2025);
        assert_eq!(year("73"), 2073);
        assert_eq!(year("75"), 1975);
    }

    #[test]
    fn reads_every_day_that_the_calendar_has() {
        let mut time = 43_200;
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov"];
        for year in 1970..2200_u64 {
            for month in 0..12_usize {
                let name = months.get(month).copied().unwrap_or("Dec");
                for day in 1..=31 {
                    let text = format!("Sun, {day:02} {name} {year} 12:00:00 GMT");
                    if let Some(found) = parse(text.as_bytes(), NOW) {
                        assert_eq!(found.0, time, "{text}");
                        time += 86_400;
                    }
                }
            }
        }
        assert_eq!(time, 7_258_161_600, "2200-01-01 12:00");
    }
}
