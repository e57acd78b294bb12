//! Mount namespaces, for trees that are full or read-only.
//!
//! Not here: what is tested with them (`disks`).

use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

/// A command that is run with mounts of its own; its arguments follow.
pub fn namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    if !is_root() {
        command.arg("--map-root-user");
    }
    command.arg("--");
    command
}

/// Whether this is root, whom no permission stops.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Whether a test can have them; says why not.
pub fn is_possible(line: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let mut command = namespace();
    command.args(["sh", "-c", line, "sh"]).arg(directory.path());
    let output = command.stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr).trim());
            false
        }
        Err(error) => {
            eprintln!("skipped: unshare: {error}");
            false
        }
    }
}
