//! Dispatch and exit codes: 0 done, 1 failed, 2 wrong use of the command line.
//!
//! Not here: what the commands do (`peerage::cli`).
#![deny(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use peerage::cli::{Cli, run};

/// What a worker takes for an answer on its way is often freed by the store, on another thread;
/// this one is good at that.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere to complain to.
            drop(writeln!(std::io::stderr(), "{error:#}"));
            ExitCode::FAILURE
        }
    }
}
