//! One answer on its way, as the connections of one worker follow it.
//!
//! Input: the answer's head, its bytes, what the store has of them.   Output: bytes to send, and
//! who can go on.
//! Owns: the bytes that are still needed and not in a file yet, bounded by `FOLLOW_BYTES_MAX` and
//! the pause of the fetch.   Thread: one worker.
//! Invariants: bytes before `base` are gone from memory: all who follow have had them, or they are
//! in `file`; a fetch that is paused goes on once its slowest follower has caught up.
//! Not here: the fetch (`daemon::http::fetch`), writing the file (`daemon::store`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;

use crate::cache::freshness::status::Fwd;
use crate::cache::record::Record;
use crate::http::Status;
use crate::limits::{FOLLOW_BYTES_MAX, FOLLOW_PIECES_MAX, FOLLOW_SEND_BYTES_MAX};
use crate::stdx::bytes::Bytes;
use crate::stdx::num::{index, wide};
use crate::stdx::slab::Key;

use super::Map;

/// The head of an answer, as all who follow it need it.
#[derive(Debug)]
pub struct Answer {
    /// Status, fields, validators; its `body_bytes` is void.
    pub record: Record,
    /// Length of the body, where the origin said it.
    pub length: Option<u64>,
    /// Whether others than the one who asked may have it.
    pub is_shared: bool,
    /// What Cache-Status says of the one who asked.
    pub cache_status: Vec<u8>,
    /// What it says of the others.
    pub collapsed_status: Vec<u8>,
}

/// A stored answer was confirmed: it has another record now.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The one that was asked about.
    pub before: Arc<Record>,
    /// The one in its place.
    pub after: Arc<Record>,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is whole.
    Complete,
    /// It will never be whole.
    Broken,
}

/// How the origin was asked about what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Why.
    pub why: Fwd,
    /// What it answered, if it did.
    pub origin_status: Option<u16>,
}

/// What those who wait for a fetch are told.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Its answer comes.
    Streams(Arc<Answer>),
    /// What is stored answers: it was confirmed, or stands in for an error.
    Stored(Option<Renewal>, Forwarding),
    /// What is stored changed: look again.
    Again,
    /// There is no answer.
    Refused(Status),
}

/// See the module.
pub struct Follow {
    /// Memory of all answers of this worker.
    total: Rc<Cell<usize>>,
    /// What is fetched.
    pub key: Box<[u8]>,
    /// Its name at this worker.
    pub id: Key,
    /// The connection that asked first.
    pub asker: Option<Key>,
    /// Whether its request was sent to the origin, not that of another worker's.
    pub is_sent: Cell<bool>,
    inner: RefCell<Inner>,
}

struct Inner {
    /// Whether new requests may join it.
    is_open: bool,
    answer: Option<Arc<Answer>>,
    end: Option<End>,
    /// Bytes from `base` on, each with its position.
    pieces: VecDeque<(u64, Bytes)>,
    base: u64,
    len: u64,
    memory: usize,
    /// Where those who are being sent it stand.
    positions: Map<Key, u64>,
    /// Who waits for more of it.
    waiters: Vec<Key>,
    file: Option<Arc<File>>,
    written: u64,
}

/// What there is at a position.
pub enum Next {
    /// These bytes, which were added to the list; `true` with the last of a whole answer.
    Bytes { count: u64, is_last: bool },
    /// They are in the file only.
    File(Arc<File>),
    /// Nothing yet.
    Wait,
    /// Nothing more: it is whole.
    Over,
    /// Nothing more: it was cut short.
    Broken,
}

impl Follow {
    pub fn new(key: Box<[u8]>, id: Key, asker: Option<Key>, total: Rc<Cell<usize>>) -> Self {
        let inner = Inner {
            is_open: true,
            answer: None,
            end: None,
            pieces: VecDeque::new(),
            base: 0,
            len: 0,
            memory: 0,
            positions: Map::default(),
            waiters: Vec::new(),
            file: None,
            written: 0,
        };
        let is_sent = Cell::new(false);
        Self { total, key, id, asker, is_sent, inner: RefCell::new(inner) }
    }

    /// Has `conn` told when there is more.
    pub fn wait(&self, conn: Key) {
        self.inner.borrow_mut().waiters.push(conn);
    }

    /// Takes all who wait.
    pub fn take_waiters(&self) -> Vec<Key> {
        std::mem::take(&mut self.inner.borrow_mut().waiters)
    }

    pub fn answer(&self) -> Option<Arc<Answer>> {
        self.inner.borrow().answer.clone()
    }

    pub fn set_answer(&self, answer: Arc<Answer>) {
        self.inner.borrow_mut().answer = Some(answer);
    }

    pub fn is_open(&self) -> bool {
        self.inner.borrow().is_open
    }

    /// No new request may join it.
    pub fn shut(&self) {
        self.inner.borrow_mut().is_open = false;
    }

    pub fn end(&self) -> Option<End> {
        self.inner.borrow().end
    }

    pub fn set_end(&self, end: End) {
        self.inner.borrow_mut().end.get_or_insert(end);
    }

    pub fn len(&self) -> u64 {
        self.inner.borrow().len
    }

    /// Memory that its bytes take.
    pub fn memory(&self) -> usize {
        self.inner.borrow().memory
    }

    pub fn push(&self, pieces: &[Bytes]) {
        let inner = &mut *self.inner.borrow_mut();
        for piece in pieces {
            inner.pieces.push_back((inner.len, piece.clone()));
            inner.len += wide(piece.len());
            inner.memory += cost(piece);
            self.total.set(self.total.get() + cost(piece));
        }
    }

    /// Bytes up to `written` are in `file`.
    pub fn set_written(&self, written: u64, file: Option<Arc<File>>) {
        let inner = &mut *self.inner.borrow_mut();
        inner.written = inner.written.max(written);
        if file.is_some() {
            inner.file = file;
        }
    }

    /// What joins later needs all of it: from memory, or from a file.
    pub fn is_whole(&self) -> bool {
        let inner = self.inner.borrow();
        inner.base == 0 || inner.file.is_some()
    }

    /// All bytes in memory, and the position of the first.
    pub fn pieces(&self) -> (u64, Vec<Bytes>) {
        let inner = self.inner.borrow();
        (inner.base, inner.pieces.iter().map(|(_, piece)| piece.clone()).collect())
    }

    /// Nothing is here yet, and the first `base` bytes are in the file only.
    pub fn begin_at(&self, base: u64) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.len == 0 {
            (inner.base, inner.len) = (base, base);
        }
    }

    /// The file, and how much of the answer is in it.
    pub fn file(&self) -> Option<(Arc<File>, u64)> {
        let inner = self.inner.borrow();
        inner.file.clone().map(|file| (file, inner.written))
    }

    /// `conn` is being sent it, and stands at `position`.
    pub fn stand(&self, conn: Key, position: u64) {
        self.inner.borrow_mut().positions.insert(conn, position);
    }

    /// `conn` is not sent it any more.
    pub fn leave(&self, conn: Key) {
        self.inner.borrow_mut().positions.remove(&conn);
    }

    /// Whether anybody is being sent it, or waits for it.
    pub fn has_followers(&self) -> bool {
        let inner = self.inner.borrow();
        !inner.positions.is_empty() || !inner.waiters.is_empty()
    }

    /// Lets go of bytes that nobody needs from memory. `is_tight`: memory is short, so that only
    /// what is in no file is kept.
    pub fn trim(&self, is_tight: bool) {
        let inner = &mut *self.inner.borrow_mut();
        let room = if is_tight { 0 } else { FOLLOW_BYTES_MAX };
        if inner.memory <= room && !is_tight {
            return;
        }
        let written = if inner.file.is_some() { inner.written } else { 0 };
        let slowest = inner.positions.values().copied().min().unwrap_or(inner.len);
        // While it may be joined, whoever joins needs the beginning: from the file, if not here.
        let free_until = if inner.is_open { written } else { slowest.max(written) };
        while inner.memory > room
            && let Some((_, piece)) = inner.pieces.front()
            && inner.base + wide(piece.len()) <= free_until
        {
            inner.base += wide(piece.len());
            inner.memory -= cost(piece);
            self.total.set(self.total.get() - cost(piece));
            inner.pieces.pop_front();
        }
    }

    /// Adds the bytes from `at` on, up to `until`, to `list`.
    pub fn next(&self, at: u64, until: u64, list: &mut Vec<Bytes>) -> Next {
        let inner = self.inner.borrow();
        if at >= until || at >= inner.len {
            return match inner.end {
                _ if at >= until => Next::Over,
                // Not as long as its head said.
                Some(End::Complete) if until != u64::MAX => Next::Broken,
                Some(End::Complete) => Next::Over,
                Some(End::Broken) => Next::Broken,
                None => Next::Wait,
            };
        }
        if at < inner.base {
            return match &inner.file {
                Some(file) => Next::File(Arc::clone(file)),
                None => Next::Broken,
            };
        }
        let first = inner.pieces.partition_point(|(start, piece)| start + wide(piece.len()) <= at);
        let mut count = 0;
        for (start, piece) in inner.pieces.range(first..) {
            if *start >= until || list.len() >= FOLLOW_PIECES_MAX || count >= FOLLOW_SEND_BYTES_MAX
            {
                break;
            }
            let from = at.max(*start) - start;
            let to = until.min(start + wide(piece.len())) - start;
            count += to - from;
            list.push(piece.part(index(from)..index(to)));
        }
        let is_end =
            at + count == until || (inner.end == Some(End::Complete) && at + count == inner.len);
        Next::Bytes { count, is_last: is_end }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.inner.get_mut().memory);
    }
}

/// What a piece costs while it is kept: the buffer that it came in is at least a quarter full, or
/// others have the rest. Its own bookkeeping counts too, or an origin that trickles would cost more
/// than is seen.
fn cost(piece: &Bytes) -> usize {
    piece.memory_bytes().min(4 * piece.len()) + 128
}
