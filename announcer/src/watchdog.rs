//! Decides whether systemd's watchdog is fed: only while the main loop, the director's loop and the loop of every session turn.
//!
//! Pure. Each of these loops writes the time of its turns ([`Turns`]), at least every [`TURN`], also when nothing happens. The main
//! loop compares the ages and feeds. Probe loops, files, hooks and clients of the control socket are not asked: a probe loop that
//! hangs lets the lease of its VIP run out, and a hanging file has a time limit. So none of them feeds the watchdog, and none of them
//! can prevent that it is fed.
//!
//! A frozen host or a stopped process is no reason for a restart. All loops run on one thread, so if the main loop is late, all loops
//! were late, and this delay does not count.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// A loop without events turns this often.
pub const TURN: Duration = Duration::from_secs(2);
/// A loop that has not turned for this time is stuck. Together with the unit's `WatchdogSec=` it is the longest time that a stuck
/// daemon lives.
pub const STUCK: Duration = Duration::from_secs(10);

/// The time of the last turn of a loop. The loop writes it.
#[derive(Debug, Clone)]
pub struct Turns(watch::Sender<Instant>);

impl Turns {
    /// Of a loop that begins now.
    pub fn new(now: Instant) -> Self {
        Turns(watch::Sender::new(now))
    }

    /// The loop turns.
    pub fn turned(&self, now: Instant) {
        self.0.send_replace(now);
    }

    /// The reading side.
    pub fn last(&self) -> LastTurn {
        LastTurn(self.0.subscribe())
    }
}

/// The time of the last turn of a loop, for the main loop.
#[derive(Debug, Clone)]
pub struct LastTurn(watch::Receiver<Instant>);

impl LastTurn {
    /// How long ago the last turn was.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.0.borrow())
    }
}

/// A loop, and how long ago it turned last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopAge {
    /// The name of the loop, for the log: `director`, `session with r1`.
    pub name: String,
    /// Since its last turn.
    pub age: Duration,
}

/// Whether the watchdog is fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feeding {
    /// It is.
    Fed,
    /// It is not, because these loops do not turn.
    Starved(Vec<LoopAge>),
}

/// Decides from the ages of all loops. `late` is how much later than planned the main loop asks.
pub fn decide(loops: Vec<LoopAge>, late: Duration) -> Feeding {
    let stuck: Vec<LoopAge> = loops.into_iter().filter(|one| one.age > STUCK.saturating_add(late)).collect();
    if stuck.is_empty() { Feeding::Fed } else { Feeding::Starved(stuck) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn loops(ages: &[(&str, u32)]) -> Vec<LoopAge> {
        ages.iter().map(|(name, age)| LoopAge { name: (*name).to_owned(), age: SECOND * *age }).collect()
    }

    #[test]
    fn the_watchdog_is_fed_while_every_loop_turns() {
        // The ages of the loops in seconds, how late the main loop is, and the loops that are stuck.
        for (ages, late, stuck) in [
            (&[][..], 0, &[][..]),
            (&[("director", 0), ("r1", 2), ("r2", 10)], 0, &[]),
            (&[("director", 11), ("r1", 2)], 0, &["director"]),
            (&[("director", 0), ("r1", 11), ("r2", 60), ("r3", 1)], 0, &["r1", "r2"]),
            // Everything stood still for 20 s: also the main loop, which is just as late.
            (&[("director", 21), ("r1", 22)], 20, &[]),
            (&[("director", 21), ("r1", 31)], 20, &["r1"]),
            // Nobody turned, and the main loop was in time.
            (&[("director", 60), ("r1", 60)], 0, &["director", "r1"]),
            (&[("director", 3600)], 3600, &[]),
        ] {
            let want = match stuck {
                [] => Feeding::Fed,
                stuck => Feeding::Starved(
                    loops(ages).into_iter().filter(|one| stuck.contains(&one.name.as_str())).collect(),
                ),
            };
            assert_eq!(decide(loops(ages), SECOND * late), want, "{ages:?}, {late} s late");
        }
    }

    #[test]
    fn a_turn_makes_a_loop_young() {
        let begin = Instant::now();
        let turns = Turns::new(begin);
        let last = turns.last();
        assert_eq!(last.age(begin + SECOND * 3), SECOND * 3);
        turns.clone().turned(begin + SECOND * 2);
        assert_eq!(last.age(begin + SECOND * 3), SECOND);
        assert_eq!(last.age(begin), Duration::ZERO);
        drop(turns);
        assert_eq!(last.age(begin + SECOND * 30), SECOND * 28, "a loop that has ended ages");
    }

    #[test]
    fn a_stuck_loop_is_noticed_between_two_turns_and_the_limit_of_the_unit() {
        assert!(TURN * 3 < STUCK && STUCK < SECOND * 30);
    }
}
