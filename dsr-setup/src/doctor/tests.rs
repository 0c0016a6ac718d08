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

const VIP: &str = "192.0.2.80";
const VIP6: &str = "2001:db8::80";
/// 2026-11-27.
const NOW: i64 = 1_795_737_600;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(index: u32, name: &str, kind: LinkKind) -> LinkState {
    let mac = (kind == LinkKind::Ethernet).then(|| mac(u8::try_from(index).unwrap()));
    LinkState { index, name: name.into(), is_up: true, kind, mtu: 1500, mac }
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
    ListeningSocket { address: ip(address), port, is_v6_only: false, queue: 0, backlog: 128 }
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

#[test]
fn with_another_device_a_vip_on_lo_is_on_the_wrong_one_and_repairs_name_the_device() {
    let vip0 = |is_up: bool| LinkState { is_up, ..link(9, "vip0", LinkKind::Inner) };
    let found = after(|seen, question| {
        seen.links.push(vip0(true));
        question.device = Some("vip0".into());
    });
    assert!(found.iter().all(|finding| finding.code == Code::VipOnOtherInterface), "{found:#?}");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_eq!(found[0].evidence, format!("{VIP}/32 is on lo, and not on vip0"));
    assert!(found[0].repair.ends_with(&format!("then `dsr-setup apply --vip {VIP} --device vip0`")));

    let on = |device: &'static str, is_up: bool| {
        after(move |seen, question| {
            seen.links.push(vip0(is_up));
            seen.addresses
                .iter_mut()
                .filter(|held| question.vips.contains(&held.net.addr()))
                .for_each(|held| held.interface = "vip0".into());
            question.device = (device != "lo").then(|| device.into());
        })
    };
    assert_eq!(on("vip0", true), []);
    assert_eq!(on("lo", true), [], "without a device, each interface without neighbours will do");
    assert_eq!(codes(&on("vip0", false)), [(Code::LoDown, Severity::Error)]);
    let evidence = &on("vip0", false)[0].evidence;
    assert_eq!(evidence, "vip0 is down: no address on it answers");
}

/// A name, a change of the healthy host, and what is found then.
type Row<'a> = (&'a str, Change, &'a [(Code, Severity)]);

fn check(rows: Vec<Row<'_>>) {
    for (name, change, want) in rows {
        let findings = after(change);
        assert_eq!(codes(&findings), want, "{name}: {findings:#?}");
    }
}

use Code::*;
use Severity::{Error, Note, Warning};

#[test]
fn a_healthy_host_has_no_finding() {
    let (seen, question) = healthy();
    let report = examine(&seen, &question);
    assert_eq!((report.findings, report.not_checked), (vec![], vec![]));
}

#[test]
fn the_vips_as_addresses() {
    check(vec![
        ("missing", change(|seen, _| drop(seen.addresses.remove(0))), &[(VipMissing, Error)]),
        ("lo down", change(|seen, _| seen.links[0].is_up = false), &[(LoDown, Error)]),
        ("tentative", change(|seen, _| seen.addresses[1].is_tentative = true), &[(VipTentative, Error)]),
        (
            "dadfailed is tentative too",
            change(|seen, _| {
                seen.addresses[1].is_tentative = true;
                seen.addresses[1].is_dadfailed = true;
            }),
            &[(VipDadfailed, Error)],
        ),
        (
            "on eth0",
            change(|seen, _| seen.addresses[0].interface = "eth0".into()),
            &[(VipOnOtherInterface, Error)],
        ),
        (
            "on lo and on eth0 with a prefix length: the interface is the fault",
            change(|seen, _| seen.addresses.push(address("192.0.2.80/24", "eth0", None))),
            &[(VipOnOtherInterface, Error)],
        ),
        (
            "on a tunnel",
            change(|seen, _| {
                seen.links.push(link(9, "tunl0", LinkKind::NoArp));
                seen.addresses[0].interface = "tunl0".into();
            }),
            &[],
        ),
        (
            "wrong prefix length",
            change(|seen, _| seen.addresses[0].net = "192.0.2.80/24".parse().unwrap()),
            &[(VipPrefixLength, Error)],
        ),
        (
            "in the subnet of eth0",
            change(|seen, _| seen.addresses[2].net = "192.0.2.11/24".parse().unwrap()),
            &[(VipInConnectedSubnet, Warning)],
        ),
        (
            "in the subnet of eth0, where a director is",
            change(|seen, question| {
                seen.addresses[2].net = "192.0.2.11/24".parse().unwrap();
                question.directors.insert(ip("192.0.2.1"));
            }),
            &[],
        ),
        (
            "left over",
            change(|seen, _| seen.addresses.push(address("192.0.2.99/32", "lo", Some(0xb6)))),
            &[(VipLeftOver, Warning)],
        ),
        (
            "of another program",
            change(|seen, _| seen.addresses.push(address("192.0.2.99/32", "lo", None))),
            &[],
        ),
        (
            "left over, and nobody knows all VIPs",
            change(|seen, question| {
                seen.addresses.push(address("192.0.2.99/32", "lo", Some(0xb6)));
                question.is_complete = false;
            }),
            &[],
        ),
    ]);
}

#[test]
fn who_answers_on_the_lan() {
    let answers =
        |all: Vec<NeighbourAnswer>| move |seen: &mut Observations, _: &mut Question| seen.answers = Ok(all);
    check(vec![
        (
            "settings",
            change(|seen, _| seen.arp = arp("all.arp_ignore=0 all.arp_announce=2 eth0.arp_ignore=0")),
            &[(ArpAnswered, Error)],
        ),
        (
            "settings, and no IPv4 VIP on lo",
            change(|seen, question| {
                seen.arp = arp("all.arp_ignore=0 all.arp_announce=2 eth0.arp_ignore=0");
                question.vips = [ip(VIP6)].into();
                question.is_complete = false;
            }),
            &[],
        ),
        ("this host", change(answers(vec![answer("eth0", VIP, 3)])), &[(ArpAnswered, Error)]),
        ("another host", change(answers(vec![answer("eth0", VIP, 9)])), &[(VipHeldByOther, Warning)]),
        ("another host, IPv6", change(answers(vec![answer("eth0", VIP6, 9)])), &[(VipHeldByOther, Warning)]),
        ("somebody else's address", change(answers(vec![answer("eth0", "10.0.1.1", 9)])), &[]),
        (
            "the director",
            change(|seen, question| {
                seen.answers = Ok(vec![answer("eth0", VIP, 9), answer("eth0", "10.0.1.2", 9)]);
                question.directors.insert(ip("10.0.1.2"));
            }),
            &[],
        ),
        (
            "not the director",
            change(|seen, question| {
                seen.answers = Ok(vec![answer("eth0", VIP, 9), answer("eth0", "10.0.1.2", 8)]);
                question.directors.insert(ip("10.0.1.2"));
            }),
            &[(VipHeldByOther, Error)],
        ),
        (
            "proxy ARP",
            change(answers(vec![answer("eth0", "198.18.255.253", 9), answer("eth0", "10.0.1.1", 9)])),
            &[(OneMacForSeveral, Warning)],
        ),
        (
            "keepalived by its protocol",
            change(|seen, _| seen.addresses[0].protocol = Some(18)),
            &[(SecondManager, Error)],
        ),
        (
            "kube-proxy by its interface",
            change(|seen, _| {
                seen.links.push(link(9, "kube-ipvs0", LinkKind::Inner));
                seen.addresses[0].interface = "kube-ipvs0".into();
            }),
            &[(SecondManager, Error)],
        ),
        (
            "MetalLB by its process",
            change(|seen, _| seen.managers = Ok(vec![ManagerProcess { name: "speaker".into(), pid: 7 }])),
            &[(SecondManager, Warning)],
        ),
    ]);
    let findings =
        after(|seen, _| seen.answers = Ok(vec![answer("eth0", VIP, 9), answer("eth0", "10.0.1.2", 9)]));
    assert_eq!(
        findings[0].evidence,
        "02:00:00:00:00:09 answered ARP for 192.0.2.80 on eth0 (it has also answered for 10.0.1.2): if that is the director, name its \
         address with `--director`, or in `[dsr] directors` of the configuration"
    );
}

#[test]
fn the_ways_of_packets() {
    let conf = |seen: &mut Observations, interface: &str, name: &str, value: i64| {
        seen.conf.insert((interface.into(), name.into()), value);
    };
    let probe = |answered: &[u32]| MtuProbe {
        to: ip("10.0.1.1"),
        interface: "eth0".into(),
        mtu: 1500,
        answered: answered.iter().copied().collect(),
    };
    let (full, small, none) = (probe(&[84, 1400, 1500]), probe(&[84, 1400]), probe(&[]));
    check(vec![
        (
            "a VIP as source",
            change(|seen, _| {
                seen.sources.push(ChosenSource { to: ip("10.0.1.1"), source: ip(VIP) });
                seen.sources.push(ChosenSource { to: anywhere(true), source: ip(VIP) });
            }),
            &[(VipIsSource, Error)],
        ),
        (
            "no way back",
            change(|seen, _| seen.paths[0].error = Some("Network is unreachable".into())),
            &[(NoReturnRoute, Error)],
        ),
        (
            "a rule for the VIP's network",
            change(|seen, _| {
                let from = Some("192.0.2.0/24".parse().unwrap());
                let rule =
                    PolicyRule { priority: 100, from, to: None, action: "lookup 7".into(), loses: false };
                seen.rules.as_mut().unwrap().push(rule);
            }),
            &[(RuleCatchesVip, Warning)],
        ),
        (
            "a rule that loses packets to the VIP",
            change(|seen, _| {
                let to = Some("192.0.2.80/32".parse().unwrap());
                let rule =
                    PolicyRule { priority: 100, from: None, to, action: "blackhole".into(), loses: true };
                seen.rules.as_mut().unwrap().push(rule);
            }),
            &[(RuleCatchesVip, Error)],
        ),
        (
            "a rule for another network",
            change(|seen, _| {
                let to = Some("192.0.3.0/24".parse().unwrap());
                let rule =
                    PolicyRule { priority: 100, from: None, to, action: "blackhole".into(), loses: true };
                seen.rules.as_mut().unwrap().push(rule);
            }),
            &[],
        ),
        (
            "strict by all, on the router's interface, and answers leave by eth1",
            change(move |seen, _| {
                conf(seen, "all", "rp_filter", 1);
                seen.routes[0] = route("0.0.0.0/0", &[("eth1", "10.0.2.1")]);
            }),
            &[(RpFilterStrict, Error)],
        ),
        (
            "loose on the interface is larger than strict",
            change(move |seen, _| {
                conf(seen, "all", "rp_filter", 1);
                conf(seen, "eth0", "rp_filter", 2);
                seen.routes[0] = route("0.0.0.0/0", &[("eth1", "10.0.2.1")]);
            }),
            &[],
        ),
        (
            "strict on the management interface, by which no VIP packet comes",
            change(move |seen, _| conf(seen, "eth1", "rp_filter", 1)),
            &[],
        ),
        (
            "strict, and one of two next hops leads back",
            change(move |seen, _| {
                conf(seen, "all", "rp_filter", 1);
                seen.routes[0] = route("0.0.0.0/0", &[("eth1", "10.0.2.1"), ("eth0", "10.0.1.1")]);
            }),
            &[],
        ),
        (
            "redirects",
            change(move |seen, _| {
                conf(seen, "eth0", "forwarding", 1);
                conf(seen, "eth0", "send_redirects", 1);
            }),
            &[(RedirectsSent, Warning)],
        ),
        ("redirects without forwarding", change(move |seen, _| conf(seen, "all", "send_redirects", 1)), &[]),
        (
            "hash policy",
            change(|seen, _| {
                seen.settings.insert("net/ipv4/ip_forward".into(), 1);
                seen.routes.push(route("198.51.100.0/24", &[("eth0", "10.0.1.1"), ("eth1", "10.0.2.1")]));
            }),
            &[(HashPolicy, Warning)],
        ),
        (
            "hash policy with ports",
            change(|seen, _| {
                seen.settings.insert("net/ipv4/ip_forward".into(), 1);
                seen.settings.insert("net/ipv4/fib_multipath_hash_policy".into(), 1);
                seen.routes.push(route("198.51.100.0/24", &[("eth0", "10.0.1.1"), ("eth1", "10.0.2.1")]));
            }),
            &[],
        ),
        (
            "hash policy, and no several next hops",
            change(|seen, _| {
                seen.settings.insert("net/ipv4/ip_forward".into(), 1);
            }),
            &[],
        ),
        ("MTU", change(move |seen, _| seen.mtu = Ok(vec![small])), &[(MtuAbovePath, Warning)]),
        ("MTU answered", change(move |seen, _| seen.mtu = Ok(vec![full])), &[]),
        ("no echo at all", change(move |seen, _| seen.mtu = Ok(vec![none])), &[]),
    ]);
}

#[test]
fn the_server_and_its_queues() {
    let listens =
        |all: Vec<ListeningSocket>| move |seen: &mut Observations, _: &mut Question| seen.listeners = Ok(all);
    let only_v6 = ListeningSocket { is_v6_only: true, ..listener("::", 80) };
    let full = ListeningSocket { queue: 129, ..listener("::", 80) };
    let full_elsewhere = ListeningSocket { queue: 129, ..listener("127.0.0.1", 5432) };
    check(vec![
        ("none", change(listens(vec![])), &[(ServerNotListening, Error), (ServerNotListening, Error)]),
        (
            "another port",
            change(listens(vec![listener("::", 22)])),
            &[(ServerNotListening, Error), (ServerNotListening, Error)],
        ),
        ("443 is enough without named ports", change(listens(vec![listener("::", 443)])), &[]),
        (
            "a named port",
            change(|_, question| drop(question.ports.insert(ip(VIP), [80, 8080].into()))),
            &[(ServerNotListening, Error)],
        ),
        (
            "both families by two sockets",
            change(listens(vec![listener("0.0.0.0", 80), only_v6.clone()])),
            &[],
        ),
        ("IPv4 only", change(listens(vec![listener("0.0.0.0", 80)])), &[(ServerOtherFamily, Error)]),
        ("IPv6 only", change(listens(vec![only_v6])), &[(ServerOtherFamily, Error)]),
        (
            "loopback only",
            change(listens(vec![listener("127.0.0.1", 80), listener("::1", 80)])),
            &[(ServerOnLoopback, Error), (ServerOnLoopback, Error)],
        ),
        (
            "at another address of the family",
            change(listens(vec![listener("10.0.1.11", 80), listener(VIP6, 80)])),
            &[(ServerNotListening, Error)],
        ),
        (
            "at the VIPs, one of them mapped",
            change(listens(vec![listener("::ffff:192.0.2.80", 80), listener(VIP6, 80)])),
            &[],
        ),
        ("a full queue", change(listens(vec![full])), &[(BacklogOverflow, Error)]),
        ("a full queue of another server", change(listens(vec![full_elsewhere, listener("::", 80)])), &[]),
        (
            "an overflow long ago",
            change(|seen, _| {
                let counters = Counters { listen_overflows: 3, ..Counters::default() };
                seen.counters = Ok((counters, counters));
            }),
            &[(BacklogOverflow, Note)],
        ),
        (
            "an overflow now",
            change(|seen, _| {
                seen.counters =
                    Ok((Counters::default(), Counters { listen_overflows: 3, ..Counters::default() }));
            }),
            &[(BacklogOverflow, Error)],
        ),
        (
            "cookies always",
            change(|seen, _| {
                seen.settings.insert("net/ipv4/tcp_syncookies".into(), 2);
            }),
            &[(SynCookies, Warning)],
        ),
        (
            "cookies when needed, and not needed",
            change(|seen, _| {
                seen.settings.insert("net/ipv4/tcp_syncookies".into(), 1);
            }),
            &[],
        ),
        (
            "cookies now",
            change(|seen, _| {
                seen.counters =
                    Ok((Counters::default(), Counters { cookies_sent: 1, ..Counters::default() }));
            }),
            &[(SynCookies, Warning)],
        ),
        (
            "cookies long ago",
            change(|seen, _| {
                let counters = Counters { cookies_sent: 1, ..Counters::default() };
                seen.counters = Ok((counters, counters));
            }),
            &[(SynCookies, Note)],
        ),
    ]);
}

#[test]
fn certificates_and_the_clock() {
    const DAY: i64 = 86_400;
    let shows = |begins: i64, ends: i64| {
        move |seen: &mut Observations, _: &mut Question| {
            let validity = Validity { begins: NOW + begins * DAY, ends: NOW + ends * DAY };
            seen.tls = vec![TlsProbe { vip: ip(VIP), port: 443, validity }];
        }
    };
    check(vec![
        ("good", change(shows(-1, 90)), &[]),
        ("ends soon", change(shows(-1, 13)), &[(CertificateEnds, Warning)]),
        ("ends in exactly 14 days", change(shows(-1, 14)), &[]),
        ("has ended", change(shows(-9, 0)), &[(CertificateEnds, Error)]),
        ("begins later", change(shows(1, 90)), &[(ClockWrong, Error)]),
        ("the clock says 1970", change(|seen, _| seen.now = 86_400), &[(ClockWrong, Error)]),
    ]);
}

#[test]
fn the_table_of_connections_and_the_capture() {
    let conntrack = |count, max| {
        move |seen: &mut Observations, _: &mut Question| seen.conntrack = Some(ConntrackState { count, max })
    };
    let capture = |arrived, opened, answered| {
        move |seen: &mut Observations, question: &mut Question| {
            question.vips = [ip(VIP)].into();
            question.is_complete = false;
            let traffic = [(ip(VIP), VipTraffic { arrived, opened, answered })].into();
            seen.capture = Some(Ok(Capture { seconds: 5, traffic }));
        }
    };
    check(vec![
        ("89 percent", change(conntrack(89, 100)), &[]),
        ("90 percent", change(conntrack(90, 100)), &[(ConntrackFull, Warning)]),
        ("full", change(conntrack(100, 100)), &[(ConntrackFull, Error)]),
        ("no limit", change(conntrack(100, 0)), &[]),
        ("no conntrack", change(|seen, _| seen.conntrack = None), &[]),
        ("nothing arrived", change(capture(0, 0, 0)), &[(NoPacket, Warning)]),
        ("no SYN arrived", change(capture(7, 0, 0)), &[]),
        ("SYN and no answer", change(capture(7, 3, 0)), &[(SynUnanswered, Error)]),
        ("one was answered", change(capture(7, 3, 1)), &[]),
    ]);
}

#[test]
fn the_packet_filter() {
    let rules = |policy: &str, rules: &str| {
        let text = format!(
            r#"{{"nftables":[{{"chain":{{"family":"inet","table":"f","name":"input","type":"filter","hook":"input","prio":0,"policy":"{policy}"}}}}{rules}]}}"#
        );
        let ruleset = Ruleset::read(&text).unwrap();
        move |seen: &mut Observations, question: &mut Question| {
            question.vips = [ip(VIP)].into();
            question.is_complete = false;
            seen.ruleset = Ok(ruleset);
        }
    };
    let rule = |expr: &str| {
        format!(r#",{{"rule":{{"family":"inet","table":"f","chain":"input","expr":[{expr}]}}}}"#)
    };
    let port = |port: u16, verdict: &str| {
        rule(&format!(
            r#"{{"match":{{"op":"==","left":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"right":{port}}}}},{{"{verdict}":null}}"#
        ))
    };
    let state = |state: &str, verdict: &str| {
        rule(&format!(
            r#"{{"match":{{"op":"in","left":{{"ct":{{"key":"state"}}}},"right":"{state}"}}}},{{"{verdict}":null}}"#
        ))
    };
    let named = |change: Change| {
        Box::new(move |seen: &mut Observations, question: &mut Question| {
            change(seen, question);
            question.ports.insert(ip(VIP), [80].into());
        }) as Change
    };
    check(vec![
        ("accept", change(rules("accept", "")), &[]),
        ("drop all", change(rules("drop", "")), &[(FirewallDropsVip, Error), (FirewallDropsIcmp, Error)]),
        (
            "only the port is accepted",
            change(rules("drop", &port(80, "accept"))),
            &[(FirewallDropsIcmp, Error)],
        ),
        (
            "the port and related are accepted",
            change(rules("drop", &(port(80, "accept") + &state("related", "accept")))),
            &[],
        ),
        ("one of the usual ports is dropped", change(rules("accept", &port(80, "drop"))), &[]),
        (
            "the named port is dropped",
            named(change(rules("accept", &port(80, "drop")))),
            &[(FirewallDropsVip, Error)],
        ),
        ("invalid", change(rules("accept", &state("invalid", "drop"))), &[(InvalidDropped, Warning)]),
    ]);
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

/// The snapshot of the daemon, which has only what `io::doctor::watched` reads.
fn watched() -> (Observations, Question) {
    let (seen, question) = healthy();
    let Observations { links, addresses, paths, sources, arp, listeners, counters, conntrack, .. } = seen;
    let nothing = Observations::nothing(NOW);
    let seen =
        Observations { links, addresses, paths, sources, arp, listeners, counters, conntrack, ..nothing };
    (seen, question)
}

/// A code, and the change of a healthy host that it names.
type WatchedFault = (Code, fn(&mut Observations));

/// Each code that is watched is found in the snapshot of the daemon. A code that needs more must not be one of them.
#[test]
fn each_watched_code_is_found_in_what_the_daemon_reads() {
    let (seen, question) = watched();
    let report = examine_watched(&seen, &question);
    assert_eq!((report.findings, report.not_checked), (vec![], vec![]));
    let faults: Vec<WatchedFault> = vec![
        (VipMissing, |seen| drop(seen.addresses.remove(0))),
        (LoDown, |seen| seen.links[0].is_up = false),
        (VipTentative, |seen| seen.addresses[1].is_tentative = true),
        (VipDadfailed, |seen| seen.addresses[1].is_dadfailed = true),
        (VipOnOtherInterface, |seen| seen.addresses.push(address("192.0.2.80/32", "eth0", None))),
        (VipPrefixLength, |seen| seen.addresses.push(address("192.0.2.80/24", "lo", None))),
        (ArpAnswered, |seen| seen.arp = arp("all.arp_ignore=0 all.arp_announce=2 eth0.arp_ignore=0")),
        (VipIsSource, |seen| seen.sources[0].source = ip(VIP)),
        (NoReturnRoute, |seen| seen.paths[0].error = Some("Network is unreachable".into())),
        (ConntrackFull, |seen| seen.conntrack = Some(ConntrackState { count: 100, max: 100 })),
        (BacklogOverflow, |seen| {
            seen.listeners = Ok(vec![ListeningSocket { queue: 129, ..listener("::", 80) }]);
        }),
    ];
    let all: Vec<Code> = faults.iter().map(|(code, _)| *code).collect();
    let want: Vec<Code> =
        Code::ALL.iter().copied().filter(|code| code.watcher() == Watcher::Daemon).collect();
    assert_eq!(all, want);
    for (code, change) in faults {
        let (mut seen, question) = watched();
        change(&mut seen);
        let found: Vec<Code> =
            examine_watched(&seen, &question).findings.iter().map(|finding| finding.code).collect();
        assert_eq!(found, [code]);
    }
}

#[test]
fn what_is_not_watched_is_no_finding_and_no_gap_of_the_daemon() {
    let (mut seen, question) = watched();
    let old = Counters { listen_overflows: 3, ..Counters::default() };
    seen.counters = Ok((old, old));
    seen.listeners = Ok(vec![]);
    // A note, and a server that does not listen.
    assert_eq!(examine(&seen, &question).findings.len(), 3);
    let report = examine_watched(&seen, &question);
    assert_eq!((report.findings, report.not_checked), (vec![], vec![]));

    seen.counters = Err(Unseen("netstat is not there".into()));
    let gap = NotChecked { codes: vec![BacklogOverflow], reason: "netstat is not there".into() };
    assert_eq!(examine_watched(&seen, &question).not_checked, [gap]);
}

/// Written as `ADDRESS waiting/limit`, each at port 80 of the VIP.
#[test]
fn the_fullest_accept_queue_of_a_vip_is_its_figure() {
    for (sockets, want) in [
        ("", None),
        (":: 3/128", Some((3, 128))),
        (":: 3/128, 192.0.2.80 5/128", Some((5, 128))),
        ("192.0.2.80 5/4096, :: 3/128", Some((3, 128))),
        (":: 3/128, 192.0.2.80 5/4096", Some((3, 128))),
        (":: 0/128, 192.0.2.80 0/4096", Some((0, 128))),
        (":: 1/0, 192.0.2.80 5/128", Some((1, 0))),
        ("192.0.2.81 5/128", None),
    ] {
        let (mut seen, mut question) = healthy();
        question.ports = [(ip(VIP), [80].into()), (ip(VIP6), [81].into())].into();
        let socket = |text: &str| {
            let (address, (queue, backlog)) =
                text.split_once(' ').map(|(a, q)| (a, q.split_once('/').unwrap())).unwrap();
            let (queue, backlog) = (queue.parse().unwrap(), backlog.parse().unwrap());
            ListeningSocket { queue, backlog, ..listener(address, 80) }
        };
        seen.listeners = Ok(sockets.split(", ").filter(|text| !text.is_empty()).map(socket).collect());
        let want = want.map(|(waiting, limit)| (ip(VIP), AcceptQueue { waiting, limit }));
        assert_eq!(accept_queues(&seen, &question), want.into_iter().collect(), "{sockets}");
    }
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
