//! A daemon of the test's own, and a client that says exactly what it is told.
//!
//! Not here: what is expected (the modules beside).

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a PURGE has to carry.
pub const PURGE_TOKEN: &str = "the-token-of-tests";

/// A running daemon; ended with the value.
pub struct Daemon {
    pub child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub directory: tempfile::TempDir,
    /// What it said; beyond 1,000 lines that nobody read, they are lost.
    said: crossbeam_channel::Receiver<String>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Starts a daemon with `extra` sections and tables after `[server]`, `[admin]` and `[tree]`, each
/// of which takes the lines of that name.
pub fn start(tree: &str, extra: &str) -> Daemon {
    start_at("127.0.0.1:0", "", tree, extra)
}

/// The same, listening at `listen`, with further lines for `[server]`.
pub fn start_at(listen: &str, server: &str, tree: &str, extra: &str) -> Daemon {
    let tree = format!("default_host = \"a.example\"\n{tree}");
    launch(listen, server, &tree, extra)
}

/// The same, without a default host.
pub fn start_hosts(extra: &str) -> Daemon {
    launch("127.0.0.1:0", "", "", extra)
}

fn launch(listen: &str, server: &str, tree: &str, extra: &str) -> Daemon {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("tree");
    fs::create_dir_all(root.join("a.example")).unwrap();
    let admin = free_port();
    let socket = directory.path().join("control.sock");
    let socket = socket.display();
    let workers = if server.contains("workers") { "" } else { "workers = 1" };
    let text = format!(
        "[server]\nlisten = [\"{listen}\"]\n{workers}\n{server}\n[admin]\nlisten = \"{admin}\"\n\
         purge_token = \"{PURGE_TOKEN}\"\n[control]\nsocket = \"{socket}\"\n\
         [tree]\nroot = \"tree\"\n{tree}\n{extra}\n"
    );
    let file = directory.path().join("peerage.toml");
    fs::write(&file, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_peerage"))
        .args(["run", "-c"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    let address = loop {
        let line = lines.next().unwrap_or_else(|| panic!("it ended: {seen:?}")).unwrap();
        if let Some((_, url)) = line.split_once(" at http://") {
            break url.trim_end_matches('/').parse().unwrap();
        }
        seen.push(line);
    };
    // Somebody must read on, or the daemon blocks at a full pipe.
    let (sender, said) = crossbeam_channel::bounded(1000);
    seen.into_iter().for_each(|line| drop(sender.try_send(line)));
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            drop(sender.try_send(line));
        }
    });
    Daemon { child, address, admin, directory, said }
}

impl Daemon {
    /// What it said since this was last asked.
    pub fn said(&self) -> Vec<String> {
        self.said.try_iter().collect()
    }

    /// Waits until it says something with `words`.
    pub fn await_said(&self, words: &str) {
        let mut seen = Vec::new();
        await_true(5, words, || {
            seen.extend(self.said.try_iter());
            seen.iter().any(|line| line.contains(words))
        });
    }

    /// Ends it at once, if it has not ended.
    pub fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// The default host's directory.
    pub fn host(&self) -> PathBuf {
        self.directory.path().join("tree/a.example")
    }

    /// Puts a file there, by rename.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        put(&self.host().join(name), bytes);
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends `text`, and returns everything until the connection ends.
    pub fn raw(&self, text: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is as good as an end.
        drop(stream.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One GET with further field lines.
    pub fn get_with(&self, path: &str, fields: &str) -> Answer {
        let mut stream = self.connect();
        let text = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        read_answer(&mut stream, false)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    /// Waits until `path` answers `status`, at most `seconds`.
    pub fn await_status(&self, path: &str, status: u16, seconds: u64) {
        await_true(seconds, &format!("{path} to answer {status}"), || {
            self.get(path).status == status
        });
    }

    /// All metrics, by name with labels.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        metrics(self.admin)
    }
}

pub fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let temporary = path.with_extension("new-version");
    fs::write(&temporary, bytes).unwrap();
    fs::rename(temporary, path).unwrap();
}

/// All metrics of the daemon whose admin listener is at `address`, by name with labels.
pub fn metrics(address: SocketAddr) -> BTreeMap<String, f64> {
    let text = admin(address, "/-/metrics");
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    body.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

pub fn admin(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Memory of the process `pid`, in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

pub fn await_true(seconds: u64, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < end, "waited {seconds} s for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A response taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field; empty if it is not there.
    pub fn field(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

/// Reads one response; `bodiless` for the answer to a HEAD.
pub fn read_answer(stream: &mut TcpStream, bodiless: bool) -> Answer {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap_or_else(|error| {
            panic!("{error} after {:?}", String::from_utf8_lossy(&head));
        });
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head[9..12].parse().unwrap();
    let mut answer = Answer { status, head, body: Vec::new() };
    let len: usize = answer.field("content-length").parse().unwrap_or(0);
    if !bodiless && status != 304 {
        answer.body = vec![0; len];
        stream.read_exact(&mut answer.body).unwrap();
    }
    answer
}

/// Bytes that differ from place to place.
pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect()
}
