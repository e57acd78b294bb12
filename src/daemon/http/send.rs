//! Moving bytes to sockets: batches, streamed bodies, what comes after them.
//!
//! Thread: one worker.
//! Not here: what the bytes are (`daemon::http::answer`), which of them there are of an answer
//! under way (`daemon::http::follow`).

use std::io;
use std::rc::Rc;

use crate::cache::residency::Residency;
use crate::cache::way_out::WayOut;
use crate::http::head;
use crate::limits::{CHUNK_BYTES, ORIGIN_BUFFER_BYTES_LARGE, SENDFILE_BYTES_MAX};
use crate::stdx::bytes::Bytes;
use crate::stdx::num::{index, wide};
use crate::stdx::slab::Key;
use crate::sys::outgoing::Outgoing;
use crate::sys::socket::send_file;
use crate::sys::uring::Errno;

use super::conn::{Connection, Descriptor, Doing, FileStream, Following, Stream};
use super::follow::Next as Piecemeal;
use super::{Shared, Worker};

/// Where a streamed body stands after a step.
enum Progress {
    /// All of it is with the kernel.
    Over,
    /// It goes on when something completes.
    Waits,
    /// The file is not what it was, or the client is gone.
    Broken,
}

/// RFC 9112 section 7.1: the end of a body in chunks.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends `pieces`, `count` bytes in all, as the stream's next.
pub(super) fn push_pieces(
    out: &mut Outgoing,
    stream: &mut Following,
    pieces: Vec<Bytes>,
    count: u64,
    is_last: bool,
) {
    if stream.is_chunked {
        head::put(out.own(), format_args!("{count:x}\r\n"));
    }
    for piece in pieces {
        out.push_shared(piece);
    }
    if stream.is_chunked {
        out.own().extend_from_slice(b"\r\n");
        if is_last {
            out.own().extend_from_slice(LAST_CHUNK);
            stream.has_ended = true;
        }
    }
    stream.at += count;
}

/// Emptied batches kept for reuse; more are freed. A worker has as many in flight as connections
/// that are being answered at once.
const SPARE_MAX: usize = 1024;

impl Worker {
    pub(super) fn handle_sent(
        &mut self,
        id: Key,
        mut outgoing: Box<Outgoing>,
        result: Result<usize, Errno>,
    ) {
        let shared = &mut self.shared;
        let Some(conn) = self.conns.find_mut(id) else {
            shared.recycle(outgoing);
            return;
        };
        let sent = match result {
            Ok(sent) => wide(sent),
            Err(Errno(libc::EAGAIN | libc::EINTR)) => 0,
            Err(error) => {
                // EFAULT: a page that the mapping had is gone: the file was truncated.
                if error.0 == libc::EFAULT {
                    shared.counters.broken_bodies.add(1);
                }
                shared.recycle(outgoing);
                self.close(id);
                return;
            }
        };
        outgoing.advance(sent);
        shared.counters.bytes_sent.add(sent);
        conn.http.handle_progress(shared.now, sent);
        if outgoing.left() > 0 {
            if let Some(version) = &conn.sends {
                shared.files.compare(version, shared.now, &shared.settings);
            }
            if outgoing.is_broken() {
                shared.counters.broken_bodies.add(1);
                shared.recycle(outgoing);
                self.close(id);
            } else {
                shared.ring.send(id, conn.socket, outgoing);
            }
            return;
        }
        shared.recycle(outgoing);
        if conn.stream.is_some() {
            conn.doing = Doing::Streaming;
            self.run_stream(id);
        } else {
            self.handle_batch_sent(id);
        }
    }

    pub(super) fn handle_writable(&mut self, id: Key) {
        if self.conns.find(id).is_some_and(|conn| conn.doing == Doing::Streaming) {
            self.run_stream(id);
        }
    }

    /// Sends on with a streamed body, as far as socket and memory go.
    pub(super) fn run_stream(&mut self, id: Key) {
        let Some(conn) = self.conns.find_mut(id) else { return };
        let Some(mut stream) = conn.stream.take() else { return };
        let progress = match &mut stream {
            Stream::File(stream) => self.shared.step_file(id, conn, stream),
            Stream::Follow(stream) => self.shared.step_follow(id, conn, stream),
        };
        match progress {
            Progress::Waits => conn.stream = Some(stream),
            Progress::Over => self.handle_batch_sent(id),
            Progress::Broken => {
                if let Stream::Follow(stream) = &stream {
                    stream.follow.leave(id);
                }
                self.close(id);
            }
        }
    }

    /// A part of an answer under way was read back from its file.
    pub(super) fn handle_file_read(
        &mut self,
        tag: Key,
        buffer: Vec<u8>,
        result: Result<usize, Errno>,
    ) {
        let Some(id) = self.shared.file_reads.remove(tag) else { return };
        let Some(conn) = self.conns.find_mut(id) else { return };
        let Some(Stream::Follow(stream)) = &mut conn.stream else { return };
        stream.is_reading = false;
        let wanted = stream.until - stream.at;
        let count = result.map_or(0, wide).min(wanted);
        if count == 0 {
            self.shared.counters.broken_bodies.add(1);
            self.close(id);
            return;
        }
        let bytes = Bytes::from(buffer).part(0..index(count));
        let mut out = self.shared.spare.pop().unwrap_or_default();
        push_pieces(&mut out, stream, vec![bytes], count, false);
        stream.follow.stand(id, stream.at);
        out.seal();
        conn.doing = Doing::Sending;
        self.shared.ring.send(id, conn.socket, out);
    }

    /// Everything answered so far is with the kernel.
    fn handle_batch_sent(&mut self, id: Key) {
        let Some(conn) = self.conns.find_mut(id) else { return };
        let shared = &mut self.shared;
        conn.sends = None;
        if conn.answers > 0 {
            let micros = shared.now.since(conn.begun).as_micros();
            shared
                .counters
                .latency
                .record(u64::try_from(micros).unwrap_or(u64::MAX), conn.answers.into());
        }
        if conn.is_closing {
            self.finish(id);
            return;
        }
        conn.doing = Doing::Reading;
        if conn.answers > 0 {
            conn.http.handle_sent(shared.now);
        }
        let is_waiting = !conn.backlog.is_empty() || conn.http.has_held();
        if shared.is_draining && conn.http.is_idle() && !is_waiting {
            self.close(id);
            return;
        }
        if !is_waiting {
            self.settle(id);
        } else {
            self.resume(id);
        }
    }
}

impl Shared {
    fn recycle(&mut self, mut outgoing: Box<Outgoing>) {
        if self.spare.len() < SPARE_MAX {
            outgoing.reset();
            self.spare.push(outgoing);
        }
    }

    fn step_file(&mut self, id: Key, conn: &mut Connection, stream: &mut FileStream) -> Progress {
        let epoch = self.files.epoch();
        while stream.left.start < stream.left.end {
            let version = &stream.version;
            self.files.compare(version, self.now, &self.settings);
            if version.is_broken() {
                self.counters.broken_bodies.add(1);
                return Progress::Broken;
            }
            let until = version.resident_until(&stream.left, epoch);
            if until == stream.left.start {
                let at = stream.left.start;
                let reads =
                    self.files.page_in(version, at, Some(id), &mut self.ring, &self.counters);
                return if reads { Progress::Waits } else { Progress::Broken };
            }
            // Read the next chunk while this one leaves.
            if until < stream.left.end && until - stream.left.start <= CHUNK_BYTES {
                let _: bool =
                    self.files.page_in(version, until, None, &mut self.ring, &self.counters);
            }
            let progress = match stream.way {
                WayOut::Sendfile => self.step_send_file(id, conn, stream, until),
                WayOut::Gather => self.step_gather(id, conn, stream, until),
            };
            if let Some(progress) = progress {
                return progress;
            }
        }
        Progress::Over
    }

    /// Sends what there is of an answer under way.
    fn step_follow(&mut self, id: Key, conn: &mut Connection, stream: &mut Following) -> Progress {
        if stream.is_reading {
            return Progress::Waits;
        }
        self.fetches.handle_taken();
        let mut list = Vec::new();
        let follow = Rc::clone(&stream.follow);
        match follow.next(stream.at, stream.until, &mut list) {
            Piecemeal::Bytes { count, is_last } => {
                let mut out = self.spare.pop().unwrap_or_default();
                push_pieces(&mut out, stream, list, count, is_last);
                follow.stand(id, stream.at);
                conn.awaits_origin = false;
                out.seal();
                conn.doing = Doing::Sending;
                self.ring.send(id, conn.socket, out);
                Progress::Waits
            }
            Piecemeal::Over if stream.is_chunked && !stream.has_ended => {
                stream.has_ended = true;
                let mut out = self.spare.pop().unwrap_or_default();
                out.own().extend_from_slice(LAST_CHUNK);
                out.seal();
                conn.doing = Doing::Sending;
                self.ring.send(id, conn.socket, out);
                Progress::Waits
            }
            Piecemeal::Over => {
                follow.leave(id);
                Progress::Over
            }
            Piecemeal::Wait => {
                follow.wait(id);
                conn.awaits_origin = true;
                Progress::Waits
            }
            Piecemeal::Broken => {
                self.counters.cache.cut_short.add(1);
                Progress::Broken
            }
            Piecemeal::File(file) => match self.file_reads.insert(id) {
                Ok(tag) => {
                    stream.is_reading = true;
                    let buffer = Vec::with_capacity(ORIGIN_BUFFER_BYTES_LARGE);
                    self.ring.read_file(tag, &file, stream.at, buffer);
                    Progress::Waits
                }
                Err(_) => Progress::Broken,
            },
        }
    }

    /// One sendfile. `None`: go on.
    fn step_send_file(
        &mut self,
        id: Key,
        conn: &mut Connection,
        stream: &mut FileStream,
        until: u64,
    ) -> Option<Progress> {
        let (Descriptor::Open(socket), Some(open)) = (&conn.descriptor, &stream.version.file)
        else {
            unreachable!("this way is chosen with both descriptors open");
        };
        let len = (until - stream.left.start).min(SENDFILE_BYTES_MAX);
        self.counters.send_file_calls.add(1);
        match send_file(socket, open.file(), stream.left.start, len) {
            // Nothing there any more: the file became shorter.
            Ok(0) => {
                self.counters.broken_bodies.add(1);
                stream.version.mark_broken();
                Some(Progress::Broken)
            }
            Ok(sent) => {
                stream.left.start += sent;
                self.counters.bytes_sent.add(sent);
                conn.http.handle_progress(self.now, sent);
                if stream.left.start == stream.left.end {
                    return None;
                }
                // The socket is full, or it is the turn of the others.
                self.ring.poll_writable(id, conn.socket);
                Some(Progress::Waits)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.ring.poll_writable(id, conn.socket);
                Some(Progress::Waits)
            }
            Err(_) => Some(Progress::Broken),
        }
    }

    fn step_gather(
        &mut self,
        id: Key,
        conn: &mut Connection,
        stream: &mut FileStream,
        until: u64,
    ) -> Option<Progress> {
        let mapping = stream.version.mapping.as_ref()?;
        let chunk_end = Residency::chunk(stream.left.start, stream.left.end).end;
        let end = until.min(chunk_end);
        let mut out = self.spare.pop().unwrap_or_default();
        out.push_file(mapping, &(stream.left.start..end));
        out.set_more_follows(end < stream.left.end);
        out.seal();
        stream.left.start = end;
        conn.doing = Doing::Sending;
        self.ring.send(id, conn.socket, out);
        Some(Progress::Waits)
    }
}
