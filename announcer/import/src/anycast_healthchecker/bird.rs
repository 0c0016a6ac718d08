//! The BGP sessions of a configuration of BIRD, 1.6 and 2.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::blocks::{self, End};
use crate::draft::{Draft, Table, Value};
use crate::node::Node;
use crate::report::Report;
use crate::row::{Block, Reader, dropped, read, translated, unneeded};
use crate::values::{hold_time, parsed};
use crate::{ImportError, Input};

pub(super) const FILE: Block = Block {
    title: "`bird.conf`",
    rows: &[
        translated(&["protocol"], "`[[peer]]` for `protocol bgp`; announcer does not need the others"),
        translated(&["template"], "the options of the sessions that have it"),
        translated(&["router"], "`router_id`"),
        translated(&["function", "filter"], "nothing: a filter that sets attributes is dropped"),
        unneeded(
            &[
                "define",
                "log",
                "debug",
                "include",
                "watchdog",
                "timeformat",
                "listen",
                "ipv4",
                "ipv6",
                "roa4",
                "roa6",
                "graceful",
                "attribute",
                "hostname",
                "mrtdump",
                "eval",
            ],
            "it is for BIRD alone",
        ),
    ],
};

pub(super) const PROTOCOL: Block = Block {
    title: "`protocol bgp`",
    rows: &[
        translated(&["local"], "`asn` of `[bgp]`, and `source_address`"),
        translated(&["neighbor"], "`address`, `asn`, `port`"),
        translated(&["source"], "`source_address`"),
        translated(&["hold"], "`hold_time`"),
        translated(&["password"], "`password_file`, to which the user has to write the key"),
        translated(&["ttl"], "`ttl_security`"),
        translated(&["multihop"], "`multihop`, which counts only with `ttl_security`"),
        translated(&["interface"], "`interface`"),
        translated(&["description"], "a comment"),
        translated(&["ipv4", "ipv6"], "`families`"),
        translated(&["router"], "`router_id`"),
        translated(&["export"], "nothing if it only selects the prefixes"),
        translated(&["disabled"], "no peer, unless it is `no`"),
        translated(&["next"], "nothing for `next hop self`"),
        unneeded(
            &["import", "table", "debug", "preference", "rr", "interpret", "receive", "secondary"],
            "announcer ignores received routes",
        ),
        unneeded(&["direct", "strict", "dynamic"], "announcer finds the way to the router by itself"),
        unneeded(
            &["keepalive", "connect", "error", "startup", "enable", "check", "disable"],
            "announcer has its own times",
        ),
        unneeded(
            &["capabilities", "path", "allow", "gateway", "igp", "missing", "med", "prefer", "deterministic"],
            "announcer ignores received routes",
        ),
        dropped(&["bfd"], "write `bfd = true` in `[[peer]]`: only one program of a host can have BFD"),
        dropped(
            &["graceful", "long"],
            "`graceful_restart` of `[bgp]` makes routers keep the routes of a host that has died; write it if this is wanted",
        ),
        dropped(
            &["passive"],
            "announcer only connects, and never waits for a connection: the router has to accept it",
        ),
        dropped(
            &["add", "default", "advertise", "extended", "confederation", "authentication", "keys", "vrf"],
            "announcer does not have it",
        ),
    ],
};

pub(super) const CHANNEL: Block = Block {
    title: "`ipv4 { … }` and `ipv6 { … }` of `protocol bgp`",
    rows: &[
        translated(&["export"], "nothing if it only selects the prefixes"),
        translated(&["next"], "nothing for `next hop self`; `next_hop_v4`, `next_hop_v6` for an address"),
        unneeded(
            &["import", "table", "preference", "receive", "gateway", "cost", "igp", "secondary", "require"],
            "announcer ignores received routes",
        ),
        unneeded(&["debug"], "it is for BIRD alone"),
        dropped(&["add", "extended", "graceful", "mandatory", "aigp"], "announcer does not have it"),
    ],
};

/// Adds the sessions of a configuration.
pub(super) fn translate(input: &Input, draft: &mut Draft, report: &mut Report) -> Result<(), ImportError> {
    let nodes = blocks::parse(input, End::Semicolon)?;
    read(&FILE, &nodes, report, |reader, report| {
        for node in [reader.all("function"), reader.all("filter")].concat() {
            match sets_attributes(node) {
                true => report.dropped(
                    node,
                    "it names attributes of routes: write those that it sets in `[[service]]`, such as `communities` or `med`",
                ),
                false => report.unneeded(node, "announcer announces only the VIPs of its services"),
            }
        }
        for node in reader.all("router") {
            router_id(node, draft, report);
        }
        let templates: BTreeMap<String, &[Node]> = (reader.all("template").into_iter())
            .map(|node| (node.words.get(1).cloned().unwrap_or_default(), node.block()))
            .collect();
        for node in reader.all("protocol") {
            if node.word() == "bgp" {
                protocol(node, &templates, draft, report);
            } else {
                report.unneeded(node, "announcer needs no protocol of BIRD");
            }
        }
    });
    Ok(())
}

/// Whether a filter names attributes of routes.
fn sets_attributes(node: &Node) -> bool {
    let names = |word: &String| word.contains("bgp_") && !word.contains("bgp_peers");
    names(&node.name) || node.words.iter().any(names) || node.block().iter().any(sets_attributes)
}

fn router_id(node: &Node, draft: &mut Draft, report: &mut Report) {
    match node.words.as_slice() {
        [id, address] if id == "id" && address.parse::<std::net::Ipv4Addr>().is_ok() => {
            draft.bgp.set_why("router_id", address.as_str(), format!("from {}", node.place));
        }
        _ => report.dropped(node, "it is not `router id` with an address"),
    }
}

/// Adds the peer of a session.
fn protocol(node: &Node, templates: &BTreeMap<String, &[Node]>, draft: &mut Draft, report: &mut Report) {
    let mut options: Vec<Node> = Vec::new();
    let mut words = node.words.iter().skip(1);
    let mut own_name = String::from("bgp");
    while let Some(word) = words.next() {
        match (word.as_str(), own_name.as_str()) {
            ("from", _) => {
                let template = words.next().and_then(|name| templates.get(name));
                match template {
                    Some(template) => {
                        let own = |option: &&Node| {
                            option.children.is_some()
                                || !node.block().iter().any(|own| own.name == option.name)
                        };
                        options.extend(template.iter().filter(own).cloned());
                    }
                    None => report.dropped(node, "its template is not in this file"),
                }
            }
            (name, _) => own_name = name.to_owned(),
        }
    }
    options.extend(node.block().iter().cloned());
    read(&PROTOCOL, &options, report, |reader, report| {
        let disabled = reader.one("disabled", report);
        if let Some(disabled) = disabled.filter(|node| !["no", "off"].contains(&node.word())) {
            report.differs(disabled, "the session is disabled, so the router is left out");
            reader.rest();
            return;
        }
        let mut peer = Table::new("[[peer]]");
        peer.comment(format!("From {}, `protocol bgp {own_name}`.", node.place));
        peer.set("name", draft.peer_name(&own_name));
        local(reader, &mut peer, draft, report);
        if !neighbor(node, reader, &mut peer, report) {
            reader.rest();
            return;
        }
        details(reader, &mut peer, draft, report);
        channels(reader, &mut peer, report);
        draft.peers.push(peer);
    });
}

/// The value after a word of an option.
fn after<'n>(node: &'n Node, word: &str) -> Option<&'n str> {
    let mut words = node.words.iter().skip_while(|one| *one != word);
    words.next()?;
    words.next().map(String::as_str)
}

fn local(reader: &mut Reader<'_>, peer: &mut Table, draft: &mut Draft, report: &mut Report) {
    let Some(node) = reader.one("local", report) else { return };
    if let Ok(address) = node.word().parse::<IpAddr>() {
        peer.set("source_address", address.to_string());
    }
    let Some(asn) = after(node, "as").and_then(|asn| asn.parse::<u32>().ok()).map(u64::from) else {
        report.dropped(node, "its AS is not a number");
        return;
    };
    match draft.bgp.get("asn") {
        Some(Value::Number(first)) if *first != asn => {
            report.dropped(node, format!("announcer has one AS for all routers, {first}"));
        }
        Some(_) => {}
        None => draft.bgp.set_why("asn", asn, format!("from {}", node.place)),
    }
}

fn neighbor(protocol: &Node, reader: &mut Reader<'_>, peer: &mut Table, report: &mut Report) -> bool {
    // An address and an AS may be in two lines, one of them in a template.
    let all = reader.all("neighbor");
    let address = all.iter().find_map(|node| node.word().parse::<IpAddr>().ok());
    let Some(address) = address else {
        report.dropped(protocol, "it has no `neighbor` with one address");
        return false;
    };
    peer.set("address", address.to_string());
    let asn = all.iter().find_map(|node| after(node, "as").and_then(|asn| asn.parse::<u32>().ok()));
    let word = |word: &str| all.iter().any(|node| node.words.iter().any(|one| one == word));
    match asn {
        Some(asn) => peer.set("asn", u64::from(asn)),
        None if word("external") => peer.set("asn", "external"),
        None if word("internal") => peer.set("asn", "internal"),
        None => {
            peer.comment_after("asn = …");
            report.missing(
                &protocol.place,
                "neighbor",
                "the AS of the router: give it by `--router NAME=ADDRESS,ASN`",
            );
        }
    }
    if let Some(port) =
        all.iter().find_map(|node| after(node, "port")?.parse::<u16>().ok()).filter(|port| *port > 0)
    {
        peer.set("port", u64::from(port));
    }
    true
}

fn details(reader: &mut Reader<'_>, peer: &mut Table, draft: &mut Draft, report: &mut Report) {
    let hold = reader.one("hold", report);
    match hold.map(|node| (node, after(node, "time").and_then(|time| time.parse::<u64>().ok()))) {
        Some((node, Some(seconds))) => hold_time(seconds, node, peer, report),
        Some((node, None)) => report.dropped(node, "it is not a number of seconds"),
        None => peer.set_why(
            "hold_time",
            "240s",
            "BIRD's default; a host that dies is noticed after this time; announcer's default is 9s",
        ),
    }
    for node in reader.all("router") {
        router_id(node, draft, report);
    }
    if let Some(node) = reader.one("source", report) {
        match after(node, "address").map(str::parse::<IpAddr>) {
            Some(Ok(address)) => peer.set("source_address", address.to_string()),
            Some(Err(_)) | None => report.dropped(node, "it is not an address"),
        }
    }
    if let Some(node) = reader.one("interface", report) {
        peer.set("interface", node.word());
    }
    if let Some(node) = reader.one("description", report) {
        peer.comment(format!("Its description: {}", node.text()));
    }
    if let Some(node) = reader.one("password", report) {
        let file = format!("/etc/announcer/{}.key", peer.text("name"));
        report.missing(
            &node.place,
            &node.name,
            format!("write the key of this line to {file}, and let only the daemon's user and root read it"),
        );
        peer.set("password_file", file);
    }
    let is_secure = reader.one("ttl", report).is_some_and(|node| {
        after(node, "security").is_none_or(|value| ["yes", "on", "true"].contains(&value))
    });
    if is_secure {
        peer.set("ttl_security", true);
    }
    if let Some(node) = reader.one("multihop", report) {
        match parsed_or(node, 64) {
            Some(hops @ 1..=255) if is_secure => peer.set("multihop", hops),
            Some(_) => report.unneeded(node, "announcer's packets reach a router that is further away, too"),
            None => report.dropped(node, "it is not a number"),
        }
    }
}

/// The number of an option, or the default if it has none.
fn parsed_or(node: &Node, default: u64) -> Option<u64> {
    if node.words.is_empty() { Some(default) } else { parsed(node, "a number", &mut Report::default()) }
}

fn channels(reader: &mut Reader<'_>, peer: &mut Table, report: &mut Report) {
    let mut families = Vec::new();
    for family in ["ipv4", "ipv6"] {
        for channel in reader.all(family) {
            families.push(family.to_owned());
            read(&CHANNEL, channel.block(), report, |reader, report| {
                for node in [reader.all("export"), reader.all("next")].concat() {
                    policy(node, family, peer, report);
                }
            });
        }
    }
    for node in [reader.all("export"), reader.all("next")].concat() {
        policy(node, "ipv4", peer, report);
    }
    families.dedup();
    if families.len() == 1 {
        peer.set("families", families);
    }
}

fn policy(node: &Node, family: &str, peer: &mut Table, report: &mut Report) {
    if node.name == "export" {
        match sets_attributes(node) {
            true => report.dropped(
                node,
                "it names attributes of routes: write those that it sets in `[[service]]`, such as `communities` or `med`",
            ),
            false => report.unneeded(node, "announcer announces only the VIPs of its services"),
        }
        return;
    }
    match (node.words.get(1).map(String::as_str), after(node, "address").map(str::parse::<IpAddr>)) {
        (Some("self"), _) => {}
        (_, Some(Ok(address))) if address.is_ipv4() && family == "ipv4" => {
            peer.set("next_hop_v4", address.to_string());
        }
        (_, Some(Ok(address))) if address.is_ipv6() && family == "ipv6" => {
            peer.set("next_hop_v6", address.to_string());
        }
        (_, _) => report.dropped(node, "the next hop is announcer's address of the session"),
    }
}
