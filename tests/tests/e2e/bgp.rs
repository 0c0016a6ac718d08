//! Tests the negotiation with FRR and its effects: RFC 8950, RFC 4724, RFC 5082.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use scene::log::Mark;
use scene::wire::{Message, OPEN};
use scene::{FRONTENDS, PATIENCE, ROUTERS, Scene, VIPS, address};

use crate::support::{bgp_line, configure, established, json, until_peer, wait_for, with_own_configuration};

/// Both ends of fe1's link to r1.
const FE1: &str = "2001:db8:1:1::2";
const R1: &str = "2001:db8:1:1::1";

/// One session over IPv6 carries both families, and IPv4 packets follow it.
pub(crate) fn ipv4_over_ipv6(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let played = with_own_configuration(scene, "fe1", || {
        let mark = Mark::now();
        bgp_line(scene, "r1", &format!("neighbor {FE1} peer-group FRONTENDS"))?;
        bgp_line(scene, "r1", &format!("neighbor {FE1} capability extended-nexthop"))?;
        configure(scene, "fe1", &[("address = \"10.1.1.0\"", &format!("address = \"{R1}\""))])?;
        node.must(&["announcer", "reload"])?;
        until_peer(scene, "fe1", 0, "up over IPv6", established)?;
        let (from, vip): (IpAddr, IpAddr) = (FE1.parse()?, VIPS[0].parse()?);
        let said = scene.routers[0].wire.wait(mark, PATIENCE, |m| m.from == from && m.announces(vip));
        let said = said.context("the IPv4 VIP is not announced over IPv6")?;
        let next_hop =
            [&[0, 1, 1, 16], "2001:db8:1:1::2".parse::<std::net::Ipv6Addr>()?.octets().as_slice()].concat();
        ensure!(said.octets.windows(next_hop.len()).any(|w| w == next_hop), "{said:02x?}");
        wait_for("r1's FIB has IPv4 by way of IPv6", || {
            let routes = scene.node("r1")?.must(&["ip", "route", "show", VIPS[0]])?;
            Ok(routes.contains("via inet6")
                && ["10.1.2.1", "10.1.3.1"].iter().all(|other| routes.contains(other)))
        })?;
        let report = scene.load(VIPS[0], 300, Duration::from_secs(2))?.report()?;
        ensure!(report.total.lost() == 0, "{:?}", report.total);
        ensure!(report.total.ok.len() == FRONTENDS.len(), "not all answer: {:?}", report.total.ok);
        // It is withdrawn in the same way.
        node.must(&["/lab/web", "unhealthy"])?;
        let gone = scene.routers[0].wire.wait(mark, PATIENCE, |m| m.from == from && m.withdraws(vip));
        node.must(&["/lab/web", "healthy"])?;
        gone.context("the IPv4 VIP was not withdrawn over IPv6")?;
        Ok(())
    });
    // If the scenario failed earlier, there is nothing to remove.
    let _ = bgp_line(scene, "r1", &format!("no neighbor {FE1}"));
    played
}

/// If a daemon dies and is back in time, the routers keep its routes. If it stays away, they remove them when the restart time is
/// over.
pub(crate) fn graceful_restart(scene: &Scene) -> Result<()> {
    const RESTART: Duration = Duration::from_secs(8);
    let node = scene.node("fe2")?;
    let start = || node.must(&["/lab/announcer", "start", "--config", "/run/reload.toml"]);
    with_own_configuration(scene, "fe2", || {
        configure(scene, "fe2", &[("asn = 65001", "asn = 65001\ngraceful_restart = \"8s\"")])?;
        node.must(&["announcer", "reload", "--force"])?;
        for (index, router) in ROUTERS.iter().enumerate() {
            until_peer(scene, "fe2", index, "up with graceful restart", |peer| {
                established(peer) && peer["announced"] == VIPS.len()
            })?;
            wait_for("the router knows of it", || Ok(!stale(scene, router)?))?;
        }
        scene.all_announced()?;

        let mark = Mark::now();
        node.must(&["/lab/announcer", "kill"])?;
        for router in ROUTERS {
            wait_for("the router keeps what it knew", || stale(scene, router))?;
        }
        start()?;
        for (index, router) in ROUTERS.iter().enumerate() {
            let from = address(index, "fe2", VIPS[0]);
            let open = |m: &Message| m.from == from && m.kind() == OPEN;
            let open = scene.routers[index].wire.wait(mark, PATIENCE, open).context("no OPEN")?;
            // R, 8 s, and F for each family.
            let want = [64, 10, 0x80, 8, 0, 1, 1, 0x80, 0, 2, 1, 0x80];
            ensure!(open.octets.windows(want.len()).any(|w| w == want), "{:02x?}", open.octets);
            wait_for("the router hears the end of the table", || Ok(!stale(scene, router)?))?;
            for vip in VIPS {
                let (vip, hop): (IpAddr, IpAddr) = (vip.parse()?, address(index, "fe2", vip));
                let seen = scene.routers[index].fib.since(mark);
                let gone = seen
                    .iter()
                    .find(|change| change.prefix.addr() == vip && !change.next_hops.contains(&hop));
                // The kernel replaces an IPv6 route with several next hops by removing it and adding it.
                let replaced = gone.is_none_or(|gone| {
                    let back = |c: &&scene::fib::Change| c.at >= gone.at && c.next_hops.contains(&hop);
                    let back = seen.iter().filter(|change| change.prefix.addr() == vip).find(back);
                    back.is_some_and(|back| {
                        scene::wire::between(gone.at, back.at) < Duration::from_millis(10)
                    })
                });
                ensure!(replaced, "{vip} left {router}: {gone:?}");
            }
        }
        scene.all_announced()?;

        let killed = Instant::now();
        node.must(&["/lab/announcer", "kill"])?;
        scene.wait_next_hops(VIPS[0], &["fe1", "fe3"])?;
        let kept = killed.elapsed();
        println!("  kept for {kept:.1?} of {RESTART:?}");
        ensure!(kept > RESTART.mul_f64(0.8) && kept < RESTART * 2, "kept for {kept:?}");
        start()?;
        scene.all_announced()
    })
}

/// A router is corrected while its packets do not reach us, not even the end of the connection.
pub(crate) fn ttl_security_mended(scene: &Scene) -> Result<()> {
    let node = scene.node("fe3")?;
    let neighbor = address(0, "fe3", VIPS[0]);
    let played = with_own_configuration(scene, "fe3", || {
        configure(scene, "fe3", &[("name = \"r1\"", "name = \"r1\"\nttl_security = true")])?;
        node.must(&["announcer", "reload"])?;
        until_peer(scene, "fe3", 0, "a hint about the TTL", |peer| {
            !established(peer) && peer["hint"].as_str().is_some_and(|hint| hint.contains("TTL"))
        })?;
        let mended = Instant::now();
        bgp_line(scene, "r1", &format!("neighbor {neighbor} ttl-security hops 1"))?;
        until_peer(scene, "fe3", 0, "up with GTSM on both sides", established)?;
        println!("  up {:.1?} after the router was mended", mended.elapsed());
        Ok(())
    });
    // If the scenario failed earlier, there is nothing to remove.
    let _ = bgp_line(scene, "r1", &format!("no neighbor {neighbor} ttl-security hops 1"));
    played
}

/// Whether a router keeps fe2's routes without a session.
fn stale(scene: &Scene, router: &str) -> Result<bool> {
    let index = ROUTERS.iter().position(|name| *name == router).context("no such router")?;
    let shown =
        scene.node(router)?.must(&["vtysh", "-c", &format!("show bgp ipv4 unicast {} json", VIPS[0])])?;
    let paths = json(&shown)?["paths"].as_array().cloned().unwrap_or_default();
    let hop = address(index, "fe2", VIPS[0]).to_string();
    let ours = paths.iter().find(|path| path["nexthops"][0]["ip"] == hop.as_str());
    let ours = ours.with_context(|| format!("{router} has no route by fe2: {shown}"))?;
    Ok(ours["stale"] == true)
}
