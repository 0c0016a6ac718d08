//! Tests the end of the daemon: by a signal, by SIGKILL, and when another daemon runs.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use scene::log::Mark;
use scene::{PATIENCE, Scene, VIPS, address};

use crate::support::ContinuousLoad;

pub(crate) fn sigterm(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let mark = Mark::now();
    let at = SystemTime::now();
    node.must(&["/lab/announcer", "stop"])?;
    println!("  stop: {}", scene.withdrawn(mark, at, "fe1", VIPS[0])?);
    for (index, router) in scene.routers.iter().enumerate() {
        let from = address(index, "fe1", VIPS[0]);
        let said = |m: &scene::wire::Message| m.from == from && m.notification().is_some();
        let cease = router.wire.wait(mark, PATIENCE, said).context("no NOTIFICATION")?;
        let (code, subcode, data) = cease.notification().context("no NOTIFICATION")?;
        ensure!((code, subcode) == (6, 2), "{code}/{subcode}");
        ensure!(data.len() > 1 && usize::from(data[0]) == data.len() - 1, "no shutdown text: {data:02x?}");
        let mut withdrawn = router.wire.since(mark).into_iter();
        let vip = VIPS[0].parse()?;
        let withdraw = withdrawn.find(|m| m.from == from && m.withdraws(vip)).context("no withdraw")?;
        let settled = scene::wire::between(withdraw.at, cease.at);
        ensure!(settled >= Duration::from_millis(990), "Cease came {settled:?} after the withdraw");
    }
    let lo = node.must(&["ip", "-o", "address", "show", "dev", "lo"])?;
    ensure!(VIPS.iter().all(|vip| lo.contains(vip)), "a VIP went with the daemon: {lo}");
    let log = node.must(&["tail", "-n", "1", "/var/log/announcer.log"])?;
    ensure!(log.contains("announcer ended"), "{log}");
    Ok(())
}

pub(crate) fn stop_under_load(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let load = ContinuousLoad::begin(scene, VIPS[0], 2000)?;
    node.must(&["/lab/announcer", "stop"])?;
    node.must(&["/lab/web", "stop"])?;
    let report = load.report()?;
    println!(
        "  {} sent, {} refused, {} reset, {} timed out",
        report.sent, report.total.refused, report.total.reset, report.total.timed_out
    );
    ensure!(report.sent > 2000 && report.total.ok.len() == 3, "the load was none: {:?}", report.total);
    ensure!(report.total.refused == 0, "{} refused", report.total.refused);
    Ok(())
}

pub(crate) fn daemon_killed(scene: &Scene) -> Result<()> {
    let node = scene.node("fe2")?;
    let mark = Mark::now();
    node.must(&["/lab/announcer", "kill"])?;
    scene.wait_next_hops(VIPS[0], &["fe1", "fe3"])?;
    let lo = node.must(&["ip", "-o", "address", "show", "dev", "lo"])?;
    ensure!(VIPS.iter().all(|vip| lo.contains(vip)), "a VIP went with the daemon: {lo}");
    node.must(&["/lab/announcer", "start"])?; // with the stale socket and lock of the killed one
    scene.announced(mark, SystemTime::UNIX_EPOCH, "fe2", VIPS[1])?;
    scene.all_announced()
}

pub(crate) fn one_daemon(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let second = node.exec(&["announcer", "run"])?;
    let pid = node.must(&["cat", "/run/announcer.pid"])?;
    ensure!(second.code == 1, "exit {}", second.code);
    ensure!(second.stderr.contains(&format!("pid {}", pid.trim())), "{}", second.stderr);
    scene.all_announced()
}
