//! One connection: the batch of requests in flight on it and the answers read so far.
//!
//! Input: `begin` with a batch, `flush` and `handle_readable` when epoll says so.   Output:
//! `Outcome`.
//! Owns: its socket and at most one batch, bounded by `--pipeline`.   Thread: the only one.
//! Invariants: `pending` requests are exactly those neither answered nor failed; in drop mode the
//! kernel is never asked to discard more than the rest of the present body, so that the next head
//! survives.
//! Not here: which connection gets which request (`client`).

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::mem::MaybeUninit;
use std::path::PathBuf;

use socket2::Socket;

use crate::http::{self, Head, HeadParse};
use crate::plan::Requests;
use crate::report::{Kind, Tally};
use crate::sys::Clock;
use crate::{Body, Options};

/// What all connections share while reading.
#[derive(Debug)]
pub struct Io<'a> {
    requests: &'a Requests,
    /// Time of the run.
    pub clock: Clock,
    buffer: Vec<u8>,
    discard: Vec<MaybeUninit<u8>>,
    body: Body,
    verify: bool,
    root: Option<PathBuf>,
    /// Length that every body must have.
    body_bytes: Option<u64>,
    close: bool,
}

impl<'a> Io<'a> {
    /// Buffers and modes for `options`.
    pub fn new(options: &Options, requests: &'a Requests, clock: Clock) -> Self {
        let buffer_bytes = match options.body {
            Body::Read => READ_BYTES,
            Body::Drop => FIRST_BYTES,
        };
        Self {
            requests,
            clock,
            buffer: vec![0; buffer_bytes],
            discard: vec![MaybeUninit::uninit(); DISCARD_BYTES_MAX],
            body: options.body,
            verify: options.verify,
            root: options.root.clone(),
            body_bytes: options.body_bytes,
            close: options.close,
        }
    }

    /// The bytes that the answer to request `index` has to have, if they are to be compared.
    fn expected(&self, index: usize) -> Option<io::Result<Vec<u8>>> {
        let root = self.root.as_ref().filter(|_| self.verify)?;
        Some(fs::read(root.join(self.requests.path(index).trim_start_matches('/'))))
    }
}

/// What an event did to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is finished yet.
    Waiting,
    /// The whole batch is answered.
    Done,
    /// The server closed where it may: after the answer with `--close`, or between two batches.
    Closed,
    /// The connection is unusable; the pending requests failed.
    Failed(Kind),
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Conn {
    /// A batch was begun and `client` has not yet settled it.
    pub busy: bool,
    /// The socket, if one is open.
    pub socket: Option<Socket>,
    /// A byte was sent on this socket, so it was once connected.
    established: bool,
    /// The server said that it will close.
    pub close_after: bool,
    /// epoll watches for room in the send buffer.
    pub watches_write: bool,
    out: Vec<u8>,
    out_sent: usize,
    /// Indices of the batch's requests, the first `answered` of them done.
    batch: Vec<usize>,
    answered: usize,
    started_ns: u64,
    /// When the batch was handed to the kernel; timeouts count from here.
    pub sent_ns: u64,
    head_part: Vec<u8>,
    in_body: bool,
    status: u16,
    body_left: u64,
    expected: Option<Vec<u8>>,
    mismatch: bool,
    /// With `--close`: when the body was complete; the answer counts once the server closed.
    complete_ns: Option<u64>,
}

impl Conn {
    /// Requests neither answered nor failed.
    pub fn pending(&self) -> usize {
        self.batch.len() - self.answered
    }

    /// Takes a freshly opened socket.
    pub fn open(&mut self, socket: Socket, established: bool) {
        self.socket = Some(socket);
        self.established = established;
        self.watches_write = false;
        self.close_after = false;
    }

    /// Closes the socket, forgets the batch and returns how many requests were pending.
    pub fn abandon(&mut self) -> usize {
        let pending = self.pending();
        self.busy = false;
        self.socket = None;
        self.batch.clear();
        self.answered = 0;
        self.head_part.clear();
        self.in_body = false;
        self.body_left = 0;
        self.complete_ns = None;
        pending
    }

    /// Prepares a batch whose latencies count from `started_ns`.
    pub fn begin(&mut self, started_ns: u64, now_ns: u64) {
        assert!(!self.busy, "one batch at a time");
        self.busy = true;
        self.batch.clear();
        self.answered = 0;
        self.out.clear();
        self.out_sent = 0;
        self.started_ns = started_ns;
        self.sent_ns = now_ns;
    }

    /// Adds a request to the batch.
    pub fn push(&mut self, index: usize, bytes: &[u8]) {
        self.batch.push(index);
        self.out.extend_from_slice(bytes);
    }

    /// Sends what is left of the batch; `Ok(true)` once all of it is with the kernel.
    pub fn flush(&mut self) -> Result<bool, Kind> {
        let Some(socket) = &self.socket else { return Ok(true) };
        while self.out_sent < self.out.len() {
            match socket.send(&self.out[self.out_sent..]) {
                Ok(sent) => {
                    self.out_sent += sent;
                    self.established = true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(self.broken()),
            }
        }
        Ok(true)
    }

    /// Reads until the batch is answered or the socket is empty.
    pub fn handle_readable(&mut self, io: &mut Io<'_>, tally: &mut Tally) -> Outcome {
        loop {
            let Some(socket) = &self.socket else { return Outcome::Waiting };
            let discards = io.body == Body::Drop && self.body_left > 0;
            let wanted = if discards {
                usize::try_from(self.body_left).unwrap_or(usize::MAX).min(io.discard.len())
            } else {
                io.buffer.len()
            };
            let result = if discards {
                socket.recv_with_flags(&mut io.discard[..wanted], libc::MSG_TRUNC)
            } else {
                (&*socket).read(&mut io.buffer)
            };
            let read = match result {
                Ok(0) => return self.handle_end(tally),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Waiting,
                Err(_) => return Outcome::Failed(self.broken()),
            };
            if discards {
                self.count_body(read, tally);
                self.end_response_if_complete(io, tally);
            } else if let Err(kind) = self.take(&io.buffer[..read], io, tally) {
                return Outcome::Failed(kind);
            }
            if self.pending() == 0 {
                return Outcome::Done;
            }
            // A short read emptied the socket. Not so when the end of the stream is awaited: the
            // close usually arrives with the last bytes.
            if read < wanted && self.complete_ns.is_none() {
                return Outcome::Waiting;
            }
        }
    }

    /// Splits `bytes` into heads and bodies.
    fn take(&mut self, mut bytes: &[u8], io: &Io<'_>, tally: &mut Tally) -> Result<(), Kind> {
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let left = usize::try_from(self.body_left).unwrap_or(usize::MAX);
                let (body, rest) = bytes.split_at(left.min(bytes.len()));
                self.compare(body);
                tally.digest = tally.digest.wrapping_add(sum(body));
                self.count_body(body.len(), tally);
                bytes = rest;
            } else if self.pending() == 0 || self.complete_ns.is_some() {
                // Bytes that nobody asked for: the body was longer than its stated length.
                return Err(Kind::Protocol);
            } else {
                if self.head_part.is_empty() {
                    let waited_ns = io.clock.now_ns().saturating_sub(self.started_ns);
                    tally.count_first_byte(waited_ns);
                }
                bytes = self.take_head(bytes, io)?;
            }
            self.end_response_if_complete(io, tally);
        }
        Ok(())
    }

    /// Reads a head, perhaps begun by an earlier call, and returns what follows it.
    fn take_head<'b>(&mut self, bytes: &'b [u8], io: &Io<'_>) -> Result<&'b [u8], Kind> {
        let before = self.head_part.len();
        let parse = if before == 0 {
            http::parse_head(bytes)
        } else {
            self.head_part.extend_from_slice(bytes);
            http::parse_head(&self.head_part)
        };
        match parse {
            HeadParse::Complete(head) => {
                self.head_part.clear();
                self.begin_response(&head, io);
                let used = head.head_bytes.checked_sub(before);
                Ok(&bytes[used.expect("the earlier part alone was no whole head")..])
            }
            HeadParse::Partial => {
                if before == 0 {
                    self.head_part.extend_from_slice(bytes);
                }
                Ok(&[])
            }
            HeadParse::Bad => Err(Kind::Protocol),
        }
    }

    fn begin_response(&mut self, head: &Head, io: &Io<'_>) {
        self.in_body = true;
        self.status = head.status;
        self.body_left = head.body_bytes;
        self.close_after |= head.close;
        self.mismatch = io.body_bytes.is_some_and(|bytes| bytes != head.body_bytes);
        self.expected = None;
        if head.status == STATUS_OK {
            match io.expected(self.batch[self.answered]) {
                None => {}
                Some(Ok(file)) => {
                    self.mismatch |= u64::try_from(file.len()) != Ok(head.body_bytes);
                    self.expected = Some(file);
                }
                Some(Err(_)) => self.mismatch = true,
            }
        }
    }

    /// Compares the next bytes of the body with the file. Called before they are counted.
    fn compare(&mut self, body: &[u8]) {
        let Some(file) = self.expected.as_ref().filter(|_| !self.mismatch) else { return };
        let left = usize::try_from(self.body_left).expect("as long as a file in memory");
        let at = file.len() - left;
        self.mismatch = file[at..at + body.len()] != *body;
    }

    fn count_body(&mut self, read: usize, tally: &mut Tally) {
        let read = u64::try_from(read).expect("usize is at most 64 bits");
        assert!(read <= self.body_left, "the kernel gave more than it was asked for");
        self.body_left -= read;
        tally.bytes += read;
    }

    fn end_response_if_complete(&mut self, io: &Io<'_>, tally: &mut Tally) {
        if !self.in_body || self.body_left > 0 {
            return;
        }
        self.in_body = false;
        let now_ns = io.clock.now_ns();
        if io.close {
            self.complete_ns = Some(now_ns);
        } else {
            self.count_answer(now_ns, tally);
        }
    }

    fn count_answer(&mut self, now_ns: u64, tally: &mut Tally) {
        assert!(self.pending() > 0, "an answer belongs to a request");
        self.answered += 1;
        if self.status != STATUS_OK {
            tally.count_error(Kind::Status, 1);
        } else if self.mismatch {
            tally.count_error(Kind::Verify, 1);
        } else {
            tally.count_answer(now_ns.saturating_sub(self.started_ns));
        }
    }

    /// The server closed its side.
    fn handle_end(&mut self, tally: &mut Tally) -> Outcome {
        if let Some(complete_ns) = self.complete_ns.take() {
            self.count_answer(complete_ns, tally);
            return Outcome::Closed;
        }
        if self.pending() > 0 { Outcome::Failed(Kind::Short) } else { Outcome::Closed }
    }

    fn broken(&self) -> Kind {
        if self.established { Kind::Short } else { Kind::Connect }
    }
}

/// Sum of the bytes: cheap, and the bytes really have to be loaded for it.
fn sum(bytes: &[u8]) -> u64 {
    // Blocks small enough for 32-bit lanes, which the compiler turns into vector code.
    bytes
        .chunks(4096)
        .map(|block| u64::from(block.iter().map(|&b| u32::from(b)).sum::<u32>()))
        .sum()
}

const STATUS_OK: u16 = 200;
/// What one read of a client that wants the body takes: the size of a usual stream buffer, and
/// small enough to stay in the core's cache.
const READ_BYTES: usize = 64 * 1024;
/// First read of a client that drops bodies: a head and 1 KiB of body come in one call.
const FIRST_BYTES: usize = 2048;
/// Most that one call discards; more than a receive buffer holds at a time.
const DISCARD_BYTES_MAX: usize = 4 << 20;
