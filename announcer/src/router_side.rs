//! The facts that the router's side of a session needs, from the configuration.
//!
//! Pure. `announcer router-config` prints the configuration that the crate `router-config` writes from them, and `announcer explain`
//! the commands that show whether it works.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use router_config::{Bfd, Facts, Frontends, Question, System};

use crate::config::{Config, PeerAddress, PeerConfig, ServiceConfig};
use crate::model::{Asn, Community, Family, PeerAsn};

/// GRACEFUL_SHUTDOWN (RFC 8326).
const GRACEFUL_SHUTDOWN: Community = Community(0xffff_0000);

/// Why there are no facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoFacts {
    /// No service has a VIP of the peer's `families` and the peer among its `peers`.
    #[error(
        "no VIP is announced to `{0}`: add a `[[service]]` with a VIP of its `families`, and `{0}` to `peers` of a service that has the key"
    )]
    NoVip(String),
    /// The addresses of the frontends are not of the family of the router's address.
    #[error("`{0}` is not of the family of the router's address `{1}`: write the addresses of the session")]
    OtherFamily(String, IpAddr),
    /// The session is unnumbered, and a frontend's address is not link-local.
    #[error(
        "`{0}` is not link-local: the router is learnt from its advertisements, and the session is between link-local addresses; leave \
         the addresses of the frontends out"
    )]
    NotOfTheLink(String),
    /// The network of the frontends is IPv6 link-local: it is on every link.
    #[error(
        "`{0}` is link-local, and so on every link: write the address of each frontend with `--frontend`"
    )]
    LinkLocalRange(String),
    /// A frontend has the address of the router.
    #[error(
        "`{0}` is the address of the router itself: write the address from which a frontend opens its session"
    )]
    RouterItself(IpAddr),
    /// No frontend can open a session from this address.
    #[error(
        "`{0}` is no address of a single host: write the address from which a frontend opens its session"
    )]
    NoHost(IpAddr),
    /// An address was given twice.
    #[error("`{0}` is written twice: write each frontend once")]
    Twice(IpAddr),
    /// The addresses are of both families.
    #[error(
        "`{0}` and `{1}` are not of the same family: write the addresses of the sessions with this router"
    )]
    BothFamilies(IpAddr, IpAddr),
}

/// The facts of a router.
///
/// # Errors
/// If nothing is announced to it, or if the frontends cannot have a session with it.
pub fn facts(config: &Config, peer: &PeerConfig, frontends: Frontends) -> Result<Facts, NoFacts> {
    let carried = |vip: &IpAddr| peer.families.contains(&Family::of(*vip));
    let sent =
        |service: &&ServiceConfig| service.recipients.include(&peer.name) && service.vips.iter().any(carried);
    let services: Vec<&ServiceConfig> = config.services.iter().filter(sent).collect();
    let vips = services.iter().flat_map(|service| service.vips.iter().map(move |vip| (*vip, *service)));
    let prefixes: BTreeSet<IpNet> =
        vips.filter(|(vip, _)| carried(vip)).map(|(vip, service)| service.prefix_of(vip).trunc()).collect();
    if prefixes.is_empty() {
        return Err(NoFacts::NoVip(peer.name.to_string()));
    }
    let router_address = match peer.address {
        PeerAddress::Ip(ip) => Some(ip),
        PeerAddress::DefaultGateway | PeerAddress::RouterAdvertisement => None,
    };
    if let Some(router) = router_address {
        judge(&frontends, router)?;
    }
    if let (PeerAddress::RouterAdvertisement, Some(other)) = (peer.address, not_link_local(&frontends)) {
        return Err(NoFacts::NotOfTheLink(other));
    }
    if let Frontends::Range(range) = &frontends
        && let IpAddr::V6(v6) = range.addr()
        && v6.is_unicast_link_local()
    {
        return Err(NoFacts::LinkLocalRange(range.to_string()));
    }
    let families: BTreeSet<router_config::Family> = prefixes.iter().map(router_config::Family::of).collect();
    let ports: BTreeSet<u16> =
        services.iter().flat_map(|service| &service.checks).filter_map(|check| check.port()).collect();
    let routes = services.iter().map(|service| peer.overrides.over(&service.attributes));
    let lacks_v4 = routes.into_iter().any(|route| route.next_hop_v4.is_none());
    Ok(Facts {
        router: peer.name.to_string(),
        router_asn: match peer.asn {
            PeerAsn::Is(asn) => Some(asn.get()),
            PeerAsn::Internal => Some(config.bgp.asn.get()),
            PeerAsn::External => None,
        },
        router_address,
        frontend_asn: Asn::get(config.bgp.asn),
        frontends,
        unnumbered: peer.address == PeerAddress::RouterAdvertisement,
        extended_next_hop: (peer.address == PeerAddress::RouterAdvertisement
            || router_address.is_some_and(|ip| ip.is_ipv6()))
            && families.contains(&router_config::Family::Ipv4)
            && lacks_v4,
        families: families.into_iter().collect(),
        prefixes: prefixes.into_iter().collect(),
        ports: ports.into_iter().collect(),
        md5_file: peer.password_file.as_ref().map(|file| file.display().to_string()),
        ttl_security: peer.ttl_security,
        hops: peer.multihop,
        hold_time: u16::try_from(peer.hold_time.as_secs()).unwrap_or(u16::MAX),
        bfd: peer.bfd.as_ref().map(|bfd| Bfd {
            interval: bfd.interval,
            multiplier: bfd.multiplier,
            is_strict: bfd.strict,
        }),
        sends_graceful_shutdown: services.iter().any(|service| sends_graceful_shutdown(peer, service)),
    })
}

/// Our address of a session with the peer, if the configuration has it.
pub fn frontend(peer: &PeerConfig) -> Frontends {
    peer.source_address.map_or(Frontends::Unknown, |address| Frontends::Addresses(vec![address]))
}

/// The frontends of these addresses, which a person wrote; the one of the configuration if there are none.
///
/// # Errors
/// If a frontend cannot have such an address, or if they do not belong together.
pub fn written_frontends(peer: &PeerConfig, addresses: &[IpAddr]) -> Result<Frontends, NoFacts> {
    let Some(first) = addresses.first() else { return Ok(frontend(peer)) };
    let mut seen = BTreeSet::new();
    for ip in addresses {
        let broadcast = *ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        if ip.is_unspecified() || ip.is_multicast() || broadcast {
            return Err(NoFacts::NoHost(*ip));
        }
        // On one host, the router and a frontend may both be at 127.0.0.1.
        if peer.address == PeerAddress::Ip(*ip) && !ip.is_loopback() {
            return Err(NoFacts::RouterItself(*ip));
        }
        if Family::of(*ip) != Family::of(*first) {
            return Err(NoFacts::BothFamilies(*first, *ip));
        }
        if !seen.insert(*ip) {
            return Err(NoFacts::Twice(*ip));
        }
    }
    Ok(Frontends::Addresses(addresses.to_vec()))
}

/// A command for the router, and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterCommand {
    /// What it shows.
    pub question: Question,
    /// The command.
    pub command: String,
}

/// The commands for `explain`: of one VIP of each family, since a router with thousands of them would get as many lines. They are
/// empty if the peer has no `os`, or no VIP.
pub fn commands(config: &Config, peer: &PeerConfig, ours: Option<IpAddr>) -> Vec<RouterCommand> {
    let Some(system) = peer.os else { return Vec::new() };
    let frontends = ours.map_or_else(|| frontend(peer), |ip| Frontends::Addresses(vec![ip]));
    let facts = facts(config, peer, frontends);
    facts.map_or_else(|_| Vec::new(), |facts| shown(system, &first_of_each_family(facts)))
}

/// The lines of `explain` for these commands.
pub fn command_lines(system: Option<System>, commands: &[RouterCommand]) -> Vec<String> {
    let Some(system) = system.filter(|_| !commands.is_empty()) else { return Vec::new() };
    let mut lines = vec![format!("On the router, {} shows more:", system.title())];
    let mut last = None;
    for RouterCommand { question, command } in commands {
        if last != Some(question) {
            lines.push(format!("    {question}"));
        }
        lines.push(format!("        {command}"));
        last = Some(question);
    }
    lines
}

/// All commands of a system.
pub fn shown(system: System, facts: &Facts) -> Vec<RouterCommand> {
    let all = router_config::commands(system, facts).into_iter();
    all.map(|command| RouterCommand { question: command.question, command: command.text }).collect()
}

fn first_of_each_family(facts: Facts) -> Facts {
    let mut seen = BTreeSet::new();
    let prefixes = facts.prefixes.iter().filter(|prefix| seen.insert(router_config::Family::of(prefix)));
    Facts { prefixes: prefixes.copied().collect(), ..facts.clone() }
}

fn sends_graceful_shutdown(peer: &PeerConfig, service: &ServiceConfig) -> bool {
    let route = peer.overrides.over(&service.attributes);
    route.communities.contains(&GRACEFUL_SHUTDOWN)
        || service.deprefer.communities.contains(&GRACEFUL_SHUTDOWN)
}

/// The first of the frontends that is not link-local.
fn not_link_local(frontends: &Frontends) -> Option<String> {
    let is_other = |ip: &&IpAddr| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    match frontends {
        Frontends::Unknown => None,
        Frontends::Addresses(all) => all.iter().find(is_other).map(ToString::to_string),
        Frontends::Range(range) => Some(range.to_string()),
    }
}

/// Checks that the frontends can have a session with the router.
fn judge(frontends: &Frontends, router: IpAddr) -> Result<(), NoFacts> {
    let is_other = |ip: IpAddr| Family::of(ip) != Family::of(router);
    let wrong = match frontends {
        Frontends::Unknown => None,
        Frontends::Addresses(all) => all.iter().find(|ip| is_other(**ip)).map(ToString::to_string),
        Frontends::Range(range) => is_other(range.addr()).then(|| range.to_string()),
    };
    wrong.map_or(Ok(()), |wrong| Err(NoFacts::OtherFamily(wrong, router)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const WHOLE: &str = r#"
[bgp]
asn = 65001
router_id = "10.0.1.11"
[[peer]]
name = "r1"
address = "10.0.1.1"
asn = 65000
[[service]]
name = "www"
vips = ["192.0.2.81", "192.0.2.80", "2001:db8::80"]
[[service.check]]
http = "http://www.example.com/healthz"
[[service.check]]
tcp = 443
[[service.check]]
tcp = 9000
target = "127.0.0.1"
"#;

    fn of(from: &str, to: &str) -> Result<Facts, NoFacts> {
        let config = parse("x", &WHOLE.replacen(from, to, 1)).unwrap();
        facts(&config, &config.peers[0], frontend(&config.peers[0]))
    }

    fn texts(prefixes: &[IpNet]) -> Vec<String> {
        prefixes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plain_peer_has_these_facts() {
        let facts = of("", "").unwrap();
        assert_eq!(texts(&facts.prefixes), ["192.0.2.80/32", "192.0.2.81/32", "2001:db8::80/128"]);
        assert_eq!(facts.ports, [80, 443], "the port of a fixed target is not one of the VIPs");
        assert_eq!((facts.router_asn, facts.frontend_asn), (Some(65000), 65001));
        assert_eq!((facts.hold_time, facts.hops, facts.ttl_security), (9, 1, false));
        assert_eq!(facts.bfd, None);
        assert_eq!((facts.md5_file, facts.frontends), (None, Frontends::Unknown));
        assert!(!facts.extended_next_hop && !facts.sends_graceful_shutdown);
    }

    #[test]
    fn a_service_for_other_routers_is_no_fact_of_this_one() {
        let of = |peers: &str| {
            let other = "[[peer]]\nname = \"r2\"\naddress = \"10.0.2.1\"\nasn = 65000\n[[service]]\n";
            of("[[service]]\n", &format!("{other}peers = [{peers}]\n"))
        };
        assert_eq!(texts(&of("\"r1\"").unwrap().prefixes).len(), 3);
        assert_eq!(of("\"r2\"").unwrap_err(), NoFacts::NoVip("r1".to_owned()));
    }

    #[test]
    fn each_key_of_the_peer_is_a_fact() {
        let with = |line: &str| of("asn = 65000", &format!("asn = 65000\n{line}")).unwrap();
        assert_eq!(texts(&with("families = [\"ipv6\"]").prefixes), ["2001:db8::80/128"]);
        assert_eq!(
            with("password_file = \"/etc/announcer/r1.key\"").md5_file.unwrap(),
            "/etc/announcer/r1.key"
        );
        let far = with("ttl_security = true\nmultihop = 2");
        assert_eq!((far.ttl_security, far.hops), (true, 2));
        assert_eq!(with("hold_time = \"0s\"").hold_time, 0);
        let source = with("source_address = \"10.0.1.11\"");
        assert_eq!(source.frontends, Frontends::Addresses(vec!["10.0.1.11".parse().unwrap()]));
        assert!(with("communities = [\"graceful-shutdown\"]").sends_graceful_shutdown);
        let bfd = with("bfd = { interval = \"50ms\", multiplier = 5, strict = true }").bfd.unwrap();
        assert_eq!((bfd.interval.as_millis(), bfd.multiplier, bfd.is_strict), (50, 5, true));
        assert_eq!(of("asn = 65000", "asn = \"external\"").unwrap().router_asn, None);
        assert_eq!(of("asn = 65000", "asn = \"internal\"").unwrap().router_asn, Some(65001));
        assert_eq!(of("\"10.0.1.1\"", "\"default-gateway\"").unwrap().router_address, None);
    }

    #[test]
    fn each_key_of_the_service_is_a_fact() {
        let with = |line: &str| of("name = \"www\"", &format!("name = \"www\"\n{line}")).unwrap();
        assert_eq!(texts(&with("prefix = \"192.0.2.0/24\"").prefixes), ["192.0.2.0/24", "2001:db8::80/128"]);
        let drained =
            of("[[service.check]]", "[service.deprefer]\ncommunities = [\"65535:0\"]\n[[service.check]]");
        assert!(drained.unwrap().sends_graceful_shutdown);
    }

    #[test]
    fn an_ipv4_route_on_a_session_over_ipv6_may_have_an_ipv6_next_hop() {
        let over = |line: &str| {
            of("address = \"10.0.1.1\"", &format!("address = \"2001:db8:1::1\"\n{line}")).unwrap()
        };
        assert!(over("").extended_next_hop);
        assert!(!over("next_hop_v4 = \"10.0.1.11\"").extended_next_hop);
        assert!(!over("families = [\"ipv6\"]").extended_next_hop);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let lonely = of("\"192.0.2.81\", \"192.0.2.80\", ", "").map(|_| ());
        assert_eq!(lonely, Ok(()));
        let config = WHOLE.replace("\"192.0.2.81\", \"192.0.2.80\", ", "");
        let config =
            parse("x", &config.replace("asn = 65000", "asn = 65000\nfamilies = [\"ipv4\"]")).unwrap();
        let none = facts(&config, &config.peers[0], Frontends::Unknown);
        assert_eq!(none, Err(NoFacts::NoVip("r1".into())));
        let config = parse("x", WHOLE).unwrap();
        let range = Frontends::Range("2001:db8:1::/64".parse().unwrap());
        let error = facts(&config, &config.peers[0], range).unwrap_err().to_string();
        assert!(error.starts_with("`2001:db8:1::/64` is not of the family"), "{error}");
        let gateway = "address = \"default-gateway\"";
        let config = parse("x", &WHOLE.replace("address = \"10.0.1.1\"", gateway)).unwrap();
        let range = Frontends::Range("fe80::/64".parse().unwrap());
        let error = facts(&config, &config.peers[0], range).unwrap_err();
        assert_eq!(error, NoFacts::LinkLocalRange("fe80::/64".into()));
    }

    #[test]
    fn the_addresses_of_frontends_are_judged() {
        let of = |router: &str, addresses: &[&str]| {
            let config = parse("x", &WHOLE.replace("\"10.0.1.1\"", router)).unwrap();
            let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
            written_frontends(&config.peers[0], &addresses)
        };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (router, gateway) = ("\"10.0.1.1\"", "\"default-gateway\"");
        assert_eq!(of(router, &[]), Ok(Frontends::Unknown));
        assert_eq!(of(router, &["10.0.1.11"]), Ok(Frontends::Addresses(vec![ip("10.0.1.11")])));
        assert_eq!(of(router, &["10.0.1.11", "10.0.1.1"]), Err(NoFacts::RouterItself(ip("10.0.1.1"))));
        for address in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"] {
            assert_eq!(of(router, &[address]), Err(NoFacts::NoHost(ip(address))));
        }
        let twice = of(router, &["10.0.1.11", "10.0.1.12", "10.0.1.11"]);
        assert_eq!(twice, Err(NoFacts::Twice(ip("10.0.1.11"))));
        let both = of(gateway, &["10.0.1.11", "2001:db8:1::11"]);
        assert_eq!(both, Err(NoFacts::BothFamilies(ip("10.0.1.11"), ip("2001:db8:1::11"))));
    }

    #[test]
    fn explain_has_the_commands_of_one_vip_of_each_family() {
        let config = parse("x", &WHOLE.replacen("asn = 65000", "asn = 65000\nos = \"frr\"", 1)).unwrap();
        let all = commands(&config, &config.peers[0], Some("10.0.1.11".parse().unwrap()));
        let has = |words: &str| all.iter().filter(|one| one.command.contains(words)).count();
        assert_eq!(
            (has("show bgp neighbors 10.0.1.11"), has("192.0.2.80/32"), has("192.0.2.81/32")),
            (1, 2, 0)
        );
        assert_eq!(has("2001:db8::80/128"), 2);
        let lines = command_lines(config.peers[0].os, &all);
        assert_eq!(lines[0], "On the router, FRR shows more:");
        assert_eq!(lines[1], "    is the session Established?");
        assert_eq!(lines[2], "        vtysh -c 'show bgp neighbors 10.0.1.11'");
        let config = parse("x", WHOLE).unwrap();
        assert!(commands(&config, &config.peers[0], None).is_empty(), "without `os`");
    }
}
