//! The addresses of the frontends: that of a session, and the IPv6 address that a next hop needs.
//!
//! Pure. A session has its `source_address`, otherwise the first neighbour of the router's file in the subnet that no other frontend
//! has. Other addresses are such a neighbour, or the first one that is free.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use announcer::config::PeerConfig;
use announcer::model::Family;
use ipnet::IpNet;

use crate::place::{Placed, free_name};
use crate::plan::{Owner, Plan, Port, RouterInput, Session};
use crate::router_file::Neighbour;

/// Gives a frontend its address for a session, on an interface of this name; `None`: the next of `eth1`, `eth2` …
///
/// # Errors
/// Why it can have none: the rest of a sentence.
pub(crate) fn session(
    plan: &mut Plan,
    routers: &[RouterInput],
    taken: &mut BTreeSet<IpAddr>,
    frontend: usize,
    (peer, interface): (&PeerConfig, Option<&str>),
    placed: &Placed,
) -> Result<IpAddr, String> {
    let neighbours = &routers[placed.router].read.neighbours;
    let file = &routers[placed.router].file;
    let subnet = placed.subnet;
    let address = match (peer.source_address, address_in(plan, placed.segment, frontend, subnet)) {
        (Some(source), _) if !subnet.contains(&source) => {
            return Err(format!(
                "`source_address = \"{source}\"` is not in {subnet}, the subnet of {file} with {}: write an address of it",
                placed.address
            ));
        }
        (Some(source), _) => source,
        (None, Some(known)) => known,
        (None, None) => expected(neighbours, subnet, taken).ok_or_else(|| {
            format!(
                "{file} has no neighbour in {subnet} that is not taken: write one there, such as `neighbor {}`",
                free(subnet, taken).map_or("ADDRESS".to_owned(), |address| address.to_string())
            )
        })?,
    };
    if !neighbours.iter().any(|neighbour| neighbour.fits(address)) {
        return Err(format!(
            "{file} does not expect a session from `source_address = \"{address}\"`: write it as a neighbour there"
        ));
    }
    put(plan, placed.segment, frontend, interface, address, subnet);
    taken.insert(address);
    Ok(address)
}

/// Gives a frontend an IPv6 address on the segment of a session that announces IPv6 VIPs, because their next hop needs one. If the
/// router has none there, the lab chooses the subnet.
pub(crate) fn next_hop_v6(
    plan: &mut Plan,
    routers: &[RouterInput],
    taken: &mut BTreeSet<IpAddr>,
    frontend: usize,
    session: &Session,
) {
    let index = session.segment;
    let is_v6 = |net: &IpNet| Family::of(net.addr()) == Family::V6;
    let router = Owner::Router(session.router);
    let known = plan.segments[index].port(router).and_then(|port| port.addresses().find(|net| is_v6(net)));
    let subnet = match known {
        Some(net) => net.trunc(),
        None => {
            // RFC 5180 keeps 2001:2::/48 for benchmarks.
            let number = u16::try_from(index + 1).unwrap_or(u16::MAX);
            let address = Ipv6Addr::new(0x2001, 2, 0, number, 0, 0, 0, 1 + session.router as u16);
            let Ok(net) = IpNet::new(address.into(), 64) else { return };
            let name = plan.name(router).to_owned();
            if let Some(port) = plan.segments[index].ports.iter_mut().find(|port| port.owner == router) {
                plan.notes.push(format!(
                    "{} gives {name} no IPv6 address on {}, which the next hop of IPv6 VIPs needs: the lab sets {net}",
                    routers[session.router].file, port.interface
                ));
                port.by_lab.push(net);
            }
            taken.insert(net.addr());
            plan.segments[index].subnets.push(net.trunc());
            net.trunc()
        }
    };
    if address_in(plan, index, frontend, subnet).is_none() {
        let neighbours = &routers[session.router].read.neighbours;
        let listed = expected(neighbours, subnet, taken);
        if let Some(address) = listed.or_else(|| free(subnet, taken)) {
            put(plan, index, frontend, None, address, subnet);
            taken.insert(address);
        }
    }
}

/// The first neighbour in a subnet that is not taken.
fn expected(neighbours: &[Neighbour], subnet: IpNet, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    neighbours.iter().find_map(|neighbour| match neighbour {
        Neighbour::Address(address) => {
            Some(*address).filter(|address| subnet.contains(address) && !taken.contains(address))
        }
        Neighbour::Range(range) if range.contains(&subnet.addr()) || subnet.contains(&range.addr()) => {
            let narrow = if range.prefix_len() > subnet.prefix_len() { *range } else { subnet };
            free(narrow, taken)
        }
        Neighbour::Range(_) => None,
    })
}

/// The first address of a host in a subnet that is not taken.
fn free(subnet: IpNet, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    // The first address of an IPv6 subnet is that of every router in it (RFC 4291 section 2.6.1).
    let is_host = |address: &IpAddr| address.is_ipv4() || *address != subnet.network();
    subnet.hosts().find(|address| is_host(address) && !taken.contains(address))
}

/// The address of a frontend in a subnet.
fn address_in(plan: &Plan, segment: usize, frontend: usize, subnet: IpNet) -> Option<IpAddr> {
    let port = plan.segments[segment].port(Owner::Frontend(frontend))?;
    port.addresses().map(|net| net.addr()).find(|address| subnet.contains(address))
}

/// Adds an address to a frontend's port, and the port if there is none.
fn put(
    plan: &mut Plan,
    segment: usize,
    frontend: usize,
    interface: Option<&str>,
    address: IpAddr,
    subnet: IpNet,
) {
    let owner = Owner::Frontend(frontend);
    let ports = plan.segments.iter().flat_map(|segment| &segment.ports).filter(|port| port.owner == owner);
    let names: BTreeSet<&str> = ports.map(|port| port.interface.as_str()).collect();
    let name = interface.map_or_else(|| free_name(&names), str::to_owned);
    let segment = &mut plan.segments[segment];
    let port = match segment.ports.iter().position(|port| port.owner == owner) {
        Some(known) => &mut segment.ports[known],
        None => {
            segment.ports.push(Port { owner, interface: name, by_file: Vec::new(), by_lab: Vec::new() });
            let last = segment.ports.len() - 1;
            &mut segment.ports[last]
        }
    };
    if let Ok(net) = IpNet::new(address, subnet.prefix_len())
        && !port.by_lab.contains(&net)
    {
        port.by_lab.push(net);
    }
}
