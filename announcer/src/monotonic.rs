//! Instants as times since the host's start, so that another process can read them.
//!
//! Pure, except for [`io`], which reads CLOCK_MONOTONIC. This clock goes on over a restart of the process, and no step of the wall clock
//! moves it.

pub mod io;

use std::time::{Duration, Instant};

const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// The instant of the host's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostStart(Instant);

impl HostStart {
    /// It was `uptime` before `now`.
    pub fn new(now: Instant, uptime: Duration) -> Self {
        HostStart(now.checked_sub(uptime).unwrap_or(now))
    }

    /// The time from the host's start to an instant.
    pub fn since(self, at: Instant) -> Duration {
        at.saturating_duration_since(self.0)
    }

    /// The instant that was this long after the host's start. No host runs for a century.
    pub fn at(self, since: Duration) -> Instant {
        self.0.checked_add(since.min(CENTURY)).unwrap_or(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_gets_the_same_instant() {
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let start = HostStart::new(now, Duration::from_secs(60));
        assert_eq!(start.since(now), Duration::from_secs(60));
        assert_eq!(start.at(start.since(now + hour)), now + hour);
        let next = HostStart::new(now + hour, Duration::from_secs(60) + hour);
        assert_eq!(next.at(start.since(now)), now);
    }
}
