//! Tests that a crashed server is withdrawn at once, and that changes of the VIP on lo and of a session's link are noticed.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use scene::log::Mark;
use scene::{Scene, VIPS, address, server};

use crate::support::{
    configure, not_withdrawn, reason, start_again, status, wait_lo, wait_status, with_own_configuration,
};

/// The number of crashes for each median.
const CRASHES: usize = 20;
/// A probe would need at least its interval, so a slower withdraw means that the watch has not noticed the crash. The printed
/// figures are only for people.
const DEADLINE: Duration = Duration::from_millis(500);

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn armed(said: &str) -> bool {
    said.contains("watched every") && !said.contains("watched only by probes")
}

/// A crash causes a withdraw within milliseconds, for every interval and every number of VIPs.
pub(crate) fn crashes(scene: &Scene) -> Result<()> {
    let more: Vec<String> = (100..198).map(|last| format!("\"192.0.2.{last}\"")).collect();
    let hundred = format!("vips = [{}, \"192.0.2.80\",", more.join(", "));
    let (node, v4) = (scene.node("fe1")?, VIPS[0]);
    with_own_configuration(scene, "fe1", || {
        for (interval, vips) in [("1s", 2), ("10s", 2), ("1s", 100)] {
            let vips_line = if vips == 100 { hundred.as_str() } else { "vips = [\"192.0.2.80\"," };
            let interval_line = format!("interval = \"{interval}\" #");
            configure(
                scene,
                "fe1",
                &[
                    ("interval = \"100ms\" #", &interval_line),
                    ("rise = 2", "rise = 1"),
                    ("communities = [", "flap_damping = false\ncommunities = ["),
                    ("vips = [\"192.0.2.80\",", vips_line),
                ],
            )?;
            node.must(&["announcer", "reload"])?;
            let (mut wire, mut fib) = (Vec::new(), Vec::new());
            for crash in 0..CRASHES {
                wait_status(scene, "fe1", "not armed", |said| {
                    armed(said) && said.matches("  announced (").count() >= vips
                })?;
                // The routers must have the routes before they can remove them.
                scene.wait_next_hops(v4, &["fe1", "fe2", "fe3"])?;
                sleep(Duration::from_millis(37 + 13 * (crash as u64 % 7))); // anywhere between two probes
                let (mark, at) = (Mark::now(), SystemTime::now());
                ensure!(node.kill(server("fe1"), Signal::SIGKILL) > 0, "no server was killed");
                let mut slowest = scene.withdrawn(mark, at, "fe1", v4)?;
                if vips == 100 {
                    for vip in ["192.0.2.100", "192.0.2.197"] {
                        let figures = scene.withdrawn(mark, at, "fe1", vip)?;
                        slowest.wire = slowest.wire.max(figures.wire);
                    }
                }
                wire.push(slowest.wire);
                fib.push(slowest.fib);
                let why = reason(&status(scene, "fe1")?, v4);
                ensure!(why.contains("nothing listens any more") || why.contains("refused"), "{why}");
                scene.wait_next_hops(v4, &["fe2", "fe3"])?;
                node.must(&["/lab/web", "start"])?;
            }
            let (wire, fib) = (median(wire), median(fib));
            println!("  crash, interval {interval}, {vips} VIPs: wire {wire:.1?}, FIB {fib:.1?}");
            ensure!(wire <= DEADLINE, "{wire:?} to the wire");
            wait_status(scene, "fe1", "not announced", |said| said.matches("  announced (").count() >= vips)?;
        }
        Ok(())
    })
}

/// A removed VIP is put back at once, without an UPDATE. After the second removal it has to stay on lo before it is announced.
pub(crate) fn vip_removed(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let remove = || {
        node.must(&["ip", "address", "del", &format!("{}/32", VIPS[0]), "dev", "lo"])?;
        wait_lo(scene, "fe1", "not put back", |lo| lo.contains(VIPS[0]))
    };
    // The daemon is restarted, so that it does not know the removals of earlier scenarios.
    start_again(scene, &["fe1"], &[])?;
    scene.all_announced()?;
    let mark = Mark::now();
    remove()?;
    sleep(Duration::from_secs(1));
    not_withdrawn(scene, mark, "fe1", "removed once")?;
    let (mark, at) = (Mark::now(), SystemTime::now());
    remove()?;
    println!("  removed again: {}", scene.withdrawn(mark, at, "fe1", VIPS[0])?);
    let why = reason(&status(scene, "fe1")?, VIPS[0]);
    ensure!(why.contains("removed again soon"), "{why}");
    ensure!(reason(&status(scene, "fe1")?, VIPS[1]) == "announced", "the other VIP went too");
    scene.announced(mark, at, "fe1", VIPS[0])?;
    ensure!(at.elapsed()? >= Duration::from_secs(9), "it did not have to stay");
    scene.all_announced()
}

/// A session over a link that goes down ends at once, without waiting for the hold timer; the VIPs keep their health.
pub(crate) fn link_down(scene: &Scene) -> Result<()> {
    let mark = Mark::now();
    let node = scene.node("fe1")?;
    let began = Instant::now();
    node.must(&["ip", "link", "set", "eth1", "down"])?;
    let cut = wait_status(scene, "fe1", "the cut was not seen", |said| {
        said.lines().any(|line| line.starts_with("peer r1") && !line.contains("Established"))
    });
    let took = began.elapsed();
    let kept = reason(&status(scene, "fe1")?, VIPS[0]);
    let from = address(1, "fe1", VIPS[0]);
    let vip = VIPS[0].parse()?;
    let withdrawn = scene.routers[1].wire.since(mark).iter().any(|m| m.from == from && m.withdraws(vip));
    let mend = "ip link set eth1 up; ip route replace default nexthop via 10.1.1.0 nexthop via 10.2.1.0; \
                ip route replace default via 10.1.1.0 metric 10; \
                ip -6 route replace default nexthop via 2001:db8:1:1::1 nexthop via 2001:db8:2:1::1";
    node.must(&["/bin/sh", "-c", mend])?;
    // zebra keeps the next hop of the link as inactive. This is not a part of the test.
    scene.node("r1")?.must(&["/usr/lib/frr/frrinit.sh", "restart"])?;
    scene.all_announced()?;
    let said = cut?;
    println!("  cut: known after {took:.1?}");
    // If reading the status takes long, the next try has failed already.
    let reasons = ["the link of `eth1` went down", "the peer is unreachable", "no route"];
    ensure!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
    ensure!(kept == "announced" && !withdrawn, "the VIP went with the link: {kept}");
    // The hold timer would have taken longer.
    ensure!(took < Duration::from_secs(2), "{took:?}");
    Ok(())
}
