//! The doorbell: wakes the thread that sleeps in its ring (eventfd(2)).
//!
//! Thread: rung by any, listened to by one.
//! Not here: what was put in the queue before ringing (`daemon::topology`).

#![expect(unsafe_code, reason = "eventfd has no wrapper in the standard library")]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, RawFd};
use std::sync::Arc;

/// A counter in the kernel that a ring can wait for.
#[derive(Clone, Debug)]
pub struct Doorbell {
    event: Arc<File>,
}

impl Doorbell {
    /// A doorbell that was not rung.
    ///
    /// # Errors
    /// EMFILE and its kin.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that the kernel just made for us, owned by nobody else.
        Ok(Self { event: Arc::new(unsafe { File::from_raw_fd(descriptor) }) })
    }

    /// Rings. Never blocks: the count would have to reach 2^64 first.
    pub fn ring(&self) {
        (&*self.event).write_all(&1_u64.to_ne_bytes()).expect("an eventfd takes a count");
    }

    /// Takes the count after a poll said that there is one.
    pub fn clear(&self) {
        let mut count = [0; 8];
        (&*self.event).read_exact(&mut count).expect("an eventfd gives its count");
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
