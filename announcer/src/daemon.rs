//! Wiring alone: every channel and every task is made here.
//!
//! ```text
//! task              hears                                   says
//! probe, one a      watch<Pace>                             mpsc<Probed>          -> director
//!   VIP and check
//! vips              netlink                                 mpsc<(VIP, Presence)> -> director
//! drains            inotify                                 mpsc<Drains>          -> director
//! director          the three above, mpsc<Ask>              watch<LocRib>         -> sessions
//!                                                           watch<Pace>           -> probes
//! session, one a    watch<LocRib>, watch<Liveness>,         watch<Status>         -> control, stop
//!   peer              watch<Order>
//! control           unix socket                             mpsc<Ask>             -> director
//! run (main)        signals                                 Ask::Stop, then watch<Order>
//! ```
//!
//! A task that panics is logged and started again after a second: it costs one VIP or one session. Only the director
//! cannot be done without; the daemon ends with it, and the service manager starts the next.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::bgp::io::path;
use crate::bgp::io::peers::Peers;
use crate::bgp::io::session::{self, Local, Order, Status};
use crate::config::{self, Config, PeerAddress};
use crate::control::io::{self as control, Ask, Socket};
use crate::director::{Director, Fact, Presence, Standing};
use crate::drain::{self, Drains};
use crate::health::io::probe;
use crate::health::{Pace, Probed, Target};
use crate::model::{Liveness, RouterId};
use crate::rib::LocRib;
use crate::vip;

/// How long a stop waits for the routers' acknowledgement of the withdraw.
const ACKNOWLEDGE: Duration = Duration::from_secs(2);
/// How long a stop waits for the sessions to close.
const HANG_UP: Duration = Duration::from_secs(2);
/// Before a task that panicked is started again.
const RESTART: Duration = Duration::from_secs(1);

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

/// Reads and checks a configuration; `-` is standard input.
///
/// # Errors
/// When it cannot be read, or everything that is wrong with it.
pub fn read_config(path: &Path) -> Result<Config, ReadError> {
    let name = if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() };
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|e| ReadError::Unreadable(name.clone(), e))?;
    Ok(config::parse(&name, &text)?)
}

/// Runs until a signal ends it.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub fn run(options: Options, config: Config) -> anyhow::Result<()> {
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
    let (probed, probes) = mpsc::channel(1024);
    let (vips_told, vips) = mpsc::channel(64);
    let (drains_told, drained) = mpsc::channel(4);
    let (rib, ribs) = watch::channel(Arc::new(LocRib::default()));
    let (router_id, router_ids) = watch::channel(config.bgp.router_id);
    let (order, orders) = watch::channel(Order::Run);

    let mut tasks = Tasks::default();
    let mut paces = HashMap::new();
    for (vip, service) in config.vips() {
        for (index, check) in service.checks.iter().enumerate() {
            let (pace, paced) = watch::channel(Pace { interval: check.interval, kick: 0 });
            paces.insert((vip, index), pace);
            let target = Target { service: service.name.clone(), vip, check: index, config: check.clone() };
            let probed = probed.clone();
            tasks.keep(format!("probe of {vip}"), move || {
                probe::run(target.clone(), paced.clone(), probed.clone())
            });
        }
    }
    let director = Director::new(config.clone(), drains, started);
    let mut directing = tokio::spawn(direct(director, Hears { asked, probes, vips, drained }, rib, paces));

    let addresses: BTreeSet<IpAddr> = config.vips().map(|(vip, _)| vip).collect();
    let addresses = Arc::new(addresses);
    let (_vip_set, vip_set) = watch::channel(addresses.clone());
    let wanted = vip::io::Wanted {
        vips: addresses.clone(),
        settle: config.bgp.settle,
        state_dir: options.state_dir.clone(),
    };
    tasks.keep("VIPs".into(), move || vip::io::keep(wanted.clone(), vips_told.clone()));
    let dir = drain_dir.clone();
    tasks.keep("drain files".into(), move || drain::io::watch(dir.clone(), drains_told.clone()));

    let restarted = mark_running(&options.state_dir);
    let (mut peers, mut sessions) = (Vec::new(), Vec::new());
    for peer in &config.peers {
        let (status, seen) = watch::channel(Status::new());
        peers.push((peer.clone(), seen));
        let (ribs, orders, router_ids) = (ribs.clone(), orders.clone(), router_ids.clone());
        let (_, peer) = watch::channel(Arc::new(peer.clone()));
        let (bgp, vips) = (config.bgp.clone(), vip_set.clone());
        let one = move || {
            let (peer, ribs, orders, status) = (peer.clone(), ribs.clone(), orders.clone(), status.clone());
            let (mut router_ids, vips) = (router_ids.clone(), vips.clone());
            let (asn, graceful_restart) = (bgp.asn, bgp.graceful_restart);
            async move {
                let Ok(Some(router_id)) = router_ids.wait_for(Option::is_some).await.map(|id| *id) else {
                    return;
                };
                let (_alive, liveness) = watch::channel(Liveness::Up); // until something detects failures
                let local = Local { asn, router_id, graceful_restart, restarted, vips };
                session::run(local, peer, ribs, liveness, orders, status).await;
            }
        };
        sessions.push(tasks.keep(format!("session with {}", peers[peers.len() - 1].0.name), one));
    }
    let peers = Peers::new(peers);
    if config.bgp.router_id.is_none() {
        let (config, vips) = (config.clone(), addresses.clone());
        tasks.keep("router id".into(), move || {
            find_router_id(config.clone(), vips.clone(), router_id.clone())
        });
    }
    let context = control::Context {
        config: config.clone(),
        router_id: router_ids,
        peers: peers.clone(),
        drain_dir,
        asks: asks.clone(),
        started,
    };
    tasks.keep("control socket".into(), move || control::serve(socket.clone(), context.clone()));

    let name = tokio::select! {
        name = signals.next() => name,
        ended = &mut directing => anyhow::bail!("the director ended: {ended:?}"),
    };
    info!(signal = name, "stop was asked for, withdrawing");
    tokio::select! {
        () = withdraw(&asks, &peers, config.bgp.settle) => {}
        _ = signals.next() => warn!("second signal, not waiting for the routers"),
    }
    order.send_replace(Order::Shutdown { text: format!("announcer was stopped by {name}") });
    let hung_up = async {
        for session in sessions {
            let _ = session.await; // a session that ended badly has ended too
        }
    };
    if timeout(HANG_UP, hung_up).await.is_err() {
        warn!("a peer did not close its session in time");
    }
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

/// What the director's task hears.
struct Hears {
    asked: mpsc::Receiver<Ask>,
    probes: mpsc::Receiver<Probed>,
    vips: mpsc::Receiver<(IpAddr, Presence)>,
    drained: mpsc::Receiver<Drains>,
}

/// Feeds the director every fact and publishes what it decides. Facts that wait together are decided together.
async fn direct(
    mut director: Director,
    mut hears: Hears,
    rib: watch::Sender<Arc<LocRib>>,
    paces: HashMap<(IpAddr, usize), watch::Sender<Pace>>,
) {
    let mut probes = Vec::new();
    loop {
        let (mut facts, mut ask) = (Vec::new(), None);
        tokio::select! {
            biased;
            Some(asked) = hears.asked.recv() => match asked {
                Ask::Drains(drains, reply) => { facts.push(Fact::Drains(drains)); ask = Some(reply); }
                Ask::Stop(reply) => { facts.push(Fact::Stop); ask = Some(reply); }
                Ask::Report(reply) => { let _ = reply.send(director.report()); } // who asked may be gone
            },
            Some(drains) = hears.drained.recv() => facts.push(Fact::Drains(drains)),
            Some((vip, presence)) = hears.vips.recv() => facts.push(Fact::Vip(vip, presence)),
            _ = hears.probes.recv_many(&mut probes, 1024) => {}
        }
        let probed: Vec<(IpAddr, usize)> = probes.iter().map(|probed| (probed.vip, probed.check)).collect();
        facts.extend(probes.drain(..).map(Fact::Probed));
        let now = Instant::now();
        for change in facts.into_iter().flat_map(|fact| director.handle(fact, now)) {
            let (service, vip) = (change.service.as_str(), change.vip);
            match &change.standing {
                Standing::Announced => info!(service, %vip, "VIP was announced"),
                Standing::Draining(_) => info!(service, %vip, reason = %change.standing, "VIP was drained"),
                Standing::Withheld(_) => info!(service, %vip, reason = %change.standing, "VIP was withheld"),
            }
        }
        let decided = director.rib();
        let generation = decided.generation;
        rib.send_if_modified(|told| {
            let news = told.generation != generation;
            *told = decided;
            news
        });
        if let Some(reply) = ask {
            let _ = reply.send(generation); // who asked may be gone
        }
        for key in probed {
            if let (Some(told), Some(pace)) = (paces.get(&key), director.pace(key.0, key.1)) {
                told.send_if_modified(|told| std::mem::replace(told, pace) != pace);
            }
        }
    }
}

/// The default BGP identifier: the IPv4 source address towards the first IPv4 peer, as soon as there is a route.
async fn find_router_id(
    config: Arc<Config>,
    vips: Arc<BTreeSet<IpAddr>>,
    found: watch::Sender<Option<RouterId>>,
) {
    let address = |peer: &config::Peer| match peer.address {
        PeerAddress::Ip(ip @ IpAddr::V4(_)) => Some((peer.name.clone(), ip)),
        // Any address beyond the gateway: documentation's own will do (RFC 5737).
        PeerAddress::DefaultGateway => Some((peer.name.clone(), IpAddr::from([192, 0, 2, 0]))),
        PeerAddress::Ip(IpAddr::V6(_)) => None,
    };
    let Some((name, towards)) = config.peers.iter().find_map(address) else { return };
    let mut waiting = false;
    loop {
        match path::source_towards(towards).await {
            Ok(IpAddr::V4(source))
                if !vips.contains(&IpAddr::V4(source))
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
        sleep(RESTART).await;
    }
}

/// The tasks of the daemon; they end with it.
#[derive(Default)]
struct Tasks(Vec<Kept>);

/// Ends its task when it is dropped.
struct Kept(tokio::task::AbortHandle);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tasks {
    /// Runs a task, and runs it anew when it panics.
    fn keep<F>(&mut self, name: String, mut task: impl FnMut() -> F + Send + 'static) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let keeper = tokio::spawn(async move {
            loop {
                let running = tokio::spawn(task());
                let _ends_with_us = Kept(running.abort_handle());
                match running.await {
                    Err(e) if e.is_panic() => {
                        error!(task = name, "task panicked, starts again in a second");
                        sleep(RESTART).await;
                    }
                    Ok(()) | Err(_) => return,
                }
            }
        });
        self.0.push(Kept(keeper.abort_handle()));
        keeper
    }
}

/// The signals that end the daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
