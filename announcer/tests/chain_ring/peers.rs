//! The other members, as a daemon knows them, and when each of them is due.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use announcer::chain::member::Member;
use announcer::chain::ring::MemberObservation;

use crate::host::index;

/// One other member. Before it is due, neither time nor a wish to send has an effect on it.
pub struct Peer {
    member: Member,
    /// [`Member::deadline`], until something is done with the member.
    due: Option<Instant>,
}

impl Peer {
    pub fn due(&mut self) -> Instant {
        *self.due.get_or_insert_with(|| self.member.deadline())
    }
}

impl Deref for Peer {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.member
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Member {
        self.due = None;
        &mut self.member
    }
}

/// The other members, by the index of their hosts, which is the order of their addresses.
#[derive(Default)]
pub struct Peers(Vec<Option<Peer>>);

impl Peers {
    pub fn get_mut(&mut self, host: usize) -> Option<&mut Peer> {
        self.0.get_mut(host)?.as_mut()
    }

    pub fn insert(&mut self, member: Member) {
        let host = index(member.address());
        if self.0.len() <= host {
            self.0.resize_with(host + 1, || None);
        }
        self.0[host] = Some(Peer { member, due: None });
    }

    pub fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        for slot in &mut self.0 {
            if slot.as_ref().is_some_and(|peer| !keep(peer.address())) {
                *slot = None;
            }
        }
    }

    /// Brings what is known of each of them up to date, and returns whether something has changed.
    pub fn observe(&self, known: &mut BTreeMap<IpAddr, MemberObservation>, now: Instant) -> bool {
        let members = || self.0.iter().flatten().map(|peer| &peer.member);
        if !known.keys().copied().eq(members().map(Member::address)) {
            *known = members().map(|member| (member.address(), MemberObservation::of(member, now))).collect();
            return true;
        }
        let mut changed = false;
        for (known, member) in known.values_mut().zip(members()) {
            let observed = MemberObservation::of(member, now);
            changed |= *known != observed;
            *known = observed;
        }
        changed
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.0.iter_mut().flatten()
    }

    /// What is said to all of them has changed.
    pub fn hurry(&mut self) {
        self.iter_mut().for_each(|peer| peer.hurry());
    }
}
