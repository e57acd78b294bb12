//! The process's limits, and its word to systemd.
//!
//! Thread: main, at start; control.
//! Not here: becoming another user (`sys::user`).

#![expect(unsafe_code, reason = "resource limits have no wrapper in the standard library")]

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Raises the soft limit of open files to the hard one, and returns it.
///
/// # Errors
/// Those of getrlimit(2) and setrlimit(2).
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit to a place that holds one.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads one rlimit.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// Has the allocator keep what it was given back, up to 64 MiB a thread, and take 1 MiB at once:
/// bodies that come from origins would have it ask the kernel for each (n = 1,000 misses: 0.9
/// mprotect(2) each before, none after).
pub fn keep_memory() {
    // SAFETY: mallopt(3) takes two integers and changes the allocator's own parameters.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 20);
        libc::mallopt(libc::M_TOP_PAD, 1 << 20);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}

/// How many mappings a process may have (`vm.max_map_count`); the kernel's default if it is not
/// readable.
#[must_use]
pub fn map_count_max() -> u64 {
    const KERNEL_DEFAULT: u64 = 65_530;
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(KERNEL_DEFAULT)
}

/// Memory that this process may use, in bytes: the machine's, or its control group's where that is
/// less; `u64::MAX` where neither is readable.
#[must_use]
pub fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let machine = kib.map_or(u64::MAX, |kib| kib.saturating_mul(1024));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let limit = own
        .and_then(|path| std::fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max")).ok())
        .and_then(|text| text.trim().parse().ok());
    machine.min(limit.unwrap_or(u64::MAX))
}

/// A number that no stranger can guess, for hashing what strangers choose.
#[must_use]
pub fn random_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    // The standard library seeds this from the kernel's generator.
    RandomState::new().hash_one(0)
}

/// Tells systemd (`sd_notify(3)`), if it asked to be told. Errors are nobody's business: a daemon
/// must not fail because its supervisor does not listen.
pub fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let bytes = path.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    if let Ok(address) = address {
        drop(socket.send_to_addr(state.as_bytes(), &address));
    }
}
