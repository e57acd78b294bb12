//! The writer: everything that changes the index.
//!
//! Input: hits with their tags, the time, from `online::Online`.   Output: what became of them.
//! Owns: what only the writer needs: free lists, towers, the ends of the orders, what is counted.
//! Thread: the one that owns the index.
//! Invariants: what readers see changes within the version that guards it, and that is odd for as
//! short as can be; a url with nobody on it is in the queue of these, and only such a url.
//! Not here: questions (`online::query`), what readers see (`online::seen`).

use arrayvec::ArrayVec;

use crate::online::arena::{Pool, high, join, load, load_wide, low, store, store_wide};
use crate::online::chain::{Chains, Ends};
use crate::online::query::Buckets;
use crate::online::seen::{
    BACK, COUNT, EMPTY_BEFORE, EMPTY_NEXT, EMPTY_SINCE, FRONT, HOMES, INLINE_BYTES, LEN, NAME,
    NAME_HOME, NAME_REST, SECOND, Seen, Stamp, TAG, TEXT, THIRD, TOWER, VERSION, WHEN_WHERE,
    is_later, stamp,
};
use crate::online::text::word;
use crate::online::version::{begin_change, end_change};
use crate::online::{Hit, Options, Outcome, Tally};
use crate::stdx::num::narrow;
use crate::sys::prefetch::prefetch;
use crate::time::UnixMillis;

/// Users that may go for one hit that finds no room for its url.
const EVICTED_PER_HIT_MAX: u32 = 16;

/// Rows whose memory is fetched at once when they go for their age: more than the processor has
/// misses under way at once.
const PREFETCHED_ROWS: u32 = 32;

/// The writer's part of the index.
#[derive(Debug)]
pub(super) struct Writer {
    pub options: Options,
    pub chains: Chains,
    pub rows_pool: Pool,
    pub urls_pool: Pool,
    pub texts_pool: Pool,
    /// The order of time, newest in front.
    pub by_time: Ends,
    /// The order of users' names.
    pub by_user: Ends,
    /// The order of urls' names.
    pub by_url: Ends,
    /// The block in the order of users' names, by row.
    user_homes: Vec<u32>,
    /// Urls that nobody is on: the first and the last of a queue.
    empties: (u32, u32),
    pub buckets: Buckets,
    pub now: UnixMillis,
    pub tally: Tally,
}

/// A url's chain, as its entry has it.
#[inline]
pub(super) fn ends_of(seen: &Seen, url: u32) -> Ends {
    let words = seen.urls.at(url);
    Ends { front: load(&words[FRONT]), back: load(&words[BACK]), tower: load(&words[TOWER]) }
}

#[inline]
fn set_ends(seen: &Seen, url: u32, ends: Ends) {
    let words = seen.urls.at(url);
    let front = load(&words[FRONT]);
    if front != ends.front {
        store(&words[THIRD], load(&words[SECOND]));
        store(&words[SECOND], front);
        store(&words[FRONT], ends.front);
    }
    store(&words[BACK], ends.back);
    store(&words[TOWER], ends.tower);
}

/// When the user of `row` was seen.
#[inline]
pub(super) fn when(seen: &Seen, row: u32) -> Stamp {
    high(load_wide(&seen.rows.at(row)[WHEN_WHERE]))
}

#[inline]
fn set_time_home(seen: &Seen, row: u32, block: u32) {
    let word = &seen.rows.at(row)[HOMES];
    store_wide(word, join(block, low(load_wide(word))));
}

#[inline]
fn set_url_home(seen: &Seen, row: u32, block: u32) {
    let word = &seen.rows.at(row)[HOMES];
    store_wide(word, join(high(load_wide(word)), block));
}

impl Writer {
    pub fn new(options: Options, seen: &Seen, now: UnixMillis) -> Self {
        Self {
            chains: Chains::new(&seen.blocks, options.seed),
            rows_pool: Pool::default(),
            urls_pool: Pool::default(),
            texts_pool: Pool::default(),
            by_time: Ends::default(),
            by_user: Ends::default(),
            by_url: Ends::default(),
            user_homes: vec![0; options.rows_max as usize + 1],
            empties: (0, 0),
            buckets: Buckets::new(options.window_ms),
            options,
            now,
            tally: Tally::default(),
        }
    }

    pub fn handle_time(&mut self, seen: &Seen, now: UnixMillis) {
        if now <= self.now {
            return;
        }
        if now.0 - self.now.0 > u64::from(self.options.window_ms) {
            while self.remove_oldest(seen) {
                self.tally.culled += 1;
            }
        }
        self.now = now;
        store_wide(&seen.now.0, now.0);
    }

    pub fn cull(&mut self, seen: &Seen, rows_max: u32) -> bool {
        for at in 0..rows_max {
            if !self.oldest_is_expired(seen) {
                break;
            }
            if at.is_multiple_of(PREFETCHED_ROWS) {
                self.prefetch_oldest(seen);
            }
            self.remove_oldest(seen);
            self.tally.culled += 1;
        }
        for _ in 0..rows_max {
            if !self.empty_is_expired(seen) {
                break;
            }
            self.reclaim_url(seen, self.empties.0);
        }
        self.oldest_is_expired(seen) || self.empty_is_expired(seen)
    }

    /// Fetches what the removal of the next `PREFETCHED_ROWS` rows will need, step by step.
    fn prefetch_oldest(&self, seen: &Seen) {
        let mut rows = ArrayVec::<u32, { PREFETCHED_ROWS as usize }>::new();
        let mut block = self.by_time.back;
        while block != 0 && !rows.is_full() {
            let view = seen.blocks.at(block);
            rows.extend(view.items().take(rows.remaining_capacity()));
            block = view.before();
        }
        for row in &rows {
            prefetch(seen.rows.at(*row));
            prefetch(&self.user_homes[*row as usize]);
        }
        for row in &rows {
            let words = seen.rows.at(*row);
            seen.users.prefetch(seen.tag_of(*row));
            seen.blocks.prefetch(low(load_wide(&words[HOMES])));
            prefetch(seen.urls.at(low(load_wide(&words[WHEN_WHERE])) >> 8));
            seen.blocks.prefetch(self.user_homes[*row as usize]);
        }
    }

    #[inline]
    fn is_expired(&self, at: Stamp) -> bool {
        stamp(self.now).wrapping_sub(at) > self.options.window_ms
    }

    fn oldest_is_expired(&self, seen: &Seen) -> bool {
        self.oldest(seen).is_some_and(|row| self.is_expired(when(seen, row)))
    }

    fn empty_is_expired(&self, seen: &Seen) -> bool {
        let url = self.empties.0;
        url != 0 && self.is_expired(load(&seen.urls.at(url)[EMPTY_SINCE]))
    }

    #[inline]
    fn oldest(&self, seen: &Seen) -> Option<u32> {
        match self.by_time.back {
            0 => None,
            back => seen.blocks.at(back).items().next(),
        }
    }

    #[inline]
    pub fn hit(&mut self, seen: &Seen, hit: &Hit<'_>, tags: (u32, u32)) -> Outcome {
        let (user_tag, url_tag) = tags;
        let at = if hit.at > self.now {
            self.tally.from_future += 1;
            self.now
        } else {
            hit.at
        };
        if self.now.0 - at.0 > u64::from(self.options.window_ms) {
            self.tally.too_old += 1;
            return Outcome::TooOld;
        }
        let found = seen.names.find(url_tag, |url| seen.is_url(url, hit.url));
        let Some(url) = found.or_else(|| self.add_url(seen, hit.url, url_tag)) else {
            self.tally.no_room += 1;
            return Outcome::NoRoom;
        };
        // After the url: making room for it may have let this very user go.
        let row = seen.users.find(user_tag, |row| seen.is_user(row, hit.user));
        if let Some(row) = row {
            self.replace(seen, row, url, stamp(at));
            self.tally.replaced += 1;
            return Outcome::Replaced;
        }
        if self.add_row(seen, (hit.user, user_tag), url, stamp(at)).is_none() {
            self.tally.no_room += 1;
            return Outcome::NoRoom;
        }
        self.tally.added += 1;
        Outcome::Added
    }

    /// Moves `row` to `url` and to the time `at`.
    #[inline]
    fn replace(&mut self, seen: &Seen, row: u32, url: u32, at: Stamp) {
        let words = seen.rows.at(row);
        let place = load_wide(&words[WHEN_WHERE]);
        let (old_url, old_at) = (low(place) >> 8, high(place));
        self.leave_time(seen, row, old_at);

        let place = join(at, url << 8 | low(place) & 0xff);
        let (old_entry, entry) = (seen.urls.at(old_url), seen.urls.at(url));
        begin_change(&old_entry[VERSION]);
        if old_url == url {
            self.leave_url(seen, url, row);
            store_wide(&words[WHEN_WHERE], place);
            self.enter_url(seen, url, row, at);
        } else {
            begin_change(&entry[VERSION]);
            self.leave_url(seen, old_url, row);
            store_wide(&words[WHEN_WHERE], place);
            self.enter_url(seen, url, row, at);
            self.count_off(seen, old_url);
            self.count_on(seen, url);
            end_change(&entry[VERSION]);
        }
        end_change(&old_entry[VERSION]);

        self.enter_time(seen, row, at);
    }

    /// Takes `row` out of the chain of `url`; the caller has begun the change.
    #[inline]
    fn leave_url(&mut self, seen: &Seen, url: u32, row: u32) {
        let home = low(load_wide(&seen.rows.at(row)[HOMES]));
        let mut ends = ends_of(seen, url);
        let moved = |row, block| set_url_home(seen, row, block);
        self.chains.remove(&seen.blocks, &mut ends, home, row, moved);
        set_ends(seen, url, ends);
    }

    /// Puts `row` where it belongs in the chain of `url`; the caller has begun the change.
    #[inline]
    fn enter_url(&mut self, seen: &Seen, url: u32, row: u32, at: Stamp) {
        let mut ends = ends_of(seen, url);
        let newer = |other| is_later(when(seen, other), at);
        let moved = |row, block| set_url_home(seen, row, block);
        self.chains.insert(&seen.blocks, &mut ends, row, newer, moved);
        set_ends(seen, url, ends);
    }

    /// Takes `row` out of the order of time.
    #[inline]
    fn leave_time(&mut self, seen: &Seen, row: u32, at: Stamp) {
        let home = high(load_wide(&seen.rows.at(row)[HOMES]));
        let moved = |row, block| set_time_home(seen, row, block);
        self.chains.remove(&seen.blocks, &mut self.by_time, home, row, moved);
        self.buckets.remove(at);
    }

    #[inline]
    fn enter_time(&mut self, seen: &Seen, row: u32, at: Stamp) {
        let newer = |other| is_later(when(seen, other), at);
        let moved = |row, block| set_time_home(seen, row, block);
        self.chains.insert(&seen.blocks, &mut self.by_time, row, newer, moved);
        self.buckets.add(at);
    }

    /// A row for the user of this name and tag, in all orders.
    fn add_row(
        &mut self,
        seen: &Seen,
        (name, tag): (&[u8], u32),
        url: u32,
        at: Stamp,
    ) -> Option<()> {
        if self.rows_pool.used() == self.options.rows_max {
            self.remove_oldest(seen);
            self.tally.evicted += 1;
        }
        let rest = if name.len() <= INLINE_BYTES {
            word(name.get(8..).unwrap_or_default())
        } else {
            u64::from(seen.texts.keep(&mut self.texts_pool, name)?)
        };
        let next = |row| low(load_wide(&seen.rows.at(row)[NAME]));
        let row = self.rows_pool.take(self.options.rows_max, next).expect("room was made above");
        let words = seen.rows.at(row);

        begin_change(&seen.users_version.0);
        store_wide(&words[NAME], word(name));
        store_wide(&words[NAME_REST], rest);
        store_wide(&words[WHEN_WHERE], join(at, url << 8 | narrow(name.len())));
        let crowded = seen.users.insert(tag, row).is_err();
        end_change(&seen.users_version.0);
        if crowded {
            self.free_row(seen, row);
            return None;
        }
        let entry = seen.urls.at(url);
        begin_change(&entry[VERSION]);
        self.enter_url(seen, url, row, at);
        self.count_on(seen, url);
        end_change(&entry[VERSION]);
        self.enter_time(seen, row, at);
        let before = |other| seen.compare_user(other, name).is_lt();
        let homes = &mut self.user_homes;
        let moved = |row: u32, block| homes[row as usize] = block;
        self.chains.insert(&seen.blocks, &mut self.by_user, row, before, moved);
        store(&seen.count.0, self.rows_pool.used());
        Some(())
    }

    /// Removes the row seen longest ago. False where there is none.
    fn remove_oldest(&mut self, seen: &Seen) -> bool {
        let Some(row) = self.oldest(seen) else { return false };
        self.remove_row(seen, row);
        true
    }

    /// Removes a row from all orders.
    pub fn remove_row(&mut self, seen: &Seen, row: u32) {
        let words = seen.rows.at(row);
        let place = load_wide(&words[WHEN_WHERE]);
        let (url, at) = (low(place) >> 8, high(place));
        self.leave_time(seen, row, at);

        let entry = seen.urls.at(url);
        begin_change(&entry[VERSION]);
        self.leave_url(seen, url, row);
        self.count_off(seen, url);
        end_change(&entry[VERSION]);

        let home = self.user_homes[row as usize];
        let homes = &mut self.user_homes;
        let moved = |row: u32, block| homes[row as usize] = block;
        self.chains.remove(&seen.blocks, &mut self.by_user, home, row, moved);

        let tag = seen.tag_of(row);
        begin_change(&seen.users_version.0);
        seen.users.remove(tag, row);
        end_change(&seen.users_version.0);
        self.free_row(seen, row);
        store(&seen.count.0, self.rows_pool.used());
    }

    /// Gives back a row that is in no order any more, and its text.
    fn free_row(&mut self, seen: &Seen, row: u32) {
        let words = seen.rows.at(row);
        let len = low(load_wide(&words[WHEN_WHERE])) as usize & 0xff;
        if len > INLINE_BYTES {
            let text = low(load_wide(&words[NAME_REST]));
            seen.texts.free(&mut self.texts_pool, text, len);
        }
        store_wide(&words[HOMES], 0);
        self.rows_pool.give(row, |free| store_wide(&words[NAME], u64::from(free)));
    }

    /// An entry for the url `name`, with nobody on it.
    fn add_url(&mut self, seen: &Seen, name: &[u8], tag: u32) -> Option<u32> {
        let mut evicted = 0;
        let text = loop {
            let has_entry = self.urls_pool.used() < self.options.urls_max;
            let text = if has_entry { seen.texts.keep(&mut self.texts_pool, name) } else { None };
            if let Some(text) = text {
                break text;
            }
            if self.empties.0 != 0 {
                self.reclaim_url(seen, self.empties.0);
            } else if evicted < EVICTED_PER_HIT_MAX && self.remove_oldest(seen) {
                self.tally.evicted += 1;
                evicted += 1;
            } else {
                return None;
            }
        };
        let next = |url| load(&seen.urls.at(url)[TEXT]);
        let url = self.urls_pool.take(self.options.urls_max, next).expect("counted above");
        let words = seen.urls.at(url);
        begin_change(&words[VERSION]);
        set_ends(seen, url, Ends::default());
        store(&words[TEXT], text);
        store(&words[LEN], narrow(name.len()));
        store(&words[TAG], tag);
        store(&words[COUNT], 0);
        end_change(&words[VERSION]);
        begin_change(&seen.names_version.0);
        let crowded = seen.names.insert(tag, url).is_err();
        end_change(&seen.names_version.0);
        if crowded {
            self.free_url(seen, url);
            return None;
        }
        let before = |other| seen.compare_url(other, name).is_lt();
        let moved = |url, block| store(&seen.urls.at(url)[NAME_HOME], block);
        self.chains.insert(&seen.blocks, &mut self.by_url, url, before, moved);
        self.enqueue_empty(seen, url);
        Some(url)
    }

    /// Lets go of a url that nobody is on.
    fn reclaim_url(&mut self, seen: &Seen, url: u32) {
        let words = seen.urls.at(url);
        assert!(load(&words[COUNT]) == 0, "somebody is on a url that is let go of");
        self.dequeue_empty(seen, url);
        let moved = |url, block| store(&seen.urls.at(url)[NAME_HOME], block);
        let home = load(&words[NAME_HOME]);
        self.chains.remove(&seen.blocks, &mut self.by_url, home, url, moved);
        begin_change(&seen.names_version.0);
        seen.names.remove(load(&words[TAG]), url);
        end_change(&seen.names_version.0);
        self.free_url(seen, url);
        self.tally.urls_reclaimed += 1;
    }

    fn free_url(&mut self, seen: &Seen, url: u32) {
        let words = seen.urls.at(url);
        begin_change(&words[VERSION]);
        let len = load(&words[LEN]) as usize;
        seen.texts.free(&mut self.texts_pool, load(&words[TEXT]), len);
        self.urls_pool.give(url, |free| store(&words[TEXT], free));
        store(&words[LEN], 0);
        end_change(&words[VERSION]);
    }

    /// One user more is on `url`.
    #[inline]
    fn count_on(&mut self, seen: &Seen, url: u32) {
        let count = &seen.urls.at(url)[COUNT];
        if load(count) == 0 {
            self.dequeue_empty(seen, url);
        }
        store(count, load(count) + 1);
    }

    /// One user less is on `url`.
    #[inline]
    fn count_off(&mut self, seen: &Seen, url: u32) {
        let count = &seen.urls.at(url)[COUNT];
        store(count, load(count) - 1);
        if load(count) == 0 {
            self.enqueue_empty(seen, url);
        }
    }

    fn enqueue_empty(&mut self, seen: &Seen, url: u32) {
        let words = seen.urls.at(url);
        store(&words[EMPTY_SINCE], stamp(self.now));
        store(&words[EMPTY_BEFORE], self.empties.1);
        store(&words[EMPTY_NEXT], 0);
        match self.empties.1 {
            0 => self.empties.0 = url,
            last => store(&seen.urls.at(last)[EMPTY_NEXT], url),
        }
        self.empties.1 = url;
    }

    fn dequeue_empty(&mut self, seen: &Seen, url: u32) {
        let words = seen.urls.at(url);
        let (before, next) = (load(&words[EMPTY_BEFORE]), load(&words[EMPTY_NEXT]));
        match before {
            0 => self.empties.0 = next,
            _ => store(&seen.urls.at(before)[EMPTY_NEXT], next),
        }
        match next {
            0 => self.empties.1 = before,
            _ => store(&seen.urls.at(next)[EMPTY_BEFORE], before),
        }
    }
}
