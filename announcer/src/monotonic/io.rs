//! CLOCK_MONOTONIC.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::HostStart;

/// The time since the host's start; time in suspend does not count.
pub fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// The host's start.
pub fn host_start() -> HostStart {
    HostStart::new(Instant::now(), uptime())
}
