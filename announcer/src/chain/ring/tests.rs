use std::time::Duration;

use super::*;
use crate::chain::heartbeat::{AboutReceiver, Facts, ListDigest, NextHops};

const MS: Duration = Duration::from_millis(1);

pub(super) fn address(index: u8) -> IpAddr {
    IpAddr::from([10, 0, 1, index])
}

fn own(index: u8) -> Own {
    Own {
        address: address(index),
        wanted: Families { v4: true, v6: false },
        switched_off: false,
        presence: MemberPresence::Here,
        members: ListDigest::default(),
    }
}

/// A member that lives, has its rules for IPv4, believes us and has us in its ring.
pub(super) fn healthy(index: u8, now: Instant) -> MemberObservation {
    let v4 = Families { v4: true, v6: false };
    let facts = Facts {
        interval: 100 * MS,
        rules: v4,
        presence: MemberPresence::Here,
        switched_off: false,
        next_hops: NextHops { v4: Some([10, 0, 2, index].into()), v6: None },
        members: ListDigest::default(),
        services: ListDigest::default(),
    };
    let about_us = AboutReceiver { in_ring: v4, believed: v4, known: true };
    let said = Some(Said { facts, about_us });
    MemberObservation { heard_since: Some(now), ..MemberObservation::in_state(MemberState::Alive, now, said) }
}

/// Each letter is a member of the list, numbered from 1 on: `O` we, `+` healthy, `?` asked, `s` silent, `l` leaving, `d` dead, `u`
/// unknown, `L` has left, `o` switched off, `r` without rules, `a` without an address, `b` does not believe us, `n` added by a reload while
/// lists differ, `m` removed by a reload, after all have agreed: it is not in the list.
fn world(letters: &str, now: Instant) -> (Vec<IpAddr>, Own, BTreeMap<IpAddr, MemberObservation>) {
    let mut us = own(0);
    let mut others = BTreeMap::new();
    let mut list = Vec::new();
    for (index, letter) in (1_u8..).zip(letters.chars()) {
        if letter != 'm' {
            list.push(address(index));
        }
        if letter == 'O' {
            us = own(index);
            continue;
        }
        let mut observed = healthy(index, now);
        let said = observed.said.as_mut().unwrap();
        match letter {
            '+' => {}
            '?' => observed.state = MemberState::Asked,
            's' => observed.state = MemberState::Silent,
            'd' => observed.state = MemberState::Dead,
            'L' => observed.state = MemberState::Left,
            'u' => (observed.state, observed.said) = (MemberState::Unknown, None),
            'l' => said.facts.presence = MemberPresence::Leaving,
            'o' => said.facts.switched_off = true,
            'r' => said.facts.rules = Families::NONE,
            'a' => said.facts.next_hops.v4 = None,
            'n' => observed.added = true,
            'm' => {}
            'b' => said.about_us.believed = Families::NONE,
            other => panic!("{other}"),
        }
        others.insert(address(index), observed);
    }
    (list, us, others)
}

#[test]
fn the_next_member_is_the_next_one_of_the_list_that_is_in_the_ring() {
    let now = Instant::now();
    for (letters, want) in [
        ("O", None),
        ("Od", None),
        ("O+", Some((2, 2))),
        ("+O", Some((1, 2))),
        ("O++", Some((2, 3))),
        ("++O", Some((1, 3))),
        ("+O+", Some((3, 3))),
        ("Odu+", Some((4, 2))),
        ("O?sl", Some((2, 4))),
        // Members without rules, or that do not believe us, may be in the rings of others already.
        ("OdLuorab+", Some((9, 4))),
        ("O+r", Some((2, 3))),
        ("O+b", Some((2, 3))),
        ("O+n", Some((2, 3))),
        ("On+", Some((3, 3))),
        ("dOLuorab", None),
        ("s?+Od", Some((1, 4))),
        ("O+++++++++++++++++++++++++++++++", Some((2, 32))),
        ("+++++++++++++++++++++++++++++++O", Some((1, 32))),
    ] {
        let (list, own, others) = world(letters, now);
        let ring = Ring::new(&list, &own, &others);
        let got = ring.v4.map(|forwarding| (forwarding.next, forwarding.via, forwarding.length));
        let want = want.map(|(next, length)| (address(next), IpAddr::from([10, 0, 2, next]), length));
        assert_eq!(got, want, "{letters}");
        assert_eq!(ring.v6, None, "{letters}");
        assert_eq!(ring.forwarding(Family::V4), ring.v4.as_ref());
        assert_eq!(ring.entries.len(), list.len());
    }
}

#[test]
fn each_member_that_is_not_in_the_ring_has_its_reason() {
    let (list, us, others) = world("O+dLuorabn", Instant::now());
    let reasons = |own: &Own| -> Vec<_> {
        Ring::new(&list, own, &others).entries.iter().map(|entry| entry.v4.map(Absence::label)).collect()
    };
    let want = [
        None,
        None,
        Some("dead"),
        Some("left"),
        Some("unknown"),
        Some("switched_off"),
        Some("no_rules"),
        Some("no_address"),
        Some("not_believed"),
        Some("not_agreed"),
    ];
    assert_eq!(reasons(&us), want);
    let off = Own { switched_off: true, ..us };
    assert_eq!(reasons(&off)[0], Some("switched_off"));
    assert_eq!(Ring::new(&list, &off, &others).v4, None);
    assert_eq!(Ring::new(&list, &us, &others).has(address(2)), Families { v4: true, v6: false });
    assert_eq!(Ring::new(&list, &us, &others).has(address(99)), Families::NONE);
}

#[test]
fn the_order_of_the_list_does_not_matter() {
    let (mut list, us, others) = world("+O+u+", Instant::now());
    let ring = Ring::new(&list, &us, &others);
    list.reverse();
    assert_eq!(Ring::new(&list, &us, &others), ring);
}

#[test]
fn while_lists_differ_a_packet_may_make_as_many_hops_as_a_mark_can_count() {
    for (letters, length) in [("O++", 32), ("O+?", 32), ("O+s", 32), ("O+d", 2), ("O+L", 2), ("O+u", 2)] {
        let (list, us, mut others) = world(letters, Instant::now());
        if let Some(said) = &mut others.get_mut(&address(3)).unwrap().said {
            said.facts.members = ListDigest([1; 8]);
        }
        assert_eq!(Ring::new(&list, &us, &others).v4.unwrap().length, length, "{letters}");
    }
}

#[test]
fn both_families_have_rings_of_their_own() {
    let (list, mut us, mut others) = world("O++", Instant::now());
    us.wanted = Families::BOTH;
    let said = others.get_mut(&address(3)).unwrap().said.as_mut().unwrap();
    said.facts.rules = Families::BOTH;
    said.about_us.believed = Families::BOTH;
    said.facts.next_hops.v6 = Some("fe80::3".parse().unwrap());
    let ring = Ring::new(&list, &us, &others);
    assert_eq!(ring.v4.map(|v4| (v4.next, v4.length)), Some((address(2), 3)));
    // A member without IPv6 takes no hop of it.
    let v6 = Forwarding { next: address(3), via: "fe80::3".parse().unwrap(), length: 2 };
    assert_eq!(ring.v6, Some(v6));
    assert_eq!(ring.entries[1].absence(Family::V6), Some(Absence::NoRules));
}

#[test]
fn the_first_mark_says_how_many_hops_may_follow() {
    let forwarding = |length| Forwarding { next: address(1), via: address(1), length };
    assert_eq!([2, 3, 32].map(|length| forwarding(length).first_mark()), [33, 34, 63]);
}

#[test]
fn more_than_32_members_of_a_list_are_not_used() {
    let now = Instant::now();
    let list: Vec<IpAddr> = (1..=40).map(address).collect();
    let others = (2..=40).map(|index| (address(index), healthy(index, now))).collect();
    let ring = Ring::new(&list, &own(1), &others);
    assert_eq!((ring.entries.len(), ring.v4.unwrap().length), (32, 32));
    assert_eq!(Ring::new(&[], &own(1), &others).v4, None);
    assert_eq!(Ring::new(&list, &own(40), &others).v4, None, "we are not in the list");
}

/// A capital letter: it is awaited.
#[test]
fn a_ring_is_not_made_before_those_that_can_be_in_it_are_heard() {
    let now = Instant::now();
    for (others, want) in
        [("", true), ("+du", true), ("+U", false), ("?S", false), ("+N", true), ("dnN", true), ("NU", false)]
    {
        let (_, _, mut world) = world(&others.to_lowercase(), now);
        for (observed, letter) in world.values_mut().zip(others.chars()) {
            observed.awaited = letter.is_uppercase();
        }
        assert_eq!(settled(&world), want, "{others}");
    }
}

#[test]
fn a_host_that_starts_waits_for_every_member_that_lives() {
    let now = Instant::now();
    let waits = |letters: &str, change: fn(&mut MemberObservation)| {
        let (list, own, mut others) = world(letters, now);
        if let Some(last) = others.last_entry() {
            change(last.into_mut());
        }
        let ring = Ring::new(&list, &own, &others);
        match start_wait(&own, Some(&ring), &others, now, now + MS) {
            StartWait::Ready => Vec::new(),
            StartWait::Waiting(missing) => missing.members,
            StartWait::Late(_) => panic!("not yet"),
        }
    };
    let (last, nobody): ([IpAddr; 1], [IpAddr; 0]) = ([address(3)], []);
    assert_eq!(waits("O", |_| ()), nobody);
    assert_eq!(waits("O++", |_| ()), nobody);
    assert_eq!(waits("O+d", |_| ()), nobody);
    assert_eq!(waits("O+u", |_| ()), nobody, "it was not heard for long enough");
    assert_eq!(waits("O+u", |last| last.awaited = true), last);
    assert_eq!(waits("O++", |last| last.said.as_mut().unwrap().about_us.in_ring = Families::NONE), last);
    assert_eq!(waits("O+?", |last| last.said.as_mut().unwrap().about_us.in_ring = Families::NONE), last);
    assert_eq!(waits("O+s", |last| last.said.as_mut().unwrap().about_us.in_ring = Families::NONE), last);
    assert_eq!(waits("O+b", |_| ()), last, "it is not in our ring");
    assert_eq!(waits("O+r", |_| ()), last, "it starts too");
    assert_eq!(waits("O+n", |_| ()), nobody, "lists differ");
    assert_eq!(waits("O+m", |_| ()), last, "others may still forward to it");
    assert_eq!(waits("O+m", |last| last.removed = true), nobody, "nobody forwards to it");
    assert_eq!(waits("O+L", |last| last.lingers = true), nobody, "it has just left, and forwards to us");
    let lacks_us = |last: &mut MemberObservation| {
        last.lingers = true;
        last.said.as_mut().unwrap().about_us.in_ring = Families::NONE;
    };
    assert_eq!(waits("O+L", lacks_us), last, "it has just left, and skips us");
    let never_joined = |last: &mut MemberObservation| {
        last.lingers = true;
        let said = last.said.as_mut().unwrap();
        (said.facts.rules, said.about_us.in_ring) = (Families::NONE, Families::NONE);
    };
    assert_eq!(waits("O+L", never_joined), nobody, "it has just left, and was never in a ring");
    for without in ["O+o", "O+a", "O+L"] {
        assert_eq!(
            waits(without, |last| last.said.as_mut().unwrap().about_us.in_ring = Families::NONE),
            nobody
        );
    }
}

/// After a letter of [`world`]: `!` the member has not said that it knows us, `.` it was not heard for long enough, `-` we say to it that we
/// have left.
#[test]
fn a_host_that_starts_joins_when_nobody_can_announce_without_it() {
    let now = Instant::now();
    for (last, change, joins, why) in [
        ('+', '!', true, "it is in our ring"),
        ('b', ' ', false, "it has rules, and is not in our ring"),
        ('r', ' ', true, "it starts too, and waits for us"),
        ('r', '!', false, "it starts too, and may announce before it has heard us"),
        ('n', '!', true, "lists differ, and it is in no ring yet"),
        ('m', ' ', false, "it was removed, and others may still forward to it"),
        ('m', '-', true, "it was removed, and nobody forwards to it"),
        ('a', '!', true, "it takes no part in this family"),
        ('o', '!', true, "it does not forward"),
        ('d', '!', true, "it is dead"),
        ('L', '!', true, "it has left"),
        ('u', ' ', true, "it was waited for"),
        ('u', '.', false, "it may still be heard"),
    ] {
        let (list, us, mut others) = world(&format!("O+{last}"), now);
        let observed = others.get_mut(&address(3)).unwrap();
        match (change, &mut observed.said) {
            ('!', Some(said)) => said.about_us.known = false,
            ('.', _) => observed.awaited = true,
            ('-', _) => observed.removed = true,
            _ => {}
        }
        let ring = Ring::new(&list, &us, &others);
        assert_eq!(may_join(&us, &ring, &others, now, now + 2000 * MS), joins, "{last}{change}: {why}");
        assert!(may_join(&us, &ring, &others, now, now + 1000 * MS), "one second before the deadline");
    }
    // Its daemon has died before it said that its rules are installed.
    let (list, us, mut others) = world("O+r", now);
    let observed = others.get_mut(&address(3)).unwrap();
    observed.state = MemberState::Silent;
    observed.said.as_mut().unwrap().about_us.known = false;
    let ring = Ring::new(&list, &us, &others);
    assert!(may_join(&us, &ring, &others, now, now + 2000 * MS), "a daemon that is dead does not announce");
}

#[test]
fn a_host_that_starts_waits_for_its_rules_and_not_for_ever() {
    let now = Instant::now();
    let (list, us, others) = world("O+", now);
    let missing = Missing { own_rules: true, members: vec![address(2)] };
    let deadline = now + MS;
    assert_eq!(start_wait(&us, None, &others, now, deadline), StartWait::Waiting(missing.clone()));
    assert_eq!(start_wait(&us, None, &others, deadline, deadline), StartWait::Late(missing));
    let ring = Ring::new(&list, &us, &others);
    assert_eq!(start_wait(&us, Some(&ring), &others, deadline, deadline), StartWait::Ready);
    let off = Own { switched_off: true, ..us };
    assert_eq!(start_wait(&off, None, &others, now, deadline), StartWait::Ready);
}

#[test]
fn a_host_that_stops_stays_until_its_last_flow_has_ended() {
    use LeavingStep::{RemoveRules, SayLeft, Stay};
    let begin = Instant::now();
    let (_, _, mut others) = world("O+", begin);
    let run = |others: &BTreeMap<IpAddr, MemberObservation>, flows: fn(u32) -> usize| {
        let mut leaving = Leaving::new(begin + 800 * MS);
        let steps: Vec<LeavingStep> = (0..30)
            .map(|tenth| leaving.step(flows(tenth), others, 100 * MS, begin + 100 * MS * tenth))
            .collect();
        let count = |what| steps.iter().filter(|step| **step == what).count();
        assert!(
            steps.is_sorted_by_key(|step| [Stay, SayLeft, RemoveRules].iter().position(|one| one == step))
        );
        (count(Stay), count(SayLeft))
    };
    assert_eq!(run(&others, |_| 0), (0, 15), "somebody does not hear us");
    assert_eq!(run(&others, |tenth| usize::from(tenth < 5)), (5, 15));
    assert_eq!(run(&others, |_| 1), (8, 15), "the deadline");
    others.get_mut(&address(2)).unwrap().said.as_mut().unwrap().about_us.in_ring = Families::NONE;
    assert_eq!(run(&others, |tenth| usize::from(tenth < 5)), (5, 4), "nobody has us in a ring");
    others.get_mut(&address(2)).unwrap().said.as_mut().unwrap().about_us.in_ring = Families::BOTH;
    others.get_mut(&address(2)).unwrap().state = MemberState::Silent;
    assert_eq!(run(&others, |_| 0), (0, 30), "its rules go on forwarding to us");
    others.get_mut(&address(2)).unwrap().said.as_mut().unwrap().about_us.in_ring = Families::NONE;
    assert_eq!(run(&others, |_| 0), (0, 30), "its rules may have changed after its last heartbeat");
    others.get_mut(&address(2)).unwrap().said.as_mut().unwrap().about_us.in_ring = Families::BOTH;
    let mut leaving = Leaving::new(begin);
    assert_eq!(leaving.step(0, &others, 100 * MS, begin + 1000 * MS), SayLeft);
    others.get_mut(&address(2)).unwrap().state = MemberState::Alive;
    assert_eq!(
        leaving.step(0, &others, 100 * MS, begin + 2400 * MS),
        SayLeft,
        "its new daemon needs its time"
    );
    assert_eq!(leaving.step(0, &others, 100 * MS, begin + 2500 * MS), RemoveRules);
    others.get_mut(&address(2)).unwrap().said.as_mut().unwrap().about_us.in_ring = Families::NONE;
    for (silent, heard_since, left) in [(5, 0, 8), (0, 5, 9), (0, 0, 4)] {
        let mut leaving = Leaving::new(begin);
        let steps = (0..30).map(|tenth| {
            let state = if tenth < silent { MemberState::Silent } else { MemberState::Alive };
            let observed = others.get_mut(&address(2)).unwrap();
            (observed.state, observed.heard_since) = (state, Some(begin + 100 * MS * heard_since.min(tenth)));
            leaving.step(0, &others, 100 * MS, begin + 100 * MS * tenth)
        });
        let said = steps.filter(|step| *step == SayLeft).count();
        assert_eq!(said, left, "its new daemon has to hear that we have left");
    }
    others.get_mut(&address(2)).unwrap().said.as_mut().unwrap().about_us.in_ring = Families::BOTH;
    others.get_mut(&address(2)).unwrap().heard_since = Some(begin);
    others.get_mut(&address(2)).unwrap().state = MemberState::Left;
    assert_eq!(run(&others, |_| 0), (0, 4), "it has left long ago");
    others.get_mut(&address(2)).unwrap().lingers = true;
    assert_eq!(run(&others, |_| 0), (0, 15), "it still forwards what it gets");
    others.get_mut(&address(2)).unwrap().state = MemberState::Dead;
    assert_eq!(run(&others, |_| 0), (0, 4), "it is dead");
    assert_eq!(Leaving::new(begin).presence(), MemberPresence::Leaving);
}

#[test]
fn a_member_is_believed_longer_than_anybody_forwards_to_us() {
    let now = Instant::now();
    let mut believed = Believed::default();
    believed.update([address(1), address(2)], now);
    assert_eq!(believed.deadline(), None);
    believed.update([address(2)], now);
    let end = now + BELIEF_LINGER;
    assert_eq!(believed.deadline(), Some(end));
    assert!(!believed.expire(end - MS));
    assert_eq!(believed.iter().count(), 2);
    believed.update([address(2)], now + MS);
    assert_eq!(believed.deadline(), Some(end), "another reload does not prolong it");
    assert!(believed.expire(end));
    assert_eq!(believed.iter().collect::<Vec<_>>(), [address(2)]);
    believed.update([], end);
    believed.update([address(2)], end);
    assert_eq!(believed.deadline(), None, "it is back");
}

#[test]
fn a_member_that_has_just_left_takes_a_hop() {
    let (list, us, mut others) = world("O+L", Instant::now());
    // A reload may have removed it meanwhile, and the rules of another member may still forward to it.
    let lengths = |others: &BTreeMap<IpAddr, MemberObservation>| {
        [&list[..], &list[..2]].map(|list| Ring::new(list, &us, others).v4.unwrap().length)
    };
    assert_eq!(lengths(&others), [2, 2]);
    others.get_mut(&address(3)).unwrap().lingers = true;
    assert_eq!(lengths(&others), [3, 3]);
}

/// The rules of any of them may forward to us while its daemon and ours are dead.
#[test]
fn the_next_daemon_knows_every_member_that_lives_and_forwards() {
    let (_, _, others) = world("O+?slrbnLduoa", Instant::now());
    let has_rules = |presence| {
        let members = others.values().map(|observed| remembered(observed, presence));
        members.map(|said| said.map(|said| said.facts.rules.v4)).collect::<Vec<_>>()
    };
    let (rules, none, unknown) = (Some(true), Some(false), None);
    let kept = [rules, rules, rules, rules, none, rules, rules];
    let ended = [unknown, unknown, unknown, unknown, rules];
    assert_eq!(has_rules(MemberPresence::Here), [&kept[..], &ended[..]].concat());
    assert_eq!(has_rules(MemberPresence::Leaving), [&kept[..], &ended[..]].concat());
    let left = [&[none; 7][..], &[unknown; 4][..], &[none]].concat();
    assert_eq!(has_rules(MemberPresence::Left), left, "it may leave without waiting for us");
}
