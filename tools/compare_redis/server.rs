//! The two servers: how each is configured, started and asked about itself.
//!
//! Input: a binary, a workspace, a core.   Output: `Peer`.
//! Owns: nothing.   Thread: the only one.
//! Not here: the processes (`process`).
//! Source: Redis keeps nothing on disk, as peerage does not.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::client::Address;
use crate::link::Link;
use crate::process::{Server, free_ports};
use crate::wire::Reply;
use crate::words::{SCRIPT, Words};
use crate::workload::Workload;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The peer.
    Redis,
    /// Ours.
    Peerage,
}

impl Kind {
    /// How the result calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
            Self::Peerage => "peerage",
        }
    }
}

/// A running server and how it is asked.
#[derive(Debug)]
pub struct Peer {
    /// Which it is.
    pub kind: Kind,
    /// The process.
    pub server: Server,
    /// How it is asked.
    pub words: Words,
    /// Its unix socket and its port.
    pub addresses: [Address; 2],
    /// Its port again.
    pub port: u16,
}

impl Peer {
    /// Where it listens by that transport.
    pub fn address(&self, transport: &str) -> &Address {
        let [unix, tcp] = &self.addresses;
        if transport == unix.transport() { unix } else { tcp }
    }

    /// Bytes that the server says it takes, by `INFO memory` and `ONLINE.STATS`.
    pub fn stated_bytes(&self) -> Result<i64> {
        let mut link = Link::connect(&self.addresses[1])?;
        match self.kind {
            Kind::Redis => {
                let reply = link.ask(&[b"INFO", b"memory"])?;
                let text = String::from_utf8_lossy(reply.bytes().unwrap_or_default()).into_owned();
                let field = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
                let field = field.with_context(|| format!("no used_memory in INFO: {text}"))?;
                field.trim().parse().with_context(|| format!("used_memory is {field}"))
            }
            Kind::Peerage => {
                let reply = link.ask(&[b"ONLINE.STATS"])?;
                field(&reply, b"bytes").with_context(|| {
                    format!("ONLINE.STATS has no number `bytes`; it answered {reply}")
                })
            }
        }
    }

    /// Bytes that the kernel says are resident.
    pub fn resident_bytes(&self) -> Result<i64> {
        let path = format!("/proc/{}/status", self.server.pid());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: i64 = kibibytes.and_then(|number| number.parse().ok()).context("VmRSS")?;
        Ok(kibibytes * 1024)
    }

    /// The cores that its threads may use, each list once.
    pub fn cores(&self) -> Result<Vec<String>> {
        let mut cores = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/task", self.server.pid()))? {
            let text = fs::read_to_string(entry?.path().join("status"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            let list = line.unwrap_or("unknown").trim().to_owned();
            if !cores.contains(&list) {
                cores.push(list);
            }
        }
        Ok(cores)
    }
}

/// The number after a name in an array of names and values, or of such pairs.
fn field(reply: &Reply, name: &[u8]) -> Option<i64> {
    let Reply::Array(items) = reply else { return None };
    let after = items.windows(2).find(|pair| pair[0].bytes() == Some(name));
    after.and_then(|pair| pair[1].number()).or_else(|| items.iter().find_map(|i| field(i, name)))
}

/// Starts Redis on `cpu` and loads the script.
pub fn start_redis(binary: &Path, dir: &Path, cpu: usize, workload: &Workload) -> Result<Peer> {
    let dir = dir.join("redis");
    fs::create_dir(&dir)?;
    let [port] = free_ports()?;
    let socket = dir.join("socket");
    let mut command = Command::new(binary);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.arg("--unixsocket").arg(&socket).arg("--dir").arg(&dir);
    command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
    let server = Server::start(Kind::Redis.name(), command, &dir, cpu, port)?;
    let addresses = [Address::Unix(socket), Address::Tcp(port)];
    let reply = Link::connect(&addresses[1])?.ask(&[b"SCRIPT", b"LOAD", SCRIPT.as_bytes()])?;
    let sha = reply.bytes().with_context(|| format!("SCRIPT LOAD was answered with {reply}"))?;
    let words = Words::redis(sha, workload);
    Ok(Peer { kind: Kind::Redis, server, words, addresses, port })
}

/// Starts peerage on `cpu`, with nothing to serve but who is online.
pub fn start_peerage(binary: &Path, dir: &Path, cpu: usize, workload: &Workload) -> Result<Peer> {
    let dir = dir.join("peerage");
    let root = dir.join("tree");
    fs::create_dir_all(&root)?;
    let [http, port] = free_ports()?;
    let socket = dir.join("socket");
    let conf = dir.join("peerage.toml");
    fs::write(&conf, peerage_conf(&root, &socket, cpu, http, port))?;
    let mut command = Command::new(binary);
    command.arg("run").arg("-c").arg(&conf);
    let server = Server::start(Kind::Peerage.name(), command, &dir, cpu, port)?;
    ensure!(
        socket.exists(),
        "peerage accepts on 127.0.0.1:{port} but made no socket {}; it said: {}",
        socket.display(),
        server.last_words()
    );
    let addresses = [Address::Unix(socket), Address::Tcp(port)];
    let words = Words::peerage(workload);
    Ok(Peer { kind: Kind::Peerage, server, words, addresses, port })
}

fn peerage_conf(root: &Path, socket: &Path, cpu: usize, http: u16, port: u16) -> String {
    format!(
        "[server]\nlisten = [\"127.0.0.1:{http}\"]\nworkers = 1\ncores = [{cpu}]\n\
         [tree]\nroot = \"{}\"\n\
         [admin]\nlisten = \"\"\n[control]\nsocket = \"\"\n\
         [online]\nenabled = true\nlisten = [\"127.0.0.1:{port}\"]\nsocket = \"{}\"\n\
         users_max = 2_000_000\nurls_max = 200_000\ntext_bytes_max = \"1 GiB\"\n\
         window = \"{} min\"\n",
        root.display(),
        socket.display(),
        WINDOW_MS / 60_000
    )
}

/// How long peerage keeps a user. Redis has no such bound here, which is to its advantage.
pub const WINDOW_MS: u64 = 30 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn a_field_is_found_in_a_flat_and_in_a_nested_answer() {
        for answer in [
            &b"*4\r\n$5\r\nusers\r\n:7\r\n$5\r\nbytes\r\n:42\r\n"[..],
            b"%1\r\n+bytes\r\n:42\r\n",
            b"*1\r\n*2\r\n$5\r\nbytes\r\n$2\r\n42\r\n",
        ] {
            let reply = wire::parse(answer).expect("whole");
            assert_eq!(field(&reply, b"bytes"), Some(42), "{reply}");
            assert_eq!(field(&reply, b"rows"), None);
        }
    }
}
