//! The control socket's server.
//!
//! Touches the unix socket and the clock. [`request`](super::request) decides what a request means. The data of an answer comes
//! from the tasks that own it.

mod answers;
pub mod client;
mod socket;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::UCred;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::debug;

use self::answers::{explained, explained_peer, status};
use self::socket::user_name;
use super::admission::{self, Admission, OWN_PROGRAM, REQUEST_LIMIT, ROOT_ONLY, admit};
use super::api::{Request, Response};
use super::request::{Command, Job, Query, ReloadMode, WaitResult, job, undrain_notes, wait_response, who};
use crate::bgp::io::peers::Peers;
use crate::bgp::router_id::Identity;
use crate::config::Config;
use crate::director::ask::{Ask, ask};
use crate::drain::{self, DrainChange};
use crate::fallback::Fallback;
use crate::files::io::Files;
use crate::health::io::listener;
use crate::log::io::{LevelRequest, LogBuffer};
use crate::memory::io::Trimmer;
use crate::model::{Generation, ServiceName};
use crate::program::io::{Programs, started_by_daemon};

pub(crate) use self::answers::warnings_beside;
pub use self::socket::{BindError, Socket};

/// A longer request is refused without reading it.
const LONGEST_REQUEST: u64 = 64 * 1024;
/// How many requests that are answered at once, such as `status`, run at the same time; others wait.
const QUICK: usize = 32;
/// How many requests that wait for routers or files, such as `drain --wait`, run at the same time; others are refused.
const SLOW: usize = 64;
/// How many clients may read their answer slowly at the same time; others are disconnected.
const SLOW_READERS: usize = 16;
/// After an answer with more octets than this, memory is returned to the system.
const LARGE_ANSWER: usize = 64 * 1024;
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

/// The data for the server's answers.
#[derive(Debug, Clone)]
pub struct ControlContext {
    /// The configuration that runs.
    pub configs: watch::Receiver<Arc<Config>>,
    /// Our BGP identifier, once it is known.
    pub router_id: watch::Receiver<Identity>,
    /// The sessions, in the order of the configuration.
    pub peers: watch::Receiver<Peers>,
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
}

/// Serves clients for ever.
pub async fn serve(socket: Arc<Socket>, context: ControlContext) {
    let places = Arc::new(RequestSlots {
        quick: Semaphore::new(QUICK),
        slow: Semaphore::new(SLOW),
        slow_readers: Semaphore::new(SLOW_READERS),
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
                    if let Err(error) = serve_one(stream, let_go, &context, &places).await {
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

/// Waits until another client can be admitted. Dropping its sender disconnects a client. If its receiver was dropped, the client
/// has sent its request.
async fn make_room(sending: &mut VecDeque<(Instant, oneshot::Sender<()>)>) {
    loop {
        sending.retain(|(_, keep)| !keep.is_closed());
        let ages: Vec<Duration> = sending.iter().map(|(since, _)| since.elapsed()).collect();
        match admit(&ages) {
            Admission::Now => return,
            Admission::InPlaceOfTheOldest => drop(sending.pop_front()),
            Admission::After(wait) => sleep(wait).await,
        }
    }
}

async fn serve_one(
    stream: UnixStream,
    let_go: oneshot::Receiver<()>,
    context: &ControlContext,
    places: &RequestSlots,
) -> io::Result<()> {
    let caller = stream.peer_cred()?;
    let own_program = is_own_program(caller).await;
    let (read, write) = stream.into_split();
    let (mut line, mut read) = (String::new(), BufReader::new(read.take(LONGEST_REQUEST)));
    tokio::select! {
        biased;
        line = timeout(REQUEST_LIMIT, read.read_line(&mut line)) => drop(line??),
        _ = let_go => return Err(io::Error::other("others waited, and its request did not come")),
    }
    let response = match serde_json::from_str(&line) {
        Ok(_) if own_program => Response::Refused { message: OWN_PROGRAM.into() },
        Ok(Request::Log { .. }) if !admission::may_change_log(caller.uid()) => {
            Response::Refused { message: ROOT_ONLY.into() }
        }
        Ok(request) => answer(request, caller.uid(), context, places).await,
        Err(error) => {
            Response::Refused { message: format!("error: the request was not understood: {error}") }
        }
    };
    let mut text = serde_json::to_vec(&response)?;
    drop(response);
    text.push(b'\n');
    if text.len() > LARGE_ANSWER {
        context.trimmer.soon();
    }
    send(write, &text, places).await
}

/// Whether the caller is a program of a check or a hook. If the daemon runs as root, it has the same user as operators, so the
/// parents of the caller's process decide.
async fn is_own_program(caller: UCred) -> bool {
    let daemon = nix::unistd::Uid::effective();
    let descends = match caller.pid() {
        Some(pid) if daemon.is_root() && caller.uid() == daemon.as_raw() => started_by_daemon(pid).await,
        Some(_) | None => false,
    };
    admission::is_own_program(caller.uid(), daemon.as_raw(), descends)
}

/// Sends an answer. A client that reads the whole answer at once does not count in the limit.
async fn send(
    mut write: tokio::net::unix::OwnedWriteHalf,
    text: &[u8],
    places: &RequestSlots,
) -> io::Result<()> {
    timeout(PATIENCE, write.writable()).await??;
    let sent = match write.try_write(text) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        sent => sent?,
    };
    if sent == text.len() {
        return Ok(());
    }
    let Ok(_place) = places.slow_readers.try_acquire() else {
        return Err(io::Error::other("too many clients read slowly"));
    };
    timeout(PATIENCE, write.write_all(text.get(sent..).unwrap_or_default())).await?
}

async fn answer(request: Request, uid: u32, context: &ControlContext, places: &RequestSlots) -> Response {
    let by = match &request {
        Request::Drain { by, .. } => who(uid, user_name(&context.files, uid).await, by.clone()),
        Request::Status
        | Request::Undrain { .. }
        | Request::Recheck { .. }
        | Request::Explain { .. }
        | Request::ExplainPeer { .. }
        | Request::Log { .. }
        | Request::Reload { .. } => String::new(), // this request is not recorded
    };
    let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let config = context.configs.borrow().clone();
    let drains = context.drains.borrow().drains.clone();
    match job(request, by, at, &config, &drains) {
        Err(response) => response,
        Ok(Job::Query(query)) => match timeout(PATIENCE, places.quick.acquire()).await {
            Ok(_place) => answer_query(query, context).await,
            Err(_) => Response::Failed { message: "too many requests wait; try again".into() },
        },
        Ok(Job::Command(command)) => match places.slow.try_acquire() {
            Ok(_place) => answer_command(command, context).await,
            Err(_) => {
                let message = format!("{SLOW} commands already wait for routers or files; try again");
                Response::Failed { message }
            }
        },
    }
}

async fn answer_query(query: Query, context: &ControlContext) -> Response {
    match query {
        Query::Status => match ask(&context.asks, Ask::Report).await {
            Some(report) => Response::Status { status: Box::new(status(context, &report)) },
            None => ending(),
        },
        Query::Explain { vip, peer } => match ask(&context.asks, Ask::Report).await {
            Some(report) => explained(context, &report, vip, peer.as_deref()),
            None => ending(),
        },
        Query::ExplainPeer { peer } => explained_peer(context, &peer),
        Query::Recheck { services, note } => match context.asks.send(Ask::Recheck(services)).await {
            Ok(()) => Response::Done { notes: vec![note] },
            Err(_) => ending(),
        },
    }
}

async fn answer_command(command: Command, context: &ControlContext) -> Response {
    match command {
        Command::Drain { change, wait } => change_drains(change, wait, context).await,
        Command::Log(order) => {
            let (reply, changed) = oneshot::channel();
            match context.level_requests.send(LevelRequest { order, reply }).await {
                Ok(()) => {
                    changed.await.map_or_else(|_| ending(), |note| Response::Done { notes: vec![note] })
                }
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

/// Sends a change to the owner of the drains, and waits for the routers if requested.
async fn change_drains(change: DrainChange, limit: Option<Duration>, context: &ControlContext) -> Response {
    let (reply, changed) = oneshot::channel();
    let undrained = match &change {
        DrainChange::Drain { .. } => Vec::new(),
        DrainChange::Undrain { names } => names.clone(),
    };
    if context.drain_requests.send(drain::io::DrainRequest { change, reply }).await.is_err() {
        return ending();
    }
    let changed = match changed.await {
        Ok(Ok(changed)) => changed,
        Ok(Err(failure)) => return Response::Failed { message: failure.to_string() },
        Err(_) => return ending(),
    };
    if let Some(limit) = limit {
        return wait(context, changed.generation, limit).await;
    }
    let config = context.configs.borrow().clone();
    let services: Vec<ServiceName> = config.services.iter().map(|service| service.name.clone()).collect();
    let drains = context.drains.borrow().drains.clone();
    Response::Done { notes: undrain_notes(&undrained, &changed.absent, &drains, &services) }
}

/// Waits until every established peer's kernel has the withdraw, and its FIB has had time to follow.
async fn wait(context: &ControlContext, generation: Generation, limit: Duration) -> Response {
    let settle = context.configs.borrow().bgp.settle;
    let peers = context.peers.borrow().clone();
    let settled = async {
        peers.acknowledged(generation).await;
        sleep(settle).await;
    };
    let waited = match timeout(limit, settled).await {
        Ok(()) => WaitResult::Settled,
        Err(_) => WaitResult::TimeIsUp(peers.unacknowledged(generation)),
    };
    wait_response(&waited, settle)
}

fn ending() -> Response {
    Response::Failed { message: "announcer is ending".into() }
}
