//! The three servers: nginx as a cache, peerage as a cache, nginx with the objects as its files.
//!
//! Input: a binary, a fresh directory, the origin, a core.   Output: `Server`.
//! Owns: nothing.   Thread: the only one.
//! Source: nginx is tuned as an expert would: one pinned worker, connections to the origin kept,
//! answers renamed in place (`use_temp_path=off`), buffers that hold a small answer, sendfile,
//! tcp_nopush, open_file_cache, no access log. The directories of its cache are there before the
//! first request, since a cache that has run for a while has them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::nginx::{self, Limits};
use crate::origin::Objects;
use crate::process::{Server, free_ports};

/// nginx as a cache, its cache in `dir`.
pub fn start_nginx(binary: &Path, dir: &Path, origin: u16, cpu: usize) -> Result<Server> {
    let [port] = free_ports()?;
    let cache = dir.join("cache");
    // An answer lies below the last three digits of its hash, while it comes below those of the
    // number of its temporary file.
    for last in 0..16 {
        for middle in 0..256 {
            fs::create_dir_all(cache.join(format!("{last:x}/{middle:02x}")))?;
        }
    }
    for last in 0..10 {
        for middle in 0..100 {
            fs::create_dir_all(cache.join(format!("temp/{last}/{middle:02}")))?;
        }
    }
    let http = format!(
        "proxy_cache_path \"{}\" levels=1:2 keys_zone=bench:64m inactive=1h use_temp_path=off;\n\
         upstream origin {{\nserver 127.0.0.1:{origin};\n\
         keepalive {ORIGIN_IDLE};\nkeepalive_requests 1000000;\n}}\n\
         server {{\nlisten 127.0.0.1:{port} backlog=4096;\nserver_name {HOST};\n\
         proxy_http_version 1.1;\nproxy_set_header Connection \"\";\n\
         proxy_buffer_size 16k;\nproxy_buffers 16 16k;\nproxy_cache bench;\n\
         location / {{ proxy_pass http://origin; }}\n\
         location /big/ {{\nproxy_pass http://origin;\nproxy_cache_lock on;\n\
         proxy_cache_lock_timeout 60s;\nproxy_cache_lock_age 60s;\n}}\n}}\n",
        cache.display()
    );
    start_with(binary, dir, cpu, port, "nginx", &http)
}

/// nginx with the objects as files.
pub fn start_files(binary: &Path, dir: &Path, objects: &Objects, cpu: usize) -> Result<Server> {
    let [port] = free_ports()?;
    fs::create_dir(dir)?;
    let http = format!(
        "server {{\nlisten 127.0.0.1:{port} backlog=4096;\nserver_name {HOST};\n\
         root \"{}\";\n}}\n",
        objects.root.display()
    );
    start_with(binary, dir, cpu, port, "nginx files", &http)
}

fn start_with(
    binary: &Path,
    dir: &Path,
    cpu: usize,
    port: u16,
    name: &'static str,
    http: &str,
) -> Result<Server> {
    let conf = dir.join("nginx.conf");
    fs::write(&conf, nginx_conf(dir, cpu, OPEN_FILE_CACHE_MAX, http))?;
    let mut command = Command::new(binary);
    command.arg("-p").arg(dir).arg("-c").arg(&conf);
    Server::start(name, command, dir, cpu, port)
}

/// peerage as a cache, its tree in `dir`.
pub fn start_peerage(binary: &Path, dir: &Path, origin: u16, cpu: usize) -> Result<Server> {
    let [port, admin] = free_ports()?;
    let root = dir.join("tree");
    fs::create_dir_all(root.join(HOST))?;
    let conf = dir.join("peerage.toml");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:{port}\"]\nworkers = 1\ncores = [{cpu}]\n\
         [tree]\nroot = \"{}\"\n\
         [limits]\nrequests_per_connection = 1000000\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
         [control]\nsocket = \"\"\n\
         [[host]]\nname = \"{HOST}\"\n\
         [host.origin]\naddresses = [\"127.0.0.1:{origin}\"]\nidle_max = {ORIGIN_IDLE}\n\
         requests_per_connection = 1000000\n",
        root.display()
    );
    fs::write(&conf, text)?;
    let mut command = Command::new(binary);
    command.arg("run").arg("-c").arg(&conf);
    Server::start("peerage", command, dir, cpu, port)
}

/// A configuration of nginx around the blocks `http`.
pub fn nginx_conf(dir: &Path, cpu: usize, open_files: u64, http: &str) -> String {
    let limits = Limits { cpu, connections: 8_000, descriptors: DESCRIPTORS, open_files };
    nginx::conf(dir, limits, http)
}

/// Host whose objects these are.
pub const HOST: &str = "bench.example";
/// Connections to the origin that are kept: one for each of the load's.
const ORIGIN_IDLE: usize = 64;
/// Holds the objects that are asked for again, and leaves descriptors for the connections.
const OPEN_FILE_CACHE_MAX: u64 = 8_000;
/// Descriptors that nginx needs: its cached files, both ends of the crowd, and some.
pub const DESCRIPTORS: u64 = 16_000;
