//! What one key of the file cannot know alone, and the step from the file as written to the [`Config`] as used.
//!
//! Pure.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;

use super::error::Fault;
use super::file::{self, File};
use super::{Bgp, Check, Config, Peer, Probe, Service};

/// Communities of a service: with more, there would be no room for VIPs in an UPDATE of 4096 octets.
const COMMUNITIES: usize = 255;

/// Checks the file as a whole. `None`: something is missing or wrong, and told.
pub(super) fn config(file: &File, faults: &mut Vec<Fault>) -> Option<Config> {
    unique(
        file.peers.iter().filter_map(|peer| peer.name.as_ref()),
        "give each peer a name of its own",
        faults,
    );
    unique(
        file.peers.iter().filter_map(|peer| peer.address.as_ref()),
        "write one `[[peer]]` for each router",
        faults,
    );
    unique(
        file.services.iter().filter_map(|service| service.name.as_ref()),
        "give each service a name of its own",
        faults,
    );
    unique(vips(file), "name each VIP once, in one service", faults);
    roles(file, faults);
    identifier(file, faults);
    for service in &file.services {
        sizes(service, faults);
    }
    Some(Config {
        bgp: file.bgp.as_ref().and_then(bgp)?,
        peers: file.peers.iter().map(peer).collect::<Option<_>>()?,
        services: file.services.iter().map(service).collect::<Option<_>>()?,
    })
}

fn vips(file: &File) -> impl Iterator<Item = &Spanned<IpAddr>> {
    file.services.iter().filter_map(|service| service.vips.as_ref()).flat_map(|vips| vips.get_ref())
}

fn unique<'a, T: Hash + Eq + ToString + 'a>(
    values: impl Iterator<Item = &'a Spanned<T>>,
    help: &str,
    faults: &mut Vec<Fault>,
) {
    let mut seen: HashMap<&T, Range<usize>> = HashMap::new();
    for value in values {
        match seen.get(value.get_ref()) {
            Some(first) => {
                let message = format!("`{}` is named twice", value.get_ref().to_string());
                faults
                    .push(Fault::new(value.span(), message, help).beside(first.clone(), "first named here"));
            }
            None => drop(seen.insert(value.get_ref(), value.span())),
        }
    }
}

/// A VIP is on every frontend, so it can be nothing else.
fn roles(file: &File, faults: &mut Vec<Fault>) {
    let mut roles: HashMap<IpAddr, (&str, Range<usize>, &'static str)> = HashMap::new();
    if let Some(id) = file.bgp.as_ref().and_then(|bgp| bgp.router_id.as_ref()) {
        roles.insert(id.get_ref().get().into(), ("the router id", id.span(), "the router id"));
    }
    for peer in &file.peers {
        if let Some(next_hop) = &peer.next_hop_v6 {
            roles.insert((*next_hop.get_ref()).into(), ("a next hop", next_hop.span(), "the next hop"));
        }
        if let Some(address) = &peer.address {
            roles.insert(*address.get_ref(), ("a peer's address", address.span(), "the peer's address"));
        }
    }
    for vip in vips(file) {
        if let Some((role, place, label)) = roles.get(vip.get_ref()) {
            let message = format!("the VIP `{}` is also {role}", vip.get_ref());
            let help = "write an address that every frontend shares and nothing else uses";
            faults.push(Fault::new(vip.span(), message, help).beside(place.clone(), label));
        }
    }
    for peer in &file.peers {
        let (Some(next_hop), Some(address)) = (&peer.next_hop_v6, &peer.address) else { continue };
        if *address.get_ref() == IpAddr::V6(*next_hop.get_ref()) {
            let message = format!("the next hop `{}` is the peer's own address", next_hop.get_ref());
            let help = "write a global IPv6 address of this host";
            faults.push(
                Fault::new(next_hop.span(), message, help).beside(address.span(), "the peer's address"),
            );
        }
    }
}

/// The default of `router_id` is a source address towards a peer, which takes an IPv4 peer.
fn identifier(file: &File, faults: &mut Vec<Fault>) {
    let Some(bgp) = file.bgp.as_ref().filter(|bgp| bgp.router_id.is_none()) else { return };
    let mut addresses = file.peers.iter().filter_map(|peer| peer.address.as_ref()).peekable();
    if let (Some(asn), Some(first)) = (&bgp.asn, addresses.peek().map(|address| address.span()))
        && addresses.all(|address| address.get_ref().is_ipv6())
    {
        let help = "write `router_id = \"10.0.1.11\"`: any IPv4 address that no other BGP speaker uses";
        let message = "`router_id` is required where no peer has an IPv4 address";
        faults.push(Fault::new(asn.span(), message, help).beside(first, "this one has none").absence());
    }
}

fn sizes(service: &file::Service, faults: &mut Vec<Fault>) {
    if let Some(communities) = service.communities.as_ref().filter(|all| all.get_ref().len() > COMMUNITIES) {
        let message = format!("{} communities are too many", communities.get_ref().len());
        let help = format!("write at most {COMMUNITIES}, or the message has no room for VIPs");
        faults.push(Fault::new(communities.span(), message, help));
    }
}

fn bgp(file: &file::Bgp) -> Option<Bgp> {
    Some(Bgp { asn: one(&file.asn)?, router_id: one(&file.router_id), settle: one(&file.settle)? })
}

fn peer(file: &file::Peer) -> Option<Peer> {
    Some(Peer {
        name: one(&file.name)?,
        address: one(&file.address)?,
        port: one(&file.port)?,
        asn: one(&file.asn)?,
        hold_time: one(&file.hold_time)?,
        next_hop_v6: one(&file.next_hop_v6),
    })
}

fn service(file: &file::Service) -> Option<Service> {
    Some(Service {
        name: one(&file.name)?,
        vips: all(&file.vips).collect(),
        communities: all(&file.communities).collect(),
        med: one(&file.med),
        announce_delay: one(&file.announce_delay)?,
        flap_damping: one(&file.flap_damping)?,
        checks: file.checks.iter().map(check).collect::<Option<_>>()?,
    })
}

fn check(file: &file::Check) -> Option<Check> {
    Some(Check {
        probe: Probe::Http(one(&file.http)?),
        interval: one(&file.interval)?,
        timeout: one(&file.timeout)?,
        rise: one(&file.rise)?,
        fall: one(&file.fall)?,
    })
}

fn one<T: Clone>(value: &Option<Spanned<T>>) -> Option<T> {
    value.as_ref().map(|value| value.get_ref().clone())
}

fn all<T: Copy>(values: &Option<Spanned<Vec<Spanned<T>>>>) -> impl Iterator<Item = T> {
    values.iter().flat_map(|values| values.get_ref()).map(|value| *value.get_ref())
}
