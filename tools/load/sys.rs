//! The system calls that std and socket2 do not offer: epoll, affinity, limits, CPU time.
//!
//! Input: descriptors, buffers.   Output: `io::Result`.
//! Owns: the epoll descriptor.   Thread: any.
//! Invariants: no pointer outlives the call that it is passed to.
//! Not here: reading and writing sockets, which socket2 does safely (`conn`).

#![allow(unsafe_code, reason = "system calls that the standard library does not wrap")]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

/// One ready descriptor, as the kernel reports it.
pub type Event = libc::epoll_event;

/// An event with nothing in it, to fill the array that `Epoll::wait` writes to.
pub const EVENT_NONE: Event = Event { events: 0, u64: 0 };

/// Bits of an event.
pub const READ: u32 = bits(libc::EPOLLIN);
/// Writable.
pub const WRITE: u32 = bits(libc::EPOLLOUT);
/// Failed or hung up; reported whether asked for or not.
pub const BROKEN: u32 = bits(libc::EPOLLERR | libc::EPOLLHUP);

/// A level-triggered epoll instance.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// A new instance.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer; the result is checked below.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        check(fd)?;
        // SAFETY: epoll_create1 has just returned this descriptor and nobody else holds it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Watches `fd` for `interest`; its events carry `token`. Closing the socket ends the watch.
    pub fn add(&self, fd: RawFd, token: usize, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    /// Changes what `fd` is watched for.
    pub fn modify(&self, fd: RawFd, token: usize, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    /// Waits at most `timeout` and returns how many of `events` were filled.
    pub fn wait(&self, events: &mut [Event], timeout: Duration) -> io::Result<usize> {
        let capacity = i32::try_from(events.len()).expect("the array of events is small");
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).expect("timeouts are seconds"),
            tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
        };
        let fd = self.fd.as_raw_fd();
        // SAFETY: `events` is exclusively borrowed and holds `capacity` entries; `timeout` lives on
        // this stack frame; a null signal mask means that the mask is left alone.
        let count = unsafe {
            libc::epoll_pwait2(fd, events.as_mut_ptr(), capacity, &raw const timeout, ptr::null())
        };
        match usize::try_from(count) {
            Ok(count) => Ok(count),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }

    fn control(&self, operation: i32, fd: RawFd, token: usize, interest: u32) -> io::Result<()> {
        let token = u64::try_from(token).expect("usize is at most 64 bits");
        let mut event = Event { events: interest, u64: token };
        // SAFETY: `event` lives on this stack frame and the kernel copies it during the call; a
        // wrong descriptor is an error code, not undefined behaviour.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &raw mut event) })
    }
}

/// Pins the calling thread to one core.
pub fn pin_thread(cpu: usize) -> io::Result<()> {
    let cores = usize::try_from(libc::CPU_SETSIZE).expect("a positive constant");
    if cpu >= cores {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: cpu_set_t is an array of integers, for which all zeroes is a value (the empty set).
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `cpu` is below CPU_SETSIZE, the number of bits in the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the pointer and the size are those of `set`; pid 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set) })
}

/// Lets timers fire on time: by default the kernel may be 50 us late, more than a small answer
/// takes.
pub fn timer_slack_min() {
    let slack_ns: libc::c_ulong = 1;
    // SAFETY: this prctl takes an integer. It cannot fail; if it did, latencies would be higher.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack_ns) };
}

/// Raises the soft limit of descriptors to the hard one and returns it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives on this stack frame and is written during the call only.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` lives on this stack frame and is read during the call only.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

/// CPU time of this process, user and system.
pub fn cpu_time() -> Duration {
    // SAFETY: rusage is a struct of integers, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: `usage` lives on this stack frame and is written during the call only.
    let status = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    assert_eq!(status, 0, "getrusage of the own process fails for a bad pointer only");
    [usage.ru_utime, usage.ru_stime]
        .iter()
        .map(|time| {
            let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
            let micros = u64::try_from(time.tv_usec).expect("CPU time is not negative");
            Duration::from_secs(seconds) + Duration::from_micros(micros)
        })
        .sum()
}

/// Nanoseconds since the run began.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that reads zero now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The present time.
    pub fn now_ns(&self) -> u64 {
        let elapsed = self.start.elapsed();
        elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos())
    }
}

fn check(status: i32) -> io::Result<()> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const fn bits(flags: i32) -> u32 {
    flags.cast_unsigned()
}
