//! The workload: users, urls by a Zipf law, hits nearly in order of time.
//!
//! Input: how many users.   Output: names, and a list of hits that all designs get alike.
//! Owns: the lists.   Thread: any.
//! Source: users uniform, 10,000 urls with exponent 1.0, one hit of a hundred up to 100 hits late,
//! names of 16 bytes.

use peerage::online::Hit;
use peerage::time::UnixMillis;

use crate::random::Random;

/// Distinct urls.
pub const URLS: u32 = 10_000;

/// Milliseconds of a window: half an hour.
pub const WINDOW_MS: u32 = 1_800_000;

/// When the first hit comes.
pub const START: UnixMillis = UnixMillis(1_700_000_000_000);

/// Bytes of a hit's names: user and url, both of one length.
const NAMES_BYTES: usize = 16 + 31;

/// Everything that a run needs. The names lie one after the other, as they would in what a socket
/// or a queue brings: reading them is not what is measured.
#[derive(Debug)]
pub struct Workload {
    /// Users.
    pub users: u32,
    names: Vec<u8>,
    /// How many hits each comes late.
    late: Vec<u8>,
    /// Hits in a millisecond, so that a window holds many times the users.
    per_ms: u64,
}

impl Workload {
    /// A workload whose first hits are one of each user.
    pub fn new(users: u32, hits: u32) -> Self {
        let mut random = Random { state: 11 };
        let cdf = zipf_cdf();
        let count = (users + hits) as usize;
        let mut names = Vec::with_capacity(count * NAMES_BYTES);
        let mut late = Vec::with_capacity(count);
        for at in 0..count {
            let user = if at < users as usize { at } else { random.below(users as usize) };
            let url = draw(&cdf, unit(&mut random));
            let user = user as u64 * 7919 % 100_000_000_007;
            names.extend_from_slice(format!("user-{user:011}").as_bytes());
            names.extend_from_slice(format!("www.example.com/page/{url:05}.html").as_bytes());
            let is_late = random.below(100) == 0;
            late.push(if is_late { u8::try_from(random.below(101)).unwrap_or(0) } else { 0 });
        }
        assert_eq!(names.len(), count * NAMES_BYTES, "all names have one length");
        // 100,000 users are 100 hits a millisecond: replaced within seconds, as the bench must.
        Self { users, names, late, per_ms: 100 }
    }

    /// Hits in all, those included that make the users.
    pub fn len(&self) -> usize {
        self.late.len()
    }

    /// Hit number `at`.
    #[inline]
    pub fn hit(&self, at: usize) -> Hit<'_> {
        let names = &self.names[at * NAMES_BYTES..][..NAMES_BYTES];
        let time = (at as u64).saturating_sub(u64::from(self.late[at])) / self.per_ms;
        Hit { user: &names[..16], url: &names[16..], at: UnixMillis(START.0 + time) }
    }

    /// The time when hit number `at` comes.
    pub const fn time(&self, at: usize) -> UnixMillis {
        UnixMillis(START.0 + at as u64 / self.per_ms)
    }

    /// The url of hit number `at`: a sequence of Zipf-chosen urls for questions.
    #[inline]
    pub fn url(&self, at: usize) -> &[u8] {
        &self.names[at % self.late.len() * NAMES_BYTES..][16..NAMES_BYTES]
    }
}

/// A number from 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
fn unit(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1_u64 << 53) as f64
}

fn zipf_cdf() -> Vec<f64> {
    let mut sum = 0.0;
    let mut cdf: Vec<f64> = (1..=URLS)
        .map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        })
        .collect();
    cdf.iter_mut().for_each(|share| *share /= sum);
    cdf
}

fn draw(cdf: &[f64], at: f64) -> u32 {
    u32::try_from(cdf.partition_point(|share| *share < at)).unwrap_or(0).min(URLS - 1)
}
