//! Path patterns of the configuration: `*`, `**`, `?`.
//!
//! Thread: any, pure.
//! Not here: what a matching rule does (`daemon::settings`).

/// A pattern over paths. `*` is any run without `/`, `**` any run, `?` one byte but `/`. A pattern
/// without `/` is matched against the last part of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<[u8]>,
    last_part_only: bool,
}

impl Pattern {
    /// Takes any text; there is no wrong one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::from_bytes(text.as_bytes())
    }

    /// The same of bytes, which need not be text: file names are not.
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> Self {
        Self { text: text.into(), last_part_only: !text.contains(&b'/') }
    }

    /// Whether `path` (with its leading `/`) matches.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let start = if self.last_part_only {
            path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1)
        } else {
            0
        };
        matches(&self.text, &path[start..])
    }
}

/// Greedy matching with one resumption point per kind of star: O(pattern x path) at worst.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    // Where to resume: (pattern after the star, path where its run ends).
    let mut star: Option<(usize, usize)> = None;
    let mut double: Option<(usize, usize)> = None;
    loop {
        if pattern[at..].starts_with(b"**") {
            at += 2;
            (double, star) = (Some((at, pos)), None);
            continue;
        }
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, pos));
            continue;
        }
        let matched = match (pattern.get(at), path.get(pos)) {
            (None, None) => return true,
            (Some(b'?'), Some(byte)) => *byte != b'/',
            (Some(want), Some(byte)) => want == byte,
            _ => false,
        };
        if matched {
            (at, pos) = (at + 1, pos + 1);
        } else if let Some((after, end)) =
            star.filter(|(_, end)| path.get(*end).is_some_and(|byte| *byte != b'/'))
        {
            star = Some((after, end + 1));
            (at, pos) = (after, end + 1);
        } else if let Some((after, end)) = double.filter(|(_, end)| *end < path.len()) {
            (double, star) = (Some((after, end + 1)), None);
            (at, pos) = (after, end + 1);
        } else {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by trying every way: slow and plainly right.
    fn naive(pattern: &[u8], path: &[u8]) -> bool {
        match pattern {
            [] => path.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=path.len()).any(|end| naive(rest, &path[end..])),
            [b'*', rest @ ..] => (0..=path.len())
                .take_while(|end| !path[..*end].contains(&b'/'))
                .any(|end| naive(rest, &path[end..])),
            [b'?', rest @ ..] => {
                path.first().is_some_and(|byte| *byte != b'/') && naive(rest, &path[1..])
            }
            [want, rest @ ..] => path.first() == Some(want) && naive(rest, &path[1..]),
        }
    }

    #[test]
    fn table_of_patterns() {
        let table = [
            ("*.png", "/a/b.png", true),
            ("*.png", "/a/b.png/c", false),
            ("*", "/a/b", true),
            ("/img/*", "/img/a", true),
            ("/img/*", "/img/a/b", false),
            ("/img/**", "/img/a/b", true),
            ("/**/thumb?.jpg", "/a/b/thumb1.jpg", true),
            ("/**/thumb?.jpg", "/thumb1.jpg", false),
            ("/**thumb?.jpg", "/thumb1.jpg", true),
            ("/a*b*c", "/aXbYbZc", true),
            ("", "/", true),
            ("", "/a", false),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(
                Pattern::new(pattern).matches(path.as_bytes()),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn agrees_with_its_naive_twin() {
        let mut state = 1_u64;
        let mut next = |choices: &[u8]| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            choices[usize::try_from(state >> 40).expect("64 bits") % choices.len()]
        };
        for _ in 0..200_000 {
            let pattern: Vec<u8> =
                (0..next(b"\x00\x02\x04\x06")).map(|_| next(b"ab/**?")).collect();
            let path: Vec<u8> = (0..next(b"\x00\x02\x05\x07")).map(|_| next(b"ab/")).collect();
            assert_eq!(
                matches(&pattern, &path),
                naive(&pattern, &path),
                "{:?} {:?}",
                String::from_utf8_lossy(&pattern),
                String::from_utf8_lossy(&path)
            );
        }
    }
}
