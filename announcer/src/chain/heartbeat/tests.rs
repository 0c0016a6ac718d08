use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::octets::width;
use super::*;
use crate::chain::test_packets::TestPacketCounts;

const KEY: &str = "0123456789abcdef";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn start(number: u128) -> HeartbeatStart {
    HeartbeatStart::new(number).unwrap()
}

fn keys() -> Keys {
    Keys::parse(KEY).unwrap()
}

/// A heartbeat with something in every field.
fn example() -> Heartbeat {
    let number = NonZeroU32::new;
    Heartbeat {
        header: Header {
            sender: ip("10.0.1.12"),
            receiver: ip("10.0.1.11"),
            start: start(0x1122_3344_5566_7788),
            counter: 7,
            returns: Returns { accepted: Some(Returned { start: start(0x99), counter: 6 }), heard: None },
        },
        facts: Facts {
            interval: Duration::from_millis(100),
            rules: Families::BOTH,
            presence: MemberPresence::Here,
            switched_off: false,
            next_hops: NextHops {
                v4: Some(Ipv4Addr::new(10, 0, 1, 12)),
                v6: Some("2001:db8:1::12".parse().unwrap()),
            },
            members: ListDigest(*b"members!"),
            services: ListDigest(*b"services"),
        },
        test_packets: TestPacketReport {
            readings: 3,
            v4: TestPacketCounts { arrived: 10, changed: 1, delivered: 9 },
            v6: TestPacketCounts { arrived: u32::MAX - 1, changed: 0, delivered: 7 },
        },
        about_receiver: AboutReceiver {
            in_ring: Families { v4: false, v6: true },
            believed: Families { v4: true, v6: false },
            known: true,
        },
        answer: Some(IntentAnswer { number: number(5).unwrap(), verdict: IntentVerdict::Accepted }),
        intent: Some(Intent {
            kind: IntentKind::Drain,
            phase: IntentPhase::Asked,
            number: number(3).unwrap(),
            scope: IntentScope::of([ip("2001:db8::80"), ip("192.0.2.80"), ip("192.0.2.80")]),
        }),
        vips: vec![
            (ip("192.0.2.80"), MemberVipState::Announced),
            (ip("192.0.2.81"), MemberVipState::Drained),
            (ip("2001:db8::80"), MemberVipState::LastChoice),
        ],
    }
}

/// What another program has made of [`example`], from the picture at the head of the module.
const EXAMPLE: &str = "\
616e636801021b000186a000000000000000000000ffff0a00010c0000000000\
0000000000ffff0a00010b000000000000000011223344556677880000000000\
0000070000000000000000000000000000009900000000000000060000000000\
000000000000000000000000000000000000000a00010c20010db80001000000\
000000000000126d656d62657273217365727669636573000000030000000a00\
00000100000009fffffffe000000000000000701000000050100000000030101\
c00002500120010db800000000000000000000008002c000025001c000025103\
0120010db8000000000000000000000080028f2f28c52c9e939c0145e71d4a98\
49385738608899c8fc6b8def697b2582dcb3";

fn decode(octets: &[u8]) -> Result<Heartbeat, HeartbeatDropReason> {
    Heartbeat::decode(octets, ip("10.0.1.12"), ip("10.0.1.11"), &keys())
}

#[test]
fn a_heartbeat_is_written_and_read() {
    let octets = example().encode(&keys());
    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(hex, EXAMPLE);
    assert_eq!(decode(&octets), Ok(example()));
}

#[test]
fn every_rule_by_which_a_heartbeat_is_dropped() {
    let whole = example().encode(&keys());
    for end in 0..whole.len() {
        let reason = decode(&whole[..end]).unwrap_err();
        assert!(
            [HeartbeatDropReason::Length, HeartbeatDropReason::Hmac].contains(&reason),
            "{end} octets: {reason:?}"
        );
    }
    // Each octet changed: the HMAC covers all of them.
    for at in 0..whole.len() {
        let mut octets = whole.clone();
        octets[at] ^= 1;
        let want = match at {
            0..4 => HeartbeatDropReason::Magic,
            4 => HeartbeatDropReason::Version,
            _ => HeartbeatDropReason::Hmac,
        };
        assert_eq!(decode(&octets), Err(want), "octet {at}");
    }
    // With a right HMAC: what is before it is changed, cut or longer.
    let content = &whole[..whole.len() - 32];
    let signed = |content: &[u8]| decode(&keys().sign(content.to_vec())).map(|_| ());
    for end in 5..content.len() {
        assert_eq!(signed(&content[..end]), Err(HeartbeatDropReason::Length), "{end} octets before the HMAC");
    }
    assert_eq!(signed(&[content, &[0]].concat()), Err(HeartbeatDropReason::Length));
    assert_eq!(signed(&[content, &[0; 1200]].concat()), Err(HeartbeatDropReason::Length));
    let with = |changes: &[(usize, u8)]| {
        let mut octets = content.to_vec();
        changes.iter().for_each(|(at, value)| octets[*at] = *value);
        signed(&octets)
    };
    for (what, changes, want) in [
        ("nothing", &[][..], Ok(())),
        ("presence 2", &[(6, 0x80)], Ok(())),
        ("presence 3", &[(6, 0xc0)], Err(HeartbeatDropReason::Value)),
        ("an unknown flag", &[(5, 4)], Err(HeartbeatDropReason::Value)),
        ("an interval of 0", &[(8, 0), (9, 0), (10, 0)], Err(HeartbeatDropReason::Value)),
        ("an interval of a minute", &[(7, 4)], Err(HeartbeatDropReason::Value)),
        (
            "no start",
            &[(51, 0), (52, 0), (53, 0), (54, 0), (55, 0), (56, 0), (57, 0), (58, 0)],
            Err(HeartbeatDropReason::Value),
        ),
        ("another sender", &[(26, 13)], Err(HeartbeatDropReason::Sender)),
        ("another receiver", &[(42, 12)], Err(HeartbeatDropReason::Receiver)),
        ("verdict 3", &[(179, 3)], Err(HeartbeatDropReason::Value)),
        ("a number without a verdict", &[(179, 0)], Err(HeartbeatDropReason::Value)),
        ("a verdict without a number", &[(183, 0)], Err(HeartbeatDropReason::Value)),
        ("kind 4", &[(184, 4)], Err(HeartbeatDropReason::Value)),
        ("phase 2", &[(185, 2)], Err(HeartbeatDropReason::Value)),
        ("an intent without a number", &[(189, 0)], Err(HeartbeatDropReason::Value)),
        ("scope 2", &[(190, 2)], Err(HeartbeatDropReason::Value)),
        ("VIP state 5", &[(218, 5)], Ok(())),
        ("VIP state 6", &[(218, 6)], Err(HeartbeatDropReason::Value)),
    ] {
        assert_eq!(with(changes), want, "{what}");
    }
}

#[test]
fn labels_differ() {
    let labels: BTreeSet<_> = HeartbeatDropReason::ALL.iter().map(|why| why.label()).collect();
    assert_eq!(labels.len(), HeartbeatDropReason::ALL.len());
}

#[test]
fn a_key_is_a_line_and_there_are_one_or_two() {
    let long = "0123456789abcdef0";
    for (text, want) in [
        (KEY.to_owned(), Ok(())),
        (format!("# the key\n\n  {KEY} \r\n"), Ok(())),
        (format!("{KEY}\n{long}\n"), Ok(())),
        (String::new(), Err(KeyError::Empty)),
        (format!("#{KEY}\n \n"), Err(KeyError::Empty)),
        ("0123456789abcde".into(), Err(KeyError::TooShort { line: 1, octets: 15 })),
        (format!("{KEY}\nshort"), Err(KeyError::TooShort { line: 2, octets: 5 })),
        (format!("{KEY}\n# x\n{long}\n{long}1\n"), Err(KeyError::TooMany { line: 4 })),
    ] {
        let keys = Keys::parse(&text);
        assert_eq!(keys.as_ref().map(|_| ()).map_err(|error| *error), want, "{text:?}");
        let said = keys.map_or_else(|error| error.to_string(), |keys| format!("{keys:?}"));
        assert!(!said.contains("0123456789"), "{said}");
    }
}

#[test]
fn two_keys_are_accepted_and_the_first_is_sent() {
    let (old, new) = ("the old key of the chain", "the new key of the chain");
    let parse = |text: String| Keys::parse(&text).unwrap();
    let change =
        [old.to_owned(), format!("{old}\n{new}"), format!("{new}\n{old}"), new.to_owned()].map(parse);
    for (at, sender) in change.iter().enumerate() {
        for (other, receiver) in change.iter().enumerate() {
            let octets = example().encode(sender);
            let read = Heartbeat::decode(&octets, ip("10.0.1.12"), ip("10.0.1.11"), receiver);
            let refused = [(0, 3), (1, 3), (2, 0), (3, 0)].contains(&(at, other));
            assert_eq!(read.is_err(), refused, "{at} to {other}");
        }
    }
}

#[test]
fn an_intent_names_its_vips_or_all() {
    let v4 = |count: u8| (0..count).map(|last| IpAddr::from([192, 0, 2, last]));
    assert_eq!(IntentScope::of(v4(64)), IntentScope::Vips(v4(64).collect()));
    assert_eq!(IntentScope::of(v4(65)), IntentScope::All);
    assert_eq!(IntentScope::of([ip("::ffff:192.0.2.1")]), IntentScope::of([ip("192.0.2.1")]));
    let of = |vips: &[&str]| IntentScope::of(vips.iter().map(|vip| ip(vip)));
    for (one, other, want) in [
        (IntentScope::All, IntentScope::All, true),
        (IntentScope::All, of(&["192.0.2.1"]), true),
        (IntentScope::All, of(&[]), false),
        (of(&["192.0.2.1"]), of(&["192.0.2.2"]), false),
        (of(&["192.0.2.1", "192.0.2.2"]), of(&["192.0.2.2"]), true),
    ] {
        assert_eq!((one.overlaps(&other), other.overlaps(&one)), (want, want), "{one:?}, {other:?}");
    }
}

#[test]
fn digests_depend_on_what_matters() {
    let (a, b) = (ip("10.0.1.11"), ip("10.0.1.12"));
    assert_eq!(ListDigest::of_members(&[a, b]), ListDigest::of_members(&[b, a]), "the order");
    assert_ne!(ListDigest::of_members(&[a, b]), ListDigest::of_members(&[a]), "a member");
    assert_eq!(ListDigest::of_members(&[a]).to_string(), "21dff5faad822a4b");
    let services = |list: &[(IpAddr, &[u16])]| {
        ListDigest::of_services(
            &list
                .iter()
                .map(|(vip, ports)| (*vip, ports.iter().copied().collect()))
                .collect::<BTreeMap<_, BTreeSet<_>>>(),
        )
    };
    assert_eq!(services(&[(a, &[80, 443]), (b, &[80])]), services(&[(b, &[80]), (a, &[443, 80])]));
    assert_ne!(services(&[(a, &[80]), (b, &[])]), services(&[(a, &[]), (b, &[80])]));
    assert_ne!(services(&[(a, &[80])]), services(&[(a, &[443])]));
}

/// A table of this many VIPs, every fifth of them IPv6.
fn table(count: u16, state: MemberVipState) -> Vec<(IpAddr, MemberVipState)> {
    let vip = |index: u16| match index % 5 {
        0 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, index]),
        _ => IpAddr::from([10, 1, (index >> 8) as u8, index as u8]),
    };
    (0..count).map(|index| (vip(index), state)).collect()
}

#[test]
fn every_vip_is_in_a_bounded_number_of_pages_and_changes_come_first() {
    for count in [1, 70, 300, 1500] {
        let mut vips = VipTable::default();
        let mut states = table(count, MemberVipState::Starting);
        assert!(vips.set(states.clone()));
        assert!(!vips.set(states.clone()));
        let mut cursor = PageCursor::default();
        let octets: usize = states.iter().map(|(vip, _)| width(*vip) + 1).sum();
        let bound = octets.div_ceil(336) + 2;
        // The first changes are all sent eight times. After that, there is only the rotation.
        let pages = (0..).take_while(|_| !vips.page(&mut cursor).is_empty()).take(9 * bound).count();
        assert_eq!(pages, 9 * bound);
        for round in 0..3 {
            let sent: BTreeSet<IpAddr> =
                (0..bound).flat_map(|_| vips.page(&mut cursor)).map(|(vip, _)| vip).collect();
            assert_eq!(sent.len(), usize::from(count), "round {round} of {count}");
        }
        // One change, and one removal.
        states[usize::from(count) / 2].1 = MemberVipState::Announced;
        let removed = if count > 1 { states.pop() } else { None };
        vips.set(states.clone());
        let changed = states[usize::from(count) / 2];
        for page in 0..REPEATS {
            let page_now = vips.page(&mut cursor);
            assert!(page_now.contains(&changed), "page {page} of {count}");
            if let Some((vip, _)) = removed {
                assert!(page_now.contains(&(vip, MemberVipState::Removed)), "page {page} of {count}");
            }
        }
        // While changes go on, the rotation goes on.
        let mut sent = BTreeSet::new();
        for round in 0..bound {
            let state = MemberVipState::ALL[round % 3];
            vips.set(states.iter().map(|(vip, _)| (*vip, state)));
            sent.extend(vips.page(&mut cursor).into_iter().map(|(vip, _)| vip));
        }
        assert!(states.iter().all(|(vip, _)| sent.contains(vip)), "{count}");
    }
}

#[test]
fn removed_vips_are_forgotten() {
    let mut vips = VipTable::default();
    for round in 0..20_u16 {
        vips.set(
            (0..100_u8).map(|last| (IpAddr::from([10, 9, round as u8, last]), MemberVipState::Announced)),
        );
    }
    assert_eq!(vips.state(ip("10.9.8.1")), None);
    assert_eq!(vips.state(ip("10.9.9.1")), Some(MemberVipState::Removed));
    assert_eq!(vips.state(ip("10.9.19.1")), Some(MemberVipState::Announced));
}

#[test]
fn the_longest_heartbeat_has_a_whole_page() {
    let v6 = |index: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 1, index]);
    for states in [
        table(5000, MemberVipState::Drained),
        (0..500).map(|index| (v6(index), MemberVipState::Drained)).collect(),
    ] {
        let mut vips = VipTable::default();
        vips.set(states);
        let mut heartbeat = Heartbeat { vips: vips.page(&mut PageCursor::default()), ..example() };
        heartbeat.intent.as_mut().unwrap().scope = IntentScope::of((0..16).map(v6));
        let octets = heartbeat.encode(&keys());
        assert!((1100..=MAX_LENGTH).contains(&octets.len()), "{} octets", octets.len());
        assert_eq!(decode(&octets), Ok(heartbeat));
    }
    // Whatever is given, it is no longer than that.
    let mut heartbeat = Heartbeat { vips: table(5000, MemberVipState::Drained), ..example() };
    heartbeat.vips.sort();
    heartbeat.intent.as_mut().unwrap().scope = IntentScope::Vips((0..500).map(v6).collect());
    let octets = heartbeat.encode(&keys());
    assert!(octets.len() <= MAX_LENGTH);
    assert_eq!(decode(&octets).unwrap().intent.unwrap().scope, IntentScope::All);
}

proptest! {
    #[test]
    fn whatever_is_signed_is_read_or_refused(
        change in proptest::collection::vec((5..242_usize, any::<u8>()), 0..8), end in 5..243_usize,
    ) {
        let whole = example().encode(&keys());
        let mut content = whole[..whole.len() - 32].to_vec();
        change.iter().for_each(|(at, value)| content[*at] = *value);
        content.truncate(end.max(content.len() * usize::from(end > 100)));
        if let Ok(heartbeat) = decode(&keys().sign(content)) {
            prop_assert_eq!(decode(&heartbeat.encode(&keys())), Ok(heartbeat));
        }
    }
}
