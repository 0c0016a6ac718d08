//! Tests the commands for operators: `explain`, `check`, `recheck`, the metrics and the hook.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use scene::log::Mark;
use scene::{PATIENCE, ROUTERS, Scene, VIPS};

use crate::support::{configure, sick, wait_for, wait_status, with_own_configuration};

/// Tests `explain`, and `check`, which runs each check once, also without the daemon.
pub(crate) fn explain_and_check(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let explained = node.must(&["announcer", "explain", VIPS[0]])?;
    for words in ["announced", "HTTP 200", "Check `http`", ROUTERS[0], ROUTERS[1]] {
        ensure!(explained.contains(words), "no `{words}`: {explained}");
    }
    let of_one = node.must(&["announcer", "explain", VIPS[0], "--peer", "r2"])?;
    ensure!(of_one.contains("r2") && !of_one.contains("r1"), "{of_one}");
    let nobody = node.exec(&["announcer", "explain", "192.0.2.1"])?;
    ensure!(nobody.code == 2, "{nobody:?}");

    let seen = node.must(&["announcer", "check", "www"])?;
    ensure!(VIPS.iter().all(|vip| seen.contains(vip)) && seen.matches("HTTP 200").count() == 2, "{seen}");
    sick(scene, "fe1", true)?;
    let seen = node.exec(&["announcer", "check", "www"])?;
    ensure!(seen.code == 1 && seen.stdout.matches("HTTP 503").count() == 2, "{seen:?}");
    scene.wait_next_hops(VIPS[0], &["fe2", "fe3"])?;
    let explained = node.must(&["announcer", "explain", VIPS[0]])?;
    ensure!(explained.contains("not announced") && explained.contains("HTTP 503"), "{explained}");
    sick(scene, "fe1", false)?;
    scene.all_announced()?;

    node.must(&["/lab/announcer", "stop"])?;
    let seen = node.must(&["announcer", "check", "www"])?;
    ensure!(seen.matches("HTTP 200").count() == 2, "{seen}");
    node.must(&["/lab/announcer", "start"])?;
    scene.all_announced()
}

/// Tests that `recheck` probes at once.
pub(crate) fn recheck(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let command = || node.must(&["announcer", "recheck", "www"]).map(drop);
    let signal = || {
        node.signal_daemon(Signal::SIGUSR1)?;
        Ok(())
    };
    with_own_configuration(scene, "fe1", || {
        let changes = [
            ("interval = \"100ms\" #", "interval = \"1h\" #"),
            ("timeout = \"100ms\"", "timeout = \"5s\""), // the single probe has to be answered, also on a busy machine
            ("rise = 2", "rise = 1"),
            ("fall = 3", "fall = 1"),
        ];
        configure(scene, "fe1", &changes)?;
        node.must(&["announcer", "reload"])?;
        for (what, recheck) in
            [("recheck", &command as &dyn Fn() -> Result<(), lab::Error>), ("SIGUSR1", &signal)]
        {
            sick(scene, "fe1", true)?;
            let (mark, at) = (Mark::now(), SystemTime::now());
            recheck()?;
            println!("  {what}: {}", scene.withdrawn(mark, at, "fe1", VIPS[0])?);
            scene.withdrawn(mark, at, "fe1", VIPS[1])?;
            sick(scene, "fe1", false)?;
            let (mark, at) = (Mark::now(), SystemTime::now());
            recheck()?;
            println!("  {what}: announced: {}", scene.announced(mark, at, "fe1", VIPS[0])?);
            scene.announced(mark, at, "fe1", VIPS[1])?;
        }
        Ok(())
    })
}

/// The value of the series in a scrape with this name and all these labels.
fn value(scraped: &str, name: &str, labels: &[&str]) -> Result<f64> {
    let fits = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
    let line = scraped.lines().find(fits).with_context(|| format!("no {name} {labels:?}: {scraped}"))?;
    line.rsplit(' ').next().context("no value")?.parse().context("no number")
}

/// Tests that the metrics follow the events.
pub(crate) fn metrics(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    with_own_configuration(scene, "fe1", || {
        configure(scene, "fe1", &[("[[service]]", "[metrics]\nlisten = \"127.0.0.1:9179\"\n[[service]]")])?;
        node.must(&["announcer", "reload"])?;
        let scrape = || {
            node.must(&[
                "curl",
                "-sS",
                "--retry",
                "5",
                "--retry-connrefused",
                "http://127.0.0.1:9179/metrics",
            ])
        };
        let vip = format!("vip=\"{}\"", VIPS[0]);
        let standing = |scraped: &str, standing: &str| {
            value(scraped, "announcer_vip_standing{", &[&vip, &format!("standing=\"{standing}\"")])
        };
        let to_wire =
            |scraped: &str| value(scraped, "announcer_update_delay_seconds_count{", &["peer=\"r1\""]);
        let before = scrape()?;
        ensure!(
            standing(&before, "announced")? == 1.0 && standing(&before, "not_announced")? == 0.0,
            "{before}"
        );
        for peer in ["peer=\"r1\"", "peer=\"r2\""] {
            ensure!(
                value(&before, "announcer_peer_state{", &[peer, "state=\"Established\""])? == 1.0,
                "{before}"
            );
        }
        sick(scene, "fe1", true)?;
        scene.wait_next_hops(VIPS[0], &["fe2", "fe3"])?;
        scene.wait_next_hops(VIPS[1], &["fe2", "fe3"])?;
        let after = scrape()?;
        ensure!(
            standing(&after, "announced")? == 0.0 && standing(&after, "not_announced")? == 1.0,
            "{after}"
        );
        ensure!(to_wire(&after)? > to_wire(&before)?, "the change was not counted: {after}");
        let failed = |scraped: &str| value(scraped, "announcer_probes_total{", &[&vip, "result=\"fail\""]);
        ensure!(failed(&after)? >= 3.0, "{after}");
        let sum = value(&after, "announcer_update_delay_seconds_sum{", &["peer=\"r1\""])?;
        println!(
            "  verdict to wire: {:.3} ms on average of {}",
            sum / to_wire(&after)? * 1e3,
            to_wire(&after)?
        );
        sick(scene, "fe1", false)?;
        scene.all_announced()
    })
}

/// Tests that the hook runs for each change, and that a hanging hook delays nothing.
pub(crate) fn hook(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    let script = "#!/bin/sh\necho \"$ANNOUNCER_VIP $ANNOUNCER_PREVIOUS $ANNOUNCER_STANDING $ANNOUNCER_REASON\" >>/run/hooked\n\
                  [ ! -e /run/hang ] || exec sleep 60\n";
    let played = with_own_configuration(scene, "fe1", || {
        std::fs::write(node.root().join("run/hook"), script)?;
        node.must(&["chmod", "755", "/run/hook"])?;
        let hooks = "[hooks]\non_change = [\"/run/hook\"]\ntimeout = \"1m\"\n[[service]]";
        configure(scene, "fe1", &[("[[service]]", hooks)])?;
        node.must(&["announcer", "reload"])?;
        let hook_ran_with = |line: String| {
            wait_for(&format!("the hook ran with: {line}"), || {
                let hooked = node.exec(&["cat", "/run/hooked"])?.stdout;
                Ok(hooked.lines().any(|said| said.starts_with(&line)))
            })
        };
        sick(scene, "fe1", true)?;
        for vip in VIPS {
            hook_ran_with(format!("{vip} announced not_announced "))?;
        }
        sick(scene, "fe1", false)?;
        for vip in VIPS {
            hook_ran_with(format!("{vip} not_announced announced "))?;
        }
        scene.all_announced()?;

        node.must(&["/bin/sh", "-c", "rm -f /run/hooked; touch /run/hang"])?;
        let (mark, at) = (Mark::now(), SystemTime::now());
        sick(scene, "fe1", true)?;
        println!("  with a hook that hangs: {}", scene.withdrawn(mark, at, "fe1", VIPS[0])?);
        hook_ran_with(String::new())?; // it has started, and hangs
        sick(scene, "fe1", false)?;
        scene.all_announced()?;
        let (mark, at) = (Mark::now(), SystemTime::now());
        sick(scene, "fe1", true)?;
        println!("  and again: {}", scene.withdrawn(mark, at, "fe1", VIPS[1])?);
        sick(scene, "fe1", false)?;
        let began = Instant::now();
        node.must(&["announcer", "undrain", "--all"])?;
        wait_status(scene, "fe1", "not answered", |said| said.contains("announced"))?;
        ensure!(began.elapsed() < PATIENCE, "the daemon waits for the hook");
        node.must(&["rm", "/run/hang"])?;
        Ok(())
    });
    node.must(&["/bin/sh", "-c", "rm -f /run/hang /run/hook /run/hooked"])?;
    played
}

/// Tests that a server that answers but is not ready yet is not announced.
pub(crate) fn slow_start(scene: &Scene) -> Result<()> {
    let node = scene.node("fe1")?;
    node.must(&["/lab/web", "stop"])?;
    scene.wait_next_hops(VIPS[0], &["fe2", "fe3"])?;
    sick(scene, "fe1", true)?;
    let mark = Mark::now();
    node.must(&["/lab/web", "start"])?;
    wait_status(scene, "fe1", "the new server was not asked", |said| said.contains("HTTP 503"))?;
    std::thread::sleep(Duration::from_secs(1)); // ten probes
    let from = scene::address(0, "fe1", VIPS[0]);
    let vip = VIPS[0].parse()?;
    let early = scene.routers[0].wire.since(mark).into_iter().any(|m| m.from == from && m.announces(vip));
    ensure!(!early, "announced while it answers 503");
    let (mark, at) = (Mark::now(), SystemTime::now());
    sick(scene, "fe1", false)?;
    println!("  ready: {}", scene.announced(mark, at, "fe1", VIPS[0])?);
    scene.all_announced()
}
