//! Which cores this process may use, and keeping a thread on one.
//!
//! Thread: any.
//! Not here: who runs where (`daemon::topology`).

use core_affinity::CoreId;

/// The cores that this process may run on: the scheduler's mask, so a container's or cgroup's share
/// and not the machine's count. Empty where the kernel does not say.
#[must_use]
pub fn available() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Keeps the calling thread on `core`. Returns whether the kernel agreed.
#[must_use]
pub fn pin(core: usize) -> bool {
    core_affinity::set_for_current(CoreId { id: core })
}
