//! Runs the operator's programs, for checks and for hooks alike.
//!
//! Touches processes, /etc/passwd, and the parent directories of protected paths. A program gets no shell, a clean environment, `/`
//! as working directory, an empty standard input, and its own process group. The whole group is killed when the program ends or
//! times out. Blocking work runs on another thread.
//!
//! ```text
//! turn ─→ start (blocking thread) ─→ Running ─→ exit: its group is killed, the run is over
//!                                       └─ dropped, or its time is up: its group is killed; it is reaped in the background
//! ```
//!
//! The exit of the program itself ends its run, also if a process in the background still holds its output open.

mod confinement;
mod landlock;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, Uid};
use procfs_core::FromRead;
use procfs_core::process::Stat;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use self::confinement::{Confinement, PendingRuleset};
use super::confine::Rights;
use super::{
    Bounds, HEAD, MOST_LINGERING, MOST_OUTPUT, NOBODY, ProgramEnd, ProgramFile, ProgramSpec, RunAs, RunPhase,
    StartError, in_passwd, why_not_run,
};
use crate::config::Config;
use crate::files::io::{self as files, Files};
use crate::time_limit::io::within;

pub use self::confinement::DaemonFiles;

/// The `PATH` of the programs.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many programs are started at the same time. This is more than two cores can load at once.
const MOST_STARTING: usize = 64;

/// How many ancestors of a process are checked.
const MOST_ANCESTORS: usize = 64;

/// Why the kernel cannot confine programs, as a sentence; `None`: it can.
pub fn landlock_error() -> Option<String> {
    let error = landlock::abi().err()?;
    Some(format!("Landlock cannot be used: {}", files::sentence(&error)))
}

/// The state that all runs of programs share. Clones share the same state. A daemon has one, and each test has its own.
#[derive(Debug, Clone)]
pub struct Programs(Arc<ProgramsInner>);

#[derive(Debug)]
struct ProgramsInner {
    confinement: Confinement,
    starting: Arc<Semaphore>,
}

impl Programs {
    /// Programs that cannot access the daemon's files and the keys in `configs`.
    pub fn new(files: Files, daemon: DaemonFiles, configs: watch::Receiver<Arc<Config>>) -> Self {
        Self::with(Confinement::new(files, Some((daemon, configs))))
    }

    /// Programs with all rights of their user.
    pub fn unconfined(files: Files) -> Self {
        Self::with(Confinement::new(files, None))
    }

    fn with(confinement: Confinement) -> Self {
        Programs(Arc::new(ProgramsInner { confinement, starting: Arc::new(Semaphore::new(MOST_STARTING)) }))
    }

    /// Waits until no program is being started, and lets none start while the result is held. `None`: a start has taken longer than
    /// `limit`. A start that hangs on a disk keeps its thread, and execve(2) of the daemon would wait for that thread.
    pub async fn no_starts(&self, limit: Duration) -> Option<OwnedSemaphorePermit> {
        let all = u32::try_from(MOST_STARTING).unwrap_or(u32::MAX);
        timeout(limit, self.0.starting.clone().acquire_many_owned(all)).await.ok()?.ok()
    }

    /// The warning if programs of the configuration cannot be confined.
    pub fn warning(&self) -> Option<String> {
        self.0.confinement.warning()
    }
}

/// Runs one program after the other, for one check and VIP or for the hook.
#[derive(Debug)]
pub struct Runner {
    programs: Programs,
    /// Only one program is started at a time, so that a hanging disk blocks only one thread.
    turn: Arc<Semaphore>,
    /// The places of programs that run, or that were killed and have not ended.
    places: Arc<Semaphore>,
}

/// A finished run.
#[derive(Debug)]
pub struct ProgramRun {
    /// How it ended.
    pub end: ProgramEnd,
    /// The start of its output, on standard output and standard error.
    pub output: Vec<u8>,
}

impl Runner {
    /// A runner whose programs share `programs`.
    pub fn new(programs: &Programs) -> Self {
        Runner {
            programs: programs.clone(),
            turn: Arc::new(Semaphore::new(1)),
            places: Arc::new(Semaphore::new(MOST_LINGERING)),
        }
    }

    /// Runs a program until it ends or times out. If the future is dropped, the program is killed.
    pub async fn run(&self, order: &Arc<ProgramSpec>, bounds: Bounds) -> ProgramRun {
        let (mut phase, mut output) = (RunPhase::Start, Vec::new());
        let ended = within(bounds.time, self.attempt(order, bounds.kept, &mut phase, &mut output)).await;
        let end = match ended {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => ProgramEnd::NotStarted(error),
            Err(_) => ProgramEnd::TimedOut(phase),
        };
        ProgramRun { end, output }
    }

    /// Waits until every program that was killed has ended, and no longer than `limit`.
    pub async fn settled(&self, limit: Duration) {
        let all = u32::try_from(MOST_LINGERING).unwrap_or(u32::MAX);
        let _ = timeout(limit, self.places.acquire_many(all)).await; // a program that hangs in the kernel is not waited for
    }

    async fn attempt(
        &self,
        order: &Arc<ProgramSpec>,
        kept: usize,
        phase: &mut RunPhase,
        output: &mut Vec<u8>,
    ) -> Result<ProgramEnd, StartError> {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return Ok(ProgramEnd::Lingering) };
        let ending = |_| StartError::Other("announcer is ending".into());
        let turn = self.turn.clone().acquire_owned().await.map_err(ending)?;
        let starting = self.programs.0.starting.clone().acquire_owned().await.map_err(ending)?;
        let start = ProgramStart { order: order.clone(), place, _held: (turn, starting) };
        let mut running = match start.begin(self.programs.clone()).await? {
            StartResult::Running(running) => running,
            StartResult::Waiting(waiting, start) => {
                let PendingRuleset { ruleset, rules } = waiting;
                let open = self.programs.0.confinement.open_remote(rules).await;
                start.finish(ruleset, open).await?
            }
        };
        *phase = RunPhase::Exit;
        running.end(kept, output).await
    }
}

/// A program that is being started, and the resources that it holds.
struct ProgramStart {
    order: Arc<ProgramSpec>,
    place: OwnedSemaphorePermit,
    _held: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// The result of the first step of a start.
enum StartResult {
    Running(RunningProgram),
    /// The start waits for a file system of another host.
    Waiting(PendingRuleset, ProgramStart),
}

impl ProgramStart {
    /// Starts it, unless it has to wait for a remote file system.
    async fn begin(self, programs: Programs) -> Result<StartResult, StartError> {
        blocking(move || {
            let own = ids(&self.order.user)?.is_none();
            let ruleset =
                if own { programs.0.confinement.ruleset().map_err(|e| refused(&e, false))? } else { None };
            match ruleset {
                Some(waiting) if !waiting.rules.is_empty() => Ok(StartResult::Waiting(waiting, self)),
                ruleset => Ok(StartResult::Running(self.spawn(ruleset.map(|waiting| waiting.ruleset))?)),
            }
        })
        .await
    }

    /// Starts it with the remote rules that could be opened.
    async fn finish(
        self,
        ruleset: Arc<OwnedFd>,
        open: Vec<(OwnedFd, Rights)>,
    ) -> Result<RunningProgram, StartError> {
        blocking(move || {
            for (place, rights) in open {
                confinement::allow(&ruleset, &place, rights).map_err(|error| refused(&error, false))?;
            }
            self.spawn(Some(ruleset))
        })
        .await
    }

    /// Starts it. Blocks until the program is loaded.
    fn spawn(self, ruleset: Option<Arc<OwnedFd>>) -> Result<RunningProgram, StartError> {
        let Some((program, arguments)) = self.order.command.split_first() else {
            return Err(StartError::Kernel(Errno::ENOENT));
        };
        let ids = ids(&self.order.user)?;
        let failed = |error: io::Error| refused(&error, false);
        let (output, write) = io::pipe().map_err(failed)?;
        let output = pipe::Receiver::from_owned_fd(output.into()).map_err(failed)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("PATH", PATH);
        command.envs(self.order.environment.iter().map(|(name, value)| (name.as_ref(), value)));
        command.current_dir("/").process_group(0).stdin(Stdio::null());
        command.stdout(write.try_clone().map_err(failed)?).stderr(write);
        if let Some((uid, gid)) = ids {
            command.uid(uid).gid(gid); // for root, this also removes all supplementary groups
        }
        if let Some(ruleset) = ruleset {
            landlock::confine(&mut command, ruleset);
        }
        let child = tokio::process::Command::from(command).spawn();
        let child = child.map_err(|error| {
            let refused = refused(&error, ids.is_some());
            if let StartError::Kernel(errno) = refused { look_at(Path::new(program), errno) } else { refused }
        })?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        id.into_iter().for_each(expose);
        Ok(RunningProgram {
            child: Some((child, self.place)),
            group: ProcessGroup(id.map(Pid::from_raw)),
            output,
        })
    }
}

/// Runs blocking work on a thread that may hang.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(StartError::Other("announcer is ending, or had an internal error".into())))
}

/// A running program. When this is dropped, the program and all processes of its group are killed.
#[derive(Debug)]
struct RunningProgram {
    /// `None`: it has ended and was reaped.
    child: Option<(Child, OwnedSemaphorePermit)>,
    group: ProcessGroup,
    output: pipe::Receiver,
}

impl RunningProgram {
    /// Waits for the end of the program itself; keeps the start of its output.
    async fn end(&mut self, kept: usize, output: &mut Vec<u8>) -> Result<ProgramEnd, StartError> {
        let failed = |error: io::Error| StartError::Other(error.to_string());
        let Some((child, _)) = &mut self.child else { return Err(failed(io::ErrorKind::NotFound.into())) };
        let (mut printed, mut open) = (0, true);
        let mut buffer = [0; 4096];
        let mut take = |octets: &[u8]| {
            let room = kept.saturating_sub(output.len());
            output.extend_from_slice(octets.get(..room).unwrap_or(octets));
            printed += octets.len();
            printed <= MOST_OUTPUT
        };
        let status = loop {
            tokio::select! {
                status = child.wait() => break status.map_err(failed)?,
                read = self.output.read(&mut buffer), if open => match read {
                    Ok(read @ 1..) => if !take(buffer.get(..read).unwrap_or_default()) {
                        return Ok(ProgramEnd::Endless);
                    },
                    Ok(0) | Err(_) => open = false,
                },
            }
        };
        // Kills the processes that it left behind. The number of the group is free now, but is not reused immediately.
        self.group.kill();
        self.child = None;
        // Reads the output from before the end. A process that has left the group may print for ever, so the amount is limited.
        while let Ok(read @ 1..) = self.output.try_read(&mut buffer) {
            if !take(buffer.get(..read).unwrap_or_default()) {
                return Ok(ProgramEnd::Endless);
            }
        }
        Ok(of_status(status))
    }
}

fn of_status(status: ExitStatus) -> ProgramEnd {
    status.code().map_or_else(
        || {
            let signal = status.signal().and_then(|signal| Signal::try_from(signal).ok());
            ProgramEnd::Signal(signal.map_or("a signal", Signal::as_str))
        },
        ProgramEnd::Code,
    )
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        let Some((mut child, place)) = self.child.take() else { return };
        self.group.kill(); // a process that has changed its user may survive, and keeps its place
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let _ = child.wait().await;
                drop(place);
            });
        }
    }
}

/// A program and all processes in its process group.
#[derive(Debug, Clone, Copy)]
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// Kills them all. A process that has changed its user may survive.
    fn kill(self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL); // it may have ended by itself at this moment
        }
    }
}

/// Removes the daemon's protection against the out-of-memory killer from a program, because the program may be what uses the
/// memory.
fn expose(id: i32) {
    let adjustment = |of: &str| fs::read_to_string(format!("/proc/{of}/oom_score_adj"));
    if adjustment("self").is_ok_and(|own| own.starts_with('-')) {
        let _ = fs::write(format!("/proc/{id}/oom_score_adj"), "0"); // it may have ended
    }
}

/// The user and group of a program; none: the daemon's own. Blocks.
fn ids(user: &RunAs) -> Result<Option<(u32, u32)>, StartError> {
    let own = Uid::effective();
    let name = match user {
        RunAs::User(name) => name.as_str(),
        RunAs::Unprivileged if own.is_root() => NOBODY,
        RunAs::Unprivileged | RunAs::Daemon => return Ok(None),
    };
    // It is read as a file, because a static binary has no name service.
    let text = fs::read_to_string("/etc/passwd").map_err(|error| refused(&error, false))?;
    match in_passwd(&text, name) {
        Some((uid, _)) if uid == own.as_raw() => Ok(None),
        Some(ids) => Ok(Some(ids)),
        None => Err(StartError::NoUser(name.to_owned())),
    }
}

/// Why a program did not start. `switched`: it had to run as another user.
fn refused(error: &io::Error, switched: bool) -> StartError {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw) else {
        return StartError::Other(error.to_string());
    };
    if errno == Errno::EAGAIN {
        StartError::NoProcess
    } else if errno == Errno::EPERM && switched {
        StartError::MayNotSwitch
    } else {
        StartError::Kernel(errno)
    }
}

/// Whether a process is a descendant of this process, as far as its ancestors still exist.
pub async fn started_by_daemon(pid: i32) -> bool {
    let own = Pid::this().as_raw();
    // A parent outside of this process namespace has the number 0.
    let parent = |pid: i32| {
        Stat::from_file(format!("/proc/{pid}/stat")).ok().map(|stat| stat.ppid).filter(|parent| *parent > 0)
    };
    let look = move || {
        std::iter::successors(Some(pid), |pid| parent(*pid)).take(MOST_ANCESTORS).any(|pid| pid == own)
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

/// Inspects a program that the kernel has refused to run. Blocks.
fn look_at(program: &Path, errno: Errno) -> StartError {
    let facts = fs::metadata(program).ok().filter(fs::Metadata::is_file);
    let mut head = Vec::new();
    let read = facts.as_ref().and_then(|_| File::open(program).ok());
    if let Some(file) = read {
        let _ = file.take(HEAD as u64).read_to_end(&mut head); // if it cannot be read, nothing is known about it
    }
    let found = facts.map(|facts| ProgramFile { executable: facts.mode() & 0o111 != 0, head: &head });
    why_not_run(errno, found, |path| Path::new(path).exists())
}

#[cfg(test)]
mod tests;
