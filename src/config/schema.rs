//! The configuration as plain values: one struct per section, one documented field per key.
//!
//! Input: filled by `parse`, or in code.   Output: fields the daemon maps to each core's options.
//! Owns: values, bounded as in `keys.rs`.  Thread: any, pure.
//! Invariants: `Config::default()` holds every key's default; only `tree.root` has none. "live"
//! keys follow a SIGHUP, "restart" keys are read once.
//! Not here: origins and their answers (`origin.rs`), how a key is written (`kinds.rs`), its range
//! as checked (`keys.rs`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::errors::Places;
use super::mime;
use super::origin::{FreshnessRule, Origin};
use super::units::{GIB, KIB, MIB};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Config {
    /// `[server]`: listeners, workers, identity.
    pub server: Server,
    /// `[tree]`: the files that are served.
    pub tree: Tree,
    /// `[[host]]`: the hosts that are known by name, in the order of the file; at most 10000. Live.
    pub hosts: Vec<Host>,
    /// `[[cache_control]]`: rules for all hosts, tried after the host's own; at most 256. Live.
    pub cache_control: Vec<CacheRule>,
    /// `[[freshness]]`: rules for the origins' answers of all hosts, tried after the host's own; at
    /// most 256. Live.
    pub freshness: Vec<FreshnessRule>,
    /// `[cache]`: where the origins' answers are kept.
    pub cache: Cache,
    /// `[limits]`: what one client may use.
    pub limits: Limits,
    /// `[mime]`: content types.
    pub mime: Mime,
    /// `[admin]`: the listener for metrics and health, and PURGE.
    pub admin: Admin,
    /// `[control]`: the socket of `peerage purge` and `peerage status`.
    pub control: Control,
    /// `[online]`: who is online.
    pub online: Online,
    /// `[log]`: the daemon's own messages.
    pub log: Log,
    /// Where each given key stands, for messages only; takes no part in equality.
    pub places: Places,
}

/// `[server]`: listeners, workers, identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Addresses to serve HTTP on. In the file "ADDR:PORT", IPv6 in brackets; "*:PORT" is read as
    /// both `[::]` and 0.0.0.0, so a socket on `[::]` must be IPv6 only. Port 0 lets the kernel
    /// choose. Default 127.0.0.1:8080; 1 to 64 different addresses; restart.
    pub listen: Vec<SocketAddr>,
    /// Worker threads; 0 = one per entry of `cores`, or per available core. Default 0; 0 to 256,
    /// more than the cores of any box this is meant for; restart.
    pub workers: usize,
    /// Core numbers to pin the workers to, in their order; empty = any core the process may use.
    /// Default empty; at most 256 different numbers, each 0 to 1023 (the kernel's cpu_set_t), and
    /// at least `workers` of them if any; restart.
    pub cores: Vec<usize>,
    /// User to become after binding; "" = stay. Default ""; a name in /etc/passwd; restart.
    pub user: String,
    /// Group to become after binding; "" = the user's own. Only together with `user`. Default "";
    /// a name in /etc/group; restart.
    pub group: String,
    /// Time that responses in flight get after SIGTERM. Default 10 s; 0 s (cut at once) to 1 h;
    /// live.
    pub grace: Duration,
    /// Value of the Server header; "" = no such header. Default "peerage"; visible ASCII, at most
    /// 64 bytes; live.
    pub server_name: String,
}

/// `[tree]`: the files that are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Directory with one directory per host. No default: required in a file; empty in
    /// `Config::default()`. `load` makes it absolute, relative to the file's own directory;
    /// restart.
    pub root: PathBuf,
    /// Directory of the root for a Host that is not known; "" = refuse it with 421. Default "";
    /// a host name; live.
    pub default_host: String,
    /// Whether each directory of the root is a host, listed in `[[host]]` or not. Default false;
    /// live.
    pub any_host: bool,
    /// Whether names that begin with a dot are served. Default false; live.
    pub dot_files: bool,
    /// File that answers for a directory; "" = none. Default ""; a plain file name, not beginning
    /// with a dot, at most 255 bytes; live.
    pub index: String,
    /// Whether symbolic links are followed, within the root only in any case. Default true; live.
    pub follow_symlinks: bool,
    /// Whether inotify watches the files that are open. Default true; restart.
    pub watch: bool,
    /// Age up to which an open file that is not watched is served unchecked. Default 1 s; 100 ms
    /// (a check is a system call) to 1 h; live.
    pub recheck: Duration,
    /// The same for a watched file, in case the kernel lost an event. Default 10 s; 100 ms to 1 d;
    /// live.
    pub recheck_watched: Duration,
    /// Files that each worker keeps open and mapped; 0 = computed from vm.max_map_count and the
    /// descriptor limit. Default 0; 0 or 64 to 16_777_216 (below 64 a page's pictures evict each
    /// other); restart.
    pub open_files_max: usize,
    /// Bytes of small hot bodies that each worker copies together; 0 = off. Default 256 MiB; at
    /// most 64 GiB, and for all workers together an eighth of the machine's memory; restart.
    pub hot_bytes_max: usize,
    /// Whether a compressed sibling such as `x.gz` is served for `x` to who accepts it. Default
    /// true; live.
    pub precompressed: bool,
}

/// `[[host]]`: one host known by name. All of it live.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Host {
    /// Name without port, and its directory below the root. Required; lower case, or an IP
    /// literal (IPv6 in brackets); different from all other names and aliases.
    pub name: String,
    /// Other names of the same host. Default empty; at most 100, each like `name`.
    pub aliases: Vec<String>,
    /// Methods it answers. POST, PUT, PATCH and DELETE go to the origin, and what is stored of what
    /// they change goes; only a host with an origin takes them. Default GET, HEAD and OPTIONS.
    pub methods: Methods,
    /// File that answers for a directory, in place of `tree.index`; "" = none. Default `None`:
    /// `tree.index` holds.
    pub index: Option<String>,
    /// `[host.origin]`: where its files come from. Default `None`: from the tree only.
    pub origin: Option<Origin>,
    /// `[[host.cache_control]]`: rules tried before the general ones. Default none; at most 256.
    pub cache_control: Vec<CacheRule>,
    /// `[[host.freshness]]`: rules for its origin's answers, tried before the general ones. Default
    /// none; at most 256.
    pub freshness: Vec<FreshnessRule>,
}

/// The methods a host answers; GET always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// Whether HEAD is answered.
    pub head: bool,
    /// Whether OPTIONS is answered.
    pub options: bool,
    /// Whether POST goes to the origin; only a host with an origin may say so, as below.
    pub post: bool,
    /// Whether PUT goes to the origin.
    pub put: bool,
    /// Whether PATCH goes to the origin.
    pub patch: bool,
    /// Whether DELETE goes to the origin.
    pub delete: bool,
}

impl Methods {
    /// GET and nothing else.
    pub const GET: Methods = Methods {
        head: false,
        options: false,
        post: false,
        put: false,
        patch: false,
        delete: false,
    };

    /// The names of those that are answered, in the order in which they are written.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let given = [
            (true, "GET"),
            (self.head, "HEAD"),
            (self.options, "OPTIONS"),
            (self.post, "POST"),
            (self.put, "PUT"),
            (self.patch, "PATCH"),
            (self.delete, "DELETE"),
        ];
        given.into_iter().filter(|(on, _)| *on).map(|(_, name)| name)
    }

    /// The names of those that change what an origin has.
    pub fn changes(&self) -> impl Iterator<Item = &'static str> + use<> {
        let reads = Methods { head: true, options: true, ..Methods::GET };
        self.names().filter(move |name| reads.names().all(|read| read != *name))
    }
}

/// A Cache-Control header for the paths that match; of several rules the first decides.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CacheRule {
    /// Pattern: `*` any run without '/', `**` any run, `?` one character but '/'. Matched against
    /// the path with its leading '/'; a pattern without '/' against the last part only. Required;
    /// 1 to 256 bytes; one with '/' begins with '/' or `**`; live.
    pub path: String,
    /// Value of the header. Required; visible ASCII, 1 to 256 bytes; live.
    pub value: String,
}

/// `[cache]`: what is kept of the origins' answers. All of it live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Bytes of all stored answers; 0 = no bound but `free_bytes_min`. Default 0; at most
    /// 1024 TiB; live.
    pub bytes_max: u64,
    /// Bytes of the file system that are left free. Default 1 GiB; 0 to 1024 TiB; live.
    pub free_bytes_min: u64,
    /// Bytes of one stored answer; a larger one is passed on, not stored. Default 1 GiB; 1 KiB
    /// (less would store little but heads) to 1 TiB; live.
    pub object_bytes_max: u64,
    /// What this box is called in Cache-Status and Via. Two boxes that are each other's origin must
    /// have different names: a box knows by its own name that a request went in a circle. Default
    /// "peerage"; a token (RFC 9110 5.6.2), 1 to 64 bytes; live.
    pub name: String,
}

/// `[limits]`: what one client may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head; more is answered 431. Default 16 KiB; 1 KiB to 64 KiB (it is a
    /// buffer of each connection that is reading); live.
    pub header_bytes_max: usize,
    /// Header fields of a request; more is answered 431. Default 64; 8 (what a plain browser
    /// sends) to 128; live.
    pub headers_max: usize,
    /// Bytes of a request's target; more is answered 414. Default 8 KiB; 64 B to 65535 B and below
    /// `header_bytes_max`; live.
    pub uri_bytes_max: usize,
    /// Bytes of a request's body; more is answered 413. It is kept until it is whole where it goes
    /// to an origin (POST, PUT, PATCH, DELETE), else read and thrown away. Default 1 MiB; 0 to
    /// 1 GiB; live.
    pub body_bytes_max: u64,
    /// Bytes of all bodies that each worker keeps for origins at once, where a length that is
    /// announced counts from the beginning; more is answered 503. At least `body_bytes_max` where
    /// a host has such a method. Default 64 MiB; 64 KiB (one body of a form) to 64 GiB; live.
    pub body_memory_bytes_max: u64,
    /// How long an idle connection is kept. Default 1 min; 1 s to 1 h; live.
    pub idle_timeout: Duration,
    /// From the first byte of a request to the end of its head. Default 10 s; 1 s to 10 min; live.
    pub header_timeout: Duration,
    /// For the whole body of a request. Default 30 s; 1 s to 1 h; live.
    pub body_timeout: Duration,
    /// How long a response may make no progress. Default 30 s; 1 s to 1 h; live.
    pub send_timeout: Duration,
    /// Bytes per second that a client must take of a response, averaged after
    /// [`super::SEND_RATE_AFTER`]; 0 = off. Default 1 KiB; 0 to 1 GiB; live.
    pub send_rate_min: u64,
    /// How long a closed connection drains what the client still sends, so that the last response
    /// is not lost to a reset. Default 2 s; 100 ms to 1 min; live.
    pub linger_timeout: Duration,
    /// Requests after which a connection is closed. Default 10_000; 1 to 1_000_000_000; live.
    pub requests_per_connection: u64,
    /// Connections of each worker; more wait in the listen queue. Default 10_000; 16 to 1_000_000
    /// (each takes one descriptor); restart.
    pub connections_per_worker: usize,
    /// Connections of one client address to each worker; 0 = no limit. Default 0; 0 to 1_000_000;
    /// live.
    pub connections_per_address: usize,
    /// Ranges of one request; more and the whole file is sent; 0 = ranges off. Default 16; 0 to
    /// 64; live.
    pub ranges_max: usize,
    /// Responses that are sent at once to a client that pipelines. Default 32; 1 to 32; live.
    pub pipeline_max: usize,
}

/// `[mime]`: content types. All of it live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mime {
    /// Content type of a file whose extension has none. Default application/octet-stream.
    pub default: String,
    /// Content types, without parameters, for which a precompressed sibling is looked for.
    /// Default: the text and vector formats; at most 256.
    pub compressible: Vec<String>,
    /// Content type by extension (lower case, without the dot). In the file
    /// `"image/png" = ["png"]`; what is given there is added to the defaults, and overrides them
    /// extension by extension; at most 1024 types with 64 extensions each.
    pub types: BTreeMap<String, String>,
}

/// `[admin]`: the listener for metrics and health, and PURGE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Address of the listener; in the file "ADDR:PORT", "" = off. Default 127.0.0.1:9180;
    /// restart.
    pub listen: Option<SocketAddr>,
    /// Secret that a PURGE request has to carry; "" = PURGE off. `print` shows it as it is. Default
    /// ""; 16 (fewer could be guessed) to 128 visible ASCII characters without blanks; live.
    pub purge_token: String,
}

/// `[control]`: the socket of `peerage purge` and `peerage status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Path of the Unix socket; empty = off. Default /run/peerage/control.sock; absolute, at most
    /// 107 bytes (sun_path of Linux less its NUL); restart.
    pub socket: PathBuf,
    /// Group that may purge, besides root and the daemon's user; "" = none. Default ""; a name in
    /// /etc/group; restart.
    pub group: String,
}

/// `[online]`: who is online: an index in memory of the users, the url each was on last, and when,
/// which is asked over the Redis protocol (RESP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Online {
    /// Whether there is such an index at all; false: nothing of this section takes effect. Default
    /// false; restart.
    pub enabled: bool,
    /// Addresses that answer questions and take hits, in the file as of [`Server::listen`]. Default
    /// 127.0.0.1:6399 (beside the 6379 of Redis); at most 16 different ones, none of them also in
    /// `listen_read_only`; restart.
    pub listen: Vec<SocketAddr>,
    /// Addresses that only answer questions: HIT and DEL are refused. Default empty; at most 16
    /// different ones; restart.
    pub listen_read_only: Vec<SocketAddr>,
    /// Path of a Unix socket for the same as `listen`; empty = none. Default ""; absolute, at most
    /// 107 bytes (sun_path of Linux less its NUL), not that of `control.socket`; restart.
    pub socket: PathBuf,
    /// Secret that a client has to say by AUTH or HELLO before it asks; "" = none. `print` shows it
    /// as it is. Default ""; 8 (fewer are found by trying) to 128 visible ASCII characters without
    /// blanks; restart.
    pub password: String,
    /// How long a user stays after the last hit. Default 30 min; 1 s to 7 d (times are kept in 32
    /// bits of milliseconds); restart.
    pub window: Duration,
    /// Users at once; beyond, the one seen longest ago goes. Default 1_000_000; 1 to 134_217_728
    /// (2^27, what rows are numbered with); restart.
    pub users_max: usize,
    /// Urls at once; beyond, one that nobody is on goes, else some of the users seen longest ago.
    /// Default 100_000; 1 to 16_777_215 (24 bits of a row); restart.
    pub urls_max: usize,
    /// Bytes of all urls, and of the names of users that have more than 16; beyond, as for
    /// `urls_max`. Default 64 MiB; 64 KiB (a few of the longest urls) to 64 GiB; restart.
    pub text_bytes_max: u64,
    /// Bytes of a user's name; a hit with a longer one is dropped and counted. Default 255; 1 to
    /// 255 (eight bits of a row); restart.
    pub user_bytes_max: usize,
    /// Bytes of a url; a hit with a longer one is dropped and counted. Default 2 KiB; 1 B to 2 KiB
    /// (browsers and proxies keep to it); restart.
    pub url_bytes_max: usize,
    /// Connections to the listeners and the socket together; more wait in the listen queue. Default
    /// 10_000; 16 to 1_000_000 (each takes one descriptor); restart.
    pub connections_max: usize,
    /// Bytes of requests begun and of replies not yet taken, of all connections together; beyond,
    /// who adds to it is disconnected. Default 256 MiB; 16 MiB (a long reply each for a few
    /// clients) to 64 GiB; restart.
    pub connection_bytes_max: u64,
    /// File that the index is written to at an orderly stop, and read from at the start; empty =
    /// none. Default ""; absolute, at most 4095 bytes (PATH_MAX of Linux less its NUL), outside of
    /// `tree.root`; restart.
    pub snapshot: PathBuf,
    /// Whom a request to this box's own workers counts for. Default nobody: such requests do not
    /// count; live.
    pub user: UserFrom,
    /// What such a request counts as being on. Default the path; live.
    pub url: UrlFrom,
    /// Patterns, as of [`CacheRule::path`], of the paths whose GET requests count. Default `**`,
    /// which is every path; 1 to 64 different ones; live.
    pub paths: Vec<String>,
}

/// Whom a request counts for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum UserFrom {
    /// Nobody; in the file "".
    #[default]
    Nobody,
    /// The value of the cookie of this name. A token (RFC 9110 5.6.2), 1 to 64 bytes.
    Cookie(String),
    /// The value of the header field of this name, compared without case. A token, 1 to 64 bytes.
    Header(String),
    /// The value of the query's parameter of this name, percent-decoded. 1 to 64 of the unreserved
    /// characters (RFC 3986 2.3), which have one spelling only.
    Query(String),
    /// The client's IP address.
    Address,
}

/// What a request counts as being on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum UrlFrom {
    /// Its host and path, without the query.
    #[default]
    Path,
    /// Host and path of its Referer, without the query.
    Referer,
    /// The value of the query's parameter of this name, percent-decoded, as given. The name is as
    /// of [`UserFrom::Query`].
    Query(String),
}

/// `[log]`: the daemon's own messages. All of it live.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Log {
    /// The least severe level that is written. Default info; error, warn, info or debug; live.
    pub level: Level,
}

/// Severity of a message, the most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Something is lost that was promised.
    Error,
    /// Something is off and handled.
    Warn,
    /// What an operator wants to know on a good day.
    #[default]
    Info,
    /// For who changes the code.
    Debug,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            workers: 0,
            cores: Vec::new(),
            user: String::new(),
            group: String::new(),
            grace: Duration::from_secs(10),
            server_name: "peerage".to_owned(),
        }
    }
}

impl Default for Tree {
    fn default() -> Tree {
        Tree {
            root: PathBuf::new(),
            default_host: String::new(),
            any_host: false,
            dot_files: false,
            index: String::new(),
            follow_symlinks: true,
            watch: true,
            recheck: Duration::from_secs(1),
            recheck_watched: Duration::from_secs(10),
            open_files_max: 0,
            hot_bytes_max: 256 << 20,
            precompressed: true,
        }
    }
}

impl Default for Methods {
    fn default() -> Methods {
        Methods { head: true, options: true, ..Methods::GET }
    }
}

impl Default for Cache {
    fn default() -> Cache {
        Cache {
            bytes_max: 0,
            free_bytes_min: GIB,
            object_bytes_max: GIB,
            name: "peerage".to_owned(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header_bytes_max: 16 << 10,
            headers_max: 64,
            uri_bytes_max: 8 << 10,
            body_bytes_max: MIB,
            body_memory_bytes_max: 64 * MIB,
            idle_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(30),
            send_rate_min: KIB,
            linger_timeout: Duration::from_secs(2),
            requests_per_connection: 10_000,
            connections_per_worker: 10_000,
            connections_per_address: 0,
            ranges_max: 16,
            pipeline_max: 32,
        }
    }
}

impl Default for Mime {
    fn default() -> Mime {
        Mime {
            default: "application/octet-stream".to_owned(),
            compressible: mime::default_compressible(),
            types: mime::default_types(),
        }
    }
}

impl Default for Admin {
    fn default() -> Admin {
        let listen = Some(SocketAddr::from(([127, 0, 0, 1], 9180)));
        Admin { listen, purge_token: String::new() }
    }
}

impl Default for Control {
    fn default() -> Control {
        Control { socket: PathBuf::from("/run/peerage/control.sock"), group: String::new() }
    }
}

impl Default for Online {
    fn default() -> Online {
        Online {
            enabled: false,
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 6399))],
            listen_read_only: Vec::new(),
            socket: PathBuf::new(),
            password: String::new(),
            window: Duration::from_secs(30 * 60),
            users_max: 1_000_000,
            urls_max: 100_000,
            text_bytes_max: 64 * MIB,
            user_bytes_max: 255,
            url_bytes_max: 2 << 10,
            connections_max: 10_000,
            connection_bytes_max: 256 * MIB,
            snapshot: PathBuf::new(),
            user: UserFrom::Nobody,
            url: UrlFrom::Path,
            paths: vec!["**".to_owned()],
        }
    }
}
