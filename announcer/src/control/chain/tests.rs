use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use expect_test::expect;

use super::*;
use crate::chain::heartbeat::{
    AboutReceiver, Facts, Families, HeartbeatDropReason, ListDigest, MemberPresence, MemberVipState, NextHops,
};
use crate::chain::member::{MemberState, Said};
use crate::chain::ring::{MemberObservation, Own, Ring};
use crate::chain::rules::counters::ChainCounters;
use crate::chain::status::{OffOrder, member_status};
use crate::control::api::{ChainOrder, ChainReport, SiteReport};
use crate::control::orders::OrderFacts;
use crate::drain::Operator;

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 1, last).into()
}

fn vip(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn facts(last: u8, rules: Families) -> Facts {
    Facts {
        interval: Duration::from_millis(100),
        rules,
        presence: MemberPresence::Here,
        switched_off: false,
        next_hops: NextHops {
            v4: Some(Ipv4Addr::new(10, 0, 1, last)),
            v6: Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into())),
        },
        members: ListDigest([1; 8]),
        services: ListDigest([2; 8]),
    }
}

/// Another member, 10.0.1.LAST: its state for five minutes, what it said, and the states of its VIPs 192.0.2.80 and following.
struct Other(u8, MemberState, Option<Facts>, &'static [MemberVipState]);

/// This host is 10.0.1.11, the first of the list, with rules for these families.
fn status(wanted: Families, others: &[Other], now: Instant) -> ChainStatus {
    let since = now.checked_sub(Duration::from_secs(300)).unwrap_or(now);
    let about_us = AboutReceiver { in_ring: Families::BOTH, believed: Families::BOTH, known: true };
    let observed: BTreeMap<IpAddr, (MemberObservation, &[MemberVipState])> = others
        .iter()
        .map(|Other(last, state, facts, vips)| {
            let said = facts.map(|facts| Said { facts, about_us });
            (address(*last), (MemberObservation::in_state(*state, since, said), *vips))
        })
        .collect();
    let own = Own {
        address: address(11),
        wanted,
        switched_off: false,
        presence: MemberPresence::Here,
        members: ListDigest::default(),
    };
    let list: Vec<IpAddr> =
        std::iter::once(11).chain(others.iter().map(|other| other.0)).map(address).collect();
    let observations = observed.iter().map(|(address, (observed, _))| (*address, *observed)).collect();
    let members = observed.into_iter().map(|(address, (observation, vips))| {
        let vips = (80..).map(vip).zip(vips.iter().copied()).collect();
        (address, member_status(&observation, Some(since), Arc::new(vips)))
    });
    let counters = |wanted: bool| {
        wanted.then(|| ChainCounters { forwarded: 1200, over_budget: 7, ..ChainCounters::default() })
    };
    ChainStatus {
        configured: true,
        forward: true,
        own: Some(address(11)),
        ring: Ring::new(&list, &own, &observations),
        installed: true,
        members: members.collect(),
        facts: Some(facts(11, wanted)),
        counters: [counters(wanted.v4), counters(wanted.v6)],
        port: 9181,
        ..ChainStatus::default()
    }
}

fn own_vips() -> Vec<OwnVip> {
    let one = |last, service: &str, standing, min_announcers| OwnVip {
        address: vip(last),
        service: service.into(),
        standing,
        min_announcers,
    };
    vec![one(80, "www", "announced", Some(2)), one(81, "api", "not_announced", Some(2))]
}

const V4: Families = Families { v4: true, v6: false };
const NONE: &[MemberVipState] = &[];

/// Four members: one lives, one is dead, one has no rules for IPv6.
fn four(wanted: Families, now: Instant) -> ChainStatus {
    use MemberVipState::{Announced, Drained, LastChoice, Removed};
    let others = [
        Other(12, MemberState::Alive, Some(facts(12, Families::BOTH)), &[Announced, LastChoice, Removed]),
        Other(13, MemberState::Dead, Some(facts(13, Families::BOTH)), &[Announced, Announced]),
        Other(14, MemberState::Silent, Some(facts(14, V4)), &[Drained, Announced, Announced]),
    ];
    status(wanted, &others, now)
}

fn report_of(status: &ChainStatus, now: Instant) -> ChainReport {
    let time_of = |_| "2026-01-31T12:00:00.000Z".to_owned();
    report(status, &own_vips(), ChainClock { now, time_of: &time_of })
}

#[test]
fn a_ring_of_both_families_is_printed() {
    let now = Instant::now();
    let mut chain = four(Families::BOTH, now);
    chain.drops = [(HeartbeatDropReason::Hmac, 3), (HeartbeatDropReason::Counter, 12)].into();
    expect![[r#"
        chain: this host is 10.0.1.11
        RING
          IPv4  3 of 4 members, next 10.0.1.12
          IPv6  2 of 4 members, next 10.0.1.12 at fe80::c
        MEMBER
          10.0.1.11  this host      in the ring                                                          1 announced, 1 not announced
          10.0.1.12  alive      5m  in the ring                                                          1 announced, 1 last choice
          10.0.1.13  dead       5m  not in the ring: it is dead                                          2 announced
          10.0.1.14  silent     5m  IPv4 in the ring, IPv6 not in the ring: its rules are not installed  2 announced, 1 drained
        PACKET          IPv4  IPv6
          forwarded     1200  1200  passed on to the next member
          started          0     0  of these, the way along the ring began here
          accepted         0     0  came marked, and have a socket here
          returned         0     0  ended their way without a socket: this host's stack answered
          over budget      7     7  dropped because of `budget`: TCP sends them again
          flood            0     0  far over `budget`: this host's stack answered
          not started      0     0  not forwarded: switched off, or nobody is next
          foreign mark     0     0  have a mark, and are from no member
          expired          0     0  went round until their TTL ended: a member is not believed
        HEARTBEAT
           3  did not count: the HMAC is wrong: the sender has another key
          12  did not count: the counter has not grown
        warning: chain: member 10.0.1.13 is dead for 5m: neither its heartbeats nor answers of its kernel arrive
        warning: chain: no heartbeats of member 10.0.1.14 for 5m, but its kernel answers: its rules may go on without its daemon, or a packet filter drops UDP port 9181; without a heartbeat it is dead in 0s"#]]
    .assert_eq(&text(&report_of(&chain, now), None));
}

#[test]
fn what_does_not_work_is_printed() {
    let now = Instant::now();
    let off = OffOrder { reason: "tests".into(), by: "ann".into(), at: "2026-01-31T12:00:00Z".into() };
    let alone = status(V4, &[Other(12, MemberState::Unknown, None, NONE)], now);
    let other_list =
        Facts { members: ListDigest([9; 8]), presence: MemberPresence::Leaving, ..facts(12, V4) };
    for (chain, want) in [
        (
            ChainStatus {
                configured: true,
                problems: vec!["no address of this host is in `members`".into()],
                ..ChainStatus::default()
            },
            expect![[r#"
                chain: it does not work here
                warning: chain: no address of this host is in `members`"#]],
        ),
        (
            ChainStatus { installed: false, counters: [None, None], ..alone.clone() },
            expect![[r#"
            chain: this host is 10.0.1.11, no rules are installed
            RING
              IPv4  1 of 2 members, nobody is next
            MEMBER
              10.0.1.11  this host      in the ring                                                       1 announced, 1 not announced
              10.0.1.12  unknown    5m  not in the ring: it was not heard since the start of this daemon
            warning: chain: member 10.0.1.12 was not heard for 5m: compare `members`, `port` and the key on both hosts, and its packet filter"#]],
        ),
        (
            ChainStatus { off: Some(off), send_errors: 2, ..alone },
            expect![[r#"
                chain: this host is 10.0.1.11, forwarding is switched off
                RING
                  IPv4  1 of 2 members, nobody is next
                MEMBER
                  10.0.1.11  this host      in the ring                                                       1 announced, 1 not announced
                  10.0.1.12  unknown    5m  not in the ring: it was not heard since the start of this daemon
                PACKET          IPv4
                  forwarded     1200  passed on to the next member
                  started          0  of these, the way along the ring began here
                  accepted         0  came marked, and have a socket here
                  returned         0  ended their way without a socket: this host's stack answered
                  over budget      7  dropped because of `budget`: TCP sends them again
                  flood            0  far over `budget`: this host's stack answered
                  not started      0  not forwarded: switched off, or nobody is next
                  foreign mark     0  have a mark, and are from no member
                  expired          0  went round until their TTL ended: a member is not believed
                HEARTBEAT
                  2  not sent by the kernel
                warning: chain: forwarding is switched off on this host since 2026-01-31T12:00:00Z by ann: tests; `announcer chain on` ends that
                warning: chain: member 10.0.1.12 was not heard for 5m: compare `members`, `port` and the key on both hosts, and its packet filter"#]],
        ),
        (
            status(V4, &[Other(12, MemberState::Alive, Some(other_list), NONE)], now),
            expect![[r#"
                chain: this host is 10.0.1.11
                RING
                  IPv4  2 of 2 members, next 10.0.1.12
                MEMBER
                  10.0.1.11  this host      in the ring             1 announced, 1 not announced
                  10.0.1.12  alive      5m  in the ring, it leaves
                PACKET          IPv4
                  forwarded     1200  passed on to the next member
                  started          0  of these, the way along the ring began here
                  accepted         0  came marked, and have a socket here
                  returned         0  ended their way without a socket: this host's stack answered
                  over budget      7  dropped because of `budget`: TCP sends them again
                  flood            0  far over `budget`: this host's stack answered
                  not started      0  not forwarded: switched off, or nobody is next
                  foreign mark     0  have a mark, and are from no member
                  expired          0  went round until their TTL ended: a member is not believed"#]],
        ),
    ] {
        want.assert_eq(&text(&report_of(&chain, now), None));
    }
}

#[test]
fn a_chain_without_forwarding_has_no_ring() {
    let now = Instant::now();
    let own = Own {
        address: address(11),
        wanted: Families::NONE,
        switched_off: true,
        presence: MemberPresence::Here,
        members: ListDigest::default(),
    };
    let chain = four(V4, now);
    let list: Vec<IpAddr> = chain.ring.entries.iter().map(|entry| entry.member).collect();
    let ring = Ring::new(&list, &own, &BTreeMap::new());
    let chain = ChainStatus { forward: false, ring, installed: false, counters: [None, None], ..chain };
    let printed = text(&report_of(&chain, now), Some(60));
    assert!(
        printed.starts_with("chain: this host is 10.0.1.11, heartbeats alone (`forward =…\nMEMBER\n"),
        "{printed}"
    );
    assert!(printed.lines().all(|line| line.chars().count() <= 60), "{printed}");
    let members = printed.lines().filter(|line| line.starts_with("  "));
    assert!(members.clone().count() == 4 && members.clone().all(|line| !line.contains("ring")), "{printed}");
}

#[test]
fn the_report_says_where_members_differ() {
    let now = Instant::now();
    let other = Facts { services: ListDigest([9; 8]), ..facts(12, V4) };
    let report = report_of(&status(V4, &[Other(12, MemberState::Alive, Some(other), NONE)], now), now);
    let member = &report.members[1];
    assert_eq!((member.same_members, member.same_services), (Some(true), Some(false)));
    assert_eq!((member.lasts, member.last_heartbeat), (Some(300.0), Some(300.0)));
    assert_eq!(member.next_hops["ipv6"], "fe80::c".parse::<IpAddr>().unwrap());
    assert_eq!(
        (&member.in_ring, member.rules.as_deref()),
        (&vec!["ipv4".to_owned()], Some(&["ipv4".to_owned()][..]))
    );
    assert_eq!(report.rings.keys().collect::<Vec<_>>(), ["ipv4"]);
    assert_eq!(report.members[0].same_members, Some(true));
}

#[test]
fn one_line_says_how_large_the_ring_is() {
    let now = Instant::now();
    let whole = |wanted| {
        let other = |last| Other(last, MemberState::Alive, Some(facts(last, Families::BOTH)), NONE);
        status(wanted, &[other(12), other(13), other(14)], now)
    };
    let off = OffOrder { reason: String::new(), by: String::new(), at: String::new() };
    for (chain, ok, words) in [
        (whole(V4), true, "4 of 4 members in the ring, next 10.0.1.12"),
        (whole(Families::BOTH), true, "4 of 4 members in the ring, next 10.0.1.12"),
        (four(V4, now), false, "3 of 4 members in the ring, next 10.0.1.12"),
        (
            four(Families::BOTH, now),
            false,
            "IPv4: 3 of 4 members in the ring, next 10.0.1.12; IPv6: 2 of 4 members in the ring, next 10.0.1.12",
        ),
        (ChainStatus { installed: false, ..whole(V4) }, false, "4 of 4 members in the ring, next 10.0.1.12"),
        (
            ChainStatus { off: Some(off), ..whole(V4) },
            false,
            "4 of 4 members in the ring, next 10.0.1.12, forwarding is switched off on this host",
        ),
        (
            status(V4, &[Other(12, MemberState::Dead, None, NONE)], now),
            false,
            "1 of 2 members in the ring, nobody is forwarded to",
        ),
        (
            ChainStatus { forward: false, installed: false, ..whole(V4) },
            true,
            "4 of 4 members live, packets are not forwarded (`forward = false`)",
        ),
        (
            ChainStatus { problems: vec!["no key".into()], ..whole(V4) },
            false,
            "4 of 4 members in the ring, next 10.0.1.12",
        ),
        (
            whole(Families::NONE),
            true,
            "4 of 4 members live, this host has no VIP with an address on the segment",
        ),
        (ChainStatus { configured: true, ..ChainStatus::default() }, false, "it does not work here"),
    ] {
        let summary = summary(&chain).unwrap();
        assert_eq!((summary.text.as_str(), summary.ok), (words, ok));
    }
    assert_eq!(summary(&ChainStatus::default()), None);
}

#[test]
fn explain_says_which_flows_are_kept_and_where_they_go() {
    let now = Instant::now();
    let off = || OffOrder { reason: String::new(), by: String::new(), at: String::new() };
    let alone = status(V4, &[Other(12, MemberState::Dead, None, NONE)], now);
    let v6: IpAddr = "2001:db8::80".parse().unwrap();
    for (chain, vip, ports, want) in [
        (
            four(V4, now),
            vip(80),
            &[443, 80][..],
            "The chain keeps flows to it on TCP ports 80, 443; packets of flows that this host does not know go to member 10.0.1.12.",
        ),
        (
            four(V4, now),
            vip(80),
            &[],
            "The chain keeps no flows to it: no check probes the VIP at a TCP port, and its service has no `ports`.",
        ),
        (
            four(V4, now),
            v6,
            &[80],
            "The chain keeps flows to it on TCP port 80; but its rules are not installed here, so this is plain ECMP.",
        ),
        (
            alone,
            vip(80),
            &[80],
            "The chain keeps flows to it on TCP port 80; but nobody else is in the ring.",
        ),
        (
            ChainStatus { off: Some(off()), ..four(V4, now) },
            vip(80),
            &[80],
            "The chain keeps flows to it on TCP port 80; but forwarding is switched off on this host.",
        ),
        (
            ChainStatus { forward: false, ..four(V4, now) },
            vip(80),
            &[80],
            "The chain forwards no packets: `forward = false`.",
        ),
        // The reason that has to be removed first is named.
        (
            ChainStatus { off: Some(off()), ..four(V4, now) },
            v6,
            &[80],
            "The chain keeps flows to it on TCP port 80; but its rules are not installed here, so this is plain ECMP.",
        ),
    ] {
        assert_eq!(explain(&chain, vip, &ports.iter().copied().collect()).as_deref(), Some(want));
    }
    assert_eq!(explain(&ChainStatus::default(), vip(80), &[80].into()), None);
}

#[test]
fn vips_are_shown_by_member_and_marked_if_too_few_announce_them() {
    let now = Instant::now();
    let found = site(&four(V4, now), &own_vips());
    let counts: Vec<_> = found.vips.iter().map(|vip| (vip.announcers, vip.lacks_announcers())).collect();
    // The dead member announces nothing, and a last choice does not count.
    assert_eq!(counts, [(2, false), (1, true), (1, false)]);
    expect![[r#"
        3 VIPs on 4 members, 1 VIP announced by fewer members than `min_announcers`
                                                  10.0.1.11      10.0.1.12    10.0.1.13  10.0.1.14
                                                  this host      alive        dead       silent
               www                    192.0.2.80  announced      announced    -          drained
          FEW  api                    192.0.2.81  not announced  last choice  -          announced  1 of 2 announce it
               (not configured here)  192.0.2.82  -              -            -          announced"#]].assert_eq(&table(&found, None));
    expect![[r#"
        3 VIPs on 4 members, 1 VIP announced by fewer members than `min_announcers`
          1  10.0.1.11  this host
          2  10.0.1.12  alive
          3  10.0.1.13  dead
          4  10.0.1.14  silent
        A announced, L last choice, D drained, S starting, N not announced, - not known
                                                  1  2  3  4
               www                    192.0.2.80  A  A  -  D
          FEW  api                    192.0.2.81  N  L  -  A  1 of 2 announce it
               (not configured here)  192.0.2.82  -  -  -  A"#]]
    .assert_eq(&table(&found, Some(80)));
    let none = SiteReport { members: Vec::new(), vips: found.vips };
    assert_eq!(
        table(&none, None),
        "the chain does not work here, so nothing is known of the other members: `announcer chain` says why"
    );
}

#[test]
fn an_order_has_a_reason_if_it_switches_off() {
    let operator = Operator::new(0, Some("root".into()), Some("ann".into()));
    let facts = OrderFacts { operator, now: SystemTime::UNIX_EPOCH, boot: None };
    let order = |off: bool, reason: Option<&str>| {
        let order = ChainOrder { off, reason: reason.map(str::to_owned), by: None };
        off_order(&order, &facts).map_err(|error| error.text)
    };
    let stored = OffOrder {
        reason: "new switch".into(),
        by: "root (said to be ann)".into(),
        at: "1970-01-01T00:00:00Z".into(),
    };
    assert_eq!(order(true, Some(" new\nswitch ")), Ok(Some(stored)));
    assert_eq!(order(false, None), Ok(None));
    let why = "write a reason, so that other operators know when it may end";
    for reason in [None, Some(""), Some("  ")] {
        assert_eq!(order(true, reason).unwrap_err(), why);
    }
    assert_eq!(order(false, Some("x")).unwrap_err(), "a reason is only for switching the chain off");
    assert!(order(true, Some(&"x".repeat(1001))).unwrap_err().starts_with("the reason has 1001 octets"));
}
