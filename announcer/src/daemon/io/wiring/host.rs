//! The VIPs on this host, what harms them, and the tasks that follow files: drains, the configuration, the program.
//!
//! Touches nothing but the tasks that it starts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::SharedInputs;
use crate::config;
use crate::daemon::addresses;
use crate::daemon::io::findings::{self, FindingChannels};
use crate::daemon::io::program_file;
use crate::daemon::io::start::DrainFolder;
use crate::daemon::io::stop::StoppableTask;
use crate::daemon::io::tasks::OwnedTask;
use crate::drain;
use crate::drain::ends::EndEvent;
use crate::fallback;
use crate::metrics::DiskProgram;
use crate::vip::findings::HostFindings;
use crate::vip::{self, Presence, WantedDevices};

/// What the task that keeps the VIPs publishes.
pub(in crate::daemon) struct VipHandles {
    /// The task.
    pub(in crate::daemon) task: StoppableTask<bool>,
    /// The VIPs that are wanted or may still be on this host.
    pub(in crate::daemon) held: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    /// The warnings about them.
    pub(in crate::daemon) warnings: watch::Receiver<Vec<String>>,
}

/// Starts the task that keeps the VIPs. The director hears of them by `facts`.
pub(in crate::daemon) fn vips(
    shared: &SharedInputs,
    wanted: watch::Receiver<WantedDevices>,
    facts: mpsc::Sender<(IpAddr, Presence)>,
) -> VipHandles {
    let (held_tx, held) = watch::channel(Arc::new(addresses(&shared.configs.borrow())));
    let (warnings_tx, warnings) = watch::channel(Vec::new());
    let (stop, stopped) = watch::channel(false);
    let sessions_seen = shared.peers.clone();
    let setup = vip::io::KeeperChannels {
        stop: stopped,
        wanted,
        acknowledged: Arc::new(move |generation| {
            let peers = sessions_seen.borrow().clone();
            Box::pin(async move { peers.acknowledged(generation).await })
        }),
        held: held_tx,
        facts,
        warnings: warnings_tx,
        files: shared.files.clone(),
        state_dir: shared.state_dir.clone(),
    };
    let task = OwnedTask::new("VIPs".into(), move || vip::io::keep(setup.clone()));
    VipHandles { task: StoppableTask { task, stop }, held, warnings }
}

/// What the task that looks for what harms the VIPs publishes.
pub(in crate::daemon) struct FindingHandles {
    /// For the metrics.
    pub(in crate::daemon) findings: watch::Receiver<HostFindings>,
    /// For `status`.
    pub(in crate::daemon) warnings: watch::Receiver<Vec<String>>,
    _task: OwnedTask,
}

/// Starts the task that looks for what harms the VIPs on this host.
pub(in crate::daemon) fn findings(shared: &SharedInputs) -> FindingHandles {
    let (findings_tx, findings) = watch::channel(HostFindings::default());
    let (warnings_tx, warnings) = watch::channel(Vec::new());
    let channels = FindingChannels {
        configs: shared.configs.clone(),
        findings: findings_tx,
        warnings: warnings_tx,
        files: shared.files.clone(),
    };
    let task = OwnedTask::new("findings".into(), move || findings::watch(channels.clone()));
    FindingHandles { findings, warnings, _task: task }
}

/// What the owner of the drain folder hears and publishes.
pub(in crate::daemon) struct DrainHandles {
    /// Where commands send their changes.
    pub(in crate::daemon) requests: mpsc::Sender<drain::io::DrainRequest>,
    /// The state of the drain folder.
    pub(in crate::daemon) state: watch::Receiver<drain::DrainFolderReport>,
    _task: OwnedTask,
}

/// Starts the owner of the drain folder.
pub(in crate::daemon) fn drains(
    shared: &SharedInputs,
    folder: DrainFolder,
    facts: mpsc::Sender<drain::io::DrainFact>,
    events: mpsc::Sender<EndEvent>,
) -> DrainHandles {
    let DrainFolder { path, drains } = folder;
    let (requests, heard) = drain::io::requests();
    let (state_tx, state) = watch::channel(drain::DrainFolderReport { drains, unreadable: None });
    let owner = drain::io::Owner {
        folder: path,
        files: shared.files.clone(),
        facts,
        state: state_tx,
        events,
        clock: drain::io::clock,
    };
    let task = OwnedTask::new("drains".into(), move || owner.clone().run(heard.clone()));
    DrainHandles { requests, state, _task: task }
}

/// What the tasks that follow the files of the configuration and of the program publish.
pub(in crate::daemon) struct DiskHandles {
    /// How the configuration on disk differs from the one that runs.
    pub(in crate::daemon) config_warnings: watch::Receiver<Vec<String>>,
    /// How the program on disk differs from the one that runs.
    pub(in crate::daemon) program: watch::Receiver<DiskProgram>,
    /// The same as warnings.
    pub(in crate::daemon) program_warnings: watch::Receiver<Vec<String>>,
    _tasks: Vec<OwnedTask>,
}

/// Starts the tasks that follow the files of the configuration and of the program, and the one that stores what was applied.
/// `installed` is the file that an upgrade runs, if it is known.
pub(in crate::daemon) fn disk(
    shared: &SharedInputs,
    config: PathBuf,
    applied: watch::Receiver<Option<Arc<str>>>,
    installed: Option<PathBuf>,
) -> DiskHandles {
    let (config_tx, config_warnings) = watch::channel(Vec::new());
    let (door, configs) = (shared.files.clone(), shared.configs.clone());
    let file = OwnedTask::new("configuration file".into(), move || {
        config::io::watch_file(door.clone(), config.clone(), configs.clone(), config_tx.clone())
    });
    let (door, state_dir) = (shared.files.clone(), shared.state_dir.clone());
    let copy = OwnedTask::new("last good configuration".into(), move || {
        fallback::io::keep(door.clone(), state_dir.clone(), applied.clone())
    });
    let (program_tx, program) = watch::channel(DiskProgram::Same);
    let (warnings_tx, program_warnings) = watch::channel(Vec::new());
    let watched = installed.map(|path| {
        let door = shared.files.clone();
        OwnedTask::new("program file".into(), move || {
            program_file::watch(door.clone(), path.clone(), program_tx.clone(), warnings_tx.clone())
        })
    });
    let tasks = [file, copy].into_iter().chain(watched).collect();
    DiskHandles { config_warnings, program, program_warnings, _tasks: tasks }
}
