//! How each server is asked: the bytes of hits, newest questions and counts.
//!
//! Input: the workload, the time.   Output: bytes of requests.
//! Owns: the traffic as this server reads it, all of it made before the run.
//! Thread: any, pure.
//! Invariants: a batch of the traffic is one copy from memory that is read in order; of hits, only
//! times are written anew.
//! Source: Redis has a hash of each user's url, a sorted set for each url and one of all users,
//! scored by milliseconds; a script replaces a user's place in one step.

use std::io::Write as _;

use crate::cases::NEWEST_MAX;
use crate::wire::{push_bulk, push_request};
use crate::workload::{CHOICES, Choice, Hit, Workload};

/// How times are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    /// Milliseconds.
    Millis,
    /// Seconds with three digits behind the point.
    Seconds,
}

/// The words of one server.
#[derive(Debug)]
pub struct Words {
    /// A hit up to its user.
    hit: Vec<u8>,
    time: Time,
    /// A newest question up to its url.
    newest: Vec<u8>,
    /// And what follows its url.
    newest_end: Vec<u8>,
    /// What the names of urls begin with in a newest question.
    prefix: &'static str,
    /// Counts.
    counts: Circle,
    /// The traffic as hits, whose times are set when they are sent.
    hits: Circle,
    /// The traffic as newest questions.
    questions: Circle,
}

impl Words {
    /// Those of Redis, where the script is known by `sha`.
    pub fn redis(sha: &[u8], workload: &Workload) -> Self {
        let mut words = Self::new(Time::Millis, "p:");
        words.hit.extend_from_slice(b"*6\r\n");
        [&b"EVALSHA"[..], sha, b"0"].iter().for_each(|word| push_bulk(&mut words.hit, word));
        words.newest.extend_from_slice(b"*4\r\n");
        push_bulk(&mut words.newest, b"ZREVRANGE");
        push_bulk(&mut words.newest_end, b"0");
        push_bulk(&mut words.newest_end, (NEWEST_MAX - 1).to_string().as_bytes());
        words.make_traffic(workload, &[b"ZCARD", b"all"]);
        words
    }

    /// Those of peerage.
    pub fn peerage(workload: &Workload) -> Self {
        let mut words = Self::new(Time::Seconds, "");
        words.hit.extend_from_slice(b"*4\r\n");
        push_bulk(&mut words.hit, b"ONLINE.HIT");
        words.newest.extend_from_slice(b"*4\r\n");
        push_bulk(&mut words.newest, b"ONLINE.URL");
        push_bulk(&mut words.newest_end, b"LIMIT");
        push_bulk(&mut words.newest_end, NEWEST_MAX.to_string().as_bytes());
        words.make_traffic(workload, &[b"ONLINE.COUNT"]);
        words
    }

    fn new(time: Time, prefix: &'static str) -> Self {
        Self {
            hit: Vec::new(),
            time,
            newest: Vec::new(),
            newest_end: Vec::new(),
            prefix,
            counts: Circle::default(),
            hits: Circle::default(),
            questions: Circle::default(),
        }
    }

    fn make_traffic(&mut self, workload: &Workload, count: &[&[u8]]) {
        self.counts = Circle::new(1, |out, _| push_request(out, count));
        self.hits = Circle::new(CHOICES, |out, at| {
            let Choice { user, url, .. } = workload.choice(at);
            self.push_hit(out, workload, Hit { user, url, time_ms: 0 }, TIME_MS_ANY);
        });
        self.questions = Circle::new(QUESTIONS, |out, at| {
            self.push_newest(out, &workload.urls[workload.choice(at).url as usize]);
        });
    }

    /// Appends `count` requests for how many users there are.
    pub fn push_counts(&self, out: &mut Vec<u8>, count: usize) {
        self.counts.push(out, 0, count);
    }

    /// Appends `count` newest questions of the traffic from choice `at` on.
    pub fn push_questions(&self, out: &mut Vec<u8>, at: usize, count: usize) {
        self.questions.push(out, at, count);
    }

    /// Appends `count` hits of the traffic from choice `at` on, which come at `now_ms`.
    pub fn push_hits(
        &self,
        out: &mut Vec<u8>,
        workload: &Workload,
        at: usize,
        count: usize,
        now_ms: u64,
    ) {
        let mut now = Vec::with_capacity(TIME_BYTES_MAX);
        self.push_time(&mut now, now_ms);
        let begin = out.len();
        self.hits.push(out, at, count);
        let starts = self.hits.starts(at, count);
        for (at, end) in (at..).zip(&starts[1..]) {
            let end = begin + end - starts[0];
            let place = &mut out[end - now.len()..end];
            let late_ms = workload.choice(at).late_ms;
            if late_ms == 0 {
                place.copy_from_slice(&now);
            } else {
                let mut late = Vec::with_capacity(TIME_BYTES_MAX);
                self.push_time(&mut late, now_ms - u64::from(late_ms));
                place.copy_from_slice(&late);
            }
        }
    }

    /// Appends a request for the newest users of a url.
    pub fn push_newest(&self, out: &mut Vec<u8>, url: &str) {
        out.extend_from_slice(&self.newest);
        push_bulk(out, format!("{}{url}", self.prefix).as_bytes());
        out.extend_from_slice(&self.newest_end);
    }

    /// Appends a hit of those that fill the servers.
    pub fn push_hit(&self, out: &mut Vec<u8>, workload: &Workload, hit: Hit, begin_ms: u64) {
        out.extend_from_slice(&self.hit);
        out.extend_from_slice(workload.user_bulk(hit.user));
        push_bulk(out, workload.urls[hit.url as usize].as_bytes());
        self.push_time(out, begin_ms + hit.time_ms);
    }

    /// Appends a time, which is of one length.
    fn push_time(&self, out: &mut Vec<u8>, time_ms: u64) {
        let (seconds, rest) = (time_ms / 1000, time_ms % 1000);
        assert!((1_000_000_000..10_000_000_000).contains(&seconds), "a time of ten digits");
        match self.time {
            Time::Millis => write!(out, "$13\r\n{time_ms}\r\n"),
            Time::Seconds => write!(out, "$14\r\n{seconds}.{rest:03}\r\n"),
        }
        .expect("a vector takes all");
    }
}

/// Requests one after the other, without end: the first ones follow the last.
#[derive(Debug, Default)]
struct Circle {
    bytes: Vec<u8>,
    /// Request `i` is `bytes[starts[i]..starts[i + 1]]`; behind the last of the circle the first
    /// ones stand once more, so that every batch is in one piece.
    starts: Vec<usize>,
    /// Requests of the circle.
    len: usize,
}

impl Circle {
    fn new(len: usize, push: impl Fn(&mut Vec<u8>, usize)) -> Self {
        let mut circle = Self { bytes: Vec::new(), starts: vec![0], len };
        for at in 0..len + PIPELINE_MAX {
            push(&mut circle.bytes, at % len);
            circle.starts.push(circle.bytes.len());
        }
        circle
    }

    /// Where the `count` requests from number `at` on begin, and where the last one ends.
    fn starts(&self, at: usize, count: usize) -> &[usize] {
        assert!(count <= PIPELINE_MAX, "the options are checked");
        &self.starts[at % self.len..][..=count]
    }

    /// Appends `count` requests from number `at` on.
    fn push(&self, out: &mut Vec<u8>, at: usize, count: usize) {
        let starts = self.starts(at, count);
        out.extend_from_slice(&self.bytes[starts[0]..starts[count]]);
    }
}

/// Replaces a user's place: out of the set of the old url, if it is another one, into those of the
/// new one and of all users.
pub const SCRIPT: &str = "local old = redis.call('HGET', 'u', ARGV[1])
if old ~= ARGV[2] then
  if old then redis.call('ZREM', 'p:' .. old, ARGV[1]) end
  redis.call('HSET', 'u', ARGV[1], ARGV[2])
end
redis.call('ZADD', 'p:' .. ARGV[2], ARGV[3], ARGV[1])
redis.call('ZADD', 'all', ARGV[3], ARGV[1])
return 1";

/// Most requests of a batch.
pub const PIPELINE_MAX: usize = 1024;
/// Newest questions before they repeat themselves: many for each url.
const QUESTIONS: usize = 1 << 18;
/// `$14`, 14 digits, and both line ends.
const TIME_BYTES_MAX: usize = 21;
/// Stands in the traffic until a batch is sent.
const TIME_MS_ANY: u64 = 1_700_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Reply, parse};

    fn arguments(bytes: &[u8]) -> Vec<String> {
        let Ok(Reply::Array(items)) = parse(bytes) else { panic!("{}", bytes.escape_ascii()) };
        let text = |item: &Reply| String::from_utf8_lossy(item.bytes().expect("text")).into_owned();
        items.iter().map(text).collect()
    }

    #[test]
    fn requests_are_whole_and_say_what_is_meant() {
        let workload = Workload::new(1000, 100);
        let hit = Hit { user: 1, url: 2, time_ms: 5 };
        let [user, url] = ["user-00000007919", "www.example.com/a/2.html"];
        let (redis, peerage) = (Words::redis(b"5ha", &workload), Words::peerage(&workload));
        let ask = |push: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            push(&mut out);
            arguments(&out)
        };
        assert_eq!(
            ask(&|out| redis.push_hit(out, &workload, hit, TIME_MS_ANY)),
            ["EVALSHA", "5ha", "0", user, url, "1700000000005"]
        );
        assert_eq!(
            ask(&|out| peerage.push_hit(out, &workload, hit, TIME_MS_ANY)),
            ["ONLINE.HIT", user, url, "1700000000.005"]
        );
        let place = format!("p:{url}");
        assert_eq!(ask(&|out| redis.push_newest(out, url)), ["ZREVRANGE", &place, "0", "29"]);
        assert_eq!(ask(&|out| peerage.push_newest(out, url)), ["ONLINE.URL", url, "LIMIT", "30"]);
        assert_eq!(ask(&|out| redis.push_counts(out, 1)), ["ZCARD", "all"]);
        assert_eq!(ask(&|out| peerage.push_counts(out, 1)), ["ONLINE.COUNT"]);
    }

    #[test]
    fn the_traffic_is_that_of_the_workload_around_its_end_too() {
        let workload = Workload::new(1000, 100);
        let words = Words::peerage(&workload);
        let now_ms = TIME_MS_ANY + 54_321;
        let mut late_count = 0;
        for begin in [0, 7, CHOICES - 500, 3 * CHOICES - 1] {
            let (mut hits, mut wanted) = (Vec::new(), Vec::new());
            words.push_hits(&mut hits, &workload, begin, 1000, now_ms);
            for at in begin..begin + 1000 {
                let Choice { user, url, late_ms } = workload.choice(at);
                late_count += usize::from(late_ms > 0);
                let hit = Hit { user, url, time_ms: now_ms - u64::from(late_ms) };
                words.push_hit(&mut wanted, &workload, hit, 0);
            }
            assert!(hits == wanted, "from {begin}");
        }
        assert!((10..100).contains(&late_count), "{late_count}");
        let (mut questions, mut wanted) = (Vec::new(), Vec::new());
        words.push_questions(&mut questions, QUESTIONS - 1, 2);
        for at in [QUESTIONS - 1, 0] {
            let url = workload.choice(at).url as usize;
            words.push_newest(&mut wanted, &workload.urls[url]);
        }
        assert_eq!(questions, wanted);
    }
}
