//! Purges from the order to the answer, and questions why; who does what, and in which order.
//!
//! Input: orders of operators and of workers (`begin`, `begin_why`), acknowledgements of the
//! workers, results of the store.
//! Output: `poll_action`, after every input until `None`; `daemon::control` carries them out.
//! Owns: at most `PURGE_REQUESTS_MAX` requests of operators, one of each worker and one more when
//! it ends, of which at most `PURGES_MAX` purges are under way.
//! Thread: control; pure.
//! Invariants: a purge is answered after every worker has acknowledged both of its phases, and the
//! store was done in between, or, once the workers have ended, after the store alone; each request
//! is answered exactly once.
//! Not here: what a purge matches (`cache::purge`), translating URLs (`daemon::names`), queues.
//!
//! ```text
//! order -> Phase::Mark to all workers     fetches under way that it means: serve, do not store
//!       -> the store                      its files go, or are marked stale
//!       -> Phase::Drop to all workers     what they have open of it is closed
//!       -> answer
//! ```
//!
//! The order matters. A fetch that is not marked first would be stored behind the purge's back; a
//! worker that drops first would open the old file again before the store has removed it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::admin::control::{Answer, Target};
use crate::cache::key::Key;
use crate::cache::purge::{Purge, Purged, What};
use crate::limits::{PURGE_REQUESTS_MAX, PURGES_MAX};

use super::names::{self, NameError, Whose};
use super::settings::Settings;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A connection of the control socket (`control_socket::ConnId`).
    Socket(u64),
    /// A connection of the admin listener (`admin::ConnId`).
    Admin(u64),
    /// A worker, whose clients changed something; it asks once at a time, and once more when it
    /// ends.
    Worker(usize),
}

/// The number of a purge or a question; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderId(pub u64);

/// What all workers are told to do for a purge, and acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Serve the fetches under way that it means to who waits for them, and do not store them.
    Mark,
    /// Close what is open of it.
    Drop,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell every worker; each answers by `handle_worker_ack`.
    TellWorkers {
        /// For the acknowledgement.
        id: OrderId,
        /// What to do.
        phase: Phase,
        /// For what.
        purge: Arc<Purge>,
    },
    /// Tell the store; it answers by `handle_store_done`.
    TellStore {
        /// For the result.
        id: OrderId,
        /// What to remove.
        purge: Arc<Purge>,
    },
    /// Find out what would be done for a request; the answer comes by `handle_why_done`.
    AskWhy {
        /// For the answer.
        id: OrderId,
        /// As it was asked.
        url: String,
        /// Its name.
        key: Box<Key>,
    },
    /// Tell who asked.
    Answer {
        /// Whom.
        asker: Asker,
        /// What.
        outcome: Outcome,
    },
}

/// What an order came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The purges were done; the sum of their results.
    Purged(Purged),
    /// What would be done for a request: facts, one each line, and the decision with its reason.
    Explained {
        /// The facts.
        lines: Vec<String>,
        /// The decision.
        decision: String,
    },
    /// Too many at once.
    Busy,
    /// There is nothing that could be purged.
    NoOrigin,
}

impl Outcome {
    /// In the words of the control socket.
    #[must_use]
    pub fn answer(self) -> Answer {
        match self {
            Self::Purged(Purged { removed, kept, failed: 0 }) => {
                Answer::ok(format!("purged {removed} kept {kept} failed 0"))
            }
            Self::Purged(Purged { removed, kept, failed }) => Answer::error(format!(
                "purged {removed} kept {kept} failed {failed}: files could not be removed; the \
                 daemon's log says which and why"
            )),
            Self::Explained { lines, decision } => Answer::ok(decision).with_lines(lines),
            Self::Busy => Answer::error("busy: too many purges at once; try again"),
            Self::NoOrigin => Answer::error("no host has an origin"),
        }
    }
}

/// Why an order means nothing: what was written, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError(pub String, pub NameError);

impl fmt::Display for PlanError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.0, self.1)
    }
}

impl std::error::Error for PlanError {}

/// The purges that `target` means. All of its URLs are good, or none is purged.
///
/// # Errors
/// The first that is not.
pub fn plan(settings: &Settings, target: &Target, soft: bool) -> Result<Vec<Purge>, PlanError> {
    let one = |text: &String, what: Result<What, NameError>| {
        what.map(|what| Purge { what, soft }).map_err(|error| PlanError(text.clone(), error))
    };
    let purge = match target {
        Target::Urls(urls) => {
            let key = |url: &String| {
                let key = names::key(settings, url, Whose::Configured);
                one(url, key.map(|key| What::Key(key[..].into())))
            };
            return urls.iter().map(key).collect();
        }
        Target::Prefix(url) => one(url, names::prefix(settings, url).map(What::Prefix)),
        Target::Glob(url) => {
            let glob = names::glob(settings, url);
            one(url, glob.map(|(directory, pattern)| What::Glob { directory, pattern }))
        }
        Target::Host(name) => one(name, names::directory(settings, name).map(What::Directory)),
        Target::Tag(name) => Ok(Purge { what: What::Tag(name.as_bytes().into()), soft }),
        Target::All => Ok(Purge { what: What::All, soft }),
    };
    purge.map(|purge| vec![purge])
}

/// One order of somebody's.
#[derive(Debug)]
struct Request {
    number: u64,
    asker: Asker,
    /// Purges that are not done.
    left: usize,
    sum: Purged,
}

/// One purge under way.
#[derive(Debug)]
struct Run {
    id: OrderId,
    request: u64,
    purge: Arc<Purge>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The workers were told; which have acknowledged.
    Workers(Phase, Vec<bool>),
    /// The store was told.
    Store,
}

/// See the module.
#[derive(Debug)]
pub struct Purges {
    workers: usize,
    has_store: bool,
    /// The workers have ended.
    is_alone: bool,
    requests: Vec<Request>,
    questions: Vec<(OrderId, Asker)>,
    running: Vec<Run>,
    waiting: VecDeque<(u64, Purge)>,
    actions: VecDeque<Action>,
    next: u64,
}

impl Purges {
    /// Of a daemon with so many workers; `has_store` says whether anything is fetched at all.
    ///
    /// # Panics
    /// If there are no workers: nobody could acknowledge.
    #[must_use]
    pub fn new(workers: usize, has_store: bool) -> Self {
        assert!(workers > 0, "a daemon has workers");
        Self {
            workers,
            has_store,
            is_alone: false,
            requests: Vec::new(),
            questions: Vec::new(),
            running: Vec::new(),
            waiting: VecDeque::new(),
            actions: VecDeque::new(),
            next: 0,
        }
    }

    /// `asker` wants these purges, and one answer when all are done.
    ///
    /// # Panics
    /// If there are none.
    pub fn begin(&mut self, asker: Asker, purges: Vec<Purge>) {
        assert!(!purges.is_empty(), "an order is for something");
        let is_ours = matches!(asker, Asker::Worker(_));
        let before = self.requests.iter().filter(|request| request.asker == asker).count();
        assert!(!is_ours || before <= 1, "a worker asks once at a time, and when it ends");
        if let Some(outcome) = self.refusal().filter(|_| !is_ours) {
            self.actions.push_back(Action::Answer { asker, outcome });
            return;
        }
        let number = self.number();
        let (left, sum) = (purges.len(), Purged::default());
        self.requests.push(Request { number, asker, left, sum });
        self.waiting.extend(purges.into_iter().map(|purge| (number, purge)));
        self.run_next();
    }

    /// `asker` wants to know what would be done for a request of `url`, whose name is `key`.
    pub fn begin_why(&mut self, asker: Asker, url: &str, key: Key) {
        let outcome = match self.refusal() {
            Some(Outcome::NoOrigin) => Some(Outcome::Explained {
                lines: vec![format!("name {}", String::from_utf8_lossy(&key))],
                decision: "no host has an origin: that file of the tree is served, or 404".into(),
            }),
            refusal => refusal,
        };
        if let Some(outcome) = outcome {
            self.actions.push_back(Action::Answer { asker, outcome });
            return;
        }
        let id = OrderId(self.number());
        self.questions.push((id, asker));
        self.actions.push_back(Action::AskWhy { id, url: url.to_owned(), key: Box::new(key) });
    }

    /// Worker number `worker` has done `phase`. What nobody waits for is ignored.
    pub fn handle_worker_ack(&mut self, id: OrderId, phase: Phase, worker: usize) {
        let Some(run) = self.running.iter_mut().find(|run| run.id == id) else { return };
        let Stage::Workers(current, acks) = &mut run.stage else { return };
        if *current != phase {
            return;
        }
        if let Some(ack) = acks.get_mut(worker) {
            *ack = true;
        }
        if !acks.iter().all(|ack| *ack) {
            return;
        }
        match phase {
            // What workers keep in memory is all there is.
            Phase::Mark if !self.has_store => self.drop_open(id),
            Phase::Mark => {
                run.stage = Stage::Store;
                let purge = Arc::clone(&run.purge);
                self.actions.push_back(Action::TellStore { id, purge });
            }
            Phase::Drop => self.finish(id),
        }
    }

    /// The store has done its part.
    pub fn handle_store_done(&mut self, id: OrderId, done: Purged) {
        let Some(run) = self.running.iter().find(|run| run.id == id) else { return };
        if !matches!(run.stage, Stage::Store) {
            return;
        }
        let number = run.request;
        if let Some(request) = self.requests.iter_mut().find(|request| request.number == number) {
            let sum = &mut request.sum;
            sum.removed = sum.removed.saturating_add(done.removed);
            sum.kept = sum.kept.saturating_add(done.kept);
            sum.failed = sum.failed.saturating_add(done.failed);
        }
        self.drop_open(id);
    }

    /// The workers have ended: nothing is fetched or open any more, and what is stored is all there
    /// is.
    pub fn handle_workers_gone(&mut self) {
        self.is_alone = true;
        if !self.has_store {
            self.waiting.clear();
        }
        for id in self.running.iter().map(|run| run.id).collect::<Vec<_>>() {
            let Some(run) = self.running.iter_mut().find(|run| run.id == id) else { continue };
            match run.stage {
                Stage::Workers(Phase::Mark, _) if self.has_store => {
                    run.stage = Stage::Store;
                    let purge = Arc::clone(&run.purge);
                    self.actions.push_back(Action::TellStore { id, purge });
                }
                Stage::Workers(..) => self.finish(id),
                Stage::Store => {}
            }
        }
    }

    /// Whether nothing is left to be done.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty() && self.actions.is_empty()
    }

    /// The last phase begins.
    fn drop_open(&mut self, id: OrderId) {
        if self.is_alone {
            self.finish(id);
            return;
        }
        let workers = self.workers;
        let Some(run) = self.running.iter_mut().find(|run| run.id == id) else { return };
        run.stage = Stage::Workers(Phase::Drop, vec![false; workers]);
        let purge = Arc::clone(&run.purge);
        self.actions.push_back(Action::TellWorkers { id, phase: Phase::Drop, purge });
    }

    /// The answer to a question: facts, one each line, and the decision with its reason.
    pub fn handle_why_done(&mut self, id: OrderId, lines: Vec<String>, decision: String) {
        let Some(place) = self.questions.iter().position(|(asked, _)| *asked == id) else { return };
        let (_, asker) = self.questions.swap_remove(place);
        let outcome = Outcome::Explained { lines, decision };
        self.actions.push_back(Action::Answer { asker, outcome });
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn refusal(&self) -> Option<Outcome> {
        if !self.has_store {
            return Some(Outcome::NoOrigin);
        }
        let of_operators = |request: &&Request| !matches!(request.asker, Asker::Worker(_));
        let count = self.requests.iter().filter(of_operators).count() + self.questions.len();
        (count >= PURGE_REQUESTS_MAX).then_some(Outcome::Busy)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn run_next(&mut self) {
        while self.running.len() < PURGES_MAX
            && let Some((request, purge)) = self.waiting.pop_front()
        {
            let (id, purge) = (OrderId(self.number()), Arc::new(purge));
            let shared = Arc::clone(&purge);
            let (stage, action) = if self.is_alone {
                (Stage::Store, Action::TellStore { id, purge })
            } else {
                let stage = Stage::Workers(Phase::Mark, vec![false; self.workers]);
                (stage, Action::TellWorkers { id, phase: Phase::Mark, purge })
            };
            self.running.push(Run { id, request, purge: shared, stage });
            self.actions.push_back(action);
        }
    }

    fn finish(&mut self, id: OrderId) {
        let place = self.running.iter().position(|run| run.id == id);
        let run = self.running.swap_remove(place.expect("found by the caller"));
        let place = self.requests.iter().position(|request| request.number == run.request);
        let place = place.expect("a request lives until its last purge is done");
        let request = &mut self.requests[place];
        request.left -= 1;
        if request.left == 0 {
            let Request { asker, sum, .. } = self.requests.swap_remove(place);
            self.actions.push_back(Action::Answer { asker, outcome: Outcome::Purged(sum) });
        }
        self.run_next();
    }
}

#[cfg(test)]
mod tests;
