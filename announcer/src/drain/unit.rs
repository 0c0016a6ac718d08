//! The time that systemd gives a stop of the daemon, by the unit and its drop-ins.
//!
//! Pure. `TimeoutStopSec=` (systemd.service(5)) of the last file that has it holds; `TimeoutSec=` sets it too.

use std::time::Duration;

use crate::config::DrainConfig;

/// `TimeoutStopSec` of the unit as it is installed.
pub const INSTALLED: Duration = Duration::from_secs(30);

/// The limit of these files, the unit first; `None`: systemd waits without a limit.
pub fn stop_limit<'a>(files: impl IntoIterator<Item = &'a str>) -> Option<Duration> {
    let mut limit = Some(INSTALLED);
    for line in files.into_iter().flat_map(str::lines) {
        let Some((key, value)) = line.split_once('=') else { continue };
        if ["TimeoutStopSec", "TimeoutSec"].contains(&key.trim()) {
            limit = match value.trim() {
                "infinity" | "0" => None,
                value => value
                    .parse()
                    .map(Duration::from_secs)
                    .or_else(|_| humantime::parse_duration(value))
                    .ok()
                    .or(limit),
            };
        }
    }
    limit
}

/// The warning, if a stop may take longer than systemd waits. `chain`: how long the other members are waited for.
pub fn warning(
    drain: Option<&DrainConfig>,
    settle: Duration,
    chain: Duration,
    limit: Option<Duration>,
) -> Option<String> {
    let longest = drain?.longest_stop(settle) + chain;
    let limit = limit.filter(|limit| longest > *limit)?;
    let shown = |time: Duration| humantime::format_duration(time).to_string();
    Some(format!(
        "`[drain]`: a stop may take {}, but systemd kills the daemon after {}: lower `deadline`, or write `TimeoutStopSec={}s` with \
         `systemctl edit announcer`",
        shown(longest),
        shown(limit),
        longest.as_secs() + 5
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_file_with_the_key_decides() {
        for (files, want) in [
            (&[][..], Some(30)),
            (&["[Service]\nTimeoutStopSec=30s\n"], Some(30)),
            (&["TimeoutStopSec=30s", "[Service]\nTimeoutStopSec=90"], Some(90)),
            (&["TimeoutStopSec=30s", "TimeoutStopSec = 5min 20s"], Some(320)),
            (&["TimeoutStopSec=30s", "TimeoutSec=infinity"], None),
            (&["TimeoutStopSec=30s", "# TimeoutStopSec=1s\nTimeoutStopSec=soon"], Some(30)),
        ] {
            assert_eq!(stop_limit(files.iter().copied()), want.map(Duration::from_secs), "{files:?}");
        }
    }

    #[test]
    fn a_stop_that_would_be_killed_is_warned_of() {
        let seconds = Duration::from_secs;
        let drain = |deadline| DrainConfig { prepare: seconds(0), deadline: seconds(deadline) };
        let warning = |drain: Option<DrainConfig>, chain, limit| {
            warning(drain.as_ref(), seconds(1), seconds(chain), limit)
        };
        assert_eq!(warning(None, 3, Some(INSTALLED)), None);
        assert_eq!(warning(Some(drain(28)), 0, Some(INSTALLED)), None);
        assert!(warning(Some(drain(28)), 3, Some(INSTALLED)).is_some());
        assert_eq!(warning(Some(drain(300)), 0, None), None);
        assert_eq!(
            warning(Some(drain(300)), 0, Some(INSTALLED)).unwrap(),
            "`[drain]`: a stop may take 5m 2s, but systemd kills the daemon after 30s: lower `deadline`, or write \
             `TimeoutStopSec=307s` with `systemctl edit announcer`"
        );
    }
}
