//! The VXLAN device, where members are not on one LAN (RFC 7348).
//!
//! Touches rtnetlink. It has no multicast group and learns nothing: each member has a fixed entry in the forwarding database, and fixed
//! neighbours. A device that is as wanted is left as it is, so that flows go on when the daemon starts again. What belongs to members that
//! have left the list is removed.
//!
//! Packets of clients arrive on it, and the routes to the clients are not over it, so its own `rp_filter` is loose. The kernel takes the
//! larger value of the device and of `all`, so this is right whatever `all` is, and no other device changes.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_dump::{dump, one};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InetDevConf, InfoData, InfoVxlan, LinkAttribute,
    LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType};
use rtnetlink::{Handle, LinkUnspec, LinkVxlan, RouteMessageBuilder};
use tokio::task::JoinHandle;
use tracing::debug;

use crate::chain::segment::{
    VXLAN_DEVICE, VXLAN_MTU, VXLAN_MTU_V6, VXLAN_PORT, ethernet, link_local, next_hop_v4,
};

/// `rp_filter` of RFC 3704 section 2.4: a packet is dropped only if no route at all leads to its source.
const LOOSE: i32 = 2;
/// The length of the prefix of the link-local addresses.
const LINK_LOCAL_PREFIX: u8 = 64;
/// What the kernel says when IPv6 is disabled: on this device (`disable_ipv6`), or everywhere.
const NO_IPV6: [i32; 3] = [libc::EACCES, libc::EOPNOTSUPP, libc::EAFNOSUPPORT];

/// What the device depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VxlanSettings {
    /// The number of the VXLAN (VNI).
    pub number: u32,
    /// Our address in the list of members.
    pub own: IpAddr,
    /// The other members.
    pub members: Vec<IpAddr>,
}

struct LinkNetlink {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Drop for LinkNetlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn open() -> io::Result<LinkNetlink> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    Ok(LinkNetlink { handle, task: tokio::spawn(connection) })
}

fn failed(error: rtnetlink::Error) -> io::Error {
    if let rtnetlink::Error::NetlinkError(message) = &error {
        message.to_io()
    } else {
        io::Error::other(error.to_string())
    }
}

/// Makes the device, or corrects it, and returns its index. A host without IPv6 gets a device for IPv4 alone.
///
/// # Errors
/// Those of rtnetlink.
pub async fn make(settings: &VxlanSettings) -> io::Result<u32> {
    let netlink = open()?;
    let found = find(&netlink.handle).await?;
    let index = match found {
        Some(link) if is_as_wanted(&link, settings) => link.header.index,
        Some(link) => {
            netlink.handle.link().del(link.header.index).execute().await.map_err(failed)?;
            create(&netlink.handle, settings).await?
        }
        None => create(&netlink.handle, settings).await?,
    };
    let handle = &netlink.handle;
    let set = async |link: LinkMessage| handle.link().set(link).execute().await.map_err(failed);
    let af_spec = |spec| LinkUnspec::new_with_index(index).append_extra_attribute(spec).build();
    let mut loose = InetDevConf::default();
    loose.rp_filter = LOOSE;
    let loose = AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(loose)]);
    set(af_spec(LinkAttribute::AfSpecUnspec(vec![loose]))).await?;
    // The kernel's own link-local address can be another one (`addr_gen_mode`).
    let none = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let v6 = set(af_spec(LinkAttribute::AfSpecUnspec(vec![none]))).await;
    let mtu = if settings.own.is_ipv4() { VXLAN_MTU } else { VXLAN_MTU_V6 };
    set(LinkUnspec::new_with_index(index).mtu(mtu).up().build()).await?;
    // On a device without an address of IPv4, the kernel drops what `rp_filter` looks at, also if it is loose.
    let mut own = handle.address().add(index, next_hop_v4(settings.own).into(), 32).replace();
    own.message_mut().header.scope = AddressScope::Link;
    own.execute().await.map_err(failed)?;
    for member in &settings.members {
        let mac = ethernet(*member);
        let entry = handle.neighbours().add_bridge(index, &mac).destination(*member);
        let entry = entry.flags(NeighbourFlags::Own).state(NeighbourState::Permanent).replace();
        entry.execute().await.map_err(failed)?;
        // Without a route over the device, `dup to` of IPv4 asks for the destination of the packet instead of the next hop. A route to
        // the member's own address would also have the outer packets.
        let next_hop = next_hop_v4(*member);
        let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(next_hop, 32);
        let route = route.output_interface(index).scope(RouteScope::Link).build();
        handle.route().add(route).replace().execute().await.map_err(failed)?;
        neighbour(handle, index, *member, next_hop.into()).await?;
    }
    let v6 = match v6 {
        Ok(()) => ipv6(handle, index, settings).await,
        Err(error) => Err(error),
    };
    match v6 {
        Err(error) if error.raw_os_error().is_some_and(|code| NO_IPV6.contains(&code)) => {
            debug!(%error, "the VXLAN device has no IPv6");
        }
        other => other?,
    }
    remove_others(handle, index, &settings.members).await?;
    Ok(index)
}

/// The destination of a member in the entries of a family.
type DestinationOf = fn(IpAddr) -> NeighbourAddress;

/// Removes what belongs to members that are no longer in the list: entries of the forwarding database, routes and fixed neighbours. A
/// member with another address has another Ethernet address too, so its former one is among them.
async fn remove_others(handle: &Handle, index: u32, members: &[IpAddr]) -> io::Result<()> {
    let families: [(AddressFamily, DestinationOf); 3] = [
        (AddressFamily::Bridge, |member| NeighbourAddress::Other(octets(member))),
        (AddressFamily::Inet, |member| NeighbourAddress::Inet(next_hop_v4(member))),
        (AddressFamily::Inet6, |member| NeighbourAddress::Inet6(link_local(member))),
    ];
    for (family, destination) in families {
        let known = |entry: &NeighbourMessage| {
            members.iter().any(|member| {
                let mac = NeighbourAttribute::LinkLayerAddress(ethernet(*member).to_vec());
                let destination = NeighbourAttribute::Destination(destination(*member));
                entry.attributes.contains(&mac) && entry.attributes.contains(&destination)
            })
        };
        let entries = dump(|| handle.neighbours().get().set_address_family(family)).await.map_err(failed)?;
        let ours = entries
            .into_iter()
            .filter(|entry| entry.header.ifindex == index && entry.header.state == NeighbourState::Permanent);
        for entry in ours.filter(|entry| !known(entry)) {
            ignore_missing(handle.neighbours().del(entry).execute().await)?;
        }
    }
    let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let routes = dump(|| handle.route().get(all.clone())).await.map_err(failed)?;
    let wanted = |route: &RouteMessage| {
        let has = |to| route.attributes.contains(&RouteAttribute::Destination(RouteAddress::Inet(to)));
        members.iter().any(|member| has(next_hop_v4(*member)))
    };
    for route in routes {
        let here = route.attributes.contains(&RouteAttribute::Oif(index));
        // The kernel's own route to the address of the device is in the table `local`.
        if here && route.header.kind == RouteType::Unicast && !wanted(&route) {
            ignore_missing(handle.route().del(route).execute().await)?;
        }
    }
    Ok(())
}

/// An address as the forwarding database has it.
fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// What somebody else has removed meanwhile is no error.
fn ignore_missing(removed: Result<(), rtnetlink::Error>) -> io::Result<()> {
    match removed.map_err(failed) {
        Err(error) if [Some(libc::ENOENT), Some(libc::ESRCH)].contains(&error.raw_os_error()) => Ok(()),
        other => other,
    }
}

/// The link-local address of this host, and those of the members as neighbours.
async fn ipv6(handle: &Handle, index: u32, settings: &VxlanSettings) -> io::Result<()> {
    let mut own = handle.address().add(index, link_local(settings.own).into(), LINK_LOCAL_PREFIX).replace();
    // Nobody else can have it, and it must answer at once.
    own.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    own.execute().await.map_err(failed)?;
    for member in &settings.members {
        neighbour(handle, index, *member, link_local(*member).into()).await?;
    }
    Ok(())
}

/// A fixed neighbour: this address of the member.
async fn neighbour(handle: &Handle, index: u32, member: IpAddr, address: IpAddr) -> io::Result<()> {
    let neighbour = handle.neighbours().add(index, address).link_layer_address(&ethernet(member));
    neighbour.state(NeighbourState::Permanent).replace().execute().await.map_err(failed)
}

/// Removes the device, if it exists.
///
/// # Errors
/// Those of rtnetlink.
pub async fn remove() -> io::Result<()> {
    let netlink = open()?;
    match find(&netlink.handle).await? {
        Some(link) => netlink.handle.link().del(link.header.index).execute().await.map_err(failed),
        None => Ok(()),
    }
}

async fn find(handle: &Handle) -> io::Result<Option<LinkMessage>> {
    match one(handle.link().get().match_name(VXLAN_DEVICE.to_owned())).await.map_err(failed) {
        Ok(link) => Ok(link),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_as_wanted(link: &LinkMessage, settings: &VxlanSettings) -> bool {
    let infos = link.attributes.iter().filter_map(|attribute| {
        if let LinkAttribute::LinkInfo(infos) = attribute { Some(infos) } else { None }
    });
    let data = infos
        .flatten()
        .find_map(|info| if let LinkInfo::Data(InfoData::Vxlan(data)) = info { Some(data) } else { None });
    let own = match settings.own {
        IpAddr::V4(v4) => InfoVxlan::Local(v4),
        IpAddr::V6(v6) => InfoVxlan::Local6(v6),
    };
    let mac = link.attributes.contains(&LinkAttribute::Address(ethernet(settings.own).to_vec()));
    mac && data.is_some_and(|data| {
        data.contains(&InfoVxlan::Id(settings.number))
            && data.contains(&own)
            && data.contains(&InfoVxlan::Port(VXLAN_PORT))
    })
}

async fn create(handle: &Handle, settings: &VxlanSettings) -> io::Result<u32> {
    let vxlan = LinkVxlan::new(VXLAN_DEVICE, settings.number).port(VXLAN_PORT).learning(false);
    let vxlan = match settings.own {
        IpAddr::V4(v4) => vxlan.local(v4),
        IpAddr::V6(v6) => vxlan.local6(v6),
    };
    let link = vxlan.address(ethernet(settings.own).to_vec()).build();
    handle.link().add(link).execute().await.map_err(failed)?;
    let made = find(handle).await?.ok_or_else(|| io::Error::other("the device was not made"))?;
    Ok(made.header.index)
}
