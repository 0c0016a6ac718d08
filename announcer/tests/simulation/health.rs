//! Who is healthy: the director under random facts, and an oracle that remembers everything and judges from scratch.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use announcer::config::{self, Config};
use announcer::director::{Director, Fact};
use announcer::drain::{Drain, Drains};
use announcer::health::Probed;
use announcer::health::outcome::{Answer, Outcome, Reason, Shortage};
use announcer::rib::LocRib;
use announcer::vip::Presence;
use ipnet::IpNet;

/// Two services with VIPs of both families, with every `rise` and `fall` of 1 to 3.
static CONFIGS: LazyLock<Vec<Arc<Config>>> = LazyLock::new(|| {
    let numbers = (1..=3).flat_map(|rise| (1..=3).map(move |fall| (rise, fall)));
    numbers.map(|(rise, fall)| Arc::new(config::parse("simulation", &text(rise, fall)).unwrap())).collect()
});

fn text(rise: u32, fall: u32) -> String {
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
        name = "www"
        flap_damping = false
        vips = ["192.0.2.80", "192.0.2.81", "2001:db8::80"]
        communities = ["65001:80", "65001:81"]
        [[service.check]]
        http = "http://www.example.com/"
        interval = "1h"
        rise = {rise}
        fall = {fall}
        [[service.check]]
        http = "http://www.example.com/other"
        interval = "1h"
        rise = 1
        fall = {rise}
        [[service]]
        name = "mail"
        flap_damping = false
        vips = ["192.0.2.25", "2001:db8::25"]
        med = 7
        [[service.check]]
        http = "http://mail.example.com/"
        interval = "1h"
        rise = {fall}
        fall = {rise}
        "#
    )
}

/// All that was ever seen of one check of one VIP.
#[derive(Default)]
struct Seen {
    /// In the order in which it counts.
    passes: Vec<bool>,
    newest: u64,
}

/// The director, and what it may announce.
pub struct Health {
    config: Arc<Config>,
    director: Director,
    seen: BTreeMap<(IpAddr, usize), Seen>,
    present: BTreeSet<IpAddr>,
    drained: BTreeSet<&'static str>,
    stopped: bool,
    sequence: u64,
    generation: u64,
}

/// The files in the drain directory that chaos makes and removes.
const FILES: [&str; 3] = ["www", "mail", "_all"];

impl Health {
    pub fn new(now: Instant, luck: &mut fastrand::Rng) -> Self {
        let config = Arc::clone(&CONFIGS[luck.usize(..CONFIGS.len())]);
        Health {
            director: Director::new(Arc::clone(&config), Drains::default(), now),
            config,
            seen: BTreeMap::new(),
            present: BTreeSet::new(),
            drained: BTreeSet::new(),
            stopped: false,
            sequence: 10,
            generation: 0,
        }
    }

    /// What the director decided, held against the oracle.
    pub fn rib(&mut self) -> Arc<LocRib> {
        let rib = self.director.rib();
        assert!(rib.generation >= self.generation, "generations rise");
        self.generation = rib.generation;
        let healthy = self.healthy();
        for prefix in rib.routes.keys() {
            assert!(healthy.contains(prefix), "{prefix} is announced and may not be");
        }
        assert!(rib.routes.len() == healthy.len(), "announced {:?}, healthy {healthy:?}", rib.routes);
        rib
    }

    /// By the whole history: what may be announced now.
    pub fn healthy(&self) -> BTreeSet<IpNet> {
        let good = |(vip, service): &(IpAddr, &config::Service)| {
            let drained = self.drained.contains("_all") || self.drained.contains(service.name.as_str());
            let up = (service.checks.iter().enumerate()).all(|(index, check)| {
                self.seen.get(&(*vip, index)).is_some_and(|seen| up(&seen.passes, check.rise, check.fall))
            });
            !self.stopped && !drained && self.present.contains(vip) && up
        };
        self.config.vips().filter(good).map(|(vip, _)| IpNet::from(vip)).collect()
    }

    /// Something happens to somebody's health.
    pub fn befall(&mut self, now: Instant, luck: &mut fastrand::Rng) {
        match luck.u8(..16) {
            0 => self.drain(now, luck),
            1 => {
                let vip = self.some_vip(luck);
                let there = luck.u8(..4) > 0;
                self.place(vip, there, now);
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
    }

    /// Everything is present, for a beginning.
    pub fn appear(&mut self, now: Instant) {
        for (vip, _) in Arc::clone(&self.config).vips() {
            self.place(vip, true, now);
        }
    }

    /// The daemon ends.
    pub fn stop(&mut self, now: Instant) {
        self.stopped = true;
        let _ = self.director.handle(Fact::Stop, now);
    }

    fn some_vip(&self, luck: &mut fastrand::Rng) -> IpAddr {
        let vips: Vec<IpAddr> = self.config.vips().map(|(vip, _)| vip).collect();
        vips[luck.usize(..vips.len())]
    }

    fn place(&mut self, vip: IpAddr, there: bool, now: Instant) {
        let presence = if there {
            self.present.insert(vip);
            Presence::Present
        } else {
            self.present.remove(&vip);
            Presence::Missing("taken away".into())
        };
        let _ = self.director.handle(Fact::Vip(vip, presence), now);
    }

    fn drain(&mut self, now: Instant, luck: &mut fastrand::Rng) {
        let file = FILES[luck.usize(..FILES.len())];
        // Drained half of the time if at all: else nothing else would matter.
        let ended = self.drained.pop_first().is_some();
        if !ended {
            self.drained.insert(file);
        }
        let files = self.drained.iter().map(|name| ((*name).to_owned(), Ok(Drain::default().to_file())));
        let _ = self.director.handle(Fact::Drains(Drains::from_files(files)), now);
    }

    fn probe(&mut self, vip: IpAddr, check: usize, pass: bool, now: Instant, luck: &mut fastrand::Rng) {
        self.sequence += 1;
        let took = Duration::from_millis(3);
        // One in eight was started before others that have ended; one in eight could not ask.
        let late = luck.u8(..8) == 0;
        let sequence = if late { self.sequence - luck.u64(1..9) } else { self.sequence };
        let outcome = match (luck.u8(..8), pass) {
            (0, _) => Outcome::Skipped(Shortage::Files),
            (_, true) => Outcome::Pass { answer: Answer::Http(200), warning: None, took },
            (_, false) => Outcome::Fail { reason: Reason::Refused, took },
        };
        if let Some((_, service)) = self.config.vips().find(|(address, _)| *address == vip) {
            let seen = self.seen.entry((vip, check)).or_default();
            if sequence >= seen.newest && !matches!(outcome, Outcome::Skipped(_)) {
                seen.passes.push(pass);
                seen.newest = sequence;
            }
            let service = service.name.clone();
            let _ = self
                .director
                .handle(Fact::Probed(Probed { service, vip, check, sequence, outcome, at: now }), now);
        }
    }
}

/// The last run that was long enough says it.
fn up(passes: &[bool], rise: u32, fall: u32) -> bool {
    let ends = |end: usize, of: bool, run: u32| {
        let run = usize::try_from(run).unwrap();
        end >= run && passes[end - run..end].iter().all(|pass| *pass == of)
    };
    for end in (1..=passes.len()).rev() {
        if ends(end, true, rise) {
            return true;
        }
        if ends(end, false, fall) {
            return false;
        }
    }
    false
}
