//! How connections come and go: accepting up to the limits, closing, draining.
//!
//! Owns: the listeners, the count of connections per address.   Thread: one worker.
//! Invariants: at the limit of connections a worker stops accepting, and new ones wait in the
//! kernel's queue; what comes between reaching the limit and stopping is served, and bounded by
//! `LISTEN_BACKLOG`. A connection beyond the limit per address is closed at once and counted.
//! Not here: reading requests (`daemon::http`).

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use crate::stdx::num::narrow;
use crate::stdx::slab::Key;
use crate::sys::outgoing::Outgoing;
use crate::sys::socket::peer_address;
use crate::sys::uring::{Errno, Socket};

use super::conn::{Connection, Descriptor, Doing, Stream};
use super::feed::FeedRules;
use super::fetch::Next;
use super::{ByAddress, FromWorker, Shared, Worker};

/// Listeners and limits.
pub struct Accepting {
    listeners: Vec<(TcpListener, bool)>,
    by_address: ByAddress,
    connections_max: usize,
    is_paused: bool,
    /// The kernel could not accept: tried again by the next sweep, not at once.
    is_troubled: bool,
}

impl Accepting {
    pub fn new(listeners: Vec<TcpListener>, connections_max: usize) -> Self {
        let listeners = listeners.into_iter().map(|listener| (listener, false)).collect();
        Self {
            listeners,
            by_address: ByAddress::new(),
            connections_max,
            is_paused: false,
            is_troubled: false,
        }
    }

    /// Whether a listener waits to be tried again.
    pub const fn is_troubled(&self) -> bool {
        self.is_troubled
    }
}

impl Shared {
    /// Accepts at every listener where it is not already doing so.
    pub(super) fn accept_all(&mut self) {
        for (number, (listener, is_armed)) in self.accepting.listeners.iter_mut().enumerate() {
            if !*is_armed {
                *is_armed = true;
                self.ring.accept(narrow(number), listener);
            }
        }
    }

    /// Tries listeners again at which the kernel could not accept.
    pub(super) fn accept_after_trouble(&mut self) {
        let accepting = &mut self.accepting;
        if std::mem::take(&mut accepting.is_troubled) && !accepting.is_paused && !self.is_draining {
            self.accept_all();
        }
    }

    fn stop_accepting(&mut self) {
        for (number, (_, is_armed)) in self.accepting.listeners.iter().enumerate() {
            if *is_armed {
                self.ring.cancel_accept(narrow(number));
            }
        }
    }
}

impl Worker {
    pub(super) fn handle_accepted(
        &mut self,
        listener: u32,
        result: Result<Socket, Errno>,
        more: bool,
    ) {
        if let Some((_, is_armed)) = self.shared.accepting.listeners.get_mut(listener as usize) {
            *is_armed = more;
        }
        match result {
            Ok(socket) => self.admit(socket),
            Err(Errno(libc::ECANCELED)) => {}
            Err(error) => {
                self.shared.counters.refused_connections.add(1);
                log::debug!("accept failed: {}", std::io::Error::from(error));
                // ENFILE, ENOMEM: at once it would fail again.
                self.shared.accepting.is_troubled = true;
            }
        }
        let shared = &mut self.shared;
        if self.conns.len() >= shared.accepting.connections_max {
            if !shared.accepting.is_paused {
                shared.accepting.is_paused = true;
                shared.stop_accepting();
            }
        } else if !shared.is_draining
            && !shared.accepting.is_paused
            && !shared.accepting.is_troubled
        {
            shared.accept_all();
        }
    }

    fn admit(&mut self, socket: Socket) {
        let shared = &mut self.shared;
        shared.counters.accepts.add(1);
        if shared.is_draining {
            shared.ring.close_unarmed(socket);
            return;
        }
        let conn = Connection::new(socket, shared.now);
        let Ok(id) = self.conns.insert(conn) else {
            shared.counters.refused_connections.add(1);
            shared.ring.close_unarmed(socket);
            return;
        };
        shared.counters.connections.set(self.conns.len() as u64);
        let feed = shared.settings.feed.as_ref().filter(|_| shared.feed.is_some());
        let is_asked = shared.settings.connections_per_address > 0
            || feed.is_some_and(FeedRules::needs_address);
        if is_asked && shared.can_install {
            // Who it is, is only known from an ordinary descriptor; nothing is read before.
            shared.ring.install(id, socket);
            return;
        }
        self.settle(id);
    }

    /// A socket has an ordinary descriptor: to learn its address, or to send a large body.
    pub(super) fn handle_installed(&mut self, id: Key, result: Result<OwnedFd, Errno>) {
        let Some(conn) = self.conns.find_mut(id) else { return };
        if conn.doing == Doing::Waiting {
            conn.descriptor = match result {
                Ok(descriptor) if self.shared.descriptors_left.get() > 0 => {
                    let left = &self.shared.descriptors_left;
                    left.set(left.get() - 1);
                    Descriptor::Open(descriptor)
                }
                _ => Descriptor::Refused,
            };
            self.resume(id);
            return;
        }
        let limit = self.shared.settings.connections_per_address;
        let address = result.map_err(Into::into).and_then(|socket| peer_address(&socket));
        let Ok(address) = address else {
            // Who it is cannot be said (EMFILE, or it is gone): it is not let past the limit.
            self.shared.counters.refused_connections.add(1);
            self.close(id);
            return;
        };
        let count = self.shared.accepting.by_address.entry(address).or_default();
        if limit > 0 && *count >= limit {
            self.shared.counters.refused_connections.add(1);
            self.close(id);
            return;
        }
        *count += 1;
        conn.address = Some(address);
        self.settle(id);
    }

    /// Ends a connection now, whatever it is doing.
    pub(super) fn close(&mut self, id: Key) {
        let Some(conn) = self.conns.remove(id) else { return };
        let shared = &mut self.shared;
        if let Some(Stream::Follow(stream)) = &conn.stream {
            stream.follow.leave(id);
        }
        if let Some(Next::Join(follow)) = &conn.next {
            follow.leave(id);
        }
        if conn.is_receiving || conn.doing != Doing::Reading {
            shared.ring.close(conn.socket);
        } else {
            shared.ring.close_unarmed(conn.socket);
        }
        if matches!(conn.descriptor, Descriptor::Open(_)) {
            shared.descriptors_left.set(shared.descriptors_left.get() + 1);
        }
        if let Some(address) = conn.address
            && let Some(count) = shared.accepting.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                shared.accepting.by_address.remove(&address);
            }
        }
        shared.counters.connections.set(self.conns.len() as u64);
        if shared.accepting.is_paused
            && !shared.is_draining
            && self.conns.len() < shared.accepting.connections_max
        {
            shared.accepting.is_paused = false;
            shared.accept_all();
        }
    }

    /// The last response is sent: closes, or first reads over what the client still sends, since
    /// closing with unread bytes resets the connection and may take the response with it
    /// (RFC 9112 section 9.6).
    pub(super) fn finish(&mut self, id: Key) {
        let Some(conn) = self.conns.find_mut(id) else { return };
        // Where the end is our own wish, requests may be on their way.
        let unread =
            conn.lingers || !conn.is_farewell || !conn.backlog.is_empty() || conn.http.has_held();
        conn.doing = Doing::Reading;
        if !unread || conn.has_ended {
            self.close(id);
            return;
        }
        conn.backlog = Vec::new();
        conn.http.handle_last_sent(self.shared.now);
        self.shared.ring.shut_down_sending(conn.socket);
        self.settle(id);
    }

    /// A request that was begun and not ended in time is told so.
    pub(super) fn refuse_late(&mut self, id: Key) {
        let Some(conn) = self.conns.find_mut(id) else { return };
        if conn.doing != Doing::Reading {
            self.close(id);
            return;
        }
        conn.answers = 0;
        let mut out: Box<Outgoing> = self.shared.spare.pop().unwrap_or_default();
        self.shared.emit_refusal(conn, crate::http::Status::RequestTimeout, &mut out);
        self.shared.dispatch(id, conn, out, false);
    }

    /// Takes no more connections; ends idle ones now and the others after their answer.
    pub(super) fn drain(&mut self) {
        self.shared.is_draining = true;
        self.shared.stop_accepting();
        self.shared.accepting.listeners.clear();
        for index in 0..self.conns.slot_count() {
            if let Some((id, conn)) = self.conns.slot(index)
                && (conn.http.is_idle() || conn.http.is_lingering())
                && conn.doing == Doing::Reading
            {
                self.close(id);
            }
        }
    }

    /// Says so when the last connection is gone, and what clients that have left changed is known
    /// and invalid; `grace` bounds that. It goes on until it is told to end: others may be waiting
    /// for what is fetched here.
    pub(super) fn check_drained(&mut self) {
        let is_busy = !self.conns.is_empty() || self.shared.fetches.has_changes();
        if !self.has_drained && self.shared.is_draining && !is_busy {
            self.has_drained = true;
            self.control.tell(self.number, FromWorker::Drained);
        }
    }

    /// Ends, now.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        let purges = self.shared.fetches.last_invalidations();
        if !purges.is_empty() {
            self.control.tell(self.number, FromWorker::Invalidate { purges });
        }
        self.control.tell(self.number, FromWorker::Ended);
    }
}
