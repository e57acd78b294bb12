//! A million random operations on the index, on a list that is sorted by hand, and on the plain
//! skiplist of the source; their answers are compared.

use std::collections::BTreeMap;

use peerage::online::plain::Plain;
use peerage::online::{Hit, Online, Outcome, UrlCount, Visitors};
use peerage::time::UnixMillis;

use crate::{BOUNDS, Random, START};

struct Row {
    user: Vec<u8>,
    url: Vec<u8>,
    at: UnixMillis,
}

/// Users, the newest first.
#[derive(Default)]
struct Brute(Vec<Row>);

impl Brute {
    fn hit(&mut self, hit: &Hit<'_>) {
        self.0.retain(|row| row.user != hit.user);
        let place = self.0.partition_point(|row| row.at > hit.at);
        self.0.insert(place, Row { user: hit.user.to_vec(), url: hit.url.to_vec(), at: hit.at });
    }

    fn cull(&mut self, now: UnixMillis) {
        self.0.retain(|row| now.0 - row.at.0 <= u64::from(BOUNDS.window_ms));
    }

    fn remove(&mut self, user: &[u8]) -> bool {
        let before = self.0.len();
        self.0.retain(|row| row.user != user);
        self.0.len() < before
    }

    fn on(&self, url: &[u8], since: UnixMillis) -> Vec<(Vec<u8>, UnixMillis)> {
        let rows = self.0.iter().filter(|row| row.url == url && row.at >= since);
        rows.map(|row| (row.user.clone(), row.at)).collect()
    }

    fn urls(&self) -> BTreeMap<Vec<u8>, u32> {
        let mut urls = BTreeMap::new();
        self.0.iter().for_each(|row| *urls.entry(row.url.clone()).or_default() += 1);
        urls
    }
}

fn list<'a>(rows: impl Iterator<Item = (&'a [u8], UnixMillis)>) -> Vec<(Vec<u8>, UnixMillis)> {
    rows.map(|(user, at)| (user.to_vec(), at)).collect()
}

/// A name of a user or a url: a few are long, and many begin alike.
fn name(random: &mut Random, kinds: u64, prefix: &str) -> String {
    // The lower numbers come up more often.
    let number = random.below(kinds).min(random.below(kinds));
    let pad = if number.is_multiple_of(7) { 60 } else { 0 };
    format!("{prefix}{number:0pad$}")
}

/// Compares every answer about one url and one user, and now and then all of them.
fn compare(index: &Online, brute: &Brute, plain: &Plain, random: &mut Random) {
    assert_eq!(index.count() as usize, brute.0.len());
    assert_eq!(plain.count(), brute.0.len());
    let mut out = Visitors::default();
    let url = name(random, 60, "www.example.com/").into_bytes();
    let since = UnixMillis(index.now().0 - random.below(u64::from(BOUNDS.window_ms)));
    let expected = brute.on(&url, since);
    let all = brute.on(&url, UnixMillis(0));
    let limit = index.count() as usize;
    assert_eq!(index.visitors(&url, limit, Some(since), &mut out) as usize, all.len());
    assert_eq!(list(out.iter()), expected);
    index.visitors(&url, 3, None, &mut out);
    assert_eq!(list(out.iter()), all[..all.len().min(3)]);
    assert_eq!(list(plain.visitors(&url, usize::MAX)), all);
    let later = brute.0.iter().filter(|row| row.at >= since).count();
    assert_eq!(index.count_since(since) as usize, later);
    let user = name(random, 300, "u").into_bytes();
    let place = brute.0.iter().position(|row| row.user == user);
    assert_eq!(index.rank(&user).map(|rank| rank as usize), place);
    let there = index.user(&user).map(|found| (found.url, found.at));
    assert_eq!(there, place.map(|at| (brute.0[at].url.clone(), brute.0[at].at)));
    if random.below(50) == 0 {
        compare_all(index, brute, plain);
    }
}

fn compare_all(index: &Online, brute: &Brute, plain: &Plain) {
    let mut out = Visitors::default();
    index.newest(usize::MAX, None, &mut out);
    let all = list(brute.0.iter().map(|row| (row.user.as_slice(), row.at)));
    assert_eq!(list(out.iter()), all);
    assert_eq!(list(plain.newest()), all);
    let urls = brute.urls();
    let count = |(url, count): (&Vec<u8>, &u32)| UrlCount { url: url.clone(), count: *count };
    assert_eq!(index.urls_prefix(b"", usize::MAX), urls.iter().map(count).collect::<Vec<_>>());
    let prefix = b"www.example.com/1".as_slice();
    let begun = urls.iter().filter(|(url, _)| url.starts_with(prefix)).map(count);
    assert_eq!(index.urls_prefix(prefix, 5), begun.take(5).collect::<Vec<_>>());
    let mut busiest: Vec<UrlCount> = urls.iter().map(count).collect();
    busiest.sort_by(|a, b| b.count.cmp(&a.count).then(a.url.cmp(&b.url)));
    assert_eq!(index.top(1000), busiest);
    let mut users: Vec<Vec<u8>> = Vec::new();
    index.users_prefix(b"u", usize::MAX, |user| users.push(user.to_vec()));
    let mut sorted: Vec<Vec<u8>> = brute.0.iter().map(|row| row.user.clone()).collect();
    sorted.sort();
    assert_eq!(users, sorted);
    assert_eq!(plain.users().map(|(user, _)| user.to_vec()).collect::<Vec<_>>(), sorted);
}

fn run(seed: u64, steps: u64) {
    eprintln!("SEED={seed}");
    let mut random = Random(seed);
    let mut index = Online::new(BOUNDS, START).expect("small");
    let (mut brute, mut plain) = (Brute::default(), Plain::new(BOUNDS.window_ms.into()));
    let mut now = START;
    for step in 0..steps {
        match random.below(100) {
            0..=2 => {
                let user = name(&mut random, 300, "u").into_bytes();
                let was_there = brute.remove(&user);
                assert_eq!(index.remove(&user), was_there);
                assert_eq!(plain.remove(&user), was_there);
            }
            3..=6 => {
                // Now and then most of it becomes too old.
                now.0 += if random.below(200) == 0 { 990 } else { random.below(20) };
                index.handle_time(now);
                while index.cull(3) {}
                brute.cull(now);
                plain.cull(now);
            }
            _ => {
                let user = name(&mut random, 300, "u");
                let url = name(&mut random, 60, "www.example.com/");
                let late = if random.below(10) == 0 { random.below(1000) } else { random.below(2) };
                let at = UnixMillis(now.0 - late);
                let hit = Hit { user: user.as_bytes(), url: url.as_bytes(), at };
                let was_there = brute.0.iter().any(|row| row.user == hit.user);
                let expected = if was_there { Outcome::Replaced } else { Outcome::Added };
                assert_eq!(index.hit(&hit), expected, "SEED={seed}, step {step}");
                brute.hit(&hit);
                plain.hit(&hit);
            }
        }
        if step.is_multiple_of(20) {
            compare(&index, &brute, &plain, &mut random);
        }
    }
    compare_all(&index, &brute, &plain);
}

#[test]
fn a_million_operations_agree_with_both_models() {
    for seed in 1..=4 {
        run(seed, 250_000);
    }
}

#[test]
fn a_batch_does_what_single_hits_do() {
    let mut random = Random(9);
    let names: Vec<(String, String)> = (0..20_000)
        .map(|_| (name(&mut random, 3000, "u"), name(&mut random, 500, "www.example.com/")))
        .collect();
    let hits: Vec<Hit<'_>> = names
        .iter()
        .zip(0_u64..)
        .map(|((user, url), at)| Hit {
            user: user.as_bytes(),
            url: url.as_bytes(),
            at: UnixMillis(START.0 + at / 40 - random.below(30)),
        })
        .collect();
    let now = UnixMillis(START.0 + 500);
    let (mut single, mut batched) =
        (Online::new(BOUNDS, now).expect("small"), Online::new(BOUNDS, now).expect("small"));
    let expected: Vec<Outcome> = hits.iter().map(|hit| single.hit(hit)).collect();
    let mut outcomes = Vec::new();
    batched.hits(hits.iter().copied(), |outcome| outcomes.push(outcome));
    assert_eq!(outcomes, expected);
    let (mut one, mut other) = (Visitors::default(), Visitors::default());
    single.newest(10_000, None, &mut one);
    batched.newest(10_000, None, &mut other);
    assert_eq!(list(one.iter()), list(other.iter()));
}
