//! `peerage cache path URL` and `peerage cache url FILE`: the mapping of URLs to files, both ways;
//! `peerage cache why URL`: what a running daemon would answer.
//!
//! Thread: main.
//! Not here: the mapping (`cache::name`, `daemon::names`), the decision (`daemon`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};

use crate::admin::control::Command;
use crate::cache::key::{self, Key};
use crate::cache::name::{self, Named};
use crate::config::{self, Config};
use crate::daemon::names::{self, Whose};
use crate::daemon::settings::Settings;
use crate::http::hosts::normalize;

use super::client::Daemon;

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
    /// Print what the running daemon would answer to a request now, and why.
    Why {
        /// As in http://www.example.com/logo.gif.
        url: String,
        #[command(flatten)]
        daemon: Daemon,
    },
}

impl Cache {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match &self.question {
            Question::Path { url, config } => {
                let config = config.as_deref().map(config::load).transpose()?;
                super::say(path_of(url, config.as_ref())?.display())?;
            }
            Question::Url { file, config } => {
                let config = config.as_deref().map(config::load).transpose()?;
                super::say(url_of(file, config.as_ref())?)?;
            }
            Question::Why { url, daemon } => {
                daemon.connect()?.ask_briefly(&Command::Why(url.clone()))?;
            }
        }
        Ok(())
    }
}

fn path_of(url: &str, config: Option<&Config>) -> anyhow::Result<PathBuf> {
    let below = |key: &Key| PathBuf::from(OsStr::from_bytes(key::file_name(key)));
    let Some(config) = config else {
        let key = names::plain_key(url).map_err(|error| anyhow!("{url}: {error}"))?;
        return Ok(below(&key));
    };
    let key = names::key(&Settings::new(config), url, Whose::Served);
    let key = key.map_err(|error| anyhow!("{url}: {error}"))?;
    Ok(config.tree.root.join(below(&key)))
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
