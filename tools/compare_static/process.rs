//! A server under observation: started on one core, its CPU time read, stopped at the end.
//!
//! Input: a command, a core, a port.   Output: an address, CPU time so far.
//! Owns: the process and all its children; they end when this value is dropped.   Thread: the only
//! one.
//! Invariants: signals go only to the process started here and to the process group it leads, and
//! to the latter only while the leader is not yet reaped, so that the number cannot be another's.
//! Not here: how each server is configured (`server`).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::sys;

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// How the result calls it.
    pub name: &'static str,
    /// Where it listens.
    pub addr: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` on `cpu`, its output in `dir`, and waits until it accepts on `port`.
    pub fn start(
        name: &'static str,
        mut command: Command,
        dir: &Path,
        cpu: usize,
        port: u16,
    ) -> Result<Self> {
        let log = dir.join("output.log");
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        sys::prepare_child(&mut command, cpu);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self { name, addr, child, log };
        server.wait_until_it_accepts()?;
        Ok(server)
    }

    fn wait_until_it_accepts(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once ({status}); it said: {}", self.name, self.last_words());
            }
            match TcpStream::connect_timeout(&self.addr, Duration::from_secs(1)) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => bail!(
                    "{} does not accept on {} after {START_TIME_MAX:?}: {error}; it said: {}",
                    self.name,
                    self.addr,
                    self.last_words()
                ),
                Err(_) => thread::sleep(POLL_INTERVAL),
            }
        }
    }

    /// The end of what the server wrote.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Its process's number.
    #[allow(dead_code, reason = "compare_redis alone reads more of /proc")]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU seconds, user and system, of the server and all its descendants, ended threads and
    /// reaped children included.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let processes = read_processes()?;
        let mut family = vec![self.child.id()];
        // Children may have higher or lower numbers than their parents: repeat until it is stable.
        loop {
            let count = family.len();
            for process in &processes {
                if family.contains(&process.parent) && !family.contains(&process.pid) {
                    family.push(process.pid);
                }
            }
            if family.len() == count {
                break;
            }
        }
        let of_family = processes.iter().filter(|process| family.contains(&process.pid));
        let (mut count, mut ticks) = (0_usize, 0);
        for process in of_family {
            count += 1;
            ticks += process.ticks;
        }
        ensure!(count > 0, "{} is gone; it said: {}", self.name, self.last_words());
        Ok(ticks as f64 / sys::ticks_per_second())
    }

    fn has_ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        stat.ok().and_then(|text| parse_stat(&text)).is_none_or(|process| process.state == 'Z')
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).expect("the kernel's process numbers are i32");
        if self.child.try_wait().is_ok_and(|status| status.is_some()) {
            eprintln!("{} had ended by itself; it said: {}", self.name, self.last_words());
            return;
        }
        // Not reaped before the end of this function, so the number stays this process's own.
        if let Err(error) = sys::kill(pid, libc::SIGTERM) {
            eprintln!("{}: SIGTERM: {error}", self.name);
        }
        let deadline = Instant::now() + STOP_TIME_MAX;
        while !self.has_ended() && Instant::now() < deadline {
            thread::sleep(POLL_INTERVAL);
        }
        if !self.has_ended() {
            eprintln!("{} ignores SIGTERM for {STOP_TIME_MAX:?}: SIGKILL", self.name);
        }
        // The leader and whatever it left behind; a group of nobody but a zombie gives no error.
        if let Err(error) = sys::kill(-pid, libc::SIGKILL)
            && error.raw_os_error() != Some(libc::ESRCH)
        {
            eprintln!("{}: SIGKILL: {error}", self.name);
        }
        if let Err(error) = self.child.wait() {
            eprintln!("{}: wait: {error}", self.name);
        }
    }
}

/// One line of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    state: char,
    parent: u32,
    /// utime + stime + cutime + cstime.
    ticks: u64,
}

fn read_processes() -> Result<Vec<Process>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let path = entry?.path();
        let is_process = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        if !is_process {
            continue;
        }
        match fs::read_to_string(path.join("stat")) {
            Ok(text) => processes.extend(parse_stat(&text)),
            // It ended between the two calls (ESRCH comes from the read).
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    || error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    Ok(processes)
}

/// proc(5): pid (comm) state ppid ...; comm may hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<Process> {
    let pid = text.split(' ').next()?.parse().ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field 14 of the manual is the twelfth after the name.
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>());
    Some(Process {
        pid,
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks.sum::<Result<u64, _>>().ok()?,
    })
}

/// Ports that were free a moment ago; all are held until the last one is known.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a port")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

const START_TIME_MAX: Duration = Duration::from_secs(10);
const STOP_TIME_MAX: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_with_odd_names_are_read() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 99 0 0";
        let process = Process { pid: 42, state: 'S', parent: 7, ticks: 124 };
        assert_eq!(parse_stat(line), Some(process));
        assert_eq!(parse_stat("42 (short) S 7"), None);
    }
}
