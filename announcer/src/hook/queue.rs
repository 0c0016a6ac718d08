//! The waiting runs of one hook.
//!
//! Pure. The queue has states and no events. If a VIP changes again before its run, the hook runs once, with the newest standing. If
//! a VIP is back at the standing of its last run, the hook does not run. So a thousand changes at once cause at most a thousand
//! runs, one after the other, and a slow hook cannot make the queue grow. A run that could not be started is tried again after a
//! pause. The same holds for sessions and drains.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::HookResult;
use super::event::{HookCall, HookEvent, HookSubject};

#[cfg(test)]
mod tests;

/// The wait after a run that could not be started; it doubles after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The waiting runs.
#[derive(Debug, Default)]
pub struct HookQueue {
    /// The subjects that wait, each once, in the order of their changes; each with the number of its change.
    order: VecDeque<(u64, HookSubject)>,
    waiting: BTreeMap<HookSubject, HookCall>,
    /// How many runs in a row could not be started.
    not_started: u32,
    /// The state that the last run for a subject reported. A subject that is not here was never reported.
    reported: BTreeMap<HookSubject, &'static str>,
}

impl HookQueue {
    /// Records a change, which has this number among the changes of all hooks. Whether it replaces one that waits.
    pub fn changed(&mut self, event: HookEvent, number: u64) -> bool {
        let subject = event.subject();
        let replaced = self.waiting.remove(&subject);
        let known = replaced.as_ref().map(|call| call.previous);
        let previous = known.or_else(|| self.reported.get(&subject).copied()).unwrap_or(event.before);
        if event.state == previous {
            self.order.retain(|(_, waits)| *waits != subject);
            return replaced.is_some();
        }
        if replaced.is_none() {
            self.order.push_back((number, subject.clone()));
        }
        self.waiting.insert(subject, HookCall { event, previous });
        replaced.is_some()
    }

    /// Records the end of a run. Returns how long the next run has to wait.
    pub fn ended(&mut self, call: HookCall, ended: HookResult) -> Duration {
        if ended != HookResult::NotStarted {
            self.not_started = 0;
            return Duration::ZERO;
        }
        self.give_back(call);
        self.not_started = self.not_started.saturating_add(1);
        FIRST_PAUSE.saturating_mul(1 << (self.not_started - 1).min(16)).min(LONGEST_PAUSE)
    }

    /// The number of the change that waits longest.
    pub fn first(&self) -> Option<u64> {
        self.order.front().map(|(number, _)| *number)
    }

    /// The next run. Its state counts as reported, unless the run cannot be started.
    pub fn take(&mut self) -> Option<HookCall> {
        let (_, subject) = self.order.pop_front()?;
        let call = self.waiting.remove(&subject)?;
        self.reported.insert(subject, call.event.state);
        Some(call)
    }

    /// How many runs wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The run reported nothing: the reported state is the earlier one again, and later changes are merged.
    fn give_back(&mut self, call: HookCall) {
        let subject = call.event.subject();
        self.reported.insert(subject.clone(), call.previous);
        match self.waiting.get_mut(&subject) {
            Some(newer) if newer.event.state == call.previous => {
                self.waiting.remove(&subject);
                self.order.retain(|(_, waits)| *waits != subject);
            }
            Some(newer) => newer.previous = call.previous,
            None => {
                let number = self.order.back().map_or(0, |(number, _)| *number);
                self.order.push_back((number, subject.clone()));
                self.waiting.insert(subject, call);
            }
        }
    }
}
