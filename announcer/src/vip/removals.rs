//! Decides the presence of a VIP that another program removes from its device repeatedly.
//!
//! Pure. A removed VIP is put back at once, and this is not reported. Removals within [`BURST`] after the first count as one:
//! `ip address flush dev lo` and `nmcli connection up` remove an address more than once. A VIP that cannot be put back, or that is
//! removed again within [`TRIAL`], counts as missing until it has stayed on its device for [`TRIAL`].
//!
//! ```text
//!          put              removed after the burst and within the trial      put
//! Settled ─────→ Returned ──────────────────────────────────────→ Removed ─────→ OnTrial
//!    ↑              │ trial over                                      ↑  removed    │ │ trial over
//!    └──────────────┘                                                 └─────────────┘ │
//!    └────────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::time::{Duration, Instant};

use super::{DeviceProblem, Presence};

/// How long a VIP has to stay on its device after repeated removals.
pub const TRIAL: Duration = Duration::from_secs(10);
/// Removals within this time count as one.
pub const BURST: Duration = Duration::from_secs(1);

/// The removals of one VIP from its device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removals(RemovalState);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum RemovalState {
    /// Its device was not read yet.
    #[default]
    Unknown,
    /// It is on its device, without recent removals.
    Settled,
    /// We have put it back, and it counts as present. `first`: when the burst of removals began.
    Returned { first: Instant, until: Instant },
    /// It was removed again too soon, and is not on its device.
    Removed,
    /// It is on its device, but counts as missing until `until`.
    OnTrial { until: Instant },
    /// It could not be put there, with the reason; `again`: it had been removed too soon before.
    Failed { why: Presence, again: bool },
}

impl Removals {
    /// A read of its device has found it.
    pub fn seen(&mut self, now: Instant) {
        self.expire(now);
        self.0 = match std::mem::take(&mut self.0) {
            RemovalState::Unknown | RemovalState::Settled | RemovalState::Failed { again: false, .. } => {
                RemovalState::Settled
            }
            RemovalState::Removed | RemovalState::Failed { again: true, .. } => {
                RemovalState::OnTrial { until: now + TRIAL }
            }
            stays @ (RemovalState::Returned { .. } | RemovalState::OnTrial { .. }) => stays,
        };
    }

    /// It is gone from its device.
    pub fn removed(&mut self, now: Instant) {
        self.expire(now);
        self.0 = match std::mem::take(&mut self.0) {
            RemovalState::Returned { first, until } if now < first + BURST => {
                RemovalState::Returned { first, until }
            }
            RemovalState::Returned { .. } | RemovalState::OnTrial { .. } => RemovalState::Removed,
            other @ (RemovalState::Unknown
            | RemovalState::Settled
            | RemovalState::Removed
            | RemovalState::Failed { .. }) => other,
        };
    }

    /// It was put on its device, or could not be put there; with the reason.
    pub fn put(&mut self, done: Result<(), Presence>, now: Instant) {
        let again = match self.0 {
            RemovalState::Removed
            | RemovalState::OnTrial { .. }
            | RemovalState::Failed { again: true, .. } => true,
            RemovalState::Unknown
            | RemovalState::Settled
            | RemovalState::Returned { .. }
            | RemovalState::Failed { again: false, .. } => false,
        };
        let first = match self.0 {
            RemovalState::Returned { first, .. } => first,
            RemovalState::Unknown
            | RemovalState::Settled
            | RemovalState::Removed
            | RemovalState::OnTrial { .. }
            | RemovalState::Failed { .. } => now,
        };
        let until = now + TRIAL;
        self.0 = match done {
            Ok(()) if again => RemovalState::OnTrial { until },
            Ok(()) if self.0 == RemovalState::Unknown => RemovalState::Settled, // it was not removed before
            Ok(()) => RemovalState::Returned { first, until },
            Err(why) => RemovalState::Failed { why, again },
        };
    }

    /// When it has stayed long enough to count as present again.
    pub fn deadline(&self) -> Option<Instant> {
        match self.0 {
            RemovalState::OnTrial { until } => Some(until),
            RemovalState::Unknown
            | RemovalState::Settled
            | RemovalState::Returned { .. }
            | RemovalState::Removed
            | RemovalState::Failed { .. } => None,
        }
    }

    /// Its presence on `device`.
    pub fn presence(&mut self, device: &str, now: Instant) -> Presence {
        self.expire(now);
        match &self.0 {
            RemovalState::Unknown => Presence::Unknown,
            RemovalState::Settled | RemovalState::Returned { .. } => Presence::Present,
            RemovalState::Removed | RemovalState::OnTrial { .. } => {
                let reason = format!(
                    "it was removed again soon after it was put back, and will count as present after it has stayed for {}",
                    humantime::format_duration(TRIAL)
                );
                Presence::Missing(DeviceProblem { device: device.to_owned(), reason })
            }
            RemovalState::Failed { why, .. } => why.clone(),
        }
    }

    fn expire(&mut self, now: Instant) {
        match self.0 {
            RemovalState::Returned { until, .. } | RemovalState::OnTrial { until } if now >= until => {
                self.0 = RemovalState::Settled
            }
            RemovalState::Returned { .. }
            | RemovalState::OnTrial { .. }
            | RemovalState::Unknown
            | RemovalState::Settled
            | RemovalState::Removed
            | RemovalState::Failed { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One character per second: `.` nothing happens, `x` it is removed and put back, `d` the same twice, 5 ms apart, `f` it is
    /// removed and cannot be put back, `o` it is put there later, `s` a read finds it. The result: `+` present, `-` missing.
    fn play(events: &str) -> String {
        let mut now = Instant::now();
        let mut removals = Removals::default();
        removals.seen(now);
        let mut held = String::new();
        for event in events.chars() {
            now += Duration::from_secs(1);
            match event {
                'x' => {
                    removals.removed(now);
                    removals.put(Ok(()), now);
                }
                'd' => {
                    for later in [0, 5] {
                        removals.removed(now + Duration::from_millis(later));
                        removals.put(Ok(()), now + Duration::from_millis(later));
                    }
                }
                'f' => {
                    removals.removed(now);
                    removals.put(Err(Presence::Missing("not permitted".into())), now);
                }
                'o' => removals.put(Ok(()), now),
                's' => removals.seen(now),
                _ => {}
            }
            held.push(if removals.presence("lo", now) == Presence::Present { '+' } else { '-' });
        }
        held
    }

    #[test]
    fn a_vip_that_is_removed_too_often_counts_as_missing_until_it_stays() {
        for (what, events, want) in [
            ("removed once", "..x..........", "+++++++++++++"),
            ("removed again when it had stayed", "x.........x..", "+++++++++++++"),
            ("removed again too soon", "x........x.........:...", "+++++++++----------++++"),
            ("and again", "x..x........x.........:", "+++-------------------+"),
            ("it cannot be put back, then it can", ".f..o...", "+---++++"),
            ("it cannot be put back the second time", "x.f.o.........:", "++------------+"),
            ("it cannot be put back the second time, then it is seen", "x.f.s.........:", "++------------+"),
            ("a look that sees it ends no trial", "x.xsss......:", "++----------+"),
            ("seen after it could not be put there", ".f.s", "+--+"),
            // Case H3.
            ("removed twice within milliseconds", ".d.......", "+++++++++"),
            ("and again when it had stayed", ".d..........d..", "+++++++++++++++"),
            ("and again too soon: a fight", ".d..d..........:", "++++-----------+"),
        ] {
            assert_eq!(play(events), want, "{what}: {events}");
        }
    }

    /// Case H3: a fight goes on for longer than a burst.
    #[test]
    fn removals_within_a_second_of_the_first_are_one_and_those_after_it_are_a_fight() {
        let start = Instant::now();
        let mut removals = Removals::default();
        removals.seen(start);
        for ms in (0..1_000).step_by(50) {
            removals.removed(start + Duration::from_millis(ms));
            removals.put(Ok(()), start + Duration::from_millis(ms));
            assert_eq!(removals.presence("lo", start + Duration::from_millis(ms)), Presence::Present, "{ms}");
        }
        let later = start + BURST;
        removals.removed(later);
        removals.put(Ok(()), later);
        assert!(matches!(removals.presence("lo", later), Presence::Missing(_)));
        assert_eq!(removals.presence("lo", later + TRIAL), Presence::Present);
    }

    #[test]
    fn the_end_of_the_trial_is_its_deadline() {
        let now = Instant::now();
        let mut removals = Removals::default();
        assert_eq!(removals.presence("lo", now), Presence::Unknown);
        removals.put(Ok(()), now);
        assert_eq!(removals, Removals(RemovalState::Settled));
        removals.removed(now);
        removals.put(Ok(()), now);
        assert_eq!(removals.deadline(), None);
        let later = now + BURST;
        removals.removed(later);
        removals.put(Ok(()), later);
        assert_eq!(removals.deadline(), Some(later + TRIAL));
        assert_eq!(removals.presence("lo", later + TRIAL), Presence::Present);
        assert_eq!(removals.deadline(), None);
    }
}
