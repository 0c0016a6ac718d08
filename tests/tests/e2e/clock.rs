//! Steps the wall clock. The daemon uses it only for times that people read.

use std::fs;
use std::path::PathBuf;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use scene::log::Mark;
use scene::wire::{NOTIFICATION, OPEN};
use scene::{PATIENCE, Scene, VIPS, address};

use crate::support::{
    ContinuousLoad, configure, none_lost, not_withdrawn, reason, start_again, status, wait_for,
};

const HOLD: Duration = Duration::from_secs(3);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// Runs the daemon with libfaketime. It steps the wall clock of one process by the value in a file, which it reads at each call,
/// and does not change the monotonic clock and the times of files. All other processes use the system's clock.
const RUN: &str = "#!/bin/sh\n\
    export LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketimeMT.so.1)\n\
    export FAKETIME_TIMESTAMP_FILE=/run/clock/step FAKETIME_NO_CACHE=1 NO_FAKE_STAT=1\n\
    export FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 NO_COLOR=1\n\
    exec /run/clock/announcer \"$@\"\n";

/// The daemon as cargo builds it by default: the installed one is static, so no library can be preloaded.
fn dynamic() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let built = test.ancestors().nth(2).context("no folder of cargo's")?.join("announcer");
    ensure!(built.exists(), "{} is missing: `cargo build -p announcer` makes it", built.display());
    Ok(built)
}

/// Steps the clock by a year, forward and back, for twice the hold time each, and in the middle of a drain.
pub(crate) fn stepped(scene: &Scene) -> Result<()> {
    let node = scene.node("fe2")?;
    let place = node.root().join("run/clock");
    fs::create_dir_all(&place)?;
    fs::copy(dynamic()?, place.join("announcer"))?;
    fs::write(place.join("run"), RUN)?;
    node.must(&["chmod", "755", "/run/clock/run"])?;
    let step = |by: &str| -> Result<()> {
        fs::write(place.join("next"), by)?;
        Ok(fs::rename(place.join("next"), place.join("step"))?) // so that the file never has half a line
    };
    // The time in the daemon's new log line, by its own clock.
    let now_is = |now: SystemTime, what: &str| -> Result<()> {
        node.must(&["announcer", "reload"])?;
        wait_for(&format!("the daemon's clock is stepped {what}"), || {
            let log = node.must(&["tail", "-n", "1", "/var/log/announcer.log"])?;
            let at = log.split_whitespace().next().unwrap_or_default();
            let at = humantime::parse_rfc3339(at).with_context(|| format!("no time: {log}"))?;
            let off = at.duration_since(now).unwrap_or_else(|before| before.duration());
            Ok(off < Duration::from_secs(3600))
        })
    };

    configure(scene, "fe2", &[("asn = 65000", "asn = 65000\nhold_time = \"3s\"")])?;
    step("+0")?;
    node.must(&["/lab/announcer", "stop"])?;
    let mark = Mark::now();
    node.must(&["env", "PROGRAM=/run/clock/run", "/lab/announcer", "start", "--config", "/run/reload.toml"])?;
    let played = (|| {
        for (index, router) in scene.routers.iter().enumerate() {
            let from = address(index, "fe2", VIPS[0]);
            let open = router.wire.wait(mark, PATIENCE, |m| m.from == from && m.kind() == OPEN);
            let open = open.with_context(|| format!("no OPEN at {}", router.name))?;
            ensure!(open.octets[22..24] == [0, 3], "{:02x?}", open.octets);
        }
        scene.all_announced()?;
        for (by, what, now) in
            [("+1y", "a year on", SystemTime::now() + YEAR), ("-1y", "a year back", SystemTime::now() - YEAR)]
        {
            let (mark, load) = (Mark::now(), ContinuousLoad::begin(scene, VIPS[0], 300)?);
            step(by)?;
            now_is(now, what)?;
            sleep(HOLD * 2);
            for vip in VIPS {
                let why = reason(&status(scene, "fe2")?, vip);
                ensure!(why == "announced", "{what}: {vip}: {why}");
            }
            not_withdrawn(scene, mark, "fe2", what)?;
            for (index, router) in scene.routers.iter().enumerate() {
                let from = address(index, "fe2", VIPS[0]);
                let said = router.wire.since(mark);
                let ended =
                    said.into_iter().find(|m| m.from == from && matches!(m.kind(), OPEN | NOTIFICATION));
                ensure!(ended.is_none(), "{what}: the session with {} ended: {ended:02x?}", router.name);
            }

            // The drain waits a second for `settle`; the clock is stepped back during this time.
            let (began, drained) = (Instant::now(), Mark::now());
            scope(|scope| -> Result<()> {
                let drain =
                    scope.spawn(|| node.must(&["announcer", "drain", "www", "--wait", "--timeout", "5s"]));
                for (index, router) in scene.routers.iter().enumerate() {
                    let (from, vip) = (address(index, "fe2", VIPS[0]), VIPS[0].parse()?);
                    let withdrawal = router.wire.wait(drained, HOLD, |m| m.from == from && m.withdraws(vip));
                    withdrawal.with_context(|| format!("{what}: {} heard of no drain", router.name))?;
                }
                step("+0")?;
                match drain.join() {
                    Ok(said) => Ok(said.map(drop)?),
                    Err(_) => bail!("a thread panicked"),
                }
            })?;
            let took = began.elapsed();
            ensure!(took >= Duration::from_millis(990), "{what}: the drain did not settle: {took:?}");
            now_is(SystemTime::now(), "back to now")?;
            node.must(&["announcer", "undrain", "www"])?;
            scene.all_announced()?;
            println!("  {what}, and back: the drain took {took:.1?}");
            none_lost(scene, mark, what, &load.report()?)?;
        }
        Ok(())
    })();
    start_again(scene, &["fe2"], &[])?;
    fs::remove_dir_all(&place)?;
    played?;
    scene.all_announced()
}
