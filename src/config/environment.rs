//! The second stage: whether the machine has what a sound configuration names.
//!
//! Input: a configuration, before the daemon starts or on `peerage check`.   Output: problems.
//! Owns: nothing.                                                            Thread: any.
//! Invariants: it only looks; nothing is created, opened for writing or changed.
//! Not here: whether ports are free (binding tells), the number of cores (the daemon asks).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::errors::{Problem, quote};
use super::origin::Scheme;
use super::schema::Config;
use super::units::emit_size;

/// Check the root directory, the accounts, the authorities and the snapshot against this machine.
pub(super) fn check(config: &Config, passwd: &Path, group: &Path) -> Vec<Problem> {
    let server = &config.server;
    let findings = [
        ("tree.root", root(&config.tree.root)),
        ("server.user", account(&server.user, passwd, "user", "useradd --system")),
        ("server.group", account(&server.group, group, "group", "groupadd --system")),
        ("control.group", account(&config.control.group, group, "group", "groupadd --system")),
        ("online.snapshot", snapshot(config)),
    ];
    let problems = findings.into_iter().filter_map(|(key, finding)| Some((key, finding?)));
    let mut problems: Vec<Problem> =
        problems.map(|(key, what)| config.places.problem(key, what)).collect();
    authorities(config, &mut problems);
    problems
}

/// Look at the authorities of each origin; hosts often share a file, which is read once.
fn authorities(config: &Config, problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<&Path, Option<String>> = BTreeMap::new();
    for (index, host) in config.hosts.iter().enumerate() {
        let Some(origin) = &host.origin else { continue };
        if origin.scheme != Scheme::Https || origin.ca_file.as_os_str().is_empty() {
            continue;
        }
        let finding = seen.entry(&origin.ca_file).or_insert_with(|| certificates(&origin.ca_file));
        if let Some(what) = finding {
            let place = format!("host[{index}].origin.ca_file");
            problems.push(config.places.problem_at(&place, "host.origin.ca_file", what.as_str()));
        }
    }
}

/// A file that can be read and has a certificate in PEM; DER is what is mostly there instead.
fn certificates(file: &Path) -> Option<String> {
    let shown = quote(&file.to_string_lossy());
    let mut bytes = Vec::new();
    let read = File::open(file)
        .and_then(|open| open.take(AUTHORITIES_BYTES_MAX + 1).read_to_end(&mut bytes));
    let begin = b"-----BEGIN CERTIFICATE-----";
    match read {
        Err(error) => Some(format!("{shown}: {error}; make it readable, or correct the path")),
        Ok(read) if u64::try_from(read).is_ok_and(|read| read > AUTHORITIES_BYTES_MAX) => {
            let most = emit_size(AUTHORITIES_BYTES_MAX);
            Some(format!("{shown} is above {most}; write a file of certificates only"))
        }
        Ok(_) if bytes.windows(begin.len()).any(|window| window == begin) => None,
        Ok(_) => Some(format!(
            "{shown} has no line \"-----BEGIN CERTIFICATE-----\"; write a file of certificates \
             in PEM"
        )),
    }
}

fn root(root: &Path) -> Option<String> {
    if root.as_os_str().is_empty() {
        return Some("is missing; write the directory that is served".to_owned());
    }
    let shown = quote(&root.to_string_lossy());
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) => Some(format!("{shown} is not a directory; write one")),
        Err(error) => Some(format!("{shown}: {error}; create the directory, or correct the path")),
    }
}

/// A file that can be written at the end, and that nobody is served: it has the names of users.
fn snapshot(config: &Config) -> Option<String> {
    let (file, root) = (&config.online.snapshot, &config.tree.root);
    if !config.online.enabled || file.as_os_str().is_empty() {
        return None;
    }
    let shown = quote(&file.to_string_lossy());
    if !root.as_os_str().is_empty() && file.starts_with(root) {
        let root = quote(&root.to_string_lossy());
        return Some(format!("{shown} is in tree.root {root}, which is served; move it elsewhere"));
    }
    if file.is_dir() {
        return Some(format!("{shown} is a directory; write the path of a file"));
    }
    match fs::metadata(file.parent()?) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) => Some(format!("{shown} is below a file; write a path in a directory")),
        Err(error) => Some(format!("{shown}: {error}; create its directory, or correct the path")),
    }
}

/// Look `name` up in a file of lines that begin with `NAME:`.
fn account(name: &str, file: &Path, what: &str, command: &str) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    let (quoted, shown) = (quote(name), file.display());
    let lines = match File::open(file) {
        Ok(open) => BufReader::new(open.take(ACCOUNT_FILE_BYTES_MAX)),
        Err(error) => return Some(format!("{quoted} is unknown, since {shown}: {error}")),
    };
    let is_name = |line: &[u8]| line.split(|byte| *byte == b':').next() == Some(name.as_bytes());
    if lines.split(b'\n').map_while(Result::ok).any(|line| is_name(&line)) {
        return None;
    }
    Some(format!("{quoted} is no {what} of {shown}; add it with {command} {name}, or correct it"))
}

/// A system's own bundle has 150 authorities in 250 KiB.
const AUTHORITIES_BYTES_MAX: u64 = 4 << 20;

/// A box with more accounts than fit here keeps them elsewhere.
const ACCOUNT_FILE_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_their_whole_name() {
        let home = tempfile::tempdir().unwrap();
        let passwd = home.path().join("passwd");
        fs::write(&passwd, "root:x:0:0::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n").unwrap();
        let find = |name: &str| account(name, &passwd, "user", "useradd --system");
        assert_eq!(find(""), None);
        assert_eq!(find("www-data"), None);
        for name in ["www", "x", "www-data2"] {
            let shown = passwd.display();
            let expected = format!(
                "\"{name}\" is no user of {shown}; add it with useradd --system {name}, or correct \
                 it"
            );
            assert_eq!(find(name), Some(expected));
        }
    }

    #[test]
    fn problems_name_the_key() {
        let home = tempfile::tempdir().unwrap();
        let none = home.path().join("none");
        let mut config = Config::default();
        let problems = check(&config, &none, &none);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().starts_with("tree.root: is missing; "));
        config.tree.root = home.path().to_path_buf();
        assert_eq!(check(&config, &none, &none), []);
        config.server.user = "a".to_owned();
        config.server.group = "b".to_owned();
        config.control.group = "c".to_owned();
        config.tree.root = none.clone();
        let keys: Vec<String> =
            check(&config, &none, &none).into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["tree.root", "server.user", "server.group", "control.group"]);
    }

    #[test]
    fn a_snapshot_has_a_directory_that_is_not_served() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::create_dir(path("tree")).unwrap();
        fs::write(path("file"), "").unwrap();
        let mut config = Config::default();
        config.tree.root = path("tree");
        let mut find = |name: &str, enabled: bool| {
            config.online.snapshot = path(name);
            config.online.enabled = enabled;
            snapshot(&config)
        };
        for name in ["file", "new", "tree2"] {
            assert_eq!(find(name, true), None, "{name}");
        }
        let complaint = find("none/new", true).unwrap();
        assert!(complaint.ends_with("; create its directory, or correct the path"), "{complaint}");
        assert!(find("tree", true).unwrap().contains("is in tree.root"));
        assert!(find("tree/www.example.com/x", true).unwrap().contains("is in tree.root"));
        assert!(find("", true).unwrap().contains("is a directory"));
        assert!(find("file/x", true).unwrap().contains("is below a file"));
        assert_eq!(find("none/new", false), None);
    }

    #[test]
    fn authorities_are_certificates_in_pem() {
        let home = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = home.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let good = file("good", b"# ours\n-----BEGIN CERTIFICATE-----\nAAAA\n");
        assert_eq!(certificates(&good), None);
        let complaint = |path: &Path| certificates(path).unwrap();
        assert!(complaint(&file("der", b"\x30\x82\xff")).contains("in PEM"));
        assert!(complaint(&file("long", &vec![b'-'; (4 << 20) + 1])).contains("is above 4 MiB"));
        assert!(complaint(home.path()).contains("make it readable"));
        assert!(complaint(&home.path().join("none")).contains("No such file"));
    }
}
