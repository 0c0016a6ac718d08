//! What the keeper holds, and which steps it takes after which results, one call at a time.

use super::*;

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
    let (device, marks) = ("lo".to_owned(), MarkSupport::Kept);
    Loopback { device, link: Link::Up, marks, addresses: addresses.to_vec(), elsewhere: vec![] }
}

/// A netlink socket that breaks takes the result with it.
#[test]
fn a_step_without_a_result_is_repeated_after_a_second_and_not_before() {
    let start = Instant::now();
    let later = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let wanted =
        |names: &str, generation| WantedVips { vips: set(names), generation, settle: Duration::ZERO };
    let mut keeper = Keeper::new("lo".into(), wanted("A", 0), start);
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
    let mut keeper =
        Keeper::new("lo".into(), WantedVips { vips: set("A"), generation: 0, settle: Duration::ZERO }, start);
    keeper.looked(lo_with(&[on_lo('A', Owner::Ours, &[Difference::Ends])]), start);
    assert_eq!(keeper.warnings(), []);
    assert_eq!(keeper.steps(start).first(), Some(&KeeperStep::Mend(vec![vip('A')])));
}

/// Case H3, with a kernel that takes a second: a VIP that is away is not removed again by each read that does not find it.
#[test]
fn one_removal_counts_once_however_long_it_is_away() {
    let start = Instant::now();
    let later = |ms| start + Duration::from_millis(ms);
    let mut keeper =
        Keeper::new("lo".into(), WantedVips { vips: set("A"), generation: 0, settle: Duration::ZERO }, start);
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
    let mut keeper = Keeper::new("lo".into(), wanted("A", 0), start);
    keeper.looked(lo_with(&[on_lo('A', Owner::Ours, &[])]), start);
    keeper.gone(vip('A'), later(100));
    keeper.looked(theirs(), later(200));
    assert_eq!(keeper.steps(later(200)), [KeeperStep::Report(vip('A'), Presence::Present)]);
    keeper.set_wanted(wanted("", 1), later(300));
    keeper.acknowledged(1, later(300));
    keeper.looked(theirs(), later(300));
    assert_eq!(keeper.steps(later(300)), [], "addresses of other programs are neither corrected nor removed");

    let mut keeper = Keeper::new("lo".into(), wanted("A", 0), start);
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
