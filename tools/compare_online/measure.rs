//! What is measured of each design.
//!
//! Input: a number of users.   Output: tables.
//! Owns: the designs under test.   Thread: one, and a reader in one of the tables.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;
use peerage::online::Visitors;
use peerage::online::plain::Plain;
use peerage::time::UnixMillis;

use crate::Options;
use crate::designs::{Crossbeam, Design, LIMIT, Ours, Talk};
use crate::workload::{WINDOW_MS, Workload};

/// Above this many users the slow designs are left out.
const SLOW_USERS_MAX: u32 = 1_000_000;

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn rate(count: usize, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64() / 1e6
}

fn median(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// A design under test and its turns so far.
struct Contender {
    design: Box<dyn Design>,
    /// Hits of a turn: the slow designs get a tenth.
    hits: usize,
    /// The next hit of the workload.
    at: usize,
    inserts: Vec<f64>,
    newest: Vec<f64>,
    counts: Vec<f64>,
}

impl Contender {
    /// With one hit of each user.
    fn new(mut design: Box<dyn Design>, hits: usize, workload: &Workload) -> Self {
        let at = workload.users as usize;
        design.hits(workload, 0, at);
        assert_eq!(design.count(), workload.users.into(), "{}", design.name());
        let (inserts, newest, counts) = Default::default();
        Self { design, hits, at, inserts, newest, counts }
    }

    fn take_turn(&mut self, workload: &Workload) {
        let (from, to) = (self.at, self.at + self.hits);
        let begun = Instant::now();
        self.design.hits(workload, from, to);
        self.inserts.push(rate(self.hits, begun));
        self.at = to;
        let begun = Instant::now();
        let ask = |sum: u64, at| sum.wrapping_add(self.design.newest(workload.url(at)));
        black_box((from..to).fold(0, ask));
        self.newest.push(rate(self.hits, begun));
        let begun = Instant::now();
        let count = |sum: u64, _| sum.wrapping_add(black_box(&*self.design).count());
        black_box((0..self.hits * 100).fold(0, count));
        self.counts.push(rate(self.hits * 100, begun));
    }

    fn row(&mut self) -> String {
        let cell = |values: &mut [f64]| {
            let (median, least, most) = median(values);
            format!("{median:.3} ({least:.3} .. {most:.3})")
        };
        format!(
            "| {} | {} | {} | {} |",
            self.design.name(),
            cell(&mut self.inserts),
            cell(&mut self.newest),
            cell(&mut self.counts)
        )
    }
}

/// All tables for so many users.
pub fn run(users: u32, options: &Options) -> Result<String> {
    let turns = u32::try_from(options.rounds)? + 1;
    let workload = Workload::new(users, options.hits * turns);
    let (hits, slow) = (options.hits as usize, options.hits as usize / 10);
    let before = resident();
    let mut contenders = vec![Contender::new(Box::new(Ours::new(users, 1)), hits, &workload)];
    let taken = resident() - before;
    contenders.push(Contender::new(Box::new(Ours::new(users, 32)), hits, &workload));
    if users <= SLOW_USERS_MAX {
        let talk = Box::new(Talk(Plain::new(WINDOW_MS.into())));
        contenders.push(Contender::new(talk, slow, &workload));
        contenders.push(Contender::new(Box::<Crossbeam>::default(), slow, &workload));
    }
    for _ in 0..options.rounds {
        contenders.iter_mut().for_each(|contender| contender.take_turn(&workload));
    }
    let mut out = String::new();
    writeln!(
        out,
        "\n## {users} users\n\nMillion operations a second: median (smallest .. largest) of {} \
         turns of {hits} (slow designs {slow}).\n\n\
         | design | replace-inserts | newest {LIMIT} of a url | counts |\n\
         | --- | --- | --- | --- |",
        options.rounds
    )?;
    contenders.iter_mut().try_for_each(|contender| writeln!(out, "{}", contender.row()))?;
    writeln!(out, "\nMemory: {} bytes a user resident.", taken / u64::from(users))?;
    drop(contenders);
    single(&mut out, &workload, options)?;
    Ok(out)
}

/// Latency of one hit, expiry, and a reader beside the writer.
fn single(out: &mut String, workload: &Workload, options: &Options) -> Result<()> {
    let mut ours = Ours::new(workload.users, 1);
    let first = workload.users as usize;
    let hits = options.hits as usize;
    ours.hits(workload, 0, first);
    let mut histogram = Histogram::<u64>::new(3)?;
    for at in first..first + hits {
        let begun = Instant::now();
        ours.index.handle_time(workload.time(at));
        ours.index.hit(&workload.hit(at));
        histogram.record(u64::try_from(begun.elapsed().as_nanos())?)?;
    }
    let at = |quantile| histogram.value_at_quantile(quantile);
    writeln!(
        out,
        "\nOne hit, ns with the clock read twice: p50 {}, p99 {}, p99.9 {}, p99.99 {}, max {}.",
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.9999),
        histogram.max()
    )?;
    let (mut alone, mut beside, mut looks) = (Vec::new(), Vec::new(), 0);
    let mut next = first + hits;
    let turn = hits / 2;
    for _ in 0..options.rounds.min(workload.len().saturating_sub(next) / hits) {
        let begun = Instant::now();
        ours.hits(workload, next, next + turn);
        alone.push(rate(turn, begun));
        next += turn;
        let is_over = AtomicBool::new(false);
        let reader = ours.index.reader();
        thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let (mut out, mut count) = (Visitors::default(), 0_u64);
                while !is_over.load(Ordering::Relaxed) {
                    let url = workload.url(usize::try_from(count).unwrap_or(0));
                    count += u64::from(reader.visitors(url, LIMIT, None, &mut out).is_ok());
                }
                count
            });
            let begun = Instant::now();
            ours.hits(workload, next, next + turn);
            beside.push(rate(turn, begun));
            is_over.store(true, Ordering::Relaxed);
            looks += watch.join().expect("the reader does not panic");
        });
        next += turn;
    }
    if !alone.is_empty() {
        let (alone, beside) = (median(&mut alone).0, median(&mut beside).0);
        writeln!(
            out,
            "\nWriter alone {alone:.3} M/s, with a reader spinning on Zipf-chosen urls {beside:.3} \
             M/s ({:.2}); {looks} looks.",
            beside / alone
        )?;
    }
    let count = ours.index.count();
    let begun = Instant::now();
    // All are too old, but none so long that the clock has leapt beyond the window.
    let newest = ours.index.now();
    ours.index.handle_time(UnixMillis(newest.0 + u64::from(WINDOW_MS)));
    ours.index.handle_time(UnixMillis(ours.index.now().0 + 1));
    while ours.index.cull(1000) {}
    let gone = count - ours.index.count();
    writeln!(
        out,
        "\nExpiry in slices of 1,000 rows: {:.3} M rows/s ({gone} rows).",
        rate(gone as usize, begun)
    )?;
    Ok(())
}
