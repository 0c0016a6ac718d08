//! The health part of the simulation: the director with random facts, drains and reloads, and with sources of facts that hang for
//! some time.
//!
//! A probe loop, the drain folder, the watch of lo and the configuration file can each hang. When they continue, they report the
//! facts that are still true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use announcer::config::kind::http;
use announcer::config::{self, Config};
use announcer::director::resume::{FoundFacts, KernelFacts};
use announcer::director::{Director, Fact};
use announcer::drain::{Drain, Drains};
use announcer::health::ProbeFact;
use announcer::health::outcome::{Outcome, Reason, Shortage};
use announcer::monotonic::HostStart;
use announcer::rib::LocRib;
use announcer::vip::{DeviceProblem, Presence};
use ipnet::IpNet;

use super::oracle::Oracle;

/// Services with VIPs of both families, with every `rise` and `fall` of 1 to 3, each in several layouts.
static CONFIGS: LazyLock<Vec<Vec<Arc<Config>>>> = LazyLock::new(|| {
    let numbers = (1..=3).flat_map(|rise| (1..=3).map(move |fall| (rise, fall)));
    let parse = |text: String| Arc::new(config::parse("simulation", &text).unwrap());
    numbers.map(|numbers| LAYOUTS.iter().map(|layout| parse(text(numbers, layout))).collect()).collect()
});

/// The parts that a reload changes.
struct Layout {
    /// The first service: its name, VIPs, `require`, and the request of its second check.
    name: &'static str,
    vips: &'static str,
    require: &'static str,
    path: &'static str,
    /// The second service: its VIPs and MED.
    others: &'static str,
    med: u32,
}

const BASE: Layout = Layout {
    name: "www",
    vips: "\"192.0.2.80\", \"192.0.2.81\", \"2001:db8::80\"",
    require: "all",
    path: "other",
    others: "\"192.0.2.25\", \"2001:db8::25\"",
    med: 7,
};

const LAYOUTS: [Layout; 8] = [
    BASE,
    Layout { name: "web", ..BASE },
    Layout { require: "any", ..BASE },
    Layout { path: "changed", ..BASE },
    Layout { med: 8, ..BASE },
    Layout { vips: "\"192.0.2.80\", \"192.0.2.82\"", ..BASE },
    Layout {
        vips: "\"192.0.2.80\", \"2001:db8::80\"",
        others: "\"192.0.2.25\", \"2001:db8::25\", \"192.0.2.81\"",
        require: "any",
        ..BASE
    },
    Layout { vips: "\"192.0.2.99\"", others: "\"2001:db8::99\"", ..BASE },
];

fn text((rise, fall): (u32, u32), layout: &Layout) -> String {
    let Layout { name, vips, require, path, others, med } = layout;
    format!(
        r#"
        [bgp]
        asn = 65001
        router_id = "10.0.1.11"
        [[peer]]
        name = "r1"
        address = "10.0.1.1"
        asn = 65000
        [[service]]
        name = "{name}"
        vips = [{vips}]
        require = "{require}"
        communities = ["65001:80", "65001:81"]
        [[service.check]]
        http = "http://www.example.com/"
        interval = "2s"
        rise = {rise}
        fall = {fall}
        [[service.check]]
        http = "http://www.example.com/{path}"
        interval = "2s"
        rise = 1
        fall = {rise}
        [[service]]
        name = "mail"
        flap_damping = false
        vips = [{others}]
        med = {med}
        [[service.check]]
        http = "http://mail.example.com/"
        interval = "2s"
        rise = {fall}
        fall = {rise}
        "#
    )
}

/// The longest time between two reports of a probe loop, shorter than the lease.
const HEARD: Duration = Duration::from_secs(6);

/// The loop of one check of one VIP.
struct ProbeLoop {
    /// The result of its probes.
    passes: bool,
    /// When it reports next.
    next: Instant,
}

/// A source of facts that can hang.
#[derive(Default)]
struct FactSource<T> {
    /// Until when it hangs, if it does.
    hangs: Option<Instant>,
    /// The fact that it has not reported yet.
    unsaid: Option<T>,
}

impl<T> FactSource<T> {
    /// The fact to report now, if any.
    fn take(&mut self, now: Instant) -> Option<T> {
        self.hangs = self.hangs.filter(|until| *until > now);
        if self.hangs.is_none() { self.unsaid.take() } else { None }
    }

    fn next(&self) -> Option<Instant> {
        self.hangs.filter(|_| self.unsaid.is_some())
    }
}

/// The director, with the oracle that says what it may announce.
pub struct Health {
    configs: &'static [Arc<Config>],
    config: Arc<Config>,
    director: Director,
    oracle: Oracle,
    loops: BTreeMap<(IpAddr, usize), ProbeLoop>,
    /// The drain files, and whether the folder has to be read.
    files: BTreeSet<&'static str>,
    /// The drain files as they were read last.
    files_read: BTreeSet<&'static str>,
    folder: FactSource<()>,
    lo: FactSource<BTreeMap<IpAddr, bool>>,
    /// The next configuration, and whether it is forced.
    reload: FactSource<(Arc<Config>, bool)>,
    sequence: u64,
    generation: u64,
    /// The last result of the oracle, the number of facts at that time, and until when it holds.
    healthy: BTreeMap<IpNet, Option<u32>>,
    judged: Option<u64>,
    until: Option<Instant>,
    pub reloads: u64,
    pub refused: u64,
    pub lapsed: u64,
    /// What the next process would find, as it is stored.
    stored: BTreeMap<IpAddr, String>,
    start: HostStart,
}

/// The drain files that the simulation makes and removes.
const FILES: [&str; 4] = ["www", "web", "mail", "_all"];

impl Health {
    pub fn new(now: Instant, luck: &mut fastrand::Rng) -> Self {
        let configs = &CONFIGS[luck.usize(..CONFIGS.len())];
        let config = Arc::clone(&configs[0]);
        let mut health = Health {
            director: Director::new(Arc::clone(&config), Drains::default(), now),
            oracle: Oracle::new(&config, now),
            configs,
            config,
            loops: BTreeMap::new(),
            files: BTreeSet::new(),
            files_read: BTreeSet::new(),
            folder: FactSource { hangs: None, unsaid: None },
            lo: FactSource { hangs: None, unsaid: None },
            reload: FactSource { hangs: None, unsaid: None },
            sequence: 10,
            generation: 0,
            healthy: BTreeMap::new(),
            judged: None,
            until: None,
            reloads: 0,
            refused: 0,
            lapsed: 0,
            stored: BTreeMap::new(),
            start: HostStart::new(now, Duration::from_secs(1000)),
        };
        health.apply(now, luck);
        health
    }

    /// The director's decision, compared with the oracle.
    pub fn rib(&mut self, now: Instant) -> Arc<LocRib> {
        if self.director.deadline().is_some_and(|due| due <= now) {
            self.lapsed += u64::from(!self.director.expire(now).is_empty());
        }
        self.store(); // before the Loc-RIB is published
        let rib = self.director.rib();
        assert!(rib.generation >= self.generation, "generations rise");
        self.generation = rib.generation;
        self.judge(now);
        let announced: BTreeMap<IpNet, Option<u32>> =
            rib.routes.iter().map(|(prefix, attributes)| (*prefix, attributes.med)).collect();
        assert_eq!(announced, self.healthy, "what is announced, and what is healthy");
        rib
    }

    fn store(&mut self) {
        for (vip, snapshot) in self.director.take_unstored(self.start) {
            match snapshot {
                Some(snapshot) => drop(self.stored.insert(vip, serde_json::to_string(&snapshot).unwrap())),
                None => drop(self.stored.remove(&vip)),
            }
        }
    }

    /// The process is killed, and the next one begins with what was stored and what the kernel has.
    pub fn crash(&mut self, now: Instant) {
        let vips = self.stored.iter().map(|(vip, text)| (*vip, serde_json::from_str(text).unwrap()));
        let present = self.config.vips().map(|(vip, _)| vip).filter(|vip| self.oracle.is_present(*vip));
        let kernel = KernelFacts { present: present.collect(), gone: BTreeSet::new() };
        let found = FoundFacts { vips: vips.collect(), kernel };
        let files = self.files_read.iter().map(|name| ((*name).to_owned(), Ok(Drain::default().to_file())));
        let drains = Drains::from_files(files);
        self.director = Director::resumed(Arc::clone(&self.config), drains, &found, self.start, now);
        self.oracle.crash(now);
        self.generation = 0;
    }

    /// The prefixes that may be announced now, from the last call of [`rib`](Self::rib).
    pub fn healthy(&self) -> BTreeSet<IpNet> {
        self.healthy.keys().copied().collect()
    }

    /// Calls the oracle, if anything may have changed since the last call.
    fn judge(&mut self, now: Instant) {
        let facts = self.oracle.facts();
        if self.judged != Some(facts) || self.until.is_some_and(|until| until <= now) {
            self.healthy = self.oracle.healthy(now);
            self.until = self.oracle.until(now);
            self.judged = Some(facts);
        }
    }

    /// When something happens by itself.
    pub fn next(&self) -> Option<Instant> {
        let loops = self.loops.values().map(|one| one.next);
        let sources = [self.folder.next(), self.lo.next(), self.reload.next(), self.director.deadline()];
        loops.chain(sources.into_iter().flatten()).min()
    }

    /// All that is due.
    pub fn happen(&mut self, now: Instant, luck: &mut fastrand::Rng) {
        let due: Vec<(IpAddr, usize)> =
            self.loops.iter().filter(|(_, one)| one.next <= now).map(|(key, _)| *key).collect();
        for (vip, check) in due {
            let pass = self.loops[&(vip, check)].passes;
            self.probe(vip, check, pass, now, luck);
        }
        self.say(now, luck);
    }

    /// Reports the facts of sources that no longer hang.
    fn say(&mut self, now: Instant, luck: &mut fastrand::Rng) {
        if let Some((config, forced)) = self.reload.take(now) {
            self.reload_to(config, forced, now, luck);
        }
        if self.folder.take(now).is_some() {
            self.files_read = self.files.clone();
            self.oracle.drains(self.files.clone());
            let files = self.files.iter().map(|name| ((*name).to_owned(), Ok(Drain::default().to_file())));
            let _ = self.director.handle(Fact::Drains(Drains::from_files(files)), now);
        }
        for (vip, there) in self.lo.take(now).unwrap_or_default() {
            self.oracle.presence(vip, there);
            let taken = DeviceProblem { device: "lo".to_owned(), reason: "taken away".to_owned() };
            let presence = if there { Presence::Present } else { Presence::Missing(taken) };
            let _ = self.director.handle(Fact::Vip(vip, presence), now);
        }
    }

    /// Makes a random change of health, drains, VIPs or configuration.
    pub fn befall(&mut self, now: Instant, luck: &mut fastrand::Rng) {
        let soon = now + Duration::from_millis(luck.u64(1..30_000));
        match luck.u8(..32) {
            0..=1 => self.drain(luck),
            2..=3 => {
                let (vip, there) = (self.some_vip(luck), luck.u8(..4) > 0);
                self.lo.unsaid.get_or_insert_default().insert(vip, there);
            }
            4..=5 => {
                let config = Arc::clone(&self.configs[luck.usize(..self.configs.len())]);
                self.reload.unsaid = Some((config, luck.u8(..4) == 0));
            }
            6 => self.folder.hangs = Some(soon),
            7 => self.lo.hangs = Some(soon),
            8 => self.reload.hangs = Some(soon),
            9 => {
                let some = luck.usize(..self.loops.len());
                let hung = self.loops.values_mut().nth(some);
                hung.into_iter().for_each(|one| one.next = soon);
            }
            _ => {
                let vip = self.some_vip(luck);
                let pass = luck.u8(..4) > 0;
                for check in 0..2 {
                    for _ in 0..luck.usize(..5) {
                        self.probe(vip, check, pass, now, luck);
                    }
                }
            }
        }
        self.say(now, luck);
    }

    /// At the start, everything is present.
    pub fn appear(&mut self, now: Instant, luck: &mut fastrand::Rng) {
        self.lo.unsaid = Some(self.config.vips().map(|(vip, _)| (vip, true)).collect());
        self.say(now, luck);
    }

    /// Nothing hangs any more.
    pub fn heal(&mut self, now: Instant, luck: &mut fastrand::Rng) {
        (self.folder.hangs, self.lo.hangs, self.reload.hangs) = (None, None, None);
        self.loops.values_mut().for_each(|one| one.next = one.next.min(now + HEARD));
        self.say(now, luck);
    }

    /// The daemon ends.
    pub fn stop(&mut self, now: Instant) {
        self.oracle.stop();
        let _ = self.director.handle(Fact::Stop, now);
    }

    fn some_vip(&self, luck: &mut fastrand::Rng) -> IpAddr {
        let vips: Vec<IpAddr> = self.config.vips().map(|(vip, _)| vip).collect();
        vips[luck.usize(..vips.len())]
    }

    fn drain(&mut self, luck: &mut fastrand::Rng) {
        let file = FILES[luck.usize(..FILES.len())];
        // Drains hold for at most half of the time, because otherwise nothing else would have an effect.
        let ended = self.files.pop_first().is_some();
        if !ended {
            self.files.insert(file);
        }
        self.folder.unsaid = Some(());
    }

    /// Reloads as the daemon does: it computes the preview first, refuses the reload unless it is forced, and compares the result
    /// with the preview.
    fn reload_to(&mut self, config: Arc<Config>, forced: bool, now: Instant, luck: &mut fastrand::Rng) {
        let refused = self.director.would(&config, now).refusal().is_some();
        let mut after = self.oracle.clone();
        after.reload(&config, 0, now);
        let (announced, still) = (self.oracle.healthy(now), after.healthy(now));
        let withdraws_all =
            !announced.is_empty() && !announced.keys().any(|prefix| still.contains_key(prefix));
        let vips: BTreeSet<IpAddr> = config.vips().map(|(vip, _)| vip).collect();
        let drained = after.drained();
        let ends_drain = self.oracle.drained().iter().any(|vip| vips.contains(vip) && !drained.contains(vip));
        assert_eq!(refused, withdraws_all || ends_drain, "a reload is refused for these two reasons alone");
        if refused && !forced {
            self.refused += 1;
            return;
        }
        self.reloads += 1;
        let since = self.sequence + 1;
        self.oracle.reload(&config, since, now);
        let _ = self.director.reload(Arc::clone(&config), since, now);
        self.config = config;
        self.apply(now, luck);
    }

    /// Runs the probe loops that the configuration wants, and puts its VIPs on lo.
    fn apply(&mut self, now: Instant, luck: &mut fastrand::Rng) {
        let mut before = std::mem::take(&mut self.loops);
        for (vip, service) in self.config.vips() {
            for check in 0..service.checks.len() {
                let new = ProbeLoop { passes: luck.u8(..4) > 0, next: now + HEARD.mul_f64(luck.f64()) };
                let one = before.remove(&(vip, check)).unwrap_or(new);
                self.loops.insert((vip, check), one);
                self.lo.unsaid.get_or_insert_default().entry(vip).or_insert(true);
            }
        }
    }

    fn probe(&mut self, vip: IpAddr, check: usize, pass: bool, now: Instant, luck: &mut fastrand::Rng) {
        // A hanging loop reports nothing.
        let Some(one) = self.loops.get_mut(&(vip, check)).filter(|one| one.next <= now + HEARD) else {
            return;
        };
        *one = ProbeLoop { passes: pass, next: one.next.max(now + HEARD.mul_f64(luck.f64())) };
        self.sequence += 1;
        let took = Duration::from_millis(3);
        // One in eight was started before others that have ended; one in eight was skipped.
        let late = luck.u8(..8) == 0;
        let sequence = if late { self.sequence - luck.u64(1..9) } else { self.sequence };
        let (outcome, counts) = match (luck.u8(..8), pass) {
            (0, _) => (Outcome::Skipped(Shortage::Files), None),
            (_, true) => {
                (Outcome::Pass { answer: http::Answer::Status(200).into(), warning: None, took }, Some(true))
            }
            (_, false) => (Outcome::Fail { reason: Reason::Refused, took }, Some(false)),
        };
        self.oracle.probed(vip, check, sequence, counts, now);
        let service = "www".parse().unwrap();
        let probed = ProbeFact { service, vip, check, sequence, outcome, at: now };
        let _ = self.director.handle(Fact::Probed(probed), now);
    }
}
