//! The client: one thread, some connections, a batch of requests in flight on each.
//!
//! Input: a source of requests, for how long.   Output: `Figures`.
//! Owns: the connections and their buffers.   Thread: the only one.
//! Invariants: a connection's next batch is written when all of the last one is answered; every
//! reply is looked at, and an error or a reply of the wrong kind ends the run with its words; each
//! request is counted once.
//! Not here: what is asked (`words`), which runs there are (`measure`).
//! Source: the closed loop of redis-benchmark, which also writes a batch when the last is answered.

use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::cases::NEWEST_MAX;
use crate::epoll::{BROKEN, Clock, EVENT_NONE, Epoll, READ, WRITE, cpu_time};
use crate::sys;
use crate::wire::{self, Reply, reply_end};

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A port on loopback.
    Tcp(u16),
}

impl Address {
    /// Name in `--transports` and in the result.
    pub fn transport(&self) -> &'static str {
        match self {
            Self::Unix(_) => "unix",
            Self::Tcp(_) => "tcp",
        }
    }

    /// A blocking connection.
    pub fn connect(&self) -> Result<Socket> {
        let connect = || match self {
            Self::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.connect(&SockAddr::unix(path)?).map(|()| socket)
            }
            Self::Tcp(port) => {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                socket.set_tcp_nodelay(true)?;
                socket
                    .connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, *port)).into())
                    .map(|()| socket)
            }
        };
        connect().with_context(|| match self {
            Self::Unix(path) => format!("connecting to {}", path.display()),
            Self::Tcp(port) => format!("connecting to 127.0.0.1:{port}"),
        })
    }
}

/// Where requests come from.
pub trait Source {
    /// Appends up to `count` requests and returns how many; none: there are no more.
    fn fill(&mut self, out: &mut Vec<u8>, count: usize) -> usize;
}

/// What replies have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No errors.
    NoError,
    /// Arrays; of some it is seen that they hold at most `NEWEST_MAX` names.
    Names,
    /// Integers.
    Integer,
}

/// What a run found.
#[derive(Debug)]
pub struct Figures {
    /// Requests answered.
    pub replies: u64,
    /// From the first write to the last reply.
    pub seconds: f64,
    /// CPU time of the client.
    pub cpu_seconds: f64,
    /// p50, p99, p99.9, max in microseconds, from the write of a batch to the read that had the
    /// reply.
    pub latency_us: [f64; 4],
}

/// Connections to one server.
#[derive(Debug)]
pub struct Client {
    epoll: Epoll,
    connections: Vec<Connection>,
    /// Requests of a batch.
    pipeline: usize,
}

impl Client {
    /// Connects.
    pub fn connect(address: &Address, connections: usize, pipeline: usize) -> Result<Self> {
        assert!(connections > 0 && pipeline > 0, "the options are checked");
        let epoll = Epoll::new()?;
        let open = |token| {
            let socket = address.connect()?;
            socket.set_nonblocking(true)?;
            epoll.add(socket.as_raw_fd(), token, READ)?;
            Ok(Connection::new(socket))
        };
        let connections = (0..connections).map(open).collect::<Result<_>>()?;
        Ok(Self { epoll, connections, pipeline })
    }

    /// Asks until the source is empty or `duration` is over, and waits for all replies.
    pub fn run(
        &mut self,
        source: &mut dyn Source,
        expected: Expected,
        duration: Duration,
    ) -> Result<Figures> {
        let mut tally = Tally::new(expected);
        let (cpu, end_ns) = (cpu_time(), u64::try_from(duration.as_nanos())?);
        let clock = tally.clock;
        let mut busy = 0;
        for token in 0..self.connections.len() {
            busy += usize::from(self.begin(token, source, &clock)?);
        }
        let mut events = [EVENT_NONE; EVENTS_MAX];
        while busy > 0 {
            let count = self.epoll.wait(&mut events, REPLY_TIME_MAX)?;
            ensure!(!sys::is_stopped(), "stopped by a signal");
            if count == 0 {
                let waiting: usize = self.connections.iter().map(|one| one.waiting).sum();
                bail!("no reply for {REPLY_TIME_MAX:?}; {waiting} requests are not answered");
            }
            for event in &events[..count] {
                let token = usize::try_from(event.u64).expect("a token is an index");
                if event.events & WRITE != 0 && self.connections[token].flush()? {
                    self.watch(token, READ)?;
                }
                if event.events & (READ | BROKEN) != 0 {
                    let connection = &mut self.connections[token];
                    if connection.waiting == 0 {
                        // Only an end or bytes that nobody asked for can come now.
                        connection.refuse()?;
                    } else if connection.read(&mut tally)? {
                        busy -= 1;
                        if clock.now_ns() < end_ns {
                            busy += usize::from(self.begin(token, source, &clock)?);
                        }
                    }
                }
            }
        }
        Ok(tally.figures((cpu_time() - cpu).as_secs_f64()))
    }

    /// Writes the next batch; false if there is none.
    fn begin(&mut self, token: usize, source: &mut dyn Source, clock: &Clock) -> Result<bool> {
        let connection = &mut self.connections[token];
        assert_eq!(connection.waiting, 0, "one batch at a time");
        connection.out.clear();
        connection.sent = 0;
        connection.batch = source.fill(&mut connection.out, self.pipeline);
        connection.waiting = connection.batch;
        if connection.waiting == 0 {
            return Ok(false);
        }
        connection.started_ns = clock.now_ns();
        if !connection.flush()? {
            self.watch(token, READ | WRITE)?;
        }
        Ok(true)
    }

    fn watch(&self, token: usize, interest: u32) -> Result<()> {
        Ok(self.epoll.modify(self.connections[token].socket.as_raw_fd(), token, interest)?)
    }
}

#[derive(Debug)]
struct Connection {
    socket: Socket,
    /// The batch, of which `sent` bytes are with the kernel.
    out: Vec<u8>,
    sent: usize,
    /// Requests of the batch, and how many of them are not answered.
    batch: usize,
    waiting: usize,
    started_ns: u64,
    /// What was read, of which the first `filled` bytes are not yet a whole reply.
    input: Vec<u8>,
    filled: usize,
}

impl Connection {
    fn new(socket: Socket) -> Self {
        let input = vec![0; INPUT_BYTES];
        let out = Vec::new();
        Self { socket, out, sent: 0, batch: 0, waiting: 0, started_ns: 0, input, filled: 0 }
    }

    /// Writes what is left of the batch; true once all of it is with the kernel.
    fn flush(&mut self) -> Result<bool> {
        while self.sent < self.out.len() {
            match self.socket.send(&self.out[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("writing, with {} requests not answered", self.waiting)
                    });
                }
            }
        }
        Ok(true)
    }

    /// Reads once; true if the batch is answered.
    fn read(&mut self, tally: &mut Tally) -> Result<bool> {
        let read = match (&self.socket).read(&mut self.input[self.filled..]) {
            Ok(0) => bail!(
                "the server closed a connection with {} of {} requests not answered; the first of \
                 those: {}",
                self.waiting,
                self.batch,
                self.request(self.batch - self.waiting)
            ),
            Ok(read) => read,
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error).context("reading replies"),
        };
        let now_ns = tally.clock.now_ns();
        self.filled += read;
        let (mut at, mut count) = (0, 0);
        while at < self.filled {
            let bytes = &self.input[..self.filled];
            let end = reply_end(bytes, at).with_context(|| {
                format!("the bytes {}", bytes[at..].escape_ascii().to_string().cut())
            })?;
            let Some(end) = end else { break };
            ensure!(count < self.waiting, "a reply too many: {}", bytes[at..end].escape_ascii());
            if !tally.check(&bytes[at..end]) {
                let request = self.request(self.batch - self.waiting + count);
                let reply = bytes[at..end].escape_ascii().to_string();
                bail!("the request {request} was answered with {}", reply.cut());
            }
            count += 1;
            at = end;
        }
        self.waiting -= count;
        tally.count(count, now_ns.saturating_sub(self.started_ns))?;
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        ensure!(self.filled < self.input.len(), "a reply is longer than {INPUT_BYTES} bytes");
        ensure!(self.waiting > 0 || self.filled == 0, "bytes behind the last reply of a batch");
        Ok(self.waiting == 0)
    }

    /// Says what came though nothing was asked.
    fn refuse(&mut self) -> Result<()> {
        match (&self.socket).read(&mut self.input) {
            Ok(0) => bail!("the server closed a connection on which all was answered"),
            Ok(read) => bail!("unasked bytes: {}", self.input[..read].escape_ascii()),
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) =>
            {
                Ok(())
            }
            Err(error) => Err(error).context("reading an idle connection"),
        }
    }

    /// Request `index` of the batch, for messages.
    fn request(&self, index: usize) -> String {
        let mut from = 0;
        for _ in 0..index {
            from = reply_end(&self.out, from).ok().flatten().unwrap_or(self.out.len());
        }
        let end = reply_end(&self.out, from).ok().flatten().unwrap_or(self.out.len());
        self.out[from..end].escape_ascii().to_string().cut()
    }
}

trait Cut {
    /// What fits into a message.
    fn cut(self) -> String;
}

impl Cut for String {
    fn cut(mut self) -> String {
        // Escaped bytes are ASCII, so every place is one to cut at.
        if self.len() > SHOWN_BYTES_MAX {
            self.truncate(SHOWN_BYTES_MAX);
            self.push_str("...");
        }
        self
    }
}

/// What is counted during a run.
#[derive(Debug)]
struct Tally {
    clock: Clock,
    expected: Expected,
    latencies: Histogram<u64>,
    replies: u64,
    /// Replies looked at.
    looks: u64,
    last_ns: u64,
}

impl Tally {
    fn new(expected: Expected) -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3);
        let latencies = latencies.expect("the bounds are constants and valid");
        Self { clock: Clock::start(), expected, latencies, replies: 0, looks: 0, last_ns: 0 }
    }

    /// Whether a whole reply is as it has to be.
    #[inline]
    fn check(&mut self, reply: &[u8]) -> bool {
        self.looks += 1;
        match self.expected {
            Expected::NoError => reply[0] != b'-',
            Expected::Integer => reply[0] == b':',
            Expected::Names if self.looks % CHECK_EVERY != 1 => reply[0] == b'*',
            Expected::Names => match wire::parse(reply) {
                Ok(Reply::Array(names)) => {
                    names.len() <= NEWEST_MAX
                        && names.iter().all(|name| matches!(name, Reply::Bulk(Some(_))))
                }
                _ => false,
            },
        }
    }

    fn count(&mut self, replies: usize, latency_ns: u64) -> Result<()> {
        let replies = u64::try_from(replies)?;
        self.replies += replies;
        self.last_ns = self.clock.now_ns();
        self.latencies.record_n(latency_ns.clamp(1, LATENCY_NS_MAX), replies)?;
        Ok(())
    }

    fn figures(&self, cpu_seconds: f64) -> Figures {
        let at = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Figures {
            replies: self.replies,
            seconds: self.last_ns as f64 / 1e9,
            cpu_seconds,
            latency_us: [at(0.5), at(0.99), at(0.999), self.latencies.max() as f64 / 1e3],
        }
    }
}

/// Events of one wait: all connections of the usual cases.
const EVENTS_MAX: usize = 64;
/// A batch of 64 newest replies of 30 names is 45 KB.
const INPUT_BYTES: usize = 128 * 1024;
/// A server that says nothing for so long is stuck.
const REPLY_TIME_MAX: Duration = Duration::from_secs(10);
/// One of so many replies is read in full.
const CHECK_EVERY: u64 = 1000;
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// What a message shows of a request or a reply.
const SHOWN_BYTES_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_the_wrong_kind_are_seen() {
        let check = |expected, reply: &[u8]| Tally::new(expected).check(reply);
        assert!(check(Expected::NoError, b"+OK\r\n"));
        assert!(!check(Expected::NoError, b"-ERR\r\n"));
        assert!(!check(Expected::Integer, b"-ERR\r\n"));
        assert!(check(Expected::Names, b"*1\r\n$1\r\na\r\n"));
        assert!(!check(Expected::Names, b"*1\r\n:1\r\n"));
        let many = [b"*31\r\n", &b"$1\r\na\r\n".repeat(31)[..]].concat();
        assert!(!check(Expected::Names, &many));
    }
}
