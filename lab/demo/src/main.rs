//! `demo`: shows announcer live in a terminal, with real routers. It ends by itself, and leaves nothing behind.
//!
//! ```text
//! script   a thread: brings the lab up, breaks and mends it step by step ──ScriptEvent──┐ mpsc
//! signals  a thread: SIGINT, SIGTERM, SIGHUP ───────────────────────────────────────────┤
//! main     follows the routers' and the load's logs, draws; ends the lab ←──────────────┘
//! flows    the chain of the frontends, and the long-lived connections that it keeps
//! view     pure: what is known -> lines         screen   lines -> a terminal, or a pipe
//! ```
//!
//! The main thread never waits for the lab, so an interrupt is handled at once, at any step of the script.

#![warn(clippy::print_stdout, clippy::print_stderr)] // the crate `output` prints
#![allow(clippy::wildcard_enum_match_arm)] // errors of the lab grow

mod flows;
mod follow;
mod screen;
mod script;
mod view;

use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use clap::Parser;
use lab::{Cancel, engine};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use until::until;

use crate::follow::LogFollower;
use crate::screen::Screen;
use crate::script::{Pace, ScriptEvent};
use crate::view::View;

/// The lab's name; other labs may run at the same time.
const LAB: &str = "demo";
/// How often the screen is drawn again.
const FRAME: Duration = Duration::from_millis(100);
/// How long a signal may take to arrive here after the script has ended. The terminal sends Ctrl-C to the programs of the script
/// too, and the script ends when one of them does.
const SIGNAL_DELAY: Duration = Duration::from_millis(200);
/// How long each of the three parts of cleaning up may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shows announcer at work on two routers and three frontends. Needs root.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Show each step for a shorter time.
    #[arg(long)]
    quick: bool,
    /// Print lines instead of a picture, as if the output were not a terminal.
    #[arg(long)]
    plain: bool,
}

/// A message to the main thread.
pub(crate) enum Input {
    /// By the script.
    Script(ScriptEvent),
    /// A signal from the user.
    Signal(Signal),
}

/// How the demo ended.
enum DemoEnd {
    /// The script has ended, with this result.
    Played(Result<()>),
    /// A signal has ended it.
    Interrupted(Signal),
    /// The output was closed, or cannot be written.
    Closed,
}

fn main() -> ExitCode {
    let arguments: Arguments = match output::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    output::finish(match run(&arguments) {
        Ok(DemoEnd::Closed) => ExitCode::SUCCESS,
        Ok(DemoEnd::Played(Ok(()))) => ExitCode::SUCCESS,
        Ok(DemoEnd::Interrupted(signal)) => {
            output::note("demo: interrupted; the lab was removed");
            ExitCode::from(128u8.saturating_add(signal as u8))
        }
        Ok(DemoEnd::Played(Err(error))) | Err(error) => {
            output::note(format_args!("demo: {error:#}"));
            ExitCode::FAILURE
        }
    })
}

fn run(arguments: &Arguments) -> Result<DemoEnd> {
    let (input_tx, inputs) = mpsc::channel();
    let cancel = Cancel::new();
    signals(input_tx.clone())?;
    let pace = if arguments.quick { Pace::QUICK } else { Pace::WATCHED };
    let script = thread::spawn({
        let cancel = cancel.clone();
        move || script::play(&pace, &cancel, &|event| drop(input_tx.send(Input::Script(event))))
    });
    let mut screen = Screen::new(arguments.plain);
    let mut view = View::new(SystemTime::now());
    let early = watch(&inputs, &script, &mut view, &mut screen);
    screen.close();
    match early {
        Some(end) => {
            cancel.cancel();
            clean_up(&inputs, &script, &view).context("cleaning up")?;
            Ok(end)
        }
        None => {
            let played = script.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            screen.print(&view.last_words(screen.has_drawn(), played.is_ok()));
            Ok(DemoEnd::Played(played))
        }
    }
}

/// Shows the events until the script ends, which returns `None`, or until a signal arrives or the output is closed.
fn watch(
    inputs: &Receiver<Input>,
    script: &JoinHandle<Result<()>>,
    view: &mut View,
    screen: &mut Screen,
) -> Option<DemoEnd> {
    let mut follow: Option<LogFollower> = None;
    let mut next = Instant::now() + FRAME;
    loop {
        match inputs.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Input::Signal(signal)) => return Some(DemoEnd::Interrupted(signal)),
            Ok(Input::Script(event)) => {
                if let ScriptEvent::Serving(logs) = &event {
                    follow = Some(LogFollower::new(logs.clone()));
                }
                if let (ScriptEvent::FlowsOpen(control), Some(follow)) = (&event, &mut follow) {
                    follow.flows = Some(control.clone());
                }
                view.handle(event);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                next = Instant::now() + FRAME;
                let is_over = script.is_finished(); // asked first, so that the last entries of the logs are still shown
                if let Some(follow) = &mut follow {
                    follow.catch_up(view);
                }
                screen.show(view, SystemTime::now());
                if !output::is_open() {
                    return Some(DemoEnd::Closed);
                }
                if is_over {
                    return signal_within(SIGNAL_DELAY, inputs).map(DemoEnd::Interrupted);
                }
            }
        }
    }
}

/// Waits for a signal, but no longer than `time`.
fn signal_within(time: Duration, inputs: &Receiver<Input>) -> Option<Signal> {
    let end = Instant::now() + time;
    while let Ok(input) = inputs.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if let Input::Signal(signal) = input {
            return Some(signal);
        }
    }
    None
}

/// Cleans up after an interrupt. The script's thread may be at any step, and ends with this process.
fn clean_up(inputs: &Receiver<Input>, script: &JoinHandle<Result<()>>, view: &View) -> Result<()> {
    let mut up = view.lab_is_up();
    // A lab that is being started cleans up itself.
    let _ = until(PATIENCE, || {
        up |= inputs.try_iter().any(|input| matches!(input, Input::Script(ScriptEvent::LabUp)));
        if up || script.is_finished() { Ok(()) } else { Err(()) }
    });
    if up {
        // Another process may be ending it now.
        until(PATIENCE, || match engine::down(LAB) {
            Err(error @ lab::Error::Busy { .. }) => Err(error),
            Ok(()) | Err(lab::Error::NotUp(_)) => Ok(Ok(())),
            Err(error) => Ok(Err(error)),
        })??;
    }
    // Commands that ran in nodes end with them. This process waits for them, so that none outlives it.
    let _ = until(PATIENCE, || {
        while let Ok(ended) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if ended == WaitStatus::StillAlive {
                return Err(());
            }
        }
        Ok(()) // no child is left
    });
    Ok(())
}

/// Starts a thread that sends the first SIGINT, SIGTERM or SIGHUP to the main thread.
fn signals(input_tx: mpsc::Sender<Input>) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(guard);
    thread::spawn(move || {
        let signal = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => Signal::SIGINT,
                _ = terminate.recv() => Signal::SIGTERM,
                _ = hangup.recv() => Signal::SIGHUP,
            }
        });
        let _ = input_tx.send(Input::Signal(signal)); // if this fails, the program is already ending
    });
    Ok(())
}
