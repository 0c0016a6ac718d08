//! Decides on each VIP: first its own standing, then the effect of the other VIPs in its prefix, then the route.
//!
//! Pure. Every function here needs a [`DecisionTime`], and only [`Director::catch_up`] makes one. So no decision is possible before the
//! expired waits and leases were ended, and before the time for which the process was stopped was excused.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use super::standing::{LastChoiceReason, NotAnnouncedReason, Standing};
use super::vip::OperatorOrders;
use super::{Director, StandingChange};
use crate::drain::{DrainPhase, DrainedBy, Order};
use crate::rib::Attributes;
use crate::time_limit::STOOD_STILL;

/// The time of a decision. The director has caught up with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecisionTime(Instant);

impl DecisionTime {
    /// The time.
    pub(super) fn time(self) -> Instant {
        self.0
    }
}

impl Director {
    /// Ends the expired waits and leases; records the standings that this changes. Every entry point of the director calls it
    /// first.
    ///
    /// A deadline that was missed by more than [`STOOD_STILL`] shows that the process was stopped. No results of probes were
    /// received during that time, so the leases start again, and the waits are extended by that time.
    pub(super) fn catch_up(&mut self, now: Instant, changes: &mut Vec<StandingChange>) -> DecisionTime {
        let time = DecisionTime(now);
        changes.append(&mut self.lost_at_start);
        let Some(late) = self.deadline().and_then(|due| now.checked_duration_since(due)) else {
            return time;
        };
        if late > STOOD_STILL {
            self.vips.values_mut().for_each(|vip| vip.excuse(late, now));
        }
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        let over: Vec<IpAddr> = due.map(|(_, address)| *address).collect();
        over.into_iter().for_each(|address| self.judge(address, now, time, changes));
        time
    }

    /// Decides on every VIP again.
    pub(super) fn judge_all(&mut self, now: DecisionTime, changes: &mut Vec<StandingChange>) {
        let addresses: Vec<IpAddr> = self.vips.keys().copied().collect();
        for address in &addresses {
            self.weigh(*address, now);
        }
        let groups: Vec<Vec<IpAddr>> = self.shared.values().cloned().collect();
        for group in groups {
            self.settle_all(group, now.0, now, changes);
        }
        for address in addresses {
            if self.siblings(address).is_none() {
                self.settle(address, None, now.0, now, changes);
            }
        }
    }

    /// Decides again on a VIP, and on the VIPs in the same prefix. `at` is the time of the fact that caused it.
    pub(super) fn judge(
        &mut self,
        address: IpAddr,
        at: Instant,
        now: DecisionTime,
        changes: &mut Vec<StandingChange>,
    ) {
        let decided = self.weigh(address, now);
        match self.siblings(address) {
            None => self.settle(address, None, at, now, changes),
            Some(siblings) if decided => self.settle_all(siblings.to_vec(), at, now, changes),
            // Its own standing and its siblings are unchanged.
            Some(_) => {}
        }
    }

    /// The VIPs in the same prefix as a VIP, including itself.
    fn siblings(&self, address: IpAddr) -> Option<&[IpAddr]> {
        let service = self.config.services.get(self.vips.get(&address)?.service)?;
        self.shared.get(&service.prefix_of(address)).map(Vec::as_slice)
    }

    /// Computes the standing of a VIP by itself; returns whether it is a different standing, and not only different words.
    fn weigh(&mut self, address: IpAddr, DecisionTime(now): DecisionTime) -> bool {
        let Some(vip) = self.vips.get_mut(&address) else { return false };
        let service = &self.config.services[vip.service];
        let lapsed = vip.lapse(service, now);
        if lapsed > 0 {
            self.lapses += lapsed;
            self.unwatched = true;
            self.paced.extend((0..vip.checks.len()).map(|index| (address, index)));
        }
        let (withdrawn, prepared): (Vec<&Order>, Vec<&Order>) = (self.drains.of_vip(&service.name, address))
            .into_iter()
            .partition(|order| order.phase == DrainPhase::Withdraw);
        let orders = OperatorOrders {
            stopping: self.stopping,
            drained: DrainedBy::of(&withdrawn),
            leaving: self.leaving || !prepared.is_empty(),
            needed: self.config.chain.is_some()
                && service.min_announcers.is_some()
                && !self.enough_others.contains(&address),
        };
        let own = vip.judge(orders, service, now);
        let due = vip.due(service);
        if due.is_none_or(|due| vip.deadline.is_none_or(|deadline| due < deadline || deadline <= now)) {
            if let Some(before) = std::mem::replace(&mut vip.deadline, due) {
                self.deadlines.remove(&(before, address));
            }
            self.deadlines.extend(due.map(|at| (at, address)));
        }
        let before = std::mem::replace(&mut vip.own, own);
        if vip.is_unstored() {
            self.unstored.insert(address);
        }
        if vip.is_decided() {
            self.undecided.remove(&address);
        } else {
            self.undecided.insert(address);
        }
        vip.own != before
    }

    /// Sets the standings of VIPs in the same prefix; the lowest standing decides.
    fn settle_all(
        &mut self,
        siblings: Vec<IpAddr>,
        at: Instant,
        now: DecisionTime,
        changes: &mut Vec<StandingChange>,
    ) {
        let own = siblings.iter().filter_map(|sibling| Some((*sibling, &self.vips.get(sibling)?.own)));
        let worst = own.max_by_key(|(_, own)| rank(own)).map(|(vip, own)| (vip, own.clone()));
        siblings.into_iter().for_each(|sibling| self.settle(sibling, worst.as_ref(), at, now, changes));
    }

    /// Sets the standing of a VIP: its own, or a lower one if the `worst` sibling has a lower one.
    fn settle(
        &mut self,
        address: IpAddr,
        worst: Option<&(IpAddr, Standing)>,
        at: Instant,
        now: DecisionTime,
        changes: &mut Vec<StandingChange>,
    ) {
        let Some(vip) = self.vips.get_mut(&address) else { return };
        let standing = match worst {
            Some((sibling, theirs)) if vip.own.is_advertised() && rank(theirs) > rank(&vip.own) => {
                if theirs.is_advertised() {
                    Standing::LastChoice(LastChoiceReason::Sibling(*sibling))
                } else {
                    Standing::NotAnnounced(NotAnnouncedReason::Sibling(*sibling))
                }
            }
            Some(_) | None => vip.own.clone(),
        };
        let before = std::mem::replace(&mut vip.standing, standing);
        if vip.standing.is_news_after(&before) {
            vip.since = now.0;
            let service = self.config.services[vip.service].name.clone();
            changes.push(StandingChange { service, vip: address, before, standing: vip.standing.clone() });
            self.route(address, at);
        }
    }

    /// Updates the route of a VIP's prefix.
    pub(super) fn route(&mut self, address: IpAddr, at: Instant) {
        let Some(vip) = self.vips.get(&address) else { return };
        let prefix = self.config.services[vip.service].prefix_of(address);
        let of_service = &self.attributes[vip.service];
        let attributes = match &vip.standing {
            Standing::Announced => Some(Arc::clone(&of_service.normal)),
            Standing::LastChoice(_) => Some(Arc::clone(&of_service.last_choice)),
            Standing::Drained(_) | Standing::NotAnnounced(_) => None,
        };
        self.say(prefix, attributes, at);
    }

    /// Announces a prefix with these attributes, or withdraws it.
    pub(super) fn say(&mut self, prefix: IpNet, attributes: Option<Arc<Attributes>>, at: Instant) {
        if self.routes.get(&prefix) == attributes.as_ref() {
            return;
        }
        match attributes {
            Some(attributes) => {
                self.routes.insert(prefix, attributes);
                self.route_generations.insert(prefix, self.rib.generation + 1);
            }
            None => {
                self.routes.remove(&prefix);
                self.route_generations.remove(&prefix);
            }
        }
        self.stale = Some(self.stale.map_or(at, |since| since.min(at)));
    }
}

/// The rank of a standing. The lowest rank in a prefix decides.
fn rank(own: &Standing) -> u8 {
    match own {
        Standing::Announced => 0,
        Standing::LastChoice(_) => 1,
        Standing::Drained(_) | Standing::NotAnnounced(_) => 2,
    }
}
