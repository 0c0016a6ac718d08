//! The loop of the heartbeats: with whom it exchanges them, and what they say.
//!
//! Touches the loop, which is a thread of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::error;

use super::turn::Turn;
use super::{ChainChannels, ChainKeeper, LONGEST_JOIN, Place};
use crate::chain::guard::GuardStep;
use crate::chain::heartbeat::{Facts, Keys, ListDigest, MemberPresence};
use crate::chain::io::neighbours::AskedNeighbour;
use crate::chain::io::{
    self as heartbeats, HeartbeatContent, HeartbeatLoop, HeartbeatOrder, HeartbeatReport, HeartbeatSettings,
};
use crate::chain::segment::{ethernet, link_local};
use crate::chain::test_packets::TestPacketReport;
use crate::config::ChainConfig;
use crate::takeover::io::exec::without_signals;

/// The next report; `None`: the loop has ended. Without a loop it waits for ever.
pub(super) async fn next_report(running: &mut Option<RunningLoop>) -> Option<HeartbeatReport> {
    match running {
        Some(running) => running.heartbeats.reports.recv().await,
        None => std::future::pending().await,
    }
}

/// The loop, and the settings and the content that it received last.
pub(super) struct RunningLoop {
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

impl ChainKeeper {
    /// Starts the loop of the heartbeats, or tells it what has changed.
    pub(super) fn run_heartbeats(
        &mut self,
        chain: &ChainConfig,
        place: &Place,
        keys: Keys,
        channels: &ChainChannels,
    ) {
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

    /// Gives the loop what heartbeats say, if that has changed. `step`: the question and the answers of the guard of capacity.
    pub(super) fn update_heartbeats(
        &mut self,
        turn: &Turn<'_>,
        facts: Facts,
        test_packets: TestPacketReport,
        step: GuardStep,
        channels: &ChainChannels,
    ) {
        let Turn { chain, place, observations, now, .. } = turn;
        let about = place.others.iter().map(|member| {
            let known = observations.get(member).is_some_and(|observed| observed.state.lives());
            (*member, self.rules.about(*member, known))
        });
        let content = HeartbeatContent {
            facts,
            test_packets,
            about: about.collect(),
            vips: channels.vips.borrow().as_ref().clone(),
            intent: step.intent,
            answers: step.answers,
            left: self.membership.left(chain.heartbeat, *now),
        };
        if let Some(running) = &mut self.running
            && running.content != content
        {
            // If the loop has ended, the next report says so.
            let _ = running.heartbeats.orders.send(HeartbeatOrder::Content(Box::new(content.clone())));
            running.content = content;
        }
    }
}
