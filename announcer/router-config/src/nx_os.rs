//! Cisco NX-OS.

use crate::bfd::Limits;
use crate::cisco::{ACCEPTED, LAST_RESORT, access_list_note, icmp, no_access_list, route_maps};
use crate::facts::{Facts, Family, INTERFACE};
use crate::text::Text;
use crate::verify::{Command, Question, bfd, each};

/// What the configuration was written after.
pub(crate) const MANUAL: &str = "the modules of Ansible's collection cisco.nxos 5.3 and public configurations, since Cisco's manual could not be read";

/// The configuration.
pub(crate) fn write(facts: &Facts, text: &mut Text) {
    text.line("feature bgp");
    text.lines(facts.bfd.map(|_| "feature bfd"));
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
    text.line("ip community-list standard ANNOUNCER-GSHUT seq 10 permit 65535:0");
    text.line("!");
    route_maps(facts, "  ", text);
    text.note(LAST_RESORT);
    for family in &facts.families {
        let routes = facts.cover(*family);
        text.lines(routes.iter().map(|prefix| format!("{} route {prefix} Null0 250", family.ip())));
    }
    text.line("!");
    access_lists(facts, text);
    text.line("!");
    text.note("ECMP by ports too; this is the default of most platforms.");
    text.line("ip load-sharing address source-destination port source-destination");
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
        text.line(format!("{ip} access-list ANNOUNCER-SERVICES{}", family.digit()));
        for prefix in facts.cover(*family) {
            text.lines(facts.ports.iter().map(|port| format!("  permit tcp any {prefix} eq {port}")));
            text.line(format!("  permit {any} any {prefix}"));
            text.line(format!("  deny {ip} any {prefix}"));
        }
        text.line(format!("  permit {ip} any any"));
    }
    text.note("On each interface towards clients:");
    for family in &facts.families {
        text.maybe(&match family {
            Family::Ipv4 => "  ip access-group ANNOUNCER-SERVICES4 in".to_owned(),
            Family::Ipv6 => "  ipv6 traffic-filter ANNOUNCER-SERVICES6 in".into(),
        });
    }
}

fn session(facts: &Facts, text: &mut Text) {
    let values = facts.bfd.map(|bfd| bfd.values(&Limits { intervals: 50..=999, multipliers: 1..=50 }, text));
    let interval = values.map(|of| {
        format!("interval {interval} min_rx {interval} multiplier {}", of.multiplier, interval = of.interval)
    });
    if let Some(interval) = interval.as_ref().filter(|_| facts.hops == 1) {
        text.note("BFD notices a dead frontend. announcer has no echo packets. On the interface towards the frontends:");
        text.maybe(&format!("  bfd {interval}"));
        text.maybe("  no bfd echo");
    }
    text.line(format!("router bgp {}", facts.router_as()));
    facts.router_id_hint("  router-id ROUTER-ID", text);
    let paths = if facts.is_internal() { "maximum-paths ibgp" } else { "maximum-paths" };
    for family in &facts.families {
        text.lines([format!("  address-family {} unicast", family.word()), format!("    {paths} 16")]);
    }
    text.line("  template peer FRONTENDS");
    text.line(format!("    remote-as {}", facts.frontend_asn));
    text.line(format!("    timers {} {}", facts.keepalive(), facts.hold_time));
    text.line("    transport connection-mode passive");
    text.lines(facts.key().map(|key| format!("    password 0 {key}")));
    if facts.ttl_security && !facts.is_internal() {
        text.line(format!("    ttl-security hops {}", facts.hops));
    } else if facts.ttl_security {
        text.note("NX-OS has `ttl-security` for eBGP alone: remove `ttl_security` of this peer from announcer.toml.");
    } else if facts.hops > 1 && !facts.is_internal() {
        text.line(format!("    ebgp-multihop {}", facts.hops));
    }
    text.lines(interval.iter().flat_map(|interval| match facts.hops {
        1 => vec!["    bfd".to_owned()],
        2.. | 0 => vec!["    bfd multihop".to_owned(), format!("    bfd multihop {interval}")],
    }));
    for family in &facts.families {
        text.lines([
            format!("    address-family {} unicast", family.word()),
            format!("      route-map ANNOUNCER-IN{} in", family.digit()),
            "      route-map ANNOUNCER-OUT out".into(),
            "      soft-reconfiguration inbound always".into(),
            format!("      maximum-prefix {} warning-only", facts.limit(*family)),
        ]);
    }
    for address in facts.neighbors() {
        text.lines([format!("  neighbor {address}"), "    inherit peer FRONTENDS".into()]);
        text.lines(address.is_link_local.then(|| format!("    update-source {INTERFACE}")));
    }
    if let Some(range) = facts.range() {
        text.lines([
            format!("  neighbor {range}"),
            "    inherit peer FRONTENDS".into(),
            "    maximum-peers 100".into(),
        ]);
    }
    text.line("!");
}

/// The commands that show whether it works.
pub(crate) fn verify(facts: &Facts) -> Vec<Command> {
    let frontend = facts.shown_frontend();
    let mut all = vec![Command::new(Question::Session, format!("show bgp sessions | include {frontend}"))];
    all.extend(bfd(facts, || {
        let word = if frontend.contains(':') { " ipv6" } else { "" };
        format!("show bfd{word} neighbors dest-ip {frontend} details")
    }));
    for family in &facts.families {
        let shown = format!("show bgp {} unicast neighbors {frontend}", family.word());
        all.push(Command::new(Question::Received, format!("{shown} received-routes")));
        all.push(Command::new(Question::Accepted, format!("{shown} routes")));
    }
    each(facts, |family, prefix| {
        let word = family.word();
        all.push(Command::new(Question::Fib, format!("show forwarding {word} route {prefix}")));
        all.push(Command::new(Question::Members, format!("show {} route {prefix}", family.ip())));
    });
    all
}
