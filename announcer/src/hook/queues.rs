//! The queues of all hooks, and which of them runs next.
//!
//! Pure. Each hook has a queue of its own and one run at a time, so that a hook that hangs delays only the other runs of itself. At
//! most [`MOST_RUNNING`] hooks run at the same time; of the others, the one whose change is the oldest is next.

use std::collections::BTreeMap;
use std::time::Instant;

use super::event::{HookCall, HookEvent, HookTable};
use super::queue::HookQueue;
use super::{HookResult, HookRuns};
use crate::config::HookOwner;

#[cfg(test)]
mod tests;

/// How many hooks run at the same time.
pub const MOST_RUNNING: usize = 8;

/// The queues, and the counters of the ended runs.
#[derive(Debug, Default)]
pub struct HookQueues {
    runs: HookRuns,
    queues: BTreeMap<HookOwner, OwnerQueue>,
    changes: u64,
}

#[derive(Debug, Default)]
struct OwnerQueue {
    queue: HookQueue,
    running: bool,
    /// The earliest start of the next run.
    not_before: Option<Instant>,
}

impl OwnerQueue {
    fn may_run(&self, now: Instant) -> bool {
        !self.running && self.not_before.is_none_or(|start| start <= now)
    }
}

impl HookQueues {
    /// Records a change for each hook that is run for it.
    pub fn changed(&mut self, event: &HookEvent, table: &HookTable) {
        for owner in table.owners(event) {
            self.changes += 1;
            let replaced = self.queues.entry(owner).or_default().queue.changed(event.clone(), self.changes);
            self.runs.replaced += u64::from(replaced);
        }
    }

    /// The hooks may have changed: waits end, and the queues of hooks that no longer exist are dropped.
    pub fn configured(&mut self, table: &HookTable) {
        self.queues.retain(|owner, one| one.running || table.has(owner));
        self.queues.values_mut().for_each(|one| one.not_before = None);
    }

    /// The next run, and whose hook it is.
    pub fn take(&mut self, now: Instant) -> Option<(HookOwner, HookCall)> {
        if self.running() >= MOST_RUNNING {
            return None;
        }
        let ready = self.queues.iter_mut().filter(|(_, one)| one.may_run(now));
        let next = ready.filter_map(|(owner, one)| Some((one.queue.first()?, owner, one)));
        let (_, owner, one) = next.min_by_key(|(number, ..)| *number)?;
        let call = one.queue.take()?;
        one.running = true;
        Some((owner.clone(), call))
    }

    /// Records the end of a run.
    pub fn ended(&mut self, owner: &HookOwner, call: HookCall, ended: HookResult, now: Instant) {
        let count = match ended {
            HookResult::Ok => &mut self.runs.ok,
            HookResult::Failed => &mut self.runs.failed,
            HookResult::TimedOut => &mut self.runs.timeout,
            HookResult::NotStarted => &mut self.runs.not_started,
        };
        *count += 1;
        if let Some(one) = self.queues.get_mut(owner) {
            one.running = false;
            let pause = one.queue.ended(call, ended);
            one.not_before = now.checked_add(pause).filter(|_| !pause.is_zero());
        }
    }

    /// A run was taken, and the hook has no command for it any more.
    pub fn dropped(&mut self, owner: &HookOwner) {
        self.queues.get_mut(owner).into_iter().for_each(|one| one.running = false);
    }

    /// When the pause of a hook with waiting runs ends.
    pub fn deadline(&self) -> Option<Instant> {
        let paused = self.queues.values().filter(|one| !one.running && one.queue.waiting() > 0);
        paused.filter_map(|one| one.not_before).min()
    }

    /// The counters.
    pub fn runs(&self) -> HookRuns {
        let waiting: usize = self.queues.values().map(|one| one.queue.waiting()).sum();
        HookRuns { pending: waiting + self.running(), ..self.runs }
    }

    fn running(&self) -> usize {
        self.queues.values().filter(|one| one.running).count()
    }
}
