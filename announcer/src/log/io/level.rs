//! The owner of the log's level: it executes orders, and returns to the level of the start when their time is over.
//!
//! Touches the clock and the filter of `tracing`.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::log::filter;
use crate::log::level::{LevelOrder, LevelState};

/// The filter of the log, which can be replaced.
#[derive(Clone)]
pub struct LogFilter {
    start: String,
    replace: Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFilter").field("start", &self.start).finish_non_exhaustive()
    }
}

/// An order, and who gave it.
#[derive(Debug)]
pub struct LevelRequest {
    /// What to do.
    pub order: LevelOrder,
    /// The channel for the sentence for the operator.
    pub reply: oneshot::Sender<String>,
}

/// The requests. A task that is started again after a panic continues to read them.
#[derive(Debug, Clone)]
pub struct LevelRequests(Arc<Mutex<mpsc::Receiver<LevelRequest>>>);

/// A channel for requests.
pub fn requests() -> (mpsc::Sender<LevelRequest>, LevelRequests) {
    let (sender, receiver) = mpsc::channel(4);
    (sender, LevelRequests(Arc::new(Mutex::new(receiver))))
}

impl LogFilter {
    pub(super) fn new(start: &str, handle: reload::Handle<EnvFilter, Registry>) -> Self {
        let replace = move |filter| handle.reload(filter).map_err(|error| error.to_string());
        LogFilter { start: start.to_owned(), replace: Arc::new(replace) }
    }

    /// Serves requests for ever. `warnings` gets the warning for `status`.
    pub async fn run(self, requests: LevelRequests, warnings: watch::Sender<Vec<String>>) {
        let mut requests = requests.0.lock().await;
        let mut state = LevelState::new(self.start.clone());
        self.apply(&state); // after a panic of this task
        loop {
            let deadline = state.deadline().map(Instant::from_std);
            tokio::select! {
                Some(LevelRequest { order, reply }) = requests.recv() => {
                    let said = state.order(order, Instant::now().into_std(), SystemTime::now());
                    // The line is written whatever the levels before and after are, unless both are below `info`.
                    info!(filter = state.filter(), "log level was changed");
                    self.apply(&state);
                    let _ = reply.send(said); // the requester may have ended
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    if state.expire(Instant::now().into_std()) {
                        self.apply(&state);
                        info!(filter = state.filter(), "log level is that of the start again");
                    }
                }
                else => return,
            }
            warnings.send_replace(state.warning().into_iter().collect());
        }
    }

    fn apply(&self, state: &LevelState) {
        // The filter was checked, when the daemon was started or when the order was given.
        if let Err(why) = filter::parse(state.filter()).and_then(|filter| (self.replace)(filter)) {
            error!(error = why, "log level was not changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_order_holds_for_its_time_and_is_warned_of() {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let records = applied.clone();
        let replace = Arc::new(move |filter: EnvFilter| {
            records.lock().unwrap().push(filter.to_string());
            Ok(())
        });
        let filter = LogFilter { start: "info".into(), replace };
        let (requests, heard) = requests();
        let (warnings, mut warning) = watch::channel(Vec::new());
        let task = tokio::spawn(filter.run(heard, warnings));
        let order = LevelOrder::new("announcer::bgp=debug", Duration::from_secs(600)).unwrap();
        let (reply, said) = oneshot::channel();
        requests.send(LevelRequest { order, reply }).await.unwrap();
        assert!(said.await.unwrap().starts_with("the log level is `announcer::bgp=debug` until "));
        warning.wait_for(|warnings| warnings.len() == 1).await.unwrap();
        let began = Instant::now();
        warning.wait_for(Vec::is_empty).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 600);
        let applied = applied.lock().unwrap().clone();
        let debug: Vec<bool> = applied.iter().map(|filter| filter.contains("announcer::bgp=debug")).collect();
        assert_eq!(debug, [false, true, false], "{applied:?}");
        drop(requests);
        task.await.unwrap();
    }
}
