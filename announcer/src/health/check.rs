//! Turns a stream of probe outcomes into one slow, trustworthy verdict.
//!
//! Pure. Up after `rise` passes in a row, down after `fall` failures in a row; starts Unknown. An outcome of a probe that
//! was started before one already counted comes too late to count; one that is [`Outcome::Skipped`] counts for nothing.
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

use super::outcome::{Outcome, Reason};

#[cfg(test)]
mod tests;

/// What is held of a VIP by one of its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Too few probes have answered yet.
    Unknown,
    /// Healthy.
    Up,
    /// Unhealthy.
    Down,
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
    /// The kernel said that nothing listens any more, and no probe has ended since.
    Gone,
    /// No probe has ended for this long: the verdict was not renewed.
    Lapsed(Duration),
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
        }
    }
}

/// What a verdict rests on; its Display is a sentence without its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Which check, where there are several.
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
    /// Whether there was a verdict that its probe loop did not renew in time.
    pub fn has_lapsed(&self) -> bool {
        matches!(self.streak, Streak::Lapsed(_))
    }
}

/// How many outcomes are remembered for who asks.
const HISTORY: usize = 5;

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
    /// When its probe loop was last heard of.
    renewed: Instant,
    /// Whether its last way down was that nothing listened any more.
    gone: bool,
    /// Refusals in a row.
    refusals: u32,
}

impl Check {
    /// A check that no probe has answered yet. `initial` is [`Verdict::Unknown`], or the verdict of the check that it
    /// replaces. `rise` and `fall` are at least 1.
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
        }
    }

    /// Takes in no outcome of a probe that was started before the one numbered `since`.
    pub fn ignoring(self, since: u64) -> Self {
        Check { newest: self.newest.max(Some(since)), ..self }
    }

    /// The same verdict and streak, with other numbers of passes and failures. The lease begins anew `now`: the pace of the
    /// probes may be another one too.
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

    /// What the verdict rests on.
    pub fn evidence(&self) -> Evidence {
        Evidence { check: None, streak: self.streak, last: self.last().cloned() }
    }

    /// The newest passes or failures in a row.
    pub fn streak(&self) -> Streak {
        self.streak
    }

    /// Whether it is down because nothing listens.
    pub fn absent(&self) -> bool {
        self.verdict == Verdict::Down && (self.gone || self.refusals >= self.fall)
    }

    /// When its probe loop was last heard of.
    pub fn renewed(&self) -> Instant {
        self.renewed
    }

    /// Whether the next probes may change the verdict: none yet, or the newest outcome speaks against it.
    pub fn settling(&self) -> bool {
        match (self.verdict, self.streak) {
            (Verdict::Unknown, _) => true,
            (Verdict::Up, streak) => matches!(streak, Streak::Failed { .. }),
            (Verdict::Down, streak) => matches!(streak, Streak::Passed { .. }),
        }
    }

    /// Takes in what the probe numbered `sequence` saw; the new verdict, if it changed.
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
        // A skipped probe knows nothing, so an older one that is still on its way may yet count.
        if !matches!(outcome, Outcome::Skipped(_)) {
            self.newest = Some(sequence);
        }
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((at, outcome));
        (self.verdict != before).then_some(self.verdict)
    }

    /// Nothing listens any more: down at once. Probes numbered below `since` were started before, and do not count.
    #[must_use = "a change of the verdict is returned once"]
    pub fn vanished(&mut self, since: u64) -> Option<Verdict> {
        let before = std::mem::replace(&mut self.verdict, Verdict::Down);
        self.newest = self.newest.max(Some(since));
        self.streak = Streak::Gone;
        self.gone = true;
        (before != Verdict::Down).then_some(Verdict::Down)
    }

    /// Takes back what no probe has renewed for the time of a `lease`: what was up is unknown. Whether it was up.
    pub fn lapse(&mut self, lease: Duration) -> bool {
        let was_up = self.verdict == Verdict::Up;
        if was_up {
            self.verdict = Verdict::Unknown;
            self.streak = Streak::Lapsed(lease);
        }
        was_up
    }

    /// Begins a lease anew: nobody has listened to the probe loop until `now`.
    pub fn excuse(&mut self, now: Instant) {
        self.renewed = self.renewed.max(now);
    }

    fn passed(&mut self) {
        let run = match self.streak {
            Streak::Passed { run, .. } => run.saturating_add(1),
            Streak::None | Streak::Failed { .. } | Streak::Gone | Streak::Lapsed(_) => 1,
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
            Streak::None | Streak::Passed { .. } | Streak::Gone | Streak::Lapsed(_) => 1,
        };
        self.streak = Streak::Failed { run, fall: self.fall };
        if run >= self.fall {
            self.verdict = Verdict::Down;
        }
    }
}
