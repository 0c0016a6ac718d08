//! The command line's side of the control socket.
//!
//! Touches the unix socket and, where no daemon runs, the drain directory.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::api::{Request, Response, Scope};
use crate::drain::{self, Drain};
use crate::model::ServiceName;

/// A daemon that says nothing for this long, beyond what it was told to wait, is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("announcer is not running: nothing answers at `{0}`")]
    NotRunning(String),
    /// Not for us.
    #[error("`{0}` is not ours to use: become root or a member of group `announcer`")]
    Forbidden(String),
    /// The conversation broke.
    #[error("announcer did not answer at `{path}`: {source}")]
    Broken {
        /// The socket.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Asks the daemon at `socket`; `patience` is what it may take on top of [`PATIENCE`].
///
/// # Errors
/// When nobody answers, or nonsense.
pub fn ask(socket: &Path, request: &Request, patience: Duration) -> Result<Response, ClientError> {
    let path = || socket.display().to_string();
    let broken = |source: io::Error| ClientError::Broken { path: path(), source };
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
    BufReader::new(stream).read_line(&mut answer).map_err(broken)?;
    serde_json::from_str(&answer).map_err(|e| broken(e.into()))
}

/// Drains or undrains where no daemon runs, by the files that it will read when it starts.
///
/// # Errors
/// When the files cannot be changed; a name that is none is an [`io::ErrorKind::InvalidInput`].
pub fn offline(state_dir: &Path, what: &Scope, drain: Option<(Option<String>, String)>) -> io::Result<()> {
    let dir = drain::io::directory(state_dir);
    let files = match what {
        Scope::All => vec![drain::ALL.to_owned()],
        Scope::Services(names) => names.clone(),
    };
    for file in files.iter().filter(|file| *file != drain::ALL) {
        file.parse::<ServiceName>().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    }
    let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let drain = drain.map(|(reason, by)| Drain { reason, by: Some(by), at: Some(at) });
    files.iter().try_for_each(|file| match &drain {
        Some(drain) => drain::io::write(&dir, file, drain),
        None => drain::io::remove(&dir, file).map(drop),
    })
}
