use std::sync::Arc;

use expect_test::expect;

use super::*;
use crate::config;
use crate::config::kind::tcp;
use crate::config::tests::with_services;
use crate::delivery::{RouterSession, SessionProgress, delivery};
use crate::director::{Director, Fact};
use crate::drain::Drains;
use crate::health::ProbeFact;
use crate::health::outcome::{Outcome, Reason};
use crate::model::Family;
use crate::vip::DeviceProblem;

const CONFIG: &str = with_services!(
    r#"
[[service]]
name = "www"
vips = ["192.0.2.80"]
communities = ["65001:80"]

[[service.check]]
http = "http://www.example.com/healthz"
rise = 1

[[service.check]]
name = "backend"
tcp = 5432
target = "10.9.9.9"
rise = 1
fall = 1
on_failure = "deprefer"
"#
);

/// A router whose kernel has acknowledged this generation.
fn router(name: &str, acknowledged: u64) -> RouterSession {
    let progress = SessionProgress::Established { acknowledged, not_sent: [].into() };
    RouterSession { name: name.parse().unwrap(), families: [Family::V4].into(), progress }
}

/// The explanation after these outcomes of the second check, `+`, `-` or `s` for a late answer, one second apart. The first check has just passed.
fn story(backend: &str, sessions: Vec<SessionExplanation>) -> String {
    story_of(CONFIG, backend, sessions)
}

fn story_of(text: &str, backend: &str, sessions: Vec<SessionExplanation>) -> String {
    story_on(text, backend, Presence::Present, sessions)
}

fn story_on(text: &str, backend: &str, presence: Presence, sessions: Vec<SessionExplanation>) -> String {
    let config = Arc::new(config::parse("test.toml", text).unwrap_or_else(|errors| panic!("{errors}")));
    let start = Instant::now();
    let mut director = Director::new(config.clone(), Drains::default(), start);
    let vip = "192.0.2.80".parse().unwrap();
    let mut now = start;
    let mut probe = |check: usize, mark: char, now: Instant| {
        let took = Duration::from_millis(if mark == 's' { 400 } else { 2 });
        let outcome = match mark {
            '+' | 's' => Outcome::Pass { answer: tcp::Answer::Connected.into(), took, warning: None },
            _ => Outcome::Fail { reason: Reason::Refused, took },
        };
        let service = "www".parse().unwrap();
        let sequence = u64::try_from(now.duration_since(start).as_millis()).unwrap();
        let _ =
            director.handle(Fact::Probed(ProbeFact { service, vip, check, sequence, outcome, at: now }), now);
    };
    for outcome in backend.chars() {
        now += Duration::from_secs(1);
        probe(1, outcome, now);
    }
    probe(0, '+', now);
    let _ = director.handle(Fact::Vip(vip, presence), now);
    let report = director.report();
    let (_, known) = report.vips().next().unwrap();
    let routers = sessions.into_iter().enumerate().map(|(index, session)| RouterExplanation {
        name: format!("r{}", index + 1),
        overrides: Overrides { med: Some(7), ..Overrides::default() },
        internal: index == 1,
        asn: config.bgp.asn,
        next_hop: Some(NextHop::V4([10, 0, 1, 11].into())),
        session,
    });
    let names: Vec<RouterSession> = vec![router("r1", 9), router("r2", 0), router("r3", 9)];
    let delivery = delivery(known.address, known.vip_route.as_ref(), &names);
    let routers = routers.collect();
    let story = VipExplanation {
        vip: known,
        service: &config.services[0],
        weight: None,
        drains: Vec::new(),
        delivery,
        routers,
    };
    explain(&story, now + Duration::from_millis(250)).join("\n")
}

#[test]
fn the_whole_chain_is_explained_in_sentences() {
    let down = SessionExplanation::Down("Connect".into(), Some("connection refused, 3s ago".into()));
    let not_sent = SessionExplanation::DoesNotSend("IPv4 routes are not sent".into());
    expect![[r#"
        192.0.2.80 of service www: last choice, check `backend`: 1 of 1 probes failed (last: connection refused after 2 ms), sent to 2 of 3 routers (for 0.2s)
        The VIP is on lo.
        2 of its 2 checks have to pass.
        Check `http` asks GET http://www.example.com/healthz at 192.0.2.80 every 1s: up, 1 of 1 probes passed; a failure would withdraw.
            0.2s ago: connected after 2 ms
            Its probe loop last reported 0.2s ago; the verdict is valid for 4s after a report.
        Check `backend` asks for a connection to TCP port 5432 at 10.9.9.9 every 1s: down, 1 of 1 probes failed; a failure would deprefer.
            0.2s ago: connection refused after 2 ms
            1.2s ago: connected after 2 ms
            Its probe loop last reported 0.2s ago; the verdict is valid for 4s after a report.
        It comes back when check `backend` passes once more.
        It is not drained.
        Router r1 was sent 192.0.2.80/32 with next hop 10.0.1.11, AS path 65001 65001 65001 65001, MED 7, communities 65001:80; its kernel acknowledged the UPDATE.
        Router r2 was sent 192.0.2.80/32 with next hop 10.0.1.11, an empty AS path, MED 7, local preference 0, communities 65001:80; its kernel acknowledged the UPDATE.
        Router r3 is being sent the route, and its kernel has not acknowledged all of it yet.
        Router r4 gets no route to it: the session is Connect, connection refused, 3s ago.
        Router r5 gets no route to it: IPv4 routes are not sent."#]]
        .assert_eq(&story("+-", vec![SessionExplanation::Acknowledged(None), SessionExplanation::Acknowledged(None), SessionExplanation::Sending, down, not_sent]));
}

#[test]
fn of_one_check_no_count_is_explained() {
    let (text, _) = CONFIG.rsplit_once("[[service.check]]").unwrap();
    let config = Arc::new(config::parse("test.toml", text).unwrap_or_else(|errors| panic!("{errors}")));
    let now = Instant::now();
    let report = Director::new(config.clone(), Drains::default(), now).report();
    let (_, vip) = report.vips().next().unwrap();
    let (delivery, routers) = (delivery(vip.address, None, &[]), vec![]);
    let story = VipExplanation {
        vip,
        service: &config.services[0],
        weight: None,
        drains: Vec::new(),
        delivery,
        routers,
    };
    let lines = explain(&story, now);
    assert!(!lines.iter().any(|line| line.contains("checks have to pass")), "{lines:?}");
}

#[test]
fn the_next_hop_and_the_as_path_are_those_that_the_router_was_sent() {
    for (prepend, internal, want) in [
        (0, false, " with next hop 10.0.1.11, AS path 65001"),
        (1, false, " with next hop 10.0.1.11, AS path 65001 65001"),
        (1, true, " with next hop 10.0.1.11, an empty AS path, local preference 100"),
    ] {
        let config = config::parse("test.toml", CONFIG).unwrap_or_else(|errors| panic!("{errors}"));
        let report = Director::new(Arc::new(config.clone()), Drains::default(), Instant::now()).report();
        let (_, vip) = report.vips().next().unwrap();
        let route = Attributes { prepend, ..Attributes::default() };
        let router = RouterExplanation {
            name: "r1".into(),
            overrides: Overrides::default(),
            internal,
            asn: config.bgp.asn,
            next_hop: Some(NextHop::V4([10, 0, 1, 11].into())),
            session: SessionExplanation::Acknowledged(None),
        };
        assert_eq!(sent(&route, &router, vip), want);
    }
}

#[test]
fn a_time_below_ten_seconds_has_a_tenth() {
    let now = Instant::now();
    for (millis, want) in [(0, "0.0s"), (9_999, "9.9s"), (10_000, "10s"), (61_500, "1m 1s")] {
        assert_eq!(span(now + Duration::from_millis(millis), now), want);
    }
}

#[test]
fn what_is_not_announced_is_with_nobody() {
    let story = story("", vec![SessionExplanation::Acknowledged(None), SessionExplanation::Sending]);
    assert!(story.contains("starting, check `backend`: no probe has answered yet"), "{story}");
    assert!(
        story.contains("Router r1 is not sent 192.0.2.80/32; its kernel acknowledged the withdraw."),
        "{story}"
    );
    assert!(
        story.contains("Router r2 is being sent the withdraw, and its kernel has not acknowledged it yet."),
        "{story}"
    );
}

#[test]
fn what_brings_a_vip_back_is_said() {
    for (backend, want) in [("-", Some("It comes back when check `backend` passes once more.")), ("+", None)]
    {
        let story = story(backend, vec![]);
        let found = story.lines().find(|line| line.starts_with("It comes back"));
        assert_eq!(found, want, "{story}");
    }
}

#[test]
fn slow_answers_and_the_effects_of_timeouts_are_explained() {
    let keys =
        "on_failure = \"withdraw\"\non_timeout = \"deprefer\"\nslow = \"300ms\"\non_slow = \"deprefer\"\n";
    let story = story_of(&CONFIG.replace("on_failure = \"deprefer\"\n", keys), "+s", vec![]);
    for want in [
        "192.0.2.80 of service www: last choice, check `backend`: 1 of 1 probes were slow (last: connected after 400 ms)",
        "every 1s: up, 1 of 1 probes passed, 1 of 1 probes were slow; a failure would withdraw, a timeout would deprefer, \
         answers slower than 300ms would deprefer.",
        "It is announced in the usual way again when check `backend` passes once within 300ms (`slow`).",
    ] {
        assert!(story.contains(want), "{want}\n{story}");
    }
}

/// The first line has the words of `status`.
#[test]
fn the_device_of_a_vip_is_named_in_the_words_of_status() {
    let problem = || DeviceProblem { device: "edge".into(), reason: "no right".into() };
    let in_vrf = CONFIG.replacen("communities", "vrf = \"edge\"\npeers = [\"r1\"]\ncommunities", 1);
    for (presence, status, sentence, remedy) in [
        (
            Presence::Unknown,
            "starting, the addresses of edge were not read yet",
            "The addresses of edge were not read yet.",
            "It is decided when the addresses of edge were read.",
        ),
        (
            Presence::Missing(problem()),
            "not announced, the VIP is not on edge: no right",
            "The VIP is not on edge: no right.",
            "It comes back when the VIP is on edge;",
        ),
        (
            Presence::DeviceDown(problem()),
            "not announced, edge is down, and could not be set up: no right",
            "edge is down, and could not be set up: no right.",
            "It comes back when edge is up;",
        ),
    ] {
        let story = story_on(&in_vrf, "+", presence, vec![]);
        let lines: Vec<&str> = story.lines().collect();
        assert!(lines[0].contains(status), "{status}: {story}");
        assert_eq!(lines[1], sentence, "{story}");
        assert!(lines.iter().any(|line| line.starts_with(remedy)), "{remedy}: {story}");
    }
}
