//! How long a peer waits before it is dialled again after its failure detector (BFD) has lost it.
//!
//! Pure. A lost peer is dialled again at once. If that happens again and again, each session lasts for seconds and disturbs the
//! traffic twice; so from the third loss within a minute on, the peer waits.

use std::time::{Duration, Instant};

/// So many losses within [`WINDOW`] make the peer wait.
const MOST: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);
/// The first wait. Each further loss doubles it.
const FIRST: Duration = Duration::from_secs(5);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// After this time without a loss, earlier losses are forgotten. It is longer than the longest wait and a new session together.
const CALM: Duration = Duration::from_secs(120);

/// The losses of one peer.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    /// Those that may still count, the newest last.
    recent: Vec<Instant>,
    wait: Duration,
}

impl Losses {
    /// Notes a loss. Returns how long the peer waits before it is dialled; zero: it is dialled at once.
    pub fn lost(&mut self, now: Instant) -> Duration {
        if self.recent.last().is_some_and(|last| now.saturating_duration_since(*last) >= CALM) {
            *self = Losses::default();
        }
        self.recent.push(now);
        // The last one is kept for `CALM`.
        let counts = |at: &Instant| now.saturating_duration_since(*at) < WINDOW;
        self.recent.retain(counts);
        self.wait = if !self.wait.is_zero() {
            (self.wait * 2).min(LONGEST)
        } else if self.recent.len() >= MOST {
            FIRST
        } else {
            Duration::ZERO
        };
        self.wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_loss_within_a_minute_waits_and_each_further_one_twice_as_long() {
        // When the peer was lost, and the waits that follow, in seconds.
        for (losses, want) in [
            (&[0, 1][..], &[0, 0][..]),
            (&[0, 1, 2], &[0, 0, 5]),
            (&[0, 30, 59], &[0, 0, 5]),
            (&[0, 30, 60], &[0, 0, 0]),
            (&[0, 30, 60, 61], &[0, 0, 0, 5]),
            (&[0, 1, 2, 10, 25, 50, 100, 170, 240], &[0, 0, 5, 10, 20, 40, 60, 60, 60]),
            // Calm, and then again.
            (&[0, 1, 2, 122, 123, 124], &[0, 0, 5, 0, 0, 5]),
            (&[0, 1, 2, 121, 122], &[0, 0, 5, 10, 20]),
        ] {
            let (begin, mut state) = (Instant::now(), Losses::default());
            let got: Vec<u64> =
                losses.iter().map(|at| state.lost(begin + Duration::from_secs(*at)).as_secs()).collect();
            assert_eq!(got, want, "{losses:?}");
        }
    }
}
