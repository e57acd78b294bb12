//! Listeners, and what is done with an ordinary descriptor of a connection.
//!
//! Thread: listeners are made at start; the rest on the worker that owns the connection.
//! Not here: operations through the ring (`sys::uring`).

#![expect(unsafe_code, reason = "sendfile and poll have no wrapper in the standard library")]

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::limits::LISTEN_BACKLOG;
use crate::stdx::num::index;
use crate::time::Duration;

/// Listens at `address`. `shared`: several listeners may share it, and the kernel spreads the
/// connections over them (SO_REUSEPORT).
///
/// # Errors
/// Those of socket(2), bind(2) and listen(2).
pub fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two listeners, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(true)?;
    }
    // Accepted connections inherit it: a response is one send, and must not wait for an ACK.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(LISTEN_BACKLOG).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Has connections that `listener` accepts probe whether the other end is still there: one that
/// only reads would not find out.
///
/// # Errors
/// None that is known.
pub fn keep_alive(listener: &TcpListener) -> io::Result<()> {
    let probes = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE);
    SockRef::from(listener).set_tcp_keepalive(&probes)
}

/// How long nothing is heard of the other end before it is asked, and between two questions.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// The address at the other end.
///
/// # Errors
/// ENOTCONN where the connection is already gone.
pub fn peer_address(socket: &OwnedFd) -> io::Result<IpAddr> {
    let address = SockRef::from(socket).peer_addr()?;
    address.as_socket().map(|address| address.ip()).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Hands up to `len` bytes of `file` from `offset` on to `socket` without copying them. Returns how
/// many the socket took; 0 means that the file ends before `offset`.
///
/// # Errors
/// EAGAIN where the socket is full; those of sendfile(2).
pub fn send_file(socket: &OwnedFd, file: &File, offset: u64, len: u64) -> io::Result<u64> {
    let mut offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let (out, input) = (socket.as_raw_fd(), file.as_raw_fd());
    // SAFETY: both descriptors are open for the call; the kernel writes only to `offset`.
    let sent = unsafe { libc::sendfile(out, input, &raw mut offset, index(len)) };
    u64::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Which of `sources` can be read (or are closed or broken), after waiting for `timeout` at most.
///
/// # Errors
/// Those of poll(2); a signal is no error.
pub fn wait_readable(
    sources: &[(BorrowedFd<'_>, bool)],
    timeout: Duration,
) -> io::Result<Vec<bool>> {
    let mut polls: Vec<libc::pollfd> = sources
        .iter()
        .map(|(source, writes)| libc::pollfd {
            fd: source.as_raw_fd(),
            events: if *writes { libc::POLLOUT } else { libc::POLLIN },
            revents: 0,
        })
        .collect();
    let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let len = libc::nfds_t::try_from(polls.len()).unwrap_or(0);
    // SAFETY: `polls` holds `len` entries, each with a descriptor borrowed for the call.
    let result = unsafe { libc::poll(polls.as_mut_ptr(), len, timeout) };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        return Ok(vec![false; sources.len()]);
    }
    Ok(polls.iter().map(|poll| poll.revents != 0).collect())
}
