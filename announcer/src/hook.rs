//! The hooks: commands that run for each VIP whose standing has changed, for each session that came up or went down, and for each
//! drain.
//!
//! Pure, except for [`io`], whose task owns the [`HookQueues`](queues::HookQueues). [`event`] decides which hooks are run for an event,
//! [`queue`] what each of them reports and when, [`queues`] which of them runs next, and [`drains`] when a drain is an event.

pub mod drains;
pub mod event;
pub mod io;
pub mod queue;
pub mod queues;

use crate::model::text;
use crate::program::ProgramEnd;

/// How one run of a hook ended, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookResult {
    /// With exit code 0.
    Ok,
    /// With another exit code, by a signal, or because it printed too much.
    Failed,
    /// It took too long, and was killed.
    TimedOut,
    /// It could not be started.
    NotStarted,
}

impl HookResult {
    /// The counter of an end.
    pub fn of(end: &ProgramEnd) -> Self {
        match end {
            ProgramEnd::Code(0) => HookResult::Ok,
            ProgramEnd::Code(_) | ProgramEnd::Signal(_) | ProgramEnd::Endless => HookResult::Failed,
            ProgramEnd::TimedOut(_) => HookResult::TimedOut,
            ProgramEnd::Lingering | ProgramEnd::NotStarted(_) => HookResult::NotStarted,
        }
    }
}

/// The number of runs of all hooks, by how they ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HookRuns {
    /// With exit code 0.
    pub ok: u64,
    /// With another exit code, or by a signal.
    pub failed: u64,
    /// They took too long, and were killed.
    pub timeout: u64,
    /// They could not be started.
    pub not_started: u64,
    /// Changes for which the hook was not run, because the same VIP, session or drain changed again before their
    /// turn.
    pub replaced: u64,
    /// Runs that wait or are under way.
    pub pending: usize,
}

/// A run's output as one line; `None`: it printed nothing.
fn line(output: &[u8]) -> Option<String> {
    let clean = text::one_line(&String::from_utf8_lossy(output), text::LINE);
    (!clean.is_empty()).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_one_line() {
        assert_eq!(line(b" \n"), None);
        assert_eq!(line(b"a\x1b[2J\nb\n").as_deref(), Some("a [2J b"));
        assert_eq!(line(&[b'x'; 5000]).unwrap().len(), text::LINE);
    }
}
