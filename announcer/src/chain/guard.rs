//! The guard of capacity: a VIP is not withdrawn by choice while too few other members would announce it (`min_announcers`).
//!
//! Pure. Each step sees one snapshot of what the members have said, and decides on everything: our own question, our answers, and what our
//! heartbeats say. So an answer and the intent beside it are never contradictory.
//!
//! ```text
//! Guard::ask ──> Asked ──┬── enough members have accepted ──> CarriedOut ──> our own VIP states show it
//!                        ├── 3 heartbeats have passed: decided with what was heard
//!                        └── refused, or a member with a lower address asks for the same VIPs
//! ```
//!
//! It is no consensus. It holds because `Accepted` is a promise: from then on the member counts our VIPs as withdrawn, and counts on us no
//! longer in a question of its own. A member that has not answered is not counted. Of all members that have decided, the one that asked
//! last counts only members that will stay.

mod count;
mod few;
mod said;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

pub use count::{CapacityRefusal, NotCounted, Ruling, enough_others, may_withdraw, would_withdraw};
pub use few::{FewAnnouncers, few_announcers};
pub use said::SaidVips;

use super::heartbeat::{
    Intent, IntentAnswer, IntentKind, IntentPhase, IntentScope, IntentVerdict, MemberPresence,
};
use super::member::MemberState;
use crate::config::{Config, ServiceConfig};
use crate::model::ServiceName;

/// For how many intervals a member that was not heard still counts as heard, and for how many of ours answers are waited for.
pub const WAIT_INTERVALS: u32 = 3;
/// For how many of our intervals an intent that is carried out is said at least, so that each member hears it.
const CARRIED_INTERVALS: u32 = 4;

/// How many members a VIP needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapacityNeed {
    /// Its service.
    pub service: ServiceName,
    /// `min_announcers`.
    pub least: u32,
}

/// What is known of one other member.
#[derive(Debug, Clone)]
pub struct GuardMember {
    /// Whether it lives.
    pub state: MemberState,
    /// When its last heartbeat counted.
    pub last_heartbeat: Option<Instant>,
    /// The interval of its heartbeats.
    pub interval: Duration,
    /// Whether it stays.
    pub presence: MemberPresence,
    /// The states of its VIPs.
    pub vips: SaidVips,
    /// Its answer to our intent.
    pub answer: Option<IntentAnswer>,
}

impl GuardMember {
    /// Whether a heartbeat of it has counted within its last 3 intervals.
    pub fn is_heard(&self, now: Instant) -> bool {
        match self.state {
            MemberState::Alive | MemberState::Asked => true,
            MemberState::Silent => {
                self.last_heartbeat.is_some_and(|at| now < at + self.interval * WAIT_INTERVALS)
            }
            MemberState::Unknown | MemberState::Dead | MemberState::Left => false,
        }
    }
}

/// The members that are heard or not, by their addresses.
pub type GuardMembers = BTreeMap<IpAddr, GuardMember>;

/// A question that waits for answers.
#[derive(Debug, Clone)]
struct Asking {
    kind: IntentKind,
    number: NonZeroU32,
    needs: BTreeMap<IpAddr, CapacityNeed>,
    until: Instant,
}

/// VIPs that are being withdrawn, because the members have accepted it.
#[derive(Debug, Clone)]
struct Carried {
    kind: IntentKind,
    number: NonZeroU32,
    vips: BTreeSet<IpAddr>,
    least: Instant,
    /// When it ends although VIPs are still announced; `None`: whoever has asked has not acted yet.
    ends: Option<Instant>,
}

/// What follows from a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardStep {
    /// What our heartbeats say.
    pub intent: Option<Intent>,
    /// Our answers to the intents of the others.
    pub answers: BTreeMap<IpAddr, IntentAnswer>,
    /// The answer to whoever has asked; `None`: nobody has, or it is not known yet. After `Ok`, [`Guard::carried_out`] is called.
    pub decided: Option<Result<(), CapacityRefusal>>,
    /// When the next step is due without news.
    pub due: Option<Instant>,
}

/// Our intents.
#[derive(Debug, Clone)]
pub struct Guard {
    number: NonZeroU32,
    asking: Option<Asking>,
    carried: Vec<Carried>,
}

impl Guard {
    /// Nothing is intended. `first` is random: an answer to the former process must not be taken for one to this process.
    pub fn new(first: NonZeroU32) -> Guard {
        Guard { number: first, asking: None, carried: Vec::new() }
    }

    /// Whether a question waits for its answers. One is asked at a time.
    pub fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// Asks whether these VIPs, which are announced here, may be withdrawn. `interval`: of our heartbeats.
    pub fn ask(
        &mut self,
        kind: IntentKind,
        needs: BTreeMap<IpAddr, CapacityNeed>,
        interval: Duration,
        now: Instant,
    ) {
        self.number = NonZeroU32::new(self.number.get().wrapping_add(1)).unwrap_or(NonZeroU32::MIN);
        self.asking =
            Some(Asking { kind, number: self.number, needs, until: now + interval * WAIT_INTERVALS });
    }

    /// Whoever has asked last has acted, or has failed to. The VIPs count as withdrawn until they are, at most `hold` from now on.
    pub fn carried_out(&mut self, hold: Duration, now: Instant) {
        for carried in self.carried.iter_mut().filter(|carried| carried.ends.is_none()) {
            carried.ends = Some(now + hold);
        }
    }

    /// Decides. `own` is our address, `advertised` tells of each of our VIPs whether it is announced, also as the last choice.
    pub fn step(
        &mut self,
        own: IpAddr,
        members: &GuardMembers,
        advertised: impl Fn(IpAddr) -> bool,
        interval: Duration,
        now: Instant,
    ) -> GuardStep {
        self.carried.retain(|carried| !is_over(carried, &advertised, now));
        let decided = self.decide(own, members, now);
        if let (Some(Ok(())), Some(Asking { kind, number, needs, .. })) =
            (&decided, self.asking.take_if(|_| decided.is_some()))
        {
            let vips = needs.into_keys().map(|vip| vip.to_canonical()).collect();
            let least = now + interval * CARRIED_INTERVALS;
            self.carried.push(Carried { kind, number, vips, least, ends: None });
        }
        let intent = self.intent();
        let answers =
            members.iter().filter(|(_, member)| member.is_heard(now)).filter_map(|(address, member)| {
                Some((*address, answer_to(own, intent.as_ref(), *address, member.vips.intent()?)))
            });
        let waits = self.carried.iter().filter_map(|carried| Some(carried.least.max(carried.ends?)));
        let due = waits.chain(self.asking.as_ref().map(|asking| asking.until)).min();
        GuardStep { answers: answers.collect(), intent, decided, due }
    }

    fn decide(
        &self,
        own: IpAddr,
        members: &GuardMembers,
        now: Instant,
    ) -> Option<Result<(), CapacityRefusal>> {
        let Asking { number, needs, until, .. } = self.asking.as_ref()?;
        let scope = self.intent()?.scope;
        let first = members.iter().find_map(|(address, member)| {
            let theirs = member.vips.intent().filter(|_| member.is_heard(now))?;
            (*address < own && theirs.phase == IntentPhase::Asked && theirs.scope.overlaps(&scope))
                .then_some(CapacityRefusal::OtherComesFirst { member: *address, kind: Some(theirs.kind) })
        });
        if let Some(refusal) = first {
            return Some(Err(refusal));
        }
        match may_withdraw(needs, *number, *until, members, now) {
            Ruling::Wait(_) => None,
            Ruling::Proceed => Some(Ok(())),
            Ruling::Refused(refusal) => Some(Err(refusal)),
        }
    }

    /// What our heartbeats say. While something is carried out, a new question covers it too.
    fn intent(&self) -> Option<Intent> {
        let carried = self.carried.iter().flat_map(|carried| carried.vips.iter().copied());
        match (&self.asking, self.carried.last()) {
            (Some(Asking { kind, number, needs, .. }), _) => Some(Intent {
                kind: *kind,
                phase: IntentPhase::Asked,
                number: *number,
                scope: IntentScope::of(needs.keys().copied().chain(carried)),
            }),
            (None, Some(last)) => Some(Intent {
                kind: last.kind,
                phase: IntentPhase::CarriedOut,
                number: last.number,
                scope: IntentScope::of(carried),
            }),
            (None, None) => None,
        }
    }
}

/// Whether an intent that was carried out need not be said any longer.
fn is_over(carried: &Carried, advertised: &impl Fn(IpAddr) -> bool, now: Instant) -> bool {
    let shown = || !carried.vips.iter().any(|vip| advertised(*vip));
    now >= carried.least && carried.ends.is_some_and(|ends| now >= ends || shown())
}

/// What we answer to the intent of a member. `ours`: our own intent after it was decided whether it is given up.
pub fn answer_to(own: IpAddr, ours: Option<&Intent>, member: IpAddr, theirs: &Intent) -> IntentAnswer {
    let comes_first = |ours: &Intent| {
        let both = ours.phase == IntentPhase::Asked && theirs.phase == IntentPhase::Asked;
        both && own < member && ours.scope.overlaps(&theirs.scope)
    };
    let verdict =
        if ours.is_some_and(comes_first) { IntentVerdict::Refused } else { IntentVerdict::Accepted };
    IntentAnswer { number: theirs.number, verdict }
}

/// What each of these VIPs needs. VIPs without `min_announcers` need nothing; without `[chain]` none does.
pub fn needs(config: &Config, vips: &BTreeSet<IpAddr>) -> BTreeMap<IpAddr, CapacityNeed> {
    let all = config.vips().filter(|(vip, _)| config.chain.is_some() && vips.contains(vip));
    let need = |(vip, service): (IpAddr, &ServiceConfig)| {
        Some((vip, CapacityNeed { service: service.name.clone(), least: service.min_announcers? }))
    };
    all.filter_map(need).collect()
}

/// These VIPs, and each VIP in the same announced prefix: they are withdrawn together.
pub fn withdrawn_together(config: &Config, vips: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let withdrawn = config.vips().filter(|(vip, _)| vips.contains(vip));
    let prefixes: BTreeSet<_> = withdrawn.map(|(vip, service)| service.prefix_of(vip)).collect();
    let all = config.vips().filter(|(vip, service)| prefixes.contains(&service.prefix_of(*vip)));
    all.map(|(vip, _)| vip).collect()
}
