//! The probe loop of one check and VIP: it starts probes on time and sends up what they saw.
//!
//! Touches the clock, and the world through the kinds of probes beside it. One task, no more: the probes in flight are
//! futures of it, so that dropping it cancels them all.
//!
//! Probes overlap, so that a slow one does not delay the next. At most eight are in flight, or seen and not yet sent
//! up; then the next waits for one to end. A server that hangs is still found down after `timeout` and `fall - 1` intervals,
//! for the probes end as they began, an interval apart. What they saw is reported in the order in which they began: of a server
//! that hangs now and then, the passes of later probes would else hide the failures of those that have not yet timed out.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::AnyProbe;
use super::prober::Prober;
use crate::health::outcome::Outcome;
use crate::health::{Pace, ProbeFact, Target};

#[cfg(test)]
mod tests;

/// The most probes of one check and VIP at a time.
pub const MOST: usize = 8;

/// The first probe comes within this time, or within one interval if that is shorter, of the loop's turn.
const FIRST: Duration = Duration::from_millis(50);

/// Probes a target until nobody sets its pace or wants to know.
pub async fn run(
    prober: Prober,
    target: Target,
    pace: watch::Receiver<Pace>,
    facts: mpsc::Sender<ProbeFact>,
) {
    let wait = prober.turn();
    let ready = AnyProbe::new(&prober, &target);
    let Target { service, vip, check, .. } = target;
    let named = |Observation { sequence, outcome, at }| ProbeFact {
        service: service.clone(),
        vip,
        check,
        sequence,
        outcome,
        at: at.into_std(),
    };
    drive(&prober, || prober.admit(ready.probe()), wait, pace, facts, named).await;
}

/// Probes a target once, for whoever wants to see what comes of it.
pub async fn once(prober: &Prober, target: &Target) -> Outcome {
    AnyProbe::new(prober, target).probe().await
}

/// What one probe saw, and when.
struct Observation {
    sequence: u64,
    outcome: Outcome,
    at: Instant,
}

/// Starts `probe` at the pace given, after a `wait`; sends up what each saw, `named`.
async fn drive<F, T>(
    prober: &Prober,
    probe: impl Fn() -> F,
    wait: Duration,
    mut pace: watch::Receiver<Pace>,
    facts: mpsc::Sender<T>,
    named: impl Fn(Observation) -> T,
) where
    F: Future<Output = Outcome>,
{
    let mut now = *pace.borrow_and_update();
    let mut schedule = Schedule::new(prober, Instant::now() + wait, now.interval);
    let (mut due, mut closed) = (pin!(sleep_until(schedule.next)), pin!(facts.closed()));
    let mut in_flight = FuturesOrdered::new();
    let mut unsent = VecDeque::new();
    loop {
        if due.deadline() != schedule.next {
            due.as_mut().reset(schedule.next);
        }
        let room = in_flight.len() + unsent.len() < MOST;
        // In this order, so that what was seen goes first; none comes so often that another would starve.
        tokio::select! {
            biased;
            // Sending beside the probes, and not instead of them: a slow receiver costs no probe its time.
            permit = facts.reserve(), if !unsent.is_empty() => match (permit, unsent.pop_front()) {
                (Ok(permit), Some(seen)) => permit.send(seen),
                (Ok(_), None) => {}
                (Err(_), _) => return,
            },
            Some((sequence, outcome)) = in_flight.next() => {
                let seen = named(Observation { sequence, outcome, at: Instant::now() });
                if unsent.is_empty() {
                    match facts.try_send(seen) {
                        Ok(()) => {}
                        Err(TrySendError::Full(seen)) => unsent.push_back(seen),
                        Err(TrySendError::Closed(_)) => return,
                    }
                } else {
                    unsent.push_back(seen);
                }
            }
            changed = pace.changed() => {
                if changed.is_err() {
                    return;
                }
                let wanted = *pace.borrow_and_update();
                schedule.set(wanted.interval);
                if wanted.rechecks != now.rechecks {
                    schedule.recheck(Instant::now());
                }
                now = wanted;
            }
            () = due.as_mut(), if room => {
                schedule.started(Instant::now());
                let sequence = prober.number();
                let probe = probe();
                in_flight.push_back(async move { (sequence, probe.await) });
            }
            () = closed.as_mut() => return,
        }
    }
}

/// When the next probe starts: on a grid of one interval, whose place is left to chance, so that neither VIPs nor fleets
/// probe in step.
struct Schedule<'a> {
    /// Whose grid the first probes and those after a change are put on.
    prober: &'a Prober,
    next: Instant,
    /// When the last probe was due to start; none has yet.
    last: Option<Instant>,
    interval: Duration,
    /// The shortest gap to the next probe, if the grid is to be laid anew.
    shift: Option<Duration>,
}

impl<'a> Schedule<'a> {
    /// With its first probe soon after `turn`.
    fn new(prober: &'a Prober, turn: Instant, interval: Duration) -> Self {
        let next = prober.on_grid(turn + between(Duration::ZERO, interval.min(FIRST)));
        Schedule { prober, next, last: None, interval, shift: Some(Duration::ZERO) }
    }

    /// A probe starts: no drift, and no burst after ticks that were missed.
    fn started(&mut self, now: Instant) {
        let due = self.next;
        self.last = Some(due);
        self.next = match self.shift.take() {
            Some(least) => self.prober.on_grid(now + between(least, self.interval)),
            None => due + self.interval,
        };
        if self.next <= now {
            let missed = (now - due).as_nanos() / self.interval.as_nanos().max(1);
            self.next = due + self.interval * u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1);
        }
    }

    /// The next probe is now; after it the grid is laid anew, for others are kicked at the same time.
    fn recheck(&mut self, now: Instant) {
        self.next = now;
        self.shift = Some(Duration::ZERO);
    }

    /// Another interval: a shorter one counts from the last probe, a longer one begins with a part of it.
    fn set(&mut self, interval: Duration) {
        if let Some(last) = self.last {
            if interval < self.interval {
                self.next = self.next.min(last + interval);
            } else if interval > self.interval {
                self.shift = Some(self.interval);
            }
        }
        self.interval = interval;
    }
}

/// A random time in `[least, most]`.
fn between(least: Duration, most: Duration) -> Duration {
    least + most.saturating_sub(least).mul_f64(fastrand::f64())
}
