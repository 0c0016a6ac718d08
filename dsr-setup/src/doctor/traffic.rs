//! Findings about packets on their way through this host: the packet filter, the table of connections, and what was captured.
//!
//! Pure.

use std::net::IpAddr;

use super::code::{Code, Severity};
use super::finding::Finding;
use super::nft::{Arriving, Fate, PacketKind, Ruleset};
use super::observations::{Capture, Observations, Question};
use super::server::USUAL_PORTS;

/// How full the table of connections may be, in percent.
const NEARLY_FULL: u64 = 90;

/// The findings about packets.
pub fn find(seen: &Observations, question: &Question) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Ok(ruleset) = &seen.ruleset {
        for vip in &question.vips {
            findings.extend(of_filter(seen, question, ruleset, *vip));
        }
    }
    findings.extend(conntrack(seen));
    if let Some(Ok(capture)) = &seen.capture {
        findings.extend(question.vips.iter().filter_map(|vip| captured(capture, *vip)));
    }
    findings
}

fn of_filter(seen: &Observations, question: &Question, ruleset: &Ruleset, vip: IpAddr) -> Vec<Finding> {
    let ports: Vec<u16> = match question.ports.get(&vip) {
        Some(ports) if !ports.is_empty() => ports.iter().copied().collect(),
        Some(_) | None => USUAL_PORTS.into(),
    };
    let arrival = seen.arrival(question);
    let drop_of = |kind: PacketKind| {
        arrival.iter().find_map(|interface| match ruleset.fate(Arriving { to: vip, kind, interface }) {
            Fate::Dropped(rule) => Some((rule, *interface)),
            Fate::NotDropped => None,
        })
    };
    // Without named ports, one of the usual ones is enough.
    let is_named = question.ports.get(&vip).is_some_and(|ports| !ports.is_empty());
    let dropped: Vec<(u16, (String, &str))> =
        ports.iter().filter_map(|port| Some((*port, drop_of(PacketKind::Syn(*port))?))).collect();
    let mut found = Vec::new();
    if let Some((port, (rule, interface))) =
        dropped.first().filter(|_| is_named || dropped.len() == ports.len())
    {
        let evidence =
            format!("connections to {vip} port {port} that arrive by {interface} are dropped by {rule}");
        let family = if vip.is_ipv4() { "ip" } else { "ip6" };
        let repair = format!(
            "before it, `nft insert rule … {family} daddr {vip} tcp dport {port} accept`, or remove the rule"
        );
        found.push(Finding::new(Code::FirewallDropsVip, evidence, repair).of(vip).at(interface));
    }
    if let Some((rule, interface)) = drop_of(PacketKind::TooBig) {
        let (what, accept) = match vip.is_ipv4() {
            true => ("ICMP errors (type 3, code 4)", "icmp type destination-unreachable"),
            false => ("ICMPv6 errors (type 2)", "icmpv6 type packet-too-big"),
        };
        let evidence = format!("{what} to {vip} that arrive by {interface} are dropped by {rule}");
        let repair = format!("before it, `nft insert rule … {accept} accept`, or remove the rule");
        found.push(Finding::new(Code::FirewallDropsIcmp, evidence, repair).of(vip).at(interface));
    }
    let passing = ports.iter().find(|port| !dropped.iter().any(|(of, _)| of == *port));
    if let Some((rule, interface)) = passing.and_then(|port| drop_of(PacketKind::Invalid(*port))) {
        let evidence = format!(
            "packets to {vip} of the state `invalid` that arrive by {interface} are dropped by {rule}: a flow that moves to this host hangs"
        );
        let repair = "exempt the VIPs: before it, a rule that accepts packets to them".to_owned();
        found.push(Finding::new(Code::InvalidDropped, evidence, repair).of(vip).at(interface));
    }
    found
}

fn conntrack(seen: &Observations) -> Option<Finding> {
    let state = seen.conntrack?;
    let is_nearly_full =
        state.max > 0 && state.count.saturating_mul(100) >= state.max.saturating_mul(NEARLY_FULL);
    is_nearly_full.then(|| {
        let evidence = format!(
            "the table of connections has {} entries (nf_conntrack_count), and at most {} (nf_conntrack_max)",
            state.count, state.max
        );
        let repair = format!(
            "`sysctl -w net.netfilter.nf_conntrack_max={}`, or `notrack` for the VIPs",
            state.max.saturating_mul(2)
        );
        let severity = if state.count >= state.max { Severity::Error } else { Severity::Warning };
        Finding::new(Code::ConntrackFull, evidence, repair).as_bad_as(severity)
    })
}

fn captured(capture: &Capture, vip: IpAddr) -> Option<Finding> {
    let traffic = capture.traffic.get(&vip).copied().unwrap_or_default();
    let seconds = capture.seconds;
    if traffic.arrived == 0 {
        let evidence = format!("no packet for {vip} arrived within {seconds} s");
        let repair = format!(
            "`announcer explain {vip}` shows whether it is announced; on the router, `ip route get {vip}` has to lead here"
        );
        return Some(Finding::new(Code::NoPacket, evidence, repair).of(vip));
    }
    (traffic.opened > 0 && traffic.answered == 0).then(|| {
        let evidence = format!(
            "within {seconds} s, {} SYN packets for {vip} arrived, and none was answered",
            traffic.opened
        );
        let repair = "look at the other findings; without one, `nstat -az` shows the counter that rises with each of them";
        Finding::new(Code::SynUnanswered, evidence, repair).of(vip)
    })
}
