//! A daemon with the service of who is online, and a client that says exactly what it is told.
//!
//! Not here: what is expected (the modules beside).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::harness::{self, Daemon};

/// See the module.
pub struct Service {
    pub daemon: Daemon,
    pub address: SocketAddr,
    pub read_only: SocketAddr,
}

impl Deref for Service {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

/// A service with further lines for `[online]`.
pub fn start(online: &str) -> Service {
    start_with("", online)
}

/// The same with further lines for `[server]`.
pub fn start_with(server: &str, online: &str) -> Service {
    let [address, read_only] = free_ports();
    let text = format!(
        "[online]\nenabled = true\nlisten = [\"{address}\"]\nlisten_read_only = [\"{read_only}\"]\n\
         {online}\n"
    );
    let daemon = harness::start_at("127.0.0.1:0", server, "", &text);
    Service { daemon, address, read_only }
}

fn free_ports() -> [SocketAddr; 2] {
    // Both at once, so that they differ.
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

impl Service {
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// The file that it was started with.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("peerage.toml")
    }

    /// All that `ONLINE.STATS` says.
    pub fn stats(&self) -> BTreeMap<String, u64> {
        let mut client = self.client();
        client.send(&["ONLINE.STATS"]);
        let words: Vec<String> =
            client.reply().split_ascii_whitespace().map(str::to_owned).collect();
        words.chunks(2).map(|pair| (pair[0].clone(), pair[1].parse().unwrap())).collect()
    }

    pub fn stat(&self, name: &str) -> u64 {
        self.stats()[name]
    }
}

/// Over TCP or a Unix socket.
pub struct Client {
    pub reader: BufReader<TcpStream>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    pub fn send(&mut self, words: &[&str]) {
        self.send_bytes(&request(words));
    }

    pub fn reply(&mut self) -> String {
        read_reply(&mut self.reader)
    }

    /// The reply to one request, as words.
    pub fn ask(&mut self, words: &[&str]) -> String {
        self.send(words);
        self.reply()
    }

    /// Everything until the connection ends.
    pub fn rest(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset after it is as good as an end.
        drop(self.reader.read_to_end(&mut bytes));
        bytes
    }
}

/// Sends the daemon a signal.
pub fn signal(service: &Service, which: &str) {
    let id = service.child.id().to_string();
    assert!(Command::new("kill").args([which, &id]).status().unwrap().success());
}

/// A request as clients write it.
pub fn request(words: &[&str]) -> Vec<u8> {
    let parts = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), parts.collect::<String>()).into_bytes()
}

/// One reply of RESP2 as text: what is in a list has a blank before it.
fn read_reply(from: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    let line = line.strip_suffix("\r\n").unwrap_or_else(|| panic!("{line:?} is no reply"));
    let (kind, rest) = line.split_at(1);
    match kind {
        "+" | ":" | "-" => rest.to_owned(),
        "$" if rest == "-1" => "(nil)".to_owned(),
        "$" => {
            let mut text = vec![0; rest.parse::<usize>().unwrap() + 2];
            from.read_exact(&mut text).unwrap();
            text.truncate(text.len() - 2);
            String::from_utf8(text).unwrap()
        }
        "*" => {
            let count = rest.parse().unwrap();
            let parts: Vec<String> = (0..count).map(|_| read_reply(from)).collect();
            parts.join(" ")
        }
        _ => panic!("{line:?} is no reply"),
    }
}

/// The reply to `words` over a Unix socket.
pub fn ask_locally(socket: &std::path::Path, words: &[&str]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&request(words)).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
