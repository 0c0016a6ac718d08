use super::*;
use crate::model::Recipients;

fn vip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A router with these families in its configuration.
pub(super) fn router(name: &str, families: &[Family], progress: SessionProgress) -> RouterSession {
    RouterSession { name: name.parse().unwrap(), families: families.iter().copied().collect(), progress }
}

pub(super) fn up(acknowledged: Generation) -> SessionProgress {
    SessionProgress::Established { acknowledged, not_sent: BTreeMap::new() }
}

fn lacks(why: NotSent) -> SessionProgress {
    SessionProgress::Established { acknowledged: 9, not_sent: [(why.family(), why)].into() }
}

pub(super) fn route(generation: Generation) -> Option<VipRoute> {
    Some(VipRoute { generation, next_hop: NextHopSource::Session, recipients: Recipients::All })
}

const V4: &[Family] = &[Family::V4];
const V6: &[Family] = &[Family::V6];
const BOTH: &[Family] = &[Family::V4, Family::V6];

fn text(address: &str, route: Option<VipRoute>, routers: &[RouterSession]) -> String {
    let delivery = delivery(vip(address), route.as_ref(), routers);
    let missing: Vec<String> = delivery.missing().map(ToString::to_string).collect();
    assert_eq!(missing.len(), delivery.wanted() - delivery.acknowledged());
    format!("{delivery}; {}", missing.join(" "))
}

#[test]
fn each_router_counts_that_should_have_the_route_and_each_that_acknowledged_it() {
    let routers = [
        router("r1", BOTH, up(5)),
        router("r2", V4, up(4)),
        router("r3", BOTH, SessionProgress::Down),
        router("r4", V6, up(5)),
    ];
    // The route of 192.0.2.1 is as old as generation 4, and newer generations do not matter to it.
    for (address, generation, want) in [
        ("192.0.2.1", 4, "sent to 2 of 3 routers; r3"),
        ("192.0.2.1", 5, "sent to 1 of 3 routers; r2 r3"),
        ("192.0.2.1", 6, "no router has acknowledged it yet, 2 are being sent it; r1 r2 r3"),
        ("2001:db8::1", 5, "sent to 2 of 3 routers; r3"),
    ] {
        assert_eq!(text(address, route(generation), &routers), want, "{address} {generation}");
    }
    assert_eq!(text("192.0.2.1", route(1), &routers[..1]), "sent to 1 of 1 router; ");
    assert_eq!(text("192.0.2.1", route(1), &routers[2..]), "sent to no router; r3");
    let sending = "no router has acknowledged it yet, 1 is being sent it; r2";
    assert_eq!(text("192.0.2.1", route(5), &routers[1..2]), sending);
}

#[test]
fn no_router_should_have_a_vip_that_is_drained_or_whose_family_no_peer_has() {
    let routers = [router("r1", V4, up(5))];
    for (address, route) in [("192.0.2.1", None), ("2001:db8::1", route(1))] {
        let delivery = delivery(vip(address), route.as_ref(), &routers);
        assert_eq!((delivery.wanted(), delivery.acknowledged()), (0, 0), "{address}");
    }
    assert_eq!(text("2001:db8::1", route(1), &routers), "sent to no router; ");
}

#[test]
fn an_established_session_that_does_not_send_the_route_does_not_count() {
    for why in [NotSent::FamilyNotNegotiated(Family::V6), NotSent::NoNextHop(Family::V6)] {
        let routers = [router("r1", BOTH, lacks(why)), router("r2", BOTH, up(9))];
        assert_eq!(text("2001:db8::1", route(3), &routers), "sent to 1 of 2 routers; r1");
        assert_eq!(text("192.0.2.1", route(3), &routers), "sent to 2 of 2 routers; ", "the other family");
        assert_eq!(text("2001:db8::1", route(3), &routers[..1]), "sent to no router; r1");
    }
}

#[test]
fn a_route_with_its_own_next_hop_is_sent_where_others_lack_one() {
    let routers = [
        router("r1", BOTH, lacks(NotSent::NoNextHop(Family::V6))),
        router("r2", BOTH, lacks(NotSent::FamilyNotNegotiated(Family::V6))),
    ];
    let own = Some(VipRoute { generation: 3, next_hop: NextHopSource::Service, recipients: Recipients::All });
    assert_eq!(text("2001:db8::1", own, &routers), "sent to 1 of 2 routers; r2");
}

#[test]
fn a_router_that_may_keep_routes_without_a_session_does_not_count() {
    // Graceful restart: nobody can see whether it keeps them.
    let routers = [router("r1", V4, SessionProgress::Down)];
    assert_eq!(text("192.0.2.1", route(3), &routers), "sent to no router; r1");
}

#[test]
fn beside_the_standing_stands_what_was_seen() {
    use crate::director::{LastChoiceReason, NotAnnouncedReason};
    let backup = || Standing::LastChoice(LastChoiceReason::Backup);
    let routers = [router("r1", V4, up(5)), router("r2", V4, SessionProgress::Down)];
    let of = |standing: &Standing, route: Option<VipRoute>, routers: &[RouterSession]| {
        delivery(vip("192.0.2.1"), route.as_ref(), routers).beside(standing)
    };
    assert_eq!(of(&Standing::Announced, route(5), &routers), "announced, sent to 1 of 2 routers");
    assert_eq!(of(&Standing::Announced, route(5), &routers[1..]), "ready, but sent to no router");
    let sentence = "last choice, healthy, a backup: routers use it when other hosts have withdrawn";
    assert_eq!(of(&backup(), route(5), &routers), format!("{sentence}, sent to 1 of 2 routers"));
    assert_eq!(of(&backup(), route(5), &routers[1..]), format!("{sentence}; but sent to no router"));
    let stopping = Standing::NotAnnounced(NotAnnouncedReason::Stopping);
    assert_eq!(of(&stopping, None, &routers), "not announced, announcer is stopping");
}

#[test]
fn a_router_that_the_service_does_not_name_should_not_have_the_route() {
    let routers =
        [router("r1", BOTH, up(5)), router("r2", BOTH, up(5)), router("r3", V6, SessionProgress::Down)];
    for (names, address, want) in [
        (vec!["r1"], "192.0.2.1", "sent to 1 of 1 router; "),
        (vec!["r1", "r2"], "192.0.2.1", "sent to 2 of 2 routers; "),
        (vec!["r2", "r3"], "192.0.2.1", "sent to 1 of 1 router; "),
        (vec!["r2", "r3"], "2001:db8::1", "sent to 1 of 2 routers; r3"),
        (vec!["r3"], "192.0.2.1", "sent to no router; "),
    ] {
        let names = names.into_iter().map(|name| name.parse().unwrap()).collect();
        let route = route(3)
            .map(|route| VipRoute { recipients: Recipients::Only(std::sync::Arc::new(names)), ..route });
        assert_eq!(text(address, route, &routers), want, "{address}");
    }
}
