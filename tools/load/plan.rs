//! What is requested and when: request bytes, choice of paths, schedule.
//!
//! Input: the options, a seed.   Output: bytes of request `index`, the next index, the next due
//! time.
//! Owns: one copy of every request's bytes.   Thread: any, pure.
//! Invariants: the same seed gives the same sequence of paths; the open loop's due time of request
//! n depends on n and the rate only, never on when earlier answers came.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::Options;

/// The bytes of every distinct request, made once.
#[derive(Debug)]
pub struct Requests {
    paths: Vec<String>,
    bytes: Vec<u8>,
    /// Request `i` is `bytes[ends[i - 1]..ends[i]]`.
    ends: Vec<usize>,
}

impl Requests {
    /// Builds the requests for `paths`, in their order.
    pub fn new(paths: Vec<String>, host: &str, close: bool) -> Result<Self> {
        ensure!(!paths.is_empty(), "nothing to request: the list of paths is empty");
        let connection = if close { "Connection: close\r\n" } else { "" };
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(paths.len());
        for path in &paths {
            ensure!(
                path.starts_with('/') && !path.bytes().any(|b| b <= b' ' || b == 0x7f),
                "path {path:?} has to start with '/' and hold no space or control byte"
            );
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{connection}\r\n");
            bytes.extend_from_slice(request.as_bytes());
            ends.push(bytes.len());
        }
        Ok(Self { paths, bytes, ends })
    }

    /// Number of distinct requests.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of request `index`.
    pub fn bytes(&self, index: usize) -> &[u8] {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[begin..self.ends[index]]
    }

    /// Path of request `index`.
    pub fn path(&self, index: usize) -> &str {
        &self.paths[index]
    }
}

/// Collects the paths of `--path` and `--paths`.
pub fn read_paths(options: &Options) -> Result<Vec<String>> {
    let mut paths = options.path.clone();
    if let Some(file) = &options.paths {
        let text = fs::read_to_string(file)
            .with_context(|| format!("--paths {}: cannot read", file.display()))?;
        paths.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    }
    Ok(paths)
}

/// Chooses the next path, uniformly, by a Zipf law, or in order.
#[derive(Debug)]
pub struct Picker {
    state: u64,
    count: usize,
    /// Cumulative probability per rank; empty for the uniform choice.
    cumulative: Vec<f64>,
    in_order: bool,
}

impl Picker {
    /// A picker over `count` paths.
    pub fn new(count: usize, seed: u64, zipf: Option<f64>) -> Self {
        assert!(count > 0, "an empty list is refused by Requests::new");
        let mut cumulative = Vec::new();
        if let Some(exponent) = zipf {
            let mut sum = 0.0;
            let mut rank = 1.0_f64;
            for _ in 0..count {
                sum += rank.powf(-exponent);
                cumulative.push(sum);
                rank += 1.0;
            }
            for value in &mut cumulative {
                *value /= sum;
            }
        }
        Self { state: seed, count, cumulative, in_order: false }
    }

    /// The first path, the second, ..., and again from the first.
    pub fn in_order(count: usize) -> Self {
        Self { in_order: true, ..Self::new(count, 0, None) }
    }

    /// Index of the next path.
    pub fn pick(&mut self) -> usize {
        if self.count == 1 {
            return 0;
        }
        if self.in_order {
            let at = usize::try_from(self.state).expect("below a count");
            self.state = u64::try_from((at + 1) % self.count).expect("usize is at most 64 bits");
            return at;
        }
        let random = self.next_random();
        if self.cumulative.is_empty() {
            let count = u64::try_from(self.count).expect("usize is at most 64 bits");
            return usize::try_from(random % count).expect("below a usize");
        }
        // 53 bits are what an f64 holds exactly.
        let point = (random >> 11) as f64 / (1_u64 << 53) as f64;
        self.cumulative.partition_point(|&value| value <= point).min(self.count - 1)
    }

    /// splitmix64: full period, no weak seed, three multiplications.
    fn next_random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// When requests are due and when the run ends. Times are nanoseconds since the run's start.
#[derive(Debug)]
pub struct Schedule {
    rate: Option<u64>,
    target: u64,
    issue_end_ns: u64,
    issued: u64,
}

impl Schedule {
    /// The schedule that the options ask for.
    pub fn new(options: &Options) -> Self {
        let duration_s = match (options.duration, options.requests) {
            (Some(duration), _) => duration,
            (None, None) => DURATION_S_DEFAULT,
            // The open loop ends by its own schedule, the closed loop needs a cap.
            (None, Some(_)) => REQUESTS_ONLY_S_MAX,
        };
        let mut target = options.requests.unwrap_or(u64::MAX);
        if let Some(rate) = options.rate {
            target = target.min(round(duration_s * rate as f64));
        }
        Self { rate: options.rate, target, issue_end_ns: round(duration_s * 1e9), issued: 0 }
    }

    /// Intended send time of the next request of the open loop; `None` if there is none.
    pub fn next_due_ns(&self) -> Option<u64> {
        let rate = self.rate?;
        // 128 bits: n * 1e9 leaves 64 bits after five hours at 1 M/s.
        let due = u128::from(self.issued) * 1_000_000_000 / u128::from(rate);
        (self.issued < self.target).then(|| u64::try_from(due).unwrap_or(u64::MAX))
    }

    /// Requests to send now in one batch of at most `batch_max`, with the time they count from.
    pub fn take(&mut self, now_ns: u64, batch_max: usize) -> Option<(usize, u64)> {
        let started_ns = match self.rate {
            Some(_) => self.next_due_ns().filter(|&due| due <= now_ns)?,
            None if now_ns < self.issue_end_ns => now_ns,
            None => return None,
        };
        let left = usize::try_from(self.target - self.issued).unwrap_or(usize::MAX);
        let count = batch_max.min(left);
        self.issued += u64::try_from(count).expect("usize is at most 64 bits");
        (count > 0).then_some((count, started_ns))
    }

    /// True if no request will ever be due again.
    pub fn is_over(&self, now_ns: u64) -> bool {
        self.issued >= self.target || (self.rate.is_none() && now_ns >= self.issue_end_ns)
    }

    /// Requests of the open loop that were never sent.
    pub fn unsent(&self) -> u64 {
        if self.rate.is_some() { self.target - self.issued } else { 0 }
    }

    /// Time at which the last request is due.
    pub fn issue_end_ns(&self) -> u64 {
        match self.rate {
            Some(rate) => (self.target / rate).saturating_add(1).saturating_mul(1_000_000_000),
            None => self.issue_end_ns,
        }
    }
}

/// The nearest whole number of a count that is known to be small and not negative.
pub fn round(value: f64) -> u64 {
    assert!((0.0..9e18).contains(&value), "durations and rates are checked by main");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "asserted above")]
    let whole = value.round() as u64;
    whole
}

const DURATION_S_DEFAULT: f64 = 5.0;
/// Cap of a run that is bounded by its count only, in seconds.
const REQUESTS_ONLY_S_MAX: f64 = 600.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: Option<u64>, target: u64) -> Schedule {
        Schedule { rate, target, issue_end_ns: 1_000_000_000, issued: 0 }
    }

    #[test]
    fn zipf_prefers_the_first_path_by_its_law() {
        let mut picker = Picker::new(3, 7, Some(1.0));
        let mut hits = [0_u32; 3];
        for _ in 0..11_000 {
            hits[picker.pick()] += 1;
        }
        // Shares 6/11, 3/11, 2/11.
        assert!(hits[0].abs_diff(6000) < 200, "{hits:?}");
        assert!(hits[1].abs_diff(3000) < 200, "{hits:?}");
    }

    #[test]
    fn uniform_reaches_every_path() {
        let mut picker = Picker::new(10, 7, None);
        let mut hits = [0_u32; 10];
        for _ in 0..10_000 {
            hits[picker.pick()] += 1;
        }
        assert!(hits.iter().all(|&n| n.abs_diff(1000) < 150), "{hits:?}");
    }

    #[test]
    fn in_order_reaches_each_once_before_any_twice() {
        let mut picker = Picker::in_order(3);
        let picked: Vec<usize> = (0..5).map(|_| picker.pick()).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn open_loop_is_due_by_number_not_by_answers() {
        let mut plan = schedule(Some(1000), 3);
        assert_eq!(plan.take(0, 1), Some((1, 0)));
        assert_eq!(plan.take(999_999, 1), None);
        assert_eq!(plan.take(9_000_000, 1), Some((1, 1_000_000)));
        assert_eq!(plan.unsent(), 1);
        assert_eq!(plan.take(9_000_000, 8), Some((1, 2_000_000)));
        assert!(plan.is_over(0));
    }

    #[test]
    fn closed_loop_stops_at_its_count_and_at_its_time() {
        let mut plan = schedule(None, 5);
        assert_eq!(plan.take(7, 4), Some((4, 7)));
        assert_eq!(plan.take(8, 4), Some((1, 8)));
        assert_eq!(plan.take(9, 4), None);
        assert_eq!(schedule(None, 5).take(1_000_000_000, 4), None);
    }
}
