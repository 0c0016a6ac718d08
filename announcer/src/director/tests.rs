use super::*;
use crate::config;
use crate::config::kind::http;
use crate::config::tests::with_services;
use crate::health::outcome::{Outcome, Reason as Why, TimeoutPhase};
use proptest::prelude::*;

mod capacity;
mod failure;
mod figures;
mod flapping;
mod interleaving;
mod reload;
mod route;
mod time;
mod weights;

const CONFIG: &str = with_services!(
    r#"
[[service]]
name = "www"
vips = ["192.0.2.80", "2001:db8::80"]
communities = ["65001:80"]
med = 7
flap_damping = false

[[service.check]]
http = "http://www.example.com/healthz"

[[service.check]]
http = "http://www.example.com/ready"

[[service]]
name = "mail"
vips = ["192.0.2.25"]

[[service.check]]
http = "http://mail.example.com/"
rise = 1
fall = 1
"#
);

const V4: &str = "192.0.2.80";
const V6: &str = "2001:db8::80";
const MAIL: &str = "192.0.2.25";

/// A director, and a sequence number for its probes.
struct Scene {
    director: Director,
    sequence: u64,
    now: Instant,
}

impl Scene {
    fn new(drained: &[&str]) -> Self {
        let config = Arc::new(config::parse("test.toml", CONFIG).unwrap());
        let now = Instant::now();
        Scene { director: Director::new(config, drains(drained), now), sequence: 0, now }
    }

    /// With every VIP on the host.
    fn with_vips(drained: &[&str]) -> Self {
        let mut scene = Scene::new(drained);
        for vip in [V4, V6, MAIL] {
            scene.fact(Fact::Vip(vip.parse().unwrap(), Presence::Present));
        }
        scene
    }

    fn fact(&mut self, fact: Fact) -> Vec<StandingChange> {
        self.director.handle(fact, self.now)
    }

    /// One character per probe: `+` passes, `-` fails.
    fn probes(&mut self, vip: &str, check: usize, outcomes: &str) -> Vec<StandingChange> {
        let mut changes = Vec::new();
        for outcome in outcomes.chars() {
            self.sequence += 1;
            let took = Duration::from_millis(12);
            let answer = || http::Answer::Status(200).into();
            let outcome = match outcome {
                '+' => Outcome::Pass { answer: answer(), warning: None, took },
                's' => Outcome::Pass { answer: answer(), warning: None, took: took * 40 },
                't' => Outcome::Fail {
                    reason: Why::TimedOut { waiting: TimeoutPhase::Answer, after: took },
                    took,
                },
                _ => Outcome::Fail { reason: http::Failure::Status(503).into(), took },
            };
            let service = "www".parse().unwrap();
            let probed = ProbeFact {
                service,
                vip: vip.parse().unwrap(),
                check,
                sequence: self.sequence,
                outcome,
                at: self.now,
            };
            changes.extend(self.fact(Fact::Probed(probed)));
        }
        changes
    }

    /// Runs probes that are refused, because nothing listens.
    fn refuse(&mut self, vip: &str, check: usize, times: usize) {
        for _ in 0..times {
            self.sequence += 1;
            let outcome = Outcome::Fail { reason: Why::Refused, took: Duration::ZERO };
            let (service, vip, sequence, at) =
                ("www".parse().unwrap(), vip.parse().unwrap(), self.sequence, self.now);
            let _ = self.fact(Fact::Probed(ProbeFact { service, vip, check, sequence, outcome, at }));
        }
    }

    fn announced(&mut self) -> Vec<String> {
        self.director.rib().routes.keys().map(|prefix| prefix.addr().to_string()).collect()
    }

    fn standing(&self, vip: &str) -> Standing {
        let report = self.director.report();
        let mut vips = report.services.iter().flat_map(|service| &service.vips);
        vips.find(|known| known.address.to_string() == vip).unwrap().standing.clone()
    }

    fn sentence(&self, vip: &str) -> String {
        self.standing(vip).to_string()
    }
}

fn drains(names: &[&str]) -> Drains {
    Drains::from_files(
        names.iter().map(|name| ((*name).to_owned(), Ok("reason: kernel\nby: ann".to_owned()))),
    )
}

#[test]
fn a_vip_is_announced_once_all_its_checks_have_risen_and_it_is_on_the_host() {
    let mut scene = Scene::new(&[]);
    scene.probes(V4, 0, "++");
    assert_eq!(scene.sentence(V4), "starting, the addresses of lo were not read yet");
    scene.fact(Fact::Vip(V4.parse().unwrap(), Presence::Present));
    assert_eq!(scene.sentence(V4), "starting, check `http-2`: no probe has answered yet");
    assert_eq!(scene.announced(), [""; 0]);
    scene.probes(V4, 1, "+");
    assert_eq!(
        scene.sentence(V4),
        "starting, check `http-2`: 1 of 2 probes passed (last: HTTP 200 after 12 ms)"
    );
    let changes = scene.probes(V4, 1, "+");
    assert_eq!(changes.len(), 1);
    assert_eq!(scene.announced(), [V4]);
    let rib = scene.director.rib();
    let route = rib.routes.values().next().unwrap();
    assert_eq!((route.med, route.communities.len()), (Some(7), 1));
}

#[test]
fn a_failed_check_withdraws_its_vip_alone() {
    let mut scene = Scene::with_vips(&[]);
    for (vip, check) in [(V4, 0), (V4, 1), (V6, 0), (V6, 1)] {
        scene.probes(vip, check, "++");
    }
    assert_eq!(scene.announced(), [V4, V6]);
    scene.probes(V6, 1, "--+---");
    assert_eq!(scene.announced(), [V4]);
    assert_eq!(
        scene.sentence(V6),
        "not announced, check `http-2`: 3 of 3 probes failed (last: HTTP 503 after 12 ms)"
    );
}

#[test]
fn a_vip_that_is_gone_is_withdrawn_and_comes_back_with_it() {
    let mut scene = Scene::with_vips(&[]);
    scene.probes(MAIL, 0, "+");
    scene.fact(Fact::Vip(MAIL.parse().unwrap(), Presence::Missing("not permitted".into())));
    assert_eq!(scene.announced(), [""; 0]);
    assert_eq!(scene.sentence(MAIL), "not announced, the VIP is not on lo: not permitted");
    scene.fact(Fact::Vip(MAIL.parse().unwrap(), Presence::Present));
    assert_eq!(scene.announced(), [MAIL]);
}

#[test]
fn a_vip_is_drained_by_any_order_that_covers_it_and_all_orders_are_counted() {
    for (files, announced) in [
        (&["_vip-192.0.2.80@ann"][..], &[MAIL, V6][..]),
        (&["_family-ipv4@ann"], &[V6]),
        (&["_family-ipv6"], &[MAIL, V4]),
        (&["www@ann", "www@bob"], &[MAIL]),
        (&["_all@ann"], &[]),
        (&["_peer-r1@ann", "_vip-192.0.2.99"], &[MAIL, V4, V6]),
    ] {
        let mut scene = Scene::all_up();
        scene.fact(Fact::Drains(drains(files)));
        assert_eq!(scene.announced(), announced, "{files:?}");
        scene.fact(Fact::Drains(drains(&[])));
        assert_eq!(scene.announced(), [MAIL, V4, V6], "{files:?}");
    }
    let mut scene = Scene::all_up();
    scene.fact(Fact::Drains(drains(&["_vip-192.0.2.80", "www@ann", "www@bob"])));
    assert_eq!(scene.sentence(V4), "drained by ann: kernel; and 2 more drains");
    assert_eq!(scene.sentence(V6), "drained by ann: kernel; and 1 more drain");
}

// A drain of a router changes no standing. Its name is in the Loc-RIB, so that an acknowledgement of the generation includes it.
#[test]
fn a_drained_router_makes_a_new_generation_and_changes_no_route() {
    let mut scene = Scene::all_up();
    let before = scene.director.rib();
    assert_eq!(scene.fact(Fact::Drains(drains(&["_peer-r1@ann"]))), []);
    let drained = scene.director.rib();
    assert_eq!((drained.generation, &drained.routes), (before.generation + 1, &before.routes));
    let r1 = "r1".parse().unwrap();
    assert!(drained.drained_peers.contains(&r1));
    scene.fact(Fact::Drains(drains(&["_peer-r1@ann", "_peer-r1@bob"])));
    assert_eq!(scene.director.rib().generation, drained.generation, "it was drained before");
    scene.fact(Fact::Drains(drains(&[])));
    let after = scene.director.rib();
    assert_eq!((after.generation, after.drained_peers.len()), (drained.generation + 1, 0));
}

#[test]
fn a_vip_whose_drain_has_ended_by_itself_returns_after_its_checks_have_passed_anew() {
    let mut scene = Scene::all_up();
    scene.fact(Fact::Drains(drains(&["www@ann", "mail@ann"])));
    scene.fact(Fact::Renew(vec![DrainTarget::of_file("www@ann")], scene.sequence + 1));
    scene.fact(Fact::Drains(drains(&[])));
    assert_eq!(scene.announced(), [MAIL], "mail was undrained by an operator");
    for vip in [V4, V6] {
        scene.probes(vip, 0, "++");
        scene.probes(vip, 1, "+");
        assert_eq!(scene.announced(), [MAIL, V4].get(..1 + usize::from(vip == V6)).unwrap(), "rise is 2");
        scene.probes(vip, 1, "+");
    }
    assert_eq!(scene.announced(), [MAIL, V4, V6]);
}

#[test]
fn before_a_prepared_drain_and_before_a_stop_a_vip_is_the_last_choice() {
    let mut scene = Scene::all_up();
    let prepared = drains(&["www@ann"]).preparing(&["www@ann"].into());
    scene.fact(Fact::Drains(prepared.clone()));
    assert_eq!(scene.standing(V4), Standing::LastChoice(LastChoiceReason::Leaving));
    assert_eq!(scene.standing(MAIL), Standing::Announced);
    assert_eq!(scene.announced(), [MAIL, V4, V6]);
    scene.probes(V4, 0, "---");
    assert_eq!(scene.announced(), [MAIL, V6], "a failure withdraws it");
    scene.fact(Fact::Drains(drains(&["www@ann"])));
    assert_eq!(scene.announced(), [MAIL]);
    // Another order that withdraws it does so at once.
    let both = drains(&["www@ann", "_all"]).preparing(&["www@ann"].into());
    scene.fact(Fact::Drains(both));
    assert_eq!(scene.sentence(V6), "drained by ann: kernel");
    let mut scene = Scene::all_up();
    scene.fact(Fact::Leave);
    assert_eq!(scene.standing(MAIL), Standing::LastChoice(LastChoiceReason::Leaving));
    assert_eq!(scene.announced(), [MAIL, V4, V6]);
}

#[test]
fn a_drain_withdraws_by_name_or_all_and_health_goes_on_below_it() {
    let mut scene = Scene::with_vips(&["mail"]);
    scene.probes(MAIL, 0, "+");
    assert_eq!(scene.announced(), [""; 0]);
    assert_eq!(scene.sentence(MAIL), "drained by ann: kernel");
    assert_eq!(
        scene.fact(Fact::Drains(drains(&["_all", "gone"]))).len(),
        2,
        "www's two VIPs; mail stays drained"
    );
    let report = scene.director.report();
    assert_eq!(report.unknown_drains.iter().map(|order| order.file.as_str()).collect::<Vec<_>>(), ["gone"]);
    scene.fact(Fact::Drains(drains(&[])));
    assert_eq!(scene.announced(), [MAIL], "no probe had to pass again");
}

#[test]
fn end_of_rib_waits_for_every_first_verdict() {
    let mut scene = Scene::with_vips(&[]);
    scene.probes(MAIL, 0, "-");
    scene.probes(V4, 0, "++");
    scene.probes(V4, 1, "++");
    scene.probes(V6, 0, "---");
    assert!(scene.director.rib().complete, "down is a verdict, and one check is enough for it");
    let mut drained = Scene::with_vips(&["_all"]);
    assert!(drained.director.rib().complete, "a drained VIP waits for nothing");
    for presence in [Presence::Missing("gone".into()), Presence::DeviceDown("not permitted".into())] {
        let mut absent = Scene::new(&[]);
        for vip in [V4, V6, MAIL] {
            absent.fact(Fact::Vip(vip.parse().unwrap(), presence.clone()));
        }
        assert!(absent.director.rib().complete, "nor does one that is not there: {presence:?}");
    }
    assert!(!Scene::with_vips(&[]).director.rib().complete);
}

#[test]
fn a_stop_withdraws_everything_for_good() {
    let mut scene = Scene::with_vips(&[]);
    scene.probes(MAIL, 0, "+");
    let before = scene.director.rib().generation;
    scene.fact(Fact::Stop);
    assert_eq!(scene.announced(), [""; 0]);
    assert_eq!(scene.director.rib().generation, before + 1);
    scene.probes(MAIL, 0, "+++");
    assert_eq!(scene.announced(), [""; 0]);
    assert_eq!(scene.sentence(MAIL), "not announced, announcer is stopping");
}

#[test]
fn probes_come_fast_until_the_first_verdict() {
    let mut scene = Scene::with_vips(&[]);
    let pace = |scene: &Scene| scene.director.pace(MAIL.parse().unwrap(), 0).unwrap().interval;
    assert_eq!(pace(&scene), Duration::from_millis(200));
    scene.probes(MAIL, 0, "+");
    assert_eq!(pace(&scene), Duration::from_secs(1));
}

#[test]
fn the_pace_and_the_listener_watch_change_only_with_what_decides_them() {
    let mut scene = Scene::all_up();
    let changed =
        |scene: &mut Scene| (scene.director.take_paced().len(), scene.director.take_watched().is_some());
    assert_eq!(changed(&mut scene), (5, true));
    for (outcomes, want) in [
        ("+", (0, false)),
        ("-", (1, false)), // it settles
        ("-", (0, false)),
        ("+", (1, false)),
        ("---", (1, true)),
        ("-", (0, false)),
    ] {
        scene.probes(V4, 0, outcomes);
        assert_eq!(changed(&mut scene), want, "{outcomes}");
    }
}

/// The time of the first fact counts, because delays of announcements are measured from it.
#[test]
fn the_routes_have_the_time_of_the_first_fact_that_changed_them() {
    let mut scene = Scene::all_up();
    let first = scene.now;
    scene.probes(V4, 0, "---");
    scene.now += Duration::from_secs(1);
    scene.probes(V6, 0, "---");
    assert_eq!(scene.director.rib().caused, Some(first));
}

impl Scene {
    /// Lets time pass, with a pass of MAIL's check every half second and no other facts.
    fn wait(&mut self, time: Duration) -> Vec<StandingChange> {
        let until = self.now + time;
        let mut changes = Vec::new();
        while self.now < until {
            self.now = until.min(self.now + Duration::from_millis(100));
            if self.director.deadline().is_some_and(|deadline| deadline <= self.now) {
                changes.extend(self.director.expire(self.now));
            }
            changes.extend(self.probes(MAIL, 0, "+"));
        }
        changes
    }

    fn with(config: &str) -> Self {
        let now = Instant::now();
        let config = Arc::new(config::parse("test.toml", config).unwrap_or_else(|errors| panic!("{errors}")));
        let mut scene = Scene { director: Director::new(config.clone(), drains(&[]), now), sequence: 0, now };
        for (vip, _) in config.vips() {
            scene.fact(Fact::Vip(vip, Presence::Present));
        }
        scene
    }

    fn route(&mut self, prefix: &str) -> Option<Arc<Attributes>> {
        self.director.rib().routes.get(&prefix.parse::<IpNet>().unwrap()).cloned()
    }
}

#[derive(Debug, Clone)]
enum DirectorEvent {
    Probe(usize, bool),
    Vip(bool),
    Drain(bool),
}

proptest! {
    /// For all facts in any order: an announced VIP is healthy, on the host and not drained; the generation increases exactly when
    /// the routes change; the report agrees with the routes.
    #[test]
    fn nothing_is_announced_that_should_not_be(steps in proptest::collection::vec(prop_oneof![
        (0..2usize, any::<bool>()).prop_map(|(check, pass)| DirectorEvent::Probe(check, pass)),
        any::<bool>().prop_map(DirectorEvent::Vip),
        any::<bool>().prop_map(DirectorEvent::Drain),
    ], 0..60)) {
        let mut scene = Scene::new(&[]);
        let (mut there, mut drained) = (false, false);
        let mut passes = [0u32, 0];
        let mut up = [false, false];
        let mut fails = [0u32, 0];
        let mut last = scene.director.rib();
        for step in steps {
            match step {
                DirectorEvent::Probe(check, pass) => {
                    scene.probes(V4, check, if pass { "+" } else { "-" });
                    (passes[check], fails[check]) = if pass { (passes[check] + 1, 0) } else { (0, fails[check] + 1) };
                    up[check] = (up[check] || passes[check] >= 2) && fails[check] < 3;
                }
                DirectorEvent::Vip(present) => {
                    there = present;
                    let presence = if present { Presence::Present } else { Presence::Missing("gone".into()) };
                    scene.fact(Fact::Vip(V4.parse().unwrap(), presence));
                }
                DirectorEvent::Drain(drain) => {
                    drained = drain;
                    scene.fact(Fact::Drains(drains(if drain { &["www"] } else { &[] })));
                }
            }
            let announced = scene.announced().contains(&V4.to_owned());
            prop_assert_eq!(announced, there && !drained && up == [true, true]);
            prop_assert_eq!(announced, scene.sentence(V4) == "announced");
            let rib = scene.director.rib();
            let changed = (rib.complete, &rib.routes) != (last.complete, &last.routes);
            prop_assert_eq!(rib.generation, last.generation + u64::from(changed));
            last = rib;
        }
    }
}

/// The configuration with a part of its text replaced.
fn changed(from: &str, to: &str) -> Arc<Config> {
    assert!(CONFIG.contains(from), "{from}");
    Arc::new(config::parse("test.toml", &CONFIG.replacen(from, to, 1)).unwrap())
}

impl Scene {
    fn reload(&mut self, config: Arc<Config>) -> Vec<StandingChange> {
        self.director.reload(config, self.sequence + 1, self.now)
    }

    fn all_up() -> Self {
        let mut scene = Scene::with_vips(&[]);
        for (vip, check) in [(V4, 0), (V4, 1), (V6, 0), (V6, 1), (MAIL, 0)] {
            scene.probes(vip, check, "++");
        }
        assert_eq!(scene.announced(), [MAIL, V4, V6]);
        scene
    }
}

#[test]
fn a_covering_prefix_is_announced_only_while_every_vip_of_its_family_is() {
    let text = CONFIG
        .replace("\"192.0.2.80\", ", "\"192.0.2.80\", \"192.0.2.81\", ")
        .replace("med = 7", "med = 7\nprefix = \"192.0.2.64/26\"");
    let config = Arc::new(config::parse("test.toml", &text).unwrap());
    let now = Instant::now();
    let mut scene = Scene { director: Director::new(config, drains(&[]), now), sequence: 0, now };
    let vips = [V4, "192.0.2.81", V6];
    for vip in vips {
        scene.fact(Fact::Vip(vip.parse().unwrap(), Presence::Present));
    }
    let announced = |scene: &mut Scene| -> Vec<String> {
        scene.director.rib().routes.keys().map(ToString::to_string).collect()
    };
    for check in 0..2 {
        scene.probes(V4, check, "++");
    }
    assert_eq!(announced(&mut scene), [""; 0], "its sibling has no verdict yet");
    for check in 0..2 {
        scene.probes("192.0.2.81", check, "++");
        scene.probes(V6, check, "++");
    }
    assert_eq!(announced(&mut scene), ["192.0.2.64/26", "2001:db8::80/128"]);
    for vip in vips {
        assert_eq!(scene.standing(vip), Standing::Announced, "{vip}");
    }
    scene.probes("192.0.2.81", 0, "---");
    assert_eq!(announced(&mut scene), ["2001:db8::80/128"], "the prefix goes with any of its VIPs");
    assert_eq!(scene.sentence(V4), "not announced, because 192.0.2.81 in the same prefix is not announced");
    assert_eq!(scene.probes(V4, 0, "++"), [], "its own passes change nothing");
    assert_eq!(scene.sentence(V4), "not announced, because 192.0.2.81 in the same prefix is not announced");
    scene.probes("192.0.2.81", 0, "++");
    assert_eq!(announced(&mut scene), ["192.0.2.64/26", "2001:db8::80/128"]);
}
