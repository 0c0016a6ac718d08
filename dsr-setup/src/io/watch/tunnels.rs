//! The tunnels that `dsr-setup watch` keeps.
//!
//! Touches the host through [`Host`], the clock, and standard error. What is wrong is decided in [`crate::tunnel`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::io::Host;
use crate::tunnel::{MssRules, TunnelKind, TunnelReport, TunnelState};

/// How often the rules that limit the MSS are read: a program is run for that.
const LOOK_AT_RULES: Duration = Duration::from_secs(30);

/// The tunnels, and what is known about them.
#[derive(Debug)]
pub(super) struct TunnelKeeper {
    kinds: BTreeSet<TunnelKind>,
    /// The rules that limit the MSS, and when they were read.
    mss: Option<(MssRules, Instant)>,
    /// What is wrong and was said.
    said: BTreeSet<String>,
}

impl TunnelKeeper {
    /// Keeps tunnels of these kinds.
    pub(super) fn new(kinds: BTreeSet<TunnelKind>) -> TunnelKeeper {
        TunnelKeeper { kinds, mss: None, said: BTreeSet::new() }
    }

    /// Reads the tunnels, and repairs them for these VIPs, whoever keeps the VIPs. What cannot be repaired is said once.
    pub(super) async fn look(&mut self, host: &Host, vips: &BTreeSet<IpAddr>) {
        if self.kinds.is_empty() || vips.is_empty() {
            return;
        }
        self.mss = self.mss.take().filter(|(_, read)| read.elapsed() < LOOK_AT_RULES);
        let wrong = match host.observe_tunnels(self.mss.as_ref().map(|(mss, _)| mss.clone())).await {
            Ok(observed) => self.repair(host, &observed, vips).await,
            Err(error) => BTreeSet::from([format!("the tunnels cannot be read: {error}")]),
        };
        for warning in wrong.difference(&self.said) {
            output::note(format_args!("warning: {warning}"));
        }
        self.said = wrong;
    }

    /// Does the steps that are left; returns what is wrong afterwards.
    async fn repair(
        &mut self,
        host: &Host,
        observed: &TunnelState,
        vips: &BTreeSet<IpAddr>,
    ) -> BTreeSet<String> {
        let report = TunnelReport::new(observed, &self.kinds, vips, &[]);
        if self.mss.is_none() {
            self.mss = Some((observed.mss.clone(), Instant::now()));
        }
        let mut wrong: BTreeSet<String> = report.refused.iter().chain(&report.warnings).cloned().collect();
        let mut lacking = BTreeSet::new();
        for step in report.steps() {
            // One step of a tunnel needs those before.
            if step.kind().is_some_and(|kind| lacking.contains(&kind)) {
                continue;
            }
            let was = step.drift("was");
            self.mss = None; // whether it has stayed
            match host.carry_out_tunnel(step).await {
                Ok(()) => output::note(format_args!("{was}: repaired")),
                Err(error) => {
                    wrong.insert(format!("{was}, and cannot be repaired: {error}"));
                    lacking.extend(step.kind());
                }
            }
        }
        wrong
    }
}
