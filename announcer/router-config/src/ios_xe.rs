//! Cisco IOS XE.

use ipnet::IpNet;

use crate::bfd::Limits;
use crate::cisco::{ACCEPTED, LAST_RESORT, access_list_note, icmp, no_access_list, route_maps};
use crate::facts::{Facts, Family};
use crate::text::Text;
use crate::verify::{Command, Question, bfd, each};

/// What the configuration was written after.
pub(crate) const MANUAL: &str = "the chapter BGP Dynamic Neighbors of the IP Routing: BGP Configuration Guide (IOS XE 16.9), and public configurations";

/// The configuration.
pub(crate) fn write(facts: &Facts, text: &mut Text) {
    text.line("!");
    text.note(ACCEPTED);
    for family in &facts.families {
        text.lines((facts.of(*family).iter().enumerate()).map(|(index, prefix)| {
            format!(
                "{} prefix-list ANNOUNCER-VIPS{} seq {} permit {prefix}",
                family.ip(),
                family.digit(),
                5 * (index + 1)
            )
        }));
    }
    text.line("!");
    text.note("65535:0 is shown as 4294901760 without `ip bgp-community new-format`.");
    text.line("ip community-list standard ANNOUNCER-GSHUT permit 65535:0");
    text.line("!");
    route_maps(facts, " ", text);
    text.note(LAST_RESORT);
    for family in &facts.families {
        text.lines(facts.cover(*family).iter().map(|prefix| match prefix {
            IpNet::V4(v4) => format!("ip route {} {} Null0 250", v4.addr(), v4.netmask()),
            IpNet::V6(v6) => format!("ipv6 route {v6} Null0 250"),
        }));
    }
    text.line("!");
    access_lists(facts, text);
    text.line("!");
    text.note(
        "ECMP by ports too. Without it, all connections between two addresses go to the same frontend.",
    );
    text.line("ip cef load-sharing algorithm include-ports source destination");
    text.lines(
        facts
            .families
            .contains(&Family::Ipv6)
            .then_some("ipv6 cef load-sharing algorithm include-ports source destination"),
    );
    text.line("!");
    session(facts, text);
}

fn access_lists(facts: &Facts, text: &mut Text) {
    if facts.ports.is_empty() {
        return no_access_list(text);
    }
    access_list_note(facts, text);
    for family in &facts.families {
        let (ip, any) = (family.ip(), icmp(*family, "icmp"));
        let name = format!("ANNOUNCER-SERVICES{}", family.digit());
        text.line(match family {
            Family::Ipv4 => format!("ip access-list extended {name}"),
            Family::Ipv6 => format!("ipv6 access-list {name}"),
        });
        for prefix in facts.cover(*family) {
            let to = match prefix {
                _ if prefix.prefix_len() == prefix.max_prefix_len() => format!("host {}", prefix.addr()),
                IpNet::V4(v4) => format!("{} {}", v4.network(), v4.hostmask()),
                IpNet::V6(v6) => v6.to_string(),
            };
            // The IPv6 access lists of some platforms have one port a line.
            text.lines(facts.ports.iter().map(|port| format!(" permit tcp any {to} eq {port}")));
            text.line(format!(" permit {any} any {to}"));
            text.line(format!(" deny {ip} any {to}"));
        }
        text.line(format!(" permit {ip} any any"));
        text.line("!");
    }
    text.note("On each interface towards clients:");
    for family in &facts.families {
        text.maybe(&match family {
            Family::Ipv4 => " ip access-group ANNOUNCER-SERVICES4 in".to_owned(),
            Family::Ipv6 => " ipv6 traffic-filter ANNOUNCER-SERVICES6 in".into(),
        });
    }
}

/// BFD: the interval of neighbours on a link belongs to the interface, that of the others to a template for their addresses.
fn bfd_intervals(facts: &Facts, text: &mut Text) {
    let Some(bfd) = facts.bfd else { return };
    let values = bfd.values(&Limits { intervals: 50..=999, multipliers: 3..=50 }, text);
    let (interval, multiplier) = (values.interval, values.multiplier);
    if facts.hops == 1 {
        text.note("BFD notices a dead frontend. announcer has no echo packets. On the interface towards the frontends:");
        text.maybe(&format!(" bfd interval {interval} min_rx {interval} multiplier {multiplier}"));
        text.maybe(" no bfd echo");
        return;
    }
    text.note("BFD notices a dead frontend.");
    text.lines([
        "bfd-template multi-hop ANNOUNCER".to_owned(),
        format!(" interval min-tx {interval} min-rx {interval} multiplier {multiplier}"),
        "!".into(),
    ]);
    text.note("For each frontend, its address and then the router's address of the session:");
    let router = facts.router_address.map_or_else(|| "ROUTER-ADDRESS".to_owned(), |ip| ip.to_string());
    let (word, bits) = if router.contains(':') { ("ipv6", 128) } else { ("ipv4", 32) };
    let map = |frontend: String| format!("bfd map {word} {frontend} {router}/{bits} ANNOUNCER");
    text.lines(facts.neighbors().iter().map(|address| map(format!("{address}/{bits}"))));
    text.lines(facts.range().map(|range| map(range.to_string())));
    text.line("!");
}

fn session(facts: &Facts, text: &mut Text) {
    bfd_intervals(facts, text);
    text.line(format!("router bgp {}", facts.router_as()));
    facts.router_id_hint(" bgp router-id ROUTER-ID", text);
    text.line(" neighbor FRONTENDS peer-group");
    text.line(format!(" neighbor FRONTENDS remote-as {}", facts.frontend_asn));
    text.line(format!(" neighbor FRONTENDS timers {} {}", facts.keepalive(), facts.hold_time));
    text.line(" neighbor FRONTENDS transport connection-mode passive");
    text.lines(facts.key().map(|key| format!(" neighbor FRONTENDS password {key}")));
    if facts.ttl_security && !facts.is_internal() {
        text.line(format!(" neighbor FRONTENDS ttl-security hops {}", facts.hops));
    } else if facts.ttl_security {
        text.note("IOS XE has `ttl-security` for eBGP alone: remove `ttl_security` of this peer from announcer.toml.");
    } else if facts.hops > 1 && !facts.is_internal() {
        text.line(format!(" neighbor FRONTENDS ebgp-multihop {}", facts.hops));
    }
    let far = if facts.hops > 1 { " multi-hop" } else { " single-hop" };
    text.lines(facts.bfd.map(|_| format!(" neighbor FRONTENDS fall-over bfd{far}")));
    text.lines(
        facts
            .neighbors()
            .iter()
            .map(|address| format!(" neighbor {} peer-group FRONTENDS", address.with_interface())),
    );
    if let Some(range) = facts.range() {
        text.line(" bgp listen limit 100");
        text.line(format!(" bgp listen range {range} peer-group FRONTENDS"));
    }
    let paths = if facts.is_internal() { "maximum-paths ibgp" } else { "maximum-paths" };
    if !facts.families.contains(&Family::Ipv4) {
        text.lines([" !", " address-family ipv4"]);
        text.lines(members(facts).iter().map(|member| format!("  no neighbor {member} activate")));
        text.line(" exit-address-family");
    }
    for family in &facts.families {
        text.lines([" !".to_owned(), format!(" address-family {}", family.word())]);
        text.lines(members(facts).iter().map(|member| format!("  neighbor {member} activate")));
        text.lines([
            "  neighbor FRONTENDS soft-reconfiguration inbound".to_owned(),
            format!("  neighbor FRONTENDS route-map ANNOUNCER-IN{} in", family.digit()),
            "  neighbor FRONTENDS route-map ANNOUNCER-OUT out".into(),
            format!("  neighbor FRONTENDS maximum-prefix {} warning-only", facts.limit(*family)),
            format!("  {paths} 16"),
            " exit-address-family".into(),
        ]);
    }
    text.line("!");
}

/// What is activated: each neighbour, or the group of a listen range.
fn members(facts: &Facts) -> Vec<String> {
    let neighbors: Vec<String> = facts.neighbors().iter().map(|neighbor| neighbor.with_interface()).collect();
    if neighbors.is_empty() { vec!["FRONTENDS".into()] } else { neighbors }
}

/// The commands that show whether it works.
pub(crate) fn verify(facts: &Facts) -> Vec<Command> {
    let frontend = facts.shown_frontend();
    let first = facts.families.first().map_or("ipv4", |family| family.word());
    let mut all =
        vec![Command::new(Question::Session, format!("show bgp {first} unicast neighbors {frontend}"))];
    all.extend(bfd(facts, || {
        let word = if frontend.contains(':') { "ipv6" } else { "ipv4" };
        format!("show bfd neighbors {word} {frontend} details")
    }));
    for family in &facts.families {
        let shown = format!("show bgp {} unicast neighbors {frontend}", family.word());
        all.push(Command::new(Question::Received, format!("{shown} received-routes")));
        all.push(Command::new(Question::Accepted, format!("{shown} routes")));
    }
    each(facts, |family, prefix| {
        let ip = family.ip();
        all.push(Command::new(Question::Fib, format!("show {ip} cef {prefix} detail")));
        let shown = match family {
            Family::Ipv4 => format!("show ip route {} {}", prefix.addr(), prefix.netmask()),
            Family::Ipv6 => format!("show ipv6 route {prefix}"),
        };
        all.push(Command::new(Question::Members, shown));
    });
    all
}
