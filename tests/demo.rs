//! The demo tree as it is in the repository: a page whose links lead to files, and pictures that
//! are what their names say.
//!
//! Input: conf/demo.   Output: every fault at once, with its remedy.
//! Not here: whether the generator still makes these bytes; that takes half a minute:
//! `cargo run --release --example demo -- --check conf/demo`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// All of conf/demo, in bytes: a clone of the repository should stay small.
const TREE_BYTES_MAX: usize = 5 << 19;
/// Width and height of a picture, and of its thumbnail.
const PICTURE: [u32; 2] = [640, 420];
const THUMBNAIL: [u32; 2] = [320, 210];
/// Attributes of the page that name a file.
const LINKS: [&str; 3] = [" href=\"", " src=\"", " srcset=\""];

fn host_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/demo/localhost")
}

/// Paths below the host's folder, with slashes.
fn files() -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut open = vec![String::new()];
    while let Some(prefix) = open.pop() {
        for entry in fs::read_dir(host_dir().join(&prefix)).expect("conf/demo/localhost exists") {
            let entry = entry.expect("the folder stays while it is read");
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                open.push(format!("{path}/"));
            } else {
                out.insert(path);
            }
        }
    }
    out
}

/// What the page's attributes name.
fn links(page: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for attribute in LINKS {
        for rest in page.split(attribute).skip(1) {
            let value = rest.split('"').next().unwrap_or_default();
            // In a srcset each address is followed by its width.
            let each = value.split(',').filter_map(|part| part.split_whitespace().next());
            out.extend(each.map(str::to_owned));
        }
    }
    out
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What is wrong with a PNG file that should have this size: PNG 5.2, 5.3, 11.2.1.
fn png_fault(bytes: &[u8], size: [u32; 2]) -> Option<String> {
    let Some(b"\x89PNG\r\n\x1a\n") = bytes.get(..8) else {
        return Some("no PNG signature".to_owned());
    };
    let mut at = 8;
    let mut kinds = Vec::new();
    while at + 12 <= bytes.len() {
        let length = usize::try_from(number(bytes, at)).expect("usize has 32 bits or more");
        let Some(body) = bytes.get(at + 4..at + 8 + length) else {
            return Some(format!("the chunk at {at} runs past the end"));
        };
        let mut crc = flate2::Crc::new();
        crc.update(body);
        if bytes.len() < at + 12 + length || crc.sum() != number(bytes, at + 8 + length) {
            return Some(format!("the check sum of the chunk at {at} is wrong"));
        }
        kinds.push(body[..4].to_vec());
        at += 12 + length;
    }
    if at != bytes.len() || kinds != [b"IHDR", b"IDAT", b"IEND"] {
        return Some("not IHDR, IDAT, IEND and nothing else".to_owned());
    }
    let head = &bytes[16..29];
    if [number(head, 0), number(head, 4)] != size || head[8..] != [8, 2, 0, 0, 0] {
        return Some(format!("not {} x {} in true colour of 8 bits", size[0], size[1]));
    }
    None
}

#[test]
fn the_page_names_every_file_and_no_other() {
    let page = fs::read_to_string(host_dir().join("index.html")).unwrap();
    let links = links(&page);
    let mut files = files();
    assert!(files.remove("index.html"));
    let missing: Vec<&String> = links.difference(&files).collect();
    let unused: Vec<&String> = files.difference(&links).collect();
    assert!(
        missing.is_empty() && unused.is_empty(),
        "index.html names {missing:?}, which do not exist, and leaves out {unused:?}; write the \
         tree anew with tools/demo"
    );
    assert!(links.len() > 20, "{} links: the search for them is broken", links.len());
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = fs::read_to_string(host_dir().join("index.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.is_ascii());
    for word in ["://", "=\"/", "url(", "@import", "<script", "{{"] {
        assert!(!page.contains(word), "index.html contains `{word}`; name files of the tree only");
    }
}

#[test]
fn every_picture_is_what_its_name_says() {
    let mut faults = Vec::new();
    let mut tree_bytes = 0;
    for path in files() {
        let bytes = fs::read(host_dir().join(&path)).unwrap();
        tree_bytes += bytes.len();
        let size = if path.starts_with("thumbs/") { THUMBNAIL } else { PICTURE };
        let fault = match path.rsplit('.').next() {
            Some("png") => png_fault(&bytes, size),
            Some("svg") if !bytes.starts_with(b"<svg ") || !bytes.ends_with(b"</svg>\n") => {
                Some("not one svg element".to_owned())
            }
            Some("svg" | "html") => None,
            _ => Some("a kind of file the demo does not have".to_owned()),
        };
        faults.extend(fault.map(|fault| format!("{path}: {fault}")));
    }
    assert!(faults.is_empty(), "write the tree anew with tools/demo:\n{}", faults.join("\n"));
    assert!(tree_bytes <= TREE_BYTES_MAX, "{tree_bytes} bytes are more than {TREE_BYTES_MAX}");
}

#[test]
fn a_damaged_picture_is_found() {
    let good = fs::read(host_dir().join("thumbs/julia.png")).unwrap();
    assert_eq!(png_fault(&good, THUMBNAIL), None);
    assert!(png_fault(&good, PICTURE).is_some());
    for at in [0, 9, 12, 17, 24, 29, 60, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        assert!(png_fault(&bad, THUMBNAIL).is_some(), "byte {at}");
    }
    for length in [0, 7, 8, 20, good.len() - 12, good.len() - 1] {
        assert!(png_fault(&good[..length], THUMBNAIL).is_some(), "{length} bytes");
    }
}
