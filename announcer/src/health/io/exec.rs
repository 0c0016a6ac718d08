//! The program probe: runs a program of the operator's, and goes by its exit code.
//!
//! Touches processes. No shell, an environment of our own, `/` as working directory, nothing on standard input, a user
//! without our rights. Nothing outlives its probe: when it ends, in whatever way, its whole process group is killed.
//!
//! ```text
//! start (aside: a mount that hangs would hold up a fork) ──→ Running ──→ exit code
//!                                                              └─ dropped at any time: SIGKILL to the group, then reaped
//! ```

use std::io;
use std::net::IpAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::aside::Aside;
use super::prober::Prober;
use super::trouble::{self, Passed, Trouble};
use crate::config::kind;
use crate::config::kind::exec::ExitCodes;
use crate::health::Target;
use crate::health::outcome::{Answer, Outcome, Reason, Shortage, Shown, Waiting, Warning};
use crate::model::ServiceName;
use crate::program::io::{self as program, Group};

#[cfg(test)]
mod tests;

/// Who runs them for a daemon that is root and was not told.
const NOBODY: &str = "nobody";

/// The most octets that a program may print; a line is enough.
const MOST_OUTPUT: usize = 1024 * 1024;

/// Octets of it that are looked at for the first line.
const MOST_LINE: usize = 1024;

/// The most programs of one check and VIP that are killed and have not ended: they hang in the kernel.
const MOST_LEFT: usize = 8;

/// What is run, and as whom.
#[derive(Debug, Clone)]
pub struct Order {
    /// The program's absolute path, then its arguments.
    pub command: Vec<String>,
    /// Whose rights it has; without it, the daemon's own, or `nobody`'s if that is root.
    pub user: Option<String>,
    /// `ANNOUNCER_SERVICE`.
    pub service: ServiceName,
    /// `ANNOUNCER_VIP`.
    pub vip: IpAddr,
    /// `ANNOUNCER_CHECK`: the check's name.
    pub check: String,
}

/// A probe by one program, ready to be run again and again.
#[derive(Debug)]
pub struct Exec {
    order: Arc<Order>,
    codes: ExitCodes,
    timeout: Duration,
    aside: Aside,
    places: Arc<Semaphore>,
}

impl Exec {
    /// A probe by the program of `exec`, for a target.
    pub fn of(_: &Prober, target: &Target, exec: &kind::exec::Exec) -> Self {
        let order = Order {
            command: exec.command.clone(),
            user: exec.user.clone(),
            service: target.service.clone(),
            vip: target.vip,
            check: target.config.name.clone(),
        };
        Exec::new(order, exec.exit_codes, target.config.timeout)
    }

    /// A probe by `order`; `timeout` is for the whole run.
    pub fn new(order: Order, codes: ExitCodes, timeout: Duration) -> Self {
        let places = Arc::new(Semaphore::new(MOST_LEFT));
        Exec { order: Arc::new(order), codes, timeout, aside: Aside::new(), places }
    }

    /// Runs it once. Dropped, it kills it.
    pub async fn probe(&self) -> Outcome {
        let start = Instant::now();
        let mut waiting = Waiting::Start;
        let answer = tokio::time::timeout(self.timeout, self.ask(&mut waiting)).await;
        trouble::outcome(answer, waiting, self.timeout, start.elapsed())
    }

    async fn ask(&self, waiting: &mut Waiting) -> Result<Passed, Trouble> {
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| Trouble::Fail(Reason::Lingering))?;
        let order = self.order.clone();
        let mut running = self.aside.run(move || Running::start(&order, place)).await?;
        *waiting = Waiting::Exit;
        let (status, said) = running.end().await?;
        judge(self.codes, status, &said)
    }
}

/// What an exit means. A program that does not say that all is well says that it is not: Nagios' UNKNOWN too.
fn judge(codes: ExitCodes, status: ExitStatus, said: &[u8]) -> Result<Passed, Trouble> {
    let said = first_line(codes, said);
    let Some(code) = status.code() else {
        let signal = status.signal().and_then(|signal| Signal::try_from(signal).ok());
        return Err(Trouble::Fail(Reason::Killed(signal.map_or("a signal", Signal::as_str))));
    };
    match (codes, code) {
        (ExitCodes::Zero | ExitCodes::Nagios, 0) => Ok(Answer::Exit(code).into()),
        (ExitCodes::Nagios, 1) => {
            Ok(Passed { answer: Answer::Exit(code), warning: Some(Warning::Program(said)) })
        }
        (ExitCodes::Zero | ExitCodes::Nagios, _) => Err(Trouble::Fail(Reason::Exit { code, said })),
    }
}

/// The first line; of a Nagios plugin's the part for people, without what follows `|`.
fn first_line(codes: ExitCodes, said: &[u8]) -> Option<Shown> {
    let text = String::from_utf8_lossy(said);
    let line = text.trim_start().lines().next()?;
    let line = match codes {
        ExitCodes::Zero => line,
        ExitCodes::Nagios => line.split('|').next().unwrap_or(line),
    };
    Some(Shown::new(line.trim_end())).filter(|_| !line.trim().is_empty())
}

/// A program that runs. Dropped, it and all that it started are killed.
#[derive(Debug)]
struct Running {
    /// None: it has ended and is reaped.
    child: Option<(Child, OwnedSemaphorePermit)>,
    group: Group,
    output: pipe::Receiver,
}

impl Running {
    /// Starts it; blocks until its program is loaded.
    fn start(order: &Order, place: OwnedSemaphorePermit) -> Result<Running, Trouble> {
        let Some(mut command) = program::command(&order.command) else {
            return Err(Trouble::Fail(Reason::NotRun(Errno::ENOENT)));
        };
        let ids = ids(order.user.as_deref())?;
        let refused = |error: io::Error| refused(&error, ids.is_some());
        let (output, write) = io::pipe().map_err(refused)?;
        command.env("ANNOUNCER_SERVICE", order.service.as_str());
        command.env("ANNOUNCER_VIP", order.vip.to_string()).env("ANNOUNCER_CHECK", &order.check);
        command.stdout(write.try_clone().map_err(refused)?).stderr(write);
        if let Some((uid, gid)) = ids {
            command.uid(uid).gid(gid); // which for root ends the membership in all other groups
        }
        let output = pipe::Receiver::from_owned_fd(output.into()).map_err(refused)?;
        let (child, group) = program::spawn(command).map_err(refused)?;
        Ok(Running { child: Some((child, place)), group, output })
    }

    /// Waits for its end; the beginning of what it printed.
    async fn end(&mut self) -> Result<(ExitStatus, Vec<u8>), Trouble> {
        let failed = |error: io::Error| Trouble::Fail(trouble::refused(&error));
        let Some((child, _)) = &mut self.child else {
            return Err(failed(io::ErrorKind::NotFound.into()));
        };
        let (mut said, mut printed, mut open) = (Vec::new(), 0, true);
        let mut buffer = [0; 4096];
        let mut hear = |heard: &[u8]| {
            let room = MOST_LINE.saturating_sub(said.len());
            said.extend_from_slice(heard.get(..room).unwrap_or(heard));
            printed += heard.len();
            if printed > MOST_OUTPUT { Err(Trouble::Fail(Reason::Endless)) } else { Ok(()) }
        };
        let status = loop {
            tokio::select! {
                status = child.wait() => break status.map_err(failed)?,
                read = self.output.read(&mut buffer), if open => match read {
                    Ok(read @ 1..) => hear(buffer.get(..read).unwrap_or_default())?,
                    Ok(0) | Err(_) => open = false,
                },
            }
        };
        // What it left behind; its number is free by now, but no other takes it in this instant.
        self.group.kill();
        self.child = None;
        while let Ok(read @ 1..) = self.output.try_read(&mut buffer) {
            hear(buffer.get(..read).unwrap_or_default())?;
        }
        Ok((status, said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some((mut child, place)) = self.child.take() else { return };
        self.group.kill(); // one that took other rights stays, and keeps its place
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let _ = child.wait().await;
                drop(place);
            });
        }
    }
}

/// User and group that it has to run as; none: our own.
fn ids(user: Option<&str>) -> Result<Option<(u32, u32)>, Trouble> {
    let own = Uid::effective();
    let name = match user {
        Some(name) => name,
        None if own.is_root() => NOBODY,
        None => return Ok(None),
    };
    // Read as a file: a static binary has no name service.
    let text = std::fs::read_to_string("/etc/passwd").map_err(|error| refused(&error, false))?;
    match in_passwd(&text, name) {
        Some((uid, _)) if uid == own.as_raw() => Ok(None),
        Some(ids) => Ok(Some(ids)),
        None => Err(Trouble::Fail(Reason::NoUser(Shown::new(name)))),
    }
}

/// `name:password:uid:gid:…`
fn in_passwd(text: &str, name: &str) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let mut number = |at| fields.nth(at)?.parse().ok();
        found.then_some((number(1)?, number(0)?))
    })
}

/// Why a program did not start. `switched`: it was to have other rights than ours.
fn refused(error: &io::Error, switched: bool) -> Trouble {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw) else {
        return Trouble::Fail(trouble::refused(error));
    };
    if errno == Errno::EAGAIN {
        return Trouble::Skip(Shortage::Processes);
    }
    if errno == Errno::EPERM && switched {
        return Trouble::Fail(Reason::NotAllowed);
    }
    Shortage::of(errno).map_or(Trouble::Fail(Reason::NotRun(errno)), Trouble::Skip)
}
