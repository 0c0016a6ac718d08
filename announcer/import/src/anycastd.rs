//! anycastd: its YAML and JSON files.
//!
//! <https://github.com/runityru/anycastd>, `config/config.go`, `service/` and `checkers/*/spec.go`.

mod checks;

pub(crate) use self::checks::dig;

use std::net::IpAddr;

use crate::draft::{Draft, Table};
use crate::node::{Node, Place};
use crate::report::Report;
use crate::row::{Block, read, translated};
use crate::tree::ELEMENT;
use crate::values::{is_host, parsed, prefix};
use crate::{Given, ImportError, Imported, Input, tree};

/// The tables of options.
pub const BLOCKS: &[&Block] = &[
    &FILE,
    &ANNOUNCER,
    &PEER,
    &SERVICE,
    &CHECK,
    &METRICS,
    &checks::HTTP,
    &checks::DNS,
    &checks::PING,
    &checks::TFTP,
    &checks::NTP,
    &checks::TLS,
    &checks::REMOTE,
    &checks::ADDRESS,
];

const FILE: Block = Block {
    title: "the file",
    rows: &[
        translated(&["announcer"], "`[bgp]` and `[[peer]]`"),
        translated(&["services"], "one `[[service]]`: anycastd announces all routes together"),
        translated(&["metrics"], "`[metrics]`"),
    ],
};

const ANNOUNCER: Block = Block {
    title: "`announcer`",
    rows: &[
        translated(&["router_id"], "`router_id`"),
        translated(&["local_address"], "`source_address`, which is the next hop too"),
        translated(&["local_asn"], "`asn`"),
        translated(&["routes"], "`vips`; a network also `prefix`"),
        translated(&["peers"], "`[[peer]]`"),
    ],
};

const PEER: Block = Block {
    title: "an element of `peers`",
    rows: &[
        translated(&["name"], "`name`"),
        translated(&["remote_address"], "`address`"),
        translated(&["remote_asn"], "`asn`"),
        translated(
            &["enable_multihop", "multihop_ttl"],
            "nothing: announcer's packets reach a router that is further away, too",
        ),
    ],
};

const SERVICE: Block = Block {
    title: "an element of `services`",
    rows: &[
        translated(&["name"], "the names of the checks"),
        translated(&["check_interval"], "`interval`"),
        translated(&["checks"], "`[[service.check]]`"),
        translated(&["strategy", "strategy_options"], "`require`"),
    ],
};

const CHECK: Block = Block {
    title: "an element of `checks`",
    rows: &[
        translated(&["kind"], "`http`, `tls` or `exec`"),
        translated(&["spec"], "see below"),
        translated(&["group"], "`require` if there is one group, or each check has its own"),
    ],
};

const METRICS: Block = Block {
    title: "`metrics`",
    rows: &[translated(&["enabled"], "`[metrics]` if it is true"), translated(&["address"], "`listen`")],
};

/// Translates a configuration of anycastd.
///
/// # Errors
/// When the syntax is wrong, and when it has neither routes nor services.
pub fn import(input: &Input, given: &Given) -> Result<Imported, ImportError> {
    let mut report = Report::default();
    let mut draft = Draft::new();
    let nodes = tree::parse(input)?;
    let place = Place { file: input.name.as_str().into(), line: 1 };
    read(&FILE, &nodes, &mut report, |reader, report| {
        let mut routes = Vec::new();
        for node in reader.all("announcer") {
            routes.extend(announcer(node, &mut draft, report));
        }
        let services: Vec<&Node> = (reader.all("services").into_iter())
            .flat_map(|node| node.block().iter().filter(|node| node.name == ELEMENT))
            .collect();
        self::services(&services, &routes, &mut draft, report);
        for node in reader.all("metrics") {
            metrics(node, &mut draft, report);
        }
    });
    if draft.services.is_empty() {
        return Err(ImportError::Nothing(input.name.clone(), "no route and no service was found"));
    }
    Ok(draft.finish("anycastd", &place, given, report))
}

/// Sets the host's values and the peers. Returns the routes.
fn announcer<'n>(node: &'n Node, draft: &mut Draft, report: &mut Report) -> Vec<(&'n Node, String)> {
    read(&ANNOUNCER, node.block(), report, |reader, report| {
        if let Some(node) = reader.one("router_id", report)
            && let Some(id) = parsed::<std::net::Ipv4Addr>(node, "an IPv4 address", report)
        {
            draft.bgp.set_why("router_id", id.to_string(), format!("from {}", node.place));
        }
        if let Some(node) = reader.one("local_asn", report)
            && let Some(asn) = parsed::<u32>(node, "an AS", report).filter(|asn| *asn > 0)
        {
            draft.bgp.set_why("asn", u64::from(asn), format!("from {}", node.place));
        }
        let source = reader.one("local_address", report);
        let source = source.and_then(|node| parsed::<IpAddr>(node, "an address", report));
        for list in reader.all("peers") {
            for element in list.block() {
                peer(element, source, draft, report);
            }
        }
        let routes = reader.all("routes").into_iter();
        routes.flat_map(|node| node.words.iter().map(move |word| (node, word.clone()))).collect()
    })
}

fn peer(element: &Node, source: Option<IpAddr>, draft: &mut Draft, report: &mut Report) {
    read(&PEER, element.block(), report, |reader, report| {
        let mut peer = Table::new("[[peer]]");
        peer.comment(format!("From {}.", element.place));
        let name = reader.one("name", report).map(Node::text).unwrap_or_default();
        peer.set("name", draft.peer_name(&name));
        let address = reader.one("remote_address", report);
        let Some(address) = address.and_then(|node| parsed::<IpAddr>(node, "an address", report)) else {
            report.dropped(element, "it has no `remote_address`");
            reader.rest();
            return;
        };
        peer.set("address", address.to_string());
        match reader.one("remote_asn", report).and_then(|node| parsed::<u32>(node, "an AS", report)) {
            Some(asn) if asn > 0 => peer.set("asn", u64::from(asn)),
            Some(_) | None => {
                peer.comment_after("asn = …");
                report.missing(
                    &element.place,
                    "remote_asn",
                    "the AS of the router: give it by `--router NAME=ADDRESS,ASN`",
                );
            }
        }
        peer.set_why(
            "hold_time",
            "90s",
            "the default of anycastd's GoBGP; a host that dies is noticed after this time; announcer's default is 9s",
        );
        if let Some(source) = source {
            peer.set("source_address", source.to_string());
        }
        peer.set("families", vec!["ipv4".to_owned()]);
        let multihop = [reader.one("enable_multihop", report), reader.one("multihop_ttl", report)];
        for node in multihop.into_iter().flatten() {
            report.unneeded(node, "announcer's packets reach a router that is further away, too");
        }
        draft.peers.push(peer);
    });
}

fn metrics(node: &Node, draft: &mut Draft, report: &mut Report) {
    read(&METRICS, node.block(), report, |reader, report| {
        let enabled = reader.one("enabled", report).is_some_and(|node| node.word() == "true");
        let Some(address) = reader.one("address", report) else { return };
        if !enabled {
            report.unneeded(address, "metrics are not enabled");
            return;
        }
        let text = address.word();
        let text = if text.starts_with(':') {
            format!("0.0.0.0{text}")
        } else {
            text.replace("localhost", "127.0.0.1")
        };
        if text.parse::<std::net::SocketAddr>().is_err() {
            report.dropped(address, format!("`{text}` is not an address with a port"));
            return;
        }
        let mut metrics = Table::new("[metrics]");
        metrics.comment(format!("From {}.", address.place));
        metrics.set("listen", text);
        draft.others.push(metrics);
        report.differs(address, "the metrics have other names: docs/metrics.md");
    });
}

/// One element of `services`.
struct Part {
    checks: Vec<Table>,
    require: Option<Require>,
}

/// How many of the checks have to pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Require {
    All,
    Any,
    AtLeast(u64),
}

/// Adds the service of all routes.
fn services(elements: &[&Node], routes: &[(&Node, String)], draft: &mut Draft, report: &mut Report) {
    let mut vips: Vec<IpAddr> = Vec::new();
    let mut networks = Vec::new();
    for (node, text) in routes {
        match prefix(text) {
            Some(net) if is_host(net) => vips.push(net.addr()),
            Some(net) => networks.push((*node, net)),
            None => report.dropped(node, format!("`{text}` is not a prefix")),
        }
    }
    vips.sort();
    vips.dedup();
    let assigned: Vec<IpAddr> = vips.clone();
    let parts: Vec<Part> =
        elements.iter().map(|node| part(node, &assigned, networks.is_empty(), draft, report)).collect();
    let Some(first) = elements.first() else { return };
    let name = match elements {
        [only] => only.block().iter().find(|node| node.name == "name").map_or("", Node::word),
        _ => "anycastd",
    };
    let checks: Vec<Table> = parts.iter().flat_map(|part| part.checks.clone()).collect();
    let require = match parts.as_slice() {
        [only] => only.require,
        all if all.iter().all(|part| part.require == Some(Require::All)) => Some(Require::All),
        _ => None,
    };
    let require = require.unwrap_or_else(|| {
        report.missing(
            &first.place,
            "strategy",
            "which checks have to pass: anycastd's rule has no equivalent here; all have to pass as it stands",
        );
        Require::All
    });
    if elements.len() > 1 {
        report.differs(
            first,
            "anycastd announces all routes when one of its services becomes healthy and withdraws all when one fails; here all \
             services have to be healthy",
        );
    }
    let mut groups: Vec<(Vec<IpAddr>, Option<ipnet::IpNet>)> = Vec::new();
    let (inside, outside): (Vec<IpAddr>, Vec<IpAddr>) =
        vips.into_iter().partition(|vip| networks.iter().any(|(_, net)| net.contains(vip)));
    if !outside.is_empty() {
        groups.push((outside, None));
    }
    for (node, net) in networks {
        let within: Vec<IpAddr> = inside.iter().copied().filter(|vip| net.contains(vip)).collect();
        if let Some(vip) = within.first() {
            report.dropped(
                node,
                format!(
                    "{net} beside {vip}, which is in it: announcer announces a VIP by itself or by a prefix"
                ),
            );
            groups.push((within, None));
            continue;
        }
        report.missing(
            &node.place,
            &node.name,
            format!("the VIPs in {net}: `vips` has only the first address; write those that clients use"),
        );
        groups.push((net.hosts().take(1).collect(), Some(net.trunc())));
    }
    for (vips, prefix) in groups {
        let mut service = Table::new("[[service]]");
        service.comment(format!("From {}.", first.place));
        let taken = draft.vips();
        let vips: Vec<String> =
            vips.iter().filter(|vip| !taken.contains(vip)).map(ToString::to_string).collect();
        if vips.is_empty() {
            continue;
        }
        service.set("name", draft.service_name(name));
        service.set("vips", vips);
        if let Some(prefix) = prefix {
            service.set("prefix", vec![prefix.to_string()]);
        }
        match require {
            Require::All => {}
            Require::Any => service.set("require", "any"),
            Require::AtLeast(least) => service.set("require", least),
        }
        service.tables.extend(checks.iter().cloned());
        if checks.is_empty() {
            let mut check = Table::new("[[service.check]]");
            check.set("exec", vec!["/bin/true".to_owned()]);
            service.tables.push(check);
        }
        draft.services.push(service);
    }
    if checks.is_empty() {
        report.missing(&first.place, "checks", "a check of the service; here it always passes");
    }
}

/// Translates the checks and the strategy of one element.
fn part(element: &Node, assigned: &[IpAddr], is_whole: bool, draft: &Draft, report: &mut Report) -> Part {
    read(&SERVICE, element.block(), report, |reader, report| {
        let name = reader.one("name", report).map(Node::text).unwrap_or_default();
        let interval = reader.one("check_interval", report);
        let interval = checks::time_of(interval, 10_000, report);
        let mut tables = Vec::new();
        let mut groups: Vec<String> = Vec::new();
        // Checks that announcer does itself pass always as long as the others decide.
        let mut own = 0;
        for list in reader.all("checks") {
            for check in list.block() {
                read(&CHECK, check.block(), report, |reader, report| {
                    let group = reader.one("group", report).map(Node::text).unwrap_or_default();
                    let (Some(kind), spec) = (reader.one("kind", report), reader.one("spec", report)) else {
                        report.dropped(check, "it has no `kind`");
                        reader.rest();
                        return;
                    };
                    let spec = spec.map(Node::block).unwrap_or_default();
                    let context = checks::Context { kind, interval, assigned, is_whole, service: &name };
                    match checks::translate(spec, &context, draft, report) {
                        checks::Translated::Check(table) => {
                            tables.push(table);
                            groups.push(group);
                        }
                        checks::Translated::Own => own += 1,
                        checks::Translated::Dropped => {}
                    }
                });
            }
        }
        let strategy = reader.one("strategy", report);
        let options = reader.one("strategy_options", report);
        let total = u64::try_from(tables.len()).unwrap_or(u64::MAX);
        let require = match strategy.map_or("", Node::word) {
            "" | "at_least_one" => Some(Require::All),
            // A check of the address, which announcer does itself, always has to pass.
            _ if own > 0 => None,
            "all" => Some(Require::Any),
            "all_in_group" => {
                let mut unique = groups.clone();
                unique.sort();
                unique.dedup();
                match unique.len() {
                    1 => Some(Require::Any),
                    all if all == groups.len() => Some(Require::All),
                    _ => None,
                }
            }
            "at_least_n_percentage" => {
                let part = options.and_then(|node| node.block().iter().find(|node| node.name == "n"));
                let part = part.and_then(|node| node.word().parse::<f64>().ok());
                // It is down if more than this part of the checks failed.
                part.filter(|part| (0.0..1.0).contains(part)).map(|part| {
                    let may_fail = (part * total as f64).floor() as u64;
                    Require::AtLeast(total.saturating_sub(may_fail).max(1))
                })
            }
            _ => None,
        };
        if let (None, Some(node)) = (require, strategy) {
            report.dropped(node, format!("`require` cannot say `{}` of these checks", node.text()));
        }
        Part { checks: tables, require }
    })
}
