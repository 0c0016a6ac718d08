use super::*;
use crate::config;

fn id(text: &str) -> RouterId {
    RouterId::try_from(text.parse::<std::net::Ipv4Addr>().unwrap()).unwrap()
}

/// A configuration with `bgp` in `[bgp]` and a peer for each text, which has the name and then the keys.
fn config(bgp: &str, peers: &[&str]) -> Config {
    with_service(bgp, peers, "")
}

/// The same, with more lines in the service.
fn with_service(bgp: &str, peers: &[&str], service: &str) -> Config {
    let mut text = format!("[bgp]\nasn = 65001\n{bgp}\n");
    for (index, peer) in peers.iter().enumerate() {
        let (name, keys) = peer.split_once(' ').unwrap_or((peer, ""));
        let host = name.trim_start_matches('r').parse().unwrap_or(index + 1);
        text += &format!("[[peer]]\nname = \"{name}\"\naddress = \"10.0.1.{host}\"\nasn = 65000\n{keys}\n");
    }
    text += &format!(
        "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80-192.0.2.89\", \"2001:db8::80\"]\n{service}\n[[service.check]]\ntcp = 80\n"
    );
    config::parse("x", &text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// All steps until there is none left. Each step is done at once.
fn steps(mut running: Vec<RunningSession>, wanted: &DesiredSessions<'_>) -> Vec<String> {
    let mut taken = vec![];
    while let Some(step) = next(&running, wanted) {
        let fresh = |name: &PeerName| RunningSession {
            settings: wanted.settings(wanted.peer(name).unwrap()),
            state: SessionPhase::Established,
            path: PathComparison::Same,
        };
        taken.push(match step {
            PlanStep::End(name) => {
                running.retain(|one| one.settings.peer.name != name);
                format!("end {name}")
            }
            PlanStep::Start(name) => {
                running.retain(|one| one.settings.peer.name != name);
                running.push(fresh(&name));
                format!("start {name}")
            }
            PlanStep::Restart(name, cause) => {
                running.retain(|one| one.settings.peer.name != name);
                running.push(fresh(&name));
                format!("restart {name}: {cause:?}")
            }
        });
        assert!(taken.len() < 20, "it comes to no end: {taken:?}");
    }
    taken
}

fn running(config: &Config, router_id: Option<&str>) -> Vec<RunningSession> {
    let wanted = DesiredSessions { config, router_id: router_id.map(id) };
    let one = |peer| RunningSession {
        settings: wanted.settings(peer),
        state: SessionPhase::Established,
        path: PathComparison::Same,
    };
    config.peers.iter().map(one).collect()
}

#[test]
fn removed_peers_end_first_then_new_ones_start_and_the_rest_begins_anew_one_after_the_other() {
    let two = config("", &["r1", "r2"]);
    for (new, id_before, id_now, want) in [
        (two.clone(), Some("10.0.0.1"), Some("10.0.0.1"), vec![]),
        (config("", &["r2", "r1"]), Some("10.0.0.1"), Some("10.0.0.1"), vec![]),
        (config("settle = \"2s\"", &["r1", "r2"]), Some("10.0.0.1"), Some("10.0.0.1"), vec![]),
        (config("", &["r1 med = 5", "r2"]), Some("10.0.0.1"), Some("10.0.0.1"), vec![]),
        (
            config("", &["r3", "r1 port = 1790"]),
            Some("10.0.0.1"),
            Some("10.0.0.1"),
            vec!["end r2", "start r3", "restart r1: Configuration"],
        ),
        (
            config("graceful_restart = \"10s\"", &["r2", "r1"]),
            Some("10.0.0.1"),
            Some("10.0.0.1"),
            vec!["restart r2: Configuration", "restart r1: Configuration"],
        ),
        // W5: sessions that wait for the router id start together as soon as it is known; another router id restarts each session.
        (two.clone(), None, None, vec![]),
        (config("", &["r1 port = 1790", "r2"]), None, None, vec!["start r1"]),
        (two.clone(), None, Some("10.0.0.1"), vec!["start r1", "start r2"]),
        (
            two.clone(),
            Some("10.0.0.1"),
            Some("10.0.0.2"),
            vec!["restart r1: RouterId", "restart r2: RouterId"],
        ),
        (two.clone(), Some("10.0.0.1"), None, vec![]),
    ] {
        let wanted = DesiredSessions { config: &new, router_id: id_now.map(id) };
        assert_eq!(steps(running(&two, id_before), &wanted), want, "{id_before:?} {id_now:?}");
    }
}

#[test]
fn what_is_down_begins_anew_first_since_it_has_nothing_to_lose() {
    let old = config("", &["r1", "r2", "r3"]);
    let new = config("", &["r1 port = 1790", "r2 port = 1790", "r3 port = 1790"]);
    let mut running = running(&old, Some("10.0.0.1"));
    running[2].state = SessionPhase::Down;
    let wanted = DesiredSessions { config: &new, router_id: Some(id("10.0.0.1")) };
    let want = ["restart r3: Configuration", "restart r1: Configuration", "restart r2: Configuration"];
    assert_eq!(steps(running, &wanted), want);
}

#[test]
fn only_a_session_that_carries_routes_waits_for_the_one_before_it() {
    let old = config("", &["r1", "r2"]);
    let new = config("", &["r1 port = 1790", "r2 port = 1790"]);
    let wanted = DesiredSessions { config: &new, router_id: Some(id("10.0.0.1")) };
    for (first, second, want) in [
        (SessionPhase::Established, SessionPhase::Established, true),
        (SessionPhase::Established, SessionPhase::Down, false),
        (SessionPhase::Down, SessionPhase::Down, false),
    ] {
        let mut running = running(&old, Some("10.0.0.1"));
        (running[0].state, running[1].state) = (first, second);
        assert_eq!(takes_routes(&running, &wanted), want, "{first:?} {second:?}");
    }
    let same = DesiredSessions { config: &old, router_id: Some(id("10.0.0.1")) };
    assert!(!takes_routes(&running(&old, Some("10.0.0.1")), &same), "nothing is to be done");
}

/// B13.
#[test]
fn sessions_whose_way_has_changed_begin_anew_one_after_the_other() {
    let config = config("", &["r1", "r2", "r3"]);
    let mut running = running(&config, Some("10.0.0.1"));
    running[0].path = PathComparison::Other;
    running[2].path = PathComparison::Other;
    let wanted = DesiredSessions { config: &config, router_id: Some(id("10.0.0.1")) };
    assert_eq!(steps(running, &wanted), ["restart r1: Way", "restart r3: Way"]);
}

/// The sessions with these peers, of which each carries the families after its name: `"r1 4"`, `"r2 46"`.
fn established(sessions: &[&str]) -> Vec<EstablishedSession> {
    let one = |text: &&str| {
        let (name, families) = text.split_once(' ').unwrap_or((text, "4"));
        let family = |digit| if digit == '4' { Family::V4 } else { Family::V6 };
        EstablishedSession { peer: name.parse().unwrap(), families: families.chars().map(family).collect() }
    };
    sessions.iter().map(one).collect()
}

#[test]
fn whether_a_reload_interrupts_every_session_is_known_whichever_key_does_it() {
    let two = || config("", &["r1", "r2"]);
    for (old, new, in_use, want) in [
        (two(), two(), Some("10.0.0.1"), false),
        (two(), config("", &["r1"]), Some("10.0.0.1"), false),
        (two(), config("", &["r3"]), Some("10.0.0.1"), true),
        (two(), config("", &["r1 port = 1790", "r2"]), Some("10.0.0.1"), false),
        (two(), config("", &["r1 port = 1790", "r2 port = 1790"]), Some("10.0.0.1"), true),
        (two(), config("graceful_restart = \"10s\"", &["r1", "r2"]), Some("10.0.0.1"), true),
        // The router id counts only if it differs from the one in use.
        (two(), config("router_id = \"10.0.0.1\"", &["r1", "r2"]), Some("10.0.0.1"), false),
        (two(), config("router_id = \"10.0.0.9\"", &["r1", "r2"]), Some("10.0.0.1"), true),
        (config("router_id = \"10.0.0.9\"", &["r1", "r2"]), two(), Some("10.0.0.9"), false),
    ] {
        // Also while no VIP is sent.
        let both = established(&["r1", "r2"]);
        let interrupts = interruption(&old, &new, in_use.map(id), &both, &[]).is_some();
        assert_eq!(interrupts, want, "{new:?}");
        // Without a session there is nothing to lose.
        assert_eq!(interruption(&old, &new, in_use.map(id), &[], &[]), None);
    }
}

// The sessions of the old configuration that were down counted as if they carried the VIPs.
#[test]
fn a_reload_that_takes_the_last_session_from_a_vip_is_refused() {
    const V4: &str = "192.0.2.80";
    const V6: &str = "2001:db8::80";
    let (four, six) = ("families = [\"ipv4\"]", "families = [\"ipv6\"]");
    let (r1, r1_six, r2_six) = (format!("r1 {four}"), format!("r1 {six}"), format!("r2 {six}"));
    let only = "this would end every established session that carries a route to ";
    for (old, up, new, sent, want) in [
        // The only one that is up is removed, restarts, or stays.
        (vec!["r1", "r2"], vec!["r1 46"], vec!["r2"], vec![V4], format!("{only}{V4}: r1 would be removed")),
        (
            vec!["r1", "r2"],
            vec!["r1 46"],
            vec!["r1 port = 1790", "r2"],
            vec![V4],
            format!("{only}{V4}: the session with r1 would restart"),
        ),
        (vec!["r1", "r2"], vec!["r1 46"], vec!["r1"], vec![V4], String::new()),
        (
            vec!["r1", "r2"],
            vec!["r1 46"],
            vec!["r2"],
            vec![],
            "this would end every established session: r1 would be removed".into(),
        ),
        // Its families change.
        (
            vec!["r1", "r2"],
            vec!["r1 46"],
            vec![r1_six.as_str(), "r2"],
            vec![V4],
            format!("{only}{V4}: `families` of r1 would lack IPv4"),
        ),
        // Of two, each carries one family.
        (
            vec![r1.as_str(), r2_six.as_str()],
            vec!["r1 4", "r2 6"],
            vec![r2_six.as_str()],
            vec![V4, V6],
            format!("{only}{V4}: r1 would be removed"),
        ),
        (
            vec![r1.as_str(), r2_six.as_str()],
            vec!["r1 4", "r2 6"],
            vec![r2_six.as_str()],
            vec![V6],
            String::new(),
        ),
        // A router whose OPEN had only IPv6.
        (
            vec!["r1", "r2"],
            vec!["r1 46", "r2 6"],
            vec!["r2"],
            vec![V4, V6],
            format!("{only}{V4}: r1 would be removed"),
        ),
        // Both carry it, and one of them is removed, or both are changed.
        (vec!["r1", "r2"], vec!["r1 46", "r2 46"], vec!["r1"], vec![V4, V6], String::new()),
        (
            vec!["r1", "r2"],
            vec!["r1 46", "r2 46"],
            vec![r1_six.as_str()],
            vec![V4],
            format!("{only}{V4}: `families` of r1 would lack IPv4, r2 would be removed"),
        ),
        // A family that no session carries now is not lost.
        (vec!["r1", "r2"], vec!["r1 4", "r2 4"], vec!["r1"], vec![V6], String::new()),
        // None is up.
        (vec!["r1", "r2"], vec![], vec!["r3"], vec![V4], String::new()),
    ] {
        let sent: Vec<IpAddr> = sent.iter().map(|vip| vip.parse().unwrap()).collect();
        let (old, up, next) = (config("", &old), established(&up), config("", &new));
        let found = interruption(&old, &next, Some(id("10.0.0.1")), &up, &sent);
        assert_eq!(found.map(|found| found.to_string()).unwrap_or_default(), want, "{up:?} {new:?}");
    }
}

#[test]
fn a_long_list_is_cut() {
    let names = ["r1", "r2", "r3", "r4", "r5"];
    let vips: Vec<IpAddr> = (80..84).map(|n| IpAddr::from([192, 0, 2, n])).collect();
    let found = interruption(
        &config("", &names),
        &config("graceful_restart = \"10s\"", &["r5"]),
        Some(id("10.0.0.1")),
        &established(&names),
        &vips,
    );
    let want = "this would end every established session that carries a route to 192.0.2.80, 192.0.2.81, 192.0.2.82, and 1 more: \
                r1 would be removed, r2 would be removed, r3 would be removed, and 2 more";
    assert_eq!(found.unwrap().to_string(), want);
}

#[test]
fn a_vip_that_no_established_session_would_carry_because_of_peers_is_an_interruption() {
    let only =
        "this would take the routes from every established session that carries a route to 192.0.2.80: ";
    for (before, up, after, want) in [
        ("peers = [\"r1\"]", vec!["r1", "r2"], "peers = [\"r1\"]", String::new()),
        // It moves to a session that is there.
        ("peers = [\"r1\"]", vec!["r1", "r2"], "peers = [\"r2\"]", String::new()),
        ("", vec!["r1", "r2"], "peers = [\"r2\"]", String::new()),
        ("peers = [\"r1\"]", vec!["r1"], "peers = [\"r2\"]", format!("{only}`peers` would not name r1")),
        ("peers = [\"r1\"]", vec!["r1"], "", String::new()),
        // No session has carried it.
        ("peers = [\"r2\"]", vec!["r1"], "peers = [\"r2\"]", String::new()),
    ] {
        let sent: [IpAddr; 1] = ["192.0.2.80".parse().unwrap()];
        let (old, next) = (with_service("", &["r1", "r2"], before), with_service("", &["r1", "r2"], after));
        let found = interruption(&old, &next, Some(id("10.0.0.1")), &established(&up), &sent);
        assert_eq!(found.map(|found| found.to_string()).unwrap_or_default(), want, "{before} {up:?} {after}");
    }
    // The other session continues, and does not carry it.
    let old = with_service("", &["r1", "r2"], "peers = [\"r1\"]");
    let next = with_service("", &["r1 hold_time = \"12s\"", "r2"], "peers = [\"r1\"]");
    let sent: [IpAddr; 1] = ["192.0.2.80".parse().unwrap()];
    let found = interruption(&old, &next, Some(id("10.0.0.1")), &established(&["r1", "r2"]), &sent);
    let want = "this would end every established session that carries a route to 192.0.2.80: the session with r1 would restart";
    assert_eq!(found.unwrap().to_string(), want);
}

#[test]
fn a_router_that_a_service_does_not_name_neither_carries_its_vips_nor_takes_them_away() {
    let config = with_service("", &["r1", "r2"], "peers = [\"r1\"]");
    let sent: [IpAddr; 1] = ["192.0.2.80".parse().unwrap()];
    for (up, drained, want) in [
        (vec!["r1", "r2"], "r1", 1),
        (vec!["r1", "r2"], "r2", 0),
        // It is sent to no router before and after.
        (vec!["r2"], "r2", 0),
    ] {
        let drained = [drained.parse().unwrap()].into();
        let lost = without_router(&established(&up), &drained, &sent, &config.recipients());
        assert_eq!(lost.len(), want, "{up:?} {drained:?}");
    }
}

#[test]
fn a_vip_needs_a_router_that_is_established_and_not_drained() {
    let config = config("", &["r1", "r2"]);
    let session = |name: &str, families: &[Family]| EstablishedSession {
        peer: name.parse().unwrap(),
        families: families.iter().copied().collect(),
    };
    let both = [Family::V4, Family::V6];
    let r1 = session("r1", &both);
    for (established, drained, want) in [
        (&[r1.clone(), session("r2", &both)][..], &["r1"][..], &[][..]),
        (&[r1.clone(), session("r2", &[Family::V4])], &["r1"], &["2001:db8::80"]),
        (&[r1.clone(), session("r2", &both)], &["r1", "r2"], &["192.0.2.80", "2001:db8::80"]),
        (std::slice::from_ref(&r1), &["r1"], &["192.0.2.80", "2001:db8::80"]),
        (std::slice::from_ref(&r1), &["r2"], &[]),
        (&[], &["r1"], &["192.0.2.80", "2001:db8::80"]),
    ] {
        let drained = drained.iter().map(|name| name.parse().unwrap()).collect();
        let sent = ["192.0.2.80", "2001:db8::80"].map(|vip| vip.parse().unwrap());
        let lost = without_router(established, &drained, &sent, &config.recipients());
        assert_eq!(
            lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
            want,
            "{established:?} {drained:?}"
        );
    }
}
