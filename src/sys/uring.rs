//! A worker's io_uring: what is submitted, what completes, and who owns the memory in between.
//!
//! Input: operations; each that points at memory takes it over. Output: `Completion` values, which
//!  hand it back.   Owns: everything in flight, bounded by the caller's connections and files.
//! Thread: the worker that made it (single issuer, deferred task run).
//! Invariants: memory that the kernel was pointed at is in `in_flight` until its completion; if the
//! ring is dropped before that, the memory is leaked. User data is `kind:8 | generation:24 |
//! index:32`, so that a late completion finds a stale key and touches nobody else's state.
//! Not here: what to do with a completion (`daemon::http`).
//! Source: io_uring_setup(2), io_uring_enter(2); kernel 6.1 is the oldest with deferred task run.

#![expect(unsafe_code, reason = "submissions hold pointers; see the invariants")]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use io_uring::squeue::Flags;
use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed, OpenHow, SubmitArgs, Timespec};
use io_uring::{IoUring, Submitter, cqueue, opcode, squeue};
use socket2::SockAddr;

use crate::limits::{COMPLETIONS, KERNEL_WORKERS_MAX, SUBMISSIONS};
use crate::stdx::num::{count, index, narrow};
use crate::stdx::slab::{GENERATION_BITS, Key, Slab};
use crate::time::Duration;

use super::buffers::{Buffer, Buffers, GROUP, List};
use super::event::Doorbell;
use super::lent::{self, Lent};
use super::mapping::Mapping;
use super::outgoing::{Message, Outgoing};
use super::probe::{self, Unsupported};

/// A connected socket in the ring's own table of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket(u32);

/// An error number of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl From<Errno> for io::Error {
    fn from(error: Errno) -> Self {
        Self::from_raw_os_error(error.0)
    }
}

/// What one receive brought.
#[derive(Debug)]
pub enum Received {
    /// Bytes, in a buffer that must be given back.
    Bytes(Buffer),
    /// The peer will send no more.
    End,
    /// No buffer was free; arm again.
    NoBuffer,
    /// The connection is broken, or the receive was cancelled.
    Failed(Errno),
}

/// An operation that is over.
#[expect(missing_docs, reason = "each variant's text says what its fields are")]
pub enum Completion {
    /// A connection came in at `listener`. `more`: further ones will, without arming again.
    Accepted { listener: u32, result: Result<Socket, Errno>, more: bool },
    /// Something arrived. `more`: further receives follow without arming again.
    Received { conn: Key, received: Received, more: bool },
    /// A send took that many bytes.
    Sent { conn: Key, outgoing: Box<Outgoing>, result: Result<usize, Errno> },
    /// The socket takes bytes again.
    Writable { conn: Key },
    /// The socket has an ordinary descriptor now as well.
    Installed { conn: Key, result: Result<OwnedFd, Errno> },
    /// A file was opened, or was not.
    Opened { tag: Key, result: Result<File, Errno> },
    /// A piece of a mapping is resident, or could not be made so.
    PagedIn { tag: Key, result: Result<(), Errno> },
    /// A socket was made, to be connected; or was not.
    SocketMade { tag: Key, result: Result<Socket, Errno> },
    /// A socket is connected, or is not.
    Connected { tag: Key, result: Result<(), Errno> },
    /// A receive into memory of the caller's ended; `Ok(0)` is the end of the stream, and ENOBUFS
    /// says that nothing was lent.
    Filled { tag: Key, buffer: Vec<u8>, result: Result<usize, Errno> },
    /// A request to an origin was sent as far as the socket takes it.
    RequestSent { tag: Key, outgoing: Box<Outgoing>, result: Result<usize, Errno> },
    /// A part of a file was read; `Ok(0)` is its end.
    FileRead { tag: Key, buffer: Vec<u8>, result: Result<usize, Errno> },
    /// A file's extended attribute was read, or there is none.
    AttributeRead { tag: Key, file: File, result: Result<Vec<u8>, Errno> },
    /// The doorbell was rung.
    Rung,
    /// Nothing that anybody waits for.
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Accept = 1,
    Receive,
    Writable,
    Install,
    Doorbell,
    /// The key's index is the socket's number.
    Shutdown,
    FillLent,
    /// The key is one of `in_flight`, which knows the rest.
    Held,
    Ignored,
}

/// Memory that the kernel was pointed at.
enum Held {
    Send { conn: Key, outgoing: Box<Outgoing> },
    Open { tag: Key, _path: CString, _how: Box<OpenHow> },
    PageIn { tag: Key, _mapping: Rc<Mapping> },
    NewSocket { tag: Key },
    Connect { tag: Key, _address: Box<SockAddr> },
    Fill { tag: Key, buffer: Vec<u8> },
    Request { tag: Key, outgoing: Box<Outgoing> },
    ReadFile { tag: Key, buffer: Vec<u8>, _file: Arc<File> },
    Attribute { tag: Key, file: File, buffer: Vec<u8> },
}

/// A worker's ring.
pub struct Ring {
    uring: IoUring,
    in_flight: Slab<Held>,
    lent: ManuallyDrop<Lent>,
    /// What the doorbell's count is read into; never freed (see `Drop`).
    rung: Box<u64>,
    early_submits: u64,
    /// Sockets whose shutdown is under way, and how each is to be closed after it. Kernels look a
    /// shutdown's socket up late; closed before, its number might be a new connection's by then.
    /// Few: only connections that were refused have one.
    shutdowns: Vec<(Socket, Option<Closing>)>,
}

#[derive(Clone, Copy)]
enum Closing {
    Armed,
    Unarmed,
}

impl Ring {
    /// Sets a ring up with a table of `sockets` connections, and registers `buffers`.
    ///
    /// # Errors
    /// What the kernel lacks or forbids, with the remedy.
    pub fn new(sockets: u32, buffers: &Buffers) -> Result<Self, Unsupported> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(COMPLETIONS)
            .dontfork()
            .build(SUBMISSIONS)
            .map_err(|error| Unsupported::setup(&error))?;
        probe::check(&uring)?;
        let submitter = uring.submitter();
        submitter
            .register_files_sparse(sockets)
            .map_err(|error| Unsupported::registration("table of connections", &error))?;
        let lent = Lent::new().map_err(|error| Unsupported::registration("buffers", &error))?;
        register(&submitter, buffers.list(), GROUP)?;
        register(&submitter, lent.list(), lent::GROUP)?;
        submitter
            .register_iowq_max_workers(&mut [KERNEL_WORKERS_MAX, KERNEL_WORKERS_MAX])
            .map_err(|error| Unsupported::registration("bound on kernel workers", &error))?;
        let in_flight = Slab::new(usize::MAX);
        Ok(Self {
            uring,
            in_flight,
            lent: ManuallyDrop::new(lent),
            rung: Box::new(0),
            early_submits: 0,
            shutdowns: Vec::new(),
        })
    }

    /// Submits everything and waits for a completion, or for `timeout`. One system call.
    ///
    /// # Errors
    /// Those of io_uring_enter(2) that are not a matter of time or of a signal.
    pub fn submit_and_wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let result = match timeout {
            None => self.uring.submit_and_wait(1),
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                let args = SubmitArgs::new().timespec(&timeout);
                self.uring.submitter().submit_with_args(1, &args)
            }
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // EBUSY: completions overflowed; they are taken next, then it goes on.
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Moves all raw completions to the end of `batch`.
    pub fn take(&mut self, batch: &mut Vec<cqueue::Entry>) {
        batch.extend(self.uring.completion());
    }

    /// Whether `install` works here.
    #[must_use]
    pub fn can_install(&self) -> bool {
        probe::can_install(&self.uring)
    }

    /// How often the submission queue was full and had to be submitted early.
    #[must_use]
    pub const fn early_submits(&self) -> u64 {
        self.early_submits
    }

    /// Takes connections at `listener` (an ordinary descriptor) until cancelled.
    pub fn accept(&mut self, listener: u32, socket: &impl AsRawFd) {
        let key = Key { index: listener, generation: 0 };
        let entry = opcode::AcceptMulti::new(Fd(socket.as_raw_fd()))
            .allocate_file_index(true)
            .flags(libc::SOCK_NONBLOCK)
            .build();
        self.push(entry, Kind::Accept, key);
    }

    /// Takes no more connections at `listener`.
    pub fn cancel_accept(&mut self, listener: u32) {
        let target = user_data(Kind::Accept, Key { index: listener, generation: 0 });
        self.push(opcode::AsyncCancel::new(target).build(), Kind::Ignored, NO_KEY);
    }

    /// Receives on `socket` until cancelled, out of buffers, or at the end.
    pub fn receive(&mut self, conn: Key, socket: Socket) {
        let entry = opcode::RecvMulti::new(Fixed(socket.0), GROUP).build();
        self.push(entry, Kind::Receive, conn);
    }

    /// Receives once on `socket`: nothing has to be cancelled if the connection ends after it.
    pub fn receive_once(&mut self, conn: Key, socket: Socket) {
        let entry = opcode::Recv::new(Fixed(socket.0), std::ptr::null_mut(), 0).buf_group(GROUP);
        self.push(entry.build().flags(Flags::BUFFER_SELECT), Kind::Receive, conn);
    }

    /// Stops receiving; what had arrived still completes.
    pub fn cancel_receive(&mut self, conn: Key) {
        let target = user_data(Kind::Receive, conn);
        self.push(opcode::AsyncCancel::new(target).build(), Kind::Ignored, NO_KEY);
    }

    /// Sends what is left of `outgoing`, as much as the socket takes.
    pub fn send(&mut self, conn: Key, socket: Socket, outgoing: Box<Outgoing>) {
        let key = self.hold(Held::Send { conn, outgoing });
        let Some(Held::Send { outgoing, .. }) = self.in_flight.find_mut(key) else {
            unreachable!("held one line up");
        };
        let entry = send_entry(socket, outgoing);
        self.push(entry, Kind::Held, key);
    }

    /// Completes once `socket` takes bytes again.
    pub fn poll_writable(&mut self, conn: Key, socket: Socket) {
        let events = u32::try_from(libc::POLLOUT).expect("a small constant");
        self.push(opcode::PollAdd::new(Fixed(socket.0), events).build(), Kind::Writable, conn);
    }

    /// Gives `socket` an ordinary descriptor as well (Linux 6.8).
    pub fn install(&mut self, conn: Key, socket: Socket) {
        self.push(opcode::FixedFdInstall::new(Fixed(socket.0), 0).build(), Kind::Install, conn);
    }

    /// Says that nothing more is sent on `socket`; receiving goes on.
    pub fn shut_down_sending(&mut self, socket: Socket) {
        let entry = opcode::Shutdown::new(Fixed(socket.0), libc::SHUT_WR).build();
        self.shutdowns.push((socket, None));
        self.push(entry, Kind::Shutdown, Key { index: socket.0, generation: 0 });
    }

    /// Cancels everything on `socket` and closes it. A direct descriptor with an armed receive does
    /// not close by itself, so the two are linked.
    pub fn close(&mut self, socket: Socket) {
        if self.is_put_off(socket, Closing::Armed) {
            return;
        }
        self.make_room(2);
        let cancel = CancelBuilder::fd(Fixed(socket.0)).all();
        let entry = opcode::AsyncCancel2::new(cancel).build().flags(Flags::IO_HARDLINK);
        self.push(entry, Kind::Ignored, NO_KEY);
        self.push(opcode::Close::new(Fixed(socket.0)).build(), Kind::Ignored, NO_KEY);
    }

    /// Closes `socket`, on which nothing is armed or in flight.
    pub fn close_unarmed(&mut self, socket: Socket) {
        if self.is_put_off(socket, Closing::Unarmed) {
            return;
        }
        self.push(opcode::Close::new(Fixed(socket.0)).build(), Kind::Ignored, NO_KEY);
    }

    /// Whether closing `socket` has to wait for its shutdown.
    fn is_put_off(&mut self, socket: Socket, closing: Closing) -> bool {
        let pending = self.shutdowns.iter_mut().find(|(other, _)| *other == socket);
        pending.map(|(_, put_off)| *put_off = Some(closing)).is_some()
    }

    fn complete_shutdown(&mut self, socket: Socket) {
        let Some(at) = self.shutdowns.iter().position(|(other, _)| *other == socket) else {
            return;
        };
        match self.shutdowns.swap_remove(at).1 {
            Some(Closing::Armed) => self.close(socket),
            Some(Closing::Unarmed) => self.close_unarmed(socket),
            None => {}
        }
    }

    /// Closes `file`; where its file system has to flush, on a thread of the kernel.
    pub fn close_file(&mut self, file: File) {
        let entry = opcode::Close::new(Fd(file.into_raw_fd())).build();
        self.push(entry, Kind::Ignored, NO_KEY);
    }

    /// Opens `path`, a name below `root`, for reading. Symbolic links are followed below the root
    /// if `links`, and refused (ELOOP) if not; nothing above the root is ever reached (openat2(2),
    /// RESOLVE_BENEATH). `may_wait`: what is opened may ask a server even where its name is in
    /// memory, so that it is left to a thread of the kernel from the start.
    pub fn open(&mut self, tag: Key, root: &OwnedFd, path: CString, links: bool, may_wait: bool) {
        const BENEATH: u64 = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;
        let resolve = if links { BENEATH } else { BENEATH | libc::RESOLVE_NO_SYMLINKS };
        // O_NONBLOCK: opening a named pipe must not wait for its other end.
        let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
        let flags = u64::try_from(flags).expect("open flags are positive");
        let how = Box::new(OpenHow::new().flags(flags).resolve(resolve));
        let (path_address, how_address) = (path.as_ptr(), &raw const *how);
        let key = self.hold(Held::Open { tag, _path: path, _how: how });
        let entry = opcode::OpenAt2::new(Fd(root.as_raw_fd()), path_address, how_address).build();
        let flags = if may_wait { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        self.push(entry.flags(flags), Kind::Held, key);
    }

    /// Makes a socket that can be connected to `address`.
    pub fn make_socket(&mut self, tag: Key, address: SocketAddr) {
        let domain = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
        let key = self.hold(Held::NewSocket { tag });
        let entry = opcode::Socket::new(domain, kind, 0)
            .file_index(Some(DestinationSlot::auto_target()))
            .build();
        self.push(entry, Kind::Held, key);
    }

    /// Connects `socket` to `address`.
    pub fn connect(&mut self, tag: Key, socket: Socket, address: SocketAddr) {
        let address = Box::new(SockAddr::from(address));
        let (pointer, len) = (address.as_ptr().cast(), address.len());
        let key = self.hold(Held::Connect { tag, _address: address });
        let entry = opcode::Connect::new(Fixed(socket.0), pointer, len).build();
        self.push(entry, Kind::Held, key);
    }

    /// Receives on `socket` into what `buffer` has room for behind its bytes. `is_early`: nothing
    /// is likely to be there yet, so the kernel does not look before it waits.
    ///
    /// # Panics
    /// If it has no room.
    pub fn fill(&mut self, tag: Key, socket: Socket, buffer: Vec<u8>, is_early: bool) {
        let room = buffer.capacity() - buffer.len();
        assert!(room > 0, "a receive needs room");
        let key = self.hold(Held::Fill { tag, buffer });
        let Some(Held::Fill { buffer, .. }) = self.in_flight.find_mut(key) else {
            unreachable!("held one line up");
        };
        let pointer = buffer.spare_capacity_mut().as_mut_ptr().cast();
        let entry = opcode::Recv::new(Fixed(socket.0), pointer, narrow(room)).build();
        let entry = if is_early { with_byte(entry, PRIORITY_AT, POLL_FIRST) } else { entry };
        self.push(entry, Kind::Held, key);
    }

    /// Receives on `socket` into a buffer that was lent, once there is something. `is_early`: as
    /// above.
    pub fn fill_lent(&mut self, tag: Key, socket: Socket, is_early: bool) {
        let entry = opcode::Recv::new(Fixed(socket.0), std::ptr::null_mut(), 0);
        let entry = entry.buf_group(lent::GROUP).build().flags(Flags::BUFFER_SELECT);
        let entry = if is_early { with_byte(entry, PRIORITY_AT, POLL_FIRST) } else { entry };
        self.push(entry, Kind::FillLent, tag);
    }

    /// How many buffers can be lent for that.
    #[must_use]
    pub fn lent_wanted(&self) -> usize {
        self.lent.wanted()
    }

    /// Lends an empty buffer.
    ///
    /// # Panics
    /// If it is not empty or has no room, or if none is wanted.
    pub fn lend(&mut self, buffer: Vec<u8>) {
        self.lent.lend(buffer);
    }

    /// Sends what is left of a request to an origin.
    pub fn send_request(&mut self, tag: Key, socket: Socket, outgoing: Box<Outgoing>) {
        let key = self.hold(Held::Request { tag, outgoing });
        let Some(Held::Request { outgoing, .. }) = self.in_flight.find_mut(key) else {
            unreachable!("held one line up");
        };
        let entry = send_entry(socket, outgoing);
        self.push(entry, Kind::Held, key);
    }

    /// Reads from `file` at `offset` into what `buffer` has room for.
    pub fn read_file(&mut self, tag: Key, file: &Arc<File>, offset: u64, buffer: Vec<u8>) {
        let (fd, room) = (file.as_raw_fd(), narrow(buffer.capacity() - buffer.len()));
        let key = self.hold(Held::ReadFile { tag, buffer, _file: Arc::clone(file) });
        let Some(Held::ReadFile { buffer, .. }) = self.in_flight.find_mut(key) else {
            unreachable!("held one line up");
        };
        let pointer = buffer.spare_capacity_mut().as_mut_ptr().cast();
        let entry = opcode::Read::new(Fd(fd), pointer, room).offset(offset).build();
        self.push(entry, Kind::Held, key);
    }

    /// Reads the extended attribute `name` of `file`, of at most `len_max` bytes, on a thread of
    /// the kernel (fgetxattr(2), Linux 5.19).
    pub fn read_attribute(&mut self, tag: Key, file: File, name: &'static CStr, len_max: usize) {
        let fd = file.as_raw_fd();
        let key = self.hold(Held::Attribute { tag, file, buffer: Vec::with_capacity(len_max) });
        let Some(Held::Attribute { buffer, .. }) = self.in_flight.find_mut(key) else {
            unreachable!("held one line up");
        };
        let pointer = buffer.spare_capacity_mut().as_mut_ptr().cast();
        // FGETXATTR has the fields of STATX: descriptor, name, where to, length.
        let entry = opcode::Statx::new(Fd(fd), name.as_ptr(), pointer).mask(narrow(len_max));
        self.push(with_byte(entry.build(), CODE_AT, FGETXATTR), Kind::Held, key);
    }

    /// Makes `range` (page-aligned start) of `mapping` resident, on a thread of the kernel.
    ///
    /// # Panics
    /// If the range is not within the mapping.
    pub fn page_in(&mut self, tag: Key, mapping: &Rc<Mapping>, range: &std::ops::Range<u64>) {
        let (start, end) = (index(range.start), index(range.end));
        assert!(start < end && end <= mapping.len(), "a range of the mapping");
        // SAFETY: `start` is within the mapping.
        let address = unsafe { mapping.address().add(start) };
        let len = i64::try_from(end - start).expect("a chunk is small");
        let key = self.hold(Held::PageIn { tag, _mapping: Rc::clone(mapping) });
        let entry = opcode::Madvise::new(address.cast(), len, MADV_POPULATE_READ).build();
        self.push(entry, Kind::Held, key);
    }

    /// Completes as `Rung` when `doorbell` is rung; arm again afterwards.
    pub fn listen_for(&mut self, doorbell: &Doorbell) {
        let entry =
            opcode::Read::new(Fd(doorbell.as_raw_fd()), (&raw mut *self.rung).cast(), 8).build();
        self.push(entry, Kind::Doorbell, NO_KEY);
    }

    /// Says what a raw completion means, and takes back the memory it held.
    pub fn complete(&mut self, entry: &cqueue::Entry) -> Completion {
        let (user_data, result) = (entry.user_data(), entry.result());
        let more = cqueue::more(entry.flags());
        let key = key_of(user_data);
        match user_data >> KIND_SHIFT {
            kind if kind == Kind::Accept as u64 => {
                let result = check(result).map(|slot| Socket(narrow(slot)));
                Completion::Accepted { listener: key.index, result, more }
            }
            kind if kind == Kind::Receive as u64 => {
                Completion::Received { conn: key, received: received(entry), more }
            }
            kind if kind == Kind::Writable as u64 => Completion::Writable { conn: key },
            kind if kind == Kind::Install as u64 => {
                // SAFETY: a descriptor that the kernel just made for us, owned by nobody else.
                let owned = check(result).map(|_| unsafe { OwnedFd::from_raw_fd(result) });
                Completion::Installed { conn: key, result: owned }
            }
            kind if kind == Kind::Doorbell as u64 => Completion::Rung,
            kind if kind == Kind::Shutdown as u64 => {
                self.complete_shutdown(Socket(key.index));
                Completion::Nothing
            }
            kind if kind == Kind::FillLent as u64 => {
                let id = cqueue::buffer_select(entry.flags());
                let mut buffer = id.map(|id| self.lent.take(id)).unwrap_or_default();
                let result = filled(&mut buffer, result);
                Completion::Filled { tag: key, buffer, result }
            }
            kind if kind == Kind::Held as u64 => self.complete_held(key, result),
            _ => Completion::Nothing,
        }
    }

    fn complete_held(&mut self, key: Key, result: i32) -> Completion {
        match self.in_flight.remove(key).expect("held operations complete once") {
            Held::Send { conn, outgoing } => {
                Completion::Sent { conn, outgoing, result: check(result) }
            }
            Held::Open { tag, .. } => {
                // SAFETY: a descriptor that the kernel just opened for us, owned by nobody else.
                let file = check(result).map(|_| unsafe { File::from_raw_fd(result) });
                Completion::Opened { tag, result: file }
            }
            Held::PageIn { tag, .. } => {
                Completion::PagedIn { tag, result: check(result).map(drop) }
            }
            Held::NewSocket { tag } => {
                let result = check(result).map(|slot| Socket(narrow(slot)));
                Completion::SocketMade { tag, result }
            }
            Held::Connect { tag, .. } => {
                Completion::Connected { tag, result: check(result).map(drop) }
            }
            Held::Fill { tag, mut buffer } => {
                let result = filled(&mut buffer, result);
                Completion::Filled { tag, buffer, result }
            }
            Held::Request { tag, outgoing } => {
                Completion::RequestSent { tag, outgoing, result: check(result) }
            }
            Held::ReadFile { tag, mut buffer, .. } => {
                let result = filled(&mut buffer, result);
                Completion::FileRead { tag, buffer, result }
            }
            Held::Attribute { tag, file, mut buffer } => {
                let result = filled(&mut buffer, result).map(|_| buffer);
                Completion::AttributeRead { tag, file, result }
            }
        }
    }

    fn hold(&mut self, held: Held) -> Key {
        match self.in_flight.insert(held) {
            Ok(key) => key,
            Err(_) => unreachable!("the slab's own bound is never reached"),
        }
    }

    fn push(&mut self, entry: squeue::Entry, kind: Kind, key: Key) {
        self.make_room(1);
        let entry = entry.user_data(user_data(kind, key));
        // SAFETY: every pointer in `entry` leads to memory that `in_flight`, `rung` or the caller's
        // contract (`Buffers`) keeps valid until the completion; `lent` lives as long as the ring.
        let pushed = unsafe { self.uring.submission().push(&entry) };
        pushed.expect("room was made one line up");
    }

    /// Submits early where fewer than `entries` places are left.
    fn make_room(&mut self, entries: usize) {
        let queue = self.uring.submission();
        let full = queue.capacity() - queue.len() < entries;
        drop(queue);
        if full {
            self.early_submits += 1;
            // The queue is empty afterwards: SUBMIT_ALL goes on past entries that fail. Where the
            // call itself fails (ENOMEM), the next push panics, and the supervisor restarts us.
            drop(self.uring.submit());
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel may still work on these: they are leaked, not freed, as `lent` is.
        std::mem::forget(std::mem::replace(&mut self.in_flight, Slab::new(0)));
        std::mem::forget(std::mem::take(&mut self.rung));
    }
}

/// Lets the ring receive into the buffers of `list`.
fn register(submitter: &Submitter<'_>, list: &List, group: u16) -> Result<(), Unsupported> {
    // SAFETY: the list is page-aligned, has that many entries, and its memory is never given back
    // (`List`), nor is that of the buffers in it while a ring has them (`Buffers`, `Ring::lent`).
    unsafe { submitter.register_buf_ring_with_flags(list.address(), list.count(), group, 0) }
        .map_err(|error| Unsupported::registration("receive buffers", &error))
}

/// One send of what is left of `outgoing`.
fn send_entry(socket: Socket, outgoing: &mut Outgoing) -> squeue::Entry {
    let (flags, message) = outgoing.message();
    match message {
        Message::Run(address, len) => {
            opcode::Send::new(Fixed(socket.0), address, narrow(len)).flags(flags).build()
        }
        Message::Header(header) => {
            let flags = u32::try_from(flags).expect("message flags are positive");
            opcode::SendMsg::new(Fixed(socket.0), header).flags(flags).build()
        }
    }
}

/// Says that the kernel wrote into `buffer`'s room, as its result tells.
fn filled(buffer: &mut Vec<u8>, result: i32) -> Result<usize, Errno> {
    let count = check(result)?;
    assert!(count <= buffer.capacity() - buffer.len(), "the kernel keeps to the room it was given");
    // SAFETY: the kernel wrote that many bytes behind the buffer's own, within its capacity.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok(count)
}

/// The operation FGETXATTR (linux/io_uring.h), which the crate has no type for.
pub(super) const FGETXATTR: u8 = 43;

/// Where a submission has its operation code, and the low byte of `ioprio`, which holds the flags
/// of a receive (linux/io_uring.h).
const CODE_AT: usize = 0;
const PRIORITY_AT: usize = 2;

/// IORING_RECVSEND_POLL_FIRST, which the crate's receive has no place for; Linux 5.19.
const POLL_FIRST: u8 = 1;

/// The same submission with another byte.
fn with_byte(entry: squeue::Entry, at: usize, byte: u8) -> squeue::Entry {
    const _: () = assert!(size_of::<squeue::Entry>() == 64);
    // SAFETY: an entry is the kernel's 64-byte structure of integers (`repr(C)`, the size is
    // asserted), so that any value of any of its bytes is valid.
    unsafe {
        let mut bytes: [u8; 64] = std::mem::transmute(entry);
        bytes[at] = byte;
        std::mem::transmute(bytes)
    }
}

/// madvise(2): fault all pages in for reading; Linux 5.14.
const MADV_POPULATE_READ: i32 = 22;

const KIND_SHIFT: u32 = 32 + GENERATION_BITS;
const NO_KEY: Key = Key { index: 0, generation: 0 };

const fn user_data(kind: Kind, key: Key) -> u64 {
    (kind as u64) << KIND_SHIFT | (key.generation as u64) << 32 | key.index as u64
}

fn key_of(user_data: u64) -> Key {
    let generation = (user_data >> 32) & ((1 << GENERATION_BITS) - 1);
    Key { index: narrow32(user_data), generation: narrow32(generation) }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn narrow32(value: u64) -> u32 {
    value as u32
}

fn received(entry: &cqueue::Entry) -> Received {
    match check(entry.result()) {
        Err(Errno(libc::ENOBUFS)) => Received::NoBuffer,
        Err(error) => Received::Failed(error),
        Ok(len) => match cqueue::buffer_select(entry.flags()) {
            Some(id) => Received::Bytes(Buffer::new(id, len)),
            None => Received::End,
        },
    }
}

fn check(result: i32) -> Result<usize, Errno> {
    if result < 0 { Err(Errno(-result)) } else { Ok(count(result)) }
}
