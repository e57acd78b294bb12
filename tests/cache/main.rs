//! The daemon as a pull-through cache: between clients and a scripted origin, over real sockets.
//!
//! Not here: RFC 9111 case by case (`tests/paper_rfc9111.rs`), hostile answers byte by byte
//! (`tests/origin_corpus.rs`), hosts without an origin (`tests/serve`).
#![expect(clippy::disallowed_methods, reason = "tests wait for a real daemon in real time")]
#![expect(clippy::disallowed_types, reason = "an origin's threads share what they have counted")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod base;
mod bounds;
mod client;
mod conditions;
mod crash;
mod crowds;
mod damage;
mod disks;
mod faults;
mod freshness;
#[path = "../serve/harness.rs"]
#[expect(dead_code, reason = "the daemon of tests/serve is started without an origin")]
mod harness;
mod keys;
mod methods;
mod mount;
mod origin;
mod origins;
mod peer;
mod purge;
mod reload;
mod stale;
mod storage;
mod tls;
mod vary;
mod waiters;
mod why;
