//! `peerage check -c FILE`: every error of a configuration file, or none.
//!
//! Thread: main.
//! Not here: the checks (`config`).

use std::path::PathBuf;

use crate::config;

/// Checks a file and what it names on this machine.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The configuration file.
    #[arg(short, long = "config", value_name = "FILE")]
    config: PathBuf,
    /// Print the values in force, defaults included.
    #[arg(long)]
    print: bool,
}

impl Check {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let config = config::load(&self.config)?;
        if self.print {
            super::say(config::print(&config).trim_end_matches('\n'))?;
        }
        let problems = config::check_environment(&config);
        if !problems.is_empty() {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::bail!("{}", lines.join("\n"));
        }
        if !self.print {
            super::say(format_args!("{}: good", self.config.display()))?;
        }
        Ok(())
    }
}
