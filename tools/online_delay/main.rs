//! How long it takes from a request at a worker to its user in an answer of the service.
//!
//! Input: the daemon to start, a rate, a time.   Output: a histogram, and what the daemon counted.
//! Owns: the daemon, which ends with this; four connections that send at the rate, bounded by the
//! time.   Thread: one that sends, one that takes answers, one that looks.
//! Not here: how fast the service is asked (`tools/compare_redis`).
//!
//! A probe is one more request, on a connection of its own: the clock starts before it is written,
//! so what the client, the kernel and the worker take is in the figure as well.

#![allow(clippy::disallowed_methods, reason = "a tool measures real time and has no sans-IO core")]
#![allow(clippy::cast_precision_loss, reason = "rates are rounded for people")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use hdrhistogram::Histogram;

/// Hits at workers, and how soon they are seen.
#[derive(Debug, Parser)]
struct Options {
    /// The daemon to start.
    #[arg(long, default_value = "target/release/peerage")]
    peerage: PathBuf,
    /// Hits a second.
    #[arg(long, default_value_t = 100_000)]
    rate: u32,
    /// Seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Users.
    #[arg(long, default_value_t = 100_000)]
    users: u32,
}

/// Connections that send, and how often each writes a batch.
const CONNECTIONS: u32 = 4;
const TICK: Duration = Duration::from_millis(1);

/// Between two probes.
const PAUSE: Duration = Duration::from_millis(3);

struct Daemon {
    child: Child,
    _directory: tempfile::TempDir,
    http: SocketAddr,
    online: SocketAddr,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Daemon {
    fn start(binary: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let host = directory.path().join("tree/a.example");
        fs::create_dir_all(&host)?;
        fs::write(host.join("hit.gif"), [0; 43])?;
        let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [http, online] = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        drop(listeners);
        let text = format!(
            "[server]\nlisten = [\"{http}\"]\nworkers = 1\n[tree]\nroot = \"tree\"\n\
             default_host = \"a.example\"\n[limits]\nrequests_per_connection = 1000000000\n\
             [admin]\nlisten = \"\"\n[control]\nsocket = \"\"\n[online]\nenabled = true\n\
             listen = [\"{online}\"]\nuser = \"query:u\"\nurl = \"query:p\"\n"
        );
        let file = directory.path().join("peerage.toml");
        fs::write(&file, text)?;
        let child =
            Command::new(binary).args(["run", "-c"]).arg(&file).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("starting {}", binary.display()))?;
        let daemon = Self { child, _directory: directory, http, online };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(http).is_err() || TcpStream::connect(online).is_err() {
            if Instant::now() > deadline {
                bail!("it does not listen at {http} and {online}; run it by hand to see why");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let daemon = Daemon::start(&options.peerage)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(daemon.http)?;
        stream.set_nodelay(true)?;
        let reading = stream.try_clone()?;
        readers.push(thread::spawn(move || drain(&reading)));
        streams.push(stream);
    }
    let (rate, users, over) = (options.rate, options.users, Arc::clone(&is_over));
    let sender = thread::spawn(move || send(&streams, rate, users, &over));
    thread::sleep(Duration::from_secs(1));
    let found = look(&daemon, Duration::from_secs(options.seconds));
    is_over.store(true, Ordering::Relaxed);
    let sent = sender.join().expect("it does not panic")?;
    for reader in readers {
        reader.join().expect("it does not panic")?;
    }
    let (histogram, missed) = found?;
    let mut out = String::new();
    let quantile = |at: f64| histogram.value_at_quantile(at);
    writeln!(
        out,
        "{} probes beside {:.0} hits/s: p50 {} us, p99 {} us, p99.9 {} us, most {} us; {missed} \
         not seen within 1 s",
        histogram.len(),
        sent,
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        histogram.max()
    )?;
    let stats = ask(&mut Asking::new(daemon.online)?, "ONLINE.STATS\r\n")?;
    let stats: Vec<&str> = stats.split_ascii_whitespace().collect();
    for pair in stats.chunks(2).filter(|pair| pair[0].starts_with("hits_")) {
        writeln!(out, "{} {}", pair[0], pair[1])?;
    }
    std::io::stdout().write_all(out.as_bytes())?;
    Ok(())
}

/// Takes what comes until nothing more does.
fn drain(mut stream: &TcpStream) -> Result<()> {
    let mut bytes = vec![0; 1 << 16];
    while stream.read(&mut bytes)? > 0 {}
    Ok(())
}

/// Sends at the rate; returns the rate that it came to.
fn send(streams: &[TcpStream], rate: u32, users: u32, is_over: &AtomicBool) -> Result<f64> {
    let begun = Instant::now();
    let (mut sent, mut number) = (0_u64, 0_u32);
    let mut text = String::new();
    while !is_over.load(Ordering::Relaxed) {
        let due = begun.elapsed().as_secs_f64() * f64::from(rate);
        for mut stream in streams {
            text.clear();
            while (sent as f64) < due && text.len() < 32 << 10 {
                number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (user, page) = (number % users, (number >> 8) % 10_000);
                write!(
                    text,
                    "GET /hit.gif?u=user{user:012}&p=/page/{page} HTTP/1.1\r\n\
                     Host: a.example\r\n\r\n"
                )?;
                sent += 1;
            }
            stream.write_all(text.as_bytes())?;
        }
        thread::sleep(TICK);
    }
    let reached = sent as f64 / begun.elapsed().as_secs_f64();
    for stream in streams {
        stream.shutdown(std::net::Shutdown::Write)?;
    }
    Ok(reached)
}

/// A connection to the service.
struct Asking(BufReader<TcpStream>);

impl Asking {
    fn new(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self(BufReader::new(stream)))
    }
}

/// The reply to a line: a number, nothing, or a list of strings and numbers, with blanks.
fn ask(asking: &mut Asking, line: &str) -> Result<String> {
    asking.0.get_mut().write_all(line.as_bytes())?;
    let mut text = String::new();
    let mut left = 1;
    while left > 0 {
        let mut head = String::new();
        asking.0.read_line(&mut head)?;
        let (kind, rest) = head.trim_end().split_at_checked(1).context("no reply")?;
        left -= 1;
        match kind {
            "*" => left += rest.parse::<i64>()?,
            "$" if rest != "-1" => {
                let mut word = String::new();
                asking.0.read_line(&mut word)?;
                text += &format!("{} ", word.trim_end());
            }
            "$" => {}
            ":" => text += &format!("{rest} "),
            _ => bail!("{head}"),
        }
    }
    Ok(text)
}

/// Sends probes, and looks for each until it is there.
fn look(daemon: &Daemon, span: Duration) -> Result<(Histogram<u64>, u64)> {
    let mut histogram = Histogram::new(3)?;
    let mut missed = 0;
    let mut asking = Asking::new(daemon.online)?;
    let probing = TcpStream::connect(daemon.http)?;
    probing.set_nodelay(true)?;
    let reading = probing.try_clone()?;
    let reader = thread::spawn(move || drain(&reading));
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < span {
        number += 1;
        let question = format!("ONLINE.USER probe{number}\r\n");
        let request =
            format!("GET /hit.gif?u=probe{number}&p=/probe HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let sent = Instant::now();
        (&probing).write_all(request.as_bytes())?;
        loop {
            if !ask(&mut asking, &question)?.is_empty() {
                histogram.record(u64::try_from(sent.elapsed().as_micros())?)?;
                break;
            }
            if sent.elapsed() > Duration::from_secs(1) {
                missed += 1;
                break;
            }
        }
        thread::sleep(PAUSE);
    }
    probing.shutdown(std::net::Shutdown::Write)?;
    reader.join().expect("it does not panic")?;
    Ok((histogram, missed))
}
