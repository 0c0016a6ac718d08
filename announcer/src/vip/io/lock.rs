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
    /// Takes the lock. A `watch` that has it gives it away first, within milliseconds.
    pub(super) async fn start(device: &str) -> LockTask {
        let held = match hold_as_daemon(device).await {
            Ok(held) => Some(held),
            Err(LockError::Daemon(other)) => {
                info!(other, device, "another announcer keeps its VIPs on the device too");
                None
            }
            Err(LockError::Unusable(error)) => {
                warn!(error, device, "VIPs are kept without the lock, trying again");
                None
            }
        };
        let (stop, stopped) = oneshot::channel();
        LockTask { task: tokio::spawn(run(device.to_owned(), held, stopped)), stop: Some(stop) }
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

async fn run(device: String, mut held: Option<KeeperLock>, mut stopped: oneshot::Receiver<()>) {
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
