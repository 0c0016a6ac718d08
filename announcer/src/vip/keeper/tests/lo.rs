//! What happens on lo: VIPs that are put there, changed or removed by other programs, a device that is down, a kernel without marks.

use super::*;

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
    assert_eq!(scene.done, ["0.0 add A", "0.0 A present", "2.0 set up"]);
}

/// Case H10, at the start, and if only a read shows it.
#[test]
fn lo_that_is_down_is_set_up_however_that_is_seen() {
    let mut scene = LoScene::new("A", 6);
    scene.lo.link = Link::Down;
    scene.pass(1.0);
    assert_eq!(scene.done, ["0.0 set up", "0.0 add A", "0.0 A present"]);
    scene.lo.link = Link::Down; // the event was lost
    scene.pass(30.0);
    assert_eq!(scene.all("set up"), "0.0 set up, 10.1 set up");
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
    assert_eq!(scene.done.last().unwrap(), "2.0 A down: not permitted");
    scene.refuses = None;
    scene.pass(30.0);
    let after: Vec<&String> = scene.done.iter().skip(3).collect();
    assert_eq!(after, ["5.0 set up", "5.0 A present"]);
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
    assert_eq!(scene.all("set up"), "3.0 set up");
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
    assert_eq!(scene.keeper.warnings(), [Warning::Source(IpNet::from(vip('A')), "lo".into())]);
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
    assert_eq!(scene.keeper.warnings(), [Warning::Ends(IpNet::from(vip('A')), "lo".into())]);
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

/// NetworkManager switches IPv6 on lo off and on again. The kernel then adds ::1, and that is an event.
#[test]
fn what_could_not_be_put_there_is_tried_again_when_an_address_arrives() {
    let mut scene = LoScene::new("A", 0);
    scene.refuses = Some("IPv6 is disabled on lo");
    scene.pass(0.1);
    scene.refuses = None;
    scene.pass(0.2);
    assert!(!scene.done.iter().any(|step| step.contains("add A")), "{:?}", scene.done);
    scene.keeper.arrived(scene.now);
    scene.pass(0.25);
    assert!(scene.done.contains(&"0.2 add A".to_owned()), "{:?}", scene.done);
}
