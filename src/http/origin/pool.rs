//! The connections to one origin: which of them a request takes, and which address is tried next.
//!
//! Input: requests (`handle_request`, `handle_cancel`), what became of connections (`handle_*`),
//! time.   Output: `poll_action` until `None`; the thread that owns the sockets carries it out.
//! Owns: up to `connections_max` connections per address, up to `waiters_max` waiting requests and
//! those that a failed connection gave back, which were bounded by it.
//! Thread: any, pure.
//! Invariants: an address never has more connections than allowed; every request ends in exactly
//! one `Send` that is not retried, one `Refuse`, or a cancellation; a request tries an address at
//! most once, and is sent again at most once, on a new connection; one that is not idempotent is
//! sent once, on a new connection, since a kept one may be closed just then.
//! Not here: the connection itself and its timeouts (`http::origin::Conn`), sockets (`daemon`), one
//! fetch for many waiters (`cache`).
//! Source: RFC 9112 sections 9.3, 9.3.1 and 9.5; RFC 9110 section 9.2.2.
//!
//! ```text
//!   request --> kept connection, or room for a new one, at an address that is up? -- no --> wait
//!                  |                                                                         |
//!                 yes: least busy address, its last used kept connection first        or refuse
//!                  |
//!   answered ------+--> kept, for the next that waits
//!   no connection -+--> the next address that was not tried; none left: refuse
//!   closed before any byte, kept, idempotent --> once more, on a new connection
//! ```

use std::collections::VecDeque;

use crate::limits::{ORIGIN_ADDRESSES_MAX, ORIGIN_CONNECTIONS_MAX, ORIGIN_WAITERS_MAX};
use crate::stdx::slab::{Key, Slab};
use crate::time::{Duration, Instant};

use super::health::{Health, HealthOptions, Standing};

const _: () = assert!(ORIGIN_ADDRESSES_MAX <= 16, "the tried addresses are 16 bits");

/// Bounds on a pool, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most connections to one address, at least 1; at the bound requests wait.
    pub connections_max: usize,
    /// Most of them that are kept idle; beyond, a connection is closed after its answer.
    pub idle_max: usize,
    /// How long one is kept idle. Shorter than the origin's own time, or requests meet its close.
    pub idle_timeout: Duration,
    /// Requests after which a connection is closed.
    pub requests_per_connection: u32,
    /// Most requests that wait; beyond, they are refused.
    pub waiters_max: usize,
    /// How long a request waits for a connection; then it is refused.
    pub wait_timeout: Duration,
    /// When an address is down.
    pub health: HealthOptions,
}

/// One address of the origin: its place in the configuration, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressId(pub usize);

/// One connection, as the pool names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId(pub Key);

/// One request, as the caller names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

/// What the owner of the sockets has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect `conn`; then `handle_connected` or `handle_connect_failed`.
    Connect {
        /// The connection to make.
        conn: ConnId,
        /// Where to.
        address: AddressId,
    },
    /// Send the request on `conn`; then `handle_head` and `handle_done`.
    Send {
        /// The connection to use.
        conn: ConnId,
        /// What to send.
        request: RequestId,
    },
    /// Close `conn`, of which the pool knows nothing any more.
    Close {
        /// The connection to close.
        conn: ConnId,
    },
    /// The request gets no answer from this origin.
    Refuse {
        /// The request.
        request: RequestId,
        /// Why.
        refusal: Refusal,
    },
}

/// Why a request gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Every address is down.
    Down,
    /// All connections are in use, and as many requests wait as may.
    Busy,
    /// It waited too long for a connection.
    Timeout,
    /// No address took a connection.
    Connect,
    /// The origin closed without any answer, on a new connection too or where a request may not be
    /// sent twice.
    Unanswered,
}

/// How a request ended on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered whole, and the connection may be used again (`Conn::is_reusable`).
    Kept,
    /// Answered whole; the connection is closed.
    Closed,
    /// Given up by us (nobody wants the answer any more); the connection is closed.
    Cancelled,
    /// Failed, by `http::origin::Error`; the connection is closed. The caller tells its client.
    Failed,
    /// Closed before any byte of the answer; the connection is closed. The pool sends the request
    /// once more, or refuses it.
    Unanswered,
}

/// A request that has not been answered.
#[derive(Clone, Copy, Debug)]
struct Ask {
    id: RequestId,
    is_idempotent: bool,
    since: Instant,
    /// A bit per address that took no connection from it.
    tried: u16,
    is_retry: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Being made, for this request unless it was cancelled.
    Connect(Option<Ask>),
    Busy(Ask),
    Idle {
        since: Instant,
    },
}

#[derive(Debug)]
struct Conn {
    address: usize,
    state: State,
    requests: u32,
    is_probe: bool,
}

#[derive(Debug, Default)]
struct Address {
    health: Health,
    /// Connections in any state.
    open: usize,
    /// The idle ones, the longest idle first.
    idle: Vec<ConnId>,
}

impl Address {
    /// Whether a request can go to it, on a kept connection or in the place of one at worst.
    fn has_room(&self, connections_max: usize) -> bool {
        !self.idle.is_empty() || self.open < connections_max
    }
}

/// Where a request can go.
enum Choice {
    Kept(ConnId),
    New(usize),
    Wait,
    Nowhere,
}

/// The connections to one origin.
pub struct Pool {
    options: Options,
    addresses: Vec<Address>,
    conns: Slab<Conn>,
    waiting: VecDeque<Ask>,
    actions: VecDeque<Action>,
}

impl Pool {
    /// A pool without connections for an origin of `addresses` addresses.
    ///
    /// # Panics
    /// If there is no address, more than `ORIGIN_ADDRESSES_MAX`, or a bound beyond its limit; the
    /// configuration refuses all of these.
    #[must_use]
    pub fn new(addresses: usize, options: Options) -> Self {
        assert!((1..=ORIGIN_ADDRESSES_MAX).contains(&addresses), "1 to 16 addresses");
        assert!((1..=ORIGIN_CONNECTIONS_MAX).contains(&options.connections_max), "connections");
        assert!(options.waiters_max <= ORIGIN_WAITERS_MAX, "waiting requests");
        Self {
            options,
            addresses: (0..addresses).map(|_| Address::default()).collect(),
            conns: Slab::new(addresses * options.connections_max),
            waiting: VecDeque::new(),
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// A request wants a connection. `is_idempotent` tells whether it may be sent twice.
    pub fn handle_request(&mut self, now: Instant, id: RequestId, is_idempotent: bool) {
        self.place(now, Ask { id, is_idempotent, since: now, tried: 0, is_retry: false });
    }

    /// Nobody wants `id` any more. Its connection, if it has one that is made, is closed.
    pub fn handle_cancel(&mut self, now: Instant, id: RequestId) {
        self.waiting.retain(|ask| ask.id != id);
        let holds = |conn: &Conn| match conn.state {
            State::Connect(ask) => ask.is_some_and(|ask| ask.id == id),
            State::Busy(ask) => ask.id == id,
            State::Idle { .. } => false,
        };
        let mut slots = (0..self.conns.slot_count()).filter_map(|index| self.conns.slot(index));
        let Some((key, _)) = slots.find(|(_, conn)| holds(conn)) else { return };
        let Some(conn) = self.conns.find_mut(key) else { return };
        if let State::Connect(ask) = &mut conn.state {
            // The next request may have it.
            *ask = None;
            return;
        }
        self.actions.push_back(Action::Close { conn: ConnId(key) });
        self.handle_done(now, ConnId(key), Outcome::Cancelled);
    }

    /// `id` is connected.
    pub fn handle_connected(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.find_mut(id.0) else { return };
        match conn.state {
            State::Connect(Some(ask)) => self.send(id, ask),
            State::Connect(None) => {
                // That a connection is taken is no sign yet of an origin that answers.
                self.void_probe(now, id);
                self.keep(now, id);
                self.serve_waiting(now);
            }
            State::Busy(_) | State::Idle { .. } => {}
        }
    }

    /// `id` could not be connected, or not in time.
    pub fn handle_connect_failed(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.remove(id) else { return };
        self.fail(now, conn.address);
        if let State::Connect(Some(mut ask)) = conn.state {
            ask.tried |= 1 << conn.address;
            self.place(now, ask);
        }
        self.serve_waiting(now);
    }

    /// The head of the answer came on `id`: its address lives, however long the body takes.
    pub fn handle_head(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.find_mut(id.0) else { return };
        conn.is_probe = false;
        let health = &mut self.addresses[conn.address].health;
        let was_up = health.standing(now) == Standing::Up;
        health.handle_success();
        if !was_up {
            self.serve_waiting(now);
        }
    }

    /// The request on `id` has ended.
    pub fn handle_done(&mut self, now: Instant, id: ConnId, outcome: Outcome) {
        let Some(conn) = self.conns.find(id.0) else { return };
        let State::Busy(ask) = conn.state else { return };
        let requests = conn.requests;
        match outcome {
            Outcome::Kept => {
                self.handle_head(now, id);
                self.keep(now, id);
            }
            Outcome::Closed => {
                self.handle_head(now, id);
                self.remove(id);
            }
            Outcome::Cancelled => {
                self.void_probe(now, id);
                self.remove(id);
            }
            Outcome::Failed => {
                self.end_badly(now, id, &ask);
            }
            Outcome::Unanswered => {
                if requests > 1 && ask.is_idempotent {
                    self.remove(id);
                    // RFC 9112 9.3.1: an idle connection was closed just when it was used; others
                    // kept as long have met the same end, so a new one is made.
                    self.place(now, Ask { is_retry: true, ..ask });
                } else {
                    self.end_badly(now, id, &ask);
                    self.refuse(ask.id, Refusal::Unanswered);
                }
            }
        }
        self.serve_waiting(now);
    }

    /// A request had no whole answer. That speaks against the address, unless it may be the
    /// request's own fault: what clients post is theirs, and some of it is meant to be taken badly.
    fn end_badly(&mut self, now: Instant, id: ConnId, ask: &Ask) {
        if ask.is_idempotent {
            if let Some(address) = self.conns.find(id.0).map(|conn| conn.address) {
                self.remove(id);
                self.fail(now, address);
            }
        } else {
            self.void_probe(now, id);
            self.remove(id);
        }
    }

    /// The origin closed the idle connection `id`, or sent bytes on it that nobody asked for.
    pub fn handle_closed(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.find(id.0) else { return };
        match conn.state {
            State::Idle { .. } => drop(self.remove(id)),
            // It was given a request meanwhile.
            State::Busy(_) => self.handle_done(now, id, Outcome::Unanswered),
            State::Connect(_) => self.handle_connect_failed(now, id),
        }
    }

    /// Time has come to `now`: idle connections are closed, requests that waited too long refused.
    pub fn handle_timeout(&mut self, now: Instant) {
        for place in 0..self.addresses.len() {
            while let Some(id) = self.addresses[place].idle.first().copied() {
                if self.idle_until(id).is_some_and(|until| now < until) {
                    break;
                }
                self.close(id);
            }
        }
        let patience = self.options.wait_timeout;
        let actions = &mut self.actions;
        self.waiting.retain(|ask| {
            let is_over = now.since(ask.since) >= patience;
            if is_over {
                let refusal = Refusal::Timeout;
                actions.push_back(Action::Refuse { request: ask.id, refusal });
            }
            !is_over
        });
        self.serve_waiting(now);
    }

    /// When `handle_timeout` has to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let first_idle = |address: &Address| self.idle_until(*address.idle.first()?);
        let idle = self.addresses.iter().filter_map(first_idle).min();
        let patience = self.options.wait_timeout;
        let waits = self.waiting.iter().map(|ask| ask.since.after(patience)).min();
        // A probe is a request: without one that waits there is nothing to do when it is due. There
        // is room for it then, since the connection whose failure took the address down is gone.
        let front = self.waiting.front();
        let due_at = |ask| self.addresses_for(ask).filter_map(|(_, at)| at.health.due_at()).min();
        let due = front.and_then(due_at);
        [idle, waits, due].into_iter().flatten().min()
    }

    /// How many connections there are, in any state.
    #[must_use]
    pub const fn connection_count(&self) -> usize {
        self.conns.len()
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// What may be done with an address at `now`, for the operator's view.
    #[must_use]
    pub fn standing(&self, now: Instant, address: AddressId) -> Option<Standing> {
        Some(self.addresses.get(address.0)?.health.standing(now))
    }

    fn place(&mut self, now: Instant, ask: Ask) {
        match self.choose(now, &ask) {
            Choice::Kept(id) => self.send(id, ask),
            Choice::New(address) => self.connect(now, address, ask),
            // One that was placed before has its turn again.
            Choice::Wait if ask.is_retry || ask.tried != 0 => self.waiting.push_front(ask),
            Choice::Wait if self.waiting.len() < self.options.waiters_max => {
                self.waiting.push_back(ask);
            }
            Choice::Wait => self.refuse(ask.id, Refusal::Busy),
            Choice::Nowhere if ask.tried != 0 => self.refuse(ask.id, Refusal::Connect),
            Choice::Nowhere if ask.is_retry => self.refuse(ask.id, Refusal::Unanswered),
            Choice::Nowhere => self.refuse(ask.id, Refusal::Down),
        }
    }

    /// An address that is due for its probe comes first, else nobody would find out that it lives;
    /// then the least busy one, at equal work one with a kept connection, then in the order of the
    /// configuration.
    fn choose(&self, now: Instant, ask: &Ask) -> Choice {
        let mut best: Option<(usize, bool, usize)> = None;
        let mut waits = false;
        for (place, address) in self.addresses_for(ask) {
            let has_idle = !address.idle.is_empty();
            let has_room = address.has_room(self.options.connections_max);
            match address.health.standing(now) {
                Standing::Due if has_room => return Choice::New(place),
                Standing::Up if has_room => {
                    let busy = address.open - address.idle.len();
                    let rank = (busy, !has_idle, place);
                    best = Some(best.map_or(rank, |best| best.min(rank)));
                }
                Standing::Up | Standing::Due | Standing::Probe => waits = true,
                Standing::Down => {}
            }
        }
        match best {
            // RFC 9112 9.3.1 lets only an idempotent request be sent again: others are not exposed
            // to an origin that closes an idle connection.
            Some((_, false, place)) if !ask.is_retry && ask.is_idempotent => {
                let kept = self.addresses[place].idle.last().copied();
                kept.map_or(Choice::New(place), Choice::Kept)
            }
            Some((.., place)) => Choice::New(place),
            None if waits => Choice::Wait,
            None => Choice::Nowhere,
        }
    }

    /// The addresses that a request has not tried.
    fn addresses_for(&self, ask: &Ask) -> impl Iterator<Item = (usize, &Address)> + use<'_> {
        let tried = ask.tried;
        self.addresses.iter().enumerate().filter(move |(place, _)| tried & (1 << place) == 0)
    }

    fn connect(&mut self, now: Instant, place: usize, ask: Ask) {
        if self.addresses[place].open == self.options.connections_max {
            let oldest = self.addresses[place].idle.first().copied();
            self.close(oldest.expect("chosen for its room"));
        }
        let address = &mut self.addresses[place];
        let is_probe = address.health.standing(now) == Standing::Due;
        if is_probe {
            address.health.handle_probe();
        }
        address.open += 1;
        assert!(address.open <= self.options.connections_max, "connections are bounded");
        let state = State::Connect(Some(ask));
        let conn = Conn { address: place, state, requests: 0, is_probe };
        let key = self.conns.insert(conn).expect("the slab has room for every address's bound");
        self.actions.push_back(Action::Connect { conn: ConnId(key), address: AddressId(place) });
    }

    fn send(&mut self, id: ConnId, ask: Ask) {
        let conn = self.conns.find_mut(id.0).expect("just chosen");
        if let State::Idle { .. } = conn.state {
            let idle = self.addresses[conn.address].idle.pop();
            assert_eq!(idle, Some(id), "the last used one is taken");
        }
        conn.state = State::Busy(ask);
        conn.requests += 1;
        // So that it is not retried once more.
        assert!(!ask.is_retry || conn.requests == 1, "sent again on a new connection only");
        self.actions.push_back(Action::Send { conn: id, request: ask.id });
    }

    fn refuse(&mut self, request: RequestId, refusal: Refusal) {
        self.actions.push_back(Action::Refuse { request, refusal });
    }

    /// Puts a connection among the idle ones, or closes it where it may not be kept.
    fn keep(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.find_mut(id.0) else { return };
        conn.state = State::Idle { since: now };
        let is_worn = conn.requests >= self.options.requests_per_connection;
        let address = &mut self.addresses[conn.address];
        let is_up = address.health.standing(now) == Standing::Up;
        address.idle.push(id);
        // One that waits takes it at once.
        let is_wanted = address.idle.len() <= self.options.idle_max || !self.waiting.is_empty();
        if is_worn || !is_up || !is_wanted {
            self.close(id);
        }
    }

    fn close(&mut self, id: ConnId) {
        self.remove(id);
        self.actions.push_back(Action::Close { conn: id });
    }

    fn remove(&mut self, id: ConnId) -> Option<Conn> {
        let conn = self.conns.remove(id.0)?;
        let address = &mut self.addresses[conn.address];
        assert!(address.open > 0, "it was counted when it was made");
        address.open -= 1;
        if let State::Idle { .. } = conn.state {
            address.idle.retain(|idle| *idle != id);
        }
        Some(conn)
    }

    /// A request to an address failed. One that goes down takes its kept connections along.
    fn fail(&mut self, now: Instant, place: usize) {
        if self.addresses[place].health.handle_failure(now, &self.options.health) {
            while let Some(id) = self.addresses[place].idle.last().copied() {
                self.close(id);
            }
        }
    }

    fn void_probe(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.find_mut(id.0) else { return };
        if std::mem::take(&mut conn.is_probe) {
            self.addresses[conn.address].health.handle_void(now);
        }
    }

    fn idle_until(&self, id: ConnId) -> Option<Instant> {
        match self.conns.find(id.0)?.state {
            State::Idle { since } => Some(since.after(self.options.idle_timeout)),
            State::Connect(_) | State::Busy(_) => None,
        }
    }

    /// Gives what is free to those that wait, in their order. The first that must still wait holds
    /// the others up: it has waited longest, and what it waits for comes free as well.
    fn serve_waiting(&mut self, now: Instant) {
        for _ in 0..self.waiting.len() {
            let Some(ask) = self.waiting.front().copied() else { return };
            if let Choice::Wait = self.choose(now, &ask) {
                return;
            }
            self.waiting.pop_front();
            self.place(now, ask);
        }
    }
}

#[cfg(test)]
mod tests;
