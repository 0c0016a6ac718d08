//! VIPs in a VRF: what is outside of it is no fault of them, and does not serve them.

use super::super::vrf::OUTSIDE_ONLY;
use super::*;

const EDGE: u32 = 70;

/// A listener that is bound to the interface with this number.
fn bound(device: u32) -> ListeningSocket {
    ListeningSocket { device: Some(device), ..listener("::", 80) }
}

/// The healthy host, with the VIPs, eth0 and the server in the VRF edge; eth9 is outside of it.
fn in_edge(seen: &mut Observations, question: &mut Question) {
    for link in seen.links.iter_mut().filter(|link| link.name == "eth0") {
        link.vrf = Some(EDGE);
    }
    seen.links.push(LinkState { vrf: Some(EDGE), ..link(EDGE, "edge", LinkKind::Inner) });
    seen.links.push(link(90, "eth9", LinkKind::Ethernet));
    for address in seen.addresses.iter_mut().filter(|address| address.interface == "lo") {
        address.interface = "edge".into();
    }
    seen.listeners = Ok(vec![bound(EDGE)]);
    (question.device, question.vrf) = (Some("edge".into()), Some("edge".into()));
}

fn check_in_edge(rows: Vec<Row<'_>>) {
    let mut inside: Vec<Row<'_>> = Vec::new();
    for (name, row, want) in rows {
        let both = change(|seen, question| {
            in_edge(seen, question);
            row(seen, question);
        });
        inside.push((name, both, want));
    }
    check(inside);
}

#[test]
fn routes_and_connections_outside_of_the_vrf_are_no_findings() {
    let ended = Validity { begins: 0, ends: NOW - 1 };
    check_in_edge(vec![
        ("healthy", change(|_, _| {}), &[]),
        (
            "no route in the main table",
            change(|seen, _| seen.paths[0].error = Some("unreachable".into())),
            &[],
        ),
        ("the source outside", change(|seen, _| seen.sources[0].source = ip(VIP)), &[]),
        (
            "the MTU outside",
            change(|seen, _| {
                let (to, interface) = (ip("10.0.1.1"), "eth9".into());
                seen.mtu = Ok(vec![MtuProbe { to, interface, mtu: 1500, answered: [1400].into() }]);
            }),
            &[],
        ),
        (
            "a certificate outside",
            change(move |seen, _| seen.tls = vec![TlsProbe { vip: ip(VIP), port: 443, validity: ended }]),
            &[],
        ),
        ("a neighbour outside", change(|seen, _| seen.answers = Ok(vec![answer("eth9", VIP, 9)])), &[]),
        (
            "a neighbour inside",
            change(|seen, _| seen.answers = Ok(vec![answer("eth0", VIP, 9)])),
            &[(VipHeldByOther, Warning)],
        ),
        (
            "a network outside",
            change(|seen, _| seen.addresses.push(address("192.0.2.1/24", "eth9", None))),
            &[],
        ),
        (
            "a network inside",
            change(|seen, _| seen.addresses.push(address("192.0.2.1/24", "eth0", None))),
            &[(VipInConnectedSubnet, Warning)],
        ),
    ]);
}

#[test]
fn a_listener_counts_where_connections_reach_it() {
    let listens = |all: Vec<ListeningSocket>, accept: i64| {
        change(move |seen, _| {
            seen.listeners = Ok(all);
            seen.settings.insert(L3MDEV_ACCEPT.into(), accept);
        })
    };
    let eth0 = healthy().0.link("eth0").unwrap().index;
    const NONE: &[(Code, Severity)] = &[(ServerNotListening, Error), (ServerNotListening, Error)];
    check_in_edge(vec![
        ("bound to nothing", listens(vec![listener("::", 80)], 0), NONE),
        ("bound to nothing, for every VRF", listens(vec![listener("::", 80)], 1), &[]),
        ("bound to an interface of the VRF", listens(vec![bound(eth0)], 0), &[]),
        ("bound to an interface outside", listens(vec![bound(90)], 1), NONE),
        ("bound to one that is gone", listens(vec![bound(91)], 1), NONE),
        (
            "a full queue outside",
            listens(vec![ListeningSocket { queue: 129, ..listener("::", 80) }, bound(EDGE)], 0),
            &[],
        ),
        (
            "a full queue inside",
            listens(vec![ListeningSocket { queue: 129, ..bound(EDGE) }], 0),
            &[(BacklogOverflow, Error)],
        ),
    ]);
    // The VIPs on lo are not served by a server in a VRF.
    check(vec![
        (
            "in the VRF",
            change(|seen, _| {
                seen.links.push(LinkState { vrf: Some(EDGE), ..link(EDGE, "edge", LinkKind::Inner) });
                seen.listeners = Ok(vec![bound(EDGE)]);
            }),
            NONE,
        ),
        ("at an interface outside", change(move |seen, _| seen.listeners = Ok(vec![bound(eth0)])), &[]),
    ]);
}

#[test]
fn what_is_said_names_the_vrf() {
    let said = |row: fn(&mut Observations, &mut Question)| {
        let findings = after(|seen, question| {
            in_edge(seen, question);
            row(seen, question);
        });
        findings.first().map(|finding| format!("{} / {}", finding.evidence, finding.repair)).unwrap()
    };
    assert_eq!(
        said(|seen, _| seen.listeners = Ok(vec![])),
        "nothing listens at port 80 or 443 in the VRF edge, so that 192.0.2.80 refuses connections / start the server in the VRF, as in \
         `ip vrf exec edge nginx`, or write net.ipv4.tcp_l3mdev_accept = 1; `--port` names other ports; let the server listen on \
         192.0.2.80, or on all addresses of its family"
    );
    assert_eq!(
        said(|seen, _| seen.addresses.push(address("192.0.2.80/32", "lo", None))),
        "192.0.2.80/32 is on lo as well as on edge / `ip address del 192.0.2.80/32 dev lo`"
    );
}

#[test]
fn what_is_looked_for_outside_alone_is_named_once() {
    let (mut seen, mut question) = healthy();
    in_edge(&mut seen, &mut question);
    seen.mtu = Err(Unseen("needs CAP_NET_RAW: run it with sudo".into()));
    let gaps = examine(&seen, &question).not_checked;
    let reason = "doctor looks for this outside of VRFs only, and the VIPs of edge are in a VRF".into();
    assert_eq!(gaps, [NotChecked { codes: OUTSIDE_ONLY.to_vec(), reason }]);
}

#[test]
fn the_vips_of_other_devices_are_not_left_over() {
    check(vec![
        (
            "a VIP of a VRF",
            change(|seen, question| {
                seen.addresses.push(address("192.0.2.90/32", "edge", Some(0xb6)));
                question.others.insert(ip("192.0.2.90"));
            }),
            &[],
        ),
        (
            "one that nothing names, beside it",
            change(|seen, question| {
                seen.addresses.push(address("192.0.2.91/32", "lo", Some(0xb6)));
                question.others.insert(ip("192.0.2.90"));
            }),
            &[(VipLeftOver, Warning)],
        ),
    ]);
}

#[test]
fn only_interfaces_to_other_hosts_in_the_same_vrf_count_for_servers_and_packets() {
    let (mut seen, mut question) = healthy();
    in_edge(&mut seen, &mut question);
    let eth0 = seen.link("eth0").unwrap().index;
    for (name, interface, serves, arrives) in [
        // In the VRF, outside of each.
        ("eth0", eth0, (true, false), (true, false)),
        ("the device of the VRF", EDGE, (true, false), (false, false)),
        ("eth9", 90, (false, true), (false, true)),
        ("lo", 1, (false, false), (false, false)),
        ("one that has gone, or is new", 99, (false, false), (false, true)),
    ] {
        let both = |of: &dyn Fn(Option<&str>) -> bool| (of(Some("edge")), of(None));
        assert_eq!(both(&|vrf| seen.accepts_in(vrf, Some(interface))), serves, "{name}");
        assert_eq!(both(&|vrf| seen.arrives_by(vrf, interface)), arrives, "{name}");
    }
}
