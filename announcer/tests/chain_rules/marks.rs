//! The marks of packets: which are believed, and that none leaves the chain.

use std::collections::BTreeSet;

use announcer::chain::rules::counters::ChainCounters;
use announcer::chain::rules::{BelievedSources, ListenOn};

use crate::segment::packets::{RST, Raw, Segment};
use crate::segment::{FRONTENDS, QUIET, Site, VIP_V4, VIP_V6, VIPS, member};
use crate::{ALL, broken, flows, one_round, resets, stray, to_one, with_root};

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
