//! The admin listener: health, readiness, metrics, over plain sockets on control's thread.
//!
//! Input: readable and writable sockets.   Output: answers, one per connection.
//! Owns: at most `ADMIN_CONNECTIONS_MAX` connections.   Thread: control.
//! Not here: the numbers (`daemon::counters`), HTTP itself (`http`).

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::http::date::DateLine;
use crate::http::head::{self, Persistence};
use crate::http::reply::{self, Context, Extra};
use crate::http::request::header_space;
use crate::http::{self, Method, Request, Status, Step};
use crate::limits::{ADMIN_CONNECTIONS_MAX, RECV_BUFFER_BYTES};
use crate::sys::clock::unix_seconds;
use crate::time::{Duration, Instant};

struct AdminConn {
    stream: TcpStream,
    http: http::Conn,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
}

/// See the module.
pub struct Admin {
    listener: TcpListener,
    conns: Vec<AdminConn>,
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
}

impl Admin {
    /// Answers at `listener`, which is non-blocking.
    #[must_use]
    pub const fn new(listener: TcpListener, options: http::Options) -> Self {
        let deaf_until = Instant::from_nanos(0);
        Self { listener, conns: Vec::new(), deaf_until, is_deaf: false, options }
    }

    /// What to wait for: the descriptor, and whether it is to be written.
    #[must_use]
    pub fn sources(&self) -> Vec<(BorrowedFd<'_>, bool)> {
        let conns = self.conns.iter().map(|conn| (conn.stream.as_fd(), !conn.output.is_empty()));
        // A listener is never writable: so it is not waited for.
        std::iter::once((self.listener.as_fd(), self.is_deaf)).chain(conns).collect()
    }

    /// Acts on all that is ready, as told by `ready` in the order of `sources`.
    pub fn handle(&mut self, now: Instant, ready: &[bool], facts: &Facts<'_>) {
        let options = self.options;
        let mut place = 0;
        self.conns.retain_mut(|conn| {
            place += 1;
            let is_ready = ready.get(place).copied().unwrap_or(false);
            let goes_on = !is_ready || conn.step(now, &options, facts);
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
                self.conns.remove(0);
            }
            let (input, output) = (Vec::new(), Vec::new());
            self.conns.push(AdminConn {
                stream,
                http: http::Conn::new(now),
                input,
                output,
                sent: 0,
            });
        }
    }
}

impl AdminConn {
    /// Returns whether the connection goes on.
    fn step(&mut self, now: Instant, options: &http::Options, facts: &Facts<'_>) -> bool {
        if self.output.is_empty() && !self.read(now, options, facts) {
            return false;
        }
        self.write(now)
    }

    fn read(&mut self, now: Instant, options: &http::Options, facts: &Facts<'_>) -> bool {
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
                Step::Consumed(bytes) | Step::Continue(bytes) => consumed += bytes,
                Step::Request(request, _) => {
                    answer(&request, facts, &mut self.output);
                    break;
                }
                // Nothing here takes a body.
                Step::Held(_) => {
                    emit_status(Status::MethodNotAllowed, false, &mut self.output);
                    break;
                }
                Step::Refused(status) => {
                    emit_status(status, false, &mut self.output);
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

fn answer(request: &Request<'_, '_>, facts: &Facts<'_>, out: &mut Vec<u8>) {
    if !matches!(request.method, Method::Get | Method::Head) {
        emit_status(Status::MethodNotAllowed, false, out);
        return;
    }
    let path = request.target.split('?').next().unwrap_or_default();
    let (status, body) = match path {
        "/-/healthy" => (Status::Ok, "healthy\n".to_owned()),
        "/-/ready" if facts.is_ready => (Status::Ok, "ready\n".to_owned()),
        "/-/ready" => (Status::ServiceUnavailable, "not ready\n".to_owned()),
        "/-/metrics" => (Status::Ok, (facts.metrics)()),
        _ => {
            emit_status(Status::NotFound, request.method == Method::Head, out);
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

fn emit_status(status: Status, head_only: bool, out: &mut Vec<u8>) {
    let extra = match status {
        Status::MethodNotAllowed => Extra::Allow("GET, HEAD"),
        _ => Extra::None,
    };
    let date = DateLine::new(unix_seconds());
    let persistence = Persistence::Close;
    let context = Context { date: &date, server_name: "", persistence, head_only };
    reply::emit_status(status, extra, &context, out);
}
