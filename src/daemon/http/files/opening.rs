//! A file's way from its name to a version: opened without links, then through them, its record
//! read, its precompressed siblings looked for; tried again where it changed meanwhile.
//!
//! Input: completions of opens.   Output: entries of the table, and the connections that waited.
//! Thread: one worker.
//! Not here: when a file is looked at again (`files`).

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cache::key;
use crate::cache::record::Record;
use crate::cache::residency::Residency;
use crate::cache::way_out::SENDFILE_BYTES_MIN;
use crate::http::Status;
use crate::http::encoding::{Coding, Codings};
use crate::limits::{OPEN_TRIES_MAX, RECORD_BYTES_MAX};
use crate::stdx::slab::Key;
use crate::sys::mapping::Mapping;
use crate::sys::tree::{Kind, identify};
use crate::sys::uring::{Errno, Ring};
use crate::time::Instant;

use super::super::super::counters::Counters;
use super::super::super::settings::Settings;
use super::super::follow::Renewal;
use super::handle::Handle;
use super::version::{fresh_until, prepare, prepare_handled, prepare_stored};
use super::{Entry, Files, Lookup, OpenFile, Version};

/// A file on its way to being opened.
pub(super) struct Opening {
    key: Box<[u8]>,
    waiters: Vec<Key>,
    /// The file changed since: what comes out must be opened again.
    pub(super) is_stale: bool,
    /// A symbolic link is on the way: its target is not watched.
    through_link: bool,
    /// How often it was tried again.
    tries: u8,
    /// Siblings still to be looked for, and those found.
    probing: Option<Probing>,
}

struct Probing {
    file: Handle,
    record: Option<Arc<Record>>,
    next: usize,
    found: Codings,
}

fn status_of(error: Errno) -> Status {
    match error.0 {
        libc::EACCES | libc::EPERM => Status::Forbidden,
        libc::EMFILE | libc::ENFILE | libc::ENOMEM => Status::ServiceUnavailable,
        libc::EIO => Status::InternalServerError,
        // EXDEV: the path leads out of the root. ELOOP: a link that is not to be followed.
        _ => Status::NotFound,
    }
}

/// Where what is kept beside a file lies.
const ATTRIBUTE: &CStr = c"user.peerage";

impl Files {
    pub(super) fn open(
        &mut self,
        key: &[u8],
        settings: &Settings,
        waiter: Option<Key>,
        ring: &mut Ring,
    ) -> Lookup {
        if let Some(tag) = self.opening_by_key.get(key) {
            let opening = self.openings.find_mut(*tag).expect("indexed openings exist");
            opening.waiters.extend(waiter);
            return Lookup::Opening;
        }
        let opening = Opening {
            key: key.into(),
            waiters: waiter.into_iter().collect(),
            is_stale: false,
            through_link: false,
            tries: 0,
            probing: None,
        };
        let Ok(tag) = self.openings.insert(opening) else {
            return Lookup::Absent(Status::ServiceUnavailable);
        };
        self.opening_by_key.insert(key.into(), tag);
        // First without links: then the watch on the directory sees every change.
        self.submit_open(tag, settings, false, "", ring);
        Lookup::Opening
    }

    fn submit_open(
        &mut self,
        tag: Key,
        settings: &Settings,
        links: bool,
        suffix: &str,
        ring: &mut Ring,
    ) {
        let opening = self.openings.find(tag).expect("under way");
        let name: Vec<u8> = key::file_name(&opening.key)
            .iter()
            .chain(suffix.as_bytes())
            .copied()
            .filter(|byte| *byte != 0)
            .collect();
        let path = CString::new(name).expect("NUL bytes are left out");
        let may_wait = self.may_wait || self.tree.is_remote.load(Ordering::Relaxed);
        ring.open(tag, &self.root, path, links && settings.follow_symlinks, may_wait);
    }

    /// An open is over. Returns who waited for it, if that was the last step.
    pub fn handle_opened(
        &mut self,
        tag: Key,
        result: Result<File, Errno>,
        now: Instant,
        settings: &Settings,
        ring: &mut Ring,
        counters: &Counters,
    ) -> Vec<Key> {
        let result = result.map(|file| Handle::new(file, Rc::clone(&self.closing)));
        let opening = self.openings.find_mut(tag).expect("opens complete once");
        if let Some(probing) = &mut opening.probing {
            let is_file = |file: &Handle| matches!(identify(file.file()), Ok((_, Kind::File)));
            if result.as_ref().is_ok_and(is_file) {
                probing.found.insert(Coding::ALL[probing.next]);
            }
            probing.next += 1;
            return self.probe_or_finish(tag, now, settings, ring, counters);
        }
        let file = match result {
            Ok(file) => file,
            Err(Errno(libc::ELOOP)) if !opening.through_link && settings.follow_symlinks => {
                opening.through_link = true;
                self.submit_open(tag, settings, true, "", ring);
                return Vec::new();
            }
            // EAGAIN: something was renamed while the kernel walked the path (openat2(2)).
            Err(Errno(libc::EAGAIN)) if opening.tries < OPEN_TRIES_MAX => {
                opening.tries += 1;
                let links = opening.through_link;
                self.submit_open(tag, settings, links, "", ring);
                return Vec::new();
            }
            // Something came or went while it was opened.
            Err(_) if opening.is_stale && opening.tries < OPEN_TRIES_MAX => {
                opening.is_stale = false;
                opening.tries += 1;
                opening.through_link = false;
                self.submit_open(tag, settings, false, "", ring);
                return Vec::new();
            }
            Err(error) => return self.finish_absent(tag, status_of(error), now, counters),
        };
        let is_sibling = opening.key.contains(&0);
        if !is_sibling && settings.has_origin(settings.split(&opening.key).0) {
            ring.read_attribute(tag, file.into_file(), ATTRIBUTE, RECORD_BYTES_MAX);
            return Vec::new();
        }
        self.handle_file(tag, file, None, now, settings, ring, counters)
    }

    /// What is kept beside a file was read. Returns who waited.
    #[expect(clippy::too_many_arguments, reason = "a file, and what the worker knows")]
    pub fn handle_attribute(
        &mut self,
        tag: Key,
        file: File,
        result: Result<Vec<u8>, Errno>,
        now: Instant,
        settings: &Settings,
        ring: &mut Ring,
        counters: &Counters,
    ) -> Vec<Key> {
        let file = Handle::new(file, Rc::clone(&self.closing));
        let record = match result.map(|bytes| Record::parse(&bytes)) {
            Ok(Ok(record)) => Some(record),
            Ok(Err(_)) => {
                // Nobody knows what it is: it is fetched anew, in its place.
                counters.cache.damaged.add(1);
                return self.finish_absent(tag, Status::NotFound, now, counters);
            }
            // No such attribute: it was put there by hand.
            Err(_) => None,
        };
        if let Some(record) = &record {
            let len = identify(file.file()).map_or(u64::MAX, |(identity, _)| identity.len);
            if len != record.body_bytes {
                counters.cache.damaged.add(1);
                return self.finish_absent(tag, Status::NotFound, now, counters);
            }
        }
        self.handle_file(tag, file, record.map(Arc::new), now, settings, ring, counters)
    }

    #[expect(clippy::too_many_arguments, reason = "a file, and what the worker knows")]
    fn handle_file(
        &mut self,
        tag: Key,
        file: Handle,
        record: Option<Arc<Record>>,
        now: Instant,
        settings: &Settings,
        ring: &mut Ring,
        counters: &Counters,
    ) -> Vec<Key> {
        let opening = self.openings.find_mut(tag).expect("under way");
        let content_type = settings.content_type(&opening.key);
        let is_sibling = opening.key.contains(&0);
        // Codings of an origin's answers are variants of their own.
        let probes = !is_sibling && record.is_none() && settings.is_compressible(content_type);
        let next = if probes { 0 } else { Coding::ALL.len() };
        opening.probing = Some(Probing { file, record, next, found: Codings::NONE });
        self.probe_or_finish(tag, now, settings, ring, counters)
    }

    fn probe_or_finish(
        &mut self,
        tag: Key,
        now: Instant,
        settings: &Settings,
        ring: &mut Ring,
        counters: &Counters,
    ) -> Vec<Key> {
        let opening = self.openings.find_mut(tag).expect("under way");
        let probing = opening.probing.as_ref().expect("probing");
        if let Some(coding) = Coding::ALL.get(probing.next) {
            self.submit_open(tag, settings, true, coding.suffix(), ring);
            return Vec::new();
        }
        if opening.is_stale && opening.tries < OPEN_TRIES_MAX {
            opening.is_stale = false;
            opening.tries += 1;
            opening.probing = None;
            opening.through_link = false;
            self.submit_open(tag, settings, false, "", ring);
            return Vec::new();
        }
        self.finish_present(tag, now, settings, counters)
    }

    fn finish_absent(
        &mut self,
        tag: Key,
        status: Status,
        now: Instant,
        counters: &Counters,
    ) -> Vec<Key> {
        let opening = self.take_opening(tag);
        self.insert_absent(&opening.key, status, false, now, counters);
        opening.waiters
    }

    /// There is no such file, or the machine could not open it now: then what is known of it, if it
    /// was good, is better than nothing.
    fn insert_absent(
        &mut self,
        key: &[u8],
        status: Status,
        is_directory: bool,
        now: Instant,
        counters: &Counters,
    ) {
        let is_passing = matches!(status, Status::ServiceUnavailable | Status::InternalServerError);
        if is_passing
            && let Some(id) = self.table.find(key)
            && let Some(Entry::Present { version, checked, .. }) = self.table.value_mut(id)
            && !version.is_broken()
        {
            *checked = now;
            return;
        }
        self.insert(key, Entry::Absent { status, is_directory, checked: now }, counters);
    }

    fn finish_present(
        &mut self,
        tag: Key,
        now: Instant,
        settings: &Settings,
        counters: &Counters,
    ) -> Vec<Key> {
        let opening = self.take_opening(tag);
        let probing = opening.probing.expect("probing is over");
        // One that changed at every try is known by its age only.
        let is_seen = !opening.through_link && !opening.is_stale;
        let is_watched = self.tree.is_watching.load(Ordering::Acquire) && is_seen;
        match self.version(&opening.key, probing, settings, now) {
            Ok(version) => {
                let flushes = self.flushes;
                let entry = Entry::Present { version, checked: now, is_watched, flushes };
                self.insert(&opening.key, entry, counters);
            }
            Err((status, is_directory)) => {
                let key = &opening.key;
                self.insert_absent(key, status, is_directory, now, counters);
            }
        }
        opening.waiters
    }

    fn take_opening(&mut self, tag: Key) -> Opening {
        let opening = self.openings.remove(tag).expect("under way");
        self.opening_by_key.remove(&opening.key);
        opening
    }

    fn insert(&mut self, key: &[u8], entry: Entry, counters: &Counters) {
        let before = self.table.len();
        let (_, left) = self.table.insert(key, entry);
        if left.is_some() && self.table.len() == before && before == self.table.capacity() {
            counters.table_evictions.add(1);
        }
        drop(left);
        counters.table_files.set(self.table.len() as u64);
    }

    /// The version that `file` is: the one already open, if it is still the same. Else the status
    /// to answer, and whether it is a directory.
    fn version(
        &mut self,
        name: &[u8],
        probing: Probing,
        settings: &Settings,
        now: Instant,
    ) -> Result<Rc<Version>, (Status, bool)> {
        let Probing { file, record, found: codings, .. } = probing;
        let (identity, kind) =
            identify(file.file()).map_err(|_| (Status::InternalServerError, false))?;
        // Whether that one is local cannot be asked without waiting, perhaps, for its server.
        self.may_wait |= identity.device != self.device;
        if kind != Kind::File {
            return Err((Status::NotFound, kind == Kind::Directory));
        }
        if let Some(id) = self.table.find(name)
            && let Some(Entry::Present { version, .. }) = self.table.value(id)
        {
            let is_same = version.identity == identity
                && version.codings == codings
                && version.record == record;
            if is_same && !version.is_broken() && version.reloads == self.reloads {
                return Ok(Rc::clone(version));
            }
            if version.identity.is_written(&identity) {
                // The same inode with other bytes: it was written in place.
                version.mark_broken();
            }
        }
        let mapping = if identity.len == 0 {
            None
        } else {
            let mapping = Mapping::new(file.file(), identity.len);
            Some(Rc::new(mapping.map_err(|_| (Status::ServiceUnavailable, false))?))
        };
        let large = identity.len >= SENDFILE_BYTES_MIN;
        let file = large.then(|| OpenFile::new(file, &self.descriptors_left)).flatten();
        let prepared = match &record {
            Some(record) => prepare_stored(record, settings),
            None => prepare(name, &identity, codings, settings),
        };
        Ok(Rc::new(Version {
            mapping,
            file: file.map(Rc::new),
            prepared,
            fresh_until: fresh_until(record.as_ref()),
            record,
            codings,
            used: Cell::new(0),
            hits: Cell::new(0),
            hot: RefCell::new(None),
            is_broken: Cell::new(false),
            is_refused: Cell::new(false),
            sent_at: Cell::new(None),
            compared: Cell::new(now),
            reloads: self.reloads,
            identity,
            residency: Rc::new(RefCell::new(Residency::new(identity.len))),
            paging: Rc::default(),
        }))
    }

    /// The file of `key` holds on, with another record: an origin confirmed it.
    pub fn renew(&mut self, key: &[u8], renewal: &Renewal, settings: &Settings, now: Instant) {
        let Some(id) = self.table.find(key) else { return };
        let Some(Entry::Present { version, checked, .. }) = self.table.value_mut(id) else {
            return;
        };
        // Another may have taken its place since it was asked about.
        let is_it = version.record.as_deref() == Some(&*renewal.before);
        let record = &renewal.after;
        if !is_it || version.is_broken() || record.body_bytes != version.identity.len {
            return;
        }
        *checked = now;
        let prepared = prepare_stored(record, settings);
        *version = Rc::new(version.with_head(prepared, record, self.reloads, now));
    }

    /// What is stored as `version`, to be sent once with `cache_status` as its line.
    pub fn handled(
        &self,
        version: &Rc<Version>,
        cache_status: &[u8],
        settings: &Settings,
        now: Instant,
    ) -> Rc<Version> {
        let Some(record) = &version.record else { return Rc::clone(version) };
        let prepared = prepare_handled(record, cache_status, settings);
        Rc::new(version.with_head(prepared, record, self.reloads, now))
    }
}
