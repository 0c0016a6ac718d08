//! Reads interfaces, addresses, routes and policy rules, and asks the kernel for its ways.
//!
//! Touches rtnetlink (RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETRULE), and needs no privilege.
#![allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_dump::{dump, one};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder};

use crate::doctor::observations::{
    HostAddress, LinkKind, LinkState, Mac, PathState, PolicyRule, Question, RouteState, Seen, Unseen,
    anywhere,
};
use crate::io::Error;
use crate::io::vips::{flags, is, net, protocol, request_error};

/// The interfaces.
pub(super) async fn links(handle: &Handle) -> Result<Vec<LinkState>, Error> {
    let all: Vec<LinkMessage> = dump(|| handle.link().get()).await.map_err(request_error)?;
    let mut links: Vec<LinkState> = all.iter().map(link).collect();
    // The VRF of a port of a bridge or of a bond is that of the bridge or the bond.
    let controllers: BTreeMap<u32, u32> = all.iter().filter_map(controller).collect();
    let vrfs: BTreeSet<u32> = all.iter().filter(|link| is_vrf(link)).map(|link| link.header.index).collect();
    for link in &mut links {
        let next = |index: &u32| controllers.get(index).copied();
        let above = std::iter::successors(Some(link.index), next).take(DEEPEST);
        link.vrf = above.into_iter().find(|index| vrfs.contains(index));
    }
    Ok(links)
}

/// How many interfaces may be above each other.
const DEEPEST: usize = 8;

/// The interface, and the one that it is a port of.
fn controller(message: &LinkMessage) -> Option<(u32, u32)> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some((message.header.index, *index)),
        _ => None,
    })
}

fn is_vrf(message: &LinkMessage) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => {
            infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Vrf)))
        }
        _ => false,
    })
}

fn link(message: &LinkMessage) -> LinkState {
    let flags = message.header.flags;
    let is_loopback = flags.contains(LinkFlags::Loopback);
    let mut state = LinkState {
        index: message.header.index,
        name: format!("interface {}", message.header.index),
        is_up: flags.contains(LinkFlags::Up) && (is_loopback || flags.contains(LinkFlags::LowerUp)),
        kind: match (is_loopback, flags.contains(LinkFlags::Noarp)) {
            (true, _) => LinkKind::Inner,
            (false, true) => LinkKind::NoArp,
            (false, false) => LinkKind::Ethernet,
        },
        mtu: 0,
        mac: None,
        vrf: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => state.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => state.mtu = *mtu,
            LinkAttribute::Address(octets) => state.mac = octets.as_slice().try_into().ok().map(Mac),
            LinkAttribute::LinkInfo(infos) => {
                let is_inner =
                    |info: &LinkInfo| matches!(info, LinkInfo::Kind(InfoKind::Dummy | InfoKind::Vrf));
                if infos.iter().any(is_inner) {
                    state.kind = LinkKind::Inner;
                }
            }
            _ => {}
        }
    }
    if state.kind != LinkKind::Ethernet {
        state.mac = None;
    }
    state
}

/// The addresses of all interfaces.
pub(super) async fn addresses(handle: &Handle, links: &[LinkState]) -> Result<Vec<HostAddress>, Error> {
    let all = dump(|| handle.address().get()).await.map_err(request_error)?;
    let read = |message: &netlink_packet_route::address::AddressMessage| {
        let flags = flags(message);
        // RFC 4429: an optimistic address is used although detection goes on.
        let is_tentative =
            flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
        Some(HostAddress {
            net: net(message)?,
            interface: name_of(links, message.header.index),
            protocol: protocol(message),
            is_tentative,
            is_dadfailed: flags.contains(AddressFlags::Dadfailed),
            has_no_prefix_route: flags.contains(AddressFlags::Noprefixroute),
        })
    };
    let is_address = |message: &&netlink_packet_route::address::AddressMessage| {
        message.attributes.iter().any(|attribute| matches!(attribute, AddressAttribute::Address(_)))
    };
    Ok(all.iter().filter(is_address).filter_map(read).collect())
}

fn name_of(links: &[LinkState], index: u32) -> String {
    let link = links.iter().find(|link| link.index == index);
    link.map_or_else(|| format!("interface {index}"), |link| link.name.clone())
}

/// The routes of the main table.
pub(super) async fn routes(handle: &Handle, links: &[LinkState]) -> Result<Vec<RouteState>, Error> {
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
    let mut all = Vec::new();
    for question in [v4, v6] {
        match dump(|| handle.route().get(question.clone())).await {
            Ok(answers) => all.extend(answers.iter().filter_map(|message| route(message, links))),
            Err(error) if is(&error, libc::EAFNOSUPPORT) || is(&error, libc::EOPNOTSUPP) => {} // a host without IPv6
            Err(error) => return Err(request_error(error)),
        }
    }
    Ok(merged(all))
}

/// The kernel lists the next hops of some IPv6 routes as one route each.
fn merged(all: Vec<RouteState>) -> Vec<RouteState> {
    let mut routes: Vec<RouteState> = Vec::new();
    for route in all {
        let same = |other: &&mut RouteState| {
            route.to.addr().is_ipv6()
                && other.to == route.to
                && other.metric == route.metric
                && route.hops.iter().chain(&other.hops).all(|(_, gateway)| gateway.is_some())
        };
        match routes.iter_mut().find(same) {
            Some(other) => other.hops.extend(route.hops),
            None => routes.push(route),
        }
    }
    routes
}

fn route(message: &RouteMessage, links: &[LinkState]) -> Option<RouteState> {
    let is_v4 = message.header.address_family == AddressFamily::Inet;
    let any: IpAddr = if is_v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let (mut to, mut table, mut metric) = (any, u32::from(message.header.table), 0);
    let (mut interface, mut gateway, mut hops) = (None, None, Vec::new());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address)?,
            RouteAttribute::Table(found) => table = *found,
            RouteAttribute::Priority(found) => metric = *found,
            RouteAttribute::Oif(index) => interface = Some(name_of(links, *index)),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::MultiPath(all) => hops.extend(all.iter().map(|hop| {
                let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Gateway(address) => ip(address),
                    _ => None,
                });
                (name_of(links, hop.interface_index), gateway)
            })),
            _ => {}
        }
    }
    hops.extend(interface.map(|interface| (interface, gateway)));
    (table == u32::from(RouteHeader::RT_TABLE_MAIN)).then_some(RouteState {
        to: IpNet::new(to, message.header.destination_prefix_length).ok()?,
        hops,
        metric,
        is_unicast: message.header.kind == RouteType::Unicast,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

/// The policy rules. A kernel without them has none.
pub(super) async fn rules(handle: &Handle) -> Seen<Vec<PolicyRule>> {
    let mut all = Vec::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        match dump(|| handle.rule().get(version.clone())).await {
            Ok(messages) => all.extend(messages.iter().map(rule)),
            Err(error) if is(&error, libc::EOPNOTSUPP) || is(&error, libc::EAFNOSUPPORT) => {}
            Err(error) => return Err(Unseen(request_error(error).to_string())),
        }
    }
    Ok(all)
}

fn rule(message: &RuleMessage) -> PolicyRule {
    let (mut priority, mut from, mut to) = (0, None, None);
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(found) => priority = *found,
            RuleAttribute::Source(address) => from = IpNet::new(*address, message.header.src_len).ok(),
            RuleAttribute::Destination(address) => to = IpNet::new(*address, message.header.dst_len).ok(),
            RuleAttribute::Table(found) => table = *found,
            _ => {}
        }
    }
    let (action, loses) = match message.header.action {
        RuleAction::ToTable => (format!("lookup {table}"), false),
        RuleAction::Blackhole => ("blackhole".into(), true),
        RuleAction::Unreachable => ("unreachable".into(), true),
        RuleAction::Prohibit => ("prohibit".into(), true),
        RuleAction::Goto => ("goto another rule".into(), false),
        _ => ("nop".into(), false),
    };
    PolicyRule { priority, from, to, action, loses }
}

/// The ways from each VIP on this host to the clients: to those that are named, or to an address that stands for all.
pub(super) async fn paths(handle: &Handle, question: &Question, held: &BTreeSet<IpAddr>) -> Vec<PathState> {
    let mut paths = Vec::new();
    for vip in question.vips.intersection(held) {
        let named = question.clients.iter().filter(|client| client.is_ipv4() == vip.is_ipv4());
        let mut clients: Vec<IpAddr> = named.copied().collect();
        if clients.is_empty() {
            clients.push(anywhere(vip.is_ipv4()));
        }
        for to in clients {
            paths.push(PathState { from: *vip, to, error: error_of(handle, *vip, to).await });
        }
    }
    paths
}

async fn error_of(handle: &Handle, from: IpAddr, to: IpAddr) -> Option<String> {
    let length = IpNet::from(to).prefix_len();
    let question = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, length)
            .source_prefix(from, length)
            .build(),
        (IpAddr::V6(from), IpAddr::V6(to)) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(to, length)
            .source_prefix(from, length)
            .build(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    match one(handle.route().get(question)).await {
        Ok(Some(answer)) => match answer.header.kind {
            RouteType::Unreachable => Some("the route is `unreachable`".into()),
            RouteType::Prohibit => Some("the route is `prohibit`".into()),
            RouteType::BlackHole => Some("the route is `blackhole`".into()),
            _ => None,
        },
        Ok(None) => None,
        Err(error) => Some(match request_error(error) {
            Error::Netlink(error) => error.to_string(),
            other => other.to_string(),
        }),
    }
}
