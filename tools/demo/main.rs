//! Generator of the demo tree: a page, its pictures, their thumbnails.
//!
//! Input: a directory, `conf/demo` in the repository.   Output: `localhost/` below it, or with
//! `--check` the list of files that differ.
//! Invariants: the same bytes on every run and machine; `tests/demo.rs` checks what it wrote.
//! Not here: how a picture is made; see `fields`, `strokes` and `vector`.
//!
//!     cargo run --release --example demo -- conf/demo
//!     cargo run --release --example demo -- --check conf/demo

mod fields;
mod image;
mod math;
mod png;
mod strokes;
mod vector;

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::image::Image;

/// The folder of the host that a bare address reaches.
const HOST: &str = "localhost";
const PAGE: &str = include_str!("page.html");
const USAGE: &str = "usage: demo DIR | demo --check DIR   (DIR is conf/demo in the repository)";

/// How a picture is made.
enum Maker {
    /// As pixels, its channels rounded to this many levels: fewer pack better, and where the
    /// picture is busy nobody sees it.
    Pixels(fn() -> Image, f64),
    /// As SVG.
    Text(fn() -> String),
}

/// One picture: file name, title, a few words, maker.
type Picture = (&'static str, &'static str, &'static str, Maker);

const PICTURES: [Picture; 15] = [
    ("dunes", "Dunes", "Five bent sines and a sun", Maker::Pixels(fields::dunes, 256.0)),
    (
        "julia",
        "Julia set",
        "z becomes z squared plus a constant",
        Maker::Pixels(fields::julia, 128.0),
    ),
    ("flow", "Current", "Lines that follow and keep apart", Maker::Pixels(strokes::flow, 64.0)),
    (
        "glass",
        "Stained glass",
        "Every point joins the nearest pane",
        Maker::Pixels(fields::glass, 64.0),
    ),
    ("waves", "Waves", "Seven layers under a moon, as text", Maker::Text(vector::waves)),
    ("seeds", "Seeds", "Each one golden angle further", Maker::Pixels(strokes::seeds, 64.0)),
    ("tree", "Tree", "One rule, eight times", Maker::Pixels(strokes::tree, 128.0)),
    ("stars", "Stars", "Three grids and a warped cloud", Maker::Pixels(fields::stars, 128.0)),
    (
        "truchet",
        "Truchet tiles",
        "Two arcs a tile, turned by chance",
        Maker::Pixels(strokes::truchet, 64.0),
    ),
    ("plasma", "Plasma", "Sums of waves", Maker::Pixels(fields::plasma, 128.0)),
    ("rosette", "Rosette", "Seventy-two ellipses, as text", Maker::Text(vector::rosette)),
    (
        "coral",
        "Coral",
        "Two substances that feed on each other",
        Maker::Pixels(fields::coral, 64.0),
    ),
    (
        "mandelbrot",
        "Mandelbrot set",
        "A detail in the valley of sea horses",
        Maker::Pixels(fields::mandelbrot, 64.0),
    ),
    ("cubes", "Cubes", "A ripple in blocks, as text", Maker::Text(vector::cubes)),
    ("moire", "Moire", "Two sets of rings", Maker::Pixels(fields::moire, 32.0)),
];

/// Files of the tree, by path below the directory.
type Files = BTreeMap<String, Vec<u8>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--check", dir] => check(Path::new(dir)),
        [dir] if !dir.starts_with('-') => write(Path::new(dir)),
        _ => Err(io::Error::other(USAGE)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the tree below `dir`, whatever is there already.
fn write(dir: &Path) -> io::Result<()> {
    let files = files();
    for (path, bytes) in &files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap_or(dir)).map_err(|e| at(&path, &e))?;
        fs::write(&path, bytes).map_err(|e| at(&path, &e))?;
    }
    let bytes: usize = files.values().map(Vec::len).sum();
    eprintln!("{} files, {bytes} bytes below {}", files.len(), dir.display());
    Ok(())
}

/// Compares the tree below `dir` with what `write` would make of it.
fn check(dir: &Path) -> io::Result<()> {
    let files = files();
    let mut wrong: Vec<String> = Vec::new();
    for (path, bytes) in &files {
        match fs::read(dir.join(path)) {
            Ok(found) if found == *bytes => {}
            Ok(_) => wrong.push(format!("{path} differs")),
            Err(e) => wrong.push(format!("{path}: {e}")),
        }
    }
    let mut found = Vec::new();
    list(&dir.join(HOST), HOST, &mut found)?;
    let strange = found.into_iter().filter(|path| !files.contains_key(path));
    wrong.extend(strange.map(|path| format!("{path} is not from this generator")));
    if wrong.is_empty() {
        return Ok(());
    }
    let remedy = format!("write it anew: cargo run --release --example demo -- {}", dir.display());
    Err(io::Error::other(format!("{}\n{remedy}", wrong.join("\n"))))
}

fn list(dir: &Path, prefix: &str, out: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir).map_err(|e| at(dir, &e))? {
        let entry = entry?;
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &path, out)?;
        } else {
            out.push(path);
        }
    }
    Ok(())
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    let path: PathBuf = path.to_owned();
    io::Error::other(format!("{}: {error}", path.display()))
}

/// Every file of the tree.
fn files() -> Files {
    let mut files = Files::new();
    let mut cards = String::new();
    for (name, title, words, maker) in &PICTURES {
        let picture = match maker {
            Maker::Pixels(make, levels) => {
                let image = make();
                let thumb = encoded(&image.halved(), *levels);
                files.insert(format!("{HOST}/thumbs/{name}.png"), thumb);
                (format!("pictures/{name}.png"), encoded(&image, *levels))
            }
            Maker::Text(make) => (format!("pictures/{name}.svg"), make().into_bytes()),
        };
        let thumb = matches!(maker, Maker::Pixels(..)).then(|| format!("thumbs/{name}.png"));
        cards.push_str(&card(title, words, &picture, thumb.as_deref()));
        files.insert(format!("{HOST}/{}", picture.0), picture.1);
    }
    for name in ["logo.svg", "favicon.svg"] {
        files.insert(format!("{HOST}/{name}"), vector::logo().into_bytes());
    }
    let bytes: usize = files.values().map(Vec::len).sum();
    let page = PAGE
        .replace("{{cards}}", &cards)
        .replace("{{count}}", &PICTURES.len().to_string())
        .replace("{{bytes}}", &size(bytes));
    files.insert(format!("{HOST}/index.html"), page.into_bytes());
    files
}

fn encoded(image: &Image, levels: f64) -> Vec<u8> {
    png::encode(image.width, image.height, &image.bytes(levels))
}

/// One picture on the page. Screens with fine pixels take the large file at once.
fn card(title: &str, words: &str, (path, file): &(String, Vec<u8>), thumb: Option<&str>) -> String {
    let source = thumb.map_or(format!("src=\"{path}\""), |thumb| {
        format!(
            "src=\"{thumb}\" srcset=\"{thumb} 320w, {path} 640w\" \
             sizes=\"(min-width: 56rem) 20rem, 46vw\""
        )
    });
    let kind = path.rsplit('.').next().unwrap_or_default().to_uppercase();
    format!(
        "<a href=\"{path}\"><span class=\"pane\"><img {source} width=\"320\" height=\"210\" \
         alt=\"{title}\"></span>\n<span class=\"about\"><b>{title}</b><span class=\"words\">{words}\
         </span><span class=\"size\">{kind}, {}</span></span></a>\n",
        size(file.len())
    )
}

/// Bytes as a person reads them, in binary units.
fn size(bytes: usize) -> String {
    if bytes < 1 << 20 {
        return format!("{} KiB", bytes.div_ceil(1 << 10));
    }
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
