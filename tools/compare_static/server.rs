//! The two servers: how each is configured and started.
//!
//! Input: a binary, a tree, a core.   Output: `Server`.
//! Owns: nothing.   Thread: the only one.
//! Not here: the processes (`process`).
//! Source: nginx is tuned as an expert would: sendfile, tcp_nopush, open_file_cache, no access log,
//! one pinned worker.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::nginx::{self, Limits};
use crate::process::{Server, free_ports};
use crate::tree::{HOST, Tree};

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

/// Starts peerage on `cpu`.
pub fn start_peerage(binary: &Path, workspace: &Path, tree: &Tree, cpu: usize) -> Result<Server> {
    let [port, admin] = free_ports()?;
    let dir = workspace.join("peerage");
    fs::create_dir(&dir)?;
    let conf = dir.join("peerage.toml");
    let root = tree.root.display();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:{port}\"]\nworkers = 1\ncores = [{cpu}]\n\
         [tree]\nroot = \"{root}\"\ndefault_host = \"{HOST}\"\n\
         [limits]\nrequests_per_connection = 1000000\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n[control]\nsocket = \"\"\n"
    );
    fs::write(&conf, text)?;
    let mut command = Command::new(binary);
    command.arg("run").arg("-c").arg(&conf);
    Server::start("peerage", command, &dir, cpu, port)
}

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
