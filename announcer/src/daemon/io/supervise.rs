//! The part of the main loop that reports to systemd: ready, the text of `STATUS=`, and the watchdog.
//!
//! Touches systemd's socket and the clock. [`systemd`](crate::systemd) has the words, and [`watchdog`](crate::watchdog) decides
//! whether the watchdog is fed. This runs in the main loop, so that a main loop that stands still feeds nothing.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tracing::{error, info};

use super::sessions::SessionTurns;
use crate::bgp::io::peers::Peers;
use crate::director::VipNumbers;
use crate::fallback::Fallback;
use crate::systemd::io::Notifier;
use crate::systemd::{Notice, ServiceNumbers, status};
use crate::watchdog::{Feeding, LastTurn, LoopAge, decide};

/// How often the main loop turns when nothing happens. Also the shortest time between two texts of `STATUS=`, and the time between
/// two signs of life.
const TICK: Duration = Duration::from_secs(1);

/// What the reports are about.
#[derive(Debug)]
pub(in crate::daemon) struct Supervised {
    /// Whether the control socket is served.
    pub(in crate::daemon) answering: watch::Receiver<bool>,
    /// The numbers of VIPs, from the director.
    pub(in crate::daemon) numbers: watch::Receiver<VipNumbers>,
    /// The sessions.
    pub(in crate::daemon) peers: watch::Receiver<Peers>,
    /// The copy that runs instead of the configuration's file.
    pub(in crate::daemon) fallback: watch::Receiver<Option<Fallback>>,
    /// The director's loop.
    pub(in crate::daemon) directed: LastTurn,
    /// The loops of the sessions.
    pub(in crate::daemon) sessions: watch::Receiver<SessionTurns>,
}

/// Reports to systemd.
#[derive(Debug)]
pub(in crate::daemon) struct Supervisor {
    notifier: Notifier,
    supervised: Supervised,
    ticks: Interval,
    /// The last text of `STATUS=` that systemd has received.
    sent: String,
    feeding: Feeding,
}

impl Supervisor {
    /// Nothing is reported yet.
    pub(in crate::daemon) fn new(notifier: Notifier, supervised: Supervised) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Supervisor { notifier, supervised, ticks, sent: String::new(), feeding: Feeding::Fed }
    }

    /// Waits until there is something to do, and returns how late that is. If the future is dropped, nothing is lost.
    pub(in crate::daemon) async fn wait(&mut self) -> Duration {
        let is_starting = !self.notifier.is_ready();
        tokio::select! {
            planned = self.ticks.tick() => Instant::now().saturating_duration_since(planned),
            Ok(()) = self.supervised.numbers.changed(), if is_starting => Duration::ZERO,
            Ok(()) = self.supervised.answering.changed(), if is_starting => Duration::ZERO,
        }
    }

    /// Reports everything that is due. `late`: from [`wait`](Self::wait).
    pub(in crate::daemon) fn turn(&mut self, late: Duration) {
        let numbers = *self.supervised.numbers.borrow_and_update();
        let answering = *self.supervised.answering.borrow_and_update();
        if !self.notifier.is_ready() && answering && numbers.not_looked_for == 0 {
            self.notifier.started(); // if systemd does not read now, the next turn sends it again
        }
        let (routers, established) = self.supervised.peers.borrow().count();
        let VipNumbers { vips, advertised, not_looked_for: _ } = numbers;
        let warning = self.supervised.fallback.borrow().as_ref().map(Fallback::summary);
        let words = status(ServiceNumbers { vips, advertised, routers, established }, warning.as_deref());
        if words != self.sent && self.notifier.send(&Notice::Status(words.clone())) {
            self.sent = words;
        }
        if self.notifier.watchdog().is_some() {
            self.feed(late);
        }
    }

    /// Feeds the watchdog during a stop, which may last longer than the watchdog's time. Never returns.
    pub(in crate::daemon) async fn feed_while_stopping(&mut self) {
        loop {
            let planned = self.ticks.tick().await;
            if self.notifier.watchdog().is_some() {
                self.feed(Instant::now().saturating_duration_since(planned));
            }
        }
    }

    fn feed(&mut self, late: Duration) {
        let feeding = self.judge(late);
        match (&self.feeding, &feeding) {
            (Feeding::Fed, Feeding::Starved(stuck)) => {
                let loops: Vec<&str> = stuck.iter().map(|one| one.name.as_str()).collect();
                error!(
                    loops = loops.join(", "),
                    "loop stands still, systemd restarts announcer unless it goes on"
                );
            }
            (Feeding::Starved(_), Feeding::Fed) => info!("loops go on"),
            (Feeding::Fed, Feeding::Fed) | (Feeding::Starved(_), Feeding::Starved(_)) => {}
        }
        if feeding == Feeding::Fed {
            self.notifier.send(&Notice::Alive); // if systemd does not read now, the next one follows in a second
        }
        self.feeding = feeding;
    }

    /// Whether the watchdog is fed now.
    fn judge(&self, late: Duration) -> Feeding {
        let now = Instant::now().into_std();
        let director = LoopAge { name: "director".to_owned(), age: self.supervised.directed.age(now) };
        let sessions = self.supervised.sessions.borrow();
        let sessions = sessions
            .iter()
            .map(|(peer, last)| LoopAge { name: format!("session with {peer}"), age: last.age(now) });
        decide(std::iter::once(director).chain(sessions).collect(), late)
    }
}

#[cfg(test)]
mod tests;
