use std::sync::Arc;

use dsr_setup::Difference;
use proptest::prelude::*;

use super::*;

mod lo;
mod steps;

/// A host whose lo does what the steps say, on a clock that only the test moves.
struct LoScene {
    keeper: Keeper,
    start: Instant,
    now: Instant,
    lo: Loopback,
    generation: Generation,
    settle: Duration,
    /// The error with which the kernel refuses everything, if it does.
    refuses: Option<&'static str>,
    /// The generations for which a wait was requested.
    awaited: BTreeSet<Generation>,
    /// The executed steps, with their times.
    done: Vec<String>,
}

/// `A` is 192.0.2.65.
fn vip(name: char) -> IpAddr {
    format!("192.0.2.{}", u32::from(name)).parse().unwrap()
}

fn name(vip: IpAddr) -> char {
    let IpAddr::V4(vip) = vip else { panic!("{vip}") };
    char::from(vip.octets()[3])
}

fn names(vips: &[IpAddr]) -> String {
    vips.iter().map(|vip| name(*vip)).collect()
}

fn set(names: &str) -> Arc<BTreeSet<IpAddr>> {
    Arc::new(names.chars().filter(char::is_ascii_uppercase).map(vip).collect())
}

fn on_lo(name: char, owner: Owner, differences: &[Difference]) -> LoAddress {
    LoAddress { net: IpNet::from(vip(name)), owner, differences: differences.iter().copied().collect() }
}

impl LoScene {
    fn new(wanted: &str, settle: u64) -> LoScene {
        let (start, settle) = (Instant::now(), Duration::from_secs(settle));
        let (device, marks) = ("lo".to_owned(), MarkSupport::Kept);
        let lo = Loopback { device, link: Link::Up, marks, addresses: vec![], elsewhere: vec![] };
        let keeper = Keeper::new("lo".into(), WantedVips { vips: set(wanted), generation: 0, settle }, start);
        let (awaited, done) = (BTreeSet::new(), Vec::new());
        LoScene { keeper, start, now: start, lo, generation: 0, settle, refuses: None, awaited, done }
    }

    fn note(&mut self, text: String) {
        let at = (self.now - self.start).as_secs_f64();
        self.done.push(format!("{at:.1} {text}"));
    }

    /// Executes all steps that are due now.
    fn work(&mut self) {
        for _ in 0..100 {
            let steps = self.keeper.steps(self.now);
            if steps.is_empty() {
                return;
            }
            steps.into_iter().for_each(|step| self.carry_out(step));
        }
        panic!("the keeper finds no end: {:?}", self.done);
    }

    fn carry_out(&mut self, step: KeeperStep) {
        let result = self.refuses.map_or(Ok(()), |why| Err(why.to_owned()));
        match step {
            KeeperStep::Look => self.keeper.looked(self.lo.clone(), self.now),
            KeeperStep::SetDeviceUp => {
                if result.is_ok() {
                    self.note("set up".into());
                    self.lo.link = Link::Up;
                }
                self.keeper.device_set_up(result, self.now);
            }
            KeeperStep::Add(vips) => {
                if result.is_ok() {
                    self.note(format!("add {}", names(&vips)));
                }
                for vip in vips {
                    if result.is_ok() {
                        let owner =
                            if self.lo.marks == MarkSupport::Kept { Owner::Ours } else { Owner::Foreign };
                        self.lo.addresses.push(on_lo(name(vip), owner, &[]));
                    }
                    self.keeper.added(vip, result.clone().map(|()| AddResult::Added), self.now);
                }
            }
            KeeperStep::Mend(vips) => {
                self.note(format!("mend {}", names(&vips)));
                if result.is_ok() {
                    self.lo.addresses.retain(|on_lo| !vips.contains(&on_lo.net.addr()));
                    self.lo.addresses.extend(vips.iter().map(|vip| on_lo(name(*vip), Owner::Ours, &[])));
                }
            }
            KeeperStep::Remove(nets) => {
                for net in nets {
                    if result.is_ok() {
                        self.note(format!("remove {}", name(net.addr())));
                        self.lo.addresses.retain(|on_lo| on_lo.net != net);
                    }
                    self.keeper.removed(net.addr(), result.is_ok(), self.now);
                    self.keeper.gone(net.addr(), self.now); // the kernel reports it
                }
            }
            KeeperStep::Record(vips) => self.note(format!("record {}", names(&vips))),
            KeeperStep::Forget(vips) => self.note(format!("forget {}", names(&vips))),
            KeeperStep::Report(vip, presence) => {
                let text = match presence {
                    Presence::Present => "present".to_owned(),
                    Presence::Missing(problem) => format!("missing: {}", problem.reason),
                    Presence::DeviceDown(problem) => format!("down: {}", problem.reason),
                    Presence::Unknown => panic!("nothing is known of {vip}, and that was reported"),
                };
                self.note(format!("{} {text}", name(vip)));
            }
            KeeperStep::Await(generation) => drop(self.awaited.insert(generation)),
        }
    }

    /// Lets time pass until `seconds` after the start. Steps that become due are executed in time.
    fn pass(&mut self, seconds: f64) {
        let end = self.start + Duration::from_secs_f64(seconds);
        self.work();
        while self.keeper.deadline() <= end {
            self.now = self.keeper.deadline().max(self.now + Duration::from_millis(1));
            self.work();
        }
        self.now = end.max(self.now);
    }

    fn want(&mut self, names: &str) {
        self.generation += 1;
        let wanted = WantedVips { vips: set(names), generation: self.generation, settle: self.settle };
        self.keeper.set_wanted(wanted, self.now);
        self.work();
    }

    /// The routers acknowledge all requested generations.
    fn acknowledge(&mut self) {
        for generation in std::mem::take(&mut self.awaited) {
            self.keeper.acknowledged(generation, self.now);
        }
        self.work();
    }

    /// Another program removes addresses; the kernel sends events.
    fn take(&mut self, names: &str) {
        for name in names.chars() {
            self.lo.addresses.retain(|on_lo| on_lo.net.addr() != vip(name));
            self.keeper.gone(vip(name), self.now);
        }
        self.work();
    }

    /// Another program adds or changes an address.
    fn put(&mut self, address: LoAddress) {
        self.lo.addresses.retain(|on_lo| on_lo.net != address.net);
        self.lo.addresses.push(address);
        self.keeper.changed(self.now);
        self.work();
    }

    /// The executed steps that begin with this word, with their times.
    fn all(&self, word: &str) -> String {
        let fits = |line: &&String| line.split_once(' ').is_some_and(|(_, text)| text.starts_with(word));
        self.done.iter().filter(fits).cloned().collect::<Vec<_>>().join(", ")
    }
}

/// Runs a script whose parts begin with a time in seconds, until 400 s.
fn play(wanted: &str, settle: u64, script: &str) -> LoScene {
    let mut scene = LoScene::new(wanted, settle);
    for line in script.split(';').map(str::trim).filter(|line| !line.is_empty()) {
        let (at, what) = line.split_once(' ').unwrap();
        let (verb, object) = what.split_once(' ').unwrap_or((what, ""));
        match verb {
            "has" => scene.lo.addresses.extend(object.chars().map(|name| on_lo(name, Owner::Ours, &[]))),
            "strangers" => {
                scene.lo.addresses.extend(object.chars().map(|name| on_lo(name, Owner::Foreign, &[])))
            }
            _ if at == "0" => {} // before the first call of `steps`
            _ => scene.pass(at.parse().unwrap()),
        }
        match verb {
            "has" | "strangers" => {}
            "want" => scene.want(object),
            "ack" => scene.acknowledge(),
            "settle" => scene.settle = Duration::from_secs(object.parse().unwrap()),
            "take" => scene.take(object),
            "comes" => object.chars().for_each(|name| scene.put(on_lo(name, Owner::Ours, &[]))),
            "refuse" => scene.refuses = Some("not permitted"),
            "allow" => scene.refuses = None,
            _ => panic!("{line}"),
        }
    }
    scene.pass(400.0);
    scene
}

#[test]
fn each_vip_leaves_lo_settle_after_its_own_withdraw_was_acknowledged() {
    for (case, wanted, settle, script, want) in [
        // Case W4.
        ("two reloads", "AB", 6, "1 want B; 1.2 ack; 6 want -; 6.1 ack", "7.2 remove A, 12.1 remove B"),
        ("two that are dropped together", "AB", 6, "1 want -; 1.2 ack", "7.2 remove A, 7.2 remove B"),
        ("the acknowledgement is late", "A", 6, "1 want -; 40 ack", "46.0 remove A"),
        ("a router never acknowledges", "A", 6, "1 want -", "307.0 remove A"),
        (
            "an acknowledgement of an older generation",
            "AB",
            6,
            "1 want B; 2 want -; 2.1 ack",
            "8.1 remove A, 8.1 remove B",
        ),
        (
            "another reload meanwhile that drops nothing",
            "AB",
            6,
            "1 want B; 1.2 ack; 3 want B; 3.1 ack",
            "7.2 remove A",
        ),
        ("no time to settle", "A", 0, "1 want -; 1.2 ack", "1.2 remove A"),
        ("it comes back", "A", 6, "1 want -; 1.2 ack; 4 want A", ""),
        (
            "it comes back and is dropped again",
            "A",
            6,
            "1 want -; 1.2 ack; 4 want A; 5 want -; 5.5 ack",
            "11.5 remove A",
        ),
        ("it comes back before the acknowledgement", "A", 6, "1 want -; 2 want A; 3 ack", ""),
        (
            "settle becomes longer",
            "A",
            6,
            "1 want -; 1.2 ack; 3 settle 20; 3 want -; 3.1 ack",
            "21.2 remove A",
        ),
        (
            "settle becomes shorter",
            "A",
            20,
            "1 want -; 1.2 ack; 3 settle 6; 3 want -; 3.1 ack",
            "7.2 remove A",
        ),
        (
            "and it has settled by that",
            "A",
            20,
            "1 want -; 1.2 ack; 9 settle 2; 9 want -; 9.1 ack",
            "9.0 remove A",
        ),
        ("somebody else removes it meanwhile", "A", 6, "1 want -; 1.2 ack; 3 take A", ""),
        ("the kernel refuses for a while", "A", 6, "1 want -; 1.2 ack; 3 refuse; 9.5 allow", "10.2 remove A"),
        ("it was somebody else's", "A", 6, "0 strangers A; 1 want -; 1.2 ack", ""),
    ] {
        let scene = play(wanted, settle, script);
        assert_eq!(scene.all("remove"), want, "{case}: {:?}", scene.done);
    }
}

/// The VRF was deleted, or its name was a mistake (it names no device, or another interface) that a reload has corrected: nothing is held there, so its keeper can end.
#[test]
fn nothing_has_to_leave_a_device_that_cannot_have_vips() {
    let mut scene = LoScene::new("AB", 1);
    let wanted = |vips: &str| WantedVips { vips: set(vips), generation: 1, settle: Duration::from_secs(1) };
    scene.keeper.set_wanted(wanted("A"), scene.now);
    scene.keeper.look_failed("it cannot be read", scene.now);
    assert_eq!(scene.keeper.held(), *set("AB"), "the VIP may still be there");
    scene.keeper.device_unusable();
    assert_eq!(scene.keeper.held(), *set("A"));
    scene.keeper.set_wanted(wanted(""), scene.now);
    scene.keeper.device_unusable();
    assert_eq!(scene.keeper.held(), *set(""));
}

#[test]
fn what_nobody_wants_at_the_start_leaves_settle_after_it() {
    for (case, wanted, script, want) in [
        ("ours", "A", "0 has AB; 0.1 ack", "6.1 remove B"),
        ("the sessions that are there have to acknowledge", "A", "0 has AB; 30 ack", "36.0 remove B"),
        ("it is wanted soon after", "A", "0 has AB; 0.1 ack; 3 want AB", ""),
        ("another reload in the first seconds", "A", "0 has AB; 0.1 ack; 3 want A; 3.1 ack", "6.1 remove B"),
        ("somebody else's", "A", "0 has A; 0 strangers B; 0.1 ack", ""),
        // `dsr-setup apply` may run before the reload that adds the VIP.
        ("put there later", "A", "0 has A; 0.1 ack; 20 comes B", ""),
        (
            "put there later, and a reload does not want it",
            "A",
            "0 has A; 0.1 ack; 20 comes B; 30 want A; 30.5 ack",
            "36.5 remove B",
        ),
    ] {
        let scene = play(wanted, 6, script);
        assert_eq!(scene.all("remove"), want, "{case}: {:?}", scene.done);
    }
}

#[test]
fn a_vip_that_somebody_else_put_there_while_ours_was_leaving_stays() {
    let mut scene = LoScene::new("A", 6);
    scene.pass(1.0);
    scene.want("-");
    scene.acknowledge();
    scene.take("A");
    scene.put(on_lo('A', Owner::Foreign, &[]));
    scene.pass(60.0);
    assert_eq!(scene.all("remove"), "");
    assert!(scene.lo.holds(vip('A')));
}

#[derive(Debug, Clone)]
enum Move {
    Want(u8),
    Acknowledge,
    Take(u8),
    Settle(u64),
    DeviceDown,
    Pass(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0u8..8).prop_map(Move::Want),
        3 => Just(Move::Acknowledge),
        1 => (0u8..8).prop_map(Move::Take),
        1 => (0u64..10).prop_map(Move::Settle),
        1 => Just(Move::DeviceDown),
        5 => (1u64..8_000).prop_map(Move::Pass),
    ];
    prop::collection::vec(one, 1..40)
}

/// The VIPs A, B and C; each bit stands for one.
fn of_bits(bits: u8) -> String {
    ['A', 'B', 'C']
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, name)| name)
        .collect()
}

proptest! {
    /// For all sequences of events: no VIP is removed while it is wanted, or before `settle` has passed since the routers
    /// acknowledged a generation without it. All wanted VIPs are on lo, and in the end no other address of ours.
    #[test]
    fn no_vip_leaves_too_early_and_none_stays(moves in moves()) {
        let mut scene = LoScene::new("ABC", 5);
        let mut wanted = "ABC".to_owned();
        let mut acknowledged: BTreeMap<char, Option<Instant>> = BTreeMap::new();
        scene.pass(0.0);
        for one in moves.into_iter().chain([Move::Acknowledge, Move::Pass(60_000)]) {
            let before = scene.lo.clone();
            match one {
                Move::Want(bits) => {
                    let next = of_bits(bits);
                    for name in wanted.chars().filter(|name| !next.contains(*name)) {
                        acknowledged.insert(name, None);
                    }
                    acknowledged.retain(|name, _| !next.contains(*name));
                    scene.want(&next);
                    wanted = next;
                }
                Move::Acknowledge => {
                    for at in acknowledged.values_mut() {
                        at.get_or_insert(scene.now);
                    }
                    scene.acknowledge();
                }
                Move::Take(bits) => scene.take(&of_bits(bits)),
                Move::Settle(seconds) => scene.settle = Duration::from_secs(seconds),
                Move::DeviceDown => {
                    scene.lo.link = Link::Down;
                    scene.keeper.link(Link::Down, scene.now);
                    scene.work();
                }
                Move::Pass(ms) => {
                    let end = (scene.now - scene.start + Duration::from_millis(ms)).as_secs_f64();
                    scene.pass(end);
                }
            }
            for line in std::mem::take(&mut scene.done) {
                let mut words = line.split(' ');
                let (at, verb, object) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
                if verb != "remove" {
                    continue;
                }
                let name = object.chars().next().unwrap();
                prop_assert!(!wanted.contains(name), "{line}: it is wanted");
                let acknowledged = acknowledged.get(&name).copied().flatten();
                let since = acknowledged.map(|at| (at - scene.start).as_secs_f64());
                let settle = scene.keeper.wanted.settle.as_secs_f64();
                let at: f64 = at.parse().unwrap();
                prop_assert!(since.is_some_and(|since| at + 0.1 >= since + settle), "{line}: acknowledged at {since:?}");
            }
            prop_assert!(wanted.chars().all(|name| scene.lo.holds(vip(name))), "wanted {wanted}: {before:?}");
        }
        let left: BTreeSet<IpAddr> = scene.lo.ours().map(|net| net.addr()).collect();
        prop_assert_eq!(left, (*set(&wanted)).clone());
    }
}
