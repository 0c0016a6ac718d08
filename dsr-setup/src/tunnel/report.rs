//! What `plan`, `apply`, `check` and `watch` say about the tunnels that are wanted.
//!
//! Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Misfit, MssLimit, MssRules, TunnelKind, TunnelState, TunnelStep, make, open};
use crate::plan::{PathSetting, Step, Sysctl};

/// The tunnels of a host, compared with what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TunnelReport {
    /// The steps before the VIPs are put on `lo`.
    pub before: Vec<TunnelStep>,
    /// The steps after that.
    pub after: Vec<TunnelStep>,
    /// What another program has set so that no packet comes out. It is not touched.
    pub refused: Vec<String>,
    /// What else harms. No command here corrects it.
    pub warnings: Vec<String>,
}

impl TunnelReport {
    /// The report about a host that is to have tunnels of these kinds. `settings` are the other steps that are left: an rp_filter that is
    /// loosened there, as that of any interface, is no step here.
    #[must_use]
    pub fn new(
        observed: &TunnelState,
        kinds: &BTreeSet<TunnelKind>,
        vips: &BTreeSet<IpAddr>,
        settings: &[Step],
    ) -> TunnelReport {
        let is_loosened = |kind: TunnelKind| {
            let own = Sysctl::Path { interface: kind.device().into(), knob: PathSetting::RpFilter };
            settings.iter().any(|step| matches!(step, Step::Set { sysctl, .. } if *sysctl == own))
        };
        let mut after = open(observed, kinds, vips);
        after.retain(|step| !matches!(step, TunnelStep::Filter { kind, .. } if is_loosened(*kind)));
        TunnelReport {
            before: make(observed, kinds),
            after,
            refused: refused(observed, kinds),
            warnings: warnings(observed, kinds, vips),
        }
    }

    /// All steps that are left.
    pub fn steps(&self) -> impl Iterator<Item = &TunnelStep> {
        self.before.iter().chain(&self.after)
    }

    /// Whether everything is as it should be, as far as commands here can correct it or another program has to.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.steps().next().is_none() && self.refused.is_empty()
    }

    /// The sentences of `check`: what has drifted. About a device that is missing there is one.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let missing: BTreeSet<TunnelKind> = self.before.iter().filter_map(TunnelStep::kind).collect();
        let is_there = |step: &&TunnelStep| step.kind().is_none_or(|kind| !missing.contains(&kind));
        let steps = self.before.iter().chain(self.after.iter().filter(is_there));
        steps.map(|step| step.drift("is")).chain(self.refused.iter().cloned()).collect()
    }
}

/// Sentences about devices that are up, and out of which no packet of the kind comes.
fn refused(observed: &TunnelState, kinds: &BTreeSet<TunnelKind>) -> Vec<String> {
    let sentence = |kind: &TunnelKind| {
        let (device, name) = (kind.device(), kind.name());
        Some(match observed.devices.get(kind)?.misfit? {
            Misfit::Mode(protocol) => format!(
                "{device} has a mode for packets of the IP protocol {protocol} alone, so that no packet of the kind `{name}` comes out; \
                 `ip{} tunnel change {device} mode {name}` corrects it",
                if *kind == TunnelKind::Ip6ip6 { " -6" } else { "" }
            ),
            Misfit::Remote(remote) => format!(
                "{device} accepts packets from {remote} alone, so that no packet of another director comes out; `ip link delete \
                 {device}` removes it, and `dsr-setup apply --tunnel {name}` makes it again correctly"
            ),
        })
    };
    kinds.iter().filter_map(sentence).collect()
}

/// Sentences about tunnels for which there is no step, and that do no harm at once.
fn warnings(observed: &TunnelState, kinds: &BTreeSet<TunnelKind>, vips: &BTreeSet<IpAddr>) -> Vec<String> {
    let idle = kinds.iter().filter(|kind| !vips.iter().any(|vip| kind.carries(*vip)));
    let mut warnings: Vec<String> = idle
        .map(|kind| format!("no VIP is of the family that `--tunnel {}` carries: leave it out", kind.name()))
        .collect();
    let limit = MssLimit::of(kinds, vips, observed.mtu);
    if let (MssRules::Unreadable(reason), false) = (&observed.mss, limit.0.is_empty()) {
        warnings.push(format!(
            "{reason}, so the MSS is not limited: limit it on the director or the routers, {limit}; otherwise the packets of clients \
             may be too large for the tunnel"
        ));
    }
    warnings
}
