//! The way to a peer: the interface, our addresses on it, and which of them may be a source or a next hop.
//!
//! Touches rtnetlink (RTM_GETROUTE, RTM_GETADDR). A VIP is never a source: the answer would go to any host that has it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::Handle;
use tokio::task::JoinHandle;

/// Where the kernel would send packets for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The source address that it would take.
    pub source: IpAddr,
    /// The outgoing interface's index.
    pub interface: u32,
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
    Ok(towards(address).await?.source)
}

/// Where the kernel would send packets for `address`.
pub(super) async fn towards(address: IpAddr) -> io::Result<Path> {
    let netlink = Netlink::open()?;
    let mut question = RouteMessage::default();
    let (family, length) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    question.header.address_family = family;
    question.header.destination_prefix_length = length;
    question.attributes.push(RouteAttribute::Destination(RouteAddress::from(address)));

    let answer = netlink.handle.route().get(question).execute().try_next().await.map_err(to_io)?;
    let route = answer.ok_or_else(|| io::Error::from(io::ErrorKind::NetworkUnreachable))?;
    let mut source = None;
    let mut interface = None;
    for attribute in route.attributes {
        if let RouteAttribute::PrefSource(RouteAddress::Inet(ip)) = attribute {
            source = Some(IpAddr::V4(ip));
        } else if let RouteAttribute::PrefSource(RouteAddress::Inet6(ip)) = attribute {
            source = Some(IpAddr::V6(ip));
        } else if let RouteAttribute::Oif(index) = attribute {
            interface = Some(index);
        }
    }
    match (source, interface) {
        (Some(source), Some(interface)) => Ok(Path { source, interface }),
        (None, _) | (_, None) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
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
/// VIP, else what is configured.
pub(super) fn next_hop_v6(
    session: IpAddr,
    ours: &[Address],
    vips: &BTreeSet<IpAddr>,
    configured: Option<Ipv6Addr>,
) -> Option<Ipv6Addr> {
    let own = Address { ip: session, lasting: true };
    let global = |candidate: &Address| match candidate.ip {
        IpAddr::V6(ip) if candidate.lasting && !vips.contains(&candidate.ip) && is_global(ip) => Some(ip),
        IpAddr::V6(_) | IpAddr::V4(_) => None,
    };
    std::iter::once(&own).chain(ours).find_map(global).or(configured)
}

fn is_global(ip: Ipv6Addr) -> bool {
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local())
        && ip.to_ipv4_mapped().is_none()
}

/// A netlink connection that ends with its owner.
struct Netlink {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Netlink {
    fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Netlink { handle, task: tokio::spawn(connection) })
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn to_io(error: rtnetlink::Error) -> io::Error {
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
        let via = |source: &str| Path { source: source.parse().unwrap(), interface: 2 };
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
        let given = Some("2001:db8::1".parse().unwrap());
        for (session, list, want) in [
            (
                "10.0.0.1",
                vec![("fe80::1", true), ("2001:db8::80", true), ("2001:db8::7", true)],
                Some("2001:db8::7"),
            ),
            ("10.0.0.1", vec![("2001:db8::7", false)], Some("2001:db8::1")),
            ("2001:db8::9", vec![("2001:db8::7", true)], Some("2001:db8::9")),
            ("fe80::1", vec![("2001:db8::7", true)], Some("2001:db8::7")),
            ("::ffff:10.0.0.1", vec![], Some("2001:db8::1")),
        ] {
            let got = next_hop_v6(session.parse().unwrap(), &ours(&list), &vips, given);
            assert_eq!(got, want.map(|ip| ip.parse().unwrap()), "{session} {list:?}");
        }
        assert_eq!(next_hop_v6("10.0.0.1".parse().unwrap(), &[], &vips, None), None);
    }

    #[tokio::test]
    async fn the_kernel_is_asked() {
        let path = towards("127.0.0.1".parse().unwrap()).await.unwrap();
        assert!(path.source.is_loopback());
        let found = addresses(path.interface).await.unwrap();
        assert!(found.iter().any(|address| address.ip.is_loopback() && !address.lasting), "{found:?}");
    }
}
