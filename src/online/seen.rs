//! What the writer and the readers of one index share, and how a url's visitors are read off it.
//!
//! Input: a url, a user.   Output: rows, copied out.
//! Owns: the arenas.   Thread: one writer (`online::Online`); readers look through `Reader`.
//! Invariants: a row is in the chain of the url that it names, and in no other, whenever that url's
//! version is even; a user's slot and a url's change only within their index's version.
//! Not here: changing anything (`online::Online`).

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::online::Options;
use crate::online::arena::{Arena, NoMemory, high, load, load_wide, low};
use crate::online::chain::{BLOCK_ITEMS_MIN, Blocks};
use crate::online::hash::HashIndex;
use crate::online::text::{Texts, word};
use crate::online::version::{begin_look, is_same};
use crate::sys::prefetch::prefetch;
use crate::time::UnixMillis;

/// Words of a row: the name's first 16 bytes (or its first 8 and the number of its text), when and
/// where the user was last, where that is in the chains.
pub(super) const NAME: usize = 0;
pub(super) const NAME_REST: usize = 1;
/// Stamp above; below it the url's number (24 bits) and the name's length (8 bits).
pub(super) const WHEN_WHERE: usize = 2;
/// Block in the order of time above, in the url's chain below.
pub(super) const HOMES: usize = 3;

/// Bytes of a name that lie in its row; longer ones have a text.
pub(super) const INLINE_BYTES: usize = 16;

/// Words of a url: its version, the ends of its chain, its name, and how it is found.
pub(super) const VERSION: usize = 0;
pub(super) const FRONT: usize = 1;
pub(super) const BACK: usize = 2;
pub(super) const TOWER: usize = 3;
pub(super) const TEXT: usize = 4;
pub(super) const LEN: usize = 5;
pub(super) const TAG: usize = 6;
/// Its block in the order of names.
pub(super) const NAME_HOME: usize = 7;
/// Neighbours in the queue of urls that nobody is on.
pub(super) const EMPTY_BEFORE: usize = 8;
pub(super) const EMPTY_NEXT: usize = 9;
/// When its last visitor left.
pub(super) const EMPTY_SINCE: usize = 10;
/// Users on it.
pub(super) const COUNT: usize = 11;
/// The blocks behind the front one, or what was there: a hint for what to fetch.
pub(super) const SECOND: usize = 12;
pub(super) const THIRD: usize = 13;

/// Milliseconds modulo 2^32: 49 days, of which an index covers 7 at most.
pub(super) type Stamp = u32;

/// Whether `a` is later than `b`; both lie in one window.
#[inline]
pub(super) const fn is_later(a: Stamp, b: Stamp) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// The stamp of a time.
#[inline]
pub(super) const fn stamp(at: UnixMillis) -> Stamp {
    low(at.0)
}

/// The time of a stamp that lies in the window that ends `now`.
#[inline]
pub(super) const fn unstamp(stamp: Stamp, now: UnixMillis) -> UnixMillis {
    UnixMillis(now.0.saturating_sub(low(now.0).wrapping_sub(stamp) as u64))
}

/// The bytes of a name that lies in its row, and zeros after it.
#[inline]
fn inline_name(words: &[AtomicU64; 4]) -> [u8; INLINE_BYTES] {
    let mut bytes = [0; INLINE_BYTES];
    bytes[..8].copy_from_slice(&load_wide(&words[NAME]).to_be_bytes());
    bytes[8..].copy_from_slice(&load_wide(&words[NAME_REST]).to_be_bytes());
    bytes
}

/// A word that has a cache line for itself.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Alone<T>(pub T);

/// The arenas and what is counted.
#[derive(Debug)]
pub(super) struct Seen {
    pub rows: Arena<AtomicU64, 4>,
    pub urls: Arena<AtomicU32, 16>,
    pub blocks: Blocks,
    pub texts: Texts,
    pub users: HashIndex,
    pub names: HashIndex,
    /// Guards `users`, and which text a row's name has.
    pub users_version: Alone<AtomicU32>,
    /// Guards `names`.
    pub names_version: Alone<AtomicU32>,
    /// Users in the index.
    pub count: Alone<AtomicU32>,
    /// The writer's latest time.
    pub now: Alone<AtomicU64>,
    /// How long a user stays.
    pub window_ms: u32,
    /// Decides over tags.
    pub seed: foldhash::fast::FixedState,
}

impl Seen {
    pub fn new(options: &Options, now: UnixMillis) -> Result<Self, NoMemory> {
        let texts = options.text_bytes_max / 64;
        // Three orders of users, of which one is cut into a chain for each url; one of urls.
        let full = options.rows_max / BLOCK_ITEMS_MIN * 3 + options.urls_max / BLOCK_ITEMS_MIN;
        let blocks = full + options.urls_max + 8;
        Ok(Self {
            rows: Arena::new(options.rows_max)?,
            urls: Arena::new(options.urls_max)?,
            blocks: Blocks::new(blocks)?,
            texts: Texts::new(u32::try_from(texts).unwrap_or(u32::MAX))?,
            users: HashIndex::new(options.rows_max)?,
            names: HashIndex::new(options.urls_max)?,
            users_version: Alone::default(),
            names_version: Alone::default(),
            count: Alone::default(),
            now: Alone(AtomicU64::new(now.0)),
            window_ms: options.window_ms,
            seed: foldhash::fast::FixedState::with_seed(options.seed),
        })
    }

    /// The oldest stamp that an answer at `now` may have which goes back to `since`: nothing is
    /// older than the window, though it may not have been culled yet.
    pub fn floor(&self, since: Option<UnixMillis>, now: UnixMillis) -> Stamp {
        let oldest = UnixMillis(now.0.saturating_sub(u64::from(self.window_ms)));
        // A time to come is one that nobody was seen at.
        stamp(since.unwrap_or_default().clamp(oldest, UnixMillis(now.0.saturating_add(1))))
    }

    /// The tag of a name.
    #[inline]
    pub fn tag(&self, name: &[u8]) -> u32 {
        use std::hash::BuildHasher as _;
        high(self.seed.hash_one(name))
    }

    /// Whether `row` is the user `name`'s.
    #[inline]
    pub fn is_user(&self, row: u32, name: &[u8]) -> bool {
        let Some(words) = self.rows.find(row) else { return false };
        if low(load_wide(&words[WHEN_WHERE])) as usize & 0xff != name.len() {
            return false;
        }
        if load_wide(&words[NAME]) != word(name) {
            return false;
        }
        let rest = load_wide(&words[NAME_REST]);
        if name.len() <= INLINE_BYTES {
            rest == word(name.get(8..).unwrap_or_default())
        } else {
            self.texts.is(low(rest), name)
        }
    }

    /// Whether `url` is the one of this name.
    #[inline]
    pub fn is_url(&self, url: u32, name: &[u8]) -> bool {
        self.urls.find(url).is_some_and(|words| {
            load(&words[LEN]) as usize == name.len() && self.texts.is(load(&words[TEXT]), name)
        })
    }

    /// The number of the url of this name.
    #[inline]
    pub fn url(&self, name: &[u8]) -> Option<u32> {
        self.names.find(self.tag(name), |url| self.is_url(url, name))
    }

    /// The row of the user of this name.
    #[inline]
    pub fn user(&self, name: &[u8]) -> Option<u32> {
        self.users.find(self.tag(name), |row| self.is_user(row, name))
    }

    /// The tag of the user of `row`.
    pub fn tag_of(&self, row: u32) -> u32 {
        let words = self.rows.at(row);
        let len = low(load_wide(&words[WHEN_WHERE])) as usize & 0xff;
        if len <= INLINE_BYTES {
            return self.tag(&inline_name(words)[..len]);
        }
        let mut name = Vec::with_capacity(len);
        let text = low(load_wide(&words[NAME_REST]));
        self.texts.copy(text, len, &mut name).expect("the writer is not led astray");
        self.tag(&name)
    }

    /// How the name of the user of `row` sorts beside `name`.
    pub fn compare_user(&self, row: u32, name: &[u8]) -> Ordering {
        let words = self.rows.at(row);
        let first = load_wide(&words[NAME]).cmp(&word(name));
        if first.is_ne() {
            return first;
        }
        let len = low(load_wide(&words[WHEN_WHERE])) as usize & 0xff;
        let rest = load_wide(&words[NAME_REST]);
        if len > INLINE_BYTES {
            return self.texts.compare(low(rest), len, name);
        }
        rest.cmp(&word(name.get(8..).unwrap_or_default())).then(len.cmp(&name.len()))
    }

    /// How the name of `url` sorts beside `name`.
    pub fn compare_url(&self, url: u32, name: &[u8]) -> Ordering {
        let words = self.urls.at(url);
        self.texts.compare(load(&words[TEXT]), load(&words[LEN]) as usize, name)
    }

    /// Appends the name of `row`. `None` where a reader was led astray.
    #[inline]
    pub fn copy_user(&self, words: &[AtomicU64; 4], into: &mut Vec<u8>) -> Option<()> {
        let len = low(load_wide(&words[WHEN_WHERE])) as usize & 0xff;
        let rest = load_wide(&words[NAME_REST]);
        if len > INLINE_BYTES {
            return self.texts.copy(low(rest), len, into);
        }
        // Sixteen bytes at once, for a copy of a length that is known is two instructions.
        into.extend_from_slice(&inline_name(words));
        into.truncate(into.len() + len - INLINE_BYTES);
        Some(())
    }

    /// Appends the name of `url`.
    pub fn copy_url(&self, url: u32, into: &mut Vec<u8>) -> Option<()> {
        let words = self.urls.find(url)?;
        self.texts.copy(load(&words[TEXT]), load(&words[LEN]) as usize, into)
    }

    /// Adds up to `limit` visitors of `url` that are not older than `since`, newest first. `None`
    /// where a reader was led astray.
    #[inline]
    pub fn visitors(
        &self,
        url: u32,
        limit: usize,
        since: Option<Stamp>,
        now: UnixMillis,
        out: &mut Visitors,
    ) -> Option<()> {
        let words = self.urls.find(url)?;
        // Where the second and third block lay when the first one was added, most often still.
        self.blocks.prefetch(load(&words[SECOND]));
        self.blocks.prefetch(load(&words[THIRD]));
        self.walk(load(&words[FRONT]), limit, since, now, out)
    }

    /// Has up to `limit` rows of `block` fetched, and the block behind it. Returns how many.
    #[inline]
    fn ask_for(&self, block: u32, limit: usize) -> Option<usize> {
        if block == 0 {
            return Some(0);
        }
        let view = self.blocks.find(block)?;
        self.blocks.prefetch(view.next());
        for row in view.items().rev().take(limit) {
            prefetch(self.rows.find(row)?);
        }
        Some(view.len())
    }

    /// Adds up to `limit` users from the chain of rows that begins with `block`, as above.
    #[inline]
    pub fn walk(
        &self,
        mut block: u32,
        limit: usize,
        since: Option<Stamp>,
        now: UnixMillis,
        out: &mut Visitors,
    ) -> Option<()> {
        // A reader that lost a race may go round in a circle of empty blocks.
        let mut steps = limit.saturating_add(64);
        // Rows are asked for a block ahead of the one that is read.
        let mut asked = self.ask_for(block, limit)?;
        while block != 0 && steps > 0 {
            steps -= 1;
            let view = self.blocks.find(block)?;
            if asked < limit {
                asked += self.ask_for(view.next(), limit - asked)?;
            }
            for row in view.items().rev() {
                let words = self.rows.find(row)?;
                let at = high(load_wide(&words[WHEN_WHERE]));
                if out.rows.len() >= limit || since.is_some_and(|since| is_later(since, at)) {
                    return Some(());
                }
                self.copy_user(words, &mut out.names)?;
                out.rows.push((out.names.len(), unstamp(at, now)));
            }
            block = view.next();
        }
        Some(())
    }
}

/// Users and when they were seen, newest first; its memory is used again.
#[derive(Debug, Default)]
pub struct Visitors {
    /// The names, one after the other.
    names: Vec<u8>,
    /// Where each name ends, and the time of its hit.
    rows: Vec<(usize, UnixMillis)>,
}

impl Visitors {
    /// Forgets them.
    pub fn clear(&mut self) {
        self.names.clear();
        self.rows.clear();
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Name and time of each.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], UnixMillis)> {
        self.rows.iter().enumerate().map(|(at, (end, time))| {
            let start = at.checked_sub(1).map_or(0, |before| self.rows[before].0);
            (&self.names[start..*end], *time)
        })
    }
}

/// Where a user was last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// The url.
    pub url: Vec<u8>,
    /// When.
    pub at: UnixMillis,
}

/// Looks at an index from any thread, without a lock, and without holding the writer up.
#[derive(Clone, Debug)]
pub struct Reader {
    seen: Arc<Seen>,
}

/// How often a reader looks again before it says so: a url that changes every microsecond lets
/// every other look of half a microsecond through.
const LOOKS_MAX: u32 = 10_000;

/// The writer was faster than the reader 10,000 times, or it lost its core in the midst of a
/// change. Yield and ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outrun;

impl Reader {
    pub(super) fn new(seen: &Arc<Seen>) -> Self {
        Self { seen: Arc::clone(seen) }
    }

    /// Users in the index: one load.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u32 {
        load(&self.seen.count.0)
    }

    /// The number of the url of this name and its version, both from one moment.
    fn begin(&self, name: &[u8]) -> Result<Option<(u32, u32)>, Outrun> {
        for _ in 0..LOOKS_MAX {
            let Some(names) = begin_look(&self.seen.names_version.0) else { continue };
            let found = self.seen.url(name);
            let version = match found {
                None => None,
                Some(url) => {
                    let Some(words) = self.seen.urls.find(url) else { continue };
                    let Some(version) = begin_look(&words[VERSION]) else { continue };
                    Some((url, version))
                }
            };
            if is_same(&self.seen.names_version.0, names) {
                return Ok(version);
            }
        }
        Err(Outrun)
    }

    /// Up to `limit` users on the url `name`, newest first, none older than `since`; and how many
    /// are on it in all, those included that are due to be culled. They were there at one moment,
    /// all of them.
    ///
    /// # Errors
    /// `Outrun` where the url changed during every look.
    pub fn visitors(
        &self,
        name: &[u8],
        limit: usize,
        since: Option<UnixMillis>,
        out: &mut Visitors,
    ) -> Result<u32, Outrun> {
        for _ in 0..LOOKS_MAX {
            out.clear();
            let Some((url, version)) = self.begin(name)? else { return Ok(0) };
            let Some(words) = self.seen.urls.find(url) else { continue };
            let now = UnixMillis(load_wide(&self.seen.now.0));
            let count = load(&words[COUNT]);
            let floor = Some(self.seen.floor(since, now));
            let done = self.seen.visitors(url, limit, floor, now, out);
            if is_same(&words[VERSION], version) && done.is_some() {
                return Ok(count);
            }
        }
        Err(Outrun)
    }

    /// Where the user `name` was last.
    ///
    /// # Errors
    /// `Outrun` where the user or the url changed during every look.
    pub fn user(&self, name: &[u8], out: &mut Whereabouts) -> Result<bool, Outrun> {
        for _ in 0..LOOKS_MAX {
            out.url.clear();
            let Some(users) = begin_look(&self.seen.users_version.0) else { continue };
            let Some(words) = self.seen.user(name).and_then(|row| self.seen.rows.find(row)) else {
                if is_same(&self.seen.users_version.0, users) {
                    return Ok(false);
                }
                continue;
            };
            let now = UnixMillis(load_wide(&self.seen.now.0));
            let place = load_wide(&words[WHEN_WHERE]);
            let url = low(place) >> 8;
            let Some(entry) = self.seen.urls.find(url) else { continue };
            let Some(version) = begin_look(&entry[VERSION]) else { continue };
            let is_there = load_wide(&words[WHEN_WHERE]) == place;
            let done = self.seen.copy_url(url, &mut out.url);
            out.at = unstamp(high(place), now);
            let is_whole = is_there && done.is_some() && is_same(&entry[VERSION], version);
            if is_whole && is_same(&self.seen.users_version.0, users) {
                return Ok(!is_later(self.seen.floor(None, now), high(place)));
            }
        }
        Err(Outrun)
    }
}
