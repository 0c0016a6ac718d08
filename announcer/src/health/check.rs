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

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::outcome::{Outcome, Reason};

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

/// The newest outcomes that agree, and how many are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streak {
    /// No probe has answered yet.
    None,
    /// Passes in a row.
    Passed {
        /// How many, at least 1.
        run: u32,
        /// How many make the VIP healthy.
        rise: u32,
    },
    /// Failures in a row.
    Failed {
        /// How many, at least 1.
        run: u32,
        /// How many make it unhealthy.
        fall: u32,
    },
    /// The kernel reported that there is no listener, and no probe has ended since.
    Gone,
    /// No probe has ended for this long: the verdict was not renewed.
    Lapsed(Duration),
    /// The verdict is of the process before this one, and no probe has confirmed it in time.
    Unconfirmed,
}

impl fmt::Display for Streak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Streak::None => f.write_str("no probe has answered yet"),
            Streak::Passed { run, rise } => write!(f, "{} of {rise} probes passed", run.min(rise)),
            Streak::Failed { run, fall } => write!(f, "{} of {fall} probes failed", run.min(fall)),
            Streak::Gone => f.write_str("nothing listens any more"),
            Streak::Lapsed(lease) => {
                write!(f, "no probe has ended for {}", humantime::format_duration(*lease))
            }
            Streak::Unconfirmed => f.write_str("no probe has passed since the daemon started again"),
        }
    }
}

/// The evidence for a verdict; its `Display` is a sentence without its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The name of the check, if there are several.
    pub check: Option<String>,
    /// The newest outcomes that agree.
    pub streak: Streak,
    /// The newest of them.
    pub last: Option<Outcome>,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(check) = &self.check {
            write!(f, "check `{check}`: ")?;
        }
        match (&self.last, self.streak) {
            (Some(last), Streak::None | Streak::Passed { .. } | Streak::Failed { .. }) => {
                write!(f, "{} (last: {last})", self.streak)
            }
            (Some(_) | None, streak) => streak.fmt(f),
        }
    }
}

impl Evidence {
    /// The newest failure, or the streak, without numbers that change from probe to probe; with the name of the check, if there are
    /// several.
    pub fn brief(&self) -> String {
        let text = match (&self.last, self.streak) {
            (Some(Outcome::Fail { reason, .. }), Streak::Failed { .. }) => reason.to_string(),
            (Some(_) | None, streak) => streak.to_string(),
        };
        match &self.check {
            Some(check) => format!("check `{check}`: {text}"),
            None => text,
        }
    }

    /// Whether there was a verdict, and its probe loop did not renew it in time.
    pub fn has_lapsed(&self) -> bool {
        matches!(self.streak, Streak::Lapsed(_) | Streak::Unconfirmed)
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
            confirm_by: None,
        }
    }

    /// A check that begins with the verdict of the process before this one. A verdict that is up holds until `confirm_by`, unless a probe
    /// passes before.
    pub fn resumed(rise: u32, fall: u32, found: FoundVerdict, confirm_by: Instant, now: Instant) -> Self {
        let FoundVerdict { verdict, absent } = found;
        let confirm_by = (verdict == Verdict::Up).then_some(confirm_by);
        Check { gone: absent, confirm_by, ..Check::new(rise, fall, verdict, now) }
    }

    /// What the process after this one begins with.
    pub fn found(&self) -> FoundVerdict {
        FoundVerdict { verdict: self.verdict, absent: self.absent() }
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
            Outcome::Pass { .. } => self.passed(),
            Outcome::Fail { reason, .. } => {
                self.refusals = if *reason == Reason::Refused { self.refusals.saturating_add(1) } else { 0 };
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

    fn passed(&mut self) {
        self.confirm_by = None;
        let run = match self.streak {
            Streak::Passed { run, .. } => run.saturating_add(1),
            Streak::None | Streak::Failed { .. } | Streak::Gone | Streak::Lapsed(_) | Streak::Unconfirmed => {
                1
            }
        };
        self.streak = Streak::Passed { run, rise: self.rise };
        self.refusals = 0;
        if run >= self.rise {
            self.verdict = Verdict::Up;
            self.gone = false;
        }
    }

    fn failed(&mut self) {
        let run = match self.streak {
            Streak::Failed { run, .. } => run.saturating_add(1),
            Streak::None | Streak::Passed { .. } | Streak::Gone | Streak::Lapsed(_) | Streak::Unconfirmed => {
                1
            }
        };
        self.streak = Streak::Failed { run, fall: self.fall };
        if run >= self.fall {
            self.confirm_by = None;
            self.verdict = Verdict::Down;
        }
    }
}
