//! The signals that the daemon handles.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the daemon handles. By default each of them would end it without a withdraw. Those without a meaning here have a
/// handler too: programs of checks and hooks would inherit it if a signal was ignored, and exec(2) resets handlers.
pub(in crate::daemon) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
    recheck: Signal,
    user_defined2: Signal,
    alarm: Signal,
}

impl Signals {
    /// Handles them from now on.
    pub(in crate::daemon) fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
            recheck: signal(SignalKind::user_defined1())?,
            user_defined2: signal(SignalKind::user_defined2())?,
            alarm: signal(SignalKind::alarm())?,
        })
    }

    /// The name of the next one.
    pub(in crate::daemon) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.quit.recv() => "SIGQUIT",
            _ = self.hang_up.recv() => "SIGHUP",
            _ = self.recheck.recv() => "SIGUSR1",
            _ = self.user_defined2.recv() => "SIGUSR2",
            _ = self.alarm.recv() => "SIGALRM",
        }
    }

    /// Waits for a second signal to end.
    pub(in crate::daemon) async fn second(&mut self) {
        while !matches!(self.next().await, "SIGTERM" | "SIGINT" | "SIGQUIT") {}
    }
}
