//! The daemon: the map of its tasks and channels, and its run. `io::wiring` makes the tasks, one group after the other.
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
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use self::io::limits;
use self::io::main_loop::{self, RequestSenders};
use self::io::start::{self, TakenOver};
use self::io::stop::Stop;
pub use self::io::takeover::Found;
use self::io::wiring::{self, DirectorStart, GroupHandles, RouterInputs};
use crate::config::{Config, ConfigDigest};
use crate::fallback::Fallback;
use crate::log::io::Log;
use crate::takeover::io::exec::block_signals;

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
    let (left, realtime, continues) = (found.left, found.realtime.clone(), found.continues());
    let (signals, process) = start::begin(&found, log)?;
    let (socket, folder) = start::open(&process.files, &options).await?;
    start::log_start(&options, &process.report.borrow(), fallback.as_ref());
    let TakenOver { mut director, store, weights, identity, takeover, bfd, main_turns, may_send } =
        start::take_over(found, &config, &folder.drains, &process).await?;

    let (requests, reloads_heard, upgrades_heard) = RequestSenders::new();
    let (shared, owners) = wiring::shared(&options, &process, &config, director.rib());
    let generation = shared.ribs.borrow().generation;
    // What was read from the copy is not stored again: the VIPs that it left out would come back.
    let stored = (options.fallback && fallback.is_none()).then_some(text);
    let (reload_senders, reloads) = wiring::reloads(&config, stored, fallback, digest, generation);
    let start = DirectorStart {
        director,
        store,
        weights,
        drains: folder.drains.clone(),
        continues,
        started: process.started,
        main_turns: main_turns.clone(),
    };
    let (director, facts) = wiring::director(&shared, start, owners.asked, owners.rib);
    let vips = wiring::vips(&shared, reloads.wanted.clone(), facts.vips);
    let findings = wiring::findings(&shared);
    let drains = wiring::drains(&shared, folder, facts.drains, facts.drain_events);
    let installed = process.report.borrow().installed.clone();
    let disk = wiring::disk(&shared, options.config.clone(), reloads.applied.clone(), installed);
    let network = wiring::network(&shared);
    let states = director.states.clone();
    let chain = wiring::chain(&shared, &network, states, facts.enough_others, realtime.clone(), continues);
    let inputs = RouterInputs {
        shared: shared.clone(),
        network: network.network.clone(),
        routers: network.routers.clone(),
        held: vips.held.clone(),
        takeover: takeover.clone(),
    };
    let bfd = wiring::bfd(&inputs, bfd, realtime, main_turns);
    let restarted = start::mark_running(&shared.files, &options.state_dir).await;
    let (bfd_status, joined) = (bfd.status.clone(), chain.joined.clone());
    let sessions = wiring::sessions(&inputs, identity, restarted, bfd_status, joined, owners.peers);
    let groups = GroupHandles { director, vips, findings, drains, disk, network, chain, bfd, sessions };
    let control = wiring::control(&shared, &groups, &process, socket, &requests, &reloads, takeover.clone());
    process.trimmer.soon(); // after the configuration was read

    let reloader = wiring::reloader(&shared, &groups, &process, &options, owners.configs, reload_senders);
    let upgrader = wiring::upgrader(&shared, &groups, &process, &options, &reloads, takeover);
    let supervisor = wiring::supervisor(&shared, &groups, &process, &reloads, control.answering.clone());
    start::send_when_director_answers(shared.asks.clone(), may_send);
    start::report_gap(left, &process.report);
    let stop = Stop {
        asks: shared.asks,
        configs: shared.configs,
        peers: shared.peers,
        chain_status: groups.chain.status,
        sessions: groups.sessions.task,
        chain: groups.chain.task,
        bfd: groups.bfd.task,
        vips: groups.vips.task,
        files: shared.files,
        state_dir: options.state_dir,
        descriptors: process.descriptors,
        notifier: process.notifier,
    };
    let reloading = reloader.serve(reloads_heard);
    let upgrading = upgrader.serve(upgrades_heard);
    main_loop::run(signals, supervisor, groups.director.task, requests, reloading, upgrading, stop).await
}

/// The file that exists while a daemon runs. If it exists at a start, the previous daemon ended without a withdraw.
const RUNNING: &str = "running";

/// The file that the starter makes before it runs a program (packaging/start.in). If it exists at the next start, the program has
/// crashed.
pub(crate) const UNFINISHED: &str = "unfinished";

/// Every VIP that a configuration names.
fn addresses(config: &Config) -> BTreeSet<IpAddr> {
    config.vips().map(|(vip, _)| vip).collect()
}
