//! What the scenarios share: a frontend's status, its configuration, a fault and its consequences.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::scene::{FRONTENDS, Mark, PATIENCE, Scene, VIPS, address, topology};
use serde_json::Value;

pub(crate) fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))
}

/// What a frontend's daemon says of its VIPs and peers.
pub(crate) fn status(scene: &Scene, frontend: &str) -> Result<Value> {
    json(&scene.node(frontend)?.must(&["announcer", "status", "--json"])?)
}

pub(crate) fn reason(status: &Value, vip: &str) -> String {
    let vips = status["services"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|s| s["vips"].as_array().into_iter().flatten());
    let found = vips
        .filter(|known| known["address"] == vip)
        .map(|known| known["reason"].as_str().unwrap_or_default());
    found.collect::<Vec<_>>().join("; ")
}

/// Breaks one frontend's web server and checks that both VIPs leave both routers, and no other frontend's do.
pub(crate) fn fault(
    scene: &Scene,
    frontend: &str,
    what: &str,
    fault: impl FnOnce() -> Result<SystemTime>,
) -> Result<()> {
    let mark = scene.mark();
    let at = fault()?;
    for vip in VIPS {
        let figures = scene.withdrawn(&mark, at, frontend, vip)?;
        println!("  {what}: {vip}: {figures}");
        let others: Vec<&str> = FRONTENDS.into_iter().filter(|other| *other != frontend).collect();
        scene.wait_next_hops(vip, &others)?;
    }
    Ok(())
}

/// Writes a frontend's configuration, of the lab's with the given replacements, to where its daemon reads it.
pub(crate) fn configure(scene: &Scene, frontend: &str, changes: &[(&str, &str)]) -> Result<()> {
    let original =
        std::fs::read_to_string(topology("ecmp").with_file_name(format!("nodes/{frontend}/announcer.toml")))?;
    let text = changes.iter().try_fold(original, |text, (from, to)| {
        ensure!(text.contains(from), "the lab's configuration has no `{from}`");
        Ok(text.replace(from, to))
    })?;
    Ok(std::fs::write(scene.node(frontend)?.root().join("run/reload.toml"), text)?)
}

/// Runs `frontend`'s daemon on a configuration that can be written to, plays, and restores.
pub(crate) fn with_own_configuration(
    scene: &Scene,
    frontend: &str,
    play: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let node = scene.node(frontend)?;
    configure(scene, frontend, &[])?;
    node.must(&["/lab/announcer", "stop"])?;
    node.must(&["/lab/announcer", "start", "--config", "/run/reload.toml"])?;
    scene.all_announced()?;
    let played = play();
    node.must(&["/lab/announcer", "stop"])?;
    node.must(&["/lab/announcer", "start"])?;
    played?;
    scene.all_announced()
}

/// Says something to a router's BGP configuration.
pub(crate) fn route(scene: &Scene, router: &str, line: &str) -> Result<()> {
    scene.node(router)?.must(&["vtysh", "-c", "configure terminal", "-c", "router bgp 65000", "-c", line])?;
    Ok(())
}

/// Waits for the state of a session, as the frontend's daemon has it.
pub(crate) fn until_peer(
    scene: &Scene,
    frontend: &str,
    peer: usize,
    what: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status(scene, frontend)?;
        if fits(&status["peers"][peer]) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not {what}: {}", status["peers"][peer]);
        sleep(Duration::from_millis(50)); // between looks
    }
}

pub(crate) fn established(peer: &Value) -> bool {
    peer["state"] == "Established"
}

/// No router was told that `frontend` serves a VIP no more.
pub(crate) fn not_withdrawn(scene: &Scene, mark: &Mark, frontend: &str, what: &str) -> Result<()> {
    for (index, router) in scene.routers.iter().enumerate() {
        let from = address(index, frontend, VIPS[0]);
        let said = router.wire.since(mark.wire(index));
        for vip in VIPS {
            let vip = vip.parse()?;
            let told = said.iter().any(|message| message.from == from && message.withdraws(vip));
            ensure!(!told, "{what}: {vip} was withdrawn from {}", router.name);
        }
    }
    Ok(())
}

/// Waits until what `announcer status` of a frontend says fits.
pub(crate) fn wait_status(
    scene: &Scene,
    frontend: &str,
    what: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = scene.node(frontend)?.must(&["announcer", "status"])?;
        if fits(&said) {
            return Ok(said);
        }
        ensure!(Instant::now() < deadline, "{what}: {said}");
        sleep(Duration::from_millis(5)); // between looks
    }
}

/// Waits until it is so.
pub(crate) fn until(scene: &Scene, what: &str, fits: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !fits()? {
        let routes = scene.node("r1")?.must(&["ip", "route"])?;
        ensure!(Instant::now() < deadline, "not so: {what}; r1 has {routes}");
        sleep(Duration::from_millis(50)); // between looks
    }
    Ok(())
}
