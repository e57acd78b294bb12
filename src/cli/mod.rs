//! The subcommands: one file each.
//!
//! Thread: main.
//! Not here: what the daemon does (`daemon`).

pub mod cache;
pub mod check;
pub mod client;
pub mod online;
pub mod purge;
pub mod run;
pub mod serve;
pub mod status;

use std::fmt::Display;
use std::io::{self, Write as _};

use clap::{Parser, Subcommand};

/// Serves images from a tree of files; two or more boxes as one highly available cluster.
#[derive(Debug, Parser)]
#[command(name = "peerage", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a directory, without any file: good for a look.
    Serve(serve::Serve),
    /// Run the daemon with a configuration file.
    Run(run::Run),
    /// Check a configuration file.
    Check(check::Check),
    /// Which file a URL has, which URL a file, and what a request would be answered.
    Cache(cache::Cache),
    /// Stop a running daemon from serving what it has fetched.
    Purge(purge::Purge),
    /// Who is online.
    Online(online::Online),
    /// How a running daemon is.
    Status(status::Status),
}

/// Runs the command that was asked for.
///
/// # Errors
/// What went wrong, in words for a person.
pub fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Run(run) => run.run(),
        Command::Check(check) => check.run(),
        Command::Cache(cache) => cache.run(),
        Command::Purge(purge) => purge.run(),
        Command::Online(online) => online.run(),
        Command::Status(status) => status.run(),
    }
}

/// Prints a line of a command's answer. Who has closed the other end (`peerage status | head`) has
/// what was wanted, and the command goes on to its end.
fn say(line: impl Display) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::anyhow!("standard output: {error}"))
        }
        _ => Ok(()),
    }
}
