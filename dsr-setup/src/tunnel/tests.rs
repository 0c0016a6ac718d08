use super::*;

fn set(kinds: &[TunnelKind]) -> BTreeSet<TunnelKind> {
    kinds.iter().copied().collect()
}

fn vips() -> BTreeSet<IpAddr> {
    ["192.0.2.80", "2001:db8::80"].map(|vip| vip.parse().unwrap()).into()
}

fn state(all_rp_filter: i32, devices: &[(TunnelKind, TunnelDevice)]) -> TunnelState {
    TunnelState {
        devices: devices.iter().cloned().collect(),
        all_rp_filter,
        mtu: 1500,
        mss: MssRules::Absent,
    }
}

fn lines(steps: &[TunnelStep]) -> String {
    steps.iter().map(|step| format!("{step}\n")).collect()
}

#[test]
fn a_host_without_a_tunnel_gets_each_step_in_an_order_in_which_no_packet_comes_too_early() {
    let observed = state(0, &[]);
    let kinds = set(&[TunnelKind::Ipip, TunnelKind::Sit]);
    assert_eq!(
        lines(&make(&observed, &kinds)),
        "make the tunnel device tunl0\nmake the tunnel device sit0\n"
    );
    assert_eq!(
        lines(&open(&observed, &kinds, &vips())),
        "limit the MSS of 192.0.2.80 to 1440, 2001:db8::80 to 1420\n\
         set net.ipv4.conf.tunl0.rp_filter = 0\nset tunl0 up\nset sit0 up\n"
    );
}

/// The kernel takes the larger of `all` and the device's own value: 1 is strict, 2 is loose.
#[test]
fn the_rp_filter_of_the_device_is_changed_only_where_it_would_be_strict() {
    for (all, own, want) in [
        (0, 0, None),
        (0, 1, Some(0)),
        (0, 2, None),
        (1, 0, Some(2)),
        (1, 1, Some(2)),
        (1, 2, None),
        (2, 0, None),
        (2, 1, None),
    ] {
        let device = TunnelDevice { is_up: true, mark: None, rp_filter: own, misfit: None };
        let steps =
            open(&state(all, &[(TunnelKind::Gre, device)]), &set(&[TunnelKind::Gre]), &BTreeSet::new());
        let want = want.map(|set| TunnelStep::Filter { kind: TunnelKind::Gre, was: Some(own), set });
        assert_eq!(steps, want.into_iter().collect::<Vec<_>>(), "all {all}, its own {own}");
        // What comes out of sit0 is IPv6, which has no rp_filter.
        let device = TunnelDevice { is_up: true, mark: None, rp_filter: own, misfit: None };
        let steps =
            open(&state(all, &[(TunnelKind::Sit, device)]), &set(&[TunnelKind::Sit]), &BTreeSet::new());
        assert_eq!(steps, [], "all {all}, its own {own}");
    }
}

#[test]
fn a_second_apply_has_nothing_to_do_and_other_vips_change_the_limit_alone() {
    let kinds = set(&[TunnelKind::Ipip]);
    let mark = Some(TunnelMark { raised: true, rp_filter: Some(1) });
    let mut observed =
        state(0, &[(TunnelKind::Ipip, TunnelDevice { is_up: true, mark, rp_filter: 0, misfit: None })]);
    observed.mss = MssRules::Present(MssLimit::of(&kinds, &vips(), 1500).comment());
    assert_eq!(make(&observed, &kinds), []);
    assert_eq!(open(&observed, &kinds, &vips()), []);
    observed.mtu = 1400;
    assert_eq!(lines(&open(&observed, &kinds, &vips())), "limit the MSS of 192.0.2.80 to 1340\n");
    // Without a tunnel, an apply does not remove what another one has set.
    assert_eq!(open(&observed, &BTreeSet::new(), &vips()), []);
}

#[test]
fn only_what_was_changed_here_is_undone() {
    let changed = TunnelMark { raised: true, rp_filter: Some(1) };
    let mut observed = state(
        0,
        &[
            (TunnelKind::Ipip, TunnelDevice { is_up: true, mark: Some(changed), rp_filter: 0, misfit: None }),
            (TunnelKind::Sit, TunnelDevice { is_up: true, mark: None, rp_filter: 0, misfit: None }),
            (
                TunnelKind::Gre,
                TunnelDevice {
                    is_up: false,
                    mark: Some(TunnelMark { raised: true, rp_filter: None }),
                    rp_filter: 0,
                    misfit: None,
                },
            ),
        ],
    );
    observed.mss = MssRules::Present(String::new());
    assert_eq!(
        lines(&undo(&observed)),
        "set tunl0 down\nset net.ipv4.conf.tunl0.rp_filter = 1\nclear the alias of tunl0\nclear the alias of gre0\n\
         remove the nftables table inet dsr-setup\n"
    );
    assert_eq!(undo(&state(1, &[])), []);
}

#[test]
fn an_alias_that_is_written_reads_the_same_and_others_are_not_ours() {
    for raised in [false, true] {
        for rp_filter in [None, Some(0), Some(1), Some(2)] {
            let mark = TunnelMark { raised, rp_filter };
            assert_eq!(TunnelMark::read(&mark.write()), Some(mark));
        }
    }
    for alias in [
        "",
        "to the other site",
        "dsr-setup2",
        "dsr-setup up",
        "dsr-setup rp_filter=x",
        "dsr-setup raised x=1",
    ] {
        assert_eq!(TunnelMark::read(alias), None, "{alias}");
    }
}

#[test]
fn the_mss_leaves_room_for_the_largest_tunnel_of_each_family() {
    for (kinds, want) in [
        (&[TunnelKind::Ipip][..], "192.0.2.80 to 1440"),
        (&[TunnelKind::Sit], "2001:db8::80 to 1420"),
        (&[TunnelKind::Ip6ip6], "2001:db8::80 to 1400"),
        (&[TunnelKind::Gre], "192.0.2.80 to 1436, 2001:db8::80 to 1416"),
        (&TunnelKind::ALL, "192.0.2.80 to 1436, 2001:db8::80 to 1400"),
        (&[], ""),
    ] {
        assert_eq!(MssLimit::of(&set(kinds), &vips(), 1500).to_string(), want, "{kinds:?}");
    }
    assert_eq!(MssLimit::of(&set(&[TunnelKind::Ipip]), &vips(), 50).0, BTreeMap::new());
    let limit = MssLimit::of(&set(&[TunnelKind::Ipip]), &vips(), 1500);
    assert_eq!(comment_in(&limit.rules()), MssRules::Present(limit.comment()));
    assert_eq!(comment_in("table inet dsr-setup {\n}\n"), MssRules::Present(String::new()));
}

fn report(observed: &TunnelState, kinds: &[TunnelKind]) -> TunnelReport {
    TunnelReport::new(observed, &set(kinds), &vips(), &[])
}

#[test]
fn what_has_no_step_is_a_warning() {
    let mut observed = state(0, &[]);
    let v4 = BTreeSet::from(["192.0.2.80".parse().unwrap()]);
    let warnings = |observed: &TunnelState, kinds: &[TunnelKind]| {
        TunnelReport::new(observed, &set(kinds), &v4, &[]).warnings
    };
    assert_eq!(
        warnings(&observed, &[TunnelKind::Ipip, TunnelKind::Sit]),
        ["no VIP is of the family that `--tunnel sit` carries: leave it out"]
    );
    observed.mss = MssRules::Unreadable("`nft` is not installed".into());
    assert_eq!(warnings(&observed, &[]), [""; 0]);
    let said = warnings(&observed, &[TunnelKind::Ipip]);
    assert!(said.len() == 1 && said[0].starts_with("`nft` is not installed, so"), "{said:?}");
    assert!(said[0].contains(" 192.0.2.80 to 1440;"), "{said:?}");
    assert_eq!(undo(&observed), [], "rules that cannot be read are left");
}

#[test]
fn check_says_what_has_drifted_since_apply() {
    let kinds = [TunnelKind::Ipip, TunnelKind::Ip6ip6];
    let good = TunnelDevice { is_up: true, mark: None, rp_filter: 0, misfit: None };
    let mut observed = state(0, &[(TunnelKind::Ipip, good.clone()), (TunnelKind::Ip6ip6, good.clone())]);
    observed.mss = MssRules::Present(MssLimit::of(&set(&kinds), &vips(), 1500).comment());
    assert!(report(&observed, &kinds).is_good());
    assert_eq!(report(&observed, &kinds).check(), [""; 0]);

    let drift = |kind, device: Option<TunnelDevice>| {
        let mut drifted = observed.clone();
        match device {
            Some(device) => drop(drifted.devices.insert(kind, device)),
            None => drop(drifted.devices.remove(&kind)),
        }
        let report = report(&drifted, &kinds);
        assert!(!report.is_good());
        report.check()
    };
    assert_eq!(
        drift(TunnelKind::Ipip, Some(TunnelDevice { is_up: false, ..good.clone() })),
        ["tunl0 is down, so that no packet of a director comes out"]
    );
    assert_eq!(
        drift(TunnelKind::Ipip, Some(TunnelDevice { rp_filter: 1, ..good.clone() })),
        ["net.ipv4.conf.tunl0.rp_filter is 1, so that packets that come out of tunl0 are dropped"]
    );
    assert_eq!(
        drift(TunnelKind::Ip6ip6, None),
        ["the tunnel device ip6tnl0 is missing, so that no packet of a director comes out"]
    );
    // Another program has set the mode: it is named, and not changed.
    let other = TunnelDevice { misfit: Some(Misfit::Mode(4)), ..good.clone() };
    assert_eq!(
        drift(TunnelKind::Ip6ip6, Some(other)),
        [
            "ip6tnl0 has a mode for packets of the IP protocol 4 alone, so that no packet of the kind `ip6ip6` comes out; `ip -6 tunnel \
             change ip6tnl0 mode ip6ip6` corrects it"
        ]
    );
    let other = TunnelDevice { misfit: Some(Misfit::Remote("192.0.2.1".parse().unwrap())), ..good };
    let said = drift(TunnelKind::Ipip, Some(other));
    assert!(said.len() == 1 && said[0].starts_with("tunl0 accepts packets from 192.0.2.1 alone"), "{said:?}");
    observed.mss = MssRules::Absent;
    assert_eq!(
        report(&observed, &kinds).check(),
        [
            "the MSS is not limited (192.0.2.80 to 1440, 2001:db8::80 to 1400), so that the packets of clients may be too large for the \
             tunnel"
        ]
    );
}

/// The settings of every interface are looked at too: a filter that is loosened there is loosened once.
#[test]
fn a_filter_that_the_settings_loosen_is_no_step_of_the_tunnel() {
    let device = TunnelDevice { is_up: true, mark: None, rp_filter: 1, misfit: None };
    let observed = state(0, &[(TunnelKind::Gre, device)]);
    let of = |interface: &str, knob| crate::plan::Step::Set {
        sysctl: crate::plan::Sysctl::Path { interface: interface.into(), knob },
        change: crate::plan::Change { was: 1, set: 2 },
    };
    for (interface, knob, want) in [
        ("gre0", crate::plan::PathSetting::RpFilter, 0),
        ("gre0", crate::plan::PathSetting::AcceptLocal, 1),
        ("eth0", crate::plan::PathSetting::RpFilter, 1),
    ] {
        let report =
            TunnelReport::new(&observed, &set(&[TunnelKind::Gre]), &BTreeSet::new(), &[of(interface, knob)]);
        assert_eq!(report.after.len(), want, "{interface} {knob:?}");
    }
}
