//! The arena of hot bodies: small files that are asked for often, each with its response head right
//! before it, so that a hit is one plain send of one run of memory.
//!
//! Owns: one anonymous mapping of the configured size.   Thread: one worker.
//! Invariants: a block's memory belongs to its `Block` alone until that is dropped; a block is
//! written only while nothing in flight holds it (its `Rc` is unique), so that no send sees a
//! change.
//! Not here: which files are hot (`daemon::http::files`).
//! Source: `bench/results/static.md`, section "the arena".

#![expect(unsafe_code, reason = "memory that is handed out in pieces and read by the kernel")]

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use memmap2::{Advice, MmapMut};

use crate::limits::{HOT_BLOCK_BYTES_MAX, HOT_GRAIN_BYTES};

use super::mapping::Mapping;

const CLASSES: usize = HOT_BLOCK_BYTES_MAX / HOT_GRAIN_BYTES + 1;

struct Inner {
    memory: MmapMut,
    /// Bytes from the start that were ever handed out.
    used: usize,
    /// Free places by size in grains.
    free: Vec<Vec<usize>>,
}

/// See the module.
#[derive(Clone)]
pub struct Arena {
    inner: Rc<RefCell<Inner>>,
}

/// A piece of the arena: head, then body.
pub struct Block {
    arena: Arena,
    start: usize,
    class: usize,
    /// Length of the head; the body follows.
    head_len: usize,
    len: usize,
    /// The second that the head's date names.
    pub date: Cell<u64>,
}

impl Arena {
    /// An arena of `bytes`; no memory is taken before it is used.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn new(bytes: usize) -> io::Result<Self> {
        let memory = MmapMut::map_anon(bytes.max(1))?;
        // Fewer, larger pages; where the kernel has none, it works as well.
        drop(memory.advise(Advice::HugePage));
        let free = (0..CLASSES).map(|_| Vec::new()).collect();
        Ok(Self { inner: Rc::new(RefCell::new(Inner { memory, used: 0, free })) })
    }

    /// Copies `head` and all of `body` into a block. `None` where there is no room, or where the
    /// file became shorter.
    ///
    /// The kernel copies the body (process_vm_readv(2)): touching the mapping here would end the
    /// process where the file was truncated.
    #[must_use]
    pub fn fill(&self, head: &[u8], body: &Mapping, date: u64) -> Option<Rc<Block>> {
        let len = head.len() + body.len();
        if len > HOT_BLOCK_BYTES_MAX {
            return None;
        }
        let class = len.div_ceil(HOT_GRAIN_BYTES);
        let start = self.take(class)?;
        let arena = self.clone();
        let head_len = head.len();
        let block = Block { arena, start, class, head_len, len, date: Cell::new(date) };
        let inner = &mut *self.inner.borrow_mut();
        let place = &mut inner.memory[start..start + len];
        place[..head_len].copy_from_slice(head);
        let body_place = &mut place[head_len..];
        let local = libc::iovec { iov_base: body_place.as_mut_ptr().cast(), iov_len: body.len() };
        let address = body.address().cast_mut().cast();
        let remote = libc::iovec { iov_base: address, iov_len: body.len() };
        // SAFETY: `local` is `body_place`, borrowed mutably for the call; `remote` is only read, by
        // the kernel, which answers EFAULT for what is not there.
        let copied = unsafe {
            libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0)
        };
        (usize::try_from(copied) == Ok(body.len())).then(|| Rc::new(block))
    }

    fn take(&self, class: usize) -> Option<usize> {
        let inner = &mut *self.inner.borrow_mut();
        if let Some(start) = inner.free[class].pop() {
            return Some(start);
        }
        let start = inner.used;
        let end = start + class * HOT_GRAIN_BYTES;
        if end > inner.memory.len() {
            return None;
        }
        inner.used = end;
        Some(start)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // `fill` drops a block that it could not fill while it holds the arena: such a place is
        // lost until the next start, which happens only where a file is truncated under us.
        if let Ok(mut inner) = self.arena.inner.try_borrow_mut() {
            inner.free[self.class].push(self.start);
        }
    }
}

impl Block {
    /// Length of head and body.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a head is never empty")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Length of the head.
    #[must_use]
    pub const fn head_len(&self) -> usize {
        self.head_len
    }

    /// Writes `bytes` over the head from `offset` on, if nothing in flight holds the block.
    ///
    /// # Panics
    /// If the bytes reach beyond the head.
    pub fn patch_head(self: &Rc<Self>, offset: usize, bytes: &[u8]) -> bool {
        assert!(offset + bytes.len() <= self.head_len, "within the head");
        if Rc::strong_count(self) > 1 {
            return false;
        }
        let start = self.start + offset;
        let inner = &mut *self.arena.inner.borrow_mut();
        inner.memory[start..start + bytes.len()].copy_from_slice(bytes);
        true
    }

    /// Where it begins. For the kernel only.
    pub(super) fn address(&self) -> *const u8 {
        let inner = self.arena.inner.borrow();
        // SAFETY: `start` was handed out by `take`, which keeps it within the memory.
        unsafe { inner.memory.as_ptr().add(self.start) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn mapping(bytes: &[u8]) -> Mapping {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Mapping::new(&file, bytes.len() as u64).unwrap()
    }

    fn text(block: &Block) -> String {
        let inner = block.arena.inner.borrow();
        String::from_utf8(inner.memory[block.start..block.start + block.len].to_vec()).unwrap()
    }

    #[test]
    fn head_and_body_lie_together_and_the_head_can_be_patched() {
        let arena = Arena::new(1 << 20).unwrap();
        let block = arena.fill(b"date 1, ", &mapping(b"body"), 1).expect("room");
        assert_eq!(text(&block), "date 1, body");
        assert!(block.patch_head(5, b"2"));
        assert_eq!(text(&block), "date 2, body");
        let in_flight = Rc::clone(&block);
        assert!(!block.patch_head(5, b"3"));
        assert_eq!(text(&in_flight), "date 2, body");
    }

    #[test]
    fn a_full_arena_says_so_and_places_are_reused() {
        let arena = Arena::new(4 * HOT_GRAIN_BYTES).unwrap();
        let body = mapping(&vec![b'x'; 2 * HOT_GRAIN_BYTES - 1]);
        let first = arena.fill(b"h", &body, 0).expect("room");
        let second = arena.fill(b"h", &body, 0).expect("room");
        assert!(arena.fill(b"h", &body, 0).is_none());
        drop(first);
        assert!(arena.fill(b"h", &body, 0).is_some());
        drop(second);
        assert!(arena.fill(b"h", &mapping(&vec![0; HOT_BLOCK_BYTES_MAX]), 0).is_none());
    }

    #[test]
    fn a_truncated_file_is_not_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[b'x'; 9000]).unwrap();
        let body = Mapping::new(&file, 9000).unwrap();
        file.set_len(0).unwrap();
        assert!(Arena::new(1 << 20).unwrap().fill(b"h", &body, 0).is_none());
    }
}
