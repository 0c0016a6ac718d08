//! The chain: which heartbeats are exchanged, which ring follows, and which rules are in the kernel.
//!
//! Touches rtnetlink, sock_diag, nft, files and the loop of the heartbeats. What follows from what is decided in `chain`.
//!
//! ```text
//! heartbeats ──> Ring ──> rules ──> nft ──> what heartbeats say
//! ```
//!
//! The rules outlive the daemon. A file says what is installed, so that the next process says the same from its first heartbeat on.

mod capacity;
mod exchange;
mod key;
mod membership;
mod paths;
mod place;
mod rules;
mod switch;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tracing::error;

use self::capacity::CapacityKeeper;
use self::exchange::{RunningLoop, next_report};
use self::key::KeyKeeper;
use self::membership::MembershipKeeper;
use self::paths::PathKeeper;
use self::place::{Place, PlaceKeeper};
use self::rules::RuleKeeper;
use self::turn::Turn;
use crate::bgp::path::Network;
use crate::chain::heartbeat::{Families, ListDigest, MemberPresence, MemberVipState};
use crate::chain::io::{ChainRequests, GuardRequests, HeartbeatReport};
use crate::chain::plan;
use crate::chain::ring::{Leaving, LeavingStep, MemberObservation, Own, Ring, settled};
use crate::chain::status::{ChainStatus, OffOrder};
use crate::config::{ChainConfig, Config};
use crate::director::standing::{NotAnnouncedReason, Standing};
use crate::files::io::Files;
use crate::realtime::io::RealtimeThread;

/// How often everything is looked at again without an event.
const TURN: Duration = Duration::from_secs(1);
/// How often while the others hear that this host leaves.
const FAST_TURN: Duration = Duration::from_millis(20);
/// The wait before a loop that has ended by itself is started again.
const RESTART: Duration = Duration::from_secs(1);
/// How long a start waits for the other members at most before it announces.
pub(in crate::daemon) const LONGEST_JOIN: Duration = Duration::from_secs(3);

/// How far the stop of the daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::daemon) enum ChainStop {
    /// It runs.
    #[default]
    Running,
    /// The VIPs are being withdrawn, and flows may go on.
    Leaving,
    /// Flows are no longer waited for.
    Leave,
}

/// The channels of the task.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct ChainChannels {
    pub(in crate::daemon) configs: watch::Receiver<Arc<Config>>,
    pub(in crate::daemon) network: watch::Receiver<Arc<Network>>,
    /// The states of our VIPs.
    pub(in crate::daemon) vips: watch::Receiver<Arc<Vec<(IpAddr, MemberVipState)>>>,
    pub(in crate::daemon) stop: watch::Receiver<ChainStop>,
    pub(in crate::daemon) requests: ChainRequests,
    /// The questions to the guard of capacity.
    pub(in crate::daemon) questions: GuardRequests,
    /// The VIPs that enough other members announce.
    pub(in crate::daemon) enough_others: watch::Sender<Arc<BTreeSet<IpAddr>>>,
    pub(in crate::daemon) status: watch::Sender<Arc<ChainStatus>>,
    /// Whether sessions may begin: this host is in the rings, or it is not waited for any longer.
    pub(in crate::daemon) joined: watch::Sender<bool>,
    pub(in crate::daemon) realtime: RealtimeThread,
    pub(in crate::daemon) files: Files,
    pub(in crate::daemon) state_dir: PathBuf,
}

/// Keeps the chain until `stop`.
pub(in crate::daemon) async fn keep(mut channels: ChainChannels) {
    let requests = channels.requests.clone();
    let mut requests = requests.0.lock().await; // the task before this one has ended
    let questions = channels.questions.clone();
    let mut questions = questions.0.lock().await;
    let mut keeper = ChainKeeper::start(&channels).await;
    loop {
        let stop = *channels.stop.borrow_and_update();
        let config = Arc::clone(&channels.configs.borrow_and_update());
        let network = Arc::clone(&channels.network.borrow_and_update());
        channels.vips.mark_unchanged();
        let leaves = keeper.turn(&config, &network, stop, &channels).await;
        if leaves == Some(LeavingStep::RemoveRules) || (stop == ChainStop::Leave && keeper.running.is_none())
        {
            return keeper.end(&channels).await;
        }
        let now = Instant::now();
        let next = now + if leaves.is_some() { FAST_TURN } else { keeper.wait() };
        let next = keeper.capacity.due().map_or(next, |due| due.min(next));
        tokio::select! {
            report = next_report(&mut keeper.running) => match report {
                Some(report) => keeper.report = report,
                None => {
                    error!("loop of the heartbeats ended, starts again in a second");
                    keeper.running = None;
                    sleep(RESTART).await;
                }
            },
            Some(request) = requests.recv() => keeper.switch_forwarding(request, &channels).await,
            Some(question) = questions.recv(), if keeper.capacity.is_free() => keeper.capacity.ask(question),
            () = keeper.capacity.permit_dropped() => {}
            changed = channels.configs.changed() => if changed.is_err() { return } else { keeper.keys.read_again() },
            changed = channels.network.changed() => if changed.is_err() { return },
            changed = channels.vips.changed() => if changed.is_err() { return },
            changed = channels.stop.changed() => if changed.is_err() { return },
            () = sleep_until(next.into()) => {}
        }
    }
}

struct ChainKeeper {
    running: Option<RunningLoop>,
    report: HeartbeatReport,
    rules: RuleKeeper,
    paths: PathKeeper,
    capacity: CapacityKeeper,
    off: Option<OffOrder>,
    keys: KeyKeeper,
    places: PlaceKeeper,
    membership: MembershipKeeper,
    /// The stop of the daemon, or a reload after which this host is no member.
    leaving: Option<Leaving>,
    /// Since `forward = false`: the others hear that before the rules are removed.
    retiring: Option<Leaving>,
    /// When the stop no longer waits for the other members.
    leave_by: Option<Instant>,
    /// Whether heartbeats have said that the rules are installed. Then the other members take this host into their rings.
    joins: bool,
    /// When sessions may begin at the latest.
    join_by: Instant,
}

impl ChainKeeper {
    async fn start(channels: &ChainChannels) -> ChainKeeper {
        let off = switch::stored(&channels.files, &channels.state_dir).await;
        let rules = RuleKeeper::start(&channels.files, &channels.state_dir).await;
        let joins = rules.is_installed();
        let membership = MembershipKeeper::new(rules.former_list());
        ChainKeeper {
            running: None,
            report: HeartbeatReport::default(),
            rules,
            paths: PathKeeper::default(),
            capacity: CapacityKeeper::new(),
            off,
            keys: KeyKeeper::default(),
            places: PlaceKeeper::default(),
            membership,
            leaving: None,
            retiring: None,
            leave_by: None,
            joins,
            join_by: Instant::now() + LONGEST_JOIN,
        }
    }

    /// The wait until the next turn.
    fn wait(&self) -> Duration {
        if self.leaving.is_some() || self.retiring.is_some() && self.rules.is_installed() {
            FAST_TURN
        } else if self.rules.is_settled() && !self.membership.is_changing() {
            TURN
        } else {
            // The Ethernet address of a member is known a moment after its first heartbeat.
            Duration::from_millis(50)
        }
    }

    /// Follows everything once.
    async fn turn(
        &mut self,
        config: &Arc<Config>,
        network: &Network,
        stop: ChainStop,
        channels: &ChainChannels,
    ) -> Option<LeavingStep> {
        // A reload after which this host is no member: the former configuration goes on until the others know.
        let former = self.membership.former(config, network);
        let former = former.filter(|_| self.running.is_some() || self.rules.is_installed());
        let departs = former.is_some();
        if !departs && stop != ChainStop::Leave {
            (self.leaving, self.leave_by) = (None, None);
        }
        let config = former.as_ref().unwrap_or(config);
        let Some(chain) = &config.chain else {
            self.without_chain(channels).await;
            return None;
        };
        self.keys.read(chain, channels).await;
        if !departs {
            self.membership.update(chain, network);
        }
        let place = self.places.place(chain, network, self.membership.own(), self.membership.others(network));
        let (place, problem) = place.await.map_or_else(|why| (None, Some(why)), |place| (place, None));
        let mut problems: Vec<String> = problem.into_iter().chain(self.keys.problem.clone()).collect();
        let (Some(place), Some(keys)) = (place, self.keys.keys.clone()) else {
            self.without_heartbeats(chain, network, problems, channels);
            return None;
        };
        let services = plan::services(config);
        let wanted = if chain.forward { plan::wanted(&services, &place.next_hops) } else { Families::NONE };
        let presence = self.leaving.map_or(
            if stop == ChainStop::Running { MemberPresence::Here } else { MemberPresence::Leaving },
            |leaving| leaving.presence(),
        );
        let members = ListDigest::of_members(&chain.members);
        let own = Own { address: place.own, wanted, switched_off: !chain.forward, presence, members };
        self.run_heartbeats(chain, &place, keys, channels);
        let now = Instant::now();
        let mut observations: BTreeMap<IpAddr, MemberObservation> =
            self.report.members.iter().map(|(address, member)| (*address, member.observation)).collect();
        if !departs {
            self.membership.step(config, &mut observations, chain.heartbeat, network, now);
        }
        let settled = !observations.is_empty() && settled(&observations);
        let ring = Ring::new(&self.membership.ring(network), &own, &observations);
        let turn = Turn { config, chain, place, services, observations, own, ring, settled, now };
        self.follow(&turn, channels).await;
        problems.extend(self.problems(&turn, network));
        let facts = self.facts(&turn);
        let test_packets = self.rules.test_packet_report();
        self.send_test_packets(&turn, &facts, &test_packets).await;
        let (step, few) = self.step_capacity(&turn, channels);
        self.update_heartbeats(&turn, facts, test_packets, step, channels);
        self.join(&turn, channels);
        publish(channels, self.status(&turn, facts, problems, few));
        if stop == ChainStop::Leave || departs {
            return self.leave(&turn, stop, channels).await;
        }
        None
    }

    /// The configuration has no chain.
    async fn without_chain(&mut self, channels: &ChainChannels) {
        self.dissolve(channels).await;
        self.membership = MembershipKeeper::default();
        self.capacity.without_chain();
        channels.joined.send_replace(true);
        publish(channels, ChainStatus::default());
    }

    /// This host has no place on the segment, or no key.
    fn without_heartbeats(
        &mut self,
        chain: &ChainConfig,
        network: &Network,
        problems: Vec<String>,
        channels: &ChainChannels,
    ) {
        if network.is_read() {
            channels.joined.send_replace(true); // nobody can be waited for
        }
        self.capacity.without_heartbeats(problems.first(), &channels.enough_others);
        let (configured, forward, off) = (true, chain.forward, self.off.clone());
        publish(channels, ChainStatus { configured, forward, off, problems, ..ChainStatus::default() });
    }

    /// Removes everything, because the configuration has no chain.
    async fn dissolve(&mut self, channels: &ChainChannels) {
        self.running = None;
        self.report = HeartbeatReport::default();
        self.paths.forget();
        // A former process may have made the VXLAN device, if it has left rules.
        let left = self.rules.is_installed();
        self.rules.remove(channels).await;
        self.places.leave(left).await;
    }

    /// The daemon ends.
    async fn end(mut self, channels: &ChainChannels) {
        self.dissolve(channels).await;
    }
}

fn publish(channels: &ChainChannels, status: ChainStatus) {
    channels.status.send_if_modified(|known| {
        let changed = **known != status;
        if changed {
            *known = Arc::new(status);
        }
        changed
    });
}

/// The state of a VIP, as heartbeats say it.
pub(in crate::daemon) fn vip_state(standing: &Standing) -> MemberVipState {
    match standing {
        Standing::Announced => MemberVipState::Announced,
        Standing::LastChoice(_) => MemberVipState::LastChoice,
        Standing::Drained(_) => MemberVipState::Drained,
        Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor(_)) => MemberVipState::Starting,
        Standing::NotAnnounced(NotAnnouncedReason::NoVerdict(seen)) if !seen.has_lapsed() => {
            MemberVipState::Starting
        }
        Standing::NotAnnounced(_) => MemberVipState::NotAnnounced,
    }
}
