//! The warnings about the chain. They say only what was seen.
//!
//! Pure.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{ChainStatus, FamilyPath, MemberStatus, OffOrder};
use crate::chain::contact::ContactReport;
use crate::chain::heartbeat::{HeartbeatDropReason, MemberPresence};
use crate::chain::member::{MAX_SILENCE, MemberState};
use crate::chain::test_packets::TestPacketState;
use crate::model::Family;

impl ChainStatus {
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
        warnings.extend(self.path_warnings());
        for (address, member) in &self.members {
            warnings.extend(self.unheard(*address, member, now));
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
        if !self.paths.dropping.is_empty() {
            warnings.push(format!(
                "chain: this host's own packet filter can drop packets, and may be the cause: {}; docs/chain.md lists what the chain needs",
                self.paths.dropping.join(", ")
            ));
        }
        warnings
    }

    /// The warning about a member that is not heard. It says only what was seen.
    fn unheard(&self, address: IpAddr, member: &MemberStatus, now: Instant) -> Option<String> {
        let age_at = |at| whole_seconds(now.saturating_duration_since(at));
        let age = age_at(member.since);
        let from = member.last_heartbeat.unwrap_or(member.since);
        let left = whole_seconds((from + MAX_SILENCE).saturating_duration_since(now));
        let what = match member.state {
            MemberState::Dead => format!("member {address} is dead for {age}"),
            MemberState::Silent => match member.last_heartbeat {
                Some(at) => format!("no heartbeats of member {address} for {}", age_at(at)),
                None => format!("member {address} was not heard since the start of this daemon"),
            },
            MemberState::Unknown => format!("member {address} was not heard for {age}"),
            MemberState::Alive | MemberState::Asked | MemberState::Left => return None,
        };
        let ContactReport { kernel_answers, dropped } = member.contact;
        let port = self.port;
        let why = match (dropped, kernel_answers, member.state) {
            (Some(HeartbeatDropReason::NotReturned), _, _) => format!(
                "its heartbeats arrive, but return none of ours: a packet filter may drop UDP port {port} on the way from this host to it"
            ),
            (Some(reason), _, _) => {
                format!("datagrams from its address arrive at UDP port {port}, and do not count: {reason}")
            }
            (None, _, MemberState::Silent) => format!(
                "but its kernel answers: its rules may go on without its daemon, or a packet filter drops UDP port {port}; without a heartbeat it is dead in {left}"
            ),
            (None, Some(true), _) => format!(
                "but its kernel answers (ARP or ND): its daemon does not run, or has other `members` or another `port`, or a packet filter drops UDP port {port}"
            ),
            (None, None, MemberState::Unknown) => {
                "compare `members`, `port` and the key on both hosts, and its packet filter".to_owned()
            }
            (None, Some(false) | None, _) => {
                "neither its heartbeats nor answers of its kernel arrive".to_owned()
            }
        };
        let joint = if why.starts_with("but") { "," } else { ":" };
        Some(format!("chain: {what}{joint} {why}"))
    }

    /// The warnings about packets that are passed on and do not arrive, or not as they were sent.
    fn path_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for family in [Family::V4, Family::V6] {
            let FamilyPath { to_next, into_this_host } = self.paths.of(family);
            if let Some(next) = self.ring.forwarding(family).map(|forwarding| forwarding.next) {
                let why = match to_next {
                    TestPacketState::Unknown | TestPacketState::Good => None,
                    TestPacketState::Lost => Some(
                        "do not arrive there, so flows that are passed on break: a packet filter on this host, between both or on the member may drop packets for the VIPs that have a client's source and a mark in the DSCP",
                    ),
                    TestPacketState::Stopped => Some(
                        "arrive there and do not reach its stack, so flows that are passed on break: its packet filter or `rp_filter` may drop them, or it does not have the VIP",
                    ),
                    TestPacketState::Changed => Some(
                        "arrive there with another DSCP: a switch or a packet filter changes it, so packets that are passed on lose their mark",
                    ),
                };
                warnings
                    .extend(why.map(|why| format!("chain: {family} test packets to member {next} {why}")));
            }
            let why = match into_this_host {
                TestPacketState::Unknown | TestPacketState::Good | TestPacketState::Lost => None,
                TestPacketState::Stopped => {
                    Some("do not reach its stack: its packet filter or `rp_filter` may drop them")
                }
                TestPacketState::Changed => {
                    Some("have another DSCP than they were sent with: a switch or a packet filter changes it")
                }
            };
            warnings.extend(why.map(|why| {
                format!("chain: {family} test packets of other members that arrive at this host {why}")
            }));
        }
        warnings
    }
}

fn whole_seconds(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs()))
}
