//! Each check of a service, once: what `announcer check` shows, with no daemon.
//!
//! Touches what the probes touch.

use std::net::IpAddr;

use super::probe;
use crate::config::Service;
use crate::health::Target;
use crate::health::outcome::{Outcome, Reason};

/// What one probe saw.
#[derive(Debug)]
pub struct Seen {
    /// The VIP that was asked.
    pub vip: IpAddr,
    /// The check, by name.
    pub check: String,
    /// What it saw.
    pub outcome: Outcome,
}

impl Seen {
    /// What to look at, where the outcome alone could leave a person at a loss.
    pub fn hint(&self) -> Option<String> {
        let Outcome::Fail { reason, .. } = &self.outcome else { return None };
        #[allow(clippy::wildcard_enum_match_arm)] // most failures need no hint
        match reason {
            Reason::Redirect { .. } => {
                Some("a redirect is not followed: write the URL that it leads to, or its status in `expect_status`".into())
            }
            Reason::Status(401 | 403) => {
                Some(format!("the probe comes from the VIP itself: let {} in", self.vip))
            }
            Reason::VipMissing => Some("`dsr-setup apply` puts it on lo, and so does the daemon".into()),
            _ => None,
        }
    }
}

/// Asks everything at the same time; in the order of the configuration, a VIP after the other.
///
/// # Errors
/// When there is no runtime for it.
pub fn run(service: &Service) -> std::io::Result<Vec<Seen>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = runtime.block_on(async {
        let mut asked = Vec::new();
        for vip in &service.vips {
            for (index, check) in service.checks.iter().enumerate() {
                let target =
                    Target { service: service.name.clone(), vip: *vip, check: index, config: check.clone() };
                asked.push((
                    *vip,
                    check.name.clone(),
                    tokio::spawn(async move { probe::once(&target).await }),
                ));
            }
        }
        let mut seen = Vec::new();
        for (vip, check, outcome) in asked {
            if let Ok(outcome) = outcome.await {
                seen.push(Seen { vip, check, outcome });
            }
        }
        seen
    });
    runtime.shutdown_background(); // a file system that hangs keeps nobody from ending
    Ok(seen)
}
