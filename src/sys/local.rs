//! A Unix socket at a path: listening there, and telling a dead one from a living one.
//!
//! Thread: main, at start; any for connecting.
//! Not here: who connects (`sys::peer`).

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Why nobody listens there, with the remedy.
#[derive(Debug)]
pub enum LocalError {
    /// Another process does.
    InUse(PathBuf),
    /// Something else than a socket is there.
    NotSocket(PathBuf),
    /// The kernel refuses, while doing this.
    Refused(PathBuf, &'static str, io::Error),
}

impl fmt::Display for LocalError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                out,
                "{}: another process answers there; stop it, or name another path",
                path.display()
            ),
            Self::NotSocket(path) => write!(
                out,
                "{}: what is there is no socket; move it away, or name another path",
                path.display()
            ),
            Self::Refused(path, what, error) => {
                let remedy = match error.kind() {
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                        "let the daemon's user write to the directory (RuntimeDirectory= in the \
                         systemd unit), or name a path where it may"
                    }
                    io::ErrorKind::InvalidInput => "a path of a socket has at most 107 bytes",
                    _ => "name another path",
                };
                write!(out, "{}: cannot {what}: {error}; {remedy}", path.display())
            }
        }
    }
}

impl std::error::Error for LocalError {}

/// Listens at `path`, non-blocking. A socket file that a dead process left is removed first, a
/// missing directory is made.
///
/// Anybody may connect (mode 0666, whatever the umask): what one may do is decided by who one is,
/// as the kernel tells it, and not by the file.
///
/// # Errors
/// Each with path and remedy.
pub fn listen_at(path: &Path) -> Result<UnixListener, LocalError> {
    let refused = |what| move |error| LocalError::Refused(path.to_owned(), what, error);
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
        && !parent.exists()
    {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
        // Again, since the umask took bits away.
        made.and_then(|()| fs::set_permissions(parent, Permissions::from_mode(0o755)))
            .map_err(refused("make its directory"))?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(LocalError::NotSocket(path.to_owned()));
        }
        Ok(_) if answers(path).map_err(refused("ask who is there"))? => {
            return Err(LocalError::InUse(path.to_owned()));
        }
        Ok(_) => fs::remove_file(path).map_err(refused("remove the socket of a dead process"))?,
        // Where it cannot be looked at, bind says why.
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(refused("listen"))?;
    fs::set_permissions(path, Permissions::from_mode(0o666)).map_err(refused("open it to all"))?;
    listener.set_nonblocking(true).map_err(refused("use it"))?;
    Ok(listener)
}

/// Whether a process listens at `path`. Never waits.
fn answers(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            // Its queue is full: somebody is there, however slow.
            io::ErrorKind::WouldBlock => Ok(true),
            io::ErrorKind::ConnectionRefused => Ok(false),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_dead_are_replaced_and_the_living_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/control.sock");
        let first = listen_at(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o666, 0o755));
        let error = listen_at(&path).unwrap_err().to_string();
        assert!(error.contains("another process answers there"), "{error}");
        assert!(UnixStream::connect(&path).is_ok());
        drop(first);
        assert!(UnixStream::connect(&path).is_err());
        let _second = listen_at(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "x").unwrap();
        let error = listen_at(&path).unwrap_err().to_string();
        assert!(error.contains("no socket") && error.contains("file"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn long_paths_and_files_for_directories_are_explained() {
        let directory = tempfile::tempdir().unwrap();
        let error = listen_at(&directory.path().join("x".repeat(150))).unwrap_err().to_string();
        assert!(error.contains("107 bytes"), "{error}");
        fs::write(directory.path().join("file"), "x").unwrap();
        let error = listen_at(&directory.path().join("file/y/sock")).unwrap_err().to_string();
        assert!(error.contains("cannot make its directory"), "{error}");
    }
}
