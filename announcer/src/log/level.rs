//! The level of the log while the daemon runs: that of the start, or another one for some time.
//!
//! Pure. An operator raises the level to look for a mistake, and nobody remembers to lower it again. So each change has an end.

use std::time::{Duration, Instant, SystemTime};

use super::filter;

/// How long a change lasts unless the operator says it, as the command line has it.
pub const USUAL: &str = "10m";
/// The longest time for which a change lasts.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// An order to use another level for some time. Its filter and its time were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelOrder {
    filter: String,
    lasts: Duration,
}

impl LevelOrder {
    /// Checks an order.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn new(filter: &str, lasts: Duration) -> Result<Self, String> {
        filter::check(filter).map_err(|why| format!("error: `{filter}`: {why}"))?;
        if filter.contains('[') {
            // The library compares a span with the filter only when the span begins.
            let why =
                "sessions that run already cannot be chosen; write a module, such as `announcer::bgp=debug`";
            return Err(format!("error: `{filter}`: {why}"));
        }
        if lasts.is_zero() || lasts > LONGEST {
            let lasts = humantime::format_duration(lasts);
            return Err(format!(
                "error: the level can be changed for at most 24h, and for more than 0s; `--for {lasts}` is not"
            ));
        }
        Ok(LevelOrder { filter: filter.to_owned(), lasts })
    }
}

/// Which filter the log has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelState {
    start: String,
    changed: Option<ChangedLevel>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ChangedLevel {
    filter: String,
    until: Instant,
    until_time: SystemTime,
}

impl LevelState {
    /// The filter of the start.
    pub fn new(start: String) -> Self {
        LevelState { start, changed: None }
    }

    /// The filter that the log has to have now.
    pub fn filter(&self) -> &str {
        self.changed.as_ref().map_or(&self.start, |changed| &changed.filter)
    }

    /// Executes an order; returns the sentence for the operator. An order for the level of the start ends another one. `now` and
    /// `time` are the same moment.
    pub fn order(&mut self, order: LevelOrder, now: Instant, time: SystemTime) -> String {
        if order.filter == self.start {
            self.changed = None;
            return format!("the log level is `{}`, that of the start", self.start);
        }
        let (until, until_time) = (now + order.lasts, time + order.lasts);
        self.changed = Some(ChangedLevel { filter: order.filter, until, until_time });
        self.warning().unwrap_or_default()
    }

    /// Replaces the filter of the start, by one that was checked: a reload has another one. Another level for some time stays until
    /// its end. Returns whether it differs.
    pub fn set_start(&mut self, start: &str) -> bool {
        let differs = self.start != start;
        start.clone_into(&mut self.start);
        self.changed.take_if(|changed| changed.filter == start);
        differs
    }

    /// When the change ends.
    pub fn deadline(&self) -> Option<Instant> {
        self.changed.as_ref().map(|changed| changed.until)
    }

    /// Ends the change if its time is over; returns whether it did.
    pub fn expire(&mut self, now: Instant) -> bool {
        self.changed.take_if(|changed| changed.until <= now).is_some()
    }

    /// The warning for `status`, one sentence; none with the level of the start.
    pub fn warning(&self) -> Option<String> {
        let ChangedLevel { filter, until_time, .. } = self.changed.as_ref()?;
        let until = humantime::format_rfc3339_seconds(*until_time);
        Some(format!("the log level is `{filter}` until {until}, then `{}` again", self.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn order(filter: &str, lasts: Duration) -> LevelOrder {
        LevelOrder::new(filter, lasts).unwrap()
    }

    #[test]
    fn an_order_is_checked() {
        assert!(LevelOrder::new("announcer::bgp=debug", LONGEST).is_ok());
        assert!(humantime::parse_duration(USUAL).is_ok());
        for (filter, lasts, want) in [
            ("inof", MINUTE, "error: `inof`: `inof` is not a level"),
            ("[peer{name=r1}]=debug", MINUTE, "sessions that run already cannot be chosen"),
            ("debug", LONGEST + MINUTE, "`--for 1day 1m` is not"),
            ("debug", Duration::ZERO, "`--for 0s` is not"),
        ] {
            let error = LevelOrder::new(filter, lasts).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn a_reload_replaces_the_level_of_the_start_below_a_change() {
        let (now, time) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut state = LevelState::new("info".into());
        assert!(!state.set_start("info"));
        assert!(state.set_start("warn"));
        assert_eq!((state.filter(), state.warning()), ("warn", None));
        state.order(order("debug", MINUTE), now, time);
        assert!(state.set_start("error"));
        assert_eq!(state.filter(), "debug");
        assert!(state.warning().unwrap().ends_with("then `error` again"));
        assert!(state.expire(now + MINUTE));
        assert_eq!(state.filter(), "error");
        state.order(order("debug", MINUTE), now, time);
        assert!(state.set_start("debug"));
        assert_eq!((state.filter(), state.warning()), ("debug", None));
    }

    #[test]
    fn a_change_ends_by_its_time_by_another_or_by_the_level_of_the_start() {
        let (now, time) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut state = LevelState::new("info".into());
        assert_eq!((state.filter(), state.deadline(), state.warning()), ("info", None, None));
        let said = state.order(order("debug", 10 * MINUTE), now, time);
        assert_eq!(said, "the log level is `debug` until 1970-01-01T00:10:00Z, then `info` again");
        assert_eq!((state.filter(), state.deadline()), ("debug", Some(now + 10 * MINUTE)));
        assert_eq!(state.warning(), Some(said));
        state.order(order("trace", MINUTE), now, time);
        assert_eq!((state.filter(), state.deadline()), ("trace", Some(now + MINUTE)));
        assert!(!state.expire(now) && state.expire(now + MINUTE) && !state.expire(now + MINUTE));
        assert_eq!((state.filter(), state.deadline(), state.warning()), ("info", None, None));
        state.order(order("debug", MINUTE), now, time);
        assert_eq!(
            state.order(order("info", MINUTE), now, time),
            "the log level is `info`, that of the start"
        );
        assert_eq!((state.filter(), state.warning()), ("info", None));
    }
}
