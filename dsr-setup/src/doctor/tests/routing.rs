//! The ways of packets.

use super::*;

#[test]
fn the_ways_of_packets() {
    let conf = |seen: &mut Observations, interface: &str, name: &str, value: i64| {
        seen.conf.insert((interface.into(), name.into()), value);
    };
    let probe = |answered: &[u32]| MtuProbe {
        to: ip("10.0.1.1"),
        interface: "eth0".into(),
        mtu: 1500,
        answered: answered.iter().copied().collect(),
    };
    let (full, small, none) = (probe(&[84, 1400, 1500]), probe(&[84, 1400]), probe(&[]));
    check(vec![
        (
            "a VIP as source",
            change(|seen, _| {
                seen.sources.push(ChosenSource { to: ip("10.0.1.1"), source: ip(VIP) });
                seen.sources.push(ChosenSource { to: anywhere(true), source: ip(VIP) });
            }),
            &[(VipIsSource, Error)],
        ),
        (
            "no way back",
            change(|seen, _| seen.paths[0].error = Some("Network is unreachable".into())),
            &[(NoReturnRoute, Error)],
        ),
        (
            "a rule for the VIP's network",
            change(|seen, _| {
                let from = Some("192.0.2.0/24".parse().unwrap());
                let rule =
                    PolicyRule { priority: 100, from, to: None, action: "lookup 7".into(), loses: false };
                seen.rules.as_mut().unwrap().push(rule);
            }),
            &[(RuleCatchesVip, Warning)],
        ),
        (
            "a rule that loses packets to the VIP",
            change(|seen, _| {
                let to = Some("192.0.2.80/32".parse().unwrap());
                let rule =
                    PolicyRule { priority: 100, from: None, to, action: "blackhole".into(), loses: true };
                seen.rules.as_mut().unwrap().push(rule);
            }),
            &[(RuleCatchesVip, Error)],
        ),
        (
            "a rule for another network",
            change(|seen, _| {
                let to = Some("192.0.3.0/24".parse().unwrap());
                let rule =
                    PolicyRule { priority: 100, from: None, to, action: "blackhole".into(), loses: true };
                seen.rules.as_mut().unwrap().push(rule);
            }),
            &[],
        ),
        (
            "strict by all, on the router's interface, and answers leave by eth1",
            change(move |seen, _| {
                conf(seen, "all", "rp_filter", 1);
                seen.routes[0] = route("0.0.0.0/0", &[("eth1", "10.0.2.1")]);
            }),
            &[(RpFilterStrict, Error)],
        ),
        (
            "loose on the interface is larger than strict",
            change(move |seen, _| {
                conf(seen, "all", "rp_filter", 1);
                conf(seen, "eth0", "rp_filter", 2);
                seen.routes[0] = route("0.0.0.0/0", &[("eth1", "10.0.2.1")]);
            }),
            &[],
        ),
        (
            "strict on the management interface, by which no VIP packet comes",
            change(move |seen, _| conf(seen, "eth1", "rp_filter", 1)),
            &[],
        ),
        (
            "strict, and one of two next hops leads back",
            change(move |seen, _| {
                conf(seen, "all", "rp_filter", 1);
                seen.routes[0] = route("0.0.0.0/0", &[("eth1", "10.0.2.1"), ("eth0", "10.0.1.1")]);
            }),
            &[],
        ),
        (
            "redirects",
            change(move |seen, _| {
                conf(seen, "eth0", "forwarding", 1);
                conf(seen, "eth0", "send_redirects", 1);
            }),
            &[(RedirectsSent, Warning)],
        ),
        ("redirects without forwarding", change(move |seen, _| conf(seen, "all", "send_redirects", 1)), &[]),
        (
            "hash policy",
            change(|seen, _| {
                seen.settings.insert("net/ipv4/ip_forward".into(), 1);
                seen.routes.push(route("198.51.100.0/24", &[("eth0", "10.0.1.1"), ("eth1", "10.0.2.1")]));
            }),
            &[(HashPolicy, Warning)],
        ),
        (
            "hash policy with ports",
            change(|seen, _| {
                seen.settings.insert("net/ipv4/ip_forward".into(), 1);
                seen.settings.insert("net/ipv4/fib_multipath_hash_policy".into(), 1);
                seen.routes.push(route("198.51.100.0/24", &[("eth0", "10.0.1.1"), ("eth1", "10.0.2.1")]));
            }),
            &[],
        ),
        (
            "hash policy, and no several next hops",
            change(|seen, _| {
                seen.settings.insert("net/ipv4/ip_forward".into(), 1);
            }),
            &[],
        ),
        ("MTU", change(move |seen, _| seen.mtu = Ok(vec![small])), &[(MtuAbovePath, Warning)]),
        ("MTU answered", change(move |seen, _| seen.mtu = Ok(vec![full])), &[]),
        ("no echo at all", change(move |seen, _| seen.mtu = Ok(vec![none])), &[]),
    ]);
}
