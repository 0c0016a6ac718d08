//! FRRouting.

use crate::facts::{Facts, Family, INTERFACE};
use crate::linux;
use crate::text::Text;
use crate::verify::{Command, Question, each};

/// The configuration.
pub(crate) fn write(facts: &Facts, text: &mut Text) {
    text.note("Add it to /etc/frr/frr.conf; `bgpd=yes` belongs into /etc/frr/daemons.");
    text.line("!");
    text.note(
        "Exactly the announced prefixes are accepted; everything else that a frontend sends is refused.",
    );
    for family in &facts.families {
        let (ip, digit) = (family.ip(), family.digit());
        text.lines((facts.of(*family).iter().enumerate()).map(|(index, prefix)| {
            format!("{ip} prefix-list ANNOUNCER-VIPS{digit} seq {} permit {prefix}", 5 * (index + 1))
        }));
    }
    text.line("!");
    text.note(
        "A route with GRACEFUL_SHUTDOWN (RFC 8326) is the last choice. FRR does this by itself for eBGP.",
    );
    text.line("bgp community-list standard ANNOUNCER-GSHUT seq 5 permit 65535:0");
    for family in &facts.families {
        let (ip, digit) = (family.ip(), family.digit());
        text.lines([
            format!("route-map ANNOUNCER-IN{digit} permit 10"),
            format!(" match {ip} address prefix-list ANNOUNCER-VIPS{digit}"),
            " match community ANNOUNCER-GSHUT".into(),
            " set local-preference 0".into(),
            "exit".into(),
            format!("route-map ANNOUNCER-IN{digit} permit 20"),
            format!(" match {ip} address prefix-list ANNOUNCER-VIPS{digit}"),
            "exit".into(),
        ]);
    }
    text.note("Nothing is advertised to the frontends.");
    text.lines(["route-map ANNOUNCER-OUT deny 10", "exit", "!"]);
    text.note("Packets for a VIP that no frontend announces end here. BGP's routes are preferred to it.");
    for family in &facts.families {
        let ip = family.ip();
        text.lines(facts.cover(*family).iter().map(|prefix| format!("{ip} route {prefix} blackhole 250")));
    }
    text.line("!");
    session(facts, text);
    text.line("!");
    linux::hash_policy(facts, text);
    linux::access_list(facts, text);
}

fn session(facts: &Facts, text: &mut Text) {
    text.line(format!("router bgp {}", facts.router_as()));
    facts.router_id_hint(" bgp router-id ROUTER-ID", text);
    text.line(" neighbor FRONTENDS peer-group");
    text.line(format!(" neighbor FRONTENDS remote-as {}", facts.frontend_asn));
    text.line(format!(" neighbor FRONTENDS timers {} {}", facts.keepalive(), facts.hold_time));
    text.line(" neighbor FRONTENDS passive");
    text.lines(facts.key().map(|key| format!(" neighbor FRONTENDS password {key}")));
    if facts.ttl_security {
        if facts.range().is_some() {
            text.note(
                "FRR 8.4 does not enforce this for a listen range; the packets that it sends have TTL 255.",
            );
        }
        text.line(format!(" neighbor FRONTENDS ttl-security hops {}", facts.hops));
    } else if facts.hops > 1 && !facts.is_internal() {
        text.line(format!(" neighbor FRONTENDS ebgp-multihop {}", facts.hops));
    }
    if facts.extended_next_hop {
        text.line(" neighbor FRONTENDS capability extended-nexthop");
    }
    for address in facts.neighbors() {
        text.line(format!(" neighbor {address} peer-group FRONTENDS"));
        text.lines(address.is_link_local.then(|| format!(" neighbor {address} interface {INTERFACE}")));
    }
    if let Some(range) = facts.range() {
        text.note("At most 100 frontends; FRR refuses more.");
        text.line(" bgp listen limit 100");
        text.line(format!(" bgp listen range {range} peer-group FRONTENDS"));
    }
    if !facts.families.contains(&Family::Ipv4) {
        text.lines([
            " address-family ipv4 unicast",
            "  no neighbor FRONTENDS activate",
            " exit-address-family",
        ]);
    }
    let paths = if facts.is_internal() { "maximum-paths ibgp" } else { "maximum-paths" };
    for family in &facts.families {
        text.line(format!(" address-family {} unicast", family.word()));
        text.lines([
            "  neighbor FRONTENDS activate".to_owned(),
            "  neighbor FRONTENDS soft-reconfiguration inbound".into(),
            format!("  neighbor FRONTENDS route-map ANNOUNCER-IN{} in", family.digit()),
            "  neighbor FRONTENDS route-map ANNOUNCER-OUT out".into(),
            format!("  neighbor FRONTENDS maximum-prefix {} warning-only", facts.limit(*family)),
            format!("  {paths} 16"),
            " exit-address-family".into(),
        ]);
    }
    text.line("exit");
}

/// The commands that show whether it works.
pub(crate) fn verify(facts: &Facts) -> Vec<Command> {
    let frontend = facts.shown_frontend();
    let mut all = vec![Command::new(Question::Session, format!("vtysh -c 'show bgp neighbors {frontend}'"))];
    for family in &facts.families {
        let shown = format!("show bgp {} unicast neighbors {frontend}", family.word());
        all.push(Command::new(Question::Received, format!("vtysh -c '{shown} received-routes'")));
        all.push(Command::new(Question::Accepted, format!("vtysh -c '{shown} routes'")));
    }
    each(facts, |family, prefix| {
        let dash = if family == Family::Ipv6 { " -6" } else { "" };
        all.push(Command::new(Question::Fib, format!("ip{dash} route show {prefix}")));
        all.push(Command::new(Question::Members, format!("vtysh -c 'show {} route {prefix}'", family.ip())));
    });
    all
}
