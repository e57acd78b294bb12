//! The values about origins: who they are, how they are asked, and how long answers are used.
//!
//! Input: filled by `parse`, or in code.   Output: fields the daemon maps to each core's options.
//! Owns: values, bounded as in `keys.rs`.  Thread: any, pure.
//! Invariants: the defaults are those of the keys; only `Origin::addresses` and
//! `FreshnessRule::path` have none.
//! Not here: where the answers are kept (`schema::Cache`), what is stored at all (`cache`).

use std::path::PathBuf;
use std::time::Duration;

/// `[host.origin]`: where a host's files come from that the tree does not have. All of it live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where to connect, tried in the order of their load: "NAME:PORT", "IP:PORT" or "[IPv6]:PORT",
    /// in lower case. Names are looked up at the start and on SIGHUP. Required; 1 to 16 different
    /// ones, ports 1 to 65535; empty in `Origin::default()`.
    pub addresses: Vec<String>,
    /// How it is spoken to. Default http; http or https.
    pub scheme: Scheme,
    /// Host that the requests ask for; "" = the host's own name. Default ""; a host name, perhaps
    /// with a port.
    pub host_header: String,
    /// PEM file of the authorities that are trusted, in place of the system's; empty = those.
    /// Default ""; only with https. `load` makes it absolute, relative to the file's own directory.
    pub ca_file: PathBuf,
    /// Name that the certificate has to be for; "" = the host of `host_header`. Default ""; a host
    /// name; only with https.
    pub tls_name: String,
    /// How long making a connection may take, TLS included. Default 3 s; 10 ms to 1 min.
    pub connect_timeout: Duration,
    /// How long the first byte of an answer may take, and its whole head from there. Default 30 s;
    /// 10 ms to 1 h.
    pub first_byte_timeout: Duration,
    /// How long an answer may pause in its middle. Default 15 s; 10 ms to 1 h.
    pub between_bytes_timeout: Duration,
    /// Connections of each worker to each address; beyond, requests wait. Default 64; 1 to 1024
    /// (each takes a descriptor here and a place at the origin).
    pub connections_max: usize,
    /// How many of them are kept idle; more than `connections_max` is all of them. Default 64; 0
    /// (none) to 1024.
    pub idle_max: usize,
    /// How long one is kept idle; shorter than the origin's own time, or requests meet its close.
    /// Default 30 s; 100 ms to 1 h.
    pub idle_timeout: Duration,
    /// Requests after which a connection is closed. Default 10_000; 1 to 1_000_000_000.
    pub requests_per_connection: u32,
    /// How long a request waits for a free connection before it is refused. Default 10 s; 10 ms to
    /// 1 min.
    pub wait_timeout: Duration,
    /// Requests of each worker that wait; beyond, they are refused at once. Default 1024; 0 (none
    /// waits) to 4096.
    pub waiters_max: usize,
    /// Failures in a row after which an address is left alone for a time. Default 3; 1 to 100.
    pub failures_max: u32,
    /// For how long at first; it doubles with each probe that fails. Default 1 s; 100 ms to 1 h, at
    /// most `down_max`.
    pub down_min: Duration,
    /// For how long at most. Default 30 s; 100 ms to 1 h.
    pub down_max: Duration,
}

/// How an origin is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scheme {
    /// HTTP over TCP, in the clear.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
}

/// How long an origin's answers are used, for the paths that match; of several rules the first
/// decides, and all of it: nothing is taken from a later one. Durations are whole seconds. All of
/// it live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreshnessRule {
    /// Pattern, as of [`super::CacheRule::path`]. Required; empty in `FreshnessRule::default()`.
    pub path: String,
    /// Lifetime of an answer below 400 that states none, in place of the heuristic. Default `None`:
    /// the heuristic (RFC 9111 4.2.2); 0 s to 365 d.
    pub default: Option<Duration>,
    /// Shortest lifetime of an answer below 400. Default 0 s; 0 s to 365 d, at most `max`.
    pub min: Duration,
    /// Longest lifetime of any answer. Default 365 d; 0 s to 365 d.
    pub max: Duration,
    /// Lifetime of a 404, 405, 410, 414 or 501 that states none. Default 10 s (it absorbs a crowd,
    /// and is not noticed after an upload); 0 s to 365 d.
    pub negative: Duration,
    /// Longest use of a stale answer while it is revalidated, whatever the answer allows. Default
    /// 1 d; 0 s (none) to 365 d.
    pub stale_while_revalidate_max: Duration,
    /// Use of a stale answer while the origin fails, where neither the answer nor the client says.
    /// Default 0 s; 0 s (none) to 365 d, at most `stale_max`.
    pub stale_if_error: Duration,
    /// Longest use of a stale answer while the origin fails, whoever allows it. Default 1 d; 0 s
    /// (none) to 365 d.
    pub stale_max: Duration,
    /// Whether the query is neither part of the key nor sent to the origin, but for methods that
    /// change something. Default false.
    pub ignore_query: bool,
    /// Whether Cookie is not sent to the origin, and Set-Cookie neither stored nor sent: the
    /// operator knows the path to be public. Not so for methods that change something. Else an
    /// answer that sets a cookie is not stored. Default false.
    pub strip_cookies: bool,
    /// Which of a client's directives count. Default sparing; ignored, sparing or all.
    pub client: ClientRules,
}

/// Which of a client's Cache-Control directives count; RFC 9111 5.2.1 calls them advisory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientRules {
    /// None.
    Ignored,
    /// Those that spare the origin: max-stale, stale-if-error, only-if-cached. Not no-cache,
    /// max-age, min-fresh, no-store and Pragma, with which any stranger could send each of his
    /// requests through to the origin.
    #[default]
    Sparing,
    /// All.
    All,
}

impl Default for Origin {
    fn default() -> Origin {
        Origin {
            addresses: Vec::new(),
            scheme: Scheme::Http,
            host_header: String::new(),
            ca_file: PathBuf::new(),
            tls_name: String::new(),
            connect_timeout: Duration::from_secs(3),
            first_byte_timeout: Duration::from_secs(30),
            between_bytes_timeout: Duration::from_secs(15),
            connections_max: 64,
            idle_max: 64,
            idle_timeout: Duration::from_secs(30),
            requests_per_connection: 10_000,
            wait_timeout: Duration::from_secs(10),
            waiters_max: 1024,
            failures_max: 3,
            down_min: Duration::from_secs(1),
            down_max: Duration::from_secs(30),
        }
    }
}

impl Default for FreshnessRule {
    fn default() -> FreshnessRule {
        let day = Duration::from_secs(86_400);
        FreshnessRule {
            path: String::new(),
            default: None,
            min: Duration::ZERO,
            max: 365 * day,
            negative: Duration::from_secs(10),
            stale_while_revalidate_max: day,
            stale_if_error: Duration::ZERO,
            stale_max: day,
            ignore_query: false,
            strip_cookies: false,
            client: ClientRules::Sparing,
        }
    }
}
