//! The hook: a command that runs for each VIP whose standing has changed.
//!
//! Pure, except for [`io`], whose task owns the [`HookQueue`]. The queue has states and no events. If a VIP changes again before its
//! run, the hook runs once, with the newest standing. If a VIP is back at the standing of its last run, the hook does not run. So a
//! thousand changes at once cause at most a thousand runs, one after the other, and a slow hook cannot make the queue grow. A run
//! that could not be started is tried again after a pause.

pub mod io;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::director::StandingChange;
use crate::model::{ServiceName, text};
use crate::program::ProgramEnd;

/// The data that one run of the hook reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCall {
    /// The service of the VIP.
    pub service: ServiceName,
    /// Which.
    pub vip: IpAddr,
    /// Its standing, as in `status`.
    pub standing: &'static str,
    /// The reason as one word, as in metrics.
    pub reason: &'static str,
    /// The sentence that `status` prints.
    pub message: String,
    /// The standing that the last run reported.
    pub previous: &'static str,
}

impl HookCall {
    /// The environment of the run, in addition to `PATH`.
    pub fn environment(&self) -> [(&'static str, String); 6] {
        [
            ("ANNOUNCER_SERVICE", self.service.to_string()),
            ("ANNOUNCER_VIP", self.vip.to_string()),
            ("ANNOUNCER_STANDING", self.standing.to_owned()),
            ("ANNOUNCER_REASON", self.reason.to_owned()),
            ("ANNOUNCER_MESSAGE", self.message.replace('\0', " ")),
            ("ANNOUNCER_PREVIOUS", self.previous.to_owned()),
        ]
    }
}

/// How one run of the hook ended, for the counters.
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

/// The number of runs of the hook, by how they ended.
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
    /// Changes for which the hook was not run, because the same VIP changed again before their turn.
    pub replaced: u64,
    /// Runs that wait or are under way.
    pub pending: usize,
}

/// The waiting runs, and the counters of the ended runs.
#[derive(Debug, Default)]
pub struct HookQueue {
    /// Counts.
    pub runs: HookRuns,
    /// The VIPs that wait, in the order of their changes; each once.
    order: VecDeque<IpAddr>,
    waiting: BTreeMap<IpAddr, HookCall>,
    /// How many runs in a row could not be started.
    not_started: u32,
    /// The standing that the last run for a VIP reported. A VIP that is not here was never reported, and began as starting.
    reported: BTreeMap<IpAddr, &'static str>,
}

impl HookQueue {
    /// Records a change.
    pub fn changed(&mut self, change: &StandingChange) {
        let previous = self.reported.get(&change.vip).copied().unwrap_or(AT_FIRST);
        let standing = change.standing.word();
        if self.waiting.remove(&change.vip).is_some() {
            self.runs.replaced += 1;
        } else if standing != previous {
            self.order.push_back(change.vip);
        }
        if standing == previous {
            self.order.retain(|vip| *vip != change.vip);
            return;
        }
        let call = HookCall {
            service: change.service.clone(),
            vip: change.vip,
            standing,
            reason: change.standing.label(),
            message: change.standing.to_string(),
            previous,
        };
        self.waiting.insert(change.vip, call);
    }

    /// Records the end of a run. Returns how long the next run has to wait.
    pub fn ended(&mut self, call: HookCall, ended: HookResult) -> Duration {
        let count = match ended {
            HookResult::Ok => &mut self.runs.ok,
            HookResult::Failed => &mut self.runs.failed,
            HookResult::TimedOut => &mut self.runs.timeout,
            HookResult::NotStarted => &mut self.runs.not_started,
        };
        *count += 1;
        if ended != HookResult::NotStarted {
            self.not_started = 0;
            return Duration::ZERO;
        }
        self.give_back(call);
        self.not_started = self.not_started.saturating_add(1);
        FIRST_PAUSE.saturating_mul(1 << (self.not_started - 1).min(16)).min(LONGEST_PAUSE)
    }

    /// The next run. Its standing counts as reported, unless the run cannot be started.
    pub fn take(&mut self) -> Option<HookCall> {
        let call = self.waiting.remove(&self.order.pop_front()?)?;
        self.set_reported(call.vip, call.standing);
        Some(call)
    }

    /// How many runs wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn set_reported(&mut self, vip: IpAddr, standing: &'static str) {
        if standing == AT_FIRST {
            self.reported.remove(&vip);
        } else {
            self.reported.insert(vip, standing);
        }
    }

    /// The run reported nothing: the reported standing is the earlier one again, and later changes are merged.
    fn give_back(&mut self, call: HookCall) {
        self.set_reported(call.vip, call.previous);
        match self.waiting.get_mut(&call.vip) {
            Some(newer) if newer.standing == call.previous => {
                self.waiting.remove(&call.vip);
                self.order.retain(|vip| *vip != call.vip);
            }
            Some(newer) => newer.previous = call.previous,
            None => {
                self.order.push_back(call.vip);
                self.waiting.insert(call.vip, call);
            }
        }
    }
}

/// The wait after a run that could not be started; it doubles after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The first standing of every VIP.
const AT_FIRST: &str = "starting";

/// A run's output as one line; `None`: it printed nothing.
fn line(output: &[u8]) -> Option<String> {
    let clean = text::one_line(&String::from_utf8_lossy(output), text::LINE);
    (!clean.is_empty()).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::director::{NotAnnouncedReason, Standing};
    use crate::drain::Drain;
    use crate::program::{RunPhase, StartError};

    fn change(vip: u8, standing: Standing) -> StandingChange {
        StandingChange {
            service: "www".parse().unwrap(),
            vip: [192, 0, 2, vip].into(),
            standing,
            before: Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor),
        }
    }

    fn calls(queue: &mut HookQueue) -> Vec<(u8, &'static str, &'static str)> {
        let last = |vip: IpAddr| match vip {
            IpAddr::V4(vip) => vip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        std::iter::from_fn(|| queue.take())
            .map(|call| (last(call.vip), call.previous, call.standing))
            .collect()
    }

    const GONE: Standing = Standing::NotAnnounced(NotAnnouncedReason::Stopping);
    const STARTING: Standing = Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor);

    #[test]
    fn each_vip_is_reported_in_order_once_and_as_it_is_when_its_turn_comes() {
        let mut queue = HookQueue::default();
        for vip in [1, 2, 3] {
            queue.changed(&change(vip, Standing::Announced));
        }
        queue.changed(&change(1, Standing::Drained(Drain::default().into())));
        let want = [(1, "starting", "drained"), (2, "starting", "announced"), (3, "starting", "announced")];
        assert_eq!(calls(&mut queue), want);
        assert_eq!(queue.runs.replaced, 1);
        queue.changed(&change(2, GONE));
        assert_eq!(calls(&mut queue), [(2, "announced", "not_announced")]);
    }

    #[test]
    fn what_was_reported_is_not_reported_again() {
        let mut queue = HookQueue::default();
        queue.changed(&change(1, STARTING));
        assert_eq!(calls(&mut queue), [], "every VIP begins as starting");
        queue.changed(&change(1, Standing::Announced));
        queue.changed(&change(2, Standing::Announced));
        queue.changed(&change(1, STARTING));
        assert_eq!(
            calls(&mut queue),
            [(2, "starting", "announced")],
            "it came and went before the hook's turn"
        );
        queue.changed(&change(1, GONE));
        assert_eq!(calls(&mut queue), [(1, "starting", "not_announced")]);
    }

    #[test]
    fn ten_thousand_changes_of_one_vip_are_one_call() {
        let mut queue = HookQueue::default();
        for _ in 0..5_000 {
            queue.changed(&change(1, GONE));
            queue.changed(&change(1, Standing::Announced));
        }
        assert_eq!((queue.order.len(), queue.waiting.len()), (1, 1));
    }

    #[test]
    fn the_environment_says_all_that_status_does() {
        let mut queue = HookQueue::default();
        queue.changed(&change(1, Standing::Drained(Drain::parse("new\0kernel").into())));
        let environment = queue.take().unwrap().environment();
        let want = ["www", "192.0.2.1", "drained", "drained", "drained: new kernel", "starting"];
        assert_eq!(environment.each_ref().map(|(_, value)| value.as_str()), want);
    }

    #[test]
    fn each_end_is_counted_once() {
        let ends = [
            (ProgramEnd::Code(0), HookResult::Ok),
            (ProgramEnd::Code(3), HookResult::Failed),
            (ProgramEnd::Signal("SIGSEGV"), HookResult::Failed),
            (ProgramEnd::Endless, HookResult::Failed),
            (ProgramEnd::TimedOut(RunPhase::Start), HookResult::TimedOut),
            (ProgramEnd::TimedOut(RunPhase::Exit), HookResult::TimedOut),
            (ProgramEnd::Lingering, HookResult::NotStarted),
            (ProgramEnd::NotStarted(StartError::NotExecutable), HookResult::NotStarted),
        ];
        let mut queue = HookQueue::default();
        for (end, want) in ends {
            assert_eq!(HookResult::of(&end), want, "{end}");
            queue.changed(&change(1, Standing::Announced));
            let call = queue.take().unwrap();
            queue.ended(call, want);
            queue.reported.clear();
            (queue.waiting, queue.order) = Default::default();
        }
        assert_eq!(
            queue.runs,
            HookRuns { ok: 1, failed: 3, timeout: 2, not_started: 2, replaced: 0, pending: 0 }
        );
    }

    #[test]
    fn a_run_that_cannot_be_started_has_reported_nothing_and_is_tried_again() {
        let fails = |queue: &mut HookQueue| {
            let call = queue.take().unwrap();
            queue.ended(call, HookResult::NotStarted)
        };
        let mut queue = HookQueue::default();
        queue.changed(&change(1, Standing::Announced));
        assert_eq!(fails(&mut queue), FIRST_PAUSE);
        assert_eq!(fails(&mut queue), FIRST_PAUSE * 2);
        assert_eq!(calls(&mut queue), [(1, "starting", "announced")], "it is still to be reported");
        for _ in 0..40 {
            queue.changed(&change(2, Standing::Announced));
            assert!(fails(&mut queue) <= LONGEST_PAUSE);
        }
        let call = queue.take().unwrap();
        assert_eq!(queue.ended(call, HookResult::Failed), Duration::ZERO, "it was started");
        queue.changed(&change(2, GONE));
        assert_eq!(fails(&mut queue), FIRST_PAUSE, "the pauses begin anew");
    }

    #[test]
    fn what_changed_during_a_run_that_could_not_be_started_is_one_change() {
        for (meanwhile, want) in [
            (Standing::Drained(Drain::default().into()), vec![(1, "starting", "drained")]),
            (STARTING, vec![]),
        ] {
            let mut queue = HookQueue::default();
            queue.changed(&change(1, Standing::Announced));
            let call = queue.take().unwrap();
            queue.changed(&change(1, meanwhile));
            queue.changed(&change(2, Standing::Announced));
            queue.ended(call, HookResult::NotStarted);
            let another = (2, "starting", "announced");
            assert_eq!(calls(&mut queue), [want, vec![another]].concat());
        }
    }

    #[test]
    fn output_is_one_line() {
        assert_eq!(line(b" \n"), None);
        assert_eq!(line(b"a\x1b[2J\nb\n").as_deref(), Some("a [2J b"));
        assert_eq!(line(&[b'x'; 5000]).unwrap().len(), text::LINE);
    }
}
