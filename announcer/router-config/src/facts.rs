//! What a router has to know about its frontends.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::bfd::Bfd;
use crate::text::Text;

/// The facts of one router and its frontends, from which a configuration is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The router's name in announcer's configuration (`[[peer]] name`).
    pub router: String,
    /// The router's AS; `None`: not known, so a placeholder is written.
    pub router_asn: Option<u32>,
    /// The router's address of the session; `None`: not known.
    pub router_address: Option<IpAddr>,
    /// The AS of the frontends (`[bgp] asn`).
    pub frontend_asn: u32,
    /// The addresses from which the frontends open their sessions.
    pub frontends: Frontends,
    /// The families of the routes; never empty, and each has a prefix.
    pub families: Vec<Family>,
    /// The prefixes that a frontend announces, of `families` alone, in ascending order, each once.
    pub prefixes: Vec<IpNet>,
    /// The TCP ports at which the checks probe the VIPs, in ascending order; empty: they probe none.
    pub ports: Vec<u16>,
    /// The file of the TCP MD5 key on the frontend (RFC 2385); the key itself is never known here. `None`: there is no key.
    pub md5_file: Option<String>,
    /// Whether both sides drop packets from further away than `hops` (RFC 5082).
    pub ttl_security: bool,
    /// How many hops away a frontend may be; 1: on a link of the router.
    pub hops: u8,
    /// The hold time, in seconds; 0: never.
    pub hold_time: u16,
    /// Whether a route to these VIPs may have the community GRACEFUL_SHUTDOWN (RFC 8326).
    pub sends_graceful_shutdown: bool,
    /// Whether IPv4 routes may have an IPv6 next hop (RFC 8950): the session is over IPv6, and no IPv4 next hop is configured.
    pub extended_next_hop: bool,
    /// Whether the session is unnumbered: the frontends learn the router from its router advertisements (RFC 4861), and it has a link
    /// of its own to each of them.
    pub unnumbered: bool,
    /// BFD with the frontends; `None`: they have none.
    pub bfd: Option<Bfd>,
}

/// The addresses from which the frontends open their sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frontends {
    /// Not known: a placeholder is written.
    Unknown,
    /// These; never empty, and all of one family.
    Addresses(Vec<IpAddr>),
    /// Any address of this network.
    Range(IpNet),
}

/// An address family (RFC 4760).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4 unicast.
    Ipv4,
    /// IPv6 unicast.
    Ipv6,
}

impl Family {
    /// The family of a prefix.
    pub fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Family::Ipv4,
            IpNet::V6(_) => Family::Ipv6,
        }
    }

    /// `4` or `6`: the end of the names that the configurations define.
    pub(crate) fn digit(self) -> char {
        match self {
            Family::Ipv4 => '4',
            Family::Ipv6 => '6',
        }
    }

    /// The word of the Cisco-like systems: `ip` or `ipv6`.
    pub(crate) fn ip(self) -> &'static str {
        match self {
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ipv6",
        }
    }

    /// `ipv4` or `ipv6`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        }
    }
}

/// What has to be replaced by the router's interface on the link of a session between link-local addresses.
pub(crate) const INTERFACE: &str = "FRONTEND-INTERFACE";

/// A frontend as the router's neighbour. Its text is its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Neighbor {
    address: String,
    /// Whether its address means nothing without an interface.
    pub(crate) is_link_local: bool,
}

impl Neighbor {
    /// Its address, with the interface behind it if it needs one: `fe80::11%FRONTEND-INTERFACE` (RFC 4007).
    pub(crate) fn with_interface(&self) -> String {
        if self.is_link_local { format!("{}%{INTERFACE}", self.address) } else { self.address.clone() }
    }
}

impl fmt::Display for Neighbor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

impl Facts {
    /// Whether the router is in the AS of the frontends (iBGP).
    pub(crate) fn is_internal(&self) -> bool {
        self.router_asn == Some(self.frontend_asn)
    }

    /// The router's AS, or what to replace by it.
    pub(crate) fn router_as(&self) -> String {
        self.router_asn.map_or_else(|| "ROUTER-AS".into(), |asn| asn.to_string())
    }

    /// What has to be replaced by the key, if there is one. It does not contain the path, which may have any character and any length.
    pub(crate) fn key(&self) -> Option<String> {
        self.md5_file.as_ref().map(|_| format!("KEY-OF-{}", self.router))
    }

    /// The prefixes of a family.
    pub(crate) fn of(&self, family: Family) -> Vec<IpNet> {
        self.prefixes.iter().filter(|prefix| Family::of(prefix) == family).copied().collect()
    }

    /// The fewest networks that contain the prefixes of a family and nothing else: for access lists and the routes of last resort.
    pub(crate) fn cover(&self, family: Family) -> Vec<IpNet> {
        IpNet::aggregate(&self.of(family))
    }

    /// Each frontend; a placeholder if its address is not known; none if there is a range.
    pub(crate) fn neighbors(&self) -> Vec<Neighbor> {
        let known = |ip: &IpAddr| Neighbor { address: ip.to_string(), is_link_local: is_link_local(*ip) };
        match &self.frontends {
            Frontends::Unknown => vec![Neighbor {
                address: "FRONTEND-ADDRESS".into(),
                is_link_local: self.unnumbered || self.router_address.is_some_and(is_link_local),
            }],
            Frontends::Addresses(all) => all.iter().map(known).collect(),
            Frontends::Range(_) => Vec::new(),
        }
    }

    /// The network of the frontends, if they are known by one.
    pub(crate) fn range(&self) -> Option<IpNet> {
        match &self.frontends {
            Frontends::Range(range) => Some(*range),
            Frontends::Unknown | Frontends::Addresses(_) => None,
        }
    }

    /// The frontend in the commands that show its session.
    pub(crate) fn shown_frontend(&self) -> String {
        match &self.frontends {
            Frontends::Addresses(all) if !all.is_empty() => all[0].to_string(),
            Frontends::Addresses(_) | Frontends::Unknown | Frontends::Range(_) => "FRONTEND-ADDRESS".into(),
        }
    }

    /// How many prefixes of a family a frontend is expected to send at most: twice as many as today, at least 10. The prefix list
    /// refuses the others, so a router only warns above it: if VIPs are added on the frontends first, the sessions have to stay.
    pub(crate) fn limit(&self, family: Family) -> usize {
        (2 * self.of(family).len()).max(10)
    }

    /// The limit of a family for a router that ends the session above it, or takes no more routes: many more than anybody adds at
    /// once, and few enough to keep a full table of the internet out.
    pub(crate) fn hard_limit(&self, family: Family) -> usize {
        (10 * self.of(family).len()).max(10_000)
    }

    /// The time between two KEEPALIVEs, in seconds.
    pub(crate) fn keepalive(&self) -> u16 {
        self.hold_time / 3
    }

    /// The router's IPv4 address, for its BGP identifier.
    pub(crate) fn router_id(&self) -> Option<IpAddr> {
        self.router_address.filter(IpAddr::is_ipv4)
    }

    /// Writes, as a comment, the line that sets the BGP identifier, unless an IPv4 address of the router is known.
    pub(crate) fn router_id_hint(&self, line: &str, text: &mut Text) {
        if self.router_id().is_none() {
            text.note("Needed if the router has no IPv4 address:");
            text.maybe(line);
        }
    }

    /// The ports of the services, with something between them.
    pub(crate) fn ports(&self, between: &str) -> String {
        self.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cover_has_the_vips_and_nothing_else() {
        let of = |first: u8, last: u8| {
            let vips = (first..=last).map(|byte| IpNet::from(IpAddr::from([192, 0, 2, byte]))).collect();
            let facts = Facts {
                router: "r1".into(),
                router_asn: None,
                router_address: None,
                frontend_asn: 65001,
                frontends: Frontends::Unknown,
                families: vec![Family::Ipv4],
                prefixes: vips,
                ports: vec![],
                md5_file: None,
                ttl_security: false,
                hops: 1,
                hold_time: 9,
                sends_graceful_shutdown: false,
                extended_next_hop: false,
                unnumbered: false,
                bfd: None,
            };
            (
                facts.cover(Family::Ipv4).iter().map(ToString::to_string).collect::<Vec<_>>(),
                (facts.limit(Family::Ipv4), facts.hard_limit(Family::Ipv4)),
            )
        };
        assert_eq!(of(80, 80), (vec!["192.0.2.80/32".to_owned()], (10, 10_000)));
        assert_eq!(of(80, 81).0, ["192.0.2.80/31"]);
        assert_eq!(of(81, 82).0, ["192.0.2.81/32", "192.0.2.82/32"]);
        assert_eq!(
            of(80, 119),
            (vec!["192.0.2.80/28".into(), "192.0.2.96/28".into(), "192.0.2.112/29".into()], (80, 10_000))
        );
    }
}
