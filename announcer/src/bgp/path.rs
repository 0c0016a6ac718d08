//! The path to a peer: our addresses, which of them may be a source or a next hop, and whether the path of a session is still
//! valid.
//!
//! Pure. A VIP is never a source, because the answer would go to any host that has the VIP. A temporary address (RFC 8981) is never
//! a source either, because the router needs a permanent address in its configuration. For the same reason, an address that was
//! configured goes before one from a router advertisement. RFC 2545 §3 for the next hops of IPv6.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::bgp::reason::TcpFailure;
use crate::config::PeerAddress;

/// The way that the kernel would choose for packets to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The source address that the kernel would use.
    pub source: IpAddr,
    /// The outgoing interface's index.
    pub interface: u32,
    /// The router on the way; `None`: the address is on the link.
    pub via: Option<IpAddr>,
}

/// An interface, as a session needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionDevice {
    /// Its index.
    pub index: u32,
    /// The index of the VRF, bridge or bond that it is a port of; `None`: it is a port of nothing.
    pub controller: Option<u32>,
    /// The routing table of a VRF; `None`: it is not a VRF.
    pub table: Option<u32>,
}

/// The devices to which a session is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundDevices {
    /// `interface` of the peer.
    pub interface: Option<SessionDevice>,
    /// `vrf` of the peer.
    pub vrf: Option<SessionDevice>,
}

impl BoundDevices {
    /// The devices with these names, as they were found.
    ///
    /// # Errors
    /// One of them does not exist, `vrf` is not a VRF, or `interface` is not in it. A socket could be bound to any interface, so without
    /// this rule, `vrf = "eth0"` would have no effect but that.
    pub fn new(
        interface: Option<(&str, Option<SessionDevice>)>,
        vrf: Option<(&str, Option<SessionDevice>)>,
    ) -> Result<Self, TcpFailure> {
        let existing = |wanted: Option<(&str, Option<SessionDevice>)>, missing: fn(String) -> TcpFailure| {
            wanted.map(|(name, found)| found.ok_or_else(|| missing(name.to_owned()))).transpose()
        };
        let bound = BoundDevices {
            interface: existing(interface, TcpFailure::NoInterface)?,
            vrf: existing(vrf, TcpFailure::NoVrf)?,
        };
        let Some((name, Some(found))) = vrf else { return Ok(bound) };
        if found.table.is_none() {
            return Err(TcpFailure::NotAVrf(name.to_owned()));
        }
        match interface {
            Some((port, Some(device))) if device.controller != Some(found.index) => {
                Err(TcpFailure::NotInVrf { interface: port.to_owned(), vrf: name.to_owned() })
            }
            Some(_) | None => Ok(bound),
        }
    }

    /// The index of the device to which the sockets are bound.
    pub fn index(&self) -> Option<u32> {
        self.interface.or(self.vrf).map(|device| device.index)
    }

    /// The routing table of the VRF.
    pub fn table(&self) -> Option<u32> {
        self.vrf.and_then(|vrf| vrf.table)
    }
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The length of its subnet's prefix.
    pub prefix: u8,
    /// Whether it may be a source or a next hop.
    pub fitness: Fitness,
    /// Whether the kernel has generated it for some hours (RFC 8981).
    pub temporary: bool,
    /// Whether it is an IPv6 address with a limited lifetime, from a router advertisement (RFC 4862) or by DHCPv6. The kernel gives no
    /// order between such an address and a configured one; it takes the newer one.
    pub expires: bool,
}

/// Whether an address may be a source or a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// Of global scope, and neither tentative, deprecated nor temporary.
    Lasting,
    /// The same, but deprecated (RFC 4862 §5.5.4): it still works, and is used while there is no other.
    Deprecated,
    /// It may not be used.
    Unfit,
}

impl Address {
    fn is_on_link_with(&self, host: IpAddr) -> bool {
        IpNet::new(self.ip, self.prefix).is_ok_and(|subnet| subnet.contains(&host))
    }

    /// Whether it was configured with a subnet. Others come from router advertisements and DHCPv6, or are VIPs of other programs.
    fn is_configured(&self) -> bool {
        !self.expires
            && IpNet::new(self.ip, self.prefix)
                .is_ok_and(|subnet| subnet.prefix_len() < subnet.max_prefix_len())
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
    /// It is set up and has a carrier.
    Up,
    /// It is not set up, or has no carrier.
    Down,
}

/// The host's network, as last read from the kernel. Links are read first, then addresses. What is empty was not read yet, because each
/// host has lo, with an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// The interfaces that exist, by index.
    pub links: BTreeMap<u32, Link>,
    /// The addresses of each interface, in the kernel's order.
    pub addresses: BTreeMap<u32, Vec<Address>>,
    /// Increases when a route has changed.
    pub routes: u64,
    /// Increases when a default route has changed. The kernel sends no event for a route that is removed together with its link.
    pub default_routes: u64,
}

impl Network {
    /// Whether links and addresses were read.
    pub fn is_read(&self) -> bool {
        !self.links.is_empty() && !self.addresses.is_empty()
    }

    /// Whether an interface has this address.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.addresses.values().flatten().any(|address| address.ip == ip)
    }

    /// Whether the default route is the same as `before`: only other routes have changed since then.
    pub fn has_the_default_route_of(&self, before: &Network) -> bool {
        let Network { links, addresses, routes: _, default_routes } = before;
        (links, addresses, default_routes) == (&self.links, &self.addresses, &self.default_routes)
    }

    /// The addresses of an interface, in the kernel's order.
    pub fn of(&self, interface: u32) -> &[Address] {
        self.addresses.get(&interface).map_or(&[], Vec::as_slice)
    }
}

/// The source for a session: the kernel's choice, or another address of the interface if that is a VIP or temporary. A deprecated
/// address comes last, and an address in the subnet of the next host comes before the others. `host` is the next host on the way to
/// the peer. If the choice has a limited lifetime, a configured address replaces it, in the subnet of the next host or, as the next host
/// may have a link-local address alone, in that of the choice: a router advertisement gives the host such an address at any time, and
/// the router has the configured one in its configuration.
pub fn source(choice: IpAddr, host: IpAddr, ours: &[Address], vips: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let chosen = ours.iter().find(|ours| ours.ip == choice);
    let is_temporary = chosen.is_some_and(|chosen| chosen.temporary);
    let expires = chosen.is_some_and(|chosen| chosen.expires);
    let fits = |ours: &&Address| ours.ip.is_ipv4() == choice.is_ipv4();
    let mut candidates: Vec<&Address> = candidates(ours, vips).filter(fits).collect();
    candidates.sort_by_key(|ours| (ours.fitness, !ours.is_on_link_with(host), !ours.is_configured()));
    if vips.contains(&choice) || is_temporary {
        return candidates.first().map(|ours| ours.ip);
    }
    let replaces = |ours: &&&Address| {
        ours.is_configured()
            && ours.fitness == Fitness::Lasting
            && (ours.is_on_link_with(host) || ours.is_on_link_with(choice))
    };
    let configured = candidates.iter().find(replaces).filter(|_| expires);
    Some(configured.map_or(choice, |ours| ours.ip))
}

/// The next hop of IPv6 routes (RFC 2545 §3): the session's own address, otherwise the one that was advertised before, otherwise
/// the interface's first global address that is not a VIP. A deprecated address is used while there is no other.
pub fn next_hop_v6(
    session: IpAddr,
    before: Option<Ipv6Addr>,
    ours: &[Address],
    vips: &BTreeSet<IpAddr>,
) -> Option<Ipv6Addr> {
    let global = |ip: IpAddr| match ip {
        IpAddr::V6(ip) => Some(ip).filter(|ip| is_global(*ip)),
        IpAddr::V4(_) => None,
    };
    let own = global(session).filter(|ip| !vips.contains(&IpAddr::V6(*ip)));
    own.or_else(|| next_hop(ours, vips, before, global))
}

/// The next hop of IPv4 routes on a session over IPv6: the one that was advertised before, otherwise the interface's first IPv4
/// address that is not a VIP. A deprecated address is used while there is no other.
pub fn next_hop_v4(before: Option<Ipv4Addr>, ours: &[Address], vips: &BTreeSet<IpAddr>) -> Option<Ipv4Addr> {
    next_hop(ours, vips, before, |ip| match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    })
}

/// The addresses that may be a source or a next hop, in the kernel's order.
fn candidates<'a>(ours: &'a [Address], vips: &'a BTreeSet<IpAddr>) -> impl Iterator<Item = &'a Address> {
    ours.iter().filter(|ours| ours.fitness != Fitness::Unfit && !vips.contains(&ours.ip))
}

/// The best of the addresses that `of` accepts. Of equal ones it is the one from before, otherwise one that was configured with a
/// subnet, otherwise the first.
fn next_hop<T: PartialEq>(
    ours: &[Address],
    vips: &BTreeSet<IpAddr>,
    before: Option<T>,
    of: impl Fn(IpAddr) -> Option<T>,
) -> Option<T> {
    let candidates = candidates(ours, vips).filter_map(|ours| Some((ours, of(ours.ip)?)));
    let best = candidates
        .min_by_key(|(ours, ip)| (ours.fitness, before.as_ref() != Some(ip), !ours.is_configured()));
    best.map(|(_, ip)| ip)
}

fn is_global(ip: Ipv6Addr) -> bool {
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local())
        && ip.to_ipv4_mapped().is_none()
}

/// The parts of the host's network that a session's connection uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionPath {
    /// The router's address.
    pub peer: IpAddr,
    /// Our address.
    pub local: IpAddr,
    /// The outgoing interface's index.
    pub interface: u32,
    /// Whether our address is on that interface. A session with an address of another interface may use another way later.
    pub own: bool,
    /// Whether an interface had our address. Some addresses are local without an interface, such as 127.0.0.0/8.
    pub assigned: bool,
    /// Whether the configuration sets our address, so that a new session would have the same.
    pub pinned: bool,
}

/// The state of a session's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathState {
    /// The session can continue.
    Intact,
    /// Its link is down; with the name of the interface.
    LinkDown(String),
    /// Its interface no longer exists.
    InterfaceGone,
    /// The host has lost the session's own address.
    AddressGone(IpAddr),
}

impl ConnectionPath {
    /// Compares a session with the current network. Level-triggered: the result depends only on the current state, not on the
    /// events before it.
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
        // Several interfaces can have the same link-local address, but the session uses only one of them.
        let here = match self.local {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                network.of(self.interface).iter().any(|ours| ours.ip == self.local)
            }
            IpAddr::V4(_) | IpAddr::V6(_) => network.has(self.local),
        };
        if self.assigned && !here {
            return PathState::AddressGone(self.local);
        }
        self.assigned |= here;
        PathState::Intact
    }

    /// Whether a new session would use another way: the kernel sends packets for the peer over another interface, or the peer is
    /// another router (`default-gateway`). If there is no way at all, the result is false.
    pub fn moved(&self, now: Option<(IpAddr, Path)>) -> bool {
        now.is_some_and(|(peer, path)| {
            peer != self.peer || (!self.pinned && path.interface != self.interface)
        })
    }
}

/// The peer's address and the index of its interface, if the query for the way to the peer takes them as they are; `None`: it searches
/// for them. The search for the default gateway reads all routes, so it must not run for each change in a million routes: the last answer
/// `located` counts while the default route is the same. A session with a router that was learnt stays with that router while its
/// advertisement holds, also if the link has another router now; `used` is the path of that session.
pub fn known_peer(
    address: PeerAddress,
    used: Option<&ConnectionPath>,
    located: Option<(&Network, IpAddr, u32)>,
    network: &Network,
) -> Option<(IpAddr, u32)> {
    match address {
        PeerAddress::Ip(_) => None,
        PeerAddress::DefaultGateway => {
            let (before, address, interface) = located?;
            network.has_the_default_route_of(before).then_some((address, interface))
        }
        PeerAddress::RouterAdvertisement => used.map(|used| (used.peer, used.interface)),
    }
}

#[cfg(test)]
mod tests;
