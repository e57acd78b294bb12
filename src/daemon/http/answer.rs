//! From a parsed request to the pieces of its answer.
//!
//! Input: a request.   Output: pieces in the connection's outgoing batch, or the reason to wait.
//! Thread: one worker; no system call, lock or allocation on a hit.
//! Not here: syntax and framing (`http`), sending (`daemon::http::send`), hosts with an origin
//! (`daemon::http::cached`).

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use crate::cache::key::{self, Key as FileName};
use crate::cache::name::{self, Marks};
use crate::cache::way_out::{self, Circumstances, WayOut};
use crate::http::encoding;
use crate::http::head::Persistence;
use crate::http::hosts::{HostName, normalize};
use crate::http::range::ByteRange;
use crate::http::reply::{self, Context, Extra, Gather, Plan};
use crate::http::target::{self, Target};
use crate::http::{Method, Request, Status};
use crate::limits::{CHUNK_BYTES, OPEN_TRIES_MAX};
use crate::stdx::slab::Key;
use crate::sys::mapping::Mapping;
use crate::sys::outgoing::Outgoing;

use super::Shared;
use super::cached::Place;
use super::conn::{Connection, Descriptor, FileStream, Stream};
use super::fetch::Next;
use super::files::{Lookup, Version, sibling_key};
use super::follow::Follow;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its answer is in the batch.
    Done,
    /// Its head is in the batch, its body follows as a stream: the batch must be sent.
    Streams,
    /// It waits for something; nothing of it is in the batch.
    Waits,
}

/// A request's name resolved, or what it is refused with.
pub(super) enum Resolved {
    File(Rc<Version>),
    /// The same, with an origin's answer that was stored.
    Hit {
        version: Rc<Version>,
        is_stale: bool,
    },
    /// An answer that is still on its way.
    Follow(Rc<Follow>),
    Status(Status, bool),
    Options,
    Waits,
}

impl Resolved {
    /// Whether what was asked for is there.
    fn is_found(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Hit { version, .. } => {
                version.record.as_ref().is_none_or(|record| record.status < 300)
            }
            Self::Follow(follow) => {
                follow.answer().is_some_and(|answer| answer.record.status < 300)
            }
            Self::Status(..) | Self::Options | Self::Waits => false,
        }
    }
}

struct Gathering<'a> {
    out: &'a mut Outgoing,
    mapping: Option<&'a Rc<Mapping>>,
}

impl Gather for Gathering<'_> {
    fn own(&mut self) -> &mut Vec<u8> {
        self.out.own()
    }

    fn file(&mut self, range: ByteRange) {
        if let Some(mapping) = self.mapping {
            self.out.push_file(mapping, &(range.first..range.last + 1));
        }
    }
}

impl Shared {
    /// Answers `request` into `out`, which may hold earlier answers of the same batch.
    pub(super) fn answer(
        &mut self,
        id: Key,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        out: &mut Outgoing,
    ) -> Answer {
        if request.method.is_change() {
            return self.answer_change(id, conn, request, out);
        }
        let is_first_try = conn.tries == 0;
        if is_first_try && conn.answers == 0 {
            conn.begun = self.now;
        }
        // Only a batch that is empty may wait: what is answered already must not.
        let waiter = out.is_empty().then_some(id);
        let next = conn.next.take();
        let kept = match &next {
            Some(Next::Stored(_) | Next::Alone) => next.clone(),
            _ => None,
        };
        let resolved = self.resolve(request, waiter, next);
        if matches!(resolved, Resolved::Waits) && !self.asks_origin {
            // It waits for a file, and what came of the fetch still holds.
            conn.next.clone_from(&kept);
        }
        if is_first_try {
            match &resolved {
                Resolved::File(_) | Resolved::Hit { .. } => self.counters.table_hits.add(1),
                Resolved::Waits if waiter.is_some() => self.counters.table_misses.add(1),
                _ => {}
            }
        }
        let is_hit = self.feed.is_some() && resolved.is_found();
        let answer = self.answer_resolved(id, conn, request, resolved, kept, out);
        if is_hit && answer != Answer::Waits {
            self.feed_hit(conn, request);
        }
        answer
    }

    fn answer_resolved(
        &mut self,
        id: Key,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        resolved: Resolved,
        kept: Option<Next>,
        out: &mut Outgoing,
    ) -> Answer {
        match resolved {
            Resolved::Waits => self.wait(conn, request, out),
            Resolved::Options => {
                self.emit_options(conn, request, out);
                Answer::Done
            }
            Resolved::Status(status, keep) => {
                self.emit_status(conn, request, status, keep, out);
                Answer::Done
            }
            Resolved::File(version) => {
                let answer = self.answer_file(id, conn, request, &version, out);
                if answer == Answer::Waits {
                    // For pages of the file; what came of the fetch still holds.
                    conn.next = kept;
                }
                answer
            }
            Resolved::Hit { version, is_stale } => {
                let answer = self.answer_file(id, conn, request, &version, out);
                if answer != Answer::Waits {
                    self.counters.cache.hits.add(1);
                    self.counters.cache.stale_served.add(is_stale.into());
                    if request.method == Method::Get {
                        self.counters.cache.hit_bytes.add(version.prepared.file_len());
                    }
                }
                answer
            }
            Resolved::Follow(follow) => self.answer_follow(id, conn, request, &follow, out),
        }
    }

    fn wait(
        &mut self,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        out: &mut Outgoing,
    ) -> Answer {
        if !out.is_empty() {
            return Answer::Waits;
        }
        // What waits for an origin waits as long as the origin may take.
        if std::mem::take(&mut self.asks_origin) {
            conn.awaits_origin = true;
            conn.tries = 1;
            return Answer::Waits;
        }
        conn.tries += 1;
        if conn.tries > OPEN_TRIES_MAX {
            self.emit_status(conn, request, Status::ServiceUnavailable, true, out);
            return Answer::Done;
        }
        Answer::Waits
    }

    fn resolve(
        &mut self,
        request: &Request<'_, '_>,
        waiter: Option<Key>,
        next: Option<Next>,
    ) -> Resolved {
        match self.resolve_inner(request, waiter, next) {
            Ok(resolved) => resolved,
            // A path that is not one leaves doubt about what the client means: close.
            Err(status) => Resolved::Status(status, status != Status::BadRequest),
        }
    }

    fn resolve_inner(
        &mut self,
        request: &Request<'_, '_>,
        waiter: Option<Key>,
        next: Option<Next>,
    ) -> Result<Resolved, Status> {
        let settings = Arc::clone(&self.settings);
        let mut foreign = HostName::new();
        let Some((authority, path)) = address(request)? else { return Ok(Resolved::Options) };
        let (site, directory) = settings.site(authority, &mut foreign)?;
        if !site.answers(request.method) {
            return Err(Status::MethodNotAllowed);
        }
        match request.method {
            Method::Options => return Ok(Resolved::Options),
            method => assert!(!method.is_change(), "those do not come here"),
        }
        if let Some(origin) = site.origin {
            let place = Place { site, directory, origin, authority, path };
            return self.resolve_cached(request, &place, waiter, next);
        }
        if let Some(resolved) = self.resolve_orphan(request, next) {
            return Ok(resolved);
        }
        let name = &mut self.name;
        key::begin(directory, name);
        let path_at = name.len();
        target::decode_path(path, settings.dot_files, name)?;
        if name::needs_escape(&name[path_at..]) {
            escape(directory, path_at, name)?;
        }
        if name.ends_with(b"/") && (site.index.is_empty() || !key::append(name, &site.index)) {
            return Err(Status::NotFound);
        }
        let found = self.files.lookup(name, self.now, &settings, waiter, &mut self.ring);
        let version = match found {
            Lookup::Found(version) => version,
            Lookup::Absent(status) => return Err(status),
            Lookup::Directory => return Err(Status::NotFound),
            Lookup::Opening => return Ok(Resolved::Waits),
        };
        if version.codings.is_empty() {
            return Ok(Resolved::File(version));
        }
        Ok(self.resolve_sibling(request, version, waiter))
    }

    fn resolve_sibling(
        &mut self,
        request: &Request<'_, '_>,
        version: Rc<Version>,
        waiter: Option<Key>,
    ) -> Resolved {
        let Some(coding) = encoding::choose(request.accept_encoding, version.codings) else {
            return Resolved::File(version);
        };
        let settings = Arc::clone(&self.settings);
        let name: &FileName = &self.name;
        let sibling = sibling_key(name, coding);
        match self.files.lookup(&sibling, self.now, &settings, waiter, &mut self.ring) {
            Lookup::Found(sibling) => Resolved::File(sibling),
            // It went since: the file itself is right for everybody.
            Lookup::Absent(_) | Lookup::Directory => Resolved::File(version),
            Lookup::Opening => Resolved::Waits,
        }
    }

    fn answer_file(
        &mut self,
        id: Key,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        version: &Rc<Version>,
        out: &mut Outgoing,
    ) -> Answer {
        let plan = if request.present.condition || request.present.range {
            reply::plan(request, &version.prepared, self.settings.ranges_max, &self.date)
        } else {
            Plan::Whole
        };
        let head_only = request.method == Method::Head;
        if plan == Plan::Whole && !head_only && self.answer_hot(conn, request, version, out) {
            return Answer::Done;
        }
        let body = if head_only { None } else { span(&plan, version.prepared.file_len()) };
        let Some(body) = body else {
            self.emit_file(conn, request, version, &plan, head_only, out);
            return Answer::Done;
        };
        let way = way_out::choose(Circumstances {
            body_bytes: body.end - body.start,
            reuse_bytes: version.reuse_bytes(self.bodies_bytes + (body.end - body.start)),
            file_open: version.file.is_some(),
            socket_open: self.can_install && !matches!(conn.descriptor, Descriptor::Refused),
        });
        let single = !matches!(plan, Plan::Parts(_));
        if single && (way == WayOut::Sendfile || body.end - body.start > CHUNK_BYTES) {
            return self.answer_stream(id, conn, request, version, (&plan, body, way), out);
        }
        if let Some(at) = self.first_absent(&plan, &body, version) {
            let waiter = out.is_empty().then_some(id);
            if self.files.page_in(version, at, waiter, &mut self.ring, &self.counters) {
                return Answer::Waits;
            }
            self.emit_status(conn, request, Status::ServiceUnavailable, true, out);
            return Answer::Done;
        }
        self.begin_body(conn, version, &body);
        self.emit_file(conn, request, version, &plan, false, out);
        Answer::Done
    }

    fn begin_body(&mut self, conn: &mut Connection, version: &Rc<Version>, body: &Range<u64>) {
        self.bodies_bytes += body.end - body.start;
        version.handle_sent(self.bodies_bytes);
        if version.file.is_some() {
            conn.sends = Some(Rc::clone(version));
        }
    }

    /// The shortest way: head and body lie in one run of memory already.
    fn answer_hot(
        &mut self,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        version: &Rc<Version>,
        out: &mut Outgoing,
    ) -> bool {
        let Some(arena) = &self.arena else { return false };
        // The head in the arena says nothing of the connection, so it is for those that stay open.
        if !request.keep_alive || request.minor == 0 || self.is_draining {
            return false;
        }
        if conn.http.requests().saturating_add(1) >= self.settings.http.requests_per_connection {
            return false;
        }
        let Some(block) = version.hot(arena, &self.date, self.files.epoch()) else { return false };
        let persistence = self.begin_answer(conn, request, true);
        assert!(persistence == Persistence::Keep, "checked above");
        out.push_hot(&block);
        self.counters.hot_hits.add(1);
        self.counters.count_response(request.method, Status::Ok);
        true
    }

    /// The first byte that the answer needs and that is not known to be in memory.
    fn first_absent(&self, plan: &Plan, body: &Range<u64>, version: &Version) -> Option<u64> {
        let epoch = self.files.epoch();
        let absent = |range: &Range<u64>| {
            let until = version.resident_until(range, epoch);
            (until < range.end).then_some(until)
        };
        match plan {
            Plan::Parts(parts) => {
                parts.iter().find_map(|part| absent(&(part.first..part.last + 1)))
            }
            _ => absent(body),
        }
    }

    fn answer_stream(
        &mut self,
        id: Key,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        version: &Rc<Version>,
        (plan, body, way): (&Plan, Range<u64>, WayOut),
        out: &mut Outgoing,
    ) -> Answer {
        if way == WayOut::Sendfile && matches!(conn.descriptor, Descriptor::None) {
            if out.is_empty() {
                self.ring.install(id, conn.socket);
            }
            return Answer::Waits;
        }
        self.begin_body(conn, version, &body);
        self.emit_file(conn, request, version, plan, true, out);
        out.set_more_follows(true);
        let version = Rc::clone(version);
        conn.stream = Some(Stream::File(FileStream { version, left: body, way }));
        Answer::Streams
    }

    fn emit_file(
        &mut self,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        version: &Version,
        plan: &Plan,
        head_only: bool,
        out: &mut Outgoing,
    ) {
        let persistence = self.begin_answer(conn, request, true);
        let settings = Arc::clone(&self.settings);
        let context = Context {
            date: &self.date,
            server_name: &settings.server_name,
            persistence,
            head_only: head_only || request.method == Method::Head,
        };
        let mut gathering = Gathering { out, mapping: version.mapping.as_ref() };
        reply::emit(plan, &version.prepared, &self.boundary, &context, &mut gathering);
        self.counters.count_response(request.method, plan.status());
    }

    fn emit_options(
        &mut self,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        out: &mut Outgoing,
    ) {
        let persistence = self.begin_answer(conn, request, true);
        let settings = Arc::clone(&self.settings);
        let mut foreign = HostName::new();
        let allow =
            settings.site(authority(request), &mut foreign).map_or(ALLOW_ALL, |site| &site.0.allow);
        let context = self.context(&settings.server_name, persistence, false);
        reply::emit_status(Status::NoContent, Extra::Allow(allow), &context, out.own());
        self.counters.count_response(request.method, Status::NoContent);
    }

    pub(super) fn emit_status(
        &mut self,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        status: Status,
        keep: bool,
        out: &mut Outgoing,
    ) {
        let persistence = self.begin_answer(conn, request, keep);
        let settings = Arc::clone(&self.settings);
        let mut foreign = HostName::new();
        let extra = match status {
            Status::MethodNotAllowed => {
                let site = settings.site(authority(request), &mut foreign);
                Extra::Allow(site.map_or(ALLOW_ALL, |site| &site.0.allow))
            }
            Status::ServiceUnavailable => Extra::RetryAfter(1),
            _ => Extra::None,
        };
        let head_only = request.method == Method::Head;
        let context = self.context(&settings.server_name, persistence, head_only);
        reply::emit_status(status, extra, &context, out.own());
        self.counters.count_response(request.method, status);
    }

    /// Answers bytes that are no request, or one whose end is not waited for: the connection
    /// closes.
    pub(super) fn emit_refusal(
        &mut self,
        conn: &mut Connection,
        status: Status,
        out: &mut Outgoing,
    ) {
        conn.is_closing = true;
        conn.lingers = true;
        if conn.answers == 0 {
            conn.begun = self.now;
        }
        conn.answers += 1;
        conn.body = None;
        let settings = Arc::clone(&self.settings);
        let context = self.context(&settings.server_name, Persistence::Close, false);
        let is_passing = status == Status::ServiceUnavailable;
        let extra = if is_passing { Extra::RetryAfter(1) } else { Extra::None };
        reply::emit_status(status, extra, &context, out.own());
        self.counters.refused_requests.add(1);
        self.counters.count_response(Method::Other, status);
    }

    pub(super) fn context<'a>(
        &'a self,
        server_name: &'a str,
        persistence: Persistence,
        head_only: bool,
    ) -> Context<'a> {
        Context { date: &self.date, server_name, persistence, head_only }
    }

    /// Counts the answer to `request` and decides whether the connection lives on.
    pub(super) fn begin_answer(
        &mut self,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        keep: bool,
    ) -> Persistence {
        let more_allowed = conn.http.handle_answer(self.now, &self.settings.http);
        conn.answers += 1;
        conn.tries = 0;
        conn.awaits_origin = false;
        // What was received before the order to end is carried out first.
        let goes_on = more_allowed && (!self.is_draining || conn.is_followed);
        let persistence = reply::persistence(request, keep && goes_on);
        if persistence == Persistence::Close {
            conn.is_closing = true;
            conn.is_farewell = keep && !request.keep_alive;
            conn.lingers |= !keep;
        }
        persistence
    }
}

/// The host that a request is for, and its path, still percent-encoded.
type Address<'b> = (&'b [u8], &'b [u8]);

/// Whom a request is for, and for what; `None` for the server as a whole.
pub(super) fn address<'b>(request: &Request<'_, 'b>) -> Result<Option<Address<'b>>, Status> {
    match target::parse(request.method, request.target) {
        Ok(Target::Path { authority: Some(authority), path }) => {
            check_host(request.host)?;
            Ok(Some((authority, path)))
        }
        Ok(Target::Path { authority: None, path }) => Ok(Some((request.host, path))),
        Ok(Target::Server) => check_host(request.host).map(|()| None),
        // CONNECT names an authority: it is a method we do not have, not a malformed path.
        Err(_) if request.method == Method::Other => Ok(Some((request.host, b"/"))),
        Err(status) => Err(status),
    }
}

/// RFC 9112 section 3.2: a malformed Host is refused even where the target names the host.
fn check_host(host: &[u8]) -> Result<(), Status> {
    let is_good = host.is_empty() || normalize(host).is_some();
    if is_good { Ok(()) } else { Err(Status::BadRequest) }
}

/// The host that a request means, if its target can be read.
fn authority<'b>(request: &Request<'_, 'b>) -> &'b [u8] {
    match target::parse(request.method, request.target) {
        Ok(Target::Path { authority: Some(authority), .. }) => authority,
        _ => request.host,
    }
}

/// Gives a path that has bytes with a meaning in file names the name that is its own.
fn escape(directory: &str, path_at: usize, name: &mut FileName) -> Result<(), Status> {
    let decoded = name[path_at..].to_vec();
    // The part after the last slash is the index file's, if there is one.
    let (path, ends_in_slash) = match decoded.strip_suffix(b"/") {
        Some(path) => (path, true),
        None => (&decoded[..], false),
    };
    name::emit(directory, path, None, Marks::default(), name).map_err(|_| Status::NotFound)?;
    if ends_in_slash && !key::append(name, "/") {
        return Err(Status::NotFound);
    }
    Ok(())
}

const ALLOW_ALL: &str = "GET, HEAD, OPTIONS";

/// The bytes of the file that a plan sends, from the first to the last; `None` for none.
fn span(plan: &Plan, len: u64) -> Option<Range<u64>> {
    let range = |range: &ByteRange| range.first..range.last + 1;
    match plan {
        Plan::Whole => (len > 0).then_some(0..len),
        Plan::Part(part) => Some(range(part)),
        Plan::Parts(parts) => {
            let start = parts.iter().map(|part| part.first).min()?;
            let end = parts.iter().map(|part| part.last + 1).max()?;
            Some(start..end)
        }
        Plan::NotModified | Plan::Refused(_) => None,
    }
}
