//! A file mapped read-only, whose bytes this program never reads itself.
//!
//! Owns: one mapping.   Thread: the worker that made it.
//! Invariants: no reference to the mapped bytes is ever made. Only the kernel reads them, on behalf
//! of a send, and answers EFAULT where a file that was truncated under us has no page: there is no
//! SIGBUS to catch, and no `&[u8]` whose bytes change.
//! Not here: when to map, and what is resident (`cache`).

use std::cell::Cell;
use std::fs::File;
use std::io;

use memmap2::{MmapOptions, MmapRaw};

use crate::stdx::num::index;

/// A whole file, mapped.
#[derive(Debug)]
pub struct Mapping {
    map: MmapRaw,
    is_broken: Cell<bool>,
}

impl Mapping {
    /// Maps the first `len` bytes (at least 1) of `file`. The file may be closed afterwards.
    ///
    /// # Errors
    /// Those of mmap(2); ENOMEM where `vm.max_map_count` is reached.
    pub fn new(file: &File, len: u64) -> io::Result<Self> {
        let map = MmapOptions::new().len(index(len)).map_raw_read_only(file)?;
        Ok(Self { map, is_broken: Cell::new(false) })
    }

    /// Length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// The file was changed in place: sends under way must not go on.
    pub fn mark_broken(&self) {
        self.is_broken.set(true);
    }

    /// Whether the file was changed in place.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// Where it begins. For the kernel only: see the module's invariants.
    pub(super) fn address(&self) -> *const u8 {
        self.map.as_ptr()
    }
}
