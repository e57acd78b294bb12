//! One version of one file: its bytes, its head, its hot copy, what of it is in memory.
//!
//! Thread: one worker.
//! Invariants: once it is marked broken, no further byte of it is sent.
//! Not here: which version is the file's (`files::opening`).

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use crate::cache::freshness::status::Handled;
use crate::cache::record::Record;
use crate::cache::residency::Residency;
use crate::cache::way_out::SENDFILE_BYTES_MIN;
use crate::http::date::DateLine;
use crate::http::encoding::{Coding, Codings};
use crate::http::head::{Description, Persistence, Prepared, Stored};
use crate::limits::HOT_HITS_MIN;
use crate::stdx::slab::Key;
use crate::sys::clock::{unix_nanos, unix_seconds};
use crate::sys::hot::{Arena, Block};
use crate::sys::mapping::Mapping;
use crate::sys::tree::Identity;
use crate::time::{Instant, UnixSeconds};

use super::super::super::settings::Settings;
use super::super::fetch::status_line;
use super::OpenFile;

/// One version of one file.
pub struct Version {
    /// The file's bytes; `None` for an empty file.
    pub mapping: Option<Rc<Mapping>>,
    /// The open file, where it is large enough for sendfile and the budget allowed.
    pub file: Option<Rc<OpenFile>>,
    /// Its response head.
    pub prepared: Prepared,
    /// What is kept beside it, where an origin's answer is stored in it.
    pub record: Option<Arc<Record>>,
    /// Precompressed siblings seen beside it when it was opened.
    pub codings: Codings,
    /// Until when an origin's answer is for every request that asks for nothing special, as its
    /// record says, which lies elsewhere in memory; 0 where it is not, or there is none.
    pub fresh_until: UnixSeconds,
    /// When its use was last told to the store.
    pub used: Cell<u64>,
    /// How often it was asked for since the arena last looked, and its copy there.
    pub(super) hits: Cell<u32>,
    pub(super) hot: RefCell<Option<Rc<Block>>>,
    /// Said by its mapping as well, to the sends that hold only that; here it costs a hit nothing.
    pub(super) is_broken: Cell<bool>,
    /// The arena had no room for it when it was last asked.
    pub(super) is_refused: Cell<bool>,
    /// When its file was last compared with what was opened.
    pub(super) compared: Cell<Instant>,
    /// The count of reloads when its head was prepared.
    pub(super) reloads: u64,
    /// The worker's count of the bytes of all bodies when this was last sent.
    pub(super) sent_at: Cell<Option<u64>>,
    pub(super) identity: Identity,
    /// What of its bytes is in memory; shared by all that have the same ones.
    pub(super) residency: Rc<RefCell<Residency>>,
    /// Page-ins under way, shared likewise.
    pub(super) paging: Rc<RefCell<Vec<(u64, Key)>>>,
}

impl Version {
    /// Says that it was changed in place: no further byte of it may be sent.
    pub fn mark_broken(&self) {
        self.is_broken.set(true);
        self.hot.replace(None);
        if let Some(mapping) = &self.mapping {
            mapping.mark_broken();
        }
    }

    /// Whether it was changed in place.
    pub const fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// Its hot copy with a date of now, if it has one and none with an old date is in flight. One
    /// that is asked for often gets one, if there is room.
    pub fn hot(&self, arena: &Arena, date: &DateLine, epoch: u64) -> Option<Rc<Block>> {
        if self.identity.len >= SENDFILE_BYTES_MIN || self.is_broken() {
            return None;
        }
        self.hits.set(self.hits.get().saturating_add(1));
        let seconds = date.seconds().0;
        let mut hot = self.hot.borrow_mut();
        if let Some(block) = &*hot {
            if block.date.get() != seconds {
                if !block.patch_head(self.prepared.stamp_at(), self.prepared.stamp(date).as_bytes())
                {
                    return None;
                }
                block.date.set(seconds);
            }
            return Some(Rc::clone(block));
        }
        let whole = 0..self.identity.len;
        // Copied once its pages are known to be resident: nothing waits for a disk.
        let is_due = self.hits.get() >= HOT_HITS_MIN && !self.is_refused.get();
        if !is_due || self.resident_until(&whole, epoch) < whole.end {
            return None;
        }
        let mapping = self.mapping.as_ref()?;
        let mut head = Vec::new();
        self.prepared.emit_ok(&mut head, date, Persistence::Keep);
        hot.clone_from(&arena.fill(&head, mapping, seconds));
        self.is_refused.set(hot.is_none());
        hot.clone()
    }

    /// The same bytes with another head, and another record.
    pub(super) fn with_head(
        &self,
        prepared: Prepared,
        record: &Arc<Record>,
        reloads: u64,
        now: Instant,
    ) -> Self {
        Self {
            mapping: self.mapping.clone(),
            file: self.file.clone(),
            prepared,
            fresh_until: fresh_until(Some(record)),
            record: Some(Arc::clone(record)),
            codings: self.codings,
            used: Cell::new(0),
            hits: Cell::new(0),
            hot: RefCell::new(None),
            is_broken: Cell::new(self.is_broken()),
            is_refused: Cell::new(false),
            sent_at: Cell::new(self.sent_at.get()),
            compared: Cell::new(now),
            reloads,
            identity: self.identity,
            residency: Rc::clone(&self.residency),
            paging: Rc::clone(&self.paging),
        }
    }

    /// Lets the hot copy go if it was not asked for since the last call.
    pub(super) fn cool(&self) {
        self.is_refused.set(false);
        if self.hits.replace(0) == 0 {
            self.hot.replace(None);
        }
    }

    /// Bytes of bodies that the worker sent, of `total` so far, since it last sent this one; see
    /// `way_out`.
    pub fn reuse_bytes(&self, total: u64) -> u64 {
        self.sent_at.get().map_or(u64::MAX, |before| total.saturating_sub(before))
    }

    /// It is being sent; `total` includes it.
    pub fn handle_sent(&self, total: u64) {
        self.sent_at.set(Some(total));
    }

    /// The end of what may be sent now of `range`, without waiting for a disk.
    pub fn resident_until(&self, range: &Range<u64>, epoch: u64) -> u64 {
        self.residency.borrow().until(range, epoch)
    }
}

pub(super) fn fresh_until(record: Option<&Arc<Record>>) -> UnixSeconds {
    match record {
        Some(record) if record.nominated.is_empty() => record.freshness.fresh_until(),
        _ => UnixSeconds(0),
    }
}

pub(super) fn prepare_stored(record: &Record, settings: &Settings) -> Prepared {
    let hit = status_line(&settings.cache_name, Handled::Hit, None);
    prepare_handled(record, &hit, settings)
}

pub(super) fn prepare_handled(
    record: &Record,
    cache_status: &[u8],
    settings: &Settings,
) -> Prepared {
    Prepared::of_stored(&Stored {
        len: record.body_bytes,
        fields: &record.fields,
        cache_status,
        received_at: record.freshness.received_at,
        initial_age_seconds: record.freshness.initial_age_seconds,
        ranges: settings.ranges_max > 0,
    })
}

/// Kernels stamp files by their tick, 10 ms at the longest: a file opened within it may be replaced
/// by one with the same time. Later the time tells the two apart, and boxes with the same file
/// agree on its entity tag.
const TICK_NANOS_MAX: u64 = 20_000_000;

pub(super) fn prepare(
    name: &[u8],
    identity: &Identity,
    codings: Codings,
    settings: &Settings,
) -> Prepared {
    // A sibling has the type and the rules of the file that it is a sibling of.
    let (shown, suffix) = match name.iter().position(|byte| *byte == 0) {
        Some(nul) => (&name[..nul], &name[nul + 1..]),
        None => (name, &[][..]),
    };
    let coding = Coding::ALL.into_iter().find(|coding| coding.suffix().as_bytes() == suffix);
    let (directory, path) = settings.split(shown);
    let is_fresh = unix_nanos().saturating_sub(identity.modified_nanos) < TICK_NANOS_MAX;
    Prepared::new(&Description {
        len: identity.len,
        modified_nanos: identity.modified_nanos,
        now: unix_seconds(),
        twin: if is_fresh { identity.inode } else { 0 },
        content_type: settings.content_type(path),
        coding,
        varies: coding.is_some() || !codings.is_empty(),
        cache_control: settings.cache_control(directory, path),
        server_name: &settings.server_name,
        ranges: settings.ranges_max > 0,
    })
}
