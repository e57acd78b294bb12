//! Key and file name: `http://<host>/<path>` is the file `<root>/<host>/<path>`.
//!
//! Thread: any, pure.
//! Not here: decoding and refusing paths (`http::target`); this is handed clean bytes.

use arrayvec::ArrayVec;

use crate::limits::KEY_BYTES_MAX;

/// A file name below the root, `<host>/<path>`, without a leading slash.
pub type Key = ArrayVec<u8, KEY_BYTES_MAX>;

/// Begins the key of a file of `host`; the path with its leading `/` is appended by the caller.
///
/// # Panics
/// If `host` is longer than a host name can be: names are checked where they enter.
pub fn begin(host: &str, key: &mut Key) {
    key.clear();
    key.try_extend_from_slice(host.as_bytes()).expect("a host name has 255 bytes at most");
}

/// Appends `suffix` (an index file's name, a precompressed sibling's ending) if there is room.
#[must_use]
pub fn append(key: &mut Key, suffix: &str) -> bool {
    key.try_extend_from_slice(suffix.as_bytes()).is_ok()
}

/// The host directory and the path (with its leading `/`) of `key`.
#[must_use]
pub fn split(key: &[u8]) -> (&[u8], &[u8]) {
    let slash = key.iter().position(|byte| *byte == b'/').unwrap_or(key.len());
    key.split_at(slash)
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
        assert_eq!(split(b"host"), (&b"host"[..], &b""[..]));
    }

    #[test]
    fn a_full_key_takes_no_more() {
        let mut key = Key::new();
        while append(&mut key, "x") {}
        assert_eq!(key.len(), KEY_BYTES_MAX);
    }
}
