//! Damps a VIP that comes and goes, because a join of an ECMP group disturbs more connections than a leave.
//!
//! Pure. The first [`FREE`] returns within [`WINDOW`] are free, the next waits [`FIRST`], each further one twice as long, at most
//! [`LONGEST`]; after a VIP was announced for [`WINDOW`] without a fault, the count starts again. Another module decides how a
//! waiting VIP is announced. In addition, every join may wait for a fixed delay.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::FlapDamping;
use crate::monotonic::HostStart;

/// The number of returns without a wait.
const FREE: usize = 2;
/// The time within which returns are counted, and the time without a fault after which they are forgotten.
const WINDOW: Duration = Duration::from_secs(60);
/// The first wait.
const FIRST: Duration = Duration::from_secs(10);
/// The number of waits from which on each is the longest.
const MOST_PENALTIES: u32 = 16;
/// The longest.
const LONGEST: Duration = Duration::from_secs(300);

/// The settings of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long every join waits.
    pub delay: Duration,
    /// Whether returns are counted, and how a VIP that came back too often is announced.
    pub flaps: FlapDamping,
}

/// Why a healthy VIP still waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DampingWait {
    /// The delay of every join.
    Delay(Duration),
    /// It came back too often.
    Flapping(Flapping),
}

/// The returns of a VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flapping {
    /// How often it came back within the window, the last return included.
    pub returns: usize,
    /// How long it waits because of them, from its last return.
    pub penalty: Duration,
}

/// The state of the damping of one VIP.
#[derive(Debug, Clone, Default)]
pub struct Damping {
    state: DampingState,
    /// When the wait that was last seen ends.
    deadline: Option<Instant>,
    /// The times of the returns that count.
    returns: VecDeque<Instant>,
    /// How many waits it has had since it was last without a fault for the window.
    penalties: u32,
}

#[derive(Debug, Clone, Default)]
enum DampingState {
    /// It was never healthy.
    #[default]
    New,
    Unfit,
    /// It is healthy since this time, and waits; it may have come back too often.
    Waiting(Instant, Option<Flapping>),
    /// It is healthy, and has not been waiting since this time.
    Joined(Instant),
}

/// The state of the damping, as the next process finds it. The times are since the host's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DampingSnapshot {
    /// Whether it was ever healthy, whether it waits, and since when.
    state: StateSnapshot,
    /// The times of the returns that count.
    returns: Vec<Duration>,
    /// How many waits it has had.
    penalties: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateSnapshot {
    New,
    Unfit,
    Waiting { since: Duration, returns: Option<usize>, penalty: Duration },
    Joined { since: Duration },
}

impl Damping {
    /// As the next process finds it.
    pub fn snapshot(&self, start: HostStart) -> DampingSnapshot {
        let state = match &self.state {
            DampingState::New => StateSnapshot::New,
            DampingState::Unfit => StateSnapshot::Unfit,
            DampingState::Waiting(since, flapping) => StateSnapshot::Waiting {
                since: start.since(*since),
                returns: flapping.map(|flapping| flapping.returns),
                penalty: flapping.map_or(Duration::ZERO, |flapping| flapping.penalty),
            },
            DampingState::Joined(since) => StateSnapshot::Joined { since: start.since(*since) },
        };
        let returns = self.returns.iter().map(|at| start.since(*at)).collect();
        DampingSnapshot { state, returns, penalties: self.penalties }
    }

    /// Continues that of the process before this one.
    pub fn resumed(snapshot: &DampingSnapshot, start: HostStart) -> Self {
        let state = match snapshot.state {
            StateSnapshot::New => DampingState::New,
            StateSnapshot::Unfit => DampingState::Unfit,
            StateSnapshot::Waiting { since, returns, penalty } => {
                let flapping = returns.map(|returns| Flapping { returns, penalty: penalty.min(LONGEST) });
                DampingState::Waiting(start.at(since), flapping)
            }
            StateSnapshot::Joined { since } => DampingState::Joined(start.at(since)),
        };
        let returns = snapshot.returns.iter().map(|since| start.at(*since)).collect();
        Damping { state, deadline: None, returns, penalties: snapshot.penalties.min(MOST_PENALTIES) }
    }

    /// A number that differs if the snapshots of two states differ.
    pub fn fingerprint(&self) -> (u8, Option<Instant>, usize, u32) {
        let (kind, since) = match &self.state {
            DampingState::New => (0, None),
            DampingState::Unfit => (1, None),
            DampingState::Waiting(since, None) => (2, Some(*since)),
            DampingState::Waiting(since, Some(_)) => (3, Some(*since)),
            DampingState::Joined(since) => (4, Some(*since)),
        };
        (kind, since, self.returns.len(), self.penalties)
    }

    /// Records whether the VIP could be announced without damping; returns the wait that is left. The current `policy` counts, also
    /// if it was different when the VIP came back.
    pub fn observe(&mut self, fit: bool, policy: Policy, now: Instant) -> Option<DampingWait> {
        self.state = match (fit, &self.state) {
            (false, DampingState::New) => DampingState::New,
            (false, DampingState::Unfit | DampingState::Waiting(..)) => DampingState::Unfit,
            (false, DampingState::Joined(since)) => {
                if now.duration_since(*since) >= WINDOW {
                    self.forget();
                }
                DampingState::Unfit
            }
            (true, DampingState::New) => DampingState::Waiting(now, None),
            (true, DampingState::Unfit) => DampingState::Waiting(now, self.returned(policy, now)),
            (true, DampingState::Waiting(since, flapping)) => DampingState::Waiting(*since, *flapping),
            (true, DampingState::Joined(since)) => DampingState::Joined(*since),
        };
        let wait = match self.state {
            DampingState::Waiting(since, flapping) => wait(since, flapping, policy, now),
            DampingState::New | DampingState::Unfit | DampingState::Joined(_) => None,
        };
        if let (DampingState::Waiting(..), None) = (&self.state, wait) {
            self.state = DampingState::Joined(now);
        }
        self.deadline = wait.map(|(until, _)| until);
        wait.map(|(_, wait)| wait)
    }

    /// When a wait ends.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Forgets the returns and ends their wait. The fixed delay of a join continues.
    pub fn forgive(&mut self) {
        self.forget();
        if let DampingState::Waiting(_, flapping) = &mut self.state {
            *flapping = None;
        }
    }

    /// The process was stopped for this long. The health of the VIP in this time is not known, so the time does not count.
    pub fn excuse(&mut self, stood_still: Duration) {
        match &mut self.state {
            DampingState::Waiting(since, _) | DampingState::Joined(since) => *since += stood_still,
            DampingState::New | DampingState::Unfit => {}
        }
    }

    fn forget(&mut self) {
        self.returns.clear();
        self.penalties = 0;
    }

    /// Counts a return. The result is set if there were too many.
    fn returned(&mut self, policy: Policy, now: Instant) -> Option<Flapping> {
        match policy.flaps {
            FlapDamping::Off => return None,
            FlapDamping::Deprefer | FlapDamping::Withhold => self.returns.push_back(now),
        }
        if self.penalties == 0 {
            self.returns.retain(|at| now.duration_since(*at) < WINDOW);
        }
        if self.returns.len() <= FREE {
            return None;
        }
        let penalty = FIRST.saturating_mul(1 << self.penalties.min(16)).min(LONGEST);
        self.penalties = self.penalties.saturating_add(1);
        Some(Flapping { returns: self.returns.len(), penalty })
    }
}

/// The wait of a VIP that has been healthy `since`, and its end. Of two waits, the result is the stricter one: if flaps only make a
/// VIP the last choice, that is the delay of every join.
fn wait(
    since: Instant,
    flapping: Option<Flapping>,
    policy: Policy,
    now: Instant,
) -> Option<(Instant, DampingWait)> {
    let delay =
        Some((since + policy.delay, DampingWait::Delay(policy.delay))).filter(|(until, _)| now < *until);
    let flapping = flapping.map(|flapping| (since + flapping.penalty, DampingWait::Flapping(flapping)));
    let flapping = flapping.filter(|(until, _)| now < *until);
    match policy.flaps {
        FlapDamping::Off => delay,
        FlapDamping::Deprefer => delay.or(flapping),
        FlapDamping::Withhold => flapping.or(delay),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Policy = Policy { delay: Duration::ZERO, flaps: FlapDamping::Withhold };

    /// Runs steps of `(second, fit)`; returns the wait after each.
    fn play(policy: Policy, steps: &[(u64, bool)]) -> (Damping, Vec<Option<u64>>, Instant) {
        let start = Instant::now();
        let mut damping = Damping::default();
        let waits = steps.iter().map(|(second, fit)| {
            let wait = damping.observe(*fit, policy, start + Duration::from_secs(*second))?;
            let (DampingWait::Delay(time) | DampingWait::Flapping(Flapping { penalty: time, .. })) = wait;
            Some(time.as_secs())
        });
        let waits = waits.collect();
        (damping, waits, start)
    }

    #[test]
    fn the_third_return_within_a_minute_waits_ten_seconds_and_each_further_one_twice_as_long() {
        let (_, waits, _) =
            play(ON, &[(0, true), (1, false), (2, true), (3, false), (4, true), (5, false), (6, true)]);
        assert_eq!(waits, [None, None, None, None, None, None, Some(10)]);
        let flaps: Vec<(u64, bool)> = (0..40).map(|n| (n * 400, n % 2 == 0)).collect();
        let (_, waits, _) = play(ON, &flaps);
        assert!(waits.iter().all(Option::is_none), "returns 800 s apart are no flapping");
        let mut steps = vec![(0, true)];
        for n in 0..9 {
            steps.extend([(10 + 2 * n, false), (11 + 2 * n, true)]);
        }
        let (_, waits, _) = play(ON, &steps);
        let penalties: Vec<u64> = waits.into_iter().flatten().collect();
        assert_eq!(penalties, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_return_counts_for_less_than_a_minute() {
        let two = [(0, true), (1, false), (2, true), (3, false), (4, true)];
        for (second, want) in [(61, Some(10)), (62, None)] {
            let (_, waits, _) = play(ON, &[&two[..], &[(60, false), (second, true)]].concat());
            assert_eq!(waits.last(), Some(&want), "{second} s");
        }
    }

    #[test]
    fn a_wait_ends_and_calm_forgets() {
        let flapping = [(0, true), (1, false), (2, true), (3, false), (4, true), (5, false), (6, true)];
        let steps = [&flapping[..], &[(15, true), (16, true), (20, false), (21, true)]].concat();
        let (_, waits, _) = play(ON, &steps);
        assert_eq!(waits[7..], [Some(10), None, None, Some(20)]);
        let steps = [&flapping[..], &[(16, true), (76, false), (77, true)]].concat();
        let (_, waits, _) = play(ON, &steps);
        assert_eq!(waits[7..], [None, None, None]);
    }

    #[test]
    fn undrain_forgives() {
        let (mut damping, waits, start) =
            play(ON, &[(0, true), (1, false), (2, true), (3, false), (4, true), (5, false), (6, true)]);
        assert_eq!(waits[6], Some(10));
        damping.forgive();
        assert_eq!(damping.observe(true, ON, start + Duration::from_secs(7)), None);
        damping.observe(false, ON, start + Duration::from_secs(8));
        assert_eq!(damping.observe(true, ON, start + Duration::from_secs(9)), None, "it begins anew");
    }

    #[test]
    fn every_join_waits_the_delay_and_a_fault_within_it_begins_it_anew() {
        let policy = Policy { delay: Duration::from_secs(5), flaps: FlapDamping::Off };
        let (_, waits, _) = play(
            policy,
            &[(0, true), (4, true), (5, true), (6, false), (7, true), (8, false), (9, true), (13, true)],
        );
        assert_eq!(waits, [Some(5), Some(5), None, None, Some(5), None, Some(5), Some(5)]);
    }

    /// The current policy decides about a wait, and not the policy at the time of the return.
    #[test]
    fn a_wait_follows_the_policy_when_that_changes() {
        let policy = |delay, flaps| Policy { delay: Duration::from_secs(delay), flaps };
        let (off, deprefer, withhold) = (FlapDamping::Off, FlapDamping::Deprefer, FlapDamping::Withhold);
        let flapping = [(0, true), (1, false), (2, true), (3, false), (4, true), (5, false), (6, true)];
        let delayed = |seconds| Some(DampingWait::Delay(Duration::from_secs(seconds)));
        let damped = Some(DampingWait::Flapping(Flapping { returns: 3, penalty: FIRST }));
        for (delay, flaps, second, want, until) in [
            (0, off, 6, None, None),
            (0, deprefer, 6, damped, Some(16)),
            (0, deprefer, 16, None, None),
            (0, withhold, 15, damped, Some(16)),
            (20, off, 6, delayed(20), Some(26)),
            // Not announced for the whole delay, then the last choice.
            (5, deprefer, 6, delayed(5), Some(11)),
            (5, deprefer, 11, damped, Some(16)),
            (20, deprefer, 6, delayed(20), Some(26)),
            (20, deprefer, 26, None, None),
            (5, withhold, 6, damped, Some(16)),
            (20, withhold, 6, damped, Some(16)),
            (20, withhold, 16, delayed(20), Some(26)),
        ] {
            let (mut damping, waits, start) = play(ON, &flapping);
            assert_eq!(waits[6], Some(10));
            let at = |second| start + Duration::from_secs(second);
            let wait = damping.observe(true, policy(delay, flaps), at(second));
            assert_eq!((wait, damping.deadline()), (want, until.map(at)), "{delay} s, {flaps:?}, {second} s");
        }
    }

    #[test]
    fn the_time_in_which_the_process_stood_still_ends_no_wait() {
        let flapping = [(0, true), (1, false), (2, true), (3, false), (4, true), (5, false), (6, true)];
        let (mut damping, _, start) = play(ON, &flapping);
        let at = |second| start + Duration::from_secs(second);
        damping.excuse(Duration::from_secs(50));
        assert!(damping.observe(true, ON, at(57)).is_some());
        assert_eq!(damping.deadline(), Some(at(66)));
        assert_eq!(damping.observe(true, ON, at(66)), None);
        // This time does not count as time without a fault either.
        damping.excuse(Duration::from_secs(60));
        damping.observe(false, ON, at(127));
        assert!(damping.observe(true, ON, at(128)).is_some());
    }
}
