//! What a worker knows of a key beside what is in the tree, for the operator who wonders.
//!
//! Thread: one worker.
//! Not here: what follows from it (`daemon::why`).

use std::fmt;

use crate::time::{Instant, UnixSeconds};

use super::Fetches;

/// One thing that a worker knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It is being fetched, and whoever asks may join.
    Fetching {
        /// The answer's status, once its head has come.
        status: Option<u16>,
        /// Bytes of its body that have come.
        bytes: u64,
    },
    /// A small answer other than 200 is kept in memory.
    Kept {
        /// Its status.
        status: u16,
        /// For how long it is fresh.
        ttl_seconds: u64,
    },
    /// Its answers are for the one who asks, as far as is known.
    Pass {
        /// For how long that is believed.
        seconds: u64,
    },
}

impl fmt::Display for Fact {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetching { status: None, .. } => write!(out, "fetching no answer yet"),
            Self::Fetching { status: Some(status), bytes } => {
                write!(out, "fetching status {status}, {bytes} bytes so far")
            }
            Self::Kept { status, ttl_seconds } => {
                write!(out, "kept status {status}, fresh for {ttl_seconds} seconds")
            }
            Self::Pass { seconds } => write!(out, "pass_seconds {seconds}"),
        }
    }
}

impl Fetches {
    /// What is known of `key`; what is kept or fetched is known by its owner alone.
    pub fn look(&mut self, key: &[u8], now: Instant, unix: UnixSeconds) -> Vec<Fact> {
        let mut facts = Vec::new();
        if let Some(id) = self.by_key.get(key)
            && let Some(fetch) = self.fetches.get(id)
        {
            let status = fetch.follow.answer().map(|answer| answer.record.status);
            facts.push(Fact::Fetching { status, bytes: fetch.follow.len() });
        }
        if let Some(kept) = self.kept.find(key).and_then(|id| self.kept.value(id))
            && kept.answer.record.freshness.is_fresh(unix)
        {
            let record = &kept.answer.record;
            let ttl_seconds = u64::try_from(record.freshness.ttl(unix)).unwrap_or(0);
            facts.push(Fact::Kept { status: record.status, ttl_seconds });
        }
        if let Some(until) = self.passes.get(key).filter(|until| now < **until) {
            facts.push(Fact::Pass { seconds: until.since(now).as_secs() });
        }
        facts
    }
}
