//! Which names a stored file can have, and the names that are the store's own.
//!
//! Thread: any, pure.
//! Not here: how a URL becomes a name (`cache::name`).

use crate::limits::{KEY_BYTES_MAX, KEY_PARTS_MAX};

use super::NotStored;

/// The directory of temporary files. No host has this name, since it begins with a dot.
pub const TEMPORARY: &[u8] = b"/.peerage";

/// Longest part of a name, in bytes: NAME_MAX of Linux.
const PART_BYTES_MAX: usize = 255;

/// Whether `name` is the store's own: nobody stores, serves or removes it.
#[must_use]
pub fn is_own(name: &[u8]) -> bool {
    name.strip_prefix(TEMPORARY).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

/// Whether a body may lie at `name`.
pub fn check(name: &[u8]) -> Result<(), NotStored> {
    let Some(below) = name.strip_prefix(b"/").filter(|_| !is_own(name)) else {
        return Err(NotStored::Blocked);
    };
    let mut count = 0;
    for part in below.split(|byte| *byte == b'/') {
        count += 1;
        if part.len() > PART_BYTES_MAX {
            return Err(NotStored::NameTooLong);
        }
        if matches!(part, b"" | b"." | b"..") || part.contains(&0) {
            return Err(NotStored::Blocked);
        }
    }
    if count > KEY_PARTS_MAX || name.len() > KEY_BYTES_MAX {
        return Err(NotStored::NameTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_names() {
        for good in [&b"/a"[..], b"/h/a/b.gif", b"/.peeragex", b"/h/.peerage/x", b"/h/..."] {
            assert_eq!(check(good), Ok(()));
        }
        for bad in [&b""[..], b"/", b"a", b"/a//b", b"/a/", b"/a/../b", b"/./a", b"/.peerage"] {
            assert_eq!(check(bad), Err(NotStored::Blocked));
        }
        assert_eq!(check(b"/.peerage/tmp-1-1"), Err(NotStored::Blocked));
        let deep = "/x".repeat(KEY_PARTS_MAX);
        assert_eq!(check(deep.as_bytes()), Ok(()));
        assert_eq!(check(format!("{deep}/x").as_bytes()), Err(NotStored::NameTooLong));
        assert_eq!(check(&[b"/", &[b'x'; 256][..]].concat()), Err(NotStored::NameTooLong));
    }
}
