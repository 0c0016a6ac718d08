use super::*;
use crate::realtime::SchedulingRefusal;

const SECOND: Duration = Duration::from_secs(1);

/// A session that is up.
pub(crate) fn up(now: Instant) -> BfdSessionReport {
    BfdSessionReport {
        ends: Ends {
            vrf: None,
            local: "10.0.1.11".parse().unwrap(),
            peer: "10.0.1.1".parse().unwrap(),
            interface: 2,
            device: None,
            hops: 1,
            least_ttl: 255,
        },
        settings: BfdSettings { interval: SECOND, multiplier: 3 },
        state: BfdState::Up,
        since: now,
        remote_state: BfdState::Up,
        interval: SECOND,
        remote_interval: Some(SECOND),
        detection_time: Some(SECOND * 3),
        remote_detection_time: Some(SECOND * 3),
        diag: Diagnostic::NONE,
        remote_diag: Diagnostic::NONE,
        last_down: None,
        was_up: true,
        flaps: 0,
        losses: 0,
        sent: 9,
        received: 9,
        unsent: 0,
        error: None,
    }
}

#[test]
fn bfd_that_is_not_up_is_warned_of_with_its_cause() {
    let now = Instant::now();
    let down = |session: BfdSessionReport| BfdSessionReport { state: BfdState::Down, ..session };
    let lost = (DownCause::Silence(SECOND), now);
    for (session, want) in [
        (Ok(up(now)), None),
        (
            Ok(BfdSessionReport { received: 0, was_up: false, ..down(up(now)) }),
            Some("no BFD packet of the router has arrived"),
        ),
        (
            Ok(BfdSessionReport { last_down: Some(lost), ..down(up(now)) }),
            Some("no packet arrived for 1s, 2s ago"),
        ),
        (Ok(BfdSessionReport { error: Some("refused".into()), ..down(up(now)) }), Some("refused")),
        (Ok(down(up(now))), Some("it is Down here and Up at the router")),
        (Err("no route".to_owned()), Some("no route")),
    ] {
        let peer = |strict| BfdPeerReport { strict, too_far: false, session: session.clone() };
        let why = BfdReport::default().why_not_up(&peer(false), now);
        assert_eq!(why.is_some(), want.is_some());
        for (strict, effect) in [(false, "the hold time alone"), (true, "it is not dialled")] {
            let status =
                BfdReport { peers: [("r1".parse().unwrap(), peer(strict))].into(), ..BfdReport::default() };
            let warnings = status.warnings(&BTreeMap::new(), now + SECOND * 2);
            match want {
                None => assert_eq!(warnings, [""; 0]),
                Some(want) => {
                    assert!(warnings[0].contains(want) && warnings[0].contains(effect), "{warnings:?}");
                }
            }
        }
    }
    let far = BfdPeerReport { strict: false, too_far: true, session: Ok(down(up(now))) };
    assert!(BfdReport::default().why_not_up(&far, now).unwrap().contains("`multihop`"));
}

#[test]
fn a_session_without_a_packet_is_explained_by_what_was_seen() {
    let now = Instant::now();
    let silent = BfdSessionReport { state: BfdState::Down, received: 0, was_up: false, ..up(now) };
    let far = Ends { hops: 3, ..silent.ends.clone() };
    let v6 = Ends { peer: "2001:db8::1".parse().unwrap(), ..silent.ends.clone() };
    let taken: BTreeMap<String, String> = [("UDP port 3784 for IPv4".into(), "it is in use".into())].into();
    let dropped = [(DropReason::Ttl, 3), (DropReason::Version, 0), (DropReason::Authentication, 2)].into();
    let lost = Some((DownCause::Silence(SECOND), now));
    let plain = BfdReport::default();
    let deaf = BfdReport { closed_ports: taken, ..BfdReport::default() };
    let drops = BfdReport { drops: dropped, ..BfdReport::default() };
    for (report, session, want) in [
        (
            &plain,
            silent.clone(),
            "has arrived; see whether BFD for this host is configured there, and whether a firewall drops UDP port 3784 for IPv4",
        ),
        (&plain, BfdSessionReport { ends: far.clone(), ..silent.clone() }, "drops UDP port 4784 for IPv4"),
        (&plain, BfdSessionReport { last_down: lost, ..silent.clone() }, "no packet arrived for 1s, 0s ago"),
        (&drops, BfdSessionReport { was_up: true, ..silent.clone() }, "BFD was up before, and no packet"),
        (&plain, BfdSessionReport { flaps: 2, ..silent.clone() }, "BFD was up before, and no packet"),
        (&deaf, silent.clone(), "this host cannot receive: UDP port 3784 for IPv4: it is in use"),
        (&deaf, BfdSessionReport { last_down: lost, ..silent.clone() }, "this host cannot receive"),
        (&deaf, BfdSessionReport { ends: far, ..silent.clone() }, "has arrived"), // another port
        (&deaf, BfdSessionReport { ends: v6, ..silent.clone() }, "has arrived"),
        (
            &drops,
            silent.clone(),
            "was accepted; of the packets of all senders, these were dropped: 3 (the TTL is not 255), 2 (it is authenticated)",
        ),
        (&drops, BfdSessionReport { received: 4, ..silent }, "it is Down here and Up at the router"),
    ] {
        let why =
            report.why_not_up(&BfdPeerReport { strict: false, too_far: false, session: Ok(session) }, now);
        assert!(why.as_ref().is_some_and(|why| why.contains(want)), "{want}: {why:?}");
    }
}

#[test]
fn a_strict_peer_with_a_session_is_not_said_to_be_not_dialled() {
    let now = Instant::now();
    let down = BfdSessionReport { state: BfdState::Down, ..up(now) };
    let of = |strict, established: &[&str]| {
        let peer = BfdPeerReport { strict, too_far: false, session: Ok(down.clone()) };
        let report = BfdReport { peers: [("r1".parse().unwrap(), peer)].into(), ..BfdReport::default() };
        let established = established.iter().map(|name| (name.parse().unwrap(), Some(SECOND * 9))).collect();
        report.warnings(&established, now).concat()
    };
    for (strict, established, want) in [
        (true, &["r2"][..], "it is not dialled (`strict = true`)"),
        (true, &["r1"][..], "the hold time alone"),
        (false, &["r1"][..], "the hold time alone"),
        (false, &[][..], "the hold time alone"),
    ] {
        let said = of(strict, established);
        assert!(said.contains(want), "{strict} {established:?}: {said}");
    }
}

#[test]
fn a_dead_host_that_bfd_notices_late_or_never_is_warned_of() {
    let now = Instant::now();
    let never = "peer `r1`: the router wants no BFD packets, so that it does not notice by BFD that this host is dead";
    let late = "peer `r1`: the router notices by BFD after 9s that this host is dead, no sooner than by the hold time of 9s";
    // The detection time of the router, the hold time of the session; `None`: there is no session.
    for (detection, hold_time, want) in [
        (Some(3), Some(Some(9)), None),
        (Some(8), Some(Some(9)), None),
        (Some(9), Some(Some(9)), Some(late)),
        (Some(9), Some(None), None),
        (Some(9), None, None),
        (None, Some(Some(9)), Some(never)),
        (None, None, Some(never)),
    ] {
        let seconds = |count: u32| SECOND * count;
        let session = BfdSessionReport { remote_detection_time: detection.map(seconds), ..up(now) };
        let peer = BfdPeerReport { strict: false, too_far: false, session: Ok(session) };
        let report = BfdReport { peers: [("r1".parse().unwrap(), peer)].into(), ..BfdReport::default() };
        let established = hold_time.map(|hold| ("r1".parse().unwrap(), hold.map(seconds)));
        let warnings = report.warnings(&established.into_iter().collect(), now);
        assert_eq!(warnings, want.into_iter().collect::<Vec<_>>(), "{detection:?} {hold_time:?}");
    }
}

#[test]
fn what_the_kernel_refuses_is_warned_of() {
    let status = BfdReport {
        scheduling: Some(Scheduling::Ordinary(SchedulingRefusal::ControlGroup)),
        withheld: Some(Instant::now()),
        closed_ports: [("UDP port 3784 for IPv4".into(), "another program has it".into())].into(),
        ..BfdReport::default()
    };
    let [port, withheld, scheduling] = &status.warnings(&BTreeMap::new(), Instant::now())[..] else {
        panic!()
    };
    assert_eq!(port, "BFD cannot receive: UDP port 3784 for IPv4: another program has it");
    assert!(withheld.contains("withheld"));
    assert!(scheduling.contains("RT_GROUP_SCHED"));
    let fine = BfdReport { scheduling: Some(Scheduling::RealTime), ..BfdReport::default() };
    assert_eq!(fine.warnings(&BTreeMap::new(), Instant::now()), [""; 0]);
}

#[test]
fn only_a_session_that_was_lost_counts_as_a_loss() {
    let now = Instant::now();
    let name: PeerName = "r1".parse().unwrap();
    let of = |session| {
        let peer = BfdPeerReport { strict: false, too_far: false, session };
        BfdReport { peers: [(name.clone(), peer)].into(), ..BfdReport::default() }.liveness(&name)
    };
    assert_eq!(of(Ok(up(now))), Liveness { up: true, losses: 0 });
    let lost = BfdSessionReport { state: BfdState::Down, flaps: 5, losses: 2, ..up(now) };
    assert_eq!(of(Ok(lost)), Liveness { up: false, losses: 2 });
    assert_eq!(of(Err(String::new())), Liveness::default());
    assert_eq!(BfdReport::default().liveness(&name), Liveness::default());
}
