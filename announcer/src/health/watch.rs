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
    /// The VRFs of the VIPs that are in one, by the names of their devices.
    pub vrfs: BTreeMap<IpAddr, String>,
}

/// The index of loopback, by which connections from this host to its own addresses arrive outside of a VRF.
const LOOPBACK_INDEX: u32 = 1;

/// Which listeners the probes of a VIP can reach (inet_bound_dev_eq of the kernel). `device` is the interface by which the connections
/// of this host to the VIP arrive: lo, or the device of the VRF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerScope {
    /// Its index.
    pub device: u32,
    /// Whether listeners that are bound to no device are reached. In a VRF only with `net.ipv4.tcp_l3mdev_accept` = 1.
    pub unbound: bool,
}

impl Default for ListenerScope {
    /// Outside of a VRF.
    fn default() -> Self {
        ListenerScope { device: LOOPBACK_INDEX, unbound: true }
    }
}

impl ListenerScope {
    /// Whether a listener that is bound to the interface with this index is reached; 0: it is bound to none.
    pub fn reaches(self, bound_to: u32) -> bool {
        if bound_to == 0 { self.unbound } else { bound_to == self.device }
    }
}

/// The scopes of the VIPs in a VRF. For a VIP that is not among them, the default holds. `None`: its VRF does not exist now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenerScopes(pub BTreeMap<IpAddr, Option<ListenerScope>>);

impl ListenerScopes {
    /// That of a VIP; `None`: its VRF does not exist, so nothing is known.
    pub fn of(&self, vip: IpAddr) -> Option<ListenerScope> {
        self.0.get(&vip).copied().unwrap_or(Some(ListenerScope::default()))
    }
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
    /// The index of the interface to which it is bound; 0: none.
    pub bound_to: u32,
}

/// Computes which pairs the listeners of a dump serve, with the rules of the kernel.
#[derive(Debug, Default)]
pub struct ServedPorts {
    places: HashMap<VipPort, (usize, Option<ListenerScope>)>,
    sights: Vec<LookResult>,
    /// By the index of the interface to which they are bound: ports with a listener on any IPv4 address, and on any IPv6 address.
    any: BTreeMap<u32, [BTreeSet<u16>; 2]>,
}

impl ServedPorts {
    /// For these pairs, without a listener yet.
    pub fn new(pairs: impl Iterator<Item = VipPort>, scopes: &ListenerScopes) -> Self {
        let places: HashMap<VipPort, (usize, Option<ListenerScope>)> =
            pairs.enumerate().map(|(place, pair)| (pair, (place, scopes.of(pair.0)))).collect();
        let mut served = ServedPorts { places, ..ServedPorts::default() };
        served.sights = served.none_yet();
        served
    }

    /// The results without a listener. Of a VIP whose VRF does not exist, nothing is known.
    fn none_yet(&self) -> Vec<LookResult> {
        let mut sights = vec![LookResult::Nothing; self.places.len()];
        for (place, _) in self.places.values().filter(|(_, scope)| scope.is_none()) {
            if let Some(sight) = sights.get_mut(*place) {
                *sight = LookResult::Unknown;
            }
        }
        sights
    }

    /// Adds a listener.
    pub fn add(&mut self, listener: Listener) {
        let Listener { address, port, v6only, bound_to } = listener;
        if address.is_unspecified() {
            let [v4, v6] = self.any.entry(bound_to).or_default();
            if address.is_ipv6() {
                v6.insert(port);
            }
            if address.is_ipv4() || !v6only {
                v4.insert(port);
            }
        } else if let Some((place, Some(scope))) = self.places.get(&(address.to_canonical(), port))
            && scope.reaches(bound_to)
            && let Some(sight) = self.sights.get_mut(*place)
        {
            *sight = LookResult::Listens;
        }
    }

    /// Returns the result for each pair, and resets itself for the next dump.
    pub fn take(&mut self) -> Vec<LookResult> {
        for ((ip, port), (place, scope)) in &self.places {
            let serves = |bound_to: &u32, [v4, v6]: &[BTreeSet<u16>; 2]| {
                let any = if ip.is_ipv4() { v4 } else { v6 };
                scope.is_some_and(|scope| scope.reaches(*bound_to)) && any.contains(port)
            };
            if self.any.iter().any(|(bound_to, any)| serves(bound_to, any))
                && let Some(sight) = self.sights.get_mut(*place)
            {
                *sight = LookResult::Listens;
            }
        }
        self.any.clear();
        let fresh = self.none_yet();
        std::mem::replace(&mut self.sights, fresh)
    }
}
