//! The hook's task: it owns the queue of runs, and runs the hook, one run at a time.
//!
//! Touches processes, through [`crate::program::io`]. The task itself waits only for the next change and the end of the run, so
//! that the director never waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use super::{HookCall, HookQueue, HookResult, HookRuns, line};
use crate::config::{Config, HooksConfig};
use crate::director::StandingChange;
use crate::program::io::{ProgramRun, Programs, Runner};
use crate::program::{Bounds, ProgramSpec, RunAs};

#[cfg(test)]
mod tests;

/// How many octets of a run's output are kept; the rest is read and dropped.
const KEPT: usize = 4096;

/// How long the next run waits for the end of a killed one. After this time, the killed one hangs in the kernel, perhaps for ever.
const KILLED: Duration = Duration::from_secs(2);

/// Receives `changes` and runs the hook of `configs`, until the sender of `changes` was dropped. Without a hook the queue is also
/// emptied. `runs` gets the counters.
pub async fn run(
    mut configs: watch::Receiver<Arc<Config>>,
    mut changes: mpsc::Receiver<Vec<StandingChange>>,
    programs: Programs,
    runs: watch::Sender<HookRuns>,
) {
    let runner = Arc::new(Runner::new(&programs));
    let (mut queue, mut running) = (HookQueue::default(), JoinSet::new());
    // The call of the current run, and the earliest start of the next one.
    let (mut current, mut not_before) = (None, Instant::now());
    loop {
        while running.is_empty()
            && not_before <= Instant::now()
            && let Some(call) = queue.take()
        {
            let hooks = configs.borrow().hooks.clone();
            if let Some(hooks) = hooks {
                current = Some(call.clone());
                running.spawn(once(runner.clone(), hooks, call));
            }
        }
        let now = HookRuns { pending: queue.waiting() + running.len(), ..queue.runs };
        runs.send_if_modified(|published| std::mem::replace(published, now) != now);
        tokio::select! {
            batch = changes.recv() => match batch {
                Some(batch) => batch.iter().for_each(|change| queue.changed(change)),
                None => return,
            },
            Some(ended) = running.join_next() => {
                let ended = ended.unwrap_or_else(|fault| {
                    error!(error = %fault, "run of the hook failed by an internal error of announcer");
                    HookResult::NotStarted
                });
                if let Some(call) = current.take() {
                    not_before = Instant::now() + queue.ended(call, ended);
                }
            }
            () = sleep_until(not_before), if not_before > Instant::now() => {}
            // The hook may have changed, and the new one may be startable.
            Ok(()) = configs.changed() => not_before = Instant::now(),
        }
    }
}

/// One run, from its start to its end.
async fn once(runner: Arc<Runner>, hooks: HooksConfig, call: HookCall) -> HookResult {
    runner.settled(KILLED).await;
    let run = runner.run(&Arc::new(order(&hooks, &call)), Bounds { time: hooks.timeout, kept: KEPT }).await;
    log(&call, &run, hooks.timeout);
    HookResult::of(&run.end)
}

fn order(hooks: &HooksConfig, call: &HookCall) -> ProgramSpec {
    ProgramSpec {
        command: hooks.on_change.iter().map(|word| word.as_str().to_owned()).collect(),
        user: RunAs::Daemon,
        environment: call.environment().map(|(name, value)| (name.into(), value)).into(),
    }
}

fn log(call: &HookCall, ProgramRun { end, output }: &ProgramRun, limit: Duration) {
    let (service, vip, standing) = (call.service.as_str(), call.vip, call.standing);
    let output = line(output).unwrap_or_default();
    match HookResult::of(end) {
        HookResult::Ok if output.is_empty() => debug!(service, %vip, standing, "hook was run"),
        HookResult::Ok => info!(service, %vip, standing, output, "hook was run"),
        HookResult::Failed => warn!(service, %vip, standing, how = %end, output, "hook failed"),
        HookResult::TimedOut => {
            let after = humantime::format_duration(limit);
            warn!(service, %vip, standing, how = %end, %after, output, "hook took too long and was killed");
        }
        HookResult::NotStarted => warn!(service, %vip, standing, error = %end, "hook was not started"),
    }
}
