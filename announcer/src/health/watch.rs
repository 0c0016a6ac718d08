//! Knows at once when nothing listens on a VIP's port any more.
//!
//! Pure. Whoever looks ([`io::listener`](super::io::listener)) says what it saw, and does what comes out: one connect that
//! confirms, or a fact. A listener says nothing of a hang, so the probes go on beside it.
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
//! What answers without a listener of ours (socket activation, DNAT, a server in another network namespace) is left to
//! the probes until a listener was seen there again: nothing is connected to every few milliseconds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::WatchSpec;

#[cfg(test)]
mod tests;

/// From this many pairs on, one dump of the listeners costs less than a lookup of each.
const DUMP_FROM: usize = 30;
/// One part in so many of a core is what the watch may take.
const SHARE: u32 = 20;
/// The period is stretched no further, so that a crash is still known at once.
const LONGEST: Duration = Duration::from_millis(20);
/// How much a round weighs in the mean of their costs: one part in so many.
const WEIGHT: u32 = 8;

/// A VIP and a port of it that checks ask.
pub type VipPort = (IpAddr, u16);

/// What is decided above: what is watched, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchPlan {
    /// The shortest time from look to look; zero: nothing is watched.
    pub every: Duration,
    /// What is watched.
    pub pairs: BTreeMap<VipPort, WatchSpec>,
}

/// What one look saw of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookResult {
    /// A socket listens that would take the VIP's connections.
    Listens,
    /// None does.
    Nothing,
    /// The look failed, which says nothing of listeners.
    Unknown,
}

/// What the confirming connect met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectAnswer {
    /// A reset: nobody is there.
    Refused,
    /// Somebody is.
    Accepted,
    /// Neither, in the time given to it.
    Unanswered,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchAction {
    /// Connect to the pair once, and say how it was answered.
    Connect(VipPort),
    /// Report that nothing listens there, or that something does again.
    Report {
        /// Where.
        pair: VipPort,
        /// Whether something does.
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

/// Why a pair is not watched at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisarmReason {
    /// No listener was seen yet while its checks were up.
    Unseen,
    /// Its listener went, and something answers there all the same.
    Answers,
}

impl DisarmReason {
    /// As a sentence has it.
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
    /// Watches these from now on; a pair that is watched already keeps its state.
    pub fn set(&mut self, wanted: &BTreeMap<VipPort, WatchSpec>) {
        let before: BTreeMap<VipPort, WatchState> =
            self.pairs.drain(..).map(|(pair, _, state)| (pair, state)).collect();
        let unseen = WatchState::Disarmed(DisarmReason::Unseen);
        let state = |pair| before.get(pair).copied().unwrap_or(unseen);
        self.pairs.extend(wanted.iter().map(|(pair, watched)| (*pair, *watched, state(pair))));
    }

    /// The pairs, in the order in which [`Watch::look`] wants what was seen of them.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = VipPort> {
        self.pairs.iter().map(|(pair, ..)| *pair)
    }

    /// The places of those that something would follow for if they were gone: worth a second look, where the first is
    /// not exact.
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

    /// Takes in what was seen of every pair.
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

    /// Takes in how a [`WatchAction::Connect`] was answered.
    #[must_use]
    pub fn answered(&mut self, pair: VipPort, answer: ConnectAnswer) -> Option<WatchAction> {
        let place = self.pairs.binary_search_by_key(&pair, |(pair, ..)| *pair).ok()?;
        let (_, _, state) = self.pairs.get_mut(place)?;
        if *state != WatchState::Confirming {
            return None; // it was not watched meanwhile
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

    /// When a gap is over that is tolerated, and the next look must not be later.
    pub fn deadline(&self) -> Option<Instant> {
        let ends = |state: &WatchState| match state {
            WatchState::Gone { counts } => Some(*counts),
            WatchState::Disarmed(_) | WatchState::Armed | WatchState::Confirming | WatchState::Down => None,
        };
        self.pairs.iter().filter_map(|(.., state)| ends(state)).min()
    }

    /// The pairs whose checks are up and that are left to their probes, and why.
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
    /// For each pair: what would take a connection to it?
    Lookups,
    /// For all sockets that listen.
    Dump,
}

impl LookMethod {
    /// What costs less for so many pairs.
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

/// From look to look: as configured while that is cheap, longer while it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    configured: Duration,
    /// What a look costs, of a core.
    cost: Duration,
}

impl Period {
    /// As configured, above zero.
    pub fn new(configured: Duration) -> Self {
        Period { configured, cost: Duration::ZERO }
    }

    /// A look has cost so much of a core's time.
    pub fn measured(&mut self, cost: Duration) {
        self.cost = (self.cost * (WEIGHT - 1) + cost) / WEIGHT;
    }

    /// What holds now.
    pub fn get(self) -> Duration {
        (self.cost * SHARE).min(LONGEST).max(self.configured)
    }
}

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// What it is bound to; unspecified: any address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether an IPv6 one takes no IPv4.
    pub v6only: bool,
}

/// Which of the pairs the listeners of a dump serve, as the kernel would say.
#[derive(Debug, Default)]
pub struct ServedPorts {
    places: HashMap<VipPort, usize>,
    sights: Vec<LookResult>,
    /// Ports with a listener on any IPv4 address, and on any IPv6 address.
    any: [BTreeSet<u16>; 2],
}

impl ServedPorts {
    /// Of these pairs, and by nobody yet.
    pub fn new(pairs: impl Iterator<Item = VipPort>) -> Self {
        let places: HashMap<VipPort, usize> = pairs.enumerate().map(|(place, pair)| (pair, place)).collect();
        ServedPorts { sights: vec![LookResult::Nothing; places.len()], places, any: Default::default() }
    }

    /// One listener more.
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

    /// What was seen of each pair, and ready for the next dump.
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
