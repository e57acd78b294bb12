//! The table of all keys: name, range, and whether a SIGHUP is enough; one place for reading,
//! printing, comparing and the reference.
//!
//! Input: a visitor, once per read, print or comparison.   Output: one visit per key, in order.
//! Owns: nothing.                                          Thread: any, pure.
//! Invariants: each key is visited once; `mime.types`, which has a header of its own, is the last
//! of its section.
//! Not here: what the keys mean (`schema.rs`, the annotated sample), how kinds work (`kinds.rs`).

use std::time::Duration;

use super::kinds::{
    Choice, Count, Directory, Flag, Kind, Seconds, Size, Text, Time, from, zero_or,
};
use super::lists::{AddressOrNone, Addresses, Cores, MethodList, Texts, Types};
use super::origin::{ClientRules, FreshnessRule, Origin, Scheme};
use super::parts::{UrlPart, UserPart};
use super::rules;
use super::schema::{
    Admin, Cache, CacheRule, Config, Control, Host, Level, Limits, Log, Mime, Online, Server, Tree,
};
use super::units::{GIB, KIB, MIB, TIB};

/// Whether a changed key takes effect without a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Read again on SIGHUP.
    Live,
    /// Read once, at start.
    Restart,
}

use Reload::{Live, Restart};

/// What reads, prints or compares: it is shown each key with its field.
pub(super) trait Visit {
    /// The keys that follow belong to this section.
    fn section(&mut self, name: &'static str);

    /// One key.
    fn key<T>(&mut self, name: &'static str, reload: Reload, kind: impl Kind<T>, field: &mut T);
}

/// Visit the keys of all sections but the arrays of tables.
pub(super) fn walk(config: &mut Config, visit: &mut impl Visit) {
    server(&mut config.server, visit);
    tree(&mut config.tree, visit);
    cache(&mut config.cache, visit);
    limits(&mut config.limits, visit);
    mime(&mut config.mime, visit);
    admin(&mut config.admin, visit);
    control(&mut config.control, visit);
    online(&mut config.online, visit);
    log(&mut config.log, visit);
}

fn server(at: &mut Server, v: &mut impl Visit) {
    v.section("server");
    v.key("listen", Restart, listeners(1, 64, "[\"127.0.0.1:8080\"]"), &mut at.listen);
    v.key("workers", Restart, Count(zero_or("one per core", 0, 256)), &mut at.workers);
    v.key("cores", Restart, Cores { count_max: 256, core_max: 1023 }, &mut at.cores);
    let user = Text(rules::account, "a name in /etc/passwd, or \"\" (stay)");
    v.key("user", Restart, user, &mut at.user);
    let group = Text(rules::account, "a name in /etc/group, or \"\" (the user's own)");
    v.key("group", Restart, group, &mut at.group);
    v.key("grace", Live, Time(zero_or("cut at once", NONE, HOUR)), &mut at.grace);
    let name = Text(rules::server_name, "visible ASCII, at most 64 bytes, or \"\" (no header)");
    v.key("server_name", Live, name, &mut at.server_name);
}

fn tree(at: &mut Tree, v: &mut impl Visit) {
    v.section("tree");
    v.key("root", Restart, Directory, &mut at.root);
    let host = Text(rules::host_name_or_none, "a host name, or \"\" (none)");
    v.key("default_host", Live, host, &mut at.default_host);
    v.key("any_host", Live, Flag, &mut at.any_host);
    v.key("dot_files", Live, Flag, &mut at.dot_files);
    v.key("index", Live, index(), &mut at.index);
    v.key("follow_symlinks", Live, Flag, &mut at.follow_symlinks);
    v.key("watch", Restart, Flag, &mut at.watch);
    v.key("recheck", Live, Time(from(TENTH, HOUR)), &mut at.recheck);
    v.key("recheck_watched", Live, Time(from(TENTH, DAY)), &mut at.recheck_watched);
    let files = Count(zero_or("computed", 64, 1 << 24));
    v.key("open_files_max", Restart, files, &mut at.open_files_max);
    v.key("hot_bytes_max", Restart, Size(zero_or("off", 0, 64 * GIB)), &mut at.hot_bytes_max);
    v.key("precompressed", Live, Flag, &mut at.precompressed);
}

fn cache(at: &mut Cache, v: &mut impl Visit) {
    v.section("cache");
    v.key("bytes_max", Live, Size(zero_or("no bound", 0, 1024 * TIB)), &mut at.bytes_max);
    v.key("free_bytes_min", Live, Size(from(0, 1024 * TIB)), &mut at.free_bytes_min);
    v.key("object_bytes_max", Live, Size(from(KIB, TIB)), &mut at.object_bytes_max);
    let name = Text(rules::cache_name, "a token of RFC 9110, 1 to 64 bytes");
    v.key("name", Live, name, &mut at.name);
}

fn limits(at: &mut Limits, v: &mut impl Visit) {
    v.section("limits");
    v.key("header_bytes_max", Live, Size(from(KIB, 64 * KIB)), &mut at.header_bytes_max);
    v.key("headers_max", Live, Count(from(8, 128)), &mut at.headers_max);
    v.key("uri_bytes_max", Live, Size(from(64, 64 * KIB - 1)), &mut at.uri_bytes_max);
    v.key("body_bytes_max", Live, Size(from(0, GIB)), &mut at.body_bytes_max);
    let memory = Size(from(64 * KIB, 64 * GIB));
    v.key("body_memory_bytes_max", Live, memory, &mut at.body_memory_bytes_max);
    v.key("idle_timeout", Live, Time(from(SECOND, HOUR)), &mut at.idle_timeout);
    v.key("header_timeout", Live, Time(from(SECOND, 10 * MINUTE)), &mut at.header_timeout);
    v.key("body_timeout", Live, Time(from(SECOND, HOUR)), &mut at.body_timeout);
    v.key("send_timeout", Live, Time(from(SECOND, HOUR)), &mut at.send_timeout);
    v.key("send_rate_min", Live, Size(zero_or("off", 0, GIB)), &mut at.send_rate_min);
    v.key("linger_timeout", Live, Time(from(TENTH, MINUTE)), &mut at.linger_timeout);
    let requests = Count(from(1, 1_000_000_000));
    v.key("requests_per_connection", Live, requests, &mut at.requests_per_connection);
    let connections = Count(from(16, 1_000_000));
    v.key("connections_per_worker", Restart, connections, &mut at.connections_per_worker);
    let connections = Count(zero_or("no limit", 0, 1_000_000));
    v.key("connections_per_address", Live, connections, &mut at.connections_per_address);
    v.key("ranges_max", Live, Count(zero_or("ranges off", 0, 64)), &mut at.ranges_max);
    v.key("pipeline_max", Live, Count(from(1, 32)), &mut at.pipeline_max);
}

fn mime(at: &mut Mime, v: &mut impl Visit) {
    v.section("mime");
    let default = Text(rules::content_type, "a content type");
    v.key("default", Live, default, &mut at.default);
    let compressible = Texts {
        rule: rules::content_essence,
        what: "content types without parameters",
        example: "[\"text/html\"]",
        count_min: 0,
        count_max: 256,
    };
    v.key("compressible", Live, compressible, &mut at.compressible);
    let types = Types { type_count_max: 1024, extension_count_max: 64 };
    v.key("types", Live, types, &mut at.types);
}

fn admin(at: &mut Admin, v: &mut impl Visit) {
    v.section("admin");
    v.key("listen", Restart, AddressOrNone, &mut at.listen);
    let token = "16 to 128 visible ASCII characters without blanks, or \"\" (off)";
    v.key("purge_token", Live, Text(rules::purge_token, token), &mut at.purge_token);
}

fn control(at: &mut Control, v: &mut impl Visit) {
    v.section("control");
    let socket = Text(rules::control_socket, "an absolute path, at most 107 bytes, or \"\" (off)");
    v.key("socket", Restart, socket, &mut at.socket);
    let group = Text(rules::account, "a name in /etc/group, or \"\" (none)");
    v.key("group", Restart, group, &mut at.group);
}

fn online(at: &mut Online, v: &mut impl Visit) {
    v.section("online");
    v.key("enabled", Restart, Flag, &mut at.enabled);
    let listen = listeners(0, 16, "[\"127.0.0.1:6399\"]");
    v.key("listen", Restart, listen, &mut at.listen);
    let listen = listeners(0, 16, "[\"127.0.0.1:6400\"]");
    v.key("listen_read_only", Restart, listen, &mut at.listen_read_only);
    let socket = "an absolute path, at most 107 bytes, or \"\" (none)";
    v.key("socket", Restart, Text(rules::online_socket, socket), &mut at.socket);
    let password = "8 to 128 visible ASCII characters without blanks, or \"\" (none)";
    v.key("password", Restart, Text(rules::online_password, password), &mut at.password);
    v.key("window", Restart, Time(from(SECOND, 7 * DAY)), &mut at.window);
    v.key("users_max", Restart, Count(from(1, 1 << 27)), &mut at.users_max);
    v.key("urls_max", Restart, Count(from(1, (1 << 24) - 1)), &mut at.urls_max);
    let text = Size(from(64 * KIB, 64 * GIB));
    v.key("text_bytes_max", Restart, text, &mut at.text_bytes_max);
    v.key("user_bytes_max", Restart, Size(from(1, 255)), &mut at.user_bytes_max);
    v.key("url_bytes_max", Restart, Size(from(1, 2 * KIB)), &mut at.url_bytes_max);
    v.key("connections_max", Restart, Count(from(16, 1_000_000)), &mut at.connections_max);
    let memory = Size(from(16 * MIB, 64 * GIB));
    v.key("connection_bytes_max", Restart, memory, &mut at.connection_bytes_max);
    let snapshot = "an absolute path, at most 4095 bytes, or \"\" (none)";
    v.key("snapshot", Restart, Text(rules::snapshot, snapshot), &mut at.snapshot);
    v.key("user", Live, UserPart, &mut at.user);
    v.key("url", Live, UrlPart, &mut at.url);
    let paths = Texts {
        rule: rules::pattern,
        what: "patterns of at most 256 bytes",
        example: "[\"/news/**\"]",
        count_min: 1,
        count_max: 64,
    };
    v.key("paths", Live, paths, &mut at.paths);
}

fn log(at: &mut Log, v: &mut impl Visit) {
    v.section("log");
    let level = Choice { what: "a level", names: &LEVELS };
    v.key("level", Live, level, &mut at.level);
}

/// Visit the keys of one `[[host]]`, without its origin and its rules.
pub(super) fn host(at: &mut Host, v: &mut impl Visit) {
    v.section("host");
    v.key("name", Live, Text(rules::host_name, "a host name"), &mut at.name);
    let aliases = Texts {
        rule: rules::host_name,
        what: "host names",
        example: "[\"example.com\"]",
        count_min: 0,
        count_max: 100,
    };
    v.key("aliases", Live, aliases, &mut at.aliases);
    v.key("methods", Live, MethodList, &mut at.methods);
    v.key("index", Live, index(), &mut at.index);
}

/// Visit the keys of one `[host.origin]`.
pub(super) fn origin(at: &mut Origin, v: &mut impl Visit) {
    v.section("host.origin");
    let addresses = Texts {
        rule: rules::origin_address,
        what: "addresses \"NAME:PORT\", \"IP:PORT\" or \"[IPv6]:PORT\"",
        example: "[\"192.0.2.1:8080\"]",
        count_min: 1,
        count_max: ADDRESS_COUNT_MAX,
    };
    v.key("addresses", Live, addresses, &mut at.addresses);
    v.key("scheme", Live, Choice { what: "a scheme", names: &SCHEMES }, &mut at.scheme);
    let host = "a host name, perhaps with a port, or \"\" (the host's own)";
    v.key("host_header", Live, Text(rules::host_header, host), &mut at.host_header);
    let file = "a file, relative to the directory of this one, or \"\" (the system's)";
    v.key("ca_file", Live, Text(rules::file, file), &mut at.ca_file);
    let name = Text(rules::host_name_or_none, "a host name, or \"\" (that of host_header)");
    v.key("tls_name", Live, name, &mut at.tls_name);
    v.key("connect_timeout", Live, Time(from(HUNDREDTH, MINUTE)), &mut at.connect_timeout);
    v.key("first_byte_timeout", Live, Time(from(HUNDREDTH, HOUR)), &mut at.first_byte_timeout);
    let between = Time(from(HUNDREDTH, HOUR));
    v.key("between_bytes_timeout", Live, between, &mut at.between_bytes_timeout);
    v.key("connections_max", Live, Count(from(1, 1024)), &mut at.connections_max);
    v.key("idle_max", Live, Count(zero_or("none", 0, 1024)), &mut at.idle_max);
    v.key("idle_timeout", Live, Time(from(TENTH, HOUR)), &mut at.idle_timeout);
    let requests = Count(from(1, 1_000_000_000));
    v.key("requests_per_connection", Live, requests, &mut at.requests_per_connection);
    v.key("wait_timeout", Live, Time(from(HUNDREDTH, MINUTE)), &mut at.wait_timeout);
    v.key("waiters_max", Live, Count(zero_or("none waits", 0, 4096)), &mut at.waiters_max);
    v.key("failures_max", Live, Count(from(1, 100)), &mut at.failures_max);
    v.key("down_min", Live, Time(from(TENTH, HOUR)), &mut at.down_min);
    v.key("down_max", Live, Time(from(TENTH, HOUR)), &mut at.down_max);
}

/// A table of an array of rules, which hold for the paths that match.
pub(super) trait PathRule: Default {
    /// The keys it needs, each with what to write.
    const REQUIRED: &'static [(&'static str, &'static str)];

    /// Visit its keys, as keys of `section`.
    fn walk(&mut self, section: &'static str, v: &mut impl Visit);
}

impl PathRule for CacheRule {
    const REQUIRED: &'static [(&'static str, &'static str)] =
        &[REQUIRED_PATH, ("value", "write value = \"public, max-age=86400\" or another")];

    fn walk(&mut self, section: &'static str, v: &mut impl Visit) {
        v.section(section);
        v.key("path", Live, path(), &mut self.path);
        let value = Text(rules::header_value, "visible ASCII, at most 256 bytes");
        v.key("value", Live, value, &mut self.value);
    }
}

impl PathRule for FreshnessRule {
    const REQUIRED: &'static [(&'static str, &'static str)] = &[REQUIRED_PATH];

    fn walk(&mut self, section: &'static str, v: &mut impl Visit) {
        let lifetime = || Seconds(from(NONE, YEAR));
        let stale = || Seconds(zero_or("none", NONE, YEAR));
        v.section(section);
        v.key("path", Live, path(), &mut self.path);
        v.key("default", Live, lifetime(), &mut self.default);
        v.key("min", Live, lifetime(), &mut self.min);
        v.key("max", Live, lifetime(), &mut self.max);
        v.key("negative", Live, lifetime(), &mut self.negative);
        let while_revalidate = &mut self.stale_while_revalidate_max;
        v.key("stale_while_revalidate_max", Live, stale(), while_revalidate);
        v.key("stale_if_error", Live, stale(), &mut self.stale_if_error);
        v.key("stale_max", Live, stale(), &mut self.stale_max);
        v.key("ignore_query", Live, Flag, &mut self.ignore_query);
        v.key("strip_cookies", Live, Flag, &mut self.strip_cookies);
        let client = Choice { what: "a choice of directives", names: &CLIENT_RULES };
        v.key("client", Live, client, &mut self.client);
    }
}

fn listeners(count_min: usize, count_max: usize, example: &'static str) -> Addresses {
    Addresses { example, count_min, count_max }
}

fn path() -> Text {
    Text(rules::pattern, "a pattern, at most 256 bytes")
}

fn index() -> Text {
    Text(rules::index, "a file name, at most 255 bytes, or \"\" (none)")
}

/// Hosts of one file: each costs a few hundred bytes per worker.
pub(super) const HOST_COUNT_MAX: usize = 10_000;

/// Addresses of one origin: a request tries each at most once, and waits as often for a connection.
const ADDRESS_COUNT_MAX: usize = 16;

/// Rules of one list: they are tried one after the other when a file is opened.
pub(super) const RULE_COUNT_MAX: usize = 256;

const REQUIRED_PATH: (&str, &str) = ("path", "write path = \"*.png\" or another pattern");

const LEVELS: [(&str, Level); 4] = [
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
];

const SCHEMES: [(&str, Scheme); 2] = [("http", Scheme::Http), ("https", Scheme::Https)];

const CLIENT_RULES: [(&str, ClientRules); 3] = [
    ("ignored", ClientRules::Ignored),
    ("sparing", ClientRules::Sparing),
    ("all", ClientRules::All),
];

const NONE: Duration = Duration::ZERO;
const HUNDREDTH: Duration = Duration::from_millis(10);
const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::super::emit::{KeyNote, reference};
    use super::super::units::{emit_count, emit_duration, emit_size};
    use super::*;
    use crate::limits::{ONLINE_NAME_BYTES_MAX, ONLINE_URL_BYTES_MAX};
    use crate::online::{ROWS_MAX, URLS_MAX, WINDOW_MS_MAX};

    #[test]
    fn the_index_of_who_is_online_takes_all_that_its_keys_allow() {
        let size = |bytes: usize| emit_size(u64::try_from(bytes).unwrap());
        let window = emit_duration(Duration::from_millis(WINDOW_MS_MAX.into()));
        for (name, allowed) in [
            ("window", format!("1 s to {window}")),
            ("users_max", format!("1 to {}", emit_count(ROWS_MAX.into()))),
            ("urls_max", format!("1 to {}", emit_count(URLS_MAX.into()))),
            ("user_bytes_max", format!("1 B to {}", size(ONLINE_NAME_BYTES_MAX))),
            ("url_bytes_max", format!("1 B to {}", size(ONLINE_URL_BYTES_MAX))),
        ] {
            let is_key = |note: &&KeyNote| note.section == "online" && note.name == name;
            let notes = reference();
            assert_eq!(notes.iter().find(is_key).unwrap().allowed, allowed, "{name}");
        }
    }
}
