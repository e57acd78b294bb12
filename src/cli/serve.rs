//! `peerage serve DIR`: the least that serves.
//!
//! Thread: main.
//! Not here: the daemon (`daemon::start`).

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::config::Config;
use crate::daemon::settings::ROOT_AS_HOST;
use crate::daemon::start;

/// Serves the files of DIR itself, for any host name: `http://127.0.0.1:8080/a.png` is `DIR/a.png`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// The directory to serve.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where to listen.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Serving threads; 0 for one per core.
    #[arg(long, default_value_t = 0)]
    workers: usize,
}

impl Serve {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let directory = &self.directory;
        let mut config = Config::default();
        config.tree.root = std::fs::canonicalize(directory)
            .with_context(|| format!("{}: name a directory that exists", directory.display()))?;
        anyhow::ensure!(
            config.tree.root.is_dir(),
            "{}: is not a directory; name the directory that the file is in",
            directory.display()
        );
        config.tree.default_host = ROOT_AS_HOST.to_owned();
        config.tree.index = "index.html".to_owned();
        config.server.listen = vec![self.listen];
        config.server.workers = self.workers;
        config.admin.listen = None;
        config.control.socket = PathBuf::new();
        Ok(start::run(&config, None)?)
    }
}
