//! The terminal of `announcer top`, the signals, and the thread that asks the daemon.
//!
//! Touches standard input and output, the clock and the control socket. Two threads block in the place of the view: one reads the
//! terminal, one waits for the daemon. So the keys work while the daemon does not answer.

use std::io::{self, BufWriter, IsTerminal, Read, Stdout, Write};
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::Rect;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::keys::KeyReader;
use super::state::{AskError, TopAction, TopEvent, TopState};
use super::view;
use crate::control::api::{Request, Response};
use crate::control::io::client::{self, ClientError};

/// The time between two ticks.
const TICK: Duration = Duration::from_millis(250);
/// ESC is the key Escape if no other octet follows for this time. A slow connection sends a sequence in parts.
const ESCAPE: Duration = Duration::from_millis(50);
/// The size of a terminal that does not say its size.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// Why the view could not begin, or has ended although nobody wanted it.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// Standard input or standard output is no terminal.
    #[error(
        "`announcer top` needs a terminal as its standard input and output; `announcer status` prints to a file or a pipe"
    )]
    NoTerminal,
    /// The terminal cannot be used, or is gone.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[from] io::Error),
    /// There are no rights to ask the daemon, as a sentence.
    #[error("{0}")]
    Forbidden(String),
}

/// Shows the view until someone ends it by a key or a signal. `colour`: whether marks have colours.
///
/// # Errors
/// When there is no terminal, when it is lost, or when the daemon may not be asked.
pub fn run(socket: &Path, colour: bool) -> Result<(), TopError> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(TopError::NoTerminal);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the terminal is changed: a signal that comes early has to restore it too.
        let signals = ViewSignals::new()?;
        let mut screen = FullScreen::take()?;
        drive(socket, TopState::new(colour), signals, &mut screen).await
    })
}

async fn drive(
    socket: &Path,
    mut state: TopState,
    mut signals: ViewSignals,
    screen: &mut FullScreen,
) -> Result<(), TopError> {
    let (requests, mut answers) = asker(socket);
    let mut input = reader();
    let mut keys = KeyReader::default();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let start = Instant::now();
    loop {
        let mut events = Vec::new();
        tokio::select! {
            () = any(&mut signals.ends) => return Ok(()),
            _ = signals.resize.recv() => {}
            _ = ticks.tick() => events.push(TopEvent::Tick(start.elapsed())),
            octets = input.recv() => match octets {
                Some(octets) => events.extend(keys.push(&octets?).into_iter().map(TopEvent::Key)),
                None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            },
            () = sleep(ESCAPE), if keys.is_waiting() => events.extend(keys.flush().map(TopEvent::Key)),
            answer = answers.recv() => match answer {
                Some((request, answer)) => events.push(TopEvent::Answer(request, answer)),
                None => return Err(io::Error::other("the thread that asks the daemon has ended").into()),
            },
        }
        let (columns, rows) = screen.measure()?;
        events.insert(0, TopEvent::Resize { columns, rows });
        for action in events.into_iter().flat_map(|event| state.on(event)).collect::<Vec<_>>() {
            match action {
                // The thread lives as long as the receiver of its answers.
                TopAction::Ask(request) => drop(requests.send(request)),
                TopAction::End => return Ok(()),
                TopAction::Fail(why) => return Err(TopError::Forbidden(why)),
            }
        }
        screen.draw(&state)?;
    }
}

/// The signals that matter to the view.
struct ViewSignals {
    ends: [Signal; 4],
    resize: Signal,
}

impl ViewSignals {
    fn new() -> io::Result<Self> {
        let ends = [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::quit())?,
        ];
        Ok(ViewSignals { ends, resize: signal(SignalKind::window_change())? })
    }
}

/// Waits for one of the signals that end the view.
async fn any([terminate, interrupt, hangup, quit]: &mut [Signal; 4]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
        _ = quit.recv() => {}
    }
}

/// A request, with its answer or why there is none.
type DaemonAnswer = (Request, Result<Response, AskError>);

/// The thread that asks the daemon: it takes requests, and sends their answers.
fn asker(socket: &Path) -> (std::sync::mpsc::Sender<Request>, UnboundedReceiver<DaemonAnswer>) {
    let (requests, to_do) = std::sync::mpsc::channel::<Request>();
    let (done, answers) = unbounded_channel();
    let socket = socket.to_owned();
    thread::spawn(move || {
        for request in to_do {
            let answer = client::ask(&socket, &request, Duration::ZERO).map_err(|error| match error {
                ClientError::Forbidden(_) => AskError::Forbidden(error.to_string()),
                ClientError::NotRunning(_) | ClientError::Interrupted | ClientError::Broken { .. } => {
                    AskError::NoAnswer(error.to_string())
                }
            });
            if done.send((request, answer)).is_err() {
                return;
            }
        }
    });
    (requests, answers)
}

/// The thread that reads the terminal. It ends with the terminal, or with the process.
fn reader() -> UnboundedReceiver<io::Result<Vec<u8>>> {
    let (read, octets) = unbounded_channel();
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        loop {
            let result = match io::stdin().lock().read(&mut buffer) {
                Ok(0) => return,
                Ok(size) => Ok(buffer[..size].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = result.is_err();
            if read.send(result).is_err() || failed {
                return;
            }
        }
    });
    octets
}

/// Whether the terminal has other modes now than before, and has to be restored.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// The hook for panics is set once.
static HOOK: Once = Once::new();

/// The whole terminal. It is restored when this is dropped, and before the message of a panic is printed.
#[derive(Debug)]
pub struct FullScreen {
    backend: CrosstermBackend<BufWriter<Stdout>>,
    /// What is on the terminal.
    shown: Buffer,
}

impl FullScreen {
    /// Takes the terminal: it sends each key at once, and what it showed comes back afterwards.
    ///
    /// # Errors
    /// When the terminal cannot be used. It is restored then too.
    pub fn take() -> io::Result<FullScreen> {
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                previous(panic);
            }));
        });
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let backend = CrosstermBackend::new(BufWriter::new(io::stdout()));
        let mut screen = FullScreen { backend, shown: Buffer::empty(Rect::ZERO) };
        execute!(screen.backend, EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// The columns and rows of the terminal. If they have changed, everything is drawn anew.
    fn measure(&mut self) -> io::Result<(u16, u16)> {
        let size = terminal_size::terminal_size_of(io::stdout()).map(|(columns, rows)| (columns.0, rows.0));
        let (columns, rows) = size.unwrap_or(USUAL_SIZE);
        let area = Rect::new(0, 0, columns, rows);
        if self.shown.area != area {
            execute!(self.backend, Clear(ClearType::All))?;
            self.shown = Buffer::empty(area);
        }
        Ok((columns, rows))
    }

    /// Writes what differs from what is on the terminal.
    fn draw(&mut self, state: &TopState) -> io::Result<()> {
        let mut next = Buffer::empty(self.shown.area);
        view::paint(state, &mut next);
        self.backend.draw(self.shown.diff(&next).into_iter())?;
        Backend::flush(&mut self.backend)?;
        self.shown = next;
        Ok(())
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was. Errors have no place for a message: the terminal may be gone.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let _ = execute!(out, LeaveAlternateScreen, Show);
        let _ = out.flush();
        let _ = disable_raw_mode();
    }
}
