//! What the configuration says of origins and their answers: each core's options, ready to use.
//!
//! Input: `[host.origin]`, `[[freshness]]`.   Output: `OriginSettings`, `PathRule`.
//! Thread: made by `control`, read by `http-N`.
//! Not here: which host has which origin (`daemon::settings`), connections
//! (`daemon::http::origin`).

use std::net::{SocketAddr, ToSocketAddrs as _};

use crate::cache::freshness::{ClientDirectives, Lifetimes, Policy, SetCookie};
use crate::cache::pattern::Pattern;
use crate::config::{ClientRules, FreshnessRule, Host, Origin, Scheme as SchemeKey};
use crate::http::origin::health::HealthOptions;
use crate::http::origin::location::Scheme;
use crate::http::origin::{self, HeadLimits, pool};
use crate::limits::{HEADERS_MAX, ORIGIN_HEAD_BYTES_MAX};
use crate::time::Duration;
use crate::tls;

/// One host's origin.
#[derive(Debug)]
pub struct OriginSettings {
    /// The host that it is the origin of, for messages.
    pub name: String,
    /// Where it is, in the order of the configuration; empty where no name could be looked up.
    pub addresses: Vec<SocketAddr>,
    /// The Host field that it is sent.
    pub host_header: String,
    /// With which authorities it is spoken to, and the name that its certificate must have.
    pub tls: Option<(tls::Options, String)>,
    /// Options of each connection.
    pub conn: origin::Options,
    /// Options of the pool.
    pub pool: pool::Options,
    source: Origin,
}

impl OriginSettings {
    /// Looks up the names of `origin`'s addresses, and reads its authorities: both may take long.
    ///
    /// # Errors
    /// What is wrong with the authorities, with the remedy.
    pub fn new(host: &Host, origin: &Origin) -> Result<Self, String> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for text in &origin.addresses {
            match text.to_socket_addrs() {
                Ok(found) => {
                    addresses.extend(found);
                }
                Err(error) => {
                    log::warn!(
                        "host {}: origin {text} cannot be looked up: {error}; it is tried again on \
                         SIGHUP",
                        host.name
                    );
                }
            }
        }
        // A name may have more addresses than a pool takes, and two names the same.
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        addresses.truncate(crate::limits::ORIGIN_ADDRESSES_MAX);
        let host_header = match origin.host_header.as_str() {
            "" => host.name.clone(),
            given => given.to_owned(),
        };
        let tls = match origin.scheme {
            SchemeKey::Http => None,
            SchemeKey::Https => Some(authorities(origin, &host_header)?),
        };
        Ok(Self {
            name: host.name.clone(),
            addresses,
            host_header,
            tls,
            conn: origin::Options {
                head: HeadLimits {
                    head_bytes_max: ORIGIN_HEAD_BYTES_MAX,
                    headers_max: HEADERS_MAX,
                },
                connect_timeout: origin.connect_timeout,
                first_byte_timeout: origin.first_byte_timeout,
                between_bytes_timeout: origin.between_bytes_timeout,
            },
            pool: pool::Options {
                connections_max: origin.connections_max,
                idle_max: origin.idle_max,
                idle_timeout: origin.idle_timeout,
                requests_per_connection: origin.requests_per_connection,
                waiters_max: origin.waiters_max,
                wait_timeout: origin.wait_timeout,
                health: HealthOptions {
                    failures_max: origin.failures_max,
                    down_min: origin.down_min,
                    down_max: origin.down_max,
                },
            },
            source: origin.clone(),
        })
    }

    /// Whether connections made for `other` serve this one as well.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.source == other.source
            && self.addresses == other.addresses
            && self.host_header == other.host_header
            // Authorities are read anew: the file may be another.
            && self.tls.is_none()
    }

    /// The places that are this origin, for redirects: scheme, host, port.
    #[must_use]
    pub fn places(&self) -> Vec<(Scheme, String, u16)> {
        let scheme = match self.source.scheme {
            SchemeKey::Http => Scheme::Http,
            SchemeKey::Https => Scheme::Https,
        };
        let mut places = Vec::new();
        for authority in self.source.addresses.iter().chain([&self.host_header]) {
            match authority.rsplit_once(':') {
                Some((host, port)) if !port.contains(']') => {
                    let port = port.parse().unwrap_or(scheme.default_port());
                    places.push((scheme, host.to_owned(), port));
                }
                _ => places.push((scheme, authority.clone(), scheme.default_port())),
            }
        }
        places
    }
}

fn authorities(origin: &Origin, host_header: &str) -> Result<(tls::Options, String), String> {
    let options = if origin.ca_file.as_os_str().is_empty() {
        let found = crate::sys::authorities::system();
        for error in &found.errors {
            log::warn!("authorities of this machine: {error}");
        }
        tls::Options::from_system(found.certificates).map_err(|error| error.to_string())?
    } else {
        let file = origin.ca_file.display();
        let pem = std::fs::read(&origin.ca_file).map_err(|error| format!("{file}: {error}"))?;
        tls::Options::from_pem(&pem).map_err(|error| format!("{file}: {error}"))?
    };
    let host = match host_header.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => host_header,
    };
    let name = if origin.tls_name.is_empty() { host } else { &origin.tls_name };
    Ok((options, name.trim_matches(['[', ']']).to_owned()))
}

/// What holds for the answers of some paths.
#[derive(Clone, Debug)]
pub struct PathRule {
    /// Which paths.
    pub pattern: Pattern,
    /// How long their answers are used.
    pub policy: Policy,
    /// Whether the query is no part of the key.
    pub ignore_query: bool,
    /// Whether cookies go neither way.
    pub strip_cookies: bool,
}

impl PathRule {
    /// Translates one rule.
    #[must_use]
    pub fn new(rule: &FreshnessRule) -> Self {
        let client_directives = match rule.client {
            ClientRules::Ignored => ClientDirectives::Ignored,
            ClientRules::Sparing => ClientDirectives::Sparing,
            ClientRules::All => ClientDirectives::All,
        };
        let set_cookie = if rule.strip_cookies { SetCookie::Strip } else { SetCookie::Pass };
        let lifetimes = Lifetimes {
            default_seconds: rule.default.map(seconds),
            min_seconds: seconds(rule.min),
            max_seconds: seconds(rule.max),
            negative_seconds: seconds(rule.negative),
            ..Lifetimes::default()
        };
        Self {
            pattern: Pattern::new(&rule.path),
            policy: Policy {
                client_directives,
                set_cookie,
                lifetimes,
                stale_while_revalidate_max_seconds: seconds(rule.stale_while_revalidate_max),
                stale_if_error_default_seconds: seconds(rule.stale_if_error),
                stale_max_seconds: seconds(rule.stale_max),
            },
            ignore_query: rule.ignore_query,
            strip_cookies: rule.strip_cookies,
        }
    }
}

impl Default for PathRule {
    /// For paths that no rule matches.
    fn default() -> Self {
        Self::new(&FreshnessRule { path: "**".to_owned(), ..FreshnessRule::default() })
    }
}

fn seconds(span: Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}
