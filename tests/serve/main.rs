//! The daemon over real sockets on loopback: what it serves, what it survives, how it ends.
//!
//! Not here: hostile requests (`tests/corpus`), the cores (beside their code).
#![expect(clippy::disallowed_methods, reason = "tests wait for a real daemon in real time")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod basics;
mod bodies;
mod calls;
mod change;
mod cold;
mod control;
mod corpus;
mod entry;
mod harness;
mod life;
mod limits;
mod settings;
