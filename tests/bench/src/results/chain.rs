//! The measurements of plain ECMP and the chain.
//!
//! Pure.

use serde::{Deserialize, Serialize};

use super::Spread;

/// The budget of [`ChainMode::Budget`], which is the default of `[chain]`.
const BUDGET: u32 = 1000;
/// The largest budget that `[chain]` accepts: no load of this benchmark reaches it.
const LARGEST_BUDGET: u32 = 1_000_000;

/// What the frontends do with a segment of a connection that they do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChainMode {
    /// Their stacks answer RST.
    Plain,
    /// They forward it, within the default budget.
    Budget,
    /// They forward it, with a budget that never acts.
    NoBudget,
}

impl ChainMode {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [ChainMode; 3] = [ChainMode::Plain, ChainMode::Budget, ChainMode::NoBudget];

    /// Packets a second that each frontend may start on their way; none without the chain.
    pub(crate) fn budget(self) -> Option<u32> {
        match self {
            ChainMode::Plain => None,
            ChainMode::Budget => Some(BUDGET),
            ChainMode::NoBudget => Some(LARGEST_BUDGET),
        }
    }

    /// Its name in the tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            ChainMode::Plain => "plain ECMP",
            ChainMode::Budget => "chain, `budget = 1000`",
            ChainMode::NoBudget => "chain, `budget = 1000000`",
        }
    }
}

/// How many bogus ACKs come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FloodRate {
    /// None.
    None,
    /// A fixed rate.
    Steady,
    /// As many as one processor can send.
    Fastest,
}

impl FloodRate {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [FloodRate; 3] = [FloodRate::None, FloodRate::Steady, FloodRate::Fastest];

    /// The most packets a second; none without a flood.
    pub(crate) fn packets(self) -> Option<u64> {
        match self {
            FloodRate::None => None,
            FloodRate::Steady => Some(20_000),
            FloodRate::Fastest => Some(u64::MAX),
        }
    }

    /// Its name in the tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            FloodRate::None => "none",
            FloodRate::Steady => "20,000/s",
            FloodRate::Fastest => "as fast as possible",
        }
    }
}

/// Requests for some seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Requests {
    /// Answers a second.
    pub(crate) per_s: f64,
    /// Connections and requests that failed, in all.
    pub(crate) errors: u64,
}

/// One measurement under load.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ChainLoad {
    /// What the frontends did.
    pub(crate) mode: ChainMode,
    /// The flood meanwhile.
    pub(crate) flood: FloodRate,
    /// Bogus ACKs that were sent a second.
    pub(crate) sent_per_s: f64,
    /// Packets that the frontends forwarded a second, all together: one that goes round passes four times.
    pub(crate) forwarded_per_s: f64,
    /// How busy the processors of the machine were, in percent of all.
    pub(crate) busy_percent: f64,
    /// Requests with a new connection each.
    pub(crate) requests: Requests,
    /// Requests over connections that stay open; without a flood only.
    pub(crate) kept: Option<Requests>,
}

/// Flows while one frontend leaves and returns.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ChainFlows {
    /// What the frontends did.
    pub(crate) mode: ChainMode,
    /// Flows that were open.
    pub(crate) flows: u64,
    /// Those that broke when it left.
    pub(crate) leaves: u64,
    /// Those that broke when it returned.
    pub(crate) returns: u64,
    /// New connections beside them without a good answer.
    pub(crate) new_lost: u64,
}

/// All of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ChainResults {
    /// In the order of time.
    pub(crate) loads: Vec<ChainLoad>,
    /// In the order of time.
    pub(crate) flows: Vec<ChainFlows>,
}

impl ChainResults {
    /// The number of complete turns.
    pub(crate) fn turns(&self) -> usize {
        self.loads.len() / (ChainMode::ALL.len() * FloodRate::ALL.len())
    }

    /// The loads of a mode under a flood, one a turn.
    pub(crate) fn of(&self, mode: ChainMode, flood: FloodRate) -> impl Iterator<Item = &ChainLoad> {
        self.loads.iter().filter(move |load| (load.mode, load.flood) == (mode, flood))
    }

    /// A figure without a flood: with plain ECMP, with the chain, and the chain's part of plain ECMP turn by turn.
    pub(crate) fn cost(&self, figure: fn(&ChainLoad) -> Option<f64>) -> Option<[Spread; 3]> {
        let of = |mode| self.of(mode, FloodRate::None).filter_map(figure);
        let parts = of(ChainMode::Plain).zip(of(ChainMode::Budget)).map(|(plain, chain)| chain / plain);
        Some([Spread::of(of(ChainMode::Plain))?, Spread::of(of(ChainMode::Budget))?, Spread::of(parts)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_names_the_budget_that_is_configured() {
        for mode in ChainMode::ALL {
            let budget = mode.budget().map_or(String::new(), |budget| format!("budget = {budget}"));
            assert!(mode.title().contains(&budget), "{mode:?}");
        }
        assert_eq!(FloodRate::Steady.packets().map(|rate| rate / 1000), Some(20));
    }
}
