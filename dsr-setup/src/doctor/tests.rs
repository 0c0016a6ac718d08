//! Table tests of the findings: a healthy host, and what changes when one thing is changed. The real faults are in tests/doctor.rs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::code::{Code, Severity, Watcher};
use super::finding::{Finding, NotChecked};
use super::nft::Ruleset;
use super::observations::*;
use super::server::{AcceptQueue, accept_queues};
use super::{examine, examine_watched};
use crate::plan::Sysctl;
use Code::*;
use Severity::{Error, Note, Warning};

mod addresses;
mod neighbours;
mod routing;
mod server;
mod traffic;
mod vrf;
mod watched;

const VIP: &str = "192.0.2.80";
const VIP6: &str = "2001:db8::80";
/// 2026-11-27.
const NOW: i64 = 1_795_737_600;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(index: u32, name: &str, kind: LinkKind) -> LinkState {
    let mac = (kind == LinkKind::Ethernet).then(|| mac(u8::try_from(index).unwrap()));
    LinkState { index, name: name.into(), is_up: true, kind, mtu: 1500, mac, vrf: None }
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn address(net: &str, interface: &str, protocol: Option<u8>) -> HostAddress {
    HostAddress {
        net: net.parse().unwrap(),
        interface: interface.into(),
        protocol,
        is_tentative: false,
        is_dadfailed: false,
        has_no_prefix_route: false,
    }
}

fn route(to: &str, hops: &[(&str, &str)]) -> RouteState {
    let hops = hops.iter().map(|(interface, gateway)| ((*interface).into(), gateway.parse().ok())).collect();
    RouteState { to: to.parse().unwrap(), hops, metric: 0, is_unicast: true }
}

fn listener(address: &str, port: u16) -> ListeningSocket {
    ListeningSocket { address: ip(address), port, is_v6_only: false, device: None, queue: 0, backlog: 128 }
}

fn answer(interface: &str, address: &str, last: u8) -> NeighbourAnswer {
    NeighbourAnswer { interface: interface.into(), address: ip(address), mac: mac(last) }
}

fn arp(text: &str) -> BTreeMap<Sysctl, i32> {
    text.split_whitespace()
        .map(|word| {
            let (name, value) = word.split_once('=').unwrap();
            (Sysctl::parse(&format!("net.ipv4.conf.{name}")).unwrap(), value.parse().unwrap())
        })
        .collect()
}

/// A host with eth0 and eth1, both VIPs on lo, a default route over a router on eth0, and a server on port 80.
fn healthy() -> (Observations, Question) {
    let seen = Observations {
        now: NOW,
        links: vec![
            link(1, "lo", LinkKind::Inner),
            link(2, "eth0", LinkKind::Ethernet),
            link(3, "eth1", LinkKind::Ethernet),
        ],
        addresses: vec![
            address("192.0.2.80/32", "lo", Some(0xb6)),
            address("2001:db8::80/128", "lo", Some(0xb6)),
            address("10.0.1.11/24", "eth0", None),
            address("fe80::11/64", "eth0", None),
            address("10.0.2.11/24", "eth1", None),
        ],
        routes: vec![
            route("0.0.0.0/0", &[("eth0", "10.0.1.1")]),
            route("::/0", &[("eth0", "fe80::1")]),
            route("10.0.1.0/24", &[("eth0", "")]),
            route("10.0.2.0/24", &[("eth1", "")]),
        ],
        rules: Ok(vec![PolicyRule {
            priority: 0,
            from: None,
            to: None,
            action: "lookup 255".into(),
            loses: false,
        }]),
        paths: vec![PathState { from: ip(VIP), to: anywhere(true), error: None }],
        sources: vec![ChosenSource { to: anywhere(true), source: ip("10.0.1.11") }],
        arp: arp("all.arp_ignore=1 all.arp_announce=2 eth0.arp_ignore=0 eth0.arp_announce=0"),
        conf: BTreeMap::new(),
        settings: BTreeMap::new(),
        listeners: Ok(vec![listener("::", 80)]),
        counters: Ok((Counters::default(), Counters::default())),
        conntrack: Some(ConntrackState { count: 10, max: 100 }),
        ruleset: Ok(Ruleset::default()),
        answers: Ok(vec![]),
        mtu: Ok(vec![]),
        capture: None,
        tls: vec![],
        managers: Ok(vec![]),
    };
    let question = Question {
        vips: [ip(VIP), ip(VIP6)].into(),
        routers: [ip("10.0.1.1")].into(),
        expires_within: 14 * 86_400,
        is_complete: true,
        ..Question::default()
    };
    (seen, question)
}

/// The findings after a change, as `code:severity`.
fn after(change: impl FnOnce(&mut Observations, &mut Question)) -> Vec<Finding> {
    let (mut seen, mut question) = healthy();
    change(&mut seen, &mut question);
    examine(&seen, &question).findings
}

fn codes(findings: &[Finding]) -> Vec<(Code, Severity)> {
    findings.iter().map(|finding| (finding.code, finding.severity)).collect()
}

type Change = Box<dyn FnOnce(&mut Observations, &mut Question)>;

fn change(change: impl FnOnce(&mut Observations, &mut Question) + 'static) -> Change {
    Box::new(change)
}

/// A name, a change of the healthy host, and what is found then.
type Row<'a> = (&'a str, Change, &'a [(Code, Severity)]);

fn check(rows: Vec<Row<'_>>) {
    for (name, change, want) in rows {
        let findings = after(change);
        assert_eq!(codes(&findings), want, "{name}: {findings:#?}");
    }
}

#[test]
fn a_healthy_host_has_no_finding() {
    let (seen, question) = healthy();
    let report = examine(&seen, &question);
    assert_eq!((report.findings, report.not_checked), (vec![], vec![]));
}

#[test]
fn what_could_not_be_seen_is_named_with_the_reason() {
    let (mut seen, question) = healthy();
    let needs = || Unseen("needs CAP_NET_RAW: run it with sudo".into());
    (seen.answers, seen.mtu, seen.capture) = (Err(needs()), Err(needs()), Some(Err(needs())));
    seen.ruleset = Err(Unseen("needs `nft`".into()));
    let report = examine(&seen, &question);
    assert_eq!(report.findings, vec![]);
    let gaps: Vec<String> = report.not_checked.iter().map(ToString::to_string).collect();
    assert_eq!(
        gaps,
        [
            "not checked: firewall-drops-vip, firewall-drops-icmp-errors, conntrack-invalid-dropped: needs `nft`",
            "not checked: vip-held-by-other, one-mac-for-several, mtu-above-path, no-packet, syn-unanswered: needs CAP_NET_RAW: run it \
             with sudo",
        ]
    );
}

#[test]
fn two_faults_are_two_findings_the_worst_first() {
    let findings = after(|seen, _| {
        seen.links[0].is_up = false;
        seen.conntrack = Some(ConntrackState { count: 95, max: 100 });
    });
    assert_eq!(codes(&findings), [(LoDown, Error), (ConntrackFull, Warning)]);
}

#[test]
fn no_finding_is_worse_than_its_code() {
    let findings = after(|seen, _| {
        seen.addresses.remove(0);
        seen.answers = Ok(vec![answer("eth0", VIP, 9)]);
    });
    assert!(!findings.is_empty());
    assert!(findings.iter().all(|finding| finding.severity <= finding.code.severity()));
    assert_eq!(VipMissing.watcher(), Watcher::Daemon);
}
