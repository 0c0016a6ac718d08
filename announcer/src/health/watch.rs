//! Notices at once when no socket listens on a VIP's port any more.
//!
//! Pure. The input is the results of the queries ([`io::listener`](super::io::listener)). The output is actions: one connection to
//! confirm, or a report. A server that hangs still has its listener, so the probes are needed too.
//!
//! ```text
//!                    seen, check up                        gone (grace over)
//! Disarmed(Unseen) ─────────────────→ Armed ─→ Gone ──────────────────────────→ Confirming ─→ one connect
//!     ↑        Disarmed(Answers) ──────↑  ↑      │ seen: the gap was tolerated      │   │
//!     │                ↑                  └──────┘                                  │   │ refused
//!     │                └───────────── accepted, or no answer ──────────────────────┘   ↓
//!     └───────────────────────────────── seen: reported again ─────────────────────────── Down, reported
//! ```
//!
//! If a server answers without a listener on this host (socket activation, DNAT, a server in another network namespace), only
//! probes check it until a listener is seen there again. Otherwise a connection would be opened every few milliseconds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::WatchSpec;

#[cfg(test)]
mod tests;

/// From this many pairs on, one dump of the listeners costs less than a lookup of each.
const DUMP_FROM: usize = 30;
/// The watch may use one part in this many of a core.
const SHARE: u32 = 20;
/// The longest period, so that a crash is still noticed at once.
const LONGEST: Duration = Duration::from_millis(20);
/// The weight of one round in the mean cost: one part in this many.
const WEIGHT: u32 = 8;

/// A VIP and a port that checks probe.
pub type VipPort = (IpAddr, u16);

/// The configuration of the watch, which the director decides: the watched pairs, and how often they are queried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchPlan {
    /// The shortest time between two queries; zero: nothing is watched.
    pub every: Duration,
    /// The watched pairs.
    pub pairs: BTreeMap<VipPort, WatchSpec>,
}

/// The result of one query for a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookResult {
    /// A socket listens that would accept the VIP's connections.
    Listens,
    /// No socket listens.
    Nothing,
    /// The query failed, which proves nothing about listeners.
    Unknown,
}

/// The result of the confirming connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectAnswer {
    /// A reset: there is no server.
    Refused,
    /// A server accepted it.
    Accepted,
    /// There was no answer within the time limit.
    Unanswered,
}

/// An action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchAction {
    /// Connect to the pair once, and report the answer.
    Connect(VipPort),
    /// Report that there is no listener, or that there is one again.
    Report {
        /// Where.
        pair: VipPort,
        /// Whether there is a listener.
        listening: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WatchState {
    Disarmed(DisarmReason),
    Armed,
    Gone { counts: Instant },
    Confirming,
    Down,
}

/// Why a pair is not watched now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisarmReason {
    /// No listener was seen yet while its checks were up.
    Unseen,
    /// Its listener is gone, but a server still answers.
    Answers,
}

impl DisarmReason {
    /// The reason as part of a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            DisarmReason::Unseen => "no listener was seen on this host while its checks were up",
            DisarmReason::Answers => "it answers, and no socket of this network namespace listens there",
        }
    }
}

/// All pairs, in their order.
#[derive(Debug, Default)]
pub struct Watch {
    pairs: Vec<(VipPort, WatchSpec, WatchState)>,
}

impl Watch {
    /// Sets the watched pairs. A pair that was already watched keeps its state.
    pub fn set(&mut self, wanted: &BTreeMap<VipPort, WatchSpec>) {
        let before: BTreeMap<VipPort, WatchState> =
            self.pairs.drain(..).map(|(pair, _, state)| (pair, state)).collect();
        let unseen = WatchState::Disarmed(DisarmReason::Unseen);
        let state = |pair| before.get(pair).copied().unwrap_or(unseen);
        self.pairs.extend(wanted.iter().map(|(pair, watched)| (*pair, *watched, state(pair))));
    }

    /// The pairs, in the order of the results for [`Watch::look`].
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = VipPort> {
        self.pairs.iter().map(|(pair, ..)| *pair)
    }

    /// The indices of the missing pairs that would cause an action. They need a second query if the first one is not exact.
    pub fn doubtful(&self, sights: &[LookResult]) -> Vec<usize> {
        let matters = |state: &WatchState| match state {
            WatchState::Armed | WatchState::Gone { .. } => true,
            WatchState::Disarmed(_) | WatchState::Confirming | WatchState::Down => false,
        };
        let all = self.pairs.iter().zip(sights).enumerate();
        all.filter(|(_, ((.., state), sight))| matters(state) && **sight == LookResult::Nothing)
            .map(|(place, _)| place)
            .collect()
    }

    /// Processes the results for every pair.
    #[must_use]
    pub fn look(&mut self, sights: &[LookResult], now: Instant) -> Vec<WatchAction> {
        let mut actions = Vec::new();
        for ((pair, watched, state), sight) in self.pairs.iter_mut().zip(sights) {
            let (next, action) = step(*pair, *watched, *state, *sight, now);
            *state = next;
            actions.extend(action);
        }
        actions
    }

    /// Processes the answer to an [`WatchAction::Connect`].
    #[must_use]
    pub fn answered(&mut self, pair: VipPort, answer: ConnectAnswer) -> Option<WatchAction> {
        let place = self.pairs.binary_search_by_key(&pair, |(pair, ..)| *pair).ok()?;
        let (_, _, state) = self.pairs.get_mut(place)?;
        if *state != WatchState::Confirming {
            return None; // it is no longer watched
        }
        match answer {
            ConnectAnswer::Refused => {
                *state = WatchState::Down;
                Some(WatchAction::Report { pair, listening: false })
            }
            ConnectAnswer::Accepted | ConnectAnswer::Unanswered => {
                *state = WatchState::Disarmed(DisarmReason::Answers);
                None
            }
        }
    }

    /// When the next tolerated gap ends. The next query must not be later.
    pub fn deadline(&self) -> Option<Instant> {
        let ends = |state: &WatchState| match state {
            WatchState::Gone { counts } => Some(*counts),
            WatchState::Disarmed(_) | WatchState::Armed | WatchState::Confirming | WatchState::Down => None,
        };
        self.pairs.iter().filter_map(|(.., state)| ends(state)).min()
    }

    /// The pairs whose checks are up and that only probes check, and why.
    pub fn disarmed(&self) -> Vec<(VipPort, DisarmReason)> {
        let why = |state: &WatchState| match state {
            WatchState::Disarmed(why) => Some(*why),
            WatchState::Armed | WatchState::Gone { .. } | WatchState::Confirming | WatchState::Down => None,
        };
        let up = self.pairs.iter().filter(|(_, watched, _)| watched.up);
        up.filter_map(|(pair, _, state)| Some((*pair, why(state)?))).collect()
    }
}

fn step(
    pair: VipPort,
    watched: WatchSpec,
    state: WatchState,
    sight: LookResult,
    now: Instant,
) -> (WatchState, Option<WatchAction>) {
    let gone = |counts: Instant| match now >= counts {
        true => (WatchState::Confirming, Some(WatchAction::Connect(pair))),
        false => (WatchState::Gone { counts }, None),
    };
    match (state, sight) {
        (state, LookResult::Unknown) => (state, None),
        (WatchState::Disarmed(_), LookResult::Listens) if watched.up => (WatchState::Armed, None),
        (WatchState::Gone { .. }, LookResult::Listens) => (WatchState::Armed, None),
        (WatchState::Down, LookResult::Listens) => {
            (WatchState::Disarmed(DisarmReason::Unseen), Some(WatchAction::Report { pair, listening: true }))
        }
        (WatchState::Armed, LookResult::Nothing) => gone(now + watched.grace),
        (WatchState::Gone { counts }, LookResult::Nothing) => gone(counts),
        (WatchState::Disarmed(why), LookResult::Listens | LookResult::Nothing) => {
            (WatchState::Disarmed(why), None)
        }
        (WatchState::Armed, LookResult::Listens) => (WatchState::Armed, None),
        (WatchState::Confirming, LookResult::Listens | LookResult::Nothing) => (WatchState::Confirming, None),
        (WatchState::Down, LookResult::Nothing) => (WatchState::Down, None),
    }
}

/// How the kernel is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookMethod {
    /// One look-up for each pair.
    Lookups,
    /// One dump of all listening sockets.
    Dump,
}

impl LookMethod {
    /// The cheaper kind of query for this number of pairs.
    pub fn of(pairs: usize) -> LookMethod {
        if pairs < DUMP_FROM { LookMethod::Lookups } else { LookMethod::Dump }
    }

    /// One word, as `status` has it.
    pub fn word(self) -> &'static str {
        match self {
            LookMethod::Lookups => "lookups",
            LookMethod::Dump => "dump",
        }
    }
}

/// The time between two queries: the configured time while queries are cheap, longer while they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    configured: Duration,
    /// The mean CPU time of a query.
    cost: Duration,
}

impl Period {
    /// A period with the configured time, above zero.
    pub fn new(configured: Duration) -> Self {
        Period { configured, cost: Duration::ZERO }
    }

    /// Records the CPU time of a query.
    pub fn measured(&mut self, cost: Duration) {
        self.cost = (self.cost * (WEIGHT - 1) + cost) / WEIGHT;
    }

    /// The current period.
    pub fn get(self) -> Duration {
        (self.cost * SHARE).min(LONGEST).max(self.configured)
    }
}

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// The address to which it is bound; unspecified: any address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether an IPv6 socket accepts no IPv4.
    pub v6only: bool,
}

/// Computes which pairs the listeners of a dump serve, with the rules of the kernel.
#[derive(Debug, Default)]
pub struct ServedPorts {
    places: HashMap<VipPort, usize>,
    sights: Vec<LookResult>,
    /// Ports with a listener on any IPv4 address, and on any IPv6 address.
    any: [BTreeSet<u16>; 2],
}

impl ServedPorts {
    /// For these pairs, without a listener yet.
    pub fn new(pairs: impl Iterator<Item = VipPort>) -> Self {
        let places: HashMap<VipPort, usize> = pairs.enumerate().map(|(place, pair)| (pair, place)).collect();
        ServedPorts { sights: vec![LookResult::Nothing; places.len()], places, any: Default::default() }
    }

    /// Adds a listener.
    pub fn add(&mut self, listener: Listener) {
        let Listener { address, port, v6only } = listener;
        let [v4, v6] = &mut self.any;
        match address {
            IpAddr::V4(ip) if ip.is_unspecified() => {
                v4.insert(port);
            }
            IpAddr::V6(ip) if ip.is_unspecified() => {
                v6.insert(port);
                if !v6only {
                    v4.insert(port);
                }
            }
            IpAddr::V4(_) | IpAddr::V6(_) => {
                if let Some(place) = self.places.get(&(address.to_canonical(), port))
                    && let Some(sight) = self.sights.get_mut(*place)
                {
                    *sight = LookResult::Listens;
                }
            }
        }
    }

    /// Returns the result for each pair, and resets itself for the next dump.
    pub fn take(&mut self) -> Vec<LookResult> {
        let [v4, v6] = &mut self.any;
        for ((ip, port), place) in &self.places {
            let any = if ip.is_ipv4() { &*v4 } else { &*v6 };
            if any.contains(port)
                && let Some(sight) = self.sights.get_mut(*place)
            {
                *sight = LookResult::Listens;
            }
        }
        v4.clear();
        v6.clear();
        let fresh = vec![LookResult::Nothing; self.sights.len()];
        std::mem::replace(&mut self.sights, fresh)
    }
}
