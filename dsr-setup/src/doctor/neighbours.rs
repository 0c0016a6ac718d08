//! Findings about who answers for the VIPs on the LAN, and which other programs manage them.
//!
//! Pure. An answer is a packet that was seen, with the Ethernet address that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::addresses::OURS;
use super::code::{Code, Severity};
use super::finding::Finding;
use super::observations::{HostAddress, LinkKind, Mac, NeighbourAnswer, Observations, Question};
use crate::plan::{Sysctl, answering};

/// Addresses that no host of a LAN has (RFC 2544 appendix C.2.2): only a host that answers for all answers for them.
pub const NOBODY: [[u8; 4]; 2] = [[198, 18, 255, 253], [198, 19, 255, 254]];

/// IFA_PROTO of keepalived, which is that of its routes (RTPROT_KEEPALIVED of linux/rtnetlink.h).
const KEEPALIVED: u8 = 18;

/// The programs that manage addresses, by the name of their process.
pub const MANAGERS: [(&str, &str); 6] = [
    ("keepalived", "keepalived"),
    ("kube-vip", "kube-vip"),
    ("speaker", "MetalLB"),
    ("metallb-speaker", "MetalLB"),
    ("ucarp", "ucarp"),
    ("vrrpd", "vrrpd"),
];

/// The findings about neighbours.
pub fn find(seen: &Observations, question: &Question) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Ok(answers) = &seen.answers {
        findings.extend(of_answers(seen, question, answers));
        findings.extend(for_all(question, answers));
    }
    if let Some(settings) = settings(seen, question) {
        // An answer that was seen is what the settings do: it is the same fault.
        match findings.iter_mut().find(|finding| finding.code == Code::ArpAnswered) {
            Some(answered) => answered.evidence.push_str(&format!("; {}", settings.evidence)),
            None => findings.push(settings),
        }
    }
    findings.extend(managers(seen, question));
    findings
}

/// The settings with which the kernel answers ARP for the VIPs on lo, or announces them.
fn settings(seen: &Observations, question: &Question) -> Option<Finding> {
    let is_held = |vip: &&IpAddr| {
        vip.is_ipv4()
            && seen.addresses.iter().any(|held| held.net.addr() == **vip && seen.is_inner(&held.interface))
    };
    let vip = question.vips.iter().find(is_held)?;
    let has_neighbours = |sysctl: &Sysctl| {
        let interface = sysctl.arp().map(|(interface, _)| interface).unwrap_or_default();
        seen.link(interface).is_none_or(|link| link.kind == LinkKind::Ethernet)
    };
    let found: Vec<String> = answering(&seen.arp)
        .iter()
        .filter(|(sysctl, _)| has_neighbours(sysctl))
        .map(|(sysctl, value)| format!("{sysctl} = {value}"))
        .collect();
    if found.is_empty() || !seen.links.iter().any(|link| link.kind == LinkKind::Ethernet) {
        return None;
    }
    let evidence = format!(
        "with these settings, this host answers ARP for the VIPs or announces them: {}",
        found.join(", ")
    );
    Some(Finding::new(Code::ArpAnswered, evidence, question.apply(*vip)))
}

fn of_answers(seen: &Observations, question: &Question, answers: &[NeighbourAnswer]) -> Vec<Finding> {
    let own: BTreeSet<Mac> = seen.links.iter().filter_map(|link| link.mac).collect();
    let of_directors: BTreeSet<Mac> = answers
        .iter()
        .filter(|answer| question.directors.contains(&answer.address))
        .map(|answer| answer.mac)
        .collect();
    let for_vips = answers.iter().filter(|answer| question.vips.contains(&answer.address));
    let unique: BTreeSet<&NeighbourAnswer> = for_vips.collect();
    let mut found = Vec::new();
    for NeighbourAnswer { interface, address: vip, mac } in unique {
        let word = if vip.is_ipv4() { "ARP" } else { "a neighbour solicitation" };
        if own.contains(mac) {
            let evidence =
                format!("this host answered {word} for {vip} by {interface}, with its own address {mac}");
            let repair = question.apply(*vip);
            found.push(Finding::new(Code::ArpAnswered, evidence, repair).of(*vip).at(interface));
        } else if !of_directors.contains(mac) {
            let evidence = format!("{mac} answered {word} for {vip} on {interface}");
            let of = neighbours_with(answers, question, *mac);
            let (evidence, severity) = match question.directors.is_empty() {
                true => (
                    format!(
                        "{evidence}{of}: if that is the director, name its address with `--director`, or in `[dsr] directors` of the configuration"
                    ),
                    Severity::Warning,
                ),
                false => (format!("{evidence}{of}, and it is none of the directors"), Severity::Error),
            };
            let repair = format!(
                "on the host with {mac}: `dsr-setup apply --vip {vip}`, if it is a frontend; otherwise remove {vip} there"
            );
            found.push(
                Finding::new(Code::VipHeldByOther, evidence, repair)
                    .of(*vip)
                    .at(interface)
                    .as_bad_as(severity),
            );
        }
    }
    found
}

/// The other addresses for which this Ethernet address has answered, in brackets.
fn neighbours_with(answers: &[NeighbourAnswer], question: &Question, mac: Mac) -> String {
    let others: BTreeSet<String> = answers
        .iter()
        .filter(|answer| answer.mac == mac && !question.vips.contains(&answer.address))
        .map(|answer| answer.address.to_string())
        .collect();
    if others.is_empty() {
        return String::new();
    }
    let others: Vec<String> = others.into_iter().collect();
    format!(" (it has also answered for {})", others.join(", "))
}

/// One Ethernet address that answers for hosts that do not exist, or for several of the hosts that were asked for.
fn for_all(question: &Question, answers: &[NeighbourAnswer]) -> Vec<Finding> {
    let mut of_mac: BTreeMap<(&str, Mac), BTreeSet<IpAddr>> = BTreeMap::new();
    for answer in answers.iter().filter(|answer| answer.address.is_ipv4()) {
        of_mac.entry((&answer.interface, answer.mac)).or_default().insert(answer.address);
    }
    let mut found = Vec::new();
    for ((interface, mac), addresses) in of_mac {
        let hosts: Vec<&IpAddr> =
            addresses.iter().filter(|address| !question.vips.contains(*address)).collect();
        let is_nobody = |address: &&&IpAddr| NOBODY.iter().any(|nobody| IpAddr::from(*nobody) == ***address);
        if hosts.iter().filter(is_nobody).count() == 0 {
            continue;
        }
        let hosts: Vec<String> = hosts.into_iter().map(IpAddr::to_string).collect();
        let evidence = format!("{mac} on {interface} answered ARP for {}", hosts.join(", "));
        let repair = format!(
            "on the host with {mac}: `sysctl -w net.ipv4.conf.all.proxy_arp=0`, and the same for its interface"
        );
        found.push(Finding::new(Code::OneMacForSeveral, evidence, repair).at(interface));
    }
    found
}

fn managers(seen: &Observations, question: &Question) -> Vec<Finding> {
    let mut found = Vec::new();
    for address in seen.addresses.iter().filter(|address| question.vips.contains(&address.net.addr())) {
        let Some(who) = owner_by_address(address) else { continue };
        let (net, interface) = (address.net, &address.interface);
        let evidence = format!("{net} on {interface} was added by {who}");
        let repair =
            format!("remove {} from the configuration of {who}, or from that of announcer", net.addr());
        found.push(Finding::new(Code::SecondManager, evidence, repair).of(net.addr()).at(interface));
    }
    for process in seen.managers.iter().flatten() {
        let who = MANAGERS.iter().find(|(name, _)| *name == process.name).map_or("it", |(_, who)| who);
        let evidence = format!(
            "the process {} (pid {}) runs in this network namespace: {who} manages addresses, perhaps also a VIP",
            process.name, process.pid
        );
        let repair = format!("look into the configuration of {who}: no VIP of announcer may be in it");
        found.push(Finding::new(Code::SecondManager, evidence, repair).as_bad_as(Severity::Warning));
    }
    found
}

/// Which other program has added an address, by its interface or by its protocol.
fn owner_by_address(address: &HostAddress) -> Option<&'static str> {
    match (address.interface.as_str(), address.protocol) {
        ("kube-ipvs0", _) => Some("kube-proxy"),
        ("kube-vip" | "kube-vip0", _) => Some("kube-vip"),
        (interface, _) if interface.starts_with("vrrp") => Some("keepalived"),
        (_, Some(KEEPALIVED)) => Some("keepalived"),
        (_, Some(OURS)) | (_, None) | (_, Some(_)) => None,
    }
}
