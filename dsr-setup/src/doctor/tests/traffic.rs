//! The packet filter, connection tracking and the capture.

use super::*;

#[test]
fn the_table_of_connections_and_the_capture() {
    let conntrack = |count, max| {
        move |seen: &mut Observations, _: &mut Question| seen.conntrack = Some(ConntrackState { count, max })
    };
    let capture = |arrived, opened, answered| {
        move |seen: &mut Observations, question: &mut Question| {
            question.vips = [ip(VIP)].into();
            question.is_complete = false;
            let traffic = [(ip(VIP), VipTraffic { arrived, opened, answered })].into();
            seen.capture = Some(Ok(Capture { seconds: 5, traffic }));
        }
    };
    check(vec![
        ("89 percent", change(conntrack(89, 100)), &[]),
        ("90 percent", change(conntrack(90, 100)), &[(ConntrackFull, Warning)]),
        ("full", change(conntrack(100, 100)), &[(ConntrackFull, Error)]),
        ("no limit", change(conntrack(100, 0)), &[]),
        ("no conntrack", change(|seen, _| seen.conntrack = None), &[]),
        ("nothing arrived", change(capture(0, 0, 0)), &[(NoPacket, Warning)]),
        ("no SYN arrived", change(capture(7, 0, 0)), &[]),
        ("SYN and no answer", change(capture(7, 3, 0)), &[(SynUnanswered, Error)]),
        ("one was answered", change(capture(7, 3, 1)), &[]),
    ]);
}

#[test]
fn the_packet_filter() {
    let rules = |policy: &str, rules: &str| {
        let text = format!(
            r#"{{"nftables":[{{"chain":{{"family":"inet","table":"f","name":"input","type":"filter","hook":"input","prio":0,"policy":"{policy}"}}}}{rules}]}}"#
        );
        let ruleset = Ruleset::read(&text).unwrap();
        move |seen: &mut Observations, question: &mut Question| {
            question.vips = [ip(VIP)].into();
            question.is_complete = false;
            seen.ruleset = Ok(ruleset);
        }
    };
    let rule = |expr: &str| {
        format!(r#",{{"rule":{{"family":"inet","table":"f","chain":"input","expr":[{expr}]}}}}"#)
    };
    let port = |port: u16, verdict: &str| {
        rule(&format!(
            r#"{{"match":{{"op":"==","left":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"right":{port}}}}},{{"{verdict}":null}}"#
        ))
    };
    let state = |state: &str, verdict: &str| {
        rule(&format!(
            r#"{{"match":{{"op":"in","left":{{"ct":{{"key":"state"}}}},"right":"{state}"}}}},{{"{verdict}":null}}"#
        ))
    };
    let named = |change: Change| {
        Box::new(move |seen: &mut Observations, question: &mut Question| {
            change(seen, question);
            question.ports.insert(ip(VIP), [80].into());
        }) as Change
    };
    check(vec![
        ("accept", change(rules("accept", "")), &[]),
        ("drop all", change(rules("drop", "")), &[(FirewallDropsVip, Error), (FirewallDropsIcmp, Error)]),
        (
            "only the port is accepted",
            change(rules("drop", &port(80, "accept"))),
            &[(FirewallDropsIcmp, Error)],
        ),
        (
            "the port and related are accepted",
            change(rules("drop", &(port(80, "accept") + &state("related", "accept")))),
            &[],
        ),
        ("one of the usual ports is dropped", change(rules("accept", &port(80, "drop"))), &[]),
        (
            "the named port is dropped",
            named(change(rules("accept", &port(80, "drop")))),
            &[(FirewallDropsVip, Error)],
        ),
        ("invalid", change(rules("accept", &state("invalid", "drop"))), &[(InvalidDropped, Warning)]),
    ]);
}
