//! What a reload would decide, known before it is made: a copy of the director is given the new configuration.
//!
//! Pure. Whichever key it is that withdraws a VIP or ends a drain, the copy decides it as the director would. What only a
//! new probe result can tell is not known here: a check that asks something new keeps the verdict of its VIP until then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::standing::Standing;
use super::{Director, VipState};
use crate::config::Config;
use crate::model::ServiceName;

/// What is decided of a VIP under one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The service that has the VIP.
    pub service: ServiceName,
    /// What is done with it.
    pub standing: Standing,
}

/// One VIP before and after a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VipPreview {
    /// Which.
    pub vip: IpAddr,
    /// What holds now; none where the VIP is new.
    pub before: Option<Decision>,
    /// What would hold; none where no service has the VIP any more.
    pub after: Option<Decision>,
}

/// What a reload would make of every VIP, old and new, in the order of their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Each VIP once.
    pub vips: Vec<VipPreview>,
}

/// Why a reload is refused unless it is forced. Its Display is a sentence without a full stop, or two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No VIP that is announced would be announced afterwards; at least one.
    WithdrawsEveryVip(Vec<VipPreview>),
    /// These VIPs are drained, and would not be afterwards, since another service has them; at least one.
    EndsDrains(Vec<VipPreview>),
}

impl VipPreview {
    /// Whether the VIP is announced now and would not be any more.
    pub fn is_withdrawn(&self) -> bool {
        is_announced(&self.before) && !is_announced(&self.after)
    }

    /// Whether the VIP is drained now and would still be there, but not drained. Whether it would be announced at once does
    /// not matter: its checks decide that, and they may pass at any time.
    pub fn is_drain_ended(&self) -> bool {
        is_drained(&self.before) && self.after.is_some() && !is_drained(&self.after)
    }
}

impl Preview {
    /// The VIPs for which something would change: the standing, the service, or whether there is such a VIP.
    pub fn changes(&self) -> impl Iterator<Item = &VipPreview> {
        self.vips.iter().filter(|vip| vip.before != vip.after)
    }

    /// Whether VIPs are announced now, and none of them would be.
    pub fn withdraws_every_vip(&self) -> bool {
        let mut announced = self.vips.iter().filter(|vip| is_announced(&vip.before)).peekable();
        announced.peek().is_some() && announced.all(VipPreview::is_withdrawn)
    }

    /// The VIPs whose drain would end: `www` is drained, and its VIP moves to `web`, which is not.
    pub fn ended_drains(&self) -> impl Iterator<Item = &VipPreview> {
        self.vips.iter().filter(|vip| vip.is_drain_ended())
    }

    /// Why the reload is not made unless it is forced; none where nothing speaks against it.
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
    /// What [`reload`](Self::reload) would decide at once, by a copy of the director. Nothing is changed.
    pub fn would(&self, config: &Arc<Config>, now: Instant) -> Preview {
        let mut copy = self.clone();
        // What only the time has changed is not the reload's doing.
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
