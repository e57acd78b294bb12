//! Tests of the purges' order.

use proptest::prelude::*;

use super::*;

fn key(name: &str) -> Purge {
    Purge { what: What::Key(name.as_bytes().into()), soft: false }
}

fn actions(purges: &mut Purges) -> Vec<Action> {
    std::iter::from_fn(|| purges.poll_action()).collect()
}

fn told(action: &Action) -> (OrderId, Option<Phase>) {
    match action {
        Action::TellWorkers { id, phase, .. } => (*id, Some(*phase)),
        Action::TellStore { id, .. } => (*id, None),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_purge_walks_through_its_phases() {
    let mut purges = Purges::new(2, true);
    purges.begin(Asker::Socket(7), vec![key("/h/a")]);
    let (id, phase) = told(&actions(&mut purges)[0]);
    assert_eq!(phase, Some(Phase::Mark));
    purges.handle_worker_ack(id, Phase::Mark, 1);
    // Twice, out of turn, and from nobody: none of it counts.
    purges.handle_worker_ack(id, Phase::Mark, 1);
    purges.handle_worker_ack(id, Phase::Drop, 0);
    purges.handle_worker_ack(id, Phase::Mark, 2);
    purges.handle_worker_ack(OrderId(99), Phase::Mark, 0);
    purges.handle_store_done(id, Purged::default());
    assert_eq!(actions(&mut purges), []);
    purges.handle_worker_ack(id, Phase::Mark, 0);
    let next = actions(&mut purges);
    assert_eq!((told(&next[0]), next.len()), ((id, None), 1));
    let done = Purged { removed: 3, kept: 1, failed: 0 };
    purges.handle_store_done(id, done);
    purges.handle_store_done(id, done);
    let next = actions(&mut purges);
    assert_eq!((told(&next[0]), next.len()), ((id, Some(Phase::Drop)), 1));
    purges.handle_worker_ack(id, Phase::Drop, 0);
    assert_eq!(actions(&mut purges), []);
    purges.handle_worker_ack(id, Phase::Drop, 1);
    let answer = Action::Answer { asker: Asker::Socket(7), outcome: Outcome::Purged(done) };
    assert_eq!(actions(&mut purges), [answer]);
    purges.handle_worker_ack(id, Phase::Drop, 1);
    assert_eq!(actions(&mut purges), []);
}

#[test]
fn without_a_store_nothing_is_purged() {
    let mut purges = Purges::new(1, false);
    let asker = Asker::Admin(1);
    purges.begin(asker, vec![key("/h/a")]);
    let answer = Action::Answer { asker, outcome: Outcome::NoOrigin };
    assert_eq!(actions(&mut purges), [answer]);
    purges.begin_why(asker, "http://h/a", Key::try_from(&b"/h/a"[..]).unwrap());
    let Some(Action::Answer { outcome: Outcome::Explained { lines, .. }, .. }) =
        purges.poll_action()
    else {
        panic!("it says why");
    };
    assert_eq!(lines, ["name /h/a"]);
}

#[test]
fn more_requests_than_there_is_room_for_are_told_so() {
    let mut purges = Purges::new(1, true);
    for number in 0..PURGE_REQUESTS_MAX as u64 {
        purges.begin_why(Asker::Socket(number), "http://h/a", Key::new());
    }
    let asked = actions(&mut purges);
    assert_eq!(asked.len(), PURGE_REQUESTS_MAX);
    purges.begin(Asker::Admin(3), vec![key("/h/a")]);
    let busy = Action::Answer { asker: Asker::Admin(3), outcome: Outcome::Busy };
    assert_eq!(actions(&mut purges), [busy]);
    let Action::AskWhy { id, .. } = asked[5] else { panic!("{asked:?}") };
    purges.handle_why_done(id, vec!["a 1".to_owned()], "served".to_owned());
    purges.handle_why_done(id, vec![], "again".to_owned());
    let lines = vec!["a 1".to_owned()];
    let outcome = Outcome::Explained { lines, decision: "served".to_owned() };
    let answer = Action::Answer { asker: Asker::Socket(5), outcome };
    assert_eq!(actions(&mut purges), [answer]);
    purges.begin(Asker::Admin(3), vec![key("/h/a")]);
    assert_eq!(told(&actions(&mut purges)[0]).1, Some(Phase::Mark));
}

#[test]
fn workers_are_never_told_to_try_again_and_keep_no_operator_out() {
    let mut purges = Purges::new(2, true);
    for worker in 0..PURGE_REQUESTS_MAX + 1 {
        purges.begin(Asker::Worker(worker), vec![key("/h/a")]);
    }
    for number in 0..PURGE_REQUESTS_MAX as u64 {
        purges.begin_why(Asker::Socket(number), "http://h/a", Key::new());
    }
    purges.begin(Asker::Worker(99), vec![key("/h/a")]);
    purges.begin(Asker::Admin(1), vec![key("/h/a")]);
    let answers: Vec<Action> = actions(&mut purges)
        .into_iter()
        .filter(|action| matches!(action, Action::Answer { .. }))
        .collect();
    let busy = Action::Answer { asker: Asker::Admin(1), outcome: Outcome::Busy };
    assert_eq!(answers, [busy], "the operators' places are taken by operators");
}

#[test]
fn without_a_store_workers_forget_what_they_keep_in_memory() {
    let mut purges = Purges::new(1, false);
    purges.begin(Asker::Worker(0), vec![key("/h/a")]);
    let (id, phase) = told(&actions(&mut purges)[0]);
    assert_eq!(phase, Some(Phase::Mark));
    purges.handle_worker_ack(id, Phase::Mark, 0);
    assert_eq!(told(&actions(&mut purges)[0]), (id, Some(Phase::Drop)));
    purges.handle_worker_ack(id, Phase::Drop, 0);
    let outcome = Outcome::Purged(Purged::default());
    assert_eq!(actions(&mut purges), [Action::Answer { asker: Asker::Worker(0), outcome }]);
    // And again, now that it has its answer.
    purges.begin(Asker::Worker(0), vec![key("/h/a")]);
    assert_eq!(actions(&mut purges).len(), 1);
}

#[test]
fn once_the_workers_have_ended_the_store_does_what_is_left() {
    let mut purges = Purges::new(1, true);
    let one = |count: usize| (0..count).map(|number| key(&format!("/h/{number}"))).collect();
    purges.begin(Asker::Worker(0), one(PURGES_MAX + 3));
    let marked = actions(&mut purges);
    // One is at each stage: marked, at the store, done by the store.
    for action in &marked[..2] {
        purges.handle_worker_ack(told(action).0, Phase::Mark, 0);
    }
    let stored = told(&actions(&mut purges)[0]).0;
    purges.handle_store_done(stored, Purged { removed: 1, ..Purged::default() });
    assert_eq!(told(&actions(&mut purges)[0]), (stored, Some(Phase::Drop)));
    // Its last words.
    purges.begin(Asker::Worker(0), one(1));
    purges.handle_workers_gone();
    purges.handle_worker_ack(stored, Phase::Drop, 0);
    let (mut answers, mut tasks) = (Vec::new(), vec![told(&marked[1]).0]);
    while !purges.is_idle() {
        while let Some(action) = purges.poll_action() {
            match action {
                Action::Answer { outcome, .. } => answers.push(outcome),
                action => {
                    assert_eq!(told(&action).1, None, "only the store is told");
                    tasks.push(told(&action).0);
                }
            }
        }
        let Some(id) = tasks.pop() else { break };
        purges.handle_store_done(id, Purged { removed: 1, ..Purged::default() });
    }
    let removed = |removed| Outcome::Purged(Purged { removed, ..Purged::default() });
    answers.sort_by_key(|outcome| *outcome != removed(1));
    assert_eq!(answers, [removed(1), removed(PURGES_MAX as u64 + 3)]);
    assert!(purges.is_idle());
}

#[test]
fn without_a_store_nothing_is_left_once_the_workers_have_ended() {
    let mut purges = Purges::new(1, false);
    purges.begin(Asker::Worker(0), vec![key("/h/a"); PURGES_MAX + 2]);
    purges.handle_workers_gone();
    actions(&mut purges);
    assert!(purges.is_idle());
}

#[test]
fn outcomes_have_words() {
    let text = |outcome: Outcome| {
        let mut out = Vec::new();
        outcome.answer().emit(&mut out);
        String::from_utf8(out).unwrap()
    };
    let done = Purged { removed: 2, kept: 1, failed: 0 };
    assert_eq!(text(Outcome::Purged(done)), "ok purged 2 kept 1 failed 0\n");
    let failed = text(Outcome::Purged(Purged { failed: 1, ..done }));
    assert!(failed.starts_with("error purged 2 kept 1 failed 1"), "{failed}");
    assert!(text(Outcome::Busy).starts_with("error busy"));
    assert_eq!(text(Outcome::NoOrigin), "error no host has an origin\n");
}

#[test]
fn targets_become_purges() {
    let text = "[tree]\nroot = \"/tmp\"\n[[host]]\nname = \"h\"\n";
    let settings = Settings::new(&crate::config::parse(text, "test.toml").unwrap());
    let what = |target| plan(&settings, &target, true).map(|mut purges| purges.remove(0).what);
    let urls = |urls: &[&str]| Target::Urls(urls.iter().map(|url| (*url).to_owned()).collect());
    assert_eq!(what(urls(&["http://h/a"])), Ok(What::Key(b"/h/a"[..].into())));
    assert_eq!(what(Target::Prefix("http://h/a".into())), Ok(What::Prefix(b"/h/a"[..].into())));
    assert!(matches!(what(Target::Glob("http://h/*".into())), Ok(What::Glob { .. })));
    assert_eq!(what(Target::Host("h".into())), Ok(What::Directory(b"h"[..].into())));
    assert_eq!(what(Target::Tag("t".into())), Ok(What::Tag(b"t"[..].into())));
    assert_eq!(what(Target::All), Ok(What::All));
    let both = plan(&settings, &urls(&["http://h/a", "http://h/b"]), false).unwrap();
    assert_eq!(both, [key("/h/a"), key("/h/b")]);
    let error = plan(&settings, &urls(&["http://h/a", "http://i/b"]), false).unwrap_err();
    assert!(error.to_string().starts_with("http://i/b: this host is not served here"), "{error}");
}

proptest! {
    /// Whatever the order in which workers and store answer, each purge goes through its phases
    /// and each request is answered once, with no more under way than may be.
    #[test]
    fn every_request_is_answered_once(
        sizes in prop::collection::vec(1_usize..40, 1..PURGE_REQUESTS_MAX),
        workers in 1_usize..5,
        seed: u64,
    ) {
        let mut purges = Purges::new(workers, true);
        for (number, size) in (0_u64..).zip(&sizes) {
            purges.begin(Asker::Socket(number), vec![key("/h/a"); *size]);
        }
        let (mut open, mut answers, mut state) = (Vec::new(), vec![None; sizes.len()], seed);
        loop {
            for action in actions(&mut purges) {
                match action {
                    Action::TellWorkers { id, phase, .. } => {
                        open.extend((0..workers).map(|worker| (id, Some((phase, worker)))));
                    }
                    Action::TellStore { id, .. } => open.push((id, None)),
                    Action::Answer { asker: Asker::Socket(number), outcome } => {
                        let answer = &mut answers[usize::try_from(number).unwrap()];
                        prop_assert!(answer.replace(outcome).is_none(), "answered twice");
                    }
                    other => panic!("{other:?}"),
                }
            }
            prop_assert!(open.len() <= PURGES_MAX * workers);
            if open.is_empty() {
                break;
            }
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let place = usize::try_from(state >> 33).unwrap() % open.len();
            match open.swap_remove(place) {
                (id, Some((phase, worker))) => purges.handle_worker_ack(id, phase, worker),
                (id, None) => {
                    purges.handle_store_done(id, Purged { removed: 1, kept: 0, failed: 0 });
                }
            }
        }
        for (answer, size) in answers.into_iter().zip(sizes) {
            let removed = size as u64;
            let sum = Purged { removed, kept: 0, failed: 0 };
            prop_assert_eq!(answer, Some(Outcome::Purged(sum)));
        }
    }
}
