//! Programs of checks and hooks that the former program has started, and that are children of this process since an upgrade.
//!
//! Touches processes and /proc. The next program does not know them: nobody reads their output, and their time limits are gone. Each
//! is waited for by its number, so that no other child is taken from the runtime; what has not ended after [`LIMIT`] is killed.

use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::files::io as files;

/// How long a program may go on after an upgrade: the default of a hook's `timeout`, twice.
const LIMIT: Duration = Duration::from_secs(60);
/// How often they are looked at.
const PAUSE: Duration = Duration::from_millis(200);

/// The children of this process; to be called before it starts one, on its first thread.
pub fn children() -> Vec<Pid> {
    let own = std::process::id();
    let path = PathBuf::from(format!("/proc/{own}/task/{own}/children"));
    let text = files::read_text(&path, 1024 * 1024).unwrap_or_default(); // a kernel without this file: they stay zombies
    text.split_whitespace().filter_map(|number| number.parse().ok()).map(Pid::from_raw).collect()
}

/// Waits for each of them.
pub async fn wait_for(mut children: Vec<Pid>) {
    let end = Instant::now() + LIMIT;
    let mut killed = false;
    loop {
        children.retain(|child| match waitpid(*child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => true,
            Ok(_) | Err(_) => false, // it has ended, or is no child of ours
        });
        if children.is_empty() {
            return;
        }
        if !killed && Instant::now() >= end {
            debug!(programs = children.len(), "programs of before the upgrade were killed");
            for child in &children {
                let _ = killpg(*child, Signal::SIGKILL); // it may have ended
            }
            killed = true;
        }
        sleep(PAUSE).await;
    }
}
