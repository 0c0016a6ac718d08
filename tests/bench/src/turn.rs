//! Runs one candidate through every event once.
//!
//! Touches the lab. Times are measured without load, losses under load, one event after the other, each from a steady state. An
//! event that does not end as expected is a failure of the candidate. It ends the turn, but not the comparison.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use scene::log::Mark;
use scene::server;

use crate::candidate::Candidate;
use crate::results::{Event, Failure, Figure, Loss, Results};
use crate::stage::{FAST, FRONTEND, Stage, VIP, reacted};

/// New connections a second.
pub(crate) const RATE: u32 = 2000;
/// A third of the hold time (RFC 4271 §4.4): the routers' hold timer for a dead host starts at the last one.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(1);
/// Requests start this long before an event.
const BEFORE: Duration = Duration::from_millis(500);
/// Requests continue this long after the routers have reacted.
const AFTER: Duration = Duration::from_millis(200);

/// The parts of a turn that are run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    /// The times of all events that a candidate can influence.
    pub(crate) times: bool,
    /// Requests lost.
    pub(crate) losses: bool,
    /// The host's death: time and loss.
    pub(crate) death: bool,
    /// The position of the death between two keepalives: 0 to 1.
    pub(crate) phase: f64,
}

/// Runs one turn, and adds the results.
///
/// # Errors
/// When the lab itself fails.
pub(crate) fn play(stage: &Stage, candidate: Candidate, parts: Parts, results: &mut Results) -> Result<()> {
    let mut turn = Turn { stage, candidate, phase: parts.phase, results, event: Event::Start };
    for (wanted, figure, part) in [
        (parts.times, Figure::Time, (|turn| turn.times()) as TurnPart),
        (parts.losses, Figure::Loss, |turn| turn.losses()),
        (parts.death, Figure::Time, |turn| turn.death()),
    ] {
        if !wanted {
            continue;
        }
        turn.stage.configure(candidate, &[VIP.to_owned()], FAST)?;
        if let Err(error) = part(&mut turn) {
            let seen = format!("{error:#}");
            eprintln!("{}, {}: {seen}", candidate.title(), turn.event.title());
            turn.results.failures.push(Failure { candidate, event: turn.event, figure, seen });
        }
        turn.stage.clear(candidate)?;
    }
    Ok(())
}

type TurnPart = fn(&mut Turn<'_>) -> Result<()>;

struct Turn<'a> {
    stage: &'a Stage,
    candidate: Candidate,
    phase: f64,
    results: &'a mut Results,
    event: Event,
}

impl Turn<'_> {
    fn times(&mut self) -> Result<()> {
        self.time(Event::Start, true, |turn| turn.control("start"))?;
        self.time(Event::Crash, false, |turn| turn.signal(Signal::SIGKILL))?;
        self.time(Event::Return, true, |turn| turn.web("start"))?;
        self.time(Event::Hang, false, |turn| turn.signal(Signal::SIGSTOP))?;
        self.signal(Signal::SIGCONT)?;
        self.steady()?;
        self.time(Event::Drain, false, |turn| turn.control("drain"))?;
        self.control("undrain")?;
        self.steady()?;
        self.time(Event::Stop, false, |turn| turn.control("stop"))
    }

    /// After a drain and a stop, the web server is stopped gracefully as soon as the command has returned, because hosts are
    /// drained and stopped for maintenance of their servers.
    fn losses(&mut self) -> Result<()> {
        self.loss(Event::Start, true, |turn| turn.control("start"))?;
        self.loss(Event::Crash, false, |turn| turn.signal(Signal::SIGKILL))?;
        self.loss(Event::Return, true, |turn| turn.web("start"))?;
        self.loss(Event::Hang, false, |turn| turn.signal(Signal::SIGSTOP))?;
        self.signal(Signal::SIGCONT)?;
        self.steady()?;
        self.loss(Event::Drain, false, |turn| turn.control("drain").and_then(|()| turn.web("stop")))?;
        self.web("start")?;
        self.control("undrain")?;
        self.steady()?;
        self.loss(Event::Stop, false, |turn| turn.control("stop").and_then(|()| turn.web("stop")))
    }

    fn death(&mut self) -> Result<()> {
        self.event = Event::Death;
        self.control("start")?;
        self.steady()?;
        thread::sleep(KEEPALIVE.mul_f64(self.phase));
        let (times, lost) = under_load(self.stage, false, || {
            self.stage.node()?.must(&["nft", "-f", "/bench/silence"])?;
            Ok(())
        })?;
        self.results.reactions.push(reacted(self.candidate, Event::Death, times));
        self.results.losses.push(Loss { candidate: self.candidate, event: Event::Death, lost });
        Ok(())
    }

    fn time(&mut self, event: Event, there: bool, happens: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.event = event;
        let mark = Mark::now();
        let cause = SystemTime::now();
        happens(self)?;
        let times = self.stage.reaction(mark, cause, there, &mut self.results.floor_ms)?;
        self.results.reactions.push(reacted(self.candidate, event, times));
        if there { self.steady() } else { Ok(()) }
    }

    fn loss(&mut self, event: Event, there: bool, happens: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.event = event;
        let (_, lost) = under_load(self.stage, there, || happens(self))?;
        self.results.losses.push(Loss { candidate: self.candidate, event, lost });
        if there { self.steady() } else { Ok(()) }
    }

    /// Waits until the VIP is announced and probes run at their normal interval, so that the next event is at a random time between
    /// two probes.
    fn steady(&self) -> Result<()> {
        self.stage.wait_hops(VIP, true)?;
        thread::sleep(Duration::from_millis(fastrand::u64(300..300 + u64::from(FAST.interval_ms))));
        Ok(())
    }

    fn control(&self, word: &str) -> Result<()> {
        self.stage.control(self.candidate, word).with_context(|| format!("`control {word}`"))?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        ensure!(self.stage.node()?.kill(server(FRONTEND), signal) > 0, "no web server was running");
        Ok(())
    }

    fn web(&self, word: &str) -> Result<()> {
        self.stage.node()?.must(&["/lab/web", word])?;
        Ok(())
    }
}

/// Sends requests while something happens: the times of the reaction, and the requests lost.
///
/// # Errors
/// When the lab fails, the routers do not react, or nothing is answered.
fn under_load(
    stage: &Stage,
    there: bool,
    happens: impl FnOnce() -> Result<()>,
) -> Result<((Option<f64>, f64), u64)> {
    with_load(stage, || {
        let mark = Mark::now();
        let cause = SystemTime::now();
        happens()?;
        // Under load, the routers' queues delay the FIB, so these times do not count for the floor.
        stage.reaction(mark, cause, there, &mut Vec::new())
    })
}

/// Sends requests while something happens, and until it is over: its result, and the requests lost.
///
/// # Errors
/// When the lab or what happens fails, or nothing is answered.
pub(crate) fn with_load<T>(stage: &Stage, happens: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let over = Arc::new(AtomicBool::new(false));
    let stop = over.clone();
    let load = stage.scene.load_live(VIP, RATE, Duration::from_secs(300), move |_| {
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    thread::sleep(BEFORE);
    let happened = happens();
    thread::sleep(AFTER);
    over.store(true, Ordering::Relaxed);
    let report = load.report()?;
    let happened = happened?;
    ensure!(report.total.answered() > 0, "nothing answered");
    Ok((happened, report.total.lost()))
}
