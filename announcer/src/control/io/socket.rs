//! The control socket, and the lock that prevents a second daemon on the host.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use tracing::info;

use crate::files::io::lock::{Lock, LockError};
use crate::files::io::{self as files, FileError, Files};

/// The members of this group may use the socket.
const GROUP: &str = "announcer";
/// The longest `/etc/passwd` and `/etc/group` that are read, in octets.
const LONGEST_IDS: u64 = 1024 * 1024;

/// The socket, bound and locked.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: tokio::net::UnixListener,
    path: PathBuf,
    _lock: Lock,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon runs on this host.
    #[error(
        "announcer is already running{pid} and holds `{lock}`; one daemon per host is enough for any number of services"
    )]
    Running {
        /// Its process id, such as ` as pid 7`, if it is known.
        pid: String,
        /// The lock file.
        lock: String,
    },
    /// The lock or the socket could not be made.
    #[error("cannot make the control socket `{path}`: {error}")]
    Io {
        /// Its path.
        path: String,
        /// The error of the system.
        error: FileError,
    },
}

impl Socket {
    /// Takes the lock beside `path`, replaces the socket of a dead daemon, and listens. The socket has mode 0660, and group
    /// `announcer` if that group exists.
    ///
    /// # Errors
    /// When another daemon runs, or when the file system returns an error.
    pub async fn bind(files: &Files, path: &Path) -> Result<Socket, BindError> {
        let failed = |error: FileError| BindError::Io { path: path.display().to_string(), error };
        let group = files.read_text(Path::new("/etc/group"), LONGEST_IDS).await.ok();
        let group = group.and_then(|text| id_of(&text, GROUP));
        let bound = files.run(path, move |path| Ok(bind(path, group))).await.map_err(failed)?;
        let (listener, lock) = bound.map_err(|error| match error {
            LockError::Held(pid) => BindError::Running {
                pid: pid.map(|pid| format!(" as pid {pid}")).unwrap_or_default(),
                lock: lock_path(path).display().to_string(),
            },
            LockError::Io(error) => failed(error.into()),
        })?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(|error| failed(error.into()))?;
        Ok(Socket { listener, path: path.to_owned(), _lock: lock })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = files::remove(&self.path); // the next daemon replaces a socket that remains
    }
}

fn lock_path(path: &Path) -> PathBuf {
    path.with_added_extension("lock")
}

fn bind(path: &Path, group: Option<u32>) -> Result<(UnixListener, Lock), LockError> {
    if let Some(folder) = path.parent() {
        files::make_folder(folder).map_err(LockError::Io)?;
    }
    let lock = Lock::take(&lock_path(path))?;
    files::remove(path).map_err(LockError::Io)?;
    let before = umask(Mode::from_bits_truncate(0o117));
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound.map_err(LockError::Io)?;
    listener.set_nonblocking(true).map_err(LockError::Io)?;
    if let Some(group) = group
        && let Err(error) = files::give_to_group(path, group)
    {
        info!(socket = %path.display(), %error, "group of the socket was not changed");
    }
    Ok((listener, lock))
}

/// The name of a user in `/etc/passwd`: a static program has no name service.
pub(super) async fn user_name(files: &Files, uid: u32) -> Option<String> {
    let text = files.read_text(Path::new("/etc/passwd"), LONGEST_IDS).await.ok()?;
    text.lines().find_map(|line| {
        let (name, id) = entry(line)?;
        (id == uid).then(|| name.to_owned())
    })
}

fn id_of(text: &str, name: &str) -> Option<u32> {
    text.lines().filter_map(entry).find_map(|(entry, id)| (entry == name).then_some(id))
}

/// Name and number of a line of `/etc/passwd` or `/etc/group`.
fn entry(line: &str) -> Option<(&str, u32)> {
    let mut fields = line.split(':');
    let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
    Some((name, id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/:/bin/sh\nannouncer:x:7:\n";
        assert_eq!(id_of(text, "ann"), Some(1000));
        assert_eq!(id_of(text, "announcer"), Some(7));
        assert_eq!(id_of(text, "nobody"), None);
        assert_eq!(entry("broken"), None);
    }

    #[tokio::test]
    async fn a_host_has_one_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let (path, files) = (folder.path().join("run/control.sock"), Files::new());
        let socket = Socket::bind(&files, &path).await.unwrap();
        let second = Socket::bind(&files, &path).await.unwrap_err().to_string();
        assert!(
            second.starts_with(&format!("announcer is already running as pid {}", std::process::id())),
            "{second}"
        );
        drop(socket);
        assert!(!path.exists());
        Socket::bind(&files, &path).await.unwrap();
    }
}
