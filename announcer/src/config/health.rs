//! `[health]`.
//!
//! Pure.

use std::time::Duration;

use super::keys::Section;
use super::table::table;
use super::value::watch;

pub(super) const SECTION: Section =
    Section { header: "[health]", doc: "How health is watched.", keys: &[&[Written::KEYS]] };

table! {
    /// `[health]`.
    pub struct HealthConfig as Written {
        /// How often the kernel is asked for listeners; zero: never.
        listener_watch: one Duration, default "\"5ms\"", watch,
            "how often the kernel is asked whether anything listens where the checks ask; up to `20ms` apart where that would take more than 5 % of a core; zero (never), or 1ms to 1s";
    }
}
