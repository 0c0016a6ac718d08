//! The lab that the user's files describe: which routers, frontends and links there are, and which addresses they have.
//!
//! Pure. `place.rs` decides on which link a peer is, `assign.rs` gives the frontends their addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use announcer::config::{Config, PeerAddress, PeerConfig};
use announcer::model::Family;
use ipnet::IpNet;

use crate::assign;
use crate::place::{Placed, Places};
use crate::router_file::{Daemon, RouterFile};

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
            match assign::session(&mut plan, routers, &mut taken, index, (peer, interface), placed) {
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
                assign::next_hop_v6(&mut plan, routers, &mut taken, index, session);
            }
        }
        let ports = plan.segments.iter().filter_map(|segment| segment.port(Owner::Frontend(index)));
        let own: BTreeSet<IpAddr> = ports.flat_map(Port::addresses).map(|net| net.addr()).collect();
        refused.extend(elsewhere(file, config, &own));
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
            PeerAddress::RouterAdvertisement => no(
                "the lab gives its links addresses, and their routers advertise nothing: write the router's address"
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

/// The checks that probe a host that the lab does not have. `own` are the frontend's addresses.
fn elsewhere(file: &str, config: &Config, own: &BTreeSet<IpAddr>) -> Vec<String> {
    let vips: BTreeSet<IpAddr> = config.vips().map(|(vip, _)| vip).collect();
    let checks =
        config.services.iter().flat_map(|service| service.checks.iter().map(move |check| (service, check)));
    checks
        .filter_map(|(service, check)| Some((service, check, check.target.as_ref()?)))
        .filter(|(_, _, target)| {
            let ours = |ip: IpAddr| ip.is_loopback() || vips.contains(&ip) || own.contains(&ip);
            !target.address().is_some_and(|address| ours(address.ip))
        })
        .map(|(service, check, target)| {
            format!(
                "{file}: service `{}`, check `{}`: `target = \"{target}\"` is no address of this frontend, and the lab has no other \
                 web server: write `127.0.0.1` or a VIP",
                service.name, check.name
            )
        })
        .collect()
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
