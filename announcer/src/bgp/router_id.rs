//! Our BGP Identifier (RFC 4271 §4.2): the configuration's, or an address of this host.
//!
//! Pure. Routers distinguish speakers by it, and it cannot change during a session. So an identifier that sessions use is kept,
//! also if the host loses the address from which it was taken. Only the configuration replaces it, and then the sessions restart.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::config::{Config, PeerAddress, PeerConfig};
use crate::model::{PeerName, RouterId};

/// The identifier, or why it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The identifier; `None`: it is not known, and no session can start.
    pub id: Option<RouterId>,
    /// Why it is not known, as a sentence.
    pub waits: Option<String>,
}

/// An address from which the identifier can be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidate {
    /// The configured source address of a session.
    Configured(PeerName, IpAddr),
    /// The source address towards a router.
    Towards(PeerName),
}

/// The possible sources, in the order of the file.
pub fn candidates(config: &Config) -> Vec<Candidate> {
    let candidate = |peer: &PeerConfig| match (peer.source_address, peer.address) {
        (Some(source @ IpAddr::V4(_)), _) => Some(Candidate::Configured(peer.name.clone(), source)),
        (_, PeerAddress::Ip(IpAddr::V6(_)) | PeerAddress::RouterAdvertisement) => None,
        (_, PeerAddress::Ip(IpAddr::V4(_)) | PeerAddress::DefaultGateway) => {
            Some(Candidate::Towards(peer.name.clone()))
        }
    };
    config.peers.iter().filter_map(candidate).collect()
}

/// The result of the query for the source towards a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceLookup {
    /// The source that a session uses.
    Source(IpAddr),
    /// The kernel would use this VIP, and the interface has no other address.
    Vip(IpAddr),
    /// There is no way to the router now; with the reason.
    NoWay(String),
}

/// Whether a router has received the identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// They have.
    InUse,
    /// No router has received it yet.
    Unused,
}

/// The identifier to use from now on. `found` has the results of the queried candidates, in their order.
pub fn choose(
    configured: Option<RouterId>,
    now: &Identity,
    usage: Usage,
    lookups: &[(PeerName, SourceLookup)],
    vips: &BTreeSet<IpAddr>,
) -> Identity {
    if let Some(id) = configured {
        return Identity { id: Some(id), waits: None };
    }
    if now.id.is_some() && usage == Usage::InUse {
        return now.clone();
    }
    let usable = |lookup: &SourceLookup| match lookup {
        SourceLookup::Source(IpAddr::V4(ip)) if !vips.contains(&IpAddr::V4(*ip)) => {
            RouterId::try_from(*ip).ok()
        }
        SourceLookup::Source(_) | SourceLookup::Vip(_) | SourceLookup::NoWay(_) => None,
    };
    match lookups.iter().find_map(|(_, lookup)| usable(lookup)) {
        Some(id) => Identity { id: Some(id), waits: None },
        // If a route is missing for a moment, the identifier is kept.
        None if now.id.is_some() => now.clone(),
        None => Identity { id: None, waits: Some(waits(lookups)) },
    }
}

fn waits(lookups: &[(PeerName, SourceLookup)]) -> String {
    let why = lookups.iter().map(|(peer, lookup)| match lookup {
        SourceLookup::Vip(vip) => format!(
            "towards {peer} the kernel's source is the VIP {vip}, and its interface has no other IPv4 address"
        ),
        SourceLookup::NoWay(why) => format!("towards {peer}: {why}"),
        SourceLookup::Source(ip) => format!("towards {peer} the source is {ip}, which cannot be one"),
    });
    let why: Vec<String> = why.collect();
    format!(
        "no session can begin: the router id is not known ({}); write `router_id`, or give the host its own IPv4 address and a \
         route to a router",
        why.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RouterId {
        RouterId::try_from(text.parse::<std::net::Ipv4Addr>().unwrap()).unwrap()
    }

    fn known(text: &str) -> Identity {
        Identity { id: Some(id(text)), waits: None }
    }

    fn source(text: &str) -> SourceLookup {
        SourceLookup::Source(text.parse().unwrap())
    }

    /// W5 and W14.
    #[test]
    fn the_router_id_follows_the_configuration_and_does_not_flap() {
        use Usage::{InUse, Unused};
        let none = Identity::default();
        let vip: IpAddr = "192.0.2.80".parse().unwrap();
        let no_way = || SourceLookup::NoWay("no route".into());
        for (configured, now, usage, lookups, want) in [
            (Some("10.0.0.9"), &none, Unused, vec![], Some("10.0.0.9")),
            (Some("10.0.0.9"), &known("10.0.0.1"), InUse, vec![], Some("10.0.0.9")),
            (None, &none, Unused, vec![source("10.0.0.1")], Some("10.0.0.1")),
            (None, &none, Unused, vec![no_way()], None),
            (None, &none, Unused, vec![no_way(), source("10.0.0.1")], Some("10.0.0.1")),
            (None, &none, Unused, vec![SourceLookup::Vip(vip)], None),
            (None, &none, Unused, vec![SourceLookup::Source(vip)], None),
            (None, &none, Unused, vec![source("2001:db8::1"), source("0.0.0.0")], None),
            // An identifier that routers have received is kept, also one from an earlier configuration.
            (None, &known("10.0.0.1"), InUse, vec![source("10.0.0.2")], Some("10.0.0.1")),
            (None, &known("10.0.0.1"), Unused, vec![source("10.0.0.2")], Some("10.0.0.2")),
            (None, &known("10.0.0.1"), Unused, vec![no_way()], Some("10.0.0.1")),
        ] {
            let lookups: Vec<_> = lookups.into_iter().map(|lookup| ("r1".parse().unwrap(), lookup)).collect();
            let got = choose(configured.map(id), now, usage, &lookups, &[vip].into());
            assert_eq!(got.id, want.map(id), "{configured:?} {now:?} {usage:?} {lookups:?}");
            assert_eq!(got.waits.is_some(), want.is_none());
        }
    }

    #[test]
    fn the_router_id_comes_from_ipv4_sessions_in_the_order_of_the_file() {
        let text = r#"
[bgp]
asn = 65001
[[peer]]
name = "v6"
address = "2001:db8::1"
asn = 65000
[[peer]]
name = "gateway"
address = "default-gateway"
asn = 65000
[[peer]]
name = "sourced"
address = "10.0.1.1"
source_address = "10.0.1.11"
asn = 65000
[[peer]]
name = "v4"
address = "10.0.1.2"
asn = 65000
"#;
        let config = crate::config::parse("x", text).unwrap_or_else(|errors| panic!("{errors}"));
        let name = |text: &str| text.parse().unwrap();
        assert_eq!(
            candidates(&config),
            [
                Candidate::Towards(name("gateway")),
                Candidate::Configured(name("sourced"), "10.0.1.11".parse().unwrap()),
                Candidate::Towards(name("v4")),
            ]
        );
    }

    #[test]
    fn why_the_router_id_is_not_known_is_said() {
        let lookups = [
            ("r1".parse().unwrap(), SourceLookup::Vip("192.0.2.80".parse().unwrap())),
            ("r2".parse().unwrap(), SourceLookup::NoWay("Network is unreachable".into())),
        ];
        let waits = choose(None, &Identity::default(), Usage::Unused, &lookups, &[].into()).waits.unwrap();
        assert_eq!(
            waits,
            "no session can begin: the router id is not known (towards r1 the kernel's source is the VIP 192.0.2.80, and its \
             interface has no other IPv4 address; towards r2: Network is unreachable); write `router_id`, or give the host its \
             own IPv4 address and a route to a router"
        );
    }
}
