//! Findings about the VIPs as addresses of this host.
//!
//! Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use super::code::Code;
use super::finding::Finding;
use super::observations::{HostAddress, LinkKind, Observations, Question};

/// IFA_PROTO of announcer and dsr-setup.
pub const OURS: u8 = 0xb6;

/// The findings about addresses.
pub fn find(seen: &Observations, question: &Question) -> Vec<Finding> {
    let mut findings: Vec<Finding> = device(seen, question).into_iter().collect();
    for vip in &question.vips {
        let held: Vec<&HostAddress> =
            seen.addresses.iter().filter(|address| address.net.addr() == *vip).collect();
        if held.is_empty() {
            findings.push(missing(question, *vip));
            continue;
        }
        findings.extend(held.iter().flat_map(|address| of_one(seen, question, address)));
        findings.extend(connected(seen, question, *vip));
    }
    if question.is_complete {
        findings.extend(left_over(seen, question));
    }
    findings
}

/// `lo`, or the other device of the VIPs, is down.
fn device(seen: &Observations, question: &Question) -> Option<Finding> {
    let device =
        seen.link(question.device.as_deref().unwrap_or(crate::LOOPBACK)).filter(|device| !device.is_up)?;
    let name = &device.name;
    let evidence = format!("{name} is down: no address on it answers");
    Some(Finding::new(Code::LoDown, evidence, format!("`ip link set {name} up`")).at(name))
}

fn missing(question: &Question, vip: IpAddr) -> Finding {
    let evidence = format!("{vip} is on no interface of this host");
    Finding::new(Code::VipMissing, evidence, question.apply(vip)).of(vip)
}

/// The findings about one address that has a VIP.
fn of_one(seen: &Observations, question: &Question, address: &HostAddress) -> Vec<Finding> {
    let HostAddress { net, interface, .. } = address;
    let vip = net.addr();
    let again = format!("`ip address del {net} dev {interface}`, then {}", question.apply(vip));
    let finding =
        |code, evidence: String, repair: String| Finding::new(code, evidence, repair).of(vip).at(interface);
    let mut found = Vec::new();
    if address.is_dadfailed {
        found.push(finding(
            Code::VipDadfailed,
            format!(
                "{net} on {interface} has the flag dadfailed: another host answered for it, and this host does not use it"
            ),
            again.clone(),
        ));
    } else if address.is_tentative {
        found.push(finding(
            Code::VipTentative,
            format!("{net} on {interface} has the flag tentative: this host does not answer for it yet"),
            again.clone(),
        ));
    }
    if seen.link(interface).is_some_and(|link| link.kind == LinkKind::Ethernet) {
        let protocol = if vip.is_ipv4() { "ARP" } else { "neighbour solicitations" };
        found.push(finding(
            Code::VipOnOtherInterface,
            format!("{net} is on {interface}, by which this host answers {protocol} for it"),
            again.clone(),
        ));
    } else if let Some(device) = question.device.as_ref().filter(|device| *device != interface) {
        let is_on_both =
            seen.addresses.iter().any(|other| other.net.addr() == vip && other.interface == *device);
        let (evidence, repair) = match is_on_both {
            true => (
                format!("{net} is on {interface} as well as on {device}"),
                format!("`ip address del {net} dev {interface}`"),
            ),
            false => (format!("{net} is on {interface}, and not on {device}"), again),
        };
        found.push(finding(Code::VipOnOtherInterface, evidence, repair));
    } else if net.prefix_len() != net.max_prefix_len() {
        found.push(finding(
            Code::VipPrefixLength,
            format!(
                "{net} is on {interface}: the prefix length is {} in place of {}, and this host takes all of {} for its own",
                net.prefix_len(),
                net.max_prefix_len(),
                net.trunc()
            ),
            again,
        ));
    }
    found
}

/// The VIP lies in the subnet of an interface to other hosts. A director there answers for it, which is right.
fn connected(seen: &Observations, question: &Question, vip: IpAddr) -> Option<Finding> {
    let subnet = |address: &&HostAddress| {
        let other = address.net.addr() != vip && address.net.prefix_len() < address.net.max_prefix_len();
        let is_link_local = matches!(address.net.addr(), IpAddr::V6(v6) if v6.is_unicast_link_local());
        other && !is_link_local && !address.has_no_prefix_route && address.net.contains(&vip)
    };
    let address = seen.addresses.iter().filter(|address| !seen.is_inner(&address.interface)).find(subnet)?;
    let network = address.net.trunc();
    if question.directors.iter().any(|director| network.contains(director)) {
        return None;
    }
    let evidence = format!(
        "{vip} lies in {network}, the subnet of {}: hosts there ask for it by {} and do not send to a router",
        address.interface,
        if vip.is_ipv4() { "ARP" } else { "ND" }
    );
    let repair = format!(
        "take a VIP from another network; if a director in {network} answers for it, name the director with `--director`"
    );
    Some(Finding::new(Code::VipInConnectedSubnet, evidence, repair).of(vip).at(&address.interface))
}

/// Addresses of ours that the configuration does not name.
fn left_over(seen: &Observations, question: &Question) -> Vec<Finding> {
    let ours = seen.addresses.iter().filter(|address| address.protocol == Some(OURS));
    let is_named = |vip: &IpAddr| question.vips.contains(vip) || question.others.contains(vip);
    let others = ours.filter(|address| !is_named(&address.net.addr()));
    let finding = |address: &HostAddress| {
        let (net, vip) = (IpNet::from(address.net.addr()), address.net.addr());
        let evidence = format!(
            "{net} on {} has the mark of announcer (protocol 0x{OURS:x}), and the configuration does not name it",
            address.interface
        );
        let repair = format!("`dsr-setup remove --vip {vip}`, or name it in the configuration");
        Finding::new(Code::VipLeftOver, evidence, repair).of(vip).at(&address.interface)
    };
    others.map(finding).collect()
}
