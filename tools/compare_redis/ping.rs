//! What redis-benchmark finds, beside our own client: the cost of the wire alone.
//!
//! Input: its binary, a port.   Output: its figures by name.
//! Owns: nothing; the program is a child that ends before this returns.   Thread: the only one.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::sys;

/// One of its figures.
#[derive(Debug, PartialEq)]
pub struct Ping {
    /// What it calls the test.
    pub test: String,
    /// Requests in a second.
    pub rate: f64,
}

/// Has it ping the server on `port` from core `cpu`.
pub fn ping(binary: &Path, port: u16, cpu: usize) -> Result<Vec<Ping>> {
    let mut command = Command::new(binary);
    command.args(["-p", &port.to_string()]).args(ARGUMENTS);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    sys::prepare_child(&mut command, cpu);
    let child = command.spawn().with_context(|| format!("starting {}", binary.display()))?;
    let child = wait(child)?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = parse(&text);
    ensure!(
        output.status.success() && !figures.is_empty(),
        "redis-benchmark ended with {} and said: {} {}",
        output.status,
        text.trim(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(figures)
}

/// Waits until the child has ended, and kills it where it does not.
fn wait(mut child: Child) -> Result<Child> {
    let deadline = Instant::now() + TIME_MAX;
    // What it says fits into a pipe: a line for each quarter of a second.
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline || sys::is_stopped() {
            child.kill()?;
            child.wait()?;
            ensure!(!sys::is_stopped(), "stopped by a signal");
            anyhow::bail!("redis-benchmark had not ended after {TIME_MAX:?}, so it was killed");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(child)
}

/// Lines such as `PING_MBULK: 1234567.88 requests per second, p50=1.9 msec`; interim figures are
/// in the same lines, before a carriage return.
fn parse(text: &str) -> Vec<Ping> {
    let lines = text.split(['\r', '\n']);
    let figures = lines.filter_map(|line| {
        let (name, rest) = line.split_once(": ")?;
        let (rate, _) = rest.split_once(" requests per second")?;
        Some(Ping { test: name.trim().to_owned(), rate: rate.trim().parse().ok()? })
    });
    figures.collect()
}

/// All but the port.
pub const ARGUMENTS: [&str; 7] = ["-P", "64", "-q", "-n", "500000", "-t", "ping"];
const TIME_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_final_figures_are_read() {
        let text = "PING_INLINE: rps=0.0 (overall: nan)\rPING_INLINE: 12.50 requests per second, \
                    p50=1.9 msec\n\nPING_MBULK: 7 requests per second\n";
        let ping = |test: &str, rate| Ping { test: test.to_owned(), rate };
        assert_eq!(parse(text), [ping("PING_INLINE", 12.5), ping("PING_MBULK", 7.0)]);
    }
}
