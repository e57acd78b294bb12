//! The checks that need more than one key.
//!
//! Input: a configuration whose keys are each sound.   Output: faults, at the key to change.
//! Owns: nothing.                                      Thread: any, pure.
//! Invariants: no fault here repeats one that the reader reported for the same key.
//! Not here: what one key may be (`kinds.rs`, `lists.rs`), the machine (`environment.rs`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::errors::quote;
use super::origin::{FreshnessRule, Origin, Scheme};
use super::read::Sink;
use super::schema::{Config, Host};
use super::units::{emit_duration, emit_size};

/// Report what does not fit together.
pub(super) fn check(config: &Config, sink: &mut Sink) {
    workers_have_cores(config, sink);
    group_has_user(config, sink);
    admin_is_apart(config, sink);
    one_wildcard_is_enough("server.listen", &config.server.listen, sink);
    online_can_be_asked(config, sink);
    online_is_apart(config, sink);
    paths_differ(config, sink);
    uri_fits_header(config, sink);
    hosts_differ(config, sink);
    for (index, host) in config.hosts.iter().enumerate() {
        let place = format!("host[{index}]");
        methods_have_origin(host, &place, sink);
        if let Some(origin) = &host.origin {
            origin_fits(origin, &format!("{place}.origin"), sink);
        }
        freshness_fits(&host.freshness, &place, "host.freshness", sink);
    }
    freshness_fits(&config.freshness, "", "freshness", sink);
    bodies_fit(config, sink);
}

fn workers_have_cores(config: &Config, sink: &mut Sink) {
    let (workers, cores) = (config.server.workers, config.server.cores.len());
    if cores > 0 && workers > cores {
        let line = sink.places.line("server.cores");
        let what = format!(
            "{cores} cores are too few for workers = {workers}{}; list at least {workers}, or \
             lower workers",
            at_line(sink, "server.workers")
        );
        sink.fault("server.cores", line, what);
    }
}

fn group_has_user(config: &Config, sink: &mut Sink) {
    let server = &config.server;
    if server.user.is_empty() && !server.group.is_empty() && !sink.has_fault("server.user") {
        let line = sink.places.line("server.group");
        let group = quote(&server.group);
        let what =
            format!("{group} is given without a user; set server.user too, or leave it \"\"");
        sink.fault("server.group", line, what);
    }
}

/// The admin listener is opened once, without SO_REUSEPORT, so it shares no port with the others.
fn admin_is_apart(config: &Config, sink: &mut Sink) {
    let admin = ("admin.listen", config.admin.listen.as_slice());
    listeners_are_apart(admin, ("server.listen", &config.server.listen), sink);
}

/// An index that is kept is there to be asked.
fn online_can_be_asked(config: &Config, sink: &mut Sink) {
    let online = &config.online;
    let is_deaf = online.listen.is_empty()
        && online.listen_read_only.is_empty()
        && online.socket.as_os_str().is_empty();
    let keys = ["online.enabled", "online.listen", "online.listen_read_only", "online.socket"];
    if !online.enabled || !is_deaf || keys.iter().any(|key| sink.has_fault(key)) {
        return;
    }
    let what = format!(
        "[] leaves nothing to ask by, with enabled = true{}; write an address, as in \
         [\"127.0.0.1:6399\"], a listen_read_only or a socket",
        at_line(sink, "online.enabled")
    );
    let line = sink.places.line("online.listen");
    sink.fault("online.listen", line, what);
}

/// Its listeners differ in what they let through, and nobody else answers on them.
fn online_is_apart(config: &Config, sink: &mut Sink) {
    let online = &config.online;
    let all = ("online.listen", online.listen.as_slice());
    let read_only = ("online.listen_read_only", online.listen_read_only.as_slice());
    listeners_are_apart(read_only, all, sink);
    for own in [all, read_only] {
        one_wildcard_is_enough(own.0, own.1, sink);
        // Only what is opened takes a port away.
        if online.enabled {
            listeners_are_apart(own, ("server.listen", &config.server.listen), sink);
            listeners_are_apart(own, ("admin.listen", config.admin.listen.as_slice()), sink);
        }
    }
}

/// A socket or a snapshot takes the place of what stands there.
fn paths_differ(config: &Config, sink: &mut Sink) {
    let control: (&str, &Path) = ("control.socket", &config.control.socket);
    let socket: (&str, &Path) = ("online.socket", &config.online.socket);
    let snapshot: (&str, &Path) = ("online.snapshot", &config.online.snapshot);
    for ((key, path), (other_key, other)) in
        [(socket, control), (snapshot, control), (snapshot, socket)]
    {
        // The defaults differ, so that `key` was given, or has a fault and does not count.
        if path.as_os_str().is_empty() || path != other || sink.has_fault(other_key) {
            continue;
        }
        let (shown, at) = (quote(&path.to_string_lossy()), at_line(sink, other_key));
        let line = sink.places.line(key);
        sink.fault(key, line, format!("{shown} is {other_key}{at} too; write another path"));
    }
}

/// No address of one list is one of the other.
fn listeners_are_apart(left: (&str, &[SocketAddr]), right: (&str, &[SocketAddr]), sink: &mut Sink) {
    if sink.has_fault(left.0) || sink.has_fault(right.0) {
        return;
    }
    let mut pairs = left.1.iter().flat_map(|left| right.1.iter().map(move |right| (*left, *right)));
    let Some(found) = pairs.find(|(left, right)| overlap(*left, *right)) else {
        return;
    };
    // Complain at a key that was given; the defaults of the two are apart.
    let (key, shown, other_key, other) = if sink.places.line(left.0).is_some() {
        (left.0, found.0, right.0, found.1)
    } else {
        (right.0, found.1, left.0, found.0)
    };
    let what = format!(
        "\"{shown}\" overlaps {other_key} \"{other}\"{}; choose another port",
        at_line(sink, other_key)
    );
    let line = sink.places.line(key);
    sink.fault(key, line, what);
}

/// An address and a wildcard with the same port are one port to the kernel.
fn one_wildcard_is_enough(key: &str, listen: &[SocketAddr], sink: &mut Sink) {
    for (index, left) in listen.iter().enumerate() {
        let Some(right) = listen[index + 1..].iter().find(|right| overlap(*left, **right)) else {
            continue;
        };
        let line = sink.places.line(key);
        let what = format!("\"{left}\" and \"{right}\" overlap; the wildcard alone is enough");
        sink.fault(key, line, what);
        return;
    }
}

fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    let wild = left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() != 0
        && left.port() == right.port()
        && left.is_ipv4() == right.is_ipv4()
        && (wild || left.ip() == right.ip())
}

fn uri_fits_header(config: &Config, sink: &mut Sink) {
    let (uri, header) = (config.limits.uri_bytes_max, config.limits.header_bytes_max);
    let (uri_key, header_key) = ("limits.uri_bytes_max", "limits.header_bytes_max");
    if uri < header || sink.has_fault(uri_key) || sink.has_fault(header_key) {
        return;
    }
    let size = |bytes: usize| emit_size(u64::try_from(bytes).unwrap_or(u64::MAX));
    let (uri, header) = (size(uri), size(header));
    if let line @ Some(_) = sink.places.line(uri_key) {
        let at = at_line(sink, header_key);
        let what =
            format!("{uri} is not below {header_key} = {header}{at}; lower it, or raise that");
        sink.fault(uri_key, line, what);
    } else {
        let line = sink.places.line(header_key);
        let what = format!(
            "{header} is not above {uri_key} = {uri} (default); raise it, or lower {uri_key}"
        );
        sink.fault(header_key, line, what);
    }
}

/// A host name decides a directory, so it stands for one host.
fn hosts_differ(config: &Config, sink: &mut Sink) {
    let mut seen: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for (index, host) in config.hosts.iter().enumerate() {
        let name = (format!("host[{index}].name"), "host.name", &host.name);
        let aliases = host.aliases.iter().enumerate().map(|(entry, alias)| {
            (format!("host[{index}].aliases[{entry}]"), "host.aliases", alias)
        });
        for (place, key, name) in std::iter::once(name).chain(aliases) {
            // A name that could not be read was reported already.
            if name.is_empty() {
                continue;
            }
            let line = sink.places.line(&place);
            let Some(first) = seen.insert(name, line) else {
                continue;
            };
            let first = first.map(|line| format!(" (line {line})")).unwrap_or_default();
            let what = format!("{} already names a host{first}; remove one", quote(name));
            sink.fault(key, line, what);
        }
    }
}

/// A file of the tree cannot be posted to.
fn methods_have_origin(host: &Host, place: &str, sink: &mut Sink) {
    // An origin that could not be read was reported already.
    if host.origin.is_some() || sink.has_fault("host.origin") {
        return;
    }
    let names: Vec<String> = host.methods.changes().map(quote).collect();
    if names.is_empty() {
        return;
    }
    let line = sink.places.line(&format!("{place}.methods"));
    let (names, verb) = (names.join(", "), if names.len() == 1 { "goes" } else { "go" });
    let what = format!(
        "{names} {verb} to the origin, and this host has none; add [host.origin], or remove {names}"
    );
    sink.fault("host.methods", line, what);
}

/// A body that fits no worker's memory could never be sent on.
fn bodies_fit(config: &Config, sink: &mut Sink) {
    let takes_bodies = |host: &&Host| host.methods.changes().next().is_some();
    let Some(host) = config.hosts.iter().find(takes_bodies) else {
        return;
    };
    let (one, all) = (config.limits.body_bytes_max, config.limits.body_memory_bytes_max);
    let (one_key, all_key) = ("limits.body_bytes_max", "limits.body_memory_bytes_max");
    if one <= all || sink.has_fault(one_key) || sink.has_fault(all_key) {
        return;
    }
    let (one, all, host) = (emit_size(one), emit_size(all), quote(&host.name));
    let (key, what) = if sink.places.line(all_key).is_some() {
        let at = at_line(sink, one_key);
        (all_key, format!("{all} is below {one_key} = {one}{at}; raise it, or lower that"))
    } else {
        (one_key, format!("{one} is above {all_key} = {all} (default); lower it, or raise that"))
    };
    let line = sink.places.line(key);
    sink.fault(key, line, format!("{what} (bodies are kept for the origin of host {host})"));
}

fn origin_fits(origin: &Origin, place: &str, sink: &mut Sink) {
    let at = Table { place, section: "host.origin" };
    if origin.scheme == Scheme::Http {
        let given = [
            ("ca_file", origin.ca_file.as_os_str().is_empty()),
            ("tls_name", origin.tls_name.is_empty()),
        ];
        for (name, _) in given.into_iter().filter(|(_, is_empty)| !is_empty) {
            at.fault_unless_known(name, "scheme", sink, |scheme| {
                format!(
                    "is given with scheme = \"http\"{scheme}; write scheme = \"https\", or leave \
                     it \"\""
                )
            });
        }
    }
    at.ordered("down_min", "down_max", (origin.down_min, origin.down_max), emit_duration, sink);
}

fn freshness_fits(rules: &[FreshnessRule], host: &str, section: &'static str, sink: &mut Sink) {
    for (index, rule) in rules.iter().enumerate() {
        let dot = if host.is_empty() { "" } else { "." };
        let place = format!("{host}{dot}freshness[{index}]");
        let at = Table { place: &place, section };
        at.ordered("min", "max", (rule.min, rule.max), emit_duration, sink);
        let stale = (rule.stale_if_error, rule.stale_max);
        at.ordered("stale_if_error", "stale_max", stale, emit_duration, sink);
    }
}

/// One table within an array, for faults of two of its keys.
struct Table<'a> {
    place: &'a str,
    section: &'static str,
}

impl Table<'_> {
    fn line(&self, name: &str, sink: &Sink) -> Option<usize> {
        sink.places.line(&format!("{}.{name}", self.place))
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.section)
    }

    /// Complain at `name` about how it goes with `other`, whose place `what` is told, unless one of
    /// the two has a fault already and so is only at its default.
    fn fault_unless_known(
        &self,
        name: &str,
        other: &str,
        sink: &mut Sink,
        what: impl FnOnce(&str) -> String,
    ) {
        let has_fault = |name: &str| sink.has_fault_at(&self.key(name), self.line(name, sink));
        if has_fault(name) || has_fault(other) {
            return;
        }
        let at = at_line(sink, &format!("{}.{other}", self.place));
        let line = self.line(name, sink);
        sink.fault(&self.key(name), line, what(&at));
    }

    /// The value of `low` is at most that of `high`; complain at one that was given.
    fn ordered<T: PartialOrd + Copy>(
        &self,
        low: &str,
        high: &str,
        values: (T, T),
        text: impl Fn(T) -> String,
        sink: &mut Sink,
    ) {
        if values.0 <= values.1 {
            return;
        }
        let (less, more) = (text(values.0), text(values.1));
        if self.line(low, sink).is_some() {
            self.fault_unless_known(low, high, sink, |at| {
                format!("{less} is above {high} = {more}{at}; lower it, or raise that")
            });
        } else {
            self.fault_unless_known(high, low, sink, |at| {
                format!("{more} is below {low} = {less}{at}; raise it, or lower {low}")
            });
        }
    }
}

/// Where a key was given, for the middle of a sentence.
fn at_line(sink: &Sink, key: &str) -> String {
    sink.places.line(key).map_or_else(|| " (default)".to_owned(), |line| format!(" (line {line})"))
}
