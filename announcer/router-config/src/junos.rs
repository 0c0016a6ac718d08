//! Juniper Junos OS, as `set` commands.

use crate::bfd::Limits;
use crate::facts::{Facts, Family, INTERFACE};
use crate::text::Text;
use crate::verify::{Command, Question, bfd, each};

/// What the configuration was written after.
pub(crate) const MANUAL: &str = "Juniper's topic pages on BGP, of which parts could be read (Junos OS 13 to 23), and public configurations";

const POLICY: &str = "set policy-options policy-statement";
const GROUP: &str = "set protocols bgp group FRONTENDS";

/// The configuration.
pub(crate) fn write(facts: &Facts, text: &mut Text) {
    text.note(
        "Exactly the announced prefixes are accepted; everything else that a frontend sends is refused.",
    );
    for family in &facts.families {
        text.lines((facts.of(*family).iter()).map(|prefix| {
            format!("set policy-options prefix-list ANNOUNCER-VIPS{} {prefix}", family.digit())
        }));
    }
    text.note("A route with GRACEFUL_SHUTDOWN (RFC 8326) is the last choice. Nothing is advertised to the frontends.");
    text.line("set policy-options community ANNOUNCER-GSHUT members 65535:0");
    for term in ["drained", "vips"] {
        text.lines(facts.families.iter().map(|family| {
            format!("{POLICY} ANNOUNCER-IN term {term} from prefix-list ANNOUNCER-VIPS{}", family.digit())
        }));
        if term == "drained" {
            text.line(format!("{POLICY} ANNOUNCER-IN term drained from community ANNOUNCER-GSHUT"));
            text.line(format!("{POLICY} ANNOUNCER-IN term drained then local-preference 0"));
        }
        text.line(format!("{POLICY} ANNOUNCER-IN term {term} then accept"));
    }
    text.line(format!("{POLICY} ANNOUNCER-IN term others then reject"));
    text.line(format!("{POLICY} ANNOUNCER-OUT then reject"));
    text.blank();
    text.note("Packets for a VIP that no frontend announces end here. BGP's routes are preferred to it: their preference is 170.");
    for family in &facts.families {
        let at = match family {
            Family::Ipv4 => "set routing-options static route",
            Family::Ipv6 => "set routing-options rib inet6.0 static route",
        };
        for prefix in facts.cover(*family) {
            text.lines([format!("{at} {prefix} discard"), format!("{at} {prefix} preference 250")]);
        }
    }
    text.blank();
    text.note(
        "ECMP needs `multipath` below and this policy; without it, the forwarding table has one next hop. `per-packet` means per flow. \
         If a frontend joins or leaves, flows on the others break unless the policy has `load-balance consistent-hash`, where the \
         hardware has it. A policy that is exported already has to be put together with this one.",
    );
    text.line(format!("{POLICY} ANNOUNCER-ECMP then load-balance per-packet"));
    text.line("set routing-options forwarding-table export ANNOUNCER-ECMP");
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
        "The filter for the interfaces on which clients arrive: the VIPs answer ICMP and TCP port {}, the ports that the checks probe. \
         Add other ports of the services, such as UDP 443 for QUIC.",
        facts.ports(" and ")
    ));
    for family in &facts.families {
        let (inet, protocol, icmp) = match family {
            Family::Ipv4 => ("inet", "protocol", "icmp"),
            Family::Ipv6 => ("inet6", "next-header", "icmpv6"),
        };
        let filter = format!("set firewall family {inet} filter ANNOUNCER-SERVICES{}", family.digit());
        let vips = format!("from destination-prefix-list ANNOUNCER-VIPS{}", family.digit());
        text.line(format!("{filter} term tcp {vips}"));
        text.line(format!("{filter} term tcp from {protocol} tcp"));
        text.lines(facts.ports.iter().map(|port| format!("{filter} term tcp from destination-port {port}")));
        text.line(format!("{filter} term tcp then accept"));
        text.line(format!("{filter} term icmp {vips}"));
        text.line(format!("{filter} term icmp from {protocol} {icmp}"));
        text.line(format!("{filter} term icmp then accept"));
        text.line(format!("{filter} term others {vips}"));
        text.line(format!("{filter} term others then discard"));
        text.line(format!("{filter} term rest then accept"));
    }
    text.note("On each interface towards clients:");
    for family in &facts.families {
        let inet = if *family == Family::Ipv4 { "inet" } else { "inet6" };
        text.maybe(&format!(
            "set interfaces INTERFACE unit 0 family {inet} filter input ANNOUNCER-SERVICES{}",
            family.digit()
        ));
    }
    text.blank();
}

fn session(facts: &Facts, text: &mut Text) {
    text.line(format!("set routing-options autonomous-system {}", facts.router_as()));
    facts.router_id_hint("set routing-options router-id ROUTER-ID", text);
    let kind = if facts.is_internal() { "internal" } else { "external" };
    text.line(format!("{GROUP} type {kind}"));
    text.lines((!facts.is_internal()).then(|| format!("{GROUP} peer-as {}", facts.frontend_asn)));
    text.line(format!("{GROUP} hold-time {}", facts.hold_time));
    text.line(format!("{GROUP} passive"));
    text.line(format!("{GROUP} multipath"));
    text.lines(facts.key().map(|key| format!("{GROUP} authentication-key \"{key}\"")));
    if facts.ttl_security {
        text.note(
            "GTSM: Junos sends TTL 255. To drop packets from further away it needs a filter on lo0 that accepts the frontends' TCP port \
             179 with this `ttl` alone.",
        );
        let sent = if facts.hops > 1 { "multihop ttl 255" } else { "ttl 255" };
        text.line(format!("{GROUP} {sent}"));
    } else if facts.hops > 1 && !facts.is_internal() {
        text.line(format!("{GROUP} multihop ttl {}", facts.hops));
    }
    if let Some(bfd) = facts.bfd {
        text.note("BFD notices a dead frontend. Platforms that send it in software need longer intervals; the longer one of both sides is used.");
        let values = bfd.values(&Limits { intervals: 1..=255_000, multipliers: 1..=255 }, text);
        let mode = if facts.hops > 1 { "multihop" } else { "single-hop" };
        text.lines([
            format!("{GROUP} bfd-liveness-detection minimum-interval {}", values.interval),
            format!("{GROUP} bfd-liveness-detection multiplier {}", values.multiplier),
            format!("{GROUP} bfd-liveness-detection session-mode {mode}"),
        ]);
    }
    text.note("Without `teardown`, Junos only warns above the limit.");
    for family in &facts.families {
        let inet = if *family == Family::Ipv4 { "inet" } else { "inet6" };
        text.line(format!("{GROUP} family {inet} unicast prefix-limit maximum {}", facts.limit(*family)));
        text.lines(
            (facts.extended_next_hop && *family == Family::Ipv4)
                .then(|| format!("{GROUP} family inet unicast extended-nexthop")),
        );
    }
    text.line(format!("{GROUP} import ANNOUNCER-IN"));
    text.line(format!("{GROUP} export ANNOUNCER-OUT"));
    for address in facts.neighbors() {
        text.line(format!("{GROUP} neighbor {address}"));
        text.lines(
            address.is_link_local.then(|| format!("{GROUP} neighbor {address} local-interface {INTERFACE}")),
        );
    }
    text.lines(facts.range().map(|range| format!("{GROUP} allow {range}")));
}

/// The commands that show whether it works.
pub(crate) fn verify(facts: &Facts) -> Vec<Command> {
    let frontend = facts.shown_frontend();
    let mut all = vec![
        Command::new(Question::Session, format!("show bgp neighbor {frontend}")),
        Command::new(Question::Received, format!("show route receive-protocol bgp {frontend} hidden")),
        Command::new(Question::Received, format!("show route receive-protocol bgp {frontend}")),
    ];
    all.extend(bfd(facts, || format!("show bfd session address {frontend} extensive")));
    each(facts, |_, prefix| {
        all.push(Command::new(Question::Accepted, format!("show route {prefix} exact protocol bgp")));
        all.push(Command::new(Question::Fib, format!("show route forwarding-table destination {prefix}")));
        all.push(Command::new(Question::Members, format!("show route {prefix} exact active-path detail")));
    });
    all
}
