//! `make bench`: runs announcer and the other programs in turns, and writes tables; a complete run writes `docs/benchmarks.md`.
//!
//! `--quick` makes a smaller run, `--only` runs some of the candidates, `--runs` and `--skip` run a part. These options write only
//! the file of `--results`. If the file of results exists already, the new results are added to it.
//!
//! All candidates run on the same frontend, one after the other.
//!
//! ```text
//! candidate  who is compared: a folder of tests/bench/peers each
//! stage      the lab, and the frontend on which a candidate plays
//! turn       one candidate through every event once: to the wire, to the FIB, requests lost
//! death      the host dies, with BFD and without, with routers that run FRR or BIRD
//! chain      plain ECMP and the chain: flows that break, cost, a flood of bogus ACKs
//! slow       a drain under long requests, with plain ECMP and with a router that hashes resiliently
//! resources  memory and CPU with many services
//! results    pure: what was measured, and its medians
//! page       pure: docs/benchmarks.md
//! ```

mod candidate;
mod chain;
mod death;
mod page;
mod resources;
mod results;
mod slow;
mod stage;
mod turn;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;

use crate::candidate::Candidate;
use crate::page::{SERVICES, page};
use crate::results::{Cost, Results};
use crate::stage::Stage;
use crate::turn::Parts;

/// announcer and the other ways to announce a VIP while its server is healthy, in the same lab, taking turns.
#[derive(Parser)]
struct Args {
    /// Only a drain under long requests, with plain and with resilient hashing, so many times; writes no page
    #[arg(long, value_name = "TIMES", conflicts_with_all = ["quick", "only", "runs", "skip", "services", "results", "page"])]
    long_requests: Option<usize>,
    /// Only the host's death with BFD and without, so many times; writes that section of the page alone
    #[arg(long, value_name = "TIMES", conflicts_with_all = ["long_requests", "quick", "only", "runs", "skip", "services", "page"])]
    host_death: Option<usize>,
    /// Only plain ECMP and the chain, in so many turns; writes that section of the page alone
    #[arg(long, value_name = "TIMES", conflicts_with_all = ["long_requests", "host_death", "quick", "only", "runs", "skip", "services", "page"])]
    chain: Option<usize>,
    /// Few runs and few services, to test the benchmark itself
    #[arg(long)]
    quick: bool,
    /// Only these candidates, by their folders in tests/bench/peers
    #[arg(long, value_delimiter = ',')]
    only: Vec<Candidate>,
    /// The number of runs of each candidate
    #[arg(long)]
    runs: Option<usize>,
    /// Without these parts: times, losses, death, chain, costs
    #[arg(long, value_delimiter = ',')]
    skip: Vec<String>,
    /// The largest number of services
    #[arg(long)]
    services: Option<usize>,
    /// Adds to the results of this file, and keeps them there
    #[arg(long)]
    results: Option<PathBuf>,
    /// Writes the page here
    #[arg(long)]
    page: Option<PathBuf>,
}

/// The number of runs. In each, every candidate takes one turn.
const RUNS: usize = 10;
/// The losses are measured only in this many of the first runs, because that takes longest.
const LOSS_RUNS: usize = 5;
/// The number of runs with `--quick`.
const QUICK_RUNS: usize = 1;

fn main() -> Result<()> {
    let args = Args::parse();
    let mut results = match &args.results {
        Some(file) if file.exists() => {
            serde_json::from_str(&fs::read_to_string(file)?).context("the results")?
        }
        Some(_) | None => Results::default(),
    };
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks.md");
    if let Some(times) = args.host_death {
        let known = std::mem::take(&mut results.deaths);
        results.deaths = death::measure(times, known, |all| {
            keep(&args, &Results { deaths: all.to_vec(), ..Results::default() })
        })?;
        let section = page::deaths(&results.deaths, &stage::host()?);
        println!("{section}");
        let whole = fs::read_to_string(&kept).with_context(|| format!("{}", kept.display()))?;
        return fs::write(&kept, page::with_deaths(&whole, &section)).context("the page");
    }
    if let Some(turns) = args.chain {
        let known = std::mem::take(&mut results.chain);
        results.chain = chain::measure(turns, known, |all| {
            keep(&args, &Results { chain: all.clone(), ..Results::default() })
        })?;
        let section = page::chain::section(&results.chain, &stage::host()?);
        println!("{section}");
        let whole = fs::read_to_string(&kept).with_context(|| format!("{}", kept.display()))?;
        return fs::write(&kept, page::with_chain(&whole, &section)).context("the page");
    }
    let mut stage = Stage::up("ecmp")?;
    if let Some(times) = args.long_requests {
        let compared = slow::compare(&mut stage, times);
        stage.down()?;
        println!("\n{}", compared?);
        return Ok(());
    }
    let ended = run(&stage, &args, &mut results);
    stage.down()?;
    ended?;
    let plays =
        |part: &str| !args.quick && args.only.is_empty() && !args.skip.iter().any(|skipped| skipped == part);
    if plays("death") {
        let known = std::mem::take(&mut results.deaths);
        results.deaths = death::measure(args.runs.unwrap_or(RUNS), known, |_| Ok(()))?;
        keep(&args, &results)?;
    }
    if plays("chain") {
        let known = std::mem::take(&mut results.chain);
        results.chain = chain::measure(args.runs.unwrap_or(RUNS), known, |_| Ok(()))?;
        keep(&args, &results)?;
    }
    println!("\n{}", page(&results));
    // A run with `--services` counts as complete here.
    let whole = !args.quick && args.only.is_empty() && args.runs.is_none() && args.skip.is_empty();
    if let Some(file) = args.page.or(whole.then(|| kept.clone())) {
        let before = fs::read_to_string(&kept).unwrap_or_default();
        fs::write(&file, page::with_probes_of(&page(&results), &before))
            .with_context(|| format!("{}", file.display()))?;
    }
    Ok(())
}

/// Measures the candidates, and adds to `results`: first all turns, then memory and CPU.
fn run(stage: &Stage, args: &Args, results: &mut Results) -> Result<()> {
    let candidates = if args.only.is_empty() { Candidate::ALL.to_vec() } else { args.only.clone() };
    results.machine = stage.machine()?;
    for candidate in &candidates {
        results.versions.retain(|(known, _)| known != candidate);
        results.versions.push((*candidate, stage.version(*candidate)?));
    }
    let plays = |part: &str| !args.skip.iter().any(|skipped| skipped == part);
    // Without these parts there is nothing to do in a turn, so there are no runs.
    let costs_alone = ["times", "losses", "death"].iter().all(|part| !plays(part));
    let runs = args.runs.unwrap_or(if args.quick { QUICK_RUNS } else { RUNS }) * usize::from(!costs_alone);
    for run in 0..runs {
        for turn in 0..candidates.len() {
            // Each run begins with another candidate, so that none always has the same place in the order.
            let candidate = candidates[(run + turn) % candidates.len()];
            // The position between two keepalives at which the candidate's host dies: 0 to 1. The routers notice a death by their
            // hold timer, which starts at the last keepalive, so the positions of all runs are spread evenly.
            let phase = (run as f64 + fastrand::f64()) / runs as f64;
            let parts = Parts {
                times: plays("times"),
                losses: run < LOSS_RUNS && plays("losses"),
                death: plays("death"),
                phase,
            };
            let began = Instant::now();
            turn::play(stage, candidate, parts, results)?;
            keep(args, results)?;
            println!(
                "run {} of {runs}, {:28}{:6.1} s",
                run + 1,
                candidate.title(),
                began.elapsed().as_secs_f64()
            );
        }
    }
    if !plays("costs") {
        return Ok(());
    }
    resources::prepare(stage)?;
    let most = args.services.unwrap_or(if args.quick { 10 } else { 1000 });
    results.waking_percent = Some(resources::waking()?);
    for services in SERVICES.into_iter().filter(|services| *services <= most) {
        for candidate in &candidates {
            // A candidate that did not keep up, with any number of services and also in the earlier results of `--results`, is not
            // measured again.
            let fails = |cost: &Cost| cost.candidate == *candidate && cost.measured.is_err();
            if results.costs.iter().any(fails) {
                continue;
            }
            let began = Instant::now();
            let cost = resources::measure(stage, *candidate, services)?;
            let said = match &cost.measured {
                Ok(usage) => format!("{:.1} MiB, {:.1} %", usage.pss_mib, usage.cpu_percent),
                Err(why) => why.clone(),
            };
            println!(
                "{services} services, {:28}{:6.1} s  {said}",
                candidate.title(),
                began.elapsed().as_secs_f64()
            );
            results.costs.retain(|known| (known.candidate, known.services) != (*candidate, services));
            results.costs.push(cost);
            keep(args, results)?;
        }
    }
    Ok(())
}

/// Writes all results to the file of `--results`, if there is one. It is called after every turn and every measurement, so that an
/// interrupted run can continue later.
fn keep(args: &Args, results: &Results) -> Result<()> {
    match &args.results {
        Some(file) => fs::write(file, serde_json::to_string_pretty(results)?)
            .with_context(|| format!("{}", file.display())),
        None => Ok(()),
    }
}
