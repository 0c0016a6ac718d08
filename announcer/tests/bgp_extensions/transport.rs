//! Tests TCP and IP below the session: TTL, keys, silence, addresses.

use super::*;

#[tokio::test]
async fn rfc_5082_minimum_ttl_in_only_with_ttl_security_and_a_hint() {
    // The router's kernel answers with TTL 64. Packets from further away than one hop are dropped.
    let mut session = Session::start_with(|peer| peer.ttl_security = true).await;
    let status = session.until_late(|status| status.last_down.is_some()).await;
    let down = status.last_down.unwrap();
    assert_eq!(down.why.label(), "no_answer");
    assert!(down.hint.as_deref().unwrap().contains("TTL 255"), "{down:?}");

    let mut session = Session::start_with(|peer| {
        peer.ttl_security = true;
        peer.multihop = 192; // 256 - 192 = 64
    })
    .await;
    session.established().await;
}

#[tokio::test]
async fn rfc_5082_a_router_whose_octets_are_all_dropped_is_dialled_again_soon() {
    // As in FRR, the SYN is answered with TTL 255, and all later packets have another TTL.
    let mut session = Session::start_with(|peer| peer.ttl_security = true).await;
    socket2::SockRef::from(&session.listener).set_ttl_v4(255).unwrap();
    let mut router = session.accept().await;
    router.stream.set_ttl(64).unwrap();
    router.send(&scripted::good_open()).await;
    let down = session.until_late(|status| status.last_down.is_some()).await.last_down.unwrap();
    assert_eq!(down.why.label(), "unheard", "{}", down.why);
    assert!(down.hint.as_deref().unwrap().contains("TTL 255"), "{down:?}");
    // The TTL is corrected while the other connection still seems to exist.
    session.established().await;
}

#[tokio::test]
async fn rfc_5082_a_router_that_takes_its_time_is_waited_for() {
    let mut session = Session::start_with(|peer| peer.ttl_security = true).await;
    socket2::SockRef::from(&session.listener).set_ttl_v4(255).unwrap();
    let mut router = session.open_sent().await;
    let down = session.until_late(|status| status.last_down.is_some()).await.last_down.unwrap();
    assert_eq!(down.why.label(), "no_open");
    tokio::time::sleep(Duration::from_secs(5)).await;
    router.send(&scripted::good_open()).await;
    router.expect(KEEPALIVE).await;
}

#[tokio::test]
async fn rfc_2385_no_try_is_made_without_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("r1.key");
    std::fs::write(&key, "s3cret\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut session = Session::start_with(|peer| peer.password_file = Some(key)).await;
    let down = session.until(|status| status.last_down.is_some()).await.last_down.unwrap();
    assert_eq!(
        (down.why.label(), down.hint.as_deref()),
        ("password", Some("announcer does not connect without the key"))
    );
    assert!(
        down.why.to_string().contains("mode 644") && !down.why.to_string().contains("s3cret"),
        "{}",
        down.why
    );
}

#[tokio::test]
async fn rfc_2385_a_keyed_try_at_a_router_without_it_is_a_silence_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("r1.key");
    std::fs::write(&key, "s3cret\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut session = Session::start_with(|peer| peer.password_file = Some(key)).await;
    let down = session.until_late(|status| status.last_down.is_some()).await.last_down.unwrap();
    assert_eq!(down.why.label(), "no_answer");
    assert!(down.hint.as_deref().unwrap().contains("`password_file`"), "{down:?}");
}

/// Fills the buffers of the session and the kernel, for a router with a small window that reads nothing.
async fn block(session: &mut Session) -> Router {
    let router = session.established().await;
    let vips: Vec<String> =
        (0..8000_u32).map(|n| format!("{}/32", std::net::Ipv4Addr::from(0x0a00_0000 + n))).collect();
    let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
    for generation in 1..=8 {
        session.announce(generation, if generation % 2 == 1 { &vips } else { &[] });
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(session.status.borrow().acknowledged < 8, "the test blocks nobody");
    router
}

#[tokio::test]
async fn rfc_9687_a_peer_that_takes_no_bytes_is_dropped_without_tcp_user_timeout() {
    // Without a hold time there is no TCP_USER_TIMEOUT, and no hold timer either.
    let mut session = Session::start_narrow(|peer| {
        peer.hold_time = Duration::ZERO;
        peer.send_hold_time = Duration::from_secs(3);
    })
    .await;
    let _router = block(&mut session).await;
    let down = session.until_late(|status| status.last_down.is_some()).await.last_down.unwrap();
    assert_eq!(down.why.label(), "send_hold_expired");
    assert!(down.hint.as_deref().unwrap().contains("hangs"));
}

/// W10: its kernel acknowledges each probe of the closed window, so the peer is not lost.
#[tokio::test]
async fn a_peer_that_lives_and_does_not_read_is_for_the_send_hold_timer_to_end() {
    let mut session = Session::start_narrow(|peer| {
        peer.hold_time = Duration::from_secs(3);
        peer.send_hold_time = Duration::from_secs(8);
    })
    .await;
    let mut router = block(&mut session).await;
    let began = tokio::time::Instant::now();
    let alive = async {
        loop {
            router.send(&keepalive()).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let down = tokio::select! {
        status = session.until_late(|status| status.last_down.is_some()) => status.last_down.unwrap(),
        () = alive => unreachable!("it has no end"),
    };
    assert_eq!(down.why.label(), "send_hold_expired", "{}", down.why);
    assert!(began.elapsed() > Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(down.hint.unwrap().contains("the daemon reads nothing"));
}

#[tokio::test]
async fn refused_no_route_and_no_such_interface_have_reasons_and_hints() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    for (change, label, hint) in [
        (
            Box::new(move |peer: &mut PeerConfig| peer.port = port) as Box<dyn FnOnce(&mut PeerConfig)>,
            "refused",
            "BGP daemon",
        ),
        (
            Box::new(|peer: &mut PeerConfig| peer.interface = Some("nosuch0".into())),
            "no_interface",
            "`ip link`",
        ),
    ] {
        let mut session = Session::start_with(change).await;
        let down = session.until(|status| status.last_down.is_some()).await.last_down.unwrap();
        assert_eq!(down.why.label(), label, "{}", down.why);
        assert!(down.hint.as_deref().unwrap().contains(hint), "{down:?}");
    }
}

#[tokio::test]
async fn source_address_and_interface_are_the_sessions() {
    let mut session = Session::start_with(|peer| {
        peer.source_address = Some("127.0.0.9".parse().unwrap());
        peer.interface = Some("lo".into());
        peer.address = PeerAddress::Ip("127.0.0.1".parse().unwrap());
    })
    .await;
    let router = session.established().await;
    assert_eq!(router.stream.peer_addr().unwrap().ip(), "127.0.0.9".parse::<IpAddr>().unwrap());
    let local = session.status.borrow().local_address.unwrap();
    assert_eq!(local.ip(), "127.0.0.9".parse::<IpAddr>().unwrap());
}

#[tokio::test]
async fn a_router_that_connects_and_says_nothing_is_reported_long_before_it_is_given_up() {
    let mut session = Session::start().await;
    let _router = session.open_sent().await;
    let status = session.until_late(|status| status.last_down.is_some()).await;
    assert_eq!(status.state, StateName::OpenSent);
    let down = status.last_down.unwrap();
    assert_eq!((down.why.label(), down.hint.is_some()), ("no_open", true));
}
