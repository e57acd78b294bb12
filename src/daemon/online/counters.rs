//! What the service counts, as the metrics show it.
//!
//! Owns: one number for each of `online::service::FACTS`.
//! Thread: written by `online`, read by `control`.
//! Not here: what each is (`online::service`).

use crate::admin::metrics::{Exposition, Kind};
use crate::online::service::{FACTS, Service};

use crate::daemon::counters::Counter;

/// See the module.
#[derive(Debug, Default)]
pub struct OnlineCounters([Counter; FACTS.len()]);

impl OnlineCounters {
    /// Takes over what `service` counted.
    pub fn take(&self, service: &Service) {
        for (counter, value) in self.0.iter().zip(service.facts()) {
            counter.set(value);
        }
    }

    /// Writes all of it.
    pub fn expose(&self, out: &mut Exposition) {
        for (fact, counter) in FACTS.iter().zip(&self.0) {
            let (kind, ending) =
                if fact.is_total { (Kind::Counter, "_total") } else { (Kind::Gauge, "") };
            let name = format!("peerage_online_{}{ending}", fact.name);
            out.family(&name, kind, fact.help);
            out.sample(&name, "", counter.value());
        }
    }
}
