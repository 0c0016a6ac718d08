//! Makes the channels and the tasks of the daemon, one group after the other; the map is at the top of `daemon.rs`.
//!
//! Touches nothing but the tasks that it starts. Each function starts the tasks of one group and returns its handles: the ends of
//! channels that other groups need, and the tasks, which end when the handles are dropped.

mod control;
mod director;
mod host;
mod requests;
mod routers;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

pub(in crate::daemon) use self::control::control;
use self::director::DirectorHandles;
pub(in crate::daemon) use self::director::{DirectorStart, director};
use self::host::{DiskHandles, DrainHandles, FindingHandles, VipHandles};
pub(in crate::daemon) use self::host::{disk, drains, findings, vips};
pub(in crate::daemon) use self::requests::{reloader, supervisor, upgrader};
use self::routers::{BfdHandles, ChainHandles, NetworkHandles, SessionHandles};
pub(in crate::daemon) use self::routers::{RouterInputs, bfd, chain, network, sessions};
use super::reload;
use super::start::ProcessResources;
use crate::bgp::io::peers::Peers;
use crate::config::{Config, ConfigDigest};
use crate::daemon::Options;
use crate::director::ask::Ask;
use crate::fallback::Fallback;
use crate::files::io::Files;
use crate::metrics::Reloads;
use crate::model::Generation;
use crate::program::io::{DaemonFiles, Programs};
use crate::rib::LocRib;
use crate::vip::WantedDevices;

/// What nearly every task follows or uses.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct SharedInputs {
    /// The configuration that runs.
    pub(in crate::daemon) configs: watch::Receiver<Arc<Config>>,
    /// The Loc-RIB.
    pub(in crate::daemon) ribs: watch::Receiver<Arc<LocRib>>,
    /// The sessions.
    pub(in crate::daemon) peers: watch::Receiver<Peers>,
    /// The questions to the director.
    pub(in crate::daemon) asks: mpsc::Sender<Ask>,
    /// The door to the disk.
    pub(in crate::daemon) files: Files,
    /// The programs of checks and hooks.
    pub(in crate::daemon) programs: Programs,
    /// The state directory.
    pub(in crate::daemon) state_dir: PathBuf,
}

/// The other ends of [`SharedInputs`], each for the one task that owns it.
pub(in crate::daemon) struct SharedOwners {
    /// For the reloader.
    pub(in crate::daemon) configs: watch::Sender<Arc<Config>>,
    /// For the director.
    pub(in crate::daemon) rib: watch::Sender<Arc<LocRib>>,
    /// For the director.
    pub(in crate::daemon) asked: mpsc::Receiver<Ask>,
    /// For the sessions.
    pub(in crate::daemon) peers: watch::Sender<Peers>,
}

/// The channels that the groups share. `rib` is the Loc-RIB at the start.
pub(in crate::daemon) fn shared(
    options: &Options,
    process: &ProcessResources,
    config: &Arc<Config>,
    rib: Arc<LocRib>,
) -> (SharedInputs, SharedOwners) {
    let (configs_tx, configs) = watch::channel(config.clone());
    let (rib, ribs) = watch::channel(rib);
    let (asks, asked) = mpsc::channel(16);
    let (peers_tx, peers) = watch::channel(Peers::default());
    let daemon_files = DaemonFiles {
        state_dir: options.state_dir.clone(),
        socket: options.socket.clone(),
        config: options.config.clone(),
    };
    let files = process.files.clone();
    let programs = Programs::new(files.clone(), daemon_files, configs.clone());
    let state_dir = options.state_dir.clone();
    let inputs = SharedInputs { configs, ribs, peers, asks, files, programs, state_dir };
    (inputs, SharedOwners { configs: configs_tx, rib, asked, peers: peers_tx })
}

/// What a reload publishes beside the configuration.
pub(in crate::daemon) struct ReloadSenders {
    wanted: watch::Sender<WantedDevices>,
    applied: watch::Sender<Option<Arc<str>>>,
    fallback: watch::Sender<Option<Fallback>>,
    counts: watch::Sender<Reloads>,
}

/// The other ends of [`ReloadSenders`].
#[derive(Debug, Clone)]
pub(in crate::daemon) struct ReloadReceivers {
    /// The VIPs that have to be on this host.
    pub(in crate::daemon) wanted: watch::Receiver<WantedDevices>,
    /// The text of the applied configuration; none while nothing is stored.
    pub(in crate::daemon) applied: watch::Receiver<Option<Arc<str>>>,
    /// The copy that runs instead of the configuration's file.
    pub(in crate::daemon) fallback: watch::Receiver<Option<Fallback>>,
    /// The counters of the reloads.
    pub(in crate::daemon) counts: watch::Receiver<Reloads>,
}

/// The channels of what a reload publishes, with what runs at the start. `stored`: the text to be stored, if it is.
pub(in crate::daemon) fn reloads(
    config: &Config,
    stored: Option<Arc<str>>,
    fallback: Option<Fallback>,
    digest: ConfigDigest,
    generation: Generation,
) -> (ReloadSenders, ReloadReceivers) {
    let (wanted_tx, wanted) = watch::channel(WantedDevices::new(config, generation));
    let (applied_tx, applied) = watch::channel(stored);
    let (fallback_tx, fallback) = watch::channel(fallback);
    let (counts_tx, counts) = watch::channel(Reloads::new(reload::unix_time(), digest));
    let senders =
        ReloadSenders { wanted: wanted_tx, applied: applied_tx, fallback: fallback_tx, counts: counts_tx };
    (senders, ReloadReceivers { wanted, applied, fallback, counts })
}

/// The handles of all groups.
pub(in crate::daemon) struct GroupHandles {
    /// The director, and what follows its changes.
    pub(in crate::daemon) director: DirectorHandles,
    /// The VIPs on this host.
    pub(in crate::daemon) vips: VipHandles,
    /// What harms the VIPs on this host.
    pub(in crate::daemon) findings: FindingHandles,
    /// The drain folder.
    pub(in crate::daemon) drains: DrainHandles,
    /// The files of the configuration and of the program.
    pub(in crate::daemon) disk: DiskHandles,
    /// The links and addresses of this host, and the routers on the links.
    pub(in crate::daemon) network: NetworkHandles,
    /// The chain.
    pub(in crate::daemon) chain: ChainHandles,
    /// BFD.
    pub(in crate::daemon) bfd: BfdHandles,
    /// The sessions.
    pub(in crate::daemon) sessions: SessionHandles,
}
