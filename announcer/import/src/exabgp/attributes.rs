//! The attributes of ExaBGP's routes, as keys of a service.

use std::net::IpAddr;

use crate::draft::Table;
use crate::node::Node;
use crate::report::Report;
use crate::values::parsed;

/// The names of well-known communities that both have.
const NAMED: &[&str] = &["no-export", "no-advertise", "no-peer", "blackhole", "graceful-shutdown"];

/// Communities, as announcer has them.
pub(super) fn communities(node: &Node, report: &mut Report) -> Vec<String> {
    let mut kept = Vec::new();
    for word in node.list() {
        let word = word.to_lowercase().replace('_', "-");
        let halves: Vec<Option<u16>> = word.split(':').map(|half| half.parse().ok()).collect();
        match (word.as_str(), halves.as_slice()) {
            ("no-export-sub-confed" | "no-export-subconfed", _) => {
                kept.push("no-export-subconfed".to_owned())
            }
            (name, _) if NAMED.contains(&name) => kept.push(word),
            (_, [Some(_), Some(_)]) => kept.push(word),
            (_, _) => report.dropped(node, format!("`{word}` is no community that announcer knows")),
        }
    }
    at_most(255, kept, node, report)
}

/// The first texts. A note says which others there are.
pub(super) fn at_most(most: usize, mut texts: Vec<String>, node: &Node, report: &mut Report) -> Vec<String> {
    texts.dedup();
    if texts.len() > most {
        let left = texts.split_off(most);
        report.dropped(node, format!("there are at most {most}; left out: {}", left.join(" ")));
    }
    texts
}

/// Extended communities, as announcer has them.
pub(super) fn extended(node: &Node, report: &mut Report) -> Vec<String> {
    let mut kept = Vec::new();
    for word in node.list() {
        let translated = match word.split_once(':') {
            Some(("target", rest)) => Some(format!("rt:{rest}")),
            Some(("origin", rest)) => Some(format!("soo:{rest}")),
            Some(_) | None => None,
        };
        let is_right = |text: &String| {
            let mut parts = text.split(':').skip(1);
            let (admin, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let number: Option<u32> = value.parse().ok();
            // With an address or an AS of four octets, two octets are left for the number.
            let wide = admin.parse::<std::net::Ipv4Addr>().is_ok()
                || admin.parse::<u32>().is_ok_and(|asn| asn > 65_535);
            let narrow = admin.parse::<u16>().is_ok();
            parts.next().is_none() && number.is_some_and(|number| narrow || wide && number <= 65_535)
        };
        match translated.filter(is_right) {
            Some(text) => kept.push(text),
            None => report.dropped(node, format!("`{word}` is no extended community that announcer knows")),
        }
    }
    at_most(31, kept, node, report)
}

/// Large communities, as announcer has them.
pub(super) fn large(node: &Node, report: &mut Report) -> Vec<String> {
    let (right, wrong): (Vec<String>, Vec<String>) = node.list().into_iter().partition(|word| {
        let parts: Vec<Option<u32>> = word.split(':').map(|part| part.parse().ok()).collect();
        matches!(parts.as_slice(), [Some(_), Some(_), Some(_)])
    });
    for word in wrong {
        report.dropped(node, format!("`{word}` is no large community"));
    }
    at_most(64, right, node, report)
}

/// How many more times than once the path has our AS; none, with a note, if it has another AS.
pub(super) fn prepend(node: &Node, asn: Option<u64>, report: &mut Report) -> Option<u64> {
    let path: Vec<Option<u64>> = node.list().iter().map(|word| word.parse().ok()).collect();
    let Some(asn) = asn else {
        report.dropped(node, "whether the path consists of this host's AS is not known: give it by `--asn`");
        return None;
    };
    let length = u64::try_from(path.len()).unwrap_or(u64::MAX);
    if path.iter().any(|member| *member != Some(asn)) || !(1..=11).contains(&length) {
        report.dropped(
            node,
            format!(
                "announcer's paths have only its own AS, {asn}, 1 to 11 times; here is `{}`",
                node.text()
            ),
        );
        return None;
    }
    Some(length - 1)
}

/// Sets the next hop, unless it is `self`.
pub(super) fn next_hop(node: &Node, service: &mut Table, report: &mut Report) {
    if node.word() == "self" {
        return;
    }
    let Some(address) = parsed::<IpAddr>(node, "an address", report) else { return };
    service.set("next_hop", vec![address.to_string()]);
}

/// Sets `key` to these texts, unless there are none.
pub(super) fn set_texts(service: &mut Table, key: &'static str, texts: Vec<String>) {
    if !texts.is_empty() {
        service.set(key, texts);
    }
}
