//! Small containers that the standard library lacks; no policy, no I/O.
//!
//! Thread: any, pure.
//! Not here: anything that knows what it holds.

pub mod bytes;
pub mod num;
pub mod random;
pub mod slab;
