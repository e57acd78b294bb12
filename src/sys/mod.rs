//! Every system call, and every `unsafe` block of the program.
//!
//! Thread: each file says which.
//! Not here: decisions. What is in here does one thing when told to, and hands errors up.

pub mod affinity;
pub mod authorities;
pub mod buffers;
pub mod clock;
pub mod disk;
pub mod event;
pub mod hot;
mod lent;
pub mod local;
pub mod mapping;
pub mod outgoing;
pub mod peer;
pub mod prefetch;
pub mod probe;
pub mod process;
pub mod sandbox;
pub mod signals;
pub mod socket;
pub mod tree;
pub mod uring;
pub mod user;
