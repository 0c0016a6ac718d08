//! What the probe loops of one daemon share: when they start, how many probes begin at a time, and the count of probes.
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

/// Loops that are started together have their start_times so far apart: a thousand connections at once would cost the daemon
/// more memory than all else, for good.
const APART: Duration = Duration::from_millis(1);

/// Probes of all loops start at multiples of this, counted from the start of their [`Prober`]: those that are due within it share
/// a wake-up, and find the code that they need in the processor's caches. It is most of what a probe costs.
pub(super) const START_GRID: Duration = Duration::from_millis(5);

/// At most so many probes of all loops wait for a fast answer at the same time. More would hold a connection and its memory each.
const MAX_STARTING: usize = 64;
/// A server that is well has answered within this time. One that hangs keeps no other probe waiting for longer.
const FAST_ANSWER: Duration = Duration::from_millis(20);

/// What all probe loops of one daemon share: their start_times, their grid, the limit of probes that start, and the count of probes.
/// Clones are the same one; a daemon has one, and so has each test.
#[derive(Debug, Clone)]
pub struct Prober(Arc<ProberInner>);

#[derive(Debug)]
struct ProberInner {
    start_times: Mutex<StartTimes>,
    programs: Programs,
    /// The grid's beginning. When a daemon starts is left to chance, so that a fleet does not probe in step.
    epoch: Instant,
    /// A permit for each probe that may still start.
    starting: Semaphore,
    /// The number of the next probe: one count for all loops, so that the probes of a loop that is started anew are newer than
    /// those before.
    sequence: AtomicU64,
    files: Files,
    trust: TrustStore,
}

/// When the loop that was started last has its turn.
#[derive(Debug, Default)]
struct StartTimes {
    last: Option<std::time::Instant>,
}

impl StartTimes {
    /// How long a loop that starts now waits for its turn; not at all if it starts alone.
    fn next(&mut self, now: std::time::Instant) -> Duration {
        let next = self.last.map_or(now, |last| now.max(last + APART));
        self.last = Some(next);
        next - now
    }
}

impl Prober {
    /// One whose probes are numbered from 1, which looks at files through `files`, and whose programs are not confined.
    pub fn new(files: Files) -> Self {
        Self::with_programs(files.clone(), Programs::unconfined(files))
    }

    /// One whose probes are numbered from 1, with what its programs may do.
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

    /// The way to files.
    pub(super) fn files(&self) -> Files {
        self.0.files.clone()
    }

    /// Those whom probes trust to sign certificates.
    pub(super) fn trust(&self) -> &TrustStore {
        &self.0.trust
    }

    /// What the programs of `exec` checks share.
    pub(super) fn programs(&self) -> &Programs {
        &self.0.programs
    }

    /// Above the number of every probe that was started so far: what is numbered below it is of the past.
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

    /// Does one probe, once few enough others are starting: where the machine has no time for them, probes wait here, where they
    /// cost nothing, and not with a connection each.
    pub(super) async fn admit(&self, probe: impl Future<Output = Outcome>) -> Outcome {
        let place = self.0.starting.acquire().await; // it is never closed
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
