//! Functions that the scenarios share: a frontend's status, its configuration, a fault and its effects.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use lab::load::Report;
use nix::sys::signal::Signal;
use scene::fib::Change;
use scene::log::Mark;
use scene::wire::between;
use scene::{FRONTENDS, Load, PATIENCE, ROUTERS, Scene, VIPS, address, lab_folder};
use serde_json::Value;
use until::until;

pub(crate) fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))
}

/// The status of a frontend's daemon.
pub(crate) fn status(scene: &Scene, frontend: &str) -> Result<Value> {
    json(&scene.node(frontend)?.must(&["announcer", "status", "--json"])?)
}

pub(crate) fn reason(status: &Value, vip: &str) -> String {
    let vips = status["services"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|s| s["vips"].as_array().into_iter().flatten());
    let found = vips
        .filter(|known| known["address"] == vip)
        .map(|known| known["reason"]["text"].as_str().unwrap_or_default());
    found.collect::<Vec<_>>().join("; ")
}

/// Breaks one frontend's web server and checks that both VIPs leave both routers, and no other frontend's do.
pub(crate) fn fault(
    scene: &Scene,
    frontend: &str,
    what: &str,
    fault: impl FnOnce() -> Result<SystemTime>,
) -> Result<()> {
    let mark = Mark::now();
    let at = fault()?;
    for vip in VIPS {
        let figures = scene.withdrawn(mark, at, frontend, vip)?;
        println!("  {what}: {vip}: {figures}");
        let others: Vec<&str> = FRONTENDS.into_iter().filter(|other| *other != frontend).collect();
        scene.wait_next_hops(vip, &others)?;
    }
    Ok(())
}

/// Writes a frontend's configuration: the lab's, with the given replacements, to the path from which its daemon reads it.
pub(crate) fn configure(scene: &Scene, frontend: &str, changes: &[(&str, &str)]) -> Result<()> {
    let original = std::fs::read_to_string(lab_folder().join(format!("nodes/{frontend}/announcer.toml")))?;
    let text = changes.iter().try_fold(original, |text, (from, to)| {
        ensure!(text.contains(from), "the lab's configuration has no `{from}`");
        Ok(text.replace(from, to))
    })?;
    Ok(std::fs::write(scene.node(frontend)?.root().join("run/reload.toml"), text)?)
}

/// Runs `frontend`'s daemon with a writable configuration, runs the scenario, and restores the configuration.
pub(crate) fn with_own_configuration(
    scene: &Scene,
    frontend: &str,
    play: impl FnOnce() -> Result<()>,
) -> Result<()> {
    with_own_configurations(scene, &[frontend], play)
}

/// As [`with_own_configuration`], for several.
pub(crate) fn with_own_configurations(
    scene: &Scene,
    frontends: &[&str],
    play: impl FnOnce() -> Result<()>,
) -> Result<()> {
    for frontend in frontends {
        configure(scene, frontend, &[])?;
    }
    start_again(scene, frontends, &["--config", "/run/reload.toml"])?;
    scene.all_announced()?;
    let played = play();
    start_again(scene, frontends, &[])?;
    played?;
    scene.all_announced()
}

/// Stops a frontend's daemon by two SIGTERMs: after the second one, it does not wait for the time that routers need. This waits instead
/// until they do not use the frontend any more.
fn stop_at_once(scene: &Scene, frontend: &str) -> Result<()> {
    let node = scene.node(frontend)?;
    if node.daemons().len() == 1 {
        node.signal_daemon(Signal::SIGTERM)?;
        let away = until(Duration::from_secs(2), || {
            for (index, router) in ROUTERS.iter().enumerate() {
                for vip in VIPS {
                    let used = scene.next_hops(router, vip)?.contains(&address(index, frontend, vip));
                    ensure!(!used, "{router} still uses {frontend} for {vip}");
                }
            }
            Ok(())
        });
        drop(away); // a daemon that a failed scenario has left may not be able to withdraw
    }
    node.must(&["/lab/announcer", "stop"])?;
    Ok(())
}

/// Stops these frontends' daemons at the same time, and starts them with these arguments.
pub(crate) fn start_again(scene: &Scene, frontends: &[&str], arguments: &[&str]) -> Result<()> {
    let again = |frontend: &str| -> Result<()> {
        stop_at_once(scene, frontend)?;
        let node = scene.node(frontend)?;
        node.must(&[&["/lab/announcer", "start"], arguments].concat())?;
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = frontends.iter().map(|frontend| scope.spawn(|| again(frontend))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
    })
}

/// Enters a line in a router's BGP configuration.
pub(crate) fn bgp_line(scene: &Scene, router: &str, line: &str) -> Result<()> {
    vtysh(scene, router, &["router bgp 65000", line])
}

/// Enters lines in a router's configuration.
pub(crate) fn vtysh(scene: &Scene, router: &str, lines: &[&str]) -> Result<()> {
    let lines = ["configure terminal"].iter().chain(lines).flat_map(|line| ["-c", line]);
    scene.node(router)?.must(&std::iter::once("vtysh").chain(lines).collect::<Vec<_>>())?;
    Ok(())
}

/// Waits for the state of a session, as reported by the frontend's daemon.
pub(crate) fn until_peer(
    scene: &Scene,
    frontend: &str,
    peer: usize,
    what: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<()> {
    until(PATIENCE, || {
        let status = status(scene, frontend)?;
        ensure!(fits(&status["peers"][peer]), "not {what}: {}", status["peers"][peer]);
        Ok(())
    })
}

pub(crate) fn established(peer: &Value) -> bool {
    peer["state"] == "Established"
}

/// Checks that no router has received a withdraw of a VIP by `frontend`.
pub(crate) fn not_withdrawn(scene: &Scene, mark: Mark, frontend: &str, what: &str) -> Result<()> {
    for (index, router) in scene.routers.iter().enumerate() {
        let from = address(index, frontend, VIPS[0]);
        let said = router.wire.since(mark);
        for vip in VIPS {
            let vip = vip.parse()?;
            let withdrawn = said.iter().any(|message| message.from == from && message.withdraws(vip));
            ensure!(!withdrawn, "{what}: {vip} was withdrawn from {}", router.name);
        }
    }
    Ok(())
}

/// What `announcer status --json` says, one sentence a line: of each router, each VIP, the listener watch, and the warnings.
fn sentences(status: &Value) -> String {
    let text = |value: &Value| value.as_str().or(value["text"].as_str()).unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for peer in list(&status["peers"]) {
        let [name, state, reason, hint] = ["name", "state", "reason", "hint"].map(|key| text(&peer[key]));
        lines.push(format!("peer {name}  {state}: {reason} hint: {hint}"));
        lines.extend(list(&peer["not_sent"]).iter().map(&text));
    }
    for service in list(&status["services"]) {
        for vip in list(&service["vips"]) {
            let [name, address, reason] = [&service["name"], &vip["address"], &vip["reason"]].map(&text);
            lines.push(format!("{name}  {address}  {reason} (for {})", vip["for"]));
        }
    }
    let watch = &status["listener_watch"];
    if let Some(targets) = watch["targets"].as_u64() {
        let what = if targets == 1 { "listener" } else { "listeners" };
        lines.push(format!("{targets} {what} watched every {} ms", watch["period_ms"]));
    }
    lines.extend(list(&watch["disarmed"]).iter().map(|why| format!("watched only by probes: {}", text(why))));
    lines.extend(list(&status["warnings"]).iter().map(|warning| format!("warning: {}", text(warning))));
    lines.join("\n")
}

/// Waits until what `announcer status` says on a frontend, in sentences, fits.
pub(crate) fn wait_status(
    scene: &Scene,
    frontend: &str,
    what: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<String> {
    until(PATIENCE, || {
        let said = sentences(&status(scene, frontend)?);
        ensure!(fits(&said), "{what}: {said}");
        Ok(said)
    })
}

/// Waits until the condition holds.
pub(crate) fn wait_for(what: &str, fits: impl Fn() -> Result<bool>) -> Result<()> {
    until(PATIENCE, || {
        ensure!(fits()?, "not so: {what}");
        Ok(())
    })
}

/// Waits until the addresses on a node's lo fit.
pub(crate) fn wait_lo(scene: &Scene, node: &str, what: &str, fits: impl Fn(&str) -> bool) -> Result<String> {
    until(PATIENCE, || {
        let lo = scene.node(node)?.must(&["ip", "-o", "address", "show", "dev", "lo"])?;
        ensure!(fits(&lo), "{what}: {lo}");
        Ok(lo)
    })
}

/// Checks that every VIP always had a next hop at every router.
pub(crate) fn never_left(scene: &Scene, mark: Mark) -> Result<()> {
    for router in &scene.routers {
        for vip in VIPS {
            let vip: IpAddr = vip.parse()?;
            let mut changes = router.fib.since(mark);
            changes.retain(|change| change.prefix.addr() == vip);
            // The kernel replaces an IPv6 route with several next hops by removing it and adding it.
            let replaced = |at: SystemTime| {
                let back = |c: &&Change| c.at >= at && !c.next_hops.is_empty();
                changes.iter().find(back).is_some_and(|c| between(at, c.at) < Duration::from_millis(10))
            };
            let gone = changes.iter().find(|c| c.next_hops.is_empty() && !replaced(c.at));
            ensure!(gone.is_none(), "{vip} left {}: {gone:?}", router.name);
        }
    }
    Ok(())
}

/// Makes a frontend's web server answer 503 for `/healthz`, or 200 again; it serves everything else as usual.
pub(crate) fn sick(scene: &Scene, frontend: &str, sick: bool) -> Result<()> {
    scene.node(frontend)?.must(&["/lab/web", if sick { "unhealthy" } else { "healthy" }])?;
    Ok(())
}

/// Requests that continue until `report` is called.
pub(crate) struct ContinuousLoad {
    load: Load,
    stop: Stop,
}

/// Ends the requests, at the latest when a failed scenario drops it.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl ContinuousLoad {
    pub(crate) fn begin(scene: &Scene, vip: &str, rate: u32) -> Result<ContinuousLoad> {
        let (stop, flows) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (asked, flow) = (stop.clone(), flows.clone());
        let load = scene.load_live(vip, rate, PATIENCE * 10, move |bucket| {
            flow.fetch_or(bucket.counts.answered() > 0, Ordering::Relaxed);
            if asked.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let endless = ContinuousLoad { load, stop: Stop(stop) };
        until(PATIENCE, || {
            ensure!(flows.load(Ordering::Relaxed), "no request is answered");
            Ok(())
        })?;
        Ok(endless)
    }

    /// Ends the requests after half a second; returns their results.
    pub(crate) fn report(self) -> Result<Report> {
        sleep(Duration::from_millis(500));
        drop(self.stop);
        self.load.report()
    }
}

/// Checks that no request was sent to a stopped server, and that every router always had a next hop. Some requests are moved to
/// another frontend during their connection: routers change the share of each next hop whenever one is added or removed. On a busy
/// machine, more connections are open at that time.
pub(crate) fn none_lost(scene: &Scene, mark: Mark, what: &str, report: &Report) -> Result<()> {
    let counts = &report.total;
    let moved = counts.reset + counts.timed_out;
    println!("  {what}: {} sent, {moved} moved within their connection", report.sent);
    ensure!(counts.lost() == moved && moved <= report.sent / 4, "{what}: {counts:?}");
    never_left(scene, mark)
}

/// Prints how many requests a fault lost, and how each ended.
pub(crate) fn tell_lost(report: &Report) {
    let counts = &report.total;
    println!(
        "  {} sent, {} lost: {} without a reply, {} reset, {} refused, {} without a route",
        report.sent,
        counts.lost(),
        counts.timed_out,
        counts.reset,
        counts.refused,
        counts.other
    );
}
