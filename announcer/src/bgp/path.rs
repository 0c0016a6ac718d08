//! The path to a peer: our addresses, which of them may be a source or a next hop, and whether what a session uses is still
//! right.
//!
//! Pure. A VIP is never a source: the answer would go to any host that has it. A temporary address (RFC 8981) is never one
//! either: the router knows this host by an address that stays. RFC 2545 §3 for the next hops of IPv6.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Where the kernel would send packets for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The source address that it would take.
    pub source: IpAddr,
    /// The outgoing interface's index.
    pub interface: u32,
    /// The router on the way; `None`: the address is on the link.
    pub via: Option<IpAddr>,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The length of its subnet's prefix.
    pub prefix: u8,
    /// Of global scope, and neither tentative, deprecated nor temporary.
    pub lasting: bool,
    /// One that the kernel made up for some hours (RFC 8981).
    pub temporary: bool,
}

impl Address {
    fn is_on_link_with(&self, host: IpAddr) -> bool {
        IpNet::new(self.ip, self.prefix).is_ok_and(|subnet| subnet.contains(&host))
    }
}

/// An interface that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Whether packets can leave it.
    pub state: LinkState,
}

/// Whether an interface is set up and has a carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// It is, and it has.
    Up,
    /// It is not, or it has not.
    Down,
}

/// The host's network as the kernel showed it last. Without a link nobody has looked yet: each host has lo.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// The interfaces that exist, by index.
    pub links: BTreeMap<u32, Link>,
    /// The addresses of each, in the kernel's order.
    pub addresses: BTreeMap<u32, Vec<Address>>,
    /// Rises when a route has changed.
    pub routes: u64,
}

impl Network {
    /// Whether an interface has this address.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.addresses.values().flatten().any(|address| address.ip == ip)
    }

    /// The addresses of an interface, in the kernel's order.
    pub fn of(&self, interface: u32) -> &[Address] {
        self.addresses.get(&interface).map_or(&[], Vec::as_slice)
    }
}

/// The source for a session: the kernel's choice, or another address of the interface where that is a VIP or temporary;
/// one of the next host's subnet goes first. `host` is the next host on the way to the peer.
pub fn source(choice: IpAddr, host: IpAddr, ours: &[Address], vips: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let temporary = ours.iter().any(|ours| ours.ip == choice && ours.temporary);
    if !vips.contains(&choice) && !temporary {
        return Some(choice);
    }
    let fits =
        |ours: &&Address| ours.ip.is_ipv4() == choice.is_ipv4() && ours.lasting && !vips.contains(&ours.ip);
    let near = ours.iter().filter(fits).find(|ours| ours.is_on_link_with(host));
    near.or_else(|| ours.iter().find(fits)).map(|ours| ours.ip)
}

/// The next hop of IPv6 routes (RFC 2545 §3): the session's own address, else the one that was advertised before, else the
/// interface's first global one that is no VIP.
pub fn next_hop_v6(
    session: IpAddr,
    before: Option<Ipv6Addr>,
    ours: &[Address],
    vips: &BTreeSet<IpAddr>,
) -> Option<Ipv6Addr> {
    let own = Address { ip: session, prefix: 128, lasting: true, temporary: false };
    let global = |candidate: &Address| match candidate.ip {
        IpAddr::V6(ip) if candidate.lasting && !vips.contains(&candidate.ip) && is_global(ip) => Some(ip),
        IpAddr::V6(_) | IpAddr::V4(_) => None,
    };
    let kept = ours.iter().filter(|ours| before.is_some_and(|before| ours.ip == before));
    std::iter::once(&own).chain(kept).chain(ours).find_map(global)
}

/// The next hop of IPv4 routes on a session over IPv6: the one that was advertised before, else the interface's first IPv4
/// address that is no VIP.
pub fn next_hop_v4(before: Option<Ipv4Addr>, ours: &[Address], vips: &BTreeSet<IpAddr>) -> Option<Ipv4Addr> {
    let fits = |ours: &Address| match ours.ip {
        IpAddr::V4(ip) if ours.lasting && !vips.contains(&ours.ip) => Some(ip),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    let kept = ours.iter().filter(|ours| before.is_some_and(|before| ours.ip == before));
    kept.chain(ours).find_map(fits)
}

fn is_global(ip: Ipv6Addr) -> bool {
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local())
        && ip.to_ipv4_mapped().is_none()
}

/// What a session's connection uses of the host's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The router's address.
    pub peer: IpAddr,
    /// Our address.
    pub local: IpAddr,
    /// The outgoing interface's index.
    pub interface: u32,
    /// Whether our address is one of that interface: a session from another interface's address may find another way.
    pub own: bool,
    /// Whether an interface was seen to have our address. Some addresses are local without one, as all of 127.0.0.0/8.
    pub seen: bool,
    /// Whether the configuration gives our address, so that a session that begins anew would have the same.
    pub pinned: bool,
}

/// What the host's network makes of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathState {
    /// It goes on.
    Intact,
    /// Its link is cut; the interface's name.
    LinkDown(String),
    /// Its interface does not exist any more.
    InterfaceGone,
    /// The host has lost the session's own address.
    AddressGone(IpAddr),
}

impl Used {
    /// Judges a session by the network as it is now. Level-triggered: whatever happened meanwhile, the result is the same.
    pub fn judge(&mut self, network: &Network) -> PathState {
        if network.links.is_empty() {
            return PathState::Intact;
        }
        match network.links.get(&self.interface) {
            Some(link) if self.own && link.state == LinkState::Down => {
                return PathState::LinkDown(link.name.clone());
            }
            None if self.own => return PathState::InterfaceGone,
            Some(_) | None => {}
        }
        // Several interfaces can have the same link-local address, and only one of them is the session's.
        let here = match self.local {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                network.of(self.interface).iter().any(|ours| ours.ip == self.local)
            }
            IpAddr::V4(_) | IpAddr::V6(_) => network.has(self.local),
        };
        if self.seen && !here {
            return PathState::AddressGone(self.local);
        }
        self.seen |= here;
        PathState::Intact
    }

    /// Whether a session that begins anew now would take another way: the kernel sends packets for the peer over another
    /// interface, or the peer is another router (`default-gateway`). No way at all is no other way.
    pub fn moved(&self, now: Option<(IpAddr, Path)>) -> bool {
        now.is_some_and(|(peer, path)| {
            peer != self.peer || (!self.pinned && path.interface != self.interface)
        })
    }
}

#[cfg(test)]
mod tests;
