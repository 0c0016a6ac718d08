//! The decisions as words and numbers for metrics. They are much smaller than a [`Report`](super::Report) and are made quickly,
//! because they are computed on the director's thread.
//!
//! Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use super::Director;
use super::route::VipRoute;
use super::vip::{VipState, warnings};
use crate::config;
use crate::config::kind::certificate::Date;
use crate::health::shortages::Shortages;
use crate::model::{ServiceName, Weight};
use crate::vip::Presence;

/// The decisions and facts, as words and numbers.
#[derive(Debug, Clone)]
pub struct Figures {
    /// In the order of the configuration.
    pub services: Vec<ServiceFigures>,
    /// The resources that probes have lacked.
    pub shortages: Shortages,
    /// How often a verdict was removed because its lease ended.
    pub lapses: u64,
    /// The number of warnings that a [`Report`](super::Report) at the same time has.
    pub warnings: usize,
}

/// The data of one service.
#[derive(Debug, Clone)]
pub struct ServiceFigures {
    /// Its name.
    pub name: ServiceName,
    /// Whether it is drained.
    pub drained: bool,
    /// Its VIPs, in the order of the configuration.
    pub vips: Vec<VipFigures>,
    /// The weight of its routes; `None`: they have none.
    pub weight: Option<Weight>,
    /// The certificates with something to report, in the order of VIPs and checks.
    pub certificates: Vec<CertificateFigures>,
}

/// The decision on one VIP.
#[derive(Debug, Clone)]
pub struct VipFigures {
    /// The VIP.
    pub address: IpAddr,
    /// The standing's word.
    pub standing: &'static str,
    /// The label of the reason for it.
    pub reason: &'static str,
    /// Its route; none while it is not announced.
    pub route: Option<VipRoute>,
}

/// What the newest probe has found about a certificate.
#[derive(Debug, Clone)]
pub struct CertificateFigures {
    /// The VIP.
    pub vip: IpAddr,
    /// The check.
    pub check: String,
    /// When it ends, if this is soon or has passed.
    pub ends: Option<Date>,
    /// The label of its flaw, if there is one.
    pub flaw: Option<&'static str>,
}

/// All VIPs, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VipNumbers {
    /// How many the configuration names.
    pub vips: usize,
    /// How many of them are advertised: announced, or the last choice.
    pub advertised: usize,
    /// How many of them were not looked for on lo yet.
    pub not_looked_for: usize,
}

impl Director {
    /// The numbers of VIPs.
    pub fn numbers(&self) -> VipNumbers {
        let count = |holds: fn(&VipState) -> bool| self.vips.values().filter(|vip| holds(vip)).count();
        VipNumbers {
            vips: self.vips.len(),
            advertised: count(|vip| vip.standing.is_advertised()),
            not_looked_for: count(|vip| vip.presence == Presence::Unknown),
        }
    }

    /// The decisions on each VIP, in the order of the configuration.
    pub fn figures(&self, now: Instant) -> Figures {
        let warned: usize = self.config.services.iter().map(|service| self.warned(service)).sum();
        Figures {
            services: self.config.services.iter().map(|service| self.of_service(service)).collect(),
            shortages: self.shortages.clone(),
            lapses: self.lapses,
            warnings: self.unknown_drains().count() + self.shortages.warnings(now).count() + warned,
        }
    }

    fn of_service(&self, service: &config::ServiceConfig) -> ServiceFigures {
        let decided = |(address, vip): (IpAddr, &VipState)| VipFigures {
            address,
            standing: vip.standing.word(),
            reason: vip.standing.label(),
            route: self.route_of(address, service),
        };
        let seen = self.vips_of(service).flat_map(|(address, vip)| {
            let checks = vip.checks.iter().zip(&service.checks);
            checks.filter_map(move |(check, config)| {
                let (flaw, ends) = check.last()?.certificate()?;
                let flaw = flaw.map(|flaw| flaw.label());
                Some(CertificateFigures { vip: address, check: config.name.clone(), ends, flaw })
            })
        });
        ServiceFigures {
            name: service.name.clone(),
            drained: !self.drains.of_service(&service.name).is_empty(),
            vips: self.vips_of(service).map(decided).collect(),
            weight: self.weight_of(service),
            certificates: seen.collect(),
        }
    }

    fn vips_of(&self, service: &config::ServiceConfig) -> impl Iterator<Item = (IpAddr, &VipState)> {
        service.vips.iter().filter_map(|address| Some((*address, self.vips.get(address)?)))
    }

    /// The number of different warnings of a service's checks. A warning that several VIPs share counts once.
    fn warned(&self, service: &config::ServiceConfig) -> usize {
        let mut different = BTreeSet::new();
        for (_, vip) in self.vips_of(service) {
            for (index, (check, config)) in vip.checks.iter().zip(&service.checks).enumerate() {
                let said = warnings(check, config, service, vip.standing.is_advertised());
                different.extend(said.into_iter().map(|said| (index, said)));
            }
        }
        different.len()
    }
}
