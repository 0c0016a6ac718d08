//! The members of the chain, as the status page shows them.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::control::api::{ChainMember, ChainReport, Status};
use crate::control::status::Severity;

/// The chain on the page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PageChain {
    /// All members, in the order of the list; empty while the chain does not work here.
    members: Vec<ChainMember>,
    /// The next member, by family.
    next: BTreeMap<String, IpAddr>,
    /// The marks of the members.
    marks: BTreeMap<IpAddr, &'static str>,
}

impl PageChain {
    /// From the report, in which the VIPs of this host are not counted: `status` has them.
    pub fn new(report: ChainReport, status: &Status) -> PageChain {
        let next = report.rings.iter().filter_map(|(family, ring)| Some((family.clone(), ring.next?)));
        let next: BTreeMap<String, IpAddr> = next.collect();
        let marks = report.members.iter().map(|member| (member.address, severity(member, &report).mark()));
        let marks = marks.collect();
        let mut members = report.members;
        for own in members.iter_mut().filter(|member| member.this_host) {
            let standings = status.services.iter().flat_map(|service| &service.vips);
            standings.for_each(|vip| *own.vips.entry(vip.standing.clone()).or_default() += 1);
        }
        PageChain { members, next, marks }
    }
}

/// How a member is: of a host that was drained or stops, an operator knows.
fn severity(member: &ChainMember, report: &ChainReport) -> Severity {
    let leaves = matches!(member.presence.as_deref(), Some("leaving" | "left"));
    match member.state.as_str() {
        "left" => Severity::Ordered,
        "alive" | "asked" if leaves || (member.this_host && report.off.is_some()) => Severity::Ordered,
        "alive" | "asked" if member.not_in_ring.is_empty() => Severity::Fine,
        _ => Severity::Warning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::status::OffOrder;
    use crate::control::api::{ReasonStatus, RingReport};
    use crate::control::status::tests::scene;

    fn member(last: u8, state: &str, presence: &str, absent: bool) -> ChainMember {
        let reason = ReasonStatus { code: "dead".into(), text: "it is dead".into() };
        ChainMember {
            address: IpAddr::from([10, 0, 1, last]),
            this_host: last == 11,
            state: state.into(),
            lasts: None,
            since: None,
            last_heartbeat: None,
            in_ring: Vec::new(),
            not_in_ring: absent.then(|| ("ipv4".to_owned(), reason)).into_iter().collect(),
            presence: Some(presence.into()),
            rules: None,
            next_hops: BTreeMap::new(),
            heartbeat_ms: None,
            same_members: None,
            same_services: None,
            vips: BTreeMap::new(),
        }
    }

    fn report(members: Vec<ChainMember>) -> ChainReport {
        let ring = RingReport {
            members: Vec::new(),
            length: 2,
            next: Some(IpAddr::from([10, 0, 1, 12])),
            via: None,
            test_packets: ReasonStatus { code: "good".into(), text: String::new() },
            counters: None,
        };
        let alone = RingReport { next: None, ..ring.clone() };
        ChainReport {
            forward: true,
            own: None,
            off: None,
            installed: true,
            rings: [("ipv4".to_owned(), ring), ("ipv6".to_owned(), alone)].into(),
            members,
            heartbeats_dropped: Vec::new(),
            heartbeats_unsent: 0,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn each_member_has_a_mark_and_this_host_the_vips_of_the_status() {
        for (member, want) in [
            (member(12, "alive", "here", false), "ok"),
            (member(12, "asked", "here", false), "ok"),
            (member(12, "alive", "here", true), "warn"),
            (member(12, "alive", "leaving", false), "drain"),
            (member(12, "left", "left", true), "drain"),
            (member(12, "silent", "here", false), "warn"),
            (member(12, "dead", "here", true), "warn"),
            (member(12, "dead", "leaving", true), "warn"),
            (member(12, "unknown", "here", true), "warn"),
        ] {
            let address = member.address;
            let words = format!("{member:?}");
            let page = PageChain::new(report(vec![member]), &scene());
            assert_eq!(page.marks[&address], want, "{words}");
            assert_eq!(page.next, [("ipv4".to_owned(), address)].into());
            assert!(page.members[0].vips.is_empty());
        }
        let off = OffOrder { reason: String::new(), by: String::new(), at: String::new() };
        let own = vec![member(11, "alive", "here", false)];
        let page = PageChain::new(ChainReport { off: Some(off), ..report(own) }, &scene());
        assert_eq!(page.marks.values().collect::<Vec<_>>(), [&"drain"]);
        let vips: usize = scene().services.iter().map(|service| service.vips.len()).sum();
        assert_eq!(page.members[0].vips.values().sum::<usize>(), vips);
    }
}
