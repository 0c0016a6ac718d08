//! Counts the members that are lost while every processor is busy and the client's connections go on. The figures are those of the
//! daemons.
//!
//! Touches the lab, and runs `stress-ng` on this host. MINUTES: how long.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scene::VIPS;
use serde_json::Value;

use crate::network::Network;
use crate::site::{Ending, Mode, Site};

const FRONTENDS: u16 = 4;
const FLOWS: u32 = 1000;
/// New connections a second: what these processors still serve.
const RATE: u32 = 500;
/// After this time without an answer, a flow counts as broken.
const SILENCE: Duration = Duration::from_secs(10);

/// `stress-ng` with a busy process on every processor. It ends when this is dropped.
struct Stress(Child);

impl Stress {
    fn start(time: Duration) -> Result<Stress> {
        let limit = (time.as_secs() + 60).to_string();
        let mut command = Command::new("stress-ng");
        command
            .args(["--quiet", "--cpu", "0", "--timeout", &limit])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Ok(Stress(command.spawn().context("stress-ng; on Debian: apt-get install stress-ng")?))
    }

    fn check(&mut self) -> Result<()> {
        let ended = self.0.try_wait()?;
        ensure!(ended.is_none(), "stress-ng has ended: {ended:?}");
        Ok(())
    }
}

impl Drop for Stress {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM); // it ends its workers
        }
        let _ = self.0.wait();
    }
}

/// What the daemon of a host has seen so far.
struct Seen {
    /// How often it has logged that a member is dead.
    dead: usize,
    /// How often it has logged that a member's heartbeats had stopped while its kernel answered.
    silent: usize,
    /// `announcer chain --json`.
    chain: Value,
}

impl Seen {
    fn at(site: &Site, frontend: &str) -> Result<Seen> {
        let node = site.node(frontend)?;
        let log = fs::read_to_string(node.root().join("var/log/announcer.log"))?;
        let chain = node.must(&["announcer", "chain", "--json"])?;
        Ok(Seen {
            dead: log.matches("member is dead").count(),
            silent: log.matches("heartbeats of member stopped").count(),
            chain: serde_json::from_str(&chain).context("announcer chain --json")?,
        })
    }

    /// The states of the other members.
    fn states(&self) -> Result<Vec<&str>> {
        let members = self.chain["members"].as_array().context("`announcer chain --json` has no members")?;
        let others = members.iter().filter(|member| member["this_host"] == false);
        others.map(|member| member["state"].as_str().context("a member has no state")).collect()
    }

    /// For how long each of the other members has been in its state: the shortest time.
    fn lasts(&self) -> Duration {
        let members = self.chain["members"].as_array().into_iter().flatten();
        let lasts = members.filter_map(|member| member["for"].as_f64());
        Duration::from_secs_f64(lasts.reduce(f64::min).unwrap_or(0.0))
    }

    /// The heartbeats that did not count here, and those that the kernel did not send.
    fn heartbeats(&self) -> (u64, u64) {
        let dropped = self.chain["heartbeats_dropped"].as_array().into_iter().flatten();
        let dropped = dropped.filter_map(|reason| reason["count"].as_u64()).sum();
        (dropped, self.chain["heartbeats_unsent"].as_u64().unwrap_or(0))
    }
}

/// Plays both networks, one after the other, each for the whole time.
pub(crate) fn soak() -> Result<()> {
    let minutes: f64 = std::env::var("MINUTES").map_or(Ok(10.0), |text| text.parse()).context("MINUTES")?;
    let time = Duration::from_secs_f64(minutes * 60.0);
    let lost = [Network::Lan, Network::Routed].map(|network| busy(network, time));
    let lost = lost.into_iter().collect::<Result<Vec<_>>>()?.concat();
    ensure!(lost.is_empty(), "with busy processors:\n  {}", lost.join("\n  "));
    Ok(())
}

/// Returns what may not happen.
fn busy(network: Network, time: Duration) -> Result<Vec<String>> {
    let mut site = Site::up(network, FRONTENDS)?;
    site.set(Mode::Chain)?;
    let client = site.client(VIPS[0], FLOWS, RATE, SILENCE)?;
    let _ending = Ending(client.control.clone());
    let mut stress = Stress::start(time)?;
    let before: Vec<Seen> =
        site.frontends.iter().map(|frontend| Seen::at(&site, frontend)).collect::<Result<_>>()?;
    client.control.mark("busy");
    let begun = Instant::now();
    while begun.elapsed() < time {
        sleep(Duration::from_secs(1).min(time.saturating_sub(begun.elapsed())));
        stress.check()?;
    }
    let load = fs::read_to_string("/proc/loadavg")?;
    let after: Vec<Seen> =
        site.frontends.iter().map(|frontend| Seen::at(&site, frontend)).collect::<Result<_>>()?;
    let report = client.report(SILENCE)?;
    drop(stress);

    let mut faults = Vec::new();
    println!(
        "\n{}, {FRONTENDS} frontends, stress-ng on every processor for {:.0} s, load {}:\n{report}",
        network.name(),
        time.as_secs_f64(),
        load.trim()
    );
    println!("  as the daemons have seen it; a member is in its state for the shortest time");
    println!(
        "  {:8} {:>12} {:>18} {:>14} {:>20} {:>18}",
        "host",
        "members died",
        "heartbeats stopped",
        "in its state s",
        "heartbeats dropped",
        "heartbeats unsent"
    );
    for ((frontend, before), after) in site.frontends.iter().zip(&before).zip(&after) {
        let (dead, silent) = (after.dead - before.dead, after.silent - before.silent);
        let (dropped, unsent) = after.heartbeats();
        let (dropped_before, unsent_before) = before.heartbeats();
        println!(
            "  {frontend:8} {dead:>12} {silent:>18} {:>14.0} {:>20} {:>18}",
            after.lasts().as_secs_f64(),
            dropped.saturating_sub(dropped_before),
            unsent.saturating_sub(unsent_before)
        );
        if dead > 0 {
            faults.push(format!("{frontend} has lost members {dead} times"));
        }
        for state in after.states()?.into_iter().filter(|state| *state != "alive" && *state != "asked") {
            faults.push(format!("a member is {state} at {frontend} at the end"));
        }
        ensure!(after.states()?.len() + 1 == usize::from(FRONTENDS), "{frontend}: {}", after.chain);
    }
    let broken = report.phase("busy").map(|phase| phase.flows.broken.len()).context("no phase")?;
    if broken > 0 {
        faults.push(format!("{broken} flows broke"));
    }
    site.down()?;
    Ok(faults.into_iter().map(|fault| format!("{}: {fault}", network.name())).collect())
}
