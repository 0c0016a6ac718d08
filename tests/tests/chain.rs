//! Counts which connections break when frontends leave, join, crash or lose their power: with plain ECMP, and with the chain.
//!
//! `cargo test` runs short scenarios; `make chain` runs all changes with both VIPs, with 4 and 8 frontends, in one LAN and over routed
//! links, and prints tables. `make chain-soak` counts the members that are lost while every processor is busy.

#[path = "chain/busy.rs"]
mod busy;
#[path = "chain/cost.rs"]
mod cost;
#[path = "chain/joins.rs"]
mod joins;
#[path = "chain/network.rs"]
mod network;
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

use self::cost::Cost;
use self::network::Network;
use self::phases::Change;
use self::site::{Ending, Mode, Site};

/// The load of one run.
#[derive(Clone, Copy)]
struct Load {
    flows: u32,
    /// New connections a second.
    rate: u32,
    /// After this time without an answer, a flow counts as broken, and a new connection as lost.
    silence: Duration,
}

const SHORT: Load = Load { flows: 500, rate: 500, silence: Duration::from_secs(2) };
const WHOLE: Load = Load { flows: 1000, rate: 2000, silence: Duration::from_secs(4) };

fn main() -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let trial = |name: &str, play: fn() -> Result<()>| {
        Trial::test(name, move || play().map_err(|e| Failed::from(format!("{e:#}"))))
    };
    let trials = vec![
        trial("what_may_not_happen_with_the_chain_fails_a_row", cost::tests::every_fault_fails),
        trial("each_start_of_a_daemon_is_judged_by_itself", joins::tests::each_start_is_judged_by_itself),
        trial("one_of_four_leaves", || {
            play(Network::Lan, 4, &Change::SHORT, &VIPS[..1], &[Mode::Plain, Mode::Chain], SHORT)
        }),
        trial("one_of_four_leaves_over_routed_links", || {
            play(Network::Routed, 4, &Change::SHORT, &VIPS[1..], &[Mode::Chain], SHORT)
        }),
        trial("every_change_with_4_frontends", || all(Network::Lan, 4)).with_ignored_flag(true),
        trial("every_change_with_8_frontends", || all(Network::Lan, 8)).with_ignored_flag(true),
        trial("every_change_over_routed_links_with_4_frontends", || all(Network::Routed, 4))
            .with_ignored_flag(true),
        trial("every_change_over_routed_links_with_8_frontends", || all(Network::Routed, 8))
            .with_ignored_flag(true),
        trial("busy_processors_lose_no_member", busy::soak).with_ignored_flag(true),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn all(network: Network, frontends: u16) -> Result<()> {
    play(network, frontends, &Change::ALL, &VIPS, &[Mode::Plain, Mode::Chain], WHOLE)
}

/// Plays the changes with each of these VIPs in each mode. With the chain, no connection may break.
fn play(
    network: Network,
    frontends: u16,
    changes: &[Change],
    vips: &[&str],
    modes: &[Mode],
    load: Load,
) -> Result<()> {
    let mut site = Site::up(network, frontends)?;
    for vip in vips {
        compare(&mut site, changes, vip, modes, load)?;
    }
    site.down()
}

/// Plays the changes in each mode, prints what they cost, and checks what has to hold.
fn compare(site: &mut Site, changes: &[Change], vip: &str, modes: &[Mode], load: Load) -> Result<()> {
    let place = format!("{}, {} frontends", site.network.name(), site.frontends.len());
    let mut costs = Vec::new();
    let mut began = String::new();
    for mode in modes {
        began = site.now()?;
        let (report, deaths) =
            run(site, *mode, changes, vip, load).with_context(|| format!("{mode:?}, {vip}"))?;
        println!("\n{mode:?}, {vip}, {place}:\n{report}");
        let of = |(change, death): (&Change, Option<u64>)| {
            Cost::of(*change, death, &report)
                .with_context(|| format!("the phase `{}` is missing", change.name()))
        };
        costs.push((*mode, changes.iter().zip(deaths).map(of).collect::<Result<Vec<_>>>()?));
    }
    let Load { flows, rate, .. } = load;
    println!("{vip}, {place}, {flows} flows, {rate} new connections a second:");
    let width = Cost::HEAD.len();
    let heads: String = costs.iter().map(|(mode, _)| format!(" | {:width$}", format!("{mode:?}"))).collect();
    let columns: String = costs.iter().map(|_| format!(" | {}", Cost::HEAD)).collect();
    println!("  {:40}{heads}\n  {:40}{columns}", "", "");
    for (index, change) in changes.iter().enumerate() {
        let rows: String = costs.iter().map(|(_, costs)| format!(" | {}", costs[index].row())).collect();
        println!("  {:40}{rows}", change.name());
    }
    let detection = site.network.detection();
    let mut faults = Vec::new();
    for (mode, costs) in &costs {
        for (change, cost) in changes.iter().zip(costs) {
            if *change == Change::PowerLost {
                println!("  {mode:?}, {}: {}", change.name(), cost.delays(detection));
            }
            if *mode == Mode::Chain {
                faults.extend(cost.check(*change, detection).err().map(|fault| fault.to_string()));
            }
            if *change == Change::Nothing {
                ensure!(
                    cost.broken.is_empty(),
                    "{} flows broke although nothing happened",
                    cost.broken.len()
                );
                if !cost.delays_ms.is_empty() {
                    println!(
                        "  {mode:?}: {} answers were delayed although nothing happened: this machine is too busy for this load, \
                         and delays in other rows may be its own",
                        cost.delays_ms.len()
                    );
                }
            }
        }
    }
    if !faults.is_empty() {
        println!("The logs of the last run, whose client began at {began}:");
        site.print_logs(&began);
    }
    ensure!(faults.is_empty(), "{vip}, {place}, with the chain:\n  {}", faults.join("\n  "));
    Ok(())
}

/// Returns what the client saw, and for each change when the victim was dead.
fn run(
    site: &mut Site,
    mode: Mode,
    changes: &[Change],
    vip: &str,
    load: Load,
) -> Result<(Report, Vec<Option<u64>>)> {
    site.set(mode)?;
    site.check_doctor()?;
    let client = site.client(vip, load.flows, load.rate, load.silence)?;
    let _ending = Ending(client.control.clone());
    let deaths = phases::play(site, changes, &client)?;
    let report = client.report(load.silence)?;
    if mode == Mode::Chain {
        site.check_chain(vip)?;
        site.check_joins()?;
    }
    // For the next run.
    site.frontends.iter().try_for_each(|frontend| site.undrain(frontend))?;
    site.wait_all()?;
    Ok((report, deaths))
}
