use super::*;

fn offer() -> Offer {
    Offer {
        asn: Asn::try_from(65001).unwrap(),
        router_id: RouterId::try_from(Ipv4Addr::new(10, 0, 0, 1)).unwrap(),
        hold_time: 9,
        min_hold_time: 0,
        families: [Family::V4, Family::V6].into(),
        peer_asn: PeerAsn::Is(Asn::try_from(65000).unwrap()),
        capabilities: true,
        extended_next_hop: false,
        restart: None,
    }
}

fn open() -> Open {
    Open {
        asn: 65000,
        hold_time: 180,
        identifier: Ipv4Addr::new(10, 0, 0, 2),
        capabilities: vec![
            Capability::Multiprotocol(Family::V4),
            Capability::Multiprotocol(Family::V6),
            Capability::FourOctetAs(65000),
        ],
    }
}

#[test]
fn the_smaller_hold_time_wins_and_zero_means_none() {
    for (ours, theirs, want) in
        [(9, 180, Some(9)), (9, 3, Some(3)), (0, 180, None), (9, 0, None), (65535, 65535, Some(65535))]
    {
        let agreed =
            negotiate(&Offer { hold_time: ours, ..offer() }, &Open { hold_time: theirs, ..open() }).unwrap();
        assert_eq!(agreed.hold_time, want.map(Duration::from_secs), "{ours} {theirs}");
    }
}

#[test]
fn a_peer_without_the_as4_capability_is_old_and_its_as_is_the_short_one() {
    let agreed = negotiate(&offer(), &Open { capabilities: vec![], ..open() }).unwrap();
    assert_eq!(agreed.as_width, AsWidth::Two);
    assert_eq!(agreed.families, [Family::V4].into());
}

#[test]
fn a_long_as_is_read_from_the_capability_alone() {
    let long = Offer { peer_asn: PeerAsn::Is(Asn::try_from(4_200_000_000).unwrap()), ..offer() };
    let said = |asn, wide| Open { asn, capabilities: vec![Capability::FourOctetAs(wide)], ..open() };
    assert!(negotiate(&long, &said(23456, 4_200_000_000)).is_ok());
    assert_eq!(
        negotiate(&long, &said(0, 4_200_000_000)),
        Err(OpenError::WrongAs { got: 0, want: long.peer_asn })
    );
    assert_eq!(
        negotiate(&long, &said(23456, 4_200_000_001)),
        Err(OpenError::WrongAs { got: 4_200_000_001, want: long.peer_asn })
    );
}

#[test]
fn a_peer_that_names_families_speaks_those_alone() {
    let families =
        |capabilities| negotiate(&offer(), &Open { asn: 65000, capabilities, ..open() }).unwrap().families;
    assert_eq!(families(vec![Capability::Multiprotocol(Family::V6)]), [Family::V6].into());
    assert_eq!(families(vec![Capability::ForeignMultiprotocol]), [].into());
    assert_eq!(families(vec![Capability::Other(73)]), [Family::V4].into());
    assert_eq!(families(vec![Capability::Multiprotocol(Family::V4); 2]), [Family::V4].into());
}

#[test]
fn our_own_identifier_is_refused_on_ibgp_alone() {
    let same = Open { identifier: offer().router_id.get(), ..open() };
    assert!(negotiate(&offer(), &same).is_ok());
    let internal = Offer { peer_asn: PeerAsn::Internal, ..offer() };
    let same = Open { asn: 65001, capabilities: vec![], ..same };
    assert_eq!(negotiate(&internal, &same), Err(OpenError::Identifier(same.identifier)));
    let other = Open { identifier: Ipv4Addr::new(10, 0, 0, 2), ..same };
    assert_eq!(negotiate(&internal, &other).unwrap().kind, PeerKind::Internal);
}

#[test]
fn a_refresh_is_read_as_the_session_agreed() {
    let plain = negotiate(&offer(), &open()).unwrap();
    let mut capabilities = open().capabilities;
    capabilities.push(Capability::EnhancedRouteRefresh);
    let enhanced = negotiate(&offer(), &Open { capabilities, ..open() }).unwrap();
    let asked = |family, subtype, length| Refresh { family, subtype, message: vec![0; length] };
    let v4 = Some(Family::V4);

    for (agreed, refresh, want) in [
        (&plain, asked(v4, 0, 23), Ok(v4)),
        (&plain, asked(v4, 1, 24), Ok(v4)),
        (&plain, asked(None, 0, 23), Ok(None)),
        (&enhanced, asked(v4, 0, 40), Ok(v4)),
        (&enhanced, asked(v4, 1, 23), Ok(None)),
        (&enhanced, asked(v4, 2, 24), Err((7, 1))),
        (&enhanced, asked(v4, 9, 24), Ok(None)),
    ] {
        assert_eq!(agreed.refresh(&refresh).map_err(|n| n.kind()), want, "{refresh:?}");
    }
}

#[test]
fn external_is_any_as_but_ours_and_internal_ours_alone() {
    let says = |want, asn, capabilities| {
        let said = Open { asn, identifier: Ipv4Addr::new(10, 0, 0, 9), capabilities, ..open() };
        negotiate(&Offer { peer_asn: want, ..offer() }, &said)
            .map(|agreed| (agreed.kind, agreed.peer_asn.get()))
    };
    let (external, internal) = (PeerAsn::External, PeerAsn::Internal);
    assert_eq!(says(external, 64999, vec![]), Ok((PeerKind::External, 64999)));
    assert_eq!(says(external, 23456, vec![Capability::FourOctetAs(70000)]), Ok((PeerKind::External, 70000)));
    assert_eq!(says(internal, 65001, vec![]), Ok((PeerKind::Internal, 65001)));
    for (want, asn) in [(external, 65001), (external, 0), (external, 23456), (internal, 65000), (internal, 0)]
    {
        assert_eq!(
            says(want, asn, vec![]),
            Err(OpenError::WrongAs { got: asn.into(), want }),
            "{want} {asn}"
        );
    }
}

#[test]
fn an_ipv6_next_hop_for_ipv4_is_agreed_by_both_or_not_at_all() {
    for (ours, theirs, want) in [(true, true, true), (true, false, false), (false, true, false)] {
        let mut capabilities = open().capabilities;
        capabilities.extend(theirs.then_some(Capability::ExtendedNextHop));
        let agreed =
            negotiate(&Offer { extended_next_hop: ours, ..offer() }, &Open { capabilities, ..open() })
                .unwrap();
        assert_eq!(agreed.extended_next_hop, want);
    }
}

// B24
#[test]
fn without_capabilities_of_ours_only_what_every_peer_has_is_agreed() {
    let offer = Offer { capabilities: false, extended_next_hop: true, ..offer() };
    let mut open = open();
    open.capabilities.extend([Capability::EnhancedRouteRefresh, Capability::ExtendedNextHop]);
    let agreed = negotiate(&offer, &open).unwrap();
    assert_eq!(agreed.families, [Family::V4].into());
    assert_eq!((agreed.as_width, agreed.refresh), (AsWidth::Two, RefreshKind::Plain));
    assert!(!agreed.extended_next_hop);
    assert_eq!(agreed.peer_asn.get(), 65000);
}

/// B3.
#[test]
fn a_hold_time_below_the_least_that_is_configured_is_refused_and_zero_is_below_each() {
    for (ours, least, theirs, want) in [
        (9, 0, 0, true),
        (9, 3, 3, true),
        (9, 3, 180, true),
        (9, 9, 9, true),
        (9, 3, 0, false),
        (90, 30, 29, false),
    ] {
        let offer = Offer { hold_time: ours, min_hold_time: least, ..offer() };
        let agreed = negotiate(&offer, &Open { hold_time: theirs, ..open() });
        let refused = OpenError::ShortHoldTime { got: theirs, least };
        assert_eq!(agreed.as_ref().err(), (!want).then_some(&refused), "{ours} {least} {theirs}");
        assert_eq!(refused.notification(), Notification::bare(notification::BAD_HOLD_TIME));
    }
}
