//! Which members this host knows, and under which address they know it, while reloads change the lists host by host.
//!
//! Pure: [`MemberLists`] decides. Here are the configuration and the addresses of this host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bgp::path::Network;
use crate::chain::ring::{MemberLists, MemberObservation};
use crate::config::{ChainConfig, Config};

#[derive(Default)]
pub(super) struct MembershipKeeper {
    /// Our address in the list of members.
    own: Option<IpAddr>,
    /// `None`: no list was read yet.
    lists: Option<MemberLists>,
    /// What the rules in the kernel know, as a former process has left them.
    stored: Option<BTreeSet<IpAddr>>,
    /// The last configuration with which this host was a member.
    member_of: Option<Arc<Config>>,
}

impl MembershipKeeper {
    /// `former`: our address and the members that the rules in the kernel know.
    pub(super) fn new(former: Option<(Option<IpAddr>, BTreeSet<IpAddr>)>) -> Self {
        let (own, stored) = former.map_or((None, None), |(own, stored)| (own, Some(stored)));
        MembershipKeeper { own, stored, ..MembershipKeeper::default() }
    }

    /// The former configuration, if this one makes this host leave the chain: it has no chain, or its list has no address of this host. An
    /// address that is missing on the host itself is no reason to leave. A new process only knows what the rules know; without `[chain]`, it
    /// has no key.
    pub(super) fn former(&mut self, config: &Arc<Config>, network: &Network) -> Option<Arc<Config>> {
        let own = self.own.filter(|own| network.has(*own))?;
        let member = config.chain.as_ref().is_some_and(|chain| {
            chain.members.contains(&own) || chain.members.iter().any(|member| network.has(*member))
        });
        if member {
            return None;
        }
        if self.member_of.is_none() && config.chain.is_some() {
            let stored: Vec<IpAddr> = self.stored.iter().flatten().copied().collect();
            self.lists = Some(MemberLists::new(&stored, None));
            self.member_of = Some(config.clone());
        }
        self.member_of.clone()
    }

    /// Takes the list of the configuration. If it has another address of this host than before, the former one stays until all agree on the
    /// list: the others know it under that one until then.
    pub(super) fn update(&mut self, chain: &ChainConfig, network: &Network) {
        let lists = self.lists.get_or_insert_with(|| MemberLists::new(&chain.members, self.stored.as_ref()));
        lists.update(&chain.members);
        if !network.is_read() {
            return;
        }
        let listed = chain.members.iter().copied().find(|member| network.has(*member));
        let waits = listed.is_some() && !lists.agreed();
        let stays = |own| network.has(own) && (chain.members.contains(&own) || waits);
        if !self.own.is_some_and(stays) {
            self.own = listed;
        }
    }

    /// Follows what the others have said, and marks those that are not in the ring yet, or not any more.
    pub(super) fn step(
        &mut self,
        config: &Arc<Config>,
        observations: &mut BTreeMap<IpAddr, MemberObservation>,
        interval: Duration,
        network: &Network,
        now: Instant,
    ) {
        self.member_of = Some(config.clone());
        let Some(lists) = &mut self.lists else { return };
        let ours: Vec<IpAddr> = lists.members().into_iter().filter(|member| network.has(*member)).collect();
        lists.step(&ours, observations, interval, now);
        let left = lists.left(interval, now);
        for (member, observed) in observations {
            observed.added = lists.is_added(*member);
            observed.removed = left.contains(member);
        }
    }

    /// Our address in the list of members.
    pub(super) fn own(&self) -> Option<IpAddr> {
        self.own
    }

    /// The other members with whom heartbeats are exchanged.
    pub(super) fn others(&self, network: &Network) -> Vec<IpAddr> {
        let members = self.lists.as_ref().map(MemberLists::members).unwrap_or_default();
        members.into_iter().filter(|member| Some(*member) != self.own && !network.has(*member)).collect()
    }

    /// Those that can be in the ring, this host too.
    pub(super) fn ring(&self, network: &Network) -> Vec<IpAddr> {
        let ring = self.lists.as_ref().map(MemberLists::ring).unwrap_or_default();
        let others = ring.into_iter().filter(|member| !network.has(*member));
        others.chain(self.own).collect()
    }

    /// The members to whom we say that we have left.
    pub(super) fn left(&self, interval: Duration, now: Instant) -> BTreeSet<IpAddr> {
        self.lists.as_ref().map(|lists| lists.left(interval, now)).unwrap_or_default()
    }

    /// Whether a reload waits for the other members.
    pub(super) fn is_changing(&self) -> bool {
        self.lists.as_ref().is_some_and(MemberLists::is_changing)
    }

    /// Why a reload has not its whole effect yet.
    pub(super) fn problem(&self, chain: &ChainConfig, network: &Network) -> Option<String> {
        let own = self.own.filter(|own| !chain.members.contains(own))?;
        let wanted = chain.members.iter().find(|member| network.has(**member))?;
        Some(format!(
            "this host goes on as member {own} and not as {wanted} until `members` is the same on all members that live"
        ))
    }
}
