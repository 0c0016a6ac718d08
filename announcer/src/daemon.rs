//! Wiring alone: every channel and every task is made here.
//!
//! ```text
//! task              hears                                   says
//! probe, one a      watch<Pace>                             mpsc<Probed>          -> director
//!   VIP and check
//! listeners         netlink, watch<Wanted>                  mpsc<Listening>       -> director
//!                                                           watch<Report>         -> control
//! vips              netlink, watch<VIPs>                    mpsc<(VIP, Presence)> -> director
//! drains            inotify                                 mpsc<Drains>          -> director
//! director          the four above, mpsc<Ask>               watch<LocRib>         -> sessions
//!                                                           watch<Wanted>         -> listeners
//!                                                           watch<Pace>           -> probes
//!                                                           watch<Queue>          -> hook
//! links             netlink                                 watch<Cut>            -> sessions
//! session, one a    watch<LocRib>, watch<Liveness>,         watch<Status>         -> control, stop
//!   peer              watch<Order>, watch<VIPs>, watch<Cut>
//! sessions          watch<Config>, watch<stop>              watch<Order>          -> session
//!                                                           watch<Peers>          -> control, stop
//! control           unix socket                             mpsc<Ask>             -> director
//!                                                           mpsc<Reload>          -> run
//! hook              watch<Queue>, watch<Config>             watch<Queue>          -> metrics
//! metrics           TCP, watch<Config>, watch<Status>       mpsc<Ask>             -> director
//! run (main)        signals, mpsc<Reload>                   watch<Config>, watch<VIPs>, Ask::Reload, Ask::Recheck,
//!                                                           Ask::Stop, stop
//! ```
//!
//! A task that panics is logged and started again after a second: it costs one VIP or one session. Only the director
//! cannot be done without; the daemon ends with it, and the service manager starts the next.

mod direct;
mod limits;
mod reload;
mod sessions;
mod tasks;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use self::direct::{Counts, Hears, Probes, direct};
use self::reload::Reloader;
use self::sessions::Shared;
use self::tasks::Kept;
use crate::bgp::io::peers::Peers;
use crate::bgp::io::{links, path};
use crate::config::{self, Config, PeerAddress};
use crate::control::io::{self as control, Ask, Socket};
use crate::director::Director;
use crate::drain;
use crate::health::io::listener;
use crate::health::io::prober::Prober;
use crate::health::io::trust::{self, Finding};
use crate::hook::{self, Queue};
use crate::metrics::{self, Reloads, Tally};
use crate::model::RouterId;
use crate::rib::LocRib;
use crate::vip;

/// How long a stop waits for the routers' acknowledgement of the withdraw.
const ACKNOWLEDGE: Duration = Duration::from_secs(2);
/// Between two looks for a route.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration's file.
    pub config: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Where drains are kept.
    pub state_dir: PathBuf,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("error: cannot read the configuration `{0}`: {1}")]
    Unreadable(String, io::Error),
    /// It says something that is wrong.
    #[error("{0}")]
    Wrong(#[from] config::Errors),
}

/// A configuration's text, and what it is called.
#[derive(Debug)]
pub struct Text {
    name: String,
    text: String,
}

impl Text {
    /// Reads a configuration; `-` is standard input.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let name = if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() };
        let text = if path == Path::new("-") {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            std::fs::read_to_string(path)
        };
        let text = text.map_err(|e| ReadError::Unreadable(name.clone(), e))?;
        Ok(Text { name, text })
    }

    /// What it says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(&self) -> Result<Config, config::Errors> {
        config::parse(&self.name, &self.text)
    }

    /// What it says, where the files that it cannot do without are as they should be; `counts` says which findings count.
    ///
    /// # Errors
    /// Everything that is wrong with it or with them.
    pub fn parse_looking(&self, counts: impl Fn(&Finding) -> bool) -> Result<Config, config::Errors> {
        let look = |file: &Path| match trust::check(file) {
            Err(finding) if counts(&finding) => Err(finding.to_string()),
            Ok(()) | Err(_) => Ok(()),
        };
        config::parse_looking(&self.name, &self.text, look)
    }
}

/// Runs until a signal ends it.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub fn run(options: Options, config: Config) -> anyhow::Result<()> {
    limits::keep_capabilities(); // before there is another thread, which would have its own
    limits::raise_files(&config);
    // One thread: probes, sessions and decisions together need a few percent of a core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(options, Arc::new(config)));
    runtime.shutdown_background(); // a file system that hangs keeps nobody from ending
    ended
}

async fn serve(options: Options, config: Arc<Config>) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut signals = Signals::new()?;
    let socket = Arc::new(Socket::bind(&options.socket)?);
    let drain_dir = drain::io::directory(&options.state_dir);
    let drains = drain::io::read(&drain_dir)
        .with_context(|| format!("cannot read the drains in `{}`", drain_dir.display()))?;
    info!(version = env!("CARGO_PKG_VERSION"), config = %options.config.display(), "announcer started");

    let (asks, asked) = mpsc::channel(16);
    let (reload, mut reloads) = mpsc::channel(4);
    let (probes_told, probed) = mpsc::channel(1024);
    let (listeners_told, listening) = mpsc::channel(1024);
    let (watched_told, watched) = watch::channel(Arc::default());
    let (watch_told, listener_watch) = watch::channel(listener::Report::default());
    let (vips_told, vips) = mpsc::channel(64);
    let (drains_told, drained) = mpsc::channel(4);
    let (rib, ribs) = watch::channel(Arc::new(LocRib::default()));
    let (router_id, router_ids) = watch::channel(config.bgp.router_id);
    let (configs_told, configs) = watch::channel(config.clone());
    let (wanted_told, wanted) = watch::channel(Arc::new(addresses(&config)));
    let (cut_told, cut) = watch::channel(links::Cut::default());
    let (peers_told, peers) = watch::channel(Peers::default());
    let (stop, stopped) = watch::channel(None);

    let director = Director::new(config.clone(), drains, started);
    let mut probes = Probes::new(Prober::new(), probes_told);
    probes.apply(&config, &director);
    let hooks = watch::Sender::new(Queue::default());
    let counts = Counts { tally: Tally::new(&config), hooks: hooks.clone() };
    let hears = Hears { asked, probed, listening, vips, drained };
    let mut directing = tokio::spawn(direct(director, probes, hears, rib, watched_told, counts));
    let _listeners = Kept::new("listener watch".into(), move || {
        listener::run(watched.clone(), listeners_told.clone(), watch_told.clone())
    });

    let keep = vip::io::Wanted {
        vips: wanted.clone(),
        settle: config.bgp.settle,
        state_dir: options.state_dir.clone(),
    };
    let _vips = Kept::new("VIPs".into(), move || vip::io::keep(keep.clone(), vips_told.clone()));
    let dir = drain_dir.clone();
    let _drains = Kept::new("drain files".into(), move || drain::io::watch(dir.clone(), drains_told.clone()));
    let _links = Kept::new("links".into(), move || links::watch(cut_told.clone()));
    let shared = Shared {
        configs: configs.clone(),
        router_ids: router_ids.clone(),
        vips: wanted,
        cut,
        ribs,
        restarted: mark_running(&options.state_dir),
        stop: stopped,
    };
    let mut sessions =
        Kept::new("sessions".into(), move || sessions::keep(shared.clone(), peers_told.clone()));
    let named = config.clone();
    let _router_id = Kept::new("router id".into(), move || find_router_id(named.clone(), router_id.clone()));
    let (deaf_told, deaf) = watch::channel(None);
    let (reloads_told, reloaded) = watch::channel(Reloads::new(reload::unix_time()));
    let hook_configs = configs.clone();
    let context = control::Context {
        deaf,
        configs,
        config_file: options.config.clone(),
        router_id: router_ids,
        peers: peers.clone(),
        listener_watch,
        drain_dir,
        asks: asks.clone(),
        reloads: reload,
        started,
    };
    let figures = metrics::io::Context {
        control: context.clone(),
        reloads: reloaded,
        hooks: hooks.subscribe(),
        deaf: deaf_told,
    };
    let _control =
        Kept::new("control socket".into(), move || control::serve(socket.clone(), context.clone()));
    let _metrics = Kept::new("metrics".into(), move || metrics::io::serve(figures.clone()));
    let _hook = Kept::new("hook".into(), move || hook::io::run(hook_configs.clone(), hooks.clone()));

    let mut reloader = Reloader {
        counts: reloads_told,
        file: options.config,
        configs: configs_told,
        wanted: wanted_told,
        peers: peers.clone(),
        asks: asks.clone(),
    };
    let name = loop {
        tokio::select! {
            name = signals.next() => match name {
                "SIGHUP" => reloader.by_signal().await,
                "SIGUSR1" => {
                    info!("every check was asked for by SIGUSR1, probing now");
                    let _ = asks.send(Ask::Recheck(None)).await; // the director's end ends us
                }
                name => break name,
            },
            Some(reload) = reloads.recv() => reloader.by_request(reload).await,
            ended = &mut directing => anyhow::bail!("the director ended: {ended:?}"),
        }
    };
    info!(signal = name, "stop was asked for, withdrawing");
    let (settle, told) = (reloader.config().bgp.settle, peers.borrow().clone());
    tokio::select! {
        () = withdraw(&asks, &told, settle) => {}
        () = signals.second() => warn!("second signal, not waiting for the routers"),
    }
    stop.send_replace(Some(format!("announcer was stopped by {name}")));
    sessions.ended().await;
    // An end that the routers were told of is no restart.
    let _ = std::fs::remove_file(options.state_dir.join(RUNNING));
    info!("announcer ended");
    Ok(())
}

/// The file that is there while a daemon runs, so that the next one knows of an end without a goodbye.
const RUNNING: &str = "running";

/// Whether the daemon before this one ended without a goodbye (RFC 4724 §3, the R bit); from now on this one runs.
fn mark_running(state_dir: &Path) -> bool {
    let file = state_dir.join(RUNNING);
    let before = file.exists();
    if let Err(error) = std::fs::write(&file, "") {
        warn!(file = %file.display(), %error, "the next start will not know of a crash");
    }
    before
}

/// Every VIP that a configuration names.
fn addresses(config: &Config) -> BTreeSet<IpAddr> {
    config.vips().map(|(vip, _)| vip).collect()
}

/// Withdraws everything and gives the routers the time to follow.
async fn withdraw(asks: &mpsc::Sender<Ask>, peers: &Peers, settle: Duration) {
    let announcing = peers.announcing();
    let (reply, generation) = oneshot::channel();
    if asks.send(Ask::Stop(reply)).await.is_err() {
        return;
    }
    let Ok(generation) = generation.await else { return };
    if timeout(ACKNOWLEDGE, peers.told(generation)).await.is_err() {
        warn!(peers = peers.untold(generation).join(", "), "withdraw was not acknowledged in time");
    }
    if announcing {
        sleep(settle).await;
    }
}

/// The default BGP identifier: the IPv4 source address towards the first IPv4 peer, as soon as there is a route.
async fn find_router_id(config: Arc<Config>, found: watch::Sender<Option<RouterId>>) {
    let address = |peer: &config::Peer| match peer.address {
        PeerAddress::Ip(ip @ IpAddr::V4(_)) => Some((peer.name.clone(), ip)),
        // Any address beyond the gateway: documentation's own will do (RFC 5737).
        PeerAddress::DefaultGateway => Some((peer.name.clone(), IpAddr::from([192, 0, 2, 0]))),
        PeerAddress::Ip(IpAddr::V6(_)) => None,
    };
    let Some((name, towards)) = config.peers.iter().find_map(address) else { return };
    let mut waiting = false;
    while found.borrow().is_none() {
        match path::source_towards(towards).await {
            Ok(IpAddr::V4(source))
                if config.vips().all(|(vip, _)| vip != IpAddr::V4(source))
                    && let Ok(id) = RouterId::try_from(source) =>
            {
                info!(router_id = %id, "router id was chosen");
                found.send_replace(Some(id));
                return;
            }
            Ok(_) => {}
            Err(e) if !waiting => {
                warn!(peer = %name, error = %e, "router id waits for a route towards the first IPv4 peer");
                waiting = true;
            }
            Err(_) => {}
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// The signals that the daemon answers to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    recheck: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            recheck: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hang_up.recv() => "SIGHUP",
            _ = self.recheck.recv() => "SIGUSR1",
        }
    }

    /// A second signal to end.
    async fn second(&mut self) {
        while matches!(self.next().await, "SIGHUP" | "SIGUSR1") {}
    }
}
