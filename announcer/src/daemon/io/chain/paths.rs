//! Sends test packets, judges whether they arrive, and looks for packet filters that may keep packets away.
//!
//! Touches the clock, a TCP socket and nft. `chain::test_packets` judges.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::Place;
use crate::chain::heartbeat::{Facts, MemberPresence};
use crate::chain::io::{HeartbeatReport, nft, test_packets};
use crate::chain::member::MemberState;
use crate::chain::ring::Ring;
use crate::chain::rules::counters::TestPacketCounters;
use crate::chain::rules::others::{DroppingChain, dropping_chains};
use crate::chain::status::{FamilyPath, PathStatus};
use crate::chain::test_packets::{INTERVAL, TestPacketReport, TestPacketState, TestPacketWatch};
use crate::model::Family;

/// How often the tables of others are read while packets or heartbeats do not arrive.
const LOOK: Duration = Duration::from_secs(60);
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What the test packets depend on.
pub(super) struct PathInput<'a> {
    pub(super) place: &'a Place,
    /// The VIPs with the ports of their flows.
    pub(super) services: &'a BTreeMap<IpAddr, BTreeSet<u16>>,
    /// The ring whose rules are in the kernel; `None`: there are no rules.
    pub(super) ring: Option<&'a Ring>,
    pub(super) facts: &'a Facts,
    pub(super) members: &'a HeartbeatReport,
    /// What our rules have counted, IPv4 first.
    pub(super) counters: [Option<TestPacketCounters>; 2],
    /// The same, as heartbeats say it.
    pub(super) counted: &'a TestPacketReport,
}

/// What is known of the way to the next member and into this host, for one family.
#[derive(Default)]
struct Watches {
    to_next: TestPacketWatch,
    into_this_host: TestPacketWatch,
}

#[derive(Default)]
pub(super) struct PathKeeper {
    watches: [Watches; 2],
    sent: Option<Instant>,
    looked: Option<Instant>,
    /// The chains of other tables that can drop.
    dropping: Vec<DroppingChain>,
}

impl PathKeeper {
    /// Sends what is due, and judges what was counted.
    pub(super) async fn turn(&mut self, input: &PathInput<'_>, now: Instant) {
        let due = self.sent.is_none_or(|sent| now >= sent + INTERVAL);
        for (family, (watches, counters)) in
            FAMILIES.into_iter().zip(self.watches.iter_mut().zip(input.counters))
        {
            let before = (watches.to_next.state(), watches.into_this_host.state());
            let next = input.ring.and_then(|ring| ring.forwarding(family)).map(|forwarding| forwarding.next);
            let vip = input.services.iter().find(|(vip, _)| Family::of(**vip) == family);
            let vip = vip.and_then(|(vip, ports)| Some((*vip, *ports.first()?)));
            let (Some(next), Some(counters), Some((vip, port))) = (next, counters, vip) else {
                watches.to_next.forget();
                watches.into_this_host.forget();
                continue;
            };
            if due {
                self.sent = Some(now);
                if let Err(error) = test_packets::send(vip, port) {
                    debug!(%vip, %error, "test packet was not sent");
                }
            }
            match report_of(input, next) {
                Some(report) => watches.to_next.to_member(next, counters.sent, report, family, now),
                None => watches.to_next.forget(),
            }
            watches.into_this_host.into_this_host(input.place.own, input.counted, family, now);
            log(family, next, before, (watches.to_next.state(), watches.into_this_host.state()));
        }
        self.look(input, now).await;
    }

    /// Without rules and heartbeats nothing is known.
    pub(super) fn forget(&mut self) {
        *self = PathKeeper::default();
    }

    /// Looks for packet filters of this host, if packets or heartbeats do not arrive.
    async fn look(&mut self, input: &PathInput<'_>, now: Instant) {
        let faulty = |watches: &Watches| {
            let here =
                matches!(watches.into_this_host.state(), TestPacketState::Stopped | TestPacketState::Changed);
            here || watches.to_next.state().is_fault()
        };
        let unheard = input.members.members.values().any(|member| {
            let stopped = match member.observation.state {
                MemberState::Unknown | MemberState::Dead => member.contact.kernel_answers == Some(true),
                MemberState::Silent => true,
                MemberState::Alive | MemberState::Asked | MemberState::Left => false,
            };
            stopped || member.contact.dropped.is_some() && !member.observation.state.lives()
        });
        if !unheard && !self.watches.iter().any(faulty) {
            self.dropping.clear();
            self.looked = None;
            return;
        }
        if self.looked.is_some_and(|looked| now < looked + LOOK) {
            return;
        }
        self.looked = Some(now);
        match nft::ruleset().await {
            Ok(printed) => match dropping_chains(&printed) {
                Ok(found) => self.dropping = found,
                Err(error) => debug!(%error, "output of nft was not understood"),
            },
            Err(error) => debug!(%error, "tables of nft cannot be read"),
        }
    }

    /// What is known, for people.
    pub(super) fn status(&self) -> PathStatus {
        let [v4, v6] = [0, 1].map(|family| {
            self.watches.get(family).map_or_else(FamilyPath::default, |watches| FamilyPath {
                to_next: watches.to_next.state(),
                into_this_host: watches.into_this_host.state(),
            })
        });
        PathStatus { v4, v6, dropping: self.dropping.iter().map(ToString::to_string).collect() }
    }
}

/// What a member says about test packets, if it lives and has the same VIPs: it drops those for a VIP that it does not have.
fn report_of<'a>(input: &PathInput<'a>, next: IpAddr) -> Option<&'a TestPacketReport> {
    let member = input.members.members.get(&next)?;
    let facts = member.observation.said?.facts;
    let judged = member.observation.state == MemberState::Alive
        && facts.presence == MemberPresence::Here
        && facts.services == input.facts.services;
    judged.then_some(&member.test_packets)
}

fn log(
    family: Family,
    next: IpAddr,
    before: (TestPacketState, TestPacketState),
    after: (TestPacketState, TestPacketState),
) {
    if before.0 != after.0 {
        let (before, state) = (before.0.label(), after.0.label());
        if after.0.is_fault() {
            warn!(%family, member = %next, before, state, "test packets to next member do not arrive unchanged");
        } else {
            info!(%family, member = %next, before, state, "state of test packets to next member changed");
        }
    }
    if before.1 != after.1 && after.1.is_fault() {
        warn!(%family, state = after.1.label(), "test packets of other members do not pass this host unchanged");
    }
}
