//! `[health]`.
//!
//! Pure.

use std::time::Duration;

use super::keys::Section;
use super::table::table;
use super::value::watch;

pub(super) const SECTION: Section = Section {
    header: "[health]",
    doc: "How announcer watches the health of the VIPs.",
    keys: &[&[Written::KEYS]],
};

table! {
    /// `[health]`.
    pub struct HealthConfig as Written {
        /// How often the kernel is asked for listeners; zero: never.
        listener_watch: one Duration, default "\"5ms\"", watch,
            "how often the kernel is asked whether a socket listens on the ports of the checks; less often, up to every `20ms`, if this would take more than 5 % of a core; zero (never), or 1ms to 1s";
    }
}
