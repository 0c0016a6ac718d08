use std::sync::Arc;

use dsr_setup::Difference;
use proptest::prelude::*;

use super::*;

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
        let lo = Loopback { link: Link::Up, marks: MarkSupport::Kept, addresses: vec![], elsewhere: vec![] };
        let keeper = Keeper::new(WantedVips { vips: set(wanted), generation: 0, settle }, start);
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
            KeeperStep::RaiseLo => {
                if result.is_ok() {
                    self.note("raise lo".into());
                    self.lo.link = Link::Up;
                }
                self.keeper.raised(result, self.now);
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
                    Presence::Missing(why) => format!("missing: {why}"),
                    Presence::LoDown(why) => format!("lo down: {why}"),
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

#[test]
fn held_are_the_vips_that_are_wanted_or_not_yet_gone() {
    let mut scene = LoScene::new("AB", 6);
    scene.pass(1.0);
    scene.want("BC");
    assert_eq!(scene.keeper.held(), *set("ABC"));
    assert!(scene.keeper.wants(vip('C')) && !scene.keeper.wants(vip('A')));
    scene.acknowledge();
    scene.pass(6.9);
    assert_eq!(scene.keeper.held(), *set("ABC"));
    scene.pass(7.1);
    assert_eq!(scene.keeper.held(), *set("BC"));
}

/// What lo has in a test without a kernel.
fn lo_with(addresses: &[LoAddress]) -> Loopback {
    Loopback { link: Link::Up, marks: MarkSupport::Kept, addresses: addresses.to_vec(), elsewhere: vec![] }
}

/// A netlink socket that breaks takes the result with it.
#[test]
fn a_step_without_a_result_is_repeated_after_a_second_and_not_before() {
    let start = Instant::now();
    let later = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let wanted =
        |names: &str, generation| WantedVips { vips: set(names), generation, settle: Duration::ZERO };
    let mut keeper = Keeper::new(wanted("A", 0), start);
    for second in [0.0, 1.0] {
        assert_eq!(keeper.steps(later(second)), [KeeperStep::Look]);
        assert_eq!(keeper.steps(later(second)), []);
        assert_eq!(keeper.deadline(), later(second + 1.0));
    }
    keeper.looked(lo_with(&[]), later(1.0));
    for second in [1.0, 2.0] {
        assert_eq!(keeper.steps(later(second)), [KeeperStep::Add(vec![vip('A')])]);
        assert_eq!(keeper.steps(later(second)), []);
    }
    keeper.looked(lo_with(&[on_lo('A', Owner::Ours, &[])]), later(3.0));
    assert_eq!(keeper.steps(later(3.0)), [KeeperStep::Report(vip('A'), Presence::Present)]);
    keeper.set_wanted(wanted("", 1), later(3.0));
    keeper.acknowledged(1, later(3.0));
    for second in [3.0, 4.0] {
        assert_eq!(keeper.steps(later(second)), [KeeperStep::Look]);
        keeper.looked(lo_with(&[on_lo('A', Owner::Ours, &[])]), later(second));
        assert_eq!(keeper.steps(later(second)), [KeeperStep::Remove(vec![vip('A').into()])]);
        assert_eq!(keeper.steps(later(second)), []);
    }
    keeper.removed(vip('A'), false, later(4.5));
    assert_eq!(keeper.deadline(), later(5.5), "the kernel took its time to refuse");
    keeper.removed(vip('A'), true, later(5.0));
    assert_eq!(keeper.held(), *set(""));
}

/// As above, and it is no warning before the first try.
#[test]
fn a_changed_vip_is_mended_by_the_read_that_shows_it() {
    let start = Instant::now();
    let mut keeper = Keeper::new(WantedVips { vips: set("A"), generation: 0, settle: Duration::ZERO }, start);
    keeper.looked(lo_with(&[on_lo('A', Owner::Ours, &[Difference::Ends])]), start);
    assert_eq!(keeper.warnings(), []);
    assert_eq!(keeper.steps(start).first(), Some(&KeeperStep::Mend(vec![vip('A')])));
}

/// Case H3, with a kernel that takes a second: a VIP that is away is not removed again by each read that does not find it.
#[test]
fn one_removal_counts_once_however_long_it_is_away() {
    let start = Instant::now();
    let later = |ms| start + Duration::from_millis(ms);
    let mut keeper = Keeper::new(WantedVips { vips: set("A"), generation: 0, settle: Duration::ZERO }, start);
    keeper.looked(lo_with(&[on_lo('A', Owner::Ours, &[])]), start);
    let add = |keeper: &mut Keeper, ms| keeper.added(vip('A'), Ok(AddResult::Added), later(ms));
    keeper.gone(vip('A'), start);
    add(&mut keeper, 0);
    keeper.gone(vip('A'), later(500));
    keeper.looked(lo_with(&[]), later(1_500));
    add(&mut keeper, 1_600);
    let reports = keeper.steps(later(1_600));
    assert!(reports.contains(&KeeperStep::Report(vip('A'), Presence::Present)), "{reports:?}");
}

#[test]
fn a_vip_that_somebody_else_puts_back_counts_as_returned_and_is_theirs() {
    let start = Instant::now();
    let later = |ms| start + Duration::from_millis(ms);
    let wanted =
        |names: &str, generation| WantedVips { vips: set(names), generation, settle: Duration::ZERO };
    let theirs = || lo_with(&[on_lo('A', Owner::Foreign, &[Difference::Ends])]);
    let mut keeper = Keeper::new(wanted("A", 0), start);
    keeper.looked(lo_with(&[on_lo('A', Owner::Ours, &[])]), start);
    keeper.gone(vip('A'), later(100));
    keeper.looked(theirs(), later(200));
    assert_eq!(keeper.steps(later(200)), [KeeperStep::Report(vip('A'), Presence::Present)]);
    keeper.set_wanted(wanted("", 1), later(300));
    keeper.acknowledged(1, later(300));
    keeper.looked(theirs(), later(300));
    assert_eq!(keeper.steps(later(300)), [], "addresses of other programs are neither corrected nor removed");

    let mut keeper = Keeper::new(wanted("A", 0), start);
    keeper.looked(lo_with(&[on_lo('A', Owner::Ours, &[])]), start);
    keeper.gone(vip('A'), later(100));
    keeper.looked(theirs(), later(200));
    keeper.gone(vip('A'), later(2_000));
    keeper.added(vip('A'), Ok(AddResult::Added), later(2_000));
    let reports = keeper.steps(later(2_000));
    let missing = |step: &KeeperStep| matches!(step, KeeperStep::Report(_, Presence::Missing(_)));
    assert!(!reports.iter().any(missing), "a read of lo is due first: {reports:?}");
    keeper.looked(lo_with(&[on_lo('A', Owner::Ours, &[])]), later(2_000));
    let reports = keeper.steps(later(2_000));
    assert!(reports.iter().any(missing), "it was gone again soon after it was put back: {reports:?}");
}

/// A VIP with our mark that no service names, and that loses the mark before it leaves.
#[test]
fn what_was_ours_at_the_start_leaves_also_without_its_mark() {
    let mut scene = LoScene::new("A", 6);
    scene.lo.addresses.push(on_lo('B', Owner::Ours, &[]));
    scene.pass(0.1);
    scene.acknowledge();
    scene.put(on_lo('B', Owner::Foreign, &[Difference::Mark]));
    scene.pass(60.0);
    assert_eq!(scene.all("remove"), "6.1 remove B");
}

#[test]
fn lo_is_read_at_once_when_its_known_state_may_be_old() {
    let mut scene = LoScene::new("A", 6);
    scene.pass(2.0);
    scene.keeper.look_again(scene.now);
    assert_eq!(scene.keeper.steps(scene.now), [KeeperStep::Look]);
}

#[test]
fn wanted_vips_are_put_on_lo_together_and_put_back() {
    let mut scene = LoScene::new("AB", 6);
    scene.put(on_lo('C', Owner::Foreign, &[]));
    scene.pass(1.0);
    assert_eq!(scene.done, ["0.0 add AB", "0.0 A present", "0.0 B present"]);
    scene.pass(20.0);
    scene.take("A");
    assert_eq!(scene.done.last().unwrap(), "20.0 add A");
    scene.pass(60.0);
    assert_eq!(scene.done.len(), 4, "{:?}", scene.done);
}

/// After a reload everything is reported again, because the director may have lost it.
#[test]
fn a_reload_reports_every_vip_again() {
    let scene = play("A", 6, "2 want AB");
    assert_eq!(scene.done, ["0.0 add A", "0.0 A present", "2.0 add B", "2.0 A present", "2.0 B present"]);
}

#[test]
fn a_vip_that_cannot_be_put_on_lo_is_tried_again_every_second() {
    let scene = play("A", 6, "0 refuse; 2.5 allow");
    assert_eq!(scene.done, ["0.0 A missing: not permitted", "3.0 add A", "3.0 A present"]);
}

/// Case H3.
#[test]
fn two_removals_within_milliseconds_are_no_fight_and_nothing_is_reported() {
    let scene = play("AB", 6, "2 take AB; 2.005 take AB");
    let after: Vec<&String> = scene.done.iter().skip(3).collect();
    assert_eq!(after, ["2.0 add AB", "2.0 add AB"]);
    let scene = play("A", 6, "2 take A; 4 take A");
    assert_eq!(
        scene.all("A"),
        "0.0 A present, 4.0 A missing: it was removed again soon after it was put back, and will count as present after it has \
         stayed for 10s, 14.0 A present"
    );
}

/// Case H10.
#[test]
fn lo_that_somebody_sets_down_is_set_up_again_and_nothing_is_reported() {
    let mut scene = LoScene::new("A", 6);
    scene.pass(2.0);
    scene.lo.link = Link::Down;
    scene.keeper.link(Link::Down, scene.now);
    scene.pass(30.0);
    assert_eq!(scene.done, ["0.0 add A", "0.0 A present", "2.0 raise lo"]);
}

/// Case H10, at the start, and if only a read shows it.
#[test]
fn lo_that_is_down_is_set_up_however_that_is_seen() {
    let mut scene = LoScene::new("A", 6);
    scene.lo.link = Link::Down;
    scene.pass(1.0);
    assert_eq!(scene.done, ["0.0 raise lo", "0.0 add A", "0.0 A present"]);
    scene.lo.link = Link::Down; // the event was lost
    scene.pass(30.0);
    assert_eq!(scene.all("raise"), "0.0 raise lo, 10.1 raise lo");
}

/// Case H10.
#[test]
fn lo_that_cannot_be_set_up_is_the_reason_until_it_is_up() {
    let mut scene = LoScene::new("A", 6);
    scene.pass(2.0);
    scene.refuses = Some("not permitted");
    scene.lo.link = Link::Down;
    scene.keeper.link(Link::Down, scene.now);
    scene.pass(4.5);
    assert_eq!(scene.done.last().unwrap(), "2.0 A lo down: not permitted");
    scene.refuses = None;
    scene.pass(30.0);
    let after: Vec<&String> = scene.done.iter().skip(3).collect();
    assert_eq!(after, ["5.0 raise lo", "5.0 A present"]);
}

/// Case H10: another event about lo is no reason to try sooner.
#[test]
fn lo_that_cannot_be_set_up_is_tried_again_after_a_second_whatever_is_heard() {
    let mut scene = LoScene::new("A", 6);
    scene.pass(2.0);
    scene.refuses = Some("not permitted");
    scene.lo.link = Link::Down;
    scene.keeper.link(Link::Down, scene.now);
    scene.pass(2.5);
    scene.refuses = None;
    scene.keeper.link(Link::Down, scene.now);
    scene.pass(30.0);
    assert_eq!(scene.all("raise"), "3.0 raise lo");
}

/// Case H4.
#[test]
fn a_vip_of_ours_that_was_changed_is_mended_also_when_it_lost_its_mark() {
    let all = [Difference::Flags, Difference::Source, Difference::Ends, Difference::Mark];
    let mut scene = LoScene::new("A", 6);
    scene.pass(2.0);
    scene.put(on_lo('A', Owner::Foreign, &all));
    scene.pass(30.0);
    assert_eq!(scene.all("mend"), "2.1 mend A");
    // Its mark is back: it leaves when no service names it.
    scene.want("-");
    scene.acknowledge();
    scene.pass(60.0);
    assert_eq!(scene.all("remove"), "36.0 remove A");
}

/// Case H4: a VIP that cannot be corrected still leaves, because we put it there.
#[test]
fn a_vip_of_ours_that_lost_its_mark_is_still_ours() {
    let mut scene = LoScene::new("A", 6);
    scene.pass(2.0);
    scene.refuses = Some("not permitted");
    scene.put(on_lo('A', Owner::Foreign, &[Difference::Mark]));
    scene.pass(13.0);
    assert_eq!(scene.all("mend"), "2.1 mend A, 12.1 mend A");
    scene.refuses = None;
    scene.want("-");
    scene.acknowledge();
    scene.pass(60.0);
    assert_eq!(scene.all("remove"), "19.0 remove A");
}

/// Case H12: an address of another program is reported and not changed.
#[test]
fn a_vip_of_somebody_else_is_never_changed_and_is_reported() {
    let mut scene = LoScene::new("A", 6);
    scene.put(on_lo('A', Owner::Foreign, &[Difference::Source, Difference::Mark]));
    scene.pass(30.0);
    assert_eq!(scene.done, ["0.0 A present"]);
    assert_eq!(scene.keeper.warnings(), [Warning::Source(IpNet::from(vip('A')))]);
}

#[test]
fn what_is_being_mended_is_no_warning_and_what_cannot_be_mended_is_one() {
    let changed = || on_lo('A', Owner::Ours, &[Difference::Ends]);
    let mut scene = LoScene::new("A", 6);
    scene.pass(2.0);
    scene.refuses = Some("not permitted");
    scene.put(changed());
    for at in [2.05, 2.1, 2.15] {
        scene.pass(at);
        assert_eq!(scene.keeper.warnings(), [], "{at}");
    }
    scene.pass(2.3);
    assert_eq!(scene.keeper.warnings(), [Warning::Ends(IpNet::from(vip('A')))]);
    scene.refuses = None;
    scene.pass(20.0);
    assert_eq!(scene.keeper.warnings(), []);
}

/// Case W1.
#[test]
fn a_state_file_that_cannot_be_used_is_a_warning_and_takes_no_vip_away() {
    let mut scene = LoScene::new("A", 6);
    scene.pass(2.0);
    scene.keeper.host(BTreeMap::new(), Err("`dsr-setup.json` is not readable".into()));
    scene.pass(100.0);
    assert_eq!(scene.done, ["0.0 add A", "0.0 A present"]);
    assert_eq!(scene.keeper.warnings(), [Warning::Record("`dsr-setup.json` is not readable".into())]);
    scene.keeper.host(BTreeMap::new(), Ok(BTreeSet::new()));
    assert_eq!(scene.keeper.warnings(), []);
    scene.keeper.host(BTreeMap::new(), Ok([vip('B')].into()));
    assert_eq!(scene.keeper.recorded(), *set("B"));
}

/// A kernel before 5.18: the state file says which addresses are ours.
#[test]
fn where_the_kernel_keeps_no_marks_the_state_file_is_read_before_anything_is_removed() {
    let mut scene = LoScene::new("A", 6);
    scene.lo.marks = MarkSupport::NotKept;
    scene.put(on_lo('B', Owner::Foreign, &[]));
    scene.pass(20.0);
    assert_eq!(scene.done, ["0.0 add A", "0.0 A present"]);
    let recorded = BTreeSet::from([vip('B')]);
    scene.keeper.host(BTreeMap::new(), Ok(recorded));
    scene
        .lo
        .addresses
        .iter_mut()
        .filter(|on_lo| on_lo.net.addr() == vip('B'))
        .for_each(|b| b.owner = Owner::Ours);
    scene.pass(30.0);
    scene.acknowledge();
    scene.pass(60.0);
    assert_eq!(scene.all("record"), "20.0 record A");
    assert_eq!((scene.all("remove"), scene.all("forget")), ("36.0 remove B".into(), "36.0 forget B".into()));
}

/// As above, with a state file that cannot be used: addresses that we have put there in this run are still known.
#[test]
fn without_marks_and_state_file_only_what_we_put_there_ourselves_is_removed() {
    let mut scene = LoScene::new("A", 6);
    scene.lo.marks = MarkSupport::NotKept;
    scene.put(on_lo('B', Owner::Foreign, &[]));
    scene.keeper.host(BTreeMap::new(), Err("broken".into()));
    scene.pass(10.0);
    scene.want("-");
    scene.acknowledge();
    scene.pass(60.0);
    assert_eq!(scene.all("remove"), "16.0 remove A");
}

#[test]
fn lo_that_cannot_be_looked_at_makes_every_vip_missing_until_it_can() {
    let mut scene = LoScene::new("A", 6);
    scene.pass(2.0);
    scene.keeper.look_failed("no answer", scene.now);
    scene.pass(2.5);
    assert_eq!(scene.done.last().unwrap(), "2.0 A missing: no answer");
    assert_eq!(scene.keeper.deadline(), scene.start + Duration::from_secs(3));
    scene.pass(10.0);
    assert_eq!(scene.done.last().unwrap(), "3.0 A present");
}

#[derive(Debug, Clone)]
enum Move {
    Want(u8),
    Acknowledge,
    Take(u8),
    Settle(u64),
    LoDown,
    Pass(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0u8..8).prop_map(Move::Want),
        3 => Just(Move::Acknowledge),
        1 => (0u8..8).prop_map(Move::Take),
        1 => (0u64..10).prop_map(Move::Settle),
        1 => Just(Move::LoDown),
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
                Move::LoDown => {
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
