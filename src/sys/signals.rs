//! Signals as bytes to read, instead of interruptions (signalfd(2)).
//!
//! Thread: blocked in main before any other thread starts, read by control.
//! Not here: what each signal asks for (`daemon::control`).

#![expect(unsafe_code, reason = "signal sets have no wrapper in the standard library")]

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _};

/// What an operator or a supervisor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The descriptor that signals are read from.
#[derive(Debug)]
pub struct Signals {
    source: File,
}

impl Signals {
    /// Blocks SIGTERM, SIGINT and SIGHUP in this thread and those it starts, and SIGPIPE for good.
    ///
    /// # Errors
    /// Those of signalfd(2).
    pub fn block() -> io::Result<Self> {
        // SAFETY: sigset_t is a C structure of integers, for which all-zero is valid.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            // SAFETY: `set` is a valid set, and the signal a valid number.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        // SAFETY: `set` is valid; the old mask is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: `set` is valid for the call.
        let descriptor = unsafe { libc::signalfd(-1, &raw const set, flags) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that the kernel just made for us, owned by nobody else.
        Ok(Self { source: unsafe { File::from_raw_fd(descriptor) } })
    }

    /// The next signal that came in, if any.
    pub fn take(&mut self) -> Option<Signal> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        self.source.read_exact(&mut record).ok()?;
        // The first field of the record is the number (signalfd(2)).
        let number = u32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
        if i32::try_from(number) == Ok(libc::SIGHUP) {
            return Some(Signal::Reload);
        }
        Some(Signal::Stop)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}
