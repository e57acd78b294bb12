//! The daemon: every thread, every queue, and the wiring of cores to system calls.
//!
//! Thread: started by main, which becomes `control`.
//! Not here: protocol and policy, which are cores; this carries their decisions out.

pub mod admin;
pub mod control;
pub mod control_socket;
pub mod counters;
pub mod http;
pub mod logger;
pub mod names;
pub mod online;
pub mod origins;
pub mod placed;
pub mod purges;
pub mod settings;
pub mod start;
pub mod status;
pub mod store;
pub mod topology;
pub mod tree;
pub mod why;
