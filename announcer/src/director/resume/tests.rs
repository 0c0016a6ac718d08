use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config;
use crate::config::tests::with_services;
use crate::director::Fact;
use crate::health::ProbeFact;
use crate::health::outcome::{Outcome, Reason, Shortage, TimeoutPhase};

const CONFIG: &str = with_services!(
    r#"
[[service]]
name = "www"
flap_damping = "withhold"
vips = ["192.0.2.80", "2001:db8::80"]

[[service.check]]
tcp = 80
interval = "1s"
timeout = "500ms"
fall = 3

[[service]]
name = "mail"
vips = ["192.0.2.25"]
on_failure = "deprefer"

[[service.check]]
tcp = 25
rise = 1
fall = 1
"#
);

const VIPS: [&str; 3] = ["192.0.2.80", "2001:db8::80", "192.0.2.25"];

/// A director, and what is stored for the next process.
struct Process {
    director: Director,
    start: HostStart,
    stored: BTreeMap<IpAddr, String>,
    sequence: u64,
    now: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Probe {
    Passes,
    Fails,
    Refused,
    Skipped,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Process {
    fn new() -> Self {
        let now = Instant::now();
        let director = Director::new(config(CONFIG), Drains::default(), now);
        let start = HostStart::new(now, Duration::from_secs(1000));
        let mut process = Process { director, start, stored: BTreeMap::new(), sequence: 0, now };
        VIPS.iter().for_each(|vip| process.fact(Fact::Vip(ip(vip), Presence::Present)));
        process
    }

    /// With every VIP announced.
    fn announcing() -> Self {
        let mut process = Process::new();
        for vip in VIPS {
            process.probe(vip, Probe::Passes);
            process.probe(vip, Probe::Passes);
        }
        assert_eq!(process.announced(), ["192.0.2.25", "192.0.2.80", "2001:db8::80"]);
        process
    }

    fn fact(&mut self, fact: Fact) {
        let _ = self.director.handle(fact, self.now);
        self.store();
    }

    fn store(&mut self) {
        for (vip, snapshot) in self.director.take_unstored(self.start) {
            match snapshot {
                Some(snapshot) => {
                    self.stored.insert(vip, serde_json::to_string(&snapshot).unwrap());
                }
                None => drop(self.stored.remove(&vip)),
            }
        }
    }

    fn probe(&mut self, vip: &str, probe: Probe) {
        self.sequence += 1;
        let took = Duration::from_millis(2);
        let outcome = match probe {
            Probe::Passes => {
                Outcome::Pass { answer: config::kind::tcp::Answer::Connected.into(), warning: None, took }
            }
            Probe::Fails => Outcome::Fail {
                reason: Reason::TimedOut { waiting: TimeoutPhase::Connection, after: took },
                took,
            },
            Probe::Refused => Outcome::Fail { reason: Reason::Refused, took },
            Probe::Skipped => Outcome::Skipped(Shortage::Ports),
        };
        let service = if vip == VIPS[2] { "mail" } else { "www" }.parse().unwrap();
        let (vip, sequence, at) = (ip(vip), self.sequence, self.now);
        self.fact(Fact::Probed(ProbeFact { service, vip, check: 0, sequence, outcome, at }));
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let _ = self.director.expire(self.now);
        self.store();
    }

    fn announced(&mut self) -> Vec<String> {
        self.director.rib().routes.keys().map(|prefix| prefix.addr().to_string()).collect()
    }

    fn facts(&self, kernel: KernelFacts) -> FoundFacts {
        let vips = self.stored.iter().map(|(vip, text)| (*vip, serde_json::from_str(text).unwrap()));
        FoundFacts { vips: vips.collect(), kernel }
    }

    /// The next process, with another configuration.
    fn crash_to(&self, text: &str, kernel: KernelFacts) -> Process {
        let found = self.facts(kernel);
        let director = Director::resumed(config(text), Drains::default(), &found, self.start, self.now);
        let (stored, start, now) = (self.stored.clone(), self.start, self.now);
        Process { director, start, stored, sequence: 0, now }
    }

    fn crash(&self, kernel: KernelFacts) -> Process {
        self.crash_to(CONFIG, kernel)
    }
}

fn config(text: &str) -> Arc<Config> {
    Arc::new(config::parse("test.toml", text).unwrap_or_else(|errors| panic!("{errors}")))
}

fn intact() -> KernelFacts {
    KernelFacts { present: VIPS.iter().map(|vip| ip(vip)).collect(), gone: BTreeSet::new() }
}

#[test]
fn what_was_announced_is_announced_at_once() {
    let before = Process::announcing();
    let mut next = before.crash(intact());
    assert_eq!(next.announced(), ["192.0.2.25", "192.0.2.80", "2001:db8::80"]);
    assert!(next.director.rib().complete);
}

#[test]
fn what_the_kernel_no_longer_has_is_withdrawn_at_once() {
    let before = Process::announcing();
    for (kernel, want) in [
        (KernelFacts { gone: [(ip(VIPS[0]), 80)].into(), ..intact() }, &["192.0.2.25", "2001:db8::80"][..]),
        (KernelFacts { gone: [(ip(VIPS[0]), 81)].into(), ..intact() }, &VIPS[..]),
        // Without a listener, the effect is always a withdraw.
        (KernelFacts { gone: [(ip(VIPS[2]), 25)].into(), ..intact() }, &VIPS[..2]),
        (KernelFacts { present: [ip(VIPS[1])].into(), ..intact() }, &VIPS[1..2]),
        (KernelFacts::default(), &[]),
    ] {
        let mut want: Vec<&str> = want.to_vec();
        want.sort_unstable();
        let mut next = before.crash(kernel.clone());
        assert_eq!(next.announced(), want, "{kernel:?}");
        // The log and the hooks get what was lost, once.
        let lost: Vec<IpAddr> = next.director.expire(next.now).iter().map(|change| change.vip).collect();
        let all: Vec<IpAddr> =
            VIPS.iter().map(|vip| ip(vip)).filter(|vip| !want.contains(&vip.to_string().as_str())).collect();
        assert_eq!(lost.iter().collect::<BTreeSet<_>>(), all.iter().collect(), "{kernel:?}");
        assert_eq!(next.director.expire(next.now), []);
    }
}

#[test]
fn a_vip_without_a_verdict_before_starts_as_after_a_cold_start() {
    let mut before = Process::new();
    before.probe(VIPS[0], Probe::Passes);
    let mut next = before.crash(intact());
    assert_eq!(next.announced(), [""; 0]);
    assert!(!next.director.rib().complete);
    next.probe(VIPS[0], Probe::Passes);
    assert_eq!(next.announced(), [""; 0], "one pass of two");
    next.probe(VIPS[0], Probe::Passes);
    assert_eq!(next.announced(), [VIPS[0]]);
}

/// The interval is 1 s, the timeout 500 ms, and `fall` is 3.
#[test]
fn a_verdict_that_no_probe_confirms_ends_after_fall_intervals() {
    let mut next = Process::announcing().crash(intact());
    for _ in 0..11 {
        next.wait(Duration::from_millis(300));
        next.probe(VIPS[0], Probe::Skipped);
        next.probe(VIPS[1], Probe::Passes);
        next.probe(VIPS[2], Probe::Passes);
    }
    assert_eq!(next.announced().len(), 3, "3.3 s");
    next.wait(Duration::from_millis(200));
    assert_eq!(next.announced(), ["192.0.2.25", "2001:db8::80"], "3.5 s");
    next.probe(VIPS[0], Probe::Passes);
    next.probe(VIPS[0], Probe::Passes);
    assert_eq!(next.announced().len(), 3);
}

#[test]
fn the_effect_of_a_failure_and_the_damping_go_on() {
    let mut before = Process::announcing();
    before.probe(VIPS[2], Probe::Fails);
    let of = |process: &mut Process| process.director.rib().routes.clone();
    let (last_choice, mut next) = (of(&mut before), before.crash(intact()));
    assert_eq!(of(&mut next), last_choice, "it is still the last choice");
    before.probe(VIPS[2], Probe::Refused);
    assert_eq!(before.crash(intact()).announced(), before.announced(), "and it is still withdrawn");
    for _ in 0..4 {
        for probe in [Probe::Fails, Probe::Fails, Probe::Fails, Probe::Passes, Probe::Passes] {
            before.probe(VIPS[0], probe);
        }
    }
    assert!(!before.announced().contains(&VIPS[0].to_owned()), "it waits, because it has flapped");
    let mut next = before.crash(intact());
    assert_eq!(next.announced(), before.announced());
    for process in [&mut before, &mut next] {
        for _ in 0..60 {
            process.wait(Duration::from_millis(500));
            process.probe(VIPS[0], Probe::Passes);
        }
    }
    assert!(before.announced().contains(&VIPS[0].to_owned()));
    assert_eq!(next.announced(), before.announced());
}

#[test]
fn another_configuration_keeps_what_it_still_has() {
    let before = Process::announcing();
    let other = CONFIG
        .replace("tcp = 25", "tcp = 26\nname = \"smtp\"")
        .replace("\"2001:db8::80\"", "\"2001:db8::81\"");
    let mut next = before.crash_to(&other, intact());
    // The new check inherits the verdict of its VIP, and the new VIP starts without one.
    assert_eq!(next.announced(), ["192.0.2.25", "192.0.2.80"]);
    next.store();
    let reloaded = config(&CONFIG.replace("\"192.0.2.80\", ", ""));
    let _ = next.director.reload(reloaded, 0, next.now);
    next.store();
    assert!(!next.stored.contains_key(&ip(VIPS[0])), "{:?}", next.stored);
}

proptest! {
    /// Whatever has happened: the next process announces what the one before announced, if the kernel still has it.
    #[test]
    fn a_crash_at_any_time_changes_no_route(steps in prop::collection::vec((0..3_usize, 0..6_u8, 0..3000_u64), 0..60)) {
        let mut process = Process::new();
        for (vip, what, milliseconds) in steps {
            match what {
                0 | 1 => process.probe(VIPS[vip], Probe::Passes),
                2 => process.probe(VIPS[vip], Probe::Fails),
                3 => process.probe(VIPS[vip], Probe::Refused),
                4 => process.wait(Duration::from_millis(milliseconds)),
                _ => {
                    let routes = process.director.rib().routes.clone();
                    process = process.crash(intact());
                    prop_assert_eq!(&process.director.rib().routes, &routes);
                }
            }
        }
    }
}

#[test]
fn the_weight_of_a_file_goes_on_so_that_the_routers_see_no_change() {
    let text = CONFIG.replace("flap_damping = \"withhold\"", "weight_file = \"/run/w\"");
    let now = Instant::now();
    let start = HostStart::new(now, Duration::from_secs(1000));
    let director = Director::new(config(&text), Drains::default(), now);
    let mut process = Process { director, start, stored: BTreeMap::new(), sequence: 0, now };
    VIPS.iter().for_each(|vip| process.fact(Fact::Vip(ip(vip), Presence::Present)));
    VIPS.iter().for_each(|vip| (0..2).for_each(|_| process.probe(vip, Probe::Passes)));
    process.fact(Fact::Weights(Arc::new([("www".parse().unwrap(), Weight::new(70).unwrap())].into())));
    let routes = process.director.rib().routes.clone();
    let mut next = process.crash_to(&text, intact());
    assert_eq!(next.director.rib().routes, routes);
    assert_eq!(process.facts(intact()).weights(&config(&text)).len(), 1);
    assert_eq!(process.facts(intact()).weights(&config(CONFIG)).len(), 0, "it has no file any more");
    let mut next = process.crash_to(CONFIG, intact());
    assert_ne!(next.director.rib().routes, routes);
}

/// The program before this one may have had the service in another VRF, or may have been a version without VRFs.
#[test]
fn nothing_is_believed_of_a_vip_that_was_in_another_vrf() {
    let with = |vrf: &str| {
        CONFIG.replacen(
            "flap_damping = \"withhold\"",
            &format!("flap_damping = \"withhold\"\npeers = [\"r1\"]\n{vrf}"),
            1,
        )
    };
    let there = || KernelFacts { present: VIPS.map(ip).into(), gone: BTreeSet::new() };
    let process = Process::announcing();
    let mut after = process.crash_to(&with("vrf = \"edge\""), there());
    assert_eq!(after.announced(), ["192.0.2.25"]);
    assert_eq!(process.crash_to(&with(""), there()).announced().len(), 3);
    // In the VRF it continues.
    let text = with("vrf = \"edge\"");
    let director = Director::new(config(&text), Drains::default(), process.now);
    let mut inside = Process { director, stored: BTreeMap::new(), ..Process::new() };
    for vip in VIPS {
        inside.fact(Fact::Vip(ip(vip), Presence::Present));
        inside.probe(vip, Probe::Passes);
        inside.probe(vip, Probe::Passes);
    }
    assert_eq!(inside.crash_to(&text, there()).announced().len(), 3);
    for other in [with("vrf = \"red\""), with("")] {
        assert_eq!(inside.crash_to(&other, there()).announced(), ["192.0.2.25"]);
    }
}

#[test]
fn a_vip_is_present_only_on_its_device() {
    let text = CONFIG.replacen("flap_damping", "vrf = \"edge\"\npeers = [\"r1\"]\nflap_damping", 1);
    for (device, want) in
        [("edge", vec!["192.0.2.80", "2001:db8::80"]), ("lo", vec!["192.0.2.25"]), ("eth0", vec![])]
    {
        let devices = [(device.to_owned(), VIPS.map(ip).into())].into();
        let want = want.into_iter().map(ip).collect();
        assert_eq!(present_vips(&config(&text), &devices), want, "{device}");
    }
}
