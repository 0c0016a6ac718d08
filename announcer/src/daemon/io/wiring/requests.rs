//! What the main loop runs: reloads, upgrades, and the reports to systemd.
//!
//! Touches nothing by itself.

use std::sync::Arc;

use tokio::sync::watch;

use super::{GroupHandles, ReloadReceivers, ReloadSenders, SharedInputs};
use crate::config::Config;
use crate::daemon::Options;
use crate::daemon::io::reload::Reloader;
use crate::daemon::io::start::ProcessResources;
use crate::daemon::io::supervise::{Supervised, Supervisor};
use crate::daemon::io::takeover::Takeover;
use crate::daemon::io::upgrade::Upgrader;
use crate::program::io::Programs;

/// What applies configurations. It publishes them by `configs` and `senders`.
pub(in crate::daemon) fn reloader(
    shared: &SharedInputs,
    groups: &GroupHandles,
    process: &ProcessResources,
    options: &Options,
    configs: watch::Sender<Arc<Config>>,
    senders: ReloadSenders,
) -> Reloader {
    let ReloadSenders { wanted, applied, fallback, counts } = senders;
    Reloader {
        files: shared.files.clone(),
        trimmer: process.trimmer.clone(),
        counts,
        file: options.config.clone(),
        configs,
        wanted,
        asks: shared.asks.clone(),
        guard: groups.chain.guard.clone(),
        identity: groups.sessions.router_ids.clone(),
        peers: shared.peers.clone(),
        ribs: shared.ribs.clone(),
        notifier: process.notifier.clone(),
        applied,
        stores: options.fallback,
        fallback,
        log_options: process.log.filter.instead_of(),
    }
}

/// What replaces the program.
pub(in crate::daemon) fn upgrader(
    shared: &SharedInputs,
    groups: &GroupHandles,
    process: &ProcessResources,
    options: &Options,
    reloads: &ReloadReceivers,
    takeover: Takeover,
) -> Upgrader {
    let bfd = groups.bfd.status.clone();
    Upgrader {
        files: shared.files.clone(),
        programs: shared.programs.clone(),
        hooks: groups.director.hooks.clone(),
        asked: Programs::unconfined(shared.files.clone()),
        descriptors: process.descriptors.clone(),
        last_state: Box::new(move || takeover.check()),
        configs: shared.configs.clone(),
        guard: groups.chain.guard.clone(),
        detection: Box::new(move || bfd.borrow().shortest_remote_detection()),
        config: options.config.clone(),
        state_dir: options.state_dir.clone(),
        fallback: reloads.fallback.clone(),
        start: process.report.subscribe(),
        log: process.log.buffer.clone(),
    }
}

/// What reports to systemd. `answering`: whether the control socket is served.
pub(in crate::daemon) fn supervisor(
    shared: &SharedInputs,
    groups: &GroupHandles,
    process: &ProcessResources,
    reloads: &ReloadReceivers,
    answering: watch::Receiver<bool>,
) -> Supervisor {
    let supervised = Supervised {
        answering,
        numbers: groups.director.numbers.clone(),
        peers: shared.peers.clone(),
        fallback: reloads.fallback.clone(),
        directed: groups.director.last_turn.clone(),
        sessions: groups.sessions.turns.clone(),
    };
    Supervisor::new(process.notifier.clone(), supervised)
}
