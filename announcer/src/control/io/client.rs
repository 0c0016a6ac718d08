//! The command line's side of the control socket.
//!
//! Touches the unix socket and, where no daemon runs, the drain directory.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::control::api::{Request, Response};
use crate::drain::{self, DrainChange, Drains};

/// If the daemon does not answer for this time, in addition to the requested wait, it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens there.
    #[error("announcer is not running: nothing answers at `{0}`")]
    NotRunning(String),
    /// We may not use the socket.
    #[error("no permission to use `{0}`: become root or a member of group `announcer`")]
    Forbidden(String),
    /// The connection failed.
    #[error("announcer did not answer at `{path}`: {error}")]
    Broken {
        /// The socket.
        path: String,
        /// The error of the system.
        error: io::Error,
    },
}

/// Sends a request to the daemon at `socket`. The answer may take `patience` in addition to [`PATIENCE`].
///
/// # Errors
/// When there is no answer, or when it cannot be read.
pub fn ask(socket: &Path, request: &Request, patience: Duration) -> Result<Response, ClientError> {
    let path = || socket.display().to_string();
    let broken = |error: io::Error| ClientError::Broken { path: path(), error };
    #[allow(clippy::wildcard_enum_match_arm)] // the system has many words for it
    let mut stream = UnixStream::connect(socket).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(path()),
        io::ErrorKind::PermissionDenied => ClientError::Forbidden(path()),
        _ => broken(e),
    })?;
    stream.set_read_timeout(Some(PATIENCE + patience)).map_err(broken)?;
    let mut line = serde_json::to_vec(request).map_err(|e| broken(e.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(broken)?;
    let mut answer = String::new();
    #[allow(clippy::wildcard_enum_match_arm)] // the system has many words for it
    BufReader::new(stream).read_line(&mut answer).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => broken(io::Error::other(format!(
            "there was no answer within {}",
            humantime::format_duration(PATIENCE + patience)
        ))),
        _ => broken(error),
    })?;
    if answer.is_empty() {
        return Err(broken(io::Error::other(
            "it closed the connection; too many clients may be waiting, try again",
        )));
    }
    serde_json::from_str(&answer).map_err(|e| broken(e.into()))
}

/// Changes drains while no daemon runs, by changing the files that the daemon reads at its start. Returns the names of an undrain
/// that had no file.
///
/// # Errors
/// When the files cannot be changed.
pub fn offline(state_dir: &Path, change: &DrainChange) -> io::Result<Vec<String>> {
    drain::io::change(&drain::io::directory(state_dir), change)
}

/// The drains in force while no daemon runs.
///
/// # Errors
/// When the folder cannot be read.
pub fn offline_drains(state_dir: &Path) -> io::Result<Drains> {
    drain::io::read(&drain::io::directory(state_dir))
}

/// The time in the format of a drain file.
pub fn timestamp() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
