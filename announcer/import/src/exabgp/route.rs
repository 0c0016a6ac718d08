//! Routes in ExaBGP's configuration, which it announces always.

use ipnet::IpNet;

use super::attributes::{communities, extended, large, next_hop, prepend, set_texts};
use super::rows::ROUTE;
use crate::draft::{Draft, Table};
use crate::node::Node;
use crate::report::Report;
use crate::row::read;
use crate::values::{is_host, parsed, prefix};

/// The routes of `static` and `announce` blocks: the node, and its prefix with its attributes as words.
pub(super) fn routes<'n>(nodes: &[&'n Node], report: &mut Report) -> Vec<&'n Node> {
    let mut found = Vec::new();
    for block in nodes {
        // `announce { ipv4 { unicast 192.0.2.0/24 next-hop self; } }`, `static { route 192.0.2.0/24 next-hop self; }`
        for node in block.block() {
            match node.name.as_str() {
                "route" | "unicast" => found.push(node),
                "ipv4" | "ipv6" => {
                    for inner in node.block() {
                        match inner.name.as_str() {
                            "unicast" => found.push(inner),
                            _ => report.dropped(inner, "announcer announces unicast routes alone"),
                        }
                    }
                }
                _ => report.dropped(node, "announcer announces unicast routes of IPv4 and IPv6 alone"),
            }
        }
    }
    found
}

/// The attributes of a route as options: those on its line, and those in its block.
fn attributes(node: &Node) -> Vec<Node> {
    let is_name = |word: &str| ROUTE.rows.iter().any(|row| row.names.contains(&word));
    let mut options: Vec<Node> = Vec::new();
    for word in node.words.iter().skip(1) {
        // A value never has the name of an option.
        if is_name(word) || options.is_empty() {
            options.push(Node {
                name: word.clone(),
                words: Vec::new(),
                place: node.place.clone(),
                children: None,
            });
        } else if let Some(option) = options.last_mut() {
            option.words.push(word.clone());
        }
    }
    options.extend(node.block().iter().cloned());
    options
}

/// The prefix of a route.
pub(super) fn prefix_of(node: &Node) -> Option<IpNet> {
    prefix(node.word())
}

/// Adds a service for a route.
pub(super) fn translate(node: &Node, asn: Option<u64>, draft: &mut Draft, report: &mut Report) {
    let Some(net) = prefix_of(node) else {
        report.dropped(node, format!("`{}` is not a prefix", node.word()));
        return;
    };
    let vip = if is_host(net) { Some(net.addr()) } else { net.hosts().next() };
    let Some(vip) = vip.filter(|vip| !draft.vips().contains(vip)) else {
        report.dropped(node, format!("{net} is announced by a service above, and a VIP has one service"));
        return;
    };
    let mut service = Table::new("[[service]]");
    service.comment(format!("From {}, a route that ExaBGP announces always.", node.place));
    service.set("name", draft.service_name(&format!("static-{}", net.addr())));
    service.set("vips", vec![vip.to_string()]);
    if !is_host(net) {
        service.set("prefix", vec![net.trunc().to_string()]);
        report.missing(
            &node.place,
            &node.name,
            format!("the VIPs in {net}: `vips` has only the first address; write those that clients use"),
        );
    }
    let options = attributes(node);
    read(&ROUTE, &options, report, |reader, report| {
        if let Some(node) = reader.one("next-hop", report) {
            next_hop(node, &mut service, report);
        }
        if let Some(node) = reader.one("origin", report) {
            let origin = node.word().to_lowercase();
            if ["igp", "egp", "incomplete"].contains(&origin.as_str()) {
                service.set("origin", origin);
            } else {
                report.dropped(node, "it is `igp`, `egp` or `incomplete`");
            }
        }
        for (name, key) in [("med", "med"), ("local-preference", "local_pref")] {
            if let Some(node) = reader.one(name, report)
                && let Some(number) = parsed::<u32>(node, "a number", report)
            {
                service.set(key, u64::from(number));
            }
        }
        type Read = fn(&Node, &mut Report) -> Vec<String>;
        let lists: [(&str, &'static str, Read); 3] = [
            ("community", "communities", communities),
            ("extended-community", "extended_communities", extended),
            ("large-community", "large_communities", large),
        ];
        for (name, key, read) in lists {
            if let Some(node) = reader.one(name, report) {
                let texts = read(node, report);
                set_texts(&mut service, key, texts);
            }
        }
        if let Some(node) = reader.one("as-path", report)
            && let Some(times) = prepend(node, asn, report)
            && times > 0
        {
            service.set("prepend", times);
        }
    });
    let mut check = Table::new("[[service.check]]");
    check.comment("Nothing is checked, as with ExaBGP: write a check of the server.");
    check.set("exec", vec!["/bin/true".to_owned()]);
    check.set("interval", "1m");
    check.set("rise", 1);
    service.tables.push(check);
    draft.services.push(service);
}
