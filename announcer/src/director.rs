//! The one decision point: configuration, health, drains and VIPs in; the Loc-RIB, and why, out.
//!
//! Pure. Routes and `status` both read [`Standing`], so they cannot disagree.
//!
//! ```text
//! Probed, Listening, Vip, Drains, … ── handle ──→ standing of each VIP ──→ LocRib (routes)
//!              time ────────────────── expire ──↗                     └──→ Report (sentences)
//! ```
//!
//! [`standing`] has the words, `vip` what one VIP deserves by itself, [`report`] what is told of it all, [`figures`] what metrics want of that.

pub mod ask;
pub mod figures;
pub mod report;
pub mod standing;
mod vip;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::config::Config;
use crate::drain::Drains;
use crate::health::check::Verdict;
use crate::health::shortages::Shortages;
use crate::health::watch::{Pair, Wanted};
use crate::health::{Listening, Pace, Probed, Watched};
use crate::model::{Generation, ServiceName};
use crate::rib::{Attributes, LocRib, Routes};

pub use figures::Figures;
pub use report::{CheckReport, Report, ServiceReport, VipReport};
pub use standing::{Depreference, Reason, Standing};
pub use vip::Presence;
use vip::Vip;

/// Before its first verdict a check is asked at least this often, so that a start is not `rise` intervals long.
const FIRST_VERDICT_INTERVAL: Duration = Duration::from_millis(200);
/// A deadline that is met later than this was missed by ourselves: the process stood still, and so did the probes.
const STOOD_STILL: Duration = Duration::from_millis(500);

/// Something that happened, and that may change what is announced.
#[derive(Debug, Clone)]
pub enum Fact {
    /// A probe ended.
    Probed(Probed),
    /// The kernel says that a listener is gone, or there again. Probes numbered below the number were started before.
    Listening(Listening, u64),
    /// A VIP is on the host, or is not.
    Vip(IpAddr, Presence),
    /// The drain directory holds these now.
    Drains(Drains),
    /// An operator wants these services announced as soon as they are fit, whatever they did before; `None`: all.
    Forgive(Option<Vec<String>>),
    /// Someone wants these services probed at once; `None`: all.
    Recheck(Option<Vec<String>>),
    /// The daemon is to end: nothing is announced from now on.
    Stop,
}

/// A VIP whose standing became another one: a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose VIP.
    pub service: ServiceName,
    /// Which.
    pub vip: IpAddr,
    /// What held before.
    pub before: Standing,
    /// What holds from now on.
    pub standing: Standing,
}

/// What a service's routes are said with.
#[derive(Debug, Clone)]
struct Said {
    normal: Arc<Attributes>,
    depreferred: Arc<Attributes>,
}

/// Owns what is known and decides what is announced.
#[derive(Debug)]
pub struct Director {
    config: Arc<Config>,
    vips: BTreeMap<IpAddr, Vip>,
    /// The VIPs that share a prefix, by that.
    shared: BTreeMap<IpNet, Vec<IpAddr>>,
    /// When VIPs are to be looked at again though nothing is heard of them.
    deadlines: BTreeSet<(Instant, IpAddr)>,
    /// The VIPs that wait for their first verdict.
    undecided: BTreeSet<IpAddr>,
    drains: Drains,
    shortages: Shortages,
    /// How often a lease ran out.
    lapses: u64,
    stopping: bool,
    said: Vec<Said>,
    routes: Routes,
    rib: Arc<LocRib>,
    /// Whether the routes are others than those of `rib`, and when the first fact was known that made them so.
    stale: Option<Instant>,
    /// The checks whose pace changed.
    paced: BTreeSet<(IpAddr, usize)>,
    /// Whether what the listener watch wants to know changed.
    unwatched: bool,
}

impl Director {
    /// Knows nothing yet, and so announces nothing.
    pub fn new(config: Arc<Config>, drains: Drains, now: Instant) -> Self {
        let mut director = Director {
            config,
            vips: BTreeMap::new(),
            shared: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            undecided: BTreeSet::new(),
            drains,
            shortages: Shortages::default(),
            lapses: 0,
            stopping: false,
            said: Vec::new(),
            routes: Routes::default(),
            rib: Arc::default(),
            stale: Some(now),
            paced: BTreeSet::new(),
            unwatched: true,
        };
        for (index, service) in director.config.services.iter().enumerate() {
            director.vips.extend(service.vips.iter().map(|vip| (*vip, Vip::new(index, service, now))));
        }
        director.read_config();
        let _ = director.judge_all(now); // nothing has changed for anyone: this is the beginning
        director
    }

    /// Takes one fact in; says whose standing changed.
    #[must_use]
    pub fn handle(&mut self, fact: Fact, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        match fact {
            Fact::Probed(Probed { vip: address, check: index, sequence, outcome, at, .. }) => {
                self.shortages.note(&outcome, at);
                let vip = self.vips.get_mut(&address);
                let Some(check) = vip.and_then(|vip| vip.checks.get_mut(index)) else { return changes };
                let settling = (check.settling(), check.verdict());
                let verdict = check.observe(sequence, outcome, at); // the standing, below, says what changed
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
                    self.judge(address, now, now, &mut changes);
                }
            }
            Fact::Drains(drains) => {
                self.drains = drains;
                return self.judge_all(now);
            }
            Fact::Forgive(services) => {
                self.each_of(&services, |vip, _| vip.damping.forgive(now));
                return self.judge_all(now);
            }
            Fact::Recheck(services) => {
                let mut kicked = Vec::new();
                self.each_of(&services, |vip, address| {
                    vip.kicks += 1;
                    kicked.extend((0..vip.checks.len()).map(|index| (address, index)));
                });
                self.paced.extend(kicked);
            }
            Fact::Stop => {
                self.stopping = true;
                return self.judge_all(now);
            }
        }
        changes
    }

    /// A listener that is gone fails the checks that ask there; one that is back has them asked at once.
    fn listening(&mut self, fact: Listening, since: u64, now: Instant, changes: &mut Vec<Change>) {
        let Some(vip) = self.vips.get_mut(&fact.vip) else { return };
        let checks = &self.config.services[vip.service].checks;
        let asked = checks.iter().enumerate().filter(|(_, check)| check.port() == Some(fact.port));
        if fact.listening {
            vip.kicks += 1;
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

    fn each_of(&mut self, services: &Option<Vec<String>>, mut what: impl FnMut(&mut Vip, IpAddr)) {
        for (address, vip) in &mut self.vips {
            let name = self.config.services[vip.service].name.as_str();
            if services.as_ref().is_none_or(|services| services.iter().any(|service| service == name)) {
                what(vip, *address);
            }
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Ends the waits and the leases that are over; says whose standing changed.
    #[must_use]
    pub fn expire(&mut self, now: Instant) -> Vec<Change> {
        let Some(late) = self.deadline().and_then(|due| now.checked_duration_since(due)) else {
            return Vec::new();
        };
        if late > STOOD_STILL {
            let checks = self.vips.values_mut().flat_map(|vip| &mut vip.checks);
            checks.for_each(|check| check.excuse(now));
        }
        let over: Vec<IpAddr> =
            self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, address)| *address).collect();
        let mut changes = Vec::new();
        over.into_iter().for_each(|address| self.judge(address, now, now, &mut changes));
        changes
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
                    Some(vip) => vip.moved(&old.services, index, service, since, now),
                    None => Vip::new(index, service, now),
                };
                self.vips.insert(*address, vip);
            }
        }
        self.deadlines.retain(|(_, address)| self.vips.contains_key(address));
        self.undecided.retain(|address| self.vips.contains_key(address));
        self.read_config();
        let changes = self.judge_all(now);
        let wanted: BTreeSet<IpNet> =
            self.config.vips().map(|(vip, service)| service.prefix_of(vip)).collect();
        let told: Vec<IpNet> = self.routes.keys().copied().collect();
        for prefix in told.iter().filter(|prefix| !wanted.contains(prefix)) {
            self.say(*prefix, None, now);
        }
        self.vips.keys().copied().collect::<Vec<_>>().into_iter().for_each(|vip| self.route(vip, now));
        changes
    }

    /// What follows from the configuration alone.
    fn read_config(&mut self) {
        self.said = self.config.services.iter().map(Said::of).collect();
        self.shared.clear();
        for (vip, service) in self.config.vips().filter(|(_, service)| !service.prefixes.is_empty()) {
            self.shared.entry(service.prefix_of(vip)).or_default().push(vip);
        }
        let checks = |(address, vip): (&IpAddr, &Vip)| {
            (0..vip.checks.len()).map(|index| (*address, index)).collect::<Vec<_>>()
        };
        self.paced = self.vips.iter().flat_map(checks).collect();
        self.unwatched = true;
    }

    /// What is to be announced now; its generation rises only when that changed.
    pub fn rib(&mut self) -> Arc<LocRib> {
        let complete = self.undecided.is_empty() && !self.stopping;
        let stale = self.stale.take();
        if stale.is_some() || complete != self.rib.complete {
            let generation: Generation = self.rib.generation + 1;
            let routes = self.routes.clone();
            self.rib = Arc::new(LocRib { generation, complete, caused: stale, routes });
        }
        self.rib.clone()
    }

    /// How often, from now on, a check of a VIP is asked.
    pub fn pace(&self, vip: IpAddr, check: usize) -> Option<Pace> {
        let vip = self.vips.get(&vip)?;
        let config = self.config.services[vip.service].checks.get(check)?;
        let check = vip.checks.get(check)?;
        let interval = match check.verdict() {
            Verdict::Unknown => config.fast_interval.min(FIRST_VERDICT_INTERVAL),
            Verdict::Up | Verdict::Down if check.settling() => config.fast_interval,
            Verdict::Up | Verdict::Down => config.interval,
        };
        Some(Pace { interval, kick: vip.kicks })
    }

    /// The checks whose pace changed since this was last asked.
    pub fn take_paced(&mut self) -> BTreeSet<(IpAddr, usize)> {
        std::mem::take(&mut self.paced)
    }

    /// What the listener watch has to know, if that changed since this was last asked. A pair is up if any check that asks
    /// it is: something answers there.
    pub fn take_watched(&mut self) -> Option<Wanted> {
        if !std::mem::take(&mut self.unwatched) {
            return None;
        }
        let every = self.config.health.listener_watch;
        let mut pairs: BTreeMap<Pair, Watched> = BTreeMap::new();
        for (address, vip) in &self.vips {
            let service = &self.config.services[vip.service];
            for (check, config) in vip.checks.iter().zip(&service.checks) {
                if let Some(port) = config.port() {
                    let up = check.verdict() == Verdict::Up;
                    let grace = service.listener_grace;
                    pairs.entry((*address, port)).or_insert(Watched { grace, up }).up |= up;
                }
            }
        }
        Some(Wanted { every, pairs })
    }

    fn judge_all(&mut self, now: Instant) -> Vec<Change> {
        let addresses: Vec<IpAddr> = self.vips.keys().copied().collect();
        let mut changes = Vec::new();
        for address in &addresses {
            self.weigh(*address, now);
        }
        let groups: Vec<Vec<IpAddr>> = self.shared.values().cloned().collect();
        for group in groups {
            self.settle_all(group, now, now, &mut changes);
        }
        for address in addresses {
            if self.siblings(address).is_none() {
                self.settle(address, None, now, now, &mut changes);
            }
        }
        changes
    }

    /// Decides on a VIP anew, and on those that share its prefix; `at` is when the fact was known that made it so.
    fn judge(&mut self, address: IpAddr, at: Instant, now: Instant, changes: &mut Vec<Change>) {
        let decided = self.weigh(address, now);
        match self.siblings(address) {
            None => self.settle(address, None, at, now, changes),
            Some(siblings) if decided => self.settle_all(siblings.to_vec(), at, now, changes),
            // It deserves what it did before, and its siblings are what they were.
            Some(_) => {}
        }
    }

    /// The VIPs that a VIP shares its prefix with, itself among them.
    fn siblings(&self, address: IpAddr) -> Option<&[IpAddr]> {
        let service = self.config.services.get(self.vips.get(&address)?.service)?;
        self.shared.get(&service.prefix_of(address)).map(Vec::as_slice)
    }

    /// Finds what a VIP deserves by itself; whether that is another thing, or only has other words for it.
    fn weigh(&mut self, address: IpAddr, now: Instant) -> bool {
        let Some(vip) = self.vips.get_mut(&address) else { return false };
        let service = &self.config.services[vip.service];
        self.lapses += vip.lapse(service, now);
        let own = vip.judge(self.stopping, self.drains.of(&service.name), service, now);
        let due = vip.due(service);
        if due.is_none_or(|due| vip.deadline.is_none_or(|deadline| due < deadline || deadline <= now)) {
            if let Some(before) = std::mem::replace(&mut vip.deadline, due) {
                self.deadlines.remove(&(before, address));
            }
            self.deadlines.extend(due.map(|at| (at, address)));
        }
        let before = std::mem::replace(&mut vip.own, own);
        if vip.is_decided() {
            self.undecided.remove(&address);
        } else {
            self.undecided.insert(address);
        }
        vip.own != before
    }

    /// Gives VIPs that share a prefix what the least of them leaves.
    fn settle_all(&mut self, siblings: Vec<IpAddr>, at: Instant, now: Instant, changes: &mut Vec<Change>) {
        let own = siblings.iter().filter_map(|sibling| Some((*sibling, &self.vips.get(sibling)?.own)));
        let worst = own.max_by_key(|(_, own)| rank(own)).map(|(vip, own)| (vip, own.clone()));
        siblings.into_iter().for_each(|sibling| self.settle(sibling, worst.as_ref(), at, now, changes));
    }

    /// Gives a VIP what it deserves, or what the `worst` of its siblings leaves of it.
    fn settle(
        &mut self,
        address: IpAddr,
        worst: Option<&(IpAddr, Standing)>,
        at: Instant,
        now: Instant,
        changes: &mut Vec<Change>,
    ) {
        let Some(vip) = self.vips.get_mut(&address) else { return };
        let standing = match worst {
            Some((sibling, theirs)) if vip.own.is_told() && rank(theirs) > rank(&vip.own) => {
                if theirs.is_told() {
                    Standing::Depreferred(Depreference::Sibling(*sibling))
                } else {
                    Standing::Withheld(Reason::Sibling(*sibling))
                }
            }
            Some(_) | None => vip.own.clone(),
        };
        let before = std::mem::replace(&mut vip.standing, standing);
        if vip.standing.is_news_after(&before) {
            vip.since = now;
            let service = self.config.services[vip.service].name.clone();
            changes.push(Change { service, vip: address, before, standing: vip.standing.clone() });
            self.route(address, at);
        }
    }

    /// Brings the route of a VIP's prefix up to date.
    fn route(&mut self, address: IpAddr, at: Instant) {
        let Some(vip) = self.vips.get(&address) else { return };
        let prefix = self.config.services[vip.service].prefix_of(address);
        let said = &self.said[vip.service];
        let attributes = match &vip.standing {
            Standing::Announced => Some(Arc::clone(&said.normal)),
            Standing::Depreferred(_) => Some(Arc::clone(&said.depreferred)),
            Standing::Draining(_) | Standing::Withheld(_) => None,
        };
        self.say(prefix, attributes, at);
    }

    /// Announces a prefix with these attributes, or withdraws it.
    fn say(&mut self, prefix: IpNet, attributes: Option<Arc<Attributes>>, at: Instant) {
        if self.routes.get(&prefix) == attributes.as_ref() {
            return;
        }
        match attributes {
            Some(attributes) => drop(self.routes.insert(prefix, attributes)),
            None => drop(self.routes.remove(&prefix)),
        }
        self.stale = Some(self.stale.map_or(at, |since| since.min(at)));
    }
}

impl Said {
    fn of(service: &crate::config::Service) -> Self {
        let normal = Arc::new(service.attributes.clone());
        let deprefer = Some(Box::new(service.deprefer.clone()));
        Said { depreferred: Arc::new(Attributes { deprefer, ..service.attributes.clone() }), normal }
    }
}

/// The least of a prefix's VIPs decides.
fn rank(own: &Standing) -> u8 {
    match own {
        Standing::Announced => 0,
        Standing::Depreferred(_) => 1,
        Standing::Draining(_) | Standing::Withheld(_) => 2,
    }
}

#[cfg(test)]
mod tests;
