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
    /// Whether the file's descriptor was kept open (there is a budget of descriptors).
    pub file_open: bool,
    /// Whether the socket can have a descriptor of its own (Linux 6.8, and the same budget).
    pub socket_open: bool,
}

/// Bodies of at least this many bytes leave by sendfile. Below it the copy through the socket
/// buffer is cheaper than the second call and the pages' bookkeeping.
pub const SENDFILE_BYTES_MIN: u64 = 64 * 1024;

/// Chooses the way for one body.
#[must_use]
pub const fn choose(body: Circumstances) -> WayOut {
    if body.body_bytes >= SENDFILE_BYTES_MIN && body.file_open && body.socket_open {
        WayOut::Sendfile
    } else {
        WayOut::Gather
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_circumstances() {
        let table = [
            (1, true, true, WayOut::Gather),
            (SENDFILE_BYTES_MIN - 1, true, true, WayOut::Gather),
            (SENDFILE_BYTES_MIN, true, true, WayOut::Sendfile),
            (u64::MAX, true, true, WayOut::Sendfile),
            (u64::MAX, false, true, WayOut::Gather),
            (u64::MAX, true, false, WayOut::Gather),
        ];
        for (body_bytes, file_open, socket_open, expected) in table {
            let body = Circumstances { body_bytes, file_open, socket_open };
            assert_eq!(choose(body), expected, "{body:?}");
        }
    }
}
