//! The limit of takeovers: what makes one process crash may be in the state, and would make each next one crash too.
//!
//! Pure. The times are written to the state before anything else in it is read. The third crash within [`WINDOW`] ends all sessions
//! and starts cold.

use std::time::Duration;

/// The takeovers after a crash that are allowed within [`WINDOW`].
const ALLOWED: usize = 2;
/// The time within which they count.
const WINDOW: Duration = Duration::from_secs(60);
/// The number of times that are stored.
const STORED: usize = 8;
/// The length of the stored times.
pub const LENGTH: usize = 8 * STORED + 12;

/// The times of the takeovers after a crash, the newest last, and the number of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Takeovers {
    /// All since the last start after a stop.
    pub count: u64,
    /// The newest, since the host's start (CLOCK_MONOTONIC).
    times: Vec<Duration>,
}

/// Whether a process that starts after a crash may continue the sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeoverDecision {
    /// It may.
    Continue,
    /// It ends them and starts cold.
    StartCold,
}

impl Takeovers {
    /// Counts a takeover at `now`, and decides.
    #[must_use]
    pub fn crashed(&mut self, now: Duration) -> TakeoverDecision {
        self.count += 1;
        self.times.push(now);
        self.times.drain(..self.times.len().saturating_sub(STORED));
        let recent = self.times.iter().filter(|at| now.saturating_sub(**at) < WINDOW).count();
        if recent > ALLOWED { TakeoverDecision::StartCold } else { TakeoverDecision::Continue }
    }

    /// As octets: the count, the times in milliseconds, and a checksum.
    pub fn to_octets(&self) -> [u8; LENGTH] {
        let mut octets = [0; LENGTH];
        let numbers = [self.count].into_iter().chain(self.times.iter().map(|at| {
            u64::try_from(at.as_millis()).unwrap_or(u64::MAX).max(1) // zero is no time
        }));
        for (place, number) in octets.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let sum = !crc32fast::hash(&octets[..LENGTH - 4]);
        octets[LENGTH - 4..].copy_from_slice(&sum.to_le_bytes());
        octets
    }

    /// From octets; `None`: they are damaged. Zeros are no takeover.
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        let octets = octets.get(..LENGTH)?;
        if octets.iter().all(|octet| *octet == 0) {
            return Some(Takeovers::default());
        }
        let (numbers, sum) = octets.split_at_checked(LENGTH - 4)?;
        if sum != (!crc32fast::hash(numbers)).to_le_bytes() {
            return None;
        }
        let mut numbers =
            numbers.chunks_exact(8).map(|place| u64::from_le_bytes(place.try_into().unwrap_or_default()));
        let count = numbers.next()?;
        let times = numbers.take_while(|number| *number > 0).map(Duration::from_millis).collect();
        Some(Takeovers { count, times })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_crash_within_a_minute_starts_cold() {
        use TakeoverDecision::{Continue as C, StartCold as S};
        for (times, want) in [
            (&[100, 101, 102][..], &[C, C, S][..]),
            (&[100, 130, 159, 160], &[C, C, S, S]),
            (&[100, 130, 160, 190, 220], &[C, C, C, C, C]),
            (&[1, 62, 63, 64], &[C, C, C, S]),
        ] {
            let mut takeovers = Takeovers::default();
            let found: Vec<TakeoverDecision> = times
                .iter()
                .map(|at| {
                    let decision = takeovers.crashed(Duration::from_secs(*at));
                    takeovers = Takeovers::from_octets(&takeovers.to_octets()).unwrap();
                    decision
                })
                .collect();
            assert_eq!(found, want, "{times:?}");
        }
    }

    #[test]
    fn the_octets_are_read_or_refused() {
        let mut takeovers = Takeovers::default();
        assert_eq!(Takeovers::from_octets(&takeovers.to_octets()), Some(takeovers.clone()));
        assert_eq!(Takeovers::from_octets(&[0; LENGTH]), Some(takeovers.clone()));
        for at in 1..20 {
            let _ = takeovers.crashed(Duration::from_secs(at * 100));
        }
        let octets = takeovers.to_octets();
        assert_eq!(Takeovers::from_octets(&octets), Some(takeovers.clone()));
        assert_eq!((takeovers.count, takeovers.times.len()), (19, STORED));
        for at in 0..LENGTH {
            let mut damaged = octets;
            damaged[at] ^= 1;
            assert_eq!(Takeovers::from_octets(&damaged), None, "octet {at}");
        }
        assert_eq!(Takeovers::from_octets(&octets[1..]), None);
    }
}
