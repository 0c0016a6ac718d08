use std::collections::BTreeSet;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn plan(forward: Forward) -> Plan {
    Plan {
        interface: "eth1".into(),
        vips: vec![ip("192.0.2.80"), ip("2001:db8::80")],
        hosts: ["10.100.0.11", "10.100.0.12", "10.100.0.13", "2001:db8:100::11"].map(ip).to_vec(),
        fallback: vec![ip("10.100.0.20")],
        port: 80,
        path: "/healthz".into(),
        interval: Duration::from_millis(500),
        timeout: Duration::from_millis(200),
        forward,
    }
}

fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last])
}

/// The hosts of the plan with these states: `+` up, `-` down, `?` unknown, `~` up without a MAC address.
fn with(states: &str, forward: Forward) -> Vec<Host> {
    let mut all = hosts(&plan(forward));
    assert_eq!(states.len(), all.len());
    for ((host, state), last) in all.iter_mut().zip(states.chars()).zip(1..) {
        host.health = match state {
            '+' => Health::Up(Some(mac(last))),
            '~' => Health::Up(None),
            '-' => Health::Down("connection refused".into()),
            _ => Health::Unknown,
        };
    }
    all
}

#[test]
fn a_vip_has_the_healthy_hosts_of_its_family_otherwise_the_fallback_otherwise_none() {
    let (v4, v6) = (ip("192.0.2.80"), ip("2001:db8::80"));
    // Three frontends of IPv4, one of IPv6, and a fallback of IPv4.
    for (states, of_v4, of_v6) in [
        ("+++++", "forwarded to 10.100.0.11, 10.100.0.12, 10.100.0.13", "forwarded to 2001:db8:100::11"),
        ("+-++-", "forwarded to 10.100.0.11, 10.100.0.13", "forwarded to 2001:db8:100::11"),
        ("---++", "forwarded to the fallback 10.100.0.20", "forwarded to 2001:db8:100::11"),
        ("-?~-+", "forwarded to the fallback 10.100.0.20", "not forwarded, no host is healthy"),
        ("---+-", "not forwarded, no host is healthy", "forwarded to 2001:db8:100::11"),
        ("?????", "not forwarded, no host is healthy", "not forwarded, no host is healthy"),
    ] {
        let hosts = with(states, Forward::Mac);
        assert_eq!(sentence(&hosts, v4, Forward::Mac), format!("192.0.2.80: {of_v4}"), "{states}");
        assert_eq!(sentence(&hosts, v6, Forward::Mac), format!("2001:db8::80: {of_v6}"), "{states}");
    }
    // A tunnel needs no neighbour.
    let hosts = with("-?~-+", Forward::Tunnel);
    assert_eq!(sentence(&hosts, v4, Forward::Tunnel), "192.0.2.80: forwarded to 10.100.0.13");
}

#[test]
fn a_host_that_leaves_moves_only_its_own_buckets_and_each_host_has_a_fair_share() {
    let (all, two) = (with("+++++", Forward::Mac), with("+-+++", Forward::Mac));
    let (three, two) =
        (serving(&all, ip("192.0.2.80"), Forward::Mac), serving(&two, ip("192.0.2.80"), Forward::Mac));
    let (before, after) = (buckets(&three), buckets(&two));
    assert_eq!((before.len(), after.len()), (256, 256));
    for (before, after) in before.iter().zip(&after) {
        let (before, after) = (three[*before].address, two[*after].address);
        assert!(before == after || before == ip("10.100.0.12"), "{before} lost a bucket to {after}");
    }
    for host in 0..3 {
        let share = before.iter().filter(|of| **of == host).count();
        assert!((60..=110).contains(&share), "host {host} has {share} of 256 buckets");
    }
}

#[test]
fn the_rules_name_each_host_that_serves_and_no_other() {
    let text = rules(&plan(Forward::Mac), &with("+-+-+", Forward::Mac), mac(99));
    assert!(
        text.starts_with(
            "add table netdev director\ndelete table netdev director\ntable netdev director {\nchain forward {\n\
             type filter hook ingress device \"eth1\" priority filter;\n\
             ip daddr 192.0.2.80 tcp dport 80 ether saddr set 02:00:00:00:00:63 ether daddr set \
             jhash ip saddr . tcp sport mod 256 seed 0x5eed map { 0 : 02:00:00:00:00:0"
        ),
        "{text}"
    );
    assert!(
        text.ends_with(
            " } fwd to \"eth1\"\nip daddr 192.0.2.80 icmp type { destination-unreachable, time-exceeded, parameter-problem } \
             ether saddr set 02:00:00:00:00:63 ether daddr set 02:00:00:00:00:01 dup to \"eth1\" \
             ether daddr set 02:00:00:00:00:03 fwd to \"eth1\"\n}\n}\n"
        ),
        "{text}"
    );
    let named: BTreeSet<&str> = text.split_whitespace().filter(|word| word.starts_with("02:")).collect();
    let named: BTreeSet<&str> = named.into_iter().map(|word| word.trim_end_matches(',')).collect();
    assert_eq!(named, ["02:00:00:00:00:01", "02:00:00:00:00:03", "02:00:00:00:00:63"].into());
    assert!(!text.contains("2001:db8::80"), "no host of IPv6 is healthy: {text}");
}

#[test]
fn a_tunnel_gets_the_mark_of_its_host() {
    let text = rules(&plan(Forward::Tunnel), &with("---+~", Forward::Tunnel), mac(99));
    assert!(
        text.starts_with(
            "add table inet director\ndelete table inet director\ntable inet director {\nchain forward {\n\
             type filter hook prerouting priority mangle;\n\
             ip daddr 192.0.2.80 tcp dport 80 meta mark set jhash ip saddr . tcp sport mod 256 seed 0x5eed map { 0 : 5, 1 : 5, "
        ),
        "{text}"
    );
    assert!(text.contains("ip6 daddr 2001:db8::80 tcp dport 80 meta mark set jhash ip6 saddr . tcp sport mod 256 seed 0x5eed map { 0 : 4, "));
    assert!(!text.contains("icmp"), "{text}");
}

#[test]
fn without_a_healthy_host_there_is_no_rule() {
    let text = rules(&plan(Forward::Mac), &with("---?-", Forward::Mac), mac(99));
    assert!(
        text.ends_with("chain forward {\ntype filter hook ingress device \"eth1\" priority filter;\n}\n}\n"),
        "{text}"
    );
}
