//! The chain in answers: the ring, the members, the counters, and the VIPs of the whole site.
//!
//! Pure. Keys of families are `ipv4` and `ipv6`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::ReasonStatus;
use crate::chain::rules::counters::ChainCounters;
use crate::chain::status::OffOrder;

/// The chain, as this host sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChainReport {
    /// Whether the configuration wants packets to be forwarded.
    pub forward: bool,
    /// This host's address in the list of members; none while it is not known.
    pub own: Option<IpAddr>,
    /// The order to forward nothing from this host; none without such an order.
    pub off: Option<OffOrder>,
    /// Whether the rules are in the kernel of this host.
    pub installed: bool,
    /// The rings of the families in which this host takes part.
    pub rings: BTreeMap<String, RingReport>,
    /// All members, in the order of their addresses; empty while the chain does not work here.
    pub members: Vec<ChainMember>,
    /// The heartbeats that did not count, by reason, since the exchange of heartbeats began; each reason that has occurred.
    pub heartbeats_dropped: Vec<DroppedHeartbeats>,
    /// The heartbeats that the kernel did not send, since then.
    pub heartbeats_unsent: u64,
    /// Why the chain does not work here, one sentence each.
    pub problems: Vec<String>,
    /// The warnings of `status` about the chain; the problems are among them.
    pub warnings: Vec<String>,
}

/// The ring of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingReport {
    /// The members in the ring, in its order.
    pub members: Vec<IpAddr>,
    /// How many they are.
    pub length: usize,
    /// The next member; none if nobody else is in the ring, or this host is not.
    pub next: Option<IpAddr>,
    /// The address of the next member on the segment.
    pub via: Option<IpAddr>,
    /// What becomes of test packets to the next member: `unknown`, `good`, `changed`, `stopped` or `lost`. They take the way of packets
    /// that are passed on.
    pub test_packets: ReasonStatus,
    /// What the rules have counted; none while they are not in the kernel.
    pub counters: Option<ChainCounters>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChainMember {
    /// Its address in the list of members.
    pub address: IpAddr,
    /// Whether it is this host.
    pub this_host: bool,
    /// `unknown`, `alive`, `asked`, `silent`, `dead` or `left`; this host is `alive`.
    pub state: String,
    /// Seconds that it has been in that state; none for this host.
    #[serde(rename = "for")]
    pub lasts: Option<f64>,
    /// Since when, RFC 3339; none for this host.
    pub since: Option<String>,
    /// Seconds since its last heartbeat that counted; none for this host, and before the first one.
    pub last_heartbeat: Option<f64>,
    /// The families in whose ring it is.
    pub in_ring: Vec<String>,
    /// Why it is not in the ring, by family; only families in which this host takes part.
    pub not_in_ring: BTreeMap<String, ReasonStatus>,
    /// `here`, `leaving` or `left`, as it said last; none if it was not heard.
    pub presence: Option<String>,
    /// The families whose rules are in its kernel, as it said last; none if it was not heard.
    pub rules: Option<Vec<String>>,
    /// Where it takes forwarded packets, by family, as it said last.
    pub next_hops: BTreeMap<String, IpAddr>,
    /// Milliseconds between two of its heartbeats, as it said last; none if it was not heard.
    pub heartbeat_ms: Option<f64>,
    /// Whether its list of members is this host's; none if it was not heard.
    pub same_members: Option<bool>,
    /// Whether its VIPs and ports are this host's; none if it was not heard.
    pub same_services: Option<bool>,
    /// How many VIPs have which state on it, by the words of `status`. Of a member that does not live, what it said last.
    pub vips: BTreeMap<String, usize>,
}

/// Heartbeats that did not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedHeartbeats {
    /// Why.
    pub reason: ReasonStatus,
    /// How many.
    pub count: u64,
}

/// The VIPs of the whole site, as the members have said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteReport {
    /// All members, in the order of their addresses; empty while the chain does not work here.
    pub members: Vec<SiteMember>,
    /// The VIPs, in the order of the configuration, then those that only other members have.
    pub vips: Vec<SiteVip>,
}

/// A member, for the table of VIPs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteMember {
    /// Its address in the list of members.
    pub address: IpAddr,
    /// Whether it is this host.
    pub this_host: bool,
    /// As in [`ChainMember::state`].
    pub state: String,
}

/// A VIP of the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteVip {
    /// The VIP.
    pub address: IpAddr,
    /// Its service; none if this host's configuration does not have it.
    pub service: Option<String>,
    /// How many living members announce it. One that announces it as the last choice does not count.
    pub announcers: usize,
    /// How many have to, by `min_announcers`.
    pub min_announcers: Option<u32>,
    /// Its state on each living member that has said it, in the words of `status`.
    pub states: BTreeMap<IpAddr, String>,
}

impl SiteVip {
    /// Whether fewer members announce it than have to.
    pub fn lacks_announcers(&self) -> bool {
        self.min_announcers
            .is_some_and(|least| self.announcers < usize::try_from(least).unwrap_or(usize::MAX))
    }
}

/// The chain in one line, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainSummary {
    /// Whether every member is in the ring and this host forwards, as the configuration wants it.
    pub ok: bool,
    /// How many members the list has.
    pub listed: usize,
    /// How many of them live, this host too.
    pub living: usize,
    /// The same in words, with the next member.
    pub text: String,
}

/// An order to switch the forwarding of this host off or on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainOrder {
    /// `true`: forward nothing; `false`: forward again.
    pub off: bool,
    /// The reason, for other operators; required to switch it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The operator, if the socket would only show `root` (sudo).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}
