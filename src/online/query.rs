//! Questions to the owner of the index, and what is counted by time for them.
//!
//! Input: windows, names, prefixes.   Output: counts, rows, urls.
//! Owns: 4,096 counts, one for each slice of time.   Thread: the one that owns the index.
//! Invariants: the counts add up to the rows.
//! Not here: what other threads may ask (`online::seen`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::online::Online;
use crate::online::arena::{high, load, load_wide, low};
use crate::online::chain::{Ends, Place};
use crate::online::seen::{
    COUNT, HOMES, LEN, Stamp, TEXT, Visitors, WHEN_WHERE, Whereabouts, is_later, stamp, unstamp,
};
use crate::online::writer::when;
use crate::time::UnixMillis;

/// Slices of time that rows are counted by; a power of two, so that stamps may wrap.
const SLICES: u32 = 4096;

/// Rows by slices of time: all slices together are longer than the window.
#[derive(Debug)]
pub(super) struct Buckets {
    counts: Vec<u32>,
    /// A slice has two to the power of this many milliseconds.
    shift: u32,
}

impl Buckets {
    pub fn new(window_ms: u32) -> Self {
        // One slice more than the window, since it begins and ends within one.
        let shift = (0..20).find(|shift| (SLICES - 1) << shift > window_ms);
        let shift = shift.expect("a week is less than 4,095 slices of 2^19 ms");
        Self { counts: vec![0; SLICES as usize], shift }
    }

    const fn slice(&self, at: Stamp) -> usize {
        (at >> self.shift & (SLICES - 1)) as usize
    }

    #[inline]
    pub fn add(&mut self, at: Stamp) {
        let slice = self.slice(at);
        self.counts[slice] += 1;
    }

    #[inline]
    pub fn remove(&mut self, at: Stamp) {
        let slice = self.slice(at);
        self.counts[slice] -= 1;
    }

    /// Rows in the slices after that of `since`, up to that of `now`.
    fn after(&self, since: Stamp, now: Stamp) -> u32 {
        let (first, last) = (self.slice(since), self.slice(now));
        if first <= last {
            self.counts[first + 1..=last].iter().sum()
        } else {
            let (old, new) = (&self.counts[first + 1..], &self.counts[..=last]);
            old.iter().sum::<u32>() + new.iter().sum::<u32>()
        }
    }
}

/// A url and the users on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlCount {
    /// Its name.
    pub url: Vec<u8>,
    /// Users whose last hit it was.
    pub count: u32,
}

impl Online {
    fn floor(&self, since: Option<UnixMillis>) -> Stamp {
        self.seen.floor(since, self.now())
    }

    /// Users seen at `since` or later. Exact: whole slices are added up, the rest is walked.
    #[must_use]
    pub fn count_since(&self, since: UnixMillis) -> u32 {
        if since > self.now() {
            return 0;
        }
        let floor = self.floor(Some(since));
        self.writer.buckets.after(floor, stamp(self.now())) + self.in_slice(floor)
    }

    /// Rows of the slice of `floor` that are not older than it.
    fn in_slice(&self, floor: Stamp) -> u32 {
        let seen = &self.seen;
        let is_in = |row| !is_later(floor, when(seen, row));
        let place = self.writer.chains.place(&seen.blocks, self.writer.by_time, is_in);
        let slice = self.writer.buckets.slice(floor);
        let mut count = 0;
        let Place { mut block, mut at } = place;
        while block != 0 {
            let view = seen.blocks.at(block);
            for row in view.items().skip(at) {
                if self.writer.buckets.slice(when(seen, row)) != slice {
                    return count;
                }
                count += 1;
            }
            (block, at) = (view.before(), 0);
        }
        count
    }

    /// Up to `limit` users on the url `name`, newest first, none older than `since`; the answer is
    /// how many are on it in all.
    pub fn visitors(
        &self,
        name: &[u8],
        limit: usize,
        since: Option<UnixMillis>,
        out: &mut Visitors,
    ) -> u32 {
        out.clear();
        let Some(url) = self.seen.url(name) else { return 0 };
        let floor = Some(self.floor(since));
        let done = self.seen.visitors(url, limit, floor, self.now(), out);
        done.expect("the owner is not led astray");
        load(&self.seen.urls.at(url)[COUNT])
    }

    /// Up to `limit` users of all urls, newest first, none older than `since`.
    pub fn newest(&self, limit: usize, since: Option<UnixMillis>, out: &mut Visitors) {
        out.clear();
        let floor = Some(self.floor(since));
        let front = self.writer.by_time.front;
        let done = self.seen.walk(front, limit, floor, self.now(), out);
        done.expect("the owner is not led astray");
    }

    /// Calls `each` with user, url and time of every row, newest first.
    pub fn each_row(&self, mut each: impl FnMut(&[u8], &[u8], UnixMillis)) {
        let seen = &self.seen;
        let (mut user, mut url) = (Vec::new(), Vec::new());
        let mut block = self.writer.by_time.front;
        while block != 0 {
            let view = seen.blocks.at(block);
            for row in view.items().rev() {
                let words = seen.rows.at(row);
                let place = load_wide(&words[WHEN_WHERE]);
                user.clear();
                url.clear();
                seen.copy_user(words, &mut user).expect("the owner is not led astray");
                seen.copy_url(low(place) >> 8, &mut url).expect("the owner is not led astray");
                each(&user, &url, unstamp(high(place), self.now()));
            }
            block = view.next();
        }
    }

    /// Where the user `name` was last.
    #[must_use]
    pub fn user(&self, name: &[u8]) -> Option<Whereabouts> {
        let words = self.seen.rows.at(self.seen.user(name)?);
        let place = load_wide(&words[WHEN_WHERE]);
        if is_later(self.floor(None), high(place)) {
            return None;
        }
        let mut found = Whereabouts { at: unstamp(high(place), self.now()), ..Default::default() };
        self.seen.copy_url(low(place) >> 8, &mut found.url)?;
        Some(found)
    }

    /// How many users were seen later than `name`, or at the same time and arrived later.
    #[must_use]
    pub fn rank(&self, name: &[u8]) -> Option<u32> {
        let row = self.seen.user(name)?;
        let words = self.seen.rows.at(row);
        let at = high(load_wide(&words[WHEN_WHERE]));
        let slice = self.writer.buckets.slice(at);
        let mut count = self.writer.buckets.after(at, stamp(self.now()));
        let mut block = high(load_wide(&words[HOMES]));
        let mut is_passed = false;
        while block != 0 {
            let view = self.seen.blocks.at(block);
            for other in view.items() {
                if is_passed && self.writer.buckets.slice(when(&self.seen, other)) != slice {
                    return Some(count);
                }
                count += u32::from(is_passed);
                is_passed |= other == row;
            }
            block = view.before();
        }
        Some(count)
    }

    /// Users whose names begin with `prefix`, by name, up to `limit`.
    pub fn users_prefix(&self, prefix: &[u8], limit: usize, mut each: impl FnMut(&[u8])) {
        let seen = &self.seen;
        let before = |row| seen.compare_user(row, prefix).is_lt();
        let mut name = Vec::new();
        self.each_from(
            self.writer.by_user,
            before,
            |row| {
                name.clear();
                seen.copy_user(seen.rows.at(row), &mut name).expect("the owner is not led astray");
                let goes_on = name.starts_with(prefix);
                if goes_on {
                    each(&name);
                }
                goes_on
            },
            limit,
        );
    }

    /// Urls with users on them whose names begin with `prefix`, by name, up to `limit`.
    #[must_use]
    pub fn urls_prefix(&self, prefix: &[u8], limit: usize) -> Vec<UrlCount> {
        let seen = &self.seen;
        let before = |url| seen.compare_url(url, prefix).is_lt();
        let mut found = Vec::new();
        // Those that nobody is on are passed over, and bounded by themselves.
        self.each_from(
            self.writer.by_url,
            before,
            |url| {
                let words = seen.urls.at(url);
                let (len, count) = (load(&words[LEN]) as usize, load(&words[COUNT]));
                let mut name = Vec::with_capacity(len);
                let copied = seen.texts.copy(load(&words[TEXT]), len, &mut name);
                copied.expect("the owner is not led astray");
                let goes_on = name.starts_with(prefix);
                if goes_on && count > 0 {
                    found.push(UrlCount { url: name, count });
                }
                goes_on && found.len() < limit
            },
            usize::MAX,
        );
        found
    }

    /// Calls `each` for up to `limit` items behind those that are `before`, until it says no.
    fn each_from(
        &self,
        ends: Ends,
        before: impl Fn(u32) -> bool,
        mut each: impl FnMut(u32) -> bool,
        limit: usize,
    ) {
        let place = self.writer.chains.place(&self.seen.blocks, ends, before);
        let Place { mut block, at } = place;
        let mut skipped = if block == 0 {
            block = ends.front;
            0
        } else {
            self.seen.blocks.at(block).len() - at
        };
        let mut left = limit;
        while block != 0 {
            let view = self.seen.blocks.at(block);
            for item in view.items().rev().skip(skipped) {
                if left == 0 || !each(item) {
                    return;
                }
                left -= 1;
            }
            (block, skipped) = (view.next(), 0);
        }
    }

    /// The `limit` urls with the most users, busiest first, equals by name. Of those that are as
    /// busy as the last one, any may be left out. Looks at every url.
    #[must_use]
    pub fn top(&self, limit: usize) -> Vec<UrlCount> {
        let mut best = BinaryHeap::with_capacity(limit.min(1024) + 1);
        for url in 1..=self.writer.urls_pool.touched() {
            let count = load(&self.seen.urls.at(url)[COUNT]);
            // A free entry has no users.
            if count == 0
                || best
                    .peek()
                    .is_some_and(|Reverse((least, _))| best.len() == limit && count <= *least)
            {
                continue;
            }
            best.push(Reverse((count, url)));
            if best.len() > limit {
                best.pop();
            }
        }
        let named = best.into_iter().map(|Reverse((count, url))| {
            let mut name = Vec::new();
            self.seen.copy_url(url, &mut name).expect("the owner is not led astray");
            UrlCount { url: name, count }
        });
        let mut found: Vec<UrlCount> = named.collect();
        found.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.url.cmp(&b.url)));
        found
    }

    /// Urls in the index, those included that nobody is on any more.
    #[must_use]
    pub const fn urls(&self) -> u32 {
        self.writer.urls_pool.used()
    }

    /// Bytes of memory that the index takes: what it ever used of its arenas, and its hash slots.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let writer = &self.writer;
        let rows = 36 * u64::from(writer.rows_pool.touched());
        let urls = 64 * u64::from(writer.urls_pool.touched());
        let texts = 64 * u64::from(writer.texts_pool.touched());
        rows + urls
            + texts
            + writer.chains.bytes()
            + self.seen.users.bytes()
            + self.seen.names.bytes()
    }
}
