//! What happens to the frontends while the client runs.
//!
//! Touches the lab.

use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::site::{Client, DEADLINE, Site};

/// Until every flow has sent a request after a change: each sends one a second.
const SETTLE: Duration = Duration::from_millis(2500);
/// How soon a server or a daemon that was killed is back.
const SOON: Duration = Duration::from_millis(300);
/// How long a daemon that was killed is away, so that the other members ask its kernel.
const LONG: Duration = Duration::from_secs(10);

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing: what breaks now is the lab's fault.
    Nothing,
    /// One frontend is drained.
    Leaves,
    /// It returns.
    Joins,
    /// Each frontend is drained and returns, one after the other.
    EachInTurn,
    /// A daemon is stopped, and all flows of its host end before the deadline of `[drain]`. It returns at the end.
    Stops,
    /// A daemon is stopped, and flows of its host last longer than the deadline. It returns at the end.
    DeadlinePasses,
    /// A web server is killed by SIGKILL.
    ServerKilled,
    /// It returns.
    ServerReturns,
    /// A web server is killed by SIGKILL, and started again.
    ServerRestarted,
    /// A daemon is killed by SIGKILL and is away for a moment, while another frontend leaves.
    DaemonAwayShortly,
    /// A daemon is killed by SIGKILL and is away for long, while another frontend leaves.
    DaemonAwayLong,
    /// The frontend behind the one that loses its power is drained: from now on its flows are passed on over that one.
    NextLeaves,
    /// A host loses its power.
    PowerLost,
    /// It returns.
    PowerReturns,
}

impl Change {
    /// All, in an order in which each finds what it needs.
    pub(crate) const ALL: [Change; 14] = [
        Change::Nothing,
        Change::Leaves,
        Change::Joins,
        Change::EachInTurn,
        Change::Stops,
        Change::DeadlinePasses,
        Change::ServerKilled,
        Change::ServerReturns,
        Change::ServerRestarted,
        Change::DaemonAwayShortly,
        Change::DaemonAwayLong,
        Change::NextLeaves,
        Change::PowerLost,
        Change::PowerReturns,
    ];
    /// The short ones, for every run of the tests.
    pub(crate) const SHORT: [Change; 2] = [Change::Nothing, Change::Leaves];

    /// The name of its phase.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Change::Nothing => "nothing",
            Change::Leaves => "one leaves",
            Change::Joins => "one joins",
            Change::EachInTurn => "each leaves and joins in turn",
            Change::Stops => "one stops, its flows end in time",
            Change::DeadlinePasses => "one stops, the deadline passes",
            Change::ServerKilled => "server killed",
            Change::ServerReturns => "server returns",
            Change::ServerRestarted => "server killed and started in place",
            Change::DaemonAwayShortly => "daemon killed for 0.3 s, another leaves",
            Change::DaemonAwayLong => "daemon killed for 10 s, another leaves",
            Change::NextLeaves => "its next member leaves",
            Change::PowerLost => "host loses power",
            Change::PowerReturns => "host returns",
        }
    }

    /// The frontend whose own connections cannot survive: its server or its host dies, or leaves before they end.
    pub(crate) fn victim(self) -> Option<&'static str> {
        match self {
            Change::ServerKilled | Change::PowerLost => Some("fe3"),
            Change::ServerRestarted => Some("fe4"),
            Change::DeadlinePasses => Some("fe2"),
            Change::Nothing
            | Change::Leaves
            | Change::Joins
            | Change::EachInTurn
            | Change::Stops
            | Change::ServerReturns
            | Change::DaemonAwayShortly
            | Change::DaemonAwayLong
            | Change::NextLeaves
            | Change::PowerReturns => None,
        }
    }

    /// Whether every flow is opened again before it. Without that, a frontend that returns would find only flows that survived its
    /// leaving, because the routers' old order of next hops returns with it; and after several changes, most flows of plain ECMP
    /// would be at a few frontends.
    fn wants_new_flows(self) -> bool {
        match self {
            // At the loss of power, flows are passed on over the host that dies.
            Change::Nothing | Change::Leaves | Change::EachInTurn | Change::PowerLost => false,
            Change::Joins
            | Change::Stops
            | Change::DeadlinePasses
            | Change::ServerKilled
            | Change::ServerReturns
            | Change::ServerRestarted
            | Change::DaemonAwayShortly
            | Change::DaemonAwayLong
            | Change::NextLeaves
            | Change::PowerReturns => true,
        }
    }

    /// Lets it happen, and waits until the routers have followed. Returns when the victim's server was dead, in milliseconds since the
    /// client's start: a connection that was begun later cannot be its.
    fn play(self, site: &Site, client: &Client) -> Result<Option<u64>> {
        match self {
            Change::Nothing => {}
            Change::Leaves => leaves(site, &["fe2"])?,
            Change::Joins => returns(site, "fe2")?,
            Change::EachInTurn => {
                for frontend in &site.frontends {
                    leaves(site, &[frontend])?;
                    sleep(SETTLE);
                    returns(site, frontend)?;
                    sleep(SETTLE);
                }
            }
            Change::Stops => stops(site, client, true)?,
            Change::DeadlinePasses => stops(site, client, false)?,
            Change::ServerKilled => {
                site.kill_server("fe3")?;
                let dead = client.control.now_ms();
                site.wait_without(&["fe3"])?;
                return Ok(Some(dead));
            }
            Change::ServerReturns => {
                site.start_server("fe3")?;
                site.wait_all()?;
            }
            Change::ServerRestarted => {
                site.kill_server("fe4")?;
                let dead = client.control.now_ms();
                sleep(SOON);
                site.start_server("fe4")?;
                site.wait_all()?;
                return Ok(Some(dead));
            }
            Change::DaemonAwayShortly => daemon_away(site, SOON)?,
            Change::DaemonAwayLong => daemon_away(site, LONG)?,
            Change::NextLeaves => leaves(site, &["fe4"])?,
            Change::PowerLost => {
                site.cut_links("fe3")?;
                let dead = client.control.now_ms();
                site.end_host("fe3")?;
                site.wait_without(&["fe3", "fe4"])?;
                return Ok(Some(dead));
            }
            Change::PowerReturns => {
                site.start_host("fe3")?;
                site.wait_without(&["fe4"])?;
            }
        }
        Ok(None)
    }
}

/// The last of these frontends is drained; the others were before.
fn leaves(site: &Site, gone: &[&str]) -> Result<()> {
    let last = gone.last().context("nobody leaves")?;
    site.drain(last)?;
    site.wait_without(gone)
}

fn returns(site: &Site, frontend: &str) -> Result<()> {
    site.undrain(frontend)?;
    site.wait_all()
}

/// The daemon of fe2 is stopped, and started again when it has ended. `in_time`: all flows end before the deadline.
fn stops(site: &Site, client: &Client, in_time: bool) -> Result<()> {
    scope(|scope| {
        let begun = Instant::now();
        let stop = scope.spawn(move || site.stop_daemon("fe2").map(|()| begun.elapsed()));
        site.wait_without(&["fe2"])?;
        sleep(SETTLE);
        ensure!(!site.has_chain() || !stop.is_finished(), "fe2 has stopped although flows of it are open");
        if in_time {
            client.renew()?;
        }
        let took = match stop.join() {
            Ok(took) => took?,
            Err(_) => bail!("a thread panicked"),
        };
        if site.has_chain() {
            let in_fact = took < DEADLINE;
            ensure!(in_fact == in_time, "fe2 has stopped after {took:?}; the deadline is {DEADLINE:?}");
            site.check_nothing_left("fe2")?;
        }
        Ok(())
    })?;
    sleep(SETTLE);
    site.start_daemon("fe2")?;
    site.wait_all()
}

/// The daemon of fe1 is away for this time. Meanwhile fe2 leaves; it returns at the end.
fn daemon_away(site: &Site, time: Duration) -> Result<()> {
    let begun = Instant::now();
    site.kill_daemon("fe1")?;
    site.drain("fe2")?;
    sleep(time.saturating_sub(begun.elapsed()));
    site.start_daemon("fe1")?;
    site.wait_without(&["fe2"])?;
    sleep(SETTLE);
    site.undrain("fe2")?;
    site.wait_all()
}

/// Plays changes, one after the other, each as a phase of the client. Returns for each when the victim was dead, as [`Change::play`].
pub(crate) fn play(site: &Site, changes: &[Change], client: &Client) -> Result<Vec<Option<u64>>> {
    let mut deaths = Vec::new();
    for change in changes {
        if change.wants_new_flows() {
            client.control.mark("renewal");
            client.renew()?;
        }
        client.control.mark(change.name());
        deaths.push(change.play(site, client).with_context(|| change.name())?);
        sleep(SETTLE);
    }
    Ok(deaths)
}
