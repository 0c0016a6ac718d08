//! Counts the probes that were skipped because announcer lacked a resource. They change no verdict, but operators need to know
//! about them.
//!
//! Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::outcome::{Outcome, Shortage};

/// The warning about a shortage ends this long after the last skipped probe.
const FRESH: Duration = Duration::from_secs(60);

/// The shortages since the start.
#[derive(Debug, Clone, Default)]
pub struct Shortages(BTreeMap<Shortage, (u64, Instant)>);

impl Shortages {
    /// Records the outcome of a probe.
    pub fn note(&mut self, outcome: &Outcome, at: Instant) {
        let Outcome::Skipped(shortage) = outcome else { return };
        let (count, last) = self.0.entry(*shortage).or_insert((0, at));
        *count = count.saturating_add(1);
        *last = at.max(*last);
    }

    /// How many probes were skipped because of a shortage; never decreases.
    pub fn count(&self, shortage: Shortage) -> u64 {
        self.0.get(&shortage).map_or(0, |(count, _)| *count)
    }

    /// The warnings, one sentence each.
    pub fn warnings(&self, now: Instant) -> impl Iterator<Item = String> {
        let fresh = move |last: Instant| now.saturating_duration_since(last) < FRESH;
        self.0.iter().filter(move |(_, (_, last))| fresh(*last)).map(|(shortage, (count, _))| {
            let probes = if *count == 1 { "1 probe was".to_owned() } else { format!("{count} probes were") };
            format!(
                "{shortage}: {probes} skipped since the start, and counted neither as a pass nor as a failure"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_kind_and_warns_while_it_is_fresh() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut shortages = Shortages::default();
        assert_eq!(shortages.warnings(start).count(), 0);
        shortages.note(&Outcome::Skipped(Shortage::Files), start);
        shortages.note(&Outcome::Skipped(Shortage::Ports), start + second * 30);
        shortages.note(&Outcome::Skipped(Shortage::Files), start + second * 31);
        assert_eq!(Shortage::ALL.map(|shortage| shortages.count(shortage)), [2, 0, 1, 0, 0]);
        let warnings = |now| shortages.warnings(now).collect::<Vec<_>>();
        let files = "announcer is out of file descriptors: 2 probes were skipped since the start, and counted neither as a pass nor as a failure";
        let ports = "the VIP is out of local ports: 1 probe was skipped since the start, and counted neither as a pass nor as a failure";
        assert_eq!(warnings(start + second * 89), [files, ports]);
        assert_eq!(warnings(start + second * 90), [files]);
        assert!(warnings(start + second * 91).is_empty());
        // A late fact does not move the time of the last shortage back.
        shortages.note(&Outcome::Skipped(Shortage::Files), start);
        assert_eq!(shortages.warnings(start + second * 90).count(), 1);
    }
}
