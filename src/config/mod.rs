//! The configuration: one TOML file, read into plain values, with place, key and remedy in every
//! message.
//!
//! Input: the file, at start and on SIGHUP.     Output: a `Config`, or all errors of the file.
//! Owns: nothing; reads at most FILE_BYTES_MAX.  Thread: any; only `load` and `check_environment`
//! touch the file system, and they block.
//! Invariants: every value of a `Config` that was read is in its range; `parse(print(c)) == c`; an
//! unknown key is an error.
//! Not here: what the daemon makes of the values, flags of the command line (`cli`).
//! Differs from the house: the spanned TOML tree is walked along one table of keys (`keys.rs`)
//! rather than derived by serde, which stops at the first error and has no ranges.
//!
//! Files: `schema` and `origin` the values; `keys` the table of keys; `kinds`, `lists`, `parts`,
//! `units`, `rules` how values are written; `mime` the default content types; `read`, `relations`,
//! `environment` the three stages of checking; `emit` printing and comparing; `errors` messages.

mod emit;
mod environment;
mod errors;
mod keys;
mod kinds;
mod lists;
mod mime;
mod origin;
mod parts;
mod read;
mod relations;
mod rules;
mod schema;
mod units;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use emit::KeyNote;
pub use errors::{Errors, Places, Problem};
pub use keys::Reload;
pub use origin::{ClientRules, FreshnessRule, Origin, Scheme};
pub use schema::{
    Admin, Cache, CacheRule, Config, Control, Host, Level, Limits, Log, Methods, Mime, Online,
    Server, Tree, UrlFrom, UserFrom,
};

/// Read a configuration from its text. `name` is what messages call the file; relative paths stay
/// as they are.
///
/// # Errors
/// All that is wrong with the text; where it is not TOML, only that.
pub fn parse(text: &str, name: &str) -> Result<Config, Errors> {
    read::read(text, name)
}

/// Read a configuration file. A relative `tree.root` or `ca_file` is taken from the file's
/// directory.
///
/// # Errors
/// All that is wrong with the file; where it cannot be read or is not TOML, only that.
pub fn load(path: &Path) -> Result<Config, Errors> {
    let name = path.display().to_string();
    let text = file_text(path).map_err(|(line, what)| {
        Errors::new(vec![Problem { file: name.clone(), line, key: String::new(), what }])
    })?;
    let mut config = parse(&text, &name)?;
    let home = path.parent().unwrap_or(Path::new(""));
    let places = &config.places;
    config.tree.root = absolute(home, &config.tree.root)
        .map_err(|what| Errors::new(vec![places.problem("tree.root", what)]))?;
    for (index, host) in config.hosts.iter_mut().enumerate() {
        let Some(origin) = &mut host.origin else { continue };
        if origin.ca_file.as_os_str().is_empty() {
            continue;
        }
        origin.ca_file = absolute(home, &origin.ca_file).map_err(|what| {
            let place = format!("host[{index}].origin.ca_file");
            Errors::new(vec![places.problem_at(&place, "host.origin.ca_file", what)])
        })?;
    }
    Ok(config)
}

/// The effective values as TOML that `parse` reads back.
#[must_use]
pub fn print(config: &Config) -> String {
    emit::print(config)
}

/// Check a configuration against this machine: the root is a directory, the accounts exist, the
/// authorities of origins can be read, the snapshot has a directory.
#[must_use]
pub fn check_environment(config: &Config) -> Vec<Problem> {
    environment::check(config, Path::new("/etc/passwd"), Path::new("/etc/group"))
}

/// All keys with their ranges, in the order of the annotated sample.
#[must_use]
pub fn reference() -> Vec<KeyNote> {
    emit::reference()
}

impl Config {
    /// The keys, as `section.key`, that differ in `new` and take effect at a restart only.
    #[must_use]
    pub fn diff_restart(&self, new: &Config) -> Vec<String> {
        emit::diff_restart(self, new)
    }
}

/// A path of a file in the directory `home`, or what is wrong with it.
fn absolute(home: &Path, path: &Path) -> Result<PathBuf, String> {
    let path = home.join(path);
    std::path::absolute(&path)
        .map_err(|error| format!("{}: {error}; write an absolute path", path.display()))
}

/// The text of a file, or what is wrong with it, with the line where there is one.
fn file_text(path: &Path) -> Result<String, (Option<usize>, String)> {
    let whole = |error: io::Error| (None, format!("cannot be read: {error}"));
    let file = File::open(path).map_err(whole)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(whole)?;
    if bytes.len() > usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX) {
        let limit = units::emit_size(FILE_BYTES_MAX);
        return Err((None, format!("is above {limit}; this is no configuration of peerage")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        (Some(line), "a byte is not UTF-8; save the file as UTF-8".to_owned())
    })
}

/// How long a response runs before its average is held against `limits.send_rate_min`: a slow
/// start, a full socket buffer on a phone and one retransmission timeout all fit into it.
pub const SEND_RATE_AFTER: Duration = Duration::from_secs(30);

/// 10000 hosts with a dozen rules each are some 10 MiB; the rest is margin.
const FILE_BYTES_MAX: u64 = 64 << 20;
