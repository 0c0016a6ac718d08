//! Nokia SR Linux, as `set` commands.

use crate::bfd::Limits;
use crate::facts::{Facts, Family};
use crate::text::Text;
use crate::verify::{Command, Question, bfd, each};

/// What the configuration was written after.
pub(crate) const MANUAL: &str = "the YANG models of SR Linux 25.3.1 (nokia/srlinux-yang-models)";

const INSTANCE: &str = "set / network-instance default";
const POLICY: &str = "set / routing-policy policy announcer-in";

/// The configuration.
pub(crate) fn write(facts: &Facts, text: &mut Text) {
    text.note(
        "Exactly the announced prefixes are accepted; everything else that a frontend sends is refused.",
    );
    text.lines((facts.prefixes.iter()).map(|prefix| {
        format!("set / routing-policy prefix-set announcer-vips prefix {prefix} mask-length-range exact")
    }));
    text.note("A route with GRACEFUL_SHUTDOWN (RFC 8326) is the last choice. Nothing is advertised to the frontends.");
    text.line("set / routing-policy community-set announcer-gshut member [ 65535:0 ]");
    text.lines([
        format!("{POLICY} default-action policy-result reject"),
        format!("{POLICY} statement drained match prefix prefix-set announcer-vips"),
        format!("{POLICY} statement drained match bgp community-set announcer-gshut"),
        format!("{POLICY} statement drained action policy-result accept"),
        format!("{POLICY} statement drained action bgp local-preference set 0"),
        format!("{POLICY} statement vip match prefix prefix-set announcer-vips"),
        format!("{POLICY} statement vip action policy-result accept"),
        "set / routing-policy policy announcer-out default-action policy-result reject".into(),
    ]);
    text.blank();
    text.note("Packets for a VIP that no frontend announces end here. BGP's routes are preferred to it: their preference is 170.");
    text.line(format!("{INSTANCE} next-hop-groups group announcer-blackhole blackhole generate-icmp false"));
    for family in &facts.families {
        for prefix in facts.cover(*family) {
            text.line(format!("{INSTANCE} static-routes route {prefix} preference 250"));
            text.line(format!("{INSTANCE} static-routes route {prefix} next-hop-group announcer-blackhole"));
        }
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
        "The filter for the interfaces on which clients arrive: the VIPs answer ICMP and TCP port {}, the ports that the checks probe. \
         Add other ports of the services, such as UDP 443 for QUIC.",
        facts.ports(" and ")
    ));
    for family in &facts.families {
        let (word, protocol, icmp) = match family {
            Family::Ipv4 => ("ipv4", "protocol", "icmp"),
            Family::Ipv6 => ("ipv6", "next-header", "icmp6"),
        };
        let filter = format!("set / acl acl-filter announcer-services type {word} entry");
        let mut number = 0;
        let mut entry = |matches: Vec<String>, action: &str, text: &mut Text| {
            number += 10;
            text.lines(matches.iter().map(|line| format!("{filter} {number} match {line}")));
            text.line(format!("{filter} {number} action {action}"));
        };
        for prefix in facts.cover(*family) {
            let to = format!("{word} destination-ip prefix {prefix}");
            for port in &facts.ports {
                let tcp = format!("{word} {protocol} tcp");
                let ports = ["operator eq".to_owned(), format!("value {port}")];
                let ports = ports.map(|line| format!("transport destination-port {line}"));
                entry([vec![to.clone(), tcp], ports.to_vec()].concat(), "accept", text);
            }
            entry(vec![to.clone(), format!("{word} {protocol} {icmp}")], "accept", text);
            entry(vec![to], "drop", text);
        }
        entry(Vec::new(), "accept", text);
    }
    text.note("On each interface towards clients:");
    for family in &facts.families {
        text.maybe(&format!(
            "set / acl interface INTERFACE.0 input acl-filter announcer-services type {}",
            family.word()
        ));
    }
    text.blank();
}

fn session(facts: &Facts, text: &mut Text) {
    let bgp = format!("{INSTANCE} protocols bgp");
    let group = format!("{bgp} group frontends");
    text.lines(facts.key().map(|key| {
        let chain = "set / system authentication keychain announcer";
        [
            format!("{chain} admin-state enable"),
            format!("{chain} type tcp-md5"),
            format!("{chain} key 1 algorithm md5"),
            format!("{chain} key 1 authentication-key {key}"),
            format!("{group} authentication keychain announcer"),
        ]
        .join("\n")
    }));
    if let Some(bfd) = facts.bfd {
        let values = bfd.values(&Limits { intervals: 10..=100_000, multipliers: 3..=20 }, text);
        let micros = values.interval * 1000;
        text.note("BFD notices a dead frontend; its intervals are in microseconds. For the subinterface of the router's address of the session:");
        for line in [
            "admin-state enable".to_owned(),
            format!("desired-minimum-transmit-interval {micros}"),
            format!("required-minimum-receive {micros}"),
            format!("detection-multiplier {}", values.multiplier),
        ] {
            text.maybe(&format!("set / bfd subinterface INTERFACE.0 {line}"));
        }
        text.line(format!("{group} failure-detection enable-bfd true"));
    }
    text.note("One session carries all families. SR Linux hashes by ports too, by default.");
    text.line(format!("{bgp} admin-state enable"));
    text.line(format!("{bgp} autonomous-system {}", facts.router_as()));
    match facts.router_id() {
        Some(id) => text.line(format!("{bgp} router-id {id}")),
        None => text.maybe(&format!("{bgp} router-id ROUTER-ID")),
    }
    let kind = if facts.is_internal() { "ibgp" } else { "ebgp" };
    for family in &facts.families {
        let family = format!("{bgp} afi-safi {}-unicast", family.word());
        text.line(format!("{family} admin-state enable"));
        text.line(format!("{family} multipath {kind} maximum-paths 16"));
    }
    text.line(format!("{group} peer-as {}", facts.frontend_asn));
    text.note("Without policies of its own, SR Linux refuses and advertises nothing on eBGP.");
    text.line(format!("{group} import-policy [ announcer-in ]"));
    text.line(format!("{group} export-policy [ announcer-out ]"));
    text.line(format!("{group} timers keepalive-interval {}", facts.keepalive()));
    text.line(format!("{group} timers hold-time {}", facts.hold_time));
    text.line(format!("{group} transport passive-mode true"));
    if facts.ttl_security {
        text.note("GTSM: packets are sent with TTL 255. These models have no key that drops packets from further away.");
        text.lines([
            format!("{group} multihop admin-state enable"),
            format!("{group} multihop maximum-hops 255"),
        ]);
    } else if facts.hops > 1 {
        text.lines([
            format!("{group} multihop admin-state enable"),
            format!("{group} multihop maximum-hops {}", facts.hops),
        ]);
    }
    for family in &facts.families {
        let unicast = format!("{}-unicast", family.word());
        text.line(format!("{group} afi-safi {unicast} admin-state enable"));
        let limit = format!("{group} afi-safi {unicast} {unicast} prefix-limit-received");
        text.line(format!("{limit} max-received-routes {}", facts.limit(*family)));
        text.line(format!("{limit} prevent-teardown true"));
        text.lines(
            (facts.extended_next_hop && *family == Family::Ipv4)
                .then(|| format!("{group} afi-safi {unicast} {unicast} receive-ipv6-next-hops true")),
        );
    }
    text.lines(
        facts
            .neighbors()
            .iter()
            .map(|address| format!("{bgp} neighbor {} peer-group frontends", address.with_interface())),
    );
    if let Some(range) = facts.range() {
        let accept = format!("{bgp} dynamic-neighbors accept");
        text.line(format!("{accept} max-sessions 100"));
        text.line(format!("{accept} match {range} peer-group frontends"));
        text.line(format!("{accept} match {range} allowed-peer-as [ {} ]", facts.frontend_asn));
    }
}

/// The commands that show whether it works.
pub(crate) fn verify(facts: &Facts) -> Vec<Command> {
    let shown = "show network-instance default";
    let neighbor = format!("{shown} protocols bgp neighbor {}", facts.shown_frontend());
    let mut all = vec![Command::new(Question::Session, format!("{neighbor} detail"))];
    all.extend(bfd(facts, || format!("{shown} bfd session")));
    for family in &facts.families {
        all.push(Command::new(Question::Received, format!("{neighbor} received-routes {}", family.word())));
    }
    each(facts, |family, prefix| {
        let word = family.word();
        let routes = format!("{shown} protocols bgp routes {word} prefix {prefix}");
        all.push(Command::new(Question::Accepted, routes));
        let table = format!("{shown} route-table {word}-unicast prefix {prefix}");
        all.push(Command::new(Question::Fib, table.clone()));
        all.push(Command::new(Question::Members, format!("{table} detail")));
    });
    all
}
