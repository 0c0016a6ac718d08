//! Wiring alone: every channel and every task is made here.
//!
//! ```text
//! task              hears                                     says
//! probe, one a      watch<Pace>                               mpsc<ProbeFact>           -> director
//!   VIP and check
//! listeners         netlink, watch<WatchPlan>                 mpsc<ListenerFact>        -> director
//!                                                             watch<ListenerReport>     -> control
//! vips              netlink, watch<WantedDevices>,            mpsc<(VIP, Presence)>     -> director
//!                     acknowledgements of sessions            watch<VIPs>               -> sessions
//!                                                             watch<warnings>           -> control
//! drains            inotify                                   mpsc<DrainFact>           -> director
//!                                                             mpsc<EndEvent>            -> history
//! director          the four above, mpsc<Ask>                 watch<LocRib>             -> sessions
//!                                                             watch<WatchPlan>          -> listeners
//!                                                             watch<Pace>               -> probes
//!                                                             mpsc<Vec<StandingChange>> -> hook
//! findings          netlink, watch<Config>                    watch<HostFindings>       -> metrics
//!                                                             watch<warnings>           -> control
//! delivery          watch<LocRib>, watch<SessionReport>       watch<warnings>           -> control, mpsc<Ask> -> director
//!                                                             mpsc<ChangeBatch>         -> history
//! discovery         ICMPv6, watch<Config>,                    watch<LearntRouters>      -> sessions, BFD
//!                     watch<Network>                          watch<warnings>           -> control
//! network           netlink                                   watch<Network>            -> sessions, router id, discovery
//! router id         watch<Config>, watch<Network>,            watch<Identity>           -> sessions, control
//!                     watch<Peers>
//! BFD               watch<Config>, watch<VIPs>,               watch<BfdReport>          -> session, control, metrics
//!                     watch<Peers>, mpsc<Report>              mpsc<Order>               -> BFD thread
//! BFD thread        UDP, mpsc<Order>, turns of the main       mpsc<Report>              -> BFD
//!   (its own)         thread
//! chain             watch<Config>, watch<Network>,            watch<ChainStatus>        -> control, metrics
//!                     watch<VIP states>, mpsc<ChainRequest>,    watch<joined>             -> sessions
//!                     mpsc<GuardRequest>,                       watch<enough others>      -> director
//!                     mpsc<HeartbeatReport>                     mpsc<HeartbeatOrder>      -> heartbeats
//! heartbeats (on    UDP, netlink, mpsc<HeartbeatOrder>        mpsc<HeartbeatReport>     -> chain
//!   BFD's thread)
//! session, one a    watch<LocRib>, watch<BfdReport>,          watch<SessionReport>      -> control, stop
//!   peer              watch<SessionOrder>, watch<VIPs>,
//!                     watch<Network>
//! sessions          watch<Config>, watch<stop>                watch<SessionOrder>       -> session
//!                                                             watch<Peers>              -> control, stop
//! control           unix socket                               mpsc<Ask>                 -> director
//!                                                             mpsc<Reload>              -> run
//!                                                             mpsc<UpgradeRequest>      -> run
//!                                                             mpsc<LevelRequest>        -> log level
//! hooks             mpsc<Vec<StandingChange>>, watch<Config>, watch<HookRuns>           -> metrics
//!                     watch<DrainsInForce>, watch<Peers>
//! weights           the files, watch<Config>                  watch<FileWeights>        -> director
//!                                                             watch<warnings>           -> control
//! log level         mpsc<LevelRequest>                        watch<warnings>           -> control
//! program file      the file on disk, each minute             watch<DiskProgram>        -> metrics
//!                                                             watch<warnings>           -> control
//! history           mpsc<ChangeBatch>, mpsc<EndEvent>,        watch<History>            -> control
//!                     watch<Peers>
//! memory            Trimmer: run, control
//! last good config  watch<text of the configuration>          the copy in the state directory
//! metrics           TCP, watch<Config>, watch<SessionReport>  mpsc<Ask>                 -> director
//! status page       TCP, watch<Config>, watch<Samples>,       mpsc<Ask>                 -> director
//!                     watch<History>, watch<SessionReport>
//! run (main)        signals, mpsc<Reload>, mpsc<Upgrade…>,   watch<Config>, watch<WantedDevices>, Ask::Reload,
//!                     watch<VipNumbers>, watch<Peers>,        Ask::Recheck, Ask::Stop, stop, systemd's socket
//!                     turns of director and sessions
//! ```
//!
//! A task that panics is logged and started again after a second: it costs one VIP or one session. Only the director
//! cannot be done without; the daemon ends with it, and the service manager starts the next.

mod io;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use self::io::bfd::{self, BfdChannels};
use self::io::chain::{self, ChainChannels, ChainStop};
use self::io::delivery::{self, DeliveryChannels};
use self::io::direct::{ChangeObservers, DirectorInputs, ProbeLoops, direct};
use self::io::findings::{self, FindingChannels};
use self::io::limits;
use self::io::program_file;
use self::io::reload::{self, Reloader};
use self::io::sessions::{self, Continuations, SessionResources, SessionTurns};
use self::io::signals::Signals;
use self::io::stop::{Stop, StoppableTask};
use self::io::supervise::{Supervised, Supervisor};
pub use self::io::takeover::Found;
use self::io::tasks::OwnedTask;
use self::io::upgrade::Upgrader;
use crate::bfd::io::MainTurns;
use crate::bfd::status::BfdReport;
use crate::bgp::discovery::LearntRouters;
use crate::bgp::io::discovery::{self, DiscoveryChannels};
use crate::bgp::io::peers::Peers;
use crate::bgp::io::{network, router_id};
use crate::bgp::path::Network;
use crate::bgp::router_id::Identity;
use crate::chain::io as chain_io;
use crate::chain::status::ChainStatus;
use crate::config::{self, Config, ConfigDigest};
use crate::control::io::{self as control, Reload, Socket, UpgradeRequest};
use crate::control::request::ReloadMode;
use crate::director::ask::Ask;
use crate::director::{self, Director, VipNumbers};
use crate::drain;
use crate::fallback::{self, Fallback};
use crate::files::io::{self as files, Files};
use crate::health::io::listener;
use crate::health::io::prober::Prober;
use crate::history::{self, History};
use crate::hook::drains::DrainsInForce;
use crate::hook::io::HookInputs;
use crate::hook::{self, HookRuns};
use crate::log::io::{self as log_io, Log};
use crate::memory;
use crate::memory::io::Trimmer;
use crate::metrics::{self, DiskProgram, Reloads, Tally};
use crate::monotonic::io::{host_start, uptime};
use crate::page;
use crate::page::io::PageContext;
use crate::page::samples::Samples;
use crate::program::io::{DaemonFiles, Programs};
use crate::systemd::io::Notifier;
use crate::takeover::io::children;
use crate::takeover::io::descriptors::Descriptors;
use crate::takeover::io::exec::{block_signals, signals_handled};
use crate::takeover::successor::{INSTALLED, ROLLED_BACK, Successor, installed};
use crate::takeover::{Start, StartReport};
use crate::vip::findings::HostFindings;
use crate::vip::{self, WantedDevices};
use crate::watchdog::Turns;
use crate::weight;
use crate::weight::io::WeightChannels;

/// The options of the command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration's file.
    pub config: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// The directory of the drains.
    pub state_dir: PathBuf,
    /// Whether applied configurations are stored, for a start with a wrong file.
    pub fallback: bool,
}

/// What the daemon runs from its start on.
#[derive(Debug)]
pub struct AppliedConfig {
    /// The configuration.
    pub config: Config,
    /// It as one text.
    pub text: Arc<str>,
    /// The digest of its files.
    pub digest: ConfigDigest,
    /// Set if it is the copy of the last good configuration, because the file is wrong.
    pub fallback: Option<Fallback>,
}

/// Runs until a signal ends it. `log` is the log, because `status` reports the lines that were lost, and an operator may change its
/// level. `inherited` is what the former process has left.
///
/// # Errors
/// When it cannot start or cannot continue.
pub fn run(options: Options, applied: AppliedConfig, log: Log, found: Found) -> anyhow::Result<()> {
    limits::keep_capabilities(); // before a thread exists that starts programs: each thread has its own capabilities
    limits::raise_files(&applied.config);
    // One thread: probes, sessions and decisions together need a few percent of a core.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().on_thread_start(block_signals).build();
    let runtime = runtime.context("cannot wait for sockets and timers")?;
    let ended = runtime.block_on(serve(options, applied, log, found));
    runtime.shutdown_background(); // a file system that hangs must not delay the end
    ended
}

async fn serve(options: Options, applied: AppliedConfig, log: Log, found: Found) -> anyhow::Result<()> {
    let AppliedConfig { config, text, digest, fallback } = applied;
    let config = Arc::new(config);
    let (started, files, notifier) = (Instant::now(), Files::new(), Notifier::from_environment());
    let mut signals = Signals::new().context("cannot handle signals")?;
    signals_handled();
    let descriptors = Descriptors::new(notifier.clone());
    let (left, realtime, continues) = (found.left, found.realtime.clone(), found.continues());
    let (start_tx, start) = watch::channel(StartReport {
        how: found.how,
        gap: None,
        bfd_pause: found.bfd_pause(),
        installed: installed(std::env::var_os(INSTALLED), std::env::current_exe().ok()),
        rolled_back: std::env::var_os(ROLLED_BACK).is_some(),
        not_continued: None,
    });
    if found.how == Start::Upgrade {
        tokio::spawn(children::wait_for(children::children()));
    }
    let socket = Arc::new(Socket::bind(&files, &options.socket).await?);
    let drain_dir = drain::io::directory(&options.state_dir);
    let drains = files.run(&drain_dir, drain::io::read_at_start).await;
    let drains = drains.with_context(|| format!("cannot read the drains in `{}`", drain_dir.display()))?;
    let how = start.borrow().how.as_str();
    info!(version = env!("CARGO_PKG_VERSION"), config = %options.config.display(), start = how, "announcer started");
    start.borrow().warnings().iter().for_each(|warning| error!("{warning}"));
    fallback.iter().for_each(|fallback| warn!("{fallback}"));

    let trimmer = Trimmer::default();
    let (asks, asked) = mpsc::channel(16);
    let (reload, reloads) = mpsc::channel(4);
    let (upgrades, upgrades_heard) = mpsc::channel(4);
    let (drain_facts, drain_facts_heard) = mpsc::channel(4);
    let (drain_requests, drain_requests_heard) = drain::io::requests();
    let (drain_states, drain_state) =
        watch::channel(drain::DrainFolderReport { drains: drains.clone(), unreadable: None });
    let (probes_tx, probed) = mpsc::channel(1024);
    let (listeners_tx, listening) = mpsc::channel(1024);
    let (watched_tx, watched) = watch::channel(Arc::default());
    let (watch_tx, listener_watch) = watch::channel(listener::ListenerReport::default());
    let (vips_tx, vips) = mpsc::channel(64);
    // The kernel is asked about each VIP before anything is sent on a session of the former process.
    let (host_start, facts) = (host_start(), found.facts(&config).await);
    let mut director = Director::resumed(config.clone(), drains.clone(), &facts, host_start, started);
    let identity = Identity { id: config.bgp.router_id.or(found.router_id()), waits: None };
    let (may_send_tx, may_send) = watch::channel(false);
    let takeover = found.take_over(&config, identity.id, descriptors.clone(), may_send).await;
    let (takeover, started_bfd) = takeover.context("cannot store the state for the next process")?;
    let main_turns = started_bfd.as_ref().map_or_else(MainTurns::new, |started| started.turns.clone());
    takeover.store(&mut director, host_start);
    start_tx.send_modify(|start| start.not_continued = takeover.not_continued());
    let (rib, ribs) = watch::channel(director.rib());
    let (router_id, router_ids) = watch::channel(identity);
    let (configs_tx, configs) = watch::channel(config.clone());
    let (wanted_tx, wanted) = watch::channel(WantedDevices::new(&config, ribs.borrow().generation));
    let (held, vips_held) = watch::channel(Arc::new(addresses(&config)));
    let (vip_warnings, vip_warning) = watch::channel(Vec::new());
    let (finding_warnings, finding_warning) = watch::channel(Vec::new());
    let (findings_tx, host_findings) = watch::channel(HostFindings::default());
    let (network_tx, network) = watch::channel(Arc::new(Network::default()));
    let (routers_tx, routers) = watch::channel(Arc::new(LearntRouters::default()));
    let (discovery_warnings, discovery_warning) = watch::channel(Vec::new());
    let (peers_tx, peers) = watch::channel(Peers::default());
    let (stop, stopped) = watch::channel(None);
    let (tallies, tally) = watch::channel(Tally::new(&config));
    let (samples_tx, samples) = watch::channel(Samples::new(&config));
    let (page_errors, page_error) = watch::channel(Vec::new());
    let (file_warnings, file_warning) = watch::channel(Vec::new());
    let (bind_errors, bind_error) = watch::channel(Vec::new());
    // What was read from the copy is not stored again: the VIPs that it left out would come back.
    let stored = (options.fallback && fallback.is_none()).then_some(text);
    let (applied_tx, applied) = watch::channel(stored);
    let (fallback_tx, fallbacks) = watch::channel(fallback);
    let (delivery_warnings, delivery_warning) = watch::channel(Vec::new());
    let (level_requests, level_requests_heard) = log_io::requests();
    let (level_warnings, level_warning) = watch::channel(Vec::new());
    let (reloads_tx, reloaded) = watch::channel(Reloads::new(reload::unix_time(), digest));
    let (program_seen, program) = watch::channel(DiskProgram::Same);
    let (program_warnings, program_warning) = watch::channel(Vec::new());

    let daemon_files = DaemonFiles {
        state_dir: options.state_dir.clone(),
        socket: options.socket.clone(),
        config: options.config.clone(),
    };
    let programs = Programs::new(files.clone(), daemon_files, configs.clone());
    let mut probes = ProbeLoops::new(Prober::with_programs(files.clone(), programs.clone()), probes_tx);
    probes.apply(&config, &director);
    let (changes, changed) = mpsc::channel(16);
    let (runs_tx, runs) = watch::channel(HookRuns::default());
    let in_force = DrainsInForce { drains: drains.clone(), generation: ribs.borrow().generation };
    let (in_force_tx, in_force) = watch::channel(Arc::new(in_force));
    let hook_inputs = HookInputs {
        configs: configs.clone(),
        changes: changed,
        drains: in_force,
        peers: peers.clone(),
        continues,
    };
    // It is not started again: each run is a separate task, and after a restart the waiting runs would be lost.
    tokio::spawn(hook::io::run(hook_inputs, programs.clone(), runs_tx));
    let (numbers_tx, numbers) = watch::channel(VipNumbers { not_looked_for: 1, ..VipNumbers::default() });
    let turns = Turns::new(started);
    let directed = turns.last();
    let (batches, batched) = mpsc::channel(16);
    let (history_tx, history) = watch::channel(History::default());
    let (drain_events, drain_ends) = mpsc::channel(16);
    tokio::spawn(history::io::run(batched, drain_ends, peers.clone(), history_tx)); // after a restart the changes would be lost
    let (states_tx, vip_states) = watch::channel(Arc::default());
    let observers = ChangeObservers {
        tally: tallies,
        samples: samples_tx,
        hooks: changes,
        drains: in_force_tx,
        history: batches,
        states: states_tx,
        numbers: numbers_tx,
        turns,
        main_turns: main_turns.clone(),
    };
    let (enough_tx, enough_others) = watch::channel(Arc::default());
    // After a takeover the weights go on, whatever the files say at this moment.
    let (weights_tx, weights) = watch::channel(Arc::new(facts.weights(&config)));
    let (weight_warnings, weight_warning) = watch::channel(Vec::new());
    let of_weights = WeightChannels {
        configs: configs.clone(),
        files: files.clone(),
        weights: weights_tx,
        warnings: weight_warnings,
    };
    let _weights = OwnedTask::new("weights".into(), move || weight::io::run(of_weights.clone()));
    let inputs =
        DirectorInputs { asked, probed, listening, vips, drains: drain_facts_heard, enough_others, weights };
    let (stored, usable, checked) = (takeover.clone(), takeover.clone(), takeover.clone());
    let store = Box::new(move |director: &mut Director| stored.store(director, host_start));
    let mut directing = tokio::spawn(direct(director, probes, inputs, rib, watched_tx, observers, store));
    let _listeners = OwnedTask::new("listener watch".into(), move || {
        listener::run(watched.clone(), listeners_tx.clone(), watch_tx.clone())
    });

    let sessions_seen = peers.clone();
    let (keeper_stop, keeper_stopped) = watch::channel(false);
    let setup = vip::io::KeeperChannels {
        stop: keeper_stopped,
        wanted,
        acknowledged: Arc::new(move |generation| {
            let peers = sessions_seen.borrow().clone();
            Box::pin(async move { peers.acknowledged(generation).await })
        }),
        held,
        facts: vips_tx,
        warnings: vip_warnings,
        files: files.clone(),
        state_dir: options.state_dir.clone(),
    };
    let vips_task = OwnedTask::new("VIPs".into(), move || vip::io::keep(setup.clone()));
    let finding_channels = FindingChannels {
        configs: configs.clone(),
        findings: findings_tx,
        warnings: finding_warnings,
        files: files.clone(),
    };
    let _findings = OwnedTask::new("findings".into(), move || findings::watch(finding_channels.clone()));
    let owner = drain::io::Owner {
        folder: drain_dir,
        files: files.clone(),
        facts: drain_facts,
        state: drain_states,
        events: drain_events,
        clock: drain::io::clock,
    };
    let _drains = OwnedTask::new("drains".into(), move || owner.clone().run(drain_requests_heard.clone()));
    let (file, file_configs, door) = (options.config.clone(), configs.clone(), files.clone());
    let _file = OwnedTask::new("configuration file".into(), move || {
        config::io::watch_file(door.clone(), file.clone(), file_configs.clone(), file_warnings.clone())
    });
    let (store, store_dir) = (files.clone(), options.state_dir.clone());
    let _copy = OwnedTask::new("last good configuration".into(), move || {
        fallback::io::keep(store.clone(), store_dir.clone(), applied.clone())
    });
    let _program = start.borrow().installed.clone().map(|path| {
        let door = files.clone();
        OwnedTask::new("program file".into(), move || {
            program_file::watch(door.clone(), path.clone(), program_seen.clone(), program_warnings.clone())
        })
    });
    let _network = OwnedTask::new("network".into(), move || network::watch(network_tx.clone()));
    let discovering = DiscoveryChannels {
        configs: configs.clone(),
        network: network.clone(),
        routers: routers_tx,
        warnings: discovery_warnings,
    };
    let _discovery = OwnedTask::new("router discovery".into(), move || discovery::run(discovering.clone()));
    // After a takeover the sessions go on at once.
    let (joined_tx, joined) = watch::channel(continues || config.chain.is_none());
    let (chain_tx, chain_status) = watch::channel(Arc::new(ChainStatus::default()));
    let (chain_requests, chain_requests_heard) = chain_io::requests();
    let (guard, guard_requests) = chain_io::guard_requests();
    let (chain_stop, chain_stopped) = watch::channel(ChainStop::default());
    let of_chain = ChainChannels {
        configs: configs.clone(),
        network: network.clone(),
        vips: vip_states,
        stop: chain_stopped,
        requests: chain_requests_heard,
        questions: guard_requests,
        enough_others: enough_tx,
        status: chain_tx,
        joined: joined_tx,
        realtime: realtime.clone(),
        files: files.clone(),
        state_dir: options.state_dir.clone(),
    };
    let chain = OwnedTask::new("chain".into(), move || chain::keep(of_chain.clone()));
    let (bfd_tx, bfd_status) = watch::channel(Arc::new(BfdReport::default()));
    let (bfd_reports, bfd_report) = watch::channel(None);
    tokio::spawn(takeover.clone().store_bfd(bfd_report));
    let (bfd_stop, bfd_stopped) = watch::channel(false);
    let of_bfd = BfdChannels {
        configs: configs.clone(),
        vips: vips_held.clone(),
        routers: routers.clone(),
        peers: peers.clone(),
        stop: bfd_stopped,
        status: bfd_tx,
        started: Arc::new(Mutex::new(started_bfd)),
        realtime,
        turns: main_turns,
        report: bfd_reports,
    };
    let bfd = OwnedTask::new("BFD".into(), move || bfd::keep(of_bfd.clone()));
    let shared = SessionResources {
        configs: configs.clone(),
        router_ids: router_ids.clone(),
        vips: vips_held,
        network: network.clone(),
        routers,
        files: files.clone(),
        ribs: ribs.clone(),
        restarted: mark_running(&files, &options.state_dir).await,
        bfd: bfd_status.clone(),
        joined,
        stop: stopped,
        continuations: Continuations(Arc::new(move |peer| takeover.continuation(peer))),
    };
    let (session_turns_tx, session_turns) = watch::channel(SessionTurns::new());
    let sessions = OwnedTask::new("sessions".into(), move || {
        sessions::keep(shared.clone(), peers_tx.clone(), session_turns_tx.clone())
    });
    let follows = (configs.clone(), network, peers.clone());
    let _router_id = OwnedTask::new("router id".into(), move || {
        let (configs, network, peers) = follows.clone();
        router_id::follow(configs, network, peers, router_id.clone())
    });
    let delivering = DeliveryChannels {
        asks: asks.clone(),
        ribs: ribs.clone(),
        peers: peers.clone(),
        warnings: delivery_warnings,
    };
    let _delivery = OwnedTask::new("delivery".into(), move || delivery::watch(delivering.clone()));
    let context = control::ControlContext {
        configs: configs.clone(),
        router_id: router_ids.clone(),
        peers: peers.clone(),
        bfd: bfd_status.clone(),
        chain: chain_status.clone(),
        chain_requests,
        guard: guard.clone(),
        listener_watch,
        drains: drain_state,
        drain_requests,
        fallback: fallbacks.clone(),
        file_warning,
        warnings: vec![
            delivery_warning,
            discovery_warning,
            bind_error,
            page_error,
            vip_warning,
            finding_warning,
            weight_warning,
            level_warning,
            program_warning,
        ],
        level_requests,
        asks: asks.clone(),
        reloads: reload.clone(),
        upgrades: upgrades.clone(),
        start: start.clone(),
        descriptors: descriptors.clone(),
        state_usable: control::StateUsable(Arc::new(move || checked.check().is_ok())),
        history,
        files: files.clone(),
        programs: programs.clone(),
        trimmer: trimmer.clone(),
        log: log.buffer.clone(),
        started,
    };
    let figures = metrics::io::MetricsContext {
        control: context.clone(),
        reloads: reloaded,
        hooks: runs.clone(),
        tally,
        program,
        findings: host_findings,
        bind_error: bind_errors,
    };
    let paged = PageContext { control: context.clone(), samples, bind_error: page_errors };
    let (answering_tx, answering) = watch::channel(false);
    let _control = OwnedTask::new("control socket".into(), move || {
        answering_tx.send_replace(true); // and it accepts in the same step
        control::serve(socket.clone(), context.clone())
    });
    let _metrics = OwnedTask::new("metrics".into(), move || metrics::io::serve(figures.clone()));
    let _page = OwnedTask::new("status page".into(), move || page::io::serve(paged.clone()));

    let (log_options, filter, log_configs) = (log.filter.instead_of(), log.filter, configs.clone());
    let _log_level = OwnedTask::new("log level".into(), move || {
        filter.clone().run(level_requests_heard.clone(), level_warnings.clone(), log_configs.clone())
    });
    let of_memory = trimmer.clone();
    let _memory = OwnedTask::new("memory".into(), move || memory::io::run(of_memory.clone()));
    trimmer.soon(); // after the configuration was read
    let reloader = Reloader {
        files: files.clone(),
        trimmer,
        counts: reloads_tx,
        file: options.config.clone(),
        configs: configs_tx,
        wanted: wanted_tx,
        asks: asks.clone(),
        guard: guard.clone(),
        identity: router_ids,
        peers: peers.clone(),
        ribs,
        notifier: notifier.clone(),
        applied: applied_tx,
        stores: options.fallback,
        fallback: fallback_tx,
        log_options,
    };
    let detected = bfd_status.clone();
    let upgrader = Upgrader {
        files: files.clone(),
        programs,
        hooks: runs,
        asked: Programs::unconfined(files.clone()),
        descriptors: descriptors.clone(),
        last_state: Box::new(move || usable.check()),
        configs: configs.clone(),
        guard,
        detection: Box::new(move || detected.borrow().shortest_remote_detection()),
        config: options.config,
        state_dir: options.state_dir.clone(),
        fallback: fallbacks.clone(),
        start,
        log: log.buffer,
    };
    let supervised = Supervised {
        answering,
        numbers,
        peers: peers.clone(),
        fallback: fallbacks,
        directed,
        sessions: session_turns,
    };
    let mut supervisor = Supervisor::new(notifier.clone(), supervised);
    let turned = asks.clone();
    tokio::spawn(async move {
        // An answer of the director shows that the loops turn.
        if director::ask::ask(&turned, Ask::Report).await.is_some() {
            may_send_tx.send_replace(true);
        }
    });
    // A reload is one of these futures, so that signals are handled while it waits for a file.
    let mut reloading = pin!(reloader.serve(reloads));
    let mut upgrading = pin!(upgrader.serve(upgrades_heard));
    if let Some(left) = left {
        let gap = uptime().saturating_sub(left);
        start_tx.send_modify(|start| start.gap = Some(gap));
        info!(gap_ms = gap.as_millis(), "program was replaced, the process is the same");
    }
    let name = loop {
        tokio::select! {
            name = signals.next() => match name {
                // If requests are already waiting, the last of them reads the file later than now.
                "SIGHUP" => drop(reload.try_send(Reload { mode: ReloadMode::Careful, reply: None })),
                "SIGUSR1" => {
                    info!("SIGUSR1 requested a probe of every check, probing now");
                    let _ = asks.try_send(Ask::Recheck(None)); // if the queue is full, the probes run soon anyway
                }
                "SIGUSR2" => {
                    info!("SIGUSR2 requested an upgrade; the program that runs is not kept for a rollback, only `announcer upgrade` does that");
                    let request = UpgradeRequest { successor: Successor::Installed, force: false, reply: None };
                    let _ = upgrades.try_send(request); // if requests are already waiting, the program is replaced anyway
                }
                "SIGALRM" => info!(signal = "SIGALRM", "signal has no meaning, ignored"),
                name => break name,
            },
            late = supervisor.wait() => {
                supervisor.turn(late);
                descriptors.send_again();
            }
            () = &mut reloading => {} // never happens: a sender is kept here
            () = &mut upgrading => {} // never happens: a sender is kept here
            ended = &mut directing => anyhow::bail!("the director ended: {ended:?}"),
        }
    };
    let stop = Stop {
        asks,
        configs,
        peers,
        chain_status,
        sessions: StoppableTask { task: sessions, stop },
        chain: StoppableTask { task: chain, stop: chain_stop },
        bfd: StoppableTask { task: bfd, stop: bfd_stop },
        vips: StoppableTask { task: vips_task, stop: keeper_stop },
        files,
        state_dir: options.state_dir,
        descriptors,
        notifier,
    };
    stop.run(name, &mut signals, &mut supervisor).await;
    Ok(())
}

/// The file that exists while a daemon runs. If it exists at a start, the previous daemon ended without a withdraw.
const RUNNING: &str = "running";

/// The file that the starter makes before it runs a program (packaging/start.in). If it exists at the next start, the program has
/// crashed.
pub(crate) const UNFINISHED: &str = "unfinished";

/// Whether the previous daemon ended without a withdraw (RFC 4724 §3, the R bit). It also makes the file for this daemon.
async fn mark_running(files: &Files, state_dir: &Path) -> bool {
    let marked = files.run(state_dir, |folder| {
        let before = files::exists(&folder.join(RUNNING));
        files::replace(folder, RUNNING, "").map(|()| before)
    });
    marked.await.unwrap_or_else(|error| {
        warn!(folder = %state_dir.display(), %error, "the next start will not notice a crash");
        false
    })
}

/// Every VIP that a configuration names.
fn addresses(config: &Config) -> BTreeSet<IpAddr> {
    config.vips().map(|(vip, _)| vip).collect()
}
