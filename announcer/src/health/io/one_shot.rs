//! Runs each check of a service once, for `announcer check`, without a daemon.
//!
//! Touches what the kinds of checks touch: the network, files, and programs that it starts.

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
    /// The name of the check.
    pub check: String,
    /// Whether the probe passed, failed or was skipped, and why.
    pub outcome: Outcome,
    /// What a person should check after a failure; `None` for a pass, and where the outcome says enough.
    pub hint: Option<String>,
}

/// Probes each VIP of the service once by each of its checks. All probes run at the same time, and each is limited by the `timeout`
/// of its check. The results are sorted by VIP and then by check, both in the order of the configuration.
///
/// # Errors
/// When the tokio runtime cannot be made. A failed probe is no error: it is the outcome of its result.
pub fn run(service: &ServiceConfig) -> std::io::Result<Vec<CheckResult>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(async {
        let prober = Prober::new(Files::new());
        let mut running = Vec::new();
        for vip in &service.vips {
            for (index, check) in service.checks.iter().enumerate() {
                let target = Target::new(service, *vip, index, check);
                let prober = prober.clone();
                running.push((*vip, check, tokio::spawn(async move { probe::once(&prober, &target).await })));
            }
        }
        let mut results = Vec::new();
        for (vip, check, outcome) in running {
            // An error here means that the probe panicked; then there is no result for it.
            if let Ok(outcome) = outcome.await {
                let hint = hint::of(check, vip, service.vrf.as_deref(), &outcome);
                results.push(CheckResult { vip, check: check.name.clone(), outcome, hint });
            }
        }
        results
    });
    // Does not wait for threads that still read from a file system that hangs, so that the command ends in time.
    runtime.shutdown_background();
    Ok(results)
}
