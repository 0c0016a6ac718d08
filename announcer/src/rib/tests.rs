use proptest::prelude::*;

use std::net::IpAddr;

use super::*;
use crate::model::{Community, Deprefer};

/// A router that follows RFC 4271 §9, and reports UPDATEs that should not have been sent.
#[derive(Debug, Default)]
struct SimulatedRouter {
    routes: BTreeMap<IpNet, AdvertisedRoute>,
    ended: BTreeSet<Family>,
}

impl SimulatedRouter {
    /// `again`: prefixes of these families may be repeated.
    fn apply(&mut self, updates: &[Update], again: &BTreeSet<Family>) {
        let mut announced = false;
        for update in updates {
            match update {
                Update::Withdraw(family, prefixes) => {
                    assert!(!announced, "withdrawals go first");
                    assert!(!prefixes.is_empty());
                    for prefix in prefixes {
                        assert_eq!(Family::of(prefix.addr()), *family);
                        assert!(
                            self.routes.remove(prefix).is_some(),
                            "{prefix} was not there to be withdrawn"
                        );
                    }
                }
                Update::Announce { family: said, next_hop, attributes, prefixes } => {
                    announced = true;
                    assert!(!prefixes.is_empty());
                    for prefix in prefixes {
                        let family = Family::of(prefix.addr());
                        assert_eq!(family, *said);
                        let route = (*next_hop, attributes.clone());
                        let before = self.routes.insert(*prefix, route.clone());
                        assert!(before != Some(route) || again.contains(&family), "{prefix} was said twice");
                    }
                }
                Update::EndOfRib(family) => assert!(self.ended.insert(*family), "{family} ended twice"),
            }
        }
    }
}

#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a test has few of them")]
enum RibStep {
    Rib(LocRib),
    /// One prefix of the current Loc-RIB gets the route of another Loc-RIB, if that has one.
    Change(LocRib, usize),
    Export(Export),
    Refresh(Family),
    Advance,
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

/// Few prefixes and few attributes, so that they occur repeatedly.
fn rib() -> impl Strategy<Value = LocRib> {
    let prefix = prop_oneof![
        (0_u8..6).prop_map(|n| IpNet::from(IpAddr::from([192, 0, 2, n]))),
        (0_u16..6).prop_map(|n| IpNet::from(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]))),
    ];
    let deprefer = proptest::option::weighted(0.2, proptest::option::of(0_u32..2)).prop_map(|deprefer| {
        deprefer.map(|med| Box::new(Deprefer { prepend: 1, med, ..Deprefer::default() }))
    });
    let own_next_hop = proptest::option::weighted(0.2, Just("fd00::9".parse().unwrap()));
    let attributes = (
        proptest::option::of(0_u32..2),
        proptest::collection::btree_set(0_u32..2, 0..2),
        own_next_hop,
        deprefer,
        recipients(),
    )
        .prop_map(|(med, communities, next_hop_v6, deprefer, recipients)| Attributes {
            recipients,
            med,
            communities: communities.into_iter().map(Community).collect(),
            next_hop_v6,
            deprefer,
            ..Attributes::default()
        });
    (proptest::collection::btree_map(prefix, attributes, 0..10), any::<bool>()).prop_map(
        |(routes, complete)| LocRib {
            generation: 1,
            complete,
            caused: None,
            routes: routes.into_iter().map(|(prefix, attributes)| (prefix, Arc::new(attributes))).collect(),
            ..LocRib::default()
        },
    )
}

fn recipients() -> impl Strategy<Value = Recipients> {
    let names = proptest::sample::subsequence(vec!["r1", "r2"], 1..=2);
    let only = names.prop_map(|names| names.into_iter().map(|name| name.parse().unwrap()).collect());
    prop_oneof![2 => Just(Recipients::All), 1 => only.prop_map(|names| Recipients::Only(Arc::new(names)))]
}

fn export() -> impl Strategy<Value = Export> {
    let v4 = proptest::option::weighted(0.9, (1_u8..3).prop_map(|n| NextHop::V4(Ipv4Addr::new(10, 0, 0, n))));
    let v6 = proptest::option::weighted(
        0.9,
        (1_u16..3).prop_map(|n| NextHop::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n))),
    );
    let overrides = proptest::option::of(0_u32..2).prop_map(|med| Overrides { med, ..Overrides::default() });
    let families = || proptest::collection::btree_set(family(), 0..3);
    let peer = proptest::option::of(prop_oneof![Just("r1"), Just("r2")]);
    let peer = peer.prop_map(|name| name.map(|name| name.parse().unwrap()));
    (peer, families(), families(), v4, v6, overrides).prop_map(
        |(peer, families, left_out, next_hop_v4, next_hop_v6, overrides)| Export {
            peer,
            families,
            left_out,
            next_hop_v4,
            next_hop_v6,
            overrides,
        },
    )
}

fn step() -> impl Strategy<Value = RibStep> {
    prop_oneof![
        2 => rib().prop_map(RibStep::Rib),
        3 => (rib(), any::<usize>()).prop_map(|(rib, nth)| RibStep::Change(rib, nth)),
        1 => export().prop_map(RibStep::Export),
        1 => family().prop_map(RibStep::Refresh),
        3 => Just(RibStep::Advance),
    ]
}

fn wanted(rib: &LocRib, export: &Export) -> BTreeMap<IpNet, AdvertisedRoute> {
    let route = |prefix: &IpNet, attributes: &Arc<Attributes>| {
        let (next_hop, attributes) = export.route(Family::of(prefix.addr()), attributes).ok()?;
        Some((*prefix, (next_hop, Arc::new(attributes))))
    };
    rib.routes.iter().filter_map(|(prefix, attributes)| route(prefix, attributes)).collect()
}

fn not_sent(rib: &LocRib, export: &Export) -> BTreeMap<Family, NotSent> {
    let why = |prefix: &IpNet, attributes: &Arc<Attributes>| {
        let family = Family::of(prefix.addr());
        Some((family, export.route(family, attributes).err()??))
    };
    rib.routes.iter().filter_map(|(prefix, attributes)| why(prefix, attributes)).collect()
}

proptest! {
    #[test]
    fn a_peer_that_applies_advance_ends_equal_to_what_is_wanted(
        steps in proptest::collection::vec(step(), 1..40)
    ) {
        let (mut rib, mut export) = (LocRib::default(), Export::default());
        let (mut adj_rib_out, mut router, mut again) = (AdjRibOut::default(), SimulatedRouter::default(), BTreeSet::new());
        for step in steps.into_iter().chain([RibStep::Advance]) {
            match step {
                RibStep::Rib(new) => rib = new,
                RibStep::Change(other, nth) => {
                    let prefixes: BTreeSet<IpNet> = rib.routes.keys().chain(other.routes.keys()).copied().collect();
                    if let Some(prefix) = prefixes.iter().cycle().nth(nth % 16) {
                        match other.routes.get(prefix) {
                            Some(route) => rib.routes.insert(*prefix, Arc::clone(route)),
                            None => rib.routes.remove(prefix),
                        };
                    }
                }
                RibStep::Export(new) => export = new,
                RibStep::Refresh(family) => {
                    adj_rib_out.refresh(family);
                    again.insert(family);
                }
                RibStep::Advance => {
                    let updates = adj_rib_out.advance(&rib, &export);
                    // After a refresh, the router must have all routes, whether it had kept the old ones or not.
                    let heard: BTreeSet<IpNet> = updates.iter().flat_map(|update| match update {
                        Update::Announce { prefixes, .. } => prefixes.clone(),
                        Update::Withdraw(..) | Update::EndOfRib(_) => vec![],
                    }).collect();
                    router.apply(&updates, &again);
                    prop_assert_eq!(&router.routes, &wanted(&rib, &export));
                    prop_assert_eq!(adj_rib_out.len(), router.routes.len());
                    prop_assert_eq!(adj_rib_out.not_sent(), not_sent(&rib, &export));
                    for prefix in router.routes.keys().filter(|p| again.contains(&Family::of(p.addr()))) {
                        prop_assert!(heard.contains(prefix), "{} was asked for again and not said", prefix);
                    }
                    again.clear();
                    prop_assert!(adj_rib_out.advance(&rib, &export).is_empty(), "nothing changed, yet something was said");
                    let ended = if rib.complete { export.families.clone() } else { BTreeSet::new() };
                    prop_assert!(router.ended.is_superset(&ended));
                }
            }
        }
    }
}

fn prefix(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn both() -> Export {
    Export {
        peer: None,
        families: [Family::V4, Family::V6].into(),
        left_out: BTreeSet::new(),
        next_hop_v4: Some(NextHop::V4(Ipv4Addr::new(10, 0, 0, 1))),
        next_hop_v6: None,
        overrides: Overrides::default(),
    }
}

fn rib_of(prefixes: &[&str], complete: bool) -> LocRib {
    let routes = prefixes.iter().map(|text| (prefix(text), Arc::default())).collect();
    LocRib { generation: 1, complete, caused: None, routes, ..LocRib::default() }
}

// B1
#[test]
fn a_family_that_we_leave_out_is_not_called_unsent() {
    let dual = rib_of(&["192.0.2.80/32", "2001:db8::80/128"], false);
    let mut adj_rib_out = AdjRibOut::default();
    let v4 = Export { families: [Family::V4].into(), left_out: [Family::V6].into(), ..both() };
    assert_eq!(adj_rib_out.advance(&dual, &v4).len(), 1);
    assert_eq!((adj_rib_out.not_sent(), adj_rib_out.len()), (BTreeMap::new(), 1));
    // The same for a family that the router offers and we have left out.
    let offered = Export { left_out: [Family::V6].into(), ..both() };
    assert_eq!(adj_rib_out.advance(&dual, &offered), []);
    assert_eq!((adj_rib_out.not_sent(), adj_rib_out.len()), (BTreeMap::new(), 1));
    assert_eq!(adj_rib_out.advance(&rib_of(&[], false), &offered).len(), 1);
    assert!(adj_rib_out.is_empty());
}

#[test]
fn a_refresh_and_then_a_change_still_withdraws() {
    let mut adj_rib_out = AdjRibOut::default();
    let _ = adj_rib_out.advance(&rib_of(&["192.0.2.1/32", "192.0.2.2/32"], true), &both());
    adj_rib_out.refresh(Family::V4);
    let updates = adj_rib_out.advance(&rib_of(&["192.0.2.2/32"], true), &both());
    assert_eq!(updates.first(), Some(&Update::Withdraw(Family::V4, vec![prefix("192.0.2.1/32")])));
    assert_eq!(updates.len(), 2, "and says the other again: {updates:?}");
}

#[test]
fn end_of_rib_waits_for_the_first_verdicts_and_comes_once_for_each_family() {
    let mut adj_rib_out = AdjRibOut::default();
    assert_eq!(adj_rib_out.advance(&rib_of(&[], false), &both()), []);
    assert!(!adj_rib_out.ended(Family::V4));
    let ends = [Update::EndOfRib(Family::V4), Update::EndOfRib(Family::V6)];
    assert_eq!(adj_rib_out.advance(&rib_of(&[], true), &both()), ends);
    assert!(adj_rib_out.ended(Family::V4));
    assert_eq!(adj_rib_out.advance(&rib_of(&[], true), &both()), []);
}

#[test]
fn what_is_not_sent_says_why() {
    let v6 = rib_of(&["2001:db8::80/128"], false);
    let mut adj_rib_out = AdjRibOut::default();
    assert_eq!(adj_rib_out.advance(&v6, &both()), []);
    assert_eq!(adj_rib_out.not_sent(), [(Family::V6, NotSent::NoNextHop(Family::V6))].into());
    let v4_alone = Export { families: [Family::V4].into(), ..both() };
    assert_eq!(adj_rib_out.advance(&v6, &v4_alone), []);
    assert_eq!(adj_rib_out.not_sent(), [(Family::V6, NotSent::FamilyNotNegotiated(Family::V6))].into());
    let given = Attributes { next_hop_v6: Some("fd00::1".parse().unwrap()), ..Attributes::default() };
    let given = LocRib { routes: [(prefix("2001:db8::80/128"), Arc::new(given))].into(), ..v6 };
    assert_eq!(adj_rib_out.advance(&given, &both()).len(), 1);
    assert_eq!(adj_rib_out.not_sent(), BTreeMap::new());
}

#[test]
fn a_peer_that_replaces_attributes_never_undoes_a_depreference() {
    let deprefer = Deprefer {
        prepend: 3,
        local_pref: Some(10),
        med: Some(4_000_000_000),
        communities: [Community(0xffff_0000)].into(),
    };
    let route = Attributes { prepend: 1, deprefer: Some(Box::new(deprefer)), ..Attributes::default() };
    let overrides = Overrides {
        prepend: Some(0),
        local_pref: Some(200),
        med: Some(0),
        communities: Some([Community(7)].into()),
        ..Overrides::default()
    };
    let rib = LocRib { routes: [(prefix("192.0.2.1/32"), Arc::new(route))].into(), ..LocRib::default() };
    let updates = AdjRibOut::default().advance(&rib, &Export { overrides, ..both() });
    let [Update::Announce { attributes, .. }] = updates.as_slice() else { panic!("{updates:?}") };
    let want = Attributes {
        prepend: 3,
        local_pref: Some(10),
        med: Some(4_000_000_000),
        communities: [Community(7), Community(0xffff_0000)].into(),
        ..Attributes::default()
    };
    assert_eq!(**attributes, want);
}

#[test]
fn a_changed_attribute_announces_again_and_never_withdraws() {
    let mut adj_rib_out = AdjRibOut::default();
    let prefixes = ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"];
    let _ = adj_rib_out.advance(&rib_of(&prefixes, true), &both());
    let changes: [fn(&mut Attributes); 10] = [
        |a| a.origin = crate::model::Origin::Incomplete,
        |a| a.med = Some(1),
        |a| a.local_pref = Some(1),
        |a| a.prepend = 1,
        |a| a.next_hop_v4 = Some(Ipv4Addr::new(10, 0, 0, 9)),
        |a| {
            a.communities.insert(Community(1));
        },
        |a| {
            a.extended_communities.insert(crate::model::ExtendedCommunity([1; 8]));
        },
        |a| {
            a.large_communities.insert(crate::model::LargeCommunity([1; 3]));
        },
        |a| a.deprefer = Some(Box::new(Deprefer { prepend: 1, ..Deprefer::default() })),
        |a| *a = Attributes::default(),
    ];
    let mut attributes = Attributes::default();
    for change in changes {
        change(&mut attributes);
        let shared = Arc::new(attributes.clone());
        let routes = prefixes.iter().map(|text| (prefix(text), Arc::clone(&shared))).collect();
        let rib = LocRib { routes, ..rib_of(&prefixes, true) };
        let updates = adj_rib_out.advance(&rib, &both());
        let [Update::Announce { prefixes: said, .. }] = updates.as_slice() else { panic!("{updates:?}") };
        assert_eq!(said.len(), 3);
    }
    // A peer's own attributes have the same effect, and so does their removal.
    let med = Export { overrides: Overrides { med: Some(7), ..Overrides::default() }, ..both() };
    for export in [med, both()] {
        let updates = adj_rib_out.advance(&rib_of(&prefixes, true), &export);
        assert!(matches!(updates.as_slice(), [Update::Announce { .. }]), "{updates:?}");
    }
}

#[test]
fn nothing_is_sent_to_a_drained_router_and_its_end_of_rib_stays() {
    let export = Export {
        families: [Family::V4, Family::V6].into(),
        next_hop_v4: Some(NextHop::V4(Ipv4Addr::new(10, 0, 0, 1))),
        ..Export::default()
    };
    let rib = rib_of(&["192.0.2.80/32", "2001:db8::80/128"], true);
    let (mut ours, mut router) = (AdjRibOut::default(), SimulatedRouter::default());
    let none = BTreeSet::new();
    router.apply(&ours.advance(&rib, &export), &none);
    assert_eq!((router.routes.len(), ours.len(), ours.not_sent().len()), (1, 1, 1));
    let updates = ours.advance(&rib, &export.withholding());
    assert_eq!(updates, [Update::Withdraw(Family::V4, vec![prefix("192.0.2.80/32")])]);
    router.apply(&updates, &none);
    assert!(ours.is_empty() && ours.not_sent().is_empty(), "it is no error that nothing is sent");
    let more = rib_of(&["192.0.2.80/32", "192.0.2.81/32"], true);
    assert_eq!(ours.advance(&more, &export.withholding()), [], "routes that are new are withheld too");
    router.apply(&ours.advance(&more, &export), &none);
    assert_eq!(router.routes.len(), 2);
}

/// The prefixes that a router has after each Loc-RIB, and what was sent to it.
fn received(router: &str, ribs: &[LocRib]) -> Vec<String> {
    let export = Export { peer: Some(router.parse().unwrap()), ..both() };
    let mut sent = AdjRibOut::default();
    let mut all = Vec::new();
    for rib in ribs {
        let updates = sent.advance(rib, &export).into_iter().map(|update| match update {
            Update::Withdraw(_, prefixes) => format!("-{prefixes:?}"),
            Update::Announce { prefixes, attributes, .. } => {
                assert_eq!(attributes.recipients, Recipients::All, "the names are not sent");
                format!("+{prefixes:?}")
            }
            Update::EndOfRib(family) => format!("end of {family}"),
        });
        all.push(updates.collect::<Vec<_>>().join(" "));
        assert!(sent.not_sent().is_empty(), "it is no error");
    }
    all
}

#[test]
fn a_route_reaches_the_routers_that_its_service_names_and_moves_without_an_update_to_the_others() {
    let only =
        |names: &[&str]| Recipients::Only(Arc::new(names.iter().map(|name| name.parse().unwrap()).collect()));
    let rib = |recipients: Recipients| {
        let attributes = Arc::new(Attributes { recipients, ..Attributes::default() });
        let both = [(prefix("192.0.2.1/32"), attributes), (prefix("192.0.2.2/32"), Arc::default())];
        LocRib { routes: both.into_iter().collect(), ..LocRib::default() }
    };
    let ribs = [rib(only(&["r1"])), rib(only(&["r1", "r2"])), rib(only(&["r2"])), rib(Recipients::All)];
    let (one, two) = ("[192.0.2.1/32]", "[192.0.2.2/32]");
    let both_at_once = "+[192.0.2.1/32, 192.0.2.2/32]".to_owned();
    assert_eq!(received("r1", &ribs), [both_at_once, String::new(), format!("-{one}"), format!("+{one}")]);
    assert_eq!(received("r2", &ribs), [format!("+{two}"), format!("+{one}"), String::new(), String::new()]);
    let nothing = String::new;
    assert_eq!(received("r3", &ribs), [format!("+{two}"), nothing(), nothing(), format!("+{one}")]);
}
