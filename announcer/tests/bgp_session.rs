//! Tests a session from start to end, with a scripted router.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod scripted;

use std::sync::Arc;
use std::time::Duration;

use announcer::bgp::fsm::StateName;
use announcer::bgp::io::peers::Peers;
use announcer::bgp::io::session::SessionOrder;
use announcer::bgp::path::{Link, LinkState, Network};
use announcer::model::{Family, Liveness};
use announcer::rib::{NextHop, NotSent};
use scripted::{ENHANCED, KEEPALIVE, OPEN, REFRESH, Session, UPDATE, keepalive, message, open_body};
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

const VIP: &[u8] = &[32, 192, 0, 2, 80];
const END_OF_RIB_V4: &[u8] = &[0, 0, 0, 0];
const END_OF_RIB_V6: &[u8] = &[0, 0, 0, 7, 0x90, 15, 0, 3, 0, 2, 1];

#[tokio::test]
async fn a_vip_is_announced_withdrawn_and_announced_again() {
    let mut session = Session::start().await;
    session.announce(1, &["192.0.2.80/32", "2001:db8::80/128"]);
    let mut router = session.established().await;
    let v4 = router.update().await;
    assert!(v4.ends_with(VIP) && v4.windows(7).any(|w| w == [0x40, 3, 4, 127, 0, 0, 1]), "{v4:02x?}");
    let v6 = router.update().await;
    assert!(
        v6.windows(17).any(|w| w[0] == 128 && w[1..5] == [0x20, 1, 0xd, 0xb8] && w[16] == 0x80),
        "{v6:02x?}"
    );
    assert_eq!(router.update().await, END_OF_RIB_V4);
    assert_eq!(router.update().await, END_OF_RIB_V6);
    let status = session.until(|status| status.acknowledged == 1).await;
    assert_eq!((status.announced, status.not_sent.len(), status.sent.update), (2, 0, 4));

    session.announce(2, &["2001:db8::80/128"]);
    assert_eq!(router.update().await, [&[0, 5], VIP, &[0, 0]].concat());
    session.until(|status| status.acknowledged == 2 && status.announced == 1).await;
    session.announce(3, &["192.0.2.80/32", "2001:db8::80/128"]);
    assert!(router.update().await.ends_with(VIP));
    session.until(|status| status.acknowledged == 3).await;
}

#[tokio::test]
async fn a_generation_that_changes_nothing_for_a_peer_is_acknowledged_at_once() {
    let mut session = Session::start_with(|peer| peer.overrides.next_hop_v6 = None).await;
    session.announce(1, &["192.0.2.80/32"]);
    let mut router = session.established().await;
    for _ in 0..3 {
        router.update().await;
    }
    session.until(|status| status.acknowledged == 1).await;
    session.announce(2, &["192.0.2.80/32", "2001:db8::80/128"]);
    let status = session.until(|status| status.acknowledged == 2).await;
    assert_eq!(status.not_sent, [(Family::V6, NotSent::NoNextHop(Family::V6))].into());
    assert_eq!((status.announced, status.sent.update), (1, 3));
}

#[tokio::test]
async fn the_way_to_the_wire_is_measured_of_what_is_said_while_the_session_is_there() {
    let mut session = Session::start().await;
    session.announce(1, &["192.0.2.80/32"]);
    let _router = session.established().await;
    let status = session.until(|status| status.acknowledged == 1).await;
    assert_eq!((status.wire.count(), status.established), (0, 1), "the first table is old news");
    session.announce(2, &["192.0.2.80/32", "192.0.2.81/32"]);
    session.until(|status| status.acknowledged == 2).await;
    session.announce(3, &[]);
    let status = session.until(|status| status.acknowledged == 3).await;
    assert_eq!(status.wire.count(), 2);
    assert!(
        Duration::ZERO < status.wire.sum() && status.wire.sum() < Duration::from_secs(2),
        "{:?}",
        status.wire
    );
    session.announce(4, &[]);
    assert_eq!(session.until(|status| status.acknowledged == 4).await.wire.count(), 2, "nothing was said");
    session.order.send_replace(SessionOrder::Deconfigured);
    session.until(|status| status.downs == [("stopped", 1)].into()).await;
}

#[tokio::test]
async fn a_family_that_the_peer_does_not_have_is_not_sent() {
    let mut session = Session::start().await;
    session.announce(1, &["192.0.2.80/32", "2001:db8::80/128"]);
    let open = message(OPEN, &open_body(65000, 180, [10, 9, 9, 9], ENHANCED));
    let mut router = session.established_with(&open).await;
    assert!(router.update().await.ends_with(VIP));
    assert_eq!(router.update().await, END_OF_RIB_V4);
    let status = session.until(|status| status.acknowledged == 1).await;
    assert_eq!(status.not_sent, [(Family::V6, NotSent::FamilyNotNegotiated(Family::V6))].into());
}

// B1
#[tokio::test]
async fn a_family_that_our_configuration_leaves_out_is_no_fault_of_the_session() {
    let mut session = Session::start_with(|peer| peer.families = [Family::V4].into()).await;
    session.announce(1, &["192.0.2.80/32", "2001:db8::80/128"]);
    let mut router = session.established().await;
    assert!(router.update().await.ends_with(VIP));
    assert_eq!(router.update().await, END_OF_RIB_V4);
    let status = session.until(|status| status.acknowledged == 1).await;
    assert_eq!((status.announced, status.not_sent), (1, [].into()));
}

// B24
#[tokio::test]
async fn without_capabilities_an_old_router_has_a_session_and_the_ipv4_vips() {
    let session = Session::start_with(|peer| {
        peer.capabilities = false;
        peer.families = [Family::V4].into();
    })
    .await;
    session.announce(1, &["192.0.2.80/32"]);
    let (mut router, capabilities) = session.opened().await;
    assert_eq!(capabilities, []);
    router.send(&message(OPEN, &open_body(65000, 180, [10, 9, 9, 9], &[]))).await;
    router.expect(KEEPALIVE).await;
    router.send(&keepalive()).await;
    let update = router.update().await;
    // AS_PATH with an AS of two octets.
    assert!(
        update.ends_with(VIP) && update.windows(7).any(|o| o == [0x40, 2, 4, 2, 1, 0xfd, 0xe9]),
        "{update:02x?}"
    );
}

#[tokio::test]
async fn what_is_withdrawn_in_mid_handshake_is_never_announced() {
    let mut session = Session::start().await;
    session.announce(1, &["192.0.2.80/32"]);
    let mut router = session.open_confirm().await;
    session.announce(2, &[]);
    router.send(&keepalive()).await;
    assert_eq!(router.update().await, END_OF_RIB_V4);
    session.until(|status| status.acknowledged == 2).await;
}

#[tokio::test]
async fn a_refresh_sends_the_family_again_and_a_change_after_it_still_withdraws() {
    let mut session = Session::start().await;
    session.announce(1, &["192.0.2.80/32", "192.0.2.81/32"]);
    let mut router = session.established().await;
    for _ in 0..3 {
        router.update().await;
    }
    router.send(&message(REFRESH, &[0, 1, 0, 1])).await;
    let again = router.update().await;
    assert!(again.ends_with(&[32, 192, 0, 2, 80, 32, 192, 0, 2, 81]), "{again:02x?}");
    session.announce(2, &["192.0.2.81/32"]);
    assert_eq!(router.update().await, [&[0, 5], VIP, &[0, 0]].concat());
}

#[tokio::test]
async fn an_enhanced_refresh_is_bounded() {
    let mut session = Session::start().await;
    session.announce(1, &["192.0.2.80/32"]);
    let open = message(OPEN, &open_body(65000, 180, [10, 9, 9, 9], ENHANCED));
    let mut router = session.established_with(&open).await;
    router.update().await;
    router.update().await;
    router.send(&message(REFRESH, &[0, 1, 0, 1])).await;
    assert_eq!(router.expect(REFRESH).await, [0, 1, 1, 1]);
    assert!(router.expect(UPDATE).await.ends_with(VIP));
    assert_eq!(router.expect(REFRESH).await, [0, 1, 2, 1]);
}

#[tokio::test]
async fn messages_one_octet_at_a_time_and_several_at_once_are_the_same() {
    let mut session = Session::start().await;
    let mut router = session.open_sent().await;
    for octet in scripted::good_open() {
        router.send(&[octet]).await;
        tokio::task::yield_now().await;
    }
    router.expect(KEEPALIVE).await;
    let several =
        [keepalive(), keepalive(), message(UPDATE, &[0; 4]), message(REFRESH, &[0, 1, 0, 1])].concat();
    router.send(&several).await;
    let status = session.until(|status| status.received.refresh == 1).await;
    assert_eq!((status.received.keepalive, status.received.update), (2, 1));
    assert_eq!(status.state, StateName::Established);
}

#[tokio::test]
async fn a_silent_peer_is_dropped_when_the_hold_time_is_over() {
    let mut session = Session::start_with(|peer| peer.hold_time = Duration::from_secs(3)).await;
    let router = session.established().await;
    let began = tokio::time::Instant::now();
    assert_eq!(router.farewell().await, (4, 0, vec![]));
    let took = began.elapsed();
    assert!(Duration::from_millis(2900) < took && took < Duration::from_millis(3500), "{took:?}");
    let why = session.until(|status| status.last_down.is_some()).await.last_down.unwrap().why;
    assert_eq!(why.to_string(), "hold timer expired: no message from the peer for 3 s");
}

#[tokio::test]
async fn a_stop_says_why_half_closes_and_waits_for_the_peer() {
    let mut session = Session::start().await;
    let mut router = session.established().await;
    session.announce(1, &[]);
    // Octets that are never read: with a plain close, they would cause a reset, and the NOTIFICATION would be lost.
    router.send(&keepalive()).await;
    session.order.send_replace(SessionOrder::Shutdown { text: "disk swap".into() });
    let mut seen = vec![];
    router.stream.read_to_end(&mut seen).await.expect("a FIN, and no reset");
    let want = message(3, &[&[6, 2, 9], b"disk swap".as_slice()].concat());
    assert!(seen.ends_with(&want), "{seen:02x?}");
    drop(router);
    session.task.await.unwrap();
    assert_eq!(session.status.borrow().state, StateName::Idle);
}

#[tokio::test]
async fn a_stop_waits_a_second_at_most_and_a_peer_that_is_gone_not_at_all() {
    let mut session = Session::start().await;
    let router = session.established().await;
    session.order.send_replace(SessionOrder::Deconfigured);
    tokio::time::timeout(Duration::from_millis(1500), session.task).await.expect("it ends").unwrap();
    assert_eq!(router.farewell().await, (6, 3, vec![]));

    let session = Session::start().await;
    drop(session.accept().await);
    session.order.send_replace(SessionOrder::Shutdown { text: String::new() });
    tokio::time::timeout(Duration::from_millis(500), session.task).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_session_whose_peer_is_lost_by_bfd_ceases_and_dials_again() {
    let mut session = Session::start().await;
    let router = session.established().await;
    session.liveness.send_replace(Liveness { up: false, losses: 1 });
    assert_eq!(router.farewell().await, (6, 10, vec![]));
    session.open_sent().await;
}

#[tokio::test]
async fn a_router_that_comes_back_is_sent_all_again() {
    let mut session = Session::start().await;
    session.announce(1, &["192.0.2.80/32"]);
    let mut router = session.established().await;
    assert!(router.update().await.ends_with(VIP));
    drop(router);
    session.until(|status| status.state != StateName::Established && status.acknowledged == 0).await;
    let mut router = session.established().await;
    assert!(router.update().await.ends_with(VIP));
    session.until(|status| status.acknowledged == 1).await;
}

#[tokio::test]
async fn a_peer_that_stops_reading_holds_up_no_other_and_is_sent_the_sum_later() {
    let vips: Vec<String> =
        (0..5000_u32).map(|n| format!("{}/32", std::net::Ipv4Addr::from(0x0a00_0000 + n))).collect();
    let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
    // There is no hold time, so that a slow machine does not end the blocked session.
    let mut stuck = Session::start_narrow(|peer| peer.hold_time = Duration::ZERO).await;
    let mut well = Session::start().await;
    let mut blocked = stuck.established().await;
    let mut reading = well.established().await;
    let reader = tokio::spawn(async move {
        while let Some((kind, _)) = reading.next().await {
            if kind == KEEPALIVE {
                reading.send(&keepalive()).await;
            }
        }
    });
    let began = tokio::time::Instant::now();
    // Each has 25 kB: together this is much more than the buffers for a router with a small window that does not read.
    for generation in 1..=16 {
        let each: &[&str] = if generation % 2 == 1 { &vips } else { &[] };
        stuck.announce(generation, each);
        well.announce(generation, each);
        well.until(|status| status.acknowledged == generation).await;
    }
    let took = began.elapsed();
    assert!(stuck.status.borrow().acknowledged < 16, "the test blocks nobody");
    assert_eq!(stuck.status.borrow().state, StateName::Established);
    SockRef::from(&blocked.stream).set_recv_buffer_size(1 << 20).unwrap();
    stuck.announce(17, &["192.0.2.80/32"]);
    let mut last = vec![];
    while !last.ends_with(VIP) {
        last = blocked.update().await;
    }
    stuck.until(|status| status.acknowledged == 17 && status.announced == 1).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    reader.abort();
}

#[tokio::test]
async fn a_vip_is_never_the_source() {
    let mut session = Session::start().await;
    session.vips.send_replace(std::sync::Arc::new(["127.0.0.1".parse().unwrap()].into()));
    let status =
        session.until(|status| status.last_down.as_ref().is_some_and(|d| d.why.label() == "no_source")).await;
    assert_eq!(status.local_address, None);
}

/// A host with lo and one more interface.
fn network(lo: LinkState, other: LinkState) -> Arc<Network> {
    let link = |name: &str, state| Link { name: name.into(), state };
    Arc::new(Network {
        links: [(1, link("lo", lo)), (4711, link("eth9", other))].into(),
        ..Network::default()
    })
}

#[tokio::test]
async fn a_link_that_goes_down_ends_its_session_at_once_and_no_other() {
    use LinkState::{Down, Up};
    let (links, seen) = watch::channel(Arc::default());
    let mut session = Session::start_as(|local| local.network = seen, |_| {}).await;
    let mut router = session.established().await;
    links.send_replace(network(Up, Down));
    session.announce(1, &["192.0.2.80/32"]);
    assert!(router.update().await.ends_with(VIP), "another link is none of its business");
    session.until(|status| status.acknowledged == 1).await;

    links.send_replace(network(Down, Up));
    let status = session.until(|status| status.state == StateName::Idle).await;
    let down = status.last_down.unwrap();
    assert_eq!(
        (down.why.label(), down.why.to_string().as_str()),
        ("link_down", "the link of `lo` went down")
    );
    assert!(down.hint.is_some());
    links.send_replace(network(Up, Up));
    session.established().await;
}

/// W15: the link goes down before the connection is made.
#[tokio::test]
async fn a_cut_is_state_and_not_an_event_that_can_be_missed() {
    use LinkState::{Down, Up};
    let (links, seen) = watch::channel(network(Down, Up));
    let mut session = Session::start_as(|local| local.network = seen, |_| {}).await;
    let status = session.until(|status| status.last_down.is_some()).await;
    assert_eq!(status.last_down.unwrap().why.label(), "link_down");
    assert_eq!(status.established, 0);
    links.send_replace(network(Up, Up));
    let up = async {
        // Earlier connections that the session has closed also wait to be accepted.
        loop {
            let mut router = session.accept().await;
            if let Some((OPEN, _)) = router.next().await {
                return router;
            }
        }
    };
    let mut router = up.await;
    router.send(&scripted::good_open()).await;
    router.expect(KEEPALIVE).await;
}

/// B5: a prefix counts only after the router's kernel has acknowledged it.
#[tokio::test]
async fn prefixes_count_when_they_are_acknowledged_and_what_is_under_way_is_said_beside() {
    let vips: Vec<String> =
        (0..20_000_u32).map(|n| format!("{}/32", std::net::Ipv4Addr::from(0x0a00_0000 + n))).collect();
    let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
    let mut session = Session::start_narrow(|peer| peer.hold_time = Duration::ZERO).await;
    let mut router = session.established().await;
    session.announce(1, &vips);
    let status = session.until(|status| status.advertised == vips.len()).await;
    assert_eq!((status.acknowledged, status.announced), (0, 0), "100 kB fit into no buffer of this router");
    let reader = tokio::spawn(async move { while router.next().await.is_some() {} });
    session.until_late(|status| status.acknowledged == 1 && status.announced == vips.len()).await;
    reader.abort();
}

#[tokio::test]
async fn the_next_hops_that_are_advertised_can_be_seen() {
    let mut session = Session::start().await;
    let _router = session.established().await;
    let status = session.until(|status| status.next_hops.len() == 2).await;
    let want = [
        (Family::V4, NextHop::V4("127.0.0.1".parse().unwrap())),
        (Family::V6, NextHop::V6("2001:db8:1::1".parse().unwrap())),
    ];
    assert_eq!(status.next_hops, want.into());
    session.order.send_replace(SessionOrder::Deconfigured);
    session.until(|status| status.next_hops.is_empty()).await;
}

/// B3.
#[tokio::test]
async fn a_router_that_switches_the_hold_timer_off_is_refused_where_min_hold_time_says_so() {
    let open = message(OPEN, &open_body(65000, 0, [10, 9, 9, 9], scripted::CAPABILITIES));
    let mut session = Session::start_with(|peer| peer.min_hold_time = Some(Duration::from_secs(3))).await;
    let mut router = session.open_sent().await;
    router.send(&open).await;
    assert_eq!(router.farewell().await, (2, 6, vec![]));
    let down = session.until(|status| status.last_down.is_some()).await.last_down.unwrap();
    assert!(down.why.to_string().contains("`min_hold_time`") && down.hint.is_some(), "{down:?}");

    let mut session = Session::start().await;
    let _router = session.established_with(&open).await;
    let peer = session.peer.borrow().as_ref().clone();
    let warnings = Peers::new(vec![(peer, session.status.clone())]).warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("hold timer off"), "{warnings:?}");
}
