//! The origin: the objects, and the nginx that hands them out to both caches.
//!
//! Input: a count of objects.   Output: files, lists of their paths, how often they were asked for.
//! Owns: the origin's process.   Thread: the only one.
//! Invariants: no two objects have the same bytes, so that a mixed-up answer is seen.
//! Not here: the caches (`server`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Server, free_ports};
use crate::random::Random;
use crate::server;
use crate::sys;

/// What the origin has.
#[derive(Debug)]
pub struct Objects {
    /// Its root.
    pub root: PathBuf,
    /// Paths of all small objects.
    pub all: PathBuf,
    /// Paths of those that are asked for again.
    pub again: PathBuf,
    /// One path per directory, none of them among the others.
    pub first: PathBuf,
    /// How many small objects there are.
    pub count: usize,
    /// How many of them are asked for again.
    pub again_count: usize,
    /// Lines of `first`.
    pub first_count: usize,
}

impl Objects {
    /// Writes them, and waits until they are on disk.
    pub fn build(workspace: &Path, count: usize) -> Result<Self> {
        let root = workspace.join("origin-root");
        let mut random = Random { state: 1 };
        let pool = random.bytes(POOL_BYTES);
        let mut write = |path: &str, bytes: usize| {
            let offset = random.below(POOL_BYTES - bytes + 1);
            fs::write(root.join(&path[1..]), &pool[offset..offset + bytes])
        };
        let directories = DIRECTORIES.min(count);
        let mut first = String::new();
        for directory in 0..directories {
            fs::create_dir_all(root.join(format!("o/d{directory:03}")))?;
            let path = format!("/o/d{directory:03}/first.jpg");
            write(&path, SMALL_BYTES)?;
            first.push_str(&format!("{path}\n"));
        }
        let (mut all, mut again) = (String::new(), String::new());
        for number in 0..count {
            let path = format!("/o/d{:03}/i{number:06}.jpg", number % directories);
            write(&path, SMALL_BYTES)?;
            all.push_str(&format!("{path}\n"));
            if number < AGAIN_MAX {
                again.push_str(&format!("{path}\n"));
            }
        }
        fs::create_dir(root.join("big"))?;
        write(BIG_PATH, BIG_BYTES)?;
        let list = |name: &str, text: String| -> Result<PathBuf> {
            let path = workspace.join(name);
            fs::write(&path, text)?;
            Ok(path)
        };
        sys::sync_filesystem(&File::open(&root)?).context("syncfs")?;
        Ok(Self {
            all: list("all.txt", all)?,
            again: list("again.txt", again)?,
            first: list("first.txt", first)?,
            root,
            count,
            again_count: count.min(AGAIN_MAX),
            first_count: directories,
        })
    }
}

/// The running origin.
#[derive(Debug)]
pub struct Origin {
    server: Server,
    log: PathBuf,
}

impl Origin {
    /// Starts it on `cpu`.
    pub fn start(binary: &Path, workspace: &Path, objects: &Objects, cpu: usize) -> Result<Self> {
        let [port] = free_ports()?;
        let dir = workspace.join("origin");
        fs::create_dir(&dir)?;
        let log = dir.join("access.log");
        let http = format!(
            "log_format path '$request_uri';\n\
             server {{\nlisten 127.0.0.1:{port} backlog=4096;\n\
             access_log \"{}\" path buffer=64k flush={LOG_FLUSH_MS}ms;\nroot \"{}\";\n\
             add_header Cache-Control \"max-age=3600\";\n}}\n",
            log.display(),
            objects.root.display()
        );
        let conf = dir.join("nginx.conf");
        fs::write(&conf, server::nginx_conf(&dir, cpu, 1000, &http))?;
        let mut command = Command::new(binary);
        command.arg("-p").arg(&dir).arg("-c").arg(&conf);
        let server = Server::start("origin", command, &dir, cpu, port)?;
        Ok(Self { server, log })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.server.addr.port()
    }

    /// Requests so far.
    pub fn requests(&self) -> Result<u64> {
        thread::sleep(LOG_TIME);
        let text = fs::read(&self.log).with_context(|| self.log.display().to_string())?;
        let lines = text.iter().filter(|&&byte| byte == b'\n').count();
        Ok(u64::try_from(lines)?)
    }
}

/// Size of a small object.
pub const SMALL_BYTES: usize = 10 << 10;
/// Size of the object of the crowd.
pub const BIG_BYTES: usize = 10 << 20;
/// Its path.
pub const BIG_PATH: &str = "/big/crowd.jpg";
/// Small objects that are asked for again: few enough that either cache keeps all of them open.
const AGAIN_MAX: usize = 5_000;
const DIRECTORIES: usize = 200;
/// Random bytes from which every object is cut.
const POOL_BYTES: usize = 24 << 20;
const LOG_FLUSH_MS: u64 = 50;
/// After this the log holds every request that was answered before.
const LOG_TIME: Duration = Duration::from_millis(150);
