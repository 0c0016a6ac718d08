//! Turns a stream of probe outcomes into one slow, trustworthy verdict.
//!
//! Pure. Up after `rise` passes in a row, down after `fall` failures in a row; starts Unknown. An outcome of a probe that
//! was started before one already counted comes too late to count; one that is [`Outcome::Skipped`] counts for nothing.
//!
//! ```text
//!            rise passes                  fall failures
//! Unknown ───────────────→ Up ──────────────────────────→ Down
//!    └──────────────────── fall failures ────────────────→ │
//!                          Up ←───────── rise passes ──────┘
//! ```

use std::fmt;

use super::outcome::Outcome;

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
}

impl fmt::Display for Streak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Streak::None => f.write_str("no probe has answered yet"),
            Streak::Passed { run, rise } => write!(f, "{} of {rise} probes passed", run.min(rise)),
            Streak::Failed { run, fall } => write!(f, "{} of {fall} probes failed", run.min(fall)),
        }
    }
}

/// What a verdict rests on; its Display is a sentence without its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The newest outcomes that agree.
    pub streak: Streak,
    /// The newest of them.
    pub last: Option<Outcome>,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.last {
            Some(last) => write!(f, "{} (last: {last})", self.streak),
            None => self.streak.fmt(f),
        }
    }
}

/// Rise and fall of one check of one VIP.
#[derive(Debug, Clone)]
pub struct Check {
    rise: u32,
    fall: u32,
    verdict: Verdict,
    streak: Streak,
    newest: Option<u64>,
    last: Option<Outcome>,
}

impl Check {
    /// A check that no probe has answered yet. `initial` is [`Verdict::Unknown`], or the verdict of the check that it
    /// replaces. `rise` and `fall` are at least 1.
    pub fn new(rise: u32, fall: u32, initial: Verdict) -> Self {
        Check { rise, fall, verdict: initial, streak: Streak::None, newest: None, last: None }
    }

    /// Takes in no outcome of a probe that was started before the one numbered `since`.
    pub fn ignoring(self, since: u64) -> Self {
        Check { newest: self.newest.max(Some(since)), ..self }
    }

    /// The verdict so far.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The newest outcome, also of a probe that was skipped.
    pub fn last(&self) -> Option<&Outcome> {
        self.last.as_ref()
    }

    /// What the verdict rests on.
    pub fn evidence(&self) -> Evidence {
        Evidence { streak: self.streak, last: self.last.clone() }
    }

    /// The newest passes or failures in a row.
    pub fn streak(&self) -> Streak {
        self.streak
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
    #[must_use = "a change of the verdict is told once"]
    pub fn observe(&mut self, sequence: u64, outcome: Outcome) -> Option<Verdict> {
        if self.newest.is_some_and(|newest| sequence < newest) {
            return None;
        }
        let before = self.verdict;
        match outcome {
            Outcome::Pass { .. } => self.passed(),
            Outcome::Fail { .. } => self.failed(),
            Outcome::Skipped(_) => {}
        }
        // A skipped probe knows nothing, so an older one that is still on its way may yet count.
        if !matches!(outcome, Outcome::Skipped(_)) {
            self.newest = Some(sequence);
        }
        self.last = Some(outcome);
        (self.verdict != before).then_some(self.verdict)
    }

    fn passed(&mut self) {
        let run = match self.streak {
            Streak::Passed { run, .. } => run.saturating_add(1),
            Streak::None | Streak::Failed { .. } => 1,
        };
        self.streak = Streak::Passed { run, rise: self.rise };
        if run >= self.rise {
            self.verdict = Verdict::Up;
        }
    }

    fn failed(&mut self) {
        let run = match self.streak {
            Streak::Failed { run, .. } => run.saturating_add(1),
            Streak::None | Streak::Passed { .. } => 1,
        };
        self.streak = Streak::Failed { run, fall: self.fall };
        if run >= self.fall {
            self.verdict = Verdict::Down;
        }
    }
}
