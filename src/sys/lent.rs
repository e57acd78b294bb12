//! Buffers that a worker lends to the kernel, to be received into: each comes back with the bytes
//! of one receive, and is kept as long as anybody needs them.
//!
//! Owns: up to `ORIGIN_LENT` buffers, and the list in which the kernel finds them.
//! Thread: one worker.
//! Invariants: a buffer is in its slot from `lend` until the kernel says that it used it, and
//! nobody touches it meanwhile.
//! Not here: receiving (`sys::uring`), buffers of one size for requests (`sys::buffers`).
//!
//! A receive that brings its own buffer holds it for as long as nothing comes. One that is given a
//! lent buffer when there is something costs no memory before, however many connections wait; and
//! what was used last is used again, while the processor still has it.

#![expect(unsafe_code, reason = "the kernel is pointed at memory")]

use std::io;

use crate::limits::ORIGIN_LENT;

use super::buffers::List;

/// The group of these buffers.
pub(super) const GROUP: u16 = 1;

/// See the module. While a ring has its list, it must not be dropped.
pub(super) struct Lent {
    list: List,
    /// By number.
    slots: Vec<Vec<u8>>,
    /// Numbers of empty slots.
    empty: Vec<u16>,
}

impl Lent {
    /// Lends nothing yet.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub(super) fn new() -> io::Result<Self> {
        let slots = vec![Vec::new(); usize::from(ORIGIN_LENT)];
        Ok(Self { list: List::new(ORIGIN_LENT)?, slots, empty: (0..ORIGIN_LENT).rev().collect() })
    }

    /// The list, to be registered.
    pub(super) const fn list(&self) -> &List {
        &self.list
    }

    /// How many buffers could be lent.
    pub(super) const fn wanted(&self) -> usize {
        self.empty.len()
    }

    /// Lends the room of an empty buffer.
    ///
    /// # Panics
    /// If it is not empty or has no room, or if none is wanted.
    pub(super) fn lend(&mut self, buffer: Vec<u8>) {
        assert!(buffer.is_empty() && buffer.capacity() > 0, "an empty buffer with room");
        let id = self.empty.pop().expect("only lent where one is wanted");
        let slot = &mut self.slots[usize::from(id)];
        *slot = buffer;
        let room = slot.spare_capacity_mut();
        // SAFETY: the room of a buffer that stays in its slot, untouched, until `take` is told its
        // number by a completion; the ring never drops `Lent`. There are as many slots as places.
        unsafe { self.list.add(room.as_mut_ptr().cast(), room.len(), id) };
        self.list.publish();
    }

    /// The buffer that the kernel says it used; its bytes are still to be counted as such.
    ///
    /// # Panics
    /// If the kernel names one that it was not lent.
    pub(super) fn take(&mut self, id: u16) -> Vec<u8> {
        let buffer = std::mem::take(&mut self.slots[usize::from(id)]);
        assert!(buffer.capacity() > 0, "a buffer that was lent");
        self.empty.push(id);
        buffer
    }
}
