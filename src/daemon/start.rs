//! From a configuration to a running daemon: what is bound, opened, given up, started, in order.
//!
//! Input: a checked configuration.   Output: the process's end.
//! Thread: main.
//! Not here: the table of threads and queues (`daemon::topology`), life after the start
//! (`daemon::control`).

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cache::inventory::NameHash;
use crate::cache::presence::Presence;
use crate::cache::record;
use crate::config::Config;
use crate::limits::{
    DESCRIPTORS_RESERVED, HOT_MEMORY_SHARE, LISTEN_BACKLOG, MAP_COUNT_PERCENT, OPEN_FILES_MIN,
    STORE_DIRECTORIES_MAX, STORE_OPEN_MAX,
};
use crate::stdx::num::{index, wide};
use crate::sys::affinity;
use crate::sys::authorities;
use crate::sys::clock::unix_seconds;
use crate::sys::local::listen_at;
use crate::sys::probe::kernel_can_install;
use crate::sys::process::{
    keep_memory, map_count_max, memory_bytes, raise_descriptor_limit, random_seed,
};
use crate::sys::sandbox::{Confinement, confine};
use crate::sys::signals::Signals;
use crate::sys::socket::listen;
use crate::sys::tree::{is_local, open_root};
use crate::sys::user::{become_user, forbid_new_privileges, group_id};
use crate::time::Duration;

use super::control::{Control, Parts, store_limits};
use super::control_socket::{ControlSocket, Operators};
use super::counters::Counters;
use super::http::{Assignment, TreeState};
use super::online::counters::OnlineCounters;
use super::online::prepare as online;
use super::placed::Placing;
use super::settings::Settings;
use super::store::{Lines, Options, Storage, StoreCounters};
use super::topology::{
    ControlEnd, ControlLine, FeedLine, OnlineEnds, OnlineLine, PeerLine, Peers, StoreEnd,
    StoreLine, StoreOrders, WorkerLine, control_queue, online_queues, placed_queue, start_online,
    start_store, start_tree, start_worker, store_queue, worker_queues,
};
use super::tree::{StoreSide, TreeCounters, Watcher};
use super::{admin, logger};

/// Why the daemon did not start, with the remedy.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

pub(super) fn failed(key: &str, config: &Config, what: String) -> StartError {
    StartError(config.places.problem(key, what).to_string())
}

/// How long a port that is in use is tried for: `BIND_TRIES_MAX` times `BIND_RETRY`.
const BIND_TRIES_MAX: u32 = 20;
const BIND_RETRY: Duration = Duration::from_millis(50);

/// How the machine's limits are shared out among the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Connections of each.
    pub connections: usize,
    /// Open files of each.
    pub open_files: usize,
    /// Descriptors of each, for large files and the sockets that send them.
    pub descriptors: usize,
    /// Bytes of the arena of each.
    pub hot_bytes: usize,
}

/// Shares out. Descriptors of connections live in the ring's table, which the kernel bounds by the
/// same limit without counting them against it.
#[must_use]
pub fn share(
    config: &Config,
    workers: usize,
    descriptors: u64,
    mappings: u64,
    memory: u64,
) -> Shares {
    let workers = workers.max(1);
    let spare = LISTEN_BACKLOG as usize * config.server.listen.len().max(1);
    let table = index(descriptors).saturating_sub(spare);
    let connections = config.limits.connections_per_worker.min(table.max(1));
    let has_origins = config.hosts.iter().any(|host| host.origin.is_some());
    let store = if has_origins { wide(STORE_OPEN_MAX + STORE_DIRECTORIES_MAX) } else { 0 };
    let left = index(descriptors.saturating_sub(DESCRIPTORS_RESERVED + store)) / workers;
    let by_mappings = index(mappings / 100 * MAP_COUNT_PERCENT) / workers;
    let wanted = match config.tree.open_files_max {
        0 => by_mappings,
        wanted => wanted.min(by_mappings),
    };
    let hot_bytes = config.tree.hot_bytes_max.min(index(memory / HOT_MEMORY_SHARE) / workers);
    Shares { connections, open_files: wanted.max(OPEN_FILES_MIN), descriptors: left, hot_bytes }
}

/// Runs the daemon until it is told to end. `file` is reloaded on SIGHUP.
///
/// # Errors
/// What kept it from starting, or made it end.
pub fn run(config: &Config, file: Option<&Path>) -> Result<(), StartError> {
    logger::start(config.log.level);
    let signals = Signals::block().map_err(|error| StartError(format!("signals: {error}")))?;
    let descriptors = raise_descriptor_limit()
        .map_err(|error| StartError(format!("limit of open files: {error}")))?;
    let cores = cores(config)?;
    let shares = share(config, cores.len(), descriptors, map_count_max(), memory_bytes());
    if shares.connections < config.limits.connections_per_worker {
        log::warn!(
            "limits.connections_per_worker is lowered to {}: the limit of open files is \
             {descriptors} (LimitNOFILE=, `ulimit -n`)",
            shares.connections
        );
    }
    if shares.open_files < config.tree.open_files_max {
        log::warn!(
            "tree.open_files_max is lowered to {}: vm.max_map_count is too small for {} workers",
            shares.open_files,
            cores.len()
        );
    }
    if config.limits.connections_per_address > 0 && !kernel_can_install() {
        let what = "needs Linux 6.8 or newer; set it to 0, or take a newer kernel".to_owned();
        return Err(failed("limits.connections_per_address", config, what));
    }
    let listeners = bind_all(config, cores.len())?;
    let addresses: Vec<SocketAddr> =
        listeners[0].iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let admin = bind_admin(config)?;
    let online = Online::prepare(config, descriptors)?;
    let root = &config.tree.root;
    open_root(root).map_err(|error| {
        let what = format!("{}: {error}; make the directory, or name another", root.display());
        failed("tree.root", config, what)
    })?;
    let crew = Crew::recruit(config, &cores, shares, listeners, online)?;
    // Last of all: who fails above must not leave a socket behind.
    let doors = Doors { admin, socket: bind_socket(config) };
    let crew = crew.with_online_socket(config);
    give_up_rights(config, file)?;
    crew.work(config, file, signals, doors, addresses)
}

/// Where operators come in: bound before rights are given up.
struct Doors {
    admin: Option<TcpListener>,
    /// With the group that may purge, if one is configured.
    socket: Option<(UnixListener, Option<u32>)>,
}

/// The service of who is online, and its queues.
struct Online {
    prepared: online::Prepared,
    line: OnlineLine,
    feed: FeedLine,
    ends: OnlineEnds,
}

impl Online {
    fn prepare(config: &Config, descriptors: u64) -> Result<Option<Self>, StartError> {
        let Some(prepared) = online::prepare(config, descriptors)? else { return Ok(None) };
        let (line, feed, ends) = online_queues().map_err(|error| too_few(&error))?;
        Ok(Some(Self { prepared, line, feed, ends }))
    }
}

/// Everybody who will work, before any thread is started: what needs rights is done by then.
struct Crew {
    storage: Option<(Storage, StoreEnd)>,
    store_counters: Arc<StoreCounters>,
    store: Option<StoreLine>,
    assignments: Vec<Assignment>,
    watcher: Watcher,
    online: Option<Online>,
    workers: Vec<WorkerLine>,
    counters: Vec<Arc<Counters>>,
    end: ControlEnd,
    line: ControlLine,
    settings: Arc<Settings>,
    tree_state: Arc<TreeState>,
    tree_counters: Arc<TreeCounters>,
}

impl Crew {
    fn recruit(
        config: &Config,
        cores: &[Option<usize>],
        shares: Shares,
        listeners: Vec<Vec<TcpListener>>,
        online: Option<Online>,
    ) -> Result<Self, StartError> {
        let root = &config.tree.root;
        let settings = settings(config)?;
        let tree_state = Arc::new(TreeState::default());
        tree_state.is_remote.store(!is_local(root), Ordering::Relaxed);
        let (tree_counters, store_counters) = Default::default();
        let (control, end) = control_queue().map_err(|error| too_few(&error))?;
        let (mut workers, mut assignments) = (Vec::new(), Vec::<Assignment>::new());
        let (store, store_end) = (!settings.origins.is_empty()).then(store_queue).unzip();
        let queues: io::Result<Vec<_>> = cores.iter().map(|_| worker_queues()).collect();
        let queues = queues.map_err(|error| too_few(&error))?;
        let peers: Vec<PeerLine> = queues.iter().map(|(_, peer, _)| peer.clone()).collect();
        let (hash_seed, name_seed) = (random_seed(), random_seed());
        let presence = Arc::new(Presence::new(name_seed));
        let hands = cores.iter().zip(listeners).zip(queues).enumerate();
        for (number, ((core, listeners), (line, _, ends))) in hands {
            workers.push(line);
            assignments.push(Assignment {
                number,
                core: *core,
                listeners,
                root: open_root(root).map_err(|error| too_few(&error))?,
                open_files: shares.open_files,
                hot_bytes: shares.hot_bytes,
                descriptors: shares.descriptors,
                connections: shares.connections,
                settings: Arc::clone(&settings),
                tree: Arc::clone(&tree_state),
                counters: Arc::default(),
                ends,
                peers: Peers::new(peers.clone(), hash_seed),
                store: store.clone(),
                name_hash: NameHash::new(name_seed),
                presence: Arc::clone(&presence),
                feed: online.as_ref().map(|online| online.feed.clone()),
                control: control.clone(),
                boundary: boundary(number),
            });
        }
        let watched = watched(root);
        let (placing, placed) = placed_queue(name_seed);
        let watcher = Watcher::new(
            &watched,
            config.tree.watch,
            Arc::clone(&tree_state),
            Arc::clone(&tree_counters),
            workers.clone(),
            store.clone().map(|line| StoreSide { line, presence: Arc::clone(&presence), placed }),
        );
        let storage = store_end.map(|end| {
            let lines = Lines::new(workers.clone(), peers, control.clone());
            let counters = Arc::clone(&store_counters);
            let names = (name_seed, presence, placing);
            storage(config, &watched, names, lines, counters).map(|storage| (storage, end))
        });
        Ok(Self {
            storage: storage.transpose()?,
            store_counters,
            store,
            counters: assignments.iter().map(|worker| Arc::clone(&worker.counters)).collect(),
            assignments,
            watcher,
            online,
            workers,
            end,
            line: control,
            settings,
            tree_state,
            tree_counters,
        })
    }

    /// The same with the Unix socket of who is online, if there is to be one.
    fn with_online_socket(mut self, config: &Config) -> Self {
        if let Some(online) = &mut self.online {
            online.prepared.bind_socket(config);
        }
        self
    }

    /// Starts all threads, and takes charge of them until the end.
    fn work(
        self,
        config: &Config,
        file: Option<&Path>,
        signals: Signals,
        doors: Doors,
        addresses: Vec<SocketAddr>,
    ) -> Result<(), StartError> {
        let mut threads = Vec::new();
        if let Some((storage, end)) = self.storage {
            threads.push(start_store(storage, end).map_err(|error| too_few(&error))?);
        }
        for assignment in self.assignments {
            threads.push(start_worker(assignment).map_err(|error| too_few(&error))?);
        }
        let (mut online_line, mut online_counters) = (None, None);
        if let Some(Online { prepared, line, ends, .. }) = self.online {
            let counters = Arc::new(OnlineCounters::default());
            let assignment =
                prepared.into_assignment(config, ends, Arc::clone(&counters), self.line.clone());
            threads.push(start_online(assignment).map_err(|error| too_few(&error))?);
            (online_line, online_counters) = (Some(line), Some(counters));
        }
        let (tree, tree_thread) = start_tree(self.watcher).map_err(|error| too_few(&error))?;
        threads.push(tree_thread);
        let parts = Parts {
            signals,
            end: self.end,
            line: self.line,
            admin: doors.admin.map(|listener| admin::Admin::new(listener, self.settings.http)),
            socket: doors
                .socket
                .map(|(listener, gid)| ControlSocket::new(listener, Operators::with_group(gid))),
            settings: self.settings,
            workers: self.workers,
            store: self.store.map(StoreOrders::new),
            store_counters: self.store_counters,
            online: online_line,
            online_counters,
            counters: self.counters,
            tree,
            tree_counters: self.tree_counters,
            tree_state: self.tree_state,
            addresses,
        };
        let result = Control::new(parts, config.clone(), file.map(PathBuf::from)).run();
        // Whoever has not ended by now is ended by the process's end.
        threads
            .into_iter()
            .filter(|thread| thread.is_finished())
            .for_each(|thread| drop(thread.join()));
        result.map_err(StartError)
    }
}

/// A link as the root is followed once, here: a watch on the link would see nothing.
fn watched(root: &Path) -> PathBuf {
    std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned())
}

/// The settings, origins looked up.
fn settings(config: &Config) -> Result<Arc<Settings>, StartError> {
    let settings = Settings::with_origins(config);
    let settings = settings.map_err(|problem| StartError(problem.to_string()))?;
    if !settings.origins.is_empty() {
        keep_memory();
    }
    Ok(Arc::new(settings))
}

/// Who stores in the tree.
fn storage(
    config: &Config,
    root: &Path,
    (hash_seed, presence, placing): (u64, Arc<Presence>, Placing),
    lines: Lines,
    counters: Arc<StoreCounters>,
) -> Result<Storage, StartError> {
    let options = Options {
        process: std::process::id(),
        hash_seed,
        presence,
        tags_of: record::tags,
        expire: |head| record::expire(head, unix_seconds()),
    };
    Storage::new(root, options, store_limits(config), Box::new(lines), counters, Some(placing))
        .map_err(|error| failed("tree.root", config, format!("{}: {error}", root.display())))
}

fn too_few(error: &io::Error) -> StartError {
    StartError(format!("{error}; raise the limit of open files (LimitNOFILE=, `ulimit -n`)"))
}

/// The core of each worker; `None` where the kernel does not say which there are.
fn cores(config: &Config) -> Result<Vec<Option<usize>>, StartError> {
    let available = affinity::available();
    let server = &config.server;
    for core in &server.cores {
        if !available.is_empty() && !available.contains(core) {
            let what =
                format!("core {core} is not among those this process may use: {available:?}");
            return Err(failed("server.cores", config, what));
        }
    }
    let pool = if server.cores.is_empty() { &available } else { &server.cores };
    let count = match server.workers {
        0 => pool.len().max(1),
        count => count,
    };
    // More workers than cores share them in turn.
    Ok((0..count).map(|number| pool.get(number % pool.len().max(1)).copied()).collect())
}

/// A listener per address and worker. A port of 0 is chosen by the kernel once, for all workers.
fn bind_all(config: &Config, workers: usize) -> Result<Vec<Vec<TcpListener>>, StartError> {
    let mut all: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    for address in &config.server.listen {
        let mut address = *address;
        let key = "server.listen";
        // The listeners below share the address among themselves; this one fails if a stranger has
        // it, even a stranger of the same user that shares as well.
        if address.port() != 0 {
            listen_patiently(address).map_err(|error| bind_failed(key, address, config, &error))?;
        }
        for listeners in &mut all {
            let listener =
                listen(address, true).map_err(|error| bind_failed(key, address, config, &error))?;
            address = listener.local_addr().unwrap_or(address);
            listeners.push(listener);
        }
    }
    Ok(all)
}

/// Listens alone at `address`. The kernel takes a ring apart after its process has ended, listeners
/// included: at a restart the port may be in use for a moment yet.
pub(super) fn listen_patiently(address: SocketAddr) -> io::Result<TcpListener> {
    for _ in 0..BIND_TRIES_MAX {
        match listen(address, false) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                std::thread::sleep(BIND_RETRY);
            }
            result => return result,
        }
    }
    listen(address, false)
}

fn bind_admin(config: &Config) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = config.admin.listen else { return Ok(None) };
    let listener = listen_patiently(address)
        .map_err(|error| bind_failed("admin.listen", address, config, &error))?;
    Ok(Some(listener))
}

/// The control socket. A box serves without one as well: it is a warning where there is none.
fn bind_socket(config: &Config) -> Option<(UnixListener, Option<u32>)> {
    let control = &config.control;
    if control.socket.as_os_str().is_empty() {
        return None;
    }
    let gid = match control.group.as_str() {
        "" => None,
        name => group_id(name).map_or_else(
            |error| {
                log::warn!("control.group: {error}; only root and the daemon's user may purge");
                None
            },
            Some,
        ),
    };
    match listen_at(&control.socket) {
        Ok(listener) => Some((listener, gid)),
        Err(error) => {
            log::warn!("control.socket: {error}; running without `peerage purge` and `status`");
            None
        }
    }
}

pub(super) fn bind_failed(
    key: &str,
    address: SocketAddr,
    config: &Config,
    error: &io::Error,
) -> StartError {
    let remedy = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "the port is in use; stop what uses it (`ss -ltnp`) or name another"
        }
        Some(libc::EACCES) => {
            "ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= in the systemd unit, \
             or start as root with server.user)"
        }
        Some(libc::EAFNOSUPPORT) => {
            "this kernel has no IPv6; name IPv4 addresses, as in \"0.0.0.0:80\""
        }
        Some(libc::EADDRNOTAVAIL) => "no interface of this machine has the address",
        Some(libc::EMFILE) => "raise the limit of open files (LimitNOFILE=, `ulimit -n`)",
        _ => "see bind(2)",
    };
    failed(key, config, format!("cannot listen at {address}: {error}; {remedy}"))
}

/// Becomes the configured user, and puts everything but the tree and the configuration out of
/// reach.
fn give_up_rights(config: &Config, file: Option<&Path>) -> Result<(), StartError> {
    let server = &config.server;
    if !server.user.is_empty() {
        become_user(&server.user, &server.group).map_err(|error| {
            let what = format!("cannot become {}: {error}; start as root", server.user);
            failed("server.user", config, what)
        })?;
    }
    forbid_new_privileges().map_err(|error| StartError(format!("no_new_privs: {error}")))?;
    let mut readable: Vec<&Path> = vec![&config.tree.root];
    let directory = file
        .and_then(Path::parent)
        .map(|directory| if directory.as_os_str().is_empty() { Path::new(".") } else { directory });
    readable.extend(directory);
    // The file may be a link to another directory, and is read again on SIGHUP.
    let linked = file.and_then(|file| std::fs::canonicalize(file).ok());
    readable.extend(linked.as_deref().and_then(Path::parent));
    let has_origins = config.hosts.iter().any(|host| host.origin.is_some());
    // What looking up names and trusting authorities needs, at a reload too.
    let system = ["/etc", "/run/systemd/resolve", "/usr/share/ca-certificates", "/usr/lib/ssl"];
    let mut authorities = authorities::places();
    for origin in config.hosts.iter().filter_map(|host| host.origin.as_ref()) {
        authorities.extend(authorities::places_of(&origin.ca_file));
    }
    let mut writable = Vec::new();
    if has_origins {
        readable.extend(system.iter().map(Path::new).filter(|path| path.exists()));
        readable.extend(authorities.iter().map(PathBuf::as_path));
        writable.push(config.tree.root.as_path());
    }
    let snapshot = Some(&config.online.snapshot).filter(|_| config.online.enabled);
    writable.extend(snapshot.and_then(|file| file.parent()));
    match confine(&readable, &writable) {
        Ok(Confinement::Full) => log::debug!("landlock: only the tree can be read"),
        Ok(Confinement::Partial) => log::debug!("landlock: enforced in part by this kernel"),
        Ok(Confinement::None) => log::debug!("landlock: this kernel has none"),
        Err(error) => log::warn!("landlock: {error}; serving without it"),
    }
    if let Some(file) = file
        && let Err(error) = std::fs::File::open(file)
    {
        log::warn!(
            "{}: {error}, now that rights are given up: SIGHUP will not be able to reload it; let \
             the daemon's user read it",
            file.display()
        );
    }
    Ok(())
}

/// A string for multipart boundaries: unlikely in any file, different for each start and worker.
fn boundary(number: usize) -> String {
    format!("peerage{number}{:016x}{:016x}", random_seed(), random_seed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_the_machine_are_shared_out() {
        let config = Config::default();
        let shares = share(&config, 2, 20_000, 65_530, 24 << 30);
        assert_eq!(shares.hot_bytes, 256 << 20);
        assert_eq!(shares.connections, 10_000);
        assert_eq!(shares.open_files, 65_530 / 100 * 75 / 2);
        assert_eq!(shares.descriptors, (20_000 - 512) / 2);
    }

    #[test]
    fn a_tight_machine_gets_less_and_never_nothing() {
        let config = Config::default();
        let shares = share(&config, 4, 1024, 1000, 1 << 30);
        assert_eq!(shares.hot_bytes, 32 << 20);
        assert_eq!((shares.connections, shares.open_files), (1, 187));
        let shares = share(&config, 4, 4096, 100, u64::MAX);
        assert_eq!((shares.connections, shares.open_files), (3072, OPEN_FILES_MIN));
    }
}
