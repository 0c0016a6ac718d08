//! What is known of the chain, for people and for metrics.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::guard::FewAnnouncers;
use super::heartbeat::{Facts, HeartbeatDropReason, MemberPresence, MemberVipState};
use super::member::MemberState;
use super::ring::{MemberObservation, Ring};
use super::rules::counters::ChainCounters;
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
    /// What it said last.
    pub facts: Option<Facts>,
    /// The states of its VIPs.
    pub vips: Arc<BTreeMap<IpAddr, MemberVipState>>,
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

    /// How many members live, this host too.
    pub fn living(&self) -> usize {
        let others = self.members.values().filter(|member| member.state.lives()).count();
        others + usize::from(self.own.is_some())
    }

    /// How many members the list has.
    pub fn listed(&self) -> usize {
        self.ring.entries.len()
    }

    /// The warnings, one sentence each.
    pub fn warnings(&self, now: Instant) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.problems.iter().map(|problem| format!("chain: {problem}")).collect();
        if let Some(OffOrder { reason, by, at }) = &self.off {
            warnings.push(format!(
                "chain: forwarding is switched off on this host since {at} by {by}: {reason}; `announcer chain on` ends that"
            ));
        }
        warnings.extend(self.few.iter().map(|few| format!("chain: {few}")));
        for (address, member) in &self.members {
            let age = humantime::format_duration(Duration::from_secs(
                now.saturating_duration_since(member.since).as_secs(),
            ));
            match member.state {
                MemberState::Dead => warnings.push(format!("chain: member {address} is dead for {age}: neither its heartbeats nor answers of its kernel arrive")),
                MemberState::Silent => warnings.push(format!(
                    "chain: no heartbeats of member {address} for {age}, but its kernel answers: its daemon does not run; it stays in the ring for 30 s"
                )),
                MemberState::Unknown => warnings.push(format!(
                    "chain: member {address} was not heard for {age}: compare `members`, `port` and the key on both hosts, and its packet filter"
                )),
                MemberState::Alive | MemberState::Asked | MemberState::Left => {}
            }
            let (Some(own), Some(facts)) = (&self.facts, &member.facts) else { continue };
            if member.state == MemberState::Left || facts.presence != MemberPresence::Here {
                continue;
            }
            for (what, differs) in [
                ("`members` of `[chain]`", own.members != facts.members),
                ("the VIPs or their ports", own.services != facts.services),
            ] {
                if differs {
                    warnings.push(format!("chain: {what} differ between this host and member {address}"));
                }
            }
        }
        warnings
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
        facts: observation.said.map(|said| said.facts),
        vips,
    }
}
