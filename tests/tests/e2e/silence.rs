//! Tests hosts that become silent without a message, so that only the hold timer notices it.

use std::net::IpAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::Cut;
use nix::sys::signal::Signal;
use scene::log::Mark;
use scene::wire::OPEN;
use scene::{FRONTENDS, PATIENCE, ROUTERS, Scene, VIPS, address};
use until::until;

use crate::support::{
    ContinuousLoad, configure, established, none_lost, not_withdrawn, status, tell_lost, until_peer,
    with_own_configuration,
};

/// The position of the hold time in an OPEN (RFC 4271 §4.2).
const HOLD_TIME: Range<usize> = 22..24;
/// The interfaces of a frontend, to r1 and to r2.
const LINKS: [&str; 2] = ["eth1", "eth2"];

/// With a hold time of 3 s, the daemon is paused by SIGSTOP, and later the host loses power: no packet passes, but the links stay
/// up.
pub(crate) fn hold_timer(scene: &Scene) -> Result<()> {
    let node = scene.node("fe2")?;
    let played = with_own_configuration(scene, "fe2", || {
        let mark = Mark::now();
        configure(scene, "fe2", &[("asn = 65000", "asn = 65000\nhold_time = \"3s\"")])?;
        node.must(&["announcer", "reload", "--force"])?;
        for (index, router) in scene.routers.iter().enumerate() {
            let from = address(index, "fe2", VIPS[0]);
            let open = router.wire.wait(mark, PATIENCE, |m| m.from == from && m.kind() == OPEN);
            let open = open.with_context(|| format!("no OPEN at {}", router.name))?;
            ensure!(open.octets[HOLD_TIME] == [0, 3], "{:02x?}", open.octets);
            let vip = VIPS[0].parse()?;
            let announcement = router.wire.wait(mark, PATIENCE, |m| m.from == from && m.announces(vip));
            if announcement.is_none() {
                let said: Vec<_> = router.wire.since(mark).into_iter().filter(|m| m.from == from).collect();
                bail!(
                    "{} did not get the route again, but {said:02x?}; {}",
                    router.name,
                    status(scene, "fe2")?
                );
            }
        }
        scene.all_announced()?;

        // Its server still serves, so no request is lost.
        let mark = Mark::now();
        let (load, began) = (ContinuousLoad::begin(scene, VIPS[0], 300)?, Instant::now());
        node.signal_daemon(Signal::SIGSTOP)?;
        scene.wait_next_hops(VIPS[0], &["fe1", "fe3"])?;
        println!("  SIGSTOP: gone after {:.1?}", began.elapsed());
        none_lost(scene, mark, "SIGSTOP", &load.report()?)?;
        node.signal_daemon(Signal::SIGCONT)?;
        scene.all_announced().context("after SIGCONT")?;

        let (load, began) = (ContinuousLoad::begin(scene, VIPS[0], 300)?, Instant::now());
        LINKS.iter().try_for_each(|link| node.cut(link, Cut::Silent))?;
        for vip in VIPS {
            scene.wait_next_hops(vip, &["fe1", "fe3"])?;
        }
        let gone = began.elapsed();
        let counts = load.report()?.total;
        println!(
            "  power-off: gone after {gone:.1?}, {} requests lost of {}",
            counts.lost(),
            counts.lost() + counts.answered()
        );
        ensure!(counts.lost() > 0, "the frontend was never away");
        let report = scene.load(VIPS[0], 300, Duration::from_secs(1))?.report()?;
        ensure!(report.total.lost() == 0, "without it: {:?}", report.total);
        LINKS.iter().try_for_each(|link| node.mend(link))?;
        scene.all_announced().context("after its power came back")
    });
    let resumed = node.signal_daemon(Signal::SIGCONT);
    LINKS.iter().try_for_each(|link| node.mend(link))?;
    played?;
    Ok(resumed?)
}

/// A router loses power, but all carriers stay. The frontends' sessions end by their hold timers. Replies and the client's requests
/// go over the other router as soon as the dead one no longer answers ARP. Most requests that are lost until then are lost because
/// the client has static routes; a real network above the routers would run a routing protocol.
pub(crate) fn router(scene: &Scene) -> Result<()> {
    let (mark, node) = (Mark::now(), scene.node("r2")?);
    let all = ["eth1", "eth2", "eth3", "eth4"];
    let (load, began) = (ContinuousLoad::begin(scene, VIPS[0], 500)?, Instant::now());
    let played = (|| {
        all.iter().try_for_each(|link| node.cut(link, Cut::Silent))?;
        for frontend in FRONTENDS {
            // Peer 1 of each frontend is r2.
            until_peer(scene, frontend, 1, "without r2", |peer| !established(peer))?;
        }
        println!("  no session with it after {:.1?}", began.elapsed());
        until(PATIENCE, || {
            let total = scene.load(VIPS[0], 300, Duration::from_secs(1))?.report()?.total;
            ensure!(total.lost() == 0, "requests are lost for ever: {total:?}");
            Ok(())
        })?;
        println!("  no request lost from {:.1?} on", began.elapsed() - Duration::from_secs(1));
        let kept = scene.next_hops(ROUTERS[0], VIPS[0])?;
        ensure!(kept.len() == 3, "r1 has {kept:?}");
        Ok(())
    })();
    all.iter().try_for_each(|link| node.mend(link))?;
    played?;
    let report = load.report()?;
    tell_lost(&report);
    ensure!(report.total.timed_out > 0, "the router was never away");
    for frontend in FRONTENDS {
        not_withdrawn(scene, mark, frontend, "one router's silence")?;
    }
    scene.all_announced().context("after its power came back")
}

/// The BGP daemon of one router ends; the other router always has every frontend.
pub(crate) fn one_router_gone(scene: &Scene) -> Result<()> {
    let mark = Mark::now();
    scene.node("r2")?.must(&["/usr/lib/frr/frrinit.sh", "stop"])?;
    let away = until_peer(scene, "fe1", 1, "without r2", |peer| peer["state"] != "Established");
    let kept = scene.next_hops(ROUTERS[0], VIPS[0]);
    scene.node("r2")?.must(&["/usr/lib/frr/frrinit.sh", "start"])?;
    away?;
    let kept = kept?;
    ensure!(kept.len() == 3, "r1 has {kept:?}");
    scene.all_announced()?;
    let vip: IpAddr = VIPS[0].parse()?;
    let changed = scene.routers[0].fib.since(mark).into_iter().find(|c| c.prefix.addr() == vip);
    ensure!(changed.is_none(), "r1's FIB changed: {changed:?}");
    Ok(())
}
