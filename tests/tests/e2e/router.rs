//! Routers that end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scene::{Scene, VIPS};

use crate::support::tell_lost;

pub(crate) fn router_restart(scene: &Scene) -> Result<()> {
    scene.node("r1")?.must(&["/usr/lib/frr/frrinit.sh", "restart"])?;
    scene.all_announced().context("after the restart")
}

pub(crate) fn router_power_off(scene: &Scene) -> Result<()> {
    let load = scene.load(VIPS[0], 500, Duration::from_secs(4))?;
    std::thread::sleep(Duration::from_secs(1)); // requests flow before it
    scene.node("r2")?.power_off()?;
    let report = load.report()?;
    tell_lost(&report);
    let last_second: u64 =
        report.buckets.iter().rev().take(10).map(|bucket| bucket.counts.ok.values().sum::<u64>()).sum();
    ensure!(last_second > 400, "{last_second} answers in the last second");
    Ok(())
}
