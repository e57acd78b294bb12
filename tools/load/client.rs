//! The event loop: hands requests to connections and reacts to the kernel.
//!
//! Input: `run`, once.   Output: `Tally`.
//! Owns: all connections, bounded by `--connections` and `--idle`.   Thread: the only one.
//! Invariants: a connection is idle (in `idle`), resting after a refused connect (in `resting`),
//! or busy with one batch; in the closed loop an idle connection exists only after the end.
//! Not here: what a response is (`conn`, `http`), when a request is due (`plan`).
//! Source: coordinated omission: in the open loop latency counts from the intended send time, and
//! connections take due requests in the order in which they became free.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::Options;
use crate::conn::{Conn, Io, Outcome};
use crate::plan::{self, Picker, Requests, Schedule};
use crate::report::{Kind, Tally};
use crate::sys::{self, Clock, Epoll, Event};

/// See the module's text.
#[derive(Debug)]
pub struct Client<'a> {
    addr: SockAddr,
    requests: &'a Requests,
    picker: Picker,
    schedule: Schedule,
    io: Io<'a>,
    epoll: Epoll,
    conns: Vec<Conn>,
    idle: VecDeque<usize>,
    resting: Vec<usize>,
    busy: usize,
    /// Opened and left alone (`--idle`).
    silent: Vec<Socket>,
    tally: Tally,
    batch_max: usize,
    open_loop: bool,
    /// A request that takes longer has failed; also how long the end of a run is waited for.
    timeout_ns: u64,
}

impl<'a> Client<'a> {
    /// Opens the connections; those that fail are tried again during the run.
    pub fn new(
        options: &Options,
        addr: SocketAddr,
        requests: &'a Requests,
        picker: Picker,
        schedule: Schedule,
    ) -> Result<Self> {
        let mut client = Self {
            addr: SockAddr::from(addr),
            requests,
            picker,
            schedule,
            io: Io::new(options, requests, Clock::start()),
            epoll: Epoll::new().context("epoll_create1")?,
            conns: (0..options.connections).map(|_| Conn::default()).collect(),
            idle: VecDeque::with_capacity(options.connections),
            resting: Vec::new(),
            busy: 0,
            silent: Vec::new(),
            tally: Tally::new(),
            batch_max: options.pipeline,
            open_loop: options.rate.is_some(),
            timeout_ns: plan::round(options.timeout * 1e9),
        };
        for _ in 0..options.idle {
            let socket = client.connect_wait();
            client.silent.push(socket.with_context(|| format!("--idle: connecting to {addr}"))?);
        }
        if !options.close {
            for index in 0..options.connections {
                let socket = client.connect_wait();
                let socket = socket.with_context(|| format!("connecting to {addr}"))?;
                client.epoll.add(socket.as_raw_fd(), index, sys::READ).context("epoll_ctl")?;
                client.conns[index].open(socket, true);
            }
        }
        Ok(client)
    }

    /// Runs to the end of the schedule and of the answers.
    pub fn run(mut self) -> Result<Tally> {
        let cpu_before = sys::cpu_time();
        self.io.clock = Clock::start();
        let clock = self.io.clock;
        let give_up_ns = self.schedule.issue_end_ns().saturating_add(self.timeout_ns);
        let mut events = [sys::EVENT_NONE; EVENTS_PER_WAIT];
        let mut check_ns = CHECK_INTERVAL_NS;
        for index in 0..self.conns.len() {
            self.issue(index);
        }
        loop {
            let now_ns = clock.now_ns();
            self.issue_due(now_ns);
            let connects_failed = self.tally.errors(Kind::Connect) >= CONNECT_ERRORS_MAX;
            let over = self.busy == 0 && self.schedule.is_over(now_ns);
            if over || connects_failed || now_ns >= give_up_ns {
                break;
            }
            if now_ns >= check_ns {
                self.check_all(now_ns);
                check_ns = now_ns + CHECK_INTERVAL_NS;
            }
            let wait = self.wait_time(now_ns, check_ns);
            let count = self.epoll.wait(&mut events, wait).context("epoll_pwait2")?;
            for event in &events[..count] {
                self.handle_event(*event);
            }
        }
        self.end(cpu_before);
        Ok(self.tally)
    }

    /// Closes the books: what is still open has failed.
    fn end(&mut self, cpu_before: Duration) {
        let elapsed_ns = self.io.clock.now_ns();
        let pending: usize = self.conns.iter_mut().map(Conn::abandon).sum();
        self.tally.count_error(Kind::Timeout, pending);
        let unsent = usize::try_from(self.schedule.unsent()).expect("a count of requests");
        self.tally.count_error(Kind::Timeout, unsent);
        self.tally.seconds = Duration::from_nanos(elapsed_ns).as_secs_f64();
        self.tally.cpu_seconds = sys::cpu_time().saturating_sub(cpu_before).as_secs_f64();
        self.tally.idle_asked = self.silent.len();
        self.tally.idle_open = self.silent.iter().filter(|socket| is_quiet(socket)).count();
    }

    /// Gives due requests of the open loop to idle connections.
    fn issue_due(&mut self, now_ns: u64) {
        // Bounded: each turn takes a connection out of `idle`, and one that fails goes elsewhere.
        for _ in 0..self.idle.len() {
            if self.schedule.next_due_ns().is_none_or(|due_ns| due_ns > now_ns) {
                return;
            }
            let Some(index) = self.idle.pop_front() else { return };
            self.issue(index);
        }
    }

    /// Gives a free connection its next batch, or lets it be idle.
    fn issue(&mut self, index: usize) {
        let now_ns = self.io.clock.now_ns();
        let Some((count, started_ns)) = self.schedule.take(now_ns, self.batch_max) else {
            if self.open_loop {
                self.idle.push_back(index);
            }
            return;
        };
        self.busy += 1;
        let conn = &mut self.conns[index];
        conn.begin(started_ns, now_ns);
        for _ in 0..count {
            let request = self.picker.pick();
            conn.push(request, self.requests.bytes(request));
        }
        if conn.socket.is_none()
            && let Err(error) = self.reconnect(index)
        {
            // Out of ports or descriptors, or refused at once.
            self.tally.note(&error);
            self.settle(index, Outcome::Failed(Kind::Connect));
            return;
        }
        self.flush(index);
    }

    /// Sends, and watches for room if not everything fits.
    fn flush(&mut self, index: usize) {
        let conn = &mut self.conns[index];
        let watch = match conn.flush() {
            Ok(complete) => !complete,
            Err(kind) => return self.settle(index, Outcome::Failed(kind)),
        };
        if watch == conn.watches_write {
            return;
        }
        conn.watches_write = watch;
        let interest = if watch { sys::READ | sys::WRITE } else { sys::READ };
        let socket = conn.socket.as_ref().expect("issue opened one, and only failure closes it");
        let fd = socket.as_raw_fd();
        self.epoll.modify(fd, index, interest).expect("the descriptor is open and was added");
    }

    fn handle_event(&mut self, event: Event) {
        let index = usize::try_from(event.u64).expect("tokens are indices");
        let bits = event.events;
        if self.conns[index].watches_write && bits & (sys::WRITE | sys::BROKEN) != 0 {
            self.flush(index);
        }
        if bits & (sys::READ | sys::BROKEN) != 0 {
            let outcome = self.conns[index].handle_readable(&mut self.io, &mut self.tally);
            self.settle(index, outcome);
        }
    }

    /// Acts on what happened to a connection.
    fn settle(&mut self, index: usize, outcome: Outcome) {
        let conn = &mut self.conns[index];
        let was_busy = mem::take(&mut conn.busy);
        match outcome {
            Outcome::Waiting => {
                conn.busy = was_busy;
                return;
            }
            Outcome::Done if !conn.close_after => {}
            Outcome::Done | Outcome::Closed => {
                conn.abandon();
            }
            Outcome::Failed(kind) => {
                let pending = conn.abandon();
                // Bytes behind the last answer belong to no pending request, yet are a failure.
                let count = if kind == Kind::Protocol { pending.max(1) } else { pending };
                self.tally.count_error(kind, count);
                if kind == Kind::Connect {
                    self.busy -= 1;
                    self.resting.push(index);
                    return;
                }
            }
        }
        // A connection that ends between two batches stays idle and reconnects when one is due.
        if was_busy {
            self.busy -= 1;
            self.issue(index);
        }
    }

    /// Every 100 ms: timeouts, and another try for refused connections.
    fn check_all(&mut self, now_ns: u64) {
        for index in 0..self.conns.len() {
            let conn = &self.conns[index];
            if conn.pending() > 0 && now_ns.saturating_sub(conn.sent_ns) > self.timeout_ns {
                self.settle(index, Outcome::Failed(Kind::Timeout));
            }
        }
        for index in mem::take(&mut self.resting) {
            self.issue(index);
        }
    }

    fn wait_time(&self, now_ns: u64, check_ns: u64) -> Duration {
        let mut until_ns = check_ns;
        if let Some(due_ns) = self.schedule.next_due_ns().filter(|_| !self.idle.is_empty()) {
            // Waking up takes longer than this: spin through the last bit.
            until_ns = until_ns.min(due_ns.saturating_sub(SPIN_NS));
        }
        Duration::from_nanos(until_ns.saturating_sub(now_ns))
    }

    /// Opens a socket and waits until it is connected.
    fn connect_wait(&self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.socket_addr()), Type::STREAM, None)?;
        socket.connect_timeout(&self.addr, CONNECT_TIME_MAX)?;
        prepare(&socket)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// Begins to connect without waiting; the first send finds out how it went.
    fn reconnect(&mut self, index: usize) -> io::Result<()> {
        let domain = Domain::for_address(self.socket_addr());
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), None)?;
        prepare(&socket)?;
        match socket.connect(&self.addr) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        self.epoll.add(socket.as_raw_fd(), index, sys::READ)?;
        self.conns[index].open(socket, false);
        self.tally.connects += 1;
        Ok(())
    }

    fn socket_addr(&self) -> SocketAddr {
        self.addr.as_socket().expect("made from a SocketAddr")
    }
}

/// Requests leave at once, and without pacing: the kernel's default may be one that paces (BBR),
/// which costs the client CPU time and adds timers to the latency. Answers are the server's affair.
fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // Reno is in every kernel, but a sandbox may refuse the option; then the default serves.
    socket.set_tcp_congestion(b"reno").or(Ok(()))
}

/// True if the server has neither closed nor sent anything.
fn is_quiet(socket: &Socket) -> bool {
    let mut byte = [mem::MaybeUninit::uninit()];
    matches!(socket.peek(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// A connection of the beginning that takes longer has failed.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
const CHECK_INTERVAL_NS: u64 = 100_000_000;
/// Waits end this much early and the rest is spun, since a wake-up costs some microseconds.
const SPIN_NS: u64 = 20_000;
/// A server that refuses this often is down; the run ends.
const CONNECT_ERRORS_MAX: u64 = 1000;
/// Events taken at once; large enough that a busy loop makes few calls, 12 bytes each.
const EVENTS_PER_WAIT: usize = 256;
