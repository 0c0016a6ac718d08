//! The report of all decisions and their reasons.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Director;
use super::route::VipRoute;
use super::standing::Standing;
use super::vip::{evidence, lease, warnings};
use crate::config::{self, OnFailure};
use crate::drain::{DrainTarget, Drains, Order};
use crate::health::check::{Evidence, Verdict};
use crate::health::outcome::Outcome;
use crate::health::shortages::Shortages;
use crate::model::{Attributes, Generation, ServiceName, Weight, text};
use crate::vip::Presence;

/// The decisions and their reasons.
#[derive(Debug, Clone)]
pub struct Report {
    /// In the order of the configuration.
    pub services: Vec<ServiceReport>,
    /// The drains in force.
    pub drains: Drains,
    /// The orders that name a service, VIP or router that the configuration does not have.
    pub unknown_drains: Vec<Order>,
    /// The generation of the Loc-RIB with these decisions.
    pub generation: Generation,
    /// The resources that probes have lacked.
    pub shortages: Shortages,
}

/// The decisions on one service.
#[derive(Debug, Clone)]
pub struct ServiceReport {
    /// Its name.
    pub name: ServiceName,
    /// Its VIPs, in the order of the configuration.
    pub vips: Vec<VipReport>,
    /// The weight of its routes; `None`: they have none.
    pub weight: Option<Weight>,
}

/// The decision on one VIP.
#[derive(Debug, Clone)]
pub struct VipReport {
    /// The VIP.
    pub address: IpAddr,
    /// The prefix that is announced for it.
    pub prefix: IpNet,
    /// The attributes of the prefix; none while it is not announced.
    pub route: Option<Arc<Attributes>>,
    /// What has to be known of this route to tell which routers have acknowledged it.
    pub vip_route: Option<VipRoute>,
    /// Its standing; the `Display` is the sentence.
    pub standing: Standing,
    /// Since when.
    pub since: Instant,
    /// Whether it is on the host.
    pub presence: Presence,
    /// Its checks, in the order of the configuration.
    pub checks: Vec<CheckReport>,
}

/// The data of one check of one VIP.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// Its verdict about the VIP.
    pub verdict: Verdict,
    /// The evidence for the verdict.
    pub evidence: Evidence,
    /// The effect of its failure.
    pub on_failure: OnFailure,
    /// The effect of failures that are timeouts.
    pub on_timeout: OnFailure,
    /// The evidence that its right answers come late, if it is up; `None`: they come in time.
    pub slow: Option<Evidence>,
    /// What is wrong without a change of the route.
    pub warnings: Vec<String>,
    /// When its probe loop last reported, and how long its verdict holds from then on.
    pub renewed: (Instant, Duration),
    /// The newest outcomes and when they were known, the newest last.
    pub history: Vec<(Instant, Outcome)>,
}

impl Report {
    /// Every VIP with its service.
    pub fn vips(&self) -> impl Iterator<Item = (&ServiceName, &VipReport)> {
        self.services.iter().flat_map(|service| service.vips.iter().map(|vip| (&service.name, vip)))
    }

    /// The warnings about things that do not change the announcements, one sentence each.
    pub fn warnings(&self, now: Instant) -> Vec<String> {
        let mut warnings: Vec<String> =
            (self.unknown_drains.iter()).map(unknown_drain).chain(self.shortages.warnings(now)).collect();
        // A warning that many VIPs share is reported once.
        let mut seen: BTreeMap<(&str, &str, String), Vec<IpAddr>> = BTreeMap::new();
        for (service, vip) in self.vips() {
            for check in &vip.checks {
                for warning in &check.warnings {
                    let key = (service.as_str(), check.name.as_str(), warning.clone());
                    seen.entry(key).or_default().push(vip.address);
                }
            }
        }
        warnings.extend(seen.into_iter().map(|((service, check, warning), vips)| {
            let others = if vips.len() > 1 { format!(" and {} more", vips.len() - 1) } else { String::new() };
            let first = vips.first().map(ToString::to_string).unwrap_or_default();
            format!("check `{check}` of {service} at {first}{others}: {warning}")
        }));
        warnings
    }
}

/// The warning about an order without an effect.
fn unknown_drain(order: &Order) -> String {
    let file = text::one_line(&order.file, text::LINE);
    match order.target {
        DrainTarget::Vip(address) => {
            format!("drain file `{file}` has no effect: no service has the VIP {address}")
        }
        DrainTarget::Peer(_) => format!("drain file `{file}` names no router"),
        DrainTarget::Service(_) | DrainTarget::Family(_) | DrainTarget::All => {
            format!("drain file `{file}` names no service")
        }
    }
}

impl Director {
    /// The configuration.
    pub fn config(&self) -> &config::Config {
        &self.config
    }

    /// Every VIP with its standing, in the order of the addresses.
    pub fn standings(&self) -> impl Iterator<Item = (IpAddr, &Standing)> {
        self.vips.iter().map(|(address, vip)| (*address, &vip.standing))
    }

    /// The decision on each VIP, and its reason, in the order of the configuration.
    pub fn report(&self) -> Report {
        let service = |service: &config::ServiceConfig| ServiceReport {
            name: service.name.clone(),
            vips: (service.vips.iter()).filter_map(|address| self.of_vip(*address, service)).collect(),
            weight: self.weight_of(service),
        };
        Report {
            services: self.config.services.iter().map(service).collect(),
            drains: self.drains.clone(),
            generation: self.rib.generation,
            shortages: self.shortages.clone(),
            unknown_drains: self.unknown_drains().cloned().collect(),
        }
    }

    /// The orders whose target the configuration does not have.
    pub(super) fn unknown_drains(&self) -> impl Iterator<Item = &Order> {
        let config = &self.config;
        self.drains.iter().filter(|order| match &order.target {
            DrainTarget::Vip(address) => !self.vips.contains_key(address),
            DrainTarget::Service(name) => config.services.iter().all(|service| service.name.as_str() != name),
            DrainTarget::Peer(name) => config.peers.iter().all(|peer| peer.name.as_str() != name),
            DrainTarget::Family(_) | DrainTarget::All => false,
        })
    }

    fn of_vip(&self, address: IpAddr, service: &config::ServiceConfig) -> Option<VipReport> {
        let vip = self.vips.get(&address)?;
        let check = |(index, config): (usize, &config::CheckConfig)| {
            let check = vip.checks.get(index)?;
            Some(CheckReport {
                name: config.name.clone(),
                verdict: check.verdict(),
                evidence: evidence(vip, service, index),
                on_failure: config.on_failure(service),
                on_timeout: config.on_timeout(service),
                slow: check.slowness().filter(|_| check.is_slow()),
                warnings: warnings(check, config, service, vip.standing.is_advertised()),
                renewed: (check.renewed(), lease(config)),
                history: check.history().cloned().collect(),
            })
        };
        let prefix = service.prefix_of(address);
        Some(VipReport {
            address,
            prefix,
            route: self.routes.get(&prefix).cloned(),
            vip_route: self.route_of(address, service),
            standing: vip.standing.clone(),
            since: vip.since,
            presence: vip.presence.clone(),
            checks: service.checks.iter().enumerate().filter_map(check).collect(),
        })
    }
}
