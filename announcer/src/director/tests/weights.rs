//! Tests of the weights of services.

use super::*;
use crate::model::Weight;

/// The extended communities of each route, in the order of the prefixes.
fn communities(director: &mut Director) -> Vec<String> {
    let rib = director.rib();
    let of = |attributes: &Arc<Attributes>| {
        let words = attributes.extended_communities.iter().map(ToString::to_string);
        words.collect::<Vec<_>>().join(" ")
    };
    rib.routes.iter().map(|(_, attributes)| of(attributes)).collect()
}

fn scene(keys_of_www: &str, keys_of_mail: &str) -> Scene {
    let text = CONFIG
        .replace("med = 7", keys_of_www)
        .replace("vips = [\"192.0.2.25\"]", &format!("vips = [\"192.0.2.25\"]\n{keys_of_mail}"));
    let mut scene = Scene::with(&text);
    for (vip, checks) in [(V4, 2), (V6, 2), (MAIL, 1)] {
        scene.fact(Fact::Vip(vip.parse().unwrap(), Presence::Present));
        (0..checks).for_each(|check| drop(scene.probes(vip, check, "++")));
    }
    assert_eq!(scene.announced(), [MAIL, V4, V6]);
    scene
}

fn weights(of: &[(&str, u8)]) -> Fact {
    let one = |(name, weight): &(&str, u8)| (name.parse().unwrap(), Weight::new(*weight).unwrap());
    Fact::Weights(Arc::new(of.iter().map(one).collect()))
}

const W10: &str = "bandwidth:65001:12500000";
const W30: &str = "bandwidth:65001:37500000";
const W70: &str = "bandwidth:65001:87500000";

#[test]
fn the_routes_of_a_service_have_its_weight_also_as_the_last_choice() {
    let mut scene = scene("weight = 70\nextended_communities = [\"rt:65001:80\"]\nbackup = true", "");
    let both = format!("rt:65001:80 {W70}");
    assert_eq!(communities(&mut scene.director), ["", &both, &both]);
    let report = scene.director.report();
    let seen = |index: usize| report.services[index].weight.map(Weight::get);
    assert_eq!((seen(0), seen(1)), (Some(70), None));
}

#[test]
fn the_weight_of_a_file_counts_before_the_key_and_changes_no_other_route() {
    let mut scene = scene("weight = 30\nweight_file = \"/run/w\"", "weight = 10");
    assert_eq!(communities(&mut scene.director), [W10, W30, W30], "the file is not read yet");
    let before = scene.director.rib().generation;
    // `mail` has no file, so that a weight under its name means nothing.
    assert_eq!(scene.fact(weights(&[("www", 70), ("mail", 1)])), [], "no standing changes");
    assert_eq!(communities(&mut scene.director), [W10, W70, W70]);
    let rib = scene.director.rib();
    assert_eq!(rib.generation, before + 1);
    let report = scene.director.report();
    let generation = |index: usize| report.services[index].vips[0].vip_route.as_ref().unwrap().generation;
    assert_eq!(generation(0), rib.generation);
    assert!(generation(1) <= before);
    assert_eq!(scene.fact(weights(&[("www", 70)])), []);
    assert_eq!(scene.director.rib().generation, rib.generation, "nothing has changed");
    scene.fact(weights(&[]));
    assert_eq!(communities(&mut scene.director), [W10, W30, W30]);
}

#[test]
fn a_reload_keeps_the_weight_of_a_file() {
    let mut scene = scene("weight_file = \"/run/w\"", "");
    scene.fact(weights(&[("www", 70)]));
    let text = CONFIG.replace("med = 7", "weight = 10\nweight_file = \"/run/other\"");
    let config = Arc::new(config::parse("test.toml", &text).unwrap());
    let _ = scene.director.reload(config, 0, scene.now);
    assert_eq!(communities(&mut scene.director), ["", W70, W70]);
    let text = CONFIG.replace("med = 7", "weight = 10");
    let config = Arc::new(config::parse("test.toml", &text).unwrap());
    let _ = scene.director.reload(config, 0, scene.now);
    assert_eq!(communities(&mut scene.director), ["", W10, W10], "without a file, the key counts");
}
