//! When a host that starts may announce, and when a host that stops may go.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Observation, Own, Ring};
use crate::chain::heartbeat::{Families, Presence};
use crate::chain::member::{MemberState, Said};
use crate::model::Family;

/// For how many intervals a host says that it has left while others still have it in their rings.
const LEFT_INTERVALS: u32 = 10;

/// What a host that starts waits for before it announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartWait {
    /// It may announce: every member that is heard has this host in its ring, and is in the ring of this host.
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

/// Whether a host that starts may announce. `installed`: the ring in the kernel; `None`: no rules are installed. `deadline`: after that
/// it announces in any case.
pub fn start_wait(
    own: &Own,
    installed: Option<&Ring>,
    others: &BTreeMap<IpAddr, Observation>,
    now: Instant,
    deadline: Instant,
) -> StartWait {
    if own.switched_off || own.wanted == Families::NONE {
        return StartWait::Ready;
    }
    let waits = |(member, observed): (&IpAddr, &Observation)| {
        let ours = installed.map_or(Families::NONE, |ring| ring.has(*member));
        (observed.awaited || !joined(own, ours, observed)).then_some(*member)
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

/// Whether a member and we are in each other's rings, as far as both have rules. A member that is not heard cannot say so, and nobody
/// waits for it.
fn joined(own: &Own, in_our_ring: Families, observed: &Observation) -> bool {
    match observed.state {
        MemberState::Alive | MemberState::Asked => {}
        MemberState::Unknown | MemberState::Silent | MemberState::Dead | MemberState::Left => return true,
    }
    let Some(Said { facts, about_us }) = &observed.said else { return true };
    let both = |family: Family| {
        own.wanted.has(family)
            && facts.rules.has(family)
            && !facts.switched_off
            && facts.presence != Presence::Left
            && facts.next_hops.of(family).is_some()
    };
    let done = |family| !both(family) || about_us.in_ring.has(family) && in_our_ring.has(family);
    done(Family::V4) && done(Family::V6)
}

/// What a host that stops does about the chain. Its VIPs are withdrawn already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeavingStep {
    /// It stays in the rings, and says [`Presence::Leaving`].
    Stay,
    /// It says [`Presence::Left`]; its rules are still installed.
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
}

impl Leaving {
    /// A stop that begins. After `deadline` flows are no longer waited for.
    pub fn new(deadline: Instant) -> Self {
        Leaving { deadline, left: None }
    }

    /// What is done now. `flows`: how many flows this host still has. `interval`: of our heartbeats.
    pub fn step(
        &mut self,
        flows: usize,
        others: &BTreeMap<IpAddr, Observation>,
        interval: Duration,
        now: Instant,
    ) -> LeavingStep {
        if self.left.is_none() && (flows == 0 || now >= self.deadline) {
            self.left = Some(now);
        }
        match self.left {
            None => LeavingStep::Stay,
            Some(left) if in_rings(others) && now < left + interval * LEFT_INTERVALS => LeavingStep::SayLeft,
            Some(_) => LeavingStep::RemoveRules,
        }
    }

    /// What heartbeats say.
    pub fn presence(&self) -> Presence {
        if self.left.is_some() { Presence::Left } else { Presence::Leaving }
    }
}

/// Whether a member that is heard has us in its ring.
fn in_rings(others: &BTreeMap<IpAddr, Observation>) -> bool {
    others.values().any(|observed| {
        let heard = match observed.state {
            MemberState::Alive | MemberState::Asked => true,
            MemberState::Unknown | MemberState::Silent | MemberState::Dead | MemberState::Left => false,
        };
        heard && observed.said.is_some_and(|said| said.about_us.in_ring != Families::NONE)
    })
}
