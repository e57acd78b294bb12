//! The system calls that std does not offer: affinity, limits, signals, syncfs.
//!
//! Input: numbers and descriptors.   Output: `io::Result`.
//! Owns: one flag, set by a signal.   Thread: the only one, its signal handler, and the moment
//! between fork and exec of a child.
//! Invariants: what runs in a handler or before exec makes async-signal-safe calls only.

#![allow(unsafe_code, reason = "system calls that the standard library does not wrap")]

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once this program was asked to end.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Makes SIGINT and SIGTERM end the run in an orderly way: servers stopped, files removed.
pub fn stop_on_signal() {
    extern "C" fn remember(_signal: libc::c_int) {
        STOPPED.store(true, Ordering::Relaxed);
    }
    let handler = remember as *const () as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler has the signature that signal(2) wants, lives as long as the program,
        // and does one relaxed atomic store, which is async-signal-safe.
        unsafe { libc::signal(signal, handler) };
    }
}

/// True once a signal asked this program to end.
pub fn is_stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// The child will run on core `cpu` only, lead its own process group, and get SIGTERM should this
/// program die without stopping it.
pub fn prepare_child(command: &mut Command, cpu: usize) {
    // SAFETY: cpu_set_t is an array of integers, for which all zeroes is a value (the empty set).
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    assert!(cpu < mem::size_of_val(&set) * 8, "core {cpu} does not fit the kernel's set");
    // SAFETY: `cpu` is below the number of bits in the set, asserted above.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    command.process_group(0);
    let before_exec = move || {
        // SAFETY: pointer and size are those of `set`; pid 0 is the calling thread.
        check(unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set) })?;
        // SAFETY: this prctl takes an integer.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) })
    };
    // SAFETY: the closure makes two system calls, touches only its own copy of `set`, and makes an
    // io::Error from errno, which does not allocate; so it may run between fork and exec.
    unsafe { command.pre_exec(before_exec) };
}

/// Sends `signal` to a process, or to a process group if `pid` is negative.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    assert!(!(-1..=1).contains(&pid), "0 and -1 would reach processes that others started");
    // SAFETY: kill takes integers; the assertion above keeps it away from strangers.
    check(unsafe { libc::kill(pid, signal) })
}

/// Raises the limit of descriptors as far as allowed and returns it. Children inherit it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives on this stack frame and is written during the call only.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let wanted = DESCRIPTORS_WANTED.max(limit.rlim_max);
    // The hard limit only moves for a privileged process; else the soft one goes up to it.
    for maximum in [wanted, limit.rlim_max] {
        let raised = libc::rlimit { rlim_cur: maximum, rlim_max: maximum };
        // SAFETY: `raised` lives on this stack frame and is read during the call only.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
            return Ok(maximum);
        }
    }
    Err(io::Error::last_os_error())
}

/// Writes all dirty pages of the file system that holds `file`.
pub fn sync_filesystem(file: &File) -> io::Result<()> {
    // SAFETY: takes a descriptor, which `file` keeps open during the call.
    check(unsafe { libc::syncfs(file.as_raw_fd()) })
}

/// Clock ticks per second in `/proc/PID/stat`.
pub fn ticks_per_second() -> f64 {
    // SAFETY: takes and returns integers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    assert!(ticks > 0, "every Linux has this value");
    ticks as f64
}

/// True if this program runs as root.
pub fn is_root() -> bool {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn check(status: i32) -> io::Result<()> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// nginx's cache of 100,000 open files, 20,000 connections, and some.
const DESCRIPTORS_WANTED: u64 = 131_072;
