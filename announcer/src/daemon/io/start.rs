//! The start, up to the first task: the signals, the control socket, the drains, and what the former process has left.
//!
//! Touches signals, child processes, the control socket, the state directory, the environment and the clocks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::direct::DirectorStore;
use super::signals::Signals;
use super::takeover::{Found, StartedBfd, Takeover};
use crate::bfd::io::MainTurns;
use crate::bgp::router_id::Identity;
use crate::config::Config;
use crate::control::io::Socket;
use crate::daemon::{Options, RUNNING};
use crate::director::Director;
use crate::director::ask::{Ask, ask};
use crate::drain;
use crate::drain::orders::Drains;
use crate::fallback::Fallback;
use crate::files::io::{self as files, Files};
use crate::log::io::Log;
use crate::memory::io::Trimmer;
use crate::monotonic::io::{host_start, uptime};
use crate::systemd::io::Notifier;
use crate::takeover::io::children;
use crate::takeover::io::descriptors::Descriptors;
use crate::takeover::io::exec::signals_handled;
use crate::takeover::successor::{INSTALLED, ROLLED_BACK, installed};
use crate::takeover::{Start, StartReport};
use crate::weight::FileWeights;

/// What belongs to the process as a whole.
pub(in crate::daemon) struct ProcessResources {
    /// When the daemon began.
    pub(in crate::daemon) started: Instant,
    /// The door to the disk.
    pub(in crate::daemon) files: Files,
    /// The messages to the service manager.
    pub(in crate::daemon) notifier: Notifier,
    /// What the service manager stores for the next process.
    pub(in crate::daemon) descriptors: Descriptors,
    /// How this process began.
    pub(in crate::daemon) report: watch::Sender<StartReport>,
    /// Returns memory to the system.
    pub(in crate::daemon) trimmer: Trimmer,
    /// The log.
    pub(in crate::daemon) log: Log,
}

/// Handles the signals from now on, and prepares what belongs to the process.
///
/// # Errors
/// When the signals cannot be handled.
pub(in crate::daemon) fn begin(found: &Found, log: Log) -> anyhow::Result<(Signals, ProcessResources)> {
    let (started, files, notifier) = (Instant::now(), Files::new(), Notifier::from_environment());
    let signals = Signals::new().context("cannot handle signals")?;
    signals_handled();
    let report = StartReport {
        how: found.how,
        gap: None,
        bfd_pause: found.bfd_pause(),
        installed: installed(std::env::var_os(INSTALLED), std::env::current_exe().ok()),
        rolled_back: std::env::var_os(ROLLED_BACK).is_some(),
        not_continued: None,
    };
    if found.how == Start::Upgrade {
        tokio::spawn(children::wait_for(children::children()));
    }
    let process = ProcessResources {
        started,
        files,
        descriptors: Descriptors::new(notifier.clone()),
        notifier,
        report: watch::channel(report).0,
        trimmer: Trimmer::default(),
        log,
    };
    Ok((signals, process))
}

/// The drain folder as it was at the start.
#[derive(Debug)]
pub(in crate::daemon) struct DrainFolder {
    /// Its path.
    pub(in crate::daemon) path: PathBuf,
    /// The drains in it.
    pub(in crate::daemon) drains: Drains,
}

/// Binds the control socket, so that no other daemon runs with it, and reads the drains.
///
/// # Errors
/// When the socket cannot be bound, or the drains cannot be read.
pub(in crate::daemon) async fn open(
    files: &Files,
    options: &Options,
) -> anyhow::Result<(Socket, DrainFolder)> {
    let socket = Socket::bind(files, &options.socket).await?;
    let path = drain::io::directory(&options.state_dir);
    let drains = files.run(&path, drain::io::read_at_start).await;
    let drains = drains.with_context(|| format!("cannot read the drains in `{}`", path.display()))?;
    Ok((socket, DrainFolder { path, drains }))
}

/// Logs how the daemon started, and with which configuration.
pub(in crate::daemon) fn log_start(options: &Options, report: &StartReport, fallback: Option<&Fallback>) {
    let how = report.how.as_str();
    info!(version = env!("CARGO_PKG_VERSION"), config = %options.config.display(), start = how, "announcer started");
    report.warnings().iter().for_each(|warning| error!("{warning}"));
    fallback.iter().for_each(|fallback| warn!("{fallback}"));
}

/// What goes on from the former process, or begins, before the first task runs.
pub(in crate::daemon) struct TakenOver {
    /// The director, with the standings that continue.
    pub(in crate::daemon) director: Director,
    /// Stores the director's facts for the next process.
    pub(in crate::daemon) store: DirectorStore,
    /// The weights that continue, whatever the files say at this moment.
    pub(in crate::daemon) weights: FileWeights,
    /// Our BGP identifier, if it is known.
    pub(in crate::daemon) identity: Identity,
    /// The state that outlives the process.
    pub(in crate::daemon) takeover: Takeover,
    /// The thread of BFD, if there are sessions that continue.
    pub(in crate::daemon) bfd: Option<StartedBfd>,
    /// The turns of the main thread.
    pub(in crate::daemon) main_turns: MainTurns,
    /// Sessions that continue send when it is `true`.
    pub(in crate::daemon) may_send: watch::Sender<bool>,
}

/// Takes over what the former process has left.
///
/// # Errors
/// When there is no memory for the state.
pub(in crate::daemon) async fn take_over(
    found: Found,
    config: &Arc<Config>,
    drains: &Drains,
    process: &ProcessResources,
) -> anyhow::Result<TakenOver> {
    // The kernel is asked about each VIP before anything is sent on a session of the former process.
    let (host_start, facts) = (host_start(), found.facts(config).await);
    let mut director = Director::resumed(config.clone(), drains.clone(), &facts, host_start, process.started);
    let identity = Identity { id: config.bgp.router_id.or(found.router_id()), waits: None };
    let (may_send, may_send_seen) = watch::channel(false);
    let takeover = found.take_over(config, identity.id, process.descriptors.clone(), may_send_seen).await;
    let (takeover, bfd) = takeover.context("cannot store the state for the next process")?;
    let main_turns = bfd.as_ref().map_or_else(MainTurns::new, |started| started.turns.clone());
    takeover.store(&mut director, host_start);
    process.report.send_modify(|report| report.not_continued = takeover.not_continued());
    let stored = takeover.clone();
    Ok(TakenOver {
        director,
        store: Box::new(move |director: &mut Director| stored.store(director, host_start)),
        weights: facts.weights(config),
        identity,
        takeover,
        bfd,
        main_turns,
        may_send,
    })
}

/// Whether the previous daemon ended without a withdraw (RFC 4724 §3, the R bit). It also makes the file for this daemon.
pub(in crate::daemon) async fn mark_running(files: &Files, state_dir: &Path) -> bool {
    let marked = files.run(state_dir, |folder| {
        let before = files::exists(&folder.join(RUNNING));
        files::replace(folder, RUNNING, "").map(|()| before)
    });
    marked.await.unwrap_or_else(|error| {
        warn!(folder = %state_dir.display(), %error, "the next start will not notice a crash");
        false
    })
}

/// Lets the sessions that continue send as soon as the director has answered.
pub(in crate::daemon) fn send_when_director_answers(asks: mpsc::Sender<Ask>, may_send: watch::Sender<bool>) {
    tokio::spawn(async move {
        // An answer of the director shows that the loops turn.
        if ask(&asks, Ask::Report).await.is_some() {
            may_send.send_replace(true);
        }
    });
}

/// Reports how long no program ran. `left` is when the former program was left, by CLOCK_MONOTONIC; only after an upgrade.
pub(in crate::daemon) fn report_gap(left: Option<Duration>, report: &watch::Sender<StartReport>) {
    if let Some(left) = left {
        let gap = uptime().saturating_sub(left);
        report.send_modify(|report| report.gap = Some(gap));
        info!(gap_ms = gap.as_millis(), "program was replaced, the process is the same");
    }
}
