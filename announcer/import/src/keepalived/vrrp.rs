//! Instances of VRRP, with the scripts that they track.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Found, checks, rows};
use crate::node::Node;
use crate::report::Report;
use crate::row::read;

/// The scripts that sync groups track, with their weights, by instance.
pub(super) type Tracked = Vec<(String, Option<String>)>;

pub(super) fn sync_groups(nodes: &[&Node], report: &mut Report) -> BTreeMap<String, Tracked> {
    let mut shared: BTreeMap<String, Tracked> = BTreeMap::new();
    for node in nodes {
        read(&rows::SYNC_GROUP, node.block(), report, |reader, _| {
            let tracked: Tracked = reader.all("track_script").into_iter().flat_map(tracked).collect();
            for group in reader.all("group") {
                let names = group.block().iter().map(|node| node.name.clone()).chain(group.words.clone());
                for name in names {
                    shared.entry(name).or_default().extend(tracked.iter().cloned());
                }
            }
        });
    }
    shared
}

/// The scripts of a `track_script` block, with their weights.
fn tracked(node: &Node) -> Tracked {
    let weight = |node: &Node| {
        let mut words = node.words.iter().skip_while(|word| *word != "weight");
        words.next()?;
        words.next().cloned()
    };
    node.block().iter().map(|node| (node.name.clone(), weight(node))).collect()
}

/// Translates an instance of VRRP.
pub(super) fn instance(
    node: &Node,
    scripts: &BTreeMap<String, &Node>,
    shared: &Tracked,
    used: &mut Vec<String>,
    report: &mut Report,
) -> Option<Found> {
    read(&rows::INSTANCE, node.block(), report, |reader, report| {
        let mut vips = Vec::new();
        for list in [reader.all("virtual_ipaddress"), reader.all("virtual_ipaddress_excluded")].concat() {
            for line in list.block() {
                match line.name.split('/').next().and_then(|address| address.parse::<IpAddr>().ok()) {
                    Some(vip) => {
                        vips.push(vip);
                        address_options(line, report);
                    }
                    None => report.dropped(line, "it is not an address"),
                }
            }
        }
        let state = reader.one("state", report);
        let nopreempt = reader.one("nopreempt", report);
        let backup = state.is_some_and(|state| state.word() == "BACKUP") && nopreempt.is_none();
        if let Some(node) = nopreempt {
            report.differs(
                node,
                "there is no election: each host that is healthy announces the VIP, and routers use all",
            );
        }
        if let Some(node) = reader.one("priority", report) {
            match state {
                Some(_) => report.unneeded(node, "`state` says whether this host is the first choice"),
                None => report.dropped(
                    node,
                    "the order of several hosts is `backup = true` or a `med` of each, which this file alone does not say",
                ),
            }
        }
        let mut checks = Vec::new();
        let own: Tracked = reader.all("track_script").into_iter().flat_map(tracked).collect();
        for (name, weight) in own.iter().chain(shared) {
            match scripts.get(name) {
                Some(script) => {
                    used.push(name.clone());
                    checks.extend(checks::script(script, weight.as_deref(), report));
                }
                None => report.dropped(node, format!("it tracks `{name}`, which is not there")),
            }
        }
        if vips.is_empty() {
            report.dropped(node, "it has no `virtual_ipaddress`");
            return None;
        }
        let title = node.text();
        let mut comments = vec![format!("From {}, `vrrp_instance {title}`.", node.place)];
        if backup {
            comments.push(
                "It is the backup: announced as the last choice while other hosts announce the VIP."
                    .to_owned(),
            );
        }
        Some(Found { name: title, comments, vips, checks, require: None, backup })
    })
}

/// Reports what an address has besides itself.
fn address_options(line: &Node, report: &mut Report) {
    let (_, length) = line.name.split_once('/').unwrap_or((&line.name, ""));
    let is_host = ["", "32", "128"].contains(&length);
    if !is_host {
        report.differs(
            line,
            "announcer has the VIP on lo, as one address: it has to be outside of the networks of the host's links, because \
             neighbors there would look for it by ARP",
        );
    }
    let mut words = line.words.iter();
    while let Some(word) = words.next() {
        let value = words.next();
        match (word.as_str(), value.map(String::as_str)) {
            ("dev" | "label" | "scope" | "brd" | "peer" | "metric" | "preferred_lft", _) => {}
            _ => report.dropped(line, format!("announcer does not know `{word}` of an address")),
        }
    }
}
