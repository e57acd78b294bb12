//! A worker's connections to origins: the sockets under `http::origin`, one pool per origin.
//!
//! Input: requests as bytes, completions of the ring, time.   Output: `Event` values, in order.
//! Owns: a pool and its connections per origin, bounded by the configuration.   Thread: one worker.
//! Invariants: a request ends in exactly one `End`, `Failed` or `Refused`, unless it is cancelled;
//! a connection carries another request only after it was told the whole of the last one.
//! Not here: what is fetched and why (`daemon::http::fetch`), protocol (`http::origin`).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::http::Method;
use crate::http::origin::pool::{Action, AddressId, ConnId, Outcome, Pool, Refusal, RequestId};
use crate::http::origin::{self, Close, Closed, Error, Stage, Step};
use crate::http::request::header_space;
use crate::limits::{
    ORIGIN_BUFFER_BYTES, ORIGIN_BUFFER_BYTES_LARGE, ORIGIN_HEAD_BYTES_MAX, ORIGIN_SEAL_BYTES,
    ORIGIN_SOCKETS_MAX, ORIGIN_SPARE_SENDS_MAX, ORIGIN_SPARES_MAX,
};
use crate::stdx::bytes::{Bytes, Spares};
use crate::stdx::slab::{Key, Slab};
use crate::sys::clock::unix_seconds;
use crate::sys::outgoing::Outgoing;
use crate::sys::uring::{Errno, Ring, Socket};
use crate::time::Instant;
use crate::tls;

use super::super::origins::OriginSettings;
use super::Map;
use super::body::WholeBody;

/// What became of a request.
pub enum Event {
    /// Its answer's head, whole.
    Head(RequestId, Bytes),
    /// Bytes of its answer's body.
    Body(RequestId, Vec<Bytes>),
    /// Its answer is whole.
    End(RequestId),
    /// Its answer will never be whole.
    Failed(RequestId, Error),
    /// It was sent nowhere, or nobody answered.
    Refused(RequestId, Refusal),
}

/// One origin, while anybody needs it.
struct Origin {
    settings: Arc<OriginSettings>,
    tls: Option<tls::Options>,
    pool: Pool,
    conns: Map<ConnId, Key>,
    /// Replaced by a reload: goes with its last request.
    is_retired: bool,
    requests: usize,
}

struct Conn {
    origin: Key,
    id: ConnId,
    address: AddressId,
    http: origin::Conn,
    tls: Option<Box<tls::Session>>,
    socket: Option<Socket>,
    /// Bytes that were received and not understood yet: a part of a head.
    input: Vec<u8>,
    request: Option<RequestId>,
    /// A receive is in flight.
    is_filling: bool,
    /// A send is in flight.
    is_sending: bool,
    /// To be sent after that.
    unsent: Vec<u8>,
    /// The rest of a body, to be sealed when what was sealed before is sent.
    unsealed: Option<Bytes>,
    /// The body of its request is still kept.
    has_body: bool,
    /// A send failed: what may still come is an answer that was sent before that.
    is_broken: bool,
    /// Nothing is received: whoever takes the body has enough of it.
    is_paused: bool,
    /// Body bytes still to come, where that is known: a large body gets large buffers.
    left: u64,
}

impl Conn {
    /// Seals a piece of the body, if there is more: the whole of a long one would hold up the
    /// worker, and its ciphertext is memory that nobody counts.
    fn seal(&mut self) -> Result<(), tls::TlsError> {
        let (Some(session), Some(rest)) = (&mut self.tls, self.unsealed.take()) else {
            return Ok(());
        };
        let count = rest.len().min(ORIGIN_SEAL_BYTES);
        if count < rest.len() {
            self.unsealed = Some(rest.part(count..rest.len()));
        }
        session.send(&rest[..count])
    }
}

struct Request {
    origin: Key,
    message: Message,
    conn: Option<Key>,
}

/// A request as it is sent.
pub struct Message {
    pub head: Vec<u8>,
    pub method: Method,
    /// Until it is sent for the last time.
    pub body: Option<WholeBody>,
}

/// See the module.
pub struct Origins {
    origins: Slab<Origin>,
    /// By the number in the settings.
    by_number: Vec<Key>,
    conns: Slab<Conn>,
    requests: Map<RequestId, Request>,
    next_request: u64,
    pub events: VecDeque<Event>,
    /// Origins whose pools have something to do.
    touched: Vec<Key>,
    /// What is received into, again.
    buffers: Spares,
    /// What is sent from, again.
    #[expect(clippy::vec_box, reason = "the kernel is pointed at each while it is sent")]
    sends: Vec<Box<Outgoing>>,
    pub bytes_received: u64,
    /// What went wrong with connections, by kind, since it was last taken.
    pub errors: [u64; Error::KINDS],
}

impl Origins {
    pub fn new() -> Self {
        Self {
            origins: Slab::new(usize::MAX),
            by_number: Vec::new(),
            conns: Slab::new(ORIGIN_SOCKETS_MAX),
            requests: Map::default(),
            next_request: 0,
            events: VecDeque::new(),
            touched: Vec::new(),
            buffers: Spares::new(ORIGIN_SPARES_MAX, ORIGIN_BUFFER_BYTES),
            sends: Vec::new(),
            bytes_received: 0,
            errors: [0; Error::KINDS],
        }
    }

    /// Whether there is anything whose time can run out.
    pub const fn is_idle(&self) -> bool {
        self.conns.is_empty()
    }

    /// Whether `work` has something to do, or there are events.
    pub fn has_news(&self) -> bool {
        !self.touched.is_empty() || !self.events.is_empty()
    }

    /// Takes over the origins of new settings; those that are as they were keep their connections.
    pub fn handle_settings(&mut self, all: &[Arc<OriginSettings>]) {
        let before = std::mem::take(&mut self.by_number);
        for (number, settings) in all.iter().enumerate() {
            let same = before.get(number).copied().filter(|key| {
                self.origins.find(*key).is_some_and(|origin| origin.settings.is_same(settings))
            });
            let key = same.unwrap_or_else(|| self.add(settings, false));
            self.by_number.push(key);
        }
        for key in before {
            if !self.by_number.contains(&key)
                && let Some(origin) = self.origins.find_mut(key)
            {
                origin.is_retired = true;
                self.touched.push(key);
            }
        }
    }

    /// Sends `message` to `origin`.
    pub fn ask(
        &mut self,
        origin: &Arc<OriginSettings>,
        message: Message,
        now: Instant,
    ) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        if origin.addresses.is_empty() {
            self.events.push_back(Event::Refused(id, Refusal::Down));
            return id;
        }
        let key = self.find(origin);
        let Some(origin) = self.origins.find_mut(key) else { return id };
        origin.requests += 1;
        origin.pool.handle_request(now, id, message.method.is_idempotent());
        self.requests.insert(id, Request { origin: key, message, conn: None });
        self.touched.push(key);
        id
    }

    /// The origin with these settings. One of a configuration that this worker has not heard of, or
    /// has no more, is there for as long as somebody asks it.
    fn find(&mut self, settings: &Arc<OriginSettings>) -> Key {
        let is_it = |origin: &Origin| {
            Arc::ptr_eq(&origin.settings, settings) || origin.settings.is_same(settings)
        };
        let slots = 0..self.origins.slot_count();
        let mut known = slots.filter_map(|at| self.origins.slot(at));
        if let Some((key, _)) = known.find(|(_, origin)| is_it(origin)) {
            return key;
        }
        self.add(settings, true)
    }

    fn add(&mut self, settings: &Arc<OriginSettings>, is_retired: bool) -> Key {
        let origin = Origin {
            pool: Pool::new(settings.addresses.len().max(1), settings.pool),
            settings: Arc::clone(settings),
            tls: settings.tls.as_ref().map(|(options, _)| options.for_thread()),
            conns: Map::default(),
            is_retired,
            requests: 0,
        };
        match self.origins.insert(origin) {
            Ok(key) => key,
            Err(_) => unreachable!("the slab has no bound"),
        }
    }

    /// Nobody wants the answer any more.
    pub fn cancel(&mut self, id: RequestId, now: Instant) {
        let Some(request) = self.forget(id) else { return };
        if let Some(conn) = request.conn.and_then(|key| self.conns.find_mut(key)) {
            conn.request = None;
        }
        if let Some(origin) = self.origins.find_mut(request.origin) {
            origin.pool.handle_cancel(now, id);
            self.touched.push(request.origin);
        }
    }

    /// Stops, or goes on, receiving the answer to `id`.
    pub fn pause(&mut self, id: RequestId, is_paused: bool, now: Instant, ring: &mut Ring) {
        let Some(key) = self.requests.get(&id).and_then(|request| request.conn) else { return };
        let Some(conn) = self.conns.find_mut(key) else { return };
        if conn.is_paused == is_paused {
            return;
        }
        conn.is_paused = is_paused;
        if is_paused {
            conn.http.handle_pause();
        } else {
            conn.http.handle_resume(now);
            self.receive(key, ring);
        }
    }

    fn forget(&mut self, id: RequestId) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        if let Some(origin) = self.origins.find_mut(request.origin) {
            origin.requests -= 1;
        }
        Some(request)
    }

    /// Carries out what the pools decided. To be called after anything else.
    pub fn work(&mut self, now: Instant, ring: &mut Ring) {
        while let Some(key) = self.touched.pop() {
            while let Some(action) =
                self.origins.find_mut(key).and_then(|origin| origin.pool.poll_action())
            {
                self.act(key, action, now, ring);
            }
            if let Some(origin) = self.origins.find(key)
                && origin.is_retired
                && origin.requests == 0
            {
                for conn in origin.conns.values().copied().collect::<Vec<_>>() {
                    self.close(conn, ring);
                }
                drop(self.origins.remove(key));
            }
        }
    }

    fn act(&mut self, key: Key, action: Action, now: Instant, ring: &mut Ring) {
        match action {
            Action::Connect { conn, address } => self.connect(key, conn, address, now, ring),
            Action::Send { conn, request } => self.send(key, conn, request, now, ring),
            Action::Close { conn } => {
                if let Some(conn) = self.origins.find(key).and_then(|at| at.conns.get(&conn)) {
                    self.close(*conn, ring);
                }
            }
            Action::Refuse { request, refusal } => {
                if self.forget(request).is_some() {
                    self.events.push_back(Event::Refused(request, refusal));
                }
            }
        }
    }

    fn connect(&mut self, key: Key, id: ConnId, address: AddressId, now: Instant, ring: &mut Ring) {
        let Some(origin) = self.origins.find_mut(key) else { return };
        let conn = Conn {
            origin: key,
            id,
            address,
            http: origin::Conn::new(now),
            tls: None,
            socket: None,
            input: Vec::new(),
            request: None,
            is_filling: false,
            is_sending: false,
            unsent: Vec::new(),
            unsealed: None,
            has_body: false,
            is_broken: false,
            is_paused: false,
            left: 0,
        };
        let session = match (&origin.tls, &origin.settings.tls) {
            (Some(options), Some((_, name))) => tls::Session::new(options, name, unix_seconds())
                .map(|session| Some(Box::new(session))),
            _ => Ok(None),
        };
        let (session, added) = match session {
            Ok(session) => (session, self.conns.insert(conn)),
            Err(error) => {
                log::warn!("origin {}: {error}", origin.settings.name);
                origin.pool.handle_connect_failed(now, id);
                return;
            }
        };
        let Ok(tag) = added else {
            log::warn!("origin {}: no more sockets for origins", origin.settings.name);
            origin.pool.handle_connect_failed(now, id);
            return;
        };
        origin.conns.insert(id, tag);
        self.conns.find_mut(tag).expect("just inserted").tls = session;
        let address = origin.settings.addresses[address.0];
        ring.make_socket(tag, address);
    }

    pub fn handle_socket(
        &mut self,
        tag: Key,
        result: Result<Socket, Errno>,
        now: Instant,
        ring: &mut Ring,
    ) {
        let Some(conn) = self.conns.find_mut(tag) else {
            if let Ok(socket) = result {
                ring.close_unarmed(socket);
            }
            return;
        };
        match result {
            Ok(socket) => {
                conn.socket = Some(socket);
                let Some(origin) = self.origins.find(conn.origin) else { return };
                ring.connect(tag, socket, origin.settings.addresses[conn.address.0]);
            }
            Err(_) => self.fail(tag, Error::Connect, now, ring),
        }
    }

    pub fn handle_connected(
        &mut self,
        tag: Key,
        result: Result<(), Errno>,
        now: Instant,
        ring: &mut Ring,
    ) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        if let Err(error) = result {
            if let Some(origin) = self.origins.find(conn.origin) {
                let address = origin.settings.addresses[conn.address.0];
                let error = std::io::Error::from(error);
                log::debug!("origin {} at {address}: {error}", origin.settings.name);
            }
            self.fail(tag, Error::Connect, now, ring);
            return;
        }
        if conn.tls.is_some() {
            self.flush_tls(tag, ring);
            self.receive(tag, ring);
            return;
        }
        self.ready(tag, now, ring);
    }

    /// The connection is made, TLS included.
    fn ready(&mut self, tag: Key, now: Instant, ring: &mut Ring) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        conn.http.handle_connected();
        if let Some(origin) = self.origins.find_mut(conn.origin) {
            origin.pool.handle_connected(now, conn.id);
            self.touched.push(conn.origin);
        }
        self.receive(tag, ring);
    }

    fn send(&mut self, key: Key, id: ConnId, request: RequestId, now: Instant, ring: &mut Ring) {
        let Some(tag) = self.origins.find(key).and_then(|at| at.conns.get(&id)).copied() else {
            return;
        };
        let (Some(conn), Some(asked)) = (self.conns.find_mut(tag), self.requests.get_mut(&request))
        else {
            return;
        };
        asked.conn = Some(tag);
        conn.request = Some(request);
        conn.left = 0;
        conn.http.handle_request(now, asked.message.method);
        let body = asked.message.body.as_ref().map(WholeBody::bytes);
        conn.has_body = body.is_some();
        if let Some(session) = &mut conn.tls {
            let sealed = session.send(&asked.message.head);
            conn.unsealed = body;
            if let Err(error) = sealed.and_then(|()| conn.seal()) {
                log::warn!("a request to an origin could not be sealed: {error}");
                self.fail(tag, Error::EarlyClose(Stage::FirstByte), now, ring);
                return;
            }
            self.flush_tls(tag, ring);
        } else {
            let mut outgoing = self.sends.pop().unwrap_or_default();
            outgoing.own().extend_from_slice(&asked.message.head);
            if let Some(body) = body.filter(|body| !body.is_empty()) {
                outgoing.push_shared(body);
            }
            self.write_all(tag, outgoing, ring);
        }
        self.receive(tag, ring);
    }

    fn flush_tls(&mut self, tag: Key, ring: &mut Ring) {
        while let Some(output) = self
            .conns
            .find_mut(tag)
            .and_then(|conn| conn.tls.as_mut())
            .and_then(|session| session.poll_output())
        {
            self.write(tag, &output, ring);
        }
    }

    fn write(&mut self, tag: Key, bytes: &[u8], ring: &mut Ring) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        let Some(socket) = conn.socket else { return };
        if conn.is_broken {
            return;
        }
        if conn.is_sending {
            conn.unsent.extend_from_slice(bytes);
            return;
        }
        let mut outgoing = self.sends.pop().unwrap_or_default();
        outgoing.own().extend_from_slice(bytes);
        outgoing.seal();
        conn.is_sending = true;
        ring.send_request(tag, socket, outgoing);
    }

    /// Sends a whole request on a connection that sends nothing else.
    fn write_all(&mut self, tag: Key, mut outgoing: Box<Outgoing>, ring: &mut Ring) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        let Some(socket) = conn.socket else { return };
        assert!(!conn.is_sending, "only a connection whose last request was sent is used again");
        outgoing.seal();
        conn.is_sending = true;
        ring.send_request(tag, socket, outgoing);
    }

    fn keep(&mut self, mut outgoing: Box<Outgoing>) {
        // One that held the ciphertext of a long body would hold as much memory for ever.
        let is_small = outgoing.own().capacity() <= ORIGIN_BUFFER_BYTES;
        if is_small && self.sends.len() < ORIGIN_SPARE_SENDS_MAX {
            outgoing.reset();
            self.sends.push(outgoing);
        }
    }

    pub fn handle_sent(
        &mut self,
        tag: Key,
        mut outgoing: Box<Outgoing>,
        result: Result<usize, Errno>,
        now: Instant,
        ring: &mut Ring,
    ) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        let Some(socket) = conn.socket else { return };
        conn.is_sending = false;
        match result {
            Ok(sent) => {
                conn.http.handle_sent(now);
                outgoing.advance(sent as u64);
            }
            Err(Errno(libc::EAGAIN | libc::EINTR)) => {}
            // What comes next tells: an answer that was sent before the close, or the close.
            Err(_) => {
                conn.is_broken = true;
                return;
            }
        }
        if outgoing.left() > 0 {
            conn.is_sending = true;
            ring.send_request(tag, socket, outgoing);
            return;
        }
        let unsent = std::mem::take(&mut conn.unsent);
        self.keep(outgoing);
        if !unsent.is_empty() {
            self.write(tag, &unsent, ring);
        } else if self.conns.find(tag).is_some_and(|conn| conn.unsealed.is_some()) {
            self.seal_on(tag, now, ring);
        }
        self.release_body(tag);
    }

    /// What was sealed is sent: the next piece of the body follows.
    fn seal_on(&mut self, tag: Key, now: Instant, ring: &mut Ring) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        match conn.seal() {
            Ok(()) => self.flush_tls(tag, ring),
            Err(error) => {
                log::warn!("a request to an origin could not be sealed: {error}");
                self.handle_close(tag, Close::Broken, now, ring);
            }
        }
    }

    /// Lets go of a body that is sent and will not be sent again (`http::origin::pool`): the
    /// answer may take long, and others wait for the memory.
    fn release_body(&mut self, tag: Key) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        let is_sent = !conn.is_sending && conn.unsent.is_empty() && conn.unsealed.is_none();
        if !conn.has_body || !is_sent {
            return;
        }
        let Some(request) = conn.request.and_then(|id| self.requests.get_mut(&id)) else { return };
        if conn.http.is_answered() || !request.message.method.is_idempotent() {
            request.message.body = None;
            conn.has_body = false;
        }
    }

    fn receive(&mut self, tag: Key, ring: &mut Ring) {
        while ring.lent_wanted() > 0 {
            ring.lend(self.buffers.take());
        }
        self.receive_with(tag, true, ring);
    }

    /// Receives what comes next. `may_lend`: into a lent buffer, where that is large enough.
    fn receive_with(&mut self, tag: Key, may_lend: bool, ring: &mut Ring) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        let Some(socket) = conn.socket else { return };
        if conn.is_filling || conn.is_paused {
            return;
        }
        conn.is_filling = true;
        // An answer begins when it was asked for, and more of a large one is often there already.
        let is_early = conn.left == 0;
        // Under TLS what is received is not yet input.
        let mut buffer = match conn.tls {
            Some(_) => Vec::new(),
            None => std::mem::take(&mut conn.input),
        };
        let large = ORIGIN_BUFFER_BYTES_LARGE;
        let room = if conn.left >= large as u64 { large } else { ORIGIN_BUFFER_BYTES };
        if buffer.capacity() == 0 && room == ORIGIN_BUFFER_BYTES {
            if may_lend {
                ring.fill_lent(tag, socket, is_early);
                return;
            }
            buffer = self.buffers.take();
        } else if buffer.capacity() - buffer.len() < room / 4 {
            buffer.reserve_exact(room);
        }
        ring.fill(tag, socket, buffer, is_early);
    }

    pub fn handle_filled(
        &mut self,
        tag: Key,
        buffer: Vec<u8>,
        result: Result<usize, Errno>,
        now: Instant,
        ring: &mut Ring,
    ) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        conn.is_filling = false;
        let count = match result {
            Ok(count) => count,
            Err(Errno(libc::EAGAIN | libc::EINTR)) => {
                if conn.tls.is_none() {
                    conn.input = buffer;
                }
                self.receive(tag, ring);
                return;
            }
            Err(Errno(libc::ENOBUFS)) => {
                self.receive_with(tag, false, ring);
                return;
            }
            Err(_) => {
                self.handle_close(tag, Close::Broken, now, ring);
                return;
            }
        };
        self.bytes_received += count as u64;
        if count == 0 {
            let is_orderly = conn.tls.as_ref().is_none_or(|session| session.has_peer_closed());
            let close = if is_orderly { Close::Orderly } else { Close::Broken };
            self.handle_close(tag, close, now, ring);
            return;
        }
        let Some(session) = &mut conn.tls else {
            self.read(tag, buffer, now, ring);
            return;
        };
        let was_connected = session.is_connected();
        let mut plain = std::mem::take(&mut conn.input);
        let outcome = session.handle_input(&buffer, &mut plain);
        self.buffers.give(buffer);
        let is_connected = session.is_connected();
        let has_closed = session.has_peer_closed();
        self.flush_tls(tag, ring);
        if let Err(error) = outcome {
            self.report_tls(tag, &error);
            let broken =
                if was_connected { Error::EarlyClose(Stage::Body) } else { Error::Connect };
            self.fail(tag, broken, now, ring);
            return;
        }
        if is_connected && !was_connected {
            self.ready(tag, now, ring);
        }
        self.read(tag, plain, now, ring);
        if has_closed {
            self.handle_close(tag, Close::Orderly, now, ring);
        }
    }

    fn report_tls(&self, tag: Key, error: &tls::TlsError) {
        if let Some(conn) = self.conns.find(tag)
            && let Some(origin) = self.origins.find(conn.origin)
        {
            let address = origin.settings.addresses[conn.address.0];
            log::warn!("origin {} at {address}: {error}", origin.settings.name);
        }
    }

    /// Reads what came: `input` is all that is not understood yet.
    fn read(&mut self, tag: Key, mut input: Vec<u8>, now: Instant, ring: &mut Ring) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        let Some(origin) = self.origins.find_mut(conn.origin) else { return };
        let options = origin.settings.conn;
        let mut at = 0;
        let (mut head, mut body) = (None, Vec::new());
        let (mut has_ended, mut failure) = (false, None);
        loop {
            let mut space = header_space();
            match conn.http.handle_input(now, &input[at..], &mut space, &options) {
                Step::NeedMore => break,
                Step::Consumed(bytes) => at += bytes,
                Step::Head(response, bytes) => {
                    conn.left = match response.framing {
                        origin::Framing::Length(length) => length,
                        _ => 0,
                    };
                    head = Some(at..at + bytes);
                    at += bytes;
                }
                Step::Body(range, bytes) => {
                    body.push(at + range.start..at + range.end);
                    conn.left = conn.left.saturating_sub((range.end - range.start) as u64);
                    at += bytes;
                }
                Step::End(bytes) => {
                    has_ended = true;
                    at += bytes;
                }
                Step::Failed(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let rest = input.split_off(at);
        let is_part = failure.is_none() && !rest.is_empty();
        conn.input = if is_part { rest } else { Vec::new() };
        if conn.input.len() > ORIGIN_HEAD_BYTES_MAX {
            failure = Some(Error::HeadTooLarge(origin::HeadBound::Bytes));
        }
        if head.is_some() || !body.is_empty() {
            // A buffer that is mostly empty would cost more than its bytes while they are kept.
            let memory = if input.len() < input.capacity() / 4 {
                let bytes = Arc::new(input.as_slice().to_vec());
                self.buffers.give(input);
                bytes
            } else {
                self.buffers.share(input)
            };
            if let (Some(range), Some(request)) = (head, conn.request) {
                origin.pool.handle_head(now, conn.id);
                let bytes = Bytes::new(Arc::clone(&memory), range);
                self.events.push_back(Event::Head(request, bytes));
            }
            if let (false, Some(request)) = (body.is_empty(), conn.request) {
                let part = |range| Bytes::new(Arc::clone(&memory), range);
                let pieces = body.into_iter().map(part).collect();
                self.events.push_back(Event::Body(request, pieces));
            }
        }
        self.touched.push(conn.origin);
        self.release_body(tag);
        if has_ended {
            self.end(tag, now, ring);
        }
        match failure {
            // Behind a whole answer: the connection is closed already.
            Some(error) if self.conns.find(tag).is_none() => self.errors[error.kind()] += 1,
            Some(error) => self.fail(tag, error, now, ring),
            None => self.receive(tag, ring),
        }
    }

    /// The answer under way is whole.
    fn end(&mut self, tag: Key, now: Instant, ring: &mut Ring) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        if let Some(request) = conn.request.take() {
            self.events.push_back(Event::End(request));
            self.forget(request);
        }
        let Some(conn) = self.conns.find_mut(tag) else { return };
        conn.is_paused = false;
        // An answer that came before its request was sent to the end says nothing of the rest.
        let is_sent = !conn.is_sending && conn.unsent.is_empty() && conn.unsealed.is_none();
        let keeps = conn.http.is_reusable() && is_sent && !conn.is_broken;
        let outcome = if keeps { Outcome::Kept } else { Outcome::Closed };
        let (origin, id) = (conn.origin, conn.id);
        if let Some(origin) = self.origins.find_mut(origin) {
            origin.pool.handle_done(now, id, outcome);
        }
        self.touched.push(origin);
        if !keeps {
            self.close(tag, ring);
        }
    }

    fn handle_close(&mut self, tag: Key, close: Close, now: Instant, ring: &mut Ring) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        match conn.http.handle_close(close) {
            Closed::Complete => self.end(tag, now, ring),
            Closed::Incomplete(error) => self.fail(tag, error, now, ring),
            Closed::Unused => {
                let (origin, id) = (conn.origin, conn.id);
                if let Some(origin) = self.origins.find_mut(origin) {
                    origin.pool.handle_closed(now, id);
                }
                self.touched.push(origin);
                self.close(tag, ring);
            }
        }
    }

    /// The connection is of no more use.
    fn fail(&mut self, tag: Key, error: Error, now: Instant, ring: &mut Ring) {
        let Some(conn) = self.conns.find_mut(tag) else { return };
        self.errors[error.kind()] += 1;
        let (origin, id, request) = (conn.origin, conn.id, conn.request.take());
        let is_unanswered = matches!(error, Error::EarlyClose(Stage::FirstByte));
        if let Some(origin) = self.origins.find_mut(origin) {
            match request {
                // The pool gives the request to another connection, or refuses it.
                Some(_) if is_unanswered => {
                    origin.pool.handle_done(now, id, Outcome::Unanswered);
                }
                Some(request) => {
                    origin.pool.handle_done(now, id, Outcome::Failed);
                    self.events.push_back(Event::Failed(request, error));
                    self.forget(request);
                }
                None => origin.pool.handle_closed(now, id),
            }
        }
        self.touched.push(origin);
        self.close(tag, ring);
    }

    fn close(&mut self, tag: Key, ring: &mut Ring) {
        let Some(conn) = self.conns.remove(tag) else { return };
        if let Some(origin) = self.origins.find_mut(conn.origin) {
            origin.conns.remove(&conn.id);
        }
        // A socket that is still being made is closed when it comes.
        if let Some(socket) = conn.socket {
            ring.close(socket);
        }
    }

    /// Looks for what has run out of time.
    pub fn sweep(&mut self, now: Instant, ring: &mut Ring) {
        for index in 0..self.conns.slot_count() {
            let Some((tag, conn)) = self.conns.slot(index) else { continue };
            let Some(origin) = self.origins.find(conn.origin) else { continue };
            let options = origin.settings.conn;
            let Some(conn) = self.conns.find_mut(tag) else { continue };
            if let Some(error) = conn.http.handle_timeout(now, &options) {
                self.fail(tag, error, now, ring);
            }
        }
        for index in 0..self.origins.slot_count() {
            let Some((key, _)) = self.origins.slot(index) else { continue };
            if let Some(origin) = self.origins.find_mut(key) {
                origin.pool.handle_timeout(now);
                self.touched.push(key);
            }
        }
        if self.requests.is_empty() {
            self.buffers.clear();
        }
        self.work(now, ring);
    }
}
