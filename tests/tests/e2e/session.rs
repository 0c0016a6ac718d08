//! Tests settings that both ends of a session need: keys and TTLs.

use anyhow::{Context, Result, ensure};
use scene::log::Mark;
use scene::{PATIENCE, ROUTERS, Scene, VIPS, address};

use crate::support::{bgp_line, configure, established, never_left, until_peer, with_own_configuration};

pub(crate) fn key_rotation(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let key = |router: &str, key: &str| -> Result<()> {
        let file = format!("/run/key-{router}");
        node.must(&["/bin/sh", "-c", &format!("umask 077 && echo {key} > {file}")])?;
        Ok(())
    };
    let played = with_own_configuration(scene, "fe1", || {
        let with_keys = |name: &str| {
            (format!("name = \"{name}\""), format!("name = \"{name}\"\npassword_file = \"/run/key-{name}\""))
        };
        let (r1, r2) = (with_keys("r1"), with_keys("r2"));
        let both = [(r1.0.as_str(), r1.1.as_str()), (r2.0.as_str(), r2.1.as_str())];
        // First, one router after the other gets a key.
        for (index, router) in ROUTERS.iter().enumerate() {
            key(router, "first")?;
            configure(scene, "fe1", &both[..=index])?;
            node.must(&["announcer", "reload"])?;
            until_peer(scene, "fe1", index, "a hint about the key", |peer| {
                peer["hint"].as_str().is_some_and(|hint| hint.contains("password"))
            })?;
            bgp_line(scene, router, &format!("neighbor {} password first", address(index, "fe1", VIPS[0])))?;
            until_peer(scene, "fe1", index, "back with a key", established)?;
        }
        scene.all_announced()?;
        let mark = Mark::now();
        for (index, router) in ROUTERS.iter().enumerate() {
            key(router, "second")?;
            node.must(&["announcer", "reload"])?;
            bgp_line(scene, router, &format!("neighbor {} password second", address(index, "fe1", VIPS[0])))?;
            until_peer(scene, "fe1", index, "back with the second key", established)?;
            scene.all_announced()?;
        }
        never_left(scene, mark)?;
        for (index, router) in scene.routers.iter().enumerate() {
            let from = address(index, "fe1", VIPS[0]);
            let ours = |m: &scene::wire::Message| m.from == from && m.notification().is_some();
            ensure!(!router.wire.since(mark).iter().any(ours), "we ended the session with {}", router.name);
        }
        for (index, router) in ROUTERS.iter().enumerate() {
            bgp_line(scene, router, &format!("no neighbor {} password", address(index, "fe1", VIPS[0])))?;
        }
        Ok(())
    });
    for (index, router) in ROUTERS.iter().enumerate() {
        // This is needed if the scenario failed half-way; otherwise no key is left.
        let _ = bgp_line(scene, router, &format!("no neighbor {} password", address(index, "fe1", VIPS[0])));
    }
    played
}

pub(crate) fn ttl_security(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let neighbor = address(0, "fe1", VIPS[0]);
    let demand = |yes: bool| -> Result<()> {
        let change = [("name = \"r1\"", "name = \"r1\"\nttl_security = true")];
        configure(scene, "fe1", if yes { &change } else { &[] })?;
        node.must(&["announcer", "reload"])?;
        Ok(())
    };
    let played = with_own_configuration(scene, "fe1", || {
        demand(true)?;
        until_peer(scene, "fe1", 0, "a hint about the TTL", |peer| {
            !established(peer) && peer["hint"].as_str().is_some_and(|hint| hint.contains("TTL"))
        })?;
        demand(false)?;
        until_peer(scene, "fe1", 0, "up without GTSM", established)?;
        bgp_line(scene, "r1", &format!("neighbor {neighbor} ttl-security hops 1"))?;
        let cleared = Mark::now();
        scene.node("r1")?.must(&["vtysh", "-c", &format!("clear bgp {neighbor}")])?;
        let vip = VIPS[0].parse()?;
        let again = |m: &scene::wire::Message| m.from == neighbor && m.announces(vip);
        scene.routers[0].wire.wait(cleared, PATIENCE, again).context("no GTSM at the router alone")?;
        demand(true)?;
        until_peer(scene, "fe1", 0, "up with GTSM on both sides", established)
    });
    // If the scenario failed earlier, there is nothing to remove.
    let _ = bgp_line(scene, "r1", &format!("no neighbor {neighbor} ttl-security hops 1"));
    played
}
