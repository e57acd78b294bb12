//! `peerage status`: how a running daemon is, a name and a value per line.
//!
//! Thread: main.
//! Not here: what is shown (`daemon::status`).

use crate::admin::control::Command;

use super::client::Daemon;

/// Asks a running daemon how it is.
#[derive(Debug, clap::Args)]
pub struct Status {
    #[command(flatten)]
    daemon: Daemon,
}

impl Status {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        self.daemon.connect()?.ask_briefly(&Command::Status)
    }
}
