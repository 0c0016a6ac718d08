#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use expect_test::expect_file;

use super::counters::{ChainCounter, ChainCounters, CountersError, TestPacketCounters, parse, test_packets};
use super::*;

fn next<A>(address: A, members: usize) -> Option<NextMember<A>> {
    Some(NextMember { address, ring: RingLength::new(members).unwrap() })
}

/// Two members; a server on a wildcard and one on its VIP in each family.
fn rules() -> RuleSet {
    let v4 = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap();
    RuleSet {
        device: "eth0".parse().unwrap(),
        believed: BelievedSources::Macs([[2, 0, 0, 0, 0, 0x13], [2, 0, 0, 0, 0, 0x12]].into()),
        budget: NonZeroU32::new(1000).unwrap(),
        forwarding: ForwardingSwitch::On,
        v4: FamilyRules {
            services: [
                ((v4("192.0.2.1"), 443), ListenOn::Wildcard),
                ((v4("192.0.2.1"), 80), ListenOn::Wildcard),
                ((v4("192.0.2.2"), 8443), ListenOn::Address),
            ]
            .into(),
            next: next(v4("10.0.0.12"), 3),
        },
        v6: FamilyRules {
            services: [
                ((v6("2001:db8::1"), 443), ListenOn::Wildcard),
                ((v6("2001:db8::2"), 8443), ListenOn::Address),
            ]
            .into(),
            next: next(v6("fe80::12"), 3),
        },
    }
}

#[test]
fn the_whole_text_for_three_members() {
    expect_file!["tests/install.nft"].assert_eq(&install(&rules()));
    expect_file!["tests/remove.nft"].assert_eq(&remove());
}

#[test]
fn the_text_does_not_depend_on_the_order_in_which_the_input_was_made() {
    let mut other = rules();
    let services = std::mem::take(&mut other.v4.services);
    other.v4.services.extend(services.into_iter().rev());
    assert_eq!(install(&other), install(&rules()));
}

/// The lines that differ from those of [`rules`], for IPv4: `-` before, `+` behind; 100 characters of each.
fn difference(change: impl Fn(&mut RuleSet)) -> String {
    let mut changed = rules();
    change(&mut changed);
    let only_v4 = |rules: &RuleSet| install(rules).split("table ip6").next().unwrap_or_default().to_owned();
    let (before, behind) = (only_v4(&rules()), only_v4(&changed));
    let lines = |of: &str, without: &str, sign: &str| {
        let lines = of.lines().filter(|line| !without.lines().any(|other| other == *line));
        lines.map(|line| format!("{sign}{:.100}\n", line.trim())).collect::<String>()
    };
    lines(&before, &behind, "-") + &lines(&behind, &before, "+")
}

#[test]
fn what_each_input_changes() {
    let mut text = String::new();
    let mut case = |name: &str, change: &dyn Fn(&mut RuleSet)| {
        text += &format!("# {name}\n{}\n", difference(change));
    };
    case("Two members", &|rules| rules.v4.next = next([10, 0, 0, 12].into(), 2));
    case("32 members", &|rules| rules.v4.next = next([10, 0, 0, 12].into(), 32));
    case("No other member", &|rules| rules.v4.next = None);
    case("Forwarding is off", &|rules| rules.forwarding = ForwardingSwitch::Off);
    case("A budget of one packet", &|rules| rules.budget = NonZeroU32::MIN);
    case("Another device", &|rules| rules.device = "bond0.7".parse().unwrap());
    case("A VXLAN device", &|rules| {
        rules.device = "announcer".parse().unwrap();
        rules.believed = BelievedSources::Device;
    });
    case("No service", &|rules| rules.v4.services.clear());
    case("No server on a VIP", &|rules| {
        rules.v4.services.retain(|_, listens| *listens == ListenOn::Wildcard)
    });
    expect_file!["tests/differences.txt"].assert_eq(&text);
}

#[test]
fn a_ring_has_two_to_32_members() {
    for members in [0, 1, 33, 256, 258] {
        assert_eq!(RingLength::new(members), None, "{members}");
    }
    assert_eq!(RingLength::new(2).unwrap().first_mark(), 33);
    assert_eq!(RingLength::new(32).unwrap().first_mark(), 63, "the largest DSCP");
}

#[test]
fn a_device_that_nft_would_read_as_something_else_is_refused() {
    for good in ["eth0", "eth0.7", "br-lan_2", "veth1@if2", "a23456789012345"] {
        assert_eq!(good.parse::<SegmentDevice>().unwrap().to_string(), good);
    }
    for bad in ["", "eth*", "e\"; flush ruleset", "eth 0", "a\nb", "a234567890123456", "é", ".", ".."] {
        assert!(bad.parse::<SegmentDevice>().is_err(), "{bad}");
    }
}

fn printed(family: &str, table: &str, name: &str, packets: u64) -> String {
    format!(
        r#"{{"counter": {{"family": "{family}", "name": "{name}", "table": "{table}", "handle": 1, "packets": {packets}, "bytes": 1}}}}"#
    )
}

fn ours(family: &str) -> Vec<String> {
    let counters = (1..).zip(ChainCounter::ALL);
    counters.map(|(packets, counter)| printed(family, TABLE, counter.label(), packets)).collect()
}

fn all(items: &[String]) -> String {
    let head =
        r#"{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}}"#;
    format!(r#"{{"nftables": [{}]}}"#, [&[head.to_owned()], items].concat().join(", "))
}

#[test]
fn counters_are_read_from_our_tables_alone() {
    let values = ChainCounters {
        forwarded: 1,
        started: 2,
        accepted: 3,
        returned: 4,
        over_budget: 5,
        flood: 6,
        not_started: 7,
        foreign_mark: 8,
        expired: 9,
    };
    assert_eq!(parse(&all(&[])).unwrap(), [None, None]);
    assert_eq!(parse(&all(&ours("ip6"))).unwrap(), [None, Some(values)]);
    let others = [printed("inet", TABLE, "forwarded", 99), printed("ip", "filter", "forwarded", 98)];
    let mut everything = [&others[..], &ours("ip")].concat();
    everything.reverse();
    assert_eq!(parse(&all(&everything)).unwrap(), [Some(values), None]);
    let more = [ours("ip"), vec![printed("ip", TABLE, "of_a_later_version", 9)]].concat();
    assert_eq!(parse(&all(&more)).unwrap(), [Some(values), None]);
    let earlier = ChainCounters { forwarded: 0, ..values };
    assert_eq!(parse(&all(&ours("ip")[1..])).unwrap(), [Some(earlier), None], "of an earlier version");
}

#[test]
fn test_packets_are_counted_in_our_tables_alone() {
    let of = |family: &str| -> Vec<String> {
        (1..).zip(counters::TEST_NAMES).map(|(packets, name)| printed(family, TABLE, name, packets)).collect()
    };
    let values = TestPacketCounters { sent: 1, arrived: 2, changed: 3, delivered: 4 };
    let others = [printed("inet", TABLE, "test_sent", 99), printed("ip", "filter", "test_sent", 98)];
    assert_eq!(test_packets(&all(&[&others[..], &of("ip6")].concat())).unwrap(), [None, Some(values)]);
    assert_eq!(test_packets(&all(&of("ip"))).unwrap(), [Some(values), None]);
    // A table that a program without test packets has made.
    assert_eq!(test_packets(&all(&ours("ip"))).unwrap(), [None, None]);
    assert_eq!(test_packets(&all(&of("ip")[1..])).unwrap(), [None, None]);
    assert!(test_packets("{}").is_err());
}

#[test]
fn what_is_no_list_of_all_counters_is_an_error() {
    for text in ["", "{}", "[]", r#"{"nftables": [{"counter": {"family": "ip"}}]}"#, r#"{"nftables": 1}"#] {
        assert!(matches!(parse(text), Err(CountersError::Format(_))), "{text}");
    }
    let negative = all(&ours("ip")).replace(r#""packets": 1"#, r#""packets": -1"#);
    assert!(matches!(parse(&negative), Err(CountersError::Format(_))));
}
