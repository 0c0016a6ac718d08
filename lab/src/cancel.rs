//! Ends a running `up` from another thread, such as the one that waits for signals.
//!
//! Touches the processes that it has started. `cancel` kills them, and no other process can be started after it.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

/// A handle that the working thread and the interrupting thread share.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    cancelled: bool,
    children: BTreeSet<i32>,
}

impl Cancel {
    /// A handle that is not cancelled.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Kills the running processes, and prevents further starts.
    pub fn cancel(&self) {
        let mut inner = self.lock();
        inner.cancelled = true;
        for pid in &inner.children {
            // A process that has just ended is still a zombie: it is removed from `children` before it is reaped.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }

    /// Whether `cancel` was called.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Starts `command`; `wait` it with [`Cancel::wait`]. After `cancel`: [`io::ErrorKind::Interrupted`].
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut inner = self.lock();
        if inner.cancelled {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let child = command.spawn()?;
        inner.children.insert(raw(&child));
        Ok(child)
    }

    /// Waits for a child that [`Cancel::spawn`] started.
    pub(crate) fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let pid = raw(child);
        let ended = waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        self.lock().children.remove(&pid);
        ended?;
        let status = child.wait()?;
        let killed = status.signal() == Some(Signal::SIGKILL as i32);
        if killed && self.is_cancelled() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(status) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn raw(child: &Child) -> i32 {
    // Linux pids are at most 2^22.
    i32::try_from(child.id()).unwrap_or(i32::MAX)
}

/// Calls `then` at the first SIGINT, SIGTERM or SIGHUP, in a thread of its own.
///
/// # Errors
/// When signals cannot be received.
pub fn at_signal(then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .map(signal)
        .collect::<Result<Vec<_>, _>>()?;
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            futures_util::future::select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
        });
        then();
    });
    Ok(())
}
