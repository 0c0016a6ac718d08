use super::*;
use crate::config;

fn id(text: &str) -> RouterId {
    RouterId::try_from(text.parse::<std::net::Ipv4Addr>().unwrap()).unwrap()
}

/// A configuration with `bgp` in `[bgp]` and a peer for each text, which has the name and then the keys.
fn config(bgp: &str, peers: &[&str]) -> Config {
    let mut text = format!("[bgp]\nasn = 65001\n{bgp}\n");
    for (index, peer) in peers.iter().enumerate() {
        let (name, keys) = peer.split_once(' ').unwrap_or((peer, ""));
        let host = name.trim_start_matches('r').parse().unwrap_or(index + 1);
        text += &format!("[[peer]]\nname = \"{name}\"\naddress = \"10.0.1.{host}\"\nasn = 65000\n{keys}\n");
    }
    text += "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 80\n";
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
        (
            config("router_id = \"10.0.0.9\"", &["r1"]),
            config("router_id = \"10.0.0.8\"", &["r1"]),
            None,
            true,
        ),
    ] {
        assert_eq!(interrupts_every_session(&old, &new, in_use.map(id)), want, "{new:?}");
    }
}
