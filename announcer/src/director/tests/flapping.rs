//! Tests of a VIP that comes and goes, on one host and on all hosts.

use super::*;

const MAIL_PREFIX: &str = "192.0.2.25/32";

/// How a host announces MAIL's route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Normal,
    LastChoice,
    None,
}

impl Scene {
    fn flapping(flap_damping: &str) -> Self {
        let vips = "vips = [\"192.0.2.25\"]";
        let mut scene = Scene::with(&CONFIG.replace(vips, &format!("{vips}\nflap_damping = {flap_damping}")));
        scene.probes(MAIL, 0, "+");
        scene
    }

    fn mail(&mut self) -> Route {
        match self.route(MAIL_PREFIX) {
            Some(route) if route.deprefer.is_some() => Route::LastChoice,
            Some(_) => Route::Normal,
            None => Route::None,
        }
    }

    fn flap(&mut self) {
        self.probes(MAIL, 0, "-");
        assert_eq!(self.mail(), Route::None);
        self.now += Duration::from_secs(1);
        self.probes(MAIL, 0, "+");
    }
}

#[test]
fn a_vip_that_flaps_is_the_last_choice_or_not_announced_or_neither_and_undrain_ends_that() {
    let last_choice = "last choice, healthy, but it came back 3 times in a short time: the last choice until it \
                       has been healthy for 10s, or until `announcer undrain`";
    let not_announced = "not announced, healthy, but it came back 3 times in a short time: it will be announced after it has \
                         been healthy for 10s, or by `announcer undrain`";
    for (flap_damping, damped, sentence) in [
        ("true", Route::LastChoice, last_choice),
        ("\"withhold\"", Route::None, not_announced),
        ("false", Route::Normal, "announced"),
    ] {
        let mut scene = Scene::flapping(flap_damping);
        for _ in 0..2 {
            scene.flap();
            assert_eq!(scene.mail(), Route::Normal, "two returns are free");
        }
        scene.flap();
        assert_eq!((scene.mail(), scene.sentence(MAIL).as_str()), (damped, sentence), "{flap_damping}");
        let news = usize::from(damped != Route::Normal);
        let mut of_mail = |millis| {
            let changes = scene.wait(Duration::from_millis(millis)).into_iter();
            changes.filter(|change| change.vip.to_string() == MAIL).count()
        };
        assert_eq!((of_mail(9_900), of_mail(200)), (0, news), "{flap_damping}");
        assert_eq!(scene.mail(), Route::Normal);
        scene.flap();
        assert_eq!(scene.mail(), damped);
        scene.fact(Fact::Forgive(vec![DrainTarget::of_file("www")]));
        assert_eq!(scene.mail(), damped, "another service was forgiven");
        scene.fact(Fact::Forgive(vec![DrainTarget::of_file("www"), DrainTarget::of_file("mail")]));
        assert_eq!(scene.mail(), Route::Normal);
    }
}

#[test]
fn end_of_rib_does_not_wait_for_a_vip_that_flaps() {
    let mut scene = Scene::flapping("\"withhold\"");
    for (vip, check) in [(V4, 0), (V4, 1), (V6, 0), (V6, 1)] {
        scene.probes(vip, check, "++");
    }
    (0..3).for_each(|_| scene.flap());
    assert_eq!(scene.mail(), Route::None);
    assert!(scene.director.rib().complete);
}

#[test]
fn what_else_speaks_against_a_vip_that_flaps_counts_as_ever() {
    let mut scene = Scene::flapping("true");
    (0..3).for_each(|_| scene.flap());
    assert_eq!(scene.mail(), Route::LastChoice);
    scene.fact(Fact::Drains(drains(&["mail"])));
    assert_eq!(scene.mail(), Route::None);
    scene.fact(Fact::Drains(drains(&[])));
    assert_eq!(scene.mail(), Route::LastChoice);
    scene.fact(Fact::Vip(MAIL.parse().unwrap(), Presence::Missing("gone".into())));
    assert_eq!(scene.mail(), Route::None);
    scene.fact(Fact::Vip(MAIL.parse().unwrap(), Presence::Present));
    assert_eq!(scene.mail(), Route::LastChoice);
    scene.fact(Fact::Stop);
    assert_eq!(scene.mail(), Route::None);
}

#[test]
fn a_reload_of_flap_damping_counts_at_once() {
    let with = |flap_damping: &str| {
        let vips = "vips = [\"192.0.2.25\"]";
        changed(vips, &format!("{vips}\nflap_damping = {flap_damping}"))
    };
    let mut scene = Scene::flapping("true");
    (0..3).for_each(|_| scene.flap());
    for (flap_damping, route) in [
        ("true", Route::LastChoice),
        ("\"withhold\"", Route::None),
        ("true", Route::LastChoice),
        ("false", Route::Normal),
        ("true", Route::Normal), // it has joined during this time
    ] {
        scene.reload(with(flap_damping));
        assert_eq!(scene.mail(), route, "{flap_damping}");
    }
}

/// Several hosts and a router. The router uses only the normal routes, and the last choices only if there is no normal route.
struct FlappingSite {
    hosts: Vec<Scene>,
}

impl FlappingSite {
    fn new(flap_damping: &str) -> Self {
        FlappingSite { hosts: (0..3).map(|_| Scene::flapping(flap_damping)).collect() }
    }

    /// The hosts to which the router sends.
    fn next_hops(&mut self) -> Vec<usize> {
        let routes: Vec<Route> = self.hosts.iter_mut().map(Scene::mail).collect();
        let best = if routes.contains(&Route::Normal) { Route::Normal } else { Route::LastChoice };
        (0..routes.len()).filter(|host| routes[*host] == best).collect()
    }

    /// Each of these hosts probes MAIL's backend every half second, for this time.
    fn probe(&mut self, hosts: &[usize], outcome: &str, seconds: u64) {
        for _ in 0..2 * seconds {
            for (index, host) in self.hosts.iter_mut().enumerate() {
                host.now += Duration::from_millis(500);
                let _ = host.director.expire(host.now);
                host.probes(MAIL, 0, if hosts.contains(&index) { outcome } else { "+" });
            }
        }
    }
}

/// A backend that all hosts share fails three times in a minute. When it is back, the VIP is reachable at once.
#[test]
fn damping_takes_no_site_down_whose_shared_backend_failed_three_times() {
    for (flap_damping, at_once) in [("true", &[0, 1, 2][..]), ("\"withhold\"", &[])] {
        let mut site = FlappingSite::new(flap_damping);
        let all = [0, 1, 2];
        for failure in 1..=3 {
            site.probe(&all, "-", 5);
            assert!(site.next_hops().is_empty(), "failure {failure}");
            site.probe(&all, "+", 1);
            assert_eq!(
                site.next_hops(),
                if failure < 3 { &all[..] } else { at_once },
                "{flap_damping}: {failure}"
            );
        }
        site.probe(&all, "+", 9);
        assert_eq!(site.next_hops(), at_once, "{flap_damping}: nine seconds later");
        site.probe(&all, "+", 1);
        assert_eq!(site.next_hops(), all, "{flap_damping}: ten seconds later");
        assert!(site.hosts.iter_mut().all(|host| host.mail() == Route::Normal));
    }
}

/// The purpose of damping: a single host that flaps does not join the ECMP group again and again.
#[test]
fn one_host_that_flaps_gets_nothing_while_the_others_are_well() {
    for flap_damping in ["true", "\"withhold\""] {
        let mut site = FlappingSite::new(flap_damping);
        for failure in 1..=4 {
            site.probe(&[0], "-", 2);
            assert_eq!(site.next_hops(), [1, 2], "{flap_damping}");
            site.probe(&[0], "+", 1);
            let next_hops = if failure < 3 { &[0, 1, 2][..] } else { &[1, 2] };
            assert_eq!(site.next_hops(), next_hops, "{flap_damping}: {failure}");
        }
    }
}
