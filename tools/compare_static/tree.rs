//! The temporary tree: four files of fixed size and a mixed tree with the sizes of web images.
//!
//! Input: a directory, a count.   Output: files, a list of their URL paths.
//! Owns: nothing; the directory is `workspace`'s.   Thread: the only one.
//! Invariants: the same count gives the same files, byte by byte.
//! Source: sizes are log-normal with a median of 12 KiB and a mean of 27 KiB, cut to 1 KiB ..
//! 2 MiB; mean / median = exp(sigma^2 / 2) gives sigma.

use std::f64::consts::TAU;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::random::Random;
use crate::sys;

/// What was written.
#[derive(Debug)]
pub struct Tree {
    /// The servers' root, which holds one directory per host.
    pub root: PathBuf,
    /// The directory of the one host.
    pub host_dir: PathBuf,
    /// File with the URL paths of the mixed tree.
    pub paths: PathBuf,
    /// Files of the mixed tree.
    pub count: usize,
    /// Their mean size.
    pub mean_bytes: u64,
    /// Their median size.
    pub median_bytes: u64,
}

impl Tree {
    /// Writes the tree, waits until it is on disk, and reads it once.
    pub fn build(workspace: &Path, count: usize) -> Result<Self> {
        let root = workspace.join("tree");
        let host_dir = root.join(HOST);
        fs::create_dir_all(&host_dir)?;
        let mut random = Random { state: 1 };
        let pool = random.bytes(POOL_BYTES);
        for (name, bytes) in FIXED {
            fs::write(host_dir.join(name), &pool[..bytes])?;
        }
        let directories = DIRECTORIES.min(count);
        for directory in 0..directories {
            fs::create_dir(host_dir.join(format!("d{directory:03}")))?;
        }
        let mut list = String::new();
        let mut sizes = Vec::with_capacity(count);
        for number in 0..count {
            let path = format!("d{:03}/i{number:06}.jpg", number % directories);
            let bytes = file_bytes(&mut random);
            // Different offsets make different contents, so that a mixed-up file is seen.
            let offset = random.below(POOL_BYTES - bytes + 1);
            fs::write(host_dir.join(&path), &pool[offset..offset + bytes])?;
            list.push_str(&format!("/{path}\n"));
            sizes.push(u64::try_from(bytes)?);
        }
        let paths = workspace.join("paths.txt");
        fs::write(&paths, &list)?;
        // Write-back during the measurement would take time from one of the two sides.
        sys::sync_filesystem(&File::open(&root)?).context("syncfs")?;
        read_all(&host_dir)?;
        sizes.sort_unstable();
        let total: u64 = sizes.iter().sum();
        Ok(Self {
            root,
            host_dir,
            paths,
            count,
            mean_bytes: total / u64::try_from(count)?,
            median_bytes: sizes[count / 2],
        })
    }
}

/// Reads every file once, so that the page cache is warm.
fn read_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // One level: the tree was made above.
            read_all(&entry.path())?;
        } else {
            io::copy(&mut File::open(entry.path())?, &mut io::sink())?;
        }
    }
    Ok(())
}

/// Uniform in (0, 1].
fn unit(random: &mut Random) -> f64 {
    ((random.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// A size from the log-normal law, by Box and Muller.
fn file_bytes(random: &mut Random) -> usize {
    let normal = (-2.0 * unit(random).ln()).sqrt() * (TAU * unit(random)).cos();
    let sigma = (2.0 * (MEAN_BYTES / MEDIAN_BYTES).ln()).sqrt();
    let bytes = (MEDIAN_BYTES * (sigma * normal).exp()).clamp(BYTES_MIN, BYTES_MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let whole = bytes as usize;
    whole
}

/// Host whose files these are.
pub const HOST: &str = "bench.example";
/// Files of one size, with their lengths in bytes.
pub const FIXED: [(&str, usize); 4] =
    [("1k.bin", 1 << 10), ("10k.bin", 10 << 10), ("100k.bin", 100 << 10), ("1m.bin", 1 << 20)];
const DIRECTORIES: usize = 200;
const MEDIAN_BYTES: f64 = 12.0 * 1024.0;
const MEAN_BYTES: f64 = 27.0 * 1024.0;
const BYTES_MIN: f64 = 1024.0;
const BYTES_MAX: f64 = 2.0 * 1024.0 * 1024.0;
/// Random bytes from which every file is cut; larger than the largest file.
const POOL_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_stated_median_and_mean() {
        let mut random = Random { state: 1 };
        let mut sizes: Vec<usize> = (0..20_001).map(|_| file_bytes(&mut random)).collect();
        sizes.sort_unstable();
        let mean_kib = sizes.iter().sum::<usize>() / sizes.len() / 1024;
        assert!((25..=29).contains(&mean_kib), "{mean_kib}");
        assert!((11..=13).contains(&(sizes[10_000] / 1024)), "{}", sizes[10_000]);
        assert!(sizes[0] >= 1024 && sizes[20_000] <= 2 << 20);
    }
}
