//! The rules of the chain in the kernel, with real packets: four frontends on a bridge behind a router with plain ECMP, for IPv4 and
//! IPv6. Each test makes its own network namespaces. Needs root, `ip` and `nft`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod segment;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use announcer::chain::rules::counters::ChainCounters;
use announcer::chain::rules::{
    BelievedSources, ForwardingSwitch, ListenOn, MAX_MEMBERS, RuleSet, install, remove,
};
use segment::packets::{ACK, Arrived, RST, Raw, SYN, Segment};
use segment::{FRONTENDS, Flows, Namespace, PORT, QUIET, Site, VIP_V4, VIP_V6, VIPS, mac, member};
use until::{assert_until, until};

const ALL: [usize; 4] = [0, 1, 2, 3];
/// How many connections a test opens for each VIP.
const FLOWS: usize = 100;

/// Runs the test in a thread of its own, if it may make network namespaces.
fn with_root(test: impl FnOnce()) {
    if nix::unistd::geteuid().is_root() {
        test();
    } else {
        println!("SKIPPED: needs root to make a network namespace; run the tests with sudo");
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

/// Rules of the client that count the packets with a DSCP.
const MARKED: &str = "
table inet seen {
    counter marked { }
    chain in {
        type filter hook input priority 0
        ip dscp != 0 counter name marked
        ip6 dscp != 0 counter name marked
    }
}
";

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
fn a_packet_that_nobody_owns_gets_one_reset() {
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        site.client.nft(MARKED);
        site.ring(&ALL);
        for vip in VIPS {
            let raw = Raw::tcp(&site, vip);
            // From the router, 35 is no mark: it is what the origin would write itself. 34 would skip a member, 63 go round for long.
            let forged = [0, 1, 31, 32, 33, 34, 35, 36, 46, 63];
            let (arrived, counted) = site.counted(vip, || {
                (7000..).zip(forged).for_each(|(port, dscp)| raw.send(Segment { dscp, ..stray(port) }));
                raw.arrived(|port| port / 1000 == 7, QUIET)
            });
            let ports: BTreeSet<u16> = arrived.iter().map(|arrived| arrived.segment.port).collect();
            assert_eq!((arrived.len(), ports.len()), (forged.len(), forged.len()), "{arrived:?}");
            assert!(arrived.iter().all(|arrived| arrived.segment.flags == RST), "{arrived:?}");
            let wanted = ChainCounters {
                forwarded: 4 * 10,
                started: 10,
                returned: 10,
                foreign_mark: 7,
                ..ChainCounters::default()
            };
            assert_eq!(counted, wanted);
        }
        let seen = site.client.feed("nft", &["list", "counter", "inet", "seen", "marked"], "").unwrap();
        assert!(seen.contains("packets 0 "), "no mark leaves the chain: {seen}");
    });
}

#[test]
fn an_ordinary_dscp_is_no_mark() {
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        site.ring(&ALL);
        for vip in VIPS {
            let mut expedited = site.flows(vip, 1);
            expedited.set_dscp(46);
            let (broken, counted) = site.counted(vip, || expedited.broken());
            assert_eq!((broken, counted), (0, ChainCounters::default()));
        }
    });
}

#[test]
fn the_mac_of_a_member_is_believed_on_the_segment_alone() {
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        site.ring(&ALL);
        // Another link between the router and frontend 0. The router has the MAC of frontend 1 on it.
        let thread = site.frontends[0].thread;
        site.router.ip(&[
            &format!("link add eth9 address 02:00:00:00:00:11 type veth peer name eth9 netns {thread}"),
            "address add 10.9.0.1/24 dev eth9",
            "address add 2001:db8:9::1/64 dev eth9 nodad",
            "link set eth9 up",
        ]);
        site.frontends[0].ip(&[
            "address add 10.9.0.2/24 dev eth9",
            "address add 2001:db8:9::2/64 dev eth9 nodad",
            "link set eth9 up",
        ]);
        site.router.ip(&[
            format!("route replace {VIP_V4}/32 via 10.9.0.2"),
            format!("route replace {VIP_V6}/128 via 2001:db8:9::2"),
        ]);
        for vip in VIPS {
            let raw = Raw::tcp(&site, vip);
            let forged = Segment { dscp: 32, ..stray(7000) };
            let (resets, counted) = site.counted(vip, || resets(&raw, forged));
            assert_eq!((resets.len(), counted), (1, one_round(1)));
        }
    });
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

#[test]
fn rings_that_differ_end_every_packet_after_at_most_32_hops() {
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        // Frontend 0 forwards to 1, and believes that there are 32 members; 1, 2 and 3 forward in a circle without it.
        for (frontend, next, length) in [(0, 1, 32), (1, 2, 2), (2, 3, 3), (3, 1, 4)] {
            site.install(frontend, &site.rules(frontend, next, length));
        }
        to_one(&site, 0);
        for vip in VIPS {
            let raw = Raw::tcp(&site, vip);
            let (resets, counted) = site.counted(vip, || resets(&raw, stray(7000)));
            let wanted = ChainCounters { forwarded: MAX_MEMBERS.into(), ..one_round(0) };
            assert_eq!((resets.len(), counted), (1, wanted));
            assert_eq!(site.frontends[0].counters()[family(vip)].unwrap().returned, 0, "it ends elsewhere");
        }
    });
}

#[test]
fn a_missing_mac_makes_no_endless_loop() {
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        site.ring_with(&ALL, |rules| {
            if let BelievedSources::Macs(macs) = &mut rules.believed {
                macs.remove(&mac(3));
            }
        });
        to_one(&site, 0);
        for vip in VIPS {
            let raw = Raw::tcp(&site, vip);
            let (resets, counted) = site.counted(vip, || resets(&raw, stray(7000)));
            // Linux sends with TTL 64, and the router has lowered it.
            assert_eq!((resets.len(), counted.forwarded), (1, 62), "{counted:?}");
            assert_eq!((counted.returned, counted.expired), (1, 1), "{counted:?}");
        }
    });
}

#[test]
fn the_shortest_and_the_longest_ring() {
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        site.ring(&[0, 1]);
        [2, 3].into_iter().for_each(|frontend| site.install(frontend, &site.rules(frontend, 0, 32)));
        to_one(&site, 0);
        let mut at_first = flows(&site);
        for vip in VIPS {
            let raw = Raw::tcp(&site, vip);
            let (resets, counted) = site.counted(vip, || resets(&raw, stray(7000)));
            assert_eq!((resets.len(), counted), (1, ChainCounters { forwarded: 2, ..one_round(0) }));
        }
        to_one(&site, 1);
        assert_eq!(broken(&mut at_first), [0, 0]);
    });
}

#[test]
fn the_budget_bounds_what_strangers_can_start() {
    const BUDGET: u32 = 200;
    const FLOOD: u16 = 3000;
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        site.ring_with(&ALL, |rules| rules.budget = NonZeroU32::new(BUDGET).unwrap());
        to_one(&site, 2);
        for vip in VIPS {
            let raw = Raw::tcp(&site, vip);
            let start = Instant::now();
            for number in 0..FLOOD {
                raw.send(stray(10_000 + number));
                if number % 100 == 99 {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            let passed =
                |total: &ChainCounters| total.started + total.over_budget + total.flood == u64::from(FLOOD);
            let total = until(Duration::from_secs(2), || {
                let total = site.total()[family(vip)];
                if passed(&total) && total.returned == total.started { Ok(total) } else { Err(total) }
            });
            let total = total.unwrap_or_else(|total| panic!("{total:?}"));
            let most = f64::from(BUDGET) * (start.elapsed().as_secs_f64() + 1.0) + 1.0;
            let number = |packets: u64| f64::from(u32::try_from(packets).unwrap());
            assert!(number(total.started) <= most && total.started >= u64::from(BUDGET), "{most} {total:?}");
            // Three times as many are dropped, and only what is more gets a RST here.
            let dropped = total.over_budget;
            assert!(number(dropped) <= most * 3.0 && dropped >= u64::from(BUDGET * 3), "{most} {total:?}");
            assert!(total.flood > 0, "{total:?}");
            // The members that only pass the packets on have no budget for that.
            assert_eq!(total.forwarded, total.started * 4, "{total:?}");
        }
    });
}

#[test]
fn flows_that_need_more_than_the_budget_wait_and_do_not_break() {
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        site.ring_with(&ALL, |rules| rules.budget = NonZeroU32::new(10).unwrap());
        to_one(&site, 0);
        let mut at_first = flows(&site);
        // All flows are with this frontend now, and send at once.
        to_one(&site, 1);
        assert_eq!(broken(&mut at_first), [0, 0]);
        for (index, total) in site.total().iter().enumerate() {
            assert!(total.over_budget > 0 && total.flood == 0, "family {index}: {total:?}");
        }
    });
}

#[test]
fn path_mtu_errors_reach_the_owner() {
    each_kind(|listens| {
        let mut site = Site::new(listens);
        site.ring(&ALL);
        for (vip, client, mtu) in [(VIPS[0], "198.51.100.2", 1111), (VIPS[1], "2001:db8:51::2", 1311)] {
            to_one(&site, 0);
            let raw = Raw::tcp(&site, vip);
            let mut flow = site.flows(vip, 1);
            let port = flow.0[0].local_addr().unwrap().port();
            let last = *raw.arrived(|to| to == port, QUIET).last().unwrap();
            let seq = last.segment.seq.wrapping_add(last.length);
            let protocol = if vip.is_ipv4() { socket2::Protocol::ICMPV4 } else { socket2::Protocol::ICMPV6 };
            let raw = Raw::new(&site, vip, protocol);
            let ((), own) = site.counted(vip, || raw.send_too_big(port, seq, mtu + 1));
            assert_eq!(own, ChainCounters::default(), "the owner got it");
            // The error arrives at another frontend, two hops away from the owner; its server is dead, the one between lives.
            site.kill(2);
            to_one(&site, 2);
            let ((), moved) = site.counted(vip, || raw.send_too_big(port, seq, mtu));
            let wanted = ChainCounters { forwarded: 2, started: 1, accepted: 1, ..ChainCounters::default() };
            assert_eq!(moved, wanted, "{listens:?} {vip}");
            let words = ["route", "get", client, "from", &vip.to_string()];
            let route = site.frontends[0].feed("ip", &words, "").unwrap();
            assert!(route.contains(&format!("mtu {mtu}")), "{listens:?} {route}");
            assert_eq!(flow.broken(), 0);
            let ((), nobodys) = site.counted(vip, || raw.send_too_big(port ^ 1, seq, mtu));
            assert_eq!(nobodys, one_round(0), "{listens:?} {vip}");
            site.serve(2);
            let ((), others) = site.counted(vip, || {
                raw.send_too_big_for(17, PORT, port, seq, mtu);
                raw.send_too_big_for(6, PORT + 1, port, seq, mtu);
            });
            assert_eq!(others, ChainCounters::default(), "of no TCP service: {listens:?} {vip}");
        }
    });
}

#[test]
fn what_is_no_full_socket_stays_where_it_is() {
    each_kind(|listens| {
        let mut site = Site::new(listens);
        site.ring(&ALL);
        to_one(&site, 1);
        // The client must not answer for the ports of the raw socket.
        site.client.nft("table inet mute { chain out { type filter hook output priority 0; tcp sport 7000 tcp flags & rst == rst drop\n }\n }");
        for vip in VIPS {
            let raw = Raw::tcp(&site, vip);
            let syn = Segment { flags: SYN, ack: 0, ..stray(7000) };
            let ((), counted) = site.counted(vip, || {
                raw.send(syn);
                let answers = raw.arrived(|port| port == 7000, QUIET);
                assert!(answers.iter().all(|answer| answer.segment.flags == SYN | ACK), "{answers:?}");
                assert!(has_socket(&site, "syn-recv", 7000));
                // The same SYN again, and an ACK that is not the right one.
                raw.send(syn);
                raw.send(Segment { seq: 1001, ack: 5, ..stray(7000) });
            });
            assert_eq!(counted, ChainCounters::default(), "SYN_RECV, {listens:?} {vip}");
        }
        for vip in VIPS {
            let raw = Raw::tcp(&site, vip);
            let mut flow = site.flows(vip, 1);
            let port = flow.0[0].local_addr().unwrap().port();
            // The server closes first.
            site.kill(1);
            assert_eq!(flow.0[0].read(&mut [0]).unwrap(), 0);
            drop(flow);
            assert_until(Duration::from_secs(1), "TIME_WAIT", || has_socket(&site, "time-wait", port));
            let ((), counted) = site.counted(vip, || raw.send(stray(port)));
            assert_eq!(counted, ChainCounters::default(), "TIME_WAIT, {listens:?} {vip}");
            site.serve(1);
        }
    });
}

/// Whether frontend 1 has a socket in this state, as `ss` calls it, for a port of the client.
fn has_socket(site: &Site, state: &str, port: u16) -> bool {
    let sockets = site.frontends[1].feed("ss", &["-Htn", "state", state], "").unwrap();
    sockets.lines().any(|line| line.trim_end().ends_with(&format!(":{port}")))
}

#[test]
fn syn_cookies_are_checked_where_they_were_made() {
    each_kind(|listens| {
        let site = Site::new(listens);
        site.frontends.iter().for_each(|frontend| frontend.sysctl(&[("ipv4/tcp_syncookies", "2")]));
        site.ring(&ALL);
        let mut open = flows(&site);
        let opened = site.total();
        assert!(opened.iter().all(|total| total.returned >= u64::try_from(FLOWS).unwrap()), "{opened:?}");
        // From now on they are connections as others are.
        assert_eq!(broken(&mut open), [0, 0]);
        let total = site.total();
        assert_eq!(total.map(|total| total.started), opened.map(|total| total.started), "{listens:?}");
        site.routes(&[0, 2]);
        assert_eq!(broken(&mut open), [0, 0]);
    });
}

#[test]
fn a_host_whose_forwarding_is_off_still_serves_the_ring() {
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        site.ring(&ALL);
        let off = |rules: &mut RuleSet| rules.forwarding = ForwardingSwitch::Off;
        for vip in VIPS {
            to_one(&site, 2);
            let mut of_two = site.flows(vip, 5);
            to_one(&site, 1);
            let mut of_one = site.flows(vip, 5);
            // Frontend 1 is off: the way from 0 to 2 goes through it, and it accepts its own.
            let mut rules = site.rules(1, 2, 4);
            off(&mut rules);
            site.install(1, &rules);
            to_one(&site, 0);
            assert_eq!((of_two.broken(), of_one.broken()), (0, 0), "{vip}");
            // It starts nothing itself.
            to_one(&site, 1);
            assert_eq!((of_two.broken(), of_one.broken()), (5, 0), "{vip}");
            let own = site.frontends[1].counters()[family(vip)].unwrap();
            assert!(own.started == 0 && own.not_started > 0 && own.forwarded > 0, "{own:?}");
            site.install(1, &site.rules(1, 2, 4));
        }
    });
}

#[test]
fn a_host_that_is_alone_answers_marked_packets_too() {
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        site.ring(&ALL);
        let mut alone = site.rules(1, 2, 4);
        (alone.v4.next, alone.v6.next) = (None, None);
        site.install(1, &alone);
        for vip in VIPS {
            let raw = Raw::tcp(&site, vip);
            to_one(&site, 1);
            let (unmarked, counted) = site.counted(vip, || resets(&raw, stray(7000)));
            let not_started = ChainCounters { not_started: 1, ..ChainCounters::default() };
            assert_eq!((unmarked.len(), counted), (1, not_started));
            let mut own = site.flows(vip, 5);
            to_one(&site, 0);
            let (marked, counted) = site.counted(vip, || resets(&raw, stray(7001)));
            assert_eq!((marked.len(), counted), (1, ChainCounters { forwarded: 1, ..one_round(0) }));
            assert_eq!(own.broken(), 0, "its connections are found");
        }
    });
}

#[test]
fn a_mark_is_gone_when_a_server_reads_the_packet() {
    with_root(|| {
        let mut site = Site::new(ListenOn::Wildcard);
        site.client.nft(MARKED);
        site.frontends.iter().for_each(|frontend| frontend.sysctl(&[("ipv4/tcp_reflect_tos", "1")]));
        site.ring(&ALL);
        site.kill(0);
        to_one(&site, 0);
        let _taken = flows(&site);
        let seen = site.client.feed("nft", &["list", "counter", "inet", "seen", "marked"], "").unwrap();
        assert!(seen.contains("packets 0 "), "{seen}");
    });
}

#[test]
fn a_vxlan_device_is_believed_by_its_name() {
    with_root(|| {
        let site = Site::new(ListenOn::Wildcard);
        for (number, frontend) in site.frontends.iter().enumerate() {
            frontend.ip(&[
                "link add chain0 type vxlan id 4242 dstport 4789 dev eth0 nolearning",
                &format!("address add 10.1.0.{}/24 dev chain0", number + 1),
                &format!("address add 2001:db8:11::{}/64 dev chain0 nodad", number + 1),
                "link set chain0 up",
            ]);
            for other in ALL.into_iter().filter(|other| *other != number) {
                let to = member(other).0.to_string();
                let fdb = ["fdb", "append", "00:00:00:00:00:00", "dev", "chain0", "dst", &to];
                frontend.feed("bridge", &fdb, "").unwrap();
            }
            let mut rules = site.rules(number, (number + 1) % FRONTENDS, FRONTENDS);
            rules.device = "chain0".parse().unwrap();
            rules.believed = BelievedSources::Device;
            let last = u8::try_from((number + 1) % FRONTENDS + 1).unwrap();
            rules.v4.next.as_mut().unwrap().address = [10, 1, 0, last].into();
            rules.v6.next.as_mut().unwrap().address = [0x2001, 0xdb8, 0x11, 0, 0, 0, 0, last.into()].into();
            site.install(number, &rules);
        }
        let mut open = flows(&site);
        site.routes(&[1, 3]);
        assert_eq!(broken(&mut open), [0, 0]);
        for vip in VIPS {
            let raw = Raw::tcp(&site, vip);
            let (resets, counted) = site.counted(vip, || resets(&raw, Segment { dscp: 63, ..stray(7000) }));
            assert_eq!((resets.len(), counted), (1, one_round(1)), "the router's mark is not believed");
        }
        // The way to the client is not on this device: the members forward the packet, but no stack gets it.
        site.frontends.iter().for_each(|frontend| frontend.sysctl(&[("ipv4/conf/chain0/rp_filter", "1")]));
        let raw = Raw::tcp(&site, VIPS[0]);
        let (resets, counted) = site.counted(VIPS[0], || resets(&raw, stray(7001)));
        assert_eq!((resets.len(), counted), (0, one_round(0)), "strict rp_filter");
    });
}

#[test]
fn an_administrators_own_mark_is_kept() {
    with_root(|| {
        let site = Site::new(ListenOn::Address);
        site.ring(&ALL);
        for frontend in &site.frontends {
            frontend.nft("table inet own { chain pre { type filter hook prerouting priority mangle; tcp dport 80 meta mark set 7\n }\n }");
        }
        let mut open = flows(&site);
        assert_eq!(site.total().map(|total| total.started), [0, 0], "connections with mark 7 are found");
        site.routes(&[0, 2]);
        assert_eq!(broken(&mut open), [0, 0]);
        for frontend in &site.frontends {
            let sockets = frontend.feed("ss", &["-Htne", "state", "established"], "").unwrap();
            assert!(!sockets.contains("fwmark:0x1000"), "{sockets}");
        }
    });
}

#[test]
fn installing_and_removing_leaves_nothing_and_touches_no_other_table() {
    with_root(|| {
        let host = Namespace::new();
        host.ip(&["link add eth0 type veth peer name other", "link set eth0 up"]);
        host.nft(
            "
            table inet filter {
                counter forwarded { packets 5 bytes 6 }
                set members { type ether_addr; elements = { 02:00:00:00:00:99 } }
                chain input {
                    type filter hook input priority filter; policy accept
                    tcp dport 22 counter name forwarded accept
                }
            }
            table ip nat {
                chain prerouting { type nat hook prerouting priority dstnat; }
            }
            ",
        );
        let before = host.ruleset();
        host.nft(&remove());
        assert_eq!(host.ruleset(), before, "nothing to remove");
        assert_eq!(host.counters(), [None, None]);
        let site_rules = |services: u32| {
            let first = usize::try_from(services % 7).unwrap();
            let mut rules = RuleSet {
                device: "eth0".parse().unwrap(),
                believed: BelievedSources::Macs((first..first + 31).map(mac).collect()),
                budget: NonZeroU32::new(1000).unwrap(),
                forwarding: ForwardingSwitch::On,
                v4: announcer::chain::rules::FamilyRules { services: [].into(), next: None },
                v6: announcer::chain::rules::FamilyRules { services: [].into(), next: None },
            };
            let ring = announcer::chain::rules::RingLength::new(32).unwrap();
            rules.v4.next = Some(announcer::chain::rules::NextMember { address: member(1).0, ring });
            rules.v6.next =
                Some(announcer::chain::rules::NextMember { address: "fe80::1".parse().unwrap(), ring });
            for number in 0..services {
                let listens = if number % 3 == 0 { ListenOn::Address } else { ListenOn::Wildcard };
                rules.v4.services.insert(((u32::from(VIP_V4) + number).into(), PORT), listens);
                rules.v6.services.insert(((u128::from(VIP_V6) + u128::from(number)).into(), PORT), listens);
            }
            rules
        };
        host.nft(&install(&site_rules(3)));
        let three = host.ruleset();
        assert_ne!(three, before);
        assert_eq!(host.counters(), [Some(ChainCounters::default()); 2]);
        for (services, limit) in [(0, 1), (5000, 3), (5000, 3), (3, 3)] {
            let rules = site_rules(services);
            let start = Instant::now();
            let text = install(&rules);
            let written = start.elapsed();
            host.nft(&text);
            println!(
                "{services} VIPs of each family: {} octets written in {written:?}, installed in {:?}",
                text.len(),
                start.elapsed() - written
            );
            assert!(start.elapsed() < Duration::from_secs(limit));
        }
        assert_eq!(host.ruleset(), three, "a replacement leaves nothing of the rules before it");
        host.nft(&(remove() + &install(&site_rules(3))));
        assert_eq!(host.ruleset(), three, "in one input");
        let mut alone = site_rules(3);
        alone.v4.next = None;
        host.nft(&install(&alone));
        host.nft(&remove());
        assert_eq!(host.ruleset(), before);
        host.nft(&remove());
    });
}
