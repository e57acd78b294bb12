//! The workload: users, urls by a Zipf law, hits nearly in order of time.
//!
//! Input: how many users and urls.   Output: names, choices, the hits that fill both servers, and
//! what a newest question has to answer after them.
//! Owns: the names in the form in which requests hold them, and the lists.   Thread: any.
//! Invariants: the same in every run; the filling hits have distinct times, and of two hits of a
//! user the later one is sent later, so that every answer is one sequence.
//! Source: users uniform, urls with exponent 1.0, one hit of a hundred up to 100 ms late, names of
//! 16 bytes.

use std::collections::HashMap;

use crate::random::Random;
use crate::wire::push_bulk;

/// One choice of the endless traffic.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// Index of a user.
    pub user: u32,
    /// Index of a url.
    pub url: u32,
    /// Milliseconds by which its hit is late.
    pub late_ms: u32,
}

/// A hit whose time is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Index of a user.
    pub user: u32,
    /// Index of a url.
    pub url: u32,
    /// Milliseconds since the workload's begin.
    pub time_ms: u64,
}

/// Everything that a run needs.
#[derive(Debug)]
pub struct Workload {
    /// Users.
    pub users: u32,
    /// Names as strings of a request, all of one length.
    user_bulks: Vec<u8>,
    /// Names of the urls; the first is the most popular.
    pub urls: Vec<String>,
    /// The traffic that is measured, in a circle.
    choices: Vec<Choice>,
    /// One hit of each user.
    pub first: Vec<Hit>,
    /// A second hit of every fifth, which replaces the first.
    pub second: Vec<Hit>,
}

impl Workload {
    /// A workload of so many users and urls.
    pub fn new(users: u32, urls: u32) -> Self {
        let mut random = Random { state: 11 };
        let cumulative = zipf(urls);
        let mut user_bulks = Vec::new();
        (0..users).for_each(|user| push_bulk(&mut user_bulks, user_name(user).as_bytes()));
        assert_eq!(user_bulks.len(), users as usize * USER_BULK_BYTES, "names have one length");
        let choices = (0..CHOICES).map(|_| Choice {
            user: below(&mut random, users),
            url: draw(&cumulative, &mut random),
            late_ms: late(&mut random),
        });
        let choices = choices.collect();
        let mut fill = |count: u32, begin_ms: u64| {
            let order = shuffled(users, &mut random);
            let hits = order.into_iter().take(count as usize).zip(begin_ms..);
            let hits = hits.map(|(user, time_ms)| {
                let url = draw(&cumulative, &mut random);
                (time_ms + u64::from(late(&mut random)), Hit { user, url, time_ms })
            });
            let mut hits: Vec<(u64, Hit)> = hits.collect();
            hits.sort_by_key(|(sent_ms, _)| *sent_ms);
            hits.into_iter().map(|(_, hit)| hit).collect::<Vec<Hit>>()
        };
        let first = fill(users, 0);
        let second = fill(users / 5, u64::from(users));
        let urls = (0..urls).map(url_name).collect();
        Self { users, user_bulks, urls, choices, first, second }
    }

    /// The name of a user as a string of a request.
    #[inline]
    pub fn user_bulk(&self, user: u32) -> &[u8] {
        &self.user_bulks[user as usize * USER_BULK_BYTES..][..USER_BULK_BYTES]
    }

    /// Choice number `at` of the traffic.
    #[inline]
    pub fn choice(&self, at: usize) -> Choice {
        self.choices[at % CHOICES]
    }

    /// Milliseconds that the filling hits take.
    pub fn fill_ms(&self) -> u64 {
        (self.first.len() + self.second.len()) as u64
    }

    /// The newest `limit` users of each of `urls` after the filling hits.
    pub fn newest(&self, urls: &[u32], limit: usize) -> Vec<Vec<String>> {
        let hits = self.first.iter().chain(&self.second);
        let last: HashMap<u32, Hit> = hits.map(|hit| (hit.user, *hit)).collect();
        let mut of_url: HashMap<u32, Vec<Hit>> = HashMap::new();
        last.into_values().for_each(|hit| of_url.entry(hit.url).or_default().push(hit));
        let answer = |url: &u32| {
            let mut hits = of_url.get(url).cloned().unwrap_or_default();
            hits.sort_unstable_by_key(|hit| std::cmp::Reverse(hit.time_ms));
            hits.iter().take(limit).map(|hit| user_name(hit.user)).collect()
        };
        urls.iter().map(answer).collect()
    }
}

/// 16 bytes; neighbours in number are none in the order of names.
fn user_name(user: u32) -> String {
    format!("user-{:011}", u64::from(user) * 7919 % 100_000_000_007)
}

fn url_name(url: u32) -> String {
    let section = SECTIONS[url as usize % SECTIONS.len()];
    format!("www.example.com/{section}/{url}.html")
}

fn below(random: &mut Random, bound: u32) -> u32 {
    u32::try_from(random.next() % u64::from(bound)).expect("below a u32")
}

fn late(random: &mut Random) -> u32 {
    if below(random, LATE_ONE_OF) == 0 { below(random, LATE_MS_MAX + 1) } else { 0 }
}

/// The numbers below `count` in random order (Fisher and Yates).
fn shuffled(count: u32, random: &mut Random) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at + 1));
    }
    order
}

fn zipf(count: u32) -> Vec<f64> {
    let mut sum = 0.0;
    let mut cumulative: Vec<f64> = (1..=count)
        .map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        })
        .collect();
    cumulative.iter_mut().for_each(|share| *share /= sum);
    cumulative
}

fn draw(cumulative: &[f64], random: &mut Random) -> u32 {
    // 53 bits are what an f64 holds exactly.
    let point = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
    let url = cumulative.partition_point(|&share| share <= point).min(cumulative.len() - 1);
    u32::try_from(url).expect("urls are counted in a u32")
}

/// `$16`, the name, and both line ends.
const USER_BULK_BYTES: usize = 5 + 16 + 2;
/// Choices before the traffic repeats itself: ten times the usual users.
pub const CHOICES: usize = 1 << 20;
const LATE_ONE_OF: u32 = 100;
const LATE_MS_MAX: u32 = 100;
const SECTIONS: [&str; 7] =
    ["news", "forum/thread", "a", "gallery/2026/summer", "shop/items", "help", "people/profiles"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filling_hits_have_distinct_times_and_some_are_late() {
        let workload = Workload::new(2000, 100);
        let hits: Vec<Hit> = workload.first.iter().chain(&workload.second).copied().collect();
        let mut times: Vec<u64> = hits.iter().map(|hit| hit.time_ms).collect();
        let late = times.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((1..200).contains(&late), "{late}");
        times.sort_unstable();
        assert!(times.into_iter().eq(0..workload.fill_ms()));
    }

    #[test]
    fn the_newest_are_those_of_the_last_hits() {
        let mut workload = Workload::new(1000, 100);
        let hit = |user, url, time_ms| Hit { user, url, time_ms };
        workload.first = vec![hit(0, 7, 0), hit(1, 7, 2), hit(2, 7, 1), hit(3, 8, 3)];
        workload.second = vec![hit(2, 8, 4)];
        let names = |users: &[u32]| users.iter().map(|user| user_name(*user)).collect::<Vec<_>>();
        assert_eq!(workload.newest(&[7, 9], 30), [names(&[1, 0]), names(&[])]);
        assert_eq!(workload.newest(&[8], 1), [names(&[2])]);
    }

    #[test]
    fn the_first_url_has_its_share() {
        let workload = Workload::new(1000, 10_000);
        let count = (0..CHOICES).filter(|at| workload.choice(*at).url == 0).count();
        let share = count as f64 / CHOICES as f64;
        assert!((0.09..0.12).contains(&share), "{share}");
    }
}
