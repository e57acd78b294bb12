//! `peerage run -c FILE`: the daemon.
//!
//! Thread: main.
//! Not here: the daemon itself (`daemon::start`).

use std::path::PathBuf;

use crate::config;
use crate::daemon::start;

/// Runs until SIGTERM; SIGHUP reloads the file.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The configuration file.
    #[arg(short, long = "config", value_name = "FILE")]
    config: PathBuf,
}

impl Run {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let config = config::load(&self.config)?;
        Ok(start::run(&config, Some(&self.config))?)
    }
}
