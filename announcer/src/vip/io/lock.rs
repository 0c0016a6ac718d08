//! The lock that the keeper of a device shares with `dsr-setup watch`: while the daemon has it, `watch` leaves the VIPs alone.
//!
//! Touches the lock of the dsr-setup library. Without the lock the VIPs are kept all the same.

use std::time::Duration;

use dsr_setup::io::lock::{KeeperLock, LockError, hold_as_daemon};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// How often to try for a lock that another process has.
const AGAIN: Duration = Duration::from_secs(10);
/// The longest time in which those who wait for the lock are told of a stop.
const FAREWELL: Duration = Duration::from_secs(1);

/// The task that has the lock. The lock is free when this is dropped.
pub(super) struct LockTask {
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
}

impl LockTask {
    /// Starts the task, which takes the lock. A `watch` that has it gives it away first, within milliseconds. The receiver gets its
    /// message when the VIPs may be kept: the lock was taken, or the first attempt has failed, after some seconds at most.
    pub(super) fn start(device: &str) -> (LockTask, oneshot::Receiver<()>) {
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let task = tokio::spawn(run(device.to_owned(), ready, stopped));
        (LockTask { task, stop: Some(stop) }, is_ready)
    }

    /// Tells those who wait that the daemon is stopped by order.
    pub(super) async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let _ = timeout(FAREWELL, &mut self.task).await;
    }
}

impl Drop for LockTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(device: String, ready: oneshot::Sender<()>, mut stopped: oneshot::Receiver<()>) {
    let mut held = tokio::select! {
        _ = &mut stopped => return,
        held = first_attempt(&device) => held,
    };
    let _ = ready.send(()); // an error means that the keeper has ended
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            () = keep(&device, &mut held) => {}
        }
    }
    if let Some(held) = held {
        held.stop().await;
    }
}

/// Takes the lock; `None`: it is not free.
async fn first_attempt(device: &str) -> Option<KeeperLock> {
    match hold_as_daemon(device).await {
        Ok(held) => Some(held),
        Err(LockError::Daemon(other)) => {
            info!(other, device, "another announcer keeps its VIPs on the device too");
            None
        }
        Err(LockError::Unusable(error)) => {
            warn!(error, device, "VIPs are kept without the lock, trying again");
            None
        }
    }
}

/// Answers those who want the lock, or tries to get it.
async fn keep(device: &str, held: &mut Option<KeeperLock>) {
    match held {
        // A daemon gives it to nobody.
        Some(lock) => drop(lock.serve().await),
        None => {
            sleep(AGAIN).await;
            if let Ok(lock) = hold_as_daemon(device).await {
                info!(device, "lock of the VIPs was taken");
                *held = Some(lock);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use dsr_setup::io::lock::{Attempt, Role, attempt};

    use super::*;

    /// A time in which a task ends that waits for nothing.
    const AT_ONCE: Duration = Duration::from_millis(800);

    /// Makes a name of a device that no other process uses, and takes its lock as a `watch` that hangs.
    async fn hanging_watch(test: &str) -> (String, KeeperLock) {
        let device = format!("{test}{}", std::process::id());
        match attempt(&device, Role::Watch).await.unwrap() {
            Attempt::Held(lock) => (device, lock),
            Attempt::Taken(_) | Attempt::Unusable(_) => panic!("{device} is locked"),
        }
    }

    #[tokio::test]
    async fn vips_are_kept_when_the_first_attempt_for_the_lock_has_ended() {
        let (device, watch) = hanging_watch("first").await;
        let (lock, mut ready) = LockTask::start(&device);
        assert!(
            timeout(Duration::from_millis(200), &mut ready).await.is_err(),
            "the `watch` still has the lock"
        );
        timeout(Duration::from_secs(10), ready).await.expect("a `watch` that hangs stops nobody").unwrap();
        lock.stop().await;
        drop(watch);
        let (_lock, ready) = LockTask::start(&device);
        timeout(Duration::from_secs(10), ready).await.expect("the lock is free").unwrap();
        assert!(matches!(attempt(&device, Role::Watch).await.unwrap(), Attempt::Taken(_)));
    }

    #[tokio::test]
    async fn a_stop_ends_the_first_attempt_for_the_lock_at_once() {
        let (device, _watch) = hanging_watch("stop").await;
        let (lock, ready) = LockTask::start(&device);
        assert!(timeout(Duration::from_millis(50), ready).await.is_err());
        let begin = Instant::now();
        lock.stop().await;
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    }
}
