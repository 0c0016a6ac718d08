//! What was measured, and its medians.
//!
//! Pure.

use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;

/// What happens to the frontend, or is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// Every process of the web server is killed.
    Crash,
    /// Every process of the web server stands still.
    Hang,
    /// The web server is started again after a crash.
    Return,
    /// The candidate is started beside a healthy web server.
    Start,
    /// The candidate is stopped.
    Stop,
    /// The host is taken out and goes on running.
    Drain,
    /// The host falls silent, its links stay up.
    Death,
}

impl Event {
    /// All of them, in the order of the tables' rows.
    pub(crate) const ALL: [Event; 7] =
        [Event::Crash, Event::Hang, Event::Return, Event::Start, Event::Stop, Event::Drain, Event::Death];

    /// What the tables call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Event::Crash => "crash",
            Event::Hang => "hang",
            Event::Return => "return",
            Event::Start => "start",
            Event::Stop => "stop",
            Event::Drain => "drain",
            Event::Death => "host death, hold time 3 s",
        }
    }

    /// Whether the routers' timers decide it, whatever the candidate does.
    pub(crate) fn of_the_router(self) -> bool {
        match self {
            Event::Death => true,
            Event::Crash | Event::Hang | Event::Return | Event::Start | Event::Stop | Event::Drain => false,
        }
    }
}

/// How long after an event the slower router knew.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reaction {
    /// Whose.
    pub(crate) candidate: Candidate,
    /// To what.
    pub(crate) event: Event,
    /// Until the first BGP message about it was at the router's end of the link; none came for a session that just ended.
    pub(crate) wire_ms: Option<f64>,
    /// Until the next hop was in the FIB, or out of it.
    pub(crate) fib_ms: f64,
}

/// What an event cost the client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Loss {
    /// Whose.
    pub(crate) candidate: Candidate,
    /// In what.
    pub(crate) event: Event,
    /// Requests without a good answer.
    pub(crate) lost: u64,
}

/// What is measured of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// How long it takes.
    Time,
    /// What it costs the client.
    Loss,
}

/// An event that did not end as it should.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Whose.
    pub(crate) candidate: Candidate,
    /// In what.
    pub(crate) event: Event,
    /// What is not known because of it.
    pub(crate) figure: Figure,
    /// What was seen.
    pub(crate) seen: String,
}

/// What so many services cost a host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Whose.
    pub(crate) candidate: Candidate,
    /// VIPs, a check each.
    pub(crate) services: usize,
    /// What was measured; or why it could not be.
    pub(crate) measured: Result<Usage, String>,
}

/// Memory and CPU of all processes of a candidate, its BGP daemon's too.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Proportional set size, in MiB.
    pub(crate) pss_mib: f64,
    /// Of one core, in percent, children that ended included.
    pub(crate) cpu_percent: f64,
    /// Of the probes that were due, the part that reached the web server.
    pub(crate) probes: f64,
}

/// All of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// On what it ran, a line each: machine, kernel, router.
    pub(crate) machine: Vec<String>,
    /// What was compared, in its own words.
    pub(crate) versions: Vec<(Candidate, String)>,
    /// Times.
    pub(crate) reactions: Vec<Reaction>,
    /// From a withdraw on the wire to the FIB of the same router, in milliseconds, whoever sent it.
    pub(crate) floor_ms: Vec<f64>,
    /// Losses.
    pub(crate) losses: Vec<Loss>,
    /// What went wrong.
    pub(crate) failures: Vec<Failure>,
    /// Memory and CPU.
    pub(crate) costs: Vec<Cost>,
    /// What waking up as often as announcer's listener watch does takes here, in percent of a core.
    #[serde(default)]
    pub(crate) waking_percent: Option<f64>,
}

/// The middle of some figures, and their ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
    /// The ends of the middle half.
    pub(crate) middle: (f64, f64),
    /// How many there are.
    pub(crate) runs: usize,
}

impl Spread {
    /// Of these; none of no figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        // Where a quarter, or three, of the way lies between two of them, so does the quartile.
        let quartile = |quarters: usize| {
            let (whole, part) = ((sorted.len() - 1) * quarters / 4, (sorted.len() - 1) * quarters % 4);
            let next = sorted.get(whole + 1).copied().unwrap_or(max);
            sorted[whole] + (next - sorted[whole]) * [0.0, 0.25, 0.5, 0.75][part]
        };
        let middle = (quartile(1), quartile(3));
        Some(Spread { median: quartile(2), min, max, middle, runs: sorted.len() })
    }
}

/// How announcer stands in a row, all figures being better the smaller they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rank {
    /// So many times better than the best of the others.
    Ahead(f64),
    /// No difference that these runs could show: one's median is within the middle half of the other's runs.
    Even,
    /// The best of the others is so many times better.
    Behind(f64),
}

impl Rank {
    /// Against the best of the others; none where there is no other.
    pub(crate) fn of(ours: Spread, others: impl IntoIterator<Item = Spread>) -> Option<Rank> {
        let best = others.into_iter().min_by(|a, b| a.median.total_cmp(&b.median))?;
        let within = |one: Spread, other: Spread| (other.middle.0..=other.middle.1).contains(&one.median);
        Some(if within(ours, best) || within(best, ours) {
            Rank::Even
        } else if ours.median < best.median {
            Rank::Ahead(best.median / ours.median)
        } else {
            Rank::Behind(ours.median / best.median)
        })
    }
}

impl Results {
    /// The times to the wire (of the runs that had a message), or to the FIB.
    pub(crate) fn spread(
        &self,
        candidate: Candidate,
        event: Event,
        of: fn(&Reaction) -> Option<f64>,
    ) -> Option<Spread> {
        let ours = self.reactions.iter().filter(|one| one.candidate == candidate && one.event == event);
        Spread::of(ours.filter_map(of))
    }

    /// The requests lost.
    pub(crate) fn lost(&self, candidate: Candidate, event: Event) -> Option<Spread> {
        let ours = self.losses.iter().filter(|one| one.candidate == candidate && one.event == event);
        #[allow(clippy::cast_precision_loss)] // counts of requests
        Spread::of(ours.map(|one| one.lost as f64))
    }

    /// How often an event did not end as it should.
    pub(crate) fn failed(&self, candidate: Candidate, event: Event, figure: Figure) -> usize {
        let theirs = self.failures.iter().filter(|one| one.candidate == candidate && one.event == event);
        theirs.filter(|one| one.figure == figure).count()
    }

    /// What so many services cost.
    pub(crate) fn cost(&self, candidate: Candidate, services: usize) -> Option<&Result<Usage, String>> {
        let mut ours = self.costs.iter().filter(|one| one.candidate == candidate);
        ours.find(|one| one.services == services).map(|one| &one.measured)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_the_ends() {
        assert_eq!(Spread::of([]), None);
        let of = |median, (min, max), middle, runs| Some(Spread { median, min, max, middle, runs });
        assert_eq!(Spread::of([3.0]), of(3.0, (3.0, 3.0), (3.0, 3.0), 1));
        assert_eq!(Spread::of([9.0, 1.0]), of(5.0, (1.0, 9.0), (3.0, 7.0), 2));
        assert_eq!(Spread::of([9.0, 1.0, 4.0]), of(4.0, (1.0, 9.0), (2.5, 6.5), 3));
        assert_eq!(Spread::of([5.0, 9.0, 1.0, 4.0, 2.0]), of(4.0, (1.0, 9.0), (2.0, 5.0), 5));
    }

    #[test]
    fn a_place_is_against_the_best_of_the_others() {
        let spread = |figures: [f64; 5]| Spread::of(figures).unwrap();
        let ours = spread([8.0, 9.0, 10.0, 11.0, 12.0]);
        let slow = spread([40.0; 5]);
        assert_eq!(Rank::of(ours, []), None);
        let better = spread([15.0, 19.0, 20.0, 21.0, 99.0]);
        assert_eq!(Rank::of(ours, [slow, better]), Some(Rank::Ahead(2.0)));
        assert_eq!(Rank::of(ours, [spread([1.0, 10.5, 11.0, 12.0, 99.0]), slow]), Some(Rank::Even));
        // One run of theirs that took long makes no difference of theirs.
        assert_eq!(Rank::of(ours, [spread([1.0, 4.0, 5.0, 6.0, 99.0])]), Some(Rank::Behind(2.0)));
        assert_eq!(Rank::of(spread([0.0; 5]), [spread([0.0; 5])]), Some(Rank::Even));
    }
}
