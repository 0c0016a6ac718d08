//! Commands, drain files, reloads, probes and VIPs in any order on a moving clock.
//!
//! The drain folder is a set of names. Its owner reads the whole folder after each change by a command, and some time after each
//! change by hand. The results reach the director later, in the same order. An oracle stores the last facts of each kind, and
//! computes the routes only from them.

use super::*;
use crate::drain::{Drain, DrainTarget};
use std::collections::VecDeque;

/// A service of a configuration: name, VIPs, `require`, `flap_damping`, MED.
type ServiceRow = (&'static str, &'static [&'static str], &'static str, &'static str, u32);
/// The services of a configuration.
type Layout = &'static [ServiceRow];

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";
const C: &str = "2001:db8::3";

const LAYOUTS: [Layout; 7] = [
    &[("www", &[A, B], "\"any\"", "true", 1), ("mail", &[C], "\"any\"", "true", 2)],
    // Another attribute, and stricter.
    &[("www", &[A, B], "\"all\"", "true", 3), ("mail", &[C], "\"any\"", "true", 2)],
    // Renamed.
    &[("web", &[A, B], "\"any\"", "false", 1), ("mail", &[C], "\"any\"", "true", 2)],
    // A VIP moves to the other service.
    &[("www", &[A], "\"any\"", "true", 1), ("mail", &[B, C], "\"any\"", "false", 2)],
    // The names change places.
    &[("mail", &[A, B], "\"any\"", "true", 1), ("www", &[C], "\"any\"", "true", 2)],
    // A VIP goes.
    &[("www", &[A], "\"any\"", "false", 1), ("mail", &[C], "\"all\"", "false", 4)],
    // All others go.
    &[("web", &[B], "\"any\"", "true", 5)],
];

/// Names that a drain file may have.
const FILES: [&str; 5] = ["www", "mail", "web", "_all", "nobody"];

fn configs() -> Vec<Arc<Config>> {
    let head = &CONFIG[..CONFIG.find("[[service]]").unwrap()];
    let text = |layout: &Layout| {
        layout.iter().fold(head.to_owned(), |text, (name, vips, require, flap_damping, med)| {
            let check = |which| {
                format!(
                    "[[service.check]]\nname = \"{which}\"\nfile = \"/run/{which}\"\ninterval = \"1s\"\nrise = 1\nfall = 1\n"
                )
            };
            format!(
                "{text}[[service]]\nname = \"{name}\"\nvips = {vips:?}\nrequire = {require}\nmed = {med}\n\
                 flap_damping = {flap_damping}\n{}{}",
                check("a"),
                check("b")
            )
        })
    };
    LAYOUTS.iter().map(|layout| Arc::new(config::parse("test.toml", &text(layout)).unwrap())).collect()
}

#[derive(Debug, Clone)]
enum WorldStep {
    /// A command: drains or undrains these.
    Command {
        drain: bool,
        files: Vec<usize>,
    },
    /// A file is made or removed by hand. The folder's owner has not noticed it yet.
    ByHand {
        there: bool,
        file: usize,
    },
    /// The owner reads the folder, unless it hangs.
    Read {
        hangs: bool,
    },
    /// The director receives the oldest result that it has not received yet.
    Hear,
    Reload {
        layout: usize,
        forced: bool,
    },
    Probe {
        vip: usize,
        check: usize,
        pass: bool,
    },
    /// All checks of a VIP fail and pass again, as often as flap damping counts.
    Flap {
        vip: usize,
    },
    Vip {
        vip: usize,
        there: bool,
    },
    /// Time passes; the probe loops repeat their last results, or hang.
    Wait {
        millis: u64,
        hang: bool,
    },
    /// The process is stopped.
    StandStill {
        seconds: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<WorldStep>> {
    let file = 0..FILES.len();
    let step = prop_oneof![
        3 => (any::<bool>(), proptest::collection::vec(file.clone(), 1..3))
            .prop_map(|(drain, files)| WorldStep::Command { drain, files }),
        2 => (any::<bool>(), file).prop_map(|(there, file)| WorldStep::ByHand { there, file }),
        2 => (0..4u8).prop_map(|hangs| WorldStep::Read { hangs: hangs == 0 }),
        6 => Just(WorldStep::Hear),
        4 => (0..LAYOUTS.len(), (0..4u8).prop_map(|forced| forced == 0))
            .prop_map(|(layout, forced)| WorldStep::Reload { layout, forced }),
        5 => (0..3usize, 0..2usize, (0..3u8).prop_map(|pass| pass > 0))
            .prop_map(|(vip, check, pass)| WorldStep::Probe { vip, check, pass }),
        1 => (0..3usize).prop_map(|vip| WorldStep::Flap { vip }),
        1 => (0..3usize, any::<bool>()).prop_map(|(vip, there)| WorldStep::Vip { vip, there }),
        4 => (1..3_000u64, (0..4u8).prop_map(|hang| hang == 0))
            .prop_map(|(millis, hang)| WorldStep::Wait { millis, hang }),
        1 => (1..100u64).prop_map(|seconds| WorldStep::StandStill { seconds }),
    ];
    proptest::collection::vec(step, 1..80)
}

/// The facts about a VIP.
#[derive(Debug, Clone, Copy)]
struct VipFacts {
    there: bool,
    /// The last result of each of its checks, and when it last reported.
    checks: [(Option<bool>, Instant); 2],
}

/// A result of the owner's read.
struct FolderReading {
    files: BTreeSet<&'static str>,
    /// Whose flaps are forgotten.
    forgiven: Vec<DrainTarget>,
    /// For a drain command: the files that it has made and whose removal has not begun since.
    made: BTreeSet<&'static str>,
}

struct World {
    configs: Vec<Arc<Config>>,
    layout: usize,
    scene: Scene,
    folder: BTreeSet<&'static str>,
    /// The results that the director has not received yet.
    read: VecDeque<FolderReading>,
    /// The last result that the director received.
    drained: BTreeSet<&'static str>,
    known: BTreeMap<IpAddr, VipFacts>,
    /// The VIPs that are inside a drain, with the service that was drained.
    held: BTreeMap<IpAddr, &'static str>,
    /// The files that commands have confirmed: they exist until their removal begins.
    answered: BTreeSet<&'static str>,
}

/// A lease: three intervals and a timeout.
const LEASE: Duration = Duration::from_secs(4);

impl World {
    fn new() -> Self {
        let configs = configs();
        let now = Instant::now();
        let director = Director::new(Arc::clone(&configs[0]), Drains::default(), now);
        let mut world = World {
            configs,
            layout: 0,
            scene: Scene { director, sequence: 0, now },
            folder: BTreeSet::new(),
            read: VecDeque::new(),
            drained: BTreeSet::new(),
            known: BTreeMap::new(),
            held: BTreeMap::new(),
            answered: BTreeSet::new(),
        };
        world.begin();
        for vip in [A, B, C] {
            world.vip(vip.parse().unwrap(), true);
            world.probe(vip.parse().unwrap(), 0, true);
            world.probe(vip.parse().unwrap(), 1, true);
        }
        world
    }

    fn services(&self) -> Layout {
        LAYOUTS[self.layout]
    }

    fn service_of(&self, vip: IpAddr) -> Option<&'static ServiceRow> {
        self.services().iter().find(|(_, vips, ..)| vips.iter().any(|known| known.parse() == Ok(vip)))
    }

    /// VIPs that are new on the host start without facts; the facts of removed VIPs are forgotten.
    fn begin(&mut self) {
        let vips: Vec<IpAddr> =
            self.services().iter().flat_map(|(_, vips, ..)| *vips).map(|vip| vip.parse().unwrap()).collect();
        self.known.retain(|vip, _| vips.contains(vip));
        self.held.retain(|vip, _| vips.contains(vip));
        let new = VipFacts { there: false, checks: [(None, self.scene.now); 2] };
        for vip in vips {
            self.known.entry(vip).or_insert(new);
        }
    }

    fn is_drained(&self, service: &str) -> bool {
        self.drained.contains("_all") || self.drained.contains(service)
    }

    /// Whether a VIP may be announced, according to the last facts.
    fn is_fit(&self, vip: IpAddr) -> bool {
        let (Some((name, _, require, ..)), Some(known)) = (self.service_of(vip), self.known.get(&vip)) else {
            return false;
        };
        let passed = known.checks.iter().filter(|(seen, _)| *seen == Some(true)).count();
        known.there && passed >= if *require == "\"all\"" { 2 } else { 1 } && !self.is_drained(name)
    }

    fn vip(&mut self, vip: IpAddr, there: bool) {
        if let Some(known) = self.known.get_mut(&vip) {
            known.there = there;
        }
        let presence = if there { Presence::Present } else { Presence::Missing("gone".into()) };
        self.scene.fact(Fact::Vip(vip, presence));
    }

    fn probe(&mut self, vip: IpAddr, check: usize, pass: bool) {
        if let Some(known) = self.known.get_mut(&vip) {
            known.checks[check] = (Some(pass), self.scene.now);
        }
        self.scene.probes(&vip.to_string(), check, if pass { "+" } else { "-" });
    }

    /// The owner of the folder reads the whole folder.
    fn read(&mut self, forgiven: Vec<DrainTarget>, made: BTreeSet<&'static str>) {
        self.read.push_back(FolderReading { files: self.folder.clone(), forgiven, made });
    }

    fn remove(&mut self, file: &'static str) {
        self.folder.remove(file);
        self.answered.remove(file);
        for read in &mut self.read {
            read.made.remove(file);
        }
    }

    fn hear(&mut self) {
        let Some(FolderReading { files, forgiven, made }) = self.read.pop_front() else { return };
        self.drained = files.clone();
        let texts = files.iter().map(|name| ((*name).to_owned(), Ok(Drain::default().to_file())));
        self.scene.fact(Fact::Drains(Drains::from_files(texts)));
        if !forgiven.is_empty() {
            let _ = self.scene.fact(Fact::Forgive(forgiven));
        }
        self.answered.extend(made);
        let services = self.services();
        for (name, vips, ..) in services {
            if self.is_drained(name) {
                self.held.extend(vips.iter().map(|vip| (vip.parse::<IpAddr>().unwrap(), *name)));
            }
        }
        let drained = self.drained.clone();
        self.held.retain(|_, service| drained.contains("_all") || drained.contains(service));
    }

    fn reload(&mut self, layout: usize, forced: bool) {
        let before: Vec<IpAddr> = self.known.keys().copied().filter(|vip| self.is_fit(*vip)).collect();
        let config = Arc::clone(&self.configs[layout]);
        let preview = self.scene.director.would(&config, self.scene.now);
        let old = self.layout;
        self.layout = layout;
        let withdraws_all = !before.is_empty() && !before.iter().any(|vip| self.is_fit(*vip));
        let ended: BTreeSet<IpAddr> = (self.held.keys().copied())
            .filter(|vip| self.service_of(*vip).is_some_and(|(name, ..)| !self.is_drained(name)))
            .collect();
        assert_eq!(preview.withdraws_every_vip(), withdraws_all, "{before:?} {preview:?}");
        assert_eq!(preview.ended_drains().map(|vip| vip.vip).collect::<BTreeSet<_>>(), ended);
        if preview.refusal().is_some() && !forced {
            self.layout = old;
            return;
        }
        let _ = self.scene.reload(config);
        self.held.retain(|vip, _| !ended.contains(vip));
        let services = self.services();
        for (name, vips, ..) in services {
            if self.is_drained(name) {
                self.held.extend(vips.iter().map(|vip| (vip.parse::<IpAddr>().unwrap(), *name)));
            }
        }
        self.begin();
    }

    fn step(&mut self, step: WorldStep) {
        match step {
            WorldStep::Command { drain, files } => {
                let targets: Vec<DrainTarget> =
                    files.iter().map(|file| DrainTarget::of_file(FILES[*file])).collect();
                let files: BTreeSet<&str> = files.iter().map(|file| FILES[*file]).collect();
                if drain {
                    self.folder.extend(&files);
                    self.read(Vec::new(), files);
                } else {
                    files.into_iter().for_each(|file| self.remove(file));
                    self.read(targets, BTreeSet::new());
                }
            }
            WorldStep::ByHand { there: true, file } => drop(self.folder.insert(FILES[file])),
            WorldStep::ByHand { there: false, file } => self.remove(FILES[file]),
            WorldStep::Read { hangs: true } => {}
            WorldStep::Read { hangs: false } => self.read(Vec::new(), BTreeSet::new()),
            WorldStep::Hear => self.hear(),
            WorldStep::Reload { layout, forced } => self.reload(layout, forced),
            WorldStep::Probe { vip, check, pass } => self.probe([A, B, C][vip].parse().unwrap(), check, pass),
            WorldStep::Flap { vip } => {
                for pass in [false, true].repeat(3) {
                    for check in 0..2 {
                        self.probe([A, B, C][vip].parse().unwrap(), check, pass);
                        self.hold();
                    }
                }
            }
            WorldStep::Vip { vip, there } => self.vip([A, B, C][vip].parse().unwrap(), there),
            WorldStep::Wait { millis, hang } => self.wait_for(Duration::from_millis(millis), hang),
            WorldStep::StandStill { seconds } => {
                // A stop that is too short to be noticed is like time without probes.
                let due = self.scene.director.deadline();
                self.scene.now += Duration::from_secs(seconds);
                let noticed = due.is_some_and(|due| self.scene.now > due + Duration::from_millis(500));
                let now = self.scene.now;
                if noticed {
                    self.known
                        .values_mut()
                        .flat_map(|known| &mut known.checks)
                        .for_each(|(_, heard)| *heard = now);
                }
                let _ = self.scene.director.expire(now);
                self.lapse();
            }
        }
    }

    fn wait_for(&mut self, time: Duration, hang: bool) {
        let until = self.scene.now + time;
        while self.scene.now < until {
            self.scene.now = until.min(self.scene.now + Duration::from_millis(250));
            if self.scene.director.deadline().is_some_and(|due| due <= self.scene.now) {
                let _ = self.scene.director.expire(self.scene.now);
            }
            self.lapse();
            for (vip, known) in self.known.clone() {
                for (check, (seen, _)) in known.checks.iter().enumerate().filter(|_| !hang) {
                    seen.iter().for_each(|pass| self.probe(vip, check, *pass));
                }
            }
            self.hold();
        }
    }

    /// A verdict that was not renewed for a lease is no longer known.
    fn lapse(&mut self) {
        for (seen, heard) in self.known.values_mut().flat_map(|known| &mut known.checks) {
            if *heard + LEASE <= self.scene.now && *seen == Some(true) {
                *seen = None;
            }
        }
    }

    /// Checks what has to hold at every time.
    fn hold(&mut self) {
        let rib = self.scene.director.rib();
        for (prefix, attributes) in &rib.routes {
            let vip = prefix.addr();
            assert!(!self.held.contains_key(&vip), "{vip} is announced inside its drain");
            let (name, _, _, flap_damping, med) =
                self.service_of(vip).expect("only VIPs of the configuration");
            assert!(!self.answered.contains(name), "{vip} is announced after a drain of {name} was answered");
            assert!(!self.answered.contains("_all"), "{vip} is announced after a drain of all was answered");
            assert_eq!(attributes.med, Some(*med), "{vip} has the attributes of its service");
            let standing = self.scene.standing(&vip.to_string());
            let last_choice = matches!(standing, Standing::LastChoice(_));
            assert_eq!(attributes.deprefer.is_some(), last_choice, "{vip}: {standing}");
            assert!(!last_choice || *flap_damping == "true", "{vip}: {standing}");
        }
        let fit: BTreeSet<IpAddr> = self.known.keys().copied().filter(|vip| self.is_fit(*vip)).collect();
        let announced: BTreeSet<IpAddr> = rib.routes.keys().map(IpNet::addr).collect();
        assert_eq!(announced, fit, "the routes are what the last facts say");
    }
}

proptest! {
    #[test]
    fn the_routes_are_what_the_last_facts_say_and_nothing_is_announced_inside_its_drain(steps in steps()) {
        let mut world = World::new();
        world.hold();
        for step in steps {
            world.step(step);
            world.hold();
        }
    }
}
