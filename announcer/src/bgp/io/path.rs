//! Asks the kernel for the way to a peer: the route, the interface, and our addresses on the interface.
//!
//! Touches rtnetlink (RTM_GETROUTE, RTM_GETADDR, RTM_GETLINK, RTM_GETNEIGH). [`bgp::path`](crate::bgp::path) decides what follows
//! from the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use netlink_dump::{dump, one};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoData, InfoVrf, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::Handle;
use tokio::task::JoinHandle;

use crate::bgp::hint::Neighbour;
use crate::bgp::io::sockopt;
use crate::bgp::path::{self as pure, Address, Fitness, Path, SessionDevice};
use crate::model::Family;

/// The source for a session with `peer`, and the addresses of the outgoing interface.
///
/// The query uses a socket that prefers public addresses (RFC 5014), because RTM_GETROUTE has no such preference.
pub(super) async fn source(
    peer: SocketAddr,
    device: Option<&str>,
    path: Path,
    vips: &BTreeSet<IpAddr>,
) -> io::Result<(Option<IpAddr>, Vec<Address>)> {
    let ours = addresses(path.interface).await?;
    // If the socket gives no answer, for example over a route that was just added, the source address of the route is used.
    let choice = sockopt::preferred_source(peer, device).unwrap_or(path.source);
    Ok((pure::source(choice, path.via.unwrap_or(peer.ip()), &ours, vips), ours))
}

/// The way that the kernel would choose for packets to `address`; with `over`, on that interface, or in that VRF.
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

    let answer = one(netlink.handle.route().get(question)).await.map_err(to_io)?;
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

/// An interface; `None`: there is none of that name.
pub(super) async fn interface(name: &str) -> io::Result<Option<SessionDevice>> {
    let netlink = Netlink::open()?;
    let answer = one(netlink.handle.link().get().match_name(name.to_owned())).await;
    match answer.map_err(to_io) {
        Ok(link) => Ok(link.as_ref().map(device)),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

fn device(link: &LinkMessage) -> SessionDevice {
    let (mut controller, mut table) = (None, None);
    for attribute in &link.attributes {
        if let LinkAttribute::Controller(index) = attribute {
            controller = Some(*index);
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            for info in infos {
                if let LinkInfo::Data(InfoData::Vrf(facts)) = info {
                    table = facts.iter().find_map(|fact| {
                        if let InfoVrf::TableId(table) = fact { Some(*table) } else { None }
                    });
                }
            }
        }
    }
    SessionDevice { index: link.header.index, controller, table }
}

/// The next hop of the default route, with its interface if it is link-local. The IPv4 route is used; if there is none and `over`
/// is given, the IPv6 route on that interface. The route with the lowest metric is used. `table` is that of a VRF; without it, the main
/// table is read.
pub(super) async fn gateway(
    over: Option<u32>,
    table: Option<u32>,
) -> io::Result<Option<(IpAddr, Option<u32>)>> {
    let table = table.unwrap_or(RouteHeader::RT_TABLE_MAIN.into());
    let mut best: Option<(u32, IpAddr, u32)> = None;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        if best.is_some() || (family == AddressFamily::Inet6 && over.is_none()) {
            break;
        }
        let netlink = Netlink::open()?;
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        for route in dump(|| netlink.handle.route().get(question.clone())).await.map_err(to_io)? {
            let candidate =
                default_route(&route, table).filter(|(_, _, index)| over.is_none_or(|over| over == *index));
            best = match (best, candidate) {
                (Some(best), Some(candidate)) if candidate.0 >= best.0 => Some(best),
                (best, None) => best,
                (_, candidate) => candidate,
            };
        }
    }
    Ok(best.map(|(_, gateway, index)| (gateway, over.or(Some(index)))))
}

/// Metric, next hop and interface of a default route of a routing table.
fn default_route(route: &RouteMessage, table: u32) -> Option<(u32, IpAddr, u32)> {
    let header = &route.header;
    if header.destination_prefix_length != 0 || header.kind != RouteType::Unicast {
        return None;
    }
    let (mut metric, mut gateway, mut interface, mut of_table) = (0, None, None, header.table.into());
    for attribute in &route.attributes {
        if let RouteAttribute::Priority(priority) = attribute {
            metric = *priority;
        } else if let RouteAttribute::Table(number) = attribute {
            of_table = *number; // the header has no room for a number above 255
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
    if of_table != table {
        return None;
    }
    Some((metric, gateway?, interface?))
}

/// The routers over which this host has a default route that it has taken from a router advertisement, by the index of the interface.
/// Both the kernel and other programs, such as systemd-networkd, mark such routes (RTPROT_RA of linux/rtnetlink.h).
pub(super) async fn advertised_default_routes() -> io::Result<BTreeMap<u32, Ipv6Addr>> {
    let netlink = Netlink::open()?;
    let mut question = RouteMessage::default();
    question.header.address_family = AddressFamily::Inet6;
    let mut found = BTreeMap::new();
    for route in dump(|| netlink.handle.route().get(question.clone())).await.map_err(to_io)? {
        if route.header.protocol == RouteProtocol::Ra
            && let Some((_, IpAddr::V6(router), index)) =
                default_route(&route, RouteHeader::RT_TABLE_MAIN.into())
        {
            found.insert(index, router);
        }
    }
    Ok(found)
}

/// The state of a host in ARP or ND, on an interface.
pub(super) async fn neighbour(address: IpAddr, interface: u32) -> io::Result<Neighbour> {
    let netlink = Netlink::open()?;
    for entry in dump(|| netlink.handle.neighbours().get()).await.map_err(to_io)? {
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

/// The families whose VIPs are all on the host (RFC 4724 §3: forwarding state is preserved).
pub(super) async fn families_on_host(vips: &BTreeSet<IpAddr>) -> io::Result<BTreeSet<Family>> {
    let netlink = Netlink::open()?;
    let all = dump(|| netlink.handle.address().get()).await.map_err(to_io)?;
    let here: BTreeSet<IpAddr> = all.iter().filter_map(read).map(|ours| ours.ip).collect();
    let missing: BTreeSet<Family> = vips.difference(&here).map(|vip| Family::of(*vip)).collect();
    Ok(vips.iter().map(|vip| Family::of(*vip)).filter(|family| !missing.contains(family)).collect())
}

/// The addresses of every interface, in the kernel's order.
pub(super) async fn all_addresses() -> io::Result<BTreeMap<u32, Vec<Address>>> {
    let netlink = Netlink::open()?;
    let mut all: BTreeMap<u32, Vec<Address>> = BTreeMap::new();
    for message in dump(|| netlink.handle.address().get()).await.map_err(to_io)? {
        all.entry(message.header.index).or_default().extend(read(&message));
    }
    Ok(all)
}

/// The addresses of an interface, in the kernel's order.
pub(super) async fn addresses(interface: u32) -> io::Result<Vec<Address>> {
    let netlink = Netlink::open()?;
    let own =
        dump(|| netlink.handle.address().get().set_link_index_filter(interface)).await.map_err(to_io)?;
    Ok(own.iter().filter_map(read).collect())
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
    // For IPv4, the same bit is IFA_F_SECONDARY: another address of a subnet, which may be used like any other.
    let ip = local.or(prefix)?;
    let temporary = ip.is_ipv6() && flags.contains(AddressFlags::Secondary);
    let unsure = flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
    let fitness = if message.header.scope != AddressScope::Universe || unsure || temporary {
        Fitness::Unfit
    } else if flags.contains(AddressFlags::Deprecated) {
        Fitness::Deprecated
    } else {
        Fitness::Lasting
    };
    let expires = ip.is_ipv6() && !flags.contains(AddressFlags::Permanent);
    Some(Address { ip, prefix: message.header.prefix_len, fitness, temporary, expires })
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

    #[test]
    fn a_default_route_belongs_to_one_table() {
        let mut route = RouteMessage::default();
        (route.header.kind, route.header.table) = (RouteType::Unicast, 252);
        let gateway = "10.0.0.1".parse().unwrap();
        route.attributes = vec![
            RouteAttribute::Table(1000),
            RouteAttribute::Gateway(RouteAddress::from(gateway)),
            RouteAttribute::Oif(7),
        ];
        assert_eq!(default_route(&route, 1000), Some((0, gateway, 7)));
        assert_eq!(default_route(&route, 254), None);
        route.attributes.remove(0);
        route.header.table = 254;
        assert_eq!(default_route(&route, 254), Some((0, gateway, 7)));
        assert_eq!(default_route(&route, 1000), None);
    }

    #[tokio::test]
    async fn the_kernel_is_asked() {
        let path = towards("127.0.0.1".parse().unwrap(), None).await.unwrap();
        let lo = SessionDevice { index: path.interface, controller: None, table: None };
        assert_eq!(interface("lo").await.unwrap(), Some(lo));
        assert_eq!(interface("nosuch0").await.unwrap(), None);
        let (here, nowhere) = ("127.0.0.1".parse().unwrap(), "2001:db8::dead".parse().unwrap());
        assert_eq!(families_on_host(&[here, nowhere].into()).await.unwrap(), [Family::V4].into());
        assert_eq!(families_on_host(&[].into()).await.unwrap(), [].into());
        assert!(path.source.is_loopback());
        let found = addresses(path.interface).await.unwrap();
        assert!(
            found.iter().any(|address| address.ip.is_loopback() && address.fitness == Fitness::Unfit),
            "{found:?}"
        );
    }
}
