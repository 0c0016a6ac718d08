//! What one key of the file cannot know alone, and the step from the file as written to the [`Config`] as used.
//!
//! Pure.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::address::NextHop;
use super::error::Fault;
use super::file::{self, File};
use super::value::span;
use super::{Bgp, Config, Health, Hooks, Metrics, Peer, PeerAddress, Require, Service, check};
use crate::model::{Attributes, Deprefer, Family, Overrides};

/// Communities of a route: all lists full, half of an UPDATE of 4096 octets is left for prefixes.
const COMMUNITIES: usize = 255;
const EXTENDED_COMMUNITIES: usize = 31;
const LARGE_COMMUNITIES: usize = 64;
const DEPREFER_COMMUNITIES: usize = 16;

/// Checks the file as a whole. `None`: something is missing or wrong, and told.
pub(super) fn config(file: &File, faults: &mut Vec<Fault>) -> Option<Config> {
    unique(
        file.peers.iter().filter_map(|peer| peer.name.as_ref()),
        "give each peer a name of its own",
        faults,
    );
    let places: Vec<Spanned<String>> = file.peers.iter().filter_map(place).collect();
    unique(places.iter(), "write one `[[peer]]` for each router", faults);
    unique(
        file.services.iter().filter_map(|service| service.name.as_ref()),
        "give each service a name of its own",
        faults,
    );
    unique(vips(file), "name each VIP once, in one service", faults);
    roles(file, faults);
    identifier(file, faults);
    for peer in &file.peers {
        session(peer, faults);
        sizes(&peer.attributes, faults);
    }
    for service in &file.services {
        prefixes(service, faults);
        next_hops(service, faults);
        check::rules::judge(&service.checks, faults);
        sizes(&service.attributes, faults);
        counts(service, faults);
    }
    let announced = file.services.iter().filter_map(|service| service.prefix.as_ref());
    unique(announced.flat_map(|all| all.get_ref()), "announce each prefix for one service alone", faults);
    let hooks = file.hooks.as_ref().map(|written| hooks(written, faults));
    let metrics = file.metrics.as_ref().map(metrics);
    Some(Config {
        bgp: file.bgp.as_ref().and_then(bgp)?,
        peers: file.peers.iter().map(peer).collect::<Option<_>>()?,
        services: file.services.iter().map(service).collect::<Option<_>>()?,
        health: Health { listener_watch: one(&file.health.as_ref()?.listener_watch)? },
        hooks: absent_or_good(hooks)?,
        metrics: absent_or_good(metrics)?,
    })
}

/// A table that may be absent: `None` if it is there and not good.
fn absent_or_good<T>(table: Option<Option<T>>) -> Option<Option<T>> {
    table.map_or(Some(None), |found| found.map(Some))
}

/// A program that is looked for is one that somebody else can put there first.
fn hooks(file: &file::Hooks, faults: &mut Vec<Fault>) -> Option<Hooks> {
    let written = file.on_change.as_ref()?.get_ref();
    if let Some(program) = written.first().filter(|program| !program.get_ref().starts_with('/')) {
        let message = format!("`{}` is no whole path", program.get_ref().escape_debug());
        faults.push(Fault::new(program.span(), message, "write where the program is, from `/` on"));
    }
    let on_change: Vec<String> = written.iter().map(|part| part.get_ref().clone()).collect();
    Some(Hooks { on_change, timeout: one(&file.timeout)? })
}

fn metrics(file: &file::Metrics) -> Option<Metrics> {
    Some(Metrics { listen: one(&file.listen)? })
}

/// Where a peer is found: the same address may be behind two interfaces.
fn place(peer: &file::Peer) -> Option<Spanned<String>> {
    let address = peer.address.as_ref()?;
    let behind = peer.interface.as_ref().map_or(String::new(), |name| format!(" on {}", name.get_ref()));
    Some(Spanned::new(address.span(), format!("{}{behind}", address.get_ref())))
}

fn vips(file: &File) -> impl Iterator<Item = &Spanned<IpAddr>> {
    file.services.iter().filter_map(|service| service.vips.as_ref()).flat_map(|vips| vips.get_ref())
}

pub(super) fn unique<'a, T: Hash + Eq + ToString + 'a>(
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
    let mut role = |ip: IpAddr, span: Range<usize>, role, label| {
        roles.insert(ip, (role, span, label));
    };
    if let Some(id) = file.bgp.as_ref().and_then(|bgp| bgp.router_id.as_ref()) {
        role(id.get_ref().get().into(), id.span(), "the router id", "the router id");
    }
    for next_hop in file.services.iter().flat_map(|service| &service.next_hop).flat_map(|all| all.get_ref()) {
        if let NextHop::Is(ip) = next_hop.get_ref() {
            role(*ip, next_hop.span(), "a next hop", "the next hop");
        }
    }
    for peer in &file.peers {
        for (ip, span) in given_next_hops(peer) {
            role(ip, span, "a next hop", "the next hop");
        }
        if let Some(source) = &peer.source_address {
            role(*source.get_ref(), source.span(), "the source of a session", "the source address");
        }
        if let Some((ip, span)) = address(peer) {
            role(ip, span, "a peer's address", "the peer's address");
        }
    }
    for vip in vips(file) {
        if let Some((role, place, label)) = roles.get(vip.get_ref()) {
            let message = format!("the VIP `{}` is also {role}", vip.get_ref());
            let help = "write an address that every frontend shares and nothing else uses";
            faults.push(Fault::new(vip.span(), message, help).beside(place.clone(), label));
        }
    }
}

fn address(peer: &file::Peer) -> Option<(IpAddr, Range<usize>)> {
    let address = peer.address.as_ref()?;
    match address.get_ref() {
        PeerAddress::Ip(ip) => Some((*ip, address.span())),
        PeerAddress::DefaultGateway => None,
    }
}

fn given_next_hops(peer: &file::Peer) -> impl Iterator<Item = (IpAddr, Range<usize>)> {
    let v4 = peer.next_hop_v4.iter().map(|given| (IpAddr::V4(*given.get_ref()), given.span()));
    v4.chain(peer.next_hop_v6.iter().map(|given| (IpAddr::V6(*given.get_ref()), given.span())))
}

/// What makes a session possible.
fn session(peer: &file::Peer, faults: &mut Vec<Fault>) {
    if let Some((peer_ip, at)) = address(peer) {
        for (next_hop, span) in given_next_hops(peer).filter(|(ip, _)| *ip == peer_ip) {
            let message = format!("the next hop `{next_hop}` is the peer's own address");
            let help = format!("write a global {} address of this host", Family::of(next_hop));
            faults.push(Fault::new(span, message, help).beside(at.clone(), "the peer's address"));
        }
        if let IpAddr::V6(v6) = peer_ip
            && v6.is_unicast_link_local()
            && peer.interface.is_none()
        {
            let help = "add a line such as `interface = \"eth0\"`";
            faults.push(Fault::new(
                at.clone(),
                format!("`{v6}` is link-local, and no interface is named"),
                help,
            ));
        }
        if let Some(source) = &peer.source_address {
            let ip = *source.get_ref();
            let fault = |message: String, help: &str| {
                Fault::new(source.span(), message, help).beside(at.clone(), "the peer's address")
            };
            if Family::of(ip) != Family::of(peer_ip) {
                let message = format!(
                    "the source address is {}, the peer's is {}",
                    Family::of(ip),
                    Family::of(peer_ip)
                );
                faults.push(fault(message, "write an address of the session's own family"));
            } else if ip == peer_ip {
                faults.push(fault(
                    format!("the source address `{ip}` is the peer's own"),
                    "write an address of this host",
                ));
            }
        }
    }
    if let (Some(hold), Some(send)) = (&peer.hold_time, &peer.send_hold_time)
        && send.get_ref() < hold.get_ref()
    {
        let message = "`send_hold_time` must be at least `hold_time`";
        let help = format!("write `{}` or more; RFC 9687 section 6 wants twice that", span(*hold.get_ref()));
        faults.push(Fault::new(send.span(), message, help));
    }
}

/// Whether prefixes cover the VIPs that they stand for.
fn prefixes(service: &file::Service, faults: &mut Vec<Fault>) {
    let (Some(prefixes), Some(vips)) = (&service.prefix, &service.vips) else { return };
    let mut seen: HashMap<Family, Range<usize>> = HashMap::new();
    for prefix in prefixes.get_ref() {
        let (net, family) = (prefix.get_ref(), Family::of(prefix.get_ref().addr()));
        if let Some(first) = seen.get(&family) {
            let message = format!("a service has one {family} prefix at most");
            let help = "write another service for the VIPs of the other prefix";
            faults.push(Fault::new(prefix.span(), message, help).beside(first.clone(), "the first one"));
            continue;
        }
        seen.insert(family, prefix.span());
        let mut ours = vips.get_ref().iter().filter(|vip| Family::of(*vip.get_ref()) == family).peekable();
        if ours.peek().is_none() && !vips.get_ref().is_empty() {
            let message = format!("`{net}` covers no VIP of this service");
            faults.push(Fault::new(prefix.span(), message, "write a prefix that its VIPs are in, or none"));
        }
        for vip in ours.filter(|vip| !net.contains(vip.get_ref())) {
            let message = format!("the VIP `{}` is not in `{net}`, which is announced for it", vip.get_ref());
            let help = "write a prefix that all VIPs of its family are in";
            faults.push(Fault::new(vip.span(), message, help).beside(prefix.span(), "the prefix"));
        }
    }
}

/// The default of `router_id` is a source address towards a peer, which takes an IPv4 peer.
fn identifier(file: &File, faults: &mut Vec<Fault>) {
    let Some(bgp) = file.bgp.as_ref().filter(|bgp| bgp.router_id.is_none()) else { return };
    let mut addresses = file.peers.iter().filter_map(|peer| peer.address.as_ref()).peekable();
    if let (Some(asn), Some(first)) = (&bgp.asn, addresses.peek().map(|address| address.span()))
        && addresses.all(|address| matches!(address.get_ref(), PeerAddress::Ip(IpAddr::V6(_))))
    {
        let help = "write `router_id = \"10.0.1.11\"`: any IPv4 address that no other BGP speaker uses";
        let message = "`router_id` is required where no peer has an IPv4 address";
        faults.push(Fault::new(asn.span(), message, help).beside(first, "this one has none").absence());
    }
}

/// `self` alone, or one address a family.
fn next_hops(service: &file::Service, faults: &mut Vec<Fault>) {
    let Some(next_hops) = &service.next_hop else { return };
    let kind = |next_hop: &Spanned<NextHop>| match next_hop.get_ref() {
        NextHop::Own => None,
        NextHop::Is(ip) => Some(Family::of(*ip)),
    };
    for (index, next_hop) in next_hops.get_ref().iter().enumerate() {
        let before = next_hops.get_ref().iter().take(index);
        let clash = before.clone().any(|other| kind(other).is_none() || kind(other) == kind(next_hop));
        if clash || (index > 0 && kind(next_hop).is_none()) {
            let help = "write `\"self\"`, or one IPv4 and one IPv6 address at most";
            faults.push(Fault::new(next_hop.span(), "this next hop has no routes left to be of", help));
        }
    }
}

/// Whether as many checks can pass as have to, and the message keeps room for VIPs.
fn counts(service: &file::Service, faults: &mut Vec<Fault>) {
    if let Some(require) = &service.require
        && let Require::AtLeast(least) = require.get_ref()
        && !service.checks.is_empty()
        && service.checks.len() < usize::try_from(*least).unwrap_or(usize::MAX)
    {
        let message = format!("{least} checks have to pass, and the service has {}", service.checks.len());
        let help = format!("write `\"all\"`, or 1 to {}", service.checks.len());
        faults.push(Fault::new(require.span(), message, help));
    }
    let added = service.deprefer.as_ref().and_then(|deprefer| deprefer.communities.as_ref());
    if let Some(added) = added.filter(|all| all.get_ref().len() > DEPREFER_COMMUNITIES) {
        let message = format!("{} communities are too many", added.get_ref().len());
        let help = format!("write at most {DEPREFER_COMMUNITIES}; they are added to those of the service");
        faults.push(Fault::new(added.span(), message, help));
    }
}

fn sizes(attributes: &file::Attributes, faults: &mut Vec<Fault>) {
    let lists = [
        (
            attributes.communities.as_ref().map(|all| (all.span(), all.get_ref().len())),
            "communities",
            COMMUNITIES,
        ),
        (
            attributes.extended_communities.as_ref().map(|all| (all.span(), all.get_ref().len())),
            "extended communities",
            EXTENDED_COMMUNITIES,
        ),
        (
            attributes.large_communities.as_ref().map(|all| (all.span(), all.get_ref().len())),
            "large communities",
            LARGE_COMMUNITIES,
        ),
    ];
    for (list, what, most) in lists {
        if let Some((span, count)) = list.filter(|(_, count)| *count > most) {
            let help = format!("write at most {most}, or the message has no room for VIPs");
            faults.push(Fault::new(span, format!("{count} {what} are too many"), help));
        }
    }
}

fn bgp(file: &file::Bgp) -> Option<Bgp> {
    Some(Bgp {
        asn: one(&file.asn)?,
        router_id: one(&file.router_id),
        settle: one(&file.settle)?,
        graceful_restart: one(&file.graceful_restart),
    })
}

fn peer(file: &file::Peer) -> Option<Peer> {
    let hold_time = one(&file.hold_time)?;
    let both = || [Family::V4, Family::V6].into();
    let file::Attributes { origin, med, local_pref, prepend, .. } = &file.attributes;
    let file::Attributes { communities, extended_communities, large_communities, .. } = &file.attributes;
    Some(Peer {
        name: one(&file.name)?,
        address: one(&file.address)?,
        port: one(&file.port)?,
        asn: one(&file.asn)?,
        hold_time,
        // RFC 9687 §6.
        send_hold_time: one(&file.send_hold_time).unwrap_or((hold_time * 2).max(Duration::from_secs(480))),
        families: file.families.as_ref().map_or_else(both, |_| all(&file.families).collect()),
        interface: one(&file.interface),
        source_address: one(&file.source_address),
        multihop: one(&file.multihop)?,
        ttl_security: one(&file.ttl_security)?,
        password_file: one(&file.password_file),
        overrides: Overrides {
            origin: one(origin),
            med: one(med),
            local_pref: one(local_pref),
            prepend: one(prepend),
            next_hop_v4: one(&file.next_hop_v4),
            next_hop_v6: one(&file.next_hop_v6),
            communities: communities.is_some().then(|| all(communities).collect()),
            extended_communities: extended_communities.is_some().then(|| all(extended_communities).collect()),
            large_communities: large_communities.is_some().then(|| all(large_communities).collect()),
        },
    })
}

fn service(file: &file::Service) -> Option<Service> {
    let mut attributes = Attributes {
        origin: one(&file.attributes.origin)?,
        med: one(&file.attributes.med),
        local_pref: one(&file.attributes.local_pref),
        prepend: one(&file.attributes.prepend)?,
        communities: all(&file.attributes.communities).collect(),
        extended_communities: all(&file.attributes.extended_communities).collect(),
        large_communities: all(&file.attributes.large_communities).collect(),
        ..Attributes::default()
    };
    for next_hop in all(&file.next_hop) {
        match next_hop {
            NextHop::Own => {}
            NextHop::Is(IpAddr::V4(ip)) => attributes.next_hop_v4 = Some(ip),
            NextHop::Is(IpAddr::V6(ip)) => attributes.next_hop_v6 = Some(ip),
        }
    }
    Some(Service {
        name: one(&file.name)?,
        vips: all(&file.vips).collect(),
        prefixes: all(&file.prefix).collect(),
        attributes,
        announce_delay: one(&file.announce_delay)?,
        flap_damping: one(&file.flap_damping)?,
        listener_grace: one(&file.listener_grace)?,
        require: one(&file.require)?,
        on_failure: one(&file.on_failure)?,
        backup: one(&file.backup)?,
        deprefer: deprefer(file.deprefer.as_ref()?)?,
        checks: check::rules::checks(&file.checks)?,
    })
}

fn deprefer(file: &file::Deprefer) -> Option<Deprefer> {
    Some(Deprefer {
        prepend: one(&file.prepend)?,
        local_pref: one(&file.local_pref),
        med: one(&file.med),
        communities: all(&file.communities).collect(),
    })
}

pub(super) fn one<T: Clone>(value: &Option<Spanned<T>>) -> Option<T> {
    value.as_ref().map(|value| value.get_ref().clone())
}

pub(super) fn all<T: Clone>(values: &Option<Spanned<Vec<Spanned<T>>>>) -> impl Iterator<Item = T> {
    values.iter().flat_map(|values| values.get_ref()).map(|value| value.get_ref().clone())
}
