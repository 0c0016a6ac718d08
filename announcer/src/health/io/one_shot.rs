//! Each check of a service, once: what `announcer check` shows, with no daemon.
//!
//! Touches what the probes touch.

use std::net::IpAddr;

use super::probe;
use super::prober::Prober;
use crate::config::ServiceConfig;
use crate::files::io::Files;
use crate::health::outcome::Outcome;
use crate::health::{Target, hint};

/// What one probe saw.
#[derive(Debug)]
pub struct CheckResult {
    /// The VIP that was asked.
    pub vip: IpAddr,
    /// The check, by name.
    pub check: String,
    /// What it saw.
    pub outcome: Outcome,
    /// What to look at, where the outcome alone could leave a person at a loss.
    pub hint: Option<String>,
}

/// Asks everything at the same time; in the order of the configuration, a VIP after the other.
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
    runtime.shutdown_background(); // a file system that hangs keeps nobody from ending
    Ok(seen)
}
