//! The sign of life of the main thread, without which no packet is sent.
//!
//! Touches the clock. RFC 5880 has no such rule: without it, BFD would tell the routers that this host is alive while the program that
//! watches the health of the VIPs hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Packets are sent for at most this time after the last turn of the main thread. It is shorter than the shortest hold time of BGP
/// (3 s), so that BFD never vouches for a daemon longer than BGP would. A reload of thousands of VIPs can keep the main thread of a busy
/// host for longer, so each part of a reload counts as a turn.
pub const LEASE: Duration = Duration::from_secs(2);

/// When the main thread has turned last. The main thread writes it several times a second, by a timer, in each turn of the director's
/// loop, and between the parts of a reload; nobody ever waits for it.
#[derive(Debug, Clone)]
pub struct MainTurns {
    start: Instant,
    millis: Arc<AtomicU64>,
}

impl MainTurns {
    /// How often the main thread has to call [`turned`](MainTurns::turned).
    pub const INTERVAL: Duration = Duration::from_millis(100);

    /// Of a main thread that turns now.
    pub fn new() -> Self {
        MainTurns { start: Instant::now(), millis: Arc::default() }
    }

    /// The main thread turns.
    pub fn turned(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    /// How long ago the last turn was.
    pub(super) fn age(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.millis.load(Ordering::Relaxed));
        now.saturating_duration_since(self.start).saturating_sub(last)
    }
}

impl Default for MainTurns {
    fn default() -> Self {
        MainTurns::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_turn_grows_until_the_next_one() {
        let turns = MainTurns::new();
        let later = turns.start + Duration::from_secs(5);
        assert_eq!(turns.age(later), Duration::from_secs(5));
        turns.millis.store(4000, Ordering::Relaxed);
        assert_eq!(turns.age(later), Duration::from_secs(1));
        assert_eq!(turns.age(turns.start), Duration::ZERO);
        turns.turned();
        assert!(turns.age(Instant::now()) < LEASE);
        assert!(MainTurns::INTERVAL * 10 <= LEASE && LEASE < Duration::from_secs(3));
    }
}
