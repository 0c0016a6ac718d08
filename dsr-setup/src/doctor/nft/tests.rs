//! What the rules do with a packet: texts as nftables 1.0.6 prints them.

use super::*;

const VIP: &str = "192.0.2.80";

fn ruleset(policy: &str, rules: &[&str]) -> Ruleset {
    let mut objects = vec![
        r#"{"metainfo":{"version":"1.0.6"}}"#.to_owned(),
        r#"{"table":{"family":"inet","name":"filter"}}"#.to_owned(),
        r#"{"set":{"family":"inet","table":"filter","name":"bad","type":"ipv4_addr","elem":[{"prefix":{"addr":"10.0.0.0","len":8}},"192.0.2.80"]}}"#.to_owned(),
        r#"{"chain":{"family":"inet","table":"filter","name":"refuse"}}"#.to_owned(),
        r#"{"chain":{"family":"inet","table":"filter","name":"back"}}"#.to_owned(),
        format!(
            r#"{{"chain":{{"family":"inet","table":"filter","name":"input","type":"filter","hook":"input","prio":0,"policy":"{policy}"}}}}"#
        ),
        r#"{"rule":{"family":"inet","table":"filter","chain":"refuse","expr":[{"drop":null}]}}"#.to_owned(),
        r#"{"rule":{"family":"inet","table":"filter","chain":"back","expr":[{"return":null}]}}"#.to_owned(),
    ];
    objects.extend(rules.iter().map(|rule| {
        format!(r#"{{"rule":{{"family":"inet","table":"filter","chain":"input","expr":[{rule}]}}}}"#)
    }));
    Ruleset::read(&format!(r#"{{"nftables":[{}]}}"#, objects.join(","))).unwrap()
}

fn payload(protocol: &str, field: &str, op: &str, right: &str) -> String {
    format!(
        r#"{{"match":{{"op":"{op}","left":{{"payload":{{"protocol":"{protocol}","field":"{field}"}}}},"right":{right}}}}}"#
    )
}

fn is_dropped(ruleset: &Ruleset, to: &str, kind: PacketKind) -> bool {
    let packet = Arriving { to: to.parse().unwrap(), kind, interface: "eth0" };
    matches!(ruleset.fate(packet), Fate::Dropped(_))
}

const DROP: &str = r#"{"drop":null}"#;
const ACCEPT: &str = r#"{"accept":null}"#;
const UNKNOWN: &str = r#"{"xt":null}"#;
const LIMIT: &str = r#"{"limit":{"rate":10,"per":"second"}}"#;

#[test]
fn a_syn_is_dropped_where_the_rules_are_sure_of_it() {
    let to_vip = payload("ip", "daddr", "==", r#""192.0.2.80""#);
    let in_net = payload("ip", "daddr", "==", r#"{"prefix":{"addr":"192.0.2.0","len":24}}"#);
    let in_set = payload("ip", "daddr", "==", r#""@bad""#);
    let port = payload("tcp", "dport", "==", r#"{"set":[22,{"range":[80,90]}]}"#);
    let other_port = payload("tcp", "dport", "!=", "80");
    let new = r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["new","untracked"]}}"#;
    let old = r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}}"#;
    let eth0 = r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"eth0"}}"#;
    let lo = r#"{"match":{"op":"==","left":{"meta":{"key":"iif"}},"right":"lo"}}"#;
    let jump = r#"{"jump":{"target":"refuse"}}"#;
    let back = r#"{"jump":{"target":"back"}}"#;
    let vmap = r#"{"vmap":{"key":{"payload":{"protocol":"tcp","field":"dport"}},"data":{"set":[[443,{"accept":null}],[80,{"drop":null}]]}}}"#;
    let rule = |parts: &[&str]| parts.join(",");
    for (policy, rules, want) in [
        ("accept", vec![], false),
        ("drop", vec![], true),
        ("accept", vec![rule(&[&to_vip, DROP])], true),
        ("accept", vec![rule(&[&to_vip, r#"{"counter":{"packets":0,"bytes":0}}"#, DROP])], true),
        ("accept", vec![rule(&[&to_vip, r#"{"reject":null}"#])], true),
        ("accept", vec![rule(&[&in_net, DROP])], true),
        ("accept", vec![rule(&[&in_set, DROP])], true),
        ("accept", vec![rule(&[&port, DROP])], true),
        ("accept", vec![rule(&[&other_port, DROP])], false),
        ("accept", vec![rule(&[new, eth0, DROP])], true),
        ("accept", vec![rule(&[old, DROP])], false),
        ("accept", vec![rule(&[lo, DROP])], false),
        ("accept", vec![rule(&[jump])], true),
        ("accept", vec![rule(&[back]), rule(&[DROP])], true),
        ("accept", vec![rule(&[vmap])], true),
        ("drop", vec![rule(&[lo, ACCEPT]), rule(&[old, ACCEPT])], true),
        ("drop", vec![rule(&[&port, ACCEPT])], false),
        ("accept", vec![rule(&[&to_vip, ACCEPT]), rule(&[DROP])], false),
        // What is not understood decides nothing.
        ("accept", vec![rule(&[UNKNOWN, DROP])], false),
        ("drop", vec![rule(&[UNKNOWN, ACCEPT])], false),
        ("accept", vec![rule(&[&to_vip, LIMIT, ACCEPT]), rule(&[DROP])], false),
        ("accept", vec![rule(&[UNKNOWN, DROP]), rule(&[DROP])], true),
        ("accept", vec![rule(&[UNKNOWN, jump])], false),
        ("drop", vec![rule(&[r#"{"jump":{"target":"nowhere"}}"#])], false),
    ] {
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let got = is_dropped(&ruleset(policy, &rules), VIP, PacketKind::Syn(80));
        assert_eq!(got, want, "policy {policy}: {rules:?}");
    }
}

#[test]
fn icmp_errors_and_invalid_packets_are_other_packets() {
    let icmp = payload("ip", "protocol", "==", r#""icmp""#);
    let type3 = payload("icmp", "type", "==", r#"{"set":["echo-request","destination-unreachable"]}"#);
    let echo = payload("icmp", "type", "==", r#""echo-request""#);
    let too_big = payload("icmpv6", "type", "==", r#""packet-too-big""#);
    let v6 = payload("ip6", "nexthdr", "==", r#""ipv6-icmp""#);
    let invalid = r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"invalid"}}"#;
    for (matches, icmp4, icmp6, is_invalid) in [
        (&icmp[..], true, false, false),
        (&type3, true, false, false),
        (&echo, false, false, false),
        (&too_big, false, true, false),
        (&v6, false, true, false),
        (invalid, false, false, true),
    ] {
        let ruleset = ruleset("accept", &[&format!("{matches},{DROP}")]);
        assert_eq!(is_dropped(&ruleset, VIP, PacketKind::TooBig), icmp4, "{matches}");
        assert_eq!(is_dropped(&ruleset, "2001:db8::80", PacketKind::TooBig), icmp6, "{matches}");
        assert_eq!(is_dropped(&ruleset, VIP, PacketKind::Invalid(80)), is_invalid, "{matches}");
        assert!(!is_dropped(&ruleset, VIP, PacketKind::Syn(80)), "{matches}");
    }
}

#[test]
fn the_rule_is_named_in_the_words_of_nft() {
    let to_vip = payload("ip", "daddr", "==", r#""192.0.2.80""#);
    let port = payload("tcp", "dport", "==", "80");
    let ruleset = ruleset("accept", &[&format!("{to_vip},{port},{DROP}")]);
    let packet = Arriving { to: VIP.parse().unwrap(), kind: PacketKind::Syn(80), interface: "eth0" };
    assert_eq!(
        ruleset.fate(packet),
        Fate::Dropped("the rule `ip daddr 192.0.2.80 tcp dport 80 drop` of chain `inet filter input`".into())
    );
}

#[test]
fn only_the_device_and_the_family_of_the_packet_count() {
    let chain = |family: &str, more: &str| {
        let text = format!(
            r#"{{"nftables":[{{"chain":{{"family":"{family}","table":"t","name":"c","type":"filter","prio":0,"policy":"drop",{more}}}}}]}}"#
        );
        is_dropped(&Ruleset::read(&text).unwrap(), VIP, PacketKind::Syn(80))
    };
    assert!(chain("netdev", r#""hook":"ingress","dev":"eth0""#));
    assert!(!chain("netdev", r#""hook":"ingress","dev":"eth1""#));
    assert!(!chain("ip6", r#""hook":"input""#));
    assert!(!chain("ip", r#""hook":"output""#));
    assert!(chain("ip", r#""hook":"prerouting""#));
}

#[test]
fn a_text_that_is_no_ruleset_is_none() {
    for text in
        ["", "{}", r#"{"nftables":7}"#, r#"{"nftables":[{"rule":{}}]}"#, r#"{"nftables":[{"chain":{}}]}"#]
    {
        assert_eq!(Ruleset::read(text), None, "{text}");
    }
}
