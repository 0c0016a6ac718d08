//! The control socket's server, and the lock that keeps a host to one daemon.
//!
//! Touches the unix socket, its lock file and, for a drain, the drain directory.

mod told;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::stat::{Mode, umask};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{debug, info};

use self::told::{explained, status};
use super::api::{Request, Response, Scope};
use crate::bgp::io::peers::Peers;
use crate::config::Config;
use crate::director::{Figures, Report};
use crate::drain::{self, Drain, Drains};
use crate::health::io::listener;
use crate::metrics::Tally;
use crate::model::{Generation, RouterId, ServiceName};

pub(crate) use told::warnings_beside;

/// A request longer than this is refused unread.
const LONGEST_REQUEST: u64 = 64 * 1024;
/// Clients served at once; more wait for their turn.
const CLIENTS: usize = 32;
/// Who connects and says nothing is let go after this.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the server asks of the director's task.
#[derive(Debug)]
pub enum Ask {
    /// What is decided, and why.
    Report(oneshot::Sender<Report>),
    /// What metrics want of it, and what was counted.
    Count(oneshot::Sender<(Figures, Tally)>),
    /// The drains were changed, and these services are forgiven (`None` in it: all): which generation of the Loc-RIB
    /// has that in it?
    Drains(Drains, Option<Option<Vec<String>>>, oneshot::Sender<Generation>),
    /// These services are to be probed at once (`None`: all).
    Recheck(Option<Vec<String>>),
    /// The configuration is another one: which generation of the Loc-RIB has that in it?
    Reload(Arc<Config>, oneshot::Sender<Generation>),
    /// The daemon ends: which generation of the Loc-RIB announces nothing?
    Stop(oneshot::Sender<Generation>),
}

/// What the server asks of the daemon: read the configuration anew.
#[derive(Debug)]
pub struct Reload {
    /// Also when it withdraws every VIP or ends every session.
    pub force: bool,
    /// What became of it.
    pub reply: oneshot::Sender<Response>,
}

/// The socket, bound and locked.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    _lock: File,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// One daemon a host.
    #[error(
        "announcer is already running{pid} and holds `{lock}`; one daemon a host is enough for any number of services"
    )]
    Running {
        /// Its process id, as in ` as pid 7`, when it is known.
        pid: String,
        /// The lock file.
        lock: String,
    },
    /// The lock or the socket cannot be made.
    #[error("cannot make the control socket `{path}`: {source}")]
    Io {
        /// Where it was to be.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

impl Socket {
    /// Takes the lock beside `path`, replaces a socket that a dead daemon left, and listens: mode 0660, of group
    /// `announcer` where there is one.
    ///
    /// # Errors
    /// When another daemon runs, or the file system refuses.
    pub fn bind(path: &Path) -> Result<Socket, BindError> {
        let failed = |source: io::Error| BindError::Io { path: path.display().to_string(), source };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        let lock_path = path.with_added_extension("lock");
        let mut options = File::options();
        let mut lock = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&lock_path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let known = lock.read_to_string(&mut pid).is_ok() && pid.trim().parse::<u32>().is_ok();
                let pid = if known { format!(" as pid {}", pid.trim()) } else { String::new() };
                return Err(BindError::Running { pid, lock: lock_path.display().to_string() });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let written = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(failed)?;
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            Ok(()) | Err(_) => {}
        }
        let before = umask(Mode::from_bits_truncate(0o117));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound.map_err(failed)?;
        if let Some(group) = id_in("/etc/group", |name, _| name == "announcer")
            && let Err(e) = chown(path, None, Some(group.1))
        {
            info!(socket = %path.display(), error = %e, "socket was left to its owner's group");
        }
        Ok(Socket { listener, path: path.to_owned(), _lock: lock })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // a stale socket is replaced by the next daemon
    }
}

/// Name and id of the first line of `/etc/passwd` or `/etc/group` that fits. Read as files: a static binary has no
/// name service.
fn id_in(file: &str, fits: impl Fn(&str, u32) -> bool) -> Option<(String, u32)> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
        fits(name, id).then(|| (name.to_owned(), id))
    })
}

/// What the server answers from.
#[derive(Debug, Clone)]
pub struct Context {
    /// The configuration that runs.
    pub configs: watch::Receiver<Arc<Config>>,
    /// Where it came from.
    pub config_file: PathBuf,
    /// Our BGP identifier, once it is known.
    pub router_id: watch::Receiver<Option<RouterId>>,
    /// The sessions, in the order of the configuration.
    pub peers: watch::Receiver<Peers>,
    /// How the listener watch stands.
    pub listener_watch: watch::Receiver<listener::Report>,
    /// Where drains are kept.
    pub drain_dir: PathBuf,
    /// Why metrics cannot be read, if they are wanted.
    pub deaf: watch::Receiver<Option<String>>,
    /// The director's ear.
    pub asks: mpsc::Sender<Ask>,
    /// The daemon's.
    pub reloads: mpsc::Sender<Reload>,
    /// When the daemon began.
    pub started: Instant,
}

/// Serves clients for ever.
pub async fn serve(socket: Arc<Socket>, context: Context) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let context = context.clone();
                tokio::spawn(async move {
                    if let Err(e) = serve_one(stream, &context).await {
                        debug!(error = %e, "control client was let go");
                    }
                    drop(place);
                });
            }
            Err(e) => {
                debug!(error = %e, "control socket did not accept");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors, most likely
            }
        }
    }
}

async fn serve_one(stream: UnixStream, context: &Context) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    timeout(PATIENCE, BufReader::new(read.take(LONGEST_REQUEST)).read_line(&mut line)).await??;
    let response = match serde_json::from_str(&line) {
        Ok(request) => answer(request, uid, context).await,
        Err(e) => Response::Refused { message: format!("error: the request was not understood: {e}") },
    };
    let mut text = serde_json::to_vec(&response)?;
    text.push(b'\n');
    timeout(PATIENCE, write.write_all(&text)).await?
}

async fn answer(request: Request, uid: u32, context: &Context) -> Response {
    match request {
        Request::Status => match ask(&context.asks, Ask::Report).await {
            Some(report) => {
                let mut warnings = report.warnings(Instant::now());
                warnings.extend(warnings_beside(context).await);
                Response::Status { status: Box::new(status(context, &report, warnings)) }
            }
            None => ending(),
        },
        Request::Drain { what, reason, by, wait_ms } => {
            let files = match files(&what, &context.configs.borrow()) {
                Ok(files) => files,
                Err(message) => return Response::Refused { message },
            };
            let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            let drain = Drain { reason, by: Some(who(uid, by)), at: Some(at) };
            let dir = context.drain_dir.clone();
            let write = move || files.iter().try_for_each(|file| drain::io::write(&dir, file, &drain));
            match (apply(context, None, write).await, wait_ms) {
                (Err(response), _) => response,
                (Ok(_), None) => Response::Done { notes: Vec::new() },
                (Ok((generation, ())), Some(ms)) => {
                    wait(context, generation, Duration::from_millis(ms)).await
                }
            }
        }
        Request::Undrain { what } => {
            // A service that the configuration no longer names may still have its drain file.
            let files = match &what {
                Scope::All => vec![drain::ALL.to_owned()],
                Scope::Services(names) => names.clone(),
            };
            if let Some(bad) =
                files.iter().find(|file| *file != drain::ALL && file.parse::<ServiceName>().is_err())
            {
                return Response::Refused {
                    message: format!("error: `{}` is no service", bad.escape_default()),
                };
            }
            let dir = context.drain_dir.clone();
            let remove = move || {
                let removed = files.into_iter().map(|file| Ok((drain::io::remove(&dir, &file)?, file)));
                removed.collect::<io::Result<Vec<(bool, String)>>>()
            };
            let forgiven = match &what {
                Scope::All => None,
                Scope::Services(names) => Some(names.clone()),
            };
            match apply(context, Some(forgiven), remove).await {
                Err(response) => response,
                Ok((_, removed)) => undrained(context, &what, &removed).await,
            }
        }
        Request::Recheck { what } => {
            if let Err(message) = files(&what, &context.configs.borrow()) {
                return Response::Refused { message };
            }
            let (services, said) = match what {
                Scope::All => (None, "every service is probed now".to_owned()),
                Scope::Services(names) => (Some(names.clone()), format!("probed now: {}", names.join(", "))),
            };
            match context.asks.send(Ask::Recheck(services)).await {
                Ok(()) => Response::Done { notes: vec![said] },
                Err(_) => ending(),
            }
        }
        Request::Explain { vip, peer } => match ask(&context.asks, Ask::Report).await {
            Some(report) => explained(context, &report, vip, peer.as_deref()),
            None => ending(),
        },
        Request::Reload { force } => {
            let (reply, done) = oneshot::channel();
            match context.reloads.send(Reload { force, reply }).await {
                Ok(()) => done.await.unwrap_or_else(|_| ending()),
                Err(_) => ending(),
            }
        }
    }
}

/// Changes drain files and lets the director see them at once; the generation that has the change in it.
async fn apply<T: Send + 'static>(
    context: &Context,
    forgiven: Option<Option<Vec<String>>>,
    change: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<(Generation, T), Response> {
    let dir = context.drain_dir.clone();
    let changed = drain::io::blocking(move || {
        let outcome = change()?;
        Ok((drain::io::read(&dir)?, outcome))
    });
    let failed = |e: io::Error| Response::Failed {
        message: format!("the drain files in `{}` cannot be changed: {e}", context.drain_dir.display()),
    };
    let (drains, outcome) = changed.await.map_err(failed)?;
    let generation =
        ask(&context.asks, |reply| Ask::Drains(drains, forgiven, reply)).await.ok_or_else(ending)?;
    Ok((generation, outcome))
}

/// Waits until every established peer's kernel has the withdraw, and its FIB had time to follow.
async fn wait(context: &Context, generation: Generation, limit: Duration) -> Response {
    let settle = context.configs.borrow().bgp.settle;
    let peers = context.peers.borrow().clone();
    let told = async {
        peers.told(generation).await;
        tokio::time::sleep(settle).await;
    };
    match timeout(limit, told).await {
        Ok(()) => Response::Done { notes: Vec::new() },
        Err(_) => match peers.untold(generation).as_slice() {
            [] => Response::Timeout {
                message: format!(
                    "drained and acknowledged, but the routers' FIB had no time to follow; allow more than settle, {}",
                    humantime::format_duration(settle)
                ),
            },
            peers => Response::Timeout {
                message: format!("drained, but not acknowledged by {} in time", peers.join(", ")),
            },
        },
    }
}

async fn undrained(context: &Context, what: &Scope, removed: &[(bool, String)]) -> Response {
    let Some(report) = ask(&context.asks, Ask::Report).await else { return ending() };
    let mut notes: Vec<String> = (removed.iter())
        .filter(|(there, _)| !there)
        .map(|(_, file)| match file.as_str() {
            drain::ALL => "there was no drain of all services".to_owned(),
            name => format!("{name} was not drained by name"),
        })
        .collect();
    let asked = |name: &str| match what {
        Scope::All => true,
        Scope::Services(names) => names.iter().any(|n| n == name),
    };
    for service in report.services.iter().filter(|service| asked(service.name.as_str())) {
        if let Some(drain) = report.drains.of(&service.name) {
            let command = if report.drains.named.contains_key(service.name.as_str()) {
                format!("announcer undrain {}", service.name)
            } else {
                "announcer undrain --all".to_owned()
            };
            notes.push(format!("{} stays drained{drain}; `{command}` ends that", service.name));
        }
    }
    Response::Done { notes }
}

/// The drain files of a scope.
fn files(what: &Scope, config: &Config) -> Result<Vec<String>, String> {
    match what {
        Scope::All => Ok(vec![drain::ALL.to_owned()]),
        Scope::Services(names) if names.is_empty() => Err("error: name a service, or `--all`".into()),
        Scope::Services(names) => {
            let known = |name: &&String| config.services.iter().any(|service| service.name.as_str() == *name);
            match names.iter().find(|name| !known(name)) {
                None => Ok(names.clone()),
                Some(unknown) => {
                    let all: Vec<&str> =
                        config.services.iter().map(|service| service.name.as_str()).collect();
                    Err(format!(
                        "error: `{}` is no service; there is {}",
                        unknown.escape_default(),
                        all.join(", ")
                    ))
                }
            }
        }
    }
}

/// Who asks: the socket's word for it, and the name that sudo kept.
fn who(uid: u32, claimed: Option<String>) -> String {
    let name = id_in("/etc/passwd", |_, id| id == uid).map_or_else(|| format!("uid {uid}"), |(name, _)| name);
    match claimed {
        Some(claimed) if uid == 0 && claimed != name => format!("{claimed} (sudo)"),
        Some(_) | None => name,
    }
}

/// Asks the director; `None`: it is ending.
pub(crate) async fn ask<T>(
    asks: &mpsc::Sender<Ask>,
    question: impl FnOnce(oneshot::Sender<T>) -> Ask,
) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    asks.send(question(reply)).await.ok()?;
    answer.await.ok()
}

fn ending() -> Response {
    Response::Failed { message: "announcer is ending".into() }
}
