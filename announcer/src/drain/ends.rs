//! When drains end by themselves, and the warnings about that.
//!
//! Pure. An end is a time of the wall clock, because an operator names it and because it has to survive a reboot. The wall clock is
//! read again and again, so that a jump of it counts at once. While it is not synchronised, no drain ends: in doubt, the other
//! frontends serve.

use std::time::{Duration, SystemTime};

use super::order::{BootId, Until};
use super::orders::{Drains, Order};

/// How long before its end a drain is warned of.
pub const WARN_BEFORE: Duration = Duration::from_secs(600);
/// While a drain has an end, the wall clock is read again at least after this time.
pub const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Whether the kernel's clock follows a time source (adjtimex(2), STA_UNSYNC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockState {
    /// It does.
    Synchronised,
    /// It does not, or this is not known.
    Unsynchronised,
}

/// The wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallClock {
    /// Its time.
    pub now: SystemTime,
    /// Whether the time can be trusted.
    pub state: ClockState,
}

/// The drains with an end, at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainEnds {
    /// Those that end now.
    pub over: Vec<Order>,
    /// Those that end within [`WARN_BEFORE`].
    pub soon: Vec<Order>,
    /// Those whose end has come, and which stay because the clock is not synchronised.
    pub held: Vec<Order>,
    /// When to look again; `None`: no drain has an end.
    pub look_again: Option<Duration>,
}

/// What has become of a drain with an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndState {
    /// It ends within [`WARN_BEFORE`].
    EndsSoon,
    /// Its time has come, and it stays because the clock is not synchronised.
    Stays,
    /// It has ended at its time.
    Ended,
}

/// A drain has come near its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndEvent {
    /// The drain.
    pub order: Order,
    /// What has become of it.
    pub state: EndState,
}

impl EndState {
    /// The state in one word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            EndState::EndsSoon => "ends_soon",
            EndState::Stays => "stays",
            EndState::Ended => "ended",
        }
    }

    /// The sentence of the log, and what follows the name of the drain elsewhere.
    pub fn sentence(self) -> &'static str {
        match self {
            EndState::EndsSoon => "drain ends soon",
            EndState::Stays => {
                "drain stays although its time has come, because the clock is not synchronised"
            }
            EndState::Ended => "drain has ended at its time",
        }
    }
}

impl EndEvent {
    /// Its owner and its end, as in "by ann, its end is 2026-01-31T14:00:00Z".
    pub fn details(&self) -> String {
        let by = self.order.drain.by.as_ref().map(|by| format!("by {by}"));
        let end = self.order.drain.until.as_ref().map(|until| format!("its end is {until}"));
        by.into_iter().chain(end).collect::<Vec<_>>().join(", ")
    }
}

impl Order {
    /// When it ends by time; `None`: it does not, or the time cannot be read.
    pub fn end(&self) -> Option<SystemTime> {
        match self.drain.until {
            Some(Until::At(end)) => Some(end),
            Some(Until::Unreadable(_)) | None => None,
        }
    }

    /// Whether it ends now.
    pub fn is_over(&self, clock: WallClock) -> bool {
        clock.state == ClockState::Synchronised && self.end().is_some_and(|end| end <= clock.now)
    }
}

impl Drains {
    /// What has to be done about the ends.
    pub fn ends(&self, clock: WallClock) -> DrainEnds {
        let mut ends = DrainEnds::default();
        for order in self.iter() {
            let Some(end) = order.end() else { continue };
            let left = end.duration_since(clock.now).unwrap_or_default();
            let next = if left > WARN_BEFORE { left - WARN_BEFORE } else { left };
            let next = if next.is_zero() { LOOK_AGAIN } else { next.min(LOOK_AGAIN) };
            ends.look_again = Some(ends.look_again.map_or(next, |other: Duration| other.min(next)));
            let list = match (left, clock.state) {
                (Duration::ZERO, ClockState::Synchronised) => &mut ends.over,
                (Duration::ZERO, ClockState::Unsynchronised) => &mut ends.held,
                (left, _) if left <= WARN_BEFORE => &mut ends.soon,
                (_, _) => continue,
            };
            list.push(order.clone());
        }
        ends
    }

    /// The drains that hold until the host boots, and whose boot is not this one.
    pub fn of_other_boots(&self, boot: &BootId) -> Vec<&Order> {
        self.iter().filter(|order| order.drain.boot.as_ref().is_some_and(|of| of != boot)).collect()
    }

    /// The warnings about ends, one sentence each.
    pub fn end_warnings(&self, clock: WallClock) -> Vec<String> {
        let soon = self.ends(clock).soon;
        let of = |order: &Order| {
            let by = order.drain.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            format!("the drain of {}{by}", order.target)
        };
        let one = |order: &Order| match (&order.drain.until, clock.state) {
            (Some(until @ Until::At(_)), ClockState::Unsynchronised) => Some(format!(
                "{} would end at {until}, but stays, because the clock of this host is not synchronised: synchronise it, or write \
                 `announcer undrain {}`",
                of(order),
                order.target.arguments()
            )),
            (Some(until @ Until::At(_)), ClockState::Synchronised) if soon.contains(order) => Some(format!(
                "{} ends at {until}; `announcer drain {} --extend 1h` lets it go on",
                of(order),
                order.target.arguments()
            )),
            (Some(Until::Unreadable(text)), _) => Some(format!(
                "{} does not end by itself, because its end `{text}` is not a time such as `2026-01-31T14:00:00Z`",
                of(order)
            )),
            (Some(Until::At(_)), ClockState::Synchronised) | (None, _) => None,
        };
        self.iter().filter_map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "2026-01-31T14:00:00Z";

    fn drains(files: &[(&str, &str)]) -> Drains {
        Drains::from_files(files.iter().map(|(name, text)| ((*name).to_owned(), Ok((*text).to_owned()))))
    }

    /// The clock this many seconds before (negative: after) the end.
    fn clock(before: i64, state: ClockState) -> WallClock {
        let end = humantime::parse_rfc3339(END).unwrap();
        let time = Duration::from_secs(before.unsigned_abs());
        WallClock { now: if before < 0 { end + time } else { end - time }, state }
    }

    #[test]
    fn a_drain_ends_at_its_time_alone_and_only_by_a_clock_that_is_synchronised() {
        use ClockState::{Synchronised, Unsynchronised};
        let until = format!("until: {END}\n");
        let drains =
            drains(&[("www@ann", &until), ("www@bob", ""), ("mail", "until: friday"), ("_all", "by: ann")]);
        for (before, state, over, soon, held, again) in [
            (7200, Synchronised, 0, 0, 0, 10_000),
            (603, Synchronised, 0, 0, 0, 3_000),
            (600, Synchronised, 0, 1, 0, 10_000),
            (1, Synchronised, 0, 1, 0, 1_000),
            (0, Synchronised, 1, 0, 0, 10_000),
            (-86_400, Synchronised, 1, 0, 0, 10_000),
            (600, Unsynchronised, 0, 1, 0, 10_000),
            (0, Unsynchronised, 0, 0, 1, 10_000),
            (-86_400, Unsynchronised, 0, 0, 1, 10_000),
        ] {
            let ends = drains.ends(clock(before, state));
            let seen = (ends.over.len(), ends.soon.len(), ends.held.len());
            assert_eq!(seen, (over, soon, held), "{before} {state:?}");
            assert_eq!(ends.look_again, Some(Duration::from_millis(again)), "{before} {state:?}");
            assert!(ends.over.iter().all(|order| order.file == "www@ann"));
            let order = &drains.iter().find(|order| order.file == "www@ann").unwrap();
            assert_eq!(order.is_over(clock(before, state)), over == 1);
        }
        let none = super::super::Drains::default().ends(clock(0, Synchronised));
        assert_eq!(none, DrainEnds::default());
    }

    #[test]
    fn an_end_is_warned_of_with_the_way_out() {
        use ClockState::{Synchronised, Unsynchronised};
        let until = format!("by: ann\nuntil: {END}\n");
        let timed = drains(&[("_family-ipv6@ann", &until)]);
        let broken = drains(&[("www", "until: friday")]);
        for (drains, before, state, want) in [
            (&timed, 7200, Synchronised, None),
            (
                &timed,
                60,
                Synchronised,
                Some(
                    "the drain of every IPv6 VIP by ann ends at 2026-01-31T14:00:00Z; `announcer drain --family ipv6 --extend \
                     1h` lets it go on",
                ),
            ),
            (
                &timed,
                7200,
                Unsynchronised,
                Some(
                    "the drain of every IPv6 VIP by ann would end at 2026-01-31T14:00:00Z, but stays, because the clock of this \
                     host is not synchronised: synchronise it, or write `announcer undrain --family ipv6`",
                ),
            ),
            (
                &broken,
                0,
                Synchronised,
                Some(
                    "the drain of www does not end by itself, because its end `friday` is not a time such as \
                     `2026-01-31T14:00:00Z`",
                ),
            ),
        ] {
            let warnings = drains.end_warnings(clock(before, state));
            assert_eq!(warnings, want.into_iter().collect::<Vec<_>>(), "{before} {state:?}");
        }
    }

    #[test]
    fn only_another_boot_ends_a_drain_that_holds_until_the_next_boot() {
        let boot = |end: u8| format!("0a1b2c3d-0000-4000-8000-0000000000{end:02x}");
        let (this, other) = (BootId::parse(&boot(1)).unwrap(), BootId::parse(&boot(2)).unwrap());
        let text = format!("boot: {this}\n");
        let drains = drains(&[("www@ann", &text), ("mail", "boot: yesterday"), ("_all", "")]);
        assert_eq!(drains.of_other_boots(&this), Vec::<&Order>::new());
        let ended = drains.of_other_boots(&other);
        assert_eq!(ended.iter().map(|order| order.file.as_str()).collect::<Vec<_>>(), ["www@ann"]);
    }
}
