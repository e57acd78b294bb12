//! `peerage cache path URL` and `peerage cache url FILE`: the mapping of URLs to files, both ways.
//!
//! Thread: main.
//! Not here: the mapping (`cache::name`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use arrayvec::ArrayVec;

use crate::cache::key::{self, Key};
use crate::cache::name::{self, Marks, Named};
use crate::config::{self, Config};
use crate::daemon::settings::Settings;
use crate::http::Method;
use crate::http::hosts::{HostName, normalize};
use crate::http::target::{Target, decode_path, parse};
use crate::limits::KEY_BYTES_MAX;

/// Questions about the tree.
#[derive(Debug, clap::Args)]
pub struct Cache {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, clap::Subcommand)]
enum Question {
    /// Print the file that a URL is served from and stored in.
    Path {
        /// As in http://www.example.com/logo.gif.
        url: String,
        /// Print the whole path, with the root and the host's name from this file.
        #[arg(short, long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the URL that a file below the root is for.
    Url {
        /// As in www.example.com/logo.gif, or the whole path if -c is given.
        file: PathBuf,
        /// Take the root from this file.
        #[arg(short, long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

impl Cache {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match &self.question {
            Question::Path { url, config } => {
                let config = config.as_deref().map(config::load).transpose()?;
                println!("{}", path_of(url, config.as_ref())?.display());
            }
            Question::Url { file, config } => {
                let config = config.as_deref().map(config::load).transpose()?;
                println!("{}", url_of(file, config.as_ref())?);
            }
        }
        Ok(())
    }
}

fn path_of(url: &str, config: Option<&Config>) -> anyhow::Result<PathBuf> {
    let form = "expected http://HOST/PATH, percent-encoded as a browser sends it";
    let Ok(Target::Path { authority: Some(authority), path }) = parse(Method::Get, url) else {
        bail!("{url}: {form}");
    };
    let Some(host) = normalize(authority) else { bail!("{url}: not the name of a host; {form}") };
    let mut decoded = ArrayVec::<u8, KEY_BYTES_MAX>::new();
    if decode_path(path, true, &mut decoded).is_err() {
        bail!("{url}: the server refuses this path, so no file is its own; {form}");
    }
    let Some(config) = config else {
        let mut key = Key::new();
        emit(url, &host, &decoded, &mut key)?;
        return Ok(PathBuf::from(OsStr::from_bytes(key::file_name(&key))));
    };
    let settings = Settings::new(config);
    let mut foreign = HostName::new();
    let Ok((site, directory)) = settings.site(authority, &mut foreign) else {
        bail!("{url}: this host is not served here (421); list it under [[host]]");
    };
    // A directory's own URL is answered by its index file, where one is configured.
    if decoded.ends_with(b"/") && decoded.try_extend_from_slice(site.index.as_bytes()).is_err() {
        bail!("{url}: the name would be too long; it is never stored");
    }
    let mut key = Key::new();
    emit(url, directory, &decoded, &mut key)?;
    Ok(config.tree.root.join(OsStr::from_bytes(key::file_name(&key))))
}

/// Files are served whatever the query, so it is no part of their names.
fn emit(url: &str, directory: &str, path: &[u8], key: &mut Key) -> anyhow::Result<()> {
    let done = name::emit(directory, path, None, Marks::default(), key);
    done.map_err(|_| anyhow!("{url}: the name would be too long, so no file is its own"))
}

fn url_of(file: &Path, config: Option<&Config>) -> anyhow::Result<String> {
    let shown = file.display();
    let below = match config {
        Some(config) if file.is_absolute() => file
            .strip_prefix(&config.tree.root)
            .with_context(|| format!("{shown}: not below {}", config.tree.root.display()))?,
        _ => file,
    };
    let bytes = [b"/", below.as_os_str().as_bytes()].concat();
    let (host, path) = key::split(&bytes);
    let host = std::str::from_utf8(host).ok().filter(|host| normalize(host.as_bytes()).is_some());
    let Some((host, named)) = host.zip(name::parse(path)) else {
        bail!("{shown}: no URL leads to this file; expected HOST/PATH as `cache path` prints it");
    };
    Ok(format!("http://{host}{}", shown_url(&named)))
}

fn shown_url(named: &Named) -> String {
    let mut text = name::to_url_path(&named.path);
    if let Some(query) = &named.query {
        text.push('?');
        text.push_str(&String::from_utf8_lossy(query));
    }
    let marks = named.marks;
    if let Some(status) = marks.status {
        text.push_str(&format!(" (the answer {status})"));
    }
    if let Some(variant) = marks.variant {
        text.push_str(&format!(" (variant {variant:016x})"));
    }
    text
}
