//! Tests of time: leases, waits, and a process that was stopped.

use super::*;

/// An entry point of the director.
type Entry = fn(&mut Scene) -> Vec<StandingChange>;

/// Every entry point of the director. The facts are about MAIL, or change nothing.
fn entries() -> Vec<(&'static str, Entry)> {
    vec![
        ("time", |scene| scene.director.expire(scene.now)),
        ("a probe", |scene| scene.probes(MAIL, 0, "+")),
        ("the listener watch", |scene| {
            let (vip, at) = (MAIL.parse().unwrap(), scene.now);
            scene.fact(Fact::Listening(ListenerFact { vip, port: 80, listening: true, at }, 0))
        }),
        ("an unknown VIP", |scene| scene.fact(Fact::Vip("192.0.2.99".parse().unwrap(), Presence::Present))),
        ("a VIP", |scene| scene.fact(Fact::Vip(MAIL.parse().unwrap(), Presence::Present))),
        ("the drains", |scene| scene.fact(Fact::Drains(drains(&[])))),
        ("undrain", |scene| scene.fact(Fact::Forgive(vec![DrainTarget::All]))),
        ("a recheck", |scene| scene.fact(Fact::Recheck(None))),
        ("a reload", |scene| scene.reload(changed("med = 7", "med = 8"))),
    ]
}

/// After a stop of the process, the first processed fact may be any of the waiting ones. None of them makes a lease expire (W16).
#[test]
fn a_process_that_stood_still_excuses_the_leases_before_anything_else() {
    for (name, enter) in entries() {
        let mut scene = Scene::all_up();
        scene.now += Duration::from_secs(60);
        assert_eq!(enter(&mut scene), [], "{name}");
        assert_eq!(scene.announced(), [MAIL, V4, V6], "{name}");
        assert_eq!(scene.wait(Duration::from_millis(3_900)), [], "{name}: the leases began anew");
        assert_eq!(scene.wait(Duration::from_millis(200)).len(), 2, "{name}: and they run out");
    }
}

/// An expired lease ends, whichever fact the director receives first.
#[test]
fn a_lease_runs_out_before_anything_else() {
    for (name, enter) in entries() {
        let mut scene = Scene::all_up();
        scene.now += Duration::from_millis(4_100);
        let changes = enter(&mut scene);
        let lapsed: Vec<String> = changes.iter().map(|change| change.vip.to_string()).take(3).collect();
        assert_eq!(lapsed, [MAIL, V4, V6], "{name}");
        let paced = scene.director.take_paced();
        assert!(paced.contains(&(V4.parse().unwrap(), 1)), "{name}: probes come fast again");
        assert!(scene.director.take_watched().is_some(), "{name}: the listener watch knows");
    }
}

#[test]
fn a_lease_ends_at_its_deadline_and_a_delay_of_half_a_second_is_no_standstill() {
    const LEASE: Duration = Duration::from_secs(4);
    for (late, lapsed) in [(0, 3), (500, 3), (501, 0)] {
        let mut scene = Scene::all_up();
        assert_eq!(scene.director.deadline(), Some(scene.now + LEASE));
        scene.now += LEASE + Duration::from_millis(late);
        assert_eq!(scene.director.expire(scene.now).len(), lapsed, "{late} ms late");
    }
    let mut scene = Scene::all_up();
    scene.now += Duration::from_secs(3);
    scene.probes(MAIL, 0, "+");
    let renewed = scene.now;
    scene.now += Duration::from_secs(1);
    assert_eq!(scene.director.expire(scene.now).len(), 2, "the other VIPs");
    assert_eq!(scene.director.deadline(), Some(renewed + LEASE), "nothing is left to do now");
}

#[test]
fn no_wait_ends_by_the_time_in_which_the_process_stood_still() {
    for (name, enter) in entries().into_iter().filter(|(name, _)| *name != "undrain") {
        let delayed =
            CONFIG.replace("vips = [\"192.0.2.25\"]", "vips = [\"192.0.2.25\"]\nannounce_delay = \"10s\"");
        let mut scene = Scene::with(&delayed);
        scene.probes(MAIL, 0, "+");
        scene.now += Duration::from_secs(60);
        if name == "a reload" {
            let delayed = delayed.replace("med = 7", "med = 8");
            scene.reload(Arc::new(config::parse("test.toml", &delayed).unwrap()));
        } else {
            enter(&mut scene);
        }
        assert!(scene.announced().is_empty(), "{name}: nobody saw it healthy for ten seconds");
        scene.wait(Duration::from_secs(10));
        assert_eq!(scene.announced(), [MAIL], "{name}");
    }
}
