//! What is decided, in words and numbers for metrics: much less than a [`Report`](super::Report), and made as quickly as a
//! thousand VIPs allow, for it takes the time of who decides.
//!
//! Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use super::Director;
use super::report::warning;
use super::vip::VipState;
use crate::config;
use crate::config::kind::certificate::Date;
use crate::health::shortages::Shortages;
use crate::model::ServiceName;

/// What is decided and known of everything, in words and numbers.
#[derive(Debug, Clone)]
pub struct Figures {
    /// In the order of the configuration.
    pub services: Vec<ServiceFigures>,
    /// What the probes ran out of.
    pub shortages: Shortages,
    /// How often a verdict was taken back because its lease ran out.
    pub lapses: u64,
    /// How many warnings the [`Report`](super::Report) of the same moment has.
    pub warnings: usize,
}

/// What is known of one service.
#[derive(Debug, Clone)]
pub struct ServiceFigures {
    /// Its name.
    pub name: ServiceName,
    /// Whether a drain holds it back.
    pub drained: bool,
    /// Its VIPs, in the order of the configuration.
    pub vips: Vec<VipFigures>,
    /// Of which certificates something is to be reported, in the order of VIPs and checks.
    pub certificates: Vec<CertificateFigures>,
}

/// What is decided of one VIP.
#[derive(Debug, Clone, Copy)]
pub struct VipFigures {
    /// The VIP.
    pub address: IpAddr,
    /// The standing's word.
    pub standing: &'static str,
    /// The label of the reason for it.
    pub reason: &'static str,
}

/// What the newest probe saw of a certificate.
#[derive(Debug, Clone)]
pub struct CertificateFigures {
    /// On which VIP.
    pub vip: IpAddr,
    /// By which check.
    pub check: String,
    /// When it ends, if that is soon, or was.
    pub ends: Option<Date>,
    /// The label of what is wrong with it, if anything is.
    pub flaw: Option<&'static str>,
}

impl Director {
    /// What is decided of each VIP, in the order of the configuration.
    pub fn figures(&self, now: Instant) -> Figures {
        let known = |name: &str| self.config.services.iter().any(|service| service.name.as_str() == name);
        let unknown = self.drains.named.keys().filter(|name| !known(name)).count();
        let warned: usize = self.config.services.iter().map(|service| self.warned(service)).sum();
        Figures {
            services: self.config.services.iter().map(|service| self.of_service(service)).collect(),
            shortages: self.shortages.clone(),
            lapses: self.lapses,
            warnings: unknown + self.shortages.warnings(now).count() + warned,
        }
    }

    fn of_service(&self, service: &config::ServiceConfig) -> ServiceFigures {
        let decided = |(address, vip): (IpAddr, &VipState)| VipFigures {
            address,
            standing: vip.standing.word(),
            reason: vip.standing.label(),
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
            drained: self.drains.of(&service.name).is_some(),
            vips: self.vips_of(service).map(decided).collect(),
            certificates: seen.collect(),
        }
    }

    fn vips_of(&self, service: &config::ServiceConfig) -> impl Iterator<Item = (IpAddr, &VipState)> {
        service.vips.iter().filter_map(|address| Some((*address, self.vips.get(address)?)))
    }

    /// How many different things a service's checks warn of: what its VIPs share counts once.
    fn warned(&self, service: &config::ServiceConfig) -> usize {
        let mut different = BTreeSet::new();
        for (_, vip) in self.vips_of(service) {
            for (index, (check, config)) in vip.checks.iter().zip(&service.checks).enumerate() {
                let on_failure = config.on_failure.unwrap_or(service.on_failure);
                let advertised = vip.standing.is_advertised();
                let said = warning(check.verdict(), on_failure, advertised, check.streak(), check.last());
                different.extend(said.map(|said| (index, said)));
            }
        }
        different.len()
    }
}
