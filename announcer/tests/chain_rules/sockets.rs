//! What is no connection of its own: ICMP errors, half-open and closed connections, and SYN cookies.

use std::io::Read;
use std::time::Duration;

use announcer::chain::rules::counters::ChainCounters;
use until::assert_until;

use crate::segment::packets::{ACK, Raw, SYN, Segment};
use crate::segment::{PORT, QUIET, Site, VIPS};
use crate::{ALL, FLOWS, broken, each_kind, flows, one_round, stray, to_one};

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
