//! The one decision point. Its input is the configuration, health, drains and VIPs; its output is the Loc-RIB and the reasons.
//!
//! Pure. Routes and `status` both read [`Standing`], so they cannot contradict each other.
//!
//! ```text
//! Probed, Listening, Vip, Drains, … ── handle ──→ standing of each VIP ──→ LocRib (routes)
//!              time ────────────────── expire ──↗                     └──→ Report (sentences)
//! ```
//!
//! [`standing`] has the words, `brief` the short ones. `vip` computes the standing of one VIP by itself. `decide` decides on all VIPs. `reload` applies
//! another configuration, and [`preview`] computes its effect before it is made. [`resume`] passes the
//! facts to the next process. [`report`] makes the report for operators,
//! [`figures`] the numbers for metrics, [`changes`] the lines for the log.

pub mod ask;
mod brief;
pub mod burst;
pub mod changes;
mod decide;
pub mod figures;
pub mod preview;
mod reload;
pub mod report;
pub mod resume;
mod route;
pub mod standing;
mod vip;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::config::{Config, ServiceConfig};
use crate::drain::{DrainTarget, Drains};
use crate::health::check::Verdict;
use crate::health::shortages::Shortages;
use crate::health::watch::{VipPort, WatchPlan};
use crate::health::{ListenerFact, Pace, ProbeFact, WatchSpec};
use crate::model::{Asn, Generation, PeerName, ServiceName, Weight};
use crate::rib::{Attributes, LocRib, Routes};
use crate::vip::Presence;
use crate::weight::FileWeights;

use decide::DecisionTime;
pub use figures::{Figures, VipNumbers};
pub use preview::Preview;
pub use report::{CheckReport, Report, ServiceReport, VipReport};
pub use route::{NextHopSource, VipRoute};
pub use standing::{LastChoiceReason, NotAnnouncedReason, Standing};
use vip::VipState;

/// The longest interval of a check before its first verdict, so that a start does not take `rise` intervals.
const FIRST_VERDICT_INTERVAL: Duration = Duration::from_millis(200);

/// A fact that may change the announcements.
#[derive(Debug, Clone)]
pub enum Fact {
    /// A probe ended.
    Probed(ProbeFact),
    /// The kernel reports that a listener is gone, or back. Probes with a lower number were started before.
    Listening(ListenerFact, u64),
    /// A VIP is on the host, or is not.
    Vip(IpAddr, Presence),
    /// The current contents of the drain directory.
    Drains(Drains),
    /// An operator wants the VIPs of these to be announced as soon as they are healthy, without damping.
    Forgive(Vec<DrainTarget>),
    /// A drain of these has ended by itself: their VIPs are announced after their checks have passed anew. Outcomes of probes with a
    /// number below the second value do not count.
    Renew(Vec<DrainTarget>, u64),
    /// The VIPs that enough other members of the chain announce (`min_announcers`). The other VIPs with this key are the last choice
    /// when their probes fail, and are not withdrawn.
    EnoughOthers(Arc<BTreeSet<IpAddr>>),
    /// The weights of the services with `weight_file`, as far as they are known.
    Weights(Arc<FileWeights>),
    /// An operator wants these services to be probed at once; `None`: all.
    Recheck(Option<Vec<String>>),
    /// The daemon will end soon: every VIP is the last choice until then.
    Leave,
    /// The daemon ends: nothing is announced from now on.
    Stop,
}

/// A change of a VIP's standing, which is a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingChange {
    /// The service of the VIP.
    pub service: ServiceName,
    /// Which.
    pub vip: IpAddr,
    /// The standing before.
    pub before: Standing,
    /// The standing from now on.
    pub standing: Standing,
}

/// The attributes of the routes of a service.
#[derive(Debug, Clone)]
struct ServiceAttributes {
    normal: Arc<Attributes>,
    last_choice: Arc<Attributes>,
}

/// Owns all facts and decides what is announced.
#[derive(Debug, Clone)]
pub struct Director {
    config: Arc<Config>,
    vips: BTreeMap<IpAddr, VipState>,
    /// The VIPs that share a prefix, by the prefix.
    shared: BTreeMap<IpNet, Vec<IpAddr>>,
    /// When VIPs have to be decided again without a new fact.
    deadlines: BTreeSet<(Instant, IpAddr)>,
    /// The VIPs that wait for their first verdict.
    undecided: BTreeSet<IpAddr>,
    drains: Drains,
    /// The routers that these drains name.
    drained_peers: Arc<BTreeSet<PeerName>>,
    /// The VIPs that enough other members of the chain announce. As long as nothing is known of them, it is empty.
    enough_others: Arc<BTreeSet<IpAddr>>,
    /// The weights of the services with `weight_file`, as far as they are known.
    weights: Arc<FileWeights>,
    shortages: Shortages,
    /// How often a lease ran out.
    lapses: u64,
    leaving: bool,
    stopping: bool,
    attributes: Vec<ServiceAttributes>,
    routes: Routes,
    /// The generation of the Loc-RIB in which each of the routes got its present attributes.
    route_generations: BTreeMap<IpNet, Generation>,
    rib: Arc<LocRib>,
    /// Set if the routes differ from those of `rib`: the time of the first fact that changed them.
    stale: Option<Instant>,
    /// The checks whose pace changed.
    paced: BTreeSet<(IpAddr, usize)>,
    /// Whether the data for the listener watch has changed.
    unwatched: bool,
    /// The VIPs whose facts have to be stored for the next process.
    unstored: BTreeSet<IpAddr>,
    /// The VIPs that the former process advertised and this one does not, until they are returned.
    lost_at_start: Vec<StandingChange>,
}

impl Director {
    /// A director without facts, which announces nothing.
    pub fn new(config: Arc<Config>, drains: Drains, now: Instant) -> Self {
        Director::begin(config, drains, Arc::default(), Arc::default(), now, |_, _, vip| vip)
    }

    /// A director whose VIPs begin with what `with` makes of a VIP without facts.
    fn begin(
        config: Arc<Config>,
        drains: Drains,
        enough_others: Arc<BTreeSet<IpAddr>>,
        weights: Arc<FileWeights>,
        now: Instant,
        with: impl Fn(IpAddr, &ServiceConfig, VipState) -> VipState,
    ) -> Self {
        let mut director = Director {
            config,
            vips: BTreeMap::new(),
            shared: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            undecided: BTreeSet::new(),
            drained_peers: Arc::new(drained_peers(&drains)),
            drains,
            enough_others,
            weights,
            shortages: Shortages::default(),
            lapses: 0,
            leaving: false,
            stopping: false,
            attributes: Vec::new(),
            routes: Routes::default(),
            route_generations: BTreeMap::new(),
            rib: Arc::default(),
            stale: Some(now),
            paced: BTreeSet::new(),
            unwatched: true,
            unstored: BTreeSet::new(),
            lost_at_start: Vec::new(),
        };
        for (index, service) in director.config.services.iter().enumerate() {
            let vip = |vip: &IpAddr| (*vip, with(*vip, service, VipState::new(index, service, 0, now)));
            director.vips.extend(service.vips.iter().map(vip));
        }
        director.read_config();
        let mut changes = Vec::new(); // at the beginning, nothing is reported as a change
        let now = director.catch_up(now, &mut changes);
        director.judge_all(now, &mut changes);
        director
    }

    /// The number of VIPs.
    pub fn vip_count(&self) -> usize {
        self.vips.len()
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Ends the expired waits and leases; returns the changed standings.
    #[must_use]
    pub fn expire(&mut self, now: Instant) -> Vec<StandingChange> {
        let mut changes = Vec::new();
        self.catch_up(now, &mut changes);
        changes
    }

    /// Processes one fact; returns the changed standings.
    #[must_use]
    pub fn handle(&mut self, fact: Fact, now: Instant) -> Vec<StandingChange> {
        let mut changes = Vec::new();
        let now = self.catch_up(now, &mut changes);
        match fact {
            Fact::Probed(ProbeFact { vip: address, check: index, sequence, outcome, at, .. }) => {
                self.shortages.note(&outcome, at);
                let vip = self.vips.get_mut(&address);
                let Some(check) = vip.and_then(|vip| vip.checks.get_mut(index)) else { return changes };
                let settling = (check.settling(), check.verdict());
                let verdict = check.observe(sequence, outcome, at); // the change of the standing is logged below
                if settling != (check.settling(), check.verdict()) {
                    self.paced.insert((address, index));
                }
                self.unwatched |= verdict.is_some();
                self.judge(address, at, now, &mut changes);
            }
            Fact::Listening(listening, since) => self.listening(listening, since, now, &mut changes),
            Fact::Vip(address, presence) => {
                if let Some(vip) = self.vips.get_mut(&address) {
                    vip.presence = presence;
                    self.judge(address, now.time(), now, &mut changes);
                }
            }
            Fact::Drains(drains) => {
                self.drains = drains;
                let peers = drained_peers(&self.drains);
                if peers != *self.drained_peers {
                    self.drained_peers = Arc::new(peers);
                    self.stale = Some(self.stale.map_or(now.time(), |since| since.min(now.time())));
                }
                self.judge_all(now, &mut changes);
            }
            Fact::Forgive(targets) => {
                for (address, vip) in &mut self.vips {
                    let service = self.config.services[vip.service].name.as_str();
                    if targets.iter().any(|target| target.covers(service, *address)) {
                        vip.damping.forgive();
                    }
                }
                self.judge_all(now, &mut changes);
            }
            Fact::EnoughOthers(vips) => {
                let before = std::mem::replace(&mut self.enough_others, vips);
                let changed: Vec<IpAddr> =
                    before.symmetric_difference(&self.enough_others).copied().collect();
                changed.into_iter().for_each(|vip| self.judge(vip, now.time(), now, &mut changes));
            }
            Fact::Weights(weights) => {
                self.weights = weights;
                self.read_attributes();
                let vips: Vec<IpAddr> = self.vips.keys().copied().collect();
                vips.into_iter().for_each(|vip| self.route(vip, now.time()));
            }
            Fact::Renew(targets, since) => self.renew(&targets, since, now, &mut changes),
            Fact::Recheck(services) => {
                let mut kicked = Vec::new();
                self.each_of(&services, |vip, address| {
                    vip.rechecks += 1;
                    kicked.extend((0..vip.checks.len()).map(|index| (address, index)));
                });
                self.paced.extend(kicked);
            }
            Fact::Leave => {
                self.leaving = true;
                self.judge_all(now, &mut changes);
            }
            Fact::Stop => {
                self.stopping = true;
                self.judge_all(now, &mut changes);
            }
        }
        changes
    }

    /// Forgets the verdicts of the VIPs of these targets.
    fn renew(
        &mut self,
        targets: &[DrainTarget],
        since: u64,
        now: DecisionTime,
        changes: &mut Vec<StandingChange>,
    ) {
        for (address, vip) in &mut self.vips {
            let service = &self.config.services[vip.service];
            if targets.iter().any(|target| target.covers(service.name.as_str(), *address)) {
                vip.renew(service, since, now.time());
                self.paced.extend((0..vip.checks.len()).map(|index| (*address, index)));
            }
        }
        self.unwatched = true;
        self.judge_all(now, changes);
    }

    /// When a listener is gone, the checks of its port fail. When it is back, they are probed at once.
    fn listening(
        &mut self,
        fact: ListenerFact,
        since: u64,
        now: DecisionTime,
        changes: &mut Vec<StandingChange>,
    ) {
        let Some(vip) = self.vips.get_mut(&fact.vip) else { return };
        let checks = &self.config.services[vip.service].checks;
        let asked = checks.iter().enumerate().filter(|(_, check)| check.port() == Some(fact.port));
        if fact.listening {
            vip.rechecks += 1;
            self.paced.extend((0..vip.checks.len()).map(|index| (fact.vip, index)));
            return;
        }
        for (index, _) in asked {
            if let Some(check) = vip.checks.get_mut(index) {
                self.unwatched |= check.vanished(since).is_some();
                self.paced.insert((fact.vip, index));
            }
        }
        self.judge(fact.vip, fact.at, now, changes);
    }

    fn each_of(&mut self, services: &Option<Vec<String>>, mut what: impl FnMut(&mut VipState, IpAddr)) {
        for (address, vip) in &mut self.vips {
            let name = self.config.services[vip.service].name.as_str();
            if services.as_ref().is_none_or(|services| services.iter().any(|service| service == name)) {
                what(vip, *address);
            }
        }
    }

    /// The routes to announce now. The generation increases only when they have changed.
    pub fn rib(&mut self) -> Arc<LocRib> {
        let complete = self.undecided.is_empty() && !self.stopping;
        let stale = self.stale.take();
        if stale.is_some() || complete != self.rib.complete {
            let generation: Generation = self.rib.generation + 1;
            let routes = self.routes.clone();
            let drained_peers = Arc::clone(&self.drained_peers);
            self.rib = Arc::new(LocRib { generation, complete, caused: stale, routes, drained_peers });
        }
        self.rib.clone()
    }

    /// The current pace of a check of a VIP.
    pub fn pace(&self, vip: IpAddr, check: usize) -> Option<Pace> {
        let vip = self.vips.get(&vip)?;
        let config = self.config.services[vip.service].checks.get(check)?;
        let check = vip.checks.get(check)?;
        let interval = match check.verdict() {
            Verdict::Unknown => config.fast_interval.min(FIRST_VERDICT_INTERVAL),
            Verdict::Up | Verdict::Down if check.settling() => config.fast_interval,
            Verdict::Up | Verdict::Down => config.interval,
        };
        Some(Pace { interval, rechecks: vip.rechecks })
    }

    /// The checks whose pace has changed since the last call.
    pub fn take_paced(&mut self) -> BTreeSet<(IpAddr, usize)> {
        std::mem::take(&mut self.paced)
    }

    /// Whether the data for the listener watch has changed since they were taken.
    pub fn is_unwatched(&self) -> bool {
        self.unwatched
    }

    /// The data for the listener watch, if it has changed since the last call. A pair is up if any check of it is up, because then
    /// a server answers there.
    pub fn take_watched(&mut self) -> Option<WatchPlan> {
        if !std::mem::take(&mut self.unwatched) {
            return None;
        }
        let every = self.config.health.listener_watch;
        let mut pairs: BTreeMap<VipPort, WatchSpec> = BTreeMap::new();
        let mut vrfs = BTreeMap::new();
        for (address, vip) in &self.vips {
            let service = &self.config.services[vip.service];
            for (check, config) in vip.checks.iter().zip(&service.checks) {
                if let Some(port) = config.port() {
                    if let Some(vrf) = &service.vrf {
                        vrfs.insert(*address, vrf.clone());
                    }
                    let up = check.verdict() == Verdict::Up;
                    let grace = service.listener_grace;
                    pairs.entry((*address, port)).or_insert(WatchSpec { grace, up }).up |= up;
                }
            }
        }
        Some(WatchPlan { every, pairs, vrfs })
    }
}

impl Director {
    /// The weight of a service's routes; `None`: they have none.
    fn weight_of(&self, service: &ServiceConfig) -> Option<Weight> {
        self.file_weight(service).or(service.weight)
    }

    /// The weight that the file of a service has given to its routes.
    fn file_weight(&self, service: &ServiceConfig) -> Option<Weight> {
        service.weight_file.as_ref().and_then(|_| self.weights.get(&service.name)).copied()
    }
}

fn drained_peers(drains: &Drains) -> BTreeSet<PeerName> {
    drains.peers().into_iter().filter_map(|name| name.parse().ok()).collect()
}

impl ServiceAttributes {
    fn of(service: &ServiceConfig, weight: Option<Weight>, asn: Asn) -> Self {
        let recipients = service.recipients.clone();
        let mut normal = Attributes { recipients, ..service.attributes.clone() };
        normal.extended_communities.extend(weight.map(|weight| weight.community(asn)));
        let deprefer = Some(Box::new(service.deprefer.clone()));
        ServiceAttributes {
            last_choice: Arc::new(Attributes { deprefer, ..normal.clone() }),
            normal: Arc::new(normal),
        }
    }
}

#[cfg(test)]
mod tests;
