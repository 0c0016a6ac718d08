//! A web server that fails, and comes back.

use std::time::SystemTime;

use anyhow::{Result, ensure};
use e2e::scene::{Scene, VIPS, server};
use nix::sys::signal::Signal;

use crate::support::{fault, reason, status};

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
        let mark = scene.mark();
        let at = SystemTime::now();
        scene.node(frontend)?.must(&["/lab/web", "start"])?;
        println!("  return: {}", scene.announced(&mark, at, frontend, VIPS[0])?);
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
