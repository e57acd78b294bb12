//! What the store does when it has time: learn the tree, and evict from it ahead of need.
//!
//! Input: `step`, with the time and how many entries it may look at.   Output: files that went.
//! Thread: the store's.
//! Invariants: eviction takes no file that was used in the current epoch or the one before, unless
//! a bound is broken and nothing else is left; it stops as soon as enough went.
//! Not here: which epoch frees enough (`cache::inventory`), the walk itself (`walk`).
//!
//! ```text
//! bytes_max                    |=============================|
//!           evict down to 95 % |==========================|  |
//!             begin above 98 % |============================||
//! free_bytes_min: begin below 102 % of it, evict up to 105 %
//! ```
//!
//! The inventory knows no names, so eviction walks the tree and takes what is old enough. The walk
//! goes on where it last stopped, like a clock's hand, so that after a restart, when everything is
//! equally old, it is not always the first directory that pays.
//!
//! Whatever was removed lives on for who has it open: no response is cut short by eviction. Its
//! blocks are free only then, so the free space is looked at again after a pause.

use super::walk::{Visit, Walk};
use super::{Disk, DiskError, Found, Removal, Store};
use crate::cache::disk::BLOCK_BYTES;
use crate::cache::inventory::{self, Epoch};
use crate::limits::{
    EVICT_AHEAD_PERCENT, EVICT_TO_PERCENT, SCAN_DIRECTORIES_MAX, STORE_STEP_ENTRIES_MAX,
};
use crate::time::{Duration, Instant};

/// How much may be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// All stored files together take up at most this; what was put there by hand does not count.
    pub bytes_max: Option<u64>,
    /// The file system keeps this much free, whoever fills it.
    pub free_bytes_min: u64,
}

/// Free space is looked at this often, and this long after files went to make some.
const SPACE_PERIOD: Duration = Duration::from_secs(1);

/// Where nothing more can be evicted, it is tried again after this.
const EVICT_RETRY: Duration = Duration::from_secs(10);

/// The tree is learnt anew at most once in this time, and in this many times what it took.
const SCAN_PERIOD: Duration = Duration::from_secs(60);
const SCAN_SHARE: u32 = 10;

/// Making room.
struct Eviction {
    /// Blocks that still have to go.
    blocks: u64,
    /// Files last used before this epoch go.
    cutoff: Epoch,
    /// So many blocks of those last used in it, too.
    cutoff_blocks: u64,
    /// Whether the walk began in this eviction, so that its end is the end of a whole round.
    is_whole_round: bool,
    is_desperate: bool,
}

/// State of what is done when there is time.
pub struct Upkeep<D: Disk> {
    pub(super) limits: Limits,
    pub(super) epoch: Epoch,
    /// Whether every stored file is in the inventory.
    pub(super) is_all_known: bool,
    scan: Option<Walk<D>>,
    scan_began: Instant,
    must_scan: bool,
    next_scan: Instant,
    /// Directories that came by other hands.
    directories: Vec<Box<[u8]>>,
    part_scan: Option<Walk<D>>,
    eviction: Option<Eviction>,
    hand: Option<Walk<D>>,
    next_eviction: Instant,
    /// The same for what would go ahead of need only.
    next_ahead: Instant,
    free_bytes: Option<u64>,
    next_space: Instant,
    /// A body met a full disk, or the end of a quota, which no bound knows.
    pub(super) is_full: bool,
}

impl<D: Disk> Upkeep<D> {
    pub(super) fn new() -> Self {
        Self {
            limits: Limits::default(),
            epoch: inventory::epoch(Instant::default()),
            is_all_known: false,
            scan: None,
            scan_began: Instant::default(),
            must_scan: true,
            next_scan: Instant::default(),
            directories: Vec::new(),
            part_scan: None,
            eviction: None,
            hand: None,
            next_eviction: Instant::default(),
            next_ahead: Instant::default(),
            free_bytes: None,
            next_space: Instant::default(),
            is_full: false,
        }
    }
}

impl<D: Disk> Store<D> {
    /// What may be stored from now on.
    pub fn handle_limits(&mut self, limits: Limits) {
        self.upkeep.limits = limits;
        self.upkeep.next_eviction = Instant::default();
        self.upkeep.next_ahead = Instant::default();
    }

    /// It is `now`, on a clock that began with the process.
    pub fn handle_time(&mut self, now: Instant) {
        self.upkeep.epoch = inventory::epoch(now);
    }

    /// Names with these hashes were used.
    pub fn handle_used(&mut self, hashes: &[u64]) {
        let (epoch, is_all_known) = (self.upkeep.epoch, self.upkeep.is_all_known);
        for hash in hashes {
            self.inventory.touch(*hash, epoch, is_all_known);
        }
    }

    /// `name` may have come, gone or changed by other hands, or by ours. A directory is looked
    /// through; of one that went, `handle_rescan` tells.
    pub fn handle_changed(&mut self, name: &[u8]) {
        if super::is_own(name) {
            return;
        }
        let hash = self.hash.of(name);
        match self.disk.look(name) {
            Ok(Found::Stored { head, blocks }) => {
                if self.inventory.find(hash).is_none_or(|(known, _)| known != blocks) {
                    self.inventory.insert(hash, blocks, self.upkeep.epoch);
                }
                self.tags.insert(name, &(self.options.tags_of)(&head));
            }
            Ok(Found::Directory) => {
                self.forget();
                if self.upkeep.directories.len() < SCAN_DIRECTORIES_MAX {
                    self.upkeep.directories.push(name.into());
                } else {
                    self.upkeep.must_scan = true;
                }
            }
            Ok(Found::ByHand | Found::Other)
            | Err(DiskError::Missing | DiskError::NotDirectory) => {
                self.inventory.remove(hash);
            }
            Err(_) => self.totals.failures += 1,
        }
    }

    /// Whole directories went or came, or changes were lost: the tree is learnt anew when there is
    /// time.
    pub fn handle_rescan(&mut self) {
        self.forget();
        self.upkeep.must_scan = true;
    }

    /// Does a bounded piece of what there is to do: `entries_max` entries of directories at most.
    /// False if there is nothing to do for now.
    pub fn step(&mut self, now: Instant, entries_max: usize) -> bool {
        let entries_max = entries_max.min(STORE_STEP_ENTRIES_MAX);
        self.handle_time(now);
        self.tell_presence();
        if self.upkeep.eviction.is_none() {
            self.plan_eviction(now);
        }
        if self.upkeep.eviction.is_some() {
            self.evict(now, entries_max);
            return true;
        }
        if self.upkeep.part_scan.is_none()
            && let Some(name) = self.upkeep.directories.pop()
        {
            self.upkeep.part_scan = Some(Walk::new(&mut self.disk, &name));
        }
        if let Some(mut walk) = self.upkeep.part_scan.take() {
            if self.learn(&mut walk, entries_max) {
                self.upkeep.part_scan = Some(walk);
            }
            return true;
        }
        self.scan(now, entries_max)
    }

    /// Says whether all names are known, and has worn ones learnt anew.
    fn tell_presence(&mut self) {
        let upkeep = &mut self.upkeep;
        let is_at_rest = upkeep.scan.is_none()
            && upkeep.part_scan.is_none()
            && upkeep.directories.is_empty()
            && !upkeep.must_scan;
        if self.options.presence.is_worn() && is_at_rest {
            self.options.presence.clear();
            upkeep.must_scan = true;
        } else {
            self.options.presence.set_complete(is_at_rest && upkeep.is_all_known);
        }
    }

    // ---- Scan ----

    fn scan(&mut self, now: Instant, entries_max: usize) -> bool {
        let upkeep = &mut self.upkeep;
        if upkeep.scan.is_none() && upkeep.must_scan && now >= upkeep.next_scan {
            upkeep.must_scan = false;
            upkeep.is_all_known = false;
            upkeep.scan_began = now;
            upkeep.scan = Some(Walk::new(&mut self.disk, b""));
            self.inventory.begin_round();
        }
        let Some(mut walk) = self.upkeep.scan.take() else { return false };
        if self.learn(&mut walk, entries_max) {
            self.upkeep.scan = Some(walk);
            return true;
        }
        let upkeep = &mut self.upkeep;
        let took = now.since(upkeep.scan_began);
        upkeep.next_scan = now.after(SCAN_PERIOD.max(took * SCAN_SHARE));
        // What lies in a directory that this process may not read, it did not store.
        upkeep.is_all_known = walk.failed == 0;
        self.totals.scans += 1;
        if walk.failed == 0 {
            self.inventory.end_round();
        } else {
            self.totals.failures += walk.failed;
            upkeep.must_scan = true;
        }
        true
    }

    /// Looks at some entries. False at the end of the walk.
    fn learn(&mut self, walk: &mut Walk<D>, entries_max: usize) -> bool {
        for _ in 0..entries_max {
            match walk.next(&mut self.disk) {
                None => return false,
                Some(Visit::Directory(name)) => {
                    self.options.presence.insert(&name);
                    walk.enter(&mut self.disk, &name);
                }
                Some(Visit::File(name)) => {
                    self.options.presence.insert(&name);
                    self.learn_file(&name, walk);
                }
                // A link, perhaps to where no walk leads.
                Some(Visit::Other) => self.options.presence.handle_link(),
                Some(Visit::Left { .. }) => {}
            }
        }
        true
    }

    fn learn_file(&mut self, name: &[u8], walk: &mut Walk<D>) {
        self.totals.scanned += 1;
        let hash = self.hash.of(name);
        if self.inventory.see(hash) {
            return;
        }
        match self.disk.look(name) {
            Ok(Found::Stored { head, blocks }) => {
                self.inventory.insert(hash, blocks, 0);
                self.tags.insert(name, &(self.options.tags_of)(&head));
            }
            // What may not be read is not ours.
            Ok(_) | Err(DiskError::Missing | DiskError::NotDirectory | DiskError::Denied) => {}
            Err(_) => walk.failed += 1,
        }
    }

    // ---- Eviction ----

    /// Blocks that have to go now for the bounds to hold with some room; and whether a bound is
    /// broken already.
    fn excess(&mut self, now: Instant) -> (u64, bool) {
        let Limits { bytes_max, free_bytes_min } = self.upkeep.limits;
        let used = self.inventory.blocks().saturating_mul(BLOCK_BYTES);
        let (mut bytes, mut is_broken) = (0, false);
        if let Some(max) = bytes_max
            && used > max - part(max, EVICT_AHEAD_PERCENT)
        {
            bytes = used - (max - part(max, EVICT_TO_PERCENT));
            is_broken = used > max;
        }
        if free_bytes_min > 0 && now >= self.upkeep.next_space {
            self.upkeep.next_space = now.after(SPACE_PERIOD);
            self.upkeep.free_bytes = self.disk.space().ok().map(|space| space.free_bytes);
        }
        let free = self.upkeep.free_bytes.filter(|_| free_bytes_min > 0);
        if let Some(free) = free
            && free < free_bytes_min.saturating_add(part(free_bytes_min, EVICT_AHEAD_PERCENT))
        {
            let wanted = free_bytes_min.saturating_add(part(free_bytes_min, EVICT_TO_PERCENT));
            bytes = bytes.max(wanted - free);
            is_broken |= free < free_bytes_min;
        }
        if self.upkeep.is_full {
            bytes = bytes.max(part(used, EVICT_TO_PERCENT)).max(BLOCK_BYTES);
            is_broken = true;
        }
        (bytes.div_ceil(BLOCK_BYTES), is_broken)
    }

    fn plan_eviction(&mut self, now: Instant) {
        if now < self.upkeep.next_eviction {
            return;
        }
        let (blocks, is_broken) = self.excess(now);
        if blocks == 0 || (!is_broken && now < self.upkeep.next_ahead) {
            return;
        }
        self.upkeep.is_full = false;
        let (mut cutoff, mut cutoff_blocks) = self.inventory.cutoff(blocks);
        let lately = self.upkeep.epoch.saturating_sub(2);
        let has_old = !self.upkeep.is_all_known
            || self.inventory.oldest().is_some_and(|oldest| oldest <= lately);
        let is_desperate = !has_old;
        let is_futile = self.inventory.is_empty() && self.upkeep.is_all_known;
        if is_futile {
            self.upkeep.next_eviction = now.after(EVICT_RETRY);
            return;
        }
        if is_desperate && !is_broken {
            self.upkeep.next_ahead = now.after(EVICT_RETRY);
            return;
        }
        if !is_desperate && cutoff > lately {
            (cutoff, cutoff_blocks) = (lately, blocks);
        }
        let is_whole_round = false;
        let eviction = Eviction { blocks, cutoff, cutoff_blocks, is_whole_round, is_desperate };
        self.upkeep.eviction = Some(eviction);
    }

    fn evict(&mut self, now: Instant, entries_max: usize) {
        let Some(mut eviction) = self.upkeep.eviction.take() else { return };
        let mut hand = self.upkeep.hand.take();
        for _ in 0..entries_max {
            if eviction.blocks == 0 {
                // The free space shows it a little later.
                self.upkeep.free_bytes = None;
                self.upkeep.next_space = now.after(SPACE_PERIOD);
                self.upkeep.hand = hand;
                return;
            }
            let walk = match &mut hand {
                Some(walk) => walk,
                None => {
                    eviction.is_whole_round = true;
                    hand.insert(Walk::new(&mut self.disk, b""))
                }
            };
            match walk.next(&mut self.disk) {
                None => {
                    self.totals.failures += walk.failed;
                    hand = None;
                    if eviction.is_whole_round {
                        self.end_round(now, &eviction);
                        return;
                    }
                }
                Some(Visit::Directory(name)) => walk.enter(&mut self.disk, &name),
                Some(Visit::File(name)) => self.evict_file(&name, &mut eviction, walk),
                Some(Visit::Left { name, is_thinned: true }) => self.tidy(&name, walk),
                Some(Visit::Left { .. } | Visit::Other) => {}
            }
        }
        self.upkeep.eviction = Some(eviction);
        self.upkeep.hand = hand;
    }

    fn evict_file(&mut self, name: &[u8], eviction: &mut Eviction, walk: &mut Walk<D>) {
        let epoch = match self.inventory.epoch_of(self.hash.of(name)) {
            // Put there by hand.
            None if self.upkeep.is_all_known => return,
            epoch => epoch.unwrap_or_default(),
        };
        let is_last = epoch == eviction.cutoff;
        if epoch > eviction.cutoff || (is_last && eviction.cutoff_blocks == 0) {
            return;
        }
        match self.remove_stored(name) {
            Ok(Removal::Removed(blocks)) => {
                walk.thin();
                self.totals.evictions += 1;
                self.totals.evicted_blocks += u64::from(blocks);
                eviction.blocks = eviction.blocks.saturating_sub(u64::from(blocks));
                if is_last {
                    let rest = eviction.cutoff_blocks.saturating_sub(u64::from(blocks));
                    eviction.cutoff_blocks = rest;
                }
            }
            Ok(Removal::Kept | Removal::Missing) => {}
            Err(_) => self.totals.failures += 1,
        }
    }

    /// A whole round did not free enough.
    fn end_round(&mut self, now: Instant, eviction: &Eviction) {
        // What was free before it says nothing.
        self.upkeep.next_space = now;
        let (blocks, is_broken) = self.excess(now);
        if !is_broken || blocks == 0 {
            self.upkeep.next_ahead = now.after(EVICT_RETRY);
            return;
        }
        if eviction.is_desperate {
            self.upkeep.next_eviction = now.after(EVICT_RETRY);
            return;
        }
        let (cutoff, cutoff_blocks) = self.inventory.cutoff(blocks);
        let (is_whole_round, is_desperate) = (false, true);
        let next = Eviction { blocks, cutoff, cutoff_blocks, is_whole_round, is_desperate };
        self.upkeep.eviction = Some(next);
    }

    /// Removes the directory `name` if it is empty by now. Hosts' directories stay.
    pub(super) fn tidy(&mut self, name: &[u8], walk: &mut Walk<D>) {
        let is_host = name.iter().filter(|byte| **byte == b'/').count() < 2;
        if !is_host && self.disk.remove_directory(name).is_ok() {
            walk.thin();
        }
    }
}

fn part(bytes: u64, percent: u64) -> u64 {
    bytes / 100 * percent
}
