//! The designs that are compared in process, behind one face.
//!
//! Input: hits, urls.   Output: digests, so that nothing is optimized away.
//! Owns: one index each.   Thread: one.

use std::cmp::Reverse;
use std::sync::Arc;

use crossbeam_skiplist::SkipMap;
use peerage::online::plain::Plain;
use peerage::online::{Hit, Online, Options, Visitors};
use peerage::time::UnixMillis;

use crate::workload::{START, WINDOW_MS, Workload};

/// Users on a url that a question asks for.
pub const LIMIT: usize = 30;

/// An index.
pub trait Design {
    /// What it is called in the document.
    fn name(&self) -> &'static str;
    /// Applies the hits `from..to` of the workload.
    fn hits(&mut self, workload: &Workload, from: usize, to: usize);
    /// The newest users of a url; returns a digest.
    fn newest(&mut self, url: &[u8]) -> u64;
    /// Users.
    fn count(&self) -> u64;
}

fn digest(sum: u64, name: &[u8], at: u64) -> u64 {
    let mut last = [0; 8];
    last.copy_from_slice(&name[8..16]);
    sum.wrapping_mul(31).wrapping_add(u64::from_le_bytes(last)).wrapping_add(at)
}

/// Peerage's index, with hits one at a time or in batches.
#[derive(Debug)]
pub struct Ours {
    /// The index.
    pub index: Online,
    out: Visitors,
    batch: usize,
}

impl Ours {
    /// For so many users; `batch` of 1 or more.
    pub fn new(users: u32, batch: usize) -> Self {
        let bounds = Options {
            window_ms: WINDOW_MS,
            rows_max: users + users / 8,
            urls_max: 20_000,
            text_bytes_max: 64 << 20,
            seed: 0x5eed,
        };
        let index = Online::new(bounds, START).expect("there is memory");
        Self { index, out: Visitors::default(), batch }
    }
}

impl Design for Ours {
    fn name(&self) -> &'static str {
        if self.batch == 1 { "peerage, one at a time" } else { "peerage, batches of 32" }
    }

    fn hits(&mut self, workload: &Workload, from: usize, to: usize) {
        if self.batch == 1 {
            for at in from..to {
                self.index.handle_time(workload.time(at));
                self.index.hit(&workload.hit(at));
            }
            return;
        }
        let mut at = from;
        while at < to {
            let end = (at + self.batch).min(to);
            self.index.handle_time(workload.time(end));
            self.index.hits((at..end).map(|at| workload.hit(at)), |_| {});
            at = end;
        }
    }

    fn newest(&mut self, url: &[u8]) -> u64 {
        let count = self.index.visitors(url, LIMIT, None, &mut self.out);
        self.out.iter().fold(count.into(), |sum, (name, at)| digest(sum, name, at.0))
    }

    fn count(&self) -> u64 {
        self.index.count().into()
    }
}

/// The design of the talk.
#[derive(Debug)]
pub struct Talk(pub Plain);

impl Design for Talk {
    fn name(&self) -> &'static str {
        "the talk's design, three towers"
    }

    fn hits(&mut self, workload: &Workload, from: usize, to: usize) {
        (from..to).for_each(|at| self.0.hit(&workload.hit(at)));
    }

    fn newest(&mut self, url: &[u8]) -> u64 {
        self.0.visitors(url, LIMIT).fold(0, |sum, (name, at)| digest(sum, name, at.0))
    }

    fn count(&self) -> u64 {
        self.0.count() as u64
    }
}

type Place = (Arc<[u8]>, Reverse<(UnixMillis, u64)>);

/// Three maps of the crossbeam-skiplist crate.
#[derive(Debug, Default)]
pub struct Crossbeam {
    by_user: SkipMap<Arc<[u8]>, Place>,
    by_url: SkipMap<Place, Arc<[u8]>>,
    by_time: SkipMap<Reverse<(UnixMillis, u64)>, Arc<[u8]>>,
    arrivals: u64,
}

impl Crossbeam {
    fn hit(&mut self, hit: &Hit<'_>) {
        self.arrivals += 1;
        let user: Arc<[u8]> = match self.by_user.get(hit.user) {
            Some(old) => {
                let (url, at) = old.value().clone();
                self.by_time.remove(&at);
                self.by_url.remove(&(url, at));
                Arc::clone(old.key())
            }
            None => hit.user.into(),
        };
        let place: Place = (hit.url.into(), Reverse((hit.at, self.arrivals)));
        self.by_time.insert(place.1, Arc::clone(&user));
        self.by_url.insert(place.clone(), Arc::clone(&user));
        self.by_user.insert(user, place);
    }
}

impl Design for Crossbeam {
    fn name(&self) -> &'static str {
        "crossbeam-skiplist, three maps"
    }

    fn hits(&mut self, workload: &Workload, from: usize, to: usize) {
        (from..to).for_each(|at| self.hit(&workload.hit(at)));
    }

    fn newest(&mut self, url: &[u8]) -> u64 {
        let first: Place = (url.into(), Reverse((UnixMillis(u64::MAX), u64::MAX)));
        let found = self.by_url.range(first..).take_while(|entry| *entry.key().0 == *url);
        found.take(LIMIT).fold(0, |sum, entry| digest(sum, entry.value(), entry.key().1.0.0.0))
    }

    fn count(&self) -> u64 {
        self.by_user.len() as u64
    }
}
