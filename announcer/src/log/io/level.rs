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

use crate::config::{Config, LogConfig};
use crate::log::filter;
use crate::log::format::LogFormat;
use crate::log::level::{LevelOrder, LevelState};

/// The filter of the log, which can be replaced.
#[derive(Clone)]
pub struct LogFilter {
    /// What the command line says.
    given: LogOptions,
    replace: Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
    format: Arc<dyn Fn(LogFormat) + Send + Sync>,
}

/// What the command line says about the log. It comes before the configuration.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// The filter; `None`: that of the configuration.
    pub level: Option<String>,
    /// The format; `None`: that of the configuration.
    pub format: Option<LogFormat>,
}

impl LogOptions {
    /// The keys of `[log]` that have no effect, each with the option of the command line that comes first.
    fn instead_of(&self) -> Vec<(&'static str, &'static str)> {
        let level = self.level.as_ref().map(|_| ("level", "--log"));
        level.into_iter().chain(self.format.map(|_| ("format", "--log-format"))).collect()
    }

    /// The filter of the start.
    pub(super) fn level<'a>(&'a self, config: &'a LogConfig) -> &'a str {
        self.level.as_deref().unwrap_or(&config.level)
    }

    /// The format.
    pub(super) fn format(&self, config: &LogConfig) -> LogFormat {
        self.format.unwrap_or(config.format)
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFilter").field("given", &self.given).finish_non_exhaustive()
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
    pub(super) fn new(
        given: LogOptions,
        handle: reload::Handle<EnvFilter, Registry>,
        format: impl Fn(LogFormat) + Send + Sync + 'static,
    ) -> Self {
        let replace = move |filter| handle.reload(filter).map_err(|error| error.to_string());
        LogFilter { given, replace: Arc::new(replace), format: Arc::new(format) }
    }

    /// The keys of `[log]` that have no effect, each with the option of the command line that comes first.
    pub fn instead_of(&self) -> Vec<(&'static str, &'static str)> {
        self.given.instead_of()
    }

    /// Serves requests for ever, and applies `[log]` of each configuration. `warnings` gets the warning for `status`.
    pub async fn run(
        self,
        requests: LevelRequests,
        warnings: watch::Sender<Vec<String>>,
        mut configs: watch::Receiver<Arc<Config>>,
    ) {
        let mut requests = requests.0.lock().await;
        let config = configs.borrow_and_update().log.clone();
        let mut state = LevelState::new(self.given.level(&config).to_owned());
        let mut format = self.given.format(&config);
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
                Ok(()) = configs.changed() => {
                    let config = configs.borrow_and_update().log.clone();
                    if state.set_start(self.given.level(&config)) {
                        self.apply(&state);
                        info!(filter = state.filter(), "log level of the configuration was applied");
                    }
                    let wanted = self.given.format(&config);
                    if format != wanted {
                        format = wanted;
                        (self.format)(format);
                    }
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
        let filter = LogFilter { given: LogOptions::default(), replace, format: Arc::new(|_| {}) };
        let (requests, heard) = requests();
        let (warnings, mut warning) = watch::channel(Vec::new());
        let (configs, given) = watch::channel(config(""));
        let task = tokio::spawn(filter.run(heard, warnings, given));
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
        drop((requests, configs));
        task.await.unwrap();
    }

    #[test]
    fn an_option_of_the_command_line_is_named_with_its_key() {
        let (level, format) = (Some("debug".to_owned()), Some(LogFormat::Text));
        for (given, want) in [
            (LogOptions::default(), &[][..]),
            (LogOptions { level: level.clone(), format: None }, &[("level", "--log")]),
            (LogOptions { level: None, format }, &[("format", "--log-format")]),
            (LogOptions { level, format }, &[("level", "--log"), ("format", "--log-format")]),
        ] {
            assert_eq!(given.instead_of(), want);
        }
    }

    fn config(log: &str) -> Arc<Config> {
        let text = format!("{}{log}", crate::config::tests::with_services!(""));
        Arc::new(crate::config::parse("x", &text).unwrap_or_else(|errors| panic!("{errors}")))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_applies_what_the_command_line_does_not_say() {
        for (given, want) in [
            (LogOptions::default(), ["level info", "level warn", "format Json"].as_slice()),
            (LogOptions { level: Some("debug".into()), format: None }, &["level debug", "format Json"]),
            (LogOptions { level: None, format: Some(LogFormat::Text) }, &["level info", "level warn"]),
        ] {
            let applied = Arc::new(Mutex::new(Vec::new()));
            let (levels, formats) = (applied.clone(), applied.clone());
            let replace = Arc::new(move |filter: EnvFilter| {
                let text = filter.to_string();
                let level = ["debug", "warn", "info"]
                    .into_iter()
                    .find(|level| text.split(',').any(|part| part == *level));
                levels.lock().unwrap().push(format!("level {}", level.unwrap_or_default()));
                Ok(())
            });
            let format = Arc::new(move |format| formats.lock().unwrap().push(format!("format {format:?}")));
            let (requests, heard) = requests();
            let (warnings, _warning) = watch::channel(Vec::new());
            let (configs, seen) = watch::channel(config(""));
            let task = tokio::spawn(LogFilter { given, replace, format }.run(heard, warnings, seen));
            tokio::task::yield_now().await;
            configs.send_replace(config("[log]\nlevel = \"warn\"\nformat = \"json\"\n"));
            tokio::task::yield_now().await;
            configs.send_replace(config("[log]\nlevel = \"warn\"\nformat = \"json\"\n# the same\n"));
            drop((requests, configs));
            task.await.unwrap();
            assert_eq!(*applied.lock().unwrap(), want);
        }
    }
}
