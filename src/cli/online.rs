//! `peerage online`: who is online, asked of a running daemon over its Redis protocol.
//!
//! Thread: main.
//! Not here: what questions mean (`online::command`), the daemon's side (`daemon::online`).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};

use crate::config::{self, Config};
use crate::online::resp::Replies;
use crate::time::Duration;

/// Asks a running daemon who is online.
#[derive(Debug, clap::Args)]
pub struct Online {
    /// The daemon's configuration file, which says where it listens, and the password.
    #[arg(short, long = "config", value_name = "FILE", conflicts_with = "address", global = true)]
    config: Option<PathBuf>,
    /// Where it listens: HOST:PORT or the path of a socket [default: 127.0.0.1:6399].
    #[arg(short, long, value_name = "ADDRESS", global = true)]
    address: Option<String>,
    #[command(subcommand)]
    ask: Ask,
}

#[derive(Debug, clap::Subcommand)]
enum Ask {
    /// How many users are online.
    Count {
        /// Only those seen within so many seconds.
        window: Option<String>,
    },
    /// Who is on a url, newest first: a name and the Unix time of the hit per line.
    Url {
        /// The url, as it was told: www.example.com/index.html.
        url: String,
        /// At most so many.
        #[arg(short, long, default_value = "30")]
        limit: String,
        /// Not before this Unix time; with a minus, so many seconds ago.
        #[arg(short, long, allow_hyphen_values = true)]
        since: Option<String>,
    },
    /// Where a user is, and since when.
    User {
        /// The user's name.
        name: String,
    },
    /// The busiest urls: a url and how many are on it per line.
    Top {
        /// So many.
        #[arg(default_value = "10")]
        count: String,
    },
    /// Urls that begin so, by name.
    Prefix {
        /// How they begin.
        prefix: String,
        /// At most so many.
        #[arg(short, long, default_value = "30")]
        limit: String,
    },
    /// Says that a user is on a url now.
    Hit {
        /// The user's name.
        user: String,
        /// The url.
        url: String,
        /// The Unix time of it, if it was earlier.
        time: Option<String>,
    },
    /// Says that a user has left.
    Del {
        /// The user's name.
        user: String,
    },
    /// Shows every hit as it comes, until interrupted.
    Watch,
    /// What there is, and what happened so far.
    Stats,
}

/// The environment variable with the password, where no file is named.
const PASSWORD: &str = "PEERAGE_ONLINE_PASSWORD";

/// How long a service that is well takes at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// A reply.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Null,
    /// A string or a number, as text.
    Text(Vec<u8>),
    List(Vec<Reply>),
}

impl Online {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (place, password) = self.place()?;
        let mut stream = connect(&place)?;
        if !password.is_empty() {
            stream.ask(&["AUTH", &password])?;
        }
        let (words, columns) = self.ask.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let reply = stream.ask(&words)?;
        if matches!(self.ask, Ask::Watch) {
            stream.set_patience(None)?;
            return stream.watch();
        }
        match reply {
            Reply::Null => bail!("nobody of that name is online"),
            Reply::Text(text) => super::say(printable(&text)),
            Reply::List(list) => list.chunks(columns).try_for_each(|row| {
                let cells = row.iter().map(|cell| match cell {
                    Reply::Text(text) => printable(text),
                    Reply::Null | Reply::List(_) => "-".to_owned(),
                });
                super::say(cells.collect::<Vec<_>>().join("\t"))
            }),
        }
    }

    /// Where to ask, and the password.
    fn place(&self) -> anyhow::Result<(String, String)> {
        let Some(file) = &self.config else {
            let first = Config::default().online.listen.first().map(ToString::to_string);
            let place = self.address.clone().or(first).unwrap_or_default();
            return Ok((place, std::env::var(PASSWORD).unwrap_or_default()));
        };
        let online = config::load(file)?.online;
        if !online.enabled {
            bail!("{}: online.enabled is false; make it true and restart", file.display());
        }
        let socket = online.socket.to_str().filter(|path| !path.is_empty()).map(str::to_owned);
        let mut listeners = online.listen.iter().chain(&online.listen_read_only);
        let place = socket.or_else(|| listeners.next().map(ToString::to_string));
        Ok((place.unwrap_or_default(), online.password))
    }
}

impl Ask {
    /// The request, and how many parts of the reply make a line.
    fn words(&self) -> (Vec<String>, usize) {
        let (words, columns): (Vec<&str>, usize) = match self {
            Self::Count { window: None } => (vec!["ONLINE.COUNT"], 1),
            Self::Count { window: Some(window) } => (vec!["ONLINE.COUNT", window], 1),
            Self::Url { url, limit, since } => {
                let mut words = vec!["ONLINE.URL", url, "WITHTIMES", "LIMIT", limit];
                if let Some(since) = since {
                    words.extend(["SINCE", since]);
                }
                (words, 2)
            }
            Self::User { name } => (vec!["ONLINE.USER", name], 2),
            Self::Top { count } => (vec!["ONLINE.TOP", count], 2),
            Self::Prefix { prefix, limit } => (vec!["ONLINE.PREFIX", prefix, "LIMIT", limit], 2),
            Self::Hit { user, url, time: None } => (vec!["ONLINE.HIT", user, url], 1),
            Self::Hit { user, url, time: Some(time) } => (vec!["ONLINE.HIT", user, url, time], 1),
            Self::Del { user } => (vec!["ONLINE.DEL", user], 1),
            Self::Watch => (vec!["ONLINE.WATCH"], 1),
            Self::Stats => (vec!["ONLINE.STATS"], 2),
        };
        (words.into_iter().map(str::to_owned).collect(), columns)
    }
}

enum Socket {
    Tcp(TcpStream),
    Local(UnixStream),
}

struct Stream {
    reader: BufReader<Socket>,
    place: String,
}

fn connect(place: &str) -> anyhow::Result<Stream> {
    let socket = if place.contains('/') {
        UnixStream::connect(place).map(Socket::Local)
    } else {
        TcpStream::connect(place).map(Socket::Tcp)
    };
    let socket = socket.map_err(|error| {
        anyhow!(
            "{place}: {error}; is online.enabled true there? Name the daemon's file by -c, or its \
             address by -a"
        )
    })?;
    let stream = Stream { reader: BufReader::new(socket), place: place.to_owned() };
    stream.set_patience(Some(PATIENCE))?;
    Ok(stream)
}

impl Stream {
    fn set_patience(&self, patience: Option<Duration>) -> anyhow::Result<()> {
        match self.reader.get_ref() {
            Socket::Tcp(stream) => stream.set_read_timeout(patience),
            Socket::Local(stream) => stream.set_read_timeout(patience),
        }
        .with_context(|| self.place.clone())
    }

    fn ask(&mut self, words: &[&str]) -> anyhow::Result<Reply> {
        let mut bytes = Vec::new();
        let mut request = Replies::new(&mut bytes, false);
        request.array(words.len());
        words.iter().for_each(|word| request.bulk(word.as_bytes()));
        self.reader.get_mut().write_all(&bytes).with_context(|| self.place.clone())?;
        read_reply(&mut self.reader, DEPTH_MAX).with_context(|| self.place.clone())
    }

    /// Prints lines until there are no more.
    fn watch(&mut self) -> anyhow::Result<()> {
        loop {
            match read_reply(&mut self.reader, DEPTH_MAX).with_context(|| self.place.clone())? {
                // What is in quotes there is printable already.
                Reply::Text(text) => super::say(String::from_utf8_lossy(&text))?,
                Reply::Null | Reply::List(_) => {}
            }
        }
    }
}

/// Lists within lists: no reply has more.
const DEPTH_MAX: usize = 4;

/// Longest string, and longest list, of a reply that is believed.
const REPLY_MAX: usize = 1 << 20;

fn read_reply(from: &mut impl BufRead, depth: usize) -> anyhow::Result<Reply> {
    let mut line = Vec::new();
    from.take(REPLY_MAX as u64).read_until(b'\n', &mut line)?;
    let Some(line) = line.strip_suffix(b"\r\n") else {
        bail!("the connection was closed, or no Redis protocol is spoken there");
    };
    let (kind, rest) = line.split_first().context("an empty line is no reply")?;
    let len = || std::str::from_utf8(rest).ok().and_then(|text| text.parse::<i64>().ok());
    match (kind, len()) {
        (b'+' | b':', _) => Ok(Reply::Text(rest.to_vec())),
        (b'-', _) => Err(anyhow!("{}", printable(rest))),
        (b'$' | b'*', Some(-1)) | (b'_', _) => Ok(Reply::Null),
        (b'$', Some(len)) => {
            let len = usize::try_from(len).ok().filter(|len| *len <= REPLY_MAX);
            let mut text = vec![0; len.context("a string of the reply is too long")? + 2];
            from.read_exact(&mut text)?;
            text.truncate(text.len() - 2);
            Ok(Reply::Text(text))
        }
        (b'*', Some(len)) if depth > 0 => {
            let len = usize::try_from(len).ok().filter(|len| *len <= REPLY_MAX);
            let count = len.context("a list of the reply is too long")?;
            (0..count)
                .map(|_| read_reply(from, depth - 1))
                .collect::<Result<_, _>>()
                .map(Reply::List)
        }
        _ => bail!("no Redis protocol is spoken there"),
    }
}

/// As text that does nothing to a terminal.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let chars = text.chars().map(|letter| {
        if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() }
    });
    chars.collect()
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Local(stream) => stream.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Local(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(bytes: &[u8]) -> Result<Reply, String> {
        let read = read_reply(&mut BufReader::new(bytes), DEPTH_MAX);
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn table_of_replies() {
        let text = |text: &str| Reply::Text(text.into());
        for (bytes, expected) in [
            ("+OK\r\n", text("OK")),
            (":12\r\n", text("12")),
            ("$2\r\na\n\r\n", text("a\n")),
            ("$-1\r\n", Reply::Null),
            ("*-1\r\n", Reply::Null),
            ("_\r\n", Reply::Null),
            (
                "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
                Reply::List(vec![text("a"), Reply::List(vec![text("1")])]),
            ),
        ] {
            assert_eq!(reply(bytes.as_bytes()), Ok(expected), "{bytes}");
        }
        for bytes in [
            "",
            "+OK",
            "-ERR no\r\n",
            "$99999999999\r\n",
            "$5\r\nab\r\n",
            "*x\r\n",
            "HTTP/1.1 400\r\n",
            "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        ] {
            assert!(reply(bytes.as_bytes()).is_err(), "{bytes}");
        }
    }

    #[test]
    fn what_would_do_something_to_a_terminal_is_escaped() {
        assert_eq!(printable("a\x1b[2J\u{e9}\n".as_bytes()), "a\\u{1b}[2J\u{e9}\\n");
    }
}
