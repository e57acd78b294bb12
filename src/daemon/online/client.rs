//! One connection of the service: what was received, what is being sent.
//!
//! Owns: the bytes of requests begun, and of replies not sent, bounded as the module above says.
//! Thread: `online`.
//! Not here: which connections there are (`daemon::online`), requests (`online::session`).

use crate::limits::{ONLINE_INPUT_BYTES_PAUSE, ONLINE_REPLIES_BYTES_MAX};
use crate::online::service::Service;
use crate::online::session::{Session, Turn};
use crate::stdx::num::{index, wide};
use crate::stdx::slab::Key;
use crate::sys::buffers::Buffers;
use crate::sys::outgoing::Outgoing;
use crate::sys::uring::{Errno, Received, Socket};
use crate::time::Instant;

use super::Desk;

/// See the module.
pub struct Client {
    pub socket: Socket,
    pub session: Session,
    /// Received and not carried out yet.
    pub input: Vec<u8>,
    /// Replies that are not with the kernel yet.
    pub output: Vec<u8>,
    /// Bytes of replies that are, and not taken by the other end's socket.
    pub in_flight: u64,
    /// When some of them were last taken.
    pub progress: Instant,
    /// A receive is armed.
    is_receiving: bool,
    /// The client will send no more.
    has_ended: bool,
    /// There may be whole requests in `input`.
    has_more: bool,
    /// It is in the list of those that watch.
    is_listed: bool,
    /// It is in the list of those that have something to do.
    is_dirty: bool,
    /// Since when nothing more is sent on it, and what comes is read over.
    pub parted: Option<Instant>,
    /// What of it counts for all connections.
    pub accounted: u64,
}

impl Client {
    pub const fn new(socket: Socket, id: u64, is_read_only: bool, service: &Service) -> Self {
        Self {
            socket,
            session: Session::new(id, is_read_only, service),
            input: Vec::new(),
            output: Vec::new(),
            in_flight: 0,
            progress: Instant::from_nanos(0),
            is_receiving: false,
            has_ended: false,
            has_more: false,
            is_listed: false,
            is_dirty: false,
            parted: None,
            accounted: 0,
        }
    }

    /// Bytes of replies not taken.
    fn unsent(&self) -> u64 {
        wide(self.output.len()) + self.in_flight
    }

    /// Whether more requests may be carried out: not while it leaves its replies where they are.
    fn may_go_on(&self) -> bool {
        self.unsent() < wide(ONLINE_REPLIES_BYTES_MAX) && !self.session.is_over()
    }
}

impl Desk {
    /// Arms a receive, if there is room for what may come.
    pub(super) fn receive(&mut self, id: Key) {
        let Some(client) = self.clients.find_mut(id) else { return };
        let wants = !client.has_ended && (!client.session.is_over() || client.parted.is_some());
        if wants && !client.is_receiving && client.input.len() < ONLINE_INPUT_BYTES_PAUSE {
            client.is_receiving = true;
            self.ring.receive(id, client.socket);
        }
    }

    pub(super) fn handle_received(
        &mut self,
        id: Key,
        received: Received,
        more: bool,
        buffers: &mut Buffers,
    ) {
        let Some(client) = self.clients.find_mut(id) else {
            if let Received::Bytes(buffer) = received {
                buffers.give_back(buffer);
            }
            return;
        };
        client.is_receiving = more;
        match received {
            Received::Bytes(buffer) => {
                self.take_input(id, buffers.bytes(&buffer));
                buffers.give_back(buffer);
            }
            Received::End => {
                client.has_ended = true;
                self.mark(id);
            }
            Received::NoBuffer => {}
            // Only a pause cancels the receive of a connection that is still known.
            Received::Failed(error) if error.0 == libc::ECANCELED => {}
            Received::Failed(_) => {
                self.close(id);
                return;
            }
        }
        self.receive(id);
    }

    /// Carries out what is whole of `bytes`, in place, and keeps the rest.
    fn take_input(&mut self, id: Key, bytes: &[u8]) {
        let Some(client) = self.clients.find_mut(id) else { return };
        if client.session.is_over() {
            return;
        }
        if client.input.is_empty() && client.may_go_on() {
            let turn = client.session.handle_input(
                bytes,
                &mut self.service,
                &mut self.scratch,
                &mut client.output,
            );
            client.has_more = turn.has_more;
            self.keep(id, &bytes[turn.consumed..]);
        } else {
            client.has_more = true;
            self.keep(id, bytes);
        }
        self.mark(id);
    }

    fn keep(&mut self, id: Key, bytes: &[u8]) {
        let Some(client) = self.clients.find_mut(id) else { return };
        if bytes.is_empty() {
            return;
        }
        if client.input.capacity() == 0 {
            client.input = self.spare_bytes.pop().unwrap_or_default();
        }
        client.input.extend_from_slice(bytes);
        if client.input.len() >= ONLINE_INPUT_BYTES_PAUSE && client.is_receiving {
            // What the kernel holds back fills its socket buffer, and stops the sender.
            self.ring.cancel_receive(id);
        }
    }

    /// It has something to be done at the end of the turn.
    fn mark(&mut self, id: Key) {
        let Some(client) = self.clients.find_mut(id) else { return };
        if !client.is_dirty {
            client.is_dirty = true;
            self.dirty.push(id);
        }
        if client.session.is_watching() && !client.is_listed {
            client.is_listed = true;
            self.watching.push(id);
        }
    }

    /// Carries out what waited, and sends what there is. Returns whether somebody has more.
    pub(super) fn run_dirty(&mut self) -> bool {
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut goes_on = false;
        for id in dirty.drain(..) {
            let Some(client) = self.clients.find_mut(id) else { continue };
            client.is_dirty = false;
            if client.has_more && client.may_go_on() {
                let mut input = std::mem::take(&mut client.input);
                let Turn { consumed, has_more } = client.session.handle_input(
                    &input,
                    &mut self.service,
                    &mut self.scratch,
                    &mut client.output,
                );
                client.has_more = has_more;
                input.drain(..consumed);
                if input.is_empty() {
                    self.recycle_bytes(input);
                } else {
                    client.input = input;
                }
            }
            self.flush(id);
            let Some(client) = self.clients.find_mut(id) else { continue };
            if client.has_more && client.may_go_on() {
                self.mark(id);
                goes_on = true;
            }
            self.receive(id);
        }
        // Those that go on were marked meanwhile.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
        goes_on
    }

    /// Hands over what there is to be sent; ends a connection that has all of it and is over.
    fn flush(&mut self, id: Key) {
        let Some(client) = self.clients.find_mut(id) else { return };
        if client.in_flight == 0 {
            if !client.output.is_empty() {
                let mut outgoing: Box<Outgoing> = self.spare.pop().unwrap_or_default();
                // The buffers change places: those of idle clients are nobody's.
                std::mem::swap(outgoing.own(), &mut client.output);
                let emptied = std::mem::take(&mut client.output);
                outgoing.seal();
                (client.in_flight, client.progress) = (outgoing.left(), self.now);
                self.ring.send(id, client.socket, outgoing);
                self.recycle_bytes(emptied);
            } else if client.has_ended && (client.session.is_over() || !client.has_more) {
                self.close(id);
                return;
            } else if client.session.is_over() && client.parted.is_none() {
                client.parted = Some(self.now);
                self.ring.shut_down_sending(client.socket);
            }
        }
        self.account(id);
    }

    /// Counts what a connection holds; closes it where all together hold too much.
    fn account(&mut self, id: Key) {
        let Some(client) = self.clients.find_mut(id) else { return };
        let held = wide(client.input.len()) + client.unsent();
        let total = &mut self.service.traffic.connection_bytes;
        let is_growing = held > client.accounted;
        *total = *total + held - client.accounted;
        client.accounted = held;
        if is_growing && *total > self.connection_bytes_max {
            self.service.traffic.slow_closed += 1;
            self.close(id);
        }
    }

    pub(super) fn handle_sent(
        &mut self,
        id: Key,
        mut outgoing: Box<Outgoing>,
        result: Result<usize, Errno>,
    ) {
        let Some(client) = self.clients.find_mut(id) else {
            self.recycle(outgoing);
            return;
        };
        let sent = match result {
            Ok(sent) => wide(sent),
            Err(Errno(libc::EAGAIN | libc::EINTR)) => 0,
            Err(_) => {
                self.recycle(outgoing);
                self.close(id);
                return;
            }
        };
        outgoing.advance(sent);
        client.in_flight = outgoing.left();
        if sent > 0 {
            client.progress = self.now;
        }
        if client.in_flight > 0 {
            self.ring.send(id, client.socket, outgoing);
        } else {
            self.recycle(outgoing);
        }
        self.mark(id);
    }

    /// Gives those who watch the lines of this turn.
    pub(super) fn hand_out_lines(&mut self) {
        if self.watching.is_empty() {
            return;
        }
        let lines = self.service.take_lines();
        let mut watching = std::mem::take(&mut self.watching);
        watching.retain(|id| {
            let Some(client) = self.clients.find_mut(*id) else { return false };
            if !client.session.is_watching() {
                client.is_listed = false;
                return false;
            }
            let in_flight = index(client.in_flight);
            let Client { session, output, .. } = client;
            session.handle_lines(&lines, in_flight, &mut self.service, output);
            if lines.count > 0 {
                self.mark(*id);
            }
            true
        });
        self.watching = watching;
        self.service.put_back(lines);
    }
}
