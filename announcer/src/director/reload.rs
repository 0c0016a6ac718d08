//! Applies another configuration: it decides which state of each VIP is kept.
//!
//! Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use super::{Director, ServiceAttributes, StandingChange, VipState};
use crate::config::Config;

impl Director {
    /// Continues with another configuration; returns the changed standings.
    ///
    /// A VIP that exists already keeps its health. An unchanged check is not touched. A check with the same request and another
    /// pace keeps its verdict. A check that is new or has another request inherits the VIP's verdict, so that an announced VIP
    /// stays announced until the new check itself has failed. Only a VIP that is new on the host, or moves to another VRF, starts
    /// without a verdict. Outcomes of probes with a number below `since` belong to the old checks.
    #[must_use]
    pub fn reload(&mut self, config: Arc<Config>, since: u64, now: Instant) -> Vec<StandingChange> {
        let mut changes = Vec::new();
        let time = self.catch_up(now, &mut changes);
        let old = std::mem::replace(&mut self.config, config);
        let mut before = std::mem::take(&mut self.vips);
        for (index, service) in self.config.services.iter().enumerate() {
            for address in &service.vips {
                let vip = match before.remove(address) {
                    Some(vip) => vip.moved(&old.services, index, service, since, now),
                    None => VipState::new(index, service, since, now),
                };
                self.vips.insert(*address, vip);
            }
        }
        self.unstored.extend(before.into_keys());
        self.deadlines.retain(|(_, address)| self.vips.contains_key(address));
        self.undecided.retain(|address| self.vips.contains_key(address));
        self.read_config();
        self.judge_all(time, &mut changes);
        let wanted: BTreeSet<IpNet> =
            self.config.vips().map(|(vip, service)| service.prefix_of(vip)).collect();
        let advertised: Vec<IpNet> = self.routes.keys().copied().collect();
        for prefix in advertised.iter().filter(|prefix| !wanted.contains(prefix)) {
            self.say(*prefix, None, now);
        }
        self.vips.keys().copied().collect::<Vec<_>>().into_iter().for_each(|vip| self.route(vip, now));
        changes
    }

    /// Computes the attributes of the services' routes.
    pub(super) fn read_attributes(&mut self) {
        let asn = self.config.bgp.asn;
        let of = |service| ServiceAttributes::of(service, self.weight_of(service), asn);
        self.attributes = self.config.services.iter().map(of).collect();
        // The next process has to know the weights of files.
        let weights: Vec<_> = self.config.services.iter().map(|service| self.file_weight(service)).collect();
        for (address, vip) in &mut self.vips {
            vip.weight = weights.get(vip.service).copied().flatten();
            if vip.is_unstored() {
                self.unstored.insert(*address);
            }
        }
    }

    /// Computes the data that depend only on the configuration.
    pub(super) fn read_config(&mut self) {
        self.read_attributes();
        self.shared.clear();
        for (vip, service) in self.config.vips().filter(|(_, service)| !service.prefixes.is_empty()) {
            self.shared.entry(service.prefix_of(vip)).or_default().push(vip);
        }
        let checks = |(address, vip): (&IpAddr, &VipState)| {
            (0..vip.checks.len()).map(|index| (*address, index)).collect::<Vec<_>>()
        };
        self.paced = self.vips.iter().flat_map(checks).collect();
        self.unwatched = true;
    }
}
