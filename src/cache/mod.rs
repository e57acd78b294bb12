//! The cache tree's policies: which file a key names, how long an answer may be used, what is
//! stored, what stays open, how bytes leave the box.
//!
//! Input: keys, sizes, marks.   Output: names, entries, decisions; who acts on them is `daemon`.
//! Owns: a bounded table of whatever the caller keeps per open file; the store's inventory.
//! Thread: any, pure, but for the store: it is told its disk.
//! Invariants: two keys never share a file name; the table never exceeds its capacity.
//! Not here: opening and mapping (`sys`), HTTP (`http`), watching the tree (`daemon::tree`).

pub mod disk;
pub mod flight;
pub mod freshness;
pub mod inventory;
pub mod key;
pub mod name;
pub mod pattern;
pub mod purge;
pub mod record;
pub mod residency;
pub mod store;
pub mod table;
pub mod tags;
pub mod way_out;
