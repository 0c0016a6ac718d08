//! The rules of the chain in the kernel, with real packets: four frontends on a bridge behind a router with plain ECMP, for IPv4 and
//! IPv6. Each test makes its own network namespaces. Needs root, `ip` and `nft`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "chain_rules/budget.rs"]
mod budget;
#[path = "chain_rules/marks.rs"]
mod marks;
#[path = "chain_rules/ring.rs"]
mod ring;
mod segment;
#[path = "chain_rules/sockets.rs"]
mod sockets;
#[path = "chain_rules/tables.rs"]
mod tables;

use std::net::IpAddr;

use announcer::chain::rules::ListenOn;
use announcer::chain::rules::counters::ChainCounters;
use segment::packets::{ACK, Arrived, RST, Raw, SYN, Segment};
use segment::{Flows, QUIET, Site, VIPS};

const ALL: [usize; 4] = [0, 1, 2, 3];
/// How many connections a test opens for each VIP.
const FLOWS: usize = 100;

/// Runs the test in a thread of its own, if it may make network namespaces.
fn with_root(test: impl FnOnce()) {
    if nix::unistd::geteuid().is_root() {
        test();
    } else {
        until::skipped("needs root to make a network namespace; run the tests with sudo");
    }
}

/// As [`with_root`], for both kinds of servers at the same time.
fn each_kind(test: impl Fn(ListenOn) + Sync) {
    with_root(|| {
        std::thread::scope(|threads| {
            threads.spawn(|| test(ListenOn::Address));
            test(ListenOn::Wildcard);
        });
    });
}

/// The index of a VIP's family in the counters.
fn family(vip: IpAddr) -> usize {
    usize::from(vip.is_ipv6())
}

/// A segment of a flow that nobody knows.
fn stray(port: u16) -> Segment {
    Segment { port, seq: 1000, ack: 2000, flags: ACK, dscp: 0 }
}

/// What is counted for one packet that nobody owns, in a ring of all.
fn one_round(foreign_mark: u64) -> ChainCounters {
    ChainCounters { forwarded: 4, started: 1, returned: 1, foreign_mark, ..ChainCounters::default() }
}

/// Flows to both VIPs.
fn flows(site: &Site) -> [Flows; 2] {
    VIPS.map(|vip| site.flows(vip, FLOWS))
}

fn broken(flows: &mut [Flows; 2]) -> [usize; 2] {
    flows.each_mut().map(Flows::broken)
}

#[test]
fn flows_survive_when_frontends_leave_and_join() {
    with_root(|| leave_and_join(ListenOn::Wildcard));
}

#[test]
fn flows_survive_when_servers_listen_on_the_vip() {
    with_root(|| leave_and_join(ListenOn::Address));
}

fn leave_and_join(listens: ListenOn) {
    let site = Site::new(listens);
    let mut plain = flows(&site);
    site.routes(&[0, 1, 3]);
    let left = broken(&mut plain);
    assert!(left.iter().all(|broken| *broken > FLOWS / 8), "plain ECMP breaks flows: {left:?}");
    plain = flows(&site);
    site.routes(&ALL);
    let joined = broken(&mut plain);
    assert!(joined.iter().all(|broken| *broken > FLOWS / 8), "plain ECMP breaks flows: {joined:?}");

    plain.into_iter().for_each(Flows::close);
    site.ring(&ALL);
    for gone in ALL {
        let others: Vec<usize> = ALL.into_iter().filter(|frontend| *frontend != gone).collect();
        let mut before = flows(&site);
        site.routes(&others);
        assert_eq!(broken(&mut before), [0, 0], "frontend {gone} left");
        let mut between = flows(&site);
        site.routes(&ALL);
        assert_eq!([broken(&mut before), broken(&mut between)], [[0, 0]; 2], "frontend {gone} joined");
        before.into_iter().chain(between).for_each(Flows::close);
    }
    let total = site.total();
    println!("plain ECMP broke {left:?} and {joined:?} of {FLOWS}; {total:?}");
    for total in total {
        // On a busy host, a last ACK can come when the server's socket is gone.
        assert!(
            total.accepted > 0 && total.returned <= total.started / 20,
            "every flow had an owner: {total:?}"
        );
    }
}

#[test]
fn replacing_the_rules_disturbs_no_flow_and_no_counter() {
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        site.ring(&ALL);
        let mut moved = flows(&site);
        site.routes(&[0, 1]);
        let mut last = site.total();
        for _ in 0..5 {
            std::thread::scope(|threads| {
                let replaced = threads.spawn(|| site.ring(&ALL));
                assert_eq!(broken(&mut moved), [0, 0]);
                replaced.join().unwrap();
            });
            let total = site.total();
            for (total, last) in total.iter().zip(last) {
                assert!(
                    total.accepted > last.accepted && total.forwarded > last.forwarded,
                    "{last:?} {total:?}"
                );
            }
            last = total;
        }
    });
}

#[test]
fn the_syns_of_a_dead_server_are_taken_by_the_next_member() {
    each_kind(|listens| {
        let mut site = Site::new(listens);
        site.kill(1);
        let refused = VIPS.map(|vip| site.connect(vip, FLOWS).1);
        assert!(refused.iter().all(|refused| *refused > 0), "without rules: {refused:?}");
        site.ring(&ALL);
        let mut taken = flows(&site);
        // Two dead servers in a row.
        site.kill(2);
        let [v4, v6] = VIPS.map(|vip| site.connect(vip, FLOWS));
        assert_eq!([v4.1, v6.1], [0, 0], "refused with two dead servers");
        // The flows that a neighbour has taken stay with it when the server is back.
        site.serve(1);
        let lost = broken(&mut taken);
        assert!(lost.iter().all(|lost| *lost < FLOWS), "{lost:?}");
        assert_eq!(broken(&mut [v4.0, v6.0]), [0, 0], "the server is back");
    });
}

/// Sends a segment, and returns the RSTs that come back for it.
fn resets(raw: &Raw, segment: Segment) -> Vec<Arrived> {
    raw.send(segment);
    let mut arrived = raw.arrived(|port| port == segment.port, QUIET);
    arrived.retain(|arrived| arrived.segment.flags & RST != 0);
    arrived
}

#[test]
fn a_syn_that_no_server_takes_is_refused_once() {
    with_root(|| {
        let mut site = Site::new(ListenOn::Wildcard);
        site.ring(&ALL);
        ALL.into_iter().for_each(|frontend| site.kill(frontend));
        for vip in VIPS {
            let raw = Raw::tcp(&site, vip);
            let syn = Segment { flags: SYN, ack: 0, ..stray(7000) };
            let (resets, counted) = site.counted(vip, || resets(&raw, syn));
            assert_eq!((resets.len(), counted), (1, one_round(0)));
        }
    });
}

/// Makes the router send to one frontend, so that a test knows where packets begin.
fn to_one(site: &Site, frontend: usize) {
    site.routes(&[frontend]);
}
