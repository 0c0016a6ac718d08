//! What the next process has to know of the VIPs, and how it begins with it.
//!
//! Pure. A verdict of the process before this one is believed only as far as the kernel confirms it at once: a VIP that is not on the
//! host, or on whose port nothing listens, is not announced. Every other verdict has to be confirmed by a probe within `fall` intervals.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::standing::Standing;
use super::vip::VipState;
use super::{Director, StandingChange};
use crate::config::{CheckConfig, Config, ServiceConfig};
use crate::damping::{Damping, DampingSnapshot};
use crate::drain::Drains;
use crate::health::check::{Check, FoundVerdict, Verdict};
use crate::health::watch::VipPort;
use crate::model::Weight;
use crate::monotonic::HostStart;
use crate::vip::Presence;
use crate::weight::FileWeights;

/// The facts about a VIP that the next process begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipSnapshot {
    /// The verdict of all checks together, for checks that are new in the configuration.
    verdict: Verdict,
    /// The verdicts of the checks by their names.
    checks: BTreeMap<String, FoundVerdict>,
    /// The returns and waits.
    damping: DampingSnapshot,
    /// Whether it was advertised, as far as it depends on itself.
    #[serde(default)]
    advertised: bool,
    /// The weight that the file of its service has given to its route; 0: none.
    #[serde(default)]
    weight: u8,
    /// The VRF of its service: nothing of the above holds in another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vrf: Option<String>,
}

/// What the kernel said about the VIPs at the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelFacts {
    /// The VIPs that are on their devices ([`present_vips`]).
    pub present: BTreeSet<IpAddr>,
    /// The VIPs and ports on which nothing listens.
    pub gone: BTreeSet<VipPort>,
}

/// The facts that a director begins with.
#[derive(Debug, Clone, Default)]
pub struct FoundFacts {
    /// Those of the process before this one.
    pub vips: BTreeMap<IpAddr, VipSnapshot>,
    /// The kernel's.
    pub kernel: KernelFacts,
}

/// The VIPs that are on their devices. `devices`: the addresses of each device, by its name.
pub fn present_vips(config: &Config, devices: &BTreeMap<String, BTreeSet<IpAddr>>) -> BTreeSet<IpAddr> {
    let is_there = |vip: &IpAddr, service: &ServiceConfig| {
        devices.get(service.device()).is_some_and(|addresses| addresses.contains(vip))
    };
    config.vips().filter(|(vip, service)| is_there(vip, service)).map(|(vip, _)| vip).collect()
}

impl VipSnapshot {
    /// Whether the kernel has to be asked whether a server listens: a check was up.
    pub fn is_up(&self) -> bool {
        self.checks.values().any(|found| found.verdict == Verdict::Up)
    }
}

impl FoundFacts {
    /// The weights that the files of the services have given to the routes of the process before this one. They go on until the files
    /// say something else, so that the routers see no change.
    pub fn weights(&self, config: &Config) -> FileWeights {
        let with_file = config.services.iter().filter(|service| service.weight_file.is_some());
        let weight = |service: &ServiceConfig| {
            let weights = service.vips.iter().filter_map(|vip| Weight::new(self.vips.get(vip)?.weight));
            Some((service.name.clone(), weights.max()?))
        };
        with_file.filter_map(weight).collect()
    }
}

impl VipState {
    fn snapshot(&self, service: &ServiceConfig, start: HostStart) -> VipSnapshot {
        let found = service.checks.iter().zip(&self.checks);
        VipSnapshot {
            verdict: self.verdict(service),
            checks: found.map(|(config, check)| (config.name.clone(), check.found())).collect(),
            damping: self.damping.snapshot(start),
            advertised: self.own.is_advertised(),
            weight: self.weight.map_or(0, Weight::get),
            vrf: service.vrf.clone(),
        }
    }

    /// A VIP of the process before this one.
    fn resumed(
        self,
        address: IpAddr,
        service: &ServiceConfig,
        found: &FoundFacts,
        start: HostStart,
        now: Instant,
    ) -> Self {
        let presence =
            if found.kernel.present.contains(&address) { Presence::Present } else { Presence::Unknown };
        let known = found.vips.get(&address).filter(|snapshot| snapshot.vrf == service.vrf);
        let Some(snapshot) = known else { return VipState { presence, ..self } };
        let check = |config: &CheckConfig| {
            let confirm_by = now + config.interval * config.fall + config.timeout;
            let inherited = FoundVerdict::of(snapshot.verdict);
            let known = snapshot.checks.get(&config.name).copied().unwrap_or(inherited);
            let gone = config.port().is_some_and(|port| found.kernel.gone.contains(&(address, port)));
            let known = if gone { FoundVerdict::gone() } else { known };
            let slow = config.slow.map(|slow| slow.after);
            let check = Check::resumed(config.rise, config.fall, known, confirm_by, now);
            check.starting(config.start_period, now).slow_after(slow)
        };
        VipState {
            presence,
            checks: service.checks.iter().map(check).collect(),
            damping: Damping::resumed(&snapshot.damping, start),
            ..self
        }
    }
}

impl Director {
    /// A director that begins with the facts of the process before this one. It announces what is still true at once.
    pub fn resumed(
        config: Arc<Config>,
        drains: Drains,
        found: &FoundFacts,
        start: HostStart,
        now: Instant,
    ) -> Self {
        // What the former process did not announce is not announced before it is known that too few others do.
        let advertised = |vip: &IpAddr| found.vips.get(vip).is_some_and(|snapshot| snapshot.advertised);
        let others = config.vips().map(|(vip, _)| vip).filter(|vip| !advertised(vip));
        let enough_others = Arc::new(others.collect());
        let weights = Arc::new(found.weights(&config));
        let mut director =
            Director::begin(config, drains, enough_others, weights, now, |address, service, vip| {
                vip.resumed(address, service, found, start, now)
            });
        // Of what has changed, only this matters to hooks and to the log. It is returned by the next call.
        let lost = director.vips.iter().filter(|(address, vip)| {
            let before = found.vips.get(address).is_some_and(|snapshot| snapshot.advertised);
            before && !vip.standing.is_advertised()
        });
        let change = |(address, vip): (&IpAddr, &VipState)| StandingChange {
            service: director.config.services[vip.service].name.clone(),
            vip: *address,
            before: Standing::Announced,
            standing: vip.standing.clone(),
        };
        director.lost_at_start = lost.map(change).collect();
        director
    }

    /// The VIPs whose facts have changed since the last call, with these facts; `None`: the configuration no longer has the VIP. They
    /// have to be stored before the Loc-RIB is published that follows from them.
    pub fn take_unstored(&mut self, start: HostStart) -> Vec<(IpAddr, Option<VipSnapshot>)> {
        let changed = std::mem::take(&mut self.unstored).into_iter();
        let snapshot = |address: IpAddr| {
            let vip = self.vips.get(&address)?;
            Some(vip.snapshot(&self.config.services[vip.service], start))
        };
        changed.map(|address| (address, snapshot(address))).collect()
    }
}

#[cfg(test)]
mod tests;
