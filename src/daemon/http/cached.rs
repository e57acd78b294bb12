//! Requests for hosts with an origin: from the tree while that is fresh, else from a fetch.
//!
//! Input: a request, its host's settings.   Output: the file or the fetch that answers it, or the
//! reason to wait.   Thread: one worker; on a hit no system call, lock or allocation.
//! Invariants: a stored answer is used only as `cache::freshness` allows; a request that may not
//! share an answer has a fetch of its own.
//! Not here: fetches (`daemon::http::fetch`), files (`daemon::http::files`).

use std::rc::Rc;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::cache::freshness::status::Fwd;
use crate::cache::freshness::vary::{SecondaryKey, emit_accept_encoding};
use crate::cache::freshness::{
    ClientDirectives, Fields, Forward, Method as CacheMethod, RequestControl, Serve, StaleWhy,
    plan_serve,
};
use crate::cache::key::{self, Key as FileName};
use crate::cache::name::{self, Marks};
use crate::cache::record::Record;
use crate::http::conditional::{self, Verdict};
use crate::http::head::{self, Prepared, Stored};
use crate::http::origin::{Conditions, EmitError, Outgoing as OriginRequest, emit_request};
use crate::http::range::ByteRange;
use crate::http::reply::{self, Context, Gather, Plan};
use crate::http::target;
use crate::http::{Method, Request, Status};
use crate::limits::{FOLLOW_BYTES_MAX, HEADERS_MAX, KEY_BYTES_MAX, USED_PERIOD_SECONDS};
use crate::stdx::slab::Key;
use crate::sys::outgoing::Outgoing;

use super::super::origins::{OriginSettings, PathRule};
use super::super::settings::{Settings, SiteSettings};
use super::Shared;
use super::answer::{Answer, Resolved};
use super::conn::{Connection, Following, Stream};
use super::fetch::{Ask, Next, status_line};
use super::files::{Lookup, Version};
use super::follow::{End, Follow, Next as Piecemeal};
use super::send::push_pieces;

/// Where a request leads.
pub(super) struct Place<'a> {
    pub site: &'a SiteSettings,
    pub directory: &'a str,
    /// The number of the host's origin.
    pub origin: usize,
    pub authority: &'a [u8],
    /// Still percent-encoded.
    pub path: &'a [u8],
}

/// What the head of a request to an origin has besides the client's fields.
pub(super) struct OriginHead<'a> {
    pub target: &'a str,
    pub conditions: Conditions<'a>,
    pub body_bytes: Option<usize>,
    pub strips_cookies: bool,
    /// Accept-Encoding, in place of the client's.
    pub coding: Option<&'a str>,
}

/// A request, as far as deciding about it goes.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    rule: &'a PathRule,
    control: RequestControl,
    method: CacheMethod,
    /// Its fields, Cookie left out where cookies are stripped.
    fields: Fields<'a>,
    next: Option<&'a Next>,
    waiter: Option<Key>,
    path: &'a [u8],
    query: Option<&'a str>,
}

type Lines<'b> = ArrayVec<(&'b [u8], &'b [u8]), HEADERS_MAX>;

/// Why the origin is asked, and what is known already.
struct Cause {
    /// What is stored, to be asked about by its validators.
    stored: Option<Arc<Record>>,
    fwd: Fwd,
    /// The generation of the answer that told what the key varies by.
    generation: Option<u64>,
}

impl Cause {
    /// Nothing is stored that could be asked about.
    const fn miss(fwd: Fwd, generation: Option<u64>) -> Self {
        Self { stored: None, fwd, generation }
    }
}

impl Shared {
    pub(super) fn resolve_cached(
        &mut self,
        request: &Request<'_, '_>,
        place: &Place<'_>,
        waiter: Option<Key>,
        next: Option<Next>,
    ) -> Result<Resolved, Status> {
        if let Some(Next::Refused(status)) = next {
            return Err(status);
        }
        let settings = Arc::clone(&self.settings);
        let mut path = ArrayVec::<u8, KEY_BYTES_MAX>::new();
        target::decode_long_path(place.path, settings.dot_files, &mut path)?;
        let rule = place.site.rule(&path, &settings.rule_default);
        let query = match request.target.split_once('?') {
            Some((_, query)) if !rule.ignore_query => Some(query),
            _ => None,
        };
        let mut key = FileName::new();
        let is_plain = query.is_none() && !path.ends_with(b"/") && name::is_plain(&path);
        let is_named = if is_plain {
            key::begin(place.directory, &mut key);
            key.try_extend_from_slice(&path).map_err(|_| Status::UriTooLong)?;
            true
        } else {
            let query = query.map(str::as_bytes);
            name::emit(place.directory, &path, query, Marks::default(), &mut key).is_ok()
        };
        let lines = lines_of(request, rule);
        let control = match request.present.cache_control {
            true => RequestControl::parse(Fields(&lines)),
            false => RequestControl::default(),
        };
        let wanted = Wanted {
            rule,
            control,
            method: if request.method == Method::Head {
                CacheMethod::Head
            } else {
                CacheMethod::Get
            },
            fields: Fields(&lines),
            next: next.as_ref(),
            waiter,
            path: &path,
            query,
        };
        if !is_named {
            return self.ask_alone(request, place, &wanted, b"", None);
        }
        self.resolve_key(request, place, &wanted, &key, &settings)
    }

    /// The answer that a request waited for, where a reload took its host's origin meanwhile.
    pub(super) fn resolve_orphan(
        &self,
        request: &Request<'_, '_>,
        next: Option<Next>,
    ) -> Option<Resolved> {
        let Some(Next::Join(follow)) = next else { return None };
        let answer = follow.answer()?;
        let lines = lines_of(request, &self.settings.rule_default);
        let is_theirs = !answer.is_shared || is_for(&answer.record, Fields(&lines));
        is_theirs.then_some(Resolved::Follow(follow))
    }

    fn resolve_key(
        &mut self,
        request: &Request<'_, '_>,
        place: &Place<'_>,
        wanted: &Wanted<'_>,
        key: &[u8],
        settings: &Settings,
    ) -> Result<Resolved, Status> {
        if let Some(Next::Join(follow)) = wanted.next
            && let Some(answer) = follow.answer()
        {
            let is_theirs = !answer.is_shared || is_for(&answer.record, wanted.fields);
            if is_theirs {
                return Ok(Resolved::Follow(Rc::clone(follow)));
            }
            // It is another's: nothing of it may answer this request.
            let wanted = Wanted { next: None, ..*wanted };
            return self.resolve_variant(request, place, &wanted, key, &answer.record, settings);
        }
        let found = self.look_up(key, wanted, settings);
        match found {
            Lookup::Opening => Ok(Resolved::Waits),
            Lookup::Found(version) => {
                let is_for_all = self.date.seconds() < version.fresh_until
                    && wanted.next.is_none()
                    && wanted.control == RequestControl::default();
                if is_for_all {
                    self.note_used(&version, key);
                    return Ok(Resolved::Hit { version, is_stale: false });
                }
                let Some(record) = &version.record else { return Ok(Resolved::File(version)) };
                if !is_for(record, wanted.fields) {
                    let record = Arc::clone(record);
                    return self.resolve_variant(request, place, wanted, key, &record, settings);
                }
                self.use_stored(request, place, wanted, key, &version, None)
            }
            Lookup::Absent(Status::ServiceUnavailable) => Err(Status::ServiceUnavailable),
            // `/a` beside `/a/b`: it lies under a name of its own.
            Lookup::Directory => match name::beside_directory(key) {
                Some(key) => self.resolve_key(request, place, wanted, &key, settings),
                None => self.ask_alone(request, place, wanted, b"", None),
            },
            Lookup::Absent(_) => {
                if let Some(follow) = self.fetches.find(key)
                    && let Some(answer) = follow.answer()
                    && answer.is_shared
                    && !is_for(&answer.record, wanted.fields)
                {
                    let record = &answer.record;
                    return self.resolve_variant(request, place, wanted, key, record, settings);
                }
                self.fetch(request, place, wanted, key, Cause::miss(Fwd::UriMiss, None))
            }
        }
    }

    /// What the tree has, where it has something: most that it lacks is known without a look.
    fn look_up(&mut self, key: &[u8], wanted: &Wanted<'_>, settings: &Settings) -> Lookup {
        if let Some(version) = self.files.current(key, self.now, settings) {
            return Lookup::Found(version);
        }
        if !self.files.has(key) && self.files.is_watched() && self.presence.is_absent(key) {
            return Lookup::Absent(Status::NotFound);
        }
        self.files.lookup(key, self.now, settings, wanted.waiter, &mut self.ring)
    }

    /// Tells the store now and then that a file is in use.
    fn note_used(&mut self, version: &Version, key: &[u8]) {
        let now = self.date.seconds();
        if now.0.saturating_sub(version.used.get()) >= USED_PERIOD_SECONDS {
            version.used.set(now.0);
            self.fetches.note_used(key);
        }
    }

    /// The key's own answer is for others: looks for the variant that is for this request.
    fn resolve_variant(
        &mut self,
        request: &Request<'_, '_>,
        place: &Place<'_>,
        wanted: &Wanted<'_>,
        key: &[u8],
        base: &Record,
        settings: &Settings,
    ) -> Result<Resolved, Status> {
        let secondary = base.nominated.key(wanted.fields);
        let variant = secondary.as_ref().and_then(|secondary| variant_of(key, secondary));
        let Some(variant) = variant else {
            return self.ask_alone(request, place, wanted, key, None);
        };
        let found = self.look_up(&variant, wanted, settings);
        match found {
            Lookup::Opening => Ok(Resolved::Waits),
            Lookup::Found(version) => match &version.record {
                Some(record)
                    if record.generation == base.generation && is_for(record, wanted.fields) =>
                {
                    let generation = Some(base.generation);
                    self.use_stored(request, place, wanted, &variant, &version, generation)
                }
                _ => {
                    let generation = Some(base.generation);
                    let cause = Cause::miss(Fwd::VaryMiss, generation);
                    self.fetch(request, place, wanted, &variant, cause)
                }
            },
            Lookup::Absent(_) | Lookup::Directory => {
                let generation = Some(base.generation);
                self.fetch(request, place, wanted, &variant, Cause::miss(Fwd::VaryMiss, generation))
            }
        }
    }

    /// A stored answer that is for this request, if it is fresh enough.
    fn use_stored(
        &mut self,
        request: &Request<'_, '_>,
        place: &Place<'_>,
        wanted: &Wanted<'_>,
        key: &[u8],
        version: &Rc<Version>,
        generation: Option<u64>,
    ) -> Result<Resolved, Status> {
        let Some(record) = &version.record else { return Ok(Resolved::File(Rc::clone(version))) };
        let now = self.date.seconds();
        if let Some(Next::Stored(handled)) = wanted.next {
            // It is no hit, as the head that is prepared says.
            let ttl = record.freshness.ttl(now);
            let line = status_line(&self.settings.cache_name, *handled, Some(ttl));
            let version = self.files.handled(version, &line, &self.settings, self.now);
            return Ok(Resolved::File(version));
        }
        self.note_used(version, key);
        let policy = &wanted.rule.policy;
        let plan = plan_serve(Some(&record.freshness), wanted.method, &wanted.control, now, policy);
        match plan {
            Serve::Fresh { .. } => {
                Ok(Resolved::Hit { version: Rc::clone(version), is_stale: false })
            }
            Serve::Stale { why, .. } => {
                if why == StaleWhy::Revalidating && self.fetches.find(key).is_none() {
                    let stored = Some(Arc::clone(record));
                    let cause = Cause { stored, fwd: Fwd::Stale, generation };
                    let ask = self.ask_for(request, place, wanted, key, cause)?;
                    let _begun: bool = self.begin_fetch(None, ask);
                }
                Ok(Resolved::Hit { version: Rc::clone(version), is_stale: true })
            }
            Serve::Revalidate(forward) => {
                let fwd = match forward {
                    Forward::Stale => Fwd::Stale,
                    Forward::Request => Fwd::Request,
                };
                let stored = Some(Arc::clone(record));
                self.fetch(request, place, wanted, key, Cause { stored, fwd, generation })
            }
            Serve::OnlyIfCached => Err(Status::GatewayTimeout),
            Serve::Miss | Serve::Pass => unreachable!("something is stored, and the method reads"),
        }
    }

    /// Waits for the fetch of `key` that there is, or begins one.
    fn fetch(
        &mut self,
        request: &Request<'_, '_>,
        place: &Place<'_>,
        wanted: &Wanted<'_>,
        key: &[u8],
        cause: Cause,
    ) -> Result<Resolved, Status> {
        let policy = &wanted.rule.policy;
        let freshness = cause.stored.as_ref().map(|record| &record.freshness);
        let now = self.date.seconds();
        let plan = plan_serve(freshness, wanted.method, &wanted.control, now, policy);
        if plan == Serve::OnlyIfCached {
            return Err(Status::GatewayTimeout);
        }
        let is_alone = matches!(wanted.next, Some(Next::Alone))
            || request.present.authorization
            || self.fetches.is_pass(key, self.now);
        if is_alone {
            return self.ask_alone(request, place, wanted, key, cause.generation);
        }
        if let Some(follow) = self.fetches.find(key) {
            if follow.answer().is_some_and(|answer| is_for(&answer.record, wanted.fields)) {
                self.counters.cache.misses.add(1);
                return Ok(Resolved::Follow(follow));
            }
            if let Some(waiter) = wanted.waiter {
                self.counters.cache.misses.add(1);
                follow.wait(waiter);
                self.asks_origin = true;
            }
            return Ok(Resolved::Waits);
        }
        let Some(waiter) = wanted.waiter else { return Ok(Resolved::Waits) };
        self.counters.cache.misses.add(1);
        let ask = self.ask_for(request, place, wanted, key, cause)?;
        self.begin_or_refuse(waiter, ask)
    }

    /// Asks the origin for this request alone.
    fn ask_alone(
        &mut self,
        request: &Request<'_, '_>,
        place: &Place<'_>,
        wanted: &Wanted<'_>,
        key: &[u8],
        generation: Option<u64>,
    ) -> Result<Resolved, Status> {
        if let Some(Next::Join(follow)) = wanted.next
            && follow.answer().is_some_and(|answer| !answer.is_shared)
        {
            return Ok(Resolved::Follow(Rc::clone(follow)));
        }
        if wanted.control.only_if_cached
            && wanted.rule.policy.client_directives != ClientDirectives::Ignored
        {
            return Err(Status::GatewayTimeout);
        }
        let Some(waiter) = wanted.waiter else { return Ok(Resolved::Waits) };
        self.counters.cache.misses.add(1);
        self.counters.cache.passes.add(1);
        let ask =
            self.ask_for(request, place, wanted, key, Cause::miss(Fwd::Bypass, generation))?;
        let may_store = ask.may_store && !key.is_empty();
        self.begin_or_refuse(waiter, Ask { is_alone: true, may_store, ..ask })
    }

    fn begin_or_refuse(&mut self, waiter: Key, ask: Ask) -> Result<Resolved, Status> {
        if !self.begin_fetch(Some(waiter), ask) {
            return Err(Status::ServiceUnavailable);
        }
        self.asks_origin = true;
        Ok(Resolved::Waits)
    }

    fn begin_fetch(&mut self, waiter: Option<Key>, ask: Ask) -> bool {
        let (fetches, mut context) = self.fetching();
        fetches.ask(waiter, ask, &mut context)
    }

    fn ask_for(
        &self,
        request: &Request<'_, '_>,
        place: &Place<'_>,
        wanted: &Wanted<'_>,
        key: &[u8],
        cause: Cause,
    ) -> Result<Ask, Status> {
        let settings = &self.settings;
        let origin = &settings.origins[place.origin];
        let mut target = name::to_url_path(wanted.path);
        if let Some(query) = wanted.query {
            target.push('?');
            target.push_str(query);
        }
        let coding = emit_accept_encoding(wanted.fields);
        let head = OriginHead {
            target: &target,
            conditions: Conditions::Whole,
            body_bytes: None,
            strips_cookies: wanted.rule.strip_cookies,
            coding: Some(&coding),
        };
        let bytes = self.origin_request(request, origin, &head)?;
        Ok(Ask {
            key: key.into(),
            origin: Arc::clone(origin),
            request: bytes,
            change: None,
            stored: cause.stored,
            policy: wanted.rule.policy,
            control: wanted.control,
            generation: cause.generation,
            is_alone: false,
            may_store: true,
            fwd: cause.fwd,
            public: String::from_utf8_lossy(place.authority).into(),
        })
    }

    /// The head of the request to `origin` that a client's becomes. GET is what is asked where the
    /// client asks to read.
    pub(super) fn origin_request(
        &self,
        request: &Request<'_, '_>,
        origin: &OriginSettings,
        head: &OriginHead<'_>,
    ) -> Result<Vec<u8>, Status> {
        let fields = request
            .fields()
            .filter(|(name, _)| {
                let is = |known| name.eq_ignore_ascii_case(known);
                let is_left_out = head.coding.is_some() && is("accept-encoding")
                    || head.strips_cookies && is("cookie");
                !is_left_out
            })
            .chain(head.coding.map(|coding| ("Accept-Encoding", coding.as_bytes())));
        let outgoing = OriginRequest {
            method: if request.method.is_change() { request.method } else { Method::Get },
            target: head.target,
            host: &origin.host_header,
            keep: true,
            via: &self.settings.cache_name,
            client_minor: request.minor,
            conditions: head.conditions,
            body_bytes: head.body_bytes,
        };
        let mut bytes = Vec::with_capacity(512);
        emit_request(&mut bytes, &outgoing, fields).map_err(|error| match error {
            EmitError::Loop => {
                self.counters.cache.loops.add(1);
                Status::BadGateway
            }
            EmitError::Host => Status::BadGateway,
            EmitError::Method | EmitError::Target | EmitError::Field(_) => Status::BadRequest,
        })?;
        Ok(bytes)
    }

    /// Answers from what is on its way.
    pub(super) fn answer_follow(
        &mut self,
        id: Key,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        follow: &Rc<Follow>,
        out: &mut Outgoing,
    ) -> Answer {
        let answer = self.begin_follow(id, conn, request, follow, out);
        if answer == Answer::Done {
            follow.leave(id);
        }
        answer
    }

    fn begin_follow(
        &mut self,
        id: Key,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        follow: &Rc<Follow>,
        out: &mut Outgoing,
    ) -> Answer {
        let Some(answer) = follow.answer() else { return Answer::Waits };
        let is_asker = follow.asker == Some(id) && follow.is_sent.get();
        let line = if is_asker { &answer.cache_status } else { &answer.collapsed_status };
        let whole = answer.length.or_else(|| {
            // An answer that has come to its end is as long as it is.
            (follow.end() == Some(End::Complete)).then(|| follow.len())
        });
        // RFC 9112 7: a 1.0 client knows no chunks, and could not tell the end from a failure.
        if whole.is_none() && request.minor == 0 && request.method != Method::Head {
            if follow.end().is_none() && follow.len() <= FOLLOW_BYTES_MAX as u64 {
                if out.is_empty() {
                    follow.wait(id);
                    conn.awaits_origin = true;
                }
                conn.next = Some(Next::Join(Rc::clone(follow)));
                return Answer::Waits;
            }
            self.emit_status(conn, request, Status::BadGateway, false, out);
            return Answer::Done;
        }
        if !is_asker {
            self.counters.cache.coalesced.add(1);
        }
        let record = &answer.record;
        let (from, until) = match whole {
            // RFC 9110 13.2.1 and 14.2: conditions and ranges of other methods are the origin's.
            Some(len) if record.status == 200 && !request.method.is_change() => {
                let prepared = Prepared::of_stored(&Stored {
                    len,
                    fields: &record.fields,
                    cache_status: line,
                    received_at: record.freshness.received_at,
                    initial_age_seconds: record.freshness.initial_age_seconds,
                    ranges: self.settings.ranges_max > 0,
                });
                match self.emit_prepared(conn, request, &prepared, out) {
                    Some(range) => range,
                    None => return Answer::Done,
                }
            }
            _ => {
                if !self.emit_plain(conn, request, record, whole, line, out) {
                    return Answer::Done;
                }
                (0, whole.unwrap_or(u64::MAX))
            }
        };
        let mut stream = Following {
            follow: Rc::clone(follow),
            at: from,
            until,
            is_chunked: whole.is_none(),
            has_ended: false,
            is_reading: false,
        };
        let mut list = Vec::new();
        if let Piecemeal::Bytes { count, is_last } = follow.next(from, until, &mut list) {
            push_pieces(out, &mut stream, list, count, is_last);
            if is_last {
                return Answer::Done;
            }
        }
        follow.stand(id, stream.at);
        conn.stream = Some(Stream::Follow(stream));
        Answer::Streams
    }

    /// The head of a 200 of known length; the part of the body that follows, if any does.
    fn emit_prepared(
        &mut self,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        prepared: &Prepared,
        out: &mut Outgoing,
    ) -> Option<(u64, u64)> {
        let plan = match reply::plan(request, prepared, self.settings.ranges_max, &self.date) {
            // Several parts would have to be there at once: RFC 9110 14.2 lets the whole be sent.
            Plan::Parts(_) => Plan::Whole,
            plan => plan,
        };
        let persistence = self.begin_answer(conn, request, true);
        let settings = Arc::clone(&self.settings);
        let context = Context {
            date: &self.date,
            server_name: &settings.server_name,
            persistence,
            // A refusal has its own few words as body.
            head_only: request.method == Method::Head || !matches!(plan, Plan::Refused(_)),
        };
        reply::emit(&plan, prepared, &self.boundary, &context, &mut HeadOnly(out.own()));
        self.counters.count_response(request.method, plan.status());
        if request.method == Method::Head {
            return None;
        }
        match plan {
            Plan::Whole => (prepared.file_len() > 0).then_some((0, prepared.file_len())),
            Plan::Part(range) => Some((range.first, range.last + 1)),
            Plan::Parts(_) | Plan::NotModified | Plan::Refused(_) => None,
        }
    }

    /// Any other head. Returns whether a body follows.
    fn emit_plain(
        &mut self,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        record: &Record,
        len: Option<u64>,
        cache_status: &[u8],
        out: &mut Outgoing,
    ) -> bool {
        if record.status == 200 && request.present.condition && !request.method.is_change() {
            let validators = Prepared::of_stored(&Stored {
                len: 0,
                fields: &record.fields,
                cache_status,
                received_at: record.freshness.received_at,
                initial_age_seconds: record.freshness.initial_age_seconds,
                ranges: false,
            });
            let verdict =
                conditional::evaluate(request, validators.validators(), self.date.seconds());
            let plan = match verdict {
                Verdict::NotModified => Some(Plan::NotModified),
                Verdict::Failed => Some(Plan::Refused(Status::PreconditionFailed)),
                Verdict::Proceed { .. } => None,
            };
            if plan.is_some() {
                self.emit_prepared(conn, request, &validators, out);
                return false;
            }
        }
        let persistence = self.begin_answer(conn, request, true);
        let age = record.freshness.age(self.date.seconds());
        let own = out.own();
        head::put(own, format_args!("HTTP/1.1 {} {}\r\n", record.status, record.reason));
        own.extend_from_slice(&record.fields);
        let has_body = !matches!(record.status, 204 | 304);
        match len {
            _ if !has_body => {}
            Some(len) => head::put(own, format_args!("Content-Length: {len}\r\n")),
            None => own.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        own.extend_from_slice(cache_status);
        head::put(own, format_args!("Age: {age}\r\n"));
        head::finish_connection(own, persistence);
        self.counters.count_other(request.method, record.status);
        has_body && request.method != Method::Head && len != Some(0)
    }
}

/// A head whose body follows by another way.
struct HeadOnly<'a>(&'a mut Vec<u8>);

impl Gather for HeadOnly<'_> {
    fn own(&mut self) -> &mut Vec<u8> {
        self.0
    }

    fn file(&mut self, _range: ByteRange) {}
}

fn lines_of<'b>(request: &Request<'_, 'b>, rule: &PathRule) -> Lines<'b> {
    let mut lines = Lines::new();
    for (name, value) in request.fields() {
        if !(rule.strip_cookies && name.eq_ignore_ascii_case("cookie")) {
            lines.push((name.as_bytes(), value));
        }
    }
    lines
}

/// Whether the answer of `record` is one for a request with these fields (RFC 9111 section 4.1).
fn is_for(record: &Record, fields: Fields<'_>) -> bool {
    record.nominated.is_empty()
        || record.nominated.key(fields).is_some_and(|key| key[..] == *record.secondary_key)
}

/// The name of the variant with that secondary key beside `key`: one of `VARIANTS_MAX` places,
/// which bounds how many there are; two that share a place replace each other.
fn variant_of(key: &[u8], secondary: &SecondaryKey) -> Option<FileName> {
    name::variant(key, name::variant_place(secondary))
}
