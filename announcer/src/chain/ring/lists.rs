//! Which members take part while a reload changes the list of members host by host.
//!
//! Pure.
//!
//! The members of a ring forward in the order of their addresses, each to the next one that it knows. So a packet reaches its owner whatever
//! the others know, if each host on its way has the owner in its ring: nobody passes the owner over. A host that joins hears only those that
//! have it in their lists already, and has not the others in its ring; and a host that was removed from the other lists is soon in the same
//! state. Neither may be in anybody's ring then:
//!
//! ```text
//! a member that a reload adds      exchanges heartbeats ──────── all agree ─> in the ring
//! a member that a reload removes   stays in the ring ─────────── all agree ─> not in the ring ── 12 intervals ─> we say left ── 15 ─> forgotten
//! ```
//!
//! All agree when each member of the new list that lives has said that its list is the same. A removed member need not agree.
//!
//! A removed member that hears from us that we have left skips us. So no member may forward to it any more then. But a member whose
//! daemon has died keeps its rules until its next daemon replaces them; and the next daemon of a member that had left may come back with the
//! former list. The 12 intervals begin again while the daemon of a member of the list is dead, when its next one is heard, and while one
//! that lives has another list. If the daemon of the removed member itself is dead, we go on until we have said to its
//! next one that we have left: its rules still forward to us, and it would keep us for the time of a silent member.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::MemberObservation;
use crate::chain::heartbeat::{ListDigest, MAX_MEMBERS};
use crate::chain::member::MemberState;

/// How many intervals after the agreement, while no daemon was dead, we begin to say to a removed member that we have left. The others have
/// seen the agreement by then and have replaced their rules, which a daemon that begins does after at most 9 intervals; and a daemon that
/// has died before that was found silent.
const LEFT_AFTER: u32 = 12;
/// For how many intervals a member is silent before its daemon counts as dead: if one heartbeat of three arrives, none that lives is
/// silent so long.
const DAEMON_DEAD: u32 = 2;
/// For how many intervals we say so to a daemon that is heard.
const LEFT_FOR: u32 = 15;

/// The list of the configuration, and what earlier lists have left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberLists {
    list: Vec<IpAddr>,
    /// Of `list`: it is compared in each turn.
    digest: ListDigest,
    /// Those that are not in the ring yet.
    added: BTreeSet<IpAddr>,
    /// Those of an earlier list, and since when the members agree that they are none and none of the daemons has begun or was dead; `None`:
    /// they have not agreed yet.
    removed: BTreeMap<IpAddr, Option<Instant>>,
    agreed: bool,
}

impl MemberLists {
    /// The list of the configuration. `former`: the members that the installed rules of a former process know; `None`: there are no rules.
    pub fn new(list: &[IpAddr], former: Option<&BTreeSet<IpAddr>>) -> Self {
        let mut lists = MemberLists::default();
        if let Some(former) = former {
            lists.list = former.iter().copied().collect();
            lists.update(list);
        }
        lists.replace(list);
        lists
    }

    /// Takes a list, and returns the one before.
    fn replace(&mut self, list: &[IpAddr]) -> Vec<IpAddr> {
        self.digest = ListDigest::of_members(list);
        std::mem::replace(&mut self.list, list.to_vec())
    }

    /// Takes the list of a reload. Returns whether it differs from the one before.
    pub fn update(&mut self, list: &[IpAddr]) -> bool {
        if self.list == list {
            return false;
        }
        let before = self.replace(list);
        let in_ring = |member: &IpAddr| before.contains(member) || self.removed.get(member) == Some(&None);
        self.added.extend(list.iter().filter(|member| !in_ring(member)));
        self.added.retain(|member| list.contains(member));
        self.removed.retain(|member, _| !list.contains(member));
        for member in before {
            if !list.contains(&member) {
                self.removed.entry(member).or_insert(None);
            }
        }
        self.agreed = false;
        true
    }

    /// Follows what the others have said. `ours`: our addresses in lists, which are no other members.
    pub fn step(
        &mut self,
        ours: &[IpAddr],
        others: &BTreeMap<IpAddr, MemberObservation>,
        interval: Duration,
        now: Instant,
    ) {
        let agrees = |member: &IpAddr| {
            let Some(observed) = others.get(member) else { return false };
            let same = observed.said.is_some_and(|said| said.facts.members == self.digest);
            !observed.awaited && !observed.state.lives() || same
        };
        self.agreed = self.list.iter().filter(|member| !ours.contains(member)).all(agrees);
        if self.agreed {
            self.added.clear();
            self.removed.values_mut().for_each(|since| _ = since.get_or_insert(now));
        }
        let began = if self.agreed { self.last_beginning(ours, others, interval, now) } else { Some(now) };
        for since in self.removed.values_mut().flatten() {
            // Once we say that we have left, no member forwards to that one any more.
            if now < *since + interval * LEFT_AFTER {
                *since = began.map_or(*since, |began| began.max(*since));
            }
        }
        self.removed.retain(|member, since| {
            let observed = others.get(member);
            let heard = observed.and_then(|observed| observed.heard_since);
            let silent = observed.is_some_and(|observed| observed.state == MemberState::Silent);
            let over = since.is_some_and(|since| {
                let said = since + interval * LEFT_AFTER;
                !silent && now >= heard.map_or(said, |heard| heard.max(said)) + interval * LEFT_FOR
            });
            let gone = observed.is_some_and(|observed| match observed.state {
                MemberState::Dead => true,
                MemberState::Unknown => !observed.awaited,
                MemberState::Left => !observed.lingers,
                MemberState::Alive | MemberState::Asked | MemberState::Silent => false,
            });
            !over && !gone && !ours.contains(member)
        });
    }

    /// When the last daemon of a living member of the list was heard first; now, if one is dead.
    fn last_beginning(
        &self,
        ours: &[IpAddr],
        others: &BTreeMap<IpAddr, MemberObservation>,
        interval: Duration,
        now: Instant,
    ) -> Option<Instant> {
        let beginning = |observed: &MemberObservation| match observed.state {
            MemberState::Silent if now >= observed.since + interval * DAEMON_DEAD => Some(now),
            MemberState::Alive | MemberState::Asked | MemberState::Silent => observed.heard_since,
            MemberState::Unknown | MemberState::Dead | MemberState::Left => None,
        };
        let listed = self.list.iter().filter(|member| !ours.contains(member));
        listed.filter_map(|member| others.get(member)).filter_map(beginning).max()
    }

    /// Whether every living member of the list has the same list.
    pub fn agreed(&self) -> bool {
        self.agreed
    }

    /// Whether members wait to be added or removed.
    pub fn is_changing(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty()
    }

    /// Whether a member is not in the ring yet, because another list may lack it.
    pub fn is_added(&self, member: IpAddr) -> bool {
        self.added.contains(&member)
    }

    /// All with whom heartbeats are exchanged, in the order of their addresses.
    pub fn members(&self) -> Vec<IpAddr> {
        let all: BTreeSet<IpAddr> = self.list.iter().chain(self.removed.keys()).copied().collect();
        all.into_iter().collect()
    }

    /// Those that can be in the ring, in the order of their addresses. If they are more than [`MAX_MEMBERS`], removed ones are left out.
    pub fn ring(&self) -> Vec<IpAddr> {
        let stay = self.removed.iter().filter(|(_, since)| since.is_none()).map(|(member, _)| member);
        let mut ring: Vec<IpAddr> = self.list.iter().chain(stay).copied().take(MAX_MEMBERS).collect();
        ring.sort();
        ring
    }

    /// The removed members to whom we say that we have left, so that they do not keep this host for the time of a silent one.
    pub fn left(&self, interval: Duration, now: Instant) -> BTreeSet<IpAddr> {
        let is_due =
            |since: &Option<Instant>| since.is_some_and(|since| now >= since + interval * LEFT_AFTER);
        self.removed.iter().filter(|(_, since)| is_due(since)).map(|(member, _)| *member).collect()
    }
}

#[cfg(test)]
mod tests;
