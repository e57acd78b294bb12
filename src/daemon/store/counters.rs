//! What the store counts, and how it is shown.
//!
//! Owns: numbers written by the store thread only, after each batch; read by control.
//! Thread: written by `store`, read by `control`.
//! Not here: the text format (`admin::metrics`), counting (`cache::store`).

use crate::admin::metrics::{Exposition, Kind};
use crate::cache::disk::{BLOCK_BYTES, Disk};
use crate::cache::store::{NotStored, Store};
use crate::daemon::counters::Counter;
use crate::stdx::num::wide;

/// See the module.
#[derive(Debug, Default)]
pub struct StoreCounters {
    /// Stored files known.
    pub files: Counter,
    /// What they take up.
    pub bytes: Counter,
    /// Bodies put in place.
    pub stored: Counter,
    /// Bodies not stored, by `NotStored::index`.
    pub not_stored: [Counter; NotStored::REASONS.len()],
    /// Files evicted.
    pub evictions: Counter,
    /// What they took up.
    pub evicted_bytes: Counter,
    /// 1 while every stored file is known.
    pub is_all_known: Counter,
    /// Files met while the tree was learnt.
    pub scanned: Counter,
    /// Temporary files of an earlier process that were removed.
    pub leftovers: Counter,
    /// Entries of the index of tags.
    pub tag_names: Counter,
    /// Operations on the tree that failed and concern no body.
    pub failures: Counter,
}

impl StoreCounters {
    /// Takes over what `store` counted.
    pub fn take<D: Disk>(&self, store: &Store<D>) {
        let totals = store.totals();
        self.files.set(wide(store.inventory().len()));
        self.bytes.set(store.inventory().blocks().saturating_mul(BLOCK_BYTES));
        self.stored.set(totals.stored);
        for (counter, value) in self.not_stored.iter().zip(totals.not_stored) {
            counter.set(value);
        }
        self.evictions.set(totals.evictions);
        self.evicted_bytes.set(totals.evicted_blocks.saturating_mul(BLOCK_BYTES));
        self.is_all_known.set(store.is_all_known().into());
        self.scanned.set(totals.scanned);
        self.leftovers.set(totals.leftovers);
        self.tag_names.set(wide(store.tags().len()));
        self.failures.set(totals.failures);
    }

    /// Writes all of it.
    pub fn expose(&self, out: &mut Exposition) {
        let mut one = |name: &str, kind: Kind, help: &str, counter: &Counter| {
            out.family(name, kind, help);
            out.sample(name, "", counter.value());
        };
        let (gauge, total) = (Kind::Gauge, Kind::Counter);
        one("peerage_store_files", gauge, "Stored files known.", &self.files);
        one("peerage_store_bytes", gauge, "Bytes that stored files take up.", &self.bytes);
        let help = "1 while every stored file is known.";
        one("peerage_store_known", gauge, help, &self.is_all_known);
        let help = "Names that can be found by tags, one per name and tag.";
        one("peerage_store_tag_names", gauge, help, &self.tag_names);
        one("peerage_store_stored_total", total, "Answers stored.", &self.stored);
        one("peerage_store_evictions_total", total, "Files evicted.", &self.evictions);
        let help = "Bytes that evicted files took up.";
        one("peerage_store_evicted_bytes_total", total, help, &self.evicted_bytes);
        let help = "Files met while learning the tree.";
        one("peerage_store_scanned_total", total, help, &self.scanned);
        let help = "Temporary files of an earlier process removed at the start.";
        one("peerage_store_leftovers_total", total, help, &self.leftovers);
        let help = "Removals, new heads and readings of directories that failed.";
        one("peerage_store_failures_total", total, help, &self.failures);
        let name = "peerage_store_not_stored_total";
        out.family(name, Kind::Counter, "Answers passed on and not stored, by reason.");
        for (reason, counter) in NotStored::REASONS.iter().zip(&self.not_stored) {
            out.sample(name, &format!("reason=\"{reason}\""), counter.value());
        }
    }
}
