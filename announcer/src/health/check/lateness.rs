//! Whether the right answers of a check come late, by `rise` and `fall`.
//!
//! Pure. Slow after `fall` late answers without one in time between them; in time again after `rise` answers in time in a row. A failure
//! is no answer: it breaks a row of answers in time, and leaves the count of late ones. A check that becomes healthy starts slow, unless
//! each of its `rise` passes was in time.

use std::time::Duration;

use super::evidence::Streak;

/// Whether the answers of one check of one VIP come late.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lateness {
    /// `slow`; `None`: no answer is late.
    limit: Option<Duration>,
    slow: bool,
    /// Late answers since the last one in time.
    late: u32,
    /// Answers in time in a row.
    in_time: u32,
}

impl Lateness {
    /// What the process before this one has left; it has no limit yet.
    pub(super) fn resumed(slow: bool) -> Self {
        Lateness { slow, ..Lateness::default() }
    }

    /// The same with another limit. Without one, nothing is slow.
    pub(super) fn limited(self, limit: Option<Duration>) -> Self {
        match limit {
            Some(_) => Lateness { limit, ..self },
            None => Lateness::default(),
        }
    }

    /// Whether it is slow.
    pub(super) fn is_slow(self) -> bool {
        self.slow
    }

    /// The newest answers, if they are late, or if they are in time and it is still slow.
    pub(super) fn streak(self, rise: u32, fall: u32) -> Option<Streak> {
        match (self.late, self.in_time) {
            (0, 0) => None,
            (0, run) => self.slow.then_some(Streak::InTime { run, rise }),
            (run, _) => Some(Streak::Slow { run, fall }),
        }
    }

    /// A probe passed, after this time.
    pub(super) fn passed(&mut self, took: Duration, rise: u32, fall: u32) {
        let Some(limit) = self.limit else { return };
        if took > limit {
            (self.late, self.in_time) = (self.late.saturating_add(1), 0);
            self.slow |= self.late >= fall;
        } else {
            (self.late, self.in_time) = (0, self.in_time.saturating_add(1));
            self.slow &= self.in_time < rise;
        }
    }

    /// A probe failed.
    pub(super) fn failed(&mut self) {
        self.in_time = 0;
    }

    /// The check has become healthy.
    pub(super) fn healthy(&mut self, rise: u32) {
        self.slow = self.limit.is_some() && self.in_time < rise;
    }
}
