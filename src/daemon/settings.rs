//! What the configuration means to the workers: each core's options, ready to use.
//!
//! Input: a checked configuration.   Output: `Settings`, shared read-only by all workers until the
//! next reload replaces it.   Thread: made by `control`, read by `http-N`.
//! Not here: reading the file (`config`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::cache::pattern::Pattern;
use crate::config::{CacheRule, Config, Host, Methods, Problem};
use crate::http;
use crate::http::Method;
use crate::http::hosts::{Hosts, Site};
use crate::http::request::HeadLimits;
use crate::limits::{HEADERS_MAX, PIPELINE_MAX, RANGES_MAX};
use crate::sys::process::random_seed;
use crate::time::Duration;

use super::http::feed::FeedRules;
use super::origins::{OriginSettings, PathRule};

/// As `tree.default_host`: the root itself is the only host's directory (`peerage serve DIR`).
pub const ROOT_AS_HOST: &str = ".";

/// What holds for one host.
#[derive(Debug)]
pub struct SiteSettings {
    /// The directory below the root; empty for hosts that are not configured, which use their name.
    pub directory: String,
    /// The Allow field, and so the methods there are.
    pub allow: String,
    /// The methods by themselves.
    methods: Methods,
    /// File that answers for its directory; empty for none.
    pub index: String,
    /// The number of its origin among `Settings::origins`; `None` where the tree is all there is.
    pub origin: Option<usize>,
    cache_control: Vec<(Pattern, String)>,
    /// How long its origin's answers are used; the first match decides.
    rules: Vec<PathRule>,
}

impl SiteSettings {
    /// Whether requests with this method are answered: from here, or by the origin.
    #[must_use]
    pub const fn answers(&self, method: Method) -> bool {
        let Methods { head, options, post, put, patch, delete } = self.methods;
        match method {
            Method::Get => true,
            Method::Head => head,
            Method::Options => options,
            Method::Post => post && self.origin.is_some(),
            Method::Put => put && self.origin.is_some(),
            Method::Patch => patch && self.origin.is_some(),
            Method::Delete => delete && self.origin.is_some(),
            Method::Other => false,
        }
    }

    /// The rule for `path` (decoded, with its leading `/`).
    #[must_use]
    pub fn rule<'a>(&'a self, path: &[u8], otherwise: &'a PathRule) -> &'a PathRule {
        self.rules.iter().find(|rule| rule.pattern.matches(path)).unwrap_or(otherwise)
    }
}

/// Everything that a worker is told by the configuration and that a reload may change.
#[derive(Debug)]
pub struct Settings {
    /// Options of each connection.
    pub http: http::Options,
    /// Bytes of bodies that a worker keeps at once.
    pub body_memory_bytes_max: u64,
    /// Most responses in one send.
    pub pipeline_max: usize,
    /// Most ranges of one request.
    pub ranges_max: usize,
    /// Most connections of one address at one worker; 0 for no bound.
    pub connections_per_address: usize,
    /// Server field; empty for none.
    pub server_name: String,
    /// Whether files whose name begins with a dot are served.
    pub dot_files: bool,
    /// Whether symbolic links below the root are followed.
    pub follow_symlinks: bool,
    /// Age at which a file that is not watched is looked at again.
    pub recheck: Duration,
    /// Age at which a watched file is looked at again.
    pub recheck_watched: Duration,
    /// Whether precompressed siblings are looked for.
    pub precompressed: bool,
    /// The origins of all hosts.
    pub origins: Vec<Arc<OriginSettings>>,
    /// This box in Cache-Status and Via.
    pub cache_name: String,
    /// A longer answer is not stored.
    pub object_bytes_max: u64,
    /// For paths of hosts with an origin that no rule matches.
    pub rule_default: PathRule,
    /// Which requests say who is online; `None` where none does.
    pub feed: Option<FeedRules>,
    /// Whether the root itself is the only host's directory.
    root_is_host: bool,
    hosts: Hosts,
    sites: Vec<SiteSettings>,
    default_site: Option<usize>,
    /// What holds for hosts that are not configured, where they are served.
    any_site: Option<SiteSettings>,
    mime_default: String,
    mime: HashMap<String, String>,
    compressible: HashSet<String>,
}

/// What came of looking up what the origins of a configuration need.
#[derive(Debug)]
pub struct Lookup {
    /// The configuration.
    pub config: Config,
    /// Its settings, or what is wrong with its authorities.
    pub settings: Result<Settings, Problem>,
}

impl Settings {
    /// Translates `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut hosts = Hosts::new(random_seed());
        let mut sites = Vec::new();
        for host in &config.hosts {
            for name in std::iter::once(&host.name).chain(&host.aliases) {
                hosts.insert(name, sites.len());
            }
            sites.push(site(host, config));
        }
        let default = &config.tree.default_host;
        let root_is_host = default == ROOT_AS_HOST;
        let default_site = (!default.is_empty()).then(|| {
            sites.iter().position(|site| site.directory == *default).unwrap_or_else(|| {
                hosts.insert(default, sites.len());
                let name = if root_is_host { String::new() } else { default.clone() };
                sites.push(site(&Host { name, ..Host::default() }, config));
                sites.len() - 1
            })
        });
        let any_site = config.tree.any_host.then(|| site(&Host::default(), config));
        let compressible =
            config.mime.compressible.iter().map(|kind| kind.to_ascii_lowercase()).collect();
        Self {
            http: http_options(config),
            body_memory_bytes_max: config.limits.body_memory_bytes_max,
            pipeline_max: config.limits.pipeline_max.clamp(1, PIPELINE_MAX),
            ranges_max: config.limits.ranges_max.min(RANGES_MAX),
            connections_per_address: config.limits.connections_per_address,
            server_name: config.server.server_name.clone(),
            dot_files: config.tree.dot_files,
            follow_symlinks: config.tree.follow_symlinks,
            recheck: config.tree.recheck,
            recheck_watched: config.tree.recheck_watched,
            precompressed: config.tree.precompressed,
            origins: Vec::new(),
            cache_name: config.cache.name.clone(),
            object_bytes_max: config.cache.object_bytes_max,
            rule_default: PathRule::default(),
            feed: FeedRules::new(&config.online),
            root_is_host,
            hosts,
            sites,
            default_site,
            any_site,
            mime_default: config.mime.default.clone(),
            mime: config.mime.types.clone().into_iter().collect(),
            compressible,
        }
    }

    /// The same with the origins' names looked up, and their authorities read: it may take long.
    ///
    /// # Errors
    /// What is wrong with an origin, with the key.
    pub fn with_origins(config: &Config) -> Result<Self, Problem> {
        let mut settings = Self::new(config);
        for (place, host) in config.hosts.iter().enumerate() {
            let Some(origin) = &host.origin else { continue };
            let found = OriginSettings::new(host, origin).map_err(|what| {
                config.places.problem(&format!("host[{place}].origin.ca_file"), what)
            })?;
            settings.sites[place].origin = Some(settings.origins.len());
            settings.origins.push(Arc::new(found));
        }
        Ok(settings)
    }

    /// Whether the host with this directory has an origin.
    #[must_use]
    pub fn has_origin(&self, directory: &[u8]) -> bool {
        !self.origins.is_empty()
            && self
                .sites
                .iter()
                .any(|site| site.origin.is_some() && site.directory.as_bytes() == directory)
    }

    /// Whom `authority` means, what holds there, and its directory.
    ///
    /// # Errors
    /// 400 for a malformed authority, 421 for a host that is not served here.
    pub fn site<'a>(
        &'a self,
        authority: &[u8],
        name: &'a mut http::hosts::HostName,
    ) -> Result<(&'a SiteSettings, &'a str), http::Status> {
        let foreign = match self.hosts.find(authority)? {
            Site::Known(host) => {
                let site = &self.sites[host];
                return Ok((site, &site.directory));
            }
            Site::Foreign(foreign) => Some(foreign),
            Site::Unnamed => None,
        };
        if let (Some(site), Some(foreign)) = (&self.any_site, foreign) {
            *name = foreign;
            return Ok((site, name.as_str()));
        }
        let default = self.default_site.ok_or(http::Status::MisdirectedRequest)?;
        Ok((&self.sites[default], &self.sites[default].directory))
    }

    /// What holds for the host that the configuration names so, and its directory; no other host's
    /// stands in for it.
    #[must_use]
    pub fn configured(&self, authority: &[u8]) -> Option<(&SiteSettings, &str)> {
        match self.hosts.find(authority) {
            Ok(Site::Known(host)) => Some((&self.sites[host], &self.sites[host].directory)),
            _ => None,
        }
    }

    /// Whether the query is a part of the names of files for `path` (decoded) in `directory`. What
    /// lies in the tree is served whatever the query.
    #[must_use]
    pub fn query_counts(&self, directory: &str, path: &[u8]) -> bool {
        self.origin_site(directory.as_bytes())
            .is_some_and(|site| !site.rule(path, &self.rule_default).ignore_query)
    }

    /// What holds for the host with this directory, if it has an origin.
    #[must_use]
    pub fn origin_site(&self, directory: &[u8]) -> Option<&SiteSettings> {
        let mut sites = self.sites.iter();
        sites.find(|site| site.origin.is_some() && site.directory.as_bytes() == directory)
    }

    /// The host directory and the path of a key.
    #[must_use]
    pub fn split<'a>(&self, key: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        if self.root_is_host { (b"", key) } else { crate::cache::key::split(key) }
    }

    /// Content-Type of a file by its name's ending.
    #[must_use]
    pub fn content_type(&self, path: &[u8]) -> &str {
        let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let ending = match last.iter().rposition(|byte| *byte == b'.') {
            Some(dot) => &last[dot + 1..],
            None => return &self.mime_default,
        };
        let ending = String::from_utf8_lossy(ending).to_ascii_lowercase();
        self.mime.get(&ending).unwrap_or(&self.mime_default)
    }

    /// Whether files of this type have precompressed siblings.
    #[must_use]
    pub fn is_compressible(&self, content_type: &str) -> bool {
        let bare = content_type.split(';').next().unwrap_or_default().trim();
        self.precompressed && self.compressible.contains(&bare.to_ascii_lowercase())
    }

    /// Cache-Control for `path` of the host whose directory is `directory`.
    #[must_use]
    pub fn cache_control(&self, directory: &[u8], path: &[u8]) -> Option<&str> {
        let site = self
            .sites
            .iter()
            .find(|site| site.directory.as_bytes() == directory)
            .or(self.any_site.as_ref())?;
        let rule = site.cache_control.iter().find(|(pattern, _)| pattern.matches(path))?;
        Some(&rule.1)
    }
}

/// A host's own rules come first, then those for all hosts; the first match wins.
fn site(host: &Host, config: &Config) -> SiteSettings {
    let rule = |rule: &CacheRule| (Pattern::new(&rule.path), rule.value.clone());
    SiteSettings {
        directory: host.name.clone(),
        allow: host.methods.names().collect::<Vec<_>>().join(", "),
        methods: host.methods,
        index: host.index.clone().unwrap_or_else(|| config.tree.index.clone()),
        origin: None,
        cache_control: host.cache_control.iter().chain(&config.cache_control).map(rule).collect(),
        rules: host.freshness.iter().chain(&config.freshness).map(PathRule::new).collect(),
    }
}

fn http_options(config: &Config) -> http::Options {
    let limits = &config.limits;
    http::Options {
        head: HeadLimits {
            header_bytes_max: limits.header_bytes_max,
            headers_max: limits.headers_max.min(HEADERS_MAX),
            uri_bytes_max: limits.uri_bytes_max,
        },
        body_bytes_max: limits.body_bytes_max,
        idle_timeout: limits.idle_timeout,
        header_timeout: limits.header_timeout,
        body_timeout: limits.body_timeout,
        send_timeout: limits.send_timeout,
        send_rate_min: limits.send_rate_min,
        linger_timeout: limits.linger_timeout,
        requests_per_connection: u32::try_from(limits.requests_per_connection).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::hosts::HostName;

    const TEXT: &str = r#"
[tree]
root = "/tmp"
default_host = "www.example.com"
[[host]]
name = "www.example.com"
aliases = ["example.com"]
methods = ["GET"]
[[host.cache_control]]
path = "/private/**"
value = "no-store"
[[host]]
name = "img.example.com"
[[cache_control]]
path = "*.png"
value = "max-age=60"
"#;

    fn settings() -> Settings {
        Settings::new(&crate::config::parse(TEXT, "test.toml").expect("a good file"))
    }

    fn directory_of(settings: &Settings, authority: &str) -> Result<String, u16> {
        let mut name = HostName::new();
        let found = settings.site(authority.as_bytes(), &mut name);
        found.map(|(_, directory)| directory.to_owned()).map_err(http::Status::code)
    }

    #[test]
    fn names_aliases_and_the_default_lead_to_directories() {
        let settings = settings();
        assert_eq!(directory_of(&settings, "img.example.com"), Ok("img.example.com".into()));
        assert_eq!(directory_of(&settings, "Example.com:80"), Ok("www.example.com".into()));
        assert_eq!(directory_of(&settings, "other"), Ok("www.example.com".into()));
        assert_eq!(directory_of(&settings, ""), Ok("www.example.com".into()));
        assert_eq!(directory_of(&settings, "a/b"), Err(400));
    }

    #[test]
    fn without_a_default_foreign_hosts_are_misdirected_unless_any_is_served() {
        let text = "[tree]\nroot = \"/tmp\"\n[[host]]\nname = \"a\"\n";
        let mut config = crate::config::parse(text, "test.toml").expect("a good file");
        assert_eq!(directory_of(&Settings::new(&config), "b"), Err(421));
        config.tree.any_host = true;
        assert_eq!(directory_of(&Settings::new(&config), "B:1"), Ok("b".into()));
        assert_eq!(directory_of(&Settings::new(&config), ""), Err(421));
    }

    #[test]
    fn only_what_is_named_is_answered_and_changes_by_an_origin_only() {
        let text = "[tree]\nroot = \"/tmp\"\n[[host]]\nname = \"a\"\n\
            methods = [\"DELETE\", \"GET\", \"PUT\"]\n\
            [host.origin]\naddresses = [\"192.0.2.1:80\"]\n";
        let config = crate::config::parse(text, "test.toml").expect("a good file");
        let answered = |settings: &Settings| {
            let mut name = HostName::new();
            let (site, _) = settings.site(b"a", &mut name).expect("it is configured");
            let answered = Method::NAMES.into_iter();
            let answered = answered.filter(|name| site.answers(Method::parse(name)));
            (answered.collect::<Vec<_>>().join(", "), site.allow.clone())
        };
        let allow = "GET, PUT, DELETE".to_owned();
        let settings = Settings::with_origins(&config).expect("nothing is looked up");
        assert_eq!(answered(&settings), (allow.clone(), allow.clone()));
        assert_eq!(answered(&Settings::new(&config)), ("GET".to_owned(), allow));
    }

    #[test]
    fn the_first_matching_rule_wins() {
        let settings = settings();
        let of = |host: &str, path: &str| {
            settings.cache_control(host.as_bytes(), path.as_bytes()).map(str::to_owned)
        };
        assert_eq!(of("www.example.com", "/private/a.png").as_deref(), Some("no-store"));
        assert_eq!(of("www.example.com", "/a.png").as_deref(), Some("max-age=60"));
        assert_eq!(of("img.example.com", "/private/a.png").as_deref(), Some("max-age=60"));
        assert_eq!(of("img.example.com", "/a.gif"), None);
    }

    #[test]
    fn types_go_by_ending() {
        let settings = settings();
        assert_eq!(settings.content_type(b"/a/B.PNG"), "image/png");
        assert_eq!(settings.content_type(b"/a.b/c"), "application/octet-stream");
        assert!(settings.is_compressible(settings.content_type(b"/a.svg")));
        assert!(!settings.is_compressible(settings.content_type(b"/a.png")));
    }
}
