use super::*;
use crate::bgp::fsm::StateName;

const CONFIG: &str = r#"
    [bgp]
    asn = 65001
    [[peer]]
    name = "r1"
    address = "10.0.0.1"
    asn = 65000
    [[peer]]
    name = "r2"
    address = "10.0.0.2"
    asn = 65000
    [[service]]
    name = "www"
    vips = ["192.0.2.80"]
    [[service.check]]
    http = "http://www.example.com/"
"#;

/// The sessions of two routers: both are established, and have acknowledged generation 4.
fn sessions() -> (Vec<watch::Sender<SessionReport>>, Peers) {
    let config = crate::config::parse("x", CONFIG).unwrap_or_else(|errors| panic!("{errors}"));
    let mut senders = Vec::new();
    let mut peers = Vec::new();
    for peer in &config.peers {
        let status = SessionReport { state: StateName::Established, acknowledged: 4, ..SessionReport::new() };
        let (sender, status) = watch::channel(status);
        senders.push(sender);
        peers.push((peer.clone(), status));
    }
    (senders, Peers::new(peers))
}

fn is_advertised(peers: &Peers) -> bool {
    use futures_util::FutureExt;
    peers.acknowledged(5).now_or_never().is_some()
}

#[tokio::test(start_paused = true)]
async fn a_router_without_a_session_is_waited_for_while_it_may_keep_routes() {
    let (senders, peers) = sessions();
    assert!(!is_advertised(&peers));
    assert_eq!(peers.unacknowledged(5), ["r1", "r2"]);
    for sender in &senders {
        sender.send_modify(|status| status.acknowledged = 5);
    }
    assert!(is_advertised(&peers) && peers.unacknowledged(5).is_empty());

    let until = Instant::now() + Duration::from_secs(90);
    senders[1].send_modify(|status| {
        (status.state, status.acknowledged, status.kept_until) = (StateName::Idle, 0, Some(until.into_std()));
    });
    assert!(!is_advertised(&peers), "it may not have noticed that the session is gone");
    assert_eq!(peers.unacknowledged(5), ["r2 (no session; it may keep routes of the last one for 1m 31s)"]);
    peers.acknowledged(5).await;
    assert!(Instant::now() >= until && peers.unacknowledged(5).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_router_that_dropped_our_routes_and_one_that_is_not_configured_any_more_have_nothing_to_acknowledge()
 {
    let (mut senders, peers) = sessions();
    senders[0].send_modify(|status| (status.state, status.acknowledged) = (StateName::Idle, 0));
    assert_eq!(peers.unacknowledged(5), ["r2"]);
    let gone = senders.remove(1);
    drop(gone);
    assert!(is_advertised(&peers), "its task is gone");
}

#[test]
fn a_session_carries_the_families_that_are_sent_on_it() {
    use crate::bgp::open::{AsWidth, NegotiatedSession, PeerKind, RefreshKind};
    use crate::model::Family;
    use crate::rib::NotSent;
    let (senders, peers) = sessions();
    assert!(peers.established().is_empty(), "nothing was negotiated");
    let negotiated = NegotiatedSession {
        kind: PeerKind::External,
        peer_asn: 65000.try_into().unwrap(),
        peer_id: std::net::Ipv4Addr::new(10, 9, 9, 9).try_into().unwrap(),
        hold_time: None,
        as_width: AsWidth::Four,
        families: [Family::V4, Family::V6].into(),
        extended_next_hop: false,
        refresh: RefreshKind::Plain,
    };
    for sender in &senders {
        sender.send_modify(|status| status.negotiated = Some(negotiated.clone()));
    }
    let carried = || -> Vec<String> {
        peers.established().iter().map(|one| format!("{} {:?}", one.peer, one.families)).collect()
    };
    assert_eq!(carried(), ["r1 {V4, V6}", "r2 {V4, V6}"]);
    senders[0].send_modify(|status| status.not_sent.extend([(Family::V6, NotSent::NoNextHop(Family::V6))]));
    senders[1].send_modify(|status| status.state = StateName::Idle);
    assert_eq!(carried(), ["r1 {V4}"]);
}
