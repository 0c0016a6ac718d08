//! What is known of the chain, for people and for metrics.
//!
//! Pure.

#[cfg(test)]
mod tests;
mod warnings;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::contact::ContactReport;
use super::guard::FewAnnouncers;
use super::heartbeat::{Facts, HeartbeatDropReason, MemberVipState};
use super::member::MemberState;
use super::ring::{MemberObservation, Ring};
use super::rules::counters::ChainCounters;
use super::test_packets::TestPacketState;
use crate::drain::connections::SilentConnections;
use crate::model::Family;

/// The order of an operator to forward nothing on this host. It is stored in the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffOrder {
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// When, in RFC 3339.
    pub at: String,
}

/// What is known of one other member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Whether it lives.
    pub state: MemberState,
    /// Since when.
    pub since: Instant,
    /// When its last heartbeat counted.
    pub last_heartbeat: Option<Instant>,
    /// What it said last to this process.
    pub facts: Option<Facts>,
    /// The states of its VIPs.
    pub vips: Arc<BTreeMap<IpAddr, MemberVipState>>,
    /// What is known of it if it is not heard.
    pub contact: ContactReport,
}

/// Whether packets of one family arrive that are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FamilyPath {
    /// Those of this host at the next member.
    pub to_next: TestPacketState,
    /// Those of other members behind the packet filter of this host.
    pub into_this_host: TestPacketState,
}

/// Whether packets arrive that are passed on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathStatus {
    /// Those of IPv4.
    pub v4: FamilyPath,
    /// Those of IPv6.
    pub v6: FamilyPath,
    /// The chains of other tables of this host that can drop packets, if some do not arrive: one text for each.
    pub dropping: Vec<String>,
}

impl PathStatus {
    /// Those of a family.
    pub fn of(&self, family: Family) -> FamilyPath {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// The state of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainStatus {
    /// Whether `[chain]` is configured.
    pub configured: bool,
    /// Whether packets are passed on, by the configuration.
    pub forward: bool,
    /// Our address in the list of members.
    pub own: Option<IpAddr>,
    /// The order to forward nothing.
    pub off: Option<OffOrder>,
    /// Why the chain does not work here, whole sentences without a full stop.
    pub problems: Vec<String>,
    /// The ring.
    pub ring: Ring,
    /// Whether its rules are in the kernel.
    pub installed: bool,
    /// The other members.
    pub members: BTreeMap<IpAddr, MemberStatus>,
    /// What we say of ourselves.
    pub facts: Option<Facts>,
    /// The counters of IPv4 and of IPv6; `None`: the rules of the family are not in the kernel.
    pub counters: [Option<ChainCounters>; 2],
    /// The UDP port of the heartbeats.
    pub port: u16,
    /// Whether packets arrive that are passed on.
    pub paths: PathStatus,
    /// VIPs that fewer members announce than `min_announcers`.
    pub few: Option<FewAnnouncers>,
    /// The heartbeats that did not count.
    pub drops: BTreeMap<HeartbeatDropReason, u64>,
    /// The heartbeats that the kernel did not send.
    pub send_errors: u64,
}

impl ChainStatus {
    /// The counters of a family.
    pub fn counters_of(&self, family: Family) -> Option<&ChainCounters> {
        let [v4, v6] = &self.counters;
        match family {
            Family::V4 => v4.as_ref(),
            Family::V6 => v6.as_ref(),
        }
    }

    /// Whether this host takes part in the ring of a family: it has VIPs of the family and an address on the segment, and it forwards.
    pub fn takes_part(&self, family: Family) -> bool {
        let own = self.ring.entries.iter().find(|entry| Some(entry.member) == self.own);
        own.is_some_and(|own| own.absence(family).is_none())
    }

    /// Where the packets of this host's silent connections arrive after a withdraw. Other members pass packets on to a host that has
    /// switched its own forwarding off, too.
    pub fn silent_connections(&self) -> SilentConnections {
        let in_a_ring =
            [Family::V4, Family::V6].into_iter().any(|family| self.ring.forwarding(family).is_some());
        if self.installed && in_a_ring { SilentConnections::Kept } else { SilentConnections::Moved }
    }

    /// How many members live, this host too.
    pub fn living(&self) -> usize {
        let others = self.members.values().filter(|member| member.state.lives()).count();
        others + usize::from(self.own.is_some())
    }

    /// How many members the list has.
    pub fn listed(&self) -> usize {
        self.ring.entries.len()
    }
}

/// From what the loop reports.
pub fn member_status(
    observation: &MemberObservation,
    last_heartbeat: Option<Instant>,
    vips: Arc<BTreeMap<IpAddr, MemberVipState>>,
) -> MemberStatus {
    MemberStatus {
        state: observation.state,
        since: observation.since,
        last_heartbeat,
        facts: observation.said.filter(|_| last_heartbeat.is_some()).map(|said| said.facts),
        vips,
        contact: ContactReport::default(),
    }
}
