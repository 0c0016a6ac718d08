//! Runs each check of a service once, for `announcer check`, without a daemon.
//!
//! Touches the same things as the probes.

use std::net::IpAddr;

use super::probe;
use super::prober::Prober;
use crate::config::ServiceConfig;
use crate::files::io::Files;
use crate::health::outcome::Outcome;
use crate::health::{Target, hint};

/// The result of one probe.
#[derive(Debug)]
pub struct CheckResult {
    /// The VIP that was probed.
    pub vip: IpAddr,
    /// The check, by name.
    pub check: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The hint, if there is one.
    pub hint: Option<String>,
}

/// Runs all probes at the same time. The results are in the order of the configuration, one VIP after the other.
///
/// # Errors
/// When there is no runtime for it.
pub fn run(service: &ServiceConfig) -> std::io::Result<Vec<CheckResult>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = runtime.block_on(async {
        let prober = Prober::new(Files::new());
        let mut asked = Vec::new();
        for vip in &service.vips {
            for (index, check) in service.checks.iter().enumerate() {
                let target =
                    Target { service: service.name.clone(), vip: *vip, check: index, config: check.clone() };
                let prober = prober.clone();
                asked.push((*vip, check, tokio::spawn(async move { probe::once(&prober, &target).await })));
            }
        }
        let mut seen = Vec::new();
        for (vip, check, outcome) in asked {
            if let Ok(outcome) = outcome.await {
                let hint = hint::of(check, vip, &outcome);
                seen.push(CheckResult { vip, check: check.name.clone(), outcome, hint });
            }
        }
        seen
    });
    runtime.shutdown_background(); // a file system that hangs must not delay the end
    Ok(seen)
}
