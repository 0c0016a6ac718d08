//! The wait of `drain --wait` and `undrain --wait`: its steps, its result, and the sentences for an operator.
//!
//! Pure.

use std::fmt;
use std::time::Duration;

use super::connections::ConnectionCount;

/// How long `undrain --wait` waits for the VIPs and the routers.
pub const UNDRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long `drain --wait` waits for the routers' acknowledgement.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long `drain --wait` waits for connections, if neither the command nor `[drain]` says it.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// The limits of a wait for a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainLimits {
    /// How long the VIPs are the last choice before they are withdrawn.
    pub prepare: Duration,
    /// For the routers' acknowledgement of the withdraw.
    pub timeout: Duration,
    /// For the connections, from the withdraw on.
    pub deadline: Duration,
}

/// What a wait is waiting for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainStep {
    /// The VIPs are the last choice.
    Prepare,
    /// These routers have not acknowledged the withdraw.
    Acknowledge(Vec<String>),
    /// The routers' forwarding tables follow.
    Settle,
    /// Connections are still served here, or were a moment ago.
    Connections(ConnectionCount),
}

/// A wait that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainProgress {
    /// What is waited for.
    pub step: DrainStep,
    /// The time until the limit of this step.
    pub left: Duration,
}

impl fmt::Display for DrainProgress {
    /// As in "waiting for r1, r2 to acknowledge the withdraw, 8s left".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            DrainStep::Prepare => f.write_str("announced as the last choice before the withdraw")?,
            DrainStep::Acknowledge(routers) if routers.is_empty() => {
                f.write_str("acknowledged by every router")?
            }
            DrainStep::Acknowledge(routers) => {
                write!(f, "waiting for {} to acknowledge the withdraw", routers.join(", "))?;
            }
            DrainStep::Settle => {
                f.write_str("acknowledged, waiting until the forwarding tables have followed")?
            }
            DrainStep::Connections(count) => f.write_str(&count.sentence())?,
        }
        write!(f, ", {} left", humantime::format_duration(Duration::from_secs(self.left.as_secs())))
    }
}

/// How the wait for a drain has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainResult {
    /// No router was connected, so nobody had to follow.
    NoRouter,
    /// Only routers are drained: they have acknowledged the withdraw, and the connections come by other routers.
    Routers,
    /// No connection is served here any more.
    Drained(ConnectionCount),
    /// The deadline has come, and connections are still served here.
    Deadline(ConnectionCount),
    /// The routers have followed, but the connections cannot be seen, for this reason.
    Unseen(String),
    /// These routers have not acknowledged the withdraw in time.
    NotAcknowledged(Vec<String>),
}

impl DrainResult {
    /// Whether the VIPs are drained as far as it was seen.
    pub fn is_success(&self) -> bool {
        match self {
            DrainResult::NoRouter
            | DrainResult::Routers
            | DrainResult::Drained(_)
            | DrainResult::Deadline(_)
            | DrainResult::Unseen(_) => true,
            DrainResult::NotAcknowledged(_) => false,
        }
    }
}

impl fmt::Display for DrainResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moved = |count: &ConnectionCount| {
            match count.silent {
            0 => String::new(),
            1 => "; 1 connection has received nothing since the withdraw: it is idle, or the routers have moved it".into(),
            many => format!(
                "; {many} connections have received nothing since the withdraw: they are idle, or the routers have moved them"
            ),
        }
        };
        match self {
            DrainResult::NoRouter => f.write_str("drained; no router is connected, so none had to follow"),
            DrainResult::Routers => f.write_str("drained; the withdraw was acknowledged"),
            DrainResult::Drained(count) => {
                write!(f, "drained; no connection is served here any more{}", moved(count))
            }
            DrainResult::Deadline(count) => {
                write!(f, "drained; the deadline has come, and {}", count.sentence())
            }
            DrainResult::Unseen(why) => {
                write!(f, "drained; the connections cannot be seen, so they were not waited for: {why}")
            }
            DrainResult::NotAcknowledged(routers) => {
                write!(f, "drained, but not acknowledged by {} in time", routers.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_says_what_it_waits_for_and_how_it_has_ended() {
        let seconds = Duration::from_secs;
        let count = |active, silent| ConnectionCount { active, silent };
        let routers = vec!["r1".to_owned(), "r2".to_owned()];
        for (step, left, want) in [
            (DrainStep::Prepare, 90, "announced as the last choice before the withdraw, 1m 30s left"),
            (
                DrainStep::Acknowledge(routers.clone()),
                8,
                "waiting for r1, r2 to acknowledge the withdraw, 8s left",
            ),
            (
                DrainStep::Settle,
                1,
                "acknowledged, waiting until the forwarding tables have followed, 1s left",
            ),
            (DrainStep::Connections(count(1, 0)), 299, "1 connection is still served here, 4m 59s left"),
        ] {
            assert_eq!(DrainProgress { step, left: seconds(left) }.to_string(), want);
        }
        for (result, success, want) in [
            (DrainResult::NoRouter, true, "drained; no router is connected, so none had to follow"),
            (DrainResult::Drained(count(0, 0)), true, "drained; no connection is served here any more"),
            (
                DrainResult::Drained(count(0, 2)),
                true,
                "drained; no connection is served here any more; 2 connections have received nothing since the withdraw: they \
                 are idle, or the routers have moved them",
            ),
            (
                DrainResult::Deadline(count(3, 1)),
                true,
                "drained; the deadline has come, and 3 connections are still served here, 1 has received nothing since the \
                 withdraw",
            ),
            (DrainResult::NotAcknowledged(routers), false, "drained, but not acknowledged by r1, r2 in time"),
        ] {
            assert_eq!((result.is_success(), result.to_string().as_str()), (success, want));
        }
    }
}
