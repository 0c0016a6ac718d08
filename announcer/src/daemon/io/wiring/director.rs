//! The director, the tasks that only it hears, and the tasks that follow its changes.
//!
//! Touches nothing but the tasks that it starts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::SharedInputs;
use crate::bfd::io::MainTurns;
use crate::chain::heartbeat::MemberVipState;
use crate::daemon::io::direct::{ChangeObservers, DirectorInputs, DirectorStore, ProbeLoops, direct};
use crate::daemon::io::tasks::OwnedTask;
use crate::director::ask::Ask;
use crate::director::{Director, StandingChange, VipNumbers};
use crate::drain;
use crate::drain::ends::EndEvent;
use crate::drain::orders::Drains;
use crate::health::io::listener;
use crate::health::io::prober::Prober;
use crate::history::io::ChangeBatch;
use crate::history::{self, History};
use crate::hook::drains::DrainsInForce;
use crate::hook::io::HookInputs;
use crate::hook::{self, HookRuns};
use crate::metrics::Tally;
use crate::page::samples::Samples;
use crate::rib::LocRib;
use crate::vip::Presence;
use crate::watchdog::{LastTurn, Turns};
use crate::weight::io::WeightChannels;
use crate::weight::{self, FileWeights};

/// What the director begins with.
pub(in crate::daemon) struct DirectorStart {
    /// The director, with the standings that continue.
    pub(in crate::daemon) director: Director,
    /// Stores its facts for the next process.
    pub(in crate::daemon) store: DirectorStore,
    /// The weights that continue, whatever the files say at this moment.
    pub(in crate::daemon) weights: FileWeights,
    /// The drains.
    pub(in crate::daemon) drains: Drains,
    /// Whether a former process has left something.
    pub(in crate::daemon) continues: bool,
    /// When the daemon began.
    pub(in crate::daemon) started: Instant,
    /// The turns of the main thread.
    pub(in crate::daemon) main_turns: MainTurns,
}

/// The senders of facts to the director and of events to the history, each for the task that owns the fact.
pub(in crate::daemon) struct FactSenders {
    /// For the task that keeps the VIPs.
    pub(in crate::daemon) vips: mpsc::Sender<(IpAddr, Presence)>,
    /// For the owner of the drain folder.
    pub(in crate::daemon) drains: mpsc::Sender<drain::io::DrainFact>,
    /// For the owner of the drain folder too: drains that come near their end, to the history.
    pub(in crate::daemon) drain_events: mpsc::Sender<EndEvent>,
    /// For the chain: the VIPs that enough other members announce.
    pub(in crate::daemon) enough_others: watch::Sender<Arc<BTreeSet<IpAddr>>>,
}

/// What the director and the tasks around it publish.
pub(in crate::daemon) struct DirectorHandles {
    /// The director's task, without which the daemon cannot continue.
    pub(in crate::daemon) task: JoinHandle<()>,
    /// The turns of its loop.
    pub(in crate::daemon) last_turn: LastTurn,
    /// The numbers of VIPs.
    pub(in crate::daemon) numbers: watch::Receiver<VipNumbers>,
    /// The states of the VIPs, for the chain.
    pub(in crate::daemon) states: watch::Receiver<Arc<Vec<(IpAddr, MemberVipState)>>>,
    /// The counters of probes and changes.
    pub(in crate::daemon) tally: watch::Receiver<Tally>,
    /// The last probes of each check.
    pub(in crate::daemon) samples: watch::Receiver<Samples>,
    /// The counters of the hooks' runs.
    pub(in crate::daemon) hooks: watch::Receiver<HookRuns>,
    /// The last changes.
    pub(in crate::daemon) history: watch::Receiver<History>,
    /// The state of the listener watch.
    pub(in crate::daemon) listeners: watch::Receiver<listener::ListenerReport>,
    /// The warnings about the files of weights.
    pub(in crate::daemon) weight_warnings: watch::Receiver<Vec<String>>,
    _tasks: [OwnedTask; 2],
}

/// Starts the director with its probes, the listener watch and the weights, which it hears, and the hooks and the history, which follow
/// its changes.
pub(in crate::daemon) fn director(
    shared: &SharedInputs,
    start: DirectorStart,
    asked: mpsc::Receiver<Ask>,
    rib: watch::Sender<Arc<LocRib>>,
) -> (DirectorHandles, FactSenders) {
    let DirectorStart { director, store, weights, drains, continues, started, main_turns } = start;
    let config = shared.configs.borrow().clone();
    let (probes_tx, probed) = mpsc::channel(1024);
    let prober = Prober::with_programs(shared.files.clone(), shared.programs.clone());
    let mut probes = ProbeLoops::new(prober, probes_tx);
    probes.apply(&config, &director);

    let (hook_changes, drains_in_force, hooks) = start_hooks(shared, drains, continues);
    let (history_changes, drain_events, history) = start_history(shared);
    let (tally_tx, tally) = watch::channel(Tally::new(&config));
    let (samples_tx, samples) = watch::channel(Samples::new(&config));
    let (states_tx, states) = watch::channel(Arc::default());
    let (numbers_tx, numbers) = watch::channel(VipNumbers { not_looked_for: 1, ..VipNumbers::default() });
    let turns = Turns::new(started);
    let last_turn = turns.last();
    let observers = ChangeObservers {
        tally: tally_tx,
        samples: samples_tx,
        hooks: hook_changes,
        drains: drains_in_force,
        history: history_changes,
        states: states_tx,
        numbers: numbers_tx,
        turns,
        main_turns,
    };

    let (weights_task, weights, weight_warnings) = start_weights(shared, weights);
    let (listeners_tx, listening) = mpsc::channel(1024);
    let (watched_tx, watched) = watch::channel(Arc::default());
    let (vips_tx, vips) = mpsc::channel(64);
    let (drains_tx, drains) = mpsc::channel(4);
    let (enough_tx, enough_others) = watch::channel(Arc::default());
    let inputs = DirectorInputs { asked, probed, listening, vips, drains, enough_others, weights };
    let task = tokio::spawn(direct(director, probes, inputs, rib, watched_tx, observers, store));
    let (report, listeners) = watch::channel(listener::ListenerReport::default());
    let listeners_task = OwnedTask::new("listener watch".into(), move || {
        listener::run(watched.clone(), listeners_tx.clone(), report.clone())
    });

    let facts = FactSenders { vips: vips_tx, drains: drains_tx, drain_events, enough_others: enough_tx };
    let handles = DirectorHandles {
        task,
        last_turn,
        numbers,
        states,
        tally,
        samples,
        hooks,
        history,
        listeners,
        weight_warnings,
        _tasks: [weights_task, listeners_task],
    };
    (handles, facts)
}

/// Starts the task of the hooks. It is not started again: each run is a separate task, and after a restart the waiting runs would be
/// lost. Returns where it hears of changes and of the drains in force, and the counters of its runs.
fn start_hooks(
    shared: &SharedInputs,
    drains: Drains,
    continues: bool,
) -> (mpsc::Sender<Vec<StandingChange>>, watch::Sender<Arc<DrainsInForce>>, watch::Receiver<HookRuns>) {
    let (changes_tx, changes) = mpsc::channel(16);
    let (runs_tx, runs) = watch::channel(HookRuns::default());
    let in_force = DrainsInForce { drains, generation: shared.ribs.borrow().generation };
    let (drains_tx, drains) = watch::channel(Arc::new(in_force));
    let inputs = HookInputs {
        configs: shared.configs.clone(),
        changes,
        drains,
        peers: shared.peers.clone(),
        continues,
    };
    tokio::spawn(hook::io::run(inputs, shared.programs.clone(), runs_tx));
    (changes_tx, drains_tx, runs)
}

/// Starts the task of the history. After a restart of it, the changes would be lost. Returns where it hears of changes and of ends of
/// drains, and the history.
fn start_history(
    shared: &SharedInputs,
) -> (mpsc::Sender<ChangeBatch>, mpsc::Sender<EndEvent>, watch::Receiver<History>) {
    let (changes_tx, changes) = mpsc::channel(16);
    let (ends_tx, ends) = mpsc::channel(16);
    let (history_tx, history) = watch::channel(History::default());
    tokio::spawn(history::io::run(changes, ends, shared.peers.clone(), history_tx));
    (changes_tx, ends_tx, history)
}

/// Starts the task of the weights. Returns it, the weights and the warnings. After a takeover the weights go on, whatever the files
/// say at this moment.
fn start_weights(
    shared: &SharedInputs,
    begins: FileWeights,
) -> (OwnedTask, watch::Receiver<Arc<FileWeights>>, watch::Receiver<Vec<String>>) {
    let (weights_tx, weights) = watch::channel(Arc::new(begins));
    let (warnings_tx, warnings) = watch::channel(Vec::new());
    let channels = WeightChannels {
        configs: shared.configs.clone(),
        files: shared.files.clone(),
        weights: weights_tx,
        warnings: warnings_tx,
    };
    let task = OwnedTask::new("weights".into(), move || weight::io::run(channels.clone()));
    (task, weights, warnings)
}
