//! The rings of receive buffers that a worker shares with the kernel (Linux 5.19,
//! `io_uring_buf_reg`), and those for requests.
//!
//! Owns: `RECV_BUFFERS` buffers of `RECV_BUFFER_BYTES`.   Thread: one worker.
//! Invariants: a buffer is either the kernel's (listed, not yet completed) or ours (a `Buffer`
//! value exists for it), never both; a `Buffer` cannot be copied, so it is given back once.
//! Not here: receiving (`sys::uring`), buffers that are kept (`sys::lent`).
//!
//! ```text
//! list, page-aligned: entries of 16 bytes, native byte order
//! 0        8      12     14     16
//! | address | len  | id   | tail |   tail (of entry 0 only): how many entries were ever listed
//! ```

#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::io;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use memmap2::MmapMut;

use crate::limits::{RECV_BUFFER_BYTES, RECV_BUFFERS};

/// The group of these buffers.
pub(super) const GROUP: u16 = 0;

/// A filled buffer that the kernel handed out.
#[derive(Debug)]
pub struct Buffer {
    id: u16,
    len: usize,
}

impl Buffer {
    /// # Panics
    /// If the kernel names a buffer that it was not given, or more bytes than a buffer has.
    pub(super) fn new(id: u16, len: usize) -> Self {
        assert!(id < RECV_BUFFERS && len <= RECV_BUFFER_BYTES, "a buffer of ours");
        Self { id, len }
    }
}

/// All buffers, and the list in which the kernel finds those it may fill.
///
/// The kernel may fill a buffer at any time until its ring is gone, which happens after this
/// process let go of it: so the memory is never given back. A worker has one set for its life.
pub struct Buffers {
    list: List,
    memory: ManuallyDrop<MmapMut>,
}

impl Buffers {
    /// Takes the memory; `register` must follow before anything is received.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn new() -> io::Result<Self> {
        let memory = MmapMut::map_anon(usize::from(RECV_BUFFERS) * RECV_BUFFER_BYTES)?;
        let list = List::new(RECV_BUFFERS)?;
        let mut buffers = Self { list, memory: ManuallyDrop::new(memory) };
        for id in 0..RECV_BUFFERS {
            buffers.list_buffer(id);
        }
        buffers.list.publish();
        Ok(buffers)
    }

    /// The bytes of a filled buffer.
    #[must_use]
    pub fn bytes(&self, buffer: &Buffer) -> &[u8] {
        let start = usize::from(buffer.id) * RECV_BUFFER_BYTES;
        &self.memory[start..start + buffer.len]
    }

    /// Gives a buffer back to the kernel.
    #[expect(clippy::needless_pass_by_value, reason = "it must not be used afterwards")]
    pub fn give_back(&mut self, buffer: Buffer) {
        self.list_buffer(buffer.id);
        self.list.publish();
    }

    /// The list, to be registered.
    pub(super) const fn list(&self) -> &List {
        &self.list
    }

    fn list_buffer(&mut self, id: u16) {
        let start = usize::from(id) * RECV_BUFFER_BYTES;
        let buffer = &mut self.memory[start..start + RECV_BUFFER_BYTES];
        // SAFETY: a part of `memory`, which is never given back. It is nobody's: either it was
        // never listed, or its `Buffer` was just given back; so each is listed once at a time.
        unsafe { self.list.add(buffer.as_mut_ptr(), RECV_BUFFER_BYTES, id) };
    }
}

/// Where the kernel finds buffers that it may fill. Its memory is never given back: the kernel may
/// look at it until its ring is gone.
pub(super) struct List {
    memory: ManuallyDrop<MmapMut>,
    /// How many there is room for; a power of two.
    count: u16,
    tail: u16,
}

impl List {
    /// An empty list with room for `count` buffers.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub(super) fn new(count: u16) -> io::Result<Self> {
        assert!(count.is_power_of_two(), "the kernel's rule");
        let memory = MmapMut::map_anon(usize::from(count) * size_of::<BufRingEntry>())?;
        Ok(Self { memory: ManuallyDrop::new(memory), count, tail: 0 })
    }

    /// Where it begins; page-aligned.
    pub(super) fn address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }

    /// How many buffers there is room for.
    pub(super) const fn count(&self) -> u16 {
        self.count
    }

    /// Adds a buffer; the kernel sees it once `publish` was called.
    ///
    /// # Safety
    /// The `len` bytes at `buffer` are writable, and nobody else touches or frees them until the
    /// kernel names `id` in a completion, or its ring is gone. No more buffers than there is room
    /// for are with the kernel at a time.
    pub(super) unsafe fn add(&mut self, buffer: *mut u8, len: usize, id: u16) {
        let at = usize::from(self.tail & (self.count - 1));
        // SAFETY: `memory` is page-aligned, holds `count` entries, and `at` is below that. The
        // kernel reads an entry only after the tail has passed it, which `publish` does later. The
        // setters below leave the tail, which lies in the reserved field of entry 0, alone.
        let entry = unsafe { &mut *self.memory.as_mut_ptr().cast::<BufRingEntry>().add(at) };
        entry.set_addr(buffer as u64);
        entry.set_len(u32::try_from(len).expect("a buffer has some KiB"));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel have what was added.
    pub(super) fn publish(&mut self) {
        let first = self.memory.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `first` is the address of entry 0 of the list, as `tail` asks for; the field is
        // two-byte aligned within it, and only this thread writes it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(first).cast_mut()) };
        // Release: the kernel must see the entries before it sees the tail.
        tail.store(self.tail, Ordering::Release);
    }
}
