//! Counts which connections break when frontends in one LAN leave, join, crash or lose their power: with plain ECMP, and with the chain.
//!
//! `cargo test` runs a short scenario; `make chain` runs all changes with both VIPs and with 4 and 8 frontends, and prints tables.

#[path = "chain/phases.rs"]
mod phases;
#[path = "chain/site.rs"]
mod site;

mod generated;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::flows::Report;
use libtest_mimic::{Arguments, Failed, Trial};
use scene::VIPS;

use self::phases::{Change, Cost};
use self::site::{Ending, Mode, Site};

/// The modes that are played. With [`Mode::Chain`] in it, no connection may break in that mode.
const MODES: &[Mode] = &[Mode::Plain, Mode::Chain];

/// The load of one run.
#[derive(Clone, Copy)]
struct Load {
    flows: u32,
    /// New connections a second.
    rate: u32,
    /// After this time without an answer, a flow counts as broken, and a new connection as lost.
    silence: Duration,
}

fn main() -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let trial = |name: &str, play: fn() -> Result<()>| {
        Trial::test(name, move || play().map_err(|e| Failed::from(format!("{e:#}"))))
    };
    let trials = vec![
        trial("one_of_four_leaves", short),
        trial("every_change_with_4_frontends", || all(4)).with_ignored_flag(true),
        trial("every_change_with_8_frontends", || all(8)).with_ignored_flag(true),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn short() -> Result<()> {
    let mut site = Site::up(4)?;
    compare(
        &mut site,
        &Change::SHORT,
        VIPS[0],
        Load { flows: 500, rate: 500, silence: Duration::from_secs(2) },
    )?;
    site.down()
}

fn all(frontends: u16) -> Result<()> {
    let mut site = Site::up(frontends)?;
    for vip in VIPS {
        compare(
            &mut site,
            &Change::ALL,
            vip,
            Load { flows: 1000, rate: 2000, silence: Duration::from_secs(4) },
        )?;
    }
    site.down()
}

/// Plays the changes in each mode, prints what they cost, and checks what has to hold.
fn compare(site: &mut Site, changes: &[Change], vip: &str, load: Load) -> Result<()> {
    let mut costs = Vec::new();
    for mode in MODES {
        let report = run(site, *mode, changes, vip, load).with_context(|| format!("{mode:?}, {vip}"))?;
        println!("\n{mode:?}, {vip}, {} frontends:\n{report}", site.frontends.len());
        let of = |change: &Change| {
            Cost::of(*change, &report).with_context(|| format!("the phase `{}` is missing", change.name()))
        };
        costs.push((*mode, changes.iter().map(of).collect::<Result<Vec<_>>>()?));
    }
    let Load { flows, rate, .. } = load;
    println!("{vip}, {} frontends, {flows} flows, {rate} new connections a second:", site.frontends.len());
    let width = Cost::HEAD.len();
    let modes: String = costs.iter().map(|(mode, _)| format!(" | {:width$}", format!("{mode:?}"))).collect();
    let heads: String = costs.iter().map(|_| format!(" | {}", Cost::HEAD)).collect();
    println!("  {:40}{modes}\n  {:40}{heads}", "", "");
    for (index, change) in changes.iter().enumerate() {
        let rows: String = costs.iter().map(|(_, costs)| format!(" | {}", costs[index].row())).collect();
        println!("  {:40}{rows}", change.name());
    }
    for (mode, costs) in &costs {
        for (change, cost) in changes.iter().zip(costs) {
            if *mode == Mode::Chain {
                cost.check(*change)?;
            }
            if *change == Change::Nothing {
                ensure!(cost.broken == 0, "{} flows broke although nothing happened", cost.broken);
                if cost.delayed > 0 {
                    println!(
                        "  {mode:?}: {} answers were delayed although nothing happened: this machine is too busy for this load, \
                         and delays in other rows may be its own",
                        cost.delayed
                    );
                }
            }
        }
    }
    Ok(())
}

fn run(site: &mut Site, mode: Mode, changes: &[Change], vip: &str, load: Load) -> Result<Report> {
    site.set(mode)?;
    let client = site.client(vip, load.flows, load.rate, load.silence)?;
    let _ending = Ending(client.control.clone());
    phases::play(site, changes, &client)?;
    let report = client.report(load.silence)?;
    // For the next run.
    site.frontends.iter().try_for_each(|frontend| site.undrain(frontend))?;
    site.wait_all()?;
    Ok(report)
}
