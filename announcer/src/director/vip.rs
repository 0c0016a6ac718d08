//! One VIP: its facts, and its standing before its siblings in the same prefix are considered.
//!
//! Pure.

use std::time::{Duration, Instant};

use super::standing::{LastChoiceReason, NotAnnouncedReason, Standing};
use crate::config::{self, FlapDamping, OnFailure, OnSlow};
use crate::damping::{Damping, DampingWait, Policy};
use crate::drain::DrainedBy;
use crate::health::check::{Check, Evidence, FoundVerdict, Streak, Verdict};
use crate::health::outcome::Outcome;
use crate::model::Weight;
use crate::vip::Presence;

/// The shortest lease.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

/// The facts about one VIP.
#[derive(Debug, Clone)]
pub(super) struct VipState {
    /// The index of its service in the configuration.
    pub(super) service: usize,
    pub(super) presence: Presence,
    pub(super) checks: Vec<Check>,
    pub(super) damping: Damping,
    /// How often an immediate probe of its checks was requested.
    pub(super) rechecks: u64,
    /// When it has to be decided again, as stored in the director; this is never too late, but may be too early.
    pub(super) deadline: Option<Instant>,
    /// Its standing before its siblings are considered.
    pub(super) own: Standing,
    /// Its standing after its siblings in the prefix are considered.
    pub(super) standing: Standing,
    pub(super) since: Instant,
    /// The weight that the file of its service has given to its route.
    pub(super) weight: Option<Weight>,
    /// The facts that were last passed to the next process.
    pub(super) stored: Option<VipFingerprint>,
}

/// Whether a snapshot would differ from the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VipFingerprint {
    checks: Vec<FoundVerdict>,
    damping: (u8, Option<Instant>, usize, u32),
    advertised: bool,
    weight: Option<Weight>,
}

/// What operators want with a VIP.
#[derive(Debug)]
pub(super) struct OperatorOrders {
    /// The daemon ends.
    pub(super) stopping: bool,
    /// The drains that withdraw it.
    pub(super) drained: Option<DrainedBy>,
    /// It will be withdrawn soon, by a drain that is prepared or by a stop.
    pub(super) leaving: bool,
    /// It has `min_announcers`, and it is not known that enough other members of the chain announce it.
    pub(super) needed: bool,
}

/// The vote of a check on whether a VIP is healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vote {
    Passes,
    Pending,
    /// It passes, and its slow answers make the VIP the last choice.
    Slow,
    Fails(OnFailure),
}

impl VipState {
    /// A VIP without facts. Outcomes of probes with a number below `since` are from an earlier time in which the host had it.
    pub(super) fn new(service: usize, of: &config::ServiceConfig, since: u64, now: Instant) -> Self {
        let check = |check: &config::CheckConfig| fresh(check, Verdict::Unknown, now).ignoring(since);
        let standing = Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor(of.device().to_owned()));
        VipState {
            service,
            presence: Presence::Unknown,
            checks: of.checks.iter().map(check).collect(),
            damping: Damping::default(),
            rechecks: 0,
            deadline: None,
            own: standing.clone(),
            standing,
            since: now,
            weight: None,
            stored: None,
        }
    }

    /// Starts its checks again, without a verdict.
    pub(super) fn renew(&mut self, of: &config::ServiceConfig, since: u64, now: Instant) {
        self.checks = VipState::new(self.service, of, since, now).checks;
    }

    /// The same VIP under another configuration. In another VRF it starts without facts: neither was it looked for on the device of that
    /// VRF, nor has a probe been made there.
    pub(super) fn moved(
        self,
        old: &[config::ServiceConfig],
        index: usize,
        service: &config::ServiceConfig,
        since: u64,
        now: Instant,
    ) -> Self {
        if old[self.service].vrf != service.vrf {
            let VipState { service, presence, checks, damping, stored, .. } =
                VipState::new(index, service, since, now);
            // It stays known what was announced, so that the withdraw is reported.
            return VipState { service, presence, checks, damping, stored, ..self };
        }
        let verdict = self.verdict(&old[self.service]);
        let mut kept: Vec<(usize, &config::CheckConfig, Check)> = old[self.service]
            .checks
            .iter()
            .zip(self.checks)
            .enumerate()
            .map(|(place, (known, check))| (place, known, check))
            .collect();
        let checks = service.checks.iter().enumerate().map(|(index, check)| {
            // The verdict is kept if the request is the same and only the pace or the effect differs.
            let asks_the_same = |known: &config::CheckConfig| {
                let same = (&known.probe, &known.target) == (&check.probe, &check.target);
                same && !service.checks.contains(known)
            };
            if let Some(place) = kept.iter().position(|(_, known, _)| *known == check) {
                let (before, _, known) = kept.swap_remove(place);
                // At the same index, it continues with its running probes.
                return if before == index { known } else { known.ignoring(since) };
            }
            match kept.iter().position(|(_, known, _)| asks_the_same(known)) {
                Some(place) => {
                    let known = kept.swap_remove(place).2.counting(check.rise, check.fall, now);
                    known.slow_after(check.slow.map(|slow| slow.after))
                }
                None => fresh(check, verdict, now),
            }
            .ignoring(since)
        });
        let checks = checks.collect();
        VipState { service: index, checks, ..self }
    }

    /// Whether the facts for the next process differ from those that were last stored. Call it after each decision.
    pub(super) fn is_unstored(&mut self) -> bool {
        let (damping, advertised) = (self.damping.fingerprint(), self.own.is_advertised());
        let weight = self.weight;
        let same = |stored: &VipFingerprint| {
            (stored.damping, stored.advertised, stored.weight) == (damping, advertised, weight)
                && stored.checks.iter().copied().eq(self.checks.iter().map(Check::found))
        };
        if self.stored.as_ref().is_some_and(same) {
            return false;
        }
        let checks = self.checks.iter().map(Check::found).collect();
        self.stored = Some(VipFingerprint { checks, damping, advertised, weight });
        true
    }

    /// The verdict of all checks together, with which a new check of the VIP starts.
    pub(super) fn verdict(&self, service: &config::ServiceConfig) -> Verdict {
        match self.health(service) {
            Ok(_) => Verdict::Up,
            Err(NotAnnouncedReason::NoVerdict(_)) => Verdict::Unknown,
            Err(_) => Verdict::Down,
        }
    }

    /// Removes the verdicts whose leases have expired at `now`; returns their number.
    pub(super) fn lapse(&mut self, service: &config::ServiceConfig, now: Instant) -> u64 {
        let over = (self.checks.iter_mut().zip(&service.checks))
            .filter(|(check, config)| check.ends(lease(config)) <= now);
        over.map(|(check, config)| u64::from(check.lapse(lease(config)))).sum()
    }

    /// The process was stopped for this long, until `now`.
    pub(super) fn excuse(&mut self, stood_still: Duration, now: Instant) {
        self.checks.iter_mut().for_each(|check| check.excuse(now));
        self.damping.excuse(stood_still);
    }

    /// Computes its standing from its checks and waits at `now`.
    pub(super) fn judge(
        &mut self,
        orders: OperatorOrders,
        service: &config::ServiceConfig,
        now: Instant,
    ) -> Standing {
        let fit = self.fitness(service);
        let policy = Policy { delay: service.announce_delay, flaps: service.flap_damping };
        let wait = self.damping.observe(fit.is_ok(), policy, now);
        let OperatorOrders { stopping, drained, leaving, needed } = orders;
        let kept = if needed { self.kept(service, &fit, wait) } else { None };
        let last = |why: Option<LastChoiceReason>| why.or(leaving.then_some(LastChoiceReason::Leaving));
        if stopping {
            Standing::NotAnnounced(NotAnnouncedReason::Stopping)
        } else if let Some(by) = drained {
            Standing::Drained(by)
        } else if let Some(evidence) = kept {
            Standing::LastChoice(LastChoiceReason::TooFewOthers(evidence))
        } else {
            match (fit, wait) {
                (Err(reason), _) => Standing::NotAnnounced(reason),
                (Ok(_), Some(wait @ DampingWait::Delay(_))) => {
                    Standing::NotAnnounced(NotAnnouncedReason::Waiting(wait))
                }
                (Ok(why), Some(wait @ DampingWait::Flapping(flapping))) => match service.flap_damping {
                    FlapDamping::Withhold => Standing::NotAnnounced(NotAnnouncedReason::Waiting(wait)),
                    // All hosts may flap because of a shared backend, so the VIP has to stay reachable.
                    FlapDamping::Deprefer => {
                        Standing::LastChoice(why.unwrap_or(LastChoiceReason::Flapping(flapping)))
                    }
                    FlapDamping::Off => last(why).map_or(Standing::Announced, Standing::LastChoice),
                },
                (Ok(why), None) => last(why).map_or(Standing::Announced, Standing::LastChoice),
            }
        }
    }

    /// When it has to be decided again without a new fact.
    pub(super) fn due(&self, service: &config::ServiceConfig) -> Option<Instant> {
        let leases = (self.checks.iter().zip(&service.checks))
            .filter(|(check, _)| check.verdict() == Verdict::Up)
            .map(|(check, config)| check.ends(lease(config)));
        leases.chain(self.damping.deadline()).min()
    }

    /// The evidence with which it stays the last choice, if it must not be withdrawn for failed probes: a server listens, and the VIP is on
    /// the host. When it is healthy again, it stays so while it waits to be announced.
    fn kept(
        &self,
        service: &config::ServiceConfig,
        fit: &Result<Option<LastChoiceReason>, NotAnnouncedReason>,
        wait: Option<DampingWait>,
    ) -> Option<Evidence> {
        let ports = || self.checks.iter().zip(&service.checks).filter(|(_, config)| config.port().is_some());
        let listens = ports().next().is_some() && !ports().any(|(check, _)| check.absent());
        let before = match &self.own {
            Standing::LastChoice(LastChoiceReason::TooFewOthers(evidence)) => Some(evidence),
            Standing::Announced
            | Standing::LastChoice(_)
            | Standing::Drained(_)
            | Standing::NotAnnounced(_) => None,
        };
        match fit {
            Err(NotAnnouncedReason::Unhealthy(evidence)) if listens => Some(evidence.clone()),
            Ok(_) if wait.is_some() => before.cloned(),
            Ok(_) | Err(_) => None,
        }
    }

    /// Whether this host allows to announce it, and why it would be the last choice.
    fn fitness(
        &self,
        service: &config::ServiceConfig,
    ) -> Result<Option<LastChoiceReason>, NotAnnouncedReason> {
        match &self.presence {
            Presence::Present => {}
            Presence::Unknown => {
                return Err(NotAnnouncedReason::NotLookedFor(service.device().to_owned()));
            }
            Presence::Missing(why) => return Err(NotAnnouncedReason::VipMissing(why.clone())),
            Presence::DeviceDown(why) => return Err(NotAnnouncedReason::DeviceDown(why.clone())),
        }
        let health = self.health(service)?;
        Ok(health.or(service.backup.then_some(LastChoiceReason::Backup)))
    }

    /// The mildest effect that is enough for the checks that do not pass.
    fn health(
        &self,
        service: &config::ServiceConfig,
    ) -> Result<Option<LastChoiceReason>, NotAnnouncedReason> {
        let votes: Vec<Vote> = (self.checks.iter().zip(&service.checks))
            .map(|(check, config)| vote(check, config, service))
            .collect();
        let enough = |counts: &dyn Fn(Vote) -> bool| {
            votes.iter().filter(|vote| counts(**vote)).count() >= service.require.of(votes.len())
        };
        let first = |wanted: &dyn Fn(Vote) -> bool| {
            let index = votes.iter().position(|vote| wanted(*vote)).unwrap_or_default();
            evidence(self, service, index)
        };
        let warned = |vote| matches!(vote, Vote::Passes | Vote::Fails(OnFailure::Warn));
        let deprefers = |vote: &Vote| matches!(vote, Vote::Slow | Vote::Fails(OnFailure::Deprefer));
        let last_choice = |vote| warned(vote) || deprefers(&vote);
        let hoped = |vote| last_choice(vote) || vote == Vote::Pending;
        if enough(&warned) {
            Ok(None)
        } else if enough(&last_choice) {
            let fails = |vote| vote == Vote::Fails(OnFailure::Deprefer);
            Ok(Some(if votes.iter().any(|vote| fails(*vote)) {
                LastChoiceReason::Unhealthy(first(&fails))
            } else {
                let index = votes.iter().position(|vote| *vote == Vote::Slow).unwrap_or_default();
                LastChoiceReason::Slow(slowness(self, service, index))
            }))
        } else if enough(&hoped) {
            Err(NotAnnouncedReason::NoVerdict(first(&|vote| vote == Vote::Pending)))
        } else {
            Err(NotAnnouncedReason::Unhealthy(first(&|vote| vote == Vote::Fails(OnFailure::Withdraw))))
        }
    }

    /// Whether it has a verdict that no longer depends on checks without a first result.
    pub(super) fn is_decided(&self) -> bool {
        match &self.own {
            Standing::Announced | Standing::LastChoice(_) | Standing::Drained(_) => true,
            Standing::NotAnnounced(reason) => match reason {
                NotAnnouncedReason::NotLookedFor(_)
                | NotAnnouncedReason::NoVerdict(_)
                | NotAnnouncedReason::Waiting(DampingWait::Delay(_)) => false,
                NotAnnouncedReason::Stopping
                | NotAnnouncedReason::VipMissing(_)
                | NotAnnouncedReason::DeviceDown(_) => true,
                NotAnnouncedReason::Unhealthy(_) | NotAnnouncedReason::Sibling(_) => true,
                NotAnnouncedReason::Waiting(DampingWait::Flapping(_)) => true,
            },
        }
    }
}

/// A check of which no probe has ended.
fn fresh(config: &config::CheckConfig, verdict: Verdict, now: Instant) -> Check {
    let check = Check::new(config.rise, config.fall, verdict, now).starting(config.start_period, now);
    check.slow_after(config.slow.map(|slow| slow.after))
}

/// A check with `warn` delays nothing. If nothing listens, the effect is always a withdraw.
fn vote(check: &Check, config: &config::CheckConfig, service: &config::ServiceConfig) -> Vote {
    let on_failure = config.on_failure(service);
    match check.verdict() {
        Verdict::Up => match config.slow.filter(|_| check.is_slow()).map(|slow| slow.effect) {
            Some(OnSlow::Deprefer) => Vote::Slow,
            Some(OnSlow::Warn) | None => Vote::Passes,
        },
        Verdict::Unknown if on_failure == OnFailure::Warn && !lapsed(check) => Vote::Fails(OnFailure::Warn),
        Verdict::Unknown => Vote::Pending,
        Verdict::Down if config.port().is_some() && check.absent() => Vote::Fails(OnFailure::Withdraw),
        Verdict::Down => Vote::Fails(effect(check, config, service)),
    }
}

/// The effect of the failures of a check that is down.
fn effect(check: &Check, config: &config::CheckConfig, service: &config::ServiceConfig) -> OnFailure {
    if check.is_timed_out() { config.on_timeout(service) } else { config.on_failure(service) }
}

/// The warnings of a check, while the VIP is `advertised` or not: a failure or slow answers that do not change the route, and the warning
/// of a pass.
pub(super) fn warnings(
    check: &Check,
    config: &config::CheckConfig,
    service: &config::ServiceConfig,
    advertised: bool,
) -> Vec<String> {
    let fails = check.verdict() == Verdict::Down && effect(check, config, service) == OnFailure::Warn;
    let slow = check.is_slow() && config.slow.is_some_and(|slow| slow.effect == OnSlow::Warn);
    let failure = (fails && advertised).then(|| check.evidence().to_string());
    let lateness = check.slowness().filter(|_| slow).map(|seen| seen.to_string());
    let flaw = match check.last() {
        Some(Outcome::Pass { warning: Some(warning), .. }) if failure.is_none() => Some(warning.to_string()),
        Some(Outcome::Pass { .. } | Outcome::Fail { .. } | Outcome::Skipped(_)) | None => None,
    };
    [failure, lateness, flaw].into_iter().flatten().collect()
}

fn lapsed(check: &Check) -> bool {
    matches!(check.streak(), Streak::Lapsed(_) | Streak::Unconfirmed)
}

/// The evidence of a check of a VIP, with the name of the check if there are several.
pub(super) fn evidence(vip: &VipState, service: &config::ServiceConfig, index: usize) -> Evidence {
    let (Some(check), Some(config)) = (vip.checks.get(index), service.checks.get(index)) else {
        return Evidence { check: None, streak: Streak::None, last: None };
    };
    let name = (service.checks.len() > 1).then(|| config.name.clone());
    Evidence { check: name, ..check.evidence() }
}

/// The same for a check whose answers are slow.
fn slowness(vip: &VipState, service: &config::ServiceConfig, index: usize) -> Evidence {
    let evidence = evidence(vip, service, index);
    let seen = vip.checks.get(index).and_then(Check::slowness);
    seen.map_or(evidence.clone(), |seen| Evidence { check: evidence.check, ..seen })
}

/// How long a verdict holds without news from the probe loop.
pub(super) fn lease(config: &config::CheckConfig) -> Duration {
    (config.interval * 3 + config.timeout).max(SHORTEST_LEASE)
}
