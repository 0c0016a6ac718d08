//! FRRouting.

use crate::bfd::{Bfd, Limits, STARVES, is_far_with_gtsm};
use crate::facts::{Facts, Family, INTERFACE};
use crate::linux;
use crate::text::Text;
use crate::verify::{Command, Question, bfd, each};

/// The configuration.
pub(crate) fn write(facts: &Facts, text: &mut Text) {
    let daemons =
        if possible_bfd(facts).is_some() { "`bgpd=yes` and `bfdd=yes` belong" } else { "`bgpd=yes` belongs" };
    text.note(&format!("Add it to /etc/frr/frr.conf; {daemons} into /etc/frr/daemons."));
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
    profile(facts, text);
    session(facts, text);
    text.line("!");
    linux::hash_policy(facts, text);
    linux::access_list(facts, text);
}

/// BFD, unless FRR cannot have it with these neighbours.
fn possible_bfd(facts: &Facts) -> Option<Bfd> {
    facts.bfd.filter(|_| !is_far_with_gtsm(facts))
}

/// The intervals of BFD. Without bfdd, FRR refuses these lines.
fn profile(facts: &Facts, text: &mut Text) {
    if is_far_with_gtsm(facts) {
        text.note(
            "No BFD: FRR 8.4 takes a neighbour with `ttl-security` for one on a link, and its BFD does not leave the link. Remove \
             `ttl_security` or `bfd` of this peer from announcer.toml.",
        );
    }
    let Some(bfd) = possible_bfd(facts) else { return };
    text.note(&format!("BFD notices a dead frontend, and bfdd sends it. {STARVES}"));
    let limits = Limits { intervals: 10..=60_000, multipliers: 2..=255 };
    let values = bfd.values(&limits, text);
    text.lines([
        "bfd".to_owned(),
        " profile ANNOUNCER".into(),
        format!("  detect-multiplier {}", values.multiplier),
        format!("  receive-interval {}", values.interval),
        format!("  transmit-interval {}", values.interval),
    ]);
    text.lines((facts.hops > 1).then(|| format!("  minimum-ttl {}", 256 - u16::from(facts.hops))));
    text.lines([" exit", "exit", "!"]);
}

fn session(facts: &Facts, text: &mut Text) {
    if facts.unnumbered {
        text.lines([
            format!("interface {INTERFACE}"),
            " no ipv6 nd suppress-ra".into(),
            " ipv6 nd ra-interval 10".into(),
            " ipv6 nd ra-lifetime 0".into(),
            "exit".into(),
            "!".into(),
        ]);
    }
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
    if possible_bfd(facts).is_some() {
        text.lines([" neighbor FRONTENDS bfd", " neighbor FRONTENDS bfd profile ANNOUNCER"]);
    }
    if facts.unnumbered {
        text.line(format!(" neighbor {INTERFACE} interface v6only peer-group FRONTENDS"));
    }
    for address in facts.neighbors().iter().filter(|_| !facts.unnumbered) {
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
    let frontend = if facts.unnumbered { INTERFACE.to_owned() } else { facts.shown_frontend() };
    let mut all = vec![Command::new(Question::Session, format!("vtysh -c 'show bgp neighbors {frontend}'"))];
    // BFD is shown by address, with the interface behind it.
    let line = if facts.unnumbered { format!("interface {INTERFACE}") } else { format!("peer {frontend} ") };
    all.extend(bfd(facts, || format!("vtysh -c 'show bfd peers' | grep -A 30 '{line}'")));
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
