//! Tests the changes of announcer on the host.

use anyhow::{Result, ensure};
use scene::{Scene, VIPS};

use crate::support::wait_lo;

pub(crate) fn vip_removed(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    for (vip, length) in VIPS.iter().zip([32, 128]) {
        node.must(&["ip", "address", "del", &format!("{vip}/{length}"), "dev", "lo"])?;
    }
    wait_lo(scene, "fe1", "not put back", |lo| VIPS.iter().all(|vip| lo.contains(vip)))?;
    scene.all_announced()
}

pub(crate) fn vip_without_service(scene: &Scene) -> Result<()> {
    let node = scene.node("fe3")?;
    node.must(&["/lab/announcer", "stop"])?;
    node.must(&["ip", "address", "add", "192.0.2.99/32", "dev", "lo"])?; // of another program
    node.must(&["dsr-setup", "apply", "--vip", "192.0.2.98"])?; // ours, of an older configuration
    node.must(&["/lab/announcer", "start"])?;
    let lo = wait_lo(scene, "fe3", "not removed", |lo| !lo.contains("192.0.2.98"))?;
    ensure!(lo.contains("192.0.2.99") && lo.contains(VIPS[0]), "removed what it should not: {lo}");
    node.must(&["ip", "address", "del", "192.0.2.99/32", "dev", "lo"])?;
    scene.all_announced()
}

pub(crate) fn dsr_setup(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    node.must(&["dsr-setup", "apply"])?;
    let again = node.exec(&["dsr-setup", "apply"])?;
    ensure!(again.code == 0 && again.stdout.is_empty() && again.stderr.is_empty(), "{again:?}");
    for (key, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
        let found = node.must(&["cat", &format!("/proc/sys/net/ipv4/conf/all/{key}")])?;
        ensure!(found.trim() == value, "{key} is {found}");
    }
    let refused = node.exec(&["dsr-setup", "remove"])?;
    ensure!(refused.code == 1 && refused.stderr.contains(VIPS[0]), "{refused:?}");
    scene.all_announced()
}
