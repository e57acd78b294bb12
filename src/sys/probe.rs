//! What the kernel must be able to do, and what to do about it where it cannot.
//!
//! Thread: any, at start.
//! Not here: using it (`sys::uring`).

use std::fmt;
use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::uring::FGETXATTR;

/// Something that peerage needs and this machine does not give, with the remedy.
#[derive(Debug)]
pub struct Unsupported {
    what: String,
    remedy: &'static str,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for Unsupported {}

impl Unsupported {
    /// A ring could not be made at all.
    #[must_use]
    pub fn setup(error: &io::Error) -> Self {
        let remedy = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                "allow it: `sysctl kernel.io_uring_disabled=0`, and in a container a seccomp \
                 profile that lets io_uring_setup, io_uring_enter and io_uring_register through"
            }
            Some(libc::ENOSYS) => {
                "run a kernel built with CONFIG_IO_URING, 6.1 or newer; in a container, a seccomp \
                 profile that lets io_uring_* through"
            }
            Some(libc::EINVAL) => "run Linux 6.1 or newer (deferred task run is missing)",
            Some(libc::ENOMEM) => {
                "raise the limit of locked memory: LimitMEMLOCK=infinity, or `ulimit -l unlimited`"
            }
            Some(libc::EMFILE | libc::ENFILE) => "raise the limit of open files: LimitNOFILE=",
            _ => "see io_uring_setup(2)",
        };
        Self { what: format!("io_uring_setup failed: {error}"), remedy }
    }

    /// Something could not be registered with a ring.
    #[must_use]
    pub fn registration(what: &str, error: &io::Error) -> Self {
        let remedy = match error.raw_os_error() {
            Some(libc::EMFILE) => {
                "raise the limit of open files (LimitNOFILE=, `ulimit -n`), or lower \
                 limits.connections_per_worker"
            }
            Some(libc::ENOMEM) => {
                "raise the limit of locked memory: LimitMEMLOCK=infinity, or `ulimit -l unlimited`"
            }
            Some(libc::EINVAL) => "run Linux 6.1 or newer",
            _ => "see io_uring_register(2)",
        };
        Self { what: format!("io_uring_register of the {what} failed: {error}"), remedy }
    }
}

/// Every operation that a worker cannot do without.
const REQUIRED: [(u8, &str); 14] = [
    (opcode::AcceptMulti::CODE, "ACCEPT"),
    (opcode::RecvMulti::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::AsyncCancel2::CODE, "ASYNC_CANCEL"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::Shutdown::CODE, "SHUTDOWN"),
    (opcode::OpenAt2::CODE, "OPENAT2"),
    (opcode::Madvise::CODE, "MADVISE"),
    (opcode::Read::CODE, "READ"),
    (opcode::Socket::CODE, "SOCKET"),
    (opcode::Connect::CODE, "CONNECT"),
    (FGETXATTR, "FGETXATTR"),
];

/// Checks that the ring's kernel knows every operation that is needed.
///
/// # Errors
/// The list of those it does not know.
pub fn check(uring: &IoUring) -> Result<(), Unsupported> {
    let mut probe = Probe::new();
    uring
        .submitter()
        .register_probe(&mut probe)
        .map_err(|error| Unsupported::registration("probe", &error))?;
    missing(|code| probe.is_supported(code))
}

fn missing(is_supported: impl Fn(u8) -> bool) -> Result<(), Unsupported> {
    let names: Vec<&str> =
        REQUIRED.iter().filter(|(code, _)| !is_supported(*code)).map(|(_, name)| *name).collect();
    if names.is_empty() {
        return Ok(());
    }
    let what = format!("io_uring lacks the operations {}", names.join(", "));
    let remedy =
        "run Linux 6.1 or newer; in a container, check that no io_uring restriction is set";
    Err(Unsupported { what, remedy })
}

/// Whether the kernel can give a direct descriptor an ordinary one as well (Linux 6.8). Without it
/// large bodies go the same way as small ones.
#[must_use]
pub fn can_install(uring: &IoUring) -> bool {
    let mut probe = Probe::new();
    uring.submitter().register_probe(&mut probe).is_ok()
        && probe.is_supported(opcode::FixedFdInstall::CODE)
}

/// The same of this kernel, before any worker has a ring; where no ring can be made, its worker
/// will say why.
#[must_use]
pub fn kernel_can_install() -> bool {
    IoUring::new(2).map_or(true, |uring| can_install(&uring))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        let error = missing(|code| code != opcode::OpenAt2::CODE).expect_err("one is missing");
        let text = error.to_string();
        assert!(text.contains("OPENAT2") && text.contains("6.1"), "{text}");
        assert!(missing(|_| true).is_ok());
    }

    #[test]
    fn refusals_name_the_knob() {
        let table = [
            (libc::EPERM, "kernel.io_uring_disabled"),
            (libc::ENOSYS, "seccomp"),
            (libc::EINVAL, "6.1"),
            (libc::ENOMEM, "MEMLOCK"),
        ];
        for (error, word) in table {
            let text = Unsupported::setup(&io::Error::from_raw_os_error(error)).to_string();
            assert!(text.contains(word), "{text}");
        }
    }
}
