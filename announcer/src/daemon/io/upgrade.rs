//! Replaces the running program by the one on disk, in the same process. If that is refused, nothing changes.
//!
//! ```text
//! file ─→ ask the program (a child) ─→ pause short enough? ─→ write the last state ─→ execve
//!   └──────── error: the caller gets it, this program goes on ────────────────────────┘
//! ```
//!
//! Touches the program's file, a child process, and this process.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::chain::guard;
use crate::chain::heartbeat::IntentKind;
use crate::chain::io::{GuardPermit, GuardRequest, permitted};
use crate::config::Config;
use crate::control::api::{ErrorCode, Response};
use crate::control::io::UpgradeRequest;
use crate::fallback::Fallback;
use crate::files::io::{self as files, Files};
use crate::hook::HookRuns;
use crate::log::io::LogBuffer;
use crate::program::io::{Programs, Runner};
use crate::program::{Bounds, ProgramSpec, RunAs};
use crate::takeover::io::descriptors::Descriptors;
use crate::takeover::io::exec::{SignalsWait, execute};
use crate::takeover::successor::{ANSWER_TIME, Successor, judge};
use crate::takeover::{STATE_VERSION, StartReport, gap};

/// How long the last lines of the log may take before the program is replaced.
const LAST_LINES: Duration = Duration::from_millis(200);
/// How long the start of a program may take. The pause of the daemon does not begin before it has ended.
const START_TIME: Duration = Duration::from_secs(1);
/// How long the runs of the hook may take.
const HOOKS: Duration = Duration::from_secs(10);
/// How long the main loop may take to handle the signals that came before.
const LAST_SIGNALS: Duration = Duration::from_millis(5);
/// How much of what the program says is kept, in octets.
const KEPT: usize = 4096;

/// Writes the last state, immediately before the program is replaced. On an error the program is not replaced.
pub(in crate::daemon) type LastState = Box<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Upgrades, one at a time.
pub(in crate::daemon) struct Upgrader {
    pub(in crate::daemon) files: Files,
    /// The programs of checks and hooks.
    pub(in crate::daemon) programs: Programs,
    /// The runs of the hook.
    pub(in crate::daemon) hooks: watch::Receiver<HookRuns>,
    /// The new programs that are asked.
    pub(in crate::daemon) asked: Programs,
    pub(in crate::daemon) descriptors: Descriptors,
    pub(in crate::daemon) last_state: LastState,
    pub(in crate::daemon) configs: watch::Receiver<Arc<Config>>,
    /// The guard of capacity.
    pub(in crate::daemon) guard: mpsc::Sender<GuardRequest>,
    /// The shortest detection time of BFD; `None`: there is no BFD session.
    pub(in crate::daemon) detection: Box<dyn Fn() -> Option<Duration> + Send + Sync>,
    pub(in crate::daemon) config: PathBuf,
    pub(in crate::daemon) state_dir: PathBuf,
    pub(in crate::daemon) fallback: watch::Receiver<Option<Fallback>>,
    pub(in crate::daemon) start: watch::Receiver<StartReport>,
    pub(in crate::daemon) log: LogBuffer,
}

impl Upgrader {
    /// Serves requests for ever, one at a time.
    pub(in crate::daemon) async fn serve(self, mut requests: mpsc::Receiver<UpgradeRequest>) {
        while let Some(UpgradeRequest { successor, force, reply }) = requests.recv().await {
            let Err(why) = self.upgrade(successor, force).await;
            warn!(error = why, "program was not replaced, the old one goes on");
            if let Some(reply) = reply {
                let text = format!("error: {why}; the running program goes on");
                let _ = reply.send(Response::error(ErrorCode::Refused, text)); // the requester may have ended
            }
        }
    }

    /// Replaces the program, or returns why not.
    async fn upgrade(&self, successor: Successor, force: bool) -> Result<Infallible, String> {
        let installed = self.start.borrow().installed.clone();
        let installed = installed.ok_or("it is not known which file the running program was started from")?;
        let program = successor.file(&installed);
        let program = program.ok_or_else(|| format!("`{}` is in no folder `bin`", installed.display()))?;
        let named = format!("the {} `{}`", successor.name(), program.display());
        let unreadable = |error: files::FileError| format!("{named} cannot be used: {error}");
        self.nothing_hangs()?; // before the program is asked, which may need the same file system
        let before = self.files.run(&program, files::version).await.map_err(unreadable)?;
        let begin = Instant::now();
        let version = self.ask(&program).await.map_err(|why| format!("{named} does not take over: {why}"))?;
        // BFD goes on before the configuration is read. The first time, the time that the program took to answer stands for its pause.
        let asked = begin.elapsed();
        // A pause that was long once, on a busy host, does not count against each later upgrade.
        let pause = self.start.borrow().bfd_pause.map_or(asked, |pause| pause.min(asked));
        if let Err(error) = gap::allows((self.detection)(), Some(pause))
            && !force
        {
            return Err(format!("{error}; `announcer upgrade --force` does it anyway"));
        }
        let after = self.files.run(&program, files::version).await.map_err(unreadable)?;
        if after != before {
            return Err(format!("{named} was replaced while it was asked; try again"));
        }
        self.nothing_hangs()?;
        if !force {
            self.hooks_are_done().await?;
        }
        // It is dropped if the program is not replaced; otherwise the intent ends with this program.
        let _permit = if force { GuardPermit::unneeded() } else { self.capacity().await? };
        let _no_starts = (self.no_starts(&self.programs).await?, self.no_starts(&self.asked).await?);
        info!(version, program = %program.display(), "program is replaced, the process stays");
        // A signal that comes from now on is the next program's. One that came before is handled first: if it is a stop, the main loop
        // drops this future.
        let _signals_wait = SignalsWait::begin();
        sleep(LAST_SIGNALS).await;
        self.log.wait_until_written(LAST_LINES);
        let written = (self.last_state)();
        written.map_err(|error| format!("the state cannot be written: {error}"))?;
        execute(&program, &installed, &self.descriptors)
            .map_err(|error| format!("{named} cannot be executed: {}", files::sentence(&error)))
    }

    /// Asks the other members of the chain whether this host may fail: the next program may not come to announce the VIPs.
    async fn capacity(&self) -> Result<GuardPermit, String> {
        let config = self.configs.borrow().clone();
        let needs = guard::needs(&config, &config.vips().map(|(vip, _)| vip).collect());
        permitted(&self.guard, IntentKind::Upgrade, needs, Duration::ZERO)
            .await
            .map_err(|why| format!("{why}; `announcer upgrade --force` does it anyway"))
    }

    /// Whether no file system hangs: execve(2) waits until every thread has ended, and a thread that hangs in the kernel does not end.
    fn nothing_hangs(&self) -> Result<(), String> {
        match self.files.hanging().borrow().keys().next() {
            Some(path) => Err(format!(
                "the file system of `{}` hangs, and an upgrade would wait for it",
                path.display()
            )),
            None => Ok(()),
        }
    }

    /// Waits until the hook was run for every change. The next program does not know the changes before it.
    async fn hooks_are_done(&self) -> Result<(), String> {
        let mut hooks = self.hooks.clone();
        let done = timeout(HOOKS, hooks.wait_for(|runs| runs.pending == 0)).await;
        if done.is_ok() {
            return Ok(());
        }
        let pending = self.hooks.borrow().pending;
        Err(format!(
            "the hook has not been run for {pending} changes yet, and these runs would be lost; `announcer upgrade --force` does it anyway"
        ))
    }

    /// Lets no program start while the result is held. A start that hangs in the kernel has a thread that does not end.
    async fn no_starts(&self, programs: &Programs) -> Result<OwnedSemaphorePermit, String> {
        let none = programs.no_starts(START_TIME).await;
        none.ok_or_else(|| {
            let limit = humantime::format_duration(START_TIME);
            format!("the start of a program of a check or hook, or of another upgrade, has not ended within {limit}, and an upgrade would wait for it: its disk may hang")
        })
    }

    /// Asks a program whether it can take over, and returns its version.
    async fn ask(&self, program: &Path) -> Result<String, String> {
        let text = |path: &Path| path.to_str().map(str::to_owned).ok_or("a path is not UTF-8");
        let mut command = vec![text(program)?, "takeover-check".into()];
        command.extend(["--state-version".into(), STATE_VERSION.to_string()]);
        command.extend(["--config".into(), text(&self.config)?]);
        command.extend(["--state-dir".into(), text(&self.state_dir)?]);
        if self.fallback.borrow().is_some() {
            command.push("--fallback".into()); // the file is wrong already, and the copy runs
        }
        // The configuration may have variables of the environment.
        let environment = std::env::vars_os();
        let environment = environment
            .filter_map(|(name, value)| Some((name.into_string().ok()?.into(), value.into_string().ok()?)))
            .collect();
        let order = Arc::new(ProgramSpec { command, user: RunAs::Daemon, environment });
        // It reads the configuration and its keys, which the programs of checks cannot.
        let runner = Runner::new(&self.asked);
        let run = runner.run(&order, Bounds { time: ANSWER_TIME, kept: KEPT }).await;
        judge(&run.end, &run.output)
    }
}
