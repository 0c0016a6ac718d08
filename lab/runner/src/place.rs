//! The link of a peer: which router has its address, and on which interface.
//!
//! Pure. A router has the address if one of its interfaces has it. A file that sets no such address fits if it expects a neighbour in
//! the address's subnet; then the lab sets the address. That subnet is the neighbour's range, or the /31 with the neighbour, or the
//! /24, and the /64 for IPv6.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use announcer::config::PeerAddress;
use ipnet::IpNet;

use crate::plan::{ConfigFile, Owner, Port, RouterInput, Segment};
use crate::router_file::Neighbour;

/// Where a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Its address.
    pub(crate) address: IpAddr,
    /// The index of its router.
    pub(crate) router: usize,
    /// The index of its segment.
    pub(crate) segment: usize,
    /// The subnet of its address.
    pub(crate) subnet: IpNet,
}

/// The places of all peers that were looked for.
pub(crate) struct Places<'a> {
    routers: &'a [RouterInput],
    /// How many configurations have a peer with this address.
    users: BTreeMap<IpAddr, usize>,
    placed: BTreeMap<IpAddr, Placed>,
    /// The segments, with the ports of routers alone.
    pub(crate) segments: Vec<Segment>,
}

impl<'a> Places<'a> {
    pub(crate) fn new(routers: &'a [RouterInput], configs: &[ConfigFile]) -> Self {
        let mut users = BTreeMap::new();
        for peer in configs.iter().flat_map(|config| &config.config.peers) {
            if let PeerAddress::Ip(address) = peer.address {
                *users.entry(address).or_default() += 1;
            }
        }
        Places { routers, users, placed: BTreeMap::new(), segments: Vec::new() }
    }

    /// The place of the peer with this address; `None`: no router fits.
    pub(crate) fn of(&mut self, address: IpAddr) -> Option<Placed> {
        if let Some(known) = self.placed.get(&address) {
            return Some(*known);
        }
        let placed = self.on_interface(address).or_else(|| self.by_neighbour(address))?;
        self.placed.insert(address, placed);
        Some(placed)
    }

    /// At an interface that has the address in the router's file.
    fn on_interface(&mut self, address: IpAddr) -> Option<Placed> {
        let (router, interface, subnet) = self.routers.iter().enumerate().find_map(|(index, router)| {
            router.read.interfaces.iter().find_map(|interface| {
                let net = interface.addresses.iter().find(|net| net.addr() == address)?;
                Some((index, interface, net.trunc()))
            })
        })?;
        let port = Port {
            owner: Owner::Router(router),
            interface: interface.name.clone(),
            by_file: interface.addresses.clone(),
            by_lab: Vec::new(),
        };
        Some(Placed { address, router, segment: self.attach(port), subnet })
    }

    /// At a router that expects a neighbour in the address's subnet. Two addresses of one subnet are two routers.
    fn by_neighbour(&mut self, address: IpAddr) -> Option<Placed> {
        let shared = self.users.get(&address).is_some_and(|users| *users > 1);
        let is_free = |router: usize, subnet: &IpNet| {
            let others = self.placed.values().filter(|placed| placed.router == router);
            others.into_iter().all(|placed| !subnet.contains(&placed.address))
        };
        let (router, subnet) = self.routers.iter().enumerate().find_map(|(index, router)| {
            let subnet = near(&router.read.neighbours, address, shared)?;
            // In the subnet of one of its interfaces it has another address.
            let mut own = router.read.interfaces.iter().flat_map(|interface| &interface.addresses);
            (!own.any(|net| net.contains(&address)) && is_free(index, &subnet)).then_some((index, subnet))
        })?;
        let named = self.routers[router].read.interfaces.iter().map(|interface| interface.name.as_str());
        let ports = self.segments.iter().flat_map(|segment| &segment.ports);
        let used =
            ports.filter(|port| port.owner == Owner::Router(router)).map(|port| port.interface.as_str());
        let interface = free_name(&named.chain(used).collect());
        let net = IpNet::new(address, subnet.prefix_len()).ok()?;
        let port = Port { owner: Owner::Router(router), interface, by_file: Vec::new(), by_lab: vec![net] };
        Some(Placed { address, router, segment: self.attach(port), subnet })
    }

    /// Adds a router's port to the segment with one of its subnets, or to a new one; returns its index.
    fn attach(&mut self, port: Port) -> usize {
        let subnets: Vec<IpNet> = port.addresses().map(|net| net.trunc()).collect();
        let same = |segment: &Segment| segment.subnets.iter().any(|subnet| subnets.contains(subnet));
        let index = self.segments.iter().position(same).unwrap_or_else(|| {
            self.segments.push(Segment::default());
            self.segments.len() - 1
        });
        let segment = &mut self.segments[index];
        segment.subnets.extend(subnets);
        segment.subnets.sort_unstable();
        segment.subnets.dedup();
        if segment.port(port.owner).is_none() {
            segment.ports.push(port);
        }
        index
    }
}

/// The subnet of `address`, if a neighbour is in it. With `shared`, several hosts have this peer, so it is no /31.
fn near(neighbours: &[Neighbour], address: IpAddr, shared: bool) -> Option<IpNet> {
    let within = |bits: u8| IpNet::new(address, bits).ok().map(|net| net.trunc());
    let wide = within(if address.is_ipv4() { 24 } else { 64 })?;
    let beside = |subnet: IpNet| {
        neighbours.iter().any(|neighbour| match neighbour {
            Neighbour::Address(other) => *other != address && subnet.contains(other),
            Neighbour::Range(_) => false,
        })
    };
    let range = neighbours.iter().find_map(|neighbour| match neighbour {
        Neighbour::Range(range) => Some(*range).filter(|range| range.contains(&address)),
        Neighbour::Address(_) => None,
    });
    if let Some(narrow) = within(31).filter(|narrow| address.is_ipv4() && !shared && beside(*narrow)) {
        Some(narrow)
    } else if let Some(range) = range {
        Some(if range.prefix_len() > wide.prefix_len() { range } else { wide })
    } else {
        beside(wide).then_some(wide)
    }
}

/// The first of `eth1`, `eth2` … that is not taken.
pub(crate) fn free_name(taken: &BTreeSet<&str>) -> String {
    let mut names = (1..).map(|number: u32| format!("eth{number}"));
    names
        .find(|name| !taken.contains(name.as_str()))
        .unwrap_or_else(|| unreachable!("the numbers do not end"))
}
