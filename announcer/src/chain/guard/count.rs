//! How many members would announce a VIP, and the sentences that say why they are too few.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::{CapacityNeed, GuardMember, GuardMembers, WAIT_INTERVALS};
use crate::chain::heartbeat::{IntentKind, IntentPhase, IntentVerdict, MemberPresence, MemberVipState};
use crate::chain::member::MemberState;
use crate::model::ServiceName;

/// Whether VIPs may be withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// They may.
    Proceed,
    /// Members have not answered yet; the time until which they are waited for.
    Wait(Instant),
    /// They may not.
    Refused(CapacityRefusal),
}

/// Why a member is not counted as one that announces a VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotCounted {
    /// It is not heard.
    Unheard(MemberState),
    /// It stops.
    Leaving,
    /// It withdraws the VIP now.
    Intends(IntentKind),
    /// It has not answered in time.
    NoAnswer,
    /// It has said nothing about the VIP, or its state may have changed since.
    NotSaid,
    /// Its state.
    State(MemberVipState),
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotCounted::Unheard(MemberState::Unknown) => "not heard yet",
            NotCounted::Unheard(MemberState::Dead) => "dead",
            NotCounted::Unheard(MemberState::Left) => "has left",
            NotCounted::Unheard(MemberState::Alive | MemberState::Asked | MemberState::Silent) => {
                "its heartbeats have stopped"
            }
            NotCounted::Leaving => "stops",
            NotCounted::Intends(IntentKind::Drain) => "is being drained",
            NotCounted::Intends(IntentKind::Reload) => "reloads",
            NotCounted::Intends(IntentKind::Upgrade) => "is being upgraded",
            NotCounted::NoAnswer => "has not answered",
            NotCounted::NotSaid => "its state is not known",
            NotCounted::State(MemberVipState::Starting) => "starts",
            NotCounted::State(MemberVipState::Drained) => "drained",
            NotCounted::State(MemberVipState::LastChoice) => "last choice",
            NotCounted::State(MemberVipState::NotAnnounced | MemberVipState::Removed) => "not announced",
            NotCounted::State(MemberVipState::Announced) => "announced",
        })
    }
}

/// Why VIPs may not be withdrawn. Its `Display` is a sentence without a full stop at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CapacityRefusal {
    /// Too few members would announce a VIP.
    TooFewAnnounce {
        /// The first such VIP.
        vip: IpAddr,
        /// How many other such VIPs there are.
        more: usize,
        /// Its service.
        service: ServiceName,
        /// How many would announce it.
        announcers: usize,
        /// How many are needed.
        least: u32,
        /// The members that would not, and why.
        others: Vec<(IpAddr, NotCounted)>,
    },
    /// Fewer than half of the members are heard, this one too.
    TooFewHeard {
        /// How many are heard.
        heard: usize,
        /// How many there are.
        members: usize,
        /// The others, and why.
        unheard: Vec<(IpAddr, NotCounted)>,
    },
    /// A member with a lower address withdraws some of the VIPs now.
    OtherComesFirst {
        /// Which.
        member: IpAddr,
        /// Why it withdraws them, if it is known.
        kind: Option<IntentKind>,
    },
}

impl fmt::Display for CapacityRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CapacityRefusal::TooFewAnnounce { vip, more, service, announcers, least, others } => {
                let members = if *announcers == 1 { "member" } else { "members" };
                write!(f, "{vip} would be announced by {announcers} {members}, and {service} needs {least}")?;
                if !others.is_empty() {
                    let do_not = if others.len() == 1 { "does" } else { "do" };
                    write!(f, ": {} {do_not} not announce it", list(others))?;
                }
                match more {
                    0 => Ok(()),
                    more => write!(f, "; {more} more VIPs would be announced by too few"),
                }
            }
            CapacityRefusal::TooFewHeard { heard, members, unheard } => write!(
                f,
                "only {heard} of {members} members are heard, this one too, so it is not known who would announce the VIPs: {}",
                list(unheard)
            ),
            CapacityRefusal::OtherComesFirst { member, kind } => {
                let what = match kind {
                    Some(IntentKind::Drain) => "a drain",
                    Some(IntentKind::Reload) => "a reload",
                    Some(IntentKind::Upgrade) => "an upgrade",
                    None => "an order",
                };
                write!(
                    f,
                    "{what} on member {member} is about the same VIPs at the same time, and the lower address comes first; try again when it is done"
                )
            }
        }
    }
}

/// As in "10.0.1.12 (drained), 10.0.1.14 (dead)".
pub(super) fn list(members: &[(IpAddr, NotCounted)]) -> String {
    members.iter().map(|(member, why)| format!("{member} ({why})")).collect::<Vec<_>>().join(", ")
}

/// Whether these VIPs may be withdrawn here, as far as the members have answered the intent with this `number`. Answers are waited for
/// until `until`. The members that are heard count if they have accepted, announce the VIP with its ordinary attributes, and have
/// no intent for it themselves.
pub fn may_withdraw(
    needs: &BTreeMap<IpAddr, CapacityNeed>,
    number: NonZeroU32,
    until: Instant,
    members: &GuardMembers,
    now: Instant,
) -> Ruling {
    if let Some(refusal) = too_few_heard(members, now) {
        return Ruling::Refused(refusal);
    }
    let answer = |member: &GuardMember| {
        member.answer.filter(|answer| answer.number == number).map(|answer| answer.verdict)
    };
    let heard = || members.iter().filter(|(_, member)| member.is_heard(now));
    if let Some((member, theirs)) = heard().find(|(_, member)| answer(member) == Some(IntentVerdict::Refused))
    {
        let kind = theirs.vips.intent().map(|intent| intent.kind);
        return Ruling::Refused(CapacityRefusal::OtherComesFirst { member: *member, kind });
    }
    if now < until && heard().any(|(_, member)| answer(member).is_none()) {
        return Ruling::Wait(until);
    }
    let accepted = |member: &GuardMember| answer(member).map(drop).ok_or(NotCounted::NoAnswer);
    too_few_announce(needs, members, now, accepted).map_or(Ruling::Proceed, Ruling::Refused)
}

/// Why these VIPs could not be withdrawn now, if every member that is heard accepted it; `None`: they could. Nobody is asked.
pub fn would_withdraw(
    needs: &BTreeMap<IpAddr, CapacityNeed>,
    members: &GuardMembers,
    now: Instant,
) -> Option<CapacityRefusal> {
    too_few_heard(members, now).or_else(|| too_few_announce(needs, members, now, |_| Ok(())))
}

/// The refusal when fewer than half of the members are heard.
fn too_few_heard(members: &GuardMembers, now: Instant) -> Option<CapacityRefusal> {
    let unheard = unheard(members, now);
    let (all, heard) = (members.len() + 1, members.len() + 1 - unheard.len());
    (!half_is_heard(members, now)).then_some(CapacityRefusal::TooFewHeard { heard, members: all, unheard })
}

/// The refusal when too few members would announce a VIP. `accepted`: whether a member has accepted that it is withdrawn here.
fn too_few_announce(
    needs: &BTreeMap<IpAddr, CapacityNeed>,
    members: &GuardMembers,
    now: Instant,
    accepted: impl Fn(&GuardMember) -> Result<(), NotCounted>,
) -> Option<CapacityRefusal> {
    let mut lacking = needs.iter().filter_map(|(vip, need)| {
        let counted = |member: &GuardMember| {
            announces(member, *vip, now)?;
            if member.vips.is_intended(*vip)
                && let Some(intent) = member.vips.intent()
            {
                return Err(NotCounted::Intends(intent.kind));
            }
            accepted(member)
        };
        let others: Vec<(IpAddr, NotCounted)> =
            members.iter().filter_map(|(address, member)| Some((*address, counted(member).err()?))).collect();
        let announcers = members.len() - others.len();
        (!is_enough(announcers, need.least)).then_some((*vip, need, announcers, others))
    });
    let (vip, need, announcers, others) = lacking.next()?;
    let (service, least, more) = (need.service.clone(), need.least, lacking.count());
    Some(CapacityRefusal::TooFewAnnounce { vip, more, service, announcers, least, others })
}

/// The VIPs that may be withdrawn when their probes fail, because enough other members announce them. `vips`: those of our VIPs that are
/// not announced now, or only as the last choice, and since when.
///
/// A VIP is the last choice for 3 heartbeats before it may be withdrawn, so that hosts whose probes fail at the same time hear of each
/// other. Members with the VIP as the last choice are not counted: their probes may fail too. When fewer than half of the members are
/// heard, no VIP may be withdrawn.
pub fn enough_others(
    vips: &BTreeMap<IpAddr, (CapacityNeed, Instant)>,
    members: &GuardMembers,
    interval: Duration,
    now: Instant,
) -> BTreeSet<IpAddr> {
    if !half_is_heard(members, now) {
        return BTreeSet::new();
    }
    let may = |(vip, (need, since)): (&IpAddr, &(CapacityNeed, Instant))| {
        let stays = |member: &&GuardMember| {
            let withdraws =
                member.vips.intent().is_some_and(|intent| intent.phase == IntentPhase::CarriedOut);
            announces(member, *vip, now).is_ok() && !(withdraws && member.vips.is_intended(*vip))
        };
        let announcers = members.values().filter(stays).count();
        (now >= *since + interval * WAIT_INTERVALS && is_enough(announcers, need.least)).then_some(*vip)
    };
    vips.iter().filter_map(may).collect()
}

pub(super) fn is_enough(announcers: usize, least: u32) -> bool {
    announcers >= usize::try_from(least).unwrap_or(usize::MAX)
}

/// Whether a member announces a VIP, as far as is known. As the last choice does not count: its probes may fail.
pub(super) fn announces(member: &GuardMember, vip: IpAddr, now: Instant) -> Result<(), NotCounted> {
    if !member.is_heard(now) {
        return Err(NotCounted::Unheard(member.state));
    }
    match member.presence {
        MemberPresence::Here => {}
        MemberPresence::Leaving | MemberPresence::Left => return Err(NotCounted::Leaving),
    }
    match member.vips.state(vip) {
        Some(MemberVipState::Announced) => Ok(()),
        Some(
            other @ (MemberVipState::Starting
            | MemberVipState::LastChoice
            | MemberVipState::Drained
            | MemberVipState::NotAnnounced
            | MemberVipState::Removed),
        ) => Err(NotCounted::State(other)),
        None => Err(NotCounted::NotSaid),
    }
}

fn unheard(members: &GuardMembers, now: Instant) -> Vec<(IpAddr, NotCounted)> {
    let unheard = members.iter().filter(|(_, member)| !member.is_heard(now));
    unheard.map(|(address, member)| (*address, NotCounted::Unheard(member.state))).collect()
}

/// Whether at least half of the members are heard. This host hears itself.
fn half_is_heard(members: &GuardMembers, now: Instant) -> bool {
    let heard = members.values().filter(|member| member.is_heard(now)).count() + 1;
    heard * 2 > members.len()
}
