//! What happens to the frontends while the client runs, and what the client saw of it.
//!
//! Touches the lab.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::flows::{Phase, Report};

use crate::site::{Client, Site};

/// Until every flow has sent a request after a change: each sends one a second.
const SETTLE: Duration = Duration::from_millis(2500);
/// How soon a server or a daemon that was killed is back.
const SOON: Duration = Duration::from_millis(300);
/// How long a daemon that was killed is away, so that the other members ask its kernel.
const LONG: Duration = Duration::from_secs(10);
/// BFD's detection time (300 ms x 3), one retransmission of a SYN (1 s, RFC 6298 section 2), and what a busy machine may add.
const POWER_LOSS: Duration = Duration::from_millis(900 + 1000 + 600);

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
    /// A host loses its power.
    PowerLost,
    /// It returns.
    PowerReturns,
}

impl Change {
    /// All, in an order in which each finds what it needs.
    pub(crate) const ALL: [Change; 11] = [
        Change::Nothing,
        Change::Leaves,
        Change::Joins,
        Change::EachInTurn,
        Change::ServerKilled,
        Change::ServerReturns,
        Change::ServerRestarted,
        Change::DaemonAwayShortly,
        Change::DaemonAwayLong,
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
            Change::ServerKilled => "server killed",
            Change::ServerReturns => "server returns",
            Change::ServerRestarted => "server killed and started in place",
            Change::DaemonAwayShortly => "daemon killed for 0.3 s, another leaves",
            Change::DaemonAwayLong => "daemon killed for 10 s, another leaves",
            Change::PowerLost => "host loses power",
            Change::PowerReturns => "host returns",
        }
    }

    /// The frontend whose own connections die with its server or its host.
    fn victim(self) -> Option<&'static str> {
        match self {
            Change::ServerKilled | Change::PowerLost => Some("fe3"),
            Change::ServerRestarted => Some("fe4"),
            Change::Nothing
            | Change::Leaves
            | Change::Joins
            | Change::EachInTurn
            | Change::ServerReturns
            | Change::DaemonAwayShortly
            | Change::DaemonAwayLong
            | Change::PowerReturns => None,
        }
    }

    /// Whether every flow is opened again before it. Without that, a frontend that returns would find only flows that survived its
    /// leaving, because the routers' old order of next hops returns with it; and after several changes, most flows of plain ECMP
    /// would be at a few frontends.
    fn wants_new_flows(self) -> bool {
        match self {
            Change::Nothing | Change::Leaves | Change::EachInTurn => false,
            Change::Joins
            | Change::ServerKilled
            | Change::ServerReturns
            | Change::ServerRestarted
            | Change::DaemonAwayShortly
            | Change::DaemonAwayLong
            | Change::PowerLost
            | Change::PowerReturns => true,
        }
    }

    /// Lets it happen, and waits until the routers have followed.
    fn play(self, site: &Site) -> Result<()> {
        match self {
            Change::Nothing => Ok(()),
            Change::Leaves => {
                site.drain("fe2")?;
                site.wait_without(&["fe2"])
            }
            Change::Joins => {
                site.undrain("fe2")?;
                site.wait_all()
            }
            Change::EachInTurn => site.frontends.iter().try_for_each(|frontend| {
                site.drain(frontend)?;
                site.wait_without(&[frontend])?;
                sleep(SETTLE);
                site.undrain(frontend)?;
                site.wait_all()?;
                sleep(SETTLE);
                Ok(())
            }),
            Change::ServerKilled => {
                site.kill_server("fe3")?;
                site.wait_without(&["fe3"])
            }
            Change::ServerReturns => {
                site.start_server("fe3")?;
                site.wait_all()
            }
            Change::ServerRestarted => {
                site.kill_server("fe4")?;
                sleep(SOON);
                site.start_server("fe4")?;
                site.wait_all()
            }
            Change::DaemonAwayShortly => daemon_away(site, SOON),
            Change::DaemonAwayLong => daemon_away(site, LONG),
            Change::PowerLost => {
                site.lose_power("fe3")?;
                site.wait_without(&["fe3"])
            }
            Change::PowerReturns => {
                site.start_host("fe3")?;
                site.wait_all()
            }
        }
    }
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

/// Plays changes, one after the other, each as a phase of the client.
pub(crate) fn play(site: &Site, changes: &[Change], client: &Client) -> Result<()> {
    for change in changes {
        if change.wants_new_flows() {
            client.control.mark("renewal");
            client.renew()?;
        }
        client.control.mark(change.name());
        change.play(site).with_context(|| change.name())?;
        sleep(SETTLE);
    }
    Ok(())
}

/// What a change cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Flows that broke, but for those of the victim.
    pub(crate) broken: usize,
    /// Flows of the victim, which cannot survive.
    pub(crate) dead: usize,
    /// New connections that were refused.
    pub(crate) refused: u64,
    /// New connections that were reset.
    pub(crate) reset: u64,
    /// New connections that got no answer in time, or an error.
    pub(crate) lost: u64,
    /// Answers that took longer than 200 ms, of flows and of new connections.
    pub(crate) delayed: u64,
    /// The slowest answer.
    pub(crate) slowest: Duration,
}

impl Cost {
    /// `None`: the report has no such phase.
    pub(crate) fn of(change: Change, report: &Report) -> Option<Cost> {
        let Phase { flows, new, .. } = report.phase(change.name())?;
        let dead = change.victim().map_or(0, |victim| flows.broken_of(victim));
        let counts = &new.counts;
        Some(Cost {
            broken: flows.broken.len() - dead,
            dead,
            refused: counts.refused,
            reset: counts.reset,
            lost: counts.lost() - counts.refused - counts.reset,
            delayed: flows.delayed + new.delayed,
            slowest: Duration::from_micros(flows.slowest_us.max(new.slowest_us)),
        })
    }

    /// Checks what has to hold with the chain.
    pub(crate) fn check(&self, change: Change) -> Result<()> {
        let name = change.name();
        ensure!(self.broken == 0, "{name}: {} flows broke", self.broken);
        ensure!(self.refused == 0, "{name}: {} new connections were refused", self.refused);
        // Those that the victim had accepted die with it.
        ensure!(
            change.victim().is_some() || (self.reset == 0 && self.lost == 0),
            "{name}: {} new connections were reset, {} lost",
            self.reset,
            self.lost
        );
        ensure!(
            change != Change::PowerLost || self.slowest <= POWER_LOSS,
            "{name}: an answer took {:?}, more than {POWER_LOSS:?}",
            self.slowest
        );
        Ok(())
    }

    /// The heads of [`Cost::row`].
    pub(crate) const HEAD: &str = " broken  (dead) refused   reset    lost delayed  max ms";

    /// One row of a table.
    pub(crate) fn row(&self) -> String {
        let Cost { broken, dead, refused, reset, lost, delayed, slowest } = self;
        let slowest = slowest.as_millis();
        format!("{broken:>7} {dead:>7} {refused:>7} {reset:>7} {lost:>7} {delayed:>7} {slowest:>7}")
    }
}
