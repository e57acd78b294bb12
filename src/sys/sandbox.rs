//! What of the file system the daemon can still reach once it serves (Landlock).
//!
//! Thread: main, before any other starts; they inherit it.
//! Not here: confining names to the root (`sys::uring::Ring::open`), which holds on every kernel.
//! Source: landlock(7); Linux 5.13, if built and enabled.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus,
};

/// How far the kernel went along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Everything else is out of reach.
    Full,
    /// The kernel enforces a part of it.
    Partial,
    /// The kernel has no Landlock, or it is off.
    None,
}

/// From here on, only what lies below `readable` can be read, and written only what lies below
/// `writable`.
///
/// # Errors
/// A path that cannot be opened, or a kernel that refuses the rules.
pub fn confine(
    readable: &[&Path],
    writable: &[&Path],
) -> Result<Confinement, Box<dyn std::error::Error>> {
    let abi = ABI::V3;
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(abi))?.create()?;
    for path in readable {
        let beneath = PathBeneath::new(PathFd::new(path)?, AccessFs::from_read(abi));
        rules = rules.add_rule(beneath)?;
    }
    for path in writable {
        let beneath = PathBeneath::new(PathFd::new(path)?, AccessFs::from_all(abi));
        rules = rules.add_rule(beneath)?;
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Confinement::Full,
        RulesetStatus::PartiallyEnforced => Confinement::Partial,
        RulesetStatus::NotEnforced => Confinement::None,
    })
}
