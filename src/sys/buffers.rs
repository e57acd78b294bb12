//! The ring of receive buffers that a worker shares with the kernel (Linux 5.19,
//! `io_uring_buf_reg`).
//!
//! Owns: `RECV_BUFFERS` buffers of `RECV_BUFFER_BYTES`.   Thread: one worker.
//! Invariants: a buffer is either the kernel's (listed, not yet completed) or ours (a `Buffer`
//! value exists for it), never both; a `Buffer` cannot be copied, so it is given back once.
//! Not here: receiving (`sys::uring`).
//!
//! ```text
//! list, page-aligned: RECV_BUFFERS entries of 16 bytes, native byte order
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

/// The only group of buffers a worker has.
pub(super) const GROUP: u16 = 0;

const MASK: u16 = RECV_BUFFERS - 1;

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
    list: ManuallyDrop<MmapMut>,
    memory: ManuallyDrop<MmapMut>,
    tail: u16,
}

impl Buffers {
    /// Takes the memory; `register` must follow before anything is received.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn new() -> io::Result<Self> {
        let entries = usize::from(RECV_BUFFERS);
        let list = ManuallyDrop::new(MmapMut::map_anon(entries * size_of::<BufRingEntry>())?);
        let memory = ManuallyDrop::new(MmapMut::map_anon(entries * RECV_BUFFER_BYTES)?);
        let mut buffers = Self { list, memory, tail: 0 };
        for id in 0..RECV_BUFFERS {
            buffers.list_buffer(id);
        }
        buffers.publish();
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
        self.publish();
    }

    /// Where the list begins.
    pub(super) fn address(&self) -> u64 {
        self.list.as_ptr() as u64
    }

    fn list_buffer(&mut self, id: u16) {
        let offset = usize::from(id) * RECV_BUFFER_BYTES;
        // SAFETY: `id` is below RECV_BUFFERS, so the offset is within `memory`.
        let address = unsafe { self.memory.as_mut_ptr().add(offset) } as u64;
        let at = usize::from(self.tail & MASK);
        // SAFETY: `list` is page-aligned, holds RECV_BUFFERS entries, and `at` is below that. The
        // kernel reads an entry only after the tail has passed it, which `publish` does later. The
        // setters below leave the tail, which lies in the reserved field of entry 0, alone.
        let entry = unsafe { &mut *self.list.as_mut_ptr().cast::<BufRingEntry>().add(at) };
        entry.set_addr(address);
        entry.set_len(u32::try_from(RECV_BUFFER_BYTES).expect("a buffer has a few KiB"));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        let first = self.list.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `first` is the address of entry 0 of the list, as `tail` asks for; the field is
        // two-byte aligned within it, and only this thread writes it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(first).cast_mut()) };
        // Release: the kernel must see the entries before it sees the tail.
        tail.store(self.tail, Ordering::Release);
    }
}
