use super::*;
use crate::chain::ring::tests::{address, healthy};

const INTERVAL: Duration = Duration::from_millis(100);

/// Members by their numbers, in the order of the letters.
fn list(numbers: &[u8]) -> Vec<IpAddr> {
    numbers.iter().map(|number| address(*number)).collect()
}

/// Others that live, and their lists.
fn others(lists: &[(u8, &[u8])], now: Instant) -> BTreeMap<IpAddr, MemberObservation> {
    let other = |(index, theirs): &(u8, &[u8])| {
        let mut observed = healthy(*index, now);
        observed.said.as_mut().unwrap().facts.members = ListDigest::of_members(&list(theirs));
        (address(*index), observed)
    };
    lists.iter().map(other).collect()
}

#[test]
fn a_member_is_added_when_all_agree() {
    let now = Instant::now();
    let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
    assert!(!lists.update(&list(&[1, 2, 3])) && !lists.is_changing());
    assert!(lists.update(&list(&[1, 2, 3, 4])));
    for (theirs, added) in [
        (&[(2, &[1, 2, 3][..]), (3, &[1, 2, 3, 4]), (4, &[1, 2, 3, 4])][..], true),
        (&[(2, &[1, 2, 3, 4]), (3, &[1, 2, 3, 4])], true), // 4 was not asked yet
        (&[(2, &[4, 3, 2, 1]), (3, &[1, 2, 3, 4]), (4, &[1, 4])], true),
        (&[(2, &[4, 3, 2, 1]), (3, &[1, 2, 3, 4]), (4, &[1, 2, 3, 4])], false),
    ] {
        lists.step(&list(&[1]), &others(theirs, now), INTERVAL, now);
        assert_eq!((lists.is_added(address(4)), lists.agreed()), (added, !added), "{theirs:?}");
        assert_eq!(lists.members(), list(&[1, 2, 3, 4]));
    }
    assert!(!lists.is_changing());
}

#[test]
fn who_does_not_live_need_not_agree() {
    let now = Instant::now();
    let mut lists = MemberLists::new(&list(&[1, 2]), None);
    lists.update(&list(&[1, 2, 3]));
    let mut others = others(&[(2, &[1, 2]), (3, &[1, 2, 3])], now);
    for (state, agreed) in [
        (MemberState::Alive, false),
        (MemberState::Asked, false),
        (MemberState::Silent, false),
        (MemberState::Dead, true),
        (MemberState::Left, true),
        (MemberState::Unknown, true),
    ] {
        others.get_mut(&address(2)).unwrap().state = state;
        lists.step(&list(&[1]), &others, INTERVAL, now);
        assert_eq!(lists.agreed(), agreed, "{state}");
    }
    others.get_mut(&address(2)).unwrap().awaited = true;
    lists.step(&list(&[1]), &others, INTERVAL, now);
    assert!(!lists.agreed(), "it may still be heard");
}

#[test]
fn a_removed_member_stays_until_all_agree_and_is_told_that_we_have_left() {
    let begin = Instant::now();
    let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
    lists.update(&list(&[2, 1]));
    let mut others = others(&[(2, &[1, 2, 3]), (3, &[1, 2, 3])], begin);
    lists.step(&list(&[1]), &others, INTERVAL, begin);
    assert_eq!((lists.ring(), lists.left(INTERVAL, begin)), (list(&[1, 2, 3]), BTreeSet::new()));
    others.get_mut(&address(2)).unwrap().said.as_mut().unwrap().facts.members =
        ListDigest::of_members(&list(&[1, 2]));
    let mut said = 0;
    for tenth in 0..40 {
        let now = begin + INTERVAL * tenth;
        lists.step(&list(&[1]), &others, INTERVAL, now);
        assert_eq!(lists.ring(), list(&[1, 2]));
        said += lists.left(INTERVAL, now).len();
        assert_eq!(lists.members() == list(&[1, 2, 3]), tenth < 27, "{tenth}");
    }
    assert_eq!(said, 15);
}

/// Its daemon cannot hear that we have left while it is dead, and its rules go on forwarding to us.
#[test]
fn a_removed_member_whose_daemon_is_dead_is_told_later_that_we_have_left() {
    let begin = Instant::now();
    // When the heartbeats of 3 stop, when its next daemon is heard, and until when it is known; in tenths.
    for (silent, again, known) in [
        (5, 40, 55),
        (11, 40, 55),
        (5, 20, 35),
        (5, 8, 27), // there was time enough
        (26, 40, 55),
        (28, 40, 27), // it has heard it before
    ] {
        let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
        lists.update(&list(&[1, 2]));
        let mut others = others(&[(2, &[1, 2]), (3, &[1, 2, 3])], begin);
        for tenth in 0..60 {
            let now = begin + INTERVAL * tenth;
            let observed = others.get_mut(&address(3)).unwrap();
            if tenth == again {
                (observed.state, observed.heard_since) = (MemberState::Alive, Some(now));
            } else if tenth == silent {
                observed.state = MemberState::Silent;
            }
            lists.step(&list(&[1]), &others, INTERVAL, now);
            let (is_known, told) = (lists.is_changing(), !lists.left(INTERVAL, now).is_empty());
            assert_eq!((is_known, told), (tenth < known, (12..known).contains(&tenth)), "{silent} {tenth}");
        }
    }
}

/// The rules of a dead daemon may still forward to the removed member, and its next daemon keeps them at first.
#[test]
fn a_removed_member_is_not_told_that_we_have_left_before_every_daemon_has_replaced_its_rules() {
    let begin = Instant::now();
    // When the heartbeats of 2 stop, when its next daemon is heard, and when 3 hears first that we have left; in tenths.
    for (silent, again, left) in [
        (90, None, Some(12)),
        (5, Some(9), Some(21)), // a heartbeat does not show that the former daemon lived until then
        (5, Some(5), Some(17)), // it was restarted at once
        (9, Some(30), Some(42)),
        (11, Some(30), Some(12)), // its rules were replaced before
        (0, None, None),
    ] {
        let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
        lists.update(&list(&[1, 2]));
        let mut others = others(&[(2, &[1, 2]), (3, &[1, 2, 3])], begin);
        let mut first = None;
        for tenth in 0..60 {
            let now = begin + INTERVAL * tenth;
            let observed = others.get_mut(&address(2)).unwrap();
            if again == Some(tenth) {
                (observed.state, observed.since, observed.heard_since) = (MemberState::Alive, now, Some(now));
            } else if silent == tenth {
                (observed.state, observed.since) = (MemberState::Silent, now);
            }
            lists.step(&list(&[1]), &others, INTERVAL, now);
            if !lists.left(INTERVAL, now).is_empty() {
                first.get_or_insert(tenth);
            }
        }
        assert_eq!(first, left, "{silent} {again:?}");
    }
}

/// A member that had left need not agree. If its stop is interrupted, its next daemon may have the former list, and forwards to the removed
/// member.
#[test]
fn a_removed_member_is_not_told_that_we_have_left_while_one_that_came_back_has_another_list() {
    let begin = Instant::now();
    let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
    lists.update(&list(&[1, 2]));
    let mut others = others(&[(2, &[1, 2, 3]), (3, &[1, 2, 3])], begin);
    for tenth in 0..40 {
        let now = begin + INTERVAL * tenth;
        let observed = others.get_mut(&address(2)).unwrap();
        observed.state = if tenth < 5 { MemberState::Left } else { MemberState::Alive };
        if tenth == 20 {
            observed.said.as_mut().unwrap().facts.members = ListDigest::of_members(&list(&[1, 2]));
        }
        lists.step(&list(&[1]), &others, INTERVAL, now);
        assert_eq!((lists.ring(), lists.agreed()), (list(&[1, 2]), !(5..20).contains(&tenth)));
        assert_eq!(lists.left(INTERVAL, now).is_empty(), tenth < 19 + 12, "{tenth}");
    }
}

/// With a loss of two heartbeats of three, members are silent for up to 1.6 intervals again and again.
#[test]
fn a_short_silence_is_no_dead_daemon() {
    let begin = Instant::now();
    let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
    lists.update(&list(&[1, 2]));
    let mut others = others(&[(2, &[1, 2]), (3, &[1, 2, 3])], begin);
    for half in 0..=24 {
        let now = begin + INTERVAL / 2 * half;
        let observed = others.get_mut(&address(2)).unwrap();
        match half % 6 {
            0 => observed.state = MemberState::Alive,
            3 => (observed.state, observed.since) = (MemberState::Silent, now),
            1 | 2 | 4 | 5 => {}
            other => panic!("{other}"),
        }
        lists.step(&list(&[1]), &others, INTERVAL, now);
        assert_eq!(lists.left(INTERVAL, now).is_empty(), half < 24, "{half}");
    }
}

#[test]
fn a_removed_member_is_forgotten_when_it_does_not_live() {
    let now = Instant::now();
    for (state, lingers, forgotten) in [
        (MemberState::Alive, false, false),
        (MemberState::Silent, false, false),
        (MemberState::Left, true, false),
        (MemberState::Left, false, true),
        (MemberState::Dead, false, true),
        (MemberState::Unknown, false, true),
    ] {
        let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
        lists.update(&list(&[1, 2]));
        let mut others = others(&[(2, &[1]), (3, &[1, 2, 3])], now);
        let observed = others.get_mut(&address(3)).unwrap();
        (observed.state, observed.lingers) = (state, lingers);
        lists.step(&list(&[1]), &others, INTERVAL, now);
        assert_eq!(lists.members() == list(&[1, 2]), forgotten, "{state} {lingers}");
    }
}

#[test]
fn one_that_is_removed_and_added_again_was_never_out_of_the_ring() {
    let mut lists = MemberLists::new(&list(&[1, 2]), None);
    lists.update(&list(&[1]));
    lists.update(&list(&[1, 2]));
    assert!(!lists.is_changing());
}

#[test]
fn a_new_process_continues_the_change() {
    let former: BTreeSet<IpAddr> = list(&[1, 2, 3]).into_iter().collect();
    let lists = MemberLists::new(&list(&[1, 2, 4]), Some(&former));
    assert!(lists.is_added(address(4)) && !lists.is_added(address(2)));
    assert_eq!(lists.ring(), list(&[1, 2, 3, 4]));
    assert!(!MemberLists::new(&list(&[1, 2, 4]), None).is_changing(), "without rules, nothing is known");
}

#[test]
fn a_mark_has_room_for_32_members() {
    let all: Vec<u8> = (1..=32).collect();
    let mut lists = MemberLists::new(&list(&all), None);
    lists.update(&list(&(5..=36).collect::<Vec<u8>>()));
    assert_eq!(lists.ring(), list(&(5..=36).collect::<Vec<u8>>()));
    assert_eq!(lists.members().len(), 36);
}
