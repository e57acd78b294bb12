//! Open files that are closed by the ring, and the budget of those that stay open.
//!
//! Thread: one worker.
//! Invariants: no worker calls close(2) on a file of the tree, which may wait for a network file
//! system's flush.
//! Not here: opening (`files::opening`).

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::rc::Rc;

/// Files to be closed by the ring.
pub(super) type Closing = Rc<RefCell<Vec<File>>>;

/// An open file that is closed by the ring once it is dropped.
pub(super) struct Handle {
    file: Option<File>,
    closing: Closing,
}

impl Handle {
    pub(super) const fn new(file: File, closing: Closing) -> Self {
        Self { file: Some(file), closing }
    }

    pub(super) fn file(&self) -> &File {
        self.file.as_ref().expect("taken only when it is dropped")
    }

    pub(super) fn into_file(mut self) -> File {
        self.file.take().expect("taken only once")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.closing.borrow_mut().extend(self.file.take());
    }
}

/// A file kept open, on the budget of descriptors.
pub struct OpenFile {
    handle: Handle,
    budget: Rc<Cell<usize>>,
}

impl OpenFile {
    pub(super) fn new(handle: Handle, budget: &Rc<Cell<usize>>) -> Option<Self> {
        budget.set(budget.get().checked_sub(1)?);
        Some(Self { handle, budget: Rc::clone(budget) })
    }

    /// The file.
    pub fn file(&self) -> &File {
        self.handle.file()
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.budget.set(self.budget.get() + 1);
    }
}
