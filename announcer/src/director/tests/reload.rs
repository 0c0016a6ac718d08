//! Tests of reloads: which state is kept.

use super::*;
use crate::director::preview::VipPreview;

#[test]
fn a_changed_check_inherits_the_verdict_and_withdraws_only_by_failing_itself() {
    for (from, to) in [
        ("example.com/healthz", "example.com/health"),
        ("rise = 1", "rise = 9"),
        ("fall = 1", "fall = 2\ntimeout = \"7s\""),
        ("name = \"www\"", "name = \"web\""),
    ] {
        let mut scene = Scene::all_up();
        let before = scene.director.rib();
        assert_eq!(scene.reload(changed(from, to)), [], "{to}");
        assert_eq!(scene.director.rib(), before, "{to}: not even a new generation");
    }
    let mut scene = Scene::all_up();
    scene.reload(changed("example.com/healthz", "example.com/health"));
    scene.probes(V4, 0, "--");
    assert_eq!(scene.announced(), [MAIL, V4, V6]);
    scene.probes(V4, 0, "-");
    assert_eq!(scene.announced(), [MAIL, V6]);
}

#[test]
fn a_check_that_stays_keeps_its_streak() {
    let mut scene = Scene::all_up();
    scene.probes(V4, 1, "--");
    scene.reload(changed("example.com/healthz", "example.com/health"));
    scene.probes(V4, 1, "-");
    assert_eq!(scene.announced(), [MAIL, V6]);
}

#[test]
fn a_vip_new_to_the_host_starts_from_nothing() {
    let mut scene = Scene::all_up();
    scene.reload(changed("\"192.0.2.25\"", "\"192.0.2.25\", \"192.0.2.26\""));
    assert_eq!(scene.announced(), [MAIL, V4, V6]);
    assert!(!scene.director.rib().complete);
    scene.probes("192.0.2.26", 0, "+");
    assert_eq!(scene.sentence("192.0.2.26"), "starting, the addresses of lo were not read yet");
    scene.fact(Fact::Vip("192.0.2.26".parse().unwrap(), Presence::Present));
    assert_eq!(scene.announced(), [MAIL, "192.0.2.26", V4, V6]);
}

/// The probes and the look at the addresses before were in another VRF.
#[test]
fn a_vip_in_another_vrf_starts_from_nothing() {
    let with = |vrf: &str| CONFIG.replacen("med = 7", &format!("med = 7\npeers = [\"r1\"]\n{vrf}"), 1);
    for (before, after, device, moves) in [
        ("", "vrf = \"edge\"", "edge", true),
        ("vrf = \"edge\"", "vrf = \"red\"", "red", true),
        ("vrf = \"edge\"", "", "lo", true),
        ("vrf = \"edge\"", "vrf = \"edge\"\nweight = 7", "edge", false),
    ] {
        let mut scene = Scene::with(&with(before));
        for (vip, check) in [(V4, 0), (V4, 1), (V6, 0), (V6, 1), (MAIL, 0)] {
            scene.probes(vip, check, "++");
        }
        assert_eq!(scene.announced(), [MAIL, V4, V6]);
        let config = Arc::new(config::parse("test.toml", &with(after)).unwrap());
        assert_eq!(scene.director.would(&config, scene.now).vips.iter().any(VipPreview::is_withdrawn), moves);
        let since = scene.sequence + 10;
        let changes = scene.director.reload(config, since, scene.now);
        assert_eq!(changes.len(), if moves { 2 } else { 0 }, "{before} -> {after}");
        if !moves {
            assert_eq!(scene.announced(), [MAIL, V4, V6]);
            continue;
        }
        assert_eq!(scene.announced(), [MAIL], "{before} -> {after}");
        assert_eq!(scene.sentence(V4), format!("starting, the addresses of {device} were not read yet"));
        // A late pass is from the other VRF.
        scene.fact(Fact::Vip(V4.parse().unwrap(), Presence::Present));
        for check in [0, 1] {
            scene.probes(V4, check, "++");
        }
        assert_eq!(scene.announced(), [MAIL], "{before} -> {after}");
        scene.sequence = since;
        for check in [0, 1] {
            scene.probes(V4, check, "++");
        }
        assert_eq!(scene.announced(), [MAIL, V4], "{before} -> {after}");
    }
}

#[test]
fn a_removed_vip_is_withdrawn_and_an_attribute_announced_again() {
    let mut scene = Scene::all_up();
    scene.reload(changed("vips = [\"192.0.2.80\", \"2001:db8::80\"]", "vips = [\"192.0.2.80\"]"));
    assert_eq!(scene.announced(), [MAIL, V4]);
    let mut scene = Scene::all_up();
    let before = scene.director.rib().generation;
    scene.reload(changed("med = 7", "med = 8"));
    assert_eq!(scene.announced(), [MAIL, V4, V6]);
    assert_eq!(scene.director.rib().generation, before + 1);
}

#[test]
fn what_an_old_probe_saw_is_not_held_against_the_new_check() {
    let mut scene = Scene::all_up();
    let old = scene.sequence;
    scene.reload(changed("fall = 1", "fall = 1\ntimeout = \"7s\""));
    scene.sequence = old - 1; // a late result of the old loop's probe
    scene.probes(MAIL, 0, "-");
    assert_eq!(scene.announced(), [MAIL, V4, V6]);
}

/// A VIP that was removed and comes back is new: a probe that was started before does not count for it.
#[test]
fn what_a_probe_of_an_earlier_time_saw_does_not_count_for_a_vip_that_comes_back() {
    let mut scene = Scene::all_up();
    scene.reload(changed("\"192.0.2.25\"", "\"192.0.2.26\""));
    let old = scene.sequence;
    scene.reload(changed("med = 7", "med = 8"));
    scene.fact(Fact::Vip(MAIL.parse().unwrap(), Presence::Present));
    scene.sequence = old - 1;
    scene.probes(MAIL, 0, "+");
    assert_eq!(scene.announced(), [V4, V6]);
    scene.sequence = old + 1;
    scene.probes(MAIL, 0, "+");
    assert_eq!(scene.announced(), [MAIL, V4, V6]);
}

/// A check with the same request keeps its own verdict. A reload that makes its failure count withdraws at once, and is refused if
/// it would withdraw every VIP (W6, by a key of the check).
#[test]
fn a_check_that_asks_the_same_keeps_its_own_verdict() {
    let ready = "http = \"http://www.example.com/ready\"";
    let with = |service: &str, check: &str| {
        let text = CONFIG.replace(ready, &format!("{ready}\n{check}"));
        text.replace("med = 7", &format!("med = 7\n{service}"))
    };
    let any = with("require = \"any\"", "");
    for (before, after) in [
        (with("", "on_failure = \"warn\""), CONFIG.to_owned()),
        (with("", "on_failure = \"deprefer\""), CONFIG.to_owned()),
        (with("", "on_failure = \"warn\""), with("", "on_failure = \"withdraw\"\ninterval = \"2s\"")),
        (any.clone(), with("", "fall = 2")),
        (any.clone(), with("", "rise = 9\nname = \"other\"")),
        (any, with("", "timeout = \"2s\"")),
    ] {
        let mut scene = Scene::with(&before);
        scene.probes(V4, 0, "++");
        scene.probes(V4, 1, "---");
        assert_eq!(scene.announced(), [V4], "{before}");
        let config = Arc::new(config::parse("test.toml", &after).unwrap());
        assert!(scene.director.would(&config, scene.now).withdraws_every_vip(), "{after}");
        scene.reload(config);
        assert_eq!(scene.announced(), [""; 0], "{after}");
        assert!(scene.sentence(V4).contains("probes failed (last: HTTP 503"), "{}", scene.sentence(V4));
    }
}

/// An unchanged check continues with its running probes, but at another index a probe of the old loop belongs to another check.
#[test]
fn a_running_probe_counts_for_an_unchanged_check_at_its_index() {
    let named = CONFIG
        .replace("http = \"http://www.example.com/healthz\"", "name = \"a\"\nhttp = \"http://a/\"")
        .replace("http = \"http://www.example.com/ready\"", "name = \"b\"\nhttp = \"http://b/\"");
    let swapped = named.replace("\"a\"", "\"c\"").replace("\"b\"", "\"a\"").replace("\"c\"", "\"b\"");
    let swapped = swapped
        .replace("http://a/", "http://c/")
        .replace("http://b/", "http://a/")
        .replace("http://c/", "http://b/");
    for (text, counts) in [(named.replace("med = 7", "med = 8"), true), (swapped, false)] {
        let mut scene = Scene::with(&named);
        for check in [0, 1] {
            scene.probes(V4, check, "++");
        }
        let since = scene.sequence + 10;
        let config = Arc::new(config::parse("test.toml", &text).unwrap_or_else(|errors| panic!("{errors}")));
        assert_eq!(scene.director.reload(config, since, scene.now), []);
        scene.probes(V4, 0, "---");
        assert_eq!(scene.announced().is_empty(), counts, "{text}");
    }
}

/// A check with another request starts with the verdict of the VIP, and not with that of the check before it.
#[test]
fn a_check_with_another_request_starts_with_the_verdict_of_the_vip() {
    let any = CONFIG.replace("med = 7", "med = 7\nrequire = \"any\"");
    let mut scene = Scene::with(&any);
    scene.probes(V4, 0, "++");
    scene.probes(V4, 1, "---");
    let verdicts = |scene: &Scene| {
        let report = scene.director.report();
        report.services[0].vips[0].checks.iter().map(|check| check.verdict).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&scene), [Verdict::Up, Verdict::Down]);
    let config = config::parse("test.toml", &any.replace("/ready", "/ready2")).unwrap();
    scene.reload(Arc::new(config));
    assert_eq!(verdicts(&scene), [Verdict::Up, Verdict::Up]);
}
