//! The parts of a turn: the rules, the test packets, what is published, and whether this host is waited for.
//!
//! Uses the kernel and the network only through the keepers that it calls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use tracing::{info, warn};

use super::membership::MembershipKeeper;
use super::paths::PathInput;
use super::rules::RuleWish;
use super::{ChainChannels, ChainKeeper, ChainStop, Place, capacity};
use crate::bgp::path::Network;
use crate::chain::guard::{FewAnnouncers, GuardStep};
use crate::chain::heartbeat::{Facts, Families, ListDigest};
use crate::chain::ring::{
    Leaving, LeavingStep, MemberObservation, Own, Ring, StartWait, may_join, start_wait,
};
use crate::chain::status::{ChainStatus, MemberStatus, member_status};
use crate::chain::test_packets::TestPacketReport;
use crate::config::{ChainConfig, Config, LONGEST_LEAVE};

/// What the parts of a turn have in common.
pub(super) struct Turn<'a> {
    pub(super) config: &'a Config,
    /// Its `[chain]`.
    pub(super) chain: &'a ChainConfig,
    pub(super) place: Place,
    /// The VIPs with the ports of their flows.
    pub(super) services: BTreeMap<IpAddr, BTreeSet<u16>>,
    /// What is known of the other members.
    pub(super) observations: BTreeMap<IpAddr, MemberObservation>,
    /// What this host is in the ring.
    pub(super) own: Own,
    pub(super) ring: Ring,
    /// Whether there are other members, and each was heard or has had its time to be heard.
    pub(super) settled: bool,
    pub(super) now: Instant,
}

impl ChainKeeper {
    /// Lets the rules follow the ring, or removes them when the others know that this host does not forward.
    pub(super) async fn follow(&mut self, turn: &Turn<'_>, channels: &ChainChannels) {
        let Turn { chain, place, services, observations, own, ring, settled, now, .. } = turn;
        if chain.forward {
            self.retiring = None;
        }
        if chain.forward && *settled {
            let wish = RuleWish {
                chain,
                place,
                services,
                ring,
                observations,
                wanted: own.wanted,
                off: self.off.is_some(),
                presence: own.presence,
            };
            self.rules.follow(wish, channels).await;
        } else if chain.forward && !observations.is_empty() {
            self.rules.remember(observations, own.presence, channels).await;
        } else if !chain.forward {
            let retiring = self.retiring.get_or_insert_with(|| Leaving::new(*now));
            if retiring.step(0, observations, chain.heartbeat, *now) == LeavingStep::RemoveRules {
                self.rules.remove(channels).await;
            }
        }
    }

    /// What is wrong with the lists, the rules, and the loop of the heartbeats.
    pub(super) fn problems(&self, turn: &Turn<'_>, network: &Network) -> Vec<String> {
        let Turn { chain, place, .. } = turn;
        let lists = self.membership.problem(chain, network);
        let bind =
            self.report.bind_error.iter().map(|why| {
                format!("heartbeats cannot be exchanged at {} port {}: {why}", place.own, chain.port)
            });
        lists.into_iter().chain(self.rules.problems()).chain(bind).collect()
    }

    /// What heartbeats say to every member alike. From the first time on that they say that the rules are installed, they go on to say so.
    pub(super) fn facts(&mut self, turn: &Turn<'_>) -> Facts {
        let Turn { chain, place, services, observations, own, ring, settled, now, .. } = turn;
        self.joins = self.rules.is_installed()
            && (self.joins || *settled && may_join(own, ring, observations, *now, self.join_by));
        Facts {
            interval: chain.heartbeat,
            rules: if self.joins { self.rules.families() } else { Families::NONE },
            presence: own.presence,
            switched_off: !chain.forward,
            next_hops: place.next_hops,
            members: own.members,
            services: ListDigest::of_services(services),
        }
    }

    /// Sends test packets, and judges what has arrived.
    pub(super) async fn send_test_packets(
        &mut self,
        turn: &Turn<'_>,
        facts: &Facts,
        counted: &TestPacketReport,
    ) {
        if !turn.settled {
            return;
        }
        let input = PathInput {
            place: &turn.place,
            services: &turn.services,
            ring: self.rules.is_installed().then_some(&turn.ring),
            facts,
            members: &self.report,
            counters: self.rules.test_packets(),
            counted,
        };
        self.paths.turn(&input, turn.now).await;
    }

    /// Makes a step of the guard of capacity, and publishes the VIPs that may be withdrawn when their probes fail. Returns with the step
    /// the VIPs that too few members announce.
    pub(super) fn step_capacity(
        &mut self,
        turn: &Turn<'_>,
        channels: &ChainChannels,
    ) -> (GuardStep, Option<FewAnnouncers>) {
        let Turn { config, chain, place, observations, settled, now, .. } = turn;
        let vips = channels.vips.borrow().clone();
        let members = capacity::members(&place.others, &self.report, chain.heartbeat);
        let step = self.capacity.step(place.own, &members, &vips, config, *now);
        self.capacity.publish(&members, &vips, config, *now, &channels.enough_others);
        let all_heard = *settled && observations.values().all(|observed| !observed.awaited);
        let few = all_heard.then(|| capacity::few(place.own, &members, &vips, config, *now)).flatten();
        (step, few)
    }

    /// Publishes whether sessions may begin.
    pub(super) fn join(&self, turn: &Turn<'_>, channels: &ChainChannels) {
        if *channels.joined.borrow() {
            return;
        }
        let Turn { observations, own, ring, settled, now, .. } = turn;
        let installed = self.rules.is_installed().then_some(ring);
        match start_wait(own, installed.filter(|_| *settled), observations, *now, self.join_by) {
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

    /// What is published.
    pub(super) fn status(
        &self,
        turn: &Turn<'_>,
        facts: Facts,
        problems: Vec<String>,
        few: Option<FewAnnouncers>,
    ) -> ChainStatus {
        let members = self.report.members.iter().map(|(address, member)| {
            let vips = member.vips.states().clone();
            let status = member_status(&member.observation, member.last_heartbeat, vips);
            (*address, MemberStatus { contact: member.contact, ..status })
        });
        ChainStatus {
            configured: true,
            forward: turn.chain.forward,
            own: Some(turn.place.own),
            off: self.off.clone(),
            problems,
            ring: turn.ring.clone(),
            installed: self.rules.is_installed(),
            members: members.collect(),
            facts: Some(facts),
            counters: self.rules.counters(),
            port: turn.chain.port,
            paths: self.paths.status(),
            few,
            drops: self.report.drops.clone(),
            send_errors: self.report.send_errors,
        }
    }

    /// Leaves, because of a stop or of a reload: the others hear that for as long as they have this host in their rings.
    pub(super) async fn leave(
        &mut self,
        turn: &Turn<'_>,
        stop: ChainStop,
        channels: &ChainChannels,
    ) -> Option<LeavingStep> {
        let now = turn.now;
        let leaving = self.leaving.get_or_insert_with(|| Leaving::new(now));
        if now >= *self.leave_by.get_or_insert(now + LONGEST_LEAVE) {
            warn!("members still have this host in their rings, not waiting any longer");
            return self.left(stop, channels).await;
        }
        let step = leaving.step(0, &turn.observations, turn.chain.heartbeat, now);
        if step == LeavingStep::RemoveRules {
            return self.left(stop, channels).await;
        }
        Some(step)
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
}
