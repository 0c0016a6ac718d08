use super::*;
use crate::chain::heartbeat::{Families, ListDigest, MemberPresence};
use crate::chain::ring::Own;
use crate::chain::test_packets::TestPacketState::{Changed, Good, Lost, Stopped, Unknown};

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 1, last])
}

/// This host is 10.0.1.11, and 10.0.1.12 is the next member for IPv4. 10.0.1.13 has been in this state for a minute.
fn status(state: MemberState, contact: ContactReport, now: Instant) -> ChainStatus {
    let since = now.checked_sub(std::time::Duration::from_secs(60)).unwrap();
    let next = crate::chain::ring::Forwarding { next: address(12), via: address(12), length: 2 };
    let own = Own {
        address: address(11),
        wanted: Families::NONE,
        switched_off: false,
        presence: MemberPresence::Here,
        members: ListDigest::default(),
    };
    let ring = Ring { v4: Some(next), ..Ring::new(&[address(11), address(12)], &own, &BTreeMap::new()) };
    // A member that was never heard by this daemon has no last heartbeat.
    let last_heartbeat = now.checked_sub(std::time::Duration::from_secs(10));
    let last_heartbeat = last_heartbeat.filter(|_| state != MemberState::Unknown);
    let member = MemberStatus { state, since, last_heartbeat, facts: None, vips: Arc::default(), contact };
    ChainStatus {
        configured: true,
        own: Some(address(11)),
        ring,
        members: [(address(13), member)].into(),
        port: 9181,
        ..ChainStatus::default()
    }
}

#[test]
fn a_member_that_is_not_heard_is_named_with_what_was_seen() {
    let now = Instant::now();
    let (not_returned, hmac) = (Some(HeartbeatDropReason::NotReturned), Some(HeartbeatDropReason::Hmac));
    for (state, kernel_answers, dropped, want) in [
        (MemberState::Alive, Some(true), hmac, None),
        (MemberState::Asked, None, None, None),
        (MemberState::Left, Some(true), None, None),
        (
            MemberState::Unknown,
            None,
            None,
            Some(
                "member 10.0.1.13 was not heard for 1m: compare `members`, `port` and the key on both hosts, and its packet filter",
            ),
        ),
        (
            MemberState::Unknown,
            Some(false),
            None,
            Some(
                "member 10.0.1.13 was not heard for 1m: neither its heartbeats nor answers of its kernel arrive",
            ),
        ),
        (
            MemberState::Unknown,
            Some(true),
            None,
            Some(
                "member 10.0.1.13 was not heard for 1m, but its kernel answers (ARP or ND): its daemon does not run, or has other `members` or another `port`, or a packet filter drops UDP port 9181",
            ),
        ),
        (
            MemberState::Unknown,
            Some(true),
            not_returned,
            Some(
                "member 10.0.1.13 was not heard for 1m: its heartbeats arrive, but return none of ours: a packet filter may drop UDP port 9181 on the way from this host to it",
            ),
        ),
        (
            MemberState::Unknown,
            Some(false),
            hmac,
            Some(
                "member 10.0.1.13 was not heard for 1m: datagrams from its address arrive at UDP port 9181, and do not count: the HMAC is wrong: the sender has another key",
            ),
        ),
        (
            MemberState::Dead,
            None,
            None,
            Some("member 10.0.1.13 is dead for 1m: neither its heartbeats nor answers of its kernel arrive"),
        ),
        (
            MemberState::Dead,
            Some(true),
            None,
            Some(
                "member 10.0.1.13 is dead for 1m, but its kernel answers (ARP or ND): its daemon does not run, or has other `members` or another `port`, or a packet filter drops UDP port 9181",
            ),
        ),
        (
            MemberState::Silent,
            None,
            None,
            Some(
                "no heartbeats of member 10.0.1.13 for 10s, but its kernel answers: its rules may go on without its daemon, or a packet filter drops UDP port 9181; without a heartbeat it is dead in 20s",
            ),
        ),
    ] {
        let found = status(state, ContactReport { kernel_answers, dropped }, now).warnings(now);
        let want: Vec<String> = want.iter().map(|want| format!("chain: {want}")).collect();
        assert_eq!(found, want, "{state} {kernel_answers:?} {dropped:?}");
    }
}

#[test]
fn packets_that_do_not_arrive_are_named_with_the_next_member() {
    let now = Instant::now();
    for (to_next, into_this_host, want) in [
        (Unknown, Unknown, &[][..]),
        (Good, Good, &[]),
        (Lost, Unknown, &["chain: IPv4 test packets to member 10.0.1.12 do not arrive there"]),
        (
            Stopped,
            Good,
            &["chain: IPv4 test packets to member 10.0.1.12 arrive there and do not reach its stack"],
        ),
        (Changed, Good, &["chain: IPv4 test packets to member 10.0.1.12 arrive there with another DSCP"]),
        (
            Good,
            Stopped,
            &["chain: IPv4 test packets of other members that arrive at this host do not reach its stack"],
        ),
        (
            Good,
            Changed,
            &["chain: IPv4 test packets of other members that arrive at this host have another DSCP"],
        ),
        (
            Lost,
            Stopped,
            &[
                "chain: IPv4 test packets to member 10.0.1.12 do not arrive there",
                "chain: IPv4 test packets of other members that arrive at this host do not reach its stack",
            ],
        ),
    ] {
        let v4 = FamilyPath { to_next, into_this_host };
        // Nobody is next for IPv6, so nothing is said about the way there.
        let v6 = FamilyPath { to_next: Lost, into_this_host: Good };
        let paths = PathStatus { v4, v6, dropping: Vec::new() };
        let chain = ChainStatus { paths, ..status(MemberState::Alive, ContactReport::default(), now) };
        let found = chain.warnings(now);
        assert_eq!(found.len(), want.len(), "{found:?}");
        assert!(found.iter().zip(want).all(|(found, want)| found.starts_with(want)), "{found:?}");
    }
    let paths =
        PathStatus { dropping: vec!["chain `in`".into(), "chain `out`".into()], ..PathStatus::default() };
    let chain = ChainStatus { paths, ..status(MemberState::Alive, ContactReport::default(), now) };
    let want = "chain: this host's own packet filter can drop packets, and may be the cause: chain `in`, chain `out`; docs/chain.md lists what the chain needs";
    assert_eq!(chain.warnings(now), [want]);
}
