use super::*;

/// The generations of the routes of the VIPs of `www`, and that of the Loc-RIB.
fn generations(scene: &mut Scene) -> ([Option<Generation>; 2], Generation) {
    let generation = scene.director.rib().generation;
    let (figures, report) = (scene.director.figures(scene.now), scene.director.report());
    let of = |index: usize| {
        let (figure, reported) = (&figures.services[0].vips[index], &report.services[0].vips[index]);
        assert_eq!(figure.route, reported.vip_route);
        assert_eq!(figure.route.is_some(), reported.route.is_some() && reported.standing.is_advertised());
        figure.route.as_ref().map(|route| route.generation)
    };
    ([of(0), of(1)], generation)
}

#[test]
fn a_route_has_the_generation_in_which_it_last_changed() {
    let mut scene = Scene::all_up();
    let ([v4, v6], first) = generations(&mut scene);
    assert!(v4.is_some() && v4 <= Some(first) && v6 <= Some(first));
    scene.refuse(V6, 0, 3);
    let (routes, second) = generations(&mut scene);
    assert_eq!(routes, [v4, None], "the other VIP's route has not changed");
    assert!(second > first);
    let config = changed("med = 7", "med = 8");
    let _ = scene.director.reload(config, scene.sequence, scene.now);
    let (routes, third) = generations(&mut scene);
    assert_eq!(routes, [Some(third), None], "new attributes are sent again");
    let _ = scene.fact(Fact::Drains(drains(&["www"])));
    assert_eq!(generations(&mut scene).0, [None, None]);
}

#[test]
fn a_next_hop_of_the_service_is_known() {
    let mut scene = Scene::all_up();
    let sources = |scene: &Scene| {
        let figures = scene.director.figures(scene.now);
        [0, 1].map(|index| figures.services[0].vips[index].route.as_ref().map(|route| route.next_hop))
    };
    assert_eq!(sources(&scene), [Some(NextHopSource::Session); 2]);
    let config = changed("med = 7", "next_hop = \"2001:db8::1\"");
    let _ = scene.director.reload(config, scene.sequence, scene.now);
    assert_eq!(sources(&scene), [Some(NextHopSource::Session), Some(NextHopSource::Service)]);
}

#[test]
fn another_list_of_routers_is_sent_as_a_new_route_and_changes_no_standing() {
    let mut scene = Scene::all_up();
    let recipients = |scene: &Scene| {
        let figures = scene.director.figures(scene.now);
        let route = figures.services[0].vips[0].route.clone().unwrap();
        ["r1", "r2"].map(|name| route.recipients.include(&name.parse().unwrap()))
    };
    assert_eq!(recipients(&scene), [true, true]);
    let (before, _) = generations(&mut scene);
    let config = changed("med = 7", "med = 7\npeers = \"r1\"");
    let changes = scene.director.reload(config, scene.sequence, scene.now);
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(recipients(&scene), [true, false]);
    let (after, generation) = generations(&mut scene);
    assert_eq!(after, [Some(generation); 2]);
    assert_ne!(before, after);
}
