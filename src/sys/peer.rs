//! Who is at the other end of a Unix socket, as the kernel recorded it when the two met.
//!
//! Thread: control.
//! Not here: what whom is allowed (`daemon::control_socket`), binding (`sys::local`).
//! Source: unix(7), socket(7): SO_PEERCRED; SO_PEERGROUPS since Linux 4.13.

#![expect(unsafe_code, reason = "peer credentials have no wrapper in the standard library")]

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

use crate::stdx::num::{index, narrow};

/// A process as it was when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its number; 0 where it is in another PID namespace.
    pub pid: i32,
    /// Its further groups.
    groups: Vec<u32>,
}

/// Groups that are asked for at first: users have a few. The kernel says how many there are.
const GROUPS: usize = 32;

impl Peer {
    /// Whoever is at the other end of `socket`.
    ///
    /// # Errors
    /// Those of getsockopt(2), none of which a connected Unix socket gives on the kernels that
    /// peerage runs on.
    pub fn of(socket: &UnixStream) -> io::Result<Self> {
        let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut len = narrow(size_of::<libc::ucred>());
        // SAFETY: the descriptor is open for the call; the kernel writes at most `len` bytes, which
        // is the size of what `credentials` points to, and any bytes are a valid ucred.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut credentials).cast(),
                &raw mut len,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let groups = groups_of(socket)?;
        Ok(Self { uid: credentials.uid, gid: credentials.gid, pid: credentials.pid, groups })
    }

    /// Whether it is in the group `gid`, by its effective group or one of the others.
    #[must_use]
    pub fn is_in(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

fn groups_of(socket: &UnixStream) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; GROUPS];
    // Twice: what the kernel recorded does not change, so the length it asks for is enough.
    for _ in 0..2 {
        let mut len = narrow(size_of_val(&groups[..]));
        // SAFETY: the descriptor is open for the call; the kernel writes at most `len` bytes, which
        // is the size of what `groups` holds, and any bytes are valid numbers.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        let error = io::Error::last_os_error();
        groups.resize(index(len.into()) / size_of::<u32>(), 0);
        match (result, error.raw_os_error()) {
            (0.., _) => return Ok(groups),
            (_, Some(libc::ERANGE)) => {}
            _ => return Err(error),
        }
    }
    Err(io::ErrorKind::Other.into())
}

/// The effective user of this process.
#[must_use]
pub fn own_uid() -> u32 {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oneself_is_recognized() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.uid, own_uid());
        assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());
        assert!(peer.is_in(peer.gid));
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let groups: Vec<u32> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        assert!(groups.iter().all(|gid| peer.is_in(*gid)), "{groups:?} {peer:?}");
        assert!(!peer.is_in(u32::MAX));
    }
}
