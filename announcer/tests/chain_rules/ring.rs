//! Rings of other lengths, rings that differ, and hosts that forward nothing.

use announcer::chain::rules::counters::ChainCounters;
use announcer::chain::rules::{BelievedSources, ForwardingSwitch, ListenOn, MAX_MEMBERS, RuleSet};

use crate::segment::packets::Raw;
use crate::segment::{Site, VIPS, mac};
use crate::{ALL, broken, family, flows, one_round, resets, stray, to_one, with_root};

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
