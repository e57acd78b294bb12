//! Bytes on their way to a socket: our own and those of mapped files, gathered for one send.
//!
//! Owns: its own bytes, references to the mappings it sends from, the kernel's list of both;
//! bounded by `HEADS_BYTES_MAX` and `PIECES_MAX`.   Thread: the worker that fills it.
//! Invariants: while it is in flight it belongs to `sys::uring`, boxed, so nothing that the kernel
//! was pointed at can move, be changed or be freed.
//! Not here: what is sent (`http::reply`), sending (`sys::uring`).

#![expect(unsafe_code, reason = "message headers hold pointers; see the invariants")]

use std::ops::Range;
use std::rc::Rc;

use crate::limits::PIECES_MAX;
use crate::stdx::bytes::Bytes;
use crate::stdx::num::{index, wide};

use super::hot::Block;
use super::mapping::Mapping;

enum Piece {
    Own(Range<usize>),
    File { held: usize, range: Range<usize> },
    Hot { held: usize },
    Shared { held: usize },
}

/// A gathered send that is filled, sent (in several steps where the socket is full), and reused.
pub struct Outgoing {
    own: Vec<u8>,
    pieces: Vec<Piece>,
    held: Vec<Rc<Mapping>>,
    hot: Vec<Rc<Block>>,
    shared: Vec<Bytes>,
    /// Own bytes up to here are in `pieces`.
    cut: usize,
    vectors: Vec<libc::iovec>,
    /// Vectors before this one are sent.
    next: usize,
    /// Bytes not sent yet.
    left: u64,
    header: libc::msghdr,
    /// MSG_MORE: bytes of a file follow by sendfile, and should share a packet with these.
    more_follows: bool,
}

impl Default for Outgoing {
    fn default() -> Self {
        // SAFETY: msghdr is a C structure of integers and pointers, for which all-zero is valid.
        let header = unsafe { std::mem::zeroed() };
        Self {
            own: Vec::with_capacity(1024),
            pieces: Vec::with_capacity(4),
            held: Vec::with_capacity(2),
            hot: Vec::with_capacity(2),
            shared: Vec::new(),
            cut: 0,
            vectors: Vec::with_capacity(4),
            next: 0,
            left: 0,
            header,
            more_follows: false,
        }
    }
}

impl Outgoing {
    /// Our own bytes so far; more are appended here.
    pub const fn own(&mut self) -> &mut Vec<u8> {
        &mut self.own
    }

    /// How many pieces it has; the caller keeps it at or below `PIECES_MAX`.
    #[must_use]
    pub fn piece_count(&self) -> usize {
        self.pieces.len() + usize::from(self.cut < self.own.len())
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.pieces.is_empty()
    }

    /// Appends `range` of a mapped file after the own bytes so far.
    ///
    /// # Panics
    /// If the range is not within the mapping, or there are more than `PIECES_MAX` pieces.
    pub fn push_file(&mut self, mapping: &Rc<Mapping>, range: &Range<u64>) {
        let range = index(range.start)..index(range.end);
        assert!(range.start <= range.end && range.end <= mapping.len(), "a range of the mapping");
        self.cut_own();
        if !self.held.last().is_some_and(|last| Rc::ptr_eq(last, mapping)) {
            self.held.push(Rc::clone(mapping));
        }
        self.pieces.push(Piece::File { held: self.held.len() - 1, range });
        assert!(self.pieces.len() <= PIECES_MAX, "the caller keeps to PIECES_MAX");
    }

    /// Appends a hot block, head and body, after the own bytes so far.
    ///
    /// # Panics
    /// If there are more than `PIECES_MAX` pieces.
    pub fn push_hot(&mut self, block: &Rc<Block>) {
        self.cut_own();
        self.hot.push(Rc::clone(block));
        self.pieces.push(Piece::Hot { held: self.hot.len() - 1 });
        assert!(self.pieces.len() <= PIECES_MAX, "the caller keeps to PIECES_MAX");
    }

    /// Appends shared bytes after the own bytes so far.
    ///
    /// # Panics
    /// If there are more than `PIECES_MAX` pieces.
    pub fn push_shared(&mut self, bytes: Bytes) {
        self.cut_own();
        self.shared.push(bytes);
        self.pieces.push(Piece::Shared { held: self.shared.len() - 1 });
        assert!(self.pieces.len() <= PIECES_MAX, "the caller keeps to PIECES_MAX");
    }

    /// Says whether bytes follow by another way.
    pub const fn set_more_follows(&mut self, more: bool) {
        self.more_follows = more;
    }

    /// Ends the filling: lists all pieces for the kernel.
    pub fn seal(&mut self) {
        self.cut_own();
        self.vectors.clear();
        self.next = 0;
        self.left = 0;
        for piece in &self.pieces {
            let (address, len) = match piece {
                // SAFETY: the range lies within `own`, which does not change until `reset`.
                Piece::Own(range) => (unsafe { self.own.as_ptr().add(range.start) }, range.len()),
                Piece::File { held, range } => {
                    // SAFETY: the range lies within the mapping (asserted when it was pushed),
                    // which `held` keeps mapped until `reset`.
                    (unsafe { self.held[*held].address().add(range.start) }, range.len())
                }
                // A block is as long as it says; `hot` keeps it until `reset`.
                Piece::Hot { held } => (self.hot[*held].address(), self.hot[*held].len()),
                // Shared bytes never change or move; `shared` keeps them until `reset`.
                Piece::Shared { held } => (self.shared[*held].as_ptr(), self.shared[*held].len()),
            };
            let iov_base = address.cast_mut().cast();
            self.vectors.push(libc::iovec { iov_base, iov_len: len });
            self.left += wide(len);
        }
    }

    /// Whether a file that it sends from was changed in place since.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.held.iter().any(|mapping| mapping.is_broken())
    }

    /// Bytes not sent yet.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// `sent` bytes are sent; drops them from the front of the list.
    ///
    /// # Panics
    /// If more were sent than were left.
    pub fn advance(&mut self, sent: u64) {
        assert!(sent <= self.left, "the kernel sends no more than it was given");
        self.left -= sent;
        let mut sent = index(sent);
        while let Some(vector) = self.vectors.get_mut(self.next) {
            if sent < vector.iov_len {
                // SAFETY: `sent` is below the vector's length, so this stays within its memory.
                vector.iov_base = unsafe { vector.iov_base.cast::<u8>().add(sent) }.cast();
                vector.iov_len -= sent;
                return;
            }
            sent -= vector.iov_len;
            self.next += 1;
        }
    }

    /// Empties it for the next use; memory is kept, mappings are let go.
    pub fn reset(&mut self) {
        self.own.clear();
        self.pieces.clear();
        self.held.clear();
        self.hot.clear();
        self.shared.clear();
        self.vectors.clear();
        (self.cut, self.next, self.left, self.more_follows) = (0, 0, 0, false);
    }

    fn cut_own(&mut self) {
        if self.cut < self.own.len() {
            self.pieces.push(Piece::Own(self.cut..self.own.len()));
            self.cut = self.own.len();
        }
    }

    /// What is left, for one send: its flags, and either a single run of bytes or a header.
    pub(super) fn message(&mut self) -> (i32, Message) {
        let more = if self.more_follows { libc::MSG_MORE } else { 0 };
        let flags = libc::MSG_NOSIGNAL | more;
        match &self.vectors[self.next..] {
            [only] => (flags, Message::Run(only.iov_base.cast(), only.iov_len)),
            rest => {
                self.header.msg_iov = rest.as_ptr().cast_mut();
                self.header.msg_iovlen = rest.len();
                (flags, Message::Header(&raw const self.header))
            }
        }
    }
}

/// What the kernel is pointed at.
pub(super) enum Message {
    Run(*const u8, usize),
    Header(*const libc::msghdr),
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn lengths(out: &Outgoing) -> Vec<usize> {
        out.vectors[out.next..].iter().map(|vector| vector.iov_len).collect()
    }

    fn mapping(len: usize) -> Rc<Mapping> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'x'; len]).unwrap();
        Rc::new(Mapping::new(&file, wide(len)).unwrap())
    }

    #[test]
    fn pieces_keep_their_order_and_advance_by_bytes() {
        let (mut out, map) = (Outgoing::default(), mapping(100));
        out.own().extend_from_slice(b"head1");
        out.push_file(&map, &(0..40));
        out.own().extend_from_slice(b"head02");
        out.push_file(&map, &(40..100));
        out.seal();
        assert_eq!((lengths(&out), out.left()), (vec![5, 40, 6, 60], 111));
        out.advance(3);
        assert_eq!(lengths(&out), [2, 40, 6, 60]);
        out.advance(2 + 40 + 5);
        assert_eq!(lengths(&out), [1, 60]);
        out.advance(61);
        assert_eq!((lengths(&out), out.left()), (vec![], 0));
    }

    #[test]
    fn a_reset_lets_mappings_go() {
        let (mut out, map) = (Outgoing::default(), mapping(10));
        out.push_file(&map, &(0..10));
        out.seal();
        assert_eq!(Rc::strong_count(&map), 2);
        out.reset();
        assert_eq!(Rc::strong_count(&map), 1);
        assert!(out.is_empty());
    }

    #[test]
    #[should_panic(expected = "a range of the mapping")]
    fn a_range_beyond_the_mapping_is_our_bug() {
        Outgoing::default().push_file(&mapping(10), &(5..11));
    }
}
