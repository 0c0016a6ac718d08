//! The lab that the user's files describe: which routers, frontends and links there are, and which addresses they have.
//!
//! Pure. `place.rs` decides on which link a peer is; this file gives the frontends their places and addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use announcer::config::{Config, PeerAddress, PeerConfig};
use announcer::model::Family;
use ipnet::IpNet;

use crate::place::{Placed, Places};
use crate::router_file::{Daemon, Neighbour, RouterFile};

#[cfg(test)]
pub(crate) mod tests;

/// A configuration of announcer that the user gave.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    /// Its path, as it was written.
    pub(crate) file: String,
    /// What it says.
    pub(crate) config: Config,
}

/// A configuration of a router that the user gave.
#[derive(Debug)]
pub(crate) struct RouterInput {
    /// Its path, as it was written.
    pub(crate) file: String,
    /// What was read of it.
    pub(crate) read: RouterFile,
}

/// The lab.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In the order of `--router`: `r1`, `r2` and so on.
    pub(crate) routers: Vec<Router>,
    /// In the order of `--config`: `fe1`, `fe2` and so on.
    pub(crate) frontends: Vec<Frontend>,
    /// What connects them.
    pub(crate) segments: Vec<Segment>,
    /// What differs from the user's network, in whole sentences.
    pub(crate) notes: Vec<String>,
}

/// A router.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Router {
    /// The node's name.
    pub(crate) name: String,
    /// The path of its file.
    pub(crate) file: String,
    /// What runs on it.
    pub(crate) daemon: Daemon,
}

/// A frontend.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frontend {
    /// The node's name.
    pub(crate) name: String,
    /// The path of its file.
    pub(crate) file: String,
    /// Its peers that are routers of the lab, in the order of its file; never empty.
    pub(crate) sessions: Vec<Session>,
}

/// A BGP session that should come up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// The peer's name.
    pub(crate) peer: String,
    /// The index of its router.
    pub(crate) router: usize,
    /// The index of its segment.
    pub(crate) segment: usize,
    /// The frontend's address.
    pub(crate) from: IpAddr,
    /// The router's address.
    pub(crate) to: IpAddr,
    /// The families that it carries.
    pub(crate) families: Vec<Family>,
}

/// What connects nodes: a cable if there are two ports, otherwise a bridge.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its subnets.
    pub(crate) subnets: Vec<IpNet>,
    /// The interfaces on it, routers first.
    pub(crate) ports: Vec<Port>,
}

/// An interface of a node on a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Whose it is.
    pub(crate) owner: Owner,
    /// Its name.
    pub(crate) interface: String,
    /// Its addresses that the router's own file sets.
    pub(crate) by_file: Vec<IpNet>,
    /// Its addresses that the lab sets.
    pub(crate) by_lab: Vec<IpNet>,
}

/// The node of a port, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// In [`Plan::routers`].
    Router(usize),
    /// In [`Plan::frontends`].
    Frontend(usize),
}

impl Port {
    /// All its addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpNet> {
        self.by_file.iter().chain(&self.by_lab).copied()
    }
}

impl Segment {
    /// The port of a node.
    pub(crate) fn port(&self, owner: Owner) -> Option<&Port> {
        self.ports.iter().find(|port| port.owner == owner)
    }
}

impl Plan {
    /// The name of a port's node.
    pub(crate) fn name(&self, owner: Owner) -> &str {
        match owner {
            Owner::Router(index) => self.routers.get(index).map_or("", |router| &router.name),
            Owner::Frontend(index) => self.frontends.get(index).map_or("", |frontend| &frontend.name),
        }
    }
}

/// The most routers of a lab.
pub(crate) const MOST_ROUTERS: usize = 8;

/// Makes the plan.
///
/// # Errors
/// What the lab cannot do, in whole sentences that begin with the file.
pub(crate) fn plan(configs: &[ConfigFile], routers: &[RouterInput]) -> Result<Plan, Vec<String>> {
    let mut refused: Vec<String> = configs.iter().flat_map(impossible).collect();
    if routers.len() > MOST_ROUTERS {
        refused.push(format!(
            "a lab has at most {MOST_ROUTERS} routers, and --router is there {} times",
            routers.len()
        ));
    }
    let mut notes = Vec::new();
    let mut places = Places::new(routers, configs);
    let mut sessions: Vec<Vec<(&PeerConfig, Placed)>> = Vec::new();
    for ConfigFile { file, config } in configs {
        let mut found = Vec::new();
        let mut without = Vec::new();
        for peer in &config.peers {
            let PeerAddress::Ip(address) = peer.address else { continue };
            if is_link_local(address) {
                continue; // refused above
            }
            match places.of(address) {
                Some(placed) => found.push((peer, placed)),
                None => without.push((peer, address)),
            }
        }
        for (peer, address) in without {
            let what =
                format!("{file}: peer `{}`: {address} is not on a link of any --router file", peer.name);
            if found.is_empty() {
                refused.push(format!(
                    "{what}: give the file of its router, in which an interface has the address {address}, or which has a \
                     neighbour in the subnet of {address}"
                ));
            } else {
                notes.push(format!("{what}, so this session stays down; its other sessions are played"));
            }
        }
        sessions.push(found);
    }
    for (index, RouterInput { file, .. }) in routers.iter().enumerate() {
        if refused.is_empty() && !sessions.iter().flatten().any(|(_, placed)| placed.router == index) {
            refused.push(format!("{file}: no --config has a peer on this router: leave it out"));
        }
    }
    for (owner, name) in
        places.segments.iter().flat_map(|segment| &segment.ports).map(|port| (port.owner, &port.interface))
    {
        let Owner::Router(index) = owner else { continue };
        if name == "lo" || name.len() > 15 || name.contains(['/', ':']) {
            refused.push(format!(
                "{}: the lab cannot connect the interface `{name}`: write the addresses of the peers at one such as `eth1`",
                routers[index].file
            ));
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let named = |prefix: &str, index: usize| format!("{prefix}{}", index + 1);
    let mut plan = Plan {
        routers: routers
            .iter()
            .enumerate()
            .map(|(index, RouterInput { file, read })| Router {
                name: named("r", index),
                file: file.clone(),
                daemon: read.daemon,
            })
            .collect(),
        frontends: Vec::new(),
        segments: places.segments,
        notes,
    };
    let mut taken: BTreeSet<IpAddr> = plan.segments.iter().flat_map(addresses_of).collect();
    let sources =
        configs.iter().flat_map(|config| config.config.peers.iter().filter_map(|peer| peer.source_address));
    taken.extend(sources);
    for (index, (ConfigFile { file, config }, found)) in configs.iter().zip(sessions).enumerate() {
        let mut frontend = Frontend { name: named("fe", index), file: file.clone(), sessions: Vec::new() };
        for (peer, placed) in &found {
            let here = found.iter().filter(|(_, other)| other.segment == placed.segment);
            let interface = here.filter_map(|(peer, _)| peer.interface.as_deref()).next();
            match connect(&mut plan, routers, &mut taken, index, (peer, interface), placed) {
                Ok(from) => frontend.sessions.push(Session {
                    peer: peer.name.to_string(),
                    router: placed.router,
                    segment: placed.segment,
                    from,
                    to: placed.address,
                    families: peer.families.iter().copied().collect(),
                }),
                Err(why) => refused.push(format!("{file}: peer `{}`: {why}", peer.name)),
            }
        }
        let families: BTreeSet<Family> = config.vips().map(|(vip, _)| Family::of(vip)).collect();
        for session in &frontend.sessions {
            if families.contains(&Family::V6) && session.families.contains(&Family::V6) {
                next_hop_v6(&mut plan, routers, &mut taken, index, session);
            }
        }
        plan.frontends.push(frontend);
    }
    for segment in &mut plan.segments {
        segment.ports.sort_by_key(|port| match port.owner {
            Owner::Router(index) => (0, index),
            Owner::Frontend(index) => (1, index),
        });
    }
    if refused.is_empty() { Ok(plan) } else { Err(refused) }
}

/// The reasons why no lab can play a configuration, whatever the routers are.
fn impossible(ConfigFile { file, config }: &ConfigFile) -> Vec<String> {
    let mut refused = Vec::new();
    if config.services.is_empty() {
        refused
            .push(format!("{file}: there is no `[[service]]`, so nothing is announced: write at least one"));
    }
    for peer in &config.peers {
        let mut no = |why: String| refused.push(format!("{file}: peer `{}`: {why}", peer.name));
        match peer.address {
            PeerAddress::DefaultGateway => no(
                "the lab does not know which router `address = \"default-gateway\"` is: write the router's address"
                    .to_owned(),
            ),
            PeerAddress::Ip(address) if is_link_local(address) => no(format!(
                "the lab does not choose link-local addresses, such as {address}: write a global address of the router"
            )),
            PeerAddress::Ip(_) => {}
        }
        if peer.multihop > 1 {
            no(format!(
                "`multihop = {}`: in the lab every router is directly connected, so leave it out",
                peer.multihop
            ));
        }
        if peer.port != 179 {
            no(format!("`port = {}`: the routers of the lab listen on port 179, so leave it out", peer.port));
        }
    }
    refused
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn addresses_of(segment: &Segment) -> Vec<IpAddr> {
    segment.ports.iter().flat_map(Port::addresses).map(|net| net.addr()).collect()
}

/// Gives a frontend its address for a session.
fn connect(
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
fn next_hop_v6(
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
            let address = std::net::Ipv6Addr::new(0x2001, 2, 0, number, 0, 0, 0, 1 + session.router as u16);
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
    let name = interface.map_or_else(|| crate::place::free_name(&names), str::to_owned);
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
