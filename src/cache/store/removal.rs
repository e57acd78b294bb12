//! How stored files go: one by one, and by purges.
//!
//! Thread: the store's.
//! Invariants: only what has a head goes; a purge answers when all of it is done, and no body that
//! was under way when it began is stored after it.
//! Not here: which names a purge means (`cache::purge`), eviction (`upkeep`).

use std::sync::Arc;

use super::walk::{Visit, Walk};
use super::{Disk, DiskError, Found, NotStored, Store, StoreId, is_own};
use crate::cache::purge::{Purge, Purged, What};
use crate::cache::tags;

/// What came of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It went, with so many blocks.
    Removed(u32),
    /// It is not the store's.
    Kept,
    /// There is none.
    Missing,
}

/// A purge on its way.
pub struct Purging<D: Disk> {
    purge: Arc<Purge>,
    way: Way<D>,
    purged: Purged,
}

/// How the files are found.
enum Way<D: Disk> {
    Walk(Walk<D>),
    Names(std::vec::IntoIter<Arc<[u8]>>),
}

impl<D: Disk> Store<D> {
    /// A purge begins; `purge_step` is called until it says that it is done.
    pub fn handle_purge(&mut self, purge: Arc<Purge>) {
        self.abort_purged(&purge);
        let way = match &purge.what {
            What::Tag(tag) if self.tags.is_complete() && self.upkeep.is_all_known => {
                Way::Names(self.tags.take(tag).into_iter())
            }
            _ => match purge.names() {
                Some(mut names) => {
                    // Most of them were never there.
                    names.retain(|name| !self.options.presence.is_absent(name));
                    Way::Names(names.into_iter())
                }
                None => Way::Walk(Walk::new(&mut self.disk, &purge.start())),
            },
        };
        self.purging = Some(Purging { purge, way, purged: Purged::default() });
    }

    /// Does a piece of the purge that was begun. At its end, says what came of it.
    pub fn purge_step(&mut self, entries_max: usize) -> Option<Purged> {
        let mut purging = self.purging.take()?;
        for _ in 0..entries_max {
            let Purging { purge, way, purged } = &mut purging;
            match way {
                Way::Names(names) => match names.next() {
                    Some(name) => drop(self.purge_file(&name, purge, purged)),
                    None => return Some(purging.purged),
                },
                Way::Walk(walk) => match walk.next(&mut self.disk) {
                    None => {
                        purged.failed += walk.failed + walk.denied;
                        return Some(purging.purged);
                    }
                    Some(Visit::Directory(name)) if purge.may_hold(&name) => {
                        walk.enter(&mut self.disk, &name);
                    }
                    Some(Visit::File(name)) => {
                        let is_meant = matches!(purge.what, What::Tag(_)) || purge.matches(&name);
                        if is_meant && self.purge_file(&name, purge, purged) {
                            walk.thin();
                        }
                    }
                    Some(Visit::Left { name, is_thinned: true }) => self.tidy(&name, walk),
                    Some(Visit::Directory(_) | Visit::Left { .. } | Visit::Other) => {}
                },
            }
        }
        self.purging = Some(purging);
        None
    }

    /// Stored files go; others stay.
    pub fn handle_remove(&mut self, names: &[Box<[u8]>]) {
        for name in names.iter().filter(|name| !is_own(name)) {
            if self.remove_stored(name).is_err() {
                self.totals.failures += 1;
            }
        }
    }

    /// Removes `name` if it is stored.
    pub(super) fn remove_stored(&mut self, name: &[u8]) -> Result<Removal, DiskError> {
        let (head, blocks) = match self.disk.look(name) {
            Ok(Found::Stored { head, blocks }) => (head, blocks),
            Ok(Found::ByHand | Found::Other | Found::Directory) => {
                self.inventory.remove(self.hash.of(name));
                return Ok(Removal::Kept);
            }
            Err(DiskError::Missing | DiskError::NotDirectory) => {
                self.inventory.remove(self.hash.of(name));
                return Ok(Removal::Missing);
            }
            Err(error) => return Err(error),
        };
        self.remove_looked_at(name, &head)?;
        Ok(Removal::Removed(blocks))
    }

    fn remove_looked_at(&mut self, name: &[u8], head: &[u8]) -> Result<(), DiskError> {
        match self.disk.remove(name) {
            Ok(()) | Err(DiskError::Missing) => {}
            Err(error) => return Err(error),
        }
        self.inventory.remove(self.hash.of(name));
        self.untag(name, head);
        self.tell_changed(name);
        Ok(())
    }

    /// The tags of `head` do not lead to `name` any more.
    pub(super) fn untag(&mut self, name: &[u8], head: &[u8]) {
        if !self.tags.is_empty() {
            self.tags.remove(name, &(self.options.tags_of)(head));
        }
    }

    /// Purges the file `name`, which is meant by its name, or may be by its tags. Whether it went
    /// from its directory.
    fn purge_file(&mut self, name: &[u8], purge: &Purge, purged: &mut Purged) -> bool {
        let head = match self.disk.look(name) {
            Ok(Found::Stored { head, .. }) => head,
            Ok(Found::ByHand) => {
                purged.kept += u64::from(!matches!(purge.what, What::Tag(_)));
                return false;
            }
            Ok(_) | Err(DiskError::Missing | DiskError::NotDirectory) => return false,
            Err(_) => {
                purged.failed += 1;
                self.keep_tagged(name, purge);
                return false;
            }
        };
        if let What::Tag(tag) = &purge.what
            && !tags::holds(&(self.options.tags_of)(&head), tag)
        {
            return false;
        }
        let new_head = if purge.soft { (self.options.expire)(&head) } else { None };
        let stays = new_head.is_some();
        let result = match new_head {
            Some(new_head) => self.disk.replace_head(name, &new_head),
            // A head that cannot be read is worth nothing either.
            None => self.remove_looked_at(name, &head),
        };
        if stays || result.is_err() {
            self.keep_tagged(name, purge);
        }
        if result.is_err() {
            purged.failed += 1;
            return false;
        }
        if stays {
            self.tell_changed(name);
        }
        purged.removed += 1;
        !stays
    }

    /// A name that was taken out of the index for its tag, and still has it.
    fn keep_tagged(&mut self, name: &[u8], purge: &Purge) {
        if let What::Tag(tag) = &purge.what {
            self.tags.insert(name, std::slice::from_ref(tag));
        }
    }

    /// Bodies under way that the purge means are not stored: they may be older than it.
    fn abort_purged(&mut self, purge: &Purge) {
        let is_meant = |name: &[u8], its_tags: &[Box<[u8]>]| match &purge.what {
            What::Tag(tag) => tags::holds(its_tags, tag),
            _ => purge.matches(name),
        };
        let open = self.open.iter().filter(|(_, open)| is_meant(&open.name, &open.tags));
        let mut meant: Vec<StoreId> = open.map(|(id, _)| *id).collect();
        // In an order that does not hang on the hash.
        meant.sort_unstable_by_key(|id| (id.worker, id.number));
        for id in meant {
            self.handle_abort(id);
            self.refuse(id, NotStored::Purged);
        }
    }
}
