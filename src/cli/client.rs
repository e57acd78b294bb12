//! The command line's side of the control socket: finding it, asking, printing the answer.
//!
//! Thread: main.
//! Not here: the protocol (`admin::control`), the daemon's side (`daemon::control_socket`).

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{anyhow, bail};

use crate::admin::control::{Command, Line, WireError, parse_answer_line};
use crate::config::{self, Config};
use crate::time::Duration;

/// Which daemon is meant.
#[derive(Debug, clap::Args)]
pub struct Daemon {
    /// The daemon's configuration file, which names its control socket.
    #[arg(short, long = "config", value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// The daemon's control socket [default: /run/peerage/control.sock].
    #[arg(short, long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
}

/// A connection to a running daemon.
pub struct Connection {
    reader: BufReader<UnixStream>,
    path: PathBuf,
}

/// How long a daemon that is well takes at most for what it only has to look up.
const PATIENCE: Duration = Duration::from_secs(10);

impl Daemon {
    /// Connects to it.
    ///
    /// # Errors
    /// With what to do about it.
    pub fn connect(&self) -> anyhow::Result<Connection> {
        let path = self.path()?;
        let stream = UnixStream::connect(&path).map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    "no daemon runs with this socket; start it (`peerage run -c FILE`), or name \
                     its socket by -s, or its file by -c"
                }
                io::ErrorKind::PermissionDenied => {
                    "the directory lets you not through; ask as another user, or open it to all: \
                     rights are checked by the daemon"
                }
                _ => "name the daemon's socket by -s, or its file by -c",
            };
            anyhow!("{}: {error}; {remedy}", path.display())
        })?;
        Ok(Connection { reader: BufReader::new(stream), path })
    }

    fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let Some(file) = &self.config else { return Ok(Config::default().control.socket) };
        let socket = config::load(file)?.control.socket;
        if socket.as_os_str().is_empty() {
            bail!("{}: control.socket is \"\" (off); name a path and restart", file.display());
        }
        Ok(socket)
    }
}

impl Connection {
    /// Asks, and prints the answer as it comes, however long that takes.
    ///
    /// # Errors
    /// In the daemon's words where it refuses or fails.
    pub fn ask(&mut self, command: &Command) -> anyhow::Result<()> {
        let line = command.emit();
        match Command::parse(line.as_bytes()) {
            Ok(Some(read)) if read == *command => {}
            Err(error @ (WireError::TooLong | WireError::NotText)) => bail!("{error}"),
            _ => bail!("a URL or name holds a blank, or is empty; write a blank as %20"),
        }
        let shown = self.path.display();
        let lost = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                anyhow!("{shown}: no answer within {} s", PATIENCE.as_secs())
            }
            _ => anyhow!("{shown}: {error}"),
        };
        let mut stream = self.reader.get_ref();
        stream.write_all(format!("{line}\n").as_bytes()).map_err(lost)?;
        loop {
            let mut text = String::new();
            if self.reader.read_line(&mut text).map_err(lost)? == 0 {
                bail!("{shown}: the daemon closed the connection before it answered");
            }
            match parse_answer_line(text.trim_end_matches('\n')) {
                Line::Text(text) => super::say(text)?,
                Line::Ok("") => return Ok(()),
                Line::Ok(words) => {
                    super::say(words)?;
                    return Ok(());
                }
                Line::Error(reason) => bail!("{reason}"),
            }
        }
    }

    /// The same for what a daemon answers at once, if it is well.
    ///
    /// # Errors
    /// As above, and where it does not answer.
    pub fn ask_briefly(&mut self, command: &Command) -> anyhow::Result<()> {
        self.reader.get_ref().set_read_timeout(Some(PATIENCE))?;
        self.ask(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_explained() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let daemon = Daemon { config: None, socket: Some(socket.clone()) };
        let error = daemon.connect().err().unwrap().to_string();
        assert!(error.contains("no daemon runs"), "{error}");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let error = daemon.connect().err().unwrap().to_string();
        assert!(error.contains("no daemon runs"), "{error}");
    }

    #[test]
    fn the_file_names_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f.toml");
        let of = |text: &str| {
            std::fs::write(&file, format!("[tree]\nroot = \"/tmp\"\n{text}\n")).unwrap();
            Daemon { config: Some(file.clone()), socket: None }.path()
        };
        let default = PathBuf::from("/run/peerage/control.sock");
        assert_eq!(of("").unwrap(), default);
        assert_eq!(Daemon { config: None, socket: None }.path().unwrap(), default);
        assert_eq!(of("[control]\nsocket = \"/x/y\"").unwrap(), PathBuf::from("/x/y"));
        assert!(of("[control]\nsocket = \"\"").unwrap_err().to_string().contains("off"));
    }
}
