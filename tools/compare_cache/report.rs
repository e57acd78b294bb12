//! The Markdown document: what was run where, ratios against floors, every raw row.
//!
//! Input: the rows.   Output: text.
//! Owns: nothing.   Thread: any.
//! Invariants: a ratio is peerage / peer, or cold / warm, so smaller is better; a table with a row
//! that has errors never passes.

use std::fmt::Write as _;

use anyhow::Result;

use crate::Options;
use crate::cases::{CROWD_FETCHES, CROWD_FLOOR, FIRST_BYTE_FLOOR, HIT_FLOOR, MISS_FLOOR};
use crate::document::{self, median};
use crate::measure::{CONNECTIONS, Row};
use crate::origin::{BIG_BYTES, Objects, SMALL_BYTES};

/// The whole document.
pub fn markdown(
    options: &Options,
    file_system: &str,
    objects: &Objects,
    rows: &[Row],
) -> Result<String> {
    let mut out = String::new();
    machine(&mut out, options, file_system, objects)?;
    miss_table(&mut out, rows)?;
    first_byte_table(&mut out, rows)?;
    hit_table(&mut out, rows)?;
    crowd_table(&mut out, rows, options.clients)?;
    raw_table(&mut out, rows)?;
    Ok(out)
}

fn machine(
    out: &mut String,
    options: &Options,
    file_system: &str,
    objects: &Objects,
) -> Result<()> {
    let (heading, warning) = if options.smoke {
        (" (smoke run)", "\nA smoke run shows that everything works. Its figures mean nothing.\n")
    } else {
        ("", "")
    };
    writeln!(out, "# Cache: peerage against nginx{heading}\n{warning}")?;
    document::machine(out, &options.nginx)?;
    let mut row = |name: &str, value: &str| writeln!(out, "- {name}: {value}");
    row(
        "runs",
        &format!(
            "{} rounds, alternating; caches on core {}; load and origin (nginx) on core {}; \
             {CONNECTIONS} connections; bodies dropped by the client's kernel",
            options.rounds, options.server_cpu, options.client_cpu
        ),
    )?;
    row("file system of the caches", file_system)?;
    row(
        "objects",
        &format!(
            "{} of {} KiB, {} of them asked for again; one of {} MiB",
            objects.count,
            SMALL_BYTES >> 10,
            objects.again_count,
            BIG_BYTES >> 20
        ),
    )?;
    Ok(())
}

fn miss_table(out: &mut String, rows: &[Row]) -> Result<()> {
    let (nginx, peerage) = (of(rows, "miss", "nginx"), of(rows, "miss", "peerage"));
    if nginx.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n## CPU per miss, closed loop\n\n\
         Each object once, none of them stored before. Server CPU (user + system, all threads and \
         children, storing included) in us per miss, median of the rounds. Ratio: peerage / nginx \
         of the medians; spread: smallest and largest ratio of one round. Throughput in \
         requests/s, median.\n\n\
         | case | nginx us | peerage us | ratio | spread | floor | verdict | nginx req/s | peerage \
         req/s |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    let ratio = Ratio::of(&peerage, &nginx, Row::cpu_us);
    writeln!(
        out,
        "| miss | {:.2} | {:.2} | {ratio} | {MISS_FLOOR:.2} | {} | {:.0} | {:.0} |",
        middle(&nginx, Row::cpu_us),
        middle(&peerage, Row::cpu_us),
        ratio.verdict(MISS_FLOOR),
        middle(&nginx, |row| row.rps),
        middle(&peerage, |row| row.rps),
    )?;
    Ok(())
}

fn first_byte_table(out: &mut String, rows: &[Row]) -> Result<()> {
    if of(rows, "miss", "nginx").is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n## Time to the first byte of a miss\n\n\
         Microseconds, medians of the rounds; ratio and spread of p50 as above. Open loop: at 70 % \
         of the slower cache's median throughput in the closed loop, from the intended send time \
         (coordinated omission corrected).\n\n\
         | loop | rate/s | nginx p50 | peerage p50 | ratio | spread | floor | verdict | nginx p99 \
         | peerage p99 |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    for (case, name) in [("miss", "closed"), ("miss-open", "open")] {
        let (nginx, peerage) = (of(rows, case, "nginx"), of(rows, case, "peerage"));
        let Some(first) = nginx.first() else { continue };
        let ratio = Ratio::of(&peerage, &nginx, |row| row.first_us[0]);
        writeln!(
            out,
            "| {name} | {} | {:.0} | {:.0} | {ratio} | {FIRST_BYTE_FLOOR:.2} | {} | {:.0} | \
             {:.0} |",
            rate(first),
            middle(&nginx, |row| row.first_us[0]),
            middle(&peerage, |row| row.first_us[0]),
            ratio.verdict(FIRST_BYTE_FLOOR),
            middle(&nginx, |row| row.first_us[1]),
            middle(&peerage, |row| row.first_us[1]),
        )?;
    }
    Ok(())
}

fn hit_table(out: &mut String, rows: &[Row]) -> Result<()> {
    if of(rows, "hit-one", "peerage").is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n## CPU per hit, closed loop\n\n\
         Stored by the misses above, then asked for again: one object, or uniformly many of them. \
         The floor is that of 10 KiB in `static.md`: against nginx with the same objects as files. \
         Against nginx with its cache the ratio is for information.\n\n\
         | case | peer | peer us | peerage us | ratio | spread | floor | verdict | peer req/s | \
         peerage req/s | peer p50 us | peerage p50 us | peer p99 us | peerage p99 us |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    for case in ["hit-one", "hit-many"] {
        let peerage = of(rows, case, "peerage");
        for (server, name, floor) in
            [("nginx files", "files", Some(HIT_FLOOR)), ("nginx", "cache", None)]
        {
            let peer = of(rows, case, server);
            let ratio = Ratio::of(&peerage, &peer, Row::cpu_us);
            writeln!(
                out,
                "| {case} | nginx, {name} | {:.2} | {:.2} | {ratio} | {} | {} | {:.0} | {:.0} | \
                 {:.0} | {:.0} | {:.0} | {:.0} |",
                middle(&peer, Row::cpu_us),
                middle(&peerage, Row::cpu_us),
                floor.map_or_else(|| "-".to_owned(), |floor| format!("{floor:.2}")),
                floor.map_or("-", |floor| ratio.verdict(floor)),
                middle(&peer, |row| row.rps),
                middle(&peerage, |row| row.rps),
                middle(&peer, |row| row.latency_us[0]),
                middle(&peerage, |row| row.latency_us[0]),
                middle(&peer, |row| row.latency_us[1]),
                middle(&peerage, |row| row.latency_us[1]),
            )?;
        }
    }
    Ok(())
}

fn crowd_table(out: &mut String, rows: &[Row], clients: usize) -> Result<()> {
    if of(rows, "crowd-cold", "peerage").is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n## {clients} clients at once for one object of 10 MiB\n\n\
         All connected, then all asking at once; time until the last one has all of it, medians \
         of the rounds in seconds. Cold: not stored before. Warm: the same clients right after. \
         Ratio: cold / warm of the medians; spread: of one round. First bytes and CPU of the \
         cache: cold. nginx (proxy_cache_lock) is for information.\n\n\
         | server | requests to the origin | cold s | warm s | ratio | spread | floor | verdict | \
         first byte p50 ms | p99 ms | cold CPU s | warm CPU s |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    for server in ["nginx", "peerage"] {
        let (cold, warm) = (of(rows, "crowd-cold", server), of(rows, "crowd-warm", server));
        let fetches: Vec<String> = cold.iter().map(|row| row.fetches.to_string()).collect();
        let ratio = Ratio::of(&cold, &warm, |row| row.seconds);
        let verdict = match server {
            "nginx" => "-",
            _ if cold.iter().any(|row| row.fetches != CROWD_FETCHES) => "FAIL (requests)",
            _ => ratio.verdict(CROWD_FLOOR),
        };
        writeln!(
            out,
            "| {server} | {} | {:.3} | {:.3} | {ratio} | {CROWD_FLOOR:.2} | {verdict} | {:.0} | \
             {:.0} | {:.2} | {:.2} |",
            fetches.join(", "),
            middle(&cold, |row| row.seconds),
            middle(&warm, |row| row.seconds),
            middle(&cold, |row| row.first_us[0] / 1e3),
            middle(&cold, |row| row.first_us[1] / 1e3),
            middle(&cold, |row| row.server_cpu_s),
            middle(&warm, |row| row.server_cpu_s),
        )?;
    }
    Ok(())
}

fn raw_table(out: &mut String, rows: &[Row]) -> Result<()> {
    writeln!(
        out,
        "\n## Raw rows, in the order of the runs\n\n\
         | case | rate | round | server | answers | errors | to origin | body bytes | seconds | \
         req/s | server CPU s | client CPU s | us/request | first p50 us | first p99 us | p50 us | \
         p99 us | p99.9 us | max us |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- \
         | --- | --- | --- | --- |"
    )?;
    for row in rows {
        let [p50, p99, p999, max] = row.latency_us;
        let [first_p50, first_p99] = row.first_us;
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.3} | {:.0} | {:.2} | {:.2} | {:.2} | \
             {first_p50:.0} | {first_p99:.0} | {p50:.0} | {p99:.0} | {p999:.0} | {max:.0} |",
            row.case,
            rate(row),
            row.round,
            row.server,
            row.answers,
            row.errors,
            row.fetches,
            row.bytes,
            row.seconds,
            row.rps,
            row.server_cpu_s,
            row.client_cpu_s,
            row.cpu_us(),
        )?;
    }
    Ok(())
}

/// A ratio of medians with the range of the rounds' own.
#[derive(Debug, PartialEq)]
struct Ratio {
    value: f64,
    min: f64,
    max: f64,
    /// No row has errors.
    is_clean: bool,
}

impl Ratio {
    fn of(above: &[&Row], below: &[&Row], figure: impl Fn(&Row) -> f64) -> Self {
        let pairs = above.iter().zip(below).map(|(a, b)| figure(a) / figure(b));
        let (min, max) = pairs.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), ratio| {
            (ratio.min(min), ratio.max(max))
        });
        let value = middle(above, &figure) / middle(below, &figure);
        let is_clean = above.iter().chain(below).all(|row| row.errors == 0);
        Self { value, min, max, is_clean }
    }

    fn verdict(&self, floor: f64) -> &'static str {
        match (self.is_clean, self.value <= floor) {
            (false, _) => "FAIL (errors)",
            (true, true) => "pass",
            // NaN too.
            (true, false) => "FAIL",
        }
    }
}

/// The two columns: value and spread.
impl std::fmt::Display for Ratio {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:.3} | {:.3} .. {:.3}", self.value, self.min, self.max)
    }
}

fn of<'a>(rows: &'a [Row], case: &str, server: &str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.case == case && row.server == server).collect()
}

fn middle(rows: &[&Row], figure: impl Fn(&Row) -> f64) -> f64 {
    median(rows.iter().map(|row| figure(row)).collect())
}

fn rate(row: &Row) -> String {
    row.rate.map_or_else(|| "closed".to_owned(), |rate| rate.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: &'static str, server: &'static str, seconds: f64, fetches: u64) -> Row {
        Row {
            case,
            server,
            rate: None,
            round: 1,
            answers: 1000,
            errors: 0,
            seconds,
            rps: 1.0,
            bytes: 1,
            fetches,
            server_cpu_s: seconds,
            client_cpu_s: 1.0,
            latency_us: [1.0; 4],
            first_us: [1.0; 2],
        }
    }

    #[test]
    fn a_ratio_passes_at_its_floor_and_never_with_errors() {
        let (above, below) = (row("a", "x", 1.2, 1), row("b", "x", 1.0, 0));
        let ratio = Ratio::of(&[&above], &[&below], |row| row.seconds);
        assert_eq!(ratio, Ratio { value: 1.2, min: 1.2, max: 1.2, is_clean: true });
        assert_eq!((ratio.verdict(1.2), ratio.verdict(1.1)), ("pass", "FAIL"));
        assert_eq!(ratio.to_string(), "1.200 | 1.200 .. 1.200");
        let failed = Row { errors: 1, ..below };
        let ratio = Ratio::of(&[&above], &[&failed], |row| row.seconds);
        assert_eq!(ratio.verdict(1.2), "FAIL (errors)");
        let nothing = Ratio::of(&[], &[], |row| row.seconds);
        assert_eq!(nothing.verdict(1.2), "FAIL");
    }

    #[test]
    fn a_second_request_to_the_origin_fails_the_crowd() {
        let table = |fetches| {
            let mut out = String::new();
            let rows = [
                row("crowd-cold", "nginx", 2.0, 1),
                row("crowd-warm", "nginx", 1.0, 0),
                row("crowd-cold", "peerage", 1.0, fetches),
                row("crowd-warm", "peerage", 1.0, 0),
            ];
            crowd_table(&mut out, &rows, 1000).expect("writing to a String does not fail");
            out
        };
        assert!(
            table(1)
                .contains("| peerage | 1 | 1.000 | 1.000 | 1.000 | 1.000 .. 1.000 | 1.20 | pass")
        );
        assert!(table(2).contains("FAIL (requests)"));
    }
}
