//! Measures memory and CPU of a candidate with many services: this many VIPs, one check each, once per second.
//!
//! Touches the lab and `/proc`. CPU is the time of every process of the candidate, and of every process that it has started and
//! waited for. Memory is the proportional set size at the end. The number of connections that the web server's kernel has accepted
//! shows whether all due probes were sent.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::time::{ClockId, clock_gettime};
use procfs_core::FromRead;
use procfs_core::net::Snmp;
use procfs_core::process::{SmapsRollup, Stat};
use until::until;

use crate::candidate::Candidate;
use crate::results::{Cost, Usage};
use crate::stage::{CALM, Stage};

/// The time limit until everything is announced.
const PATIENCE: Duration = Duration::from_secs(45);
/// The VIPs are in a range that is reserved for labs (RFC 2544).
const RANGE: &str = "198.18.0.0/15";
/// The duration of a measurement. It is so long that one probe more or less does not matter.
const LASTS: Duration = Duration::from_secs(10);
/// A candidate with a smaller part of the due probes than this does not keep up.
const ENOUGH: f64 = 0.8;
/// Ticks a second in `/proc`: a fixed value of Linux's interface.
const USER_HZ: f64 = 100.0;
/// The default of the time between two queries of announcer's listener watch, which wakes the daemon up that often.
const WATCH: Duration = Duration::from_millis(5);

/// Configures the routers to accept this many VIPs.
///
/// # Errors
/// When a router refuses the configuration.
pub(crate) fn prepare(stage: &Stage) -> Result<()> {
    for router in &stage.scene.routers {
        let words: Vec<String> = [
            "configure terminal",
            &format!("ip prefix-list VIPS seq 10 permit {RANGE} ge 32"),
            "router bgp 65000",
            "address-family ipv4 unicast",
            "neighbor FRONTENDS maximum-prefix 10000",
        ]
        .iter()
        .flat_map(|line| ["-c".to_owned(), (*line).to_owned()])
        .collect();
        let mut command = vec!["vtysh".to_owned()];
        command.extend(words);
        stage.scene.node(router.name)?.must(&command)?;
    }
    Ok(())
}

/// Measures one candidate with this number of services.
///
/// # Errors
/// When the candidate cannot be configured or cleaned up. Every error while it runs is in the result, as a failure of the
/// candidate.
pub(crate) fn measure(stage: &Stage, candidate: Candidate, services: usize) -> Result<Cost> {
    let vips: Vec<String> = (0..services).map(|i| format!("198.18.{}.{}", i / 250, i % 250 + 1)).collect();
    addresses(stage, "add", &vips)?;
    stage.configure(candidate, &vips, CALM)?;
    let measured = usage(stage, candidate, services).map_err(|error| format!("{error:#}"));
    stage.clear(candidate)?;
    addresses(stage, "del", &vips)?;
    Ok(Cost { candidate, services, measured })
}

/// Starts a candidate that is configured, and measures it once it announces every VIP.
fn usage(stage: &Stage, candidate: Candidate, services: usize) -> Result<Usage> {
    stage.control(candidate, "start")?;
    until(PATIENCE, || {
        let there = announced(stage)?;
        let limit = PATIENCE.as_secs();
        ensure!(there == services, "did not keep up: {there} of {services} announced after {limit} s");
        anyhow::Ok(())
    })?;
    thread::sleep(Duration::from_secs(3)); // the cost of the start is not measured
    let (cpu, probes, start) = (ticks(stage)?, accepted(stage)?, Instant::now());
    thread::sleep(LASTS);
    let (cpu, probes, lasted) =
        (ticks(stage)? - cpu, accepted(stage)? - probes, start.elapsed().as_secs_f64());
    let pss_mib = pss(stage)?;
    let due = lasted * 1e3 / f64::from(CALM.interval_ms) * real(services as u64);
    let probes = real(probes) / due;
    ensure!(probes >= ENOUGH, "did not keep up: {:.0} % of the probes", probes * 100.0);
    let there = announced(stage)?;
    ensure!(there == services, "did not keep up: {there} of {services} still announced");
    Ok(Usage { pss_mib, cpu_percent: real(cpu) / USER_HZ / lasted * 100.0, probes })
}

/// The CPU time of an empty loop that wakes up every 5 ms on this machine, in percent of a core. The page compares it with
/// announcer's CPU time, because announcer wakes up that often.
///
/// # Errors
/// When the thread's clock cannot be read.
pub(crate) fn waking() -> Result<f64> {
    let busy = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let (began, start) = (busy()?, Instant::now());
    while start.elapsed() < LASTS {
        thread::sleep(WATCH);
    }
    Ok((busy()? - began).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0)
}

/// The number of VIPs that lead to the frontend, on the router that has fewer of them.
fn announced(stage: &Stage) -> Result<usize> {
    let mut fewest = usize::MAX;
    for router in &stage.scene.routers {
        let routes =
            stage.scene.node(router.name)?.must(&["ip", "route", "show", "root", RANGE, "proto", "bgp"])?;
        fewest = fewest.min(routes.lines().filter(|line| line.starts_with("198.")).count());
    }
    Ok(fewest)
}

/// Adds the VIPs to the lo of the frontend (`word` is `add`), or removes them (`del`).
fn addresses(stage: &Stage, word: &str, vips: &[String]) -> Result<()> {
    let lines =
        vips.iter().fold(String::new(), |all, vip| all + &format!("address {word} {vip}/32 dev lo\n"));
    let node = stage.node()?;
    fs::write(node.root().join("bench/addresses"), lines)?;
    node.must(&["ip", "-force", "-batch", "/bench/addresses"])?;
    Ok(())
}

/// CPU time of the candidate's processes and of those that they waited for, in ticks. The processes that the init has waited for
/// also count, because a process whose parent has ended becomes its child.
fn ticks(stage: &Stage) -> Result<u64> {
    let init = Stat::from_file(format!("/proc/{}/stat", stage.node()?.pid()))?;
    let mut total = waited_for(&init);
    for process in stage.players()? {
        // One that ended meanwhile is among those that its parent waited for.
        let Ok(stat) = Stat::from_file(format!("/proc/{}/stat", process.pid)) else { continue };
        total += stat.utime + stat.stime + waited_for(&stat);
    }
    Ok(total)
}

/// CPU time of the children that a process has waited for, in ticks.
fn waited_for(stat: &Stat) -> u64 {
    u64::try_from(stat.cutime + stat.cstime).unwrap_or(0)
}

/// Proportional set size of the candidate's processes, in MiB.
fn pss(stage: &Stage) -> Result<f64> {
    let mut octets = 0;
    for process in stage.players()? {
        // A process that has ended since has no such file.
        let Ok(rollup) = SmapsRollup::from_file(format!("/proc/{}/smaps_rollup", process.pid)) else {
            continue;
        };
        octets +=
            rollup.memory_map_rollup.0.iter().filter_map(|map| map.extension.map.get("Pss")).sum::<u64>();
    }
    Ok(real(octets) / 1_048_576.0)
}

/// The number of connections that the frontend's kernel has accepted since its start, on all ports.
fn accepted(stage: &Stage) -> Result<u64> {
    let snmp = Snmp::from_file(format!("/proc/{}/net/snmp", stage.node()?.pid()))?;
    Ok(snmp.tcp_passive_opens)
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
/// The number as a floating-point number.
fn real(number: u64) -> f64 {
    number as f64
}
