//! What the sparklines show: how bad the state of each VIP was at the last polls.
//!
//! Pure. [`PollSamples::add`] is the only source of samples.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::control::api::Status;
use crate::control::status::{Severity, severity};

/// How many samples of a VIP are kept.
pub const KEPT: usize = 60;

/// The samples of each VIP.
#[derive(Debug, Default)]
pub struct PollSamples {
    vips: HashMap<IpAddr, VecDeque<Severity>>,
}

impl PollSamples {
    /// Adds a sample of each VIP, and forgets the VIPs that are no more.
    pub fn add(&mut self, status: &Status) {
        let mut before = std::mem::take(&mut self.vips);
        for vip in status.services.iter().flat_map(|service| &service.vips) {
            let mut samples = before.remove(&vip.address).unwrap_or_default();
            samples.push_back(severity::vip(vip));
            if samples.len() > KEPT {
                samples.pop_front();
            }
            self.vips.insert(vip.address, samples);
        }
    }

    /// The last samples of some VIPs, at most `most`, the newest last: at each poll the worst of them.
    pub fn worst(&self, vips: &[IpAddr], most: usize) -> Vec<Severity> {
        let found = || vips.iter().filter_map(|vip| self.vips.get(vip));
        let length = found().map(VecDeque::len).max().unwrap_or(0).min(most);
        let at = |back: usize| found().filter_map(|samples| samples.iter().rev().nth(back)).max().copied();
        (0..length).rev().filter_map(at).collect()
    }
}

/// The bar of a sample: the worse, the higher.
pub fn bar(severity: Severity) -> char {
    match severity {
        Severity::Fine => '▁',
        Severity::Ordered => '▂',
        Severity::Starting => '▃',
        Severity::Warning => '▅',
        Severity::Failed => '█',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::tests::{status, with_vip};

    fn shown(samples: &PollSamples, vips: &[&str], most: usize) -> String {
        let vips: Vec<IpAddr> = vips.iter().map(|vip| vip.parse().unwrap()).collect();
        samples.worst(&vips, most).into_iter().map(bar).collect()
    }

    #[test]
    fn the_newest_sample_is_the_last_and_the_worst_vip_counts() {
        let mut samples = PollSamples::default();
        for poll in [
            status(),
            with_vip("not_announced", "unhealthy", 0),
            with_vip("starting", "checks_undecided", 0),
            with_vip("drained", "drained", 0),
            with_vip("last_choice", "flapping", 2),
        ] {
            samples.add(&poll);
        }
        assert_eq!(shown(&samples, &["192.0.2.1"], 60), "▁▁▁▁▁");
        assert_eq!(shown(&samples, &["192.0.2.2", "192.0.2.1"], 60), "▁█▃▂▅");
        assert_eq!(shown(&samples, &["192.0.2.2"], 2), "▂▅");
        assert_eq!(shown(&samples, &["192.0.2.9"], 60), "");
    }

    #[test]
    fn a_minute_is_kept_and_a_vip_that_is_no_more_is_forgotten() {
        let mut samples = PollSamples::default();
        (0..2 * KEPT).for_each(|_| samples.add(&status()));
        assert_eq!(shown(&samples, &["192.0.2.1"], usize::MAX).chars().count(), KEPT);
        let mut fewer = status();
        fewer.services[0].vips.truncate(1);
        samples.add(&fewer);
        samples.add(&status());
        assert_eq!(shown(&samples, &["192.0.2.2"], 60), "▁");
    }
}
