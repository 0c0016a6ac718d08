//! The rules of nftables that forward packets, as text for `nft -f -`.
//!
//! Pure. Two tables of our own, `ip announcer` and `ip6 announcer`: a table of the family `inet` cannot hold `dup to`. [`install`]
//! replaces the rules of both in one transaction and keeps the values of the counters; [`remove`] deletes both. No other table is named.
//!
//! The way of a packet, at priority raw, which is before connection tracking. A packet that is none of these is left alone:
//!
//! ```text
//!  TCP for a service (VIP and port)              ICMP error about a TCP packet of a service
//!            │                                                     │
//!            ▼                                                     ▼
//!  lookup_wildcard, lookup_address                           lookup_error
//!            │                                                     │
//!            ├── a connection of this host, or a SYN and a server ─┼──► owned     this host's stack
//!            ▼                                                     ▼
//!         unowned ── believed mark 32, or TTL 1 ──────────────────────► returned  this host's stack
//!            │    ── believed mark 33 to 63 ──► hop32 to hop62 ───────► next_member
//!            │    ── Off, no next member, far over the budget ────────► this host's stack
//!            │    ── over the budget ─────────────────────────────────► dropped: TCP sends it again
//!            └─────────────────────────────────► hop of the origin ───► next_member
//! ```
//!
//! **Test packets** show whether forwarded packets arrive ([`test_packets`](super::test_packets)): a SYN of this host to a VIP, from
//! [`TEST_PORT`] over lo, gets [`TEST_MARK`] and a source that is not this host's, and goes to the next member as a forwarded packet
//! does. There it is counted here, and again behind every packet filter (input at priority 300), where it is dropped.
//!
//! **Marks** are in the DSCP (RFC 2474 section 3) and count down: 32 plus the number of hops that may still follow. So a packet
//! ends after at most 32 hops, whatever the other members' rings are. Who gets mark 32 and has no socket lets its own stack answer.
//! Marks are believed only from members; from anybody else the packet is an ordinary one. A mark is cleared to DSCP 0 before our
//! stack gets the packet, which copies the DSCP into a RST, and with `tcp_reflect_tos` into all answers.
//!
//! **The TTL** bounds what marks cannot: if a member's MAC is missing here, its packets are ordinary ones and begin again here. The kernel
//! lowers the TTL of a forwarded packet, from 0 to 255, so the rules stop at 1.
//!
//! **Which packets have a socket here.** `socket wildcard` is 0 for a connection, whose own address is the VIP, and 1 for a server on
//! `0.0.0.0` or `[::]`. It cannot tell a server on the VIP itself from its connections: there `socket mark` does
//! ([`ListenOn::Address`]). Neither matches TIME_WAIT and SYN_RECV; `socket transparent` does. A SYN cookie has no socket: its ACK
//! returns here like every packet that nobody owns, and the stack checks it.
//!
//! **What the kernel does with a forwarded packet** (`dup to`, then `drop`): it lowers the TTL by one, sets DF, and sends the packet like
//! one of its own. So the packet passes the hooks output and postrouting, with `ct state untracked`, after it was counted: a firewall
//! that drops it there is not seen in the counters. If nobody answers for the next member's address (ARP, ND), the kernel sends
//! "host unreachable" to the client. Where `rp_filter` is strict and the route to the client is not on the segment, the kernel drops
//! the packet when it is accepted or returned, after it was counted. Only the first fragment of a packet has ports, so fragments are not forwarded, unless connection tracking has joined them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::str::FromStr;

use self::text::{Words, family};
use crate::model::InvalidValue;

pub mod counters;
pub mod others;
mod text;

/// The name of both tables.
pub const TABLE: &str = "announcer";
/// The mark of a packet that has no hop before it.
pub const LAST_HOP: u8 = 32;
/// The most members of a ring: its marks are 32 to 63, the upper half of the six bits of the DSCP.
pub const MAX_MEMBERS: u8 = 32;
/// The mark (`SO_MARK`) of connections of a server on the VIP itself. It is one bit, which neither Kubernetes (0x4000, 0x8000) nor
/// Calico, Weave Net and Tailscale (from 0x10000 up) nor AWS (0x80) use. Cilium uses it: there, and where `ip rule` or a firewall
/// has another meaning for it, the server has to listen on a wildcard.
pub const CONNECTION_MARK: u32 = 0x1000;

/// The TCP source port of a test packet on lo, where it begins its way.
pub const TEST_PORT: u16 = 9181;
/// The DSCP of a test packet on the segment. A switch that clears any of its bits changes it.
pub const TEST_MARK: u8 = 63;
/// The source of an IPv4 test packet on the segment: like a client's, it is no address of the sender. It is of a range that no host has
/// (RFC 2544 appendix C.2.2, 198.18.0.0/15).
pub const TEST_SOURCE_V4: &str = "198.18.91.81";
/// The source of an IPv6 test packet (RFC 5180 section 8, 2001:2::/48).
pub const TEST_SOURCE_V6: &str = "2001:2:0:9181::1";

/// Everything that the rules depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    /// The device on which the members reach each other. It has to exist: nft stores its index, so the rules have to be installed
    /// again when it was removed and made again.
    pub device: SegmentDevice,
    /// Whose marks are believed.
    pub believed: BelievedSources,
    /// How many packets a second this host may start on their way, for each family; as many may follow each other at once
    /// after a pause. Packets that others have started do not count. Up to three times as many more are dropped, the rest is answered.
    pub budget: NonZeroU32,
    /// The operator's switch.
    pub forwarding: ForwardingSwitch,
    /// IPv4.
    pub v4: FamilyRules<Ipv4Addr>,
    /// IPv6.
    pub v6: FamilyRules<Ipv6Addr>,
}

/// What the rules of one address family depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyRules<A> {
    /// The services, by VIP and TCP port.
    pub services: BTreeMap<(A, u16), ListenOn>,
    /// To whom packets are forwarded. `None`: no other member lives; this host's stack gets every packet, also one with a mark.
    pub next: Option<NextMember<A>>,
}

/// How the server of a service listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenOn {
    /// On `0.0.0.0` or `[::]`.
    Wildcard,
    /// On the VIP itself. This needs `net.ipv4.tcp_fwmark_accept=1` (for IPv6, too): a packet for the service whose mark is 0 gets
    /// [`CONNECTION_MARK`] after all other rules, and the kernel copies the mark of the packet that opens a connection to it. So a
    /// connection has a mark, ours or the administrator's, and the server has none. If the server has one of its own (`SO_MARK`),
    /// nothing is forwarded. A connection that was opened before the rules were installed has no mark: its packets make a round of
    /// the ring and return. So do those of all connections while the sysctl is 0, up to the budget.
    Address,
}

/// Whose marks are believed. The packets have to arrive on the segment's device in either case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BelievedSources {
    /// Those of these Ethernet addresses: the other members on a LAN, without the routers.
    Macs(BTreeSet<[u8; 6]>),
    /// Those of everybody on the device: a VXLAN device, on which there are only members.
    Device,
}

/// The operator's switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardingSwitch {
    /// Packets without a socket here are forwarded.
    On,
    /// This host starts no packet on its way: its own stack answers. It still accepts what is for its sockets and forwards marked
    /// packets without one to the next member: other members' rings go through this host, and their flows would break.
    Off,
}

/// The member to whom this host forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextMember<A> {
    /// Its address on the segment, for the neighbour table: a link-local one is right, too.
    pub address: A,
    /// How many members are in the ring.
    pub ring: RingLength,
}

/// The number of members of a ring, this host included: 2 to [`MAX_MEMBERS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLength(u8);

impl RingLength {
    /// `None` if nobody else is in the ring, or if there are more members than marks.
    pub fn new(members: usize) -> Option<Self> {
        let members = u8::try_from(members).ok()?;
        (2..=MAX_MEMBERS).contains(&members).then_some(RingLength(members))
    }

    /// The mark with which the origin of a packet sends it.
    pub fn first_mark(self) -> u8 {
        LAST_HOP + self.0 - 1
    }
}

/// The name of a network device that can stand in a rule: 1 to 15 letters, digits, `.`, `-`, `_` and `@`. The kernel allows more, but
/// nft reads `*` as a pattern, and has no escape for a quotation mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentDevice(String);

impl FromStr for SegmentDevice {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '@');
        if (1..=15).contains(&text.len()) && text.chars().all(good) && !matches!(text, "." | "..") {
            Ok(SegmentDevice(text.to_owned()))
        } else {
            Err(InvalidValue(format!(
                "`{}` cannot be the device of the chain; its name has 1 to 15 letters, digits, `.`, `-`, `_` and `@`",
                text.escape_debug()
            )))
        }
    }
}

impl Display for SegmentDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text that installs the rules, or replaces those that are installed, in one transaction. Counters keep their values. The same
/// rules always have the same text.
///
/// A table of another version of this program can have a set or a chain of the same name and another type: then nft refuses the
/// text and changes nothing. [`remove`] with this text behind it, in one input, replaces that table, too; its counters start again.
pub fn install(rules: &RuleSet) -> String {
    let v4 = Words {
        table: "ip",
        address: "ipv4_addr",
        errors: "icmp type { destination-unreachable, time-exceeded, parameter-problem }",
        // 8 octets of ICMP (RFC 792), then the packet in error: protocol at 9, and its ports after 20 octets without options.
        inner_protocol: "@th,136,8",
        inner_port: "@th,224,16",
        hop_limit: "ip ttl",
        test_source: TEST_SOURCE_V4,
    };
    let v6 = Words {
        table: "ip6",
        address: "ipv6_addr",
        errors: "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }",
        // 8 octets of ICMPv6 (RFC 4443 section 3), then next header at 6, and the ports after 40 octets without extension headers.
        inner_protocol: "@th,112,8",
        inner_port: "@th,384,16",
        hop_limit: "ip6 hoplimit",
        test_source: TEST_SOURCE_V6,
    };
    family(&v4, rules, &rules.v4) + &family(&v6, rules, &rules.v6)
}

/// The text that removes both tables in one transaction. It does not fail if they are missing.
pub fn remove() -> String {
    // `destroy table` needs nftables 1.0.7 and kernel 6.3.
    ["ip", "ip6"]
        .map(|family| format!("add table {family} {TABLE}\ndelete table {family} {TABLE}\n"))
        .concat()
}

#[cfg(test)]
mod tests;
