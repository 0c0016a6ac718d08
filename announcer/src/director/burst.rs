//! Changes of many VIPs that come up one after the other, as at a start, are published together.
//!
//! Pure. Each publication costs time for every VIP of the host: the routes and the differences to what each router has, and the plan of
//! the listener watch. A VIP that was not advertised may wait for a moment; one that is withdrawn or lowered never waits.

use std::time::{Duration, Instant};

use super::StandingChange;

/// The shortest time between two publications of VIPs that were not advertised, however few VIPs there are.
const SHORTEST: Duration = Duration::from_millis(10);
/// What each VIP adds, so that the publications of thousands leave most of the time to their probes.
const EACH: Duration = Duration::from_micros(20);

/// Spaces the publications of what may wait for more.
#[derive(Debug, Default)]
pub struct Spacing {
    next: Option<Instant>,
}

impl Spacing {
    /// When the next publication may be; none: at any time.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether it may be now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }

    /// There is one now, so the next one has to wait. `vips`: the number of VIPs of the host.
    pub fn published(&mut self, now: Instant, vips: usize) {
        self.next = Some(now + gap(vips));
    }
}

/// The changes that are not published yet.
#[derive(Debug, Default)]
pub struct Burst {
    held: Vec<StandingChange>,
    spacing: Spacing,
}

impl Burst {
    /// When the held changes have to be published; none if there are none.
    pub fn deadline(&self) -> Option<Instant> {
        self.spacing.next().filter(|_| !self.held.is_empty())
    }

    /// Adds the changes of a batch of facts. Returns all changes that are to be published now, or none while they wait for others.
    /// `vips`: the number of VIPs of the host. `at_once`: somebody waits for the publication.
    pub fn add(
        &mut self,
        changes: Vec<StandingChange>,
        now: Instant,
        vips: usize,
        at_once: bool,
    ) -> Option<Vec<StandingChange>> {
        let may_wait = !at_once && changes.iter().all(|change| !change.before.is_advertised());
        self.held.extend(changes);
        if may_wait && !self.held.is_empty() && !self.spacing.is_due(now) {
            return None;
        }
        if !self.held.is_empty() {
            self.spacing.published(now, vips);
        }
        Some(std::mem::take(&mut self.held))
    }
}

fn gap(vips: usize) -> Duration {
    SHORTEST.max(EACH.saturating_mul(u32::try_from(vips).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::super::standing::{LastChoiceReason, NotAnnouncedReason, Standing};
    use super::*;

    fn change(before: Standing, standing: Standing) -> StandingChange {
        let (service, vip) = ("www".parse().unwrap(), "192.0.2.80".parse().unwrap());
        StandingChange { service, vip, before, standing }
    }

    fn up() -> Vec<StandingChange> {
        vec![change(
            Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor("lo".into())),
            Standing::Announced,
        )]
    }

    fn down() -> Vec<StandingChange> {
        vec![change(Standing::Announced, Standing::NotAnnounced(NotAnnouncedReason::Stopping))]
    }

    fn lowered() -> Vec<StandingChange> {
        vec![change(Standing::Announced, Standing::LastChoice(LastChoiceReason::Leaving))]
    }

    #[test]
    fn only_vips_that_were_not_advertised_wait_and_only_for_a_moment() {
        let start = Instant::now();
        // Each row goes on with the state of the one before: milliseconds, what has changed, whether somebody waits, how many are
        // published; none: they wait.
        let rows: [(u64, Vec<StandingChange>, bool, Option<usize>); 15] = [
            (0, vec![], false, Some(0)),
            (0, up(), false, Some(1)),
            (1, vec![], false, Some(0)),
            (2, up(), false, None),
            (3, vec![], false, None),
            (9, up(), false, None),
            (10, vec![], false, Some(2)),
            (11, up(), false, None),
            (12, down(), false, Some(2)),
            (13, up(), false, None),
            (14, lowered(), false, Some(2)),
            (15, up(), false, None),
            (16, vec![], true, Some(1)),
            (17, down(), false, Some(1)),
            (99, up(), false, Some(1)),
        ];
        let mut burst = Burst::default();
        for (row, (at, changes, at_once, want)) in rows.into_iter().enumerate() {
            let now = start + Duration::from_millis(at);
            let published = burst.add(changes, now, 500, at_once);
            assert_eq!(published.as_ref().map(Vec::len), want, "row {row}");
            assert_eq!(burst.deadline().is_some(), want.is_none(), "row {row}");
            assert!(burst.deadline().is_none_or(|deadline| deadline <= now + SHORTEST), "row {row}");
        }
    }

    #[test]
    fn the_first_publication_may_be_at_once_and_the_next_one_after_the_gap() {
        let (start, mut spacing) = (Instant::now(), Spacing::default());
        assert_eq!(spacing.next(), None);
        for (at, want) in
            [(0, true), (0, false), (19, false), (20, true), (39, false), (90, true), (100, false)]
        {
            let now = start + Duration::from_millis(at);
            assert_eq!(spacing.is_due(now), want, "{at}");
            if want {
                spacing.published(now, 1000);
            }
        }
        assert_eq!(spacing.next(), Some(start + Duration::from_millis(110)));
    }

    #[test]
    fn many_vips_are_published_less_often() {
        for (vips, want) in [(0, 10), (1, 10), (500, 10), (1000, 20), (3000, 60), (usize::MAX, 85_899_345)] {
            let (start, mut burst) = (Instant::now(), Burst::default());
            assert!(burst.add(up(), start, vips, false).is_some());
            assert_eq!(burst.add(up(), start, vips, false), None);
            assert_eq!(burst.deadline().map(|deadline| (deadline - start).as_millis()), Some(want), "{vips}");
        }
    }
}
