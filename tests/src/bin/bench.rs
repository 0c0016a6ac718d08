//! Our own figures, measured as docs and tests mean them: fault is the clock just before the kill(2) of every server
//! process, wire the capture at the router's end of the link, FIB rtnetlink's event in the router's namespace; the
//! slower of the two routers counts. Prints medians with minimum and maximum of [`RUNS`] runs; asserts nothing.

use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use e2e::scene::{Figures, Scene, VIPS, server};
use nix::sys::signal::Signal;

const RUNS: usize = 10;
const FRONTEND: &str = "fe1";

fn main() -> Result<()> {
    let scene = Scene::up()?;
    println!("interval 100 ms, timeout 100 ms, rise 2, fall 3; {RUNS} runs; median (minimum to maximum)\n");
    println!("{:28}{:>26}{:>26}", "", "to the wire, ms", "to the FIB, ms");
    row(&scene, "crash: kill -9", || kill(&scene, Signal::SIGKILL))?;
    row(&scene, "hang: SIGSTOP", || kill(&scene, Signal::SIGSTOP))?;
    row(&scene, "drain: announcer drain", || {
        let at = SystemTime::now();
        scene.node(FRONTEND)?.must(&["announcer", "drain", "www"])?;
        Ok(at)
    })?;
    row(&scene, "stop: SIGTERM", || {
        let at = SystemTime::now();
        ensure!(scene.node(FRONTEND)?.kill("announcer", Signal::SIGTERM) == 1, "no daemon was running");
        Ok(at)
    })?;
    lost(&scene)?;
    scene.down()
}

fn kill(scene: &Scene, signal: Signal) -> Result<SystemTime> {
    let at = SystemTime::now();
    ensure!(scene.node(FRONTEND)?.kill(server(FRONTEND), signal) > 0, "no server was running");
    Ok(at)
}

fn row(scene: &Scene, name: &str, fault: impl Fn() -> Result<SystemTime>) -> Result<()> {
    let mut figures = Vec::new();
    for _ in 0..RUNS {
        ready(scene)?;
        let mark = scene.mark();
        let at = fault()?;
        figures.push(scene.withdrawn(&mark, at, FRONTEND, VIPS[0])?);
    }
    println!("{name:28}{:>26}{:>26}", spread(&figures, |f| f.wire), spread(&figures, |f| f.fib));
    Ok(())
}

/// Everything mended, and probes at their steady pace.
fn ready(scene: &Scene) -> Result<()> {
    scene.node(FRONTEND)?.kill(server(FRONTEND), Signal::SIGCONT);
    while scene.node(FRONTEND)?.kill("announcer", Signal::SIGCONT) > 0
        && scene.node(FRONTEND)?.exec(&["announcer", "status"])?.stdout.contains("stopping")
    {
        thread::sleep(Duration::from_millis(50)); // it is ending
    }
    scene.mend()?;
    thread::sleep(Duration::from_millis(300)); // three intervals: the fault falls anywhere between two probes
    Ok(())
}

fn spread(figures: &[Figures], of: impl Fn(&Figures) -> Duration) -> String {
    let mut ms: Vec<f64> = figures.iter().map(|figure| of(figure).as_secs_f64() * 1e3).collect();
    ms.sort_by(f64::total_cmp);
    let median = (ms[(ms.len() - 1) / 2] + ms[ms.len() / 2]) / 2.0;
    format!("{median:.1} ({:.1} to {:.1})", ms[0], ms[ms.len() - 1])
}

/// Requests lost at 2,000/s: in a crash, and when daemon and web server are stopped one after the other.
fn lost(scene: &Scene) -> Result<()> {
    println!("\nrequests lost at 2,000/s over three frontends");
    let mut crash = Vec::new();
    let mut stop = Vec::new();
    for _ in 0..RUNS {
        ready(scene)?;
        let load = scene.load(VIPS[0], 2000, Duration::from_secs(2))?;
        thread::sleep(Duration::from_millis(700)); // requests flow before the fault
        kill(scene, Signal::SIGKILL)?;
        let total = load.report()?.total;
        crash.push(total.lost());
        ready(scene)?;
        let load = scene.load(VIPS[0], 2000, Duration::from_millis(3500))?;
        thread::sleep(Duration::from_millis(700)); // requests flow before the stop
        scene.node(FRONTEND)?.must(&["/lab/announcer", "stop"])?;
        scene.node(FRONTEND)?.must(&["/lab/web", "stop"])?;
        let total = load.report()?.total;
        stop.push((total.refused, total.lost()));
    }
    println!("crash: {crash:?}");
    println!("stop of announcer, then of the web server (refused, all lost): {stop:?}");
    Ok(())
}
