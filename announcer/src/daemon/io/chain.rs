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
mod key;
mod membership;
mod paths;
mod place;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tracing::{error, info, warn};

use self::capacity::CapacityKeeper;
use self::key::KeyKeeper;
use self::membership::MembershipKeeper;
use self::paths::{PathInput, PathKeeper};
use self::place::{Place, PlaceKeeper};
use self::rules::{RuleKeeper, RuleWish};
use crate::bgp::path::Network;
use crate::chain::heartbeat::{Facts, Families, Keys, ListDigest, MemberPresence, MemberVipState};
use crate::chain::io::neighbours::AskedNeighbour;
use crate::chain::io::{
    self as heartbeats, ChainRequest, ChainRequests, GuardRequests, HeartbeatContent, HeartbeatLoop,
    HeartbeatOrder, HeartbeatReport, HeartbeatSettings,
};
use crate::chain::plan;
use crate::chain::ring::{
    Leaving, LeavingStep, MemberObservation, Own, Ring, StartWait, may_join, settled, start_wait,
};
use crate::chain::segment::{ethernet, link_local};
use crate::chain::status::{ChainStatus, MemberStatus, OffOrder, member_status};
use crate::config::{ChainConfig, Config, LONGEST_LEAVE};
use crate::director::standing::{NotAnnouncedReason, Standing};
use crate::files::io::{self as files, Files};
use crate::realtime::io::RealtimeThread;
use crate::takeover::io::exec::without_signals;

/// How often everything is looked at again without an event.
const TURN: Duration = Duration::from_secs(1);
/// How often while the others hear that this host leaves.
const FAST_TURN: Duration = Duration::from_millis(20);
/// The wait before a loop that has ended by itself is started again.
const RESTART: Duration = Duration::from_secs(1);
/// How long a start waits for the other members at most before it announces.
pub(in crate::daemon) const LONGEST_JOIN: Duration = Duration::from_secs(3);
/// The longest file with that order, in octets.
const LONGEST_OFF: u64 = 65_536;
/// The file with the order to forward nothing, in the state directory.
const OFF: &str = "chain-off";

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
            Some(request) = requests.recv() => keeper.switch(request, &channels).await,
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

/// The next report; `None`: the loop has ended. Without a loop it waits for ever.
async fn next_report(running: &mut Option<RunningLoop>) -> Option<HeartbeatReport> {
    match running {
        Some(running) => running.heartbeats.reports.recv().await,
        None => std::future::pending().await,
    }
}

/// The loop, and what it was told last.
struct RunningLoop {
    heartbeats: HeartbeatLoop,
    settings: ComparedSettings,
    content: HeartbeatContent,
}

/// The settings of the loop. The keys are compared by the number of their reading.
#[derive(PartialEq)]
struct ComparedSettings {
    own: IpAddr,
    others: Vec<IpAddr>,
    port: u16,
    interval: Duration,
    neighbours: BTreeMap<IpAddr, AskedNeighbour>,
    keys: u64,
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
        let off = channels.files.read_text(&channels.state_dir.join(OFF), LONGEST_OFF).await;
        let off = off.ok().and_then(|text| serde_json::from_str(&text).ok());
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
            self.dissolve(channels).await;
            self.membership = MembershipKeeper::default();
            self.capacity.without_chain();
            channels.joined.send_replace(true);
            publish(channels, ChainStatus::default());
            return None;
        };
        self.keys.read(chain, channels).await;
        let mut problems = Vec::new();
        if !departs {
            self.membership.update(chain, network);
        }
        let place = self.places.place(chain, network, self.membership.own(), self.membership.others(network));
        let place = match place.await {
            Ok(place) => place,
            Err(why) => {
                problems.push(why);
                None
            }
        };
        problems.extend(self.keys.problem.clone());
        let (Some(place), Some(keys)) = (place, self.keys.keys.clone()) else {
            if network.is_read() {
                channels.joined.send_replace(true); // nobody can be waited for
            }
            self.capacity.without_heartbeats(problems.first(), &channels.enough_others);
            let off = self.off.clone();
            publish(
                channels,
                ChainStatus {
                    configured: true,
                    forward: chain.forward,
                    off,
                    problems,
                    ..ChainStatus::default()
                },
            );
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
        self.exchange(chain, &place, keys, channels);
        let now = Instant::now();
        let mut observations: BTreeMap<IpAddr, MemberObservation> =
            self.report.members.iter().map(|(address, member)| (*address, member.observation)).collect();
        if !departs {
            self.membership.step(config, &mut observations, chain.heartbeat, network, now);
        }
        let settled = !observations.is_empty() && settled(&observations);
        let ring = Ring::new(&self.membership.ring(network), &own, &observations);
        if chain.forward {
            self.retiring = None;
        }
        if chain.forward && settled {
            let wish = RuleWish {
                chain,
                place: &place,
                services: &services,
                ring: &ring,
                observations: &observations,
                wanted,
                off: self.off.is_some(),
                presence,
            };
            self.rules.follow(wish, channels).await;
        } else if chain.forward && !observations.is_empty() {
            self.rules.remember(&observations, presence, channels).await;
        } else if !chain.forward {
            let retiring = self.retiring.get_or_insert_with(|| Leaving::new(now));
            if retiring.step(0, &observations, chain.heartbeat, now) == LeavingStep::RemoveRules {
                self.rules.remove(channels).await;
            }
        }
        problems.extend(self.membership.problem(chain, network));
        problems.extend(self.rules.problems());
        problems.extend(self.report.bind_error.iter().map(|why| {
            format!("heartbeats cannot be exchanged at {} port {}: {why}", place.own, chain.port)
        }));
        self.joins = self.rules.is_installed()
            && (self.joins || settled && may_join(&own, &ring, &observations, now, self.join_by));
        let facts = Facts {
            interval: chain.heartbeat,
            rules: if self.joins { self.rules.families() } else { Families::NONE },
            presence,
            switched_off: !chain.forward,
            next_hops: place.next_hops,
            members,
            services: ListDigest::of_services(&services),
        };
        let about = place.others.iter().map(|member| {
            let known = observations.get(member).is_some_and(|observed| observed.state.lives());
            (*member, self.rules.about(*member, known))
        });
        let test_packets = self.rules.test_packet_report();
        if settled {
            let input = PathInput {
                place: &place,
                services: &services,
                ring: self.rules.is_installed().then_some(&ring),
                facts: &facts,
                members: &self.report,
                counters: self.rules.test_packets(),
                counted: &test_packets,
            };
            self.paths.turn(&input, now).await;
        }
        let vips = channels.vips.borrow().clone();
        let members = capacity::members(&place.others, &self.report, chain.heartbeat);
        let step = self.capacity.step(place.own, &members, &vips, config, now);
        self.capacity.publish(&members, &vips, config, now, &channels.enough_others);
        let all_heard = observations.values().all(|observed| !observed.awaited);
        let few =
            if settled && all_heard { capacity::few(place.own, &members, &vips, config, now) } else { None };
        let content = HeartbeatContent {
            facts,
            test_packets,
            about: about.collect(),
            vips: vips.as_ref().clone(),
            intent: step.intent,
            answers: step.answers,
            left: self.membership.left(chain.heartbeat, now),
        };
        if let Some(running) = &mut self.running
            && running.content != content
        {
            // If the loop has ended, the next report says so.
            let _ = running.heartbeats.orders.send(HeartbeatOrder::Content(Box::new(content.clone())));
            running.content = content;
        }
        self.join(&own, &ring, &observations, settled, now, channels);
        let members = self.report.members.iter().map(|(address, member)| {
            let vips = member.vips.states().clone();
            let status = member_status(&member.observation, member.last_heartbeat, vips);
            (*address, MemberStatus { contact: member.contact, ..status })
        });
        publish(
            channels,
            ChainStatus {
                configured: true,
                forward: chain.forward,
                own: Some(place.own),
                off: self.off.clone(),
                problems,
                ring,
                installed: self.rules.is_installed(),
                members: members.collect(),
                facts: Some(facts),
                counters: self.rules.counters(),
                port: chain.port,
                paths: self.paths.status(),
                few,
                drops: self.report.drops.clone(),
                send_errors: self.report.send_errors,
            },
        );
        if stop == ChainStop::Leave || departs {
            let leaving = self.leaving.get_or_insert_with(|| Leaving::new(now));
            if now >= *self.leave_by.get_or_insert(now + LONGEST_LEAVE) {
                warn!("members still have this host in their rings, not waiting any longer");
                return self.left(stop, channels).await;
            }
            let step = leaving.step(0, &observations, chain.heartbeat, now);
            if step == LeavingStep::RemoveRules {
                return self.left(stop, channels).await;
            }
            return Some(step);
        }
        None
    }

    /// The others know that this host has left, because of a stop or of a reload.
    async fn left(&mut self, stop: ChainStop, channels: &ChainChannels) -> Option<LeavingStep> {
        if stop != ChainStop::Leave {
            info!("this host has left the chain");
            self.dissolve(channels).await;
            (self.leaving, self.leave_by) = (None, None);
            self.membership = MembershipKeeper::default();
            self.joins = false;
            return None;
        }
        Some(LeavingStep::RemoveRules)
    }

    /// Publishes whether sessions may begin.
    fn join(
        &self,
        own: &Own,
        ring: &Ring,
        observations: &BTreeMap<IpAddr, MemberObservation>,
        settled: bool,
        now: Instant,
        channels: &ChainChannels,
    ) {
        if *channels.joined.borrow() {
            return;
        }
        let installed = self.rules.is_installed().then_some(ring);
        match start_wait(own, installed.filter(|_| settled), observations, now, self.join_by) {
            StartWait::Ready => info!("this host is in the ring of each member that is heard"),
            StartWait::Late(missing) => {
                let members = missing.members.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                warn!(
                    members,
                    own_rules = !missing.own_rules,
                    "members do not have this host in their rings, not waiting any longer"
                );
            }
            StartWait::Waiting(_) => return,
        }
        channels.joined.send_replace(true);
    }

    /// Starts the loop of the heartbeats, or tells it what has changed.
    fn exchange(&mut self, chain: &ChainConfig, place: &Place, keys: Keys, channels: &ChainChannels) {
        let neighbour = |member: &IpAddr| {
            // The entries of a VXLAN are fixed. What the table says is not asked: during another question the entry is not fixed.
            let (address, fixed) = match chain.vxlan {
                Some(_) => (link_local(*member).into(), Some(ethernet(*member))),
                None => (*member, None),
            };
            (*member, AskedNeighbour { interface: place.index, address, fixed })
        };
        let neighbours: BTreeMap<IpAddr, AskedNeighbour> = place.others.iter().map(neighbour).collect();
        let compared = ComparedSettings {
            own: place.own,
            others: place.others.clone(),
            port: chain.port,
            interval: chain.heartbeat,
            neighbours: neighbours.clone(),
            keys: self.keys.number,
        };
        if self.running.as_ref().is_some_and(|running| running.settings == compared) {
            return;
        }
        let settings = HeartbeatSettings {
            own: place.own,
            members: place.others.clone(),
            port: chain.port,
            interval: chain.heartbeat,
            keys,
            neighbours,
        };
        if let Some(running) = &mut self.running {
            let _ = running.heartbeats.orders.send(HeartbeatOrder::Settings(Box::new(settings)));
            running.settings = compared;
            return;
        }
        let content = HeartbeatContent {
            facts: Facts {
                interval: chain.heartbeat,
                rules: self.rules.families(),
                presence: MemberPresence::Here,
                switched_off: !chain.forward,
                next_hops: place.next_hops,
                members: ListDigest::of_members(&chain.members),
                services: ListDigest::default(),
            },
            test_packets: self.rules.test_packet_report(),
            about: place.others.iter().map(|member| (*member, self.rules.about(*member, false))).collect(),
            vips: Vec::new(),
            intent: None,
            answers: BTreeMap::new(),
            left: BTreeSet::new(),
        };
        self.report = HeartbeatReport::default();
        self.join_by = Instant::now() + LONGEST_JOIN;
        let former = self.rules.former();
        match without_signals(|| heartbeats::start(&channels.realtime, settings, content.clone(), former)) {
            Ok(heartbeats) => self.running = Some(RunningLoop { heartbeats, settings: compared, content }),
            Err(error) => error!(%error, "loop of the heartbeats was not started"),
        }
    }

    /// Carries out the command of an operator.
    async fn switch(&mut self, request: ChainRequest, channels: &ChainChannels) {
        let ChainRequest { off, reply } = request;
        let stored = match &off {
            Some(order) => {
                let text = serde_json::to_string(order).unwrap_or_default();
                channels
                    .files
                    .run(&channels.state_dir, move |folder| files::replace(folder, OFF, &text))
                    .await
            }
            None => {
                channels.files.run(&channels.state_dir.join(OFF), |path| files::remove(path).map(drop)).await
            }
        };
        if let Err(why) = stored {
            let _ = reply.send(Err(format!("error: the order cannot be stored: {why}"))); // the client may have ended
            return;
        }
        match &off {
            Some(order) => warn!(reason = order.reason, by = order.by, "forwarding was switched off"),
            None => info!("forwarding was switched on"),
        }
        self.off = off;
        let changed = self.rules.switch(self.off.is_some(), channels).await;
        let _ = reply.send(changed.map_err(|why| format!("error: {why}")));
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
        Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor) => MemberVipState::Starting,
        Standing::NotAnnounced(NotAnnouncedReason::NoVerdict(seen)) if !seen.has_lapsed() => {
            MemberVipState::Starting
        }
        Standing::NotAnnounced(_) => MemberVipState::NotAnnounced,
    }
}
