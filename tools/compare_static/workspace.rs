//! The directory in which a comparison works.
//!
//! Input: where.   Output: a path that fits into the servers' configurations.
//! Owns: the directory, removed when dropped.   Thread: the only one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, ensure};

/// A directory that lives as long as this value.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
}

impl Workspace {
    /// A fresh directory below `dir`, its name made of `tool` and this process.
    pub fn new(dir: &Path, tool: &str) -> Result<Self> {
        let path = dir.join(format!("{tool}.{}", process::id()));
        let text = path.to_str().context("the temporary directory's name is not UTF-8")?;
        // The name goes into two configuration files inside quotes.
        ensure!(
            !text.contains(['"', '\\', '$', '\n']),
            "{text}: a quote, backslash, '$' or newline in the name; choose another --dir"
        );
        fs::create_dir(&path).with_context(|| format!("creating {text}"))?;
        Ok(Self { path })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{}: not removed: {error}", self.path.display());
        }
    }
}
