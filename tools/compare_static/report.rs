//! The Markdown document: what was run where, ratios against floors, latencies, every raw row.
//!
//! Input: `Results`.   Output: text.
//! Owns: nothing.   Thread: any.
//! Invariants: a ratio is peerage / nginx, so smaller is better; a case with failed requests never
//! passes.

use std::fmt::Write as _;

use anyhow::Result;

use crate::Options;
use crate::cases::{Case, STEADY_NAME, STEADY_RATE};
use crate::document::{self, median};
use crate::measure::{Body, Results, Row};
use crate::server;
use crate::tree::Tree;

/// The whole document.
pub fn markdown(
    options: &Options,
    tree: &Tree,
    descriptors: u64,
    results: &Results,
) -> Result<String> {
    let mut out = String::new();
    machine(&mut out, options, tree, descriptors)?;
    cpu_table(&mut out, results)?;
    closed_table(&mut out, results)?;
    open_table(&mut out, results)?;
    steady_table(&mut out, results)?;
    raw_table(&mut out, results)?;
    Ok(out)
}

fn machine(out: &mut String, options: &Options, tree: &Tree, descriptors: u64) -> Result<()> {
    let (heading, warning) = if options.smoke {
        (" (smoke run)", "\nA smoke run shows that everything works. Its figures mean nothing.\n")
    } else {
        ("", "")
    };
    writeln!(out, "# Static files: peerage against nginx{heading}\n{warning}")?;
    document::machine(out, &options.nginx)?;
    let mut row = |name: &str, value: &str| writeln!(out, "- {name}: {value}");
    if options.cached {
        row("caching", "on: peerage has every file from nginx, stored before it is measured")?;
    }
    row(
        "runs",
        &format!(
            "{} rounds of {} s per server, alternating; servers on core {}, load on core {}",
            options.rounds, options.seconds, options.server_cpu, options.client_cpu
        ),
    )?;
    row(
        "mixed tree",
        &format!(
            "{} files, median {:.1} KiB, mean {:.1} KiB",
            tree.count,
            tree.median_bytes as f64 / 1024.0,
            tree.mean_bytes as f64 / 1024.0
        ),
    )?;
    let cache_max = server::open_file_cache_max(descriptors);
    let count = u64::try_from(tree.count)?;
    let enough = if cache_max > count { "holds all files" } else { "is TOO SMALL for all files" };
    row(
        "descriptors",
        &format!("limit {descriptors}; nginx open_file_cache max={cache_max}, which {enough}"),
    )?;
    Ok(())
}

fn cpu_table(out: &mut String, results: &Results) -> Result<()> {
    writeln!(
        out,
        "\n## CPU per request, closed loop\n\n\
         Server CPU (user + system, all threads and children) in us per request, median of the \
         rounds. Ratio: peerage / nginx of the medians; spread: smallest and largest ratio of one \
         round. Throughput in requests/s, median.\n\n\
         | case | body | nginx us | peerage us | ratio | spread | floor | aim | verdict | nginx \
         req/s | peerage req/s |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    for case in &results.cases {
        for body in [Body::Drop, Body::Read] {
            let nginx = rows(results, case.name, "nginx", body, false);
            let peerage = rows(results, case.name, "peerage", body, false);
            let cpu = |rows: &[&Row]| median(rows.iter().map(|row| row.cpu_us()).collect());
            let rps = |rows: &[&Row]| median(rows.iter().map(|row| row.rps).collect());
            let ratio = cpu(&peerage) / cpu(&nginx);
            let pairs = nginx.iter().zip(&peerage);
            let ratios: Vec<f64> = pairs.map(|(a, b)| b.cpu_us() / a.cpu_us()).collect();
            let clean = nginx.iter().chain(&peerage).all(|row| row.errors == 0);
            writeln!(
                out,
                "| {} | {} | {:.2} | {:.2} | {ratio:.3} | {:.3} .. {:.3} | {:.2} | {:.2} | {} | \
                 {:.0} | {:.0} |",
                case.name,
                body.name(),
                cpu(&nginx),
                cpu(&peerage),
                ratios.iter().copied().fold(f64::INFINITY, f64::min),
                ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                case.floor,
                case.aim,
                verdict(case, ratio, clean),
                rps(&nginx),
                rps(&peerage),
            )?;
        }
    }
    Ok(())
}

fn verdict(case: &Case, ratio: f64, clean: bool) -> &'static str {
    if !clean {
        "FAIL (errors)"
    } else if ratio <= case.aim {
        "pass, aim reached"
    } else if ratio <= case.floor {
        "pass"
    } else {
        "FAIL"
    }
}

fn closed_table(out: &mut String, results: &Results) -> Result<()> {
    writeln!(out, "\n## Latency, closed loop\n\n{LATENCY_NOTE}\n\n{LATENCY_HEAD}")?;
    for case in &results.cases {
        for body in [Body::Drop, Body::Read] {
            for server in SERVERS {
                let rows = rows(results, case.name, server, body, false);
                latency_row(out, case.name, body, &rows)?;
            }
        }
    }
    Ok(())
}

fn open_table(out: &mut String, results: &Results) -> Result<()> {
    writeln!(
        out,
        "\n## Latency, open loop\n\n\
         Rate: 70 % of the slower server's median throughput in the closed loop, bodies read. \
         Latency counts from the intended send time (coordinated omission corrected). \
         {LATENCY_NOTE}\n\n{LATENCY_HEAD}"
    )?;
    for case in results.cases.iter().filter(|case| case.open_loop) {
        for server in SERVERS {
            let rows = rows(results, case.name, server, Body::Read, true);
            latency_row(out, case.name, Body::Read, &rows)?;
        }
    }
    Ok(())
}

fn latency_row(out: &mut String, case: &str, body: Body, rows: &[&Row]) -> Result<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    let at = |index: usize| median(rows.iter().map(|row| row.latency_us[index]).collect());
    let max = rows.iter().map(|row| row.latency_us[3]).fold(0.0, f64::max);
    writeln!(
        out,
        "| {case} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {max:.0} | {:.2} | {} |",
        body.name(),
        first.server,
        first.rate.map_or_else(|| "closed".to_owned(), |rate| rate.to_string()),
        at(0),
        at(1),
        at(2),
        median(rows.iter().map(|row| row.cpu_us()).collect()),
        rows.iter().map(|row| row.errors).sum::<u64>(),
    )?;
    Ok(())
}

fn steady_table(out: &mut String, results: &Results) -> Result<()> {
    let of = |server| rows(results, STEADY_NAME, server, Body::Read, true);
    if of("nginx").is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n## 10 KiB images at {STEADY_RATE} requests/s (120 MB/s), open loop, bodies read\n\n\
         Share of one core that the server uses, median and range of the rounds; latencies in \
         us as above.\n\n\
         | server | share of a core % | range | MB/s | p50 | p99 | p99.9 | max | errors |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    for server in SERVERS {
        let rows = of(server);
        let shares: Vec<f64> =
            rows.iter().map(|row| row.server_cpu_s / row.seconds * 100.0).collect();
        let at = |index: usize| median(rows.iter().map(|row| row.latency_us[index]).collect());
        writeln!(
            out,
            "| {server} | {:.1} | {:.1} .. {:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} | {} |",
            median(shares.clone()),
            shares.iter().copied().fold(f64::INFINITY, f64::min),
            shares.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            median(rows.iter().map(|row| row.bytes_per_s / 1e6).collect()),
            at(0),
            at(1),
            at(2),
            rows.iter().map(|row| row.latency_us[3]).fold(0.0, f64::max),
            rows.iter().map(|row| row.errors).sum::<u64>(),
        )?;
    }
    Ok(())
}

fn raw_table(out: &mut String, results: &Results) -> Result<()> {
    writeln!(
        out,
        "\n## Raw rows, in the order of the runs\n\n\
         | case | body | rate | round | server | answers | errors | seconds | req/s | MB/s | \
         server CPU s | client CPU s | us/request | p50 us | p99 us | p99.9 us | max us |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- \
         | --- | --- |"
    )?;
    for row in &results.rows {
        let [p50, p99, p999, max] = row.latency_us;
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {:.3} | {:.0} | {:.1} | {:.2} | {:.2} | {:.2} | \
             {p50:.0} | {p99:.0} | {p999:.0} | {max:.0} |",
            row.case,
            row.body.name(),
            row.rate.map_or_else(|| "closed".to_owned(), |rate| rate.to_string()),
            row.round,
            row.server,
            row.answers,
            row.errors,
            row.seconds,
            row.rps,
            row.bytes_per_s / 1e6,
            row.server_cpu_s,
            row.client_cpu_s,
            row.cpu_us(),
        )?;
    }
    Ok(())
}

fn rows<'a>(
    results: &'a Results,
    case: &str,
    server: &str,
    body: Body,
    open: bool,
) -> Vec<&'a Row> {
    let wanted = |row: &&Row| {
        row.case == case && row.server == server && row.body == body && row.rate.is_some() == open
    };
    results.rows.iter().filter(wanted).collect()
}

const SERVERS: [&str; 2] = ["nginx", "peerage"];
const LATENCY_NOTE: &str = "Microseconds; percentiles are medians of the rounds, max is the \
                            largest of all; CPU per request.";
const LATENCY_HEAD: &str = "| case | body | server | rate/s \
                            | p50 | p99 | p99.9 | max | CPU us | errors |\n\
     | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";
