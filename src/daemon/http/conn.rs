//! One connection of a worker: what was received, what is being sent, what it waits for.
//!
//! Owns: the socket's number, the bytes received ahead (bounded by `BACKLOG_BYTES_MAX`), a body on
//! its way to an origin (bounded by the configuration), the body being streamed.
//! Thread: one worker.
//! Not here: the protocol's state (`http::Conn`), moving bytes (`daemon::http::send`).

use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::cache::way_out::WayOut;
use crate::http;
use crate::sys::uring::Socket;
use crate::time::Instant;

use super::body::Body;
use super::fetch::Next;
use super::files::Version;
use super::follow::Follow;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Reading requests.
    Reading,
    /// A send is in flight.
    Sending,
    /// A request waits for its file to be opened or paged in, or for a descriptor.
    Waiting,
    /// A body is streamed: waits for the socket or for a piece of the file.
    Streaming,
}

/// Whether the socket has an ordinary descriptor, which sendfile needs.
#[derive(Debug)]
pub enum Descriptor {
    /// Not asked for yet.
    None,
    /// It has one.
    Open(OwnedFd),
    /// The kernel would not give one.
    Refused,
}

/// A body that leaves in steps.
pub enum Stream {
    File(FileStream),
    Follow(Following),
}

/// The body of an open file.
pub struct FileStream {
    pub version: Rc<Version>,
    pub left: Range<u64>,
    pub way: WayOut,
}

/// The body of an answer that is still on its way.
pub struct Following {
    pub follow: Rc<Follow>,
    /// Which byte comes next.
    pub at: u64,
    /// Where the client's part ends; `u64::MAX` where the length is not known.
    pub until: u64,
    /// Whether it is sent in chunks, since its length is not known (RFC 9112 section 7.1).
    pub is_chunked: bool,
    /// The last chunk is sent.
    pub has_ended: bool,
    /// A part is being read from the file.
    pub is_reading: bool,
}

/// See the module.
pub struct Connection {
    pub socket: Socket,
    pub http: http::Conn,
    pub doing: Doing,
    /// Bytes received and not consumed yet.
    pub backlog: Vec<u8>,
    /// A receive is armed.
    pub is_receiving: bool,
    /// The receive was cancelled since the backlog is too long.
    pub is_paused: bool,
    /// The body of the request that is being read, or waits, where it goes to an origin. Boxed,
    /// since nearly no connection has one.
    pub body: Option<Box<Body>>,
    /// The client will send no more.
    pub has_ended: bool,
    /// The connection ends once what was answered is sent.
    pub is_closing: bool,
    /// More was received behind the request being answered.
    pub is_followed: bool,
    /// The client said that the request being answered is its last.
    pub is_farewell: bool,
    /// The client may still be sending: read over what comes before closing.
    pub lingers: bool,
    pub descriptor: Descriptor,
    pub stream: Option<Stream>,
    /// The large file that is being sent, to see whether it is written meanwhile.
    pub sends: Option<Rc<Version>>,
    /// Answers in the send under way, and when the first of them was begun.
    pub answers: u32,
    pub begun: Instant,
    /// How often the request at hand has waited.
    pub tries: u8,
    /// What came of the fetch that it waited for.
    pub next: Option<Next>,
    /// An origin is waited for: it has its own time limits.
    pub awaits_origin: bool,
    /// The other end, where connections are counted by it.
    pub address: Option<IpAddr>,
}

impl Connection {
    pub const fn new(socket: Socket, now: Instant) -> Self {
        Self {
            socket,
            http: http::Conn::new(now),
            doing: Doing::Reading,
            backlog: Vec::new(),
            body: None,
            is_receiving: false,
            is_paused: false,
            has_ended: false,
            is_closing: false,
            is_followed: false,
            is_farewell: false,
            lingers: false,
            descriptor: Descriptor::None,
            stream: None,
            sends: None,
            answers: 0,
            begun: now,
            tries: 0,
            next: None,
            awaits_origin: false,
            address: None,
        }
    }
}
