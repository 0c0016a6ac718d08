//! When a host that starts may announce, and when a host that stops may go.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{MemberObservation, Own, Ring};
use crate::chain::heartbeat::{Facts, Families, MemberPresence};
use crate::chain::member::{MemberState, Said};
use crate::model::Family;

/// For how many intervals a host says that it has left, at least, also to a daemon that has begun meanwhile: if of three heartbeats one
/// arrives, every member has heard it then.
const LEFT_LEAST: u32 = 4;
/// And at most, while others that are heard still have it in their rings. A daemon that began within 3 intervals of that keeps the rules of
/// the former one for 8 intervals, then installs its own, and says so in the third heartbeat.
const LEFT_MOST: u32 = 15;

/// How long before its deadline a host says that its rules are installed in any case, so that the others can take it into their rings until
/// it announces.
const SAID_BEFORE: Duration = Duration::from_secs(1);

/// What a host that starts waits for before it announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartWait {
    /// It may announce: every member that lives has this host in its ring, and is in the ring of this host.
    Ready,
    /// It waits.
    Waiting(Missing),
    /// It may announce, because the time is over.
    Late(Missing),
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missing {
    /// Whether our own rules are not installed.
    pub own_rules: bool,
    /// The members that were not heard yet, or that are not in our ring, or do not have us in theirs.
    pub members: Vec<IpAddr>,
}

/// Whether a starting host may announce. It does not wait for a member that is not in the ring because the lists differ. Nor does it wait
/// for a removed member: that member skips us, because we told it that we have left. `installed`: the ring in the kernel; `None`: no rules
/// are installed. `deadline`: after that it announces in any case.
pub fn start_wait(
    own: &Own,
    installed: Option<&Ring>,
    others: &BTreeMap<IpAddr, MemberObservation>,
    now: Instant,
    deadline: Instant,
) -> StartWait {
    if own.switched_off || own.wanted == Families::NONE {
        return StartWait::Ready;
    }
    let waits = |(member, observed): (&IpAddr, &MemberObservation)| {
        let ours = installed.map_or(Families::NONE, |ring| ring.has(*member));
        let joins = observed.added || observed.removed || joined(own, ours, observed);
        (observed.awaited || !joins).then_some(*member)
    };
    let missing =
        Missing { own_rules: installed.is_none(), members: others.iter().filter_map(waits).collect() };
    if missing == Missing::default() {
        StartWait::Ready
    } else if now >= deadline {
        StartWait::Late(missing)
    } else {
        StartWait::Waiting(missing)
    }
}

/// Whether every member was heard, or has had its time to be heard. Before that a daemon that starts replaces no rules: those that a
/// former process has left are better than a ring without the others. One that a reload has added is in no ring before it is heard, so it
/// is not waited for: meanwhile another member may die.
pub fn settled(others: &BTreeMap<IpAddr, MemberObservation>) -> bool {
    others.values().all(|observed| observed.added || !observed.awaited)
}

/// Whether a host whose rules were just installed may say so, after which the others take it into their rings. Its own ring must have
/// every member that is heard: a packet that skips a member does not reach what this member owns. A member that starts too has no rules
/// yet, and could announce at any moment without having heard us; it has to have said that it knows us, because from then on it waits
/// until both are in each other's rings. A silent one does not announce. Once said, it stays said. One second before the `deadline` of
/// [`start_wait`] it is said in any case. A daemon that finds the rules of a former process says so from its first heartbeat on.
pub fn may_join(
    own: &Own,
    installed: &Ring,
    others: &BTreeMap<IpAddr, MemberObservation>,
    now: Instant,
    deadline: Instant,
) -> bool {
    let complete = |(member, observed): (&IpAddr, &MemberObservation)| {
        let ours = installed.has(*member);
        let waits_for_us =
            observed.state == MemberState::Silent || observed.said.is_some_and(|said| said.about_us.known);
        let has_rules = |family| observed.said.is_some_and(|said| said.facts.rules.has(family));
        let done = |family| {
            !shared(own, observed, family) || if has_rules(family) { ours.has(family) } else { waits_for_us }
        };
        observed.added || observed.removed || done(Family::V4) && done(Family::V6)
    };
    now + SAID_BEFORE >= deadline || settled(others) && others.iter().all(complete)
}

/// Whether a member lives, and both forward packets of a family or will when their rules are installed.
fn shared(own: &Own, observed: &MemberObservation, family: Family) -> bool {
    observed.state.lives()
        && observed.said.is_some_and(|said| said.facts.presence != MemberPresence::Left)
        && both_forward(own, observed, family)
}

fn both_forward(own: &Own, observed: &MemberObservation, family: Family) -> bool {
    let Some(Said { facts, .. }) = &observed.said else { return false };
    own.wanted.has(family) && !facts.switched_off && facts.next_hops.of(family).is_some()
}

/// Whether a member and we are in each other's rings, as far as both forward. A member that starts at the same time is waited for too:
/// otherwise both could announce before they have each other in their rings. A silent one is waited for as well: its rules do not know us
/// before its daemon is back. And so is one that has just left: others may still forward to it, and its rules have to forward to us. A member
/// that left before it announced its rules was never in a ring, so we do not wait for it.
fn joined(own: &Own, in_our_ring: Families, observed: &MemberObservation) -> bool {
    let in_theirs = |family| observed.said.is_some_and(|said| said.about_us.in_ring.has(family));
    let done = |family| {
        if observed.lingers {
            let had_rules = observed.said.is_some_and(|said| said.facts.rules.has(family));
            !had_rules || !both_forward(own, observed, family) || in_theirs(family)
        } else {
            !shared(own, observed, family) || in_theirs(family) && in_our_ring.has(family)
        }
    };
    done(Family::V4) && done(Family::V6)
}

/// What the next daemon of this host has to know of a member, whose own daemon may be dead then; `None`: nothing. `presence`: ours.
///
/// The rules of every member that lives and forwards may forward to us, also if ours do not forward to it yet. If we have left, a member
/// need not wait for us before it leaves too: it is remembered as one without rules, which is in no ring, but a stop waits for it.
pub fn remembered(observed: &MemberObservation, presence: MemberPresence) -> Option<Said> {
    let said = observed.said.filter(|said| observed.state.lives() && !said.facts.switched_off)?;
    let rules = if presence == MemberPresence::Left { Families::NONE } else { said.facts.rules };
    Some(Said { facts: Facts { rules, ..said.facts }, ..said })
}

/// What a host that stops does about the chain. Its VIPs are withdrawn already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeavingStep {
    /// It stays in the rings, and says [`MemberPresence::Leaving`].
    Stay,
    /// It says [`MemberPresence::Left`]; its rules are still installed.
    SayLeft,
    /// It removes its rules and ends.
    RemoveRules,
}

/// The stop of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    /// Until when it waits for its flows.
    deadline: Instant,
    /// Since when it says that it has left.
    left: Option<Instant>,
    /// When a silent member had this host in its ring last. Its next daemon needs its time too.
    silent: Option<Instant>,
}

impl Leaving {
    /// A stop that begins. After `deadline` flows are no longer waited for.
    pub fn new(deadline: Instant) -> Self {
        Leaving { deadline, left: None, silent: None }
    }

    /// What is done now. `flows`: how many flows this host still has. `interval`: of our heartbeats.
    pub fn step(
        &mut self,
        flows: usize,
        others: &BTreeMap<IpAddr, MemberObservation>,
        interval: Duration,
        now: Instant,
    ) -> LeavingStep {
        if self.left.is_none() && (flows == 0 || now >= self.deadline) {
            self.left = Some(now);
        }
        match self.left {
            None => LeavingStep::Stay,
            Some(left) => {
                if in_rings(others, false) {
                    self.silent = Some(now);
                    return LeavingStep::SayLeft;
                }
                let from = self.silent.max(newest_daemon(others)).map_or(left, |at| at.max(left));
                let (least, most) = (from + interval * LEFT_LEAST, from + interval * LEFT_MOST);
                let done = now >= least && (now >= most || !in_rings(others, true));
                if done { LeavingStep::RemoveRules } else { LeavingStep::SayLeft }
            }
        }
    }

    /// What heartbeats say.
    pub fn presence(&self) -> MemberPresence {
        if self.left.is_some() { MemberPresence::Left } else { MemberPresence::Leaving }
    }
}

/// When the last daemon of a living member was heard first. It may know us from its former one, and has not heard yet that we have left.
fn newest_daemon(others: &BTreeMap<IpAddr, MemberObservation>) -> Option<Instant> {
    let living = others.values().filter(|observed| observed.state.lives());
    living.filter_map(|observed| observed.heard_since).max()
}

/// Whether a member that is heard, or one that is silent, has us in its ring. The rules of a silent one may go on forwarding to us, until
/// its daemon is back or 30 s have passed, whatever it said before the last change of its rules. One that has just left may still get packets, and then forwards them to us.
fn in_rings(others: &BTreeMap<IpAddr, MemberObservation>, heard: bool) -> bool {
    others.values().any(|observed| {
        let concerned = match observed.state {
            MemberState::Alive | MemberState::Asked => heard,
            MemberState::Silent => !heard,
            MemberState::Left => heard && observed.lingers,
            MemberState::Unknown | MemberState::Dead => false,
        };
        let forwards = |said: Said| match observed.state {
            MemberState::Silent => !said.facts.switched_off,
            MemberState::Unknown
            | MemberState::Alive
            | MemberState::Asked
            | MemberState::Dead
            | MemberState::Left => said.about_us.in_ring != Families::NONE,
        };
        concerned && observed.said.is_some_and(forwards)
    })
}
