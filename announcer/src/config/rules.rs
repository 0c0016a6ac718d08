//! The rules that concern several tables of the file.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;

use super::address::NextHopValue;
use super::error::{Fault, unique};
use super::file::WrittenFile;
use super::peer::PeerAddress;
use super::{chain, dsr, hooks, peer, recipients, service};

/// Checks the file as a whole.
pub(super) fn judge(file: &WrittenFile, faults: &mut Vec<Fault>) {
    let names = file.peers.iter().filter_map(|peer| peer.name.as_ref());
    unique(names, "give each peer its own name", faults);
    let places: Vec<Spanned<String>> = file.peers.iter().filter_map(peer::Written::place).collect();
    unique(&places, "write one `[[peer]]` for each router", faults);
    let names = file.services.iter().filter_map(|service| service.name.as_ref());
    unique(names, "give each service its own name", faults);
    vips_once(file, faults);
    roles(file, faults);
    identifier(file, faults);
    listeners(file, faults);
    let all_vips = file.vips().map(|vip| *vip.get_ref()).collect();
    file.chain.iter().for_each(|written| chain::judge(written, &all_vips, faults));
    file.dsr.iter().for_each(|written| dsr::judge(written, faults));
    let members = file.chain.as_ref().map(|chain| {
        let written = chain.members.as_ref().map(|members| members.get_ref().len());
        written.unwrap_or(chain::MOST_MEMBERS)
    });
    file.services.iter().for_each(|service| service::judge_announcers(service, members, faults));
    file.peers.iter().for_each(|peer| peer::judge(peer, faults));
    file.services.iter().for_each(|service| service::judge(service, faults));
    let announced = file.services.iter().filter_map(|service| service.prefixes.as_ref());
    unique(
        announced.flat_map(|all| all.get_ref()),
        "write one `[[service]]` with the VIPs and the checks of both, or a prefix for each",
        faults,
    );
    let names: Option<BTreeSet<&str>> =
        file.peers.iter().map(|peer| peer.name.as_ref().map(|name| name.get_ref().as_str())).collect();
    let services = file.services.iter().map(|service| &service.recipients);
    services.for_each(|written| recipients::judge(written, names.as_ref(), faults));
    vrfs(file, faults);
    hooks::judge(&file.hooks, faults);
    file.services.iter().for_each(|service| hooks::judge(&service.hooks, faults));
    file.peers.iter().for_each(|peer| hooks::judge_of_peer(&peer.hooks, faults));
}

/// A chain has no VRF, and the routes of a service need a router in its VRF, or one in no VRF.
fn vrfs(file: &WrittenFile, faults: &mut Vec<Fault>) {
    let forwards = |chain: &&chain::Written| chain.forward.as_ref().is_none_or(|forward| *forward.get_ref());
    let chain = file.chain.as_ref().filter(forwards);
    for service in &file.services {
        if let (Some(vrf), Some(chain)) = (&service.vrf, chain) {
            let message = "`[chain]` has no VRFs: its rules would not see the packets of this service";
            let help =
                "remove `vrf` or `[chain]`, or write `forward = false` in `[chain]`, for heartbeats alone";
            let fault = Fault::new(vrf.span(), message, help);
            faults.push(match &chain.interface {
                Some(interface) => fault.beside(interface.span(), "the chain"),
                None => fault,
            });
        }
        router_there(service, file, faults);
    }
}

/// Without `peers`, a service needs a router that is where the service is.
fn router_there(service: &service::Written, file: &WrittenFile, faults: &mut Vec<Fault>) {
    let vrf = service.vrf.as_ref().map(|vrf| vrf.get_ref());
    let is_there = |peer: &peer::Written| peer.vrf.as_ref().map(|vrf| vrf.get_ref()) == vrf;
    if service.recipients.peers.is_some() || file.peers.is_empty() || file.peers.iter().any(is_there) {
        return;
    }
    let fault = match &service.vrf {
        Some(vrf) => {
            let name = vrf.get_ref();
            let message = format!("no `[[peer]]` is in the VRF `{name}`: no router would get the routes");
            let help = format!(
                "write `vrf = \"{name}\"` in the `[[peer]]` of each router of the VRF, or name in `peers` the routers that get the routes"
            );
            Fault::new(vrf.span(), message, help)
        }
        None => {
            let Some(name) = &service.name else { return };
            let message = format!(
                "each `[[peer]]` is in a VRF, and the service `{}` is in no VRF: no router would get the routes",
                name.get_ref()
            );
            let help = "write the VRF of the service, as in `vrf = \"edge\"`, or name in `peers` the routers that get the routes";
            Fault::new(name.span(), message, help)
        }
    };
    faults.push(fault.absence());
}

/// Two values that name the same VIPs.
struct Overlap {
    /// The second value, and the first one.
    places: (Range<usize>, Range<usize>),
    /// Whether both are in one service.
    same_service: bool,
    /// The first of these VIPs, and how many more there are.
    vips: (IpAddr, usize),
}

/// A VIP may be in only one service, because the checks of that service decide about it. Where two ranges overlap, the first address
/// of both is named.
fn vips_once(file: &WrittenFile, faults: &mut Vec<Fault>) {
    let mut seen: HashMap<IpAddr, (usize, Range<usize>)> = HashMap::new();
    let mut overlaps: BTreeMap<(usize, usize), Overlap> = BTreeMap::new();
    for (index, service) in file.services.iter().enumerate() {
        for vip in service.vips.iter().flat_map(|vips| vips.get_ref()) {
            let Some((first, place)) = seen.get(vip.get_ref()) else {
                seen.insert(*vip.get_ref(), (index, vip.span()));
                continue;
            };
            let same_service = *first == index;
            let found =
                Overlap { places: (vip.span(), place.clone()), same_service, vips: (*vip.get_ref(), 0) };
            let starts = (vip.span().start, place.start);
            overlaps.entry(starts).and_modify(|overlap| overlap.vips.1 += 1).or_insert(found);
        }
    }
    for Overlap { places: (span, first), same_service, vips: (vip, more) } in overlaps.into_values() {
        let help = match same_service {
            true => "name each VIP once",
            false => {
                "write one `[[service]]` with the VIP and the checks of both: `require` says how many have to pass"
            }
        };
        let message = match more {
            0 => format!("`{vip}` is named twice"),
            more => format!("`{vip}` and {more} more are named twice"),
        };
        faults.push(Fault::new(span, message, help).beside(first, "first named here"));
    }
}

/// A VIP is on every frontend, so it cannot be the address of a peer, a source, a next hop or a director.
fn roles(file: &WrittenFile, faults: &mut Vec<Fault>) {
    let mut roles: HashMap<IpAddr, (&str, Range<usize>, &'static str)> = HashMap::new();
    let mut role = |ip: IpAddr, span: Range<usize>, role, label| {
        roles.insert(ip, (role, span, label));
    };
    if let Some(id) = file.bgp.as_ref().and_then(|bgp| bgp.router_id.as_ref()) {
        role(id.get_ref().get().into(), id.span(), "the router id", "the router id");
    }
    let next_hops = file.services.iter().flat_map(|service| &service.attributes.next_hop);
    for next_hop in next_hops.flat_map(|all| all.get_ref()) {
        if let NextHopValue::Is(ip) = next_hop.get_ref() {
            role(*ip, next_hop.span(), "a next hop", "the next hop");
        }
    }
    for peer in &file.peers {
        for (ip, span) in peer.overrides.next_hops() {
            role(ip, span, "a next hop", "the next hop");
        }
        if let Some(source) = &peer.source_address {
            role(*source.get_ref(), source.span(), "the source of a session", "the source address");
        }
        if let Some((ip, span)) = peer.ip() {
            role(ip, span, "a peer's address", "the peer's address");
        }
    }
    let directors = file.dsr.iter().filter_map(|dsr| dsr.directors.as_ref());
    for director in directors.flat_map(|all| all.get_ref()) {
        role(*director.get_ref(), director.span(), "a director's address", "the director");
    }
    for vip in file.vips() {
        if let Some((role, place, label)) = roles.get(vip.get_ref()) {
            let message = format!("the VIP `{}` is also {role}", vip.get_ref());
            let help = "write an address that every frontend shares and nothing else uses";
            faults.push(Fault::new(vip.span(), message, help).beside(place.clone(), label));
        }
    }
}

/// A VIP is on every frontend, so its clients could reach the metrics or the status page.
fn listeners(file: &WrittenFile, faults: &mut Vec<Fault>) {
    let metrics = file.metrics.as_ref().and_then(|metrics| metrics.listen.as_ref());
    let status = file.status.as_ref().and_then(|status| status.listen.as_ref());
    for (table, listen, help) in [
        (
            "[metrics]",
            metrics,
            "write an address that only this host has, as in `\"127.0.0.1:9179\"`: the clients of a VIP could read the metrics",
        ),
        (
            "[status]",
            status,
            "write an address that only this host has, as in `\"127.0.0.1:9180\"`: the clients of a VIP could read the page",
        ),
    ] {
        let Some(listen) = listen else { continue };
        if let Some(vip) = file.vips().find(|vip| *vip.get_ref() == listen.get_ref().ip()) {
            let message = format!("`listen` of `{table}` is at the VIP `{}`", vip.get_ref());
            faults.push(Fault::new(listen.span(), message, help).beside(vip.span(), "the VIP"));
        }
    }
    if let (Some(metrics), Some(status)) = (metrics, status)
        && metrics.get_ref() == status.get_ref()
    {
        let message = format!("`{}` is also `listen` of `[metrics]`", status.get_ref());
        let help = "write another port, as in `\"127.0.0.1:9180\"`";
        faults.push(Fault::new(status.span(), message, help).beside(metrics.span(), "of the metrics"));
    }
}

/// The default of `router_id` is the source address towards a peer, so it needs an IPv4 peer.
fn identifier(file: &WrittenFile, faults: &mut Vec<Fault>) {
    let Some(bgp) = file.bgp.as_ref().filter(|bgp| bgp.router_id.is_none()) else { return };
    let mut addresses = file.peers.iter().filter_map(|peer| peer.address.as_ref()).peekable();
    if let (Some(asn), Some(first)) = (&bgp.asn, addresses.peek().map(|address| address.span()))
        && addresses.all(|address| {
            matches!(address.get_ref(), PeerAddress::Ip(IpAddr::V6(_)) | PeerAddress::RouterAdvertisement)
        })
    {
        let help = "write `router_id = \"10.0.1.11\"`: any IPv4 address that no other BGP speaker uses";
        let message = "`router_id` is required if no peer has an IPv4 address";
        faults.push(Fault::new(asn.span(), message, help).beside(first, "this one has none").absence());
    }
}
