//! The routes of a router: its own decoder for our UPDATEs, and a table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A route in the router: next hop, MED, communities.
pub type Route = (IpAddr, Option<u32>, BTreeSet<u32>);

/// The routes that a router has from us, computed only from our octets.
#[derive(Debug, Default)]
pub struct Table {
    /// Whether another process has taken over the session at the other end. It does not know exactly what it has to withdraw, and says
    /// End-of-RIB again.
    pub taken_over: bool,
    octets: Vec<u8>,
    pub routes: BTreeMap<IpNet, Route>,
    pub ended: BTreeSet<u16>,
}

impl Table {
    /// Adds octets that were read.
    pub fn feed(&mut self, octets: &[u8]) {
        self.octets.extend(octets);
    }

    /// Removes the next message, which must be complete; returns its type and its body.
    pub fn message(&mut self) -> (u8, Vec<u8>) {
        let length = usize::from(u16::from_be_bytes([self.octets[16], self.octets[17]]));
        let message: Vec<u8> = self.octets.drain(..length).collect();
        (message[18], message[19..].to_vec())
    }

    /// Applies an UPDATE (RFC 4271 §4.3, RFC 4760).
    pub fn apply(&mut self, body: &[u8]) {
        let (withdrawn, rest) = counted(body);
        let (attributes, nlri) = counted(rest);
        let (mut next_hop, mut med, mut communities) = (None, None, BTreeSet::new());
        let mut reached = prefixes(nlri, 1);
        let mut gone = prefixes(withdrawn, 1);
        let mut end = body.len() == 4;
        let mut family = 1;
        let mut rest = attributes;
        while let [flags, kind, after @ ..] = rest {
            let (value, later) = if flags & 0x10 == 0 {
                after[1..].split_at(usize::from(after[0]))
            } else {
                after[2..].split_at(usize::from(u16::from_be_bytes([after[0], after[1]])))
            };
            rest = later;
            match kind {
                3 => next_hop = Some(v4(value)),
                4 => med = Some(u32::from_be_bytes(value.try_into().unwrap())),
                8 => communities.extend(value.chunks(4).map(|c| u32::from_be_bytes(c.try_into().unwrap()))),
                14 => {
                    let length = usize::from(value[3]);
                    next_hop = Some(v6(&value[4..4 + 16]));
                    reached.extend(prefixes(&value[5 + length..], 2));
                }
                15 => {
                    family = u16::from_be_bytes([value[0], value[1]]);
                    end = value.len() == 3;
                    gone.extend(prefixes(&value[3..], family));
                }
                _ => {}
            }
        }
        for prefix in gone {
            let known = self.routes.remove(&prefix).is_some();
            assert!(known || self.taken_over, "{prefix} is withdrawn and was not announced");
        }
        for prefix in reached {
            let route = (next_hop.expect("a next hop"), med, communities.clone());
            self.routes.insert(prefix, route);
        }
        if end {
            assert!(self.ended.insert(family) || self.taken_over, "End-of-RIB comes once for a family");
        }
    }
}

fn counted(octets: &[u8]) -> (&[u8], &[u8]) {
    octets[2..].split_at(usize::from(u16::from_be_bytes([octets[0], octets[1]])))
}

fn prefixes(mut octets: &[u8], family: u16) -> Vec<IpNet> {
    let mut found = Vec::new();
    while let [length, rest @ ..] = octets {
        let (prefix, later) = rest.split_at(usize::from(length.div_ceil(8)));
        let address = if family == 1 { v4(prefix) } else { v6(prefix) };
        found.push(IpNet::new(address, *length).unwrap());
        octets = later;
    }
    found
}

fn v4(octets: &[u8]) -> IpAddr {
    let mut address = [0; 4];
    address[..octets.len()].copy_from_slice(octets);
    Ipv4Addr::from(address).into()
}

fn v6(octets: &[u8]) -> IpAddr {
    let mut address = [0; 16];
    address[..octets.len()].copy_from_slice(octets);
    Ipv6Addr::from(address).into()
}
