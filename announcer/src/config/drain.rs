//! `[drain]`.
//!
//! Pure.

use std::time::Duration;

use super::keys::Section;
use super::table::table;
use super::value::{MINUTE, within};

pub(super) const SECTION: Section = Section {
    header: "[drain]",
    doc: "How long a stop and a `drain --wait` without options wait for connections; without the table, a stop does not wait.",
    keys: &[&[Written::KEYS]],
};

table! {
    /// `[drain]`.
    pub struct DrainConfig as Written {
        /// How long a VIP is the last choice before it is withdrawn; zero: it is withdrawn at once.
        prepare: one Duration, default "\"0s\"", within(Duration::ZERO..=MINUTE * 60),
            "how long a VIP is announced as the last choice (`[service.deprefer]`) before it is withdrawn; 0s to 1h";
        /// From the withdraw on.
        deadline: one Duration, required "\"20s\"", within(Duration::ZERO..=MINUTE * 1440),
            "how long connections may go on after the withdraw; `TimeoutStopSec` of the unit has to be longer; 0s to 1day";
    }
}

impl DrainConfig {
    /// How long a stop may take: the preparation, the acknowledgement and `settle` within the deadline, and the end of the sessions.
    pub fn longest_stop(&self, settle: Duration) -> Duration {
        self.prepare + self.deadline.max(settle + ACKNOWLEDGE) + FAREWELL
    }
}

/// How long a stop waits for the routers' acknowledgement of the withdraw.
pub const ACKNOWLEDGE: Duration = Duration::from_secs(2);
/// How long the sessions may take to end.
const FAREWELL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_takes_its_preparation_its_deadline_and_the_end_of_the_sessions() {
        let seconds = Duration::from_secs;
        for (prepare, deadline, settle, want) in [(0, 20, 1, 22), (10, 20, 1, 32), (0, 0, 1, 5), (0, 4, 5, 9)]
        {
            let config = DrainConfig { prepare: seconds(prepare), deadline: seconds(deadline) };
            assert_eq!(config.longest_stop(seconds(settle)), seconds(want), "{prepare} {deadline} {settle}");
        }
    }
}
