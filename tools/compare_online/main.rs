//! Side-by-side run of designs for "who is online", in process.
//!
//! Input: the command line.   Output: one Markdown document with ratios and every raw row.
//! Owns: the indices, one at a time for each number of users.   Thread: one, and a reader.
//! Invariants: the designs' turns alternate (A B C A B C ...); all get the same hits.
//! Not here: the index (`peerage::online`), Redis and sockets.
//! Source: the method is that of the project's table of figures to reach.

#![allow(clippy::print_stdout, reason = "a command line tool: without --out it prints its result")]
#![allow(clippy::disallowed_methods, reason = "a tool measures real time and has no sans-IO core")]

mod designs;
mod measure;
#[path = "../compare_static/random.rs"]
mod random;
mod workload;

use anyhow::Result;
use clap::Parser;

/// Compare designs for who is online.
#[derive(Parser, Debug)]
#[command(name = "compare_online")]
pub struct Options {
    /// Numbers of users, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "100000,1000000")]
    pub users: Vec<u32>,
    /// Turns of each design.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Hits of a turn; the slow designs get a tenth.
    #[arg(long, default_value_t = 1_000_000)]
    pub hits: u32,
    /// A small run that shows that everything works; its figures mean nothing.
    #[arg(long)]
    pub smoke: bool,
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    if options.smoke {
        (options.users, options.rounds, options.hits) = (vec![2000], 2, 5000);
    }
    for users in options.users.clone() {
        print!("{}", measure::run(users, &options)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_run_fills_every_row() {
        let options = Options { users: vec![500], rounds: 2, hits: 2000, smoke: true };
        let text = measure::run(500, &options).expect("it runs");
        for row in ["one at a time", "batches of 32", "talk's design", "crossbeam", "Expiry"] {
            assert!(text.contains(row), "{row} is missing in:\n{text}");
        }
    }
}
