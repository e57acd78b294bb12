//! What the outside is shown and told of the daemon: the text of the metrics, the control socket's
//! protocol.
//!
//! Input: families and samples; bytes of a connection.   Output: text; commands.
//! Owns: the text being written; a line and an answer per connection.   Thread: any, pure.
//! Not here: counting (`daemon::counters`), sockets (`daemon::admin`, `daemon::control_socket`).

pub mod control;
pub mod metrics;
