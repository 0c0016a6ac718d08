//! Tests failures of all frontends at once, and the effects: withdraw, last choice, backup.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use scene::log::Mark;
use scene::{FRONTENDS, ROUTERS, Scene, VIPS, server};

use crate::support::{
    ContinuousLoad, configure, none_lost, reason, sick, status, vtysh, wait_status, with_own_configuration,
    with_own_configurations,
};

const SECOND: Duration = Duration::from_secs(1);

fn next_hops(scene: &Scene, frontends: &[&str]) -> Result<()> {
    VIPS.iter().try_for_each(|vip| scene.wait_next_hops(vip, frontends))
}

/// With `withdraw`, the VIP is withdrawn.
pub(crate) fn withdraw(scene: &Scene) -> Result<()> {
    for frontend in FRONTENDS {
        sick(scene, frontend, true)?;
    }
    next_hops(scene, &[])?;
    for frontend in FRONTENDS {
        let why = reason(&status(scene, frontend)?, VIPS[0]);
        ensure!(why.contains("HTTP 503"), "{frontend}: {why}");
        sick(scene, frontend, false)?;
    }
    scene.all_announced()
}

/// A backend that all frontends share fails three times within a minute. When it is back, every frontend serves at once, first as
/// the last choice, and later in the usual way.
pub(crate) fn flapping(scene: &Scene) -> Result<()> {
    let mut returned = Instant::now();
    for failure in 1..=3 {
        FRONTENDS.iter().try_for_each(|frontend| sick(scene, frontend, true))?;
        next_hops(scene, &[])?;
        returned = Instant::now();
        FRONTENDS.iter().try_for_each(|frontend| sick(scene, frontend, false))?;
        scene.all_announced()?;
        println!("  return {failure}: every frontend served after {:.1?}", returned.elapsed());
        ensure!(returned.elapsed() < SECOND * 5, "not at once: {:.1?}", returned.elapsed());
        let served = scene.load(VIPS[0], 100, SECOND)?.report()?;
        ensure!(served.total.lost() == 0, "return {failure}: {:?}", served.total);
        for frontend in FRONTENDS {
            let why = reason(&status(scene, frontend)?, VIPS[0]);
            ensure!(why.starts_with("last choice") == (failure == 3), "return {failure}, {frontend}: {why}");
        }
    }
    let announced = |said: &str| said.matches("  announced (").count() == VIPS.len();
    for frontend in FRONTENDS {
        wait_status(scene, frontend, "not announced in the usual way", announced)?;
    }
    ensure!(returned.elapsed() >= SECOND * 9, "it did not have to stay: {:.1?}", returned.elapsed());
    scene.all_announced()
}

/// With `deprefer`, routers prefer other frontends while there are any, and use all of them when all have failed.
pub(crate) fn deprefer(scene: &Scene) -> Result<()> {
    let relax =
        ["router bgp 65000", "bgp bestpath as-path multipath-relax", "neighbor FRONTENDS remote-as external"];
    let restore =
        ["router bgp 65000", "no bgp bestpath as-path multipath-relax", "neighbor FRONTENDS remote-as 65001"];
    let played = with_own_configurations(scene, &FRONTENDS, || {
        for own in [false, true] {
            let what = if own { "an AS each" } else { "one AS" };
            for router in ROUTERS.iter().filter(|_| own) {
                vtysh(scene, router, &relax)?;
            }
            for (index, frontend) in FRONTENDS.iter().enumerate() {
                let asn = format!("asn = {}", 65001 + if own { index } else { 0 });
                let changes = [("fall = 3", "fall = 3\non_failure = \"deprefer\""), ("asn = 65001", &asn)];
                configure(scene, frontend, &changes)?;
                scene.node(frontend)?.must(&["announcer", "reload", "--force"])?;
            }
            scene.all_announced()?;
            let (mark, load) = (Mark::now(), ContinuousLoad::begin(scene, VIPS[0], 500)?);
            sick(scene, "fe1", true)?;
            next_hops(scene, &["fe2", "fe3"])?;
            let why = reason(&status(scene, "fe1")?, VIPS[0]);
            ensure!(why.starts_with("last choice") && why.contains("HTTP 503"), "{why}");
            sick(scene, "fe2", true)?;
            sick(scene, "fe3", true)?;
            scene.all_announced()?;
            let why = reason(&status(scene, "fe3")?, VIPS[0]);
            ensure!(why.starts_with("last choice"), "{why}");
            sick(scene, "fe2", false)?;
            next_hops(scene, &["fe2"])?;
            sick(scene, "fe1", false)?;
            sick(scene, "fe3", false)?;
            scene.all_announced()?;
            none_lost(scene, mark, what, &load.report()?)?;
        }
        ROUTERS.iter().try_for_each(|router| vtysh(scene, router, &restore))
    });
    for router in ROUTERS {
        let _ = vtysh(scene, router, &restore); // needed if the scenario failed half-way
    }
    played
}

/// A backup serves only while all other frontends have withdrawn.
pub(crate) fn backup(scene: &Scene) -> Result<()> {
    with_own_configuration(scene, "fe3", || {
        configure(scene, "fe3", &[("communities = [", "backup = true\ncommunities = [")])?;
        scene.node("fe3")?.must(&["announcer", "reload"])?;
        next_hops(scene, &["fe1", "fe2"])?;
        let why = reason(&status(scene, "fe3")?, VIPS[0]);
        ensure!(why.starts_with("last choice") && why.contains("a backup"), "{why}");
        let load = ContinuousLoad::begin(scene, VIPS[0], 500)?;
        for frontend in ["fe1", "fe2"] {
            ensure!(
                scene.node(frontend)?.kill(server(frontend), Signal::SIGKILL) > 0,
                "no server was killed"
            );
        }
        next_hops(scene, &["fe3"])?;
        let taken = scene.load(VIPS[0], 300, SECOND)?.report()?;
        ensure!(taken.total.lost() == 0 && taken.total.ok.len() == 1, "{:?}", taken.total);
        for frontend in ["fe1", "fe2"] {
            scene.node(frontend)?.must(&["/lab/web", "start"])?;
        }
        next_hops(scene, &["fe1", "fe2"])?;
        let report = load.report()?;
        let counts = &report.total;
        println!(
            "  {} sent; of two crashes {} refused, {} reset, {} without an answer",
            report.sent, counts.refused, counts.reset, counts.timed_out
        );
        let given_back = scene.load(VIPS[0], 300, SECOND)?.report()?;
        ensure!(
            given_back.total.lost() == 0 && !given_back.total.ok.contains_key("fe3"),
            "{:?}",
            given_back.total
        );
        configure(scene, "fe3", &[])?;
        scene.node("fe3")?.must(&["announcer", "reload"])?;
        scene.all_announced()
    })
}
