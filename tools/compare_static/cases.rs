//! The table of cases: what is requested how, and which ratio has to hold.
//!
//! Input: the names given to `--cases`.   Output: the selected rows of the table.
//! Owns: nothing.   Thread: any, pure.
//! Source: floors and aims are those of the project's table of figures to reach, static files: CPU
//! per request against nginx in the same run, with both kinds of client.

use anyhow::{Result, ensure};

/// What a case requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One file again and again.
    File(&'static str),
    /// Uniformly over all files of the mixed tree.
    Mix,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// Name in `--cases` and in the result.
    pub name: &'static str,
    /// What is requested.
    pub target: Target,
    /// Connections of the load program.
    pub connections: usize,
    /// Further options of the load program.
    pub flags: &'static [&'static str],
    /// Ratio of CPU per request that must hold.
    pub floor: f64,
    /// Ratio where the best engineer in the field would stop.
    pub aim: f64,
    /// Measured in the open loop too.
    pub open_loop: bool,
}

/// All cases.
pub const CASES: [Case; 8] = [
    keep_alive("1k", Target::File("/1k.bin"), 0.50, 0.38),
    keep_alive("10k", Target::File("/10k.bin"), 0.70, 0.50),
    keep_alive("100k", Target::File("/100k.bin"), 0.90, 0.70),
    keep_alive("1m", Target::File("/1m.bin"), 1.05, 0.85),
    keep_alive("mix", Target::Mix, 0.75, 0.57),
    Case {
        connections: 32,
        flags: &["--close"],
        open_loop: false,
        ..keep_alive("close-10k", Target::File("/10k.bin"), 0.95, 0.80)
    },
    Case {
        connections: 16,
        flags: &["--pipeline", "16"],
        open_loop: false,
        ..keep_alive("pipe16-10k", Target::File("/10k.bin"), 0.40, 0.27)
    },
    Case { connections: 1000, ..keep_alive("mix-1000conn", Target::Mix, 0.80, 0.65) },
];

const fn keep_alive(name: &'static str, target: Target, floor: f64, aim: f64) -> Case {
    Case { name, target, connections: 64, flags: &[], floor, aim, open_loop: true }
}

/// The share of a core at a fixed rate of 10 KiB images: not a ratio, so not in the table.
pub const STEADY: Case = keep_alive(STEADY_NAME, Target::File("/10k.bin"), 0.70, 0.50);
/// Its name in `--cases`.
pub const STEADY_NAME: &str = "120mb";
/// 12,000 images of 10 KiB a second are 123 MB/s of bodies: a full 1 Gbit/s link.
pub const STEADY_RATE: u64 = 12_000;

/// The cases to run, in the table's order.
#[derive(Debug)]
pub struct Selection {
    /// Rows of the table.
    pub cases: Vec<Case>,
    /// Also the fixed rate.
    pub steady: bool,
}

/// Selects by name; an empty list selects all.
pub fn select(names: &[String]) -> Result<Selection> {
    let all: Vec<&str> = CASES.iter().map(|case| case.name).chain([STEADY_NAME]).collect();
    for name in names {
        ensure!(
            all.contains(&name.as_str()),
            "--cases {name}: unknown; known are {}",
            all.join(",")
        );
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|other| other == name);
    let cases = CASES.iter().copied().filter(|case| wanted(case.name)).collect();
    Ok(Selection { cases, steady: wanted(STEADY_NAME) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_keeps_the_order_and_refuses_unknown_names() {
        let all = select(&[]).expect("no name is unknown");
        assert_eq!(all.cases.len(), CASES.len());
        assert!(all.steady);
        let two = select(&["mix".to_owned(), "1k".to_owned()]).expect("both are known");
        let names: Vec<&str> = two.cases.iter().map(|case| case.name).collect();
        assert_eq!((names, two.steady), (vec!["1k", "mix"], false));
        assert!(select(&["2k".to_owned()]).is_err());
    }

    #[test]
    fn every_aim_is_below_its_floor() {
        assert!(CASES.iter().all(|case| case.aim < case.floor));
    }
}
