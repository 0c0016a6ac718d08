//! The ring: the members that live and have their rules, in the order of their addresses; and the next member, to whom this host forwards.
//!
//! Pure.
//!
//! ```text
//! list of members ──┐
//! own state       ──┼─> Ring::new ─> per family: next member and length ─> rules
//! observations    ──┘               list for people
//! ```
//!
//! A packet with the mark `32 + n` may still be forwarded `n` times. This host sends `32 + (length - 1)` when it forwards a packet first.
//! The order of the list does not matter, so that hosts whose lists have another order have the same ring. While a living member has another
//! list, packets may meet members that we do not know, and the length is the most that a mark can have.
//!
//! A member is in our ring only if its rules believe our marks: a member that does not would begin the mark again at each round.

mod believed;
mod lists;
mod passage;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::chain::heartbeat::{Families, ListDigest, MAX_MEMBERS, MemberPresence};
use crate::chain::member::{Member, MemberState, Said};
use crate::model::Family;

pub use believed::{BELIEF_LINGER, Believed};
pub use lists::MemberLists;
pub use passage::{Leaving, LeavingStep, Missing, StartWait, may_join, remembered, settled, start_wait};

/// The mark of a packet that is not forwarded again.
pub const LAST_MARK: u8 = 32;

/// For how many of its intervals a member that has left may still be in the rings of others, from the last heartbeat that says so: while
/// it says so it waits for others.
const LINGER: u32 = 16;

/// What this host is in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    /// Our address in the list of members.
    pub address: IpAddr,
    /// The families in which we want to forward: there is an address on the segment, and services have VIPs of it.
    pub wanted: Families,
    /// Whether an operator has switched the chain off here, or `forward = false`.
    pub switched_off: bool,
    /// Whether we stay.
    pub presence: MemberPresence,
    /// The digest of our list of members.
    pub members: ListDigest,
}

/// What is known of one other member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberObservation {
    /// Whether it lives.
    pub state: MemberState,
    /// Since when.
    pub since: Instant,
    /// What it said last; `None`: nothing that counted.
    pub said: Option<Said>,
    /// Since when its present daemon is heard; `None`: no heartbeat has counted yet.
    pub heard_since: Option<Instant>,
    /// Whether our daemon has begun too recently to know that it does not live.
    pub awaited: bool,
    /// Whether it has left so recently that others may still forward to it. It then takes a hop of our packets.
    pub lingers: bool,
    /// Whether a reload has added it to our list, and not every member has the same list yet: [`MemberLists`].
    pub added: bool,
    /// Whether a reload has removed it from our list and no member forwards to it any more. Our heartbeats then tell it that we have left.
    pub removed: bool,
}

impl MemberObservation {
    /// Of a member, now.
    pub fn of(member: &Member, now: Instant) -> MemberObservation {
        let lingers = |(heard, said): (Instant, &Said)| now < heard + said.facts.interval * LINGER;
        MemberObservation {
            heard_since: member.heard_since(),
            awaited: member.awaited(now),
            lingers: member.state() == MemberState::Left
                && member.last_heartbeat().zip(member.said()).is_some_and(lingers),
            ..MemberObservation::in_state(member.state(), member.since(), member.said().copied())
        }
    }

    /// Of a member in a state, since then, of which nothing else is special.
    pub(crate) fn in_state(state: MemberState, since: Instant, said: Option<Said>) -> MemberObservation {
        let (awaited, lingers, added, removed) = (false, false, false, false);
        MemberObservation { state, since, said, heard_since: None, awaited, lingers, added, removed }
    }
}

/// To whom this host forwards packets of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarding {
    /// The next member, by its address in the list.
    pub next: IpAddr,
    /// Its address on the segment, of the family.
    pub via: IpAddr,
    /// How many hops a packet of ours may make: the members in the ring, this host too, and those that others may have in their rings:
    /// members that are about to join, and for a short time those that have just left, also if the list has lost them. [`MAX_MEMBERS`]
    /// while lists differ. 2 to [`MAX_MEMBERS`].
    pub length: u8,
}

impl Forwarding {
    /// The mark of a packet that this host forwards first: 33 to 63.
    pub fn first_mark(&self) -> u8 {
        (LAST_MARK - 1).saturating_add(self.length.min(32))
    }
}

/// Why a member is not in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// It has not been heard since our daemon began.
    Unknown,
    /// It is dead.
    Dead,
    /// It has left.
    Left,
    /// An operator has switched the chain off there, or it runs with `forward = false`.
    SwitchedOff,
    /// Its rules of this family are not installed.
    NoRules,
    /// It has no address of this family on the segment.
    NoAddress,
    /// It does not know our MAC address yet, so it would not believe our marks.
    NotBelieved,
    /// A reload has added it, and another member that lives does not have the same list.
    NotAgreed,
}

impl Absence {
    /// Whether the member lives and may be in the rings of others already.
    fn may_end_soon(self) -> bool {
        match self {
            Absence::NoRules | Absence::NotBelieved | Absence::NotAgreed => true,
            Absence::Unknown | Absence::Dead | Absence::Left | Absence::SwitchedOff | Absence::NoAddress => {
                false
            }
        }
    }

    /// The value in JSON and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Absence::Unknown => "unknown",
            Absence::Dead => "dead",
            Absence::Left => "left",
            Absence::SwitchedOff => "switched_off",
            Absence::NoRules => "no_rules",
            Absence::NoAddress => "no_address",
            Absence::NotBelieved => "not_believed",
            Absence::NotAgreed => "not_agreed",
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Absence::Unknown => "it was not heard since the start of this daemon",
            Absence::Dead => "it is dead",
            Absence::Left => "it has left",
            Absence::SwitchedOff => "it does not forward",
            Absence::NoRules => "its rules are not installed",
            Absence::NoAddress => "it has no address of this family on the segment",
            Absence::NotBelieved => "it does not know the MAC address of this host yet",
            Absence::NotAgreed => "it was added, and the lists of the members differ",
        })
    }
}

/// One member of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingEntry {
    /// Its address in the list.
    pub member: IpAddr,
    /// Why it is not in the ring for IPv4; `None`: it is.
    pub v4: Option<Absence>,
    /// Why it is not in the ring for IPv6; `None`: it is.
    pub v6: Option<Absence>,
}

impl RingEntry {
    /// Why it is not in the ring of this family; `None`: it is.
    pub fn absence(&self, family: Family) -> Option<Absence> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// The ring as this host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ring {
    /// For IPv4; `None`: nothing is forwarded, because nobody else is in the ring or this host does not forward.
    pub v4: Option<Forwarding>,
    /// For IPv6.
    pub v6: Option<Forwarding>,
    /// All members of the list, in the order of their addresses.
    pub entries: Vec<RingEntry>,
}

impl Ring {
    /// The ring of a list of members. At most [`MAX_MEMBERS`] are used, the first ones; `own.address` is expected among them.
    pub fn new(list: &[IpAddr], own: &Own, others: &BTreeMap<IpAddr, MemberObservation>) -> Ring {
        let mut list: Vec<IpAddr> = list.iter().copied().take(MAX_MEMBERS).collect();
        list.sort();
        let entry = |member: &IpAddr| {
            let absence = |family| {
                if *member == own.address {
                    own_absence(own, family)
                } else {
                    absence(others.get(member), family)
                }
            };
            RingEntry { member: *member, v4: absence(Family::V4), v6: absence(Family::V6) }
        };
        let entries: Vec<RingEntry> = list.iter().map(entry).collect();
        let forwarding = |family| forwarding(&entries, own, others, family);
        Ring { v4: forwarding(Family::V4), v6: forwarding(Family::V6), entries }
    }

    /// To whom this host forwards packets of a family.
    pub fn forwarding(&self, family: Family) -> Option<&Forwarding> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// In which families a member is in this ring. If the ring is installed, this is what a heartbeat says to that member.
    pub fn has(&self, member: IpAddr) -> Families {
        let entry = self.entries.iter().find(|entry| entry.member == member);
        Families::of(|family| entry.is_some_and(|entry| entry.absence(family).is_none()))
    }
}

fn own_absence(own: &Own, family: Family) -> Option<Absence> {
    if own.switched_off {
        Some(Absence::SwitchedOff)
    } else if !own.wanted.has(family) {
        Some(Absence::NoAddress)
    } else {
        None
    }
}

fn absence(observed: Option<&MemberObservation>, family: Family) -> Option<Absence> {
    let Some(MemberObservation { state, said, added, .. }) = observed else { return Some(Absence::Unknown) };
    match state {
        MemberState::Unknown => return Some(Absence::Unknown),
        MemberState::Dead => return Some(Absence::Dead),
        MemberState::Left => return Some(Absence::Left),
        MemberState::Alive | MemberState::Asked | MemberState::Silent => {}
    }
    let Some(Said { facts, about_us }) = said else { return Some(Absence::Unknown) };
    if facts.switched_off {
        Some(Absence::SwitchedOff)
    } else if !facts.rules.has(family) {
        Some(Absence::NoRules)
    } else if facts.next_hops.of(family).is_none() {
        Some(Absence::NoAddress)
    } else if !about_us.believed.has(family) {
        Some(Absence::NotBelieved)
    } else if *added {
        Some(Absence::NotAgreed)
    } else {
        None
    }
}

fn forwarding(
    entries: &[RingEntry],
    own: &Own,
    others: &BTreeMap<IpAddr, MemberObservation>,
    family: Family,
) -> Option<Forwarding> {
    let ring: Vec<IpAddr> =
        entries.iter().filter(|entry| entry.absence(family).is_none()).map(|entry| entry.member).collect();
    let place = ring.iter().position(|member| *member == own.address)?;
    let next = *ring.iter().cycle().nth(place + 1).filter(|next| **next != own.address)?;
    let via = others.get(&next)?.said?.facts.next_hops.of(family)?;
    let elsewhere = entries.iter().filter(|entry| {
        let Some(other) = others.get(&entry.member) else { return false };
        let reachable = other.said.is_some_and(|said| said.facts.next_hops.of(family).is_some());
        other.lingers || reachable && entry.absence(family).is_some_and(Absence::may_end_soon)
    });
    let differs = |other: &MemberObservation| {
        other.state.lives() && other.said.is_some_and(|said| said.facts.members != own.members)
    };
    let listed = |member: &IpAddr| entries.iter().any(|entry| entry.member == *member);
    let removed = others.iter().filter(|(member, other)| other.lingers && !listed(member));
    let elsewhere = elsewhere.count() + removed.count();
    let length = if others.values().any(differs) { MAX_MEMBERS } else { ring.len() + elsewhere };
    let length = length.min(MAX_MEMBERS);
    Some(Forwarding { next, via, length: u8::try_from(length).ok()? })
}

#[cfg(test)]
mod tests;
