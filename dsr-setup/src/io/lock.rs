//! The lock of the keeper of VIPs: the daemon or `dsr-setup watch`, and never both at the same time.
//!
//! Touches an abstract unix socket (unix(7)), `/proc/PID/status` and `/proc/PID/ns/user`. The name of such a socket belongs to the network namespace, as the
//! device with the VIPs does, so that it also holds between a container and its host. The kernel frees it when the process ends, however
//! it ends; no file is left. Who holds the lock listens; who does not connects, and so notices at once when the holder ends.
//!
//! ```text
//! both, at once      ROLE "\n"             `announcer`, `watch` or `question`
//! holder, at a stop  "stopped\n"           it was stopped by order; without this line it has crashed, or was replaced in place
//! ```
//!
//! A `watch` gives the lock to a daemon that connects: it closes its socket, and then the connection.
//!
//! Every user of the host may bind such a name. So only a process of root, of the own user, or with CAP_NET_ADMIN in the own user
//! namespace counts; any other holder is ignored, and the VIPs are kept without the lock.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::has_net_admin;

/// How long the other side may take for its line.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a daemon waits until a `watch` has let go.
const PATIENCE: Duration = Duration::from_secs(3);
/// The wait before another try, when the holder has just ended.
const PAUSE: Duration = Duration::from_millis(5);
/// The most processes that wait for the lock at the same time.
const MOST: usize = 16;
/// The longest line, in octets.
const LONGEST: usize = 32;
/// What a holder says when it is stopped by order.
const STOPPED: &str = "stopped";

/// Who keeps the VIPs, or asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The daemon.
    Daemon,
    /// `dsr-setup watch`.
    Watch,
    /// A command that asks who holds the lock.
    Question,
}

impl Role {
    const ALL: [Role; 3] = [Role::Daemon, Role::Watch, Role::Question];

    fn word(self) -> &'static str {
        match self {
            Role::Daemon => "announcer",
            Role::Watch => "watch",
            Role::Question => "question",
        }
    }

    /// The name of the program, for a message.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Role::Daemon => "announcer",
            Role::Watch => "`dsr-setup watch`",
            Role::Question => "a command of dsr-setup",
        }
    }
}

/// The result of a try to hold the lock.
#[derive(Debug)]
pub enum Attempt {
    /// This process holds it now.
    Held(KeeperLock),
    /// Another program holds it.
    Taken(LockHolder),
    /// A process that does not count has bound its name, or the holder does not answer; with a sentence.
    Unusable(String),
}

/// The lock, which is held until this is dropped.
#[derive(Debug)]
pub struct KeeperLock {
    role: Role,
    listener: UnixListener,
    waiting: Vec<UnixStream>,
}

/// The connection to the program that holds the lock.
#[derive(Debug)]
pub struct LockHolder {
    /// What it is.
    pub role: Role,
    /// Its process id, if it is visible.
    pub pid: Option<i32>,
    stream: UnixStream,
    /// The part of its last line that was read.
    heard: Vec<u8>,
}

/// How a holder has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderEnd {
    /// It was stopped by order.
    Stopped,
    /// It has crashed, was replaced in place, or has given the lock away.
    Gone,
}

/// Why a daemon does not have the lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it; with its name and its process.
    #[error("{0} holds the lock of the keeper")]
    Daemon(String),
    /// It cannot be used; with a sentence.
    #[error("{0}")]
    Unusable(String),
}

/// Tries once to hold the lock of the device with this name.
///
/// # Errors
/// When no socket can be made.
pub async fn attempt(device: &str, role: Role) -> io::Result<Attempt> {
    // The holder may end between both calls.
    for _ in 0..10 {
        match UnixListener::bind(name(device)) {
            Ok(listener) => return Ok(Attempt::Held(KeeperLock { role, listener, waiting: Vec::new() })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
        match holder(device, role).await {
            Ok(Some(holder)) => return Ok(Attempt::Taken(holder)),
            Ok(None) => sleep(PAUSE).await,
            Err(why) => return Ok(Attempt::Unusable(why)),
        }
    }
    Ok(Attempt::Unusable("the lock of the keeper is taken and freed all the time".to_owned()))
}

/// Holds the lock as the daemon, which a `watch` gives it.
///
/// # Errors
/// See [`LockError`].
pub async fn hold_as_daemon(device: &str) -> Result<KeeperLock, LockError> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match attempt(device, Role::Daemon).await {
            Ok(Attempt::Held(lock)) => return Ok(lock),
            Ok(Attempt::Taken(holder)) if holder.role == Role::Daemon => {
                return Err(LockError::Daemon(holder.name()));
            }
            Ok(Attempt::Taken(mut holder)) => {
                if timeout_at(give_up, holder.ended()).await.is_err() {
                    return Err(LockError::Unusable(format!(
                        "{} does not give the lock away",
                        holder.name()
                    )));
                }
            }
            Ok(Attempt::Unusable(why)) => return Err(LockError::Unusable(why)),
            Err(error) => {
                return Err(LockError::Unusable(format!("the lock of the keeper cannot be made: {error}")));
            }
        }
    }
}

/// Who holds the lock of the device with this name; `None`: nobody.
///
/// # Errors
/// A sentence about a holder that does not count or does not answer.
pub async fn holder(device: &str, role: Role) -> Result<Option<LockHolder>, String> {
    let stream = match UnixStream::connect(name(device)).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
        Err(error) => return Err(format!("the holder of the lock of the keeper cannot be asked: {error}")),
    };
    let (is_trusted, pid, uid) = credentials(&stream);
    if !is_trusted {
        return Err(format!("user {uid} holds the lock of the keeper, and has no right to"));
    }
    match exchange(stream, role).await {
        Ok((stream, role)) => Ok(Some(LockHolder { role, pid, stream, heard: Vec::new() })),
        // It has just ended.
        Err(error) if is_end(&error) => Ok(None),
        Err(error) => Err(format!("the holder of the lock of the keeper does not answer: {error}")),
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

impl KeeperLock {
    /// Answers those who want the lock. It returns when a daemon wants the lock of a `watch`: then call [`give_away`](Self::give_away).
    /// Dropping the future loses nothing but a client that has not said its line yet.
    pub async fn serve(&mut self) -> UnixStream {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                sleep(ANSWER).await; // no descriptor is left
                continue;
            };
            if !credentials(&stream).0 {
                continue;
            }
            let Ok((stream, role)) = exchange(stream, self.role).await else { continue };
            match (self.role, role) {
                (Role::Watch, Role::Daemon) => return stream,
                (_, Role::Question) => {}
                (_, Role::Watch | Role::Daemon) => {
                    // Those that have ended make room.
                    self.waiting.retain(|waiting| {
                        matches!(waiting.try_read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
                    });
                    if self.waiting.len() < MOST {
                        self.waiting.push(stream);
                    }
                }
            }
        }
    }

    /// Gives the lock to the daemon that wants it, which has this connection.
    pub fn give_away(self, daemon: UnixStream) {
        drop(self);
        drop(daemon); // only now the daemon tries to hold the lock
    }

    /// Ends by order: those who wait are told so.
    pub async fn stop(mut self) {
        for waiting in &mut self.waiting {
            let _ = timeout(ANSWER, waiting.write_all(format!("{STOPPED}\n").as_bytes())).await;
        }
    }
}

impl LockHolder {
    /// Waits until it has ended, and says how. Dropping the future loses nothing.
    pub async fn ended(&mut self) -> HolderEnd {
        match line(&mut self.stream, &mut self.heard).await {
            Ok(word) if word == STOPPED => HolderEnd::Stopped,
            Ok(_) | Err(_) => HolderEnd::Gone,
        }
    }

    /// `announcer (process 4711)`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.pid {
            Some(pid) => format!("{} (process {pid})", self.role.program()),
            None => self.role.program().to_owned(),
        }
    }
}

/// The abstract name, which begins with a NUL.
fn name(device: &str) -> String {
    format!("\0announcer/keeper/{device}")
}

/// Whether the process at the other end counts, with its process id and its user.
fn credentials(stream: &UnixStream) -> (bool, Option<i32>, u32) {
    let Ok(peer) = stream.peer_cred() else { return (false, None, u32::MAX) };
    let own = own_uid();
    let is_trusted =
        peer.uid() == 0 || Some(peer.uid()) == own || peer.pid().is_some_and(may_change_addresses);
    (is_trusted, peer.pid(), peer.uid())
}

/// Whether a process has CAP_NET_ADMIN here. Every user has it in a user namespace of its own, where it is worth nothing for this
/// host.
fn may_change_addresses(pid: i32) -> bool {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/user")).ok();
    let of_peer = namespace(&pid.to_string());
    of_peer.is_some()
        && of_peer == namespace("self")
        && has_net_admin(&format!("/proc/{pid}/status")).unwrap_or(false)
}

/// The user of this process, as the kernel says it of a socket of its own.
fn own_uid() -> Option<u32> {
    let (one, _other) = UnixStream::pair().ok()?;
    one.peer_cred().ok().map(|own| own.uid())
}

/// Says the own role, and hears the other one.
async fn exchange(mut stream: UnixStream, role: Role) -> io::Result<(UnixStream, Role)> {
    let both = async {
        stream.write_all(format!("{}\n", role.word()).as_bytes()).await?;
        let word = line(&mut stream, &mut Vec::new()).await?;
        let role = Role::ALL.into_iter().find(|role| role.word() == word);
        role.ok_or_else(|| io::Error::other("its answer was not understood"))
    };
    let role = timeout(ANSWER, both).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok((stream, role))
}

/// Reads one line, octet by octet, so that nothing after it is lost. `line` has what was read if the future is dropped.
async fn line(stream: &mut UnixStream, line: &mut Vec<u8>) -> io::Result<String> {
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(String::from_utf8_lossy(line).into_owned()),
            _ if line.len() == LONGEST => return Err(io::Error::other("its answer is too long")),
            octet => line.push(octet),
        }
    }
}
