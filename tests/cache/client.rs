//! A client that says exactly what it is told, and notes how much came of what was announced.
//!
//! Not here: the origin (`origin`), the daemon (`peer`).

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

/// How long a client waits for the next byte, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// Whether the body is as long as announced: Content-Length reached, or the last chunk came.
    pub is_whole: bool,
}

impl Reply {
    /// The value of a field; empty if it is not there.
    pub fn field(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value.trim_end())
    }

    /// What Cache-Status says.
    pub fn cache(&self) -> &str {
        self.field("cache-status")
    }

    pub fn is_hit(&self) -> bool {
        self.cache().contains("; hit")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection with a request on it.
pub struct Pending {
    stream: TcpStream,
    held: Vec<u8>,
    is_bodiless: bool,
}

impl Pending {
    /// Sends `text`, one whole request or several.
    pub fn send(address: SocketAddr, text: &str) -> Self {
        Self::send_bytes(address, text.as_bytes())
    }

    /// The same with a body that is no text.
    pub fn send_bytes(address: SocketAddr, bytes: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        Self { stream, held: Vec::new(), is_bodiless: bytes.starts_with(b"HEAD ") }
    }

    /// Sends more on the same connection.
    pub fn more(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends `text` as well: the next requests of the connection.
    pub fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Reads more; how many bytes, none at the end or a reset.
    fn fill(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.held.extend_from_slice(&buffer[..count]);
                count
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                panic!("nothing for {PATIENCE:?} after {} bytes", self.held.len())
            }
            Err(_) => 0,
        }
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Waits until so many bytes of the answer, head and framing counted, are here.
    pub fn await_bytes(&mut self, count: usize) {
        while self.held.len() < count {
            assert!(self.fill() > 0, "the end after {} bytes", self.held.len());
        }
    }

    /// Waits until the head is here; its length.
    pub fn await_head(&mut self) -> usize {
        loop {
            if let Some(at) = self.held.windows(4).position(|window| window == b"\r\n\r\n") {
                return at + 4;
            }
            let count = self.fill();
            let held = String::from_utf8_lossy(&self.held);
            assert!(count > 0, "the end after {held:?}");
        }
    }

    /// Waits a moment, in which nothing is to come.
    pub fn await_quiet(&self) {
        self.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let seen = self.stream.peek(&mut [0]);
        assert!(seen.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// Takes the first bytes of what is here.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        self.held.drain(..count).collect()
    }

    /// All of the answer.
    pub fn finish(mut self) -> Reply {
        self.next()
    }

    /// What came until the end, where not even a head may have come.
    pub fn finish_if_begun(mut self) -> Option<Reply> {
        while self.fill() > 0 {}
        let has_head = self.held.windows(4).any(|window| window == b"\r\n\r\n");
        has_head.then(|| self.next())
    }

    /// The next answer, where several requests were sent.
    pub fn next(&mut self) -> Reply {
        let end = self.await_head();
        let head = String::from_utf8(self.held.drain(..end).collect()).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut reply = Reply { status, head, body: Vec::new(), is_whole: true };
        if self.is_bodiless || matches!(status, 204 | 304) {
            return reply;
        }
        if reply.field("transfer-encoding") == "chunked" {
            (reply.body, reply.is_whole) = self.finish_chunks();
            return reply;
        }
        let length: Option<usize> = reply.field("content-length").parse().ok();
        while length.is_none_or(|length| self.held.len() < length) && self.fill() > 0 {}
        let count = length.unwrap_or(self.held.len()).min(self.held.len());
        reply.is_whole = length.is_none_or(|length| count == length);
        reply.body = self.held.drain(..count).collect();
        reply
    }

    fn finish_chunks(&mut self) -> (Vec<u8>, bool) {
        let (mut body, mut at) = (Vec::new(), 0);
        loop {
            let line_end = loop {
                match self.held[at..].windows(2).position(|window| window == b"\r\n") {
                    Some(end) => break at + end,
                    None if self.fill() == 0 => return (body, false),
                    None => {}
                }
            };
            let line = String::from_utf8_lossy(&self.held[at..line_end]).into_owned();
            let size = usize::from_str_radix(&line, 16).unwrap();
            let begin = line_end + 2;
            while self.held.len() < begin + size + 2 {
                if self.fill() == 0 {
                    body.extend_from_slice(&self.held[begin.min(self.held.len())..]);
                    return (body, false);
                }
            }
            body.extend_from_slice(&self.held[begin..begin + size]);
            assert_eq!(&self.held[begin + size..begin + size + 2], b"\r\n");
            at = begin + size + 2;
            if size == 0 {
                self.held.drain(..at);
                return (body, true);
            }
        }
    }
}
