//! Tests routers that end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scene::{PATIENCE, Scene, VIPS};
use until::until;

use crate::support::{ContinuousLoad, tell_lost};

pub(crate) fn router_restart(scene: &Scene) -> Result<()> {
    scene.node("r1")?.must(&["/usr/lib/frr/frrinit.sh", "restart"])?;
    scene.all_announced().context("after the restart")
}

pub(crate) fn router_power_off(scene: &Scene) -> Result<()> {
    let load = ContinuousLoad::begin(scene, VIPS[0], 500)?;
    scene.node("r2")?.power_off()?;
    until(PATIENCE, || {
        let total = scene.load(VIPS[0], 300, Duration::from_secs(1))?.report()?.total;
        ensure!(total.lost() == 0, "requests are lost for ever: {total:?}");
        Ok(())
    })?;
    let report = load.report()?;
    tell_lost(&report);
    let last_second: u64 =
        report.buckets.iter().rev().take(10).map(|bucket| bucket.counts.ok.values().sum::<u64>()).sum();
    ensure!(last_second > 400, "{last_second} answers in the last second");
    Ok(())
}
