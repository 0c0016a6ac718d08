//! Tests the extensions with a scripted router, row by row; the name of a test says what it checks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod scripted;
#[path = "bgp_extensions/transport.rs"]
mod transport;

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use announcer::bgp::fsm::StateName;
use announcer::bgp::io::session::SessionOrder;
use announcer::config::{PeerAddress, PeerConfig};
use announcer::model::{Attributes, Community, Family, LargeCommunity, Origin, Overrides, PeerAsn};
use announcer::rib::NotSent;
use scripted::{CAPABILITIES, KEEPALIVE, OPEN, REFRESH, Router, Session, keepalive, message, open_body};

const ID: [u8; 4] = [10, 9, 9, 9];
const VIP: &[u8] = &[32, 192, 0, 2, 80];
const BOTH: &[&str] = &["192.0.2.80/32", "2001:db8::80/128"];

fn open(asn: u16, capabilities: &[u8]) -> Vec<u8> {
    message(OPEN, &open_body(asn, 180, ID, capabilities))
}

fn has(octets: &[u8], wanted: &[u8]) -> bool {
    octets.windows(wanted.len()).any(|window| window == wanted)
}

/// The next UPDATE that announces routes of a family.
async fn announced(router: &mut Router, family: Family) -> Vec<u8> {
    loop {
        let body = router.update().await;
        let reach: &[u8] = match family {
            Family::V4 => &[0x40, 3, 4],
            Family::V6 => &[0x90, 14, 0],
        };
        if has(&body, reach) {
            return body;
        }
    }
}

#[tokio::test]
async fn rfc_4760_only_families_in_both_opens() {
    let v6_alone = &[2, 6, 1, 4, 0, 2, 0, 1, 2, 6, 65, 4, 0, 0, 0xfd, 0xe8];
    let mut session = Session::start().await;
    session.announce(1, BOTH);
    let mut router = session.established_with(&open(65000, v6_alone)).await;
    let body = router.update().await;
    assert!(has(&body, &[0x90, 14, 0]) && !body.ends_with(VIP), "{body:02x?}");
    let status = session.until(|status| status.acknowledged == 1).await;
    assert_eq!(status.not_sent, [(Family::V4, NotSent::FamilyNotNegotiated(Family::V4))].into());
    assert_eq!(status.not_sent[&Family::V4].label(), "family_not_negotiated");

    // We offer only the configured families.
    let session = Session::start_with(|peer| peer.families = [Family::V4].into()).await;
    let (_router, offered) = session.opened().await;
    let families: Vec<&[u8]> =
        offered.iter().filter(|(code, _)| *code == 1).map(|(_, value)| value.as_slice()).collect();
    assert_eq!(families, [[0, 1, 0, 1]]);
}

#[tokio::test]
async fn rfc_2545_a_v6_next_hop_of_16_octets() {
    let mut session = Session::start().await;
    session.announce(1, BOTH);
    let mut router = session.established().await;
    let body = announced(&mut router, Family::V6).await;
    let address: std::net::Ipv6Addr = "2001:db8:1::1".parse().unwrap();
    let next_hop = [[0, 2, 1, 16].as_slice(), &address.octets()];
    assert!(has(&body, &next_hop.concat()), "{body:02x?}");
}

#[tokio::test]
async fn rfc_6793_as4_and_as_trans_to_old_peers() {
    let mut session = Session::start_as(|local| local.asn = 4_200_000_000.try_into().unwrap(), |_| {}).await;
    let attributes = Attributes { prepend: 1, ..Attributes::default() };
    session.announce_with(1, &["192.0.2.80/32"], attributes);
    let mut router = session.open_sent().await;
    router.send(&open(65000, &CAPABILITIES[..20])).await;
    router.expect(KEEPALIVE).await;
    router.send(&keepalive()).await;
    let body = announced(&mut router, Family::V4).await;
    assert!(has(&body, &[0x40, 2, 6, 2, 2, 0x5b, 0xa0, 0x5b, 0xa0]), "AS_PATH: {body:02x?}");
    let wide = [0xc0, 17, 10, 2, 2, 0xfa, 0x56, 0xea, 0, 0xfa, 0x56, 0xea, 0];
    assert!(has(&body, &wide), "AS4_PATH: {body:02x?}");
    session.until(|status| status.acknowledged == 1).await;
}

#[tokio::test]
async fn rfc_2918_a_refresh_resends_the_family_alone() {
    let mut session = Session::start().await;
    session.announce(1, BOTH);
    let mut router = session.established().await;
    for _ in 0..4 {
        router.update().await;
    }
    router.send(&message(REFRESH, &[0, 2, 0, 1])).await;
    let body = router.update().await;
    assert!(has(&body, &[0x90, 14, 0]), "{body:02x?}");
    router.send(&message(REFRESH, &[0, 1, 0, 1])).await;
    assert!(router.update().await.ends_with(VIP), "nothing of IPv4 came in between");
}

/// The value of our capability 64.
async fn restart_of(restarted: bool, time: Option<u64>, vips: &[&str]) -> Option<Vec<u8>> {
    let graceful = |local: &mut announcer::bgp::io::session::Local| {
        local.graceful_restart = time.map(Duration::from_secs);
        local.restarted = restarted;
        let vips = vips.iter().map(|vip| vip.parse::<IpAddr>().unwrap()).collect();
        local.vips = tokio::sync::watch::channel(Arc::new(vips)).1;
    };
    let session = Session::start_as(graceful, |_| {}).await;
    let (_router, offered) = session.opened().await;
    offered.into_iter().find(|(code, _)| *code == 64).map(|(_, value)| value)
}

#[tokio::test]
async fn rfc_4724_off_by_default_r_on_a_restart_f_only_if_vips_are_present() {
    assert_eq!(restart_of(true, None, &[]).await, None);
    let (v4, v6) = ([0, 1, 1], [0, 2, 1]);
    let value = |flags: u8, of_v4: u8, of_v6: u8| {
        Some([&[flags, 10], v4.as_slice(), &[of_v4], &v6, &[of_v6]].concat())
    };
    assert_eq!(restart_of(false, Some(10), &[]).await, value(0, 0, 0));
    assert_eq!(restart_of(true, Some(10), &["192.0.2.80"]).await, value(0x80, 0, 0));
    // An address that every test host has is used as a VIP on lo.
    assert_eq!(restart_of(true, Some(10), &["::1"]).await, value(0x80, 0, 0x80));
    assert_eq!(restart_of(false, Some(10), &["::1"]).await, value(0, 0, 0x80));
    assert_eq!(restart_of(true, Some(10), &["::1", "2001:db8::80"]).await, value(0x80, 0, 0));
}

#[tokio::test]
async fn rfc_4724_f_is_what_is_true_when_the_open_is_sent() {
    // The router accepts one connection at a time: ours waits until the other one is accepted.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut session = {
        let _first = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut session = Session::dialing(
            listener,
            |_| {},
            |local| {
                local.graceful_restart = Some(Duration::from_secs(10));
            },
        );
        session.until(|status| status.state == StateName::Connect).await;
        tokio::time::sleep(Duration::from_millis(200)).await; // its SYN was sent, and was dropped
        session.vips.send_replace(Arc::new(["::1".parse().unwrap()].into()));
        session.accept().await;
        session
    };
    let (_router, offered) = session.opened().await;
    let restart = offered.into_iter().find(|(code, _)| *code == 64).map(|(_, value)| value);
    assert_eq!(restart, Some(vec![0, 10, 0, 1, 1, 0, 0, 2, 1, 0x80]));
    session.until(|status| status.last_down.is_none()).await;
}

#[tokio::test]
async fn rfc_4724_end_of_rib_waits_for_the_first_verdicts_and_r_is_said_once() {
    let graceful = |local: &mut announcer::bgp::io::session::Local| {
        local.graceful_restart = Some(Duration::from_secs(10));
        local.restarted = true;
    };
    let mut session = Session::start_as(graceful, |_| {}).await;
    let (mut router, offered) = session.opened().await;
    assert!(offered.iter().any(|(code, value)| *code == 64 && value[0] == 0x80), "{offered:02x?}");
    router.send(&scripted::good_open()).await;
    router.expect(KEEPALIVE).await;
    router.send(&keepalive()).await;
    session.until(|status| status.state == StateName::Established).await;
    session.announce(1, &["192.0.2.80/32"]);
    assert!(router.update().await.ends_with(VIP));
    assert_eq!(router.update().await, [0, 0, 0, 0], "End-of-RIB behind it");
    drop(router);
    let lost = session.until(|status| status.last_down.is_some()).await;
    assert!(lost.kept_until.is_some(), "the router keeps the routes, and nothing says that they are gone");
    let (_router, offered) = session.opened().await;
    assert!(offered.iter().any(|(code, value)| *code == 64 && value[0] == 0), "{offered:02x?}");
}

#[tokio::test]
async fn rfc_8538_the_n_bit_is_not_set_and_a_stop_withdraws_then_ceases() {
    let restart = restart_of(true, Some(10), &[]).await.unwrap();
    assert_eq!(restart[0] & 0x40, 0);
    let mut session = Session::start().await;
    session.announce(1, &["192.0.2.80/32"]);
    let mut router = session.established().await;
    for _ in 0..3 {
        router.update().await;
    }
    session.announce(2, &[]);
    session.until(|status| status.acknowledged == 2).await;
    session.order.send_replace(SessionOrder::Shutdown { text: "bye".into() });
    assert_eq!(router.update().await, [&[0, 5], VIP, &[0, 0]].concat());
    assert_eq!(router.farewell().await, (6, 2, b"\x03bye".to_vec()));
}

#[tokio::test]
async fn rfc_9003_and_4486_cease_subcodes_with_a_text_of_at_most_255_octets() {
    for (order, want) in [
        (SessionOrder::Shutdown { text: "ü".repeat(200) }, (6, 2, 255)),
        (SessionOrder::Deconfigured, (6, 3, 0)),
    ] {
        let mut session = Session::start().await;
        let router = session.established().await;
        session.order.send_replace(order);
        let (code, subcode, data) = router.farewell().await;
        assert_eq!((code, subcode, data.len()), want);
        assert!(data.is_empty() || std::str::from_utf8(&data[1..]).is_ok(), "cut where a character ends");
    }
}

#[tokio::test]
async fn rfc_9003_received_text_is_sanitised() {
    let mut session = Session::start().await;
    let mut router = session.established().await;
    let text = "\u{1b}[31mgo away\u{202e}".as_bytes();
    let body = [&[6, 2, u8::try_from(text.len()).unwrap()], text].concat();
    router.send(&message(3, &body)).await;
    let down = session.until(|status| status.last_down.is_some()).await.last_down.unwrap();
    let said = down.why.to_string();
    assert!(said.contains("go away") && !said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
    assert_eq!(down.hint.as_deref(), Some("the router's operator shut this neighbour down"));
}

#[tokio::test]
async fn rfc_1997_8092_4360_canonical_no_duplicates() {
    let attributes = Attributes {
        communities: ["65001:2", "no-export", "65001:1", "65001:2"].map(|text| text.parse().unwrap()).into(),
        extended_communities: ["soo:65001:2", "rt:65001:80"].map(|text| text.parse().unwrap()).into(),
        large_communities: [LargeCommunity([2, 1, 1]), LargeCommunity([1, 1, 1])].into(),
        ..Attributes::default()
    };
    let mut session = Session::start().await;
    session.announce_with(1, &["192.0.2.80/32"], attributes);
    let mut router = session.established().await;
    let body = announced(&mut router, Family::V4).await;
    let standard = [0xfd, 0xe9, 0, 1, 0xfd, 0xe9, 0, 2, 0xff, 0xff, 0xff, 1];
    let at = body.windows(12).position(|octets| octets == standard).expect("sorted, each once");
    assert!(at > 3, "{body:02x?}");
    assert!(
        has(&body, &[0xc0, 16, 16, 0, 2, 0xfd, 0xe9, 0, 0, 0, 80, 0, 3, 0xfd, 0xe9, 0, 0, 0, 2]),
        "{body:02x?}"
    );
    assert!(has(&body, &[0xc0, 32, 24, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2]), "{body:02x?}");
}

#[tokio::test]
async fn link_bandwidth_extended_community_0x4004_octets_per_second_as_f32() {
    let attributes = Attributes {
        extended_communities: ["bandwidth:65001:125000000".parse().unwrap()].into(),
        ..Attributes::default()
    };
    let mut session = Session::start().await;
    session.announce_with(1, &["192.0.2.80/32"], attributes);
    let mut router = session.established().await;
    let body = announced(&mut router, Family::V4).await;
    assert!(has(&body, &[0xc0, 16, 8, 0x40, 4, 0xfd, 0xe9, 0x4c, 0xee, 0x6b, 0x28]), "{body:02x?}");
}

#[tokio::test]
async fn rfc_8950_v4_nlri_with_a_v6_next_hop_only_if_agreed() {
    let extended = [CAPABILITIES, &[2, 8, 5, 6, 0, 1, 0, 1, 0, 2]].concat();
    let mut session = Session::start_v6(|peer| {
        peer.overrides =
            Overrides { next_hop_v6: Some("2001:db8:1::1".parse().unwrap()), ..Overrides::default() };
        peer.overrides.next_hop_v4 = None;
    })
    .await;
    session.announce(1, BOTH);
    let (mut router, offered) = session.opened().await;
    assert!(offered.contains(&(5, vec![0, 1, 0, 1, 0, 2])), "{offered:02x?}");
    router.send(&open(65000, CAPABILITIES)).await;
    router.expect(KEEPALIVE).await;
    router.send(&keepalive()).await;
    // It is not negotiated, and the interface (lo) has no lasting IPv4 address: the routes are not sent.
    let status = session.until(|status| status.acknowledged == 1).await;
    assert_eq!(status.not_sent, [(Family::V4, NotSent::NoNextHop(Family::V4))].into());
    drop(router);

    let mut router = session.established_with(&open(65000, &extended)).await;
    let status =
        session.until(|status| status.negotiated.as_ref().is_some_and(|n| n.extended_next_hop)).await;
    assert_eq!(status.peer_address, Some("::1".parse().unwrap()));
    // ::1 is not a global address. With a configured global address, IPv4 routes have it as next hop too.
    let mut changed = PeerConfig::clone(&session.peer.borrow());
    changed.overrides.next_hop_v4 = Some("10.0.0.1".parse().unwrap());
    session.peer.send_replace(Arc::new(changed));
    let body = announced(&mut router, Family::V4).await;
    assert!(body.ends_with(VIP) && has(&body, &[0x40, 3, 4, 10, 0, 0, 1]), "{body:02x?}");

    // On a session over IPv4 it is not offered.
    let session = Session::start().await;
    let (_router, offered) = session.opened().await;
    assert!(offered.iter().all(|(code, _)| *code != 5));
}

/// Runs the test in its own network namespace, set up by these lines of `ip`. This needs root.
fn on_a_host_of_its_own<F: Future<Output = ()>>(
    lines: &'static [&str],
    play: impl FnOnce() -> F + Send + 'static,
) {
    if !nix::unistd::geteuid().is_root() {
        return until::skipped("needs root to make a network namespace; run the tests with sudo");
    }
    let played = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        for line in lines {
            let ip = std::process::Command::new("ip").args(line.split(' ')).status().unwrap();
            assert!(ip.success(), "ip {line}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play());
    });
    played.join().unwrap();
}

#[test]
fn rfc_8950_agreed_an_ipv4_route_has_our_ipv6_address_as_its_next_hop() {
    on_a_host_of_its_own(&["link set lo up", "address add 2001:db8:1::7/128 dev lo nodad"], agreed_8950);
}

#[test]
fn rfc_2545_on_a_link_local_session_a_v6_next_hop_of_32_octets() {
    let lines = &[
        "link add name them index 78 type veth peer name us",
        "link set us up addrgenmode none",
        "link set them up addrgenmode none",
        "address add fe80::1/64 dev us nodad",
        "address add 2001:db8:1::7/64 dev us nodad",
        "address add fe80::2/64 dev them nodad",
    ];
    on_a_host_of_its_own(lines, link_local_2545);
}

async fn link_local_2545() {
    let [us, them]: [std::net::Ipv6Addr; 2] = ["fe80::1", "fe80::2"].map(|ip| ip.parse().unwrap());
    let listener = tokio::net::TcpListener::bind(std::net::SocketAddrV6::new(them, 0, 0, 78)).await.unwrap();
    let change = |peer: &mut PeerConfig| {
        peer.address = PeerAddress::Ip(them.into());
        peer.interface = Some("us".into());
        peer.overrides = Overrides::default();
    };
    let mut session = Session::dialing(listener, change, |_| {});
    session.announce(1, BOTH);
    let mut router = session.established().await;
    let body = announced(&mut router, Family::V6).await;
    let global: std::net::Ipv6Addr = "2001:db8:1::7".parse().unwrap();
    let next_hop = [&[0, 2, 1, 32], global.octets().as_slice(), &us.octets(), &[0]].concat();
    assert!(has(&body, &next_hop), "{body:02x?}");
}

async fn agreed_8950() {
    let own: std::net::Ipv6Addr = "2001:db8:1::7".parse().unwrap();
    let listener = tokio::net::TcpListener::bind((own, 0)).await.unwrap();
    let change = |peer: &mut PeerConfig| {
        peer.address = PeerAddress::Ip(own.into());
        peer.overrides = Overrides::default();
    };
    let mut session = Session::dialing(listener, change, |_| {});
    session.announce(1, BOTH);
    let extended = [CAPABILITIES, &[2, 8, 5, 6, 0, 1, 0, 1, 0, 2]].concat();
    let mut router = session.established_with(&open(65000, &extended)).await;
    let next_hop = |family: u8| [&[0, family, 1, 16], own.octets().as_slice(), &[0]].concat();
    let (mut v4, mut v6) = (vec![], vec![]);
    while v4.is_empty() || v6.is_empty() {
        let body = router.update().await;
        if has(&body, &next_hop(1)) {
            v4 = body;
        } else if has(&body, &next_hop(2)) {
            v6 = body;
        }
    }
    assert!(has(&v4, &[&next_hop(1), VIP].concat()), "{v4:02x?}");
    assert!(!has(&v4, &[0x40, 3, 4]), "no NEXT_HOP beside it: {v4:02x?}");
    assert!(session.until(|status| status.acknowledged == 1).await.not_sent.is_empty());
    session.announce(2, &[]);
    let withdrawn = [&[0, 5], VIP, &[0, 0]].concat();
    while router.update().await != withdrawn {}
    assert_eq!(session.status.borrow().state, StateName::Established);
}

#[tokio::test]
async fn rfc_8654_9494_7911_are_not_advertised() {
    let session = Session::start().await;
    let (_router, offered) = session.opened().await;
    let codes: Vec<u8> = offered.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [1, 1, 2, 70, 65], "MP(1,1) goes first: BIRD answers 2/7 without it");
}

#[tokio::test]
async fn ibgp_has_an_empty_as_path_and_local_pref_and_ebgp_has_none() {
    for (asn, peer_asn) in [(65001, PeerAsn::Internal), (65000, PeerAsn::External)] {
        let mut session = Session::start_with(|peer| peer.asn = peer_asn).await;
        let attributes =
            Attributes { local_pref: Some(250), prepend: 1, med: Some(7), ..Attributes::default() };
        session.announce_with(1, &["192.0.2.80/32"], attributes);
        let wide = [&[2, 6, 1, 4, 0, 1, 0, 1, 2, 6, 65, 4, 0, 0], u16::to_be_bytes(asn).as_slice()].concat();
        let mut router = session.established_with(&open(asn, &wide)).await;
        let body = announced(&mut router, Family::V4).await;
        let internal = peer_asn == PeerAsn::Internal;
        assert_eq!(has(&body, &[0x40, 5, 4, 0, 0, 0, 250]), internal, "{body:02x?}");
        assert_eq!(has(&body, &[0x40, 2, 0]), internal, "{body:02x?}");
        assert!(has(&body, &[0x80, 4, 4, 0, 0, 0, 7]), "{body:02x?}");
    }
}

#[tokio::test]
async fn external_and_internal_are_held_to_and_the_hint_says_where_to_look() {
    for (want, asn) in [(PeerAsn::External, 65001), (PeerAsn::Internal, 65000)] {
        let mut session = Session::start_with(|peer| peer.asn = want).await;
        let mut router = session.open_sent().await;
        let wide = [&[2, 6, 65, 4, 0, 0], u16::to_be_bytes(asn).as_slice()].concat();
        router.send(&open(asn, &wide)).await;
        assert_eq!(router.farewell().await, (2, 2, vec![]));
        let down = session.until(|status| status.last_down.is_some()).await.last_down.unwrap();
        assert_eq!(down.why.label(), "wrong_as");
        assert!(down.hint.as_deref().unwrap().contains("`asn`"));
    }
}

#[tokio::test]
async fn a_changed_attribute_of_the_peer_is_announced_again_and_resets_nothing() {
    let mut session = Session::start().await;
    session.announce(1, &["192.0.2.80/32"]);
    let mut router = session.established().await;
    assert!(router.update().await.ends_with(VIP));
    router.update().await;
    router.update().await;
    let changes: [fn(&mut Overrides); 4] = [
        |o| o.med = Some(50),
        |o| o.communities = Some([Community(0xffff_0000)].into()),
        |o| o.origin = Some(Origin::Incomplete),
        |o| *o = Overrides { next_hop_v6: o.next_hop_v6, ..Overrides::default() },
    ];
    for change in changes {
        let mut peer = PeerConfig::clone(&session.peer.borrow());
        change(&mut peer.overrides);
        session.peer.send_replace(Arc::new(peer));
        let body = router.update().await;
        assert!(body[..2] == [0, 0] && body.ends_with(VIP), "announced, nothing withdrawn: {body:02x?}");
    }
    // A reload without changes sends nothing: the next message is the answer to a refresh.
    let same = Arc::clone(&session.peer.borrow());
    session.peer.send_replace(same);
    tokio::task::yield_now().await;
    session.announce(2, &[]);
    assert_eq!(router.update().await, [&[0, 5], VIP, &[0, 0]].concat());
    assert_eq!(session.status.borrow().state, StateName::Established);
}
