//! Turns a stream of probe outcomes into one stable verdict.
//!
//! Pure. Up after `rise` passes in a row, down after `fall` failures in a row; starts Unknown. If a later probe was already
//! counted, the outcome of an earlier probe is ignored. An outcome [`Outcome::Skipped`] does not count.
//!
//! ```text
//!            rise passes                  fall failures, or nothing listens any more
//! Unknown ───────────────→ Up ──────────────────────────→ Down
//!    │  ↑                  ││                              ↑│
//!    │  └── no probe ended ┘└←────────── rise passes ──────│┘
//!    └───────────────────────── fall failures ─────────────┘
//! ```
//!
//! A check that is down is [timed out](Check::is_timed_out) until `fall` failures in a row were no timeouts; after that only `rise` passes
//! help. A check that is up may be [slow](Check::is_slow).

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::outcome::{Outcome, Reason};
use lateness::Lateness;

pub use evidence::{Evidence, Streak};

mod evidence;
mod lateness;
#[cfg(test)]
mod tests;

/// The verdict of a check about a VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Too few probes have answered yet.
    Unknown,
    /// Healthy.
    Up,
    /// Unhealthy.
    Down,
}

/// The verdict of a check, as the next process finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundVerdict {
    /// It.
    pub verdict: Verdict,
    /// Whether it is down because there is no listener.
    pub absent: bool,
    /// [`Check::is_timed_out`].
    #[serde(default)]
    pub timed_out: bool,
    /// [`Check::is_slow`].
    #[serde(default)]
    pub slow: bool,
}

impl FoundVerdict {
    /// A verdict alone. If it is down, probes have failed otherwise than by their timeout.
    pub fn of(verdict: Verdict) -> Self {
        FoundVerdict { verdict, absent: false, timed_out: false, slow: false }
    }

    /// Nothing listens.
    pub fn gone() -> Self {
        FoundVerdict { absent: true, ..FoundVerdict::of(Verdict::Down) }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Unknown => "unknown",
            Verdict::Up => "up",
            Verdict::Down => "down",
        })
    }
}

/// How many outcomes are stored for `explain`.
const HISTORY: usize = 10;

/// Rise and fall of one check of one VIP.
#[derive(Debug, Clone)]
pub struct Check {
    rise: u32,
    fall: u32,
    verdict: Verdict,
    streak: Streak,
    newest: Option<u64>,
    /// The newest outcomes with their times, the newest last.
    history: VecDeque<(Instant, Outcome)>,
    /// When its probe loop last reported.
    renewed: Instant,
    /// Whether it went down because there was no listener.
    gone: bool,
    /// Refused connections in a row.
    refusals: u32,
    /// Failures in a row that were no timeouts.
    no_timeouts: u32,
    /// Whether `fall` failures in a row were no timeouts, since it was up.
    dead: bool,
    /// Whether its answers come in time.
    lateness: Lateness,
    /// Until when failures do not count; `None`: they count.
    start_period: Option<Instant>,
    /// Until when a probe has to pass, because the verdict is of the process before this one.
    confirm_by: Option<Instant>,
}

impl Check {
    /// A check without a result. `initial` is [`Verdict::Unknown`], or the verdict of the check that it replaces. `rise` and `fall`
    /// are at least 1.
    pub fn new(rise: u32, fall: u32, initial: Verdict, now: Instant) -> Self {
        Check {
            rise,
            fall,
            verdict: initial,
            streak: Streak::None,
            newest: None,
            history: VecDeque::new(),
            renewed: now,
            gone: false,
            refusals: 0,
            no_timeouts: 0,
            dead: initial == Verdict::Down,
            lateness: Lateness::default(),
            start_period: None,
            confirm_by: None,
        }
    }

    /// The same check, whose failures do not count for this time after `now`, until it passes. With a verdict, they count.
    pub fn starting(self, period: Duration, now: Instant) -> Self {
        let starts = self.verdict == Verdict::Unknown && !period.is_zero();
        Check { start_period: starts.then_some(now + period), ..self }
    }

    /// The same check, whose answers are slow if they take longer than `limit`; `None`: never.
    pub fn slow_after(self, limit: Option<Duration>) -> Self {
        Check { lateness: self.lateness.limited(limit), ..self }
    }

    /// A check that begins with the verdict of the process before this one. A verdict that is up holds until `confirm_by`, unless a probe
    /// passes before.
    pub fn resumed(rise: u32, fall: u32, found: FoundVerdict, confirm_by: Instant, now: Instant) -> Self {
        let FoundVerdict { verdict, absent, timed_out, slow } = found;
        let confirm_by = (verdict == Verdict::Up).then_some(confirm_by);
        let new = Check::new(rise, fall, verdict, now);
        Check {
            gone: absent,
            confirm_by,
            dead: new.dead && !timed_out,
            lateness: Lateness::resumed(slow),
            ..new
        }
    }

    /// What the process after this one begins with.
    pub fn found(&self) -> FoundVerdict {
        let (timed_out, slow) = (self.is_timed_out(), self.is_slow());
        FoundVerdict { verdict: self.verdict, absent: self.absent(), timed_out, slow }
    }

    /// Ignores the outcomes of probes with a number below `since`.
    pub fn ignoring(self, since: u64) -> Self {
        Check { newest: self.newest.max(Some(since)), ..self }
    }

    /// The same verdict and streak, with other values of rise and fall. The lease starts again at `now`, because the pace of the
    /// probes may have changed too.
    pub fn counting(self, rise: u32, fall: u32, now: Instant) -> Self {
        Check { rise, fall, renewed: self.renewed.max(now), ..self }
    }

    /// The verdict so far.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The newest outcome, also of a probe that was skipped.
    pub fn last(&self) -> Option<&Outcome> {
        self.history.back().map(|(_, outcome)| outcome)
    }

    /// The newest outcomes and when they were known, the newest last; a few.
    pub fn history(&self) -> impl Iterator<Item = &(Instant, Outcome)> {
        self.history.iter()
    }

    /// The evidence for the verdict.
    pub fn evidence(&self) -> Evidence {
        Evidence { check: None, streak: self.streak, last: self.last().cloned() }
    }

    /// The newest passes or failures in a row.
    pub fn streak(&self) -> Streak {
        self.streak
    }

    /// Whether it is down because there is no listener.
    pub fn absent(&self) -> bool {
        self.verdict == Verdict::Down && (self.gone || self.refusals >= self.fall)
    }

    /// Whether it is down, and never since it was up have `fall` failures in a row been other ones than timeouts.
    pub fn is_timed_out(&self) -> bool {
        self.verdict == Verdict::Down && !self.dead
    }

    /// Whether it is up, and its right answers come late: `fall` of them without one in time between them, or not all of the `rise` passes
    /// that made it healthy were in time. `rise` answers in time in a row end it.
    pub fn is_slow(&self) -> bool {
        self.verdict == Verdict::Up && self.lateness.is_slow()
    }

    /// The evidence that it is slow, or that it begins to be; `None`: its newest answers are in time.
    pub fn slowness(&self) -> Option<Evidence> {
        let streak = self.lateness.streak(self.rise, self.fall)?;
        let passed = |outcome: &Outcome| matches!(outcome, Outcome::Pass { .. });
        let last = self.history.iter().rev().map(|(_, outcome)| outcome).find(|outcome| passed(outcome));
        Some(Evidence { check: None, streak, last: last.cloned() })
    }

    /// When its verdict ends without news: `lease` after its probe loop last reported, or earlier if no probe confirms it.
    pub fn ends(&self, lease: Duration) -> Instant {
        let ends = self.renewed + lease;
        self.confirm_by.map_or(ends, |by| by.min(ends))
    }

    /// When its probe loop last reported.
    pub fn renewed(&self) -> Instant {
        self.renewed
    }

    /// Whether the next probes may change the verdict: there is none yet, or the newest outcome contradicts it.
    pub fn settling(&self) -> bool {
        match (self.verdict, self.streak) {
            (Verdict::Unknown, _) => true,
            (Verdict::Up, streak) => matches!(streak, Streak::Failed { .. }),
            (Verdict::Down, streak) => matches!(streak, Streak::Passed { .. }),
        }
    }

    /// Records the outcome of the probe with the number `sequence`; returns the new verdict, if it changed.
    #[must_use = "a change of the verdict is returned once"]
    pub fn observe(&mut self, sequence: u64, outcome: Outcome, at: Instant) -> Option<Verdict> {
        self.renewed = self.renewed.max(at);
        if self.newest.is_some_and(|newest| sequence < newest) {
            return None;
        }
        let before = self.verdict;
        match &outcome {
            Outcome::Pass { took, .. } => {
                self.start_period = None;
                self.passed(*took);
            }
            Outcome::Fail { .. } if self.start_period.is_some_and(|until| at < until) => {
                self.streak = Streak::Starting;
            }
            Outcome::Fail { reason, .. } => {
                self.start_period = None;
                let in_a_row = |holds, run: u32| if holds { run.saturating_add(1) } else { 0 };
                self.refusals = in_a_row(*reason == Reason::Refused, self.refusals);
                self.no_timeouts = in_a_row(!matches!(reason, Reason::TimedOut { .. }), self.no_timeouts);
                self.failed();
            }
            Outcome::Skipped(_) => {}
        }
        // A skipped probe has no result, so an older one that is still running may still count.
        if !matches!(outcome, Outcome::Skipped(_)) {
            self.newest = Some(sequence);
        }
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((at, outcome));
        (self.verdict != before).then_some(self.verdict)
    }

    /// There is no listener: the verdict is down at once. Probes with a number below `since` were started earlier and do not count.
    #[must_use = "a change of the verdict is returned once"]
    pub fn vanished(&mut self, since: u64) -> Option<Verdict> {
        let before = std::mem::replace(&mut self.verdict, Verdict::Down);
        self.newest = self.newest.max(Some(since));
        self.streak = Streak::Gone;
        self.gone = true;
        self.dead = true;
        self.confirm_by = None;
        (before != Verdict::Down).then_some(Verdict::Down)
    }

    /// Removes a verdict that no probe has renewed for the time of a `lease`. Returns whether it was up.
    pub fn lapse(&mut self, lease: Duration) -> bool {
        let was_up = self.verdict == Verdict::Up;
        if was_up {
            self.verdict = Verdict::Unknown;
            self.streak = match self.confirm_by.take() {
                Some(_) => Streak::Unconfirmed,
                None => Streak::Lapsed(lease),
            };
        }
        was_up
    }

    /// Starts the lease again at `now`, because no results were received before.
    pub fn excuse(&mut self, now: Instant) {
        self.renewed = self.renewed.max(now);
    }

    fn passed(&mut self, took: Duration) {
        self.confirm_by = None;
        let run = self.streak.passes().saturating_add(1);
        self.streak = Streak::Passed { run, rise: self.rise };
        self.refusals = 0;
        self.no_timeouts = 0;
        self.lateness.passed(took, self.rise, self.fall);
        if run >= self.rise {
            if self.verdict != Verdict::Up {
                self.lateness.healthy(self.rise);
            }
            self.verdict = Verdict::Up;
            self.gone = false;
            self.dead = false;
        }
    }

    fn failed(&mut self) {
        let run = match self.streak {
            Streak::Failed { run, .. } => run.saturating_add(1),
            Streak::None
            | Streak::Passed { .. }
            | Streak::Slow { .. }
            | Streak::InTime { .. }
            | Streak::Starting
            | Streak::Gone
            | Streak::Lapsed(_)
            | Streak::Unconfirmed => 1,
        };
        self.streak = Streak::Failed { run, fall: self.fall };
        self.lateness.failed();
        self.dead |= self.no_timeouts >= self.fall;
        if run >= self.fall {
            self.confirm_by = None;
            self.verdict = Verdict::Down;
        }
    }
}
