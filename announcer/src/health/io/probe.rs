//! The probe loop of one check and VIP: it starts probes on time and sends their results to the director.
//!
//! Touches the clock, and through the kinds of probes the network, files and processes. It is one task; the running probes are
//! futures of it, so that dropping it cancels them all.
//!
//! Probes overlap, so that a slow one does not delay the next. At most eight are running, or ended but not yet reported; then the
//! next one waits. A server that hangs is still down after `timeout` and `fall - 1` intervals, because the probes end one interval
//! apart, like their starts. Results are reported in the order of the starts. Otherwise, with a server that hangs sometimes, the
//! passes of later probes would hide the failures of earlier ones that have not timed out yet.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::PreparedProbe;
use super::prober::Prober;
use crate::health::outcome::Outcome;
use crate::health::{Pace, ProbeFact, Target};

#[cfg(test)]
mod tests;

/// The most probes of one check and VIP at the same time.
pub const MOST: usize = 8;

/// The first probe starts within this time after the loop's turn, or within one interval if that is shorter.
const FIRST: Duration = Duration::from_millis(50);

/// Probes a target until the sender of the pace or the receiver of the results was dropped.
pub async fn run(
    prober: Prober,
    target: Target,
    pace: watch::Receiver<Pace>,
    facts: mpsc::Sender<ProbeFact>,
) {
    let wait = prober.turn();
    let ready = PreparedProbe::new(&prober, &target);
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

/// Probes a target once, and returns the outcome.
pub async fn once(prober: &Prober, target: &Target) -> Outcome {
    PreparedProbe::new(prober, target).probe().await
}

/// The outcome of one probe, and its time.
struct Observation {
    sequence: u64,
    outcome: Outcome,
    at: Instant,
}

/// Starts `probe` at the given pace, after a `wait`; sends each result, with the names of the target.
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
        // In this order, so that results are sent first. No branch is ready so often that another one starves.
        tokio::select! {
            biased;
            // Sending runs at the same time as the probes, so that a slow receiver delays no probe.
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

/// The start of the next probe: on a grid of one interval with a random offset, so that VIPs and hosts do not probe at the same
/// time.
struct Schedule<'a> {
    /// The owner of the start grid, on which the first probes and those after a change start.
    prober: &'a Prober,
    next: Instant,
    /// When the last probe was due to start; `None`: no probe has started yet.
    last: Option<Instant>,
    interval: Duration,
    /// The shortest time to the next probe, if a new offset is needed.
    shift: Option<Duration>,
}

impl<'a> Schedule<'a> {
    /// A schedule with its first probe soon after `turn`.
    fn new(prober: &'a Prober, turn: Instant, interval: Duration) -> Self {
        let next = prober.on_grid(turn + between(Duration::ZERO, interval.min(FIRST)));
        Schedule { prober, next, last: None, interval, shift: Some(Duration::ZERO) }
    }

    /// A probe starts: the grid does not drift, and missed ticks are not repeated.
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

    /// The next probe starts now. After it a new offset is chosen, because other loops get the same recheck at the same time.
    fn recheck(&mut self, now: Instant) {
        self.next = now;
        self.shift = Some(Duration::ZERO);
    }

    /// Sets another interval: a shorter one counts from the last probe, a longer one begins with a random part of it.
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
