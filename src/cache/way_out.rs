//! How a body leaves the box without being copied in user space.
//!
//! Thread: any, pure.
//! Not here: doing it (`daemon::http`), knowing what is resident (`cache::residency`).
//! Source: figures of `bench/results/static.md`, section "where the ways out cross".

/// The ways there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// One gathered send of our head and the file's mapping: the fewest calls.
    Gather,
    /// The head first, then sendfile(2): page-cache pages go to the socket uncopied. One more
    /// system call, which a copy of a large body costs more than.
    Sendfile,
}

/// What the choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// Bytes of the file that this response sends.
    pub body_bytes: u64,
    /// Bytes of bodies that the worker sent since it last sent this file, itself included: an upper
    /// bound of the reuse distance. `u64::MAX` where it never did.
    pub reuse_bytes: u64,
    /// Whether the file's descriptor was kept open (there is a budget of descriptors).
    pub file_open: bool,
    /// Whether the socket can have a descriptor of its own (Linux 6.8, and the same budget).
    pub socket_open: bool,
}

/// Bodies of at least this many bytes may leave by sendfile. Below it the copy through the socket
/// buffer is cheaper than the second call and the pages' bookkeeping, whatever is in the caches.
pub const SENDFILE_BYTES_MIN: u64 = 32 * 1024;

/// Bodies of at least this many bytes leave by sendfile even if the file was just sent: copies of
/// such in all the sockets push everything else out of the caches. What a copy costs differs
/// between machines: 1 MiB copied took 0.72 of sendfile's time on one, 1.24 on another.
pub const SENDFILE_ALWAYS_BYTES_MIN: u64 = 64 * 1024;

/// A file that was sent within this many bytes lies in the processor's caches: copying a body that
/// is not large is cheaper then than counting references to its pages, which all cores fight for. A
/// quarter of a last level cache of 32 MiB; the rest is for the copies in the sockets.
pub const REUSE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Chooses the way for one body.
#[must_use]
pub const fn choose(body: Circumstances) -> WayOut {
    let pays = if body.reuse_bytes > REUSE_BYTES_MAX {
        body.body_bytes >= SENDFILE_BYTES_MIN
    } else {
        body.body_bytes >= SENDFILE_ALWAYS_BYTES_MIN
    };
    if pays && body.file_open && body.socket_open { WayOut::Sendfile } else { WayOut::Gather }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_circumstances() {
        const FAR: u64 = REUSE_BYTES_MAX + 1;
        let table = [
            (1, FAR, true, true, WayOut::Gather),
            (SENDFILE_BYTES_MIN - 1, FAR, true, true, WayOut::Gather),
            (SENDFILE_BYTES_MIN, FAR, true, true, WayOut::Sendfile),
            (SENDFILE_BYTES_MIN, REUSE_BYTES_MAX, true, true, WayOut::Gather),
            (SENDFILE_ALWAYS_BYTES_MIN - 1, REUSE_BYTES_MAX, true, true, WayOut::Gather),
            (SENDFILE_ALWAYS_BYTES_MIN, REUSE_BYTES_MAX, true, true, WayOut::Sendfile),
            (SENDFILE_ALWAYS_BYTES_MIN, 0, true, true, WayOut::Sendfile),
            (SENDFILE_ALWAYS_BYTES_MIN, 0, false, true, WayOut::Gather),
            (u64::MAX, u64::MAX, true, true, WayOut::Sendfile),
            (u64::MAX, u64::MAX, false, true, WayOut::Gather),
            (u64::MAX, u64::MAX, true, false, WayOut::Gather),
        ];
        for (body_bytes, reuse_bytes, file_open, socket_open, expected) in table {
            let body = Circumstances { body_bytes, reuse_bytes, file_open, socket_open };
            assert_eq!(choose(body), expected, "{body:?}");
        }
    }
}
