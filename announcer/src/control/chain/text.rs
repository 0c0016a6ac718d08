//! What `announcer chain` prints.
//!
//! Pure.
//!
//! ```text
//! chain: this host is 10.0.1.11
//! RING
//!   IPv4  3 of 4 members, next 10.0.1.12, test packets arrive
//! MEMBER
//!   10.0.1.11  this host   in the ring                 12 announced
//!   10.0.1.12  alive   3d  in the ring                 11 announced, 1 drained
//!   10.0.1.13  dead   12s  not in the ring: it is dead
//! PACKET         IPv4
//!   forwarded    1200  passed on to the next member
//! HEARTBEAT
//!   3  did not count: the HMAC is wrong: the sender has another key
//! warning: …
//! ```

use std::collections::BTreeMap;

use super::plural;
use crate::chain::rules::counters::{ChainCounter, ChainCounters};
use crate::control::api::{ChainMember, ChainReport};
use crate::control::status::{age, columns, cut};

/// The states of VIPs that are listed, and their words for people.
const STATES: [(&str, &str); 5] = [
    ("announced", "announced"),
    ("last_choice", "last choice"),
    ("drained", "drained"),
    ("starting", "starting"),
    ("not_announced", "not announced"),
];

/// The text, without a line feed at its end. Lines are cut to `width` columns; `None`: they are not.
pub fn text(report: &ChainReport, width: Option<usize>) -> String {
    let mut lines = vec![head(report)];
    if !report.rings.is_empty() {
        lines.push("RING".to_owned());
        let listed = report.members.len();
        let rows = report.rings.iter().map(|(family, ring)| {
            let next = ring.next.map_or_else(|| "nobody is next".to_owned(), |next| format!("next {next}"));
            let via = ring.via.filter(|via| ring.next != Some(*via)).map(|via| format!(" at {via}"));
            let members = format!("{} of {listed} members", ring.length);
            let tested = match ring.test_packets.code.as_str() {
                "unknown" => String::new(),
                _ => format!(", {}", ring.test_packets.text),
            };
            vec![name(family).to_owned(), format!("{members}, {next}{}{tested}", via.unwrap_or_default())]
        });
        lines.extend(aligned(&rows.collect::<Vec<_>>(), &[]));
    }
    if !report.members.is_empty() {
        lines.push("MEMBER".to_owned());
        let rows: Vec<Vec<String>> = report.members.iter().map(|member| row(report, member)).collect();
        lines.extend(aligned(&rows, &[2]));
    }
    lines.extend(packets(report));
    if !report.heartbeats_dropped.is_empty() || report.heartbeats_unsent > 0 {
        lines.push("HEARTBEAT".to_owned());
        let dropped = report.heartbeats_dropped.iter();
        let dropped = dropped.map(|one| (one.count, format!("did not count: {}", one.reason.text)));
        let unsent = (report.heartbeats_unsent, "not sent by the kernel".to_owned());
        let rows: Vec<Vec<String>> = dropped
            .chain([unsent])
            .filter(|(count, _)| *count > 0)
            .map(|(count, text)| vec![count.to_string(), text])
            .collect();
        lines.extend(aligned(&rows, &[0]));
    }
    lines.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
    let lines: Vec<String> = lines.iter().map(|line| cut(line.trim_end(), width)).collect();
    lines.join("\n")
}

fn head(report: &ChainReport) -> String {
    let who = match report.own {
        Some(own) => format!("this host is {own}"),
        None => "it does not work here".to_owned(),
    };
    let does = match (report.own.is_some(), report.forward, report.installed, report.off.is_some()) {
        (false, _, _, _) => "",
        (true, false, _, _) => ", heartbeats alone (`forward = false`)",
        (true, true, _, true) => ", forwarding is switched off",
        (true, true, false, false) => ", no rules are installed",
        (true, true, true, false) => "",
    };
    format!("chain: {who}{does}")
}

/// The cells of a member: address, state, since when, in the ring or why not, the states of its VIPs.
fn row(report: &ChainReport, member: &ChainMember) -> Vec<String> {
    let state = if member.this_host { "this host" } else { &member.state };
    let leaves = match member.presence.as_deref() {
        Some("leaving") => ", it leaves",
        Some(_) | None => "",
    };
    let vips = STATES.iter().filter_map(|(state, word)| {
        let count = member.vips.get(*state)?;
        Some(format!("{count} {word}"))
    });
    vec![
        member.address.to_string(),
        state.to_owned(),
        member.lasts.map(age).unwrap_or_default(),
        format!("{}{leaves}", place(report, member)),
        vips.collect::<Vec<_>>().join(", "),
    ]
}

/// Whether a member is in the ring, or why not.
fn place(report: &ChainReport, member: &ChainMember) -> String {
    let reason = |family: &String| member.not_in_ring.get(family).map(|why| why.text.as_str());
    let reasons: BTreeMap<&str, Option<&str>> =
        report.rings.keys().map(|family| (family.as_str(), reason(family))).collect();
    let words = |why: Option<&str>| match why {
        None => "in the ring".to_owned(),
        Some(why) => format!("not in the ring: {why}"),
    };
    let mut different: Vec<Option<&str>> = reasons.values().copied().collect();
    different.dedup();
    match different.as_slice() {
        [] => String::new(),
        [same] => words(*same),
        _ => {
            let each = reasons.iter().map(|(family, why)| format!("{} {}", name(family), words(*why)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The counters, one column for each family whose rules are in the kernel.
fn packets(report: &ChainReport) -> Vec<String> {
    let counted: Vec<(&String, ChainCounters)> =
        report.rings.iter().filter_map(|(family, ring)| Some((family, ring.counters?))).collect();
    if counted.is_empty() {
        return Vec::new();
    }
    let title =
        std::iter::once(String::new()).chain(counted.iter().map(|(family, _)| name(family).to_owned()));
    let rows = ChainCounter::ALL.iter().map(|counter| {
        let cells = counted.iter().map(|(_, counters)| counters.get(*counter).to_string());
        let word = counter.label().replace('_', " ");
        std::iter::once(word).chain(cells).chain([counter.meaning().to_owned()]).collect()
    });
    let rows: Vec<Vec<String>> = std::iter::once(title.collect()).chain(rows).collect();
    let numbers: Vec<usize> = (1..=counted.len()).collect();
    let mut lines = aligned(&rows, &numbers);
    if let Some(title) = lines.first_mut() {
        title.replace_range(..title.len().min(6), "PACKET");
    }
    lines
}

/// A family for people.
fn name(family: &str) -> &str {
    match family {
        "ipv4" => "IPv4",
        "ipv6" => "IPv6",
        other => other,
    }
}

/// Rows as lines, indented by two columns. The columns of `right` end at the same place, the others begin there.
pub(super) fn aligned(rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| columns(cell)).max().unwrap_or(0)
    };
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let pad = " ".repeat(width(column).saturating_sub(columns(cell)));
            if right.contains(&column) { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// `1 VIP`, `2 VIPs`.
pub(super) fn vips(count: usize) -> String {
    format!("{count} VIP{}", plural(count))
}
