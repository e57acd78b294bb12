//! The two servers: how each is configured and started.
//!
//! Input: a binary, a tree, a core.   Output: `Server`.
//! Owns: nothing.   Thread: the only one.
//! Not here: the processes (`process`).
//! Source: nginx is tuned as an expert would: sendfile, tcp_nopush, open_file_cache, no access log,
//! one pinned worker.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::nginx::{self, Limits};
use crate::process::{Server, free_ports};
use crate::tree::{FIXED, HOST, Tree};

/// Starts nginx on `cpu`.
pub fn start_nginx(
    binary: &Path,
    workspace: &Path,
    tree: &Tree,
    cpu: usize,
    descriptors: u64,
) -> Result<Server> {
    let [port] = free_ports()?;
    let dir = workspace.join("nginx");
    fs::create_dir(&dir)?;
    let conf = dir.join("nginx.conf");
    fs::write(&conf, nginx_conf(&dir, tree, cpu, port, descriptors))?;
    let mut command = Command::new(binary);
    command.arg("-p").arg(&dir).arg("-c").arg(&conf);
    Server::start("nginx", command, &dir, cpu, port)
}

/// Starts peerage on `cpu`. With an `origin` it has a tree of its own, which is filled from there
/// before it is measured.
pub fn start_peerage(
    binary: &Path,
    workspace: &Path,
    tree: &Tree,
    cpu: usize,
    origin: Option<SocketAddr>,
) -> Result<Server> {
    let [port, admin] = free_ports()?;
    let dir = workspace.join("peerage");
    fs::create_dir(&dir)?;
    let conf = dir.join("peerage.toml");
    let (root, host) = match origin {
        None => (tree.root.clone(), String::new()),
        Some(origin) => (dir.join("tree"), cached_host(origin)),
    };
    fs::create_dir_all(&root)?;
    let root = root.display();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:{port}\"]\nworkers = 1\ncores = [{cpu}]\n\
         [tree]\nroot = \"{root}\"\ndefault_host = \"{HOST}\"\n\
         [limits]\nrequests_per_connection = 1000000\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n[control]\nsocket = \"\"\n{host}"
    );
    fs::write(&conf, text)?;
    let mut command = Command::new(binary);
    command.arg("run").arg("-c").arg(&conf);
    let server = Server::start("peerage", command, &dir, cpu, port)?;
    if origin.is_some() {
        fill(&server, tree, &dir.join("tree").join(HOST)).context("filling the cache")?;
    }
    Ok(server)
}

/// The host with its origin; what is stored stays fresh for the whole run.
fn cached_host(origin: SocketAddr) -> String {
    format!(
        "[[host]]\nname = \"{HOST}\"\n[host.origin]\naddresses = [\"{origin}\"]\n\
         [[host.freshness]]\npath = \"/**\"\nmin = \"1 d\"\n"
    )
}

/// Asks for every file once, and waits until all are stored.
fn fill(server: &Server, tree: &Tree, stored: &Path) -> Result<()> {
    let client = TcpStream::connect(server.addr)?;
    let (mut answers, mut requests) = (BufReader::new(client.try_clone()?), client);
    let list = fs::read_to_string(&tree.paths)?;
    let fixed: Vec<String> = FIXED.iter().map(|(name, _)| format!("/{name}")).collect();
    for path in list.lines().chain(fixed.iter().map(String::as_str)) {
        // In one piece, or the rest waits until the first is acknowledged.
        requests.write_all(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())?;
        let (mut line, mut length) = (String::new(), 0);
        answers.read_line(&mut line)?;
        ensure!(line.starts_with("HTTP/1.1 200"), "{path}: {line}");
        while line != "\r\n" {
            line.clear();
            ensure!(answers.read_line(&mut line)? > 0, "{path}: the connection ended");
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().with_context(|| format!("{path}: {line}"))?;
            }
        }
        let read = io::copy(&mut (&mut answers).take(length), &mut io::sink())?;
        ensure!(read == length, "{path}: {read} of {length} bytes");
    }
    let end = Instant::now() + PATIENCE;
    while count_files(stored)? < tree.count + FIXED.len() {
        ensure!(Instant::now() < end, "not all files are stored after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn count_files(directory: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(count)
}

/// How long the store may take for the last files.
const PATIENCE: Duration = Duration::from_secs(20);

fn nginx_conf(dir: &Path, tree: &Tree, cpu: usize, port: u16, descriptors: u64) -> String {
    let root = tree.host_dir.display();
    let http = format!(
        "server {{\nlisten 127.0.0.1:{port} backlog=4096;\nserver_name {HOST};\n\
         root \"{root}\";\n}}\n"
    );
    let open_files = open_file_cache_max(descriptors);
    nginx::conf(dir, Limits { cpu, connections: 20_000, descriptors, open_files }, &http)
}

/// nginx keeps a descriptor per cached file and answers 500 when it runs out of them, so the cache
/// has to leave room for the connections.
pub fn open_file_cache_max(descriptors: u64) -> u64 {
    OPEN_FILE_CACHE_MAX.min(descriptors.saturating_sub(DESCRIPTORS_FOR_CONNECTIONS))
}

/// The tuning that the comparison prescribes.
const OPEN_FILE_CACHE_MAX: u64 = 100_000;
/// The largest case has 1,000 connections, and files are open for a moment before the cache evicts.
const DESCRIPTORS_FOR_CONNECTIONS: u64 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_cache_leaves_descriptors_for_connections() {
        assert_eq!(open_file_cache_max(20_000), 18_000);
        assert_eq!(open_file_cache_max(131_072), 100_000);
    }
}
