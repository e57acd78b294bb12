//! The pool: one group per concern, then random histories against its invariants.
//!
//! Not here: health by itself, which is tested beside its code.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const OPTIONS: Options = Options {
    connections_max: 2,
    idle_max: 2,
    idle_timeout: Duration::from_secs(30),
    requests_per_connection: 100,
    waiters_max: 2,
    wait_timeout: Duration::from_secs(10),
    health: HealthOptions {
        failures_max: 2,
        down_min: Duration::from_secs(1),
        down_max: Duration::from_secs(8),
    },
};

fn at(seconds: u64) -> Instant {
    Instant::default().after(Duration::from_secs(seconds))
}

/// A pool, and the connections in the order in which they were made.
struct Bench {
    pool: Pool,
    conns: Vec<ConnId>,
}

impl Bench {
    fn new(addresses: usize, options: Options) -> Self {
        Self { pool: Pool::new(addresses, options), conns: Vec::new() }
    }

    /// All actions as text: connections by their number from 0, addresses as `@0`.
    fn actions(&mut self) -> String {
        let mut lines = Vec::new();
        while let Some(action) = self.pool.poll_action() {
            lines.push(match action {
                Action::Connect { conn, address } => {
                    self.conns.push(conn);
                    format!("connect {} @{}", self.conns.len() - 1, address.0)
                }
                Action::Send { conn, request } => {
                    format!("send r{} on {}", request.0, self.number(conn))
                }
                Action::Close { conn } => format!("close {}", self.number(conn)),
                Action::Refuse { request, refusal } => format!("refuse r{} {refusal:?}", request.0),
            });
        }
        lines.join(", ")
    }

    fn number(&self, id: ConnId) -> usize {
        self.conns.iter().rposition(|conn| *conn == id).expect("made before")
    }

    fn ask(&mut self, now: Instant, id: u64) -> String {
        self.pool.handle_request(now, RequestId(id), true);
        self.actions()
    }

    fn connected(&mut self, now: Instant, conn: usize) -> String {
        self.pool.handle_connected(now, self.conns[conn]);
        self.actions()
    }

    fn failed(&mut self, now: Instant, conn: usize) -> String {
        self.pool.handle_connect_failed(now, self.conns[conn]);
        self.actions()
    }

    fn done(&mut self, now: Instant, conn: usize, outcome: Outcome) -> String {
        self.pool.handle_done(now, self.conns[conn], outcome);
        self.actions()
    }

    fn timeout(&mut self, now: Instant) -> String {
        self.pool.handle_timeout(now);
        self.actions()
    }
}

/// One address, one kept connection (number 0).
fn with_kept() -> Bench {
    let mut bench = Bench::new(1, OPTIONS);
    assert_eq!(bench.ask(at(0), 1), "connect 0 @0");
    assert_eq!(bench.connected(at(0), 0), "send r1 on 0");
    assert_eq!(bench.done(at(0), 0, Outcome::Kept), "");
    bench
}

// Kept connections ------------------------------------------------------------------------------

#[test]
fn a_kept_connection_is_used_again_and_the_last_used_first() {
    let mut bench = with_kept();
    assert_eq!(bench.ask(at(1), 2), "send r2 on 0");
    assert_eq!(bench.ask(at(1), 3), "connect 1 @0");
    assert_eq!(bench.connected(at(1), 1), "send r3 on 1");
    assert_eq!(bench.done(at(2), 0, Outcome::Kept), "");
    assert_eq!(bench.done(at(3), 1, Outcome::Kept), "");
    assert_eq!(bench.ask(at(4), 4), "send r4 on 1");
}

#[test]
fn idle_connections_end_with_their_time() {
    let mut bench = with_kept();
    assert_eq!(bench.pool.next_deadline(), Some(at(30)));
    assert_eq!(bench.timeout(at(29)), "");
    assert_eq!(bench.timeout(at(30)), "close 0");
    assert_eq!(bench.pool.connection_count(), 0);
    assert_eq!(bench.pool.next_deadline(), None);
}

#[test]
fn idle_connections_are_bounded_and_worn_ones_closed() {
    let mut bench = Bench::new(1, Options { idle_max: 0, ..OPTIONS });
    bench.ask(at(0), 1);
    bench.connected(at(0), 0);
    assert_eq!(bench.done(at(0), 0, Outcome::Kept), "close 0");
    let mut bench = Bench::new(1, Options { requests_per_connection: 2, ..OPTIONS });
    bench.ask(at(0), 1);
    bench.connected(at(0), 0);
    assert_eq!(bench.done(at(0), 0, Outcome::Kept), "");
    assert_eq!(bench.ask(at(0), 2), "send r2 on 0");
    assert_eq!(bench.done(at(0), 0, Outcome::Kept), "close 0");
}

#[test]
fn a_close_of_an_idle_connection_is_no_failure() {
    let mut bench = with_kept();
    for _ in 0..5 {
        let conn = bench.conns[bench.conns.len() - 1];
        bench.pool.handle_closed(at(1), conn);
        assert_eq!(bench.actions(), "");
        assert_eq!(bench.pool.connection_count(), 0);
        bench.ask(at(1), 9);
        let last = bench.conns.len() - 1;
        bench.connected(at(1), last);
        bench.done(at(1), last, Outcome::Kept);
    }
    assert_eq!(bench.pool.standing(at(1), AddressId(0)), Some(Standing::Up));
}

// Bounds ----------------------------------------------------------------------------------------

#[test]
fn requests_wait_in_order_and_are_bounded() {
    let mut bench = Bench::new(1, OPTIONS);
    assert_eq!(bench.ask(at(0), 1), "connect 0 @0");
    assert_eq!(bench.ask(at(0), 2), "connect 1 @0");
    assert_eq!(bench.ask(at(0), 3), "");
    assert_eq!(bench.ask(at(0), 4), "");
    assert_eq!(bench.ask(at(0), 5), "refuse r5 Busy");
    assert_eq!(bench.pool.waiting_count(), 2);
    bench.connected(at(0), 0);
    assert_eq!(bench.done(at(1), 0, Outcome::Kept), "send r3 on 0");
    assert_eq!(bench.done(at(1), 0, Outcome::Closed), "connect 2 @0");
    assert_eq!(bench.connected(at(1), 2), "send r4 on 2");
}

#[test]
fn a_request_does_not_wait_for_ever() {
    let mut bench = Bench::new(1, Options { connections_max: 1, ..OPTIONS });
    bench.ask(at(0), 1);
    bench.ask(at(1), 2);
    assert_eq!(bench.pool.next_deadline(), Some(at(11)));
    assert_eq!(bench.timeout(at(10)), "");
    assert_eq!(bench.timeout(at(11)), "refuse r2 Timeout");
}

#[test]
fn a_cancelled_request_leaves_its_place() {
    let mut bench = Bench::new(1, Options { connections_max: 1, ..OPTIONS });
    bench.ask(at(0), 1);
    bench.ask(at(0), 2);
    bench.ask(at(0), 3);
    bench.pool.handle_cancel(at(0), RequestId(2));
    bench.pool.handle_cancel(at(0), RequestId(1));
    assert_eq!(bench.connected(at(0), 0), "send r3 on 0", "what was begun is not wasted");
    bench.pool.handle_cancel(at(0), RequestId(3));
    assert_eq!(bench.actions(), "close 0");
    assert_eq!((bench.pool.connection_count(), bench.pool.waiting_count()), (0, 0));
    assert_eq!(bench.done(at(0), 0, Outcome::Kept), "", "a late word is void");
}

#[test]
fn what_was_placed_before_waits_even_where_nobody_else_may() {
    let options = Options { connections_max: 1, waiters_max: 0, ..OPTIONS };
    let mut bench = Bench::new(2, options);
    assert_eq!(bench.ask(at(0), 1), "connect 0 @0");
    assert_eq!(bench.ask(at(0), 2), "connect 1 @1");
    assert_eq!(bench.ask(at(0), 3), "refuse r3 Busy");
    assert_eq!(bench.failed(at(0), 0), "");
    bench.connected(at(0), 1);
    assert_eq!(bench.done(at(0), 1, Outcome::Kept), "send r1 on 1");
}

// Fail-over -------------------------------------------------------------------------------------

#[test]
fn each_address_is_tried_once() {
    let mut bench = Bench::new(3, OPTIONS);
    assert_eq!(bench.ask(at(0), 1), "connect 0 @0");
    assert_eq!(bench.failed(at(0), 0), "connect 1 @1");
    assert_eq!(bench.failed(at(0), 1), "connect 2 @2");
    assert_eq!(bench.failed(at(0), 2), "refuse r1 Connect");
}

#[test]
fn work_is_spread_and_ties_follow_the_configuration() {
    let mut bench = Bench::new(2, OPTIONS);
    assert_eq!(bench.ask(at(0), 1), "connect 0 @0");
    assert_eq!(bench.ask(at(0), 2), "connect 1 @1");
    assert_eq!(bench.ask(at(0), 3), "connect 2 @0");
    bench.connected(at(0), 1);
    bench.done(at(0), 1, Outcome::Kept);
    assert_eq!(bench.ask(at(0), 4), "send r4 on 1");
}

#[test]
fn a_failing_address_is_left_alone_then_probed_once() {
    let mut bench = Bench::new(2, OPTIONS);
    assert_eq!(bench.ask(at(0), 1), "connect 0 @0");
    assert_eq!(bench.failed(at(0), 0), "connect 1 @1");
    bench.connected(at(0), 1);
    bench.done(at(0), 1, Outcome::Kept);
    bench.ask(at(0), 2);
    assert_eq!(bench.ask(at(0), 3), "connect 2 @0");
    assert_eq!(bench.failed(at(0), 2), "connect 3 @1");
    assert_eq!(bench.pool.standing(at(0), AddressId(0)), Some(Standing::Down));
    bench.done(at(0), 1, Outcome::Kept);
    assert_eq!(bench.ask(at(0), 4), "send r4 on 1");
    bench.done(at(0), 1, Outcome::Kept);
    assert_eq!(bench.ask(at(1), 5), "connect 4 @0", "the probe");
    assert_eq!(bench.ask(at(1), 6), "send r6 on 1", "and no second one");
    assert_eq!(bench.failed(at(1), 4), "", "both connections of the other are in use: it waits");
    assert_eq!(bench.done(at(1), 1, Outcome::Kept), "send r5 on 1");
    assert_eq!(bench.pool.standing(at(2), AddressId(0)), Some(Standing::Down));
    assert_eq!(bench.ask(at(3), 7), "connect 5 @0");
    bench.connected(at(3), 5);
    bench.pool.handle_head(at(3), bench.conns[5]);
    assert_eq!(bench.pool.standing(at(3), AddressId(0)), Some(Standing::Up));
}

#[test]
fn with_every_address_down_requests_are_refused_at_once() {
    let mut bench = Bench::new(1, OPTIONS);
    bench.ask(at(0), 1);
    assert_eq!(bench.failed(at(0), 0), "refuse r1 Connect");
    bench.ask(at(0), 2);
    assert_eq!(bench.failed(at(0), 1), "refuse r2 Connect");
    assert_eq!(bench.ask(at(0), 3), "refuse r3 Down");
    assert_eq!(bench.ask(at(1), 4), "connect 2 @0");
    assert_eq!(bench.ask(at(1), 5), "", "it waits for the probe");
    assert_eq!(bench.failed(at(1), 2), "refuse r4 Connect, refuse r5 Down");
    assert_eq!(bench.ask(at(3), 6), "connect 3 @0");
    assert_eq!(bench.ask(at(3), 7), "");
    assert_eq!(bench.connected(at(3), 3), "send r6 on 3");
    bench.pool.handle_head(at(3), bench.conns[3]);
    assert_eq!(bench.actions(), "connect 4 @0", "it lives, however long that answer takes");
}

#[test]
fn an_address_that_goes_down_takes_its_kept_connections_along() {
    let mut bench = with_kept();
    bench.ask(at(0), 2);
    bench.ask(at(0), 3);
    bench.connected(at(0), 1);
    bench.done(at(0), 0, Outcome::Kept);
    assert_eq!(bench.done(at(0), 1, Outcome::Failed), "");
    assert_eq!(bench.ask(at(0), 4), "send r4 on 0");
    assert_eq!(bench.ask(at(0), 5), "connect 2 @0");
    bench.connected(at(0), 2);
    bench.done(at(0), 0, Outcome::Kept);
    bench.ask(at(0), 6);
    bench.done(at(0), 2, Outcome::Failed);
    assert_eq!(bench.done(at(0), 0, Outcome::Failed), "");
    assert_eq!(bench.pool.standing(at(0), AddressId(0)), Some(Standing::Down));
    assert_eq!(bench.pool.connection_count(), 0);
}

#[test]
fn one_that_waits_is_the_probe_when_it_is_due() {
    let mut bench = Bench::new(2, Options { connections_max: 1, ..OPTIONS });
    for id in 1..=2 {
        bench.ask(at(0), id);
        let last = bench.conns.len() - 1;
        bench.failed(at(0), last);
        bench.connected(at(0), last + 1);
        bench.done(at(0), last + 1, Outcome::Closed);
    }
    assert_eq!(bench.pool.standing(at(0), AddressId(0)), Some(Standing::Down));
    assert_eq!(bench.ask(at(0), 3), "connect 4 @1");
    assert_eq!(bench.ask(at(0), 4), "");
    assert_eq!(bench.pool.next_deadline(), Some(at(1)));
    assert_eq!(bench.timeout(at(1)), "connect 5 @0");
}

#[test]
fn a_cancelled_probe_is_due_again() {
    let mut bench = Bench::new(1, OPTIONS);
    for id in 0..2 {
        bench.ask(at(0), id);
        bench.failed(at(0), bench.conns.len() - 1);
    }
    assert_eq!(bench.ask(at(1), 3), "connect 2 @0");
    bench.pool.handle_cancel(at(1), RequestId(3));
    assert_eq!(bench.connected(at(1), 2), "close 2", "not proven up, so not kept");
    assert_eq!(bench.ask(at(1), 4), "connect 3 @0");
}

// Retry -----------------------------------------------------------------------------------------

#[test]
fn a_kept_connection_that_died_is_retried_once_on_a_new_one() {
    let mut bench = with_kept();
    bench.ask(at(0), 2);
    assert_eq!(bench.done(at(0), 0, Outcome::Unanswered), "connect 1 @0");
    assert_eq!(bench.connected(at(0), 1), "send r2 on 1");
    assert_eq!(bench.done(at(0), 1, Outcome::Unanswered), "refuse r2 Unanswered");
}

#[test]
fn a_retry_leaves_other_kept_connections_alone() {
    let mut bench = with_kept();
    bench.ask(at(0), 2);
    assert_eq!(bench.ask(at(0), 3), "connect 1 @0");
    bench.connected(at(0), 1);
    bench.done(at(0), 1, Outcome::Kept);
    assert_eq!(bench.done(at(0), 0, Outcome::Unanswered), "connect 2 @0");
    assert_eq!(bench.connected(at(0), 2), "send r2 on 2");
    assert_eq!(bench.ask(at(0), 4), "send r4 on 1");
}

#[test]
fn what_may_not_be_sent_twice_is_not() {
    let mut bench = with_kept();
    bench.pool.handle_request(at(0), RequestId(2), false);
    assert_eq!(bench.actions(), "connect 1 @0", "a kept one may be closed just then");
    assert_eq!(bench.connected(at(0), 1), "send r2 on 1");
    assert_eq!(bench.done(at(0), 1, Outcome::Unanswered), "refuse r2 Unanswered");
    let mut bench = Bench::new(1, OPTIONS);
    bench.ask(at(0), 1);
    bench.connected(at(0), 0);
    let refused = bench.done(at(0), 0, Outcome::Unanswered);
    assert_eq!(refused, "refuse r1 Unanswered", "a new connection was not closed for being idle");
}

#[test]
fn what_clients_post_takes_no_address_down() {
    let mut bench = Bench::new(1, OPTIONS);
    for number in 0..6 {
        bench.pool.handle_request(at(0), RequestId(number), false);
        let conn = usize::try_from(number).unwrap();
        assert_eq!(bench.actions(), format!("connect {conn} @0"));
        assert_eq!(bench.connected(at(0), conn), format!("send r{number} on {conn}"));
        let outcome = if number % 2 == 0 { Outcome::Unanswered } else { Outcome::Failed };
        bench.done(at(0), conn, outcome);
    }
    // That it takes no connections does.
    for number in 6..8 {
        bench.pool.handle_request(at(0), RequestId(number), false);
        bench.actions();
        bench.failed(at(0), usize::try_from(number).unwrap());
    }
    assert_eq!(bench.ask(at(0), 9), "refuse r9 Down");
}

#[test]
fn what_may_not_be_sent_twice_takes_the_place_of_a_kept_connection() {
    let mut bench = Bench::new(1, Options { connections_max: 1, ..OPTIONS });
    bench.ask(at(0), 1);
    bench.connected(at(0), 0);
    bench.pool.handle_request(at(0), RequestId(2), false);
    assert_eq!(bench.actions(), "", "it waits");
    assert_eq!(bench.done(at(0), 0, Outcome::Kept), "close 0, connect 1 @0");
    // Until it is sent, another address may have it.
    assert_eq!(bench.failed(at(0), 1), "refuse r2 Connect");
    let mut bench = Bench::new(2, OPTIONS);
    bench.pool.handle_request(at(0), RequestId(1), false);
    assert_eq!(bench.actions(), "connect 0 @0");
    assert_eq!(bench.failed(at(0), 0), "connect 1 @1");
    assert_eq!(bench.connected(at(0), 1), "send r1 on 1");
    assert_eq!(bench.done(at(0), 1, Outcome::Failed), "", "what was sent is nobody else's");
}

// Random histories ------------------------------------------------------------------------------

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        crate::stdx::num::index(self.0 >> 33) % bound
    }
}

/// What a naive observer knows of a pool.
#[derive(Default)]
struct Observer {
    /// Open connections, and the address of each.
    open: BTreeMap<(u32, u32), usize>,
    connecting: BTreeSet<(u32, u32)>,
    busy: BTreeMap<(u32, u32), u64>,
    /// Requests without an end yet, and how often each was sent.
    live: BTreeMap<u64, u32>,
}

const fn key(id: ConnId) -> (u32, u32) {
    (id.0.index, id.0.generation)
}

const fn conn((index, generation): (u32, u32)) -> ConnId {
    ConnId(Key { index, generation })
}

impl Observer {
    fn drain(&mut self, pool: &mut Pool) {
        while let Some(action) = pool.poll_action() {
            match action {
                Action::Connect { conn, address } => {
                    assert_eq!(self.open.insert(key(conn), address.0), None);
                    self.connecting.insert(key(conn));
                    let here = self.open.values().filter(|other| **other == address.0).count();
                    assert!(here <= OPTIONS.connections_max, "{here} connections");
                }
                Action::Send { conn, request } => {
                    assert!(self.open.contains_key(&key(conn)), "sent on what is open");
                    assert_eq!(self.busy.insert(key(conn), request.0), None, "one at a time");
                    let sent = self.live.get_mut(&request.0).expect("only a live request");
                    *sent += 1;
                    assert!(*sent <= 2, "sent again at most once");
                }
                Action::Close { conn } => {
                    assert!(self.open.remove(&key(conn)).is_some(), "closed once");
                    self.busy.remove(&key(conn));
                }
                Action::Refuse { request, .. } => {
                    assert!(self.live.remove(&request.0).is_some(), "an end comes once");
                }
            }
        }
        assert_eq!(self.open.len(), pool.connection_count());
        assert!(self.live.len() >= self.busy.len(), "each busy connection has a live request");
    }

    fn pick<T: Copy>(random: &mut Random, among: impl ExactSizeIterator<Item = T>) -> Option<T> {
        let mut among = among;
        if among.len() == 0 { None } else { among.nth(random.below(among.len())) }
    }

    fn step(&mut self, random: &mut Random, now: Instant, pool: &mut Pool, id: u64) {
        match random.below(12) {
            0..3 => {
                self.live.insert(id, 0);
                pool.handle_request(now, RequestId(id), random.below(4) > 0);
            }
            3..6 => {
                let Some(at) = Self::pick(random, self.connecting.iter().copied()) else { return };
                self.connecting.remove(&at);
                if random.below(3) > 0 {
                    pool.handle_connected(now, conn(at));
                } else {
                    self.open.remove(&at);
                    pool.handle_connect_failed(now, conn(at));
                }
            }
            6..9 => {
                let Some((at, request)) =
                    Self::pick(random, self.busy.iter().map(|(at, request)| (*at, *request)))
                else {
                    return;
                };
                let outcomes =
                    [Outcome::Kept, Outcome::Closed, Outcome::Failed, Outcome::Unanswered];
                let outcome = outcomes[random.below(outcomes.len())];
                self.busy.remove(&at);
                if outcome != Outcome::Kept {
                    self.open.remove(&at);
                }
                if outcome != Outcome::Unanswered {
                    self.live.remove(&request);
                }
                pool.handle_done(now, conn(at), outcome);
            }
            9 => {
                let is_idle =
                    |at: &(u32, u32)| !self.busy.contains_key(at) && !self.connecting.contains(at);
                let idle: Vec<_> = self.open.keys().copied().filter(is_idle).collect();
                let Some(at) = Self::pick(random, idle.into_iter()) else { return };
                self.open.remove(&at);
                pool.handle_closed(now, conn(at));
            }
            10 => {
                let Some(id) = Self::pick(random, self.live.keys().copied()) else { return };
                self.live.remove(&id);
                self.busy.retain(|_, request| *request != id);
                pool.handle_cancel(now, RequestId(id));
            }
            _ => pool.handle_timeout(now),
        }
    }
}

#[test]
fn random_histories_keep_the_invariants() {
    for seed in 0..200_u64 {
        let mut random = Random(seed);
        let mut pool = Pool::new(1 + random.below(3), OPTIONS);
        let mut observer = Observer::default();
        let mut now = Instant::default();
        for id in 0..500 {
            now = now.after(Duration::from_millis(random.below(400) as u64));
            observer.step(&mut random, now, &mut pool, id);
            observer.drain(&mut pool);
            if random.below(2) == 0 {
                continue;
            }
            pool.handle_timeout(now);
            observer.drain(&mut pool);
            let deadline = pool.next_deadline();
            assert!(deadline.is_none_or(|deadline| deadline > now), "SEED={seed}: it would spin");
        }
        // The end: nothing new comes, everything under way fails, and nobody is left waiting.
        for _ in 0..200 {
            now = now.after(OPTIONS.wait_timeout);
            pool.handle_timeout(now);
            observer.drain(&mut pool);
            if let Some(at) = observer.connecting.pop_first() {
                observer.open.remove(&at);
                pool.handle_connect_failed(now, conn(at));
                observer.drain(&mut pool);
            }
            if let Some((at, request)) = observer.busy.pop_first() {
                observer.open.remove(&at);
                observer.live.remove(&request);
                pool.handle_done(now, conn(at), Outcome::Failed);
                observer.drain(&mut pool);
            }
        }
        pool.handle_timeout(now.after(OPTIONS.idle_timeout));
        observer.drain(&mut pool);
        let left = (pool.waiting_count(), pool.connection_count(), observer.live.len());
        assert_eq!(left, (0, 0, 0), "SEED={seed}");
        assert_eq!(pool.next_deadline(), None, "SEED={seed}");
    }
}
