//! Plain ECMP and the chain, in turns, in the lab `lan`: which flows break, what the chain costs, and what a flood of bogus ACKs does.
//!
//! Touches the lab. Four frontends with the shipped daemon, two routers with FRR and plain ECMP, one client. All of it is on one machine:
//! the client, the routers, the flood and the frontends share its processors.
//!
//! ```text
//! site    the lab, and how its frontends change between plain ECMP and the chain
//! client  requests by wrk, and the flows of `lab flows`
//! flood   TCP segments without a connection
//! ```

mod client;
mod flood;
mod site;

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use self::flood::Flood;
use self::site::Site;
use crate::results::chain::{ChainLoad, ChainMode, ChainResults, FloodRate};

/// Turns in which flows are counted too; the others measure the load alone.
const FLOW_TURNS: usize = 5;

/// Measures `turns` turns beyond the `known` results. `keep` gets all results after each turn.
///
/// # Errors
/// When the lab fails, a daemon does not follow a change of its configuration, or a router loses a frontend under the load.
pub(crate) fn measure(
    turns: usize,
    known: ChainResults,
    keep: impl Fn(&ChainResults) -> Result<()>,
) -> Result<ChainResults> {
    let mut all = known;
    let first = all.turns();
    if first >= turns {
        return Ok(all);
    }
    let site = Site::up()?;
    let ended = (first..turns).try_for_each(|turn| {
        for step in 0..ChainMode::ALL.len() {
            // Each turn begins with another mode, so that none always has the same place in the order.
            let mode = ChainMode::ALL[(turn + step) % ChainMode::ALL.len()];
            let began = Instant::now();
            play(&site, mode, turn, &mut all).with_context(|| mode.title().to_owned())?;
            let seconds = began.elapsed().as_secs_f64();
            println!("chain, turn {} of {turns}, {:24} {seconds:5.1} s", turn + 1, mode.title());
        }
        keep(&all)
    });
    site.down()?;
    ended?;
    Ok(all)
}

/// One mode: the load without a flood and with each, and in the first turns the flows.
fn play(site: &Site, mode: ChainMode, turn: usize, all: &mut ChainResults) -> Result<()> {
    site.set(mode)?;
    let mut loads = Vec::new();
    for rate in FloodRate::ALL {
        loads.push(load(site, mode, rate)?);
    }
    let flows = match (mode, turn) {
        (ChainMode::Plain | ChainMode::Budget, 0..FLOW_TURNS) => {
            Some(client::flows(site, mode, site::FRONTENDS[turn % site::FRONTENDS.len()])?)
        }
        (ChainMode::Plain | ChainMode::Budget, _) | (ChainMode::NoBudget, _) => None,
    };
    if let Some(flows) = &flows {
        println!("    {flows:?}");
    }
    all.loads.extend(loads);
    all.flows.extend(flows);
    Ok(())
}

/// Requests at the highest rate while bogus ACKs come at this one.
fn load(site: &Site, mode: ChainMode, rate: FloodRate) -> Result<ChainLoad> {
    let kept = match rate {
        FloodRate::None => Some(client::requests(site, client::Connections::Kept)?),
        FloodRate::Steady | FloodRate::Fastest => None,
    };
    let flood = Flood::begin(site, rate)?;
    let (forwarded, busy, sent, began) =
        (site.forwarded(mode)?, site::processor_time()?, flood.sent(), Instant::now());
    let requests = client::requests(site, client::Connections::New)?;
    let (seconds, sent) = (began.elapsed().as_secs_f64(), flood.sent() - sent);
    let busy_percent = site::processor_time()?.percent_since(busy);
    let forwarded_per_s = site::forwarded_per_s(&forwarded, &site.forwarded(mode)?);
    flood.end()?;
    site.all_announced().context("under the load")?;
    #[allow(clippy::cast_precision_loss)] // packets of seconds
    let sent_per_s = sent as f64 / seconds;
    let load = ChainLoad { mode, flood: rate, sent_per_s, forwarded_per_s, busy_percent, requests, kept };
    println!("    {load:?}");
    ensure!(load.requests.per_s > 0.0, "nothing was answered");
    Ok(load)
}
