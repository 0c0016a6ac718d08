//! Tests of failures and their effects.

use super::*;

#[test]
fn a_verdict_that_no_probe_renews_lapses() {
    let mut scene = Scene::all_up();
    assert_eq!(scene.wait(Duration::from_millis(3_900)), []);
    let lapsed: Vec<IpAddr> =
        scene.wait(Duration::from_millis(200)).into_iter().map(|change| change.vip).collect();
    assert_eq!(
        lapsed,
        [V4.parse::<IpAddr>().unwrap(), V6.parse().unwrap()],
        "3 x interval + timeout; MAIL's probes go on"
    );
    assert_eq!(scene.announced(), [MAIL]);
    assert_eq!(scene.sentence(V4), "not announced, check `http`: no probe has ended for 4s");
    for check in [0, 1] {
        scene.probes(V4, check, "+");
    }
    assert_eq!(scene.announced(), [MAIL], "it has to rise again");
    for check in [0, 1] {
        scene.probes(V4, check, "+");
    }
    assert_eq!(scene.announced(), [MAIL, V4]);
}

/// A probe loop that no longer reports says nothing about the server, so no `on_failure` lets its check count as passed.
#[test]
fn a_verdict_that_lapses_withdraws_whatever_a_failure_does() {
    for on_failure in ["withdraw", "deprefer", "warn"] {
        let vips = "vips = [\"192.0.2.25\"]";
        let mut scene = Scene::with(&CONFIG.replace(vips, &format!("{vips}\non_failure = \"{on_failure}\"")));
        scene.probes(MAIL, 0, "+");
        assert_eq!(scene.announced(), [MAIL]);
        scene.now += Duration::from_millis(4_100);
        assert_eq!(scene.director.expire(scene.now).len(), 1, "{on_failure}");
        assert_eq!(scene.announced(), [""; 0], "{on_failure}");
    }
}

#[test]
fn the_only_check_of_a_service_needs_no_name() {
    let mut scene = Scene::with_vips(&[]);
    scene.probes(MAIL, 0, "-");
    let Standing::NotAnnounced(NotAnnouncedReason::Unhealthy(evidence)) = scene.standing(MAIL) else {
        panic!("{:?}", scene.standing(MAIL))
    };
    assert_eq!(evidence.check, None);
}

#[test]
fn a_process_that_stood_still_holds_that_against_no_probe() {
    let mut scene = Scene::all_up();
    scene.now += Duration::from_secs(60);
    assert_eq!(scene.director.expire(scene.now), []);
    assert_eq!(scene.announced(), [MAIL, V4, V6]);
    let lapsed = scene.wait(Duration::from_millis(4_500));
    assert_eq!(lapsed.len(), 2, "from now on it counts");
}

#[test]
fn a_listener_that_is_gone_withdraws_at_once_whatever_a_failure_does_and_back_is_asked_at_once() {
    for on_failure in ["withdraw", "deprefer", "warn"] {
        let mut scene =
            Scene::with(&CONFIG.replace("med = 7", &format!("med = 7\non_failure = \"{on_failure}\"")));
        for (vip, check) in [(V4, 0), (V4, 1), (V6, 0), (V6, 1)] {
            scene.probes(vip, check, "++");
        }
        let _ = (scene.director.take_paced(), scene.director.take_watched());
        let (vip, at) = (V4.parse().unwrap(), scene.now);
        let since = scene.sequence + 2;
        let listening = |listening, port| Fact::Listening(ListenerFact { vip, port, listening, at }, since);
        assert_eq!(scene.fact(listening(false, 443)), [], "nobody asks there");
        assert_eq!(scene.fact(listening(false, 80)).len(), 1);
        assert_eq!(scene.announced(), [V6], "{on_failure}");
        assert_eq!(scene.sentence(V4), "not announced, check `http`: nothing listens any more");
        assert!(!scene.director.take_watched().unwrap().pairs[&(vip, 80)].up);
        scene.probes(V4, 0, "+"); // a probe that was running
        let rechecks = scene.director.pace(vip, 0).unwrap().rechecks;
        scene.fact(listening(true, 80));
        assert_eq!(scene.director.pace(vip, 0).unwrap().rechecks, rechecks + 1);
        assert!(scene.director.take_paced().contains(&(vip, 1)));
        scene.probes(V4, 0, "++");
        assert_eq!(scene.announced(), [V6]);
        scene.probes(V4, 1, "++");
        assert_eq!(scene.announced(), [V4, V6]);
    }
}

#[test]
fn the_mildest_thing_that_makes_up_for_what_fails_is_done() {
    let check = |index: usize, on_failure: &str| {
        format!(
            "[[service.check]]\nhttp = \"http://www.example.com/{index}\"\nrise = 1\nfall = 1\non_failure = \"{on_failure}\"\n"
        )
    };
    let head = &CONFIG[..CONFIG.find("[[service.check]]").unwrap()];
    let word = |require: &str, checks: &[(&str, char)]| {
        let checks_text: String = (0..).zip(checks).map(|(index, (what, _))| check(index, what)).collect();
        let mut scene = Scene::with(&format!("{head}require = {require}\n{checks_text}"));
        for (index, (_, outcome)) in checks.iter().enumerate().filter(|(_, (_, outcome))| *outcome != '?') {
            scene.probes(V4, index, &outcome.to_string());
        }
        let report = scene.director.report();
        (report.vips().next().unwrap().1.standing.word(), report.warnings(scene.now).len())
    };
    const W: &str = "withdraw";
    const D: &str = "deprefer";
    for (require, checks, want, warnings) in [
        ("\"all\"", vec![(W, '+'), (W, '+')], "announced", 0),
        ("\"all\"", vec![(W, '+'), (W, '-')], "not_announced", 0),
        ("\"any\"", vec![(W, '+'), (W, '-')], "announced", 0),
        ("\"any\"", vec![(W, '-'), (W, '-')], "not_announced", 0),
        ("\"any\"", vec![(W, '?'), (W, '+')], "announced", 0),
        ("\"any\"", vec![(W, '?'), (W, '-')], "starting", 0),
        ("2", vec![(W, '+'), (W, '-'), (W, '+')], "announced", 0),
        ("2", vec![(W, '+'), (W, '-'), (W, '-')], "not_announced", 0),
        ("\"all\"", vec![(W, '+'), (D, '-')], "last_choice", 0),
        ("\"all\"", vec![(W, '-'), (D, '-')], "not_announced", 0),
        ("\"all\"", vec![(W, '+'), (D, '?')], "starting", 0),
        ("\"all\"", vec![(W, '+'), ("warn", '-')], "announced", 1),
        ("\"all\"", vec![(W, '+'), ("warn", '?')], "announced", 0),
        ("\"all\"", vec![("warn", '-'), (D, '-')], "last_choice", 1),
        ("\"any\"", vec![(W, '-'), (D, '-')], "last_choice", 0),
    ] {
        assert_eq!(word(require, &checks), (want, warnings), "{require} {checks:?}");
    }
}

#[test]
fn a_vip_that_is_the_last_choice_stays_announced_with_less_and_a_dead_server_is_withdrawn() {
    let text = CONFIG.replace("med = 7", "med = 7\non_failure = \"deprefer\"\nlocal_pref = 200");
    let text = text.replacen("[[service.check]]", "[service.deprefer]\nprepend = 2\n[[service.check]]", 1);
    let mut scene = Scene::with(&text);
    for (vip, check) in [(V4, 0), (V4, 1), (V6, 0), (V6, 1)] {
        scene.probes(vip, check, "++");
    }
    let before = scene.route("192.0.2.80/32").unwrap();
    let changes = scene.probes(V4, 1, "---");
    assert_eq!(changes.len(), 1);
    assert_eq!(
        scene.sentence(V4),
        "last choice, check `http-2`: 3 of 3 probes failed (last: HTTP 503 after 12 ms)"
    );
    let after = scene.route("192.0.2.80/32").unwrap();
    assert_eq!((before.deprefer.as_ref(), before.local_pref), (None, Some(200)));
    let deprefer = after.deprefer.as_ref().unwrap();
    assert_eq!((deprefer.prepend, deprefer.local_pref), (2, Some(0)));
    assert_eq!(scene.route("2001:db8::80/128").unwrap(), before, "verdicts are per VIP");
    scene.refuse(V4, 1, 3);
    assert_eq!(scene.announced(), [V6], "a server that is not there is no backend that fails");
    scene.probes(V4, 1, "++");
    assert_eq!(scene.route("192.0.2.80/32").unwrap(), before);
}

#[test]
fn a_backup_is_the_last_choice_while_all_is_well_and_withdrawn_when_it_fails() {
    let mut scene =
        Scene::with(&CONFIG.replace("vips = [\"192.0.2.25\"]", "vips = [\"192.0.2.25\"]\nbackup = true"));
    scene.probes(MAIL, 0, "+");
    assert_eq!(
        scene.sentence(MAIL),
        "last choice, healthy, a backup: routers use it when other hosts have withdrawn"
    );
    assert!(scene.route("192.0.2.25/32").unwrap().deprefer.is_some());
    scene.probes(MAIL, 0, "-");
    assert_eq!(scene.announced(), [""; 0]);
}

/// A probe that timed out is judged by `on_timeout`, and late answers by `on_slow`, whatever a failure does.
#[test]
fn timeouts_and_slow_answers_have_their_own_effects() {
    let head = &CONFIG[..CONFIG.find("[[service.check]]").unwrap()];
    let check =
        "[[service.check]]\nhttp = \"http://www.example.com/\"\nrise = 2\nfall = 2\nslow = \"300ms\"\n";
    const PROBES: [&str; 5] = ["++", "++tt", "++tttt-t", "++--tt", "++ss"];
    const LOST: &str = "not_announced, unhealthy, 0";
    const LAST: &str = "last_choice, unhealthy, 0";
    const SLOW: &str = "last_choice, slow, 0";
    const WARNED: &str = "announced, healthy, 1";
    for (service, keys, want) in [
        ("", "", [LOST, LOST, LOST, WARNED]),
        ("", "on_timeout = \"deprefer\"", [LAST, LAST, LOST, WARNED]),
        ("on_timeout = \"deprefer\"", "", [LAST, LAST, LOST, WARNED]),
        ("on_timeout = \"deprefer\"", "on_timeout = \"warn\"", [WARNED, WARNED, LOST, WARNED]),
        // The check's own `on_failure` is for all its failures.
        ("on_timeout = \"deprefer\"", "on_failure = \"warn\"", [WARNED, WARNED, WARNED, WARNED]),
        ("on_failure = \"deprefer\"\non_timeout = \"withdraw\"", "", [LOST, LOST, LAST, WARNED]),
        ("", "on_slow = \"deprefer\"", [LOST, LOST, LOST, SLOW]),
    ] {
        let wants = ["announced, healthy, 0"].into_iter().chain(want);
        for (probes, want) in PROBES.into_iter().zip(wants) {
            let mut scene = Scene::with(&format!("{head}{service}\n{check}{keys}\n"));
            scene.probes(V4, 0, probes);
            let report = scene.director.report();
            let standing = &report.vips().next().unwrap().1.standing;
            let warnings = report.warnings(scene.now).len();
            assert_eq!(scene.director.figures(scene.now).warnings, warnings, "{service} {keys} {probes}");
            let seen = format!("{}, {}, {warnings}", standing.word(), standing.label());
            assert_eq!(seen, want, "{service} {keys} {probes}");
        }
    }
}
