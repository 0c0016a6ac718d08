//! Arista EOS.

use crate::bfd::Limits;
use crate::cisco::{
    ACCEPTED, LAST_RESORT, access_list_note, host_or_prefix, icmp, no_access_list, route_maps,
};
use crate::facts::{Facts, Family};
use crate::text::Text;
use crate::verify::{Command, Question, bfd, each};

/// What the configuration was written after.
pub(crate) const MANUAL: &str = "the configurations in the tests of Arista AVD (eos_cli_config_gen), for EOS 4.32 with the multi-agent routing model";

/// The configuration.
pub(crate) fn write(facts: &Facts, text: &mut Text) {
    text.line("!");
    text.note(ACCEPTED);
    for family in &facts.families {
        text.line(format!("{} prefix-list ANNOUNCER-VIPS{}", family.ip(), family.digit()));
        text.lines(
            (facts.of(*family).iter().enumerate())
                .map(|(index, prefix)| format!("   seq {} permit {prefix}", 10 * (index + 1))),
        );
        text.line("!");
    }
    text.line("ip community-list ANNOUNCER-GSHUT permit 65535:0");
    text.line("!");
    route_maps(facts, "   ", text);
    text.note(LAST_RESORT);
    for family in &facts.families {
        let routes = facts.cover(*family);
        text.lines(routes.iter().map(|prefix| format!("{} route {prefix} Null0 250", family.ip())));
    }
    text.line("!");
    access_lists(facts, text);
    text.line("!");
    text.note(
        "One session carries all families. EOS hashes by ports too, by default. If a frontend joins or leaves, flows on the others \
         break unless the group is resilient: `ip hardware fib ecmp resilience`, where the hardware has it.",
    );
    session(facts, text);
}

fn access_lists(facts: &Facts, text: &mut Text) {
    if facts.ports.is_empty() {
        return no_access_list(text);
    }
    access_list_note(facts, text);
    for family in &facts.families {
        let (ip, any) = (family.ip(), icmp(*family, "icmpv6"));
        text.line(format!("{ip} access-list ANNOUNCER-SERVICES{}", family.digit()));
        for prefix in facts.cover(*family) {
            let to = host_or_prefix(&prefix);
            text.line(format!("   permit tcp any {to} eq {}", facts.ports(" ")));
            text.line(format!("   permit {any} any {to}"));
            text.line(format!("   deny {ip} any {to}"));
        }
        text.line(format!("   permit {ip} any any"));
        text.line("!");
    }
    text.note("On each interface towards clients:");
    for family in &facts.families {
        text.maybe(&format!("   {} access-group ANNOUNCER-SERVICES{} in", family.ip(), family.digit()));
    }
}

/// BFD: the interval of neighbours on a link belongs to the interface, that of the others to `router bfd`.
fn bfd_intervals(facts: &Facts, text: &mut Text) {
    let Some(bfd) = facts.bfd else { return };
    let values = bfd.values(&Limits { intervals: 50..=60_000, multipliers: 3..=50 }, text);
    let line = format!(
        "interval {interval} min-rx {interval} multiplier {}",
        values.multiplier,
        interval = values.interval
    );
    if facts.hops > 1 {
        text.lines(["router bfd".to_owned(), format!("   multihop {line}"), "!".into()]);
    } else {
        text.note("BFD notices a dead frontend. On the interface towards the frontends:");
        text.maybe(&format!("   bfd {line}"));
    }
}

fn session(facts: &Facts, text: &mut Text) {
    bfd_intervals(facts, text);
    text.line(format!("router bgp {}", facts.router_as()));
    facts.router_id_hint("   router-id ROUTER-ID", text);
    text.line("   maximum-paths 16 ecmp 16");
    text.line("   neighbor FRONTENDS peer group");
    text.line(format!("   neighbor FRONTENDS remote-as {}", facts.frontend_asn));
    text.line(format!("   neighbor FRONTENDS timers {} {}", facts.keepalive(), facts.hold_time));
    text.line("   neighbor FRONTENDS passive");
    text.lines(facts.key().map(|key| format!("   neighbor FRONTENDS password 0 {key}")));
    if facts.ttl_security {
        text.line(format!("   neighbor FRONTENDS ttl maximum-hops {}", facts.hops));
    } else if facts.hops > 1 && !facts.is_internal() {
        text.line(format!("   neighbor FRONTENDS ebgp-multihop {}", facts.hops));
    }
    text.lines(facts.bfd.map(|_| "   neighbor FRONTENDS bfd"));
    let limit: usize = facts.families.iter().map(|family| facts.limit(*family)).sum();
    text.line(format!("   neighbor FRONTENDS maximum-routes {limit} warning-only"));
    text.lines(
        facts
            .neighbors()
            .iter()
            .map(|address| format!("   neighbor {} peer group FRONTENDS", address.with_interface())),
    );
    if let Some(range) = facts.range() {
        text.line("   bgp listen limit 100");
        text.line(format!(
            "   bgp listen range {range} peer-group FRONTENDS remote-as {}",
            facts.frontend_asn
        ));
    }
    if !facts.families.contains(&Family::Ipv4) {
        text.lines(["   !", "   address-family ipv4", "      no neighbor FRONTENDS activate"]);
    }
    for family in &facts.families {
        text.lines([
            "   !".to_owned(),
            format!("   address-family {}", family.word()),
            "      neighbor FRONTENDS activate".into(),
            format!("      neighbor FRONTENDS route-map ANNOUNCER-IN{} in", family.digit()),
            "      neighbor FRONTENDS route-map ANNOUNCER-OUT out".into(),
        ]);
        text.lines(
            (facts.extended_next_hop && *family == Family::Ipv4)
                .then_some("      neighbor FRONTENDS next-hop address-family ipv6"),
        );
    }
    text.line("!");
}

/// The commands that show whether it works.
pub(crate) fn verify(facts: &Facts) -> Vec<Command> {
    let frontend = facts.shown_frontend();
    let mut all = vec![Command::new(Question::Session, format!("show bgp neighbors {frontend}"))];
    all.extend(bfd(facts, || format!("show bfd peers dest-ip {frontend} detail")));
    for family in &facts.families {
        let shown = format!("show bgp neighbors {frontend} {} unicast", family.word());
        all.push(Command::new(Question::Received, format!("{shown} received-routes")));
        all.push(Command::new(Question::Accepted, format!("{shown} routes")));
    }
    each(facts, |family, prefix| {
        let ip = family.ip();
        all.push(Command::new(Question::Fib, format!("show {ip} route {prefix}")));
        all.push(Command::new(Question::Members, format!("show bgp {} unicast {prefix}", family.word())));
    });
    all
}
