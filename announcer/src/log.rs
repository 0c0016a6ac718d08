//! The log: its formats, its level, the check of its filter, and the lines that were lost.
//!
//! Pure, except for [`io`].
//!
//! ```text
//! event of tracing ── io/layer ──→ LogRecord ── buffer of limited size ──→ thread of the log ── format ──→ standard error
//!                                                                                                     └──→ journal
//! ```

pub mod filter;
pub mod format;
pub mod io;
pub mod level;
pub mod record;

use std::time::{Duration, Instant};

/// Logs a line at a level that is known only when the program runs, as in `at_level!(level, vip, "VIP was withdrawn")`.
macro_rules! at_level {
    ($level:expr, $($line:tt)+) => {
        match $level {
            ::tracing::Level::ERROR => ::tracing::error!($($line)+),
            ::tracing::Level::WARN => ::tracing::warn!($($line)+),
            ::tracing::Level::INFO => ::tracing::info!($($line)+),
            ::tracing::Level::DEBUG | ::tracing::Level::TRACE => ::tracing::debug!($($line)+),
        }
    };
}
pub(crate) use at_level;

/// The warning about lost lines ends this long after the last lost line.
const FRESH: Duration = Duration::from_secs(60);

/// The lines of the log that were not written, because standard error did not take them in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LostLines {
    /// How many there are since the start.
    pub count: u64,
    /// When the last one was lost.
    pub last: Option<Instant>,
}

impl LostLines {
    /// Counts lost lines, at `now`.
    pub fn add(&mut self, count: u64, now: Instant) {
        if count > 0 {
            self.count = self.count.saturating_add(count);
            self.last = Some(now);
        }
    }

    /// The warning for `status`, one sentence; `None`: no line was lost lately.
    pub fn warning(&self, now: Instant) -> Option<String> {
        let fresh = self.last.is_some_and(|last| now.saturating_duration_since(last) < FRESH);
        let lines =
            if self.count == 1 { "1 line was".to_owned() } else { format!("{} lines were", self.count) };
        fresh.then(|| {
            format!("{lines} lost from the log since the start: standard error is not read fast enough, or not at all")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_lines_are_counted_and_warned_of_while_that_is_fresh() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut lost = LostLines::default();
        lost.add(0, start);
        assert_eq!(lost.warning(start), None);
        lost.add(1, start);
        let text = "1 line was lost from the log since the start: standard error is not read fast enough, or not at all";
        assert_eq!(lost.warning(start).as_deref(), Some(text));
        lost.add(2, start + second * 30);
        assert_eq!(lost.count, 3);
        assert!(lost.warning(start + second * 89).unwrap().starts_with("3 lines were lost"));
        assert_eq!(lost.warning(start + second * 90), None);
    }
}
