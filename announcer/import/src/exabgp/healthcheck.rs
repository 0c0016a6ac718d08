//! A healthcheck of ExaBGP as services.

use std::net::IpAddr;

use ipnet::IpNet;

use super::attributes::{at_most, communities, extended, large, next_hop, prepend, set_texts};
use super::options::HEALTHCHECK;
use crate::draft::{Draft, Table};
use crate::node::{Node, Place};
use crate::report::Report;
use crate::row::{Reader, read};
use crate::values::{
    FALL, INTERVAL, RISE, TIMEOUT, fast_interval, is_host, name, parsed, parsed_seconds, prefix, shell, time,
};
use crate::{Given, curl};

/// The most addresses of a network that become VIPs.
const MOST: u128 = 32;

/// What the healthcheck has to know of the rest.
pub(super) struct Around<'a> {
    /// The name of its process, or of its file.
    pub(super) name: &'a str,
    /// Where it is.
    pub(super) place: &'a Place,
    /// What it is, for a comment.
    pub(super) origin: String,
    /// What the user has given.
    pub(super) given: &'a Given,
    /// Our AS, if it is known.
    pub(super) asn: Option<u64>,
}

/// How a service is announced while its checks pass, and while they fail.
struct Announcing {
    service: Table,
    deprefer: Option<Table>,
    up_metric: u64,
    down_metric: u64,
    increase: u64,
}

/// Translates a healthcheck. It becomes several services if its addresses have different MEDs. Returns its name.
pub(super) fn translate(
    nodes: &[Node],
    around: &Around<'_>,
    draft: &mut Draft,
    report: &mut Report,
) -> String {
    read(&HEALTHCHECK, nodes, report, |reader, report| {
        // The caller has read its file.
        reader.all("config");
        let own_name = reader.one("name", report).map_or(around.name.to_owned(), Node::text);
        let groups = groups(reader, &own_name, around, draft, report);
        let announcing = announcing(reader, around, draft, report);
        let checks = checks(reader, announcing.deprefer.is_some(), report);
        let several = groups.len() > 1;
        for (index, Group { vips, prefix, first }) in groups.into_iter().enumerate() {
            let mut service = announcing.service.clone();
            if index == 0 {
                service.comment(format!("From {}, {}.", around.place, around.origin));
            }
            let suffix = prefix.map(|prefix| prefix.addr()).or(vips.first().copied());
            let text = match suffix {
                Some(address) if several => format!("{own_name}-{address}"),
                _ => own_name.clone(),
            };
            service.set("name", draft.service_name(&text));
            if let Some(prefix) = prefix {
                service.set_second("prefix", vec![prefix.to_string()]);
            }
            if vips.is_empty() {
                service.comment_after("vips = […]");
            } else {
                service.set_second("vips", vips.iter().map(ToString::to_string).collect::<Vec<_>>());
            }
            let step = announcing.increase.saturating_mul(first);
            let med = |metric: u64| metric.saturating_add(step).min(u64::from(u32::MAX));
            service.set("med", med(announcing.up_metric));
            if let Some(mut deprefer) = announcing.deprefer.clone() {
                deprefer.set("med", med(announcing.down_metric));
                service.tables.push(deprefer);
            }
            service.tables.extend(checks.iter().cloned());
            draft.services.push(service);
        }
        own_name
    })
}

/// Addresses that are announced alike.
struct Group {
    vips: Vec<IpAddr>,
    prefix: Option<IpNet>,
    /// The place of the first address among all addresses of the healthcheck.
    first: u64,
}

fn groups(
    reader: &mut Reader<'_>,
    own_name: &str,
    around: &Around<'_>,
    draft: &Draft,
    report: &mut Report,
) -> Vec<Group> {
    let mut prefixes: Vec<(&Node, IpNet)> = Vec::new();
    for node in reader.all("ip") {
        match prefix(node.word()) {
            Some(prefix) => prefixes.push((node, prefix)),
            None => report.dropped(node, format!("`{}` is not an address or a network", node.text())),
        }
    }
    for node in reader.all("ip-ifname") {
        let (address, interface) = node.word().split_once('%').unwrap_or((node.word(), "lo"));
        match prefix(address) {
            Some(prefix) => prefixes.push((node, prefix)),
            None => report.dropped(node, format!("`{}` is not an address or a network", node.text())),
        }
        if interface != "lo" {
            report.differs(node, format!("the VIP has to be on lo; take it from {interface}"));
        }
    }
    let label = reader.one("label", report);
    let deaggregate = reader.one("deaggregate-networks", report).is_some();
    if let Some(node) = reader.one("no-ip-setup", report) {
        report
            .differs(node, "announcer puts a VIP on lo if it is missing there, and leaves one that is there");
    }
    let given = around.given.vips.iter().filter(|(service, _)| name(service) == name(own_name));
    let given: Vec<IpAddr> = given.flat_map(|(_, vips)| vips).copied().collect();
    let skip = reader.one("start-ip", report);
    let skip = skip.and_then(|node| parsed::<usize>(node, "a number", report)).unwrap_or(0);
    let increase = reader.all("increase");
    // `announcing` reads its value.
    let steps = increase.last().is_none_or(|node| node.word() != "0");
    if prefixes.is_empty() {
        if given.is_empty() {
            let (place, option, with) = match label {
                Some(label) => (&label.place, "label", format!(" with the label lo:{}", label.text())),
                None => (around.place, "ip", String::new()),
            };
            let own_name = name(own_name);
            report.missing(
                place,
                option,
                format!(
                    "ExaBGP announces the addresses on lo{with}, which `ip address show dev lo` lists: give them by \
                     `--vips {own_name}=ADDRESS,…`"
                ),
            );
            return vec![Group { vips: Vec::new(), prefix: None, first: 0 }];
        }
    } else if let Some(label) = label {
        report
            .unneeded(label, "announcer marks the addresses that it puts on lo by IFA_PROTO, not by a label");
    }
    let taken = draft.vips();
    let mut all: Vec<(IpAddr, Option<IpNet>)> = given.into_iter().map(|vip| (vip, None)).collect();
    let mut kept: Vec<(Vec<IpAddr>, Option<IpNet>)> = Vec::new();
    for (node, net) in prefixes {
        let hosts = hosts(net);
        let (vips, prefix) = if is_host(net) {
            (vec![net.addr()], None)
        } else if deaggregate && !hosts.is_empty() {
            (hosts, None)
        } else if !hosts.is_empty() {
            (hosts, Some(net.trunc()))
        } else {
            report.missing(
                &node.place,
                &node.name,
                format!("the VIPs in {net}: `vips` has only the first address; write those that clients use"),
            );
            (net.hosts().take(1).collect(), Some(net.trunc()))
        };
        let mut seen = kept.iter().flat_map(|(vips, _)| vips).chain(all.iter().map(|(vip, _)| vip));
        if vips.iter().any(|vip| taken.contains(vip) || seen.any(|other| other == vip)) {
            report.dropped(
                node,
                format!(
                    "{net} is announced by a service above, and a VIP has one service; if only the next hop differs, `next_hop_v4` and \
                     `next_hop_v6` of `[[peer]]` say it"
                ),
            );
            continue;
        }
        if prefix.is_some() {
            kept.push((vips, prefix));
        } else {
            all.extend(vips.into_iter().map(|vip| (vip, None)));
            kept.extend(all.drain(..).map(|(vip, prefix)| (vec![vip], prefix)));
        }
    }
    kept.extend(all.into_iter().map(|(vip, prefix)| (vec![vip], prefix)));
    if !kept.is_empty() {
        let by = skip % kept.len();
        kept.rotate_left(by);
    }
    let mut groups: Vec<Group> = Vec::new();
    for (first, (vips, prefix)) in (0..).zip(kept) {
        match groups.iter_mut().find(|group| !steps && group.prefix.is_none() && prefix.is_none()) {
            Some(group) => group.vips.extend(vips),
            None => groups.push(Group { vips, prefix, first }),
        }
    }
    groups
}

/// The addresses of a network, the first and the last included, as ExaBGP puts them on lo; none if they are too many.
fn hosts(net: IpNet) -> Vec<IpAddr> {
    let bits = net.max_prefix_len().saturating_sub(net.prefix_len());
    if 1_u128.checked_shl(bits.into()).is_none_or(|count| count > MOST) {
        return Vec::new();
    }
    net.trunc()
        .subnets(net.max_prefix_len())
        .map(|all| all.map(|one| one.addr()).collect())
        .unwrap_or_default()
}

fn metric<'n>(
    reader: &mut Reader<'n>,
    name: &str,
    default: u64,
    report: &mut Report,
) -> (Option<&'n Node>, u64) {
    let node = reader.one(name, report);
    (node, node.and_then(|node| parsed::<u32>(node, "a MED", report)).map_or(default, u64::from))
}

/// An option in seconds, in milliseconds.
fn milliseconds<'n>(
    reader: &mut Reader<'n>,
    name: &str,
    default: u64,
    report: &mut Report,
) -> (Option<&'n Node>, u64) {
    let node = reader.one(name, report);
    (node, node.and_then(|node| parsed_seconds(node, report)).unwrap_or(default))
}

/// `rise` or `fall`. ExaBGP treats everything below 1 as 1.
fn count<'n>(reader: &mut Reader<'n>, name: &str, report: &mut Report) -> (Option<&'n Node>, u64) {
    let node = reader.one(name, report);
    let number = node.and_then(|node| parsed::<i64>(node, "a number", report)).unwrap_or(3);
    (node, u64::try_from(number).unwrap_or(1).max(1))
}

fn announcing(
    reader: &mut Reader<'_>,
    around: &Around<'_>,
    draft: &Draft,
    report: &mut Report,
) -> Announcing {
    let mut service = Table::new("[[service]]");
    // The first keys of the table, in the order in which they are read.
    service.set("name", "");
    let (_, up_metric) = metric(reader, "up-metric", 100, report);
    let (down_node, down_metric) = metric(reader, "down-metric", 1000, report);
    let (disabled_node, disabled_metric) = metric(reader, "disabled-metric", 500, report);
    let (_, increase) = metric(reader, "increase", 1, report);
    if let Some(node) = reader.one("local-preference", report)
        && let Some(preference) = parsed::<i64>(node, "a number", report)
        && let Ok(preference) = u64::try_from(preference)
    {
        service.set("local_pref", preference.min(u32::MAX.into()));
    }
    if let Some(node) = reader.one("next-hop", report) {
        next_hop(node, &mut service, report);
    }
    let community = reader.one("community", report).map(|node| communities(node, report)).unwrap_or_default();
    set_texts(&mut service, "communities", community.clone());
    if let Some(node) = reader.one("extended-community", report) {
        set_texts(&mut service, "extended_communities", extended(node, report));
    }
    if let Some(node) = reader.one("large-community", report) {
        set_texts(&mut service, "large_communities", large(node, report));
    }
    let any = reader.one("as-path", report);
    let up = reader.one("up-as-path", report);
    let up = up.or(any).and_then(|node| prepend(node, around.asn, report)).unwrap_or(0);
    if up > 0 {
        service.set("prepend", up.min(10));
    }
    path_id_and_neighbors(reader, &mut service, draft, report);
    let withdraw = reader.one("withdraw-on-down", report).is_some();
    let down_path = reader.one("down-as-path", report);
    let disabled_path = reader.one("disabled-as-path", report);
    let disabled_community = reader.one("disabled-community", report);
    if withdraw {
        service.set("on_failure", "withdraw");
        let unused = [down_node, disabled_node, down_path, disabled_path, disabled_community];
        for node in unused.into_iter().flatten() {
            report.unneeded(node, "the route is withdrawn in this state");
        }
        return Announcing { service, deprefer: None, up_metric, down_metric, increase };
    }
    service.set("on_failure", "deprefer");
    let mut deprefer = Table::new("[service.deprefer]");
    deprefer.comment(
        "While the checks fail, ExaBGP announces the route with another MED; `on_failure = \"withdraw\"` would withdraw it. \
         Routers compare MEDs only between routes from the same AS, and then not in ECMP: a `prepend` here works always.",
    );
    let down = down_path.or(any).and_then(|node| prepend(node, around.asn, report));
    if let (Some(node), Some(times)) = (down_path, down)
        && times < up
    {
        report.differs(
            node,
            "announcer never makes the path of a VIP whose checks fail shorter; it stays as it is",
        );
    }
    deprefer.set("prepend", down.map_or(0, |down| down.saturating_sub(up)).min(10));
    let preference = match service.get("local_pref") {
        Some(crate::draft::Value::Number(preference)) => *preference,
        _ => 100,
    };
    deprefer.set("local_pref", preference);
    if let Some(node) = disabled_community {
        let added = communities(node, report);
        if community.iter().any(|one| !added.contains(one)) {
            report.differs(
                node,
                "these communities are added to those of `community`, and do not replace them",
            );
        }
        set_texts(&mut deprefer, "communities", at_most(16, added, node, report));
    }
    if let Some(node) = disabled_path {
        let same = down_path.is_some_and(|down| down.list() == node.list());
        if !same {
            report.dropped(node, "a VIP that is taken out of service is announced as one whose checks fail");
        }
    }
    match disabled_node {
        Some(node) if disabled_metric != down_metric => report.dropped(
            node,
            "a VIP that is taken out of service is announced as one whose checks fail, with `down-metric`",
        ),
        Some(_) | None => {}
    }
    Announcing { service, deprefer: Some(deprefer), up_metric, down_metric, increase }
}

fn path_id_and_neighbors(reader: &mut Reader<'_>, service: &mut Table, draft: &Draft, report: &mut Report) {
    if let Some(node) = reader.one("path-id", report)
        && node.word() != "0"
    {
        report.dropped(node, "announcer has no ADD-PATH");
    }
    let neighbors = reader.all("neighbor");
    let mut names = Vec::new();
    for node in neighbors {
        match draft.peers.iter().find(|peer| peer.text("address") == node.word()) {
            Some(peer) => names.push(peer.text("name").to_owned()),
            None => {
                report.dropped(node, "there is no peer with this address: write the right names in `peers`")
            }
        }
    }
    set_texts(service, "peers", names);
}

/// The checks, of which all have to pass.
fn checks(reader: &mut Reader<'_>, deprefers: bool, report: &mut Report) -> Vec<Table> {
    let (interval_node, interval) = milliseconds(reader, "interval", 5000, report);
    let (fast_node, fast) = milliseconds(reader, "fast-interval", 1000, report);
    let (timeout_node, timeout) = milliseconds(reader, "timeout", 5000, report);
    let interval = match interval_node {
        Some(node) if interval == 0 => {
            report.dropped(node, "announcer checks as long as it runs; `5s` stands here");
            5000
        }
        node => INTERVAL.fit(interval, node, report),
    };
    let fast = fast_interval(fast, interval, fast_node, report);
    let timeout = if timeout == 0 { u64::MAX } else { timeout };
    let timeout = TIMEOUT.fit(timeout, timeout_node, report);
    let (rise_node, rise) = count(reader, "rise", report);
    let (fall_node, fall) = count(reader, "fall", report);
    let (rise, fall) = (RISE.fit(rise, rise_node, report), FALL.fit(fall, fall_node, report));
    if let Some(user) = reader.one("user", report) {
        report.differs(
            user,
            "the program of a check runs as the daemon's user; `user` of the check is possible only if that is root",
        );
    }
    let mut checks = Vec::new();
    reader.all("cmd");
    let command = reader.one("command", report);
    let disable = reader.one("disable", report);
    let mut check = Table::new("[[service.check]]");
    match command {
        Some(command) => {
            if let Some(proposal) = curl::proposal(&command.text()) {
                check.comment(format!(
                    "announcer can ask by itself, without a program, and then notices at once that the server no longer listens{}: \
                     {proposal}",
                    if deprefers { ", and withdraws" } else { "" }
                ));
            }
            check.set("exec", shell(&command.text()));
        }
        None if disable.is_none() => {
            check.comment("ExaBGP has no `command` here, and announces always.");
            check.set("exec", vec!["/bin/true".to_owned()]);
        }
        None => {}
    }
    if check.get("exec").is_some() {
        check.set("interval", time(interval));
        if fast != interval {
            check.set("fast_interval", time(fast));
        }
        check.set("timeout", time(timeout));
        check.set("rise", rise);
        check.set("fall", fall);
        checks.push(check);
    }
    if let Some(node) = disable {
        let mut check = Table::new("[[service.check]]");
        let file = node.text();
        check.comment(format!(
            "It fails while {file} exists. `announcer drain` does this too, also across a restart."
        ));
        check.set("name", "disable");
        let test = ["/usr/bin/test", "!", "-e", file.as_str()];
        check.set("exec", test.map(str::to_owned).to_vec());
        check.set("interval", time(interval));
        check.set("rise", 1);
        check.set("fall", 1);
        checks.push(check);
    }
    checks
}
