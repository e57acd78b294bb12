//! The cases, and the ratios that have to hold.
//!
//! Input: the names given to `--cases`.   Output: what to run.
//! Owns: nothing.   Thread: any, pure.
//! Source: the floors are those that the project set itself for its cache: a miss at most 0.8 of
//! nginx's CPU time and its first byte no later, the crowd at most 1.2 of a warm download, a hit as
//! in part 1 (`compare_static`, 10 KiB keep-alive, against nginx serving files).

use anyhow::{Result, ensure};

/// Which cases run. Each begins with a cold cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Each object once, closed loop.
    pub miss: bool,
    /// The same objects again; needs the misses before it.
    pub hit: bool,
    /// Each object once, open loop.
    pub open: bool,
    /// 1,000 clients and one object.
    pub crowd: bool,
}

/// Selects by name; an empty list selects all.
pub fn select(names: &[String]) -> Result<Selection> {
    for name in names {
        ensure!(
            NAMES.contains(&name.as_str()),
            "--cases {name}: unknown; known are {}",
            NAMES.join(",")
        );
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|other| other == name);
    let hit = wanted("hit");
    let open = wanted("open");
    // The misses of the closed loop warm the hits, and give the rate of the open loop.
    let miss = wanted("miss") || hit || open;
    Ok(Selection { miss, hit, open, crowd: wanted("crowd") })
}

const NAMES: [&str; 4] = ["miss", "hit", "open", "crowd"];

/// CPU per miss against nginx's.
pub const MISS_FLOOR: f64 = 0.80;
/// Time to the first byte of a miss, p50, against nginx's.
pub const FIRST_BYTE_FLOOR: f64 = 1.0;
/// CPU per hit of 10 KiB against nginx serving the same as a file.
pub const HIT_FLOOR: f64 = 0.70;
/// Time until the last of the crowd is done, cold against warm.
pub const CROWD_FLOOR: f64 = 1.20;
/// Requests to the origin for a crowd.
pub const CROWD_FETCHES: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_and_the_open_loop_need_the_misses() {
        let all = Selection { miss: true, hit: true, open: true, crowd: true };
        assert_eq!(select(&[]).expect("no name is unknown"), all);
        for name in ["hit", "open"] {
            let selected = select(&[name.to_owned()]).expect("known");
            assert!(selected.miss && !selected.crowd, "{name}");
        }
        let crowd = Selection { miss: false, hit: false, open: false, crowd: true };
        assert_eq!(select(&["crowd".to_owned()]).expect("known"), crowd);
        assert!(select(&["crows".to_owned()]).is_err());
    }
}
