//! One VIP: what is known of it, and the standing that it deserves by itself.
//!
//! Pure.

use std::time::{Duration, Instant};

use super::standing::{LastChoiceReason, NotAnnouncedReason, Standing};
use crate::config::{self, FlapDamping, OnFailure};
use crate::damping::{Damping, DampingWait, Policy};
use crate::drain::Drain;
use crate::health::check::{Check, Evidence, Streak, Verdict};
use crate::vip::Presence;

/// The shortest lease.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

/// What is known of one VIP.
#[derive(Debug, Clone)]
pub(super) struct VipState {
    /// Its service's place in the configuration.
    pub(super) service: usize,
    pub(super) presence: Presence,
    pub(super) checks: Vec<Check>,
    pub(super) damping: Damping,
    /// How often its checks were asked to probe at once.
    pub(super) rechecks: u64,
    /// When it is to be looked at again, as the director has it; never too late, at times too early.
    pub(super) deadline: Option<Instant>,
    /// What it deserves by itself.
    pub(super) own: Standing,
    /// What it gets, its siblings in the prefix being what they are.
    pub(super) standing: Standing,
    pub(super) since: Instant,
}

/// What a check says to the question whether a VIP is healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vote {
    Passes,
    Pending,
    Fails(OnFailure),
}

impl VipState {
    /// Of which nothing is known. Outcomes of probes numbered below `since` are of an earlier time in which the host had it.
    pub(super) fn new(service: usize, of: &config::ServiceConfig, since: u64, now: Instant) -> Self {
        let check = |check: &config::CheckConfig| {
            Check::new(check.rise, check.fall, Verdict::Unknown, now).ignoring(since)
        };
        VipState {
            service,
            presence: Presence::Unknown,
            checks: of.checks.iter().map(check).collect(),
            damping: Damping::default(),
            rechecks: 0,
            deadline: None,
            own: Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor),
            standing: Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor),
            since: now,
        }
    }

    /// The same VIP under another configuration.
    pub(super) fn moved(
        self,
        old: &[config::ServiceConfig],
        index: usize,
        service: &config::ServiceConfig,
        since: u64,
        now: Instant,
    ) -> Self {
        let verdict = self.verdict(&old[self.service]);
        let mut kept: Vec<(usize, &config::CheckConfig, Check)> = old[self.service]
            .checks
            .iter()
            .zip(self.checks)
            .enumerate()
            .map(|(place, (known, check))| (place, known, check))
            .collect();
        let checks = service.checks.iter().enumerate().map(|(index, check)| {
            // Of one that asks the same, but at another pace or to another end, the verdict is known.
            let asks_the_same = |known: &config::CheckConfig| {
                let same = (&known.probe, known.target) == (&check.probe, check.target);
                same && !service.checks.contains(known)
            };
            if let Some(place) = kept.iter().position(|(_, known, _)| *known == check) {
                let (before, _, known) = kept.swap_remove(place);
                // In its place it goes on undisturbed, with the probes that are under way.
                return if before == index { known } else { known.ignoring(since) };
            }
            match kept.iter().position(|(_, known, _)| asks_the_same(known)) {
                Some(place) => kept.swap_remove(place).2.counting(check.rise, check.fall, now),
                None => Check::new(check.rise, check.fall, verdict, now),
            }
            .ignoring(since)
        });
        let checks = checks.collect();
        VipState { service: index, checks, ..self }
    }

    /// What all checks together say: what a check that is new to the VIP starts from.
    fn verdict(&self, service: &config::ServiceConfig) -> Verdict {
        match self.health(service) {
            Ok(_) => Verdict::Up,
            Err(NotAnnouncedReason::NoVerdict(_)) => Verdict::Unknown,
            Err(_) => Verdict::Down,
        }
    }

    /// Takes back the verdicts whose leases are over `now`; how many there were.
    pub(super) fn lapse(&mut self, service: &config::ServiceConfig, now: Instant) -> u64 {
        let over = (self.checks.iter_mut().zip(&service.checks))
            .filter(|(check, config)| check.renewed() + lease(config) <= now);
        over.map(|(check, config)| u64::from(check.lapse(lease(config)))).sum()
    }

    /// The process stood still for this long, until `now`.
    pub(super) fn excuse(&mut self, stood_still: Duration, now: Instant) {
        self.checks.iter_mut().for_each(|check| check.excuse(now));
        self.damping.excuse(stood_still);
    }

    /// What it deserves, its checks and waits being what they are `now`.
    pub(super) fn judge(
        &mut self,
        stopping: bool,
        drain: Option<&Drain>,
        service: &config::ServiceConfig,
        now: Instant,
    ) -> Standing {
        let fit = self.fitness(service);
        let policy = Policy { delay: service.announce_delay, flaps: service.flap_damping };
        let wait = self.damping.observe(fit.is_ok(), policy, now);
        if stopping {
            Standing::NotAnnounced(NotAnnouncedReason::Stopping)
        } else if let Some(drain) = drain {
            Standing::Drained(drain.clone())
        } else {
            match (fit, wait) {
                (Err(reason), _) => Standing::NotAnnounced(reason),
                (Ok(_), Some(wait @ DampingWait::Delay(_))) => {
                    Standing::NotAnnounced(NotAnnouncedReason::Waiting(wait))
                }
                (Ok(why), Some(wait @ DampingWait::Flapping(flapping))) => match service.flap_damping {
                    FlapDamping::Withhold => Standing::NotAnnounced(NotAnnouncedReason::Waiting(wait)),
                    // Every host may be one that flaps, for what they share: the VIP has to stay reachable.
                    FlapDamping::Deprefer => {
                        Standing::LastChoice(why.unwrap_or(LastChoiceReason::Flapping(flapping)))
                    }
                    FlapDamping::Off => why.map_or(Standing::Announced, Standing::LastChoice),
                },
                (Ok(why), None) => why.map_or(Standing::Announced, Standing::LastChoice),
            }
        }
    }

    /// When it has to be judged again though nothing is heard of it.
    pub(super) fn due(&self, service: &config::ServiceConfig) -> Option<Instant> {
        let leases = (self.checks.iter().zip(&service.checks))
            .filter(|(check, _)| check.verdict() == Verdict::Up)
            .map(|(check, config)| check.renewed() + lease(config));
        leases.chain(self.damping.deadline()).min()
    }

    /// Whether it can be announced, as far as the host goes, and why not as one among equals.
    fn fitness(
        &self,
        service: &config::ServiceConfig,
    ) -> Result<Option<LastChoiceReason>, NotAnnouncedReason> {
        match &self.presence {
            Presence::Present => {}
            Presence::Unknown => return Err(NotAnnouncedReason::NotLookedFor),
            Presence::Missing(why) => return Err(NotAnnouncedReason::VipMissing(why.clone())),
            Presence::LoDown(why) => return Err(NotAnnouncedReason::LoDown(why.clone())),
        }
        let health = self.health(service)?;
        Ok(health.or(service.backup.then_some(LastChoiceReason::Backup)))
    }

    /// The mildest thing that makes up for the checks that do not pass.
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
        let last_choice = |vote| warned(vote) || vote == Vote::Fails(OnFailure::Deprefer);
        let hoped = |vote| last_choice(vote) || vote == Vote::Pending;
        if enough(&warned) {
            Ok(None)
        } else if enough(&last_choice) {
            Ok(Some(LastChoiceReason::Unhealthy(first(&|vote| vote == Vote::Fails(OnFailure::Deprefer)))))
        } else if enough(&hoped) {
            Err(NotAnnouncedReason::NoVerdict(first(&|vote| vote == Vote::Pending)))
        } else {
            Err(NotAnnouncedReason::Unhealthy(first(&|vote| vote == Vote::Fails(OnFailure::Withdraw))))
        }
    }

    /// A verdict is there when it no longer depends on what is still to be seen for the first time.
    pub(super) fn is_decided(&self) -> bool {
        match &self.own {
            Standing::Announced | Standing::LastChoice(_) | Standing::Drained(_) => true,
            Standing::NotAnnounced(reason) => match reason {
                NotAnnouncedReason::NotLookedFor
                | NotAnnouncedReason::NoVerdict(_)
                | NotAnnouncedReason::Waiting(DampingWait::Delay(_)) => false,
                NotAnnouncedReason::Stopping
                | NotAnnouncedReason::VipMissing(_)
                | NotAnnouncedReason::LoDown(_) => true,
                NotAnnouncedReason::Unhealthy(_) | NotAnnouncedReason::Sibling(_) => true,
                NotAnnouncedReason::Waiting(DampingWait::Flapping(_)) => true,
            },
        }
    }
}

/// A check whose failure is only warned of holds nothing up; one that nothing listens for is never mild.
fn vote(check: &Check, config: &config::CheckConfig, service: &config::ServiceConfig) -> Vote {
    let on_failure = config.on_failure.unwrap_or(service.on_failure);
    match check.verdict() {
        Verdict::Up => Vote::Passes,
        Verdict::Unknown if on_failure == OnFailure::Warn && !lapsed(check) => Vote::Fails(OnFailure::Warn),
        Verdict::Unknown => Vote::Pending,
        Verdict::Down if config.port().is_some() && check.absent() => Vote::Fails(OnFailure::Withdraw),
        Verdict::Down => Vote::Fails(on_failure),
    }
}

fn lapsed(check: &Check) -> bool {
    matches!(check.streak(), Streak::Lapsed(_))
}

/// What a check of a VIP saw, with its name where there are several.
pub(super) fn evidence(vip: &VipState, service: &config::ServiceConfig, index: usize) -> Evidence {
    let (Some(check), Some(config)) = (vip.checks.get(index), service.checks.get(index)) else {
        return Evidence { check: None, streak: Streak::None, last: None };
    };
    let name = (service.checks.len() > 1).then(|| config.name.clone());
    Evidence { check: name, ..check.evidence() }
}

/// How long a verdict holds without news from the probe loop.
pub(super) fn lease(config: &config::CheckConfig) -> Duration {
    (config.interval * 3 + config.timeout).max(SHORTEST_LEASE)
}
