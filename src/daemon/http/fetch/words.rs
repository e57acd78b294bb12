//! What workers and the store tell each other about fetches.
//!
//! Thread: `http-N`, `store`.
//! Not here: what is done about it (`daemon::http::fetch`).

use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;

use crate::cache::freshness::status::{Fwd, Handled};
use crate::cache::freshness::{Policy, RequestControl};
use crate::cache::record::Record;
use crate::http::{Method, Status};
use crate::stdx::bytes::Bytes;
use crate::stdx::slab::Key;

use super::super::super::origins::OriginSettings;
use super::super::super::store::FromStore;
use super::super::follow::{End, Follow, Verdict};

/// What one worker asks the owner of a key.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The name under which the answer is stored.
    pub key: Box<[u8]>,
    /// Whom to ask. Not by number: workers hear of a reload one after the other.
    pub origin: Arc<OriginSettings>,
    /// The request as it is sent, but for conditions.
    pub request: Vec<u8>,
    /// What it changes, where it is none that only reads.
    pub change: Option<Change>,
    /// What is stored, whose validators are sent along.
    pub stored: Option<Arc<Record>>,
    /// The rules for the path.
    pub policy: Policy,
    /// The client's directives.
    pub control: RequestControl,
    /// Of the key's own file, for another variant beside it.
    pub generation: Option<u64>,
    /// Nobody else may join.
    pub is_alone: bool,
    /// Whether the answer may be stored, if it allows that.
    pub may_store: bool,
    /// Why the origin is asked.
    pub fwd: Fwd,
    /// The authority that the client asked for, for redirects.
    pub public: Box<str>,
}

/// A request that changes what its origin has.
#[derive(Clone, Debug)]
pub struct Change {
    /// By which method.
    pub method: Method,
    /// The directory of the host that it is for.
    pub directory: Box<str>,
    /// Path and query that it is for, as they are sent.
    pub target: Box<str>,
}

/// What workers and the store tell each other about fetches.
#[derive(Debug)]
#[expect(missing_docs, reason = "each variant's text says what its fields are")]
pub enum Word {
    /// To the owner of a key: a follower wants it.
    Ask { from: usize, follow: Key, ask: Box<Ask> },
    /// To the owner: nobody there follows any more.
    Leave { from: usize, follow: Key },
    /// To the owner: that follower has enough in memory, or has room again.
    Full { from: usize, follow: Key, is_full: bool },
    /// To a follower: how it turned out. `is_yours`: its own request was sent.
    Verdict { follow: Key, verdict: Verdict, is_yours: bool },
    /// To a follower: the body up to there is in the file only.
    Begin { follow: Key, base: u64 },
    /// To a follower: more of the body.
    Pieces { follow: Key, pieces: Vec<Bytes>, end: Option<End> },
    /// To a follower: so much of the body is in the file.
    Written { follow: Key, bytes: u64, file: Option<Arc<File>> },
    /// To a follower: no new request may join; it goes on.
    Unlist { follow: Key },
    /// To a follower: it is over, and what is stored changed.
    Shut { follow: Key },
    /// Of the store.
    Store(FromStore),
}

/// What a connection that waited for a fetch does next.
#[derive(Clone)]
pub enum Next {
    /// Follows it.
    Join(Rc<Follow>),
    /// Asks the origin for itself.
    Alone,
    /// Serves what is stored, whatever its age. With how the request was handled.
    Stored(Handled),
    /// Looks again.
    Again,
    /// Is refused.
    Refused(Status),
    /// Is sent more of what it follows.
    More,
}
