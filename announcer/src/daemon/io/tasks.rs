//! A task that is started again when it panics, and ends when its handle is dropped.

use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::sleep;
use tracing::error;

/// The wait before a task that panicked is started again.
const RESTART: Duration = Duration::from_secs(1);

/// The handle of a task. The task ends when the handle is dropped.
#[derive(Debug)]
pub(in crate::daemon) struct OwnedTask(JoinHandle<()>);

impl OwnedTask {
    /// Runs the future that `task` makes, and makes a new one when it panics.
    pub(in crate::daemon) fn new<F>(name: String, mut task: impl FnMut() -> F + Send + 'static) -> OwnedTask
    where
        F: Future<Output = ()> + Send + 'static,
    {
        OwnedTask(tokio::spawn(async move {
            loop {
                let running = tokio::spawn(task());
                let _ends_with_us = AbortOnDrop(running.abort_handle());
                match running.await {
                    Err(e) if e.is_panic() => {
                        error!(task = name, "task panicked, starts again in a second");
                        sleep(RESTART).await;
                    }
                    Ok(()) | Err(_) => return,
                }
            }
        }))
    }

    /// Waits until it has ended by itself.
    pub(in crate::daemon) async fn ended(&mut self) {
        let _ = (&mut self.0).await; // a task that ended with an error has ended too
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_started_again_and_one_that_ends_is_not() {
        let starts = Arc::new(AtomicU32::new(0));
        let count = starts.clone();
        let mut kept = OwnedTask::new("test".into(), move || {
            let start = count.fetch_add(1, Ordering::Relaxed);
            async move { assert!(start > 1, "as a test") }
        });
        kept.ended().await;
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_task_ends() {
        let (alive, mut gone) = tokio::sync::mpsc::channel::<()>(1);
        let kept = OwnedTask::new("test".into(), move || {
            let alive = alive.clone();
            async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            }
        });
        tokio::task::yield_now().await;
        drop(kept);
        assert!(gone.recv().await.is_none());
    }
}
