//! GoBGP, as TOML.

use crate::bfd;
use crate::facts::{Facts, Family};
use crate::linux;
use crate::text::Text;
use crate::verify::{Command, Question, each};

/// The configuration.
pub(crate) fn write(facts: &Facts, text: &mut Text) {
    text.note("A gobgpd.toml. GoBGP has no forwarding table of its own: FRR's zebra takes its routes, see `[zebra.config]`.");
    if facts.router_id().is_none() {
        text.note("ROUTER-ID: write the router's BGP identifier, such as one of its IPv4 addresses.");
    }
    bfd::missing(facts, "GoBGP 3", text);
    text.line("[global.config]");
    text.line(format!("as = {}", facts.router_as()));
    let id = facts.router_id().map_or_else(|| "ROUTER-ID".into(), |id| id.to_string());
    text.line(format!("router-id = \"{id}\""));
    text.blank();
    text.note("ECMP over all frontends.");
    text.lines(["[global.use-multiple-paths.config]", "enabled = true"]);
    text.blank();
    text.note("The routes go to the kernel by zebra, if its service runs:");
    for line in [
        "[zebra.config]",
        "enabled = true",
        "url = \"unix:/run/frr/zserv.api\"",
        "version = 6",
        "software-name = \"frr8.1\"",
    ] {
        text.maybe(&format!("  {line}"));
    }
    text.blank();
    text.note(
        "Exactly the announced prefixes are accepted, from all neighbours, and nothing is advertised to any. If GoBGP has other \
         neighbours, they need policies of their own.",
    );
    text.lines([
        "[global.apply-policy.config]",
        "import-policy-list = [\"announcer-in\"]",
        "default-import-policy = \"reject-route\"",
        "default-export-policy = \"reject-route\"",
    ]);
    for family in &facts.families {
        text.lines([
            "[[defined-sets.prefix-sets]]".to_owned(),
            format!("prefix-set-name = \"announcer-vips{}\"", family.digit()),
        ]);
        for prefix in facts.of(*family) {
            let length = prefix.prefix_len();
            text.lines([
                "[[defined-sets.prefix-sets.prefix-list]]".to_owned(),
                format!("ip-prefix = \"{prefix}\""),
                format!("masklength-range = \"{length}..{length}\""),
            ]);
        }
    }
    text.lines([
        "[[defined-sets.bgp-defined-sets.community-sets]]",
        "community-set-name = \"graceful-shutdown\"",
        "community-list = [\"^65535:0$\"]",
    ]);
    text.blank();
    text.note("GRACEFUL_SHUTDOWN (RFC 8326) makes a route the last choice. GoBGP cannot set the preference 0: 1 is its lowest.");
    text.lines(["[[policy-definitions]]", "name = \"announcer-in\""]);
    for family in &facts.families {
        let digit = family.digit();
        for drained in [true, false] {
            let name = if drained { "drained" } else { "vip" };
            text.lines([
                "[[policy-definitions.statements]]".to_owned(),
                format!("name = \"{name}{digit}\""),
                "[policy-definitions.statements.conditions.match-prefix-set]".into(),
                format!("prefix-set = \"announcer-vips{digit}\""),
                "match-set-options = \"any\"".into(),
            ]);
            if drained {
                text.lines([
                    "[policy-definitions.statements.conditions.bgp-conditions.match-community-set]",
                    "community-set = \"graceful-shutdown\"",
                    "match-set-options = \"any\"",
                ]);
            }
            text.lines(["[policy-definitions.statements.actions]", "route-disposition = \"accept-route\""]);
            if drained {
                text.lines(["[policy-definitions.statements.actions.bgp-actions]", "set-local-pref = 1"]);
            }
        }
    }
    text.blank();
    text.note("No limit on prefixes: GoBGP ends the session above it, and never opens it again by itself.");
    for address in facts.neighbors() {
        text.lines([
            "[[neighbors]]".to_owned(),
            "[neighbors.config]".into(),
            format!("neighbor-address = \"{}\"", address.with_interface()),
        ]);
        session(facts, "neighbors", text);
    }
    if let Some(range) = facts.range() {
        if facts.md5_file.is_some() {
            text.note(
                "GoBGP 3.10 does not set the key for a range, and no session comes up: add `--frontend ADDRESS` for each frontend in \
                 place of `--frontend-range`.",
            );
        }
        text.lines(["[[peer-groups]]", "[peer-groups.config]", "peer-group-name = \"frontends\""]);
        session(facts, "peer-groups", text);
        text.lines([
            "[[dynamic-neighbors]]".to_owned(),
            "[dynamic-neighbors.config]".into(),
            format!("prefix = \"{range}\""),
            "peer-group = \"frontends\"".into(),
        ]);
    }
    text.blank();
    text.note("Packets for a VIP that no frontend announces end in these routes, on the router's host. zebra's are preferred to them:");
    linux::blackholes(facts, text);
    linux::hash_policy(facts, text);
    linux::access_list(facts, text);
}

/// What follows the head of a neighbour or of a group.
fn session(facts: &Facts, table: &str, text: &mut Text) {
    text.line(format!("peer-as = {}", facts.frontend_asn));
    text.lines(facts.key().map(|key| format!("auth-password = \"{key}\"")));
    text.lines([format!("[{table}.transport.config]"), "passive-mode = true".into()]);
    text.lines([
        format!("[{table}.timers.config]"),
        format!("hold-time = {}", facts.hold_time),
        format!("keepalive-interval = {}", facts.keepalive()),
    ]);
    if facts.ttl_security {
        let least = 256 - u16::from(facts.hops);
        text.lines([
            format!("[{table}.ttl-security.config]"),
            "enabled = true".into(),
            format!("ttl-min = {least}"),
        ]);
    } else if facts.hops > 1 && !facts.is_internal() {
        let hops = facts.hops;
        text.lines([
            format!("[{table}.ebgp-multihop.config]"),
            "enabled = true".into(),
            format!("multihop-ttl = {hops}"),
        ]);
    }
    for family in &facts.families {
        text.lines([
            format!("[[{table}.afi-safis]]"),
            format!("[{table}.afi-safis.config]"),
            format!("afi-safi-name = \"{}-unicast\"", family.word()),
        ]);
    }
}

/// The commands that show whether it works.
pub(crate) fn verify(facts: &Facts) -> Vec<Command> {
    let frontend = facts.shown_frontend();
    let mut all = vec![Command::new(Question::Session, format!("gobgp neighbor {frontend}"))];
    for family in &facts.families {
        let word = family.word();
        all.push(Command::new(Question::Received, format!("gobgp neighbor {frontend} adj-in -a {word}")));
        all.push(Command::new(Question::Accepted, format!("gobgp global rib -a {word}")));
    }
    each(facts, |family, prefix| {
        let dash = if family == Family::Ipv6 { " -6" } else { "" };
        all.push(Command::new(Question::Fib, format!("ip{dash} route show {prefix}")));
        all.push(Command::new(Question::Members, format!("gobgp global rib {prefix} -a {}", family.word())));
    });
    all
}
