//! What every document of a comparison begins with: when, at which commit, on which machine.
//!
//! Input: the path of nginx.   Output: text.
//! Owns: nothing.   Thread: any; reads a few files of /proc, asks git and nginx.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

/// The list of lines that name the conditions of a run.
pub fn machine(out: &mut String, nginx: &Path) -> Result<()> {
    let mut row = |name: &str, value: &str| writeln!(out, "- {name}: {value}");
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    row("date", &date(seconds))?;
    row("commit", &first_line("git", &["rev-parse", "--short", "HEAD"]))?;
    row("kernel", &proc_line("/proc/sys/kernel/osrelease"))?;
    row("CPU", &cpu_model())?;
    row("congestion control", &proc_line("/proc/sys/net/ipv4/tcp_congestion_control"))?;
    row("peer", &first_line(&nginx.to_string_lossy(), &["-v"]))?;
    row("command", &format!("`{}`", env::args().collect::<Vec<_>>().join(" ")))?;
    Ok(())
}

/// The middle value, or the mean of the two middle ones; NaN of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

/// Seconds since 1970 as a UTC date. Source: H. Hinnant, days_from_civil and its inverse.
fn date(seconds: u64) -> String {
    // Days since 0000-03-01, so that the leap day is a year's last.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (seconds % 86_400 / 3_600, seconds % 3_600 / 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// First line that a program prints, on either stream.
pub fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return "unknown".to_owned();
    };
    let bytes = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().next().filter(|_| output.status.success());
    line.unwrap_or("unknown").to_owned()
}

fn proc_line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with(name));
        lines.next().and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    };
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    format!("{}, {cores} cores", value("model name").unwrap_or("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_709_251_199), "2024-02-29 23:59 UTC");
        assert_eq!(date(1_709_251_200), "2024-03-01 00:00 UTC");
    }

    #[test]
    fn median_of_odd_even_and_nothing() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
