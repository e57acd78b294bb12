//! A daemon of the test's own with an origin, which can be killed and started again on its tree.
//!
//! Not here: daemons without an origin (`harness`), what is expected (the modules beside).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{Pending, Reply};
use crate::harness::{await_true, metrics};
use crate::origin::Origin;

/// What a daemon is started with.
pub struct Setup {
    workers: usize,
    /// Lines for `[server]`, `[tree]`, `[cache]`.
    pub server: String,
    pub tree: String,
    pub cache: String,
    /// Lines for the host itself.
    pub named: String,
    /// Lines for `[host.origin]`; none for a host without one.
    pub origin: String,
    /// Further tables of the host.
    pub host: String,
    /// Run by a shell with the tree's root as `$1` before the daemon takes its place.
    pub before: String,
    /// Further variables of its environment.
    environment: Vec<(&'static str, PathBuf)>,
}

impl Setup {
    /// In front of `origin`.
    pub fn of(origin: &Origin) -> Self {
        Self::at(&[origin.address])
    }

    /// In front of an origin with these addresses.
    pub fn at(addresses: &[SocketAddr]) -> Self {
        let addresses: Vec<String> =
            addresses.iter().map(|address| format!("\"{address}\"")).collect();
        Self {
            workers: 1,
            server: String::new(),
            tree: String::new(),
            cache: String::new(),
            named: String::new(),
            origin: format!("addresses = [{}]", addresses.join(", ")),
            host: String::new(),
            before: String::new(),
            environment: Vec::new(),
        }
    }

    /// Without an origin.
    pub fn alone() -> Self {
        Self { origin: String::new(), ..Self::at(&[]) }
    }

    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    pub fn server(mut self, lines: &str) -> Self {
        self.server = lines.to_owned();
        self
    }

    pub fn tree(mut self, lines: &str) -> Self {
        self.tree = lines.to_owned();
        self
    }

    pub fn cache(mut self, lines: &str) -> Self {
        self.cache = lines.to_owned();
        self
    }

    /// Methods that go to the origin, besides the usual ones.
    pub fn methods(mut self, methods: &[&str]) -> Self {
        let all = [&["GET", "HEAD", "OPTIONS"], methods].concat();
        self.named = format!("methods = {all:?}");
        self
    }

    /// Further lines for `[host.origin]`.
    pub fn origin(mut self, lines: &str) -> Self {
        self.origin = format!("{}\n{lines}", self.origin);
        self
    }

    /// One `[[host.freshness]]` table for all paths that match `pattern`.
    pub fn rule(mut self, pattern: &str, lines: &str) -> Self {
        self.host += &format!("[[host.freshness]]\npath = \"{pattern}\"\n{lines}\n");
        self
    }

    /// A shell's line to run before, in a mount namespace of the daemon's own.
    pub fn before(mut self, line: &str) -> Self {
        self.before = line.to_owned();
        self
    }

    /// With a variable of its environment that names a file.
    pub fn environment(mut self, name: &'static str, file: &Path) -> Self {
        self.environment.push((name, file.to_owned()));
        self
    }

    pub fn start(self) -> Peer {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("tree")).unwrap();
        self.start_in(directory)
    }

    /// The same in a directory that is prepared already.
    pub fn start_in(self, directory: tempfile::TempDir) -> Peer {
        let (child, address, admin, said) = launch(&self, directory.path());
        Peer { child, address, admin, said, directory, setup: self }
    }
}

/// A running daemon; ended with the value.
pub struct Peer {
    child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub directory: tempfile::TempDir,
    said: crossbeam_channel::Receiver<String>,
    setup: Setup,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

type Launched = (Child, SocketAddr, SocketAddr, crossbeam_channel::Receiver<String>);

fn launch(setup: &Setup, directory: &Path) -> Launched {
    let mut seen = Vec::new();
    // The port of the admin pages is free when it is chosen, and another test may be quicker.
    for _ in 0..5 {
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut child = spawn(setup, directory, admin);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        seen.clear();
        let address = loop {
            let Some(Ok(line)) = lines.next() else { break None };
            if let Some((_, url)) = line.split_once(" at http://") {
                break Some(url.trim_end_matches('/').parse().unwrap());
            }
            seen.push(line);
        };
        let Some(address) = address else {
            drop(child.wait());
            continue;
        };
        // Somebody must read on, or the daemon blocks at a full pipe.
        let (sender, said) = crossbeam_channel::bounded(10_000);
        seen.into_iter().for_each(|line| drop(sender.try_send(line)));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                drop(sender.try_send(line));
            }
        });
        return (child, address, admin, said);
    }
    panic!("it ended: {seen:?}");
}

fn spawn(setup: &Setup, directory: &Path, admin: SocketAddr) -> Child {
    let Setup { workers, server, tree, cache, named, origin, host, before, environment } = setup;
    let socket = directory.join("control.sock");
    let socket = socket.display();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = {workers}\n{server}\n\
         [admin]\nlisten = \"{admin}\"\n[control]\nsocket = \"{socket}\"\n\
         [tree]\nroot = \"tree\"\n{tree}\n[cache]\nfree_bytes_min = 0\n{cache}\n\
         [[host]]\nname = \"a.example\"\naliases = [\"www.a.example\"]\n{named}\n\
         {}{host}\n",
        origin_table(origin)
    );
    let file = directory.join("peerage.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = if before.is_empty() {
        Command::new(env!("CARGO_BIN_EXE_peerage"))
    } else {
        let mut command = crate::mount::namespace();
        let line = format!("{before} && shift && exec \"$@\"");
        command.args(["sh", "-c", &line, "sh"]).arg(directory.join("tree"));
        command.arg(env!("CARGO_BIN_EXE_peerage"));
        command
    };
    // Whom this machine trusts is no matter of a test.
    command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    let environment = environment.iter().map(|(name, file)| (name, file));
    command.envs(environment).args(["run", "-c"]).arg(file).stderr(Stdio::piped()).spawn().unwrap()
}

fn origin_table(lines: &str) -> String {
    if lines.is_empty() { String::new() } else { format!("[host.origin]\n{lines}\n") }
}

impl Peer {
    /// Sends SIGHUP with `change` made to the configuration, and waits until that is in force, or
    /// is refused: whether it is in force. Each worker hears of it a moment later.
    pub fn reload(&self, change: impl FnOnce(&str) -> String) -> bool {
        let (done, refused) = self.reloads();
        self.begin_reload(change);
        await_true(20, "the reload", || self.reloads() != (done, refused));
        self.reloads().0 > done
    }

    /// The same without waiting for its end.
    pub fn begin_reload(&self, change: impl FnOnce(&str) -> String) {
        let file = self.directory.path().join("peerage.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(&text)).unwrap();
        self.signal("-HUP");
    }

    /// How many reloads were done, and how many refused.
    pub fn reloads(&self) -> (f64, f64) {
        let count = |result| self.metric(&format!("peerage_reloads_total{{result=\"{result}\"}}"));
        (count("done"), count("refused"))
    }

    /// The same with another `[host.origin]`, or none.
    pub fn reload_origin(&self, lines: &str) -> bool {
        self.reload(|text| {
            let begin = text.find("[host.origin]").unwrap_or(text.len());
            let end = text[begin..].find("\n[[").map_or(text.len(), |at| begin + at + 1);
            format!("{}{}{}", &text[..begin], origin_table(lines), &text[end..])
        })
    }

    /// Ends it at once (SIGKILL), if it has not ended.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again on the same tree.
    pub fn restart(&mut self) {
        self.kill();
        (self.child, self.address, self.admin, self.said) =
            launch(&self.setup, self.directory.path());
    }

    /// Tells it to end (SIGTERM).
    pub fn begin_stop(&self) {
        self.signal("-TERM");
    }

    /// Waits until it has ended: whether in good order.
    pub fn await_end(&mut self) -> bool {
        let mut status = None;
        await_true(20, "the end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.is_some_and(|status| status.success())
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Carries `act` out while the daemon does nothing at all (SIGSTOP).
    pub fn while_stopped(&self, act: impl FnOnce()) {
        self.signal("-STOP");
        let tasks = PathBuf::from(format!("/proc/{}/task", self.child.id()));
        await_true(20, "all threads to stop", || {
            std::fs::read_dir(&tasks).unwrap().flatten().all(|task| {
                let status = std::fs::read_to_string(task.path().join("status"));
                status.is_ok_and(|text| text.contains("State:\tT"))
            })
        });
        act();
        self.signal("-CONT");
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What is run before from the next start on.
    pub fn set_before(&mut self, line: &str) {
        self.setup.before = line.to_owned();
    }

    /// What it said since this was last asked.
    pub fn said(&self) -> Vec<String> {
        self.said.try_iter().collect()
    }

    /// Waits until it says something with `words`; what it said before that is taken as well.
    pub fn await_said(&self, words: &str) {
        let mut seen = Vec::new();
        await_true(20, words, || {
            seen.extend(self.said.try_iter());
            seen.iter().any(|line| line.contains(words))
        });
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("tree")
    }

    /// A file of the host.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root().join("a.example").join(name)
    }

    /// Sends a GET with further field lines (each with its CR LF).
    pub fn ask_with(&self, target: &str, fields: &str) -> Pending {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
        Pending::send(self.address, &text)
    }

    pub fn ask(&self, target: &str) -> Pending {
        self.ask_with(target, "")
    }

    /// The same with the last request of its connection.
    pub fn ask_last(&self, target: &str) -> Pending {
        self.ask_with(target, "Connection: close\r\n")
    }

    pub fn get_with(&self, target: &str, fields: &str) -> Reply {
        self.ask_with(target, fields).finish()
    }

    pub fn get(&self, target: &str) -> Reply {
        self.get_with(target, "")
    }

    pub fn head(&self, target: &str) -> Reply {
        let text = format!("HEAD {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        Pending::send(self.address, &text).finish()
    }

    /// Sends `text` and reads one answer.
    pub fn raw(&self, text: &str) -> Reply {
        Pending::send(self.address, text).finish()
    }

    /// Asks until what is stored answers, which is the case a moment after it was fetched.
    pub fn await_hit_with(&self, target: &str, fields: &str) -> Reply {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let reply = self.get_with(target, fields);
            if reply.is_hit() {
                return reply;
            }
            assert!(Instant::now() < end, "{target} is no hit: {}", reply.head);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn await_hit(&self, target: &str) -> Reply {
        self.await_hit_with(target, "")
    }

    /// Says `command` on the control socket; the answer, whole.
    pub fn order(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(self.directory.path().join("control.sock")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(format!("{command}\n").as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// All metrics, by name with labels.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        metrics(self.admin)
    }

    pub fn metric(&self, name: &str) -> f64 {
        self.metrics().get(name).copied().unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// How many answers of origins failed in this way.
    pub fn errors(&self, kind: &str) -> f64 {
        self.metric(&format!("peerage_origin_errors_total{{kind=\"{kind}\"}}"))
    }

    /// Waits until nothing is being written, and nothing is left of what was.
    pub fn await_tidy(&self) {
        await_true(20, "the temporary files to go", || self.temporaries().is_empty());
    }

    /// The files that are being written: those with a name, and those that only the daemon has.
    pub fn temporaries(&self) -> Vec<PathBuf> {
        let directory = self.root().join(".peerage");
        let mut files = files_below(&directory);
        let Ok(open) = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())) else {
            return files;
        };
        let links = open.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let is_unnamed = |link: &PathBuf| {
            link.starts_with(&directory) && link.to_string_lossy().ends_with(" (deleted)")
        };
        files.extend(links.filter(is_unnamed));
        files
    }

    /// The files of all hosts.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = files_below(&self.root());
        files.retain(|file| !file.starts_with(self.root().join(".peerage")));
        files
    }
}

/// Every file below `directory`, sorted.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else { return files };
    for entry in entries.map_while(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(_) => files.push(entry.path()),
            Err(_) => {}
        }
    }
    files.sort();
    files
}
