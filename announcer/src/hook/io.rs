//! The hooks' task: it owns the queues of runs, and runs each hook, one run at a time.
//!
//! Touches processes, through [`crate::program::io`]. The task itself waits only for the next event and the ends of runs, so
//! that the director never waits for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{sleep, sleep_until};
use tracing::{debug, error, info, warn};

use super::drains::{DrainEvents, DrainsInForce, FollowWait};
use super::event::{EventSource, HookCall, HookCommand, HookEvent, HookTable};
use super::queues::HookQueues;
use super::{HookResult, HookRuns, line};
use crate::bgp::fsm::StateName;
use crate::bgp::io::peers::Peers;
use crate::config::{Config, HookOwner};
use crate::director::StandingChange;
use crate::model::PeerName;
use crate::program::io::{ProgramRun, Programs, Runner};
use crate::program::{Bounds, ProgramSpec, RunAs};

#[cfg(test)]
mod tests;

/// How many octets of a run's output are kept; the rest is read and dropped.
const KEPT: usize = 4096;

/// How long the next run waits for the end of a killed one. After this time, the killed one hangs in the kernel, perhaps for ever.
const KILLED: Duration = Duration::from_secs(2);

/// The inputs of the hooks' task.
pub struct HookInputs {
    /// The hooks.
    pub configs: watch::Receiver<Arc<Config>>,
    /// From the director.
    pub changes: mpsc::Receiver<Vec<StandingChange>>,
    /// From the director: the drains whose routes are decided.
    pub drains: watch::Receiver<Arc<DrainsInForce>>,
    /// The sessions.
    pub peers: watch::Receiver<Peers>,
    /// Whether a former process has reported the drains in force.
    pub continues: bool,
}

/// Receives events and runs the hooks, until the sender of `changes` was dropped. `runs` gets the counters.
pub async fn run(mut inputs: HookInputs, programs: Programs, runs: watch::Sender<HookRuns>) {
    let mut task = HookTask::new(&mut inputs, programs);
    let mut peers = inputs.peers.borrow_and_update().clone();
    task.drains(&inputs.drains.borrow_and_update().clone());
    loop {
        task.sessions(&peers);
        task.start();
        let now = task.queues.runs();
        runs.send_if_modified(|published| std::mem::replace(published, now) != now);
        let deadline = task.queues.deadline();
        tokio::select! {
            batch = inputs.changes.recv() => match batch {
                Some(batch) => batch.iter().for_each(|change| task.event(&HookEvent::of_standing(change))),
                None => return,
            },
            Ok(()) = inputs.drains.changed() => task.drains(&inputs.drains.borrow_and_update().clone()),
            Some(Ok(wait)) = task.waits.join_next() => task.followed(wait, &inputs.drains.borrow().clone()),
            Ok(()) = inputs.peers.changed() => peers = inputs.peers.borrow_and_update().clone(),
            () = peers.changed() => {}
            Some(ended) = task.running.join_next_with_id() => match ended {
                Ok((id, ended)) => task.ended(id, ended),
                Err(fault) => {
                    error!(error = %fault, "run of a hook failed by an internal error of announcer");
                    task.ended(fault.id(), HookResult::NotStarted);
                }
            },
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {}
            Ok(()) = inputs.configs.changed() => task.configured(inputs.configs.borrow_and_update().clone()),
        }
    }
}

/// The state of the task.
struct HookTask {
    config: Arc<Config>,
    table: HookTable,
    queues: HookQueues,
    drain_events: DrainEvents,
    /// The routers whose session is established, as last seen.
    up: BTreeMap<PeerName, bool>,
    peers: watch::Receiver<Peers>,
    programs: Programs,
    runners: BTreeMap<HookOwner, Arc<Runner>>,
    running: JoinSet<HookResult>,
    /// The call of each run.
    calls: HashMap<Id, (HookOwner, HookCall)>,
    waits: JoinSet<FollowWait>,
}

impl HookTask {
    fn new(inputs: &mut HookInputs, programs: Programs) -> Self {
        let config = inputs.configs.borrow_and_update().clone();
        let drain_events = if inputs.continues {
            DrainEvents::continued(&inputs.drains.borrow().drains)
        } else {
            DrainEvents::default()
        };
        HookTask {
            table: HookTable::of(&config),
            config,
            queues: HookQueues::default(),
            drain_events,
            up: BTreeMap::new(),
            peers: inputs.peers.clone(),
            programs,
            runners: BTreeMap::new(),
            running: JoinSet::new(),
            calls: HashMap::new(),
            waits: JoinSet::new(),
        }
    }

    fn event(&mut self, event: &HookEvent) {
        self.queues.changed(event, &self.table);
    }

    fn configured(&mut self, config: Arc<Config>) {
        self.table = HookTable::of(&config);
        self.config = config;
        self.queues.configured(&self.table);
        self.runners.retain(|owner, _| self.table.has(owner));
    }

    /// Compares the sessions with what was last seen of them.
    fn sessions(&mut self, peers: &Peers) {
        let mut before = std::mem::take(&mut self.up);
        for (peer, status) in peers.iter() {
            let was = before.remove(&peer.name).unwrap_or(false);
            let is = status.state == StateName::Established;
            self.up.insert(peer.name.clone(), is);
            // A session on which this process has sent no OPEN is that of the former process: nothing has changed.
            if is == was || (is && status.sent.open == 0) {
                continue;
            }
            let why = status.last_down.as_ref().map(|down| (down.why.label(), down.why.to_string()));
            let why = why.unwrap_or(("unknown", "the session has ended".to_owned()));
            let event = HookEvent::of_session(peer.name.clone(), (!is).then_some(why));
            self.queues.changed(&event, &self.table);
        }
    }

    fn drains(&mut self, now: &DrainsInForce) {
        let (events, waits) = self.drain_events.changed(now, &self.config);
        events.iter().for_each(|event| self.event(event));
        for wait in waits {
            let (peers, settle) = (self.peers.borrow().clone(), self.config.bgp.settle);
            self.waits.spawn(async move {
                peers.acknowledged(wait.generation).await;
                sleep(settle).await;
                wait
            });
        }
    }

    fn followed(&mut self, wait: FollowWait, now: &DrainsInForce) {
        if let Some(event) = self.drain_events.followed(wait, &now.drains, &self.config) {
            self.event(&event);
        }
    }

    /// Starts the runs whose turn it is.
    fn start(&mut self) {
        while let Some((owner, call)) = self.queues.take(Instant::now()) {
            // Without a command, the event is over at once.
            let Some(command) = self.table.command(&owner, &call.event) else {
                self.queues.dropped(&owner);
                continue;
            };
            let runner =
                self.runners.entry(owner.clone()).or_insert_with(|| Arc::new(Runner::new(&self.programs)));
            let run = once(runner.clone(), owner.clone(), command, call.clone());
            self.calls.insert(self.running.spawn(run).id(), (owner, call));
        }
    }

    fn ended(&mut self, id: Id, ended: HookResult) {
        if let Some((owner, call)) = self.calls.remove(&id) {
            self.queues.ended(&owner, call, ended, Instant::now());
        }
    }
}

/// One run, from its start to its end.
async fn once(runner: Arc<Runner>, owner: HookOwner, command: HookCommand, call: HookCall) -> HookResult {
    runner.settled(KILLED).await;
    let bounds = Bounds { time: command.timeout, kept: KEPT };
    let run = runner.run(&Arc::new(order(&owner, &command, &call)), bounds).await;
    log(&owner, &call, &run, command.timeout);
    HookResult::of(&run.end)
}

fn order(owner: &HookOwner, command: &HookCommand, call: &HookCall) -> ProgramSpec {
    let environment = call.environment(owner).into_iter();
    ProgramSpec {
        command: command.words.iter().map(|word| word.as_str().to_owned()).collect(),
        user: RunAs::Daemon,
        environment: environment.map(|(name, value)| (name.into(), value)).collect(),
    }
}

fn log(owner: &HookOwner, call: &HookCall, ProgramRun { end, output }: &ProgramRun, limit: Duration) {
    let (hook, state) = (owner.to_string(), call.event.state);
    let of = match &call.event.source {
        EventSource::Vip { service, vip } => format!("{service} {vip}"),
        EventSource::Session(peer) => peer.to_string(),
        EventSource::Drain { target, services: _ } => format!("drain of {target}"),
    };
    let output = line(output).unwrap_or_default();
    match HookResult::of(end) {
        HookResult::Ok if output.is_empty() => debug!(hook, of, state, "hook was run"),
        HookResult::Ok => info!(hook, of, state, output, "hook was run"),
        HookResult::Failed => warn!(hook, of, state, how = %end, output, "hook failed"),
        HookResult::TimedOut => {
            let after = humantime::format_duration(limit);
            warn!(hook, of, state, how = %end, %after, output, "hook took too long and was killed");
        }
        HookResult::NotStarted => warn!(hook, of, state, error = %end, "hook was not started"),
    }
}
