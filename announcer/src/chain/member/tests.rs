use std::fmt::Write;
use std::net::Ipv4Addr;

use expect_test::expect;
use proptest::prelude::*;

use super::*;
use crate::chain::heartbeat::{Families, ListDigest, NextHops};
use crate::chain::ring::MemberObservation;
use crate::chain::test_packets::TestPacketReport;

const MS: Duration = Duration::from_millis(1);
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 11));
const THEIRS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 12));

fn start(number: u128) -> HeartbeatStart {
    HeartbeatStart::new(number).unwrap()
}

fn heartbeat(header: Header, presence: MemberPresence) -> Heartbeat {
    let facts = Facts {
        interval: 100 * MS,
        rules: Families::BOTH,
        presence,
        switched_off: false,
        next_hops: NextHops::default(),
        members: ListDigest::default(),
        services: ListDigest::default(),
    };
    Heartbeat {
        header,
        facts,
        test_packets: TestPacketReport::default(),
        about_receiver: AboutReceiver::default(),
        answer: None,
        intent: None,
        vips: Vec::new(),
    }
}

/// One end of a pair, which sends and receives.
fn end(own: IpAddr, member: IpAddr, number: u128, now: Instant) -> Member {
    Member::new(MemberSettings { own, member, interval: 100 * MS }, start(number), now)
}

/// All heartbeats that an end sends now.
fn sent(member: &mut Member, presence: MemberPresence, now: Instant) -> Vec<Heartbeat> {
    std::iter::from_fn(|| member.transmit(now)).map(|header| heartbeat(header, presence)).collect()
}

/// Both ends exchange everything that is due now, without delay.
fn exchange(a: &mut Member, b: &mut Member, now: Instant) {
    loop {
        let (from_a, from_b) = (sent(a, MemberPresence::Here, now), sent(b, MemberPresence::Here, now));
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        from_a
            .iter()
            .for_each(|heartbeat| assert!(b.receive(heartbeat, now) != Err(HeartbeatDropReason::Counter)));
        from_b
            .iter()
            .for_each(|heartbeat| assert!(a.receive(heartbeat, now) != Err(HeartbeatDropReason::Counter)));
    }
}

/// Two ends that know each other.
fn pair(now: Instant) -> (Member, Member) {
    let (mut a, mut b) = (end(OURS, THEIRS, 1, now), end(THEIRS, OURS, 2, now));
    exchange(&mut a, &mut b, now);
    assert_eq!((a.state(), b.state()), (MemberState::Alive, MemberState::Alive));
    (a, b)
}

#[test]
fn labels_differ() {
    let labels: std::collections::BTreeSet<_> = MemberState::ALL.iter().map(|state| state.label()).collect();
    assert_eq!(labels.len(), MemberState::ALL.len());
}

/// A column is half an interval, 50 ms. What arrives: `+` a heartbeat, `k` an answer of the kernel, `L` a heartbeat that says left, `-`
/// nothing. The state after that: `a` alive, `?` asked, `s` silent, `d` dead, `l` left. `!`: the kernel is asked in this column.
#[test]
fn tiny_pictures() {
    for (arrives, states, asked) in [
        ("+-+-+-", "aaaaaa", "      "),
        ("+---+-", "aaa?aa", "   !  "),
        ("+------+-", "aaa???daa", "   !!!   "),
        ("+--------", "aaa???ddd", "   !!!   "),
        ("+--k--+-", "aaasssaa", "   !    "),
        // The kernel answers: it is asked again, at first every 1.5 intervals, and three times before the member is dead.
        (
            "+---k--k--k--k--k--k--k-------------------k----",
            "aaa?sssssssssssssssssssssssssssssssssssssssssss",
            "   !!  !  !  !  !  !  !                   !    ",
        ),
        ("+---k------", "aaa?ssssssd", "   !!  !!! "),
        ("+-----k-", "aaa???dd", "   !!!  "),
        ("+-L-------+", "aalllllllla", "           "),
    ] {
        let begin = Instant::now();
        let (mut ours, mut theirs) = pair(begin);
        let (mut seen, mut questions) = (String::new(), String::new());
        for (column, what) in arrives.chars().enumerate() {
            let now = begin + 50 * MS * u32::try_from(column).unwrap();
            for heartbeat in sent(&mut ours, MemberPresence::Here, now) {
                theirs.receive(&heartbeat, now).unwrap();
            }
            let presence = if what == 'L' { MemberPresence::Left } else { MemberPresence::Here };
            if "+L".contains(what) {
                theirs.hurry();
                theirs.hurried = None;
                for heartbeat in sent(&mut theirs, presence, now) {
                    ours.receive(&heartbeat, now).unwrap();
                }
            }
            ours.expire(now);
            questions.push(if ours.ask(now) { '!' } else { ' ' });
            if what == 'k' {
                ours.kernel_answered(now);
            }
            seen.push(match ours.state() {
                MemberState::Unknown => 'u',
                MemberState::Alive => 'a',
                MemberState::Asked => '?',
                MemberState::Silent => 's',
                MemberState::Dead => 'd',
                MemberState::Left => 'l',
            });
        }
        assert_eq!((seen.as_str(), questions.as_str()), (states, asked), "{arrives}");
    }
}

/// As in [`tiny_pictures`], of a member that the former process has known. A capital letter of the state: it is awaited.
#[test]
fn a_member_of_the_former_ring_is_asked_until_it_is_heard() {
    for (arrives, states, asked) in [
        ("-------------------", "??????ddddddddddddd", "!!!!!!             "),
        ("k------------------", "ssssssddddddddddddd", "!  !!!             "),
        ("k--k--k--k--k--k--k", "sssssssssssssssssss", "!  !  !  !  !  !  !"),
        ("--+-+-+-", "??aaaaaa", "!!!     "),
        ("k-+-----", "ssaaa???", "!    !!!"),
        ("--L-----", "??llllll", "!!!     "),
    ] {
        let begin = Instant::now();
        let (_, mut theirs) = pair(begin);
        let said = Said {
            facts: heartbeat(theirs.transmit(begin + 100 * MS).unwrap(), MemberPresence::Here).facts,
            about_us: AboutReceiver::default(),
        };
        let settings = MemberSettings { own: OURS, member: THEIRS, interval: 100 * MS };
        let mut ours = Member::former(settings, start(3), said, begin);
        assert_eq!((ours.said(), ours.last_heartbeat()), (Some(&said), None));
        let (mut seen, mut questions) = (String::new(), String::new());
        for (column, what) in arrives.chars().enumerate() {
            let now = begin + 50 * MS * u32::try_from(column).unwrap();
            for heartbeat in sent(&mut ours, MemberPresence::Here, now) {
                let _ = theirs.receive(&heartbeat, now); // the first one of a start is only heard
            }
            ours.expire(now);
            questions.push(if ours.ask(now) { '!' } else { ' ' });
            if what == 'k' {
                ours.kernel_answered(now);
            }
            if "+L".contains(what) {
                let presence = if what == 'L' { MemberPresence::Left } else { MemberPresence::Here };
                theirs.hurry();
                theirs.hurried = None;
                for heartbeat in sent(&mut theirs, presence, now) {
                    ours.receive(&heartbeat, now).unwrap();
                }
            }
            seen.push(match ours.state() {
                MemberState::Unknown => 'u',
                MemberState::Alive => 'a',
                MemberState::Asked => '?',
                MemberState::Silent => 's',
                MemberState::Dead => 'd',
                MemberState::Left => 'l',
            });
            let unheard = "?s".contains(seen.chars().last().unwrap()) && ours.last_heartbeat().is_none();
            assert_eq!(ours.awaited(now), unheard && now < begin + 800 * MS, "{arrives} {column}");
        }
        assert_eq!((seen.as_str(), questions.as_str()), (states, asked), "{arrives}");
    }
}

/// What happens, in the words of the picture at the head of the module, and what is sent.
#[test]
fn transcript() {
    let begin = Instant::now();
    let mut ours = end(OURS, THEIRS, 0xa, begin);
    let mut text = String::new();
    // The time in ms; start, counter and returned counter of a heartbeat, or what else happens.
    for (ms, start_counter_returned) in [
        (0, None),
        (1, Some((0xb, 1, 0))),
        (2, Some((0xb, 2, 2))),
        (100, None),
        (102, Some((0xb, 3, 3))),
        (103, Some((0xb, 3, 3))),
        (200, None),
        (210, Some((0xc, 1, 0))),
        (211, Some((0xb, 9, 4))),
        (212, Some((0xc, 2, 4))),
        (300, None),
        (313, Some((0xc, 3, 6))),
        (500, None),
        (613, None),
    ] {
        let now = begin + MS * ms;
        let what = match start_counter_returned {
            None => "time passes".to_owned(),
            Some((theirs, counter, returned)) => {
                let returned_heartbeat = Returned { start: start(0xa), counter: returned };
                let returns = Returns { accepted: (returned > 0).then_some(returned_heartbeat), heard: None };
                let header =
                    Header { sender: THEIRS, receiver: OURS, start: start(theirs), counter, returns };
                let result = match ours.receive(&heartbeat(header, MemberPresence::Here), now) {
                    Ok(_) => "counts".to_owned(),
                    Err(reason) => reason.label().to_owned(),
                };
                format!("{theirs:x}{counter} returns {returned}: {result}")
            }
        };
        ours.expire(now);
        let mut does = String::new();
        if ours.ask(now) {
            does += " ask";
        }
        while let Some(header) = ours.transmit(now) {
            write!(does, " send {}", header.counter).unwrap();
            for (word, returned) in [("accepted", header.returns.accepted), ("heard", header.returns.heard)] {
                if let Some(returned) = returned {
                    write!(does, " {word} {:x}{}", returned.start.get(), returned.counter).unwrap();
                }
            }
        }
        let due = ours.deadline().duration_since(begin).as_millis();
        writeln!(text, "{ms:>3} {what:<28} {:<8} due {due:>3}{does}", ours.state()).unwrap();
    }
    expect![[r#"
          0 time passes                  unknown  due 100 send 1
          1 b1 returns 0: not_returned   unknown  due 100 send 2 heard b1
          2 b2 returns 2: counts         alive    due  26
        100 time passes                  alive    due 152 send 3 accepted b2
        102 b3 returns 3: counts         alive    due 200
        103 b3 returns 3: counter        alive    due 200
        200 time passes                  alive    due 252 send 4 accepted b3
        210 c1 returns 0: not_returned   alive    due 252 send 5 accepted b3 heard c1
        211 b9 returns 4: counts         alive    due 300
        212 c2 returns 4: earlier_start  alive    due 235
        300 time passes                  alive    due 361 send 6 accepted b9 heard c2
        313 c3 returns 6: counts         alive    due 400 send 7 accepted c3
        500 time passes                  asked    due 550 ask send 8 accepted c3
        613 time passes                  asked    due 650 ask send 9 accepted c3
    "#]]
    .assert_eq(&text);
}

#[test]
fn a_restarted_daemon_is_back_within_one_round_trip() {
    let begin = Instant::now();
    for restart in [130, 160, 500] {
        let (mut ours, _) = pair(begin);
        let now = begin + MS * restart;
        let _ = ours.expire(now);
        sent(&mut ours, MemberPresence::Here, now);
        let mut again = end(THEIRS, OURS, 3, now);
        let [first] = &sent(&mut again, MemberPresence::Here, now)[..] else { panic!() };
        assert_eq!(ours.receive(first, now), Err(HeartbeatDropReason::NotReturned));
        let at_once = now + MS;
        let [answer] = &sent(&mut ours, MemberPresence::Here, at_once)[..] else {
            panic!("it is answered at once")
        };
        again.receive(answer, at_once).unwrap();
        let [second] = &sent(&mut again, MemberPresence::Here, at_once + MS)[..] else {
            panic!("so is the answer")
        };
        ours.receive(second, at_once + MS).unwrap();
        assert_eq!((ours.state(), again.state()), (MemberState::Alive, MemberState::Alive));
        assert_eq!(ours.accepted.unwrap().start, start(3));
    }
}

#[test]
fn after_a_pause_of_our_own_thread_the_kernel_gets_its_time_to_answer() {
    let begin = Instant::now();
    let (mut ours, _) = pair(begin);
    let now = begin + Duration::from_secs(20);
    assert_eq!(ours.expire(now).unwrap().to, MemberState::Asked);
    assert!(ours.ask(now));
    assert_eq!(ours.expire(now + 149 * MS), None);
    assert_eq!(ours.kernel_answered(now + 149 * MS).unwrap().to, MemberState::Silent);
}

#[test]
fn a_silent_member_stays_for_thirty_seconds() {
    let begin = Instant::now();
    let (mut ours, _) = pair(begin);
    let mut questions = 0;
    for ms in (0..40_000).step_by(10) {
        let now = begin + MS * ms;
        let change = ours.expire(now);
        if ours.ask(now) {
            questions += 1;
            ours.kernel_answered(now);
        }
        assert_eq!(change.is_some_and(|change| change.to == MemberState::Dead), ms == 30_000, "{ms}");
    }
    assert_eq!(questions, 35, "7 in the first second");
}

#[test]
fn two_sides_that_were_apart_find_each_other_again() {
    let begin = Instant::now();
    let (mut ours, mut theirs) = pair(begin);
    for tenth in 1..100 {
        let now = begin + 100 * MS * tenth;
        for member in [&mut ours, &mut theirs] {
            member.expire(now);
            member.ask(now);
            sent(member, MemberPresence::Here, now);
        }
    }
    assert_eq!(ours.state(), MemberState::Dead);
    exchange(&mut ours, &mut theirs, begin + Duration::from_secs(10));
    assert_eq!((ours.state(), theirs.state()), (MemberState::Alive, MemberState::Alive));
}

#[test]
fn replays_do_not_flood() {
    let begin = Instant::now();
    let (mut ours, mut theirs) = pair(begin);
    let old = sent(&mut theirs, MemberPresence::Here, begin + 100 * MS).remove(0);
    let mut count = 0;
    for ms in 0..1000 {
        let now = begin + MS * ms;
        let mut replay = old.clone();
        replay.header.start = start(u128::from(ms + 100));
        replay.header.returns = Returns::default();
        assert_eq!(ours.receive(&replay, now), Err(HeartbeatDropReason::NotReturned));
        count += sent(&mut ours, MemberPresence::Here, now).len();
    }
    assert!((10..=50).contains(&count), "{count} heartbeats in a second");
}

/// While it says so it waits for a silent member, and others still forward to it.
#[test]
fn a_member_that_has_left_lingers_after_its_last_heartbeat() {
    let begin = Instant::now();
    let (mut a, mut b) = pair(begin);
    for tenth in 1..=20 {
        let now = begin + 100 * MS * tenth;
        sent(&mut a, MemberPresence::Here, now).iter().for_each(|heartbeat| _ = b.receive(heartbeat, now));
        sent(&mut b, MemberPresence::Left, now).iter().for_each(|heartbeat| _ = a.receive(heartbeat, now));
    }
    for (tenth, lingers) in [(20, true), (35, true), (36, false)] {
        let observed = MemberObservation::of(&a, begin + 100 * MS * tenth);
        assert_eq!((observed.state, observed.lingers), (MemberState::Left, lingers), "{tenth}");
    }
}

proptest! {
    /// Of three heartbeats in a row at least one arrives, in each direction; daemons restart; and every heartbeat that was ever sent, also
    /// one that never arrived, may arrive again at any time.
    #[test]
    fn replays_neither_revive_nor_kill(seed in any::<u64>()) {
        let mut luck = fastrand::Rng::with_seed(seed);
        let begin = Instant::now();
        let mut ends = [end(OURS, THEIRS, 1, begin), end(THEIRS, OURS, 2, begin)];
        let mut recorded: [Vec<(Heartbeat, bool)>; 2] = [Vec::new(), Vec::new()]; // from each end, and whether it arrived
        let mut lost = [0, 0];
        let mut round = 0;
        let mut next_start = 3;
        let mut known = [false, false];
        while round < 60 {
            let now = begin + 100 * MS * round;
            round += 1;
            if luck.u8(..12) == 0 {
                let who = luck.usize(..2);
                let (own, member) = if who == 0 { (OURS, THEIRS) } else { (THEIRS, OURS) };
                ends[who] = end(own, member, next_start, now);
                (next_start, known[who]) = (next_start + 1, false);
            }
            for who in 0..2 {
                for heartbeat in sent(&mut ends[who], MemberPresence::Here, now) {
                    let arrives = lost[who] == 2 || luck.bool();
                    lost[who] = if arrives { 0 } else { lost[who] + 1 };
                    if arrives {
                        let _ = ends[1 - who].receive(&heartbeat, now);
                    }
                    recorded[who].push((heartbeat, arrives));
                }
                for _ in 0..luck.usize(..4) {
                    let Some((heartbeat, arrived)) = luck.choice(recorded[who].iter_mut()) else { continue };
                    let _ = ends[1 - who].receive(heartbeat, now);
                    *arrived = true;
                }
            }
            for who in 0..2 {
                ends[who].expire(now);
                if ends[who].ask(now) {
                    ends[who].kernel_answered(now);
                }
                known[who] |= ends[who].state() == MemberState::Alive;
                prop_assert!(!known[who] || ends[who].state().lives(), "{} in round {round}", ends[who].state());
            }
        }
        // Now the other end dies.
        let ours = &mut ends[0];
        for after in 0..60 {
            let now = begin + 100 * MS * (round + after);
            sent(ours, MemberPresence::Here, now);
            ours.expire(now);
            ours.ask(now);
            // Its kernel has answered until now, and is asked once a second.
            if after < 15 {
                continue;
            }
            for _ in 0..5 {
                let Some((heartbeat, arrived)) = luck.choice(recorded[1].iter()) else { continue };
                // What never arrived is of no use either after our next heartbeats.
                if *arrived || after > 32 {
                    prop_assert!(ours.receive(heartbeat, now).is_err(), "revived {after} rounds after its death");
                }
            }
            prop_assert!(!ours.state().lives());
        }
    }
}
