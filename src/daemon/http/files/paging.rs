//! Page-ins: chunks of files that the kernel's workers read into memory before they are sent.
//!
//! Thread: one worker.
//! Not here: which bytes are resident (`cache::residency`).

use std::rc::Rc;

use crate::cache::residency::Residency;
use crate::stdx::slab::Key;
use crate::sys::uring::{Errno, Ring};

use super::super::super::counters::Counters;
use super::{Files, Version};

pub(super) struct PageIn {
    version: Rc<Version>,
    start: u64,
    epoch: u64,
    waiters: Vec<Key>,
}

impl Files {
    /// Has the chunk of `version` that holds byte `at` read into memory; `waiter` is told when it
    /// is. Returns false where too many are being read.
    #[must_use]
    pub fn page_in(
        &mut self,
        version: &Rc<Version>,
        at: u64,
        waiter: Option<Key>,
        ring: &mut Ring,
        counters: &Counters,
    ) -> bool {
        let Some(mapping) = &version.mapping else { return true };
        let chunk = Residency::chunk(at, version.identity.len);
        let under_way =
            version.paging.borrow().iter().find(|(start, _)| *start == chunk.start).copied();
        if let Some((_, tag)) = under_way {
            let page_in = self.page_ins.find_mut(tag).expect("listed page-ins exist");
            page_in.waiters.extend(waiter);
            return true;
        }
        let page_in = PageIn {
            version: Rc::clone(version),
            start: chunk.start,
            epoch: self.epoch(),
            waiters: waiter.into_iter().collect(),
        };
        let Ok(tag) = self.page_ins.insert(page_in) else { return false };
        counters.page_ins.add(1);
        version.paging.borrow_mut().push((chunk.start, tag));
        ring.page_in(tag, mapping, &chunk);
        true
    }

    /// A page-in is over. Returns who waited. EFAULT means that the file has become shorter: it is
    /// marked broken, and those who waited find out.
    pub fn handle_paged_in(&mut self, tag: Key, result: Result<(), Errno>) -> Vec<Key> {
        let page_in = self.page_ins.remove(tag).expect("page-ins complete once");
        page_in.version.paging.borrow_mut().retain(|(_, other)| *other != tag);
        match result {
            Ok(()) => {
                page_in
                    .version
                    .residency
                    .borrow_mut()
                    .handle_paged_in(page_in.start, page_in.epoch);
            }
            Err(_) => page_in.version.mark_broken(),
        }
        page_in.waiters
    }
}
