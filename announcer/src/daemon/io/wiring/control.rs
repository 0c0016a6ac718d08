//! What operators see: the control socket, the metrics and the status page; and the tasks that own the log's level and the memory.
//!
//! Touches nothing but the tasks that it starts.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::{GroupHandles, ReloadReceivers, SharedInputs};
use crate::config::Config;
use crate::control::io::{self as control_socket, ControlContext, Socket, StateUsable};
use crate::daemon::io::main_loop::RequestSenders;
use crate::daemon::io::start::ProcessResources;
use crate::daemon::io::takeover::Takeover;
use crate::daemon::io::tasks::OwnedTask;
use crate::log::io::{self as log_io, LevelRequest, LogFilter};
use crate::memory;
use crate::metrics::io::{self as metrics_listener, MetricsContext};
use crate::page::io::{self as page_listener, PageContext};

/// The tasks that answer operators.
pub(in crate::daemon) struct ControlHandles {
    /// Whether the control socket is served.
    pub(in crate::daemon) answering: watch::Receiver<bool>,
    _tasks: [OwnedTask; 5],
}

/// Starts the control socket, the metrics, the status page, and the owners of the log's level and of the memory.
pub(in crate::daemon) fn control(
    shared: &SharedInputs,
    groups: &GroupHandles,
    process: &ProcessResources,
    socket: Socket,
    requests: &RequestSenders,
    reloads: &ReloadReceivers,
    takeover: Takeover,
) -> ControlHandles {
    let (bind_errors, bind_error) = watch::channel(Vec::new());
    let (page_errors, page_error) = watch::channel(Vec::new());
    let (log_level, level_requests, level_warnings) =
        start_log_level(process.log.filter.clone(), shared.configs.clone());
    let context = ControlContext {
        configs: shared.configs.clone(),
        router_id: groups.sessions.router_ids.clone(),
        peers: shared.peers.clone(),
        bfd: groups.bfd.status.clone(),
        chain: groups.chain.status.clone(),
        chain_requests: groups.chain.requests.clone(),
        guard: groups.chain.guard.clone(),
        listener_watch: groups.director.listeners.clone(),
        drains: groups.drains.state.clone(),
        drain_requests: groups.drains.requests.clone(),
        fallback: reloads.fallback.clone(),
        file_warning: groups.disk.config_warnings.clone(),
        warnings: vec![
            groups.sessions.delivery_warnings.clone(),
            groups.network.warnings.clone(),
            bind_error,
            page_error,
            groups.vips.warnings.clone(),
            groups.findings.warnings.clone(),
            groups.director.weight_warnings.clone(),
            level_warnings,
            groups.disk.program_warnings.clone(),
        ],
        level_requests,
        asks: shared.asks.clone(),
        reloads: requests.reloads.clone(),
        upgrades: requests.upgrades.clone(),
        start: process.report.subscribe(),
        descriptors: process.descriptors.clone(),
        state_usable: StateUsable(Arc::new(move || takeover.check().is_ok())),
        history: groups.director.history.clone(),
        files: shared.files.clone(),
        programs: shared.programs.clone(),
        trimmer: process.trimmer.clone(),
        log: process.log.buffer.clone(),
        started: process.started,
    };
    let figures = MetricsContext {
        control: context.clone(),
        reloads: reloads.counts.clone(),
        hooks: groups.director.hooks.clone(),
        tally: groups.director.tally.clone(),
        program: groups.disk.program.clone(),
        findings: groups.findings.findings.clone(),
        bind_error: bind_errors,
    };
    let paged = PageContext {
        control: context.clone(),
        samples: groups.director.samples.clone(),
        bind_error: page_errors,
    };
    let (answering_tx, answering) = watch::channel(false);
    let socket = Arc::new(socket);
    let control = OwnedTask::new("control socket".into(), move || {
        answering_tx.send_replace(true); // and it accepts in the same step
        control_socket::serve(socket.clone(), context.clone())
    });
    let metrics = OwnedTask::new("metrics".into(), move || metrics_listener::serve(figures.clone()));
    let page = OwnedTask::new("status page".into(), move || page_listener::serve(paged.clone()));
    let trimmer = process.trimmer.clone();
    let memory = OwnedTask::new("memory".into(), move || memory::io::run(trimmer.clone()));
    ControlHandles { answering, _tasks: [control, metrics, page, log_level, memory] }
}

/// Starts the owner of the log's level. Returns it, where commands send their orders, and its warnings.
fn start_log_level(
    filter: LogFilter,
    configs: watch::Receiver<Arc<Config>>,
) -> (OwnedTask, mpsc::Sender<LevelRequest>, watch::Receiver<Vec<String>>) {
    let (requests, heard) = log_io::requests();
    let (warnings_tx, warnings) = watch::channel(Vec::new());
    let task = OwnedTask::new("log level".into(), move || {
        filter.clone().run(heard.clone(), warnings_tx.clone(), configs.clone())
    });
    (task, requests, warnings)
}
