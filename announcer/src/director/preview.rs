//! Computes the decisions after a reload before it is made: a copy of the director gets the new configuration.
//!
//! Pure. The copy decides as the director would, so the preview is correct for every key that withdraws a VIP or ends a drain. New
//! probe results are not known here: a check with a changed request keeps the verdict of its VIP until its first result.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::standing::Standing;
use super::{Director, VipState};
use crate::config::Config;
use crate::model::ServiceName;

/// The decision on a VIP with one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The service of the VIP.
    pub service: ServiceName,
    /// Its standing.
    pub standing: Standing,
}

/// One VIP before and after a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VipPreview {
    /// Which.
    pub vip: IpAddr,
    /// The current decision; none if the VIP is new.
    pub before: Option<Decision>,
    /// The decision after the reload; none if no service has the VIP then.
    pub after: Option<Decision>,
}

/// The effect of a reload on every VIP, old and new, in the order of their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Each VIP once.
    pub vips: Vec<VipPreview>,
}

/// Why a reload is refused unless it is forced. Its `Display` is one or two sentences without a full stop at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Every announced VIP would be withdrawn; the list has at least one.
    WithdrawsEveryVip(Vec<VipPreview>),
    /// These VIPs are drained, and would no longer be, because another service would have them; the list has at least one.
    EndsDrains(Vec<VipPreview>),
}

impl VipPreview {
    /// Whether the VIP is announced now and would no longer be.
    pub fn is_withdrawn(&self) -> bool {
        is_announced(&self.before) && !is_announced(&self.after)
    }

    /// Whether the VIP is drained now, and would still exist but not be drained. It does not matter whether it would be announced
    /// at once: its checks decide that, and may pass at any time.
    pub fn is_drain_ended(&self) -> bool {
        is_drained(&self.before) && self.after.is_some() && !is_drained(&self.after)
    }
}

impl Preview {
    /// The VIPs whose standing or service would change, and VIPs that would be added or removed.
    pub fn changes(&self) -> impl Iterator<Item = &VipPreview> {
        self.vips.iter().filter(|vip| vip.before != vip.after)
    }

    /// Whether VIPs are announced now, and all of them would be withdrawn.
    pub fn withdraws_every_vip(&self) -> bool {
        let mut announced = self.vips.iter().filter(|vip| is_announced(&vip.before)).peekable();
        announced.peek().is_some() && announced.all(VipPreview::is_withdrawn)
    }

    /// The VIPs whose drain would end: for example, `www` is drained, and its VIP moves to `web`, which is not drained.
    pub fn ended_drains(&self) -> impl Iterator<Item = &VipPreview> {
        self.vips.iter().filter(|vip| vip.is_drain_ended())
    }

    /// Why the reload is not made unless it is forced; none if there is no reason.
    pub fn refusal(&self) -> Option<Refusal> {
        if self.withdraws_every_vip() {
            let withdrawn = self.vips.iter().filter(|vip| vip.is_withdrawn());
            return Some(Refusal::WithdrawsEveryVip(withdrawn.cloned().collect()));
        }
        let ended: Vec<VipPreview> = self.ended_drains().cloned().collect();
        (!ended.is_empty()).then_some(Refusal::EndsDrains(ended))
    }
}

fn is_announced(decision: &Option<Decision>) -> bool {
    decision.as_ref().is_some_and(|decision| decision.standing.is_advertised())
}

fn is_drained(decision: &Option<Decision>) -> bool {
    decision.as_ref().is_some_and(|decision| match decision.standing {
        Standing::Drained(_) => true,
        Standing::Announced | Standing::LastChoice(_) | Standing::NotAnnounced(_) => false,
    })
}

impl fmt::Display for VipPreview {
    /// For example "192.0.2.80 of www would be drained by ann, and is announced now".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vip = self.vip;
        match (&self.before, &self.after) {
            (Some(before), Some(after)) if before.service == after.service => {
                write!(
                    f,
                    "{vip} of {} would be {}, and is {} now",
                    after.service, after.standing, before.standing
                )
            }
            (Some(before), Some(after)) => {
                write!(
                    f,
                    "{vip} would belong to {} instead of {}, and be {}",
                    after.service, before.service, after.standing
                )
            }
            (Some(before), None) => {
                write!(f, "{vip} of {} would be withdrawn and leave this host", before.service)
            }
            (None, Some(after)) => write!(f, "{vip} of {} would be new: {}", after.service, after.standing),
            (None, None) => vip.fmt(f),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::WithdrawsEveryVip(vips) => {
                f.write_str("this would withdraw every VIP that is announced: ")?;
                list(f, vips, |f, vip| match (&vip.before, &vip.after) {
                    (Some(before), Some(after)) => {
                        write!(f, "{} of {} would be {}", vip.vip, before.service, after.standing)
                    }
                    (Some(before), None) => {
                        write!(f, "{} of {} would belong to no service", vip.vip, before.service)
                    }
                    (None, _) => vip.vip.fmt(f),
                })
            }
            Refusal::EndsDrains(vips) => {
                f.write_str("this would end a drain: ")?;
                list(f, vips, |f, vip| match (&vip.before, &vip.after) {
                    (Some(before), Some(after)) => write!(
                        f,
                        "{} of {} is drained and would belong to {}, which is not",
                        vip.vip, before.service, after.service
                    ),
                    (_, _) => vip.vip.fmt(f),
                })
            }
        }
    }
}

/// How many VIPs a sentence names.
const NAMED: usize = 3;

fn list(
    f: &mut fmt::Formatter<'_>,
    vips: &[VipPreview],
    one: impl Fn(&mut fmt::Formatter<'_>, &VipPreview) -> fmt::Result,
) -> fmt::Result {
    for (index, vip) in vips.iter().take(NAMED).enumerate() {
        if index > 0 {
            f.write_str("; ")?;
        }
        one(f, vip)?;
    }
    match vips.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => write!(f, "; and {more} more"),
    }
}

impl Director {
    /// The decisions directly after [`reload`](Self::reload), computed with a copy of the director. Nothing is changed.
    pub fn would(&self, config: &Arc<Config>, now: Instant) -> Preview {
        let mut copy = self.clone();
        // Changes because of time alone are not an effect of the reload.
        let _ = copy.expire(now);
        let mut before = copy.decisions();
        let _ = copy.reload(Arc::clone(config), 0, now);
        let mut after = copy.decisions();
        let vips: BTreeSet<IpAddr> = before.keys().chain(after.keys()).copied().collect();
        let preview = |vip| VipPreview { vip, before: before.remove(&vip), after: after.remove(&vip) };
        Preview { vips: vips.into_iter().map(preview).collect() }
    }

    fn decisions(&self) -> BTreeMap<IpAddr, Decision> {
        let decision = |vip: &VipState| {
            let service = self.config.services[vip.service].name.clone();
            Decision { service, standing: vip.standing.clone() }
        };
        self.vips.iter().map(|(address, vip)| (*address, decision(vip))).collect()
    }
}

#[cfg(test)]
mod tests;
