//! The configuration as its users meet it: the samples, the messages, the way back to text.
//!
//! Input: `conf/*.toml`, `tests/data/conf_errors.txt`, seeded noise.   Output: passes or fails.
//! Not here: the units and rules one by one (beside the code in `src/config`).
//! `PEERAGE_REWRITE=1 cargo test --test conf` rewrites the expected messages; read the diff.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use peerage::config::{
    self, ClientRules, Config, FreshnessRule, Host, Level, Methods, Online, Origin, Reload, Scheme,
    UrlFrom, UserFrom,
};

// ---- The samples ----

#[test]
fn annotated_sample_holds_every_key_at_its_default() {
    let text = sample("peerage.toml");
    let config = config::parse(&text, "peerage.toml").expect("the sample is sound");
    assert_eq!(config, with_root("/var/lib/peerage/tree"));
    let lines: BTreeSet<&str> = text.lines().collect();
    for line in config::print(&config).lines() {
        assert!(lines.contains(line), "conf/peerage.toml lacks the line: {line}");
    }
    for note in config::reference().iter().filter(|note| !is_of_array(note.section)) {
        let key = format!("{}.{}", note.section, note.name);
        assert!(config.places.line(&key).is_some(), "conf/peerage.toml does not give {key}");
    }
}

#[test]
fn annotated_sample_tells_range_and_reload_of_every_key() {
    let text = sample("peerage.toml");
    let mut section = String::new();
    let mut comment = String::new();
    let mut told = BTreeSet::new();
    for line in text.lines() {
        let working = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
        if let Some(rest) = line.strip_prefix("# ") {
            comment = format!("{comment} {rest}").trim().to_owned();
        } else if working.starts_with('[') {
            section = working.trim_matches(['[', ']']).to_owned();
            if section == "mime.types" {
                told.insert(("mime.types".to_owned(), comment.clone()));
            }
        } else if let Some((name, _)) = working.split_once(" = ") {
            told.insert((format!("{section}.{name}"), comment.clone()));
        } else {
            comment.clear();
        }
    }
    for note in config::reference() {
        let key = format!("{}.{}", note.section, note.name);
        let reload = if note.reload == Reload::Live { "live" } else { "restart" };
        let words = format!("Allowed: {}; {reload}.", note.allowed);
        let found = told.iter().find(|(told, _)| *told == key);
        let (_, comment) = found.unwrap_or_else(|| panic!("conf/peerage.toml lacks {key}"));
        assert!(comment.ends_with(&words), "{key} in conf/peerage.toml should say: {words}");
    }
}

#[test]
fn examples_of_the_annotated_sample_are_sound() {
    let uncommented: String = sample("peerage.toml")
        .lines()
        .map(|line| {
            let example = line.strip_prefix('#').filter(|rest| !rest.is_empty());
            example.filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned() + "\n"
        })
        .collect();
    let config = config::parse(&uncommented, "peerage.toml").expect("the examples are sound");
    assert_eq!(config.hosts.len(), 1);
    assert_eq!(config.hosts[0].aliases, ["example.com", "img.example.com"]);
    assert_eq!(config.hosts[0].cache_control[0].path, "*.png");
    assert_eq!(config.cache_control[0].path, "/static/**");
    let origin = config.hosts[0].origin.clone().expect("the sample has one");
    assert_eq!(origin.addresses, ["192.0.2.1:8080"]);
    let shown = Origin {
        scheme: origin.scheme,
        host_header: origin.host_header.clone(),
        ca_file: origin.ca_file.clone(),
        tls_name: origin.tls_name.clone(),
        addresses: origin.addresses.clone(),
        ..Origin::default()
    };
    assert_eq!(origin, shown, "the other keys are shown at their defaults");
    let rule = &config.hosts[0].freshness[0];
    assert_eq!(rule.default, Some(Duration::from_secs(3600)));
    let shown =
        FreshnessRule { path: rule.path.clone(), default: rule.default, ..Default::default() };
    assert_eq!(*rule, shown, "the other keys are shown at their defaults");
    assert_eq!(config.freshness[0].client, ClientRules::All);
}

#[test]
fn one_box_sample_serves_one_host_on_port_80() {
    let text = sample("one-box.toml");
    let config = config::parse(&text, "one-box.toml").expect("the sample is sound");
    let listen: Vec<String> = config.server.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["[::]:80", "0.0.0.0:80"]);
    assert_eq!(config.server.user, "www-data");
    assert_eq!(config.tree.root, Path::new("/var/lib/peerage/tree"));
    assert_eq!(config.hosts.len(), 1);
    assert!(text.lines().count() <= 10, "the short sample stays short");
}

#[test]
fn cache_box_sample_has_an_origin() {
    let text = sample("cache-box.toml");
    let config = config::parse(&text, "cache-box.toml").expect("the sample is sound");
    let origin = config.hosts[0].origin.as_ref().expect("it is a cache");
    assert_eq!(origin.addresses.len(), 2);
    assert!(text.lines().count() <= 15, "the short sample stays short");
}

#[test]
fn systemd_unit_leaves_io_uring_alone() {
    let unit = sample("peerage.service");
    let given = |line: &str| unit.lines().any(|other| other == line);
    assert!(given("Type=notify") && given("Restart=always") && given("LimitMEMLOCK=infinity"));
    assert!(given("ExecReload=/bin/kill -HUP $MAINPID"));
    assert!(!unit.lines().any(|line| line.starts_with("SystemCallFilter")));
}

// ---- The messages ----

#[test]
fn bad_configurations_are_told_apart() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/conf_errors.txt");
    let text = fs::read_to_string(&path).expect("the table of messages is there");
    let mut rewritten = String::new();
    let mut count = 0;
    for block in text.split("\n\n").map(|block| block.trim_matches('\n')) {
        let (input, expected) = block.split_once("\n----").unwrap_or((block, ""));
        let expected = expected.trim_start_matches('\n');
        let found = config::parse(&complete(input), "t.toml");
        let found = found.err().map_or("accepted".to_owned(), |errors| errors.to_string());
        rewritten.push_str(&format!("{input}\n----\n{found}\n\n"));
        count += 1;
        if std::env::var_os("PEERAGE_REWRITE").is_none() {
            assert_eq!(found, expected, "for the configuration:\n{input}");
            assert_ne!(found, "accepted", "for the configuration:\n{input}");
        }
    }
    if std::env::var_os("PEERAGE_REWRITE").is_some() {
        fs::write(&path, rewritten.trim_end().to_owned() + "\n").expect("the table is writable");
    }
    assert!(count >= 40, "the table of messages has shrunk to {count}");
}

#[test]
fn too_many_hosts_or_rules_are_refused() {
    let hosts: String = (0..10_001).map(|n| format!("[[host]]\nname = \"h{n}\"\n")).collect();
    assert_eq!(
        error(&hosts),
        "t.toml:20001: host: 10001 of them are too many; allowed at most 10000"
    );
    let rules = "[[cache_control]]\npath = \"*\"\nvalue = \"no-store\"\n".repeat(257);
    assert_eq!(
        error(&rules),
        "t.toml:769: cache_control: 257 of them are too many; allowed at most 256"
    );
    let rules = "[[host.freshness]]\npath = \"*\"\n".repeat(257);
    assert_eq!(
        error(&format!("[[host]]\nname = \"a\"\n{rules}")),
        "t.toml:515: host.freshness: 257 of them are too many; allowed at most 256"
    );
    let addresses: Vec<String> = (1..=17).map(|port| format!("\"a:{port}\"")).collect();
    let list = addresses.join(", ");
    assert_eq!(
        error(&format!("[[host]]\nname = \"a\"\n[host.origin]\naddresses = [{list}]")),
        "t.toml:4: host.origin.addresses: 17 entries are too many; allowed at most 16"
    );
}

#[test]
fn long_values_are_refused_with_their_length() {
    let name = "x".repeat(65);
    let shown = "x".repeat(64);
    assert_eq!(
        error(&format!("[server]\nserver_name = \"{name}\"")),
        format!(
            "t.toml:2: server.server_name: \"{shown}\"... is 65 bytes long; allowed at most 64"
        )
    );
    let listen: Vec<String> = (1..=65).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    assert_eq!(
        error(&format!("[server]\nlisten = [{}]", listen.join(", "))),
        "t.toml:2: server.listen: 65 entries are too many; allowed at most 64"
    );
    let listen: Vec<String> = (1..=17).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    assert_eq!(
        error(&format!("[online]\nlisten_read_only = [{}]", listen.join(", "))),
        "t.toml:2: online.listen_read_only: 17 entries are too many; allowed at most 16"
    );
    let paths: Vec<String> = (1..=65).map(|n| format!("\"/{n}\"")).collect();
    assert_eq!(
        error(&format!("[online]\npaths = [{}]", paths.join(", "))),
        "t.toml:2: online.paths: 65 entries are too many; allowed at most 64"
    );
    let path = "x".repeat(107);
    let shown = "x".repeat(63);
    assert_eq!(
        error(&format!("[control]\nsocket = \"/{path}\"")),
        format!("t.toml:2: control.socket: \"/{shown}\"... is 108 bytes long; allowed at most 107")
    );
    assert_eq!(
        error(&format!("[online]\nsocket = \"/{path}\"")),
        format!("t.toml:2: online.socket: \"/{shown}\"... is 108 bytes long; allowed at most 107")
    );
    assert_eq!(
        error(&format!("[online]\nsnapshot = \"/{}\"", "x".repeat(4095))),
        format!(
            "t.toml:2: online.snapshot: \"/{shown}\"... is 4096 bytes long; allowed at most 4095"
        )
    );
    assert_eq!(
        error(&format!("[online]\npassword = \"{}\"", "x".repeat(129))),
        "t.toml:2: online.password: the password is 129 bytes long; allowed 8 to 128, or \"\" \
         (none)"
    );
    assert_eq!(
        error(&format!("[admin]\npurge_token = \"{}\"", "x".repeat(129))),
        "t.toml:2: admin.purge_token: the token is 129 bytes long; allowed 16 to 128, or \"\" (off)"
    );
    assert_eq!(
        error(&format!("[cache]\nname = \"{name}\"")),
        format!(
            "t.toml:2: cache.name: \"{}\"... is 65 bytes long; allowed at most 64",
            "x".repeat(64)
        )
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("peerage.toml");
    let shown = path.display().to_string();
    let message = |path: &Path| config::load(path).unwrap_err().to_string();
    assert_eq!(
        message(&path),
        format!("{shown}: cannot be read: No such file or directory (os error 2)")
    );
    fs::write(&path, b"[tree]\nroot = \"\xff\"\n").unwrap();
    assert_eq!(message(&path), format!("{shown}:2: a byte is not UTF-8; save the file as UTF-8"));
}

#[test]
fn every_error_is_one_line_and_they_stand_in_order() {
    let text = "a = 1\n\"b\\nc\" = 2\n[server]\nuser = \"a\\nb\"\n\"\\u0007\" = 1\n[tree]\nroot=1";
    let errors = config::parse(text, "t.toml").unwrap_err();
    assert_eq!(errors.count(), 5);
    assert_eq!(errors.to_string().lines().count(), errors.count());
    let lines: Vec<_> = errors.iter().map(|problem| problem.line).collect();
    assert!(lines.is_sorted(), "{lines:?}");
}

// ---- Text and back ----

#[test]
fn defaults_round_trip() {
    assert_round_trip(&with_root("/srv"));
    assert_eq!(config::parse("[tree]\nroot = \"/srv\"", "t.toml"), Ok(with_root("/srv")));
}

#[test]
fn a_full_configuration_round_trips() {
    let config = config::parse(FULL, "t.toml").expect("it is sound");
    assert_round_trip(&config);
    assert_eq!(config.server.workers, 2);
    assert_eq!(config.server.cores, [3, 1]);
    assert_eq!(config.server.grace, Duration::ZERO);
    assert_eq!(config.tree.hot_bytes_max, 1_000_000);
    assert_eq!(config.limits.idle_timeout, Duration::from_millis(1500));
    assert_eq!(config.limits.header_bytes_max, 32 << 10);
    assert_eq!(config.mime.types["png"], "image/x-mine");
    assert_eq!(config.mime.types["jpg"], "image/jpeg");
    assert_eq!(config.admin.listen, None);
    assert_eq!(config.log.level, Level::Debug);
    let host = &config.hosts[1];
    assert_eq!(host.methods, Methods { options: true, ..Methods::GET });
    assert_eq!(host.index.as_deref(), Some(""));
    assert_eq!(config.hosts[0].index, None);
    assert_eq!(config.cache_control[0].value, "a \"quoted\\\" value");
    assert_eq!(config.cache.bytes_max, 3 << 40);
    assert_eq!(config.control.socket, Path::new(""));
    assert_eq!(config.admin.purge_token, "\\\"0123456789abcd");
    assert_eq!(config.hosts[0].origin, None);
    let origin = host.origin.as_ref().expect("it has one");
    assert_eq!(origin.addresses, ["[2001:db8::2]:443", "files.example.com:8443", "192.0.2.9:443"]);
    assert_eq!(origin.scheme, Scheme::Https);
    assert_eq!(origin.ca_file, Path::new("ca/\u{fc}.pem"));
    assert_eq!((origin.idle_max, origin.waiters_max, origin.failures_max), (0, 0, 100));
    assert_eq!(host.freshness[0].default, Some(Duration::ZERO));
    assert_eq!(host.freshness[1].default, None);
    assert_eq!(config.freshness[0].client, ClientRules::Ignored);
    assert_eq!(config.freshness[0].max, Duration::from_secs(90));
    let online = &config.online;
    assert!(online.enabled && online.listen.is_empty());
    assert_eq!(online.listen_read_only.len(), 2);
    assert_eq!(online.socket, Path::new("/run/peerage/online.sock"));
    assert_eq!(online.password, "\\\"012345");
    assert_eq!(online.window, Duration::from_secs(7 * 86_400));
    assert_eq!((online.users_max, online.urls_max), (1 << 27, (1 << 24) - 1));
    assert_eq!((online.user_bytes_max, online.url_bytes_max), (1, 1));
    assert_eq!(online.text_bytes_max, 64 << 10);
    assert_eq!((online.connections_max, online.connection_bytes_max), (16, 16 << 20));
    assert_eq!(online.snapshot, Path::new("/var/lib/peerage/\u{fc}"));
    assert_eq!(online.user, UserFrom::Header("X-User".to_owned()));
    assert_eq!(online.url, UrlFrom::Query("u".to_owned()));
    assert_eq!(online.paths, ["/hit", "*.html"]);
    assert_eq!(config.places.line("online.paths[1]"), Some(84));
    assert_eq!(config.places.line("server.workers"), Some(3));
    assert_eq!(config.places.line("host[1].aliases[1]"), Some(35));
    assert_eq!(config.places.line("server.user"), None);
}

#[test]
fn seeded_configurations_round_trip() {
    for seed in 0..300 {
        let mut noise = Noise(seed);
        let mut config = with_root("/srv");
        config.server.workers = noise.below(257);
        config.server.grace = Duration::from_millis(noise.wide(3_600_001));
        config.tree.any_host = noise.below(2) == 1;
        config.tree.recheck = Duration::from_millis(100 + noise.wide(3_599_901));
        config.tree.hot_bytes_max = noise.below(20) << (noise.below(4) * 10);
        config.limits.header_bytes_max = 32_768 + noise.below(32_769);
        config.limits.uri_bytes_max = 64 + noise.below(32_000);
        config.limits.body_bytes_max = noise.wide((1 << 30) + 1);
        config.limits.body_memory_bytes_max = (1 << 30) + noise.wide(1 << 30);
        config.limits.requests_per_connection = 1 + noise.wide(1_000_000_000);
        for index in 0..noise.below(4) {
            let aliases = (0..noise.below(30)).map(|n| format!("a{n}.h{index}.test")).collect();
            let origin = (noise.below(2) == 1).then(|| noise.origin());
            let mut change = || noise.below(2) == 1 && origin.is_some();
            let (post, put, patch, delete) = (change(), change(), change(), change());
            let (head, options) = (noise.below(2) == 1, noise.below(2) == 1);
            let methods = Methods { head, options, post, put, patch, delete };
            let freshness = (0..noise.below(3)).map(|_| noise.freshness()).collect();
            config.hosts.push(Host {
                name: format!("h{index}.test"),
                aliases,
                methods,
                origin,
                freshness,
                ..Host::default()
            });
        }
        config.freshness = (0..noise.below(3)).map(|_| noise.freshness()).collect();
        config.cache.bytes_max = noise.wide(1000) << (noise.below(5) * 10);
        config.online = noise.online();
        assert_eq!(reparsed(&config), config, "SEED={seed}");
    }
}

#[test]
fn relative_roots_are_taken_from_the_files_directory() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("peerage.toml");
    fs::write(&path, "[tree]\nroot = \"tree\"\n[server]\nuser = \"no-such-user-here\"\n").unwrap();
    let config = config::load(&path).unwrap();
    assert_eq!(config.tree.root, home.path().join("tree"));
    assert_round_trip(&config);
    let shown = path.display();
    let problems = |config: &Config| -> Vec<String> {
        config::check_environment(config).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        problems(&config),
        [
            format!(
                "{shown}:2: tree.root: \"{}\": No such file or directory (os error 2); create the \
                 directory, or correct the path",
                config.tree.root.display()
            ),
            format!(
                "{shown}:4: server.user: \"no-such-user-here\" is no user of /etc/passwd; add it \
                 with useradd --system no-such-user-here, or correct it"
            ),
        ]
    );
    fs::create_dir(home.path().join("tree")).unwrap();
    let config = Config { server: config::Server::default(), ..config };
    assert_eq!(problems(&config), Vec::<String>::new());
}

#[test]
fn authorities_of_origins_are_taken_from_the_files_directory_and_looked_at() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("peerage.toml");
    let text = "[tree]\nroot = \".\"\n[control]\ngroup = \"no-such-group-here\"\n\
                [[host]]\nname = \"a\"\n[host.origin]\naddresses = [\"b:443\"]\n\
                [[host]]\nname = \"b\"\n[host.origin]\naddresses = [\"b:443\"]\n\
                scheme = \"https\"\nca_file = \"ca.pem\"\n";
    fs::write(&path, text).unwrap();
    let config = config::load(&path).unwrap();
    let origin = |index: usize| config.hosts[index].origin.as_ref().expect("it has one");
    assert_eq!(origin(0).ca_file, Path::new(""));
    assert_eq!(origin(1).ca_file, home.path().join("ca.pem"));
    assert_round_trip(&config);
    let problems: Vec<String> =
        config::check_environment(&config).iter().map(ToString::to_string).collect();
    let (shown, file) = (path.display(), home.path().join("ca.pem"));
    assert_eq!(
        problems,
        [
            format!(
                "{shown}:4: control.group: \"no-such-group-here\" is no group of /etc/group; add \
                 it with groupadd --system no-such-group-here, or correct it"
            ),
            format!(
                "{shown}:14: host.origin.ca_file: \"{}\": No such file or directory (os error 2); \
                 make it readable, or correct the path",
                file.display()
            ),
        ]
    );
    fs::write(&file, "-----BEGIN CERTIFICATE-----\n").unwrap();
    assert_eq!(config::check_environment(&config).len(), 1);
}

// ---- What a SIGHUP cannot change ----

#[test]
fn diff_restart_names_the_keys_that_need_a_restart() {
    let old = with_root("/srv");
    assert_eq!(old.diff_restart(&old), Vec::<String>::new());
    let full = config::parse(FULL, "t.toml").unwrap();
    let names = old.diff_restart(&full);
    assert_eq!(names, full.diff_restart(&old));
    assert_eq!(
        names,
        [
            "server.listen",
            "server.workers",
            "server.cores",
            "tree.watch",
            "tree.hot_bytes_max",
            "limits.connections_per_worker",
            "admin.listen",
            "control.socket",
            "online.enabled",
            "online.listen",
            "online.listen_read_only",
            "online.socket",
            "online.password",
            "online.window",
            "online.users_max",
            "online.urls_max",
            "online.text_bytes_max",
            "online.user_bytes_max",
            "online.url_bytes_max",
            "online.connections_max",
            "online.connection_bytes_max",
            "online.snapshot",
        ]
    );
}

#[test]
fn the_keys_that_need_a_restart_are_these() {
    let notes = config::reference();
    let restart = notes.iter().filter(|note| note.reload == Reload::Restart);
    let names: Vec<String> =
        restart.map(|note| format!("{}.{}", note.section, note.name)).collect();
    assert_eq!(
        names,
        [
            "server.listen",
            "server.workers",
            "server.cores",
            "server.user",
            "server.group",
            "tree.root",
            "tree.watch",
            "tree.open_files_max",
            "tree.hot_bytes_max",
            "limits.connections_per_worker",
            "admin.listen",
            "control.socket",
            "control.group",
            "online.enabled",
            "online.listen",
            "online.listen_read_only",
            "online.socket",
            "online.password",
            "online.window",
            "online.users_max",
            "online.urls_max",
            "online.text_bytes_max",
            "online.user_bytes_max",
            "online.url_bytes_max",
            "online.connections_max",
            "online.connection_bytes_max",
            "online.snapshot",
        ]
    );
}

// ---- Garbage ----

#[test]
fn seeded_garbage_never_panics() {
    let sample = sample("peerage.toml");
    let words: Vec<&str> = FULL.split_inclusive([' ', '\n']).collect();
    for seed in 0..3000 {
        let mut noise = Noise(seed);
        let text: String = match seed % 3 {
            0 => (0..noise.below(200)).map(|_| ALPHABET[noise.below(ALPHABET.len())]).collect(),
            1 => (0..noise.below(60)).map(|_| words[noise.below(words.len())]).collect(),
            _ => {
                let mut chars: Vec<char> =
                    if seed % 2 == 0 { &sample } else { FULL }.chars().collect();
                for _ in 0..=noise.below(4) {
                    let at = noise.below(chars.len());
                    chars[at] = ALPHABET[noise.below(ALPHABET.len())];
                }
                chars.into_iter().collect()
            }
        };
        match config::parse(&text, "t.toml") {
            Ok(config) => assert_eq!(reparsed(&config), config, "SEED={seed}"),
            Err(errors) => {
                assert_eq!(errors.to_string().lines().count(), errors.count(), "SEED={seed}");
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let deep = format!("a = {}{}", open.repeat(100_000), close.repeat(100_000));
        assert!(config::parse(&deep, "t.toml").is_err());
    }
    assert!(config::parse(&"a.".repeat(100_000), "t.toml").is_err());
}

#[test]
fn many_hosts_are_read_in_time_linear_in_their_number() {
    let block = |n: usize| format!("[[host]]\nname = \"h{n}\"\naliases = [\"a{n}\", \"b{n}\"]\n");
    let text: String = (0..10_000).map(block).collect();
    let config = config::parse(&complete(&text), "t.toml").unwrap();
    assert_eq!(config.hosts.len(), 10_000);
    assert_eq!(config.places.line("host[9999].name"), Some(29_999));
}

// ---- Helpers ----

fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn with_root(root: &str) -> Config {
    let mut config = Config::default();
    config.tree.root = root.into();
    config
}

fn is_of_array(section: &str) -> bool {
    section.starts_with("host") || section == "cache_control" || section == "freshness"
}

/// The required key at the end, unless the text is about it.
fn complete(text: &str) -> String {
    if text.contains("tree]") || text.contains("tree =") || text.contains("tree.") {
        text.to_owned()
    } else {
        format!("{text}\n[tree]\nroot = \"/srv\"\n")
    }
}

fn error(text: &str) -> String {
    config::parse(&complete(text), "t.toml").expect_err("it is bad").to_string()
}

fn reparsed(config: &Config) -> Config {
    let text = config::print(config);
    config::parse(&text, "t.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn assert_round_trip(config: &Config) {
    assert_eq!(reparsed(config), *config);
    assert_eq!(config::print(&reparsed(config)), config::print(config));
}

/// A small linear generator: the same seed gives the same test on every machine.
struct Noise(u64);

impl Noise {
    fn wide(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a bound fits");
        usize::try_from(self.wide(bound)).expect("below a usize")
    }

    fn seconds(&mut self) -> Duration {
        Duration::from_secs(self.wide(365 * 86_400 + 1))
    }

    fn origin(&mut self) -> Origin {
        let connections_max = 1 + self.below(1024);
        let down_max = Duration::from_millis(100 + self.wide(3_599_901));
        Origin {
            addresses: (0..=self.below(16)).map(|n| format!("o{n}.test:{}", n + 1)).collect(),
            scheme: if self.below(2) == 1 { Scheme::Https } else { Scheme::Http },
            connections_max,
            idle_max: self.below(connections_max + 1),
            connect_timeout: Duration::from_millis(10 + self.wide(59_991)),
            requests_per_connection: 1 + u32::try_from(self.wide(1_000_000_000)).expect("it fits"),
            down_min: down_max.min(Duration::from_millis(100 + self.wide(3_599_901))),
            down_max,
            ..Origin::default()
        }
    }

    fn online(&mut self) -> Online {
        let name = "n".repeat(1 + self.below(64));
        let users = [
            UserFrom::Nobody,
            UserFrom::Cookie(name.clone()),
            UserFrom::Header(name.clone()),
            UserFrom::Query(name.clone()),
            UserFrom::Address,
        ];
        let urls = [UrlFrom::Path, UrlFrom::Referer, UrlFrom::Query(name)];
        let mut listen = |count_max: usize, port: u16| -> Vec<SocketAddr> {
            (port..)
                .take(self.below(count_max + 1))
                .map(|port| ([192, 0, 2, 1], port).into())
                .collect()
        };
        Online {
            listen: listen(16, 1000),
            listen_read_only: listen(16, 2000),
            window: Duration::from_millis(1000 + self.wide(604_799_001)),
            users_max: 1 + self.below(1 << 27),
            urls_max: 1 + self.below((1 << 24) - 1),
            text_bytes_max: (64 << 10) + self.wide(1 << 30),
            user_bytes_max: 1 + self.below(255),
            url_bytes_max: 1 + self.below(2048),
            connections_max: 16 + self.below(999_985),
            connection_bytes_max: (16 << 20) + self.wide(1 << 30),
            user: users[self.below(users.len())].clone(),
            url: urls[self.below(urls.len())].clone(),
            paths: (0..=self.below(64)).map(|n| format!("/{n}/**")).collect(),
            ..Online::default()
        }
    }

    fn freshness(&mut self) -> FreshnessRule {
        let (max, stale_max) = (self.seconds(), self.seconds());
        FreshnessRule {
            path: "*.png".to_owned(),
            default: (self.below(2) == 1).then(|| self.seconds()),
            min: max.min(self.seconds()),
            max,
            negative: self.seconds(),
            stale_if_error: stale_max.min(self.seconds()),
            stale_max,
            strip_cookies: self.below(2) == 1,
            client: [ClientRules::Ignored, ClientRules::Sparing, ClientRules::All][self.below(3)],
            ..FreshnessRule::default()
        }
    }
}

const ALPHABET: [char; 32] = [
    '[',
    ']',
    '{',
    '}',
    '=',
    '.',
    ',',
    '"',
    '\'',
    '\\',
    '#',
    '\n',
    '\r',
    ' ',
    '\t',
    '\0',
    'a',
    'e',
    't',
    'r',
    '0',
    '1',
    '9',
    '-',
    '+',
    '_',
    ':',
    '*',
    '/',
    '\u{e9}',
    '\u{1f600}',
    '\u{7f}',
];

/// Every section, with values that are not the defaults.
const FULL: &str = r#"[server]
listen = ["[2001:db8::1]:80", "*:8081"]
workers = 2
cores = [3, 1]
grace = "0s"
server_name = ""
[tree]
root = "/srv"
default_host = "www.example.com"
watch = false
hot_bytes_max = 1000000
[limits]
header_bytes_max = "32KiB"
idle_timeout = "1500 ms"
connections_per_worker = 0x10
[mime]
compressible = []
[mime.types]
"image/x-mine" = ["png", "mine"]
[admin]
listen = ""
purge_token = '\"0123456789abcd'
[control]
socket = ""
[cache]
bytes_max = "3 TiB"
name = "box-1"
[log]
level = "debug"
[[host]]
name = "www.example.com"
[[host]]
name = "[2001:db8::1]"
aliases = ["192.0.2.1",
  "a_b.example.com"]
methods = ["OPTIONS", "GET"]
index = ""
[[host.cache_control]]
path = "f\u00fcr \\ **.png"
value = "no-store"
[host.origin]
addresses = ["[2001:db8::2]:443", "files.example.com:8443",
  "192.0.2.9:443"]
scheme = "https"
host_header = "files.example.com:8443"
ca_file = "ca/\u00fc.pem"
tls_name = "192.0.2.9"
connections_max = 1
idle_max = 0
waiters_max = 0
failures_max = 100
[[host.freshness]]
path = "/a/**"
default = "0 s"
strip_cookies = true
[[host.freshness]]
path = "**"
[[freshness]]
path = "*.png"
min = "90s"
max = "90 s"
client = "ignored"
[[cache_control]]
path = "*"
value = 'a "quoted\" value'
[online]
enabled = true
listen = []
listen_read_only = ["*:6400"]
socket = "/run/peerage/online.sock"
password = '\"012345'
window = "168 h"
users_max = 134_217_728
urls_max = 0xffffff
text_bytes_max = "64 KiB"
user_bytes_max = 1
url_bytes_max = 1
connections_max = 16
connection_bytes_max = "16 MiB"
snapshot = "/var/lib/peerage/\u00fc"
user = "header:X-User"
url = "query:u"
paths = ["/hit",
  "*.html"]
"#;
