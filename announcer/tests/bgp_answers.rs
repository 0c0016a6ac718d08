//! Tests our answers to malformed or unexpected messages: RFC 4271 §6 row by row, with the data of each answer, over TCP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod scripted;

use announcer::bgp::fsm::StateName;
use announcer::bgp::io::session::SessionReport;
use scripted::{
    CAPABILITIES, ENHANCED, KEEPALIVE, OPEN, REFRESH, Session, UPDATE, keepalive, message, open_body,
};

/// The answer to octets in OpenSent.
async fn to_open(octets: &[u8]) -> (u8, u8, Vec<u8>) {
    let session = Session::start().await;
    let mut router = session.open_sent().await;
    router.send(octets).await;
    router.farewell().await
}

/// The answer to an OPEN with these fields.
async fn to_open_of(asn: u16, hold: u16, id: [u8; 4], parameters: &[u8]) -> (u8, u8, Vec<u8>) {
    to_open(&message(OPEN, &open_body(asn, hold, id, parameters))).await
}

/// The answer to octets in Established.
async fn to_established(octets: &[u8]) -> (u8, u8, Vec<u8>) {
    let mut session = Session::start().await;
    let mut router = session.established().await;
    router.send(octets).await;
    router.farewell().await
}

/// An established session ignores the octets: a refresh after them is answered.
async fn shrugs_at(open: &[u8], octets: &[u8]) {
    let mut session = Session::start().await;
    let mut router = session.established_with(open).await;
    session.announce(1, &["192.0.2.80/32"]);
    router.update().await;
    session.until(|status| status.acknowledged == 1).await;
    router.send(octets).await;
    router.send(&message(REFRESH, &[0, 1, 0, 1])).await;
    loop {
        match router.next().await.expect("the session stays up") {
            (UPDATE, body) if body.ends_with(&[32, 192, 0, 2, 80]) => break,
            (UPDATE | KEEPALIVE | REFRESH, _) => {}
            other => panic!("{other:02x?}"),
        }
    }
    assert_eq!(session.status.borrow().state, StateName::Established);
}

const ID: [u8; 4] = [10, 9, 9, 9];

#[tokio::test]
async fn marker_not_all_ones() {
    let mut octets = keepalive();
    octets[7] = 0xfe;
    assert_eq!(to_open(&octets).await, (1, 1, vec![]));
    assert_eq!(to_established(&octets).await, (1, 1, vec![]));
}

#[tokio::test]
async fn a_length_that_the_type_cannot_have() {
    for (kind, length) in [
        (KEEPALIVE, 18_u16),
        (KEEPALIVE, 20),
        (OPEN, 28),
        (UPDATE, 22),
        (3, 20),
        (UPDATE, 4097),
        (OPEN, 0),
        (UPDATE, 65535),
    ] {
        let mut octets = message(kind, &[]);
        octets[16..18].copy_from_slice(&length.to_be_bytes());
        assert_eq!(to_established(&octets).await, (1, 2, length.to_be_bytes().to_vec()), "{kind} {length}");
    }
}

#[tokio::test]
async fn unknown_type() {
    assert_eq!(to_established(&message(9, &[])).await, (1, 3, vec![9]));
    assert_eq!(to_open(&message(0, &[])).await, (1, 3, vec![0]));
}

#[tokio::test]
async fn version_not_4() {
    let mut body = open_body(65000, 180, ID, CAPABILITIES);
    body[0] = 5;
    assert_eq!(to_open(&message(OPEN, &body)).await, (2, 1, vec![0, 4]));
}

#[tokio::test]
async fn wrong_as_and_as_0() {
    let short = &CAPABILITIES[..20];
    assert_eq!(to_open_of(65009, 180, ID, short).await, (2, 2, vec![]));
    assert_eq!(to_open_of(0, 180, ID, CAPABILITIES).await, (2, 2, vec![]));
    assert_eq!(to_open_of(65000, 180, ID, &[2, 6, 65, 4, 0, 0, 0, 0]).await, (2, 2, vec![]));
    assert_eq!(to_open_of(65000, 180, ID, &[2, 6, 65, 4, 0, 0, 0xfd, 0xe7]).await, (2, 2, vec![]));
}

#[tokio::test]
async fn bgp_identifier_0_or_ours_on_ibgp() {
    assert_eq!(to_open_of(65000, 180, [0; 4], CAPABILITIES).await, (2, 3, vec![]));
    let session = Session::start_with(|peer| peer.asn = announcer::model::PeerAsn::Internal).await;
    let mut router = session.open_sent().await;
    router.send(&message(OPEN, &open_body(65001, 180, [10, 0, 1, 11], &[]))).await;
    assert_eq!(router.farewell().await, (2, 3, vec![]));
}

#[tokio::test]
async fn optional_parameter_1() {
    assert_eq!(to_open_of(65000, 180, ID, &[1, 2, 0, 0]).await, (2, 4, vec![]));
}

#[tokio::test]
async fn hold_time_1_or_2() {
    for hold in [1, 2] {
        assert_eq!(to_open_of(65000, hold, ID, CAPABILITIES).await, (2, 6, vec![]));
    }
}

#[tokio::test]
async fn hold_time_0_is_accepted_and_then_there_are_no_timers() {
    let mut session = Session::start_with(|peer| peer.hold_time = std::time::Duration::from_secs(3)).await;
    let open = message(OPEN, &open_body(65000, 0, ID, CAPABILITIES));
    let router = session.established_with(&open).await;
    tokio::time::sleep(std::time::Duration::from_millis(3500)).await;
    assert_eq!(session.status.borrow().state, StateName::Established);
    let mut octets = [0; 1];
    let early = router.stream.try_read(&mut octets);
    assert_eq!(early.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "no KEEPALIVE is sent");
}

#[tokio::test]
async fn parameters_or_capabilities_that_overrun() {
    let body = |parameters: &[u8], length| {
        let mut body = open_body(65000, 180, ID, parameters);
        body[9] = length;
        message(OPEN, &body)
    };
    for (parameters, length) in [
        (&[2, 6, 65, 4, 0, 0, 0xfd][..], 7),
        (&[2, 4, 65, 4, 0, 0][..], 6),
        (&[2][..], 1),
        (&[2, 1, 65][..], 3),
        (CAPABILITIES, 27),
        (CAPABILITIES, 29),
        (&[255, 0][..], 2),
        (&[255, 0, 9, 2, 0, 9, 65][..], 7),
    ] {
        assert_eq!(to_open(&body(parameters, length)).await, (2, 0, vec![]), "{parameters:02x?} {length}");
    }
}

#[tokio::test]
async fn unknown_repeated_or_empty_capabilities_and_the_rfc_9072_form_are_accepted() {
    let fqdn = [2, 11, 73, 9, 3, b'f', b'r', b'r', 4, b'l', b'a', b'b', b's'];
    let odd = [&[2, 0], CAPABILITIES, CAPABILITIES, &fqdn, &[2, 2, 199, 0], &[2, 3, 1, 1, 7]].concat();
    let extended = [&[255, 0, 9], [2, 0, 6, 65, 4, 0, 0, 0xfd, 0xe8].as_slice()].concat();
    for parameters in [odd.as_slice(), extended.as_slice()] {
        let mut session = Session::start().await;
        let open = message(OPEN, &open_body(65000, 180, ID, parameters));
        session.established_with(&open).await;
    }
}

#[tokio::test]
async fn keepalive_update_or_route_refresh_in_open_sent() {
    assert_eq!(to_open(&keepalive()).await, (5, 1, vec![4]));
    assert_eq!(to_open(&message(UPDATE, &[0; 4])).await, (5, 1, vec![2]));
    assert_eq!(to_open(&message(REFRESH, &[0, 1, 0, 1])).await, (5, 1, vec![5]));
}

#[tokio::test]
async fn update_or_a_second_open_in_open_confirm() {
    for (octets, kind) in [(message(UPDATE, &[0; 4]), 2), (scripted::good_open(), 1)] {
        let session = Session::start().await;
        let mut router = session.open_confirm().await;
        router.send(&octets).await;
        assert_eq!(router.farewell().await, (5, 2, vec![kind]));
    }
}

#[tokio::test]
async fn a_second_open_in_established() {
    assert_eq!(to_established(&scripted::good_open()).await, (5, 3, vec![1]));
}

#[tokio::test]
async fn route_refresh_shorter_than_23_octets() {
    assert_eq!(to_established(&message(REFRESH, &[0, 1, 0])).await, (1, 2, vec![0, 22]));
}

#[tokio::test]
async fn route_refresh_of_subtype_1_or_2_and_wrong_length() {
    let enhanced = message(OPEN, &open_body(65000, 180, ID, ENHANCED));
    for subtype in [1, 2] {
        let long = message(REFRESH, &[0, 1, subtype, 1, 0]);
        let mut session = Session::start().await;
        let mut router = session.established_with(&enhanced).await;
        router.send(&long).await;
        assert_eq!(router.farewell().await, (7, 1, long.clone()));
        shrugs_at(&scripted::good_open(), &long).await;
    }
}

#[tokio::test]
async fn route_refresh_for_an_afi_that_we_do_not_have() {
    shrugs_at(&scripted::good_open(), &message(REFRESH, &[0, 25, 0, 70])).await;
}

#[tokio::test]
async fn update_whose_withdrawn_or_attribute_length_overruns() {
    assert_eq!(to_established(&message(UPDATE, &[0, 1, 0, 0])).await, (3, 1, vec![]));
    assert_eq!(to_established(&message(UPDATE, &[0, 0, 0, 1])).await, (3, 1, vec![]));
    assert_eq!(to_established(&message(UPDATE, &[0xff, 0xff, 0, 0, 0])).await, (3, 1, vec![]));
}

#[tokio::test]
async fn update_with_garbage_inside_a_well_framed_attribute_block() {
    let hang = [0, 0, 0, 10, 0x40, 2, 7, 2, 1, 0, 0, 0xfc, 0, 9];
    let short = [0, 0, 0, 1, 0x40];
    let multiprotocol = [0, 0, 0, 4, 0x80, 14, 1, 7, 33, 1, 2];
    for body in [hang.as_slice(), &short, &multiprotocol] {
        shrugs_at(&scripted::good_open(), &message(UPDATE, body)).await;
    }
}

#[tokio::test]
async fn a_notification_is_never_answered() {
    let mut session = Session::start().await;
    let mut router = session.established().await;
    router.send(&message(3, &[6, 2, 4, b'd', b'i', b's', b'k'])).await;
    while let Some((kind, _)) = router.next().await {
        assert_ne!(kind, 3);
    }
    let status = session.until(|status| status.last_down.is_some()).await;
    let why = status.last_down.unwrap().why.to_string();
    assert_eq!(why, "the peer sent NOTIFICATION: Cease/Administrative Shutdown (\"disk\")");
    session.open_sent().await;
}

// B12
#[tokio::test]
async fn what_the_router_said_stays_before_the_tries_that_it_hangs_up_on() {
    let mut session = Session::start().await;
    let mut router = session.established().await;
    router.send(&message(3, &[6, 1, 0, 1, 1, 0, 0, 0, 2])).await;
    let said =
        "the peer sent NOTIFICATION: Cease/Maximum Number of Prefixes Reached (IPv4, at most 2), 0s ago";
    let (reason, hint) = session.until(|status| status.last_down.is_some()).await.trouble().unwrap();
    assert_eq!(reason, said);
    assert!(
        hint.as_ref()
            .unwrap()
            .starts_with("more IPv4 prefixes than the 2 that the router's `maximum-prefix`")
    );
    drop(router);
    drop(session.accept().await);
    let hung_up = |status: &SessionReport| {
        status.last_down.as_ref().is_some_and(|down| matches!(down.why.label(), "closed" | "reset"))
    };
    let (reason, shown) = session.until(hung_up).await.trouble().unwrap();
    assert!(reason.starts_with(said) && reason.contains("; since then the peer "), "{reason}");
    assert_eq!(shown, hint);

    let router = session.established().await;
    assert_eq!(session.status.borrow().trouble(), None);
    drop(router);
    let (reason, shown) =
        session.until(|status| status.state != StateName::Established).await.trouble().unwrap();
    assert!(!reason.contains("NOTIFICATION"), "{reason}");
    assert_ne!(shown, hint);
}

// B25
#[tokio::test]
async fn a_router_that_is_silent_in_open_confirm_is_reported_with_what_it_said() {
    let mut session = Session::start().await;
    let _router = session.open_confirm().await;
    let status = session.until_late(|status| status.last_down.is_some()).await;
    assert_eq!(status.state, StateName::OpenConfirm);
    let (reason, hint) = status.trouble().unwrap();
    assert!(
        reason.starts_with("the peer sent its OPEN, but no KEEPALIVE that accepts ours for 4 s"),
        "{reason}"
    );
    assert!(hint.unwrap().contains("after the OPEN"));
    let over = |status: &SessionReport| status.state == StateName::Idle;
    let (reason, _) = session.until_late(over).await.trouble().unwrap();
    assert!(
        reason.starts_with("the peer sent its OPEN, but no KEEPALIVE that accepts ours for 9 s"),
        "{reason}"
    );
}

// B27
#[tokio::test]
async fn a_source_address_that_the_host_lacks_is_named() {
    let absent = "192.0.2.99".parse().unwrap();
    let mut session = Session::start_with(|peer| peer.source_address = Some(absent)).await;
    let (reason, hint) = session.until(|status| status.last_down.is_some()).await.trouble().unwrap();
    assert!(reason.starts_with("the source address 192.0.2.99 cannot be used"), "{reason}");
    assert!(hint.unwrap().contains("put 192.0.2.99 on an interface"));
}

// B22
#[tokio::test]
async fn as_trans_without_the_capability_for_four_octets_is_named() {
    let mut session = Session::start().await;
    let mut router = session.open_sent().await;
    router
        .send(&message(1, &scripted::open_body(23456, 180, [10, 9, 9, 9], &[2, 6, 1, 4, 0, 1, 0, 1])))
        .await;
    let (reason, hint) = session.until(|status| status.last_down.is_some()).await.trouble().unwrap();
    assert!(reason.starts_with("its OPEN has AS 23456, we expect AS 65000"), "{reason}");
    assert!(hint.unwrap().contains("AS_TRANS"));
}
