use super::*;
use crate::bgp::notification::Notification;
use crate::model::PeerAsn;

const SECOND: Duration = Duration::from_secs(1);

fn clues(settings: &[Setting], counters: &[KernelCounter]) -> Clues {
    Clues {
        large_lost: false,
        neighbour: Neighbour::Answers,
        location: PeerLocation::OnLink,
        source: Some("10.0.1.11".parse().unwrap()),
        counters: counters.iter().copied().collect(),
        key: None,
        ours: LocalSettings {
            asn: 65001,
            families: [Family::V4, Family::V6].into(),
            hold_time: SECOND * 9,
            multihop: 1,
            settings: settings.iter().copied().collect(),
        },
    }
}

fn routed(settings: &[Setting], counters: &[KernelCounter]) -> Clues {
    Clues { location: PeerLocation::Routed, ..clues(settings, counters) }
}

fn silent(settings: &[Setting], counters: &[KernelCounter]) -> Clues {
    Clues { neighbour: Neighbour::Silent, ..clues(settings, counters) }
}

fn notified(kind: (u8, u8), data: &[u8]) -> DownReason {
    DownReason::Notified(Notification::new(kind, data))
}

/// The name of the case, the reason, the clues, words that the hint must have, and words that it must not have.
type HintCase<'a> = (&'a str, DownReason, Clues, &'a [&'a str], &'a [&'a str]);

/// Checks each hint for the words that it must have and must not have.
fn hold(cases: &[HintCase<'_>]) {
    for (case, why, clues, words, none) in cases {
        let hint = why.hint(clues).unwrap_or_default();
        for word in *words {
            assert!(hint.contains(word), "{case}: `{word}` is missing: {hint}");
        }
        for word in *none {
            assert!(!hint.contains(word), "{case}: `{word}` is too much: {hint}");
        }
        assert!(!hint.contains("  ") && !hint.ends_with('.'), "{case}: {hint}");
    }
}

#[test]
fn hints_of_tcp_follow_the_clues() {
    let no_answer = || DownReason::Tcp(TcpFailure::NoAnswer(SECOND * 5));
    let unreachable = || DownReason::Tcp(TcpFailure::Unreachable);
    let low = [Setting::TtlSecurity];
    let key = [Setting::Password];
    hold(&[
        // B8
        (
            "a prohibition by ICMP",
            unreachable(),
            clues(&[], &[]),
            &["firewall", "10.0.1.11"],
            &["cable", "neither"],
        ),
        (
            "no ARP",
            unreachable(),
            silent(&[], &[KernelCounter::Rejected]),
            &["neither ARP nor ND", "cable"],
            &["firewall"],
        ),
        (
            "a prohibition on the way",
            unreachable(),
            routed(&[], &[]),
            &["its address is on none of this host's networks", "a router on the way", "access list"],
            &["cable"],
        ),
        (
            "a gateway that does not forward",
            no_answer(),
            routed(&[], &[]),
            &["its address is on none of this host's networks", "does not show that it forwards"],
            &["can be reached"],
        ),
        (
            "no gateway",
            no_answer(),
            Clues { location: PeerLocation::Routed, ..silent(&[], &[]) },
            &["its address is on none of this host's networks", "next host on the way"],
            &["forwards"],
        ),
        ("on our link", no_answer(), clues(&[], &[]), &["it answers ARP or ND"], &["networks"]),
        (
            "de-configured, or a daemon that stops",
            notified((6, 3), &[]),
            clues(&[], &[]),
            &["no neighbour 10.0.1.11", "its BGP daemon was stopped"],
            &[],
        ),
        ("nobody looked", unreachable(), Clues::default(), &["ARP", "firewall"], &[]),
        // B9
        (
            "a key, and silence",
            no_answer(),
            clues(&key, &[]),
            &["`password_file`", "BGP daemon runs", "10.0.1.11"],
            &[],
        ),
        (
            "a key, and a refusal",
            no_answer(),
            clues(&key, &[KernelCounter::Unsigned]),
            &["unsigned", "BGP daemon runs"],
            &[],
        ),
        (
            "another key",
            no_answer(),
            clues(&key, &[KernelCounter::OtherKey]),
            &["another key", "`password_file`"],
            &["daemon"],
        ),
        (
            "no key",
            no_answer(),
            clues(&[], &[KernelCounter::Unsigned]),
            &["a password for 10.0.1.11"],
            &["unsigned"],
        ),
        // B19
        (
            "an odd key",
            no_answer(),
            Clues { key: Some("a blank at its end"), ..clues(&key, &[]) },
            &["seems to contain a blank at its end"],
            &[],
        ),
        // B18
        ("closed from afar", TcpFailure::Closed.into(), routed(&[], &[]), &["`ebgp-multihop`"], &[]),
        ("closed from near", TcpFailure::Closed.into(), clues(&[], &[]), &["10.0.1.11"], &["multihop"]),
        (
            "no OPEN from afar",
            DownReason::NoOpen(SECOND),
            routed(&[], &[]),
            &["`ebgp-multihop`", "TTL 1"],
            &[],
        ),
        ("no OPEN from near", DownReason::NoOpen(SECOND), clues(&[], &[]), &["daemon"], &["multihop"]),
        (
            "a low TTL from afar",
            no_answer(),
            routed(&low, &[KernelCounter::LowTtl]),
            &["raise `multihop` (now 1)"],
            &["password"],
        ),
        (
            "a low TTL from near",
            no_answer(),
            clues(&low, &[KernelCounter::LowTtl]),
            &["TTL 255"],
            &["`multihop`"],
        ),
        (
            "a low TTL that no socket demands",
            no_answer(),
            routed(&[], &[KernelCounter::LowTtl]),
            &["password"],
            &["raise `multihop`"],
        ),
        (
            "a TTL that is demanded, and silence",
            no_answer(),
            routed(&low, &[]),
            &["password"],
            &["raise `multihop`"],
        ),
        (
            "a low TTL in the session",
            TcpFailure::Unheard(SECOND).into(),
            routed(&low, &[KernelCounter::LowTtl]),
            &["raise `multihop`"],
            &[],
        ),
        (
            "large segments are lost",
            DownReason::HoldExpired(SECOND * 9),
            Clues { large_lost: true, ..clues(&[], &[]) },
            &["smaller MTU", "`tcp_mss`"],
            &[],
        ),
        (
            "large segments are lost, and the kernel gives up",
            TcpFailure::TimedOut.into(),
            Clues { large_lost: true, ..clues(&[], &[]) },
            &["smaller MTU"],
            &[],
        ),
        // B26, B27
        (
            "closed without a word",
            TcpFailure::Reset.into(),
            clues(&[], &[]),
            &["no neighbour 10.0.1.11", "another `[[peer]]`", "`source_address`"],
            &[],
        ),
        ("a collision", DownReason::Collision, clues(&[], &[]), &["`default-gateway`"], &[]),
        (
            "an address that the host lacks",
            TcpFailure::SourceMissing("10.0.1.99".parse().unwrap()).into(),
            clues(&[], &[]),
            &["put 10.0.1.99 on an interface", "`source_address`"],
            &[],
        ),
        // B21
        (
            "a tentative address",
            TcpFailure::SourceMissing("fe80::1".parse().unwrap()).into(),
            clues(&[], &[]),
            &["`tentative`", "`dadfailed`"],
            &[],
        ),
        // B28
        (
            "our own filter drops what we send",
            no_answer(),
            clues(&[], &[KernelCounter::NotSent]),
            &["this host's own packet filter", "nft list ruleset"],
            &["password"],
        ),
        (
            "our own filter rejects what we send",
            unreachable(),
            clues(&[], &[KernelCounter::Rejected]),
            &["this host itself", "this host's own packet filter"],
            &["on the router"],
        ),
        (
            "our own filter may drop what comes",
            no_answer(),
            clues(&[], &[]),
            &["this host's own packet filter", "nft list ruleset", "password"],
            &[],
        ),
        ("refused", TcpFailure::Refused.into(), clues(&[], &[]), &["BGP daemon runs", "10.0.1.11"], &[]),
        ("forbidden", TcpFailure::Forbidden.into(), clues(&[], &[]), &["IPAddressDeny"], &[]),
    ]);
}

#[test]
fn hints_of_an_open_name_the_as() {
    let wrong = |got| DownReason::Open(OpenError::WrongAs { got, want: PeerAsn::External });
    hold(&[
        (
            "another AS",
            wrong(64500),
            clues(&[], &[]),
            &["`asn = 64500`", "`local-as`", "confederation"],
            &["AS_TRANS"],
        ),
        // B22
        ("AS_TRANS", wrong(23456), clues(&[], &[]), &["AS_TRANS", "four octets"], &["asn = 23456"]),
        // B20
        ("AS 0", wrong(0), clues(&[], &[]), &["AS 0 is reserved"], &["asn = 0"]),
        ("a hold time of 1 s", OpenError::HoldTime(1).into(), clues(&[], &[]), &["3 s"], &[]),
    ]);
}

#[test]
fn hints_of_a_notification_follow_its_data() {
    let with_asn = |asn, settings: &[Setting]| Clues {
        ours: LocalSettings { asn, ..clues(settings, &[]).ours },
        ..clues(&[], &[])
    };
    let none = [Setting::NoCapabilities];
    let v4 = || Clues {
        ours: LocalSettings { families: [Family::V4].into(), ..clues(&[], &[]).ours },
        ..clues(&[], &[])
    };
    hold(&[
        // B10
        (
            "2/7 without data",
            notified((2, 7), &[]),
            clues(&[], &[]),
            &["IPv4, IPv6", "`graceful_restart`", "extended messages"],
            &[],
        ),
        (
            "2/7, enhanced refresh",
            notified((2, 7), &[70, 0]),
            clues(&[], &[]),
            &["enhanced route refresh", "capabilities = false"],
            &["family"],
        ),
        (
            "2/7, four octets",
            notified((2, 7), &[65, 4, 0, 0, 0xfd, 0xe9]),
            clues(&[], &[]),
            &["four octets"],
            &["family"],
        ),
        (
            "2/7, four octets, left out",
            notified((2, 7), &[65, 4, 0, 0, 0xfd, 0xe9]),
            clues(&none, &[]),
            &["remove `capabilities = false`"],
            &[],
        ),
        (
            "2/7, graceful restart",
            notified((2, 7), &[64, 2, 0, 0]),
            clues(&[], &[]),
            &["write `graceful_restart`"],
            &[],
        ),
        (
            "2/7, refused restart",
            notified((2, 7), &[64, 2, 0, 0]),
            clues(&[Setting::GracefulRestart], &[]),
            &["does not accept"],
            &[],
        ),
        (
            "2/7, extended messages",
            notified((2, 7), &[6, 0]),
            clues(&[], &[]),
            &["extended messages", "does not offer"],
            &[],
        ),
        (
            "2/7, a family that we leave out",
            notified((2, 7), &[1, 4, 0, 2, 0, 1]),
            v4(),
            &["IPv6", "is not in `families`"],
            &[],
        ),
        (
            "2/7, a family that it lacks",
            notified((2, 7), &[1, 4, 0, 2, 0, 1]),
            clues(&[], &[]),
            &["activate it there"],
            &[],
        ),
        ("2/7, another family", notified((2, 7), &[1, 4, 0, 25, 0, 70]), clues(&[], &[]), &["EVPN"], &[]),
        ("2/11", notified((2, 11), &[]), clues(&[], &[]), &["BGP role", "`require roles`"], &[]),
        // B24
        ("2/4", notified((2, 4), &[]), clues(&[], &[]), &["`capabilities = false`"], &[]),
        ("2/0", notified((2, 0), &[]), clues(&[], &[]), &["`capabilities = false`"], &[]),
        (
            "2/0 without capabilities",
            notified((2, 0), &[]),
            clues(&none, &[]),
            &["log"],
            &["write `capabilities"],
        ),
        // B22
        (
            "2/2",
            notified((2, 2), &[]),
            clues(&[], &[]),
            &["AS 65001", "`local-as`", "confederation"],
            &["AS_TRANS"],
        ),
        (
            "2/2 to the last AS of two octets",
            notified((2, 2), &[]),
            with_asn(65535, &[]),
            &["AS 65535"],
            &["AS_TRANS"],
        ),
        (
            "2/2 to the last AS of two octets without capabilities",
            notified((2, 2), &[]),
            with_asn(65535, &none),
            &["AS 65535"],
            &["AS_TRANS"],
        ),
        (
            "2/2 to a wide AS",
            notified((2, 2), &[]),
            with_asn(4_200_000_001, &[]),
            &["AS_TRANS", "`remote-as 23456`"],
            &["capabilities = false"],
        ),
        (
            "2/2 to a wide AS without capabilities",
            notified((2, 2), &[]),
            with_asn(4_200_000_001, &none),
            &["`remote-as 23456`", "capabilities = false"],
            &[],
        ),
        // B29
        ("2/6", notified((2, 6), &[0, 9]), clues(&[], &[]), &["raise `hold_time`", "more than 9 s"], &[]),
        // B21
        (
            "6/1",
            notified((6, 1), &[0, 1, 1, 0, 0, 0, 10]),
            clues(&[], &[]),
            &["IPv4 prefixes", "the 10 that", "`maximum-prefix`"],
            &[],
        ),
        ("6/1 without data", notified((6, 1), &[]), clues(&[], &[]), &["`maximum-prefix`"], &[]),
        ("6/9 of 6/1", notified((6, 9), &[6, 1]), clues(&[], &[]), &["`maximum-prefix`"], &[]),
        ("6/9", notified((6, 9), &[]), clues(&[], &[]), &["hard reset"], &[]),
        ("6/10", notified((6, 10), &[]), clues(&[], &[]), &["remove `bfd`"], &[]),
        (
            "3/8",
            notified((3, 8), &[0x40, 3, 4, 10, 0, 0, 1]),
            clues(&[], &[]),
            &["next hop", "`next_hop_v4`"],
            &[],
        ),
        (
            "3/9 of communities",
            notified((3, 9), &[0xc0, 8, 3, 0, 0, 0]),
            clues(&[], &[]),
            &["`communities`"],
            &[],
        ),
        ("3/5 of a stranger", notified((3, 5), &[0xc0, 99]), clues(&[], &[]), &["log says why"], &[]),
        ("3/11", notified((3, 11), &[]), clues(&[], &[]), &["AS path"], &[]),
        // B26
        ("6/7", notified((6, 7), &[]), clues(&[], &[]), &["another `[[peer]]`", "`default-gateway`"], &[]),
        ("6/5", notified((6, 5), &[]), clues(&[], &[]), &["10.0.1.11"], &[]),
    ]);
}
