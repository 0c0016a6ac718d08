//! The control API's server: HTTP/1.1 on the control socket, one request a connection.
//!
//! Touches the unix socket and the clock. [`http`](super::http) reads a request, and
//! [`request`](super::request) decides what it means. The data of an answer comes
//! from the tasks that own it.

mod answers;
mod chain;
pub mod client;
mod connection;
mod drains;
mod events;
pub(crate) mod serving;
mod socket;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::debug;

use self::answers::explained_peer;
use self::connection::serve_one;
use self::drains::{DrainFailure, Waits};
use self::serving::make_room;
use self::socket::user_name;
use super::api::{ApiError, ChangeList, ErrorCode, Request, Response};
use super::orders::{self, DrainOrder, OrderFacts, UndrainOrder, WaitList};
use super::request::{Command, Job, Query, ReloadMode, job};
use crate::bfd::status::BfdReport;
use crate::bgp::io::peers::Peers;
use crate::bgp::router_id::Identity;
use crate::chain::io::{ChainRequest, GuardRequest};
use crate::chain::status::ChainStatus;
use crate::config::Config;
use crate::director::ask::{Ask, ask};
use crate::drain::{self, Operator};
use crate::fallback::Fallback;
use crate::files::io::Files;
use crate::health::io::listener;
use crate::history::History;
use crate::log::io::{LevelRequest, LogBuffer};
use crate::memory::io::Trimmer;
use crate::program::io::Programs;
use crate::takeover::StartReport;
use crate::takeover::io::descriptors::Descriptors;
use crate::takeover::successor::Successor;

pub(crate) use self::answers::{explained, status, warnings_beside};
pub(crate) use self::chain::chain_of_page;
pub use self::socket::{BindError, Socket};

/// How many clients may follow the events at the same time; others are refused.
const STREAMS: usize = 16;
/// How many requests that are answered at once, such as `status`, run at the same time; others wait.
const QUICK: usize = 32;
/// How many requests that wait for routers or files, such as `drain --wait`, run at the same time; others are refused.
const SLOW: usize = 64;
/// How many clients may read their answer slowly at the same time; others are disconnected.
const SLOW_READERS: usize = 16;
/// How long a client may take to read its answer, and a request to be answered at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request from the server to the daemon: read the configuration again.
#[derive(Debug)]
pub struct Reload {
    /// Whether it is made, and under which condition.
    pub mode: ReloadMode,
    /// The channel for the response; `None`: no client waits for it.
    pub reply: Option<oneshot::Sender<Response>>,
}

/// A request from the server to the daemon: replace the running program. If that succeeds, there is no response: the connections of
/// clients end with the program.
#[derive(Debug)]
pub struct UpgradeRequest {
    /// By which file.
    pub successor: Successor,
    /// Also if a router may take the pause for a failure.
    pub force: bool,
    /// The channel for the response; `None`: no client waits for it.
    pub reply: Option<oneshot::Sender<Response>>,
}

/// Asks whether every write to the state for the next process has succeeded.
#[derive(Clone)]
pub struct StateUsable(pub Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for StateUsable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateUsable({})", (self.0)())
    }
}

/// The data for the server's answers.
#[derive(Debug, Clone)]
pub struct ControlContext {
    /// The configuration that runs.
    pub configs: watch::Receiver<Arc<Config>>,
    /// Our BGP identifier, once it is known.
    pub router_id: watch::Receiver<Identity>,
    /// The sessions, in the order of the configuration.
    pub peers: watch::Receiver<Peers>,
    /// BFD with them.
    pub bfd: watch::Receiver<Arc<BfdReport>>,
    /// The chain.
    pub chain: watch::Receiver<Arc<ChainStatus>>,
    /// The task that keeps the chain.
    pub chain_requests: mpsc::Sender<ChainRequest>,
    /// The guard of capacity.
    pub guard: mpsc::Sender<GuardRequest>,
    /// The state of the listener watch.
    pub listener_watch: watch::Receiver<listener::ListenerReport>,
    /// The state of the drain folder.
    pub drains: watch::Receiver<drain::DrainFolderReport>,
    /// The owner of the drain folder.
    pub drain_requests: mpsc::Sender<drain::io::DrainRequest>,
    /// The copy that runs instead of the configuration's file. If there is one, there is a warning.
    pub fallback: watch::Receiver<Option<Fallback>>,
    /// How the file on disk differs from the configuration that runs, one sentence each.
    pub file_warning: watch::Receiver<Vec<String>>,
    /// The warnings of other tasks, one sentence each.
    pub warnings: Vec<watch::Receiver<Vec<String>>>,
    /// The director's task.
    pub asks: mpsc::Sender<Ask>,
    /// The task that reloads.
    pub reloads: mpsc::Sender<Reload>,
    /// The task that replaces the program.
    pub upgrades: mpsc::Sender<UpgradeRequest>,
    /// How this process began.
    pub start: watch::Receiver<StartReport>,
    /// What is kept for the next process.
    pub descriptors: Descriptors,
    /// Whether the next process can use the state.
    pub state_usable: StateUsable,
    /// The last changes.
    pub history: watch::Receiver<History>,
    /// The door to the disk.
    pub files: Files,
    /// The programs of checks and hooks. If the kernel cannot confine them, there is a warning.
    pub programs: Programs,
    /// Returns memory to the system after large answers.
    pub trimmer: Trimmer,
    /// The task that owns the log's level.
    pub level_requests: mpsc::Sender<LevelRequest>,
    /// The log. If lines of it were lost, there is a warning.
    pub log: LogBuffer,
    /// When the daemon began.
    pub started: Instant,
}

/// The limits of concurrent requests, by how long they may take.
#[derive(Debug)]
struct RequestSlots {
    quick: Semaphore,
    slow: Semaphore,
    slow_readers: Semaphore,
    waits: Waits,
    streams: Arc<Semaphore>,
}

/// Serves clients for ever.
pub async fn serve(socket: Arc<Socket>, context: ControlContext) {
    let places = Arc::new(RequestSlots {
        quick: Semaphore::new(QUICK),
        slow: Semaphore::new(SLOW),
        slow_readers: Semaphore::new(SLOW_READERS),
        waits: watch::channel(BTreeMap::new()).0,
        streams: Arc::new(Semaphore::new(STREAMS)),
    });
    let mut sending = VecDeque::new();
    loop {
        make_room(&mut sending).await;
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let (keep, let_go) = oneshot::channel();
                sending.push_back((Instant::now(), keep));
                let (context, places) = (context.clone(), places.clone());
                tokio::spawn(async move {
                    if let Err(error) = serve_one(stream, let_go, context, places).await {
                        debug!(%error, "control client was disconnected");
                    }
                });
            }
            Err(error) => {
                debug!(%error, "control socket did not accept");
                sleep(Duration::from_millis(100)).await; // probably out of descriptors
            }
        }
    }
}

async fn answer(request: Request, uid: u32, context: &ControlContext, places: &RequestSlots) -> Response {
    let (said, force) = match &request {
        Request::Drain(DrainOrder { by, force, .. }) | Request::Undrain(UndrainOrder { by, force, .. }) => {
            (Some(by.clone()), *force)
        }
        Request::SwitchChain(order) => (Some(order.by.clone()), false),
        Request::Status
        | Request::Chain
        | Request::Site
        | Request::Waits
        | Request::Recheck { .. }
        | Request::Explain { .. }
        | Request::ExplainPeer { .. }
        | Request::Log { .. }
        | Request::Upgrade { .. }
        | Request::History { .. }
        | Request::Events
        | Request::OpenApi
        | Request::Reload { .. } => (None, false), // this request is not recorded
    };
    let facts = match said.clone() {
        Some(said) => order_facts(uid, said, context).await,
        None => OrderFacts { operator: Operator::new(uid, None, None), now: SystemTime::now(), boot: None },
    };
    let operator = facts.operator.clone();
    let order = if matches!(request, Request::SwitchChain(_)) { "chain" } else { "drain or undrain" };
    let config = context.configs.borrow().clone();
    let drains = context.drains.borrow().drains.clone();
    let allowed = orders::may_force(force, uid).map_err(|text| ApiError::new(ErrorCode::Forbidden, text));
    match allowed.and_then(|()| job(request, facts, &config, &drains)) {
        Err(error) if said.is_some() => {
            drains::refused(&operator, order, &error.text);
            Response::Error(error)
        }
        Err(error) => Response::Error(error),
        Ok(Job::Events) => Response::error(ErrorCode::Failed, "events are a stream"), // it was started before
        Ok(Job::Query(query)) => match timeout(PATIENCE, places.quick.acquire()).await {
            Ok(_place) => answer_query(query, context, places).await,
            Err(_) => Response::error(ErrorCode::Busy, "too many requests wait; try again"),
        },
        Ok(Job::Command(command)) => match places.slow.try_acquire() {
            Ok(_place) => answer_command(command, context, places).await,
            Err(_) => {
                let text = format!("{SLOW} commands already wait for routers or files; try again");
                Response::error(ErrorCode::Busy, text)
            }
        },
    }
}

async fn answer_query(query: Query, context: &ControlContext, places: &RequestSlots) -> Response {
    match query {
        Query::Chain => chain::chain(context).await,
        Query::Site => chain::vips(context).await,
        Query::Waits => {
            Response::Waits(WaitList { waits: places.waits.borrow().values().cloned().collect() })
        }
        Query::Status => match ask(&context.asks, Ask::Report).await {
            Some(report) => Response::Status { status: Box::new(status(context, &report)) },
            None => ending(),
        },
        Query::Explain { vip, peer } => match ask(&context.asks, Ask::Report).await {
            Some(report) => explained(context, &report, vip, peer.as_deref()),
            None => ending(),
        },
        Query::ExplainPeer { peer } => explained_peer(context, &peer),
        Query::History { limit } => {
            let changes = context.history.borrow().newest(limit.unwrap_or(usize::MAX));
            Response::History(ChangeList { changes })
        }
        Query::OpenApi => Response::OpenApi,
        Query::Recheck { services, note } => match context.asks.send(Ask::Recheck(services)).await {
            Ok(()) => Response::Done { notes: vec![note] },
            Err(_) => ending(),
        },
    }
}

async fn answer_command(command: Command, context: &ControlContext, places: &RequestSlots) -> Response {
    match command {
        Command::Drain(job) => match drains::answer(*job, context, &places.waits).await {
            Ok(notes) => Response::Done { notes },
            Err(DrainFailure::Refused(text)) => Response::error(ErrorCode::Refused, text),
            Err(DrainFailure::Failed(text)) => Response::error(ErrorCode::Failed, text),
            Err(DrainFailure::Timeout(text)) => Response::error(ErrorCode::Timeout, text),
        },
        Command::Chain(off) => chain::switch(off, context).await,
        Command::Log(order) => {
            let (reply, changed) = oneshot::channel();
            match context.level_requests.send(LevelRequest { order, reply }).await {
                Ok(()) => {
                    changed.await.map_or_else(|_| ending(), |note| Response::Done { notes: vec![note] })
                }
                Err(_) => ending(),
            }
        }
        Command::Upgrade { successor, force } => {
            let (reply, refused) = oneshot::channel();
            match context.upgrades.send(UpgradeRequest { successor, force, reply: Some(reply) }).await {
                Ok(()) => refused.await.unwrap_or_else(|_| ending()),
                Err(_) => ending(),
            }
        }
        Command::Reload { mode } => {
            let (reply, done) = oneshot::channel();
            match context.reloads.send(Reload { mode, reply: Some(reply) }).await {
                Ok(()) => done.await.unwrap_or_else(|_| ending()),
                Err(_) => ending(),
            }
        }
    }
}

/// Who gives an order that is recorded, and when.
async fn order_facts(uid: u32, said: Option<String>, context: &ControlContext) -> OrderFacts {
    let operator = Operator::new(uid, user_name(&context.files, uid).await, said);
    OrderFacts { operator, now: SystemTime::now(), boot: drain::io::boot_id() }
}

fn ending() -> Response {
    Response::error(ErrorCode::Ending, "announcer is ending")
}
