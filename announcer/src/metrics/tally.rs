//! The counters of the director's task: probes by result, their durations, changes of standings.
//!
//! Pure. The counters are allocated once for a configuration, so that counting a probe only adds to a number. A scrape gets a copy.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::director::StandingChange;
use crate::health::ProbeFact;
use crate::model::histogram::micros;
use crate::model::{Histogram, ServiceName};

/// The durations of probes.
pub type ProbeDurations = Histogram<9>;

/// There is one histogram per service and check, and not per VIP: a thousand of them have to be small, in memory and in a scrape.
const TOOK: [Duration; 9] =
    micros([1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000]);

/// The counts so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// By VIP and the index of the check in its service.
    pub(super) probes: BTreeMap<(IpAddr, usize), ProbeCounts>,
    /// By service, then the index of the check in it.
    pub(super) took: BTreeMap<ServiceName, Vec<(Arc<str>, ProbeDurations)>>,
    pub(super) changes: BTreeMap<IpAddr, u64>,
}

/// The counters of a check's probes of one VIP.
#[derive(Debug, Clone)]
pub(super) struct ProbeCounts {
    pub(super) service: ServiceName,
    pub(super) check: Arc<str>,
    /// By result and reason; only those that have occurred.
    pub(super) results: Vec<(Labels, u64)>,
}

/// Result and reason.
pub(super) type Labels = (&'static str, &'static str);

impl Tally {
    /// Counters that are all zero.
    pub fn new(config: &Config) -> Self {
        let mut tally = Tally::default();
        tally.reload(config);
        tally
    }

    /// Continues with another configuration. Counters of removed services, checks and VIPs are dropped, and also those of a VIP
    /// that moved.
    pub fn reload(&mut self, config: &Config) {
        let mut before = std::mem::take(self);
        for service in &config.services {
            let names: Vec<Arc<str>> =
                service.checks.iter().map(|check| check.name.as_str().into()).collect();
            for vip in &service.vips {
                for (place, check) in names.iter().enumerate() {
                    let same =
                        |probes: &ProbeCounts| probes.service == service.name && probes.check == *check;
                    let known = (before.probes.range((*vip, 0)..=(*vip, usize::MAX)))
                        .find_map(|(key, probes)| same(probes).then_some(*key));
                    let kept = known.and_then(|key| before.probes.remove(&key));
                    let new = || ProbeCounts {
                        service: service.name.clone(),
                        check: check.clone(),
                        results: vec![(("pass", ""), 0)],
                    };
                    self.probes.insert((*vip, place), kept.unwrap_or_else(new));
                }
                self.changes.insert(*vip, before.changes.remove(vip).unwrap_or_default());
            }
            let mut old = before.took.remove(&service.name).unwrap_or_default();
            let took =
                names.into_iter().map(|check| match old.iter().position(|(known, _)| *known == check) {
                    Some(place) => old.swap_remove(place),
                    None => (check, ProbeDurations::new(&TOOK)),
                });
            self.took.insert(service.name.clone(), took.collect());
        }
    }

    /// Counts a probe that ended. A probe of a removed check is not counted.
    pub fn probed(&mut self, probed: &ProbeFact) {
        let Some(probes) = self.probes.get_mut(&(probed.vip, probed.check)) else { return };
        if probes.service != probed.service {
            return;
        }
        let labels = probed.outcome.labels();
        match probes.results.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, count)) => *count += 1,
            None => probes.results.push((labels, 1)),
        }
        let took = self.took.get_mut(&probed.service).and_then(|checks| checks.get_mut(probed.check));
        if let (Some((_, histogram)), Some(took)) = (took, probed.outcome.took()) {
            histogram.add(took);
        }
    }

    /// Counts a VIP whose standing changed.
    pub fn changed(&mut self, change: &StandingChange) {
        if let Some(count) = self.changes.get_mut(&change.vip) {
            *count += 1;
        }
    }
}
