//! Holds back a VIP that comes and goes: joining an ECMP group disturbs more flows than leaving it.
//!
//! Pure. The first [`FREE`] returns within [`WINDOW`] are free, the next waits [`FIRST`], each further one twice as long,
//! at most [`LONGEST`]; a VIP that has been announced for [`WINDOW`] without a fault begins anew. Beside that, every
//! join may wait a fixed delay.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Returns that cost nothing.
const FREE: usize = 2;
/// How close together returns have to be to count, and how long calm has to last for them to be forgotten.
const WINDOW: Duration = Duration::from_secs(60);
/// The first wait.
const FIRST: Duration = Duration::from_secs(10);
/// The longest.
const LONGEST: Duration = Duration::from_secs(300);

/// What a service wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long every join waits.
    pub delay: Duration,
    /// Whether returns are counted.
    pub flaps: bool,
}

/// Why a fit VIP still waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Every join waits this long.
    Delay(Duration),
    /// It came back too often.
    Flapping {
        /// How often within the window, this return included.
        returns: usize,
        /// How long it waits for that.
        penalty: Duration,
    },
}

/// How fit the VIP is, and what it did before.
#[derive(Debug, Clone, Default)]
pub struct Damping {
    state: State,
    /// When it came back, as far as it counts.
    returns: VecDeque<Instant>,
    /// How many waits it was given since it was last calm.
    penalties: u32,
}

#[derive(Debug, Clone, Default)]
enum State {
    /// It was never fit.
    #[default]
    New,
    Unfit,
    Waiting(Instant, Wait),
    Joined(Instant),
}

impl Damping {
    /// Takes in whether the VIP could be announced, were it not for this; what it still waits for.
    pub fn observe(&mut self, fit: bool, policy: Policy, now: Instant) -> Option<Wait> {
        self.state = match (fit, &self.state) {
            (false, State::New) => State::New,
            (false, State::Unfit | State::Waiting(..)) => State::Unfit,
            (false, State::Joined(since)) => {
                if now.duration_since(*since) >= WINDOW {
                    self.forget();
                }
                State::Unfit
            }
            (true, State::New) => Damping::join(now, Wait::Delay(policy.delay)),
            (true, State::Unfit) => Damping::join(now, self.returned(policy, now)),
            (true, State::Waiting(until, wait)) if now < *until => State::Waiting(*until, *wait),
            (true, State::Waiting(..)) => State::Joined(now),
            (true, State::Joined(since)) => State::Joined(*since),
        };
        match &self.state {
            State::Waiting(_, wait) => Some(*wait),
            State::New | State::Unfit | State::Joined(_) => None,
        }
    }

    /// When a wait ends.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting(until, _) => Some(*until),
            State::New | State::Unfit | State::Joined(_) => None,
        }
    }

    /// Forgets what it did, and ends its wait.
    pub fn forgive(&mut self, now: Instant) {
        self.forget();
        if let State::Waiting(_, Wait::Flapping { .. }) = &self.state {
            self.state = State::Joined(now);
        }
    }

    fn forget(&mut self) {
        self.returns.clear();
        self.penalties = 0;
    }

    fn join(now: Instant, wait: Wait) -> State {
        let (Wait::Delay(time) | Wait::Flapping { penalty: time, .. }) = wait;
        if time.is_zero() { State::Joined(now) } else { State::Waiting(now + time, wait) }
    }

    fn returned(&mut self, policy: Policy, now: Instant) -> Wait {
        if !policy.flaps {
            return Wait::Delay(policy.delay);
        }
        self.returns.push_back(now);
        if self.penalties == 0 {
            self.returns.retain(|at| now.duration_since(*at) < WINDOW);
        }
        if self.returns.len() <= FREE {
            return Wait::Delay(policy.delay);
        }
        let penalty = FIRST.saturating_mul(1 << self.penalties.min(16)).min(LONGEST);
        self.penalties += 1;
        Wait::Flapping { returns: self.returns.len(), penalty: penalty.max(policy.delay) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Policy = Policy { delay: Duration::ZERO, flaps: true };

    /// Plays `(second, fit)`; the wait after each.
    fn play(policy: Policy, steps: &[(u64, bool)]) -> (Damping, Vec<Option<u64>>, Instant) {
        let start = Instant::now();
        let mut damping = Damping::default();
        let waits = steps.iter().map(|(second, fit)| {
            let wait = damping.observe(*fit, policy, start + Duration::from_secs(*second))?;
            let (Wait::Delay(time) | Wait::Flapping { penalty: time, .. }) = wait;
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
        damping.forgive(start + Duration::from_secs(7));
        assert_eq!(damping.observe(true, ON, start + Duration::from_secs(7)), None);
        damping.observe(false, ON, start + Duration::from_secs(8));
        assert_eq!(damping.observe(true, ON, start + Duration::from_secs(9)), None, "it begins anew");
    }

    #[test]
    fn every_join_waits_the_delay_and_a_fault_within_it_begins_it_anew() {
        let policy = Policy { delay: Duration::from_secs(5), flaps: false };
        let (_, waits, _) = play(
            policy,
            &[(0, true), (4, true), (5, true), (6, false), (7, true), (8, false), (9, true), (13, true)],
        );
        assert_eq!(waits, [Some(5), Some(5), None, None, Some(5), None, Some(5), Some(5)]);
    }
}
