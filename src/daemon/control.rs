//! The life of the daemon after its start: signals, workers' words, the admin listener, the control
//! socket.
//!
//! Input: signals, `FromWorker` messages, operators' connections.   Output: orders to the workers.
//! Owns: the configuration in force, the purges under way.   Thread: main, as `control`.
//! Differs from the house's rule that a thread sleeps in its ring: nothing here is hot, and poll(2)
//! reads more easily.
//! Not here: starting (`daemon::start`), the numbers (`daemon::counters`), the order of a purge
//! (`daemon::purges`).

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::admin::control::{Answer, Command, HELP};
use crate::admin::metrics::{Exposition, Kind};
use crate::cache::purge::Purged;
use crate::cache::store::Sight;
use crate::config::{self, Config, Problem};
use crate::sys::clock::{Clock, unix_seconds};
use crate::sys::probe::kernel_can_install;
use crate::sys::process::notify;
use crate::sys::signals::{Signal, Signals};
use crate::sys::socket::wait_readable;
use crate::time::{Duration, Instant};

use super::admin::{self, Admin, Facts};
use super::control_socket::{ConnId, ControlSocket};
use super::counters::{self, Counters};
use super::http::{Fact, FromWorker, ToWorker, TreeState};
use super::names::{self, Whose};
use super::online::counters::OnlineCounters;
use super::purges::{self, Action, Asker, OrderId, Outcome, Purges};
use super::settings::Settings;
use super::store::{Limits, StoreCounters, ToStore};
use super::topology::{
    ControlEnd, ControlLine, OnlineLine, StoreOrders, TreeLine, WorkerLine, start_lookup,
};
use super::tree::TreeCounters;
use super::{logger, status, why};

/// What control is given.
pub struct Parts {
    /// Signals as bytes.
    pub signals: Signals,
    /// Words of the workers.
    pub end: ControlEnd,
    /// Where they are said.
    pub line: ControlLine,
    /// The admin listener, if any.
    pub admin: Option<Admin>,
    /// The control socket, if any.
    pub socket: Option<ControlSocket>,
    /// What the workers were started with.
    pub settings: Arc<Settings>,
    /// The workers.
    pub workers: Vec<WorkerLine>,
    /// What they count.
    pub counters: Vec<Arc<Counters>>,
    /// The tree thread.
    pub tree: TreeLine,
    /// The store, if any host had an origin at the start.
    pub store: Option<StoreOrders>,
    /// What it counts.
    pub store_counters: Arc<StoreCounters>,
    /// The service of who is online, until it has ended.
    pub online: Option<OnlineLine>,
    /// What it counts; `None` where there is none.
    pub online_counters: Option<Arc<OnlineCounters>>,
    /// What the tree thread counts.
    pub tree_counters: Arc<TreeCounters>,
    /// What it tells without a message.
    pub tree_state: Arc<TreeState>,
    /// Where it listens, ports filled in.
    pub addresses: Vec<SocketAddr>,
}

/// A reload whose names are being looked up.
struct Reloading {
    /// The file may have changed since it was read: it is read once more.
    is_asked_again: bool,
}

/// What somebody wants to know, and what is known already.
struct Question {
    id: OrderId,
    url: String,
    key: Box<[u8]>,
    sight: Option<Sight>,
    /// Workers that have not answered yet.
    workers: usize,
    facts: Vec<Fact>,
}

/// See the module.
pub struct Control {
    parts: Parts,
    config: Config,
    file: Option<PathBuf>,
    clock: Clock,
    started: Instant,
    purges: Purges,
    /// What the store and the workers were asked; bounded by `Purges`.
    questions: Vec<Question>,
    ready: usize,
    drained: usize,
    ended: usize,
    /// When the workers are told to end at once; set by the first order to stop.
    deadline: Option<Instant>,
    reloads: [u64; 2],
    reloading: Option<Reloading>,
}

/// Which of what is waited for has something to say.
struct Ready {
    doorbell: bool,
    admin: Vec<bool>,
    socket: Vec<bool>,
}

/// How soon orders are given again that the store had no room for.
const STORE_RETRY: Duration = Duration::from_millis(10);

/// How long workers have to obey an order to end at once, and the store to do what is left then.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a snapshot of who is online may take: 10 million users are 1 GB.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(20);

impl Control {
    /// In charge of `parts`.
    #[must_use]
    pub fn new(parts: Parts, config: Config, file: Option<PathBuf>) -> Self {
        let clock = Clock::default();
        let purges = Purges::new(parts.workers.len(), parts.store.is_some());
        Self {
            parts,
            config,
            file,
            clock,
            started: clock.now(),
            purges,
            questions: Vec::new(),
            ready: 0,
            drained: 0,
            ended: 0,
            deadline: None,
            reloads: [0; 2],
            reloading: None,
        }
    }

    /// Runs until all workers have ended.
    ///
    /// # Errors
    /// What made a worker give up.
    pub fn run(mut self) -> Result<(), String> {
        while self.drained < self.parts.workers.len() {
            let ready = self.wait()?;
            if ready.doorbell {
                self.parts.end.doorbell.clear();
            }
            while let Ok((number, word)) = self.parts.end.inbox.try_recv() {
                self.handle_word(number, word)?;
            }
            while let Some(signal) = self.parts.signals.take() {
                self.handle_signal(signal);
            }
            self.serve_admin(&ready.admin);
            if let Some(socket) = &mut self.parts.socket {
                socket.handle(self.clock.now(), &ready.socket);
            }
            self.carry_out();
            if let Some(store) = &mut self.parts.store {
                store.flush();
            }
            let now = self.clock.now();
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                log::info!("stopping: the time for responses in flight is over");
                break;
            }
        }
        self.end()
    }

    fn wait(&self) -> Result<Ready, String> {
        let parts = &self.parts;
        let admin = parts.admin.iter().flat_map(Admin::sources).collect::<Vec<_>>();
        let socket = parts.socket.iter().flat_map(ControlSocket::sources);
        let first_of_socket = 2 + admin.len();
        let mut sources = vec![(parts.signals.as_fd(), false), (parts.end.doorbell.as_fd(), false)];
        sources.extend(admin);
        sources.extend(socket);
        let timeout = match self.deadline {
            _ if parts.store.as_ref().is_some_and(StoreOrders::is_behind) => STORE_RETRY,
            Some(deadline) => deadline.since(self.clock.now()).min(Duration::from_millis(100)),
            None => Duration::from_secs(1),
        };
        let mut ready =
            wait_readable(&sources, timeout).map_err(|error| format!("poll failed: {error}"))?;
        let socket = ready.split_off(first_of_socket);
        let admin = ready.split_off(2);
        Ok(Ready { doorbell: ready[1], admin, socket })
    }

    fn handle_word(&mut self, number: usize, word: FromWorker) -> Result<(), String> {
        match word {
            FromWorker::Ready => {
                self.ready += 1;
                if self.ready == self.parts.workers.len() {
                    notify("READY=1");
                    for address in &self.parts.addresses {
                        log::info!(
                            "serving {} at http://{address}/",
                            self.config.tree.root.display()
                        );
                    }
                }
                Ok(())
            }
            FromWorker::Drained => {
                self.drained += 1;
                Ok(())
            }
            FromWorker::Ended => {
                self.ended += 1;
                Ok(())
            }
            FromWorker::Fatal(error) => Err(format!("worker {number}: {error}")),
            FromWorker::OnlineEnded => {
                self.parts.online = None;
                Ok(())
            }
            FromWorker::OnlineFatal(error) => Err(format!("who is online: {error}")),
            FromWorker::PurgeDone { id, phase } => {
                self.purges.handle_worker_ack(id, phase, number);
                Ok(())
            }
            FromWorker::Invalidate { purges } => {
                self.purges.begin(Asker::Worker(number), purges);
                Ok(())
            }
            FromWorker::Saw { id, facts } => {
                self.explain(id, |question| {
                    question.workers -= 1;
                    question.facts.extend(facts);
                });
                Ok(())
            }
            FromWorker::LookedUp(lookup) => {
                self.handle_lookup(lookup.config, lookup.settings);
                Ok(())
            }
            FromWorker::StorePurged { id, purged } => {
                self.purges.handle_store_done(OrderId(id), purged);
                Ok(())
            }
            FromWorker::StoreSaw { id, sight } => {
                self.explain(OrderId(id), |question| question.sight = Some(sight));
                Ok(())
            }
        }
    }

    fn handle_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Reload if self.deadline.is_some() => {}
            Signal::Reload => match &mut self.reloading {
                Some(reloading) => reloading.is_asked_again = true,
                None => self.reload(),
            },
            Signal::Stop => self.stop(),
        }
    }

    /// The first order lets responses in flight finish, the second does not.
    fn stop(&mut self) {
        let now = self.clock.now();
        if self.deadline.is_some() {
            self.deadline = Some(now);
            return;
        }
        notify("STOPPING=1");
        let grace = self.config.server.grace;
        log::info!("stopping: responses in flight have {} s", grace.as_secs_f64());
        self.deadline = Some(now.after(grace));
        for worker in &self.parts.workers {
            worker.order(ToWorker::Drain);
        }
    }

    /// The workers end, now that they need not be there for each other any more; then what their
    /// clients changed goes from the store: nobody would know of it after the next start.
    fn end(&mut self) -> Result<(), String> {
        for worker in &self.parts.workers {
            worker.order(ToWorker::Stop);
        }
        self.parts.tree.stop();
        self.go_on_until(LAST_WORDS, |control| control.ended == control.parts.workers.len())?;
        // After the workers, whose last hits it has then.
        if let Some(online) = &self.parts.online {
            online.stop();
        }
        self.purges.handle_workers_gone();
        self.go_on_until(LAST_WORDS, |control| control.purges.is_idle())?;
        if !self.purges.is_idle() {
            log::warn!("stopping: purges were under way, and what they mean may still be stored");
        }
        if let Some(store) = &mut self.parts.store {
            store.stop(LAST_WORDS);
        }
        self.go_on_until(SNAPSHOT_PATIENCE, |control| control.parts.online.is_none())?;
        if self.parts.online.is_some() {
            log::error!("stopping: online.snapshot takes too long; the old one stays");
        }
        log::info!("stopped");
        Ok(())
    }

    /// Does what words and purges ask for, no longer than `patience`.
    fn go_on_until(
        &mut self,
        patience: Duration,
        is_over: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let end = self.clock.now().after(patience);
        loop {
            self.carry_out();
            if let Some(store) = &mut self.parts.store {
                store.flush();
            }
            if is_over(self) || self.clock.now() >= end {
                return Ok(());
            }
            if let Ok((number, word)) = self.parts.end.inbox.recv_timeout(STORE_RETRY) {
                self.handle_word(number, word)?;
            }
        }
    }

    /// Takes over what can change while running, and says what cannot.
    fn reload(&mut self) {
        let Some(file) = &self.file else {
            log::warn!("SIGHUP: there is no file to reload (`peerage serve`)");
            return;
        };
        notify("RELOADING=1");
        let new = match config::load(file) {
            Ok(new) => new,
            Err(errors) => {
                self.reloads[1] += 1;
                log::error!("SIGHUP: the old configuration stays in force:\n{errors}");
                notify("READY=1");
                return;
            }
        };
        for key in self.config.diff_restart(&new) {
            log::warn!("SIGHUP: {key} changed; it needs a restart, and keeps its old value");
        }
        if new.limits.connections_per_address > 0 && !kernel_can_install() {
            log::warn!(
                "SIGHUP: limits.connections_per_address needs Linux 6.8; it is not in force"
            );
        }
        // Names of origins are looked up, which may take as long as a resolver likes.
        match start_lookup(new, self.parts.line.clone()) {
            Ok(()) => self.reloading = Some(Reloading { is_asked_again: false }),
            Err(error) => {
                self.reloads[1] += 1;
                log::error!("SIGHUP: the old configuration stays in force: no thread: {error}");
                notify("READY=1");
            }
        }
    }

    /// The rest of a reload, once all names are looked up.
    fn handle_lookup(&mut self, new: Config, settings: Result<Settings, Problem>) {
        let is_asked_again = self.reloading.take().is_some_and(|at| at.is_asked_again);
        match settings {
            Ok(settings) => self.apply(new, Arc::new(settings)),
            Err(problem) => {
                self.reloads[1] += 1;
                log::error!("SIGHUP: the old configuration stays in force:\n{problem}");
            }
        }
        notify("READY=1");
        if is_asked_again && self.deadline.is_none() {
            self.reload();
        }
    }

    fn apply(&mut self, new: Config, settings: Arc<Settings>) {
        if !settings.origins.is_empty() && self.parts.store.is_none() {
            log::warn!("SIGHUP: the first origin needs a restart before its answers are stored");
        }
        self.parts.settings = Arc::clone(&settings);
        for worker in &self.parts.workers {
            worker.order(ToWorker::Settings(Arc::clone(&settings)));
        }
        if let Some(store) = &mut self.parts.store {
            store.order(ToStore::Limits(store_limits(&new)));
        }
        logger::set_level(new.log.level);
        self.config = keep_fixed(new, &self.config);
        self.reloads[0] += 1;
        let file = self.file.as_deref().unwrap_or(Path::new("")).display();
        log::info!("SIGHUP: {file} is in force");
    }

    fn is_ready(&self) -> bool {
        self.ready == self.parts.workers.len() && self.deadline.is_none()
    }

    fn serve_admin(&mut self, ready: &[bool]) {
        let now = self.clock.now();
        let Some(mut admin) = self.parts.admin.take() else { return };
        let is_ready = self.is_ready();
        let facts = Facts {
            is_ready,
            metrics: &|| self.metrics(is_ready),
            purge_token: &self.config.admin.purge_token,
            settings: &self.parts.settings,
        };
        admin.handle(now, ready, &facts);
        self.parts.admin = Some(admin);
    }

    /// Does all that operators and purges ask for, until nothing is left that can be done now.
    fn carry_out(&mut self) {
        loop {
            if let Some((id, command)) =
                self.parts.socket.as_mut().and_then(ControlSocket::poll_command)
            {
                self.obey(id, &command);
            } else if let Some((id, purges)) = self.parts.admin.as_mut().and_then(Admin::poll_order)
            {
                self.purges.begin(Asker::Admin(id.0), purges);
            } else if let Some(action) = self.purges.poll_action() {
                self.act(action);
            } else {
                return;
            }
        }
    }

    fn obey(&mut self, id: ConnId, command: &Command) {
        let asker = Asker::Socket(id.0);
        let answer = match command {
            Command::Ping => Answer::ok("pong"),
            Command::Help => Answer::ok("").with_lines(HELP.map(str::to_owned)),
            Command::Status => {
                let is_ready = self.is_ready();
                let uptime = self.clock.now().since(self.started);
                let metrics = self.metrics(is_ready);
                Answer::ok("").with_lines(status::lines(&metrics, uptime, is_ready))
            }
            Command::Purge { soft, target } => {
                match purges::plan(&self.parts.settings, target, *soft) {
                    Ok(purges) => {
                        self.purges.begin(asker, purges);
                        return;
                    }
                    Err(error) => Answer::error(error),
                }
            }
            Command::Why(url) => match names::key(&self.parts.settings, url, Whose::Served) {
                Ok(key) => {
                    self.purges.begin_why(asker, url, key);
                    return;
                }
                Err(error) => Answer::error(format!("{url}: {error}")),
            },
        };
        let now = self.clock.now();
        if let Some(socket) = &mut self.parts.socket {
            socket.answer(now, id, &answer);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Answer { asker, outcome } => self.tell(asker, outcome),
            Action::TellWorkers { id, phase, purge } => {
                for worker in &self.parts.workers {
                    worker.order(ToWorker::Purge { id, phase, purge: Arc::clone(&purge) });
                }
            }
            Action::TellStore { id, purge } => {
                if let Some(store) = &mut self.parts.store {
                    store.order(ToStore::Purge { id: id.0, purge });
                }
            }
            Action::AskWhy { id, url, key } => {
                let name: Box<[u8]> = key[..].into();
                if let Some(store) = &mut self.parts.store {
                    store.order(ToStore::Look { id: id.0, name: name.clone() });
                    for worker in &self.parts.workers {
                        worker.order(ToWorker::Look { id, key: name.clone() });
                    }
                    let (workers, facts) = (self.parts.workers.len(), Vec::new());
                    self.questions.push(Question {
                        id,
                        url,
                        key: name,
                        sight: None,
                        workers,
                        facts,
                    });
                }
            }
        }
    }

    /// A worker, or the store, said what it knows of a key that somebody asks about.
    fn explain(&mut self, id: OrderId, said: impl FnOnce(&mut Question)) {
        let Some(at) = self.questions.iter().position(|asked| asked.id == id) else { return };
        let question = &mut self.questions[at];
        said(question);
        if question.workers > 0 {
            return;
        }
        let Some(sight) = question.sight.take() else { return };
        let Question { url, key, facts, .. } = self.questions.swap_remove(at);
        let known = why::Known { sight: &sight, facts: &facts };
        let settings = &self.parts.settings;
        let (lines, decision) = why::explain(settings, &url, &key, known, unix_seconds());
        self.purges.handle_why_done(id, lines, decision);
    }

    fn tell(&mut self, asker: Asker, outcome: Outcome) {
        let now = self.clock.now();
        match asker {
            Asker::Socket(id) => {
                if let Some(socket) = &mut self.parts.socket {
                    socket.answer(now, ConnId(id), &outcome.answer());
                }
            }
            Asker::Admin(id) => {
                if let Some(admin) = &mut self.parts.admin {
                    admin.answer(now, admin::ConnId(id), &outcome);
                }
            }
            Asker::Worker(number) => {
                if let Outcome::Purged(Purged { failed: 1.., .. }) = outcome {
                    log::warn!(
                        "what a request changed may still be stored: files could not be removed; \
                         see the messages before this one"
                    );
                }
                self.parts.workers[number].order(ToWorker::Invalidated);
            }
        }
    }

    fn metrics(&self, is_ready: bool) -> String {
        let mut out = Exposition::default();
        out.family("peerage_ready", Kind::Gauge, "1 while new requests are welcome.");
        out.sample("peerage_ready", "", is_ready.into());
        out.family("peerage_workers", Kind::Gauge, "Serving threads.");
        out.sample("peerage_workers", "", self.parts.workers.len() as u64);
        out.family("peerage_reloads_total", Kind::Counter, "Reloads of the configuration.");
        out.sample("peerage_reloads_total", "result=\"done\"", self.reloads[0]);
        out.sample("peerage_reloads_total", "result=\"refused\"", self.reloads[1]);
        let tree = &self.parts.tree_counters;
        out.family("peerage_tree_watching", Kind::Gauge, "1 while every directory is watched.");
        let watching = self.parts.tree_state.is_watching.load(Ordering::Relaxed);
        out.sample("peerage_tree_watching", "", watching.into());
        out.family("peerage_tree_watches", Kind::Gauge, "Directories watched.");
        out.sample("peerage_tree_watches", "", tree.watches.load(Ordering::Relaxed));
        out.family("peerage_tree_changes_total", Kind::Counter, "Changes of the tree seen.");
        out.sample("peerage_tree_changes_total", "", tree.changes.load(Ordering::Relaxed));
        let help = "Times changes were lost and all was looked at anew.";
        out.family("peerage_tree_overflows_total", Kind::Counter, help);
        out.sample("peerage_tree_overflows_total", "", tree.overflows.load(Ordering::Relaxed));
        let help = "Times pages of files may have left memory, so that residency is asked anew.";
        out.family("peerage_reclaim_epochs_total", Kind::Counter, help);
        let epoch = self.parts.tree_state.reclaim_epoch.load(Ordering::Relaxed);
        out.sample("peerage_reclaim_epochs_total", "", epoch);
        counters::expose(&self.parts.counters, &mut out);
        if self.parts.store.is_some() {
            self.parts.store_counters.expose(&mut out);
        }
        if let Some(counters) = &self.parts.online_counters {
            counters.expose(&mut out);
        }
        out.into_text()
    }
}

/// How much may be stored.
#[must_use]
pub fn store_limits(config: &Config) -> Limits {
    let bytes_max = (config.cache.bytes_max > 0).then_some(config.cache.bytes_max);
    Limits { bytes_max, free_bytes_min: config.cache.free_bytes_min }
}

/// `new`, but for what needs a restart: that stays as it is in force, so that the next reload
/// compares with the truth.
fn keep_fixed(new: Config, old: &Config) -> Config {
    let mut kept = new;
    let (grace, server_name) = (kept.server.grace, kept.server.server_name.clone());
    kept.server = config::Server { grace, server_name, ..old.server.clone() };
    kept.tree.root.clone_from(&old.tree.root);
    kept.tree.watch = old.tree.watch;
    kept.tree.open_files_max = old.tree.open_files_max;
    kept.tree.hot_bytes_max = old.tree.hot_bytes_max;
    kept.limits.connections_per_worker = old.limits.connections_per_worker;
    kept.admin.listen = old.admin.listen;
    kept.control.clone_from(&old.control);
    let (user, url, paths) = (kept.online.user, kept.online.url, kept.online.paths);
    kept.online = config::Online { user, url, paths, ..old.online.clone() };
    kept
}
