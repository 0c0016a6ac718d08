//! Tests a web server that fails and returns.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use scene::log::Mark;
use scene::{Scene, VIPS, server};

use crate::support::{fault, reason, status, wait_status};

pub(crate) fn crash_and_return(scene: &Scene) -> Result<()> {
    for frontend in ["fe1", "fe3"] {
        fault(scene, frontend, "crash", || {
            let at = SystemTime::now();
            ensure!(
                scene.node(frontend)?.kill(server(frontend), Signal::SIGKILL) > 0,
                "no server was killed"
            );
            Ok(at)
        })?;
        let why = reason(&status(scene, frontend)?, VIPS[0]);
        ensure!(why.contains("nothing listens any more") || why.contains("refused"), "{why}");
        let mark = Mark::now();
        let at = SystemTime::now();
        scene.node(frontend)?.must(&["/lab/web", "start"])?;
        println!("  return: {}", scene.announced(mark, at, frontend, VIPS[0])?);
        scene.all_announced()?;
    }
    Ok(())
}

pub(crate) fn hang(scene: &Scene) -> Result<()> {
    fault(scene, "fe1", "hang", || {
        let at = SystemTime::now();
        ensure!(scene.node("fe1")?.kill("nginx", Signal::SIGSTOP) > 0, "no server was stopped");
        Ok(at)
    })?;
    ensure!(scene.node("fe1")?.kill("nginx", Signal::SIGCONT) > 0, "no server goes on");
    scene.all_announced()
}

pub(crate) fn unhealthy(scene: &Scene) -> Result<()> {
    fault(scene, "fe2", "503", || {
        let at = SystemTime::now();
        scene.node("fe2")?.must(&["/lab/web", "unhealthy"])?;
        Ok(at)
    })?;
    let why = reason(&status(scene, "fe2")?, VIPS[1]);
    ensure!(why.contains("HTTP 503"), "{why}");
    scene.node("fe2")?.must(&["/lab/web", "healthy"])?;
    scene.all_announced()
}

/// A server that crashes and returns repeatedly is the last choice until it has been healthy for some time, or until an operator
/// runs undrain.
pub(crate) fn flaps(scene: &Scene) -> Result<()> {
    let node = scene.node("fe3")?;
    let crash_and_return = || -> Result<Instant> {
        ensure!(node.kill(server("fe3"), Signal::SIGKILL) > 0, "no server was killed");
        VIPS.iter().try_for_each(|vip| scene.wait_next_hops(vip, &["fe1", "fe2"]))?;
        node.must(&["/lab/web", "start"])?;
        Ok(Instant::now())
    };
    let damped = |said: &str| said.matches("times in a short time").count() == VIPS.len();
    let mut returns = 0;
    let returned = loop {
        let at = crash_and_return()?;
        returns += 1;
        let settled = |said: &str| damped(said) || said.matches("  announced (").count() == VIPS.len();
        if damped(&wait_status(scene, "fe3", "neither announced nor damped", settled)?) {
            break at;
        }
        ensure!(returns < 3, "its third return was announced in the usual way");
        scene.all_announced()?;
    };
    let why = reason(&status(scene, "fe3")?, VIPS[0]);
    ensure!(why.starts_with("last choice"), "not the last choice: {why}");
    scene.wait_next_hops(VIPS[0], &["fe1", "fe2"])?;
    scene.all_announced()?;
    let waited = returned.elapsed();
    println!("  return {returns} was announced in the usual way after {waited:.1?}");
    ensure!(waited >= Duration::from_secs(9), "it did not have to stay: {waited:?}");

    let returned = crash_and_return()?;
    wait_status(scene, "fe3", "not damped", damped)?;
    node.must(&["announcer", "undrain", "--all"])?;
    scene.all_announced()?;
    println!("  the next by `undrain`, after {:.1?}", returned.elapsed());
    ensure!(returned.elapsed() < Duration::from_secs(10), "`undrain` did not end the wait");
    Ok(())
}
