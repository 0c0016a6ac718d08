//! The state that the probe loops of one daemon share: their start times, the limit of starting probes, and the count of probes.
//!
//! Touches the clock.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::trust::TrustStore;
use crate::files::io::Files;
use crate::health::outcome::Outcome;
use crate::program::io::Programs;

#[cfg(test)]
mod tests;

/// Loops that are started together start at least this far apart. A thousand connections at once would need more memory than
/// everything else, and the memory would not be returned.
const APART: Duration = Duration::from_micros(500);

/// Probes of all loops start at multiples of this, counted from the start of their [`Prober`]: probes that are due within it share
/// a wake-up, and the code is in the processor's caches. Otherwise loading the code is most of the cost of a probe.
pub(super) const START_GRID: Duration = Duration::from_millis(5);

/// At most this many probes of all loops wait for a fast answer at the same time. Each further probe would need a connection and
/// its memory.
const MAX_STARTING: usize = 64;
/// A healthy server answers within this time. A server that hangs delays other probes for no longer than this.
const FAST_ANSWER: Duration = Duration::from_millis(20);

/// The state that all probe loops of one daemon share: their start times, their grid, the limit of starting probes, and the count
/// of probes. Clones share the same state. A daemon has one prober, and each test has its own.
#[derive(Debug, Clone)]
pub struct Prober(Arc<ProberInner>);

#[derive(Debug)]
struct ProberInner {
    start_times: Mutex<StartTimes>,
    programs: Programs,
    /// The origin of the grid. It is the start of the daemon, which differs between hosts, so that hosts do not probe at the same
    /// time.
    epoch: Instant,
    /// A permit for each probe that may start now.
    starting: Semaphore,
    /// The number of the next probe: there is one count for all loops, so that the probes of a restarted loop have higher numbers
    /// than those before.
    sequence: AtomicU64,
    files: Files,
    trust: TrustStore,
}

/// The start time of the loop that was started last.
#[derive(Debug, Default)]
struct StartTimes {
    last: Option<std::time::Instant>,
}

impl StartTimes {
    /// How long a loop that starts now waits; zero if it starts alone.
    fn next(&mut self, now: std::time::Instant) -> Duration {
        let next = self.last.map_or(now, |last| now.max(last + APART));
        self.last = Some(next);
        next - now
    }
}

impl Prober {
    /// A prober with numbers from 1, which uses `files`, and does not confine its programs.
    pub fn new(files: Files) -> Self {
        Self::with_programs(files.clone(), Programs::unconfined(files))
    }

    /// A prober with numbers from 1, with the confinement of its programs.
    pub fn with_programs(files: Files, programs: Programs) -> Self {
        Prober(Arc::new(ProberInner {
            trust: TrustStore::new(files.clone()),
            files,
            programs,
            start_times: Mutex::default(),
            epoch: Instant::now(),
            starting: Semaphore::new(MAX_STARTING),
            sequence: AtomicU64::new(1),
        }))
    }

    /// The access to files.
    pub(super) fn files(&self) -> Files {
        self.0.files.clone()
    }

    /// The certificates that the probes trust.
    pub(super) fn trust(&self) -> &TrustStore {
        &self.0.trust
    }

    /// The state that the programs of `exec` checks share.
    pub(super) fn programs(&self) -> &Programs {
        &self.0.programs
    }

    /// A number above that of every probe that was started so far: a probe with a lower number was started before.
    pub fn issued(&self) -> u64 {
        self.0.sequence.load(Ordering::Relaxed)
    }

    /// The number of a probe that starts now.
    pub(super) fn number(&self) -> u64 {
        self.0.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// How long a loop that starts now waits for its turn.
    pub(super) fn turn(&self) -> Duration {
        self.0.start_times.lock().unwrap_or_else(PoisonError::into_inner).next(std::time::Instant::now())
    }

    /// The first point of the grid that is not before `next`.
    pub(super) fn on_grid(&self, next: Instant) -> Instant {
        let stride = START_GRID.as_nanos();
        let past = next.saturating_duration_since(self.0.epoch).as_nanos() % stride;
        next + Duration::from_nanos(u64::try_from((stride - past) % stride).unwrap_or_default())
    }

    /// Makes one probe, when few enough others are starting. On an overloaded machine, probes wait here without a connection.
    pub(super) async fn admit(&self, probe: impl Future<Output = Outcome>) -> Outcome {
        let place = self.0.starting.acquire().await; // the semaphore is never closed
        let mut probe = pin!(probe);
        match timeout(FAST_ANSWER, probe.as_mut()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                drop(place);
                probe.await
            }
        }
    }
}
