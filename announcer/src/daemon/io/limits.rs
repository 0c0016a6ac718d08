//! The resource limits and capabilities of this process, and which of them its programs inherit.
//!
//! Touches only this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::config::{CheckConfig, Config, ProbeConfig};
use crate::health::io::probe;

/// The limit of descriptors, as in the unit. More would be slow: some programs close all possible descriptors one by one.
const MOST_FILES: u64 = 65_536;

/// The descriptors besides those of sessions and probes: logs, netlink, inotify, the control socket and its clients.
const OTHER_FILES: u64 = 64;

/// Raises the limit of file descriptors as far as we may, and logs a warning if it may be too low for the checks.
pub(in crate::daemon) fn raise_files(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = raised(&limit);
    let raised = match setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: limit.maximum }) {
        Ok(()) => wanted,
        Err(error) => {
            warn!(%error, "limit of file descriptors was not raised");
            limit.current
        }
    };
    let (files, needed) = (raised.unwrap_or(u64::MAX), needed(config));
    if files < needed {
        warn!(files, needed, "limit of file descriptors is low for these checks, raise LimitNOFILE=");
    } else if raised != limit.current {
        info!(files, "limit of file descriptors was raised");
    }
}

/// The new soft limit: at most the hard limit, and never lower than before; `None`: there is no limit.
fn raised(limit: &Rlimit) -> Option<u64> {
    let current = limit.current?;
    Some(current.max(limit.maximum.map_or(MOST_FILES, |most| most.min(MOST_FILES))))
}

/// How many descriptors a configuration may need at once, if all its probes hang.
fn needed(config: &Config) -> u64 {
    let one = |check: &CheckConfig| {
        u128::from(check.probe.descriptors())
            * check
                .timeout
                .as_nanos()
                .div_ceil(check.fast_interval.as_nanos().max(1))
                .clamp(1, probe::MOST as u128)
    };
    // A kept connection, beside the probes.
    let kept =
        |check: &CheckConfig| u128::from(matches!(&check.probe, ProbeConfig::Http(http) if http.reuse));
    let checks = config.vips().flat_map(|(_, service)| &service.checks);
    let probes: u128 = checks.map(|check| one(check) + kept(check)).sum();
    // A session's own connection, and a new one that is opened while the old one is being closed.
    OTHER_FILES + 2 * config.peers.len() as u64 + u64::try_from(probes).unwrap_or(u64::MAX)
}

/// Prevents child processes from inheriting our capabilities. Without this call, the unit's ambient capabilities pass to them.
pub(in crate::daemon) fn keep_capabilities() {
    if let Err(error) = rustix::thread::clear_ambient_capability_set() {
        warn!(%error, "programs of checks have the daemon's capabilities");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with_services;

    #[test]
    fn the_soft_limit_rises_to_the_hard_one_and_never_falls() {
        for (current, maximum, want) in [
            (Some(1024), Some(4096), Some(4096)),
            (Some(1024), Some(524_288), Some(65_536)),
            (Some(1024), None, Some(65_536)),
            (Some(100_000), Some(524_288), Some(100_000)),
            (Some(65_536), Some(65_536), Some(65_536)),
            (None, None, None),
        ] {
            assert_eq!(raised(&Rlimit { current, maximum }), want);
        }
    }

    #[test]
    fn what_a_configuration_needs_grows_with_what_may_hang() {
        let with = |check: &str| {
            let text = format!(
                with_services!(
                    "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\", \"192.0.2.81\"]\n[[service.check]]\n{}\n"
                ),
                check
            );
            needed(&crate::config::parse("x", &text).unwrap_or_else(|errors| panic!("{errors}")))
        };
        assert_eq!(with("tcp = 25"), 66 + 2);
        assert_eq!(with("tcp = 25\ninterval = \"100ms\"\ntimeout = \"250ms\""), 66 + 2 * 3);
        assert_eq!(with("tcp = 25\ninterval = \"50ms\"\ntimeout = \"1m\""), 66 + 2 * 8);
        assert_eq!(with("exec = [\"/bin/true\"]"), 66 + 2 * 4);
        assert_eq!(with("file = \"/run/up\""), 66);
        assert_eq!(with("http = \"http://x/\""), 66 + 2);
        assert_eq!(with("http = \"http://x/\"\nreuse = true"), 66 + 2 * 2);
    }
}
