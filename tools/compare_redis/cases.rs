//! The table of cases: what is asked, over how many connections, and what has to hold.
//!
//! Input: the names given to `--cases`.   Output: the selected rows of the table.
//! Owns: nothing.   Thread: any, pure.
//! Source: floors and aims are those of the project's table of figures to reach, who is online:
//! over a socket, pipelined, against Redis in the same run.

use anyhow::{Result, ensure};

/// What is asked again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// A hit of a uniformly chosen user on a Zipf-chosen url.
    Hit,
    /// The newest users of a Zipf-chosen url.
    Newest,
    /// How many users there are.
    Count,
}

/// What has to hold, peerage against Redis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Floor {
    /// At least so many times the rate, and the aim. Where the client is the limit: at most one
    /// over this of the CPU time.
    Rate(f64, f64),
    /// At most this share of the CPU time.
    Cpu(f64),
    /// Only reported.
    Nothing,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// Name in `--cases` and in the result.
    pub name: &'static str,
    /// What is asked.
    pub question: Question,
    /// Connections with one request in flight each; `None`: those of the options, pipelined.
    pub unpipelined: Option<usize>,
    /// What has to hold.
    pub floor: Floor,
}

/// All cases.
pub const CASES: [Case; 4] = [
    Case { name: "hits", question: Question::Hit, unpipelined: None, floor: Floor::Rate(4.0, 6.0) },
    Case { name: "single", question: Question::Hit, unpipelined: Some(50), floor: Floor::Nothing },
    Case {
        name: "newest",
        question: Question::Newest,
        unpipelined: None,
        floor: Floor::Rate(2.5, 4.0),
    },
    Case { name: "count", question: Question::Count, unpipelined: None, floor: Floor::Cpu(0.5) },
];

/// Users that a newest question asks for.
pub const NEWEST_MAX: usize = 30;

/// Selects by name, in the table's order; an empty list selects all.
pub fn select(names: &[String]) -> Result<Vec<Case>> {
    let all: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    for name in names {
        ensure!(
            all.contains(&name.as_str()),
            "--cases {name}: unknown; known are {}",
            all.join(",")
        );
    }
    let wanted = |case: &Case| names.is_empty() || names.iter().any(|name| name == case.name);
    Ok(CASES.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_keeps_the_order_and_refuses_unknown_names() {
        assert_eq!(select(&[]).expect("no name is unknown").len(), CASES.len());
        let two = select(&["count".to_owned(), "hits".to_owned()]).expect("both are known");
        assert_eq!(two.iter().map(|case| case.name).collect::<Vec<_>>(), ["hits", "count"]);
        assert!(select(&["oldest".to_owned()]).is_err());
    }
}
