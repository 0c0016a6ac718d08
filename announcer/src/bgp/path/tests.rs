use super::*;

fn ours(list: &[(&str, bool)]) -> Vec<Address> {
    let address = |(ip, lasting): &(&str, bool)| {
        let net: IpNet = ip.parse().unwrap();
        let fitness = if *lasting { Fitness::Lasting } else { Fitness::Unfit };
        Address { ip: net.addr(), prefix: net.prefix_len(), fitness, temporary: false, expires: false }
    };
    list.iter().map(address).collect()
}

fn vips(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_vip_is_never_the_source_and_an_address_of_the_routers_subnet_goes_first() {
    let addresses = ours(&[
        ("fe80::1/64", false),
        ("192.0.2.1/32", true),
        ("10.0.0.9/24", false),
        ("10.8.0.1/24", true),
        ("10.0.0.1/24", true),
    ]);
    let vips = vips(&["192.0.2.1", "2001:db8::80"]);
    for (choice, host, want) in [
        ("10.0.0.9", "10.0.0.254", Some("10.0.0.9")),
        ("192.0.2.1", "10.0.0.254", Some("10.0.0.1")),
        ("192.0.2.1", "10.7.0.254", Some("10.8.0.1")),
        ("2001:db8::80", "2001:db8::1", None),
    ] {
        assert_eq!(source(ip(choice), ip(host), &addresses, &vips), want.map(ip), "{choice} {host}");
    }
}

/// B6.
#[test]
fn a_temporary_address_is_neither_source_nor_next_hop() {
    let mut addresses = ours(&[("2001:db8::7e:1/64", false), ("2001:db8::1/64", true)]);
    addresses[0].temporary = true;
    let (temporary, stable, none) = (ip("2001:db8::7e:1"), ip("2001:db8::1"), vips(&[]));
    assert_eq!(source(temporary, ip("2001:db8::ff"), &addresses, &none), Some(stable));
    assert_eq!(source(temporary, ip("2001:db8::ff"), &addresses[..1], &none), None);
    let next_hop = next_hop_v6(ip("10.0.0.1"), None, &addresses, &none);
    assert_eq!(next_hop.map(IpAddr::V6), Some(stable));
}

/// A router that begins to send router advertisements gives the host one more address, in the same subnet.
#[test]
fn a_configured_address_goes_before_one_from_a_router_advertisement() {
    let (limited, configured, host) = ("2001:db8::aa:1", "2001:db8::1", "2001:db8::ff");
    let vip = vips(&["2001:db8::80"]);
    let mut addresses =
        ours(&[("2001:db8::aa:1/64", true), ("2001:db8::1/64", true), ("2001:db8:1::1/64", true)]);
    addresses[0].expires = true;
    let source = |choice: &str, host: &str, ours: &[Address]| {
        source(ip(choice), ip(host), ours, &vip).map(|ip| ip.to_string())
    };
    assert_eq!(source(limited, host, &addresses).as_deref(), Some(configured));
    assert_eq!(source(configured, host, &addresses).as_deref(), Some(configured));
    assert_eq!(source("2001:db8::80", host, &addresses).as_deref(), Some(configured));
    assert_eq!(
        source(limited, "fe80::ff", &addresses).as_deref(),
        Some(configured),
        "the router of a far peer"
    );
    let next_hop = |before: Option<&str>, ours: &[Address]| {
        let before = before.map(|ip| ip.parse().unwrap());
        next_hop_v6(ip("fe80::1"), before, ours, &vip).map(|ip| ip.to_string())
    };
    assert_eq!(next_hop(None, &addresses).as_deref(), Some(configured));
    assert_eq!(next_hop(Some(limited), &addresses).as_deref(), Some(limited), "what was advertised stays");
    // Without a configured address in the router's subnet, the kernel's choice stays.
    assert_eq!(source(limited, "fe80::ff", &[addresses[0], addresses[2]]).as_deref(), Some(limited));
    assert_eq!(source(limited, host, &addresses[..1]).as_deref(), Some(limited));
    addresses[1].fitness = Fitness::Deprecated;
    assert_eq!(source(limited, host, &addresses).as_deref(), Some(limited));
    addresses[1] = Address { prefix: 128, fitness: Fitness::Lasting, ..addresses[1] };
    assert_eq!(
        source(limited, host, &addresses).as_deref(),
        Some(limited),
        "no subnet: another program's VIP"
    );
}

#[test]
fn a_deprecated_address_serves_while_there_is_no_other() {
    let mut addresses = ours(&[
        ("2001:db8::1/64", true),
        ("2001:db8::2/64", true),
        ("10.0.0.1/24", true),
        ("10.0.0.2/24", true),
    ]);
    let none = vips(&[]);
    let deprecate = |addresses: &mut Vec<Address>, index: usize| {
        addresses.get_mut(index).unwrap().fitness = Fitness::Deprecated;
    };
    let v6 = |ours: &[Address], before: Option<&str>| {
        let before = before.map(|ip| ip.parse().unwrap());
        next_hop_v6(ip("fe80::1"), before, ours, &none).map(|ip| ip.to_string())
    };
    let v4 = |ours: &[Address], before: Option<&str>| {
        let before = before.map(|ip| ip.parse().unwrap());
        next_hop_v4(before, ours, &none).map(|ip| ip.to_string())
    };
    deprecate(&mut addresses, 0);
    deprecate(&mut addresses, 2);
    assert_eq!(v6(&addresses, Some("2001:db8::1")).as_deref(), Some("2001:db8::2"));
    assert_eq!(v4(&addresses, Some("10.0.0.1")).as_deref(), Some("10.0.0.2"));
    let vip = vips(&["10.9.9.9"]);
    assert_eq!(source(ip("10.9.9.9"), ip("10.0.0.254"), &addresses, &vip), Some(ip("10.0.0.2")));
    deprecate(&mut addresses, 1);
    deprecate(&mut addresses, 3);
    assert_eq!(
        v6(&addresses, Some("2001:db8::2")).as_deref(),
        Some("2001:db8::2"),
        "what was advertised stays"
    );
    assert_eq!(v4(&addresses, None).as_deref(), Some("10.0.0.1"));
    assert_eq!(source(ip("10.9.9.9"), ip("10.0.0.254"), &addresses, &vip), Some(ip("10.0.0.1")));
}

#[test]
fn the_next_hop_is_a_global_address_that_lasts_and_is_no_vip() {
    let vips = vips(&["2001:db8::80"]);
    for (session, before, list, want) in [
        (
            "10.0.0.1",
            None,
            vec![("fe80::1/64", true), ("2001:db8::80/128", true), ("2001:db8::7/64", true)],
            Some("2001:db8::7"),
        ),
        ("10.0.0.1", None, vec![("2001:db8::7/64", false)], None),
        ("2001:db8::9", Some("2001:db8::7"), vec![("2001:db8::7/64", true)], Some("2001:db8::9")),
        ("fe80::1", None, vec![("2001:db8::7/64", true)], Some("2001:db8::7")),
        ("::ffff:10.0.0.1", None, vec![], None),
        ("::1", None, vec![], None),
        ("::", None, vec![], None),
        ("ff02::1", None, vec![], None),
        // An advertised next hop is kept as long as possible.
        (
            "fe80::1",
            Some("2001:db8::8"),
            vec![("2001:db8::7/64", true), ("2001:db8::8/64", true)],
            Some("2001:db8::8"),
        ),
        (
            "fe80::1",
            Some("2001:db8::8"),
            vec![("2001:db8::7/64", true), ("2001:db8::8/64", false)],
            Some("2001:db8::7"),
        ),
        ("fe80::1", Some("2001:db8::80"), vec![("2001:db8::80/128", true)], None),
    ] {
        let before = before.map(|ip: &str| ip.parse().unwrap());
        let got = next_hop_v6(ip(session), before, &ours(&list), &vips);
        assert_eq!(got, want.map(|ip| ip.parse().unwrap()), "{session} {list:?}");
    }
    let fours = ours(&[
        ("2001:db8::7/64", true),
        ("192.0.2.80/32", true),
        ("10.0.0.8/24", false),
        ("10.0.0.7/24", true),
        ("10.0.0.6/24", true),
    ]);
    let vips = ["192.0.2.80".parse().unwrap()].into();
    for (before, want) in [(None, "10.0.0.7"), (Some("10.0.0.6"), "10.0.0.6"), (Some("10.0.0.8"), "10.0.0.7")]
    {
        let before = before.map(|ip: &str| ip.parse().unwrap());
        assert_eq!(next_hop_v4(before, &fours, &vips), Some(want.parse().unwrap()));
    }
}

fn network(links: &[(u32, LinkState)], addresses: &[(u32, &str)]) -> Network {
    let mut network = Network::default();
    for (index, state) in links {
        network.links.insert(*index, Link { name: format!("eth{index}"), state: *state });
    }
    for (index, address) in addresses {
        network.addresses.entry(*index).or_default().extend(ours(&[(address, true)]));
    }
    network
}

fn used() -> ConnectionPath {
    ConnectionPath {
        peer: ip("10.0.0.254"),
        local: ip("10.0.0.1"),
        interface: 2,
        own: true,
        assigned: false,
        pinned: false,
    }
}

/// W15 and B7: the current network decides, also if events were missed.
#[test]
fn a_session_stands_by_the_network_as_it_is_and_not_by_what_was_heard_of_it() {
    use LinkState::{Down, Up};
    let own = (2, "10.0.0.1/24");
    let gone = PathState::AddressGone(ip("10.0.0.1"));
    let cut = PathState::LinkDown("eth2".into());
    // The networks one after the other, and the session's state after the last one.
    for (networks, change, want) in [
        (vec![network(&[], &[])], (|_| {}) as fn(&mut ConnectionPath), PathState::Intact),
        (vec![network(&[(1, Up), (2, Up)], &[own])], |_| {}, PathState::Intact),
        (vec![network(&[(1, Up), (2, Down)], &[own])], |_| {}, cut),
        (vec![network(&[(1, Up), (3, Up)], &[(3, "10.0.0.1/24")])], |_| {}, PathState::InterfaceGone),
        // With an address of another interface, there may be another way.
        (
            vec![network(&[(1, Up), (2, Down)], &[(1, "10.0.0.1/32")])],
            |used| used.own = false,
            PathState::Intact,
        ),
        (
            vec![network(&[(1, Up), (2, Up)], &[own]), network(&[(1, Up), (2, Up)], &[(2, "10.0.0.2/24")])],
            |_| {},
            gone,
        ),
        // The host gets one more address.
        (
            vec![
                network(&[(1, Up), (2, Up)], &[own]),
                network(&[(1, Up), (2, Up)], &[(1, "127.0.0.1/8"), own, (2, "10.0.0.2/24")]),
            ],
            |_| {},
            PathState::Intact,
        ),
        // The same link-local address on another interface is a different address.
        (
            vec![
                network(&[(1, Up), (2, Up)], &[(2, "fe80::1/64")]),
                network(&[(1, Up), (2, Up)], &[(1, "fe80::1/64")]),
            ],
            |used| used.local = ip("fe80::1"),
            PathState::AddressGone(ip("fe80::1")),
        ),
        // An address that no interface ever had, such as 127.0.0.9.
        (vec![network(&[(1, Up), (2, Up)], &[])], |_| {}, PathState::Intact),
    ] {
        let mut used = used();
        change(&mut used);
        let last = networks.iter().map(|network| used.judge(network)).last().unwrap();
        assert_eq!(last, want, "{networks:?}");
    }
}

#[test]
fn the_default_route_is_the_same_while_only_other_routes_change() {
    use LinkState::{Down, Up};
    let before = network(&[(1, Up)], &[(1, "10.0.0.1/24")]);
    for (network, want) in [
        (Network { routes: 7, ..before.clone() }, true),
        (Network { default_routes: 1, ..before.clone() }, false),
        (network(&[(1, Down)], &[(1, "10.0.0.1/24")]), false),
        (network(&[(1, Up)], &[]), false),
    ] {
        assert_eq!(network.has_the_default_route_of(&before), want, "{network:?}");
    }
}

/// B13.
#[test]
fn a_session_has_moved_when_a_new_one_would_leave_by_another_interface_or_reach_another_router() {
    let path = |interface| Path { source: ip("10.9.0.1"), interface, via: None };
    for (peer, interface, pinned, want) in [
        ("10.0.0.254", 2, false, false),
        ("10.0.0.254", 3, false, true),
        ("10.0.0.254", 3, true, false),
        ("10.0.0.253", 2, false, true),
        ("10.0.0.253", 2, true, true),
    ] {
        let used = ConnectionPath { pinned, ..used() };
        assert_eq!(used.moved(Some((ip(peer), path(interface)))), want, "{peer} {interface} {pinned}");
    }
    assert!(!used().moved(None), "a route that is away for a moment moves nobody");
}

/// A link can have another router while the advertisement of the session's router holds.
#[test]
fn a_learnt_router_is_that_of_the_session_and_a_default_gateway_that_of_the_last_answer() {
    let now = network(&[(2, LinkState::Up)], &[(2, "10.0.0.1/24")]);
    let other_routes = Network { routes: 7, ..now.clone() };
    let other_default_route = Network { default_routes: 1, ..now.clone() };
    let path = ConnectionPath { peer: ip("fe80::1"), ..used() };
    let (session, before, changed) = (Some(&path), Some(&other_routes), Some(&other_default_route));
    let ip_address = PeerAddress::Ip(ip("fe80::1"));
    let (of_session, of_answer) = (Some((ip("fe80::1"), 2)), Some((ip("fe80::2"), 3)));
    for (address, session, answer, want) in [
        (PeerAddress::RouterAdvertisement, session, before, of_session),
        (PeerAddress::RouterAdvertisement, session, changed, of_session),
        (PeerAddress::RouterAdvertisement, session, None, of_session),
        (PeerAddress::RouterAdvertisement, None, before, None),
        (PeerAddress::DefaultGateway, session, before, of_answer),
        (PeerAddress::DefaultGateway, None, before, of_answer),
        (PeerAddress::DefaultGateway, session, changed, None),
        (PeerAddress::DefaultGateway, session, None, None),
        (ip_address, session, before, None),
    ] {
        let located = answer.map(|before| (before, ip("fe80::2"), 3));
        assert_eq!(known_peer(address, session, located, &now), want, "{address:?} {session:?} {answer:?}");
    }
}

#[test]
fn a_network_is_read_when_its_links_and_its_addresses_were_read() {
    let lo = [(1, LinkState::Up)];
    assert!(!network(&[], &[]).is_read());
    assert!(!network(&lo, &[]).is_read());
    assert!(network(&lo, &[(1, "127.0.0.1/8")]).is_read());
}

#[test]
fn a_session_is_bound_to_a_vrf_and_to_an_interface_in_it_alone() {
    let device = |index, controller, table| SessionDevice { index, controller, table };
    let (edge, red, plain) = (device(7, None, Some(10)), device(8, None, Some(11)), device(2, None, None));
    let (in_edge, in_bridge) = (device(3, Some(7), None), device(4, Some(9), None));
    let not_in = || TcpFailure::NotInVrf { interface: "eth1".into(), vrf: "edge".into() };
    // `interface` eth1 and `vrf` edge of the peer, as they were found: the index and the table.
    for (interface, vrf, want) in [
        (None, None, Ok((None, None))),
        (Some(Some(plain)), None, Ok((Some(2), None))),
        (Some(Some(in_edge)), None, Ok((Some(3), None))),
        (Some(None), None, Err(TcpFailure::NoInterface("eth1".into()))),
        (None, Some(Some(edge)), Ok((Some(7), Some(10)))),
        (None, Some(None), Err(TcpFailure::NoVrf("edge".into()))),
        (None, Some(Some(plain)), Err(TcpFailure::NotAVrf("edge".into()))),
        (None, Some(Some(in_edge)), Err(TcpFailure::NotAVrf("edge".into()))),
        (Some(Some(in_edge)), Some(Some(edge)), Ok((Some(3), Some(10)))),
        (Some(Some(in_edge)), Some(Some(red)), Err(not_in())),
        (Some(Some(in_bridge)), Some(Some(edge)), Err(not_in())),
        (Some(Some(plain)), Some(Some(edge)), Err(not_in())),
        (Some(Some(in_bridge)), Some(Some(device(9, None, None))), Err(TcpFailure::NotAVrf("edge".into()))),
    ] {
        let bound =
            BoundDevices::new(interface.map(|found| ("eth1", found)), vrf.map(|found| ("edge", found)));
        assert_eq!(bound.map(|bound| (bound.index(), bound.table())), want, "{interface:?} {vrf:?}");
    }
}
