//! The admin listener: health, readiness, metrics, PURGE, over plain sockets on control's thread.
//!
//! Input: readable and writable sockets.   Output: answers, one per connection; orders to purge
//! (`poll_order`), which are answered later (`answer`).
//! Owns: at most `ADMIN_CONNECTIONS_MAX` connections.   Thread: control.
//! Not here: the numbers (`daemon::counters`), HTTP itself (`http`).

pub mod purge;

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::cache::purge::Purge;
use crate::http::date::DateLine;
use crate::http::head::{self, Persistence};
use crate::http::reply::{self, Context, Extra};
use crate::http::request::header_space;
use crate::http::{self, Method, Request, Status, Step};
use crate::limits::{ADMIN_CONNECTIONS_MAX, RECV_BUFFER_BYTES};
use crate::sys::clock::unix_seconds;
use crate::time::{Duration, Instant};

use super::purges::Outcome;
use super::settings::Settings;

/// A connection's number; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnId(pub u64);

struct AdminConn {
    id: ConnId,
    stream: TcpStream,
    http: http::Conn,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    /// A purge is under way for it.
    waits: bool,
}

/// See the module.
pub struct Admin {
    listener: TcpListener,
    conns: Vec<AdminConn>,
    orders: VecDeque<(ConnId, Vec<Purge>)>,
    next: u64,
    /// The listener failed (EMFILE): it is left alone until then, for it would fail again at once.
    deaf_until: Instant,
    is_deaf: bool,
    options: http::Options,
}

/// What the listener answers with.
pub struct Facts<'a> {
    /// Whether new requests should be sent here.
    pub is_ready: bool,
    /// Writes the metrics.
    pub metrics: &'a dyn Fn() -> String,
    /// What a PURGE has to carry; empty if there is none.
    pub purge_token: &'a str,
    /// Which hosts there are.
    pub settings: &'a Settings,
}

impl Admin {
    /// Answers at `listener`, which is non-blocking.
    #[must_use]
    pub fn new(listener: TcpListener, options: http::Options) -> Self {
        Self {
            listener,
            conns: Vec::new(),
            orders: VecDeque::new(),
            next: 0,
            deaf_until: Instant::from_nanos(0),
            is_deaf: false,
            options,
        }
    }

    /// What to wait for: the descriptor, and whether it is to be written.
    #[must_use]
    pub fn sources(&self) -> Vec<(BorrowedFd<'_>, bool)> {
        // Who has closed its side and waits for a purge is readable for ever.
        let conns = self.conns.iter().filter(|conn| !conn.waits);
        let conns = conns.map(|conn| (conn.stream.as_fd(), !conn.output.is_empty()));
        // A listener is never writable: so it is not waited for.
        std::iter::once((self.listener.as_fd(), self.is_deaf)).chain(conns).collect()
    }

    /// Acts on all that is ready, as told by `ready` in the order of `sources`; nothing else may be
    /// called between the two.
    pub fn handle(&mut self, now: Instant, ready: &[bool], facts: &Facts<'_>) {
        let options = self.options;
        let mut place = 0;
        let orders = &mut self.orders;
        self.conns.retain_mut(|conn| {
            if conn.waits {
                return true;
            }
            place += 1;
            let is_ready = ready.get(place).copied().unwrap_or(false);
            let goes_on = !is_ready || conn.step(now, &options, facts, orders);
            if conn.waits {
                return true;
            }
            goes_on && conn.http.handle_timeout(now, &options).is_none()
        });
        self.is_deaf = now < self.deaf_until;
        while ready.first() == Some(&true) {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::warn!("admin.listen: accept failed: {error}");
                    self.deaf_until = now.after(Duration::from_secs(1));
                    self.is_deaf = true;
                    break;
                }
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.conns.len() == ADMIN_CONNECTIONS_MAX {
                // Not one that waits: its purge is under way, and there are fewer of those.
                let oldest = self.conns.iter().position(|conn| !conn.waits);
                self.conns.remove(oldest.unwrap_or(0));
            }
            self.next += 1;
            self.conns.push(AdminConn {
                id: ConnId(self.next),
                stream,
                http: http::Conn::new(now),
                input: Vec::new(),
                output: Vec::new(),
                sent: 0,
                waits: false,
            });
        }
    }

    /// The next order to purge; it is answered by `answer`.
    pub fn poll_order(&mut self) -> Option<(ConnId, Vec<Purge>)> {
        self.orders.pop_front()
    }

    /// What the order of `id` came to; it may be gone.
    pub fn answer(&mut self, now: Instant, id: ConnId, outcome: &Outcome) {
        let waiting = self.conns.iter().position(|conn| conn.id == id && conn.waits);
        let Some(place) = waiting else { return };
        let conn = &mut self.conns[place];
        conn.waits = false;
        purge::emit(outcome, &mut conn.output);
        if !conn.write(now) {
            self.conns.remove(place);
        }
    }
}

impl AdminConn {
    /// Returns whether the connection goes on.
    fn step(
        &mut self,
        now: Instant,
        options: &http::Options,
        facts: &Facts<'_>,
        orders: &mut VecDeque<(ConnId, Vec<Purge>)>,
    ) -> bool {
        if self.output.is_empty() && !self.read(now, options, facts, orders) {
            return false;
        }
        self.write(now)
    }

    fn read(
        &mut self,
        now: Instant,
        options: &http::Options,
        facts: &Facts<'_>,
        orders: &mut VecDeque<(ConnId, Vec<Purge>)>,
    ) -> bool {
        let mut bytes = [0; RECV_BUFFER_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(count) => self.input.extend_from_slice(&bytes[..count]),
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
        let mut consumed = 0;
        loop {
            let mut space = header_space();
            match self.http.handle_input(now, &self.input[consumed..], &mut space, options) {
                Step::NeedMore => break,
                Step::Consumed(bytes) | Step::Begun(_, bytes) | Step::Data(_, bytes) => {
                    consumed += bytes;
                }
                Step::Request(request, _) => {
                    if let Some(purges) = answer(&request, facts, &mut self.output) {
                        self.waits = true;
                        orders.push_back((self.id, purges));
                    }
                    break;
                }
                // Nothing here takes a body.
                Step::Held(_) => {
                    emit_status(Status::MethodNotAllowed, false, facts, &mut self.output);
                    break;
                }
                Step::Refused(status) => {
                    emit_status(status, false, facts, &mut self.output);
                    break;
                }
            }
        }
        self.input.drain(..consumed);
        true
    }

    /// Writes on; the connection ends with the answer.
    fn write(&mut self, now: Instant) -> bool {
        if self.output.is_empty() {
            return true;
        }
        self.http.handle_wait(now);
        match self.stream.write(&self.output[self.sent..]) {
            Ok(count) => self.sent += count,
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
        self.sent < self.output.len()
    }
}

/// Writes the answer, or returns the order that has to be carried out before there is one.
fn answer(request: &Request<'_, '_>, facts: &Facts<'_>, out: &mut Vec<u8>) -> Option<Vec<Purge>> {
    if request.method_name == "PURGE" {
        match purge::read(request, facts.purge_token, facts.settings) {
            Ok(purges) => return Some(purges),
            Err(status) => emit_status(status, false, facts, out),
        }
    } else if matches!(request.method, Method::Get | Method::Head) {
        answer_page(request, facts, out);
    } else {
        emit_status(Status::MethodNotAllowed, false, facts, out);
    }
    None
}

fn answer_page(request: &Request<'_, '_>, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let path = request.target.split('?').next().unwrap_or_default();
    let (status, body) = match path {
        "/-/healthy" => (Status::Ok, "healthy\n".to_owned()),
        "/-/ready" if facts.is_ready => (Status::Ok, "ready\n".to_owned()),
        "/-/ready" => (Status::ServiceUnavailable, "not ready\n".to_owned()),
        "/-/metrics" => (Status::Ok, (facts.metrics)()),
        _ => {
            emit_status(Status::NotFound, request.method == Method::Head, facts, out);
            return;
        }
    };
    out.extend_from_slice(status.line().as_bytes());
    head::put(out, format_args!("Content-Length: {}\r\n", body.len()));
    out.extend_from_slice(b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    out.extend_from_slice(b"Cache-Control: no-store\r\n");
    head::finish(out, &DateLine::new(unix_seconds()), Persistence::Close);
    if request.method == Method::Get {
        out.extend_from_slice(body.as_bytes());
    }
}

fn emit_status(status: Status, head_only: bool, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let extra = match status {
        Status::MethodNotAllowed if facts.purge_token.is_empty() => Extra::Allow("GET, HEAD"),
        Status::MethodNotAllowed => Extra::Allow("GET, HEAD, PURGE"),
        Status::Unauthorized => Extra::Challenge("Bearer"),
        _ => Extra::None,
    };
    let date = DateLine::new(unix_seconds());
    let persistence = Persistence::Close;
    let context = Context { date: &date, server_name: "", persistence, head_only };
    reply::emit_status(status, extra, &context, out);
}
