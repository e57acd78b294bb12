//! peerage: two or more cheap identical boxes as one highly available image-serving cluster.
//!
//! The map; read this first. Three layers, one direction: **cores** decide and are pure, **sys**
//! talks to the kernel, **daemon** owns threads and queues and wires the two. `tests/tidy.rs` holds
//! the table of who may name whom.
//!
//! ```text
//!            signals, admin listener, control socket
//!                        |
//!                  +-----v-----+    reload, drain      +--------------------------------+
//!                  |  control  |---------------------->|  http-0 .. http-N-1            |
//!                  |  (main)   |<----------------------|  one per core, each with its   |
//!                  +-----------+   ready, drained      |  own ring, listeners,          |
//!                                                      |  connections, open files       |
//!                  +-----------+   changed, flush      |                                |
//!   inotify ------>|   tree    |---------------------->|  sleeps only in its ring       |
//!   reclaim ------>|           |    reclaim epoch      +--^---------^--------^----|-----+
//!                  +-----+-----+                          |         |        |    |
//!                        | what others changed    bodies, |         |        |    | bodies: map,
//!                  +-----v-----+       names used, purges |     answers   requests  pages, or
//!                  |   store   |<-------------------------+         |        |      what comes
//!                  |           |----- stored, removed ----->     origins  clients <-+
//!                  +-----------+  temporary files, eviction                 |
//!                  +-----------+                                            |
//!   who asks, ---->|  online   |<------------------ hits, in batches -------+
//!   who tells      |           |  where configured: who is on which url
//!                  +-----------+
//! ```
//!
//! | module | layer | what lives there |
//! | --- | --- | --- |
//! | `http` | core | one connection, and one to an origin: requests, conditions, ranges, heads |
//! | `cache` | core | file names, the table of open files, residency, freshness, the way out |
//! | `tls` | core | the client's side of one TLS connection, to an origin |
//! | `online` | core | who is on which url: rows in three orders, and commands as Redis has them |
//! | `admin` | core | the text of the metrics, the control socket's protocol |
//! | `config` | beside | the file, its checks, its defaults; no core ever sees it |
//! | `sys` | sys | every system call, every `unsafe` |
//! | `daemon` | daemon | every thread and queue (`daemon::topology`), the workers, the life cycle |
//! | `cli` | beside | one file per subcommand |
//! | `limits`, `time`, `stdx` | below | every bound; plain numbers for time; small containers |
//!
//! A GET that hits, read through the code: `daemon::http::serve` takes a batch of completions ->
//! `Shared::read` lets `http::Conn` parse in place -> `Shared::answer` finds the file in
//! `cache::table` -> `cache::way_out` picks how the body leaves -> `http::head` appends the
//! prepared head -> `sys::uring::Ring::send`, submitted with the next wait.
//!
//! A GET that misses: `daemon::http::cached` finds nothing fresh -> a `Word::Ask` to the owner of
//! the key -> `daemon::http::fetch` has one fetch for it, on `daemon::http::origin` ->
//! `cache::flight` says what the answer is -> its bytes go to every follower
//! (`daemon::http::follow`), on any worker, and to `daemon::store`, which puts the file in place.
//!
//! A POST, where its host takes it: `Shared::read` keeps its body -> `daemon::http::changes` ->
//! `daemon::http::fetch` asks the origin for it alone -> `fetch::invalidate` holds the answer's
//! head while `daemon::purges` removes what it made invalid -> its bytes go to the client.
//!
//! Who is online: `Shared::answer` -> `daemon::http::feed` makes a hit of a request -> a batch to
//! `daemon::online`, which owns `online::service::Service`; clients' bytes go through
//! `online::session` -> `online::command` -> the index -> `online::resp`, and replies of a turn
//! leave in one send.
//!
//! Not here: anything that runs.
#![deny(unsafe_code)]

pub mod admin;
pub mod cache;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod http;
pub mod limits;
pub mod online;
pub mod stdx;
pub mod sys;
pub mod time;
pub mod tls;
