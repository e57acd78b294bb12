//! Requests that change what an origin has: POST, PUT, PATCH, DELETE, where their host takes them.
//!
//! Input: a request, and its body once that is whole.   Output: an answer in the batch, or the
//! reason to wait.   Thread: one worker.
//! Invariants: such a request is handed to the fetches at most once; nothing stored answers it, it
//! shares its answer with nobody, and its answer is not stored.
//! Not here: sending it, and what its answer makes invalid (`fetch`), where a body ends
//! (`http::Conn`).
//! Source: RFC 9110 sections 9.2 and 9.3; RFC 9111 section 4.4.

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::cache::freshness::status::Fwd;
use crate::cache::freshness::{Policy, RequestControl, SetCookie};
use crate::cache::name;
use crate::http::hosts::HostName;
use crate::http::origin::Conditions;
use crate::http::{Framing, Method, Request, Status, target};
use crate::limits::KEY_BYTES_MAX;
use crate::stdx::slab::Key;
use crate::sys::outgoing::Outgoing;

use super::super::settings::Settings;
use super::Shared;
use super::answer::{Answer, address};
use super::cached::{OriginHead, Place};
use super::conn::Connection;
use super::fetch::{Ask, Change, Next};

impl Shared {
    /// A body follows: it is kept where it goes on to an origin. Returns false where there is no
    /// memory for it now, so that it need not be sent first.
    pub(super) fn begin_taking(
        &mut self,
        conn: &mut Connection,
        request: &Request<'_, '_>,
    ) -> bool {
        let mut foreign = HostName::new();
        if !request.method.is_change() || place(&self.settings, request, &mut foreign).is_err() {
            return true;
        }
        let announced = match request.framing {
            Framing::Length(length) => length,
            Framing::None | Framing::Chunked => 0,
        };
        let Some(body) = self.bodies.begin(announced, self.settings.body_memory_bytes_max) else {
            self.counters.bodies_refused.add(1);
            return false;
        };
        conn.http.keep_body();
        conn.body = Some(Box::new(body));
        true
    }

    /// Takes bytes of a body. Returns false where there is no memory for them.
    pub(super) fn take_body(&self, conn: &mut Connection, data: &[u8]) -> bool {
        let memory_max = self.settings.body_memory_bytes_max;
        let is_taken = conn.body.as_mut().is_some_and(|body| body.push(data, memory_max));
        if !is_taken {
            self.counters.bodies_refused.add(1);
        }
        is_taken
    }

    /// As `answer`, for a request that changes what an origin has.
    pub(super) fn answer_change(
        &mut self,
        id: Key,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        out: &mut Outgoing,
    ) -> Answer {
        let is_sent = conn.tries > 0;
        if !is_sent && conn.answers == 0 {
            conn.begun = self.now;
        }
        let asked = match conn.next.take() {
            Some(Next::Join(follow)) => return self.answer_follow(id, conn, request, &follow, out),
            Some(Next::Refused(status)) => Err(status),
            // It may have been carried out, whatever became of the answer.
            _ if is_sent => Err(Status::BadGateway),
            _ => self.ask_change(id, conn, request, out),
        };
        match asked {
            Ok(()) => Answer::Waits,
            Err(status) => {
                // A path that is not one leaves doubt about what the client means: close.
                let keep = status != Status::BadRequest;
                self.emit_status(conn, request, status, keep, out);
                Answer::Done
            }
        }
    }

    /// Hands the request to the fetches. It waits afterwards: for the answer, or for those before
    /// it to be sent.
    fn ask_change(
        &mut self,
        id: Key,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        out: &Outgoing,
    ) -> Result<(), Status> {
        let settings = Arc::clone(&self.settings);
        let mut foreign = HostName::new();
        let place = place(&settings, request, &mut foreign)?;
        if !out.is_empty() {
            return Ok(());
        }
        if request.framing != Framing::None && conn.body.is_none() {
            // The host takes the method only since the body was read over.
            return Err(Status::ServiceUnavailable);
        }
        let ask = self.change_ask(request, &place, conn.body.as_ref().map(|body| body.len()))?;
        let body = conn.body.take().map(|body| body.end());
        self.counters.cache.passes.add(1);
        let (fetches, mut context) = self.fetching();
        if !fetches.ask_change(id, ask, body, &mut context) {
            return Err(Status::ServiceUnavailable);
        }
        // It has its one try, and waits as long as the origin may take.
        (conn.tries, conn.awaits_origin) = (1, true);
        Ok(())
    }

    fn change_ask(
        &self,
        request: &Request<'_, '_>,
        place: &Place<'_>,
        body_bytes: Option<usize>,
    ) -> Result<Ask, Status> {
        let settings = &self.settings;
        let mut path = ArrayVec::<u8, KEY_BYTES_MAX>::new();
        target::decode_long_path(place.path, settings.dot_files, &mut path)?;
        let rule = place.site.rule(&path, &settings.rule_default);
        let mut target = name::to_url_path(&path);
        // The rules say what one answer for all depends on. This one is for who asks, and may well
        // depend on the query and on cookies.
        if let Some((_, query)) = request.target.split_once('?') {
            target.push('?');
            target.push_str(query);
        }
        // RFC 9110 8.6: these say that their body is empty; DELETE has one only where it was sent.
        let has_body = body_bytes.is_some() || request.method != Method::Delete;
        let head = OriginHead {
            target: &target,
            conditions: Conditions::Client,
            body_bytes: has_body.then_some(body_bytes.unwrap_or(0)),
            strips_cookies: false,
            coding: None,
        };
        let origin = &settings.origins[place.origin];
        let bytes = self.origin_request(request, origin, &head)?;
        let directory = place.directory.into();
        let change = Change { method: request.method, directory, target: target.into() };
        Ok(Ask {
            key: Box::default(),
            origin: Arc::clone(origin),
            request: bytes,
            change: Some(change),
            stored: None,
            policy: Policy { set_cookie: SetCookie::Pass, ..rule.policy },
            control: RequestControl::default(),
            generation: None,
            is_alone: true,
            may_store: false,
            fwd: Fwd::Method,
            public: String::from_utf8_lossy(place.authority).into(),
        })
    }
}

/// Where a request leads that changes something.
fn place<'a>(
    settings: &'a Settings,
    request: &Request<'_, 'a>,
    foreign: &'a mut HostName,
) -> Result<Place<'a>, Status> {
    let (authority, path) = address(request)?.ok_or(Status::BadRequest)?;
    let (site, directory) = settings.site(authority, foreign)?;
    match site.origin {
        Some(origin) if site.answers(request.method) => {
            Ok(Place { site, directory, origin, authority, path })
        }
        _ => Err(Status::MethodNotAllowed),
    }
}
