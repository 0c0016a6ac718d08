//! The guard of capacity in the daemon: one question at a time, its permit, and the VIPs that enough other members announce.
//!
//! Touches channels. `chain::guard` decides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use crate::chain::guard::{
    CapacityNeed, FewAnnouncers, Guard, GuardMember, GuardMembers, GuardStep, SaidVips, WAIT_INTERVALS,
    enough_others, few_announcers, needs, would_withdraw,
};
use crate::chain::heartbeat::{IntentKind, MemberPresence, MemberVipState};
use crate::chain::io::{GuardPermit, GuardPurpose, GuardRequest, HeartbeatReport};
use crate::chain::member::MemberState;
use crate::config::Config;

/// The answer that whoever has asked waits for.
type Reply = oneshot::Sender<Result<GuardPermit, String>>;

/// A question that waits for the answers of the members.
#[derive(Debug)]
struct Asked {
    kind: IntentKind,
    hold: Duration,
    reply: Reply,
}

/// A permit that was given.
#[derive(Debug)]
struct Given {
    hold: Duration,
    dropped: oneshot::Receiver<()>,
}

/// Keeps the guard.
#[derive(Debug)]
pub(super) struct CapacityKeeper {
    guard: Guard,
    /// A question that the next turn asks.
    next: Option<GuardRequest>,
    asked: Option<Asked>,
    given: Option<Given>,
    due: Option<Instant>,
    /// Our VIPs with `min_announcers` that are not announced, or only as the last choice, and since when.
    lacking: BTreeMap<IpAddr, (CapacityNeed, Instant)>,
    /// When the heartbeats began. Nothing is published before the members could be heard.
    began: Option<Instant>,
    published: Option<BTreeSet<IpAddr>>,
}

impl CapacityKeeper {
    /// Without a question.
    pub(super) fn new() -> CapacityKeeper {
        CapacityKeeper {
            guard: Guard::new(fastrand::u32(1..).try_into().unwrap_or(std::num::NonZeroU32::MIN)),
            next: None,
            asked: None,
            given: None,
            due: None,
            lacking: BTreeMap::new(),
            began: None,
            published: None,
        }
    }

    /// Whether another question can be asked.
    pub(super) fn is_free(&self) -> bool {
        self.next.is_none() && self.asked.is_none() && self.given.is_none()
    }

    /// The next turn asks this.
    pub(super) fn ask(&mut self, question: GuardRequest) {
        self.next = Some(question);
    }

    /// When a turn is due without news.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Waits until whoever has a permit has acted. Without a permit it waits for ever.
    pub(super) async fn permit_dropped(&mut self) {
        match &mut self.given {
            Some(given) => {
                let _ = (&mut given.dropped).await; // it is dropped, and nothing is sent
                self.guard.carried_out(given.hold, Instant::now());
                self.given = None;
            }
            None => std::future::pending().await,
        }
    }

    /// Nobody has to be asked.
    pub(super) fn without_chain(&mut self) {
        if let Some(GuardRequest { reply, .. }) = self.next.take() {
            let _ = reply.send(Ok(GuardPermit::unneeded())); // whoever has asked may have ended, here and below
        }
        if let Some(Asked { reply, .. }) = self.asked.take() {
            let _ = reply.send(Ok(GuardPermit::unneeded()));
        }
        *self = CapacityKeeper { given: self.given.take(), ..CapacityKeeper::new() };
    }

    /// Nobody can be asked, so questions are refused.
    pub(super) fn without_heartbeats(
        &mut self,
        problem: Option<&String>,
        published: &watch::Sender<Arc<BTreeSet<IpAddr>>>,
    ) {
        let why = problem.map_or("the network was not read yet", String::as_str);
        let waiting = self.next.take().map(|next| next.reply).into_iter();
        for reply in waiting.chain(self.asked.take().map(|asked| asked.reply)) {
            let text = format!("the other members of the chain cannot be asked: {why}");
            let _ = reply.send(Err(text));
        }
        if problem.is_some() {
            *self = CapacityKeeper { given: self.given.take(), ..CapacityKeeper::new() };
            self.send(BTreeSet::new(), published);
        }
    }

    /// Decides, and answers whoever has asked.
    pub(super) fn step(
        &mut self,
        own: IpAddr,
        members: &GuardMembers,
        vips: &[(IpAddr, MemberVipState)],
        config: &Config,
        now: Instant,
    ) -> GuardStep {
        let interval = config.chain.as_ref().map_or(Duration::ZERO, |chain| chain.heartbeat);
        let advertised = |vip: IpAddr| match state(vips, vip) {
            Some(MemberVipState::Announced | MemberVipState::LastChoice) => true,
            Some(
                MemberVipState::Starting
                | MemberVipState::Drained
                | MemberVipState::NotAnnounced
                | MemberVipState::Removed,
            ) => false,
            None => false,
        };
        if let Some(GuardRequest { kind, purpose, needs, hold, reply }) = self.next.take() {
            let needs: BTreeMap<IpAddr, CapacityNeed> =
                needs.into_iter().filter(|(vip, _)| advertised(*vip)).collect();
            if needs.is_empty() {
                let _ = reply.send(Ok(GuardPermit::unneeded()));
            } else {
                match purpose {
                    GuardPurpose::Withdraw => {
                        self.guard.ask(kind, needs, interval, now);
                        self.asked = Some(Asked { kind, hold, reply });
                    }
                    GuardPurpose::DryRun => {
                        let refusal = would_withdraw(&needs, members, now).map(|why| why.to_string());
                        let _ = reply.send(refusal.map_or_else(|| Ok(GuardPermit::unneeded()), Err));
                    }
                }
            }
        }
        let step = self.guard.step(own, members, advertised, interval, now);
        self.due = step.due;
        if let Some(decided) = &step.decided
            && let Some(Asked { kind, hold, reply }) = self.asked.take()
        {
            let reason = kind.word();
            match decided {
                Ok(()) => {
                    info!(reason, "enough other members announce the VIPs that are withdrawn");
                    let (permit, dropped) = GuardPermit::new();
                    self.given = Some(Given { hold, dropped });
                    let _ = reply.send(Ok(permit));
                }
                Err(refusal) => {
                    warn!(reason, error = %refusal, "too few other members would announce the VIPs");
                    let _ = reply.send(Err(refusal.to_string()));
                }
            }
        }
        step
    }

    /// Publishes the VIPs that may be withdrawn when their probes fail.
    pub(super) fn publish(
        &mut self,
        members: &GuardMembers,
        vips: &[(IpAddr, MemberVipState)],
        config: &Config,
        now: Instant,
        published: &watch::Sender<Arc<BTreeSet<IpAddr>>>,
    ) {
        let Some(chain) = &config.chain else { return };
        let lacks =
            |(vip, state): &(IpAddr, MemberVipState)| (*state != MemberVipState::Announced).then_some(*vip);
        let lacking = needs(config, &vips.iter().filter_map(lacks).collect());
        let known = std::mem::take(&mut self.lacking);
        let since = |vip: &IpAddr| known.get(vip).map_or(now, |(_, since)| *since);
        self.lacking = lacking.into_iter().map(|(vip, need)| (vip, (need, since(&vip)))).collect();
        let wait = chain.heartbeat * WAIT_INTERVALS;
        // A daemon that starts hears the members a moment later than it sends to them.
        let begins = *self.began.get_or_insert(now) + wait * 2;
        let next = self.lacking.values().map(|(_, since)| *since + wait).chain([begins]);
        let next = next.filter(|at| *at > now).min();
        self.due = self.due.into_iter().chain(next).min();
        if now >= begins {
            self.send(enough_others(&self.lacking, members, chain.heartbeat, now), published);
        }
    }

    fn send(&mut self, vips: BTreeSet<IpAddr>, published: &watch::Sender<Arc<BTreeSet<IpAddr>>>) {
        if self.published.as_ref() != Some(&vips) {
            published.send_replace(Arc::new(vips.clone()));
            self.published = Some(vips);
        }
    }
}

/// The VIPs that too few members announce, of those that are known.
pub(super) fn few(
    own: IpAddr,
    members: &GuardMembers,
    vips: &[(IpAddr, MemberVipState)],
    config: &Config,
    now: Instant,
) -> Option<FewAnnouncers> {
    let all = needs(config, &vips.iter().map(|(vip, _)| *vip).collect());
    few_announcers(&all, own, |vip| state(vips, vip), members, now)
}

/// The state of one of our VIPs, which are in ascending order.
fn state(vips: &[(IpAddr, MemberVipState)], vip: IpAddr) -> Option<MemberVipState> {
    let found = vips.binary_search_by_key(&vip, |(vip, _)| *vip).ok()?;
    vips.get(found).map(|(_, state)| *state)
}

/// What is known of the other members. One that the loop has not reported yet was not heard.
pub(super) fn members(others: &[IpAddr], report: &HeartbeatReport, interval: Duration) -> GuardMembers {
    let member = |address: &IpAddr| {
        let known = report.members.get(address);
        let said = known.and_then(|known| known.observation.said);
        let member = GuardMember {
            state: known.map_or(MemberState::Unknown, |known| known.observation.state),
            last_heartbeat: known.and_then(|known| known.last_heartbeat),
            interval: said.map_or(interval, |said| said.facts.interval),
            presence: said.map_or(MemberPresence::Here, |said| said.facts.presence),
            vips: known.map_or_else(SaidVips::default, |known| known.vips.clone()),
            answer: known.and_then(|known| known.answer),
        };
        (*address, member)
    };
    others.iter().map(member).collect()
}
