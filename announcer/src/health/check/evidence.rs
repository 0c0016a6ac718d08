//! The evidence for a verdict, as data and as text.
//!
//! Pure.

use std::fmt;
use std::time::Duration;

use super::super::outcome::Outcome;

/// The newest outcomes that agree, and how many are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streak {
    /// No probe has answered yet.
    None,
    /// Probes have failed within the `start_period` of the check, and do not count.
    Starting,
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
    /// Right answers that came later than the check's `slow`.
    Slow {
        /// How many since the last answer in time, at least 1.
        run: u32,
        /// How many make it slow.
        fall: u32,
    },
    /// Right answers in time, of a check that is slow.
    InTime {
        /// How many in a row, at least 1.
        run: u32,
        /// How many end that.
        rise: u32,
    },
    /// The kernel reported that there is no listener, and no probe has ended since.
    Gone,
    /// No probe has ended for this long: the verdict was not renewed.
    Lapsed(Duration),
    /// The verdict is of the process before this one, and no probe has confirmed it in time.
    Unconfirmed,
}

impl Streak {
    /// How many passes in a row there are; 0: the last probe has not passed, or none has ended.
    pub fn passes(self) -> u32 {
        match self {
            Streak::Passed { run, .. } => run,
            Streak::None
            | Streak::Failed { .. }
            | Streak::Slow { .. }
            | Streak::InTime { .. }
            | Streak::Starting
            | Streak::Gone
            | Streak::Lapsed(_)
            | Streak::Unconfirmed => 0,
        }
    }
}

impl fmt::Display for Streak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Streak::None => f.write_str("no probe has answered yet"),
            Streak::Starting => f.write_str("failures do not count yet (`start_period`)"),
            Streak::Passed { run, rise } => write!(f, "{} of {rise} probes passed", run.min(rise)),
            Streak::Failed { run, fall } => write!(f, "{} of {fall} probes failed", run.min(fall)),
            Streak::Slow { run, fall } => write!(f, "{} of {fall} probes were slow", run.min(fall)),
            Streak::InTime { run, rise } => write!(f, "{} of {rise} probes were in time", run.min(rise)),
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
            (
                Some(last),
                Streak::None
                | Streak::Starting
                | Streak::Passed { .. }
                | Streak::Failed { .. }
                | Streak::Slow { .. }
                | Streak::InTime { .. },
            ) => {
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
