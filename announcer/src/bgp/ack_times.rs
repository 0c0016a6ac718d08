//! When a peer's kernel has acknowledged the newest generations of the Loc-RIB.
//!
//! Pure.

use std::collections::VecDeque;
use std::time::Instant;

use crate::model::Generation;

/// How many acknowledgements are remembered.
const REMEMBERED: usize = 16;

/// The newest acknowledgements of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckTimes(VecDeque<(Generation, Instant)>);

impl AckTimes {
    /// Everything up to this generation is acknowledged. 0 means that there is no session, and forgets the times.
    pub fn note(&mut self, generation: Generation, now: Instant) {
        if generation == 0 {
            self.0.clear();
        } else if self.0.back().is_none_or(|(newest, _)| *newest < generation) {
            self.0.push_back((generation, now));
            if self.0.len() > REMEMBERED {
                self.0.pop_front();
            }
        }
    }

    /// When this generation was acknowledged; `None`: it was not, or too many others were acknowledged since then.
    pub fn of(&self, generation: Generation) -> Option<Instant> {
        let first = self.0.iter().position(|(acknowledged, _)| *acknowledged >= generation)?;
        let (acknowledged, at) = self.0.get(first)?;
        // Of the oldest entry it is not known whether an earlier one, which was forgotten, had the generation too.
        let forgotten = first == 0 && self.0.len() == REMEMBERED && *acknowledged > generation;
        (!forgotten).then_some(*at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_acknowledgement_that_has_a_generation_counts() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut times = AckTimes::default();
        for (generation, seconds) in [(3, 1), (3, 2), (7, 3)] {
            times.note(generation, at(seconds));
        }
        for (generation, want) in [(1, Some(1)), (3, Some(1)), (4, Some(3)), (7, Some(3)), (8, None)] {
            assert_eq!(times.of(generation), want.map(at), "{generation}");
        }
        times.note(0, at(4));
        assert_eq!(times.of(1), None, "the session has ended");
        for generation in 10..30 {
            times.note(generation, at(generation));
        }
        assert_eq!(times.of(13), None, "forgotten");
        assert_eq!(times.of(14), Some(at(14)));
    }
}
