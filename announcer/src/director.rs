//! The one decision point: configuration, health, drains and VIPs in; the Loc-RIB, and why, out.
//!
//! Pure. Routes and `status` both read [`Standing`], so they cannot disagree.
//!
//! ```text
//! Probed, Vip, Drains, Stop ── handle ──→ standing of each VIP ──→ LocRib (routes)
//!                                                             └──→ Report (sentences)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::config::{self, Config};
use crate::damping::{Damping, Policy, Wait};
use crate::drain::{Drain, Drains};
use crate::health::check::{Check, Evidence, Verdict};
use crate::health::{Pace, Probed};
use crate::model::{Generation, ServiceName};
use crate::rib::{Attributes, LocRib};

/// Before its first verdict a check is asked at least this often, so that a start is not `rise` intervals long.
const FIRST_VERDICT_INTERVAL: Duration = Duration::from_millis(200);

/// Something that happened, and that may change what is announced.
#[derive(Debug, Clone)]
pub enum Fact {
    /// A probe ended.
    Probed(Probed),
    /// A VIP is on the host, or is not.
    Vip(IpAddr, Presence),
    /// The drain directory holds these now.
    Drains(Drains),
    /// An operator wants these services announced as soon as they are fit, whatever they did before; `None`: all.
    Forgive(Option<Vec<String>>),
    /// The daemon is to end: nothing is announced from now on.
    Stop,
}

/// Whether a VIP is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Nobody has looked yet.
    Unknown,
    /// It is on lo.
    Present,
    /// It is not, and could not be put there.
    Missing(String),
}

/// What is done with a VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is announced.
    Announced,
    /// An operator holds it back.
    Draining(Drain),
    /// It is held back by what we see.
    Withheld(Reason),
}

/// Why a VIP is withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The daemon is ending.
    Stopping,
    /// Whether the VIP is on the host is not known yet.
    NotLookedFor,
    /// The VIP is not on the host, and could not be put there.
    VipMissing(String),
    /// A check has no verdict yet; what it saw so far.
    NoVerdict(Evidence),
    /// A check has failed; what it saw.
    Unhealthy(Evidence),
    /// It could be announced, and waits.
    Waiting(Wait),
}

impl Standing {
    /// One word, as `status` and JSON have it.
    pub fn word(&self) -> &'static str {
        match self {
            Standing::Announced => "announced",
            Standing::Draining(_) => "draining",
            Standing::Withheld(_) => "withheld",
        }
    }
}

impl fmt::Display for Standing {
    /// A sentence without its subject, as in "withheld, 3 of 3 probes failed".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Announced => f.write_str("announced"),
            Standing::Draining(drain) => write!(f, "drained{drain}"),
            Standing::Withheld(reason) => write!(f, "withheld, {reason}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Stopping => f.write_str("announcer is stopping"),
            Reason::NotLookedFor => f.write_str("starting, lo was not looked at yet"),
            Reason::VipMissing(why) => write!(f, "the VIP is not on lo: {why}"),
            Reason::NoVerdict(seen) | Reason::Unhealthy(seen) => seen.fmt(f),
            Reason::Waiting(Wait::Delay(delay)) => {
                write!(f, "healthy, announced once it has been for {}", humantime::format_duration(*delay))
            }
            Reason::Waiting(Wait::Flapping { returns, penalty }) => write!(
                f,
                "healthy, but it came back {returns} times in short order: announced once it has been for {}, or by \
                 `announcer undrain`",
                humantime::format_duration(*penalty)
            ),
        }
    }
}

/// What is known of one VIP.
#[derive(Debug, Clone)]
struct Vip {
    service: usize,
    presence: Presence,
    checks: Vec<Check>,
    damping: Damping,
    /// The wait's end, as [`Director::deadlines`] has it.
    deadline: Option<Instant>,
    standing: Standing,
    since: Instant,
}

/// A VIP whose standing became another one: a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose VIP.
    pub service: ServiceName,
    /// Which.
    pub vip: IpAddr,
    /// What holds from now on.
    pub standing: Standing,
}

/// Owns what is known and decides what is announced.
#[derive(Debug)]
pub struct Director {
    config: Arc<Config>,
    vips: BTreeMap<IpAddr, Vip>,
    /// When the VIPs that wait have waited.
    deadlines: BTreeSet<(Instant, IpAddr)>,
    drains: Drains,
    stopping: bool,
    rib: Arc<LocRib>,
    stale: bool,
}

impl Director {
    /// Knows nothing yet, and so announces nothing.
    pub fn new(config: Arc<Config>, drains: Drains, now: Instant) -> Self {
        let vips = (config.services.iter().enumerate())
            .flat_map(|(index, service)| {
                service.vips.iter().map(move |address| (*address, Vip::new(index, service, now)))
            })
            .collect();
        let mut director = Director {
            config,
            vips,
            deadlines: BTreeSet::new(),
            drains,
            stopping: false,
            rib: Arc::default(),
            stale: true,
        };
        let _ = director.judge_all(now); // nothing has changed for anyone: this is the beginning
        director
    }

    /// Takes one fact in; says whose standing changed.
    #[must_use]
    pub fn handle(&mut self, fact: Fact, now: Instant) -> Vec<Change> {
        match fact {
            Fact::Probed(probed) => {
                let vip = self.vips.get_mut(&probed.vip);
                let Some(check) = vip.and_then(|vip| vip.checks.get_mut(probed.check)) else {
                    return Vec::new();
                };
                let _ = check.observe(probed.sequence, probed.outcome); // the standing, below, says what changed
                self.judge(probed.vip, now).into_iter().collect()
            }
            Fact::Vip(address, presence) => {
                let Some(vip) = self.vips.get_mut(&address) else { return Vec::new() };
                vip.presence = presence;
                self.judge(address, now).into_iter().collect()
            }
            Fact::Drains(drains) => {
                self.drains = drains;
                self.judge_all(now)
            }
            Fact::Forgive(services) => {
                for vip in self.vips.values_mut() {
                    let name = self.config.services[vip.service].name.as_str();
                    if services.as_ref().is_none_or(|services| services.iter().any(|service| service == name))
                    {
                        vip.damping.forgive(now);
                    }
                }
                self.judge_all(now)
            }
            Fact::Stop => {
                self.stopping = true;
                self.judge_all(now)
            }
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Ends the waits that are over; says whose standing changed.
    #[must_use]
    pub fn expire(&mut self, now: Instant) -> Vec<Change> {
        let over: Vec<IpAddr> =
            self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, address)| *address).collect();
        over.into_iter().filter_map(|address| self.judge(address, now)).collect()
    }

    /// Goes on with another configuration; says whose standing changed.
    ///
    /// A VIP that is there already keeps its health: a check that stays is not touched, and one that is new or changed
    /// inherits the VIP's verdict, so that what is announced stays until the new check has failed by itself. Only a VIP
    /// new to the host starts from nothing. Outcomes of probes numbered below `since` are of the old checks.
    #[must_use]
    pub fn reload(&mut self, config: Arc<Config>, since: u64, now: Instant) -> Vec<Change> {
        let old = std::mem::replace(&mut self.config, config);
        let mut before = std::mem::take(&mut self.vips);
        for (index, service) in self.config.services.iter().enumerate() {
            for address in &service.vips {
                let vip = match before.remove(address) {
                    Some(vip) => vip.moved(&old.services, index, service, since),
                    None => Vip::new(index, service, now),
                };
                self.vips.insert(*address, vip);
            }
        }
        self.deadlines.retain(|(_, address)| self.vips.contains_key(address));
        self.stale = true;
        self.judge_all(now)
    }

    /// What is to be announced now; its generation rises only when that changed.
    pub fn rib(&mut self) -> Arc<LocRib> {
        if std::mem::take(&mut self.stale) {
            let wanted = self.routes();
            let mut routes = self.rib.routes.clone();
            for prefix in self.rib.routes.keys().filter(|prefix| !wanted.contains_key(prefix)) {
                routes.remove(prefix);
            }
            for (prefix, attributes) in wanted {
                if routes.get(&prefix) != Some(&attributes) {
                    routes.insert(prefix, attributes);
                }
            }
            let complete = self.vips.values().all(Vip::has_verdict) && !self.stopping;
            if (complete, &routes) != (self.rib.complete, &self.rib.routes) {
                let generation: Generation = self.rib.generation + 1;
                self.rib = Arc::new(LocRib { generation, complete, routes });
            }
        }
        self.rib.clone()
    }

    /// A prefix that stands for several VIPs is announced only while each of them is.
    fn routes(&self) -> BTreeMap<IpNet, Arc<Attributes>> {
        let shared: Vec<Arc<Attributes>> = self.config.services.iter().map(attributes).collect();
        let mut routes = BTreeMap::new();
        let mut withheld = BTreeSet::new();
        for (address, vip) in &self.vips {
            let prefix = self.config.services[vip.service].prefix_of(*address);
            if vip.standing == Standing::Announced {
                routes.insert(prefix, Arc::clone(&shared[vip.service]));
            } else {
                withheld.insert(prefix);
            }
        }
        routes.retain(|prefix, _| !withheld.contains(prefix));
        routes
    }

    /// How often, from now on, a check of a VIP is asked.
    pub fn pace(&self, vip: IpAddr, check: usize) -> Option<Pace> {
        let vip = self.vips.get(&vip)?;
        let interval = self.config.services[vip.service].checks.get(check)?.interval;
        Some(Pace {
            interval: match vip.checks.get(check)?.verdict() {
                Verdict::Unknown => interval.min(FIRST_VERDICT_INTERVAL),
                Verdict::Up | Verdict::Down => interval,
            },
            kick: 0,
        })
    }

    /// What is decided of each VIP, and why, in the order of the configuration.
    pub fn report(&self) -> Report {
        let service = |service: &config::Service| ServiceReport {
            name: service.name.clone(),
            vips: (service.vips.iter())
                .filter_map(|address| {
                    let vip = self.vips.get(address)?;
                    Some(VipReport { address: *address, standing: vip.standing.clone(), since: vip.since })
                })
                .collect(),
        };
        let known = |name: &str| self.config.services.iter().any(|service| service.name.as_str() == name);
        Report {
            services: self.config.services.iter().map(service).collect(),
            drains: self.drains.clone(),
            unknown_drains: self.drains.named.keys().filter(|name| !known(name)).cloned().collect(),
        }
    }

    fn judge_all(&mut self, now: Instant) -> Vec<Change> {
        let addresses: Vec<IpAddr> = self.vips.keys().copied().collect();
        addresses.into_iter().filter_map(|address| self.judge(address, now)).collect()
    }

    fn judge(&mut self, address: IpAddr, now: Instant) -> Option<Change> {
        let vip = self.vips.get_mut(&address)?;
        let service = &self.config.services[vip.service];
        let standing = vip.judge(self.stopping, self.drains.of(&service.name), service, now);
        let deadline = vip.damping.deadline();
        if let Some(before) = std::mem::replace(&mut vip.deadline, deadline) {
            self.deadlines.remove(&(before, address));
        }
        self.deadlines.extend(deadline.map(|at| (at, address)));
        let changed = kind(&standing) != kind(&vip.standing);
        vip.standing = standing;
        changed.then(|| {
            vip.since = now;
            self.stale = true;
            Change { service: service.name.clone(), vip: address, standing: vip.standing.clone() }
        })
    }
}

impl Vip {
    /// Of which nothing is known.
    fn new(service: usize, of: &config::Service, now: Instant) -> Self {
        Vip {
            service,
            presence: Presence::Unknown,
            checks: of
                .checks
                .iter()
                .map(|check| Check::new(check.rise, check.fall, Verdict::Unknown))
                .collect(),
            damping: Damping::default(),
            deadline: None,
            standing: Standing::Withheld(Reason::NotLookedFor),
            since: now,
        }
    }

    /// The same VIP under another configuration.
    fn moved(self, old: &[config::Service], index: usize, service: &config::Service, since: u64) -> Self {
        let verdict = self.verdict();
        let mut kept: Vec<(&config::Check, Check)> =
            old[self.service].checks.iter().zip(self.checks).collect();
        let checks = service.checks.iter().map(|check| {
            match kept.iter().position(|(known, _)| *known == check) {
                Some(place) => kept.swap_remove(place).1,
                None => Check::new(check.rise, check.fall, verdict),
            }
            .ignoring(since)
        });
        let checks = checks.collect();
        Vip { service: index, checks, ..self }
    }

    /// Down if a check is, up if all are.
    fn verdict(&self) -> Verdict {
        let any = |verdict: Verdict| self.checks.iter().any(|check| check.verdict() == verdict);
        if any(Verdict::Down) {
            Verdict::Down
        } else if any(Verdict::Unknown) {
            Verdict::Unknown
        } else {
            Verdict::Up
        }
    }

    fn judge(
        &mut self,
        stopping: bool,
        drain: Option<&Drain>,
        service: &config::Service,
        now: Instant,
    ) -> Standing {
        let unfit = self.unfit();
        let policy = Policy { delay: service.announce_delay, flaps: service.flap_damping };
        let wait = self.damping.observe(unfit.is_none(), policy, now);
        if stopping {
            Standing::Withheld(Reason::Stopping)
        } else if let Some(drain) = drain {
            Standing::Draining(drain.clone())
        } else {
            unfit.or(wait.map(Reason::Waiting)).map_or(Standing::Announced, Standing::Withheld)
        }
    }

    /// What speaks against announcing it, as far as the host goes.
    fn unfit(&self) -> Option<Reason> {
        match &self.presence {
            Presence::Present => {}
            Presence::Unknown => return Some(Reason::NotLookedFor),
            Presence::Missing(why) => return Some(Reason::VipMissing(why.clone())),
        }
        let with = |verdict: Verdict| self.checks.iter().find(|check| check.verdict() == verdict);
        with(Verdict::Down)
            .map(|check| Reason::Unhealthy(check.evidence()))
            .or_else(|| with(Verdict::Unknown).map(|check| Reason::NoVerdict(check.evidence())))
    }

    /// A verdict is there when it no longer depends on what is still to be seen for the first time.
    fn has_verdict(&self) -> bool {
        match &self.standing {
            Standing::Announced | Standing::Draining(_) => true,
            Standing::Withheld(reason) => match reason {
                Reason::NotLookedFor | Reason::NoVerdict(_) | Reason::Waiting(Wait::Delay(_)) => false,
                Reason::Stopping | Reason::VipMissing(_) | Reason::Unhealthy(_) => true,
                Reason::Waiting(Wait::Flapping { .. }) => true,
            },
        }
    }
}

/// What makes two standings the same to the log: a reason's numbers may move without being news.
fn kind(standing: &Standing) -> (u8, Option<&Drain>) {
    match standing {
        Standing::Announced => (0, None),
        Standing::Draining(drain) => (1, Some(drain)),
        Standing::Withheld(reason) => match reason {
            Reason::Stopping => (2, None),
            Reason::NotLookedFor => (3, None),
            Reason::VipMissing(_) => (4, None),
            Reason::NoVerdict(_) => (5, None),
            Reason::Unhealthy(_) => (6, None),
            Reason::Waiting(_) => (7, None),
        },
    }
}

fn attributes(service: &config::Service) -> Arc<Attributes> {
    Arc::new(service.attributes.clone())
}

/// What is decided of everything, and why.
#[derive(Debug, Clone)]
pub struct Report {
    /// In the order of the configuration.
    pub services: Vec<ServiceReport>,
    /// The drains in force.
    pub drains: Drains,
    /// Drain files that name no service.
    pub unknown_drains: Vec<String>,
}

/// What is decided of one service.
#[derive(Debug, Clone)]
pub struct ServiceReport {
    /// Its name.
    pub name: ServiceName,
    /// Its VIPs, in the order of the configuration.
    pub vips: Vec<VipReport>,
}

/// What is decided of one VIP.
#[derive(Debug, Clone)]
pub struct VipReport {
    /// The VIP.
    pub address: IpAddr,
    /// What is decided; its Display is the sentence.
    pub standing: Standing,
    /// Since when.
    pub since: Instant,
}

#[cfg(test)]
mod tests;
