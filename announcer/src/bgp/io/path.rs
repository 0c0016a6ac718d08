//! The way to a peer: the interface, our addresses on it, and which of them may be a source or a next hop.
//!
//! Touches rtnetlink (RTM_GETROUTE, RTM_GETADDR, RTM_GETLINK, RTM_GETNEIGH). A VIP is never a source: the answer would go to any host that has it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::Handle;
use tokio::task::JoinHandle;

use crate::bgp::hint::Neighbour;
use crate::model::Family;

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
    /// Of global scope, and neither tentative nor deprecated.
    pub lasting: bool,
}

/// The source address that the kernel would take towards `address`: the default of `router_id`.
///
/// # Errors
/// What the kernel says, such as that there is no route.
pub async fn source_towards(address: IpAddr) -> io::Result<IpAddr> {
    Ok(towards(address, None).await?.source)
}

/// Where the kernel would send packets for `address`, over an interface if one is given.
pub(super) async fn towards(address: IpAddr, over: Option<u32>) -> io::Result<Path> {
    let netlink = Netlink::open()?;
    let mut question = RouteMessage::default();
    let (family, length) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    question.header.address_family = family;
    question.header.destination_prefix_length = length;
    question.attributes.push(RouteAttribute::Destination(RouteAddress::from(address)));
    question.attributes.extend(over.map(RouteAttribute::Oif));

    let answer = netlink.handle.route().get(question).execute().try_next().await.map_err(to_io)?;
    let route = answer.ok_or_else(|| io::Error::from(io::ErrorKind::NetworkUnreachable))?;
    let (mut source, mut interface, mut via) = (None, None, None);
    for attribute in &route.attributes {
        if let RouteAttribute::PrefSource(address) = attribute {
            source = ip(address);
        } else if let RouteAttribute::Oif(index) = attribute {
            interface = Some(*index);
        } else if let RouteAttribute::Gateway(address) = attribute {
            via = ip(address);
        }
    }
    match (source, interface) {
        (Some(source), Some(interface)) => Ok(Path { source, interface, via }),
        (None, _) | (_, None) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(ip) = address {
        Some(IpAddr::V4(*ip))
    } else if let RouteAddress::Inet6(ip) = address {
        Some(IpAddr::V6(*ip))
    } else {
        None
    }
}

/// The index of an interface; `None`: there is none of that name.
pub(super) async fn interface(name: &str) -> io::Result<Option<u32>> {
    let netlink = Netlink::open()?;
    let answer = netlink.handle.link().get().match_name(name.to_owned()).execute().try_next().await;
    match answer.map_err(to_io) {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The next hop of the default route and the interface that a link-local one is on: IPv4's, else, over an interface that
/// is given, IPv6's. The route of the lowest metric counts.
pub(super) async fn gateway(over: Option<u32>) -> io::Result<Option<(IpAddr, Option<u32>)>> {
    let mut best: Option<(u32, IpAddr, u32)> = None;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        if best.is_some() || (family == AddressFamily::Inet6 && over.is_none()) {
            break;
        }
        let netlink = Netlink::open()?;
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        let mut routes = netlink.handle.route().get(question).execute();
        while let Some(route) = routes.try_next().await.map_err(to_io)? {
            let candidate =
                default_route(&route).filter(|(_, _, index)| over.is_none_or(|over| over == *index));
            best = match (best, candidate) {
                (Some(best), Some(candidate)) if candidate.0 >= best.0 => Some(best),
                (best, None) => best,
                (_, candidate) => candidate,
            };
        }
    }
    Ok(best.map(|(_, gateway, index)| (gateway, over.or(Some(index)))))
}

/// Metric, next hop and interface of a default route of the main table.
fn default_route(route: &RouteMessage) -> Option<(u32, IpAddr, u32)> {
    let header = &route.header;
    if header.destination_prefix_length != 0
        || header.kind != RouteType::Unicast
        || header.table != RouteHeader::RT_TABLE_MAIN
    {
        return None;
    }
    let (mut metric, mut gateway, mut interface) = (0, None, None);
    for attribute in &route.attributes {
        if let RouteAttribute::Priority(priority) = attribute {
            metric = *priority;
        } else if let RouteAttribute::Gateway(address) = attribute {
            gateway = ip(address);
        } else if let RouteAttribute::Oif(index) = attribute {
            interface = Some(*index);
        } else if let RouteAttribute::MultiPath(hops) = attribute
            && let Some(first) = hops.first()
        {
            interface = Some(first.interface_index);
            gateway = first.attributes.iter().find_map(|attribute| {
                if let RouteAttribute::Gateway(address) = attribute { ip(address) } else { None }
            });
        }
    }
    Some((metric, gateway?, interface?))
}

/// What ARP or ND know of a host on an interface.
pub(super) async fn neighbour(address: IpAddr, interface: u32) -> io::Result<Neighbour> {
    let netlink = Netlink::open()?;
    let mut entries = netlink.handle.neighbours().get().execute();
    while let Some(entry) = entries.try_next().await.map_err(to_io)? {
        let is_it = entry.attributes.iter().any(|attribute| {
            if let NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) = attribute {
                IpAddr::V4(*ip) == address
            } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) = attribute {
                IpAddr::V6(*ip) == address
            } else {
                false
            }
        });
        if is_it && entry.header.ifindex == interface {
            let state = entry.header.state;
            let silent = [NeighbourState::Failed, NeighbourState::Incomplete].contains(&state);
            return Ok(if silent { Neighbour::Silent } else { Neighbour::Answers });
        }
    }
    Ok(Neighbour::Unknown)
}

/// The families that have VIPs, all of which are on the host (RFC 4724 §3: forwarding state is preserved).
pub(super) async fn families_on_host(vips: &BTreeSet<IpAddr>) -> io::Result<BTreeSet<Family>> {
    let netlink = Netlink::open()?;
    let dump = netlink.handle.address().get().execute();
    let here: BTreeSet<IpAddr> = dump
        .try_filter_map(async |message| Ok(read(&message)))
        .map_ok(|ours| ours.ip)
        .try_collect()
        .await
        .map_err(to_io)?;
    let missing: BTreeSet<Family> = vips.difference(&here).map(|vip| Family::of(*vip)).collect();
    Ok(vips.iter().map(|vip| Family::of(*vip)).filter(|family| !missing.contains(family)).collect())
}

/// The addresses of an interface, in the kernel's order.
pub(super) async fn addresses(interface: u32) -> io::Result<Vec<Address>> {
    let netlink = Netlink::open()?;
    let dump = netlink.handle.address().get().set_link_index_filter(interface).execute();
    dump.try_filter_map(async |message| Ok(read(&message))).try_collect().await.map_err(to_io)
}

fn read(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut prefix = None;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        if let AddressAttribute::Local(ip) = attribute {
            local = Some(*ip);
        } else if let AddressAttribute::Address(ip) = attribute {
            prefix = Some(*ip);
        } else if let AddressAttribute::Flags(wide) = attribute {
            flags = *wide;
        }
    }
    let unsure = AddressFlags::Tentative | AddressFlags::Deprecated | AddressFlags::Dadfailed;
    let lasting = message.header.scope == AddressScope::Universe && !flags.intersects(unsure);
    Some(Address { ip: local.or(prefix)?, lasting })
}

/// The source for a session: the kernel's choice, or another address of the interface where that is a VIP.
pub(super) fn source(path: Path, ours: &[Address], vips: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    if !vips.contains(&path.source) {
        return Some(path.source);
    }
    let fits = |ours: &&Address| {
        ours.ip.is_ipv4() == path.source.is_ipv4() && ours.lasting && !vips.contains(&ours.ip)
    };
    ours.iter().find(fits).map(|ours| ours.ip)
}

/// The next hop of IPv6 routes (RFC 2545 §3): the session's own address, else the interface's first global one that is no
/// VIP.
pub(super) fn next_hop_v6(session: IpAddr, ours: &[Address], vips: &BTreeSet<IpAddr>) -> Option<Ipv6Addr> {
    let own = Address { ip: session, lasting: true };
    let global = |candidate: &Address| match candidate.ip {
        IpAddr::V6(ip) if candidate.lasting && !vips.contains(&candidate.ip) && is_global(ip) => Some(ip),
        IpAddr::V6(_) | IpAddr::V4(_) => None,
    };
    std::iter::once(&own).chain(ours).find_map(global)
}

/// The next hop of IPv4 routes on a session over IPv6: the interface's first IPv4 address that is no VIP.
pub(super) fn next_hop_v4(ours: &[Address], vips: &BTreeSet<IpAddr>) -> Option<Ipv4Addr> {
    ours.iter().filter(|ours| ours.lasting && !vips.contains(&ours.ip)).find_map(|ours| match ours.ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    })
}

fn is_global(ip: Ipv6Addr) -> bool {
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local())
        && ip.to_ipv4_mapped().is_none()
}

/// A netlink connection that ends with its owner.
pub(super) struct Netlink {
    pub(super) handle: Handle,
    task: JoinHandle<()>,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Netlink { handle, task: tokio::spawn(connection) })
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn to_io(error: rtnetlink::Error) -> io::Error {
    if let rtnetlink::Error::NetlinkError(message) = &error {
        message.to_io()
    } else {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(list: &[(&str, bool)]) -> Vec<Address> {
        list.iter().map(|(ip, lasting)| Address { ip: ip.parse().unwrap(), lasting: *lasting }).collect()
    }

    fn vips(list: &[&str]) -> BTreeSet<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn a_vip_is_never_the_source() {
        let via = |source: &str| Path { source: source.parse().unwrap(), interface: 2, via: None };
        let addresses =
            ours(&[("fe80::1", true), ("192.0.2.1", true), ("10.0.0.9", false), ("10.0.0.1", true)]);
        let vips = vips(&["192.0.2.1", "2001:db8::80"]);
        assert_eq!(source(via("10.0.0.9"), &addresses, &vips), Some("10.0.0.9".parse().unwrap()));
        assert_eq!(source(via("192.0.2.1"), &addresses, &vips), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(source(via("2001:db8::80"), &ours(&[("2001:db8::80", true)]), &vips), None);
    }

    #[test]
    fn the_next_hop_is_a_global_address_that_lasts_and_is_no_vip() {
        let vips = vips(&["2001:db8::80"]);
        for (session, list, want) in [
            (
                "10.0.0.1",
                vec![("fe80::1", true), ("2001:db8::80", true), ("2001:db8::7", true)],
                Some("2001:db8::7"),
            ),
            ("10.0.0.1", vec![("2001:db8::7", false)], None),
            ("2001:db8::9", vec![("2001:db8::7", true)], Some("2001:db8::9")),
            ("fe80::1", vec![("2001:db8::7", true)], Some("2001:db8::7")),
            ("::ffff:10.0.0.1", vec![], None),
        ] {
            let got = next_hop_v6(session.parse().unwrap(), &ours(&list), &vips);
            assert_eq!(got, want.map(|ip| ip.parse().unwrap()), "{session} {list:?}");
        }
        let fours =
            ours(&[("2001:db8::7", true), ("192.0.2.80", true), ("10.0.0.8", false), ("10.0.0.7", true)]);
        let vips = ["192.0.2.80".parse().unwrap()].into();
        assert_eq!(next_hop_v4(&fours, &vips), Some("10.0.0.7".parse().unwrap()));
    }

    #[tokio::test]
    async fn the_kernel_is_asked() {
        let path = towards("127.0.0.1".parse().unwrap(), None).await.unwrap();
        assert_eq!(interface("lo").await.unwrap(), Some(path.interface));
        assert_eq!(interface("nosuch0").await.unwrap(), None);
        let (here, nowhere) = ("127.0.0.1".parse().unwrap(), "2001:db8::dead".parse().unwrap());
        assert_eq!(families_on_host(&[here, nowhere].into()).await.unwrap(), [Family::V4].into());
        assert_eq!(families_on_host(&[].into()).await.unwrap(), [].into());
        assert!(path.source.is_loopback());
        let found = addresses(path.interface).await.unwrap();
        assert!(found.iter().any(|address| address.ip.is_loopback() && !address.lasting), "{found:?}");
    }
}
