//! What a worker does when it hears of an answer that its connections follow.
//!
//! Thread: one worker.
//! Not here: the fetch itself (`fetch::answer`).

use std::rc::Rc;

use crate::cache::freshness::status::Handled;
use crate::limits::{FOLLOW_BYTES_MAX, PASS_SECONDS, PASSES_MAX};
use crate::stdx::bytes::Bytes;
use crate::stdx::slab::Key;
use crate::time::Duration;

use super::super::follow::{End, Follow, Forwarding, Verdict};
use super::Fetches;
use super::words::{Next, Word};

impl Fetches {
    pub(super) fn handle_verdict(&mut self, follow: Key, verdict: Verdict, is_yours: bool) {
        let Some(follow) = self.follows.find(follow).map(Rc::clone) else { return };
        match verdict {
            Verdict::Streams(answer) => {
                let is_shared = answer.is_shared;
                follow.set_answer(answer);
                follow.is_sent.set(is_yours);
                for conn in follow.take_waiters() {
                    let is_asker = is_yours && follow.asker == Some(conn);
                    let next = if is_shared || is_asker {
                        // It needs all of it, from now on.
                        follow.stand(conn, 0);
                        Next::Join(Rc::clone(&follow))
                    } else {
                        Next::Alone
                    };
                    self.woken.push_back((conn, next));
                }
                if !is_shared {
                    if self.by_key.get(&follow.key) == Some(&follow.id) {
                        self.mark_pass(&follow.key);
                    }
                    self.unlist(&follow);
                }
            }
            Verdict::Stored(renewal, Forwarding { why, origin_status }) => {
                if renewal.is_some() {
                    self.changed.push((follow.key.clone(), renewal));
                }
                for conn in follow.take_waiters() {
                    let collapsed = !is_yours || follow.asker != Some(conn);
                    let stored = false;
                    let handled = Handled::Forwarded { why, origin_status, stored, collapsed };
                    self.woken.push_back((conn, Next::Stored(handled)));
                }
                self.drop_follow(&follow);
            }
            Verdict::Again => {
                self.changed.push((follow.key.clone(), None));
                self.wake_all(&follow, &Next::Again);
                self.drop_follow(&follow);
            }
            Verdict::Refused(status) => {
                self.wake_all(&follow, &Next::Refused(status));
                self.drop_follow(&follow);
            }
        }
    }

    /// For a while, requests for `key` do not wait for each other.
    pub(super) fn mark_pass(&mut self, key: &[u8]) {
        if self.passes.len() >= PASSES_MAX {
            self.passes.clear();
        }
        let until = self.now.after(Duration::from_secs(PASS_SECONDS));
        self.passes.insert(key.into(), until);
    }

    pub(super) fn wake_all(&mut self, follow: &Follow, next: &Next) {
        for conn in follow.take_waiters() {
            self.woken.push_back((conn, next.clone()));
        }
    }

    pub(super) fn handle_pieces(&mut self, follow: Key, pieces: &[Bytes], end: Option<End>) {
        let Some(follow) = self.follows.find(follow).map(Rc::clone) else { return };
        follow.push(pieces);
        if let Some(end) = end {
            follow.set_end(end);
        }
        follow.trim(false);
        if follow.answer().is_some() {
            self.wake_all(&follow, &Next::More);
        }
        let is_remote = !self.fetches.contains_key(&follow.id);
        if is_remote && follow.memory() > FOLLOW_BYTES_MAX && follow.file().is_none() {
            // Who joins now could not be given the beginning for ever.
            self.unlist(&follow);
            follow.trim(false);
        }
        if is_remote && end.is_none() && follow.memory() > FOLLOW_BYTES_MAX {
            self.set_full(&follow, true);
            self.full.push(follow.id);
        }
        if is_remote && end.is_some() && follow.answer().is_some_and(|answer| !answer.is_shared) {
            self.drop_follow(&follow);
        }
    }

    pub(super) fn set_full(&mut self, follow: &Follow, is_full: bool) {
        let word = Word::Full { from: self.number, follow: follow.id, is_full };
        self.peers.tell(self.peers.owner(&follow.key), word);
    }

    /// Nobody may join it any more, and the worker knows nothing of it; who follows it goes on.
    pub(super) fn shut(&mut self, follow: Key) {
        if let Some(follow) = self.follows.find(follow).map(Rc::clone) {
            self.changed.push((follow.key.clone(), None));
            self.wake_all(&follow, &Next::More);
            self.drop_follow(&follow);
        }
    }

    pub(super) fn unlist(&mut self, follow: &Follow) {
        follow.shut();
        if self.by_key.get(&follow.key) == Some(&follow.id) {
            self.by_key.remove(&follow.key);
        }
    }

    pub(super) fn drop_follow(&mut self, follow: &Rc<Follow>) {
        self.unlist(follow);
        self.follows.remove(follow.id);
    }
}
