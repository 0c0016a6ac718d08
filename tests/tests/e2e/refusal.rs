//! Tests routers that refuse the session or the prefix: one of them refuses, `status` says why, and the other one continues.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use scene::log::Mark;
use scene::wire::{NOTIFICATION, OPEN, ROUTE_REFRESH};
use scene::{FRONTENDS, PATIENCE, Scene, VIPS, address};
use serde_json::Value;

use crate::support::{
    bgp_line, configure, established, json, status, until_peer, vtysh, wait_for, with_own_configuration,
};

/// Whether the session of this peer in the status is down, for a reason with these words.
fn says(peer: &Value, words: &str) -> bool {
    peer["state"] != "Established"
        && peer["reason"]["text"].as_str().is_some_and(|reason| reason.contains(words))
}

/// Checks that r2, which does not refuse, has every frontend as a next hop of the first VIP.
fn other_goes_on(scene: &Scene) -> Result<()> {
    let kept = scene.next_hops("r2", VIPS[0])?;
    ensure!(kept.len() == FRONTENDS.len(), "r2 has {kept:?}");
    Ok(())
}

/// First, fe1 expects another AS than the router's. Then, fe1 has another AS than the routers expect.
pub(crate) fn wrong_as(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    with_own_configuration(scene, "fe1", || {
        let r1 = "address = \"10.1.1.0\"\nasn = 65000";
        configure(scene, "fe1", &[(r1, &r1.replace("65000", "65009"))])?;
        node.must(&["announcer", "reload"])?;
        until_peer(scene, "fe1", 0, "a hint about the router's AS", |peer| {
            says(peer, "its OPEN has AS 65000, we expect AS 65009")
        })?;
        other_goes_on(scene)?;
        configure(scene, "fe1", &[])?;
        node.must(&["announcer", "reload"])?;
        until_peer(scene, "fe1", 0, "up again", established)?;
        // With a wrong AS of our own, no router accepts us: one session is restarted, and the others stay until it is established.
        configure(scene, "fe1", &[("asn = 65001", "asn = 65002")])?;
        node.must(&["announcer", "reload", "--force"])?;
        let states = || -> Result<Vec<Value>> {
            Ok(status(scene, "fe1")?["peers"].as_array().cloned().unwrap_or_default())
        };
        wait_for("one router says that our AS is not expected", || {
            Ok(states()?.iter().any(|peer| says(peer, "Bad Peer AS")))
        })?;
        let peers = states()?;
        ensure!(peers.iter().any(established), "both sessions were given up: {peers:?}");
        configure(scene, "fe1", &[])?;
        let mended = Instant::now();
        node.must(&["announcer", "reload", "--force"])?;
        wait_for("both are up again", || Ok(states()?.iter().all(established)))?;
        println!("  up again after {:.1?}", mended.elapsed());
        ensure!(mended.elapsed() < Duration::from_secs(20), "what mends it had to wait for what was wrong");
        scene.all_announced()
    })
}

/// A route map denies the routes of one frontend; after a route refresh the router has them again.
pub(crate) fn prefix_refused(scene: &Scene) -> Result<()> {
    let (from, vip) = (address(0, "fe1", VIPS[0]), VIPS[0].parse()?);
    let ask_again = || {
        scene
            .node("r1")?
            .must(&["vtysh", "-c", &format!("clear bgp ipv4 unicast {from} soft in")])
            .map_err(anyhow::Error::from)
    };
    let played = (|| {
        let mark = Mark::now();
        // By default, FRR asks for all routes once more some seconds after the change of a route map, in the next scenario.
        vtysh(
            scene,
            "r1",
            &["bgp route-map delay-timer 0", "route-map VIPS-IN deny 5", &format!("match peer {from}")],
        )?;
        ask_again()?;
        wait_for("r1 refuses fe1's", || Ok(!scene.next_hops("r1", VIPS[0])?.contains(&from)))?;
        ensure!(established(&status(scene, "fe1")?["peers"][0]), "the session went with the prefix");
        other_goes_on(scene)?;
        let refresh = |m: &scene::wire::Message| m.kind() == ROUTE_REFRESH;
        let wire = &scene.routers[0].wire;
        wire.wait(mark, PATIENCE, refresh).context("FRR sent no ROUTE-REFRESH")?;
        let again = wire.wait(mark, PATIENCE, |m| m.from == from && m.announces(vip));
        again.context("the route refresh was not answered")?;
        let other = wire
            .since(mark)
            .into_iter()
            .find(|m| m.from == from && (m.withdraws(vip) || matches!(m.kind(), OPEN | NOTIFICATION)));
        ensure!(other.is_none(), "answered by {other:02x?}");
        anyhow::Ok(())
    })();
    vtysh(scene, "r1", &["no route-map VIPS-IN deny 5", "no bgp route-map delay-timer"])?;
    ask_again()?;
    played?;
    scene.all_announced()
}

/// A router that accepts only one prefix: it ends the session with a reason.
pub(crate) fn maximum_prefix(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let neighbor = address(0, "fe1", VIPS[0]);
    // Enters a line about the limit in r1's configuration.
    let limit =
        |line: String| vtysh(scene, "r1", &["router bgp 65000", "address-family ipv4 unicast", &line]);
    let played = with_own_configuration(scene, "fe1", || {
        configure(scene, "fe1", &[("\"192.0.2.80\"", "\"192.0.2.80\", \"192.0.2.81\"")])?;
        node.must(&["announcer", "reload"])?;
        // The limit is lower than the number of prefixes, because FRR checks the count before it adds the new prefix.
        wait_for("r1 has the second VIP", || Ok(scene.next_hops("r1", "192.0.2.81")?.len() == 1))?;
        limit(format!("neighbor {neighbor} maximum-prefix 1"))?;
        until_peer(scene, "fe1", 0, "a hint about the limit", |peer| {
            says(peer, "Maximum Number of Prefixes Reached")
        })?;
        wait_for("r1 goes on without fe1", || Ok(scene.next_hops("r1", VIPS[0])?.len() == 2))?;
        other_goes_on(scene)?;
        wait_for("r2 has the second VIP", || {
            let shown = scene.node("r2")?.must(&["vtysh", "-c", "show bgp ipv4 unicast 192.0.2.81 json"])?;
            Ok(json(&shown)?["paths"].as_array().is_some_and(|paths| paths.len() == 1))
        })?;
        limit(format!("neighbor {neighbor} maximum-prefix 100"))?;
        configure(scene, "fe1", &[])?;
        node.must(&["announcer", "reload"])?;
        scene.node("r1")?.must(&["vtysh", "-c", &format!("clear bgp {neighbor}")])?;
        until_peer(scene, "fe1", 0, "up again", established)
    });
    // Restores r1's configuration, also if the scenario failed half-way: the limit of the peer group, and the description from
    // lab/nodes/r1/frr.conf. Then the session begins again.
    let _ = limit(format!("no neighbor {neighbor} maximum-prefix"));
    let _ = bgp_line(scene, "r1", &format!("neighbor {neighbor} description fe1"));
    let sessions = || Ok::<_, anyhow::Error>(status(scene, "fe1")?["peers"][0]["established"].as_u64());
    let before = sessions()?;
    let _ = scene.node("r1")?.exec(&["vtysh", "-c", &format!("clear bgp {neighbor}")]);
    // r1 ends the session after the command has returned; the next scenario must not see that.
    let renewed = wait_for("the session begins again", || Ok(sessions()? > before));
    played.and(renewed)
}
