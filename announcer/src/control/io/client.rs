//! The command line's side of the control API.
//!
//! Touches the unix socket and, where no daemon runs, the drain directory.

use std::io;
use std::path::Path;
use std::time::Duration;

use dsr_setup::io::http::{self as transport, HttpReply};
use hyper::Method;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::control::api::{Request, Response};
use crate::control::http;
use crate::control::orders::WaitList;
use crate::drain::{self, ChangePlan, DrainChange, DrainRefusal, Drains, Operator};

/// If the daemon does not answer for this time, in addition to the requested wait, it hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read, in octets: the status of about 100,000 VIPs.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// The time between two looks at what a wait is waiting for.
const SHOW: Duration = Duration::from_millis(500);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens there.
    #[error("announcer is not running: nothing answers at `{0}`")]
    NotRunning(String),
    /// We may not use the socket.
    #[error("no permission to use `{0}`: become root or a member of group `announcer`")]
    Forbidden(String),
    /// The operator has interrupted the wait.
    #[error("interrupted")]
    Interrupted,
    /// The connection failed.
    #[error("announcer did not answer at `{path}`: {error}")]
    Broken {
        /// The socket.
        path: String,
        /// The error of the system.
        error: io::Error,
    },
}

impl ClientError {
    /// One word, for JSON.
    pub fn code(&self) -> &'static str {
        match self {
            ClientError::NotRunning(_) => "not_running",
            ClientError::Forbidden(_) => "no_permission",
            ClientError::Interrupted => "interrupted",
            ClientError::Broken { .. } => "no_answer",
        }
    }
}

/// Sends a request to the daemon at `socket`. The answer may take `patience` in addition to [`PATIENCE`].
///
/// # Errors
/// When there is no answer, or when it cannot be read.
#[allow(clippy::wildcard_enum_match_arm, reason = "the system has many words for it")]
pub fn ask(socket: &Path, request: &Request, patience: Duration) -> Result<Response, ClientError> {
    let path = || socket.display().to_string();
    let broken = |error: io::Error| ClientError::Broken { path: path(), error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    let limit = PATIENCE + patience;
    let call = http::call(request);
    let reply = runtime.block_on(async {
        let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(path()),
            io::ErrorKind::PermissionDenied => ClientError::Forbidden(path()),
            _ => broken(error),
        })?;
        let method = if call.method == "POST" { Method::POST } else { Method::GET };
        let reply = transport::send(stream, method, &call.target, call.body, LONGEST_ANSWER);
        match timeout(limit, reply).await {
            Ok(reply) => reply.map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => broken(io::Error::other(
                    "it closed the connection; too many clients may be waiting, try again",
                )),
                _ => broken(error),
            }),
            Err(_) => Err(broken(io::Error::other(format!(
                "there was no answer within {}",
                humantime::format_duration(limit)
            )))),
        }
    });
    let HttpReply { status, body } = reply?;
    http::decode(request, status, &body).map_err(|error| broken(error.into()))
}

/// The same for a request that the daemon answers after a wait. On a terminal, what it waits for is shown meanwhile. An interrupt
/// (Ctrl-C) ends the wait.
///
/// # Errors
/// As [`ask`], and [`ClientError::Interrupted`].
pub fn ask_watching(socket: &Path, request: &Request, patience: Duration) -> Result<Response, ClientError> {
    let failed = |error: io::Error| ClientError::Broken { path: socket.display().to_string(), error };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (path, order) = (socket.to_owned(), request.clone());
    let answer = runtime.block_on(async {
        // It also has an interrupt that comes while the daemon is asked what it waits for.
        let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
        let asked = tokio::task::spawn_blocking(move || ask(&path, &order, patience));
        tokio::pin!(asked);
        loop {
            tokio::select! {
                answer = &mut asked => return answer.unwrap_or_else(|error| Err(failed(io::Error::other(error)))),
                _ = interrupts.recv() => return Err(ClientError::Interrupted),
                () = tokio::time::sleep(SHOW) => {
                    let path = socket.to_owned();
                    let waits = tokio::task::spawn_blocking(move || ask(&path, &Request::Waits, Duration::ZERO));
                    if let Ok(Ok(Response::Waits(WaitList { waits }))) = waits.await {
                        output::live(waits.last().map(|wait| format!("{}: {}", wait.what, wait.text)).as_deref());
                    }
                }
            }
        }
    });
    output::live(None);
    runtime.shutdown_background(); // a request that is not answered must not delay the end
    answer
}

/// Changes drains while no daemon runs, by changing the files that the daemon reads at its start. Returns what was changed.
///
/// # Errors
/// When the files cannot be changed.
pub fn offline(state_dir: &Path, change: &DrainChange) -> io::Result<Result<ChangePlan, DrainRefusal>> {
    drain::io::change(&drain::io::directory(state_dir), change)
}

/// The drains in force while no daemon runs.
///
/// # Errors
/// When the folder cannot be read.
pub fn offline_drains(state_dir: &Path) -> io::Result<Drains> {
    drain::io::read(&drain::io::directory(state_dir))
}

/// The user of this command, and the name that sudo has kept.
pub fn user(said: Option<String>) -> Operator {
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
    Operator::new(uid.as_raw(), user, said)
}
