//! Tests shortages of the host, and many events at once: they cause no withdraw.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use scene::log::Mark;
use scene::wire::{NOTIFICATION, OPEN};
use scene::{FRONTENDS, ROUTERS, Scene, VIPS, address};

use crate::support::{
    ContinuousLoad, configure, json, none_lost, not_withdrawn, reason, status, wait_for, wait_status,
    with_own_configuration,
};

/// The daemon has no descriptor left for a probe, for longer than a lease lasts.
pub(crate) fn descriptors(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let mark = Mark::now();
    let script = "pid=$(cat /run/announcer.pid); was=$(prlimit --pid $pid --nofile --output SOFT --noheadings --raw); \
                  prlimit --pid $pid --nofile=8:; sleep 5; prlimit --pid $pid --nofile=$was:";
    node.must(&["/bin/sh", "-ec", script])?;
    wait_status(scene, "fe1", "no warning about it", |said| said.contains("out of file descriptors"))?;
    for vip in VIPS {
        let why = reason(&status(scene, "fe1")?, vip);
        ensure!(why == "announced", "{vip}: {why}");
    }
    not_withdrawn(scene, mark, "fe1", "no descriptors")?;
    scene.all_announced()
}

/// On a full disk, a drain without its text is still made. If no file can be made, the drain is refused, and the routes stay.
pub(crate) fn disk(scene: &Scene) -> Result<()> {
    let node = scene.node("fe2")?;
    node.must(&["/lab/announcer", "stop"])?;
    node.must(&["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=16", "tmpfs", "/var/lib/announcer"])?;
    let full = |how: &str| node.exec(&["/bin/sh", "-c", how]);
    let played = (|| {
        node.must(&["/lab/announcer", "start"])?;
        scene.all_announced()?;
        let mark = Mark::now();
        full("cd /var/lib/announcer; while : 2>/dev/null >$((n += 1)); do :; done")?;
        let drain = node.exec(&["announcer", "drain", "www"])?;
        ensure!(drain.code == 1 && drain.stderr.contains("No space left"), "{drain:?}");
        sleep(Duration::from_secs(1)); // an incomplete file would be noticed by now, because the folder is watched
        not_withdrawn(scene, mark, "fe2", "a full disk")?;
        let why = reason(&status(scene, "fe2")?, VIPS[0]);
        ensure!(why == "announced", "{why}");
        full("rm /var/lib/announcer/[0-9]*; cat /dev/zero >/var/lib/announcer/full")?;
        node.must(&["announcer", "drain", "www", "--reason", "no room"])?;
        scene.wait_next_hops(VIPS[0], &["fe1", "fe3"])?;
        node.must(&["announcer", "undrain", "www"])?;
        scene.all_announced()
    })();
    node.must(&["/lab/announcer", "stop"])?;
    node.must(&["umount", "/var/lib/announcer"])?;
    node.must(&["/lab/announcer", "start"])?;
    played?;
    scene.all_announced()
}

/// A hundred reloads a second, each with another attribute: no session and no route is lost, and the last one is in effect.
pub(crate) fn reloads(scene: &Scene) -> Result<()> {
    const LASTS: Duration = Duration::from_secs(10);
    let node = scene.node("fe1")?;
    let with_med = |med: usize| {
        configure(scene, "fe1", &[("communities = [", &format!("med = {med}\ncommunities = ["))])
    };
    with_own_configuration(scene, "fe1", || {
        let (mark, load) = (Mark::now(), ContinuousLoad::begin(scene, VIPS[0], 200)?);
        let began = Instant::now();
        let mut reloads = 0;
        while began.elapsed() < LASTS {
            reloads += 1;
            with_med(reloads)?;
            node.signal_daemon(Signal::SIGHUP)?;
            let next = began + Duration::from_millis(10) * u32::try_from(reloads)?;
            sleep(next.saturating_duration_since(Instant::now()));
        }
        let asked = Instant::now();
        status(scene, "fe1")?;
        println!(
            "  {reloads} reloads in {:.1?}; status answered in {:.1?}",
            began.elapsed(),
            asked.elapsed()
        );
        with_med(4242)?;
        node.must(&["announcer", "reload"])?;
        for (index, router) in ROUTERS.iter().enumerate() {
            let hop = address(index, "fe1", VIPS[0]).to_string();
            wait_for("the last one holds", || {
                let shown = scene.node(router)?.must(&[
                    "vtysh",
                    "-c",
                    &format!("show bgp ipv4 unicast {} json", VIPS[0]),
                ])?;
                let paths = json(&shown)?["paths"].as_array().cloned().unwrap_or_default();
                Ok(paths
                    .iter()
                    .any(|path| path["nexthops"][0]["ip"] == hop.as_str() && path["metric"] == 4242))
            })?;
        }
        none_lost(scene, mark, "reloads", &load.report()?)?;
        not_withdrawn(scene, mark, "fe1", "reloads")?;
        for (index, router) in scene.routers.iter().enumerate() {
            let from = address(index, "fe1", VIPS[0]);
            let ended = router
                .wire
                .since(mark)
                .into_iter()
                .find(|m| m.from == from && matches!(m.kind(), OPEN | NOTIFICATION));
            ensure!(ended.is_none(), "the session with {} began anew: {ended:02x?}", router.name);
        }
        Ok(())
    })
}

/// Every daemon is stopped and started again, one after the other, as an upgrade does.
pub(crate) fn rolling_restart(scene: &Scene) -> Result<()> {
    let mark = Mark::now();
    let load = ContinuousLoad::begin(scene, VIPS[0], 500)?;
    for frontend in FRONTENDS {
        let node = scene.node(frontend)?;
        node.must(&["/lab/announcer", "stop"])?;
        node.must(&["/lab/announcer", "start"])?;
        scene.all_announced().with_context(|| format!("after {frontend}'s restart"))?;
    }
    none_lost(scene, mark, "rolling restart", &load.report()?)
}
