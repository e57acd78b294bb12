//! What the outside is shown of the daemon: the text of the metrics.
//!
//! Input: families and samples.   Output: text.   Owns: the text being written.
//! Thread: any, pure.
//! Not here: counting (`daemon::counters`), the admin listener (`daemon::control`).

pub mod metrics;
