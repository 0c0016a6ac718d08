//! Explains the state of a router in sentences: its session, the negotiated values, and how the last session ended.
//!
//! Pure. It uses the same data as `status --json`, so that they cannot contradict each other.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Config, ServiceConfig};
use crate::control::api::{PeerBfdStatus, PeerStatus, SessionStatus};
use crate::model::{PeerName, Recipients};

/// The sentences, a line each.
pub fn peer(peer: &PeerStatus) -> Vec<String> {
    let asn = peer.asn.map_or_else(|| "an AS that is not known yet".into(), |asn| format!("AS {asn}"));
    let mut lines = vec![format!(
        "Router {} at {}, {asn}: the session is {} (for {}).",
        peer.name,
        peer.address,
        peer.state,
        span(peer.lasts)
    )];
    lines.extend(peer.reason.iter().map(|reason| format!("The reason: {}.", reason.text)));
    lines.extend(peer.hint.iter().map(|hint| format!("Hint: {hint}.")));
    match &peer.session {
        Some(session) => agreed(session, &mut lines),
        None => lines.push(format!("Our OPEN offers {}.", families(&peer.families))),
    }
    if peer.session.is_some() {
        lines.push(format!("Routes: {}.", peer.prefixes()));
    }
    lines.extend(peer.not_sent.iter().map(|why| format!("{}.", why.text)));
    peer.bfd.iter().for_each(|bfd| with_bfd(bfd, peer.session.as_ref(), &mut lines));
    lines.extend(
        (peer.same_router.iter())
            .map(|other| format!("The peer `{other}` has the same address: it is the same router.")),
    );
    lines.push(format!("Messages received: {}; sent: {}.", counts(&peer.received), counts(&peer.sent)));
    lines.push(match peer.established {
        0 => "No session was established since announcer started.".into(),
        1 => "A session was established once since announcer started.".into(),
        times => format!("A session was established {times} times since announcer started."),
    });
    if peer.reason.is_none() {
        lines.extend(peer.last_end.iter().map(|end| format!("The last end: {}.", end.text)));
    }
    lines
}

/// Which services' routes the router gets; no sentence if it is each of them.
pub fn services(config: &Config, router: &PeerName) -> Option<String> {
    let (theirs, others): (Vec<&ServiceConfig>, Vec<&ServiceConfig>) =
        config.services.iter().partition(|service| service.recipients.include(router));
    let names = |services: &[&ServiceConfig]| {
        let names = services.iter().take(NAMED).map(|service| service.name.to_string());
        match services.len().saturating_sub(NAMED) {
            0 => names.collect::<Vec<_>>().join(", "),
            more => format!("{} and {more} more", names.collect::<Vec<_>>().join(", ")),
        }
    };
    let is_by_vrf = |service: &&ServiceConfig| matches!(service.recipients, Recipients::SameVrf(_));
    let all_by_vrf = others.iter().all(is_by_vrf);
    let all_in_no_vrf = others.iter().all(|service| service.vrf.is_none());
    if others.is_empty() {
        return None;
    }
    if theirs.is_empty() {
        let why = match (all_by_vrf, others.iter().any(is_by_vrf)) {
            (true, _) if all_in_no_vrf => "each is in no VRF",
            (true, _) => "none is in the same VRF",
            (false, true) => "each is not in the same VRF, or its `peers` names other routers",
            (false, false) => "`peers` of each names other routers",
        };
        return Some(format!("It gets the routes of no service: {why}."));
    }
    let why = match (all_by_vrf, others.iter().any(is_by_vrf)) {
        (true, _) if all_in_no_vrf => "which is in no VRF",
        (true, _) => "which is not in the same VRF",
        (false, true) => "which is not in the same VRF, or whose `peers` does not name it",
        (false, false) => "whose `peers` does not name it",
    };
    Some(format!("It gets the routes of {}, and not of {}, {why}.", names(&theirs), names(&others)))
}

/// How many services a sentence names.
const NAMED: usize = 5;

fn agreed(session: &SessionStatus, lines: &mut Vec<String>) {
    let SessionStatus { local_address, router_id, hold_time, asn_octets, route_refresh, .. } = session;
    if let Some(local) = local_address {
        lines.push(format!("Our address is {local}; its BGP identifier is {router_id}."));
    }
    let timers = match hold_time {
        0 => "no hold time (one side has 0: only TCP notices that the other side is gone)".into(),
        seconds => format!("a hold time of {seconds} s"),
    };
    let extended = if session.extended_next_hop { ", IPv6 next hops for IPv4 routes" } else { "" };
    lines.push(format!(
        "Both sides agreed on {timers}, on {}, on AS numbers of {asn_octets} octets, and on {route_refresh} route \
         refresh{extended}.",
        families(&session.families)
    ));
    for (family, next_hop) in &session.next_hops {
        lines.push(format!("The next hop of {family} routes is {next_hop}, unless a route names its own."));
    }
}

fn with_bfd(bfd: &PeerBfdStatus, session: Option<&SessionStatus>, lines: &mut Vec<String>) {
    let lasts = bfd.lasts.map_or_else(String::new, |lasts| format!(" (for {})", span(lasts)));
    let why = bfd.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    lines.push(format!("BFD is {}{lasts}{why}.", bfd.state));
    lines.extend(pace(bfd));
    lines.extend(session.and_then(|session| no_faster(bfd, session.hold_time)));
    if bfd.reason.is_some() {
        lines.push(match (bfd.strict, session.is_some()) {
            (true, false) => "The router is not dialled until BFD is up (`strict = true`).".to_owned(),
            (true, true) => "Until it is up, the hold time alone detects a dead host; if the session ends, the router is not dialled until BFD is up (`strict = true`).".to_owned(),
            (false, _) => "Until it is up, the hold time alone detects a dead host.".to_owned(),
        });
    } else {
        lines.extend(bfd.last_down.iter().map(|why| format!("BFD went down last because {why}.")));
    }
    lines.push(format!(
        "BFD packets sent: {}; received: {}; times that BFD has left Up: {}; diagnostics: ours {}, the router's {}.",
        bfd.sent,
        bfd.received,
        bfd.flaps,
        bfd.diagnostic.as_deref().unwrap_or("none"),
        bfd.remote_diagnostic.as_deref().unwrap_or("none")
    ));
}

fn millis(time: f64) -> String {
    format!("{time:.0} ms")
}

/// How often both sides send, and what follows from that while BFD is up; none until the router has sent a packet.
fn pace(bfd: &PeerBfdStatus) -> Option<String> {
    let (ours, theirs) = (millis(bfd.interval_ms?), millis(bfd.remote_interval_ms?));
    let (detection, up) = (millis(bfd.detection_ms?), bfd.reason.is_none());
    Some(match (bfd.remote_detection_ms.map(millis), up) {
        (Some(remote), true) => format!(
            "We send every {ours}, the router every {theirs}: the router considers this host dead after {remote}, and we the router after {detection}."
        ),
        (Some(_), false) => {
            format!(
                "We send every {ours}, the router every {theirs}; while BFD is not up, neither side declares the other dead."
            )
        }
        (None, true) => format!(
            "We send no periodic packets, because the router wants none: it does not notice by BFD that this host is dead. The router sends every {theirs}, and we consider it dead after {detection}."
        ),
        (None, false) => {
            format!(
                "We send no periodic packets, because the router wants none. The router sends every {theirs}."
            )
        }
    })
}

/// That BFD notices nothing sooner than the hold time, which is in seconds; 0: there is none.
fn no_faster(bfd: &PeerBfdStatus, hold_time: u64) -> Option<String> {
    let hold = hold_time as f64 * 1000.0;
    let slow = |time: &f64| bfd.reason.is_none() && hold_time > 0 && *time >= hold;
    let host = bfd.remote_detection_ms.filter(slow).map(|_| "this host");
    let router = bfd.detection_ms.filter(slow).map(|_| "the router");
    let dead: Vec<&str> = host.into_iter().chain(router).collect();
    (!dead.is_empty()).then(|| {
        format!(
            "BFD notices the death of {} no sooner than the hold time of {hold_time} s.",
            dead.join(" and of ")
        )
    })
}

fn families(families: &[String]) -> String {
    if families.is_empty() { "no family".into() } else { families.join(" and ") }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let all: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

fn span(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.max(0.0) as u64)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::ReasonStatus;
    use crate::model::Family;

    fn router() -> PeerStatus {
        PeerStatus {
            vrf: None,
            name: "r1".into(),
            address: "10.0.1.1".into(),
            asn: Some(65000),
            state: "Established".into(),
            lasts: 61.5,
            since: "2026-01-01T00:00:00.000Z".into(),
            down: None,
            last_up: None,
            announced: 2,
            advertised: 3,
            reason: None,
            hint: None,
            not_sent: vec![],
            families: vec!["IPv4".into(), "IPv6".into()],
            session: Some(SessionStatus {
                local_address: Some("10.0.1.11:40001".into()),
                router_id: "10.0.0.1".into(),
                hold_time: 9,
                families: vec!["IPv4".into()],
                asn_octets: 4,
                route_refresh: "enhanced".into(),
                extended_next_hop: false,
                next_hops: [("IPv4".into(), "10.0.1.11".into())].into(),
            }),
            bfd: None,
            established: 2,
            last_end: Some(ReasonStatus {
                code: "closed".into(),
                text: "the peer closed the connection, 2m ago".into(),
            }),
            same_router: None,
            received: [("OPEN".into(), 2)].into(),
            sent: BTreeMap::new(),
        }
    }

    fn bfd() -> PeerBfdStatus {
        PeerBfdStatus {
            state: "Up".into(),
            lasts: Some(5.0),
            since: None,
            remote_state: Some("Up".into()),
            reason: None,
            strict: false,
            multihop: false,
            local_address: Some("10.0.1.11".into()),
            interval_ms: Some(50.0),
            remote_interval_ms: Some(100.0),
            detection_ms: Some(300.0),
            remote_detection_ms: Some(150.0),
            diagnostic: Some("control detection time expired (1)".into()),
            remote_diagnostic: Some("no diagnostic (0)".into()),
            last_down: Some("no packet arrived for 300ms, 1h ago".into()),
            flaps: 1,
            sent: 9,
            received: 8,
            scheduling: None,
        }
    }

    // B17
    #[test]
    fn all_that_was_agreed_is_reported() {
        let lines = peer(&router());
        assert_eq!(
            lines,
            [
                "Router r1 at 10.0.1.1, AS 65000: the session is Established (for 1m 1s).",
                "Our address is 10.0.1.11:40001; its BGP identifier is 10.0.0.1.",
                "Both sides agreed on a hold time of 9 s, on IPv4, on AS numbers of 4 octets, and on enhanced route refresh.",
                "The next hop of IPv4 routes is 10.0.1.11, unless a route names its own.",
                "Routes: 2 prefixes acknowledged, 1 under way.",
                "Messages received: 2 OPEN; sent: none.",
                "A session was established 2 times since announcer started.",
                "The last end: the peer closed the connection, 2m ago.",
            ]
        );
    }

    #[test]
    fn without_a_session_the_reason_and_the_offer_are_explained() {
        let lines = peer(&PeerStatus {
            state: "Idle".into(),
            session: None,
            reason: Some(ReasonStatus { code: "dial".into(), text: "connection refused, 2s ago".into() }),
            hint: Some("look there".into()),
            same_router: Some("r2".into()),
            ..router()
        });
        for words in
            ["The reason: connection refused, 2s ago.", "Hint: look there.", "Our OPEN offers IPv4 and IPv6."]
        {
            assert!(lines.iter().any(|line| line == words), "{words}: {lines:#?}");
        }
        assert!(lines.iter().any(|line| line.contains("`r2` has the same address")));
        assert!(!lines.iter().any(|line| line.starts_with("The last end")), "it is the reason");
    }

    #[test]
    fn the_sessions_since_the_start_are_counted_in_words() {
        for (established, want) in [
            (0, "No session was established since"),
            (1, "A session was established once since"),
            (2, "A session was established 2 times since"),
        ] {
            let lines = peer(&PeerStatus { established, ..router() });
            assert!(lines.iter().any(|line| line.starts_with(want)), "{want}: {lines:#?}");
        }
    }

    #[test]
    fn the_services_of_a_router_are_named_where_they_are_not_all() {
        let services = |peers: &str| {
            let text = format!(
                "[bgp]\nasn = 1\n[[peer]]\nname = \"r1\"\naddress = \"10.0.0.1\"\nasn = 2\n[[peer]]\nname = \"r2\"\naddress = \"10.0.0.2\"\nasn = 2\n\
                 [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 80\n\
                 [[service]]\nname = \"mail\"\nvips = [\"192.0.2.25\"]\n{peers}\n[[service.check]]\ntcp = 25\n"
            );
            let config = crate::config::parse("x", &text).unwrap_or_else(|errors| panic!("{errors}"));
            ["r1", "r2"].map(|name| super::services(&config, &name.parse().unwrap()))
        };
        assert_eq!(services(""), [None, None]);
        let not_mail = "It gets the routes of www, and not of mail, whose `peers` does not name it.";
        assert_eq!(services("peers = [\"r1\"]"), [None, Some(not_mail.into())]);
        let two_vrfs = "[bgp]\nasn = 1\n[[peer]]\nname = \"r1\"\naddress = \"10.0.0.1\"\nasn = 2\n[[peer]]\nname = \"r2\"\naddress = \"10.0.0.2\"\nasn = 2\nvrf = \"edge\"\n\
             [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 80\n\
             [[service]]\nname = \"mail\"\nvips = [\"192.0.2.25\"]\nvrf = \"edge\"\n[[service.check]]\ntcp = 25\n";
        let config = crate::config::parse("x", two_vrfs).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(
            ["r1", "r2"].map(|name| super::services(&config, &name.parse().unwrap()).unwrap()),
            [
                "It gets the routes of www, and not of mail, which is not in the same VRF.",
                "It gets the routes of mail, and not of www, which is in no VRF.",
            ]
        );
        let only_www = two_vrfs.split("[[service]]\nname = \"mail\"").next().unwrap();
        let config = crate::config::parse("x", only_www).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(
            super::services(&config, &"r2".parse().unwrap()).unwrap(),
            "It gets the routes of no service: each is in no VRF."
        );
        let config = crate::config::parse("x", two_vrfs).unwrap();
        let why = |service: usize, peer: usize| {
            super::super::not_wanted(&config.services[service], &config.peers[peer], Family::V4)
        };
        assert_eq!(why(0, 1), "it is in a VRF, and service `www` is in no VRF");
        assert_eq!(why(1, 0), "it is in no VRF, and service `mail` is in a VRF");
        assert_eq!(
            super::super::recipients(&config.services[1]).unwrap(),
            "Its service is announced to r2 alone, because of `vrf`: the others are not in the VRF `edge`."
        );
        assert_eq!(
            super::super::recipients(&config.services[0]).unwrap(),
            "Its service is announced to r1 alone, because the others are in a VRF."
        );
    }

    #[test]
    fn bfd_is_explained_with_what_was_agreed_and_with_what_follows_while_it_is_down() {
        let bfd = bfd();
        let with = |bfd: PeerBfdStatus| {
            let lines = peer(&PeerStatus { bfd: Some(bfd), ..router() });
            lines[5..lines.len() - 3].to_vec()
        };
        assert_eq!(
            with(bfd.clone()),
            [
                "BFD is Up (for 5s).",
                "We send every 50 ms, the router every 100 ms: the router considers this host dead after 150 ms, and we the router after 300 ms.",
                "BFD went down last because no packet arrived for 300ms, 1h ago.",
                "BFD packets sent: 9; received: 8; times that BFD has left Up: 1; diagnostics: ours control detection time expired (1), the router's no diagnostic (0).",
            ]
        );
        let down = PeerBfdStatus { state: "Down".into(), reason: Some("the router sleeps".into()), ..bfd };
        for (strict, established, want) in [
            (true, false, "The router is not dialled until BFD is up (`strict = true`)."),
            (
                true,
                true,
                "Until it is up, the hold time alone detects a dead host; if the session ends, the router is not dialled until",
            ),
            (false, true, "Until it is up, the hold time alone detects a dead host."),
            (false, false, "Until it is up, the hold time alone detects a dead host."),
        ] {
            let session = router().session.filter(|_| established);
            let bfd = Some(PeerBfdStatus { strict, ..down.clone() });
            let lines = peer(&PeerStatus { bfd, session, ..router() });
            assert!(
                lines.iter().any(|line| line == "BFD is Down (for 5s): the router sleeps."),
                "{lines:#?}"
            );
            assert!(lines.iter().any(|line| line.starts_with(want)), "{strict} {established}: {lines:#?}");
        }
    }

    #[test]
    fn the_pace_of_bfd_is_explained_by_what_is_sent_and_by_what_follows() {
        // Whether it is up, our detection time, the router's, the hold time in seconds.
        for (up, ours, theirs, hold_time, want) in [
            (
                true,
                300.0,
                Some(150.0),
                9,
                "the router considers this host dead after 150 ms, and we the router after 300 ms.",
            ),
            (
                false,
                300.0,
                Some(150.0),
                9,
                "We send every 50 ms, the router every 100 ms; while BFD is not up, neither side declares the other dead.",
            ),
            (
                true,
                300.0,
                None,
                9,
                "it does not notice by BFD that this host is dead. The router sends every 100 ms, and we consider it dead after 300 ms.",
            ),
            (
                false,
                300.0,
                None,
                9,
                "We send no periodic packets, because the router wants none. The router sends every 100 ms.",
            ),
            (
                true,
                300.0,
                Some(9000.0),
                9,
                "BFD notices the death of this host no sooner than the hold time of 9 s.",
            ),
            (
                true,
                9001.0,
                None,
                9,
                "BFD notices the death of the router no sooner than the hold time of 9 s.",
            ),
            (
                true,
                9001.0,
                Some(9e4),
                9,
                "BFD notices the death of this host and of the router no sooner than the hold time of 9 s.",
            ),
        ] {
            let bfd = PeerBfdStatus {
                reason: (!up).then(|| "x".into()),
                detection_ms: Some(ours),
                remote_detection_ms: theirs,
                ..bfd()
            };
            let mut session = router().session.unwrap();
            session.hold_time = hold_time;
            let lines = peer(&PeerStatus { bfd: Some(bfd), session: Some(session), ..router() });
            assert!(lines.iter().any(|line| line.ends_with(want)), "{want}: {lines:#?}");
            let slow = lines.iter().any(|line| line.contains("no sooner"));
            assert_eq!(slow, want.contains("no sooner"), "{want}: {lines:#?}");
            let dead = lines.iter().any(|line| line.contains("considers this host dead"));
            assert_eq!(dead, up && theirs.is_some(), "{want}: {lines:#?}");
        }
        for (up, hold_time) in [(true, 0), (false, 9)] {
            let reason = (!up).then(|| "x".into());
            let slow =
                PeerBfdStatus { reason, detection_ms: Some(9e4), remote_detection_ms: Some(9e4), ..bfd() };
            assert_eq!(no_faster(&slow, hold_time), None, "{up} {hold_time}");
        }
    }

    #[test]
    fn a_hold_time_of_zero_is_reported() {
        let mut router = router();
        router.session.as_mut().unwrap().hold_time = 0;
        assert!(peer(&router).iter().any(|line| line.contains("no hold time")));
    }
}
