//! Cisco IOS XR.

use crate::bfd::Limits;
use crate::cisco::{ACCEPTED, access_list_note, host_or_prefix, icmp, no_access_list};
use crate::facts::{Facts, INTERFACE};
use crate::text::Text;
use crate::verify::{Command, Question, bfd, each};

/// What the configuration was written after.
pub(crate) const MANUAL: &str = "the BGP Configuration Guide for Cisco 8000 Series Routers (IOS XR), of which parts could be read, and public configurations";

/// The configuration.
pub(crate) fn write(facts: &Facts, text: &mut Text) {
    text.line("!");
    text.note(ACCEPTED);
    text.note("IOS XR drops every route of an eBGP neighbour that has no route policy, in both directions.");
    for family in &facts.families {
        let list: Vec<String> = facts.of(*family).iter().map(|prefix| format!("  {prefix}")).collect();
        text.lines([
            format!("prefix-set ANNOUNCER-VIPS{}", family.digit()),
            list.join(",\n"),
            "end-set".into(),
        ]);
    }
    text.line("!");
    text.note("A route with GRACEFUL_SHUTDOWN (RFC 8326) is the last choice. Nothing is advertised to the frontends.");
    text.lines(["community-set ANNOUNCER-GSHUT", "  65535:0", "end-set"]);
    for family in &facts.families {
        let digit = family.digit();
        text.lines([
            format!("route-policy ANNOUNCER-IN{digit}"),
            format!("  if not destination in ANNOUNCER-VIPS{digit} then"),
            "    drop".into(),
            "  endif".into(),
            "  if community matches-any ANNOUNCER-GSHUT then".into(),
            "    set local-preference 0".into(),
            "  endif".into(),
            "  pass".into(),
            "end-policy".into(),
        ]);
    }
    text.lines(["route-policy ANNOUNCER-OUT", "  drop", "end-policy", "!"]);
    text.note("Packets for a VIP that no frontend announces end here. BGP's routes are preferred to it: their distance is lower than 250.");
    text.line("router static");
    for family in &facts.families {
        text.line(format!(" address-family {} unicast", family.word()));
        text.lines(facts.cover(*family).iter().map(|prefix| format!("  {prefix} Null0 250")));
        text.line(" !");
    }
    text.line("!");
    access_lists(facts, text);
    session(facts, text);
}

fn access_lists(facts: &Facts, text: &mut Text) {
    if facts.ports.is_empty() {
        return no_access_list(text);
    }
    access_list_note(facts, text);
    for family in &facts.families {
        let (word, any) = (family.word(), icmp(*family, "icmpv6"));
        text.line(format!("{word} access-list ANNOUNCER-SERVICES{}", family.digit()));
        let mut sequence = (10..).step_by(10);
        let mut entry = |line: String, text: &mut Text| {
            text.lines(sequence.next().map(|number| format!(" {number} {line}")));
        };
        for prefix in facts.cover(*family) {
            let to = host_or_prefix(&prefix);
            for port in &facts.ports {
                entry(format!("permit tcp any {to} eq {port}"), text);
            }
            entry(format!("permit {any} any {to}"), text);
            entry(format!("deny {word} any {to}"), text);
        }
        entry(format!("permit {word} any any"), text);
        text.line("!");
    }
    text.note("On each interface towards clients:");
    for family in &facts.families {
        text.maybe(&format!(" {} access-group ANNOUNCER-SERVICES{} ingress", family.word(), family.digit()));
    }
    text.line("!");
}

fn session(facts: &Facts, text: &mut Text) {
    text.note(
        "IOS XR hashes by ports too on current platforms; older ones need `cef load-balancing fields L4`.",
    );
    let values =
        facts.bfd.map(|bfd| bfd.values(&Limits { intervals: 3..=30_000, multipliers: 2..=16 }, text));
    if values.is_some() {
        text.note("BFD notices a dead frontend. announcer has no echo packets.");
        text.lines(["bfd", " echo disable"]);
        if facts.hops > 1 {
            text.note("The line card that sends BFD over several hops:");
            text.maybe(" multipath include location 0/0/CPU0");
        }
        text.line("!");
    }
    text.line(format!("router bgp {}", facts.router_as()));
    facts.router_id_hint(" bgp router-id ROUTER-ID", text);
    let paths = if facts.is_internal() { "maximum-paths ibgp" } else { "maximum-paths ebgp" };
    for family in &facts.families {
        text.lines([
            format!(" address-family {} unicast", family.word()),
            format!("  {paths} 16"),
            " !".into(),
        ]);
    }
    text.line(" neighbor-group FRONTENDS");
    text.line(format!("  remote-as {}", facts.frontend_asn));
    text.line(format!("  timers {} {}", facts.keepalive(), facts.hold_time));
    text.line("  session-open-mode passive-only");
    text.lines(facts.key().map(|key| format!("  password clear {key}")));
    if facts.ttl_security {
        if facts.hops > 1 {
            text.note("IOS XR's `ttl-security` is for neighbours on a link; these are further away.");
        }
        text.line("  ttl-security");
    } else if facts.hops > 1 && !facts.is_internal() {
        text.line(format!("  ebgp-multihop {}", facts.hops));
    }
    text.lines(values.iter().flat_map(|values| {
        [
            "  bfd fast-detect".to_owned(),
            format!("  bfd minimum-interval {}", values.interval),
            format!("  bfd multiplier {}", values.multiplier),
        ]
    }));
    for family in &facts.families {
        text.lines([
            format!("  address-family {} unicast", family.word()),
            format!("   route-policy ANNOUNCER-IN{} in", family.digit()),
            "   route-policy ANNOUNCER-OUT out".into(),
            format!("   maximum-prefix {} 75 warning-only", facts.limit(*family)),
            "   soft-reconfiguration inbound always".into(),
            "  !".into(),
        ]);
    }
    text.line(" !");
    for address in facts.neighbors() {
        text.lines([format!(" neighbor {address}"), "  use neighbor-group FRONTENDS".into()]);
        text.lines(address.is_link_local.then(|| format!("  update-source {INTERFACE}")));
        text.line(" !");
    }
    if let Some(range) = facts.range() {
        text.note("Releases without dynamic neighbours need one `neighbor` for each frontend.");
        text.lines([format!(" neighbor {range}"), "  use neighbor-group FRONTENDS".into(), " !".into()]);
    }
    text.line("!");
}

/// The commands that show whether it works.
pub(crate) fn verify(facts: &Facts) -> Vec<Command> {
    let frontend = facts.shown_frontend();
    let mut all = vec![Command::new(Question::Session, format!("show bgp neighbor {frontend}"))];
    all.extend(bfd(facts, || {
        let word = if frontend.contains(':') { "ipv6 " } else { "" };
        let kind = if facts.hops > 1 { "multihop " } else { "" };
        format!("show bfd {kind}{word}session destination {frontend} detail")
    }));
    for family in &facts.families {
        let shown = format!("show bgp {} unicast neighbors {frontend}", family.word());
        all.push(Command::new(Question::Received, format!("{shown} received routes")));
        all.push(Command::new(Question::Accepted, format!("{shown} routes")));
    }
    each(facts, |family, prefix| {
        let word = family.word();
        all.push(Command::new(Question::Fib, format!("show cef {word} {prefix} detail")));
        all.push(Command::new(Question::Members, format!("show route {word} {prefix} detail")));
    });
    all
}
