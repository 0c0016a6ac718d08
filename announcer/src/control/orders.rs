//! The orders of `drain` and `undrain` as they are sent: what they name, and the change of the drain folder that follows.
//!
//! Pure. The command line uses the same functions while no daemon runs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::names;
use crate::config::{Config, DrainConfig};
use crate::drain::progress::{DEADLINE, DrainLimits};
use crate::drain::{self, BootId, ChangePlan, Drain, DrainChange, DrainTarget, Drains, Operator, Until};
use crate::model::{Family, PeerName, ServiceName};

/// What an order names. If it names nothing, it is refused; nothing never means all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Targets {
    /// Services, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// VIPs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vips: Vec<IpAddr>,
    /// `ipv4` or `ipv6`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// Routers, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// Every service, also those that are configured later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// An order to drain, or to extend a drain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DrainOrder {
    /// What to drain.
    #[serde(flatten)]
    pub targets: Targets,
    /// The reason, for other operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The operator, if the socket would only show `root` (sudo).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Drain also if no other router would be sent a VIP or too few other frontends would announce it, or extend the drain of another person.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// The drain ends after this many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// The drain ends when the host boots.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub until_reboot: bool,
    /// Nothing is drained; an existing drain ends this many milliseconds later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend_ms: Option<u64>,
    /// How long the VIPs are the last choice first, in milliseconds; without it, `prepare` of `[drain]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepare_ms: Option<u64>,
    /// If set, the answer is sent when the VIPs are drained. It limits the wait for the routers' acknowledgement, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// How long connections may go on after the withdraw, in milliseconds; without it, `deadline` of `[drain]`, or 5 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

/// An order to end drains, and to forget the flaps of their VIPs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UndrainOrder {
    /// What to undrain.
    #[serde(flatten)]
    pub targets: Targets,
    /// The operator, if the socket would only show `root` (sudo).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// End the drains of other people too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// If set, the answer is sent when the VIPs are back, or after this many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

impl Targets {
    /// The names of its fields.
    const FIELDS: [&str; 5] = ["services", "vips", "families", "peers", "all"];
}

impl DrainOrder {
    /// Whether an order has a field of this name. A wrong name must not be ignored: it may be that of the end.
    pub fn has_field(name: &str) -> bool {
        let own = [
            "reason",
            "by",
            "force",
            "for_ms",
            "until_reboot",
            "extend_ms",
            "prepare_ms",
            "wait_ms",
            "deadline_ms",
        ];
        Targets::FIELDS.contains(&name) || own.contains(&name)
    }
}

impl UndrainOrder {
    /// Whether an order has a field of this name.
    pub fn has_field(name: &str) -> bool {
        Targets::FIELDS.contains(&name) || ["by", "force", "wait_ms"].contains(&name)
    }
}

/// The waits that run now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitList {
    /// The oldest first.
    pub waits: Vec<WaitStatus>,
}

/// A wait of another command that runs now, for `drain --wait` on a terminal and for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitStatus {
    /// What is drained.
    pub what: String,
    /// Who has ordered it.
    pub by: String,
    /// What is waited for, as a sentence.
    pub text: String,
    /// The time until the limit of this step, in milliseconds.
    pub left_ms: u64,
}

/// Decides whether a client may force an order, by its user.
///
/// # Errors
/// The refusal.
pub fn may_force(force: bool, uid: u32) -> Result<(), String> {
    if force && uid != 0 {
        return Err("error: only root may use `--force`; run the command as root".into());
    }
    Ok(())
}

/// Who gives an order, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderFacts {
    /// Who.
    pub operator: Operator,
    /// The wall clock.
    pub now: SystemTime,
    /// The boot of the host; `None`: it cannot be read.
    pub boot: Option<BootId>,
}

/// What an order means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainJob {
    /// The change of the drain folder.
    pub change: DrainChange,
    /// Whether it is made also if no other router would be sent a VIP.
    pub force: bool,
    /// What to wait for; `None`: nothing.
    pub wait: Option<DrainWait>,
}

/// What an order waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainWait {
    /// The VIPs are drained.
    Drained(DrainLimits),
    /// The VIPs are back, within this time.
    Returned(Duration),
}

/// Why an order has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// It names something that does not exist.
    #[error("{0}")]
    Unknown(String),
    /// It contradicts itself, or lacks something.
    #[error("{0}")]
    Wrong(String),
}

impl Targets {
    /// The targets, each once. `drained`: those of these drains count as known too, although the configuration may no longer have
    /// them.
    ///
    /// # Errors
    /// A name that is not known, with the nearest names; or that there is no name.
    pub fn find(&self, config: &Config, drained: Option<&Drains>) -> Result<Vec<DrainTarget>, OrderError> {
        let all = self.named()?;
        for target in &all {
            self::known(target, config, drained).map_err(OrderError::Unknown)?;
        }
        Ok(all)
    }

    /// The targets, each once, without a comparison with a configuration.
    ///
    /// # Errors
    /// What is no name, or that there is no name.
    pub fn named(&self) -> Result<Vec<DrainTarget>, OrderError> {
        let wrong = |error: crate::model::InvalidValue| OrderError::Wrong(format!("error: {error}"));
        let mut all: Vec<DrainTarget> = Vec::new();
        let mut add = |target: DrainTarget| {
            if !all.contains(&target) {
                all.push(target);
            }
        };
        self.services.iter().for_each(|name| add(DrainTarget::Service(name.clone())));
        self.vips.iter().for_each(|vip| add(DrainTarget::Vip(*vip)));
        for family in &self.families {
            add(DrainTarget::Family(family.parse::<Family>().map_err(wrong)?));
        }
        self.peers.iter().for_each(|name| add(DrainTarget::Peer(name.clone())));
        match (all.is_empty(), self.all) {
            (true, true) => Ok(vec![DrainTarget::All]),
            (false, false) => Ok(all),
            (true, false) => {
                let text = "error: name a service, an address, a family or a router, or write `--all`";
                Err(OrderError::Wrong(text.into()))
            }
            (false, true) => Err(OrderError::Wrong("error: write either names or `--all`".into())),
        }
    }
}

/// Checks a name that cannot be compared with a configuration.
///
/// # Errors
/// Why it is no name.
pub fn is_name(target: &DrainTarget) -> Result<(), String> {
    let wrong = |error: crate::model::InvalidValue| format!("error: {error}");
    match target {
        DrainTarget::Service(name) => name.parse::<ServiceName>().map(drop).map_err(wrong),
        DrainTarget::Peer(name) => name.parse::<PeerName>().map(drop).map_err(wrong),
        DrainTarget::Vip(_) | DrainTarget::Family(_) | DrainTarget::All => Ok(()),
    }
}

/// Checks that a target exists.
fn known(target: &DrainTarget, config: &Config, drained: Option<&Drains>) -> Result<(), String> {
    if drained.is_some_and(|drains| !drains.of(target).is_empty()) {
        return Ok(());
    }
    let (kind, name) = match target {
        DrainTarget::Service(name) => ("service", name.clone()),
        DrainTarget::Vip(vip) => ("VIP", vip.to_string()),
        DrainTarget::Peer(name) => ("peer", name.clone()),
        DrainTarget::Family(_) | DrainTarget::All => return Ok(()),
    };
    let of_drains = drained.into_iter().flat_map(Drains::iter).map(|order| &order.target);
    let mut known: Vec<String> = match target {
        DrainTarget::Service(_) => config.services.iter().map(|service| service.name.to_string()).collect(),
        DrainTarget::Vip(_) => config.vips().map(|(vip, _)| vip.to_string()).collect(),
        DrainTarget::Peer(_) => config.peers.iter().map(|peer| peer.name.to_string()).collect(),
        DrainTarget::Family(_) | DrainTarget::All => Vec::new(),
    };
    let same_kind: BTreeSet<String> = of_drains
        .filter_map(|other| match (target, other) {
            (DrainTarget::Service(_), DrainTarget::Service(name))
            | (DrainTarget::Peer(_), DrainTarget::Peer(name)) => Some(name.clone()),
            (DrainTarget::Vip(_), DrainTarget::Vip(vip)) => Some(vip.to_string()),
            (_, _) => None,
        })
        .filter(|name| !known.contains(name))
        .collect();
    known.extend(same_kind);
    match known.contains(&name) {
        true => Ok(()),
        false => Err(names::unknown(kind, &name, known.iter().map(String::as_str))),
    }
}

impl DrainOrder {
    /// The targets. Only an order that extends a drain may name what the configuration no longer has.
    ///
    /// # Errors
    /// As [`Targets::find`].
    pub fn find(&self, config: &Config, drains: &Drains) -> Result<Vec<DrainTarget>, OrderError> {
        self.targets.find(config, self.extend_ms.is_some().then_some(drains))
    }

    /// What the order means for these targets.
    ///
    /// # Errors
    /// When it contradicts itself.
    pub fn job(
        &self,
        targets: Vec<DrainTarget>,
        facts: OrderFacts,
        defaults: Option<&DrainConfig>,
    ) -> Result<DrainJob, OrderError> {
        let wrong = |text: &str| Err(OrderError::Wrong(format!("error: {text}")));
        let OrderFacts { operator: owner, now, boot } = facts;
        if let Some(by) = self.extend_ms {
            if self.for_ms.is_some() || self.until_reboot || self.reason.is_some() || self.wait_ms.is_some() {
                return wrong("`--extend` only moves the end of a drain; use it without other options");
            }
            let by = Duration::from_millis(by);
            let change = DrainChange::Extend { targets, owner, by, now, force: self.force };
            return Ok(DrainJob { change, force: self.force, wait: None });
        }
        let reason = self.reason.as_deref().map(drain::reason).transpose();
        let reason = reason.map_err(|text| OrderError::Wrong(format!("error: {text}")))?;
        let until = match self.for_ms.map(|time| Until::after(now, Duration::from_millis(time))) {
            Some(None) => return wrong("`--for` is too long: a drain without it does not end by itself"),
            Some(end) => end,
            None => None,
        };
        let boot = match (self.until_reboot, boot) {
            (true, None) => {
                return wrong(
                    "the boot id of the host cannot be read, so `--until-reboot` would have no end",
                );
            }
            (true, boot) => boot,
            (false, _) => None,
        };
        let (by, uid) = (Some(owner.to_string()), Some(owner.uid));
        let at = Some(humantime::format_rfc3339_seconds(now).to_string());
        let millis = |time: Option<u64>| time.map(Duration::from_millis);
        let prepare = millis(self.prepare_ms).or(defaults.map(|drain| drain.prepare)).unwrap_or_default();
        // Only VIPs can be the last choice: a drained router gets no route from the beginning.
        let of_routers = targets.iter().all(|target| matches!(target, DrainTarget::Peer(_)));
        let prepare = if of_routers { Duration::ZERO } else { prepare };
        let deadline = millis(self.deadline_ms).or(defaults.map(|drain| drain.deadline)).unwrap_or(DEADLINE);
        let wait = millis(self.wait_ms).map(|timeout| DrainLimits { prepare, timeout, deadline });
        let drain = Drain { reason, by, at, uid, until, boot };
        let change = DrainChange::Drain { targets, owner, drain, prepare };
        Ok(DrainJob { change, force: self.force, wait: wait.map(DrainWait::Drained) })
    }
}

impl UndrainOrder {
    /// What the order means for these targets.
    pub fn job(&self, targets: Vec<DrainTarget>, operator: Operator) -> DrainJob {
        let change = DrainChange::Undrain { targets, owner: operator, force: self.force };
        let wait = self.wait_ms.map(|limit| DrainWait::Returned(Duration::from_millis(limit)));
        DrainJob { change, force: self.force, wait }
    }
}

/// The notes of an undrain of `targets`: those that had no order, and the orders that still withdraw one of their VIPs or routers.
pub fn undrain_notes(
    targets: &[DrainTarget],
    plan: &ChangePlan,
    drains: &Drains,
    config: &Config,
) -> Vec<String> {
    let absent = plan.absent.iter().map(|target| match target {
        DrainTarget::All => "there was no drain of all services".to_owned(),
        DrainTarget::Service(name) => format!("{name} was not drained by name"),
        DrainTarget::Vip(_) | DrainTarget::Family(_) | DrainTarget::Peer(_) => {
            format!("{target} was not drained")
        }
    });
    let vips: Vec<(&str, IpAddr)> =
        config.vips().map(|(vip, service)| (service.name.as_str(), vip)).collect();
    let touches = |other: &DrainTarget| {
        let both = |(service, vip): &(&str, IpAddr)| {
            other.covers(service, *vip) && targets.iter().any(|target| target.covers(service, *vip))
        };
        targets.contains(other) || vips.iter().any(both)
    };
    let stays = drains.iter().filter(|order| touches(&order.target)).map(|order| {
        let force = if plan.kept.iter().any(|kept| kept.file == order.file) { " --force" } else { "" };
        let arguments = order.target.arguments();
        format!(
            "{} stays drained{}; `announcer undrain {arguments}{force}` ends that",
            order.target, order.drain
        )
    });
    absent.chain(stays).collect()
}

#[cfg(test)]
mod tests;
