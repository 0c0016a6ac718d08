//! The measurements and their medians.
//!
//! Pure.

use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;

pub(crate) mod chain;

/// An event of the frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// Every process of the web server is killed.
    Crash,
    /// Every process of the web server is stopped.
    Hang,
    /// The web server is started again after a crash.
    Return,
    /// The candidate is started beside a healthy web server.
    Start,
    /// The candidate is stopped.
    Stop,
    /// The host is drained and continues to run.
    Drain,
    /// The host becomes silent, while its links stay up.
    Death,
}

impl Event {
    /// All of them, in the order of the tables' rows.
    pub(crate) const ALL: [Event; 7] =
        [Event::Crash, Event::Hang, Event::Return, Event::Start, Event::Stop, Event::Drain, Event::Death];

    /// Its name in the tables.
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

    /// Whether the routers' timers decide it, and not the candidate.
    pub(crate) fn of_the_router(self) -> bool {
        match self {
            Event::Death => true,
            Event::Crash | Event::Hang | Event::Return | Event::Start | Event::Stop | Event::Drain => false,
        }
    }
}

/// The times after an event until the slower router has reacted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reaction {
    /// Whose.
    pub(crate) candidate: Candidate,
    /// To what.
    pub(crate) event: Event,
    /// Until the first BGP message about it was at the router's end of the link; none if the session ended without a message.
    pub(crate) wire_ms: Option<f64>,
    /// Until the next hop was added to the FIB or removed from it.
    pub(crate) fib_ms: f64,
}

/// The lost requests of an event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Loss {
    /// Whose.
    pub(crate) candidate: Candidate,
    /// In what.
    pub(crate) event: Event,
    /// Requests without a good answer.
    pub(crate) lost: u64,
}

/// The kind of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// The time.
    Time,
    /// The lost requests.
    Loss,
}

/// An event that did not end as expected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Whose.
    pub(crate) candidate: Candidate,
    /// In what.
    pub(crate) event: Event,
    /// The measurement that is missing because of it.
    pub(crate) figure: Figure,
    /// The observation.
    pub(crate) seen: String,
}

/// The cost of a number of services.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Whose.
    pub(crate) candidate: Candidate,
    /// The number of VIPs, with one check each.
    pub(crate) services: usize,
    /// The measurement, or why it failed.
    pub(crate) measured: Result<Usage, String>,
}

/// Memory and CPU of all processes of a candidate, including its BGP daemon.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Proportional set size, in MiB.
    pub(crate) pss_mib: f64,
    /// In percent of one core, including children that have ended.
    pub(crate) cpu_percent: f64,
    /// The part of the due probes that reached the web server.
    pub(crate) probes: f64,
}

/// The software of the routers of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RouterSoftware {
    /// FRR.
    Frr,
    /// BIRD.
    Bird,
}

impl RouterSoftware {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [RouterSoftware; 2] = [RouterSoftware::Frr, RouterSoftware::Bird];

    /// The lab whose routers run it.
    pub(crate) fn topology(self) -> &'static str {
        match self {
            RouterSoftware::Frr => "ecmp",
            RouterSoftware::Bird => "bird",
        }
    }

    /// Its name in the tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            RouterSoftware::Frr => "FRR",
            RouterSoftware::Bird => "BIRD",
        }
    }
}

/// A death of the host in the comparison of BFD.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Death {
    /// The routers' software.
    pub(crate) router: RouterSoftware,
    /// Who announced.
    pub(crate) candidate: Candidate,
    /// Whether BFD was configured at both ends.
    pub(crate) bfd: bool,
    /// The reaction of each router.
    pub(crate) routers: Vec<RouterDeath>,
    /// Requests without a good answer.
    pub(crate) lost: u64,
}

/// The death of the host, as one router followed it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct RouterDeath {
    /// From the last packet that any router got from the host until this one's FIB had no next hop of it, in milliseconds.
    pub(crate) fib_ms: f64,
    /// The detection itself; none without BFD.
    pub(crate) after_bfd: Option<AfterBfd>,
}

/// Times since the last BFD packet that a router got from the host, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct AfterBfd {
    /// Until the router's first BFD packet with the state Down.
    pub(crate) down_ms: f64,
    /// Until its FIB had no next hop of the host.
    pub(crate) fib_ms: f64,
}

impl Death {
    /// The time of the slower router.
    pub(crate) fn slower_ms(&self) -> f64 {
        self.routers.iter().map(|router| router.fib_ms).fold(0.0, f64::max)
    }
}

/// All results.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The environment, one line each: machine, kernel, router.
    pub(crate) machine: Vec<String>,
    /// The compared programs, with the versions that they print.
    pub(crate) versions: Vec<(Candidate, String)>,
    /// Times.
    pub(crate) reactions: Vec<Reaction>,
    /// The time from a withdraw on the wire to the FIB of the same router, in milliseconds, for all candidates.
    pub(crate) floor_ms: Vec<f64>,
    /// Losses.
    pub(crate) losses: Vec<Loss>,
    /// The failures.
    pub(crate) failures: Vec<Failure>,
    /// Memory and CPU.
    pub(crate) costs: Vec<Cost>,
    /// The CPU time of a loop that wakes up as often as announcer's listener watch, in percent of a core.
    #[serde(default)]
    pub(crate) waking_percent: Option<f64>,
    /// The deaths with and without BFD.
    #[serde(default)]
    pub(crate) deaths: Vec<Death>,
    /// Plain ECMP and the chain.
    #[serde(default)]
    pub(crate) chain: chain::ChainResults,
}

/// The median of some figures, with minimum and maximum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// The middle figure, or the mean of the two middle ones.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
    /// The limits of the middle half.
    pub(crate) middle: (f64, f64),
    /// The number of figures.
    pub(crate) runs: usize,
}

impl Spread {
    /// Computes the spread of these figures; none if there are no figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        // If a quarter or three quarters of the way is between two figures, the quartile is interpolated.
        let quartile = |quarters: usize| {
            let (whole, part) = ((sorted.len() - 1) * quarters / 4, (sorted.len() - 1) * quarters % 4);
            let next = sorted.get(whole + 1).copied().unwrap_or(max);
            sorted[whole] + (next - sorted[whole]) * [0.0, 0.25, 0.5, 0.75][part]
        };
        let middle = (quartile(1), quartile(3));
        Some(Spread { median: quartile(2), min, max, middle, runs: sorted.len() })
    }
}

/// The place of announcer in a row. Smaller figures are better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rank {
    /// announcer is this many times better than the best of the others.
    Ahead(f64),
    /// No difference that these runs could show: one's median is within the middle half of the other's runs.
    Even,
    /// The best of the others is this many times better.
    Behind(f64),
}

impl Rank {
    /// Compares with the best of the others; none if there is no other.
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

    /// How often an event did not end as expected.
    pub(crate) fn failed(&self, candidate: Candidate, event: Event, figure: Figure) -> usize {
        let theirs = self.failures.iter().filter(|one| one.candidate == candidate && one.event == event);
        theirs.filter(|one| one.figure == figure).count()
    }

    /// The cost of this number of services.
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
        // A single slow run of the others makes no difference.
        assert_eq!(Rank::of(ours, [spread([1.0, 4.0, 5.0, 6.0, 99.0])]), Some(Rank::Behind(2.0)));
        assert_eq!(Rank::of(spread([0.0; 5]), [spread([0.0; 5])]), Some(Rank::Even));
    }
}
