//! The scenarios with the user's own files: what is done, and what has to be seen.
//!
//! Touches the lab.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use lab::{Cut, Node};
use nix::sys::signal::Signal;
use scene::PATIENCE;
use scene::log::Mark;
use until::until;

use crate::expect::{Effect, Fault, Route, effect, time_to_fall, time_to_rise};
use crate::plan::Owner;
use crate::router_file::Daemon;
use crate::stage::{Load, Seen, Stage, Wanted, Wire, prefix};

/// The time that a busy machine may add to a limit.
const SLACK: Duration = Duration::from_secs(2);

/// How long a frontend that reboots is off at least. zebra needs a second to forget its group of next hops: see `/lab/router`.
const DOWN: Duration = Duration::from_secs(3);

/// After an error, such as a hold timer that expired, BIRD accepts no session for a minute, unless its file has `error wait time`.
const AFTER_AN_ERROR: Duration = Duration::from_secs(70);

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The web server is killed, and started again
    Crash,
    /// The web server is stopped by SIGSTOP: it accepts connections and answers nothing; then it goes on
    Hang,
    /// `announcer drain --all --wait`, then `announcer undrain --all`
    Drain,
    /// The frontend loses its links and all its processes at once, and starts again
    Reboot,
    /// The BGP program of the router is killed, and the router's programs start again
    Router,
}

/// What a scenario is played on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The frontend with this index.
    Frontend(usize),
    /// The router with this index.
    Router(usize),
}

impl Scenario {
    /// Its name, as it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::Crash => "crash",
            Scenario::Hang => "hang",
            Scenario::Drain => "drain",
            Scenario::Reboot => "reboot",
            Scenario::Router => "router",
        }
    }

    /// What it is played on, one after the other.
    pub(crate) fn victims(self, stage: &Stage) -> Vec<Victim> {
        match self {
            Scenario::Crash | Scenario::Hang | Scenario::Drain | Scenario::Reboot => {
                (0..stage.inputs.plan.frontends.len()).map(Victim::Frontend).collect()
            }
            Scenario::Router => (0..stage.inputs.plan.routers.len()).map(Victim::Router).collect(),
        }
    }
}

/// The limit until everything is announced again after a repair.
pub(crate) fn patience(stage: &Stage) -> Duration {
    let services = stage.inputs.configs.iter().flat_map(|config| &config.config.services);
    stage.patience + services.map(time_to_rise).max().unwrap_or_default()
}

/// Plays a scenario, and repairs what it has broken.
///
/// # Errors
/// What was expected, and what was seen instead.
pub(crate) fn play(stage: &Stage, scenario: Scenario, victim: Victim) -> Result<String> {
    let load = stage.load()?;
    let played = match (scenario, victim) {
        (Scenario::Crash, Victim::Frontend(frontend)) => fault(stage, frontend, Fault::Crash),
        (Scenario::Hang, Victim::Frontend(frontend)) => fault(stage, frontend, Fault::Hang),
        (Scenario::Drain, Victim::Frontend(frontend)) => drain(stage, frontend),
        (Scenario::Reboot, Victim::Frontend(frontend)) => reboot(stage, frontend),
        (Scenario::Router, Victim::Router(router)) => restart(stage, router),
        (Scenario::Router, Victim::Frontend(_))
        | (Scenario::Crash | Scenario::Hang | Scenario::Drain | Scenario::Reboot, Victim::Router(_)) => {
            bail!("this scenario is played on another kind of node")
        }
    };
    let repaired = mend(stage).context("after the repair");
    let lost = lost(load)?;
    let text = played?;
    repaired?;
    Ok(format!("{text}{lost}"))
}

/// Ends what a scenario may have left: drains, and the damping of VIPs that came back.
fn mend(stage: &Stage) -> Result<()> {
    for index in 0..stage.inputs.plan.frontends.len() {
        let node = stage.frontend(index)?;
        node.kill("nginx", Signal::SIGCONT);
        if node.pids_of("nginx").is_empty() {
            node.exec(&["/lab/web", "start"])?; // if it fails, a route is missing below
        }
        if !node.daemons().is_empty() {
            node.exec(&["announcer", "undrain", "--all"])?; // as above
        }
    }
    stage.all_announced(patience(stage))
}

fn lost(load: Load) -> Result<String> {
    Ok(match load.end()? {
        None => String::new(),
        Some((sent, counts)) => format!("; {} of {sent} requests lost", counts.lost()),
    })
}

fn crash(node: &Node) -> Result<()> {
    ensure!(node.kill("nginx", Signal::SIGKILL) > 0, "expected nginx to run, and saw no process of it");
    Ok(())
}

fn hang(node: &Node) -> Result<()> {
    ensure!(node.kill("nginx", Signal::SIGSTOP) > 0, "expected nginx to run, and saw no process of it");
    Ok(())
}

/// The web server crashes or hangs: the routes that depend on it are withdrawn in time, the others stay.
fn fault(stage: &Stage, frontend: usize, fault: Fault) -> Result<String> {
    let node = stage.frontend(frontend)?;
    let services = &stage.inputs.configs[frontend].config.services;
    let (mut going, mut staying) = (Vec::new(), Vec::new());
    for route in stage.routes_of(frontend) {
        match effect(&services[route.service], fault) {
            Effect::Withdrawn(limit) => going.push((route, limit)),
            Effect::Kept => staying.push(route),
        }
    }
    let at = (Mark::now(), SystemTime::now());
    match fault {
        Fault::Crash => crash(node)?,
        Fault::Hang => hang(node)?,
    }
    let mut seen = Vec::new();
    for (route, limit) in &going {
        let change = stage.change(at, route, Wanted::Gone, Wire::Heard, *limit + stage.patience)?;
        let late = change.wire.filter(|time| *time > *limit + SLACK);
        if let Some(time) = late {
            bail!(
                "expected the withdraw of {} within {limit:.1?}, as the checks say, and saw it after {time:.1?}",
                prefix(route)
            );
        }
        seen.push(change);
    }
    // What stays has to stay for as long as its checks need to fail, or as long as anyone waits here.
    let decided =
        staying.iter().map(|route| time_to_fall(&services[route.service])).max().unwrap_or_default();
    std::thread::sleep(decided.min(stage.patience).saturating_sub(at.1.elapsed().unwrap_or_default()));
    staying.iter().try_for_each(|route| stage.is(route, Wanted::There))?;

    let back = (Mark::now(), SystemTime::now());
    match fault {
        Fault::Crash => {
            node.must(&["/lab/web", "start"])?;
        }
        Fault::Hang => {
            node.kill("nginx", Signal::SIGCONT);
        }
    }
    let mut again = Vec::new();
    for (route, _) in &going {
        again.push(stage.change(back, route, Wanted::There, Wire::Heard, patience(stage))?);
    }
    let mut text = String::new();
    if !going.is_empty() {
        text = format!(
            "{}; announced again: {}",
            figures(stage, "withdrawn", &seen),
            figures(stage, "", &again)
        );
        if let (Fault::Hang, Some(limit)) = (fault, going.iter().map(|(_, limit)| *limit).max()) {
            let _ = write!(text, "; the checks allow {}", rounded(limit)); // writing to a string cannot fail
        }
    }
    if !staying.is_empty() {
        let kept: Vec<String> = staying.iter().map(|route| prefix(route)).collect();
        let between = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{between}{} stays announced, as the checks say", distinct(&kept));
    }
    Ok(text)
}

/// Everything is drained, and comes back.
fn drain(stage: &Stage, frontend: usize) -> Result<String> {
    let node = stage.frontend(frontend)?;
    let at = (Mark::now(), SystemTime::now());
    node.must(&["announcer", "drain", "--all", "--wait"])?;
    let took = at.1.elapsed().unwrap_or_default();
    stage
        .routes_of(frontend)
        .try_for_each(|route| stage.is(route, Wanted::Gone))
        .context("after `drain --wait`")?;
    let seen = changes(stage, at, stage.routes_of(frontend), Wanted::Gone, Wire::Heard, stage.patience)?;
    let back = (Mark::now(), SystemTime::now());
    node.must(&["announcer", "undrain", "--all"])?;
    let again = changes(stage, back, stage.routes_of(frontend), Wanted::There, Wire::Heard, patience(stage))?;
    Ok(format!(
        "{}; `--wait` returned after {}; announced again: {}",
        figures(stage, "withdrawn", &seen),
        rounded(took),
        figures(stage, "", &again)
    ))
}

/// The frontend loses its links and its processes at once. Its routes go when the router notices that the link is down, or at the
/// latest when the hold timer expires, and with graceful restart the time that the routes are kept.
fn reboot(stage: &Stage, frontend: usize) -> Result<String> {
    let node = stage.frontend(frontend)?;
    let config = &stage.inputs.configs[frontend].config;
    let names: Vec<&str> =
        stage.inputs.plan.frontends[frontend].sessions.iter().map(|session| session.peer.as_str()).collect();
    let peers = || config.peers.iter().filter(|peer| names.contains(&peer.name.as_str()));
    let hold = peers().map(|peer| peer.hold_time).max().unwrap_or_default();
    let limit = hold + config.bgp.graceful_restart.unwrap_or_default() + SLACK;
    let interfaces: Vec<&str> = stage
        .inputs
        .plan
        .segments
        .iter()
        .filter_map(|segment| segment.port(Owner::Frontend(frontend)))
        .map(|port| port.interface.as_str())
        .collect();
    let at = (Mark::now(), SystemTime::now());
    for interface in &interfaces {
        node.cut(interface, Cut::Carrier)?;
    }
    stage.kill_all(frontend)?;
    // The addresses of a host that starts are gone.
    node.must(&["ip", "address", "flush", "dev", "lo", "scope", "global"])?;
    let seen = if peers().any(|peer| peer.hold_time.is_zero()) {
        Ok(Vec::new()) // without a hold timer, the router may keep the routes for ever
    } else {
        changes(stage, at, stage.routes_of(frontend), Wanted::Gone, Wire::Silent, limit)
    };
    std::thread::sleep(DOWN.saturating_sub(at.1.elapsed().unwrap_or_default()));
    for interface in &interfaces {
        node.mend(interface)?;
    }
    let back = (Mark::now(), SystemTime::now());
    node.must(&["/lab/boot"])?;
    let seen = seen.with_context(|| format!("{} after the links were cut", rounded(limit)))?;
    let patience = patience(stage) + AFTER_AN_ERROR;
    let again = changes(stage, back, stage.routes_of(frontend), Wanted::There, Wire::Heard, patience)?;
    Ok(format!("{}; announced again: {}", figures(stage, "gone", &seen), figures(stage, "", &again)))
}

/// The router's BGP program is killed, and its programs start again.
fn restart(stage: &Stage, router: usize) -> Result<String> {
    let node = stage.router(router)?;
    let process = match stage.inputs.plan.routers[router].daemon {
        Daemon::Frr => "bgpd",
        Daemon::Bird => "bird",
    };
    ensure!(node.kill(process, Signal::SIGKILL) > 0, "expected {process} to run, and saw no process of it");
    until(PATIENCE, || {
        ensure!(node.pids_of(process).is_empty(), "expected {process} to end by SIGKILL, and it did not");
        Ok(())
    })?;
    let back = (Mark::now(), SystemTime::now());
    node.must(&["/lab/router", "restart"])?;
    let routes = stage.routes.iter().filter(|route| route.router == router);
    let again = changes(stage, back, routes, Wanted::There, Wire::Heard, patience(stage))?;
    Ok(figures(stage, &format!("{process} was killed; after the restart announced again"), &again))
}

fn changes<'a>(
    stage: &Stage,
    at: (Mark, SystemTime),
    routes: impl Iterator<Item = &'a Route>,
    wanted: Wanted,
    wire: Wire,
    patience: Duration,
) -> Result<Vec<Seen>> {
    routes.map(|route| stage.change(at, route, wanted, wire, patience)).collect()
}

/// The times at each router until the slowest of its routes has changed.
fn figures(stage: &Stage, what: &str, seen: &[Seen]) -> String {
    let mut routers = Vec::new();
    for (index, router) in stage.inputs.plan.routers.iter().enumerate() {
        let of: Vec<&Seen> = seen.iter().filter(|seen| seen.router == index).collect();
        if of.is_empty() {
            continue;
        }
        let wire = of.iter().filter_map(|seen| seen.wire).max().map(|time| format!("wire {}", rounded(time)));
        let fib = of.iter().filter_map(|seen| seen.fib).max().map(|time| format!("FIB {}", rounded(time)));
        let times: Vec<String> = wire.into_iter().chain(fib).collect();
        let times = if times.is_empty() { "FIB, at an unknown time".to_owned() } else { times.join(", ") };
        routers.push(format!("{} {times}", router.name));
    }
    let text = routers.join("; ");
    if what.is_empty() { text } else { format!("{what}: {text}") }
}

fn rounded(time: Duration) -> String {
    match time < Duration::from_secs(1) {
        true => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        false => format!("{:.1} s", time.as_secs_f64()),
    }
}

fn distinct(texts: &[String]) -> String {
    let mut once: Vec<&str> = texts.iter().map(String::as_str).collect();
    once.sort_unstable();
    once.dedup();
    once.join(", ")
}
