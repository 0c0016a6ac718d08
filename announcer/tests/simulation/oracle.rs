//! An oracle that stores all facts, and computes from them what may be announced.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use announcer::config::{CheckConfig, Config, Require, ServiceConfig};
use announcer::health::check::Verdict;
use ipnet::IpNet;

/// All results of one check of one VIP, since the check has its current form.
#[derive(Clone)]
struct CheckHistory {
    check: CheckConfig,
    /// Its first verdict, and the time.
    start: (Verdict, Instant),
    /// The lowest number of probes of this check, or the highest number that counted.
    newest: u64,
    /// The reports of the probe loop, with time and result; `None`: the result does not count.
    heard: Vec<(Instant, Option<bool>)>,
    /// Until when a pass has to confirm the first verdict, because it is of another process.
    confirm_by: Option<Instant>,
}

impl CheckHistory {
    fn new(check: &CheckConfig, verdict: Verdict, now: Instant) -> Self {
        CheckHistory {
            check: check.clone(),
            start: (verdict, now),
            newest: 0,
            heard: Vec::new(),
            confirm_by: None,
        }
    }

    /// The check of the next process.
    fn crashed(&self, now: Instant) -> Self {
        let by = now + self.check.interval * self.check.fall + self.check.timeout;
        CheckHistory { confirm_by: Some(by), ..CheckHistory::new(&self.check, self.verdict(now), now) }
    }

    fn lease(&self) -> Duration {
        (self.check.interval * 3 + self.check.timeout).max(Duration::from_secs(3))
    }

    fn hear(&mut self, sequence: u64, pass: Option<bool>, now: Instant) {
        let counts = pass.filter(|_| sequence >= self.newest);
        if counts.is_some() {
            self.newest = sequence;
        }
        self.heard.push((now, counts));
    }

    /// Computes the verdict from the whole history: passes and failures in a row, and silence for a lease.
    fn verdict(&self, now: Instant) -> Verdict {
        let (mut verdict, mut renewed) = self.start;
        let (mut passes, mut failures) = (0, 0);
        let mut confirm_by = self.confirm_by.filter(|_| verdict == Verdict::Up);
        let moments = self.heard.iter().copied().chain([(now, None)]);
        for (at, pass) in moments {
            let late = confirm_by.is_some_and(|by| at >= by);
            if verdict == Verdict::Up && (late || at.duration_since(renewed) >= self.lease()) {
                (verdict, passes, failures, confirm_by) = (Verdict::Unknown, 0, 0, None);
            }
            renewed = at;
            match pass {
                Some(true) => (passes, failures) = (passes + 1, 0),
                Some(false) => (passes, failures) = (0, failures + 1),
                None => continue,
            }
            if passes > 0 || failures >= self.check.fall {
                confirm_by = None;
            }
            if passes >= self.check.rise {
                verdict = Verdict::Up;
            } else if failures >= self.check.fall {
                verdict = Verdict::Down;
            }
        }
        verdict
    }
}

/// The facts about a VIP of the configuration.
#[derive(Clone, Default)]
struct Vip {
    present: bool,
    checks: Vec<CheckHistory>,
}

impl Vip {
    /// The verdict of its checks together.
    fn verdict(&self, service: &ServiceConfig, now: Instant) -> Verdict {
        let verdicts: Vec<Verdict> = self.checks.iter().map(|seen| seen.verdict(now)).collect();
        let needed = match service.require {
            Require::All => verdicts.len(),
            Require::AtLeast(least) => usize::try_from(least).unwrap(),
        };
        let count = |wanted: &[Verdict]| verdicts.iter().filter(|verdict| wanted.contains(verdict)).count();
        if count(&[Verdict::Up]) >= needed {
            Verdict::Up
        } else if count(&[Verdict::Up, Verdict::Unknown]) >= needed {
            Verdict::Unknown
        } else {
            Verdict::Down
        }
    }
}

/// The facts, in the order in which the director received them.
#[derive(Clone)]
pub struct Oracle {
    config: Arc<Config>,
    vips: BTreeMap<IpAddr, Vip>,
    drained: BTreeSet<&'static str>,
    stopped: bool,
    facts: u64,
}

impl Oracle {
    pub fn new(config: &Arc<Config>, now: Instant) -> Self {
        let mut oracle = Oracle {
            config: Arc::clone(config),
            vips: BTreeMap::new(),
            drained: BTreeSet::new(),
            stopped: false,
            facts: 0,
        };
        oracle.reload(config, 0, now);
        oracle
    }

    /// How many facts it has received.
    pub fn facts(&self) -> u64 {
        self.facts
    }

    /// Sets the drains, by the names of the files.
    pub fn drains(&mut self, files: BTreeSet<&'static str>) {
        self.facts += 1;
        self.drained = files;
    }

    pub fn presence(&mut self, vip: IpAddr, there: bool) {
        self.facts += 1;
        if let Some(vip) = self.vips.get_mut(&vip) {
            vip.present = there;
        }
    }

    pub fn probed(&mut self, vip: IpAddr, check: usize, sequence: u64, pass: Option<bool>, now: Instant) {
        self.facts += 1;
        if let Some(seen) = self.vips.get_mut(&vip).and_then(|vip| vip.checks.get_mut(check)) {
            seen.hear(sequence, pass, now);
        }
    }

    /// The process was killed, and the next one begins. The kernel still has the VIPs.
    pub fn crash(&mut self, now: Instant) {
        self.facts += 1;
        for vip in self.vips.values_mut() {
            vip.checks = vip.checks.iter().map(|check| check.crashed(now)).collect();
        }
    }

    /// Whether a VIP is on the host.
    pub fn is_present(&self, vip: IpAddr) -> bool {
        self.vips.get(&vip).is_some_and(|vip| vip.present)
    }

    pub fn stop(&mut self) {
        self.facts += 1;
        self.stopped = true;
    }

    /// An unchanged check keeps its history. A new check of a VIP starts with the verdict of all checks of the VIP.
    pub fn reload(&mut self, config: &Arc<Config>, since: u64, now: Instant) {
        self.facts += 1;
        let old = std::mem::replace(&mut self.config, Arc::clone(config));
        let mut before = std::mem::take(&mut self.vips);
        let service_of = |vip| old.vips().find(|(known, _)| *known == vip).map(|(_, service)| service);
        for (address, service) in config.vips() {
            let known = before.remove(&address);
            let verdict = match (&known, service_of(address)) {
                (Some(known), Some(service)) => known.verdict(service, now),
                (_, _) => Verdict::Unknown,
            };
            let known = known.unwrap_or_default();
            let kept = |check: &CheckConfig| known.checks.iter().find(|seen| seen.check == *check).cloned();
            let in_place = |index: usize, check: &CheckConfig| {
                known.checks.get(index).is_some_and(|seen| seen.check == *check)
            };
            let checks = service.checks.iter().enumerate().map(|(index, check)| {
                let seen = kept(check).unwrap_or_else(|| CheckHistory::new(check, verdict, now));
                // Running probes count if their check stays at its index.
                if in_place(index, check) {
                    seen
                } else {
                    CheckHistory { newest: seen.newest.max(since), ..seen }
                }
            });
            let vip = Vip { present: known.present, checks: checks.collect() };
            self.vips.insert(address, vip);
        }
    }

    pub fn is_drained(&self, service: &ServiceConfig) -> bool {
        self.drained.contains("_all") || self.drained.contains(service.name.as_str())
    }

    /// The drained VIPs of the configuration.
    pub fn drained(&self) -> BTreeSet<IpAddr> {
        self.config.vips().filter(|(_, service)| self.is_drained(service)).map(|(vip, _)| vip).collect()
    }

    /// Until when nothing changes without a fact: at most until the end of the next lease.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        let checks = self.vips.values().flat_map(|vip| &vip.checks);
        let ends = checks.flat_map(|seen| {
            let silent = seen.heard.last().map_or(seen.start.1, |(at, _)| *at) + seen.lease();
            [Some(silent), seen.confirm_by].into_iter().flatten()
        });
        ends.filter(|end| *end > now).min()
    }

    /// The prefixes that have to be announced now, with their MED.
    pub fn healthy(&self, now: Instant) -> BTreeMap<IpNet, Option<u32>> {
        let good = |(address, service): &(IpAddr, &ServiceConfig)| {
            let vip = &self.vips[address];
            let fit = vip.present && vip.verdict(service, now) == Verdict::Up;
            fit && !self.stopped && !self.is_drained(service)
        };
        let routes = self.config.vips().filter(good);
        routes.map(|(vip, service)| (IpNet::from(vip), service.attributes.med)).collect()
    }
}
