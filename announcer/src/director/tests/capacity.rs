//! Tests of a VIP with `min_announcers`, whose probes fail.

use super::*;
use crate::director::resume::{FoundFacts, KernelFacts};
use crate::monotonic::HostStart;

/// `mail` needs one other member.
fn scene(more: &str) -> Scene {
    let vips = "vips = [\"192.0.2.25\"]";
    let chain =
        "[chain]\ninterface = \"eth0\"\nmembers = [\"10.0.1.11\", \"10.0.1.12\"]\nkey_file = \"/k\"\n";
    let text = CONFIG.replace(vips, &format!("{vips}\nmin_announcers = 1\n{more}")) + chain;
    Scene::with(&text)
}

fn enough(scene: &mut Scene, vips: &[&str]) -> Vec<StandingChange> {
    scene.fact(Fact::EnoughOthers(Arc::new(vips.iter().map(|vip| vip.parse().unwrap()).collect())))
}

#[test]
fn a_vip_whose_probes_fail_is_the_last_choice_until_enough_others_announce_it() {
    let mut scene = scene("");
    scene.probes(MAIL, 0, "+");
    assert_eq!(scene.standing(MAIL), Standing::Announced);
    let changes = scene.probes(MAIL, 0, "-");
    assert_eq!(changes.len(), 1);
    assert_eq!(scene.announced(), [MAIL]);
    assert_eq!(
        scene.sentence(MAIL),
        "last choice, 1 of 1 probes failed (last: HTTP 503 after 12 ms); not withdrawn, because too few other frontends are known to announce it (`min_announcers`)"
    );
    assert_eq!(enough(&mut scene, &[V4]), []);
    assert_eq!(enough(&mut scene, &[MAIL]).len(), 1);
    assert_eq!(scene.announced(), [""; 0]);
    assert_eq!(scene.sentence(MAIL), "not announced, 1 of 1 probes failed (last: HTTP 503 after 12 ms)");
    assert_eq!(enough(&mut scene, &[]).len(), 1, "they are too few again");
    assert_eq!(scene.announced(), [MAIL]);
    scene.probes(MAIL, 0, "+");
    assert_eq!(scene.standing(MAIL), Standing::Announced);
}

#[test]
fn without_a_listener_or_without_the_vip_it_is_withdrawn() {
    let up = || {
        let mut scene = scene("");
        scene.probes(MAIL, 0, "+");
        scene.probes(MAIL, 0, "-");
        assert_eq!(scene.announced(), [MAIL]);
        scene
    };
    let mut refused = up();
    refused.refuse(MAIL, 0, 1);
    assert_eq!(refused.announced(), [""; 0]);
    let mut gone = up();
    let (vip, now) = (MAIL.parse().unwrap(), gone.now);
    gone.fact(Fact::Listening(ListenerFact { vip, port: 80, listening: false, at: now }, 0));
    assert_eq!(gone.announced(), [""; 0]);
    let mut missing = up();
    missing.fact(Fact::Vip(vip, Presence::Missing("gone".into())));
    assert_eq!(missing.announced(), [""; 0]);
    let mut drained = up();
    drained.fact(Fact::Drains(drains(&["mail@ann"])));
    assert_eq!(drained.sentence(MAIL), "drained by ann: kernel");
    let mut stopped = up();
    stopped.fact(Fact::Stop);
    assert_eq!(stopped.announced(), [""; 0]);
}

#[test]
fn a_check_without_a_port_does_not_show_that_a_server_listens() {
    for (check, announced) in [("http = \"http://mail.example.com/\"", &[MAIL][..]), ("file = \"/up\"", &[])]
    {
        let text = CONFIG
            .replace("http = \"http://mail.example.com/\"", check)
            .replace("vips = [\"192.0.2.25\"]", "vips = [\"192.0.2.25\"]\nmin_announcers = 1")
            + "[chain]\ninterface = \"eth0\"\nmembers = [\"10.0.1.11\", \"10.0.1.12\"]\nkey_file = \"/k\"\n";
        let mut scene = Scene::with(&text);
        scene.probes(MAIL, 0, "+");
        scene.probes(MAIL, 0, "-");
        assert_eq!(scene.announced(), announced, "{check}");
    }
}

#[test]
fn it_stays_the_last_choice_while_it_waits_to_be_announced_again() {
    let mut scene = scene("announce_delay = \"3s\"");
    scene.probes(MAIL, 0, "+");
    assert_eq!(scene.announced(), [""; 0], "at a start it waits");
    scene.now += Duration::from_secs(3);
    scene.probes(MAIL, 0, "+");
    assert_eq!(scene.standing(MAIL), Standing::Announced);
    scene.probes(MAIL, 0, "-+");
    assert!(matches!(scene.standing(MAIL), Standing::LastChoice(LastChoiceReason::TooFewOthers(_))));
    scene.now += Duration::from_secs(3);
    scene.probes(MAIL, 0, "+");
    assert_eq!(scene.standing(MAIL), Standing::Announced);
}

#[test]
fn without_the_key_or_without_the_chain_it_is_withdrawn() {
    let mut scene = Scene::with(CONFIG);
    scene.probes(MAIL, 0, "+");
    scene.probes(MAIL, 0, "-");
    assert_eq!(scene.announced(), [""; 0]);
}

#[test]
fn the_next_process_goes_on_with_what_was_announced() {
    for (others, announced) in [(&[MAIL][..], &[""; 0][..]), (&[], &[MAIL])] {
        let mut scene = scene("");
        scene.probes(MAIL, 0, "+");
        scene.probes(MAIL, 0, "-");
        let _ = enough(&mut scene, others);
        assert_eq!(scene.announced(), announced);
        let start = HostStart::new(scene.now, Duration::from_secs(60));
        let vips =
            scene.director.take_unstored(start).into_iter().filter_map(|(vip, found)| Some((vip, found?)));
        let present = [MAIL.parse().unwrap()].into();
        let kernel = KernelFacts { present, ..KernelFacts::default() };
        let found = FoundFacts { vips: vips.collect(), kernel };
        let config = Arc::clone(&scene.director.config);
        scene.director = Director::resumed(config, drains(&[]), &found, start, scene.now);
        assert_eq!(scene.announced(), announced);
    }
}
