//! Key and file name: `http://<host>/<path>` is the file `<root>/<host>/<path>`.
//!
//! A key is the file's name below the root with a leading slash: `/<host>/<path>`, or `/<path>`
//! where the root itself is the host's directory.
//!
//! Thread: any, pure.
//! Not here: decoding and refusing paths (`http::target`); this is handed clean bytes.

use arrayvec::ArrayVec;

use crate::limits::KEY_BYTES_MAX;

/// A file name below the root, with a leading slash.
pub type Key = ArrayVec<u8, KEY_BYTES_MAX>;

/// Begins the key of a file in `directory`, a host's; the path with its leading `/` is appended by
/// the caller. An empty `directory` is the root itself.
///
/// # Panics
/// If `directory` is longer than a host name can be: names are checked where they enter.
pub fn begin(directory: &str, key: &mut Key) {
    key.clear();
    if !directory.is_empty() {
        key.push(b'/');
        key.try_extend_from_slice(directory.as_bytes()).expect("a host name has 255 bytes at most");
    }
}

/// Appends `suffix` (an index file's name, a precompressed sibling's ending) if there is room.
#[must_use]
pub fn append(key: &mut Key, suffix: &str) -> bool {
    key.try_extend_from_slice(suffix.as_bytes()).is_ok()
}

/// The host directory and the path (with its leading `/`) of `key`, where hosts have directories.
#[must_use]
pub fn split(key: &[u8]) -> (&[u8], &[u8]) {
    let name = key.strip_prefix(b"/").unwrap_or(key);
    let slash = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
    name.split_at(slash)
}

/// The name to open below the root.
#[must_use]
pub fn file_name(key: &[u8]) -> &[u8] {
    key.strip_prefix(b"/").unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_what_was_joined() {
        let mut key = Key::new();
        begin("www.example.com", &mut key);
        assert!(append(&mut key, "/a/b.png"));
        assert_eq!(split(&key), (&b"www.example.com"[..], &b"/a/b.png"[..]));
        assert_eq!(file_name(&key), b"www.example.com/a/b.png");
        assert_eq!(split(b"/host"), (&b"host"[..], &b""[..]));
    }

    #[test]
    fn the_root_itself_can_be_a_host() {
        let mut key = Key::new();
        begin("", &mut key);
        assert!(append(&mut key, "/a.png"));
        assert_eq!((&key[..], file_name(&key)), (&b"/a.png"[..], &b"a.png"[..]));
    }

    #[test]
    fn a_full_key_takes_no_more() {
        let mut key = Key::new();
        while append(&mut key, "x") {}
        assert_eq!(key.len(), KEY_BYTES_MAX);
    }
}
