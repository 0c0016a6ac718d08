//! The steps of the demo, and their results.
//!
//! Touches the lab. A step ends when both routers have followed and the requests go to the expected frontends. Otherwise the demo
//! has failed.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use lab::flows::Control;
use lab::load::{Bucket, Counts};
use lab::{Cancel, Lab, Options};
use nix::sys::signal::{Signal, kill};
use scene::fib::Change;
use scene::log::{Log, Mark};
use scene::wire::Message;
use scene::{FRONTENDS, Figures, Scene, VIPS, server, topology};
use until::until;

use crate::flows::{self, Flows};

/// The VIP of the requests.
pub(crate) const VIP: &str = VIPS[0];
/// New connections a second.
pub(crate) const RATE: u32 = 1000;

/// How long each state is shown.
pub(crate) struct Pace {
    /// The time before the first step.
    first: Duration,
    /// The time after each step. It is longer than the timeout of a request, so that what a step loses is counted in it.
    hold: Duration,
}

impl Pace {
    /// For a person.
    pub(crate) const WATCHED: Pace =
        Pace { first: Duration::from_millis(3000), hold: Duration::from_millis(3500) };
    /// For a machine.
    pub(crate) const QUICK: Pace =
        Pace { first: Duration::from_millis(1200), hold: Duration::from_millis(1500) };
}

/// A message of the script.
pub(crate) enum ScriptEvent {
    /// The lab is running, and has to be ended at the end of the program.
    LabUp,
    /// Every frontend serves, and these are the logs to follow.
    Serving(Logs),
    /// A step begins.
    Begin {
        /// Its index in [`STEPS`].
        step: usize,
        /// When its action began: the times of the step are counted from here.
        at: SystemTime,
    },
    /// The step is over, with these results.
    Over(Row),
    /// Long-lived connections are open.
    FlowsOpen(Control),
    /// They have ended, and this many had broken before.
    FlowsEnded(usize),
}

/// The logs that the main thread follows. Other threads write them.
#[derive(Clone)]
pub(crate) struct Logs {
    /// When the requests began; the clock of the view starts here.
    pub(crate) at: SystemTime,
    /// The BGP messages of each router, in the order of `ROUTERS`.
    pub(crate) wire: Vec<Log<Message>>,
    /// The changes of each router's FIB.
    pub(crate) fib: Vec<Log<Change>>,
    /// The results of the requests.
    pub(crate) buckets: Log<Bucket>,
}

/// The result of a step.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The times since the fault or the command.
    pub(crate) figures: Figures,
    /// The results of the requests during the step.
    pub(crate) requests: Counts,
}

/// The state of a frontend after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrontendState {
    /// It serves.
    Serves,
    /// Its web server is dead.
    Crashed,
    /// It was drained.
    Drained,
    /// Its daemon was stopped.
    Stopped,
}

/// A step.
pub(crate) struct Step {
    /// The frontend of the step.
    pub(crate) frontend: &'static str,
    /// The action, for the table.
    pub(crate) what: &'static str,
    /// The state of the frontend after it.
    pub(crate) then: FrontendState,
    /// Whether long-lived connections go on during the step. Those of a server or a host that ends would break.
    flows: bool,
    /// Executes the step's action. It calls the last argument immediately before the action, where the measurement starts.
    act: fn(&Scene, &str, &dyn Fn()) -> Result<()>,
}

/// The whole script.
pub(crate) const STEPS: &[Step] = &[
    Step {
        frontend: "fe1",
        what: "kill -9 of every nginx process",
        then: FrontendState::Crashed,
        flows: false,
        act: crash,
    },
    Step {
        frontend: "fe1",
        what: "nginx started again",
        then: FrontendState::Serves,
        flows: false,
        act: web_start,
    },
    Step {
        frontend: "fe2",
        what: "announcer drain www",
        then: FrontendState::Drained,
        flows: true,
        act: drain,
    },
    Step {
        frontend: "fe2",
        what: "announcer undrain www",
        then: FrontendState::Serves,
        flows: true,
        act: undrain,
    },
    Step {
        frontend: "fe3",
        what: "announcer stopped (SIGTERM)",
        then: FrontendState::Stopped,
        flows: false,
        act: stop,
    },
    Step {
        frontend: "fe3",
        what: "announcer started again",
        then: FrontendState::Serves,
        flows: false,
        act: start,
    },
];

/// Kills every process of the web server.
fn crash(scene: &Scene, frontend: &str, now: &dyn Fn()) -> Result<()> {
    let pids = scene.servers(frontend)?;
    ensure!(!pids.is_empty(), "{frontend} has no {} to kill", server(frontend));
    now();
    pids.into_iter().try_for_each(|pid| kill(pid, Signal::SIGKILL)).context("kill")
}

fn web_start(scene: &Scene, frontend: &str, now: &dyn Fn()) -> Result<()> {
    command(scene, frontend, now, &["/lab/web", "start"])
}

fn drain(scene: &Scene, frontend: &str, now: &dyn Fn()) -> Result<()> {
    command(scene, frontend, now, &["announcer", "drain", "www", "--reason", "demo"])
}

fn undrain(scene: &Scene, frontend: &str, now: &dyn Fn()) -> Result<()> {
    command(scene, frontend, now, &["announcer", "undrain", "www"])
}

fn stop(scene: &Scene, frontend: &str, now: &dyn Fn()) -> Result<()> {
    command(scene, frontend, now, &["/lab/announcer", "stop"])
}

fn start(scene: &Scene, frontend: &str, now: &dyn Fn()) -> Result<()> {
    command(scene, frontend, now, &["/lab/announcer", "start"])
}

/// Starts the measurement, and runs a command in the frontend's node. An exit code other than 0 is an error.
fn command(scene: &Scene, frontend: &str, now: &dyn Fn(), words: &[&str]) -> Result<()> {
    now();
    scene.node(frontend)?.must(words)?;
    Ok(())
}

/// Starts the lab, executes every step, and ends the lab, also after a failure.
///
/// # Errors
/// When a step did not work as expected.
pub(crate) fn play(pace: &Pace, cancel: &Cancel, say: &dyn Fn(ScriptEvent)) -> Result<()> {
    let mut options = Options::new(&topology("ecmp"));
    options.name = Some(crate::LAB.to_owned());
    let lab = Lab::start(&options, cancel)?;
    say(ScriptEvent::LabUp);
    let scene = Scene::of(lab)?;
    let played = steps(&scene, pace, say);
    if cancel.is_cancelled() {
        // The caller of `cancel` ends the lab, so this thread must not end it too.
        std::mem::forget(scene);
        bail!("interrupted");
    }
    let down = scene.down().context("the lab did not end");
    played.and(down)
}

/// Sends requests and executes every step.
fn steps(scene: &Scene, pace: &Pace, say: &dyn Fn(ScriptEvent)) -> Result<()> {
    flows::switch_chain_on(scene)?;
    let buckets: Log<Bucket> = Log::default();
    let over = Arc::new(AtomicBool::new(false));
    let load = scene.load_live(VIP, RATE, Duration::from_secs(600), {
        let (buckets, over) = (buckets.clone(), over.clone());
        move |bucket| {
            buckets.push(bucket.clone());
            if over.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    })?;
    say(ScriptEvent::Serving(Logs {
        at: SystemTime::now(),
        wire: scene.routers.iter().map(|router| router.wire.clone()).collect(),
        fib: scene.routers.iter().map(|router| router.fib.clone()).collect(),
        buckets: buckets.clone(),
    }));
    thread::sleep(pace.first);
    shares(&buckets, &FRONTENDS).context("before the first step")?;
    let mut flows = None;
    for (index, step) in STEPS.iter().enumerate() {
        if step.flows && flows.is_none() {
            let opened = Flows::open(scene)?;
            say(ScriptEvent::FlowsOpen(opened.control.clone()));
            flows = Some(opened);
        }
        let row = play_step(scene, index, step, &buckets, pace, say)
            .with_context(|| format!("{}: {}", step.frontend, step.what))?;
        say(ScriptEvent::Over(row));
        let go_on = STEPS.get(index + 1).is_some_and(|next| next.flows);
        if let Some(flows) = flows.take_if(|_| !go_on) {
            let broken = flows.close()?;
            say(ScriptEvent::FlowsEnded(broken));
            ensure!(broken == 0, "{broken} long-lived connections broke");
        }
    }
    over.store(true, Ordering::Relaxed);
    load.report().map(drop)
}

/// Executes one step, and waits until both routers have followed it and its lost requests are counted.
fn play_step(
    scene: &Scene,
    index: usize,
    step: &Step,
    buckets: &Log<Bucket>,
    pace: &Pace,
    say: &dyn Fn(ScriptEvent),
) -> Result<Row> {
    let (mark, before) = (Mark::now(), buckets.count());
    let at = Cell::new(SystemTime::UNIX_EPOCH);
    (step.act)(scene, step.frontend, &|| {
        at.set(SystemTime::now());
        say(ScriptEvent::Begin { step: index, at: at.get() });
    })?;
    let at = at.get();
    let (figures, serving) = match step.then {
        FrontendState::Serves => (scene.announced(mark, at, step.frontend, VIP)?, FRONTENDS.to_vec()),
        FrontendState::Crashed | FrontendState::Drained | FrontendState::Stopped => {
            let figures = scene.withdrawn(mark, at, step.frontend, VIP)?;
            (figures, FRONTENDS.into_iter().filter(|other| *other != step.frontend).collect())
        }
    };
    scene.wait_next_hops(VIP, &serving)?;
    thread::sleep(pace.hold);
    shares(buckets, &serving)?;
    let mut requests = Counts::default();
    buckets.skip(before).iter().for_each(|bucket| requests.merge(&bucket.counts));
    Ok(Row { figures, requests })
}

/// Checks that in the last half second exactly these frontends served their share of the requests.
fn shares(buckets: &Log<Bucket>, serving: &[&str]) -> Result<()> {
    until(Duration::from_secs(5), || {
        ensure!(buckets.count() >= 5, "no requests are sent");
        Ok(())
    })?;
    let last = buckets.skip(buckets.count().saturating_sub(5));
    let lost: u64 = last.iter().map(|bucket| bucket.counts.lost()).sum();
    let answered: u64 = last.iter().map(|bucket| bucket.counts.answered()).sum();
    ensure!(lost == 0 && answered > 0, "{lost} requests are lost and {answered} answered in half a second");
    let fair = answered / u64::try_from(serving.len())?;
    for frontend in FRONTENDS {
        let got: u64 = last.iter().filter_map(|bucket| bucket.counts.ok.get(frontend)).sum();
        if serving.contains(&frontend) {
            ensure!(got > fair / 2, "{frontend} gets {got} of {answered} requests, and should get {fair}");
        } else {
            ensure!(got == 0, "{frontend} still gets {got} of {answered} requests");
        }
    }
    Ok(())
}
