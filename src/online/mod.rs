//! Who is online: users, the url each was on last, and when; in three orders, in memory.
//!
//! Input: hits (`hit`, `hits`), the time (`handle_time`), questions, by whoever owns the index.
//! Output: answers; `Reader` gives the same from other threads, without a lock.
//! Owns: one row per user, bounded by `Options::rows_max`; one entry per url, `Options::urls_max`.
//! Thread: one writer, any number of readers.
//! Invariants: a user has one row; it is in the chain of its url, in the order of time and in the
//! order of names; times lie between now less the window and now; what is equally old stays in the
//! order of arrival; the oldest go first, whether for their age or for want of room.
//! Not here: threads and sockets (`daemon`), the clock.
//! Source: Schlossnagle, "Scalable Internet Architectures", 2006, chapter 8 (a skiplist with
//! several indices). Figures: `bench/results/online.md`.
//! Differs from the source: the search by user and by url begins at a hash, by time at the newest
//! end, and thirteen items share a cache line; `plain` is the structure of the source.

mod arena;
mod chain;
pub mod command;
mod hash;
pub mod plain;
mod query;
pub mod resp;
mod seen;
pub mod service;
pub mod session;
pub mod snapshot;
mod text;
mod version;
mod writer;

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::limits::{ONLINE_NAME_BYTES_MAX, ONLINE_URL_BYTES_MAX};
use crate::online::arena::{high, load, load_wide, low};
use crate::online::seen::{FRONT, HOMES, Seen, TEXT, WHEN_WHERE};
use crate::online::writer::Writer;
use crate::sys::prefetch::prefetch;
use crate::time::UnixMillis;

pub use crate::online::arena::NoMemory;
pub use crate::online::query::UrlCount;
pub use crate::online::seen::{Outrun, Reader, Visitors, Whereabouts};

/// What an index may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a user stays after the last hit, in milliseconds; 7 days at most.
    pub window_ms: u32,
    /// Most users. Beyond: the one seen longest ago goes.
    pub rows_max: u32,
    /// Most urls, those included that nobody is on any more. Beyond: one that nobody is on goes; if
    /// there is none, a few of the users seen longest ago; then the hit is dropped.
    pub urls_max: u32,
    /// Bytes for urls and for users' names of more than 16 bytes. Beyond: as for urls.
    pub text_bytes_max: u64,
    /// What a stranger must not know: decides over hashes.
    pub seed: u64,
}

/// Longest window: stamps count milliseconds modulo 2^32, and half of that must hold a window and
/// what a clock may be off.
pub const WINDOW_MS_MAX: u32 = 7 * 24 * 3600 * 1000;

/// Most urls: their numbers have 24 bits in a row.
pub const URLS_MAX: u32 = (1 << 24) - 1;

/// Most rows: an arena's numbers are counted in 28 bits where a tower has one.
pub const ROWS_MAX: u32 = 1 << 27;

/// Hits whose memory is fetched at once.
const BATCH: usize = 32;

/// One hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit<'a> {
    /// Who, 1 to `ONLINE_NAME_BYTES_MAX` bytes.
    pub user: &'a [u8],
    /// What, 1 to `ONLINE_URL_BYTES_MAX` bytes.
    pub url: &'a [u8],
    /// When. Later than now: now.
    pub at: UnixMillis,
}

/// What became of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The user was not there.
    Added,
    /// The user's row is this hit now.
    Replaced,
    /// It is older than the window; nothing changed.
    TooOld,
    /// Its user or url is empty or too long; nothing changed.
    BadName,
    /// There is no room for its url or its user's name; the user's row, if any, is as it was.
    NoRoom,
}

/// What happened so far; for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Hits that made a row.
    pub added: u64,
    /// Hits that replaced one.
    pub replaced: u64,
    /// Hits older than the window.
    pub too_old: u64,
    /// Hits from the future, taken as of now.
    pub from_future: u64,
    /// Hits with a name that is empty or too long.
    pub bad_names: u64,
    /// Hits dropped for want of room.
    pub no_room: u64,
    /// Rows that left for their age.
    pub culled: u64,
    /// Rows that left for want of room.
    pub evicted: u64,
    /// Urls that left, since nobody was on them.
    pub urls_reclaimed: u64,
}

/// The index: the writer's side.
#[derive(Debug)]
pub struct Online {
    seen: Arc<Seen>,
    writer: Writer,
}

impl Online {
    /// An empty index that takes its memory as it fills.
    ///
    /// # Errors
    /// Where the address space cannot be had.
    ///
    /// # Panics
    /// If a bound is zero or above its maximum: the configuration checks them.
    pub fn new(options: Options, now: UnixMillis) -> Result<Self, NoMemory> {
        assert!(options.window_ms > 0 && options.window_ms <= WINDOW_MS_MAX, "checked");
        assert!(options.rows_max > 0 && options.rows_max <= ROWS_MAX, "checked");
        assert!(options.urls_max > 0 && options.urls_max <= URLS_MAX, "checked");
        let seen = Seen::new(&options, now)?;
        Ok(Self { writer: Writer::new(options, &seen, now), seen: Arc::new(seen) })
    }

    /// A reader for another thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(&self.seen)
    }

    /// Users in the index.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u32 {
        self.writer.rows_pool.used()
    }

    /// What happened so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.writer.tally
    }

    /// The latest time that it was told.
    #[must_use]
    pub const fn now(&self) -> UnixMillis {
        self.writer.now
    }

    /// Tells the time. A clock that goes back is not followed; one that leaps by more than the
    /// window empties the index at once, since all in it is older then.
    pub fn handle_time(&mut self, now: UnixMillis) {
        self.writer.handle_time(&self.seen, now);
    }

    /// Lets up to `rows_max` rows go that are older than the window, and as many urls that nobody
    /// was on for as long. True where there are more.
    pub fn cull(&mut self, rows_max: u32) -> bool {
        self.writer.cull(&self.seen, rows_max)
    }

    /// Removes the user `name`. False where it is not there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(row) = self.seen.user(name) else { return false };
        self.writer.remove_row(&self.seen, row);
        true
    }

    /// Applies one hit.
    #[inline]
    pub fn hit(&mut self, hit: &Hit<'_>) -> Outcome {
        let tags = (self.seen.tag(hit.user), self.seen.tag(hit.url));
        self.prefetch_batch(&[tags]);
        self.hit_tagged(hit, tags)
    }

    /// Applies hits in their order, and tells what became of each; what they need of memory is
    /// fetched for `BATCH` of them at once.
    pub fn hits<'a>(
        &mut self,
        hits: impl IntoIterator<Item = Hit<'a>>,
        mut outcome: impl FnMut(Outcome),
    ) {
        let mut hits = hits.into_iter();
        let mut batch = ArrayVec::<Hit<'a>, BATCH>::new();
        let mut tags = ArrayVec::<(u32, u32), BATCH>::new();
        loop {
            batch.clear();
            tags.clear();
            for hit in hits.by_ref().take(BATCH) {
                batch.push(hit);
                tags.push((self.seen.tag(hit.user), self.seen.tag(hit.url)));
            }
            if batch.is_empty() {
                return;
            }
            self.prefetch_batch(&tags);
            for (hit, tags) in batch.iter().zip(&tags) {
                outcome(self.hit_tagged(hit, *tags));
            }
        }
    }

    #[inline]
    fn hit_tagged(&mut self, hit: &Hit<'_>, tags: (u32, u32)) -> Outcome {
        let is_named = (1..=ONLINE_NAME_BYTES_MAX).contains(&hit.user.len())
            && (1..=ONLINE_URL_BYTES_MAX).contains(&hit.url.len());
        if !is_named {
            self.writer.tally.bad_names += 1;
            return Outcome::BadName;
        }
        self.writer.hit(&self.seen, hit, tags)
    }

    /// Fetches what the hits of a batch will need, step by step for all of them: the misses of one
    /// step do not wait for each other, nor those of a user for those of a url.
    #[inline]
    fn prefetch_batch(&self, tags: &[(u32, u32)]) {
        let seen = &*self.seen;
        let (mut rows, mut urls) = ([0; BATCH], [0; BATCH]);
        for (user, url) in tags {
            seen.users.prefetch(*user);
            seen.names.prefetch(*url);
        }
        for (at, (user, url)) in tags.iter().enumerate() {
            (rows[at], urls[at]) = (seen.users.guess(*user), seen.names.guess(*url));
            prefetch(seen.rows.at(rows[at]));
            prefetch(seen.urls.at(urls[at]));
        }
        for at in 0..tags.len() {
            let (row, url) = (seen.rows.at(rows[at]), seen.urls.at(urls[at]));
            let homes = load_wide(&row[HOMES]);
            seen.blocks.prefetch(high(homes));
            seen.blocks.prefetch(low(homes));
            prefetch(seen.urls.at(low(load_wide(&row[WHEN_WHERE])) >> 8));
            seen.texts.prefetch(load(&url[TEXT]));
            seen.blocks.prefetch(load(&url[FRONT]));
        }
    }
}

#[cfg(test)]
mod tests;
