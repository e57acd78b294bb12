//! Who is online, over real sockets: clients as they come, hostile ones, the workers' hits, and how
//! it ends.
//!
//! Not here: the index (`tests/online`), commands one by one (`online::session`).
#![expect(clippy::disallowed_methods, reason = "tests wait for a real daemon in real time")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod clients;
mod command_line;
mod feed;
#[path = "../serve/harness.rs"]
#[expect(dead_code, reason = "the other tests of the daemon need more of it")]
mod harness;
mod hostile;
mod life;
mod service;
