//! MikroTik RouterOS 7.

use crate::bfd::{Limits, Values};
use crate::facts::{Facts, Family};
use crate::text::Text;
use crate::verify::{Command, Question, bfd, each};

/// What the configuration was written after.
pub(crate) const MANUAL: &str =
    "MikroTik's documentation of RouterOS 7.20 and later (routing/bgp; Route Selection and Filters)";

/// The configuration.
pub(crate) fn write(facts: &Facts, text: &mut Text) {
    text.note(
        "For releases from 7.20 on. Below, there is no `/routing/bgp/instance`: the connection has `as` in place of `instance` and \
         `address-families` in place of `afi`, and the documentation names no key for ECMP.",
    );
    text.note("Exactly the announced prefixes are accepted. A route with GRACEFUL_SHUTDOWN (RFC 8326) is the last choice.");
    text.line("/routing/filter/rule");
    for prefix in &facts.prefixes {
        text.line(format!(
            "add chain=announcer-in rule=\"if (dst == {prefix} && bgp-communities includes 65535:0) {{ set bgp-local-pref 0; accept }}\""
        ));
        text.line(format!("add chain=announcer-in rule=\"if (dst == {prefix}) {{ accept }}\""));
    }
    text.line("add chain=announcer-in rule=\"reject\"");
    text.note("Nothing is advertised to the frontends.");
    text.line("add chain=announcer-out rule=\"reject\"");
    text.blank();
    text.note("Packets for a VIP that no frontend announces end here. BGP's routes are preferred to it: their distance is 20 or 200.");
    for family in &facts.families {
        text.line(format!("/{}/route", family.ip()));
        text.lines(
            facts
                .cover(*family)
                .iter()
                .map(|prefix| format!("add dst-address={prefix} blackhole distance=250")),
        );
    }
    text.blank();
    access_lists(facts, text);
    session(facts, text);
}

fn access_lists(facts: &Facts, text: &mut Text) {
    if facts.ports.is_empty() {
        text.note("No access list: no check probes a TCP port of the VIPs.");
        return;
    }
    text.note(&format!(
        "The firewall: the VIPs answer ICMP and TCP port {}, the ports that the checks probe. Add other ports of the services, such as \
         UDP 443 for QUIC. An earlier rule that accepts hides these; a rule that drops invalid connections must not see the VIPs, since \
         the replies go past this router. Remove the comment signs when you have looked at your rules:",
        facts.ports(" and ")
    ));
    for family in &facts.families {
        let (ip, icmp) = match family {
            Family::Ipv4 => ("ip", "icmp"),
            Family::Ipv6 => ("ipv6", "icmpv6"),
        };
        text.line(format!("/{ip}/firewall/address-list"));
        text.lines(
            facts.cover(*family).iter().map(|prefix| format!("add list=announcer-vips address={prefix}")),
        );
        text.maybe(&format!("/{ip}/firewall/filter"));
        let rule = "add chain=forward dst-address-list=announcer-vips";
        text.maybe(&format!("{rule} protocol=tcp dst-port={} action=accept", facts.ports(",")));
        text.maybe(&format!("{rule} protocol={icmp} action=accept"));
        text.maybe(&format!("{rule} action=drop"));
    }
    text.blank();
}

fn session(facts: &Facts, text: &mut Text) {
    text.note("ECMP over all frontends.");
    let id = facts.router_id().map_or_else(String::new, |id| format!(" router-id={id}"));
    text.line("/routing/bgp/instance");
    text.line(format!("add name=announcer as={}{id} multipath=16", facts.router_as()));
    text.note("ECMP by ports too: without it, one client always reaches the same frontend.");
    for family in &facts.families {
        match family {
            Family::Ipv4 => text.line("/ip/settings set ipv4-multipath-hash-policy=l4"),
            Family::Ipv6 => {
                text.note("The key for IPv6 comes from public configurations: the pages that could be read name that for IPv4 alone.");
                text.line("/ipv6/settings set multipath-hash-policy=l4");
            }
        }
    }
    if let Some(bfd) = facts.bfd {
        text.note("BFD notices a dead frontend. The first entry that matches a neighbour counts.");
        let values = bfd.values(&Limits { intervals: 10..=10_000, multipliers: 1..=255 }, text);
        let Values { interval, multiplier } = values;
        let addresses: Vec<String> = match facts.range() {
            Some(range) => vec![range.to_string()],
            None => facts.neighbors().iter().map(ToString::to_string).collect(),
        };
        text.line("/routing/bfd/configuration");
        text.line(format!(
            "add addresses={} min-tx={interval}ms min-rx={interval}ms multiplier={multiplier} forbid-bfd=no",
            addresses.join(",")
        ));
    }
    text.line("/routing/bgp/connection");
    let role = if facts.is_internal() { "ibgp" } else { "ebgp" };
    let families: Vec<&str> = facts.families.iter().map(|family| family.ip()).collect();
    let mut common = format!(
        "instance=announcer local.role={role} remote.as={} listen=yes connect=no afi={} hold-time={}s keepalive-time={}s \
         input.filter=announcer-in output.filter-chain=announcer-out",
        facts.frontend_asn,
        families.join(","),
        facts.hold_time,
        facts.keepalive()
    );
    for family in &facts.families {
        common += &format!(" input.limit-process-routes-{}={}", family.word(), facts.hard_limit(*family));
    }
    if let Some(key) = facts.key() {
        common += &format!(" tcp-md5-key=\"{key}\"");
    }
    if facts.ttl_security {
        common += &format!(" local.ttl=255 remote.ttl={}", 256 - u16::from(facts.hops));
    }
    if facts.hops > 1 {
        common += " multihop=yes";
    }
    if facts.bfd.is_some() {
        common += " use-bfd=yes";
    }
    text.lines((facts.neighbors().iter().enumerate()).map(|(index, address)| {
        format!("add name=announcer-fe{} remote.address={} {common}", index + 1, address.with_interface())
    }));
    text.lines(
        facts.range().map(|range| format!("add name=announcer-range remote.address={range} {common}")),
    );
}

/// The commands that show whether it works.
pub(crate) fn verify(facts: &Facts) -> Vec<Command> {
    let frontend = facts.shown_frontend();
    let mut all = vec![Command::new(
        Question::Session,
        format!("/routing/bgp/session/print where remote.address~\"{frontend}\""),
    )];
    all.extend(bfd(facts, || format!("/routing/bfd/session/print where remote-address~\"{frontend}\"")));
    each(facts, |family, prefix| {
        let shown = "/routing/route/print detail where";
        all.push(Command::new(Question::Received, format!("{shown} bgp dst-address={prefix}")));
        all.push(Command::new(Question::Accepted, format!("{shown} bgp dst-address={prefix} !filtered")));
        let ip = family.ip();
        all.push(Command::new(Question::Fib, format!("/{ip}/route/print where active dst-address={prefix}")));
        all.push(Command::new(Question::Members, format!("{shown} active dst-address={prefix}")));
    });
    all
}
