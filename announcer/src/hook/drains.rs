//! When a drain is an event for hooks: it begins, the routers have followed, and it ends.
//!
//! Pure. The drain of a target has begun when a file of it is in force. It is drained when every router has acknowledged the withdraw
//! of its VIPs and `settle` has passed; a drain that is prepared has not withdrawn them yet. It has ended when no file of it is in
//! force any more.

use std::collections::BTreeMap;

use super::event::{EventSource, HookEvent};
use crate::config::Config;
use crate::drain::{DrainPhase, DrainTarget, DrainedBy, Drains, Order};
use crate::model::{Generation, ServiceName};

#[cfg(test)]
mod tests;

/// Drains that are in force, and since which generation of the Loc-RIB they hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainsInForce {
    /// All of them.
    pub drains: Drains,
    /// The routes of this generation, and of later ones, are without what they withdraw.
    pub generation: Generation,
}

/// How far the routers have followed the drain of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Followed {
    /// It is prepared, and its VIPs are not withdrawn yet.
    NotWithdrawn,
    /// The routers follow this generation.
    Waits(Generation),
    /// They have followed.
    Yes,
}

/// A wait until the routers have followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowWait {
    /// The target that is then drained.
    pub target: DrainTarget,
    /// The generation that they have to acknowledge.
    pub generation: Generation,
}

/// The drains that were reported.
#[derive(Debug, Default)]
pub struct DrainEvents(BTreeMap<DrainTarget, Followed>);

impl DrainEvents {
    /// After a takeover: the former process has reported the drains in force.
    pub fn continued(drains: &Drains) -> Self {
        DrainEvents(drains.iter().map(|order| (order.target.clone(), Followed::Yes)).collect())
    }

    /// The events of other drains in force, and the waits that begin with them.
    pub fn changed(&mut self, now: &DrainsInForce, config: &Config) -> (Vec<HookEvent>, Vec<FollowWait>) {
        let (mut events, mut waits) = (Vec::new(), Vec::new());
        let over: Vec<(DrainTarget, Followed)> = self
            .0
            .iter()
            .filter(|(target, _)| now.drains.of(target).is_empty())
            .map(|(t, f)| (t.clone(), *f))
            .collect();
        for (target, followed) in over {
            self.0.remove(&target);
            let before = if followed == Followed::Yes { DRAINED } else { BEGUN };
            events.push(event(target, ENDED, before, "the drain has ended".to_owned(), config));
        }
        for order in now.drains.iter() {
            let target = order.target.clone();
            let orders = now.drains.of(&target);
            if !self.0.contains_key(&target) {
                events.push(event(
                    target.clone(),
                    BEGUN,
                    ENDED,
                    sentence("the drain has begun", orders),
                    config,
                ));
            }
            let followed = self.0.entry(target.clone()).or_insert(Followed::NotWithdrawn);
            let withdraws = orders.iter().any(|order| order.phase == DrainPhase::Withdraw);
            if *followed == Followed::NotWithdrawn && withdraws {
                *followed = Followed::Waits(now.generation);
                waits.push(FollowWait { target, generation: now.generation });
            }
        }
        (events, waits)
    }

    /// A wait has ended; `None`: the drain has ended before it.
    pub fn followed(&mut self, wait: FollowWait, now: &Drains, config: &Config) -> Option<HookEvent> {
        let FollowWait { target, generation } = wait;
        let followed =
            self.0.get_mut(&target).filter(|followed| **followed == Followed::Waits(generation))?;
        *followed = Followed::Yes;
        let message = sentence("the routers have followed", now.of(&target));
        Some(event(target, DRAINED, BEGUN, message, config))
    }
}

/// The words for the states of a drain.
const BEGUN: &str = "begun";
const DRAINED: &str = "drained";
const ENDED: &str = "ended";

fn event(
    target: DrainTarget,
    state: &'static str,
    before: &'static str,
    message: String,
    config: &Config,
) -> HookEvent {
    let services = services(&target, config);
    HookEvent { source: EventSource::Drain { target, services }, state, before, reason: "", message }
}

/// With who has ordered the drain, and why.
fn sentence(what: &str, orders: &[Order]) -> String {
    let by = DrainedBy::of(&orders.iter().collect::<Vec<_>>());
    by.map_or_else(|| what.to_owned(), |by| format!("{what}: drained{by}"))
}

/// The services with a VIP that a drain withdraws.
fn services(target: &DrainTarget, config: &Config) -> Vec<ServiceName> {
    let covered = config
        .services
        .iter()
        .filter(|service| service.vips.iter().any(|vip| target.covers(service.name.as_str(), *vip)));
    covered.map(|service| service.name.clone()).collect()
}
