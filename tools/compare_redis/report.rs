//! The Markdown document: what was run where, ratios against floors, latencies, every raw row.
//!
//! Input: what was found.   Output: text.
//! Owns: nothing.   Thread: any.
//! Invariants: a ratio is peerage / Redis, of rates (larger is better) or of CPU time (smaller is
//! better); without one of the two there are neither ratios nor verdicts.

use std::fmt::Write as _;

use anyhow::Result;

use crate::Options;
use crate::cases::{Case, Floor};
use crate::document::{self, first_line, median};
use crate::fill::Memory;
use crate::measure::Row;
use crate::ping::{self, Ping};
use crate::server::Kind;

/// What the whole run found.
#[derive(Debug)]
pub struct Results {
    /// The cases of the table.
    pub cases: Vec<Case>,
    /// Transports, each with a table.
    pub transports: Vec<&'static str>,
    /// The runs.
    pub rows: Vec<Row>,
    /// By server: what all users take.
    pub memory: Vec<(Kind, Memory)>,
    /// By server: the cores that its threads may use.
    pub cores: Vec<(Kind, Vec<String>)>,
    /// What redis-benchmark found, or why it found nothing.
    pub pings: Vec<(Kind, Result<Vec<Ping>, String>)>,
}

/// The whole document.
pub fn markdown(options: &Options, results: &Results) -> Result<String> {
    let mut out = String::new();
    machine(&mut out, options, results)?;
    for transport in &results.transports {
        ratio_table(&mut out, transport, results)?;
        latency_table(&mut out, transport, results)?;
    }
    memory_table(&mut out, options, results)?;
    ping_table(&mut out, results)?;
    raw_table(&mut out, results)?;
    Ok(out)
}

fn machine(out: &mut String, options: &Options, results: &Results) -> Result<()> {
    writeln!(out, "# Who is online over sockets: peerage against Redis\n")?;
    document::machine(out, &options.redis)?;
    let mut row = |name: &str, value: &str| writeln!(out, "- {name}: {value}");
    if let Some(peerage) = &options.peerage {
        row("peerage", &first_line(&peerage.to_string_lossy(), &["--version"]))?;
    }
    row(
        "runs",
        &format!(
            "{} rounds of {} s per server and case, alternating; servers on core {}, the client, \
             one thread, on core {}",
            options.rounds, options.seconds, options.server_cpu, options.client_cpu
        ),
    )?;
    for (kind, cores) in &results.cores {
        row(&format!("cores of {}'s threads", kind.name()), &cores.join("; "))?;
    }
    row(
        "load",
        &format!(
            "pipelined: {} connections with {} requests in flight on each; `single`: one on each \
             of 50 connections",
            options.connections, options.pipeline
        ),
    )?;
    row(
        "workload",
        &format!(
            "{} users of 16 bytes, uniform; {} urls (Zipf 1.0); one hit of a hundred up to 100 ms \
             late. Redis: hash, sorted set per url, sorted set of all, one script (EVALSHA) per \
             hit, nothing on disk, no expiry",
            options.users, options.urls
        ),
    )?;
    row(
        "verified",
        "after one hit of each user and a second of every fifth, count and newest 30 of 20 urls \
         are as the workload says, over both transports",
    )?;
    Ok(())
}

fn ratio_table(out: &mut String, transport: &str, results: &Results) -> Result<()> {
    writeln!(
        out,
        "\n## Over {transport}\n\n\
         Rates in requests/s, server CPU (user + system, all threads) in us per request: median \
         (smallest .. largest) of the rounds. Ratios: peerage / Redis of the medians; spread: of \
         the rounds. Server, client: share of its core that each used, Redis / peerage; where \
         neither is near 1, others kept the cores busy. Where the client is the limit (from \
         {LIMIT_SHARE} on), CPU is what counts.\n\n\
         | row | Redis /s | peerage /s | ratio | spread | Redis us | peerage us | CPU ratio | \
         server | client | floor | verdict |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    for case in &results.cases {
        let redis = rows(results, transport, case, Kind::Redis);
        let peerage = rows(results, transport, case, Kind::Peerage);
        let middle =
            |rows: &[&Row], of: fn(&Row) -> f64| median(rows.iter().map(|row| of(row)).collect());
        let rate = middle(&peerage, Row::rate) / middle(&redis, Row::rate);
        let cpu = middle(&peerage, Row::cpu_us) / middle(&redis, Row::cpu_us);
        let ratios: Vec<f64> =
            redis.iter().zip(&peerage).map(|(one, other)| other.rate() / one.rate()).collect();
        let client = middle(&peerage, Row::client_share);
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} / {} | {} / {} | {} | {} |",
            case.name,
            cell(&redis, Row::rate, 0),
            cell(&peerage, Row::rate, 0),
            number(rate, 2),
            spread(&ratios, 2),
            cell(&redis, Row::cpu_us, 3),
            cell(&peerage, Row::cpu_us, 3),
            number(cpu, 3),
            number(middle(&redis, Row::server_share), 2),
            number(middle(&peerage, Row::server_share), 2),
            number(middle(&redis, Row::client_share), 2),
            number(client, 2),
            floor(case.floor),
            verdict(case.floor, rate, cpu, client),
        )?;
    }
    Ok(())
}

fn floor(floor: Floor) -> String {
    match floor {
        Floor::Rate(floor, aim) => format!("rate {floor} x, aim {aim} x"),
        Floor::Cpu(floor) => format!("CPU at most {floor}"),
        Floor::Nothing => "-".to_owned(),
    }
}

fn verdict(floor: Floor, rate: f64, cpu: f64, client: f64) -> &'static str {
    match floor {
        Floor::Nothing => "-",
        _ if rate.is_nan() || cpu.is_nan() => "-",
        Floor::Rate(_, aim) if rate >= aim => "held, aim reached",
        Floor::Rate(floor, _) if rate >= floor => "held",
        Floor::Rate(floor, _) if client >= LIMIT_SHARE && cpu * floor <= 1.0 => {
            "held by CPU; the client is the limit"
        }
        Floor::Rate(..) if client >= LIMIT_SHARE => "NOT held; the client is the limit",
        Floor::Cpu(floor) if cpu <= floor => "held",
        _ => "NOT held",
    }
}

fn latency_table(out: &mut String, transport: &str, results: &Results) -> Result<()> {
    writeln!(
        out,
        "\nLatency over {transport} in us, from the write of a batch to the read that had the \
         reply, closed loop at full load: percentiles are medians of the rounds, max is the \
         largest of all. Client CPU in us per request, median.\n\n\
         | row | server | p50 | p99 | p99.9 | max | client us |\n\
         | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    for case in &results.cases {
        for kind in [Kind::Redis, Kind::Peerage] {
            let rows = rows(results, transport, case, kind);
            if rows.is_empty() {
                continue;
            }
            let at = |index: usize| median(rows.iter().map(|row| row.latency_us[index]).collect());
            writeln!(
                out,
                "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.3} |",
                case.name,
                kind.name(),
                at(0),
                at(1),
                at(2),
                rows.iter().map(|row| row.latency_us[3]).fold(0.0, f64::max),
                median(rows.iter().map(|row| row.client_cpu_us()).collect()),
            )?;
        }
    }
    Ok(())
}

fn memory_table(out: &mut String, options: &Options, results: &Results) -> Result<()> {
    writeln!(
        out,
        "\n## Memory per user\n\n\
         Bytes per user that all {} users took after they were sent: by the server's own word \
         (`used_memory` of INFO, `bytes` of ONLINE.STATS) and by the kernel's (resident), each the \
         difference to the empty server.\n\n\
         | server | own word | resident |\n| --- | --- | --- |",
        options.users
    )?;
    let per_user = |bytes: i64| format!("{:.1}", bytes as f64 / f64::from(options.users));
    for (kind, memory) in &results.memory {
        let stated = match &memory.stated {
            Ok(bytes) => per_user(*bytes),
            Err(error) => format!("not known: {}", error.replace('|', "/")),
        };
        writeln!(out, "| {} | {stated} | {} |", kind.name(), per_user(memory.resident))?;
    }
    Ok(())
}

fn ping_table(out: &mut String, results: &Results) -> Result<()> {
    writeln!(
        out,
        "\n## redis-benchmark\n\n\
         `redis-benchmark -p PORT {}` on the client's core, over tcp, requests/s, once each.\n\n\
         | server | test | requests/s |\n| --- | --- | --- |",
        ping::ARGUMENTS.join(" ")
    )?;
    for (kind, figures) in &results.pings {
        match figures {
            Ok(figures) => figures.iter().try_for_each(|Ping { test, rate }| {
                writeln!(out, "| {} | {test} | {rate:.0} |", kind.name())
            })?,
            Err(error) => {
                let error = error.replace('|', "/").replace(['\r', '\n'], " ");
                writeln!(out, "| {} | - | not known: {error} |", kind.name())?;
            }
        }
    }
    Ok(())
}

fn raw_table(out: &mut String, results: &Results) -> Result<()> {
    writeln!(
        out,
        "\n## Raw rows, in the order of the runs\n\n\
         | transport | row | round | server | replies | seconds | requests/s | server CPU s | \
         client CPU s | server us | client us | p50 us | p99 us | p99.9 us | max us |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- \
         | --- |"
    )?;
    for row in &results.rows {
        let [p50, p99, p999, max] = row.latency_us;
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {:.3} | {:.0} | {:.2} | {:.2} | {:.3} | {:.3} | \
             {p50:.0} | {p99:.0} | {p999:.0} | {max:.0} |",
            row.transport,
            row.case,
            row.round,
            row.kind.name(),
            row.replies,
            row.seconds,
            row.rate(),
            row.server_cpu_s,
            row.client_cpu_s,
            row.cpu_us(),
            row.client_cpu_us(),
        )?;
    }
    Ok(())
}

fn rows<'a>(results: &'a Results, transport: &str, case: &Case, kind: Kind) -> Vec<&'a Row> {
    let wanted =
        |row: &&Row| row.transport == transport && row.case == case.name && row.kind == kind;
    results.rows.iter().filter(wanted).collect()
}

/// Median, smallest and largest; a dash for nothing.
fn cell(rows: &[&Row], of: fn(&Row) -> f64, digits: usize) -> String {
    let values: Vec<f64> = rows.iter().map(|row| of(row)).collect();
    if values.is_empty() {
        return "-".to_owned();
    }
    format!("{:.digits$} ({})", median(values.clone()), spread(&values, digits))
}

fn spread(values: &[f64], digits: usize) -> String {
    if values.is_empty() {
        return "-".to_owned();
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{least:.digits$} .. {most:.digits$}")
}

fn number(value: f64, digits: usize) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.digits$}") }
}

/// A client that is busy for this share of the time leaves the server waiting now and then.
const LIMIT_SHARE: f64 = 0.9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_floor_and_who_is_the_limit() {
        let rate = Floor::Rate(4.0, 6.0);
        assert_eq!(verdict(rate, 6.5, 0.2, 0.5), "held, aim reached");
        assert_eq!(verdict(rate, 4.0, 0.2, 0.5), "held");
        assert_eq!(verdict(rate, 3.0, 0.2, 0.5), "NOT held");
        assert_eq!(verdict(rate, 3.0, 0.2, 0.95), "held by CPU; the client is the limit");
        assert_eq!(verdict(rate, 3.0, 0.3, 0.95), "NOT held; the client is the limit");
        assert_eq!(verdict(rate, f64::NAN, f64::NAN, f64::NAN), "-");
        assert_eq!(verdict(Floor::Cpu(0.5), 1.0, 0.5, 1.0), "held");
        assert_eq!(verdict(Floor::Cpu(0.5), 9.0, 0.6, 1.0), "NOT held");
    }
}
