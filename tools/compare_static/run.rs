//! One run of the load program, and the figures of the line that it prints.
//!
//! Input: a command.   Output: numbers by name.
//! Owns: nothing.   Thread: the only one; the load program is a child.
//! Not here: which runs there are (`measure`).

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs the load program and returns its line of JSON. Exit status 1 means failed requests, which
/// the line counts; anything else but success is a failure of the run.
pub fn output(mut command: Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context("starting the load program")?;
    let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(
        matches!(output.status.code(), Some(0 | 1)) && line.starts_with('{'),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(line)
}

/// The number that a flat object of JSON has under `name`.
pub fn number(line: &str, name: &str) -> Result<f64> {
    let text = text(line, name)?;
    text.parse().with_context(|| format!("{name} is {text}, not a number"))
}

/// The same for a count.
pub fn whole(line: &str, name: &str) -> Result<u64> {
    let text = text(line, name)?;
    text.parse().with_context(|| format!("{name} is {text}, not a whole number"))
}

fn text<'a>(line: &'a str, name: &str) -> Result<&'a str> {
    let key = format!("\"{name}\":");
    let (_, rest) = line.split_once(&key).with_context(|| format!("no {name} in {line}"))?;
    let end = rest.find([',', '}']).with_context(|| format!("{name} has no end in {line}"))?;
    Ok(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let line = "{\"requests\":12,\"err_short\":1,\"p99_us\":3.5,\"digest\":99}";
        assert_eq!(whole(line, "requests").expect("present"), 12);
        assert_eq!(number(line, "p99_us").expect("present"), 3.5);
        assert_eq!(whole(line, "digest").expect("present"), 99);
        assert!(number(line, "short").is_err());
    }
}
