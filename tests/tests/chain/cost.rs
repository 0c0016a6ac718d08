//! What a change cost, as the client saw it, and what may not cost anything with the chain.
//!
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::flows::{Broken, Phase, Report};

use crate::phases::Change;
use crate::site::DEADLINE;

/// One retransmission of a SYN (RFC 6298 section 2), which is longer than those of a flow.
const RETRANSMISSION: Duration = Duration::from_secs(1);
/// What a busy machine may add.
const BUSY: Duration = Duration::from_millis(600);
/// The frontend of a flow that had no answer yet.
const NOBODY: &str = "?";
/// How many broken flows a message lists.
const SHOWN: usize = 10;
/// The steps in which delays are printed.
const STEP_MS: u64 = 250;

/// What a change cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Flows that broke, but for those of the victim; their times are milliseconds since the change began.
    pub(crate) broken: Vec<Broken>,
    /// Flows of the victim, which cannot survive.
    pub(crate) dead: usize,
    /// When the first of them broke, in milliseconds since the change began.
    first_dead_ms: Option<u64>,
    /// New connections that were refused.
    pub(crate) refused: usize,
    /// New connections that were reset, but for those of the victim.
    pub(crate) reset: usize,
    /// New connections that got no answer in time, or an error, but for those of the victim.
    pub(crate) lost: usize,
    /// New connections that were reset or got no answer, and were begun before the victim was dead: it may have accepted them.
    pub(crate) new_dead: usize,
    /// Each answer that took longer than 200 ms, of flows and of new connections: how long, in milliseconds.
    pub(crate) delays_ms: Vec<u64>,
    /// The slowest answer.
    pub(crate) slowest: Duration,
}

impl Cost {
    /// `death_ms`: when the victim was dead, as `phases::play` says. `None`: the report has no such phase.
    pub(crate) fn of(change: Change, death_ms: Option<u64>, report: &Report) -> Option<Cost> {
        let Phase { began_ms, flows, new, .. } = report.phase(change.name())?;
        let since_began =
            |broken: &Broken| Broken { at_ms: broken.at_ms.saturating_sub(*began_ms), ..broken.clone() };
        // The victim's processes die one after the other: it can accept a flow that was just opened again, and reset it before it
        // answers. The client sees such a reset later than the death, but it has sent the SYN before it.
        let is_of_victim = |broken: &&Broken| {
            let by_victim = Some(broken.frontend.as_str()) == change.victim();
            by_victim || broken.frontend == NOBODY && death_ms.is_some_and(|death| broken.opened_ms <= death)
        };
        let (of_victim, broken): (Vec<&Broken>, Vec<&Broken>) = flows.broken.iter().partition(is_of_victim);
        let of_victim: Vec<Broken> = of_victim.into_iter().map(since_began).collect();
        let broken: Vec<Broken> = broken.into_iter().map(since_began).collect();
        let mut cost = Cost {
            broken,
            dead: of_victim.len(),
            first_dead_ms: of_victim.iter().map(|broken| broken.at_ms).min(),
            delays_ms: [flows.delays_ms.as_slice(), &new.delays_ms].concat(),
            slowest: Duration::from_micros(flows.slowest_us.max(new.slowest_us)),
            ..Cost::default()
        };
        for lost in &new.lost {
            *match lost.how.as_str() {
                "refused" => &mut cost.refused,
                _ if death_ms.is_some_and(|death| lost.at_ms <= death) => &mut cost.new_dead,
                "reset" => &mut cost.reset,
                _ => &mut cost.lost,
            } += 1;
        }
        Some(cost)
    }

    /// Checks what has to hold with the chain. `detection`: how long a host that has lost its power may be sent packets.
    pub(crate) fn check(&self, change: Change, detection: Duration) -> Result<()> {
        let name = change.name();
        let broken: Vec<String> = self
            .broken
            .iter()
            .take(SHOWN)
            .map(|Broken { at_ms, how, frontend, .. }| format!("{frontend}'s after {at_ms} ms ({how:?})"))
            .collect();
        ensure!(broken.is_empty(), "{name}: {} flows broke: {}", self.broken.len(), broken.join(", "));
        let Cost { refused, reset, lost, .. } = self;
        ensure!(
            refused + reset + lost == 0,
            "{name}: {refused} new connections were refused, {reset} reset, {lost} lost"
        );
        match change {
            Change::DeadlinePasses => {
                let first = self.first_dead_ms.map(Duration::from_millis);
                ensure!(
                    first.is_some_and(|first| first >= DEADLINE),
                    "{name}: the flows of the host that left broke from {first:?} on; the deadline is {DEADLINE:?}"
                );
            }
            Change::PowerLost => {
                let bound = bound(detection) + BUSY;
                ensure!(
                    self.slowest <= bound,
                    "{name}: an answer took {:?}, more than {bound:?}",
                    self.slowest
                );
            }
            Change::Nothing
            | Change::Leaves
            | Change::Joins
            | Change::EachInTurn
            | Change::Stops
            | Change::ServerKilled
            | Change::ServerReturns
            | Change::ServerRestarted
            | Change::DaemonAwayShortly
            | Change::DaemonAwayLong
            | Change::NextLeaves
            | Change::PowerReturns => {}
        }
        Ok(())
    }

    /// The heads of [`Cost::row`].
    pub(crate) const HEAD: &str = " broken  (dead) refused   reset    lost  (dead) delayed  max ms";

    /// One row of a table.
    pub(crate) fn row(&self) -> String {
        let Cost { broken, dead, refused, reset, lost, new_dead, .. } = self;
        let (delayed, slowest) = (self.delays_ms.len(), self.slowest.as_millis());
        let broken = broken.len();
        format!(
            "{broken:>7} {dead:>7} {refused:>7} {reset:>7} {lost:>7} {new_dead:>7} {delayed:>7} {slowest:>7}"
        )
    }

    /// How long the delayed answers took, beside the bound at a loss of power.
    pub(crate) fn delays(&self, detection: Duration) -> String {
        let mut steps: BTreeMap<u64, usize> = BTreeMap::new();
        for delay in &self.delays_ms {
            *steps.entry(delay / STEP_MS * STEP_MS).or_default() += 1;
        }
        let steps: Vec<String> = steps
            .into_iter()
            .map(|(from, count)| format!("{count} took {from} to {} ms", from + STEP_MS))
            .collect();
        let bound = bound(detection).as_millis();
        let over = self.delays_ms.iter().filter(|delay| u128::from(**delay) > bound).count();
        let steps = if steps.is_empty() { "none".to_owned() } else { steps.join(", ") };
        format!("delayed: {steps}; {over} of them took longer than the bound, {bound} ms")
    }
}

/// The longest delay at a loss of power: packets are lost during the detection, and one retransmission arrives after it.
fn bound(detection: Duration) -> Duration {
    detection + RETRANSMISSION
}

/// The tests of this file. They are trials of `chain.rs`, which has no other harness.
pub(crate) mod tests {
    use lab::flows::{Break, Lost};

    use super::*;
    use crate::network::Network;

    /// A phase in which a flow of the victim broke after the deadline, and a connection that was begun before its death was lost.
    fn phase(change: Change) -> Phase {
        let mut phase = Phase { name: change.name().to_owned(), began_ms: 1000, ..Phase::default() };
        if let Some(victim) = change.victim() {
            let at_ms = 1000 + u64::try_from(DEADLINE.as_millis()).unwrap_or(u64::MAX);
            phase.flows.broken =
                vec![Broken { opened_ms: 0, at_ms, how: Break::Reset, frontend: victim.to_owned() }];
            phase.new.lost = vec![Lost { at_ms: 1100, how: "no answer".to_owned() }];
            // Opened again by the client, and accepted by a process that died a moment later.
            if change != Change::DeadlinePasses {
                phase.flows.broken.push(Broken {
                    opened_ms: 1100,
                    at_ms: 1127,
                    how: Break::Reset,
                    frontend: NOBODY.to_owned(),
                });
            }
        }
        phase
    }

    fn check(change: Change, phase: Phase) -> Result<()> {
        // Only a death of the server or the host can end connections that are new.
        let death = change.victim().map(|_| 1100);
        let report = Report { phases: vec![phase] };
        let cost = Cost::of(change, death, &report).ok_or_else(|| anyhow::anyhow!("no such phase"))?;
        cost.check(change, Network::Lan.detection())
    }

    /// In every row, each connection that breaks fails it, unless it is one of the victim's.
    pub(crate) fn every_fault_fails() -> Result<()> {
        for change in Change::ALL {
            check(change, phase(change))?;
            let mut faults: Vec<(&str, Phase)> = Vec::new();
            let mut with = |what, fault: &dyn Fn(&mut Phase)| {
                let mut phase = phase(change);
                fault(&mut phase);
                faults.push((what, phase));
            };
            let broken = |at_ms, frontend: &str| Broken {
                opened_ms: at_ms - 1,
                at_ms,
                how: Break::Reset,
                frontend: frontend.to_owned(),
            };
            with("a flow of another frontend", &|phase| phase.flows.broken.push(broken(9500, "fe1")));
            with("a flow without an answer, later", &|phase| phase.flows.broken.push(broken(1102, NOBODY)));
            with("a refused connection", &|phase| {
                phase.new.lost.push(Lost { at_ms: 1050, how: "refused".to_owned() })
            });
            for how in ["reset", "no answer", "other", "status 503"] {
                with(how, &|phase| phase.new.lost.push(Lost { at_ms: 1101, how: how.to_owned() }));
            }
            if change == Change::DeadlinePasses {
                with("a flow before the deadline", &|phase| phase.flows.broken.push(broken(8999, "fe2")));
                with("no flow after the deadline", &|phase| phase.flows.broken.clear());
            }
            if change == Change::PowerLost {
                with("a slow answer", &|phase| phase.flows.slowest_us = 2_600_000);
            }
            for (what, phase) in faults {
                ensure!(check(change, phase).is_err(), "`{}` passes with {what}", change.name());
            }
        }
        Ok(())
    }
}
