//! Readers on other threads while the writer changes what they read: each answer must be a state
//! that existed.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use peerage::online::{Hit, Online, Options, Outrun, Reader, Visitors, Whereabouts};
use peerage::time::UnixMillis;

use crate::{Random, START};

const USERS: u64 = 40;
const URLS: u64 = 4;
const STEPS: u64 = 400_000;

/// A window that all of a run fits into: its times are the numbers of its steps.
const BOUNDS: Options = Options {
    window_ms: 7 * 24 * 3600 * 1000,
    rows_max: 30,
    urls_max: 10,
    text_bytes_max: 1 << 20,
    seed: 3,
};

fn user(number: u64) -> String {
    // Some names are long, and the rows of all are used again by others.
    if number.is_multiple_of(5) {
        format!("a-name-that-has-a-text-{number}")
    } else {
        format!("u{number}")
    }
}

fn url(number: u64) -> String {
    format!("www.example.com/{number}")
}

fn digest(url: u64, rows: &[(Vec<u8>, u64)]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (url, rows).hash(&mut hasher);
    hasher.finish()
}

fn rows(out: &Visitors) -> List {
    out.iter().map(|(name, at)| (name.to_vec(), at.0 - START.0)).collect()
}

/// A list of users and of the steps when they came.
type List = Vec<(Vec<u8>, u64)>;

/// What the readers saw: lists of `limit` users on a url, and where users were.
#[derive(Default)]
struct Sights {
    lists: Vec<(u64, List)>,
    whereabouts: Vec<(u64, Vec<u8>, u64)>,
}

fn watch(reader: &Reader, limit: usize, seed: u64, is_over: &AtomicBool) -> Sights {
    let (mut random, mut sights) = (Random(seed), Sights::default());
    let (mut out, mut place) = (Visitors::default(), Whereabouts::default());
    while !is_over.load(Ordering::Relaxed) && sights.lists.len() < 200_000 {
        let number = random.below(URLS);
        match reader.visitors(url(number).as_bytes(), limit, None, &mut out) {
            Ok(count) => {
                let seen = rows(&out);
                assert_eq!(seen.len(), limit.min(count as usize), "as many as it counts");
                sights.lists.push((number, seen));
            }
            // The writer has no core just now, in the midst of a change.
            Err(Outrun) => thread::yield_now(),
        }
        let number = random.below(USERS);
        match reader.user(user(number).as_bytes(), &mut place) {
            Ok(true) => {
                sights.whereabouts.push((number, place.url.clone(), place.at.0 - START.0));
            }
            Ok(false) => {}
            // The writer has no core just now, in the midst of a change.
            Err(Outrun) => thread::yield_now(),
        }
        assert!(reader.count() <= BOUNDS.rows_max);
    }
    sights
}

/// The digests of all states of all urls, for lists of `limit`, and the log of hits.
fn states(index: &mut Online, limit: usize) -> (HashSet<u64>, Vec<(u64, u64)>) {
    let (mut random, mut log) = (Random(1), Vec::new());
    let mut states: HashSet<u64> = (0..URLS).map(|number| digest(number, &[])).collect();
    let mut out = Visitors::default();
    for step in 0..STEPS {
        let (who, what) = (random.below(USERS), random.below(URLS));
        let at = UnixMillis(START.0 + step);
        let evicted = index.tally().evicted;
        index.handle_time(at);
        index.hit(&Hit { user: user(who).as_bytes(), url: url(what).as_bytes(), at });
        log.push((who, what));
        // What left for want of room may have been on any.
        for number in 0..URLS {
            index.visitors(url(number).as_bytes(), limit + 1, None, &mut out);
            let list = rows(&out);
            states.insert(digest(number, &list[..list.len().min(limit)]));
            if number == what && index.tally().evicted > evicted {
                // It left before the new one, which is in front, came.
                states.insert(digest(number, &list[1..]));
            }
        }
    }
    (states, log)
}

fn race(limit: usize) {
    let mut index = Online::new(BOUNDS, START).expect("small");
    let is_over = AtomicBool::new(false);
    let reader = index.reader();
    let (sights, states, log) = thread::scope(|scope| {
        let watches: Vec<_> = (0..2)
            .map(|seed| {
                let (reader, is_over) = (reader.clone(), &is_over);
                scope.spawn(move || watch(&reader, limit, seed + 5, is_over))
            })
            .collect();
        let (states, log) = states(&mut index, limit);
        is_over.store(true, Ordering::Relaxed);
        let sights: Vec<Sights> =
            watches.into_iter().map(|watch| watch.join().expect("no assertion failed")).collect();
        (sights, states, log)
    });
    let mut lists = 0;
    for sights in sights {
        for (number, list) in &sights.lists {
            assert!(states.contains(&digest(*number, list)), "url {number} never was {list:?}");
        }
        for (who, what, at) in &sights.whereabouts {
            let (logged, place) = log[usize::try_from(*at).expect("small")];
            assert_eq!((*who, what.as_slice()), (logged, url(place).as_bytes()), "hit {at}");
        }
        lists += sights.lists.len();
        assert!(!sights.whereabouts.is_empty(), "users were found");
    }
    assert!(lists > 1000, "{lists} lists: the readers hardly ran beside the writer");
}

#[test]
fn every_list_is_a_state_that_was() {
    race(100);
}

#[test]
fn every_page_of_the_newest_is_a_state_that_was() {
    race(5);
}
