//! The content types that are known without being configured.
//!
//! Input: none.     Output: the defaults of `[mime]`.
//! Owns: nothing.   Thread: any, pure.
//! Invariants: an extension stands once; every compressible type is one of a default extension.
//! Not here: reading `[mime.types]` (`lists.rs`), choosing a type for a path (the HTTP core).
//! Source: the IANA media type registry, <https://www.iana.org/assignments/media-types>; RFC 9239
//! for text/javascript; RFC 8081 for font/.

use std::collections::BTreeMap;

/// Content type by extension.
pub(super) fn default_types() -> BTreeMap<String, String> {
    let mut types = BTreeMap::new();
    for (content_type, extensions) in TYPES {
        for extension in extensions.split(' ') {
            types.insert(extension.to_owned(), content_type.to_owned());
        }
    }
    types
}

/// The types for which a compressed sibling may exist: all others are compressed in themselves.
pub(super) fn default_compressible() -> Vec<String> {
    COMPRESSIBLE.iter().map(|name| (*name).to_owned()).collect()
}

/// Content type, and its extensions apart by spaces. Text that is read by people or browsers as
/// text says its character set, since browsers guess otherwise.
const TYPES: [(&str, &str); 67] = [
    // Pictures.
    ("image/apng", "apng"),
    ("image/avif", "avif"),
    ("image/bmp", "bmp"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("image/heif", "heif"),
    ("image/jp2", "jp2"),
    ("image/jpeg", "jpg jpeg jpe jfif"),
    ("image/jxl", "jxl"),
    ("image/ktx2", "ktx2"),
    ("image/png", "png"),
    ("image/svg+xml", "svg"),
    ("image/tiff", "tif tiff"),
    ("image/vnd.adobe.photoshop", "psd"),
    ("image/vnd.microsoft.icon", "ico"),
    ("image/webp", "webp"),
    // Web pages and their parts.
    ("application/atom+xml", "atom"),
    ("application/json", "json map"),
    ("application/ld+json", "jsonld"),
    ("application/manifest+json", "webmanifest"),
    ("application/pdf", "pdf"),
    ("application/rss+xml", "rss"),
    ("application/wasm", "wasm"),
    ("application/xhtml+xml", "xhtml"),
    ("application/xml", "xml xsl"),
    ("model/gltf+json", "gltf"),
    ("model/gltf-binary", "glb"),
    ("text/calendar; charset=utf-8", "ics"),
    ("text/css; charset=utf-8", "css"),
    ("text/csv; charset=utf-8", "csv"),
    ("text/html; charset=utf-8", "html htm"),
    ("text/javascript; charset=utf-8", "js mjs"),
    ("text/markdown; charset=utf-8", "md"),
    ("text/plain; charset=utf-8", "txt log conf ini"),
    ("text/vtt; charset=utf-8", "vtt"),
    // Video and sound.
    ("application/dash+xml", "mpd"),
    ("application/vnd.apple.mpegurl", "m3u8"),
    ("audio/aac", "aac"),
    ("audio/flac", "flac"),
    ("audio/midi", "mid midi"),
    ("audio/mp4", "m4a"),
    ("audio/mpeg", "mp3"),
    ("audio/ogg", "ogg oga opus"),
    ("audio/wav", "wav"),
    ("audio/webm", "weba"),
    ("video/iso.segment", "m4s"),
    ("video/mp2t", "ts"),
    ("video/mp4", "mp4 m4v"),
    ("video/mpeg", "mpeg mpg"),
    ("video/ogg", "ogv"),
    ("video/quicktime", "mov"),
    ("video/webm", "webm"),
    ("video/x-matroska", "mkv"),
    ("video/x-msvideo", "avi"),
    // Fonts.
    ("application/vnd.ms-fontobject", "eot"),
    ("font/collection", "ttc"),
    ("font/otf", "otf"),
    ("font/ttf", "ttf"),
    ("font/woff", "woff"),
    ("font/woff2", "woff2"),
    // Archives.
    ("application/gzip", "gz tgz"),
    ("application/vnd.rar", "rar"),
    ("application/x-7z-compressed", "7z"),
    ("application/x-bzip2", "bz2"),
    ("application/x-tar", "tar"),
    ("application/x-xz", "xz"),
    ("application/zip", "zip"),
];

const COMPRESSIBLE: [&str; 25] = [
    "application/atom+xml",
    "application/dash+xml",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/rss+xml",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/xhtml+xml",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "image/vnd.microsoft.icon",
    "model/gltf+json",
    "text/calendar",
    "text/css",
    "text/csv",
    "text/html",
    "text/javascript",
    "text/markdown",
    "text/plain",
    "text/vtt",
];

#[cfg(test)]
mod tests {
    use super::super::rules;
    use super::*;

    #[test]
    fn every_row_is_sound_and_every_extension_stands_once() {
        let mut count = 0;
        for (content_type, extensions) in TYPES {
            assert_eq!(rules::content_type(content_type), Ok(()));
            for extension in extensions.split(' ') {
                assert_eq!(rules::extension(extension), Ok(()));
                count += 1;
            }
        }
        assert_eq!(default_types().len(), count);
    }

    #[test]
    fn compressible_types_are_known_and_text_says_its_character_set() {
        let types = default_types();
        let essence = |name: &str| name.split(';').next().unwrap_or_default().to_owned();
        for name in COMPRESSIBLE {
            assert_eq!(rules::content_essence(name), Ok(()));
            assert!(types.values().any(|known| essence(known) == name), "{name}");
        }
        for name in types.values().filter(|name| name.starts_with("text/")) {
            assert!(name.ends_with("; charset=utf-8"), "{name}");
        }
    }
}
