//! A neighbor of ExaBGP as a `[[peer]]`.

use std::net::IpAddr;

use super::rows::{API, CAPABILITY, NEIGHBOR};
use crate::draft::{Draft, Table, Value};
use crate::node::Node;
use crate::report::Report;
use crate::row::{Reader, read};
use crate::values::{hold_time, parsed, router_asn};

/// What a neighbor has besides its session.
#[derive(Default)]
pub(super) struct Neighbor<'n> {
    /// The blocks with routes.
    pub(super) routes: Vec<&'n Node>,
    /// The processes that are in its block.
    pub(super) processes: Vec<&'n Node>,
    /// The names of the processes that announce to it; none if it does not list them.
    pub(super) announcers: Option<Vec<String>>,
    /// Where they are listed.
    pub(super) listed: Option<&'n Node>,
    /// The name of its peer; none if the router was left out.
    pub(super) peer: Option<String>,
}

impl Neighbor<'_> {
    /// Whether the process announces to it.
    pub(super) fn lists(&self, process: &str) -> bool {
        let Some(listed) = &self.announcers else { return true };
        let plain =
            |pattern: &String| pattern.trim_start_matches('^').trim_end_matches(['$', '*', '.']).to_owned();
        let matches = self.listed.is_some_and(|node| node.name == "processes-match");
        listed.iter().any(|name| name == process || matches && process.starts_with(&plain(name)))
    }
}

/// Adds a peer for a neighbor. `options` are all its options, those that it inherits before its own.
pub(super) fn translate<'n>(
    node: &Node,
    options: &'n [Node],
    draft: &mut Draft,
    report: &mut Report,
) -> Neighbor<'n> {
    read(&NEIGHBOR, options, report, |reader, report| {
        reader.all("inherit");
        let mut neighbor = Neighbor {
            routes: [reader.all("static"), reader.all("announce")].concat(),
            processes: Vec::new(),
            announcers: None,
            listed: None,
            peer: None,
        };
        // ExaBGP 3.4 has the program in the neighbor, and 4.0 has a reference to it there.
        for process in reader.all("process") {
            neighbor.processes.push(process);
        }
        for api in reader.all("api") {
            read(&API, api.block(), report, |reader, _| {
                for node in [reader.all("processes"), reader.all("processes-match")].concat() {
                    neighbor.announcers.get_or_insert_default().extend(node.list());
                    neighbor.listed = Some(node);
                }
            });
        }
        let mut peer = Table::new("[[peer]]");
        peer.comment(format!("From {}, `neighbor {}`.", node.place, node.text()));
        if let Some(node) = reader.one("description", report) {
            peer.comment(format!("Its description: {}", node.text()));
        }
        let address = reader.one("peer-address", report).map_or(node.word(), Node::word);
        let Ok(address) = address.parse::<IpAddr>() else {
            report.dropped(node, format!("`{address}` is not the address of one router"));
            reader.rest();
            return neighbor;
        };
        peer.set("name", draft.peer_name(&address.to_string()));
        peer.set("address", address.to_string());
        if !asn(node, reader, &mut peer, draft, report) {
            reader.rest();
            return neighbor;
        }
        host(reader, draft, report);
        session(reader, &mut peer, draft, report);
        ttl(reader, &mut peer, report);
        families(reader, &mut peer, report);
        neighbor.peer = Some(peer.text("name").to_owned());
        draft.peers.push(peer);
        neighbor
    })
}

/// Sets the AS of the host and of the router. Returns whether the router can be a peer of this host.
fn asn(
    node: &Node,
    reader: &mut Reader<'_>,
    peer: &mut Table,
    draft: &mut Draft,
    report: &mut Report,
) -> bool {
    match reader.one("local-as", report) {
        Some(local) if local.word() == "auto" => {
            report.missing(&local.place, "local-as", "it is what the router expects: give it by `--asn`");
        }
        Some(local) => {
            let Some(asn) = router_asn(local, report).map(u64::from) else { return false };
            match draft.bgp.get("asn") {
                Some(Value::Number(first)) if *first != asn => {
                    report.dropped(
                        local,
                        format!(
                            "announcer has one AS for all routers, {first}: the router {} is left out",
                            node.text()
                        ),
                    );
                    return false;
                }
                Some(_) => {}
                None => draft.bgp.set_why("asn", asn, format!("from {}", local.place)),
            }
        }
        None => {}
    }
    match reader.one("peer-as", report) {
        Some(remote) if remote.word() == "auto" => {
            peer.set("asn", "external");
            report.differs(
                remote,
                "any AS but this host's is accepted; write `internal` if the router is in the same AS",
            );
        }
        Some(remote) => {
            let Some(asn) = router_asn(remote, report) else { return false };
            peer.set("asn", u64::from(asn));
        }
        None => {
            peer.comment_after("asn = …");
            report.missing(
                &node.place,
                "peer-as",
                "the AS of the router: give it by `--router NAME=ADDRESS,ASN`",
            );
        }
    }
    true
}

/// Sets what is the same for all routers.
fn host(reader: &mut Reader<'_>, draft: &mut Draft, report: &mut Report) {
    if let Some(node) = reader.one("router-id", report)
        && let Some(id) = parsed::<std::net::Ipv4Addr>(node, "an IPv4 address", report)
    {
        let id = id.to_string();
        match draft.bgp.text("router_id") {
            "" => draft.bgp.set_why("router_id", id, format!("from {}", node.place)),
            first if first != id => {
                let text = format!("announcer has one identifier for all routers, {first}");
                report.dropped(node, text);
            }
            _ => {}
        }
    }
}

fn session(reader: &mut Reader<'_>, peer: &mut Table, draft: &mut Draft, report: &mut Report) {
    let mut hold = 180;
    match reader.one("hold-time", report) {
        Some(node) => {
            if let Some(seconds) = parsed::<u64>(node, "a number of seconds", report) {
                hold = seconds;
                hold_time(seconds, node, peer, report);
            }
        }
        None => peer.set_why(
            "hold_time",
            "180s",
            "ExaBGP's default; a host that dies is noticed after this time; announcer's default is 9s",
        ),
    }
    if let Some(node) = reader.one("local-address", report)
        && node.word() != "auto"
        && let Some(address) = parsed::<IpAddr>(node, "an address", report)
    {
        peer.set("source_address", address.to_string());
    }
    if let Some(node) = reader.one("source-interface", report) {
        peer.set("interface", node.word());
    }
    if let Some(node) = reader.one("connect", report)
        && let Some(port) = parsed::<u16>(node, "a port", report).filter(|port| *port > 0)
    {
        peer.set("port", u64::from(port));
    }
    for node in [reader.one("passive", report), reader.one("listen", report)].into_iter().flatten() {
        if node.name == "passive" && is_off(node) {
            report.unneeded(node, "announcer connects to the router");
        } else {
            report.dropped(
                node,
                "announcer only connects, and never waits for a connection: the router has to accept it",
            );
        }
    }
    let encoded = reader.one("md5-base64", report).is_some_and(|node| !is_off(node));
    let keys = [reader.one("md5-password", report), reader.one("md5", report)];
    if let Some(node) = keys.into_iter().flatten().next() {
        let file = format!("/etc/announcer/{}.key", peer.text("name"));
        let how = if encoded { ", decoded from base64," } else { "" };
        report.missing(
            &node.place,
            &node.name,
            format!(
                "write the key of this line{how} to {file}, and let only the daemon's user and root read it"
            ),
        );
        peer.set("password_file", file);
    }
    if let Some(node) = reader.one("md5-ip", report)
        && node.word() != peer.text("source_address")
    {
        report.dropped(node, "the key is used for the address of the session");
    }
    let restart = |node: &Node, draft: &mut Draft, report: &mut Report| {
        if is_off(node) {
            return;
        }
        let seconds = match node.words.is_empty() || node.word() == "enable" {
            true => Some(hold),
            false => parsed::<u64>(node, "a number of seconds", report),
        };
        let Some(seconds) = seconds.filter(|seconds| (1..=4095).contains(seconds)) else {
            report.dropped(node, "graceful restart takes 1 to 4,095 seconds");
            return;
        };
        match draft.bgp.text("graceful_restart") {
            "" => {
                draft.bgp.set_why("graceful_restart", format!("{seconds}s"), format!("from {}", node.place));
                report.differs(
                    node,
                    "it is for all routers; they keep the routes of a host that has died for this time",
                );
            }
            first if first != format!("{seconds}s") => {
                report.dropped(node, "announcer has one time for all routers");
            }
            _ => {}
        }
    };
    if let Some(node) = reader.one("graceful-restart", report) {
        restart(node, draft, report);
    }
    for block in reader.all("capability") {
        read(&CAPABILITY, block.block(), report, |reader, report| {
            if let Some(node) = reader.one("graceful-restart", report) {
                restart(node, draft, report);
            }
            if let Some(node) = reader.one("asn4", report) {
                if is_off(node) {
                    report.dropped(node, "announcer always offers AS numbers of four octets; a router that does not know them ignores this");
                } else {
                    report.unneeded(node, "announcer always has it");
                }
            }
        });
    }
}

/// Whether a value says no.
fn is_off(node: &Node) -> bool {
    ["false", "disable", "disabled", "off", "no"].contains(&node.word())
}

fn ttl(reader: &mut Reader<'_>, peer: &mut Table, report: &mut Report) {
    let incoming = [reader.one("incoming-ttl", report), reader.one("ttl-security", report)];
    let outgoing = reader.one("outgoing-ttl", report);
    let mut secured = false;
    if let Some(node) = incoming.into_iter().flatten().find(|node| !is_off(node)) {
        let least = match node.word() {
            "true" | "enable" | "" => Some(255),
            _ => parsed::<u8>(node, "a TTL", report),
        };
        if let Some(least @ 1..) = least {
            secured = true;
            peer.set("ttl_security", true);
            if least < 255 {
                peer.set("multihop", 256 - u64::from(least));
            }
        }
    }
    if let Some(node) = outgoing {
        match (node.word(), secured) {
            ("255", true) => {}
            ("255", false) => report.unneeded(
                node,
                "announcer sends 255 if `ttl_security` is set; without it, the TTL of the host, which reaches the router too",
            ),
            (_, _) => report.dropped(node, "announcer sends 255 with `ttl_security`, else the TTL of the host, usually 64"),
        }
    }
}

fn families(reader: &mut Reader<'_>, peer: &mut Table, report: &mut Report) {
    let mut families: Vec<String> = Vec::new();
    let blocks = reader.all("family");
    for node in blocks.iter().flat_map(|block| block.block()) {
        match (node.name.as_str(), node.word()) {
            (family @ ("ipv4" | "ipv6"), "unicast") => families.push(family.to_owned()),
            // These are words of 3.4 and 4 for all families.
            ("all" | "minimal", _) => {}
            (_, _) => report.dropped(
                node,
                format!("announcer announces IPv4 and IPv6 unicast; here is `{} {}`", node.name, node.text()),
            ),
        }
    }
    families.dedup();
    families.sort();
    families.dedup();
    if families.len() == 1 {
        peer.set("families", families);
    }
}
