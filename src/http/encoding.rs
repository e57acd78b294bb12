//! `Accept-Encoding`: which precompressed sibling a client takes (RFC 9110 section 12.5.3).
//!
//! Thread: any, pure.
//! Not here: finding the siblings (`daemon::http`), the `Vary` field (`http::head`).

/// A content coding with a precompressed sibling, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// Brotli, `.br` (RFC 7932).
    Brotli,
    /// Zstandard, `.zst` (RFC 8878).
    Zstd,
    /// gzip, `.gz` (RFC 1952).
    Gzip,
}

impl Coding {
    /// All codings in the order of preference between equally acceptable ones.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The token in `Accept-Encoding` and `Content-Encoding`.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What a sibling's file name ends with.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of codings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codings(u8);

impl Codings {
    /// No coding.
    pub const NONE: Self = Self(0);

    /// Adds `coding`.
    pub const fn insert(&mut self, coding: Coding) {
        self.0 |= coding.bit();
    }

    /// Whether `coding` is in the set.
    #[must_use]
    pub const fn contains(self, coding: Coding) -> bool {
        self.0 & coding.bit() != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The best coding of `available` that `field` accepts, or `None` for the identity. A coding wins
/// by its weight, then by the order of `Coding::ALL`; the identity wins only with a greater weight.
#[must_use]
pub fn choose(field: Option<&[u8]>, available: Codings) -> Option<Coding> {
    let field = field?;
    let mut best: Option<(u16, Coding)> = None;
    for coding in Coding::ALL {
        if !available.contains(coding) {
            continue;
        }
        let weight = weight_of(field, coding.token()).or_else(|| weight_of(field, "*"));
        if let Some(weight) = weight.filter(|weight| *weight > 0)
            && best.is_none_or(|(other, _)| weight > other)
        {
            best = Some((weight, coding));
        }
    }
    let (weight, coding) = best?;
    let identity = weight_of(field, "identity").unwrap_or(0);
    (weight >= identity).then_some(coding)
}

/// The weight of `token` in thousandths, if the field names it. A bad weight counts as refusal.
fn weight_of(field: &[u8], token: &str) -> Option<u16> {
    for element in field.split(|byte| *byte == b',') {
        let mut parts = element.split(|byte| *byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        if !name.eq_ignore_ascii_case(token.as_bytes()) {
            continue;
        }
        let weight = parts.map(<[u8]>::trim_ascii).find_map(|part| {
            part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")).map(parse_weight)
        });
        return Some(weight.unwrap_or(1000));
    }
    None
}

/// `0.75` as 750. Anything that is not a weight of RFC 9110 section 12.4.2 is 0.
fn parse_weight(text: &[u8]) -> u16 {
    let (whole, fraction) = match text {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return 0,
    };
    let mut weight = u16::from(whole - b'0') * 1000;
    let mut unit = 100;
    for byte in fraction {
        if !byte.is_ascii_digit() {
            return 0;
        }
        weight += u16::from(byte - b'0') * unit;
        unit /= 10;
    }
    if weight > 1000 { 0 } else { weight }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_fields() {
        let (br, zstd, gzip) = (Some(Coding::Brotli), Some(Coding::Zstd), Some(Coding::Gzip));
        let table: &[(&str, Option<Coding>)] = &[
            ("", None),
            ("gzip", gzip),
            ("gzip, deflate, br", br),
            ("gzip, deflate, br, zstd", br),
            ("GZIP", gzip),
            ("zstd;q=0.9, br;q=0.5", zstd),
            ("*", br),
            ("*;q=0", None),
            ("br;q=0, *", zstd),
            ("identity", None),
            ("identity;q=0.5, gzip;q=0.8", gzip),
            ("identity, gzip;q=0.8", None),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("gzip;q=0.001", gzip),
            ("gzip;q=2", None),
            ("gzip;q=x", None),
            ("gzip ; q=1.000", gzip),
            ("gzipped", None),
            (",,gzip,,", gzip),
        ];
        let mut all = Codings::NONE;
        Coding::ALL.into_iter().for_each(|coding| all.insert(coding));
        for (field, expected) in table {
            assert_eq!(choose(Some(field.as_bytes()), all), *expected, "{field}");
        }
        assert_eq!(choose(None, all), None);
        assert_eq!(choose(Some(b"br, gzip"), Codings::NONE), None);
    }

    #[test]
    fn only_what_is_there_is_chosen() {
        let mut only_gzip = Codings::NONE;
        only_gzip.insert(Coding::Gzip);
        assert_eq!(choose(Some(b"br, gzip;q=0.1"), only_gzip), Some(Coding::Gzip));
        assert_eq!(choose(Some(b"br"), only_gzip), None);
    }
}
