//! The thread of who is online: its sockets, its feeds, its file.
//!
//! Input: bytes of clients, batches of hits of the workers, the order to end.
//! Output: replies, what is counted, the snapshot at the end.
//! Owns: the service; connections, bounded by `online.connections_max`, whose requests begun and
//! replies not taken are bounded by `online.connection_bytes_max` together.   Thread: `online`.
//! Invariants: requests of a connection are carried out in order; no client waits for another's
//! replies to be taken; nothing here makes a worker wait.
//! Not here: what requests mean (`online::session`), the queue's other end (`daemon::http::feed`).

pub mod batch;
mod client;
pub mod counters;
pub mod prepare;

use std::fs::{self, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits::{
    COMPLETIONS, LISTEN_BACKLOG, ONLINE_CULL_SLICES, ONLINE_FED_HITS_MAX, ONLINE_LINGER_MS,
    ONLINE_SEND_SECONDS,
};
use crate::online::resp::Arguments;
use crate::online::service::Service;
use crate::online::snapshot::{self, ROW_BYTES_MAX};
use crate::stdx::num::narrow;
use crate::stdx::slab::{Key, Slab};
use crate::sys::buffers::Buffers;
use crate::sys::clock::{Clock, unix_millis};
use crate::sys::outgoing::Outgoing;
use crate::sys::uring::{Completion, Errno, Ring, Socket};
use crate::time::{Duration, Instant};

use super::http::FromWorker;
use super::topology::{ControlLine, OnlineEnds};
use client::Client;
use counters::OnlineCounters;

/// What the thread is told.
#[derive(Clone, Copy, Debug)]
pub enum ToOnline {
    /// Write the snapshot, and end.
    Stop,
}

/// Where clients come in.
#[derive(Debug)]
pub enum Listener {
    /// From the network, or from this box.
    Tcp(TcpListener),
    /// From this box.
    Local(UnixListener),
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(listener) => listener.as_raw_fd(),
            Self::Local(listener) => listener.as_raw_fd(),
        }
    }
}

/// A listener, and what its clients may do.
#[derive(Debug)]
pub struct Door {
    /// Where they come in.
    pub listener: Listener,
    /// Whether they may only ask.
    pub is_read_only: bool,
}

/// What the thread is given when it is started.
pub struct Assignment {
    /// The service, with what an earlier life remembered.
    pub service: Service,
    /// The listeners.
    pub doors: Vec<Door>,
    /// Connections it may have.
    pub connections: usize,
    /// Bytes of requests begun and replies not taken, of all of them.
    pub connection_bytes: u64,
    /// Where the snapshot goes; `None` for nowhere.
    pub snapshot: Option<PathBuf>,
    /// What it counts.
    pub counters: Arc<OnlineCounters>,
    /// Where it is told things.
    pub ends: OnlineEnds,
    /// Where it tells things.
    pub control: ControlLine,
}

/// See the module.
struct Desk {
    ring: Ring,
    service: Service,
    clients: Slab<Client>,
    doors: Vec<Door>,
    /// Whether each door accepts.
    open: Vec<bool>,
    /// The limit of connections is reached.
    is_full: bool,
    connections_max: usize,
    connection_bytes_max: u64,
    next_id: u64,
    now: Instant,
    /// Clients with something to be sent, or whose requests wait for the next turn.
    dirty: Vec<Key>,
    /// Those who watch; some of them may have left.
    watching: Vec<Key>,
    scratch: Arguments,
    /// Emptied batches and buffers for reuse.
    #[expect(clippy::vec_box, reason = "in flight they must not move, and moving them is dear")]
    spare: Vec<Box<Outgoing>>,
    spare_bytes: Vec<Vec<u8>>,
    is_over: bool,
    ends: OnlineEnds,
}

/// How often time limits are looked at, and what is counted is shown.
const SWEEP: Duration = Duration::from_millis(500);

/// How soon the workers' hits are looked for again after some came: nobody rings meanwhile.
const NAP: Duration = Duration::from_millis(1);

/// Spare buffers that are kept, and the largest of them.
const SPARE_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 1 << 20;

/// Serves until told to end. Runs on the calling thread.
pub fn run(assignment: Assignment) {
    let control = assignment.control.clone();
    let word = match serve(assignment) {
        Ok(()) => FromWorker::OnlineEnded,
        Err(error) => FromWorker::OnlineFatal(error),
    };
    control.tell(0, word);
}

fn serve(assignment: Assignment) -> Result<(), String> {
    let (counters, file) = (Arc::clone(&assignment.counters), assignment.snapshot.clone());
    let mut buffers = Buffers::new().map_err(|error| format!("receive buffers: {error}"))?;
    let mut desk = Desk::new(assignment, &buffers)?;
    let clock = Clock::default();
    desk.service.handle_time(clock.now(), unix_millis());
    let mut batch = Vec::with_capacity(COMPLETIONS as usize);
    let mut next_sweep = Instant::default();
    let (mut is_busy, mut was_fed) = (false, false);
    while !desk.is_over {
        let timeout = if is_busy {
            Some(Duration::ZERO)
        } else if was_fed {
            Some(NAP)
        } else if desk.ends.feed.fall_asleep() {
            Some(SWEEP)
        } else {
            Some(Duration::ZERO)
        };
        let waited = desk.ring.submit_and_wait(timeout);
        waited.map_err(|error| format!("io_uring_enter failed: {error}"))?;
        desk.ends.feed.wake_up();
        desk.now = clock.now();
        desk.service.handle_time(desk.now, unix_millis());
        let culls_on = (0..ONLINE_CULL_SLICES).all(|_| desk.service.cull());
        desk.ring.take(&mut batch);
        for entry in batch.drain(..) {
            let completion = desk.ring.complete(&entry);
            desk.handle(completion, &mut buffers);
        }
        let fed = desk.take_feed();
        was_fed = fed > 0;
        desk.hand_out_lines();
        let goes_on = desk.run_dirty();
        is_busy = goes_on || culls_on || fed >= ONLINE_FED_HITS_MAX;
        if desk.now >= next_sweep {
            next_sweep = desk.now.after(SWEEP);
            desk.sweep();
            counters.take(&desk.service);
        }
    }
    while desk.take_feed() > 0 {}
    match file {
        None => Ok(()),
        // Whoever stops a box wants it to end: what is lost is who was online.
        Some(file) => {
            match write_snapshot(&file, &snapshot::emit(&desk.service)) {
                Ok(()) => log::info!("online.snapshot: {} users", desk.service.index().count()),
                Err(error) => log::error!("online.snapshot: {}: {error}", file.display()),
            }
            Ok(())
        }
    }
}

/// Writes `bytes` so that `path` has all of them or what it had before. Only the daemon's user may
/// read it: users' names may be what their sessions are known by.
fn write_snapshot(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // One that a crash left may be anybody's to read.
    drop(fs::remove_file(&beside));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        // What is left of it is of no use, and it may not even be there.
        drop(fs::remove_file(&beside));
    }
    written
}

/// Has `service` remember what an earlier life wrote to `path`; nothing where there is none, or
/// where it is no good, which is said.
pub fn read_snapshot(path: &Path, service: &mut Service) {
    let rows_max = u64::from(service.options().index.rows_max);
    let bytes_max = rows_max.saturating_mul(ROW_BYTES_MAX as u64).saturating_add(64);
    let read = fs::metadata(path).and_then(|found| match found.len() > bytes_max {
        true => Err(io::Error::other("it is larger than online.users_max allows; remove it")),
        false => fs::read(path),
    });
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => log::warn!("online.snapshot: {}: {error}", path.display()),
        Ok(bytes) => match snapshot::parse(&bytes, service) {
            Ok(rows) => log::info!(
                "online.snapshot: {rows} users written, {} of them still online",
                service.index().count()
            ),
            Err(error) => log::warn!("online.snapshot: {}: {error}", path.display()),
        },
    }
}

impl Desk {
    fn new(assignment: Assignment, buffers: &Buffers) -> Result<Self, String> {
        let spare = LISTEN_BACKLOG as usize * assignment.doors.len();
        let capacity = assignment.connections + spare;
        let ring = Ring::new(narrow(capacity), buffers).map_err(|error| error.to_string())?;
        let mut desk = Self {
            ring,
            service: assignment.service,
            clients: Slab::new(capacity),
            open: vec![false; assignment.doors.len()],
            doors: assignment.doors,
            is_full: false,
            connections_max: assignment.connections,
            connection_bytes_max: assignment.connection_bytes,
            next_id: 0,
            now: Instant::default(),
            dirty: Vec::new(),
            watching: Vec::new(),
            scratch: Arguments::default(),
            spare: Vec::new(),
            spare_bytes: Vec::new(),
            is_over: false,
            ends: assignment.ends,
        };
        desk.ring.listen_for(&desk.ends.doorbell);
        desk.accept();
        Ok(desk)
    }

    /// Accepts wherever it does not already.
    fn accept(&mut self) {
        for (number, door) in self.doors.iter().enumerate() {
            if !self.open[number] {
                self.open[number] = true;
                self.ring.accept(narrow(number), &door.listener);
            }
        }
    }

    fn handle(&mut self, completion: Completion, buffers: &mut Buffers) {
        match completion {
            Completion::Accepted { listener, result, more } => {
                self.handle_accepted(listener as usize, result, more);
            }
            Completion::Received { conn, received, more } => {
                self.handle_received(conn, received, more, buffers);
            }
            Completion::Sent { conn, outgoing, result } => self.handle_sent(conn, outgoing, result),
            Completion::Rung => {
                self.ring.listen_for(&self.ends.doorbell);
                if let Ok(ToOnline::Stop) = self.ends.inbox.try_recv() {
                    self.is_over = true;
                }
            }
            _ => {}
        }
    }

    fn handle_accepted(&mut self, door: usize, result: Result<Socket, Errno>, more: bool) {
        self.open[door] = more;
        let mut is_troubled = false;
        match result {
            Ok(socket) => self.admit(door, socket),
            Err(Errno(libc::ECANCELED)) => {}
            // ENFILE, ENOMEM: the next sweep tries again; at once it would fail again.
            Err(error) => {
                is_troubled = true;
                log::debug!("online: accept failed: {}", io::Error::from(error));
            }
        }
        if self.clients.len() >= self.connections_max {
            if !self.is_full {
                self.is_full = true;
                for number in 0..self.doors.len() {
                    self.ring.cancel_accept(narrow(number));
                }
            }
        } else if !is_troubled && !self.is_full {
            self.accept();
        }
    }

    fn admit(&mut self, door: usize, socket: Socket) {
        self.next_id += 1;
        self.service.traffic.accepted += 1;
        let is_read_only = self.doors[door].is_read_only;
        let client = Client::new(socket, self.next_id, is_read_only, &self.service);
        let Ok(id) = self.clients.insert(client) else {
            self.ring.close_unarmed(socket);
            return;
        };
        self.service.traffic.connections = self.clients.len() as u64;
        self.receive(id);
    }

    fn close(&mut self, id: Key) {
        let Some(mut client) = self.clients.remove(id) else { return };
        client.session.handle_end(&mut self.service);
        self.service.traffic.connection_bytes -= client.accounted;
        self.ring.close(client.socket);
        self.recycle_bytes(client.input);
        self.recycle_bytes(client.output);
        self.service.traffic.connections = self.clients.len() as u64;
        if self.is_full && self.clients.len() < self.connections_max {
            self.is_full = false;
            self.accept();
        }
    }

    /// Applies what the workers have handed over, `ONLINE_FED_HITS_MAX` hits or a little more.
    /// Returns how many there were.
    fn take_feed(&mut self) -> usize {
        let mut hits = 0;
        while hits < ONLINE_FED_HITS_MAX {
            let Some(batch) = self.ends.feed.take() else { break };
            hits += batch.len();
            self.service.feed(batch.hits());
            self.ends.feed.give_back(batch);
        }
        self.service.traffic.feed_dropped = self.ends.feed.dropped();
        hits
    }

    fn sweep(&mut self) {
        if !self.is_full {
            self.accept();
        }
        let patience = Duration::from_secs(ONLINE_SEND_SECONDS);
        let linger = Duration::from_millis(ONLINE_LINGER_MS);
        for index in 0..self.clients.slot_count() {
            let Some((id, client)) = self.clients.slot(index) else { continue };
            if client.in_flight > 0 && self.now.since(client.progress) >= patience {
                self.service.traffic.slow_closed += 1;
                self.close(id);
            } else if client.parted.is_some_and(|parted| self.now.since(parted) >= linger) {
                self.close(id);
            }
        }
    }

    fn recycle_bytes(&mut self, mut bytes: Vec<u8>) {
        let is_of_use = (1..=SPARE_BYTES_MAX).contains(&bytes.capacity());
        if is_of_use && self.spare_bytes.len() < SPARE_MAX {
            bytes.clear();
            self.spare_bytes.push(bytes);
        }
    }

    fn recycle(&mut self, mut outgoing: Box<Outgoing>) {
        let is_of_use = outgoing.own().capacity() <= SPARE_BYTES_MAX;
        if is_of_use && self.spare.len() < SPARE_MAX {
            outgoing.reset();
            self.spare.push(outgoing);
        }
    }
}
