//! The same index as the source describes it: one node a user, three towers, strings in the node.
//!
//! Input: hits, as `online::Online` takes them.   Output: the same answers.
//! Owns: one node per user; unbounded, for tests and benchmarks.   Thread: any.
//! Invariants: a node is in all three orders with the same height.
//! Not here: readers on other threads, options, limits on names.
//! Source: Schlossnagle, "Scalable Internet Architectures", 2006, chapter 8; Pugh, CACM 33(6),
//! 1990.
//! Differs from the source: nodes lie in one vector and are named by their index.

use std::cmp::Ordering;

use crate::online::Hit;
use crate::stdx::random::Random;
use crate::time::UnixMillis;

const LEVELS: usize = 20;
const ORDERS: usize = 3;
const BY_USER: usize = 0;
const BY_URL: usize = 1;
const BY_TIME: usize = 2;

#[derive(Debug, Default)]
struct Node {
    user: Vec<u8>,
    url: Vec<u8>,
    at: UnixMillis,
    /// Order of arrival.
    arrival: u64,
    /// What follows, by order and level.
    next: [Vec<u32>; ORDERS],
}

/// What a search looks for.
struct Key<'a> {
    user: &'a [u8],
    url: &'a [u8],
    at: UnixMillis,
    arrival: u64,
}

/// The index.
#[derive(Debug)]
pub struct Plain {
    /// The first stands in front of all others.
    nodes: Vec<Node>,
    free: Vec<u32>,
    count: usize,
    arrivals: u64,
    random: Random,
    window_ms: u64,
}

impl Plain {
    /// An empty index of a window.
    #[must_use]
    pub fn new(window_ms: u64) -> Self {
        let next = std::array::from_fn(|_| vec![0; LEVELS]);
        let head = Node { next, ..Node::default() };
        Self {
            nodes: vec![head],
            free: Vec::new(),
            count: 0,
            arrivals: 0,
            random: Random::new(1),
            window_ms,
        }
    }

    /// Users in it.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    fn compare(&self, node: u32, key: &Key<'_>, order: usize) -> Ordering {
        let node = &self.nodes[node as usize];
        // The newest first; of equals the one that came last.
        let newest = || (key.at, key.arrival).cmp(&(node.at, node.arrival));
        match order {
            BY_USER => node.user.as_slice().cmp(key.user),
            BY_URL => node.url.as_slice().cmp(key.url).then_with(newest),
            _ => newest(),
        }
    }

    /// The last node before `key` on each level.
    fn search(&self, key: &Key<'_>, order: usize) -> [u32; LEVELS] {
        let mut path = [0; LEVELS];
        let mut at = 0_u32;
        for level in (0..LEVELS).rev() {
            loop {
                let next = self.nodes[at as usize].next[order][level];
                if next == 0 || self.compare(next, key, order).is_ge() {
                    break;
                }
                at = next;
            }
            path[level] = at;
        }
        path
    }

    fn find(&self, user: &[u8]) -> Option<u32> {
        let key = Key { user, url: b"", at: UnixMillis(0), arrival: 0 };
        let before = self.search(&key, BY_USER)[0];
        let found = self.nodes[before as usize].next[BY_USER][0];
        (found != 0 && self.nodes[found as usize].user == user).then_some(found)
    }

    fn unlink(&mut self, node: u32) {
        let own = &self.nodes[node as usize];
        let (user, url) = (own.user.clone(), own.url.clone());
        let key = Key { user: &user, url: &url, at: own.at, arrival: own.arrival };
        for order in 0..ORDERS {
            let path = self.search(&key, order);
            let height = self.nodes[node as usize].next[order].len();
            for (level, before) in path[..height].iter().enumerate() {
                let next = self.nodes[node as usize].next[order][level];
                self.nodes[*before as usize].next[order][level] = next;
            }
        }
        self.nodes[node as usize] = Node::default();
        self.free.push(node);
        self.count -= 1;
    }

    /// Applies one hit, which is not later than `now` nor older than the window before it.
    pub fn hit(&mut self, hit: &Hit<'_>) {
        if let Some(node) = self.find(hit.user) {
            self.unlink(node);
        }
        self.arrivals += 1;
        let height = (1 + self.random.draw().leading_zeros() as usize).min(LEVELS);
        let node = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            crate::stdx::num::narrow(self.nodes.len() - 1)
        });
        let key = Key { user: hit.user, url: hit.url, at: hit.at, arrival: self.arrivals };
        let mut next = [const { Vec::new() }; ORDERS];
        for (order, next) in next.iter_mut().enumerate() {
            let path = self.search(&key, order);
            for (level, before) in path[..height].iter().enumerate() {
                let slot = &mut self.nodes[*before as usize].next[order][level];
                next.push(*slot);
                *slot = node;
            }
        }
        let (user, url) = (hit.user.to_vec(), hit.url.to_vec());
        self.nodes[node as usize] = Node { user, url, at: hit.at, arrival: self.arrivals, next };
        self.count += 1;
    }

    /// Removes a user. False where there is none of this name.
    pub fn remove(&mut self, user: &[u8]) -> bool {
        let Some(node) = self.find(user) else { return false };
        self.unlink(node);
        true
    }

    /// Removes all that is older than the window before `now`.
    pub fn cull(&mut self, now: UnixMillis) {
        let oldest = UnixMillis(now.0.saturating_sub(self.window_ms));
        // The oldest is the last: what follows a key of its time and no arrival.
        loop {
            let key = Key { user: b"", url: b"", at: oldest, arrival: 0 };
            let before = self.search(&key, BY_TIME)[0];
            match self.nodes[before as usize].next[BY_TIME][0] {
                0 => return,
                node => self.unlink(node),
            }
        }
    }

    /// Up to `limit` users on `url`, newest first.
    pub fn visitors(&self, url: &[u8], limit: usize) -> impl Iterator<Item = (&[u8], UnixMillis)> {
        let key = Key { user: b"", url, at: UnixMillis(u64::MAX), arrival: u64::MAX };
        let before = self.search(&key, BY_URL)[0];
        let url = url.to_vec();
        self.walk(before, BY_URL).take_while(move |node| node.url == url).take(limit).map(seen)
    }

    /// All users, newest first.
    pub fn newest(&self) -> impl Iterator<Item = (&[u8], UnixMillis)> {
        self.walk(0, BY_TIME).map(seen)
    }

    /// All users by name, with their url.
    pub fn users(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.walk(0, BY_USER).map(|node| (node.user.as_slice(), node.url.as_slice()))
    }

    fn walk(&self, from: u32, order: usize) -> impl Iterator<Item = &Node> {
        let mut at = from;
        std::iter::from_fn(move || {
            at = self.nodes[at as usize].next[order][0];
            (at != 0).then(|| &self.nodes[at as usize])
        })
    }
}

fn seen(node: &Node) -> (&[u8], UnixMillis) {
    (&node.user, node.at)
}
